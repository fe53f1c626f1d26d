"""What both roles of an HTTP/1.1 connection share: its half-states, and when it persists.

Owns: the names of the states, the rule of RFC 9112 §9.3. Knows nothing of octets, nor which role
goes through which state when: that is `h1`'s for a client and `h1_server`'s for a server.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final

from angelia.errors import RemoteProtocolError

__all__ = ("UNLIMITED", "Half", "persistent", "without_frames")

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
