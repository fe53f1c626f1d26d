"""One face for every client that is measured.

Each adapter does what the documentation of its client shows, with its defaults and with one
session for all requests.
Its methods return the number of bytes of the body, so that a run can check what it got.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import ssl
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

__all__ = ("CLIENTS", "DOCUMENT", "PACKAGES", "Client", "open_client")

DOCUMENT = {"id": 42, "name": "angelia", "text": "x" * 980}
"""1 KiB when it is serialised."""

BUFFER = 1 << 18
"""What the stock loop, too, asks for at most in one read."""


class Client(Protocol):
    """A session of the client under test."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

    async def get(self, url: str) -> int:
        """GET a small body."""
        ...

    async def post(self, url: str) -> int:
        """POST `DOCUMENT` as JSON."""
        ...

    async def stream(self, url: str) -> int:
        """GET a large body in pieces, as they come, dropping each."""
        ...

    async def read(self, url: str) -> int:
        """GET a large body as one object of bytes."""
        ...


class Base:
    """What the adapters have in common: the resources that are closed with them."""

    def __init__(self, authority: str | None) -> None:
        self.authority = authority
        self.stack = AsyncExitStack()

    def context(self) -> ssl.SSLContext | None:
        """Return what trusts the server of the benchmarks; None for plain text."""
        if self.authority is None:
            return None
        return ssl.create_default_context(cafile=self.authority)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def open(self) -> None:
        raise NotImplementedError

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        await self.stack.__aexit__(kind, error, traceback)


# --- the floor -----------------------------------------------------------------------------------


class FloorProtocol(asyncio.Protocol):
    """Counts what comes in; knows the length of the answer beforehand, and parses nothing."""

    __slots__ = ("chunks", "head", "loop", "missing", "transport", "waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.transport: asyncio.Transport
        self.waiter: asyncio.Future[None]
        self.chunks: list[bytes] | None = None
        self.missing = 0
        self.head = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # A stream's, in fact.

    def data_received(self, data: bytes) -> None:
        if not self.missing:  # The head and all of a small body.
            self.waiter.set_result(None)
            return
        if self.head:
            data = data[data.index(b"\r\n\r\n") + 4 :]
            self.head = False
        if self.chunks is not None:
            self.chunks.append(data)
        self.missing -= len(data)
        if not self.missing:
            self.waiter.set_result(None)


class BufferedFloorProtocol(asyncio.BufferedProtocol):
    """The same, receiving into one buffer, or into the place where the body will be."""

    __slots__ = ("body", "buffer", "chunks", "head", "loop", "missing", "transport", "waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.transport: asyncio.Transport
        self.waiter: asyncio.Future[None]
        self.buffer = memoryview(bytearray(BUFFER))
        self.chunks: list[bytes] | None = None
        self.body: memoryview | None = None
        self.missing = 0
        self.head = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # A stream's, in fact.

    def get_buffer(self, sizehint: int) -> memoryview:
        if self.body is not None:
            return self.body[-self.missing :]
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if not self.missing:
            # A copy, as a client must make one: the buffer is for the next answer.
            bytes(self.buffer[:nbytes])
            self.waiter.set_result(None)
            return
        if self.head:
            self.head = False
            data = bytes(self.buffer[:nbytes])
            data = data[data.index(b"\r\n\r\n") + 4 :]
            nbytes = len(data)
            if self.chunks is not None:
                body = bytearray(self.missing)
                body[:nbytes] = data
                self.chunks.append(body)  # type: ignore[arg-type]  # Joined, or measured, only.
                self.body = memoryview(body)
        elif self.body is None:
            bytes(self.buffer[:nbytes])
        self.missing -= nbytes
        if not self.missing:
            self.body = None
            self.waiter.set_result(None)


class Floor(Base):
    """What no client can do without: a socket, the loop and one future per request."""

    protocol: type[FloorProtocol | BufferedFloorProtocol] = FloorProtocol

    async def open(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.tls = self.context()
        self.idle: list[FloorProtocol | BufferedFloorProtocol] = []
        self.requests: dict[str, bytes] = {}

    async def connect(self, url: str) -> FloorProtocol | BufferedFloorProtocol:
        parts = urlsplit(url)
        _, protocol = await self.loop.create_connection(
            lambda: self.protocol(self.loop), parts.hostname or "", parts.port or 0, ssl=self.tls
        )
        self.stack.callback(protocol.transport.close)
        return protocol

    def request(self, method: str, url: str, body: bytes = b"") -> bytes:
        parts = urlsplit(url)
        head = (
            f"{method} {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: */*\r\n"
            "Accept-Encoding: gzip, deflate\r\nUser-Agent: floor\r\n"
        )
        if body:
            head += f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\n"
        return head.encode() + b"\r\n" + body

    async def small(self, request: bytes, url: str) -> int:
        protocol = self.idle.pop() if self.idle else await self.connect(url)
        protocol.waiter = self.loop.create_future()
        protocol.transport.write(request)
        await protocol.waiter
        self.idle.append(protocol)
        return 14

    async def get(self, url: str) -> int:
        request = self.requests.get(url)
        if request is None:
            request = self.requests[url] = self.request("GET", url)
        return await self.small(request, url)

    async def post(self, url: str) -> int:
        return await self.small(self.request("POST", url, json.dumps(DOCUMENT).encode()), url)

    async def large(self, url: str, chunks: list[bytes] | None) -> int:
        protocol = self.idle.pop() if self.idle else await self.connect(url)
        # The name of the file tells its size.
        size = int(url.rpartition("/")[2].removesuffix("m")) * 1_000_000
        protocol.missing, protocol.head, protocol.chunks = size, True, chunks
        protocol.waiter = self.loop.create_future()
        protocol.transport.write(self.request("GET", url))
        await protocol.waiter
        protocol.chunks = None
        self.idle.append(protocol)
        return size

    async def stream(self, url: str) -> int:
        return await self.large(url, None)

    async def read(self, url: str) -> int:
        chunks: list[bytes] = []
        await self.large(url, chunks)
        return len(b"".join(chunks))


class BufferedFloor(Floor):
    protocol = BufferedFloorProtocol


# --- clients -------------------------------------------------------------------------------------


class Session(Base):
    """angelia, and aiohttp, which has the same API."""

    package = "angelia"

    async def open(self) -> None:
        package: Any = importlib.import_module(self.package)
        tls = self.context()
        connector = package.TCPConnector() if tls is None else package.TCPConnector(ssl=tls)
        self.session = await self.stack.enter_async_context(
            package.ClientSession(connector=connector)
        )

    async def get(self, url: str) -> int:
        async with self.session.get(url) as response:
            return len(await response.read())

    async def post(self, url: str) -> int:
        async with self.session.post(url, json=DOCUMENT) as response:
            return len(await response.read())

    async def stream(self, url: str) -> int:
        size = 0
        async with self.session.get(url) as response:
            async for chunk in response.content.iter_any():
                size += len(chunk)
        return size

    async def read(self, url: str) -> int:
        return await self.get(url)


class Aiohttp(Session):
    package = "aiohttp"


class Httpx(Base):
    async def open(self) -> None:
        httpx: Any = importlib.import_module("httpx")
        tls = self.context()
        self.client = await self.stack.enter_async_context(
            httpx.AsyncClient(verify=True if tls is None else tls)
        )

    async def get(self, url: str) -> int:
        return len((await self.client.get(url)).content)

    async def post(self, url: str) -> int:
        return len((await self.client.post(url, json=DOCUMENT)).content)

    async def stream(self, url: str) -> int:
        size = 0
        async with self.client.stream("GET", url) as response:
            async for chunk in response.aiter_raw():
                size += len(chunk)
        return size

    async def read(self, url: str) -> int:
        return await self.get(url)


class Wreq(Base):
    async def open(self) -> None:
        wreq: Any = importlib.import_module("wreq")
        options = {} if self.authority is None else {"tls_verify": Path(self.authority)}
        self.client = await self.stack.enter_async_context(wreq.Client(**options))

    async def get(self, url: str) -> int:
        async with self.client.get(url) as response:
            return len(await response.bytes())

    async def post(self, url: str) -> int:
        async with self.client.post(url, json=DOCUMENT) as response:
            return len(await response.bytes())

    async def stream(self, url: str) -> int:
        size = 0
        async with self.client.get(url) as response, response.stream() as streamer:
            async for chunk in streamer:
                size += len(chunk)
        return size

    async def read(self, url: str) -> int:
        return await self.get(url)


class Pyreqwest(Base):
    async def open(self) -> None:
        package: Any = importlib.import_module("pyreqwest.client")
        builder = package.ClientBuilder()
        if self.authority is not None:
            # Before the run, so that nothing else waits for it.
            pem = Path(self.authority).read_bytes()  # noqa: ASYNC240
            builder = builder.add_root_certificate_pem(pem)
        self.client = await self.stack.enter_async_context(builder.build())

    async def get(self, url: str) -> int:
        response = await self.client.get(url).build().send()
        return len(await response.bytes())

    async def post(self, url: str) -> int:
        response = await self.client.post(url).body_json(DOCUMENT).build().send()
        return len(await response.bytes())

    async def stream(self, url: str) -> int:
        size = 0
        async with self.client.get(url).build_streamed() as response:
            reader = response.body_reader
            while (chunk := await reader.read_chunk()) is not None:
                size += len(chunk)
        return size

    async def read(self, url: str) -> int:
        return await self.get(url)


CLIENTS: dict[str, Callable[[str | None], Client]] = {
    "floor": Floor,
    "floor-buffered": BufferedFloor,
    "angelia": Session,
    "angelia-pure": Session,
    "aiohttp": Aiohttp,
    "httpx": Httpx,
    "pyreqwest": Pyreqwest,
    "wreq": Wreq,
}
"""Every client by name, in the order of the tables."""

PACKAGES = {
    "floor": "asyncio, multidict, yarl",
    "angelia": "angelia",
    "aiohttp": "aiohttp",
    "httpx": "httpx",
    "pyreqwest": "pyreqwest.client",
    "wreq": "wreq",
}
"""What a program that uses the client imports."""


def open_client(name: str, authority: str | None) -> Client:
    """Return the client of that name, not yet entered.

    Args:
        authority: The certificate to trust; None for plain text.
    """
    return CLIENTS[name](authority)
