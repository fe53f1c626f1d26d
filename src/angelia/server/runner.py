"""serve: a server that runs until the system asks for its end.

Owns: the signals that end a server, and what each of them means. How a server listens and closes is
its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket as sockets
import ssl as tls
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from angelia.server.server import DEFAULT_BACKLOG, DEFAULT_CLOSE_TIMEOUT, Server

if TYPE_CHECKING:
    from angelia.server.options import Handler

__all__ = ("StopSignals", "serve")

# What service managers send, and what a terminal sends for Ctrl-C.
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


async def serve(
    handler: Handler,
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
    close_timeout: float = DEFAULT_CLOSE_TIMEOUT,
    ready: Callable[[Server], object] | None = None,
    **options: Any,
) -> None:
    """Serve `handler` until SIGTERM or SIGINT, then close gracefully.

    ::

        asyncio.run(angelia.serve(handler, "localhost", 8080))

    - `host` to `reuse_port`: where to listen, as in `Server.start`;
    - `close_timeout` (60): seconds that requests under way get after the first signal; a second
      signal cancels them at once;
    - `ready`: called with the `Server` when it listens, which knows its address by then;
    - `options`: those of `Server`.

    Signals are handled in the main thread only, and as they were before afterwards; elsewhere, and
    cancelled, it closes the server at once. Raises what `Server` and `Server.start` raise.
    """
    with StopSignals() as signals:
        async with Server(handler, **options) as server:
            await server.start(
                host,
                port,
                path=path,
                sock=sock,
                fd=fd,
                ssl=ssl,
                backlog=backlog,
                reuse_address=reuse_address,
                reuse_port=reuse_port,
            )
            if ready is not None:
                ready(server)
            await signals.wait()
            await signals.close(server, close_timeout)


class StopSignals:
    """SIGTERM and SIGINT for the time of a ``with``: the first asks for an end, the next for haste.

    With the second signal its own handlers are gone, so that a third one does what it did before:
    by default it ends the process. In threads other than the main one nothing is handled.
    """

    __slots__ = ("_before", "_closing", "_first", "_loop", "count")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._first: asyncio.Future[None] = self._loop.create_future()
        self._closing: asyncio.Task[None] | None = None
        # What was there before, of the signals that are handled now.
        self._before: dict[signal.Signals, Any] = {}
        self.count = 0

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._before[number] = signal.getsignal(number)
                self._handle(number)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._restore()

    def _handle(self, number: signal.Signals) -> None:
        try:
            self._loop.add_signal_handler(number, self._caught)
        except NotImplementedError:  # The loops of Windows.
            signal.signal(number, self._interrupt)

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._caught)

    def _restore(self) -> None:
        for number, before in self._before.items():
            with contextlib.suppress(NotImplementedError):
                self._loop.remove_signal_handler(number)
            # None stands for a handler that is not Python's, which cannot be set again.
            signal.signal(number, signal.SIG_DFL if before is None else before)
        self._before.clear()

    def _caught(self) -> None:
        self.count += 1
        if not self._first.done():
            self._first.set_result(None)
        if self.count > 1:
            self._restore()
            if self._closing is not None:
                self._closing.cancel()

    @contextlib.contextmanager
    def cancelling(self) -> Iterator[None]:
        """Cancel the current task when a signal comes, or has come, before the ``with`` ends."""
        task = asyncio.current_task()

        def cancel(_: object) -> None:
            if task is not None:
                task.cancel()

        self._first.add_done_callback(cancel)
        try:
            yield
        finally:
            self._first.remove_done_callback(cancel)

    async def wait(self) -> None:
        """Return when the first signal has come."""
        await asyncio.shield(self._first)

    async def close(self, server: Server, timeout: float) -> None:
        """Close `server` within `timeout` seconds, or as soon as there was a second signal."""
        if self.count > 1:
            timeout = 0
        self._closing = closing = self._loop.create_task(server.close(timeout))
        try:
            await closing
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self.count < 2 or (task is not None and task.cancelling()):
                raise
        finally:
            self._closing = None
