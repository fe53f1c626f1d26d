"""Requests, and what a server makes of them: one table for the core and for the server on sockets.

Owns the variants of what may be tried on a server, in groups: those that are refused, with the
status that says so, and those that are accepted, with their content and what becomes of the
connection. Each is to be fed whole, cut, and in front of a canary.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from core.h1_server_kit import CANARY, GET

__all__ = ("ACCEPTED", "CHUNKED", "REFUSED", "Accepted", "Refused", "each", "with_fields")

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"


class Refused(NamedTuple):
    """What gets one answer, with this status, and the end of the connection."""

    wire: bytes
    status: int = 400
    # The head is fine: a handler may have been called.
    in_content: bool = False


class Accepted(NamedTuple):
    """What is one request with this content; ``idle`` if another one may follow, or ``closed``."""

    wire: bytes
    content: bytes = b""
    then: str = "idle"


def each(variants: list[Refused] | list[Accepted]) -> pytest.MarkDecorator:
    """Run a test with each of the variants as `variant`."""
    return pytest.mark.parametrize("variant", variants, ids=lambda variant: variant.wire[-60:])


def with_fields(*lines: bytes, method: bytes = b"POST", version: bytes = b"1.1") -> bytes:
    """A request with these field lines behind its Host, and content."""
    head = b"%b / HTTP/%b\r\nHost: a\r\n" % (method, version)
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def _to(target: bytes, host: bytes = b"a", *, version: bytes = b"1.1") -> bytes:
    return b"%b HTTP/%b\r\nHost: %b\r\n\r\n" % (target, version, host)


_LENGTH = b"Content-Length: 5"
_CODING = b"Transfer-Encoding: chunked"
_CODED = b"5\r\nhello\r\n0\r\n\r\n"
_UPGRADE = (b"Upgrade: websocket", b"Connection: upgrade")
_FIELD = b"A: " + b"b" * 8187 + b"\r\n"

_NO_LENGTHS = [
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
]
_NOT_CHUNKED = [
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
]
_BAD_CHUNKS = [
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
]
_BAD_TRAILERS = [
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
]
_BAD_FIELDS = [
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
]
_BAD_LINES = [
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
]
_BAD_TARGETS = [
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
]
_TARGETS = [
    (b"OPTIONS *", b"a"),
    (b"OPTIONS /a", b"a"),
    (b"GET http://a/", b"a"),
    (b"GET http://a", b"A:80"),
    (b"GET http://a?b", b"a"),
    (b"GET HTTP://A:80/b", b"a:"),
    (b"GET https://a/b", b"a:443"),
    (b"GET http://[::1]:8080/", b"[::1]:8080"),
    (b"GET http://a:08080/", b"a:8080"),
]
_BAD_HOSTS = [
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
]
_HOSTS = [
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
]

REFUSED = {
    # --- Content-Length: RFC 9110 §8.6, RFC 9112 §6.3 ------------------------------------------
    "no length": [
        Refused(with_fields(b"Content-Length: " + value) + b"hello") for value in _NO_LENGTHS
    ],
    "two lengths": [
        Refused(with_fields(*lines) + b"hello")
        for second in (b"5", b"6", b"0")
        for lines in (
            (b"Content-Length: 5", b"Content-Length: " + second),
            (b"content-length: 5", b"A: b", b"CONTENT-LENGTH: " + second),
        )
    ],
    # --- Transfer-Encoding: RFC 9112 §6.1, §6.3 ------------------------------------------------
    "not chunked": [
        Refused(with_fields(b"Transfer-Encoding: " + value) + b"0\r\n\r\n")
        for value in _NOT_CHUNKED
    ],
    "unknown coding": [
        Refused(with_fields(b"Transfer-Encoding: " + value) + b"0\r\n\r\n", 501)
        for value in (b"gzip, chunked", b"foo, chunked", b"gzip, foo,chunked")
    ],
    "two codings": [
        Refused(with_fields(*lines) + b"0\r\n\r\n")
        for second in (b"chunked", b"identity", b"gzip", b"")
        for lines in (
            (_CODING, b"Transfer-Encoding: " + second),
            (b"Transfer-Encoding: " + second, _CODING),
        )
        # That order is one coding that we do not know, and then chunked.
        if lines[0] != b"Transfer-Encoding: gzip"
    ],
    "folded coding": [
        Refused(with_fields(b"Transfer-Encoding:", b" chunked") + b"0\r\n\r\n"),
        Refused(with_fields(b"Transfer-Encoding: chunked", b"\tgzip") + b"0\r\n\r\n"),
    ],
    "coding in HTTP/1.0": [Refused(with_fields(_CODING, version=b"1.0") + b"0\r\n\r\n")],
    "twins": [
        Refused(with_fields(*lines) + b"hello")
        for name in (b"Transfer_Encoding", b"transfer_encoding", b"Content_Length")
        for lines in ((name + b": 5",), (b"Content-Length: 5", name + b": 5"))
    ],
    "other twins": [
        Refused(with_fields(name + b": a")) for name in (b"Host", b"Content_Type", b"IF_NONE-MATCH")
    ],
    # --- both: RFC 9112 §6.3 (3) ---------------------------------------------------------------
    "both framings": [
        Refused(with_fields(*lines, *extra, method=method) + b"0\r\n\r\n")
        for method in (b"GET", b"POST", b"HEAD")
        for extra in ((), (b"Connection: close",), (b"Connection: keep-alive",))
        for lines in ((_LENGTH, _CODING), (_CODING, _LENGTH))
    ],
    "both framings, length 0": [
        Refused(with_fields(b"Content-Length: 0", _CODING) + b"0\r\n\r\n"),
        Refused(with_fields(_CODING, b"Content-Length: 0") + b"0\r\n\r\n"),
    ],
    # --- the chunked coding: RFC 9112 §7.1 -----------------------------------------------------
    "chunk sizes": [
        Refused(CHUNKED + chunks + b"0\r\n\r\n", in_content=True) for chunks in _BAD_CHUNKS
    ],
    "no line end behind a chunk": [
        Refused(CHUNKED + b"5\r\nhello" + end + b"0\r\n\r\n", in_content=True)
        for end in (b"", b"\n", b"\r", b"xx", b"\rx", b"\n\r", b"0\r\n")
    ],
    # --- trailers: RFC 9110 §6.5, RFC 9112 §7.1.2 ----------------------------------------------
    "trailers": [
        Refused(CHUNKED + b"0\r\n" + section, in_content=True) for section in _BAD_TRAILERS
    ],
    "limits of trailers": [
        Refused(CHUNKED + b"0\r\n" + section, 431, in_content=True)
        for section in (b"A: b\r\n" * 129 + b"\r\n", b"A: " + b"b" * 8190 + b"\r\n\r\n")
    ],
    # --- field lines: RFC 9112 §5 --------------------------------------------------------------
    "fields": [Refused(with_fields(line)) for line in _BAD_FIELDS],
    "blank before the first field": [
        Refused(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
        Refused(b"GET / HTTP/1.1\r\n\tHost: a\r\nHost: b\r\n\r\n"),
    ],
    "line ends": [
        Refused(b"GET / HTTP/1.1\nHost: a\n\n"),
        Refused(b"GET / HTTP/1.1\r\nHost: a\n\r\n"),
        Refused(b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
        Refused(b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
        Refused(b"GET / HTTP/1.1\rHost: a\r\r"),
        Refused(b"GET / HTTP/1.1\r\nHost: a\r\n\rX"),
    ],
    "singletons": [
        Refused(HEAD + (name + b": a\r\n") * 2 + b"\r\n")
        for name in (b"Host", b"Content-Type", b"Authorization")
    ],
    "too many fields": [
        Refused(HEAD + b"A:\r\n" * 128 + b"\r\n", 431),
        Refused(HEAD + b"A:\r\n" * 10_000 + b"\r\n", 431),
    ],
    "too long fields": [
        Refused(HEAD + b"A: " + b"b" * 8188 + b"\r\n\r\n", 431),
        Refused(HEAD + _FIELD * 9 + b"\r\n", 431),
        Refused(HEAD + b"A: " + b"b" * 10**6 + b"\r\n\r\n", 431),
    ],
    # --- the request line: RFC 9112 §3 ---------------------------------------------------------
    "request line": [Refused(line + b"\r\nHost: a\r\n\r\n") for line in _BAD_LINES],
    "other versions": [
        *(Refused(_to(b"GET /", version=v), 505) for v in (b"0.9", b"2.0", b"3.0", b"0.0", b"9.9")),
        # RFC 9113 §3.4: made so that an HTTP/1.1 server refuses it.
        Refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ],
    # RFC 1945 §4.1: a simple request.
    "HTTP/0.9": [Refused(b"GET /\r\n"), Refused(b"GET / HTTP/1.x\r\n")],
    "other protocols": [
        Refused(wire)
        for wire in (b"\x16\x03\x01\x02\0\x01\0\x01\xfc", b"\0", b"{", b"\xff\xff", b"(x")
    ],
    "empty lines": [Refused(line + GET) for line in (b"\r\n" * 3, b"\n", b"\r", b"\r\r\n")],
    "too long lines": [
        Refused(_to(b"GET /" + b"a" * (8190 - 13)), 414),
        Refused(b"GET /" + b"a" * 10**5, 414),
        Refused(b"A" * 10**4, 414),
    ],
    # --- the target and the Host: RFC 9112 §3.2, RFC 9110 §7.2 ---------------------------------
    "targets": [Refused(_to(target, host)) for target, host in _BAD_TARGETS],
    "CONNECT with content": [
        Refused(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n" + line + b"\r\n\r\n")
        for line in (_LENGTH, _CODING)
    ],
    "hosts": [
        Refused(_to(b"GET /", host, version=version))
        for host in _BAD_HOSTS
        for version in (b"1.1", b"1.0")
    ],
    "no host": [
        Refused(b"GET / HTTP/1.1\r\n\r\n"),
        Refused(b"GET / HTTP/1.1\r\nA: b\r\nContent-Length: 5\r\n\r\n"),
        Refused(b"GET http://a/ HTTP/1.1\r\n\r\n"),
    ],
    "two hosts": [
        Refused(b"GET / HTTP/%b\r\nHost: a\r\nhOST: %b\r\n\r\n" % (version, second))
        for second in (b"a", b"b", b"")
        for version in (b"1.0", b"1.1")
    ],
}

ACCEPTED = {
    # --- Content-Length ------------------------------------------------------------------------
    "lengths": [
        *(
            Accepted(with_fields(b"Content-Length:" + value) + b"hello", b"hello")
            for value in (b"5", b"05", b"005", b"5 ", b"\t5\t")
        ),
        # Decimal, never octal.
        Accepted(with_fields(b"Content-Length: 010") + b"0123456789", b"0123456789"),
    ],
    # Content is content, whatever the method, and never the next request.
    "lengths of any method": [
        Accepted(with_fields(b"Content-Length: %d" % len(CANARY), method=method) + CANARY, CANARY)
        for method in (b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"FOO")
    ],
    "length 0": [
        Accepted(with_fields(b"Content-Length: 0")),
        Accepted(with_fields(b"Content-Length: 00")),
    ],
    # --- Transfer-Encoding ---------------------------------------------------------------------
    "codings": [
        Accepted(with_fields(b"Transfer-Encoding:" + value) + _CODED, b"hello")
        for value in (b"chunked", b"CHUNKED", b"Chunked", b"\tchunked\t", b" chunked ")
    ],
    "codings of any method": [
        Accepted(with_fields(_CODING, method=method) + _CODED, b"hello")
        for method in (b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"FOO")
    ],
    "no twins": [Accepted(with_fields(b"X_Thing: a", b"Thing_: b"))],
    # RFC 9112 §7.1.1: names and values that are well-formed are skipped.
    "extensions": [
        Accepted(CHUNKED + line + b"\r\nhello\r\n0;z\r\n\r\n", b"hello")
        for line in (
            b"5;a",
            b"5;a=b",
            b'5;a="b;c\\"\\\\ \t"',
            b"5 ; a = b;c",
            b"5\t;a",
            b"0005",
            b'5;a=""',
        )
    ],
    "trailers": [
        Accepted(
            CHUNKED
            + b"5\r\nhello\r\n0\r\nContent-Length: 99\r\nTransfer-Encoding: 99\r\n"
            + b"Host: 99\r\nAuthorization: 99\r\nContent-Type: 99\r\n\r\n",
            b"hello",
        )
    ],
    # --- field lines and the request line ------------------------------------------------------
    "many fields": [Accepted(HEAD + b"A:\r\n" * 127 + b"\r\n")],
    "long lines": [Accepted(_to(b"GET /" + b"a" * (8190 - 14))), Accepted(HEAD + _FIELD + b"\r\n")],
    # RFC 9110 §2.5: a higher minor version is 1.1 to us, but nothing is taken for granted.
    "minor versions": [Accepted(_to(b"GET /", version=b"1.2"), then="closed")],
    "methods": [
        Accepted(with_fields(method=method))
        for method in (b"get", b"G", b"FOO-BAR", b"!#$%&'*+-.^_`|~", b"M" * 40)
    ],
    # RFC 9112 §2.2.
    "empty lines": [Accepted(b"\r\n" + GET), Accepted(b"\r\n\r\n" + GET)],
    # --- the target and the Host ---------------------------------------------------------------
    "targets": [Accepted(_to(target, host)) for target, host in _TARGETS],
    "HTTP/1.0": [
        Accepted(b"GET / HTTP/1.0\r\n\r\n", then="closed"),
        Accepted(b"GET http://a/ HTTP/1.0\r\n\r\n", then="closed"),
    ],
    "hosts": [Accepted(_to(b"GET /", host)) for host in _HOSTS],
    # --- upgrades that nobody takes up: RFC 9110 §7.8 ------------------------------------------
    "upgrades": [
        Accepted(with_fields(b"Upgrade: websocket", method=b"GET")),
        Accepted(with_fields(b"Upgrade: websocket", b"Connection: keep-alive", method=b"GET")),
        Accepted(with_fields(*_UPGRADE, method=b"GET")),
        Accepted(with_fields(*_UPGRADE)),
        # What follows is content where it was announced, and a request where it was not.
        Accepted(with_fields(*_UPGRADE, _LENGTH, method=b"GET") + b"hello", b"hello"),
        Accepted(with_fields(*_UPGRADE, _CODING) + _CODED, b"hello"),
        Accepted(with_fields(*_UPGRADE, b"Content-Length: %d" % len(CANARY)) + CANARY, CANARY),
        Accepted(with_fields(b"Upgrade: websocket", b"Connection: upgrade, close"), then="closed"),
        Accepted(with_fields(*_UPGRADE, method=b"GET", version=b"1.0"), then="closed"),
        Accepted(
            with_fields(
                b"Upgrade: websocket",
                b"Connection: upgrade, keep-alive",
                method=b"GET",
                version=b"1.0",
            )
        ),
    ],
}
