"""DataQueue: a stream of items instead of octets, with one reader.

Owns: the items, the one who waits for them, high and low water marks. Part of the documented API;
nothing in the library uses it.
"""

from __future__ import annotations

import asyncio
import collections
from typing import Generic, TypeVar

from angelia.errors import EofStream
from angelia.net.streams import AsyncStreamIterator, FlowControl, duplicate

__all__ = ("DataQueue", "FlowControlDataQueue")

T = TypeVar("T")


class DataQueue(Generic[T]):
    """A queue of items with one reader, that ends once: `EofStream` is raised after the last."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._eof = False
        self._waiter: asyncio.Future[None] | None = None
        self._exception: BaseException | None = None
        self._items: collections.deque[tuple[T, int]] = collections.deque()

    def __len__(self) -> int:
        return len(self._items)

    def is_eof(self) -> bool:
        """Whether the last item has come."""
        return self._eof

    def at_eof(self) -> bool:
        """Whether the last item has been read."""
        return self._eof and not self._items

    def exception(self) -> BaseException | None:
        """The error that ended the queue, if one did."""
        return self._exception

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """End the queue with an error, which the reader gets after the items that came before."""
        if exc_cause is not None and exc.__cause__ is None:
            exc.__cause__ = exc_cause
        self._eof = True
        self._exception = exc
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self._failure())

    def _failure(self) -> BaseException:
        """The error to raise now; one like it is kept for the next reader."""
        exc = self._exception
        if exc is None:
            raise RuntimeError("the queue has not failed")
        self._exception = duplicate(exc)
        return exc

    def feed_data(self, data: T, size: int = 0) -> None:
        """Add an item of `size` octets."""
        self._items.append((data, size))
        self._wake()

    def feed_eof(self) -> None:
        """The last item has been added."""
        self._eof = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self) -> T:
        """The next item; EofStream after the last, or the error that was set."""
        while not self._items:
            if self._exception is not None:
                raise self._failure()
            if self._eof:
                raise EofStream
            if self._waiter is not None:
                raise RuntimeError("read() while another coroutine waits for an item")
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._take()

    def _take(self) -> T:
        return self._items.popleft()[0]

    def __aiter__(self) -> AsyncStreamIterator[T]:
        return AsyncStreamIterator(self.read)


class FlowControlDataQueue(DataQueue[T]):
    """A `DataQueue` that pauses the flow above twice `limit` octets, and resumes it below."""

    def __init__(
        self, protocol: FlowControl, limit: int, *, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(loop)
        self._protocol = protocol
        self._low = limit
        self._high = limit * 2
        self._size = 0
        self._paused = False

    def feed_data(self, data: T, size: int = 0) -> None:
        super().feed_data(data, size)
        self._size += size
        if self._size > self._high and not self._paused:
            self._paused = True
            self._protocol.pause_reading()

    def _take(self) -> T:
        item, size = self._items.popleft()
        self._size -= size
        if self._paused and self._size < self._low:
            self._paused = False
            self._protocol.resume_reading()
        return item
