"""ExchangeWriter: a body's octets on their way to an exchange."""

from __future__ import annotations

import array
import asyncio
import gzip
import zlib

import pytest
from multidict import CIMultiDict

from angelia.core.interface import Buffer
from angelia.errors import ClientConnectionResetError
from angelia.net.writer import PIECE_SIZE, ExchangeWriter
from exchange_kit import Peer, turn


def unchunked(wire: bytes) -> bytes:
    """The content of the chunked body in `wire`, which must have ended."""
    body = wire.partition(b"\r\n\r\n")[2]
    content = b""
    while True:
        line, _, body = body.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            assert body == b"\r\n"
            return content
        content += body[:size]
        body = body[size + 2 :]


class Upload:
    """A writer on an exchange with chunked content."""

    def __init__(self) -> None:
        self.peer = Peer()
        self.exchange = self.peer.post()
        self.chunks: list[bytes] = []
        self.sizes: list[int] = []
        self.writer = ExchangeWriter(
            self.exchange, on_chunk_sent=self._sent, on_body_write=self.sizes.append
        )

    async def _sent(self, chunk: bytes) -> None:
        self.chunks.append(chunk)

    @property
    def content(self) -> bytes:
        return unchunked(self.peer.socket.written)


class TestWriting:
    async def test_content(self) -> None:
        """What is written goes out in order, and ends once."""
        upload = Upload()
        await upload.writer.write(b"one")
        await upload.writer.write(b"")
        await upload.writer.write(bytearray(b"two"))
        await upload.writer.write_eof(b"three")
        await upload.writer.write_eof()
        assert upload.content == b"onetwothree"
        assert upload.chunks == [b"one", b"two", b"three"]
        assert upload.sizes == [3, 3, 5]
        assert upload.writer.buffer_size == upload.writer.output_size == 11

    @pytest.mark.parametrize(
        "view",
        [
            memoryview(b"abcdefgh"),
            memoryview(array.array("i", [1, -2, 3])),
            memoryview(bytes(12)).cast("B", (3, 4)),
            memoryview(bytearray(b"xy")),
        ],
    )
    async def test_views(self, view: memoryview[int]) -> None:
        """Views are written whole, whatever their items are; sizes are octets."""
        upload = Upload()
        await upload.writer.write(view)
        await upload.writer.write_eof()
        assert upload.content == view.tobytes()
        assert upload.writer.output_size == view.nbytes

    async def test_changed_afterwards(self) -> None:
        """A buffer that its owner changes when write() has returned goes out as it was."""
        kept: list[object] = []
        for mutable in (bytearray(b"before"), memoryview(bytearray(b"before"))):
            upload = Upload()
            upload.peer.socket.write = kept.append  # type: ignore[method-assign,assignment]  # sees
            upload.peer.socket.writelines = kept.extend  # type: ignore[method-assign,assignment]  # it
            await upload.writer.write(mutable)
            mutable[:] = b"after!"
            assert b"before" in b"".join(bytes(each) for each in kept)  # type: ignore[call-overload]  # buffers
            kept.clear()
            upload.exchange.close()

    async def test_large(self) -> None:
        """A large buffer goes out in pieces, each of which waits for the socket."""
        upload = Upload()
        upload.peer.transport.pause_writing()
        content = bytes(range(256)) * (PIECE_SIZE // 100)
        writing = asyncio.create_task(upload.writer.write(content))
        await turn()
        assert upload.writer.output_size == PIECE_SIZE
        upload.peer.transport.resume_writing()
        await writing
        await upload.writer.write_eof()
        assert upload.content == content

    @pytest.mark.parametrize("coding", ["gzip", "deflate"])
    async def test_compression(self, coding: str) -> None:
        """Compressed content ends properly; trackers count plain octets."""
        upload = Upload()
        upload.writer.enable_compression(coding)
        parts: list[Buffer] = [b"x" * 5000, memoryview(b"y" * 5000), bytearray(b"z")]
        for part in parts:
            await upload.writer.write(part)
        await upload.writer.write_eof()
        undo = gzip.decompress if coding == "gzip" else zlib.decompress
        assert undo(upload.content) == b"x" * 5000 + b"y" * 5000 + b"z"
        assert upload.sizes == [5000, 5000, 1]
        assert upload.writer.output_size < 1000
        assert upload.writer.buffer_size == 10_001

    async def test_after_the_end(self) -> None:
        """Writing after the end, or to a connection that is gone, raises."""
        upload = Upload()
        await upload.writer.write_eof()
        with pytest.raises(ClientConnectionResetError):
            await upload.writer.write(b"late")
        upload = Upload()
        upload.peer.socket.lose()
        with pytest.raises(ClientConnectionResetError):
            await upload.writer.write(b"x")
        with pytest.raises(ClientConnectionResetError):
            await upload.writer.drain()

    async def test_face(self) -> None:
        """The head is the exchange's matter: it was sent, and decided the framing."""
        upload = Upload()
        assert upload.writer.transport is upload.peer.socket
        upload.writer.enable_chunking()
        upload.writer.send_headers()
        with pytest.raises(RuntimeError):
            await upload.writer.write_headers("POST / HTTP/1.1", CIMultiDict())
        await upload.writer.drain()
        upload.exchange.close()
