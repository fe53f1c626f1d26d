"""Tests of angelia.hosting.wsgi_bridge."""

from __future__ import annotations

import asyncio

import pytest

from angelia.hosting.wsgi_bridge import Bridge


async def test_questions_and_a_result() -> None:
    """Questions are answered on the loop in order, errors too; the first result counts."""
    bridge: Bridge[str] = Bridge(asyncio.get_running_loop())

    async def fails() -> None:
        raise LookupError("no")

    def thread() -> str:
        first = bridge.ask(three)
        with pytest.raises(LookupError):
            bridge.ask(fails)
        bridge.finish(f"result {first}")
        bridge.finish("another")
        return "ended"

    async def three() -> int:
        return 3

    asking = asyncio.create_task(asyncio.to_thread(thread))
    assert await bridge.serve() == "result 3"
    assert await asking == "ended"
    assert bridge.closed


async def test_cancelled() -> None:
    """Who asks when nobody answers any more is told, and so is who waits for an answer then."""
    bridge: Bridge[str] = Bridge(asyncio.get_running_loop())
    asked = asyncio.Event()

    async def never() -> None:
        asked.set()
        await asyncio.Event().wait()

    def thread() -> None:
        for _ in range(2):
            with pytest.raises(ConnectionAbortedError):
                bridge.ask(never)
        bridge.finish("too late")

    asking = asyncio.create_task(asyncio.to_thread(thread))
    serving = asyncio.create_task(bridge.serve())
    await asked.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    await asking


def test_loop_is_gone() -> None:
    """A thread that asks a loop which was closed does not wait for it."""
    loop = asyncio.new_event_loop()
    loop.close()
    bridge: Bridge[str] = Bridge(loop)

    async def nothing() -> None:
        return

    with pytest.raises(ConnectionAbortedError):
        bridge.ask(nothing)
    assert bridge.closed
