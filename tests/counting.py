"""Work that is counted, where a clock would only say how busy the machine is.

Owns: how many calls, of Python and of C, some code makes, so that a test can hold that they grow
with the input and no faster. What a single call of C does inside itself is not seen here; tests of
that give it so much input that anything worse than linear would never come to its end.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Counted:
    """What was counted inside a `with counted()`."""

    def __init__(self) -> None:
        self.calls = 0
        self.chosen = 0


@contextmanager
def counted(choose: Callable[[Any], bool] = lambda function: False) -> Iterator[Counted]:
    """Count the calls in this thread and in new ones; `chosen` are those of C that `choose` likes.

    `choose` is asked with the function that is called. Nothing is counted behind the block.
    """
    work = Counted()

    def profile(frame: FrameType, event: str, function: Any) -> None:
        if event == "call":
            work.calls += 1
        elif event == "c_call":
            work.calls += 1
            if choose(function):
                work.chosen += 1

    # A tool that profiles the tests themselves gets its place back.
    before = sys.getprofile()
    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield work
    finally:
        sys.setprofile(before)
        threading.setprofile(None)


def calls_of(function: Callable[[], object]) -> int:
    """How many calls `function` makes, itself included."""
    with counted() as work:
        function()
    return work.calls


def is_linear(cost: Callable[[int], int], size: int, times: int = 8) -> bool:
    """Whether `times` as much input costs about that many times as much.

    The half as much again is for what does not depend on the size, and for buffers that grow in
    steps; quadratic work would be `times` too much.
    """
    return cost(size * times) <= cost(size) * times * 1.5 + 100
