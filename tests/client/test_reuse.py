"""Which responses leave their connection to the next request, over real sockets."""

from __future__ import annotations

import asyncio
import functools
import io
import re
import socket
from typing import Any

import pytest

import angelia
from angelia.net.exchange import Exchange
from angelia.net.payload import AbstractStreamWriter, JsonPayload
from angelia.net.transport import Transport
from dial_kit import settled
from peers.raw import RawServer, read_request, response

pytestmark = pytest.mark.usefixtures("loop_kind")

OK = response(b"ok")

LONG = angelia.ClientTimeout(sock_read=1000)


def pending_timers() -> int:
    """How many timers are not cancelled; none are seen on uvloop."""
    scheduled = getattr(asyncio.get_running_loop(), "_scheduled", ())
    return sum(not timer.cancelled() for timer in scheduled)


async def used(method: str, answer: bytes, content: bytes, *, eof: bool = False) -> int:
    """How many connections two requests need, the first of which gets `answer`."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        if request.split()[1] == b"/first":
            writer.write(answer)
            if eof:
                return
            request = await read_request(reader)
        assert request.split()[1] == b"/second"
        writer.write(OK)
        await reader.read()

    async with RawServer(script) as server, angelia.ClientSession() as session:
        async with session.request(method, server.url / "first") as resp:
            assert await resp.read() == content
        async with session.get(server.url / "second") as resp:
            assert await resp.read() == b"ok"
        return server.connections


class TestLeft:
    @pytest.mark.parametrize(
        ("method", "answer", "content"),
        [
            ("GET", OK, b"ok"),
            ("GET", response(b"", status="204 No Content", length=False), b""),
            ("GET", response(b"", status="304 Not Modified", length=False), b""),
            ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n", b""),
            ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", b""),
            ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
            ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
            ("GET", response(b"x", "Connection: keep-alive", version="HTTP/1.0"), b"x"),
            ("GET", response(b"x", "Connection: Keep-Alive, x"), b"x"),
            ("GET", b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK, b"ok"),
        ],
    )
    async def test_left(self, method: str, answer: bytes, content: bytes) -> None:
        """RFC 9112 §6.3, §9.3: the end of the content is known, and nobody said close."""
        assert await used(method, answer, content) == 1


class TestNotLeft:
    @pytest.mark.parametrize(
        "answer",
        [
            response(b"x", "Connection: close"),
            response(b"x", "Connection: x, Close"),
            response(b"x", "Connection: keep-alive", "Connection: close"),
            response(b"x", version="HTTP/1.0"),
            response(b"x", "Keep-Alive: timeout=5", version="HTTP/1.0"),
            response(b"x", version="HTTP/1.2"),
            response(b"x", "Connection: keep-alive", version="HTTP/1.9"),
            response(b"x") + b"y",
            response(b"x") + OK,
        ],
    )
    async def test_closed(self, answer: bytes) -> None:
        """Nor is one used whose peer says close, or more than the response, or speaks a version
        that we do not know all of."""
        assert await used("GET", answer, b"x") == 2

    async def test_no_length(self) -> None:
        """RFC 9112 §6.3: content without a length ends with the connection."""
        answer = b"HTTP/1.1 200 OK\r\n\r\nuntil the end"
        assert await used("GET", answer, b"until the end", eof=True) == 2


def _protocol(resp: angelia.ClientResponse) -> Transport:
    assert resp.connection is not None
    assert resp.connection.protocol is not None
    return resp.connection.protocol


async def test_paused_reading_goes_on() -> None:
    """A connection that a slow reader held is read again before the next request has it.

    No timer of the read that was over goes with it.
    """
    large = bytes(3 * 1024 * 1024)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            await read_request(reader)
            writer.write(response(large))
            await writer.drain()
        await reader.read()

    async with (
        RawServer(script) as server,
        angelia.TCPConnector(keepalive_timeout=None) as connector,
        angelia.ClientSession(connector=connector, read_bufsize=2048, timeout=LONG) as session,
    ):
        before = pending_timers()
        for _ in range(3):
            async with session.get(server.url) as resp:
                # Far more than the buffer takes is on its way.
                assert await resp.content.read(1) == b"\x00"
                protocol = _protocol(resp)
                assert await settled(functools.partial(getattr, protocol, "reading_paused"))
                assert len(await resp.read()) == len(large) - 1
            assert not protocol.reading_paused
            assert pending_timers() == before
        assert server.connections == 1


@pytest.mark.parametrize("partial", [b"", b"HTTP/1.1 200 OK\r\nContent-Le"])
@pytest.mark.parametrize(("method", "again"), [("PUT", True), ("DELETE", True), ("POST", False)])
async def test_sent_again(method: str, again: bool, partial: bytes) -> None:
    """RFC 9110 §9.2.2: where a kept connection ends before the answer's head is complete,
    idempotent requests are sent once more, their body from the start; others are not."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        writer.write(OK)
        if request.startswith(b"GET"):
            # The next one is read, and not answered.
            await read_request(reader)
            writer.write(partial)
        else:
            await reader.read()

    async with RawServer(script) as server, angelia.ClientSession() as session:
        async with session.get(server.url) as resp:
            await resp.read()
        if again:
            async with session.request(method, server.url, data=b"body") as resp:
                assert await resp.read() == b"ok"
            assert server.requests[1].startswith(method.encode())
            assert server.requests[1].endswith(b"\r\n\r\nbody")
            assert server.connections == 2
        else:
            with pytest.raises((angelia.ServerDisconnectedError, angelia.ClientOSError)):
                await session.request(method, server.url, data=b"body")
            assert server.connections == 1


async def test_sent_twice_at_most() -> None:
    """The second attempt is the last one, however it ends."""
    both = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Two kept connections, so that the second attempt has one that served before, too.
        await read_request(reader)
        if server.connections == 2:
            both.set()
        await both.wait()
        writer.write(OK)
        await read_request(reader)

    async with RawServer(script) as server, angelia.ClientSession() as session:
        for resp in await asyncio.gather(*(session.get(server.url) for _ in range(2))):
            assert await resp.read() == b"ok"
        with pytest.raises(angelia.ServerDisconnectedError):
            await session.get(server.url)
        await server.wait_all_closed()
        assert server.connections == 2


class TestGivenBack:
    """When a connection is free, and when it is closed, as its response goes."""

    @staticmethod
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
        await reader.read()

    @pytest.mark.parametrize("content", [b"", b"ok", bytes(200_000)])
    async def test_read(self, content: bytes) -> None:
        """With the last octet read it is free, whether or not the response is let go."""
        async with (
            RawServer([response(content)] * 2) as server,
            angelia.TCPConnector(limit=1) as connector,
            angelia.ClientSession(connector=connector) as session,
        ):
            first = await session.get(server.url)
            assert await first.read() == content
            assert connector.stats().idle == 1
            # The only slot is free.
            second = await session.get(server.url)
            assert await second.read() == content
            assert server.connections == 1

    @pytest.mark.parametrize("end", ["release", "close"])
    async def test_unread(self, end: str) -> None:
        """With content to come it is closed, at once, and the slot is free; twice is no more."""
        async with (
            RawServer(self.half) as server,
            angelia.TCPConnector(limit=1) as connector,
            angelia.ClientSession(connector=connector) as session,
        ):
            resp = await session.get(server.url)
            for _ in range(2):
                getattr(resp, end)()
                resp.release()
                resp.close()
                assert connector.stats().in_use == connector.stats().idle == 0
            await server.wait_all_closed()
            async with session.get(server.url) as resp:
                assert await resp.content.readexactly(4) == b"half"
            assert server.connections == 2

    async def test_close_and_release(self) -> None:
        """Of a response that came whole, `release` gives the connection back, `close` ends it."""
        whole = response(bytes(200_000))
        async with (
            RawServer([whole] * 3) as server,
            angelia.ClientSession() as session,
        ):
            assert session.connector is not None
            resp = await session.get(server.url)
            await resp.read()
            resp.release()
            assert session.connector.stats().idle == 1
            resp.close()
            resp.release()
            # It is nobody's any more, least of all this response's to close.
            assert session.connector.stats().idle == 1


async def test_one_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and small body leave in one write: who reads but once has seen all of the request.

    No task is made for that.
    """
    monkeypatch.setattr(Exchange, "start_upload", None)
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    with listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        calls: list[dict[str, Any]] = [
            {"method": "GET"},
            {"method": "POST", "data": b"body"},
            {"method": "POST", "data": "body"},
            {"method": "POST", "json": {"a": 1}},
            {"method": "PUT", "data": {"a": "1"}},
            {"method": "POST", "data": io.StringIO("body")},
            {"method": "POST", "data": bytes(1000)},
        ]
        async with angelia.ClientSession() as session:
            for arguments in calls:
                task = asyncio.ensure_future(
                    session.request(url=url, headers={"Connection": "close"}, **arguments)
                )
                peer, _ = await loop.sock_accept(listener)
                with peer:
                    request = await loop.sock_recv(peer, 65536)
                    head, _, body = request.partition(b"\r\n\r\n")
                    lengths = re.findall(rb"Content-Length: ([0-9]+)", head)
                    assert [len(body)] == [int(length) for length in lengths or [b"0"]]
                    await loop.sock_sendall(peer, response(b"ok", "Connection: close"))
                    assert await (await task).read() == b"ok"


class Shouted(JsonPayload):
    """A body that does not write what it holds."""

    async def write(self, writer: AbstractStreamWriter) -> None:
        await writer.write(bytes(self._value).upper())

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        await self.write(writer)


async def test_derived_body() -> None:
    """A class of its own writes its body itself."""
    async with RawServer([response(b"ok")]) as server, angelia.ClientSession() as session:
        assert await (await session.post(server.url, data=Shouted({"a": "b"}))).read() == b"ok"
        assert server.requests[0].endswith(b'{"A": "B"}')
