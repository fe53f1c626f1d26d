r"""What is written to standard output and standard error.

Owns: the two streams, which of them is a terminal, styles, and the escaping of what a terminal
would obey. Whatever a peer sent is text to show: on a terminal ``\x1b`` is four characters.
Must not know about HTTP.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Final, TextIO

from angelia.cli.exits import LocalFileError, OutputClosed

__all__ = ("Output", "escaped", "escaped_line")

# C0 but TAB and LF, DEL, C1; marks that reorder text (Trojan Source); halves of surrogate pairs.
_UNSAFE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_UNSAFE_IN_LINE: Final = re.compile("[\n\u2028\u2029]|" + _UNSAFE.pattern)

_STYLES: Final = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    # An octet that is not UTF-8 was decoded to U+DC80..U+DCFF: it is shown as the octet.
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def escaped(text: str) -> str:
    """`text` with all that a terminal would act on spelled out, line by line; CR LF is one end."""
    return _UNSAFE.sub(_escape, text.replace("\r\n", "\n"))


def escaped_line(text: str) -> str:
    """The same for what must stay on one line: fields, reasons, messages of errors."""
    return _UNSAFE_IN_LINE.sub(_escape, text)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # It was closed.
        return False


def _wants_colour(environ: Mapping[str, str]) -> bool:
    """https://no-color.org; terminals without styles; Windows, where they must be switched on."""
    if environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
        return False
    return os.name != "nt" or "WT_SESSION" in environ or "ANSICON" in environ


class Output:
    """Standard output and standard error of one run.

    A stream that is None (there is none) swallows what is written. Raises `OutputClosed` when the
    reader of a pipe is gone, `LocalFileError` for any other failure.
    """

    __slots__ = ("_colour", "_stderr", "_stdout", "error_is_terminal", "is_terminal")

    def __init__(
        self, stdout: TextIO | None, stderr: TextIO | None, environ: Mapping[str, str]
    ) -> None:
        self._stdout = stdout
        self._stderr = stderr
        self._colour = _wants_colour(environ)
        self.is_terminal = _is_terminal(stdout)
        self.error_is_terminal = _is_terminal(stderr)

    @property
    def stderr(self) -> TextIO | None:
        """For displays that draw by themselves."""
        return self._stderr

    @property
    def styles_errors(self) -> bool:
        """Whether standard error may have styles and moving lines."""
        return self.error_is_terminal and self._colour

    def styled(self, text: str, *styles: str) -> str:
        """`text` as standard output shows it: plain where that is no terminal."""
        return self._styled(text, styles) if self.is_terminal else text

    def styled_note(self, text: str, *styles: str) -> str:
        """`text` as standard error shows it."""
        return self._styled(text, styles) if self.error_is_terminal else text

    def _styled(self, text: str, styles: tuple[str, ...]) -> str:
        if not self._colour or not styles or not text:
            return text
        codes = ";".join(_STYLES[style] for style in styles)
        return f"\x1b[{codes}m{text}\x1b[0m"

    def write(self, text: str) -> None:
        """Write text, safe already, to standard output."""
        _write(self._stdout, text)

    def line(self, text: str = "") -> None:
        """Write a line to standard output."""
        _write(self._stdout, text + "\n")

    def note(self, text: str) -> None:
        """Write a line to standard error, behind what standard output has."""
        self.flush()
        _write(self._stderr, text + "\n")
        _flush(self._stderr)

    def error(self, message: str) -> None:
        """Say what went wrong, on one line."""
        self.note(f"{self.styled_note('angelia:', 'red', 'bold')} {escaped_line(message)}")

    def draw(self, text: str) -> None:
        """Write to standard error as it is: for a line that is drawn again and again."""
        _write(self._stderr, text)
        _flush(self._stderr)

    def write_bytes(self, data: bytes) -> None:
        """Write octets to standard output, untouched."""
        stream = self._stdout
        buffer: BinaryIO | None = getattr(stream, "buffer", None)
        if stream is None:
            return
        if buffer is None:  # An in-memory text stream.
            _write(stream, data.decode("utf-8", "backslashreplace"))
            return
        try:
            stream.flush()
            buffer.write(data)
        except (OSError, ValueError) as error:
            raise _write_error(error) from error

    def flush(self) -> None:
        """Hand everything for standard output to the system."""
        _flush(self._stdout)

    def abandon(self) -> None:
        """Give up standard output, so that the interpreter does not try to flush it at its end."""
        if self._stdout is None:
            return
        try:
            descriptor = self._stdout.fileno()
        except (OSError, ValueError):  # In memory.
            return
        with Path(os.devnull).open("wb") as devnull:
            os.dup2(devnull.fileno(), descriptor)


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:
        return
    try:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        # A terminal of another charset shows what it has no letter for as an escape.
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    except (OSError, ValueError) as error:
        raise _write_error(error) from error


def _flush(stream: TextIO | None) -> None:
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError) as error:
        raise _write_error(error) from error


def _write_error(error: OSError | ValueError) -> Exception:
    if isinstance(error, BrokenPipeError) or not isinstance(error, OSError):
        return OutputClosed()
    return LocalFileError.of("write to", "standard output", error)
