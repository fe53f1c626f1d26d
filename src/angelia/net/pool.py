"""The pool: who may use which connection. Decisions only, all of them synchronous.

Owns: idle connections, those in use, dials under way, waiters, and the limits over all of them.
Knows nothing of how a connection is made or closed (`start_dial` and `close` do that) or what
runs on it.

Rules:

* Every open connection counts against the limits: in use, idle or being dialled. A slot is taken
  before anything is awaited; an idle connection of another host gives its slot up when one is
  needed.
* A waiter is settled exactly once: by an idle connection, a dial, an error, a timeout or
cancellation.
* Waiters of one key are served in order, and a freed connection beats a pending dial. A waiter that
  its host's limit holds back does not hold back other hosts.
* A dial outlives the waiter that started it, because the next request may use it; it is cancelled
  when its slot is needed.
* Nothing here searches through connections or waiters: the cost of a request does not depend on how
  many there are.
"""

from __future__ import annotations

import asyncio
import collections
import heapq
import itertools
from collections.abc import Callable
from typing import Any, TypeAlias

from angelia.net.connection_key import ConnectionKey
from angelia.net.transport import Transport

__all__ = ("Pool", "Waiter")

Endpoint: TypeAlias = tuple[str, "int | None", bool]


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

    def abort(self, error: BaseException) -> None:
        """Fail the wait; its dial, if it has one, goes on."""
        if not self.future.done():
            self.future.set_exception(error)


class Pool:
    """Connections by key; see the module's rules. A limit of 0 is none."""

    def __init__(
        self,
        *,
        limit: int,
        limit_per_host: int,
        start_dial: Callable[[Waiter], asyncio.Task[None]],
        close: Callable[[Transport], None],
    ) -> None:
        self.limit = limit
        self.limit_per_host = limit_per_host
        self._start_dial = start_dial
        self._close = close
        self._numbers = itertools.count()
        # Idle connections: by key the newest last, and all in the order in which they became idle.
        self._idle: dict[ConnectionKey, list[Transport]] = {}
        self._idle_order: collections.OrderedDict[Transport, None] = collections.OrderedDict()
        self._idle_per_host: collections.Counter[Endpoint] = collections.Counter()
        self.active: set[Transport] = set()
        self._dials: dict[Waiter, asyncio.Task[None]] = {}
        self._dials_by_key: collections.Counter[ConnectionKey] = collections.Counter()
        # Waiters not settled yet, by key in order; how many of a key wait for a dial, not a slot.
        self._queues: dict[ConnectionKey, collections.OrderedDict[Waiter, None]] = {}
        self._served_by_dial: collections.Counter[ConnectionKey] = collections.Counter()
        # Waiters that need a slot: those whose host has room, and the others by host.
        self._blocked: list[Waiter] = []
        self._parked: dict[Endpoint, list[Waiter]] = {}
        self._per_host: collections.Counter[Endpoint] = collections.Counter()

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} idle={len(self._idle_order)} active={len(self.active)} "
            f"dialling={len(self._dials)} waiting={self.waiting}>"
        )

    # --- questions -----------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many slots are taken."""
        return len(self.active) + len(self._idle_order) + len(self._dials)

    @property
    def waiting(self) -> int:
        """How many requests wait for a connection."""
        return sum(map(len, self._queues.values()))

    @property
    def idle(self) -> tuple[Transport, ...]:
        """Idle connections, the oldest first."""
        return tuple(self._idle_order)

    @property
    def dials(self) -> tuple[asyncio.Task[None], ...]:
        """The dials under way."""
        return tuple(self._dials.values())

    def queue_lengths(self) -> dict[ConnectionKey, int]:
        """How many wait, by key."""
        return {key: len(queue) for key, queue in self._queues.items()}

    # --- taking --------------------------------------------------------------------------------

    def take(self, key: ConnectionKey, now: float) -> Transport | None:
        """The newest idle connection of `key` that is still good, now in use; or None."""
        stack = self._idle.get(key)
        while stack:
            transport = stack[-1]
            self._forget_idle(transport)
            if transport.available_streams and not _outlived(transport, now):
                self.active.add(transport)
                return transport
            self._leave(transport)
            self._close(transport)
            # A slot is free now: somebody may have waited for it.
            self.serve()
            stack = self._idle.get(key)
        return None

    def put_back(self, transport: Transport) -> None:
        """Undo `take`: the connection was not used."""
        self.active.discard(transport)
        self._keep(transport)

    def wait(self, key: ConnectionKey, future: asyncio.Future[Transport], request: Any) -> Waiter:
        """Join the queue for a connection; a dial begins at once if a slot can be had."""
        waiter = Waiter(key, future, request, next(self._numbers))
        self._queues.setdefault(key, collections.OrderedDict())[waiter] = None
        if not self._blocked and self._make_room(endpoint_of(key)):
            self._dial(waiter)
        else:
            waiter.blocked = True
            heapq.heappush(self._blocked, waiter)
            self.serve()
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """The waiter is settled, or gone: nobody will serve it any more. Idempotent."""
        queue = self._queues.get(waiter.key)
        if queue is None or waiter not in queue:
            return
        del queue[waiter]
        if not queue:
            del self._queues[waiter.key]
        if waiter.blocked:
            # It stays in its heap until it comes up there; its place is worth nothing.
            waiter.blocked = False
        else:
            self._served_by_dial[waiter.key] -= 1
            if not self._served_by_dial[waiter.key]:
                del self._served_by_dial[waiter.key]
            # Its dial is nobody's now: who needs a slot may have that one.
            self.serve()

    # --- giving --------------------------------------------------------------------------------

    def release(self, transport: Transport, now: float, *, reuse: bool) -> None:
        """A connection is free: the next waiter of its key gets it, or it becomes idle."""
        if transport not in self.active:
            return
        self.active.discard(transport)
        if reuse and transport.available_streams:
            if not self._queues:
                transport.idle_since = now
                self._keep(transport)
                return
            self._offer(transport, now)
        else:
            self._leave(transport)
            self._close(transport)
        self.serve()

    def lost(self, transport: Transport) -> None:
        """A connection has closed."""
        if transport in self._idle_order:
            self._forget_idle(transport)
        elif transport in self.active:
            self.active.discard(transport)
        else:
            return
        self._leave(transport)
        self.serve()

    def _offer(self, transport: Transport, now: float) -> None:
        """Grant a good connection, whose slot is taken, to a waiter, or keep it idle."""
        key = transport.key
        if key is None:
            raise ValueError(f"{transport!r} has no key")
        waiter = self._first_waiter(key)
        if waiter is not None and not self._outranked(waiter):
            self._grant(waiter, transport)
            return
        transport.idle_since = now
        self._keep(transport)

    def _keep(self, transport: Transport) -> None:
        key = transport.key
        if key is None:
            raise ValueError(f"{transport!r} has no key")
        stack = self._idle.get(key)
        if stack is None:
            self._idle[key] = [transport]
        else:
            stack.append(transport)
        self._idle_order[transport] = None
        if self.limit_per_host:
            self._idle_per_host[endpoint_of(key)] += 1

    def _outranked(self, waiter: Waiter) -> bool:
        """Whether one who came earlier needs this waiter's slot for another host."""
        if not self._blocked or not self.limit or self.size < self.limit:
            return False
        first = self._blocked[0]
        return first.blocked and first < waiter and first.key != waiter.key

    def _first_waiter(self, key: ConnectionKey) -> Waiter | None:
        queue = self._queues.get(key)
        while queue:
            waiter = next(iter(queue))
            if not waiter.future.done():
                return waiter
            self.leave(waiter)
            queue = self._queues.get(key)
        return None

    def _grant(self, waiter: Waiter, transport: Transport) -> None:
        self.active.add(transport)
        waiter.future.set_result(transport)
        self.leave(waiter)

    # --- slots ---------------------------------------------------------------------------------

    def serve(self) -> None:
        """Begin dials for blocked waiters as far as slots go."""
        blocked = self._blocked
        while blocked:
            waiter = blocked[0]
            if not waiter.blocked or waiter.future.done():
                heapq.heappop(blocked)
                continue
            endpoint = endpoint_of(waiter.key)
            if self._host_is_full(endpoint):
                heapq.heappop(blocked)
                heapq.heappush(self._parked.setdefault(endpoint, []), waiter)
                continue
            transport = self._pop_idle(waiter.key)
            if transport is not None:
                self._grant(waiter, transport)
                continue
            if not self._make_room(endpoint):
                return
            heapq.heappop(blocked)
            waiter.blocked = False
            self._dial(waiter)

    def _pop_idle(self, key: ConnectionKey) -> Transport | None:
        stack = self._idle.get(key)
        if not stack:
            return None
        transport = stack[-1]
        self._forget_idle(transport)
        return transport

    def _host_is_full(self, endpoint: Endpoint) -> bool:
        return bool(self.limit_per_host) and self._per_host[endpoint] >= self.limit_per_host

    def _make_room(self, endpoint: Endpoint) -> bool:
        """Whether a slot is free; an idle connection or an orphaned dial is ended for one."""
        if self._host_is_full(endpoint):
            return self._evict_from_host(endpoint)
        if not self.limit or self.size < self.limit:
            return True
        if self._idle_order:
            self._evict(next(iter(self._idle_order)))
            return True
        return self._cancel_orphan()

    def _evict_from_host(self, endpoint: Endpoint) -> bool:
        # An idle connection to this host with another key (say, other TLS settings) may go.
        if not self._idle_per_host[endpoint]:
            return False
        for transport in self._idle_order:
            if transport.key is not None and endpoint_of(transport.key) == endpoint:
                self._evict(transport)
                return True
        return False

    def _evict(self, transport: Transport) -> None:
        self._forget_idle(transport)
        self._leave(transport)
        self._close(transport)

    def _cancel_orphan(self) -> bool:
        for waiter, task in self._dials.items():
            key = waiter.key
            if self._dials_by_key[key] > self._served_by_dial[key]:
                self._end_dial(waiter)
                task.cancel()
                return True
        return False

    def _leave(self, transport: Transport) -> None:
        """A connection's slot is free."""
        if transport.key is not None:
            self._free_slot(endpoint_of(transport.key))

    def _free_slot(self, endpoint: Endpoint) -> None:
        self._per_host[endpoint] -= 1
        if not self._per_host[endpoint]:
            del self._per_host[endpoint]
        parked = self._parked.get(endpoint)
        if parked:
            heapq.heappush(self._blocked, heapq.heappop(parked))
            if not parked:
                del self._parked[endpoint]

    def _forget_idle(self, transport: Transport) -> None:
        del self._idle_order[transport]
        key = transport.key
        if key is None or not (stack := self._idle.get(key)):
            return
        if stack[-1] is transport:
            stack.pop()
        else:
            stack.remove(transport)
        if not stack:
            del self._idle[key]
        if self.limit_per_host:
            self._idle_per_host[endpoint_of(key)] -= 1

    # --- dials ---------------------------------------------------------------------------------

    def _dial(self, waiter: Waiter) -> None:
        key = waiter.key
        self._per_host[endpoint_of(key)] += 1
        self._dials_by_key[key] += 1
        self._served_by_dial[key] += 1
        self._dials[waiter] = self._start_dial(waiter)

    def _end_dial(self, waiter: Waiter) -> bool:
        """The dial that `waiter` began is over; False if that was known."""
        if self._dials.pop(waiter, None) is None:
            return False
        key = waiter.key
        self._dials_by_key[key] -= 1
        if not self._dials_by_key[key]:
            del self._dials_by_key[key]
        self._free_slot(endpoint_of(key))
        return True

    def dialled(self, waiter: Waiter, transport: Transport, now: float) -> None:
        """A dial has made a connection: the first waiter of its key gets it."""
        if not self._end_dial(waiter):
            transport.abort()
            return
        self._per_host[endpoint_of(waiter.key)] += 1
        self._offer(transport, now)
        self.serve()

    def dial_failed(self, waiter: Waiter, error: BaseException) -> None:
        """A dial has failed: who began it is told, or, if that one is served, who counts on it."""
        if not self._end_dial(waiter):
            return
        victim: Waiter | None = waiter
        if waiter.future.done():
            victim = self._last_dependent(waiter.key)
        if victim is not None:
            victim.abort(error)
            self.leave(victim)
        self.serve()

    def _last_dependent(self, key: ConnectionKey) -> Waiter | None:
        # Only where there are now fewer dials than waiters that count on one.
        if self._served_by_dial[key] <= self._dials_by_key[key]:
            return None
        for waiter in reversed(self._queues.get(key, ())):
            if not waiter.blocked and not waiter.future.done():
                return waiter
        return None

    # --- expiry and the end --------------------------------------------------------------------

    def expire(self, now: float, keepalive: float) -> float | None:
        """Close what has been idle too long; when to look again, or None: nothing is idle."""
        while self._idle_order:
            oldest = next(iter(self._idle_order))
            when = oldest.idle_since + keepalive
            if when > now:
                return when
            self._evict(oldest)
        return None

    def close(self, error: BaseException) -> list[Transport]:
        """End everything: waiters get `error`, dials are cancelled; the connections to close."""
        for queue in list(self._queues.values()):
            for waiter in list(queue):
                waiter.abort(error)
        self._queues.clear()
        self._blocked.clear()
        self._parked.clear()
        self._served_by_dial.clear()
        for task in self._dials.values():
            task.cancel()
        self._dials.clear()
        self._dials_by_key.clear()
        transports = [*self._idle_order, *self.active]
        self._idle_order.clear()
        self._idle.clear()
        self.active.clear()
        self._per_host.clear()
        return transports


def _outlived(transport: Transport, now: float) -> bool:
    """Whether the server has said that it closes this connection about now."""
    timeout = transport.core.idle_timeout
    if timeout is None:
        return False
    # Less a margin for the way there: a second, or half of a very short time.
    return now - transport.idle_since >= timeout - min(1.0, timeout / 2)
