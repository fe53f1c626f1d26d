"""ClientSession: requests, and the redirect loop.

Owns: one call from its arguments to its response. Which request follows a redirect is decided in
`redirects`, what a request consists of in `request`, who gets which connection in `net.connector`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from multidict import CIMultiDict
from yarl import URL

from angelia import hdrs
from angelia.client.arguments import (
    check_count,
    check_flag_or_call,
    check_kind,
    check_pairs,
    check_size,
    checked_names,
)
from angelia.client.context import RequestContext
from angelia.client.hop import Hop, following
from angelia.client.proxies import proxy_for
from angelia.client.reconnecting import DEFAULT_BACKOFF, Backoff, reconnections
from angelia.client.redirects import (
    REDIRECT_STATUSES,
    RedirectPolicy,
    next_hop,
    same_origin,
)
from angelia.client.request import (
    GET_METHODS,
    ClientRequest,
    check_method,
    usual_body,
)
from angelia.client.response import ClientResponse
from angelia.client.settings import (
    DEFAULT_MAX_REDIRECTS,
    UNSET,
    CallOptions,
    ClientHandlerType,
    ClientMiddlewareType,
    SessionSettings,
    StatusCheck,
    Unset,
    check_authority,
    checked_middlewares,
    copied_headers,
    parsed_url,
)
from angelia.client.timeouts import (
    DEFAULT_WS_TIMEOUT,
    ClientTimeout,
    ClientWSTimeout,
    effective_timeout,
    effective_ws_timeout,
)
from angelia.client.tracing import Trace
from angelia.client.websocket import ClientWebSocketResponse, Opening, WebSocketContext, draw_key
from angelia.core.auth import BasicAuth
from angelia.core.h1_wire import HeadLimits
from angelia.core.ws import DEFAULT_MAX_MSG_SIZE
from angelia.errors import (
    ClientConnectionResetError,
    ClientError,
    ClientOSError,
    ClientResponseError,
    InvalidUrlClientError,
    NonHttpUrlClientError,
    ServerDisconnectedError,
    TooManyRedirects,
    TotalTimeoutError,
)
from angelia.net.connector import HTTP_SCHEMES, BaseConnector
from angelia.net.deadlines import Deadline
from angelia.net.exchange import Exchange
from angelia.net.payload import JsonPayload
from angelia.net.tls import SSLArgument, merge_ssl_arguments
from angelia.net.transport import Transport
from angelia.net.upload import UploadTracker

__all__ = ("ClientSession",)

# So much of a redirect's content is read to keep its connection; a page that says "moved" is short.
MAX_REDIRECT_CONTENT: Final = 64 * 1024


# An authority that nobody reads in two ways, as nearly all are; the others are looked at closely.
_PLAIN_AUTHORITY: Final = re.compile(r"https?://[A-Za-z0-9.\-]+(?::[0-9]+)?(?:[/?#]|\Z)")

# Arguments of a call that its request takes under the same name, and the values that say nothing.
_GIVEN: Final = ("compress", "chunked", "expect100", "server_hostname", "upload_tracker")
_NOTHING_GIVEN: Final = (None,) * len(_GIVEN)
_NO_SIZES: Final = (None,) * 5


class ClientSession(SessionSettings):
    """Makes requests; keeps connections, cookies and defaults between them.

    Use one session for the life of an application, in ``async with`` or with ``await
    session.close()`` at the end. The parameters are attributes of the same name where that is
    useful.

    - `base_url`: what relative URLs of requests are joined to (RFC 3986); its path ends with ``/``;
    - `connector`: a `BaseConnector`, a new `TCPConnector` by default; closed with the session
      unless `connector_owner` is False;
    - `cookies`, `headers`, `auth`, `proxy`, `proxy_auth`: defaults of each request. With a
      `base_url` the default `auth` goes to its origin only;
    - `skip_auto_headers`: automatic fields (``User-Agent``, ``Content-Type``...) to leave out;
    - `json_serialize`: makes a str of the `json` argument; `json_serialize_bytes` makes bytes;
    - `version`: `HttpVersion11` or `HttpVersion10`;
    - `cookie_jar`: an `AbstractCookieJar`, a new `CookieJar` by default;
    - `raise_for_status`: check each status: True, or a coroutine function that takes the response;
    - `timeout`: a `ClientTimeout`, by default 300 seconds in all and 30 for connecting to an
      address; `read_timeout` and `conn_timeout` are deprecated forms;
    - `auto_decompress`: decode ``Content-Encoding``;
    - `trust_env`: proxies from the environment, credentials from netrc;
    - `requote_redirect_url`: quote the ``Location`` of redirects anew; False sends it as it came;
    - `trace_configs`: `TraceConfig` objects;
    - `read_bufsize`: octets, the size around which reading from the socket is paused;
    - `max_line_size`, `max_field_size` (octets) and `max_headers` (count): limits of response
      heads;
    - `fallback_charset_resolver`: names the charset of a text that does not say;
    - `middlewares`: coroutine functions ``async def (request, handler) -> response`` around every
      attempt, the first one outermost;
    - `request_class`, `response_class`: subclasses of `ClientRequest` and `ClientResponse`;
    - `max_decompressed_size`: octets that a response may decode to, None for no limit; ours;
    - `ssl_shutdown_timeout`: deprecated, a matter of the connector;
    - `loop`: deprecated; the running loop is used.

    RuntimeError where no event loop runs.
    """

    def request(self, method: str, url: str | URL, **kwargs: Any) -> RequestContext:
        """Make a request. Await the result for a response, or use it in ``async with``.

        - `method`: a token, sent in upper case; `url`: absolute, or relative to the `base_url`;
        - `params`: what to add to the query: a mapping, pairs, or a str that goes as it is;
        - `data`: the body: bytes-likes, str, files, asynchronous iterables, `FormData` and what it
          takes (mappings, pairs), a `Payload`; or `json`: anything that `json_serialize` takes;
        - `headers`, `cookies`, `auth`, `skip_auto_headers`: besides, or instead of, the session's.
          `cookies` go to hosts that are IP addresses only if the jar is `unsafe`; a `Cookie` field
          in `headers` wins over them, name by name;
        - `allow_redirects`, `max_redirects` (10, 0 for no limit);
        - `compress`: code the body with ``deflate`` (True) or the coding named;
        - `chunked`: send it chunked; `expect100`: wait for ``100 Continue`` before it;
        - `raise_for_status`, `timeout`, `read_bufsize`, `auto_decompress`, `max_line_size`,
          `max_field_size`, `max_headers`, `middlewares`: instead of the session's;
        - `read_until_eof`: False takes a response without a length for an empty one;
        - `proxy`, `proxy_auth`, `proxy_headers`: an ``http``, ``https`` or ``socks`` URL, its
          credentials, and fields for it alone;
        - `ssl`: True for default verification, False for none, an `ssl.SSLContext`, a
          `Fingerprint`;
          `verify_ssl`, `ssl_context`, `fingerprint` are deprecated; `server_hostname`: the name
          that the certificate must have, until a redirect leads to another host;
        - `trace_request_ctx`: for the trace configurations;
        - `upload_tracker`: an `UploadTracker` that follows the body.

        ValueError, TypeError and `InvalidURL` are raised before anything is sent; every other error
        is a `ClientError` or a timeout. Safe to cancel: the connection is then closed.
        """
        return RequestContext(self._request(method, url, **kwargs))

    def get(self, url: str | URL, *, allow_redirects: bool = True, **kwargs: Any) -> RequestContext:
        """A GET request; see `request`."""
        return RequestContext(self._request("GET", url, allow_redirects=allow_redirects, **kwargs))

    def options(
        self, url: str | URL, *, allow_redirects: bool = True, **kwargs: Any
    ) -> RequestContext:
        """An OPTIONS request; see `request`."""
        return RequestContext(
            self._request("OPTIONS", url, allow_redirects=allow_redirects, **kwargs)
        )

    def head(
        self, url: str | URL, *, allow_redirects: bool = False, **kwargs: Any
    ) -> RequestContext:
        """A HEAD request, which follows no redirects by default; see `request`."""
        return RequestContext(self._request("HEAD", url, allow_redirects=allow_redirects, **kwargs))

    def post(self, url: str | URL, *, data: Any = None, **kwargs: Any) -> RequestContext:
        """A POST request; see `request`."""
        return RequestContext(self._request("POST", url, data=data, **kwargs))

    def put(self, url: str | URL, *, data: Any = None, **kwargs: Any) -> RequestContext:
        """A PUT request; see `request`."""
        return RequestContext(self._request("PUT", url, data=data, **kwargs))

    def patch(self, url: str | URL, *, data: Any = None, **kwargs: Any) -> RequestContext:
        """A PATCH request; see `request`."""
        return RequestContext(self._request("PATCH", url, data=data, **kwargs))

    def delete(self, url: str | URL, **kwargs: Any) -> RequestContext:
        """A DELETE request; see `request`."""
        return RequestContext(self._request("DELETE", url, **kwargs))

    def ws_connect(
        self,
        url: str | URL,
        *,
        method: str = hdrs.METH_GET,
        protocols: Iterable[str] = (),
        timeout: ClientWSTimeout | float | Unset | None = UNSET,
        receive_timeout: float | None = None,
        autoclose: bool = True,
        autoping: bool = True,
        heartbeat: float | None = None,
        auth: BasicAuth | None = None,
        origin: str | None = None,
        params: Any = None,
        headers: Any = None,
        proxy: str | URL | None = None,
        proxy_auth: BasicAuth | None = None,
        ssl: SSLArgument | None = True,
        verify_ssl: bool | None = None,
        fingerprint: bytes | None = None,
        ssl_context: Any = None,
        server_hostname: str | None = None,
        proxy_headers: Any = None,
        compress: int = 0,
        max_msg_size: int = DEFAULT_MAX_MSG_SIZE,
        decode_text: bool = True,
    ) -> WebSocketContext:
        """Open a WebSocket (RFC 6455). Await the result, or use it in ``async with``.

        - `url`: ``ws``, ``wss``, ``http`` or ``https``, or relative to the `base_url`; redirects
          are followed;
        - `protocols`: the subprotocols to offer, the most wanted one first;
        - `timeout`: a `ClientWSTimeout`, by default 10 seconds for closing and no limit for
          receiving; a bare number (for closing) and `receive_timeout` are deprecated. The handshake
          has the session's timeouts;
        - `autoclose`: answer the server's Close when it is received, so that messages before it can
          still be answered; at once where there were none, after half of `ws_close` in any case;
        - `autoping`: answer the server's Pings, and do not return them;
        - `heartbeat`: after so many seconds without a sign of life send a Ping, and fail half that
          time later if none comes;
        - `origin`: the `Origin` field;
        - `compress`: offer permessage-deflate (RFC 7692) with windows of 9 to 15 bits; 0 for none;
        - `max_msg_size`: octets of the largest message taken, 4 MiB by default, 0 for any size;
        - `decode_text`: False returns the octets of text messages;
        - the others are those of `request`.

        WSServerHandshakeError where the server's answer is no handshake; otherwise errors as of
        `request`. Safe to cancel.
        """
        opening = Opening.begin(
            protocols,
            compress,
            origin,
            effective_ws_timeout(
                DEFAULT_WS_TIMEOUT if timeout is UNSET else timeout, receive_timeout
            ),
            heartbeat=heartbeat,
            autoclose=autoclose,
            autoping=autoping,
            max_msg_size=max_msg_size,
            decode_text=decode_text,
        )
        arguments: dict[str, Any] = {
            "params": params,
            "headers": opening.headers(headers),
            "auth": auth,
            "proxy": proxy,
            "proxy_auth": proxy_auth,
            "ssl": ssl,
            "verify_ssl": verify_ssl,
            "fingerprint": fingerprint,
            "ssl_context": ssl_context,
            "server_hostname": server_hostname,
            "proxy_headers": proxy_headers,
            # Whatever is no 101 is a WSServerHandshakeError.
            "raise_for_status": False,
            # The octets after the head are no content with a coding.
            "auto_decompress": False,
        }
        return WebSocketContext(self._ws_connect(opening, method, url, arguments))

    def ws_reconnect(
        self, url: str | URL, *, backoff: Backoff = DEFAULT_BACKOFF, **arguments: Any
    ) -> AsyncGenerator[ClientWebSocketResponse, None]:
        """Open a WebSocket, and another one whenever it is done with: an endless iterator.

        `arguments` are those of `ws_connect`. When the body of ``async for`` ends, the WebSocket
        is closed, and after a pause, which `backoff` decides, the next one opens. Network errors,
        timeouts and the answers 408, 425, 429, 500, 502, 503 and 504 are tried again, not before a
        Retry-After; every other error is raised, among them RuntimeError once the session is
        closed. Leaving the loop closes the WebSocket; `contextlib.aclosing` does so there and then.
        Safe to cancel.
        """
        backoff.check()
        for name, value in arguments.items():
            if isinstance(value, Iterator):
                # Protocols, fields and parameters may be of a kind that can be gone through once.
                arguments[name] = tuple(value)
        return reconnections(
            functools.partial(self.ws_connect, url, **arguments), lambda: self.closed, backoff
        )

    async def _ws_connect(
        self, opening: Opening, method: str, url: str | URL, arguments: dict[str, Any]
    ) -> ClientWebSocketResponse:
        response = await self._request(method, url, draw_key=draw_key, **arguments)
        return opening.finish(response, self._ws_response_class, self._loop)

    async def _request(  # noqa: PLR0912, PLR0915 - each of the documented arguments in its turn
        self,
        method: str,
        str_or_url: str | URL,
        *,
        params: Any = None,
        data: Any = None,
        json: Any = None,
        cookies: Any = None,
        headers: Any = None,
        skip_auto_headers: Iterable[str] | None = None,
        auth: BasicAuth | None = None,
        allow_redirects: bool = True,
        max_redirects: int = DEFAULT_MAX_REDIRECTS,
        compress: str | bool | None = None,
        chunked: bool | int | None = None,
        expect100: bool = False,
        raise_for_status: StatusCheck | None = None,
        read_until_eof: bool = True,
        proxy: str | URL | None = None,
        proxy_auth: BasicAuth | None = None,
        timeout: ClientTimeout | float | Unset | None = UNSET,
        verify_ssl: bool | None = None,
        fingerprint: bytes | None = None,
        ssl_context: Any = None,
        ssl: SSLArgument | None = True,
        server_hostname: str | None = None,
        proxy_headers: Any = None,
        trace_request_ctx: Any = None,
        read_bufsize: int | None = None,
        auto_decompress: bool | None = None,
        max_line_size: int | None = None,
        max_field_size: int | None = None,
        max_headers: int | None = None,
        middlewares: Sequence[ClientMiddlewareType] | None = None,
        upload_tracker: UploadTracker | None = None,
        draw_key: Callable[[], str] | None = None,
    ) -> ClientResponse:
        connector = self._connector
        if connector is None or connector.closed:
            raise RuntimeError("Session is closed")
        started = self._loop.time()
        if (
            ssl is not True
            or verify_ssl is not None
            or ssl_context is not None
            or fingerprint is not None
        ):
            ssl = merge_ssl_arguments(ssl, verify_ssl, ssl_context, fingerprint)
        if json is not None:
            if data is not None:
                raise ValueError("data and json parameters can not be used at the same time")
            data = JsonPayload(json, dumps=self._json_serialize_bytes or self._json_serialize)
        call = self._plain_call
        if (
            timeout is not UNSET
            or raise_for_status is not None
            or middlewares is not None
            or max_redirects != DEFAULT_MAX_REDIRECTS
            or not read_until_eof
        ):
            call = CallOptions(self)
            if timeout is not UNSET:
                call.timeout = effective_timeout(timeout, self._timeout)
            if raise_for_status is not None:
                check_flag_or_call("raise_for_status", raise_for_status)
                call.raise_for_status = raise_for_status
            if middlewares is not None:
                call.middlewares = checked_middlewares(middlewares)
            check_count("max_redirects", max_redirects)
            call.max_redirects = max_redirects
            call.read_until_eof = read_until_eof
        sizes = (read_bufsize, auto_decompress, max_line_size, max_field_size, max_headers)
        if sizes != _NO_SIZES:
            call = self._with_sizes(call, *sizes)
        extra: dict[str, Any] = {}
        if skip_auto_headers is not None or self._skip_auto_headers:
            extra["skip_auto_headers"] = self._skip_auto_headers.union(
                checked_names("skip_auto_headers", skip_auto_headers)
            )
        given = (compress or None, chunked, expect100 or None, server_hostname, upload_tracker)
        if given != _NOTHING_GIVEN:
            check_kind("server_hostname", server_hostname, str, "the name of a host")
            check_kind("upload_tracker", upload_tracker, UploadTracker, "an UploadTracker")
            extra.update((k, v) for k, v in zip(_GIVEN, given, strict=True) if v is not None)
        if proxy_headers is not None:
            extra["proxy_headers"] = copied_headers(proxy_headers)
        if ssl is True:
            ssl = connector.ssl
        if ssl is not True:
            extra["ssl"] = ssl
        if connector.force_close:
            extra["force_close"] = True
        if proxy is None:
            proxy = self._default_proxy
        elif not isinstance(proxy, URL):
            proxy = parsed_url(proxy, "is no valid URL of a proxy")
        if cookies is not None:
            check_pairs("cookies", cookies)
        hop = Hop(
            check_method(method),
            self._build_url(str_or_url),
            params,
            data,
            self._merged_headers(headers) if headers else None,
            cookies,
            auth,
            proxy,
            proxy_auth,
            extra,
        )
        hop.draw_key = draw_key
        if upload_tracker is not None:
            upload_tracker.start(None)
        traces: Sequence[Trace] = ()
        if self._trace_configs:
            traces = [
                Trace(self, config, config.trace_config_ctx(trace_request_ctx=trace_request_ctx))
                for config in self._trace_configs
            ]
            if hop.headers is None:
                # The start signal shows them, and its receivers may change them.
                hop.headers = self._default_headers.copy()
        timeouts = call.timeout
        total = timeouts.total
        deadline = self._deadlines.start(total, timeouts.ceil_threshold, started) if total else None
        try:
            return await self._run(call, hop, connector, deadline, traces, allow_redirects, started)
        except BaseException as error:
            if deadline is not None:
                deadline.cancel()
            if upload_tracker is not None:
                upload_tracker.abort(error)
            if traces:
                await _tell_failure(traces, hop, error)
            raise

    def _with_sizes(
        self,
        call: CallOptions,
        read_bufsize: int | None,
        auto_decompress: bool | None,
        max_line_size: int | None,
        max_field_size: int | None,
        max_headers: int | None,
    ) -> CallOptions:
        """`call` with other sizes of heads and buffers."""
        for name, size in (
            ("read_bufsize", read_bufsize),
            ("max_line_size", max_line_size),
            ("max_field_size", max_field_size),
            ("max_headers", max_headers),
        ):
            if size is not None:
                check_size(name, size)
        changed = CallOptions(self)
        for name in ("timeout", "raise_for_status", "middlewares", "max_redirects"):
            setattr(changed, name, getattr(call, name))
        changed.read_until_eof = call.read_until_eof
        limits = self._limits
        changed.limits = HeadLimits(
            limits.max_line_size if max_line_size is None else max_line_size,
            limits.max_field_size if max_field_size is None else max_field_size,
            limits.max_headers if max_headers is None else max_headers,
            limits.lenient,
        )
        if read_bufsize is not None or auto_decompress is not None:
            changed.options = self._exchange_options(
                self._read_bufsize if read_bufsize is None else read_bufsize,
                self._auto_decompress if auto_decompress is None else auto_decompress,
            )
        return changed

    # --- one call ------------------------------------------------------------------------------

    async def _run(  # noqa: PLR0912 - the steps of a hop, each for those who asked for it
        self,
        call: CallOptions,
        hop: Hop,
        connector: BaseConnector,
        deadline: Deadline | None,
        traces: Sequence[Trace],
        allow_redirects: bool,
        started: float,
    ) -> ClientResponse:
        """The redirect loop."""
        history: list[ClientResponse] = []
        for trace in traces:
            await trace.send_request_start(hop.method, hop.shown_url, hop.shown_headers)
        while True:
            if hop.url.scheme not in connector.allowed_schemes:
                raise NonHttpUrlClientError(hop.url)
            auth, proxy, proxy_auth = hop.auth, hop.proxy, hop.proxy_auth
            if self._default_auth is not None or self._trust_env:
                auth, proxy, proxy_auth = await self._surroundings(hop)
            request = self._make_request(hop, auth, proxy, proxy_auth, deadline, traces)
            if hop.draw_key is not None:
                request._draw_key = hop.draw_key
            try:
                if call.middlewares:
                    response = await self._through_middlewares(call, request, connector, started)
                else:
                    response = await self._attempt(call, request, connector, started)
            except BaseException:
                await request.close()
                raise
            if response.status not in REDIRECT_STATUSES or not allow_redirects:
                break
            redirected = self._redirected(call, hop, request, response, history)
            if redirected is None:
                break
            try:
                for trace in traces:
                    await trace.send_request_redirect(
                        request.method, request.url, request.headers, response
                    )
                await _finish_redirected(response)
            except BaseException:
                response.close()
                await request.close()
                raise
            if redirected.data is None:
                await request.close()
            hop = redirected
        try:
            if request.payload is not None:
                await request.finish()
            if history:
                response._history = tuple(history)
            if call.raise_for_status:
                await _check_status(call.raise_for_status, response)
            for trace in traces:
                await trace.send_request_end(request.method, request.url, request.headers, response)
        except BaseException:
            # Nobody gets it who could.
            response.close()
            raise
        if deadline is not None:
            # Not before: responses that led to others end, and the time of the call goes on.
            _end_with(deadline, response._exchange)
        return response

    async def _surroundings(
        self, hop: Hop
    ) -> tuple[BasicAuth | None, URL | None, BasicAuth | None]:
        """Credentials, proxy and its credentials, as far as session and environment give them."""
        auth, proxy, proxy_auth = await self._auth_for(hop), hop.proxy, hop.proxy_auth
        if proxy is None and self._trust_env:
            proxy, proxy_auth = await self._proxy_from_environment(hop.url, proxy_auth)
        return auth, proxy, proxy_auth

    def _make_request(
        self,
        hop: Hop,
        auth: BasicAuth | None,
        proxy: URL | None,
        proxy_auth: BasicAuth | None,
        deadline: Deadline | None,
        traces: Sequence[Trace],
    ) -> ClientRequest:
        """The request of one hop."""
        url = hop.url
        if proxy_auth is None and proxy is not None:
            proxy_auth = self._default_proxy_auth
        headers = hop.headers
        cookie_header = ""
        if self._cookie_jar or self._asks_jar or hop.cookies:
            cookie_header = self._cookie_header(url, hop.cookies)
        if headers is None:
            body = None
            if (
                auth is None
                and proxy is None
                and proxy_auth is None
                and not cookie_header
                and not hop.params
                and not hop.extra
                and self._is_plain
                and (
                    hop.method in GET_METHODS
                    if hop.data is None
                    else (body := usual_body(hop.method, hop.data)) is not None
                )
                and (plan := self._plans.get(url)).block is not None
                and (body is None or plan.takes_content)
            ):
                return ClientRequest.planned(
                    hop.method,
                    plan,
                    loop=self._loop,
                    response_class=self._response_class,
                    session=self,
                    timer=deadline,
                    traces=traces,
                    body=body,
                )
            headers = self._default_headers
        return self._request_class(
            hop.method,
            url,
            params=hop.params,
            headers=headers,
            data=hop.data,
            auth=auth,
            version=self._version,
            loop=self._loop,
            response_class=self._response_class,
            proxy=proxy,
            proxy_auth=proxy_auth,
            timer=deadline,
            session=self,
            traces=traces,
            # A class of the caller's may have a method of its own for them.
            auto_headers=self._auto_headers if self._request_class is ClientRequest else None,
            cookie_header=cookie_header,
            **hop.extra,
        )

    async def _through_middlewares(
        self, call: CallOptions, request: ClientRequest, connector: BaseConnector, started: float
    ) -> ClientResponse:
        async def attempt(request: ClientRequest) -> ClientResponse:
            response = await self._attempt(call, request, connector, started)
            responses.append(response)
            return response

        responses: list[ClientResponse] = []
        handler: ClientHandlerType = attempt
        for middleware in reversed(call.middlewares):
            handler = _wrapped(middleware, handler)
        try:
            return await handler(request)
        except BaseException:
            # What a middleware had in hand when it failed is nobody's now.
            for response in responses:
                response.close()
            raise

    async def _attempt(
        self, call: CallOptions, request: ClientRequest, connector: BaseConnector, started: float
    ) -> ClientResponse:
        """Send a request, and wait for the response's head.

        It is sent once more if the first time it cannot have been processed.
        """
        deadline = request.deadline
        traces = request.traces
        repeated = False
        while True:
            if request._block is None:
                request.seal()
            transport = connector.acquire_now(request, traces)
            if transport is None:
                transport = await connector.acquire(request, traces, call.timeout, deadline)
            acquired = self._loop.time()
            exchange = Exchange(
                transport,
                transport.core.open_stream(call.limits, call.read_until_eof),
                call.options,
            )
            reused = transport.served > 1
            try:
                if deadline is not None:
                    if deadline.expired:
                        deadline.check()
                    deadline.target = exchange
                sock_read = call.timeout.sock_read
                if not request.send_now(exchange):
                    await request.send_on(exchange, sock_read or None)
                elif sock_read:
                    exchange.start_read_timeout(sock_read)
                if exchange.head is None:
                    await exchange.head_arrival()
                break
            except BaseException as error:
                exchange.close()
                if repeated or not _may_repeat(request, exchange, error, reused):
                    _complete_error(error, request, exchange)
                    raise
                repeated = True
                request.restart()
        response = request.make_response(exchange)
        response.begin(exchange)
        response._times = (started, acquired)
        head = exchange.head
        if head is not None and "set-cookie" in head.special:
            self._cookie_jar.update_cookies_from_headers(
                response.special_field("set-cookie"), response.url
            )
        return response

    def open_exchange(self, transport: Transport) -> Exchange:
        """An exchange with the session's defaults on a connection that the caller holds."""
        stream_id = transport.core.open_stream(self._limits)
        return Exchange(transport, stream_id, self._options)

    # --- parts of a request --------------------------------------------------------------------

    def _build_url(self, str_or_url: str | URL) -> URL:
        try:
            if isinstance(str_or_url, URL):
                url = str_or_url
            elif not isinstance(str_or_url, str):
                raise TypeError(f"a URL is a str or a URL, not {str_or_url!r}")
            else:
                if not _PLAIN_AUTHORITY.match(str_or_url):
                    check_authority(str_or_url)
                url = URL(str_or_url)
            # RFC 3986 §4.2: a reference without a scheme may still name a host.
            if self._base_url is not None and not (url.absolute and url.scheme):
                url = self._base_url.join(url)
            if url.absolute or url.scheme:
                # Fails for a port that is none.
                _ = url.port
        except ValueError as error:
            # What the parser says quotes the authority, with the password that may be in it.
            if "@" in str(error):
                raise InvalidUrlClientError(str_or_url, "is no valid URL") from None
            raise InvalidUrlClientError(str_or_url, str(error)) from error
        if not url.scheme or not url.raw_host:
            connector = self._connector
            if url.scheme and connector is not None and url.scheme not in connector.allowed_schemes:
                raise NonHttpUrlClientError(url)
            raise InvalidUrlClientError(url, "no scheme and host")
        return url

    def _merged_headers(self, headers: Any) -> CIMultiDict[str] | None:
        """The session's fields, replaced by name by the request's."""
        defaults = self._default_headers
        if not headers:
            return defaults or None
        own = copied_headers(headers)
        if not defaults:
            return own
        merged = defaults.copy()
        for name in set(own):
            merged.popall(name, None)
        merged.extend(own)
        return merged

    async def _auth_for(self, hop: Hop) -> BasicAuth | None:
        auth = hop.auth
        if auth is not None:
            return auth
        explicit = hop.headers is not None and hdrs.AUTHORIZATION in hop.headers
        if explicit or hop.url.raw_user is not None or hop.url.raw_password is not None:
            return None
        # After a redirect to another origin the session's credentials are not for whoever answers.
        if (
            self._default_auth is not None
            and not hop.foreign
            and (self._base_origin is None or same_origin(self._base_origin, hop.url))
        ):
            return self._default_auth
        # Nor does a password that TLS protected go on without it.
        if self._trust_env and hop.url.host and not hop.downgraded:
            from angelia.client.netrc import netrc_auth

            return await netrc_auth(hop.url.host, use_default=not hop.foreign)
        return None

    async def _proxy_from_environment(
        self, url: URL, proxy_auth: BasicAuth | None
    ) -> tuple[URL | None, BasicAuth | None]:
        found = proxy_for(url)
        if found is None:
            return None, proxy_auth
        proxy, auth = found
        if auth is None:
            auth = proxy_auth
        if auth is None and proxy.host:
            from angelia.client.netrc import netrc_auth

            auth = await netrc_auth(proxy.host)
        return proxy, auth

    def _cookie_header(self, url: URL, cookies: Any) -> str:
        return self._cookie_jar.header_for(url, cookies)

    # --- redirects -----------------------------------------------------------------------------

    def _redirected(
        self,
        call: CallOptions,
        hop: Hop,
        request: ClientRequest,
        response: ClientResponse,
        history: list[ClientResponse],
    ) -> Hop | None:
        """The hop that follows a redirect; None where the response leads nowhere."""
        connector = self._connector
        # What else a connector can speak is for the caller to ask for, not for a server.
        schemes = HTTP_SCHEMES | {request.original_url.scheme}
        if connector is not None:
            schemes &= connector.allowed_schemes
        location = response.special_field("location")
        try:
            redirect = next_hop(
                response.status,
                location[0] if location else None,
                method=request.method,
                url=request.original_url,
                headers=self._default_headers if hop.headers is None else hop.headers,
                policy=RedirectPolicy(self._requote_redirect_url, schemes),
            )
            if redirect is None:
                return None
            history.append(response)
            if call.max_redirects and len(history) >= call.max_redirects:
                raise TooManyRedirects(  # noqa: TRY301 - it is handled as the others are
                    history[0].request_info,
                    tuple(history),
                    status=response.status,
                    message=f"more than {call.max_redirects} redirects",
                    headers=response.headers,
                )
            return following(hop, request, response.status, redirect)
        except BaseException:
            response.close()
            raise


def _wrapped(middleware: ClientMiddlewareType, handler: ClientHandlerType) -> ClientHandlerType:
    async def wrapped(request: ClientRequest) -> ClientResponse:
        return await middleware(request, handler)

    return wrapped


async def _tell_failure(traces: Sequence[Trace], hop: Hop, error: BaseException) -> None:
    """All are told; what a callback raises comes after that, instead of `error`."""
    failure: BaseException | None = None
    for trace in traces:
        try:
            await trace.send_request_exception(hop.method, hop.shown_url, hop.shown_headers, error)
        except BaseException as raised:  # noqa: BLE001 - raised below
            failure = failure or raised
    if failure is not None:
        try:
            raise failure
        finally:
            # Its traceback holds this frame.
            del failure


def _end_with(deadline: Deadline, exchange: Exchange | None) -> None:
    """Let the time of a call run until the content of its response has come."""
    if exchange is None:
        deadline.cancel()
    else:
        deadline.target = exchange
        exchange.cancel_at_end(deadline)


async def _check_status(check: StatusCheck, response: ClientResponse) -> None:
    if not callable(check):
        response.raise_for_status()
        return
    try:
        await check(response)
    except BaseException:
        response.release()
        raise


def _may_repeat(
    request: ClientRequest, exchange: Exchange, error: BaseException, reused: bool
) -> bool:
    """Whether a request that failed may be sent once more by itself."""
    # RFC 9110 §9.2.2: only idempotent methods. The connection had served before and died before
    # this response had a head: the server closed it under our hands.
    return (
        reused
        and not exchange.started
        and isinstance(error, ServerDisconnectedError | ClientOSError | ClientConnectionResetError)
        and request.repeatable
    )


def _complete_error(error: BaseException, request: ClientRequest, exchange: Exchange) -> None:
    """Note on an error what is known of the request's fate."""
    if isinstance(error, ClientError | TotalTimeoutError):
        error.request_sent = exchange.sent
    if isinstance(error, ClientResponseError) and error.request_info is None:
        error.request_info = request.request_info
        error.args = (error.request_info, error.history)


async def _finish_redirected(response: ClientResponse) -> None:
    """Read a redirect's short content, so that its connection serves the next hop; or close it."""
    left = MAX_REDIRECT_CONTENT
    exchange = response._exchange
    # Of what is announced to be longer nothing is waited for. No exchange: a middleware's response.
    if exchange is None or (response.content_length or 0) > MAX_REDIRECT_CONTENT:
        response.release()
        return
    try:
        # Not through the response: nobody asked for this content, so no trace is told of it.
        while left > 0 and (piece := await exchange.content.read(left)):
            left -= len(piece)
    except ClientError:
        # Content that nobody wanted is broken: that costs its connection, not the call.
        response.close()
        return
    response.release()
