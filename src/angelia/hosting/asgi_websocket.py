"""ASGIWebSocket: one WebSocket, as an application receives and sends its messages.

Owns: the order of an application's messages, what becomes of each. What happens on the connection
is `net.websocket`'s; a refusal that is a response is `asgi_http`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from multidict import CIMultiDict

from angelia.core.h1_body import tokens
from angelia.core.interface import HttpVersion11, RequestHead
from angelia.core.ws_messages import WSMessage, WSMsgType
from angelia.hosting.asgi_http import ASGIResponse
from angelia.hosting.asgi_scope import Message
from angelia.server.stream_response import StreamResponse
from angelia.server.websocket import WebSocketResponse

if TYPE_CHECKING:
    from angelia.server.request import Request

__all__ = ("ASGIWebSocket", "offered_subprotocols", "opens_websocket")

_logger: Final = logging.getLogger("angelia.hosting.asgi")

# RFC 6455 §7.4.1: what a Close frame without a code stands for, and no Close frame at all.
NO_CODE: Final = 1005
ABNORMAL: Final = 1006

# The content of a refusal.
FORBIDDEN: Final = b"403: Forbidden"

# The handshake's fields are the server's.
_OWN_FIELDS: Final = frozenset(
    {
        "connection",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "upgrade",
    }
)


class ASGIWebSocket:
    """What `receive` and `send` are methods of, from the opening handshake on."""

    __slots__ = (
        "_connected",
        "_denial",
        "_lost",
        "_options",
        "_over",
        "_refused",
        "_request",
        "_ws",
    )

    def __init__(self, request: Request, options: Mapping[str, Any]) -> None:
        self._request = request
        self._options = options
        self._ws: WebSocketResponse | None = None
        # The response that refuses the handshake, as the application sends it.
        self._denial: ASGIResponse | None = None
        self._refused = False
        # The application has been told that it may accept; that the WebSocket is over.
        self._connected = False
        self._over: Message | None = None
        # It could not send; what the client had sent before is still to be received.
        self._lost = False

    # --- receiving -----------------------------------------------------------------------------

    async def receive(self) -> Message:
        """The next message; behind the end of the WebSocket always the disconnection."""
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        if self._over is None:
            ws = self._ws
            if ws is None:
                await self._request.wait_disconnected()
                self._over = _disconnected(ABNORMAL, "")
            else:
                while self._over is None:
                    message = await ws.receive()
                    if message.type is WSMsgType.TEXT:
                        return {"type": "websocket.receive", "text": message.data}
                    if message.type is WSMsgType.BINARY:
                        return {"type": "websocket.receive", "bytes": message.data}
                    self._over = self._end_of(ws, message)
        return self._over

    @staticmethod
    def _end_of(ws: WebSocketResponse, message: WSMessage) -> Message:
        if message.type is WSMsgType.CLOSE:
            return _disconnected(message.data or NO_CODE, message.extra or "")
        return _disconnected(int(ws.close_code or ABNORMAL), "")

    # --- sending -------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Take a message of the application.

        RuntimeError for one that is out of order, TypeError and ValueError for what it may not say,
        OSError where the client has gone.
        """
        kind = message["type"]
        ws = self._ws
        if kind.startswith("websocket.http.response."):
            await self._deny(message)
        elif kind == "websocket.accept":
            if ws is not None or self._denial is not None or self._refused:
                raise RuntimeError("websocket.accept after the answer to the handshake")
            await self._accept(message)
        elif kind == "websocket.close":
            await self._close(message)
        elif kind != "websocket.send":
            raise ValueError(f"not a message of a WebSocket: {kind!r}")
        elif ws is None or self._refused:
            raise RuntimeError("websocket.send without an open WebSocket")
        else:
            try:
                await _send_message(ws, message)
            except OSError:
                self._lost = True
                raise

    async def _accept(self, message: Message) -> None:
        headers: CIMultiDict[str] = CIMultiDict()
        for name, value in message.get("headers", ()):
            if not isinstance(name, bytes) or not isinstance(value, bytes):
                raise TypeError(f"a header is two bytes objects, not {name!r}, {value!r}")
            text = name.decode("latin-1")
            if text.lower() in _OWN_FIELDS:
                raise ValueError(f"an application has no say in {text}")
            headers.add(text, value.decode("utf-8", "surrogateescape"))
        protocol = message.get("subprotocol")
        if protocol is not None and protocol not in offered_subprotocols(self._request):
            raise ValueError(f"the client does not offer the subprotocol {protocol!r}")
        protocols = () if protocol is None else (protocol,)
        ws = WebSocketResponse(protocols=protocols, headers=headers, **self._options)
        await ws.prepare(self._request)
        self._ws = ws

    async def _close(self, message: Message) -> None:
        ws = self._ws
        if ws is None:
            if self._refused or self._denial is not None:
                raise RuntimeError("websocket.close after the answer to the handshake")
            await self._refuse()
            return
        if self._refused:
            raise RuntimeError("websocket.close after websocket.close")
        if self._gone or ws.closed:
            raise ConnectionResetError("the client has gone")
        self._refused = True
        code = message.get("code", 1000)
        await ws.close(code=code, message=(message.get("reason") or "").encode())
        self._over = _disconnected(ws.close_code or code, "")

    async def _refuse(self) -> None:
        """The specification: closing instead of accepting is 403."""
        self._refused = True
        denial = self._denial = ASGIResponse(self._request)
        fields = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(FORBIDDEN)),
        ]
        # Sent at once: an application may wait for the disconnection before it returns.
        await denial.send({"type": "http.response.start", "status": 403, "headers": fields})
        await denial.send({"type": "http.response.body", "body": FORBIDDEN})

    async def _deny(self, message: Message) -> None:
        """The extension "WebSocket Denial Response"."""
        if self._ws is not None or self._refused:
            raise RuntimeError(f"{message['type']} after the answer to the handshake")
        if self._denial is None:
            self._denial = ASGIResponse(self._request)
        kind = message["type"].removeprefix("websocket.")
        if kind not in ("http.response.start", "http.response.body"):
            raise ValueError(f"not a message of a WebSocket: {message['type']!r}")
        await self._denial.send({**message, "type": kind})

    # --- the end -------------------------------------------------------------------------------

    @property
    def _gone(self) -> bool:
        """Whether the application knows that the client has gone."""
        return self._lost or self._over is not None

    def app_ended(self) -> StreamResponse:
        """The application has returned: what is to be answered. RuntimeError for nothing at all."""
        if self._ws is not None:
            return self._ws
        if self._denial is not None:
            self._denial.app_ended()
            return self._denial
        if self._over is not None:
            raise self._unanswered()
        raise RuntimeError("the application returned without an answer to the handshake")

    def app_failed(self, error: Exception) -> StreamResponse:
        """The application has raised: what is to be answered, or raise it."""
        if self._denial is not None:
            self._denial.app_failed(error)
            return self._denial
        if self._gone and not self._refused:
            # Frameworks have their own errors for a client that has gone.
            _logger.debug("the client went away during %r", self._request, exc_info=error)
            if self._ws is None:
                raise self._unanswered() from error
            return self._ws
        raise error

    def _unanswered(self) -> ConnectionResetError:
        """The client has gone, or sends no more, before it had an answer: it needs none."""
        self._request._exchange.connection.abort()
        return ConnectionResetError("the client has gone")


def opens_websocket(head: RequestHead) -> bool:
    """Whether a request asks for a WebSocket, well or badly (RFC 6455 §4.2.1, RFC 9110 §7.8)."""
    return (
        head.method == "GET"
        and head.version is HttpVersion11
        and "websocket" in tokens(head.special, "upgrade")
        and "upgrade" in tokens(head.special, "connection")
    )


def offered_subprotocols(request: Request) -> list[str]:
    """The subprotocols that the client offers, most wanted first."""
    values = request.headers.getall("Sec-WebSocket-Protocol", ())
    return [name for value in values for part in value.split(",") if (name := part.strip(" \t"))]


async def _send_message(ws: WebSocketResponse, message: Message) -> None:
    text, octets = message.get("text"), message.get("bytes")
    if text is not None and octets is not None:
        raise ValueError("a message is text or bytes, not both")
    if text is not None:
        await ws.send_str(text)
    elif octets is not None:
        await ws.send_bytes(octets)
    else:
        raise ValueError("a message without text and bytes")


def _disconnected(code: int, reason: str) -> Message:
    return {"type": "websocket.disconnect", "code": code, "reason": reason}
