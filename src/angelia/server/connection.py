"""ServerConnection: a client's connection, and the requests on it, one after the other.

Owns: the socket's transport, the task that answers the request under way, the clock of an idle or
slow client, how the connection ends. What the octets mean is the core's, what a request is answered
the handler's.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol

from angelia.core.h1_server import H1ServerConnection, understands_expectation
from angelia.core.h1_wire import ReadyHead
from angelia.core.interface import Buffer, Content, End, Event, Failed, RequestHead, ResponseHead
from angelia.net.socket_protocol import (
    BufferedReading,
    SocketProtocol,
    WriteBatch,
    write_together,
)
from angelia.server.exchange import ServerExchange, announces_content
from angelia.server.failures import answer_to, refusal, refuse_expectation
from angelia.server.http_exception import HTTPException, complaint
from angelia.server.options import ServerOptions
from angelia.server.request import Request
from angelia.server.response import Response
from angelia.server.send_watch import SendWatch
from angelia.server.sendfile import CAN_SEND_FILES, FileTransfer
from angelia.server.stream_response import StreamResponse
from angelia.server.tasks import HandlerTasks

if TYPE_CHECKING:
    from angelia.server.access_log import AbstractAccessLogger

__all__ = ("Acceptor", "BufferedServerConnection", "ServerConnection")

_logger: Final = logging.getLogger("angelia.server")

# How long octets that nobody wants are read after the last answer, so that the answer is not lost:
# a socket that closes with unread input resets the connection (RFC 9112 §9.6).
CLOSING_TIME: Final = 2.0

# So many pipelined requests are answered in one turn of the event loop; then others get theirs.
MAX_IN_TURN: Final = 16

# Answers of up to this size wait for the end of the turn, to be written together. What waits is to
# stay in the processor's caches, and the memory of a large one is wanted for the next request.
MAX_BATCHED: Final = 24 * 1024

# They do not change as long as there is a connection.
_ADDRESSES: Final = frozenset({"peername", "sockname"})


class Acceptor(Protocol):
    """Who takes connections in, and waits for their end: the server, as a connection knows it."""

    @property
    def closing(self) -> bool:
        """Whether no more are taken in."""

    def accept(self, connection: ServerConnection) -> bool:
        """A connection has come; False where it is one too many."""

    def forget(self, connection: ServerConnection) -> None:
        """A connection is gone."""

    def keep(self, task: asyncio.Task[None]) -> None:
        """A handler goes on though its request was answered."""


class ServerConnection(SocketProtocol):
    """One connection. Each handler runs in a context of its own, a copy of the connection's."""

    __slots__ = (
        "__weakref__",
        "_addresses",
        "_begun",
        "_closing",
        "_context",
        "_due",
        "_early",
        "_exchange",
        "_half_closed",
        "_held",
        "_lingering",
        "_partial",
        "_send_watch",
        "_server",
        "_starting",
        "_task",
        "_tasks",
        "_ticks_at",
        "_timer",
        "core",
        "memo",
        "options",
        "scheme",
        "served",
    )

    def __init__(
        self,
        server: Acceptor,
        options: ServerOptions,
        loop: asyncio.AbstractEventLoop,
        batch: WriteBatch,
        scheme: str,
        tasks: HandlerTasks,
    ) -> None:
        super().__init__(loop, batch)
        self._server = server
        self._tasks = tasks
        self.options = options
        self.scheme = scheme
        self.core = H1ServerConnection(options.limits)
        self.served = 0
        # What a handler has found out about the connection, for its next request.
        self.memo: Any = None
        self._exchange: ServerExchange | None = None
        # That of a request whose handler is still to be called; whether handlers are being called.
        self._begun: ServerExchange | None = None
        self._addresses: dict[str, Any] | None = None
        self._starting = False
        # What goes on with the handler; None while its first step is taken.
        self._task: asyncio.Task[None] | None = None
        self._context = contextvars.copy_context()
        # The moment when the client has been too slow, None while we are the slow one.
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ticks_at = 0.0
        # A head has begun to come.
        self._partial = False
        # What came behind an answer whose handler is not through yet.
        self._early = b""
        # Reading is paused for a slow reader, or because enough requests wait.
        self._held = False
        self._send_watch: SendWatch | None = None
        # No request will be taken after the one under way.
        self._closing = False
        self._half_closed = False
        # All is said; what still comes is thrown away.
        self._lingering = False

    def __repr__(self) -> str:
        state = "closed" if self._socket is None else "busy" if self._exchange else "idle"
        return f"<{type(self).__name__} {self.get_extra_info('peername')} {state}>"

    # --- questions -----------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a request is under way."""
        return self._exchange is not None

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task that answers the request under way."""
        return self._task

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport knows; the addresses of a request also when it is gone."""
        addresses = self._addresses
        if addresses is not None and name in addresses:
            return addresses[name]
        if self._socket is None:
            return default
        value = self._socket.get_extra_info(name, default)
        # uvloop asks the system each time.
        if name in _ADDRESSES and value is not None:
            if addresses is None:
                addresses = self._addresses = {}
            addresses[name] = value
        return value

    # --- the event loop's calls ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports share no class with asyncio's; the face is the same.
        self._socket = transport  # type: ignore[assignment]
        if self._server.accept(self):
            self._wait_for(self.options.head_timeout)
            if self._server.closing:
                self.shutdown()
        else:
            self._refuse(HTTPException(503, "too many connections"))

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            return
        core = self.core
        exchange = self._exchange
        if exchange is not None:
            if exchange.receiver is not None:
                # Another protocol's, which the core need not see.
                exchange.received_at = self.loop.time()
                exchange.receiver.feed_data(data)
                return
            if core.answered and not self.release(exchange):
                # One handler at a time: the next request waits until this one is through.
                self._early += data
                self._pause()
                return
        received = core.receive_request(data)
        if type(received) is tuple:
            head, content = received
            # As in `_begin`. A core that was idle is persistent.
            self._due = None
            self._partial = False
            self.served += 1
            begun = ServerExchange(self, head, not self._closing, bool(content))
            begun.receive_whole(content)
            self._exchange = self._begun = begun
            self._answer()
            return
        self._dispatch(received)  # type: ignore[arg-type]  # mypy does not follow type()
        self._answer()
        exchange = self._exchange
        if exchange is None:
            if not core.idle and not self._partial and not self._lingering:
                self._partial = True
                self._wait_for(self.options.head_timeout)
        elif not exchange.complete:
            self._wait_for_content(exchange)
        if not core.wants_data:
            self._pause()

    def eof_received(self) -> bool:
        self._half_closed = True
        self._dispatch(self.core.receive_eof())
        self._answer()
        # A transport that closes takes no answer any more, also if it is one of this very turn.
        self.flush()
        exchange = self._exchange
        if exchange is None or not exchange.complete:
            return False
        if exchange.upgraded is not None:
            return exchange.upgraded.takes_half and self.scheme == "http"
        if self.options.handler_cancellation:
            return False
        exchange.tell_disconnected()
        # RFC 9112 §9.6: a client that has said all may still listen. TLS cannot be half closed.
        return not self.core.closed and self.scheme == "http"

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._exchange is not None:
            # Whoever has gone has been here: the access log will ask.
            for name in _ADDRESSES:
                self.get_extra_info(name)
        self._socket = None
        self._begun = None
        self._clear_timer()
        self._stop_watching()
        self._wake_writers()
        exchange = self._exchange
        if exchange is not None:
            gone = ConnectionResetError("the client has gone")
            gone.__cause__ = exc
            upgraded = exchange.upgraded
            cancels = self.options.handler_cancellation and (
                upgraded is None or not upgraded.parted
            )
            exchange.fail(gone)
            if cancels and self._task is not None:
                self._task.cancel()
        if self._task is None:
            self._forget()
        else:
            # Also if it is cancelled before it has begun.
            self._task.add_done_callback(lambda _: self._forget())

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_sending()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()

    def _forget(self) -> None:
        """All is over. What is left is no cycle: it goes without the collector."""
        self._exchange = self._task = None
        self._server.forget(self)

    # --- requests ------------------------------------------------------------------------------

    def _dispatch(self, events: list[Event]) -> None:
        for event in events:
            kind = type(event)
            if kind is RequestHead:
                self._begin(event)  # type: ignore[arg-type]  # mypy does not follow `kind`
            elif kind is Failed:
                self._failed(event)  # type: ignore[arg-type]  # as above
            elif (exchange := self._exchange) is None:
                continue
            elif kind is Content:
                exchange.receive_content(event.data, chunk_end=event.chunk_end)  # type: ignore[union-attr, arg-type]  # as above; what is received is bytes
            else:
                self._receive_end(exchange, event)  # type: ignore[arg-type]  # as above

    def _begin(self, head: RequestHead) -> None:
        self._due = None
        self._partial = False
        self.served += 1
        keep_alive = self.core.persistent and not self._closing
        self._exchange = self._begun = ServerExchange(
            self, head, keep_alive, announces_content(head)
        )

    def _answer(self) -> None:
        """Call the handler for the request that has begun, and for those that follow it."""
        if self._starting:
            return
        self._starting = True
        left = MAX_IN_TURN
        try:
            while (exchange := self._begun) is not None and left:
                left -= 1
                self._begun = None
                self._task = self._tasks.start(self._handle(exchange), self._context.copy())
        finally:
            self._starting = False
        if not left and self._begun is not None:
            self.loop.call_soon(self._answer)

    def _receive_end(self, exchange: ServerExchange, event: End) -> None:
        exchange.receive_end(tuple(event.trailers))
        if exchange.ended:
            self._next()
        else:
            self._due = None

    def _failed(self, event: Failed) -> None:
        """The client broke a rule, or has said its last word too early."""
        self._closing = True
        error = event.error
        _logger.debug("bad request from %s: %s", self.get_extra_info("peername"), error)
        exchange = self._exchange
        if exchange is not None and exchange.stream_id == event.stream_id:
            if self._half_closed:
                exchange.fail(ConnectionResetError("the client has gone"))
            else:
                exchange.fail(complaint(error))
            if exchange.ended:
                self._linger()
        elif event.stream_id:
            self._refuse(complaint(error))
        else:
            self.close()

    async def _handle(self, exchange: ServerExchange) -> None:
        request = Request(exchange)
        options = self.options
        handler = options.handler
        if "expect" in exchange.head.special and not understands_expectation(exchange.head):
            handler = refuse_expectation
        log = options.access_log
        if log is not None and not log.enabled:
            log = None
        started = 0.0 if log is None else self.loop.time()
        try:
            try:
                response = await handler(request)
                if (
                    type(response) is not Response
                    or self.writing_paused
                    or not response._answer_now(request)
                ):
                    if exchange.upgraded is None:
                        await _checked(response)._answer(request)
                    else:
                        response = await exchange.upgraded.finish(None)
            except Exception as error:  # noqa: BLE001 - whatever a handler raises is answered
                response = await self._answer_error(request, exchange, error)
        except BaseException:
            # Cancelled by the shutdown, or because the client has gone: nobody waits for the rest.
            self._break_off(exchange)
            raise
        finally:
            exchange.ended = True
            if not exchange.complete or request._post is not None:
                exchange.abandon()
                request.close()
            if self._socket is None and not exchange.released:
                # The server waits for handlers whose clients have gone, too.
                self._forget()
        if log is not None:
            self._log(log, request, response, self.loop.time() - started)
        self._finished(exchange)
        if self._begun is not None and not self._starting:
            # The next handler is not to run in this one's task, nor in its context.
            self.loop.call_soon(self._answer)

    @staticmethod
    def _log(
        log: AbstractAccessLogger, request: Request, response: StreamResponse, time: float
    ) -> None:
        try:
            log.log(request, response, time)
        except Exception:
            # It is somebody else's code, and the request was answered.
            _logger.exception("error while logging %r", request)

    async def _answer_error(
        self, request: Request, exchange: ServerExchange, error: Exception
    ) -> StreamResponse:
        """Answer what a handler raised, if it is not too late for that."""
        if (upgraded := exchange.upgraded) is not None:
            if isinstance(error, ConnectionError) and (upgraded.ended or not self.is_open):
                _logger.debug("the client went away during %r", request)
            else:
                _logger.error("error while handling %r", request, exc_info=error)
            return await upgraded.finish(error)
        try:
            response = answer_to(error, request, gone=not self.is_open, debug=self.options.debug)
            if exchange.head_sent or not self.is_open:
                # Half an answer is out: only the end of the connection says that it is none.
                self._break_off(exchange)
                return response
            try:
                await response._answer(request)
            except ConnectionError:
                self.abort()
        except Exception as malformed:
            if not isinstance(error, HTTPException):
                raise
            # What it says cannot be sent: that is an error of the handler's like any other.
            failure = RuntimeError(f"an answer that cannot be sent: {malformed}")
            failure.__cause__ = malformed
            return await self._answer_error(request, exchange, failure)
        return response

    def _break_off(self, exchange: ServerExchange) -> None:
        if not exchange.released:
            self.abort()

    def release(self, exchange: ServerExchange) -> bool:
        """Let the next request have its turn, if the handler of this one has nothing to say.

        It goes on by itself then, and the server waits for it when it closes. Not to be called from
        the handler.
        """
        task = self._task
        if exchange is not self._exchange or not exchange.releasable or task is None:
            return False
        if self._socket is None:
            return False
        exchange.ended = exchange.released = True
        if not exchange.complete:
            exchange.abandon()
        self._server.keep(task)
        self._finished(exchange)
        self._answer()
        return True

    def _finished(self, exchange: ServerExchange) -> None:
        """The request has been answered."""
        if exchange is not self._exchange:
            # It has let others have their turn already, or the connection is gone.
            return
        self._task = None
        if (
            self.core.idle
            and self._socket is not None
            and not (self._closing or self._half_closed or self._early)
        ):
            # The usual end, where nothing else has come: a shorter way to what `_next` does.
            self._exchange = None
            if self._held:
                self._resume()
            seconds = self.options.keepalive_timeout
            due = self.loop.time() + seconds
            if seconds and self._timer is not None and self._ticks_at <= due:
                self._due = due
            else:
                self._wait_for(seconds)
            return
        if not self.is_open:
            return
        if self._closing or not self.core.persistent:
            self._linger()
        elif exchange.complete:
            self._next()
        else:
            # What the client still sends of the request is read and thrown away.
            self._resume()
            self._wait_for(self.options.lingering_time)

    def _next(self) -> None:
        """The exchange is over on both sides; the next request may be here already."""
        self._exchange = None
        core = self.core
        if self._closing or core.closed:
            self._linger()
            return
        if self._early:
            early, self._early = self._early, b""
            self._dispatch(core.receive_data(early))
        if core.idle:
            self._wait_for(self.options.keepalive_timeout)
            if not self._half_closed:
                if self._held:
                    self._resume()
                return
        while events := core.next_events():
            self._dispatch(events)
        if self._lingering or not self.is_open:
            return
        if core.wants_data:
            self._resume()
        self._wait_for_the_rest()

    def _wait_for_the_rest(self) -> None:
        """What was kept has been looked at: what is missing, of a head or a body, has its time."""
        exchange = self._exchange
        if exchange is not None:
            if not exchange.complete:
                self._wait_for_content(exchange)
        elif self._half_closed:
            self._linger()
        elif not self.core.idle:
            self._partial = True
            self._wait_for(self.options.head_timeout)

    # --- another protocol ----------------------------------------------------------------------

    def upgraded(self) -> None:
        """The request under way speaks another protocol now: it gets what was read behind it."""
        self._due = None
        # From here on `send_unframed` goes past the core.
        self.flush()
        self._resume()
        while events := self.core.next_events():
            self._dispatch(events)
        exchange = self._exchange
        if self._closing and exchange is not None and exchange.upgraded is not None:
            exchange.upgraded.going_away()

    def send_unframed(self, data: Buffer) -> bool:
        """Send octets as they are; True where `drain` should come before more is sent.

        ConnectionResetError where nobody listens.
        """
        socket = self._socket
        if socket is None or socket.is_closing():
            raise ConnectionResetError("the client has gone")
        socket.write(data)
        return self.writing_paused

    def send_all_unframed(self, buffers: list[Buffer]) -> bool:
        """As `send_unframed`, in as few segments as can be."""
        socket = self._socket
        if socket is None or socket.is_closing():
            raise ConnectionResetError("the client has gone")
        self._write(socket, buffers)
        return self.writing_paused

    def end(self, timeout: float) -> None:
        """All is said: close when what was written is out, in `timeout` seconds at the latest."""
        self._closing = self._lingering = True
        self.flush()
        self.close()
        socket = self._socket
        if socket is not None and socket.get_write_buffer_size():
            self._wait_for(timeout)

    # --- time ----------------------------------------------------------------------------------

    def _wait_for(self, seconds: float) -> None:
        """From now on the client has so many seconds; 0: as long as it likes."""
        if not seconds:
            self._due = None
            return
        due = self._due = self.loop.time() + seconds
        # One timer, moved on when it goes off: not one for each request.
        if self._timer is None:
            self._set_timer(due)
        elif self._ticks_at > due:
            self._timer.cancel()
            self._set_timer(due)

    def _set_timer(self, due: float) -> None:
        self._ticks_at = due
        self._timer = self.loop.call_at(due, self._tick)

    def _wait_for_content(self, exchange: ServerExchange) -> None:
        if exchange.ended:
            return
        if self._held:
            self._due = None
        else:
            self._wait_for(self.options.body_timeout)

    def _tick(self) -> None:
        self._timer = None
        due = self._due
        if due is None:
            return
        if self.loop.time() < due:
            self._set_timer(due)
            return
        self._due = None
        self._too_slow()

    def _too_slow(self) -> None:
        exchange = self._exchange
        if self._lingering:
            socket = self._socket
            if socket is not None and socket.get_write_buffer_size() and not socket.is_closing():
                # The client still takes what was said, and is watched while it does.
                self._wait_for(CLOSING_TIME)
            else:
                self.abort()
        elif exchange is None:
            if self._partial:
                self._refuse(HTTPException(408, "the request did not come in time"))
            else:
                self.close()
        elif exchange.ended:
            self.close()
        else:
            self._closing = True
            exchange.fail(HTTPException(408, "the body did not come in time", close=True))

    def _clear_timer(self) -> None:
        self._due = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- flow ----------------------------------------------------------------------------------

    def hold(self, exchange: ServerExchange) -> None:
        """The handler reads slowly: the client waits."""
        if exchange is self._exchange and not exchange.ended:
            self._pause()
            self._due = None

    def let_go(self, exchange: ServerExchange) -> None:
        """The handler has read."""
        if exchange is self._exchange:
            self._resume()
            if not exchange.complete:
                self._wait_for_content(exchange)

    def _pause(self) -> None:
        if not self._held and self._socket is not None and not self._socket.is_closing():
            self._held = True
            self._socket.pause_reading()

    def _resume(self) -> None:
        if self._held:
            self._held = False
            if self._socket is not None and not self._socket.is_closing():
                self._socket.resume_reading()

    async def drain(self) -> None:
        """Wait until the socket takes more; ConnectionResetError when it never will."""
        if self.writing_paused and self._socket is not None:
            await self._wait_drained()
        if self._socket is None:
            raise ConnectionResetError("the client has gone")

    # --- sending -------------------------------------------------------------------------------

    def _sending(self) -> None:
        if self._socket is None or self._socket.is_closing():
            raise ConnectionResetError("the client has gone")

    def send_head(self, exchange: ServerExchange, head: ResponseHead, *, end: bool) -> None:
        """Send a head, which leaves with what follows it in this turn."""
        self._sending()
        self.core.send_head(exchange.stream_id, head, end=end)
        self.batch.add(self)

    def send_content(self, exchange: ServerExchange, data: Buffer, *, end: bool) -> None:
        """Send content."""
        self._sending()
        self.core.send_content(exchange.stream_id, data, end=end)
        self.flush()

    def send_trailers(
        self, exchange: ServerExchange, trailers: tuple[tuple[str, str], ...]
    ) -> None:
        """End chunked content with trailer fields."""
        self._sending()
        self.core.send_trailers(exchange.stream_id, trailers)
        self.flush()

    def send_whole(self, exchange: ServerExchange, head: ResponseHead, content: Buffer) -> None:
        """Send head and content together."""
        self._sending()
        core = self.core
        core.send_head(exchange.stream_id, head, end=False)
        exchange.head_sent = head.status
        core.send_content(exchange.stream_id, content, end=True)
        self._send_soon(len(content))

    def send_ready(self, exchange: ServerExchange, head: ReadyHead, content: bytes) -> bool:
        """Send a usual response; False, and nothing sent, where it is not that."""
        socket = self._socket
        if socket is None or socket.is_closing():
            raise ConnectionResetError("the client has gone")
        if not self.core.send_ready(exchange.stream_id, head, content):
            return False
        exchange.head_sent = head.status
        exchange.output_size = len(content)
        self._send_soon(len(content))
        return True

    def _send_soon(self, size: int) -> None:
        """Write at the end of this turn, with other connections; what is large, now."""
        if size > MAX_BATCHED:
            self.flush()
        else:
            self.batch.add(self)

    async def send_file(
        self, exchange: ServerExchange, file: BinaryIO, start: int, size: int
    ) -> int:
        """Let the system send content from a file; 0 where loop or connection cannot do that."""
        self._sending()
        socket = self._socket
        if socket is None or self.scheme != "http" or not CAN_SEND_FILES:
            return 0
        system_socket = socket.get_extra_info("socket")
        if system_socket is None:
            # There is no descriptor that the system could write to.
            return 0
        await self._write_all(socket)
        seconds = self.options.send_timeout
        transfer = FileTransfer(self.loop, socket, self._drain_waiters, seconds)
        try:
            sent = await transfer.send(system_socket.fileno(), file, start, size)
        except ConnectionError:
            # The transport would learn of it later.
            self.abort()
            raise
        self.core.count_content(exchange.stream_id, sent)
        return sent

    async def _write_all(self, socket: asyncio.WriteTransport) -> None:
        """Wait until all that was sent is the system's."""
        self.flush()
        socket.set_write_buffer_limits(0)
        try:
            await self.drain()
        finally:
            socket.set_write_buffer_limits()

    def flush(self) -> None:
        """Write what the core wants to send."""
        socket = self._socket
        if socket is None or socket.is_closing():
            return
        buffers = self.core.data_to_send()
        if not buffers:
            return
        if len(buffers) == 1:
            socket.write(buffers[0])
        else:
            write_together(socket, buffers, self.loop)

    flush_open = flush

    # --- the end -------------------------------------------------------------------------------

    def _refuse(self, error: HTTPException) -> None:
        """Answer what is no request, and close."""
        self._closing = True
        socket = self._socket
        if socket is None or socket.is_closing():
            return
        self.flush()
        socket.write(refusal(error))
        self._linger()

    def _linger(self) -> None:
        """Nothing more will be said: close when the client has heard it."""
        self._exchange = None
        self._closing = self._lingering = True
        self.flush()
        socket = self._socket
        if socket is None or socket.is_closing():
            return
        if self._half_closed or not self.end_sending():
            self.close()
            return
        # One that asked for 100 and was refused may send all the same.
        self._resume()
        self._wait_for(CLOSING_TIME)
        self._watch_sending()

    def shutdown(self, idle_time: float = 0) -> None:
        """Take no more requests; an idle connection closes in `idle_time` seconds.

        A request that has begun to come is the last one; and so is the first of a connection, which
        the client may have sent before it could know.
        """
        self._closing = True
        exchange = self._exchange
        if exchange is not None:
            exchange.keep_alive = False
            if exchange.upgraded is not None:
                exchange.upgraded.going_away()
        elif self._lingering or self._partial:
            # Its time is running already.
            return
        elif not self.served:
            self._wait_for(max(idle_time, CLOSING_TIME))
        elif idle_time:
            self._wait_for(idle_time)
        else:
            self.close()

    def close(self) -> None:
        """Close when what was written is out. Idempotent."""
        if self._socket is not None:
            self.flush()
            self._resume()
            self._socket.close()
            self._watch_sending()

    def _watch_sending(self) -> None:
        """A client that takes nothing of what is written for too long is not waited for."""
        socket, seconds, exchange = self._socket, self.options.send_timeout, self._exchange
        if socket is None or not seconds or self._send_watch is not None:
            return
        # Other protocols have habits of their own.
        if exchange is not None and exchange.upgraded is not None:
            return
        if socket.get_write_buffer_size():
            self._send_watch = SendWatch(socket, seconds, self.loop)

    def _stop_watching(self) -> None:
        if self._send_watch is not None:
            self._send_watch.stop()
            self._send_watch = None


class BufferedServerConnection(ServerConnection, BufferedReading):
    """The same for event loops that are cheaper with a buffer to read into."""

    __slots__ = ()


def _checked(response: object) -> StreamResponse:
    if not isinstance(response, StreamResponse):
        raise TypeError(f"a handler returns a Response or StreamResponse, not {response!r}")
    return response
