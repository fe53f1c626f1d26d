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
from angelia.cli.serve_arguments import ServeOptions
from angelia.hosting.loading import Interface, LoadingError, detect_interface, load_application
from angelia.hosting.systemd import notify
from angelia.server.access_log import AccessLogger
from angelia.server.runner import StopSignals
from angelia.server.server import Server

if TYPE_CHECKING:
    import ssl

    from angelia.server.options import Handler

__all__ = ("load", "loop_factory", "serve", "tls_context")

_LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def serve(options: ServeOptions, output: Output) -> int:
    """Serve until a signal ends it; returns the exit code. Raises `UsageError`.

    Must not be called from within a running event loop.
    """
    if options.reload or options.workers > 1:
        raise UsageError("--reload and --workers are not there yet")
    ssl = tls_context(options)
    access_log = _access_log(options)
    factory = loop_factory(options.loop)
    handler, kind = _handler(options, output)
    _configure_logging(access_log)
    with (
        open_sockets(options, os.environ) as listening,
        asyncio.Runner(loop_factory=factory) as runner,
    ):
        service = _Service(options, output, kind, listening, ssl, access_log)
        return runner.run(service.run(handler))


# --- what is served ------------------------------------------------------------------------------


def _handler(options: ServeOptions, output: Output) -> tuple[Any, str]:
    """A handler, perhaps an asynchronous context manager as well, and what to call it."""
    if options.directory is not None:
        from angelia.server.files import Directory

        try:
            return Directory(options.directory), "files"
        except (ValueError, OSError) as error:
            raise UsageError(f"not a directory: {options.directory!r}") from error
    application, interface = load(options, output)
    return _hosted(application, interface, options), interface.value


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


def _hosted(application: Any, interface: Interface, options: ServeOptions) -> Any:
    if options.threads is not None and interface is not Interface.WSGI:
        raise UsageError(f"--threads is for WSGI applications, and this one is {interface.value}")
    if interface is Interface.WSGI:
        from angelia.hosting.wsgi import DEFAULT_THREADS, WSGIHandler

        threads = DEFAULT_THREADS if options.threads is None else options.threads
        try:
            return WSGIHandler(application, threads=threads, script_name=options.root_path)
        except ValueError as error:
            raise UsageError(f"--root-path: {error}") from error
    if interface is Interface.ASGI:
        raise UsageError("ASGI applications cannot be served yet")
    if options.root_path:
        raise UsageError("--root-path is for ASGI and WSGI applications")
    return application


# --- how it is served ----------------------------------------------------------------------------


def tls_context(options: ServeOptions) -> ssl.SSLContext | None:
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


def _access_log(options: ServeOptions) -> AccessLogger | None:
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
    if access_log is not None and not access_log.logger.handlers:
        lines = logging.StreamHandler(sys.stdout)
        lines.setFormatter(logging.Formatter("%(message)s"))
        access_log.logger.addHandler(lines)
        access_log.logger.setLevel(logging.INFO)
        access_log.logger.propagate = False


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

    async def run(self, handler: Any) -> int:
        """Start the handler, serve it, end it; returns the exit code."""
        with StopSignals() as signals:
            try:
                async with contextlib.AsyncExitStack() as stack:
                    # Asked to stop before it has started, it need not start.
                    with signals.cancelling():
                        if isinstance(handler, contextlib.AbstractAsyncContextManager):
                            await stack.enter_async_context(handler)
                    await self._serve(handler, signals)
            except asyncio.CancelledError:
                if not signals.count:
                    raise
        return ExitCode.OK

    async def _serve(self, handler: Handler, signals: StopSignals) -> None:
        options = self._options
        limits = options.limits
        if self._kind in ("asgi", "wsgi"):
            # These applications expect a body as it came; handlers do not care how.
            limits = {**limits, "auto_decompress": False}
        async with Server(handler, access_log=self._access_log, **limits) as server:
            for sock in self._listening.sockets:
                await server.start(sock=sock, ssl=self._ssl)
            self._tell()
            await signals.wait()
            notify(os.environ, "STOPPING=1")
            await signals.close(server, options.graceful_timeout)

    def _tell(self) -> None:
        """Say that it is ready, and where: whoever waits for that reads the last word."""
        loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
        scheme = "http" if self._ssl is None else "https"
        what = self._options.app or self._options.directory or ""
        for sock in self._listening.sockets:
            text = f"serving {what} ({self._kind}, {loop}) on {url_of(sock, scheme)}"
            self._output.note(
                f"{self._output.styled_note('angelia:', 'green', 'bold')} {escaped_line(text)}"
            )
        notify(os.environ, "READY=1")
