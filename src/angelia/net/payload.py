"""Bodies: what a user gives as `data`, made into a `Payload` by `get_payload`.

Owns: the kinds of body in memory and from asynchronous sources, and the registry of all kinds.
Knows nothing of requests or connections.

A body is written from its first octet each time. One that cannot be (an iterator that has begun, a
pipe) raises `ClientPayloadError` instead of sending a part of itself.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any, ClassVar, Final, Protocol, TypeVar, runtime_checkable

from angelia.errors import ClientPayloadError
from angelia.net.payload_base import (
    AbstractStreamWriter,
    BytesLike,
    Order,
    Payload,
    PayloadRegistry,
    flat,
)
from angelia.net.payload_files import (
    READ_SIZE,
    BufferedReaderPayload,
    BytesIOPayload,
    IOBasePayload,
    TextIOPayload,
    charset_and_type,
)
from angelia.net.streams import StreamReader

__all__ = (
    "PAYLOAD_REGISTRY",
    "READ_SIZE",
    "AbstractStreamWriter",
    "AsyncIterablePayload",
    "BufferedReaderPayload",
    "BytesIOPayload",
    "BytesPayload",
    "IOBasePayload",
    "JsonPayload",
    "Order",
    "Payload",
    "PayloadRegistry",
    "StreamReaderPayload",
    "StreamerPayload",
    "StringIOPayload",
    "StringPayload",
    "TextIOPayload",
    "get_payload",
    "payload_type",
    "streamer",
)

P = TypeVar("P", bound=Payload)


class BytesPayload(Payload):
    """A body in memory: bytes, bytearray or memoryview. `size` is in octets for each."""

    __slots__ = ()

    _autoclose: ClassVar[bool] = True

    def __init__(self, value: BytesLike, *args: Any, **kwargs: Any) -> None:
        if type(value) is bytes and not args and not kwargs:
            # Most bodies: what `Payload.__init__` does, without the call.
            self._value = value
            self._headers = None
            self._content_type = self._filename = self._encoding = None
            self._size = len(value)
            return
        if not isinstance(value, bytes | bytearray | memoryview):
            raise TypeError(f"value must be bytes-like, not {type(value).__name__}")
        value = flat(value)
        super().__init__(value, *args, **kwargs)
        self._size = len(value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return bytes(self._value).decode(encoding, errors)

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """The body as it is; `encoding` and `errors` have no meaning here."""
        return bytes(self._value)

    async def write(self, writer: AbstractStreamWriter) -> None:
        await writer.write(self._value)

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        if content_length is None or content_length >= len(self._value):
            await writer.write(self._value)
        else:
            await writer.write(self._value[:content_length])


class StringPayload(BytesPayload):
    """A text, encoded with `encoding`, by default the charset of `content_type`, else UTF-8."""

    __slots__ = ()

    def __init__(
        self,
        value: str,
        *args: Any,
        encoding: str | None = None,
        content_type: str | None = None,
        **kwargs: Any,
    ) -> None:
        encoding, content_type = charset_and_type(encoding, content_type)
        super().__init__(
            value.encode(encoding), *args, encoding=encoding, content_type=content_type, **kwargs
        )


class StringIOPayload(StringPayload):
    """The text of a `StringIO` from its position on, which moves to the end."""

    __slots__ = ()

    def __init__(self, value: io.StringIO, *args: Any, **kwargs: Any) -> None:
        super().__init__(value.read(), *args, **kwargs)


class JsonPayload(BytesPayload):
    """`value` as JSON, by `dumps`, whose str is encoded with `encoding`; bytes go as they are."""

    __slots__ = ()

    def __init__(
        self,
        value: Any,
        encoding: str = "utf-8",
        content_type: str = "application/json",
        dumps: Callable[[Any], str | bytes] = json.dumps,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        text = dumps(value)
        octets = text.encode(encoding) if isinstance(text, str) else text
        super().__init__(octets, *args, content_type=content_type, encoding=encoding, **kwargs)


class AsyncIterablePayload(Payload):
    """What an asynchronous iterable of bytes yields; its size is unknown.

    It can be written once, unless `as_bytes` has gathered it before: whether an iterable begins
    anew each time cannot be known, and a part of a body must not go out as the whole.
    """

    __slots__ = ("_finished", "_gathered", "_iterator")

    def __init__(self, value: AsyncIterable[BytesLike], *args: Any, **kwargs: Any) -> None:
        if not isinstance(value, AsyncIterable):
            raise TypeError(f"value must be an async iterable, not {type(value).__name__}")
        super().__init__(value, *args, **kwargs)
        self._iterator: AsyncIterator[BytesLike] | None = None
        self._gathered: bytes | None = None
        self._finished = False

    @property
    def consumed(self) -> bool:
        return self._gathered is None and (self._finished or self._iterator is not None)

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        if self._gathered is not None:
            await writer.write(self._gathered[:content_length])
            return
        left = content_length
        async for item in self._begin():
            if not isinstance(item, bytes | bytearray | memoryview):
                raise TypeError(f"body yielded {type(item).__name__}, not bytes")
            piece = flat(item)
            if left is not None:
                if len(piece) > left:
                    piece = memoryview(piece)[:left]
                left -= len(piece)
            # An empty piece would be the chunk that ends a chunked body.
            if piece:
                await writer.write(piece)
            if left == 0:
                break

    def _begin(self) -> AsyncIterator[BytesLike]:
        if self.consumed:
            raise ClientPayloadError("the body's iterator was used before, and cannot begin again")
        self._iterator = aiter(self._value)
        return self._iterator

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The text of a body that `as_bytes` has gathered, else TypeError."""
        if self._gathered is None:
            raise TypeError("an asynchronous body has no text before as_bytes has gathered it")
        return self._gathered.decode(encoding, errors)

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """All pieces joined; they are kept, so that the body can be written after this."""
        if self._gathered is None:
            self._gathered = b"".join([bytes(piece) async for piece in self._begin()])
        return self._gathered

    async def close(self) -> None:
        """Close an asynchronous generator, so that its ``finally`` runs now; once."""
        if self._finished:
            return
        self._finished = True
        close = getattr(self._iterator or self._value, "aclose", None)
        if close is not None:
            await close()


class StreamReaderPayload(AsyncIterablePayload):
    """What comes through a `StreamReader`, as it comes."""

    __slots__ = ()

    def __init__(self, value: StreamReader, *args: Any, **kwargs: Any) -> None:
        super().__init__(value.iter_any(), *args, **kwargs)


class _Stream:
    """A call of a `streamer`, which waits for the writer."""

    __slots__ = ("_args", "_coro", "_kwargs")

    def __init__(
        self, coro: Callable[..., Awaitable[None]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._coro = coro
        self._args = args
        self._kwargs = kwargs

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self._coro(writer, *self._args, **self._kwargs)


class streamer:  # noqa: N801 - the documented name
    """Deprecated: decorates a coroutine function that gets a writer and writes the body to it.

    An asynchronous generator does the same, and keeps bounds.
    """

    __slots__ = ("_coro",)

    def __init__(self, coro: Callable[..., Awaitable[None]]) -> None:
        warnings.warn(
            "streamer is deprecated, use an asynchronous generator",
            DeprecationWarning,
            stacklevel=2,
        )
        self._coro = coro

    def __call__(self, *args: Any, **kwargs: Any) -> _Stream:
        return _Stream(self._coro, args, kwargs)


class StreamerPayload(Payload):
    """What a `streamer` writes; each writing calls it anew."""

    __slots__ = ()

    def __init__(self, value: streamer | _Stream, *args: Any, **kwargs: Any) -> None:
        super().__init__(value() if isinstance(value, streamer) else value, *args, **kwargs)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """TypeError: the text is not known before it is written."""
        raise TypeError("a streamer's body has no text before it is written")

    async def write(self, writer: AbstractStreamWriter) -> None:
        stream: _Stream = self._value
        await stream.write(writer)


@runtime_checkable
class _FileWrapper(Protocol):
    """The wrappers of `tempfile`, which are no `IOBase`, and whose methods are their file's."""

    file: Any
    name: Any


def _wrapped_file(value: _FileWrapper, *args: Any, **kwargs: Any) -> Payload:
    """The body from a wrapper: of what the file in it reads."""
    factory = TextIOPayload if isinstance(value.file, io.TextIOBase) else IOBasePayload
    return factory(value, *args, **kwargs)


PAYLOAD_REGISTRY: Final = PayloadRegistry()
PAYLOAD_REGISTRY.register(BytesPayload, (bytes, bytearray, memoryview))
PAYLOAD_REGISTRY.register(StringPayload, str)
PAYLOAD_REGISTRY.register(BytesIOPayload, io.BytesIO)
PAYLOAD_REGISTRY.register(StringIOPayload, io.StringIO)
PAYLOAD_REGISTRY.register(BufferedReaderPayload, (io.BufferedReader, io.BufferedRandom))
PAYLOAD_REGISTRY.register(TextIOPayload, (io.TextIOWrapper, io.TextIOBase))
PAYLOAD_REGISTRY.register(StreamReaderPayload, StreamReader)
PAYLOAD_REGISTRY.register(IOBasePayload, io.IOBase)
PAYLOAD_REGISTRY.register(StreamerPayload, (streamer, _Stream))
PAYLOAD_REGISTRY.register(AsyncIterablePayload, AsyncIterable, order=Order.try_last)
PAYLOAD_REGISTRY.register(_wrapped_file, _FileWrapper, order=Order.try_last)


def get_payload(data: Any, *args: Any, **kwargs: Any) -> Payload:
    """The body that `data` is; a `Payload` is returned as it is.

    Other arguments go to the kind that the registry has for `data`. LookupError if it has none.
    """
    return PAYLOAD_REGISTRY.get(data, *args, **kwargs)


class payload_type:  # noqa: N801 - the documented name
    """Decorates a `Payload` class that serves values of `type`."""

    __slots__ = ("order", "type")

    def __init__(self, type: Any, *, order: Order = Order.normal) -> None:
        self.type = type
        self.order = order

    def __call__(self, factory: type[P]) -> type[P]:
        PAYLOAD_REGISTRY.register(factory, self.type, order=self.order)
        return factory
