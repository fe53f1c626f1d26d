"""Each server behind one face: a program that answers four kinds of request until it is stopped.

Started by serve.py, with the name of a server and a port::

    python servers.py --server angelia --port 8000 --loop uvloop --file /dev/shm/100m

``GET /`` is answered with 14 bytes, ``POST /echo`` with what it sent, ``GET /stream`` with 100 MB
in pieces, ``GET /file`` with the file, by `sendfile` where the server can do that.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any, Final

from served import BODY, MEBI

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

__all__ = ("NOT_THERE", "SERVERS", "main")

NOT_THERE: Final = 3
"""The exit status that says that a server is not installed."""

PIECE: Final = bytes(62_500)
PIECES: Final = 100 * MEBI // len(PIECE)

ASGIReceive = "Callable[[], Awaitable[dict[str, Any]]]"
ASGISend = "Callable[[dict[str, Any]], Awaitable[None]]"


# --- the floor -----------------------------------------------------------------------------------


class Floor(asyncio.Protocol):
    """Answers whatever comes with fixed octets; nothing is parsed."""

    HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Type: text/plain\r\n\r\n"

    def __init__(self) -> None:
        self.transport: Any = None
        self.missing = 0
        self.pieces = 0
        self.paused = False

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        while self.pieces and not self.paused:
            self.pieces -= 1
            self.transport.write(PIECE)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.missing:
            self.missing -= len(data)
        elif data.startswith(b"POST"):
            head, _, body = data.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            self.transport.write(self.HEAD % length)
            self.missing = length - len(body)
            data = body
        elif data.startswith(b"GET /stream"):
            self.transport.write(self.HEAD % (PIECES * len(PIECE)))
            self.pieces = PIECES
            self.resume_writing()
            return
        else:
            self.transport.write(self.HEAD % len(BODY) + BODY)
            return
        self.transport.write(data)


async def serve_floor(port: int, _: str) -> None:
    server = await asyncio.get_running_loop().create_server(Floor, "127.0.0.1", port)
    await ready(server.serve_forever())


# --- handlers ------------------------------------------------------------------------------------


async def serve_angelia(port: int, file: str) -> None:
    import angelia

    async def handler(request: angelia.Request) -> angelia.StreamResponse:
        path = request.path
        if path == "/echo":
            return angelia.Response(await request.read())
        if path == "/file":
            return angelia.FileResponse(file)
        if path == "/stream":
            response = angelia.StreamResponse(headers={"Content-Length": str(100 * MEBI)})
            await response.prepare(request)
            for _ in range(PIECES):
                await response.write(PIECE)
            return response
        return angelia.Response(text="Hello, World!\n")

    async with angelia.Server(handler) as server:
        await server.start("127.0.0.1", port)
        await ready(asyncio.Event().wait())


async def serve_asgi(port: int, _: str) -> None:
    import angelia

    asgi: Any = importlib.import_module("angelia.hosting.asgi")
    async with asgi.ASGIHandler(application) as handler, angelia.Server(handler) as server:
        await server.start("127.0.0.1", port)
        await ready(asyncio.Event().wait())


async def serve_aiohttp(port: int, file: str) -> None:
    web: Any = importlib.import_module("aiohttp.web")

    async def handler(request: Any) -> Any:
        path = request.path
        if path == "/echo":
            return web.Response(body=await request.read())
        if path == "/file":
            return web.FileResponse(file)
        if path == "/stream":
            response = web.StreamResponse(headers={"Content-Length": str(100 * MEBI)})
            await response.prepare(request)
            for _ in range(PIECES):
                await response.write(PIECE)
            return response
        return web.Response(text="Hello, World!\n")

    runner = web.ServerRunner(web.Server(handler, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await ready(asyncio.Event().wait())


# --- ASGI ----------------------------------------------------------------------------------------


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """A bare ASGI application that answers as the handlers do."""
    if scope["type"] == "lifespan":
        while True:
            event = (await receive())["type"].removeprefix("lifespan.")
            await send({"type": f"lifespan.{event}.complete"})
            if event == "shutdown":
                return
    path, body = scope["path"], BODY
    if path == "/echo":
        pieces, more = [], True
        while more:
            message = await receive()
            pieces.append(message.get("body", b""))
            more = message.get("more_body", False)
        body = b"".join(pieces)
    size = PIECES * len(PIECE) if path == "/stream" else len(body)
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % size)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if path == "/stream":
        for _ in range(PIECES):
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        body = b""
    await send({"type": "http.response.body", "body": body})


async def serve_uvicorn(port: int, _: str) -> None:
    uvicorn: Any = importlib.import_module("uvicorn")
    config = uvicorn.Config(
        application, port=port, log_level="critical", access_log=False, loop="none"
    )
    await ready(uvicorn.Server(config).serve())


def serve_granian(port: int, loop: str) -> None:
    granian: Any = importlib.import_module("granian")
    say_ready()
    granian.Granian(
        "servers:application",
        address="127.0.0.1",
        port=port,
        interface="asgi",
        loop=loop,
        log_enabled=False,
        http="1",
    ).serve()


# --- all -----------------------------------------------------------------------------------------


SERVERS: Final[dict[str, Callable[[int, str], Coroutine[Any, Any, None]] | None]] = {
    "floor": serve_floor,
    "angelia": serve_angelia,
    "angelia-pure": serve_angelia,
    "angelia-asgi": serve_asgi,
    "aiohttp": serve_aiohttp,
    "uvicorn": serve_uvicorn,
    "granian": None,
}
"""The servers that run on an event loop of ours, and granian, which has its own process for it."""

NEEDS: Final = {
    "angelia-asgi": "angelia.hosting.asgi",
    "aiohttp": "aiohttp",
    "uvicorn": "uvicorn",
    "granian": "granian",
}


def say_ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


async def ready(forever: Awaitable[Any]) -> None:
    """Say that the server is about to listen, or does so, and go on."""
    say_ready()
    await forever


def main() -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, choices=SERVERS)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--loop", default="uvloop")
    parser.add_argument("--file", default="")
    options = parser.parse_args()
    needs = [NEEDS.get(options.server, "angelia")]
    if options.loop == "uvloop":
        needs.append("uvloop")
    for module in needs:
        if importlib.util.find_spec(module) is None:
            sys.stdout.write(f"{module} is not installed\n")
            raise SystemExit(NOT_THERE)
    serve = SERVERS[options.server]
    if serve is None:
        serve_granian(options.port, options.loop)
        return
    factory: Any = asyncio.new_event_loop
    if options.loop == "uvloop":
        factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(options.port, options.file))


if __name__ == "__main__":
    main()
