"""ExchangeWriter: where a body writes itself to.

Owns: compression of a request's body, pacing by the socket, counting. Framing is the core's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from multidict import CIMultiDict

from angelia.core.coding import Compressor, make_compressor
from angelia.core.interface import Buffer
from angelia.errors import ClientConnectionResetError
from angelia.net.exchange import Exchange
from angelia.net.payload import AbstractStreamWriter

__all__ = ("ExchangeWriter",)

# Larger buffers go out in pieces, each waiting for the socket, so that an early answer can stop
# them.
PIECE_SIZE: Final = 512 * 1024


class ExchangeWriter(AbstractStreamWriter):
    """Writes content to an exchange.

    `on_body_write` gets the number of plain octets of each write, before compression.
    """

    def __init__(
        self,
        exchange: Exchange,
        *,
        on_chunk_sent: Callable[[bytes], Awaitable[None]] | None = None,
        on_body_write: Callable[[int], None] | None = None,
    ) -> None:
        self._exchange = exchange
        self._on_chunk_sent = on_chunk_sent
        self._compressor: Compressor | None = None
        self._ended = False
        self.on_body_write = on_body_write
        self.buffer_size = 0
        self.output_size = 0
        self.length: int | None = None
        self.transport = exchange.transport.socket_transport

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        """Compress what is written from now on; `strategy` is zlib's."""
        self._compressor = make_compressor(encoding, strategy=strategy)

    def enable_chunking(self) -> None:
        """Nothing: the head's fields have decided the framing."""

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """A request's head is sent by its exchange, not here."""
        raise RuntimeError("the head has been sent")

    def send_headers(self) -> None:
        """Nothing: the head has been sent."""

    async def write(self, chunk: Buffer) -> None:
        """Send content, and wait while the socket has enough.

        ClientConnectionResetError on a connection that is closed.
        """
        if self._ended:
            raise ClientConnectionResetError("Cannot write after the end of the body")
        size = chunk.nbytes if isinstance(chunk, memoryview) else len(chunk)
        if not size:
            return
        if isinstance(chunk, bytearray) or (isinstance(chunk, memoryview) and not chunk.readonly):
            # The event loop may keep it until the socket takes it; its owner may change it before.
            chunk = bytes(chunk)
        elif isinstance(chunk, memoryview) and (chunk.itemsize != 1 or chunk.ndim != 1):
            chunk = chunk.cast("B")
        for start in range(0, size, PIECE_SIZE):
            piece = chunk if size <= PIECE_SIZE else memoryview(chunk)[start : start + PIECE_SIZE]
            await self._write_piece(piece)

    async def _write_piece(self, piece: Buffer) -> None:
        self.buffer_size += len(piece)
        coded = piece if self._compressor is None else self._compressor.compress(bytes(piece))
        if coded:
            self._send(coded, end=False)
        if self.on_body_write is not None:
            self.on_body_write(len(piece))
        if self._on_chunk_sent is not None:
            await self._on_chunk_sent(bytes(piece))
        await self._exchange.transport.drain()

    def _send(self, data: Buffer, *, end: bool) -> None:
        self.output_size += len(data)
        self._exchange.send_content(data, end=end)

    async def drain(self) -> None:
        """Wait until the socket takes more."""
        await self._exchange.transport.drain()

    async def write_eof(self, chunk: bytes = b"") -> None:
        """Send the last content. Idempotent."""
        if self._ended:
            return
        if chunk:
            await self.write(chunk)
        self._ended = True
        rest = b"" if self._compressor is None else self._compressor.flush()
        self._send(rest, end=True)
        await self.drain()
