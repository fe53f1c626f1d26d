"""MockConnector: connections to a handler or to registered replies, without sockets.

Owns: which reply a request gets, and the record of what was requested. Session, core, response and
the server's side of the connection are the real ones.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from angelia.client.request import ClientRequest
from angelia.errors import ClientConnectionError
from angelia.net.connector import BaseConnector, ConnectRequest, ConnectTimeouts
from angelia.net.streams import duplicate
from angelia.net.transport import Transport
from angelia.redaction import shown_url
from angelia.server.request import Request
from angelia.server.response import Response
from angelia.server.server import Server
from angelia.server.stream_response import StreamResponse
from angelia.testing.factories import HeadersArgument, with_type
from angelia.testing.memory import MemoryTransport

if TYPE_CHECKING:
    from angelia.net.deadlines import Deadline
    from angelia.server.options import Handler

__all__ = ("MockConnector", "RecordedRequest")

# Under this name both ends of a connection find what belongs to the request on it.
_LINK: Final = "angelia.testing.link"

URLPattern: TypeAlias = "str | URL | re.Pattern[str]"
FailureArgument: TypeAlias = "BaseException | type[BaseException]"


class RecordedRequest:
    """A request that came to a `MockConnector`.

    - `method`, `url`;
    - `headers`: as they were sent; for a request that was not sent those of the session;
    - `body`: None where it was not sent, or where the handler did not `read` it whole.
    """

    __slots__ = ("body", "headers", "method", "url")

    def __init__(self, method: str, url: URL, headers: CIMultiDictProxy[str]) -> None:
        self.method = method
        self.url = url
        self.headers = headers
        self.body: bytes | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} {shown_url(self.url)}>"


class _Link:
    """What belongs to the request on a connection."""

    __slots__ = ("handler", "record")

    def __init__(self) -> None:
        self.record: RecordedRequest | None = None
        self.handler: Handler | None = None


class _Reply:
    """What requests of one kind are answered with."""

    __slots__ = ("exception", "handler", "left", "method", "pattern", "used")

    def __init__(
        self,
        method: str,
        pattern: URLPattern,
        handler: Handler | None,
        exception: FailureArgument | None,
        times: int | None,
    ) -> None:
        self.method = method
        self.pattern = pattern if isinstance(pattern, re.Pattern) else _normalized(URL(pattern))
        self.handler = handler
        self.exception = exception
        self.left = times
        self.used = 0

    def __repr__(self) -> str:
        pattern = self.pattern
        shown = pattern.pattern if isinstance(pattern, re.Pattern) else shown_url(pattern)
        return f"{self.method} {shown}"

    def fits(self, method: str, url: URL) -> bool:
        return self.left != 0 and _fits(self.method, self.pattern, method, url)

    def use(self) -> None:
        self.used += 1
        if self.left is not None:
            self.left -= 1


class MockConnector(BaseConnector):
    """A connector without sockets, for ``ClientSession(connector=...)``.

    ::

        mock = MockConnector()
        mock.add("GET", "http://example.org/", json={"answer": 42})
        async with angelia.ClientSession(connector=mock) as session:
            async with session.get("http://example.org/") as response:
                print(await response.json())
        mock.assert_requested("GET", "http://example.org/", times=1)

    - `handler`: answers what no registered reply is for, as that of an `angelia.Server`;
    - `server_options`: arguments of that `Server`;
    - further arguments are those of `BaseConnector`.

    The requests go through the real session and are parsed and answered by the real server; TLS is
    only pretended, and proxies are left out. A request that nothing answers raises
    `ClientConnectionError`.
    """

    def __init__(
        self,
        handler: Handler | None = None,
        *,
        server_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._handler = handler
        self._replies: list[_Reply] = []
        self._server = Server(self._answer, **(server_options or {}))
        # What was requested, in order.
        self.requests: list[RecordedRequest] = []

    # --- replies -------------------------------------------------------------------------------

    def add(
        self,
        method: str,
        url: URLPattern,
        *,
        status: int = 200,
        reason: str | None = None,
        headers: HeadersArgument | None = None,
        body: bytes = b"",
        text: str | None = None,
        json: Any = None,
        handler: Handler | None = None,
        exception: FailureArgument | None = None,
        times: int | None = None,
    ) -> None:
        """Answer requests with this.

        - `method`: ``*`` for any;
        - `url`: the whole URL, with its query in any order; a relative one for any host; or a
          pattern that the whole text of the URL matches;
        - a response of `status`, `reason`, `headers` and one of `body`, `text` and `json`; or the
          response of `handler`; or `exception`, an error or a class of it, which the request
          raises instead of being sent;
        - `times`: for so many requests, by default for any number.

        Of several replies that fit the first one is taken that has not been used up. ValueError for
        what cannot be sent, and for `handler` or `exception` together with a response.
        """
        if times is not None and times < 1:
            raise ValueError(f"times must be at least 1, not {times}")
        plain = status == 200 and not (reason or headers or body or text is not None)
        if (handler is not None, exception is not None, not plain or json is not None).count(
            True
        ) > 1:
            raise ValueError("give one of a response, handler and exception")
        if handler is None and exception is None:
            handler = _fixed(status, reason, *with_type(headers, body, text, json))
        self._replies.append(_Reply(method, url, handler, exception, times))

    def _choose(self, request: ClientRequest) -> tuple[RecordedRequest, Handler]:
        """Record a request; what answers it, or the error that it raises."""
        method, url = request.method, request.url
        record = RecordedRequest(method, url, CIMultiDictProxy(CIMultiDict(request.headers)))
        self.requests.append(record)
        for reply in self._replies:
            if reply.fits(method, url):
                reply.use()
                if reply.exception is not None:
                    raise _failure(reply.exception)
                if reply.handler is not None:
                    return record, reply.handler
        if self._handler is None:
            raise ClientConnectionError(f"no reply was registered for {method} {shown_url(url)}")
        return record, self._handler

    # --- what was requested --------------------------------------------------------------------

    def requested(self, method: str, url: URLPattern) -> list[RecordedRequest]:
        """The requests of this method and URL; both as in `add`."""
        pattern = url if isinstance(url, re.Pattern) else _normalized(URL(url))
        return [item for item in self.requests if _fits(method, pattern, item.method, item.url)]

    def assert_requested(self, method: str, url: URLPattern, *, times: int | None = None) -> None:
        """AssertionError unless this was requested: at least once, or just so many times."""
        count = len(self.requested(method, url))
        if count == times or (times is None and count):
            return
        wanted = "at least one" if times is None else str(times)
        shown = url.pattern if isinstance(url, re.Pattern) else shown_url(URL(url))
        requests = "".join(f"\n  {item!r}" for item in self.requests) or " none"
        raise AssertionError(
            f"{wanted} of {method} {shown} expected, {count} came; all requests:{requests}"
        )

    def assert_all_used(self) -> None:
        """AssertionError unless each registered reply was used, as often as its `times` say."""
        left = [reply for reply in self._replies if not reply.used or reply.left]
        if left:
            raise AssertionError(
                "replies that were not used up:" + "".join(f"\n  {r}" for r in left)
            )

    # --- connections ---------------------------------------------------------------------------

    def acquire_now(self, req: ConnectRequest, traces: Sequence[Any]) -> Transport | None:
        """None: each request is looked at first."""
        return None

    async def acquire(
        self,
        req: ConnectRequest,
        traces: Sequence[Any] = (),
        timeout: ConnectTimeouts | None = None,
        deadline: Deadline | None = None,
    ) -> Transport:
        """A connection for `req`, on which its reply waits."""
        if not isinstance(req, ClientRequest):
            raise TypeError(f"not a session's request: {req!r}")
        record, handler = self._choose(req)
        transport = await super().acquire(req, traces, timeout, deadline)
        link: _Link = transport.get_extra_info(_LINK)
        link.record, link.handler = record, handler
        return transport

    async def _create_connection(
        self, req: ConnectRequest, traces: Sequence[Any], timeout: Any
    ) -> Transport:
        key = req.connection_key
        link = _Link()
        scheme = "https" if key.is_ssl else "http"
        transport = Transport(self._loop, self._batch)
        client, server = ("127.0.0.1", 0), (key.host, key.port)
        MemoryTransport.connect(
            self._loop,
            transport,
            self._server.connection(scheme),
            client_extra={"peername": server, "sockname": client, _LINK: link},
            server_extra={"peername": client, "sockname": server, _LINK: link},
            half_close=not key.is_ssl,
        )
        return transport

    async def _answer(self, request: Request) -> StreamResponse:
        link: _Link = request.get_extra_info(_LINK)
        record, handler = link.record, link.handler
        if record is None or handler is None:
            raise RuntimeError(f"{request!r} did not come through acquire()")
        record.headers = request.headers
        try:
            return await handler(request)
        finally:
            record.body = request._body

    async def _close_resources(self) -> None:
        await self._server.close(0)


def _fixed(
    status: int, reason: str | None, headers: CIMultiDict[str], body: bytes
) -> Callable[[Request], Awaitable[StreamResponse]]:
    # What is wrong with it is said now, not as a 500 later.
    Response(body, status=status, reason=reason, headers=headers)

    async def answer(request: Request) -> StreamResponse:
        request._body = await request.content.read() if request.body_exists else b""
        return Response(body, status=status, reason=reason, headers=headers)

    return answer


def _failure(exception: FailureArgument) -> BaseException:
    return exception() if isinstance(exception, type) else duplicate(exception)


def _normalized(url: URL) -> URL:
    return url.with_fragment(None)


def _place(url: URL) -> tuple[str, str | None, int | None]:
    return url.scheme, url.host, url.port


def _fits(wanted: str, pattern: URL | re.Pattern[str], method: str, url: URL) -> bool:
    if wanted not in ("*", method):
        return False
    if isinstance(pattern, re.Pattern):
        return pattern.fullmatch(str(url)) is not None
    if pattern.absolute and _place(pattern) != _place(url):
        return False
    path = pattern.path or "/"
    return path == url.path and sorted(pattern.query.items()) == sorted(url.query.items())
