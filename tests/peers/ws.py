"""A WebSocket server that does what a test says, on a `RawServer`.

Owns: the server's half of the handshake, and messages over the streams of one connection. Frames
are `core.ws`'s in the other role; whatever that would not send goes out as octets.
"""

from __future__ import annotations

import asyncio
import os
from asyncio import StreamReader, StreamWriter
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from angelia.core.interface import Role
from angelia.core.ws import WSConnection
from angelia.core.ws_extensions import DeflateOffer, accept_deflate
from angelia.core.ws_handshake import check_request, choose_protocol, response_fields
from angelia.core.ws_messages import WSMessage, WSMsgType
from peers.raw import Script, read_head

__all__ = ("Peer", "Play", "echo", "fields_of", "ws_script")

READ_SIZE = 64 * 1024


def fields_of(head: bytes) -> list[tuple[str, str]]:
    """The fields of a request's head."""
    pairs = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:] if line)
    return [(name, value.strip()) for name, _, value in pairs]


class Peer:
    """The server's end of one WebSocket."""

    def __init__(self, reader: StreamReader, writer: StreamWriter, core: WSConnection) -> None:
        self.reader = reader
        self.writer = writer
        self.core = core
        self.head = b""
        self._messages: deque[WSMessage] = deque()

    async def receive(self) -> WSMessage:
        """The next message or control frame; CLOSED at the end of the connection."""
        while not self._messages:
            data = b"" if self.core.pending else await self.reader.read(READ_SIZE)
            if not data and not self.core.pending:
                return WSMessage(WSMsgType.CLOSED, None, None)
            self._messages += self.core.receive_data(data)
            await self.flush()
        return self._messages.popleft()

    async def flush(self) -> None:
        self.writer.writelines([bytes(buffer) for buffer in self.core.data_to_send()])
        await self.writer.drain()

    async def text(self, text: str) -> None:
        self.core.send_text(text)
        await self.flush()

    async def binary(self, data: bytes) -> None:
        self.core.send_binary(data)
        await self.flush()

    async def ping(self, data: bytes = b"") -> None:
        self.core.send_ping(data)
        await self.flush()

    async def close(self, code: int = 1000, reason: str = "") -> WSMessage:
        """Send a Close; returns the answer, or CLOSED."""
        self.core.send_close(code, reason)
        await self.flush()
        while True:
            message = await self.receive()
            if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR):
                return message

    async def octets(self, data: bytes, *, piece: int = 0) -> None:
        """Write whatever it is, in pieces of so many octets with a turn of the loop between."""
        size = piece or len(data) or 1
        for start in range(0, len(data), size):
            self.writer.write(data[start : start + size])
            await self.writer.drain()
            await asyncio.sleep(0)

    async def wait_eof(self) -> None:
        """Wait until the client has ended the connection, whatever it still sends."""
        try:
            while await self.reader.read(READ_SIZE):
                pass
        except ConnectionError:
            return


Play: TypeAlias = Callable[[Peer], Awaitable[None]]


async def echo(peer: Peer) -> None:
    """Send back what comes, until it is over."""
    while True:
        message = await peer.receive()
        if message.type is WSMsgType.TEXT:
            await peer.text(message.data)
        elif message.type is WSMsgType.BINARY:
            await peer.binary(message.data)
        elif message.type is not WSMsgType.PONG:
            return


def ws_script(
    play: Play,
    *,
    protocols: Sequence[str] = (),
    deflate: DeflateOffer | None = None,
    replace: dict[str, str | None] | None = None,
    early: Callable[[WSConnection], None] | None = None,
    **options: Any,
) -> Script:
    """A script for `RawServer` that accepts the handshake and then does as `play` says.

    `replace` gives fields of the 101 other values, or takes them away; what `early` sends leaves in
    one segment with it. `options` are those of `WSConnection`.
    """

    async def script(reader: StreamReader, writer: StreamWriter) -> None:
        head = await read_head(reader)
        asked = check_request(fields_of(head))
        agreed = None if deflate is None else accept_deflate(asked.extensions, deflate)
        fields = response_fields(
            asked.key,
            protocol=choose_protocol(asked.protocols, protocols),
            extensions=None if agreed is None else agreed[1],
        )
        values: dict[str, str | None] = {**dict(fields), **(replace or {})}
        lines = [f"{name}: {value}" for name, value in values.items() if value is not None]
        core = WSConnection(
            Role.SERVER,
            random_bytes=os.urandom,
            deflate=None if agreed is None else agreed[0],
            **options,
        )
        if early is not None:
            early(core)
        first = "\r\n".join(["HTTP/1.1 101 Switching Protocols", *lines, "", ""]).encode()
        writer.write(first + b"".join(core.data_to_send()))
        await writer.drain()
        peer = Peer(reader, writer, core)
        peer.head = head
        await play(peer)

    return script
