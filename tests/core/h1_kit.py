"""A client's connection under test: opened, fed in pieces, and what came of it as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

from angelia.core.h1 import H1ClientConnection
from angelia.core.h1_wire import DEFAULT_LIMITS, HeadLimits
from angelia.core.interface import (
    Content,
    End,
    Event,
    Failed,
    Headers,
    HTTPConnection,
    HttpVersion,
    HttpVersion11,
    RequestHead,
    ResponseHead,
)

Shown: TypeAlias = tuple[Any, ...]

STRICT = HeadLimits(lenient=False)


def sent(connection: HTTPConnection) -> bytes:
    """What the connection wants to be written."""
    return b"".join(bytes(piece) for piece in connection.data_to_send())


def asking(
    method: str = "GET",
    headers: Headers = (("Host", "a"),),
    *,
    end: bool = True,
    version: HttpVersion = HttpVersion11,
    limits: HeadLimits = DEFAULT_LIMITS,
    read_until_eof: bool = True,
) -> H1ClientConnection:
    """A connection that has sent its first request."""
    connection = H1ClientConnection()
    ask_again(
        connection,
        method,
        headers,
        end=end,
        version=version,
        limits=limits,
        read_until_eof=read_until_eof,
    )
    return connection


def ask_again(
    connection: H1ClientConnection,
    method: str = "GET",
    headers: Headers = (("Host", "a"),),
    *,
    end: bool = True,
    version: HttpVersion = HttpVersion11,
    limits: HeadLimits = DEFAULT_LIMITS,
    read_until_eof: bool = True,
) -> int:
    """Send another request; its number."""
    stream_id = connection.open_stream(limits=limits, read_until_eof=read_until_eof)
    target = "a:443" if method == "CONNECT" else "/"
    connection.send_head(stream_id, RequestHead(method, target, headers, version), end=end)
    sent(connection)
    return stream_id


def each_octet(wire: bytes) -> list[bytes]:
    """The octets one by one."""
    return [wire[i : i + 1] for i in range(len(wire))]


def cut_at(wire: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The octets in pieces."""
    places = [0, *sorted({cut % (len(wire) + 1) for cut in cuts}), len(wire)]
    return [wire[a:b] for a, b in pairwise(places)]


def every_way(wire: bytes) -> Iterator[list[bytes]]:
    """Whole, octet by octet, and in two pieces with the cut at each place."""
    yield [wire]
    yield each_octet(wire)
    for cut in range(1, len(wire)):
        yield [wire[:cut], wire[cut:]]


def feed(connection: HTTPConnection, pieces: Iterable[bytes], *, eof: bool = False) -> list[Event]:
    """All events of all pieces, and of the end of the connection."""
    events: list[Event] = []
    for piece in pieces:
        events += connection.receive_data(piece)
    if eof:
        events += connection.receive_eof()
    return events


def merged(events: Iterable[Event]) -> list[Event]:
    """The events with neighbouring content put together, up to the end of each chunk."""
    result: list[Event] = []
    for event in events:
        before = result[-1] if result else None
        if isinstance(event, Content) and isinstance(before, Content) and not before.chunk_end:
            data = bytes(before.data) + bytes(event.data)
            result[-1] = Content(event.stream_id, data, event.chunk_end)
        else:
            result.append(event)
    return result


def show(event: Event) -> Shown:
    """An event as a value for a table."""
    if isinstance(event, ResponseHead):
        version = f"{event.version.major}.{event.version.minor}"
        return "head", version, event.status, event.reason, list(event.headers)
    if isinstance(event, Content):
        return ("chunk" if event.chunk_end else "content"), bytes(event.data)
    if isinstance(event, End):
        return ("end", *event.trailers)
    if isinstance(event, Failed):
        return "failed", event.stream_id, type(event.error).__name__
    raise TypeError(f"a client receives no {event!r}")


def shown(events: Iterable[Event]) -> list[Shown]:
    """The events, merged, as values for a table."""
    return [show(event) for event in merged(events)]


def content_of(events: Sequence[Event]) -> bytes:
    """The content of all the events."""
    return b"".join(bytes(event.data) for event in events if isinstance(event, Content))


def failure(events: Sequence[Event]) -> Failed | None:
    """The failure that the events end with."""
    failures = [event for event in events if isinstance(event, Failed)]
    if failures and (len(failures) > 1 or events[-1] is not failures[0]):
        raise AssertionError(f"something follows a failure: {events!r}")
    return failures[0] if failures else None


def states(connection: H1ClientConnection) -> str:
    """The two half-states, as its `repr` shows them."""
    return repr(connection).partition("sending=")[2].rstrip(">")


def condition(connection: H1ClientConnection) -> str:
    """What becomes of the connection: ``idle`` may be used again, ``closed`` may not."""
    if connection.closed:
        return "closed"
    if connection.tunnelled:
        return "tunnel"
    return "idle" if connection.available_streams else "busy"
