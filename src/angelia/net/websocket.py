"""WebSocket: messages to await and to send, over whatever the opening handshake ran on.

Owns, for both roles: the bound on what was not received yet; the closing handshake with its time
limit; when the connection ends. The protocol is
`core.ws`'s. Knows nothing of requests, sessions or handlers, and not what carries it: see
`Carrier`.

The carrier holds the WebSocket, and so do its timers: neither holds whoever uses it, so that a
forgotten one can be found and closed.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final, NamedTuple, Protocol

from angelia.core.interface import Buffer, Role
from angelia.core.ws import DEFAULT_MAX_MSG_SIZE, WHOLE_TEXT, WSConnection, WSState, as_octets
from angelia.core.ws_extensions import PerMessageDeflate
from angelia.core.ws_frames import (
    FIN,
    NO_STATUS,
    Opcode,
    WSCloseCode,
    parse_close,
    serialize_close,
)
from angelia.core.ws_messages import WSMessage, WSMsgType
from angelia.errors import (
    ClientConnectionResetError,
    LocalProtocolError,
    ServerTimeoutError,
    WebSocketError,
)
from angelia.net.websocket_inbox import Inbox
from angelia.net.websocket_pings import Heartbeat, Latency
from angelia.net.websocket_queue import SendQueue, wants_thread

__all__ = (
    "DEFAULT_CLOSE_TIMEOUT",
    "MAX_UNREAD",
    "Carrier",
    "WSStats",
    "WebSocket",
    "WebSocketOptions",
    "check_octets",
)

# The documented default of `ws_close`, in seconds.
DEFAULT_CLOSE_TIMEOUT: Final = 10.0

# With so many octets of messages unread, the socket is not read either.
MAX_UNREAD: Final = 256 * 1024

# A server's handler that asks for messages of a closed WebSocket again and again would never let
# anybody else run; so often it is told that there are none.
MAX_READS_AFTER_END: Final = 5

_CLOSED: Final = WSMessage(WSMsgType.CLOSED, None, None)
_CLOSING: Final = WSMessage(WSMsgType.CLOSING, None, None)

_SENDING: Final = (WSState.OPEN, WSState.CLOSE_RECEIVED)
_OPEN: Final = WSState.OPEN
_TEXT: Final = WSMsgType.TEXT
_BINARY: Final = WSMsgType.BINARY


class Carrier(Protocol):
    """What carries a WebSocket's octets: the exchange that its handshake ran on, now unframed."""

    @property
    def received_at(self) -> float:
        """When octets came last, or reading was resumed; in the loop's time."""

    @property
    def writing_paused(self) -> bool:
        """Whether the socket has been given more than it takes at the moment."""

    @property
    def unsent(self) -> int:
        """Octets that the socket has not taken yet."""

    def send(self, data: Buffer) -> bool:
        """Write; True where `drain` should come before more is written.

        ConnectionResetError if nobody takes it any more.
        """

    def send_all(self, buffers: list[Buffer]) -> bool:
        """As `send`, in as few segments as can be."""

    async def drain(self) -> None:
        """Wait until the socket takes more; ConnectionResetError when it never will."""

    def pause_reading(self) -> None:
        """Let the peer wait."""

    def resume_reading(self) -> None:
        """Read on."""

    def end_sending(self) -> bool:
        """Tell the peer that nothing more comes, and read on; False where that cannot be told."""

    def end(self, timeout: float) -> None:
        """Close when what was written is out; within `timeout` seconds in any case."""

    def abort(self) -> None:
        """Close at once."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the event loop's transport knows."""


class WebSocketOptions(NamedTuple):
    """The wishes of whoever opens a WebSocket; times are in seconds, None is no limit."""

    receive_timeout: float | None = None
    close_timeout: float | None = DEFAULT_CLOSE_TIMEOUT
    heartbeat: float | None = None
    autoclose: bool = True
    autoping: bool = True
    max_msg_size: int = DEFAULT_MAX_MSG_SIZE
    decode_text: bool = True

    def check(self) -> None:
        """TypeError and ValueError for what is no time, or no size."""
        _check_seconds("the limit of time for receiving", self.receive_timeout)
        _check_seconds("the limit of time for closing", self.close_timeout)
        _check_seconds("heartbeat", self.heartbeat)
        check_octets("max_msg_size", self.max_msg_size)


def check_octets(name: str, value: object) -> None:
    """TypeError unless `value` is an int, ValueError if it is negative."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is a whole number, not {value!r}")
    if value < 0:
        raise ValueError(f"{name} is 0 or more, not {value}")


def _check_seconds(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} is a number of seconds or None, not {value!r}")
    # A NaN is neither.
    if not value >= 0:
        raise ValueError(f"{name} is 0 or more seconds, not {value!r}")


class WSStats(NamedTuple):
    """What went over a WebSocket so far.

    Messages are text and binary ones; octets are those of all frames, as they were on the wire.
    `unread` messages have come and wait for `receive`. `latency` is that of the last Ping that was
    answered, in seconds; None before.
    """

    messages_sent: int
    messages_received: int
    octets_sent: int
    octets_received: int
    unread: int
    latency: float | None


class WebSocket:
    """One side of a WebSocket. `carrier` is given what is sent; it calls `feed_data` and so on.

    Sending is two steps: `send_message` and `send_frame` frame and write at once, in the order in
    which they are called; where they return True, await `drain`. So nothing that happens to one
    sender disturbs another. What is large and to be compressed goes out when a thread has deflated
    it, and messages behind it wait; control frames do not.
    """

    __slots__ = (
        "__weakref__",
        "_after_end",
        "_carrier",
        "_close_timeout",
        "_closing",
        "_core",
        "_deflating",
        "_eof",
        "_exception",
        "_flusher",
        "_heartbeat",
        "_inbox",
        "_latency",
        "_linger",
        "_loop",
        "_messages_received",
        "_messages_sent",
        "_octets_received",
        "_octets_sent",
        "_options",
        "_over",
        "_over_waiter",
        "_parting",
        "_paused",
        "_refilling",
        "_taken",
        "closed",
    )

    def __init__(
        self,
        role: Role,
        carrier: Carrier,
        options: WebSocketOptions,
        deflate: PerMessageDeflate | None = None,
        *,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._core = WSConnection(
            role,
            random_bytes=os.urandom,
            max_msg_size=options.max_msg_size,
            deflate=deflate,
            decode_text=options.decode_text,
            autoping=options.autoping,
            # When it is answered depends on who receives: see `_leave_answer`.
            autoclose=False,
        )
        # Made for the first large message that is compressed.
        self._deflating: SendQueue | None = None
        # A Close frame waits in the queue.
        self._parting = False
        self._carrier = carrier
        self._options = options
        self._close_timeout = options.close_timeout
        self._loop = loop
        self.closed = False
        """Whether `close` was called, or the end has been read."""
        self._latency = Latency()
        self._inbox = Inbox(loop)
        self._messages_sent = self._messages_received = 0
        self._octets_sent = self._octets_received = 0
        self._paused = self._refilling = False
        self._after_end = 0
        # The peer has ended the connection; that is looked at when all that it sent was.
        self._eof = False
        self._exception: BaseException | None = None
        # `close` is at work: nobody will read what still comes.
        self._closing = False
        # The carrier has been closed, or is gone.
        self._over = False
        self._over_waiter: asyncio.Future[None] | None = None
        self._flusher: asyncio.Task[None] | None = None
        self._linger: asyncio.TimerHandle | None = None
        # Octets that the socket had taken when the heartbeat looked last, if more waited for it.
        self._taken: int | None = None
        self._heartbeat: Heartbeat | None = None
        if options.heartbeat:
            self._heartbeat = Heartbeat(
                options.heartbeat, self._heard_at, self._ping, self._pong_missing, loop=loop
            )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._core!r} unread={len(self._inbox.messages)}>"

    # --- questions -----------------------------------------------------------------------------

    @property
    def close_code(self) -> int | None:
        """The code of the peer's Close frame, or of what failed; None before there is one."""
        return self._core.close_code

    @property
    def close_reason(self) -> str:
        """What the peer's Close frame says beside its code, or what failed; empty before."""
        return self._core.close_reason

    @property
    def exception(self) -> BaseException | None:
        """What ended the connection other than a closing handshake."""
        return self._exception

    @property
    def sending(self) -> bool:
        """Whether messages can still be sent."""
        return not (self.closed or self._over or self._parting) and self._core.state in _SENDING

    @property
    def parted(self) -> bool:
        """Whether a closing handshake has been begun, by whichever side."""
        return self._core.state not in (WSState.OPEN, WSState.FAILED)

    @property
    def over(self) -> bool:
        """Whether the connection has ended, or is being closed by the event loop."""
        return self._over

    @property
    def latency(self) -> float | None:
        """Seconds from the last Ping that was answered to its Pong."""
        return self._latency.seconds

    def stats(self) -> WSStats:
        """What went over it so far."""
        return WSStats(
            self._messages_sent,
            self._messages_received,
            self._octets_sent,
            self._octets_received,
            len(self._inbox.messages),
            self.latency,
        )

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the event loop's transport knows."""
        return self._carrier.get_extra_info(name, default)

    # --- what the carrier calls ----------------------------------------------------------------

    def feed_data(self, data: bytes) -> None:
        """Octets have come."""
        self._octets_received += len(data)
        core = self._core
        messages = core.receive_data(data)
        if not core.plain:
            self._take_in(messages)
            if core.pending:
                self._refill_soon()
            return
        inbox = self._inbox
        if len(messages) == 1 and inbox.hand_over(messages[0]):
            # The usual case: past the queue.
            self._messages_received += 1
        elif messages:
            self._messages_received += len(messages)
            inbox.put(messages)
            if inbox.size > MAX_UNREAD:
                self._let_peer_wait()

    def feed_eof(self) -> None:
        """The peer has ended the connection."""
        self._eof = True
        if not self._core.pending:
            self._receive_eof()

    def set_exception(self, error: BaseException) -> None:
        """The connection was given up, by us or by what carries it."""
        if not self._over:
            self._break(error, _CLOSED)

    def is_eof(self) -> bool:
        """Whether nothing more is taken."""
        return self._over

    def discard(self, error: BaseException) -> None:
        """Whoever used it is done."""
        self.set_exception(error)

    def _take_in(self, messages: list[WSMessage]) -> None:
        core = self._core
        wanted = [message for message in messages if self._take_one(message)]
        if wanted and not self._closing:
            self._inbox.put(wanted)
        if core.has_output:
            self._flush_answers()
        if core.state is not _OPEN:
            if core.state is WSState.CLOSED:
                self._end()
            elif core.state is WSState.FAILED:
                self._begin_linger()
            elif core.state is WSState.CLOSE_RECEIVED and self._options.autoclose:
                self._leave_answer()
        if self._inbox.size > MAX_UNREAD:
            self._let_peer_wait()

    def _let_peer_wait(self) -> None:
        """There is too much that nobody has read."""
        if not self._paused and self._core.receiving:
            self._pause()

    def _take_one(self, message: WSMessage) -> bool:
        """Look at a message; True where it is for whoever receives."""
        kind = message[0]
        if kind is _BINARY or kind is _TEXT:
            self._messages_received += 1
        elif kind is WSMsgType.PONG:
            self._latency.pong_received(message.data)
            return not self._options.autoping
        elif kind is WSMsgType.ERROR:
            self._exception = message.data
        return True

    def _refill_soon(self) -> None:
        """Read no more, and at the next turn look at what waits in the core.

        It takes its time to inflate: what is done at once, nobody else can do anything in between.
        """
        if not self._paused:
            self._pause()
        if not self._refilling:
            self._refilling = True
            self._loop.call_soon(self._refill)

    def _refill(self) -> None:
        """Look at some of what waits in the core, if there is room for what it makes."""
        self._refilling = False
        core = self._core
        if core.pending and (self._closing or self._inbox.size <= MAX_UNREAD):
            self._take_in(core.receive_data(b""))
            if core.pending:
                self._refill_soon()
        if core.pending:
            return
        if self._eof:
            self._receive_eof()
        else:
            self._resume()

    def _make_room(self) -> None:
        """A message was read: the peer may go on where there is room for more."""
        if self._inbox.size <= MAX_UNREAD // 2:
            if self._core.pending:
                self._refill_soon()
            else:
                self._refill()

    def _receive_eof(self) -> None:
        if self._over:
            return
        if self._options.autoclose:
            # A peer that says no more may still listen.
            self._answer_close()
        for message in self._core.receive_eof():
            # RFC 6455 §7.1.5: 1006. Who reads on learns that there is nothing more to come.
            self._exception = message.data
            self._append_end(_CLOSED)
        self._over_now()

    def _break(self, error: BaseException, last: WSMessage) -> None:
        """The connection ends at once, and that is no closing handshake."""
        # What is not looked at yet is not worth more than the connection.
        self._core.receive_eof()
        if self._exception is None:
            self._exception = error
        self._append_end(last)
        self._over_now()

    def _append_end(self, message: WSMessage) -> None:
        if not self._closing:
            self._inbox.put([message])

    # --- flow ----------------------------------------------------------------------------------

    def _pause(self) -> None:
        if not self._over:
            self._paused = True
            self._carrier.pause_reading()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            if not self._over:
                self._carrier.resume_reading()

    def _drop_unread(self) -> None:
        self._inbox.clear()
        if self._core.pending:
            self._refill_soon()
        else:
            self._resume()

    def _flush(self) -> bool:
        """Write what the core wants to send; True where `drain` should come next."""
        buffers = self._core.data_to_send()
        if not buffers:
            return self._carrier.writing_paused
        self._octets_sent += sum(map(len, buffers))
        return self._carrier.send_all(buffers)

    def _flush_answers(self) -> None:
        """Send what the core answers by itself."""
        if self._over:
            return
        if self._core.state is WSState.OPEN and self._carrier.writing_paused:
            # A peer that sends Pings and reads nothing: the core keeps few Pongs, the socket would
            # keep them all.
            if self._flusher is None:
                self._flusher = self._loop.create_task(self._flush_later())
            return
        try:
            self._flush()
        except ConnectionResetError:
            # The end of the connection has its own way here.
            return

    async def _flush_later(self) -> None:
        try:
            await self._carrier.drain()
            self._flush()
        except ConnectionResetError:
            return
        finally:
            self._flusher = None

    # --- receiving -----------------------------------------------------------------------------

    def next_message(self) -> WSMessage | None:
        """The next message, if it has come; RuntimeError while somebody waits for it."""
        inbox = self._inbox
        if inbox.waiter is not None:
            raise RuntimeError("Concurrent call to receive() is not allowed")
        if inbox.messages:
            message = inbox.take()
            kind = message[0]
            if kind is not _TEXT and kind is not _BINARY:
                self._receive_control(message)
            if self._paused:
                self._make_room()
            return message
        if self._closing:
            return _CLOSING
        if self.closed or self._over:
            self.closed = True
            self._count_read_after_end()
            return _CLOSED
        return None

    def _receive_control(self, message: WSMessage) -> None:
        """What is no data is received, perhaps the end."""
        if message is _CLOSED or message.type is WSMsgType.ERROR:
            self.closed = True
        elif message.type is WSMsgType.CLOSE and self._options.autoclose:
            self.closed = True
            self._answer_close()

    def _count_read_after_end(self) -> None:
        if self._core.role is Role.SERVER:
            self._after_end += 1
            if self._after_end >= MAX_READS_AFTER_END:
                raise RuntimeError("WebSocket connection is closed.")

    def wait_message(self, timeout: float | None = None) -> asyncio.Future[WSMessage | None]:
        """What to await where `next_message` had none: the message, or None to ask it again.

        TimeoutError after `timeout` seconds or those of the options. Who is
        cancelled or timed out before the result has to `stop_waiting`; then no message is lost.
        """
        return self._inbox.wait(timeout or self._options.receive_timeout)

    def stop_waiting(self, waiter: asyncio.Future[WSMessage | None]) -> None:
        """Nobody awaits `waiter` any more."""
        self._inbox.stop_waiting(waiter)

    # --- sending -------------------------------------------------------------------------------

    def send_message(self, first: int, data: str | Buffer, compress: int | None = None) -> bool:
        """Send a message of the kind WHOLE_TEXT or WHOLE_BINARY; True: `drain` before more is sent.

        ClientConnectionResetError on a WebSocket that is closing or closed.
        """
        core = self._core
        deflater = core.deflater
        if deflater is not None and (self._deflating or wants_thread(data, compress)):
            if not self.sending:
                raise _closing()
            if self._deflating is None:
                self._deflating = SendQueue(deflater, self._send_queued, loop=self._loop)
            opcode = Opcode.TEXT if first == WHOLE_TEXT else Opcode.BINARY
            self._deflating.add(opcode, data, compress)
            return True
        frame = core.frame_message(first, data, compress)
        if frame is not None:
            self._messages_sent += 1
            self._octets_sent += len(frame)
            return self._carrier.send(frame)
        if not self.sending:
            raise _closing()
        core.send_message(first, data, compress)
        self._messages_sent += 1
        return self._flush()

    def _send_queued(self, opcode: Opcode, octets: bytes, compress: bool, deflated: bool) -> None:
        """A message whose turn it is, or a Close frame."""
        core = self._core
        if self._over or core.state not in _SENDING:
            raise _closing()
        if opcode is Opcode.CLOSE:
            self._send_close(*parse_close(octets))
            return
        if deflated:
            core.send_deflated(opcode, octets)
        else:
            core.send_frame(opcode, octets, compress=compress)
        self._messages_sent += 1
        self._flush()

    def send_frame(
        self, message: str | Buffer, opcode: Opcode, compress: int | None = None
    ) -> bool:
        """Send one whole frame; ValueError where it may not be sent. Else as `send_message`."""
        if not self.sending:
            raise _closing()
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            return self.send_message(FIN | opcode, message, compress)
        octets = as_octets(message)
        try:
            if opcode is Opcode.CLOSE:
                self._send_close(*parse_close(octets))
                return False
            self._core.send_frame(opcode, octets)
        except (LocalProtocolError, WebSocketError) as error:
            raise ValueError(str(error)) from error
        if opcode is Opcode.PING:
            self._latency.ping_sent(octets)
        return self._flush()

    async def drain(self) -> None:
        """Wait until what was sent is with the socket, and that takes more.

        ClientConnectionResetError where the connection has ended before.
        """
        if self._deflating:
            await self._deflating.wait()
        await self._carrier.drain()

    # --- heartbeat -----------------------------------------------------------------------------

    def _heard_at(self) -> float:
        # Nobody can be heard who is not listened to. And a Ping waits behind what was sent before
        # it: a peer that takes a large message slowly is there, and cannot answer yet.
        if self._backlog_moves() or self._paused:
            return self._loop.time()
        return self._carrier.received_at

    def _backlog_moves(self) -> bool:
        """Whether the socket has taken some of what waited for it at the last look."""
        unsent = self._carrier.unsent
        taken = self._octets_sent - unsent
        before, self._taken = self._taken, taken if unsent else None
        return before is not None and taken > before

    def _ping(self) -> bool:
        if self._core.state is not WSState.OPEN:
            return False
        self._core.send_ping()
        self._latency.ping_sent(b"")
        try:
            self._flush()
        except ConnectionResetError:
            # Whoever finds that the connection is gone tells us.
            return False
        return True

    def _pong_missing(self, waited: float) -> None:
        text = f"No PONG received after {waited:g} seconds"
        error = ServerTimeoutError(text) if self._core.role is Role.CLIENT else TimeoutError(text)
        self._break(error, WSMessage(WSMsgType.ERROR, error, None))
        self._carrier.abort()

    def _stop_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None

    # --- the end -------------------------------------------------------------------------------

    async def close(self, code: int = WSCloseCode.OK, message: str | bytes = b"") -> bool:
        """Send a Close frame, wait for the peer's, and close the connection whatever happens.

        The wait ends after the option's time with code 1006. Messages that were not read are
        dropped. False, and nothing happens, where the WebSocket was closed. ValueError for a code
        or a message that may not be sent. When cancelled the connection is aborted.
        """
        core = self._core
        if self._closing or (self.closed and self._over):
            return False
        if core.state in _SENDING:
            # It goes first: what is dropped may hold the peer's.
            self._send_close(code, message)
        self.closed = self._closing = True
        self._drop_unread()
        self._inbox.hand_over(None)
        try:
            if not self._over:
                await self._wait_over()
        finally:
            self._closing = False
            self._drop_unread()
            if not self._over:
                self._over_now()
                self._carrier.abort()
        return True

    def go_away(self, code: int = WSCloseCode.GOING_AWAY) -> None:
        """Send a Close frame and wait for nothing: the connection closes when the peer answers.

        Whoever receives goes on, until that answer or the end of the option's time. Where the
        peer's Close has come, this is its answer. ValueError for a code that may not be sent.
        """
        if self._over or self._parting or self._core.state not in _SENDING:
            return
        self._send_close(code)
        if not self._over:
            self._stop_heartbeat()
            self._linger = self._loop.call_later(self._closing_time, self._unanswered)

    def _send_close(self, code: int, reason: str | bytes = b"") -> None:
        """Send a Close frame, once, behind the messages that wait for their turn.

        Where it is the answer to the peer's, all is said. ValueError for a code or a reason that
        may not be sent.
        """
        try:
            if self._deflating:
                if not self._parting:
                    self._deflating.add(Opcode.CLOSE, serialize_close(code, reason), 0)
                    self._parting = True
                return
            self._core.send_close(code, reason)
        except LocalProtocolError as error:
            raise ValueError(str(error)) from error
        self._flush_answers()
        if self._core.state is WSState.CLOSED:
            self._end()

    def _unanswered(self) -> None:
        self._incomplete(None)
        self._end()

    async def _wait_over(self) -> None:
        self._over_waiter = self._loop.create_future()
        try:
            async with asyncio.timeout(self._close_timeout):
                await self._over_waiter
        except TimeoutError as error:
            self._incomplete(error)
        except asyncio.CancelledError:
            self._incomplete(None)
            raise
        finally:
            self._over_waiter = None

    def _incomplete(self, error: BaseException | None) -> None:
        """The peer has not answered our Close frame."""
        found = self._core.receive_eof()
        if found and self._exception is None:
            self._exception = found[0].data if error is None else error

    def _leave_answer(self) -> None:
        """The peer's Close has come: whoever receives answers it by getting to it.

        RFC 6455 §5.5.1 lets the answer wait, so messages that came before can still be answered.
        """
        if self._linger is not None or self._over:
            return
        self._stop_heartbeat()
        if not self._messages_received:
            # There are none. Who only sends learns of the end by the next send.
            self._answer_close()
            return
        # Half the time: a peer that waits as long as we would still gets the answer.
        self._linger = self._loop.call_later(self._closing_time / 2, self._answer_close)

    def _answer_close(self) -> None:
        """Answer the peer's Close, unless that was done."""
        core = self._core
        if core.state is WSState.CLOSE_RECEIVED and not self._over:
            # §5.5.1: an answer typically echoes the code.
            self._send_close(core.close_code or NO_STATUS)

    def _begin_linger(self) -> None:
        # RFC 6455 §7.1.7. What the peer is still sending is read, and thrown away, until it has
        # seen our Close frame and ends the connection: closing before it is done would reset the
        # connection, and the frame that says what was wrong would be lost.
        if self._linger is None and not self._over:
            # §7.1.1: it is the server that ends the connection.
            if self._core.role is Role.SERVER and not self._carrier.end_sending():
                self._end()
                return
            self._resume()
            self._drop_unsent()
            self._linger = self._loop.call_later(self._closing_time, self._end)
            self._stop_heartbeat()

    @property
    def _closing_time(self) -> float:
        """Seconds that something which must end has in any case."""
        return self._close_timeout or DEFAULT_CLOSE_TIMEOUT

    def _end(self) -> None:
        """All is said: the connection closes."""
        if not self._over:
            self._over_now()
            self._carrier.end(self._closing_time)

    def _drop_unsent(self) -> None:
        queue, self._deflating = self._deflating, None
        if queue is not None:
            queue.drop(_closing())

    def _over_now(self) -> None:
        self._over = True
        self._stop_heartbeat()
        self._drop_unsent()
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._flusher is not None:
            self._flusher.cancel()
        waiter = self._over_waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        self._inbox.hand_over(None)


def _closing() -> ClientConnectionResetError:
    return ClientConnectionResetError("Cannot write to closing transport")
