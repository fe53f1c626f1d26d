"""What both roles of an HTTP/1.1 connection share: its half-states, and when it persists.

Owns: the names of the states, what waits to be written, the rule of RFC 9112 §9.3. Does not know
which role goes through which state when: that is `h1`'s for a client and `h1_server`'s for a
server.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import ClassVar, Final

from angelia.core.h1_body import ContentReader, ContentWriter
from angelia.core.h1_wire import HeadBuffer, HeadLimits
from angelia.core.interface import Buffer, Role
from angelia.errors import LocalProtocolError, RemoteProtocolError

__all__ = ("UNLIMITED", "H1Connection", "Half", "persistent", "without_frames")

# HTTP/1.1 content goes out as fast as the socket takes it: the transport is what limits it.
UNLIMITED: Final = 2**31 - 1


class Half(enum.IntEnum):
    """The state of one direction."""

    IDLE = 0
    HEAD = 1
    CONTENT = 2
    TUNNEL = 3
    DONE = 4
    CLOSED = 5


def persistent(minor: int, options: Sequence[str]) -> bool:
    """Whether a message of HTTP/1.`minor` leaves the connection open (RFC 9112 §9.3).

    `options` are those of its `Connection` fields, in lower case.
    """
    if "close" in options:
        return False
    # A version above 1.1 may have other rules: nothing is taken for granted.
    return minor == 1 or (minor == 0 and "keep-alive" in options)


def without_frames(error: RemoteProtocolError) -> RemoteProtocolError:
    """An error that is handed on as a value.

    Its frames would hold the list of events that it is in, a cycle with all that was received.
    """
    for found in (error, error.__context__):
        if found is not None:
            found.__traceback__ = None
    return error


class H1Connection:
    """One side of an HTTP/1.1 connection: a state for each direction, and what is to be written."""

    has_windows: ClassVar[bool] = False

    __slots__ = (
        "_close_asked",
        "_head",
        "_limits",
        "_outbox",
        "_reader",
        "_receiving",
        "_sending",
        "_stream_id",
        "_writer",
    )

    def __init__(self, role: Role, limits: HeadLimits) -> None:
        """`role` is that of this side; `limits` hold for the heads that it receives."""
        self._sending = Half.IDLE
        self._receiving = Half.IDLE
        self._stream_id = 0
        self._limits = limits
        # Whether this exchange is the last one.
        self._close_asked = False
        self._outbox: list[Buffer] = []
        self._head = HeadBuffer(role)
        self._reader: ContentReader | None = None
        self._writer: ContentWriter | None = None

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} exchange {self._stream_id} "
            f"sending={self._sending.name} receiving={self._receiving.name}>"
        )

    @property
    def tunnelled(self) -> bool:
        """Whether the content is unframed now: after an upgrade or a CONNECT."""
        return self._receiving is Half.TUNNEL

    def send_content(self, stream_id: int, data: Buffer, *, end: bool) -> None:
        """Send content; LocalProtocolError, and nothing of it sent, where it breaks the framing."""
        writer = self._writer
        if writer is None or stream_id != self._stream_id:
            raise LocalProtocolError(f"no content can be sent for exchange {stream_id} on {self!r}")
        self._outbox += writer.send(data, end=end)
        if end:
            self._writer = None
            self._sending = Half.DONE
            self._settle()

    def _settle(self) -> None:
        """A direction has come to its end; to be overridden."""
        raise NotImplementedError

    def data_to_send(self) -> list[Buffer]:
        """What is to be written now."""
        outbox = self._outbox
        self._outbox = []
        return outbox

    def acknowledge(self, stream_id: int, size: int) -> None:
        """HTTP/1.1 has no windows."""
