"""permessage-deflate at work (RFC 7692 §6, §7.2): messages in and out of a connection."""

from __future__ import annotations

import os
import zlib
from typing import Any

import pytest

from angelia.core import coding
from angelia.core.deflate import (
    MAX_STREAMS,
    MIN_DEFLATE_WINDOW_BITS,
    MessageDeflater,
    MessageInflater,
)
from angelia.core.interface import Role
from angelia.core.ws import COMPRESSED_EXTRA, COMPRESSED_RATIO, INFLATE_BUDGET, WSConnection
from angelia.core.ws_extensions import PerMessageDeflate
from angelia.core.ws_frames import FIN, RSV1, Opcode, parse_frame
from angelia.core.ws_messages import WSMessage, WSMsgType
from angelia.errors import LocalProtocolError, WebSocketError
from core.ws_kit import (
    DEFLATE,
    binary,
    compressed,
    connection,
    each_octet,
    every_way,
    fails,
    failure,
    feed,
    frame,
    sent,
    text,
)

TEXT, BINARY, CONTINUATION = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION

TAIL = b"\x00\x00\xff\xff"


def deflated(data: bytes, **options: Any) -> bytes:
    """A message of a sender that keeps nothing."""
    stream = zlib.compressobj(wbits=-15, **options)
    return (stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


def pair(deflate: PerMessageDeflate = DEFLATE, **options: Any) -> tuple[WSConnection, WSConnection]:
    return (
        connection(Role.CLIENT, deflate=deflate, **options),
        connection(Role.SERVER, deflate=deflate, **options),
    )


class TestExamples:
    """RFC 7692 §7.2.3: each of its examples."""

    @pytest.mark.parametrize(
        "octets",
        [
            # §7.2.3.1, in one frame and in two.
            "c1 07 f2 48 cd c9 c9 07 00",
            "41 03 f2 48 cd 80 04 c9 c9 07 00",
            # §7.2.3.3: a block without compression.
            "c1 0b 00 05 00 fa ff 48 65 6c 6c 6f 00",
            # §7.2.3.4: a block with BFINAL.
            "c1 08 f3 48 cd c9 c9 07 00 00",
            # §7.2.3.5: two blocks.
            "c1 0d f2 48 05 00 00 00 ff ff ca c9 c9 07 00",
        ],
    )
    def test_received(self, octets: str) -> None:
        """However it is cut, it is "Hello"."""
        for pieces in every_way(bytes.fromhex(octets)):
            ws = connection(deflate=DEFLATE)
            assert feed(ws, pieces) == [text("Hello")]

    def test_takeover(self) -> None:
        """§7.2.3.2: a second message refers to the first."""
        wire = bytes.fromhex("c1 07 f2 48 cd c9 c9 07 00 c1 05 f2 00 11 00 00")
        for pieces in every_way(wire):
            assert feed(connection(deflate=DEFLATE), pieces) == [text("Hello")] * 2
        _, server = pair()
        server.send_text("Hello")
        server.send_text("Hello")
        assert sent(server) == wire

    def test_empty(self) -> None:
        """§7.2.3.6: an empty message is one octet, every time."""
        assert feed(connection(deflate=DEFLATE), [bytes.fromhex("c1 01 00")]) == [text("")]
        assert feed(connection(deflate=DEFLATE), [bytes.fromhex("c1 00")]) == [text("")]
        client, server = pair()
        for _ in range(3):
            server.send_text("")
        server.send_text("x")
        wire = sent(server)
        first = parse_frame(wire, masked=False)
        assert first is not None
        assert client.receive_data(wire) == [text("")] * 3 + [text("x")]


class TestMessages:
    """RFC 7692 §6, §7.2.1, §7.2.2."""

    @pytest.mark.parametrize("server_takes_over", [False, True])
    @pytest.mark.parametrize("client_takes_over", [False, True])
    @pytest.mark.parametrize("bits", [(15, 15), (9, 15), (15, 9), (10, 12), (8, 8)])
    def test_both_ways(
        self, server_takes_over: bool, client_takes_over: bool, bits: tuple[int, int]
    ) -> None:
        """Every combination of windows and takeovers, with messages compressed and not."""
        deflate = PerMessageDeflate(not server_takes_over, not client_takes_over, *bits)
        for one, other in (pair(deflate), reversed(pair(deflate))):
            expected = []
            for i in range(4):
                content = f"{i} grün ".encode() * 700 + os.urandom(600)
                one.send_text(f"{i} grün " * 300)
                one.send_binary(content)
                one.send_binary(content, compress=False)
                expected += [text(f"{i} grün " * 300), binary(content), binary(content)]
            wire = sent(one)
            pieces = [wire[at : at + 1000] for at in range(0, len(wire), 1000)]
            assert feed(other, pieces) == expected

    def test_takeover_saves(self) -> None:
        """With the context kept a message that repeats is short; without, it is not."""
        sizes = []
        for keeps in (True, False):
            client, server = pair(PerMessageDeflate(client_no_context_takeover=not keeps))
            content = os.urandom(300)
            for _ in range(2):
                client.send_binary(content)
            first, second = client.data_to_send()
            sizes.append((len(first), len(second)))
            assert server.receive_data(bytes(first) + bytes(second)) == [binary(content)] * 2
        assert sizes[0][1] < 30
        assert sizes[1][0] == sizes[1][1] > 300

    def test_choice(self) -> None:
        """Per message; without an agreement the wish has no effect."""
        _, server = pair()
        for compress, first in ((None, 0xC1), (True, 0xC1), (False, 0x81), (0, 0x81), (9, 0xC1)):
            server.send_text("hello", compress=compress)
            assert sent(server)[0] == first
        plain = connection(Role.SERVER)
        plain.send_text("hello", compress=True)
        assert sent(plain) == b"\x81\x05hello"
        assert plain.deflater is None

    def test_small_window(self) -> None:
        """zlib cannot deflate in 2**8 octets: then messages go out as they are."""
        deflate = PerMessageDeflate(server_max_window_bits=8)
        client, server = pair(deflate)
        server.send_text("hello")
        server.send_frame(TEXT, "a", fin=False)
        server.send_frame(CONTINUATION, "b")
        wire = sent(server)
        assert wire == b"\x81\x05hello\x01\x01a\x80\x01b"
        assert server.deflater is None
        client.send_text("hello")
        assert server.receive_data(sent(client)) == [text("hello")]
        with pytest.raises(ValueError, match="8 window bits"):
            MessageDeflater(8, takeover=True)
        assert MIN_DEFLATE_WINDOW_BITS == 9

    def test_fragments(self) -> None:
        """A message is compressed as a whole; RSV1 is on its first frame only."""
        for contents in ([b"a" * 50, b"", b"b" * 50], [b"", b""], [b"x", b"", b"", b""]):
            client, server = pair()
            for _ in range(2):
                server.send_frame(BINARY, contents[0], fin=False)
                for content in contents[1:-1]:
                    server.send_frame(CONTINUATION, content, fin=False)
                server.send_ping(b"between")
                server.send_frame(CONTINUATION, contents[-1])
            frames = [bytes(wire) for wire in server.data_to_send()]
            firsts = [wire[0] for wire in frames[: len(contents) + 1]]
            assert firsts == [
                BINARY | RSV1,
                *[CONTINUATION] * (len(contents) - 2),
                FIN | Opcode.PING,
                FIN | CONTINUATION,
            ]
            expected = [binary(b"".join(contents))] * 2
            assert feed(client, each_octet(b"".join(frames))) == expected

    def test_fragments_uncompressed(self) -> None:
        """The first frame decides."""
        client, server = pair()
        server.send_frame(TEXT, "a", fin=False, compress=False)
        server.send_frame(CONTINUATION, "b", compress=True)
        wire = sent(server)
        assert wire == b"\x01\x01a\x80\x01b"
        assert client.receive_data(wire) == [text("ab")]

    def test_text_is_checked(self) -> None:
        """After inflating, and as it comes."""
        wire = compressed(TEXT, deflated(b"abc\xff"))
        fails(wire, 1007, deflate=DEFLATE)
        fails(wire, 1007, deflate=DEFLATE, decode_text=False)
        ws = connection(deflate=DEFLATE)
        stream = zlib.compressobj(wbits=-15)
        head = stream.compress(b"abc\xff") + stream.flush(zlib.Z_SYNC_FLUSH)
        error = failure(ws.receive_data(compressed(TEXT, head, fin=False)))
        assert error is not None
        assert error.code == 1007

    def test_octets_of_text(self) -> None:
        """decode_text=False gives octets here too."""
        wire = compressed(TEXT, deflated("grün".encode()))
        for pieces in every_way(wire):
            ws = connection(deflate=DEFLATE, decode_text=False)
            assert feed(ws, pieces) == [text("grün".encode())]

    def test_control_frames(self) -> None:
        """RSV1 on one is tolerated once the extension is in use, and means nothing."""
        ws = connection(Role.SERVER, deflate=DEFLATE)
        wire = frame(Opcode.PING, b"hello", rsv=RSV1, to=Role.SERVER)
        for pieces in every_way(wire):
            assert feed(ws, pieces) == []
            assert sent(ws) == frame(Opcode.PONG, b"hello")
        assert feed(ws, [frame(Opcode.CLOSE, b"", rsv=RSV1, to=Role.SERVER)])[0].type == 8

    def test_control_frames_between_fragments(self) -> None:
        """With RSV1 or without they are answered at once and are no part of what is inflated."""
        content = b"hello " * 50
        octets = deflated(content)
        ping = frame(Opcode.PING, octets[:5], to=Role.SERVER)
        odd = frame(Opcode.PING, octets[:5], rsv=RSV1, to=Role.SERVER)
        message = (
            compressed(BINARY, octets[:3], fin=False, to=Role.SERVER)
            + ping
            + frame(CONTINUATION, octets[3:7], fin=False, to=Role.SERVER)
            + odd
            + frame(CONTINUATION, octets[7:], to=Role.SERVER)
        )
        again = compressed(BINARY, octets, to=Role.SERVER)
        for pieces in every_way(message + again):
            ws = connection(Role.SERVER, deflate=DEFLATE)
            assert feed(ws, pieces) == [binary(content)] * 2
            assert sent(ws) == frame(Opcode.PONG, octets[:5]) * 2

    def test_rsv1_on_a_continuation(self) -> None:
        """§6.1: only on the first frame of a message."""
        first = frame(TEXT, b"a", fin=False)
        fails(first + frame(CONTINUATION, b"b", rsv=RSV1), 1002, deflate=DEFLATE)
        fails(frame(CONTINUATION, b"b", rsv=RSV1), 1002, deflate=DEFLATE)
        ws = connection(deflate=DEFLATE)
        ws.receive_data(first)
        assert failure(ws.receive_data(frame(CONTINUATION, bytes(200), rsv=RSV1)[:5]))

    def test_other_reserved_bits(self) -> None:
        """They have no meaning with it either."""
        for rsv in (0x20, 0x10, 0x60, 0x50, 0x70):
            fails(frame(TEXT, b"", rsv=rsv), 1002, deflate=DEFLATE)

    def test_elsewhere(self) -> None:
        """Messages deflated elsewhere are sent in that order; one that is dropped resets."""
        client, server = pair()
        deflater = server.deflater
        assert deflater is not None
        content = b"something long enough to be worth it"
        server.send_deflated(TEXT, deflater.deflate(content))
        deflater.deflate(b"never sent")
        deflater.reset()
        server.send_deflated(BINARY, deflater.deflate(b"never sent, " + content))
        server.send_binary(content)
        assert client.receive_data(sent(server)) == [
            text(content.decode()),
            binary(b"never sent, " + content),
            binary(content),
        ]
        with pytest.raises(LocalProtocolError, match="PING"):
            server.send_deflated(Opcode.PING, b"x")
        with pytest.raises(LocalProtocolError, match="TEXT"):
            connection().send_deflated(TEXT, b"x")

    def test_level(self) -> None:
        """zlib's own levels."""
        content = os.urandom(50) * 50
        sizes = []
        for level in (0, 9):
            ws = connection(Role.SERVER, deflate=DEFLATE, level=level)
            ws.send_binary(content)
            sizes.append(len(sent(ws)))
        assert sizes[0] > len(content)
        assert sizes[1] < 200

    def test_backend(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """`set_zlib_backend` holds for messages too."""
        calls = []

        class Backend:
            error = zlib.error
            Z_SYNC_FLUSH = zlib.Z_SYNC_FLUSH

            @staticmethod
            def compressobj(**options: Any) -> Any:
                calls.append("compress")
                return zlib.compressobj(**options)

            @staticmethod
            def decompressobj(**options: Any) -> Any:
                calls.append("decompress")
                return zlib.decompressobj(**options)

        monkeypatch.setattr(coding, "_zlib", None)
        coding.set_zlib_backend(Backend)
        client, server = pair()
        client.send_text("hello")
        assert server.receive_data(sent(client)) == [text("hello")]
        assert calls == ["compress", "decompress"]


class TestBounds:
    """What a message inflates to is bounded, exactly, before it is in memory."""

    @pytest.mark.parametrize("size", [10, 5000, 300_000])
    @pytest.mark.parametrize("random", [False, True])
    def test_exact(self, size: int, random: bool) -> None:
        """The limit is on the inflated message: that size is fine, one octet more is 1009."""
        content = os.urandom(size) if random else bytes(size)
        for level in (0, 9):
            wire = compressed(BINARY, deflated(content, level=level))
            gets = connection(deflate=DEFLATE, max_msg_size=size)
            assert feed(gets, [wire]) == [binary(content)]
            more = compressed(BINARY, deflated(content + b"x", level=level))
            fails(more, 1009, deflate=DEFLATE, max_msg_size=size)

    def test_fragments(self) -> None:
        """Over all fragments of a message, and anew for the next one."""
        stream = zlib.compressobj(wbits=-15)
        parts = [stream.compress(bytes(500)) + stream.flush(zlib.Z_SYNC_FLUSH) for _ in range(4)]
        two = compressed(BINARY, parts[0], fin=False) + frame(CONTINUATION, parts[1][:-4])
        again = compressed(BINARY, parts[2], fin=False) + frame(CONTINUATION, parts[3][:-4])
        for pieces in every_way(two + again):
            ws = connection(deflate=DEFLATE, max_msg_size=1000)
            assert feed(ws, pieces) == [binary(bytes(1000))] * 2
        fails(two, 1009, deflate=DEFLATE, max_msg_size=999)

    def test_bomb(self) -> None:
        """A thousand times the limit is found with no more than the limit in memory."""
        bomb = compressed(BINARY, deflated(bytes(64 * 1024 * 1024)))
        for pieces in ([bomb], [bomb[:1000], bomb[1000:]]):
            ws = connection(deflate=DEFLATE, max_msg_size=65536)
            error = failure(feed(ws, pieces))
            assert error is not None
            assert error.code == 1009
        inflater = MessageInflater(15, takeover=True)
        with pytest.raises(WebSocketError) as caught:
            inflater.inflate(deflated(bytes(10_000)), 9_999)
        assert caught.value.code == 1009

    def test_many_bombs(self) -> None:
        """Each within the limit: after some of them the rest waits to be asked for."""
        one = compressed(BINARY, deflated(bytes(4 * 1024 * 1024)))
        ws = connection(Role.CLIENT, deflate=DEFLATE)
        close = frame(Opcode.CLOSE, b"")
        data = one * 10 + frame(TEXT, b"x") + close
        found: list[WSMessage] = []
        calls = 0
        while True:
            messages = ws.receive_data(data)
            assert sum(len(m.data) for m in messages if m.type is WSMsgType.BINARY) <= (
                INFLATE_BUDGET + 4 * 1024 * 1024
            )
            found += messages
            calls += 1
            data = b""
            if not ws.pending:
                break
        assert calls == 11
        assert [message.type for message in found] == [2] * 10 + [1, 8]
        assert all(message == binary(bytes(4 * 1024 * 1024)) for message in found[:10])

    def test_pending_in_fragments(self) -> None:
        """The same where the messages are fragmented."""
        stream = deflated(bytes(INFLATE_BUDGET + 1))
        one = compressed(BINARY, stream[:10], fin=False) + frame(CONTINUATION, stream[10:])
        ws = connection(deflate=DEFLATE)
        assert len(ws.receive_data(one * 3)) == 1
        assert ws.pending
        assert len(ws.receive_data(b"")) == 1
        assert len(ws.receive_data(frame(TEXT, b"x"))) == 1
        assert feed(ws, [b""]) == [text("x")]
        assert not ws.pending

    def test_pending_and_a_failure(self) -> None:
        """A failure leaves nothing to wait for."""
        one = compressed(BINARY, deflated(bytes(INFLATE_BUDGET + 1)))
        ws = connection(deflate=DEFLATE)
        ws.receive_data(one + b"\xff")
        assert ws.pending
        assert failure(ws.receive_data(b""))
        assert not ws.pending

    def test_announced(self) -> None:
        """Frames that announce far more than the limit fail before their content comes."""
        limit = 1000
        most = limit * COMPRESSED_RATIO + COMPRESSED_EXTRA
        ws = connection(deflate=DEFLATE, max_msg_size=limit)
        assert ws.receive_data(compressed(BINARY, bytes(most))[:4]) == []
        assert ws.receiving
        ws = connection(deflate=DEFLATE, max_msg_size=limit)
        error = failure(ws.receive_data(compressed(BINARY, bytes(most + 1))[:4]))
        assert error is not None
        assert error.code == 1009

    def test_no_limit(self) -> None:
        """max_msg_size=0 inflates all."""
        size = 6 * 1024 * 1024
        ws = connection(deflate=DEFLATE, max_msg_size=0)
        assert feed(ws, [compressed(BINARY, deflated(bytes(size)))]) == [binary(bytes(size))]

    @pytest.mark.parametrize("octets", [b"\xff\xff\xff", b"\x07", b"\x00\x05\x00\x00\x00hello"])
    def test_broken(self, octets: bytes) -> None:
        """What is no deflate data fails with 1002."""
        fails(compressed(TEXT, octets), 1002, deflate=DEFLATE)
        fails(
            compressed(TEXT, octets, fin=False) + frame(CONTINUATION, b"\xff" * 9),
            1002,
            deflate=DEFLATE,
        )

    def test_reference_into_nothing(self) -> None:
        """Without takeover a message cannot refer to the one before it."""
        wire = bytes.fromhex("c1 07 f2 48 cd c9 c9 07 00 c1 05 f2 00 11 00 00")
        deflate = PerMessageDeflate(server_no_context_takeover=True)
        assert fails(wire, 1002, deflate=deflate) == [text("Hello")]

    def test_streams(self) -> None:
        """Several deflate streams in a message are fine, a flood of them is not."""

        def ended(data: bytes) -> bytes:
            stream = zlib.compressobj(wbits=-15)
            return stream.compress(data) + stream.flush(zlib.Z_FINISH)

        content = ended(b"ab") * MAX_STREAMS + b"\0"
        message = binary(b"ab" * MAX_STREAMS)
        wire = compressed(BINARY, content) * 2
        assert feed(connection(deflate=DEFLATE), [wire]) == [message] * 2
        assert feed(connection(deflate=DEFLATE), each_octet(wire)) == [message] * 2
        fails(compressed(BINARY, ended(b"") * (MAX_STREAMS + 1)), 1002, deflate=DEFLATE)

    def test_failure_ends_inflating(self) -> None:
        """After a failure nothing is inflated any more."""
        ws = connection(deflate=DEFLATE)
        assert failure(ws.receive_data(compressed(BINARY, b"\xff")))
        assert ws.receive_data(compressed(BINARY, deflated(b"x"))) == []
