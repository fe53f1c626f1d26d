"""The entry point: arguments in, exit code out.

Owns: which command runs, on which event loop, and what each failure means to the shell.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeAlias

from angelia.cli.arguments import (
    DemoOptions,
    FetchOptions,
    LoadOptions,
    ServeOptions,
    WebSocketOptions,
    parse_arguments,
)
from angelia.cli.exits import ExitCode, OutputClosed, UsageError
from angelia.cli.interrupts import handled_interrupts
from angelia.cli.output import Output
from angelia.version import __version__

__all__ = ("main",)

_LoopFactory: TypeAlias = Callable[[], asyncio.AbstractEventLoop]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; `argv` is without the program's name. Returns the exit code.

    Must not be called from within a running event loop.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    output = Output(sys.stdout, sys.stderr, os.environ)
    try:
        code = _guarded(arguments, output)
        output.flush()
    except OutputClosed:
        output.abandon()
        return ExitCode.OUTPUT_CLOSED
    except UsageError as error:  # Standard output cannot take what is written last.
        output.abandon()
        output.error(str(error))
        return ExitCode.USAGE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return code


def _guarded(arguments: list[str], output: Output) -> int:
    """The command's exit code, its failures told."""
    try:
        options = parse_arguments(arguments, __version__)
        return _run(options, arguments, output)
    except SystemExit as end:  # Help, or the version, was printed.
        return end.code if isinstance(end.code, int) else ExitCode.OK
    except UsageError as error:
        for line in str(error).splitlines() or [""]:
            output.error(line)
        return ExitCode.USAGE


def _run(
    options: FetchOptions | LoadOptions | ServeOptions | WebSocketOptions | DemoOptions,
    arguments: list[str],
    output: Output,
) -> int:
    """Run the command in an event loop of its own."""
    if isinstance(options, ServeOptions):
        from angelia.cli.serve import serve

        with handled_interrupts():
            return serve(options, arguments, output)
    loop_factory: _LoopFactory | None = None
    main_task: Coroutine[Any, Any, int]
    if isinstance(options, LoadOptions):
        from angelia.cli.load import load

        main_task = load(options, output)
        loop_factory = _fast_loop()
    elif isinstance(options, WebSocketOptions):
        from angelia.cli.ws import talk

        main_task = talk(options, output)
    elif isinstance(options, DemoOptions):
        from angelia.cli.demo import demo

        main_task = demo(output)
    else:
        from angelia.cli.fetch import fetch

        main_task = fetch(options, output)
    with handled_interrupts() as interrupts, asyncio.Runner(loop_factory=loop_factory) as runner:
        return _told(runner, interrupts.run(main_task), output)


def _fast_loop() -> _LoopFactory | None:
    """uvloop's, where it is installed: what is measured is the server, not this end."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: _LoopFactory = uvloop.new_event_loop
    return factory


def _told(runner: asyncio.Runner, main_task: Coroutine[Any, Any, int], output: Output) -> int:
    """The exit code of `main_task`; what went wrong on the network is said in a line."""
    import angelia

    try:
        return runner.run(main_task)
    except (angelia.ClientError, OSError) as error:  # Timeouts are of the latter class.
        output.error(_message(error))
        return ExitCode.CONNECTION


def _message(error: Exception) -> str:
    import angelia

    text = str(error) or "timed out" if isinstance(error, TimeoutError) else str(error)
    text = text or type(error).__name__
    if isinstance(error, angelia.ClientConnectorCertificateError):
        return f"{text} (--insecure goes without verification)"
    return text
