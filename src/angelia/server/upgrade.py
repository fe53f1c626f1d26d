"""Upgrades: a handler's answer after which the connection speaks another protocol.

Owns: the 101's fields, what carries the other protocol's octets, and the public face of a protocol
that angelia does not know. WebSockets are `server.websocket`'s. Knows nothing of sockets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Self

from angelia.core.interface import Buffer, HttpVersion11, ResponseHead
from angelia.errors import LocalProtocolError
from angelia.net.streams import StreamReader
from angelia.server.http_exception import HTTPException
from angelia.server.ready_heads import SERVER, http_now
from angelia.server.stream_response import StreamResponse

if TYPE_CHECKING:
    from angelia.server.exchange import ServerExchange
    from angelia.server.request import Request

__all__ = ("ServerCarrier", "SwitchingResponse", "UpgradeResponse")

# RFC 9110 §6.4.1, §8.6, RFC 9112 §6.1: a 101 has no content that these could speak of. What the
# connection is for after it, the handshake says.
_NOT_IN_SWITCH: Final = frozenset(
    {"connection", "content-length", "content-type", "transfer-encoding", "upgrade"}
)


class SwitchingResponse(StreamResponse):
    """A response with the status 101, and what both kinds of them share."""

    __slots__ = ()

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status=101, headers=headers)

    def _switch(self, request: Request, fields: Iterable[tuple[str, str]]) -> ServerExchange:
        """Send the 101 with these fields, which replace any of the same name."""
        exchange = request._exchange
        pairs = list(fields)
        taken = _NOT_IN_SWITCH.union(name.lower() for name, _ in pairs)
        self.headers.setdefault("Date", http_now())
        self.headers.setdefault("Server", SERVER)
        pairs += [pair for pair in self.headers.items() if pair[0].lower() not in taken]
        pairs += [("Set-Cookie", self._cookie(name)) for name in self._cookies or ()]
        head = ResponseHead(101, self._reason, pairs, HttpVersion11)
        try:
            exchange.send_head(head, end=False)
        except LocalProtocolError as error:
            raise ValueError(str(error)) from error
        self._exchange = exchange
        return exchange

    @staticmethod
    async def _read_request(request: Request) -> None:
        """RFC 9110 §7.8: the protocol changes behind the request, with all of its content."""
        if request.body_exists:
            await request.read()


class ServerCarrier:
    """A `net.websocket.Carrier`: the exchange of a server, after its 101."""

    __slots__ = ("_connection", "_exchange", "send", "send_all")

    def __init__(self, exchange: ServerExchange) -> None:
        self._exchange = exchange
        connection = self._connection = exchange.connection
        self.send = connection.send_unframed
        self.send_all = connection.send_all_unframed

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._exchange!r}>"

    @property
    def received_at(self) -> float:
        """When octets came last, or reading was resumed; in the loop's time."""
        return self._exchange.received_at

    @property
    def writing_paused(self) -> bool:
        """Whether the socket has been given more than it takes at the moment."""
        return self._connection.writing_paused

    @property
    def unsent(self) -> int:
        """Octets that the socket has not taken yet."""
        socket = self._connection.socket_transport
        return 0 if socket is None else socket.get_write_buffer_size()

    async def drain(self) -> None:
        """Wait until the socket takes more; ConnectionResetError when it never will."""
        await self._exchange.drain()

    def pause_reading(self) -> None:
        """Let the client wait."""
        self._exchange.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        exchange = self._exchange
        exchange.received_at = self._connection.loop.time()
        exchange.resume_reading()

    def end_sending(self) -> bool:
        """Tell the client that nothing more comes, and read on; False over TLS, which cannot."""
        return self._connection.end_sending()

    def end(self, timeout: float) -> None:
        """Close when what was written is out; within `timeout` seconds in any case."""
        self._connection.end(timeout)

    def abort(self) -> None:
        """Close at once."""
        self._connection.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the event loop's transport knows."""
        return self._exchange.get_extra_info(name, default)


class UpgradeResponse(SwitchingResponse):
    """Leaves HTTP for another protocol (RFC 9110 §7.8), which the handler speaks by itself.

    ::

        async def handler(request):
            upgrade = angelia.UpgradeResponse("lines")
            await upgrade.prepare(request)
            async for line in upgrade.content:
                await upgrade.write(line)
            return upgrade

    - `protocol`: one that the client's `Upgrade` field offers, as ``name`` or ``name/version``;
    - `headers`: more fields of the 101.

    The connection ends when the handler does; what was written goes out. A server that closes waits
    for the handler as for any other: `closing` tells it.
    """

    __slots__ = ("_closing", "_content", "_protocol")

    def __init__(self, protocol: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(headers)
        self._protocol = protocol
        self._content: StreamReader | None = None
        self._closing = False

    async def prepare(self, request: Request) -> None:
        """Read what is left of the request's body, and send the 101. The first call counts.

        `HTTPException` with 426 where the client does not offer the protocol, ConnectionResetError
        where it has gone.
        """
        if self._exchange is not None:
            return
        await self._read_request(request)
        fields = [("Upgrade", self._protocol), ("Connection", "Upgrade")]
        try:
            exchange = self._switch(request, fields)
        except ValueError as error:
            # RFC 9110 §15.5.22.
            raise HTTPException(426, str(error), headers=dict(fields)) from error
        connection = exchange.connection
        self._content = StreamReader(
            exchange, connection.options.read_bufsize, loop=connection.loop
        )
        exchange.hand_over(self._content, self)
        await exchange.drain()

    @property
    def content(self) -> StreamReader:
        """What the client says in the other protocol; RuntimeError before `prepare`."""
        if self._content is None:
            raise RuntimeError("prepare() comes before the content")
        return self._content

    @property
    def closing(self) -> bool:
        """Whether the server is closing, and waits for this handler."""
        return self._closing

    async def write_eof(
        self, data: Buffer = b"", *, trailers: Mapping[str, str] | None = None
    ) -> None:
        """Send `data`, and tell the client that nothing more comes; reading goes on. Idempotent.

        Over TLS that cannot be told before the end of the connection. There are no `trailers`.
        """
        if trailers:
            raise ValueError("another protocol has no trailers")
        if self._ended:
            return
        if data:
            await self.write(data)
        exchange = self._sending()
        self._ended = True
        exchange.connection.end_sending()

    # What the connection asks: see `server.exchange.Upgraded`.

    @property
    def parted(self) -> bool:
        """Whether the handler has said its last."""
        return self._ended

    @property
    def takes_half(self) -> bool:
        """Whether something can still be said when the client has said all."""
        return not self._ended

    def going_away(self) -> None:
        """The server is closing."""
        self._closing = True

    async def finish(self, error: BaseException | None) -> Self:
        """The handler is done: the connection says so when it ends."""
        self._ended = True
        if error is not None and self._exchange is not None:
            self._exchange.connection.abort()
        return self
