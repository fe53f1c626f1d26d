"""What every body is: `Payload`, the writer that it writes to, and the registry of kinds.

Owns: the contract between a body and whoever sends it. Knows no kind of body, and nothing of
requests or connections.
"""

from __future__ import annotations

import asyncio
import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, TypeAlias

from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiDictProxy

from angelia.core.multipart import serialize_content_disposition

__all__ = (
    "AbstractStreamWriter",
    "BytesLike",
    "Headers",
    "Order",
    "Payload",
    "PayloadRegistry",
    "flat",
)

BytesLike: TypeAlias = bytes | bytearray | memoryview
Headers: TypeAlias = (
    Mapping[str, str]
    | CIMultiDict[str]
    | CIMultiDictProxy[str]
    | MultiDict[str]
    | MultiDictProxy[str]
)


def flat(data: BytesLike) -> BytesLike:
    """`data` as a sequence of octets, which a memoryview need not be."""
    if not isinstance(data, memoryview) or (data.itemsize == 1 and data.ndim == 1):
        return data
    # Items may be larger than an octet, and may not lie side by side.
    return data.cast("B") if data.c_contiguous else data.tobytes()


_CONTENT_TYPE: Final = "Content-Type"
_CONTENT_DISPOSITION: Final = "Content-Disposition"

_COMPRESSED_TYPES: Final = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
}


class AbstractStreamWriter(ABC):
    """Where a body is written to; framing and coding happen behind it.

    `buffer_size` and `output_size` count octets: written and not yet sent, and sent in all.
    `length` is what may still be written, None where that is not bounded. `on_body_write` is called
    with the number of plain octets of each write of the body.
    """

    __slots__ = ()

    buffer_size: int = 0
    output_size: int = 0
    length: int | None = 0
    transport: asyncio.BaseTransport | None = None
    on_body_write: Callable[[int], None] | None = None

    @abstractmethod
    async def write(self, chunk: BytesLike) -> None:
        """Write a piece of the body; suspends while the peer does not keep up."""

    @abstractmethod
    async def write_eof(self, chunk: bytes = b"") -> None:
        """Write the last piece, and end the body."""

    @abstractmethod
    async def drain(self) -> None:
        """Suspend until there is room for more."""

    @abstractmethod
    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        """Code what is written with the content coding `encoding`."""

    @abstractmethod
    def enable_chunking(self) -> None:
        """Frame what is written as chunks."""

    @abstractmethod
    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """Write the head."""

    def send_headers(self) -> None:  # noqa: B027 - a writer that holds nothing back needs no code
        """Send the head now, if it was held back to leave with the first piece of the body."""


class Payload(ABC):
    """A body, and what its headers say of it.

    `value` is what the body is made of; `headers` are copied, and come after `content_type` and
    the type guessed from `filename`. `encoding` is a charset, for kinds that encode text.
    Unknown keyword arguments are ignored, so that one set of them serves every kind.
    """

    __slots__ = (
        "__weakref__",
        "_content_type",
        "_encoding",
        "_filename",
        "_headers",
        "_size",
        "_value",
    )

    _default_content_type: ClassVar[str] = "application/octet-stream"
    _autoclose: ClassVar[bool] = False

    _headers: CIMultiDict[str] | None

    def __init__(
        self,
        value: Any,
        headers: Headers | None = None,
        content_type: str | None = None,
        filename: str | None = None,
        encoding: str | None = None,
        **kwargs: Any,
    ) -> None:
        self._value = value
        self._content_type = content_type
        self._filename = filename
        self._encoding = encoding
        self._size: int | None = None
        self._headers = None
        if headers:
            self.headers.update(headers)

    def __repr__(self) -> str:
        size = "unknown" if self.size is None else self.size
        return f"<{type(self).__name__} {self.content_type} size={size}>"

    @property
    def size(self) -> int | None:
        """Octets that `write` will write; None where that is not known before."""
        return self._size

    @property
    def filename(self) -> str | None:
        """The name of the file that the body is, if it is one."""
        return self._filename

    @property
    def headers(self) -> CIMultiDict[str]:
        """The fields that describe the body; they may be changed."""
        headers = self._headers
        if headers is None:
            headers = self._headers = CIMultiDict({_CONTENT_TYPE: self.content_type})
        return headers

    @property
    def encoding(self) -> str | None:
        """The charset of a text, if one was given."""
        return self._encoding

    @property
    def content_type(self) -> str:
        """The media type: as given, else guessed from the file name, else the kind's default."""
        if self._headers is not None:
            stated = self._headers.get(_CONTENT_TYPE)
            if stated is not None:
                return stated
        if self._content_type is None:
            self._content_type = self._guess_content_type()
        return self._content_type

    def _guess_content_type(self) -> str:
        if self._filename is not None:
            # Costs a millisecond and reads the system's tables: only who needs it pays.
            import mimetypes

            guess, coding = mimetypes.guess_type(self._filename)
            if coding is not None:
                # An archive.tar.gz is gzip; what is inside is not what is sent.
                return _COMPRESSED_TYPES.get(coding, self._default_content_type)
            if guess is not None:
                return guess
        return self._default_content_type

    @property
    def consumed(self) -> bool:
        """Whether the body was written and cannot be written again."""
        return False

    @property
    def reusable(self) -> bool:
        """Whether `write` would now write the whole body, from its first octet."""
        return not self.consumed

    @property
    def autoclose(self) -> bool:
        """Whether there is nothing to release, so that `close` may be left out."""
        return self._autoclose

    def set_content_disposition(
        self,
        disptype: str,
        quote_fields: bool = True,
        _charset: str = "utf-8",
        **params: str,
    ) -> None:
        """Set ``Content-Disposition`` (RFC 6266, RFC 7578 §4.2).

        With `quote_fields` the parameter ``filename`` is percent-encoded and other parameters that
        are not ASCII get the extended notation of RFC 2231; without, all go as quoted strings.
        ValueError for CR, LF, NUL or another control in a value.
        """
        self.headers[_CONTENT_DISPOSITION] = serialize_content_disposition(
            disptype, params, quote_fields=quote_fields, charset=_charset
        )

    @abstractmethod
    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text; TypeError where that would have to wait for data."""

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """The whole body; `encoding` and `errors` are for kinds that hold text."""
        return self.decode(encoding, errors).encode(encoding, errors)

    @abstractmethod
    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the whole body to `writer`, from its first octet.

        ClientPayloadError where it cannot be written, because it was before, or came out shorter
        than `size`.
        """

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Write the body, but at most `content_length` octets; None is no bound.

        The kinds here keep the bound; this default for kinds from elsewhere does not know how.
        """
        await self.write(writer)

    async def close(self) -> None:  # noqa: B027 - most kinds hold nothing
        """Release what the body holds, such as a file; more than one call is fine."""


class Order(enum.Enum):
    """When a kind is tried for a value: before, among or after the others."""

    normal = "normal"
    try_first = "try_first"
    try_last = "try_last"


PayloadFactory: TypeAlias = Callable[..., Payload]


class PayloadRegistry:
    """Which kind of `Payload` to make of a value of a type.

    Of kinds registered with `Order.normal`, the one for the nearest class wins, and the later of
    two for the same. Abstract types come after those, as registered.
    """

    __slots__ = ("_exact", "_first", "_last", "_normal")

    def __init__(self) -> None:
        self._exact: dict[type, PayloadFactory] = {}
        self._first: list[tuple[PayloadFactory, Any]] = []
        self._normal: list[tuple[PayloadFactory, Any]] = []
        self._last: list[tuple[PayloadFactory, Any]] = []

    def register(self, factory: PayloadFactory, type: Any, *, order: Order = Order.normal) -> None:
        """Make `factory` serve values of `type`: a class or a tuple of classes."""
        if order is Order.try_first:
            self._first.append((factory, type))
        elif order is Order.try_last:
            self._last.append((factory, type))
        elif order is Order.normal:
            self._normal.append((factory, type))
            for cls in type if isinstance(type, tuple) else (type,):
                self._exact[cls] = factory
        else:
            raise ValueError(f"not an Order: {order!r}")

    def get(self, data: Any, *args: Any, **kwargs: Any) -> Payload:
        """The payload of `data`, which a `Payload` is itself; LookupError if there is no kind."""
        if not self._first:
            exact = self._exact.get(type(data))
            if exact is not None:
                return exact(data, *args, **kwargs)
        if isinstance(data, Payload):
            return data
        for factory, cls in self._first:
            if isinstance(data, cls):
                return factory(data, *args, **kwargs)
        for base in type(data).__mro__:
            nearest = self._exact.get(base)
            if nearest is not None:
                return nearest(data, *args, **kwargs)
        for kinds in (self._normal, self._last):
            for factory, cls in kinds:
                if isinstance(data, cls):
                    return factory(data, *args, **kwargs)
        raise LookupError(f"no payload can be made of {type(data).__name__}")
