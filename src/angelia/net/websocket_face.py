"""WebSocketFace: what the users of a WebSocket hold, whichever side they are on.

Owns: the public methods of sending and receiving, with their types and errors. What happens on the
connection is `net.websocket`'s, how it came about the roles'.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, Self

from angelia.core.ws import WHOLE_BINARY, WHOLE_TEXT
from angelia.core.ws_frames import Opcode, WSCloseCode
from angelia.core.ws_messages import WSMessage, WSMsgType
from angelia.errors import WSMessageTypeError
from angelia.net.websocket import WebSocket, WSStats

__all__ = ("WebSocketFace",)

_TEXT: Final = WSMsgType.TEXT
_BINARY: Final = WSMsgType.BINARY
_BYTES_LIKE: Final = (bytes, bytearray, memoryview)
_ENDS: Final = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED)

# An error shows so much of a message.
MAX_SHOWN: Final = 100


class WebSocketFace:
    """An open WebSocket.

    Iterate over it, or `receive`. Any number of tasks may send at a time; one may receive.
    Everything here can be cancelled without harm to messages or to what other tasks send.
    """

    __slots__ = ()

    _ws: WebSocket

    # --- facts ---------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether `close` was called, or the end of the connection was received."""
        return self._ws.closed

    @property
    def close_code(self) -> int | None:
        """The close code of the peer, 1006 where the connection ended without; None before.

        Where the connection failed it is the code that says why (RFC 6455 §7.4.1).
        """
        return self._ws.close_code

    @property
    def close_reason(self) -> str:
        """What the peer gave as the reason of its Close, mostly nothing; empty before.

        Where the connection failed it says how.
        """
        return self._ws.close_reason

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the event loop's transport knows: ``peername``, ``ssl_object``..."""
        return self._ws.get_extra_info(name, default)

    def exception(self) -> BaseException | None:
        """What ended the connection, if it was not closed in order."""
        return self._ws.exception

    @property
    def latency(self) -> float | None:
        """Seconds from the last Ping that was answered to its Pong; None before there was one.

        Pings are those of `heartbeat`, which go out where nothing else comes, and of `ping`.
        """
        return self._ws.latency

    def stats(self) -> WSStats:
        """Messages and octets so far, both ways."""
        return self._ws.stats()

    # --- sending -------------------------------------------------------------------------------

    async def ping(self, message: str | bytes = b"") -> None:
        """Send a Ping with up to 125 octets; ClientConnectionResetError once closing or closed."""
        await self.send_frame(message, WSMsgType.PING)

    async def pong(self, message: str | bytes = b"") -> None:
        """Send a Pong; otherwise as `ping`."""
        await self.send_frame(message, WSMsgType.PONG)

    async def send_frame(
        self, message: str | bytes, opcode: WSMsgType, compress: int | None = None
    ) -> None:
        """Send one frame, whole; ValueError where the protocol forbids it."""
        ws = self._ws
        if ws.send_frame(message, Opcode(opcode), compress):
            await ws.drain()

    async def send_str(self, data: str, compress: int | None = None) -> None:
        """Send a text message.

        It is on its way at once; what is waited for is room in the socket. `compress` 0 sends it as
        it is, though compression was agreed on; any other value is as none, since all messages
        share one compressor, with one level. TypeError for what is no str,
        ClientConnectionResetError once the WebSocket is closing or closed.
        """
        if not isinstance(data, str):
            raise TypeError(f"data argument must be str, not {type(data).__name__}")
        ws = self._ws
        if ws.send_message(WHOLE_TEXT, data, compress):
            await ws.drain()

    async def send_bytes(
        self, data: bytes | bytearray | memoryview, compress: int | None = None
    ) -> None:
        """Send a binary message; otherwise as `send_str`."""
        if type(data) is not bytes:
            if not isinstance(data, _BYTES_LIKE):
                raise TypeError(f"data argument must be byte-ish, not {type(data).__name__}")
            if isinstance(data, memoryview) and not data.c_contiguous:
                # With gaps, or backwards: what frames it wants octets in a row.
                data = bytes(data)
        ws = self._ws
        if ws.send_message(WHOLE_BINARY, data, compress):
            await ws.drain()

    async def send_json(
        self, data: Any, compress: int | None = None, *, dumps: Callable[[Any], str] = json.dumps
    ) -> None:
        """Send `data` as JSON in a text message."""
        await self.send_str(dumps(data), compress)

    async def send_json_bytes(
        self, data: Any, compress: int | None = None, *, dumps: Callable[[Any], bytes]
    ) -> None:
        """Send `data` as JSON in a binary message; `dumps` returns bytes."""
        await self.send_bytes(dumps(data), compress)

    def end_sending(self, code: int = WSCloseCode.OK) -> None:
        """Send a Close frame and go on receiving, until the peer has answered it; once.

        Unlike `close` it drops nothing that still comes. The connection closes with the answer, or
        without one after the time that the WebSocket has for closing. ValueError for a `code` that
        may not be sent.
        """
        self._ws.go_away(code)

    # --- receiving -----------------------------------------------------------------------------

    async def receive(self, timeout: float | None = None) -> WSMessage:
        """The next message.

        Pings are answered and not returned unless `autoping` is off. CLOSE comes when the peer
        closes, and is answered by then unless `autoclose` is off; ERROR when the connection fails,
        CLOSED when it is over, and CLOSING while another task closes it. TimeoutError after
        `timeout` seconds, by default those that the WebSocket was opened with. RuntimeError while
        another task receives.
        """
        ws = self._ws
        message = ws.next_message()
        while message is None:
            waiter = ws.wait_message(timeout)
            try:
                message = await waiter
            except BaseException:
                ws.stop_waiting(waiter)
                raise
            if message is None:
                message = ws.next_message()
        return message

    async def receive_str(self, *, timeout: float | None = None) -> str:
        """The text of the next message, bytes with ``decode_text=False``.

        WSMessageTypeError where it is of another type.
        """
        message = await self.receive(timeout)
        if message.type is not _TEXT:
            raise _other_type(message, _TEXT)
        text: str = message.data
        return text

    async def receive_bytes(self, *, timeout: float | None = None) -> bytes:
        """The data of the next message; WSMessageTypeError where it is not binary."""
        message = await self.receive(timeout)
        if message.type is not _BINARY:
            raise _other_type(message, _BINARY)
        data: bytes = message.data
        return data

    async def receive_json(
        self, *, loads: Callable[[Any], Any] = json.loads, timeout: float | None = None
    ) -> Any:
        """The next message, a text, read as JSON."""
        return loads(await self.receive_str(timeout=timeout))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WSMessage:
        message = await self.receive()
        if message.type in _ENDS:
            raise StopAsyncIteration
        return message

    # --- the end -------------------------------------------------------------------------------

    async def close(self, *, code: int = WSCloseCode.OK, message: str | bytes = b"") -> bool:
        """Close: send a Close frame, wait for the peer's, then end the connection in any case.

        The wait has the time limit that the WebSocket was opened with; messages that still come
        are dropped. False where the WebSocket was closed before. ValueError for a `code` that may
        not be sent, or a `message` of more than 123 octets. When cancelled the connection is ended
        at once.
        """
        return await self._ws.close(code, message)


def _other_type(message: WSMessage, wanted: WSMsgType) -> WSMessageTypeError:
    data = message.data
    # It may be megabytes, which no log wants.
    if isinstance(data, str | bytes) and len(data) > MAX_SHOWN:
        shown = f"{data[:MAX_SHOWN]!r}..."
    else:
        shown = repr(data)
    return WSMessageTypeError(
        f"Received message {message.type!r}:{shown} is not WSMsgType.{wanted.name}"
    )
