"""Another implementation, and us: the same frames mean the same, or we say why not.

`wsproto` is asked what it makes of the same frames, in both roles, with and without compression:
which messages, and how it ends. Where it differs from us a reason must be named below. And what
each side sends, the other understands.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import wsproto
from hypothesis import example, given
from hypothesis import strategies as st
from wsproto import events
from wsproto.connection import Connection, ConnectionState
from wsproto.extensions import PerMessageDeflate as TheirDeflate

from angelia.core.interface import Role
from angelia.core.ws import WSConnection
from angelia.core.ws_extensions import DeflateOffer, PerMessageDeflate, check_extensions
from angelia.core.ws_frames import Opcode, serialize_close
from angelia.core.ws_messages import WSMessage, WSMsgType
from core.ws_kit import connection, frame, sent

TEXT, BINARY, CONTINUATION = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION

TAIL = b"\x00\x00\xff\xff"

TYPES = {
    Role.CLIENT: wsproto.ConnectionType.CLIENT,
    Role.SERVER: wsproto.ConnectionType.SERVER,
}


class Verdict(NamedTuple):
    """Messages and control frames in order, and how it ended."""

    found: list[tuple[str, Any]]
    end: tuple[Any, ...]


def our_verdict(ws: WSConnection, wire: bytes) -> Verdict:
    found: list[tuple[str, Any]] = []
    for message in ws.receive_data(wire):
        if message.type is WSMsgType.ERROR:
            return Verdict(found, ("failed", message.data.code))
        if message.type is WSMsgType.CLOSE:
            return Verdict(found, ("closed", message.data, message.extra))
        found.append((message.type.name, message.data))
    return Verdict(found, ("open",))


def their_verdict(theirs: Connection, wire: bytes) -> Verdict:
    found: list[tuple[str, Any]] = []
    text: list[str] = []
    octets: list[bytes] = []
    theirs.receive_data(wire)
    for event in theirs.events():
        if isinstance(event, events.TextMessage):
            text.append(event.data)
            if event.message_finished:
                found.append(("TEXT", "".join(text)))
                text.clear()
        elif isinstance(event, events.BytesMessage):
            octets.append(bytes(event.data))
            if event.message_finished:
                found.append(("BINARY", b"".join(octets)))
                octets.clear()
        elif isinstance(event, events.Ping):
            found.append(("PING", bytes(event.payload)))
        elif isinstance(event, events.Pong):
            found.append(("PONG", bytes(event.payload)))
        elif isinstance(event, events.CloseConnection):
            if theirs.state is ConnectionState.OPEN:
                return Verdict(found, ("failed", int(event.code)))
            return Verdict(found, ("closed", int(event.code), event.reason or ""))
    return Verdict(found, ("open",))


def their_deflate(parameters: str) -> TheirDeflate:
    """Their extension, after an offer and an answer with these parameters."""
    extension = TheirDeflate()
    extension.offer()
    extension.finalize(parameters)
    return extension


def deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


# --- receiving the same --------------------------------------------------------------------------

Reason = Callable[[list[tuple[int, bytes]], Verdict, Verdict], bool]


def _rsv1_on_control(frames: list[tuple[int, bytes]], ours: Verdict, theirs: Verdict) -> bool:
    """With the extension in use we tolerate RSV1 on a control frame, where it means nothing."""
    return theirs.end == ("failed", 1002) and any(
        first & 0x48 == 0x48 and not first & 0x30 for first, _ in frames
    )


def _broken_deflate(frames: list[tuple[int, bytes]], ours: Verdict, theirs: Verdict) -> bool:
    """Both fail for broken deflate data; RFC 7692 does not say with which code."""
    return {ours.end, theirs.end} == {("failed", 1002), ("failed", 1007)} and any(
        first & 0x40 for first, _ in frames
    )


def _bad_gateway(frames: list[tuple[int, bytes]], ours: Verdict, theirs: Verdict) -> bool:
    """1014 came into the registry of close codes later than wsproto's list."""
    return ours.end[:2] == ("closed", 1014) and theirs.end == ("failed", 1002)


def _after_the_final_block(frames: list[tuple[int, bytes]], ours: Verdict, theirs: Verdict) -> bool:
    """RFC 7692 §7.2.3.4: after a block with BFINAL we read on, and wsproto does not."""
    for at, (first, _) in enumerate(frames):
        if first & 0x40:
            stream = zlib.decompressobj(wbits=-15)
            try:
                for following, content in frames[at:]:
                    stream.decompress(content + (TAIL if following & 0x80 else b""))
            except zlib.error:
                pass
            if stream.eof:
                return True
    return False


REASONS: list[Reason] = [_rsv1_on_control, _broken_deflate, _bad_gateway, _after_the_final_block]

contents = st.one_of(
    st.binary(max_size=6),
    st.sampled_from(
        [
            b"",
            b"hello",
            "grün €😀".encode(),
            b"gr\xc3",
            b"\xbcn",
            b"\xff",
            b"\xed\xa0\x80",
            bytes(125),
            bytes(126),
            bytes(65536),
            deflated(b"hello"),
            deflated(b""),
            serialize_close(1000, "bye"),
            serialize_close(4999),
            b"\x03",
            b"\x03\xec",
            b"\x03\xe7",
            b"\x03\xf7",
            b"\x07\xd0",
            b"\x13\x88",
            b"\x03\xe8\xff",
        ]
    ),
)
firsts = st.one_of(
    st.sampled_from([0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A, 0xC1, 0x41, 0xC2]),
    st.sampled_from([0x88, 0x83, 0x8B, 0x09, 0x08, 0x91, 0xA1, 0xC0, 0x40, 0xC8, 0xC9]),
)
frame_lists = st.lists(st.tuples(firsts, contents), max_size=6)


def wire_of(frames: list[tuple[int, bytes]], role: Role) -> bytes:
    return b"".join(frame(first, content, fin=False, to=role) for first, content in frames)


@given(frame_lists, st.sampled_from(list(Role)), st.booleans())
@example([(0x01, b"gr\xc3"), (0x89, b"x"), (0x80, b"\xbcn")], Role.CLIENT, False)
@example([(0x88, b"\x03")], Role.CLIENT, False)
@example([(0x88, b"\x03\xf6")], Role.CLIENT, False)
@example([(0xC1, deflated(b"hello")), (0x81, b"plain")], Role.SERVER, True)
@example([(0x41, deflated(b"hello")[:3]), (0x80, deflated(b"hello")[3:])], Role.SERVER, True)
def test_same_verdict(frames: list[tuple[int, bytes]], role: Role, deflate: bool) -> None:
    """The same messages, then the same end, for whole frames, valid or not."""
    ours = our_verdict(
        connection(role, autoping=False, deflate=PerMessageDeflate() if deflate else None),
        wire_of(frames, role),
    )
    theirs = their_verdict(
        Connection(TYPES[role], [their_deflate("permessage-deflate")] if deflate else []),
        wire_of(frames, role),
    )
    if ours != theirs:
        assert any(reason(frames, ours, theirs) for reason in REASONS), (ours, theirs)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("code", [0, 999, *range(1000, 1020), 1100, 2999, 3000, 3999, 4999, 5000])
def test_close_codes(role: Role, code: int) -> None:
    """Both take the same close codes."""
    frames = [(0x88, code.to_bytes(2, "big"))]
    ours = our_verdict(connection(role), wire_of(frames, role))
    theirs = their_verdict(Connection(TYPES[role]), wire_of(frames, role))
    assert ours == theirs or _bad_gateway(frames, ours, theirs)


# --- understanding what the other sends ----------------------------------------------------------

agreements = st.builds(
    PerMessageDeflate, st.booleans(), st.booleans(), st.integers(9, 15), st.integers(9, 15)
)
messages = st.lists(
    st.one_of(st.text(max_size=200), st.binary(max_size=200), st.just(b"ab" * 40_000)), max_size=6
)


def answer(agreed: PerMessageDeflate) -> str:
    """What a server says that agrees on it."""
    parts = ["permessage-deflate"]
    parts += ["server_no_context_takeover"] * agreed.server_no_context_takeover
    parts += ["client_no_context_takeover"] * agreed.client_no_context_takeover
    parts.append(f"server_max_window_bits={agreed.server_max_window_bits}")
    parts.append(f"client_max_window_bits={agreed.client_max_window_bits}")
    return "; ".join(parts)


@given(messages, st.one_of(st.none(), agreements), st.sampled_from(list(Role)))
def test_they_understand_us(
    contents: list[str | bytes], deflate: PerMessageDeflate | None, role: Role
) -> None:
    """What we send they receive."""
    ws = WSConnection(role, random_bytes=os.urandom, deflate=deflate)
    for content in contents:
        if isinstance(content, str):
            ws.send_text(content)
        else:
            ws.send_binary(content)
    ws.send_ping(b"ping")
    ws.send_close(1001, "bye")
    other = Role.SERVER if role is Role.CLIENT else Role.CLIENT
    theirs = Connection(TYPES[other], _extensions(deflate, other))
    expected: list[tuple[str, Any]] = [
        ("TEXT" if isinstance(content, str) else "BINARY", content) for content in contents
    ]
    assert their_verdict(theirs, sent(ws)) == Verdict(
        [*expected, ("PING", b"ping")], ("closed", 1001, "bye")
    )


def _extensions(deflate: PerMessageDeflate | None, role: Role) -> list[Any]:
    """Their extension in this role; as a server it has to accept an offer."""
    if deflate is None:
        return []
    if role is Role.CLIENT:
        return [their_deflate(answer(deflate))]
    extension = TheirDeflate(
        client_no_context_takeover=deflate.client_no_context_takeover,
        server_no_context_takeover=deflate.server_no_context_takeover,
        client_max_window_bits=deflate.client_max_window_bits,
        server_max_window_bits=deflate.server_max_window_bits,
    )
    extension.accept(answer(deflate))
    return [extension]


@given(messages, st.one_of(st.none(), agreements), st.sampled_from(list(Role)))
def test_we_understand_them(
    contents: list[str | bytes], deflate: PerMessageDeflate | None, role: Role
) -> None:
    """What they send we receive."""
    other = Role.SERVER if role is Role.CLIENT else Role.CLIENT
    theirs = Connection(TYPES[other], _extensions(deflate, other))
    wire = b""
    for content in contents:
        event: events.Event
        if isinstance(content, str):
            event = events.TextMessage(data=content)
        else:
            event = events.BytesMessage(data=content)
        wire += theirs.send(event)
    wire += theirs.send(events.Pong(payload=b"pong"))
    wire += theirs.send(events.CloseConnection(code=1000, reason="bye"))
    expected = [
        WSMessage(WSMsgType.TEXT if isinstance(content, str) else WSMsgType.BINARY, content, "")
        for content in contents
    ]
    expected.append(WSMessage(WSMsgType.PONG, b"pong", ""))
    expected.append(WSMessage(WSMsgType.CLOSE, 1000, "bye"))
    ws = connection(role, deflate=deflate)
    assert ws.receive_data(wire) == expected
    # And they take our answer for the end.
    assert their_verdict(theirs, sent(ws)).end == ("closed", 1000, "")


@pytest.mark.parametrize(
    "offer",
    [
        DeflateOffer(),
        DeflateOffer(server_max_window_bits=10),
        DeflateOffer(client_max_window_bits=12),
        DeflateOffer(server_no_context_takeover=True, client_no_context_takeover=True),
        DeflateOffer(client_max_window_bits=None),
    ],
)
def test_they_answer_our_offers(offer: DeflateOffer) -> None:
    """A server of theirs takes each of our offers, and we take its answer."""
    extension = TheirDeflate()
    accepted = extension.accept(offer.serialize())
    assert accepted is not False
    value = "permessage-deflate"
    if isinstance(accepted, str) and accepted:
        value = f"permessage-deflate; {accepted}"
    assert check_extensions([value], offer) is not None
