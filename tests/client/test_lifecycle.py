"""The life of a session: what `close` ends, what it leaves to others, what warns if forgotten."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import ssl
import sys
import textwrap
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import angelia
from peers.raw import RawServer, read_head, read_request, response
from turns import turns

OK = response(b"ok")

# Longer than the test may take: what waits so long fails it.
FOR_EVER = 3600


def sockets() -> set[str]:
    """The sockets that this process has open."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take a request, and say nothing."""
    await read_request(reader)
    await reader.read()


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with half of the content."""
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    await reader.read()


async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take a head, and read no more."""
    await read_head(reader)
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # this one can
    await asyncio.Event().wait()


async def no_handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never answer a TLS handshake."""
    await reader.read()


class Barrier:
    """Holds those that come until so many are there."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._all_here = asyncio.Event()

    async def wait(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._all_here.set()
        await self._all_here.wait()


@pytest.mark.usefixtures("loop_kind")
class TestClose:
    @pytest.mark.parametrize("is_tls", [False, True])
    async def test_sockets_are_closed(
        self, is_tls: bool, client_ssl: ssl.SSLContext, server_ssl: ssl.SSLContext
    ) -> None:
        """When `close` returns, the sockets of idle connections are closed, TLS or not."""
        everybody = Barrier(4)

        async def together(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # Each on a connection of its own, since none is answered before all are here.
            await read_request(reader)
            await everybody.wait()
            writer.write(OK)
            await reader.read()

        async with RawServer(together, tls=server_ssl if is_tls else None) as server:
            before = sockets()
            connector = angelia.TCPConnector(ssl=client_ssl, ssl_shutdown_timeout=FOR_EVER)
            session = angelia.ClientSession(connector=connector)
            responses = await asyncio.gather(*(session.get(server.url) for _ in range(4)))
            for resp in responses:
                assert await resp.read() == b"ok"
            assert session.connector is not None
            # As many ends of the client's as of the server's.
            ours = sockets() - before
            assert len(ours) == 8
            # Nothing has to be waited for until its time is over.
            await session.close()
            assert len(ours & sockets()) <= 4
            await server.wait_all_closed()
            assert not ours & sockets()

    @pytest.mark.parametrize(
        ("script", "method"), [(silent, "GET"), (half, "GET"), (deaf, "POST"), (deaf, "PUT")]
    )
    async def test_requests_in_flight(self, script: Any, method: str) -> None:
        """Requests that wait, are read or upload get an error; `close` does not wait for them."""

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield bytes(65536)

        begun = asyncio.Event()

        async def watched(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            begun.set()
            await script(reader, writer)

        async with RawServer(watched) as server:
            connector = angelia.TCPConnector(ssl_shutdown_timeout=FOR_EVER)
            session = angelia.ClientSession(connector=connector)

            async def call() -> None:
                data = {"GET": None, "POST": bytes(16 * 1024 * 1024), "PUT": endless()}[method]
                async with session.request(method, server.url, data=data) as resp:
                    await resp.read()

            task = asyncio.ensure_future(call())
            await begun.wait()
            await turns(50)
            await session.close()
            with pytest.raises(angelia.ClientConnectionError):
                await task

    async def test_queued_and_dialling(self, client_ssl: ssl.SSLContext) -> None:
        """Those that wait for a slot or for a connection get an error too."""
        async with RawServer(no_handshake) as server:
            session = angelia.ClientSession(connector=angelia.TCPConnector(limit=1, ssl=client_ssl))
            url = server.url.with_scheme("https")
            tasks = [asyncio.ensure_future(session.get(url)) for _ in range(3)]
            await server.wait_connections(1)
            await session.close()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [isinstance(each, angelia.ClientConnectionError) for each in results] == [
                True
            ] * 3
            await server.wait_all_closed()

    async def test_twice_and_at_once(self) -> None:
        """Closing again, or in two tasks, is fine; a closed session takes no requests."""
        async with RawServer([OK]) as server:
            session = angelia.ClientSession()
            await (await session.get(server.url)).read()
            await asyncio.gather(session.close(), session.close())
            await session.close()
            assert session.closed
            assert session.connector is None
            for call in (session.get, session.post):
                with pytest.raises(RuntimeError, match="Session is closed"):
                    await call(server.url)

    async def test_in_a_response(self) -> None:
        """A response whose content has come is good after the end of its session."""
        async with RawServer([OK]) as server:
            async with angelia.ClientSession() as session:
                resp = await session.get(server.url)
                await resp.read()
            assert await resp.text() == "ok"
            resp.release()
            resp.close()

    async def test_shared_connector(self) -> None:
        """A session that does not own its connector leaves it, and who uses it, alone."""
        async with RawServer([OK] * 3) as server, angelia.TCPConnector(limit=1) as connector:
            first = angelia.ClientSession(connector=connector, connector_owner=False)
            second = angelia.ClientSession(connector=connector, connector_owner=False)
            async with first.get(server.url) as resp:
                await first.close()
                assert await resp.read() == b"ok"
            async with second.get(server.url) as resp:
                assert await resp.read() == b"ok"
            third = angelia.ClientSession(connector=connector)
            await second.close()
            third.detach()
            assert third.closed
            await third.close()
            assert not connector.closed
            assert server.connections == 1

    async def test_error_in_the_block(self) -> None:
        """``async with`` closes on an error too, and lets that through."""
        async with RawServer(silent) as server:
            tasks: list[asyncio.Task[Any]] = []

            async def failing() -> None:
                async with angelia.ClientSession() as session:
                    tasks.append(asyncio.ensure_future(session.get(server.url)))
                    await server.wait_connections(1)
                    raise KeyError

            with pytest.raises(KeyError):
                await failing()
            with pytest.raises(angelia.ClientConnectionError):
                await tasks[0]
            await server.wait_all_closed()


class TestLoops:
    def test_outside_of_a_loop(self) -> None:
        """Without a running loop nothing is made, and nothing warns later."""
        with pytest.raises(RuntimeError, match="loop"):
            angelia.ClientSession()
        with pytest.raises(RuntimeError, match="loop"):
            angelia.TCPConnector()
        gc.collect()

    def test_connector_of_another_loop(self) -> None:
        """Session and connector belong to one loop: the connector's, unless another is named."""

        async def make() -> angelia.TCPConnector:
            return angelia.TCPConnector()

        async def use(connector: angelia.TCPConnector) -> None:
            loop = asyncio.get_running_loop()
            with warnings.catch_warnings():
                # The argument itself is deprecated.
                warnings.simplefilter("ignore", DeprecationWarning)
                with pytest.raises(RuntimeError, match="same event loop"):
                    angelia.ClientSession(connector=connector, loop=loop)
            session = angelia.ClientSession(connector=connector)
            session.detach()

        connector = asyncio.run(make())
        asyncio.run(use(connector))

    def test_loops_of_several_threads(self, server_ssl: ssl.SSLContext) -> None:
        """Each thread has a loop and a session; the default TLS context belongs to all."""
        together = threading.Barrier(3)

        async def run() -> list[bytes]:
            async with (
                RawServer([OK] * 4, tls=server_ssl, close_each=True) as server,
                angelia.ClientSession() as session,
            ):
                found = []
                for _ in range(4):
                    async with session.get(server.url, ssl=False) as resp:
                        found.append(await resp.read())
                return found

        def thread() -> list[bytes]:
            together.wait()
            return asyncio.run(run())

        with concurrent.futures.ThreadPoolExecutor(3) as executor:
            threads = [executor.submit(thread) for _ in range(3)]
            assert [each.result() for each in threads] == [[b"ok"] * 4] * 3

    def test_session_of_another_loop(self) -> None:
        """A session of a loop that is gone fails in another one, soon and with an error."""

        async def make() -> angelia.ClientSession:
            return angelia.ClientSession()

        async def use(session: angelia.ClientSession) -> None:
            async with RawServer([OK]) as server, asyncio.timeout(20):
                with pytest.raises(RuntimeError, match="loop"):
                    await session.get(server.url)

        session = asyncio.run(make())
        asyncio.run(use(session))
        session.detach()


class TestForgotten:
    async def check(
        self, make: Callable[[RawServer], Coroutine[Any, Any, object]], text: str
    ) -> None:
        """What `make` returns warns once when it is forgotten, and its socket is closed."""
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        async with RawServer([OK, OK]) as server:
            thing = await make(server)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                del thing
                gc.collect()
                await turns(3)
            ours = [str(w.message) for w in caught if w.category is ResourceWarning]
            assert len(ours) == 1, ours
            assert text in ours[0]
            assert "test_lifecycle.py" in ours[0]
            await server.wait_all_closed()

    async def test_session(self) -> None:
        """A session, with the place where it was made."""

        async def make(server: RawServer) -> object:
            session = angelia.ClientSession()
            await (await session.get(server.url)).read()
            return session

        await self.check(make, "Unclosed client session")

    async def test_connector(self) -> None:
        """A connector whose sessions do not own it."""

        async def make(server: RawServer) -> object:
            connector = angelia.TCPConnector()
            async with angelia.ClientSession(connector=connector, connector_owner=False) as session:
                await (await session.get(server.url)).read()
            return connector

        await self.check(make, "Unclosed connector")

    async def test_response(self) -> None:
        """A response that was neither read nor released."""
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        async with RawServer(half) as server, angelia.ClientSession() as session:
            resp = await session.get(server.url)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                del resp
                gc.collect()
            assert len(caught) == 1
            assert "Unclosed response" in str(caught[0].message)
            assert "test_lifecycle.py" in str(caught[0].message)
            await server.wait_all_closed()
            assert session.connector is not None
            assert session.connector.stats().in_use == 0


PROGRAM = """
    import asyncio, sys, angelia

    async def main():
        global session
        # Debug mode tells of slow callbacks, which a slow machine has.
        asyncio.get_running_loop().slow_callback_duration = 3600
        session = angelia.ClientSession()
        async with session.get(sys.argv[1]) as resp:
            assert await resp.read() == b"ok"
        {end}

    session = None
    asyncio.run(main())
    {after}
"""


class TestExit:
    @pytest.mark.parametrize(
        ("end", "after", "count"),
        [
            ("await session.close()", "", 0),
            ("await session.close()", "del session", 0),
            ("session = None", "", 1),
            ("pass", "session = None", 1),
            ("pass", "", 1),
        ],
    )
    async def test_noise(self, end: str, after: str, count: int) -> None:
        """A program that closes its session ends in silence; one that does not is told so once."""
        program = textwrap.dedent(PROGRAM).format(end=end, after=after)
        async with RawServer([OK]) as server:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-X", "dev", "-c", program, str(server.url)),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            _, output = await process.communicate()
        errors = output.decode()
        assert process.returncode == 0, errors
        assert errors.count("Unclosed client session") == count, errors
        assert "Traceback (most recent call last)" not in errors, errors
        if not count:
            assert errors == ""
