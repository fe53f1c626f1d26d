"""A server's connection under test: what it is fed, what it answers, what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from angelia.core.h1_server import H1ServerConnection
from angelia.core.interface import (
    Buffer,
    Content,
    End,
    Event,
    Failed,
    Headers,
    HttpVersion,
    HttpVersion11,
    RequestHead,
    ResponseHead,
)
from core.h1_kit import merged, sent

Shown: TypeAlias = tuple[Any, ...]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
# What an attacker wants to be taken for a request of its own, or of another peer.
CANARY = b"GET /canary HTTP/1.1\r\nHost: a\r\n\r\n"


def show(event: Event) -> Shown:
    """An event as a value for a table."""
    if isinstance(event, RequestHead):
        version = f"{event.version.major}.{event.version.minor}"
        return "head", event.method, event.target, version, list(event.headers)
    if isinstance(event, Content):
        return ("chunk" if event.chunk_end else "content"), bytes(event.data)
    if isinstance(event, End):
        return ("end", *event.trailers)
    if isinstance(event, Failed):
        return "failed", event.stream_id, type(event.error).__name__, event.error.status
    raise TypeError(f"a server receives no {event!r}")


def shown(events: Iterable[Event]) -> list[Shown]:
    """The events, merged, as values for a table."""
    return [show(event) for event in merged(events)]


def asked(wire: bytes = GET) -> H1ServerConnection:
    """A connection that has received `wire`, which holds one request head at least."""
    connection = H1ServerConnection()
    connection.receive_data(wire)
    return connection


def answer(
    connection: H1ServerConnection,
    stream_id: int = 1,
    status: int = 200,
    headers: Headers = (("Content-Length", "0"),),
    *content: Buffer,
    end: bool = True,
    reason: str = "X",
    version: HttpVersion = HttpVersion11,
) -> bytes:
    """Send a response, `content` piece by piece; what goes out."""
    head = ResponseHead(status, reason, headers, version)
    connection.send_head(stream_id, head, end=end and not content)
    for number, piece in enumerate(content, 1):
        connection.send_content(stream_id, piece, end=end and number == len(content))
    return sent(connection)


def serve(connection: H1ServerConnection, pieces: Sequence[bytes]) -> list[Event]:
    """Feed the pieces, and answer each request, or failure, when all of it has come."""
    events: list[Event] = []
    for piece in pieces:
        new = connection.receive_data(piece)
        while new:
            events += new
            for event in new:
                if isinstance(event, End) or (isinstance(event, Failed) and event.stream_id):
                    status = 200 if isinstance(event, End) else event.error.status
                    answer(connection, event.stream_id, status)
            new = connection.next_events()
    return events


def condition(connection: H1ServerConnection) -> str:
    """What becomes of the connection."""
    if connection.closed:
        return "closed"
    if connection.tunnelled:
        return "tunnel"
    return "idle" if connection.idle else "busy"
