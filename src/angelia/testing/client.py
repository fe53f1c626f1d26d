"""TestClient: a session that talks to one server of a test.

Owns: the pair of session and server, begun and ended together. Requests are the session's.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from yarl import URL

from angelia.client.context import RequestContext
from angelia.client.cookies import AbstractCookieJar, CookieJar
from angelia.client.request import ClientRequest
from angelia.client.session import ClientSession
from angelia.client.websocket import WebSocketContext
from angelia.testing.server import RawServer, TestServer

if TYPE_CHECKING:
    from angelia.server.options import Handler

__all__ = ("TestClient",)


class OnceRequest(ClientRequest):
    """A request that is never sent a second time by itself: a test sees each failure."""

    @property
    def repeatable(self) -> bool:
        return False


class TestClient:
    """A session for a server of a test, with URLs relative to it.

    ::

        async with TestClient(handler) as client:
            async with client.get("/") as response:
                print(response.status)

    - `server`: a `TestServer` (or `RawServer`), or a handler for a new one. The client starts and
      closes it;
    - `cookie_jar`: by default one that keeps cookies of IP addresses too;
    - further arguments are those of `angelia.ClientSession`.

    Requests that fail on a reused connection are not sent once more. RuntimeError where no event
    loop runs.
    """

    __test__ = False

    def __init__(
        self,
        server: TestServer | RawServer | Handler,
        *,
        cookie_jar: AbstractCookieJar | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(server, TestServer | RawServer):
            server = TestServer(server)
        self._server: TestServer | RawServer = server
        jar = CookieJar(unsafe=True) if cookie_jar is None else cookie_jar
        options.setdefault("request_class", OnceRequest)
        self._session = ClientSession(cookie_jar=jar, **options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._server!r}>"

    # --- the pair ------------------------------------------------------------------------------

    @property
    def server(self) -> TestServer | RawServer:
        """The server."""
        return self._server

    @property
    def session(self) -> ClientSession:
        """The session."""
        return self._session

    @property
    def host(self) -> str:
        """The server's host."""
        return self._server.host

    @property
    def port(self) -> int | None:
        """The server's port; None before the start."""
        return self._server.port

    def make_url(self, path: str | URL) -> URL:
        """The URL of `path` on the server; ValueError for an absolute one."""
        return self._server.make_url(path)

    async def start_server(self) -> None:
        """Start the server. Idempotent."""
        await self._server.start_server()

    async def close(self) -> None:
        """Close the session, and then the server. Idempotent."""
        try:
            await self._session.close()
        finally:
            await self._server.close()

    async def __aenter__(self) -> Self:
        try:
            await self.start_server()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.close()

    # --- requests ------------------------------------------------------------------------------

    def request(self, method: str, path: str | URL, **kwargs: Any) -> RequestContext:
        """As `ClientSession.request`, to a path of the server."""
        return self._session.request(method, self.make_url(path), **kwargs)

    def get(self, path: str | URL, **kwargs: Any) -> RequestContext:
        """As `ClientSession.get`."""
        return self._session.get(self.make_url(path), **kwargs)

    def options(self, path: str | URL, **kwargs: Any) -> RequestContext:
        """As `ClientSession.options`."""
        return self._session.options(self.make_url(path), **kwargs)

    def head(self, path: str | URL, **kwargs: Any) -> RequestContext:
        """As `ClientSession.head`."""
        return self._session.head(self.make_url(path), **kwargs)

    def post(self, path: str | URL, **kwargs: Any) -> RequestContext:
        """As `ClientSession.post`."""
        return self._session.post(self.make_url(path), **kwargs)

    def put(self, path: str | URL, **kwargs: Any) -> RequestContext:
        """As `ClientSession.put`."""
        return self._session.put(self.make_url(path), **kwargs)

    def patch(self, path: str | URL, **kwargs: Any) -> RequestContext:
        """As `ClientSession.patch`."""
        return self._session.patch(self.make_url(path), **kwargs)

    def delete(self, path: str | URL, **kwargs: Any) -> RequestContext:
        """As `ClientSession.delete`."""
        return self._session.delete(self.make_url(path), **kwargs)

    def ws_connect(self, path: str | URL, **kwargs: Any) -> WebSocketContext:
        """As `ClientSession.ws_connect`."""
        return self._session.ws_connect(self.make_url(path), **kwargs)
