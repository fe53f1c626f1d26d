"""How the command line ends: its exit codes, and the errors that lead to them.

Must not know what any command does.
"""

from __future__ import annotations

import enum

__all__ = ("ExitCode", "LocalFileError", "OutputClosed", "UsageError")


class ExitCode(enum.IntEnum):
    """What the shell sees."""

    OK = 0
    HTTP_ERROR = 1  # The server answered with an error, and the user asked to fail then.
    USAGE = 2  # The command as given cannot be done; what argparse uses too.
    CONNECTION = 3  # No response, or not all of it.
    INTERRUPTED = 128 + 2  # As shells report SIGINT.
    OUTPUT_CLOSED = 128 + 13  # As shells report SIGPIPE.


class UsageError(Exception):
    """The arguments make no sense, or something they name cannot be used."""


class LocalFileError(UsageError):
    """A file named on the command line cannot be read or written."""

    @classmethod
    def of(cls, action: str, path: object, error: OSError) -> LocalFileError:
        """An error that says what could not be done, with what, and why."""
        return cls(f"cannot {action} {path}: {error.strerror or error}")


class OutputClosed(Exception):
    """Whoever read standard output has gone away (``angelia URL | head``)."""
