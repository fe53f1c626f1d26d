"""The keeper: how long connections are kept, and how they and their connector end."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from angelia.errors import (
    ClientConnectionError,
)
from angelia.net.connector_kinds import (
    TCPConnector,
)
from connector_kit import (
    Clock,
    Trace,
    ask,
    deaf,
    figures,
    hold,
)
from dial_kit import Certificates, Names, settled, silent_address
from peers.raw import RawServer
from turns import turns

both_loops = pytest.mark.usefixtures("loop_kind")


@contextmanager
def noted(message: str, count: int = 1) -> Iterator[list[str]]:
    """The ResourceWarnings of what is collected in the block, which are `count` of `message`."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield found
        gc.collect()
    found += [str(w.message) for w in caught if w.category is ResourceWarning]
    assert len(found) == count, found
    assert all(text.startswith(message) for text in found)


class TestKeptTime:
    """How long connections are kept, by a clock that the test turns."""

    @pytest.mark.parametrize(
        ("arguments", "kept", "dropped"),
        [
            ({}, 14.9, 15.1),
            ({"keepalive_timeout": 5}, 4.9, 5.1),
            ({"keepalive_timeout": 0.5}, 0.4, 0.6),
            ({"keepalive_timeout": None}, 50.0, None),
        ],
    )
    async def test_times(
        self, arguments: dict[str, Any], kept: float, dropped: float | None
    ) -> None:
        """15 seconds by default, for ever with None."""
        async with RawServer(hold) as server, TCPConnector(**arguments) as connector:
            clock = Clock()
            (await connector.connect(ask(server.port))).release()
            await clock.forward(kept)
            assert figures(connector) == (1, 0, 0, 0)
            if dropped is not None:
                await clock.forward(dropped - kept)
                assert figures(connector) == (0, 0, 0, 0)

    async def test_each_has_its_time(self) -> None:
        """Use renews the time; the others go when theirs is over."""
        async with RawServer(hold) as server, TCPConnector(keepalive_timeout=10) as connector:
            clock = Clock()
            held = [await connector.connect(ask(server.port)) for _ in range(2)]
            for connection in held:
                connection.release()
            await clock.forward(6)
            (await connector.connect(ask(server.port))).release()
            await clock.forward(6)
            assert figures(connector) == (1, 0, 0, 0)
            await clock.forward(6)
            assert figures(connector) == (0, 0, 0, 0)

    async def test_hint_of_the_server(self) -> None:
        """A connection that the server is about to close, as it said, is not used."""
        async with RawServer(hold) as server, TCPConnector() as connector:
            clock = Clock()
            connection = await connector.connect(ask(server.port))
            assert connection.protocol is not None
            connection.protocol.core.idle_timeout = 5.0
            connection.release()
            await clock.forward(4.5)
            again = await connector.connect(ask(server.port))
            assert server.connections == 2
            again.release()


class Stubborn(TCPConnector):
    """Makes connections that nobody can cancel."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.go_on = asyncio.Event()
        self.tried = 0

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:
        self.tried += 1
        made = await super()._create_connection(req, traces, timeout)
        while not self.go_on.is_set():
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                continue
        return made


@both_loops
class TestClose:
    async def test_all_at_once(self) -> None:
        """Idle ones, those in use, waiters and dials: all end, each with the documented error."""
        async with RawServer(hold) as server:
            connector = TCPConnector(limit=3)
            held = await connector.connect(ask(server.port))
            (await connector.connect(ask(server.port, "localhost"))).release()
            trace = Trace(wait="connection_create_start")
            dialling = asyncio.ensure_future(connector.connect(ask(server.port), (trace,)))
            await trace.waiting.wait()
            # It takes the place of the idle one; the next has to wait.
            trace2 = Trace(wait="connection_create_start")
            second = asyncio.ensure_future(connector.connect(ask(server.port), (trace2,)))
            waiting = asyncio.ensure_future(connector.connect(ask(server.port)))
            await turns(3)
            assert figures(connector) == (0, 1, 2, 3)
            await connector.close()
            await connector.close()
            for task in (dialling, second, waiting):
                with pytest.raises(ClientConnectionError, match="Connector is closed"):
                    await task
            with pytest.raises(ClientConnectionError, match="Connector is closed"):
                await connector.connect(ask(server.port))
            assert connector.acquire_now(ask(server.port), ()) is None
            assert figures(connector) == (0, 0, 0, 0)
            assert held.closed
            await server.wait_all_closed()
            # Given back too late; nothing is kept any more.
            held.release()
            assert figures(connector) == (0, 0, 0, 0)

    async def test_connecting(self) -> None:
        """A connect under way ends with the same error, and at once."""
        async with silent_address() as port:
            connector = TCPConnector()
            task = asyncio.ensure_future(connector.connect(ask(port, "127.0.0.2")))
            assert await settled(lambda: figures(connector) == (0, 0, 1, 1))
            await connector.close()
            with pytest.raises(ClientConnectionError, match="Connector is closed"):
                await task

    async def test_looking_up(self) -> None:
        """So does a lookup under way, which is cancelled."""
        asked, gone = asyncio.Event(), asyncio.Event()

        class Silent(Names):
            async def resolve(self, *_: Any, **__: Any) -> Any:
                asked.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    gone.set()

        connector = TCPConnector(resolver=Silent())
        task = asyncio.ensure_future(connector.connect(ask(80, "a.test")))
        await asked.wait()
        await connector.close()
        with pytest.raises(ClientConnectionError, match="Connector is closed"):
            await task
        assert gone.is_set()

    async def test_tunnels(self, certificates: Certificates) -> None:
        """Tunnels end too: those that carry TLS to a deaf peer, and those being asked for."""
        silent = asyncio.Event()

        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"CONNECT silent.test"):
                silent.set()
                await reader.read()
                return
            behind, ahead = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

            async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                while data := await source.read(65536):
                    sink.write(data)

            back = asyncio.ensure_future(copy(behind, writer))
            try:
                await copy(reader, ahead)
            finally:
                ahead.transport.abort()
                back.cancel()
                await asyncio.gather(back, return_exceptions=True)

        async with (
            RawServer(deaf, tls=certificates.server) as server,
            RawServer(proxy) as front,
        ):
            connector = TCPConnector(ssl_shutdown_timeout=0.1)
            facts: dict[str, Any] = {
                "tls": True,
                "ssl": certificates.client,
                "proxy": URL(f"http://127.0.0.1:{front.port}"),
            }
            held = await connector.connect(ask(server.port, "target.test", **facts))
            task = asyncio.ensure_future(connector.connect(ask(443, "silent.test", **facts)))
            await silent.wait()
            await connector.close()
            with pytest.raises(ClientConnectionError, match="Connector is closed"):
                await task
            assert held.closed
            assert figures(connector) == (0, 0, 0, 0)
            await front.wait_all_closed()

    async def test_dial_that_ends_later(self) -> None:
        """A connection that is made after all when the connector is closed is closed too."""
        async with RawServer(hold) as server:
            connector = Stubborn(ssl_shutdown_timeout=0.05)
            task = asyncio.ensure_future(connector.connect(ask(server.port)))
            await server.wait_connections(1)
            await connector.close()
            with pytest.raises(ClientConnectionError, match="Connector is closed"):
                await task
            assert server.open_connections == 1
            connector.go_on.set()
            await server.wait_all_closed()
            assert figures(connector) == (0, 0, 0, 0)

    async def test_error_of_a_dial_later(self) -> None:
        """Nor does an error that a dial ends with then reach anybody, or the log."""
        connector = Stubborn(ssl_shutdown_timeout=0.05)
        trace = Trace(fail="connection_create_end")
        async with RawServer(hold) as server:
            task = asyncio.ensure_future(connector.connect(ask(server.port), (trace,)))
            await server.wait_connections(1)
            await connector.close()
            with pytest.raises(ClientConnectionError, match="Connector is closed"):
                await task
            connector.go_on.set()
            await server.wait_all_closed()

    async def test_closed_ones_are_forgotten(self) -> None:
        """Connections that were closed before are not held until the connector is."""
        async with RawServer(hold) as server, TCPConnector() as connector:
            for _ in range(3):
                (await connector.connect(ask(server.port))).close()
            assert connector._keeper._closing
            await server.wait_all_closed()
            assert await settled(lambda: not connector._keeper._closing)

    async def test_cancelled(self, certificates: Certificates) -> None:
        """When `close` is cancelled, the sockets close all the same."""
        async with RawServer(deaf, tls=certificates.server) as server:
            connector = TCPConnector(ssl=certificates.client, ssl_shutdown_timeout=30)
            request = ask(server.port, "localhost", tls=True, ssl=certificates.client)
            connection = await connector.connect(request)
            protocol = connection.protocol
            assert protocol is not None
            task = asyncio.ensure_future(connector.close())
            await turns(5)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await protocol.wait_closed()
            assert connection.transport is None

    async def test_bounded_goodbye(
        self, certificates: Certificates, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A peer that never answers a TLS goodbye does not hold `close` up beyond its time."""
        loop = asyncio.get_running_loop()
        async with RawServer(deaf, tls=certificates.server) as server:
            connector = TCPConnector(ssl_shutdown_timeout=0.1)
            request = ask(server.port, "localhost", tls=True, ssl=certificates.client)
            held = await connector.connect(request)
            (await connector.connect(request)).release()
            begun = loop.time()
            # Without a bound of its own it would be asyncio's, 30 seconds, as in the next test.
            await connector.close()
            assert loop.time() - begun > 0.09
            assert held.closed
        assert not [record for record in caplog.records if record.levelname == "ERROR"]

    async def test_abort_ssl(self, certificates: Certificates) -> None:
        """With `abort_ssl` there is no goodbye to wait for."""
        async with RawServer(deaf, tls=certificates.server) as server:
            connector = TCPConnector(ssl_shutdown_timeout=3600)
            request = ask(server.port, "localhost", tls=True, ssl=certificates.client)
            closing = await connector.connect(request)
            (await connector.connect(request)).release()
            # This one waits for an answer already.
            closing.close()
            await connector.close(abort_ssl=True)
            assert figures(connector) == (0, 0, 0, 0)


class TestGoodbye:
    @pytest.mark.parametrize("enabled", [True, False])
    async def test_enable_cleanup_closed(self, enabled: bool, certificates: Certificates) -> None:
        """Where it is on, a closed TLS connection whose peer is silent is gone after 2 seconds."""
        async with RawServer(deaf, tls=certificates.server) as server:
            connector = TCPConnector(enable_cleanup_closed=enabled, ssl_shutdown_timeout=30)
            clock = Clock()
            request = ask(server.port, "localhost", tls=True, ssl=certificates.client)
            connection = await connector.connect(request)
            protocol = connection.protocol
            assert protocol is not None
            connection.close()
            await clock.forward(1.9)
            assert protocol.socket_transport is not None
            await clock.forward(0.2)
            assert (protocol.socket_transport is None) is enabled
            await connector.close(abort_ssl=True)

    @pytest.mark.parametrize("seconds", [1.0, 3.0])
    async def test_default_time(self, seconds: float, certificates: Certificates) -> None:
        """`close` waits a second by default, or `ssl_shutdown_timeout`."""
        options: dict[str, Any] = {} if seconds == 1.0 else {"ssl_shutdown_timeout": seconds}
        async with RawServer(deaf, tls=certificates.server) as server:
            connector = TCPConnector(**options)
            clock = Clock()
            request = ask(server.port, "localhost", tls=True, ssl=certificates.client)
            (await connector.connect(request)).release()
            task = asyncio.ensure_future(connector.close())
            await turns(3)
            await clock.forward(seconds - 0.2)
            assert not task.done()
            await clock.forward(0.4)
            assert await settled(task.done)
            await task

    async def test_no_time_at_all(self, certificates: Certificates) -> None:
        """With a time of 0 nothing is waited for, and all is closed when `close` returns."""
        async with RawServer(deaf, tls=certificates.server) as server:
            connector = TCPConnector(ssl_shutdown_timeout=0)
            request = ask(server.port, "localhost", tls=True, ssl=certificates.client)
            connection = await connector.connect(request)
            protocol = connection.protocol
            assert protocol is not None
            connection.release()
            # Whatever is waited for would take for ever, by a clock that nobody turns.
            loop = asyncio.get_running_loop()
            now = loop.time()
            vars(loop)["time"] = lambda: now
            await connector.close()
            del vars(loop)["time"]
            assert protocol.socket_transport is None


class TestForgotten:
    @pytest.mark.parametrize("debug", [False, True])
    async def test_connector(self, debug: bool) -> None:
        """One that is not closed warns, in debug mode with its place, and closes its sockets."""
        asyncio.get_running_loop().set_debug(debug)
        async with RawServer(hold) as server:
            connector = TCPConnector()
            (await connector.connect(ask(server.port))).release()
            gone = weakref.ref(connector)
            with noted("Unclosed connector <TCPConnector <Pool idle=1") as found:
                del connector
            assert gone() is None
            assert (Path(__file__).name in found[0]) is debug
            await server.wait_all_closed()

    async def test_nothing_to_close(self) -> None:
        """One that has no connections, or is closed, has nothing to say."""
        async with RawServer(hold) as server:
            with noted("", count=0):
                TCPConnector()
                connector = TCPConnector()
                (await connector.connect(ask(server.port))).release()
                await connector.close()
                del connector

    def test_after_the_loop(self) -> None:
        """One that outlives its loop warns too, and has nothing left to do."""
        with socket.create_server(("127.0.0.1", 0)) as listener:

            async def main() -> TCPConnector:
                connector = TCPConnector()
                (await connector.connect(ask(listener.getsockname()[1]))).release()
                return connector

            connector = asyncio.run(main())
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                del connector
                gc.collect()
                texts = [str(warning.message) for warning in caught]
                # They hold what they are of.
                caught.clear()
                gc.collect()
            # The loop's transport has its own complaint.
            assert sum(text.startswith("Unclosed connector") for text in texts) == 1

    async def test_abandoned(self) -> None:
        """`abandon` closes what there is, at once and for good: waiters and dials too."""
        async with RawServer(hold) as server:
            connector = TCPConnector(limit=2)
            held = await connector.connect(ask(server.port))
            trace = Trace(wait="connection_create_start")
            dialling = asyncio.ensure_future(connector.connect(ask(server.port), (trace,)))
            await trace.waiting.wait()
            waiting = asyncio.ensure_future(connector.connect(ask(server.port)))
            await turns(2)
            connector.abandon()
            connector.abandon()
            assert connector.closed
            for task in (dialling, waiting):
                with pytest.raises(ClientConnectionError, match="Connector is closed"):
                    await task
            await server.wait_all_closed()
            assert held.closed
            await connector.close()

    @pytest.mark.parametrize("debug", [False, True])
    async def test_connection(self, debug: bool) -> None:
        """A connection that nobody gives back warns, and its slot is free again."""
        asyncio.get_running_loop().set_debug(debug)
        async with RawServer(hold) as server, TCPConnector(limit=1) as connector:
            connection = await connector.connect(ask(server.port))
            with noted(f"Unclosed connection <Connection 127.0.0.1:{server.port}>") as found:
                del connection
            assert ("made at" in found[0]) is debug
            (await connector.connect(ask(server.port))).release()
            assert server.connections == 2
