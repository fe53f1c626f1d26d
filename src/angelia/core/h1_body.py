"""HTTP/1.1 content: how long it is (RFC 9112 §6.3), and the readers and writers that follow from it.

Owns: framing decisions, the chunked coding, trailer fields. Knows nothing of connections, roles or
sockets. A reader takes octets and appends events; a writer takes octets of content and returns what
goes on the wire. The reader object *is* the state of a receiving half while content comes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Protocol

from angelia.core.h1_wire import HeadLimits, excerpt, find_head_end, parse_fields
from angelia.core.interface import Buffer, Content, End, Event, Special
from angelia.errors import (
    ContentError,
    HeadError,
    IncompleteContent,
    LineTooLong,
    LocalProtocolError,
)

__all__ = (
    "ChunkedReader",
    "ChunkedWriter",
    "ContentReader",
    "ContentWriter",
    "EofReader",
    "SizedReader",
    "SizedWriter",
    "UnframedWriter",
    "parse_content_length",
    "response_reader",
    "tokens",
)

# 2**63 - 1 has 19 digits. Longer ones are refused before int() sees them: it is quadratic.
MAX_LENGTH_DIGITS: Final = 19
MAX_LENGTH: Final = 2**63 - 1

# 16 hex digits are 64 bits; no peer has a reason to send more, leading zeros included.
MAX_CHUNK_SIZE_DIGITS: Final = 16

_DIGITS: Final = re.compile(r"[0-9]+")
# RFC 9112 §7.1: hex digits, then an extension that we skip. The blanks before it are the "bad
# whitespace" of §7.1.1, which is to be accepted. No control characters but TAB.
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")


def _values(special: Special, name: str) -> list[str]:
    value = special.get(name)
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


def tokens(special: Special, name: str) -> list[str]:
    """The lower-case members of a list field, over all its field lines (RFC 9110 §5.6.1)."""
    joined = ",".join(_values(special, name))
    return [token for part in joined.split(",") if (token := part.strip(" \t").lower())]


def parse_content_length(values: Sequence[str]) -> int:
    """The announced length; HeadError where it is not one clear number."""
    members = {part.strip(" \t") for value in values for part in value.split(",")}
    # RFC 9112 §6.3 (5): the same number several times may be taken as that number; anything else
    # is an unrecoverable error.
    if len(members) != 1:
        raise HeadError(f"several lengths in Content-Length: {excerpt(', '.join(values))}")
    text = members.pop()
    if not _DIGITS.fullmatch(text):
        raise HeadError(f"Content-Length is not a number: {excerpt(text)}")
    if len(text) > MAX_LENGTH_DIGITS or (length := int(text)) > MAX_LENGTH:
        raise HeadError(f"Content-Length is beyond 2**63: {excerpt(text)}")
    return length


class ContentReader(Protocol):
    """Turns octets into `Content` and `End` events."""

    done: bool
    """Whether the message is over."""

    until_eof: bool
    """Whether the content lasts until the connection ends."""

    def receive(self, stream_id: int, data: bytes, start: int, events: list[Event]) -> int:
        """Read `data` from `start`; return up to where it was understood.

        What is left when the reader is not `done` begins a line that is still incomplete: the
        caller keeps it and presents it again with what follows.
        """

    def receive_eof(self, stream_id: int, events: list[Event]) -> None:
        """The connection ended; ContentError where that is too early."""


def response_reader(
    status: int, method: str, special: Special, limits: HeadLimits, *, read_until_eof: bool
) -> ContentReader:
    """How the content of a final response is read (RFC 9112 §6.3, in its order)."""
    # (1) No content, whatever the fields say.
    if status == 204 or status == 304 or method == "HEAD":
        return SizedReader(0)
    # (2), a tunnel, is no content: the connection settles it before.
    value = special.get("content-length")
    if "transfer-encoding" in special:
        # (3) A server that sends both asks two readers to disagree: refused, not repaired.
        if value is not None:
            raise HeadError("both Transfer-Encoding and Content-Length")
        return _coded_reader(tokens(special, "transfer-encoding"), limits)
    if value is not None:
        if type(value) is str and value.isdigit() and value.isascii() and len(value) < 19:
            return SizedReader(int(value))
        return SizedReader(parse_content_length([value] if isinstance(value, str) else value))
    # (8) Neither: the content lasts as long as the connection.
    return EofReader() if read_until_eof else UnreadReader()


def _coded_reader(codings: list[str], limits: HeadLimits) -> ContentReader:
    if "chunked" not in codings:
        return EofReader()
    # RFC 9112 §6.1: chunked is applied once and last. We never ask for another transfer coding in
    # TE, so none may come beside it.
    if codings != ["chunked"]:
        raise HeadError(f"transfer coding not understood: {excerpt(', '.join(codings))}")
    return ChunkedReader(limits)


class SizedReader:
    """Content of a known length."""

    __slots__ = ("done", "length", "remaining")

    until_eof = False

    def __init__(self, length: int) -> None:
        self.length = length
        self.remaining = length
        self.done = False

    def receive(self, stream_id: int, data: bytes, start: int, events: list[Event]) -> int:
        size = len(data)
        remaining = self.remaining
        end = start + remaining
        if size < end:
            if start < size:
                self.remaining = end - size
                # The transport's own buffer where it can be: a large body is not copied.
                events.append(Content(stream_id, data[start:] if start else data))
            return size
        if remaining:
            self.remaining = 0
            whole = start == 0 and end == size
            events.append(Content(stream_id, data if whole else data[start:end]))
        self.done = True
        events.append(End(stream_id))
        return end

    def receive_eof(self, stream_id: int, events: list[Event]) -> None:
        raise IncompleteContent(self.length - self.remaining, self.length)


class UnreadReader(SizedReader):
    """Content of unknown length that nobody is to read: taken for empty."""

    __slots__ = ()

    until_eof = True

    def __init__(self) -> None:
        super().__init__(0)


class EofReader:
    """Content that lasts until the connection ends; also what follows an upgrade or a CONNECT."""

    __slots__ = ("done",)

    until_eof = True

    def __init__(self) -> None:
        self.done = False

    def receive(self, stream_id: int, data: bytes, start: int, events: list[Event]) -> int:
        if start < len(data):
            events.append(Content(stream_id, data[start:] if start else data))
        return len(data)

    def receive_eof(self, stream_id: int, events: list[Event]) -> None:
        self.done = True
        events.append(End(stream_id))


class ChunkedReader:
    """The chunked transfer coding (RFC 9112 §7.1), with limits on all that is not content."""

    __slots__ = ("_expect", "_limits", "_received", "_remaining", "done")

    until_eof = False

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        self._remaining = 0
        self._received = 0
        self._expect = self._receive_size
        self.done = False

    def receive(self, stream_id: int, data: bytes, start: int, events: list[Event]) -> int:
        position = start
        size = len(data)
        while position < size and not self.done:
            moved = self._expect(stream_id, data, position, events)
            if moved == position:
                break
            position = moved
        return position

    def receive_eof(self, stream_id: int, events: list[Event]) -> None:
        raise IncompleteContent(self._received, None)

    def _receive_size(self, stream_id: int, data: bytes, start: int, events: list[Event]) -> int:
        limit = self._limits.max_line_size
        newline = data.find(b"\n", start, start + limit + 2)
        if newline < 0:
            if len(data) - start > limit:
                raise LineTooLong(f"chunk size line is longer than {limit} bytes", limit=limit)
            self._refuse_early(data, start)
            return start
        line = data[start:newline]
        if line.endswith(b"\r"):
            line = line[:-1]
        elif not self._limits.lenient:
            raise ContentError(f"chunk size line ends with a bare LF: {excerpt(line)}")
        self._remaining = size = self._parse_size(line)
        # The last chunk has size 0 and no data; the trailer section follows (§7.1.2).
        self._expect = self._receive_data if size else self._receive_trailers
        return newline + 1

    def _refuse_early(self, data: bytes, start: int) -> None:
        # A first byte that cannot begin a chunk size is an error at once, not a wait for a line.
        if start < len(data) and not _CHUNK_LINE.match(data, start, start + 1):
            raise ContentError(f"not a chunk size: {excerpt(data[start : start + 32])}")

    def _parse_size(self, line: bytes) -> int:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise ContentError(f"not a chunk size: {excerpt(line)}")
        digits = match[1]
        if len(digits) > MAX_CHUNK_SIZE_DIGITS or (size := int(digits, 16)) > MAX_LENGTH:
            raise ContentError(f"chunk size is beyond 2**63: {excerpt(digits)}")
        return size

    def _receive_data(self, stream_id: int, data: bytes, start: int, events: list[Event]) -> int:
        remaining = self._remaining
        end = start + remaining
        size = len(data)
        if size < end:
            self._remaining = end - size
            self._received += size - start
            events.append(Content(stream_id, data[start:] if start else data))
            return size
        self._received += remaining
        self._remaining = 0
        events.append(Content(stream_id, data[start:end], True))
        self._expect = self._receive_data_end
        # The common case, CRLF at hand, without another turn.
        if data.startswith(b"\r\n", end):
            self._expect = self._receive_size
            return end + 2
        return end

    def _receive_data_end(
        self, stream_id: int, data: bytes, start: int, events: list[Event]
    ) -> int:
        if data.startswith(b"\r\n", start):
            self._expect = self._receive_size
            return start + 2
        if data[start:] == b"\r":
            return start
        raise ContentError(f"chunk data not followed by CRLF: {excerpt(data[start : start + 8])}")

    def _receive_trailers(
        self, stream_id: int, data: bytes, start: int, events: list[Event]
    ) -> int:
        if data.startswith(b"\r\n", start):
            self._end(stream_id, (), events)
            return start + 2
        limits = self._limits
        end = find_head_end(data, start, limits)
        if end < 0:
            return start
        trailers = parse_fields(data[start:end], limits)
        self._end(stream_id, trailers, events)
        return end

    def _end(
        self, stream_id: int, trailers: Sequence[tuple[str, str]], events: list[Event]
    ) -> None:
        self.done = True
        events.append(End(stream_id, trailers))


class ContentWriter(Protocol):
    """Frames octets of content for the wire."""

    def send(self, data: Buffer, *, end: bool) -> list[Buffer]:
        """The octets that go out for `data`; LocalProtocolError where it breaks the framing."""


class SizedWriter:
    """Content of an announced length: never more, never less (RFC 9110 §8.6)."""

    __slots__ = ("length", "remaining")

    def __init__(self, length: int) -> None:
        self.length = length
        self.remaining = length

    def send(self, data: Buffer, *, end: bool) -> list[Buffer]:
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        remaining = self.remaining - size
        if remaining < 0:
            raise LocalProtocolError(
                f"content is longer than its Content-Length of {self.length} bytes"
            )
        if end and remaining:
            raise LocalProtocolError(
                f"content ends {remaining} bytes short of its Content-Length of {self.length}"
            )
        self.remaining = remaining
        return [data] if size else []


class ChunkedWriter:
    """The chunked transfer coding; an empty piece of content is no chunk."""

    __slots__ = ()

    def send(self, data: Buffer, *, end: bool) -> list[Buffer]:
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        wire: list[Buffer] = []
        if size:
            wire = [b"%x\r\n" % size, data, b"\r\n"]
        if end:
            wire.append(b"0\r\n\r\n")
        return wire


class UnframedWriter:
    """Content that the end of the connection ends; also another protocol after an upgrade."""

    __slots__ = ()

    def send(self, data: Buffer, *, end: bool) -> list[Buffer]:
        return [data] if len(data) else []
