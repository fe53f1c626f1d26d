"""The keeper: what closes behind the pool."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest

from angelia.net import keeper
from angelia.net.connection_key import ConnectionKey
from angelia.net.connector import TCPConnector
from dial_kit import Certificates, Run, greeter, settled


class Request(NamedTuple):
    connection_key: ConnectionKey


def test_cleanup_closed(
    run: Run[None], certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With enable_cleanup_closed a peer that ignores the goodbye is aborted before long."""
    monkeypatch.setattr(keeper, "CLEANUP_SECONDS", 0.01)

    async def main() -> None:
        over = asyncio.Event()

        async def handle(_: asyncio.StreamReader, writer: Any) -> None:
            writer.transport.pause_reading()
            await over.wait()

        async with greeter(context=certificates.server, handle=handle) as port:
            connector = TCPConnector(enable_cleanup_closed=True, ssl_shutdown_timeout=30)
            key = ConnectionKey("127.0.0.1", port, True, certificates.client)
            connection = await connector.connect(Request(key))
            connection.close()
            assert connector._keeper._closing
            closed = await settled(lambda: not connector._keeper._closing)
            over.set()
            await connector.close(abort_ssl=True)
            assert closed

    run(main())
