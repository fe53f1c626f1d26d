"""Field grammar (RFC 9110 §5): tokens, quoted strings, lists, parameters, and what they build.

Owns: how the value of a field is read, as pure functions from text to values, each in linear time
for any text. Knows nothing of messages, nor of what follows from a field. How field lines become
octets belongs to `h1_wire`.

A received value is `str`, in which octets that were no UTF-8 are surrogate escapes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from angelia.core.charsets import codec_of
from angelia.core.patterns import lazy
from angelia.errors import BadContentDispositionHeader, BadContentDispositionParam

__all__ = (
    "ETag",
    "MediaType",
    "content_disposition_filename",
    "decode_ext_value",
    "is_token",
    "keep_alive_timeout",
    "parse_content_disposition",
    "parse_etags",
    "parse_http_date",
    "parse_links",
    "parse_media_type",
    "parse_parameters",
    "parse_token_list",
    "quote_string",
    "scan_quoted",
    "serialize_http_date",
)


# --- tokens and quoted strings -----------------------------------------------------------------

# RFC 9110 §5.6.2.
_TCHARS: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
TOKEN: Final = lazy(_TCHARS)
# RFC 9110 §5.6.4, without the closing quote. Possessive: a string that is never closed is read
# once, not once for each way to divide it.
_QUOTED: Final = lazy(r'"((?:[^"\\]++|\\.)*+)', re.DOTALL)
_ESCAPED: Final = lazy(r"\\(.)", re.DOTALL)


def is_token(text: str) -> bool:
    """Whether `text` is a token (RFC 9110 §5.6.2), as names of fields and methods are."""
    return TOKEN.fullmatch(text) is not None


def quote_string(text: str) -> str:
    """`text` as a quoted string, with its quotes and backslashes escaped (RFC 9110 §5.6.4)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def scan_quoted(text: str, at: int) -> tuple[str, int, bool]:
    """The quoted string that begins at `at`: its value, where it ends, and whether it is closed."""
    found = _QUOTED.match(text, at)
    if found is None:
        return "", at, False
    value, end = found[1], found.end()
    if "\\" in value:
        value = _ESCAPED.sub(r"\1", value)
    closed = text.startswith('"', end)
    return value, end + 1 if closed else len(text), closed


def end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where a match of `pattern` at `at` ends; `at` where there is none."""
    found = pattern.match(text, at)
    return at if found is None else found.end()


def parse_token_list(values: Iterable[str]) -> list[str]:
    """The members of a list field over all its lines (RFC 9110 §5.6.1).

    They are in lower case, but for those that have other letters than ASCII's, which are no tokens.
    """
    members = (part.strip(" \t") for value in values for part in value.split(","))
    # str.lower() makes ASCII letters of others: the Kelvin sign is no K.
    return [member.lower() if member.isascii() else member for member in members if member]


# --- parameters --------------------------------------------------------------------------------

_PARAMETER: Final = lazy(rf"[ \t]*({_TCHARS})[ \t]*=[ \t]*")
_UNQUOTED: Final = lazy(r'[^;" \t]*')
_TO_SEMICOLON: Final = lazy(r"[^;]*")


def parse_parameters(text: str, at: int = 0) -> dict[str, str]:
    """Parameters (RFC 9110 §5.6.6) separated by ``;``: lower-case name -> value, the first of each.

    What is no parameter is left out; a quoted string that is not closed ends with `text`.
    """
    parameters: dict[str, str] = {}
    size = len(text)
    while at < size:
        found = _PARAMETER.match(text, at)
        if found is not None:
            at = found.end()
            if text.startswith('"', at):
                value, at, _ = scan_quoted(text, at)
            else:
                start, at = at, end_of(_UNQUOTED, text, at)
                value = text[start:at]
            parameters.setdefault(found[1].lower(), value)
        at = end_of(_TO_SEMICOLON, text, at) + 1
    return parameters


# RFC 8187 §3.2.1: charset'language'value. Some leave the charset out, which then is UTF-8.
_EXT_VALUE: Final = lazy(r"([A-Za-z0-9!#$%&+^_`{}~:.-]*)'[^']*'(.*)", re.DOTALL)
_ESCAPE: Final = lazy(r"%(?![0-9A-Fa-f]{2})")


def decode_ext_value(text: str) -> str:
    """The text of an extended parameter, as `filename*` is (RFC 8187).

    Raises `ValueError` where it has not the form, an escape is broken, the charset is unknown or
    the octets do not fit it.
    """
    found = _EXT_VALUE.fullmatch(text)
    if found is None:
        raise ValueError("no charset'language'value")
    return decode_escaped(found[2], found[1])


def decode_escaped(text: str, charset: str) -> str:
    """Undo the percent-encoding of `text`; an empty `charset` is UTF-8. ValueError as above."""
    if _ESCAPE.search(text):
        raise ValueError("a broken percent-escape")
    octets = unquote_to_bytes(text.encode("utf-8", "surrogateescape"))
    try:
        return octets.decode(codec_of(charset or "utf-8"))
    except LookupError as exc:
        raise ValueError(f"unknown charset {charset[:40]!r}") from exc


# --- media types -------------------------------------------------------------------------------


class MediaType(NamedTuple):
    """A media type (RFC 9110 §8.3.1), in lower case but for the values of its parameters.

    ``application/vnd.api+json`` has the type ``application``, the subtype ``vnd.api`` and the
    suffix ``json`` (RFC 6838 §4.2.8). All three are empty where the syntax was wrong.
    """

    type: str
    subtype: str
    suffix: str
    parameters: dict[str, str]

    @property
    def essence(self) -> str:
        """``type/subtype+suffix``, or the empty string."""
        if not self.type:
            return ""
        suffix = f"+{self.suffix}" if self.suffix else ""
        return f"{self.type}/{self.subtype}{suffix}"

    @property
    def is_json(self) -> bool:
        """Whether it is ``application/json``, or another type written in JSON (RFC 6839 §3.1)."""
        return self.suffix == "json" or self[:3] == ("application", "json", "")


_ESSENCE: Final = lazy(rf"[ \t]*({_TCHARS})/({_TCHARS})[ \t]*(?:;|\Z)")


def parse_media_type(text: str) -> MediaType:
    """The value of a `Content-Type` field.

    Without a type in the right form the result has empty names, and the parameters all the same.
    """
    found = _ESSENCE.match(text)
    if found is None:
        semicolon = text.find(";")
        parameters = parse_parameters(text, semicolon + 1) if semicolon >= 0 else {}
        return MediaType("", "", "", parameters)
    kind, subtype = found[1].lower(), found[2].lower()
    name, plus, suffix = subtype.rpartition("+")
    if not plus or not suffix:
        name, suffix = subtype, ""
    return MediaType(kind, name, suffix, parse_parameters(text, found.end()))


# --- dates -------------------------------------------------------------------------------------

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip
_MONTH_NUMBER: Final = {name.lower(): number for number, name in enumerate(_MONTHS, 1)}

# RFC 9110 §5.6.7: IMF-fixdate and the obsolete RFC 850 form; then that of asctime().
_CLOCK: Final = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_FIXDATE: Final = lazy(
    r"[A-Za-z]{3,9}, *(?P<day>[0-9]{1,2})[ -](?P<month>[A-Za-z]{3})[ -]"
    rf"(?P<year>[0-9]{{4}}|[0-9]{{2}}) {_CLOCK} (?:GMT|UTC|[+-]0000)"
)
_ASCTIME: Final = lazy(
    rf"[A-Za-z]{{3}} (?P<month>[A-Za-z]{{3}}) (?P<day>[ 0-9][0-9]) {_CLOCK} (?P<year>[0-9]{{4}})"
)


def parse_http_date(text: str | None) -> datetime | None:
    """The moment that an HTTP date names, in UTC; None for None and for what is none.

    A day of the week that does not fit is overlooked, a leap second is the second before it, and a
    year of two digits lies between 1970 and 2069.
    """
    if text is None:
        return None
    text = text.strip(" \t")
    found = _FIXDATE.fullmatch(text) or _ASCTIME.fullmatch(text)
    if found is None:
        return None
    month = _MONTH_NUMBER.get(found["month"].lower(), 0)
    year = int(found["year"])
    if len(found["year"]) == 2:
        year += 2000 if year < 70 else 1900
    hour, minute, second = int(found["hour"]), int(found["minute"]), int(found["second"])
    if second == 60:
        second = 59
    try:
        return datetime(year, month, int(found["day"]), hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def serialize_http_date(moment: datetime) -> str:
    """An aware datetime as IMF-fixdate, whatever the locale; fractions of a second are cut off."""
    moment = moment.astimezone(UTC)
    return (
        f"{_DAYS[moment.weekday()]}, {moment.day:02} {_MONTHS[moment.month - 1]} "
        f"{moment.year:04} {moment:%H:%M:%S} GMT"
    )


# --- entity tags -------------------------------------------------------------------------------


class ETag(NamedTuple):
    """An entity tag (RFC 9110 §8.8.3), without its quotes; ``*`` is the value that any has."""

    value: str
    is_weak: bool = False


_ETAG: Final = lazy(r'[ \t]*(W/)?"([\x21\x23-\x7e\x80-\U0010ffff]*)"[ \t]*(?:,|\Z)')
_EMPTY_MEMBER: Final = lazy(r"[ \t]*,")


def parse_etags(values: Iterable[str]) -> tuple[ETag, ...]:
    """The tags of `If-Match` and `If-None-Match`, up to the first that is malformed."""
    text = ",".join(values)
    if text.strip(" \t") == "*":
        return (ETag("*"),)
    tags: list[ETag] = []
    at, size = 0, len(text)
    while at < size:
        if found := _ETAG.match(text, at):
            tags.append(ETag(found[2], found[1] is not None))
        # RFC 9110 §5.6.1.2: empty members of a list are overlooked.
        elif not (found := _EMPTY_MEMBER.match(text, at)):
            break
        at = found.end()
    return tuple(tags)


# --- links -------------------------------------------------------------------------------------

_SEPARATORS: Final = lazy(r"[ \t,]*")
_LINK_TARGET: Final = lazy(r"<([^>]*)>")
_LINK_PARAMETER: Final = lazy(rf"[ \t]*;[ \t]*(?:({_TCHARS})[ \t]*(=?)[ \t]*)?")
_LINK_VALUE: Final = lazy(r'[^;," \t]*')
_TO_COMMA: Final = lazy(r'[^,"]*')


def parse_links(values: Iterable[str]) -> list[tuple[str, dict[str, str]]]:
    """Target and parameters of each link in `Link` fields (RFC 8288 §3), in order.

    Names are in lower case, the first of each counts (§3.3), and extended values are decoded. What
    is no link is left out.
    """
    links: list[tuple[str, dict[str, str]]] = []
    for text in values:
        at, last = 0, text.rfind(">")
        # Behind the last ">" there is no target; to look for it from each "<" would be quadratic.
        while at <= last:
            at = end_of(_SEPARATORS, text, at)
            target = _LINK_TARGET.match(text, at)
            if target is None:
                at = _skip_member(text, at)
                continue
            parameters, at = _scan_link_parameters(text, target.end())
            links.append((target[1].strip(" \t"), parameters))
            at = _skip_member(text, at)
    return links


def _scan_link_parameters(text: str, at: int) -> tuple[dict[str, str], int]:
    parameters: dict[str, str] = {}
    while found := _LINK_PARAMETER.match(text, at):
        at = found.end()
        name = (found[1] or "").lower()
        value = ""
        if found[2]:
            if text.startswith('"', at):
                value, at, _ = scan_quoted(text, at)
            else:
                start, at = at, end_of(_LINK_VALUE, text, at)
                value = text[start:at]
        if name.endswith("*"):
            try:
                value = decode_ext_value(value)
            except ValueError:
                continue
        if name:
            parameters.setdefault(name, value)
    return parameters, at


def _skip_member(text: str, at: int) -> int:
    """Where the next member of a list begins, past commas in quoted strings."""
    while (at := end_of(_TO_COMMA, text, at)) < len(text) and text[at] == '"':
        _, at, _ = scan_quoted(text, at)
    return at + 1


# --- Content-Disposition -------------------------------------------------------------------------

_DISPOSITION: Final = lazy(rf"[ \t]*({_TCHARS})[ \t]*(?:;|\Z)")
_DISPOSITION_VALUE: Final = lazy(rf"(?:{_TCHARS})?")
_END_OF_PARAMETER: Final = lazy(r"[ \t]*(?:;|\Z)")
# RFC 2231 §3: filename*0, filename*1*, ...; no more digits than the pieces a field has room for.
_CONTINUATION: Final = lazy(r"(0|[1-9][0-9]{0,3})(\*?)")

# Python remembers every text that it has warned with, so a peer must not be able to choose it.
_BAD_HEADER: Final = "a Content-Disposition field is malformed, and is ignored"
_BAD_PARAMETER: Final = "a parameter of Content-Disposition cannot be decoded, and is ignored"


def parse_content_disposition(header: str | None) -> tuple[str | None, dict[str, str]]:
    """The type and the parameters of a `Content-Disposition` field (RFC 6266, RFC 2183).

    Names are in lower case; the values of extended parameters (``filename*``) are decoded, the
    pieces of continuations (``filename*0``) are left to `content_disposition_filename`. File names
    lose leading path separators, and no more: what a peer sends is not to be used as a path.

    ``(None, {})`` without a header, and after a `BadContentDispositionHeader` warning where it is
    malformed. An extended value that cannot be decoded is left out, after a
    `BadContentDispositionParam` warning.
    """
    if not header:
        return None, {}
    kind = _DISPOSITION.match(header)
    pairs = None if kind is None else _disposition_pairs(header, kind.end())
    if kind is None or pairs is None:
        warnings.warn(_BAD_HEADER, BadContentDispositionHeader, stacklevel=2)
        return None, {}
    parameters: dict[str, str] = {}
    for name, raw in pairs:
        value = raw
        # RFC 2231 §4.1: only the first piece of a continuation names the charset.
        if name.endswith("*") and "*" not in name[:-1]:
            try:
                value = decode_ext_value(raw) if "'" in raw else decode_escaped(raw, "")
            except ValueError:
                warnings.warn(_BAD_PARAMETER, BadContentDispositionParam, stacklevel=2)
                continue
        if name in ("filename", "filename*"):
            value = value.lstrip("\\/")
        parameters[name] = value
    return kind[1].lower(), parameters


def _disposition_pairs(text: str, at: int) -> list[tuple[str, str]] | None:
    """Names and raw values; None where the text is not made of such, or has a name twice."""
    pairs: dict[str, str] = {}
    while at < len(text):
        # Senders end the field with a semicolon, or write two.
        if empty := _END_OF_PARAMETER.match(text, at):
            at = empty.end()
            continue
        found = _PARAMETER.match(text, at)
        if found is None:
            return None
        name, at = found[1].lower(), found.end()
        if text.startswith('"', at):
            value, at, closed = scan_quoted(text, at)
            if not closed:
                return None
        else:
            start, at = at, end_of(_DISPOSITION_VALUE, text, at)
            value = text[start:at]
        end = _END_OF_PARAMETER.match(text, at)
        # RFC 6266 §4.1: a name twice is invalid; which one counts is a matter of taste, and of
        # attacks on those with another taste.
        if end is None or name in pairs:
            return None
        pairs[name], at = value, end.end()
    return list(pairs.items())


def content_disposition_filename(params: Mapping[str, str], name: str = "filename") -> str | None:
    """The parameter `name` in what `parse_content_disposition` gave; None where it is absent.

    RFC 6266 §4.3: the extended form wins over the plain one, and that over continuations.
    """
    value = params.get(f"{name}*")
    if value is None:
        value = params.get(name)
    if value is None:
        value = _continued(params, f"{name}*")
    if value is not None and name == "filename":
        value = value.lstrip("\\/")
    return value


def _continued(params: Mapping[str, str], prefix: str) -> str | None:
    """RFC 2231 §3: the pieces from 0 on, up to the first that is missing, as one text."""
    pieces: dict[int, tuple[str, bool]] = {}
    for key, value in params.items():
        if key.startswith(prefix) and (found := _CONTINUATION.fullmatch(key, len(prefix))):
            pieces.setdefault(int(found[1]), (value, bool(found[2])))
    if 0 not in pieces:
        return None
    charset = ""
    first, extended = pieces[0]
    if extended and (parts := _EXT_VALUE.fullmatch(first)):
        charset, first = parts[1], parts[2]
        pieces[0] = first, True
    octets = bytearray()
    try:
        encoding = codec_of(charset or "utf-8")
        for number in range(len(pieces)):
            if number not in pieces:
                break
            value, extended = pieces[number]
            octets += (
                unquote_to_bytes(value.encode("utf-8", "surrogateescape"))
                if extended
                else value.encode(encoding, "surrogateescape")
            )
        return octets.decode(encoding, "strict")
    except (LookupError, ValueError):
        warnings.warn(_BAD_PARAMETER, BadContentDispositionParam, stacklevel=3)
        return None


# --- persistence -------------------------------------------------------------------------------

# More digits than any server means, few enough to be a small number.
_MAX_TIMEOUT_DIGITS: Final = 9
_TIMEOUT: Final = lazy(rf'timeout[ \t]*=[ \t]*("?)([0-9]{{1,{_MAX_TIMEOUT_DIGITS}}})\1')


def keep_alive_timeout(value: str | Sequence[str]) -> float | None:
    """The seconds that `Keep-Alive` says an idle connection stays open; None if it does not.

    RFC 2068 §19.7.1.1 left the parameters open; servers send ``timeout=5, max=100``.
    """
    values = (value,) if isinstance(value, str) else value
    for member in parse_token_list(values):
        found = _TIMEOUT.fullmatch(member)
        if found is not None:
            return float(found[2])
    return None
