"""Request tracing: signals for each step of a request's life.

Owns: `TraceConfig`, the values its signals carry, and `Trace`, which sends them for one request. A
request without trace configurations never comes here.

The order in a request's life::

    request_start
      connection_queued_start, connection_queued_end     only if the limits are reached
      connection_create_start                            only for a new connection
        dns_cache_hit | dns_cache_miss, dns_resolvehost_start, dns_resolvehost_end
      connection_create_end
      connection_reuseconn                               only for an idle connection
      request_headers_sent, request_chunk_sent ...
      request_redirect                                   and from the connection on again
    request_end  |  request_exception
    response_chunk_received ...                          as the caller reads the content

A request whose start was told ends in one of `request_end` and `request_exception`, whatever
happens: failures of callbacks and cancellation are exceptions like others.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from multidict import CIMultiDict
from yarl import URL

from angelia.redaction import shown_tuple

if TYPE_CHECKING:
    from aiosignal import Signal

    from angelia.client.response import ClientResponse
    from angelia.client.session import ClientSession

__all__ = (
    "Trace",
    "TraceConfig",
    "TraceConnectionCreateEndParams",
    "TraceConnectionCreateStartParams",
    "TraceConnectionQueuedEndParams",
    "TraceConnectionQueuedStartParams",
    "TraceConnectionReuseconnParams",
    "TraceDnsCacheHitParams",
    "TraceDnsCacheMissParams",
    "TraceDnsResolveHostEndParams",
    "TraceDnsResolveHostStartParams",
    "TraceRequestChunkSentParams",
    "TraceRequestEndParams",
    "TraceRequestExceptionParams",
    "TraceRequestHeadersSentParams",
    "TraceRequestRedirectParams",
    "TraceRequestStartParams",
    "TraceResponseChunkReceivedParams",
)


# Tuples with names: equal by value, unchangeable, and quick to define; a dataclass for each of the
# sixteen would cost every program that imports us four milliseconds.


class _RequestParams(NamedTuple):
    method: str
    url: URL
    headers: CIMultiDict[str]

    def __repr__(self) -> str:
        return shown_tuple(self, self._fields)


class _ChunkParams(NamedTuple):
    method: str
    url: URL
    chunk: bytes

    def __repr__(self) -> str:
        return shown_tuple(self, self._fields)


class _ResponseParams(NamedTuple):
    method: str
    url: URL
    headers: CIMultiDict[str]
    response: ClientResponse

    def __repr__(self) -> str:
        return shown_tuple(self, self._fields)


class _ExceptionParams(NamedTuple):
    method: str
    url: URL
    headers: CIMultiDict[str]
    exception: BaseException

    def __repr__(self) -> str:
        return shown_tuple(self, self._fields)


class _HostParams(NamedTuple):
    host: str


class _NoParams(NamedTuple):
    pass


class TraceRequestStartParams(_RequestParams):
    """A request begins."""

    __slots__ = ()


class TraceRequestChunkSentParams(_ChunkParams):
    """A piece of the request's body was sent."""

    __slots__ = ()


class TraceResponseChunkReceivedParams(_ChunkParams):
    """A piece of the response's content was read: all of it by `read`, else what a method of
    `content` is about to return. What `read_nowait` takes is not told, nor redirects' content.
    """

    __slots__ = ()


class TraceRequestEndParams(_ResponseParams):
    """The response's head has come, and no redirect is to be followed."""

    __slots__ = ()


class TraceRequestExceptionParams(_ExceptionParams):
    """The request has failed."""

    __slots__ = ()


class TraceRequestRedirectParams(_ResponseParams):
    """A redirect is about to be followed."""

    __slots__ = ()


class TraceRequestHeadersSentParams(_RequestParams):
    """The request's head was sent."""

    __slots__ = ()


class TraceConnectionQueuedStartParams(_NoParams):
    """The request begins to wait for a free connection."""

    __slots__ = ()


class TraceConnectionQueuedEndParams(_NoParams):
    """The wait for a free connection is over."""

    __slots__ = ()


class TraceConnectionCreateStartParams(_NoParams):
    """A connection is about to be made."""

    __slots__ = ()


class TraceConnectionCreateEndParams(_NoParams):
    """A connection was made."""

    __slots__ = ()


class TraceConnectionReuseconnParams(_NoParams):
    """An idle connection is used again."""

    __slots__ = ()


class TraceDnsResolveHostStartParams(_HostParams):
    """A host name is about to be resolved."""

    __slots__ = ()


class TraceDnsResolveHostEndParams(_HostParams):
    """A host name was resolved."""

    __slots__ = ()


class TraceDnsCacheHitParams(_HostParams):
    """A host's addresses were known."""

    __slots__ = ()


class TraceDnsCacheMissParams(_HostParams):
    """A host's addresses were not known."""

    __slots__ = ()


# Every signal with the class of its parameters.
_SIGNALS: dict[str, type[Any]] = {
    "on_request_start": TraceRequestStartParams,
    "on_request_chunk_sent": TraceRequestChunkSentParams,
    "on_response_chunk_received": TraceResponseChunkReceivedParams,
    "on_request_end": TraceRequestEndParams,
    "on_request_exception": TraceRequestExceptionParams,
    "on_request_redirect": TraceRequestRedirectParams,
    "on_connection_queued_start": TraceConnectionQueuedStartParams,
    "on_connection_queued_end": TraceConnectionQueuedEndParams,
    "on_connection_create_start": TraceConnectionCreateStartParams,
    "on_connection_create_end": TraceConnectionCreateEndParams,
    "on_connection_reuseconn": TraceConnectionReuseconnParams,
    "on_dns_resolvehost_start": TraceDnsResolveHostStartParams,
    "on_dns_resolvehost_end": TraceDnsResolveHostEndParams,
    "on_dns_cache_hit": TraceDnsCacheHitParams,
    "on_dns_cache_miss": TraceDnsCacheMissParams,
    "on_request_headers_sent": TraceRequestHeadersSentParams,
}


def _signal(name: str) -> property:
    def get(self: TraceConfig) -> Signal[ClientSession, Any, Any]:
        return self._signals[name]

    parameters = _SIGNALS[name].__name__
    get.__doc__ = f"Signal ``async def (session, trace_config_ctx, params: {parameters})``."
    return property(get)


class TraceConfig:
    """A set of signals; give it to `ClientSession` as one of `trace_configs`.

    Every signal takes coroutine functions ``async def (session, trace_config_ctx, params)``, where
    `params` is of the signal's parameter class. `trace_config_ctx_factory` makes the context object
    of each request, from the keyword argument `trace_request_ctx`; the default is a
    `SimpleNamespace`.

    A configuration is frozen when a session takes it. A callback that raises fails its request; one
    of `on_response_chunk_received` fails the call that reads, and what it was told of is read again
    by the next. Callbacks of `on_request_start` may change the fields that they are shown.
    """

    def __init__(self, trace_config_ctx_factory: Callable[..., Any] = SimpleNamespace) -> None:
        # Programs that trace nothing do not wait for the import.
        from aiosignal import Signal

        self._factory = trace_config_ctx_factory
        self._signals: dict[str, Signal[ClientSession, Any, Any]] = {
            name: Signal(self) for name in _SIGNALS
        }

    on_request_start = _signal("on_request_start")
    on_request_chunk_sent = _signal("on_request_chunk_sent")
    on_response_chunk_received = _signal("on_response_chunk_received")
    on_request_end = _signal("on_request_end")
    on_request_exception = _signal("on_request_exception")
    on_request_redirect = _signal("on_request_redirect")
    on_connection_queued_start = _signal("on_connection_queued_start")
    on_connection_queued_end = _signal("on_connection_queued_end")
    on_connection_create_start = _signal("on_connection_create_start")
    on_connection_create_end = _signal("on_connection_create_end")
    on_connection_reuseconn = _signal("on_connection_reuseconn")
    on_dns_resolvehost_start = _signal("on_dns_resolvehost_start")
    on_dns_resolvehost_end = _signal("on_dns_resolvehost_end")
    on_dns_cache_hit = _signal("on_dns_cache_hit")
    on_dns_cache_miss = _signal("on_dns_cache_miss")
    on_request_headers_sent = _signal("on_request_headers_sent")

    def trace_config_ctx(self, trace_request_ctx: Any = None) -> Any:
        """The context object of one request."""
        return self._factory(trace_request_ctx=trace_request_ctx)

    def freeze(self) -> None:
        """From now on no callback can be added or removed. Idempotent."""
        for signal in self._signals.values():
            if not signal.frozen:
                signal.freeze()


class Trace:
    """Sends the signals of one configuration for one request.

    What has started ends once: in `send_request_end` or `send_request_exception`, whichever comes
    first, also where the signal itself fails. The other is then not sent.
    """

    __slots__ = ("_config", "_context", "_is_open", "_session")

    def __init__(self, session: ClientSession, config: TraceConfig, context: Any) -> None:
        self._session = session
        self._config = config
        self._context = context
        # Whether the request has started and not ended.
        self._is_open = False

    async def _send(self, name: str, *arguments: Any) -> None:
        signal = self._config._signals[name]
        if signal:
            await signal.send(self._session, self._context, _SIGNALS[name](*arguments))

    async def send_request_start(self, method: str, url: URL, headers: CIMultiDict[str]) -> None:
        self._is_open = True
        await self._send("on_request_start", method, url, headers)

    async def send_request_chunk_sent(self, method: str, url: URL, chunk: bytes) -> None:
        await self._send("on_request_chunk_sent", method, url, chunk)

    async def send_response_chunk_received(self, method: str, url: URL, chunk: bytes) -> None:
        await self._send("on_response_chunk_received", method, url, chunk)

    async def send_request_end(
        self, method: str, url: URL, headers: CIMultiDict[str], response: ClientResponse
    ) -> None:
        if self._is_open:
            self._is_open = False
            await self._send("on_request_end", method, url, headers, response)

    async def send_request_exception(
        self, method: str, url: URL, headers: CIMultiDict[str], exception: BaseException
    ) -> None:
        if self._is_open:
            self._is_open = False
            await self._send("on_request_exception", method, url, headers, exception)

    async def send_request_redirect(
        self, method: str, url: URL, headers: CIMultiDict[str], response: ClientResponse
    ) -> None:
        await self._send("on_request_redirect", method, url, headers, response)

    async def send_request_headers(self, method: str, url: URL, headers: CIMultiDict[str]) -> None:
        await self._send("on_request_headers_sent", method, url, headers)

    async def send_connection_queued_start(self) -> None:
        await self._send("on_connection_queued_start")

    async def send_connection_queued_end(self) -> None:
        await self._send("on_connection_queued_end")

    async def send_connection_create_start(self) -> None:
        await self._send("on_connection_create_start")

    async def send_connection_create_end(self) -> None:
        await self._send("on_connection_create_end")

    async def send_connection_reuseconn(self) -> None:
        await self._send("on_connection_reuseconn")

    async def send_dns_resolvehost_start(self, host: str) -> None:
        await self._send("on_dns_resolvehost_start", host)

    async def send_dns_resolvehost_end(self, host: str) -> None:
        await self._send("on_dns_resolvehost_end", host)

    async def send_dns_cache_hit(self, host: str) -> None:
        await self._send("on_dns_cache_hit", host)

    async def send_dns_cache_miss(self, host: str) -> None:
        await self._send("on_dns_cache_miss", host)
