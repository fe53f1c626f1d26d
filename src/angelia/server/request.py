"""Request: what a client asks for, and how its body is read.

Owns: the reading of the head's fields as values, the limits of reading a body whole. Its content
comes through the exchange. Knows nothing of connections or of responses.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiDictProxy
from yarl import URL

from angelia.core.charsets import codec_of
from angelia.core.cookies import parse_cookie_header
from angelia.core.fields import (
    ETag,
    MediaType,
    parse_etags,
    parse_http_date,
    parse_media_type,
)
from angelia.core.interface import HttpVersion, RequestHead
from angelia.core.ranges import parse_single_range
from angelia.errors import MultipartError
from angelia.net.multipart import MultipartReader
from angelia.net.streams import StreamReader
from angelia.server.http_exception import HTTPException

if TYPE_CHECKING:
    from angelia.server.exchange import ServerExchange
    from angelia.server.forms import FileField

__all__ = ("Request",)


class Request:
    """A request, as a handler gets it. Its attributes are computed when they are asked for.

    The body is read once: by `read`, `text`, `json`, `post` or `multipart`, or through `content`.
    """

    __slots__ = (
        "__weakref__",
        "_body",
        "_cookies",
        "_exchange",
        "_head",
        "_headers",
        "_media_type",
        "_post",
        "_url",
        "state",
    )

    def __init__(self, exchange: ServerExchange) -> None:
        self._exchange = exchange
        self._head = exchange.head
        self._headers: CIMultiDictProxy[str] | None = None
        self._url: URL | None = None
        self._body: bytes | None = None
        self._media_type: MediaType | None = None
        self._cookies: Mapping[str, str] | None = None
        self._post: MultiDictProxy[str | bytearray | FileField] | None = None
        # For the handler and what stands around it; None until somebody sets it.
        self.state: Any = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} {self.path!r}>"

    # --- the head ------------------------------------------------------------------------------

    @property
    def method(self) -> str:
        """The method as it was sent: methods are case-sensitive."""
        return self._head.method

    @property
    def version(self) -> HttpVersion:
        """`HttpVersion11` or `HttpVersion10`."""
        return self._head.version

    @property
    def target(self) -> str:
        """The target as it was sent (RFC 9112 §3.2): a path with its query, ``*``, a URL..."""
        return self._head.target

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The fields, in their order."""
        headers = self._headers
        if headers is None:
            headers = self._headers = CIMultiDictProxy(CIMultiDict(self._head.headers))
        return headers

    @property
    def scheme(self) -> str:
        """``https`` on a TLS connection, else ``http``, whatever the target says."""
        return self._exchange.scheme

    @property
    def secure(self) -> bool:
        """Whether the connection is a TLS one."""
        return self._exchange.scheme == "https"

    @property
    def host(self) -> str:
        """The host that was asked for, with its port if it was given; else the local address."""
        authority = _authority(self._head)
        if authority is None:
            authority = self.headers.get("Host")
        if authority is not None:
            return authority
        sockname = self.get_extra_info("sockname")
        if not isinstance(sockname, tuple):
            return "localhost"
        address, port = sockname[:2]
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

    @property
    def url(self) -> URL:
        """The URL that was asked for, with the scheme of the connection."""
        url = self._url
        if url is None:
            path = self.raw_path
            origin = f"{self.scheme}://{self.host}"
            url = self._url = URL(origin + ("/" if path in ("*", "") else path), encoded=True)
        return url

    @property
    def raw_path(self) -> str:
        """Path and query as they were sent; the target where it has no path."""
        target = self._head.target
        if target[:1] == "/" or _authority(self._head) is None:
            return target
        rest = target.partition("://")[2]
        at = min((index for index in (rest.find("/"), rest.find("?")) if index >= 0), default=-1)
        if at < 0:
            return "/"
        return rest[at:] if rest[at] == "/" else f"/{rest[at:]}"

    @property
    def path(self) -> str:
        """The path, decoded."""
        path = self._head.target.partition("?")[0]
        # Where there is nothing to decode, no URL is needed to know it.
        return path if path[:1] == "/" and "%" not in path else self.url.path

    @property
    def query(self) -> MultiDictProxy[str]:
        """The query, decoded."""
        return self.url.query

    @property
    def query_string(self) -> str:
        """The query as one decoded text."""
        return self.url.query_string

    @property
    def cookies(self) -> Mapping[str, str]:
        """The cookies by name; of a repeated name the first."""
        cookies = self._cookies
        if cookies is None:
            found: dict[str, str] = {}
            for value in self.headers.getall("Cookie", ()):
                for name, morsel in parse_cookie_header(value):
                    found.setdefault(name, morsel.value)
            cookies = self._cookies = found
        return cookies

    @property
    def keep_alive(self) -> bool:
        """Whether the client can use the connection for another request."""
        return self._exchange.keep_alive

    # --- conditions and ranges -----------------------------------------------------------------

    @property
    def http_range(self) -> slice:
        """The one range of octets that is asked for, as a slice; ValueError where it is not one.

        Without `Range` that is everything.
        """
        value = self.headers.get("Range")
        return slice(None, None, 1) if value is None else parse_single_range(value)

    @property
    def if_match(self) -> tuple[ETag, ...] | None:
        """The tags of `If-Match`; None without the field."""
        return self._etags("If-Match")

    @property
    def if_none_match(self) -> tuple[ETag, ...] | None:
        """The tags of `If-None-Match`; None without the field."""
        return self._etags("If-None-Match")

    @property
    def if_modified_since(self) -> datetime | None:
        """The moment in `If-Modified-Since`; None without it and where it is none."""
        return parse_http_date(self.headers.get("If-Modified-Since"))

    @property
    def if_unmodified_since(self) -> datetime | None:
        """The moment in `If-Unmodified-Since`; None without it and where it is none."""
        return parse_http_date(self.headers.get("If-Unmodified-Since"))

    @property
    def if_range(self) -> datetime | None:
        """The moment in `If-Range`; None without it and where it is none."""
        return parse_http_date(self.headers.get("If-Range"))

    def _etags(self, name: str) -> tuple[ETag, ...] | None:
        values = self.headers.getall(name, None)
        return None if values is None else parse_etags(values)

    # --- the connection ------------------------------------------------------------------------

    @property
    def peername(self) -> Any:
        """The address of the socket's other end: a tuple, or a str for Unix sockets."""
        return self._exchange.get_extra_info("peername")

    @property
    def remote(self) -> str | None:
        """The IP address of the socket's other end, which may be a proxy's; None without one."""
        peername = self.peername
        return str(peername[0]) if isinstance(peername, tuple) else None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport knows: ``ssl_object``, ``peercert``, ``cipher``, ``socket``..."""
        return self._exchange.get_extra_info(name, default)

    async def wait_disconnected(self) -> None:
        """Wait until the client has gone, or has closed its side. Safe to cancel."""
        await self._exchange.wait_disconnected()

    # --- the body ------------------------------------------------------------------------------

    @property
    def content(self) -> StreamReader:
        """The body as a stream; content codings are undone if the server was told to.

        `HTTPException` with 400 where there are more of them than anybody needs.
        """
        return self._exchange.content

    @property
    def body_exists(self) -> bool:
        """Whether the request announced a body."""
        return self._exchange.has_content

    @property
    def can_read_body(self) -> bool:
        """Whether something of the body is still to be read."""
        return self._exchange.has_content and not self._exchange.content.at_eof()

    @property
    def trailers(self) -> tuple[tuple[str, str], ...]:
        """The trailer fields; complete when the body has been read."""
        return self._exchange.trailers

    @property
    def content_length(self) -> int | None:
        """The announced length of the body, as it is on the wire; None where it is not."""
        value = self.headers.get("Content-Length")
        return None if value is None else int(value)

    def _media(self) -> MediaType:
        media_type = self._media_type
        if media_type is None:
            text = self._head.special.get("content-type", "")
            # The core refuses a request that has several.
            media_type = self._media_type = parse_media_type(text if isinstance(text, str) else "")
        return media_type

    @property
    def content_type(self) -> str:
        """The media type without its parameters; ``application/octet-stream`` by default."""
        return self._media().essence or "application/octet-stream"

    @property
    def charset(self) -> str | None:
        """The charset that the body's media type names."""
        return self._media().parameters.get("charset")

    async def read(self) -> bytes:
        """The whole body. Later calls return it again.

        `HTTPException` with 413 beyond the server's `max_body_size`, OSError where the client does
        not send it to its end.
        """
        body = self._body
        if body is None:
            exchange = self._exchange
            if not exchange.has_content:
                body = self._body = b""
                return body
            body = exchange.take_whole(exchange.max_body_size)
            if body is None:
                body = await read_limited(exchange.content, exchange.max_body_size)
            self._body = body
        return body

    async def text(self) -> str:
        """The whole body, decoded; `HTTPException` with 415 where the charset does not fit."""
        body = await self.read()
        charset = self.charset or "utf-8"
        try:
            return body.decode(codec_of(charset))
        except (LookupError, UnicodeDecodeError) as error:
            raise HTTPException(415, f"the body is no text in the charset {charset!r}") from error

    async def json(self, *, loads: Callable[[str], Any] = json.loads) -> Any:
        """The value in a JSON body. ValueError of `loads` where it is none."""
        return loads(await self.text())

    async def multipart(self) -> MultipartReader:
        """A reader of the parts of a multipart body; `HTTPException` with 415 for another body."""
        if self._media().type != "multipart":
            raise HTTPException(415, f"not a multipart body: {self.content_type}")
        try:
            return MultipartReader(self.headers, self.content)
        except ValueError as error:
            raise HTTPException(400, str(error), close=True) from error

    async def post(self) -> MultiDictProxy[Any]:
        """The fields of a form: str, or `FileField` where a file name was given.

        Empty where the body is no form. `HTTPException` with 413 beyond `max_body_size` octets or
        `max_form_fields` fields, 400 or 415 where it is malformed. Files lie in temporary ones,
        which close with the request.
        """
        if self._post is None:
            fields: MultiDict[Any] = MultiDict()
            content_type = self.content_type
            if content_type == "application/x-www-form-urlencoded":
                fields = self._urlencoded(await self.text())
            elif content_type == "multipart/form-data":
                from angelia.server.forms import read_form

                exchange = self._exchange
                reader = await self.multipart()
                try:
                    fields = await read_form(
                        reader, exchange.max_body_size, exchange.max_form_fields
                    )
                except (MultipartError, ValueError) as error:
                    raise HTTPException(400, str(error), close=True) from error
            self._post = MultiDictProxy(fields)
        return self._post

    def _urlencoded(self, text: str) -> MultiDict[Any]:
        limit = self._exchange.max_form_fields
        try:
            pairs = parse_qsl(
                text,
                keep_blank_values=True,
                encoding=codec_of(self.charset or "utf-8"),
                max_num_fields=limit,
            )
        except ValueError as error:
            raise HTTPException(413, f"more than {limit} fields in the form") from error
        return MultiDict(pairs)

    def close(self) -> None:
        """Close the temporary files of `post`; the server does it after the answer."""
        if self._post is not None:
            from angelia.server.forms import FileField

            for value in self._post.values():
                if isinstance(value, FileField):
                    value.file.close()


async def read_limited(content: StreamReader, limit: int) -> bytes:
    """All of `content`; `HTTPException` with 413 as soon as there is more than `limit` (0: any)."""
    if not limit:
        return await content.read()
    if content.announced is not None:
        if content.announced > limit:
            raise too_large(limit)
        # So much comes, and no more.
        return await content.read()
    pieces: list[bytes] = []
    size = 0
    while piece := await content.readany():
        size += len(piece)
        if size > limit:
            raise too_large(limit)
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def too_large(limit: int) -> HTTPException:
    """The answer to a body of more than `limit` octets."""
    return HTTPException(413, f"the body is larger than {limit} bytes", close=True)


def _authority(head: RequestHead) -> str | None:
    """Host and port of a target in absolute or authority form, which beat the Host field."""
    target = head.target
    if target[:1] == "/" or target == "*":
        return None
    if head.method == "CONNECT":
        return target
    rest = target.partition("://")[2]
    for delimiter in ("/", "?", "#"):
        rest = rest.partition(delimiter)[0]
    return rest or None
