"""What the tests of bodies share: a writer that keeps what is written."""

from __future__ import annotations

import asyncio

from multidict import CIMultiDict

from angelia.net.payload import AbstractStreamWriter, Payload
from angelia.net.payload_base import BytesLike


class KeepingWriter(AbstractStreamWriter):
    """Keeps each piece; `fail_at` is the number of the write that raises OSError."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.pieces: list[bytes] = []
        self.ended = False
        self.begun = asyncio.Event()
        self._fail_at = fail_at

    @property
    def written(self) -> bytes:
        return b"".join(self.pieces)

    async def write(self, chunk: BytesLike) -> None:
        if self._fail_at == len(self.pieces):
            raise OSError("the peer has gone")
        self.pieces.append(bytes(chunk))
        self.begun.set()

    async def write_eof(self, chunk: bytes = b"") -> None:
        if chunk:
            await self.write(chunk)
        self.ended = True

    async def drain(self) -> None:
        """Nothing is held back."""

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        raise AssertionError("a body compresses nothing itself")

    def enable_chunking(self) -> None:
        raise AssertionError("a body frames nothing itself")

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        raise AssertionError("a body writes no head")


async def written(payload: Payload, length: int | None = None) -> bytes:
    """What `payload` writes, with a bound if `length` is given."""
    writer = KeepingWriter()
    if length is None:
        await payload.write(writer)
    else:
        await payload.write_with_length(writer, length)
    return writer.written
