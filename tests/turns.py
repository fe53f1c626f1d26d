"""Turns of the event loop, for tests that let others run."""

from __future__ import annotations

import asyncio


async def turns(count: int = 20) -> None:
    """Let whoever can run, run: as many turns of the loop, none of which waits."""
    for _ in range(count):
        await asyncio.sleep(0)
