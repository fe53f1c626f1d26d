"""What an idle connection costs the server: memory of this process, connection by connection.

Starts a server in this process, and a child that holds the other ends open. Writes one line of
JSON: octets of memory (resident, without the kernel's) for each connection that has asked once and
been answered, and for each that has said nothing yet.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import resource
import socket
import subprocess
import sys
from pathlib import Path

from worker import loop_factory

__all__ = ("main",)

FOREVER = 3600.0
"""Seconds that no measurement takes."""

WARM = 500
"""Connections that are opened and closed before: what they leave is the allocator's."""

GET = b"GET / HTTP/1.1\r\nHost: bench.test\r\n\r\n"


def resident() -> int:
    """Return the octets of memory that this process has in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def allow(count: int) -> None:
    """Allow so many open files, as far as the system does."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 100 if hard == resource.RLIM_INFINITY else min(count + 100, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def hold(port: int, count: int, *, silent: bool) -> None:
    """Be the client: open the connections, say so, and end with the standard input."""
    allow(count)
    sockets = []
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port))
        if not silent:
            sock.sendall(GET)
            sock.recv(4096)
        sockets.append(sock)
    print("ready", flush=True)
    sys.stdin.read()


async def held(port: int, count: int, *, silent: bool) -> asyncio.subprocess.Process:
    """Start the client, and wait until all its connections are open."""
    command = [sys.executable, __file__, "--port", str(port), "--count", str(count)]
    client = await asyncio.create_subprocess_exec(
        *command,
        *(["--silent"] if silent else []),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert client.stdout is not None
    line = await client.stdout.readline()
    assert line == b"ready\n", line
    return client


async def measure(count: int) -> dict[str, float]:
    import angelia

    allow(count + WARM)

    async def handler(_: angelia.Request) -> angelia.Response:
        return angelia.Response(text="Hello, World!\n")

    figures = {}
    for name, silent in (("asked", False), ("silent", True)):
        options = {"keepalive_timeout": FOREVER, "head_timeout": FOREVER}
        async with angelia.Server(handler, **options) as server:
            await server.start("127.0.0.1", 0, backlog=4096)
            client = await held(server.port, WARM, silent=silent)
            await client.communicate(b"")
            gc.collect()
            before = resident()
            client = await held(server.port, count, silent=silent)
            while server.connections < count:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
            gc.collect()
            figures[name] = (resident() - before) / count
            await client.communicate(b"")
    return figures


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", default="uvloop")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--port", type=int, default=0, help="be the client of a server there")
    parser.add_argument("--silent", action="store_true", help="the client asks nothing")
    options = parser.parse_args()
    if options.port:
        hold(options.port, options.count, silent=options.silent)
        return
    with asyncio.Runner(loop_factory=loop_factory(options.loop)) as runner:
        print(json.dumps(runner.run(measure(options.count))))


if __name__ == "__main__":
    main()
