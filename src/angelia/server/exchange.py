"""ServerExchange: one request and its response on a connection, ended exactly once.

Owns: the request's content as a stream, what of the response has been sent. The octets are the
core's, the socket the connection's. Knows nothing of handlers or of what a response says.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from angelia.core.coding import make_decoder
from angelia.core.interface import Buffer, HttpVersion11, RequestHead, ResponseHead
from angelia.errors import ContentError
from angelia.net.decoding import Decoding
from angelia.net.streams import EMPTY_PAYLOAD, StreamReader, duplicate
from angelia.server.http_exception import complaint

if TYPE_CHECKING:
    from angelia.net.transport import ContentReceiver
    from angelia.server.connection import ServerConnection
    from angelia.server.stream_response import StreamResponse

__all__ = ("ServerExchange", "Upgraded", "announces_content")

# What asks for the body, once: RFC 9110 §10.1.1.
CONTINUE = ResponseHead(100, "Continue", (), HttpVersion11)


class Upgraded(Protocol):
    """Who speaks another protocol on an exchange, since it was upgraded."""

    @property
    def ended(self) -> bool:
        """Whether all is said: what a handler still tries to send finds nobody."""

    @property
    def parted(self) -> bool:
        """Whether the two have said goodbye, so that nobody has gone away without a word."""

    @property
    def takes_half(self) -> bool:
        """Whether something can still be said when the client has said all."""

    def going_away(self) -> None:
        """The server is closing: tell the client, if the protocol can."""

    async def finish(self, error: BaseException | None) -> StreamResponse:
        """The handler is done, or has raised `error`: end it. Returns what is to be logged."""


class ServerExchange:
    """A request under way. `ended` says that the response has been sent, or never will be."""

    __slots__ = (
        "__weakref__",
        "_content",
        "_decoding",
        "_disconnected",
        "_error",
        "_flow_paused",
        "_gone",
        "_taken",
        "_whole",
        "complete",
        "connection",
        "decodes",
        "ended",
        "has_content",
        "head",
        "head_sent",
        "keep_alive",
        "output_size",
        "received_at",
        "receiver",
        "releasable",
        "released",
        "stream_id",
        "trailers",
        "upgraded",
    )

    def __init__(
        self, connection: ServerConnection, head: RequestHead, keep_alive: bool, has_content: bool
    ) -> None:
        self.connection = connection
        self.head = head
        self.stream_id = head.stream_id
        self.has_content = has_content
        # Whether the client can use the connection for another request.
        self.keep_alive = keep_alive
        # The request has come whole.
        self.complete = False
        # Content codings are undone; known once `content` was asked for.
        self.decodes = False
        self.ended = False
        # The handler has said all, and may go on without the connection; it does.
        self.releasable = self.released = False
        # The status that was sent, for the access log; 0 before.
        self.head_sent = 0
        self.output_size = 0
        self.trailers: tuple[tuple[str, str], ...] = ()
        self._content: StreamReader | None = None
        # All of the content, until it is taken or a stream of it is needed; how much was taken.
        self._whole: bytes | None = None
        self._taken = 0
        self._decoding: Decoding | None = None
        self._flow_paused = False
        self._gone = False
        self._error: BaseException | None = None
        self._disconnected: asyncio.Future[None] | None = None
        # Set when the content is another protocol's; then it counts when octets came last.
        self.upgraded: Upgraded | None = None
        self.received_at = 0.0
        self.receiver: ContentReceiver | None = None

    def __repr__(self) -> str:
        state = "ended" if self.ended else "open"
        return f"<{type(self).__name__} {self.stream_id} {self.head.method} {state}>"

    # --- facts ---------------------------------------------------------------------------------

    @property
    def scheme(self) -> str:
        """``https`` over TLS."""
        return self.connection.scheme

    @property
    def max_body_size(self) -> int:
        """So many octets of a body are read into memory at most; 0 for any."""
        return self.connection.options.max_body_size

    @property
    def max_form_fields(self) -> int:
        """So many fields may a form have."""
        return self.connection.options.max_form_fields

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport knows."""
        return self.connection.get_extra_info(name, default)

    async def wait_disconnected(self) -> None:
        """Wait until the client has gone, or has said that it sends no more."""
        if self._gone or not self.connection.is_open:
            return
        if self._disconnected is None:
            self._disconnected = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._disconnected)

    # --- receiving -----------------------------------------------------------------------------

    @property
    def content(self) -> StreamReader:
        """The request's content; the first use tells a client that waits for it to go on.

        `HTTPException` where there are more content codings than anybody needs.
        """
        stream = self._content
        if stream is None:
            if not self.has_content:
                stream = self._content = EMPTY_PAYLOAD
                return stream
            try:
                stream = self._open_stream()
            except ContentError as error:
                self._content_failed(error)
                raise complaint(error) from error
        connection = self.connection
        if connection.core.continue_awaited and connection.is_open and not self.ended:
            connection.send_head(self, CONTINUE, end=False)
        return stream

    def _open_stream(self) -> StreamReader:
        connection = self.connection
        stream = StreamReader(self, connection.options.read_bufsize, loop=connection.loop)
        self._content = stream
        special = self.head.special
        if "transfer-encoding" in special:
            stream.begin_http_chunk_receiving()
        if "content-encoding" in special:
            if connection.options.auto_decompress:
                self._begin_decoding(special["content-encoding"])
        elif isinstance(length := special.get("content-length", ""), str) and length.isdigit():
            stream.announced = int(length)
        if self._whole is not None:
            stream.feed_data(self._whole)
            stream.feed_eof()
            self._whole = None
        elif self._taken:
            stream.total_bytes = self._taken
            stream.feed_eof()
        elif self._error is not None:
            stream.set_exception(duplicate(self._error))
        return stream

    def _begin_decoding(self, values: str | list[str]) -> None:
        codings = [values] if isinstance(values, str) else values
        decoder = make_decoder(codings, max_total=self.connection.options.max_decoded_size)
        self._decoding = None if decoder is None else Decoding(decoder)
        self.decodes = decoder is not None

    def receive_whole(self, content: bytes) -> None:
        """The request has come in one read: what the events of it would do, in one go."""
        if not content:
            self.complete = True
        elif "content-encoding" in self.head.special:
            self.receive_content(content, chunk_end=False)
            self.receive_end(())
        else:
            self.complete = True
            self._whole = content

    def take_whole(self, limit: int = 0) -> bytes | None:
        """All of the content, if it has come, no stream was needed for it, and `limit` allows it.

        To be called once; the stream has been read then. A `limit` of 0 is none.
        """
        whole = self._whole
        if whole is None or 0 < limit < len(whole):
            return None
        self._whole = None
        self._taken = len(whole)
        return whole

    def receive_content(self, data: bytes, *, chunk_end: bool) -> None:
        """Content has come."""
        if self.ended:
            return
        stream = self._content
        if stream is None:
            try:
                stream = self._open_stream()
            except ContentError as error:
                self._content_failed(error)
                return
        if self.upgraded is not None:
            self.received_at = self.connection.loop.time()
        decoding = self._decoding
        if decoding is not None:
            stream.total_compressed_bytes = (stream.total_compressed_bytes or 0) + len(data)
            decoding.add(data, chunk_end=chunk_end)
            self._pump()
            return
        stream.feed_data(data)
        if chunk_end:
            stream.end_http_chunk_receiving()

    def receive_end(self, trailers: tuple[tuple[str, str], ...]) -> None:
        """The request has come whole."""
        self.complete = True
        self.trailers = trailers
        if self._error is not None:
            return
        if self.upgraded is not None:
            # What comes after this has no news for whoever reads.
            self._error = ConnectionResetError("the client has gone")
            self.tell_disconnected()
        if self._decoding is not None:
            self._decoding.ended = True
            self._pump()
        elif self._content is not None:
            self._content.feed_eof()
        elif self.has_content:
            self._open_stream().feed_eof()

    def _pump(self) -> None:
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

    def _content_failed(self, error: ContentError) -> None:
        """What came cannot be decoded, or not within the limit."""
        self.fail(complaint(error))

    def abandon(self) -> None:
        """The request has been answered: what of it is still to come is thrown away."""
        if self.complete:
            return
        self._set_error(
            RuntimeError("the request has been answered, its body is not read any more")
        )

    def fail(self, error: BaseException) -> None:
        """No more of the request will come: whoever reads it, or writes, gets `error`."""
        self.tell_disconnected()
        self._set_error(error)

    def _set_error(self, error: BaseException) -> None:
        if self._error is not None:
            return
        self._error = error
        stream = self._content
        if stream is not None and not stream.is_eof():
            stream.set_exception(duplicate(error))

    def tell_disconnected(self) -> None:
        """The client has gone, or at least sends no more."""
        self._gone = True
        if self._disconnected is not None and not self._disconnected.done():
            self._disconnected.set_result(None)

    @property
    def error(self) -> BaseException | None:
        """Why no more of the request will come."""
        return self._error

    # --- another protocol ----------------------------------------------------------------------

    def hand_over(self, receiver: ContentReceiver, upgraded: Upgraded) -> None:
        """After the 101 was sent: let `receiver` have what comes, and what has come.

        From now on no limit of time holds, and the server tells `upgraded` when it closes.
        """
        connection = self.connection
        self.upgraded = upgraded
        self.received_at = connection.loop.time()
        self._decoding = None
        self._flow_paused = False
        # The paths behind an upgrade use no more of a stream than a receiver has.
        self._content = cast("StreamReader", receiver)
        if self._error is not None:
            receiver.set_exception(duplicate(self._error))
        else:
            connection.upgraded()
            self.receiver = receiver

    # The stream's flow control.

    def pause_reading(self) -> None:
        """The stream is full."""
        self._flow_paused = True
        self.connection.hold(self)

    def resume_reading(self) -> None:
        """The stream has room again."""
        self._flow_paused = False
        if self._decoding is not None:
            self._pump()
        if not self._flow_paused:
            self.connection.let_go(self)

    # --- sending -------------------------------------------------------------------------------

    def send_interim(self, head: ResponseHead) -> None:
        """Send an interim response (RFC 9110 §15.2)."""
        self.connection.send_head(self, head, end=False)

    def send_head(self, head: ResponseHead, *, end: bool) -> None:
        """Send the final head."""
        self.connection.send_head(self, head, end=end)
        self.head_sent = head.status

    def send_content(self, data: Buffer, *, end: bool) -> None:
        """Send content, framed as the head announced it."""
        self.connection.send_content(self, data, end=end)
        self.output_size += len(data)

    def send_trailers(self, trailers: tuple[tuple[str, str], ...]) -> None:
        """End chunked content with trailer fields."""
        self.connection.send_trailers(self, trailers)

    def send_whole(self, head: ResponseHead, content: Buffer) -> None:
        """Send a response whose content is at hand: one write."""
        self.connection.send_whole(self, head, content)
        self.output_size = len(content)

    async def send_file(self, file: BinaryIO, start: int, size: int) -> int:
        """Let the system send `size` octets of a file; returns how many it sent, perhaps none."""
        sent = await self.connection.send_file(self, file, start, size)
        self.output_size += sent
        return sent

    def answered(self) -> None:
        """All has been sent, whether the handler goes on or not: the connection needs it no more.

        Whoever waits for the client to go is told.
        """
        self.releasable = True
        self.tell_disconnected()
        connection = self.connection
        if not connection.core.idle:
            # The client waits for the end of the connection, or has sent more already.
            connection.loop.call_soon(connection.release, self)

    async def drain(self) -> None:
        """Wait until the socket takes more; OSError when it never will."""
        await self.connection.drain()


def announces_content(head: RequestHead) -> bool:
    """Whether there is content, if only an empty chunk (RFC 9112 §6): whatever the method."""
    special = head.special
    return "transfer-encoding" in special or special.get("content-length", "0") != "0"
