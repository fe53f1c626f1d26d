"""The server of the WebSocket measurements, on its own core: an echo, a sink, and a source.

Started by ws_served.py. Writes its port as a line, and ends with its input.

Paths
    /echo            sends back what comes
    /sink/N          takes N messages, then says so
    /source/N/SIZE   waits for a message, then sends N of SIZE bytes
    /memory          says how many KiB of memory this process has
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from worker import loop_factory, pin

import angelia

__all__ = ("main", "resident")


def resident() -> int:
    """Return how many KiB of memory this process has, in the machine's own."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("this system does not say")


async def handler(request: angelia.Request) -> angelia.StreamResponse:
    """Do as the path says."""
    ws = angelia.WebSocketResponse(max_msg_size=0)
    await ws.prepare(request)
    kind, *numbers = request.path.strip("/").split("/")
    if kind == "memory":
        await ws.send_str(str(resident()))
    elif kind == "sink":
        for _ in range(int(numbers[0])):
            if (await ws.receive()).type is not angelia.WSMsgType.BINARY:
                # A client that does not measure this has gone.
                return ws
        await ws.send_str("done")
    elif kind == "source":
        await ws.receive()
        content = bytes(int(numbers[1]))
        for _ in range(int(numbers[0])):
            await ws.send_bytes(content)
    async for message in ws:
        if message.type is angelia.WSMsgType.BINARY:
            await ws.send_bytes(message.data)
        else:
            await ws.send_str(message.data)
    return ws


async def serve() -> None:
    """Listen until the standard input ends."""
    async with angelia.Server(handler) as server:
        await server.start("127.0.0.1", 0, backlog=20_000)
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        await server.close(0)


def main() -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", type=int, default=-1)
    options = parser.parse_args()
    pin(options.core)
    with asyncio.Runner(loop_factory=loop_factory("uvloop")) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main()
