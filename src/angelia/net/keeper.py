"""Keeper: what happens to a connector's connections when nobody asks for one.

Owns: the pool's life in time. Connections that are given back, end, expire, or are on their way to
being closed. Knows of the connector only how it dials, and holds that weakly: transports and timers
hold the keeper, and a connector that its user dropped must go away and say so.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Final

from angelia.errors import ClientConnectionError
from angelia.net.pool import Pool
from angelia.net.transport import Transport
from angelia.net.waiting import Waiter

__all__ = ("Keeper", "connector_closed")

# With `enable_cleanup_closed`: how long a peer may take to answer a TLS goodbye.
CLEANUP_SECONDS: Final = 2.0

# An aborted connection has nobody to wait for: it is gone in a few turns of the event loop.
ABORT_SECONDS: Final = 1.0


def connector_closed() -> ClientConnectionError:
    """What those get who wait for a connection, or use one, when the connector is closed."""
    return ClientConnectionError("Connector is closed")


class Keeper:
    """Keeps the connections of one connector, for `keepalive` seconds or, with None, for ever.

    `dial` is the connector's method that makes a connection for a waiter.
    """

    __slots__ = (
        "_cleanup_closed",
        "_closing",
        "_dial",
        "_expiry",
        "_force_close",
        "_keepalive",
        "_loop",
        "closed",
        "pool",
    )

    def __init__(
        self,
        dial: Callable[[Waiter], Coroutine[Any, Any, None]],
        loop: asyncio.AbstractEventLoop,
        *,
        limit: int,
        limit_per_host: int,
        keepalive: float | None,
        force_close: bool,
        cleanup_closed: bool,
    ) -> None:
        self._dial = weakref.WeakMethod(dial)
        self._loop = loop
        self._keepalive = keepalive
        self._force_close = force_close
        self._cleanup_closed = cleanup_closed
        # Connections that are closing, so that `close` can wait for them.
        self._closing: set[Transport] = set()
        self._expiry: asyncio.TimerHandle | None = None
        self.closed = False
        self.pool = Pool(
            limit=limit,
            limit_per_host=limit_per_host,
            start_dial=self._start_dial,
            close=self.close_transport,
        )

    def _start_dial(self, waiter: Waiter) -> asyncio.Task[None]:
        dial = self._dial()
        if dial is None:
            raise RuntimeError("whoever waits for a connection holds its connector")
        return self._loop.create_task(dial(waiter))

    # --- connections ---------------------------------------------------------------------------

    def changed(self, transport: Transport) -> None:
        """The transport's one callback: an exchange has ended, or the connection is lost."""
        if transport.socket_transport is None:
            self._closing.discard(transport)
            self.pool.lost(transport)
        elif not transport.exchanges:
            self.release(transport)

    def release(self, transport: Transport, *, reuse: bool = True) -> None:
        """A connection is not needed any more."""
        if self.closed:
            self.close_transport(transport)
            return
        now = self._loop.time()
        self.pool.release(transport, now, reuse=reuse and not self._force_close)
        if self._expiry is None and self._keepalive is not None:
            self._expiry = self._loop.call_at(now + self._keepalive, self._expire)

    def close_transport(self, transport: Transport, *, abort: bool = False) -> None:
        """Close a connection; with `abort` without a goodbye."""
        if transport.socket_transport is None:
            return
        self._closing.add(transport)
        if abort:
            transport.abort()
            return
        transport.close()
        if self._cleanup_closed and transport.get_extra_info("sslcontext") is not None:
            self._loop.call_later(CLEANUP_SECONDS, transport.abort)

    def _expire(self) -> None:
        self._expiry = None
        if self._keepalive is None:
            return
        when = self.pool.expire(self._loop.time(), self._keepalive)
        if when is not None:
            self._expiry = self._loop.call_at(when, self._expire)

    # --- the end -------------------------------------------------------------------------------

    def begin_close(self, *, abort_ssl: bool) -> tuple[asyncio.Task[None], ...]:
        """End all that goes on; the dials that are still to be waited for."""
        self.closed = True
        self._stop_expiry()
        dials = self.pool.dials
        # Those that are being closed already have said a goodbye that may never be answered.
        for transport in [*self._closing, *self.pool.close(connector_closed)]:
            for exchange in tuple(transport.exchanges.values()):
                exchange.close(connector_closed())
            is_tls = transport.get_extra_info("sslcontext") is not None
            self.close_transport(transport, abort=abort_ssl and is_tls)
        return dials

    async def wait_closed(self, seconds: float) -> None:
        """Wait until all are closed; those that are not within `seconds` are aborted."""
        try:
            await self._wait_closing(seconds)
        finally:
            for transport in self._closing:
                transport.abort()
        await self._wait_closing(ABORT_SECONDS)

    async def _wait_closing(self, seconds: float) -> None:
        waits = [asyncio.ensure_future(each.wait_closed()) for each in self._closing]
        if not waits:
            return
        try:
            await asyncio.wait(waits, timeout=seconds)
        finally:
            for wait in waits:
                wait.cancel()

    def abandon(self) -> None:
        """Abort all connections when nobody is left who could wait for that; from any thread."""
        self.closed = True
        if self._loop.is_closed():
            # Its sockets close when they are collected; nothing else can be done any more.
            return
        for transport in [*self.pool.close(connector_closed), *self._closing]:
            self._loop.call_soon_threadsafe(transport.abort)
        self._loop.call_soon_threadsafe(self._stop_expiry)

    def _stop_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
