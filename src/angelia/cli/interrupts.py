"""SIGINT: the first ends a command in order, the next at once.

Owns: the signal's handler while a command runs. Must not know what the command does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any, TypeVar

from angelia.cli.exits import ExitCode

__all__ = ("Interrupts", "handled_interrupts")

_T = TypeVar("_T")

# A display may have hidden the cursor.
SHOW_CURSOR = b"\x1b[?25h"


class Interrupts:
    """Cancels the command that it runs; leaves the process when it is asked again."""

    __slots__ = ("_cancel", "caught")

    def __init__(self) -> None:
        self.caught = False
        self._cancel: Callable[[], object] | None = None

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Be the handler of SIGINT."""
        if self.caught:
            # Something on the way out hangs, as a look-up that nobody can cancel.
            _leave()
        self.caught = True
        if self._cancel is None:
            raise KeyboardInterrupt
        self._cancel()

    async def run(self, command: Coroutine[Any, Any, _T]) -> _T:
        """Await the command, which the signal cancels; KeyboardInterrupt if it did."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("not within a task")
        loop = asyncio.get_running_loop()
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        try:
            return await command
        finally:
            self._cancel = None


def _leave() -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        with contextlib.suppress(OSError, ValueError):
            os.write(sys.stderr.fileno(), SHOW_CURSOR)
    os._exit(ExitCode.INTERRUPTED)


@contextlib.contextmanager
def handled_interrupts() -> Iterator[Interrupts]:
    """Handle SIGINT for the time of the ``with``, where this thread can and nobody else does.

    Raises KeyboardInterrupt in the end if there was one.
    """
    interrupts = Interrupts()
    handles = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if not handles:
        yield interrupts
        return
    signal.signal(signal.SIGINT, interrupts.handle)
    try:
        yield interrupts
    except asyncio.CancelledError:
        if not interrupts.caught:
            raise
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if interrupts.caught:
        raise KeyboardInterrupt
