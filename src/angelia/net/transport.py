"""Transport: the only asyncio.Protocol. Bytes <-> core, events -> exchanges, pause and resume.

Owns: the socket's transport, reading and writing flow, the exchanges under way on this connection.
Knows nothing of pools or of HTTP's grammar: the core decides what the octets mean, the connector
what becomes of the connection, through the one callback `on_change`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any, Final, Protocol

from angelia.core.h1 import H1ClientConnection
from angelia.core.interface import Buffer, Event, Failed, ResponseHead
from angelia.errors import ClientConnectionResetError
from angelia.net.connection_key import ConnectionKey
from angelia.net.timings import DialTimings

__all__ = (
    "KEEPS_BLOCKS",
    "READ_SIZE",
    "BufferedTransport",
    "ContentReceiver",
    "StreamOwner",
    "Transport",
    "WriteBatch",
    "reads_into_buffer",
    "transport_class",
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
        # What `BufferedTransport` reads into: one for all, since each read is over before the next.
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


class ContentReceiver(Protocol):
    """What takes the content of an upgraded exchange: the part of a stream's face that is used."""

    def feed_data(self, data: bytes) -> object: ...
    def feed_eof(self) -> None: ...
    def set_exception(self, error: BaseException) -> None: ...
    def discard(self, error: BaseException) -> None: ...
    def is_eof(self) -> bool: ...


class StreamOwner(Protocol):
    """Whoever has one of the connection's streams: an exchange, as far as a transport knows it."""

    stream_id: int

    def deliver(self, event: Event) -> None:
        """Something has come for this stream."""

    def receive_whole(self, head: ResponseHead, content: bytes) -> None:
        """A final response has come in one read."""

    def connection_lost(self, cause: BaseException | None) -> None:
        """The connection is gone."""

    def close(self, error: BaseException) -> None:
        """The connector closes: give up, with this error for whoever still reads."""


class Transport(asyncio.Protocol):
    """One connection: a core, its socket, and the exchanges on it.

    `on_change` is called when an exchange has ended, and once when the connection is lost.
    """

    __slots__ = (
        "_closed",
        "_drain_waiters",
        "_lost",
        "_reading_paused",
        "_socket",
        "batch",
        "core",
        "exchanges",
        "idle_since",
        "key",
        "loop",
        "on_change",
        "received_at",
        "receiver",
        "served",
        "timings",
        "writing_paused",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, batch: WriteBatch | None = None) -> None:
        self.loop = loop
        self.batch = WriteBatch(loop) if batch is None else batch
        self.core = H1ClientConnection()
        self.exchanges: dict[int, StreamOwner] = {}
        self.on_change: Callable[[Transport], None] | None = None
        # When octets came last, or reading was resumed.
        self.received_at = loop.time()
        self.idle_since = 0.0
        self.served = 0
        # What the connection is good for, and what making it took; its dialler says.
        self.key: ConnectionKey | None = None
        self.timings: DialTimings | None = None
        self._socket: asyncio.Transport | None = None
        self._lost = False
        self._closed: asyncio.Future[None] | None = None
        self._reading_paused = False
        self.writing_paused = False
        """Whether the socket has been given more than it takes at the moment."""
        self.receiver: ContentReceiver | None = None
        """After an upgrade: what takes the octets as they come, which the core need not see."""
        self._drain_waiters: set[asyncio.Future[None]] = set()

    def __repr__(self) -> str:
        state = "closed" if self._lost else f"{len(self.exchanges)} open"
        peer = self.get_extra_info("peername")
        return f"<{type(self).__name__} {peer} HTTP/1.1 {state} served={self.served}>"

    # --- questions -----------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether octets can still be exchanged."""
        socket = self._socket
        return socket is not None and not socket.is_closing()

    @property
    def unsent(self) -> int:
        """How many octets the event loop holds that the socket has not taken."""
        socket = self._socket
        return 0 if socket is None else socket.get_write_buffer_size()

    @property
    def available_streams(self) -> int:
        """How many exchanges may begin now."""
        socket = self._socket
        return 0 if socket is None or socket.is_closing() else self.core.available_streams

    @property
    def socket_transport(self) -> asyncio.Transport | None:
        """The event loop's transport; None once the connection is lost."""
        return self._socket

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the event loop's transport knows: ``peername``, ``ssl_object``, ``socket``..."""
        return default if self._socket is None else self._socket.get_extra_info(name, default)

    # --- the event loop's calls ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # start_tls() and uvloop hand over transports that share no class; the face is the same.
        self._socket = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.received_at = self.loop.time()
        if self.receiver is not None:
            self.receiver.feed_data(data)
            return
        received = self.core.receive_response(data)
        if type(received) is not tuple:
            self._dispatch(received)  # type: ignore[arg-type]  # mypy does not follow type()
            return
        head, content = received
        exchange = self.exchanges.get(head.stream_id)
        if exchange is not None:
            exchange.receive_whole(head, content)

    def eof_received(self) -> bool:
        self._dispatch(self.core.receive_eof())
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        self._lost = True
        self._socket = None
        self._dispatch(self.core.receive_eof(), exc)
        for exchange in tuple(self.exchanges.values()):
            exchange.connection_lost(exc)
        self.exchanges.clear()
        for waiter in self._drain_waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
        self._changed()

    def pause_writing(self) -> None:
        self.writing_paused = True

    def resume_writing(self) -> None:
        self.writing_paused = False
        for waiter in self._drain_waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _dispatch(self, events: list[Event], cause: BaseException | None = None) -> None:
        exchanges = self.exchanges
        for event in events:
            if type(event) is Failed:
                if cause is not None:
                    event.error.__cause__ = cause
                exchange = exchanges.get(event.stream_id)
                if exchange is not None:
                    exchange.deliver(event)
                # The core has given the connection up.
                self.close()
            else:
                exchange = exchanges.get(event.stream_id)
                if exchange is not None:
                    exchange.deliver(event)

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change(self)

    # --- exchanges -----------------------------------------------------------------------------

    def add(self, exchange: StreamOwner) -> None:
        """An exchange begins."""
        self.exchanges[exchange.stream_id] = exchange
        self.served += 1

    def remove(self, exchange: StreamOwner) -> None:
        """An exchange has ended; the connection may be free for another one."""
        if self.exchanges.pop(exchange.stream_id, None) is not None:
            self.receiver = None
            if self._reading_paused:
                # An idle connection is read, to see its end.
                self.resume_reading()
            self._changed()

    # --- flow ----------------------------------------------------------------------------------

    def hold(self, exchange: StreamOwner) -> None:
        """A reader is slow: without windows the whole connection waits for it."""
        if not self.core.has_windows and exchange.stream_id in self.exchanges:
            self.pause_reading()

    @property
    def reading_paused(self) -> bool:
        """Whether the socket is not being read, because a reader is slow."""
        return self._reading_paused

    def pause_reading(self) -> None:
        if not self._reading_paused and self._socket is not None and self.is_open:
            self._reading_paused = True
            self._socket.pause_reading()

    def resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            self.received_at = self.loop.time()
            if self._socket is not None and not self._socket.is_closing():
                self._socket.resume_reading()

    def flush_soon(self) -> None:
        """Write what the core wants to send at the end of this turn, with other connections."""
        socket = self._socket
        if socket is None or socket.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        self.batch.add(self)

    def flush(self) -> None:
        """Write what the core wants to send: one write for a head and a small body."""
        buffers = self.core.data_to_send()
        if not buffers:
            return
        socket = self._socket
        if socket is None or socket.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        self._write(socket, buffers)

    def flush_open(self) -> None:
        """As `flush`; what a closed connection would have sent is lost with it."""
        socket = self._socket
        if socket is None or socket.is_closing():
            return
        buffers = self.core.data_to_send()
        if buffers:
            self._write(socket, buffers)

    def _write(self, socket: asyncio.Transport, buffers: list[Buffer]) -> None:
        if len(buffers) == 1:
            socket.write(buffers[0])
        else:
            write_together(socket, buffers, self.loop)

    def send_unframed(self, data: Buffer) -> bool:
        """Write octets of another protocol, as the core would; all of HTTP's are out.

        True where `drain` should come before more is written.
        """
        socket = self._socket
        if socket is None or socket.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        socket.write(data)
        return self.writing_paused

    def send_all_unframed(self, buffers: list[Buffer]) -> bool:
        """As `send_unframed`, in as few segments as can be."""
        socket = self._socket
        if socket is None or socket.is_closing():
            raise ClientConnectionResetError("Cannot write to closing transport")
        self._write(socket, buffers)
        return self.writing_paused

    async def drain(self) -> None:
        """Wait until the socket takes more; ClientConnectionResetError when it never will."""
        if self._lost:
            raise ClientConnectionResetError("Connection lost")
        if not self.writing_paused:
            return
        waiter = self.loop.create_future()
        self._drain_waiters.add(waiter)
        try:
            await waiter
        finally:
            self._drain_waiters.discard(waiter)
        if self._lost:
            raise ClientConnectionResetError("Connection lost")

    # --- the end -------------------------------------------------------------------------------

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

    def close(self) -> None:
        """Close when what was written is out; TLS says goodbye. Idempotent."""
        # Once: at a second close() asyncio's TLS transport of Python 3.11 forgets its connection,
        # which then can neither be asked nor aborted.
        if self._socket is not None and not self._socket.is_closing():
            self._resume_for_close()
            self._socket.close()

    def abort(self) -> None:
        """Close at once, losing what was not written yet. Idempotent."""
        if self._socket is not None:
            self._socket.abort()

    def _resume_for_close(self) -> None:
        # A paused TLS transport would never see the peer's close_notify.
        if self._reading_paused:
            self.resume_reading()

    async def wait_closed(self) -> None:
        """Wait until the socket is closed."""
        if self._lost or self._socket is None:
            return
        if self._closed is None:
            self._closed = self.loop.create_future()
        await asyncio.shield(self._closed)


class BufferedTransport(Transport, asyncio.BufferedProtocol):
    """A `Transport` that gives the loop a buffer to read into, and takes a copy of what came.

    asyncio's own loop makes a block of 256 KiB for each read of a plain protocol; where the
    allocator maps that anew, most of the time of a short response goes into it. asyncio's TLS
    layer, and uvloop's, gain wherever they run.
    """

    __slots__ = ()

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


def transport_class(loop: asyncio.AbstractEventLoop, *, is_tls: bool) -> type[Transport]:
    """The kind of transport that is cheapest on `loop`."""
    return BufferedTransport if reads_into_buffer(loop, is_tls=is_tls) else Transport
