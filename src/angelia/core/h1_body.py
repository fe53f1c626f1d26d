"""HTTP/1.1 content: how long it is (RFC 9112 §6.3), and its readers and writers.

Owns: framing decisions, the chunked coding, trailer fields. Knows nothing of connections, roles or
sockets. A reader takes octets and appends events; a writer takes octets of content and returns what
goes on the wire. The reader object *is* the state of a receiving half while content comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

from angelia.core.fields import is_token
from angelia.core.h1_wire import HeadLimits, excerpt, parse_fields
from angelia.core.interface import Buffer, Content, End, Event, Special
from angelia.core.patterns import lazy
from angelia.errors import (
    ContentError,
    HeadError,
    IncompleteContent,
    LocalProtocolError,
)

__all__ = (
    "ChunkedReader",
    "ChunkedWriter",
    "ContentReader",
    "ContentWriter",
    "EofReader",
    "HeldWriter",
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

_DIGITS: Final = lazy(r"[0-9]+")
# RFC 9112 §7.1: hex digits, then an extension that we skip. The blanks before it are the "bad
# whitespace" of §7.1.1, which is to be accepted. No control characters but TAB, and CRLF at the end
# in lenient mode too: §2.2 forgives a bare LF to start lines and fields only, and one that another
# reader takes for a part of the extension would set the two of us apart.
_CHUNK_LINE: Final = lazy(rb"([0-9A-Fa-f]+)[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")
# How such a line may begin: its first octets, as many as a size and a blank can have.
_CHUNK_LINE_START: Final = lazy(
    rb"[0-9A-Fa-f]{1,%d}(?:[ \t]*|[ \t]*;[\t\x20-\x7e\x80-\xff]*)\r?" % MAX_CHUNK_SIZE_DIGITS
)


def _values(special: Special, name: str) -> list[str]:
    value = special.get(name)
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


def tokens(special: Special, name: str) -> list[str]:
    """The lower-case members of a list field, over all its field lines (RFC 9110 §5.6.1)."""
    return [token for token in _members(special, name) if token]


def _members(special: Special, name: str) -> list[str]:
    joined = ",".join(_values(special, name))
    # str.lower() makes ASCII letters of others: the Kelvin sign is no K of "chunked".
    if joined.isascii():
        joined = joined.lower()
    return [part.strip(" \t") for part in joined.split(",")]


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
    """Turns octets into `Content` and `End` events.

    A reader keeps what it needs of octets that it has received, and no more than its limits allow.
    """

    done: bool
    """Whether the message is over."""

    until_eof: bool
    """Whether the content lasts until the connection ends."""

    def receive(self, stream_id: int, data: bytes, start: int, events: list[Event]) -> int:
        """Read `data` from `start`; return where the message ends in it, or its length.

        ContentError for what is no content of this kind.
        """

    def receive_eof(self, stream_id: int, events: list[Event]) -> None:
        """The connection ended; ContentError where that is too early."""


def response_reader(
    status: int, method: str, special: Special, limits: HeadLimits, *, read_until_eof: bool
) -> ContentReader:
    """How the content of a final response is read (RFC 9112 §6.3, in its order)."""
    # (1) No content, whatever the fields say.
    if method == "HEAD" or status in (204, 304):
        return SizedReader(0)
    # (2), a tunnel, is no content: the connection settles it before.
    value = special.get("content-length")
    if "transfer-encoding" in special:
        # (3) A server that sends both asks two readers to disagree: refused, not repaired.
        if value is not None:
            raise HeadError("both Transfer-Encoding and Content-Length")
        if _is_chunked(_members(special, "transfer-encoding")):
            return ChunkedReader(limits)
    elif value is not None:
        if type(value) is str and value.isdigit() and value.isascii() and len(value) < 19:
            return SizedReader(int(value))
        values = [value] if isinstance(value, str) else value
        if not limits.lenient and (len(values) > 1 or "," in values[0]):
            raise HeadError(f"more than one Content-Length: {excerpt(', '.join(values))}")
        return SizedReader(parse_content_length(values))
    # (4) Another last coding, or (8) neither field: the content lasts as long as the connection.
    return EofReader() if read_until_eof else UnreadReader()


def _is_chunked(codings: list[str]) -> bool:
    """Whether chunked delimits the content; HeadError where that is not clear."""
    if codings == ["chunked"]:
        return True
    # RFC 9112 §6.1: chunked is applied once and last. RFC 9110 §10.1.4: we ask for no other coding
    # in TE, so none may come before it. And what is no coding, or one that looks like chunked, is
    # somebody's try to be read in two ways.
    for coding in codings:
        name = coding.partition(";")[0].rstrip(" \t")
        odd = "chunked" in coding and coding != "chunked"
        # Nor an empty one, that RFC 9110 §5.6.1.2 would have us skip: parsers in wide use take
        # "chunked," for another last coding.
        if odd or not is_token(name):
            raise HeadError(f"not a transfer coding: {excerpt(coding)}")
    if codings[-1] == "chunked" or codings.count("chunked") > 1:
        raise HeadError(f"transfer coding not understood: {excerpt(', '.join(codings))}")
    return False


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

    __slots__ = ("_expect", "_limits", "_line", "_received", "_remaining", "_trailers", "done")

    until_eof = False

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        self._remaining = 0
        self._received = 0
        # The start of a line that is not here as a whole yet.
        self._line = bytearray()
        self._trailers = bytearray()
        # The function, not the method bound to this object: that would be a reference cycle.
        self._expect: _Step = ChunkedReader._receive_size
        self.done = False

    def receive(self, stream_id: int, data: bytes, start: int, events: list[Event]) -> int:
        size = len(data)
        while start < size and not self.done:
            start = self._expect(self, stream_id, data, start, events)
        return start

    def receive_eof(self, stream_id: int, events: list[Event]) -> None:
        raise IncompleteContent(self._received, None)

    # Each step takes one octet at least, and returns where the next one begins.

    def _receive_size(self, stream_id: int, data: bytes, start: int, events: list[Event]) -> int:
        # The common case: the whole line is here.
        match = None if self._line else _CHUNK_LINE.match(data, start)
        if match is not None:
            end = match.end()
        else:
            line, end = self._take_line(data, start, self._limits.max_line_size)
            match = _CHUNK_LINE.fullmatch(line)
            if match is None:
                self._check_partial(line)
                return end
        if end - start > self._limits.max_line_size + 2:
            raise self._line_too_long(data[start:end], self._limits.max_line_size)
        digits = match[1]
        if len(digits) > MAX_CHUNK_SIZE_DIGITS or (size := int(digits, 16)) > MAX_LENGTH:
            raise ContentError(f"chunk size is beyond 2**63: {excerpt(digits)}")
        self._remaining = size
        # The last chunk has size 0 and no data; the trailer section follows (§7.1.2).
        self._expect = ChunkedReader._receive_data if size else ChunkedReader._receive_trailers
        return end

    def _take_line(self, data: bytes, start: int, limit: int) -> tuple[bytes, int]:
        """The line with its LF, empty while that is still to come, and where it ends in `data`."""
        kept = self._line
        newline = data.find(b"\n", start)
        end = newline + 1 or len(data)
        kept += data[start:end]
        # `limit` counts neither CR nor LF.
        if len(kept) > limit + (2 if newline >= 0 else 1):
            raise self._line_too_long(kept, limit)
        if newline < 0:
            return b"", end
        line = bytes(kept)
        kept.clear()
        return line, end

    def _line_too_long(self, line: bytes | bytearray, limit: int) -> ContentError:
        what = "chunk size" if self._expect is ChunkedReader._receive_size else "trailer field"
        return ContentError(f"line of a {what} is longer than {limit} bytes: {excerpt(line)}")

    def _check_partial(self, line: bytes) -> None:
        # What cannot become a chunk size is an error now, not a wait for the end of its line.
        begun = line or self._line
        if line or not _CHUNK_LINE_START.fullmatch(begun[: MAX_CHUNK_SIZE_DIGITS + 1]):
            raise ContentError(f"not a chunk size: {excerpt(begun)}")

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
        events.append(Content(stream_id, data[start:end], True))
        # The common case, CRLF at hand, without another turn.
        if data.startswith(b"\r\n", end):
            self._expect = ChunkedReader._receive_size
            return end + 2
        self._expect = ChunkedReader._receive_data_end
        return end

    def _receive_data_end(
        self, stream_id: int, data: bytes, start: int, events: list[Event]
    ) -> int:
        # Both octets are looked at, each when it comes: skipping them unseen is how two readers
        # come to disagree on where the next chunk begins.
        kept = self._line
        kept += data[start : start + 2 - len(kept)]
        if kept == b"\r\n":
            kept.clear()
            self._expect = ChunkedReader._receive_size
            return data.index(b"\n", start) + 1
        if kept != b"\r":
            raise ContentError(f"chunk data not followed by CRLF: {excerpt(kept)}")
        return start + 1

    def _receive_trailers(
        self, stream_id: int, data: bytes, start: int, events: list[Event]
    ) -> int:
        limits = self._limits
        line, end = self._take_line(data, start, limits.max_field_size)
        trailers = self._trailers
        trailers += line
        if len(trailers) > limits.max_head_size:
            raise ContentError(f"trailer section is longer than {limits.max_head_size} bytes")
        if line in (b"\r\n", b"\n"):
            self._end(stream_id, events)
        return end

    def _end(self, stream_id: int, events: list[Event]) -> None:
        # RFC 9110 §6.5.1: trailers are not merged into the headers, whatever their names.
        try:
            trailers = parse_fields(bytes(self._trailers), self._limits)
        except HeadError as error:
            raise ContentError(f"in the trailer section: {error}") from error
        self._trailers.clear()
        self.done = True
        events.append(End(stream_id, trailers))


_Step: TypeAlias = Callable[[ChunkedReader, int, bytes, int, list[Event]], int]


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


class HeldWriter:
    """An upgrade or CONNECT that was not answered yet.

    Content sent now would be another protocol's, or the next request, as the peer decides.
    """

    __slots__ = ()

    def send(self, data: Buffer, *, end: bool) -> list[Buffer]:
        if len(data):
            raise LocalProtocolError("no content before the upgrade or the tunnel is accepted")
        return []


class UnframedWriter:
    """What follows an upgrade or a CONNECT."""

    __slots__ = ()

    def send(self, data: Buffer, *, end: bool) -> list[Buffer]:
        return [data] if len(data) else []
