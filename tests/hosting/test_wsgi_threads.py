"""Tests of angelia.hosting.wsgi_threads."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar

import pytest

from angelia.hosting.wsgi_threads import CallThreads
from hosting.wsgi_kit import PATIENCE

variable: ContextVar[str] = ContextVar("variable", default="none")


class Waiting:
    """A call that waits until it may end, and tells where it ran."""

    def __init__(self) -> None:
        self.begun, self.gate = threading.Event(), threading.Event()
        self.thread: threading.Thread | None = None
        self.found = ""

    def run(self) -> None:
        self.thread = threading.current_thread()
        self.found = variable.get()
        variable.set("changed")
        self.begun.set()
        assert self.gate.wait(PATIENCE)


async def begun(call: Waiting) -> threading.Thread:
    assert await asyncio.to_thread(call.begun.wait, PATIENCE)
    assert call.thread is not None
    return call.thread


async def test_as_many_as_needed() -> None:
    """There are as many threads as calls at once, up to the bound; the rest waits its turn."""
    threads: CallThreads[Waiting] = CallThreads(2)
    calls = [Waiting() for _ in range(4)]
    for call in calls:
        threads.submit(call)
    assert len(threads) == 4
    first, second = [await begun(call) for call in calls[:2]]
    assert first is not second
    assert not calls[2].begun.is_set()
    calls[0].gate.set()
    assert await begun(calls[2]) is first
    calls[1].gate.set()
    assert await begun(calls[3]) is second
    for call in calls:
        call.gate.set()
    assert await threads.close(PATIENCE) == ()
    assert len(threads) == 0
    for thread in (first, second):
        await asyncio.to_thread(thread.join, PATIENCE)
        assert not thread.is_alive()


async def test_one_wakes_the_next() -> None:
    """Calls of one turn all begin, also those behind one that waits, in threads that were idle."""
    threads: CallThreads[Waiting] = CallThreads(3)
    for _ in range(3):
        calls = [Waiting() for _ in range(3)]
        for call in calls:
            threads.submit(call)
        assert len({await begun(call) for call in calls}) == 3
        for call in calls:
            call.gate.set()
        await threads._wait(PATIENCE)
    await threads.close(PATIENCE)


class Short:
    """A call that ends at once."""

    def __init__(self, done: list[int], number: int) -> None:
        self.done, self.number = done, number

    def run(self) -> None:
        self.done.append(self.number)


@pytest.mark.parametrize("size", [1, 2, 8])
async def test_many(size: int) -> None:
    """None of many short calls is left over, however they fall into turns."""
    threads: CallThreads[Short] = CallThreads(size)
    done: list[int] = []
    for number in range(3000):
        threads.submit(Short(done, number))
        if not number % 7 or number % 11 < 3:
            await asyncio.sleep(0)
    assert await threads.close(PATIENCE) == ()
    assert sorted(done) == list(range(3000))


async def test_context() -> None:
    """Each call has the context of who submits it, and what it changes is its own."""
    threads: CallThreads[Waiting] = CallThreads(1)
    variable.set("here")
    calls = [Waiting() for _ in range(2)]
    for call in calls:
        call.gate.set()
        threads.submit(call)
    await threads.close(PATIENCE)
    assert [call.found for call in calls] == ["here", "here"]
    assert variable.get() == "here"


async def test_close() -> None:
    """What goes on is told, what has not begun never does; closing again waits for the rest."""
    threads: CallThreads[Waiting] = CallThreads(1)
    hanging, queued = Waiting(), Waiting()
    threads.submit(hanging)
    threads.submit(queued)
    thread = await begun(hanging)
    assert await threads.close(0) == (hanging,)
    closing = [asyncio.create_task(threads.close(PATIENCE)) for _ in range(2)]
    await asyncio.sleep(0)
    hanging.gate.set()
    assert [await each for each in closing] == [(), ()]
    await asyncio.to_thread(thread.join, PATIENCE)
    assert not queued.begun.is_set()


async def test_let_go() -> None:
    """Threads end with the object that has them, were it never closed."""
    threads: CallThreads[Waiting] = CallThreads(2)
    calls = [Waiting() for _ in range(2)]
    for call in calls:
        threads.submit(call)
    started = [await begun(call) for call in calls]
    del threads
    for call in calls:
        call.gate.set()
    for thread in started:
        await asyncio.to_thread(thread.join, PATIENCE)
        assert not thread.is_alive()


async def test_end_after_the_loop() -> None:
    """A call that ends when the loop is gone harms nobody."""
    call = Waiting()

    async def main() -> Callable[[], None]:
        threads: CallThreads[Waiting] = CallThreads(1)
        threads.submit(call)
        closing = asyncio.create_task(threads.close(PATIENCE))
        await asyncio.sleep(0)
        # A thread may have taken note of who is to be told, and come to it too late.
        (watcher,) = threads._work.watchers
        closing.cancel()
        return watcher

    watcher = await asyncio.to_thread(asyncio.run, main())
    watcher()
    call.gate.set()


HANGS = """
import asyncio, threading
from angelia.hosting.wsgi_threads import CallThreads

class Hanging:
    def run(self):
        begun.set()
        threading.Event().wait()

async def main():
    threads = CallThreads(1)
    threads.submit(Hanging())
    await asyncio.to_thread(begun.wait)
    print(len(await threads.close(0)))

begun = threading.Event()
asyncio.run(main())
"""


@pytest.mark.deadline(PATIENCE)
async def test_process_ends() -> None:
    """A call that hangs does not keep the process."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", HANGS],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")
