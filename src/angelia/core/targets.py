"""The target of a request and its Host field: their forms, and whether they agree.

Owns: the grammar of RFC 9112 §3.2 and RFC 9110 §7.2, as pure functions that pass or raise
HeadError. Knows nothing of heads or connections, nor of what a target leads to. That a target is
visible ASCII was found out before.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Final

from angelia.core.h1_wire import excerpt
from angelia.core.patterns import lazy
from angelia.errors import HeadError

__all__ = ("check_host", "check_target")

# RFC 3986 §3.2.2, without the sub-delims of a reg-name, which no name that can be looked up has:
# they are what separates things elsewhere. The zone of RFC 6874 means nothing to others.
_AUTHORITY: Final = lazy(
    r"(?P<host>[A-Za-z0-9._~%-]+|\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|\[[vV][0-9A-Fa-f]+\.[A-Za-z0-9._~:-]+\])"
    r"(?::(?P<port>[0-9]{0,5}))?"
)
_ABSOLUTE: Final = lazy(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?]*)(?:[/?].*)?")
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
MAX_PORT: Final = 65535


def check_host(value: str) -> None:
    """HeadError for a Host that is empty, or no host and port: a list, a path, userinfo."""
    _split(value, "Host")


def check_target(method: str, target: str, host: str | None) -> None:
    """HeadError for a target in a form that `method` does not have, or that belies `host`.

    `host` is the value of the Host field, which has passed `check_host`, or None without one.
    """
    # RFC 9112 §3.2.3: only CONNECT has the authority-form, and only that.
    if method == "CONNECT":
        _check_authority(target, host)
    # RFC 9112 §3.2.1.
    elif target.startswith("/"):
        pass
    # RFC 9112 §3.2.4: the server as a whole can only be asked for its options.
    elif target == "*":
        if method != "OPTIONS":
            raise HeadError(f"target * with method {excerpt(method)}")
    else:
        _check_absolute(target, host)


def _check_authority(target: str, host: str | None) -> None:
    name, port = _split(target, "target")
    if not port:
        raise HeadError(f"target without a port: {excerpt(target)}")
    # RFC 9112 §3.2.3 has no default port here; clients leave it out of Host all the same.
    if host is not None and _split(host, "Host") not in ((name, port), (name, "")):
        raise HeadError(f"Host {excerpt(host)} is not that of the target {excerpt(target)}")


def _check_absolute(target: str, host: str | None) -> None:
    found = _ABSOLUTE.fullmatch(target)
    default = None if found is None else _DEFAULT_PORTS.get(found[1].lower())
    if found is None or default is None:
        raise HeadError(f"target in none of the four forms: {excerpt(target)}")
    name, port = _split(found[2], "target")
    # RFC 9112 §3.2.2 lets the target win over Host. But whoever routes by the one while another
    # routes by the other has been deceived: they must say the same.
    if host is not None:
        other, other_port = _split(host, "Host")
        if (other, other_port or default) != (name, port or default):
            raise HeadError(f"Host {excerpt(host)} is not that of the target {excerpt(target)}")


def _split(authority: str, what: str) -> tuple[str, str]:
    """Host in lower case and port; no userinfo, which RFC 9110 §4.2.4 has us take for an attack."""
    found = _AUTHORITY.fullmatch(authority)
    if found is None or int(found["port"] or 0) > MAX_PORT or not _is_ipv6(found["ipv6"]):
        raise HeadError(f"not a host and port in {what}: {excerpt(authority)}")
    port = found["port"]
    return found["host"].lower(), str(int(port)) if port else ""


def _is_ipv6(literal: str | None) -> bool:
    """Whether a literal is an address; None is no literal. Others cannot be in a URL."""
    if literal is None:
        return True
    try:
        IPv6Address(literal)
    except ValueError:
        return False
    return True
