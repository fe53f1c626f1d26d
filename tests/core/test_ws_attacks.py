"""An evil peer of a WebSocket connection: each attack on memory, time or framing as one test."""

from __future__ import annotations

import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from angelia.core.interface import Role
from angelia.core.ws import MAX_PENDING_PONGS, WSConnection, WSState
from angelia.core.ws_frames import Opcode
from angelia.core.ws_messages import WSMsgType
from core.ws_kit import DEFLATE, compressed, connection, fails, failure, feed, frame, sent, text

TEXT, BINARY, CONTINUATION = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION
PING, PONG, CLOSE = Opcode.PING, Opcode.PONG, Opcode.CLOSE

roles = pytest.mark.parametrize("role", list(Role))

KIB, MIB = 1024, 1024 * 1024


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """No more memory than that is taken at any time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] <= size
    finally:
        tracemalloc.stop()


def steps(action: Callable[[], object]) -> int:
    """How many lines of Python it runs: a measure of work that no other process disturbs."""
    count = 0

    def trace(frame: object, event: str, argument: object) -> object:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]  # it returns itself
    try:
        action()
    finally:
        sys.settrace(before)
    return count


class TestFraming:
    """Frames that two readers could read in two ways."""

    @pytest.mark.parametrize(
        "octets",
        [
            "83 00",
            "8b 00",
            "91 00",
            "a1 00",
            "c1 00",
            "09 00",
            "89 7e 00 7e",
            "88 01 03",
            "88 02 03 e7",
            "88 02 03 ec",
            "88 02 03 ed",
            "88 02 03 ee",
            "88 02 13 88",
            "80 00",
            "81 80 00 00 00 00",
            "82 7e 00 05 68 65 6c 6c 6f",
            "82 7f 00 00 00 00 00 00 00 05 68 65 6c 6c 6f",
            "82 7f 80 00 00 00 00 00 00 00",
            "82 7f ff ff ff ff ff ff ff ff",
        ],
    )
    def test_refused(self, octets: str) -> None:
        """1002, whatever the cuts, with the message before it delivered and none behind it."""
        wire = frame(TEXT, "before") + bytes.fromhex(octets)
        assert fails(wire + frame(TEXT, "behind"), 1002) == [text("before")]

    def test_largest_length(self) -> None:
        """2**63 - 1 is a length, and too big; nothing is set aside for it."""
        with at_most(100 * KIB):
            wire = bytes.fromhex("82 7f 7f ff ff ff ff ff ff ff")
            fails(wire, 1009)
            unlimited = connection(max_msg_size=0)
            unlimited.receive_data(wire)
            unlimited.receive_data(b"x")
            assert unlimited.receiving

    @roles
    def test_wrong_direction(self, role: Role) -> None:
        """Masked by a server, not masked by a client."""
        other = Role.SERVER if role is Role.CLIENT else Role.CLIENT
        for opcode in (TEXT, BINARY, PING, CLOSE):
            fails(frame(opcode, b"", to=other), 1002, role)

    def test_nothing_after_a_failure(self) -> None:
        """What comes later is neither read nor kept."""
        ws = connection()
        assert failure(ws.receive_data(b"\xff"))
        sent(ws)
        with at_most(2 * MIB):
            for _ in range(100):
                assert ws.receive_data(bytes(MIB)) == []
        assert sent(ws) == b""

    def test_error_does_not_quote(self) -> None:
        """What the peer sent is not in the reason that is sent, nor in the log."""
        for wire in (
            frame(TEXT, b"secret\xff"),
            frame(CLOSE, b"\x03\xe8secret\xff"),
            frame(CLOSE, b"\x03\xe7secret"),
        ):
            ws = connection(Role.CLIENT)
            error = failure(ws.receive_data(wire))
            assert error is not None
            assert "secret" not in str(error)


class TestMemory:
    """What a peer can make us keep."""

    @roles
    def test_dribbled_frame(self, role: Role) -> None:
        """A frame octet by octet costs what it has, not what its pieces would."""
        size = 128 * KIB
        wire = frame(BINARY, bytes(size), to=role)
        ws = connection(role)
        with at_most(4 * size):
            for octet in wire[:-1]:
                assert ws.receive_data(bytes((octet,))) == []

    def test_dribbled_text(self) -> None:
        """Nor does text."""
        size = 64 * KIB
        wire = frame(TEXT, b"x" * size)
        ws = connection()
        with at_most(8 * size):
            for octet in wire[:-1]:
                assert ws.receive_data(bytes((octet,))) == []

    def test_never_ending_fragments(self) -> None:
        """They end at the limit, whatever their size."""
        for size in (1, 100, 5000):
            ws = connection(max_msg_size=100_000)
            piece = frame(CONTINUATION, bytes(size), fin=False)
            with at_most(MIB):
                ws.receive_data(frame(BINARY, b"", fin=False))
                for _ in range(100_000 // size):
                    assert ws.receive_data(piece) == []
                error = failure(ws.receive_data(piece))
            assert error is not None
            assert error.code == 1009

    def test_empty_fragments(self) -> None:
        """A million empty fragments leave nothing behind."""
        ws = connection(Role.CLIENT)
        flood = frame(CONTINUATION, b"", fin=False) * 10_000
        ws.receive_data(frame(BINARY, b"a", fin=False))
        with at_most(200 * KIB):
            for _ in range(20):
                assert ws.receive_data(flood) == []
        assert [m.data for m in ws.receive_data(frame(CONTINUATION, b"b"))] == [b"ab"]

    def test_announced_and_never_sent(self) -> None:
        """What is announced is not set aside."""
        opened = [connection() for _ in range(50)]
        wire = frame(BINARY, bytes(4 * MIB))[:20]
        with at_most(200 * KIB):
            for ws in opened:
                assert ws.receive_data(wire) == []

    def test_ping_flood(self) -> None:
        """Pongs that nobody takes are few."""
        ws = connection(Role.SERVER)
        flood = frame(PING, bytes(125), to=Role.SERVER) * 1000
        with at_most(MIB):
            for _ in range(20):
                assert ws.receive_data(flood) == []
        assert len(ws.data_to_send()) == MAX_PENDING_PONGS + 1

    def test_pings_after_our_close(self) -> None:
        """None is answered."""
        ws = connection(Role.SERVER)
        ws.send_close()
        sent(ws)
        ws.receive_data(frame(PING, b"x", to=Role.SERVER) * 1000)
        assert sent(ws) == b""

    def test_bombs(self) -> None:
        """128 MiB made of 128 KiB, in one frame or in thousands."""
        stream = zlib.compressobj(9, wbits=-15)
        bomb = stream.compress(bytes(128 * MIB)) + stream.flush(zlib.Z_SYNC_FLUSH)
        with at_most(4 * MIB):
            fails_with_1009(
                connection(deflate=DEFLATE, max_msg_size=MIB), [compressed(BINARY, bomb)]
            )
            many = [compressed(BINARY, bomb[:10], fin=False)]
            many += [
                frame(CONTINUATION, bomb[at : at + 10], fin=False)
                for at in range(10, len(bomb), 10)
            ]
            fails_with_1009(connection(deflate=DEFLATE, max_msg_size=MIB), many)

    def test_many_bombs(self) -> None:
        """A read full of messages that each are within the limit: a few of them at a time."""
        stream = zlib.compressobj(9, wbits=-15)
        one = (stream.compress(bytes(MIB)) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]
        flood = compressed(BINARY, one) + compressed(BINARY, b"\0") * 10
        ws = connection(deflate=DEFLATE)
        wire = flood * 100
        with at_most(5 * MIB):
            count = len(ws.receive_data(wire))
            while ws.pending:
                count += len(ws.receive_data(b""))
        assert count == 1100

    def test_deflate_that_makes_nothing(self) -> None:
        """Compressed data without end that inflates to nothing ends too."""
        ws = connection(deflate=DEFLATE, max_msg_size=10_000)
        empty_blocks = b"\x00\x00\x00\xff\xff" * 1000
        ws.receive_data(compressed(BINARY, b"", fin=False))
        fails_with_1009(ws, [frame(CONTINUATION, empty_blocks, fin=False)] * 10)


def fails_with_1009(ws: WSConnection, pieces: list[bytes]) -> None:
    error = failure(feed(ws, pieces))
    assert error is not None
    assert error.code == 1009


class TestTime:
    """Work that grows with what is sent, and no faster."""

    def test_small_messages_in_one_read(self) -> None:
        """The work for each does not depend on how many there are in the read."""
        work = []
        for count in (1000, 4000):
            wire = frame(TEXT, b"x") * count
            ws = connection()
            work.append(steps(partial(ws.receive_data, wire)))
        assert work[1] < 4.2 * work[0]

    def test_large_read_of_small_messages(self) -> None:
        """Nor is the rest of the read copied for each: that would be 160 gigabytes."""
        found = connection().receive_data(frame(BINARY, b"") * 400_000)
        assert len(found) == 400_000

    def test_fragments(self) -> None:
        """Fragments are not joined again for each."""
        ws = connection(max_msg_size=0)
        piece = frame(CONTINUATION, bytes(1000), fin=False)
        ws.receive_data(frame(BINARY, b"", fin=False))
        for _ in range(50):
            ws.receive_data(piece * 500)
        (message,) = ws.receive_data(frame(CONTINUATION, b""))
        assert len(message.data) == 25_000_000

    def test_small_and_whole(self) -> None:
        """A mix of everything in one read comes out in order."""
        wire = (frame(TEXT, b"a") + frame(PONG, b"b") + frame(BINARY, b"c")) * 1000
        kinds = [message.type for message in connection().receive_data(wire)]
        assert kinds == [WSMsgType.TEXT, WSMsgType.PONG, WSMsgType.BINARY] * 1000


class TestClosing:
    """Attacks on the end of a connection."""

    def test_data_after_close(self) -> None:
        """It is discarded, in the same read and in later ones, and nothing answers it."""
        ws = connection(Role.SERVER)
        late = frame(TEXT, b"late", to=Role.SERVER) + frame(PING, b"x", to=Role.SERVER)
        messages = ws.receive_data(frame(CLOSE, b"", to=Role.SERVER) + late)
        assert [message.type for message in messages] == [WSMsgType.CLOSE]
        assert ws.receive_data(late) == []
        assert sent(ws) == b"\x88\x00"

    def test_second_close(self) -> None:
        """Only the first counts."""
        ws = connection(Role.SERVER)
        first = frame(CLOSE, b"\x03\xe8", to=Role.SERVER)
        second = frame(CLOSE, b"\x0f\xa0", to=Role.SERVER)
        ws.receive_data(first + second)
        assert ws.close_code == 1000

    def test_never_closes(self) -> None:
        """A peer that answers our Close with data is read, and is open until the caller ends it."""
        ws = connection(Role.CLIENT)
        ws.send_close()
        assert len(ws.receive_data(frame(TEXT, b"x") * 100)) == 100
        assert ws.state is WSState.CLOSE_SENT
