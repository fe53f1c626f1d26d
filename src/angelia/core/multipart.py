"""Multipart: parts <-> octets (RFC 2046 §5.1, RFC 7578).

Owns: delimiters, part heads, their limits, and the notation of ``Content-Disposition``. Knows
nothing of streams, files, or what a part's content means.

::

    PREAMBLE -> DELIMITER -> OPENING -> HEAD -> BEGIN -> CONTENT -> DELIMITER -> ...
                DELIMITER -> CLOSING -> EPILOGUE
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import quote

from angelia.core.fields import is_token, parse_media_type, quote_string
from angelia.core.h1_wire import HeadLimits, excerpt, parse_fields
from angelia.core.patterns import lazy
from angelia.errors import ContentError, HeadError, LineTooLong

__all__ = (
    "MAX_BOUNDARY_SIZE",
    "MultipartDecoder",
    "MultipartEnd",
    "MultipartEvent",
    "PartData",
    "PartEnd",
    "PartHead",
    "boundary_parameter",
    "check_boundary",
    "multipart_boundary",
    "serialize_content_disposition",
    "serialize_part_head",
)

# RFC 2046 §5.1.1: "boundaries must be no longer than 70 characters".
MAX_BOUNDARY_SIZE: Final = 70

# Octets that were given out leave the buffer once they are this many, and half of it.
COMPACT_SIZE: Final = 64 * 1024

# RFC 9110 §5.5: CR, LF and NUL end fields and strings; other controls have no business in them.
_CONTROL: Final = lazy(r"[\x00-\x08\x0a-\x1f\x7f]")
_BOUNDARY: Final = lazy(r"[\x20-\x7e]*[\x21-\x7e]")
_NOT_PADDING: Final = lazy(rb"[^ \t]")


# --- events ------------------------------------------------------------------------------------


class PartHead(NamedTuple):
    """A part begins; its fields, in order."""

    fields: tuple[tuple[str, str], ...]


class PartData(NamedTuple):
    """The next octets of the part's content; never empty."""

    data: bytes


class PartEnd(NamedTuple):
    """The part's content is complete."""


class MultipartEnd(NamedTuple):
    """The last part is complete, and the close delimiter has come."""


MultipartEvent: TypeAlias = PartHead | PartData | PartEnd | MultipartEnd


# --- what a Content-Type field says ------------------------------------------------------------


def multipart_boundary(content_type: str) -> tuple[str, str]:
    """Subtype and boundary of a multipart Content-Type value; ValueError if it has none."""
    media_type = parse_media_type(content_type)
    if media_type.type != "multipart":
        raise ValueError(f"multipart/* content type expected, got: {excerpt(content_type)}")
    boundary = media_type.parameters.get("boundary")
    if boundary is None:
        raise ValueError(f"boundary missed for Content-Type: {excerpt(content_type)}")
    check_boundary(boundary)
    return media_type.essence.partition("/")[2], boundary


# --- receiving ---------------------------------------------------------------------------------


class _State(enum.Enum):
    PREAMBLE = "before the first delimiter"
    DELIMITER = "behind a boundary"
    OPENING = "in the rest of a delimiter's line"
    CLOSING = "in the rest of the close delimiter's line"
    HEAD = "in a part's head"
    BEGIN = "before a part's content"
    CONTENT = "in a part's content"
    EPILOGUE = "behind the last part"


class MultipartDecoder:
    """Takes octets, and gives them back as events, one at a time.

    Events are pulled, so that a read full of tiny parts costs no more than its octets::

        decoder.receive_data(octets)
        while (event := decoder.next_event()) is not None:
            ...

    `within_part` starts in a part's content, behind its head. The preamble and the epilogue are
    skipped. Time is linear in the octets received, memory in what is not pulled yet.
    """

    __slots__ = ("_buffer", "_clear", "_delimiter", "_eof", "_found", "_limits", "_start", "_state")

    def __init__(
        self,
        boundary: str,
        *,
        max_field_size: int = 8190,
        max_headers: int = 128,
        within_part: bool = False,
    ) -> None:
        check_boundary(boundary)
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._limits = HeadLimits(max_field_size=max_field_size, max_headers=max_headers)
        # RFC 2046 §5.1.1: a delimiter begins with CRLF; the very first, and a head, need none more
        # than the one that is before them.
        self._buffer = bytearray(b"\r\n")
        self._start = 0
        # Up to here nothing is a delimiter; `_found` where one begins here.
        self._clear = 0
        self._found = False
        self._eof = False
        self._state = _State.BEGIN if within_part else _State.PREAMBLE

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state.value}>"

    @property
    def ended(self) -> bool:
        """Whether the close delimiter has come; what comes after it is ignored."""
        return self._state is _State.EPILOGUE

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take octets; `next_event` makes events of them."""
        if self._state is not _State.EPILOGUE:
            self._buffer += data

    def receive_eof(self) -> None:
        """No more octets come."""
        self._eof = True

    def next_event(self, max_size: int = COMPACT_SIZE) -> MultipartEvent | None:
        """The next event, or None: more octets are needed. `PartData` has 1 to `max_size` octets.

        HeadError for a malformed part head, LineTooLong for one beyond the limits, ContentError for
        other octets than a line end behind a boundary, and where the octets end before the close
        delimiter. After the last event, `MultipartEnd`, there is only that.
        """
        while True:
            before = self._state
            if before is _State.CONTENT:
                return self._take_content(max_size)
            if before is _State.EPILOGUE:
                return MultipartEnd()
            if before is _State.HEAD:
                return self._take_head()
            event: PartEnd | None = None
            if before is _State.BEGIN:
                event = self._begin_content()
            elif before is _State.PREAMBLE:
                self._skip_preamble()
            elif before is _State.DELIMITER:
                self._tell_delimiter()
            else:
                self._end_delimiter(closing=before is _State.CLOSING)
            if event is not None or self._state is before:
                return event

    # --- each looks at the buffer from _start on, and moves _start and _state ------------------

    def _skip_preamble(self) -> None:
        # RFC 2046 §5.1.1: the preamble is to be ignored.
        begin = self._buffer.find(self._delimiter, self._start)
        if begin >= 0:
            self._enter_delimiter(begin)
        elif self._eof:
            raise ContentError(f"no boundary --{self._delimiter[4:].decode()} in multipart content")
        else:
            self._drop_to(self._possible_delimiter())

    def _possible_delimiter(self) -> int:
        """Where octets begin that may turn out to be a delimiter; the buffer's end if none.

        Asked where no whole delimiter is. One has CR as its first octet only, so that nothing
        before the last CR can be its begin.
        """
        buffer = self._buffer
        size = len(buffer)
        last = buffer.rfind(b"\r", max(self._start, size - len(self._delimiter) + 1))
        return last if last >= 0 and self._delimiter.startswith(buffer[last:]) else size

    def _enter_delimiter(self, begin: int) -> None:
        self._found = False
        self._state = _State.DELIMITER
        self._drop_to(begin + len(self._delimiter))

    def _tell_delimiter(self) -> None:
        # RFC 2046 §5.1.1: two hyphens make it the close delimiter.
        two = bytes(self._buffer[self._start : self._start + 2])
        if two == b"--":
            self._start += 2
            self._state = _State.CLOSING
        elif two in (b"", b"-"):
            self._starve()
        else:
            self._state = _State.OPENING

    def _end_delimiter(self, *, closing: bool) -> None:
        # RFC 2046 §5.1.1: padding, then CRLF. What else begins with the boundary must not be in a
        # part. We refuse it: parsers that go on with a guess do not all see the same parts.
        padding_end = _NOT_PADDING.search(self._buffer, self._start)
        self._drop_to(len(self._buffer) if padding_end is None else padding_end.start())
        two = bytes(self._buffer[self._start : self._start + 2])
        if two not in (b"", b"\r", b"\r\n"):
            raise ContentError(f"no line end behind a multipart boundary, but {excerpt(two)}")
        if closing and (two == b"\r\n" or self._eof):
            # Without an epilogue the close delimiter needs no line end.
            self._state = _State.EPILOGUE
            self._buffer.clear()
            self._start = 0
        elif two == b"\r\n":
            self._clear = self._start
            self._state = _State.HEAD
        else:
            self._starve()

    def _take_head(self) -> PartHead | None:
        # The buffer begins with the CRLF of the delimiter's line: an empty head is found like any.
        start, buffer = self._start, self._buffer
        end = buffer.find(b"\r\n\r\n", self._clear)
        size = (len(buffer) if end < 0 else end) - start
        limit = self._limits.max_head_size
        if size > limit:
            raise LineTooLong(f"head of a part is longer than {limit} bytes", limit=limit)
        if end < 0:
            self._clear = max(start, len(buffer) - 3)
            self._starve()
            return None
        block = bytes(buffer[start + 2 : end + 4])
        # Folding is forgiven, a bare LF not: it could begin a field that its sender did not mean.
        if block.count(b"\n") != block.count(b"\r\n"):
            raise HeadError(f"bare LF in the head of a part: {excerpt(block)}")
        fields = parse_fields(block, self._limits)
        self._state = _State.BEGIN
        self._drop_to(end + 2)
        return PartHead(tuple(fields))

    def _begin_content(self) -> PartEnd | None:
        # RFC 2046 §5.1.1: body-part := MIME-part-headers [CRLF *OCTET]. The CRLF behind the
        # head may already be the delimiter's: then there is no content.
        rest = self._buffer[self._start : self._start + len(self._delimiter)]
        if rest == self._delimiter:
            self._enter_delimiter(self._start)
            return PartEnd()
        if self._delimiter.startswith(rest):
            self._starve()
            return None
        self._start += 2
        self._clear = self._start
        self._state = _State.CONTENT
        return None

    def _take_content(self, max_size: int) -> PartData | PartEnd | None:
        if self._clear == self._start and not self._found:
            self._search()
        start, clear = self._start, self._clear
        if clear > start:
            end = min(clear, start + max_size)
            data = bytes(self._buffer[start:end])
            self._drop_to(end)
            return PartData(data)
        if self._found:
            self._enter_delimiter(start)
            return PartEnd()
        self._starve()
        return None

    def _search(self) -> None:
        begin = self._buffer.find(self._delimiter, self._start)
        self._found = begin >= 0
        if self._found:
            self._clear = begin
        elif self._eof:
            self._clear = len(self._buffer)
        else:
            self._clear = self._possible_delimiter()

    def _drop_to(self, index: int) -> None:
        self._start = index
        # Half of the buffer at least: each octet is moved once on average.
        if index >= COMPACT_SIZE and 2 * index >= len(self._buffer):
            del self._buffer[:index]
            self._clear -= index
            self._start = 0

    def _starve(self) -> None:
        """More octets are needed; ContentError if none will come."""
        if self._eof:
            raise ContentError(f"multipart content ended {self._state.value}")


# --- sending -----------------------------------------------------------------------------------


def check_boundary(boundary: str) -> None:
    """ValueError for what cannot be a boundary: empty, beyond 70 characters, not printable ASCII.

    RFC 2046 §5.1.1 has fewer characters; software in use has more of them.
    """
    if len(boundary) > MAX_BOUNDARY_SIZE:
        raise ValueError(
            f"boundary is longer than {MAX_BOUNDARY_SIZE} characters: {excerpt(boundary)}"
        )
    if not _BOUNDARY.fullmatch(boundary):
        raise ValueError(f"not a boundary, which is of printable ASCII: {boundary!r}")


def boundary_parameter(boundary: str) -> str:
    """``boundary=...`` for a Content-Type field, quoted where that is needed (RFC 9110 §5.6.6)."""
    check_boundary(boundary)
    return f"boundary={boundary if is_token(boundary) else quote_string(boundary)}"


def serialize_part_head(fields: Iterable[tuple[str, str]]) -> bytes:
    """A part's fields and the empty line; ValueError for what could be read as another field."""
    lines = []
    for name, value in fields:
        if not is_token(name):
            raise ValueError(f"not a field name: {name!r}")
        if _CONTROL.search(value):
            raise ValueError(f"control character in the value of {name}: {value!r}")
        lines.append(f"{name}: {value}\r\n")
    lines.append("\r\n")
    return "".join(lines).encode("utf-8", "surrogateescape")


def serialize_content_disposition(
    disposition: str,
    parameters: Mapping[str, str],
    *,
    quote_fields: bool = True,
    charset: str = "utf-8",
) -> str:
    """A ``Content-Disposition`` value.

    With `quote_fields`, ``filename`` is percent-encoded in `charset`, and any other parameter that
    is not ASCII gets the extended notation of RFC 2231 §4. Without, each goes as a quoted string.
    ValueError where a name is no token, or a value has a control character: neither notation may
    become a way to begin a field of one's own.
    """
    if not is_token(disposition):
        raise ValueError(f"not a disposition type: {disposition!r}")
    pieces = [disposition]
    for name, value in parameters.items():
        if not is_token(name):
            raise ValueError(f"not a parameter name: {name!r}")
        if _CONTROL.search(value):
            raise ValueError(f"control character in the {name} parameter: {value!r}")
        if quote_fields and name.lower() == "filename":
            pieces.append(f'{name}="{_percent_encode(value, charset)}"')
        elif quote_fields and not value.isascii():
            pieces.append(f"{name}*={charset}''{_percent_encode(value, charset)}")
        else:
            pieces.append(f"{name}={quote_string(value)}")
    return "; ".join(pieces)


def _percent_encode(value: str, charset: str) -> str:
    # Names of files need not be text: what the system could not decode goes as the octets it is.
    return quote(value, safe="", encoding=charset, errors="surrogateescape")
