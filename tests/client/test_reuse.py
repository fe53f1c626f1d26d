"""Which responses leave their connection to the next request, over real sockets."""

from __future__ import annotations

import asyncio
import functools

import pytest

import angelia
from angelia.net.transport import Transport
from dial_kit import settled
from peers.raw import RawServer, read_request, response

pytestmark = pytest.mark.usefixtures("loop_kind")

OK = response(b"ok")


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
            response(b"x") + b"y",
            response(b"x") + OK,
        ],
    )
    async def test_closed(self, answer: bytes) -> None:
        """Nor is one used whose peer says close, or more than the response."""
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
    """A connection that a slow reader held is read again before the next request has it."""
    large = bytes(3 * 1024 * 1024)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            await read_request(reader)
            writer.write(response(large))
            await writer.drain()
        await reader.read()

    async with (
        RawServer(script) as server,
        angelia.ClientSession(read_bufsize=2048) as session,
    ):
        for _ in range(3):
            async with session.get(server.url) as resp:
                # Far more than the buffer takes is on its way.
                assert await resp.content.read(1) == b"\x00"
                protocol = _protocol(resp)
                assert await settled(functools.partial(getattr, protocol, "reading_paused"))
                assert len(await resp.read()) == len(large) - 1
            assert not protocol.reading_paused
        assert server.connections == 1


@pytest.mark.parametrize(("method", "again"), [("PUT", True), ("DELETE", True), ("POST", False)])
async def test_sent_again(method: str, again: bool) -> None:
    """RFC 9110 §9.2.2: where a kept connection dies before the answer, idempotent requests are sent
    once more, their body from the start; others are not."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        writer.write(OK)
        if request.startswith(b"GET"):
            # The next one is read, and not answered.
            await read_request(reader)
            writer.transport.abort()
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
