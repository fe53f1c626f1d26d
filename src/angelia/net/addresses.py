"""Host literals and lists of addresses: pure functions, no lookup and no connection.

Owns what counts as an address, which host texts are refused, how an address becomes what the
socket calls want, and the order in which several addresses are tried.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, zip_longest
from typing import Any, TypeAlias, TypedDict

from angelia.errors import InvalidUrlClientError

__all__ = (
    "AddrInfoType",
    "ResolveResult",
    "SocketFactoryType",
    "address_info",
    "authority",
    "check_host",
    "check_port",
    "interleave",
    "literal_family",
    "literal_result",
    "rotate",
)

# As `socket.getaddrinfo` gives it: family, type, protocol, canonical name, socket address.
AddrInfoType: TypeAlias = tuple[
    int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]
]
SocketFactoryType: TypeAlias = Callable[[AddrInfoType], socket.socket]


class ResolveResult(TypedDict):
    """One address of a host, as a resolver gives it.

    `hostname` is the name that was asked for; `host` the address in text form, with ``%scope``
    behind a link-local IPv6 address; `flags` the flags of the lookup.
    """

    hostname: str
    host: str
    port: int
    family: int
    proto: int
    flags: int


# RFC 3986 §3.2.2 reg-name, without percent-encoding: no name in DNS or in a hosts file has any.
_REG_NAME = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=-]+", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9._~!$&()*+,;=:@-]+", re.ASCII)

# One part of an address for inet_aton(3): decimal, octal, hexadecimal.
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+", re.ASCII)
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}", re.ASCII)

# A name has 253 characters (RFC 1035 §2.3.4) and perhaps a final dot.
MAX_HOST_LENGTH = 254


def literal_family(host: str) -> socket.AddressFamily | None:
    """The family of a host that is an IP address in its standard form, None for any other text."""
    if ":" in host:
        address, separator, zone = host.partition("%")
        if separator and not _ZONE.fullmatch(zone):
            return None
        try:
            socket.inet_pton(socket.AF_INET6, address)
        except (OSError, ValueError):
            return None
        return socket.AF_INET6
    if _IPV4.fullmatch(host):
        return socket.AF_INET
    return None


def check_host(host: str) -> socket.AddressFamily | None:
    """The family of a host that is an IP address, None for a name.

    Raises `InvalidUrlClientError` for what is neither. Among that are the forms that only
    inet_aton(3) reads as addresses (``127.1``, ``2130706433``, ``0177.0.0.1``): they pass filters
    that look for ``127.0.0.1``.
    """
    family = literal_family(host)
    if family is not None:
        return family
    if len(host) > MAX_HOST_LENGTH:
        raise InvalidUrlClientError(host[:MAX_HOST_LENGTH], "the host is too long")
    labels = host.removesuffix(".").split(".")
    if not _REG_NAME.fullmatch(host) or not all(labels):
        raise InvalidUrlClientError(host, "is no valid host")
    if all(map(_NUMBER.fullmatch, labels)):
        raise InvalidUrlClientError(host, "is no IPv4 address of four decimal numbers")
    return None


def authority(host: str, port: int) -> str:
    """Host and port as one text, an IPv6 address in brackets and without its zone."""
    if ":" in host:
        # RFC 6874 §1: a zone means something on this machine only.
        return f"[{host.partition('%')[0]}]:{port}"
    return f"{host}:{port}"


def check_port(authority: str) -> None:
    """Raise `ValueError` where the port in `authority` is neither ASCII digits nor nothing.

    RFC 3986 §3.2.3; parsers that use `int` also take ``1_0``, ``+80`` and other digits, so that
    others see another port.
    """
    # The brackets of an IPv6 address hold colons, and so may user and password.
    host = authority.rpartition("@")[2].rpartition("]")[2]
    port = host.partition(":")[2]
    if port and not (port.isascii() and port.isdigit()):
        raise ValueError("the port is no number")


def literal_result(host: str, port: int, family: socket.AddressFamily) -> ResolveResult:
    """What a resolver would give for an address."""
    return ResolveResult(
        hostname=host,
        host=host,
        port=port,
        family=family,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST,
    )


def _scope_id(zone: str) -> int:
    """The number of an IPv6 zone (RFC 4007 §11.2), which is a number or an interface's name.

    Raises `OSError` where there is no such interface.
    """
    # RFC 6874 §2: in a URL the percent sign before a zone is itself percent-encoded.
    if zone.startswith("25") and len(zone) > 2:
        zone = zone[2:]
    if zone.isascii() and zone.isdigit():
        return int(zone[:10])
    return socket.if_nametoindex(zone)


def address_info(result: ResolveResult) -> AddrInfoType | None:
    """A resolver's result in the form of `socket.getaddrinfo`.

    None where this Python cannot handle the family. Raises `OSError` for an unknown IPv6 zone.
    """
    family, host, port = result["family"], result["host"], result["port"]
    address: tuple[Any, ...]
    if family == socket.AF_INET:
        address = (host, port)
    elif family == socket.AF_INET6 and socket.has_ipv6:
        host, _, zone = host.partition("%")
        address = (host, port, 0, _scope_id(zone) if zone else 0)
    else:
        return None
    return family, socket.SOCK_STREAM, result["proto"], "", address


def _by_family(infos: Iterable[AddrInfoType]) -> list[list[AddrInfoType]]:
    families: dict[int, list[AddrInfoType]] = {}
    for info in infos:
        families.setdefault(info[0], []).append(info)
    return list(families.values())


def interleave(infos: Sequence[AddrInfoType], first_family_count: int) -> list[AddrInfoType]:
    """The addresses with their families in turn, in the order of each family (RFC 8305 §4).

    The first family has the first `first_family_count` places; 0 leaves the order alone.
    """
    if first_family_count <= 0 or len(infos) < 2:
        return list(infos)
    first, *others = _by_family(infos)
    head = first[: first_family_count - 1]
    turns = zip_longest(first[first_family_count - 1 :], *others)
    return head + [info for info in chain.from_iterable(turns) if info is not None]


def rotate(results: Sequence[ResolveResult], turn: int) -> list[ResolveResult]:
    """The results with each family's addresses moved on by `turn` places.

    The load spreads over a host's addresses, while the family that the resolver preferred
    (RFC 6724) stays the preferred one.
    """
    families: dict[int, list[ResolveResult]] = {}
    for result in results:
        families.setdefault(result["family"], []).append(result)
    turns = {
        family: iter(group[turn % len(group) :] + group[: turn % len(group)])
        for family, group in families.items()
    }
    return [next(turns[result["family"]]) for result in results]
