"""ClientWebSocketResponse: what `ClientSession.ws_connect` returns, and how it comes about.

Owns: the public face of a client's WebSocket, the handshake's fields on the way out and the check
of its answer. The request itself is the session's; what happens on the connection is
`net.websocket`'s.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Self

from multidict import CIMultiDict

from angelia import hdrs
from angelia.client.arguments import check_count
from angelia.client.context import CallContext
from angelia.client.response import ClientResponse
from angelia.client.settings import copied_headers
from angelia.client.timeouts import ClientWSTimeout
from angelia.core.interface import Role
from angelia.core.ws_extensions import MAX_WINDOW_BITS, DeflateOffer
from angelia.core.ws_handshake import (
    KEY_SIZE,
    ClientHandshake,
    check_response,
    make_key,
    request_fields,
)
from angelia.errors import HandshakeError, WSServerHandshakeError
from angelia.net.upgraded import UpgradedExchange
from angelia.net.websocket import WebSocket, WebSocketOptions
from angelia.net.websocket_face import WebSocketFace

if TYPE_CHECKING:
    from angelia.net.exchange import Exchange

__all__ = ("ClientWebSocketResponse", "Opening", "WebSocketContext", "draw_key")

# The documented texts of what is wrong with a server's answer, by the field at fault.
_COMPLAINTS: Final = {
    "Upgrade": "Invalid upgrade header",
    "Connection": "Invalid connection header",
    "Sec-WebSocket-Accept": "Invalid challenge response",
}


class ClientWebSocketResponse(WebSocketFace):
    """An open WebSocket. Users do not make one; `ClientSession.ws_connect` does.

    Iterate over it, or `receive`; use it in ``async with``, or `close` it. Any number of tasks may
    send at a time; one may receive. Everything here can be cancelled without harm to messages or to
    what other tasks send.
    """

    def __init__(
        self,
        reader: WebSocket,
        writer: WebSocket,
        protocol: str | None,
        response: ClientResponse,
        timeout: ClientWSTimeout,
        autoclose: bool,
        autoping: bool,
        loop: asyncio.AbstractEventLoop,
        *,
        heartbeat: float | None = None,
        compress: int = 0,
        client_notakeover: bool = False,
    ) -> None:
        # Two for those who know the documented constructor: here one object is both directions.
        self._ws = reader
        self._protocol = protocol
        # Speaks up, and closes the connection, when it is forgotten together with us.
        self._response = response
        self._compress = compress
        self._client_notakeover = client_notakeover

    def __repr__(self) -> str:
        return f"<{type(self).__name__}({self._response.url}) {self._ws!r}>"

    # --- facts ---------------------------------------------------------------------------------

    @property
    def protocol(self) -> str | None:
        """The subprotocol that the server chose of those offered."""
        return self._protocol

    @property
    def compress(self) -> int:
        """The window bits of our compression, 0 where none was agreed on."""
        return self._compress

    @property
    def client_notakeover(self) -> bool:
        """Whether each of our messages is compressed on its own."""
        return self._client_notakeover

    # --- the end -------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self.close()


class WebSocketContext(CallContext[ClientWebSocketResponse]):
    """What `ClientSession.ws_connect` returns: await it, or use it in ``async with``."""

    __slots__ = ("_ws",)

    async def __aenter__(self) -> ClientWebSocketResponse:
        self._ws = await self._coro
        return self._ws

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self._ws.close()


class Opening(NamedTuple):
    """An opening handshake: what is asked for, and how the WebSocket is to be."""

    protocols: tuple[str, ...]
    deflate: DeflateOffer | None
    origin: str | None
    timeout: ClientWSTimeout
    options: WebSocketOptions

    @classmethod
    def begin(
        cls,
        protocols: Iterable[str],
        compress: int,
        origin: str | None,
        timeout: ClientWSTimeout,
        *,
        heartbeat: float | None,
        autoclose: bool,
        autoping: bool,
        max_msg_size: int,
        decode_text: bool,
    ) -> Self:
        """Out of the arguments of `ws_connect`; TypeError and ValueError for wrong ones."""
        if isinstance(protocols, str):
            raise TypeError(f"protocols are several, not one str: {protocols!r}")
        options = WebSocketOptions(
            timeout.ws_receive,
            timeout.ws_close,
            heartbeat,
            autoclose,
            autoping,
            max_msg_size,
            decode_text,
        )
        options.check()
        return cls(tuple(protocols), _deflate_offer(compress), origin, timeout, options)

    def headers(self, given: Any) -> CIMultiDict[str]:
        """The caller's fields with those of the handshake, which replace any of the same name."""
        headers = copied_headers(given)
        fields = request_fields(
            draw_key(), protocols=self.protocols, deflate=self.deflate, origin=self.origin
        )
        for name, value in fields:
            headers[name] = value
        return headers

    def finish(
        self, response: ClientResponse, face: type[Any] | None, loop: asyncio.AbstractEventLoop
    ) -> ClientWebSocketResponse:
        """The WebSocket; WSServerHandshakeError, and the connection closed, if there is none."""
        try:
            agreed, exchange = self._check(response)
        except BaseException:
            response.close()
            raise
        role = Role.CLIENT
        carrier = UpgradedExchange(exchange)
        ws = WebSocket(role, carrier, self.options, agreed.deflate, loop=loop)
        exchange.hand_over(ws)
        deflate = agreed.deflate
        made: ClientWebSocketResponse = (face or ClientWebSocketResponse)(
            ws,
            ws,
            agreed.protocol,
            response,
            self.timeout,
            self.options.autoclose,
            self.options.autoping,
            loop,
            heartbeat=self.options.heartbeat,
            compress=0 if deflate is None else deflate.client_max_window_bits,
            client_notakeover=deflate is not None and deflate.client_no_context_takeover,
        )
        return made

    def _check(self, response: ClientResponse) -> tuple[ClientHandshake, Exchange]:
        exchange = response._exchange
        if response.status != 101 or exchange is None:
            _refuse(response, "Invalid response status")
        # The one that went out last: each connection that was tried had its own.
        key = response.request_info.headers.get(hdrs.SEC_WEBSOCKET_KEY, "")
        try:
            agreed = check_response(
                response.status,
                tuple(response.headers.items()),
                key,
                protocols=self.protocols,
                deflate=self.deflate,
            )
        except HandshakeError as error:
            _refuse(response, _COMPLAINTS.get(error.field, error.message), error)
        return agreed, exchange


def draw_key() -> str:
    """A new `Sec-WebSocket-Key`."""
    return make_key(os.urandom(KEY_SIZE))


def _refuse(
    response: ClientResponse, message: str, cause: HandshakeError | None = None
) -> NoReturn:
    raise WSServerHandshakeError(
        response.request_info,
        response.history,
        status=response.status,
        message=message,
        headers=response.headers,
    ) from cause


def _deflate_offer(compress: int) -> DeflateOffer | None:
    check_count("compress", int(compress) if isinstance(compress, bool) else compress)
    if not compress:
        return None
    bits = MAX_WINDOW_BITS if compress is True else compress
    return DeflateOffer(server_max_window_bits=bits, client_max_window_bits=bits)
