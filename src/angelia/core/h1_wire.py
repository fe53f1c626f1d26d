"""HTTP/1.1 heads: start line and field lines <-> bytes (RFC 9112 §3, §4, §5).

Owns the grammar of a head and its limits. Knows nothing of connections, content or states.

A head that is complete and strictly valid is scanned in one go by `speedups`. Whatever that refuses
comes to the line-by-line parser here, which knows the exact error, and the irregularities that a
client forgives a server: a bare LF at the end of a line, and obsolete line folding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple, overload

from angelia.core.interface import (
    Headers,
    HttpVersion,
    HttpVersion11,
    RequestHead,
    ResponseHead,
    Role,
    Special,
)
from angelia.core.patterns import lazy
from angelia.core.speedups import (
    SPECIAL_REQUEST_FIELDS,
    SPECIAL_RESPONSE_FIELDS,
    serialize_and_group,
    serialize_head,
)
from angelia.errors import HeadError, LineTooLong, LocalProtocolError
from angelia.redaction import MASK, SECRET_FIELDS

__all__ = (
    "DECISIVE_FIELDS",
    "DEFAULT_LIMITS",
    "MIN_HEAD_SIZE",
    "REQUEST_LIMITS",
    "HeadBuffer",
    "HeadLimits",
    "HeaderBlock",
    "ReadyHead",
    "SealedHead",
    "excerpt",
    "group_fields",
    "parse_fields",
    "parse_request_head",
    "parse_response_head",
    "request_line",
    "serialize_request_head",
    "serialize_response_head",
    "too_long",
)

# A head may always have this many octets: nginx allows 4 x 8 KiB, cookies of large sites need more.
MIN_HEAD_SIZE: Final = 64 * 1024

# RFC 9112 §2.2: empty lines before a start line are skipped; some servers leave one after a body.
MAX_EMPTY_LINES: Final = 2

# How much of a peer's octets an error may quote.
EXCERPT_SIZE: Final = 80


class HeadLimits(NamedTuple):
    """What a head may measure, in octets and fields.

    `lenient`: forgive a server bare LF, folded lines and repeated fields; never what could change
    where a message ends. `max_size`: the whole head, and once more the trailer section; None makes
    room for the longest line and field that are allowed.
    """

    max_line_size: int = 8190
    max_field_size: int = 8190
    max_headers: int = 128
    lenient: bool = True
    max_size: int | None = None

    @property
    def max_head_size(self) -> int:
        """The whole head, in octets."""
        if self.max_size is not None:
            return self.max_size
        return max(MIN_HEAD_SIZE, self.max_line_size + 2 * self.max_field_size)


DEFAULT_LIMITS: Final = HeadLimits()
# A server forgives nothing: what it reads differently from a proxy in front is an attack.
REQUEST_LIMITS: Final = HeadLimits(lenient=False)

_STATUS_LINE: Final = lazy(r"HTTP/([0-9])\.([0-9]) ([0-9]{3})(?: ([\t\x20-\x7e\x80-\U0010ffff]*))?")
_TOKEN: Final = lazy(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 9110 §5.5: a field value with CR, LF or NUL is dangerous; the other controls are invalid.
_CONTROL: Final = lazy(r"[\x00-\x08\x0a-\x1f\x7f]")
# Bare LFs end the search in strict mode too: they are an error then, and not a wait for CRLF.
_HEAD_END: Final = lazy(rb"\n\r?\n")
_BARE_CR: Final = lazy(rb"\r(?!\n|\Z)")
# What all the status lines that we take have in common.
_RESPONSE_START: Final = b"HTTP/1."
# RFC 9112 §3. The target's form is for `targets`: here it is visible ASCII without the characters
# that no form has, and that others take for something else.
_REQUEST_LINE: Final = lazy(
    r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21\x22\x24-\x5b\x5d-\x7e]+) HTTP/([0-9])\.([0-9])"
)
# How a request line may begin, or an empty line before it.
_REQUEST_START: Final = lazy(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?: |\Z)|\r\Z|\Z")
# The first octets are enough to tell a peer that speaks another protocol.
_REQUEST_START_SIZE: Final = 32
# RFC 8446 §5.1: a TLS record of a handshake.
_TLS_START: Final = b"\x16\x03"


class HeaderBlock(Sequence[tuple[str, str]]):
    """Fields that many requests share: checked and serialized once.

    ValueError for a field that cannot be sent. `special` has the values of those that decide about
    framing or persistence by lower-case name; `plain` says that there are none.
    """

    __slots__ = ("pairs", "plain", "special", "wire")

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self.pairs = tuple(pairs)
        # Without the empty start line that serialize_head() puts before them.
        self.wire = serialize_head("", self.pairs)[2:]
        self.special = group_fields(self.pairs, DECISIVE_FIELDS)
        self.plain = not self.special

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, index: int) -> tuple[str, str]: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[tuple[str, str], ...]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self.pairs[index]


class SealedHead:
    """The whole head of a request, but for a length: checked and serialized once, sent many times.

    LocalProtocolError for what cannot be sent, and for fields that are not `plain`.
    """

    __slots__ = ("method", "wire")

    def __init__(self, method: str, target: str, block: HeaderBlock) -> None:
        if not block.plain:
            raise LocalProtocolError(f"not the fields of a usual request: {block.special}")
        self.method = method
        self.wire = serialize_request_head(RequestHead(method, target, block))


class ReadyHead:
    """A response's head but for its length: checked and serialized once, sent many times.

    LocalProtocolError for what cannot be sent, and for a field that decides about framing or
    persistence: these are for whom sends it.
    """

    __slots__ = ("status", "wire")

    def __init__(self, status: int, reason: str, pairs: Headers) -> None:
        wire, special = serialize_response_head(ResponseHead(status, reason, pairs))
        if status < 200 or not DECISIVE_FIELDS.isdisjoint(special):
            raise LocalProtocolError(f"not the beginning of a usual head: {status} {special}")
        self.status = status
        # Without the empty line that ends it.
        self.wire = wire[:-2]


# What decides about a request's framing, and about what becomes of the connection.
DECISIVE_FIELDS: Final = frozenset({"connection", "content-length", "transfer-encoding", "upgrade"})


def excerpt(value: str | bytes | bytearray) -> str:
    """A short, printable quotation of what a peer sent, for error messages."""
    start = value[:EXCERPT_SIZE]
    shown = repr(bytes(start) if isinstance(start, bytearray) else start)
    return shown if len(value) <= EXCERPT_SIZE else f"{shown}..."


def _excerpt_of_value(name: str, value: str) -> str:
    """As `excerpt`, for the value of a field, which may be a secret."""
    return MASK if name.lower() in SECRET_FIELDS else excerpt(value)


def _excerpt_of_line(line: bytes) -> str:
    """As `excerpt`, for what may be a field line."""
    name = line.partition(b":")[0]
    is_secret = name.strip(b" \t").lower().decode("latin-1") in SECRET_FIELDS
    return f"{excerpt(name)} ({MASK})" if is_secret else excerpt(line)


def too_long(limits: HeadLimits) -> LineTooLong:
    """The error for a head whose sum is too large."""
    limit = limits.max_head_size
    return LineTooLong(f"head is longer than {limit} bytes", limit=limit)


class HeadBuffer:
    """A head that comes in pieces: kept, held to the limits, its end found.

    A client's is for responses, a server's for requests. The work is linear in the octets, however
    small the pieces are.
    """

    __slots__ = ("_last_line", "_role", "_searched", "octets")

    def __init__(self, role: Role = Role.CLIENT) -> None:
        self.octets = bytearray()
        self._role = role
        self._searched = 0
        self._last_line = 0

    def add(self, data: bytes, limits: HeadLimits) -> tuple[bytes, int, int] | None:
        """All octets so far, where the head begins and ends in them; None while it is not whole.

        HeadError for what cannot become such a head, LineTooLong where an incomplete head, or its
        last line, is already beyond the limits.
        """
        octets = self.octets
        octets += data
        start = _skip_empty_lines(octets, limits)
        if self._role is Role.CLIENT:
            _check_response_start(octets, start)
        else:
            _check_request_start(octets, start)
        match = _HEAD_END.search(octets, max(start, self._searched - 2))
        if match is None:
            self._check_incomplete(start, limits)
            self._searched = len(octets)
            return None
        end = match.end()
        if end - start > limits.max_head_size:
            if octets.index(b"\n", start) - start > limits.max_line_size + 1:
                raise _start_line_too_long(octets[start:end], limits, self._role)
            raise too_long(limits)
        whole = bytes(octets)
        self.clear()
        return whole, start, end

    def clear(self) -> None:
        """Forget what came."""
        self.octets.clear()
        self._searched = self._last_line = 0

    def _check_incomplete(self, start: int, limits: HeadLimits) -> None:
        octets = self.octets
        newline = octets.rfind(b"\n", max(start, self._searched))
        if newline >= 0:
            if self._role is Role.SERVER and self._last_line <= start:
                # An old client may wait for an answer now (RFC 1945 §4.1).
                _parse_request_line(bytes(octets[start : octets.index(b"\n", start)]), limits)
            self._check_lines(start, newline, limits)
            self._last_line = newline + 1
        if not limits.lenient and _BARE_CR.search(octets, max(start, self._searched - 1)):
            raise HeadError("head has a bare CR")
        last_line = max(start, self._last_line)
        # The CR of the line's end may be here already, and does not count.
        self._check_line(start, last_line, len(octets) - last_line - 1, limits)
        if len(octets) - start > limits.max_head_size:
            raise too_long(limits)

    def _check_lines(self, start: int, newline: int, limits: HeadLimits) -> None:
        """The lines that are complete now; `newline` ends the last one."""
        octets = self.octets
        line = max(start, self._last_line)
        while line <= newline:
            end = octets.index(b"\n", line)
            size = end - line
            if size and octets[end - 1 : end] == b"\r":
                size -= 1
            self._check_line(start, line, size, limits)
            line = end + 1

    def _check_line(self, start: int, line: int, size: int, limits: HeadLimits) -> None:
        octets = self.octets
        if line == start and size > limits.max_line_size:
            raise _start_line_too_long(octets[start : start + EXCERPT_SIZE + 1], limits, self._role)
        if line > start and size > limits.max_field_size:
            raise _field_too_long(bytes(octets[line : line + 128]), limits)


def _skip_empty_lines(octets: bytearray, limits: HeadLimits) -> int:
    start = 0
    for _ in range(MAX_EMPTY_LINES):
        if octets.startswith(b"\r\n", start):
            start += 2
        elif limits.lenient and octets.startswith(b"\n", start):
            start += 1
    return start


def _check_response_start(octets: bytearray, start: int) -> None:
    # A peer that speaks another protocol is told apart at once, even if it waits for us to go on.
    begun = octets[start : start + len(_RESPONSE_START)]
    # A lone CR may be half of an empty line.
    if not _RESPONSE_START.startswith(begun) and begun != b"\r":
        raise HeadError(f"not an HTTP/1.x response: {excerpt(octets[start:])}")


def _check_request_start(octets: bytearray, start: int) -> None:
    begun = octets[start : start + _REQUEST_START_SIZE]
    if _REQUEST_START.match(begun) is None:
        if begun.startswith(_TLS_START):
            raise HeadError("TLS on a connection for plain HTTP")
        raise HeadError(f"not an HTTP request: {excerpt(begun)}")


def _start_line_too_long(line: bytes | bytearray, limits: HeadLimits, role: Role) -> LineTooLong:
    # RFC 9110 §15.5.15, RFC 6585 §5.
    what, status = ("status line", 431) if role is Role.CLIENT else ("request line", 414)
    return LineTooLong(
        f"{what} is longer than {limits.max_line_size} bytes: {excerpt(line)}",
        limit=limits.max_line_size,
        status=status,
    )


def _field_too_long(line: bytes, limits: HeadLimits) -> LineTooLong:
    name = line.partition(b":")[0]
    return LineTooLong(
        f"field {excerpt(name)} is longer than {limits.max_field_size} bytes",
        limit=limits.max_field_size,
    )


def parse_response_head(
    data: bytes, start: int, end: int, limits: HeadLimits, stream_id: int
) -> ResponseHead:
    """The response head in ``data[start:end]``, which must be complete."""
    raw = data[start:end]
    line, _, rest = raw.partition(b"\n")
    version, status, reason = _parse_status_line(line, limits)
    fields = parse_fields(rest, limits)
    special = group_fields(fields, SPECIAL_RESPONSE_FIELDS)
    return ResponseHead(status, reason, fields, version, stream_id, raw, special)


def _parse_status_line(line: bytes, limits: HeadLimits) -> tuple[HttpVersion, int, str]:
    line = _without_line_end(line, limits)
    if len(line) > limits.max_line_size:
        raise _start_line_too_long(line, limits, Role.CLIENT)
    # RFC 9112 §4: the space before an absent reason is required; servers leave it out all the same.
    match = _STATUS_LINE.fullmatch(line.decode("utf-8", "surrogateescape"))
    if match is None:
        raise HeadError(f"not an HTTP status line: {excerpt(line)}")
    major, minor, status, reason = match.groups()
    if major != "1":
        raise HeadError(f"not HTTP/1.x: {excerpt(line)}")
    if status < "100":
        raise HeadError(f"status is outside 100-999: {excerpt(line)}")
    return HttpVersion(1, int(minor)), int(status), (reason or "").strip(" \t")


def parse_request_head(
    data: bytes, start: int, end: int, limits: HeadLimits, stream_id: int
) -> RequestHead:
    """The request head in ``data[start:end]``, which must be complete."""
    raw = data[start:end]
    line, _, rest = raw.partition(b"\n")
    method, target, version = _parse_request_line(line, limits)
    fields = parse_fields(rest, limits)
    for name, _value in fields:
        if "_" in name and name.lower().replace("_", "-") in SPECIAL_REQUEST_FIELDS:
            # What stands behind this server may not tell it from the real one, as CGI does not.
            raise HeadError(f"field {excerpt(name)} looks like another one")
    special = group_fields(fields, SPECIAL_REQUEST_FIELDS)
    return RequestHead(method, target, fields, version, stream_id, raw, special)


def _parse_request_line(line: bytes, limits: HeadLimits) -> tuple[str, str, HttpVersion]:
    line = _without_line_end(line, limits)
    if len(line) > limits.max_line_size:
        raise _start_line_too_long(line, limits, Role.SERVER)
    match = _REQUEST_LINE.fullmatch(line.decode("utf-8", "surrogateescape"))
    if match is None:
        raise HeadError(f"not an HTTP request line: {excerpt(line)}")
    method, target, major, minor = match.groups()
    if major != "1":
        raise HeadError(f"not HTTP/1.x: {excerpt(line)}", status=505)
    return method, target, HttpVersion(1, int(minor))


def _without_line_end(line: bytes, limits: HeadLimits) -> bytes:
    if line.endswith(b"\r"):
        return line[:-1]
    if limits.lenient:
        return line
    raise HeadError(f"line ends with a bare LF: {_excerpt_of_line(line)}")


def parse_fields(block: bytes, limits: HeadLimits) -> list[tuple[str, str]]:
    """The field lines of `block`, which ends with an empty line (RFC 9112 §5)."""
    fields: list[tuple[str, str]] = []
    if not limits.lenient and not block.endswith(b"\r\n"):
        raise HeadError("head ends with a bare LF")
    lines = block.split(b"\n")
    # What split() leaves behind the last LF, and the empty line before it.
    del lines[-2:]
    if len(lines) > limits.max_headers:
        raise LineTooLong(f"more than {limits.max_headers} fields", limit=limits.max_headers)
    size = 0
    for line_with_cr in lines:
        line = _without_line_end(line_with_cr, limits)
        if line[:1] in (b" ", b"\t"):
            size += len(line)
            _unfold(fields, line, size, limits)
            continue
        size = len(line)
        if size > limits.max_field_size:
            raise _field_too_long(line, limits)
        fields.append(_parse_field(line))
    return fields


def _parse_field(line: bytes) -> tuple[str, str]:
    text = line.decode("utf-8", "surrogateescape")
    name, colon, value = text.partition(":")
    # RFC 9112 §5.1: no whitespace between name and colon; a name is a token.
    if not colon or not _TOKEN.fullmatch(name):
        raise HeadError(f"not a field line: {_excerpt_of_line(line)}")
    value = value.strip(" \t")
    if _CONTROL.search(value):
        shown = _excerpt_of_value(name, value)
        raise HeadError(f"control character in the value of {excerpt(name)}: {shown}")
    return name, value


def _unfold(fields: list[tuple[str, str]], line: bytes, size: int, limits: HeadLimits) -> None:
    # RFC 9112 §5.2: a user agent replaces obsolete folding by spaces; before the first field it
    # would hide that field, and is refused.
    if not limits.lenient or not fields:
        raise HeadError(f"line begins with whitespace: {_excerpt_of_line(line)}")
    name, value = fields[-1]
    if size > limits.max_field_size:
        raise _field_too_long(name.encode(), limits)
    folded = line.decode("utf-8", "surrogateescape").strip(" \t")
    if _CONTROL.search(folded):
        shown = _excerpt_of_value(name, folded)
        raise HeadError(f"control character in the value of {excerpt(name)}: {shown}")
    fields[-1] = (name, f"{value} {folded}".strip(" \t"))


def group_fields(fields: Headers, names: Collection[str]) -> dict[str, str | list[str]]:
    """The values of the fields in `names`, which are lower-case: one, or a list of several."""
    groups: dict[str, str | list[str]] = {}
    for name, value in fields:
        lower = name.lower()
        if lower not in names:
            continue
        before = groups.get(lower)
        if before is None:
            groups[lower] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            groups[lower] = [before, value]
    return groups


def request_line(method: str, target: str, version: HttpVersion) -> str:
    """A request's first line; LocalProtocolError for what could be read as another one."""
    # RFC 9110 §9.1: a method is a token. RFC 9112 §3: no whitespace inside the request line.
    if not (method.isalpha() and method.isascii()) and not _TOKEN.fullmatch(method):
        raise LocalProtocolError(f"method is not a token: {method!r}")
    if not target.isascii() or not target.isprintable() or " " in target or not target:
        raise LocalProtocolError(f"target has characters that a URL cannot have: {target!r}")
    if version is not HttpVersion11 and version not in ((1, 0), (1, 1)):
        raise LocalProtocolError(f"not a version that can be sent: {version!r}")
    return f"{method} {target} HTTP/1.{version.minor}"


def serialize_request_head(head: RequestHead) -> bytes:
    """A request's head on the wire; LocalProtocolError for what could be read as another one."""
    line = request_line(head.method, head.target, head.version)
    headers = head.headers
    if type(headers) is HeaderBlock:
        return b"%b\r\n%b" % (line.encode("ascii"), headers.wire)
    try:
        return serialize_head(line, headers)
    except ValueError as error:
        raise LocalProtocolError(str(error)) from error


def serialize_response_head(head: ResponseHead) -> tuple[bytes, Special]:
    """A response's head on the wire, and its special fields.

    LocalProtocolError for what could be read as another head.
    """
    status, version = head.status, head.version
    if not 100 <= status <= 999:
        raise LocalProtocolError(f"status is outside 100-999: {status!r}")
    if version is not HttpVersion11 and version not in ((1, 0), (1, 1)):
        raise LocalProtocolError(f"not a version that can be sent: {version!r}")
    try:
        # RFC 9112 §4: the space behind the status stays where there is no reason.
        return serialize_and_group(f"HTTP/1.{version.minor} {status} {head.reason}", head.headers)
    except ValueError as error:
        raise LocalProtocolError(str(error)) from error
