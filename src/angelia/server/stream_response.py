"""StreamResponse: an answer whose content is written piece by piece.

Owns: status, fields, cookies, compression, what the fields say about the content. Framing is the
core's, the socket the exchange's. Knows nothing of how the request came.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any, Final

from multidict import CIMultiDict

from angelia.core.coding import Compressor, available_codings, make_compressor
from angelia.core.conditions import serialize_etag
from angelia.core.fields import ETag, parse_etags, parse_http_date, serialize_http_date
from angelia.core.interface import Buffer, HttpVersion11, ResponseHead
from angelia.core.negotiation import choose_coding
from angelia.core.reasons import reason_of
from angelia.errors import LocalProtocolError
from angelia.server.ready_heads import SERVER, http_now

if TYPE_CHECKING:
    from angelia.server.exchange import ServerExchange
    from angelia.server.request import Request

__all__ = ("NO_NAMES", "OCTETS", "StreamResponse", "compressed", "has_no_content", "size_of")

# Compressing more than this at once would hold up the other connections.
INLINE_COMPRESS_SIZE: Final = 64 * 1024

NO_NAMES: Final[frozenset[str]] = frozenset()
# What content is of which nobody says anything (RFC 9110 §8.3).
OCTETS: Final = "application/octet-stream"


def has_no_content(status: int) -> bool:
    """Whether a response with this status never has content (RFC 9110 §6.4.1, §15.3.6)."""
    return status in (204, 205, 304) or status < 200


class StreamResponse:
    """A response whose content is written piece by piece.

    ::

        response = StreamResponse(headers={"Content-Type": "text/csv"})
        await response.prepare(request)
        await response.write(b"a,b\\n")
        await response.write_eof()
        return response

    - `status`, `reason`: the reason is the usual one by default;
    - `headers`: copied; without `Content-Type` it is ``application/octet-stream``.

    ValueError for a status that is no final one.
    """

    __slots__ = (
        "__weakref__",
        "_chunked",
        "_coding",
        "_compressor",
        "_cookies",
        "_ended",
        "_exchange",
        "_force_close",
        "_headers",
        "_is_head",
        "_partitioned",
        "_reason",
        "_status",
        "body_length",
    )

    def __init__(
        self,
        *,
        status: int = 200,
        reason: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._exchange: ServerExchange | None = None
        self._status = 0
        self._reason = ""
        if status == 200 and reason is None:
            self._status, self._reason = 200, "OK"
        else:
            self.set_status(status, reason)
        self._headers: CIMultiDict[str] | None = None
        if headers is not None:
            self._headers = CIMultiDict(headers)
        self._cookies: SimpleCookie | None = None
        self._partitioned = NO_NAMES
        self._chunked = False
        self._force_close = False
        # None: as it is; "": what the client likes; else the coding's name.
        self._coding: str | None = None
        self._compressor: Compressor | None = None
        self._is_head = False
        self._ended = False
        # Octets of content handed to the connection, as coded.
        self.body_length: int = 0

    def __repr__(self) -> str:
        state = "ended" if self._ended else "prepared" if self.prepared else "new"
        return f"<{type(self).__name__} {self._status} {self._reason} {state}>"

    # --- status and fields ---------------------------------------------------------------------

    @property
    def prepared(self) -> bool:
        """Whether the head has been sent."""
        return self._exchange is not None

    @property
    def ended(self) -> bool:
        """Whether the content has been sent to its end."""
        return self._ended

    @property
    def status(self) -> int:
        """The status."""
        return self._status

    @property
    def reason(self) -> str:
        """The reason phrase."""
        return self._reason

    def set_status(self, status: int, reason: str | None = None) -> None:
        """Change status and reason; RuntimeError once the head has been sent."""
        self._check_new("status")
        if not 200 <= status <= 999 and status != 101:
            raise ValueError(f"not the status of a final response: {status}")
        self._status = int(status)
        if reason is None:
            reason = reason_of(status)
        elif any((ord(char) < 0x20 and char != "\t") or ord(char) == 0x7F for char in reason):
            raise ValueError(f"control character in the reason: {reason!r}")
        self._reason = reason

    @property
    def headers(self) -> CIMultiDict[str]:
        """The fields; they may be changed until the head is sent."""
        headers = self._headers
        if headers is None:
            headers = self._headers = CIMultiDict()
        return headers

    def _check_new(self, what: str) -> None:
        if self._exchange is not None:
            raise RuntimeError(f"the {what} cannot change: the head has been sent")

    @property
    def content_type(self) -> str:
        """The media type without its parameters."""
        return self._media_type().partition(";")[0].strip()

    @content_type.setter
    def content_type(self, value: str) -> None:
        parameters = self._media_type().partition(";")[1:]
        self.headers["Content-Type"] = value + "".join(parameters)

    @property
    def charset(self) -> str | None:
        """The charset that `Content-Type` names."""
        _, _, charset = self._media_type().partition("charset=")
        return charset.partition(";")[0].strip(' "').lower() or None

    @charset.setter
    def charset(self, value: str | None) -> None:
        essence = self.content_type
        self.headers["Content-Type"] = essence if value is None else f"{essence}; charset={value}"

    def _media_type(self) -> str:
        return self.headers.get("Content-Type", OCTETS)

    @property
    def content_length(self) -> int | None:
        """The announced length; None where it is not known."""
        value = self.headers.get("Content-Length")
        return None if value is None else int(value)

    @content_length.setter
    def content_length(self, value: int | None) -> None:
        if value is None:
            self.headers.pop("Content-Length", None)
            return
        if self._chunked:
            raise RuntimeError("a chunked response has no length")
        self.headers["Content-Length"] = str(int(value))

    @property
    def last_modified(self) -> datetime | None:
        """`Last-Modified`; set it to a datetime, seconds since the epoch, a text, or None."""
        return parse_http_date(self.headers.get("Last-Modified"))

    @last_modified.setter
    def last_modified(self, value: datetime | float | str | None) -> None:
        if value is None:
            self.headers.pop("Last-Modified", None)
            return
        if isinstance(value, str):
            self.headers["Last-Modified"] = value
            return
        if isinstance(value, datetime):
            # Rounded up: a copy that is younger than the second would look older.
            if value.microsecond:
                value = value.replace(microsecond=0) + timedelta(seconds=1)
            moment = value
        elif isinstance(value, int | float):
            moment = datetime.fromtimestamp(math.ceil(value), UTC)
        else:
            raise TypeError(f"last_modified is a datetime, a number or a str, not {value!r}")
        self.headers["Last-Modified"] = serialize_http_date(moment)

    @property
    def etag(self) -> ETag | None:
        """`ETag`; set it to an `ETag`, its text without quotes, or None."""
        value = self.headers.get("ETag")
        tags = () if value is None else parse_etags([value])
        return tags[0] if tags else None

    @etag.setter
    def etag(self, value: ETag | str | None) -> None:
        if value is None:
            self.headers.pop("ETag", None)
            return
        tag = ETag(value) if isinstance(value, str) else value
        text = serialize_etag(tag)
        if parse_etags([text]) != (tag,):
            raise ValueError(f"not an entity tag: {tag.value!r}")
        self.headers["ETag"] = text

    # --- cookies -------------------------------------------------------------------------------

    @property
    def cookies(self) -> SimpleCookie:
        """The cookies that will be set."""
        cookies = self._cookies
        if cookies is None:
            cookies = self._cookies = SimpleCookie()
        return cookies

    def set_cookie(
        self,
        name: str,
        value: str,
        *,
        expires: str | None = None,
        domain: str | None = None,
        max_age: int | str | None = None,
        path: str = "/",
        secure: bool | None = None,
        httponly: bool | None = None,
        samesite: str | None = None,
        partitioned: bool | None = None,
    ) -> None:
        """Set a cookie; ValueError for a name or value that would break out of its field."""
        self._check_new("cookies")
        attributes: dict[str, Any] = {
            "expires": expires,
            "domain": domain,
            "max-age": None if max_age is None else str(max_age),
            "path": path,
            "samesite": samesite,
        }
        for text in (value, *attributes.values()):
            if text is not None and any(ord(char) < 0x20 or ord(char) == 0x7F for char in text):
                raise ValueError(f"control character in the cookie {name!r}")
        if any(";" in text for text in attributes.values() if text is not None):
            raise ValueError(f"semicolon in an attribute of the cookie {name!r}")
        cookies = self.cookies
        cookies.pop(name, None)
        cookies[name] = value
        morsel = cookies[name]
        for key, text in attributes.items():
            if text is not None:
                morsel[key] = text
        if secure is not None:
            morsel["secure"] = secure
        if httponly is not None:
            morsel["httponly"] = httponly
        # Before Python 3.14 no morsel knows this attribute.
        self._partitioned -= {name}
        if partitioned:
            self._partitioned |= {name}

    def del_cookie(
        self,
        name: str,
        *,
        domain: str | None = None,
        path: str = "/",
        secure: bool | None = None,
        httponly: bool | None = None,
        samesite: str | None = None,
    ) -> None:
        """Make the client forget a cookie; domain, path and flags are those it was set with."""
        self.set_cookie(
            name,
            "",
            expires="Thu, 01 Jan 1970 00:00:00 GMT",
            max_age=0,
            domain=domain,
            path=path,
            secure=secure,
            httponly=httponly,
            samesite=samesite,
        )

    # --- how the content is sent ---------------------------------------------------------------

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may be used for another request after this response."""
        return not self._force_close

    def force_close(self) -> None:
        """End the connection after this response."""
        self._force_close = True

    @property
    def chunked(self) -> bool:
        """Whether `enable_chunked_encoding` was called."""
        return self._chunked

    def enable_chunked_encoding(self) -> None:
        """Send the content chunked; RuntimeError where a length is set.

        Without a length that is so anyway with HTTP/1.1.
        """
        if "Content-Length" in self.headers:
            raise RuntimeError("a response with a length is not chunked")
        self._chunked = True

    @property
    def compression(self) -> bool:
        """Whether `enable_compression` was called."""
        return self._coding is not None

    def enable_compression(self, force: str | None = None) -> None:
        """Code the content as `force` says, or as the client likes best.

        ValueError for a coding that does not exist here. Content that has a `Content-Encoding` is
        left as it is.
        """
        self._check_new("coding")
        if force is not None and force not in available_codings():
            raise ValueError(f"no such content coding here: {force!r}")
        self._coding = force or ""

    # --- sending -------------------------------------------------------------------------------

    async def prepare(self, request: Request) -> None:
        """Send the head. The first call counts; OSError where the client has gone."""
        if self._exchange is None:
            self._begin(request, None)
            await request._exchange.drain()

    def _begin(self, request: Request, length: int | None) -> None:
        """Send the head of a response, whose content has `length` octets if that is known."""
        exchange = request._exchange
        self._start_coding(request)
        head = self._make_head(request, length)
        self._exchange = exchange
        self._is_head = request.method == "HEAD" or has_no_content(self._status)
        try:
            exchange.send_head(head, end=self._is_head)
        except LocalProtocolError as error:
            self._exchange = None
            raise ValueError(str(error)) from error
        self._ended = self._is_head

    def _start_coding(self, request: Request) -> None:
        if self._coding is None or has_no_content(self._status):
            return
        headers = self.headers
        if "Content-Encoding" in headers:
            return
        name: str | None = self._coding
        if not name:
            name = choose_coding(request.headers.getall("Accept-Encoding", ()), available_codings())
            headers.add("Vary", "Accept-Encoding")
        if name is not None:
            headers["Content-Encoding"] = name
            headers.popall("Content-Length", None)
            self._compressor = make_compressor(name)

    def _make_head(self, request: Request, length: int | None) -> ResponseHead:
        """The fields as they go out (RFC 9110 §6.4, §8.6)."""
        headers = self.headers.copy()
        status = self._status
        if has_no_content(status):
            # 205 says by an explicit length that it has none; 304 may tell what a 200 would have.
            if status == 205:
                headers["Content-Length"] = "0"
            elif status != 304:
                headers.popall("Content-Length", None)
            if status != 101:
                headers.popall("Transfer-Encoding", None)
        else:
            if length is not None and self._compressor is None:
                announced = headers.setdefault("Content-Length", str(length))
                # RFC 9110 §8.6: to HEAD, the length that a GET would have.
                if announced != str(length) and request.method != "HEAD":
                    raise ValueError(f"Content-Length is {announced!r} for {length} bytes")
            if "Content-Length" not in headers and request.version is HttpVersion11:
                headers.setdefault("Transfer-Encoding", "chunked")
            if length != 0:
                headers.setdefault("Content-Type", OCTETS)
        headers.setdefault("Date", http_now())
        headers.setdefault("Server", SERVER)
        # What else is to be said about the connection, the core says.
        if self._force_close or not request.keep_alive:
            headers["Connection"] = "close"
        pairs = list(headers.items())
        if self._cookies:
            pairs += [("Set-Cookie", self._cookie(name)) for name in self._cookies]
        return ResponseHead(status, self._reason, pairs, HttpVersion11)

    def _cookie(self, name: str) -> str:
        text = self.cookies[name].OutputString()
        return f"{text}; Partitioned" if name in self._partitioned else text

    async def write(self, data: Buffer) -> None:
        """Send a piece of the content; waits while the client takes it slowly.

        RuntimeError before `prepare` and after `write_eof`, OSError where the client has gone,
        ValueError beyond the announced length.
        """
        exchange = self._sending()
        if self._is_head:
            return
        if self._compressor is not None:
            data = await compressed(self._compressor, data)
        self._send(exchange, data, end=False)
        await exchange.drain()

    def _sending(self) -> ServerExchange:
        exchange = self._exchange
        if exchange is None:
            raise RuntimeError("prepare() comes before the content")
        if self._ended and not self._is_head:
            raise RuntimeError("the content has been sent to its end")
        return exchange

    def _send(self, exchange: ServerExchange, data: Buffer, *, end: bool) -> None:
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        if not size and not end:
            return
        try:
            exchange.send_content(data, end=end)
        except LocalProtocolError as error:
            raise ValueError(str(error)) from error
        self.body_length += size

    async def write_eof(
        self, data: Buffer = b"", *, trailers: Mapping[str, str] | None = None
    ) -> None:
        """Send the last piece of the content, and `trailers` after chunked content. Idempotent."""
        if self._exchange is not None and self._ended:
            return
        exchange = self._sending()
        if self._compressor is not None:
            data = await compressed(self._compressor, data) + self._compressor.flush()
        if trailers:
            self._send(exchange, data, end=False)
            exchange.send_trailers(tuple(trailers.items()))
        else:
            self._send(exchange, data, end=True)
        self._ended = True
        await exchange.drain()

    async def _answer(self, request: Request) -> None:
        """Send what of the response was not sent yet."""
        if self._exchange is None:
            self._begin(request, None)
        await self.write_eof()


def size_of(body: bytes | bytearray | memoryview) -> int:
    return body.nbytes if isinstance(body, memoryview) else len(body)


async def compressed(compressor: Compressor, data: Buffer) -> bytes:
    if size_of(data) <= INLINE_COMPRESS_SIZE:
        return compressor.compress(data)
    return await asyncio.get_running_loop().run_in_executor(None, compressor.compress, data)
