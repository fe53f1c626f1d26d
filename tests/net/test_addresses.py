"""Host literals and the order of addresses."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.errors import InvalidUrlClientError
from angelia.net.addresses import (
    AddrInfoType,
    ResolveResult,
    address_info,
    check_host,
    check_port,
    interleave,
    literal_family,
    literal_result,
    rotate,
)

V4, V6 = socket.AF_INET, socket.AF_INET6


def result(host: str, port: int = 80, family: int | None = None) -> ResolveResult:
    return ResolveResult(
        hostname="a.test",
        host=host,
        port=port,
        family=family or (V6 if ":" in host else V4),
        proto=6,
        flags=0,
    )


class TestHosts:
    @pytest.mark.parametrize(
        ("host", "family"),
        [
            ("127.0.0.1", V4),
            ("255.255.255.255", V4),
            ("0.0.0.0", V4),
            ("::1", V6),
            ("::", V6),
            ("fe80::1%eth0", V6),
            ("fe80::1%25eth0", V6),
            ("fe80::1%2", V6),
            ("::ffff:127.0.0.1", V6),
            ("example.org", None),
            ("example.org.", None),
            ("under_score.test", None),
            ("xn--bcher-kva.example", None),
            ("1e100.net", None),
            ("4.example", None),
            ("node.1a", None),
            ("x" * 63 + ".test", None),
        ],
    )
    def test_hosts(self, host: str, family: int | None) -> None:
        """Standard addresses are literals, other hosts are names."""
        assert check_host(host) == family
        assert literal_family(host) == family

    @pytest.mark.parametrize(
        "host",
        [
            "127.1",
            "127.0.1",
            "2130706433",
            "017700000001",
            "0177.0.0.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "127.0.0.01",
            "127.0.0.256",
            "1.2.3.4.5",
            "127.0.0.1.",
            "0x",
            "",
            ".",
            "a..b",
            ".a",
            "a..",
            "a b",
            "a\x00b",
            "a\r\nb",
            "127.0.0.1\n",
            "a/b",
            "a@b",
            "a%41",
            "[::1]",
            "::1]",
            "::1%",
            "fe80::1%a b",
            "12345::",
            "1:2",
            "\u0661.0.0.1",
            "\uff11\uff12\uff17.1",
            "b\u00fccher.example",
            "x" * 255,
        ],
    )
    def test_refused(self, host: str) -> None:
        """Other spellings of addresses, and what is no host at all, are errors."""
        with pytest.raises(InvalidUrlClientError):
            check_host(host)

    @given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from(["d", "o", "x"]))
    def test_every_legacy_form_is_refused(self, number: int, parts: int, base: str) -> None:
        """Whatever inet_aton(3) takes for an address, only four decimal numbers are one."""
        octets = [str(byte) for byte in number.to_bytes(4, "big")]
        rest = int.from_bytes(number.to_bytes(4, "big")[parts - 1 :], "big")
        pieces = [*map(int, octets[: parts - 1]), rest]
        text = ".".join(
            {"d": str(piece), "o": f"0{piece:o}", "x": hex(piece)}[base] for piece in pieces
        )
        assert socket.inet_aton(text) == number.to_bytes(4, "big")
        if text == ".".join(octets):
            assert check_host(text) == V4
        else:
            with pytest.raises(InvalidUrlClientError):
                check_host(text)

    @given(st.text(max_size=20) | st.from_regex(r"\A[0-9a-fA-Fx:.%]{1,20}\Z"))
    def test_any_text(self, text: str) -> None:
        """A literal is what the socket module takes too; anything else is a name or an error."""
        try:
            family = check_host(text)
        except InvalidUrlClientError:
            return
        if family is not None:
            socket.inet_pton(family, text.partition("%")[0])


class TestAddressInfo:
    def test_families(self) -> None:
        """IPv4 and IPv6 have socket addresses of two and four parts; others are left out."""
        assert address_info(result("127.0.0.1")) == (
            V4,
            socket.SOCK_STREAM,
            6,
            "",
            ("127.0.0.1", 80),
        )
        assert address_info(result("::1", 443)) == (
            V6,
            socket.SOCK_STREAM,
            6,
            "",
            ("::1", 443, 0, 0),
        )
        assert address_info(result("x", family=socket.AF_UNIX)) is None

    def test_a_python_without_ipv6(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An address of a family that this Python cannot handle is left out."""
        monkeypatch.setattr(socket, "has_ipv6", False)
        assert address_info(result("::1")) is None

    @pytest.mark.parametrize(
        ("zone", "scope"), [("7", 7), ("lo", None), ("25lo", None), ("25", 25), ("257", 7)]
    )
    def test_scope(self, zone: str, scope: int | None) -> None:
        """The zone of a link-local address becomes its scope id."""
        info = address_info(result(f"fe80::1%{zone}"))
        assert info is not None
        assert info[4] == ("fe80::1", 80, 0, scope or socket.if_nametoindex("lo"))

    def test_unknown_zone(self) -> None:
        """An interface that does not exist is an OSError."""
        with pytest.raises(OSError, match=r".+"):
            address_info(result("fe80::1%nothing0"))

    def test_literal(self) -> None:
        """A literal gives what a resolver would."""
        found = literal_result("::1", 80, V6)
        assert (found["hostname"], found["host"], found["port"]) == ("::1", "::1", 80)
        assert found["family"] == V6


def infos(text: str) -> list[AddrInfoType]:
    """a, b, ... are IPv6 addresses, A, B, ... IPv4 ones."""
    return [(V6 if char.islower() else V4, 1, 6, "", (char,)) for char in text]


class TestOrder:
    @pytest.mark.parametrize(
        ("count", "given_order", "order"),
        [
            (0, "abAB", "abAB"),
            (1, "abAB", "aAbB"),
            (1, "abcA", "aAbc"),
            (1, "AabB", "AaBb"),
            (2, "abcABC", "abAcBC"),
            (9, "abAB", "abAB"),
            (1, "a", "a"),
            (1, "", ""),
        ],
    )
    def test_interleave(self, count: int, given_order: str, order: str) -> None:
        """RFC 8305 §4: the families take turns after the first family's count."""
        assert interleave(infos(given_order), count) == infos(order)

    @given(st.text("abcABC", max_size=8), st.integers(0, 9))
    def test_nothing_is_lost(self, text: str, count: int) -> None:
        """Every address is tried, and the order within a family is kept."""
        mixed = interleave(infos(text), count)
        assert sorted(mixed) == sorted(infos(text))
        for family in (V4, V6):
            assert [i for i in mixed if i[0] == family] == [
                i for i in infos(text) if i[0] == family
            ]

    def test_rotate(self) -> None:
        """Each family rotates by itself, so that the preferred one stays first."""
        results = [result(host) for host in ("::1", "::2", "127.0.0.1", "127.0.0.2", "127.0.0.3")]
        assert [r["host"] for r in rotate(results, 0)] == [r["host"] for r in results]
        assert [r["host"] for r in rotate(results, 1)] == [
            "::2",
            "::1",
            "127.0.0.2",
            "127.0.0.3",
            "127.0.0.1",
        ]
        assert rotate(results, 6) == results


class TestPorts:
    @pytest.mark.parametrize(
        "authority",
        ["", "h", "h:", "h:80", "h:080", "[::1]", "[::1]:80", "u:p@h", "u:p:q@h:1", "u:x@[::1]:1"],
    )
    def test_fine(self, authority: str) -> None:
        """RFC 3986 §3.2.3: digits, or nothing, behind the host's colon."""
        check_port(authority)

    @pytest.mark.parametrize(
        "authority", ["h:1_0", "h:+80", "h:-1", "h: 80", "h:\u0661", "h:80:80", "[::1]:x", "u@h:p"]
    )
    def test_odd(self, authority: str) -> None:
        """What `int` takes beyond that is refused; user and password are not quoted."""
        with pytest.raises(ValueError, match="port") as caught:
            check_port(f"user:secret@{authority}" if "@" not in authority else authority)
        assert "secret" not in str(caught.value)
