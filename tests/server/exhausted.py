"""A server that may open few files, for a test: tells its port, and what its loop complains of.

It answers each request with the number of its open connections.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import Callable
from typing import Any

from angelia.server.request import Request
from angelia.server.response import Response
from angelia.server.server import Server
from angelia.server.stream_response import StreamResponse


def tell(line: str) -> None:
    """Write a line for the test."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(spare: int) -> None:
    loop = asyncio.get_running_loop()

    complaints: list[str] = []

    def complain(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # Once: before Python 3.12 there are as many as connections may wait, and the pipe is full.
        complaints.append(context["message"])
        if len(complaints) == 1:
            tell(f"complaint: {context['message']}")

    async def handler(request: Request) -> StreamResponse:
        return Response(text=str(server.connections))

    async with Server(handler) as server:
        await server.start("127.0.0.1", 0)
        # Descriptors are given from the lowest free number on.
        lowest = os.dup(0)
        os.close(lowest)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + spare, hard))
        loop.set_exception_handler(complain)
        tell(f"port: {server.port}")
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if sys.argv[2] == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main(int(sys.argv[1])))
