"""WSGIHandler: a handler that runs a WSGI application (PEP 3333) in threads.

Owns: how many calls there may be, the life of one call of the application. The threads are
`wsgi_threads`'s, what the head becomes is `wsgi_environ`'s, what the application answers
`wsgi_response`'s, the way between thread and event loop `wsgi_bridge`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from angelia.hosting.wsgi_bridge import Bridge
from angelia.hosting.wsgi_environ import make_environ
from angelia.hosting.wsgi_response import (
    FileWrapper,
    RealFile,
    WSGIResponse,
    make_response,
    real_file,
)
from angelia.hosting.wsgi_streams import ErrorStream, InputStream
from angelia.hosting.wsgi_threads import CallThreads
from angelia.server.http_exception import HTTPException

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from angelia.server.request import Request

__all__ = ("DEFAULT_MAX_PENDING", "DEFAULT_THREADS", "WSGIHandler")

_logger: Final = logging.getLogger("angelia.hosting.wsgi")

# Threads mostly wait, for databases and clients; more of them than this wait for each other.
DEFAULT_THREADS: Final = 32
# Requests that wait for a thread. Each holds its head and some of its body; those behind so many
# would be answered long after their clients have given up.
DEFAULT_MAX_PENDING: Final = 1000
# A file that the system does not send by itself is read so much at a time.
FILE_BLOCK_SIZE: Final = 64 * 1024
# When the handler closes, calls under way get so many seconds.
DEFAULT_CLOSE_TIMEOUT: Final = 10.0
# So many of those that outlast them are named in the log.
MAX_NAMED: Final = 10

ExcInfo: TypeAlias = "tuple[type[BaseException], BaseException, TracebackType]"
NoExcInfo: TypeAlias = "tuple[None, None, None]"


class WSGIHandler:
    """A handler for `angelia.Server` that answers with what a WSGI application returns.

    ::

        async with WSGIHandler(app) as handler, angelia.Server(handler) as server:
            await server.start("localhost", 8080)
            await asyncio.Event().wait()

    - `app`: the application, a callable of PEP 3333;
    - `threads`: it runs in so many threads at most (32); with 1 it is called by one at a time;
    - `max_pending`: requests that wait for a thread (1000); those beyond are answered 503;
    - `script_name`: the path at which the application is mounted, ``/shop``; taken off the paths
      that begin with it, so that a proxy in front may have done that or not;
    - `multiprocess`: what ``wsgi.multiprocess`` says;
    - `close_timeout`: seconds for calls under way at the end of ``async with`` (10).

    Bodies are streams both ways: reading waits for the client, and so does a piece of the answer. A
    client that goes away ends the iteration. ValueError for bounds that leave no room and for a
    `script_name` that is no path.
    """

    __slots__ = (
        "_app",
        "_close_timeout",
        "_closed",
        "_constants",
        "_max_calls",
        "_script_name",
        "_threads",
    )

    def __init__(
        self,
        app: WSGIApplication,
        *,
        threads: int = DEFAULT_THREADS,
        max_pending: int = DEFAULT_MAX_PENDING,
        script_name: str = "",
        multiprocess: bool = False,
        close_timeout: float = DEFAULT_CLOSE_TIMEOUT,
    ) -> None:
        if threads < 1 or max_pending < 0:
            raise ValueError(f"no room for calls: threads={threads}, max_pending={max_pending}")
        if script_name and (script_name[0] != "/" or script_name[-1] == "/"):
            raise ValueError(f"script_name begins with a slash and ends without: {script_name!r}")
        self._app = app
        self._max_calls = threads + max_pending
        self._script_name = script_name.encode().decode("latin-1")
        self._threads: CallThreads[_Call] = CallThreads(threads)
        self._close_timeout = close_timeout
        self._closed = False
        self._constants: dict[str, Any] = {
            "wsgi.version": (1, 0),
            "wsgi.multithread": threads > 1,
            "wsgi.multiprocess": multiprocess,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper,
            # The stream ends where the body does, with a length or without.
            "wsgi.input_terminated": True,
        }

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._threads)} calls"
        return f"<{type(self).__name__} {self._app!r} {state}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.close(self._close_timeout)

    async def __call__(self, request: Request) -> WSGIResponse:
        """Answer a request."""
        if request.method == "CONNECT":
            raise HTTPException(501, "an application is no tunnel", close=True)
        if self._closed or len(self._threads) >= self._max_calls:
            raise HTTPException(503, headers={"Retry-After": "1"})
        call = _Call(self._app, request, asyncio.get_running_loop())
        await call.prepare(self._constants, self._script_name)
        # Cancelled before a thread took it, it still counts until one does. The application does
        # not hear of it.
        self._threads.submit(call)
        return await call.answer()

    async def close(self, timeout: float = DEFAULT_CLOSE_TIMEOUT) -> None:
        """Take no more requests, and wait up to `timeout` seconds for the calls under way.

        A thread cannot be stopped: what outlasts the timeout is logged, and goes on until the
        process ends, which does not wait for it. Idempotent. Close the server first.
        """
        self._closed = True
        late = await self._threads.close(timeout)
        if late:
            named = ", ".join(repr(call.request) for call in late[:MAX_NAMED])
            more = f" and {len(late) - MAX_NAMED} more" if len(late) > MAX_NAMED else ""
            _logger.warning("%r goes on after its end, for %s%s", self._app, named, more)


class _BodyError(OSError):
    """The request's body will not come to its end, for a reason that is an answer."""


class _Outcome:
    """What a call has come to: a response to send to its end, or an error."""

    __slots__ = ("error", "response")

    def __init__(self, response: WSGIResponse | None, error: Exception | None) -> None:
        self.response = response
        self.error = error


class _Call:
    """One call of the application: `prepare` and `answer` on the loop, the rest in a thread."""

    __slots__ = (
        "_app",
        "_bridge",
        "_environ",
        "_errors",
        "_finished",
        "_method",
        "_refusal",
        "_remaining",
        "_request",
        "_response",
        "_sent",
    )

    def __init__(
        self, app: WSGIApplication, request: Request, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._app = app
        self._request = request
        self._method = request.method
        self._bridge: Bridge[_Outcome] = Bridge(loop)
        self._environ: dict[str, Any] = {}
        self._errors = ErrorStream(_logger)
        # What the server would answer to a body that breaks off.
        self._refusal: HTTPException | None = None
        self._response: WSGIResponse | None = None
        # How much of the announced content is still to come.
        self._remaining: int | None = None
        # The head is out; the last of the content has been handed over.
        self._sent = False
        self._finished = False

    @property
    def request(self) -> Request:
        """What the application is called for."""
        return self._request

    # --- on the loop ---------------------------------------------------------------------------

    async def prepare(self, constants: dict[str, Any], script_name: str) -> None:
        """Make the environ, with as much of the body as is here."""
        request = self._request
        first, ended, decoded = b"", not request.body_exists, False
        # Looking at the content tells a client that waits to go on: that is for the application.
        if not ended and "Expect" not in request.headers:
            content = request.content
            if content.buffered:
                first = await content.readany()
            ended = content.at_eof()
        if "Content-Encoding" in request.headers and request.body_exists:
            # What is undone is known when there is a stream.
            _ = request.content
            decoded = request._exchange.decodes
        environ = make_environ(request, script_name=script_name, decoded=decoded)
        environ.update(constants)
        environ["wsgi.input"] = InputStream(self._more, first, ended=ended)
        environ["wsgi.errors"] = self._errors
        self._environ = environ

    async def answer(self) -> WSGIResponse:
        """Do what the thread asks for until there is a response that can be sent to its end."""
        outcome = await self._bridge.serve()
        if outcome.response is not None:
            return outcome.response
        try:
            raise outcome.error or RuntimeError("a call without a result")
        finally:
            # Its traceback knows this frame.
            del outcome

    async def _read(self) -> bytes:
        try:
            return await self._request.content.readany()
        except HTTPException as error:
            self._refusal = error
            raise _BodyError(str(error)) from error

    # --- in the thread -------------------------------------------------------------------------

    def _more(self) -> bytes:
        """The next piece of the body, for ``wsgi.input``."""
        return self._bridge.ask(self._read)

    def run(self) -> None:
        """Call the application, and send what it returns."""
        try:
            self._run()
        except Exception as error:  # noqa: BLE001 - whatever it raises is answered or logged
            self._fail(error)
        except BaseException as error:  # noqa: BLE001 - an exit here would not end the process
            failure = RuntimeError(f"the application raised {type(error).__name__}")
            failure.__cause__ = error
            self._fail(failure)
        finally:
            self._errors.flush()

    def _fail(self, error: Exception) -> None:
        if self._finished:
            _logger.error("error after the response to %r", self._request, exc_info=error)
        elif self._refusal is not None and not self._sent:
            self._bridge.finish(_Outcome(None, self._refusal))
        else:
            self._bridge.finish(_Outcome(None, error))

    def _run(self) -> None:
        if self._bridge.closed or not self._request._exchange.connection.is_open:
            # It did not wait for a thread.
            raise ConnectionResetError("the client has gone")
        # Its input knows this object: kept, they would keep each other.
        environ, self._environ = self._environ, {}
        result = self._app(environ, self.start_response)
        try:
            self._send_result(result)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def _send_result(self, result: Iterable[bytes]) -> None:
        file = None
        # What has begun without a length is in chunks, which the system does not make.
        if type(result) is FileWrapper and not (self._sent and self._remaining is None):
            file = real_file(result.filelike)
        if file is not None:
            self._send_file(file)
        elif type(result) in (list, tuple):
            self._send_all(result)
        else:
            for piece in result:
                if not self._send(piece):
                    break
        self._end()

    def start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: ExcInfo | NoExcInfo | None = None,
    ) -> Callable[[bytes], object]:
        """Begin the response; what PEP 3333 passes to the application."""
        try:
            if exc_info is not None and exc_info[1] is not None:
                if self._sent or self._finished:
                    raise exc_info[1].with_traceback(exc_info[2])
            elif self._response is not None:
                raise RuntimeError("start_response() was called twice, without exc_info")
        finally:
            # The traceback knows this frame.
            exc_info = None
        self._response = make_response(status, headers)
        self._remaining = self._response.length
        return self.write

    def write(self, data: bytes, /) -> None:
        """Send a piece of the content; what ``start_response`` returns."""
        response = self._begun(data)
        if not response.has_content(self._method):
            data = b""
        elif self._remaining is not None:
            if len(data) > self._remaining:
                raise ValueError(f"{len(data)} octets, where {self._remaining} were announced")
            self._remaining -= len(data)
        if self._finished:
            raise ValueError("write() after the end of the response")
        self._transmit(response, data)

    def _begun(self, data: object) -> WSGIResponse:
        if not isinstance(data, bytes):
            raise TypeError(f"content is bytes, not {type(data).__name__}")
        if self._response is None:
            raise RuntimeError("content before start_response()")
        return self._response

    def _transmit(self, response: WSGIResponse, data: bytes) -> None:
        """Send a piece, and wait until the client takes more."""
        request = self._request
        self._bridge.ask(lambda: response.send(request, data))
        self._sent = True

    def _finish(self, response: WSGIResponse, data: bytes) -> None:
        """Let the loop send the last piece; the rest of the call keeps nobody waiting."""
        self._finished = True
        response.body = data
        self._bridge.finish(_Outcome(response, None))

    def _send(self, piece: bytes) -> bool:
        """Send a piece of the iterable; False where the rest of it is not wanted."""
        if piece == b"":
            # PEP 3333: the head waits for content; until then the application may change it.
            return True
        response = self._begun(piece)
        if self._finished:
            _logger.error("more content than was announced for %r", self._request)
            return False
        if not response.has_content(self._method):
            self._finish(response, b"")
            return False
        remaining = self._remaining
        if remaining is None:
            self._transmit(response, piece)
            return True
        wanted = len(piece) <= remaining
        if not wanted:
            _logger.error("more content than was announced for %r", self._request)
            piece = piece[:remaining]
        self._remaining = remaining - len(piece)
        if self._remaining:
            self._transmit(response, piece)
        else:
            self._finish(response, piece)
        return wanted

    def _send_all(self, pieces: Iterable[bytes]) -> None:
        """Send content that is all there."""
        for piece in pieces:
            self._begun(piece)
        body = b"".join(pieces)
        response = self._response
        if response is None or self._sent or self._remaining is not None:
            self._send(body)
        else:
            self._finish(response, body)

    def _send_file(self, file: RealFile) -> None:
        """Let the system send a file, or read it here."""
        response = self._response
        if response is None:
            raise RuntimeError("content before start_response()")
        if not response.has_content(self._method):
            return
        size = file.size if self._remaining is None else min(file.size, self._remaining)
        if self._remaining is None and not self._sent:
            self._remaining = size
        elif self._remaining is not None and self._remaining > size and not self._sent:
            self._too_short(self._remaining - size)
        sent = self._bridge.ask(lambda: self._send_by_system(response, file, size))
        self._sent = True
        if self._remaining is not None:
            self._remaining -= sent
        file.file.seek(file.start + sent)
        while sent < size and (block := file.file.read(min(FILE_BLOCK_SIZE, size - sent))):
            sent += len(block)
            self._send(block)

    async def _send_by_system(self, response: WSGIResponse, file: RealFile, size: int) -> int:
        await response.send(self._request, b"", self._remaining)
        if not size:
            return 0
        sent = await self._request._exchange.send_file(file.file, file.start, size)
        response.body_length += sent
        return sent

    def _end(self) -> None:
        """The application has no more content."""
        if self._finished:
            return
        response = self._response
        if response is None:
            raise RuntimeError("the application did not call start_response()")
        if self._remaining and response.has_content(self._method):
            self._too_short(self._remaining)
        self._finish(response, b"")

    def _too_short(self, missing: int) -> None:
        raise ValueError(f"the content is {missing} octets shorter than was announced")
