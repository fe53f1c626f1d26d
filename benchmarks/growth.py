"""How the cost of a GET grows with what is none of its business, in this process.

Started by run.py, once per kind and size. Writes one line of JSON, as worker.py does.

Kinds
    idle     idle connections to as many other hosts in the pool
    waiting  requests that wait for a connection to another host
    queue    requests started at once, on a connector limited to 32 connections
    cookies  cookies of as many other hosts in the jar
    length   one body of that many megabytes: the cost per megabyte
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import socket
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from worker import NotThere, loop_factory, pin, repeat, report

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ("KINDS", "main")

CONCURRENCY = 32
HELD = 32
"""Connections that the requests of `waiting` wait for."""

FOREVER = 3600.0
"""Seconds that no measurement takes."""

HOST = "bench.test"


class Bench:
    """A session of angelia, or of aiohttp, to a server that has every name."""

    def __init__(self, options: argparse.Namespace, stack: AsyncExitStack) -> None:
        self.stack = stack
        self.count: int = options.count
        self.size: int = options.size
        self.port = urlsplit(options.url).port
        self.file: str = options.file
        try:
            self.package: Any = importlib.import_module(options.client)
            base: Any = importlib.import_module(f"{options.client}.abc").AbstractResolver
            # Half a package is as good as none.
            self.package.ClientSession  # noqa: B018
        except (ImportError, AttributeError) as exc:
            raise NotThere(f"{options.client} cannot be used: {exc}") from exc

        class Resolver(base):  # type: ignore[misc]  # The base is known only at run time.
            """Every name is this machine."""

            async def resolve(
                self, host: str, port: int = 0, family: int = socket.AF_INET
            ) -> list[dict[str, object]]:
                address = {"hostname": host, "host": "127.0.0.1", "port": port}
                return [{**address, "family": socket.AF_INET, "proto": 0, "flags": 0}]

            async def close(self) -> None:
                pass

        self.resolver = Resolver()

    def url(self, host: str = HOST, path: str = "/") -> str:
        return f"http://{host}:{self.port}{path}"

    async def open(self, *, limit: int = 0, limit_per_host: int = 0, jar: Any = None) -> None:
        connector = self.package.TCPConnector(
            limit=limit,
            limit_per_host=limit_per_host,
            keepalive_timeout=FOREVER,
            resolver=self.resolver,
        )
        timeout = self.package.ClientTimeout(total=FOREVER)
        self.session = await self.stack.enter_async_context(
            self.package.ClientSession(connector=connector, cookie_jar=jar, timeout=timeout)
        )

    async def get(self, url: str) -> int:
        async with self.session.get(url) as response:
            return len(await response.read())

    async def measure(self, call: Callable[[str], Awaitable[int]] | None = None) -> float:
        """Return the CPU seconds of one GET of `url()`."""
        call = self.get if call is None else call
        await repeat(call, self.url(), min(self.count, 1000), CONCURRENCY)
        began = time.process_time()
        await repeat(call, self.url(), self.count, CONCURRENCY)
        return (time.process_time() - began) / self.count


async def idle(bench: Bench) -> float:
    await bench.open()
    numbers = iter(range(bench.size))

    async def get_other(_: str) -> int:
        return await bench.get(bench.url(f"host{next(numbers)}.test"))

    await repeat(get_other, "", bench.size, CONCURRENCY)
    return await bench.measure()


async def waiting(bench: Bench) -> float:
    await bench.open(limit_per_host=HELD)
    for _ in range(HELD):  # Answers that are not read keep their connections.
        large = bench.session.get(bench.url("held.test", bench.file))
        await bench.stack.enter_async_context(large)
    url = bench.url("held.test")
    waiters = [asyncio.create_task(bench.get(url)) for _ in range(bench.size)]
    await asyncio.sleep(0)
    try:
        return await bench.measure()
    finally:
        for waiter in waiters:
            waiter.cancel()
        await asyncio.gather(*waiters, return_exceptions=True)


async def queue(bench: Bench) -> float:
    await bench.open(limit=CONCURRENCY)
    await bench.measure()
    url, rounds = bench.url(), max(1, bench.count // bench.size)
    began = time.process_time()
    for _ in range(rounds):
        await asyncio.gather(*[bench.get(url) for _ in range(bench.size)])
    return (time.process_time() - began) / (rounds * bench.size)


async def cookies(bench: Bench) -> float:
    yarl: Any = importlib.import_module("yarl")
    jar = bench.package.CookieJar()
    for number in range(bench.size):
        jar.update_cookies({"session": "1" * 16}, yarl.URL(f"http://host{number}.test/"))
    jar.update_cookies({"session": "1" * 16}, yarl.URL(bench.url()))
    await bench.open(jar=jar)
    return await bench.measure()


async def length(bench: Bench) -> float:
    await bench.open()

    async def stream() -> None:
        async with bench.session.get(bench.url(path=bench.file)) as response:
            async for _ in response.content.iter_any():
                pass

    rounds = max(1, bench.count // bench.size)
    await stream()
    began = time.process_time()
    for _ in range(rounds):
        await stream()
    return (time.process_time() - began) / (rounds * bench.size)


KINDS: dict[str, Callable[[Bench], Awaitable[float]]] = {
    "idle": idle,
    "waiting": waiting,
    "queue": queue,
    "cookies": cookies,
    "length": length,
}


async def run(options: argparse.Namespace) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        bench = Bench(options, stack)
        return {"cpu": await KINDS[options.kind](bench), "count": 1}


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", default="angelia")
    parser.add_argument("--loop", default="asyncio")
    parser.add_argument("--kind", choices=tuple(KINDS), required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--file", default="", help="the path of a large file of the server")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--count", type=int, default=10_000, help="requests, or megabytes")
    parser.add_argument("--core", type=int, default=-1)
    options = parser.parse_args()
    pin(options.core)

    def measure() -> dict[str, float]:
        with asyncio.Runner(loop_factory=loop_factory(options.loop)) as runner:
            return runner.run(run(options))

    report(measure)


if __name__ == "__main__":
    main()
