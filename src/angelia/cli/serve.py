"""``angelia serve``: an application, or a directory, on a server of ours.

Owns: one run of a server in this process, from its start to its end. What is served is
`serve_application`'s business; what runs several processes, or starts one again, is `workers` and
`reload`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from angelia.cli.exits import ExitCode, LocalFileError, UsageError
from angelia.cli.listening import Listening, open_sockets
from angelia.cli.output import Output
from angelia.cli.reload import WATCHED, serve_again
from angelia.cli.serve_application import handler_of
from angelia.cli.serve_arguments import ServeOptions
from angelia.cli.serve_parts import access_logger, configure_access_log, loop_factory, tell
from angelia.hosting.systemd import notify
from angelia.server.access_log import AccessLogger
from angelia.server.runner import StopSignals
from angelia.server.server import Server

if TYPE_CHECKING:
    import ssl

    from angelia.server.options import Handler

__all__ = ("serve",)

_LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def serve(options: ServeOptions, arguments: list[str], output: Output) -> int:
    """Serve until a signal ends it; returns the exit code. Raises `UsageError`.

    `arguments` are those of the command line, for another process that does the same. Must not be
    called from within a running event loop.
    """
    ssl = _tls_context(options)
    access_log = access_logger(options)
    factory = loop_factory(options.loop)
    if options.workers > 1:
        return _serve_by_workers(options, output)
    if options.reload and not os.environ.pop(WATCHED, ""):
        if os.name != "posix":
            raise UsageError("--reload hands sockets down, which this system cannot")
        return serve_again(options, arguments, output, os.environ)
    handler, kind, server_options = handler_of(options, output)
    _configure_logging(access_log)
    with (
        open_sockets(options, os.environ) as listening,
        asyncio.Runner(loop_factory=factory) as runner,
    ):
        service = _Service(options, output, kind, listening, ssl, access_log)
        return runner.run(service.run(handler, server_options))


def _serve_by_workers(options: ServeOptions, output: Output) -> int:
    try:
        from angelia.cli.workers import run_workers
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "gunicorn":
            raise
        raise UsageError("--workers needs gunicorn (pip install gunicorn)") from error
    with open_sockets(options, os.environ) as listening:
        return run_workers(options, output, listening)


def _tls_context(options: ServeOptions) -> ssl.SSLContext | None:
    """The context for HTTPS, None for plain HTTP. Raises `UsageError`."""
    if options.tls_cert is None:
        return None
    # Here, since a Python without the module can still do plain HTTP.
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    names = " and ".join(filter(None, (options.tls_cert, options.tls_key)))
    try:
        context.load_cert_chain(options.tls_cert, options.tls_key)
    except ssl.SSLError as error:
        raise UsageError(f"{names}: no certificate with its key (PEM): {error.reason}") from error
    except OSError as error:
        raise LocalFileError.of("read", names, error) from error
    return context


def _configure_logging(access_log: AccessLogger | None) -> None:
    """Let logs be seen, where the application has not arranged them already."""
    if not logging.root.handlers:
        logging.basicConfig(format=_LOG_FORMAT, stream=sys.stderr)
    configure_access_log(access_log)


async def _start(handler: Any, stack: contextlib.AsyncExitStack) -> None:
    """Let what serves begin, where it wants to know; `UsageError` where it cannot."""
    from angelia.hosting.asgi_lifespan import LifespanError

    if isinstance(handler, contextlib.AbstractAsyncContextManager):
        try:
            await stack.enter_async_context(handler)
        except LifespanError as error:
            raise UsageError(str(error)) from error


class _Service:
    """One run of a server, from its start to its end."""

    __slots__ = ("_access_log", "_kind", "_listening", "_options", "_output", "_ssl")

    def __init__(
        self,
        options: ServeOptions,
        output: Output,
        kind: str,
        listening: Listening,
        ssl: ssl.SSLContext | None,
        access_log: AccessLogger | None,
    ) -> None:
        self._options = options
        self._output = output
        self._kind = kind
        self._listening = listening
        self._ssl = ssl
        self._access_log = access_log

    async def run(self, handler: Any, server_options: dict[str, Any]) -> int:
        """Start the handler, serve it, end it; returns the exit code."""
        with StopSignals() as signals:
            try:
                async with contextlib.AsyncExitStack() as stack:
                    # Asked to stop before it has started, it need not start.
                    with signals.cancelling():
                        await _start(handler, stack)
                    await self._serve(handler, server_options, signals)
            except asyncio.CancelledError:
                if not signals.count:
                    raise
        return ExitCode.OK

    async def _serve(
        self, handler: Handler, server_options: dict[str, Any], signals: StopSignals
    ) -> None:
        async with Server(handler, access_log=self._access_log, **server_options) as server:
            for sock in self._listening.sockets:
                await server.start(sock=sock, ssl=self._ssl)
            loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
            tell(self._output, self._options, f"{self._kind}, {loop}", self._listening)
            await signals.wait()
            notify(os.environ, "STOPPING=1")
            await signals.close(server, self._options.graceful_timeout)
