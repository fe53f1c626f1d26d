"""Deadlines of requests: one cheap object each, few timers of the event loop.

Owns: when a request's total timeout ends, and telling whoever works for the request then. Knows
nothing of requests: it calls `abort` of its current target.

Deadlines more than `ceil_threshold` seconds away are rounded up to a whole second and share one
timer with all others of that second, so that a request adds no timer of its own. Nothing is ever
cancelled from here: the target fails the future that its request waits on, and so no cancellation
of ours can be mistaken for one from outside.
"""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

from angelia.errors import TotalTimeoutError

__all__ = ("Abortable", "Deadline", "Deadlines")


class Abortable(Protocol):
    """Something a request waits on."""

    def abort(self, error: BaseException) -> None:
        """Fail what waits, and free what it holds."""


class Deadline:
    """The end of one request's time. `cancel` it when the request is over."""

    __slots__ = ("_bucket", "_handle", "_seconds", "expired", "target")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._bucket: set[Deadline] | None = None
        self._handle: asyncio.TimerHandle | None = None
        self.expired = False
        self.target: Abortable | None = None

    def error(self) -> TotalTimeoutError:
        """The error that this deadline means."""
        return TotalTimeoutError(f"request took longer than {self._seconds:g} seconds")

    def check(self) -> None:
        """Raise if the time is over: before anything is begun that could wait."""
        if self.expired:
            raise self.error()

    def expire(self) -> None:
        """The time is over."""
        self.expired = True
        self._bucket = self._handle = None
        target = self.target
        if target is not None:
            self.target = None
            target.abort(self.error())

    def cancel(self) -> None:
        """The request is over; nothing will be told any more. Idempotent."""
        self.target = None
        if self._bucket is not None:
            self._bucket.discard(self)
            self._bucket = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class Deadlines:
    """All deadlines of one event loop's session."""

    __slots__ = ("_buckets", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, tuple[set[Deadline], asyncio.TimerHandle]] = {}

    def start(self, seconds: float, ceil_threshold: float, now: float) -> Deadline:
        """A deadline in `seconds`, rounded up to a whole second if beyond `ceil_threshold`."""
        deadline = Deadline(seconds)
        if seconds == math.inf:
            return deadline
        when = now + seconds
        if seconds <= ceil_threshold:
            deadline._handle = self._loop.call_at(when, deadline.expire)
            return deadline
        second = math.ceil(when)
        entry = self._buckets.get(second)
        if entry is None:
            timer = self._loop.call_at(second, self._expire, second)
            entry = self._buckets[second] = (set(), timer)
        entry[0].add(deadline)
        deadline._bucket = entry[0]
        return deadline

    def _expire(self, second: int) -> None:
        deadlines, _ = self._buckets.pop(second)
        for deadline in tuple(deadlines):
            deadline.expire()

    def close(self) -> None:
        """Cancel the timers that nobody needs any more; deadlines still running expire in time."""
        for second, (deadlines, timer) in tuple(self._buckets.items()):
            if not deadlines:
                timer.cancel()
                del self._buckets[second]
