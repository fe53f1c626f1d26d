"""What a WSGI application reads from and complains to: ``wsgi.input`` and ``wsgi.errors``.

Owns: the file methods that PEP 3333 asks for. Where the content comes from is a function's matter.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Self

__all__ = ("ErrorStream", "InputStream")


class InputStream:
    """A request's body as a file, for the thread in which the application runs.

    `more` waits for the next piece and returns it, empty at the end. Reading blocks until there is
    what was asked for; at most that and one piece are kept. OSError where the client does not send
    the body to its end.
    """

    __slots__ = ("_buffer", "_ended", "_more")

    def __init__(self, more: Callable[[], bytes], first: bytes = b"", *, ended: bool) -> None:
        self._more = more
        self._buffer = bytearray(first)
        self._ended = ended

    def __repr__(self) -> str:
        state = "ended" if self._ended else "open"
        return f"<{type(self).__name__} {len(self._buffer)} bytes {state}>"

    def _fill(self) -> bool:
        """Get another piece; False at the end."""
        if self._ended:
            return False
        piece = self._more()
        if not piece:
            self._ended = True
            return False
        self._buffer += piece
        return True

    def _take(self, size: int) -> bytes:
        buffer = self._buffer
        if size >= len(buffer):
            taken = bytes(buffer)
            buffer.clear()
            return taken
        taken = bytes(memoryview(buffer)[:size])
        del buffer[:size]
        return taken

    def read(self, size: int | None = -1) -> bytes:
        """So many octets, fewer only at the end; without `size` all."""
        if size is None or size < 0:
            while self._fill():
                pass
            return self._take(len(self._buffer))
        while len(self._buffer) < size and self._fill():
            pass
        return self._take(size)

    def readline(self, size: int | None = -1) -> bytes:
        """A line with its end, or what there is of it in `size` octets; empty at the end."""
        buffer = self._buffer
        searched = 0
        while True:
            limit = len(buffer) if size is None or size < 0 else min(size, len(buffer))
            found = buffer.find(b"\n", searched, limit)
            if found >= 0:
                return self._take(found + 1)
            if limit == size or not self._fill():
                return self._take(limit)
            searched = limit

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """The lines; with `hint` only until they have so many octets in all."""
        lines: list[bytes] = []
        size = 0
        for line in self:
            lines.append(line)
            size += len(line)
            if hint is not None and 0 < hint <= size:
                break
        return lines

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line


class ErrorStream:
    """A text file whose lines become entries of a log, with level ERROR."""

    __slots__ = ("_logger", "_partial")

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._partial = ""

    def write(self, text: str) -> int:
        """Log the lines that are complete; TypeError for what is no text."""
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors takes str, not {type(text).__name__}")
        *lines, self._partial = (self._partial + text).split("\n")
        for line in lines:
            self._log(line)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of them."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Log what was written since the last line's end."""
        partial, self._partial = self._partial, ""
        self._log(partial)

    def _log(self, line: str) -> None:
        if line.strip():
            self._logger.error("%s", line.rstrip("\r"))
