"""WSGIResponse: what an application said with ``start_response``, checked; and its files.

Owns: the rules of PEP 3333 for status and fields, how they become a head. Framing is the core's.
Knows nothing of threads.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, Protocol, Self
from wsgiref.util import is_hop_by_hop

from multidict import CIMultiDict

from angelia.core.interface import HttpVersion11, ResponseHead
from angelia.errors import LocalProtocolError
from angelia.server.ready_heads import SERVER, http_now
from angelia.server.stream_response import StreamResponse, has_no_content

if TYPE_CHECKING:
    from angelia.server.request import Request

__all__ = ("FileWrapper", "RealFile", "WSGIResponse", "make_response", "real_file")

# More digits are no length that anybody means.
MAX_LENGTH_DIGITS: Final = 18
_DIGITS: Final = frozenset("0123456789")


class WSGIResponse(StreamResponse):
    """A response with exactly the fields that the application gave, and those that HTTP needs."""

    __slots__ = ("_names", "_pairs", "body", "length")

    def __init__(
        self, status: int, reason: str, pairs: list[tuple[str, str]], length: int | None
    ) -> None:
        super().__init__(status=status, reason=reason)
        self._pairs = pairs
        self._names = {name.lower() for name, _ in pairs}
        # The announced length of the content.
        self.length = length
        # The whole content, or what is left of it to send.
        self.body = b""

    @property
    def headers(self) -> CIMultiDict[str]:
        """The fields that the application gave."""
        headers = self._headers
        if headers is None:
            headers = self._headers = CIMultiDict(self._pairs)
        return headers

    def has_content(self, method: str) -> bool:
        """Whether content may be sent in answer to such a request."""
        return method != "HEAD" and not has_no_content(self._status)

    def _make_head(self, request: Request, length: int | None) -> ResponseHead:
        pairs, names = self._pairs.copy(), self._names
        status = self._status
        if has_no_content(status):
            # RFC 9110 §8.6: only 304 may tell what a 200 would have had; 205 is told to be empty.
            if status != 304 and "content-length" in names:
                pairs = [pair for pair in pairs if pair[0].lower() != "content-length"]
        elif "content-length" not in names:
            if length is not None:
                pairs.append(("Content-Length", str(length)))
            elif request.version is HttpVersion11 and request.method != "HEAD":
                pairs.append(("Transfer-Encoding", "chunked"))
        if "date" not in names:
            pairs.append(("Date", http_now()))
        if "server" not in names:
            pairs.append(("Server", SERVER))
        if self._force_close or not request.keep_alive:
            pairs.append(("Connection", "close"))
        return ResponseHead(status, self._reason, pairs, HttpVersion11)

    async def send(self, request: Request, data: bytes, length: int | None = None) -> None:
        """Send the head, if that has not been done, and a piece of the content.

        `length`: of the whole content, where it is known and not announced. ValueError for what
        breaks the framing, OSError where the client has gone.
        """
        if self._exchange is None:
            self._begin(request, length)
        await self.write(data)

    async def _answer(self, request: Request) -> None:
        body, self.body = self.body, b""
        exchange = request._exchange
        if self._exchange is None and self.has_content(request.method):
            try:
                exchange.send_whole(self._make_head(request, len(body)), body)
            except LocalProtocolError as error:
                raise ValueError(str(error)) from error
            self._exchange = exchange
            self._ended = True
            self.body_length = len(body)
            await exchange.drain()
            return
        if self._exchange is None:
            # What a GET would have got is known only where there is something.
            self._begin(request, len(body) or None)
        await self.write_eof(b"" if self._is_head else body)


def make_response(status: str, headers: list[tuple[str, str]]) -> WSGIResponse:
    """The response that an application begins.

    TypeError and ValueError where PEP 3333 forbids what it gave.
    """
    if type(status) is not str:
        raise TypeError(f"a status is a str, not {status!r}")
    code, _, reason = status.partition(" ")
    if len(code) != 3 or not set(code) <= _DIGITS or code[0] == "1":
        raise ValueError(f"not the status of a response: {status!r}")
    if type(headers) is not list:
        raise TypeError(f"headers are a list, not {type(headers).__name__}")
    pairs: list[tuple[str, str]] = []
    length: int | None = None
    for field in headers:
        name, value = _pair(field)
        # PEP 3333 "Other HTTP Features": the connection is the server's.
        if is_hop_by_hop(name):
            raise ValueError(f"an application has no say in {name}")
        if name.lower() == "content-length":
            if length is not None:
                raise ValueError("two lengths")
            length = _length(value)
        pairs.append((name, _text(value)))
    return WSGIResponse(int(code), _text(reason), pairs, length)


def _pair(field: object) -> tuple[str, str]:
    match field:
        case (str(name), str(value)) if type(field) is tuple:
            return name, value
    raise TypeError(f"a header is a tuple of two str, not {field!r}")


def _length(value: str) -> int:
    text = value.strip(" \t")
    if not 0 < len(text) <= MAX_LENGTH_DIGITS or not set(text) <= _DIGITS:
        raise ValueError(f"not a length: {value!r}")
    return int(text)


def _text(value: str) -> str:
    """What PEP 3333 has as a character for each octet, as the core has it; ValueError beyond."""
    if value.isascii():
        return value
    return value.encode("latin-1").decode("utf-8", "surrogateescape")


# --- files -------------------------------------------------------------------------------------


class Readable(Protocol):
    """What a `FileWrapper` wraps."""

    def read(self, size: int, /) -> bytes: ...


class FileWrapper:
    """``wsgi.file_wrapper``: an iterable over a file, which the system sends if it can.

    That needs the wrapper itself as the application's result, and a regular file in it.
    """

    __slots__ = ("block_size", "filelike")

    def __init__(self, filelike: Readable, block_size: int = 8192) -> None:
        self.filelike = filelike
        self.block_size = block_size

    def __iter__(self) -> Self:
        # An iterator, not a function that yields: whoever asks for one closes it in our place.
        return self

    def __next__(self) -> bytes:
        block = self.filelike.read(self.block_size)
        if not block:
            raise StopIteration
        return block

    def close(self) -> None:
        """Close the file, if it can be closed."""
        close: Callable[[], None] | None = getattr(self.filelike, "close", None)
        if close is not None:
            close()


class RealFile(NamedTuple):
    """A regular file that is open, and what of it is to be sent."""

    file: BinaryIO
    start: int
    size: int


def real_file(filelike: Any) -> RealFile | None:
    """The regular file behind an object with `read`; None where it could be anything else."""
    # tempfile's wrappers. Anything else with a `fileno` may change what comes out of the
    # descriptor, as gzip's files do.
    candidate = getattr(filelike, "file", filelike)
    raw = getattr(candidate, "raw", candidate)
    if type(raw) is not io.FileIO:
        return None
    if candidate is not raw and type(candidate) not in (io.BufferedReader, io.BufferedRandom):
        return None
    try:
        facts = os.fstat(candidate.fileno())
        if not stat.S_ISREG(facts.st_mode):
            return None
        start = candidate.tell()
    except (OSError, ValueError):
        return None
    return RealFile(candidate, start, max(facts.st_size - start, 0))
