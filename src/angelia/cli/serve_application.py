"""What ``angelia serve`` serves: an application, or the files of a directory.

Owns: the way from options to a handler and the options of its server. How a server runs, and in how
many processes, is not known here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from angelia.cli.exits import UsageError
from angelia.cli.output import Output, escaped
from angelia.cli.serve_arguments import ServeOptions
from angelia.hosting.loading import Interface, LoadingError, detect_interface, load_application

__all__ = ("handler_of", "hosted", "load")


def handler_of(options: ServeOptions, output: Output) -> tuple[Any, str, dict[str, Any]]:
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
    from angelia.hosting.wsgi import DEFAULT_CLOSE_TIMEOUT, DEFAULT_THREADS, WSGIHandler

    return WSGIHandler(
        application,
        threads=DEFAULT_THREADS if options.threads is None else options.threads,
        script_name=options.root_path,
        multiprocess=options.workers > 1,
        close_timeout=min(DEFAULT_CLOSE_TIMEOUT, options.graceful_timeout),
    )
