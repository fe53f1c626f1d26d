"""A WebSocket client made of octets, for servers under test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from angelia.core.interface import Role
from angelia.core.ws import WSConnection
from angelia.server.server import Server
from peers.ws import Peer
from server.kit import Wire, connected

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

FIELDS = {
    "Host": "h",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


def handshake(
    *, method: str = "GET", path: str = "/", version: str = "1.1", body: str = "", **changes: Any
) -> bytes:
    """An opening handshake; None takes a field away, underscores stand for hyphens."""
    fields: dict[str, str | None] = {**FIELDS}
    fields |= {name.replace("_", "-"): value for name, value in changes.items()}
    if body:
        fields["Content-Length"] = str(len(body))
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"{method} {path} HTTP/{version}", *lines, "", body]).encode("latin-1")


async def opened(wire: Wire, octets: bytes = b"", **options: Any) -> Peer:
    """Open a WebSocket on a connection."""
    wire.send(octets or handshake())
    status, _ = await wire.head()
    assert status == 101
    core = WSConnection(Role.CLIENT, random_bytes=os.urandom, **options)
    return Peer(wire.reader, wire.writer, core)


@asynccontextmanager
async def opening(server: Server, octets: bytes = b"", **options: Any) -> AsyncIterator[Peer]:
    """A WebSocket to a server, ended without a word unless the test says one."""
    async with connected(server) as wire:
        yield await opened(wire, octets, **options)
