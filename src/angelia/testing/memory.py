"""MemoryTransport: a connection between two protocols of one event loop, without sockets.

Owns: the queue in each direction, its limits, the order of data, end and loss, as event loops have
it. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Self

__all__ = ("MemoryTransport",)

# As asyncio's own transports have it: so many octets may wait until the writer is told to pause.
HIGH_WATER: Final = 64 * 1024


class MemoryTransport(asyncio.Transport):
    """One end of a connection. What is written arrives at the other end in the next turn.

    `half_close` says whether an end can be closed for writing alone, which TLS cannot.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: asyncio.Protocol,
        extra: Mapping[str, Any] | None = None,
        *,
        half_close: bool = True,
    ) -> None:
        super().__init__(dict(extra or {}))
        self._loop = loop
        self._protocol = protocol
        self._half_close = half_close
        self._peer: MemoryTransport | None = None
        self._incoming: deque[bytes] = deque()
        self._size = 0
        self._high = HIGH_WATER
        self._low = HIGH_WATER // 4
        # The other end was told to pause, because this one is slow.
        self._peer_paused = False
        self._reading = True
        self._scheduled = False
        # The other end has said all; the protocol has been told.
        self._eof = False
        self._eof_told = False
        self._written_eof = False
        self._closing = False
        self._lost = False

    @classmethod
    def connect(
        cls,
        loop: asyncio.AbstractEventLoop,
        client: asyncio.Protocol,
        server: asyncio.Protocol,
        *,
        client_extra: Mapping[str, Any] | None = None,
        server_extra: Mapping[str, Any] | None = None,
        half_close: bool = True,
    ) -> tuple[Self, Self]:
        """Connect two protocols; both know of it when this returns."""
        near = cls(loop, client, client_extra, half_close=half_close)
        far = cls(loop, server, server_extra, half_close=half_close)
        near._peer, far._peer = far, near
        server.connection_made(far)
        client.connection_made(near)
        return near, far

    # --- questions -----------------------------------------------------------------------------

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        if not isinstance(protocol, asyncio.Protocol):
            raise TypeError(f"not a protocol of a stream: {protocol!r}")
        self._protocol = protocol

    # --- receiving -----------------------------------------------------------------------------

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and not self._lost:
            self._scheduled = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        while self._incoming and self._reading and not self._closing:
            data = self._incoming.popleft()
            self._size -= len(data)
            self._protocol.data_received(data)
        self._let_peer_write()
        if self._incoming or not self._reading or self._closing:
            return
        if self._eof and not self._eof_told:
            self._eof_told = True
            if not self._protocol.eof_received():
                self.close()

    def _let_peer_write(self) -> None:
        peer = self._peer
        if self._peer_paused and self._size <= self._low and peer is not None:
            self._peer_paused = False
            if not peer._lost:
                peer._protocol.resume_writing()

    def _receive(self, data: bytes) -> None:
        self._incoming.append(data)
        self._size += len(data)
        self._schedule()

    def _receive_eof(self) -> None:
        self._eof = True
        self._schedule()

    # --- sending -------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        peer = self._peer
        if self._written_eof:
            raise RuntimeError("cannot write after write_eof()")
        if self._closing or peer is None or not data:
            return
        if peer._closing:
            # What a socket would answer with a reset.
            self._end(ConnectionResetError("the other end is closed"))
            return
        # A copy: the caller may change its buffer.
        peer._receive(bytes(data))
        if peer._size > self._high and not peer._peer_paused:
            peer._peer_paused = True
            self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return self._half_close

    def write_eof(self) -> None:
        if not self._half_close:
            raise NotImplementedError("this connection cannot be half closed")
        if not self._written_eof and not self._closing and self._peer is not None:
            self._written_eof = True
            self._peer._receive_eof()

    def get_write_buffer_size(self) -> int:
        return 0 if self._peer is None else self._peer._size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must be >= low ({low}) must be >= 0")
        self._high = high
        if self._peer is not None:
            # The reader looks at its own.
            self._peer._low = low

    # --- the end -------------------------------------------------------------------------------

    def close(self) -> None:
        """Close; the other end gets what was written, and then the end."""
        self._end(None)

    def abort(self) -> None:
        """As `close`: what was written is on its way."""
        self._end(None)

    def _end(self, cause: Exception | None) -> None:
        if self._closing:
            return
        self._closing = True
        self._incoming.clear()
        self._size = 0
        if self._peer is not None:
            self._peer._receive_eof()
        self._loop.call_soon(self._lose, cause)

    def _lose(self, cause: Exception | None) -> None:
        self._lost = True
        self._let_peer_write()
        self._protocol.connection_lost(cause)
