"""WebSocket: both roles over a carrier that the test holds, with a clock that it turns."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.core.interface import Role
from angelia.core.ws import MAX_PENDING_PONGS, WHOLE_BINARY, WHOLE_TEXT
from angelia.core.ws_extensions import PerMessageDeflate
from angelia.core.ws_frames import Opcode
from angelia.core.ws_messages import WSMessage, WSMsgType
from angelia.errors import WebSocketError
from angelia.net.websocket import MAX_READS_AFTER_END, MAX_UNREAD
from websocket_kit import BINARY, CLOSE, PING, PONG, TEXT, End, Face, frame, types


@pytest.mark.parametrize("role", list(Role))
class TestBothRoles:
    async def test_messages(self, role: Role) -> None:
        """Messages go both ways, and the closing handshake ends the connection."""
        end = End(role)
        end.ws.send_message(WHOLE_TEXT, "grüße")
        end.ws.send_message(WHOLE_BINARY, b"\0\1")
        assert end.sent() == [(WSMsgType.TEXT, "grüße", ""), (WSMsgType.BINARY, b"\0\1", "")]
        end.peer.send_text("a")
        end.peer.send_ping(b"p")
        end.peer.send_close(4000, "bye")
        end.from_peer()
        assert end.sent() == [(WSMsgType.PONG, b"p", "")]
        assert await end.receive() == (WSMsgType.TEXT, "a", "")
        assert await end.receive() == (WSMsgType.CLOSE, 4000, "bye")
        assert end.sent() == [(WSMsgType.CLOSE, 4000, "")]
        assert end.wire.calls == ["end"]
        assert end.ws.close_code == 4000
        assert end.clock.pending == 0

    async def test_close(self, role: Role) -> None:
        """`close` is one Close frame, and a wait for the other."""
        end = End(role)
        closing = asyncio.ensure_future(end.ws.close(4001, "enough"))
        await asyncio.sleep(0)
        assert end.sent() == [(WSMsgType.CLOSE, 4001, "enough")]
        assert end.wire.calls == []
        assert await end.ws.close() is False
        end.feed(frame(TEXT, "meanwhile", to=role))
        assert end.clock.pending == 0
        end.peer.send_close(4001)
        end.from_peer()
        assert end.wire.calls == ["end"]
        assert await closing is True
        assert end.ws.close_code == 4001
        assert end.sent() == []

    async def test_every_cut(self, role: Role) -> None:
        """However a read is cut, the messages are the same."""
        wire = b"".join(
            frame(first, content, to=role)
            for first, content in ((TEXT, "ab"), (0x01, "c"), (PING, "p"), (0x80, "d"), (CLOSE, ""))
        )
        for at in range(len(wire) + 1):
            end = End(role)
            end.feed(wire[:at], wire[at:])
            assert [(await end.receive()).data for _ in range(3)] == ["ab", "cd", 1005]

    async def test_after_the_end(self, role: Role) -> None:
        """Reading on gives CLOSED; a server's handler that never stops doing so is stopped."""
        end = End(role)
        end.ws.feed_eof()
        for _ in range(MAX_READS_AFTER_END):
            assert (await end.receive()).type is WSMsgType.CLOSED
        if role is Role.SERVER:
            with pytest.raises(RuntimeError, match="closed"):
                await end.receive()
        else:
            assert (await end.receive()).type is WSMsgType.CLOSED

    async def test_failure(self, role: Role) -> None:
        """A broken rule is said to the peer; what it sends is thrown away for some time.

        RFC 6455 §7.1.1: it is the server that ends the connection.
        """
        end = End(role)
        end.feed(frame(0x83, "", to=role))
        sent = end.sent()
        assert [(m.type, m.data) for m in sent] == [(WSMsgType.CLOSE, 1002)]
        assert end.wire.calls == (["end sending"] if role is Role.SERVER else [])
        end.feed(frame(TEXT, "later", to=role))
        message = await end.receive()
        assert message.type is WSMsgType.ERROR
        assert isinstance(message.data, WebSocketError)
        end.clock.advance(11)
        assert end.wire.calls[-1] == "end"
        assert end.clock.pending == 0
        assert (await end.receive()).type is WSMsgType.CLOSED

    async def test_failure_over_tls(self, role: Role) -> None:
        """Where one direction cannot be ended by itself, the server's connection closes."""
        end = End(role)
        end.wire.has_halves = False
        end.feed(frame(0x83, "", to=role))
        assert [m.data for m in end.sent()] == [1002]
        assert end.wire.calls == (["end sending", "end"] if role is Role.SERVER else [])
        assert (await end.receive()).type is WSMsgType.ERROR

    async def test_go_away(self, role: Role) -> None:
        """`go_away` says 1001, lets whoever receives go on, and waits for a time."""
        end = End(role)
        end.ws.go_away()
        end.ws.go_away()
        assert [(m.type, m.data) for m in end.sent()] == [(WSMsgType.CLOSE, 1001)]
        end.feed(frame(TEXT, "meanwhile", to=role))
        assert (await end.receive()).data == "meanwhile"
        assert not end.ws.sending
        end.clock.advance(11)
        assert end.wire.calls == ["end"]
        assert end.clock.pending == 0
        assert end.ws.close_code == 1006
        assert (await end.receive()).type is WSMsgType.CLOSED

    async def test_go_away_answered(self, role: Role) -> None:
        """The peer's Close ends it before."""
        end = End(role)
        end.ws.go_away()
        end.feed(frame(CLOSE, b"\x03\xe9", to=role))
        assert end.wire.calls == ["end"]
        assert end.clock.pending == 0
        assert (await end.receive()).data == 1001
        assert end.ws.parted


class TestReceiving:
    async def test_pause(self) -> None:
        """With MAX_UNREAD octets unread the socket is not read; with half of them read it is."""
        end = End()
        size = MAX_UNREAD // 4
        for number in range(4):
            assert end.wire.calls == []
            end.feed(frame(BINARY, bytes([number]) * size))
        assert end.wire.calls == ["pause"]
        for number in range(2):
            assert (await end.receive()).data == bytes([number]) * size
        assert end.wire.calls == ["pause"]
        await end.receive()
        assert end.wire.calls == ["pause", "resume"]
        await end.receive()

    async def test_empty_messages_count(self) -> None:
        """Messages without data fill the queue as well."""
        end = End()
        end.feed(frame(TEXT) * 5000)
        assert end.wire.calls == ["pause"]

    async def test_room_for_what_inflates(self) -> None:
        """What waits in the core is inflated as there is room, also after the end."""
        end = End(deflate=PerMessageDeflate())
        for _ in range(10):
            end.peer.send_binary(bytes(1 << 20))
        end.peer.send_close()
        end.from_peer()
        assert end.wire.calls == ["pause"]
        end.ws.feed_eof()
        assert not end.ws.over
        for _ in range(10):
            assert len((await end.receive()).data) == 1 << 20
        assert (await end.receive()).type is WSMsgType.CLOSE
        assert end.ws.close_code == 1000
        assert end.ws.exception is None

    async def test_others_have_their_turn(self) -> None:
        """Between messages that are costly to inflate the event loop goes on."""
        end = End(deflate=PerMessageDeflate())
        for _ in range(10):
            end.peer.send_binary(bytes(1 << 20))
        end.from_peer()
        counts: list[int] = []
        while sum(counts) < 10:
            at_once = 0
            while end.ws.next_message() is not None:
                at_once += 1
            counts.append(at_once)
            await asyncio.sleep(0)
        assert max(counts) == 2
        assert end.wire.calls == ["pause", "resume"]

    async def test_others_have_their_turn_while_it_closes(self) -> None:
        """So it is for what is thrown away."""
        end = End(deflate=PerMessageDeflate())
        for _ in range(10):
            end.peer.send_binary(bytes(1 << 20))
        closing = asyncio.ensure_future(end.ws.close())
        await asyncio.sleep(0)
        end.sent()
        end.peer.send_close()
        end.from_peer()
        turns = 0
        while not end.ws.over:
            turns += 1
            await asyncio.sleep(0)
        assert turns >= 4
        assert await closing is True
        assert end.ws.close_code == 1000

    async def test_room_for_pings(self) -> None:
        """Unread Pings stop the socket as messages do, and it goes on when they were read."""
        end = End(autoping=False)
        end.feed(frame(PING) * 3000)
        assert end.wire.calls == ["pause"]
        for _ in range(3000):
            assert (await end.receive()).type is WSMsgType.PING
        assert end.wire.calls == ["pause", "resume"]

    async def test_cancelled_after_the_message(self) -> None:
        """A receive that is cancelled in the same turn as its message comes leaves it there."""
        end = End()
        waiting = asyncio.ensure_future(end.receive())
        await asyncio.sleep(0)
        end.feed(frame(TEXT, "a"))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await end.receive()).data == "a"

    async def test_closed_while_it_waits(self) -> None:
        """A receive whose coroutine is closed, as of a task that is never run again, is quiet."""
        end = End()
        waiting = end.receive(10)
        waiting.send(None)
        waiting.close()
        await asyncio.sleep(0)
        assert not end.clock.pending
        end.feed(frame(TEXT, "a"))
        assert (await end.receive()).data == "a"

    def test_closed_after_its_loop(self) -> None:
        """The same where the event loop has gone before."""

        async def begin() -> Coroutine[Any, Any, WSMessage]:
            waiting = End().receive()
            waiting.send(None)
            return waiting

        asyncio.run(begin()).close()

    async def test_second_one_waits(self) -> None:
        """Only one may wait."""
        end = End()
        waiting = asyncio.ensure_future(end.receive())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="Concurrent"):
            await end.receive()
        end.feed(frame(TEXT, "a"))
        assert (await waiting).data == "a"

    async def test_closing_wakes(self) -> None:
        """Who waits while another one closes gets CLOSING at once, and CLOSED after it."""
        end = End()
        waiting = asyncio.ensure_future(end.receive())
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(end.ws.close())
        assert (await waiting).type is WSMsgType.CLOSING
        assert (await end.receive()).type is WSMsgType.CLOSING
        end.sent()
        end.peer.send_close()
        end.from_peer()
        await closing
        assert (await end.receive()).type is WSMsgType.CLOSED

    async def test_given_up(self) -> None:
        """What the carrier says of its end is kept; messages before it are read first."""
        end = End(heartbeat=5)
        end.feed(frame(TEXT, "a"))
        error = OSError("gone")
        end.ws.set_exception(error)
        end.ws.set_exception(OSError("once more"))
        assert end.ws.is_eof()
        assert (await end.receive()).data == "a"
        assert (await end.receive()).type is WSMsgType.CLOSED
        assert end.ws.exception is error
        assert end.ws.close_code == 1006
        assert end.clock.pending == 0
        assert await end.ws.close() is False
        with pytest.raises(ConnectionResetError):
            end.ws.send_message(WHOLE_TEXT, "a")

    @given(st.lists(st.integers(0, 70_000), max_size=12), st.integers(1, 300))
    async def test_nothing_lost(self, sizes: list[int], pieces: int) -> None:
        """Every message arrives once and in order, with the socket paused as asked for."""
        end = End()
        wire = b"".join(frame(BINARY, bytes([n]) * size) for n, size in enumerate(sizes))
        piece = len(wire) // pieces + 1
        got: list[bytes] = []
        at = 0
        while at < len(wire) or len(got) < len(sizes):
            if end.wire.calls[-1:] != ["pause"] and at < len(wire):
                end.feed(wire[at : at + piece])
                at += piece
            else:
                got.append((await end.receive()).data)
        assert got == [bytes([n]) * size for n, size in enumerate(sizes)]


agreements = st.one_of(
    st.none(),
    st.builds(
        PerMessageDeflate, st.booleans(), st.booleans(), st.integers(9, 15), st.integers(9, 15)
    ),
)
# How much is sent, whether it is compressed, and what becomes of the task that sends it.
sends = st.tuples(
    st.integers(0, 2000),
    st.sampled_from([None, 0]),
    st.sampled_from(["goes on", "cancelled before it runs", "cancelled while it waits"]),
)


class TestSending:
    @given(st.sampled_from(list(Role)), agreements, st.lists(sends, max_size=8), st.booleans())
    async def test_cancelled_sends(
        self,
        role: Role,
        deflate: PerMessageDeflate | None,
        wanted: list[tuple[int, int | None, str]],
        full: bool,
    ) -> None:
        """All tasks share one compressor, and none of them harms another.

        Whichever is cancelled, and when: the peer gets each message that was begun, whole, once and
        in the order of their beginnings; and none of a task that never ran.
        """
        end = End(role, deflate)
        face = Face(end.ws)
        end.wire.writing_paused = full
        tasks = []
        expected = []
        for number, (size, compress, fate) in enumerate(wanted):
            content = f"{number} " * size
            tasks.append(asyncio.ensure_future(face.send_str(content, compress)))
            if fate == "cancelled before it runs":
                tasks[-1].cancel()
            else:
                expected.append((WSMsgType.TEXT, content, ""))
        await asyncio.sleep(0)
        for task, (_, _, fate) in zip(tasks, wanted, strict=True):
            assert task.done() is (not full or fate == "cancelled before it runs")
            if fate == "cancelled while it waits":
                task.cancel()
        await asyncio.sleep(0)
        end.wire.writing_paused = False
        end.wire.drained.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        await face.send_str("and one after them")
        assert end.sent() == [*expected, (WSMsgType.TEXT, "and one after them", "")]

    async def test_pongs_wait_for_the_socket(self) -> None:
        """While the socket takes nothing, answers are few; they leave when it takes more."""
        end = End()
        end.wire.writing_paused = True
        for number in range(1000):
            end.feed(frame(PING, str(number)))
        assert not end.wire.written
        end.wire.writing_paused = False
        end.wire.drained.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        pongs = end.sent()
        assert len(pongs) == MAX_PENDING_PONGS + 1
        assert pongs[-1].data == b"999"
        # The task that waited has ended.
        await asyncio.sleep(0)

    async def test_flusher_ends_with_the_connection(self) -> None:
        """Who waits to send answers does not outlive the connection."""
        end = End()
        end.wire.writing_paused = True
        end.feed(frame(PING))
        await asyncio.sleep(0)
        end.ws.feed_eof()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_reset_while_answering(self) -> None:
        """An answer that nobody takes any more is no error of who receives."""
        end = End()
        end.wire.gone = True
        end.feed(frame(PING), frame(TEXT, "a"))
        assert (await end.receive()).data == "a"

    async def test_forbidden_frames(self) -> None:
        """A frame that may not be sent is a ValueError, and nothing has happened."""
        end = End()
        with pytest.raises(ValueError, match="continued"):
            end.ws.send_frame(b"", Opcode.CONTINUATION)
        with pytest.raises(ValueError, match="126"):
            end.ws.send_frame(b"x" * 126, Opcode.PING)
        end.ws.send_message(WHOLE_TEXT, "ok")
        assert end.sent() == [(WSMsgType.TEXT, "ok", "")]


class TestStats:
    async def test_counts(self) -> None:
        """Messages, and the octets of all frames, both ways."""
        end = End()
        assert end.ws.stats() == (0, 0, 0, 0, 0, None)
        end.ws.send_message(WHOLE_TEXT, "hello")
        end.ws.send_frame(b"x", Opcode.BINARY)
        end.ws.send_frame(b"", Opcode.PING)
        # Two octets and a mask of four each.
        assert end.ws.stats() == (2, 0, 11 + 7 + 6, 0, 0, None)
        end.feed(frame(TEXT, "abc") + frame(PONG))
        stats = end.ws.stats()
        assert stats[1:5] == (1, 24, 5 + 2, 1)
        assert stats.latency is not None
        end.ws.next_message()
        assert end.ws.stats().unread == 0


class TestClose:
    async def test_peer_does_not_answer(self) -> None:
        """After `close_timeout` the connection is aborted, with 1006 and the reason kept."""
        end = End(close_timeout=0.01)
        assert await end.ws.close() is True
        assert end.ws.close_code == 1006
        assert isinstance(end.ws.exception, TimeoutError)
        assert end.wire.calls == ["abort"]

    async def test_cancelled(self) -> None:
        """A cancelled `close` aborts, and the cancellation goes on."""
        end = End()
        closing = asyncio.ensure_future(end.ws.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert end.ws.close_code == 1006
        assert end.wire.calls == ["abort"]
        assert end.ws.closed

    async def test_connection_ends_instead(self) -> None:
        """The end of the connection is an end of the wait, with 1006."""
        end = End()
        closing = asyncio.ensure_future(end.ws.close())
        await asyncio.sleep(0)
        end.ws.feed_eof()
        assert await closing is True
        assert end.ws.close_code == 1006
        assert end.ws.exception is not None

    async def test_socket_gone(self) -> None:
        """A Close frame that nobody takes does not make `close` fail."""
        end = End(close_timeout=0.01)
        end.wire.gone = True
        assert await end.ws.close() is True
        assert end.ws.close_code == 1006

    async def test_unread_is_dropped(self) -> None:
        """What was not read is dropped, so that the answer behind it can come."""
        end = End()
        end.feed(frame(BINARY, bytes(MAX_UNREAD)))
        assert end.wire.calls == ["pause"]
        closing = asyncio.ensure_future(end.ws.close())
        await asyncio.sleep(0)
        assert end.wire.calls == ["pause", "resume"]
        end.feed(frame(BINARY, bytes(MAX_UNREAD)), frame(CLOSE, b"\x03\xe8"))
        assert await closing is True
        assert end.ws.close_code == 1000
        assert (await end.receive()).type is WSMsgType.CLOSED

    async def test_unread_does_not_pile_up(self) -> None:
        """What comes until the peer answers is thrown away, however much it is."""
        end = End()
        closing = asyncio.ensure_future(end.ws.close())
        await asyncio.sleep(0)
        for _ in range(10):
            end.feed(frame(BINARY, bytes(MAX_UNREAD)))
        assert end.ws.stats().unread == 0
        assert end.wire.calls == []
        end.sent()
        end.peer.send_close()
        end.from_peer()
        assert await closing is True
        assert end.ws.close_code == 1000

    async def test_answer_waits_in_the_core(self) -> None:
        """The peer's Close is found behind compressed messages that were not inflated yet."""
        end = End(deflate=PerMessageDeflate())
        for _ in range(10):
            end.peer.send_binary(bytes(1 << 20))
        end.from_peer()
        closing = asyncio.ensure_future(end.ws.close())
        await asyncio.sleep(0)
        end.sent()
        end.peer.send_close(4005)
        end.from_peer()
        assert await closing is True
        assert end.ws.close_code == 4005

    @pytest.mark.parametrize(
        ("code", "reason"), [(1006, ""), (999, ""), (5000, ""), (1000, "x" * 124)]
    )
    async def test_wrong_arguments(self, code: int, reason: str) -> None:
        """A code or reason that may not be sent changes nothing."""
        end = End()
        with pytest.raises(ValueError, match=r".+"):
            await end.ws.close(code, reason)
        assert not end.ws.closed
        end.ws.send_message(WHOLE_TEXT, "on")
        assert end.sent() == [(WSMsgType.TEXT, "on", "")]

    async def test_without_autoclose(self) -> None:
        """The user answers the peer's Close, and may send before that (RFC 6455 §5.5.1)."""
        end = End(autoclose=False)
        end.feed(frame(CLOSE, b"\x0f\xa0bye"))
        assert await end.receive() == (WSMsgType.CLOSE, 4000, "bye")
        assert end.sent() == []
        end.ws.send_message(WHOLE_TEXT, "wait")
        assert await end.ws.close(4001) is True
        assert types(end.sent()) == [WSMsgType.TEXT, WSMsgType.CLOSE]
        assert end.ws.close_code == 4000
        assert end.wire.calls == ["end"]

    async def test_close_as_a_frame(self) -> None:
        """A Close frame that is sent as one is an answer, too."""
        for autoclose in (True, False):
            end = End(autoclose=autoclose)
            end.feed(frame(TEXT, "a") + frame(CLOSE))
            end.ws.send_frame(b"\x0f\xa1", Opcode.CLOSE)
            assert [m.data for m in end.sent()] == [4001]
            assert end.wire.calls == ["end"]
            assert end.clock.pending == 0
            assert (await end.receive()).data == "a"
            assert (await end.receive()).type is WSMsgType.CLOSE
            assert end.sent() == []


BURST = frame(TEXT, "a") + frame(TEXT, "b") + frame(CLOSE, b"\x0f\xa0bye")


class TestPeersClose:
    """RFC 6455 §5.5.1: the answer may wait for messages that are being answered."""

    async def test_after_the_messages(self) -> None:
        """What came before the Close can be answered; the Close is, when it is received."""
        end = End(heartbeat=10)
        end.feed(BURST + frame(TEXT, "too late"))
        end.feed(frame(PING, "too late"))
        for text in ("a", "b"):
            assert (await end.receive()).data == text
            end.ws.send_message(WHOLE_TEXT, text)
            end.ws.send_frame(b"", Opcode.PING)
            assert end.ws.sending
            assert not end.ws.closed
            assert types(end.sent()) == [WSMsgType.TEXT, WSMsgType.PING]
        assert end.ws.close_code == 4000
        assert end.wire.calls == []
        assert await end.receive() == (WSMsgType.CLOSE, 4000, "bye")
        assert end.sent() == [(WSMsgType.CLOSE, 4000, "")]
        assert end.wire.calls == ["end"]
        assert end.clock.pending == 0
        assert end.ws.closed
        with pytest.raises(ConnectionResetError):
            end.ws.send_message(WHOLE_TEXT, "c")
        assert (await end.receive()).type is WSMsgType.CLOSED
        assert end.ws.exception is None

    async def test_every_cut(self) -> None:
        """However the reads are cut, and whether somebody waits or not."""
        for at in range(len(BURST) + 1):
            for waits in (True, False):
                end = End()
                receiving = None
                if waits:
                    receiving = asyncio.ensure_future(end.receive())
                    await asyncio.sleep(0)
                end.feed(BURST[:at], BURST[at:])
                first = await (receiving or end.receive())
                end.ws.send_message(WHOLE_TEXT, first.data)
                end.ws.send_message(WHOLE_TEXT, (await end.receive()).data)
                assert (await end.receive()).data == 4000
                assert [m.data for m in end.sent()] == ["a", "b", 4000]
                assert end.clock.pending == 0

    async def test_somebody_waits(self) -> None:
        """Whoever waits for a message gets the Close, and so it is answered."""
        end = End()
        end.feed(frame(TEXT, "a"))
        await end.receive()
        receiving = asyncio.ensure_future(end.receive())
        await asyncio.sleep(0)
        end.feed(frame(CLOSE))
        assert (await receiving).type is WSMsgType.CLOSE
        assert types(end.sent()) == [WSMsgType.CLOSE]

    async def test_no_message_before_it(self) -> None:
        """With nothing to be answered it is answered at once: who only sends learns of it."""
        end = End(heartbeat=10)
        end.feed(frame(PING) + frame(CLOSE))
        assert types(end.sent()) == [WSMsgType.PONG, WSMsgType.CLOSE]
        assert end.wire.calls == ["end"]
        assert end.clock.pending == 0
        with pytest.raises(ConnectionResetError):
            end.ws.send_message(WHOLE_TEXT, "a")
        assert not end.ws.closed
        assert (await end.receive()).type is WSMsgType.CLOSE

    @pytest.mark.parametrize(("option", "seconds"), [(None, 5), (10, 5), (3, 1.5)])
    async def test_nobody_comes(self, option: float | None, seconds: float) -> None:
        """Half of the time for closing later it is answered in any case; nothing is lost."""
        end = End(heartbeat=0.1, close_timeout=option)
        end.feed(BURST)
        assert (await end.receive()).data == "a"
        end.clock.advance(seconds - 0.01)
        assert end.sent() == []
        end.ws.send_message(WHOLE_TEXT, "still")
        end.clock.advance(0.01)
        assert types(end.sent()) == [WSMsgType.TEXT, WSMsgType.CLOSE]
        assert end.wire.calls == ["end"]
        assert end.clock.pending == 0
        with pytest.raises(ConnectionResetError):
            end.ws.send_message(WHOLE_TEXT, "c")
        assert (await end.receive()).data == "b"
        assert (await end.receive()).data == 4000
        assert end.sent() == []

    async def test_without_autoclose(self) -> None:
        """It is the user's to answer, however long that takes."""
        end = End(autoclose=False)
        end.feed(BURST)
        for data in ("a", "b", 4000):
            assert (await end.receive()).data == data
        assert end.clock.pending == 0
        assert end.sent() == []
        end.ws.feed_eof()
        assert end.sent() == []
        assert end.ws.over

    async def test_we_close(self) -> None:
        """`close` answers at once, with its own code, and drops what was not read."""
        end = End()
        end.feed(BURST)
        assert await end.ws.close(4001) is True
        assert [m.data for m in end.sent()] == [4001]
        assert end.wire.calls == ["end"]
        assert end.clock.pending == 0
        assert end.ws.close_code == 4000
        assert (await end.receive()).type is WSMsgType.CLOSED

    async def test_we_end_sending(self) -> None:
        """`go_away` answers at once, and drops nothing."""
        end = End()
        end.feed(BURST)
        end.ws.go_away(4001)
        assert [m.data for m in end.sent()] == [4001]
        assert end.wire.calls == ["end"]
        assert end.clock.pending == 0
        assert [(await end.receive()).data for _ in range(3)] == ["a", "b", 4000]

    async def test_connection_ends(self) -> None:
        """At the end of the connection the Close is answered, if anybody still listens."""
        for gone in (False, True):
            end = End()
            end.feed(BURST)
            end.wire.gone = gone
            end.ws.feed_eof()
            assert types(end.sent()) == ([] if gone else [WSMsgType.CLOSE])
            assert end.clock.pending == 0
            assert end.ws.over
            assert [(await end.receive()).data for _ in range(3)] == ["a", "b", 4000]
            assert (await end.receive()).type is WSMsgType.CLOSED
            assert end.ws.exception is None

    async def test_connection_is_reset(self) -> None:
        """A reset is an exception; what came before it is read first."""
        end = End()
        end.feed(BURST)
        error = OSError("reset")
        end.ws.set_exception(error)
        assert end.clock.pending == 0
        assert end.ws.exception is error
        with pytest.raises(ConnectionResetError):
            end.ws.send_message(WHOLE_TEXT, "c")
        assert [(await end.receive()).data for _ in range(3)] == ["a", "b", 4000]
        assert end.ws.close_code == 4000
        assert (await end.receive()).type is WSMsgType.CLOSED
        assert end.sent() == []

    async def test_cancelled(self) -> None:
        """A receive that is cancelled as the Close comes leaves it to the next one."""
        end = End()
        end.feed(frame(TEXT, "a"))
        await end.receive()
        receiving = asyncio.ensure_future(end.receive())
        await asyncio.sleep(0)
        end.feed(frame(CLOSE))
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        assert end.clock.pending == 1
        assert (await end.receive()).type is WSMsgType.CLOSE
        assert types(end.sent()) == [WSMsgType.CLOSE]
        assert end.clock.pending == 0

    async def test_waits_in_the_core(self) -> None:
        """A Close behind compressed messages that were not inflated yet waits with them."""
        end = End(deflate=PerMessageDeflate())
        for _ in range(10):
            end.peer.send_binary(bytes(1 << 20))
        end.peer.send_close(4005)
        end.from_peer()
        for _ in range(10):
            assert len((await end.receive()).data) == 1 << 20
            end.ws.send_message(WHOLE_TEXT, "got it")
        assert types(end.sent()) == [WSMsgType.TEXT] * 10
        assert (await end.receive()).data == 4005
        assert [m.data for m in end.sent()] == [4005]
        assert end.clock.pending == 0
