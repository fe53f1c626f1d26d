"""Bodies that are read from files.

Owns: reading, rewinding, measuring and closing a file, all but the measuring off the event loop.
Knows nothing of requests or connections.

A file is read in pieces and from the position that it had when the payload was made, each time the
body is written. The payload closes the file when it is closed itself.
"""

from __future__ import annotations

import asyncio
import codecs
import io
import os
import stat
import threading
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias

from angelia.errors import ClientPayloadError
from angelia.net.payload_base import AbstractStreamWriter, BytesLike, Payload

__all__ = (
    "READ_SIZE",
    "BufferedReaderPayload",
    "BytesIOPayload",
    "IOBasePayload",
    "TextIOPayload",
    "charset_and_type",
    "file_name",
)

# One read, in octets: a thread's turn costs as much as copying this, and memory stays small.
READ_SIZE: Final = 64 * 1024

# Locks by the id of the file that they guard. A payload keeps both alive, so that ids stay true.
_LOCKS: Final[weakref.WeakValueDictionary[int, threading.Lock]] = weakref.WeakValueDictionary()

Sink: TypeAlias = Callable[[BytesLike], Awaitable[None]]


def charset_and_type(encoding: str | None, content_type: str | None) -> tuple[str, str]:
    """The charset to encode a text with and its media type, from what of both was given."""
    if content_type is None:
        encoding = encoding or "utf-8"
        return encoding, f"text/plain; charset={encoding}"
    return encoding or _charset_of(content_type) or "utf-8", content_type


def _charset_of(content_type: str) -> str | None:
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"') or None
    return None


def _lock_of(file: Any) -> threading.Lock:
    """The lock to hold from a seek to the read that it is for: the same for all users of a file."""
    return _LOCKS.setdefault(id(file), threading.Lock())


def file_name(value: Any) -> str | None:
    """The last part of a file object's path; None where it has none."""
    name = getattr(value, "name", None)
    # Descriptors have numbers for names, and pseudo-files such as <stdin> none that means a thing.
    if isinstance(name, str) and name and not (name[0] == "<" and name[-1] == ">"):
        return Path(name).name or None
    return None


def _regular_file(value: Any) -> Any:
    """`value`, or the file in tempfile's wrapper, if it reads a regular file as it is, else None.

    A file object that has a descriptor need not read what is there: gzip's reads something else.
    """
    file = getattr(value, "file", value)
    if not isinstance(file, io.FileIO):
        if not isinstance(file, io.BufferedReader | io.BufferedRandom):
            return None
        if not isinstance(file.raw, io.FileIO):
            return None
    try:
        return file if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
    except (AttributeError, OSError, ValueError):
        return None


class IOBasePayload(Payload):
    """A body read from a file object.

    With a file name, and unless `disposition` is None, there is a ``Content-Disposition`` field.
    `size` is known for regular files. TypeError for a `value` that has no ``read``.
    """

    __slots__ = ("_closed", "_lock", "_start", "_started")

    def __init__(
        self, value: Any, disposition: str | None = "attachment", *args: Any, **kwargs: Any
    ) -> None:
        if not callable(getattr(value, "read", None)):
            raise TypeError(f"not a file: {value!r}")
        if len(args) < 3 and "filename" not in kwargs:
            kwargs["filename"] = file_name(value)
        super().__init__(value, *args, **kwargs)
        self._lock = _lock_of(value)
        self._closed = False
        self._started = False
        self._start = self._position()
        if self._filename is None or disposition is None:
            return
        if "Content-Disposition" not in self.headers:
            self.set_content_disposition(disposition, filename=self._filename)

    def _position(self) -> int | None:
        """Where the file is now, which is where the body begins; None if it cannot come back."""
        try:
            seekable = self._value.seekable()
        except AttributeError:
            seekable = hasattr(self._value, "seek")
        if not seekable:
            return None
        try:
            position: int = self._value.tell()
        except (AttributeError, OSError):
            return None
        return position

    @property
    def size(self) -> int | None:
        # Measured once: what was announced is what will be written, were the file to grow.
        if self._size is None and self._start is not None:
            self._size = self._measure(self._start)
        return self._size

    def _measure(self, start: int) -> int | None:
        file = _regular_file(self._value)
        if file is None:
            return None
        if file.writable():
            file.flush()
        return max(0, os.fstat(file.fileno()).st_size - start)

    @property
    def consumed(self) -> bool:
        return self._closed or (self._started and self._start is None)

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        await self._copy(writer.write, content_length)

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """All that the file has from its first position."""
        gathered = bytearray()

        async def gather(piece: BytesLike) -> None:
            gathered.extend(piece)

        await self._copy(gather, None)
        return bytes(gathered)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The content as text; reads the file on the event loop."""
        self._begin()
        pieces = []
        offset = 0
        while piece := self._read(offset, READ_SIZE):
            pieces.append(bytes(piece))
            offset += len(piece)
        return b"".join(pieces).decode(encoding, errors)

    def _begin(self) -> None:
        if self._closed:
            raise ClientPayloadError(f"the file of {self!r} is closed")
        if self._started and self._start is None:
            raise ClientPayloadError(f"{self!r} was read before, and cannot be rewound")
        self._started = True

    async def _copy(self, sink: Sink, limit: int | None) -> None:
        """Give `sink` the content in pieces: at most `limit`, never more than `size`, octets.

        Not an asynchronous generator: one that its consumer leaves is closed at some later time.
        """
        self._begin()
        loop = asyncio.get_running_loop()
        size = self.size
        end = size if limit is None else limit if size is None else min(size, limit)
        offset = 0
        while end is None or offset < end:
            wanted = READ_SIZE if end is None else min(READ_SIZE, end - offset)
            piece = await loop.run_in_executor(None, self._read, offset, wanted)
            if not piece:
                break
            # Text is measured in characters when read, and in octets when sent.
            if end is not None and len(piece) > end - offset:
                piece = memoryview(piece)[: end - offset]
            offset += len(piece)
            await sink(piece)
        if size is not None and end is not None and offset < end:
            error = ClientPayloadError(f"the file ended after {offset} of {end} bytes")
            error.received, error.expected = offset, end
            raise error

    def _read(self, offset: int, size: int) -> BytesLike:
        """The next piece; `offset` octets of the body were read before. Runs in a thread."""
        # A read that was given up may still be under way when the file is rewound or closed, and
        # the same file may be in another part of the same form.
        with self._lock:
            if self._closed:
                raise ClientPayloadError(f"the file of {self!r} was closed while it was read")
            return self._read_locked(offset, size)

    def _read_locked(self, offset: int, size: int) -> BytesLike:
        file = self._value
        if self._start is not None:
            # Each time: it is not known who has read the file in between.
            file.seek(self._start + offset)
            piece = file.read(size)
        else:
            # A pipe is to be passed on as it comes, not when there are 64 KiB of it.
            piece = getattr(file, "read1", file.read)(size)
        if piece is None:
            raise ClientPayloadError(f"{file!r} is in non-blocking mode")
        if isinstance(piece, str):
            raise TypeError(f"{file!r} reads text: use TextIOPayload, or open it as binary")
        result: BytesLike = piece
        return result

    async def close(self) -> None:
        """Close the file, once. A cancelled call closes it all the same."""
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        await asyncio.shield(loop.run_in_executor(None, self._close_locked))

    def _close_locked(self) -> None:
        with self._lock:
            close = getattr(self._value, "close", None)
            if close is not None:
                close()


class BufferedReaderPayload(IOBasePayload):
    """A body read from a binary file, as `open` gives it."""

    __slots__ = ()


class TextIOPayload(IOBasePayload):
    """A body read from a text file, which decodes it, and encoded with `encoding`.

    `encoding` is the charset parameter of `content_type` by default, else UTF-8.
    """

    __slots__ = ("_encoder",)

    def __init__(
        self,
        value: Any,
        *args: Any,
        encoding: str | None = None,
        content_type: str | None = None,
        **kwargs: Any,
    ) -> None:
        encoding, content_type = charset_and_type(encoding, content_type)
        self._encoder = codecs.getincrementalencoder(encoding)()
        super().__init__(value, *args, content_type=content_type, encoding=encoding, **kwargs)

    def _measure(self, start: int) -> int | None:
        return None

    def _read_locked(self, offset: int, size: int) -> BytesLike:
        file = self._value
        if offset == 0:
            # One encoder for the whole text: UTF-16 has a byte order mark at the beginning only.
            self._encoder.reset()
            if self._start is not None:
                # The positions of a text file are opaque: only the first can be gone back to.
                file.seek(self._start)
        while True:
            text = file.read(size)
            piece = self._encoder.encode(text, final=not text)
            # A codec may hold the first characters back; only the end of the text is the end.
            if piece or not text:
                return piece

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The text; reads the file on the event loop."""
        return super().decode(self._encoding or "utf-8", errors)


class BytesIOPayload(IOBasePayload):
    """A body read from a `BytesIO`, which stays open: it holds nothing that must be released."""

    __slots__ = ()

    _autoclose: ClassVar[bool] = True

    def _measure(self, start: int) -> int | None:
        return max(0, len(self._value.getbuffer()) - start)

    async def _copy(self, sink: Sink, limit: int | None) -> None:
        # Memory needs no thread; the writer suspends where the peer does not keep up.
        self._begin()
        size = self.size or 0
        end = size if limit is None else min(size, limit)
        offset = 0
        while offset < end:
            piece = self._read_locked(offset, min(READ_SIZE, end - offset))
            if not piece:
                break
            offset += len(piece)
            await sink(piece)

    async def close(self) -> None:
        """Nothing: the buffer is the caller's, and may be sent again."""
