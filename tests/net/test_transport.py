"""Transport: what reaches the socket, when, and what becomes of those who wait for it."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from angelia.core.interface import RequestHead
from angelia.errors import ClientConnectionResetError
from angelia.net.exchange import Exchange, ExchangeOptions
from angelia.net.socket_protocol import WriteBatch
from angelia.net.transport import BufferedTransport, Transport, transport_class
from dial_kit import Certificates
from exchange_kit import Peer, as_socket, translate, turn
from peers.raw import RawServer, read_head, response

OK = response(b"hello")
OPTIONS = ExchangeOptions(translate=translate, read_bufsize=2**16, auto_decompress=True)
GET = RequestHead("GET", "/", [("Host", "x.test")])


@asynccontextmanager
async def connected(
    server: RawServer, context: ssl.SSLContext | None = None
) -> AsyncIterator[Transport]:
    """A transport of the kind that suits the loop, connected to a server."""
    loop = asyncio.get_running_loop()
    kind = transport_class(loop, is_tls=context is not None)
    _, transport = await loop.create_connection(
        lambda: kind(loop),
        "127.0.0.1",
        server.port,
        ssl=context,
        server_hostname=None if context is None else "localhost",
    )
    try:
        yield transport
    finally:
        transport.abort()
        await transport.wait_closed()


def begin(transport: Transport) -> Exchange:
    return Exchange(transport, transport.core.open_stream(), OPTIONS)


class TestClosed:
    async def test_write_after_close(self) -> None:
        """Who sends on a connection that is closing, or gone, is told."""
        for how in ("close", "abort", "lose"):
            peer = Peer()
            exchange = peer.exchange()
            getattr(peer.socket, how)()
            with pytest.raises(ClientConnectionResetError):
                exchange.send_head(GET, end=True)
            with pytest.raises(ClientConnectionResetError):
                exchange.transport.flush_soon()
            await turn()

    async def test_flush_after_close(self) -> None:
        """flush() with something to say on a closed connection raises; with nothing it does not."""
        peer = Peer()
        peer.transport.flush()
        exchange = peer.post()
        peer.socket.closing = True
        exchange.transport.core.send_content(exchange.stream_id, b"x", end=False)
        with pytest.raises(ClientConnectionResetError):
            peer.transport.flush()
        peer.socket.lose()


class TestLife:
    async def test_callback_at_the_end(self) -> None:
        """`on_change` is called when an exchange ends, and when the connection is lost."""
        peer = Peer()
        peer.get()
        peer.receive(OK)
        assert peer.changes == 1
        peer.socket.lose()
        assert peer.changes == 2
        assert peer.transport.socket_transport is None
        assert not peer.transport.is_open
        assert peer.transport.get_extra_info("peername", "none") == "none"

    async def test_wait_closed(self) -> None:
        """Several may wait for the socket to be closed; one who is cancelled disturbs nobody."""
        peer = Peer()
        waits = [asyncio.create_task(peer.transport.wait_closed()) for _ in range(3)]
        await turn()
        waits[0].cancel()
        await turn()
        peer.transport.close()
        peer.transport.close()
        await asyncio.gather(*waits[1:])
        await peer.transport.wait_closed()

    async def test_stray_octets_on_idle_connection(self) -> None:
        """Octets that nobody asked for close an idle connection."""
        peer = Peer()
        peer.receive(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        assert not peer.transport.is_open
        assert peer.transport.available_streams == 0

    async def test_eof_on_idle_connection(self) -> None:
        """The peer's end of an idle connection takes it out of use at once."""
        peer = Peer()
        assert peer.transport.eof_received() is False
        assert peer.transport.available_streams == 0
        peer.socket.lose()

    async def test_pausing(self) -> None:
        """Reading is paused and resumed once each, and not on a connection that closes."""
        peer = Peer()
        for _ in range(2):
            peer.transport.pause_reading()
        for _ in range(2):
            peer.transport.resume_reading()
        assert peer.socket.calls == ["pause", "resume"]
        peer.transport.close()
        peer.transport.pause_reading()
        assert peer.socket.calls == ["pause", "resume", "close"]

    async def test_before_and_after(self) -> None:
        """Closing what is not connected, or gone, is nothing."""
        transport = Transport(asyncio.get_running_loop())
        transport.close()
        transport.abort()
        await transport.wait_closed()
        transport.pause_reading()
        assert not transport.is_open
        assert transport.get_extra_info("peername") is None

    async def test_repr(self) -> None:
        """The representation tells the state."""
        peer = Peer()
        assert repr(peer.transport) == "<Transport ('192.0.2.1', 80) HTTP/1.1 0 open served=0>"
        peer.socket.lose()
        assert repr(peer.transport) == "<Transport None HTTP/1.1 closed served=0>"

    async def test_no_cycle(self) -> None:
        """A connection that is lost goes away with its last user, without the cycle collector."""
        gc.collect()
        gc.disable()
        try:
            peer = Peer()
            peer.get()
            peer.receive(OK)
            assert as_socket(peer.transport.socket_transport) is peer.socket
            peer.socket.lose()
            peer.transport.on_change = None
            await turn()
            gone = weakref.ref(peer.socket), weakref.ref(peer)
            del peer
            assert [ref() for ref in gone] == [None, None]
        finally:
            gc.enable()


@pytest.fixture(params=[True, False], ids=["kept", "mapped"])
def keeps_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the allocator keeps blocks as large as a read: that decides how the loop reads."""
    keeps: bool = request.param
    monkeypatch.setattr("angelia.net.socket_protocol.KEEPS_BLOCKS", keeps)
    return keeps


@pytest.mark.usefixtures("loop_kind", "keeps_blocks")
class TestRealSockets:
    async def test_exchanges(self) -> None:
        """Several exchanges, one after the other, on one connection, in any pieces."""
        answers = [OK, response(b"x" * 100_000), OK]
        for piece in (None, 7001):
            async with RawServer(answers, piece=piece) as server, connected(server) as transport:
                for content in (b"hello", b"x" * 100_000, b"hello"):
                    exchange = begin(transport)
                    exchange.send_head(GET, end=True)
                    await exchange.head_arrival()
                    assert await exchange.content.read() == content
                assert server.connections == 1
                assert transport.served == 3

    async def test_over_tls(self, certificates: Certificates) -> None:
        """The same over TLS."""
        async with (
            RawServer([OK, response(b"x" * 100_000)], tls=certificates.server) as server,
            connected(server, certificates.client) as transport,
        ):
            for content in (b"hello", b"x" * 100_000):
                exchange = begin(transport)
                exchange.send_head(GET, end=True)
                await exchange.head_arrival()
                assert await exchange.content.read() == content

    @pytest.mark.parametrize("tls", [False, True])
    async def test_slow_reader(self, certificates: Certificates, tls: bool) -> None:
        """A reader that does not read holds the server back; when it reads, all is there."""
        size = 20_000_000
        sent = 0

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await read_head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            block = b"x" * 100_000
            while sent < size:
                writer.write(block)
                await writer.drain()
                sent += len(block)
            await reader.read()

        server_tls, client_tls = (certificates.server, certificates.client) if tls else (None, None)
        async with (
            RawServer(script, tls=server_tls) as server,
            connected(server, client_tls) as transport,
        ):
            exchange = begin(transport)
            exchange.send_head(GET, end=True)
            await exchange.head_arrival()
            before = -1
            while sent != before:
                before = sent
                await asyncio.sleep(0.05)
            assert sent < size
            assert exchange.content.buffered < 2**20
            total = 0
            async for piece in exchange.content.iter_any():
                total += len(piece)
            assert total == size

    @pytest.mark.parametrize("tls", [False, True])
    async def test_write_after_the_peer_left(self, certificates: Certificates, tls: bool) -> None:
        """A write after the peer has left raises ClientConnectionResetError, also over TLS."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)

        server_tls, client_tls = (certificates.server, certificates.client) if tls else (None, None)
        async with (
            RawServer(script, tls=server_tls) as server,
            connected(server, client_tls) as transport,
        ):
            exchange = begin(transport)
            fields = [("Host", "x.test"), ("Transfer-Encoding", "chunked")]
            exchange.send_head(RequestHead("POST", "/", fields), end=False)
            arrival = exchange.head_arrival()
            with pytest.raises(ClientConnectionResetError):
                await self.send_on(exchange)
            assert isinstance(arrival.exception(), Exception)

    async def send_on(self, exchange: Exchange) -> None:
        while True:
            exchange.send_content(b"x" * 1000, end=False)
            await exchange.transport.drain()
            await asyncio.sleep(0.001)

    async def test_many_at_once(self) -> None:
        """Reads of many connections do not mix, though they may share a buffer."""
        wires = [response(bytes([65 + i]) * (1000 + i)) for i in range(20)]

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            number = int((await read_head(reader)).split(b" ")[1][1:])
            for i in range(0, len(wires[number]), 100):
                writer.write(wires[number][i : i + 100])
                await asyncio.sleep(0)
            await reader.read()

        loop = asyncio.get_running_loop()
        batch = WriteBatch(loop)
        kind = transport_class(loop, is_tls=False)

        async def get(number: int) -> bytes:
            _, transport = await loop.create_connection(
                lambda: kind(loop, batch), "127.0.0.1", server.port
            )
            exchange = begin(transport)
            head = RequestHead("GET", f"/{number}", [("Host", "x.test")])
            exchange.send_head(head, end=True)
            await exchange.head_arrival()
            content = await exchange.content.read()
            transport.close()
            await transport.wait_closed()
            return content

        async with RawServer(script) as server:
            got = await asyncio.gather(*map(get, range(20)))
        assert got == [wire.partition(b"\r\n\r\n")[2] for wire in wires]

    async def test_kind(self, loop_kind: str, keeps_blocks: bool) -> None:
        """A buffered transport where that is cheaper: TLS, and asyncio's loop without glibc."""
        loop = asyncio.get_running_loop()
        assert transport_class(loop, is_tls=True) is BufferedTransport
        plain: Any = transport_class(loop, is_tls=False)
        mapped = loop_kind == "stock" and not keeps_blocks
        assert plain is (BufferedTransport if mapped else Transport)


async def test_fin_seen_by_the_loop() -> None:
    """A FIN takes the connection out of use as soon as the loop has seen it."""
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    _, transport = await loop.create_connection(lambda: Transport(loop), sock=ours)
    assert transport.available_streams == 1
    theirs.close()
    await transport.wait_closed()
    assert transport.available_streams == 0
