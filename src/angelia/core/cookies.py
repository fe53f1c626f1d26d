"""Cookies on the wire (RFC 6265 §4, §5): `Set-Cookie` and `Cookie` fields <-> morsels.

Owns: the grammar, read leniently and written plainly, and the matching of domains and paths. Knows
nothing of jars, clocks or requests. All of it is linear in the length of the field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http.cookies import Morsel
from typing import Any, Final

__all__ = (
    "MAX_COOKIE_SIZE",
    "default_path",
    "domain_matches",
    "make_morsel",
    "pairs_of",
    "parse_cookie_header",
    "parse_set_cookie",
    "parse_set_cookies",
    "path_matches",
    "quoted",
)

# RFC 6265bis §5.6: name and value together; what is longer is ignored.
MAX_COOKIE_SIZE: Final = 4096

# RFC 6265bis §5.6 (1): a control character anywhere drops the cookie; TAB may stand between words.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OCTAL_ESCAPE: Final = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))", re.DOTALL)
# What a value may hold without quotes (RFC 6265 §4.1.1, and what everybody sends besides).
_PLAIN_VALUE: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
_ATTRIBUTES: Final = {
    "expires": "expires",
    "path": "path",
    "comment": "comment",
    "domain": "domain",
    "max-age": "max-age",
    "version": "version",
    "samesite": "samesite",
}
_FLAGS: Final = frozenset({"secure", "httponly", "partitioned"})


def make_morsel(name: str, value: str, coded_value: str) -> Morsel[str]:
    """A morsel of any name: `Morsel.set` refuses names that servers send all the same."""
    morsel: Morsel[str] = Morsel()
    # The documented way to restore a morsel, without the check of its name.
    state = {"key": name, "value": value, "coded_value": coded_value}
    morsel.__setstate__(state)  # type: ignore[attr-defined]  # typeshed does not know the method
    return morsel


def _unquoted(text: str) -> str:
    """A quoted value's content, with octal escapes decoded (as SimpleCookie writes them)."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    inner = text[1:-1]
    if "\\" not in inner:
        return inner
    return _OCTAL_ESCAPE.sub(lambda m: chr(int(m[1], 8)) if m[1] else m[2], inner)


def quoted(value: str) -> str:
    """`value` in quotes if it needs them, with octal escapes for what no quotes can hold."""
    if _PLAIN_VALUE.fullmatch(value):
        return value
    escaped = "".join(
        f"\\{character}"
        if character in '"\\'
        else character
        if " " <= character <= "~" and character not in ",;"
        else "".join(f"\\{octet:03o}" for octet in character.encode("utf-8", "surrogateescape"))
        for character in value
    )
    return f'"{escaped}"'


def parse_set_cookie(line: str) -> Morsel[str] | None:
    """The one cookie of a `Set-Cookie` field; None where it has to be ignored (RFC 6265 §5.2)."""
    if _CONTROL.search(line):
        return None
    first, *attributes = line.split(";")
    name, equals, text = first.partition("=")
    name, text = name.strip(" \t"), text.strip(" \t")
    # RFC 6265bis allows cookies without a name; no server can tell them from another, and
    # "=name=value" has been used to smuggle one.
    if not equals or not name or len(name) + len(text) > MAX_COOKIE_SIZE:
        return None
    morsel = make_morsel(name, _unquoted(text), text)
    for attribute in attributes:
        key, _, value = attribute.partition("=")
        key = key.strip(" \t").lower()
        if key in _FLAGS:
            if key in morsel:
                morsel[key] = True
        elif key in _ATTRIBUTES:
            morsel[_ATTRIBUTES[key]] = _unquoted(value.strip(" \t"))
    return morsel


def parse_set_cookies(lines: Iterable[str]) -> list[Morsel[str]]:
    """The cookies of several fields, without those that are ignored."""
    return [morsel for line in lines if (morsel := parse_set_cookie(line)) is not None]


def parse_cookie_header(header: str) -> list[tuple[str, Morsel[str]]]:
    """The cookies of a `Cookie` field; nothing is an attribute there."""
    cookies = []
    for pair in header.split(";"):
        name, equals, text = pair.partition("=")
        name, text = name.strip(" \t"), text.strip(" \t")
        if equals and name and not _CONTROL.search(pair):
            cookies.append((name, make_morsel(name, _unquoted(text), text)))
    return cookies


def pairs_of(cookies: Any) -> Iterable[tuple[str, str | Morsel[str]]]:
    """Names with values or morsels, of whatever users give as cookies."""
    if isinstance(cookies, Mapping):
        return list(cookies.items())
    return list(cookies)


def domain_matches(domain: str, host: str) -> bool:
    """Whether `host` is `domain` or below it (RFC 6265 §5.1.3); both in lower case."""
    return host == domain or host.endswith(f".{domain}")


def path_matches(cookie_path: str, path: str) -> bool:
    """Whether `path` is `cookie_path` or below it (RFC 6265 §5.1.4)."""
    if not path.startswith("/"):
        path = "/"
    if cookie_path in (path, "/"):
        return True
    return path.startswith(cookie_path) and (
        cookie_path.endswith("/") or path[len(cookie_path)] == "/"
    )


def default_path(path: str) -> str:
    """The directory of a request's path (RFC 6265 §5.1.4)."""
    if not path.startswith("/"):
        return "/"
    return path[: path.rfind("/")] or "/"
