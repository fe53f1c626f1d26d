"""A response's content into a file: ``-o FILE``, and ``-C`` to go on where an earlier try ended.

Owns: what a response means for the part file, decided by `decide`, a pure function, and carried out
here. The files themselves are in `partial`.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from multidict import CIMultiDict
from yarl import URL

from angelia.cli.arguments import FetchOptions
from angelia.cli.calls import Call, send
from angelia.cli.exits import ExitCode, LocalFileError
from angelia.cli.heads import reason_of
from angelia.cli.output import Output, escaped_line
from angelia.cli.partial import (
    PartFile,
    Validator,
    is_special,
    parse_content_range,
    write_all,
)
from angelia.cli.progress import open_progress, size_text

if TYPE_CHECKING:
    import angelia

__all__ = ("Step", "decide", "download", "range_fields")

CHUNK: Final = 256 * 1024


class Step(enum.Enum):
    """What to do with the response to a request for the rest."""

    APPEND = "append"  # It is the rest.
    REPLACE = "replace"  # It is all of it.
    COMPLETE = "complete"  # There is no rest.
    ASK_FOR_ALL = "ask for all"  # It is of no use; without a Range it would be.
    REFUSE = "refuse"  # It is an error, and no content to save.


def range_fields(size: int, validator: Validator) -> dict[str, str]:
    """The fields that ask for the octets from `size` on, if nothing changed (RFC 9110 §13.1.5)."""
    return {"Range": f"bytes={size}-", "If-Range": validator.value}


def decide(status: int, content_range: str | None, size: int) -> Step:
    """What a response means, when all from octet `size` on was asked for."""
    if status == 206:
        # RFC 9110 §15.3.7: the client looks what it got. More than one part has no such field.
        sent = parse_content_range(content_range)
        return Step.APPEND if sent is not None and sent.first == size else Step.ASK_FOR_ALL
    if status == 416:
        # RFC 9110 §15.5.17: only a range behind the end; at the end means that nothing is missing.
        sent = parse_content_range(content_range)
        return Step.COMPLETE if sent is not None and sent.total == size else Step.ASK_FOR_ALL
    if status >= 400:
        return Step.REFUSE
    return Step.REPLACE


async def download(
    options: FetchOptions, call: Call, session: angelia.ClientSession, output: Output
) -> int:
    """Save the content at the URL of `call`; returns the exit code."""
    final = Path(options.output or "")
    # A range is one of the coded content, so that no coding is what fits with ranges.
    headers: CIMultiDict[str] = call.arguments["headers"]
    headers.setdefault("Accept-Encoding", "identity")
    if is_special(final):
        return await _write_through(options, call, session, output, final)
    with PartFile(final) as part:
        if options.resume:
            validator = part.can_continue(call.url)
            if validator is not None:
                code = await _continue(options, call, session, output, part, validator)
                if code is not None:
                    return code
        async with await send(session, call) as response:
            if response.status >= 400 and (options.fail or options.resume):
                return _refused(response, output)
            return await _replace(options, call.url, response, output, part)


async def _continue(
    options: FetchOptions,
    call: Call,
    session: angelia.ClientSession,
    output: Output,
    part: PartFile,
    validator: Validator,
) -> int | None:
    """Ask for the rest; None if all has to be asked for instead."""
    async with await send(session, call, range_fields(part.size, validator)) as response:
        content_range = response.headers.get("Content-Range")
        step = decide(response.status, content_range, part.size)
        if step is Step.APPEND and _is_other(validator, Validator.of(call.url, response.headers)):
            step = Step.ASK_FOR_ALL
        if step is Step.ASK_FOR_ALL:
            return None
        if step is Step.REFUSE:
            return _refused(response, output)
        if step is Step.REPLACE:
            return await _replace(options, call.url, response, output, part)
        if step is Step.APPEND:
            sent = parse_content_range(content_range)
            total = None if sent is None else sent.total
            await _receive(options, response, output, part, total)
        part.finish()
        return _done(options, response, output, part.final, part.size)


def _is_other(asked: Validator, got: Validator | None) -> bool:
    """Whether the response's entity tag is another than the one asked for."""
    if got is None or not (asked.is_etag and got.is_etag):
        return False
    return got.value != asked.value


async def _replace(
    options: FetchOptions,
    url: URL,
    response: angelia.ClientResponse,
    output: Output,
    part: PartFile,
) -> int:
    """Save the whole content."""
    # Only the content of a 200 can be gone on with: that of an error is another thing.
    is_whole = response.status == 200
    part.restart(Validator.of(url, response.headers) if is_whole else None)
    await _receive(options, response, output, part, response.content_length)
    part.finish()
    return _done(options, response, output, part.final, part.size)


async def _receive(
    options: FetchOptions,
    response: angelia.ClientResponse,
    output: Output,
    part: PartFile,
    total: int | None,
) -> None:
    start = part.size
    try:
        with open_progress(
            output, part.final.name, total, done=start, silent=options.silent
        ) as progress:
            async for chunk in response.content.iter_chunked(CHUNK):
                part.write(chunk)
                progress.advance(len(chunk))
        if response.status == 206:
            _check_total(part.size, total)
    except LocalFileError:
        raise
    except BaseException:
        if part.resumable and not options.silent:
            kept = f"{size_text(part.size)} are in {part.path}; -C goes on from there"
            output.note(escaped_line(kept))
        raise


def _check_total(size: int, total: int | None) -> None:
    """Raise ClientPayloadError where the pieces are not the whole: a server may send less."""
    import angelia

    if total is not None and size != total:
        raise angelia.ClientPayloadError(f"{size} bytes came together, {total} were announced")


async def _write_through(
    options: FetchOptions,
    call: Call,
    session: angelia.ClientSession,
    output: Output,
    final: Path,
) -> int:
    """Save to a device or a pipe, which cannot be replaced."""
    async with await send(session, call) as response:
        if response.status >= 400 and options.fail:
            return _refused(response, output)
        size = 0
        try:
            file = final.open("wb", buffering=0)
        except OSError as error:
            raise LocalFileError.of("write", final, error) from error
        with (
            file,
            open_progress(
                output, final.name, response.content_length, silent=options.silent
            ) as progress,
        ):
            async for chunk in response.content.iter_chunked(CHUNK):
                write_all(file, final, chunk)
                size += len(chunk)
                progress.advance(len(chunk))
        return _done(options, response, output, final, size)


def _refused(response: angelia.ClientResponse, output: Output) -> int:
    output.error(f"{response.status} {reason_of(response)}: nothing was saved")
    return ExitCode.HTTP_ERROR


def _done(
    options: FetchOptions,
    response: angelia.ClientResponse,
    output: Output,
    path: Path,
    size: int,
) -> int:
    if not options.silent:
        status = "" if response.ok else f"{response.status} {reason_of(response)}: "
        output.note(escaped_line(f"{status}saved {size_text(size)} to {path}"))
    return ExitCode.OK
