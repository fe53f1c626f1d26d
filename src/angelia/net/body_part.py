"""BodyPartReader: one part of a multipart body, as it comes.

Owns: a part's octets, its decoding, and what its headers say of it. Delimiters are the decoder's in
`angelia.core.multipart`. Knows nothing of messages.
"""

from __future__ import annotations

import asyncio
import binascii
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import parse_qsl

from multidict import CIMultiDict, CIMultiDictProxy

from angelia.core.charsets import codec_of
from angelia.core.coding import Decoder, make_decoder
from angelia.core.fields import (
    content_disposition_filename,
    parse_content_disposition,
    parse_media_type,
)
from angelia.core.multipart import (
    MultipartDecoder,
    MultipartEvent,
    PartData,
)
from angelia.core.patterns import lazy
from angelia.errors import ClientPayloadError, MultipartError, PartTooLargeError, ProtocolError
from angelia.net.payload import PAYLOAD_REGISTRY, Payload
from angelia.net.payload_base import AbstractStreamWriter, BytesLike

__all__ = (
    "BodyPartReader",
    "BodyPartReaderPayload",
    "MultipartSource",
)

# One read of the stream, in octets, and the most that a part hands out at once.
READ_SIZE: Final = 64 * 1024

# What is not limited by its user: everything that fits into the memory.
UNLIMITED: Final = sys.maxsize

# The most that one call to a decoder may produce, in octets.
MAX_DECOMPRESS_SIZE: Final = 256 * 1024

# A length has no more digits than a 64-bit number; the grammar is of ASCII digits only.
_LENGTH: Final = lazy(r"[0-9]{1,19}")
_PLAIN: Final = ("", "binary", "8bit", "7bit")
_NOT_BASE64: Final = lazy(rb"[^A-Za-z0-9+/=]+")

_DEFAULT_CHARSET: Final = "utf-8"

TooLarge: TypeAlias = Callable[[int, int], BaseException]


class Readable(Protocol):
    """What multipart content is read from, such as a `StreamReader`."""

    async def read(self, n: int = -1, /) -> bytes: ...


class MultipartSource:
    """Multipart content, decoded as it is asked for."""

    __slots__ = ("_content", "decoder")

    def __init__(self, content: Readable, decoder: MultipartDecoder) -> None:
        self._content = content
        self.decoder = decoder

    async def next_event(self, max_size: int = READ_SIZE) -> MultipartEvent:
        """The next event; MultipartError for malformed content. Safe to cancel."""
        try:
            while True:
                event = self.decoder.next_event(max_size)
                if event is not None:
                    return event
                data = await self._content.read(READ_SIZE)
                if data:
                    self.decoder.receive_data(data)
                else:
                    self.decoder.receive_eof()
        except ProtocolError as exc:
            raise MultipartError(exc.message) from exc


class BodyPartReader:
    """A part: its `headers`, and its content, which is read once.

    `boundary` is the delimiter as it stands in `content`, with its two hyphens. Parts are made by
    `MultipartReader`; one made by hand begins where `content` is.

    `client_max_size` bounds what the methods gather that return a part as a whole; beyond it they
    raise ``max_size_error_cls(client_max_size, size)``. `max_decompress_size` bounds what is
    decoded in one step. Sizes are in octets.
    """

    chunk_size = 8192

    def __init__(
        self,
        boundary: bytes,
        headers: CIMultiDictProxy[str] | CIMultiDict[str],
        content: Readable | MultipartSource,
        *,
        subtype: str = "mixed",
        default_charset: str | None = None,
        max_decompress_size: int = MAX_DECOMPRESS_SIZE,
        client_max_size: int = UNLIMITED,
        max_size_error_cls: TooLarge = PartTooLargeError,
    ) -> None:
        self.headers = headers
        if not isinstance(content, MultipartSource):
            text = boundary.decode("ascii").removeprefix("--")
            content = MultipartSource(content, MultipartDecoder(text, within_part=True))
        self._source = content
        self._default_charset = default_charset
        self._max_decompress_size = max_decompress_size
        self._client_max_size = client_max_size
        self._max_size_error_cls = max_size_error_cls
        self._length = self._announced_length(subtype)
        self._received = 0
        self._ended = False
        # Octets that were taken from the source and not given out: `_held` from `_offset` on, and
        # before them what was given back.
        self._back = b""
        self._held = b""
        self._offset = 0

    def _announced_length(self, subtype: str) -> int | None:
        length = self.headers.get("Content-Length")
        if length is None:
            return None
        if not _LENGTH.fullmatch(length):
            raise MultipartError(f"Content-Length of a part is not a number: {length[:80]!r}")
        # RFC 7578 §4.8: in form data it is to be ignored.
        return None if subtype == "form-data" else int(length)

    def __repr__(self) -> str:
        state = "at end" if self.at_eof() else f"{self._received} bytes received"
        return f"<{type(self).__name__} {state}>"

    def __aiter__(self) -> BodyPartReader:
        return self

    async def __anext__(self) -> bytes:
        part = await self.next()
        if part is None:
            raise StopAsyncIteration
        return part

    async def next(self) -> bytes | None:
        """The whole content, once; then None."""
        return await self.read() or None

    def at_eof(self) -> bool:
        """Whether all content was read."""
        return self._ended and not self._back and self._offset == len(self._held)

    # --- reading -------------------------------------------------------------------------------

    async def _pull(self, size: int) -> bytes:
        """The next 1 to `size` octets of the source, ``b""`` behind the last."""
        if self._ended:
            return b""
        event = await self._source.next_event(size)
        if isinstance(event, PartData):
            self._received += len(event.data)
            return event.data
        self._ended = True
        # Two ways to say where a part ends that differ are two readings of the same octets.
        if self._length is not None and self._received != self._length:
            raise MultipartError(
                f"a part has {self._received} bytes, but its Content-Length is {self._length}"
            )
        return b""

    async def _take(self, size: int) -> bytes:
        """The next 1 to `size` octets, ``b""`` behind the last."""
        if self._back:
            taken, self._back = self._back[:size], self._back[size:]
            return taken
        if self._offset < len(self._held):
            taken = self._held[self._offset : self._offset + size]
            self._offset += len(taken)
            return taken
        return await self._pull(size)

    def _give_back(self, data: bytes | bytearray) -> None:
        self._back = bytes(data) + self._back

    async def read(self, *, decode: bool = False) -> bytes:
        """All content that was not read yet; decoded, as its headers say, if `decode`."""
        gathered = bytearray()
        try:
            while piece := await self._take(READ_SIZE):
                gathered += piece
                self._check_size(len(gathered))
        except asyncio.CancelledError:
            self._give_back(gathered)
            raise
        if not decode or not gathered:
            return bytes(gathered)
        decoded = bytearray()
        async for piece in self.decode_iter(gathered):
            decoded += piece
            self._check_size(len(decoded))
        return bytes(decoded)

    def _check_size(self, size: int) -> None:
        if size > self._client_max_size:
            raise self._max_size_error_cls(self._client_max_size, size)

    async def read_chunk(self, size: int = chunk_size) -> bytes:
        """The next octets, undecoded: at most `size`, at least one; ``b""`` behind the last.

        What it returns can be given to `decode` piece by piece, if there is no content coding: an
        encoded group of characters is never cut, even if it is longer than `size`. Of base64, only
        the characters that mean something are returned.
        """
        if size < 1:
            raise ValueError(f"size must be positive, not {size}")
        encoding = self._transfer_encoding()
        if encoding == "base64":
            return await self._groups(size, _base64_groups)
        if encoding == "quoted-printable":
            return await self._groups(size, _quoted_printable_groups)
        return await self._take(size)

    async def _groups(self, size: int, split: Callable[[bytes], tuple[bytes, bytes]]) -> bytes:
        rest = b""
        while True:
            try:
                piece = await self._take(max(1, size - len(rest)))
            except asyncio.CancelledError:
                self._give_back(rest)
                raise
            if not piece:
                return rest
            # A group of more than `size` octets gets them one by one.
            whole, rest = split(rest + piece)
            if whole:
                self._give_back(rest)
                return whole

    async def readline(self) -> bytes:
        """The next line with its line end, undecoded; ``b""`` behind the last."""
        line = bytearray()
        try:
            while await self._fill():
                end = self._held.find(b"\n", self._offset) + 1
                stop = end or len(self._held)
                line += self._held[self._offset : stop]
                self._offset = stop
                self._check_size(len(line))
                if end:
                    break
        except asyncio.CancelledError:
            self._give_back(line)
            raise
        return bytes(line)

    async def _fill(self) -> bool:
        """Whether `_held` has the next octets; False behind the last."""
        if self._back:
            self._held = self._back + self._held[self._offset :]
            self._back = b""
            self._offset = 0
        if self._offset == len(self._held):
            self._held = await self._pull(READ_SIZE)
            self._offset = 0
        return bool(self._held)

    async def release(self) -> None:
        """Read and forget all that was not read yet."""
        self._back = self._held = b""
        self._offset = 0
        while await self._pull(READ_SIZE):
            pass

    async def text(self, *, encoding: str | None = None) -> str:
        """The content as text, by `encoding` or the part's charset, UTF-8 by default.

        LookupError for an unknown charset, UnicodeDecodeError for one that does not fit.
        """
        data = await self.read(decode=True)
        return data.decode(self._codec(encoding))

    async def json(self, *, encoding: str | None = None) -> Any:
        """The content as JSON; None if there is none. ValueError for what is no JSON."""
        data = await self.read(decode=True)
        if not data:
            return None
        return json.loads(data.decode(self._codec(encoding)))

    async def form(self, *, encoding: str | None = None) -> list[tuple[str, str]]:
        """The content as pairs of an urlencoded form, blank values too."""
        data = await self.read(decode=True)
        codec = self._codec(encoding)
        text = data.rstrip().decode(codec)
        return parse_qsl(text, keep_blank_values=True, encoding=codec)

    def _codec(self, encoding: str | None) -> str:
        """The user's choice, or else the sender's."""
        return encoding or codec_of(self.get_charset(_DEFAULT_CHARSET))

    # --- decoding ------------------------------------------------------------------------------

    def _transfer_encoding(self) -> str:
        return self.headers.get("Content-Transfer-Encoding", "").strip().lower()

    def decode(self, data: BytesLike) -> bytes:
        """`data` without its transfer encoding and content coding.

        RuntimeError for an encoding that is not known, MultipartError for data that is not encoded
        so, ``max_size_error_cls`` beyond `client_max_size`.
        """
        pieces = []
        size = 0
        for piece in self._decode_pieces(data):
            pieces.append(piece)
            size += len(piece)
            self._check_size(size)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def decode_iter(self, data: BytesLike) -> AsyncIterator[bytes]:
        """Like `decode`, in pieces; other tasks have their turn between two of them."""
        for piece in self._decode_pieces(data):
            yield piece
            await asyncio.sleep(0)

    def _decode_pieces(self, data: BytesLike) -> Iterator[bytes]:
        """Like `decode`, in pieces of `max_decompress_size` at most, made as they are taken."""
        data = self._decode_transfer(data)
        decoder = self._content_decoder()
        if decoder is None:
            yield data
        else:
            yield from self._decompress(decoder, data)

    def _decode_transfer(self, data: BytesLike) -> bytes:
        encoding = self._transfer_encoding()
        if encoding in _PLAIN:
            return bytes(data)
        if encoding == "quoted-printable":
            return binascii.a2b_qp(data)
        if encoding != "base64":
            raise RuntimeError(f"unknown content transfer encoding: {encoding}")
        try:
            # RFC 2045 §6.8: line breaks and other characters are to be ignored.
            return binascii.a2b_base64(_NOT_BASE64.sub(b"", data), strict_mode=True)
        except binascii.Error as exc:
            raise MultipartError(f"not base64: {exc}") from exc

    def _content_decoder(self) -> Decoder | None:
        coding = self.headers.get("Content-Encoding", "").strip().lower()
        if coding in ("", "identity"):
            return None
        decoder = make_decoder([coding])
        if decoder is None:
            raise RuntimeError(f"unknown content encoding: {coding}")
        return decoder

    def _decompress(self, decoder: Decoder, data: bytes) -> Iterator[bytes]:
        try:
            decoder.feed(data)
            while piece := decoder.read(self._max_decompress_size):
                yield piece
            decoder.finish()
        except ProtocolError as exc:
            raise MultipartError(exc.message) from exc

    # --- what the headers say ------------------------------------------------------------------

    def get_charset(self, default: str) -> str:
        """The charset of the Content-Type, else the form's default, else `default`."""
        media_type = parse_media_type(self.headers.get("Content-Type", ""))
        return media_type.parameters.get("charset") or self._default_charset or default

    @property
    def name(self) -> str | None:
        """The field's name, as Content-Disposition says."""
        return content_disposition_filename(self._disposition(), "name")

    @property
    def filename(self) -> str | None:
        """The file's name, as Content-Disposition says. Not to be trusted as a path."""
        return content_disposition_filename(self._disposition(), "filename")

    def _disposition(self) -> dict[str, str]:
        return parse_content_disposition(self.headers.get("Content-Disposition"))[1]


def _base64_groups(chunk: bytes) -> tuple[bytes, bytes]:
    """Whole groups of four characters, and the rest."""
    # What is ignored goes at once: an endless run of it must not be gathered for a group's end.
    chunk = _NOT_BASE64.sub(b"", chunk)
    end = len(chunk) - len(chunk) % 4
    return chunk[:end], chunk[end:]


def _quoted_printable_groups(chunk: bytes) -> tuple[bytes, bytes]:
    """What ends with no "=" that lacks one of its two characters, and the rest."""
    end = chunk.rfind(b"=", max(0, len(chunk) - 2))
    return (chunk, b"") if end < 0 else (chunk[:end], chunk[end:])


class BodyPartReaderPayload(Payload):
    """A part that was received, sent on decoded; it can be written once."""

    __slots__ = ("_begun",)

    def __init__(self, value: BodyPartReader, *args: Any, **kwargs: Any) -> None:
        super().__init__(value, *args, **kwargs)
        self._begun = False
        parameters = {
            key: text for key in ("name", "filename") if (text := getattr(value, key)) is not None
        }
        if parameters and "Content-Disposition" not in self.headers:
            self.set_content_disposition("attachment", True, "utf-8", **parameters)

    @property
    def consumed(self) -> bool:
        return self._begun

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """TypeError: a part's text has to be waited for."""
        raise TypeError("a part that is received has no text before it is read")

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """The part, decoded."""
        return await self._begin().read(decode=True)

    def _begin(self) -> BodyPartReader:
        if self._begun or self._value.at_eof():
            raise ClientPayloadError("the part was read before, and cannot be read again")
        self._begun = True
        part: BodyPartReader = self._value
        return part

    async def write(self, writer: AbstractStreamWriter) -> None:
        part = self._begin()
        if part.headers.get("Content-Encoding"):
            await writer.write(await part.read(decode=True))
            return
        while chunk := await part.read_chunk(READ_SIZE):
            if decoded := part.decode(chunk):
                await writer.write(decoded)


PAYLOAD_REGISTRY.register(BodyPartReaderPayload, BodyPartReader)
