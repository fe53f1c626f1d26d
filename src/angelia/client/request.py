"""ClientRequest: a caller's arguments as one request, ready to be sent on any exchange.

Owns: which fields a request carries, how its body is framed, its connection key. It knows nothing
of redirects, cookie jars or pools: the session decides those and gives the results in.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiDictProxy
from yarl import URL

from angelia import hdrs
from angelia.client.automatic_fields import add_missing, default_headers
from angelia.client.cookies import request_cookie_header
from angelia.core.auth import BasicAuth
from angelia.core.coding import available_codings
from angelia.core.cookies import merge_cookie_headers
from angelia.core.h1_wire import HeaderBlock, SealedHead, request_line
from angelia.core.interface import HttpVersion, HttpVersion10, HttpVersion11, RequestHead
from angelia.errors import ClientPayloadError, InvalidUrlClientError, LocalProtocolError
from angelia.net.addresses import authority, check_host
from angelia.net.connection_key import ConnectionKey
from angelia.net.exchange import Exchange
from angelia.net.forms import FormData
from angelia.net.payload import (
    PAYLOAD_REGISTRY,
    BytesPayload,
    JsonPayload,
    Payload,
    StringIOPayload,
    StringPayload,
)
from angelia.net.tls import SSLArgument
from angelia.net.upload import UploadTracker
from angelia.net.writer import ExchangeWriter
from angelia.redaction import shown_tuple, shown_url

if TYPE_CHECKING:
    from angelia.client.response import ClientResponse
    from angelia.client.session import ClientSession
    from angelia.client.tracing import Trace
    from angelia.net.deadlines import Deadline

__all__ = (
    "ClientRequest",
    "RequestInfo",
    "RequestPlan",
    "check_method",
    "extended_query",
    "usual_body",
)

# A body of known octets up to this size leaves in one write with the head, without a task.
INLINE_BODY_SIZE: Final = 64 * 1024
# The kinds of bodies whose value is these octets. Those derived from them may write others.
_AT_HAND: Final = frozenset({BytesPayload, JsonPayload, StringIOPayload, StringPayload})

# Methods with which content is usual, and its type where it is not just octets.
_CONTENT_METHODS: Final = frozenset({"PATCH", "POST", "PUT"})
_JSON: Final = "application/json"

# RFC 9110 §10.1.1: a client should not wait for 100 Continue for an indefinite period.
CONTINUE_TIMEOUT: Final = 30.0

# Methods whose requests say nothing of a length when they have no body (RFC 9110 §8.6).
GET_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

# RFC 9110 §9.2.2: sent twice, the effect is that of once.
IDEMPOTENT_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_COMMON_METHODS: Final = frozenset(hdrs.METH_ALL)


class _RequestInfoBase(NamedTuple):
    url: URL
    method: str
    headers: CIMultiDictProxy[str]
    real_url: URL


class RequestInfo(_RequestInfoBase):
    """The URL, method and fields of a request that was sent.

    `url` has no fragment; `real_url` keeps it, and is the same as `url` where it is not given.
    """

    __slots__ = ()

    def __new__(
        cls,
        url: URL,
        method: str,
        headers: CIMultiDictProxy[str],
        real_url: URL | None = None,
    ) -> Self:
        return super().__new__(cls, url, method, headers, url if real_url is None else real_url)

    def __repr__(self) -> str:
        return shown_tuple(self, self._fields)

    # Proxies of multidicts cannot be pickled.
    def __reduce__(self) -> tuple[Any, ...]:
        return _restored_info, (self.url, self.method, list(self.headers.items()), self.real_url)


def _restored_info(
    url: URL, method: str, headers: list[tuple[str, str]], real_url: URL
) -> RequestInfo:
    return RequestInfo(url, method, CIMultiDictProxy(CIMultiDict(headers)), real_url)


def check_method(method: object) -> str:
    """The method in upper case; ValueError where it is no token (RFC 9110 §9.1)."""
    if not isinstance(method, str) or not method:
        raise ValueError(f"Method is a token, not {method!r}")
    if method in _COMMON_METHODS:
        return method
    if not _TOKEN.fullmatch(method):
        raise ValueError(f"Method cannot contain non-token characters {method!r}")
    return method.upper()


class RequestPlan:
    """What a request without anything of its own says, found out once for each URL.

    `block` has its fields, serialized, and is None where the URL has credentials, which are a field
    more. `key` is that of a direct connection with default TLS.
    """

    __slots__ = ("_heads", "block", "key", "original_url", "takes_content", "target", "url")

    def __init__(self, url: URL, block: HeaderBlock) -> None:
        # A request of the ordinary kind makes the checks, and has the answers.
        request = ClientRequest("GET", url, auto_headers=CIMultiDict())
        self.original_url = request.original_url
        self.url = request.url
        self.target = request.target()
        _check_request_line("GET", self.target, HttpVersion11)
        self.key = request.connection_key
        self.block = block if request.auth is None else None
        self._heads: dict[tuple[str, type], SealedHead] = {}
        names = {name.lower() for name, _ in block.pairs}
        # The type is the content's own, and it is sent without being waited for.
        self.takes_content = block.plain and names.isdisjoint(("content-type", "expect"))

    def head(self, method: str, body: Payload | None) -> SealedHead | None:
        """The whole head, but for the length of `body`, if it is of the usual kind.

        A body is one that `usual_body` has given.
        """
        head = self._heads.get((method, type(body)))
        block = self.block
        if head is not None or block is None or not block.plain:
            return head
        # Whoever has changed the method since is served on the long way.
        if method not in (GET_METHODS if body is None else _CONTENT_METHODS):
            return None
        if body is not None:
            block = HeaderBlock((*block, (hdrs.CONTENT_TYPE, body.content_type)))
        head = self._heads[method, type(body)] = SealedHead(method, self.target, block)
        return head


def usual_body(method: str, data: Any) -> BytesPayload | None:
    """The body of a request with `data`, if it is of the kind that plans are made for."""
    if method not in _CONTENT_METHODS:
        return None
    if type(data) is bytes:
        body = BytesPayload(data)
    elif type(data) is JsonPayload and data._headers is None and data._content_type == _JSON:
        body = data
    else:
        return None
    return body if type(body._value) is bytes and len(body._value) <= INLINE_BODY_SIZE else None


class ClientRequest:
    """One request. Sessions make them; middlewares may change `headers`, and `update_body`.

    Subclasses may override the `update_*` methods, which are called while the request is made, each
    for one aspect.
    """

    # Fields with these names are added unless the caller gives or skips them.
    DEFAULT_HEADERS: Mapping[str, str] | None = None

    auth: BasicAuth | None = None
    chunked: bool | int | None = None
    compress: str | bool | None = None
    proxy: URL | None = None
    proxy_auth: BasicAuth | None = None
    proxy_headers: CIMultiDict[str] | None = None

    _block: HeaderBlock | None = None
    _body: Payload | None = None
    _close_after_upload = False
    _draw_key: Callable[[], str] | None = None
    _expect_continue = False
    _force_close = False
    _headers: CIMultiDict[str] | None = None
    _key: ConnectionKey | None = None
    _plan: RequestPlan | None = None
    # The type and the size of the body that was planned.
    _planned: tuple[str, int] | None = None
    _sealed: RequestHead | None = None
    _server_hostname: str | None = None
    _skip_auto_headers: CIMultiDict[None] | None = None
    _ssl: SSLArgument = True
    _target: str | None = None
    _upload_tracker: UploadTracker | None = None
    _uploading = False

    def __init__(  # noqa: PLR0912 - one aspect of a request after the other
        self,
        method: str,
        url: URL,
        *,
        params: Any = None,
        headers: Any = None,
        skip_auto_headers: Iterable[str] | None = None,
        data: Any = None,
        cookies: Any = None,
        auth: BasicAuth | None = None,
        version: HttpVersion = HttpVersion11,
        compress: str | bool | None = None,
        chunked: bool | int | None = None,
        expect100: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
        response_class: type[ClientResponse] | None = None,
        proxy: URL | None = None,
        proxy_auth: BasicAuth | None = None,
        timer: Deadline | None = None,
        session: ClientSession | None = None,
        ssl: SSLArgument = True,
        proxy_headers: Any = None,
        traces: Sequence[Trace] | None = None,
        trust_env: bool = False,
        server_hostname: str | None = None,
        auto_headers: CIMultiDict[str] | None = None,
        upload_tracker: UploadTracker | None = None,
        cookie_header: str = "",
        force_close: bool = False,
    ) -> None:
        self.method = check_method(method)
        if params:
            url = extended_query(url, params)
        self.original_url = url
        self.url = url.with_fragment(None) if url.raw_fragment else url
        self.loop = loop if loop is not None else asyncio.get_running_loop()
        self.response_class = response_class
        self.deadline = timer
        self._session = session
        self.traces = traces or ()
        if ssl is not True:
            self._ssl = ssl
        if server_hostname is not None:
            self._server_hostname = server_hostname
        if auth is not None:
            self.auth = auth
        self.version = HttpVersion11
        self.update_host(self.url)
        if proxy is not None or proxy_auth is not None:
            self.update_proxy(proxy, proxy_auth, proxy_headers)
        if version is not HttpVersion11:
            self.update_version(version)
        self.chunked = chunked
        self.compress = compress
        self._force_close = force_close
        self._upload_tracker = upload_tracker
        self.update_headers(headers)
        if skip_auto_headers or auto_headers is None:
            self.update_auto_headers(skip_auto_headers)
        else:
            add_missing(self.headers, auto_headers)
        if cookie_header:
            # What the caller wrote as a field wins over what the session knows.
            self._set_cookie_field(cookie_header, *self.headers.popall(hdrs.COOKIE, ()))
        if cookies:
            self.update_cookies(cookies)
        if data is not None and compress:
            self.update_content_encoding(data)
        if self.auth is not None:
            self.update_auth(self.auth, trust_env)
        if data is not None:
            self.update_body_from_data(data)
        if data is not None or chunked or self.method not in GET_METHODS:
            self.update_transfer_encoding()
        if expect100 or hdrs.EXPECT in self.headers:
            self.update_expect_continue(expect100)
        if force_close or self.version is not HttpVersion11:
            self._update_connection()

    @classmethod
    def planned(
        cls,
        method: str,
        plan: RequestPlan,
        *,
        loop: asyncio.AbstractEventLoop,
        response_class: type[ClientResponse],
        session: ClientSession,
        timer: Deadline | None,
        traces: Sequence[Trace],
        body: BytesPayload | None = None,
    ) -> ClientRequest:
        """A request with nothing but the session's fields and those of `body`: most are."""
        self = cls.__new__(cls)
        self.method = method
        self.version = HttpVersion11
        self.original_url = plan.original_url
        self.url = plan.url
        self.loop = loop
        self.response_class = response_class
        self.deadline = timer
        self._session = session
        self.traces = traces
        self._plan = plan
        self._block = plan.block
        self._key = plan.key
        self._target = plan.target
        if body is not None:
            self._body = body
            self._planned = body.content_type, len(body._value)
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} {shown_url(self.url)}>"

    # --- facts ---------------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """The host in ASCII form, without brackets."""
        return self.url.raw_host or ""

    @property
    def port(self) -> int | None:
        """The port, the scheme's default where the URL has none."""
        return self.url.port

    @property
    def ssl(self) -> SSLArgument:
        """The TLS settings."""
        return self._ssl

    @property
    def session(self) -> ClientSession:
        """The session that sends the request."""
        if self._session is None:
            raise RuntimeError("this request belongs to no session")
        return self._session

    @property
    def skip_auto_headers(self) -> CIMultiDict[None]:
        """The names of the automatic fields that are left out."""
        return CIMultiDict() if self._skip_auto_headers is None else self._skip_auto_headers

    @property
    def headers(self) -> CIMultiDict[str]:
        """The fields; they may be changed until the request is sent."""
        headers = self._headers
        if headers is None:
            headers = self._headers = CIMultiDict(self._block or ())
            self._block = None
            if self._planned is not None:
                headers[hdrs.CONTENT_TYPE], size = self._planned
                headers[hdrs.CONTENT_LENGTH] = str(size)
        return headers

    @headers.setter
    def headers(self, headers: CIMultiDict[str]) -> None:
        self._headers = headers
        self._block = None

    @property
    def request_info(self) -> RequestInfo:
        """What errors and responses say of this request."""
        return RequestInfo(self.url, self.method, CIMultiDictProxy(self.headers), self.original_url)

    def is_ssl(self) -> bool:
        """Whether the target is reached with TLS."""
        return self.url.scheme in ("https", "wss")

    @property
    def connection_key(self) -> ConnectionKey:
        """What a connection must have been made with to carry this request."""
        key = self._key
        if key is None:
            url = self.url
            proxy = self.proxy
            headers = self.proxy_headers
            key = self._key = ConnectionKey(
                url.raw_host or "",
                url.port,
                url.scheme in ("https", "wss"),
                self._ssl,
                proxy,
                None if proxy is None else self.proxy_auth,
                None if proxy is None or not headers else tuple(headers.items()),
                self._server_hostname,
                self._needs_tunnel(),
            )
        return key

    def _needs_tunnel(self) -> bool:
        """Whether a proxy has to be asked for a tunnel although there is no TLS."""
        if self.proxy is None or self.is_ssl():
            return False
        # RFC 6455 §4.1: a WebSocket is to go through a connection that the proxy opens for it. A
        # proxy that forwards the request would take the handshake's fields, which are for one hop,
        # off it (RFC 9110 §7.6.1).
        return self.url.scheme == "ws" or "websocket" in self.headers.get(hdrs.UPGRADE, "").lower()

    @property
    def payload(self) -> Payload | None:
        """The body; None where there is none."""
        return self._body

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice does no more than sending it once, and is possible."""
        body = self._body
        return self.method in IDEMPOTENT_METHODS and (body is None or body.reusable)

    def restart(self) -> None:
        """The request will be sent once more, from its first octet."""
        if self._draw_key is not None:
            # RFC 6455 §4.1: the nonce is drawn anew for each connection.
            self.headers[hdrs.SEC_WEBSOCKET_KEY] = self._draw_key()
        if self._upload_tracker is not None:
            self._upload_tracker.restart()

    @property
    def body(self) -> Payload | bytes:
        """The body; ``b""`` where there is none."""
        return b"" if self._body is None else self._body

    # --- the aspects of a request --------------------------------------------------------------

    def update_host(self, url: URL) -> None:
        """Refuse URLs that name no host, or that of an address written as no address is."""
        host = url.raw_host
        if not host:
            raise InvalidUrlClientError(url, "no host")
        check_host(host)
        if url.raw_user is not None or url.raw_password is not None:
            if self.auth is not None:
                raise ValueError("Cannot combine AUTH argument with credentials encoded in URL")
            self.auth = BasicAuth.from_url(url)
            self.url = url.with_user(None)
            self.original_url = self.original_url.with_user(None)

    def update_version(self, version: HttpVersion | str) -> None:
        """The request's version, as a pair or as text: ``"1.1"``."""
        if isinstance(version, str):
            parts = [part.strip() for part in version.split(".", 1)]
            if len(parts) != 2 or not all(p.isascii() and p.isdigit() for p in parts):
                raise ValueError(f"Can not parse http version number: {version!r}")
            version = HttpVersion(int(parts[0]), int(parts[1]))
        # Equality would take (1.0, True) for a version; what is sent is made of two plain numbers.
        known = (HttpVersion10, HttpVersion11)
        numbers = [type(number) for number in version]
        if version not in known or numbers != [int, int]:
            raise ValueError(f"HTTP version is 1.0 or 1.1, not {version!r}")
        self.version = known[version[1]]

    def update_headers(self, headers: Any) -> None:
        """The caller's fields; `Host` comes first."""
        url = self.url
        host = url.host_port_subcomponent or ""
        if not headers:
            self.headers = CIMultiDict(((hdrs.HOST, host),))
            return
        if isinstance(headers, Mapping | MultiDictProxy | MultiDict):
            headers = headers.items()
        own: CIMultiDict[str] = CIMultiDict()
        for name, value in headers:
            own.add(name, value)
        if hdrs.HOST in own:
            # RFC 9112 §3.2: one, and no more. The last one given is meant.
            host = own.popall(hdrs.HOST)[-1]
        self.headers = CIMultiDict(((hdrs.HOST, host),))
        self.headers.extend(own)

    def update_auto_headers(self, skip_auto_headers: Iterable[str] | None) -> None:
        """Add the automatic fields that were neither given nor skipped."""
        skipped: CIMultiDict[None] = CIMultiDict(
            (name, None) for name in sorted(skip_auto_headers or ())
        )
        self._skip_auto_headers = skipped
        for name, value in default_headers().items():
            if name not in self.headers and name not in skipped:
                self.headers[name] = value

    def update_cookies(self, cookies: Any) -> None:
        """Add `cookies` to those that the `Cookie` field has; they replace their namesakes."""
        if cookies:
            present = self.headers.popall(hdrs.COOKIE, ())
            self._set_cookie_field(*present, request_cookie_header(cookies))

    def _set_cookie_field(self, *values: str) -> None:
        # RFC 6265 §5.4: a request has one `Cookie` field.
        value = merge_cookie_headers(*values)
        if value:
            self.headers[hdrs.COOKIE] = value

    def update_content_encoding(self, data: Any) -> None:
        """Compress the body if that is asked for, and there is one."""
        if not data:
            self.compress = None
            return
        if self.headers.get(hdrs.CONTENT_ENCODING):
            raise ValueError("compress can not be set if Content-Encoding header is set")
        if not isinstance(self.compress, str):
            self.compress = "deflate"
        elif self.compress.lower() not in available_codings():
            known = ", ".join(available_codings())
            raise ValueError(f"cannot compress with {self.compress!r}, only with {known}")
        self.headers[hdrs.CONTENT_ENCODING] = self.compress
        # The compressed size is not known before.
        self.chunked = True

    def update_auth(self, auth: BasicAuth | None, trust_env: bool = False) -> None:
        """Basic authentication; ValueError beside an `Authorization` field."""
        if auth is None:
            auth = self.auth
        if auth is None:
            return
        if not isinstance(auth, BasicAuth):
            raise TypeError("BasicAuth() tuple is required instead")
        if hdrs.AUTHORIZATION in self.headers:
            raise ValueError(
                "Cannot combine AUTHORIZATION header with AUTH argument or credentials "
                "encoded in URL"
            )
        self.auth = auth
        self.headers[hdrs.AUTHORIZATION] = auth.encode()

    def update_proxy(
        self, proxy: URL | None, proxy_auth: BasicAuth | None, proxy_headers: Any
    ) -> None:
        """The proxy, its credentials and the fields that only it is to see."""
        if proxy_auth is not None and not isinstance(proxy_auth, BasicAuth):
            raise ValueError("proxy_auth must be None or BasicAuth() tuple")
        if proxy is not None and (proxy.raw_user is not None or proxy.raw_password is not None):
            if proxy_auth is None:
                proxy_auth = BasicAuth.from_url(proxy)
            proxy = proxy.with_user(None)
        self.proxy = proxy
        self.proxy_auth = proxy_auth
        if proxy is not None and proxy_headers is not None:
            self.proxy_headers = CIMultiDict(proxy_headers)
        self._key = None

    def update_body_from_data(self, body: Any, _stacklevel: int = 3) -> None:
        """The body as a `Payload`, and the fields that describe it."""
        if body is None:
            self._body = None
            return
        if type(body) is bytes:
            payload: Payload = BytesPayload(body)
        else:
            if isinstance(body, FormData):
                body = body()
            try:
                payload = PAYLOAD_REGISTRY.get(body, disposition=None)
            except LookupError:
                payload = FormData(body)()
        self._body = payload
        if self.chunked is None and payload.size is None and not self._has_length():
            self.chunked = True
        skip = self._skip_auto_headers
        headers = self.headers
        for name, value in payload.headers.items():
            if name not in headers and (skip is None or name not in skip):
                headers[name] = value

    def _has_length(self) -> bool:
        return hdrs.CONTENT_LENGTH in self.headers or hdrs.TRANSFER_ENCODING in self.headers

    def update_transfer_encoding(self) -> None:
        """How the body is framed: by its length, or chunked."""
        headers = self.headers
        coding = headers.get(hdrs.TRANSFER_ENCODING, "").lower()
        if "chunked" in coding:
            if self.chunked:
                raise ValueError(
                    'chunked can not be set if "Transfer-Encoding: chunked" header is set'
                )
        elif self.chunked and self.version != HttpVersion10:
            if hdrs.CONTENT_LENGTH in headers:
                raise ValueError("chunked can not be set if Content-Length header is set")
            headers[hdrs.TRANSFER_ENCODING] = "chunked"
        elif hdrs.CONTENT_LENGTH not in headers:
            body = self._body
            if body is None:
                if self.method not in GET_METHODS:
                    headers[hdrs.CONTENT_LENGTH] = "0"
            elif body.size is not None and not self.compress:
                headers[hdrs.CONTENT_LENGTH] = str(body.size)

    def update_expect_continue(self, expect: bool = False) -> None:
        """Whether the body waits for ``100 Continue`` (RFC 9110 §10.1.1)."""
        if self._body is None:
            # RFC 9110 §10.1.1: nothing is expected for content that there is not. What the caller
            # has written into the field stays.
            return
        if expect:
            self.headers[hdrs.EXPECT] = "100-continue"
        elif self.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
            expect = True
        self._expect_continue = expect

    def _update_connection(self) -> None:
        # RFC 9112 §9.3: HTTP/1.1 says only that it closes, HTTP/1.0 only that it does not.
        if hdrs.CONNECTION in self.headers:
            return
        if self.version == HttpVersion10:
            if not self._force_close:
                self.headers[hdrs.CONNECTION] = "keep-alive"
        elif self._force_close:
            self.headers[hdrs.CONNECTION] = "close"

    async def update_body(self, body: Any) -> None:
        """Replace the body, closing the one before, and the fields that describe it."""
        previous, self._body = self._body, None
        if previous is not None:
            await previous.close()
        for name in (hdrs.CONTENT_LENGTH, hdrs.TRANSFER_ENCODING, hdrs.CONTENT_TYPE):
            self.headers.popall(name, None)
        self.chunked = None
        if body is not None:
            self.update_body_from_data(body)
        self.update_transfer_encoding()
        self._expect_continue = self._expect_continue and self._body is not None

    # --- sending -------------------------------------------------------------------------------

    def target(self) -> str:
        """What the request line asks for (RFC 9112 §3.2)."""
        url = self.url
        # §3.2.3: what to connect to, and nothing else.
        if self.method == hdrs.METH_CONNECT and url.raw_host and url.port is not None:
            return authority(url.raw_host, url.port)
        if self._target is not None:
            return self._target
        # §3.2.2: a proxy that is not a tunnel gets the whole URL.
        return str(url) if self._is_for_proxy() else url.raw_path_qs

    def _is_for_proxy(self) -> bool:
        """Whether a proxy reads the head, and not only the bytes of a tunnel."""
        proxy = self.proxy
        return (
            proxy is not None
            and proxy.scheme in ("http", "https")
            and self.url.scheme == "http"
            and not self.connection_key.tunnel
        )

    def seal(self) -> None:
        """Serialize the fields for the next attempt to send the request.

        What no request can hold is so refused before anything is done for it: ValueError, or
        TypeError for a name or value that is no str.
        """
        self._sealed = self._head()

    def _head(self) -> RequestHead:
        head = self._sealed
        if head is not None:
            self._sealed = None
            return head
        target = self.target()
        block = self._block
        if block is None or self._planned is not None:
            headers = self.headers
            if self._is_for_proxy():
                headers = self._headers_for_proxy()
            _check_request_line(self.method, target, self.version)
            block = HeaderBlock(headers.items())
        return RequestHead(self.method, target, block, self.version)

    def _headers_for_proxy(self) -> CIMultiDict[str]:
        headers = self.headers.copy()
        if self.proxy_headers is not None:
            headers.update(self.proxy_headers)
        if self.proxy_auth is not None:
            headers[hdrs.PROXY_AUTHORIZATION] = self.proxy_auth.encode()
        return headers

    async def send(self, conn: Any) -> ClientResponse:
        """Send the request on a `Connection` and return its response, whose head is yet to come."""
        exchange = self.session.open_exchange(conn.protocol)
        await self.send_on(exchange)
        return self.make_response(exchange)

    def make_response(self, exchange: Exchange | None = None) -> ClientResponse:
        """The response object for `exchange`, before its head has come."""
        response_class = self.response_class
        if response_class is None:
            raise RuntimeError("this request belongs to no session")
        response = response_class(
            self.method,
            self.original_url,
            request_info=self,
            traces=self.traces,
            loop=self.loop,
            session=self._session,
        )
        response._exchange = exchange
        return response

    def send_now(self, exchange: Exchange) -> bool:
        """Send all of the request in one write, if it is of that kind; False if it is not."""
        body, plan = self._body, self._plan
        if plan is not None and self._block is plan.block and not self.traces:
            sealed = plan.head(self.method, body)
            if sealed is not None:
                exchange.send_sealed(sealed, None if body is None else body._value)
                return True
        if body is None:
            if self.traces:
                return False
            try:
                exchange.send_head(self._head(), end=True)
            except LocalProtocolError as error:
                raise ValueError(str(error)) from error
            if self._upload_tracker is not None:
                self._upload_tracker.finish()
            return True
        if (
            type(body) not in _AT_HAND
            or self.compress
            or self.traces
            or self._expect_continue
            or self._upload_tracker is not None
        ):
            return False
        content = body._value
        if len(content) > INLINE_BODY_SIZE or not self._has_length():
            return False
        try:
            exchange.send_whole(self._head(), content)
        except LocalProtocolError as error:
            raise ValueError(str(error)) from error
        return True

    async def send_on(self, exchange: Exchange, sock_read: float | None = None) -> None:
        """Send the request; a body that takes time is sent by a task of the exchange."""
        if self._body is not None and not self._has_length():
            await self._measure()
        if self.send_now(exchange):
            if sock_read:
                exchange.start_read_timeout(sock_read)
            return
        body = self._body
        # A body that is at hand leaves with the head; one that has to be waited for does not.
        at_once = body is None or body.size is None or self._expect_continue or bool(self.traces)
        try:
            exchange.send_head(self._head(), end=body is None, flush=at_once)
        except LocalProtocolError as error:
            raise ValueError(str(error)) from error
        for trace in self.traces:
            await trace.send_request_headers(self.method, self.url, self.headers)
        if body is not None:
            exchange.start_upload(functools.partial(self._upload, exchange, body, sock_read))
            return
        if self._upload_tracker is not None:
            self._upload_tracker.finish()
        if sock_read:
            exchange.start_read_timeout(sock_read)

    async def _measure(self) -> None:
        # HTTP/1.0 knows no chunks: a body of unknown size has to be at hand to be measured.
        if self._body is not None:
            content = await self._body.as_bytes()
            await self._body.close()
            self._body = BytesPayload(content)
            self.headers[hdrs.CONTENT_LENGTH] = str(len(content))
            self._sealed = None

    async def _upload(self, exchange: Exchange, body: Payload, sock_read: float | None) -> None:
        self._uploading = True
        try:
            await self._send_body(exchange, body, sock_read)
        finally:
            self._uploading = False
            if self._close_after_upload:
                self._settle_tracker()
                await body.close()

    async def _send_body(self, exchange: Exchange, body: Payload, sock_read: float | None) -> None:
        tracker = self._upload_tracker
        writer = ExchangeWriter(
            exchange,
            on_chunk_sent=self._chunk_sent if self.traces else None,
            on_body_write=None if tracker is None else tracker.wrote,
        )
        if self.compress:
            writer.enable_compression(str(self.compress))
        try:
            if self._expect_continue and not await exchange.wait_continue(CONTINUE_TIMEOUT):
                return
            if tracker is not None:
                tracker.restart(body.size)
            await self.write_bytes(writer, exchange, self._announced_length())
            if tracker is not None:
                tracker.finish()
        except LocalProtocolError as error:
            raise ClientPayloadError(f"Failed to send the request body: {error}") from error
        if sock_read:
            exchange.start_read_timeout(sock_read)

    def _announced_length(self) -> int | None:
        length = self.headers.get(hdrs.CONTENT_LENGTH)
        return int(length) if length and length.isascii() and length.isdigit() else None

    async def write_bytes(
        self, writer: ExchangeWriter, conn: Any, content_length: int | None = None
    ) -> None:
        """Write the body to `writer`: at most `content_length` octets, if that is given."""
        body = self._body
        if body is None:
            return
        if content_length is None or self.compress:
            await body.write(writer)
        else:
            await body.write_with_length(writer, content_length)
        await writer.write_eof()

    async def _chunk_sent(self, chunk: bytes) -> None:
        for trace in self.traces:
            await trace.send_request_chunk_sent(self.method, self.url, chunk)

    async def close(self) -> None:
        """Close the body, at once or when the upload that was given up is over. Idempotent."""
        if self._uploading:
            # A generator that is running cannot be closed.
            self._close_after_upload = True
        elif self._body is not None:
            await self._body.close()

    async def finish(self) -> None:
        """The request will not be sent again: close the body, at once or when it is out."""
        body = self._body
        if body is None:
            return
        if self._uploading:
            self._close_after_upload = True
            return
        self._settle_tracker()
        if not body.autoclose:
            await body.close()

    def _settle_tracker(self) -> None:
        # A tracker whose body went out whole knows that; otherwise it never will now.
        if self._upload_tracker is not None:
            self._upload_tracker.abort()

    def terminate(self) -> None:
        """Give up sending; the session's exchange does what is needed."""


def _check_request_line(method: str, target: str, version: HttpVersion) -> None:
    try:
        request_line(method, target, version)
    except LocalProtocolError as error:
        raise ValueError(str(error)) from error


def extended_query(url: URL, params: Any) -> URL:
    """`url` with `params` added to its query; what is encoded already is not encoded again."""
    if not isinstance(params, str):
        return url.extend_query(params)
    # RFC 3986 §3.4: a number sign would end the query, and with it what was given.
    given = params.removeprefix("?").replace("#", "%23")
    added = URL(f"?{given}").raw_query_string
    query = f"{url.raw_query_string}&{added}" if url.raw_query_string else added
    base, hash_mark, fragment = str(url).partition("#")
    return URL(f"{base.partition('?')[0]}?{query}{hash_mark}{fragment}", encoded=True)
