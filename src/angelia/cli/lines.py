"""Lines of standard input, without standing in the event loop's way.

Owns: the thread that reads. Its read cannot be interrupted, so the thread is a daemon, and reads
the descriptor itself: an interpreter that ends while a thread is inside `sys.stdin` aborts.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from types import TracebackType
from typing import Final, Self

__all__ = ("LineTooLong", "StandardInput")

READ_SIZE: Final = 64 * 1024

# So many octets may a line have: what is kept for one has a bound.
MAX_LINE: Final = 16 * 1024 * 1024


class LineTooLong(ValueError):
    """A line is longer than `MAX_LINE`."""

    def __init__(self) -> None:
        super().__init__(f"a line is longer than {MAX_LINE} octets")


class StandardInput:
    """Lines as they come, each taken before the next piece is read. Use it in ``with``."""

    __slots__ = ("_buffer", "_descriptor", "_ended", "_loop", "_piece", "_wanted")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buffer = bytearray()
        self._ended = sys.stdin is None
        self._descriptor = -1 if sys.stdin is None else sys.stdin.fileno()
        self._piece: asyncio.Future[bytes] | None = None
        self._wanted = threading.Semaphore(0)

    def __enter__(self) -> Self:
        if not self._ended:
            threading.Thread(target=self._read, name="standard input", daemon=True).start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._descriptor = -1
        self._wanted.release()

    async def next(self) -> bytes | None:
        """The next line without its end, None at the end. Raises `LineTooLong`, OSError."""
        buffer = self._buffer
        searched = 0
        while (end := buffer.find(b"\n", searched)) < 0:
            if len(buffer) > MAX_LINE:
                raise LineTooLong
            if self._ended:
                rest = bytes(buffer)
                buffer.clear()
                return rest or None
            searched = len(buffer)
            piece = await self._next_piece()
            self._ended = not piece
            buffer += piece
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        return line.removesuffix(b"\r")

    async def _next_piece(self) -> bytes:
        self._piece = self._loop.create_future()
        self._wanted.release()
        return await self._piece

    def _read(self) -> None:
        # The thread's.
        while True:
            self._wanted.acquire()
            descriptor = self._descriptor
            if descriptor < 0:
                return
            try:
                piece: bytes | OSError = os.read(descriptor, READ_SIZE)
            except OSError as error:
                piece = error
            try:
                self._loop.call_soon_threadsafe(self._arrive, piece)
            except RuntimeError:
                # The loop is closed: nobody is there to read it.
                return

    def _arrive(self, piece: bytes | OSError) -> None:
        future = self._piece
        if future is None or future.done():
            return
        if isinstance(piece, OSError):
            future.set_exception(piece)
        else:
            future.set_result(piece)
