"""The kinds of connectors: connections over TCP, Unix sockets and named pipes.

Owns: the parameters of each kind, and how it makes a connection. What becomes of connections is the
same for all, and the business of `BaseConnector`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from angelia.net.connector import HTTP_SCHEMES, UNSET, BaseConnector, ConnectRequest
from angelia.net.dial import Dialer, SocketFactoryType, dial_pipe, dial_unix
from angelia.net.resolver import AbstractResolver, ResolveResult
from angelia.net.timings import DialTimings
from angelia.net.tls import SSLArgument, check_ssl_argument, merge_ssl_arguments
from angelia.net.transport import Transport

if TYPE_CHECKING:
    import ssl as _ssl

__all__ = ("NamedPipeConnector", "TCPConnector", "UnixConnector")


class TCPConnector(BaseConnector):
    """Connections over TCP, plain or with TLS, direct or through proxies.

    Besides the parameters of `BaseConnector`:

    - `ssl`: True for default verification, False for none, an `ssl.SSLContext` or a `Fingerprint`;
      `verify_ssl`, `ssl_context` and `fingerprint` are its deprecated forms;
    - `use_dns_cache`, `ttl_dns_cache` (seconds, 10 by default, None for ever),
      `dns_cache_max_size`;
    - `resolver`: an `AbstractResolver`; one that is given is not closed by the connector;
    - `family`: `socket.AF_INET` or `AF_INET6` for only one of them;
    - `local_addr`: ``(host, port)`` to connect from;
    - `happy_eyeballs_delay`: seconds between attempts at several addresses (RFC 8305), None to try
      them one after the other; `interleave`: the First Address Family Count;
    - `socket_factory`: makes the socket from an address tuple as `socket.getaddrinfo` gives it;
    - `ssl_shutdown_timeout`: seconds that `close` waits for TLS goodbyes;
    - `proxy_ssl`: as `ssl`, for proxies that are reached with TLS; ours.
    """

    allowed_schemes = HTTP_SCHEMES | {"tcp"}

    def __init__(
        self,
        *,
        verify_ssl: bool = True,
        fingerprint: bytes | None = None,
        use_dns_cache: bool = True,
        ttl_dns_cache: int | None = 10,
        dns_cache_max_size: int = 1000,
        family: int = 0,
        ssl_context: _ssl.SSLContext | None = None,
        ssl: SSLArgument | None = True,
        local_addr: tuple[str, int] | None = None,
        resolver: AbstractResolver | None = None,
        keepalive_timeout: float | object | None = UNSET,
        force_close: bool = False,
        limit: int | None = 100,
        limit_per_host: int | None = 0,
        enable_cleanup_closed: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
        timeout_ceil_threshold: float = 5,
        happy_eyeballs_delay: float | None = 0.25,
        interleave: int | None = None,
        socket_factory: SocketFactoryType | None = None,
        ssl_shutdown_timeout: float | object | None = UNSET,
        proxy_ssl: SSLArgument | None = True,
    ) -> None:
        super().__init__(
            keepalive_timeout=keepalive_timeout,
            force_close=force_close,
            limit=limit,
            limit_per_host=limit_per_host,
            enable_cleanup_closed=enable_cleanup_closed,
            loop=loop,
            timeout_ceil_threshold=timeout_ceil_threshold,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        self._ssl = merge_ssl_arguments(
            ssl, None if verify_ssl else False, ssl_context, fingerprint
        )
        self._dialer = Dialer(
            resolver=resolver,
            family=socket.AddressFamily(family),
            local_addr=local_addr,
            socket_factory=socket_factory,
            happy_eyeballs_delay=happy_eyeballs_delay,
            interleave=interleave,
            use_dns_cache=use_dns_cache,
            ttl_dns_cache=ttl_dns_cache,
            dns_cache_max_size=dns_cache_max_size,
            ssl_shutdown_timeout=self._close_timeout,
            proxy_ssl=check_ssl_argument(proxy_ssl),
        )

    @property
    def ssl(self) -> SSLArgument:
        """The TLS settings of requests that have none of their own."""
        return self._ssl

    @property
    def family(self) -> int:
        """The family of sockets, `socket.AF_UNSPEC` for both."""
        return self._dialer.family

    @property
    def use_dns_cache(self) -> bool:
        """Whether looked-up addresses are kept."""
        return self._dialer.use_dns_cache

    dns_cache = use_dns_cache

    @property
    def cached_hosts(self) -> Mapping[tuple[str, int], Sequence[ResolveResult]]:
        """The kept addresses by host and port."""
        return MappingProxyType(self._dialer.cached_hosts)

    def clear_dns_cache(self, host: str | None = None, port: int | None = None) -> None:
        """Forget the addresses of one host and port, or all; ValueError for only one of the two."""
        if (host is None) != (port is None):
            raise ValueError("either both host and port or none of them are allowed")
        self._dialer.clear_dns_cache(host, port)

    async def _create_connection(
        self, req: ConnectRequest, traces: Sequence[Any], timeout: Any
    ) -> Transport:
        timings = DialTimings()
        sock_connect = None if timeout is None else timeout.sock_connect or None
        _, protocol = await self._dialer.dial(
            req.connection_key,
            self._transport_factory(req.connection_key),
            sock_connect=sock_connect,
            traces=traces,
            timings=timings,
        )
        protocol.timings = timings
        return protocol

    async def _close_resources(self) -> None:
        await self._dialer.close()


class _PathConnector(BaseConnector):
    """Connections to what has a path on this machine, whatever host a URL names."""

    def __init__(
        self,
        path: str,
        force_close: bool = False,
        keepalive_timeout: float | object | None = UNSET,
        limit: int | None = 100,
        limit_per_host: int | None = 0,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(
            force_close=force_close,
            keepalive_timeout=keepalive_timeout,
            limit=limit,
            limit_per_host=limit_per_host,
            loop=loop,
        )
        self._check_loop()
        self._path = path

    def _check_loop(self) -> None:
        """RuntimeError where the event loop cannot connect to such a path."""

    @property
    def path(self) -> str:
        """What is connected to."""
        return self._path


class UnixConnector(_PathConnector):
    """Connections over the Unix socket at `path`, whatever host a URL names."""

    allowed_schemes = HTTP_SCHEMES | {"unix"}

    async def _create_connection(
        self, req: ConnectRequest, traces: Sequence[Any], timeout: Any
    ) -> Transport:
        timings = DialTimings()
        _, protocol = await dial_unix(
            self._path,
            req.connection_key,
            self._transport_factory(req.connection_key),
            sock_connect=None if timeout is None else timeout.sock_connect or None,
            timings=timings,
        )
        protocol.timings = timings
        return protocol


class NamedPipeConnector(_PathConnector):
    """Connections over a named pipe of Windows; needs its proactor event loop."""

    allowed_schemes = HTTP_SCHEMES | {"npipe"}

    def _check_loop(self) -> None:
        if not hasattr(self._loop, "create_pipe_connection"):
            raise RuntimeError("Named pipes need the proactor event loop of Windows")

    async def _create_connection(
        self, req: ConnectRequest, traces: Sequence[Any], timeout: Any
    ) -> Transport:
        _, protocol = await dial_pipe(
            self._path,
            req.connection_key,
            self._transport_factory(req.connection_key),
            sock_connect=None if timeout is None else timeout.sock_connect or None,
        )
        return protocol
