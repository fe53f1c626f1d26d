"""ASGIHandler: a handler that runs an ASGI 3 application.

Owns: how an application is called for each request, and when it lives. What it is told is
`asgi_scope`'s, its messages are `asgi_http`'s and `asgi_websocket`'s, its start and end
`asgi_lifespan`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

from angelia.hosting.asgi_http import ASGIResponse
from angelia.hosting.asgi_lifespan import Lifespan, LifespanError, LifespanMode
from angelia.hosting.asgi_scope import ASGIApplication, http_scope, websocket_scope
from angelia.hosting.asgi_websocket import (
    ASGIWebSocket,
    offered_subprotocols,
    opens_websocket,
)
from angelia.server.http_exception import HTTPException
from angelia.server.websocket import WebSocketResponse

if TYPE_CHECKING:
    from angelia.server.request import Request
    from angelia.server.stream_response import StreamResponse

__all__ = ("ASGIHandler", "LifespanError")

# What is up to the server. Fields and subprotocols are the application's; Pings, the Close and the
# type of a text are the specification's.
WEBSOCKET_OPTIONS: Final = frozenset(
    {"compress", "heartbeat", "max_msg_size", "receive_timeout", "timeout", "writer_limit"}
)


class ASGIHandler:
    """A handler for `angelia.Server` that answers with what an ASGI 3 application sends.

    ::

        async with ASGIHandler(app) as handler, angelia.Server(handler) as server:
            await server.start("localhost", 8080)
            await asyncio.Event().wait()

    - `app`: the application, a coroutine function of scope, receive and send;
    - `root_path`: the path at which the application is mounted, ``/shop``; put before the paths
      that do not begin with it, so that a proxy in front may have taken it off or not;
    - `websocket`: options of `angelia.WebSocketResponse` for the application's WebSockets, as in
      ``{"heartbeat": 30, "max_msg_size": 2**20}``: `compress`, `heartbeat`, `max_msg_size`,
      `receive_timeout`, `timeout` and `writer_limit`;
    - `lifespan`: whether the application is told of start and end: ``auto``, if it wants to know;
      ``on``, and it has to; ``off``.

    ValueError for a `root_path` that is no path, and for another word for `lifespan`. TypeError
    for other options of a WebSocket, ValueError for wrong ones.
    """

    __slots__ = (
        "_app",
        "_lifespan",
        "_mode",
        "_raw_root_path",
        "_root_path",
        "_state",
        "_websocket",
    )

    def __init__(
        self,
        app: ASGIApplication,
        *,
        root_path: str = "",
        lifespan: LifespanMode = "auto",
        websocket: Mapping[str, Any] | None = None,
    ) -> None:
        if root_path and (root_path[0] != "/" or root_path[-1] == "/"):
            raise ValueError(f"root_path begins with a slash and ends without: {root_path!r}")
        if lifespan not in ("auto", "on", "off"):
            raise ValueError(f"lifespan is auto, on or off, not {lifespan!r}")
        self._websocket = dict(websocket or {})
        if not self._websocket.keys() <= WEBSOCKET_OPTIONS:
            wrong = ", ".join(sorted(self._websocket.keys() - WEBSOCKET_OPTIONS))
            raise TypeError(f"no options of an application's WebSockets: {wrong}")
        if self._websocket:
            # What is wrong with them is better found now.
            WebSocketResponse(**self._websocket)
        self._app = app
        self._root_path = root_path
        self._raw_root_path = quote(root_path).encode("ascii")
        self._mode = lifespan
        self._lifespan: Lifespan | None = None
        self._state: dict[str, object] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._app!r}>"

    async def __aenter__(self) -> Self:
        await self.startup()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.shutdown()

    async def startup(self) -> None:
        """Start the application, before its first request; LifespanError where it cannot start.

        RuntimeError for an application that was started already.
        """
        if self._lifespan is not None:
            raise RuntimeError("the application was started already")
        if self._mode == "off":
            return
        lifespan = self._lifespan = Lifespan(self._app, required=self._mode == "on")
        await lifespan.startup()
        self._state = lifespan.state

    async def shutdown(self) -> None:
        """Let the application end, after its last request: close the server first. Idempotent."""
        lifespan, self._lifespan = self._lifespan, None
        self._state = None
        if lifespan is not None:
            await lifespan.shutdown()

    async def __call__(self, request: Request) -> StreamResponse:
        """Answer a request."""
        exchange = request._exchange
        head = exchange.head
        decoded = False
        if head.method == "CONNECT":
            raise HTTPException(501, "an application is no tunnel", close=True)
        if "upgrade" in head.special and opens_websocket(head):
            return await self._open_websocket(request)
        if exchange.has_content and "content-encoding" in head.special:
            decoded = _is_decoded(request)
        scope = http_scope(request, self._root_path, self._raw_root_path, decoded=decoded)
        if self._state is not None:
            scope["state"] = self._state.copy()
        response = ASGIResponse(request)
        try:
            await self._app(scope, response.receive, response.send)
        except Exception as error:  # noqa: BLE001 - whatever it raises is answered or logged
            response.app_failed(error)
        else:
            response.app_ended()
        return response

    async def _open_websocket(self, request: Request) -> StreamResponse:
        # What is no handshake is refused before the application hears of it.
        WebSocketResponse(**self._websocket)._negotiate(request)
        scope = websocket_scope(
            request, self._root_path, self._raw_root_path, offered_subprotocols(request)
        )
        if self._state is not None:
            scope["state"] = self._state.copy()
        websocket = ASGIWebSocket(request, self._websocket)
        try:
            await self._app(scope, websocket.receive, websocket.send)
        except Exception as error:  # noqa: BLE001 - whatever it raises is answered or logged
            return websocket.app_failed(error)
        return websocket.app_ended()


def _is_decoded(request: Request) -> bool:
    """Whether the server undoes the content coding of the body."""
    exchange = request._exchange
    # What is undone is known when there is a stream.
    _ = exchange.content
    return exchange.decodes
