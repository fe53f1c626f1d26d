"""Looking hosts up: the cache in front of a resolver, and lookups that requests share.

Owns the cached answers and the lookups under way. It knows nothing of connections, and leaves it
to `resolver` how a name is resolved.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from angelia.errors import ClientConnectionError
from angelia.net.addresses import ResolveResult, rotate
from angelia.net.resolver import AbstractResolver, DefaultResolver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

__all__ = ("DNSTrace", "HostCache", "HostLookup")

# A program that visits ever new hosts must not grow for ever; 1000 names take about 1 MB.
DEFAULT_MAX_SIZE = 1000


class DNSTrace(Protocol):
    """The events of a lookup, for whoever traces the request that waits for it."""

    async def send_dns_cache_hit(self, host: str) -> None: ...
    async def send_dns_cache_miss(self, host: str) -> None: ...
    async def send_dns_resolvehost_start(self, host: str) -> None: ...
    async def send_dns_resolvehost_end(self, host: str) -> None: ...


class _Entry:
    """A cached answer, when it expires (None: never), and how often it was given out."""

    __slots__ = ("expires", "results", "turn")

    def __init__(self, results: Sequence[ResolveResult], expires: float | None) -> None:
        self.results = tuple(results)
        self.expires = expires
        self.turn = 0


class HostCache:
    """Answers by host and port, the least recently used one leaving first.

    `ttl` is in seconds: None keeps answers for ever, 0 keeps none. The time is passed in.
    """

    __slots__ = ("_entries", "_max_size", "_ttl")

    def __init__(self, *, ttl: float | None, max_size: int = DEFAULT_MAX_SIZE) -> None:
        if ttl is not None and ttl < 0:
            raise ValueError(f"ttl must be None or at least 0 seconds, not {ttl!r}")
        if max_size < 1:
            raise ValueError(f"max_size must be at least 1, not {max_size!r}")
        self._ttl = ttl
        self._max_size = max_size
        self._entries: dict[tuple[str, int], _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: tuple[str, int], now: float) -> list[ResolveResult] | None:
        """The answer, its addresses rotated by one place at each call; None if there is none."""
        entry = self._entries.pop(key, None)
        if entry is None or (entry.expires is not None and now >= entry.expires):
            return None
        self._entries[key] = entry
        results = rotate(entry.results, entry.turn)
        entry.turn += 1
        return results

    def put(self, key: tuple[str, int], results: Sequence[ResolveResult], now: float) -> None:
        """Keep an answer; an empty one is not kept."""
        self._entries.pop(key, None)
        if self._ttl == 0 or not results:
            return
        while len(self._entries) >= self._max_size:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = _Entry(results, None if self._ttl is None else now + self._ttl)

    def discard(self, key: tuple[str, int]) -> None:
        """Forget one answer, if it is there."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Forget all answers."""
        self._entries.clear()

    def snapshot(self) -> Mapping[tuple[str, int], list[ResolveResult]]:
        """The answers as they are now, the expired ones that nobody asked for since included."""
        return MappingProxyType({key: list(entry.results) for key, entry in self._entries.items()})


class _Flight:
    """A lookup under way: the task that does it, what comes of it, how many wait for it."""

    __slots__ = ("outcome", "task", "waiting")

    def __init__(self, outcome: asyncio.Future[list[ResolveResult]]) -> None:
        self.outcome = outcome
        self.task: asyncio.Task[None] | None = None
        self.waiting = 0

    def succeed(self, results: list[ResolveResult]) -> None:
        if not self.outcome.done():
            self.outcome.set_result(results)

    def fail(self, error: BaseException) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)
            # Those who wait will raise it; when none is left, nobody needs to hear of it.
            self.outcome.exception()


class HostLookup:
    """A resolver behind a cache, where requests for the same host share one lookup.

    `resolver` is closed by `close` only if it is our own, that is when None is given.
    `use_cache=False` asks the resolver each time, and shares nothing.
    """

    __slots__ = ("_cache", "_clock", "_family", "_flights", "_own_resolver", "_resolver")

    def __init__(
        self,
        resolver: AbstractResolver | None = None,
        *,
        family: socket.AddressFamily = socket.AF_UNSPEC,
        use_cache: bool = True,
        ttl: float | None = 10,
        max_size: int = DEFAULT_MAX_SIZE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own_resolver = resolver is None
        self._resolver = DefaultResolver() if resolver is None else resolver
        self._family = family
        self._cache = HostCache(ttl=ttl, max_size=max_size) if use_cache else None
        self._clock = clock
        self._flights: dict[tuple[str, int], _Flight] = {}

    async def resolve(
        self, host: str, port: int, traces: Sequence[DNSTrace] = ()
    ) -> list[ResolveResult]:
        """The addresses of `host`.

        Raises what the resolver raises, `OSError` as a rule, and `ClientConnectionError` when
        `close` is called meanwhile. Cancellation is safe: a lookup goes on while another request
        waits for it, and ends with the last one.
        """
        if self._cache is None:
            return await _traced(host, traces, lambda: self._ask(host, port))
        key = (host, port)
        found = self._cache.get(key, self._clock())
        if found is not None:
            for trace in traces:
                await trace.send_dns_cache_hit(host)
            return found
        flight = self._flights.get(key)
        if flight is not None:
            with self._waiting(key, flight):
                for trace in traces:
                    await trace.send_dns_cache_hit(host)
                return list(await _outcome(flight))
        # Others find the flight before the first await of ours, and board it.
        flight = self._flights[key] = _Flight(asyncio.get_running_loop().create_future())
        with self._waiting(key, flight):
            for trace in traces:
                await trace.send_dns_cache_miss(host)

            def follow() -> Awaitable[list[ResolveResult]]:
                self._take_off(key, flight)
                return _outcome(flight)

            return list(await _traced(host, traces, follow))

    def forget(self, host: str, port: int) -> None:
        """Drop the cached answer for a host that could not be reached at any address."""
        if self._cache is not None:
            self._cache.discard((host, port))

    def clear(self, host: str | None = None, port: int | None = None) -> None:
        """Drop the cached answer for `host` and `port`, or all answers if neither is given.

        Raises `ValueError` if only one is given.
        """
        if (host is None) != (port is None):
            raise ValueError("either both host and port or none of them are allowed")
        if self._cache is None:
            return
        if host is not None and port is not None:
            self._cache.discard((host, port))
        else:
            self._cache.clear()

    @property
    def cached_hosts(self) -> Mapping[tuple[str, int], list[ResolveResult]]:
        """The cached answers, as they are now."""
        return MappingProxyType({}) if self._cache is None else self._cache.snapshot()

    @property
    def uses_cache(self) -> bool:
        """Reports whether answers are cached and lookups shared."""
        return self._cache is not None

    async def close(self) -> None:
        """End the lookups under way and close the resolver if it is ours.

        Whoever waits for a lookup gets a `ClientConnectionError`.
        """
        for key, flight in list(self._flights.items()):
            flight.fail(ClientConnectionError("Connector is closed"))
            self._land(key, flight)
        if self._own_resolver:
            await self._resolver.close()

    # --- flights -------------------------------------------------------------------------------

    async def _ask(self, host: str, port: int) -> list[ResolveResult]:
        return await self._resolver.resolve(host, port, family=self._family)

    def _take_off(self, key: tuple[str, int], flight: _Flight) -> None:
        """Start the lookup, unless it was started or given up."""
        if flight.task is None and not flight.outcome.done():
            flight.task = asyncio.get_running_loop().create_task(self._fly(key, flight))

    async def _fly(self, key: tuple[str, int], flight: _Flight) -> None:
        try:
            results = list(await self._ask(*key))
        except asyncio.CancelledError:
            flight.fail(ClientConnectionError(f"the lookup of {key[0]} was cancelled"))
            raise
        except Exception as error:  # noqa: BLE001  a user's resolver may raise anything: theirs who wait
            flight.fail(error)
        else:
            if self._cache is not None:
                self._cache.put(key, results, self._clock())
            flight.succeed(results)
        finally:
            self._land(key, flight)

    def _land(self, key: tuple[str, int], flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if flight.task is not None and flight.task is not asyncio.current_task():
            flight.task.cancel()

    @contextmanager
    def _waiting(self, key: tuple[str, int], flight: _Flight) -> Iterator[None]:
        """Count one more who waits; the last one to give up ends the lookup."""
        flight.waiting += 1
        try:
            yield
        finally:
            flight.waiting -= 1
            if flight.waiting:
                # The one who should have started it may have failed in a trace.
                self._take_off(key, flight)
            elif not flight.outcome.done():
                flight.outcome.cancel()
                self._land(key, flight)


async def _outcome(flight: _Flight) -> list[ResolveResult]:
    # Shielded: cancelling one of those who wait must not cancel the outcome of the others.
    return await asyncio.shield(flight.outcome)


async def _traced(
    host: str,
    traces: Sequence[DNSTrace],
    resolve: Callable[[], Awaitable[list[ResolveResult]]],
) -> list[ResolveResult]:
    """Resolve between the two events of a lookup; a lookup that fails has ended, too."""
    for trace in traces:
        await trace.send_dns_resolvehost_start(host)
    try:
        results = await resolve()
    except OSError:
        for trace in traces:
            await trace.send_dns_resolvehost_end(host)
        raise
    for trace in traces:
        await trace.send_dns_resolvehost_end(host)
    return results
