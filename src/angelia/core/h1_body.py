"""HTTP/1.1 content: how long it is (RFC 9112 §6.3), and its readers and writers.

Owns: framing decisions, the chunked coding, trailer fields. Knows nothing of connections, roles or
sockets. A reader takes octets and appends events; a writer takes octets of content and returns what
goes on the wire. The reader object *is* the state of a receiving half while content comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

from angelia.core.fields import is_token
from angelia.core.h1_wire import HeadLimits, excerpt, group_fields, parse_fields
from angelia.core.interface import (
    Buffer,
    Content,
    End,
    Event,
    Headers,
    HttpVersion,
    HttpVersion10,
    Special,
)
from angelia.core.patterns import lazy
from angelia.core.speedups import serialize_head
from angelia.errors import (
    ContentError,
    HeadError,
    IncompleteContent,
    LocalProtocolError,
)

__all__ = (
    "MAX_LENGTH_DIGITS",
    "ChunkedReader",
    "ChunkedWriter",
    "ContentReader",
    "ContentWriter",
    "EmptyWriter",
    "EofReader",
    "HeldWriter",
    "SizedReader",
    "SizedWriter",
    "UnframedWriter",
    "UnsentWriter",
    "framed_writer",
    "parse_content_length",
    "request_reader",
    "response_reader",
    "response_writer",
    "tokens",
)

# 2**63 - 1 has 19 digits. Longer ones are refused before int() sees them: it is quadratic.
MAX_LENGTH_DIGITS: Final = 19
MAX_LENGTH: Final = 2**63 - 1

# 16 hex digits are 64 bits; no peer has a reason to send more, leading zeros included.
MAX_CHUNK_SIZE_DIGITS: Final = 16

# RFC 9110 §6.5.1: what frames, routes, selects or protects a message is of no use behind it, and a
# recipient that merges trailers into the headers must not find it there.
NO_TRAILERS: Final = frozenset(
    {
        "authorization",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "max-forwards",
        "proxy-authenticate",
        "proxy-authorization",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "www-authenticate",
    }
)

_DIGITS: Final = lazy(r"[0-9]+")
# RFC 9112 §7.1: hex digits, then an extension that we skip. The blanks before it are the "bad
# whitespace" of §7.1.1, which is to be accepted. No control characters but TAB, and CRLF at the end
# in lenient mode too: §2.2 forgives a bare LF to start lines and fields only, and one that another
# reader takes for a part of the extension would set the two of us apart.
_CHUNK_LINE: Final = lazy(rb"([0-9A-Fa-f]+)[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")
# The same for requests: an extension has a name (§7.1.1), and nothing stands before the CRLF.
_STRICT_CHUNK_LINE: Final = lazy(
    rb"([0-9A-Fa-f]+)(?:[ \t]*;[ \t]*%(token)b"
    rb'(?:[ \t]*=[ \t]*(?:%(token)b|"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]'
    rb'|\\[\t\x20-\x7e\x80-\xff])*+"))?)*+\r\n' % {b"token": rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"}
)
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


def _is_plain_length(value: str) -> bool:
    """Whether it is a number that needs no closer look: the most of them."""
    return value.isdigit() and value.isascii() and len(value) < MAX_LENGTH_DIGITS


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
        if type(value) is str and _is_plain_length(value):
            return SizedReader(int(value))
        values = [value] if isinstance(value, str) else value
        if not limits.lenient and (len(values) > 1 or "," in values[0]):
            raise HeadError(f"more than one Content-Length: {excerpt(', '.join(values))}")
        return SizedReader(parse_content_length(values))
    # (4) Another last coding, or (8) neither field: the content lasts as long as the connection.
    return EofReader() if read_until_eof else UnreadReader()


def request_reader(special: Special, minor: int, limits: HeadLimits) -> ContentReader | None:
    """How the content of a request is read (RFC 9112 §6.3); None where it has none."""
    value = special.get("content-length")
    if "transfer-encoding" in special:
        # RFC 9112 §6.1: a server may reject what has both; we always do, since two framings are
        # what request smuggling plays against each other.
        if value is not None:
            raise HeadError("both Transfer-Encoding and Content-Length")
        # RFC 9112 §6.1: HTTP/1.0 has no transfer codings, and who sends one is broken.
        if minor == 0:
            raise HeadError("Transfer-Encoding in an HTTP/1.0 request")
        codings = _members(special, "transfer-encoding")
        if not _is_chunked(codings):
            # (4) Without a final chunked nobody knows where a request ends.
            raise HeadError(f"transfer coding not understood: {excerpt(', '.join(codings))}")
        return ChunkedReader(limits)
    if value is None:
        return None
    if not isinstance(value, str) or "," in value:
        values = [value] if isinstance(value, str) else value
        raise HeadError(f"more than one Content-Length: {excerpt(', '.join(values))}")
    length = int(value) if _is_plain_length(value) else parse_content_length([value])
    return SizedReader(length) if length else None


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
        # RFC 9112 §6.1: a server answers 501 to a coding that it does not know; one that applies
        # chunked twice, or what was struck from the standard, is at fault itself.
        known = codings.count("chunked") > 1 or "identity" in codings
        raise HeadError(
            f"transfer coding not understood: {excerpt(', '.join(codings))}",
            status=400 if known else 501,
        )
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

    __slots__ = (
        "_expect",
        "_limits",
        "_line",
        "_pattern",
        "_received",
        "_remaining",
        "_trailers",
        "done",
    )

    until_eof = False

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        self._pattern = _CHUNK_LINE if limits.lenient else _STRICT_CHUNK_LINE
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
        match = None if self._line else self._pattern.match(data, start)
        if match is not None:
            end = match.end()
        else:
            line, end = self._take_line(data, start, self._limits.max_line_size)
            match = self._pattern.fullmatch(line)
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
        in_size = self._expect is ChunkedReader._receive_size
        what, status = ("chunk size", 400) if in_size else ("trailer field", 431)
        return ContentError(
            f"line of a {what} is longer than {limit} bytes: {excerpt(line)}", status=status
        )

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
            raise ContentError(
                f"trailer section is longer than {limits.max_head_size} bytes", status=431
            )
        if line in (b"\r\n", b"\n"):
            self._end(stream_id, events)
        return end

    def _end(self, stream_id: int, events: list[Event]) -> None:
        # RFC 9110 §6.5.1: trailers are not merged into the headers, whatever their names.
        try:
            trailers = parse_fields(bytes(self._trailers), self._limits)
        except HeadError as error:
            raise ContentError(f"in the trailer section: {error}", status=error.status) from error
        self._trailers.clear()
        self.done = True
        events.append(End(stream_id, trailers))


_Step: TypeAlias = Callable[[ChunkedReader, int, bytes, int, list[Event]], int]


class ContentWriter(Protocol):
    """Frames octets of content for the wire."""

    def send(self, data: Buffer, *, end: bool) -> list[Buffer]:
        """The octets that go out for `data`; LocalProtocolError where it breaks the framing."""


def framed_writer(special: Special, version: HttpVersion) -> ContentWriter | None:
    """How content that is to be sent is framed (RFC 9112 §6); None where no field says so."""
    lengths = special.get("content-length")
    if "transfer-encoding" in special:
        # RFC 9112 §6.2: a sender must not send both.
        if lengths is not None:
            raise LocalProtocolError("both Content-Length and Transfer-Encoding")
        # RFC 9112 §6.1: once, and last.
        codings = tokens(special, "transfer-encoding")
        if codings[-1:] != ["chunked"] or codings.count("chunked") != 1:
            raise LocalProtocolError("the last transfer coding must be chunked")
        if version == HttpVersion10:
            raise LocalProtocolError("HTTP/1.0 has no chunked transfer coding")
        return ChunkedWriter()
    if lengths is None:
        return None
    if type(lengths) is str and _is_plain_length(lengths):
        return SizedWriter(int(lengths))
    # RFC 9110 §8.6: a list of lengths is forgiven to those who send it, and not sent.
    if not isinstance(lengths, str) or "," in lengths:
        raise LocalProtocolError("more than one Content-Length")
    try:
        return SizedWriter(parse_content_length([lengths]))
    except HeadError as error:
        raise LocalProtocolError(str(error)) from error


def response_writer(
    status: int, method: str, special: Special, version: HttpVersion
) -> ContentWriter | None:
    """How the content of a final response is framed (RFC 9112 §6.3, in its order).

    None where no field says so: then it lasts until the connection ends.
    """
    writer = framed_writer(special, version)
    if status == 204 or (method == "CONNECT" and status < 300):
        # RFC 9110 §8.6, RFC 9112 §6.1: neither field in these.
        if writer is not None:
            raise LocalProtocolError(f"a {status} response to {method} has no framing fields")
        return UnframedWriter() if method == "CONNECT" else EmptyWriter()
    if method == "HEAD":
        return UnsentWriter()
    if status == 304:
        return EmptyWriter()
    # RFC 9110 §15.3.6: 205 has no content, and says so, since there is no rule in §6.3.
    empty = writer is None or (isinstance(writer, SizedWriter) and writer.length == 0)
    if status == 205 and not empty:
        raise LocalProtocolError("a 205 response has no content")
    return writer


class SizedWriter:
    """Content of an announced length: never more, never less (RFC 9110 §8.6)."""

    __slots__ = ("length", "remaining")

    def __init__(self, length: int) -> None:
        self.length = length
        self.remaining = length

    def count(self, size: int) -> int:
        """`size` octets go out; return how many are left."""
        remaining = self.remaining - size
        if remaining < 0:
            raise LocalProtocolError(
                f"content is longer than its Content-Length of {self.length} bytes"
            )
        self.remaining = remaining
        return remaining

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

    def send_trailers(self, trailers: Headers) -> list[Buffer]:
        """The last chunk and the trailer section (RFC 9112 §7.1.2)."""
        forbidden = group_fields(trailers, NO_TRAILERS)
        if forbidden:
            raise LocalProtocolError(f"not allowed in trailers: {', '.join(forbidden)}")
        try:
            # Behind an empty start line: its CRLF is that of the last chunk's size.
            return [b"0" + serialize_head("", trailers)]
        except ValueError as error:
            raise LocalProtocolError(str(error)) from error


class EmptyWriter:
    """A response that never has content."""

    __slots__ = ()

    def send(self, data: Buffer, *, end: bool) -> list[Buffer]:
        if len(data):
            raise LocalProtocolError("content in a response that has none")
        return []


class UnsentWriter:
    """A response to HEAD: what a GET would have got stays here (RFC 9110 §9.3.2)."""

    __slots__ = ()

    def send(self, data: Buffer, *, end: bool) -> list[Buffer]:
        return []


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
