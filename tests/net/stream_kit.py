"""What the tests of streams and queues share: the other side, and how to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Flow:
    """Flow control that notes what it is asked for, and can bring more when resumed."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.on_resume: Callable[[], None] | None = None

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")
        if self.on_resume is not None:
            self.on_resume()


class Lost(Exception):
    """What ends a stream in these tests."""


async def turn() -> None:
    """Let whoever can run, run."""
    for _ in range(3):
        await asyncio.sleep(0)
