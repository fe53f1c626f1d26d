"""MultipartReader: the parts of a multipart body, one after the other (RFC 2046 §5.1).

Owns: which part comes next, nested multipart, the limits that all parts share. One part's content
is `BodyPartReader`'s, delimiters are the decoder's in `angelia.core.multipart`. Knows nothing of
connections; `MultipartResponseWrapper` asks a response to let go of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Protocol

from multidict import CIMultiDict, CIMultiDictProxy

from angelia.core.fields import parse_media_type
from angelia.core.multipart import (
    MultipartDecoder,
    MultipartEnd,
    PartHead,
    multipart_boundary,
)
from angelia.errors import MultipartError, PartTooLargeError
from angelia.net.body_part import (
    UNLIMITED,
    BodyPartReader,
    BodyPartReaderPayload,
    MultipartSource,
    Readable,
    TooLarge,
)
from angelia.net.multipart_writer import MultipartWriter

__all__ = (
    "MAX_NESTING",
    "BodyPartReader",
    "BodyPartReaderPayload",
    "MultipartReader",
    "MultipartResponseWrapper",
    "MultipartWriter",
)

# Mail has three or four levels. Each level costs memory, and every octet passes through all.
MAX_NESTING: Final = 10

# RFC 7578 §4.6: the value of _charset_ is the name of a charset; the longest has 45 characters.
MAX_CHARSET_NAME: Final = 64


class Response(Protocol):
    """What a reader wants of a response."""

    @property
    def headers(self) -> CIMultiDictProxy[str]: ...
    @property
    def content(self) -> Readable: ...
    def release(self) -> Any: ...


class _Octets:
    """Content that is there already."""

    __slots__ = ("_data", "_offset")

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = data
        self._offset = 0

    async def read(self, n: int = -1, /) -> bytes:
        end = len(self._data) if n < 0 else self._offset + n
        data = bytes(self._data[self._offset : end])
        self._offset += len(data)
        return data


class _PartContent:
    """A part's content, as the content of the multipart that is in it."""

    __slots__ = ("_part",)

    def __init__(self, part: BodyPartReader) -> None:
        self._part = part

    async def read(self, n: int = -1, /) -> bytes:
        return await self._part.read_chunk(n)


class MultipartReader:
    """Reads parts; a part must be read, or is skipped, before the next.

    `headers` are those of the message or part, with a Content-Type of ``multipart/*`` and a
    boundary of at most 70 characters: ValueError otherwise. `content` is a stream, or bytes.
    Limits: `max_field_size` (octets) and `max_headers` for each part's head, `client_max_size`
    (octets) for a part that is read as a whole, see `BodyPartReader`.
    """

    response_wrapper_cls: ClassVar[Any]
    multipart_reader_cls: type[MultipartReader] | None = None
    """What reads nested multipart; by default the reader's own class."""
    part_reader_cls: type[BodyPartReader] = BodyPartReader

    def __init__(
        self,
        headers: Mapping[str, str],
        content: Readable | bytes | bytearray | memoryview,
        *,
        client_max_size: int = UNLIMITED,
        max_field_size: int = 8190,
        max_headers: int = 128,
        max_size_error_cls: TooLarge = PartTooLargeError,
    ) -> None:
        self.headers = headers
        content_type = next((v for k, v in headers.items() if k.lower() == "content-type"), "")
        self._subtype, boundary = multipart_boundary(content_type)
        self._boundary = b"--" + boundary.encode("ascii")
        decoder = MultipartDecoder(boundary, max_field_size=max_field_size, max_headers=max_headers)
        if isinstance(content, bytes | bytearray | memoryview):
            content = _Octets(content)
        self._source = MultipartSource(content, decoder)
        self._client_max_size = client_max_size
        self._max_field_size = max_field_size
        self._max_headers = max_headers
        self._max_size_error_cls = max_size_error_cls
        self._default_charset: str | None = None
        self._last_part: BodyPartReader | None = None
        self._begun = False
        self._at_eof = False
        # The part that this multipart is in, and how many there are around it.
        self._within: BodyPartReader | None = None
        self._depth = 0

    def __repr__(self) -> str:
        state = "at end" if self._at_eof else "open"
        return f"<{type(self).__name__} multipart/{self._subtype} {state}>"

    def __aiter__(self) -> MultipartReader:
        return self

    async def __anext__(self) -> MultipartReader | BodyPartReader:
        part = await self.next()
        if part is None:
            raise StopAsyncIteration
        return part

    @classmethod
    def from_response(cls, response: Response) -> MultipartResponseWrapper:
        """A reader of the response's content, which releases the response at the end."""
        wrapper: MultipartResponseWrapper = cls.response_wrapper_cls(
            response, cls(response.headers, response.content)
        )
        return wrapper

    def at_eof(self) -> bool:
        """Whether the last part was passed."""
        return self._at_eof

    async def next(self) -> MultipartReader | BodyPartReader | None:
        """The next part, a reader if it is multipart itself; None behind the last.

        What was not read of the part before is skipped. In form data, a first field ``_charset_``
        names the default charset of the others (RFC 7578 §4.6) and is not returned. MultipartError
        for what is malformed, ends early, passes a limit, or is nested too deep.
        """
        first = not self._begun
        part = await self.fetch_next_part()
        if (
            first
            and self._subtype == "form-data"
            and isinstance(part, BodyPartReader)
            and part.name == "_charset_"
        ):
            self._default_charset = await _read_charset(part)
            part = await self.fetch_next_part()
        return part

    async def fetch_next_part(self) -> MultipartReader | BodyPartReader | None:
        """The next part, whatever it is; None behind the last."""
        await self._skip_part()
        if self._at_eof:
            return None
        self._begun = True
        event = await self._source.next_event()
        if isinstance(event, PartHead):
            fields: CIMultiDict[str] = CIMultiDict(event.fields)
            return self._make_part(CIMultiDictProxy(fields))
        # The part before has been skipped with its end: nothing else can come.
        self._at_eof = True
        return None

    async def _skip_part(self) -> None:
        # Released, not forgotten, by a call that is cancelled: the next one goes on with it.
        if self._last_part is not None:
            await self._last_part.release()
            self._last_part = None

    def _make_part(self, headers: CIMultiDictProxy[str]) -> MultipartReader | BodyPartReader:
        part = self._last_part = self.part_reader_cls(
            self._boundary,
            headers,
            self._source,
            subtype=self._subtype,
            default_charset=self._default_charset,
            client_max_size=self._client_max_size,
            max_size_error_cls=self._max_size_error_cls,
        )
        if parse_media_type(headers.get("Content-Type", "")).type != "multipart":
            return part
        if self._depth >= MAX_NESTING:
            raise MultipartError(f"multipart is nested more than {MAX_NESTING} levels deep")
        reader_class = self.multipart_reader_cls or type(self)
        try:
            reader = reader_class(
                headers,
                _PartContent(part),
                client_max_size=self._client_max_size,
                max_field_size=self._max_field_size,
                max_headers=self._max_headers,
                max_size_error_cls=self._max_size_error_cls,
            )
        except ValueError as exc:
            raise MultipartError(f"nested multipart cannot be read: {exc}") from exc
        reader._within = part
        reader._depth = self._depth + 1
        return reader

    async def release(self) -> None:
        """Skip all parts that are left."""
        if self._within is not None:
            await self._within.release()
            self._at_eof = True
            return
        while not self._at_eof:
            self._at_eof = isinstance(await self._source.next_event(), MultipartEnd)


async def _read_charset(part: BodyPartReader) -> str:
    charset = b""
    while piece := await part.read_chunk(MAX_CHARSET_NAME):
        charset += piece
        if len(charset) > MAX_CHARSET_NAME:
            raise MultipartError("the value of _charset_ is no charset's name")
    return charset.decode("ascii", "replace").strip()


class MultipartResponseWrapper:
    """A `MultipartReader` of a response, which is released behind the last part."""

    def __init__(self, resp: Response, stream: MultipartReader) -> None:
        self.resp = resp
        self.stream = stream

    def __aiter__(self) -> MultipartResponseWrapper:
        return self

    async def __anext__(self) -> MultipartReader | BodyPartReader:
        part = await self.next()
        if part is None:
            raise StopAsyncIteration
        return part

    def at_eof(self) -> bool:
        """Whether the last part was passed."""
        return self.stream.at_eof()

    async def next(self) -> MultipartReader | BodyPartReader | None:
        """The next part; None behind the last."""
        part = await self.stream.next()
        if part is None:
            await self.release()
        return part

    async def release(self) -> None:
        """Release the response's connection."""
        released = self.resp.release()
        if inspect.isawaitable(released):
            await released


MultipartReader.response_wrapper_cls = MultipartResponseWrapper
