"""What the parsers of all commands share: how they fail, and the types of their values.

Must not know any command.
"""

from __future__ import annotations

import argparse
import math
import re
from typing import Final, NoReturn

from angelia.cli.exits import UsageError

__all__ = ("Parser", "count", "duration", "port", "positive", "seconds", "size")

_SIZE: Final = re.compile(r"([0-9]{1,15})([kKmMgG]?)")
MAX_PORT: Final = 65535
_UNITS: Final = {"": 0, "k": 10, "m": 20, "g": 30}


class Parser(argparse.ArgumentParser):
    """Raises instead of ending the process; prints nothing for an error.

    Options cannot be abbreviated: a script must not change its meaning when an option is added.
    `epilog` is printed line by line as it is.
    """

    def __init__(
        self, prog: str, description: str, *, usage: str | None = None, epilog: str | None = None
    ) -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n{self.format_usage().strip()}")


def seconds(text: str) -> float:
    """A time above 0."""
    try:
        value = float(text) if text.isascii() else math.nan
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"not a number of seconds above 0: {text!r}")
    return value


def duration(text: str) -> float:
    """A time above 0, or 0 for one without end."""
    return 0 if text == "0" else seconds(text)


def count(text: str) -> int:
    """A number of things, none of them too."""
    # Nine digits are more requests than anyone waits for, and every count fits a machine word.
    if re.fullmatch(r"[0-9]{1,9}", text) is None:
        raise argparse.ArgumentTypeError(f"not a count: {text!r}")
    return int(text)


def positive(text: str) -> int:
    """A number of things, of at least one."""
    value = count(text)
    if value == 0:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def port(text: str) -> int:
    """The number of a port; 0 for any."""
    value = count(text)
    if value > MAX_PORT:
        raise argparse.ArgumentTypeError(f"not a port: {text!r}")
    return value


def size(text: str) -> int:
    """A number of bytes, or of KiB, MiB or GiB: ``8190``, ``64K``, ``1M``."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"not a size such as 8190, 64K or 1M: {text!r}")
    return int(found[1]) << _UNITS[found[2].lower()]
