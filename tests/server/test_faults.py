"""Clients, handlers and systems that fail: each fault ends as documented, and nothing is left.

Around each of them the tasks, the descriptors and the objects of requests are counted.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import struct
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from angelia.net.streams import StreamReader
from angelia.server.connection import ServerConnection
from angelia.server.exchange import ServerExchange
from angelia.server.files import FileResponse
from angelia.server.request import Request
from angelia.server.response import Response
from angelia.server.server import Server
from angelia.server.stream_response import StreamResponse
from server.kit import GET, Wire, ask, connected, echo, hello, post, serving
from turns import turns

pytestmark = [pytest.mark.usefixtures("loop_kind"), pytest.mark.deadline(20)]

Fault = Callable[[Server], Awaitable[None]]

# So small that a few hundred kilobytes fill both.
BUFFER = 16 * 1024
MEBI = 2**20
KINDS = (Request, ServerConnection, ServerExchange, StreamReader, StreamResponse)

HALF_HEAD = b"GET / HTTP/1.1\r\nHos"
HALF_BODY = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc"
HALF_CHUNK = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"


def counted() -> tuple[int, int, int]:
    """Tasks, descriptors, and what of requests and connections is alive."""
    folder = Path("/proc/self/fd")
    descriptors = len(list(folder.iterdir())) if folder.exists() else 0
    objects = sum(isinstance(thing, KINDS) for thing in gc.get_objects())
    return len(asyncio.all_tasks()), descriptors, objects


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What the server says, without the tracebacks, which would keep all that they come from."""
    lines: list[str] = []

    # As a filter: pytest keeps what gets as far as to a handler.
    def note(record: logging.LogRecord) -> bool:
        error = None if record.exc_info is None else record.exc_info[1]
        lines.append(f"{record.levelname}: {record.getMessage()}: {error}")
        return False

    logger = logging.getLogger("angelia.server")
    logger.addFilter(note)
    yield lines
    logger.removeFilter(note)


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """After this, and without the collector's help, there is what there was before."""
    # The loop's own descriptors are there from the first time on.
    async with serving(hello) as server:
        await ask(server, GET)
    gc.collect()
    before = counted()
    gc.disable()
    try:
        yield
        # A thread may still have in hand what it has just done.
        await asyncio.get_running_loop().shutdown_default_executor()
        # What was closed goes in the next turns; how many these are is the loop's business.
        for _ in range(20):
            await asyncio.sleep(0)
        assert counted() == before
    finally:
        gc.enable()


@asynccontextmanager
async def faulty(
    handler: Callable[[Request], Awaitable[StreamResponse]] = hello, **options: Any
) -> AsyncIterator[Server]:
    """A server whose connections are all gone at the end, by themselves; and nothing is left."""
    async with nothing_left(), Server(handler, **options) as server:
        listener = socket.create_server(("127.0.0.1", 0))
        # Accepted sockets inherit it; the system does not widen what was set.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        listener.setblocking(False)
        await server.start(sock=listener)
        yield server
        # Without a deadline: nothing is cancelled or aborted.
        await server.close(60)
        assert server.connections == 0


def reset(wire: Wire) -> None:
    """End a connection as a crashed client does: with RST."""
    sock = wire.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.writer.transport.abort()


@asynccontextmanager
async def narrow(server: Server) -> AsyncIterator[Wire]:
    """A connection whose client takes little at a time."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
    wire = Wire(*await asyncio.open_connection(sock=sock, limit=BUFFER))
    try:
        yield wire
    finally:
        await wire.close()


class TestSlowClients:
    """Each wait for a client has its limit, and an end that says which one it was."""

    @pytest.mark.parametrize("before", [b"", GET], ids=["first", "second"])
    @pytest.mark.parametrize(
        ("octets", "handler", "option"),
        [
            (HALF_HEAD, hello, "head_timeout"),
            (b"\r\n", hello, "head_timeout"),
            (HALF_BODY, echo, "body_timeout"),
            (HALF_CHUNK, echo, "body_timeout"),
        ],
    )
    async def test_half_a_request(
        self,
        before: bytes,
        octets: bytes,
        handler: Callable[[Request], Awaitable[StreamResponse]],
        option: str,
    ) -> None:
        """What has begun and does not go on is answered 408."""
        options: dict[str, Any] = {option: 0.02}
        async with faulty(handler, **options) as server, connected(server) as wire:
            wire.send(before + octets)
            if before:
                assert (await wire.answer()).status == 200
            answer = await wire.answer()
            assert (answer.status, answer.headers["connection"]) == (408, "close")
            assert await wire.closed()

    @pytest.mark.parametrize("option", ["head_timeout", "keepalive_timeout"])
    async def test_silence(self, option: str) -> None:
        """A client that says nothing, from the start or after its answer, loses its connection."""
        options: dict[str, Any] = {option: 0.02}
        async with faulty(**options) as server, connected(server) as wire:
            if option == "keepalive_timeout":
                wire.send(GET)
                assert (await wire.answer()).status == 200
            assert await wire.closed()

    @pytest.mark.parametrize("octets", [HALF_BODY, HALF_CHUNK])
    async def test_half_an_unread_body(self, octets: bytes) -> None:
        """The rest of a body that nobody wants is waited for as long as it is worth."""
        async with faulty(lingering_time=0.02) as server, connected(server) as wire:
            wire.send(octets)
            assert (await wire.answer()).status == 200
            assert await wire.closed()

    # The guard of the test is a time on this loop, too.
    @pytest.mark.deadline(1000)
    async def test_progress(self, monkeypatch: pytest.MonkeyPatch, loop_kind: str) -> None:
        """A body may take any time as long as it goes on; a head may not."""
        if loop_kind != "stock":
            pytest.skip("the clock of this loop cannot be set")
        loop = asyncio.get_running_loop()
        clock, later = loop.time, 0.0
        monkeypatch.setattr(loop, "time", lambda: clock() + later)
        async with faulty(echo, body_timeout=1.5, head_timeout=1.5) as server:
            async with connected(server) as wire:
                wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n")
                for _ in range(8):
                    wire.send(b"x")
                    for _ in range(5):
                        await asyncio.sleep(0)
                    later += 1.0
                assert (await wire.answer()).body == b"x" * 8
            async with connected(server) as wire:
                for _ in range(2):
                    wire.send(b"G")
                    for _ in range(5):
                        await asyncio.sleep(0)
                    later += 1.0
                assert (await wire.answer()).status == 408


class TestSlowReaders:
    """Clients that take little of what they are sent, or nothing."""

    @pytest.mark.parametrize("last", [False, True])
    async def test_nothing_is_taken(self, last: bool, logged: list[str]) -> None:
        """Who takes nothing for too long loses the connection, and the handler learns of it."""
        failed: list[str] = []

        async def handler(request: Request) -> StreamResponse:
            response = StreamResponse()
            if last:
                response.force_close()
            await response.prepare(request)
            try:
                while True:
                    await response.write(bytes(BUFFER))
            except ConnectionError as error:
                failed.append(repr(error))
                raise

        async with faulty(handler, send_timeout=0.05) as server, narrow(server) as wire:
            wire.send(GET)
            # The reader of the test stops at twice its limit.
            await server.close(60)
        assert len(failed) == 1
        assert logged == []

    @pytest.mark.parametrize("size", [BUFFER, MEBI])
    async def test_answers_are_not_taken(self, size: int) -> None:
        """Nor do answers that wait for nobody, but a close, hold a connection for ever."""

        async def handler(request: Request) -> StreamResponse:
            return Response(bytes(size))

        async with (
            faulty(handler, send_timeout=0.05, keepalive_timeout=0.02) as server,
            narrow(server) as wire,
        ):
            wire.send(GET * 300)
            await wire.head()
            await server.close(60)

    @pytest.mark.deadline(1000)
    async def test_progress(self, monkeypatch: pytest.MonkeyPatch, loop_kind: str) -> None:
        """Who takes it slowly gets all of it, the end that the handler did not wait for, too."""
        if loop_kind != "stock":
            pytest.skip("the clock of this loop cannot be set")
        loop = asyncio.get_running_loop()
        clock, later = loop.time, 0.0
        monkeypatch.setattr(loop, "time", lambda: clock() + later)
        answered = asyncio.Event()

        async def handler(request: Request) -> StreamResponse:
            response = StreamResponse()
            response.force_close()
            await response.prepare(request)
            for _ in range(16):
                await response.write(bytes(BUFFER))
            answered.set()
            return response

        async with faulty(handler, send_timeout=50) as server, narrow(server) as wire:
            wire.send(GET)
            size = 0
            while piece := await wire.reader.read(4000):
                size += len(piece)
                later += 3.0
                await turns()
            assert answered.is_set()
            assert size > 16 * BUFFER
            assert later > 150


class TestClientsThatGo:
    """Clients that end before their time."""

    @pytest.mark.parametrize("octets", [b"", HALF_HEAD, HALF_BODY, HALF_CHUNK, GET + HALF_HEAD])
    @pytest.mark.parametrize("how", ["close", "half-close", "reset"])
    async def test_in_a_request(self, octets: bytes, how: str, logged: list[str]) -> None:
        """Half a request is no request: no answer, and nothing for the log."""
        async with faulty(echo) as server, connected(server) as wire:
            wire.send(octets)
            if octets.startswith(GET):
                await wire.answer()
            if how == "half-close":
                wire.writer.write_eof()
                assert await wire.closed()
            elif how == "close":
                await wire.close()
            else:
                reset(wire)
        assert logged == []

    @pytest.mark.parametrize("cancelled", [False, True])
    @pytest.mark.parametrize("kind", ["stream", "body", "file", "iterator"])
    async def test_in_a_response(
        self, kind: str, cancelled: bool, tmp_path: Path, logged: list[str]
    ) -> None:
        """A reset in the middle of a response ends its handler; that is no error of ours."""
        file = tmp_path / "large"
        file.write_bytes(bytes(4 * MEBI))
        ended: list[str] = []

        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield bytes(MEBI)
            finally:
                ended.append("iterator")

        async def handler(request: Request) -> StreamResponse:
            if kind == "file":
                return FileResponse(file)
            if kind == "body":
                return Response(bytes(4 * MEBI))
            if kind == "iterator":
                return Response(pieces())
            response = StreamResponse()
            await response.prepare(request)
            try:
                while True:
                    await response.write(bytes(MEBI))
            finally:
                ended.append("stream")

        async with faulty(handler, handler_cancellation=cancelled) as server:
            async with narrow(server) as wire:
                wire.send(GET + GET)
                await wire.head()
                reset(wire)
            await server.close()
            assert ended == ([kind] if kind in ("stream", "iterator") else [])
        assert logged == []

    async def test_half_close_in_a_response(self) -> None:
        """Who has said all still listens: a long answer comes whole."""

        async def handler(request: Request) -> StreamResponse:
            response = StreamResponse()
            await response.prepare(request)
            await request.wait_disconnected()
            for _ in range(8):
                await response.write(bytes(MEBI))
            return response

        async with faulty(handler) as server, narrow(server) as wire:
            wire.send(GET)
            await wire.head()
            wire.writer.write_eof()
            assert len(await wire.rest()) > 8 * MEBI

    async def test_before_the_handler_begins(self) -> None:
        """A client that is gone at once has its handler called, or not; it ends in any case."""
        async with faulty() as server:
            for _ in range(20):
                async with connected(server) as wire:
                    wire.send(GET)
                    reset(wire)

    async def test_behind_pipelined_requests(self) -> None:
        """Requests that nobody waits for any more are not served for ever."""
        called = 0
        began = asyncio.Event()

        async def handler(request: Request) -> StreamResponse:
            nonlocal called
            called += 1
            began.set()
            await request.wait_disconnected()
            return Response(text="x")

        async with faulty(handler) as server, connected(server) as wire:
            wire.send(GET * 100)
            await began.wait()
            reset(wire)
        assert called == 1


class TestHandlers:
    """Handlers that do not do what they ought to."""

    @pytest.mark.parametrize("ends", [True, False])
    async def test_never_reads(self, ends: bool) -> None:
        """A body that nobody reads stops its client, not the server's memory."""
        gate = asyncio.Event()
        held: list[int] = []

        async def handler(request: Request) -> StreamResponse:
            await gate.wait()
            held.append(request.content.buffered)
            return Response(text="enough")

        # An answer without the body's end closes what cannot be used again.
        options: dict[str, Any] = {} if ends else {"lingering_time": 0.02}
        async with (
            faulty(handler, read_bufsize=BUFFER, **options) as server,
            narrow(server) as wire,
        ):
            size = 16 * MEBI
            wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size)
            wire.send(bytes(size if ends else size - 1))
            transport: Any = wire.writer.transport
            left, same = size, 0
            # Until the system takes no more from us for many turns of the loop.
            while same < 50:
                await asyncio.sleep(0)
                now = transport.get_write_buffer_size()
                left, same = now, same + 1 if now == left else 0
            gate.set()
            answer = await wire.answer()
            assert (answer.status, answer.body) == (200, b"enough")
            if ends:
                wire.send(GET)
                assert (await wire.answer()).status == 200
            else:
                # Who still sends is reset.
                with suppress(ConnectionError):
                    assert await wire.closed()
        # One read of the loop may go beyond.
        assert held[0] <= 2 * BUFFER + 256 * 1024

    async def test_reads_too_late(self) -> None:
        """Who reads a body behind the answer, which is thrown away by then, is told so."""
        failed: list[BaseException] = []
        late: list[asyncio.Task[None]] = []

        async def read(request: Request, answered: asyncio.Event) -> None:
            await answered.wait()
            for _ in range(2):
                try:
                    await request.content.read()
                except RuntimeError as error:
                    failed.append(error.with_traceback(None))

        answered = asyncio.Event()

        async def handler(request: Request) -> StreamResponse:
            late.append(asyncio.create_task(read(request, answered)))
            if request.path == "/read":
                await request.content.readexactly(3)
            return Response(text="fine")

        async with faulty(handler) as server:
            for octets in (HALF_BODY, HALF_BODY.replace(b"/ ", b"/read ", 1)):
                async with connected(server) as wire:
                    wire.send(octets)
                    assert (await wire.answer()).status == 200
                    answered.set()
                    await late.pop()
            assert len(failed) == 4
            failed.clear()

    @pytest.mark.parametrize("written", [b"", b"short", b"much too long for it"])
    @pytest.mark.parametrize("chunks", [1, 2])
    async def test_wrong_length(self, written: bytes, chunks: int, logged: list[str]) -> None:
        """Less or more than was announced is never taken for the next answer."""

        async def handler(request: Request) -> StreamResponse:
            response = StreamResponse(headers={"Content-Length": "10"})
            await response.prepare(request)
            half = len(written) // chunks
            await response.write(written[:half])
            await response.write(written[half:])
            return response

        async with faulty(handler) as server, connected(server) as wire:
            wire.send(GET + GET)
            received = bytearray()
            with suppress(ConnectionError):
                while piece := await wire.reader.read(1000):
                    received += piece
        assert received.count(b"HTTP/1.1") <= 1
        assert len(received.partition(b"\r\n\r\n")[2]) <= 10
        assert len(logged) == 1

    @pytest.mark.parametrize("length", ["3", "30"])
    async def test_wrong_length_of_a_body(self, length: str, logged: list[str]) -> None:
        """A length that is not the body's is found before anything is out."""

        async def handler(request: Request) -> StreamResponse:
            return Response(b"0123456789", headers={"Content-Length": length})

        async with faulty(handler) as server, connected(server) as wire:
            wire.send(GET + GET)
            assert (await wire.answer()).status == 500
            assert await wire.closed()
        assert len(logged) == 1

    async def test_wrong_length_of_nothing(self) -> None:
        """A HEAD may tell what a GET would get."""

        async def handler(request: Request) -> StreamResponse:
            return StreamResponse(headers={"Content-Length": "10"})

        async with faulty(handler) as server, connected(server) as wire:
            for _ in range(2):
                wire.send(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
                assert (await wire.answer(head=True)).headers["content-length"] == "10"

    async def test_file_that_shrinks(self, tmp_path: Path, logged: list[str]) -> None:
        """A file that becomes shorter while it is sent breaks the connection."""
        file = tmp_path / "large"
        file.write_bytes(bytes(16 * MEBI))

        async with (
            faulty(lambda request: _respond(FileResponse(file))) as server,
            narrow(server) as wire,
        ):
            wire.send(GET)
            await wire.head()
            os.truncate(file, MEBI)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await wire.reader.readexactly(16 * MEBI)


async def _respond(response: StreamResponse) -> StreamResponse:
    return response


class TestSystem:
    """Systems that run out of something."""

    @pytest.mark.parametrize("reads", [True, False])
    async def test_full_disk(
        self, reads: bool, monkeypatch: pytest.MonkeyPatch, logged: list[str]
    ) -> None:
        """No room for an upload: 500, the log says why, and the temporary file is closed."""
        if not os.path.exists("/dev/full"):  # noqa: ASYNC240, PTH110 - it takes no time
            pytest.skip("there is no full disk here")
        opened: list[Any] = []

        def full(*_: Any, **__: Any) -> Any:
            opened.append(open("/dev/full", "w+b", buffering=0))  # noqa: PTH123, SIM115 - as tempfile does
            return opened[-1]

        monkeypatch.setattr(tempfile, "TemporaryFile", full)

        async def handler(request: Request) -> StreamResponse:
            await request.post()
            return Response(text="stored")

        body = (
            b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
            + bytes(300_000)
            + b"\r\n--b--\r\n"
        )
        octets = post(b"Content-Type: multipart/form-data; boundary=b", body=body)
        async with faulty(handler) as server, connected(server) as wire:
            wire.send(octets if reads else octets[:-1000])
            answer = await wire.answer()
            assert (answer.status, answer.body) == (500, b"500: Internal Server Error")
            assert await wire.closed()
            assert [file.closed for file in opened] == [True]
        (line,) = logged
        assert "No space left" in line

    async def test_no_descriptor_for_a_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
    ) -> None:
        """A file that cannot be opened for want of descriptors is a 500, and later it can."""
        file = tmp_path / "f"
        file.write_bytes(b"content")

        def fail(*_: Any, **__: Any) -> int:
            raise OSError(24, "Too many open files")

        async with faulty(lambda request: _respond(FileResponse(file))) as server:
            with monkeypatch.context() as patch:
                patch.setattr("angelia.server.files.os.open", fail)
                async with connected(server) as wire:
                    wire.send(GET)
                    assert (await wire.answer()).status == 500
            async with connected(server) as wire:
                wire.send(GET)
                assert (await wire.answer()).body == b"content"
        (line,) = logged
        assert "Too many open files" in line

    async def test_no_descriptor_for_a_connection(self, loop_kind: str) -> None:
        """Who comes when there is no descriptor left is served when there is one again."""
        if sys.platform == "win32":
            pytest.skip("there is no limit to set")
        spare = 4
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "server.exhausted", str(spare), loop_kind),
            cwd=Path(__file__).parent.parent,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("no pipes")
        wires: list[Wire] = []
        try:
            port = int((await process.stdout.readline()).split()[1])
            for number in range(1, spare + 1):
                wires.append(Wire(*await asyncio.open_connection("127.0.0.1", port)))
                wires[-1].send(GET)
                assert (await wires[-1].answer()).body == b"%d" % number
            # The kernel lets these in, but nobody accepts them: they wait, or are closed.
            for _ in range(3):
                wires.append(Wire(*await asyncio.open_connection("127.0.0.1", port)))
                wires[-1].send(GET)
            if loop_kind == "stock":
                assert b"out of system resource" in await process.stdout.readline()
            else:
                with suppress(ConnectionError):
                    assert await wires[-1].closed()
            kept, *others = wires
            for wire in others:
                await wire.close()
            # Until the server has seen enough of them go.
            while True:
                kept.send(GET)
                if int((await kept.answer()).body) < spare:
                    break
            late = Wire(*await asyncio.open_connection("127.0.0.1", port))
            wires.append(late)
            late.send(GET)
            assert (await late.answer()).status == 200
        finally:
            for wire in wires:
                await wire.close()
            process.stdin.close()
            await process.communicate()
        assert process.returncode == 0
