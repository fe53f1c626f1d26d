"""SOCKS proxies: from a connection to the proxy to one to the target behind it.

Owns the schemes of SOCKS proxies and what each means; the protocol itself is python-socks', which
comes with the ``socks`` extra and is imported at the first use. The connection to the proxy is made
by `dial`, like any other.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from angelia.errors import InvalidURL

if TYPE_CHECKING:
    from yarl import URL

    from angelia.core.auth import BasicAuth

__all__ = ("SOCKS_SCHEMES", "SocksClient", "SocksKind", "TargetRefused")

# RFC 1929 §2: the lengths of user name and password are one octet each.
MAX_CREDENTIAL_SIZE = 255

# Our own limits end the negotiation, `dial` sets them.
_NO_LIMIT = 100 * 365 * 86400.0


class SocksKind(NamedTuple):
    """What a SOCKS scheme means: the protocol's version, and who resolves the target's name."""

    version: int
    remote_dns: bool


SOCKS_SCHEMES = {
    "socks4": SocksKind(4, remote_dns=False),
    "socks4a": SocksKind(4, remote_dns=True),
    "socks5": SocksKind(5, remote_dns=False),
    "socks5h": SocksKind(5, remote_dns=True),
}


class TargetRefused(ConnectionRefusedError):
    """The proxy answered that it cannot, or will not, connect to this target."""


class _Connected:
    """Stands for the way to the proxy: hands over a socket that is connected already."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def connect(self, dest_host: str, dest_port: int, **options: Any) -> socket.socket:
        return self._sock


def _python_socks() -> tuple[Any, Any]:
    try:
        import python_socks
        from python_socks.async_.asyncio import Proxy
    except ImportError as error:
        raise RuntimeError("SOCKS proxies need python-socks: pip install angelia[socks]") from error
    return python_socks, Proxy


def _credentials(proxy: URL, auth: BasicAuth | None) -> tuple[str | None, str | None]:
    if auth is not None:
        user, password = auth.login, auth.password
    elif proxy.user is not None:
        user, password = proxy.user, proxy.password or ""
    else:
        return None, None
    for value in (user, password):
        if len(value.encode()) > MAX_CREDENTIAL_SIZE or "\x00" in value:
            raise InvalidURL(proxy.with_user(None), "SOCKS credentials are too long, or have a NUL")
    return user, password


class SocksClient:
    """What is needed to ask one SOCKS proxy for connections.

    `auth`, else the URL's credentials, are sent where the proxy wants any; SOCKS4 has only a user.
    Raises `RuntimeError` where python-socks is missing, `InvalidURL` for credentials that cannot be
    sent.
    """

    def __init__(self, proxy: URL, auth: BasicAuth | None) -> None:
        self._library, self._make = _python_socks()
        self._proxy = proxy
        self._kind = SOCKS_SCHEMES[proxy.scheme]
        self._user, self._password = _credentials(proxy, auth)

    async def negotiate(self, sock: socket.socket, host: str, port: int) -> socket.socket:
        """Turn a socket connected to the proxy into one connected to `host` and `port` behind it.

        `host` is an address where the scheme leaves names to us. Failure and cancellation close
        the socket. Raises `TargetRefused` if the proxy has a reply for this target, another
        `OSError` if it refuses us or answers nonsense.
        """
        types = self._library.ProxyType
        try:
            client = self._make.create(
                types.SOCKS4 if self._kind.version == 4 else types.SOCKS5,
                self._proxy.raw_host,
                self._proxy.port or 1080,
                username=self._user,
                password=self._password,
                rdns=self._kind.remote_dns,
                forward=_Connected(sock),
            )
            connected: socket.socket = await client.connect(host, port, timeout=_NO_LIMIT)
        except self._library.ProxyError as error:
            sock.close()
            # Only replies to the request have codes (RFC 1928 §6), refused credentials have none.
            refused = ConnectionRefusedError if error.error_code is None else TargetRefused
            raise refused(errno.ECONNREFUSED, str(error)) from error
        except ValueError as error:
            sock.close()
            # The name of the address that the proxy connects from is decoded, and of no use here.
            message = "the SOCKS proxy's answer cannot be read"
            raise ConnectionRefusedError(errno.ECONNREFUSED, message) from error
        except BaseException:
            sock.close()
            raise
        return connected
