"""From a connection key to a connected transport: names, addresses, proxies, TLS.

Owns the order of these steps, what each failure is called, and that no socket outlives a failure or
a cancellation. It keeps no connection and knows nothing of pools, requests or HTTP messages.

Each step that waits for a peer has `sock_connect` seconds of its own: an attempt at one address, a
TLS handshake, a proxy's answer. Name lookups are bounded by their resolver.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from angelia.errors import (
    ClientConnectionError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientError,
    ClientProxyConnectionError,
    InvalidUrlClientError,
    UnixClientConnectorError,
)
from angelia.net.addresses import (
    AddrInfoType,
    ResolveResult,
    SocketFactoryType,
    address_info,
    check_host,
    interleave,
    literal_result,
)
from angelia.net.attempts import SocketMaker, connect_socket
from angelia.net.connection_key import ConnectionKey
from angelia.net.handshakes import (
    TimeLimit,
    connector_errors,
    hand_over,
    measured,
    open_tls_transport,
    open_transport,
    start_tls,
)
from angelia.net.happy_eyeballs import join_errors
from angelia.net.lookup import DNSTrace, HostLookup
from angelia.net.tls import SSLArgument, certificate_name, context_for

if TYPE_CHECKING:
    from ssl import SSLContext

    from angelia.net.resolver import AbstractResolver
    from angelia.net.socks import SocksClient
    from angelia.net.timings import DialTimings

__all__ = ("AddrInfoType", "Dialer", "SocketFactoryType", "dial_pipe", "dial_unix")

P = TypeVar("P", bound=asyncio.BaseProtocol)


class _Terms(NamedTuple):
    """The conditions of one dial: seconds for each step, who watches, and who measures."""

    sock_connect: float | None
    traces: Sequence[DNSTrace] = ()
    timings: DialTimings | None = None


DEFAULT_PORTS = {"http": 80, "https": 443}
DEFAULT_SOCKS_PORT = 1080

# Where we resolve the target's name for a SOCKS proxy: how many of its addresses the proxy is asked
# for, one after the other. Four are two of each family; each costs a connection to the proxy.
MAX_SOCKS_TARGETS = 4


class _TLS:
    """What a handshake needs: the context, the certificate's name, the limit of the goodbye."""

    __slots__ = ("context", "name", "shutdown_timeout")

    def __init__(self, context: SSLContext, name: str, shutdown_timeout: float | None) -> None:
        self.context = context
        self.name = name
        self.shutdown_timeout = shutdown_timeout


async def _tls_for(key: ConnectionKey, shutdown_timeout: float | None) -> _TLS | None:
    """The TLS settings of a connection to the key's host; None for a plain connection."""
    if not key.is_ssl:
        return None
    name = certificate_name(key.host, key.server_hostname)
    return _TLS(await context_for(key.ssl), name, shutdown_timeout)


async def _open(
    key: ConnectionKey,
    sock: socket.socket,
    protocol_factory: Callable[[], P],
    tls: _TLS | None,
    terms: _Terms,
    error_class: type[ClientConnectorError] = ClientConnectorError,
) -> tuple[asyncio.Transport, P]:
    """The transport of a connected socket; failure and cancellation close the socket."""
    with connector_errors(key, error_class):
        if tls is None:
            return await open_transport(sock, protocol_factory)
        with measured(terms.timings, "tls"):
            async with TimeLimit(key, terms.sock_connect):
                transport = await open_tls_transport(
                    sock, tls.context, tls.name, shutdown_timeout=tls.shutdown_timeout
                )
        return hand_over(key, transport, protocol_factory)


def _port(key: ConnectionKey) -> int:
    if key.port is not None:
        return key.port
    return DEFAULT_PORTS["https" if key.is_ssl else "http"]


class Dialer:
    """Makes connections over TCP, direct or through a proxy.

    - `resolver`: asked for addresses; ours if None, and only then closed by `close`;
    - `family`: `socket.AF_INET` or `socket.AF_INET6` for only one of them;
    - `local_addr`: host and port to connect from, in every attempt of that address's family;
    - `socket_factory`: makes the socket of an attempt, given the address as from
      `socket.getaddrinfo`;
    - `happy_eyeballs_delay`: seconds between the starts of two attempts (RFC 8305 §5); None makes
      each wait for the failure of the one before;
    - `interleave`: the First Address Family Count (RFC 8305 §4), 0 leaves the addresses in the
      resolver's order; None means 1 with Happy Eyeballs and 0 without;
    - `use_dns_cache`, `ttl_dns_cache` (seconds, None for ever, 0 not at all), `dns_cache_max_size`;
    - `ssl_shutdown_timeout`: seconds that a closed TLS connection waits for its peer's goodbye,
      before it is aborted;
    - `proxy_ssl`: how an https proxy is verified; the target's settings are not the proxy's.
    """

    def __init__(
        self,
        *,
        resolver: AbstractResolver | None = None,
        family: socket.AddressFamily = socket.AF_UNSPEC,
        local_addr: tuple[str, int] | None = None,
        socket_factory: SocketFactoryType | None = None,
        happy_eyeballs_delay: float | None = 0.25,
        interleave: int | None = None,
        use_dns_cache: bool = True,
        ttl_dns_cache: float | None = 10,
        dns_cache_max_size: int = 1000,
        ssl_shutdown_timeout: float | None = None,
        proxy_ssl: SSLArgument = True,
    ) -> None:
        self._lookup = HostLookup(
            resolver,
            family=family,
            use_cache=use_dns_cache,
            ttl=ttl_dns_cache,
            max_size=dns_cache_max_size,
        )
        self._family = family
        self._sockets = SocketMaker(local_addr, socket_factory, happy_eyeballs_delay)
        if interleave is None:
            interleave = 0 if happy_eyeballs_delay is None else 1
        self._interleave = interleave
        self._ssl_shutdown_timeout = ssl_shutdown_timeout
        self._proxy_ssl = proxy_ssl

    @property
    def family(self) -> socket.AddressFamily:
        """The family of the connections, `socket.AF_UNSPEC` for both."""
        return self._family

    @property
    def use_dns_cache(self) -> bool:
        """Reports whether looked-up addresses are kept."""
        return self._lookup.uses_cache

    @property
    def cached_hosts(self) -> Mapping[tuple[str, int], list[ResolveResult]]:
        """The kept addresses by host and port, as they are now."""
        return self._lookup.cached_hosts

    def clear_dns_cache(self, host: str | None = None, port: int | None = None) -> None:
        """Forget the addresses of one host and port, or all; `ValueError` for one of the two."""
        self._lookup.clear(host, port)

    async def close(self) -> None:
        """End the lookups under way and close the resolver, unless it was given to us."""
        await self._lookup.close()

    async def dial(
        self,
        key: ConnectionKey,
        protocol_factory: Callable[[], P],
        *,
        sock_connect: float | None = None,
        traces: Sequence[DNSTrace] = (),
        timings: DialTimings | None = None,
    ) -> tuple[asyncio.Transport, P]:
        """A new connection as `key` wants it, and the protocol that `protocol_factory` made for it.

        `sock_connect` is in seconds, None and 0 set no limit. `timings`, if given, learns what the
        phases took: `dns`, `connect` (with a proxy: until the tunnel stands) and `tls`.

        Raises subclasses of `ClientConnectionError`: `ClientConnectorDNSError`,
        `ClientConnectorError`, `ClientConnectorCertificateError`, `ClientConnectorSSLError`,
        `ServerFingerprintMismatch`, `ConnectionTimeoutError`; with proxies
        `ClientProxyConnectionError` and `ClientHttpProxyError`; `InvalidUrlClientError` for a host
        that cannot be one. Cancellation closes every socket.
        """
        terms = _Terms(sock_connect, traces, timings)
        try:
            if key.proxy is None:
                return await self._dial_target(key, protocol_factory, terms)
            if key.proxy.scheme not in DEFAULT_PORTS:
                return await self._dial_socks(key, protocol_factory, terms)
            if key.is_ssl or key.tunnel:
                return await self._dial_tunnel(key, protocol_factory, terms)
            return await self._dial_forward_proxy(key, protocol_factory, terms)
        except ClientError as error:
            # Whatever went wrong here, no byte of a request was near the network.
            error.request_sent = False
            raise

    # --- ways to the target --------------------------------------------------------------------

    async def _dial_target(
        self,
        key: ConnectionKey,
        protocol_factory: Callable[[], P],
        terms: _Terms,
    ) -> tuple[asyncio.Transport, P]:
        check_host(key.host)
        tls = await _tls_for(key, self._ssl_shutdown_timeout)
        sock = await self._connect(key, terms)
        return await _open(key, sock, protocol_factory, tls, terms)

    async def _dial_forward_proxy(
        self, key: ConnectionKey, protocol_factory: Callable[[], P], terms: _Terms
    ) -> tuple[asyncio.Transport, P]:
        """RFC 9112 §3.2.2: plain HTTP is asked of the proxy itself, by an absolute target."""
        check_host(key.host)
        proxy = self._proxy_key(key)
        refused = ClientProxyConnectionError
        tls = await _tls_for(proxy, self._ssl_shutdown_timeout)
        sock = await self._connect(proxy, terms, refused)
        return await _open(proxy, sock, protocol_factory, tls, terms, refused)

    async def _dial_tunnel(
        self, key: ConnectionKey, protocol_factory: Callable[[], P], terms: _Terms
    ) -> tuple[asyncio.Transport, P]:
        # Imported at the first use: most programs have no proxy.
        from angelia.net.tunnel import Tunnel, connect_head, open_tunnel

        check_host(key.host)
        proxy = self._proxy_key(key)
        refused = ClientProxyConnectionError
        # What may be wrong with the request, and what waits for something else than the peer, comes
        # before there is a socket.
        request = connect_head(key, _port(key))
        target_tls = await _tls_for(key, self._ssl_shutdown_timeout)
        proxy_tls = await _tls_for(proxy, self._ssl_shutdown_timeout)
        sock = await self._connect(proxy, terms, refused)
        with measured(terms.timings, "connect"):
            quiet = terms._replace(timings=None)
            transport, tunnel = await _open(proxy, sock, Tunnel, proxy_tls, quiet, refused)
            with connector_errors(proxy, refused):
                async with TimeLimit(proxy, terms.sock_connect):
                    await open_tunnel(transport, tunnel, key, request)
        if target_tls is None:
            # The connection is the proxy's still; the key's TLS settings are for no one.
            return hand_over(proxy, transport, protocol_factory)
        with connector_errors(key):
            with measured(terms.timings, "tls"):
                async with TimeLimit(key, terms.sock_connect):
                    secure = await start_tls(
                        transport,
                        target_tls.context,
                        target_tls.name,
                        shutdown_timeout=target_tls.shutdown_timeout,
                    )
            return hand_over(key, secure, protocol_factory)

    async def _dial_socks(
        self,
        key: ConnectionKey,
        protocol_factory: Callable[[], P],
        terms: _Terms,
    ) -> tuple[asyncio.Transport, P]:
        from angelia.net.socks import SOCKS_SCHEMES, SocksClient

        check_host(key.host)
        url = key.proxy
        if url is None or url.scheme not in SOCKS_SCHEMES:
            raise InvalidUrlClientError(
                "" if url is None else f"{url.scheme}://",
                "only http, https and socks proxies are supported",
            )
        kind = SOCKS_SCHEMES[url.scheme]
        client = SocksClient(url, key.proxy_auth)
        proxy = self._proxy_key(key)
        tls = await _tls_for(key, self._ssl_shutdown_timeout)
        hosts = [key.host]
        if not kind.remote_dns:
            with connector_errors(key):
                infos = await self._addresses(key, terms)
            if kind.version == 4:
                infos = [info for info in infos if info[0] == socket.AF_INET]
            if not infos:
                raise ClientConnectorDNSError(key, OSError(None, "SOCKS4 needs an IPv4 address"))
            hosts = [info[4][0] for info in infos[:MAX_SOCKS_TARGETS]]
        targets = [(host.partition("%")[0], _port(key)) for host in hosts]
        sock = await self._negotiate(client, proxy, targets, terms)
        return await _open(key, sock, protocol_factory, tls, terms)

    async def _negotiate(
        self,
        client: SocksClient,
        proxy: ConnectionKey,
        targets: Sequence[tuple[str, int]],
        terms: _Terms,
    ) -> socket.socket:
        """A socket connected, through the proxy, to the first of `targets` that it leads to."""
        from angelia.net.socks import TargetRefused

        refused = ClientProxyConnectionError
        failures: list[OSError] = []
        with connector_errors(proxy, refused):
            for host, port in targets:
                sock = await self._connect(proxy, terms, refused)
                try:
                    with measured(terms.timings, "connect"):
                        async with TimeLimit(proxy, terms.sock_connect):
                            return await client.negotiate(sock, host, port)
                except TargetRefused as error:
                    # RFC 1928 §6: the proxy closes the connection then, so the next target needs
                    # another one.
                    failures.append(error)
            raise join_errors(failures)

    def _proxy_key(self, key: ConnectionKey) -> ConnectionKey:
        """The key of a direct connection to the key's proxy."""
        url = key.proxy
        host = None if url is None else url.raw_host
        if url is None or not host:
            raise InvalidUrlClientError("proxy", "has no host")
        check_host(host)
        port = url.port
        if port is None:
            port = DEFAULT_PORTS.get(url.scheme, DEFAULT_SOCKS_PORT)
        return ConnectionKey(host, port, url.scheme == "https", self._proxy_ssl)

    # --- addresses and sockets -----------------------------------------------------------------

    async def _addresses(self, key: ConnectionKey, terms: _Terms) -> list[AddrInfoType]:
        """The addresses of the key's host in the order in which they are to be tried."""
        host, port = key.host, _port(key)
        family = check_host(host)
        if family is not None:
            results = [literal_result(host, port, family)]
        else:
            try:
                with measured(terms.timings, "dns"):
                    results = await self._lookup.resolve(host, port, terms.traces)
            except ClientError:
                raise
            except OSError as error:
                raise ClientConnectorDNSError(key, error) from error
        wanted = self._family
        infos = [
            info
            for info in map(address_info, results)
            if info is not None and wanted in (socket.AF_UNSPEC, info[0])
        ]
        if not infos:
            reason = OSError(None, "the host has no address of a family that can be used")
            raise ClientConnectorDNSError(key, reason)
        return interleave(infos, self._interleave)

    async def _connect(
        self,
        key: ConnectionKey,
        terms: _Terms,
        error_class: type[ClientConnectorError] = ClientConnectorError,
    ) -> socket.socket:
        """A socket connected to one of the key's addresses."""
        with connector_errors(key, error_class):
            try:
                infos = await self._addresses(key, terms)
            except ClientConnectorDNSError as error:
                if error_class is ClientProxyConnectionError:
                    raise error_class(key, error.os_error) from error
                raise
            try:
                with measured(terms.timings, "connect"):
                    return await self._sockets.connect(infos, key, terms.sock_connect)
            except OSError:
                # The addresses may be out of date; the next request asks again.
                self._lookup.forget(key.host, _port(key))
                raise


# --- without addresses -------------------------------------------------------------------------


async def dial_unix(
    path: str,
    key: ConnectionKey,
    protocol_factory: Callable[[], P],
    *,
    sock_connect: float | None = None,
    timings: DialTimings | None = None,
    ssl_shutdown_timeout: float | None = None,
) -> tuple[asyncio.Transport, P]:
    """A connection over the Unix socket at `path`, with TLS where the key wants it.

    Raises `UnixClientConnectorError` naming the path, besides what `Dialer.dial` raises for TLS and
    timeouts; `RuntimeError` where there are no Unix sockets.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise RuntimeError("Unix sockets are not supported on this platform")
    path = os.fspath(path)
    try:
        tls = await _tls_for(key, ssl_shutdown_timeout)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            with measured(timings, "connect"):
                await connect_socket(sock, path, key, sock_connect)
        except ClientError:
            raise
        except OSError as error:
            raise UnixClientConnectorError(path, key, error) from error
        terms = _Terms(sock_connect, timings=timings)
        return await _open(key, sock, protocol_factory, tls, terms)
    except ClientError as error:
        error.request_sent = False
        raise


async def dial_pipe(
    path: str,
    key: ConnectionKey,
    protocol_factory: Callable[[], P],
    *,
    sock_connect: float | None = None,
    timings: DialTimings | None = None,
) -> tuple[asyncio.Transport, P]:
    """A connection over the named pipe at `path`, without TLS.

    Raises `RuntimeError` on loops other than Windows' proactor, and `ClientConnectorError`.
    """
    create = getattr(asyncio.get_running_loop(), "create_pipe_connection", None)
    if create is None:
        raise RuntimeError("Named pipes are supported by the proactor event loop of Windows only")
    if key.is_ssl:
        raise ClientConnectionError("TLS over a named pipe is not supported")
    with connector_errors(key), measured(timings, "connect"):
        async with TimeLimit(key, sock_connect):
            transport, protocol = await create(protocol_factory, path)
    return transport, protocol
