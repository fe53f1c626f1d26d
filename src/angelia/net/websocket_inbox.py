"""Inbox: the messages of a WebSocket that have come and were not received, and who waits for one.

Owns: their order, what memory they take, and that none is lost or seen twice when who waits is
cancelled. What they mean, and when the socket is not to be read, is `net.websocket`'s.
"""

from __future__ import annotations

import asyncio
from collections import deque
from operator import itemgetter
from sys import getsizeof
from typing import Final

from angelia.core.ws_messages import WSMessage

__all__ = ("MESSAGE_COST", "Inbox")

# What an unread message takes beside its data: a tuple and its place in the queue.
MESSAGE_COST: Final = 100

# What takes the room of a message.
_data: Final = itemgetter(1)


class Inbox:
    """One may wait at a time: while `waiter` is there and not done, there are no `messages`.

    `size` is what the messages take, in octets of memory.
    """

    __slots__ = ("_loop", "messages", "size", "waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.messages: deque[WSMessage] = deque()
        self.size = 0
        self.waiter: asyncio.Future[WSMessage | None] | None = None

    def put(self, messages: list[WSMessage]) -> None:
        """These have come; who waits is to look at them."""
        self.messages.extend(messages)
        self.size += sum(map(getsizeof, map(_data, messages))) + MESSAGE_COST * len(messages)
        self.hand_over(None)

    def take(self) -> WSMessage:
        """The first; IndexError where there is none."""
        message = self.messages.popleft()
        self.size -= getsizeof(message[1]) + MESSAGE_COST
        return message

    def clear(self) -> None:
        """Forget what has not been received."""
        self.messages.clear()
        self.size = 0

    def hand_over(self, message: WSMessage | None) -> bool:
        """Give `message` to who waits, or let them look at what there is; False where nobody is."""
        waiter = self.waiter
        if waiter is None or waiter.done():
            return False
        self.waiter = None
        waiter.set_result(message)
        return True

    def wait(self, limit: float | None) -> asyncio.Future[WSMessage | None]:
        """What to await where there is no message; TimeoutError after `limit` seconds.

        Who is cancelled or timed out has to `stop_waiting`.
        """
        waiter = self.waiter = self._loop.create_future()
        if limit:
            timer = self._loop.call_later(limit, _expire, waiter)
            waiter.add_done_callback(lambda _: timer.cancel())
        return waiter

    def stop_waiting(self, waiter: asyncio.Future[WSMessage | None]) -> None:
        """Nobody awaits `waiter` any more."""
        if self.waiter is waiter:
            self.waiter = None
        if not waiter.done():
            # Not cancelled: a coroutine that nobody runs any more. There may be no loop either.
            if not waiter.get_loop().is_closed():
                waiter.cancel()
            return
        if waiter.cancelled() or waiter.exception() is not None:
            return
        # It was cancelled when the message was on its way already.
        message = waiter.result()
        if message is not None and not self.hand_over(message):
            self.messages.appendleft(message)
            self.size += getsizeof(message[1]) + MESSAGE_COST


def _expire(waiter: asyncio.Future[WSMessage | None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
