"""What ``angelia serve`` needs alike in one process and in several.

Owns: the event loop and the access log that the options ask for, and the announcement of what is
served where. Knows nothing of applications.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable

from angelia.cli.exits import UsageError
from angelia.cli.listening import Listening, url_of
from angelia.cli.output import Output, escaped_line
from angelia.cli.serve_arguments import ServeOptions
from angelia.hosting.systemd import notify
from angelia.server.access_log import AccessLogger

__all__ = ("access_logger", "configure_access_log", "loop_factory", "tell")


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
