"""TracedStreamReader: a stream that tells what is read from it.

Owns: telling each piece once it is taken and before its reader has it. Must not know who listens,
nor of requests. Streams to which nobody listens are plain ones, and cost nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

from angelia.net.streams import FlowControl, StreamReader

__all__ = ("Tell", "TracedStreamReader")

Tell: TypeAlias = Callable[[bytes], Awaitable[None]]


class TracedStreamReader(StreamReader):
    """A `StreamReader` that awaits `tell` with each piece that is not empty.

    What a reader does not get, since `tell` fails or is cancelled, stays in the stream. What
    `read_nowait` takes is not told: it cannot wait.
    """

    __slots__ = ("tell",)

    def __init__(
        self,
        protocol: FlowControl,
        limit: int,
        *,
        timer: AbstractContextManager[Any] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(protocol, limit, timer=timer, loop=loop)
        self.tell: Tell | None = None

    async def readany(self) -> bytes:
        return await self._told(await super().readany())

    async def read(self, n: int = -1) -> bytes:
        return await self._told(await super().read(n))

    async def readline(self, *, max_line_length: int | None = None) -> bytes:
        return await self._told(await super().readline(max_line_length=max_line_length))

    async def readuntil(self, separator: bytes = b"\n", *, max_size: int | None = None) -> bytes:
        return await self._told(await super().readuntil(separator, max_size=max_size))

    async def readchunk(self) -> tuple[bytes, bool]:
        data, is_end = await super().readchunk()
        return await self._told(data, is_end=is_end), is_end

    async def _told(self, data: bytes, *, is_end: bool = False) -> bytes:
        tell = self.tell
        if tell is not None and data:
            try:
                await tell(data)
            except BaseException:
                if is_end and self._chunk_ends is not None:
                    self._chunk_ends.appendleft(self._taken)
                self._put_back(data)
                raise
        return data
