"""BaseConnector: connections for requests, kept for the next ones.

Owns: the public face of it all, how a request waits, and the dials. The pool decides, the keeper
looks after what the pool holds, the kinds of connectors connect; this module carries one to the
other.
"""

from __future__ import annotations

import asyncio
import functools
import math
import select
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from angelia.core.deprecation import warn_loop_argument
from angelia.errors import (
    ConnectionTimeoutError,
    PoolTimeoutError,
    ServerDisconnectedError,
)
from angelia.net.connection import Connection
from angelia.net.connection_key import ConnectionKey
from angelia.net.deadlines import Deadline
from angelia.net.keeper import Keeper, connector_closed
from angelia.net.socket_protocol import WriteBatch
from angelia.net.tls import SSLArgument
from angelia.net.transport import Transport, transport_class
from angelia.net.waiting import Waiter

if TYPE_CHECKING:
    pass

__all__ = (
    "HTTP_SCHEMES",
    "UNSET",
    "BaseConnector",
    "ConnectRequest",
    "ConnectTimeouts",
    "ConnectorStats",
)

# Idle connections are kept this long; many servers close after 5 to 75 seconds.
DEFAULT_KEEPALIVE_TIMEOUT: Final = 15.0

# How long `close()` waits for peers that do not answer a TLS goodbye, before it aborts.
DEFAULT_CLOSE_TIMEOUT: Final = 1.0

# A connection that was idle longer than this is asked, by one system call, whether something came
# that the event loop has not seen yet: that can only be its end, or stray octets.
FRESH: Final = 0.05

# How many turns of the event loop that takes: one until it looks, one until it has read.
READ_TURNS: Final = 3

# `ws` and `wss` are asked for as `http` and `https` are (RFC 6455 §4.1).
HTTP_SCHEMES: Final = frozenset({"http", "https", "ws", "wss"})


class Unset:
    """The type of `UNSET`: an argument that was not given, where None means something."""

    def __repr__(self) -> str:
        return "<unset>"


UNSET: Final = Unset()


class ConnectRequest(Protocol):
    """What a connector needs to know of a request."""

    @property
    def connection_key(self) -> ConnectionKey: ...


class ConnectTimeouts(Protocol):
    """The fields of `ClientTimeout` that a connector obeys; seconds, None or 0 for no limit."""

    @property
    def connect(self) -> float | None: ...
    @property
    def sock_connect(self) -> float | None: ...
    @property
    def pool(self) -> float | None: ...


class _Demand:
    """What a dial needs of the request that began it."""

    __slots__ = ("queued", "request", "timeout", "traces")

    def __init__(self, request: ConnectRequest, traces: Sequence[Any], timeout: Any) -> None:
        self.request = request
        self.traces = traces
        self.timeout = timeout
        # While the traces were told that the request waits in a queue and not that it left it;
        # settled when they know the former.
        self.queued: asyncio.Future[None] | None = None

    async def enter_queue(self) -> None:
        """Tell the traces that the request waits for a slot."""
        queued = self.queued = asyncio.get_running_loop().create_future()
        try:
            for trace in self.traces:
                await trace.send_connection_queued_start()
        finally:
            if not queued.done():
                queued.set_result(None)

    async def leave_queue(self) -> None:
        """Tell the traces that it waits no more, if they think that it does."""
        queued, self.queued = self.queued, None
        if queued is not None:
            await queued
            for trace in self.traces:
                await trace.send_connection_queued_end()


class ConnectorStats:
    """A snapshot of a connector: how many connections are idle, in use, being made; who waits.

    `by_origin` has the same figures for each ``scheme://host:port``.
    """

    __slots__ = ("by_origin", "connecting", "idle", "in_use", "waiting")

    def __init__(
        self,
        idle: int,
        in_use: int,
        connecting: int,
        waiting: int,
        by_origin: Mapping[str, Mapping[str, int]],
    ) -> None:
        self.idle = idle
        self.in_use = in_use
        self.connecting = connecting
        self.waiting = waiting
        self.by_origin = by_origin

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} idle={self.idle} in_use={self.in_use} "
            f"connecting={self.connecting} waiting={self.waiting}>"
        )


def _origin(key: ConnectionKey) -> str:
    host = f"[{key.host}]" if ":" in key.host else key.host
    port = "" if key.port is None else f":{key.port}"
    return f"{'https' if key.is_ssl else 'http'}://{host}{port}"


class BaseConnector:
    """Keeps connections and their limits; subclasses make the connections.

    - `keepalive_timeout`: seconds for which an idle connection is kept, 15 by default, None for
      ever;
    - `force_close`: close each connection after its request; excludes `keepalive_timeout`;
    - `limit`: open connections at most, 100 by default; `limit_per_host`: to the same host, port
      and scheme, no limit by default. 0 and None mean no limit;
    - `enable_cleanup_closed`: abort TLS connections whose peer does not answer the goodbye after
      two seconds. Connectors close within a bound all the same;
    - `timeout_ceil_threshold`: timeouts of more seconds end on a whole second of the loop's clock;
    - `loop`: deprecated; the running loop is used.

    RuntimeError where no event loop runs.
    """

    allowed_schemes: frozenset[str] = HTTP_SCHEMES

    # Set before anything can fail, for __del__.
    _closed = True
    _source_traceback: traceback.StackSummary | None = None

    def __init__(
        self,
        *,
        keepalive_timeout: float | object | None = UNSET,
        force_close: bool = False,
        limit: int | None = 100,
        limit_per_host: int | None = 0,
        enable_cleanup_closed: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
        timeout_ceil_threshold: float = 5,
        ssl_shutdown_timeout: float | object | None = UNSET,
    ) -> None:
        if force_close and keepalive_timeout is not None and keepalive_timeout is not UNSET:
            raise ValueError("keepalive_timeout cannot be set if force_close is True")
        if loop is not None:
            warn_loop_argument(self)
        self._loop = loop if loop is not None else asyncio.get_running_loop()
        self._keepalive_timeout: float | None
        if isinstance(keepalive_timeout, int | float):
            self._keepalive_timeout = float(keepalive_timeout)
        else:
            self._keepalive_timeout = (
                None if keepalive_timeout is None else DEFAULT_KEEPALIVE_TIMEOUT
            )
        self._force_close = force_close
        self._timeout_ceil_threshold = timeout_ceil_threshold
        self._close_timeout = (
            float(ssl_shutdown_timeout)
            if isinstance(ssl_shutdown_timeout, int | float)
            else DEFAULT_CLOSE_TIMEOUT
        )
        self._keeper = Keeper(
            self._run_dial,
            self._loop,
            limit=limit or 0,
            limit_per_host=limit_per_host or 0,
            keepalive=self._keepalive_timeout,
            force_close=force_close,
            cleanup_closed=enable_cleanup_closed,
        )
        self._pool = self._keeper.pool
        self._batch = WriteBatch(self._loop)
        if self._loop.get_debug():
            self._source_traceback = traceback.extract_stack(sys._getframe(1))
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'closed' if self._closed else repr(self._pool)}>"

    def __del__(self) -> None:
        if self._closed or not self._pool.size:
            return
        place = ""
        if self._source_traceback is not None:
            place = f", made at\n{''.join(self._source_traceback.format())}"
        warnings.warn(
            f"Unclosed connector {self!r}{place}", ResourceWarning, source=self, stacklevel=2
        )
        self.abandon()

    def abandon(self) -> None:
        """Close all sockets when nobody is left who could wait for that."""
        if not self._closed:
            self._closed = True
            self._keeper.abandon()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        exc_traceback: TracebackType | None = None,
    ) -> None:
        await self.close()

    def __enter__(self) -> None:
        raise TypeError("use async with: a connector closes asynchronously")

    def __exit__(self, *args: object) -> None:
        """Never reached: `__enter__` raises."""

    # --- facts ---------------------------------------------------------------------------------

    @property
    def ssl(self) -> SSLArgument:
        """The TLS settings of requests that have none of their own."""
        return True

    @property
    def closed(self) -> bool:
        """Whether the connector was closed."""
        return self._closed

    @property
    def force_close(self) -> bool:
        """Whether connections are closed after their request."""
        return self._force_close

    @property
    def limit(self) -> int:
        """Open connections at most; 0 for no limit."""
        return self._pool.limit

    @property
    def limit_per_host(self) -> int:
        """Open connections to one host at most; 0 for no limit."""
        return self._pool.limit_per_host

    def stats(self) -> ConnectorStats:
        """How many connections are idle, in use and being made, and how many requests wait."""
        pool = self._pool
        by_origin: dict[str, dict[str, int]] = {}

        def count(key: ConnectionKey | None, state: str, number: int = 1) -> None:
            if key is not None:
                states = by_origin.setdefault(_origin(key), {"idle": 0, "in_use": 0, "waiting": 0})
                states[state] += number

        for transport in pool.idle:
            count(transport.key, "idle")
        for transport in pool.active:
            count(transport.key, "in_use")
        for key, length in pool.queue_lengths().items():
            count(key, "waiting", length)
        return ConnectorStats(
            len(pool.idle),
            len(pool.active),
            len(pool.dials),
            pool.waiting,
            MappingProxyType(by_origin),
        )

    # --- connections ---------------------------------------------------------------------------

    async def connect(
        self,
        req: ConnectRequest,
        traces: Sequence[Any] = (),
        timeout: ConnectTimeouts | None = None,
    ) -> Connection:
        """A connection for `req`: an idle one, or a new one, or the wait for either.

        Safe to cancel: the connection then goes to someone else.
        """
        transport = await self.acquire(req, traces, timeout)
        return Connection(self, req.connection_key, transport)

    def acquire_now(self, req: ConnectRequest, traces: Sequence[Any]) -> Transport | None:
        """An idle connection that can be used at once; None where anything has to be awaited."""
        if self._closed or traces:
            return None
        key = req.connection_key
        now = self._loop.time()
        transport = self._pool.take(key, now)
        if transport is not None and now - transport.idle_since > FRESH and _has_news(transport):
            # `acquire` lets the event loop see what came.
            transport.idle_since = now - FRESH * 2
            self._pool.put_back(transport)
            return None
        return transport

    async def acquire(
        self,
        req: ConnectRequest,
        traces: Sequence[Any] = (),
        timeout: ConnectTimeouts | None = None,
        deadline: Deadline | None = None,
    ) -> Transport:
        """As `connect`, but the bare transport, which `release` gives back."""
        key = req.connection_key
        while True:
            if self._closed:
                raise connector_closed()
            now = self._loop.time()
            transport = self._pool.take(key, now)
            new = False
            if transport is None:
                transport = await self._wait(key, _Demand(req, traces, timeout), deadline)
                new = not transport.served
            elif now - transport.idle_since > FRESH:
                await self._let_loop_read(transport)
            if not new and transport.available_streams:
                await self._tell_reused(transport, traces)
            if transport.available_streams:
                return transport
            # It was lost before it could be used.
            self._keeper.release(transport, reuse=False)
            if new and not self._closed:
                raise ServerDisconnectedError

    def take_back(self, transport: Transport, *, reuse: bool) -> None:
        """A connection that was lent by `connect` is not needed any more."""
        self._keeper.release(transport, reuse=reuse)

    async def _let_loop_read(self, transport: Transport) -> None:
        """Let the event loop see what came while nobody looked, before anything is sent."""
        try:
            for _ in range(READ_TURNS):
                if not transport.available_streams or not _has_news(transport):
                    return
                await asyncio.sleep(0)
        except BaseException:
            self._keeper.release(transport)
            raise
        self._keeper.release(transport, reuse=False)

    async def _tell_reused(self, transport: Transport, traces: Sequence[Any]) -> None:
        """Run trace callbacks; one that fails costs the request, not the connection."""
        try:
            for trace in traces:
                await trace.send_connection_reuseconn()
        except BaseException:
            self._keeper.release(transport)
            raise

    async def _wait(
        self, key: ConnectionKey, demand: _Demand, deadline: Deadline | None
    ) -> Transport:
        if deadline is not None:
            deadline.check()
        future: asyncio.Future[Transport] = self._loop.create_future()
        waiter = self._pool.wait(key, future, demand)
        timers = self._start_timers(waiter, demand.timeout)
        if deadline is not None:
            deadline.target = waiter
        try:
            if waiter.blocked and demand.traces:
                await demand.enter_queue()
            transport = await future
            await demand.leave_queue()
        except BaseException:
            # Nothing may be granted to one who does not look.
            future.cancel()
            self._pool.leave(waiter)
            # A connection may have been granted in the same turn in which the wait was ended.
            if not future.cancelled() and future.exception() is None:
                self._keeper.release(future.result())
            raise
        finally:
            for timer in timers:
                timer.cancel()
            if deadline is not None:
                deadline.target = None
            # An error holds this frame, and must not be held by it.
            del future, waiter
        return transport

    def _moment_in(self, seconds: float) -> float:
        """The moment on the loop's clock when a timeout ends; the last second is rounded up."""
        moment = self._loop.time() + seconds
        # Timers that go off together wake the process once.
        return math.ceil(moment) if seconds > self._timeout_ceil_threshold else moment

    def _start_timers(
        self, waiter: Waiter, timeout: ConnectTimeouts | None
    ) -> list[asyncio.TimerHandle]:
        timers: list[asyncio.TimerHandle] = []
        if timeout is None:
            return timers
        host = _origin(waiter.key)
        if timeout.connect:
            error = ConnectionTimeoutError(
                f"Connection timeout to host {host}: none within {timeout.connect:g} seconds"
            )
            timers.append(self._loop.call_at(self._moment_in(timeout.connect), waiter.abort, error))
        if timeout.pool and waiter.blocked:
            timers.append(
                self._loop.call_at(
                    self._moment_in(timeout.pool), _abort_blocked, waiter, host, timeout.pool
                )
            )
        return timers

    # --- dialling ------------------------------------------------------------------------------

    async def _run_dial(self, waiter: Waiter) -> None:
        """Make a connection for `waiter`, or whoever waits then."""
        traces_wanted = not waiter.future.done()
        try:
            transport = await self._dial(waiter.key, waiter.request, tell=traces_wanted)
        except BaseException as error:
            # The waiter gets it; it must not be raised here too, where nobody looks.
            self._pool.dial_failed(waiter, _delivered(error))
            if isinstance(error, asyncio.CancelledError | KeyboardInterrupt | SystemExit):
                raise
        else:
            self._pool.dialled(waiter, transport, self._loop.time())
        finally:
            # As in `_wait`.
            del waiter

    async def _dial(self, key: ConnectionKey, demand: _Demand, *, tell: bool) -> Transport:
        traces = demand.traces if tell else ()
        if tell:
            await demand.leave_queue()
        for trace in traces:
            await trace.send_connection_create_start()
        transport = await self._create_connection(demand.request, traces, demand.timeout)
        transport.key = key
        transport.on_change = self._keeper.changed
        try:
            for trace in traces:
                await trace.send_connection_create_end()
        except BaseException:
            self._keeper.close_transport(transport, abort=True)
            raise
        return transport

    async def _create_connection(
        self, req: ConnectRequest, traces: Sequence[Any], timeout: Any
    ) -> Transport:
        """Make a connection; to be overridden."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to connect")

    def _transport_factory(self, key: ConnectionKey) -> Callable[[], Transport]:
        kind = transport_class(self._loop, is_tls=key.is_ssl)
        return functools.partial(kind, self._loop, self._batch)

    # --- the end -------------------------------------------------------------------------------

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close all connections and wait until they are closed, which takes a second at most.

        Requests that wait for a connection, or use one, get `ClientConnectionError`. With
        `abort_ssl` TLS connections are not even said goodbye to. Idempotent; when cancelled, the
        sockets still close.
        """
        if self._closed:
            return
        self._closed = True
        dials = self._keeper.begin_close(abort_ssl=abort_ssl)
        try:
            if dials:
                await asyncio.wait(dials, timeout=self._close_timeout)
            await self._keeper.wait_closed(self._close_timeout)
        finally:
            await self._close_resources()

    async def _close_resources(self) -> None:
        """Close what a kind of connector owns besides connections."""


def _abort_blocked(waiter: Waiter, host: str, seconds: float) -> None:
    if waiter.blocked:
        waiter.abort(PoolTimeoutError(f"no free connection to {host} within {seconds:g} seconds"))


def _delivered(error: BaseException) -> BaseException:
    """What a waiter gets for the error of a dial."""
    if isinstance(error, asyncio.CancelledError):
        return connector_closed()
    return error


def _has_news(transport: Transport) -> bool:
    """Whether the socket of an idle connection is readable."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return True
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([sock.fileno()], [], [], 0)[0])
