"""Queues: items come in order, and then the end, or an error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from angelia.errors import EofStream
from angelia.net.data_queue import DataQueue, FlowControlDataQueue
from stream_kit import Flow, Lost, turn

LIMIT = 64


class TestDataQueue:
    @pytest.fixture(params=[False, True], ids=["plain", "flow"])
    def make_queue(self, request: pytest.FixtureRequest) -> Callable[[], DataQueue[Any]]:
        if request.param:
            return lambda: FlowControlDataQueue(Flow(), LIMIT, loop=asyncio.get_running_loop())
        return lambda: DataQueue(asyncio.get_running_loop())

    async def test_items(self, make_queue: Callable[[], DataQueue[Any]]) -> None:
        """Items come in order, then EofStream, again and again."""
        queue = make_queue()
        queue.feed_data("a", 1)
        queue.feed_data("b", 1)
        assert len(queue) == 2
        assert await queue.read() == "a"
        queue.feed_eof()
        assert queue.is_eof()
        assert not queue.at_eof()
        assert await queue.read() == "b"
        assert queue.at_eof()
        for _ in range(2):
            with pytest.raises(EofStream):
                await queue.read()

    async def test_waiting(self, make_queue: Callable[[], DataQueue[Any]]) -> None:
        """A reader waits for an item, the end or an error; a second reader is a RuntimeError."""
        queue = make_queue()
        task = asyncio.create_task(queue.read())
        await turn()
        with pytest.raises(RuntimeError):
            await queue.read()
        queue.feed_data("x", 1)
        assert await task == "x"
        task = asyncio.create_task(queue.read())
        await turn()
        queue.feed_eof()
        with pytest.raises(EofStream):
            await task

    async def test_error(self, make_queue: Callable[[], DataQueue[Any]]) -> None:
        """Items that came before an error are delivered before it; the error stays."""
        queue = make_queue()
        cause = OSError()
        queue.feed_data("x", 1)
        queue.set_exception(Lost(), cause)
        assert await queue.read() == "x"
        for _ in range(2):
            with pytest.raises(Lost) as info:
                await queue.read()
            assert info.value.__cause__ is cause
        assert isinstance(queue.exception(), Lost)
        waiting = make_queue()
        task = asyncio.create_task(waiting.read())
        await turn()
        waiting.set_exception(Lost())
        with pytest.raises(Lost):
            await task

    async def test_cancel(self, make_queue: Callable[[], DataQueue[Any]]) -> None:
        """A cancelled read() loses no item, also when one came in the same turn."""
        queue = make_queue()
        task = asyncio.create_task(queue.read())
        await turn()
        queue.feed_data("x", 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await queue.read() == "x"

    async def test_iteration(self, make_queue: Callable[[], DataQueue[Any]]) -> None:
        """Iteration ends where the queue does."""
        queue = make_queue()
        for item in (1, 2, 3):
            queue.feed_data(item, 1)
        queue.feed_eof()
        assert [item async for item in queue] == [1, 2, 3]

    async def test_flow(self) -> None:
        """The flow stops above twice the limit of octets, and goes on below the limit."""
        flow = Flow()
        queue: FlowControlDataQueue[str] = FlowControlDataQueue(
            flow, 10, loop=asyncio.get_running_loop()
        )
        queue.feed_data("a", 10)
        queue.feed_data("b", 10)
        assert flow.calls == []
        queue.feed_data("c", 1)
        queue.feed_data("d", 1)
        assert flow.calls == ["pause"]
        await queue.read()
        assert flow.calls == ["pause"]
        await queue.read()
        assert flow.calls == ["pause", "resume"]
