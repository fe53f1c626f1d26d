"""The leaf loops of the hot path in Python: heads of HTTP/1.x, frames of WebSocket.

Owns the strict fast path of an HTTP/1.x head and of a WebSocket frame, and the tables of well-known
fields that `_speedups.c` is built from as well. Each function here has a twin in C that behaves the
same; `speedups` picks one of the two. Knows nothing of leniency, limits' defaults or error classes
of the protocol: what a scanner does not take for granted it leaves to its caller, by returning
None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from struct import Struct
from typing import Final, TypeAlias, TypeVar

from multidict import istr

__all__ = (
    "SPECIAL_REQUEST_FIELDS",
    "SPECIAL_RESPONSE_FIELDS",
    "WELL_KNOWN_FIELDS",
    "RequestScan",
    "ResponseScan",
    "Special",
    "advise_huge_pages",
    "mask",
    "scan_frame",
    "scan_messages",
    "scan_request_head",
    "scan_response_head",
    "serialize_and_group",
    "serialize_frame",
    "serialize_head",
)

MessageT = TypeVar("MessageT", bound=tuple[object, ...])

Special: TypeAlias = dict[str, "str | list[str]"]
ResponseScan: TypeAlias = tuple[int, int, int, str, list[tuple[str, str]], Special]
RequestScan: TypeAlias = tuple[int, int, str, str, list[tuple[str, str]], Special]

# The fields that framing, persistence and the next step of a client depend on, by lower-case name.
SPECIAL_RESPONSE_FIELDS: Final = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "keep-alive",
        "location",
        "set-cookie",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

# The same for a server, and what it asks for in most requests. Host is here because it must come
# exactly once (RFC 9112 §3.2).
SPECIAL_REQUEST_FIELDS: Final = frozenset(
    {
        "accept-encoding",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "keep-alive",
        "range",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

# Fields that real peers send often, in the case of their registration; the lower-case spelling is
# known too. A name found here costs no allocation, and no lower-casing in a multidict.
WELL_KNOWN_FIELDS: Final = (
    "Accept",
    "Accept-CH",
    "Accept-Charset",
    "Accept-Encoding",
    "Accept-Language",
    "Accept-Ranges",
    "Access-Control-Allow-Credentials",
    "Access-Control-Allow-Headers",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Origin",
    "Access-Control-Expose-Headers",
    "Access-Control-Max-Age",
    "Age",
    "Allow",
    "Alt-Svc",
    "Authorization",
    "CF-Cache-Status",
    "CF-RAY",
    "Cache-Control",
    "Connection",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Content-Length",
    "Content-Location",
    "Content-Range",
    "Content-Security-Policy",
    "Content-Type",
    "Cookie",
    "Cross-Origin-Opener-Policy",
    "Cross-Origin-Resource-Policy",
    "Date",
    "ETag",
    "Expect",
    "Expires",
    "Forwarded",
    "Host",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "Keep-Alive",
    "Last-Modified",
    "Link",
    "Location",
    "NEL",
    "Origin",
    "P3P",
    "Permissions-Policy",
    "Pragma",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Connection",
    "Range",
    "Referer",
    "Referrer-Policy",
    "Report-To",
    "Retry-After",
    "Sec-WebSocket-Accept",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Version",
    "Server",
    "Server-Timing",
    "Set-Cookie",
    "Strict-Transport-Security",
    "TE",
    "Timing-Allow-Origin",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "Upgrade-Insecure-Requests",
    "User-Agent",
    "Vary",
    "Via",
    "WWW-Authenticate",
    "X-Amz-Cf-Id",
    "X-Amz-Request-Id",
    "X-Cache",
    "X-Content-Type-Options",
    "X-Correlation-ID",
    "X-DNS-Prefetch-Control",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Frame-Options",
    "X-Powered-By",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "X-Real-IP",
    "X-Request-ID",
    "X-Requested-With",
    "X-Runtime",
    "X-Served-By",
    "X-Timer",
    "X-UA-Compatible",
    "X-XSS-Protection",
)

# How much of a name an error quotes.
_QUOTED_SIZE: Final = 60

# RFC 9110 §5.6.2.
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 9112 §3.2 in all its forms, and more: visible ASCII, but no fragment and no backslash.
_TARGET: Final = re.compile(r"[\x21\x22\x24-\x5b\x5d-\x7e]+")
# RFC 9110 §5.5: CR, LF and NUL are dangerous in a value, the other controls but TAB are invalid.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

# RFC 9112 §4: three digits; RFC 9110 §15: nothing below 100 has a meaning.
_STATUSES: Final = {str(status): status for status in range(100, 1000)}
_RESPONSE_STARTS: Final = {"HTTP/1.1 ": 1, "HTTP/1.0 ": 0}
_REQUEST_VERSIONS: Final = {"HTTP/1.1": 1, "HTTP/1.0": 0}


def _known_fields(special: frozenset[str]) -> dict[str, tuple[str, str]]:
    """Exact spelling -> (shared name, lower-case name if it is special, else "")."""
    known: dict[str, tuple[str, str]] = {}
    for name in WELL_KNOWN_FIELDS:
        lower = name.lower()
        key = lower if lower in special else ""
        # An istr is a str that remembers its lower-case form, which a CIMultiDict asks for.
        known[name] = (istr(name), key)
        known[lower] = (istr(lower), key)
    return known


_KNOWN_RESPONSE: Final = _known_fields(SPECIAL_RESPONSE_FIELDS)
_KNOWN_REQUEST: Final = _known_fields(SPECIAL_REQUEST_FIELDS)


def scan_response_head(
    data: bytes, start: int, max_line: int, max_field: int, max_fields: int, /
) -> ResponseScan | None:
    """The response head at ``data[start:]``: end, minor version, status, reason, fields, special.

    `end` is the index after the empty line. Names keep their case, values lose the blanks around
    them and keep undecodable octets as surrogate escapes. `special` maps the lower-case names of
    SPECIAL_RESPONSE_FIELDS that occur to their value, or to all of their values if repeated.

    None where the head is incomplete, not strictly valid (RFC 9112 §4, §5; HTTP/1.0 and 1.1 only)
    or over a limit: lines of `max_line` and `max_field` octets without their CRLF, and `max_fields`
    fields, are within. Then it is the caller who knows what it is.
    """
    end = data.find(b"\r\n\r\n", start)
    lines = _lines(data, start, end, max_line, max_field, max_fields)
    if lines is None:
        return None
    line = lines[0]
    minor = _RESPONSE_STARTS.get(line[:9])
    status = _STATUSES.get(line[9:12])
    if minor is None or status is None or line[12:13] not in ("", " "):
        return None
    found = _fields(lines, _KNOWN_RESPONSE, SPECIAL_RESPONSE_FIELDS)
    if found is None:
        return None
    return end + 4, minor, status, line[13:].strip(" \t"), found[0], found[1]


def scan_request_head(
    data: bytes, start: int, max_line: int, max_field: int, max_fields: int, /
) -> RequestScan | None:
    """The request head at ``data[start:]``: end, minor version, method, target, fields, special.

    Like `scan_response_head`, with SPECIAL_REQUEST_FIELDS. The method is a token, the target
    visible ASCII without "#" and backslash (RFC 9112 §3), whatever its form. None as well where a
    field has the name of a special one but for underscores in the place of hyphens.
    """
    end = data.find(b"\r\n\r\n", start)
    lines = _lines(data, start, end, max_line, max_field, max_fields)
    if lines is None:
        return None
    parts = lines[0].split(" ")
    if len(parts) != 3:
        return None
    method, target, version = parts
    minor = _REQUEST_VERSIONS.get(version)
    if minor is None or not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(target):
        return None
    found = _fields(lines, _KNOWN_REQUEST, SPECIAL_REQUEST_FIELDS)
    if found is None:
        return None
    for name, _value in found[0]:
        if "_" in name and name.lower().replace("_", "-") in SPECIAL_REQUEST_FIELDS:
            return None
    return end + 4, minor, method, target, found[0], found[1]


def _lines(
    data: bytes, start: int, end: int, max_line: int, max_field: int, max_fields: int
) -> list[str] | None:
    """The lines of a head, free of control characters but TAB, and within the limits."""
    if start < 0:
        raise ValueError("start is negative")
    if end < 0:
        return None
    head = data[start:end]
    text = head.decode("utf-8", "surrogateescape")
    lines = text.split("\r\n")
    if len(lines) - 1 > max_fields:
        return None
    # Octets, not characters, are counted; a head that is short as a whole needs no count.
    if len(head) > max_line or len(head) > max_field:
        sizes = [len(line) for line in head.split(b"\r\n")]
        if sizes.pop(0) > max_line or (sizes and max(sizes) > max_field):
            return None
    # str.isprintable() is several times faster than a search, and True only without controls.
    joined = "".join(lines)
    if not joined.isprintable() and _CONTROL.search(joined):
        return None
    return lines


def _fields(
    lines: list[str], known: dict[str, tuple[str, str]], special_names: frozenset[str]
) -> tuple[list[tuple[str, str]], Special] | None:
    fields: list[tuple[str, str]] = []
    special: Special = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        entry = known.get(name)
        if entry is not None:
            name, key = entry
        elif _TOKEN.fullmatch(name):
            key = name.lower()
            if key not in special_names:
                key = ""
        else:
            return None
        if not colon:
            return None
        value = value.strip(" \t")
        fields.append((name, value))
        if key:
            _add_special(special, key, value)
    return fields, special


def _add_special(special: Special, key: str, value: str) -> None:
    before = special.get(key)
    if before is None:
        special[key] = value
    elif isinstance(before, list):
        before.append(value)
    else:
        special[key] = [before, value]


def serialize_head(start_line: str, headers: Iterable[tuple[str, str]], /) -> bytes:
    """A head on the wire: start line, field lines, empty line.

    Text goes out as UTF-8, surrogate escapes as the octets that they stand for. ValueError, naming
    the field, for a name that is no token (RFC 9110 §5.1) and for a control character other than
    TAB in a value or any in the start line (§5.5): CR and LF would let a value end the head.
    TypeError for a name or value that is no str.
    """
    lines = [start_line]
    known = _KNOWN_RESPONSE
    pairs = headers if isinstance(headers, (list, tuple)) else list(headers)
    try:
        for name, value in pairs:
            if name not in known and not _TOKEN.fullmatch(name):
                raise ValueError(f"header name is not a token: {_quoted(name)}")
            # Not an f-string: that would take a value that is no str.
            lines.append(name + ": " + value)
    except TypeError:
        _refuse_type(pairs)
        raise
    joined = "".join(lines)
    if not start_line.isprintable() or not joined.isprintable():
        _refuse_controls(start_line, pairs)
    lines += ("", "")
    try:
        return "\r\n".join(lines).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise _unencodable(pairs) from None


def serialize_and_group(
    start_line: str, headers: Iterable[tuple[str, str]], /
) -> tuple[bytes, Special]:
    """`serialize_head`, and the values of SPECIAL_RESPONSE_FIELDS among the headers."""
    pairs = headers if isinstance(headers, (list, tuple)) else list(headers)
    wire = serialize_head(start_line, pairs)
    special: Special = {}
    for name, value in pairs:
        key = name.lower()
        if key in SPECIAL_RESPONSE_FIELDS:
            _add_special(special, key, value)
    return wire, special


def _quoted(name: str) -> str:
    return repr(name) if len(name) <= _QUOTED_SIZE else f"{name[:_QUOTED_SIZE]!r}..."


def _refuse_type(pairs: Iterable[tuple[object, object]]) -> None:
    for name, value in pairs:
        if not isinstance(name, str):
            raise TypeError(f"header name is not a str but {type(name).__name__}")
        if not isinstance(value, str):
            raise TypeError(
                f"value of header {_quoted(name)} is not a str but {type(value).__name__}"
            )


def _refuse_controls(start_line: str, pairs: Iterable[tuple[str, str]]) -> None:
    found = _CONTROL.search(start_line)
    if found is not None or "\t" in start_line:
        character = "\t" if found is None else found[0]
        raise ValueError(f"start line has control character {character!r}")
    # The value itself is not quoted: it may be a secret.
    for name, value in pairs:
        found = _CONTROL.search(value)
        if found is not None:
            raise ValueError(f"value of header {_quoted(name)} has control character {found[0]!r}")


def _unencodable(pairs: Iterable[tuple[str, str]]) -> ValueError:
    for name, value in pairs:
        try:
            value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return ValueError(f"value of header {_quoted(name)} has a lone surrogate")
    return ValueError("start line has a lone surrogate")


def mask(data: bytes | bytearray | memoryview, key: bytes, /) -> bytes:
    """`data` XORed with the four octets of `key` over and over (RFC 6455 §5.3).

    Masking twice gives the data back. ValueError for a key of another length.
    """
    if len(key) != 4:
        raise ValueError(f"masking key has {len(key)} bytes, not 4")
    masked = bytearray(memoryview(data).cast("B"))
    # A translation of every fourth octet: a loop in Python would be a hundred times slower.
    for lane in range(4):
        masked[lane::4] = masked[lane::4].translate(_xor_table(key[lane]))
    return bytes(masked)


@cache
def _xor_table(octet: int) -> bytes:
    return bytes(octet ^ value for value in range(256))


def advise_huge_pages(buffer: memoryview, /) -> None:
    """Say to the kernel that large pages suit the writable `buffer`, where it wants to know.

    An advice, which changes no result: for 100 MB it saves 25 000 page faults. From here there is
    no way to give it.
    """
    if buffer.readonly:
        raise BufferError("the buffer is not writable")


# --- frames of WebSocket -----------------------------------------------------------------------

_UINT16: Final = Struct("!H")
_UINT64: Final = Struct("!Q")

# RFC 6455 §5.2: each length in the shortest form; these are the first that need 2 and 8 octets.
_MIN_UINT16_LENGTH: Final = 126
_MIN_UINT64_LENGTH: Final = 1 << 16

# FIN, any RSV1 and a known opcode, or the same without FIN where the opcode may be fragmented.
_REGULAR_FRAMES: Final = frozenset(
    fin | rsv1 | opcode
    for fin, opcodes in ((0x80, (0, 1, 2, 8, 9, 10)), (0, (0, 1, 2)))
    for rsv1 in (0, 0x40)
    for opcode in opcodes
)


def scan_frame(
    data: bytes, start: int, masked: bool, max_size: int, /
) -> tuple[int, int, bytes] | None:
    """The WebSocket frame at ``data[start:]``: its end, its first octet, its content unmasked.

    None where the frame is incomplete, not strictly valid (RFC 6455 §5.2: known opcode, RSV2 and
    RSV3 clear, shortest form of the length, control frames short and whole), not masked as it
    should be, or a longer data frame than `max_size`. Then it is the caller who knows what it is.
    RSV1 is left to the caller too.
    """
    if start < 0:
        raise ValueError("start is negative")
    size = len(data)
    if size - start < 2:
        return None
    first = data[start]
    length = data[start + 1]
    if first not in _REGULAR_FRAMES or (length >= 0x80) is not masked:
        return None
    length &= 0x7F
    begin = start + 2
    if length >= 126:
        long = length == 127
        if first & 0x08 or size - start < 10:
            return None
        length = (_UINT64 if long else _UINT16).unpack_from(data, begin)[0]
        begin += 8 if long else 2
        if length < (_MIN_UINT64_LENGTH if long else _MIN_UINT16_LENGTH):
            return None
    key = data[begin : begin + 4] if masked else b""
    begin += len(key)
    end = begin + length
    if end > size or (masked and len(key) < 4) or (length > max_size and not first & 0x08):
        return None
    content = data[begin:end]
    return end, first, mask(content, key) if masked else content


def scan_messages(
    data: bytes,
    start: int,
    masked: bool,
    max_size: int,
    kinds: tuple[type[MessageT], object, object],
    messages: list[MessageT],
    /,
) -> int:
    """Append the messages at ``data[start:]`` that are one frame as it is; where the rest begins.

    `kinds` says what a message is: a subclass of tuple, made of its kind, its content and an empty
    str; the kind of a text, None where texts are left to the caller; that of what is binary. A text
    is str, and left to the caller where it is no UTF-8. Frames are taken as by `scan_frame`.
    """
    if start < 0:
        raise ValueError("start is negative")
    cls, text, binary = kinds
    size = len(data)
    while start < size:
        first = data[start]
        if first != 0x82 and (first != 0x81 or text is None):  # FIN, and text or binary
            break
        scanned = scan_frame(data, start, masked, max_size)
        if scanned is None:
            break
        end, _, content = scanned
        if first == 0x82:
            messages.append(tuple.__new__(cls, (binary, content, "")))
        else:
            try:
                messages.append(tuple.__new__(cls, (text, str(content, "utf-8"), "")))
            except UnicodeDecodeError:
                break
        start = end
    return start


def serialize_frame(
    first: int, content: str | bytes | bytearray | memoryview, key: bytes | None, /
) -> bytes:
    """A WebSocket frame: `first` is its first octet; masked where there is a `key` (RFC 6455 §5.2).

    A str goes out as UTF-8; UnicodeEncodeError where it has lone surrogates. ValueError for a key
    that has not four octets.
    """
    octets = content.encode() if isinstance(content, str) else bytes(content)
    length = len(octets)
    bit = 0 if key is None else 0x80
    if length < _MIN_UINT16_LENGTH:
        head = bytes((first, bit | length))
    elif length < _MIN_UINT64_LENGTH:
        head = bytes((first, bit | 126)) + _UINT16.pack(length)
    else:
        head = bytes((first, bit | 127)) + _UINT64.pack(length)
    if key is None:
        return head + octets
    return b"".join((head, key, mask(octets, key)))
