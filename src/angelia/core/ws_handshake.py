"""The opening handshake of a WebSocket connection (RFC 6455 §4), as pure functions for both roles.

Owns: which header fields a request and its response carry, and whether those that came are right.
Extensions are `ws_extensions`'. Knows nothing of connections, and nothing of randomness: a key is
made of what it is given. HandshakeError carries what was found, and what a server answers.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from angelia.core.fields import is_token, parse_token_list
from angelia.core.interface import Headers
from angelia.core.ws_extensions import DeflateOffer, PerMessageDeflate, check_extensions
from angelia.errors import HandshakeError

__all__ = (
    "KEY_SIZE",
    "VERSION",
    "ClientHandshake",
    "ServerHandshake",
    "accept_key",
    "check_request",
    "check_response",
    "choose_protocol",
    "make_key",
    "request_fields",
    "response_fields",
)

VERSION: Final = "13"

# RFC 6455 §4.1: the octets of a key, before base64.
KEY_SIZE: Final = 16

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3


def make_key(octets: bytes) -> str:
    """The Sec-WebSocket-Key of KEY_SIZE random octets; ValueError for another number of them."""
    if len(octets) != KEY_SIZE:
        raise ValueError(f"a key has {KEY_SIZE} bytes, not {len(octets)}")
    return base64.b64encode(octets).decode("ascii")


def accept_key(key: str) -> str:
    """The Sec-WebSocket-Accept that answers a key (RFC 6455 §4.2.2)."""
    # What SHA-1 does here is no matter of security.
    digest = hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode("ascii")


def _values(headers: Headers, name: str) -> list[str]:
    return [value.strip(" \t") for field, value in headers if field.lower() == name]


def _check_upgrade(headers: Headers, *, alone: bool) -> None:
    """RFC 6455 §4.1, §4.2.1: Upgrade has ``websocket``, Connection ``upgrade``, in any case.

    A client may ask for others as well; the answer is the one that is spoken, `alone`.
    """
    upgrade = _values(headers, "upgrade")
    found = parse_token_list(upgrade)
    if "websocket" not in found or (alone and len(set(found)) > 1):
        raise _refused("Upgrade is not websocket", "Upgrade", upgrade)
    connection = _values(headers, "connection")
    if "upgrade" not in parse_token_list(connection):
        raise _refused("Connection has no upgrade", "Connection", connection)


def _refused(message: str, field: str, values: Sequence[str]) -> HandshakeError:
    return HandshakeError(message, field=field, found=", ".join(values) if values else None)


# --- client ------------------------------------------------------------------------------------


class ClientHandshake(NamedTuple):
    """What a client learns from the response."""

    protocol: str | None
    """The subprotocol that the server chose."""
    deflate: PerMessageDeflate | None


def request_fields(
    key: str,
    *,
    protocols: Iterable[str] = (),
    deflate: DeflateOffer | None = None,
    origin: str | None = None,
) -> list[tuple[str, str]]:
    """The fields that make a request an opening handshake (RFC 6455 §4.1).

    ValueError for a subprotocol that is no token or comes twice.
    """
    fields = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", VERSION),
        ("Sec-WebSocket-Key", key),
    ]
    offered = list(protocols)
    for protocol in offered:
        if not is_token(protocol):
            raise ValueError(f"subprotocol is no token: {protocol!r}")
    if len(set(offered)) < len(offered):
        raise ValueError("a subprotocol is offered twice")
    if offered:
        fields.append(("Sec-WebSocket-Protocol", ", ".join(offered)))
    if deflate is not None:
        fields.append(("Sec-WebSocket-Extensions", deflate.serialize()))
    if origin is not None:
        fields.append(("Origin", origin))
    return fields


def check_response(
    status: int,
    headers: Headers,
    key: str,
    *,
    protocols: Iterable[str] = (),
    deflate: DeflateOffer | None = None,
) -> ClientHandshake:
    """What was agreed on, if the response completes the handshake; HandshakeError if it does not.

    `key`, `protocols` and `deflate` are those of the request. A subprotocol that was not offered
    is taken for none, as the documented API does, and so are two.
    """
    if status != 101:
        raise HandshakeError(f"status is {status}, not 101", found=str(status))
    _check_upgrade(headers, alone=True)
    accept = _values(headers, "sec-websocket-accept")
    if accept != [accept_key(key)]:
        raise _refused(
            "Sec-WebSocket-Accept does not answer the key", "Sec-WebSocket-Accept", accept
        )
    agreed = check_extensions(_values(headers, "sec-websocket-extensions"), deflate)
    chosen = _values(headers, "sec-websocket-protocol")
    # RFC 6455 §4.1 (6) would have us fail; whoever needs a subprotocol sees that there is none.
    protocol = chosen[0] if len(chosen) == 1 and chosen[0] in tuple(protocols) else None
    return ClientHandshake(protocol, agreed)


# --- server ------------------------------------------------------------------------------------


class ServerHandshake(NamedTuple):
    """What a server learns from the request."""

    key: str
    version: str
    protocols: tuple[str, ...]
    """The subprotocols that the client offers, most wanted first."""
    extensions: tuple[str, ...]
    """The values of Sec-WebSocket-Extensions, for `accept_deflate`."""
    origin: str | None
    """From where a browser's page asks (RFC 6455 §10.2)."""


def check_request(headers: Headers, *, versions: Sequence[str] = (VERSION,)) -> ServerHandshake:
    """The opening handshake in a request's fields (RFC 6455 §4.2.1); HandshakeError if it is none.

    The error's `status` is 426 for another version, with a field that lists `versions`, and 400 for
    the rest. The method is the caller's to judge.
    """
    _check_upgrade(headers, alone=False)
    version = _values(headers, "sec-websocket-version")
    if len(version) != 1 or version[0] not in versions:
        # §4.2.2, §4.4: say which versions there are.
        raise HandshakeError(
            "Sec-WebSocket-Version is not supported",
            field="Sec-WebSocket-Version",
            found=", ".join(version) if version else None,
            status=426,
            headers=(("Sec-WebSocket-Version", ", ".join(versions)),),
        )
    key = _values(headers, "sec-websocket-key")
    if len(key) != 1 or not _is_key(key[0]):
        raise _refused("Sec-WebSocket-Key is not 16 bytes in base64", "Sec-WebSocket-Key", key)
    origin = _values(headers, "origin")
    return ServerHandshake(
        key[0],
        version[0],
        _protocols(_values(headers, "sec-websocket-protocol")),
        tuple(_values(headers, "sec-websocket-extensions")),
        origin[0] if origin else None,
    )


def _is_key(text: str) -> bool:
    try:
        octets = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return False
    # Of the last character only some bits count: another spelling is another key (§4.2.1).
    return len(octets) == KEY_SIZE and len(text) == 24


def _protocols(values: Sequence[str]) -> tuple[str, ...]:
    """The offered subprotocols, in their own case."""
    names = [name for value in values for part in value.split(",") if (name := part.strip(" \t"))]
    for name in names:
        if not is_token(name):
            raise _refused("a subprotocol is no token", "Sec-WebSocket-Protocol", values)
    return tuple(names)


def choose_protocol(offered: Iterable[str], supported: Iterable[str]) -> str | None:
    """Of the client's subprotocols the first that the server supports too, or None."""
    known = frozenset(supported)
    return next((protocol for protocol in offered if protocol in known), None)


def response_fields(
    key: str, *, protocol: str | None = None, extensions: str | None = None
) -> list[tuple[str, str]]:
    """The fields of the 101 that completes the handshake (RFC 6455 §4.2.2)."""
    fields = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", accept_key(key)),
    ]
    if protocol is not None:
        fields.append(("Sec-WebSocket-Protocol", protocol))
    if extensions is not None:
        fields.append(("Sec-WebSocket-Extensions", extensions))
    return fields
