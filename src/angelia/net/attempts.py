"""Attempts to connect: one address, one socket, its options and its time limit.

Owns how a socket for a connection is made, bound and connected. Which addresses there are and
which of several attempts wins is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from angelia.errors import ConnectionTimeoutError
from angelia.net.addresses import AddrInfoType, SocketFactoryType
from angelia.net.handshakes import TimeLimit
from angelia.net.happy_eyeballs import connect_first, join_errors

if TYPE_CHECKING:
    from angelia.net.connection_key import ConnectionKey

__all__ = ("SocketMaker", "connect_socket")


async def connect_socket(
    sock: socket.socket, address: Any, key: ConnectionKey, seconds: float | None
) -> None:
    """Connect a socket within `seconds`; failure and cancellation close it.

    Raises `ConnectionTimeoutError`, naming the key's host, or another `OSError`.
    """
    try:
        async with TimeLimit(key, seconds):
            await asyncio.get_running_loop().sock_connect(sock, _with_zone(address))
    except BaseException:
        sock.close()
        raise


def _with_zone(address: Any) -> Any:
    """An IPv6 address with its scope in the text, too: uvloop looks at the first two parts only."""
    if isinstance(address, tuple) and len(address) == 4 and address[3] and "%" not in address[0]:
        return (f"{address[0]}%{address[3]}", *address[1:])
    return address


class SocketMaker:
    """Makes connected sockets: from `local_addr`, with the user's factory, if there are any."""

    __slots__ = ("_delay", "_factory", "_local_addr")

    def __init__(
        self,
        local_addr: tuple[str, int] | None,
        factory: SocketFactoryType | None,
        delay: float | None,
    ) -> None:
        self._local_addr = local_addr
        self._factory = factory
        self._delay = delay

    async def connect(
        self, infos: Sequence[AddrInfoType], key: ConnectionKey, seconds: float | None
    ) -> socket.socket:
        """A socket connected to the first of `infos` that answers, each within `seconds`.

        Raises `OSError`: a `ConnectionTimeoutError` where there was nothing but timeouts, else one
        that says what the addresses said.
        """
        locals_ = await self._local_addresses()
        try:
            return await connect_first(
                infos, lambda info: self._attempt(info, key, locals_, seconds), self._delay
            )
        except ExceptionGroup as failures:
            errors = failures.exceptions
        raise _failure(errors)

    async def _local_addresses(self) -> Sequence[AddrInfoType]:
        if self._local_addr is None:
            return ()
        host, port = self._local_addr
        return await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )

    async def _attempt(
        self,
        info: AddrInfoType,
        key: ConnectionKey,
        locals_: Sequence[AddrInfoType],
        seconds: float | None,
    ) -> socket.socket:
        if self._factory is None:
            sock = socket.socket(info[0], info[1], info[2])
        else:
            sock = self._factory(info)
        try:
            sock.setblocking(False)
            _set_options(sock)
            if self._local_addr is not None:
                _bind(sock, info, locals_)
        except BaseException:
            sock.close()
            raise
        await connect_socket(sock, info[4], key, seconds)
        return sock


def _set_options(sock: socket.socket) -> None:
    # A factory may make sockets that know no TCP.
    with suppress(OSError):
        # Our writes are whole messages; waiting to fill segments would only delay them.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with suppress(OSError):
        # Middleboxes forget idle connections in silence.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _bind(sock: socket.socket, info: AddrInfoType, locals_: Sequence[AddrInfoType]) -> None:
    """Bind to the local address of the attempt's family; `OSError` if there is none to bind to."""
    failure = OSError(errno.EADDRNOTAVAIL, "local_addr is not of the address's family")
    for local in locals_:
        if local[0] != info[0]:
            continue
        try:
            sock.bind(local[4])
        except OSError as error:
            failure = OSError(error.errno, f"cannot bind to {local[4]}: {error.strerror}")
        else:
            return
    raise failure


def _failure(errors: Sequence[Any]) -> OSError:
    # A refusal says more than a timeout.
    refusals = [error for error in errors if not isinstance(error, ConnectionTimeoutError)]
    failure: OSError = join_errors(refusals) if refusals else errors[-1]
    return failure
