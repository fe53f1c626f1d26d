"""What the request methods return: a coroutine and a context manager at once."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine

import pytest
from yarl import URL

import angelia
from peers.raw import RawServer, read_request, response

pytestmark = pytest.mark.usefixtures("loop_kind")

OK = response(b"ok")


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends half of a content, and waits."""
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
    await reader.read()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Closes instead of an answer."""
    await read_request(reader)


class TestRequest:
    """`session.get` and its relatives."""

    async def test_as_a_coroutine(self) -> None:
        """It can be awaited, and given to a task as any coroutine."""
        async with RawServer([OK] * 3) as server, angelia.ClientSession() as session:
            context = session.get(server.url)
            assert isinstance(context, Coroutine)
            responses = [
                await context,
                await asyncio.create_task(session.get(server.url)),
                await asyncio.wait_for(session.get(server.url), 10),
            ]
            assert [await resp.text() for resp in responses] == ["ok"] * 3

    async def test_nothing_happens_before(self) -> None:
        """Until it is awaited nothing is sent; one that never is warns, as coroutines do."""
        async with RawServer([]) as server, angelia.ClientSession() as session:
            context = session.get(server.url)
            context.close()
            assert server.connections == 0
            forgotten = session.get(server.url)
            with pytest.warns(RuntimeWarning, match="never awaited"):
                del forgotten

    async def test_once(self) -> None:
        """It stands for one request: a second time is a RuntimeError."""
        async with RawServer([OK]) as server, angelia.ClientSession() as session:
            context = session.get(server.url)
            async with context as resp:
                await resp.read()
            with pytest.raises(RuntimeError):
                await context

    async def test_error_in_the_block(self) -> None:
        """The response is released whatever happens in the block, and the error goes on."""
        async with RawServer(half) as server, angelia.ClientSession() as session:
            with pytest.raises(KeyError):
                async with session.get(server.url) as resp:
                    raise KeyError
            assert resp.closed
            await server.wait_all_closed()

    async def test_cancelled_in_the_block(self) -> None:
        """So it is when the block is cancelled."""
        entered = asyncio.Event()

        async with RawServer(half) as server, angelia.ClientSession() as session:

            async def ask() -> None:
                async with session.get(server.url) as resp:
                    entered.set()
                    await resp.read()

            task = asyncio.create_task(ask())
            await entered.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.wait_all_closed()

    async def test_failure_to_enter(self) -> None:
        """A request that fails is raised by the entering; there is nothing to release."""
        async with RawServer(hang_up) as server, angelia.ClientSession() as session:
            with pytest.raises(angelia.ServerDisconnectedError):
                async with session.get(server.url):
                    pytest.fail("the block ran")


class TestFunction:
    """`angelia.request`: its session closes on every path."""

    async def test_awaited(self) -> None:
        """Awaited, the response was read whole, and the connection is closed."""
        async with RawServer([OK]) as server:
            resp = await angelia.request("GET", server.url)
            await server.wait_all_closed()
            assert resp.closed
            assert await resp.text() == "ok"

    async def test_as_a_task(self) -> None:
        """So it is when a task or a timeout does the awaiting."""
        async with RawServer([OK] * 3) as server:
            responses = [
                await asyncio.create_task(angelia.request("GET", server.url)),
                await asyncio.wait_for(angelia.request("GET", server.url), 10),
                *await asyncio.gather(angelia.request("GET", server.url)),
            ]
            await server.wait_all_closed()
            assert [await resp.text() for resp in responses] == ["ok"] * 3
        gc.collect()

    async def test_never_used(self) -> None:
        """One that is closed before it is used leaves nothing."""
        angelia.request("GET", "http://a.test/").close()
        gc.collect()

    async def test_entered(self) -> None:
        """In ``async with`` content streams, until the block is left."""
        async with RawServer(half) as server:
            async with angelia.request("GET", server.url) as resp:
                assert await resp.content.readexactly(4) == b"half"
            await server.wait_all_closed()

    async def test_error_in_the_block(self) -> None:
        """Also when the block fails."""
        async with RawServer(half) as server:
            with pytest.raises(KeyError):
                async with angelia.request("GET", server.url):
                    raise KeyError
            await server.wait_all_closed()

    @pytest.mark.parametrize("entered", [True, False])
    async def test_failure(self, entered: bool) -> None:
        """When the request fails, nothing stays open, and nothing warns."""

        async def ask(url: URL) -> None:
            if entered:
                async with angelia.request("GET", url):
                    pytest.fail("the block ran")
            else:
                await angelia.request("GET", url)

        async with RawServer(hang_up) as server:
            with pytest.raises(angelia.ServerDisconnectedError):
                await ask(server.url)
            await server.wait_all_closed()
        gc.collect()

    @pytest.mark.parametrize("entered", [True, False])
    async def test_cancelled(self, entered: bool) -> None:
        """When it is cancelled while it waits, too."""
        asked = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            asked.set()
            await reader.read()

        async with RawServer(script) as server:

            async def ask() -> None:
                if entered:
                    async with angelia.request("GET", server.url):
                        pytest.fail("the block ran")
                else:
                    await angelia.request("GET", server.url)

            task = asyncio.create_task(ask())
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.wait_all_closed()
        gc.collect()

    async def test_own_connector(self) -> None:
        """A connector that is given stays open."""
        connector = angelia.TCPConnector()
        async with RawServer([OK, OK]) as server:
            for _ in range(2):
                async with angelia.request("GET", server.url, connector=connector) as resp:
                    assert await resp.text() == "ok"
            assert server.connections == 1
            assert not connector.closed
            await connector.close()

    async def test_wrong_argument(self) -> None:
        """What makes no sense leaves no session behind either."""
        with pytest.raises(TypeError):
            await angelia.request("GET", "http://a.test/", timeout="5")
        with pytest.raises(angelia.InvalidURL):
            async with angelia.request("GET", "nowhere"):
                pytest.fail("the block ran")
        gc.collect()
