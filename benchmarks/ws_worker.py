"""One measurement of one WebSocket client, in this process.

Started by run.py. Writes one line of JSON, as worker.py does.

Kinds
    echo      round trips on one connection, one after the other
    deflate   the same, of JSON, with permessage-deflate
    send      messages one way, as fast as they are taken
    receive   messages the other way
    idle      open connections on which nothing happens: memory, here and in the server
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Protocol

from worker import NotThere, loop_factory, pin, report
from ws_server import resident

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("CLIENTS", "main")

OPENING_AT_A_TIME = 50


class Socket(Protocol):
    """A WebSocket of the client under test."""

    async def echo(self, message: bytes | str, count: int) -> int:
        """Send and receive that many times; return the number of bytes or characters received."""
        ...

    async def send(self, message: bytes, count: int) -> None:
        """Send that many times, then wait for one message."""
        ...

    async def receive(self, count: int) -> int:
        """Send one message, then receive so many; return the number of bytes."""
        ...


class Session:
    """angelia, or aiohttp: they have one face."""

    def __init__(self, ws: Any) -> None:
        self.ws = ws

    async def echo(self, message: bytes | str, count: int) -> int:
        ws, size = self.ws, 0
        for _ in range(count):
            if isinstance(message, str):
                await ws.send_str(message)
            else:
                await ws.send_bytes(message)
            size += len((await ws.receive()).data)
        return size

    async def send(self, message: bytes, count: int) -> None:
        for _ in range(count):
            await self.ws.send_bytes(message)
        await self.ws.receive()

    async def receive(self, count: int) -> int:
        await self.ws.send_str("go")
        size = 0
        for _ in range(count):
            size += len((await self.ws.receive()).data)
        return size


def session_opener(name: str) -> Callable[[AsyncExitStack, bool], Any]:
    """Return what makes a session of the package, and from it what opens WebSockets."""

    async def opener(stack: AsyncExitStack, deflate: bool) -> Callable[[str], Any]:
        package = importlib.import_module(name)
        connector = package.TCPConnector(limit=0)
        session = await stack.enter_async_context(package.ClientSession(connector=connector))

        async def opened(url: str) -> Session:
            ws = await session.ws_connect(url, compress=15 if deflate else 0, max_msg_size=0)
            stack.push_async_callback(ws.close)
            return Session(ws)

        return opened

    return opener


class Library:
    """websockets."""

    def __init__(self, ws: Any) -> None:
        self.ws = ws

    async def echo(self, message: bytes | str, count: int) -> int:
        ws, size = self.ws, 0
        for _ in range(count):
            await ws.send(message)
            size += len(await ws.recv())
        return size

    async def send(self, message: bytes, count: int) -> None:
        for _ in range(count):
            await self.ws.send(message)
        await self.ws.recv()

    async def receive(self, count: int) -> int:
        await self.ws.send("go")
        size = 0
        for _ in range(count):
            size += len(await self.ws.recv())
        return size


async def open_library(stack: AsyncExitStack, deflate: bool) -> Callable[[str], Any]:
    """Return what opens WebSockets of the package websockets."""
    client = importlib.import_module("websockets.asyncio.client")

    async def opened(url: str) -> Library:
        ws = await client.connect(
            url,
            max_size=None,
            compression="deflate" if deflate else None,
            ping_interval=None,
            open_timeout=60,
        )
        stack.push_async_callback(ws.close)
        return Library(ws)

    return opened


class Callbacks:
    """picows: it calls for each frame, and nobody awaits anything."""

    def __init__(self, package: Any) -> None:
        self.kinds = package.WSMsgType
        self.transport: Any = None
        self.left = 0
        self.size = 0
        self.answer: bytes | None = None
        self.done: asyncio.Future[None] | None = None

    def frame(self, frame: Any) -> None:
        if frame.msg_type not in (self.kinds.BINARY, self.kinds.TEXT):
            return
        self.size += len(frame.get_payload_as_bytes())
        self.left -= 1
        if self.left and self.answer is not None:
            self.transport.send(self.kinds.BINARY, self.answer)
        elif not self.left and self.done is not None:
            self.done.set_result(None)

    async def wait(self, count: int, first: bytes, answer: bytes | None = None) -> int:
        self.left, self.size, self.answer = count, 0, answer
        self.done = asyncio.get_running_loop().create_future()
        self.transport.send(self.kinds.BINARY, first)
        await self.done
        return self.size

    async def echo(self, message: bytes | str, count: int) -> int:
        assert isinstance(message, bytes)
        return await self.wait(count, message, message)

    async def send(self, message: bytes, count: int) -> None:
        raise NotThere("does not wait for the socket")

    async def receive(self, count: int) -> int:
        return await self.wait(count, b"go")


async def open_callbacks(stack: AsyncExitStack, deflate: bool) -> Callable[[str], Any]:
    """Return what opens WebSockets of picows."""
    package: Any = importlib.import_module("picows")
    if deflate:
        raise NotThere("has no compression here")

    async def opened(url: str) -> Callbacks:
        face = Callbacks(package)

        class Listener(package.WSListener):  # type: ignore[misc]  # known only at run time
            """Hands the frames on."""

            def on_ws_connected(self, transport: Any) -> None:
                face.transport = transport

            def on_ws_frame(self, _transport: Any, frame: Any) -> None:
                face.frame(frame)

        transport, _ = await package.ws_connect(Listener, url)
        stack.callback(transport.disconnect)
        return face

    return opened


CLIENTS: dict[str, Callable[[AsyncExitStack, bool], Any]] = {
    "angelia": session_opener("angelia"),
    "angelia-pure": session_opener("angelia"),
    "aiohttp": session_opener("aiohttp"),
    "websockets": open_library,
    "picows": open_callbacks,
}


def document(size: int) -> str:
    """Return some JSON of about that many characters."""
    rows = [
        {"id": number, "name": f"item {number}", "price": number * 1.25, "tags": ["a", "b"]}
        for number in range(size // 70 + 1)
    ]
    return json.dumps(rows)[:size]


async def run(options: argparse.Namespace) -> dict[str, float]:
    """Open, warm up, measure.

    Raises:
        NotThere: The client is not installed.
        RuntimeError: It did not receive what was sent.
    """
    kind, count, size, url = options.kind, options.count, options.size, options.url
    async with AsyncExitStack() as stack:
        try:
            opener = await CLIENTS[options.client](stack, kind == "deflate")
        except (ImportError, AttributeError) as exc:
            raise NotThere(f"{options.client} cannot be used: {exc}") from exc
        if kind == "idle":
            return await idle(opener, url, count)
        path = {"send": f"/sink/{count}", "receive": f"/source/{count}/{size}"}.get(kind, "/echo")
        warm = await opener(f"{url}/echo")
        message = document(size) if kind == "deflate" else bytes(size)
        await warm.echo(message, min(count, 500))
        ws = await opener(url + path)
        received, expected = 0, 0
        began, cpu = time.perf_counter(), time.process_time()
        if kind == "send":
            await ws.send(message, count)
        elif kind == "receive":
            received, expected = await ws.receive(count), size * count
        else:
            received, expected = await ws.echo(message, count), len(message) * count
        cpu, wall = time.process_time() - cpu, time.perf_counter() - began
    if received != expected:
        raise RuntimeError(f"{received} bytes received, {expected} expected")
    return {"cpu": cpu, "wall": wall, "count": count, "bytes": size * count}


async def idle(opener: Callable[[str], Any], url: str, count: int) -> dict[str, float]:
    """Open that many WebSockets and see what the memory of both sides says."""
    probe = await opener(f"{url}/echo")
    await probe.echo(bytes(64) if not isinstance(probe, Callbacks) else b"x" * 64, 10)
    server_before = await remote_memory(url)
    before = resident()
    opened = []
    for start in range(0, count, OPENING_AT_A_TIME):
        several = min(OPENING_AT_A_TIME, count - start)
        opened += await asyncio.gather(*(opener(f"{url}/echo") for _ in range(several)))
    here, there = resident() - before, await remote_memory(url) - server_before
    return {"client": here / len(opened), "server": there / len(opened), "count": count}


async def remote_memory(url: str) -> int:
    """Return how many KiB of memory the server has."""
    angelia: Any = importlib.import_module("angelia")
    async with angelia.ClientSession() as session, session.ws_connect(f"{url}/memory") as ws:
        return int(await ws.receive_str())


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", required=True)
    parser.add_argument("--loop", default="uvloop")
    parser.add_argument("--kind", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--size", type=int, required=True, help="bytes of one message")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--core", type=int, default=-1)
    options = parser.parse_args()
    pin(options.core)

    def measure() -> dict[str, float]:
        with asyncio.Runner(loop_factory=loop_factory(options.loop)) as runner:
            return runner.run(run(options))

    report(measure)


if __name__ == "__main__":
    main()
