"""CallThreads: threads that run calls, up to so many at a time.

Owns: the threads, the queue before them, which calls are not over. Knows nothing of requests or of
WSGI.

They are daemon threads. One that hangs in somebody's code cannot be stopped, and must not keep the
process from ending, as the executors of `concurrent.futures` would let it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from typing import Final, Generic, Protocol, TypeVar

__all__ = ("CallThreads",)

NAME: Final = "angelia-wsgi"


class Call(Protocol):
    """What a thread does. It lets nothing out that it raises."""

    def run(self) -> None: ...


C = TypeVar("C", bound=Call)


class _Work(Generic[C]):
    """What the threads share. They do not know their `CallThreads`, so that it can be let go."""

    __slots__ = ("calls", "queue", "watchers")

    def __init__(self) -> None:
        # None tells a thread to end, and to tell the next one.
        self.queue: SimpleQueue[tuple[Context, C] | None] = SimpleQueue()
        self.calls: set[C] = set()
        self.watchers: list[Callable[[], None]] = []

    def __call__(self) -> None:
        while (item := self.queue.get()) is not None:
            context, call = item
            context.run(call.run)
            self.calls.discard(call)
            # Nothing of a call is kept until the next one.
            del item, context, call
            for watcher in tuple(self.watchers):
                watcher()
        self.queue.put(None)


class CallThreads(Generic[C]):
    """Up to `size` threads, begun when there are calls for them. For one event loop."""

    __slots__ = ("_size", "_started", "_work")

    def __init__(self, size: int) -> None:
        self._size = size
        self._started = 0
        self._work: _Work[C] = _Work()

    def __len__(self) -> int:
        """How many calls are under way, or wait for a thread."""
        return len(self._work.calls)

    def __del__(self) -> None:
        self._work.queue.put(None)

    def submit(self, call: C) -> None:
        """Let a thread run `call`, in a copy of the current context: what it leaves is its own."""
        work = self._work
        work.calls.add(call)
        work.queue.put((copy_context(), call))
        # Those that are started have a call, or will ask for one.
        if self._started < min(self._size, len(work.calls)):
            self._started += 1
            name = f"{NAME}_{self._started}"
            threading.Thread(target=work, name=name, daemon=True).start()

    async def close(self, timeout: float) -> tuple[C, ...]:
        """Wait up to `timeout` seconds for the calls; those that go on. The rest never begins."""
        await self._wait(timeout)
        work = self._work
        try:
            while True:
                item = work.queue.get_nowait()
                if item is not None:
                    work.calls.discard(item[1])
        except Empty:
            work.queue.put(None)
        return tuple(work.calls)

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
