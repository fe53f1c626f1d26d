"""SendQueue: large messages that threads deflate, and the order of all others around them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.core.deflate import MessageDeflater
from angelia.core.interface import Buffer, Role
from angelia.core.ws import WHOLE_BINARY, WHOLE_TEXT
from angelia.core.ws_extensions import PerMessageDeflate
from angelia.core.ws_frames import Opcode
from angelia.core.ws_messages import WSMessage, WSMsgType
from angelia.errors import ClientConnectionResetError
from angelia.net.websocket_queue import THREAD_SIZE
from turns import turns
from websocket_kit import CLOSE, TEXT, End, Face, frame, types

DEFLATE = PerMessageDeflate()

deflate = MessageDeflater.deflate

roles = pytest.mark.parametrize("role", list(Role))


def large(octet: int = 0) -> bytes:
    return bytes([octet]) * THREAD_SIZE


def contents(messages: list[WSMessage]) -> list[Any]:
    """What they say, with large ones cut short."""
    return [m.data if m.type is WSMsgType.CLOSE else m.data[:4] for m in messages]


class Sender:
    """An end that compresses, and tasks that send over it."""

    def __init__(self, role: Role = Role.CLIENT, deflate: PerMessageDeflate = DEFLATE) -> None:
        self.end = End(role, deflate)
        self.face = Face(self.end.ws)

    async def begin(self, data: str | Buffer, compress: int | None = None) -> asyncio.Task[None]:
        """A task that sends, as far as it comes by itself."""
        face = self.face
        if isinstance(data, str):
            task = asyncio.ensure_future(face.send_str(data, compress))
        else:
            task = asyncio.ensure_future(face.send_bytes(data, compress))
        await turns()
        return task

    async def work(self) -> None:
        """Let one thread come to its end, and everybody hear of it."""
        self.end.clock.run_thread()
        await turns()


async def fails(task: asyncio.Task[None]) -> None:
    assert task.done()
    with pytest.raises(ClientConnectionResetError):
        await task


class TestOrder:
    @roles
    async def test_behind_a_large_one(self, role: Role) -> None:
        """Messages keep the order of their sends, whatever their size and compression."""
        sender = Sender(role)
        end = sender.end
        sends: list[tuple[str | Buffer, int | None]] = [
            (large(1), None),
            ("b", None),
            (b"c", 0),
            ("\xe9" * THREAD_SIZE, 1),
            (large(5), 0),
            ("f", None),
        ]
        tasks = [await sender.begin(*send) for send in sends]
        assert not any(task.done() for task in tasks)
        assert end.sent() == []
        await sender.work()
        assert [task.done() for task in tasks] == [True, True, True, False, False, False]
        assert contents(end.sent()) == [large(1)[:4], "b", b"c"]
        await sender.work()
        assert all(task.done() for task in tasks)
        assert contents(end.sent()) == ["\xe9" * 4, large(5)[:4], "f"]
        assert not end.clock.threads
        assert end.ws.stats().messages_sent == 6

    @roles
    @pytest.mark.parametrize("takeover", [True, False])
    async def test_small_ones_need_no_thread(self, role: Role, takeover: bool) -> None:
        """They go at once, and so do large ones that are not to be compressed."""
        sender = Sender(role, PerMessageDeflate(not takeover, not takeover))
        end = sender.end
        for data, compress in ((large()[1:], None), (large(), 0), ("x", None)):
            task = await sender.begin(data, compress)
            assert task.done()
        assert len(end.sent()) == 3
        assert not end.clock.threads

    async def test_without_compression(self) -> None:
        """Where nothing is compressed nothing waits."""
        end = End()
        assert end.ws.send_message(WHOLE_BINARY, large()) is False
        assert len(end.sent()) == 1

    async def test_counts_octets(self) -> None:
        """Of a view its octets count, not its items."""
        sender = Sender()
        task = await sender.begin(memoryview(large()).cast("Q"))
        assert len(sender.end.clock.threads) == 1
        await sender.work()
        assert task.done()
        assert sender.end.sent() == [(WSMsgType.BINARY, large(), "")]

    async def test_control_frames_pass(self) -> None:
        """Pings and Pongs do not wait for a message; neither does what is received."""
        sender = Sender()
        end = sender.end
        task = await sender.begin(large())
        end.ws.send_frame(b"here?", Opcode.PING)
        end.peer.send_ping(b"you?")
        end.peer.send_text("hello")
        end.from_peer()
        assert types(end.sent()) == [WSMsgType.PING, WSMsgType.PONG]
        assert (await end.receive()).data == "hello"
        await sender.work()
        assert task.done()
        assert types(end.sent()) == [WSMsgType.BINARY]

    async def test_frames_wait(self) -> None:
        """Whole messages that are sent as frames have their turn like others."""
        sender = Sender()
        task = await sender.begin(large())
        sender.end.ws.send_frame("b", Opcode.TEXT)
        sender.end.ws.send_frame("c", Opcode.BINARY)
        await sender.work()
        await task
        assert contents(sender.end.sent()) == [large()[:4], "b", b"c"]

    async def test_room_in_the_socket(self) -> None:
        """Whoever sent a message waits for the socket too."""
        sender = Sender()
        end = sender.end
        task = await sender.begin(large())
        end.wire.writing_paused = True
        await sender.work()
        assert not task.done()
        assert len(end.sent()) == 1
        end.wire.writing_paused = False
        end.wire.drained.set()
        await task


class TestFailures:
    async def test_cancelled(self) -> None:
        """A message that was begun goes out whole though its sender is cancelled; later ones too.

        What its sender does with a buffer afterwards does not matter.
        """
        sender = Sender()
        buffer = bytearray(large(1))
        tasks = [await sender.begin(data) for data in (buffer, "b", large(3), "d")]
        for task in tasks[:3]:
            task.cancel()
        await turns()
        assert all(task.cancelled() for task in tasks[:3])
        buffer[:] = large(9)
        await sender.work()
        await sender.work()
        assert contents(sender.end.sent()) == [large(1)[:4], "b", large(3)[:4], "d"]
        await tasks[3]

    async def test_one_waiter_cancelled(self) -> None:
        """Of two that wait for the same message one can be cancelled."""
        sender = Sender()
        task = await sender.begin(large())
        sender.end.wire.writing_paused = True
        pinging = asyncio.ensure_future(sender.face.ping())
        await turns()
        assert not pinging.done()
        pinging.cancel()
        await turns()
        assert not task.done()
        sender.end.wire.writing_paused = False
        await sender.work()
        assert task.done()
        assert not task.cancelled()

    async def test_deflater_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The sender is told; messages behind it are sent, and can be understood."""
        sender = Sender()
        await (await sender.begin("before"))
        with monkeypatch.context() as patch:
            patch.setattr(MessageDeflater, "deflate", refuse)
            task = await sender.begin(large())
        behind = await sender.begin(bytes(300))
        await sender.work()
        assert task.done()
        with pytest.raises(MemoryError):
            await task
        await behind
        assert [m.data for m in sender.end.sent()] == ["before", bytes(300)]

    async def test_thread_cancelled(self) -> None:
        """An executor that gives up its work is an error of the sender's."""
        sender = Sender()
        task = await sender.begin(large())
        behind = await sender.begin("b")
        sender.end.clock.threads.popleft()[0].cancel()
        await turns()
        with pytest.raises(RuntimeError):
            await task
        await behind
        assert contents(sender.end.sent()) == ["b"]

    async def test_small_one_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever a message fails with as its turn comes is its sender's."""
        sender = Sender()
        first = await sender.begin(large())
        task = await sender.begin("b")
        sender.end.clock.run_thread()
        monkeypatch.setattr(MessageDeflater, "deflate", refuse)
        await turns()
        with pytest.raises(MemoryError):
            await task
        await first
        assert len(sender.end.sent()) == 1

    async def test_no_threads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """While a loop is shut down there are no threads: the message goes out all the same."""

        def closed(*_args: object) -> None:
            raise RuntimeError("Executor shutdown has been called")

        sender = Sender()
        monkeypatch.setattr(sender.end.clock, "run_in_executor", closed)
        task = await sender.begin(large())
        assert task.done()
        assert contents(sender.end.sent()) == [large()[:4]]


def refuse(self: MessageDeflater, data: bytes, *, fin: bool = True) -> bytes:
    deflate(self, data, fin=fin)
    raise MemoryError


def lose(end: End) -> None:
    end.ws.set_exception(OSError("reset"))


def eof(end: End) -> None:
    end.ws.feed_eof()


def broken_rule(end: End) -> None:
    end.feed(frame(0x83))


def socket_gone(end: End) -> None:
    end.wire.gone = True


class TestEnd:
    @pytest.mark.parametrize("how", [lose, eof, broken_rule])
    @pytest.mark.parametrize("first", [True, False])
    async def test_lost(self, how: Callable[[End], None], first: bool) -> None:
        """All senders learn of the end at once; what a thread still makes is thrown away."""
        sender = Sender()
        end = sender.end
        tasks = [await sender.begin(data) for data in (large(), "b", large(), "d")]
        if not first:
            await sender.work()
            assert contents(end.sent()) == [large()[:4], "b"]
            for task in tasks[:2]:
                await task
            del tasks[:2]
        how(end)
        await turns()
        for task in tasks:
            await fails(task)
        with pytest.raises(ClientConnectionResetError):
            end.ws.send_message(WHOLE_TEXT, "e")
        await sender.work()
        assert types(end.sent()) == ([WSMsgType.CLOSE] if how is broken_rule else [])
        end.clock.advance(20)
        assert end.clock.pending == 0
        assert not end.clock.threads

    async def test_nobody_takes_it(self) -> None:
        """A socket that is gone is found by the messages whose turn it is."""
        sender = Sender()
        tasks = [await sender.begin(data) for data in (large(), "b")]
        socket_gone(sender.end)
        await sender.work()
        for task in tasks:
            with pytest.raises(ConnectionResetError):
                await task

    @roles
    async def test_close_waits_its_turn(self, role: Role) -> None:
        """A Close frame leaves behind the messages before it; no message can be sent meanwhile."""
        sender = Sender(role)
        end = sender.end
        tasks = [await sender.begin(data) for data in (large(1), "b", large(3), "d")]
        closing = asyncio.ensure_future(end.ws.close(4001, "bye"))
        await turns()
        for data in ("late", large()):
            await fails(await sender.begin(data))
        with pytest.raises(ClientConnectionResetError):
            end.ws.send_frame(b"", Opcode.PING)
        assert await end.ws.close() is False
        await sender.work()
        await sender.work()
        for task in tasks:
            await task
        messages = end.sent()
        assert contents(messages) == [large(1)[:4], "b", large(3)[:4], "d", 4001]
        assert messages[-1].extra == "bye"
        end.peer.send_close(4001)
        end.from_peer()
        assert await closing is True
        assert end.ws.close_code == 4001
        assert end.clock.pending == 0

    async def test_close_with_wrong_arguments(self) -> None:
        """They are found at once."""
        sender = Sender()
        task = await sender.begin(large())
        with pytest.raises(ValueError, match="1006"):
            await sender.end.ws.close(1006)
        with pytest.raises(ValueError, match="one byte"):
            sender.end.ws.send_frame(b"\x03", Opcode.CLOSE)
        await sender.work()
        await task
        assert sender.end.ws.sending

    async def test_close_times_out(self) -> None:
        """A thread that takes longer than there is time for closing is not waited for."""
        sender = Sender()
        end = End(deflate=DEFLATE, close_timeout=0.001)
        sender.end, sender.face = end, Face(end.ws)
        task = await sender.begin(large())
        assert await end.ws.close() is True
        await turns()
        await fails(task)
        assert end.wire.calls == ["abort"]
        assert end.ws.close_code == 1006
        await sender.work()
        assert end.sent() == []

    async def test_close_is_cancelled(self) -> None:
        """It ends the connection, and so every send."""
        sender = Sender()
        task = await sender.begin(large())
        closing = asyncio.ensure_future(sender.end.ws.close())
        await turns()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await turns()
        await fails(task)
        assert sender.end.wire.calls == ["abort"]
        await sender.work()
        assert sender.end.sent() == []

    @pytest.mark.parametrize("how", ["go away", "frame"])
    async def test_other_ways_to_close(self, how: str) -> None:
        """`go_away` and a Close that is sent as a frame wait their turn, too, and count once."""
        sender = Sender()
        end = sender.end
        task = await sender.begin(large())
        if how == "frame":
            end.ws.send_frame(b"\x0f\xa1", Opcode.CLOSE)
        end.ws.go_away(4001)
        end.ws.go_away(4002)
        assert not end.ws.sending
        end.feed(frame(TEXT, "meanwhile"))
        assert (await end.receive()).data == "meanwhile"
        await sender.work()
        await task
        assert contents(end.sent()) == [large()[:4], 4001]
        end.feed(frame(CLOSE, b"\x0f\xa1"))
        assert end.wire.calls == ["end"]
        assert end.clock.pending == 0

    @roles
    async def test_peer_closes(self, role: Role) -> None:
        """The peer's Close is answered behind what is being sent."""
        sender = Sender(role)
        end = sender.end
        end.peer.send_text("large, please")
        end.peer.send_close(4000)
        end.from_peer()
        await end.receive()
        tasks = [await sender.begin(data) for data in (large(), "b")]
        assert (await end.receive()).data == 4000
        assert end.sent() == []
        assert end.wire.calls == []
        await sender.work()
        for task in tasks:
            await task
        assert contents(end.sent()) == [large()[:4], "b", 4000]
        assert end.wire.calls == ["end"]
        assert end.clock.pending == 0

    async def test_both_close(self) -> None:
        """A Close that comes while ours waits its turn is answered by ours."""
        sender = Sender()
        end = sender.end
        task = await sender.begin(large())
        closing = asyncio.ensure_future(end.ws.close(4001))
        await turns()
        end.feed(frame(CLOSE, b"\x0f\xa2"))
        assert not closing.done()
        await sender.work()
        assert await closing is True
        await task
        assert contents(end.sent()) == [large()[:4], 4001]
        assert end.ws.close_code == 4002
        assert end.wire.calls == ["end"]
        assert end.clock.pending == 0


def step(kind: str, *values: Any) -> st.SearchStrategy[tuple[str, Any]]:
    return st.tuples(st.just(kind), st.sampled_from(values))


steps = st.lists(
    st.one_of(
        step("send", "s", "L", "s0", "L0"),
        step("cancel", *range(4)),
        step("thread", 1),
        step("turn", 1),
        step("ping", b""),
    ),
    max_size=14,
)


class TestAnyOrder:
    @given(steps, st.sampled_from(list(Role)), st.booleans(), st.booleans())
    async def test_interleaved(
        self, does: list[tuple[str, Any]], role: Role, takeover: bool, closes: bool
    ) -> None:
        """Whatever happens in whatever order: each message that was begun comes, once, in order."""
        sender = Sender(role, PerMessageDeflate(not takeover, not takeover))
        end, face = sender.end, sender.face
        began: list[Any] = []
        tasks: list[asyncio.Task[None]] = []
        got: list[WSMessage] = []

        async def send(number: int, how: str) -> None:
            content = bytes([number]) * (THREAD_SIZE if how[0] == "L" else 3)
            began.append(content)
            await face.send_bytes(content, 0 if how.endswith("0") else None)

        for kind, value in does:
            if kind == "send":
                tasks.append(asyncio.ensure_future(send(len(tasks), value)))
            elif kind == "cancel" and tasks:
                tasks[-1 - value % len(tasks)].cancel()
            elif kind == "thread" and end.clock.threads:
                end.clock.run_thread()
            elif kind == "turn":
                await asyncio.sleep(0)
            elif kind == "ping":
                end.ws.send_frame(value, Opcode.PING)
            got += end.sent()
        await turns()
        closing = asyncio.ensure_future(end.ws.close()) if closes else None
        await turns()
        while end.clock.threads:
            await sender.work()
        got += end.sent()
        assert [m.data for m in got if m.type is WSMsgType.BINARY] == began
        assert all(task.done() for task in tasks)
        for task in tasks:
            assert task.cancelled() or task.exception() is None
        if closing is not None:
            assert got[-1].type is WSMsgType.CLOSE
            end.feed(frame(CLOSE, b"\x03\xe8", to=role))
            await closing
        assert end.clock.pending == 0
