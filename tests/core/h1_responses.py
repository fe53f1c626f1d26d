"""Responses, and what a client makes of them: one table for whole, cut and short-cut reading."""

from __future__ import annotations

from typing import NamedTuple

from core.h1_kit import Shown


class Case(NamedTuple):
    """A response's octets, the expected events, and what becomes of the connection."""

    name: str
    wire: bytes
    events: list[Shown]
    then: str = "idle"
    method: str = "GET"
    eof: bool = False
    read_until_eof: bool = True
    http10: bool = False


def ok(
    *fields: tuple[str, str], version: str = "1.1", status: int = 200, reason: str = "OK"
) -> Shown:
    """A head as the table shows it."""
    return "head", version, status, reason, list(fields)


CL5 = ("Content-Length", "5")
CL0 = ("Content-Length", "0")
CHUNKED = ("Transfer-Encoding", "chunked")
CLOSE = ("Connection", "close")
KEEP = ("Connection", "keep-alive")
HELLO = ("content", b"hello")
END: Shown = ("end",)

CASES = [
    # --- RFC 9112 §6.3 (6): Content-Length ---------------------------------------------------
    Case("length", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", [ok(CL5), HELLO, END]),
    Case("length 0", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", [ok(CL0), END]),
    Case(
        "length with zeros",
        b"HTTP/1.1 200 OK\r\nContent-Length: 005\r\n\r\nhello",
        [ok(("Content-Length", "005")), HELLO, END],
    ),
    Case(
        "length several times",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5, 5\r\n\r\nhello",
        [ok(CL5, ("Content-Length", "5, 5")), HELLO, END],
    ),
    Case(
        "error status",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello",
        [ok(CL5, status=404, reason="Not Found"), HELLO, END],
    ),
    Case(
        "cut short",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        [ok(CL5), ("content", b"hell"), ("failed", 1, "IncompleteContent")],
        "closed",
        eof=True,
    ),
    Case(
        "end of the connection just at the end",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        [ok(CL5), HELLO, END],
        "closed",
        eof=True,
    ),
    # --- RFC 9112 §6.3 (4), §7.1: chunked ----------------------------------------------------
    Case(
        "chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n",
        [ok(CHUNKED), ("chunk", b"hello"), ("chunk", b"0123456789"), END],
    ),
    Case(
        "chunked, empty",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n000\r\n\r\n",
        [ok(CHUNKED), END],
    ),
    Case(
        "chunked in any case",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\tCHUNKed \r\n\r\n0\r\n\r\n",
        [ok(("Transfer-Encoding", "CHUNKed")), END],
    ),
    Case(
        "chunk extensions and blanks",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'1 \t\r\nh\r\n4;a="b;c" ; d\r\nello\r\n0;\r\n\r\n',
        [ok(CHUNKED), ("chunk", b"h"), ("chunk", b"ello"), END],
    ),
    Case(
        "chunk sizes with zeros and letters of both cases",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"00000000000000a\r\n0123456789\r\n0000B\r\n0123456789a\r\n0\r\n\r\n",
        [ok(CHUNKED), ("chunk", b"0123456789"), ("chunk", b"0123456789a"), END],
    ),
    Case(
        "trailers",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\nX-Sum:  1 \r\nContent-Length: 7\r\n\r\n",
        [ok(CHUNKED), ("chunk", b"hello"), ("end", ("X-Sum", "1"), ("Content-Length", "7"))],
    ),
    Case(
        "trailers with bare LF and folding",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a\n b\nY: c\n\n",
        [ok(CHUNKED), ("end", ("X", "a b"), ("Y", "c"))],
    ),
    Case(
        "chunked, cut short",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        [ok(CHUNKED), ("chunk", b"hello"), ("failed", 1, "IncompleteContent")],
        "closed",
        eof=True,
    ),
    Case(
        "chunked by HTTP/1.0",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        [ok(KEEP, CHUNKED, version="1.0"), END],
        "closed",
    ),
    # --- RFC 9112 §6.3 (8): until the connection ends ----------------------------------------
    Case(
        "neither",
        b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nhello",
        [ok(("A", "b")), HELLO, END],
        "closed",
        eof=True,
    ),
    Case("neither, empty", b"HTTP/1.1 200 OK\r\n\r\n", [ok(), END], "closed", eof=True),
    Case("neither, still open", b"HTTP/1.1 200 OK\r\n\r\nhello", [ok(), HELLO], "busy"),
    Case(
        "another last coding",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nhello",
        [ok(("Transfer-Encoding", "chunked, gzip")), HELLO, END],
        "closed",
        eof=True,
    ),
    Case(
        "identity",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello",
        [ok(("Transfer-Encoding", "identity")), HELLO, END],
        "closed",
        eof=True,
    ),
    Case(
        "not to be read until the end",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        [ok(), END],
        "closed",
        read_until_eof=False,
    ),
    Case(
        "not to be read until the end, coded",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        [ok(("Transfer-Encoding", "gzip")), END],
        "closed",
        read_until_eof=False,
    ),
    Case(
        "a length although not to be read until the end",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        [ok(CL5), HELLO, END],
        read_until_eof=False,
    ),
    # --- RFC 9112 §6.3 (1): no content -------------------------------------------------------
    *(
        Case(
            f"{name}, {field[0]}",
            f"HTTP/1.1 {status} X\r\n{field[0]}: {field[1]}\r\n\r\n".encode(),
            [ok(field, status=status, reason="X"), END],
            method=method,
        )
        for field in (CL5, CHUNKED, ("A", "b"))
        for name, status, method in (
            ("HEAD", 200, "HEAD"),
            ("204", 204, "GET"),
            ("304", 304, "GET"),
        )
    ),
    # --- RFC 9112 §9.3: persistence ----------------------------------------------------------
    Case(
        "close",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        [ok(CL0, CLOSE), END],
        "closed",
    ),
    Case(
        "keep-alive",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n",
        [ok(CL0, KEEP), END],
    ),
    Case(
        "Close in a list",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive ,\tClose\r\n\r\n",
        [ok(CL0, ("Connection", "keep-alive ,\tClose")), END],
        "closed",
    ),
    Case(
        "close in a repeated field",
        b"HTTP/1.1 200 OK\r\nConnection: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        [ok(("Connection", "x"), CL0, CLOSE), END],
        "closed",
    ),
    Case(
        "not quite close",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: closed, x-close\r\n\r\n",
        [ok(CL0, ("Connection", "closed, x-close")), END],
    ),
    Case(
        "empty Connection",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection:\r\n\r\n",
        [ok(CL0, ("Connection", "")), END],
    ),
    Case(
        "HTTP/1.0",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        [ok(CL5, version="1.0"), HELLO, END],
        "closed",
    ),
    Case(
        "HTTP/1.0, keep-alive",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n",
        [ok(CL0, KEEP, version="1.0"), END],
    ),
    Case(
        "HTTP/1.0, Keep-Alive in a list",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: x, Keep-Alive\r\n\r\n",
        [ok(CL0, ("Connection", "x, Keep-Alive"), version="1.0"), END],
    ),
    Case(
        "HTTP/1.0, keep-alive and close",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive, close\r\n\r\n",
        [ok(CL0, ("Connection", "keep-alive, close"), version="1.0"), END],
        "closed",
    ),
    Case(
        "HTTP/1.2",
        b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n",
        [ok(CL0, KEEP, version="1.2"), END],
        "closed",
    ),
    Case(
        "our HTTP/1.0",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        [ok(CL0), END],
        "closed",
        http10=True,
    ),
    Case(
        "Keep-Alive",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=7\r\n\r\n",
        [ok(CL0, ("Keep-Alive", "timeout=7")), END],
    ),
    # --- RFC 9112 §4, §5, §2.2: the head -----------------------------------------------------
    Case(
        "no reason",
        b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
        [ok(CL0, reason=""), END],
    ),
    Case(
        "no reason and no space",
        b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        [ok(CL0, reason=""), END],
    ),
    Case(
        "reason of other octets",
        b"HTTP/1.1 299 \xc3\xa4\xff\t!\r\nContent-Length: 0\r\n\r\n",
        [ok(CL0, status=299, reason="ä\udcff\t!"), END],
    ),
    Case(
        "largest status",
        b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n",
        [ok(CL0, status=999, reason="X"), END],
    ),
    Case(
        "values",
        b"HTTP/1.1 200 OK\r\nA:\r\nB: \t x\ty \t\r\na:\xff\xc3\xa4\r\nContent-Length:0\r\n\r\n",
        [ok(("A", ""), ("B", "x\ty"), ("a", "\udcffä"), CL0), END],
    ),
    Case(
        "bare LF",
        b"HTTP/1.1 200 OK\nContent-Length: 5\nA: b\n\nhello",
        [ok(CL5, ("A", "b")), HELLO, END],
    ),
    Case(
        "folded lines",
        b"HTTP/1.1 200 OK\r\nA: b\r\n  c \r\n\t\r\n d\r\nContent-Length:\r\n 5\r\n\r\nhello",
        [ok(("A", "b c d"), CL5), HELLO, END],
    ),
    Case(
        "empty lines before",
        b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        [ok(CL5), HELLO, END],
    ),
    Case(
        "empty lines after",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\r\n\r\n",
        [ok(CL5), HELLO, END],
    ),
    # --- RFC 9110 §15.2: interim responses ---------------------------------------------------
    Case(
        "interim responses",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        b"HTTP/1.1 199 ?\r\nContent-Length: 5\r\nTransfer-Encoding: odd\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        [
            ok(status=100, reason="Continue"),
            ok(("Link", "</x>"), status=103, reason="Early Hints"),
            ok(CL5, ("Transfer-Encoding", "odd"), status=199, reason="?"),
            ok(CL5),
            HELLO,
            END,
        ],
    ),
    Case(
        "interim response with bare LF, empty line between",
        b"HTTP/1.1 100 Continue\n\n\nHTTP/1.1 204 X\r\n\r\n",
        [ok(status=100, reason="Continue"), ok(status=204, reason="X"), END],
    ),
    Case(
        "close in an interim response",
        b"HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\nHTTP/1.1 204 X\r\n\r\n",
        [ok(CLOSE, status=100, reason="Continue"), ok(status=204, reason="X"), END],
    ),
    # --- what follows ------------------------------------------------------------------------
    Case(
        "a second response",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        [ok(CL0), END, ("failed", 0, "RemoteProtocolError")],
        "closed",
    ),
    Case(
        "a longer content, the connection closing",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello, world",
        [ok(CLOSE, CL5), HELLO, END],
        "closed",
    ),
    # --- the connection ends -----------------------------------------------------------------
    Case("nothing", b"", [("failed", 1, "PeerClosed")], "closed", eof=True),
    Case("an empty line", b"\r\n", [("failed", 1, "PeerClosed")], "closed", eof=True),
    Case(
        "half a head",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
        [("failed", 1, "PeerClosed")],
        "closed",
        eof=True,
    ),
    Case(
        "an interim response alone",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        [ok(status=100, reason="Continue"), ("failed", 1, "PeerClosed")],
        "closed",
        eof=True,
    ),
    # --- RFC 9110 §9.3.6: CONNECT ------------------------------------------------------------
    Case(
        "tunnel",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        [ok(), HELLO],
        "tunnel",
        method="CONNECT",
    ),
    Case(
        "tunnel, whatever the fields say",
        b"HTTP/1.1 299 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        [ok(("Content-Length", "1"), CHUNKED, status=299), HELLO, END],
        "closed",
        method="CONNECT",
        eof=True,
    ),
    Case(
        "no tunnel",
        b"HTTP/1.1 407 No\r\nContent-Length: 5\r\n\r\nhello",
        [ok(CL5, status=407, reason="No"), HELLO, END],
        method="CONNECT",
    ),
]
