"""Response: an answer whose content is at hand.

Owns: the body, the type that its fields name, the short way by which most answers are sent. All
that it shares with answers that are written piece by piece is `StreamResponse`'s.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from multidict import CIMultiDict

from angelia.core.interface import Buffer
from angelia.errors import LocalProtocolError
from angelia.net.payload import get_payload
from angelia.net.payload_base import AbstractStreamWriter, Payload
from angelia.server.ready_heads import ready_heads
from angelia.server.stream_response import (
    NO_NAMES,
    OCTETS,
    StreamResponse,
    compressed,
    has_no_content,
    size_of,
)

if TYPE_CHECKING:
    from angelia.server.request import Request

__all__ = ("Response", "json_response")

# Compressing less than this makes it longer, or not worth the work.
MIN_COMPRESS_SIZE: Final = 128

# The socket takes so much without waiting, as often as requests can come.
INLINE_SIZE: Final = 64 * 1024

_TEXT: Final = "text/plain; charset=utf-8"


class Response(StreamResponse):
    """A response whose content is at hand.

    - `body`: bytes-likes, or what a client's `data` may be: files, asynchronous
      iterables, `Payload` objects; or `text`: a str;
    - `status`, `reason`, `headers` as in `StreamResponse`;
    - `content_type`, `charset`: besides, or instead of, a `Content-Type` in `headers`; by default
      ``text/plain; charset=utf-8`` for a text and ``application/octet-stream`` else.

    ValueError for both `body` and `text`, or a type given twice.
    """

    __slots__ = ("_body", "_payload", "_type", "_unsent")

    def __init__(
        self,
        body: Any = None,
        *,
        status: int = 200,
        reason: str | None = None,
        text: str | None = None,
        headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
        charset: str | None = None,
    ) -> None:
        # What `StreamResponse` does, without the call: this is done for each request.
        self._exchange = None
        self._status, self._reason = 200, "OK"
        if status != 200 or reason is not None:
            self.set_status(status, reason)
        self._headers = None if headers is None else CIMultiDict(headers)
        self._cookies = self._coding = self._compressor = None
        self._partitioned = NO_NAMES
        self._chunked = self._force_close = self._is_head = self._ended = False
        self.body_length = 0
        self._payload: Payload | None = None
        self._body: bytes | bytearray | memoryview = b""
        self._type: str | None = None
        # The head went out by `prepare`, and the content did not yet.
        self._unsent = False
        if content_type is not None or charset is not None:
            self._set_type(content_type, charset, is_text=text is not None)
        if text is not None:
            if body is not None:
                raise ValueError("body and text cannot be given both")
            if headers is None and self._type is None:
                self._type = _TEXT
                self._body = text.encode()
            else:
                self._set_text(text)
        elif isinstance(body, bytes | bytearray | memoryview):
            self._body = body
        elif body is not None:
            self._set_payload(body)

    def _set_type(self, content_type: str | None, charset: str | None, *, is_text: bool) -> None:
        if self._headers is not None and "Content-Type" in self._headers:
            raise ValueError("Content-Type is in the headers already")
        if content_type is None:
            content_type = "text/plain" if is_text else OCTETS
        if charset is not None or is_text:
            content_type = f"{content_type}; charset={charset or 'utf-8'}"
        self._type = content_type

    def _set_text(self, text: str) -> None:
        if self._type is None and (self._headers is None or "Content-Type" not in self._headers):
            self._type = _TEXT
            self._body = text.encode()
        else:
            self._body = text.encode(self.charset or "utf-8")

    def _set_payload(self, body: Any) -> None:
        payload = self._payload = get_payload(body)
        if self._type is None and "Content-Type" not in self.headers:
            self._type = payload.headers.get("Content-Type", OCTETS)

    @property
    def headers(self) -> CIMultiDict[str]:
        """The fields; they may be changed until the head is sent."""
        headers = super().headers
        if self._type is not None:
            headers.setdefault("Content-Type", self._type)
            self._type = None
        return headers

    @property
    def body(self) -> bytes | bytearray | memoryview | Payload:
        """The content, not coded."""
        return self._body if self._payload is None else self._payload

    @body.setter
    def body(self, body: Any) -> None:
        self._check_new("body")
        self._payload = None
        self._body = b""
        if isinstance(body, bytes | bytearray | memoryview):
            self._body = body
        elif body is not None:
            self._set_payload(body)

    @property
    def text(self) -> str:
        """The content as text."""
        return bytes(self._body).decode(self.charset or "utf-8")

    @text.setter
    def text(self, text: str) -> None:
        self._check_new("body")
        self._payload = None
        self._set_text(text)

    async def prepare(self, request: Request) -> None:
        """Send the head alone; the content follows with `write_eof`, or the handler's return."""
        if self._exchange is not None:
            return
        payload = self._payload
        self._unsent = payload is not None or len(self._body) > 0
        length = None
        if self._unsent and self._coding is None:
            length = size_of(self._body) if payload is None else payload.size
        self._begin(request, length)
        await request._exchange.drain()

    async def write_eof(
        self, data: Buffer = b"", *, trailers: Mapping[str, str] | None = None
    ) -> None:
        """Send the content, and `data` behind it; otherwise as in `StreamResponse`."""
        if self._unsent:
            self._unsent = False
            try:
                if self._ended:
                    # To HEAD, or with a status that has no content.
                    return
                if self._payload is None:
                    await self.write(self._body)
                else:
                    await self._payload.write(_ResponseWriter(self))
            finally:
                if self._payload is not None:
                    await self._payload.close()
        await super().write_eof(data, trailers=trailers)

    async def _answer(self, request: Request) -> None:
        if self._exchange is not None:
            await self.write_eof()
        elif self._payload is not None:
            await self._answer_payload(self._payload, request)
        else:
            if self._coding is not None:
                await self._compress_body(request)
            self._send_at_once(request)
            await request._exchange.drain()

    def _answer_now(self, request: Request) -> bool:
        """Answer without waiting for anything, if that can be; False if it cannot."""
        if self._exchange is not None or self._payload is not None or self._coding is not None:
            return False
        body, exchange = self._body, request._exchange
        if len(body) > INLINE_SIZE:
            return False
        if (
            self._headers is not None
            or self._cookies is not None
            or self._force_close
            or type(body) is not bytes
            or self._status < 200
        ):
            self._send_at_once(request)
            return True
        try:
            head = ready_heads.get(self._status, self._reason, self._type or OCTETS)
        except LocalProtocolError as error:
            raise ValueError(str(error)) from error
        if exchange.keep_alive and exchange.connection.send_ready(exchange, head, body):
            self._exchange = exchange
            self._ended = True
            self.body_length = len(body)
        else:
            self._send_at_once(request)
        return True

    def _send_at_once(self, request: Request) -> None:
        """Send head and content in one write."""
        body = self._body
        exchange = request._exchange
        try:
            if request.method == "HEAD" or has_no_content(self._status):
                exchange.send_head(self._make_head(request, size_of(body)), end=True)
            else:
                exchange.send_whole(self._make_head(request, size_of(body)), body)
                self.body_length = size_of(body)
        except LocalProtocolError as error:
            raise ValueError(str(error)) from error
        self._exchange = exchange
        self._ended = True

    async def _compress_body(self, request: Request) -> None:
        body = self._body
        if size_of(body) < MIN_COMPRESS_SIZE and self._coding == "":
            return
        self._start_coding(request)
        compressor, self._compressor = self._compressor, None
        if compressor is not None:
            self._body = await compressed(compressor, body) + compressor.flush()

    async def _answer_payload(self, payload: Payload, request: Request) -> None:
        try:
            self._begin(request, payload.size)
            if not self._ended:
                await payload.write(_ResponseWriter(self))
                await self.write_eof()
        finally:
            await payload.close()


class _ResponseWriter(AbstractStreamWriter):
    """Writes a payload into a response."""

    def __init__(self, response: StreamResponse) -> None:
        self._response = response

    async def write(self, chunk: Buffer) -> None:
        await self._response.write(chunk)

    async def write_eof(self, chunk: bytes = b"") -> None:
        await self._response.write_eof(chunk)

    async def drain(self) -> None:
        """`write` waits already."""

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        raise RuntimeError("a response's coding is the response's own")

    def enable_chunked_encoding(self) -> None:
        raise RuntimeError("a response's framing is the response's own")

    enable_chunking = enable_chunked_encoding

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        raise RuntimeError("a response sends its own head")


def json_response(
    data: Any = None,
    *,
    text: str | None = None,
    status: int = 200,
    reason: str | None = None,
    headers: Mapping[str, str] | None = None,
    content_type: str = "application/json",
    dumps: Callable[[Any], str | bytes] = json.dumps,
) -> Response:
    """A response with `data` as JSON, or with `text` that is JSON already."""
    if text is not None and data is not None:
        raise ValueError("data and text cannot be given both")
    body: str | bytes = dumps(data) if text is None else text
    octets = body.encode() if isinstance(body, str) else body
    return Response(
        octets, status=status, reason=reason, headers=headers, content_type=content_type
    )
