"""What gunicorn serves in the tests: a handler and a WSGI application, each with slow answers."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import angelia

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

# How often a slow answer looks whether it may go on.
INTERVAL = 0.01


def may_go() -> bool:
    """Whether the test lets slow answers end, which has seen then that they have begun."""
    Path("begun").touch()
    return Path("go").exists()


async def until_may_go() -> None:
    while not may_go():  # noqa: ASYNC110 - a file has no event
        await asyncio.sleep(INTERVAL)


# A worker that has come so far hears signals.
with Path("loaded").open("a") as _file:
    _file.write("x")


class Handler:
    """A handler that is entered and left, and tells of it by files."""

    async def __aenter__(self) -> None:
        self._note("entered")

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._note("left")

    def _note(self, word: str) -> None:
        with Path("notes").open("a") as file:
            file.write(f"{word} {os.getpid()}\n")

    async def __call__(self, request: angelia.Request) -> angelia.StreamResponse:
        if request.path == "/slow":
            await until_may_go()
        if request.path == "/stuck":
            may_go()
            await asyncio.Event().wait()
        scheme = request.scheme
        return angelia.Response(text=f"handler {os.getpid()} {type(_loop()).__module__} {scheme}")


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


handler = Handler()


def wsgi(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    while environ["PATH_INFO"] == "/slow" and not may_go():
        time.sleep(INTERVAL)
    body = (
        f"wsgi {os.getpid()} {environ['wsgi.multiprocess']} {environ['wsgi.url_scheme']}".encode()
    )
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def asgi(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] == "lifespan":
        message = await receive()
        while message["type"] != "lifespan.shutdown":
            scope["state"]["started"] = "started"
            await send({"type": "lifespan.startup.complete"})
            message = await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/mount/slow":
        await until_may_go()
    words = ("asgi", str(os.getpid()), scope["state"]["started"], scope["root_path"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": " ".join(words).encode()})


class Failing(Handler):
    """A handler that cannot begin."""

    async def __aenter__(self) -> None:
        raise LookupError("no database")


failing = Failing()
