"""Transport: a client's asyncio.Protocol. Bytes <-> core, events -> exchanges, pause and resume.

Owns: the socket's transport, reading and writing flow, the exchanges under way on this connection.
Knows nothing of pools or of HTTP's grammar: the core decides what the octets mean, the connector
what becomes of the connection, through the one callback `on_change`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from angelia.core.h1 import H1ClientConnection
from angelia.core.interface import Buffer, Event, Failed, ResponseHead
from angelia.errors import ClientConnectionResetError
from angelia.net.connection_key import ConnectionKey
from angelia.net.socket_protocol import (
    BufferedReading,
    SocketProtocol,
    WriteBatch,
    reads_into_buffer,
)
from angelia.net.timings import DialTimings

__all__ = (
    "BufferedTransport",
    "ContentReceiver",
    "StreamOwner",
    "Transport",
    "transport_class",
)


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


class Transport(SocketProtocol):
    """One connection: a core, its socket, and the exchanges on it.

    `on_change` is called when an exchange has ended, and once when the connection is lost.
    """

    __slots__ = (
        "_closed",
        "_lost",
        "_reading_paused",
        "core",
        "exchanges",
        "idle_since",
        "key",
        "on_change",
        "received_at",
        "receiver",
        "served",
        "timings",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, batch: WriteBatch | None = None) -> None:
        super().__init__(loop, WriteBatch(loop) if batch is None else batch)
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
        self._lost = False
        self._closed: asyncio.Future[None] | None = None
        self._reading_paused = False
        self.receiver: ContentReceiver | None = None
        """After an upgrade: what takes the octets as they come, which the core need not see."""

    def __repr__(self) -> str:
        state = "closed" if self._lost else f"{len(self.exchanges)} open"
        peer = self.get_extra_info("peername")
        return f"<{type(self).__name__} {peer} HTTP/1.1 {state} served={self.served}>"

    # --- questions -----------------------------------------------------------------------------

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
        self._wake_writers()
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
        self._changed()

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
        await self._wait_drained()
        if self._lost:
            raise ClientConnectionResetError("Connection lost")

    # --- the end -------------------------------------------------------------------------------

    def close(self) -> None:
        """Close when what was written is out; TLS says goodbye. Idempotent."""
        # Once: at a second close() asyncio's TLS transport of Python 3.11 forgets its connection,
        # which then can neither be asked nor aborted.
        if self._socket is not None and not self._socket.is_closing():
            self._resume_for_close()
            self._socket.close()

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


class BufferedTransport(Transport, BufferedReading):
    """A `Transport` for loops that are cheaper with a buffer to read into."""

    __slots__ = ()


def transport_class(loop: asyncio.AbstractEventLoop, *, is_tls: bool) -> type[Transport]:
    """The kind of transport that is cheapest on `loop`."""
    return BufferedTransport if reads_into_buffer(loop, is_tls=is_tls) else Transport
