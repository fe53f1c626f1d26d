"""One measurement of one client, in this process: CPU time around a run of requests.

Started by run.py. Writes one line of JSON: the figures, or why there are none.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

from clients import open_client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ("NotThere", "loop_factory", "main", "pin", "repeat", "report")


class NotThere(Exception):
    """The client or the event loop is not installed."""


def pin(core: int) -> None:
    """Keep this process, and the threads it will start, on one core; -1: leave it alone."""
    if core >= 0:
        os.sched_setaffinity(0, {core})


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the event loop of that name.

    Raises:
        NotThere: It is not installed.
    """
    if name == "asyncio":
        return asyncio.new_event_loop
    try:
        module: Any = importlib.import_module(name)
    except ImportError as exc:
        raise NotThere(f"{name} is not installed") from exc
    factory: Callable[[], asyncio.AbstractEventLoop] = module.new_event_loop
    return factory


def report(measure: Callable[[], dict[str, float]]) -> NoReturn:
    """Write what `measure` returns as a line of JSON, or why it could not measure, and exit."""
    result: dict[str, float | str]
    try:
        result = dict(measure())
    except NotThere as exc:
        result = {"skipped": str(exc)}
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
    # Some extension modules crash while the interpreter winds up, when all has been measured.
    os._exit(0)


async def repeat(
    call: Callable[[str], Awaitable[int]], url: str, count: int, concurrency: int
) -> int:
    """Call `count` times, `concurrency` at a time, and return the number of bytes received."""

    async def work(times: int) -> int:
        size = 0
        for _ in range(times):
            size += await call(url)
        return size

    share, rest = divmod(count, concurrency)
    runs = [work(share + (number < rest)) for number in range(concurrency)]
    return sum(await asyncio.gather(*runs))


async def run(options: argparse.Namespace) -> dict[str, float]:
    """Warm the client up, then measure it.

    Raises:
        NotThere: The client is not installed.
        RuntimeError: It did not receive what was sent.
    """
    client = open_client(options.client, options.authority)
    try:
        await client.__aenter__()
    except (ImportError, AttributeError) as exc:
        raise NotThere(f"{options.client} cannot be used: {exc}") from exc
    try:
        call: Callable[[str], Awaitable[int]] = getattr(client, options.method)
        warm = max(options.concurrency, min(options.count // 10, 1000))
        if options.concurrency == 1:
            warm = 1
        await repeat(call, options.url, warm, options.concurrency)
        began, cpu = time.perf_counter(), time.process_time()
        size = await repeat(call, options.url, options.count, options.concurrency)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - began
    finally:
        await client.__aexit__(None, None, None)
    if size != options.count * options.size:
        raise RuntimeError(f"{size} bytes received, {options.count * options.size} expected")
    return {"cpu": cpu, "wall": wall, "count": options.count, "bytes": size}


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", required=True)
    parser.add_argument("--loop", default="asyncio")
    parser.add_argument("--method", default="get")
    parser.add_argument("--url", required=True)
    parser.add_argument("--size", type=int, required=True, help="bytes of one body")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--authority")
    parser.add_argument("--core", type=int, default=-1)
    options = parser.parse_args()
    pin(options.core)

    def measure() -> dict[str, float]:
        with asyncio.Runner(loop_factory=loop_factory(options.loop)) as runner:
            return runner.run(run(options))

    report(measure)


if __name__ == "__main__":
    main()
