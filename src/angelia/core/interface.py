"""The waist: heads, events, and the face of an HTTP connection without I/O.

Owns the types that cross between a protocol core and `net`. HTTP/1.1 is a connection that offers at
most one stream at a time, HTTP/2 one that offers many (RFC 9113 §8.1); both show `HTTPConnection`,
and everything above it is written once.

**Flow control.** A protocol with windows (`has_windows`) lets the peer send so much and no more
until `acknowledge` says that a reader has taken it; one without is held back by not reading the
socket. In the other direction `send_capacity` says how many octets of content a stream may send
now.

**After an upgrade.** When a `101` answers an upgrade, or a `2xx` a CONNECT, the content of the
stream is no longer framed: it goes on until the connection ends, in both directions, through the
same `send_content` and `Content`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Final, NamedTuple, Protocol, TypeAlias

from angelia.errors import RemoteProtocolError

__all__ = (
    "Buffer",
    "Content",
    "End",
    "Event",
    "Failed",
    "HTTPConnection",
    "Headers",
    "HttpVersion",
    "HttpVersion10",
    "HttpVersion11",
    "RequestHead",
    "ResponseHead",
    "Role",
    "Special",
)

Buffer: TypeAlias = bytes | bytearray | memoryview
Headers: TypeAlias = Sequence[tuple[str, str]]
Special: TypeAlias = Mapping[str, "str | list[str]"]


class Role(enum.Enum):
    """Which side of the connection this is."""

    CLIENT = "client"
    SERVER = "server"


class HttpVersion(NamedTuple):
    """An HTTP version: ``HttpVersion(1, 1)`` is HTTP/1.1."""

    major: int
    minor: int


HttpVersion10 = HttpVersion(1, 0)
HttpVersion11 = HttpVersion(1, 1)


class _Value:
    """Equality and representation by value, for the slotted classes of this module.

    They hold lists and can be changed, and so have no hash.
    """

    __slots__: tuple[str, ...] = ()

    __hash__ = None  # type: ignore[assignment]  # how the data model says "unhashable"

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __repr__(self) -> str:
        fields = (f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({', '.join(fields)})"


# Of a head that was not received.
NO_FIELDS: Final[Special] = MappingProxyType({})


class RequestHead(_Value):
    """A request's control data and fields (RFC 9110 §6.2, RFC 9112 §3).

    `headers` are name and value pairs in their order on the wire; a received value keeps
    undecodable octets as surrogate escapes. `raw` and `special` are as in `ResponseHead`, and empty
    for one that is to be sent.
    """

    __slots__ = ("headers", "method", "raw", "special", "stream_id", "target", "version")

    def __init__(
        self,
        method: str,
        target: str,
        headers: Headers,
        version: HttpVersion = HttpVersion11,
        stream_id: int = 0,
        raw: bytes = b"",
        special: Special = NO_FIELDS,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.version = version
        self.stream_id = stream_id
        self.raw = raw
        self.special = special

    def _values(self) -> tuple[object, ...]:
        return self.method, self.target, list(self.headers), self.version, self.stream_id


class ResponseHead(_Value):
    """A response's control data and fields (RFC 9110 §6.2, RFC 9112 §4).

    `raw` is the head as it came, start line included, and empty for one that is to be sent.
    `special` has the few fields that decide what happens next (framing, cookies, location) by
    lower-case name, so that nobody searches for them: one value, or a list where the field repeats.
    """

    __slots__ = ("headers", "raw", "reason", "special", "status", "stream_id", "version")

    def __init__(
        self,
        status: int,
        reason: str,
        headers: Headers,
        version: HttpVersion = HttpVersion11,
        stream_id: int = 0,
        raw: bytes = b"",
        special: Special | None = None,
    ) -> None:
        self.special: Special = {} if special is None else special
        self.status = status
        self.reason = reason
        self.headers = headers
        self.version = version
        self.stream_id = stream_id
        self.raw = raw

    def _values(self) -> tuple[object, ...]:
        return self.status, self.reason, list(self.headers), self.version, self.stream_id


class Content(_Value):
    """Octets of content; `chunk_end` says that an HTTP/1.1 chunk ends with them."""

    __slots__ = ("chunk_end", "data", "stream_id")

    def __init__(self, stream_id: int, data: Buffer, chunk_end: bool = False) -> None:
        self.stream_id = stream_id
        self.data = data
        self.chunk_end = chunk_end


class End(_Value):
    """The peer has sent the last octet of this message; its trailer fields, if any."""

    __slots__ = ("stream_id", "trailers")

    def __init__(self, stream_id: int, trailers: Headers = ()) -> None:
        self.stream_id = stream_id
        self.trailers = trailers

    def _values(self) -> tuple[object, ...]:
        return self.stream_id, list(self.trailers)


class Failed(_Value):
    """The peer broke a rule: the stream, or with stream_id 0 the whole connection, is lost."""

    __slots__ = ("error", "stream_id")

    def __init__(self, stream_id: int, error: RemoteProtocolError) -> None:
        self.stream_id = stream_id
        self.error = error

    def _values(self) -> tuple[object, ...]:
        return self.stream_id, type(self.error), str(self.error)


Event: TypeAlias = RequestHead | ResponseHead | Content | End | Failed


class HTTPConnection(Protocol):
    """An HTTP connection without I/O: the only face that `net` knows."""

    @property
    def available_streams(self) -> int:
        """How many streams may be opened now (HTTP/1.1: 0 or 1)."""

    has_windows: ClassVar[bool]
    """Whether each stream has a window; if not, a slow reader stops the whole connection."""

    @property
    def idle_timeout(self) -> float | None:
        """For how many seconds the peer said it keeps an idle connection, if it did."""

    @property
    def wants_data(self) -> bool:
        """False while so much was received ahead that the socket should not be read."""

    @property
    def closed(self) -> bool:
        """Whether nothing more can happen: what is to be sent goes out, and then it ends."""

    def receive_data(self, data: bytes) -> list[Event]:
        """Parse what the socket gave. Never raises for what a peer sent: see `Failed`."""

    def next_events(self) -> list[Event]:
        """What was received ahead and may be looked at now: to be asked for when a response has
        ended, or an upgrade was accepted, until there is none."""

    def receive_eof(self) -> list[Event]:
        """The peer will send no more."""

    def open_stream(self) -> int:
        """Reserve a stream and return its number, which is never 0."""

    def send_head(self, stream_id: int, head: RequestHead | ResponseHead, *, end: bool) -> None:
        """Send a message's head; `end` says that no content follows."""

    def send_content(self, stream_id: int, data: Buffer, *, end: bool) -> None:
        """Send content, framed as the head announced it."""

    def send_capacity(self, stream_id: int) -> int:
        """How many octets of content may be sent now."""

    def acknowledge(self, stream_id: int, size: int) -> None:
        """`size` octets of received content have been taken over by their reader."""

    def reset_stream(self, stream_id: int) -> None:
        """Abandon a stream; with HTTP/1.1 that is the end of the connection."""

    def data_to_send(self) -> list[Buffer]:
        """Take what is to be written to the socket, in order."""
