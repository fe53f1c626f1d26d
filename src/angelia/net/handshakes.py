"""From a connected socket to a transport, through TLS where it is asked for.

Owns the handshakes, their time limits, and the translation of their failures into the public
tree. It does not know how the socket came to be connected, nor what the protocol does.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from angelia.errors import (
    ClientConnectionError,
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientConnectorSSLError,
    ClientError,
    ConnectionTimeoutError,
    ServerFingerprintMismatch,
)
from angelia.net.tls import Fingerprint

try:
    from ssl import CertificateError, SSLError
except ImportError:  # pragma: no cover  # such a Python makes no handshakes
    CertificateError = SSLError = ()  # type: ignore[assignment,misc]  # matches nothing

if TYPE_CHECKING:
    from ssl import SSLContext

    from angelia.net.connection_key import ConnectionKey
    from angelia.net.timings import DialTimings

__all__ = (
    "DEFAULT_TLS_SHUTDOWN",
    "TimeLimit",
    "check_fingerprint",
    "connector_errors",
    "hand_over",
    "measured",
    "open_tls_transport",
    "open_transport",
    "start_tls",
)

P = TypeVar("P", bound=asyncio.BaseProtocol)

# asyncio's own limits cannot be switched off, ours can: where `sock_connect` sets none, there is
# none. A hundred years keep every loop's arithmetic in range.
_NO_LIMIT = 100 * 365 * 86400.0

# How long a closed TLS connection waits for the peer's close_notify before it is aborted. Peers
# often never send one, and asyncio's own 30 seconds keep the socket all that time.
DEFAULT_TLS_SHUTDOWN = 2.0


@contextmanager
def measured(timings: DialTimings | None, phase: str) -> Iterator[None]:
    """Add the time that the block takes to a phase of `timings`, if there is somebody to know."""
    if timings is None:
        yield
        return
    # Not the loop's clock: uvloop's moves in whole milliseconds, a loopback connect takes less.
    start = time.perf_counter()
    try:
        yield
    finally:
        before: float | None = getattr(timings, phase, None)
        setattr(timings, phase, (before or 0.0) + time.perf_counter() - start)


@contextmanager
def connector_errors(
    key: ConnectionKey, error_class: type[ClientConnectorError] = ClientConnectorError
) -> Iterator[None]:
    """Translate what goes wrong in the block into the error of a connector to `key`."""
    try:
        yield
    except ClientError:
        raise
    except CertificateError as error:
        raise ClientConnectorCertificateError(key, error) from error
    except SSLError as error:
        raise ClientConnectorSSLError(key, error) from error
    except OSError as error:
        raise error_class(key, error) from error


class TimeLimit:
    """An async context manager: `ConnectionTimeoutError` after `seconds`; None and 0 are no limit.

    A cancellation from outside stays one.
    """

    __slots__ = ("_key", "_seconds", "_timeout")

    def __init__(self, key: ConnectionKey, seconds: float | None) -> None:
        self._key = key
        self._seconds = seconds
        self._timeout = asyncio.timeout(seconds or None)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *exception: object) -> None:
        try:
            await self._timeout.__aexit__(*exception)  # type: ignore[arg-type]  # passed through
        except TimeoutError as error:
            raise ConnectionTimeoutError(
                f"Connection timeout to host {self._key.host}:{self._key.port} "
                f"after {self._seconds} seconds"
            ) from error


def check_fingerprint(key: ConnectionKey, transport: asyncio.BaseTransport) -> None:
    """Raise `ServerFingerprintMismatch`, naming the target, if the key asks for another digest."""
    if not isinstance(key.ssl, Fingerprint):
        return
    try:
        key.ssl.check(transport)
    except ServerFingerprintMismatch as error:
        # In a tunnel the transport's peer is the proxy, which is not to blame.
        raise ServerFingerprintMismatch(
            error.expected, error.got, key.host, key.port or 0
        ) from None


class _Hold(asyncio.Protocol):
    """Stands in for the protocol during a handshake: notes what comes before its time."""

    def __init__(self) -> None:
        self.lost: BaseException | None = None
        self.early = False

    def data_received(self, data: bytes) -> None:
        self.early = True

    def eof_received(self) -> None:
        self.lost = ConnectionResetError("the connection was closed after the TLS handshake")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc or ConnectionResetError("the connection was lost after the TLS handshake")


async def open_transport(
    sock: socket.socket, protocol_factory: Callable[[], P]
) -> tuple[asyncio.Transport, P]:
    """A plain transport on a connected socket.

    It owns the socket from the call on: failure and cancellation close it.
    """
    loop = asyncio.get_running_loop()
    try:
        if sock.family == getattr(socket, "AF_UNIX", None):
            # uvloop wants to be told what kind of socket it gets.
            return await loop.create_unix_connection(protocol_factory, sock=sock)
        return await loop.create_connection(protocol_factory, sock=sock)
    except BaseException:
        # The loop's transport, if there was one already, is closed by the loop.
        sock.close()
        raise


async def open_tls_transport(
    sock: socket.socket,
    context: SSLContext,
    server_hostname: str,
    *,
    shutdown_timeout: float | None = None,
) -> asyncio.Transport:
    """A TLS transport on a connected socket, after the handshake; to be given to `hand_over`.

    It owns the socket from the call on: failure and cancellation close it. Raises `OSError`, and
    that includes `ssl.SSLError`.
    """
    # In two steps, since a cancelled create_connection(ssl=...) may leave a transport behind that
    # nobody can reach; here it is always ours to abort.
    plain, hold = await open_transport(sock, _Hold)
    if hold.early:
        # RFC 8446 §4.1.2: a client speaks first; without these bytes nobody would understand more.
        plain.abort()
        raise ConnectionAbortedError("the server sent data before the TLS handshake")
    return await start_tls(plain, context, server_hostname, shutdown_timeout=shutdown_timeout)


def hand_over(
    key: ConnectionKey, transport: asyncio.Transport, protocol_factory: Callable[[], P]
) -> tuple[asyncio.Transport, P]:
    """Give a TLS transport to its protocol, if it has the certificate that the key asks for.

    Otherwise, and if the protocol cannot be made, the transport is aborted.
    """
    try:
        check_fingerprint(key, transport)
        protocol = protocol_factory()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
    except BaseException:
        transport.abort()
        raise
    return transport, protocol


async def start_tls(
    transport: asyncio.Transport,
    context: SSLContext,
    server_hostname: str,
    *,
    shutdown_timeout: float | None = None,
) -> asyncio.Transport:
    """TLS as a client over a transport, which may itself be TLS; `hand_over` what it returns.

    The peer must not speak before we do. Owns the transport from the call on: failure and
    cancellation abort it. Raises `OSError`, and that includes `ssl.SSLError`.
    """
    loop = asyncio.get_running_loop()
    hold = _Hold()
    if transport.is_closing():
        # Such a transport would never tell the handshake that it is lost.
        transport.abort()
        raise ConnectionResetError("the connection was lost before the TLS handshake")
    try:
        secure = await loop.start_tls(
            transport,
            hold,
            context,
            server_hostname=server_hostname,
            ssl_handshake_timeout=_NO_LIMIT,
            ssl_shutdown_timeout=shutdown_timeout or DEFAULT_TLS_SHUTDOWN,
        )
    except TypeError as error:
        # How a loop says that it knows no TLS over transports of this kind, such as TLS itself.
        transport.abort()
        # Or how asyncio before 3.12 stumbles when it aborts the outer TLS for the inner one's sake.
        if isinstance(error.__context__, SSLError):
            raise error.__context__ from None
        raise ClientConnectionError(
            f"{type(loop).__name__} cannot start TLS over {type(transport).__name__}: {error}"
        ) from error
    except BaseException:
        transport.abort()
        raise
    if secure is None or hold.lost is not None:
        transport.abort()
        raise hold.lost or ConnectionResetError("the connection was lost in the TLS handshake")
    if hold.early:
        secure.abort()
        raise ConnectionAbortedError("the server sent data before the request")
    return secure
