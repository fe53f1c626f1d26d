"""Reconnecting: one WebSocket after the other, with pauses that grow while the server is away.

Owns: which failures of a handshake are tried again, and how long to wait before. Knows of sessions
only the call that opens a WebSocket.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Final, NamedTuple

from angelia import hdrs
from angelia.client.websocket import ClientWebSocketResponse
from angelia.core.fields import parse_http_date
from angelia.errors import (
    ClientConnectionError,
    ClientConnectorCertificateError,
    ClientHttpProxyError,
    InvalidURL,
    ServerFingerprintMismatch,
    WSServerHandshakeError,
)

__all__ = ("DEFAULT_BACKOFF", "Backoff", "is_temporary", "reconnections", "retry_after")

# RFC 9110 §15: answers that may be others a little later. Any other answer to a handshake is final.
TEMPORARY_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})

# A server's Retry-After is kept up to so many seconds.
MAX_RETRY_AFTER: Final = 3600.0


def _random() -> float:
    # The module random loads a dozen others.
    return int.from_bytes(os.urandom(4)) / 2**32


class Backoff(NamedTuple):
    """How long to wait before a connection is tried again; times are in seconds.

    The pause is `first`, multiplied by `factor` for each further failure in a row, up to `maximum`.
    A random part of it, up to `jitter` (0 to 1), is left out, so that clients whose server went
    away do not come back all at once. A connection that lasted for `stable` starts the count anew.
    `attempts` failures in a row are enough: the last one's error is raised; None is any number.
    `random` returns a float of 0 to 1, for tests.
    """

    first: float = 0.5
    maximum: float = 60.0
    factor: float = 2.0
    jitter: float = 0.5
    stable: float = 30.0
    attempts: int | None = None
    random: Callable[[], float] = _random

    def delay(self, failures: int) -> float:
        """The pause after so many failures in a row; a connection that is over is the first."""
        # Beyond a hundred doublings no float is needed to know that it is the maximum.
        whole = self.first * self.factor ** min(failures - 1, 100)
        return min(self.maximum, whole) * (1.0 - self.jitter * self.random())

    def check(self) -> None:
        """ValueError for what is no such time, factor or count."""
        for name in ("first", "maximum", "stable"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"Backoff.{name} is no time: {getattr(self, name)!r}")
        if not 1 <= self.factor <= 1000:
            raise ValueError(f"Backoff.factor is not of 1 to 1000: {self.factor!r}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"Backoff.jitter is not of 0 to 1: {self.jitter!r}")
        if self.attempts is not None and self.attempts < 1:
            raise ValueError(f"Backoff.attempts is less than 1: {self.attempts!r}")


DEFAULT_BACKOFF: Final = Backoff()


def is_temporary(error: Exception) -> bool:
    """Whether the same handshake may succeed a little later."""
    if isinstance(error, WSServerHandshakeError | ClientHttpProxyError):
        return error.status in TEMPORARY_STATUSES
    if isinstance(error, ClientConnectorCertificateError | ServerFingerprintMismatch | InvalidURL):
        return False
    return isinstance(error, ClientConnectionError | TimeoutError)


def retry_after(headers: Mapping[str, str] | None, now: datetime) -> float:
    """The seconds that a Retry-After field asks for (RFC 9110 §10.2.3); 0 without a sound one."""
    value = "" if headers is None else headers.get(hdrs.RETRY_AFTER, "").strip(" \t")
    if value.isascii() and value.isdigit():
        # No number that is longer than this one is less.
        seconds = float(value) if len(value) < 10 else MAX_RETRY_AFTER
    elif (date := parse_http_date(value)) is not None:
        seconds = (date - now).total_seconds()
    else:
        return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


async def reconnections(
    connect: Callable[[], AbstractAsyncContextManager[ClientWebSocketResponse]],
    is_closed: Callable[[], bool],
    backoff: Backoff,
) -> AsyncGenerator[ClientWebSocketResponse, None]:
    """Open WebSockets, each when the one before has been done with; see `ws_reconnect`."""
    loop = asyncio.get_running_loop()
    failures = 0
    while True:
        least = 0.0
        try:
            async with connect() as ws:
                opened = loop.time()
                yield ws
        except Exception as error:
            failures += 1
            enough = backoff.attempts is not None and failures >= backoff.attempts
            if enough or is_closed() or not is_temporary(error):
                raise
            if isinstance(error, WSServerHandshakeError | ClientHttpProxyError):
                least = retry_after(error.headers, datetime.now(UTC))
        else:
            # What was stable begins anew; what breaks at once, again and again, is a failure.
            failures = 1 if loop.time() - opened >= backoff.stable else failures + 1
        await asyncio.sleep(max(least, backoff.delay(failures)))
