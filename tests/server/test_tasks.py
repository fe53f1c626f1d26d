"""Handlers' tasks: a handler cannot tell that its first step was taken without the event loop."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from angelia.server.tasks import HandlerTasks, KeptTasks, handler_tasks
from turns import turns

Handling = Coroutine[Any, Any, None]

kept_only = pytest.mark.skipif(sys.version_info >= (3, 12), reason="tasks are not kept")

variable: ContextVar[str] = ContextVar("variable", default="new")


async def ready() -> HandlerTasks:
    """Tasks of which one is parked."""
    tasks = handler_tasks(asyncio.get_running_loop())
    await begin(tasks, nothing())
    await turns()
    return tasks


async def nothing() -> None:
    """Ends at once."""


async def begin(tasks: HandlerTasks, handling: Handling) -> asyncio.Task[None] | None:
    """Start a handler as a protocol does: outside of any task."""
    loop = asyncio.get_running_loop()
    started: asyncio.Future[asyncio.Task[None] | None] = loop.create_future()

    def start() -> None:
        try:
            started.set_result(tasks.start(handling, copy_context()))
        except BaseException as error:  # noqa: BLE001 - it is the test's
            started.set_exception(error)

    loop.call_soon(start)
    return await started


async def end(task: asyncio.Task[None] | None) -> None:
    """Wait until a task runs no handler any more."""
    assert task is not None
    await turns()


class TestFirstStep:
    async def test_at_once(self) -> None:
        """A handler that waits for nothing has ended when `start` returns."""
        tasks = await ready()
        done: list[str] = []

        async def handler() -> None:
            done.append("x")

        assert await begin(tasks, handler()) is None
        assert done == ["x"]
        await tasks.close()

    async def test_one_task(self) -> None:
        """The current task is the same one before and after the handler waited."""
        tasks = await ready()
        seen = []

        async def handler() -> None:
            for _ in range(3):
                task = asyncio.current_task()
                assert task is not None
                seen.append(id(task))
                await asyncio.sleep(0)

        task = await begin(tasks, handler())
        await end(task)
        assert seen == [id(task)] * 3
        await tasks.close()

    async def test_values(self) -> None:
        """What is waited for arrives: results and errors."""
        tasks = await ready()
        loop = asyncio.get_running_loop()
        result, failure = loop.create_future(), loop.create_future()
        seen: list[Any] = []

        async def handler() -> None:
            seen.append(await result)
            try:
                await failure
            except ValueError as error:
                seen.append(str(error))

        task = await begin(tasks, handler())
        result.set_result(1)
        failure.set_exception(ValueError("2"))
        await end(task)
        assert seen == [1, "2"]
        await tasks.close()

    async def test_shared_future(self) -> None:
        """Several handlers may wait for the same future."""
        tasks = await ready()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        seen = []

        async def handler() -> None:
            seen.append(await future)

        for _ in range(3):
            loop.call_soon(lambda: tasks.start(handler(), copy_context()))
        await turns()
        future.set_result(1)
        await turns()
        assert seen == [1, 1, 1]
        await tasks.close()

    async def test_inside_a_task(self) -> None:
        """Where a task runs already the handler gets one of its own, too."""
        tasks = await ready()
        seen = []

        async def handler() -> None:
            seen.append(asyncio.current_task())

        tasks.start(handler(), copy_context())
        await turns()
        assert len(seen) == 1
        assert seen[0] is not asyncio.current_task()
        seen.clear()
        await tasks.close()

    async def test_task_factory(self) -> None:
        """A loop's task factory makes the tasks."""
        tasks = await ready()
        loop = asyncio.get_running_loop()
        made = []

        def factory(
            loop: asyncio.AbstractEventLoop, coro: Any, **options: Any
        ) -> asyncio.Task[Any]:
            made.append(coro)
            return asyncio.Task(coro, loop=loop, **options)

        loop.set_task_factory(factory)
        handling = nothing()
        await begin(tasks, handling)
        loop.set_task_factory(None)
        assert made == [handling]
        await turns()
        await tasks.close()

    @pytest.mark.parametrize("waits", [False, True])
    async def test_plain_factory(self, waits: bool) -> None:
        """A factory that knows of no contexts makes tasks, too, each with a context of its own."""
        tasks = await ready()
        loop = asyncio.get_running_loop()
        seen = []

        async def handler() -> None:
            seen.append(variable.get())
            variable.set("mine")
            if waits:
                await asyncio.sleep(0)
            seen.append(variable.get())

        def factory(loop: asyncio.AbstractEventLoop, coro: Any) -> asyncio.Task[Any]:
            return asyncio.Task(coro, loop=loop)

        loop.set_task_factory(factory)
        try:
            for _ in range(2):
                await begin(tasks, handler())
                await turns()
        finally:
            loop.set_task_factory(None)
        assert seen == ["new", "mine"] * 2
        await tasks.close()

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks")
    async def test_eager_factory(self) -> None:
        """A handler that has ended at once needs no task, whoever made its task."""
        tasks = await ready()
        loop = asyncio.get_running_loop()
        loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - not in 3.11
        try:
            assert await begin(tasks, nothing()) is None
        finally:
            loop.set_task_factory(None)
        await tasks.close()

    @kept_only
    async def test_interrupt(self) -> None:
        """Ctrl-C in a handler is no matter of the handler."""
        tasks = await ready()

        async def handler() -> None:
            raise KeyboardInterrupt

        loop = asyncio.get_running_loop()
        raised = []

        def start() -> None:
            try:
                tasks.start(handler(), copy_context())
            except KeyboardInterrupt:
                raised.append(True)

        loop.call_soon(start)
        await turns()
        assert raised == [True]
        await tasks.close()


class TestContext:
    async def test_own(self) -> None:
        """A handler keeps what it sets; no other one sees it, nor who started it."""
        tasks = await ready()
        seen = []

        async def handler(name: str) -> None:
            seen.append(variable.get())
            variable.set(name)
            await asyncio.sleep(0)
            seen.append(variable.get())
            variable.set("later")
            await asyncio.sleep(0)
            seen.append(variable.get())

        for name in ("a", "b"):
            await end(await begin(tasks, handler(name)))
        assert seen == ["new", "a", "later", "new", "b", "later"]
        assert variable.get() == "new"
        await tasks.close()

    async def test_given(self) -> None:
        """It begins with the context that it is given."""
        tasks = await ready()
        context = copy_context()
        context.run(variable.set, "given")
        seen = []

        async def handler() -> None:
            seen.append(variable.get())
            await asyncio.sleep(0)
            seen.append(variable.get())

        asyncio.get_running_loop().call_soon(lambda: tasks.start(handler(), context))
        await turns()
        assert seen == ["given", "given"]
        await tasks.close()


async def cancelled_by(tasks: HandlerTasks, handling: Handling, turns_before: int) -> None:
    """Cancel a handler some turns after its first step."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()

    def cancel(task: asyncio.Task[None] | None, left: int) -> None:
        if left:
            loop.call_soon(cancel, task, left - 1)
            return
        assert task is not None
        task.cancel()
        over.set_result(None)

    loop.call_soon(lambda: cancel(tasks.start(handling, copy_context()), turns_before))
    await over
    await turns()


class TestCancellation:
    @pytest.mark.parametrize("turns_before", range(4))
    async def test_by_others(self, turns_before: int) -> None:
        """A handler is cancelled where it waits, and with it what it waits for."""
        tasks = await ready()
        seen = []

        async def inner() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("inner")
                raise

        async def handler() -> None:
            waited_for = asyncio.ensure_future(inner())
            try:
                await waited_for
            except asyncio.CancelledError:
                seen.append("outer")
                raise

        async def at_once() -> None:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                seen.append("at once")
                raise

        await cancelled_by(tasks, at_once(), turns_before)
        assert seen == ["at once"]
        seen.clear()
        await begin(tasks, nothing())
        await turns()
        await cancelled_by(tasks, handler(), turns_before)
        # One that has not begun yet has nothing to say.
        assert seen in (["outer"], ["inner", "outer"])
        await turns()
        await tasks.close()

    @pytest.mark.parametrize("turns_before", range(3))
    async def test_shield(self, turns_before: int) -> None:
        """A shielded future is not cancelled with the handler."""
        tasks = await ready()
        future = asyncio.get_running_loop().create_future()

        async def handler() -> None:
            await asyncio.shield(future)

        await cancelled_by(tasks, handler(), turns_before)
        assert not future.cancelled()
        await tasks.close()

    @pytest.mark.parametrize("turns_before", range(3))
    async def test_survived(self, turns_before: int) -> None:
        """A handler that takes no notice of its cancellation goes on."""
        tasks = await ready()
        seen = []

        async def handler() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
            await asyncio.sleep(0)
            seen.append("end")

        await cancelled_by(tasks, handler(), turns_before)
        assert seen == ["cancelled", "end"]
        await tasks.close()

    async def test_by_itself(self) -> None:
        """A handler that cancels its task is cancelled at its next wait; the next one is not."""
        tasks = await ready()
        seen = []

        async def handler(*, waits: bool) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            if waits:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    seen.append("cancelled")
                    raise

        async def other() -> None:
            task = asyncio.current_task()
            assert task is not None
            assert not task.cancelling()
            await asyncio.sleep(0)
            seen.append("other")

        for waits in (False, True):
            await begin(tasks, handler(waits=waits))
            await begin(tasks, other())
            await turns()
            await turns()
        assert seen == ["other", "cancelled", "other"]
        await tasks.close()

    async def test_raised_at_once(self) -> None:
        """CancelledError out of a handler's first step is nobody else's."""
        tasks = await ready()

        async def handler() -> None:
            raise asyncio.CancelledError

        assert await begin(tasks, handler()) is None
        await turns()
        await begin(tasks, nothing())
        await turns()
        await tasks.close()

    @pytest.mark.parametrize("delay", [0, 0.001])
    async def test_timeout(self, delay: float) -> None:
        """`asyncio.timeout` works from the first step on."""
        tasks = await ready()
        seen = []
        done = asyncio.Event()

        async def handler() -> None:
            try:
                async with asyncio.timeout(delay):
                    await asyncio.Event().wait()
            except TimeoutError:
                seen.append("timeout")
            await asyncio.sleep(0)
            seen.append("end")
            done.set()

        for _ in range(2):
            done.clear()
            await begin(tasks, handler())
            await done.wait()
        assert seen == ["timeout", "end"] * 2
        await turns()
        await tasks.close()

    async def test_task_group(self) -> None:
        """A task group that fails cancels the handler's wait, and only that."""
        tasks = await ready()
        seen = []
        done = asyncio.Event()

        async def fail() -> None:
            raise ValueError

        async def handler() -> None:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(fail())
                    await asyncio.Event().wait()
            except* ValueError:
                seen.append("failed")
            await asyncio.sleep(0)
            done.set()

        await begin(tasks, handler())
        await done.wait()
        assert seen == ["failed"]
        await turns()
        await tasks.close()


def hold(task: asyncio.Task[Any]) -> object:
    return task


def register(task: asyncio.Task[Any]) -> object:
    registry: weakref.WeakKeyDictionary[asyncio.Task[Any], str] = weakref.WeakKeyDictionary()
    registry[task] = "session"
    return registry


def refer(task: asyncio.Task[Any]) -> object:
    return weakref.ref(task)


class TestIdentity:
    @pytest.mark.parametrize("note", [hold, register, refer])
    @pytest.mark.parametrize("waits", [False, True])
    async def test_noted(self, note: Callable[[asyncio.Task[Any]], object], waits: bool) -> None:
        """Whoever keeps something by the current task finds it in no other handler."""
        tasks = await ready()
        notes: list[object] = []
        numbers = []
        names: weakref.WeakKeyDictionary[asyncio.Task[Any], int] = weakref.WeakKeyDictionary()

        async def handler(number: int) -> None:
            task = asyncio.current_task()
            assert task is not None
            numbers.append(names.setdefault(task, number))
            notes.append(note(task))
            del task
            if waits:
                await asyncio.sleep(0)

        for number in range(5):
            await begin(tasks, handler(number))
            await turns()
        assert numbers == [0, 1, 2, 3, 4]
        await tasks.close()

    @pytest.mark.parametrize("waits", [False, True])
    async def test_done_callback(self, waits: bool) -> None:
        """A callback on the current task is called when the handler has ended."""
        tasks = await ready()
        called = []

        async def handler() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.add_done_callback(lambda _: called.append(True))
            if waits:
                await asyncio.sleep(0)

        await begin(tasks, handler())
        await turns()
        assert called == [True]
        await tasks.close()

    @pytest.mark.parametrize("waits", [False, True])
    async def test_awaited(self, waits: bool) -> None:
        """Who waits for the task of a handler that has ended gets its end, and no cancellation."""
        tasks = await ready()
        loop = asyncio.get_running_loop()
        noted: asyncio.Future[asyncio.Task[None]] = loop.create_future()

        async def handler() -> None:
            task = asyncio.current_task()
            assert task is not None
            noted.set_result(task)
            if waits:
                await asyncio.sleep(0)

        await begin(tasks, handler())
        await (await noted)
        await tasks.close()

    @pytest.mark.parametrize("waits", [False, True])
    async def test_name(self, waits: bool) -> None:
        """The name that a handler gives its task is no other one's."""
        tasks = await ready()
        seen = []

        async def handler() -> None:
            task = asyncio.current_task()
            assert task is not None
            seen.append(task.get_name())
            task.set_name("mine")
            if waits:
                await asyncio.sleep(0)

        for _ in range(3):
            await begin(tasks, handler())
            await turns()
        assert "mine" not in seen
        await tasks.close()

    @kept_only
    @pytest.mark.parametrize("waits", [False, True])
    async def test_kept(self, waits: bool) -> None:
        """Where nobody took note of it, the next handler gets the same task."""
        tasks = await ready()
        seen = set()

        async def handler() -> None:
            seen.add(id(asyncio.current_task()))
            if waits:
                await asyncio.sleep(0)

        loop = asyncio.get_running_loop()
        for _ in range(5):
            loop.call_soon(lambda: tasks.start(handler(), copy_context()) and None)
            await turns()
        assert len(seen) == 1
        assert isinstance(tasks, KeptTasks)
        assert tasks.size == 1
        await tasks.close()
        assert tasks.size == 0


class TestClose:
    async def test_nothing_is_left(self) -> None:
        """A closed server's tasks are gone; one that still runs a handler ends with it."""
        tasks = await ready()
        gate = asyncio.Event()

        async def handler() -> None:
            await gate.wait()

        task = await begin(tasks, handler())
        await tasks.close()
        assert task is not None
        assert asyncio.all_tasks() == {task, asyncio.current_task()}
        gate.set()
        await turns()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_after_close(self) -> None:
        """What starts later still runs, and nothing is kept."""
        tasks = await ready()
        await tasks.close()
        for _ in range(3):
            await begin(tasks, nothing())
            await turns()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_cancelled_by_others(self) -> None:
        """Who cancels all tasks does not cancel the next handler."""
        tasks = await ready()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        seen = []

        async def handler() -> None:
            await asyncio.sleep(0)
            seen.append(True)

        for _ in range(2):
            await begin(tasks, handler())
            await turns()
        assert seen == [True, True]
        await tasks.close()

    async def test_cancelled_just_before(self) -> None:
        """Who cancels all tasks does not cancel a handler that begins in the same turn."""
        tasks = await ready()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        seen = []

        async def handler() -> None:
            await asyncio.sleep(0)
            seen.append(True)

        def start() -> None:
            for task in others:
                task.cancel()
            tasks.start(handler(), copy_context())

        asyncio.get_running_loop().call_soon(start)
        await turns()
        assert seen == [True]
        await tasks.close()

    def test_forgotten(self) -> None:
        """A loop that is closed before the tasks are leaves no complaint behind."""
        complaints: list[Any] = []
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        tasks = loop.run_until_complete(ready())
        loop.run_until_complete(begin(tasks, nothing()))
        loop.close()
        del tasks
        gc.collect()
        assert complaints == []
