"""Proxies from the environment, for sessions with `trust_env`.

Owns: which variable speaks for a URL, and which hosts `no_proxy` excepts. Pure: the environment is
given in. Knows nothing of connections, and nothing of netrc, which the caller asks for the
credentials of a proxy that the variable has none for.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

from yarl import URL

from angelia.core.auth import BasicAuth
from angelia.core.patterns import lazy
from angelia.errors import InvalidUrlClientError

__all__ = ("proxy_for",)

_SCHEMES: Final = frozenset({"http", "https", "ws", "wss"})
_PORT: Final = lazy(r"[0-9]{1,5}")
_SEPARATOR: Final = lazy(r"[\s,]+")


def proxy_for(
    url: URL, environ: Mapping[str, str] = os.environ
) -> tuple[URL, BasicAuth | None] | None:
    """The proxy for `url`, without credentials, and the credentials its variable has.

    ``http_proxy``, ``https_proxy``, ``ws_proxy`` and ``wss_proxy`` speak for their schemes,
    ``all_proxy`` for those without one; each in lower case or, if that is not set, in capitals. An
    empty variable means that there is no proxy. None where there is none for `url`, or `no_proxy`
    excepts its host.

    Raises `InvalidUrlClientError`, naming the variable, where its value is no URL.
    """
    if url.scheme not in _SCHEMES:
        return None
    name, value = _variable(f"{url.scheme}_proxy", environ)
    if value is None:
        name, value = _variable("all_proxy", environ)
    if not value or _is_excepted(url, environ):
        return None
    return _parse_proxy(name, value)


def _variable(name: str, environ: Mapping[str, str]) -> tuple[str, str | None]:
    # Under CGI the client's field `Proxy` is the variable HTTP_PROXY, so that it could choose our
    # proxy. Windows has no variables in lower case: the two are one there.
    forgeable = name == "http_proxy" and "REQUEST_METHOD" in environ
    if not (forgeable and os.name == "nt"):
        value = environ.get(name)
        if value is not None:
            return name, value.strip()
    name = name.upper()
    value = None if forgeable else environ.get(name)
    return name, None if value is None else value.strip()


def _parse_proxy(name: str, value: str) -> tuple[URL, BasicAuth | None]:
    # Not the value itself: it may have a password.
    where = f"${name}"
    try:
        proxy = URL(value if "://" in value else f"http://{value}")
        auth = BasicAuth.from_url(proxy)
    except ValueError:
        raise InvalidUrlClientError(where, "is no valid URL of a proxy") from None
    if not proxy.raw_host:
        raise InvalidUrlClientError(where, "names no proxy's host")
    return proxy.with_user(None), auth


# --- no_proxy ----------------------------------------------------------------------------------


_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class _Member(NamedTuple):
    """One member of `no_proxy`: a host, a suffix, an address or a network, and perhaps a port."""

    host: str
    port: int | None


def _is_excepted(url: URL, environ: Mapping[str, str]) -> bool:
    _, value = _variable("no_proxy", environ)
    if not value:
        return False
    if value == "*":
        return True
    host = _plain_host(url.raw_host)
    address = _address(host)
    return any(
        (member.port is None or member.port == url.port) and _covers(member.host, host, address)
        for member in _members(value)
    )


def _members(value: str) -> Iterator[_Member]:
    for text in _SEPARATOR.split(value):
        host, port = text, ""
        if text.startswith("["):
            host, _, after = text[1:].partition("]")
            # Behind the brackets a prefix length may come as well as a port.
            if after.startswith("/"):
                host += after
            else:
                port = after.removeprefix(":")
        elif text.count(":") == 1:
            host, _, port = text.partition(":")
        if not host or (port and not _PORT.fullmatch(port)):
            continue
        yield _Member(host.lower(), int(port) if port else None)


def _covers(pattern: str, host: str, address: _Address | None) -> bool:
    if pattern == "*":
        return True
    if address is not None:
        return _covers_address(pattern, address)
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    # As curl, Python and Go read it, a name stands for what is below it too, on label borders.
    name = _ascii_host(pattern.strip("."))
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _covers_address(pattern: str, address: _Address) -> bool:
    if "/" not in pattern:
        return _address(pattern) == address
    try:
        return address in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return False


def _plain_host(host: str | None) -> str:
    return (host or "").lower().removesuffix(".")


def _ascii_host(name: str) -> str:
    """An international name in the form that URLs have it in."""
    if name.isascii():
        return name
    try:
        return URL.build(scheme="http", host=name).raw_host or ""
    except ValueError:
        return ""
