"""The pool: who may use which connection. Decisions only, all of them synchronous.

Owns: idle connections, those in use, dials under way, waiters, and the limits over all of them.
Knows nothing of how a connection is made or closed (`start_dial` and `close` do that) or what runs
on it.

Rules:

* Every open connection counts against the limits: in use, idle or being dialled. A slot is taken
  before anything is awaited; an idle connection of another host gives its slot up when one is
  needed.
* A waiter is settled exactly once: by an idle connection, a dial, an error, a timeout or
  cancellation.
* Waiters of one key are served in order, and a freed connection beats a pending dial. A waiter that
  its host's limit holds back does not hold back other hosts.
* A dial outlives the waiter that started it, because the next request may use it; it is cancelled
  when its slot is needed for another key.
* Nothing here searches through connections or waiters: the cost of a request does not depend on how
  many there are. Only for a dial that nobody waits for any more, and if there is one, the dials are
  looked through.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
from collections.abc import Callable
from typing import Any

from angelia.errors import ServerDisconnectedError
from angelia.net.connection_key import ConnectionKey
from angelia.net.transport import Transport
from angelia.net.waiting import Endpoint, Line, Waiter, endpoint_of

__all__ = ("Pool",)


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
        # Idle connections in the order in which they became idle: by key, all, and, only where that
        # is limited, by host.
        self._idle: dict[ConnectionKey, dict[Transport, None]] = {}
        self._idle_order: collections.OrderedDict[Transport, None] = collections.OrderedDict()
        self._idle_by_host: dict[Endpoint, collections.OrderedDict[Transport, None]] = {}
        self.active: set[Transport] = set()
        # The task is None while it is being started.
        self._dials: dict[Waiter, asyncio.Task[None] | None] = {}
        self._dials_by_key: collections.Counter[ConnectionKey] = collections.Counter()
        # Waiters not settled yet, by key in order; how many of a key, and of all, wait for a dial.
        self._queues: dict[ConnectionKey, collections.OrderedDict[Waiter, None]] = {}
        self._served_by_dial: collections.Counter[ConnectionKey] = collections.Counter()
        self._awaited = 0
        # Waiters that need a slot.
        self._line = Line()
        self._serving = False
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
        return self._awaited + len(self._line)

    @property
    def idle(self) -> tuple[Transport, ...]:
        """Idle connections, the oldest first."""
        return tuple(self._idle_order)

    @property
    def dials(self) -> tuple[asyncio.Task[None], ...]:
        """The dials under way."""
        return tuple(task for task in self._dials.values() if task is not None)

    def queue_lengths(self) -> dict[ConnectionKey, int]:
        """How many wait, by key."""
        return {key: len(queue) for key, queue in self._queues.items()}

    # --- taking --------------------------------------------------------------------------------

    def take(self, key: ConnectionKey, now: float) -> Transport | None:
        """The newest idle connection of `key` that is still good, now in use; or None."""
        while (transport := self._pop_idle(key)) is not None:
            if transport.available_streams and not _outlived(transport, now):
                self.active.add(transport)
                return transport
            self._end(transport)
            # A slot is free now: somebody may have waited for it.
            self.serve()
        return None

    def put_back(self, transport: Transport) -> None:
        """Undo `take`: the connection was not used."""
        self.active.discard(transport)
        self._keep(transport)

    def wait(self, key: ConnectionKey, future: asyncio.Future[Transport], request: Any) -> Waiter:
        """Join the queue for a connection; a dial begins at once if a slot can be had."""
        waiter = Waiter(key, future, request, next(self._numbers))
        self._queues.setdefault(key, collections.OrderedDict())[waiter] = None
        # Making room may call somebody to the front who came earlier.
        if not self._line.front and self._make_room(key) and not self._line.front:
            self._dial(waiter)
        else:
            self._line.join(waiter)
            self.serve()
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """The waiter is settled, or gone: nobody will serve it any more. Idempotent."""
        self._drop(waiter)
        self.serve()

    def _drop(self, waiter: Waiter) -> None:
        key = waiter.key
        queue = self._queues.get(key)
        if queue is None or waiter not in queue:
            return
        del queue[waiter]
        if not queue:
            del self._queues[key]
        if waiter.blocked:
            self._line.leave(waiter)
        else:
            # Its dial is nobody's now: who needs a slot may have that one.
            self._awaited -= 1
            self._served_by_dial[key] -= 1
            if not self._served_by_dial[key]:
                del self._served_by_dial[key]
        # It may have been the one in front for its host.
        self._line.call(endpoint_of(key))

    # --- giving --------------------------------------------------------------------------------

    def release(self, transport: Transport, now: float, *, reuse: bool) -> None:
        """A connection is free: the next waiter of its key gets it, or it becomes idle."""
        active = self.active
        if transport not in active:
            return
        active.discard(transport)
        if reuse and transport.available_streams:
            self._offer(transport, now)
        else:
            self._end(transport)
        if self._line.front:
            self.serve()

    def lost(self, transport: Transport) -> None:
        """A connection has closed."""
        if transport in self._idle_order:
            self._forget_idle(transport)
        elif transport in self.active:
            self.active.discard(transport)
        else:
            return
        self._vacate(transport)
        self.serve()

    def _offer(self, transport: Transport, now: float) -> None:
        """Grant a good connection, whose slot is taken, to a waiter, or keep it idle."""
        if self._queues and (waiter := self._first_waiter(_key_of(transport))) is not None:
            self.active.add(transport)
            waiter.future.set_result(transport)
            self._drop(waiter)
            return
        transport.idle_since = now
        self._keep(transport)

    def _first_waiter(self, key: ConnectionKey) -> Waiter | None:
        """The first waiter of `key`, if it may have a connection that is free."""
        while queue := self._queues.get(key):
            waiter = next(iter(queue))
            if not waiter.future.done():
                return None if self._outranked(waiter) else waiter
            self._drop(waiter)
        return None

    def _outranked(self, waiter: Waiter) -> bool:
        """Whether one who came earlier needs this waiter's slot for another key."""
        if not self.limit or self.size + 1 < self.limit:
            return False
        first = self._line.first()
        return first is not None and first < waiter and first.key != waiter.key

    # --- idle connections ----------------------------------------------------------------------

    def _keep(self, transport: Transport) -> None:
        key = _key_of(transport)
        stack = self._idle.get(key)
        if stack is None:
            self._idle[key] = {transport: None}
        else:
            stack[transport] = None
        self._idle_order[transport] = None
        if self.limit_per_host:
            endpoint = endpoint_of(key)
            self._idle_by_host.setdefault(endpoint, collections.OrderedDict())[transport] = None
            # A waiter for this host, with another key, may have its slot.
            self._line.call(endpoint)

    def _pop_idle(self, key: ConnectionKey) -> Transport | None:
        """The newest idle connection of `key`, which is idle no more."""
        stack = self._idle.get(key)
        if stack is None:
            return None
        transport, _ = stack.popitem()
        if not stack:
            del self._idle[key]
        del self._idle_order[transport]
        if self.limit_per_host:
            self._forget_idle_at_host(transport)
        return transport

    def _forget_idle(self, transport: Transport) -> None:
        del self._idle_order[transport]
        key = _key_of(transport)
        stack = self._idle[key]
        del stack[transport]
        if not stack:
            del self._idle[key]
        if self.limit_per_host:
            self._forget_idle_at_host(transport)

    def _forget_idle_at_host(self, transport: Transport) -> None:
        endpoint = endpoint_of(_key_of(transport))
        idle = self._idle_by_host[endpoint]
        del idle[transport]
        if not idle:
            del self._idle_by_host[endpoint]

    def _evict(self, transport: Transport) -> None:
        self._forget_idle(transport)
        self._end(transport)

    # --- slots ---------------------------------------------------------------------------------

    def serve(self) -> None:
        """Serve those who wait for a slot as far as slots go."""
        # Whatever a step below sets off comes back here: one loop does all of it.
        if self._serving:
            return
        self._serving = True
        try:
            while self._serve_first():
                pass
        finally:
            self._serving = False

    def _serve_first(self) -> bool:
        """Do something for the first in line; False: nothing can be done for anybody."""
        line = self._line
        waiter = line.first()
        if waiter is None:
            return False
        key = waiter.key
        if waiter.future.done():
            self._drop(waiter)
        elif (transport := self._pop_idle(key)) is not None:
            self._serve_from_idle(waiter, transport)
        elif self._make_room(key):
            # Unless somebody was called to the front who came earlier, and is next.
            if line.first() is waiter:
                line.advance()
                self._dial(waiter)
        elif self._host_is_full(endpoint_of(key)):
            line.park()
        else:
            return False
        return True

    def _serve_from_idle(self, waiter: Waiter, transport: Transport) -> None:
        if not transport.available_streams:
            self._end(transport)
            return
        self.active.add(transport)
        waiter.future.set_result(transport)
        self._drop(waiter)

    def _host_is_full(self, endpoint: Endpoint) -> bool:
        return bool(self.limit_per_host) and self._per_host[endpoint] >= self.limit_per_host

    def _make_room(self, key: ConnectionKey) -> bool:
        """Whether a slot is free; an idle connection or an orphaned dial is ended for one."""
        endpoint = endpoint_of(key)
        if self._host_is_full(endpoint):
            # An idle connection to this host with another key (say, other TLS settings) may go.
            if idle := self._idle_by_host.get(endpoint):
                self._evict(next(iter(idle)))
                return True
            return self._cancel_orphan(key, endpoint)
        if not self.limit or self.size < self.limit:
            return True
        if self._idle_order:
            self._evict(next(iter(self._idle_order)))
            return True
        return self._cancel_orphan(key, None)

    def _cancel_orphan(self, key: ConnectionKey, endpoint: Endpoint | None) -> bool:
        """Cancel a dial, to `endpoint` if given, that nobody waits for; not for its own key."""
        if len(self._dials) <= self._awaited:
            return False
        for waiter, task in reversed(self._dials.items()):
            other = waiter.key
            if (
                other != key
                and task is not None
                and self._dials_by_key[other] > self._served_by_dial[other]
                and endpoint in (None, endpoint_of(other))
            ):
                self._end_dial(waiter)
                task.cancel()
                return True
        return False

    def _end(self, transport: Transport) -> None:
        """Close a connection, and free its slot."""
        self._vacate(transport)
        self._close(transport)

    def _vacate(self, transport: Transport) -> None:
        self._free_slot(endpoint_of(_key_of(transport)))

    def _free_slot(self, endpoint: Endpoint) -> None:
        self._per_host[endpoint] -= 1
        if not self._per_host[endpoint]:
            del self._per_host[endpoint]
        self._line.call(endpoint)

    # --- dials ---------------------------------------------------------------------------------

    def _dial(self, waiter: Waiter) -> None:
        key = waiter.key
        self._per_host[endpoint_of(key)] += 1
        self._dials_by_key[key] += 1
        self._served_by_dial[key] += 1
        self._awaited += 1
        # Before it starts, since a task may run, and be over, at once.
        self._dials[waiter] = None
        task = self._start_dial(waiter)
        if waiter in self._dials:
            self._dials[waiter] = task

    def _end_dial(self, waiter: Waiter) -> bool:
        """The dial that `waiter` began is over; False if that was known."""
        if waiter not in self._dials:
            return False
        del self._dials[waiter]
        key = waiter.key
        self._dials_by_key[key] -= 1
        if not self._dials_by_key[key]:
            del self._dials_by_key[key]
        self._free_slot(endpoint_of(key))
        return True

    def dialled(self, waiter: Waiter, transport: Transport, now: float) -> None:
        """A dial has made a connection: the first waiter of its key gets it."""
        if not self._end_dial(waiter):
            self._close(transport)
            return
        self._per_host[endpoint_of(waiter.key)] += 1
        if transport.available_streams:
            self._offer(transport, now)
        else:
            self._end(transport)
            self._settle_dependent(waiter, ServerDisconnectedError())
        self.serve()

    def dial_failed(self, waiter: Waiter, error: BaseException) -> None:
        """A dial has failed: who began it is told, or, if that one is served, who counts on it."""
        if not self._end_dial(waiter):
            return
        self._settle_dependent(waiter, error)
        self.serve()

    def _settle_dependent(self, waiter: Waiter, error: BaseException) -> None:
        victim: Waiter | None = waiter
        if waiter.future.done():
            self._drop(waiter)
            victim = self._last_dependent(waiter.key)
        if victim is not None:
            victim.abort(error)
            self._drop(victim)

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
        when = None
        while self._idle_order:
            oldest = next(iter(self._idle_order))
            when = oldest.idle_since + keepalive
            if when > now:
                break
            self._evict(oldest)
            when = None
        self.serve()
        return when

    def close(self, error: Callable[[], BaseException]) -> list[Transport]:
        """End everything and return the connections that are to be closed.

        Waiters get an `error` each; dials are cancelled.
        """
        for queue in list(self._queues.values()):
            for waiter in list(queue):
                waiter.abort(error())
        self._queues.clear()
        self._line.clear()
        self._served_by_dial.clear()
        self._awaited = 0
        for task in self.dials:
            task.cancel()
        self._dials.clear()
        self._dials_by_key.clear()
        transports = [*self._idle_order, *self.active]
        self._idle_order.clear()
        self._idle.clear()
        self._idle_by_host.clear()
        self.active.clear()
        self._per_host.clear()
        return transports


def _key_of(transport: Transport) -> ConnectionKey:
    key = transport.key
    if key is None:
        raise ValueError(f"{transport!r} has no key")
    return key


def _outlived(transport: Transport, now: float) -> bool:
    """Whether the server has said that it closes this connection about now."""
    timeout = transport.core.idle_timeout
    if timeout is None:
        return False
    # Less a margin for the way there: a second, or half of a very short time.
    return now - transport.idle_since >= timeout - min(1.0, timeout / 2)
