"""``angelia URL``: one request, and its response shown or saved.

Owns: which part of the response goes to which stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from angelia.cli.arguments import FetchOptions
from angelia.cli.body import copy_body, show_body
from angelia.cli.calls import Call, build_call, open_session, send
from angelia.cli.download import download
from angelia.cli.exits import ExitCode
from angelia.cli.heads import reason_of, response_lines, timing_line, verbose_trace
from angelia.cli.output import Output

if TYPE_CHECKING:
    import angelia

__all__ = ("fetch",)


async def fetch(options: FetchOptions, output: Output) -> int:
    """Do what `options` say; returns the exit code.

    Raises `UsageError`, `OutputClosed`, and what requests raise.
    """
    call = build_call(options)
    to_file = options.output not in {None, "-"}
    traces = [verbose_trace(output)] if options.verbose else []
    async with open_session(options, auto_decompress=not to_file, traces=traces) as session:
        if to_file:
            return await download(options, call, session, output)
        return await _show(options, call, session, output)


async def _show(
    options: FetchOptions, call: Call, session: angelia.ClientSession, output: Output
) -> int:
    async with await send(session, call) as response:
        _show_head(options, response, output)
        failed = options.fail and response.status >= 400
        if not failed and not options.head:
            await _show_body(options, response, output)
        if options.verbose:
            output.note(f"{output.styled_note('*', 'dim')} {timing_line(response.timings)}")
    if failed:
        output.error(f"{response.status} {reason_of(response)}")
        return ExitCode.HTTP_ERROR
    return ExitCode.OK


def _show_head(options: FetchOptions, response: angelia.ClientResponse, output: Output) -> None:
    """The head goes with the body on a terminal, else beside it: pipes get the body alone."""
    # --verbose has shown it already; on a terminal both streams are the same place.
    is_shown = options.verbose and output.error_is_terminal
    wants_it = options.include or options.head
    if wants_it or (_shows_content(options, output) and not is_shown):
        for line in response_lines(response, output.styled):
            output.line(line)
        output.line()
        output.flush()
    elif not options.silent and not options.verbose:
        for line in response_lines(response, output.styled_note):
            output.note(line)
        output.note("")


def _shows_content(options: FetchOptions, output: Output) -> bool:
    """Whether someone looks at standard output; ``-o -`` wants the octets even so."""
    return output.is_terminal and options.output != "-"


async def _show_body(
    options: FetchOptions, response: angelia.ClientResponse, output: Output
) -> None:
    chunks = response.content.iter_any()
    if not _shows_content(options, output):
        await copy_body(chunks, output)
        return
    await show_body(
        aiter(chunks),
        output,
        content_type=response.content_type.lower(),
        charset=response.charset,
        length=response.content_length,
    )
