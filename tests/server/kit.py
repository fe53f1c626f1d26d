"""A client made of octets, for servers under test."""

from __future__ import annotations

import asyncio
import os
import ssl as tls
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from angelia.server.request import Request
from angelia.server.response import Response
from angelia.server.server import Server
from angelia.server.stream_response import StreamResponse

Handler = Callable[[Request], Awaitable[StreamResponse]]

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


class Answer(NamedTuple):
    """One response as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """One connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *octets: bytes) -> None:
        for piece in octets:
            self.writer.write(piece)

    async def head(self) -> tuple[int, dict[str, str]]:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        assert lines[0].startswith("HTTP/1.1 "), lines[0]
        fields = [line.split(": ", 1) for line in lines[1:-2]]
        return int(lines[0][9:12]), {name.lower(): value for name, value in fields}

    async def answer(self, *, head: bool = False) -> Answer:
        """The next response, interim ones included."""
        status, fields = await self.head()
        body = b""
        if head or status < 200 or status in (204, 304):
            pass
        elif "content-length" in fields:
            body = await self.reader.readexactly(int(fields["content-length"]))
        elif fields.get("transfer-encoding") == "chunked":
            while size := int((await self.reader.readuntil(b"\r\n"))[:-2], 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
            while (line := await self.reader.readuntil(b"\r\n")) != b"\r\n":
                name, value = line.decode().strip().split(": ", 1)
                fields[f"trailer:{name.lower()}"] = value
        else:
            body = await self.reader.read()
        return Answer(status, fields, body)

    async def rest(self) -> bytes:
        """What comes until the server closes."""
        return await self.reader.read()

    async def closed(self) -> bool:
        """Whether the server closes without another word."""
        return await self.reader.read() == b""

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            # The server was quicker.
            return


@asynccontextmanager
async def serving(handler: Handler, **options: Any) -> AsyncIterator[Server]:
    """A server on a free port of 127.0.0.1."""
    ssl = options.pop("ssl", None)
    server = Server(handler, **options)
    try:
        await server.start("127.0.0.1", 0, ssl=ssl)
        yield server
    finally:
        await server.close(0)


@asynccontextmanager
async def connected(server: Server, ssl: tls.SSLContext | None = None) -> AsyncIterator[Wire]:
    """A connection to a server."""
    name = None if ssl is None else "localhost"
    wire = Wire(
        *await asyncio.open_connection("127.0.0.1", server.port, ssl=ssl, server_hostname=name)
    )
    try:
        yield wire
    finally:
        await wire.close()


async def ask(server: Server, *octets: bytes, head: bool = False) -> Answer:
    """The first answer to what is sent on a connection of its own."""
    async with connected(server) as wire:
        wire.send(*octets)
        return await wire.answer(head=head)


def next_descriptor() -> int:
    """The number that the next file would get: higher than before where one was left open."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor


async def hello(request: Request) -> StreamResponse:
    return Response(text=f"hello {request.path}")


async def echo(request: Request) -> StreamResponse:
    return Response(await request.read())


def post(*fields: bytes, body: bytes = b"", path: bytes = b"/") -> bytes:
    """A POST with a length."""
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"POST %b HTTP/1.1\r\nHost: h\r\n%bContent-Length: %d\r\n\r\n%b" % (
        path,
        lines,
        len(body),
        body,
    )
