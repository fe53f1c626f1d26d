"""The server of ``angelia demo``: a handler of ours, on the loopback interface, in the same loop.

Owns: what it answers, and what it notes of that. Must not know the client, nor need a network or a
name service.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from angelia.server.access_log import AbstractAccessLogger
from angelia.server.http_exception import HTTPException
from angelia.server.request import Request
from angelia.server.response import Response, json_response
from angelia.server.server import Server
from angelia.server.stream_response import StreamResponse

__all__ = ("GZIPPED_TEXT", "STREAM_LINES", "serving")

GZIPPED_TEXT: Final = "A message is worth more than its size. " * 100
STREAM_LINES: Final = 5
# The content that /broken announces; it sends less.
ANNOUNCED: Final = 1000
# A client without a bound on its requests does not wait longer than this for /slow.
SLOW: Final = 5.0


async def _hello(_request: Request) -> StreamResponse:
    return Response(text="hello, world\n")


async def _echo(request: Request) -> StreamResponse:
    """What came, as JSON."""
    return json_response({"type": request.content_type, "body": await request.text()})


async def _stream(request: Request) -> StreamResponse:
    """Chunked content, each line as soon as there is one."""
    response = StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    for number in range(STREAM_LINES):
        await response.write(b'{"line": %d}\n' % number)
        await asyncio.sleep(0.01)
    return response


async def _moved(_request: Request) -> StreamResponse:
    return Response(status=302, headers={"Location": "/hello"})


async def _login(_request: Request) -> StreamResponse:
    response = json_response({"ok": True})
    response.set_cookie("session", "s3cret", httponly=True)
    return response


async def _whoami(request: Request) -> StreamResponse:
    return json_response({"cookie": request.headers.get("Cookie")})


async def _gzip(_request: Request) -> StreamResponse:
    response = Response(text=GZIPPED_TEXT)
    response.enable_compression()
    return response


async def _broken(request: Request) -> StreamResponse:
    """Less content than announced, and the end of the connection."""
    response = StreamResponse(headers={"Content-Length": str(ANNOUNCED)})
    await response.prepare(request)
    await response.write(b"only this")
    # Too late for another answer: the connection breaks off.
    raise HTTPException(500)


async def _slow(request: Request) -> StreamResponse:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(request.wait_disconnected(), SLOW)
    return Response(text="late\n")


_PAGES: Final[dict[tuple[str, str], Callable[[Request], Awaitable[StreamResponse]]]] = {
    ("GET", "/hello"): _hello,
    ("POST", "/echo"): _echo,
    ("GET", "/stream"): _stream,
    ("GET", "/moved"): _moved,
    ("GET", "/login"): _login,
    ("GET", "/whoami"): _whoami,
    ("GET", "/gzip"): _gzip,
    ("GET", "/broken"): _broken,
    ("GET", "/slow"): _slow,
}


async def _answer(request: Request) -> StreamResponse:
    """Answer with what the path stands for."""
    page = _PAGES.get((request.method, request.path))
    if page is None:
        raise HTTPException(404)
    return await page(request)


class _Notes(AbstractAccessLogger):
    """Keeps a line for each request, and writes no log."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        super().__init__(logging.getLogger("angelia.demo"), "")
        self.lines: list[str] = []

    def log(self, request: Request, response: StreamResponse, time: float) -> None:
        what = f"{request.method} {request.target}"
        self.lines.append(f"{what} with {response.status} and {response.body_length} bytes")


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[str, list[str]]]:
    """Run the server for the time of the ``async with``.

    Gives its URL, without a slash at the end, and a growing list of what it has answered.
    """
    notes = _Notes()
    server = Server(_answer, access_log=notes)
    try:
        await server.start("127.0.0.1", 0)
        yield f"http://127.0.0.1:{server.port}", notes.lines
    finally:
        # The demonstration is over: nothing is waited for.
        await server.close(0)
