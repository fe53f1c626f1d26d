"""A WebSocket connection without I/O: RFC 6455 section by section, and properties of the whole."""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.core.interface import Role
from angelia.core.pure import mask
from angelia.core.ws import (
    KEYS_AT_A_TIME,
    MAX_PENDING_PONGS,
    UNCOPIED_SIZE,
    WSConnection,
    WSState,
)
from angelia.core.ws_extensions import PerMessageDeflate
from angelia.core.ws_frames import NO_STATUS, Opcode, WSCloseCode, parse_frame, serialize_close
from angelia.core.ws_messages import WSMessage, WSMsgType
from angelia.errors import LocalProtocolError, ProtocolError, WebSocketError
from core.ws_kit import (
    DEFLATE,
    KEY,
    binary,
    connection,
    each_octet,
    every_way,
    fails,
    failure,
    feed,
    frame,
    known_keys,
    sent,
    state,
    text,
)

roles = pytest.mark.parametrize("role", list(Role))

TEXT, BINARY, CONTINUATION = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION
PING, PONG, CLOSE = Opcode.PING, Opcode.PONG, Opcode.CLOSE


def close(code: int, reason: str | bytes = "") -> WSMessage:
    text = reason.decode() if isinstance(reason, bytes) else reason
    return WSMessage(WSMsgType.CLOSE, code, text)


def gets(wire: bytes, expected: list[WSMessage], role: Role = Role.CLIENT, **options: Any) -> None:
    """However it is cut, these are the messages, and nothing fails."""
    for pieces in every_way(wire) if len(wire) < 300 else iter([[wire], each_octet(wire)]):
        ws = connection(role, **options)
        assert feed(ws, pieces) == expected
        assert state(ws) is not WSState.FAILED


class TestMessages:
    """RFC 6455 §5.4, §5.6, §6: messages, whole and fragmented."""

    @roles
    @pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
    def test_sizes(self, role: Role, size: int) -> None:
        """Every form of the length, in both directions."""
        content = ("a" * size).encode()
        wire = frame(TEXT, content, to=role) + frame(BINARY, content, to=role)
        gets(wire, [text(content.decode()), binary(content)], role)
        ws = connection(Role.SERVER if role is Role.CLIENT else Role.CLIENT)
        ws.send_text(content.decode())
        ws.send_binary(content)
        assert sent(ws) == wire

    @roles
    def test_fragments(self, role: Role) -> None:
        """A message of fragments, empty ones among them, is one message."""
        wire = b"".join(
            [
                frame(TEXT, b"", fin=False, to=role),
                frame(CONTINUATION, b"gr\xc3", fin=False, to=role),
                frame(CONTINUATION, b"", fin=False, to=role),
                frame(CONTINUATION, b"\xbcn", fin=False, to=role),
                frame(CONTINUATION, b"", to=role),
                frame(BINARY, b"\0", fin=False, to=role),
                frame(CONTINUATION, b"\1\xff", to=role),
                frame(TEXT, b"x", to=role),
            ]
        )
        gets(wire, [text("grün"), binary(b"\0\1\xff"), text("x")], role)

    @roles
    def test_control_frames_between_fragments(self, role: Role) -> None:
        """They are dealt with at once, and the message goes on."""
        wire = b"".join(
            [
                frame(TEXT, b"gr\xc3", fin=False, to=role),
                frame(PING, b"are you there", to=role),
                frame(PONG, b"yes", to=role),
                frame(CONTINUATION, b"\xbcn", to=role),
            ]
        )
        pong = WSMessage(WSMsgType.PONG, b"yes", "")
        gets(wire, [pong, text("grün")], role)
        ws = connection(role, autoping=False)
        ping = WSMessage(WSMsgType.PING, b"are you there", "")
        assert feed(ws, [wire]) == [ping, pong, text("grün")]
        assert sent(ws) == b""

    @roles
    def test_sending_fragments(self, role: Role) -> None:
        """A message is sent in fragments, with control frames in between."""
        ws = connection(role)
        ws.send_frame(TEXT, "gr", fin=False)
        ws.send_ping("x")
        ws.send_frame(CONTINUATION, b"\xc3", fin=False)
        ws.send_frame(CONTINUATION, b"\xbc")
        ws.send_frame(BINARY, b"y")
        other = Role.SERVER if role is Role.CLIENT else Role.CLIENT
        assert sent(ws) == b"".join(
            [
                frame(TEXT, b"gr", fin=False, to=other),
                frame(PING, b"x", to=other),
                frame(CONTINUATION, b"\xc3", fin=False, to=other),
                frame(CONTINUATION, b"\xbc", to=other),
                frame(BINARY, b"y", to=other),
            ]
        )

    def test_fragments_sent_out_of_order(self) -> None:
        """Nothing is sent that the peer would have to refuse."""
        ws = connection()
        with pytest.raises(LocalProtocolError, match="no message was begun"):
            ws.send_frame(CONTINUATION, b"x")
        ws.send_frame(BINARY, b"a", fin=False)
        sent(ws)
        for send in (ws.send_binary, ws.send_text):
            with pytest.raises(LocalProtocolError, match="within a fragmented"):
                send(b"x")
        with pytest.raises(LocalProtocolError, match="within a fragmented"):
            ws.send_frame(TEXT, b"x", fin=False)
        with pytest.raises(LocalProtocolError, match="cannot be fragmented"):
            ws.send_frame(PING, b"x", fin=False)
        assert sent(ws) == b""

    @pytest.mark.parametrize(
        "wire",
        [
            frame(CONTINUATION, b"x"),
            frame(CONTINUATION, b"x", fin=False),
            frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"),
            frame(TEXT, b"x", fin=False) + frame(BINARY, b"y", fin=False),
            frame(BINARY, b"x", fin=False) + frame(BINARY, bytes(200)),
        ],
    )
    def test_fragments_mixed(self, wire: bytes) -> None:
        """A stray continuation, and a message within another one, fail with 1002."""
        assert fails(wire, 1002) == []

    def test_stray_continuation_after_a_message(self) -> None:
        """The end of a message is the end of its fragments."""
        wire = frame(TEXT, b"x", fin=False) + frame(CONTINUATION, b"y")
        assert fails(wire + frame(CONTINUATION, b"z"), 1002) == [text("xy")]

    def test_octets_of_text(self) -> None:
        """decode_text=False gives the octets of text, whole, in fragments and in part."""
        wire = (
            frame(TEXT, b"gr\xc3\xbcn")
            + frame(TEXT, b"gr\xc3", fin=False)
            + frame(CONTINUATION, b"\xbcn")
        )
        gets(wire, [text(b"gr\xc3\xbcn")] * 2, decode_text=False)

    def test_json(self) -> None:
        """A message reads itself as JSON."""
        (message,) = connection().receive_data(frame(TEXT, b'{"a": 1}'))
        assert message.json() == {"a": 1}
        assert message.json(loads=len) == 8

    def test_public_enums(self) -> None:
        """WSMsgType has the opcodes' numbers, and its names in lower case too."""
        for opcode in Opcode:
            assert WSMsgType[opcode.name] == int(opcode)
        for name in ("text", "binary", "ping", "pong", "close", "closing", "closed", "error"):
            assert WSMsgType[name] is WSMsgType[name.upper()]

    def test_many_messages_in_one_read(self) -> None:
        """They come in order, with what they were sent as."""
        wire = b"".join(frame(TEXT, str(i)) for i in range(5000))
        assert connection().receive_data(wire) == [text(str(i)) for i in range(5000)]

    @roles
    def test_frames_around_a_large_one(self, role: Role) -> None:
        """A large frame may begin and end anywhere in a read, among others."""
        content = bytes(range(256)) * 1200
        contents = (b"before", content, b"", content + b"more", b"after")
        wire = b"".join(frame(Opcode.BINARY, piece, to=role) for piece in contents)
        wire += frame(Opcode.TEXT, "x" * 300_000, to=role)
        wire += frame(Opcode.BINARY, content, fin=False, to=role)
        wire += frame(Opcode.CONTINUATION, content, to=role)
        expected = [*map(binary, contents), text("x" * 300_000), binary(content * 2)]
        for size in (len(wire), 300_000, 65_536, 9_999):
            ws = connection(role)
            found = [
                message
                for at in range(0, len(wire), size)
                for message in ws.receive_data(wire[at : at + size])
            ]
            assert found == expected

    @roles
    def test_large_message_in_many_reads(self, role: Role) -> None:
        """A message of several megabytes in reads that end anywhere."""
        content = os.urandom(3 * 1024 * 1024)
        wire = frame(BINARY, content, to=role) + frame(TEXT, b"x", to=role)
        ws = connection(role)
        pieces = [wire[at : at + 65521] for at in range(0, len(wire), 65521)]
        assert feed(ws, pieces) == [binary(content), text("x")]


class TestMasking:
    """RFC 6455 §5.1, §5.3, §10.3."""

    def test_direction(self) -> None:
        """A masked frame of a server and an unmasked one of a client fail with 1002."""
        fails(frame(TEXT, b"x", to=Role.SERVER), 1002, Role.CLIENT)
        fails(frame(TEXT, b"x", to=Role.CLIENT), 1002, Role.SERVER)
        fails(frame(CLOSE, to=Role.SERVER), 1002, Role.CLIENT)
        fails(frame(PING, to=Role.CLIENT), 1002, Role.SERVER)

    def test_fresh_keys(self) -> None:
        """Each frame of a client has a key of its own, all from the source of randomness."""
        drawn: list[bytes] = []

        def random_bytes(size: int) -> bytes:
            drawn.append(os.urandom(size))
            return drawn[-1]

        ws = WSConnection(Role.CLIENT, random_bytes=random_bytes)
        assert drawn == []
        count = KEYS_AT_A_TIME * 2 + 1
        for _ in range(count):
            ws.send_binary(b"")
        keys = [bytes(wire[2:6]) for wire in ws.data_to_send()]
        octets = b"".join(drawn)
        made = [octets[at : at + 4] for at in range(0, len(octets), 4)]
        assert Counter(keys) <= Counter(made)
        assert [len(octets) for octets in drawn] == [4 * KEYS_AT_A_TIME] * 3

    def test_server_needs_none(self) -> None:
        """A server draws no randomness."""

        def random_bytes(size: int) -> bytes:
            raise AssertionError

        ws = WSConnection(Role.SERVER, random_bytes=random_bytes)
        ws.send_text("x")
        assert sent(ws) == b"\x81\x01x"

    def test_large_content_is_not_copied(self) -> None:
        """A server's large message goes out as it is, unless its owner could still change it."""
        ws = connection(Role.SERVER)
        content = bytes(UNCOPIED_SIZE)
        ws.send_binary(content)
        head, body = ws.data_to_send()
        assert body is content
        assert bytes(head) + content == frame(BINARY, content)
        changing = bytearray(UNCOPIED_SIZE)
        ws.send_binary(changing)
        changing[0] = 1
        assert sent(ws) == frame(BINARY, content)


class TestReservedBits:
    """RFC 6455 §5.2: bits and opcodes that nobody gave a meaning."""

    @roles
    @pytest.mark.parametrize("rsv", [0x40, 0x20, 0x10, 0x70, 0x60])
    @pytest.mark.parametrize("opcode", list(Opcode))
    def test_bits(self, role: Role, rsv: int, opcode: Opcode) -> None:
        """Without an extension each of them fails with 1002."""
        wire = frame(opcode, b"", rsv=rsv, to=role)
        assert fails(frame(TEXT, b"x", to=role) + wire, 1002, role) == [text("x")]

    @pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
    def test_opcodes(self, opcode: int) -> None:
        """Unknown opcodes fail with 1002."""
        fails(frame(opcode, b"x"), 1002)

    def test_rsv1_of_a_partial_frame(self) -> None:
        """It fails when the head is there, not when the frame is."""
        for opcode in (TEXT, PING):
            ws = connection()
            error = failure(ws.receive_data(frame(opcode, bytes(100), rsv=0x40)[:5]))
            assert error is not None
            assert error.code == 1002


class TestControlFrames:
    """RFC 6455 §5.5."""

    @roles
    def test_ping_is_answered(self, role: Role) -> None:
        """With a Pong of the same content, in order."""
        ws = connection(role)
        other = Role.SERVER if role is Role.CLIENT else Role.CLIENT
        for content in (b"", b"x", bytes(125)):
            assert ws.receive_data(frame(PING, content, to=role)) == []
        assert sent(ws) == b"".join(frame(PONG, c, to=other) for c in (b"", b"x", bytes(125)))

    def test_ping_cut(self) -> None:
        """A Ping is answered once, however it is cut."""
        for pieces in every_way(frame(PING, b"hello")):
            ws = connection(Role.CLIENT)
            assert feed(ws, pieces) == []
            assert sent(ws) == frame(PONG, b"hello", to=Role.SERVER)

    def test_pong(self) -> None:
        """A Pong is reported, whether it was asked for or not."""
        gets(frame(PONG, b"x"), [WSMessage(WSMsgType.PONG, b"x", "")])

    def test_own_control_frames(self) -> None:
        """Ping and Pong with text or octets, of 125 octets at most."""
        ws = connection(Role.SERVER)
        ws.send_ping()
        ws.send_ping("grün")
        ws.send_pong(bytearray(b"x"))
        ws.send_frame(PONG, bytes(125))
        assert sent(ws) == b"\x89\x00\x89\x05gr\xc3\xbcn\x8a\x01x\x8a\x7d" + bytes(125)
        for send in (ws.send_ping, ws.send_pong):
            with pytest.raises(LocalProtocolError, match="126 bytes"):
                send(bytes(126))
        assert sent(ws) == b""

    @pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
    def test_long_or_fragmented(self, opcode: Opcode) -> None:
        """They are short and whole, else it is 1002."""
        fails(frame(opcode, bytes(126)), 1002)
        fails(frame(opcode, b"", fin=False), 1002)

    def test_pings_beyond_the_limit(self) -> None:
        """§5.5.3: what is not answered one by one is answered for the latest."""
        ws = connection(Role.SERVER)
        count = MAX_PENDING_PONGS * 3
        for i in range(count):
            ws.receive_data(frame(PING, str(i), to=Role.SERVER))
        wire = sent(ws)
        expected = [*range(MAX_PENDING_PONGS), count - 1]
        assert wire == b"".join(frame(PONG, str(i)) for i in expected)
        # Once the socket took them there is room again.
        ws.receive_data(frame(PING, b"again", to=Role.SERVER))
        assert sent(ws) == frame(PONG, b"again")

    def test_latest_pong_before_close(self) -> None:
        """No frame follows a Close."""
        ws = connection(Role.SERVER)
        for i in range(MAX_PENDING_PONGS + 1):
            ws.receive_data(frame(PING, str(i), to=Role.SERVER))
        ws.send_close()
        ws.receive_data(frame(PING, b"late", to=Role.SERVER))
        assert sent(ws).endswith(frame(PONG, str(MAX_PENDING_PONGS)) + b"\x88\x02\x03\xe8")


class TestClosingHandshake:
    """RFC 6455 §5.5.1, §7.1."""

    @roles
    def test_peer_closes(self, role: Role) -> None:
        """Its Close is reported and answered with its code; what comes later is discarded."""
        other = Role.SERVER if role is Role.CLIENT else Role.CLIENT
        wire = frame(CLOSE, serialize_close(4000, "grün"), to=role)
        for pieces in every_way(wire):
            ws = connection(role)
            assert feed(ws, pieces) == [close(4000, "grün")]
            assert state(ws) is WSState.CLOSED
            assert (ws.close_code, ws.close_reason) == (4000, "grün")
            assert sent(ws) == frame(CLOSE, serialize_close(4000), to=other)
            assert not ws.receiving
            assert ws.receive_data(frame(TEXT, b"x", to=role) + b"\xff") == []
            assert ws.receive_eof() == []
            assert ws.close_code == 4000

    def test_close_and_more_in_one_read(self) -> None:
        """What follows a Close in the same read is discarded too, valid or not."""
        ws = connection()
        wire = frame(TEXT, b"a") + frame(CLOSE) + frame(TEXT, b"b") + b"\xff\xff"
        assert ws.receive_data(wire) == [text("a"), close(NO_STATUS)]

    def test_empty_close(self) -> None:
        """§7.1.5: without a code it is 1005, and the answer has none either."""
        ws = connection(Role.SERVER)
        assert ws.receive_data(frame(CLOSE, to=Role.SERVER)) == [close(NO_STATUS)]
        assert ws.close_code == 1005
        assert sent(ws) == b"\x88\x00"

    @roles
    def test_we_close(self, role: Role) -> None:
        """After our Close data of the peer is still received, until its Close."""
        ws = connection(role)
        ws.send_close(1001, "bye")
        assert state(ws) is WSState.CLOSE_SENT
        assert connection().close_code is None
        other = Role.SERVER if role is Role.CLIENT else Role.CLIENT
        assert sent(ws) == frame(CLOSE, serialize_close(1001, "bye"), to=other)
        late = frame(TEXT, b"late", to=role) + frame(PING, b"x", to=role)
        assert ws.receive_data(late) == [text("late")]
        assert ws.receive_data(frame(CLOSE, serialize_close(1001), to=role)) == [close(1001)]
        assert state(ws) is WSState.CLOSED
        assert ws.close_code == 1001
        assert sent(ws) == b""

    def test_both_close(self) -> None:
        """Two Closes that cross complete the handshake."""
        client, server = connection(Role.CLIENT), connection(Role.SERVER)
        client.send_close(1000)
        server.send_close(1001)
        to_server, to_client = sent(client), sent(server)
        assert server.receive_data(to_server) == [close(1000)]
        assert client.receive_data(to_client) == [close(1001)]
        assert state(client) is state(server) is WSState.CLOSED
        assert sent(client) == sent(server) == b""

    def test_autoclose_off(self) -> None:
        """The answer is left to the caller, who may end its message first."""
        ws = connection(Role.SERVER, autoclose=False)
        ws.send_frame(TEXT, "a", fin=False)
        assert ws.receive_data(frame(CLOSE, to=Role.SERVER)) == [close(NO_STATUS)]
        assert state(ws) is WSState.CLOSE_RECEIVED
        ws.send_frame(CONTINUATION, b"b")
        ws.send_text("c")
        ws.send_close(1000)
        assert sent(ws) == b"\x01\x01a\x80\x01b\x81\x01c\x88\x02\x03\xe8"
        assert state(ws) is WSState.CLOSED
        assert ws.close_code == NO_STATUS

    @pytest.mark.parametrize("when", ["close sent", "closed", "failed"])
    def test_nothing_is_sent_after_a_close(self, when: str) -> None:
        """RFC 6455 §5.5.1: each kind of frame is refused, and nothing of it goes out."""
        ws = connection(Role.SERVER)
        if when == "close sent":
            ws.send_close()
        elif when == "closed":
            ws.receive_data(frame(CLOSE, to=Role.SERVER))
        else:
            ws.receive_eof()
        sent(ws)
        assert ws.state.value == when
        sends: list[Any] = [
            lambda: ws.send_text("x"),
            lambda: ws.send_binary(b"x"),
            ws.send_ping,
            ws.send_pong,
            ws.send_close,
            lambda: ws.send_frame(TEXT, b"x", fin=False),
            lambda: ws.send_frame(CONTINUATION, b"x"),
            lambda: ws.send_frame(CLOSE, b""),
        ]
        for send in sends:
            with pytest.raises(LocalProtocolError, match="cannot send"):
                send()
        assert sent(ws) == b""

    def test_close_frame(self) -> None:
        """A Close frame sent as a frame is checked and counts as a Close."""
        ws = connection(Role.SERVER)
        for body in (b"\x03", b"\x03\xed", b"\x03\xe8\xff"):
            with pytest.raises(LocalProtocolError):
                ws.send_frame(CLOSE, body)
        with pytest.raises(LocalProtocolError, match="1006"):
            ws.send_close(1006)
        assert state(ws) is WSState.OPEN
        ws.send_frame(CLOSE, serialize_close(1000, "x"))
        assert state(ws) is WSState.CLOSE_SENT
        assert sent(ws) == b"\x88\x03\x03\xe8x"

    def test_eof(self) -> None:
        """§7.1.5: the end of the connection without a Close is 1006, and nothing is sent."""
        for octets in (b"", frame(TEXT, b"abc")[:3], frame(TEXT, b"a", fin=False)):
            ws = connection()
            ws.receive_data(octets)
            error = failure(ws.receive_eof())
            assert error is not None
            assert error.code == ws.close_code == 1006
            assert state(ws) is WSState.FAILED
            assert sent(ws) == b""
            assert ws.receive_eof() == []

    def test_eof_while_closing(self) -> None:
        """A Close that was not answered is 1006 as well."""
        ws = connection()
        ws.send_close()
        error = failure(ws.receive_eof())
        assert error is not None
        assert error.code == 1006

    def test_failure_while_closing(self) -> None:
        """After our Close a broken rule fails the connection without another Close."""
        ws = connection()
        ws.send_close()
        sent(ws)
        error = failure(ws.receive_data(b"\xff"))
        assert error is not None
        assert ws.close_code == 1002
        assert sent(ws) == b""

    def test_close_within_a_message(self) -> None:
        """A message that is not complete when the Close comes never will be."""
        wire = frame(BINARY, b"a", fin=False) + frame(CLOSE)
        gets(wire + frame(CONTINUATION, b"b"), [close(NO_STATUS)])

    @pytest.mark.parametrize("code", [999, 1004, 1005, 1006, 1015, 2999, 5000])
    def test_bad_codes(self, code: int) -> None:
        """§7.4: codes that are never sent fail with 1002."""
        fails(frame(CLOSE, code.to_bytes(2, "big") + b"x"), 1002)

    def test_bad_bodies(self) -> None:
        """A body of one octet is 1002, a reason that is no UTF-8 1007."""
        fails(frame(CLOSE, b"\x03"), 1002)
        fails(frame(CLOSE, b"\x03\xe8\xff"), 1007)
        fails(frame(CLOSE, b"\x03\xe8\xe2\x82"), 1007)

    @pytest.mark.parametrize(
        ("ws", "shown"),
        [
            (connection(), "<WSConnection client open>"),
            (connection(Role.SERVER), "<WSConnection server open>"),
        ],
    )
    def test_repr(self, ws: WSConnection, shown: str) -> None:
        """It tells the state."""
        assert repr(ws) == shown
        ws.receive_eof()
        assert repr(ws) == shown.replace("open", "failed 1006")

    def test_error(self) -> None:
        """An error knows its code and what it says, and fits the tree."""
        error = WebSocketError(WSCloseCode.INVALID_TEXT, "no text")
        assert (error.code, error.message, str(error)) == (1007, "no text", "no text")
        assert error.args == (1007, "no text")
        assert isinstance(error, ProtocolError)


INVALID_UTF8 = [
    b"\x80",
    b"\xbf",
    b"\xc0\x80",
    b"\xc1\xbf",
    b"\xc3(",
    b"\xe0\x80\x80",
    b"\xe0\x9f\xbf",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xf0\x80\x80\x80",
    b"\xf0\x8f\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xfe",
    b"\xff",
]
CUT_UTF8 = [b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xf0"]


class TestText:
    """RFC 6455 §8.1: text is UTF-8 over the whole message."""

    @pytest.mark.parametrize("decode_text", [True, False])
    @pytest.mark.parametrize("octets", INVALID_UTF8 + CUT_UTF8)
    def test_invalid(self, octets: bytes, decode_text: bool) -> None:
        """It fails with 1007, whole and over fragments, and the same for octets of text."""
        content = "grün".encode() + octets
        fails(frame(TEXT, content), 1007, decode_text=decode_text)
        for at in range(len(content) + 1):
            wire = frame(TEXT, content[:at], fin=False) + frame(CONTINUATION, content[at:])
            ws = connection(decode_text=decode_text)
            error = failure(ws.receive_data(wire))
            assert error is not None
            assert error.code == 1007

    @pytest.mark.parametrize("octets", INVALID_UTF8)
    def test_fails_fast(self, octets: bytes) -> None:
        """As soon as no continuation can make it valid: within a fragment, within a frame."""
        ws = connection()
        content = b"abc" + octets + b"x" * 200
        wire = frame(TEXT, content, fin=False)
        error = failure(feed(ws, [wire[: 4 + 3 + len(octets)]]))
        assert error is not None
        assert error.code == 1007
        short = connection()
        assert failure(feed(short, each_octet(frame(TEXT, octets + b"ab")[: 2 + len(octets)])))

    @pytest.mark.parametrize("decode_text", [True, False])
    def test_characters_cut(self, decode_text: bool) -> None:
        """A character may be cut by fragments and by reads, at each of its octets."""
        string = "aü€😀\0\U0010ffff\ue000\ufeff"
        octets = string.encode()
        content: Any = string if decode_text else octets
        for at in range(len(octets) + 1):
            wire = frame(TEXT, octets[:at], fin=False) + frame(CONTINUATION, octets[at:])
            gets(wire, [text(content)], decode_text=decode_text)

    def test_binary_is_anything(self) -> None:
        """Binary messages are not looked at."""
        gets(frame(BINARY, b"\xff\xc0"), [binary(b"\xff\xc0")])

    def test_lone_surrogates_are_not_sent(self) -> None:
        """They have no UTF-8; nothing goes out."""
        ws = connection()
        with pytest.raises(UnicodeEncodeError):
            ws.send_text("\ud800")
        assert sent(ws) == b""


class TestLimit:
    """`max_msg_size`: exact, and found before memory is spent."""

    @roles
    @pytest.mark.parametrize("size", [10, 200, 70000])
    def test_exact(self, role: Role, size: int) -> None:
        """A message of exactly the limit is fine, one octet more is 1009, in one frame or many."""
        for opcode, message in ((BINARY, binary(b"a" * size)), (TEXT, text("a" * size))):
            whole = frame(opcode, b"a" * size, to=role)
            gets(whole, [message], role, max_msg_size=size)
            gets(
                frame(opcode, b"a" * (size - 1), fin=False, to=role)
                + frame(CONTINUATION, b"", fin=False, to=role)
                + frame(CONTINUATION, b"a", to=role),
                [message],
                role,
                max_msg_size=size,
            )
            fails(frame(opcode, b"a" * (size + 1), to=role), 1009, role, max_msg_size=size)
            more = frame(opcode, b"a" * size, fin=False, to=role)
            fails(more + frame(CONTINUATION, b"a", to=role), 1009, role, max_msg_size=size)

    def test_each_message_has_its_own(self) -> None:
        """The limit counts from message to message."""
        wire = frame(BINARY, bytes(10)) * 3
        gets(wire, [binary(bytes(10))] * 3, max_msg_size=10)

    def test_announced(self) -> None:
        """The head of a frame is enough."""
        ws = connection(max_msg_size=1000)
        error = failure(ws.receive_data(frame(BINARY, bytes(1001))[:4]))
        assert error is not None
        assert error.code == 1009
        ws = connection(max_msg_size=1000)
        first = frame(BINARY, bytes(500), fin=False)
        assert ws.receive_data(first) == []
        assert failure(ws.receive_data(frame(CONTINUATION, bytes(501))[:4]))

    def test_octets_are_counted(self) -> None:
        """Not characters."""
        fails(frame(TEXT, "€"), 1009, max_msg_size=2)
        gets(frame(TEXT, "€"), [text("€")], max_msg_size=3)

    def test_none(self) -> None:
        """0 is no limit, but what a number of octets can be."""
        ws = connection(max_msg_size=0)
        assert ws.max_msg_size == sys.maxsize
        size = 5 * 1024 * 1024
        assert feed(ws, [frame(BINARY, bytes(size))]) == [binary(bytes(size))]
        ws.receive_data(bytes.fromhex("02 7f 7f ff ff ff ff ff ff ff"))
        assert state(ws) is WSState.OPEN

    def test_control_frames_have_none(self) -> None:
        """They are short anyway."""
        ws = connection(Role.SERVER, max_msg_size=1)
        ws.receive_data(frame(PING, bytes(100), to=Role.SERVER))
        assert sent(ws) == frame(PONG, bytes(100))

    def test_default(self) -> None:
        """4 MiB."""
        assert connection().max_msg_size == 4 * 1024 * 1024


# --- properties ----------------------------------------------------------------------------------

cuts = st.lists(st.integers(0, 10_000), max_size=6)

contents = st.one_of(st.binary(max_size=20), st.binary(min_size=120, max_size=140))
texts = st.one_of(st.text(max_size=20), st.text(min_size=120, max_size=140))
deflates = st.one_of(
    st.none(),
    st.builds(
        PerMessageDeflate,
        st.booleans(),
        st.booleans(),
        st.integers(8, 15),
        st.integers(8, 15),
    ),
)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("text"), texts),
        st.tuples(st.just("binary"), contents),
        st.tuples(st.just("plain"), texts),
        st.tuples(st.just("ping"), st.binary(max_size=125)),
        st.tuples(st.just("pong"), st.binary(max_size=125)),
        st.tuples(st.just("fragments"), st.lists(contents, min_size=2, max_size=4)),
    ),
    max_size=8,
)


def cut_at(wire: bytes, places: list[int]) -> list[bytes]:
    at = sorted(place % (len(wire) + 1) for place in places)
    return [wire[a:b] for a, b in zip([0, *at], [*at, len(wire)], strict=True)]


def act(ws: WSConnection, kind: str, value: Any) -> list[WSMessage]:
    """Send it, and say what the peer should get."""
    match kind:
        case "text":
            ws.send_text(value)
            return [text(value)]
        case "plain":
            ws.send_text(value, compress=False)
            return [text(value)]
        case "binary":
            ws.send_binary(value)
            return [binary(value)]
        case "ping":
            ws.send_ping(value)
            return [WSMessage(WSMsgType.PING, value, "")]
        case "pong":
            ws.send_pong(value)
            return [WSMessage(WSMsgType.PONG, value, "")]
        case _:
            ws.send_frame(BINARY, value[0], fin=False)
            for content in value[1:-1]:
                ws.send_frame(CONTINUATION, content, fin=False)
            ws.send_frame(CONTINUATION, value[-1])
            return [binary(b"".join(value))]


class TestProperties:
    """What holds for any octets, any frames, any pair of connections."""

    @given(actions, actions, deflates, cuts)
    def test_back_to_back(
        self,
        of_client: list[tuple[str, Any]],
        of_server: list[tuple[str, Any]],
        deflate: PerMessageDeflate | None,
        places: list[int],
    ) -> None:
        """What one side sends, however cut, is what the other gets; both close cleanly."""
        client = WSConnection(Role.CLIENT, random_bytes=os.urandom, deflate=deflate, autoping=False)
        server = WSConnection(Role.SERVER, random_bytes=os.urandom, deflate=deflate, autoping=False)
        for one, other, does in ((client, server, of_client), (server, client, of_server)):
            expected = [message for kind, value in does for message in act(one, kind, value)]
            assert feed(other, cut_at(sent(one), places)) == expected
        client.send_close(4321, "done")
        assert feed(server, cut_at(sent(client), places)) == [close(4321, "done")]
        assert feed(client, cut_at(sent(server), places)) == [close(4321)]
        assert state(client) is state(server) is WSState.CLOSED

    @given(
        st.lists(
            st.one_of(
                st.binary(max_size=8),
                st.builds(
                    lambda first, content, to: frame(first, content, fin=False, to=to),
                    st.sampled_from([0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A, 0x88, 0xC1]),
                    st.one_of(st.binary(max_size=6), st.just(b"\x03\xe8"), st.just(bytes(130))),
                    st.sampled_from(list(Role)),
                ),
            ),
            max_size=6,
        ).map(b"".join),
        st.sampled_from(list(Role)),
        st.sampled_from([None, DEFLATE]),
        cuts,
    )
    def test_any_octets(
        self, wire: bytes, role: Role, deflate: PerMessageDeflate | None, places: list[int]
    ) -> None:
        """Messages, then at most one failure; the same messages and code however they are cut."""
        whole = connection(role, deflate=deflate, max_msg_size=128)
        cut = connection(role, deflate=deflate, max_msg_size=128)
        expected = feed(whole, [wire])
        found = feed(cut, cut_at(wire, places))
        one, other = failure(expected), failure(found)
        codes = {error and error.code for error in (one, other)}
        # Of a text that is neither deflate data nor UTF-8, what comes in pieces is found to be no
        # UTF-8 first.
        assert len(codes) == 1 or (deflate is not None and codes == {1002, 1007})
        assert found[:-1] == expected[:-1]
        assert state(whole) is state(cut)
        assert whole.close_code == cut.close_code
        ending = [message.type for message in expected[:-1]]
        assert WSMsgType.ERROR not in ending
        assert WSMsgType.CLOSE not in ending
        # What is sent in answer is frames, the last of which may be a Close.
        answer = sent(whole)
        at = 0
        while at < len(answer):
            parsed = parse_frame(answer, at, masked=role is Role.CLIENT)
            assert parsed is not None
            answered, at = parsed
            assert answered.opcode in (PONG, CLOSE)
            assert answered.opcode is PONG or at == len(answer)


def test_known_keys() -> None:
    """The kit's keys mask as RFC 6455 §5.7 shows."""
    ws = connection(Role.CLIENT)
    ws.send_text("Hello")
    assert sent(ws) == bytes.fromhex("81 85 37 fa 21 3d 7f 9f 4d 51 58")
    assert mask(b"", KEY) == b""
    assert known_keys(6) == bytes.fromhex("37fa213d37fa")
