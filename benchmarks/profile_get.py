"""Where the CPU goes in a GET: functions and lines, by samples or by cProfile.

    .venv-bench/bin/python benchmarks/profile_get.py [--how samples|calls] [--loop uvloop]

Samples interrupt the program each few milliseconds of CPU and cost it next to nothing; what C code
takes, the kernel included, counts for the Python line that called it. cProfile counts every call,
and makes small functions look dearer than they are.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import signal
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from clients import Client, open_client
from prepare import PROJECT, PYTHON
from served import cores, serving
from worker import NotThere, loop_factory, pin, repeat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FrameType

__all__ = ("main",)

CONCURRENCY = 32
INTERVAL = 0.001
"""Seconds of CPU between samples; the kernel may round it up to its own tick."""


def place(file: str) -> str:
    """Return the part of a path that says enough."""
    parts = Path(file).parts
    for start in ("src", "site-packages"):
        if start in parts:
            return "/".join(parts[parts.index(start) + 1 :])
    return "/".join(parts[-2:])


class Samples:
    """What ran when the timer of the process went off."""

    def __init__(self) -> None:
        self.total = 0
        self.lines: Counter[tuple[CodeType, int]] = Counter()
        self.own: Counter[CodeType] = Counter()
        self.within: Counter[CodeType] = Counter()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take samples while the block runs."""
        before = signal.signal(signal.SIGPROF, self.take)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)

    def take(self, number: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        self.total += 1
        self.lines[frame.f_code, frame.f_lineno] += 1
        self.own[frame.f_code] += 1
        codes = set()
        at: FrameType | None = frame
        while at is not None:
            codes.add(at.f_code)
            at = at.f_back
        self.within.update(codes)

    def show(self, rows: int, microseconds: float) -> None:
        """Print the dearest functions and lines, in microseconds of a request."""
        if not self.total:
            print("no samples: the run was too short")
            return
        each = microseconds / self.total
        print(f"{self.total} samples\n\nµs own   µs with callees   function")
        for code, count in self.own.most_common(rows):
            name = f"{code.co_qualname}  {place(code.co_filename)}:{code.co_firstlineno}"
            print(f"{count * each:6.2f}{self.within[code] * each:13.2f}      {name}")
        print("\nµs own   line")
        for (code, line), count in self.lines.most_common(rows):
            print(f"{count * each:6.2f}   {place(code.co_filename)}:{line}  {code.co_qualname}")


async def requests(client: Client, url: str, count: int) -> float:
    """Return the seconds of CPU of `count` requests."""
    began = time.process_time()
    await repeat(client.get, url, count, CONCURRENCY)
    return time.process_time() - began


async def profile(options: argparse.Namespace, url: str, authority: str | None) -> None:
    """Run the requests twice: as they are, then under the profiler."""
    async with open_client(options.client, authority) as client:
        await requests(client, url, 1000)
        plain = await requests(client, url, options.count) / options.count * 1e6
        print(f"{options.client} on {options.loop}: {plain:.1f} µs of CPU per request")
        if options.how == "samples":
            samples = Samples()
            with samples.taken():
                sampled = await requests(client, url, options.count) / options.count * 1e6
            print(f"{sampled:.1f} µs while sampled")
            samples.show(options.rows, sampled)
            return
        with cProfile.Profile() as profiler:
            await requests(client, url, options.count)
    pstats.Stats(profiler).sort_stats(options.sort).print_stats(options.rows)


def main() -> None:
    """Profile as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--client", choices=("angelia", "floor"), default="angelia")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--how", choices=("samples", "calls"), default="samples")
    parser.add_argument("--sort", default="tottime", help="of cProfile's table")
    parser.add_argument("--rows", type=int, default=30)
    parser.add_argument("--count", type=int, default=50_000, help="requests")
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()
    sys.path.insert(0, str(PROJECT / "src"))
    core, server_core = cores()
    with serving(server_core, tls=PYTHON if options.tls else None) as server:
        pin(core)
        authority = None if server.authority is None else str(server.authority)
        try:
            with asyncio.Runner(loop_factory=loop_factory(options.loop)) as runner:
                runner.run(profile(options, server.url, authority))
        except (NotThere, ImportError, AttributeError) as exc:
            raise SystemExit(f"{options.client} cannot be profiled: {exc}") from exc


if __name__ == "__main__":
    main()
