"""TestServer, RawServer and unused_port: servers on free ports of this machine.

Owns: where they listen and what URLs they have. How requests are answered is `angelia.server`'s,
or for a `RawServer` the test's.
"""

from __future__ import annotations

import asyncio
import socket
import ssl as tls
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from yarl import URL

from angelia.server.server import Server

if TYPE_CHECKING:
    from angelia.server.options import Handler

__all__ = ("RawServer", "Script", "TestServer", "unused_port")

LOOPBACK: Final = "127.0.0.1"
# A test that failed should not wait for the handlers that it left behind.
DEFAULT_CLOSE_TIMEOUT: Final = 1.0

Script: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def unused_port() -> int:
    """A TCP port of 127.0.0.1 that is free now; another program may take it at any time.

    Where a server can be started with port 0 and asked for its port, that is better.
    """
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        return int(sock.getsockname()[1])


class _Listening:
    """What has an address on this machine, and begins and ends with ``async with``."""

    __test__ = False

    def __init__(self, scheme: str, host: str) -> None:
        self._scheme = scheme
        self._host = host

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return self._scheme

    @property
    def host(self) -> str:
        """The host in URLs."""
        return self._host

    @property
    def port(self) -> int | None:
        """The port; None while nothing listens."""
        raise NotImplementedError

    def make_url(self, path: str | URL) -> URL:
        """The URL of `path` on this server.

        `path` may have a query. ValueError for an absolute URL, RuntimeError before the start.
        """
        url = URL(path)
        if url.absolute:
            raise ValueError(f"not a relative URL: {str(path)!r}")
        port = self.port
        if port is None:
            raise RuntimeError("the server was not started")
        return URL.build(scheme=self._scheme, host=self._host, port=port, path="/").join(url)

    async def start_server(self) -> None:
        """Begin to listen. Idempotent."""
        raise NotImplementedError

    async def close(self) -> None:
        """Stop. Idempotent."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        await self.start_server()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.close()


class TestServer(_Listening):
    """A real server with `handler` on a port of this machine.

    ::

        async with TestServer(handler) as server:
            async with session.get(server.make_url("/")) as response: ...

    - `scheme`: ``http`` by default, ``https`` where `ssl` is given;
    - `host`: the address to listen at, ``127.0.0.1`` by default;
    - `port`: 0, the default, for one that is free;
    - `ssl`: a context for TLS;
    - `close_timeout`: seconds that requests under way have at the end, 1 by default;
    - further arguments are those of `angelia.Server`.

    ValueError for a scheme that does not fit `ssl`.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        scheme: str = "",
        host: str = LOOPBACK,
        port: int = 0,
        ssl: tls.SSLContext | None = None,
        close_timeout: float = DEFAULT_CLOSE_TIMEOUT,
        **options: Any,
    ) -> None:
        natural = "http" if ssl is None else "https"
        if scheme not in ("", natural):
            raise ValueError(f"scheme {scheme!r} does not fit ssl={ssl!r}")
        super().__init__(natural, host)
        self.handler = handler
        self._wanted_port = port
        self._ssl = ssl
        self._close_timeout = close_timeout
        self._options = options
        self._server: Server | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._scheme}://{self._host}:{self.port}>"

    @property
    def server(self) -> Server | None:
        """The server; None while nothing listens."""
        return self._server

    @property
    def port(self) -> int | None:
        """The port; None while nothing listens."""
        return None if self._server is None else self._server.port

    async def start_server(self) -> None:
        """Begin to listen. Idempotent. OSError where the address cannot be had."""
        if self._server is None:
            server = Server(self.handler, **self._options)
            await server.start(self._host, self._wanted_port, ssl=self._ssl)
            self._server = server

    async def close(self) -> None:
        """Stop; requests under way have `close_timeout` seconds. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            await server.close(self._close_timeout)


class RawServer(_Listening):
    """A server that speaks octets: for answers that no HTTP server would give.

    `script` is ``async def script(reader, writer)``, called for each connection, which it may
    leave open: the connection is closed when it returns. Or it is the octets with which each
    connection is answered as soon as the blank line after a head has come.
    """

    def __init__(self, script: Script | bytes, *, host: str = LOOPBACK, port: int = 0) -> None:
        super().__init__("http", host)
        self._script = _answer_with(script) if isinstance(script, bytes) else script
        self._wanted_port = port
        self._listener: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        # How many connections have come.
        self.accepted = 0

    @property
    def port(self) -> int | None:
        """The port; None while nothing listens."""
        if self._listener is None or not self._listener.sockets:
            return None
        return int(self._listener.sockets[0].getsockname()[1])

    async def start_server(self) -> None:
        """Begin to listen. Idempotent. OSError where the address cannot be had."""
        if self._listener is None:
            self._listener = await asyncio.start_server(self._accept, self._host, self._wanted_port)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.get_running_loop().create_task(self._run(reader, writer))
        self._open[task] = writer
        # Not at the end of the task: one that is cancelled early never begins.
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._open.pop(task).close()

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            # The client has gone, which is its right.
            return

    async def close(self) -> None:
        """Stop; scripts under way are cancelled. Idempotent."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        under_way = dict(self._open)
        for task in under_way:
            task.cancel()
        if under_way:
            await asyncio.wait(under_way)
            closed = (writer.wait_closed() for writer in under_way.values())
            await asyncio.gather(*closed, return_exceptions=True)


def _answer_with(reply: bytes) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await writer.drain()

    return script
