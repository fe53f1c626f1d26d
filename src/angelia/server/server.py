"""Server: listening sockets, the connections that they accept, and the end of both.

Owns: the set of connections, the limit of their number, the graceful close. What happens on a
connection is the connection's.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import socket as sockets
import ssl as tls
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from angelia.core.h1_wire import REQUEST_LIMITS, HeadLimits
from angelia.net.socket_protocol import WriteBatch, reads_into_buffer
from angelia.net.streams import DEFAULT_LIMIT
from angelia.server.connection import BufferedServerConnection, ServerConnection
from angelia.server.options import (
    BODY_TIMEOUT,
    HEAD_TIMEOUT,
    KEEPALIVE_TIMEOUT,
    LINGERING_TIME,
    MAX_BODY_SIZE,
    MAX_FORM_FIELDS,
    SEND_TIMEOUT,
    Handler,
    ServerOptions,
)
from angelia.server.tasks import handler_tasks

if TYPE_CHECKING:
    from angelia.server.access_log import AbstractAccessLogger

__all__ = ("Server",)

# As many connections as the kernel keeps for us while the loop is busy.
DEFAULT_BACKLOG: Final = 1024
# A loop takes so many turns to accept a socket, and from there to the first octets from it.
ACCEPT_TURNS: Final = 2
READ_TURNS: Final = 4
# Requests under way get so many seconds when the server closes.
DEFAULT_CLOSE_TIMEOUT: Final = 60.0


class Server:
    """Answers HTTP/1.1 requests with what a handler returns.

    ::

        async def handler(request):
            return angelia.Response(text=f"Hello, {request.query.get('name', 'world')}!")


        async with angelia.Server(handler) as server:
            await server.start("localhost", 8080)
            await asyncio.Event().wait()

    - `handler`: a coroutine function from a `Request` to a `Response`;
    - `max_line_size`, `max_field_size` (octets), `max_headers` (count), `max_head_size` (octets):
      limits of request heads, answered with 414 and 431 beyond;
    - `max_body_size`: octets of a body that is read whole (1 MiB; 0 for any), 413 beyond;
    - `max_form_fields`: fields of a form (1000), 413 beyond;
    - `max_connections`: open connections (0 for any), 503 beyond;
    - `max_decompressed_size`: octets that a body may decode to, None for no limit;
    - `head_timeout` (30), `body_timeout` (60, from one piece to the next), `keepalive_timeout`
      (75): seconds that a client has, 0 for any number; 408 after a part of a request. The first
      also bounds a TLS handshake, which 0 leaves to the event loop's 60;
    - `send_timeout` (60): seconds in which a client has to take something of what it is sent, 0 for
      any number; then the connection is aborted;
    - `lingering_time` (10): seconds in which the rest of a body that nobody read is thrown away;
    - `read_bufsize`: octets of a body around which reading from the socket is paused;
    - `auto_decompress`: decode ``Content-Encoding`` of requests;
    - `handler_cancellation`: cancel a handler whose client has gone; otherwise its reads and writes
      raise OSError, and `Request.wait_disconnected` tells;
    - `access_log`: an `AccessLogger`, or an `angelia.abc.AbstractAccessLogger` of another kind;
    - `debug`: show tracebacks to clients.

    RuntimeError where no event loop runs.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        max_line_size: int = REQUEST_LIMITS.max_line_size,
        max_field_size: int = REQUEST_LIMITS.max_field_size,
        max_headers: int = REQUEST_LIMITS.max_headers,
        max_head_size: int | None = None,
        max_body_size: int = MAX_BODY_SIZE,
        max_form_fields: int = MAX_FORM_FIELDS,
        max_connections: int = 0,
        max_decompressed_size: int | None = None,
        head_timeout: float = HEAD_TIMEOUT,
        body_timeout: float = BODY_TIMEOUT,
        keepalive_timeout: float = KEEPALIVE_TIMEOUT,
        lingering_time: float = LINGERING_TIME,
        send_timeout: float = SEND_TIMEOUT,
        read_bufsize: int = DEFAULT_LIMIT,
        auto_decompress: bool = True,
        handler_cancellation: bool = False,
        access_log: AbstractAccessLogger | None = None,
        debug: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        limits = HeadLimits(max_line_size, max_field_size, max_headers, lenient=False)
        if max_head_size is not None:
            limits = limits._replace(max_size=max_head_size)
        self._options = ServerOptions(
            handler=handler,
            limits=limits,
            max_body_size=max_body_size,
            max_form_fields=max_form_fields,
            max_connections=max_connections,
            max_decoded_size=max_decompressed_size,
            head_timeout=head_timeout,
            body_timeout=body_timeout,
            keepalive_timeout=keepalive_timeout,
            lingering_time=lingering_time,
            send_timeout=send_timeout,
            read_bufsize=read_bufsize,
            auto_decompress=auto_decompress,
            handler_cancellation=handler_cancellation,
            access_log=access_log,
            debug=debug,
        )
        self._batch = WriteBatch(self._loop)
        self._tasks = handler_tasks(self._loop)
        self._listeners: list[asyncio.Server] = []
        self._paths: list[str] = []
        self._connections: set[ServerConnection] = set()
        # Handlers that go on after their answers.
        self._loose: set[asyncio.Task[None]] = set()
        self._closing = False
        self._closed = False
        # Handlers that close the server, and cannot wait for their own end.
        self._closers: set[asyncio.Task[Any]] = set()
        self._empty: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        state = "closed" if self._closing else f"{len(self._connections)} connections"
        return f"<{type(self).__name__} {self.addresses} {state}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.close(DEFAULT_CLOSE_TIMEOUT if exc_type is None else 0)

    # --- listening -----------------------------------------------------------------------------

    async def start(
        self,
        host: str | Sequence[str] | None = None,
        port: int | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
        sock: sockets.socket | None = None,
        fd: int | None = None,
        ssl: tls.SSLContext | None = None,
        backlog: int = DEFAULT_BACKLOG,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
    ) -> Self:
        """Begin to listen; may be called several times, for several addresses.

        One of: `host` (a name or address, or several; None for all interfaces) and `port` (0 for
        any that is free); `path` of a Unix socket; `sock`, a bound socket; `fd`, the number of one
        that was inherited. `ssl`: a context for TLS. Returns the server. OSError where an address
        cannot be had, ValueError for none or several of these.
        """
        if self._closing:
            raise RuntimeError("the server is closed")
        given = [host is not None or port is not None, path is not None, sock is not None]
        if sum([*given, fd is not None]) != 1:
            raise ValueError("give host and port, or path, or sock, or fd")
        if fd is not None:
            sock = sockets.socket(fileno=os.dup(fd))
            sock.setblocking(False)
        factory = self._factory(ssl)
        arguments: dict[str, Any] = {"ssl": ssl, "backlog": backlog}
        if ssl is not None and self._options.head_timeout:
            # A client that does not go on with its handshake is as slow as one that sends no head.
            arguments["ssl_handshake_timeout"] = self._options.head_timeout
        unix_arguments = arguments
        if path is None and sys.version_info >= (3, 13):
            # The file of a socket that somebody else bound is theirs.
            unix_arguments = {**arguments, "cleanup_socket": False}
        if path is not None or (sock is not None and sock.family == _unix_family()):
            listener = await self._loop.create_unix_server(
                factory, None if path is None else os.fspath(path), sock=sock, **unix_arguments
            )
            if path is not None:
                self._paths.append(os.fspath(path))
        elif sock is not None:
            listener = await self._loop.create_server(factory, sock=sock, **arguments)
        else:
            listener = await self._loop.create_server(
                factory,
                host,
                0 if port is None else port,
                reuse_address=reuse_address,
                reuse_port=reuse_port,
                **arguments,
            )
        self._listeners.append(listener)
        return self

    def _factory(self, ssl: tls.SSLContext | None) -> Callable[[], ServerConnection]:
        loop, options, batch, tasks = self._loop, self._options, self._batch, self._tasks
        scheme = "http" if ssl is None else "https"
        kind = ServerConnection
        if reads_into_buffer(loop, is_tls=ssl is not None):
            kind = BufferedServerConnection
        return lambda: kind(self, options, loop, batch, scheme, tasks)

    def connection(self, scheme: str) -> ServerConnection:
        """A connection of this server, for a transport that no listening socket has accepted.

        It is a protocol, whose `connection_made` gets the transport.
        """
        return ServerConnection(self, self._options, self._loop, self._batch, scheme, self._tasks)

    @property
    def addresses(self) -> list[Any]:
        """The addresses that the server listens on: tuples, and paths of Unix sockets."""
        return [
            sock.getsockname() for listener in self._listeners for sock in listener.sockets or ()
        ]

    @property
    def port(self) -> int:
        """The first TCP port that the server listens on; RuntimeError where there is none."""
        for address in self.addresses:
            if isinstance(address, tuple):
                return int(address[1])
        raise RuntimeError("the server listens on no port")

    # --- connections ---------------------------------------------------------------------------

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    @property
    def closing(self) -> bool:
        """Whether the server accepts no more; what it has accepted is still answered."""
        return self._closing

    def accept(self, connection: ServerConnection) -> bool:
        """A connection has come; False where it is one too many. For connections."""
        limit = self._options.max_connections
        accepted = not self._closed and not (limit and len(self._connections) >= limit)
        self._connections.add(connection)
        return accepted

    def forget(self, connection: ServerConnection) -> None:
        """A connection is gone. For connections."""
        self._connections.discard(connection)
        self._check_empty()

    def keep(self, task: asyncio.Task[None]) -> None:
        """A handler goes on though its request was answered. For connections."""
        self._loose.add(task)
        task.add_done_callback(self._let_go)

    def _let_go(self, task: asyncio.Task[None]) -> None:
        self._loose.discard(task)
        self._check_empty()

    def _check_empty(self) -> None:
        empty = self._empty
        if empty is not None and self._left <= len(self._closers) and not empty.done():
            empty.set_result(None)

    @property
    def _left(self) -> int:
        """How many connections and handlers there are to wait for."""
        return len(self._connections) + len(self._loose)

    # --- the end -------------------------------------------------------------------------------

    async def close(self, timeout: float = DEFAULT_CLOSE_TIMEOUT, *, idle_time: float = 0) -> None:
        """Stop gracefully: accept no more, close idle connections, finish requests under way.

        Idle connections close at once, or after `idle_time` seconds: a client that asks again in
        that time gets its answer, which tells it to ask elsewhere from then on.
        Handlers that take longer than `timeout` seconds are cancelled, and their connections
        aborted. Idempotent. Cancelled itself, it cancels them at once.

        A handler that awaits it waits for all others; its own answer is sent after that, as the
        last one of its connection.
        """
        self._closing = True
        told = {connection for connection in self._connections if connection.busy}
        for connection in told:
            connection.shutdown()
        caller: asyncio.Task[Any] | None = None
        try:
            # What the system has for us already is a request like any other: connections that wait
            # to be accepted, octets that were not read yet.
            if timeout:
                await _turns(ACCEPT_TURNS)
                self._stop_accepting()
                await _turns(ACCEPT_TURNS)
            self._stop_listening()
            await _turns(READ_TURNS if timeout else 1)
            for connection in self._connections - told:
                connection.shutdown(idle_time)
            # A handler's task is known from its second turn on.
            caller = self._handler_task()
            if caller is not None:
                self._closers.add(caller)
                caller.add_done_callback(self._closers.discard)
                self._check_empty()
            await self._wait_empty(timeout, caller)
        finally:
            await self._end(caller)

    def _handler_task(self) -> asyncio.Task[Any] | None:
        """The current task, if a handler runs in it."""
        task = asyncio.current_task()
        handles = task in self._loose or any(c.task is task for c in self._connections)
        return task if handles else None

    async def _end(self, caller: asyncio.Task[Any] | None) -> None:
        """End what is left, all but the handlers that wait for that as `caller` does."""
        self._closed = True
        self._stop_listening()
        spared = set() if caller is None else set(self._closers)
        tasks = {task for c in self._connections if (task := c.task) is not None}
        tasks = (tasks | self._loose) - spared
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for connection in tuple(self._connections):
            if connection.task not in spared:
                connection.abort()
        await self._wait_empty(None, caller)
        await self._tasks.close()
        for path in self._paths:
            _remove_socket(path)
        self._paths.clear()

    def _stop_accepting(self) -> None:
        # asyncio forgets a socket that it has accepted when the listener is closed in the turn
        # after: then the client hears nothing but a reset.
        if isinstance(self._loop, asyncio.SelectorEventLoop):
            for listener in self._listeners:
                for sock in listener.sockets:
                    self._loop.remove_reader(sock)

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.close()

    async def _wait_empty(self, timeout: float | None, caller: asyncio.Task[Any] | None) -> None:
        """Wait until nothing is left, or for a handler: nothing but those that wait as it does."""
        deadline = None if timeout is None else self._loop.time() + timeout
        while self._left > (0 if caller is None else len(self._closers)):
            if self._empty is None or self._empty.done():
                self._empty = self._loop.create_future()
            left = None if deadline is None else max(deadline - self._loop.time(), 0)
            done, _ = await asyncio.wait([self._empty], timeout=left)
            if not done:
                return


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def _unix_family() -> object:
    return getattr(sockets, "AF_UNIX", None)


def _remove_socket(path: str) -> None:
    # asyncio does it by itself from Python 3.13 on, and abstract names are no files.
    if not path.startswith("\0"):
        pathlib.Path(path).unlink(missing_ok=True)
