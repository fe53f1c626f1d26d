"""Cookies on the wire (RFC 6265, RFC 6265bis): `Set-Cookie` and `Cookie` fields <-> morsels.

Owns: the grammar, read leniently and written plainly; dates; the matching of domains and paths; the
promises that a name makes. Knows nothing of jars, clocks or requests. All of it is linear in the
length of the field.

What a server sent is kept octet for octet, and so goes back; the decoded value is for the reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from http.cookies import CookieError, Morsel
from typing import Any, Final, TypeVar

from angelia.core.patterns import lazy

__all__ = (
    "MAX_ATTRIBUTE_SIZE",
    "MAX_COOKIE_SIZE",
    "MAX_TIME",
    "ReceivedMorsel",
    "breaks_promise",
    "deadline_of",
    "default_path",
    "domain_chain",
    "domain_matches",
    "fill_morsel",
    "is_address",
    "is_public_suffix",
    "make_morsel",
    "merge_cookie_headers",
    "morsels_of",
    "octets",
    "parse_cookie_date",
    "parse_cookie_header",
    "parse_max_age",
    "parse_set_cookie",
    "parse_set_cookies",
    "path_matches",
    "quoted",
    "serialize_cookie_header",
    "wire_value",
)

# RFC 6265bis §5.6 (5): name and value together, in octets; a longer cookie is ignored.
MAX_COOKIE_SIZE: Final = 4096
# RFC 6265bis §5.6: a longer value of an attribute is ignored.
MAX_ATTRIBUTE_SIZE: Final = 1024
# RFC 1035 §2.3.4: no host is longer; of what is, no parent domains are looked for.
MAX_HOST_SIZE: Final = 253
# The end of the year 9999, in seconds since 1970: no deadline is later, whatever Max-Age says.
MAX_TIME: Final = 253402300799.0

# RFC 6265bis §5.6 (1): a control character anywhere drops the cookie; TAB may stand between words.
_CONTROL: Final = lazy(r"[\x00-\x08\x0a-\x1f\x7f]")
# What would end a name or a value, or the field.
_BREAKS_NAME: Final = lazy(r"[\x00-\x20\x7f;=,]")
_BREAKS_VALUE: Final = lazy(r"[\x00-\x08\x0a-\x1f\x7f;]")

_OCTAL_ESCAPE: Final = lazy(r"\\(?:([0-3][0-7][0-7])|(.))", re.DOTALL)
# RFC 2109 §4.1: a value is a token or a quoted string. The set, like the escapes, is that of
# `http.cookies`, on which many servers are built.
_TOKEN: Final = lazy(r"[A-Za-z0-9!#$%&'*+\-.^_`|~:]+")
_TO_ESCAPE: Final = lazy(r"[^ A-Za-z0-9!#$%&'*+\-.^_`|~:()/<=>?@\[\]{}\u0100-\U0010ffff]")

_TEXT_ATTRIBUTES: Final = frozenset(
    {"expires", "path", "comment", "domain", "max-age", "version", "samesite"}
)
_FLAGS: Final = frozenset({"secure", "httponly", "partitioned"})

# Names that promise how a cookie was set (RFC 6265bis §4.1.3), in lower case.
SECURE_PREFIX: Final = "__secure-"
HOST_PREFIX: Final = "__host-"


class ReceivedMorsel(Morsel[str]):
    """A morsel that came in a field: its `coded_value` goes back as it is, whatever is in it."""

    def copy(self) -> ReceivedMorsel:
        """Another morsel of this kind."""
        morsel = fill_morsel(ReceivedMorsel(), self.key, self.value, self.coded_value)
        dict.update(morsel, self)
        return morsel

    __copy__ = copy


_M = TypeVar("_M", bound=Morsel[str])


# --- values --------------------------------------------------------------------------------------


def fill_morsel(morsel: _M, name: str, value: str, coded_value: str) -> _M:
    """An empty morsel with a name and a value: `Morsel.set` refuses names that servers send.

    A `value` with control characters is left coded: nobody has to expect them in a cookie.
    """
    if _CONTROL.search(value):
        value = coded_value
    # How a pickled morsel is restored, without the check of its name.
    morsel.__setstate__({"key": name, "value": value, "coded_value": coded_value})  # type: ignore[attr-defined]  # typeshed has no __setstate__
    return morsel


def make_morsel(name: str, value: str, coded_value: str) -> Morsel[str]:
    """A morsel without attributes."""
    return fill_morsel(Morsel(), name, value, coded_value)


def _unquoted(text: str) -> str:
    """A quoted value's content, with octal escapes decoded (as `http.cookies` writes them)."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    inner = text[1:-1]
    if "\\" not in inner:
        return inner
    return _OCTAL_ESCAPE.sub(lambda m: chr(int(m[1], 8)) if m[1] else m[2], inner)


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    return f"\\{character}" if character in '"\\' else f"\\{ord(character):03o}"


def quoted(value: str) -> str:
    """`value` as RFC 2109 §4.1 has it: in quotes and escaped, unless it is a token."""
    if _TOKEN.fullmatch(value):
        return value
    return f'"{_TO_ESCAPE.sub(_escaped, value)}"'


def wire_value(value: str | Morsel[str], *, quote: bool) -> str:
    """How a value that a user gave is sent: quoted where it needs that, or else as it is.

    What came from a server, and what is in quotes already, stays as it is coded. ValueError for a
    text that would end the value or the field, if it may not be quoted.
    """
    if isinstance(value, ReceivedMorsel):
        return value.coded_value
    if isinstance(value, Morsel):
        coded = value.coded_value
        is_quoted = len(coded) > 1 and coded[0] == coded[-1] == '"'
        if quote and (not is_quoted or _BREAKS_VALUE.search(coded)):
            return quoted(value.value)
        if not quote and not _BREAKS_VALUE.search(value.value):
            return value.value
        value = coded
    elif quote:
        return quoted(value)
    if _BREAKS_VALUE.search(value):
        raise ValueError("a cookie's value has a control character or a semicolon")
    return value


def octets(text: str) -> int:
    """How long `text` is when it is sent; an octet that was no UTF-8 is a lone surrogate in it."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


# --- Set-Cookie ----------------------------------------------------------------------------------


def parse_set_cookie(line: str) -> ReceivedMorsel | None:
    """The one cookie of a `Set-Cookie` field; None where it has to be ignored.

    RFC 6265 §5.2: up to the first ``;`` stands the cookie, whatever its name; after it, attributes.
    Those that are unknown are ignored, and so are broken ones; of several the last counts.
    """
    if _CONTROL.search(line):
        return None
    first, *attributes = line.split(";")
    name, equals, text = first.partition("=")
    name, text = name.strip(" \t"), text.strip(" \t")
    # RFC 6265bis allows cookies without a name; no server can tell them from another, and
    # "=name=value" has been used to smuggle one.
    if not equals or not name or octets(name) + octets(text) > MAX_COOKIE_SIZE:
        return None
    try:
        morsel = fill_morsel(ReceivedMorsel(), name, _unquoted(text), text)
        for attribute in attributes:
            _set_attribute(morsel, attribute)
    except CookieError:
        # Some releases of Python have no place for a TAB in a morsel.
        return None
    return morsel


def _set_attribute(morsel: Morsel[str], attribute: str) -> None:
    key, _, value = attribute.partition("=")
    key, value = key.strip(" \t").lower(), value.strip(" \t")
    if key in _FLAGS:
        # `partitioned` is new in some releases of Python.
        if key in morsel:
            morsel[key] = True
    elif key in _TEXT_ATTRIBUTES and octets(value) <= MAX_ATTRIBUTE_SIZE:
        value = _unquoted(value)
        # RFC 6265 §5.2.1, §5.2.2: a broken deadline is no attribute, and so hides no earlier one.
        if morsel[key] and (
            (key == "max-age" and parse_max_age(value) is None)
            or (key == "expires" and parse_cookie_date(value) is None)
        ):
            return
        morsel[key] = value


def parse_set_cookies(lines: Iterable[str]) -> list[ReceivedMorsel]:
    """The cookies of several fields, without those that are ignored."""
    return [morsel for line in lines if (morsel := parse_set_cookie(line)) is not None]


def parse_max_age(text: str) -> float | None:
    """The seconds of a `Max-Age` (RFC 6265 §5.2.2), infinite where nobody would see their end.

    Negative ones are 0. None where it is no number.
    """
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        return None
    if text.startswith("-"):
        return 0.0
    digits = digits.lstrip("0")
    return float(digits or 0) if len(digits) <= 12 else float("inf")


# RFC 6265 §5.1.1: what stands between the parts of a date, and the parts; a part may be followed
# by anything that is no digit.
_DATE_DELIMITER: Final = lazy(r"[\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME: Final = lazy(r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?![0-9])")
_DAY: Final = lazy(r"([0-9]{1,2})(?![0-9])")
_YEAR: Final = lazy(r"([0-9]{2,4})(?![0-9])")
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}


def parse_cookie_date(text: str) -> float | None:
    """The moment of an `Expires`, in seconds since 1970 (RFC 6265 §5.1.1); None for no date."""
    time = day = month = year = None
    for part in _DATE_DELIMITER.split(text):
        if time is None and (time := _TIME.match(part)):
            continue
        if day is None and (day := _DAY.match(part)):
            continue
        if month is None and (month := _MONTHS.get(part[:3].lower())):
            continue
        if year is None:
            year = _YEAR.match(part)
    if time is None or day is None or month is None or year is None:
        return None
    number = int(year[1])
    if number < 100:
        number += 1900 if number >= 70 else 2000
    # Step 5: the Gregorian calendar begins in 1601.
    if number < 1601:
        return None
    try:
        moment = datetime(
            number, month, int(day[1]), int(time[1]), int(time[2]), int(time[3]), tzinfo=UTC
        )
    except ValueError:
        return None
    return moment.timestamp()


def deadline_of(morsel: Morsel[str], now: float) -> float | None:
    """When a cookie that is set at `now` expires; None with the session that it belongs to."""
    # RFC 6265 §5.3 (3): Max-Age wins over Expires; broken ones do not count.
    seconds = parse_max_age(str(morsel["max-age"]))
    if seconds is not None:
        # RFC 6265 §5.2.2: zero is the earliest moment, whatever the clock says.
        return min(now + seconds, MAX_TIME) if seconds else 0.0
    expires: Any = morsel["expires"]
    if isinstance(expires, int):
        # As `http.cookies` reads a number: seconds from now.
        return now + max(-now, min(expires, MAX_TIME - now))
    return parse_cookie_date(str(expires)) if expires else None


# --- Cookie --------------------------------------------------------------------------------------


def parse_cookie_header(header: str) -> list[tuple[str, Morsel[str]]]:
    """The cookies of a `Cookie` field, in order; it has no attributes, whatever the names."""
    cookies: list[tuple[str, Morsel[str]]] = []
    for pair in header.split(";"):
        name, equals, text = pair.partition("=")
        name, text = name.strip(" \t"), text.strip(" \t")
        if not equals or not name or _CONTROL.search(pair):
            continue
        try:
            cookies.append((name, fill_morsel(ReceivedMorsel(), name, _unquoted(text), text)))
        except CookieError:
            # A TAB, as above.
            continue
    return cookies


def serialize_cookie_header(pairs: Iterable[tuple[str, str]]) -> str:
    """The value of a `Cookie` field (RFC 6265 §4.2.1), of names and coded values."""
    return "; ".join([f"{name}={value}" for name, value in pairs])


def merge_cookie_headers(*values: str) -> str:
    """Several values of `Cookie` as one; a later cookie takes the place of an earlier namesake."""
    merged: dict[str, str] = {}
    for value in values:
        for part in value.split(";"):
            pair = part.strip(" \t")
            if pair:
                merged[pair.partition("=")[0].rstrip(" \t")] = pair
    return "; ".join(merged.values())


def morsels_of(cookies: Any) -> list[tuple[str, str | Morsel[str]]]:
    """Names with values or morsels, of what users give as cookies.

    That is a mapping (`SimpleCookie` included), an iterable of pairs or of morsels, or one morsel,
    whose name always is its own. TypeError for a str, and `http.cookies.CookieError` for a name
    that no field can hold.
    """
    if isinstance(cookies, str | bytes):
        raise TypeError("cookies are a mapping or an iterable of pairs, not a str")
    if isinstance(cookies, Morsel):
        cookies = (cookies,)
    found: list[tuple[str, str | Morsel[str]]] = []
    for item in cookies.items() if isinstance(cookies, Mapping) else cookies:
        name, value = (item.key, item) if isinstance(item, Morsel) else item
        if isinstance(value, Morsel):
            name = value.key
        elif not isinstance(value, str):
            value = str(value)
        # What a server sent may have blanks inside.
        if not isinstance(value, ReceivedMorsel) and (not name or _BREAKS_NAME.search(name)):
            raise CookieError(f"Illegal key {name!r}")
        found.append((name, value))
    return found


# --- matching ------------------------------------------------------------------------------------


def is_address(host: str) -> bool:
    """Whether `host` is an IP address, or would be read as one: its last label is a number."""
    if ":" in host:
        return True
    # Names of hosts do not end so (RFC 1123 §2.1); 127.1 and 0x7f.1 are what resolvers allow.
    label = host[host.rfind(".") + 1 :]
    return label.isascii() and (label.isdigit() or label[:2] in ("0x", "0X"))


# Under the top-level domains of countries, those below which everybody may register. A list of all
# public suffixes is long, and changes each week; the jar takes one as a function.
_SHARED_SECOND_LEVEL: Final = frozenset({"ac", "co", "com", "edu", "gov", "mil", "org"})


def is_public_suffix(domain: str) -> bool:
    """Whether nobody speaks for `domain`: a single label, or one like ``co.uk``."""
    first, dot, last = domain.partition(".")
    return not dot or (len(last) == 2 and last.isalpha() and first in _SHARED_SECOND_LEVEL)


def domain_chain(host: str) -> list[str]:
    """`host` and the domains that it belongs to, the longest first."""
    chain = [host]
    # Beyond that length it would not be linear, and is no name.
    if len(host) <= MAX_HOST_SIZE and not is_address(host):
        while dot := host.find(".") + 1:
            host = host[dot:]
            chain.append(host)
    return chain


def domain_matches(domain: str, host: str) -> bool:
    """Whether `host` is `domain` or below it (RFC 6265 §5.1.3); both in lower case."""
    return host == domain or (
        host.endswith(domain)
        and host[-len(domain) - 1 : -len(domain)] == "."
        and not is_address(host)
    )


def path_matches(cookie_path: str, path: str) -> bool:
    """Whether `path` is `cookie_path` or below it (RFC 6265 §5.1.4)."""
    if cookie_path in ("/", path):
        return True
    return path.startswith(cookie_path) and (
        cookie_path[-1] == "/" or path[len(cookie_path)] == "/"
    )


def default_path(path: str) -> str:
    """The directory of a request's path (RFC 6265 §5.1.4)."""
    if not path.startswith("/"):
        return "/"
    return path[: path.rfind("/")] or "/"


def breaks_promise(name: str, *, secure: bool, host_only: bool, path: str) -> bool:
    """Whether a cookie is not what its name says (RFC 6265bis §4.1.3, §5.7 (19, 20)).

    `path` is that of the attribute: a promise is not kept by chance. Case is ignored, since
    some servers ignore it.
    """
    # Nor do blanks beyond HTTP's count: there are servers that take them off a name.
    name = name.strip()
    if not name.startswith("__"):
        return False
    name = name.lower()
    if name.startswith(HOST_PREFIX):
        return not (secure and host_only and path == "/")
    return name.startswith(SECURE_PREFIX) and not secure
