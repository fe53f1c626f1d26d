"""``angelia load URL``: many requests, counted and timed.

Owns: the workers, what they count, and the report. Memory does not grow with the number of
requests, nor with the size of responses.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from angelia.cli.arguments import LoadOptions
from angelia.cli.calls import Call, build_call, open_session, send
from angelia.cli.exits import ExitCode
from angelia.cli.heads import milliseconds
from angelia.cli.latency import Durations, histogram_lines
from angelia.cli.output import Output, escaped_line
from angelia.cli.progress import Progress, open_progress, size_text

if TYPE_CHECKING:
    import angelia

__all__ = ("Tally", "load", "report_lines")

# Larger content is not gathered.
MAX_WHOLE: Final = 1024 * 1024
# Messages differ in ports and addresses: one of each kind is enough to see what it is.
MAX_MESSAGE: Final = 160
PERCENTILES: Final = (50, 90, 95, 99)
HISTOGRAM_ROWS: Final = 12


class Tally:
    """What has happened so far."""

    __slots__ = ("durations", "errors", "examples", "received", "seconds", "statuses")

    def __init__(self) -> None:
        self.durations = Durations()
        self.statuses: Counter[int] = Counter()
        self.errors: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.received = 0
        self.seconds = 0.0

    @property
    def done(self) -> int:
        """Requests that are over."""
        return self.durations.count + self.errors.total()

    def add_response(self, status: int, size: int, seconds: float) -> None:
        """A response came whole."""
        self.statuses[status] += 1
        self.received += size
        self.durations.add(seconds)

    def add_error(self, error: BaseException) -> None:
        """A request failed."""
        kind = type(error).__name__
        self.errors[kind] += 1
        self.examples.setdefault(kind, str(error)[:MAX_MESSAGE])

    def exit_code(self, *, fail: bool) -> int:
        """Requests without response weigh more than responses with an error."""
        if self.errors:
            return ExitCode.CONNECTION
        if fail and any(status >= 400 for status in self.statuses):
            return ExitCode.HTTP_ERROR
        return ExitCode.OK


class _Countdown:
    """How many requests are still to be started; shared by the workers."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self) -> bool:
        if self.left <= 0:
            return False
        self.left -= 1
        return True


async def load(options: LoadOptions, output: Output) -> int:
    """Send the requests and print the report, of an interrupted run too; returns the exit code."""
    call = build_call(options)
    workers = min(options.concurrency, options.number)
    tally = Tally()
    async with open_session(options, limit=workers, keep_cookies=False) as session:
        label = f"{call.method} {call.url.human_repr()}"
        try:
            with open_progress(
                output, label, options.number, octets=False, silent=options.silent
            ) as progress:
                await _run(call, session, tally, progress, options.number, workers)
        finally:
            if tally.done:
                _report(tally, output)
    return tally.exit_code(fail=options.fail)


async def _run(
    call: Call,
    session: angelia.ClientSession,
    tally: Tally,
    progress: Progress,
    number: int,
    workers: int,
) -> None:
    countdown = _Countdown(number)
    start = time.perf_counter()
    tasks = [
        asyncio.create_task(_work(call, session, tally, progress, countdown))
        for _ in range(workers)
    ]
    try:
        # A worker fails only where all would: the first to do so says as much as all of them.
        await asyncio.gather(*tasks)
    finally:
        tally.seconds = time.perf_counter() - start
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _work(
    call: Call,
    session: angelia.ClientSession,
    tally: Tally,
    progress: Progress,
    countdown: _Countdown,
) -> None:
    import angelia

    while countdown.take():
        start = time.perf_counter()
        try:
            async with await send(session, call) as response:
                size = await _drain(response)
        except (angelia.ClientError, OSError) as error:  # Timeouts are of the latter class.
            tally.add_error(error)
        else:
            tally.add_response(response.status, size, time.perf_counter() - start)
        progress.advance(1)


async def _drain(response: angelia.ClientResponse) -> int:
    """Read the content, and say how large it was."""
    length = response.content_length
    if length is not None and length <= MAX_WHOLE and "Content-Encoding" not in response.headers:
        return len(await response.read())
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
    return size


# --- the report ----------------------------------------------------------------------------------


def _report(tally: Tally, output: Output) -> None:
    for heading, lines in report_lines(tally, mark="█" if output.is_terminal else "#"):
        output.line(output.styled(heading, "bold"))
        for line in lines:
            output.line("  " + line)
    output.flush()


def report_lines(tally: Tally, *, mark: str = "#") -> list[tuple[str, list[str]]]:
    """The report: headings, each with its lines."""
    durations = tally.durations
    seconds = max(tally.seconds, 1e-9)
    report = [
        (
            "requests",
            _columns(
                [
                    ("done", f"{tally.done} in {tally.seconds:.2f} s"),
                    ("rate", f"{tally.done / seconds:.1f} per second"),
                    ("received", size_text(tally.received)),
                    ("throughput", f"{size_text(tally.received / seconds)} per second"),
                    ("errors", str(tally.errors.total())),
                ]
            ),
        )
    ]
    if tally.statuses:
        by_status = [(str(status), str(count)) for status, count in sorted(tally.statuses.items())]
        report.append(("responses by status", _columns(by_status)))
    if tally.errors:
        by_kind = [
            (kind, f"{count}  {escaped_line(tally.examples[kind])}".rstrip())
            for kind, count in tally.errors.most_common()
        ]
        report.append(("errors by kind", _columns(by_kind)))
    if durations.count:
        report.append(("latency", _latency_lines(durations)))
        bars = [(milliseconds(bound), count) for bound, count in durations.bars(HISTOGRAM_ROWS)]
        report.append(("histogram (up to, count)", histogram_lines(bars, mark=mark)))
    return report


def _latency_lines(durations: Durations) -> list[str]:
    rows = [("mean", milliseconds(durations.mean)), ("min", milliseconds(durations.minimum))]
    rows += [
        (f"p{percent}", milliseconds(durations.percentile(percent))) for percent in PERCENTILES
    ]
    rows.append(("max", milliseconds(durations.maximum)))
    return _columns(rows)


def _columns(rows: list[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in rows)
    return [f"{name.ljust(width)}  {value}" for name, value in rows]
