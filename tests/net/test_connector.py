"""Connectors: each parameter, each attribute, and what becomes of connections; both loops."""

from __future__ import annotations

import asyncio
import select
import socket
from typing import Any

import pytest

from angelia.errors import (
    ClientConnectorError,
    ConnectionTimeoutError,
    PoolTimeoutError,
    ServerDisconnectedError,
)
from angelia.net.connection import Connection
from angelia.net.connector import BaseConnector
from angelia.net.connector_kinds import NamedPipeConnector, TCPConnector, UnixConnector
from connector_kit import (
    Broken,
    Clock,
    Timeouts,
    Trace,
    ask,
    defaults,
    figures,
    hold,
)
from dial_kit import settled, silent_address
from peers.raw import RawServer
from turns import turns

both_loops = pytest.mark.usefixtures("loop_kind")


COMMON: dict[str, Any] = {"force_close": False, "limit": 100, "limit_per_host": 0, "loop": None}
BASE: dict[str, Any] = COMMON | {"enable_cleanup_closed": False, "timeout_ceil_threshold": 5}
TCP: dict[str, Any] = BASE | {
    "verify_ssl": True,
    "fingerprint": None,
    "use_dns_cache": True,
    "ttl_dns_cache": 10,
    "dns_cache_max_size": 1000,
    "family": 0,
    "ssl_context": None,
    "ssl": True,
    "local_addr": None,
    "resolver": None,
    "happy_eyeballs_delay": 0.25,
    "interleave": None,
    "socket_factory": None,
}

# What traces are told when a connection is made.
MADE = ["connection_create_start", "connection_create_end"]


class TestParameters:
    @pytest.mark.parametrize(
        ("kind", "documented"),
        [
            (BaseConnector, BASE),
            (TCPConnector, TCP),
            (UnixConnector, COMMON),
            (NamedPipeConnector, COMMON),
        ],
    )
    def test_defaults(self, kind: type[BaseConnector], documented: dict[str, Any]) -> None:
        """Every documented parameter is there, with its documented default."""
        ours = defaults(kind)
        assert ours | documented == ours
        assert "keepalive_timeout" in ours

    @both_loops
    async def test_attributes(self) -> None:
        """What was given can be read again, and not be changed."""
        connector = BaseConnector(force_close=True, limit=7, limit_per_host=3)
        async with connector:
            assert connector.force_close is True
            assert connector.limit == 7
            assert connector.limit_per_host == 3
            before = connector.closed
            assert connector.ssl is True
            assert "idle=0" in repr(connector)
            for name in ("force_close", "limit", "limit_per_host", "closed"):
                with pytest.raises(AttributeError):
                    setattr(connector, name, 1)
        assert (before, connector.closed) == (False, True)
        assert repr(connector) == "<BaseConnector closed>"

    @both_loops
    async def test_no_limits(self) -> None:
        """None is no limit, and reads as 0."""
        async with BaseConnector(limit=None, limit_per_host=None) as connector:
            assert (connector.limit, connector.limit_per_host) == (0, 0)

    @both_loops
    async def test_force_close_and_keepalive(self) -> None:
        """What is closed after each request is not kept for any time."""
        with pytest.raises(ValueError, match="keepalive_timeout"):
            BaseConnector(force_close=True, keepalive_timeout=30)
        await BaseConnector(force_close=True, keepalive_timeout=None).close()

    def test_no_loop(self) -> None:
        """A connector is made where an event loop runs, or is given one."""
        with pytest.raises(RuntimeError, match="no running event loop"):
            TCPConnector()
        loop = asyncio.new_event_loop()
        try:
            with pytest.warns(DeprecationWarning, match="loop argument of TCPConnector"):
                connector = TCPConnector(loop=loop)
            loop.run_until_complete(connector.close())
        finally:
            loop.close()

    @both_loops
    async def test_plain_with(self) -> None:
        """A connector cannot be closed without waiting."""
        async with BaseConnector() as connector:
            with pytest.raises(TypeError, match="async with"):
                connector.__enter__()

    @both_loops
    async def test_schemes(self) -> None:
        """Each kind says which schemes it takes besides HTTP's own."""
        assert {"http", "https", "ws", "wss"} == BaseConnector.allowed_schemes
        assert {"http", "https", "ws", "wss", "tcp"} == TCPConnector.allowed_schemes
        assert {"http", "https", "ws", "wss", "unix"} == UnixConnector.allowed_schemes
        assert {"http", "https", "ws", "wss", "npipe"} == NamedPipeConnector.allowed_schemes

    @both_loops
    async def test_abstract(self) -> None:
        """The base class keeps connections and makes none; who waits for one is told."""
        async with BaseConnector() as connector:
            with pytest.raises(NotImplementedError, match="BaseConnector"):
                await connector.connect(ask(80))
            assert figures(connector) == (0, 0, 0, 0)


@both_loops
class TestReuse:
    async def test_released_and_closed(self) -> None:
        """A released connection is used again; a closed one is not."""
        async with RawServer(hold) as server, TCPConnector() as connector:
            first = await connector.connect(ask(server.port))
            transport = first.transport
            assert figures(connector) == (0, 1, 0, 0)
            first.release()
            assert figures(connector) == (1, 0, 0, 0)
            second = await connector.connect(ask(server.port))
            assert second.transport is transport
            second.close()
            third = await connector.connect(ask(server.port))
            assert third.transport is not transport
            third.release()

    async def test_key(self) -> None:
        """Only what was made for the same settings is used again."""
        async with RawServer(hold) as server, TCPConnector() as connector:
            (await connector.connect(ask(server.port))).release()
            for other in (
                ask(server.port, "localhost"),
                ask(server.port, ssl=False),
                ask(server.port, server_hostname="x.test"),
            ):
                (await connector.connect(other)).release()
            assert figures(connector) == (4, 0, 0, 0)

    async def test_force_close(self) -> None:
        """With `force_close` nothing is kept."""
        async with RawServer(hold) as server, TCPConnector(force_close=True) as connector:
            (await connector.connect(ask(server.port))).release()
            assert figures(connector) == (0, 0, 0, 0)
            await server.wait_all_closed()

    async def test_keepalive_timeout(self) -> None:
        """An idle connection is closed after `keepalive_timeout`, without anybody asking."""
        async with RawServer(hold) as server, TCPConnector(keepalive_timeout=0.05) as connector:
            (await connector.connect(ask(server.port))).release()
            await server.wait_all_closed()
            assert figures(connector) == (0, 0, 0, 0)

    @pytest.mark.parametrize("stray", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n", b"x"])
    async def test_idle_and_not_silent(self, stray: bytes) -> None:
        """An idle connection whose peer closes it, or says anything, is dropped at once."""
        speak = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await speak.wait()
            if stray:
                writer.write(stray)
                await reader.read()

        async with RawServer(script) as server, TCPConnector() as connector:
            (await connector.connect(ask(server.port))).release()
            assert figures(connector) == (1, 0, 0, 0)
            speak.set()
            assert await settled(lambda: figures(connector) == (0, 0, 0, 0))
            await server.wait_all_closed()


class TestNews:
    """What came on an idle connection while the event loop had no time to look."""

    @staticmethod
    async def stale(connector: TCPConnector, clock: Clock) -> tuple[int, socket.socket]:
        """An idle connection, old enough to be looked at, and the peer's end of it."""
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        with listener:
            port: int = listener.getsockname()[1]
            connecting = asyncio.ensure_future(connector.connect(ask(port)))
            peer, _ = await loop.sock_accept(listener)
            (await connecting).release()
        await clock.forward(1)
        return port, peer

    @pytest.mark.parametrize("with_poll", [True, False])
    async def test_closed_unseen(self, with_poll: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """A connection whose end is on its way is not used: the request would be lost."""
        if not with_poll:
            monkeypatch.delattr(select, "poll")
        async with TCPConnector() as connector:
            port, peer = await self.stale(connector, Clock())
            peer.close()
            assert connector.acquire_now(ask(port), ()) is None
            # Nobody listens any more: that it tries is the proof that it did not use the old one.
            with pytest.raises(ClientConnectorError):
                await connector.connect(ask(port))
            assert figures(connector) == (0, 0, 0, 0)

    async def test_nothing_new(self) -> None:
        """A silent one is used at once, without a turn of the loop."""
        async with TCPConnector() as connector:
            port, peer = await self.stale(connector, Clock())
            transport = connector.acquire_now(ask(port), ())
            assert transport is not None
            assert figures(connector) == (0, 1, 0, 0)
            connector._keeper.release(transport)
            assert connector.acquire_now(ask(port), (Trace(),)) is None
            peer.close()

    @pytest.mark.parametrize("cancelled", [False, True])
    async def test_unread(self, cancelled: bool) -> None:
        """Where the loop does not get to read it either, the connection is not used.

        One who is cancelled meanwhile leaves it as it was.
        """
        async with TCPConnector() as connector:
            port, peer = await self.stale(connector, Clock())
            (transport,) = connector._pool.idle
            assert transport.socket_transport is not None
            transport.socket_transport.pause_reading()
            peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
            task = asyncio.ensure_future(connector.connect(ask(port)))
            if cancelled:
                await turns(2)
                assert figures(connector) == (0, 1, 0, 0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert figures(connector) == (1, 0, 0, 0)
            else:
                with pytest.raises(ClientConnectorError):
                    await task
                assert figures(connector) == (0, 0, 0, 0)
            peer.close()


@both_loops
class TestLimits:
    async def test_default(self) -> None:
        """By default a hundred connections at most; the next one waits for any of them."""
        async with RawServer(hold) as server, TCPConnector() as connector:
            held = await asyncio.gather(*(connector.connect(ask(server.port)) for _ in range(100)))
            last = asyncio.ensure_future(connector.connect(ask(server.port)))
            await turns(5)
            assert figures(connector) == (0, 100, 0, 1)
            held[50].release()
            (await last).release()
            for connection in held:
                connection.close()
            await server.wait_connections(100)
            await connector.close()
            await server.wait_all_closed()

    @pytest.mark.parametrize("limit", [0, None])
    async def test_unlimited(self, limit: int | None) -> None:
        """0 and None are no limit."""
        async with RawServer(hold) as server, TCPConnector(limit=limit) as connector:
            # In two steps, since the server's queue holds a hundred.
            held: list[Connection] = []
            for _ in range(2):
                held += await asyncio.gather(
                    *(connector.connect(ask(server.port)) for _ in range(60))
                )
                await server.wait_connections(len(held))
            assert figures(connector) == (0, 120, 0, 0)
            await connector.close()
            await server.wait_all_closed()

    async def test_limit_per_host(self) -> None:
        """One host's limit holds back its own requests only."""
        async with (
            RawServer(hold) as one,
            RawServer(hold) as other,
            TCPConnector(limit_per_host=1) as connector,
        ):
            held = await connector.connect(ask(one.port))
            blocked = asyncio.ensure_future(connector.connect(ask(one.port)))
            (await connector.connect(ask(other.port))).release()
            assert not blocked.done()
            held.close()
            (await blocked).release()
            assert one.connections == 2

    async def test_order(self) -> None:
        """Who came first is served first, and one who gives up hands on his place."""
        async with RawServer(hold) as server, TCPConnector(limit=1) as connector:
            held = await connector.connect(ask(server.port))
            tasks = [asyncio.ensure_future(connector.connect(ask(server.port))) for _ in range(3)]
            await turns(3)
            tasks[0].cancel()
            held.release()
            first = await tasks[1]
            assert not tasks[2].done()
            # The grant and the cancellation in one turn: the next one gets it.
            first.release()
            tasks[2].cancel()
            with pytest.raises(asyncio.CancelledError):
                await tasks[2]
            assert figures(connector) == (1, 0, 0, 0)


@both_loops
class TestTimeouts:
    async def test_in_the_queue(self) -> None:
        """`connect` and `pool` bound the wait for a slot, each with an error of its own."""
        async with RawServer(hold) as server, TCPConnector(limit=1) as connector:
            held = await connector.connect(ask(server.port))
            with pytest.raises(ConnectionTimeoutError, match=f"http://127.0.0.1:{server.port}"):
                await connector.connect(ask(server.port), (), Timeouts(connect=0.01))
            with pytest.raises(PoolTimeoutError, match=f"http://127.0.0.1:{server.port}"):
                await connector.connect(ask(server.port), (), Timeouts(pool=0.01))
            held.release()
            assert figures(connector) == (1, 0, 0, 0)

    async def test_pool_is_not_for_dials(self) -> None:
        """`pool` bounds the wait for a slot, not that for a connection once there is one."""
        async with RawServer(hold) as server, TCPConnector(limit=1) as connector:
            held = await connector.connect(ask(server.port))
            trace = Trace(wait="connection_create_start")
            task = asyncio.ensure_future(
                connector.connect(ask(server.port), (trace,), Timeouts(pool=0.05))
            )
            await turns(3)
            held.close()
            await trace.waiting.wait()
            passed = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(0.06, passed.set_result, None)
            await passed
            trace.go_on.set()
            (await task).release()

    @pytest.mark.parametrize("limits", [Timeouts(connect=0.05), Timeouts(sock_connect=0.05)])
    async def test_connecting(self, limits: Timeouts) -> None:
        """`connect` and `sock_connect` bound the making of a connection."""
        async with silent_address() as port, TCPConnector() as connector:
            with pytest.raises(ConnectionTimeoutError):
                await connector.connect(ask(port, "127.0.0.2"), (), limits)
            assert connector.stats().waiting == 0

    async def test_dial_outlives_its_waiter(self) -> None:
        """A connection that comes too late for its request is there for the next one."""
        async with RawServer(hold) as server, TCPConnector() as connector:
            trace = Trace(wait="connection_create_start")
            with pytest.raises(ConnectionTimeoutError):
                await connector.connect(ask(server.port), (trace,), Timeouts(connect=0.01))
            assert figures(connector) == (0, 0, 1, 0)
            trace.go_on.set()
            assert await settled(lambda: figures(connector) == (1, 0, 0, 0))


@both_loops
class TestStats:
    async def test_by_origin(self) -> None:
        """A snapshot: the four figures, and those of each origin."""
        async with RawServer(hold) as server, TCPConnector(limit=2) as connector:
            held = await connector.connect(ask(server.port))
            (await connector.connect(ask(server.port, "localhost"))).release()
            # One waits for each of three origins that are not reached.
            waits = [
                asyncio.ensure_future(connector.connect(request))
                for request in (ask(server.port), ask(8443, "::1", tls=True), ask(None, "x.test"))
            ]
            await turns(1)
            stats = connector.stats()
            assert (stats.in_use, stats.waiting) == (1, 3)
            here = f"http://127.0.0.1:{server.port}"
            assert stats.by_origin[here] == {"idle": 0, "in_use": 1, "waiting": 1}
            assert stats.by_origin["https://[::1]:8443"]["waiting"] == 1
            assert stats.by_origin["http://x.test"]["waiting"] == 1
            assert repr(stats).startswith("<ConnectorStats idle=0 in_use=1 connecting=1 waiting=3")
            with pytest.raises(TypeError):
                stats.by_origin["x"] = {}  # type: ignore[index]  # it is read-only
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
            held.release()
            # The snapshot is what it was.
            assert (stats.in_use, stats.waiting) == (1, 3)


@both_loops
class TestTraces:
    async def test_order(self) -> None:
        """A new connection is told as such, a wait as a wait, a reuse as a reuse."""
        async with RawServer(hold) as server, TCPConnector(limit=1) as connector:
            new, queued, reused = Trace(), Trace(), Trace()
            held = await connector.connect(ask(server.port), (new,))
            task = asyncio.ensure_future(connector.connect(ask(server.port), (queued,)))
            await turns(3)
            held.close()
            (await task).release()
            (await connector.connect(ask(server.port), (reused,))).release()
            assert new.told == MADE
            assert queued.told == ["connection_queued_start", "connection_queued_end", *MADE]
            assert reused.told == ["connection_reuseconn"]

    async def test_granted_in_the_queue(self) -> None:
        """One who waited and got somebody's connection has reused it."""
        async with RawServer(hold) as server, TCPConnector(limit=1) as connector:
            held = await connector.connect(ask(server.port))
            # As an exchange does.
            assert held.protocol is not None
            held.protocol.served += 1
            trace = Trace()
            task = asyncio.ensure_future(connector.connect(ask(server.port), (trace,)))
            await turns(3)
            held.release()
            (await task).release()
            waited = ["connection_queued_start", "connection_queued_end"]
            assert trace.told == [*waited, "connection_reuseconn"]

    @pytest.mark.parametrize("event", MADE)
    async def test_failing_dial(self, event: str) -> None:
        """A callback that fails while a connection is made fails its request; the socket closes."""
        async with RawServer(hold) as server, TCPConnector() as connector:
            with pytest.raises(Broken, match=event):
                await connector.connect(ask(server.port), (Trace(fail=event),))
            assert figures(connector) == (0, 0, 0, 0)
            await server.wait_all_closed()

    async def test_failing_reuse(self) -> None:
        """One that fails when a connection is used again leaves it for others."""
        async with RawServer(hold) as server, TCPConnector() as connector:
            (await connector.connect(ask(server.port))).release()
            with pytest.raises(Broken):
                await connector.connect(ask(server.port), (Trace(fail="connection_reuseconn"),))
            assert figures(connector) == (1, 0, 0, 0)

    @pytest.mark.parametrize("event", ["connection_queued_start", "connection_queued_end"])
    async def test_failing_queue(self, event: str) -> None:
        """One that fails in the queue gives its place, or its connection, to others."""
        async with RawServer(hold) as server, TCPConnector(limit=1) as connector:
            held = await connector.connect(ask(server.port))
            failing = asyncio.ensure_future(
                connector.connect(ask(server.port), (Trace(fail=event),))
            )
            await turns(3)
            after = asyncio.ensure_future(connector.connect(ask(server.port)))
            await turns(3)
            held.release()
            with pytest.raises(Broken, match=event):
                await failing
            (await after).release()
            assert figures(connector) == (1, 0, 0, 0)


@both_loops
class TestLost:
    async def test_before_it_is_used(self) -> None:
        """A peer that accepts and hangs up at once is an error, not a connection."""
        leave = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await leave.wait()

        async with RawServer(script) as server, TCPConnector() as connector:
            trace = Trace(wait="connection_create_end")
            task = asyncio.ensure_future(connector.connect(ask(server.port), (trace,)))
            await trace.waiting.wait()
            leave.set()
            await server.wait_all_closed()
            await turns(5)
            trace.go_on.set()
            with pytest.raises(ServerDisconnectedError):
                await task
            assert figures(connector) == (0, 0, 0, 0)

    async def test_between_grant_and_use(self) -> None:
        """Lost when it was granted and not yet seen: a new one is an error, an old one is not."""
        async with RawServer(hold) as server, TCPConnector(limit=1) as connector:
            trace = Trace(wait="connection_queued_end")
            held = await connector.connect(ask(server.port))
            task = asyncio.ensure_future(connector.connect(ask(server.port), (trace,)))
            await turns(3)
            protocol = held.protocol
            assert protocol is not None
            protocol.served += 1
            held.release()
            await trace.waiting.wait()
            protocol.abort()
            await server.wait_all_closed()
            trace.go_on.set()
            # It is dialled again: the request has not begun.
            (await task).release()
            assert server.connections == 2

    async def test_new_one_between_grant_and_use(self) -> None:
        """A new connection that was lost is not replaced: it would be lost again."""
        async with RawServer(hold) as server, TCPConnector(limit=1) as connector:
            trace = Trace(wait="connection_queued_end")
            held = await connector.connect(ask(server.port))
            task = asyncio.ensure_future(connector.connect(ask(server.port), (trace,)))
            await turns(3)
            protocol = held.protocol
            assert protocol is not None
            # No exchange ran on it: so it is as new to the second as it was to the first.
            held.release()
            await trace.waiting.wait()
            protocol.abort()
            await server.wait_all_closed()
            trace.go_on.set()
            with pytest.raises(ServerDisconnectedError):
                await task

    async def test_traced_reuse(self) -> None:
        """Lost while a callback was told of the reuse: another one is made."""
        async with RawServer(hold) as server, TCPConnector() as connector:
            (await connector.connect(ask(server.port))).release()
            (protocol,) = connector._pool.idle
            trace = Trace(wait="connection_reuseconn")
            task = asyncio.ensure_future(connector.connect(ask(server.port), (trace,)))
            await trace.waiting.wait()
            protocol.abort()
            await server.wait_all_closed()
            trace.go_on.set()
            (await task).release()
            assert server.connections == 2
