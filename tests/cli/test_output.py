r"""Tests of angelia.cli.output: streams, styles, and what a terminal must not obey."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.cli.exits import LocalFileError, OutputClosed
from angelia.cli.output import Output, escaped, escaped_line


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    """A stream on which every write fails."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain ä 漢 \t", "plain ä 漢 \t"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb", "a\\x0db"),
        ("a\r\nb\n", "a\nb\n"),
        ("\x00\x7f\x08", "\\x00\\x7f\\x08"),
        ("\u202egpj", "\\u202egpj"),
        ("\udcff", "\\xff"),
        ("\ud800", "\\ud800"),
    ],
)
def test_escaped(text: str, safe: str) -> None:
    """Controls are spelled out; letters, tabs and line ends stay."""
    assert escaped(text) == safe


def test_escaped_line() -> None:
    """What stays on one line has no line ends either."""
    assert escaped_line("a\nb\r\nc\u2028d") == "a\\x0ab\\x0d\\x0ac\\u2028d"


@given(st.text(st.characters(exclude_categories=())))
def test_nothing_active_is_left(text: str) -> None:
    """Whatever comes, no control character but TAB and LF is left, and all can be encoded."""
    safe = escaped(text)
    assert all(character in "\t\n" or ord(character) >= 0x20 for character in safe)
    assert not any(0x7F <= ord(character) <= 0x9F for character in safe)
    safe.encode()
    assert "\n" not in escaped_line(text)


def test_plain_where_it_is_no_terminal() -> None:
    """A stream that is no terminal gets no styles."""
    output = Output(io.StringIO(), io.StringIO(), {})
    assert output.styled("x", "red") == "x"
    assert output.styled_note("x", "red") == "x"
    assert not output.is_terminal


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_plain_where_colours_are_not_wanted(environ: dict[str, str]) -> None:
    """NO_COLOR and a dumb terminal turn styles off."""
    output = Output(Terminal(), Terminal(), environ)
    assert output.styled("x", "red") == "x"
    assert output.is_terminal


def test_styles_of_each_stream() -> None:
    """Each stream is a terminal or not, by itself."""
    output = Output(Terminal(), io.StringIO(), {})
    assert output.styled("x", "red", "bold") == "\x1b[31;1mx\x1b[0m"
    assert output.styled_note("x", "red") == "x"
    assert output.styled("", "red") == ""


def test_no_streams() -> None:
    """Without streams nothing is written, and nothing fails."""
    output = Output(None, None, {})
    output.line("x")
    output.note("y")
    output.write_bytes(b"z")
    output.flush()
    output.abandon()


def test_another_charset() -> None:
    """What a stream has no letter for is shown as an escape."""
    raw = io.BytesIO()
    output = Output(io.TextIOWrapper(raw, encoding="ascii", newline="\n"), None, {})
    output.line("ä漢")
    output.flush()
    assert raw.getvalue() == b"\\xe4\\u6f22\n"


def test_octets_are_untouched() -> None:
    """Octets go out as they are, between the lines they were written between."""
    raw = io.BytesIO()
    output = Output(io.TextIOWrapper(raw, encoding="utf-8", newline="\n"), None, {})
    output.line("a")
    output.write_bytes(b"\xff\x1b\r\n")
    output.line("b")
    output.flush()
    assert raw.getvalue() == b"a\n\xff\x1b\r\nb\n"


def test_errors_are_one_safe_line() -> None:
    """An error's message cannot do anything to the terminal either."""
    stream = io.StringIO()
    Output(None, stream, {}).error("bad\n\x1b[0m")
    assert stream.getvalue() == "angelia: bad\\x0a\\x1b[0m\n"


def test_closed_pipe() -> None:
    """A reader that went away is told apart from a disk that is full."""
    output = Output(Broken(BrokenPipeError()), None, {})
    with pytest.raises(OutputClosed):
        output.line("x")
    with pytest.raises(OutputClosed):
        output.flush()
    output = Output(Broken(OSError(28, "No space left on device")), None, {})
    with pytest.raises(LocalFileError, match="No space left"):
        output.line("x")


def test_abandoned_output(tmp_path: Path) -> None:
    """After abandon() what is still buffered goes nowhere, without an error."""
    with (tmp_path / "out").open("w", encoding="utf-8") as stream:
        output = Output(stream, None, {})
        output.write("lost")
        output.abandon()
    assert (tmp_path / "out").read_bytes() == b""
