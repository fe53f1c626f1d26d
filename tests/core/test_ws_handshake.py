"""The opening handshake of both roles (RFC 6455 §4), and negotiating extensions (§9, RFC 7692)."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.core.interface import Role
from angelia.core.ws_extensions import (
    MAX_EXTENSIONS,
    DeflateOffer,
    Extension,
    PerMessageDeflate,
    Side,
    accept_deflate,
    check_extensions,
    parse_extensions,
)
from angelia.core.ws_handshake import (
    ClientHandshake,
    ServerHandshake,
    accept_key,
    check_request,
    check_response,
    choose_protocol,
    make_key,
    request_fields,
    response_fields,
)
from angelia.errors import HandshakeError

# RFC 6455 §1.3.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

Fields = list[tuple[str, str]]

REQUEST: Fields = [
    ("Host", "server.example.com"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", KEY),
    ("Origin", "http://example.com"),
    ("Sec-WebSocket-Protocol", "chat, superchat"),
    ("Sec-WebSocket-Version", "13"),
]
RESPONSE: Fields = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Accept", ACCEPT),
    ("Sec-WebSocket-Protocol", "chat"),
]


def changed(fields: Fields, name: str, *values: str) -> Fields:
    rest = [field for field in fields if field[0] != name]
    return rest + [(name, value) for value in values]


class TestKey:
    """RFC 6455 §1.3, §4.1, §4.2.2."""

    def test_key(self) -> None:
        """Sixteen octets in base64, and their answer."""
        assert make_key(b"the sample nonce") == KEY
        assert accept_key(KEY) == ACCEPT
        for size in (0, 15, 17):
            with pytest.raises(ValueError, match="16 bytes"):
                make_key(bytes(size))


class TestRequest:
    """RFC 6455 §4.1, §4.2.1."""

    def test_fields(self) -> None:
        """What a client sends."""
        assert request_fields(KEY) == [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", KEY),
        ]
        assert request_fields(KEY, protocols=("b", "a"), deflate=DeflateOffer(), origin="http://x")[
            4:
        ] == [
            ("Sec-WebSocket-Protocol", "b, a"),
            ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
            ("Origin", "http://x"),
        ]

    @pytest.mark.parametrize("protocols", [("a b",), ("",), ("a", "a"), ("a\r\nX: y",), ("ä",)])
    def test_bad_protocols(self, protocols: tuple[str, ...]) -> None:
        """Subprotocols are tokens, each once."""
        with pytest.raises(ValueError, match="subprotocol"):
            request_fields(KEY, protocols=protocols)

    def test_check(self) -> None:
        """What a server learns from it."""
        assert check_request(REQUEST) == ServerHandshake(
            KEY, "13", ("chat", "superchat"), (), "http://example.com"
        )
        fields = request_fields(KEY, protocols=["a"], deflate=DeflateOffer())
        assert check_request(fields) == ServerHandshake(
            KEY, "13", ("a",), ("permessage-deflate; client_max_window_bits",), None
        )

    def test_spelling(self) -> None:
        """Names and the two tokens have no case, and the tokens stand in lists."""
        fields = [
            ("UPGRADE", "h2c, WebSocket"),
            ("connection", "keep-alive"),
            ("CONNECTION", "x , uPGRADE"),
            ("sec-websocket-KEY", f" {KEY}\t"),
            ("sec-websocket-version", "13"),
            ("Sec-WebSocket-Protocol", "A"),
            ("sec-websocket-protocol", " b,, C "),
        ]
        assert check_request(fields) == ServerHandshake(KEY, "13", ("A", "b", "C"), (), None)

    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("Upgrade", []),
            ("Upgrade", ["h2c"]),
            ("Upgrade", ["websocket2"]),
            ("Connection", []),
            ("Connection", ["keep-alive"]),
            ("Connection", ["not-upgrade"]),
            ("Sec-WebSocket-Key", []),
            ("Sec-WebSocket-Key", [""]),
            ("Sec-WebSocket-Key", [KEY, KEY]),
            ("Sec-WebSocket-Key", [KEY[:-2]]),
            ("Sec-WebSocket-Key", [KEY + "===="]),
            ("Sec-WebSocket-Key", ["a" * 24]),
            ("Sec-WebSocket-Key", [base64.b64encode(bytes(15)).decode()]),
            ("Sec-WebSocket-Key", [base64.b64encode(bytes(17)).decode()]),
            ("Sec-WebSocket-Key", ["dGhlIHNhbXBsZSBub25j*Q=="]),
            ("Sec-WebSocket-Key", ["dGhlIHNhbXBsZSBub25jZQ\udcff="]),
            ("Sec-WebSocket-Protocol", ["a b"]),
            ("Sec-WebSocket-Protocol", ["a", "b\udcff"]),
        ],
    )
    def test_refused(self, name: str, values: list[str]) -> None:
        """400, with the field at fault and what was found in it."""
        with pytest.raises(HandshakeError) as caught:
            check_request(changed(REQUEST, name, *values))
        error = caught.value
        assert (error.status, error.field) == (400, name)
        assert error.found == (", ".join(values) if values else None)
        assert error.headers == ()

    @pytest.mark.parametrize("values", [[], ["12"], ["013"], ["13, 8"], ["13", "13"], ["1\u0663"]])
    def test_version(self, values: list[str]) -> None:
        """§4.4: another version is 426, and the answer names those that there are."""
        with pytest.raises(HandshakeError) as caught:
            check_request(changed(REQUEST, "Sec-WebSocket-Version", *values))
        error = caught.value
        assert (error.status, error.field) == (426, "Sec-WebSocket-Version")
        assert error.headers == (("Sec-WebSocket-Version", "13"),)

    def test_other_versions(self) -> None:
        """A caller may know more versions."""
        versions = ("13", "8")
        fields = changed(REQUEST, "Sec-WebSocket-Version", "8")
        assert check_request(fields, versions=versions).version == "8"
        with pytest.raises(HandshakeError) as caught:
            check_request(changed(REQUEST, "Sec-WebSocket-Version", "7"), versions=versions)
        assert caught.value.headers == (("Sec-WebSocket-Version", "13, 8"),)


class TestResponse:
    """RFC 6455 §4.1, §4.2.2."""

    def test_fields(self) -> None:
        """What a server sends."""
        assert response_fields(KEY) == RESPONSE[:3]
        assert response_fields(KEY, protocol="chat") == RESPONSE
        assert response_fields(KEY, extensions="x")[3:] == [("Sec-WebSocket-Extensions", "x")]

    def test_check(self) -> None:
        """What a client learns from it."""
        assert check_response(101, RESPONSE, KEY, protocols=["superchat", "chat"]) == (
            ClientHandshake("chat", None)
        )
        fields = [
            ("upgrade", "WebSocket"),
            ("connection", "close, UPGRADE"),
            ("sec-websocket-accept", f" {ACCEPT} "),
            ("sec-websocket-extensions", "permessage-deflate"),
        ]
        assert check_response(101, fields, KEY, deflate=DeflateOffer()) == ClientHandshake(
            None, PerMessageDeflate()
        )

    @pytest.mark.parametrize("status", [100, 200, 301, 401, 426])
    def test_status(self, status: int) -> None:
        """Anything but 101 is no handshake."""
        with pytest.raises(HandshakeError, match=str(status)) as caught:
            check_response(status, RESPONSE, KEY)
        assert caught.value.found == str(status)

    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("Upgrade", []),
            ("Upgrade", ["h2c"]),
            ("Upgrade", ["websocket, h2c"]),
            ("Upgrade", ["websocket", "h2c"]),
            ("Connection", []),
            ("Connection", ["close"]),
            ("Sec-WebSocket-Accept", []),
            ("Sec-WebSocket-Accept", [KEY]),
            ("Sec-WebSocket-Accept", [ACCEPT.lower()]),
            ("Sec-WebSocket-Accept", [ACCEPT, ACCEPT]),
            ("Sec-WebSocket-Accept", ["\udcff"]),
            ("Sec-WebSocket-Extensions", ["permessage-deflate"]),
            ("Sec-WebSocket-Extensions", [";"]),
        ],
    )
    def test_refused(self, name: str, values: list[str]) -> None:
        """With the field at fault and what was found in it."""
        with pytest.raises(HandshakeError) as caught:
            check_response(101, changed(RESPONSE, name, *values), KEY)
        assert caught.value.field == name
        assert caught.value.found == (", ".join(values) if values else None)

    @pytest.mark.parametrize("values", [[], ["other"], ["CHAT"], ["chat, x"], ["chat", "chat"]])
    def test_protocol_that_was_not_offered(self, values: list[str]) -> None:
        """It is none."""
        fields = changed(RESPONSE, "Sec-WebSocket-Protocol", *values)
        assert check_response(101, fields, KEY, protocols=iter(["chat"])).protocol is None


class TestProtocols:
    """RFC 6455 §1.9."""

    def test_choice(self) -> None:
        """The first of the client's that the server supports."""
        assert choose_protocol(["b", "a"], ["a", "b"]) == "b"
        assert choose_protocol(["c", "a"], iter(["a", "b"])) == "a"
        assert choose_protocol(["A"], ["a"]) is None
        assert choose_protocol([], ["a"]) is None


EXTENSIONS = [
    ([], []),
    ([""], []),
    ([" , ,"], []),
    (["foo"], [Extension("foo")]),
    (["foo", "bar"], [Extension("foo"), Extension("bar")]),
    (["foo,bar ; a"], [Extension("foo"), Extension("bar", (("a", None),))]),
    (
        [' foo ; a=1 ; b = "x\\yz" ; a,, foo;c\t'],
        [
            Extension("foo", (("a", "1"), ("b", "xyz"), ("a", None))),
            Extension("foo", (("c", None),)),
        ],
    ),
]


class TestExtensions:
    """RFC 6455 §9.1."""

    @pytest.mark.parametrize(("values", "expected"), EXTENSIONS)
    def test_parse(self, values: list[str], expected: list[Extension]) -> None:
        """A list over all lines; what was parsed serializes to the same."""
        assert parse_extensions(values) == expected
        assert parse_extensions([extension.serialize() for extension in expected]) == expected

    @pytest.mark.parametrize(
        "value",
        [
            ";",
            "foo;",
            "foo;,",
            "foo; ;a",
            "foo bar",
            "foo/1",
            "foo; a b",
            "foo; a=",
            "foo; a=,",
            'foo; a="',
            'foo; a=""',
            'foo; a="b c"',
            'foo; a="b"c',
            'foo; a="b',
            "foo; =b",
            "föö",
            "foo; a=\udcff",
            "=",
        ],
    )
    def test_malformed(self, value: str) -> None:
        """RFC 6455 §9.1: what is not of the grammar fails the handshake."""
        with pytest.raises(HandshakeError) as caught:
            parse_extensions([value])
        assert caught.value.field == "Sec-WebSocket-Extensions"
        assert caught.value.status == 400

    def test_many(self) -> None:
        """There is a bound on how many are looked at."""
        assert len(parse_extensions([",".join(["x"] * MAX_EXTENSIONS)])) == MAX_EXTENSIONS
        with pytest.raises(HandshakeError, match="more than"):
            parse_extensions([",".join(["x"] * (MAX_EXTENSIONS + 1))])

    @given(st.lists(st.text(st.sampled_from('a=;," \t\\é'), max_size=20), max_size=3))
    def test_any_text(self, values: list[str]) -> None:
        """Extensions or a HandshakeError, nothing else."""
        try:
            for extension in parse_extensions(values):
                assert parse_extensions([extension.serialize()]) == [extension]
        except HandshakeError:
            pass


OFFERS = [
    (DeflateOffer(), "permessage-deflate; client_max_window_bits"),
    (DeflateOffer(client_max_window_bits=None), "permessage-deflate"),
    (
        DeflateOffer(server_max_window_bits=10, client_max_window_bits=9),
        "permessage-deflate; server_max_window_bits=10; client_max_window_bits=9",
    ),
    (
        DeflateOffer(
            server_no_context_takeover=True,
            client_no_context_takeover=True,
            client_max_window_bits=None,
        ),
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    ),
]


class TestDeflateOffer:
    """RFC 7692 §5, §7.1."""

    @pytest.mark.parametrize(("offer", "wire"), OFFERS)
    def test_serialize(self, offer: DeflateOffer, wire: str) -> None:
        """What a client asks for."""
        assert offer.serialize() == wire

    @pytest.mark.parametrize("bits", [0, 7, 8, 16, -15])
    def test_bits(self, bits: int) -> None:
        """zlib has windows of 9 to 15 bits."""
        with pytest.raises(ValueError, match="window bits"):
            DeflateOffer(server_max_window_bits=bits)
        with pytest.raises(ValueError, match="window bits"):
            DeflateOffer(client_max_window_bits=bits)

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            ("permessage-deflate", PerMessageDeflate()),
            (
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
                PerMessageDeflate(True, True),
            ),
            (
                "permessage-deflate; server_max_window_bits=8; client_max_window_bits=15",
                PerMessageDeflate(server_max_window_bits=8),
            ),
            (
                'permessage-deflate; client_max_window_bits="9"',
                PerMessageDeflate(client_max_window_bits=9),
            ),
            (
                "permessage-deflate; client_max_window_bits=8",
                PerMessageDeflate(client_max_window_bits=8),
            ),
        ],
    )
    def test_answers(self, answer: str, expected: PerMessageDeflate) -> None:
        """A server may take less than was offered."""
        assert check_extensions([answer], DeflateOffer()) == expected

    @pytest.mark.parametrize(
        "answer",
        [
            "x-other",
            "permessage-deflate, x-other",
            "permessage-deflate, permessage-deflate",
            "Permessage-Deflate",
            "permessage-deflate; unknown",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=010",
            "permessage-deflate; server_max_window_bits=-9",
            "permessage-deflate; server_max_window_bits=" + "9" * 100,
            "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=0",
            "permessage-deflate; client_max_window_bits=16",
        ],
    )
    def test_bad_answers(self, answer: str) -> None:
        """Not offered, twice, unknown, repeated, out of range: no handshake."""
        with pytest.raises(HandshakeError) as caught:
            check_extensions([answer], DeflateOffer())
        assert caught.value.found == answer

    @pytest.mark.parametrize(
        ("offer", "answer"),
        [
            (None, "permessage-deflate"),
            (DeflateOffer(server_max_window_bits=10), "permessage-deflate"),
            (
                DeflateOffer(server_max_window_bits=10),
                "permessage-deflate; server_max_window_bits=11",
            ),
            (DeflateOffer(server_no_context_takeover=True), "permessage-deflate"),
            (
                DeflateOffer(client_max_window_bits=None),
                "permessage-deflate; client_max_window_bits=10",
            ),
        ],
    )
    def test_answers_to_another_offer(self, offer: DeflateOffer | None, answer: str) -> None:
        """What was asked for has to be granted, what was not must not be answered."""
        with pytest.raises(HandshakeError):
            check_extensions([answer], offer)

    def test_own_word(self) -> None:
        """A client keeps to what it said of itself, and to its own bits."""
        offer = DeflateOffer(client_no_context_takeover=True, client_max_window_bits=10)
        agreed = check_extensions(["permessage-deflate; client_max_window_bits=12"], offer)
        assert agreed == PerMessageDeflate(
            client_no_context_takeover=True, client_max_window_bits=10
        )

    def test_none(self) -> None:
        """A server need not take an offer."""
        assert check_extensions([], DeflateOffer()) is None
        assert check_extensions([" "], None) is None

    def test_sides(self) -> None:
        """Whose window is whose."""
        agreed = PerMessageDeflate(True, False, 9, 10)
        assert agreed.sides(Role.SERVER) == (Side(9, False), Side(10, True))
        assert agreed.sides(Role.CLIENT) == (Side(10, True), Side(9, False))


class TestDeflateAccepted:
    """RFC 7692 §5.1, §7.1: the server's part."""

    @pytest.mark.parametrize(
        ("offer", "answer", "expected"),
        [
            ("permessage-deflate", "permessage-deflate", PerMessageDeflate()),
            (
                "permessage-deflate; client_max_window_bits",
                "permessage-deflate",
                PerMessageDeflate(),
            ),
            (
                "permessage-deflate; client_max_window_bits=10; server_max_window_bits=9",
                "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10",
                PerMessageDeflate(server_max_window_bits=9, client_max_window_bits=10),
            ),
            (
                "permessage-deflate; server_max_window_bits=15",
                "permessage-deflate; server_max_window_bits=15",
                PerMessageDeflate(),
            ),
            (
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
                PerMessageDeflate(True, True),
            ),
            (
                "permessage-deflate; server_max_window_bits=8, permessage-deflate",
                "permessage-deflate",
                PerMessageDeflate(),
            ),
            (
                "x-other; a=b, permessage-deflate; unknown, permessage-deflate",
                "permessage-deflate",
                PerMessageDeflate(),
            ),
            (
                "permessage-deflate; client_max_window_bits=8",
                "permessage-deflate; client_max_window_bits=8",
                PerMessageDeflate(client_max_window_bits=8),
            ),
        ],
    )
    def test_offers(self, offer: str, answer: str, expected: PerMessageDeflate) -> None:
        """The first offer that can be taken, and the answer to it."""
        assert accept_deflate([offer], DeflateOffer()) == (expected, answer)

    @pytest.mark.parametrize(
        "offer",
        [
            "",
            "x-other",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_no_context_takeover=1",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
        ],
    )
    def test_declined(self, offer: str) -> None:
        """Without one there is no compression."""
        assert accept_deflate([offer], DeflateOffer()) is None

    def test_policy(self) -> None:
        """A server may save its memory; a client's window only where the client lets it."""
        policy = DeflateOffer(True, True, 10, 11)
        both = "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10"
        agreed = PerMessageDeflate(True, True, 10, 15)
        assert accept_deflate(["permessage-deflate"], policy) == (
            agreed,
            f"permessage-deflate; {both}",
        )
        assert accept_deflate(["permessage-deflate; client_max_window_bits"], policy) == (
            PerMessageDeflate(True, True, 10, 11),
            f"permessage-deflate; {both}; client_max_window_bits=11",
        )
        silent = DeflateOffer(client_max_window_bits=None)
        assert accept_deflate(["permessage-deflate; client_max_window_bits"], silent) == (
            PerMessageDeflate(),
            "permessage-deflate",
        )

    def test_malformed(self) -> None:
        """RFC 6455 §9.1: a malformed field is no handshake."""
        with pytest.raises(HandshakeError):
            accept_deflate(["permessage-deflate;"], DeflateOffer())

    @given(
        st.builds(
            DeflateOffer,
            st.booleans(),
            st.booleans(),
            st.integers(9, 15),
            st.one_of(st.none(), st.integers(9, 15)),
        ),
        st.builds(
            DeflateOffer,
            st.booleans(),
            st.booleans(),
            st.integers(9, 15),
            st.one_of(st.none(), st.integers(9, 15)),
        ),
    )
    def test_both_roles(self, offer: DeflateOffer, policy: DeflateOffer) -> None:
        """Whatever is offered and wanted, both sides end with what each of them can work with."""
        found = accept_deflate([offer.serialize()], policy)
        assert found is not None
        server, answer = found
        client = check_extensions([answer], offer)
        assert client is not None
        assert client.server_max_window_bits == server.server_max_window_bits
        assert client.server_no_context_takeover == server.server_no_context_takeover
        assert client.client_max_window_bits <= server.client_max_window_bits
        assert client.client_no_context_takeover or not server.client_no_context_takeover
