"""What the tests of exchanges and transports share: a socket that the test plays the peer of."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from angelia.core.interface import RequestHead
from angelia.errors import ContentError, PeerClosed
from angelia.net.exchange import Exchange, ExchangeOptions
from angelia.net.socket_protocol import WriteBatch
from angelia.net.transport import Transport


class Translated(Exception):
    """The public error of these tests; its cause is what was translated."""


def translate(error: BaseException | None) -> BaseException:
    """As the client does it: a new error with its cause."""
    kind = "content" if isinstance(error, ContentError) else "closed"
    public = Translated(kind if isinstance(error, ContentError | PeerClosed) else str(error))
    public.__cause__ = error
    return public


class Socket(asyncio.Transport):
    """The event loop's transport, with the test at the other end."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": ("192.0.2.1", 80)})
        self.protocol: asyncio.Protocol | None = protocol
        self.writes: list[bytes] = []
        self.calls: list[str] = []
        self.closing = False
        self.unsent = 0

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closing, "written to a closing transport"
        self.writes.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.calls.append("writelines")
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        assert not self.closing, "paused when closing"
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def close(self) -> None:
        if not self.closing:
            self.calls.append("close")
            self.closing = True
            asyncio.get_running_loop().call_soon(self.lose)

    def abort(self) -> None:
        self.calls.append("abort")
        self.closing = True
        asyncio.get_running_loop().call_soon(self.lose)

    def lose(self, error: Exception | None = None) -> None:
        """The connection is lost."""
        self.closing = True
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connection_lost(error)

    @property
    def written(self) -> bytes:
        """All that was written."""
        return b"".join(self.writes)


class Peer:
    """A transport on a `Socket`, and the peer's hand on it."""

    def __init__(self, batch: WriteBatch | None = None, **options: Any) -> None:
        loop = asyncio.get_running_loop()
        self.transport = Transport(loop, batch)
        self.socket = Socket(self.transport)
        self.transport.connection_made(self.socket)
        self.changes = 0
        self.transport.on_change = self._changed
        values = {"read_bufsize": 64, "auto_decompress": True, **options}
        self.options = ExchangeOptions(translate=translate, **values)

    def _changed(self, transport: Transport) -> None:
        assert transport is self.transport
        self.changes += 1

    def exchange(self) -> Exchange:
        """Begin an exchange."""
        return Exchange(self.transport, self.transport.core.open_stream(), self.options)

    def get(self, method: str = "GET") -> Exchange:
        """Begin an exchange and send a request without content."""
        exchange = self.exchange()
        exchange.send_head(RequestHead(method, "/", [("Host", "x.test")]), end=True)
        return exchange

    def post(self, *fields: tuple[str, str]) -> Exchange:
        """Begin an exchange, and send the head of a request with chunked content."""
        exchange = self.exchange()
        headers = [("Host", "x.test"), ("Transfer-Encoding", "chunked"), *fields]
        exchange.send_head(RequestHead("POST", "/", headers), end=False)
        return exchange

    def receive(self, *data: bytes) -> None:
        """The peer sends, each piece in a read of its own."""
        for piece in data:
            self.transport.data_received(piece)

    def end(self) -> None:
        """The peer closes its side."""
        self.transport.eof_received()
        self.socket.close()


async def turn() -> None:
    """Let whoever can run, run."""
    for _ in range(5):
        await asyncio.sleep(0)


def as_socket(transport: asyncio.Transport | None) -> Socket:
    """The event loop's transport, which is one of ours."""
    return cast("Socket", transport)
