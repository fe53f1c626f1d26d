"""A server that does what a test says, byte by byte, on the test's own loop.

Owns: listening, what came in on each connection, the end of everything at the end of the test.
Knows just enough HTTP to see where a request ends.

    async with RawServer([b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"]) as server:
        ...  # ask server.url
    assert server.requests[0].startswith(b"GET / HTTP/1.1\\r\\n")
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, SupportsIndex, TypeAlias

from yarl import URL

__all__ = ("RawConnection", "RawServer", "Script", "read_head", "read_request", "response")

Script: TypeAlias = Callable[[StreamReader, StreamWriter], Awaitable[None]]

# Far above any head or chunk that a test sends.
READ_LIMIT: Final = 16 * 1024 * 1024


def response(
    content: bytes = b"",
    *fields: str,
    status: str = "200 OK",
    version: str = "HTTP/1.1",
    length: bool = True,
) -> bytes:
    """Return the bytes of a response; `fields` are lines such as ``"Server: x"``."""
    lines = [f"{version} {status}", *fields]
    if length:
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + content


async def read_head(reader: StreamReader) -> bytes:
    """Read up to the empty line, and return all of it."""
    return await reader.readuntil(b"\r\n\r\n")


async def read_request(reader: StreamReader) -> bytes:
    """Read one whole request, and return its bytes as they came, chunks with their framing."""
    head = await read_head(reader)
    fields = dict(_field(line) for line in head.lower().split(b"\r\n")[1:-2])
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        return head + await _read_chunks(reader)
    return head + await reader.readexactly(int(fields.get(b"content-length", b"0")))


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name, value.strip()


async def _read_chunks(reader: StreamReader) -> bytes:
    parts = []
    while True:
        line = await reader.readuntil(b"\r\n")
        parts.append(line)
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        parts.append(await reader.readexactly(size + 2))
    while parts[-1] != b"\r\n":  # Trailers, up to the empty line.
        parts.append(await reader.readuntil(b"\r\n"))
    return b"".join(parts)


class _RecordingReader(StreamReader):
    """Keeps all that was received, read or not."""

    def __init__(self) -> None:
        super().__init__(limit=READ_LIMIT)
        self.received = bytearray()

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        self.received += bytes(data)
        super().feed_data(data)


class RawConnection:
    """One accepted connection: what it received, and the streams of it."""

    __slots__ = ("_reader", "closed", "writer")

    def __init__(self, reader: _RecordingReader, writer: StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        # Set when the script has ended and the connection is closed.
        self.closed = asyncio.Event()

    @property
    def received(self) -> bytes:
        """All bytes that came so far."""
        return bytes(self._reader.received)

    async def wait_eof(self) -> None:
        """Wait until the client has closed its side, or reset the connection."""
        while not self._reader.at_eof():
            try:
                await self._reader.read(READ_LIMIT)
            except ConnectionError:
                return


class RawServer:
    """A scripted server on the running loop, as an async context manager.

    `script` is an async callable that gets the streams of each connection; the connection is closed
    when it returns. Or it is a sequence of responses: the n-th request that comes in whole, on
    whatever connection, gets the n-th; with the last one sent, a further request closes its
    connection. `close_each` closes the connection after each response; `piece` sends a response in
    pieces of so many bytes, a turn of the loop between them.

    `tls` makes it speak TLS; `unix_path` makes it listen there. Leaving it aborts what is still
    open, and raises what a script raised, unless the client had gone away.
    """

    __slots__ = (
        "_answers",
        "_close_each",
        "_conditions",
        "_failures",
        "_host",
        "_piece",
        "_script",
        "_server",
        "_tasks",
        "_tls",
        "_unix_path",
        "accepted",
        "port",
    )

    def __init__(
        self,
        script: Script | Sequence[bytes],
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        unix_path: Path | str | None = None,
        close_each: bool = False,
        piece: int | None = None,
    ) -> None:
        self._script: Script = script if callable(script) else self._answer_all
        self._answers = iter(() if callable(script) else script)
        self._close_each = close_each
        self._conditions: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._failures: list[Exception] = []
        self._host = host
        self._piece = piece
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._tls = tls
        self._unix_path = unix_path
        self.accepted: list[RawConnection] = []
        self.port = port

    # --- what the test asks ---

    @property
    def url(self) -> URL:
        """``http://127.0.0.1:PORT/``; ``https`` with `tls`, ``localhost`` over a Unix socket."""
        scheme = "http" if self._tls is None else "https"
        if self._unix_path is not None:
            return URL.build(scheme=scheme, host="localhost", path="/")
        return URL.build(scheme=scheme, host=self._host, port=self.port, path="/")

    @property
    def connections(self) -> int:
        """How many connections were accepted (with TLS: and finished the handshake)."""
        return len(self.accepted)

    @property
    def open_connections(self) -> int:
        """How many of them are not closed yet."""
        return sum(not connection.closed.is_set() for connection in self.accepted)

    @property
    def requests(self) -> list[bytes]:
        """All the bytes received, by connection."""
        return [connection.received for connection in self.accepted]

    async def wait_connections(self, count: int) -> None:
        """Wait until so many connections were accepted."""
        await self._wait(lambda: self.connections >= count)

    async def wait_all_closed(self) -> None:
        """Wait until none of the accepted connections is open."""
        await self._wait(lambda: self.open_connections == 0)

    # --- life ---

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        if self._unix_path is not None:
            self._server = await loop.create_unix_server(
                self._make_protocol, str(self._unix_path), ssl=self._tls
            )
        else:
            self._server = await loop.create_server(
                self._make_protocol, self._host, self.port, ssl=self._tls
            )
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop_listening()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
        if self._failures and exc is None:
            raise ExceptionGroup("scripts of the server failed", self._failures)

    def stop_listening(self) -> None:
        """Refuse further connections; those that are open stay."""
        if self._server is not None:
            self._server.close()

    # --- within ---

    def _make_protocol(self) -> asyncio.StreamReaderProtocol:
        reader = _RecordingReader()

        def connected(_: StreamReader, writer: StreamWriter) -> None:
            connection = RawConnection(reader, writer)
            self.accepted.append(connection)
            task = asyncio.create_task(self._serve(connection, reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._changed()

        return asyncio.StreamReaderProtocol(reader, connected)

    async def _serve(
        self, connection: RawConnection, reader: StreamReader, writer: StreamWriter
    ) -> None:
        aborted = True
        try:
            await self._script(reader, writer)
            aborted = False
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The client went away, as it may.
        except Exception as exc:  # noqa: BLE001 - raised again when the server is left
            self._failures.append(exc)
        finally:
            if aborted:
                writer.transport.abort()
            else:
                writer.close()
            try:
                await writer.wait_closed()
            except (ConnectionError, ssl.SSLError):
                pass  # Closed all the same.
            except asyncio.CancelledError:
                writer.transport.abort()
                raise
            finally:
                connection.closed.set()
                self._changed()

    async def _answer_all(self, reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            await read_request(reader)
            answer = next(self._answers, None)
            if answer is None:
                return
            await self._send(writer, answer)
            if self._close_each:
                return

    async def _send(self, writer: StreamWriter, data: bytes) -> None:
        size = self._piece or len(data) or 1
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            await writer.drain()
            await asyncio.sleep(0)

    async def _wait(self, condition: Callable[[], bool]) -> None:
        if condition():
            return
        future = asyncio.get_running_loop().create_future()
        self._conditions.append((condition, future))
        await future

    def _changed(self) -> None:
        for condition, future in self._conditions:
            if not future.done() and condition():
                future.set_result(None)
