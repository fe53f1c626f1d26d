"""Inbox: who waits gets the message, whoever is cancelled and when."""

from __future__ import annotations

import asyncio
from sys import getsizeof
from typing import Any

import pytest

from angelia.core.ws_messages import WSMessage, WSMsgType
from angelia.net.websocket_inbox import MESSAGE_COST, Inbox
from websocket_kit import Clock


def text(data: str) -> WSMessage:
    return WSMessage(WSMsgType.TEXT, data, "")


async def test_size() -> None:
    """The size is that of what is unread, in memory and not in characters."""
    inbox = Inbox(asyncio.get_running_loop())
    messages = [text("a" * 1000), text("€" * 1000)]
    inbox.put(messages)
    assert inbox.size == sum(getsizeof(m.data) for m in messages) + 2 * MESSAGE_COST
    assert [inbox.take(), inbox.take()] == messages
    assert inbox.size == 0
    with pytest.raises(IndexError):
        inbox.take()
    inbox.put(messages)
    inbox.clear()
    assert (inbox.size, len(inbox.messages)) == (0, 0)


async def test_past_the_queue() -> None:
    """A message goes to who waits; without one it is not taken."""
    inbox = Inbox(asyncio.get_running_loop())
    assert inbox.hand_over(text("a")) is False
    waiter = inbox.wait(None)
    assert inbox.hand_over(text("a")) is True
    assert inbox.hand_over(text("b")) is False
    assert await waiter == text("a")
    assert inbox.waiter is None


async def test_several_wake() -> None:
    """Who waits while several come is to look."""
    inbox = Inbox(asyncio.get_running_loop())
    waiter = inbox.wait(None)
    inbox.put([text("a"), text("b")])
    assert await waiter is None
    assert inbox.take() == text("a")


async def test_cancelled_when_it_came() -> None:
    """A message for one who was cancelled meanwhile stands first again."""
    inbox = Inbox(asyncio.get_running_loop())
    waiter = inbox.wait(None)
    inbox.hand_over(text("a"))
    inbox.put([text("b")])
    inbox.stop_waiting(waiter)
    assert [inbox.take(), inbox.take()] == [text("a"), text("b")]
    assert inbox.size == 0


async def test_cancelled_with_another_one_waiting() -> None:
    """It is for whoever waits by then."""
    inbox = Inbox(asyncio.get_running_loop())
    first = inbox.wait(None)
    inbox.hand_over(text("a"))
    second = inbox.wait(None)
    inbox.stop_waiting(first)
    assert await second == text("a")
    assert inbox.size == 0


async def test_cancelled_before() -> None:
    """What comes for one who was cancelled is queued, also before they have said so."""
    inbox = Inbox(asyncio.get_running_loop())
    waiter = inbox.wait(None)
    waiter.cancel()
    assert inbox.hand_over(text("a")) is False
    inbox.put([text("a")])
    inbox.stop_waiting(waiter)
    assert inbox.waiter is None
    assert inbox.take() == text("a")


async def test_time_limit() -> None:
    """After the limit it is a TimeoutError; the timer goes with the wait."""
    clock = Clock()
    loop: Any = clock
    inbox = Inbox(loop)
    waiter = inbox.wait(5)
    clock.advance(5)
    with pytest.raises(TimeoutError):
        await waiter
    inbox.stop_waiting(waiter)
    assert inbox.waiter is None
    waiter = inbox.wait(5)
    assert clock.pending == 1
    inbox.hand_over(text("a"))
    assert await waiter == text("a")
    await asyncio.sleep(0)
    assert clock.pending == 0


def test_nobody_runs_it() -> None:
    """A wait that is dropped unfinished leaves nothing behind, even when its loop has gone."""

    async def waiting() -> tuple[Inbox, asyncio.Future[WSMessage | None]]:
        inbox = Inbox(asyncio.get_running_loop())
        return inbox, inbox.wait(None)

    inbox, waiter = asyncio.run(waiting())
    inbox.stop_waiting(waiter)
    assert inbox.waiter is None
