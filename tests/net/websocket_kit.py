"""A WebSocket whose wire, clock and threads the test holds, and its peer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from angelia.core.interface import Buffer, Role
from angelia.core.pure import serialize_frame
from angelia.core.ws import WSConnection
from angelia.core.ws_extensions import PerMessageDeflate
from angelia.core.ws_messages import WSMessage, WSMsgType
from angelia.net.websocket import Carrier, WebSocket, WebSocketOptions
from angelia.net.websocket_face import WebSocketFace

KEY = b"abcd"

TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A


class Clock:
    """As much of an event loop as a WebSocket asks for, with a time that the test sets."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], None], Handle]] = []
        # What a thread would do, if the test let it.
        self.threads: deque[tuple[asyncio.Future[Any], Callable[[], Any]]] = deque()

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., None], *args: Any) -> Handle:
        handle = Handle()
        self.timers.append((self.now + delay, partial(callback, *args), handle))
        return handle

    def call_soon(self, callback: Callable[[], None]) -> Any:
        return self.loop.call_soon(callback)

    def create_future(self) -> asyncio.Future[Any]:
        return self.loop.create_future()

    def create_task(self, work: Any) -> asyncio.Task[Any]:
        return self.loop.create_task(work)

    def run_in_executor(
        self, _executor: None, work: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = self.loop.create_future()
        self.threads.append((future, lambda: work(*args)))
        return future

    def run_thread(self) -> None:
        """Do what a thread has to do; whoever waits for it is told in the next turn."""
        future, work = self.threads.popleft()
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - as a thread does
            future.set_exception(error)

    @property
    def pending(self) -> int:
        """How many timers are set."""
        return sum(not handle.cancelled for _, _, handle in self.timers)

    def advance(self, seconds: float) -> None:
        """Let time pass, and the timers of that time run in their order."""
        end = self.now + seconds
        while due := sorted(
            (t for t in self.timers if t[0] <= end and not t[2].cancelled), key=lambda t: t[0]
        ):
            timer = due[0]
            self.timers.remove(timer)
            self.now = max(self.now, timer[0])
            timer[1]()
        self.now = end


class Handle:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Wire:
    """A carrier: what was written, and what was asked of the socket."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.received_at = clock.now
        self.writing_paused = False
        # So many octets the socket takes of all that is written; None is any number.
        self.takes: int | None = None
        self.total = 0
        self.gone = False
        self.has_halves = True
        self.written = bytearray()
        self.calls: list[str] = []
        self.drained = asyncio.Event()

    @property
    def unsent(self) -> int:
        return 0 if self.takes is None else max(0, self.total - self.takes)

    def send(self, data: Buffer) -> bool:
        return self.send_all([data])

    def send_all(self, buffers: Sequence[Buffer]) -> bool:
        if self.gone:
            raise ConnectionResetError
        for buffer in buffers:
            self.written += buffer
            self.total += len(buffer)
        return self.writing_paused

    async def drain(self) -> None:
        if self.writing_paused:
            await self.drained.wait()
        if self.gone:
            raise ConnectionResetError

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.received_at = self.clock.now
        self.calls.append("resume")

    def end_sending(self) -> bool:
        self.calls.append("end sending")
        return self.has_halves

    def end(self, timeout: float) -> None:
        self.calls.append("end")

    def abort(self) -> None:
        self.calls.append("abort")

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class End:
    """A WebSocket, its wire and the peer's core."""

    def __init__(
        self,
        role: Role = Role.CLIENT,
        deflate: PerMessageDeflate | None = None,
        **options: Any,
    ) -> None:
        self.clock = Clock()
        self.wire = Wire(self.clock)
        carrier: Carrier = self.wire
        loop: Any = self.clock
        self.ws = WebSocket(role, carrier, WebSocketOptions(**options), deflate, loop=loop)
        other = Role.SERVER if role is Role.CLIENT else Role.CLIENT
        self.peer = WSConnection(
            other, random_bytes=bytes, deflate=deflate, autoping=False, autoclose=False
        )

    def feed(self, *pieces: bytes) -> None:
        self.wire.received_at = self.clock.now
        for piece in pieces:
            self.ws.feed_data(piece)

    def from_peer(self) -> None:
        """Deliver what the peer's core wants to send."""
        self.feed(b"".join(self.peer.data_to_send()))

    def sent(self) -> list[WSMessage]:
        """What the peer makes of what was written since."""
        data = bytes(self.wire.written)
        self.wire.written.clear()
        messages = self.peer.receive_data(data)
        while self.peer.pending:
            messages += self.peer.receive_data(b"")
        return messages

    async def receive(self, timeout: float | None = None) -> WSMessage:
        return await Face(self.ws).receive(timeout)


class Face(WebSocketFace):
    """What users hold, of either role."""

    __slots__ = ("_ws",)

    def __init__(self, ws: WebSocket) -> None:
        self._ws = ws


def types(messages: list[WSMessage]) -> list[WSMsgType]:
    return [message.type for message in messages]


def frame(first: int, content: bytes | str = b"", *, to: Role = Role.CLIENT) -> bytes:
    return serialize_frame(first, content, KEY if to is Role.SERVER else None)
