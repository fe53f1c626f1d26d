"""Connections that are lent: what their holder sees, and how they are given back; both loops."""

from __future__ import annotations

import asyncio

import pytest

from angelia.net.connector_kinds import TCPConnector
from connector_kit import ask, figures, hold
from dial_kit import settled
from peers.raw import RawServer

pytestmark = pytest.mark.usefixtures("loop_kind")


async def test_attributes() -> None:
    """A connection shows its transport while it is its holder's, and no longer."""
    async with RawServer(hold) as server, TCPConnector() as connector:
        connection = await connector.connect(ask(server.port))
        assert repr(connection) == f"<Connection 127.0.0.1:{server.port}>"
        assert not connection.closed
        assert connection.protocol is not None
        assert connection.transport is connection.protocol.socket_transport
        assert connection.transport is not None
        assert connection.transport.get_extra_info("peername")[1] == server.port
        with pytest.warns(DeprecationWarning, match="loop") as caught:
            assert connection.loop is asyncio.get_running_loop()
        assert caught[0].filename == __file__
        connection.release()
        assert [connection.closed, connection.transport, connection.protocol] == [
            True,
            None,
            None,
        ]


@pytest.mark.parametrize("end", ["close", "release"])
async def test_twice(end: str) -> None:
    """Whatever is called first counts; callbacks run once."""
    called: list[str] = []
    async with RawServer(hold) as server, TCPConnector() as connector:
        connection = await connector.connect(ask(server.port))
        connection.add_callback(lambda: called.append("first"))
        connection.add_callback(lambda: called.append("second"))
        getattr(connection, end)()
        connection.release()
        connection.close()
        assert called == ["first", "second"]
        assert figures(connector) == (int(end == "release"), 0, 0, 0)


async def test_lost() -> None:
    """One that the peer closes is closed, and takes no slot any more."""
    leave = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await leave.wait()

    async with RawServer(script) as server, TCPConnector() as connector:
        connection = await connector.connect(ask(server.port))
        leave.set()
        assert await settled(lambda: connection.closed)
        assert await settled(lambda: connection.transport is None)
        assert figures(connector) == (0, 0, 0, 0)
        connection.release()
        assert figures(connector) == (0, 0, 0, 0)
