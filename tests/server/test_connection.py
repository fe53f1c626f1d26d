"""Connections of the server: requests in order, bodies, errors, time, and the end."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import socket
import weakref
from typing import Any

import pytest

from angelia.server.access_log import AbstractAccessLogger
from angelia.server.connection import MAX_BATCHED
from angelia.server.http_exception import HTTPException
from angelia.server.request import Request
from angelia.server.response import Response
from angelia.server.server import Server
from angelia.server.stream_response import StreamResponse
from server.kit import GET, LAST, ask, connected, echo, hello, post, serving
from turns import turns

pytestmark = [pytest.mark.usefixtures("loop_kind"), pytest.mark.deadline(15)]


BOTH_FRAMINGS = (
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
)


class TestKeepAlive:
    async def test_one_after_the_other(self) -> None:
        """A connection serves request after request."""
        async with serving(hello) as server, connected(server) as wire:
            for number in range(5):
                wire.send(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number)
                answer = await wire.answer()
                assert (answer.status, answer.body) == (200, b"hello /%d" % number)
                assert "connection" not in answer.headers
            assert server.connections == 1

    async def test_cut_anywhere(self) -> None:
        """However the octets are cut, the answers are the same."""
        octets = post(body=b"abc") + GET
        async with serving(echo) as server:
            for at in range(1, len(octets)):
                async with connected(server) as wire:
                    wire.send(octets[:at])
                    await asyncio.sleep(0)
                    wire.send(octets[at:])
                    assert (await wire.answer()).body == b"abc"
                    assert (await wire.answer()).body == b""

    async def test_close_is_asked_for(self) -> None:
        """`Connection: close` ends the connection after the answer, and is said again."""
        async with serving(hello) as server, connected(server) as wire:
            wire.send(LAST)
            answer = await wire.answer()
            assert answer.headers["connection"] == "close"
            assert await wire.closed()

    async def test_close_by_the_handler(self) -> None:
        """A response can end the connection."""

        async def handler(request: Request) -> StreamResponse:
            response = Response(text="bye")
            response.force_close()
            assert not response.keep_alive
            return response

        async with serving(handler) as server, connected(server) as wire:
            wire.send(GET)
            assert (await wire.answer()).headers["connection"] == "close"
            assert await wire.closed()

    async def test_http10(self) -> None:
        """An HTTP/1.0 connection closes unless keep-alive was asked for."""
        async with serving(hello) as server:
            async with connected(server) as wire:
                wire.send(b"GET / HTTP/1.0\r\n\r\n")
                answer = await wire.answer()
                assert (answer.status, answer.headers["connection"]) == (200, "close")
                assert await wire.closed()
            async with connected(server) as wire:
                for _ in range(2):
                    wire.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                    answer = await wire.answer()
                    assert answer.headers["connection"] == "keep-alive"

    async def test_idle_timeout(self) -> None:
        """An idle connection is closed, without a word."""
        async with serving(hello, keepalive_timeout=0.02) as server, connected(server) as wire:
            wire.send(GET)
            await wire.answer()
            assert await wire.closed()

    async def test_context_is_each_requests_own(self) -> None:
        """What a handler leaves in a context variable no other request sees."""
        import contextvars

        variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="new")

        async def handler(request: Request) -> StreamResponse:
            seen = variable.get()
            variable.set("used")
            return Response(text=seen)

        async with serving(handler) as server, connected(server) as wire:
            for _ in range(3):
                wire.send(GET)
                assert (await wire.answer()).body == b"new"


class TestPipelining:
    async def test_in_order(self) -> None:
        """Pipelined requests are answered in their order, each once, however long one takes."""
        order: list[str] = []

        async def handler(request: Request) -> StreamResponse:
            order.append(request.path)
            if request.path == "/0":
                for _ in range(10):
                    await asyncio.sleep(0)
            return Response(text=request.path)

        async with serving(handler) as server, connected(server) as wire:
            wire.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % n for n in range(50)))
            for number in range(50):
                assert (await wire.answer()).body == b"/%d" % number
            wire.send(LAST)
            await wire.answer()
            assert await wire.closed()
        assert order == [*(f"/{n}" for n in range(50)), "/"]

    @pytest.mark.parametrize("early", [False, True])
    async def test_one_handler_at_a_time(self, early: bool) -> None:
        """A request waits until the handler of the one before is through, answered or not."""
        running: set[str] = set()
        gate = asyncio.Event()

        async def handler(request: Request) -> StreamResponse:
            assert not running
            running.add(request.path)
            response = StreamResponse()
            await response.prepare(request)
            await response.write(request.path.encode())
            await response.write_eof()
            if request.path == "/0":
                await gate.wait()
            running.remove(request.path)
            return response

        first = b"POST /0 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"
        second = b"POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
        async with serving(handler) as server, connected(server) as wire:
            wire.send(first if early else first + b"hello")
            assert (await wire.answer()).body == b"/0"
            wire.send(b"hello" + second if early else second, GET)
            for _ in range(50):
                await asyncio.sleep(0)
            assert running == {"/0"}
            gate.set()
            assert (await wire.answer()).body == b"/1"
            assert (await wire.answer()).body == b"/"

    async def test_bounded(self) -> None:
        """A flood of pipelined requests stops the socket instead of filling the memory."""
        gate = asyncio.Event()

        async def handler(request: Request) -> StreamResponse:
            await gate.wait()
            return Response(text="x")

        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        server = Server(handler)
        await server.start(sock=listener)
        async with server, connected(server) as wire:
            transport: Any = wire.writer.transport
            raw = transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
            wire.send(GET * 100_000)
            for _ in range(200):
                await asyncio.sleep(0)
            assert transport.get_write_buffer_size() > 1_000_000
            gate.set()
            for _ in range(1000):
                assert (await wire.answer()).status == 200
            transport.abort()

    async def test_behind_close(self) -> None:
        """Nothing behind a request that asked for the end is answered."""
        async with serving(hello) as server, connected(server) as wire:
            wire.send(LAST + GET + GET)
            await wire.answer()
            assert await wire.closed()


class TestBodies:
    async def test_unread_body(self) -> None:
        """A body that the handler did not read is thrown away, and the next request is served."""
        async with serving(hello) as server, connected(server) as wire:
            for _ in range(3):
                wire.send(post(body=b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n" * 1000))
                assert (await wire.answer()).body == b"hello /"
            wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert (await wire.answer()).status == 200
            wire.send(b"3\r\nabc\r\n0\r\n\r\n" + GET)
            assert (await wire.answer()).status == 200

    async def test_lingering(self) -> None:
        """A client that never ends such a body is let go after a while."""
        async with serving(hello, lingering_time=0.02) as server, connected(server) as wire:
            wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc")
            assert (await wire.answer()).status == 200
            assert await wire.closed()

    async def test_back_pressure(self) -> None:
        """A body that is read slowly stops the socket, and comes whole all the same."""
        gate = asyncio.Event()
        buffered = []

        async def handler(request: Request) -> StreamResponse:
            await gate.wait()
            buffered.append(request.content.buffered)
            size = 0
            async for piece in request.content.iter_any():
                size += len(piece)
            return Response(text=str(size))

        async with serving(handler, read_bufsize=2**14) as server, connected(server) as wire:
            wire.send(post(body=bytes(20_000_000)))
            for _ in range(50):
                await asyncio.sleep(0.001)
            gate.set()
            assert (await wire.answer()).body == b"20000000"
        assert buffered[0] < 2**20

    async def test_too_large(self) -> None:
        """A body beyond the limit is answered 413, announced or not, and that is the end."""
        async with serving(echo, max_body_size=10) as server:
            assert (await ask(server, post(body=b"x" * 10))).status == 200
            async with connected(server) as wire:
                wire.send(post(body=b"x" * 11) + GET)
                answer = await wire.answer()
                assert answer.status == 413
                assert b"10 bytes" in answer.body
                assert await wire.closed()
            chunked = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            assert (await ask(server, chunked, b"6\r\nabcdef\r\n" * 2)).status == 413

    async def test_continue(self) -> None:
        """100 goes out when the handler begins to read, and once."""
        order: list[str] = []

        async def handler(request: Request) -> StreamResponse:
            order.append("called")
            return Response(await request.read() + await request.read())

        async with serving(handler) as server, connected(server) as wire:
            wire.send(
                b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
            )
            assert (await wire.answer()).status == 100
            assert order == ["called"]
            wire.send(b"abc")
            assert (await wire.answer()).body == b"abcabc"

    async def test_continue_refused(self) -> None:
        """A handler that does not read answers at once, and the connection closes."""
        async with serving(hello) as server, connected(server) as wire:
            wire.send(
                b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
            )
            answer = await wire.answer()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert await wire.closed()

    async def test_unknown_expectation(self) -> None:
        """RFC 9110 §10.1.1: 417 for an expectation that is not known."""
        async with serving(hello) as server:
            answer = await ask(server, b"GET / HTTP/1.1\r\nHost: h\r\nExpect: tea\r\n\r\n")
            assert answer.status == 417

    async def test_broken_chunks(self) -> None:
        """A body that breaks the framing is answered 400 to a handler that reads it."""
        async with serving(echo) as server, connected(server) as wire:
            wire.send(
                b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + GET
            )
            assert (await wire.answer()).status == 400
            assert await wire.closed()

    async def test_body_timeout(self) -> None:
        """A body that stops coming is answered 408."""
        async with serving(echo, body_timeout=0.02) as server, connected(server) as wire:
            wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc")
            assert (await wire.answer()).status == 408
            assert await wire.closed()

    async def test_decoding(self) -> None:
        """A coded body is decoded, within its limit; broken it is answered 400."""
        import gzip

        packed = gzip.compress(b"abc" * 1000)
        async with serving(echo) as server:
            octets = post(b"Content-Encoding: gzip", body=packed)
            assert (await ask(server, octets)).body == b"abc" * 1000
            broken = post(b"Content-Encoding: gzip", body=b"rubbish")
            assert (await ask(server, broken)).status == 400
        async with serving(echo, max_decompressed_size=100) as server:
            assert (await ask(server, octets)).status == 413
        async with serving(echo, auto_decompress=False) as server:
            assert (await ask(server, octets)).body == packed
        async with serving(echo, max_body_size=1000) as server:
            assert (await ask(server, octets)).status == 413


class TestBadRequests:
    @pytest.mark.parametrize(
        ("octets", "status"),
        [
            (b"rubbish\r\n\r\n", 400),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
            (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414),
            (b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"x" * 9000 + b"\r\n\r\n", 431),
            (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: x\r\n" * 200 + b"\r\n", 431),
            (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
            (BOTH_FRAMINGS, 400),
        ],
    )
    async def test_refused(self, octets: bytes, status: int) -> None:
        """The right status, the end of the connection, and no answer to what follows."""
        async with serving(hello) as server, connected(server) as wire:
            wire.send(octets + b"GET /canary HTTP/1.1\r\nHost: h\r\n\r\n")
            answer = await wire.answer()
            assert answer.status == status
            assert answer.headers["connection"] == "close"
            assert len(answer.body) < 1000
            assert b"canary" not in await wire.rest()

    async def test_after_a_good_one(self) -> None:
        """What was good before it is answered first."""
        gate = asyncio.Event()

        async def handler(request: Request) -> StreamResponse:
            await gate.wait()
            return Response(text="good")

        async with serving(handler) as server, connected(server) as wire:
            wire.send(GET + b"rubbish\r\n\r\n")
            await asyncio.sleep(0)
            gate.set()
            assert (await wire.answer()).body == b"good"
            assert (await wire.answer()).status == 400
            assert await wire.closed()

    async def test_slow_head(self) -> None:
        """A head that does not come whole in time is answered 408; a silent client just loses."""
        async with serving(hello, head_timeout=0.03) as server:
            async with connected(server) as wire:
                wire.send(b"GET / HT")
                assert (await wire.answer()).status == 408
                assert await wire.closed()
            async with connected(server) as wire:
                assert await wire.closed()

    async def test_dribbled_head(self) -> None:
        """The time for a head is for all of it: dribbling does not extend it."""
        async with serving(hello, head_timeout=0.05) as server, connected(server) as wire:
            octets = b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100
            for at in range(len(octets)):
                wire.send(octets[at : at + 1])
                await asyncio.sleep(0.005)
                if wire.reader._buffer:  # type: ignore[attr-defined]  # nothing tells without waiting
                    break
            else:
                pytest.fail("the head was waited for as long as octets came")
            assert (await wire.answer()).status == 408


class TestErrors:
    async def test_exception(self, caplog: pytest.LogCaptureFixture) -> None:
        """An exception is a 500 without its text, logged once with its traceback."""

        async def handler(request: Request) -> StreamResponse:
            raise LookupError("secret")

        with caplog.at_level(logging.ERROR, "angelia.server"):
            async with serving(handler) as server, connected(server) as wire:
                wire.send(GET)
                answer = await wire.answer()
                assert (answer.status, answer.body) == (500, b"500: Internal Server Error")
                assert await wire.closed()
        (record,) = caplog.records
        assert record.exc_info is not None
        assert record.exc_info[0] is LookupError

    async def test_html(self, caplog: pytest.LogCaptureFixture) -> None:
        """A browser gets a page; with `debug` it has the traceback, escaped."""

        async def handler(request: Request) -> StreamResponse:
            raise LookupError("<script>")

        octets = b"GET / HTTP/1.1\r\nHost: h\r\nAccept: text/html\r\n\r\n"
        with caplog.at_level(logging.CRITICAL, "angelia.server"):
            async with serving(handler) as server:
                answer = await ask(server, octets)
                assert answer.headers["content-type"].startswith("text/html")
                assert b"LookupError" not in answer.body
            async with serving(handler, debug=True) as server:
                answer = await ask(server, octets)
                assert b"LookupError" in answer.body
                assert b"&lt;script&gt;" in answer.body
                assert b"<script>" not in answer.body

    @pytest.mark.parametrize("wrong", [None, "text", b"octets", 200])
    async def test_wrong_type(self, wrong: Any, caplog: pytest.LogCaptureFixture) -> None:
        """What is no response is a 500."""

        async def handler(request: Request) -> Any:
            return wrong

        with caplog.at_level(logging.CRITICAL, "angelia.server"):
            async with serving(handler) as server:
                assert (await ask(server, GET)).status == 500

    async def test_timeout_error(self, caplog: pytest.LogCaptureFixture) -> None:
        """A handler's TimeoutError is a 504."""

        async def handler(request: Request) -> StreamResponse:
            raise TimeoutError

        with caplog.at_level(logging.CRITICAL, "angelia.server"):
            async with serving(handler) as server:
                assert (await ask(server, GET)).status == 504

    async def test_http_exception(self) -> None:
        """An HTTPException is the answer, and the connection goes on."""

        async def handler(request: Request) -> StreamResponse:
            raise HTTPException(401, "who?", headers={"WWW-Authenticate": "Basic"})

        async with serving(handler) as server, connected(server) as wire:
            for _ in range(2):
                wire.send(GET)
                answer = await wire.answer()
                assert (answer.status, answer.body) == (401, b"who?")
                assert answer.headers["www-authenticate"] == "Basic"

    async def test_after_the_head(self, caplog: pytest.LogCaptureFixture) -> None:
        """An exception after the head breaks the connection: half an answer is none."""

        async def handler(request: Request) -> StreamResponse:
            response = StreamResponse()
            await response.prepare(request)
            await response.write(b"half")
            raise LookupError

        with caplog.at_level(logging.CRITICAL, "angelia.server"):
            async with serving(handler) as server, connected(server) as wire:
                wire.send(GET)
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await wire.answer()

    @pytest.mark.parametrize("written", [b"short", b"much too long for it"])
    async def test_wrong_length(self, written: bytes, caplog: pytest.LogCaptureFixture) -> None:
        """A response never has more or less content than it announced, or the connection breaks."""

        async def handler(request: Request) -> StreamResponse:
            response = StreamResponse(headers={"Content-Length": "10"})
            await response.prepare(request)
            await response.write(written)
            return response

        with caplog.at_level(logging.CRITICAL, "angelia.server"):
            async with serving(handler) as server, connected(server) as wire:
                wire.send(GET + GET)
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await wire.answer()


class TestTheEnd:
    async def test_client_goes(self) -> None:
        """A handler learns that its client has gone: by its reads, its writes, and the future."""
        seen: list[str] = []
        began, done = asyncio.Event(), asyncio.Event()

        async def handler(request: Request) -> StreamResponse:
            began.set()
            try:
                await request.read()
            except ConnectionError:
                seen.append("read")
            await request.wait_disconnected()
            response = StreamResponse()
            try:
                await response.prepare(request)
            except ConnectionError:
                seen.append("write")
            done.set()
            return response

        async with serving(handler) as server:
            async with connected(server) as wire:
                wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
                await began.wait()
                wire.writer.transport.abort()
            await done.wait()
        assert seen == ["read", "write"]

    async def test_client_goes_at_the_last_word(self, caplog: pytest.LogCaptureFixture) -> None:
        """The answer meets a reset: nothing more can be said, which is nobody's error."""
        clients: list[socket.socket] = []

        async def handler(request: Request) -> StreamResponse:
            # The server has no chance to hear of it before it answers.
            clients.pop().close()
            response = Response(text="done")
            response.force_close()
            return response

        async with serving(handler) as server:
            sock = socket.create_connection(("127.0.0.1", server.port))
            clients.append(sock)
            sock.sendall(GET)
            for _ in range(1000):
                await asyncio.sleep(0.001)
                if not clients and not server.connections:
                    break
            assert server.connections == 0
        assert not caplog.records

    async def test_cancellation(self) -> None:
        """With `handler_cancellation` a handler whose client has gone is cancelled."""
        cancelled = asyncio.Event()
        began = asyncio.Event()

        async def handler(request: Request) -> StreamResponse:
            began.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
            return Response()

        async with serving(handler, handler_cancellation=True) as server:
            async with connected(server) as wire:
                wire.send(GET)
                await began.wait()
            await cancelled.wait()

    async def test_half_close(self) -> None:
        """A client that has said all still gets its answers."""
        gate = asyncio.Event()

        async def handler(request: Request) -> StreamResponse:
            await gate.wait()
            return Response(text=str(request.url))

        async with serving(handler) as server, connected(server) as wire:
            wire.send(GET + GET)
            wire.writer.write_eof()
            for _ in range(10):
                await asyncio.sleep(0)
            gate.set()
            assert (await wire.answer()).body == b"http://h/"
            assert (await wire.answer()).body == b"http://h/"
            assert await wire.closed()

    async def test_eof_at_any_octet(self) -> None:
        """A client that goes in the middle of anything leaves nothing behind."""
        octets = post(body=b"abc")
        async with serving(echo) as server:
            for at in range(len(octets)):
                async with connected(server) as wire:
                    wire.send(octets[:at])
                    wire.writer.write_eof()
                    rest = await wire.rest()
                    assert b" 200 " not in rest
            await server.close()
            assert server.connections == 0

    async def test_answer_is_heard(self) -> None:
        """An answer that ends the connection reaches a client that is still sending."""

        async def handler(request: Request) -> StreamResponse:
            raise HTTPException(403, close=True)

        async with serving(handler) as server, connected(server) as wire:
            wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000000\r\n\r\n")
            for _ in range(100):
                wire.send(bytes(100_000))
                await asyncio.sleep(0)
            assert (await wire.answer()).status == 403

    async def test_nothing_is_kept(self) -> None:
        """A request that was answered is not kept alive by its connection."""
        requests: list[weakref.ref[Request]] = []

        async def handler(request: Request) -> StreamResponse:
            requests.append(weakref.ref(request))
            return Response(await request.read())

        async with serving(handler) as server, connected(server) as wire:
            gc.disable()
            try:
                for _ in range(3):
                    wire.send(post(body=b"abc"))
                    await wire.answer()
                for _ in range(3):
                    await asyncio.sleep(0)
                assert [reference() for reference in requests] == [None] * 3
            finally:
                gc.enable()


class FakeTransport(asyncio.Transport):
    """A socket that takes all, or nothing any more after the first write."""

    def __init__(self, protocol: asyncio.Protocol, *, slow: bool = False) -> None:
        super().__init__()
        self.protocol = protocol
        self.slow = slow
        self.written = bytearray()
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data
        if self.slow:
            self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return len(self.written) if self.slow else 0

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    close = abort

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """Nothing comes by itself."""

    resume_reading = pause_reading


class TestTurns:
    """When handlers are called."""

    async def test_slow_reader(self) -> None:
        """Pipelined requests wait while the client does not take the answers."""
        served = []

        async def handler(request: Request) -> StreamResponse:
            served.append(request.path)
            return Response(b"x" * 1000)

        server = Server(handler)
        connection = server.connection("http")
        transport = FakeTransport(connection, slow=True)
        connection.connection_made(transport)
        connection.data_received(GET * 200)
        await turns()
        before = len(served)
        assert before < 50
        connection.resume_writing()
        await turns()
        assert before < len(served) < 100
        connection.connection_lost(None)
        await server.close(0)

    async def test_fair(self) -> None:
        """Who pipelines many requests does not keep the others waiting for all of them."""
        served = []

        async def handler(request: Request) -> StreamResponse:
            served.append(request.path)
            return Response()

        server = Server(handler)
        greedy, other = server.connection("http"), server.connection("http")
        for connection in (greedy, other):
            connection.connection_made(FakeTransport(connection))
            connection.data_received(GET)
        await turns()
        loop = asyncio.get_running_loop()
        loop.call_soon(greedy.data_received, GET * 1000)
        loop.call_soon(other.data_received, b"GET /other HTTP/1.1\r\nHost: h\r\n\r\n")
        await asyncio.sleep(0)
        assert served.index("/other") < 100
        await asyncio.sleep(0)
        assert len(served) < 200
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(served) == 1003
        for connection in (greedy, other):
            connection.connection_lost(None)
        await server.close(0)

    async def test_lost_between(self) -> None:
        """The pipelined requests of a client that has gone are not begun."""
        served = []

        async def handler(request: Request) -> StreamResponse:
            served.append(request.path)
            return Response()

        server = Server(handler)
        connection = server.connection("http")
        connection.connection_made(FakeTransport(connection))
        connection.data_received(GET)
        await turns()
        asyncio.get_running_loop().call_soon(connection.data_received, GET * 1000)
        await asyncio.sleep(0)
        before = len(served)
        connection.connection_lost(None)
        await turns()
        assert len(served) == before < 100
        assert server.connections == 0
        await server.close(0)

    async def test_handler_that_does_not_end(self) -> None:
        """A request waits until the handler of the last one has ended, not only its response."""
        order = []
        gate = asyncio.Event()

        async def handler(request: Request) -> StreamResponse:
            order.append(f"{request.path} begins")
            body = await request.read()
            response = StreamResponse(headers={"Content-Length": "1"})
            await response.prepare(request)
            await response.write_eof(b"x")
            await gate.wait()
            order.append(f"{request.path} {len(body)} ends")
            return response

        async with serving(handler) as server, connected(server) as wire:
            wire.send(post(path=b"/a", body=b"1"))
            assert (await wire.answer()).body == b"x"
            for number in range(3):
                octets = post(path=b"/%d" % number, body=b"12")
                wire.send(octets[:30], octets[30:])
            await turns()
            assert order == ["/a begins"]
            gate.set()
            for _ in range(3):
                assert (await wire.answer()).body == b"x"
        assert order[:4] == ["/a begins", "/a 1 ends", "/0 begins", "/0 2 ends"]
        assert order[-1] == "/2 2 ends"

    async def test_handler_that_does_not_end_in_a_body(self) -> None:
        """So it is where the rest of a body and the next request come together."""
        order = []
        gate = asyncio.Event()

        async def handler(request: Request) -> StreamResponse:
            order.append(f"{request.path} begins")
            response = Response(text="x")
            if request.path == "/a":
                response = Response(text="a", headers={"X": "y"})
                await response.prepare(request)
                await response.write_eof()
                await gate.wait()
            order.append(f"{request.path} ends")
            return response

        server = Server(handler)
        connection = server.connection("http")
        transport = FakeTransport(connection)
        connection.connection_made(transport)
        first = post(path=b"/a", body=b"1" * 10)
        connection.data_received(first[:-5])
        await turns()
        connection.data_received(first[-5:] + post(path=b"/b", body=b"123")[:-1])
        await turns()
        connection.data_received(b"3" + GET)
        await turns()
        assert order == ["/a begins"]
        gate.set()
        await turns()
        assert order == ["/a begins", "/a ends", "/b begins", "/b ends", "/ begins", "/ ends"]
        assert transport.written.count(b"HTTP/1.1 200") == 3
        connection.connection_lost(None)
        await server.close(0)

    async def test_lost_before_it_begins(self) -> None:
        """A handler that is cancelled before its first step holds nothing up."""
        server = Server(hello, handler_cancellation=True)
        for _ in range(2):
            connection = server.connection("http")
            connection.connection_made(FakeTransport(connection))
            connection.data_received(GET)
            connection.connection_lost(None)
            await turns()
            assert server.connections == 0
        await server.close(0)

    async def test_context_of_pipelined_ones(self) -> None:
        """Nor do pipelined requests see what the one before has set."""
        import contextvars

        variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="new")

        async def handler(request: Request) -> StreamResponse:
            seen = variable.get()
            variable.set("used")
            if request.path == "/wait":
                await asyncio.sleep(0)
            return Response(text=seen)

        async with serving(handler) as server, connected(server) as wire:
            wire.send((GET + b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n") * 20)
            for _ in range(40):
                assert (await wire.answer()).body == b"new"


async def test_addresses() -> None:
    """The addresses are asked for once, and known when the client has gone."""
    server = Server(hello)
    connection = server.connection("http")
    transport = FakeTransport(connection)
    asked = []

    def get_extra_info(name: str, default: Any = None) -> Any:
        asked.append(name)
        return {"peername": ("::1", 1, 0, 0), "sockname": ("::1", 2, 0, 0)}.get(name, default)

    transport.get_extra_info = get_extra_info  # type: ignore[method-assign]  # a fake of a fake
    connection.connection_made(transport)
    for _ in range(2):
        assert connection.get_extra_info("peername") == ("::1", 1, 0, 0)
        assert connection.get_extra_info("cipher", "none") == "none"
    connection.connection_lost(None)
    assert connection.get_extra_info("peername") == ("::1", 1, 0, 0)
    assert connection.get_extra_info("sockname") is None
    assert asked == ["peername", "cipher", "cipher"]
    await server.close(0)


class Taker(asyncio.Transport):
    """A socket's transport that takes what is written until it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True

    abort = close


class TestOneTurn:
    @pytest.mark.parametrize("behind", [b"", b"GET /"])
    @pytest.mark.parametrize("late", [False, True])
    async def test_last_word(self, behind: bytes, late: bool) -> None:
        """An answer is not lost where the client's last word is read in its turn."""
        gate = asyncio.Event()

        async def handler(request: Request) -> StreamResponse:
            if late:
                await gate.wait()
            return Response(text="hello")

        async with serving(handler) as server:
            connection, taker = server.connection("http"), Taker()

            def end() -> None:
                if not connection.eof_received():
                    taker.close()

            def receive() -> None:
                connection.data_received(GET + behind)
                if not late:
                    end()

            connection.connection_made(taker)
            loop = asyncio.get_running_loop()
            loop.call_soon(receive)
            await turns()
            if late:
                gate.set()
                # Behind the handler's next step, and before what that asks for.
                loop.call_soon(end)
                await turns()
            taker.close()
            connection.connection_lost(None)
            assert taker.written.count(b"hello") == 1

    @pytest.mark.parametrize("fields", [None, {"X-Y": "z"}])
    async def test_large_answers(self, fields: dict[str, str] | None) -> None:
        """A small answer waits for the end of the turn, a large one takes it along at once."""

        async def handler(request: Request) -> StreamResponse:
            return Response(bytes(int(request.query_string)), headers=fields)

        written: list[int] = []
        async with serving(handler) as server:
            connection, taker = server.connection("http"), Taker()
            connection.connection_made(taker)

            def receive() -> None:
                for size in (0, MAX_BATCHED, MAX_BATCHED + 1, 1):
                    connection.data_received(b"GET /?%d HTTP/1.1\r\nHost: h\r\n\r\n" % size)
                    written.append(taker.written.count(b"HTTP/1.1 200"))

            loop = asyncio.get_running_loop()
            loop.call_soon(connection.data_received, b"GET /?0 HTTP/1.1\r\nHost: h\r\n\r\n")
            await turns()
            taker.written = b""
            loop.call_soon(receive)
            await turns()
            lengths = re.findall(rb"Content-Length: (\d+)", taker.written)
            taker.close()
            connection.connection_lost(None)
        assert written == [0, 0, 3, 3]
        assert lengths == [b"0", b"%d" % MAX_BATCHED, b"%d" % (MAX_BATCHED + 1), b"1"]

    async def test_close(self) -> None:
        """Closing an idle connection waits for no turn, and loses no answer."""
        async with serving(hello) as server:
            connection, taker = server.connection("http"), Taker()

            def receive() -> None:
                connection.data_received(GET)
                connection.close()

            connection.connection_made(taker)
            loop = asyncio.get_running_loop()
            loop.call_soon(connection.data_received, GET)
            await turns()
            loop.call_soon(receive)
            await turns()
            connection.connection_lost(None)
            assert taker.written.count(b"hello") == 2


class BrokenLog(AbstractAccessLogger):
    """An access log that cannot be written."""

    def log(self, request: Request, response: StreamResponse, time: float) -> None:
        raise ValueError("no space is left")


class TestBeyondTheHandler:
    @pytest.mark.parametrize("waits", [False, True])
    async def test_malformed_error(self, waits: bool, caplog: pytest.LogCaptureFixture) -> None:
        """What a handler raises may have fields that cannot be sent: it is answered with 500."""

        async def handler(request: Request) -> StreamResponse:
            if waits:
                await asyncio.sleep(0)
            raise HTTPException(400, headers={"X-Text": "a\r\nb"})

        async with serving(handler) as server, connected(server) as wire:
            for _ in range(2):
                answer = await ask(server, GET)
                assert answer.status == 500
                assert "x-text" not in answer.headers
            wire.send(GET)
            assert (await wire.answer()).status == 500
            assert await wire.closed()
        assert "an answer that cannot be sent" in caplog.text

    @pytest.mark.parametrize("waits", [False, True])
    async def test_broken_log(self, waits: bool, caplog: pytest.LogCaptureFixture) -> None:
        """An access log that raises does not end the connection, nor hold it up."""

        async def handler(request: Request) -> StreamResponse:
            if waits:
                await asyncio.sleep(0)
            return Response(text="hello")

        log = BrokenLog(logging.getLogger("test"), "")
        async with serving(handler, access_log=log) as server, connected(server) as wire:
            for _ in range(3):
                wire.send(GET)
                assert (await wire.answer()).body == b"hello"
        assert "no space is left" in caplog.text

    async def test_released(self, caplog: pytest.LogCaptureFixture) -> None:
        """What fails after its answer does no harm to the request that has its turn since."""
        fails, begun, goes_on, failed = (asyncio.Event() for _ in range(4))

        async def handler(request: Request) -> StreamResponse:
            response = Response(text="hello")
            if request.path == "/next":
                begun.set()
                await goes_on.wait()
                return response
            await response._answer(request)
            request._exchange.answered()
            await fails.wait()
            failed.set()
            raise ValueError("too late")

        async with serving(handler) as server, connected(server) as wire:
            wire.send(GET)
            assert (await wire.answer()).status == 200
            wire.send(b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n")
            await begun.wait()
            fails.set()
            await failed.wait()
            await turns()
            goes_on.set()
            assert (await wire.answer()).status == 200
        assert "too late" in caplog.text
