"""ServerOptions: the limits and habits of a server, as one value.

Owns the defaults and their reasons. Knows nothing of what obeys them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from angelia.core.h1_wire import DEFAULT_LIMITS, HeadLimits
from angelia.net.streams import DEFAULT_LIMIT

if TYPE_CHECKING:
    from angelia.server.access_log import AbstractAccessLogger
    from angelia.server.request import Request
    from angelia.server.stream_response import StreamResponse

__all__ = ("Handler", "ServerOptions")

Handler: TypeAlias = "Callable[[Request], Awaitable[StreamResponse]]"

# Octets of a body that is read into memory as a whole.
MAX_BODY_SIZE: Final = 1024 * 1024
# No form that people fill in has as many; each costs more than the octets it came in.
MAX_FORM_FIELDS: Final = 1000
# Longer than the 60 s after which common proxies in front of a server let an idle connection go, so
# that it is the proxy that closes, and no request meets a closed door.
KEEPALIVE_TIMEOUT: Final = 75.0
# A head is small: who takes longer is slow on purpose, or gone.
HEAD_TIMEOUT: Final = 30.0
# From one piece of a body to the next.
BODY_TIMEOUT: Final = 60.0
# From one time that a client takes some of what it is sent to the next.
SEND_TIMEOUT: Final = 60.0
# For what a client still sends after it was answered.
LINGERING_TIME: Final = 10.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What a `Server` was told; see there."""

    handler: Handler
    limits: HeadLimits = DEFAULT_LIMITS
    max_body_size: int = MAX_BODY_SIZE
    max_form_fields: int = MAX_FORM_FIELDS
    max_connections: int = 0
    max_decoded_size: int | None = None
    head_timeout: float = HEAD_TIMEOUT
    body_timeout: float = BODY_TIMEOUT
    keepalive_timeout: float = KEEPALIVE_TIMEOUT
    lingering_time: float = LINGERING_TIME
    send_timeout: float = SEND_TIMEOUT
    read_bufsize: int = DEFAULT_LIMIT
    auto_decompress: bool = True
    handler_cancellation: bool = False
    access_log: AbstractAccessLogger | None = None
    debug: bool = False
