"""``angelia serve --workers``: several processes, which gunicorn starts and watches.

Owns: what the options are called in gunicorn's settings. The worker is that of `angelia.hosting`.
Needs gunicorn to be installed.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from angelia.cli.exits import ExitCode, UsageError
from angelia.cli.listening import Listening
from angelia.cli.output import Output
from angelia.cli.serve_application import hosted, load
from angelia.cli.serve_arguments import ServeOptions
from angelia.cli.serve_parts import access_logger, configure_access_log, loop_factory, tell
from angelia.hosting.gunicorn import HandlerWorker

__all__ = ("run_workers",)


def run_workers(options: ServeOptions, output: Output, listening: Listening) -> int:
    """Serve until a signal ends it; returns the exit code."""
    loop = "asyncio" if loop_factory(options.loop) is None else "uvloop"
    tell(output, options, f"{options.workers} workers, {loop}", listening)
    process = os.getpid()
    try:
        # gunicorn closes them, which tells clients that nobody is there.
        _Application(options, output, [sock.detach() for sock in listening.sockets]).run()
    except HaltServer:
        # While gunicorn gives up because of one worker, it finds another that has failed.
        return ExitCode.USAGE
    except SystemExit as end:
        if os.getpid() != process:  # A worker, whose code gunicorn wants to see.
            raise
        # What a worker could not load, it has said.
        failed = end.code in (Arbiter.APP_LOAD_ERROR, Arbiter.WORKER_BOOT_ERROR)
        return ExitCode.USAGE if failed else end.code if isinstance(end.code, int) else ExitCode.OK
    return ExitCode.OK


class _Application(BaseApplication):  # type: ignore[misc]  # gunicorn has no type information
    """What gunicorn runs: settings, and what a worker loads."""

    def __init__(self, options: ServeOptions, output: Output, descriptors: list[int]) -> None:
        self._options = options
        self._output = output
        self._descriptors = descriptors
        super().__init__()

    def load_config(self) -> None:
        """Set what the options say."""
        options = self._options
        settings: dict[str, Any] = {
            "bind": [f"fd://{descriptor}" for descriptor in self._descriptors],
            "workers": options.workers,
            "worker_class": _worker_class(options, self._output),
            "graceful_timeout": math.ceil(options.graceful_timeout),
            "certfile": options.tls_cert,
            "keyfile": options.tls_key or options.tls_cert,
            "loglevel": "warning",
            "proc_name": "angelia",
            "control_socket_disable": True,
        }
        for name, value in settings.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        """The application and its interface; in a worker."""
        try:
            return load(self._options, self._output)
        except UsageError as error:
            self._output.error(str(error))
            _give_up()


def _give_up() -> NoReturn:
    # Tells gunicorn not to try again and again.
    sys.exit(Arbiter.APP_LOAD_ERROR)


def _worker_class(options: ServeOptions, output: Output) -> type[HandlerWorker]:
    factory = loop_factory(options.loop)

    class Worker(HandlerWorker):
        """Serves what `_Application.load` returns, by its interface."""

        uvloop = factory is not None

        def make_handler(self) -> Callable[..., Any]:
            """The handler, and the options of a server that are for its kind."""
            application, interface = self.wsgi
            try:
                handler, server_options = hosted(application, interface, options)
            except UsageError as error:
                output.error(str(error))
                _give_up()
            configure_access_log(access_log := access_logger(options))
            self.server_options = {**server_options, "access_log": access_log}
            made: Callable[..., Any] = handler
            return made

    return Worker
