"""Exchange: one request and its response on a connection, closed exactly once.

Owns: what the peer has answered so far, decoding of content codings, the response's stream, the
upload task if the body needs one. Knows nothing of URLs, sessions or pools, and not which protocol
version carries it.

The content of a response that came whole in one read never passes through a stream: `take_content`
hands it out. Otherwise a `StreamReader` is made, with this exchange as its flow control.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

from angelia.core.coding import make_decoder
from angelia.core.h1_wire import SealedHead
from angelia.core.interface import Buffer, Content, End, Event, RequestHead, ResponseHead
from angelia.errors import (
    ClientConnectionError,
    ClientConnectionResetError,
    ContentError,
    PeerClosed,
    ProtocolError,
)
from angelia.net.deadlines import Deadline
from angelia.net.decoding import Decoding
from angelia.net.streams import EMPTY_PAYLOAD, StreamReader, duplicate
from angelia.net.transport import ContentReceiver, Transport

__all__ = ("Exchange", "ExchangeOptions")


class ExchangeOptions:
    """How a response is to be received; shared by all exchanges with the same wishes.

    `translate` turns a protocol error, or the end of the connection, into the role's public error.
    `stream_class` is what content is read from, where it does not come whole at once.
    """

    __slots__ = (
        "auto_decompress",
        "max_decoded_size",
        "read_bufsize",
        "stream_class",
        "translate",
    )

    def __init__(
        self,
        *,
        translate: Callable[[BaseException | None], BaseException],
        read_bufsize: int,
        auto_decompress: bool,
        max_decoded_size: int | None = None,
        stream_class: type[StreamReader] = StreamReader,
    ) -> None:
        self.translate = translate
        self.read_bufsize = read_bufsize
        self.auto_decompress = auto_decompress
        self.max_decoded_size = max_decoded_size
        self.stream_class = stream_class


class Exchange:
    """One request/response. `close` gives the connection back, or up, exactly once."""

    __slots__ = (
        "__weakref__",
        "_content",
        "_continue_waiter",
        "_deadline",
        "_decoding",
        "_error",
        "_first",
        "_flow_paused",
        "_head_waiter",
        "_options",
        "_read_timeout",
        "_read_timer",
        "_unacknowledged",
        "_upload",
        "dial_timings",
        "ended",
        "ended_at",
        "head",
        "head_at",
        "loop",
        "output_size",
        "sent",
        "started",
        "stream_id",
        "trailers",
        "transport",
    )

    def __init__(self, transport: Transport, stream_id: int, options: ExchangeOptions) -> None:
        self.transport = transport
        self.loop = transport.loop
        self.stream_id = stream_id
        self._options = options
        self.head: ResponseHead | None = None
        self.trailers: tuple[tuple[str, str], ...] = ()
        # The response has come whole, or no more of it will.
        self.ended = False
        # Something of the request was handed to the socket; something of the response has come.
        self.sent = False
        self.started = False
        self.output_size = 0
        # What making the connection took, if it was made for this exchange; when the response
        # ended.
        self.dial_timings = transport.timings
        transport.timings = None
        self.head_at: float | None = None
        self.ended_at: float | None = None
        self._error: BaseException | None = None
        self._first: bytes | None = None
        self._content: StreamReader | None = None
        self._decoding: Decoding | None = None
        self._flow_paused = False
        self._unacknowledged = 0
        self._head_waiter: asyncio.Future[ResponseHead] | None = None
        self._continue_waiter: asyncio.Future[bool] | None = None
        self._upload: asyncio.Task[None] | None = None
        self._deadline: Deadline | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self._read_timeout = 0.0
        transport.add(self)

    def __repr__(self) -> str:
        state = "ended" if self.ended else "open"
        status = None if self.head is None else self.head.status
        return f"<{type(self).__name__} {self.stream_id} {state} status={status}>"

    # --- sending -------------------------------------------------------------------------------

    def send_head(self, head: RequestHead, *, end: bool, flush: bool = True) -> None:
        """Send the request's head; with `flush` False it waits to leave with the first content."""
        transport = self.transport
        if self.ended or not transport.is_open:
            raise ClientConnectionResetError("Cannot write to closing transport")
        transport.core.send_head(self.stream_id, head, end=end)
        if flush:
            self.sent = True
            transport.flush_soon()

    def send_sealed(self, head: SealedHead, content: bytes | None = None) -> None:
        """Send a request whose head was serialized before, and that is at hand."""
        if self.ended:
            raise ClientConnectionResetError("Cannot write to closing transport")
        self.transport.flush_soon()
        self.transport.core.send_sealed(self.stream_id, head, content)
        self.sent = True
        if content is not None:
            self.output_size = len(content)

    def send_content(self, data: Buffer, *, end: bool) -> None:
        """Send content of the request; ClientConnectionResetError if nobody takes it any more."""
        if self.ended or not self.transport.is_open:
            raise ClientConnectionResetError("Cannot write to closing transport")
        self.transport.core.send_content(self.stream_id, data, end=end)
        self.sent = True
        self.output_size += len(data)
        self.transport.flush()

    def send_whole(self, head: RequestHead, content: Buffer) -> None:
        """Send a request whose content is at hand: one write."""
        transport = self.transport
        transport.core.send_head(self.stream_id, head, end=False)
        transport.core.send_content(self.stream_id, content, end=True)
        self.sent = True
        self.output_size = len(content)
        transport.flush_soon()

    def start_upload(self, upload: Callable[[], Awaitable[None]]) -> None:
        """Let `upload` send the content while the response may already come."""
        self._upload = self.loop.create_task(self._run_upload(upload))
        self._upload.add_done_callback(self._upload_over)

    async def _run_upload(self, upload: Callable[[], Awaitable[None]]) -> None:
        try:
            await upload()
        except Exception as error:  # noqa: BLE001 - whatever a body raises is for the request
            self._upload_failed(error)

    def _upload_over(self, task: asyncio.Task[None]) -> None:
        self._upload = None
        if task.cancelled():
            # Half a message is out: nothing may follow it.
            self._give_up_connection()
        self._finish_if_done()

    def _upload_failed(self, error: Exception) -> None:
        # The server's answer, if it came first, wins over a failure to write, and one that came
        # whole over any failure.
        if self.ended:
            self.transport.close()
        elif self.head is None or not isinstance(error, OSError):
            self.abort(error)

    @property
    def uploading(self) -> bool:
        """Whether content of the request is still being sent."""
        return self._upload is not None

    async def wait_upload(self) -> None:
        """Wait until the upload has ended, whichever way."""
        if self._upload is not None:
            await asyncio.wait([self._upload])

    async def wait_continue(self, timeout: float | None) -> bool:
        """Wait for ``100 Continue``: True when the content may be sent.

        False when a final response came instead. After `timeout` seconds without an answer the
        content is sent all the same (RFC 9110 §10.1.1).
        """
        if self.head is not None or self._error is not None:
            return False
        if self.started:
            # An interim response came before anybody waited for it.
            return True
        waiter: asyncio.Future[bool] = self.loop.create_future()
        self._continue_waiter = waiter
        handle = None
        if timeout is not None:
            handle = self.loop.call_later(timeout, _settle, waiter, True)
        try:
            return await waiter
        finally:
            self._continue_waiter = None
            if handle is not None:
                handle.cancel()

    # --- receiving -----------------------------------------------------------------------------

    def head_arrival(self) -> asyncio.Future[ResponseHead]:
        """The final response's head, or the public error where none comes; one may wait for it."""
        waiter: asyncio.Future[ResponseHead] = self.loop.create_future()
        if self.head is not None:
            waiter.set_result(self.head)
        elif self._error is not None:
            waiter.set_exception(duplicate(self._error))
        else:
            self._head_waiter = waiter
        return waiter

    def deliver(self, event: Event) -> None:
        """Take an event of the core."""
        kind = type(event)
        if kind is Content:
            self._receive_content(event)  # type: ignore[arg-type]  # mypy does not follow `kind`
        elif kind is ResponseHead:
            self._receive_head(event)  # type: ignore[arg-type]  # as above
        elif kind is End:
            self.trailers = tuple(event.trailers)  # type: ignore[union-attr]  # as above
            self._receive_end()
        else:
            self._fail(event.error)  # type: ignore[union-attr]  # as above

    def receive_whole(self, head: ResponseHead, content: bytes) -> None:
        """Take a final response that came in one read: what its events would do, in one go."""
        if (
            "content-encoding" in head.special
            or self._continue_waiter is not None
            or self._content is not None
            or self._upload is not None
            or self.ended
        ):
            self._receive_head(head)
            if content:
                self._receive_content(Content(self.stream_id, content))
            self._receive_end()
            return
        transport = self.transport
        self.started = True
        self.head = head
        self.head_at = self.ended_at = transport.received_at
        if content:
            self._first = content
            self._unacknowledged = len(content)
        waiter = self._head_waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(head)
        self.ended = True
        if self._read_timer is not None:
            self._stop_read_timeout()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._finish()

    def _receive_head(self, head: ResponseHead) -> None:
        self.started = True
        if head.status < 200 and head.status != 101:
            # RFC 9110 §15.2: an interim response is not the answer; only 100 is waited for.
            if head.status == 100:
                _settle(self._continue_waiter, True)
            return
        self.head = head
        self.head_at = self.transport.received_at
        options = self._options
        if options.auto_decompress and "content-encoding" in head.special:
            self._begin_decoding(head.special["content-encoding"])
        _settle(self._continue_waiter, False)
        waiter = self._head_waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(head)

    def _begin_decoding(self, values: str | list[str]) -> None:
        codings = [values] if isinstance(values, str) else values
        try:
            decoder = make_decoder(codings, max_total=self._options.max_decoded_size)
        except ContentError as error:
            self._content_failed(error)
        else:
            self._decoding = None if decoder is None else Decoding(decoder)

    def _receive_content(self, event: Content) -> None:
        if self.ended:
            # Given up, while the rest of a read is still dealt out.
            return
        data = event.data
        if self._decoding is not None:
            self._receive_coded(data, event.chunk_end)  # type: ignore[arg-type]  # bytes on receipt
            return
        stream = self._content
        if stream is None:
            if self._first is None and not event.chunk_end:
                self._first = data  # type: ignore[assignment]  # content is received as bytes
                self._unacknowledged = len(data)
                return
            stream = self._open_stream(chunked=event.chunk_end)
        stream.feed_data(data)  # type: ignore[arg-type]  # as above
        if event.chunk_end:
            stream.end_http_chunk_receiving()
        self._unacknowledged += len(data)
        if not self._flow_paused:
            self._acknowledge()

    def _receive_coded(self, data: bytes, chunk_end: bool) -> None:
        stream = self._content
        if stream is None:
            stream = self._open_stream(chunked=chunk_end)
        stream.total_compressed_bytes = (stream.total_compressed_bytes or 0) + len(data)
        self._unacknowledged += len(data)
        if self._decoding is not None:
            self._decoding.add(data, chunk_end=chunk_end)
        self._pump()

    def _pump(self) -> None:
        """Decode as far as the reader's buffer allows."""
        decoding, stream = self._decoding, self._content
        if decoding is None or stream is None or self._flow_paused:
            return
        try:
            if not decoding.pump(stream):
                return
        except ContentError as error:
            self._decoding = None
            self._content_failed(error)
            return
        if decoding.ended:
            self._decoding = None
            stream.feed_eof()
        elif self._error is not None:
            self._decoding = None
            stream.set_exception(duplicate(self._error))
        else:
            self._acknowledge()

    def _content_failed(self, error: ContentError) -> None:
        self._set_error(self._options.translate(error))
        # Where all of it had come, the connection may be another exchange's by now.
        if self.stream_id in self.transport.exchanges:
            self.transport.core.reset_stream(self.stream_id)
            self.transport.close()
        self._end()

    def _receive_end(self) -> None:
        if self.ended:
            return
        if self._decoding is not None:
            self._decoding.ended = True
            if self._content is None:
                self._open_stream()
            self._pump()
        elif self._content is not None:
            self._content.feed_eof()
        self._end()

    def _open_stream(self, *, chunked: bool = False) -> StreamReader:
        options = self._options
        stream = options.stream_class(self, options.read_bufsize, loop=self.loop)
        self._content = stream
        special = None if self.head is None else self.head.special
        # Before the head nobody knows whether there will be chunks.
        if chunked or special is None or "transfer-encoding" in special:
            stream.begin_http_chunk_receiving()
        elif self._decoding is None:
            length = special.get("content-length", "")
            if isinstance(length, str) and length.isascii() and length.isdigit():
                stream.announced = int(length)
        first, self._first = self._first, None
        if first is not None:
            stream.feed_data(first)
        return stream

    def take_content(self) -> bytes | None:
        """The whole content, if it has come and no stream was needed for it."""
        if not self.ended or self._content is not None or self._error is not None:
            return None
        first = self._first
        return b"" if first is None else first

    @property
    def content(self) -> StreamReader:
        """The response's content as a stream."""
        stream = self._content
        if stream is None:
            if self.ended and self._first is None and self._error is None:
                self._content = EMPTY_PAYLOAD
                return EMPTY_PAYLOAD
            stream = self._open_stream()
            if self._error is not None:
                stream.set_exception(duplicate(self._error))
            elif self.ended:
                stream.feed_eof()
        return stream

    # --- after an upgrade ----------------------------------------------------------------------

    def hand_over(self, receiver: ContentReceiver) -> None:
        """After a 101: let `receiver` have the content, and what of it has come already.

        From now on no timeout of the request runs, and there is no stream to read.
        """
        self._stop_read_timeout()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        # The octets of another protocol have no content coding, whatever the head says.
        self._decoding = None
        self._flow_paused = False
        stream = self._content
        data = (self._first or b"") if stream is None else stream.read_nowait()
        self._first = None
        # The paths behind an upgrade use no more of a stream than a receiver has.
        self._content = cast("StreamReader", receiver)
        self._acknowledge()
        if data:
            receiver.feed_data(data)
        if self._error is not None:
            receiver.set_exception(duplicate(self._error))
        elif self.ended:
            receiver.feed_eof()
        elif not self.transport.core.has_windows:
            self.transport.receiver = receiver

    def end_unframed(self) -> None:
        """All is said in the other protocol: what was written goes out, then the end comes."""
        self.transport.close()
        self._end()

    # --- flow control of the stream ------------------------------------------------------------

    def pause_reading(self) -> None:
        """The stream is full."""
        self._flow_paused = True
        self.transport.hold(self)

    def resume_reading(self) -> None:
        """The stream has room again."""
        self._flow_paused = False
        if self._decoding is not None:
            self._pump()
        else:
            self._acknowledge()

    def _acknowledge(self) -> None:
        """What was delivered has found room."""
        transport = self.transport
        if transport.core.has_windows:
            size, self._unacknowledged = self._unacknowledged, 0
            transport.core.acknowledge(self.stream_id, size)
        elif transport.reading_paused and self.stream_id in transport.exchanges:
            transport.resume_reading()

    # --- timeouts ------------------------------------------------------------------------------

    def start_read_timeout(self, seconds: float) -> None:
        """From now on `abort_read` when nothing comes for `seconds`, until the response ends."""
        if self.ended or self._read_timer is not None:
            return
        self._read_timeout = seconds
        self.transport.received_at = self.loop.time()
        self._read_timer = self.loop.call_later(seconds, self._check_read_timeout)

    def _check_read_timeout(self) -> None:
        # One timer, moved on when it finds that octets have come since: not one for each read.
        transport = self.transport
        silent = self.loop.time() - transport.received_at
        rest = self._read_timeout - silent
        if transport.reading_paused:
            rest = self._read_timeout
        if rest > 0:
            self._read_timer = self.loop.call_later(rest, self._check_read_timeout)
            return
        self.abort(self._options.translate(ReadTimedOut(self._read_timeout)))

    def _stop_read_timeout(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    # --- the end -------------------------------------------------------------------------------

    def cancel_at_end(self, deadline: Deadline) -> None:
        """Cancel `deadline` when no more of the response will come."""
        if self.ended:
            deadline.cancel()
        else:
            self._deadline = deadline

    def _end(self) -> None:
        """No more of the response will come."""
        if self.ended:
            return
        self.ended = True
        self.ended_at = self.transport.received_at
        self._stop_read_timeout()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._upload is not None:
            # The peer has answered in full and reads no more of the request.
            self._upload.cancel()
        else:
            self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self.ended and self._upload is None:
            self._finish()

    def _finish(self) -> None:
        transport = self.transport
        if not transport.core.available_streams:
            transport.close()
        transport.remove(self)

    def _set_error(self, error: BaseException) -> None:
        if self._error is not None:
            return
        # What is raised, or was raised before, is not what is kept: see `duplicate`.
        self._error = duplicate(error)
        _settle(self._continue_waiter, False)
        waiter, self._head_waiter = self._head_waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        stream = self._content
        if stream is None or stream.is_eof():
            return
        if self._decoding is not None and self._flow_paused:
            # What came before the error is still to be decoded; the error follows it.
            return
        stream.set_exception(duplicate(error))

    def _fail(self, error: ProtocolError) -> None:
        if self.ended:
            return
        self._set_error(self._options.translate(error))
        self._end()

    def connection_lost(self, cause: BaseException | None) -> None:
        """The connection is gone."""
        if not self.ended:
            lost = PeerClosed()
            lost.__cause__ = cause
            self._set_error(self._options.translate(lost))
            self._end()

    def abort(self, error: BaseException) -> None:
        """Fail whoever waits with `error`, and close the connection."""
        if self.ended:
            if self._upload is not None:
                self.transport.abort()
            return
        self._decoding = None
        self._set_error(error)
        self.transport.core.reset_stream(self.stream_id)
        self.transport.abort()
        self._end()

    def close(self, error: BaseException | None = None) -> None:
        """The user is done: a connection with an unread rest is closed, not read out. Idempotent.

        `error` is what a later read gets, if the content was not read to its end.
        """
        if error is not None:
            self._discard(error)
        if self.ended:
            return
        self._decoding = None
        if self._error is None:
            self._set_error(ClientConnectionError("Connection closed"))
        self.transport.core.reset_stream(self.stream_id)
        self._give_up_connection()
        self._end()

    def _give_up_connection(self) -> None:
        # What the socket has not taken yet is of no use to anybody; waiting for a peer that does
        # not read it would keep the socket, and the octets, for ever.
        if self._upload is not None or self.transport.unsent:
            self.transport.abort()
        else:
            self.transport.close()

    def _discard(self, error: BaseException) -> None:
        if self.ended and self._first is None and self._content is None:
            # There was nothing to read.
            return
        self._first = None
        self._decoding = None
        self._set_error(error)
        if self._content is not None:
            self._content.discard(duplicate(error))


class ReadTimedOut(Exception):
    """Nothing was received for so many seconds; translated like a protocol error."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"nothing received for {seconds:g} seconds")
        self.seconds = seconds


def _settle(waiter: asyncio.Future[bool] | None, result: bool) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(result)
