"""StreamReader: what an exchange delivers content into, and a user reads it from.

Owns: buffered content, the one waiting reader, high and low water marks. Knows nothing of HTTP
framing or sockets; it asks its `FlowControl` to pause and resume.

A reader takes what is buffered without suspending, and suspends only when nothing is. Data that
came before an error is delivered before the error.
"""

from __future__ import annotations

import asyncio
import collections
import copy
import io
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, Final, Generic, Protocol, TypeVar

from angelia.core.speedups import advise_huge_pages
from angelia.errors import EofStream

__all__ = (
    "DEFAULT_LIMIT",
    "EMPTY_PAYLOAD",
    "AsyncStreamIterator",
    "ChunkTupleIterator",
    "EmptyStreamReader",
    "FlowControl",
    "StreamReader",
    "duplicate",
)

T = TypeVar("T")

# Two reads of the largest size that event loops do; less costs throughput, more only memory.
DEFAULT_LIMIT: Final = 2**18

# A line that an application did not limit otherwise: `iter_lines` on an endless line must end.
DEFAULT_MAX_LINE: Final = 2**20

# Pieces up to this size are joined for one who reads what there is: a piece as large as event loops
# read is handed over as it came, since copying it costs more than another turn.
JOIN_SIZE: Final = 2**16

# So many pieces wait for a reader, whatever their size, before the flow is paused, and with fewer
# than so many it is resumed: chunks of one octet take some 100 times as much memory as they count.
MAX_PIECES: Final = 8192
FEW_PIECES: Final = MAX_PIECES // 2

# What a peer announced is set aside at once from the first size on, and up to the second: set aside
# is address space; memory it becomes as content comes.
RESERVED_FROM: Final = 2**20
RESERVED_UP_TO: Final = 2**28


def duplicate(error: BaseException) -> BaseException:
    """A new error that says the same, with the same cause.

    An error that was raised holds the frames that it passed, and so all that their variables hold.
    Whoever keeps an error for later keeps a duplicate of the one that is raised: else the keeper,
    which those frames know, would keep itself alive.
    """
    try:
        other = copy.copy(error)
    except Exception:  # noqa: BLE001 - a class that cannot be copied; a cycle is better than no error
        return error
    other.__cause__ = error.__cause__
    other.__suppress_context__ = error.__suppress_context__
    return other


class FlowControl(Protocol):
    """Who can stop and restart the flow into a stream."""

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class _NoFlow:
    """Flow control for a stream into which nothing flows."""

    def pause_reading(self) -> None:
        """Nothing to pause."""

    def resume_reading(self) -> None:
        """Nothing to resume."""


_NO_FLOW: Final = _NoFlow()


class AsyncStreamIterator(Generic[T]):
    """Iterates over what a coroutine function returns until that is empty."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read

    def __aiter__(self) -> AsyncStreamIterator[T]:
        return self

    async def __anext__(self) -> T:
        try:
            item = await self._read()
        except EofStream:
            raise StopAsyncIteration from None
        if item == b"":
            raise StopAsyncIteration
        return item


class ChunkTupleIterator:
    """Iterates over ``(data, end_of_http_chunk)`` pairs."""

    __slots__ = ("_stream",)

    def __init__(self, stream: StreamReader) -> None:
        self._stream = stream

    def __aiter__(self) -> ChunkTupleIterator:
        return self

    async def __anext__(self) -> tuple[bytes, bool]:
        item = await self._stream.readchunk()
        if item == (b"", False):
            raise StopAsyncIteration
        return item


class _Pieces:
    """Keeps what is written, and joins it once: a buffer would be copied while it grows."""

    __slots__ = ("_pieces", "write")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.write = self._pieces.append

    def truncate(self) -> None:
        """There is nothing behind what was written."""

    def getvalue(self) -> bytes:
        """All that was written."""
        return b"".join(self._pieces)


class StreamReader:
    """A stream of bytes with one reader and flow control.

    `limit` is in octets: above twice as many the flow is paused, below it is resumed; it is also
    paused for thousands of pieces, however small. Reading from two tasks at a time raises
    RuntimeError. Every reading method is safe to cancel: what was not returned stays in the stream.
    """

    __slots__ = (
        "__weakref__",
        "_chunk_ends",
        "_chunks",
        "_eof",
        "_eof_callbacks",
        "_eof_waiter",
        "_exception",
        "_high",
        "_last_end",
        "_loop",
        "_low",
        "_offset",
        "_paused",
        "_protocol",
        "_sink",
        "_size",
        "_taken",
        "_timer",
        "_waiter",
        "announced",
        "total_bytes",
        "total_compressed_bytes",
    )

    def __init__(
        self,
        protocol: FlowControl,
        limit: int,
        *,
        timer: AbstractContextManager[Any] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._protocol = protocol
        self._low = limit
        self._high = limit * 2
        self._timer = timer
        self._loop = asyncio.get_running_loop() if loop is None else loop
        self._chunks: collections.deque[bytes] = collections.deque()
        self._offset = 0
        self._size = 0
        self._taken = 0
        self._eof = False
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._eof_waiter: asyncio.Future[None] | None = None
        self._exception: BaseException | None = None
        self._eof_callbacks: list[Callable[[], None]] | None = None
        # Where HTTP chunks end, in octets from the stream's begin; None when they are not tracked.
        self._chunk_ends: collections.deque[int] | None = None
        self._last_end = 0
        # Where `read()` gathers the rest: what comes does not wait in `_chunks` then.
        self._sink: io.BytesIO | _Pieces | None = None
        # How many octets there will be in all, where that is known.
        self.announced: int | None = None
        self.total_bytes = 0
        self.total_compressed_bytes: int | None = None

    def __repr__(self) -> str:
        facts = [type(self).__name__]
        if self._size:
            facts.append(f"{self._size} bytes")
        if self._eof:
            facts.append("eof")
        if self._waiter is not None:
            facts.append("reader waits")
        if self._exception is not None:
            facts.append(f"error {self._exception!r}")
        return f"<{' '.join(facts)}>"

    # --- facts ---------------------------------------------------------------------------------

    @property
    def total_raw_bytes(self) -> int:
        """Octets of content on the wire, before decoding."""
        compressed = self.total_compressed_bytes
        return self.total_bytes if compressed is None else compressed

    def get_read_buffer_limits(self) -> tuple[int, int]:
        """The low and the high water mark, in octets."""
        return self._low, self._high

    def set_read_chunk_size(self, n: int) -> None:
        """Prepare for reads of `n` octets: the water marks will not be below that."""
        if n > self._low:
            self._low = n
            self._high = n * 2

    def exception(self) -> BaseException | None:
        """The error that ended the stream, if one did."""
        return self._exception

    def is_eof(self) -> bool:
        """Whether the last octet has come; some may still be unread."""
        return self._eof

    def at_eof(self) -> bool:
        """Whether the last octet has been read."""
        return self._eof and not self._size

    @property
    def buffered(self) -> int:
        """Octets that have come and are unread."""
        return self._size

    # --- the delivering side -------------------------------------------------------------------

    def feed_data(self, data: bytes, size: int = 0) -> bool:
        """Deliver content; return whether the flow was paused for it. `size` is not used."""
        if self._eof:
            raise RuntimeError("data after the end of the stream")
        length = len(data)
        if not length:
            return False
        self.total_bytes += length
        if self._sink is not None:
            self._sink.write(data)
            self._taken += length
            return False
        self._chunks.append(data)
        self._size += length
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if (self._size > self._high or len(self._chunks) > MAX_PIECES) and not self._paused:
            self._paused = True
            self._protocol.pause_reading()
        return self._paused

    def feed_eof(self) -> None:
        """The last octet has been delivered."""
        if self._eof:
            return
        self._eof = True
        self._wake()
        self._let_go()
        callbacks = self._eof_callbacks
        if callbacks:
            self._eof_callbacks = None
            for callback in callbacks:
                self._run_callback(callback)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """End the stream with an error, which the reader gets after what is buffered."""
        if exc_cause is not None and exc.__cause__ is None:
            exc.__cause__ = exc_cause
        self._exception = exc
        self._eof_callbacks = None
        self._let_go()
        for waiter in (self._waiter, self._eof_waiter):
            if waiter is not None and not waiter.done():
                waiter.set_exception(self._failure())

    def _let_go(self) -> None:
        """Nothing more will come: the flow is not held back, nor known any more."""
        protocol, self._protocol = self._protocol, _NO_FLOW
        if self._paused:
            self._paused = False
            protocol.resume_reading()

    def _failure(self) -> BaseException:
        """The error to raise now; one like it is kept for the next reader."""
        exc = self._exception
        if exc is None:
            raise RuntimeError("the stream has not failed")
        self._exception = duplicate(exc)
        return exc

    def begin_http_chunk_receiving(self) -> None:
        """From now on the ends of HTTP chunks are kept for `readchunk`."""
        if self._chunk_ends is None:
            if self.total_bytes:
                raise RuntimeError("HTTP chunks begin with the stream")
            self._chunk_ends = collections.deque()

    def end_http_chunk_receiving(self) -> None:
        """An HTTP chunk ends here."""
        ends = self._chunk_ends
        if ends is None:
            raise RuntimeError("begin_http_chunk_receiving() was not called")
        # An empty chunk, or one whose octets a decoder keeps back, has no end of its own.
        if self.total_bytes == self._last_end:
            return
        self._last_end = self.total_bytes
        if self._sink is not None:
            return
        # Whoever does not read by chunks leaves their ends behind.
        while ends and ends[0] < self._taken:
            ends.popleft()
        ends.append(self.total_bytes)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def discard(self, exc: BaseException) -> None:
        """Forget what is buffered; whoever reads on gets `exc`, also after the end."""
        if self._eof and not self._size:
            return
        self._chunks.clear()
        self._size = self._offset = 0
        self._sink = None
        self._eof = False
        self.set_exception(exc)

    def _wake(self) -> None:
        for waiter in (self._waiter, self._eof_waiter):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    def _run_callback(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - told to the loop, like any failing callback
            self._loop.call_exception_handler(
                {"message": f"on_eof callback {callback!r} failed", "exception": error}
            )

    # --- the reading side ----------------------------------------------------------------------

    def on_eof(self, callback: Callable[[], None]) -> None:
        """Call `callback` at the end of the stream; at once if it has been reached."""
        if self._eof:
            self._run_callback(callback)
        elif self._eof_callbacks is None:
            self._eof_callbacks = [callback]
        else:
            self._eof_callbacks.append(callback)

    async def wait_eof(self) -> None:
        """Wait until the last octet has come; it need not be read."""
        if self._eof:
            return
        if self._exception is not None:
            raise self._failure()
        if self._eof_waiter is not None:
            raise RuntimeError("wait_eof() while another coroutine waits for the end")
        self._eof_waiter = self._loop.create_future()
        try:
            await self._eof_waiter
        finally:
            self._eof_waiter = None

    def unread_data(self, data: bytes) -> None:
        """Put `data` back, to be read next. Deprecated: keep it where it was read."""
        warnings.warn("unread_data() is deprecated", DeprecationWarning, stacklevel=2)
        if not data:
            return
        self._prepend(data)

    def _prepend(self, data: bytes) -> None:
        chunks = self._chunks
        if self._offset:
            chunks[0] = chunks[0][self._offset :]
            self._offset = 0
        chunks.appendleft(data)
        self._size += len(data)
        self._taken -= len(data)

    async def _wait(self, name: str) -> None:
        """Wait for data, the end or an error."""
        if self._waiter is not None:
            raise RuntimeError(f"{name}() while another coroutine waits for data of this stream")
        # No variable holds the future: its error would hold this frame, and so itself.
        self._waiter = self._loop.create_future()
        try:
            if self._timer is None:
                await self._waiter
            else:
                with self._timer:
                    await self._waiter
        finally:
            self._waiter = None

    async def readany(self) -> bytes:
        """Some of what is buffered, or, when nothing is, what comes next; ``b""`` at the end.

        Small pieces come joined, a large one as the socket gave it.
        """
        while not self._size:
            if self._eof:
                return b""
            if self._exception is not None:
                raise self._failure()
            await self._wait("readany")
        return self._take_some()

    async def read(self, n: int = -1) -> bytes:
        """At most `n` octets, at least one unless the stream ends; with -1 all until the end."""
        if n < 0:
            return await self._read_to_end()
        if n == 0:
            return b""
        while not self._size:
            if self._eof:
                return b""
            if self._exception is not None:
                raise self._failure()
            await self._wait("read")
        return self._take(n)

    async def _read_to_end(self) -> bytes:
        if self._eof:
            return self._take_all() if self._size else b""
        if self._waiter is not None:
            raise RuntimeError("read() while another coroutine waits for data of this stream")
        sink = self._open_sink()
        try:
            await self._wait_all()
        except BaseException:
            if self._sink is sink:
                sink.truncate()
                self._put_back(sink.getvalue())
            raise
        finally:
            self._sink = None
        sink.truncate()
        return sink.getvalue()

    async def _wait_all(self) -> None:
        while not self._eof:
            if self._exception is not None:
                raise self._failure()
            await self._wait("read")

    def _open_sink(self) -> io.BytesIO | _Pieces:
        """Let what is buffered, and all that comes, go into one place.

        BytesIO hands its own buffer out: that becomes the result of `read()`, uncopied.
        """
        size = self._size
        if self.announced is not None:
            size = min(self.announced - self.total_bytes + size, RESERVED_UP_TO)
        sink: io.BytesIO | _Pieces
        if size < RESERVED_FROM:
            sink = io.BytesIO() if self.announced is None else _Pieces()
        else:
            sink = io.BytesIO(bytes(size))
            with sink.getbuffer() as buffer:
                advise_huge_pages(buffer)
        if self._size:
            sink.write(self._drained())
        self._sink = sink
        # More may come at once.
        if self._paused:
            self._resume()
        return sink

    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        """Up to and with the next LF, or to the end; ValueError for a longer line."""
        return await self._read_until(b"\n", max_line_length or self._high, "readline")

    async def readuntil(self, separator: bytes = b"\n", *, max_size: int | None = None) -> bytes:
        """Up to and with `separator`, or to the end; ValueError beyond `max_size` octets."""
        if not separator:
            raise ValueError("separator is empty")
        return await self._read_until(separator, max_size or self._high, "readuntil")

    async def _read_until(self, separator: bytes, limit: int, name: str) -> bytes:
        line = bytearray()
        width = len(separator)
        while True:
            while self._size:
                chunk = self._chunks[0]
                start = self._offset
                # A separator may begin in what was taken and end in this chunk.
                overlap = bytes(line[-(width - 1) :]) if width > 1 and line else b""
                if overlap:
                    joint = (overlap + chunk[start : start + width - 1]).find(separator)
                    end = start + joint + width - len(overlap) if joint >= 0 else -1
                else:
                    end = -1
                if end < 0:
                    found = chunk.find(separator, start)
                    end = found + width if found >= 0 else -1
                size = (len(chunk) if end < 0 else end) - start
                if len(line) + size > limit:
                    # Taken all the same: one who reads on does not meet it again for ever.
                    self._take(size)
                    raise ValueError(f"no separator within {limit} bytes")
                line += self._take(size)
                if end >= 0:
                    return bytes(line)
            if self._eof:
                return bytes(line)
            if self._exception is not None:
                raise self._failure()
            try:
                await self._wait(name)
            except BaseException:
                self._put_back(bytes(line))
                raise

    def _put_back(self, data: bytes) -> None:
        if data:
            self._prepend(data)
            if self._size > self._high and not self._paused and not self._eof:
                self._paused = True
                self._protocol.pause_reading()

    async def readexactly(self, n: int) -> bytes:
        """Exactly `n` octets; `asyncio.IncompleteReadError` where the stream ends before."""
        if n < 0:
            raise ValueError(f"a number of octets is not negative: {n}")
        blocks: list[bytes] = []
        missing = n
        while missing > 0:
            try:
                block = await self.read(missing)
            except BaseException:
                self._put_back(b"".join(blocks))
                raise
            if not block:
                partial = b"".join(blocks)
                raise asyncio.IncompleteReadError(partial, n)
            blocks.append(block)
            missing -= len(block)
        return b"".join(blocks)

    async def readchunk(self) -> tuple[bytes, bool]:
        """``(data, end_of_http_chunk)``; ``(b"", False)`` at the end of the stream.

        Without chunked coding, data as it comes, and no ends.
        """
        while True:
            ends = self._chunk_ends
            if ends:
                end = ends[0]
                if end <= self._taken:
                    ends.popleft()
                    if end == self._taken:
                        return b"", True
                    continue
                if self._taken + self._size >= end:
                    ends.popleft()
                    return self._take(end - self._taken), True
            if self._size:
                # The next octets; more of the chunk may follow.
                return self._take(len(self._chunks[0]) - self._offset), False
            if self._eof:
                return b"", False
            if self._exception is not None:
                raise self._failure()
            await self._wait("readchunk")

    def read_nowait(self, n: int = -1) -> bytes:
        """At most `n` octets of what is buffered; with -1 all of it. Never waits."""
        if self._exception is not None and not self._size:
            raise self._failure()
        if self._waiter is not None and not self._waiter.done():
            raise RuntimeError("read_nowait() while a coroutine waits for data of this stream")
        if not self._size or n == 0:
            return b""
        return self._take_all() if n < 0 else self._take(n)

    # --- iteration -----------------------------------------------------------------------------

    def __aiter__(self) -> AsyncStreamIterator[bytes]:
        """Iterate over lines."""
        return AsyncStreamIterator(self.readline)

    def iter_chunked(self, n: int) -> AsyncStreamIterator[bytes]:
        """Iterate over pieces of at most `n` octets; ValueError unless that is positive."""
        if n < 1:
            raise ValueError(f"pieces have 1 octet or more, not {n}")
        self.set_read_chunk_size(n)
        return AsyncStreamIterator(lambda: self.read(n))

    def iter_any(self) -> AsyncStreamIterator[bytes]:
        """Iterate over data as it comes: the fastest way."""
        return AsyncStreamIterator(self.readany)

    def iter_chunks(self) -> ChunkTupleIterator:
        """Iterate over ``(data, end_of_http_chunk)``."""
        return ChunkTupleIterator(self)

    async def iter_lines(self, *, max_line: int = DEFAULT_MAX_LINE) -> AsyncIterator[bytes]:
        """Iterate over lines of at most `max_line` octets; ValueError for a longer one.

        Unlike ``async for line in stream`` the limit has nothing to do with the size of the read
        buffer, so that long lines (server-sent events, JSON lines) are a matter of `max_line`.
        """
        while line := await self.readline(max_line_length=max_line):
            yield line

    # --- taking --------------------------------------------------------------------------------

    def _take_some(self) -> bytes:
        """What is buffered, up to `JOIN_SIZE` octets, or the first piece if that is larger."""
        first = self._chunks[0]
        size = len(first) - self._offset
        if size > JOIN_SIZE and not self._offset:
            self._chunks.popleft()
            self._size -= size
            self._taken += size
            if self._paused and (self._has_room() or not self._size):
                self._resume()
            return first
        if size == self._size or self._size <= JOIN_SIZE:
            return self._take_all()
        return self._take(max(size, JOIN_SIZE))

    def _take_all(self) -> bytes:
        data = self._drained()
        if self._paused:
            self._resume()
        return data

    def _drained(self) -> bytes:
        chunks = self._chunks
        first = chunks[0]
        if self._offset:
            first = chunks[0] = first[self._offset :]
            self._offset = 0
        if len(chunks) > 1:
            first = b"".join(chunks)
        chunks.clear()
        self._taken += self._size
        self._size = 0
        return first

    def _take(self, n: int) -> bytes:
        """At most `n` octets of what is buffered."""
        if n >= self._size:
            return self._take_all()
        chunks = self._chunks
        pieces: list[bytes] = []
        missing = n
        while missing:
            first = chunks[0]
            offset = self._offset
            size = len(first) - offset
            if size > missing:
                pieces.append(first[offset : offset + missing])
                self._offset = offset + missing
                missing = 0
            else:
                pieces.append(first[offset:] if offset else first)
                chunks.popleft()
                self._offset = 0
                missing -= size
        self._size -= n
        self._taken += n
        if self._paused and self._has_room():
            self._resume()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _has_room(self) -> bool:
        return self._size < self._low and len(self._chunks) < FEW_PIECES

    def _resume(self) -> None:
        self._paused = False
        self._protocol.resume_reading()


class EmptyStreamReader(StreamReader):
    """A stream without content that has ended; one object serves all who need one."""

    __slots__ = ()

    def __init__(self) -> None:
        self._protocol = _NO_FLOW
        self._low, self._high = DEFAULT_LIMIT, 2 * DEFAULT_LIMIT
        self._timer = None
        self._chunks = collections.deque()
        self._offset = self._size = self._taken = 0
        self._eof = True
        self._paused = False
        self._waiter = self._eof_waiter = None
        self._exception = None
        self._eof_callbacks = None
        self._chunk_ends = None
        self._last_end = 0
        # Where `read()` gathers the rest: what comes does not wait in `_chunks` then.
        self._sink: io.BytesIO | _Pieces | None = None
        # How many octets there will be in all, where that is known.
        self.announced: int | None = None
        self.total_bytes = 0
        self.total_compressed_bytes = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def _run_callback(self, callback: Callable[[], None]) -> None:
        callback()

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Nothing: this stream has ended, and is shared."""

    def set_read_chunk_size(self, n: int) -> None:
        """Nothing: no data will come."""

    def begin_http_chunk_receiving(self) -> None:
        """Nothing: no chunk will come."""

    def unread_data(self, data: bytes) -> None:
        """RuntimeError: nothing can have been read from this stream, and others would read it."""
        warnings.warn("unread_data() is deprecated", DeprecationWarning, stacklevel=2)
        if data:
            raise RuntimeError("nothing was read from this stream")

    def discard(self, exc: BaseException) -> None:
        """Nothing: there is nothing to forget."""


EMPTY_PAYLOAD: Final = EmptyStreamReader()
