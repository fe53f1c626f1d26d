"""Resolvers: from a host name to its addresses.

Owns the `AbstractResolver` interface and its implementations. A resolver keeps no cache and
shares no lookups: `lookup` does, for every resolver alike.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import weakref
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from angelia.net.addresses import ResolveResult

if TYPE_CHECKING:
    import aiodns

__all__ = (
    "AbstractResolver",
    "AsyncResolver",
    "DefaultResolver",
    "ResolveResult",
    "ThreadedResolver",
)

# RFC 3493 §6.1: no addresses of a family that this machine has no address of. Not everywhere.
_ADDRCONFIG: int = getattr(socket, "AI_ADDRCONFIG", 0)

# RFC 6761 §6.3: these names are this machine, and it has a loopback even where it has no network.
_LOCALHOST = frozenset(("localhost", "localhost."))


class AbstractResolver(ABC):
    """The interface of a resolver; `TCPConnector` takes any implementation."""

    @abstractmethod
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of `host`, in the order of preference.

        `family` restricts them; `socket.AF_UNSPEC` asks for all. Raises `OSError` if the name
        cannot be resolved.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release what the resolver holds."""


def _wanted_flags(host: str) -> tuple[int, ...]:
    """The flags to ask with, one set after the other while there is no answer."""
    if host.lower() in _LOCALHOST and _ADDRCONFIG:
        return _ADDRCONFIG, 0
    return (_ADDRCONFIG,)


def _with_scope(host: str, address: tuple[Any, ...]) -> str:
    """The text of an IPv6 address with its scope, without which a link-local one is no address."""
    if len(address) > 3 and address[3] and "%" not in host:
        return f"{host}%{address[3]}"
    return host


def _usable(family: int, address: tuple[Any, ...]) -> bool:
    """Reports whether this Python can handle an address.

    One that was built without IPv6 gives raw bytes for its addresses.
    """
    if family == socket.AF_INET6:
        return socket.has_ipv6 and len(address) == 4
    return family == socket.AF_INET


class ThreadedResolver(AbstractResolver):
    """Resolves with the system's getaddrinfo(3) in the loop's threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """See `AbstractResolver.resolve`."""
        failure: OSError = socket.gaierror(socket.EAI_NONAME, "nothing was asked")
        for flags in _wanted_flags(host):
            try:
                infos = await self._ask(host, port, family, flags)
            except socket.gaierror as error:
                failure = error
            else:
                return [
                    ResolveResult(
                        hostname=host,
                        host=_with_scope(address[0], address),
                        port=address[1],
                        family=found,
                        proto=proto,
                        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                    )
                    for found, _, proto, _, address in infos
                    if _usable(found, address)
                ]
        raise failure

    async def _ask(
        self, host: str, port: int, family: int, flags: int
    ) -> list[tuple[Any, Any, int, str, tuple[Any, ...]]]:
        loop = self._loop or asyncio.get_running_loop()
        try:
            return await loop.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, family=family, flags=flags
            )
        except UnicodeError as error:
            # The idna codec's words for a label that is empty or longer than 63 octets.
            raise socket.gaierror(socket.EAI_NONAME, f"no host name: {error}") from error
        except socket.gaierror as error:
            if flags and error.errno == socket.EAI_BADFLAGS:
                return await self._ask(host, port, family, 0)
            raise

    async def close(self) -> None:
        """There is nothing to release."""


# --- aiodns ------------------------------------------------------------------------------------


class _SharedResolvers:
    """One c-ares channel per event loop, for all the `AsyncResolver`s that ask for no options.

    A channel has sockets and watches files; it is closed with its last user.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channels: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, tuple[aiodns.DNSResolver, weakref.WeakSet[object]]
        ] = weakref.WeakKeyDictionary()

    def acquire(self, loop: asyncio.AbstractEventLoop, user: object) -> aiodns.DNSResolver:
        import aiodns

        with self._lock:
            entry = self._channels.get(loop)
            if entry is None:
                entry = aiodns.DNSResolver(loop=loop), weakref.WeakSet()
                self._channels[loop] = entry
            entry[1].add(user)
            return entry[0]

    def release(self, loop: asyncio.AbstractEventLoop, user: object) -> aiodns.DNSResolver | None:
        """The channel that `user` was the last one of, now for it to close."""
        with self._lock:
            entry = self._channels.get(loop)
            if entry is None:
                return None
            entry[1].discard(user)
            if entry[1]:
                return None
            del self._channels[loop]
            return entry[0]


_shared_resolvers = _SharedResolvers()


def _aiodns_usable() -> bool:
    try:
        import aiodns
    except ImportError:
        return False
    return hasattr(aiodns.DNSResolver, "getaddrinfo")


class AsyncResolver(AbstractResolver):
    """Resolves with ``aiodns``, without threads.

    Further arguments go to `aiodns.DNSResolver`; without any, the resolvers of one event loop
    share one. Raises `RuntimeError` where ``aiodns`` is not installed, or is too old.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop | None = None, *args: Any, **kwargs: Any
    ) -> None:
        if not _aiodns_usable():
            raise RuntimeError("AsyncResolver needs aiodns: pip install angelia[speedups]")
        self._loop = loop
        self._arguments = args, kwargs
        self._resolver: aiodns.DNSResolver | None = None

    def _open(self) -> aiodns.DNSResolver:
        if self._resolver is None:
            import aiodns

            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            args, kwargs = self._arguments
            if args or kwargs:
                make: Any = aiodns.DNSResolver  # its arguments are the caller's affair
                self._resolver = make(*args, loop=self._loop, **kwargs)
            else:
                self._resolver = _shared_resolvers.acquire(self._loop, self)
        return self._resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """See `AbstractResolver.resolve`."""
        import aiodns

        resolver = self._open()
        failure: aiodns.error.DNSError | None = None
        for flags in _wanted_flags(host):
            try:
                answer = await resolver.getaddrinfo(
                    host, port=port, type=socket.SOCK_STREAM, family=family, flags=flags
                )
            except aiodns.error.DNSError as error:
                failure = error
                continue
            results = [
                ResolveResult(
                    hostname=host,
                    host=_with_scope(_text(node.addr[0]), node.addr),
                    port=port,
                    family=node.family,
                    proto=node.protocol,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
                for node in answer.nodes
                if _usable(node.family, node.addr)
            ]
            if results:
                return results
        raise OSError(None, _dns_message(failure)) from failure

    async def close(self) -> None:
        """Cancel the lookups that are under way and release the channel, if it is not shared."""
        resolver, self._resolver = self._resolver, None
        if resolver is None or self._loop is None:
            return
        args, kwargs = self._arguments
        if args or kwargs:
            await resolver.close()
        else:
            last = _shared_resolvers.release(self._loop, self)
            if last is not None:
                await last.close()


def _text(address: str | bytes) -> str:
    return address.decode("ascii") if isinstance(address, bytes) else address


def _dns_message(error: Exception | None) -> str:
    """c-ares' own words: the second argument of its error."""
    if error is None:
        return "the host has no usable address"
    return str(error.args[1]) if len(error.args) > 1 else "DNS lookup failed"


class DefaultResolver(AbstractResolver):
    """`AsyncResolver` where ``aiodns`` is installed, else `ThreadedResolver`.

    The choice is made at the first lookup, so that programs without lookups import neither.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop | None = None, *args: Any, **kwargs: Any
    ) -> None:
        self._loop = loop
        self._arguments = args, kwargs
        self._chosen: AbstractResolver | None = None

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """See `AbstractResolver.resolve`."""
        if self._chosen is None:
            if _aiodns_usable():
                args, kwargs = self._arguments
                self._chosen = AsyncResolver(self._loop, *args, **kwargs)
            else:
                self._chosen = ThreadedResolver(self._loop)
        return await self._chosen.resolve(host, port, family)

    async def close(self) -> None:
        """Close the resolver that was chosen, if any."""
        chosen, self._chosen = self._chosen, None
        if chosen is not None:
            await chosen.close()
