"""CallThreads: threads that run calls, up to so many at a time.

Owns: the threads, the queue before them, which calls are not over. Knows nothing of requests or of
WSGI.

They are daemon threads. One that hangs in somebody's code cannot be stopped, and must not keep the
process from ending, as the executors of `concurrent.futures` would let it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Final, Generic, Protocol, TypeVar

__all__ = ("CallThreads",)

NAME: Final = "angelia-wsgi"


class Call(Protocol):
    """What a thread does. It lets nothing out that it raises."""

    def run(self) -> None: ...


C = TypeVar("C", bound=Call)


class _Work(Generic[C]):
    """What the threads share. They do not know their `CallThreads`, so that it can be let go.

    Threads are woken one at a time: who takes a call and sees another one behind it wakes the next
    thread. Were one woken for each call, they would stand in line for the interpreter's lock and
    hand it round; a thread whose call was short is there for the next one before others wake up.
    """

    __slots__ = ("_idle", "_waking", "calls", "ended", "queue", "watchers")

    def __init__(self) -> None:
        self.queue: deque[tuple[Context, C]] = deque()
        # No call will come any more.
        self.ended = False
        self.calls: set[C] = set()
        self.watchers: list[Callable[[], None]] = []
        # What the threads without a call wait for.
        self._idle: list[threading.Lock] = []
        # A thread was woken, and has not looked at the queue yet.
        self._waking = False

    def wake(self) -> None:
        """Let a thread that has no call look at the queue. From any thread."""
        if self._waking:
            return
        try:
            gate = self._idle.pop()
        except IndexError:
            # They look at it when they are through with theirs.
            return
        self._waking = True
        gate.release()

    def __call__(self) -> None:
        gate = threading.Lock()
        gate.acquire()
        while (item := self._take(gate)) is not None:
            context, call = item
            context.run(call.run)
            self.calls.discard(call)
            # Nothing of a call is kept until the next one.
            del item, context, call
            for watcher in tuple(self.watchers):
                watcher()
        # The other ones are to end as well.
        self.wake()

    def _take(self, gate: threading.Lock) -> tuple[Context, C] | None:
        """The next call, when there is one; None when none will come."""
        while True:
            try:
                item = self.queue.popleft()
            except IndexError:
                if self.ended:
                    return None
            else:
                if self.queue:
                    self.wake()
                return item
            self._idle.append(gate)
            if self.queue or self.ended:
                # Whoever brought it may have found nobody to wake.
                self.wake()
            gate.acquire()
            self._waking = False


class CallThreads(Generic[C]):
    """Up to `size` threads, begun when there are calls for them. For one event loop."""

    __slots__ = ("_size", "_soon", "_started", "_work")

    def __init__(self, size: int) -> None:
        self._size = size
        self._started = 0
        # `_wake` will be called at the end of this turn.
        self._soon = False
        self._work: _Work[C] = _Work()

    def __len__(self) -> int:
        """How many calls are under way, or wait for a thread."""
        return len(self._work.calls)

    def __del__(self) -> None:
        self._end()

    def submit(self, call: C) -> None:
        """Let a thread run `call`, in a copy of the current context: what it leaves is its own."""
        work = self._work
        work.calls.add(call)
        work.queue.append((copy_context(), call))
        # Not at once: the loop lets go of the interpreter's lock for each of its reads, and the
        # thread would take it there.
        if not self._soon:
            self._soon = True
            asyncio.get_running_loop().call_soon(self._wake)
        # Those that are started have a call, or will ask for one.
        if self._started < min(self._size, len(work.calls)):
            self._started += 1
            name = f"{NAME}_{self._started}"
            threading.Thread(target=work, name=name, daemon=True).start()

    def _wake(self) -> None:
        self._soon = False
        self._work.wake()

    async def close(self, timeout: float) -> tuple[C, ...]:
        """Wait up to `timeout` seconds for the calls; those that go on. The rest never begins."""
        await self._wait(timeout)
        work = self._work
        try:
            while True:
                work.calls.discard(work.queue.popleft()[1])
        except IndexError:
            self._end()
        return tuple(work.calls)

    def _end(self) -> None:
        self._work.ended = True
        self._work.wake()

    async def _wait(self, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        work = self._work

        def check() -> None:
            if not (work.calls or over.done()):
                over.set_result(None)

        def watcher() -> None:
            try:
                loop.call_soon_threadsafe(check)
            except RuntimeError:
                # The loop has been closed: nobody waits.
                return

        work.watchers.append(watcher)
        check()
        try:
            await asyncio.wait((over,), timeout=timeout)
        finally:
            work.watchers.remove(watcher)
