"""UploadTracker: how far a request's body has got, and whether it went out whole.

Owns: the count of octets and the one final outcome of an upload. Knows nothing of requests: the
client tells it what happens, and users look and wait.

::

    NEW --start--> SENDING --finish--> COMPLETE --restart--> COMPLETE
                   SENDING --abort---> ABORTED  --restart--> SENDING

A body that went out whole stays complete when it is sent again: for a redirect, say.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Generator

from angelia.errors import UploadAbortedError

__all__ = ("UploadTracker",)


class _State(enum.Enum):
    NEW = "not begun"
    SENDING = "sending"
    COMPLETE = "complete"
    ABORTED = "aborted"


class UploadTracker:
    """Follows the body of one request::

        tracker = UploadTracker()
        ...
        print(tracker.bytes_written, "of", tracker.total)
        await tracker.wait()

    Octets are those of the plain body: before compression, and without framing. A request that is
    sent again, after a redirect or on another connection, starts counting anew. A tracker serves
    one request. Users read the attributes and wait; the other methods are for the client.
    """

    __slots__ = ("__weakref__", "_bytes_written", "_reason", "_state", "_total", "_waiters")

    def __init__(self) -> None:
        self._bytes_written = 0
        self._total: int | None = None
        self._state = _State.NEW
        self._reason: BaseException | None = None
        # Futures are made for those who wait only, so that a failure nobody waits for is silent.
        self._waiters: list[asyncio.Future[None]] = []

    def __repr__(self) -> str:
        total = "?" if self._total is None else self._total
        return f"<{type(self).__name__} {self._state.value} {self._bytes_written}/{total}>"

    @property
    def bytes_written(self) -> int:
        """Octets of the body written to the connection in the current attempt."""
        return self._bytes_written

    @property
    def total(self) -> int | None:
        """Octets that the body has; None where that is not known, or nothing was begun."""
        return self._total

    @property
    def done(self) -> bool:
        """Whether the outcome is known: the body went out whole, or never will."""
        return self._state in (_State.COMPLETE, _State.ABORTED)

    async def wait(self) -> None:
        """Return once the body has gone out whole; `UploadAbortedError` if it never will.

        Any number of tasks may wait, before the request has begun too. Cancelling a wait changes
        nothing for the upload or the others.
        """
        # Not once: an attempt may have failed and another begun before this task has its turn.
        while not self.done:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        if self._state is _State.ABORTED:
            # Made anew for each: one shared by tasks would grow a traceback with each of them.
            raise UploadAbortedError(
                f"the body did not go out whole: {self._bytes_written} bytes were written"
            ) from self._reason

    def __await__(self) -> Generator[None, None, None]:
        return self.wait().__await__()

    # --- for the client ------------------------------------------------------------------------

    def start(self, total: int | None) -> None:
        """The request begins; its body has `total` octets. RuntimeError if one has begun before."""
        if self._state is not _State.NEW:
            raise RuntimeError(f"{self!r} serves another request already")
        self._state = _State.SENDING
        self._total = total

    def restart(self, total: int | None = None) -> None:
        """The body is sent anew; its size is `total` if that is given, else as before.

        After `abort` the outcome is open again; who waited has been told, so `abort` is for the
        last attempt.
        """
        if self._state is _State.NEW:
            raise RuntimeError(f"cannot restart {self!r}")
        if self._state is _State.ABORTED:
            self._state = _State.SENDING
            self._reason = None
        self._bytes_written = 0
        if total is not None:
            self._total = total

    def wrote(self, size: int) -> None:
        """`size` more octets of the body were written in this attempt."""
        if self._state is not _State.ABORTED:
            self._bytes_written += size

    def finish(self) -> None:
        """The body went out whole. Nothing if the outcome is known already."""
        if self._state is _State.NEW:
            raise RuntimeError(f"cannot finish {self!r}")
        if not self.done:
            self._settle(_State.COMPLETE)

    def abort(self, reason: BaseException | None = None) -> None:
        """The body will not go out whole, for `reason`. Nothing if the outcome is known already."""
        if not self.done:
            self._reason = reason
            self._settle(_State.ABORTED)

    def _settle(self, state: _State) -> None:
        self._state = state
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
