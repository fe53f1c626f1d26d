"""Pings of a WebSocket: how long the peer takes to answer, and whether it is still there.

Owns: which Ping waits for its Pong (RFC 6455 §5.5.3), and the one timer of the heartbeat. Knows
nothing of frames and sockets: it is told what came, and calls what sends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

__all__ = ("Heartbeat", "Latency")


class Latency:
    """The time from a Ping to its Pong. `seconds` is that of the last one, None before."""

    __slots__ = ("_said", "_sent_at", "seconds")

    def __init__(self) -> None:
        self.seconds: float | None = None
        # What the Ping says that waits for its Pong.
        self._said: bytes | None = None
        self._sent_at = 0.0

    def ping_sent(self, data: bytes) -> None:
        """A Ping goes out: the peer need only answer the last one (RFC 6455 §5.5.3)."""
        # Two that say the same cannot be told apart: the Pong that comes is the first one's.
        if self._said != data:
            self._said, self._sent_at = data, time.perf_counter()

    def pong_received(self, data: bytes) -> None:
        """RFC 6455 §5.5.3: a Pong says what its Ping said; one that nobody asked for, nothing."""
        if self._said == data:
            self.seconds = time.perf_counter() - self._sent_at
            self._said = None


class Heartbeat:
    """Sends a Ping when nothing has come for `interval` seconds, and waits half of that for more.

    `heard_at` says when something came last, in the loop's time. `ping` sends, and says whether it
    could. `fail` is called, once, when nothing came.
    """

    __slots__ = ("_fail", "_heard_at", "_heard_before", "_interval", "_loop", "_ping", "_timer")

    def __init__(
        self,
        interval: float,
        heard_at: Callable[[], float],
        ping: Callable[[], bool],
        fail: Callable[[float], None],
        *,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._interval = interval
        self._heard_at = heard_at
        self._ping = ping
        self._fail = fail
        self._loop = loop
        # When something had come last as the Ping was sent whose Pong is waited for.
        self._heard_before: float | None = None
        self._timer = loop.call_later(interval, self._beat)

    def stop(self) -> None:
        """No Ping goes out any more, and none is missed."""
        self._timer.cancel()

    def _beat(self) -> None:
        # One timer that looks how long it has been quiet, not one that is moved by each read.
        heard = self._heard_at()
        before = self._heard_before
        # Compared with what was heard before the Ping and not with its own time: uvloop's clock
        # has milliseconds, and a Pong may come within the same one.
        if before is not None and heard <= before:
            # The documented half of the heartbeat.
            self._fail(self._interval / 2)
            return
        self._heard_before = None
        quiet = self._loop.time() - heard
        if quiet < self._interval:
            self._timer = self._loop.call_later(self._interval - quiet, self._beat)
        elif self._ping():
            self._heard_before = heard
            self._timer = self._loop.call_later(self._interval / 2, self._beat)
