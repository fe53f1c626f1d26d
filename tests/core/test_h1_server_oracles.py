"""Two other implementations, and us: what we accept they read the same way, or refuse with reason.

`h11` and `httptools` (llhttp) are asked what they make of the same requests. That we refuse more is
meant: it is what a strict server is for, and each thing refused is a test of its own among the
attacks. What we accept must mean the same to others: method, target, content, and where the next
request begins. A request that one of them refuses and we do not needs a reason from below.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import h11
import httptools
import pytest
from hypothesis import example, given, settings

from angelia.core.h1_server import H1ServerConnection
from angelia.core.interface import Content, End, RequestHead
from core.h1_kit import cut_at
from core.h1_server_kit import CANARY, serve
from core.strategies import cuts, spoiled_requests

pytestmark = pytest.mark.usefixtures("implementation")


class Request(NamedTuple):
    """A whole request as a reader sees it."""

    method: bytes
    target: bytes
    content: bytes


def our_requests(pieces: Iterable[bytes]) -> list[Request]:
    """What we read, up to the first failure; each is answered."""
    requests: list[Request] = []
    head: RequestHead | None = None
    content = b""
    for event in serve(H1ServerConnection(), list(pieces)):
        if isinstance(event, RequestHead):
            head, content = event, b""
        elif isinstance(event, Content):
            content += bytes(event.data)
        elif isinstance(event, End) and head is not None:
            requests.append(Request(head.method.encode(), head.target.encode(), content))
    return requests


def h11_requests(pieces: Iterable[bytes]) -> list[Request]:
    connection = h11.Connection(h11.SERVER)
    requests: list[Request] = []
    method = target = b""
    content = bytearray()
    try:
        for piece in filter(None, pieces):
            connection.receive_data(piece)
            while True:
                event = connection.next_event()
                if isinstance(event, h11.Request):
                    method, target = bytes(event.method), bytes(event.target)
                    content.clear()
                elif isinstance(event, h11.Data):
                    content += event.data
                elif isinstance(event, h11.EndOfMessage):
                    requests.append(Request(method, target, bytes(content)))
                    connection.send(
                        h11.Response(status_code=200, headers=[("Content-Length", "0")])
                    )
                    connection.send(h11.EndOfMessage())
                    if connection.our_state is not h11.DONE:
                        return requests
                    connection.start_next_cycle()
                else:
                    break
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        pass
    return requests


class Collector:
    """The callbacks of httptools."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.requests: list[Request] = []
        self.target = b""
        self.content = b""

    def on_message_begin(self) -> None:
        self.target = self.content = b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_body(self, data: bytes) -> None:
        self.content += data

    def on_message_complete(self) -> None:
        self.requests.append(Request(self.parser.get_method(), self.target, self.content))


def httptools_requests(pieces: Iterable[bytes]) -> list[Request]:
    collector = Collector()
    try:
        for piece in pieces:
            collector.parser.feed_data(piece)
    except httptools.HttpParserUpgrade:
        # llhttp leaves off behind such a head; a server that does not upgrade reads the content,
        # which comes before anything else (RFC 9110 §7.8).
        collector.requests.pop()
    except httptools.HttpParserError:
        pass
    return collector.requests


# Why only we read a request: what all the octets are, and that request.
Reason = Callable[[bytes, Request], bool]


def empty_line(wire: bytes, _: Request) -> bool:
    """h11 knows none before a request; RFC 9112 §2.2 has a server overlook one."""
    return re.search(rb"(?:\A|\r\n)\r\n[^\r\n]", wire) is not None


def method_that_is_unknown(_: bytes, request: Request) -> bool:
    """llhttp has a list of methods; to us any token is one (RFC 9110 §9.1)."""
    return request.method not in {b"GET", b"POST", b"HEAD", b"OPTIONS"}


def version_above_11(wire: bytes, _: Request) -> bool:
    """llhttp knows 1.0 and 1.1; RFC 9110 §2.5: a higher minor version is understood as 1.1."""
    return re.search(rb"HTTP/1\.[2-9]", wire) is not None


def odd_target(wire: bytes, _: Request) -> bool:
    """llhttp takes URLs apart; what a path means is not for us, as long as it is visible ASCII."""
    return (
        re.search(rb"[^\r\n ]+ (?:[^/ ][^\r\n ]*|[^\r\n ]*[\"'()<>^`{|}%][^\r\n ]*) HTTP/", wire)
        is not None
    )


def odd_extension(wire: bytes, _: Request) -> bool:
    """Blanks around the parts of an extension are the "bad whitespace" of RFC 9112 §7.1.1."""
    return re.search(rb"[0-9A-Fa-f][ \t]*;", wire) is not None


def stays_open(wire: bytes, _: Request) -> bool:
    """How long a connection lasts is seen differently where Connection or the version is odd."""
    return re.search(rb"(?im)^(?:connection|upgrade)[ \t]*:|HTTP/1\.[02-9]", wire) is not None


H11: list[Reason] = [empty_line, odd_extension, stays_open]
HTTPTOOLS: list[Reason] = [
    method_that_is_unknown,
    version_above_11,
    odd_target,
    odd_extension,
    stays_open,
]


def check(wire: bytes, theirs: list[Request], ours: list[Request], reasons: list[Reason]) -> None:
    """What both read is the same; what only we read has a reason."""
    for mine, other in zip(ours, theirs, strict=False):
        assert mine == other
    if len(ours) > len(theirs):
        assert any(reason(wire, ours[len(theirs)]) for reason in reasons), (ours, theirs)


POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
UPGRADE = POST + b"Content-Length: 5\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhello"


class TestOracles:
    """Requests, regular and spoiled, with a canary behind them, in front of three readers."""

    @given(spoiled_requests, cuts)
    @example(POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n", [50])
    @example(POST + b"Content-Length: 5\r\n\r\nhello", [])
    @settings(max_examples=250, deadline=None)
    def test_h11(self, wire: bytes, places: list[int]) -> None:
        """h11 reads what we read."""
        wire += CANARY
        for pieces in ([wire], cut_at(wire, places)):
            check(wire, h11_requests(pieces), our_requests(pieces), H11)

    @given(spoiled_requests, cuts)
    @example(POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n", [50])
    @example(UPGRADE, [])
    # The last octet of the content is the first one of the canary: a request that is no GET.
    @example(POST + b"Content-Length: 5\r\n\r\n0\r\n\n", [])
    @settings(max_examples=250, deadline=None)
    def test_httptools(self, wire: bytes, places: list[int]) -> None:
        """httptools reads what we read."""
        wire += CANARY
        for pieces in ([wire], cut_at(wire, places)):
            check(wire, httptools_requests(pieces), our_requests(pieces), HTTPTOOLS)

    @pytest.mark.parametrize("reader", [our_requests, h11_requests, httptools_requests])
    def test_all_read(self, reader: Callable[[Iterable[bytes]], list[Request]]) -> None:
        """What is regular is read by all three, the canary behind it included."""
        wire = POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + CANARY
        assert reader([wire]) == [
            Request(b"POST", b"/", b"hello"),
            Request(b"GET", b"/canary", b""),
        ]
