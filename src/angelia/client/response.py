"""ClientResponse: what a request's caller gets.

Owns: the public face of a response, computed when asked: fields, cookies, links, text. The exchange
beneath owns the octets. Knows nothing of redirects or pools.
"""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http.cookies import SimpleCookie
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiDictProxy
from yarl import URL

from angelia import hdrs
from angelia.client.request import ClientRequest, RequestInfo
from angelia.core.charsets import codec_of
from angelia.core.cookies import parse_set_cookies
from angelia.core.deprecation import warn_deprecated
from angelia.core.fields import (
    MediaType,
    content_disposition_filename,
    parse_content_disposition,
    parse_links,
    parse_media_type,
)
from angelia.core.interface import HttpVersion, ResponseHead
from angelia.errors import (
    ClientConnectionError,
    ClientResponseError,
    ContentTypeError,
)
from angelia.net.connection import Connection
from angelia.net.exchange import Exchange
from angelia.net.streams import StreamReader
from angelia.net.timings import Timings
from angelia.net.traced_stream import TracedStreamReader
from angelia.redaction import shown_headers, shown_url

if TYPE_CHECKING:
    from angelia.client.session import ClientSession
    from angelia.client.tracing import Trace

__all__ = ("ClientResponse", "ContentDisposition")

_OCTET_STREAM: Final = "application/octet-stream"


class ContentDisposition:
    """A `Content-Disposition` field: `type`, read-only `parameters`, and the `filename` in them."""

    __slots__ = ("filename", "parameters", "type")

    def __init__(
        self, type: str | None, parameters: MappingProxyType[str, str], filename: str | None
    ) -> None:
        self.type = type
        self.parameters = parameters
        self.filename = filename

    @property
    def value(self) -> str | None:
        """The older name of `type`."""
        return self.type

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.type} {dict(self.parameters)}>"


class _Done:
    """For those who await what is done at once."""

    __slots__ = ()

    def __await__(self) -> Iterator[None]:
        return iter(())


_DONE: Final = _Done()


class _UnclosedGuard:
    """Belongs to a response whose content has not come whole; speaks up when both are forgotten."""

    __slots__ = ("exchange", "place", "text")

    def __init__(self, exchange: Exchange, text: str, place: str | None) -> None:
        self.exchange: Exchange | None = exchange
        self.text = text
        self.place = place

    def __del__(self) -> None:
        exchange = self.exchange
        if exchange is None or exchange.ended:
            return
        place = f", made at\n{self.place}" if self.place else ""
        warnings.warn(f"Unclosed response {self.text}{place}", ResourceWarning, stacklevel=2)
        if not exchange.loop.is_closed():
            exchange.loop.call_soon_threadsafe(exchange.close)


class ClientResponse:
    """A response whose head has come; its content may still be on the way.

    Use it in ``async with``, which gives the connection back at the end: for the next request if
    the content was read whole, else closed. Users do not make responses; a session does.
    """

    # Set by start().
    status: int = 0
    reason: str | None = None
    version: HttpVersion | None = None

    _head: ResponseHead | None = None
    _headers: CIMultiDictProxy[str] | None = None
    _raw_headers: tuple[tuple[bytes, bytes], ...] | None = None
    _exchange: Exchange | None = None
    _connection: Connection | None = None
    _body: bytes | None = None
    _content: StreamReader | None = None
    _closed = False
    _released = False
    _in_context = False
    _guard: _UnclosedGuard | None = None
    _cookies: SimpleCookie | None = None
    _history: tuple[ClientResponse, ...] = ()
    _media_type: MediaType | None = None
    _times: tuple[float, float] | None = None
    _request_info: RequestInfo | None = None

    def __init__(
        self,
        method: str,
        url: URL,
        *,
        writer: Any = None,
        continue100: Any = None,
        timer: Any = None,
        request_info: RequestInfo | ClientRequest,
        traces: Sequence[Trace] = (),
        loop: asyncio.AbstractEventLoop | None = None,
        session: ClientSession | None = None,
        stream_writer: Any = None,
    ) -> None:
        self.method = method
        self._real_url = url
        self._request = request_info
        self._traces = traces
        self._loop = loop
        # The session lives while its response is read.
        self._session = session

    def __repr__(self) -> str:
        url = shown_url(self.url).encode("ascii", "backslashreplace").decode("ascii")
        line = f"<{type(self).__name__}({url}) [{self.status} {self.reason}]>"
        return f"{line}\n{self._headers_text()}"

    def _headers_text(self) -> str:
        return "" if self._head is None else f"{shown_headers(self.headers)}\n"

    async def start(self, connection: Connection | Exchange) -> Self:
        """Wait for the head. For who sends a request by hand; a session has its own way."""
        exchange = connection if isinstance(connection, Exchange) else self._exchange
        if exchange is None:
            raise RuntimeError("the response's request was not sent")
        if exchange.head is None:
            await exchange.head_arrival()
        self.begin(exchange)
        return self

    def begin(self, exchange: Exchange) -> None:
        """The head has come."""
        self._exchange = exchange
        head = exchange.head
        if head is None:
            raise RuntimeError("the response's head has not come")
        self._head = head
        self.status = head.status
        self.reason = head.reason
        self.version = head.version
        if not exchange.ended:
            place = None
            if exchange.loop.get_debug():
                place = "".join(traceback.format_stack(sys._getframe(1)))
            self._guard = _UnclosedGuard(
                exchange, f"<{self.method} {shown_url(self._real_url)} [{self.status}]>", place
            )

    # --- facts ---------------------------------------------------------------------------------

    @property
    def url(self) -> URL:
        """The URL that was asked for, without fragment."""
        return self._real_url.with_fragment(None) if self._real_url.raw_fragment else self._real_url

    @property
    def url_obj(self) -> URL:
        """Deprecated: `url`."""
        warn_deprecated("url_obj is deprecated, use url")
        return self.url

    @property
    def real_url(self) -> URL:
        """The URL that was asked for, with its fragment."""
        return self._real_url

    @property
    def host(self) -> str:
        """The URL's host."""
        return self._real_url.host or ""

    @property
    def request_info(self) -> RequestInfo:
        """URL, method and fields of the request."""
        info = self._request_info
        if info is None:
            request = self._request
            info = request.request_info if isinstance(request, ClientRequest) else request
            self._request_info = info
        return info

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status < 400

    @property
    def history(self) -> tuple[ClientResponse, ...]:
        """The redirects that led here, the earliest first."""
        return self._history

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The fields, by name without regard to case."""
        headers = self._headers
        if headers is None:
            fields = () if self._head is None else self._head.headers
            headers = self._headers = CIMultiDictProxy(CIMultiDict(fields))
        return headers

    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The fields as they came: names and values in octets."""
        raw = self._raw_headers
        if raw is None:
            raw = self._raw_headers = _split_raw(b"" if self._head is None else self._head.raw)
        return raw

    @property
    def trailers(self) -> CIMultiDictProxy[str]:
        """The fields after chunked content; empty until the content has come."""
        exchange = self._exchange
        return CIMultiDictProxy(CIMultiDict(() if exchange is None else exchange.trailers))

    @property
    def cookies(self) -> SimpleCookie:
        """The cookies that this response sets, the last one of each name."""
        cookies = self._cookies
        if cookies is None:
            cookies = self._cookies = SimpleCookie()
            for morsel in parse_set_cookies(self.special_field("set-cookie")):
                cookies[morsel.key] = morsel
        return cookies

    @cookies.setter
    def cookies(self, cookies: SimpleCookie) -> None:
        self._cookies = cookies

    def special_field(self, name: str) -> list[str]:
        """The values of one of the fields that a client acts on, by lower-case name."""
        values = () if self._head is None else self._head.special.get(name, ())
        return [values] if isinstance(values, str) else list(values)

    @property
    def links(self) -> MultiDictProxy[MultiDictProxy[str | URL]]:
        """The `Link` fields: for each link its parameters and its ``url``, by ``rel`` or URL.

        What is no link, or has a target that is no URL, is left out.
        """
        links: MultiDict[MultiDictProxy[str | URL]] = MultiDict()
        for target, parameters in parse_links(self.headers.getall(hdrs.LINK, [])):
            link: MultiDict[str | URL] = MultiDict(parameters)
            try:
                link["url"] = self.url.join(URL(target))
            except ValueError:
                continue
            links.add(str(link.get("rel", target)), MultiDictProxy(link))
        return MultiDictProxy(links)

    @property
    def _type(self) -> MediaType:
        media_type = self._media_type
        if media_type is None:
            media_type = parse_media_type(self.headers.get(hdrs.CONTENT_TYPE, ""))
            self._media_type = media_type
        return media_type

    @property
    def content_type(self) -> str:
        """The media type without parameters; ``application/octet-stream`` where none is given."""
        return self._type.essence or _OCTET_STREAM

    @property
    def charset(self) -> str | None:
        """The charset parameter of the content type."""
        return self._type.parameters.get("charset")

    @property
    def content_length(self) -> int | None:
        """The announced length of the content on the wire."""
        length = self.headers.get(hdrs.CONTENT_LENGTH)
        return int(length) if length and length.isascii() and length.isdigit() else None

    @property
    def content_disposition(self) -> ContentDisposition | None:
        """The `Content-Disposition` field; None without one."""
        raw = self.headers.get(hdrs.CONTENT_DISPOSITION)
        if raw is None:
            return None
        disposition, parameters = parse_content_disposition(raw)
        filename = content_disposition_filename(parameters)
        return ContentDisposition(disposition, MappingProxyType(dict(parameters)), filename)

    @property
    def connection(self) -> Connection | None:
        """The connection that the content comes on; None once that is over."""
        exchange = self._exchange
        if exchange is None or exchange.ended or self._session is None:
            return None
        connection = self._connection
        connector = self._session.connector
        key = exchange.transport.key
        if connection is None and connector is not None and key is not None:
            connection = Connection(connector, key, exchange.transport, exchange)
            self._connection = connection
        return connection

    @property
    def timings(self) -> Timings:
        """How long the phases of the last hop took, in seconds."""
        exchange = self._exchange
        if self._times is None or exchange is None:
            return Timings(0.0, None, None, None, None, None)
        started, acquired = self._times
        first_byte = exchange.head_at
        dial = exchange.dial_timings
        ended_at = exchange.ended_at
        return Timings(
            queue=acquired - started,
            dns=None if dial is None else dial.dns,
            connect=None if dial is None else dial.connect,
            tls=None if dial is None else dial.tls,
            first_byte=None if first_byte is None else first_byte - started,
            total=None if ended_at is None else ended_at - started,
        )

    # --- the request's body --------------------------------------------------------------------

    @property
    def upload_complete(self) -> bool:
        """Whether nothing of the request's body is left to send."""
        return self._exchange is None or not self._exchange.uploading

    @property
    def output_size(self) -> int:
        """Octets of the request's content sent so far."""
        return 0 if self._exchange is None else self._exchange.output_size

    async def wait_for_close(self) -> None:
        """Wait until the request's body is sent, or given up, then `release`."""
        if self._exchange is not None:
            await self._exchange.wait_upload()
        self.release()

    # --- content -------------------------------------------------------------------------------

    @property
    def content(self) -> StreamReader:
        """The content as a stream."""
        stream = self._content
        if stream is None:
            exchange = self._exchange
            if exchange is None:
                raise RuntimeError("the response has not started")
            stream = self._content = exchange.content
            if self._body is not None and not stream.at_eof():
                # `read` has had it, without a stream.
                stream.read_nowait()
            if isinstance(stream, TracedStreamReader):
                # Not our method: the stream must not hold us, who hold it.
                stream.tell = partial(_tell_received, self._traces, self.method, self.real_url)
        return stream

    async def read(self) -> bytes:
        """The whole content, decoded. Later calls return it again.

        ClientPayloadError where it does not come whole, ClientConnectionError after the response
        was released. An error or a cancellation closes the connection.
        """
        body = self._body
        if body is not None:
            return body
        if self._released:
            raise ClientConnectionError("Connection closed")
        exchange = self._exchange
        body = None if exchange is None or self._content is not None else exchange.take_content()
        told = False
        if body is None:
            try:
                body = await self.content.read()
            except BaseException:
                self.close()
                raise
            # Else the stream has told what there was.
            told = bool(body)
            if exchange is not None and exchange.uploading:
                await exchange.wait_upload()
        self._body = body
        if self._traces and not told:
            await _tell_received(self._traces, self.method, self.real_url, body)
        return body

    def get_encoding(self) -> str:
        """The name of the codec that `text` uses.

        The charset of the content type if Python knows it, UTF-8 for JSON, else what the session's
        `fallback_charset_resolver` says. RuntimeError where that needs content that is not read
        yet.
        """
        charset = self._type.parameters.get("charset")
        if charset:
            try:
                return codec_of(charset)
            except LookupError:
                # As if none was given.
                charset = None
        if self._is_json:
            # RFC 8259 §8.1.
            return "utf-8"
        if self._body is None:
            raise RuntimeError("Cannot compute fallback encoding of a not yet read body")
        session = self._session
        return "utf-8" if session is None else session._resolve_charset(self, self._body)

    async def text(self, encoding: str | None = None, errors: str = "strict") -> str:
        """The content as text, decoded with `encoding` or what `get_encoding` says."""
        body = await self.read()
        return body.decode(encoding or self.get_encoding(), errors)

    async def json(
        self,
        *,
        encoding: str | None = None,
        loads: Callable[[str], Any] = json.loads,
        content_type: str | None = "application/json",
    ) -> Any:
        """The content as JSON; None where there is none but whitespace.

        ContentTypeError unless the response's type is `content_type`; the default also admits any
        type that ends with ``+json``, and None any type at all.
        """
        body = await self.read()
        if content_type and not self._is_type(content_type):
            raise ContentTypeError(
                self.request_info,
                self.history,
                status=self.status,
                message=(
                    "Attempt to decode JSON with unexpected mimetype: "
                    f"{self.headers.get(hdrs.CONTENT_TYPE, '')}"
                ),
                headers=self.headers,
            )
        stripped = body.strip()
        if not stripped:
            return None
        return loads(stripped.decode(encoding or self.get_encoding()))

    @property
    def _is_json(self) -> bool:
        # RFC 6839 §3.1: the suffix says it, whatever the type is.
        return self._type.suffix == "json" or self._type.essence == "application/json"

    def _is_type(self, wanted: str) -> bool:
        if wanted == "application/json":
            return self._is_json
        return wanted.lower() in self.headers.get(hdrs.CONTENT_TYPE, "").lower()

    # --- the end -------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the response is done with its connection."""
        return self._closed or self._exchange is None or self._exchange.ended

    def close(self) -> None:
        """Close the connection, unless the content has come whole. Idempotent."""
        self._finish()

    def release(self) -> Any:  # An awaitable; as such, checkers would ask for the await.
        """Give the connection back; if the content was not read whole it is closed. Idempotent.

        That is done at once. What it returns may be awaited, and need not be.
        """
        self._finish()
        return _DONE

    def _finish(self) -> None:
        self._closed = True
        if self._guard is not None:
            self._guard.exchange = None
            self._guard = None
        if self._released:
            return
        self._released = True
        exchange = self._exchange
        if exchange is not None and self._body is None:
            exchange.close(ClientConnectionError("Connection closed"))

    def raise_for_status(self) -> None:
        """Raise `ClientResponseError` if the status is 400 or higher."""
        if not self.ok:
            self._raise_for_status()

    def _raise_for_status(self) -> NoReturn:
        # Outside ``async with`` nobody else would give the connection back.
        if not self._in_context:
            self.release()
        raise ClientResponseError(
            self.request_info,
            self.history,
            status=self.status,
            message=self.reason or "",
            headers=self.headers,
        )

    async def __aenter__(self) -> Self:
        self._in_context = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self._in_context = False
        self.release()


async def _tell_received(traces: Sequence[Trace], method: str, url: URL, chunk: bytes) -> None:
    for trace in traces:
        await trace.send_response_chunk_received(method, url, chunk)


def _split_raw(raw: bytes) -> tuple[tuple[bytes, bytes], ...]:
    fields: list[tuple[bytes, bytes]] = []
    for raw_line in raw.split(b"\n")[1:]:
        line = raw_line.rstrip(b"\r")
        if line[:1] in (b" ", b"\t") and fields:
            name, value = fields[-1]
            fields[-1] = (name, value + b" " + line.strip(b" \t"))
        elif line:
            name, _, value = line.partition(b":")
            fields.append((name, value.strip(b" \t")))
    return tuple(fields)
