"""SessionSettings: what all requests of a session share, and the end of a session's life.

Owns: the defaults of requests, the cookie jar, the connector's ownership. `ClientSession` adds the
requests to it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import traceback
import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, cast

from multidict import CIMultiDict, CIMultiDictProxy, istr
from yarl import URL

from angelia.client.arguments import (
    check_auth,
    check_call,
    check_class,
    check_count,
    check_flag_or_call,
    check_kind,
    check_pairs,
    check_size,
    checked_names,
    checked_sequence,
)
from angelia.client.automatic_fields import default_headers
from angelia.client.cookies import AbstractCookieJar, CookieJar, has_own_filter
from angelia.client.plans import RequestPlans
from angelia.client.request import ClientRequest
from angelia.client.response import ClientResponse
from angelia.client.timeouts import DEFAULT_TIMEOUT, ClientTimeout, effective_timeout
from angelia.client.tracing import TraceConfig
from angelia.client.translation import translated
from angelia.core.auth import BasicAuth
from angelia.core.deprecation import warn_deprecated, warn_loop_argument
from angelia.core.h1_wire import HeadLimits
from angelia.core.interface import HttpVersion, HttpVersion11
from angelia.core.patterns import lazy
from angelia.errors import InvalidURL
from angelia.net.addresses import check_port
from angelia.net.connector import BaseConnector
from angelia.net.connector_kinds import TCPConnector
from angelia.net.deadlines import Deadlines
from angelia.net.exchange import ExchangeOptions
from angelia.net.streams import StreamReader
from angelia.net.traced_stream import TracedStreamReader
from angelia.redaction import shown_url

__all__ = (
    "UNSET",
    "CallOptions",
    "CharsetResolver",
    "ClientHandlerType",
    "ClientMiddlewareType",
    "SessionSettings",
    "StatusCheck",
    "copied_headers",
)

ClientHandlerType: TypeAlias = Callable[[ClientRequest], Awaitable[ClientResponse]]
ClientMiddlewareType: TypeAlias = Callable[
    [ClientRequest, ClientHandlerType], Awaitable[ClientResponse]
]
CharsetResolver: TypeAlias = Callable[[ClientResponse, bytes], str]
StatusCheck: TypeAlias = bool | Callable[[ClientResponse], Awaitable[None]]

DEFAULT_MAX_REDIRECTS: Final = 10
DEFAULT_READ_BUFSIZE: Final = 2**18
DEFAULT_MAX_LINE_SIZE: Final = 8190
DEFAULT_MAX_FIELD_SIZE: Final = 8190
DEFAULT_MAX_HEADERS: Final = 128


class Unset:
    """The type of `UNSET`: an argument that was not given, where None has a meaning."""

    def __repr__(self) -> str:
        return "<unset>"


UNSET: Final = Unset()


def _utf8(_response: ClientResponse, _body: bytes) -> str:
    return "utf-8"


class CallOptions:
    """The wishes that hold for all hops of a call; one object serves all calls without any."""

    __slots__ = (
        "limits",
        "max_redirects",
        "middlewares",
        "options",
        "raise_for_status",
        "read_until_eof",
        "timeout",
    )

    def __init__(self, settings: SessionSettings) -> None:
        self.limits = settings._limits
        self.max_redirects = DEFAULT_MAX_REDIRECTS
        self.middlewares = settings._middlewares
        self.options = settings._options
        self.raise_for_status: StatusCheck = settings._raise_for_status
        self.read_until_eof = True
        self.timeout = settings._timeout


class SessionSettings:
    """The constructor and the attributes of `ClientSession`."""

    # Set before anything can fail, for __del__.
    _connector: BaseConnector | None = None
    _source_traceback: traceback.StackSummary | None = None

    def __init__(  # noqa: PLR0915 - one statement for each of the documented arguments
        self,
        base_url: str | URL | None = None,
        *,
        connector: BaseConnector | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        cookies: Any = None,
        headers: Any = None,
        proxy: str | URL | None = None,
        proxy_auth: BasicAuth | None = None,
        skip_auto_headers: Iterable[str] | None = None,
        auth: BasicAuth | None = None,
        json_serialize: Callable[[Any], str] = json.dumps,
        json_serialize_bytes: Callable[[Any], bytes] | None = None,
        request_class: type[ClientRequest] = ClientRequest,
        response_class: type[ClientResponse] = ClientResponse,
        ws_response_class: type[Any] | None = None,
        version: HttpVersion = HttpVersion11,
        cookie_jar: AbstractCookieJar | None = None,
        connector_owner: bool = True,
        raise_for_status: StatusCheck | None = False,
        read_timeout: float | Unset | None = UNSET,
        conn_timeout: float | None = None,
        timeout: ClientTimeout | float | Unset | None = UNSET,
        auto_decompress: bool = True,
        trust_env: bool = False,
        requote_redirect_url: bool = True,
        trace_configs: Sequence[TraceConfig] | None = None,
        read_bufsize: int = DEFAULT_READ_BUFSIZE,
        max_line_size: int = DEFAULT_MAX_LINE_SIZE,
        max_field_size: int = DEFAULT_MAX_FIELD_SIZE,
        max_headers: int = DEFAULT_MAX_HEADERS,
        fallback_charset_resolver: CharsetResolver = _utf8,
        middlewares: Sequence[ClientMiddlewareType] = (),
        ssl_shutdown_timeout: float | Unset | None = UNSET,
        max_decompressed_size: int | None = None,
    ) -> None:
        check_kind("connector", connector, BaseConnector, "a BaseConnector")
        if loop is not None:
            warn_loop_argument(self)
        elif connector is not None:
            loop = connector._loop
        given_loop = loop
        self._loop = loop = loop if loop is not None else asyncio.get_running_loop()
        self._base_url = _checked_base_url(base_url)
        self._base_origin = None if self._base_url is None else self._base_url.origin()
        self._timeout = _session_timeout(timeout, read_timeout, conn_timeout)
        if ssl_shutdown_timeout is not UNSET:
            warn_deprecated(
                "ssl_shutdown_timeout of a session is deprecated, give it to the connector"
            )
        if connector is not None and connector._loop is not loop:
            raise RuntimeError("Session and connector have to use same event loop")
        check_auth("auth", auth)
        check_auth("proxy_auth", proxy_auth)
        check_call("fallback_charset_resolver", fallback_charset_resolver)
        check_call("json_serialize", json_serialize)
        check_call("json_serialize_bytes", json_serialize_bytes, optional=True)
        check_class("request_class", request_class, ClientRequest)
        check_class("response_class", response_class, ClientResponse)
        check_kind("cookie_jar", cookie_jar, AbstractCookieJar, "an AbstractCookieJar")
        check_flag_or_call("raise_for_status", raise_for_status)
        for name, size in (
            ("read_bufsize", read_bufsize),
            ("max_line_size", max_line_size),
            ("max_field_size", max_field_size),
            ("max_headers", max_headers),
        ):
            check_size(name, size)
        if max_decompressed_size is not None:
            check_count("max_decompressed_size", max_decompressed_size)
        self._default_auth = auth
        self._default_proxy = (
            None if proxy is None else parsed_url(proxy, "is no valid URL of a proxy")
        )
        self._default_proxy_auth = proxy_auth
        self._version = version
        self._json_serialize = json_serialize
        self._json_serialize_bytes = json_serialize_bytes
        self._raise_for_status: StatusCheck = raise_for_status or False
        self._auto_decompress = auto_decompress
        self._trust_env = trust_env
        self._requote_redirect_url = requote_redirect_url
        self._read_bufsize = read_bufsize
        self._limits = HeadLimits(
            max_line_size, max_field_size, max_headers, lenient=not sys.flags.dev_mode
        )
        self._max_decoded = max_decompressed_size
        self._request_class = request_class
        self._response_class = response_class
        self._ws_response_class = ws_response_class
        self._resolve_charset = fallback_charset_resolver
        self._middlewares = checked_middlewares(middlewares)
        self._default_headers = copied_headers(headers)
        self._skip_auto_headers = checked_names("skip_auto_headers", skip_auto_headers)
        self._auto_headers = CIMultiDict(
            (name, value)
            for name, value in default_headers().items()
            if istr(name) not in self._skip_auto_headers
        )
        self._trace_configs = checked_sequence(
            "trace_configs",
            trace_configs,
            "TraceConfig objects",
            lambda item: isinstance(item, TraceConfig),
        )
        for trace_config in self._trace_configs:
            trace_config.freeze()
        # Known for good, since they are frozen.
        self._traces_content = any(
            trace_config.on_response_chunk_received for trace_config in self._trace_configs
        )
        self._options = self._exchange_options(read_bufsize, auto_decompress)
        self._plain_call = CallOptions(self)
        self._deadlines = Deadlines(loop)
        self._plans = RequestPlans(self._default_headers, self._auto_headers)
        # Whether a request without arguments says nothing that the session's fields do not say.
        self._is_plain = (
            version == HttpVersion11
            and not self._skip_auto_headers
            and request_class is ClientRequest
        )
        if cookies is not None:
            check_pairs("cookies", cookies)
        self._cookie_jar = CookieJar(loop=loop) if cookie_jar is None else cookie_jar
        self._asks_jar = has_own_filter(self._cookie_jar)
        if cookies is not None:
            self._cookie_jar.update_cookies(cookies)
        self._connector_owner = connector_owner
        if loop.get_debug():
            self._source_traceback = traceback.extract_stack(sys._getframe(1))
        frame = sys._getframe(1)
        self._made_at = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        if connector is None:
            connector = TCPConnector(loop=given_loop, ssl_shutdown_timeout=ssl_shutdown_timeout)
        self._connector = connector

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'closed' if self.closed else repr(self._connector)}>"

    def __del__(self) -> None:
        connector = self._connector
        if connector is None or connector.closed:
            return
        self._connector = None
        place = self._made_at
        if self._source_traceback is not None:
            place = f"\n{''.join(self._source_traceback.format())}"
        warnings.warn(
            f"Unclosed client session <{type(self).__name__} made at {place}>",
            ResourceWarning,
            source=self,
            stacklevel=2,
        )
        if self._connector_owner:
            connector.abandon()

    # --- defaults ------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the session was closed or detached."""
        return self._connector is None or self._connector.closed

    @property
    def connector(self) -> BaseConnector | None:
        """The connector; None once the session was closed."""
        return self._connector

    @property
    def cookie_jar(self) -> AbstractCookieJar:
        """The session's cookies."""
        return self._cookie_jar

    @property
    def version(self) -> HttpVersion:
        """The version of requests."""
        return self._version

    @property
    def requote_redirect_url(self) -> bool:
        """Whether the targets of redirects are quoted anew. Setting it is deprecated."""
        return self._requote_redirect_url

    @requote_redirect_url.setter
    def requote_redirect_url(self, value: bool) -> None:
        warn_deprecated(
            "session.requote_redirect_url modification is deprecated, give it to the constructor"
        )
        self._requote_redirect_url = value

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop. Deprecated."""
        warn_deprecated("client.loop property is deprecated")
        return self._loop

    @property
    def timeout(self) -> ClientTimeout:
        """The timeouts of requests."""
        return self._timeout

    @property
    def headers(self) -> CIMultiDict[str]:
        """The fields of each request; they may be changed."""
        return self._default_headers

    @property
    def skip_auto_headers(self) -> frozenset[istr]:
        """The automatic fields that are left out."""
        return self._skip_auto_headers

    @property
    def auth(self) -> BasicAuth | None:
        """The credentials of requests."""
        return self._default_auth

    @property
    def json_serialize(self) -> Callable[[Any], str]:
        """What makes a str of the `json` argument."""
        return self._json_serialize

    @property
    def connector_owner(self) -> bool:
        """Whether the connector closes with the session."""
        return self._connector_owner

    @property
    def raise_for_status(self) -> StatusCheck:
        """How statuses are checked."""
        return self._raise_for_status

    @property
    def auto_decompress(self) -> bool:
        """Whether content codings are decoded."""
        return self._auto_decompress

    @property
    def trust_env(self) -> bool:
        """Whether proxies and credentials of the environment are used."""
        return self._trust_env

    @property
    def trace_configs(self) -> list[TraceConfig]:
        """The trace configurations, frozen."""
        return list(self._trace_configs)

    trace_config = trace_configs

    def _exchange_options(self, read_bufsize: int, auto_decompress: bool) -> ExchangeOptions:
        return ExchangeOptions(
            translate=translated,
            read_bufsize=read_bufsize,
            auto_decompress=auto_decompress,
            max_decoded_size=self._max_decoded,
            stream_class=TracedStreamReader if self._traces_content else StreamReader,
        )

    # --- the end -------------------------------------------------------------------------------

    async def close(self) -> None:
        """Close the connector, unless it belongs to someone else. Idempotent.

        When it returns the sockets are closed, TLS included; that takes a second at most.
        """
        connector, self._connector = self._connector, None
        try:
            if connector is not None and self._connector_owner:
                await connector.close()
        finally:
            self._deadlines.close()

    def detach(self) -> None:
        """Leave the connector open, and its connections to whoever else has it."""
        self._connector = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.close()

    def __enter__(self) -> None:
        raise TypeError("Use async with instead")

    def __exit__(self, *args: object) -> None:
        """Never reached: `__enter__` raises."""


def checked_middlewares(
    middlewares: Sequence[ClientMiddlewareType],
) -> tuple[ClientMiddlewareType, ...]:
    """The `middlewares` argument of a session or a request."""
    return checked_sequence("middlewares", middlewares, "coroutine functions", callable)


def copied_headers(headers: Any) -> CIMultiDict[str]:
    """A copy of the caller's fields, whatever they came in."""
    if not headers:
        return CIMultiDict()
    if isinstance(headers, CIMultiDict | CIMultiDictProxy):
        return CIMultiDict(headers)
    given = headers
    if isinstance(headers, Mapping):
        headers = headers.items()
    copied: CIMultiDict[str] = CIMultiDict()
    try:
        for name, value in headers:
            copied.add(name, value)
    except (TypeError, ValueError):
        # The values may be secrets: only their type is told.
        raise TypeError(
            "headers are a mapping, or pairs of a name and a value, both str; "
            f"not a {type(given).__name__} of something else"
        ) from None
    return copied


def _checked_base_url(base_url: str | URL | None) -> URL | None:
    if base_url is None:
        return None
    url = parsed_url(base_url, "is no valid base_url")
    if not url.absolute or not url.host:
        raise ValueError(f"base_url must be absolute: {shown_url(base_url)!r}")
    if not url.raw_path.endswith("/"):
        raise ValueError(f"base_url must have a path that ends with '/': {shown_url(base_url)!r}")
    return url


_AUTHORITY: Final = lazy(r"[^/?#]*//([^/?#]*)")


def check_authority(url: str) -> None:
    """ValueError for a text whose port only some parsers take for a number."""
    found = _AUTHORITY.match(url)
    if found is not None:
        check_port(found[1])


def parsed_url(url: str | URL, complaint: str) -> URL:
    """`url` as a URL; `InvalidURL` with `complaint` where it is none, or its port no number.

    TypeError for what is neither text nor URL.
    """
    if not isinstance(url, str | URL):
        raise TypeError(f"{url!r} {complaint}: it is neither a str nor a URL")
    try:
        if isinstance(url, str):
            check_authority(url)
        return URL(url)
    except ValueError:
        # No cause: what the parser says quotes the authority, with the password in it.
        raise InvalidURL(url, complaint) from None


def _session_timeout(
    timeout: object, read_timeout: object, conn_timeout: float | None
) -> ClientTimeout:
    """The session's timeouts, out of the argument and its deprecated forms."""
    if timeout is not UNSET:
        if read_timeout is not UNSET or conn_timeout is not None:
            raise ValueError(
                "read_timeout and conn_timeout parameters conflict with timeout setting"
            )
        return effective_timeout(timeout, DEFAULT_TIMEOUT)
    result = DEFAULT_TIMEOUT
    if read_timeout is not UNSET:
        warn_deprecated("read_timeout is deprecated, use timeout argument instead")
        result = dataclasses.replace(result, total=cast("float | None", read_timeout))
    if conn_timeout is not None:
        warn_deprecated("conn_timeout is deprecated, use timeout argument instead")
        result = dataclasses.replace(result, connect=conn_timeout)
    return result
