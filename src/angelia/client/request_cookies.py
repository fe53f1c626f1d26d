"""The cookies of one request, and what of its URL decides which those are (RFC 6265 §5.1, §5.4).

Owns: how cookies that a user gives for a request become its `Cookie` field, and how URLs and
morsels name hosts, paths and origins where cookies are concerned. Knows nothing of jars.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http.cookies import Morsel
from typing import Any, Final

from yarl import URL

from angelia.core.cookies import (
    domain_matches,
    is_address,
    morsels_of,
    octets,
    path_matches,
    serialize_cookie_header,
    wire_value,
)

__all__ = (
    "MAX_HEADER_SIZE",
    "MAX_PER_REQUEST",
    "SECURE_SCHEMES",
    "domain_of",
    "host_of",
    "join_cookies",
    "origin_of",
    "origins_of",
    "path_of",
    "request_cookie_header",
    "request_cookies",
)

# What a jar adds to one request: servers refuse fields beyond 8 KiB.
MAX_PER_REQUEST: Final = 150
MAX_HEADER_SIZE: Final = 8190
SECURE_SCHEMES: Final = frozenset({"https", "wss"})
_HTTP_SCHEMES: Final = {"ws": "http", "wss": "https"}


def request_cookies(
    cookies: Any,
    url: URL,
    *,
    quote_cookie: bool = True,
    unsafe: bool = False,
    is_secure: bool | None = None,
) -> dict[str, str]:
    """Names and coded values of those of a request's own cookies that go to `url`.

    Plain values all do; morsels as their attributes `domain`, `path` and `secure` say.

    - `cookies`: a mapping, an iterable of pairs or of morsels, or one morsel;
    - `unsafe`: hosts that are IP addresses get cookies, which they do not otherwise;
    - `is_secure`: whether secure ones may go; by default as the scheme says.

    `http.cookies.CookieError` or ValueError where a field cannot hold them.
    """
    if is_secure is None:
        is_secure = url.scheme in SECURE_SCHEMES
    host = host_of(url)
    if not unsafe and is_address(host):
        return {}
    chosen: dict[str, str] = {}
    for name, value in morsels_of(cookies):
        if isinstance(value, Morsel) and not _may_go(value, host, path_of(url), is_secure):
            continue
        chosen[name] = wire_value(value, quote=quote_cookie)
    return chosen


def _may_go(morsel: Morsel[str], host: str, path: str, is_secure: bool) -> bool:
    if morsel["secure"] and not is_secure:
        return False
    domain = domain_of(morsel)
    if domain is None or (domain and not domain_matches(domain, host)):
        return False
    return not morsel["path"].startswith("/") or path_matches(morsel["path"], path)


def request_cookie_header(cookies: Any) -> str:
    """The value of a `Cookie` field for `cookies`, where no jar and no URL have a say."""
    return serialize_cookie_header(
        [(name, wire_value(value, quote=True)) for name, value in morsels_of(cookies)]
    )


def join_cookies(found: Iterable[tuple[str, str]], own: Mapping[str, str]) -> str:
    """A jar's cookies and a request's own as a field.

    The request's own take the places of their namesakes, and come in any case; the jar's as far as
    there is room.
    """
    room = MAX_HEADER_SIZE + 2 - sum(octets(n) + octets(v) + 3 for n, v in own.items())
    number = MAX_PER_REQUEST - len(own)
    chosen: dict[str, str] = {}
    for name, value in found:
        if name in own:
            chosen[name] = own[name]
            continue
        size = octets(name) + octets(value) + 3
        if size <= room and number > 0:
            chosen[name] = value
            room -= size
            number -= 1
    chosen.update(own)
    return serialize_cookie_header(chosen.items())


def host_of(url: URL) -> str:
    """The host that cookies belong to, in lower case; empty for a URL without one."""
    return (url.raw_host or "").lower().removesuffix(".")


def path_of(url: URL) -> str:
    """The path as it is sent."""
    return url.raw_path or "/"


def origin_of(url: URL) -> URL:
    """The origin of an absolute URL; ValueError for others."""
    # RFC 6455 §3: a WebSocket's scheme is that of its handshake.
    origin = url.with_scheme(_HTTP_SCHEMES.get(url.scheme, url.scheme)).origin()
    # RFC 6454 §4: the default port is the same origin, written or not.
    return origin.with_port(None) if origin.is_default_port() else origin


def domain_of(morsel: Morsel[str]) -> str | None:
    """The domain that a morsel names, as hosts are written; empty without, None for no domain."""
    # RFC 6265 §5.2.3: a leading dot does not count.
    domain: str = morsel["domain"].lower().removeprefix(".").removesuffix(".")
    if domain.isascii():
        return domain
    try:
        return URL.build(scheme="http", host=domain).raw_host
    except ValueError:
        return None


def origins_of(origins: str | URL | Iterable[str | URL] | None) -> frozenset[URL]:
    """The origins of one or several URLs."""
    if origins is None:
        return frozenset()
    if isinstance(origins, str | URL):
        origins = (origins,)
    return frozenset(origin_of(URL(origin)) for origin in origins)
