"""Upgrades to protocols that the handler speaks by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import pytest

from angelia.server.request import Request
from angelia.server.response import Response
from angelia.server.stream_response import StreamResponse
from angelia.server.upgrade import UpgradeResponse
from server.kit import GET, ask, connected, hello, serving

pytestmark = [pytest.mark.usefixtures("loop_kind"), pytest.mark.deadline(15)]

LINES = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: lines\r\n\r\n"


async def lines(request: Request) -> StreamResponse:
    """Send back each line."""
    upgrade = UpgradeResponse("lines")
    await upgrade.prepare(request)
    async for line in upgrade.content:
        await upgrade.write(line)
    return upgrade


class TestSwitch:
    async def test_both_ways(self) -> None:
        """After the 101 octets go both ways as they are, however long it takes."""
        async with serving(lines, body_timeout=0.01) as server, connected(server) as wire:
            wire.send(LINES)
            status, fields = await wire.head()
            assert status == 101
            assert fields["upgrade"] == "lines"
            assert fields["connection"] == "Upgrade"
            assert not {"content-type", "content-length", "transfer-encoding"} & set(fields)
            for number in range(3):
                wire.send(b"GET / HTTP/1.1 %d\n" % number)
                assert await wire.reader.readline() == b"GET / HTTP/1.1 %d\n" % number
            wire.writer.write_eof()
            assert await wire.closed()

    async def test_octets_behind_the_head(self) -> None:
        """What was read with the request is the other protocol's, wherever it is cut."""
        whole = LINES + b"one\ntwo\n"
        async with serving(lines) as server:
            for at in range(len(LINES) - 2, len(whole)):
                async with connected(server) as wire:
                    wire.send(whole[:at])
                    await asyncio.sleep(0)
                    wire.send(whole[at:])
                    wire.writer.write_eof()
                    assert (await wire.head())[0] == 101
                    assert await wire.rest() == b"one\ntwo\n"

    async def test_content_first(self) -> None:
        """RFC 9110 §7.8: the content of the request is read before."""
        octets = LINES.replace(b"GET", b"POST").replace(b"Host", b"Content-Length: 3\r\nHost")
        async with serving(lines) as server, connected(server) as wire:
            wire.send(octets, b"abcline\n")
            assert (await wire.head())[0] == 101
            assert await wire.reader.readline() == b"line\n"

    async def test_awaited_content(self) -> None:
        """A client that waits for 100 before the content gets it before the 101."""
        octets = LINES.replace(b"Host", b"Content-Length: 1\r\nExpect: 100-continue\r\nHost")
        async with serving(lines) as server, connected(server) as wire:
            wire.send(octets)
            assert (await wire.head())[0] == 100
            wire.send(b"xline\n")
            assert (await wire.head())[0] == 101
            assert await wire.reader.readline() == b"line\n"

    @pytest.mark.parametrize(
        "octets",
        [
            GET,
            LINES.replace(b"Upgrade: lines", b"Upgrade: words"),
            LINES.replace(b"Connection: Upgrade\r\n", b""),
            LINES.replace(b"HTTP/1.1", b"HTTP/1.0"),
        ],
    )
    async def test_not_offered(self, octets: bytes) -> None:
        """RFC 9110 §7.8: only to what the client offers; 426 says what is wanted."""
        async with serving(lines) as server:
            answer = await ask(server, octets)
            assert answer.status == 426
            assert answer.headers["upgrade"] == "lines"

    async def test_before_prepare(self) -> None:
        """Nothing can be read or written before."""
        upgrade = UpgradeResponse("lines")
        assert not upgrade.prepared
        with pytest.raises(RuntimeError):
            _ = upgrade.content
        with pytest.raises(RuntimeError):
            await upgrade.write(b"x")
        with pytest.raises(RuntimeError):
            await upgrade.write_eof()


class TestFlow:
    async def test_slow_client(self) -> None:
        """`write` waits for a client that does not read."""
        waiting = asyncio.Event()
        sent = 0

        async def handler(request: Request) -> StreamResponse:
            nonlocal sent
            upgrade = UpgradeResponse("lines")
            await upgrade.prepare(request)
            while not waiting.is_set():
                write = asyncio.ensure_future(upgrade.write(bytes(100_000)))
                sent += 100_000
                await asyncio.sleep(0)
                if not write.done():
                    waiting.set()
                await write
            return upgrade

        async with serving(handler) as server, connected(server) as wire:
            wire.send(LINES)
            await wire.head()
            await waiting.wait()
            assert len(await wire.rest()) == sent

    async def test_slow_handler(self) -> None:
        """A client that writes more than is read waits, and nothing is lost."""
        go = asyncio.Event()
        upgrades: list[UpgradeResponse] = []
        sizes: list[int] = []

        async def handler(request: Request) -> StreamResponse:
            upgrade = UpgradeResponse("lines")
            await upgrade.prepare(request)
            upgrades.append(upgrade)
            await go.wait()
            sizes.append(len(await upgrade.content.read()))
            return upgrade

        async with serving(handler, read_bufsize=1000) as server, connected(server) as wire:
            wire.send(LINES)
            await wire.head()
            sent = 0
            while not sent or not upgrades[0]._exchange.connection._held:  # type: ignore[union-attr]  # prepared
                wire.send(bytes(10_000))
                sent += 10_000
                await asyncio.sleep(0)
            go.set()
            wire.writer.write_eof()
            assert await wire.closed()
            assert sizes == [sent]


class TestEnd:
    async def test_half_closed(self) -> None:
        """Either side may end first and still be heard by the other."""
        heard: list[bytes] = []

        async def handler(request: Request) -> StreamResponse:
            upgrade = UpgradeResponse("lines")
            await upgrade.prepare(request)
            await upgrade.write(b"first")
            await upgrade.write_eof(b" and last")
            await upgrade.write_eof()
            with pytest.raises(RuntimeError):
                await upgrade.write(b"more")
            heard.append(await upgrade.content.read())
            return upgrade

        async with serving(handler) as server, connected(server) as wire:
            wire.send(LINES)
            await wire.head()
            assert await wire.rest() == b"first and last"
            wire.send(b"answer")
            wire.writer.write_eof()
            await _gone(server)
            assert heard == [b"answer"]

    async def test_raises(self, caplog: pytest.LogCaptureFixture) -> None:
        """A handler that raises takes the connection with it, and is logged."""

        async def handler(request: Request) -> StreamResponse:
            await UpgradeResponse("lines").prepare(request)
            raise ZeroDivisionError

        async with serving(handler) as server, connected(server) as wire:
            wire.send(LINES)
            with contextlib.suppress(ConnectionError):
                await wire.rest()
            await _gone(server)
        assert [r.levelno for r in caplog.records if r.name == "angelia.server"] == [logging.ERROR]

    async def test_client_vanishes(self) -> None:
        """Reading and writing after the client has gone raise OSError."""
        raised: list[BaseException] = []
        ready = asyncio.Event()

        async def handler(request: Request) -> StreamResponse:
            upgrade = UpgradeResponse("lines")
            await upgrade.prepare(request)
            ready.set()
            try:
                await upgrade.content.read()
                while True:
                    await upgrade.write(b"x")
            except OSError as error:
                raised.append(error)
                raise

        async with serving(handler) as server:
            async with connected(server) as wire:
                wire.send(LINES)
                await ready.wait()
            await _gone(server)
        assert isinstance(raised[0], ConnectionError)

    async def test_server_closes(self) -> None:
        """A server that closes waits for the handler, which can see it."""
        seen: list[Any] = []

        async def handler(request: Request) -> StreamResponse:
            upgrade = UpgradeResponse("lines")
            await upgrade.prepare(request)
            seen.append(upgrade.closing)
            seen.append(await upgrade.content.readline())
            seen.append(upgrade.closing)
            await upgrade.write(b"bye")
            return upgrade

        async with serving(handler) as server, connected(server) as wire:
            wire.send(LINES)
            await wire.head()
            closing = asyncio.ensure_future(server.close())
            await asyncio.sleep(0)
            wire.send(b"last\n")
            assert await wire.rest() == b"bye"
            await wire.close()
            await closing
        assert seen == [False, b"last\n", True]

    async def test_declined(self) -> None:
        """A handler that answers otherwise declines: the next request is a request."""

        async def handler(request: Request) -> StreamResponse:
            return Response(text=request.headers.get("Upgrade", "none"))

        async with serving(handler) as server, connected(server) as wire:
            wire.send(LINES, GET)
            assert (await wire.answer()).body == b"lines"
            assert (await wire.answer()).body == b"none"
        async with serving(hello) as server, connected(server) as wire:
            wire.send(LINES)
            assert (await wire.answer()).status == 200


async def _gone(server: Any) -> None:
    while server.connections:  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0)
