"""What of URLs and fields may be shown: in messages, in representations, and so in logs.

Owns which parts are secrets. It changes nothing: attributes keep what they have, only the text that
is made of them lacks it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from yarl import URL

__all__ = (
    "MASK",
    "SECRET_FIELDS",
    "shown",
    "shown_fields",
    "shown_headers",
    "shown_tuple",
    "shown_url",
)

MASK: Final = "***"

# Fields whose values give access, or are often used for what does; names in lower case.
SECRET_FIELDS: Final = frozenset(
    {
        "authentication-info",
        "authorization",
        "cookie",
        "cookie2",
        "proxy-authentication-info",
        "proxy-authorization",
        "set-cookie",
        "set-cookie2",
        "x-api-key",
        "x-auth-token",
        "x-csrf-token",
    }
)

# Fields whose values are URLs, which may have credentials.
URL_FIELDS: Final = frozenset({"content-location", "location", "referer", "refresh"})


def shown_url(url: object) -> str:
    """A URL, or what was given for one, without its password; a user without one is masked too."""
    text = str(url)
    if "@" not in text:
        return text
    if isinstance(url, URL) and url.raw_host is not None:
        return _shown_parsed(url, text)
    scheme, slashes, rest = text.partition("//")
    if not slashes:
        scheme, rest = "", text
    if _has_no_user(rest):
        return text
    # RFC 3986 §3.2.1 ends user information before the path. What is no URL may have a slash in its
    # password, so that the last "@" of all counts.
    given, _, host = rest.rpartition("@")
    user, colon, _ = given.partition(":")
    return f"{scheme}{slashes}{user if colon else ''}{colon}{MASK}@{host}"


def _has_no_user(rest: str) -> bool:
    """Whether what stands behind the slashes is a host, with or without port, before any path."""
    authority = rest.partition("/")[0].partition("?")[0].partition("#")[0]
    port = authority.rpartition("]")[2].partition(":")[2]
    return "@" not in authority and (not port or (port.isascii() and port.isdigit()))


def _shown_parsed(url: URL, text: str) -> str:
    if url.raw_password is not None:
        return str(url.with_password(MASK))
    if url.raw_user is not None:
        return str(url.with_user(MASK))
    return text


def _shown_value(name: str, value: Any) -> Any:
    name = name.lower()
    if name in SECRET_FIELDS:
        return MASK
    if name in URL_FIELDS and isinstance(value, str):
        return shown_url(value)
    return value


def shown_fields(pairs: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Name and value pairs, with the values that are secrets masked."""
    return [(name, _shown_value(name, value)) for name, value in pairs]


def shown_headers(headers: object) -> str:
    """As `repr`, but with the values that are secrets masked; for anything that has fields."""
    if isinstance(headers, Mapping):
        pairs = ", ".join(f"{name!r}: {value!r}" for name, value in shown_fields(headers.items()))
        return f"<{type(headers).__name__}({pairs})>"
    return repr(headers)


def shown(value: object) -> str:
    """As `repr`, for any value among the facts of a request: a URL, fields, octets, others."""
    if isinstance(value, URL):
        return f"URL({shown_url(value)!r})"
    if isinstance(value, Mapping):
        return shown_headers(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    return repr(value)


def shown_tuple(value: tuple[Any, ...], names: Iterable[str]) -> str:
    """As `repr`, for a tuple with names."""
    facts = ", ".join(f"{name}={shown(item)}" for name, item in zip(names, value, strict=True))
    return f"{type(value).__name__}({facts})"
