"""Waiters, and the line of those who wait for a slot of the pool.

Owns: who comes first, and whom his host's limit holds back. Knows nothing of connections; the pool
says when a slot is free.

A waiter that has gone stays in its heap until it comes up there, or until such waiters outnumber
the others: leaving costs no search, and the line is never much longer than the waiters in it.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING, Any, TypeAlias

from angelia.net.connection_key import ConnectionKey

if TYPE_CHECKING:
    from angelia.net.transport import Transport

__all__ = ("Endpoint", "Line", "Waiter", "endpoint_of")

Endpoint: TypeAlias = tuple[str, "int | None", bool]

# Below this many it is not worth the time to look for those that have gone.
MIN_GONE = 64


def endpoint_of(key: ConnectionKey) -> Endpoint:
    """What `limit_per_host` counts by."""
    return key[0], key[1], key[2]


class Waiter:
    """Someone who waits for a connection of one key; `request` is whatever its dial needs."""

    __slots__ = ("blocked", "future", "key", "number", "request")

    def __init__(
        self, key: ConnectionKey, future: asyncio.Future[Transport], request: Any, number: int
    ) -> None:
        self.key = key
        self.future = future
        self.request = request
        self.number = number
        # Whether it waits for a slot, rather than for a dial.
        self.blocked = False

    def __lt__(self, other: Waiter) -> bool:
        return self.number < other.number

    def __repr__(self) -> str:
        state = "settled" if self.future.done() else "blocked" if self.blocked else "dialling"
        return f"<{type(self).__name__} {self.number} {self.key.host} {state}>"

    def abort(self, error: BaseException) -> None:
        """Fail the wait; its dial, if it has one, goes on."""
        if not self.future.done():
            self.future.set_exception(error)


class Line:
    """Blocked waiters in the order in which they came: in front, or parked by endpoint."""

    __slots__ = ("_gone", "_here", "_parked", "front")

    def __init__(self) -> None:
        # Those whose host may have room. Empty: nobody waits for a slot who could use one.
        self.front: list[Waiter] = []
        self._parked: dict[Endpoint, list[Waiter]] = {}
        self._here = 0
        self._gone = 0

    def __len__(self) -> int:
        return self._here

    def join(self, waiter: Waiter) -> None:
        """A waiter needs a slot."""
        waiter.blocked = True
        self._here += 1
        heapq.heappush(self.front, waiter)

    def first(self) -> Waiter | None:
        """The earliest of those in front."""
        front = self.front
        while front:
            if front[0].blocked:
                return front[0]
            heapq.heappop(front)
            self._gone -= 1
        return None

    def advance(self) -> None:
        """The first has got its slot."""
        heapq.heappop(self.front).blocked = False
        self._here -= 1

    def park(self) -> None:
        """The host of the first is full."""
        waiter = heapq.heappop(self.front)
        heapq.heappush(self._parked.setdefault(endpoint_of(waiter.key), []), waiter)

    def call(self, endpoint: Endpoint) -> None:
        """Something at this host has changed: the earliest parked there comes to the front."""
        parked = self._parked.get(endpoint)
        while parked:
            waiter = heapq.heappop(parked)
            if waiter.blocked:
                heapq.heappush(self.front, waiter)
                break
            self._gone -= 1
        if not parked:
            self._parked.pop(endpoint, None)

    def leave(self, waiter: Waiter) -> None:
        """A waiter has gone, or got a connection without a slot."""
        waiter.blocked = False
        waiter.request = None
        self._here -= 1
        self._gone += 1
        if self._gone > MIN_GONE and self._gone > self._here:
            self._tidy()

    def _tidy(self) -> None:
        self._gone = 0
        self.front[:] = [waiter for waiter in self.front if waiter.blocked]
        heapq.heapify(self.front)
        for endpoint, parked in list(self._parked.items()):
            parked[:] = [waiter for waiter in parked if waiter.blocked]
            heapq.heapify(parked)
            if not parked:
                del self._parked[endpoint]

    def clear(self) -> None:
        """Nobody waits any more."""
        self.front.clear()
        self._parked.clear()
        self._here = self._gone = 0
