"""Hypothesis strategies for HTTP/1.1: fields, whole responses, and ways to spoil them."""

from __future__ import annotations

from hypothesis import strategies as st

TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

names = st.text(st.sampled_from(TOKEN_CHARACTERS), min_size=1, max_size=10)


def _value(octets: bytes) -> str:
    visible = bytes(octet for octet in octets if octet >= 0x20 and octet != 0x7F)
    return visible.decode("utf-8", "surrogateescape").strip(" \t")


values = st.binary(max_size=30).map(_value)

field_lists = st.lists(st.tuples(names, values), max_size=8)

# --- responses -----------------------------------------------------------------------------------

status_lines = st.sampled_from(
    [
        *[b"HTTP/1.1 200 OK\r\n"] * 6,
        b"HTTP/1.1 404 Not Found\r\n",
        b"HTTP/1.1 204 No Content\r\n",
        b"HTTP/1.1 304 Not Modified\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 999 \r\n",
        b"HTTP/1.1 200\r\n",
        b"HTTP/1.1 200 \xc3\xa4\xff \t!\r\n",
        b"HTTP/1.1 200 OK\n",
        b"\r\nHTTP/1.1 200 OK\r\n",
        b"HTTP/1.2 200 OK\r\n",
        b"HTTP/2.0 200 OK\r\n",
    ]
)

interim_heads = st.sampled_from(
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
        b"HTTP/1.1 102 X\r\nContent-Length: 5\r\n\r\n",
    ]
)

# Of framing fields there are more than of others, and odd ones among them.
framing_lines = st.sampled_from(
    [
        *[b"Content-Length: 5\r\n"] * 6,
        *[b"Transfer-Encoding: chunked\r\n"] * 6,
        b"content-length:5\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: 05\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: 6\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: 5\r\n 0\r\n",
        b"Content-Length: 99999999999999999999999999\r\n",
        b"transfer-encoding: CHUNKED\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked, gzip\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n",
        b"Transfer-Encoding:\r\n",
    ]
)

other_lines = st.sampled_from(
    [
        b"Server: x\r\n",
        b"A: b\r\n",
        b"X-Empty:\r\n",
        b"X: \t y z \t\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b"Connection: Upgrade\r\nUpgrade: x\r\n",
        b"X: \xc3\xa4\xff\r\n",
        b"A: b\n",
        b"A: b\r\n c\r\n",
        b"A : b\r\n",
        b" A: b\r\n",
        b"A: \0\r\n",
        b"A: \x01\r\n",
        b"A\r\n",
    ]
)

chunks = st.sampled_from(
    [
        *[b"5\r\nhello\r\n"] * 4,
        b"1\r\nx\r\n",
        b"00A\r\n0123456789\r\n",
        b"1;a=b\r\nx\r\n",
        b'1;a="b;c"\r\nx\r\n',
        b"1 ; a\r\nx\r\n",
        b"1;\r\nx\r\n",
        b"1 \r\nx\r\n",
        b"1\nx\r\n",
        b"1\r\nx\n",
        b"1;a\nx\r\n",
        b"0x1\r\nx\r\n",
        b"fffffffffffffffff\r\nx\r\n",
    ]
)

last_chunks = st.sampled_from(
    [
        *[b"0\r\n\r\n"] * 4,
        b"000\r\n\r\n",
        b"0;a\r\n\r\n",
        b"0\r\nX: y\r\n\r\n",
        b"0\r\nX: y\n\n",
        b"0\r\n\n",
        b"0\r\nX\r\n\r\n",
        b"0\r\n",
        b"",
    ]
)

contents = st.one_of(
    st.sampled_from([b"hello", b"hello", b"", b"hell", b"hello!"]),
    st.tuples(st.lists(chunks, max_size=3).map(b"".join), last_chunks).map(b"".join),
)

ends_of_heads = st.sampled_from([*[b"\r\n"] * 8, b"\n"])


def _lines(framing: list[bytes], other: list[bytes], swap: bool) -> bytes:
    return b"".join([*other, *framing] if swap else [*framing, *other])


lines = st.builds(
    _lines,
    st.lists(framing_lines, max_size=2),
    st.lists(other_lines, max_size=2),
    st.booleans(),
)

regular_responses = st.tuples(
    st.lists(interim_heads, max_size=2).map(b"".join), status_lines, lines, ends_of_heads, contents
).map(b"".join)

# --- spoiling them -------------------------------------------------------------------------------

OCTETS = b"\r\n\t \0\x01\x0b\x7f\x80\xff:;,-+_.\"'()/=0159afxAX"

_changes = st.lists(
    st.tuples(
        st.sampled_from(["replace", "insert", "delete", "double"]),
        st.integers(0, 10_000),
        st.sampled_from(list(OCTETS)),
    ),
    max_size=2,
)


def _spoil(wire: bytes, changes: list[tuple[str, int, int]]) -> bytes:
    octets = bytearray(wire)
    for change, place, octet in changes:
        at = place % (len(octets) + 1)
        if change == "insert":
            octets.insert(at, octet)
        elif change == "replace":
            octets[at : at + 1] = bytes([octet])
        elif change == "delete":
            del octets[at : at + 1]
        else:
            octets[at:at] = octets[at : at + 2]
    return bytes(octets)


spoiled_responses = st.builds(_spoil, regular_responses, _changes)

cuts = st.lists(st.integers(0, 10_000), max_size=6)

# Octets that mean something, in any order.
soups = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"HTTP/1.1 200 OK",
                b"HTTP/1.1 100 X",
                b"HTTP/1.0 204",
                b"\r\n",
                b"\r\n\r\n",
                b"\n",
                b"\r",
                b" ",
                b"Content-Length: 5",
                b"Transfer-Encoding: chunked",
                b"Connection: close",
                b"A: b",
                b"5",
                b"hello",
                b"0",
                b";a",
            ]
        ),
        st.binary(max_size=4),
    ),
    max_size=16,
).map(b"".join)

# --- requests ------------------------------------------------------------------------------------

request_lines = st.sampled_from(
    [
        *[b"POST / HTTP/1.1\r\n"] * 6,
        *[b"GET /a?b=c HTTP/1.1\r\n"] * 2,
        b"HEAD / HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"GET http://a/b HTTP/1.1\r\n",
        b"POST / HTTP/1.0\r\n",
        b"\r\nPOST / HTTP/1.1\r\n",
        b"POST / HTTP/1.2\r\n",
        b"POST / HTTP/2.0\r\n",
        b"POST /#x HTTP/1.1\r\n",
        b"POST / HTTP/1.1\n",
        b"GET /\r\n",
    ]
)

host_lines = st.sampled_from(
    [*[b"Host: a\r\n"] * 9, b"Host: a:80\r\n", b"host: A\r\n", b"", b"Host:\r\n", b"Host: a/b\r\n"]
)

regular_requests = st.tuples(request_lines, host_lines, lines, ends_of_heads, contents).map(
    b"".join
)

spoiled_requests = st.builds(_spoil, regular_requests, _changes)

request_soups = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"GET / HTTP/1.1",
                b"POST * HTTP/1.0",
                b"CONNECT a:1 HTTP/1.1",
                b"\r\n",
                b"\r\n\r\n",
                b"\n",
                b"\r",
                b" ",
                b"Host: a",
                b"Content-Length: 5",
                b"Transfer-Encoding: chunked",
                b"Connection: close",
                b"Connection: upgrade\r\nUpgrade: x",
                b"Expect: 100-continue",
                b"5",
                b"hello",
                b"0",
                b";a",
            ]
        ),
        st.binary(max_size=4),
    ),
    max_size=20,
).map(b"".join)
