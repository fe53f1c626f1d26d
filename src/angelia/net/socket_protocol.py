"""SocketProtocol: what the protocols of both roles share, a client's and a server's.

Owns: the event loop's transport, what waits for room in it, how octets leave together and into what
they are read. Knows nothing of HTTP, and not what becomes of what is read.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final, Protocol

from angelia.core.interface import Buffer

__all__ = (
    "KEEPS_BLOCKS",
    "READ_SIZE",
    "BufferedReading",
    "SocketProtocol",
    "WriteBatch",
    "reads_into_buffer",
    "write_together",
)

# As much as event loops read at a time.
READ_SIZE: Final = 256 * 1024

# glibc maps each block that is larger than the largest mapped one that was freed, and gives free
# memory at the end of its heap back above twice that: at first 128 KiB. So pieces of 256 KiB would
# lie in memory that the kernel makes anew each time, page after page, which takes longer than to
# read them. After one block of this size was freed, the memory of some dozen pieces is kept.
KEPT_BLOCK: Final = 2**22


def _is_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, ValueError, OSError):
        return False


KEEPS_BLOCKS: Final = _is_glibc()

# CVE-2024-12254: from 3.12.0 on asyncio's own writelines() never paused its protocol, so that a
# body that was sent faster than its peer took it grew without bound.
WRITELINES_PAUSES: Final = (
    sys.version_info < (3, 12)
    or (3, 12, 9) <= sys.version_info < (3, 13)
    or sys.version_info >= (3, 13, 2)
)

# Larger sums of buffers are written as a list: joining them would copy a large body once more.
JOIN_SIZE: Final = 64 * 1024


def write_together(
    socket: asyncio.WriteTransport, buffers: list[Buffer], loop: asyncio.AbstractEventLoop
) -> None:
    """Write several buffers so that they leave in as few segments as they can."""
    if sum(map(len, buffers)) <= JOIN_SIZE:
        socket.write(b"".join(buffers))
    elif WRITELINES_PAUSES or not isinstance(loop, asyncio.SelectorEventLoop):
        socket.writelines(buffers)
    else:
        for buffer in buffers:
            socket.write(buffer)


class Flushable(Protocol):
    """A connection that has something to write."""

    def flush_open(self) -> None: ...


class WriteBatch:
    """Writes of many connections, done together at the end of a turn of the event loop.

    A write wakes the peer. When the requests of one turn go out one after the other without our own
    work in between, a peer on the same machine is woken once instead of once for each: that is
    worth four microseconds of CPU for each request when there are many at a time.
    """

    __slots__ = ("_loop", "_pending", "buffer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # What `BufferedReading` reads into: one for all, since each read is over before the next.
        self.buffer: memoryview | None = None
        self._pending: list[Flushable] = []
        # Made and freed; none of it is touched but its ends.
        bytes(KEPT_BLOCK)

    def add(self, transport: Flushable) -> None:
        """Let `transport` write at the end of this turn."""
        pending = self._pending
        if not pending:
            self._loop.call_soon(self._write)
        pending.append(transport)

    def _write(self) -> None:
        pending, self._pending = self._pending, []
        for transport in pending:
            transport.flush_open()


class SocketProtocol(asyncio.Protocol):
    """A protocol that knows whether its socket takes more, and lets others wait for that."""

    __slots__ = ("_drain_waiters", "_socket", "batch", "loop", "writing_paused")

    def __init__(self, loop: asyncio.AbstractEventLoop, batch: WriteBatch) -> None:
        self.loop = loop
        self.batch = batch
        self._socket: asyncio.Transport | None = None
        self.writing_paused = False
        """Whether the socket has been given more than it takes at the moment."""
        self._drain_waiters: set[asyncio.Future[None]] = set()

    @property
    def is_open(self) -> bool:
        """Whether octets can still be exchanged."""
        socket = self._socket
        return socket is not None and not socket.is_closing()

    @property
    def socket_transport(self) -> asyncio.Transport | None:
        """The event loop's transport; None once the connection is lost."""
        return self._socket

    def pause_writing(self) -> None:
        self.writing_paused = True

    def resume_writing(self) -> None:
        self.writing_paused = False
        self._wake_writers()

    async def _wait_drained(self) -> None:
        """Wait until writing is resumed, or the connection is lost."""
        waiter = self.loop.create_future()
        self._drain_waiters.add(waiter)
        try:
            await waiter
        finally:
            self._drain_waiters.discard(waiter)

    def _wake_writers(self) -> None:
        for waiter in self._drain_waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _write(self, socket: asyncio.Transport, buffers: list[Buffer]) -> None:
        if len(buffers) == 1:
            socket.write(buffers[0])
        else:
            write_together(socket, buffers, self.loop)

    def end_sending(self) -> bool:
        """Say that nothing more will be written; False where that cannot be said by itself."""
        socket = self._socket
        if socket is None or socket.is_closing() or not socket.can_write_eof():
            return False
        try:
            socket.write_eof()
        except OSError:
            # The peer has reset the connection, and the loop has not heard of it yet.
            socket.abort()
        return True

    def abort(self) -> None:
        """Close at once, losing what was not written yet. Idempotent."""
        if self._socket is not None:
            self._socket.abort()


class BufferedReading(asyncio.BufferedProtocol):
    """Gives the loop a buffer to read into, and takes a copy of what came.

    To be put behind a `SocketProtocol` among the base classes. asyncio's own loop makes a block of
    256 KiB for each read of a plain protocol; where the allocator maps that anew, most of the time
    of a short message goes into it. asyncio's TLS layer, and uvloop's, gain wherever they run.
    """

    __slots__ = ()

    batch: WriteBatch

    def data_received(self, data: bytes) -> None:
        """What the `SocketProtocol` does with what was read."""
        raise NotImplementedError

    def get_buffer(self, sizehint: int) -> memoryview:
        buffer = self.batch.buffer
        if buffer is None:
            buffer = self.batch.buffer = memoryview(bytearray(READ_SIZE))
        return buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self.get_buffer(nbytes)[:nbytes]))


def reads_into_buffer(loop: asyncio.AbstractEventLoop, *, is_tls: bool) -> bool:
    """Whether a protocol that offers a buffer to `loop` is the cheaper kind.

    One buffer for all connections needs a loop that reads when a socket is ready, not one that is
    given a buffer to be filled at some later time, as the proactor of Windows is.
    """
    if isinstance(loop, asyncio.SelectorEventLoop):
        # Where the blocks that the loop makes are kept, it is one copy less without a buffer.
        return is_tls or not KEEPS_BLOCKS
    return is_tls and type(loop).__module__.partition(".")[0] == "uvloop"
