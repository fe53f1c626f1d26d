"""``angelia serve``: an application, or a directory, on a server of ours.

Owns: the way from options to a handler, a server and its end; what is said meanwhile. What runs
several processes, or starts one again, is `workers` and `reload`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from angelia.cli.exits import ExitCode, LocalFileError, UsageError
from angelia.cli.listening import Listening, open_sockets, url_of
from angelia.cli.output import Output, escaped, escaped_line
from angelia.cli.reload import WATCHED, serve_again
from angelia.cli.serve_arguments import ServeOptions
from angelia.hosting.loading import Interface, LoadingError, detect_interface, load_application
from angelia.hosting.systemd import notify
from angelia.server.access_log import AccessLogger
from angelia.server.runner import StopSignals
from angelia.server.server import Server

if TYPE_CHECKING:
    import ssl

    from angelia.server.options import Handler

__all__ = (
    "access_logger",
    "configure_access_log",
    "hosted",
    "load",
    "loop_factory",
    "serve",
    "tell",
)

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
    handler, kind, server_options = _handler(options, output)
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


# --- what is served ------------------------------------------------------------------------------


def _handler(options: ServeOptions, output: Output) -> tuple[Any, str, dict[str, Any]]:
    """A handler, which may be an asynchronous context manager; its kind; options of its server."""
    if options.directory is not None:
        from angelia.server.files import Directory

        try:
            return Directory(options.directory), "files", options.limits
        except (ValueError, OSError) as error:
            raise UsageError(f"not a directory: {options.directory!r}") from error
    application, interface = load(options, output)
    handler, server_options = hosted(application, interface, options)
    return handler, interface.value, server_options


def load(options: ServeOptions, output: Output) -> tuple[Any, Interface]:
    """The application that `options` name, and its interface. Raises `UsageError`."""
    # As `python -m` does: what is being worked on is in the current directory.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        application = load_application(options.app or "")
        if options.interface != "auto":
            return application, Interface(options.interface)
        return application, detect_interface(application)
    except LoadingError as error:
        if error.inner:
            output.note(escaped(error.inner.rstrip()))
        hint = "" if error.inner or "tell" not in str(error) else " (--interface says it)"
        raise UsageError(f"{error}{hint}") from error


def hosted(
    application: Any, interface: Interface, options: ServeOptions
) -> tuple[Any, dict[str, Any]]:
    """A handler for `application`, and the options of its server. Raises `UsageError`."""
    if options.threads is not None and interface is not Interface.WSGI:
        raise UsageError(f"--threads is for WSGI applications, and this one is {interface.value}")
    if interface is Interface.HANDLER:
        if options.root_path:
            raise UsageError("--root-path is for ASGI and WSGI applications")
        return application, options.limits
    # These applications expect a body as it came.
    server_options = {**options.limits, "auto_decompress": False}
    try:
        if interface is Interface.ASGI:
            from angelia.hosting.asgi import ASGIHandler

            return ASGIHandler(application, root_path=options.root_path), server_options
        return _wsgi_handler(application, options), server_options
    except ValueError as error:
        raise UsageError(f"--root-path: {error}") from error


def _wsgi_handler(application: Any, options: ServeOptions) -> Any:
    from angelia.hosting.wsgi import DEFAULT_THREADS, WSGIHandler

    return WSGIHandler(
        application,
        threads=DEFAULT_THREADS if options.threads is None else options.threads,
        script_name=options.root_path,
        multiprocess=options.workers > 1,
    )


# --- how it is served ----------------------------------------------------------------------------


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


def loop_factory(kind: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop, None for asyncio's own. Raises `UsageError`."""
    if kind == "asyncio":
        return None
    try:
        import uvloop
    except ImportError as error:
        if kind == "uvloop":
            raise UsageError("uvloop is not installed (pip install uvloop)") from error
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def access_logger(options: ServeOptions) -> AccessLogger | None:
    """What writes the access log, None for nothing. Raises `UsageError`."""
    if options.access_log is None:
        return None
    try:
        return AccessLogger(log_format=options.access_log)
    except ValueError as error:
        raise UsageError(f"--access-log: {error}") from error


def _configure_logging(access_log: AccessLogger | None) -> None:
    """Let logs be seen, where the application has not arranged them already."""
    if not logging.root.handlers:
        logging.basicConfig(format=_LOG_FORMAT, stream=sys.stderr)
    configure_access_log(access_log)


def configure_access_log(access_log: AccessLogger | None) -> None:
    """Let the access log go to standard output, unless the application has a place for it."""
    if access_log is not None and not access_log.logger.handlers:
        lines = logging.StreamHandler(sys.stdout)
        lines.setFormatter(logging.Formatter("%(message)s"))
        access_log.logger.addHandler(lines)
        access_log.logger.setLevel(logging.INFO)
        access_log.logger.propagate = False


def tell(output: Output, options: ServeOptions, how: str, listening: Listening) -> None:
    """Say what is served, and where: whoever waits for that reads the last word."""
    what = options.app or options.directory or ""
    scheme = "http" if options.tls_cert is None else "https"
    mark = output.styled_note("angelia:", "green", "bold")
    for sock in listening.sockets:
        text = f"serving {what} ({how}) on {url_of(sock, scheme)}"
        output.note(f"{mark} {escaped_line(text)}")
    notify(os.environ, "READY=1")


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
