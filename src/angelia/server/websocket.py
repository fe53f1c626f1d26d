"""WebSocketResponse: a handler's end of a WebSocket, and who may open one.

Owns: the server's opening handshake, and how a WebSocket ends with its handler or its server. What
happens on the connection is `net.websocket`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Self, cast

from yarl import URL

from angelia.core.interface import Buffer, HttpVersion11, Role
from angelia.core.ws import DEFAULT_MAX_MSG_SIZE
from angelia.core.ws_extensions import (
    MAX_WINDOW_BITS,
    DeflateOffer,
    PerMessageDeflate,
    accept_deflate,
)
from angelia.core.ws_frames import WSCloseCode
from angelia.core.ws_handshake import check_request, choose_protocol, response_fields
from angelia.errors import HandshakeError
from angelia.net.websocket import (
    DEFAULT_CLOSE_TIMEOUT,
    WebSocket,
    WebSocketOptions,
    check_octets,
)
from angelia.net.websocket_face import WebSocketFace
from angelia.server.http_exception import HTTPException
from angelia.server.upgrade import ServerCarrier, SwitchingResponse

if TYPE_CHECKING:
    from angelia.server.request import Request

__all__ = ("WebSocketReady", "WebSocketResponse", "check_origin")

_logger: Final = logging.getLogger("angelia.websocket")

# The documented default: with so many octets unsent, senders wait. Event loops think the same.
DEFAULT_WRITER_LIMIT: Final = 64 * 1024


class WebSocketReady(NamedTuple):
    """What `WebSocketResponse.can_prepare` found; true where `ok` is."""

    ok: bool
    """Whether the request opens a WebSocket."""
    protocol: str | None
    """The subprotocol that both sides know."""

    def __bool__(self) -> bool:
        return self.ok


class _Unopened:
    """What stands in for a WebSocket before there is one."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError("Call .prepare() first")


_UNOPENED: Final = cast("WebSocket", _Unopened())


class _Handshake(NamedTuple):
    """What was agreed on, and the fields that say so."""

    protocol: str | None
    deflate: PerMessageDeflate | None
    fields: list[tuple[str, str]]


class WebSocketResponse(WebSocketFace, SwitchingResponse):
    """A WebSocket (RFC 6455) as the answer to a request.

    ::

        async def handler(request):
            ws = angelia.WebSocketResponse()
            await ws.prepare(request)
            async for message in ws:
                await ws.send_str(f"you said {message.data}")
            return ws

    - `timeout`: seconds that closing waits for the client's Close frame (10), None for no limit;
    - `receive_timeout`: seconds that `receive` waits, None for no limit;
    - `autoclose`: answer the client's Close when the handler receives it, so that messages before
      it can still be answered; at once where there were none, after half of `timeout` in any case;
    - `autoping`: answer the client's Pings, and do not return them;
    - `heartbeat`: after so many seconds without a sign of life send a Ping, and fail half that
      time later if none comes; None for never;
    - `protocols`: the subprotocols that are spoken here; of those that the client offers the first
      that is among them is chosen;
    - `compress`: accept permessage-deflate (RFC 7692): True, False, or window bits from 9 to 15;
    - `max_msg_size`: octets of the largest message taken, 4 MiB by default, 0 for any size;
    - `writer_limit`: octets unsent with which a sender waits (64 KiB);
    - `decode_text`: False returns the octets of text messages.

    When the handler ends, so does the WebSocket: with code 1000, or 1011 where it raised. When the
    server closes, the client is told with 1001. Whoever may not open one is to be refused before
    `prepare`: see `check_origin`.
    """

    __slots__ = ("_compress", "_options", "_protocols", "_writer_limit", "_ws", "_ws_protocol")

    def __init__(
        self,
        *,
        timeout: float | None = DEFAULT_CLOSE_TIMEOUT,
        receive_timeout: float | None = None,
        autoclose: bool = True,
        autoping: bool = True,
        heartbeat: float | None = None,
        protocols: Iterable[str] = (),
        compress: bool | int = True,
        max_msg_size: int = DEFAULT_MAX_MSG_SIZE,
        writer_limit: int = DEFAULT_WRITER_LIMIT,
        decode_text: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(headers)
        if isinstance(protocols, str):
            raise TypeError(f"protocols are several, not one str: {protocols!r}")
        self._ws = _UNOPENED
        self._ws_protocol: str | None = None
        self._protocols = tuple(protocols)
        self._compress = 0 if not compress else MAX_WINDOW_BITS if compress is True else compress
        if self._compress:
            _policy(self._compress)
        check_octets("writer_limit", writer_limit)
        self._writer_limit = writer_limit
        self._options = WebSocketOptions(
            receive_timeout, timeout, heartbeat, autoclose, autoping, max_msg_size, decode_text
        )
        self._options.check()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._ws!r}>" if self.prepared else super().__repr__()

    # --- the opening handshake -----------------------------------------------------------------

    def can_prepare(self, request: Request) -> WebSocketReady:
        """Whether `prepare` would succeed, and with which subprotocol; nothing is sent.

        RuntimeError after `prepare`.
        """
        self._check_new("WebSocket")
        if request._exchange.head_sent:
            return WebSocketReady(False, None)
        try:
            return WebSocketReady(True, self._negotiate(request).protocol)
        except HTTPException:
            return WebSocketReady(False, None)

    async def prepare(self, request: Request) -> None:
        """Open the WebSocket. The first call counts.

        `HTTPException` where the request is no opening handshake: with 400, 426 where it is one of
        another version, 405 for CONNECT. ConnectionResetError where the client has gone.
        """
        if self._exchange is not None:
            return
        agreed = self._negotiate(request)
        await self._read_request(request)
        exchange = self._switch(request, agreed.fields)
        connection = exchange.connection
        if self._writer_limit != DEFAULT_WRITER_LIMIT and connection.socket_transport is not None:
            connection.socket_transport.set_write_buffer_limits(high=self._writer_limit)
        self._ws_protocol = agreed.protocol
        deflate = agreed.deflate
        self._compress = 0 if deflate is None else deflate.server_max_window_bits
        self._ws = WebSocket(
            Role.SERVER, ServerCarrier(exchange), self._options, deflate, loop=connection.loop
        )
        exchange.hand_over(self._ws, self)
        await exchange.drain()

    def _negotiate(self, request: Request) -> _Handshake:
        # RFC 9110 §7.8: an HTTP/1.0 client cannot mean it.
        if request.version is not HttpVersion11:
            raise HTTPException(400, "WebSockets are opened with HTTP/1.1")
        # Any other method may: what is asked for is the other protocol.
        if request.method == "CONNECT":
            raise HTTPException(405, headers={"Allow": "GET"})
        try:
            asked = check_request(tuple(request.headers.items()))
            agreed = None
            if self._compress:
                agreed = accept_deflate(asked.extensions, _policy(self._compress))
        except HandshakeError as error:
            raise _refusal(error) from error
        protocol = choose_protocol(asked.protocols, self._protocols)
        if protocol is None and self._protocols and asked.protocols:
            _logger.warning(
                "%s offers the subprotocols %r, and %r are known here",
                request.remote,
                asked.protocols,
                self._protocols,
            )
        deflate, answer = (None, None) if agreed is None else agreed
        fields = response_fields(asked.key, protocol=protocol, extensions=answer)
        return _Handshake(protocol, deflate, fields)

    # --- facts ---------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether `close` was called, or the end of the connection was received."""
        return self.prepared and self._ws.closed

    @property
    def close_code(self) -> int | None:
        """The close code of the client, 1006 where the connection ended without; None before.

        Where the connection failed it is the code that says why (RFC 6455 §7.4.1).
        """
        return self._ws.close_code if self.prepared else None

    @property
    def close_reason(self) -> str:
        """What the client gave as the reason of its Close, mostly nothing; empty before.

        Where the connection failed it says how.
        """
        return self._ws.close_reason if self.prepared else ""

    @property
    def ws_protocol(self) -> str | None:
        """The subprotocol that both sides know; None before `prepare` too."""
        return self._ws_protocol

    @property
    def compress(self) -> int:
        """The window bits of our compression, 0 where none was agreed on.

        Before `prepare`: those that would be accepted.
        """
        return self._compress

    def exception(self) -> BaseException | None:
        """What ended the connection, if it was not closed in order."""
        return self._ws.exception if self.prepared else None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the event loop's transport knows; `default` before `prepare`."""
        return self._ws.get_extra_info(name, default) if self.prepared else default

    # --- what a response has, and a WebSocket has not ------------------------------------------

    async def write(self, data: Buffer) -> None:
        """RuntimeError: messages are sent by `send_bytes` and its relatives."""
        raise RuntimeError("a WebSocket has messages, and no content to write")

    async def write_eof(
        self, data: Buffer = b"", *, trailers: Mapping[str, str] | None = None
    ) -> None:
        """Close the WebSocket. RuntimeError with content or trailers."""
        if data or trailers:
            raise RuntimeError("a WebSocket has messages, and no content to write")
        await self.close()

    # What the connection asks: see `server.exchange.Upgraded`.

    @property
    def ended(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._ended or (self.prepared and not self._ws.sending)

    @property
    def parted(self) -> bool:
        """Whether a closing handshake has been begun by us, or completed."""
        return self._ws.parted

    @property
    def takes_half(self) -> bool:
        """Whether something can still be said when the client has said all."""
        return False

    def going_away(self) -> None:
        """The server is closing: tell the client."""
        self._ws.go_away()

    async def finish(self, error: BaseException | None) -> Self:
        """The handler is done, or has raised: close."""
        self._ended = True
        await self._ws.close(WSCloseCode.OK if error is None else WSCloseCode.INTERNAL_ERROR)
        if self._exchange is not None:
            self.body_length = self._ws.stats().octets_sent
        return self


def _policy(bits: int) -> DeflateOffer:
    return DeflateOffer(server_max_window_bits=bits, client_max_window_bits=bits)


def _refusal(error: HandshakeError) -> HTTPException:
    headers = dict(error.headers)
    if error.status == 426:
        # RFC 9110 §15.5.22: with the protocol that is wanted.
        headers |= {"Upgrade": "websocket", "Connection": "Upgrade"}
    return HTTPException(error.status or 400, str(error), headers=headers)


def check_origin(request: Request, allowed: Iterable[str] = ()) -> None:
    """Refuse a browser's page from elsewhere: `HTTPException` with 403 (RFC 6455 §10.2).

    A browser lets any page open a WebSocket to any server, and sends the server's cookies with it:
    without this check another site's page acts in the name of your users. Call it before
    `WebSocketResponse.prepare`.

    Allowed is a request without `Origin`, which no browser's page sends; one whose origin is among
    `allowed`, as in ``["https://example.org", "http://localhost:8080"]``; and one of the same
    origin: its host and port are those of `Host`. Over TLS the scheme has to be ``https`` as well;
    without TLS it may be either, since a proxy in front may have ended it.

    ValueError for what is no origin among `allowed`, TypeError where it is a str.
    """
    if isinstance(allowed, str):
        raise TypeError(f"allowed origins are several, not one str: {allowed!r}")
    values = request.headers.getall("Origin", [])
    if not values:
        return
    origin = _parse_origin(values[0]) if len(values) == 1 else None
    if origin is not None:
        if origin in [_allowed_origin(text) for text in allowed]:
            return
        scheme, host, port = origin
        if scheme == "https" or not request.secure:
            here = _parse_origin(f"{scheme}://{request.host}")
            if here == (scheme, host, port):
                return
    raise HTTPException(403, "this origin may not open a WebSocket here")


def _allowed_origin(text: str) -> tuple[str, str, int]:
    origin = _parse_origin(text)
    if origin is None:
        raise ValueError(f"not an origin such as 'https://example.org': {text!r}")
    return origin


def _parse_origin(text: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an origin (RFC 6454 §6.2); None for what is none, as ``null``."""
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        return None
    if url.scheme not in ("http", "https") or not url.host or port is None:
        return None
    if url.path not in ("", "/") or url.query_string or url.fragment or url.user is not None:
        return None
    return url.scheme, url.host.lower(), port
