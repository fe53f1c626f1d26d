"""The DNS cache and lookups that requests share."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.errors import ClientConnectionError
from angelia.net.addresses import ResolveResult
from angelia.net.lookup import HostCache, HostLookup
from angelia.net.resolver import AbstractResolver
from turns import turns


def results(*hosts: str) -> list[ResolveResult]:
    return [
        ResolveResult(
            hostname="a.test",
            host=host,
            port=80,
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            proto=6,
            flags=0,
        )
        for host in hosts
    ]


def hosts(found: list[ResolveResult] | None) -> list[str] | None:
    return None if found is None else [result["host"] for result in found]


ONE = results("127.0.0.1")


class TestHostCache:
    def test_expiry(self) -> None:
        """An answer is good for `ttl` seconds, and no instant longer."""
        cache = HostCache(ttl=10)
        cache.put(("a", 80), ONE, now=100)
        assert cache.get(("a", 80), now=109.9) == ONE
        assert cache.get(("a", 80), now=110) is None
        assert len(cache) == 0
        assert cache.get(("a", 443), now=100) is None

    def test_for_ever(self) -> None:
        """None never expires."""
        cache = HostCache(ttl=None)
        cache.put(("a", 80), ONE, now=0)
        assert cache.get(("a", 80), now=1e12) == ONE

    def test_not_at_all(self) -> None:
        """0 keeps nothing; an empty answer is never kept."""
        cache = HostCache(ttl=0)
        cache.put(("a", 80), ONE, now=0)
        assert len(cache) == 0
        cache = HostCache(ttl=10)
        cache.put(("a", 80), [], now=0)
        assert len(cache) == 0

    def test_rotation(self) -> None:
        """Successive requests begin with successive addresses."""
        cache = HostCache(ttl=None)
        cache.put(("a", 80), results("127.0.0.1", "127.0.0.2", "127.0.0.3"), now=0)
        first = [hosts(cache.get(("a", 80), now=0))[0] for _ in range(4)]  # type: ignore[index]
        assert first == ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.1"]

    def test_bound(self) -> None:
        """The least recently used answer makes room."""
        cache = HostCache(ttl=None, max_size=2)
        for name in ("a", "b"):
            cache.put((name, 80), ONE, now=0)
        cache.get(("a", 80), now=0)
        cache.put(("c", 80), ONE, now=0)
        assert list(cache.snapshot()) == [("a", 80), ("c", 80)]

    def test_default_bound(self) -> None:
        """A thousand names are kept, however many are visited."""
        cache = HostCache(ttl=None)
        for number in range(3000):
            cache.put((str(number), 80), ONE, now=0)
        assert len(cache) == 1000

    def test_forgetting(self) -> None:
        """One answer, or all, can be dropped; a snapshot stays as it is."""
        cache = HostCache(ttl=None)
        cache.put(("a", 80), ONE, now=0)
        cache.put(("b", 80), ONE, now=0)
        snapshot = cache.snapshot()
        for key in snapshot:
            cache.discard(key)
            cache.discard(key)
        assert len(cache) == 0
        assert snapshot[("a", 80)] == ONE
        cache.put(("a", 80), ONE, now=0)
        cache.clear()
        assert not cache.snapshot()

    @pytest.mark.parametrize("arguments", [{"ttl": -1}, {"ttl": 1, "max_size": 0}])
    def test_impossible_settings(self, arguments: dict[str, Any]) -> None:
        """A negative time and no room at all are refused."""
        with pytest.raises(ValueError, match="must be"):
            HostCache(**arguments)

    @given(st.lists(st.tuples(st.sampled_from("pg"), st.sampled_from("abcdef"), st.integers(0, 5))))
    def test_any_use(self, steps: list[tuple[str, str, int]]) -> None:
        """It never has more than its bound, and never gives an answer that has expired."""
        cache = HostCache(ttl=10, max_size=3)
        now = 0.0
        put_at: dict[str, float] = {}
        for step, name, seconds in steps:
            now += seconds
            if step == "p":
                cache.put((name, 80), ONE, now)
                put_at[name] = now
            elif cache.get((name, 80), now) is not None:
                assert now - put_at[name] < 10
            assert len(cache) <= 3


class Resolver(AbstractResolver):
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: list[asyncio.Future[list[ResolveResult]]] = []
        self.cancelled = 0
        self.closed = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        assert family == socket.AF_UNSPEC
        self.asked.append(host)
        answer: asyncio.Future[list[ResolveResult]] = asyncio.get_running_loop().create_future()
        self.answers.append(answer)
        try:
            return await answer
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def close(self) -> None:
        self.closed += 1


class Trace:
    """Notes the events, and fails at those it is told to fail at."""

    def __init__(self, *failing: str) -> None:
        self.events: list[str] = []
        self.failing = failing

    async def _note(self, event: str) -> None:
        await asyncio.sleep(0)
        self.events.append(event)
        if event in self.failing:
            raise LookupError(event)

    async def send_dns_cache_hit(self, host: str) -> None:
        await self._note("hit")

    async def send_dns_cache_miss(self, host: str) -> None:
        await self._note("miss")

    async def send_dns_resolvehost_start(self, host: str) -> None:
        await self._note("start")

    async def send_dns_resolvehost_end(self, host: str) -> None:
        await self._note("end")


def run(main: Coroutine[Any, Any, None]) -> None:
    async def watched() -> None:
        await main
        await turns()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(watched())


class TestSharing:
    def test_one_lookup_for_all(self) -> None:
        """Parallel requests wait for one lookup, each with its own list."""

        async def main() -> None:
            resolver = Resolver()
            lookup = HostLookup(resolver)
            tasks = [asyncio.ensure_future(lookup.resolve("a.test", 80)) for _ in range(3)]
            await turns()
            assert resolver.asked == ["a.test"]
            resolver.answers[0].set_result(ONE)
            found = await asyncio.gather(*tasks)
            assert found == [ONE] * 3
            assert len(set(map(id, found))) == 3
            assert await lookup.resolve("a.test", 80) == ONE
            assert resolver.asked == ["a.test"]
            assert list(lookup.cached_hosts) == [("a.test", 80)]

        run(main())

    @pytest.mark.parametrize("leaver", [0, 1, 2])
    def test_cancelling_one_leaves_the_others(self, leaver: int) -> None:
        """Whichever request is cancelled, even the one that began the lookup."""

        async def main() -> None:
            resolver = Resolver()
            lookup = HostLookup(resolver)
            tasks = [asyncio.ensure_future(lookup.resolve("a.test", 80)) for _ in range(3)]
            await turns()
            tasks.pop(leaver).cancel()
            await turns()
            assert resolver.cancelled == 0
            resolver.answers[0].set_result(ONE)
            assert await asyncio.gather(*tasks) == [ONE] * 2

        run(main())

    def test_cancelling_all_ends_the_lookup(self) -> None:
        """A lookup that nobody waits for is not left pending, and the next request asks anew."""

        async def main() -> None:
            resolver = Resolver()
            lookup = HostLookup(resolver)
            tasks = [asyncio.ensure_future(lookup.resolve("a.test", 80)) for _ in range(2)]
            await turns()
            for task in tasks:
                task.cancel()
            await turns()
            assert resolver.cancelled == 1
            again = asyncio.ensure_future(lookup.resolve("a.test", 80))
            await turns()
            resolver.answers[1].set_result(ONE)
            assert await again == ONE

        run(main())

    def test_an_error_reaches_all(self) -> None:
        """A failure is everybody's, whatever its class, and is not cached."""

        async def main() -> None:
            resolver = Resolver()
            lookup = HostLookup(resolver)
            for error in (OSError(None, "no such name"), LookupError("broken resolver")):
                tasks = [asyncio.ensure_future(lookup.resolve("a.test", 80)) for _ in range(3)]
                await turns()
                resolver.answers[-1].set_exception(error)
                for task in tasks:
                    with pytest.raises(type(error)) as caught:
                        await task
                    assert caught.value is error
            assert len(resolver.asked) == 2
            assert not lookup.cached_hosts

        run(main())

    def test_a_resolver_that_is_cancelled(self) -> None:
        """A lookup that is cancelled from elsewhere is an error, not a cancellation of requests."""

        async def main() -> None:
            resolver = Resolver()
            lookup = HostLookup(resolver)
            task = asyncio.ensure_future(lookup.resolve("a.test", 80))
            await turns()
            resolver.answers[0].cancel()
            with pytest.raises(ClientConnectionError):
                await task

        run(main())

    def test_close(self) -> None:
        """Closing fails those who wait; a resolver that was given stays open."""

        async def main() -> None:
            resolver = Resolver()
            lookup = HostLookup(resolver)
            tasks = [asyncio.ensure_future(lookup.resolve("a.test", 80)) for _ in range(2)]
            await turns()
            await lookup.close()
            for task in tasks:
                with pytest.raises(ClientConnectionError, match="closed"):
                    await task
            assert resolver.cancelled == 1
            assert resolver.closed == 0
            await lookup.close()

        run(main())

    def test_without_a_cache(self) -> None:
        """`use_cache=False` asks each time and shares nothing; cancellation goes through."""

        async def main() -> None:
            resolver = Resolver()
            lookup = HostLookup(resolver, use_cache=False)
            assert not lookup.uses_cache
            trace = Trace()
            tasks = [asyncio.ensure_future(lookup.resolve("a.test", 80, [trace]))]
            tasks.append(asyncio.ensure_future(lookup.resolve("a.test", 80)))
            await turns()
            assert resolver.asked == ["a.test"] * 2
            tasks[1].cancel()
            resolver.answers[1].set_result(ONE)
            assert await tasks[0] == ONE
            await turns()
            assert resolver.cancelled == 1
            assert trace.events == ["start", "end"]
            assert not lookup.cached_hosts
            lookup.forget("a.test", 80)
            lookup.clear()

        run(main())

    def test_ttl_zero_shares_but_keeps_nothing(self) -> None:
        """Parallel requests still share; later ones ask again."""

        async def main() -> None:
            resolver = Resolver()
            lookup = HostLookup(resolver, ttl=0)
            for _ in range(2):
                tasks = [asyncio.ensure_future(lookup.resolve("a.test", 80)) for _ in range(2)]
                await turns()
                resolver.answers[-1].set_result(ONE)
                await asyncio.gather(*tasks)
            assert len(resolver.asked) == 2

        run(main())

    def test_clock_and_clearing(self) -> None:
        """Answers expire by the clock that was given, and can be dropped by host or all at once."""

        async def main() -> None:
            now = 0.0
            resolver = Resolver()
            lookup = HostLookup(resolver, ttl=10, clock=lambda: now)

            async def ask() -> int:
                task = asyncio.ensure_future(lookup.resolve("a.test", 80))
                await turns()
                for answer in resolver.answers:
                    if not answer.done():
                        answer.set_result(ONE)
                await task
                return len(resolver.asked)

            assert await ask() == 1
            now = 9
            assert await ask() == 1
            now = 10
            assert await ask() == 2
            lookup.clear("a.test", 80)
            assert await ask() == 3
            lookup.clear()
            assert await ask() == 4
            lookup.forget("a.test", 80)
            assert await ask() == 5
            with pytest.raises(ValueError, match="both host and port"):
                lookup.clear(port=80)

        run(main())


class TestTraces:
    def test_events(self) -> None:
        """Miss, start and end for who looks up; a hit for who shares it or finds it cached."""

        async def main() -> None:
            resolver = Resolver()
            lookup = HostLookup(resolver)
            first, second, third = Trace(), Trace(), Trace()
            tasks = [asyncio.ensure_future(lookup.resolve("a.test", 80, [first]))]
            await turns(1)
            tasks.append(asyncio.ensure_future(lookup.resolve("a.test", 80, [second])))
            await turns()
            resolver.answers[0].set_result(ONE)
            await asyncio.gather(*tasks)
            await lookup.resolve("a.test", 80, [third])
            assert first.events == ["miss", "start", "end"]
            assert second.events == third.events == ["hit"]
            assert resolver.asked == ["a.test"]

        run(main())

    def test_a_failed_lookup_has_ended_too(self) -> None:
        """Start and end are a pair."""

        async def main() -> None:
            resolver = Resolver()
            lookup = HostLookup(resolver)
            trace = Trace()
            task = asyncio.ensure_future(lookup.resolve("a.test", 80, [trace]))
            await turns()
            resolver.answers[0].set_exception(OSError("no"))
            with pytest.raises(OSError, match="no"):
                await task
            assert trace.events == ["miss", "start", "end"]

        run(main())

    @pytest.mark.parametrize("event", ["miss", "start", "end"])
    def test_a_failing_callback_fails_its_request_only(self, event: str) -> None:
        """Those who share the lookup get their answer, whoever should have begun it."""

        async def main() -> None:
            resolver = Resolver()
            lookup = HostLookup(resolver)
            bad = asyncio.ensure_future(lookup.resolve("a.test", 80, [Trace(event)]))
            await turns(1)
            good = asyncio.ensure_future(lookup.resolve("a.test", 80, [Trace()]))
            await turns()
            assert resolver.asked == ["a.test"]
            resolver.answers[0].set_result(ONE)
            assert await good == ONE
            with pytest.raises(LookupError):
                await bad

        run(main())

    def test_a_failing_callback_alone(self) -> None:
        """Nothing is asked, and nothing stays behind, when the only request fails in a trace."""

        async def main() -> None:
            resolver = Resolver()
            lookup = HostLookup(resolver)
            with pytest.raises(LookupError):
                await lookup.resolve("a.test", 80, [Trace("start")])
            assert resolver.asked == []
            task = asyncio.ensure_future(lookup.resolve("a.test", 80))
            await turns()
            resolver.answers[0].set_result(ONE)
            assert await task == ONE
            with pytest.raises(LookupError):
                await lookup.resolve("a.test", 80, [Trace("hit")])

        run(main())

    @pytest.mark.parametrize("count", range(12))
    def test_cancelled_in_any_turn(self, count: int) -> None:
        """A cancellation in a trace or a lookup leaves the one who shares it unharmed."""

        async def main() -> None:
            resolver = Resolver()
            lookup = HostLookup(resolver)
            first = asyncio.ensure_future(lookup.resolve("a.test", 80, [Trace()]))
            await turns(1)
            second = asyncio.ensure_future(lookup.resolve("a.test", 80, [Trace()]))
            await turns(count)
            first.cancel()
            await turns()
            resolver.answers[0].set_result(ONE)
            assert await second == ONE
            assert resolver.asked == ["a.test"]

        run(main())
