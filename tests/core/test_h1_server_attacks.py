"""What an evil client may try on a server: each variant whole, cut anywhere, and before a canary.

The expectation for all that is refused: one failure with a 4xx status (501 for an unknown transfer
coding, 505 for another major version), one answer, the connection closed, and the canary behind it
never a request. For what is accepted: exactly the request that it is, and the canary the next one.
"""

from __future__ import annotations

import pytest

from angelia.core.h1_server import H1ServerConnection
from angelia.core.h1_wire import MIN_HEAD_SIZE, REQUEST_LIMITS, HeadLimits
from angelia.core.interface import Content, End, Failed, RequestHead
from angelia.errors import ContentError, HeadError, IncompleteContent, LineTooLong
from core.h1_kit import content_of, each_octet, every_way, failure, feed
from core.h1_server_kit import CANARY, GET, answer, condition, serve, shown

pytestmark = pytest.mark.usefixtures("implementation")

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def refused(wire: bytes, status: int = 400, *, in_content: bool = False) -> None:
    """Whole, cut and in front of a canary: one failure, one answer, and nothing more."""
    for full in (wire, wire + CANARY):
        ways = every_way(full) if len(full) < 200 else iter([[full], each_octet(full)])
        for pieces in ways:
            connection = H1ServerConnection()
            events = serve(connection, pieces)
            failed = failure(events)
            assert failed is not None, pieces
            assert failed.stream_id == 1
            assert failed.error.status == status, failed
            assert type(failed.error) in (
                (ContentError,) if in_content else (HeadError, LineTooLong)
            )
            heads = [event for event in events if isinstance(event, RequestHead)]
            assert len(heads) == in_content
            assert not any(head.target == "/canary" for head in heads)
            assert not any(isinstance(event, End) for event in events)
            assert condition(connection) == "closed"
            # What comes later finds nobody.
            assert feed(connection, [CANARY], eof=True) == []


def accepted(wire: bytes, content: bytes = b"", *, then: str = "idle") -> None:
    """Whole, cut and in front of a canary: this request, and then the canary where it may come."""
    for pieces in every_way(wire):
        connection = H1ServerConnection()
        events = serve(connection, pieces)
        assert failure(events) is None, events
        assert len([event for event in events if isinstance(event, RequestHead)]) == 1
        assert isinstance(events[-1], End)
        assert content_of(events) == content
        assert condition(connection) == then
    for pieces in every_way(wire + CANARY):
        events = serve(H1ServerConnection(), pieces)
        targets = [event.target for event in events if isinstance(event, RequestHead)]
        assert targets[1:] == (["/canary"] if then == "idle" else [])
        assert content_of(events) == content


def with_fields(*lines: bytes, method: bytes = b"POST", version: bytes = b"1.1") -> bytes:
    """A request with these field lines behind its Host, and content."""
    head = b"%b / HTTP/%b\r\nHost: a\r\n" % (method, version)
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


class TestContentLength:
    """Content-Length: RFC 9110 §8.6, RFC 9112 §6.3."""

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            b"+5",
            b"-1",
            b"-0",
            b"0x5",
            b"5_0",
            b"1 0",
            b"5 5",
            b"5,5",
            b"5, 5",
            b"5,6",
            b"5,",
            b",5",
            b"5.0",
            b"5e0",
            b"\xd9\xa5",
            b"\xef\xbc\x95",
            b"\xb2",
            b"5\x0b",
            b"5\0",
            b"\x0c5",
            b"9223372036854775808",
            b"18446744073709551616",
            b"1" + b"0" * 300,
        ],
    )
    def test_no_number(self, value: bytes) -> None:
        """Signs, underscores, hex, blanks inside, other digits, lists, 2**63 and more."""
        refused(with_fields(b"Content-Length: " + value) + b"hello")

    @pytest.mark.parametrize("value", [b"5", b"05", b"005", b"5 ", b"\t5\t"])
    def test_fine(self, value: bytes) -> None:
        """Decimal is never octal, and blanks around it are blanks."""
        accepted(with_fields(b"Content-Length:" + value) + b"hello", b"hello")
        nine = with_fields(b"Content-Length: 010") + b"0123456789"
        accepted(nine, b"0123456789")

    def test_millions_of_digits(self) -> None:
        """No number is made of more digits than a length can have: that takes quadratic time."""
        connection = H1ServerConnection(HeadLimits(max_field_size=10**7 + 100))
        wire = with_fields(b"Content-Length: " + b"9" * 10**7)
        failed = failure(connection.receive_data(wire))
        assert failed is not None
        assert "beyond 2**63" in str(failed.error)

    @pytest.mark.parametrize("second", [b"5", b"6", b"0"])
    def test_twice(self, second: bytes) -> None:
        """Two lengths, different or the same."""
        refused(with_fields(b"Content-Length: 5", b"Content-Length: " + second) + b"hello")
        refused(with_fields(b"content-length: 5", b"A: b", b"CONTENT-LENGTH: " + second) + b"hello")

    @pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"FOO"])
    def test_any_method(self, method: bytes) -> None:
        """Content is content, whatever the method, and never the next request."""
        smuggled = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
        length = b"Content-Length: %d" % len(smuggled)
        accepted(with_fields(length, method=method) + smuggled, smuggled)

    def test_zero(self) -> None:
        """No content is no content: what follows is a request."""
        accepted(with_fields(b"Content-Length: 0"))
        accepted(with_fields(b"Content-Length: 00"))


class TestTransferEncoding:
    """Transfer-Encoding: RFC 9112 §6.1, §6.3."""

    @pytest.mark.parametrize(
        "value",
        [
            b"xchunked",
            b"chunked123",
            b"chunkedchunked",
            b'"chunked"',
            b"chunked;a=b",
            b"chunked; a",
            b"identity",
            b"chunked, identity",
            b"identity, chunked",
            b"chunked, chunked",
            b"chunked, gzip",
            b"gzip",
            b"",
            b",chunked",
            b"chunked,",
            b",",
            b"chunked chunked",
            b"chunked\x0b",
            b"\x0bchunked",
            b"chunked\x0c",
            b"chunked\0",
            b"\0chunked",
            b"chun\xe2\x84\xaaed",
            b"\xe2\x84\xaachunked",
        ],
    )
    def test_not_chunked(self, value: bytes) -> None:
        """What is not chunked, once and last, leaves the length unknown."""
        refused(with_fields(b"Transfer-Encoding: " + value) + b"0\r\n\r\n")

    @pytest.mark.parametrize("value", [b"gzip, chunked", b"foo, chunked", b"gzip, foo,chunked"])
    def test_unknown(self, value: bytes) -> None:
        """RFC 9112 §6.1: 501 for a coding that is not understood."""
        refused(with_fields(b"Transfer-Encoding: " + value) + b"0\r\n\r\n", 501)

    @pytest.mark.parametrize(
        "value", [b"chunked", b"CHUNKED", b"Chunked", b"\tchunked\t", b" chunked "]
    )
    def test_fine(self, value: bytes) -> None:
        """Case does not matter, nor blanks around."""
        accepted(with_fields(b"Transfer-Encoding:" + value) + b"5\r\nhello\r\n0\r\n\r\n", b"hello")

    @pytest.mark.parametrize("second", [b"chunked", b"identity", b"gzip", b""])
    def test_twice(self, second: bytes) -> None:
        """Two fields are one list."""
        first, other = b"Transfer-Encoding: chunked", b"Transfer-Encoding: " + second
        refused(with_fields(first, other) + b"0\r\n\r\n")
        if second != b"gzip":
            refused(with_fields(other, first) + b"0\r\n\r\n")

    def test_folded(self) -> None:
        """RFC 9112 §5.2: a server refuses obsolete folding."""
        refused(with_fields(b"Transfer-Encoding:", b" chunked") + b"0\r\n\r\n")
        refused(with_fields(b"Transfer-Encoding: chunked", b"\tgzip") + b"0\r\n\r\n")

    def test_http_10(self) -> None:
        """RFC 9112 §6.1: HTTP/1.0 has none, and an intermediary may have overlooked it."""
        refused(with_fields(b"Transfer-Encoding: chunked", version=b"1.0") + b"0\r\n\r\n")

    @pytest.mark.parametrize(
        "name", [b"Transfer_Encoding", b"transfer_encoding", b"Content_Length"]
    )
    def test_twins(self, name: bytes) -> None:
        """What becomes the same variable behind a gateway interface."""
        refused(with_fields(name + b": 5") + b"hello")
        refused(with_fields(b"Content-Length: 5", name + b": 5") + b"hello")

    @pytest.mark.parametrize("name", [b"Host", b"Content_Type", b"IF_NONE-MATCH"])
    def test_other_twins(self, name: bytes) -> None:
        """Other fields that decide something are twins too; any other name may have underscores."""
        refused(with_fields(name + b": a"))
        accepted(with_fields(b"X_Thing: a", b"Thing_: b"))


class TestBothFramings:
    """Content-Length and Transfer-Encoding together: RFC 9112 §6.3 (3)."""

    @pytest.mark.parametrize("extra", [[], [b"Connection: close"], [b"Connection: keep-alive"]])
    @pytest.mark.parametrize("method", [b"GET", b"POST", b"HEAD"])
    def test_both(self, extra: list[bytes], method: bytes) -> None:
        """In either order, whatever the method and the connection."""
        length, coding = b"Content-Length: 5", b"Transfer-Encoding: chunked"
        for lines in ([length, coding], [coding, length]):
            refused(with_fields(*lines, *extra, method=method) + b"0\r\n\r\n")

    def test_length_zero(self) -> None:
        """CL.0 with a coding."""
        refused(with_fields(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"0\r\n\r\n")

    def test_content_without_framing(self) -> None:
        """CL.0: a body that nobody announced is the next request, and is judged as one."""
        for pieces in every_way(with_fields() + b"hello=world" + CANARY):
            connection = H1ServerConnection()
            events = serve(connection, pieces)
            assert [type(event) for event in events] == [RequestHead, End, Failed]
            assert condition(connection) == "closed"


class TestChunks:
    """The chunked coding: RFC 9112 §7.1."""

    @pytest.mark.parametrize(
        "chunks",
        [
            b"0x1\r\nx\r\n",
            b"+1\r\nx\r\n",
            b"-1\r\nx\r\n",
            b"1_0\r\nx\r\n",
            b" 1\r\nx\r\n",
            b"\t1\r\nx\r\n",
            b"1 \r\nx\r\n",
            b"1\t\r\nx\r\n",
            b"1;\r\nx\r\n",
            b"1 ;\r\nx\r\n",
            b"1;=b\r\nx\r\n",
            b"1;a=\r\nx\r\n",
            b'1;a="b\r\nx\r\n',
            b"1;a b\r\nx\r\n",
            b"1;a\0\r\nx\r\n",
            b"1;a\x01\r\nx\r\n",
            b"1;a\x7f\r\nx\r\n",
            b"1;a\nx\r\n",
            b"1;a\rb\r\nx\r\n",
            b"1;a\r\r\nx\r\n",
            b";a\r\nx\r\n",
            b"\r\n",
            b"g\r\nx\r\n",
            b"\xef\xbc\x91\r\nx\r\n",
            b"1\nx\r\n",
            b"1\rx\r\n",
            b"1\r\rx\r\n",
            b"fffffffffffffffff\r\nx\r\n",
            b"00000000000000001\r\nx\r\n",
            b"ffffffffffffffff\r\nx\r\n",
            b"8000000000000000\r\nx\r\n",
            b"1;" + b"a" * 8200 + b"\r\nx\r\n",
            b"1;" + b"a" * 65536 + b"\r\nx\r\n",
        ],
    )
    def test_chunk_sizes(self, chunks: bytes) -> None:
        """Plain hex, at most 2**63 - 1, extensions with a name, CRLF; no blank, sign or prefix."""
        refused(CHUNKED + chunks + b"0\r\n\r\n", in_content=True)

    @pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"xx", b"\rx", b"\n\r", b"0\r\n"])
    def test_no_line_end_behind_a_chunk(self, end: bytes) -> None:
        """Every two octets behind chunk data are looked at."""
        for full in (CHUNKED + b"5\r\nhello" + end + b"0\r\n\r\n",):
            for pieces in (*every_way(full), *every_way(full + CANARY)):
                connection = H1ServerConnection()
                failed = failure(serve(connection, pieces))
                assert failed is not None
                assert (failed.stream_id, failed.error.status) == (1, 400)
                assert condition(connection) == "closed"

    @pytest.mark.parametrize(
        "line",
        [b"5;a", b"5;a=b", b'5;a="b;c\\"\\\\ \t"', b"5 ; a = b;c", b"5\t;a", b"0005", b'5;a=""'],
    )
    def test_extensions(self, line: bytes) -> None:
        """RFC 9112 §7.1.1: names and values that are well-formed are skipped."""
        accepted(CHUNKED + line + b"\r\nhello\r\n0;z\r\n\r\n", b"hello")

    def test_end_of_the_connection_behind_the_last_chunk(self) -> None:
        """``0`` and CRLF alone are not the end of the content."""
        for size in range(len(CHUNKED), len(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")):
            connection = H1ServerConnection()
            events = feed(connection, [(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")[:size]], eof=True)
            failed = failure(events)
            assert failed is not None
            assert type(failed.error) is IncompleteContent
            assert (failed.stream_id, failed.error.status) == (1, 400)

    def test_many_chunks(self) -> None:
        """A million chunks of one octet keep no books."""
        connection = H1ServerConnection()
        connection.receive_data(CHUNKED)
        piece = b"1\r\nx\r\n" * 10_000
        count = 0
        for _ in range(10):
            count += len(connection.receive_data(piece))
        assert count == 100_000
        assert shown(connection.receive_data(b"0\r\n\r\n")) == [("end",)]


class TestTrailers:
    """The trailer section: RFC 9110 §6.5, RFC 9112 §7.1.2."""

    def test_not_merged(self) -> None:
        """Whatever it is called, a trailer is no header, and frames nothing."""
        names = ["Content-Length", "Transfer-Encoding", "Host", "Authorization", "Content-Type"]
        section = "".join(f"{name}: 99\r\n" for name in names).encode()
        wire = CHUNKED + b"5\r\nhello\r\n0\r\n" + section + b"\r\n"
        accepted(wire, b"hello")
        head, *_, end = serve(H1ServerConnection(), [wire])
        assert isinstance(head, RequestHead)
        assert dict(head.headers) == {"Host": "a", "Transfer-Encoding": "chunked"}
        assert isinstance(end, End)
        assert end.trailers == [(name, "99") for name in names]

    @pytest.mark.parametrize(
        "section",
        [
            b"A: b\n\r\n",
            b"A: b\r\n\n",
            b"\n",
            b"A : b\r\n\r\n",
            b" A: b\r\n\r\n",
            b"A: b\r\n c\r\n\r\n",
            b"A\r\n\r\n",
            b": b\r\n\r\n",
            b"A: \0\r\n\r\n",
            b"A: b\rc\r\n\r\n",
        ],
    )
    def test_malformed(self, section: bytes) -> None:
        """They have the grammar of headers, and nothing is forgiven."""
        refused(CHUNKED + b"0\r\n" + section, in_content=True)

    @pytest.mark.parametrize(
        "section", [b"A: b\r\n" * 129 + b"\r\n", b"A: " + b"b" * 8190 + b"\r\n\r\n"]
    )
    def test_limits(self, section: bytes) -> None:
        """Count and size are those of headers."""
        refused(CHUNKED + b"0\r\n" + section, 431, in_content=True)

    def test_endless(self) -> None:
        """The whole section has a limit too."""
        connection = H1ServerConnection(REQUEST_LIMITS._replace(max_headers=10**6))
        connection.receive_data(CHUNKED + b"0\r\n")
        events = feed(connection, [b"A: b\r\n" * 100] * 200)
        failed = failure(events)
        assert failed is not None
        assert failed.error.status == 431


class TestFields:
    """Field lines: RFC 9112 §5."""

    @pytest.mark.parametrize(
        "line",
        [
            b"A : b",
            b"A\t: b",
            b" A: b",
            b"\tA: b",
            b": b",
            b"A",
            b"A b: c",
            b"A\xc3\xa4: b",
            b"A(: b",
            b'"A": b',
            b"A\0: b",
            b"A: \0",
            b"A: \x01",
            b"A: b\x0b",
            b"A: b\x1fc",
            b"A: b\x7f",
            b"A: b\rC: d",
            b"A: b\r",
            b"A: b\nC: d",
            b"A: b\r\n c",
            b"A: b\r\n\tc",
            b"Content-Length : 5",
            b"Content-Length: 5\nX: y",
            b"Transfer-Encoding\x0b: chunked",
        ],
    )
    def test_malformed(self, line: bytes) -> None:
        """Token, colon, value without control characters, CRLF; no folding."""
        refused(with_fields(line))

    def test_blank_before_the_first(self) -> None:
        """A blank before the first field would hide it, or make it part of the request line."""
        refused(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n")
        refused(b"GET / HTTP/1.1\r\n\tHost: a\r\nHost: b\r\n\r\n")

    def test_line_ends(self) -> None:
        """CRLF alone ends a line."""
        refused(b"GET / HTTP/1.1\nHost: a\n\n")
        refused(b"GET / HTTP/1.1\r\nHost: a\n\r\n")
        refused(b"GET / HTTP/1.1\r\nHost: a\r\n\n")
        refused(b"GET / HTTP/1.1\nHost: a\r\n\r\n")
        refused(b"GET / HTTP/1.1\rHost: a\r\r")
        refused(b"GET / HTTP/1.1\r\nHost: a\r\n\rX")

    @pytest.mark.parametrize("name", [b"Host", b"Content-Type", b"Authorization"])
    def test_singletons(self, name: bytes) -> None:
        """What says which resource, type or person is meant says it once."""
        refused(b"GET / HTTP/1.1\r\nHost: a\r\n" + (name + b": a\r\n") * 2 + b"\r\n")

    def test_too_many(self) -> None:
        """128 fields are allowed, 10 000 are not."""
        accepted(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A:\r\n" * 127 + b"\r\n")
        refused(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A:\r\n" * 128 + b"\r\n", 431)
        refused(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A:\r\n" * 10_000 + b"\r\n", 431)

    def test_too_long(self) -> None:
        """A field of 8190 octets is allowed, one of a megabyte is not, nor many of 8190."""
        line = b"A: " + b"b" * 8187 + b"\r\n"
        head = b"GET / HTTP/1.1\r\nHost: a\r\n"
        connection = H1ServerConnection()
        assert len(connection.receive_data(head + line + b"\r\n")) == 2
        refused(head + b"A: " + b"b" * 8188 + b"\r\n\r\n", 431)
        for pieces in ([head + line * 9 + b"\r\n"], each_octet(head + line * 9)):
            failed = failure(feed(H1ServerConnection(), pieces))
            assert failed is not None
            assert failed.error.status == 431
        connection = H1ServerConnection()
        failed = failure(feed(connection, [head, b"A: ", *[b"b" * 1000] * 1000]))
        assert failed is not None
        assert failed.error.status == 431
        assert condition(connection) == "busy"


class TestRequestLine:
    """The request line: RFC 9112 §3."""

    @pytest.mark.parametrize(
        "line",
        [
            b"GET / HTTP/1.1 ",
            b"GET  / HTTP/1.1",
            b"GET /  HTTP/1.1",
            b"GET\t/ HTTP/1.1",
            b"GET /\tHTTP/1.1",
            b"GET / \tHTTP/1.1",
            b" GET / HTTP/1.1",
            b"GET HTTP/1.1",
            b"GET  HTTP/1.1",
            b"GET /",
            b"GET",
            b"GET /a b HTTP/1.1",
            b"GET /#a HTTP/1.1",
            b"GET /\0 HTTP/1.1",
            b"GET /\x7f HTTP/1.1",
            b"GET /\x1b HTTP/1.1",
            b"GET /\xc3\xa4 HTTP/1.1",
            b"GET /\\a HTTP/1.1",
            b"GET / HTTP/01.1",
            b"GET / HTTP/1.01",
            b"GET / HTTP/11",
            b"GET / HTTP/1",
            b"GET / HTTP/1.",
            b"GET / HTTP/1.1a",
            b"GET / HTTP/\xc2\xb9.1",
            b"GET / http/1.1",
            b"GET / HTTPS/1.1",
            b"GET / ICE/1.0",
            b"GET /\rHTTP/1.1",
            b"G(T / HTTP/1.1",
            b"G\xc3\xa4T / HTTP/1.1",
            b"G\0T / HTTP/1.1",
            b'"GET" / HTTP/1.1',
        ],
    )
    def test_malformed(self, line: bytes) -> None:
        """Method, target and version between single spaces, and nothing else."""
        refused(line + b"\r\nHost: a\r\n\r\n")

    @pytest.mark.parametrize("version", [b"0.9", b"2.0", b"3.0", b"0.0", b"9.9"])
    def test_other_versions(self, version: bytes) -> None:
        """RFC 9110 §15.6.6: another major version is not supported."""
        refused(b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version, 505)

    def test_http_2_preface(self) -> None:
        """RFC 9113 §3.4: made so that an HTTP/1.1 server refuses it."""
        refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)

    def test_http_09(self) -> None:
        """RFC 1945 §4.1: a simple request is refused without waiting for more."""
        for wire in (b"GET /\r\n", b"GET / HTTP/1.x\r\n"):
            failed = failure(feed(H1ServerConnection(), each_octet(wire)))
            assert failed is not None
            assert failed.error.status == 400

    @pytest.mark.parametrize(
        "wire", [b"\x16\x03\x01\x02\0\x01\0\x01\xfc", b"\0", b"{", b"\xff\xff", b"(x"]
    )
    def test_other_protocols(self, wire: bytes) -> None:
        """A peer that speaks something else is answered at its first octets."""
        connection = H1ServerConnection()
        failed = failure(connection.receive_data(wire))
        assert failed is not None
        assert failed.error.status == 400
        assert ("TLS" in str(failed.error)) == (wire[0] == 0x16)

    def test_minor_versions(self) -> None:
        """RFC 9110 §2.5: a higher minor version is 1.1 to us, but nothing is taken for granted."""
        accepted(b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", then="closed")

    @pytest.mark.parametrize("method", [b"get", b"G", b"FOO-BAR", b"!#$%&'*+-.^_`|~", b"M" * 40])
    def test_methods(self, method: bytes) -> None:
        """Any token is a method, and keeps its case."""
        accepted(with_fields(method=method))
        (head, _) = H1ServerConnection().receive_data(with_fields(method=method))
        assert isinstance(head, RequestHead)
        assert head.method == method.decode()

    @pytest.mark.parametrize(
        "target", [b"/%00", b"/a%0d%0aB:%20c", b"/..%2f", b"//evil", b'/?q={|}"<>^`', b"/a;b=c,d:@"]
    )
    def test_targets_are_kept(self, target: bytes) -> None:
        """What is encoded stays encoded."""
        (head, _) = H1ServerConnection().receive_data(
            b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target
        )
        assert isinstance(head, RequestHead)
        assert head.target == target.decode()

    def test_empty_lines(self) -> None:
        """RFC 9112 §2.2: an empty line before a request is overlooked; not many, and no bare LF."""
        accepted(b"\r\n" + GET)
        accepted(b"\r\n\r\n" + GET)
        refused(b"\r\n\r\n\r\n" + GET)
        refused(b"\n" + GET)
        refused(b"\r" + GET)
        refused(b"\r\r\n" + GET)

    def test_too_long(self) -> None:
        """RFC 9110 §15.5.15: 414 beyond 8190 octets, however they come."""
        longest = b"GET /" + b"a" * (8190 - 14) + b" HTTP/1.1\r\nHost: a\r\n\r\n"
        assert len(H1ServerConnection().receive_data(longest)) == 2
        too_long = b"GET /" + b"a" * (8190 - 13) + b" HTTP/1.1\r\nHost: a\r\n\r\n"
        refused(too_long, 414)
        refused(b"GET /" + b"a" * 10**5, 414)
        refused(b"A" * 10**4, 414)


class TestTarget:
    """The forms of the target: RFC 9112 §3.2."""

    @pytest.mark.parametrize(
        ("line", "host"),
        [
            (b"GET *", b"a"),
            (b"POST *", b"a"),
            (b"OPTIONS **", b"a"),
            (b"GET a", b"a"),
            (b"GET a:80", b"a:80"),
            (b"GET ?a", b"a"),
            (b"GET http:/a", b"a"),
            (b"GET http:a", b"a"),
            (b"GET http://", b"a"),
            (b"GET http:///a", b"a"),
            (b"GET http://:80/", b"a"),
            (b"GET http://u@a/", b"a"),
            (b"GET http://u:p@a/", b"a"),
            (b"GET http://a:x/", b"a"),
            (b"GET http://a:99999/", b"a:99999"),
            (b"GET http://a:123456/", b"a"),
            (b"GET http://b/", b"a"),
            (b"GET http://a:81/", b"a"),
            (b"GET https://a:80/", b"a"),
            (b"GET http://[::1/", b"[::1"),
            (b"GET ftp://a/", b"a"),
            (b"GET file:///a", b"a"),
            (b"GET //a:b@c", b"x y"),
            (b"CONNECT /", b"a"),
            (b"CONNECT a", b"a"),
            (b"CONNECT a:", b"a"),
            (b"CONNECT *", b"a"),
            (b"CONNECT http://a:80/", b"a"),
            (b"CONNECT a:443/", b"a"),
            (b"CONNECT u@a:443", b"a"),
            (b"CONNECT b:443", b"a"),
            (b"CONNECT a:443", b"a:80"),
            (b"CONNECT a:65536", b"a:65536"),
        ],
    )
    def test_refused(self, line: bytes, host: bytes) -> None:
        """Forms that the method has not, and targets that belie the Host."""
        refused(line + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")

    @pytest.mark.parametrize(
        ("line", "host"),
        [
            (b"OPTIONS *", b"a"),
            (b"OPTIONS /a", b"a"),
            (b"GET http://a/", b"a"),
            (b"GET http://a", b"A:80"),
            (b"GET http://a?b", b"a"),
            (b"GET HTTP://A:80/b", b"a:"),
            (b"GET https://a/b", b"a:443"),
            (b"GET http://[::1]:8080/", b"[::1]:8080"),
            (b"GET http://a:08080/", b"a:8080"),
        ],
    )
    def test_accepted(self, line: bytes, host: bytes) -> None:
        """Each form, and a Host that is the same but for its case and the default port."""
        accepted(line + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")

    @pytest.mark.parametrize("host", [b"a:443", b"A:443", b"a"])
    def test_connect(self, host: bytes) -> None:
        """RFC 9112 §3.2.3: host and port. When it gets no tunnel the connection closes."""
        connection = H1ServerConnection()
        wire = b"CONNECT a:443 HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
        events = connection.receive_data(wire + CANARY)
        assert [type(event) for event in events] == [RequestHead, End]
        answer(connection, 1, 403)
        assert condition(connection) == "closed"
        assert connection.next_events() == []

    def test_http_10_without_host(self) -> None:
        """HTTP/1.0 has no Host, and may name it in the target."""
        accepted(b"GET / HTTP/1.0\r\n\r\n", then="closed")
        accepted(b"GET http://a/ HTTP/1.0\r\n\r\n", then="closed")
        assert len(H1ServerConnection().receive_data(b"CONNECT a:443 HTTP/1.0\r\n\r\n")) == 2

    def test_connect_with_content(self) -> None:
        """RFC 9110 §9.3.6: it has none; is it the tunnel's, or a request?"""
        for line in (b"Content-Length: 5", b"Transfer-Encoding: chunked"):
            refused(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n" + line + b"\r\n\r\n")


class TestHost:
    """The Host field: RFC 9112 §3.2, RFC 9110 §7.2."""

    @pytest.mark.parametrize(
        "host",
        [
            b"",
            b"a b",
            b"a,b",
            b"a, b",
            b"a/b",
            b"a?b",
            b"a#b",
            b"u@a",
            b"u:p@a",
            b"http://a",
            b"a:b",
            b"a:-1",
            b"a:65536",
            b"a:123456",
            b"a:80:80",
            b":80",
            b"::1",
            b"[::1",
            b"[::1]x",
            b"[g]",
            b"[]",
            b"a\\b",
            b"a'b",
            b"\xc3\xa4",
            b"a\0",
            b"a:\xd9\xa5",
        ],
    )
    def test_invalid(self, host: bytes) -> None:
        """No list, path, userinfo, second port or other characters, and not empty."""
        refused(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        refused(b"GET / HTTP/1.0\r\nHost: " + host + b"\r\n\r\n")

    @pytest.mark.parametrize(
        "host",
        [
            b"a",
            b"A.b-c_d",
            b"a:80",
            b"a:0",
            b"a:",
            b"1.2.3.4",
            b"[::1]",
            b"[::1]:80",
            b"[v1.a]",
            b"a%41~",
            b"a.",
        ],
    )
    def test_valid(self, host: bytes) -> None:
        """Names, addresses, and a port."""
        accepted(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")

    def test_missing(self) -> None:
        """RFC 9112 §3.2: 400 without one, whatever the other fields."""
        refused(b"GET / HTTP/1.1\r\n\r\n")
        refused(b"GET / HTTP/1.1\r\nA: b\r\nContent-Length: 5\r\n\r\n")
        refused(b"GET http://a/ HTTP/1.1\r\n\r\n")

    @pytest.mark.parametrize("second", [b"a", b"b", b""])
    def test_several(self, second: bytes) -> None:
        """RFC 9112 §3.2: 400 for more than one, the same or not, in HTTP/1.0 too."""
        for version in (b"1.0", b"1.1"):
            refused(b"GET / HTTP/%b\r\nHost: a\r\nhOST: %b\r\n\r\n" % (version, second))


class TestPipelines:
    """Bytes that come early: RFC 9112 §9.3.2."""

    def test_canaries_in_content(self) -> None:
        """A request inside content is content, and the one behind it is answered once."""
        wire = with_fields(b"Content-Length: %d" % len(CANARY)) + CANARY
        for pieces in every_way(wire + GET):
            events = serve(H1ServerConnection(), pieces)
            targets = [event.target for event in events if isinstance(event, RequestHead)]
            assert targets == ["/", "/"]
            assert content_of(events) == CANARY

    def test_bounded(self) -> None:
        """What is pipelined is kept up to a bound; then the socket is not to be read."""
        connection = H1ServerConnection()
        connection.receive_data(GET)
        sizes = 0
        while connection.wants_data:
            sizes += len(GET) * 10
            assert connection.receive_data(GET * 10) == []
        assert sizes < MIN_HEAD_SIZE + len(GET) * 10
        answered = 1
        answer(connection, 1)
        while events := connection.next_events():
            assert [type(event) for event in events] == [RequestHead, End]
            answered += 1
            answer(connection, answered)
        assert repr(connection.wants_data) == "True"
        assert answered == 1 + sizes // len(GET)
        assert condition(connection) == "idle"

    def test_kept_octets_are_few(self) -> None:
        """A little behind a large read does not hold on to it."""
        connection = H1ServerConnection()
        connection.receive_data(with_fields(b"Content-Length: 100000") + b"x" * 100_000 + GET)
        assert connection._backlog.size == len(GET)
        assert len(connection._backlog._data) == len(GET)

    def test_dribbled(self) -> None:
        """Octet by octet, while answers go out now and then."""
        connection = H1ServerConnection()
        connection.receive_data(GET)
        number = 1
        for piece in each_octet(GET * 50):
            connection.receive_data(piece)
        for _ in range(20):
            answer(connection, number)
            number += 1
            (head, _) = connection.next_events()
            assert isinstance(head, RequestHead)
            connection.receive_data(GET)
        assert connection._backlog.size == len(GET) * 50

    def test_content_as_data_of_events(self) -> None:
        """A large body in one read is handed out without another copy of it."""
        connection = H1ServerConnection()
        connection.receive_data(with_fields(b"Content-Length: 9"))
        data = b"x" * 9
        content = connection.receive_data(data)[0]
        assert isinstance(content, Content)
        assert content.data is data
