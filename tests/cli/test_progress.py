"""Tests of angelia.cli.progress: displays on terminals, silence elsewhere."""

from __future__ import annotations

import contextlib
import io
import itertools
import sys
from collections.abc import Callable

import pytest

from angelia.cli.output import Output
from angelia.cli.progress import open_progress, plain_line, size_text


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Failure(Exception):
    """What goes wrong while a display is open."""


def seconds() -> Callable[[], float]:
    counter = itertools.count()
    return lambda: float(next(counter))


def without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_951, "1.0 MB"),
     (1_500_000, "1.5 MB"), (2e9, "2.0 GB"), (3e12, "3.0 TB"), (4e16, "40000.0 TB")],
)  # fmt: skip
def test_sizes(size: float, text: str) -> None:
    """Octets are counted in powers of a thousand, with one digit behind the point."""
    assert size_text(size) == text


def test_plain_line() -> None:
    """A line says what is known: without a total neither that nor a share of it."""
    assert plain_line("f", 500, 2000, 100, octets=True) == "f  500 B of 2.0 kB  25 %  100 B/s"
    assert plain_line("f", 500, None, 100, octets=True) == "f  500 B  100 B/s"
    assert plain_line("f", 5, 10, 2.4, octets=False) == "f  5 of 10  50 %  2/s"
    assert "100 %" in plain_line("f", 30, 20, 1, octets=True)
    assert "%" not in plain_line("f", 0, 0, 1, octets=True)


def test_silence_where_there_is_no_terminal() -> None:
    """A stream that is no terminal gets no display; nor does anyone who wants silence."""
    for stream, silent in ((io.StringIO(), False), (Terminal(), True)):
        output = Output(None, stream, {})
        with open_progress(output, "f", 10, silent=silent) as progress:
            progress.advance(10)
        assert stream.getvalue() == ""


def test_plain_display(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without rich the line is drawn over and over, and wiped in the end."""
    without_rich(monkeypatch)
    stream = Terminal()
    with open_progress(
        Output(None, stream, {}), "f\x1b", 400, done=100, clock=seconds()
    ) as progress:
        progress.advance(100)
        progress.advance(200)
    _, first, second, wiped, end = stream.getvalue().split("\r")
    assert first == "f\\x1b  200 B of 400 B  50 %  100 B/s"
    assert second.rstrip() == "f\\x1b  400 B of 400 B  100 %  150 B/s"
    assert wiped.strip() == ""
    assert len(wiped) >= len(second)
    assert end == ""


def test_plain_display_is_wiped_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error's message begins on an empty line."""
    without_rich(monkeypatch)
    stream = Terminal()
    display = open_progress(Output(None, stream, {}), "f", 4, clock=seconds())
    with contextlib.suppress(Failure), display as progress:
        progress.advance(1)
        raise Failure
    assert stream.getvalue().endswith(" \r")


@pytest.mark.parametrize("octets", [True, False])
@pytest.mark.parametrize("total", [None, 100])
def test_rich_display(octets: bool, total: int | None) -> None:
    """With rich there is a bar; its label is text and not markup."""
    pytest.importorskip("rich")
    stream = Terminal()
    with open_progress(Output(None, stream, {}), "[red]f", total, octets=octets) as progress:
        progress.advance(50)
    assert "[red]f" in stream.getvalue()
