"""What the tests of WebSocket share: connections with known keys, ways to cut, frames by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from angelia.core.interface import Role
from angelia.core.pure import serialize_frame
from angelia.core.ws import WSConnection, WSState
from angelia.core.ws_extensions import PerMessageDeflate
from angelia.core.ws_frames import FIN, RSV1, Opcode
from angelia.core.ws_messages import WSMessage, WSMsgType
from angelia.errors import WebSocketError

KEY = bytes.fromhex("37fa213d")

DEFLATE = PerMessageDeflate()


def known_keys(size: int) -> bytes:
    """Instead of random octets: the key of RFC 6455 §5.7, over and over."""
    return (KEY * (size // 4 + 1))[:size]


def connection(role: Role = Role.CLIENT, **options: Any) -> WSConnection:
    return WSConnection(role, random_bytes=known_keys, **options)


def frame(
    opcode: int,
    content: bytes | str = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    to: Role = Role.CLIENT,
) -> bytes:
    """A frame as the peer of `to` sends it."""
    first = opcode | (FIN if fin else 0) | rsv
    return serialize_frame(first, content, KEY if to is Role.SERVER else None)


def compressed(opcode: int, content: bytes, *, fin: bool = True, to: Role = Role.CLIENT) -> bytes:
    return frame(opcode, content, fin=fin, rsv=RSV1, to=to)


def text(content: str | bytes) -> WSMessage:
    return WSMessage(WSMsgType.TEXT, content, "")


def binary(content: bytes) -> WSMessage:
    return WSMessage(WSMsgType.BINARY, content, "")


def state(ws: WSConnection) -> WSState:
    """Its state, as a question that may be answered differently each time."""
    return ws.state


def sent(ws: WSConnection) -> bytes:
    return b"".join(ws.data_to_send())


def every_way(wire: bytes) -> Iterator[list[bytes]]:
    """Whole, octet by octet, and cut in two at each place."""
    yield [wire]
    yield each_octet(wire)
    for at in range(1, len(wire)):
        yield [wire[:at], wire[at:]]


def each_octet(wire: bytes) -> list[bytes]:
    return [wire[at : at + 1] for at in range(len(wire))]


def feed(ws: WSConnection, pieces: Iterable[bytes]) -> list[WSMessage]:
    messages: list[WSMessage] = []
    for piece in pieces:
        messages += ws.receive_data(piece)
        while ws.pending:
            messages += ws.receive_data(b"")
    return messages


def failure(messages: list[WSMessage]) -> WebSocketError | None:
    """The error that the messages end with."""
    errors = [message for message in messages if message.type is WSMsgType.ERROR]
    assert len(errors) <= 1
    if not errors:
        return None
    assert messages[-1] is errors[0]
    error = errors[0].data
    assert isinstance(error, WebSocketError)
    return error


def fails(wire: bytes, code: int, role: Role = Role.CLIENT, **options: Any) -> list[WSMessage]:
    """However it is cut: the connection fails with this code, once, and says so to the peer.

    What comes behind finds nobody. Returns the messages before the failure.
    """
    before: list[WSMessage] | None = None
    for pieces in every_way(wire) if len(wire) < 300 else iter([[wire], each_octet(wire)]):
        ws = connection(role, **options)
        messages = feed(ws, pieces)
        error = failure(messages)
        assert error is not None
        assert error.code == ws.close_code == code
        wire_close = sent(ws)
        content = wire_close[6:] if role is Role.CLIENT else wire_close[2:]
        if role is Role.CLIENT:
            content = bytes(octet ^ KEY[i % 4] for i, octet in enumerate(content))
        assert wire_close[0] == FIN | Opcode.CLOSE
        assert int.from_bytes(content[:2], "big") == code
        assert feed(ws, [frame(Opcode.TEXT, "canary", to=role)]) == []
        assert not ws.receiving
        if before is not None:
            assert messages[:-1] == before
        before = messages[:-1]
    return before or []
