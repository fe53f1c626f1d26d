"""Pings of a WebSocket: the heartbeat and the latency, with a clock that the test turns."""

from __future__ import annotations

import asyncio
import time

import pytest

from angelia.core.interface import Role
from angelia.core.ws import WHOLE_BINARY
from angelia.core.ws_frames import Opcode
from angelia.core.ws_messages import WSMsgType
from angelia.errors import ServerTimeoutError
from angelia.net.websocket import MAX_UNREAD
from websocket_kit import BINARY, PONG, TEXT, End, frame, types


class TestLatency:
    async def test_latency(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From a Ping to the Pong that says the same, by heartbeat or by hand."""
        now = 100.0
        monkeypatch.setattr(time, "perf_counter", lambda: now)
        end = End(heartbeat=10)
        assert end.ws.stats().latency is None
        end.clock.advance(10)
        now += 0.25
        end.feed(frame(PONG))
        assert end.ws.stats().latency == 0.25
        end.ws.send_frame("a", Opcode.PING)
        now += 1
        end.feed(frame(PONG, b"b"))
        assert end.ws.latency == 0.25
        end.feed(frame(PONG, b"a"))
        assert end.ws.latency == 1.0

    async def test_pong_unasked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """RFC 6455 §5.5.3: one that nobody asked for says nothing; of two equal Pings the first."""
        now = 100.0
        monkeypatch.setattr(time, "perf_counter", lambda: now)
        end = End(autoping=False)
        end.feed(frame(PONG))
        assert end.ws.stats().latency is None
        end.ws.send_frame(b"", Opcode.PING)
        now += 2
        end.ws.send_frame(b"", Opcode.PING)
        now += 1
        end.feed(frame(PONG))
        end.feed(frame(PONG))
        assert end.ws.latency == 3.0


class TestHeartbeat:
    async def test_pings_in_silence(self) -> None:
        """After the heartbeat in silence comes a Ping, and after each Pong the next."""
        end = End(heartbeat=10)
        for _ in range(3):
            end.clock.advance(9.9)
            assert end.sent() == []
            end.clock.advance(0.1)
            assert types(end.sent()) == [WSMsgType.PING]
            end.feed(frame(PONG))
        assert end.clock.pending == 1

    async def test_data_counts(self) -> None:
        """Anything that is received puts the Ping off, and answers it."""
        end = End(heartbeat=10)
        for _ in range(5):
            end.clock.advance(6)
            end.feed(frame(TEXT, "x"))
        assert end.sent() == []
        end.clock.advance(10)
        assert types(end.sent()) == [WSMsgType.PING]
        end.feed(frame(TEXT, "y"))
        end.clock.advance(9)
        assert not end.ws.over

    async def test_same_instant(self) -> None:
        """A Pong within the clock's resolution of its Ping counts."""
        end = End(heartbeat=10)
        end.clock.advance(10)
        end.feed(frame(PONG))
        end.clock.advance(6)
        assert not end.ws.over

    @pytest.mark.parametrize(
        ("role", "error"), [(Role.CLIENT, ServerTimeoutError), (Role.SERVER, TimeoutError)]
    )
    async def test_missing_pong(self, role: Role, error: type[Exception]) -> None:
        """Half a heartbeat after a Ping without any answer the WebSocket fails with 1006."""
        end = End(role, heartbeat=10)
        waiting = asyncio.ensure_future(end.receive())
        await asyncio.sleep(0)
        end.clock.advance(14.9)
        assert not end.ws.over
        end.clock.advance(0.1)
        message = await waiting
        assert message.type is WSMsgType.ERROR
        assert type(message.data) is error
        assert end.ws.exception is message.data
        assert end.ws.close_code == 1006
        assert end.wire.calls == ["abort"]
        assert end.clock.pending == 0
        assert (await end.receive()).type is WSMsgType.CLOSED

    async def test_slow_reader(self) -> None:
        """While we do not read the socket, the peer's silence is our own doing."""
        end = End(heartbeat=10)
        end.feed(frame(BINARY, bytes(MAX_UNREAD)))
        end.clock.advance(100)
        assert not end.ws.over
        assert end.sent() == []
        await end.receive()
        end.clock.advance(10)
        assert types(end.sent()) == [WSMsgType.PING]

    @pytest.mark.parametrize("role", [Role.CLIENT, Role.SERVER])
    async def test_slow_socket(self, role: Role) -> None:
        """A peer that takes what was sent is there; one that takes no more of it is not."""
        end = End(role, heartbeat=10)
        end.ws.send_message(WHOLE_BINARY, bytes(1000))
        for end.wire.takes in (100, 500, 900):
            end.clock.advance(10)
        assert not end.ws.over
        end.clock.advance(9)
        assert not end.ws.over
        end.clock.advance(10)
        assert isinstance(end.ws.exception, TimeoutError)
        assert end.clock.pending == 0

    async def test_sending_is_no_sign(self) -> None:
        """What the system takes at once tells nothing of the peer."""
        end = End(heartbeat=10)
        for _ in range(14):
            end.clock.advance(1)
            end.ws.send_message(WHOLE_BINARY, bytes(1000))
        assert not end.ws.over
        end.clock.advance(1)
        assert end.ws.over

    async def test_stops(self) -> None:
        """No Ping follows a Close, of whichever side."""
        end = End(heartbeat=10)
        closing = asyncio.ensure_future(end.ws.close())
        await asyncio.sleep(0)
        end.sent()
        end.clock.advance(30)
        assert end.sent() == []
        end.peer.send_close()
        end.from_peer()
        await closing
        assert end.clock.pending == 0
