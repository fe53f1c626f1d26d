"""Deadlines: when a request's time is over, and what that costs."""

from __future__ import annotations

import asyncio
import math
import weakref
from typing import cast

import pytest

from angelia.errors import TotalTimeoutError
from angelia.net.deadlines import Deadline, Deadlines
from angelia.net.timings import DialTimings, Timings


class Work:
    """Something that can be aborted."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    def abort(self, error: BaseException) -> None:
        self.errors.append(error)


class Timer:
    """A handle of a loop whose time the test tells."""

    def __init__(self, when: float) -> None:
        self.when = when
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """As much of an event loop as deadlines use."""

    def __init__(self) -> None:
        self.timers: list[tuple[Timer, object, tuple[object, ...]]] = []

    def call_at(self, when: float, callback: object, *args: object) -> Timer:
        timer = Timer(when)
        self.timers.append((timer, callback, args))
        return timer

    def reach(self, now: float) -> None:
        """Run what is due."""
        for entry in list(self.timers):
            timer, callback, args = entry
            if timer.when <= now:
                self.timers.remove(entry)
                if not timer.cancelled:
                    callback(*args)  # type: ignore[operator]  # it is callable

    @property
    def pending(self) -> list[float]:
        return [timer.when for timer, _, _ in self.timers if not timer.cancelled]


def begin(
    deadlines: Deadlines, seconds: float, now: float, threshold: float = 5
) -> tuple[Deadline, Work]:
    work = Work()
    deadline = deadlines.start(seconds, threshold, now)
    deadline.target = work
    return deadline, work


class TestExpiry:
    def test_short_ones_are_exact(self) -> None:
        """A deadline up to the threshold is not rounded."""
        clock = Clock()
        deadlines = Deadlines(cast("asyncio.AbstractEventLoop", clock))
        for seconds in (0.25, 5.0):
            deadline, work = begin(deadlines, seconds, 100.1)
            assert clock.pending == [100.1 + seconds]
            clock.reach(100.1 + seconds - 0.001)
            assert not work.errors
            clock.reach(100.1 + seconds)
            assert [type(error) for error in work.errors] == [TotalTimeoutError]
            assert deadline.expired

    def test_long_ones_share_a_timer(self) -> None:
        """Those beyond it are rounded up to a whole second, and share its timer."""
        clock = Clock()
        deadlines = Deadlines(cast("asyncio.AbstractEventLoop", clock))
        works = [begin(deadlines, 300, 100.0 + i / 1000)[1] for i in range(1, 1000)]
        assert clock.pending == [401]
        clock.reach(400.9)
        assert not any(work.errors for work in works)
        clock.reach(401)
        assert all(len(work.errors) == 1 for work in works)
        assert len({id(work.errors[0]) for work in works}) == len(works)

    def test_threshold(self) -> None:
        """The threshold is the caller's."""
        clock = Clock()
        deadlines = Deadlines(cast("asyncio.AbstractEventLoop", clock))
        begin(deadlines, 2.5, 100.2, threshold=2)
        begin(deadlines, 8.5, 100.2, threshold=10)
        assert clock.pending == [103, 108.7]

    def test_cancel(self) -> None:
        """A deadline of a request that is over tells nobody, and holds nothing."""
        clock = Clock()
        deadlines = Deadlines(cast("asyncio.AbstractEventLoop", clock))
        for seconds in (1.0, 300.0):
            deadline, work = begin(deadlines, seconds, 100.0)
            deadline.cancel()
            deadline.cancel()
            gone = weakref.ref(work)
            clock.reach(1000.0)
            assert not work.errors
            assert not deadline.expired
            del work
            assert gone() is None

    def test_cancelled_by_another(self) -> None:
        """Of two of one second, one may end the other's request."""
        clock = Clock()
        deadlines = Deadlines(cast("asyncio.AbstractEventLoop", clock))
        first, _ = begin(deadlines, 300.0, 100.0)
        second, work = begin(deadlines, 300.0, 100.0)

        class Ender:
            def abort(self, error: BaseException) -> None:
                for deadline in (first, second):
                    deadline.cancel()

        first.target = Ender()
        clock.reach(400)
        assert len(work.errors) <= 1

    def test_check(self) -> None:
        """A deadline that is over when something begins is raised at once, each time anew."""
        clock = Clock()
        deadline, _ = begin(Deadlines(cast("asyncio.AbstractEventLoop", clock)), 1.0, 100.0)
        deadline.check()
        deadline.target = None
        clock.reach(101.0)
        errors = []
        for _ in range(2):
            with pytest.raises(TotalTimeoutError, match="1 seconds") as info:
                deadline.check()
            errors.append(info.value)
        assert errors[0] is not errors[1]
        assert isinstance(errors[0], asyncio.TimeoutError)

    def test_close(self) -> None:
        """The end cancels timers without deadlines; a deadline still running expires in time."""
        clock = Clock()
        deadlines = Deadlines(cast("asyncio.AbstractEventLoop", clock))
        over, _ = begin(deadlines, 200.0, 100.0)
        running, work = begin(deadlines, 300.0, 100.0)
        over.cancel()
        deadlines.close()
        assert clock.pending == [400]
        clock.reach(400)
        assert len(work.errors) == 1
        running.cancel()

    def test_endless(self) -> None:
        """An infinite deadline is none."""
        clock = Clock()
        deadline, _ = begin(Deadlines(cast("asyncio.AbstractEventLoop", clock)), math.inf, 100.0)
        assert clock.pending == []
        deadline.check()
        deadline.cancel()

    def test_memory(self) -> None:
        """Deadlines that were cancelled leave at most one timer for each second behind."""
        clock = Clock()
        deadlines = Deadlines(cast("asyncio.AbstractEventLoop", clock))
        works = weakref.WeakSet[Work]()
        for i in range(10_000):
            deadline, work = begin(deadlines, 300.0, 100.0 + i / 1000)
            works.add(work)
            deadline.cancel()
            del work
        assert len(clock.timers) <= 11
        assert not works


async def test_on_a_real_loop(loop_kind: str) -> None:
    """Deadlines expire on both kinds of loops."""
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    future = loop.create_future()

    class Waiting:
        def abort(self, error: BaseException) -> None:
            future.set_exception(error)

    deadline = deadlines.start(0.01, 5, loop.time())
    deadline.target = Waiting()
    with pytest.raises(TotalTimeoutError):
        await future
    rounded = deadlines.start(0.01, 0, loop.time())
    rounded.cancel()
    deadlines.close()


def test_timings() -> None:
    """What a request took is a plain value; what did not happen is None."""
    dial = DialTimings()
    assert (dial.dns, dial.connect, dial.tls) == (None, None, None)
    timings = Timings(0.1, None, None, None, 0.2, None)
    assert timings.queue == 0.1
    assert timings.total is None
