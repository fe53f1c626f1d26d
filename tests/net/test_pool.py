"""The pool's decisions: limits, order, reuse, expiry. Its connections only say how they are."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from angelia.errors import ServerDisconnectedError
from angelia.net.connection_key import ConnectionKey
from angelia.net.pool import Pool
from angelia.net.transport import Transport
from angelia.net.waiting import MIN_GONE, Line, Waiter, endpoint_of

A = ConnectionKey("a.test", 80, False)
B = ConnectionKey("b.test", 80, False)
C = ConnectionKey("c.test", 80, False)
# The same host, port and scheme as A: one endpoint, but no connection in common.
A2 = A._replace(server_hostname="other.test")


class Core:
    idle_timeout: float | None = None


class Conn:
    """A connection as the pool sees it."""

    def __init__(self, key: ConnectionKey, number: int = 0) -> None:
        self.key = key
        self.number = number
        self.available_streams = 1
        self.idle_since = 0.0
        self.core = Core()
        self.closed = 0

    def __repr__(self) -> str:
        return f"<{self.key.host} #{self.number}>"


class Dial:
    """A task of a dial as the pool sees it."""

    def __init__(self, waiter: Waiter) -> None:
        self.waiter = waiter
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Failed(Exception):
    """Why a dial failed."""


class House:
    """A pool, with a record of what it asked for."""

    def __init__(self, limit: int = 0, limit_per_host: int = 0) -> None:
        self.loop = asyncio.new_event_loop()
        self.dials: list[Dial] = []
        self.closed: list[Conn] = []
        self.count = 0
        self.now = 100.0
        self.on_dial: Callable[[Waiter], None] | None = None
        self.pool = Pool(
            limit=limit,
            limit_per_host=limit_per_host,
            start_dial=self._start_dial,
            close=self._close,
        )

    def _start_dial(self, waiter: Waiter) -> asyncio.Task[None]:
        dial = Dial(waiter)
        self.dials.append(dial)
        if self.on_dial is not None:
            self.on_dial(waiter)
        return cast("asyncio.Task[None]", dial)

    def _close(self, transport: Transport) -> None:
        conn = cast("Conn", transport)
        assert not conn.closed, "closed twice"
        conn.closed += 1
        conn.available_streams = 0
        self.closed.append(conn)

    def wait(self, key: ConnectionKey) -> Waiter:
        return self.pool.wait(key, self.loop.create_future(), None)

    def take(self, key: ConnectionKey) -> Conn | None:
        return cast("Conn | None", self.pool.take(key, self.now))

    def release(self, conn: Conn, *, reuse: bool = True) -> None:
        self.pool.release(cast("Transport", conn), self.now, reuse=reuse)

    def lost(self, conn: Conn) -> None:
        conn.available_streams = 0
        self.pool.lost(cast("Transport", conn))

    def dialled(self, waiter: Waiter) -> Conn:
        """The dial of `waiter` succeeds."""
        self.count += 1
        conn = Conn(waiter.key, self.count)
        self.pool.dialled(waiter, cast("Transport", conn), self.now)
        return conn

    def connect(self, key: ConnectionKey) -> Conn:
        """A new connection that is in use."""
        waiter = self.wait(key)
        conn = self.dialled(waiter)
        assert granted(waiter) is conn
        return conn

    def cancel(self, waiter: Waiter) -> None:
        waiter.future.cancel()
        self.pool.leave(waiter)

    @property
    def running(self) -> list[Waiter]:
        """Who began the dials under way."""
        return list(self.pool._dials)

    def state(self) -> tuple[int, int, int, int]:
        pool = self.pool
        return len(pool.idle), len(pool.active), len(pool._dials), pool.waiting

    def check_empty(self) -> None:
        """Nothing is counted any more."""
        pool = self.pool
        assert self.state() == (0, 0, 0, 0)
        assert not pool._per_host
        assert not pool._dials_by_key
        assert not pool._served_by_dial
        assert not pool._queues
        assert not pool._idle
        assert not pool._idle_by_host


@pytest.fixture
def make() -> Iterator[Callable[..., House]]:
    houses = []

    def make(**limits: int) -> House:
        house = House(**limits)
        houses.append(house)
        return house

    yield make
    for house in houses:
        house.loop.close()


Make = Callable[..., House]


def granted(waiter: Waiter) -> Conn | None:
    """The connection that a waiter got; None while it waits."""
    if not waiter.future.done():
        return None
    return cast("Conn", waiter.future.result())


def is_blocked(waiter: Waiter) -> bool:
    """Whether a waiter waits for a slot."""
    return waiter.blocked


class TestReuse:
    def test_newest_first(self, make: Make) -> None:
        """Idle connections are used newest first, so that those too many can expire."""
        house = make()
        first, second = house.connect(A), house.connect(A)
        house.release(first)
        house.release(second)
        assert house.take(A) is second
        assert house.take(A) is first
        assert house.take(A) is None

    def test_key_matters(self, make: Make) -> None:
        """A connection is used only for its own key."""
        house = make()
        conn = house.connect(A)
        house.release(conn)
        assert house.take(A2) is None
        assert house.take(B) is None
        assert house.take(A) is conn

    def test_dead_ones_are_passed_over(self, make: Make) -> None:
        """A connection that died while idle is closed, and the next one is taken."""
        house = make(limit=2, limit_per_host=2)
        first, second = house.connect(A), house.connect(A)
        house.release(first)
        house.release(second)
        second.available_streams = 0
        assert house.take(A) is first
        assert house.closed == [second]
        house.lost(second)
        house.release(first, reuse=False)
        house.check_empty()

    def test_take_frees_slots(self, make: Make) -> None:
        """A dead connection's slot goes to who needs one, when it is found dead."""
        house = make(limit=1)
        conn = house.connect(A)
        house.release(conn)
        conn.available_streams = 0
        assert house.take(A) is None
        waiter = house.wait(B)
        assert not is_blocked(waiter)

    @pytest.mark.parametrize(("timeout", "good"), [(None, True), (5.0, False), (6.5, True)])
    def test_servers_hint(self, make: Make, timeout: float | None, good: bool) -> None:
        """A connection is not used about when its server said that it closes it."""
        house = make()
        conn = house.connect(A)
        conn.core.idle_timeout = timeout
        house.release(conn)
        house.now += 4.5
        assert (house.take(A) is conn) is good
        assert bool(conn.closed) is not good

    def test_short_hint(self, make: Make) -> None:
        """Of a very short time half is the margin; 0 means no reuse."""
        house = make()
        for timeout, idle, good in ((1.0, 0.4, True), (1.0, 0.6, False), (0.0, 0.0, False)):
            conn = house.connect(A)
            conn.core.idle_timeout = timeout
            house.release(conn)
            house.now += idle
            assert (house.take(A) is conn) is good

    def test_release_is_idempotent(self, make: Make) -> None:
        """A second release, or one after the loss, changes nothing."""
        house = make()
        conn = house.connect(A)
        house.release(conn)
        house.release(conn, reuse=False)
        assert house.state() == (1, 0, 0, 0)
        house.lost(conn)
        house.lost(conn)
        house.release(conn)
        house.check_empty()

    def test_put_back(self, make: Make) -> None:
        """What was taken and not used is idle as before."""
        house = make(limit_per_host=1)
        conn = house.connect(A)
        house.release(conn)
        taken = house.take(A)
        house.pool.put_back(cast("Transport", taken))
        assert house.state() == (1, 0, 0, 0)
        assert house.take(A) is conn

    def test_not_reusable(self, make: Make) -> None:
        """A connection that is done for is closed when released, whatever its holder says."""
        house = make()
        conn = house.connect(A)
        conn.available_streams = 0
        house.release(conn)
        assert house.closed == [conn]
        house.check_empty()


class TestExpiry:
    def test_fake_clock(self, make: Make) -> None:
        """Connections go when they have been idle for the keep-alive time."""
        house = make(limit_per_host=5)
        conns = [house.connect(key) for key in (A, B, A)]
        for i, conn in enumerate(conns):
            house.now = 100.0 + i
            house.release(conn)
        assert house.pool.expire(114.9, 15.0) == 115.0
        assert house.pool.expire(115.0, 15.0) == 116.0
        assert house.closed == conns[:1]
        assert house.pool.expire(200.0, 15.0) is None
        assert house.closed == conns
        house.check_empty()

    def test_use_renews(self, make: Make) -> None:
        """A connection that was used is young again."""
        house = make()
        old, used = house.connect(A), house.connect(A)
        house.release(old)
        house.release(used)
        house.now += 10
        assert house.take(A) is used
        house.release(used)
        assert house.pool.expire(house.now + 5, 15.0) == house.now + 15
        assert house.closed == [old]


class TestLimits:
    def test_everything_counts(self, make: Make) -> None:
        """Connections in use, idle and being dialled count against the limit."""
        house = make(limit=2)
        conn = house.connect(A)
        dialling = house.wait(B)
        assert not is_blocked(dialling)
        third = house.wait(C)
        assert is_blocked(third)
        house.release(conn)
        # The idle connection gave its slot up.
        assert house.closed == [conn]
        assert not is_blocked(third)
        assert house.state() == (0, 0, 2, 2)

    def test_eviction_takes_the_oldest(self, make: Make) -> None:
        """The connection that was idle for longest makes room for another host."""
        house = make(limit=2)
        first, second = house.connect(A), house.connect(B)
        house.release(second)
        house.release(first)
        house.wait(C)
        assert house.closed == [second]

    def test_no_limit(self, make: Make) -> None:
        """0 is no limit."""
        house = make()
        waiters = [house.wait(A) for _ in range(500)]
        assert len(house.dials) == 500
        for waiter in waiters:
            house.dialled(waiter)
        assert house.state() == (0, 500, 0, 0)

    def test_limit_per_host(self, make: Make) -> None:
        """The limit of a host counts host, port and scheme, whatever else differs."""
        house = make(limit_per_host=1)
        house.connect(A)
        for key, blocked in (
            (A, True),
            (A2, True),
            (A._replace(port=81), False),
            (A._replace(is_ssl=True), False),
            (B, False),
        ):
            assert is_blocked(house.wait(key)) is blocked

    def test_host_limit_blocks_only_its_host(self, make: Make) -> None:
        """A waiter that its host's limit holds back does not hold back others behind it."""
        house = make(limit=10, limit_per_host=1)
        conn = house.connect(A)
        held = house.wait(A)
        other = house.wait(B)
        assert is_blocked(held)
        assert not is_blocked(other)
        house.release(conn)
        assert granted(held) is conn

    def test_other_key_of_a_full_host(self, make: Make) -> None:
        """An idle connection of a full host makes room for another key of that host."""
        house = make(limit_per_host=1)
        conn = house.connect(A)
        parked = house.wait(A2)
        assert is_blocked(parked)
        house.release(conn)
        assert house.closed == [conn]
        assert not is_blocked(parked)
        conn2 = house.dialled(parked)
        house.release(conn2)
        assert not is_blocked(house.wait(A))
        assert house.closed == [conn, conn2]

    def test_gone_waiters_take_no_slot(self, make: Make) -> None:
        """A slot that becomes free at a full host goes to the first who still waits there."""
        house = make(limit_per_host=1)
        conn = house.connect(A)
        gone = [house.wait(A2) for _ in range(3)]
        live = house.wait(A2)
        for waiter in gone:
            house.cancel(waiter)
        house.release(conn, reuse=False)
        assert not is_blocked(live)
        assert house.running == [live]

    def test_expiry_serves(self, make: Make) -> None:
        """A slot that expiry frees is given on."""
        house = make(limit_per_host=1)
        conn = house.connect(A)
        conn2 = house.connect(B)
        house.release(conn)
        house.release(conn2)
        house.pool.expire(house.now + 1, 1.0)
        assert not is_blocked(house.wait(A2))


class TestOrder:
    def test_fifo(self, make: Make) -> None:
        """Waiters of one key are served in the order in which they came."""
        house = make(limit=1)
        conn = house.connect(A)
        waiters = [house.wait(A) for _ in range(4)]
        for i, waiter in enumerate(waiters):
            assert granted(waiter) is None
            house.release(conn)
            assert granted(waiter) is conn
            assert all(granted(later) is None for later in waiters[i + 1 :])

    def test_freed_connection_beats_dial(self, make: Make) -> None:
        """A freed connection goes to the first waiter, whose dial goes on for the next."""
        house = make()
        conn = house.connect(A)
        first = house.wait(A)
        second = house.wait(A)
        house.release(conn)
        assert granted(first) is conn
        dialled = house.dialled(first)
        assert granted(second) is dialled
        spare = house.dialled(second)
        assert house.state() == (1, 2, 0, 0)
        assert house.take(A) is spare

    def test_other_key_is_not_starved(self, make: Make) -> None:
        """One who waits for longer gets the slot, though the connection would fit a later one."""
        house = make(limit=1)
        conn = house.connect(A)
        other = house.wait(B)
        same = house.wait(A)
        house.release(conn)
        assert house.closed == [conn]
        assert not is_blocked(other)
        assert granted(same) is None
        house.release(house.dialled(other))
        assert not is_blocked(same)

    def test_later_other_key_does_not_evict(self, make: Make) -> None:
        """While an earlier waiter can use the connection, it does."""
        house = make(limit=1)
        conn = house.connect(A)
        same, other = house.wait(A), house.wait(B)
        house.release(conn)
        assert granted(same) is conn
        assert is_blocked(other)

    def test_settled_waiters_are_passed_over(self, make: Make) -> None:
        """A waiter that was cancelled, or failed, and has not left yet, gets nothing."""
        house = make(limit=1)
        conn = house.connect(A)
        cancelled, failed, live = (house.wait(A) for _ in range(3))
        cancelled.future.cancel()
        failed.abort(Failed())
        house.release(conn)
        assert granted(live) is conn
        assert isinstance(failed.future.exception(), Failed)
        for waiter in (cancelled, failed):
            house.pool.leave(waiter)
        house.release(conn, reuse=False)
        house.check_empty()

    def test_settled_waiters_outrank_nobody(self, make: Make) -> None:
        """One who was cancelled, and has not left yet, costs no connection of another key."""
        house = make(limit=2)
        held = [house.connect(A) for _ in range(2)]
        cancelled, live = house.wait(B), house.wait(A)
        cancelled.future.cancel()
        house.release(held[0])
        assert granted(live) is held[0]
        assert not house.running
        house.pool.leave(cancelled)
        for conn in held:
            house.release(conn, reuse=False)
        house.check_empty()


class TestDials:
    def test_failure_goes_to_its_waiter(self, make: Make) -> None:
        """Who began a dial that fails is told, and the slot is free again."""
        house = make(limit=1)
        waiter, other = house.wait(A), house.wait(B)
        house.pool.dial_failed(waiter, Failed())
        assert isinstance(waiter.future.exception(), Failed)
        assert not is_blocked(other)
        house.pool.dial_failed(other, Failed())
        assert other.future.exception() is not None
        house.check_empty()

    def test_failure_of_a_served_waiters_dial(self, make: Make) -> None:
        """Who counts on a dial is told of its failure when the one who began it is served."""
        house = make()
        first, second = house.wait(A), house.wait(A)
        conn = house.dialled(second)
        assert granted(first) is conn
        house.pool.dial_failed(first, Failed())
        assert isinstance(second.future.exception(), Failed)

    def test_failure_that_nobody_counts_on(self, make: Make) -> None:
        """A dial that fails when all are served fails in silence."""
        house = make()
        conn = house.connect(A)
        waiter = house.wait(A)
        house.release(conn)
        assert granted(waiter) is conn
        house.pool.dial_failed(waiter, Failed())
        house.release(conn, reuse=False)
        house.check_empty()

    def test_failure_for_an_aborted_waiter(self, make: Make) -> None:
        """A dial that fails after its waiter's timeout, before that has left, is counted once."""
        house = make()
        first, second = house.wait(A), house.wait(A)
        first.abort(Failed("timeout"))
        house.pool.dial_failed(first, Failed("refused"))
        assert not second.future.done()
        house.pool.leave(first)
        conn = house.dialled(second)
        assert granted(second) is conn
        assert str(first.future.exception()) == "timeout"
        house.release(conn, reuse=False)
        house.check_empty()

    def test_orphan_is_used(self, make: Make) -> None:
        """A dial outlives its waiter: what it makes is idle for the next request, or granted."""
        house = make(limit=1)
        waiter = house.wait(A)
        house.cancel(waiter)
        later = house.wait(A)
        # Not cancelled for its own key: what it makes will do.
        assert is_blocked(later)
        conn = house.dialled(waiter)
        assert granted(later) is conn
        house.release(conn)
        waiter = house.wait(A)
        assert house.take(A) is None

    def test_orphan_gives_way(self, make: Make) -> None:
        """A dial that nobody waits for is cancelled when its slot is needed for another key."""
        house = make(limit=1)
        waiter = house.wait(A)
        blocked = house.wait(B)
        assert is_blocked(blocked)
        house.cancel(waiter)
        assert house.dials[0].cancelled
        assert not is_blocked(blocked)
        # It may end in either way, and late: that frees no slot a second time.
        house.pool.dial_failed(waiter, Failed())
        late = Conn(A)
        house.pool.dialled(waiter, cast("Transport", late), house.now)
        assert late.closed
        assert house.state() == (0, 0, 1, 1)

    def test_orphan_of_a_full_host(self, make: Make) -> None:
        """At a full host a dial that nobody waits for gives way to another key of that host."""
        house = make(limit_per_host=1)
        elsewhere = house.wait(B)
        house.cancel(elsewhere)
        waiter = house.wait(A)
        blocked = house.wait(A2)
        house.cancel(waiter)
        assert [dial.cancelled for dial in house.dials] == [False, True, False]
        assert not is_blocked(blocked)

    def test_dialled_and_lost(self, make: Make) -> None:
        """A connection that was lost as soon as it was made is an error, not a reason to go on."""
        house = make(limit=1)
        waiter = house.wait(A)
        conn = Conn(A)
        conn.available_streams = 0
        house.pool.dialled(waiter, cast("Transport", conn), house.now)
        assert isinstance(waiter.future.exception(), ServerDisconnectedError)
        assert house.closed == [conn]
        house.check_empty()

    def test_dial_that_ends_at_once(self, make: Make) -> None:
        """A dial may succeed or fail while it is started, as with eager tasks, a thousand times."""
        house = make(limit=1)
        conn = house.connect(A)
        waiters = [house.wait(B) for _ in range(2000)]
        house.on_dial = lambda waiter: house.pool.dial_failed(waiter, Failed())
        house.release(conn)
        assert all(isinstance(waiter.future.exception(), Failed) for waiter in waiters)
        house.check_empty()
        made = []
        house.on_dial = lambda waiter: made.append(house.dialled(waiter))
        waiter = house.wait(A)
        assert [granted(waiter)] == made

    def test_close(self, make: Make) -> None:
        """The end fails all waiters with an error each, cancels dials and hands out connections."""
        house = make(limit=3, limit_per_host=2)
        idle, active = house.connect(A), house.connect(B)
        house.release(idle)
        waiters = [house.wait(C), house.wait(C), house.wait(A2), house.wait(B)]
        closing: list[Any] = list(house.pool.close(Failed))
        assert closing == [active]
        errors = [waiter.future.exception() for waiter in waiters]
        assert all(isinstance(error, Failed) for error in errors)
        assert len(set(map(id, errors))) == 4
        assert all(dial.cancelled for dial in house.dials[2:])
        for waiter in waiters:
            house.pool.leave(waiter)
            house.pool.dial_failed(waiter, Failed())
        late = Conn(C)
        house.pool.dialled(waiters[0], cast("Transport", late), house.now)
        assert late.closed
        house.lost(active)
        house.check_empty()

    def test_repr(self, make: Make) -> None:
        """The representation tells the state."""
        house = make(limit=1)
        waiter = house.wait(A)
        assert repr(house.pool) == "<Pool idle=0 active=0 dialling=1 waiting=1>"
        assert repr(waiter) == "<Waiter 0 a.test dialling>"
        assert repr(house.wait(B)) == "<Waiter 1 b.test blocked>"
        house.cancel(waiter)
        assert repr(waiter) == "<Waiter 0 a.test settled>"
        assert house.pool.queue_lengths() == {B: 1}


class TestCost:
    def test_flat(self, make: Make) -> None:
        """A request costs as many steps however many connections and waiters there are."""

        def steps(number: int) -> Counter[str]:
            house = make(limit=2 * number, limit_per_host=number + 1)
            held = [house.connect(A) for _ in range(number)]
            for conn in [house.connect(B) for _ in range(number)]:
                house.release(conn)
            for _ in range(number):
                house.wait(A2)
            house.wait(A)
            lines: Counter[str] = Counter()

            def trace(frame: FrameType, event: str, argument: Any) -> Any:
                if event == "line" and "/net/" in frame.f_code.co_filename:
                    lines[frame.f_code.co_name] += 1
                return trace

            # What measures coverage may have one, too.
            before = sys.gettrace()
            sys.settrace(trace)
            try:
                taken = house.take(B)
                assert taken is not None
                house.release(taken)
                for conn in held[:3]:
                    house.release(conn)
                waiter = house.wait(C)
                house.cancel(waiter)
                house.pool.expire(house.now, 10.0)
                house.lost(house.connect(B))
            finally:
                sys.settrace(before)
            return lines

        few, many = steps(10), steps(300)
        # The order of waiters costs a logarithm.
        assert many.pop("__lt__") < 4 * few.pop("__lt__")
        assert few == many

    def test_gone_waiters_are_forgotten(self, make: Make) -> None:
        """Waiters that time out at a full host leave nothing behind, however many they are."""
        house = make(limit_per_host=1)
        conn = house.connect(A)
        for waiter in [house.wait(A) for _ in range(10 * MIN_GONE)]:
            house.cancel(waiter)
        line = house.pool._line
        kept = len(line.front) + sum(map(len, line._parked.values()))
        assert kept <= MIN_GONE + 1
        last = house.wait(A)
        house.release(conn)
        assert granted(last) is conn

    def test_line_forgets_in_order(self) -> None:
        """Tidying up keeps the order of those who still wait."""
        line = Line()
        loop = asyncio.new_event_loop()
        waiters = [Waiter(A, loop.create_future(), None, i) for i in range(4 * MIN_GONE)]
        for waiter in waiters:
            line.join(waiter)
        while line.first():
            line.park()
        for waiter in waiters[::2] + waiters[1::4]:
            line.leave(waiter)
        order = []
        line.call(endpoint_of(A))
        while (first := line.first()) is not None:
            order.append(first)
            line.advance()
            line.call(endpoint_of(A))
        assert order == waiters[3::4]
        assert len(line) == 0
        loop.close()


# --- any sequence --------------------------------------------------------------------------------


class AnySequence(RuleBasedStateMachine):
    """Any sequence of what can happen to a pool, against what must always hold."""

    keys = (A, A2, B, C)

    def __init__(self, limit: int = 3, limit_per_host: int = 2) -> None:
        super().__init__()
        self.house = House(limit=limit, limit_per_host=limit_per_host)
        # Waiters that have not left, those of them whose wait has ended, and who holds what.
        self.waiters: list[Waiter] = []
        self.held: list[Conn] = []
        self.all: list[Conn] = []

    def teardown(self) -> None:
        try:
            self.end()
        finally:
            self.house.loop.close()

    def end(self) -> None:
        """When all have what they want, or an error, and have gone, nothing is left."""
        house = self.house
        turns = 0
        while self.held or self.waiters or house.running:
            turns += 1
            assert turns < 1000, "somebody waits for ever"
            self.collect()
            while self.held:
                house.release(self.held.pop())
            if house.running:
                house.pool.dial_failed(house.running[0], Failed())
        house.pool.expire(house.now + 1000, 1.0)
        house.check_empty()

    def collect(self) -> None:
        """Let those whose wait has ended go on."""
        for waiter in list(self.waiters):
            if waiter.future.done():
                self.waiters.remove(waiter)
                self.house.pool.leave(waiter)
                if waiter.future.cancelled():
                    continue
                if waiter.future.exception() is None:
                    self.held.append(cast("Conn", waiter.future.result()))

    @property
    def waiting(self) -> list[Waiter]:
        return [waiter for waiter in self.waiters if not waiter.future.done()]

    def pick(self, items: list[Any], number: int) -> Any:
        return items[number % len(items)]

    @rule(key=st.sampled_from(keys))
    def request(self, key: ConnectionKey) -> None:
        conn = self.house.take(key)
        if conn is not None:
            assert conn.available_streams
            self.held.append(conn)
        else:
            self.waiters.append(self.house.wait(key))

    @precondition(lambda self: self.held)
    @rule(number=st.integers(0, 50), reuse=st.booleans())
    def release(self, number: int, reuse: bool) -> None:
        conn = self.pick(self.held, number)
        self.held.remove(conn)
        self.house.release(conn, reuse=reuse)

    @precondition(lambda self: self.waiting)
    @rule(number=st.integers(0, 50), how=st.sampled_from(["cancel", "abort", "cancel later"]))
    def give_up(self, number: int, how: str) -> None:
        waiter = self.pick(self.waiting, number)
        if how == "abort":
            waiter.abort(Failed())
            waiter.future.exception()
        else:
            waiter.future.cancel()
        if how != "cancel later":
            self.waiters.remove(waiter)
            self.house.pool.leave(waiter)

    @rule()
    def go_on(self) -> None:
        self.collect()

    @precondition(lambda self: any(w.future.done() for w in self.waiters))
    @rule()
    def granted_and_cancelled(self) -> None:
        """A connection was granted in the same turn in which its waiter was cancelled."""
        for waiter in list(self.waiters):
            future = waiter.future
            if future.done() and not future.cancelled() and future.exception() is None:
                self.waiters.remove(waiter)
                self.house.pool.leave(waiter)
                self.house.release(cast("Conn", future.result()))
                return

    @precondition(lambda self: self.house.running)
    @rule(number=st.integers(0, 50), dead=st.booleans())
    def dial_succeeds(self, number: int, dead: bool) -> None:
        waiter = self.pick(self.house.running, number)
        conn = Conn(waiter.key)
        conn.available_streams = 0 if dead else 1
        self.all.append(conn)
        self.house.pool.dialled(waiter, cast("Transport", conn), self.house.now)

    @precondition(lambda self: self.house.running)
    @rule(number=st.integers(0, 50))
    def dial_fails(self, number: int) -> None:
        self.house.pool.dial_failed(self.pick(self.house.running, number), Failed())

    @precondition(lambda self: self.house.dials)
    @rule(number=st.integers(0, 50), made=st.booleans())
    def cancelled_dial_ends(self, number: int, made: bool) -> None:
        """A dial that was cancelled ends some time later, perhaps with a connection."""
        dial = self.pick(self.house.dials, number)
        if dial.cancelled:
            if made:
                conn = Conn(dial.waiter.key)
                self.house.pool.dialled(dial.waiter, cast("Transport", conn), self.house.now)
                assert conn.closed
            else:
                self.house.pool.dial_failed(dial.waiter, Failed())

    @precondition(lambda self: self.all)
    @rule(number=st.integers(0, 50), told=st.booleans())
    def dies(self, number: int, told: bool) -> None:
        conn = self.pick(self.all, number)
        conn.available_streams = 0
        if told:
            self.all.remove(conn)
            self.house.lost(conn)

    @rule(seconds=st.floats(0, 10))
    def time_passes(self, seconds: float) -> None:
        self.house.now += seconds
        self.house.pool.expire(self.house.now, 15.0)

    # --- what must hold ---

    @invariant()
    def limits_hold(self) -> None:
        """No limit is ever exceeded, idle connections and dials included."""
        pool = self.house.pool
        assert not pool.limit or pool.size <= pool.limit
        open_ = [conn.key for conn in (*pool.idle, *pool.active)] + [w.key for w in pool._dials]
        counted = Counter(endpoint_of(key) for key in open_ if key is not None)
        assert counted == pool._per_host
        if pool.limit_per_host:
            assert all(number <= pool.limit_per_host for number in counted.values())

    @invariant()
    def counters_agree(self) -> None:
        """What is counted is what there is."""
        pool = self.house.pool
        assert Counter(w.key for w in pool._dials) == pool._dials_by_key
        queued = [waiter for queue in pool._queues.values() for waiter in queue]
        unblocked = Counter(waiter.key for waiter in queued if not waiter.blocked)
        assert unblocked == pool._served_by_dial
        assert pool._awaited == unblocked.total()
        assert len(pool._line) == sum(waiter.blocked for waiter in queued)
        # One who has not left yet may have lost its dial already.
        live = Counter(w.key for w in queued if not w.blocked and not w.future.done())
        assert all(live[key] <= pool._dials_by_key[key] for key in live)
        assert sum(map(len, pool._idle.values())) == len(pool.idle)

    @invariant()
    def connections_have_one_holder(self) -> None:
        """A connection is held by one, or granted to one, or idle; and then it was not closed."""
        pool = self.house.pool
        promised = [
            waiter.future.result()
            for waiter in self.waiters
            if waiter.future.done()
            and not waiter.future.cancelled()
            and waiter.future.exception() is None
        ]
        holders = Counter(map(id, [*self.held, *promised]))
        assert all(number == 1 for number in holders.values())
        assert all(id(conn) in holders for conn in pool.active)
        assert not {id(conn) for conn in pool.idle} & set(holders)
        assert not any(cast("Conn", conn).closed for conn in (*pool.idle, *pool.active))

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        """While there is room, or something that must make room, nobody waits for it."""
        pool = self.house.pool
        room = not pool.limit or pool.size < pool.limit
        waiting = self.waiting
        for waiter in waiting:
            assert waiter in pool._queues[waiter.key]
            assert waiter.key not in pool._idle
            if not waiter.blocked:
                assert pool._dials_by_key[waiter.key]
                continue
            endpoint = endpoint_of(waiter.key)
            if not pool._host_is_full(endpoint):
                assert not room
                assert not pool.idle
            else:
                assert endpoint not in pool._idle_by_host

    @invariant()
    def order_is_kept(self) -> None:
        """Of one key, whoever still waits came after all who were granted a connection."""
        for waiter in self.waiting:
            for other in self.waiters:
                future = other.future
                if other.key == waiter.key and future.done() and not future.cancelled():
                    assert future.exception() is not None or other < waiter


class Unlimited(AnySequence):
    def __init__(self) -> None:
        super().__init__(limit=0, limit_per_host=0)


class OnlyInAll(AnySequence):
    def __init__(self) -> None:
        super().__init__(limit=2, limit_per_host=0)


class OnlyPerHost(AnySequence):
    def __init__(self) -> None:
        super().__init__(limit=0, limit_per_host=1)


class One(AnySequence):
    def __init__(self) -> None:
        super().__init__(limit=1, limit_per_host=1)


for machine in (AnySequence, Unlimited, OnlyInAll, OnlyPerHost, One):
    machine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)

TestAnySequence = AnySequence.TestCase
TestUnlimited = Unlimited.TestCase
TestOnlyInAll = OnlyInAll.TestCase
TestOnlyPerHost = OnlyPerHost.TestCase
TestOne = One.TestCase


def test_no_cycles(make: Make) -> None:
    """Nothing that has gone through the pool needs the cycle collector."""
    house = make(limit=1)
    gc.collect()
    gc.disable()
    try:
        conn = house.connect(A)
        waiters = [house.wait(A), house.wait(B)]
        house.release(conn)
        for waiter in waiters:
            house.cancel(waiter)
        house.release(conn, reuse=False)
        del conn, waiters, waiter
        house.dials.clear()
        house.closed.clear()
        assert gc.collect() == 0
    finally:
        gc.enable()
