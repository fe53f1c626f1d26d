"""MemoryTransport: data, pauses and the end, in the order in which sockets have them."""

from __future__ import annotations

import asyncio

import pytest

from angelia.testing.memory import HIGH_WATER, MemoryTransport


class Recorder(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self, *, stays: bool = False) -> None:
        self.events: list[object] = []
        self.stays = stays

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.events.append(data)

    def eof_received(self) -> bool:
        self.events.append("eof")
        return self.stays

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append(("lost", type(exc)))

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def _pair(*, stays: bool = False) -> tuple[Recorder, Recorder, MemoryTransport, MemoryTransport]:
    client, server = Recorder(), Recorder(stays=stays)
    near, far = MemoryTransport.connect(asyncio.get_running_loop(), client, server)
    return client, server, near, far


@pytest.mark.usefixtures("loop_kind")
class TestMemoryTransport:
    """A connection in memory."""

    async def test_data_then_end(self) -> None:
        """What was written before the close arrives before it."""
        client, server, near, _ = _pair()
        data = bytearray(b"abc")
        near.write(data)
        data.clear()
        near.close()
        near.close()
        near.write(b"late")
        assert server.events == ["made"]
        await _turns()
        assert server.events == ["made", b"abc", "eof", ("lost", type(None))]
        assert client.events == ["made", ("lost", type(None))]

    async def test_half_close(self) -> None:
        """One side may end alone; the other goes on sending."""
        client, server, near, far = _pair(stays=True)
        near.write_eof()
        with pytest.raises(RuntimeError):
            near.write(b"x")
        await _turns()
        far.write(b"answer")
        far.close()
        await _turns()
        assert server.events == ["made", "eof", ("lost", type(None))]
        assert client.events == ["made", b"answer", "eof", ("lost", type(None))]

    async def test_slow_reader(self) -> None:
        """A paused reader gets nothing, and its writer is told to wait until it has read."""
        client, server, near, far = _pair()
        far.pause_reading()
        near.write(bytes(HIGH_WATER))
        assert client.events == ["made"]
        near.write(b"x")
        assert client.events == ["made", "pause"]
        await _turns()
        assert server.events == ["made"]
        assert near.get_write_buffer_size() == HIGH_WATER + 1
        far.resume_reading()
        await _turns()
        assert client.events == ["made", "pause", "resume"]
        assert b"".join(item for item in server.events if isinstance(item, bytes)) == (
            bytes(HIGH_WATER) + b"x"
        )
        near.close()
        await _turns()

    async def test_write_to_closed(self) -> None:
        """Who writes to a closed end loses the connection by a reset."""
        client, _, near, far = _pair()
        far.abort()
        near.write(b"x")
        await _turns()
        assert client.events == ["made", ("lost", ConnectionResetError)]

    async def test_half_close_of_others(self) -> None:
        """Where the kind of connection knows no half of an end, asking for one is an error."""
        client, server = Recorder(), Recorder()
        near, _ = MemoryTransport.connect(
            asyncio.get_running_loop(), client, server, half_close=False
        )
        assert not near.can_write_eof()
        with pytest.raises(NotImplementedError):
            near.write_eof()
        near.close()
        await _turns()

    async def test_questions(self) -> None:
        """It tells what a transport tells."""
        client, _, near, far = _pair()
        assert near.is_reading()
        near.pause_reading()
        assert not near.is_reading()
        near.resume_reading()
        assert near.get_protocol() is client
        with pytest.raises(TypeError):
            near.set_protocol(asyncio.BaseProtocol())
        assert not near.is_closing()
        near.close()
        assert near.is_closing()
        assert not near.is_reading()
        far.close()
        await _turns()

    async def test_other_protocol(self) -> None:
        """What comes after a change of protocols is the new one's."""
        _, server, near, far = _pair()
        other = Recorder()
        far.set_protocol(other)
        near.write(b"abc")
        near.close()
        await _turns()
        assert server.events == ["made"]
        assert other.events == [b"abc", "eof", ("lost", type(None))]

    async def test_limits(self) -> None:
        """The marks around which a writer waits can be set, one from the other too."""
        client, _, near, far = _pair()
        for arguments, limits in (
            ({"high": 8}, (2, 8)),
            ({"low": 3}, (3, 12)),
            ({}, (HIGH_WATER // 4, HIGH_WATER)),
            ({"high": 8, "low": 4}, (4, 8)),
        ):
            near.set_write_buffer_limits(**arguments)
            assert far.get_write_buffer_limits()[0] == limits[0]
            assert near.get_write_buffer_limits()[1] == limits[1]
        with pytest.raises(ValueError, match="must be >= low"):
            near.set_write_buffer_limits(high=1, low=2)
        far.pause_reading()
        near.write(bytes(9))
        assert client.events == ["made", "pause"]
        near.close()
        far.abort()
        await _turns()

    async def test_abort_while_the_other_waits(self) -> None:
        """Who waits for a reader that has gone does so no longer."""
        client, _, near, far = _pair()
        near.set_write_buffer_limits(high=0)
        far.pause_reading()
        near.write(b"x")
        far.abort()
        await _turns()
        assert client.events[:3] == ["made", "pause", "resume"]
        near.close()
        await _turns()
