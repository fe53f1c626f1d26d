"""How far something has got, on a terminal.

Owns: one line on standard error that is drawn again and again, by rich where it is installed. Where
standard error is no terminal nothing is drawn.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from angelia.cli.output import Output, escaped_line

__all__ = ("Progress", "open_progress", "plain_line", "size_text")

# Seconds between two drawings: more often is flicker and processor time.
INTERVAL: Final = 0.2

_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


class Progress(Protocol):
    """What is told how far it has got."""

    def advance(self, amount: int) -> None:
        """So much more is done."""


def size_text(size: float) -> str:
    """A number of octets for people: ``1.5 MB``, in powers of 1000."""
    for unit in _UNITS[:-1]:
        if size < 999.95 or (unit == "B" and size < 1000):
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} {_UNITS[-1]}"


def plain_line(label: str, done: int, total: int | None, rate: float, *, octets: bool) -> str:
    """One state of a plain display: ``file  12.5 MB of 50.0 MB  25 %  3.1 MB/s``."""
    show = size_text if octets else _count_text
    parts = [label, show(done) if total is None else f"{show(done)} of {show(total)}"]
    if total:
        parts.append(f"{min(100, done * 100 // total)} %")
    parts.append(f"{show(rate)}/s")
    return "  ".join(parts)


def _count_text(count: float) -> str:
    return f"{count:.0f}"


class _Silent:
    """No display at all."""

    __slots__ = ()

    def advance(self, amount: int) -> None:
        """Say nothing."""


class _Plain:
    """A line that a carriage return begins again."""

    __slots__ = ("_clock", "_done", "_drawn", "_label", "_octets", "_output", "_start", "_started",
                 "_total", "_width")  # fmt: skip

    def __init__(
        self,
        output: Output,
        label: str,
        total: int | None,
        done: int,
        octets: bool,
        clock: Callable[[], float],
    ) -> None:
        self._output = output
        self._label = label
        self._total = total
        self._done = self._start = done
        self._octets = octets
        self._clock = clock
        self._started = clock()
        self._drawn = self._started - INTERVAL
        self._width = 0

    def advance(self, amount: int) -> None:
        self._done += amount
        now = self._clock()
        if now - self._drawn < INTERVAL:
            return
        self._drawn = now
        rate = (self._done - self._start) / max(now - self._started, 1e-6)
        line = plain_line(self._label, self._done, self._total, rate, octets=self._octets)
        self._output.draw("\r" + line.ljust(self._width))
        self._width = len(line)

    def close(self) -> None:
        """Leave an empty line behind."""
        if self._width:
            self._output.draw("\r" + " " * self._width + "\r")


@contextlib.contextmanager
def open_progress(
    output: Output,
    label: str,
    total: int | None,
    *,
    done: int = 0,
    octets: bool = True,
    silent: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Progress]:
    """A display for the time of the ``with``: of octets, or of a count.

    `total` None: nobody knows how much it will be. `done` was there before.
    """
    if silent or not output.error_is_terminal:
        yield _Silent()
        return
    label = escaped_line(label)
    try:
        display = _rich_display(output, label, total, done, octets)
    except ImportError:
        plain = _Plain(output, label, total, done, octets, clock)
        try:
            yield plain
        finally:
            plain.close()
        return
    with display as progress:
        yield progress


@contextlib.contextmanager
def _rich_progress(
    output: Output, label: str, total: int | None, done: int, octets: bool
) -> Iterator[Progress]:
    from rich import progress as bars
    from rich.console import Console

    measures: tuple[bars.ProgressColumn, ...]
    if octets:
        measures = (bars.DownloadColumn(), bars.TransferSpeedColumn())
    else:
        measures = (bars.MofNCompleteColumn(),)
    display = bars.Progress(
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        *measures,
        bars.TimeRemainingColumn(),
        console=Console(file=output.stderr),
        transient=True,
    )
    with display:
        task = display.add_task(label, total=total, completed=done)

        class _Bar:
            def advance(self, amount: int) -> None:
                display.advance(task, amount)

        yield _Bar()


def _rich_display(
    output: Output, label: str, total: int | None, done: int, octets: bool
) -> contextlib.AbstractContextManager[Progress]:
    """The display of rich; ImportError where it is not installed."""
    import rich.progress  # noqa: F401  # Only to see whether it is there.

    return _rich_progress(output, label, total, done, octets)
