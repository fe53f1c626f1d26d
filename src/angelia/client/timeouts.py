"""ClientTimeout: how long each phase of a request may take.

Owns the values and their defaults; `net` has the clocks.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from angelia.core.deprecation import warn_deprecated

__all__ = (
    "DEFAULT_TIMEOUT",
    "DEFAULT_WS_TIMEOUT",
    "ClientTimeout",
    "ClientWSTimeout",
    "effective_timeout",
    "effective_ws_timeout",
)


@dataclasses.dataclass(frozen=True, slots=True)
class ClientTimeout:
    """Timeouts of a request in seconds; None, the default of each, and 0 mean no limit.

    - `total`: the whole request, from the call to the last octet of content, redirects included;
      raises `TotalTimeoutError`, which is an `asyncio.TimeoutError`;
    - `connect`: getting a connection, be it the wait for a free one or the making of a new one;
      raises `ConnectionTimeoutError`;
    - `sock_connect`: connecting to one address of a peer; raises `ConnectionTimeoutError`;
    - `sock_read`: from one received octet to the next, once the request was sent; raises
      `SocketTimeoutError`;
    - `ceil_threshold`: totals beyond this are rounded up to a whole second, so that requests share
      timers;
    - `pool`: the wait for a free connection alone, while the connector's limits are reached; raises
      `PoolTimeoutError`. An addition to aiohttp's fields.

    Every one of the errors is an `asyncio.TimeoutError`. TypeError for what is no number.
    """

    total: float | None = None
    connect: float | None = None
    sock_read: float | None = None
    sock_connect: float | None = None
    ceil_threshold: float = 5
    pool: float | None = None

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and (
                not isinstance(value, int | float) or isinstance(value, bool)
            ):
                raise TypeError(f"{name} is a number of seconds or None, not {value!r}")


@dataclasses.dataclass(frozen=True, slots=True)
class ClientWSTimeout:
    """Timeouts of a WebSocket in seconds; None means no limit.

    - `ws_receive`: for each message, unless the call that waits for it has its own;
    - `ws_close`: from our Close frame to the peer's. `ws_connect` allows 10 seconds by default.
    """

    ws_receive: float | None = None
    ws_close: float | None = None


# What a session allows when it is not told: five minutes in all, 30 seconds for each address.
DEFAULT_TIMEOUT: Final = ClientTimeout(total=5 * 60, sock_connect=30)

# The documented default of `ws_connect`.
DEFAULT_WS_TIMEOUT: Final = ClientWSTimeout(ws_receive=None, ws_close=10.0)


def effective_timeout(timeout: object, default: ClientTimeout) -> ClientTimeout:
    """What `timeout` means: None for no limits, a number for `total`; TypeError for other types."""
    if isinstance(timeout, ClientTimeout):
        return timeout
    if timeout is None:
        return ClientTimeout()
    if isinstance(timeout, int | float) and not isinstance(timeout, bool):
        return dataclasses.replace(default, total=float(timeout))
    raise TypeError(f"timeout is a ClientTimeout or a number of seconds, not {timeout!r}")


def effective_ws_timeout(timeout: object, receive_timeout: float | None) -> ClientWSTimeout:
    """What the two arguments of `ws_connect` mean, the second and numbers being deprecated."""
    if isinstance(timeout, ClientWSTimeout):
        result = timeout
    elif timeout is None or (isinstance(timeout, int | float) and not isinstance(timeout, bool)):
        warn_deprecated("a bare number as timeout is deprecated, use ClientWSTimeout(ws_close=...)")
        result = ClientWSTimeout(ws_close=timeout)
    else:
        raise TypeError(f"timeout is a ClientWSTimeout or a number of seconds, not {timeout!r}")
    if receive_timeout is not None:
        warn_deprecated("receive_timeout is deprecated, use ClientWSTimeout(ws_receive=...)")
        result = dataclasses.replace(result, ws_receive=receive_timeout)
    return result
