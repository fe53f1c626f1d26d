"""HandlerTasks: the tasks that handlers run in, the first step of each taken at once.

Owns: what `asyncio.current_task()` is for a handler, and whose task that was before. Knows nothing
of requests.

Most handlers end without waiting for anything. A task for each, to which the event loop comes in
its next turn, takes more time than many a handler. So the first step is taken where the request was
received, and only what it leaves is the event loop's.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Coroutine, Generator
from contextvars import Context
from types import coroutine
from typing import Any, Final, TypeAlias
from weakref import getweakrefcount

__all__ = ("HandlerTasks",)

Handling: TypeAlias = Coroutine[Any, Any, None]

# So many tasks are kept for handlers to come. Each takes about 2 KB.
MAX_KEPT: Final = 64


class FreshTasks:
    """A task of its own for each handler, begun at once: Python can do that from 3.12 on."""

    __slots__ = ("_loop",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def start(self, handling: Handling, context: Context) -> asyncio.Task[None] | None:
        """Run `handling` in `context`: the task that goes on with it, None if it has ended."""
        if self._loop.get_task_factory() is not None:
            return _made_by_factory(self._loop, handling, context)
        options: dict[str, Any] = {"eager_start": True}
        task = asyncio.Task(handling, loop=self._loop, context=context, **options)
        return None if task.done() else task

    async def close(self) -> None:
        """There is nothing to close."""


class KeptTasks:
    """Tasks that run handlers one after the other, each in the context that it is given.

    A task is not used again when anybody has taken note of it, by a reference, a callback or a
    request to cancel it: what they meant was the handler that it ran. The one weak reference that
    it always has is asyncio's.
    """

    __slots__ = ("_closed", "_loop", "_parked", "size")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parked: list[_KeptTask] = []
        # How many there are, parked or not.
        self.size = 0
        self._closed = False

    def start(self, handling: Handling, context: Context) -> asyncio.Task[None] | None:
        """Run `handling` in `context`: the task that goes on with it, None if it has ended."""
        loop, parked = self._loop, self._parked
        if loop.get_task_factory() is not None:
            return _made_by_factory(loop, handling, context)
        while parked and parked[-1].ends:
            # It was cancelled while nothing ran in it, which has to hit no handler.
            parked.pop()
        if not parked:
            if self.size < MAX_KEPT and not self._closed:
                self.size += 1
                _KeptTask(self, loop)
            return loop.create_task(handling, context=context)
        kept = parked.pop()
        task = kept.task
        references = sys.getrefcount(task)
        try:
            _enter_task(loop, task)
        except RuntimeError:
            # We are inside another task.
            parked.append(kept)
            return loop.create_task(handling, context=context)
        try:
            awaited = context.run(handling.send, None)
        except StopIteration:
            pass
        except BaseException as error:
            task.cancel()
            if isinstance(error, asyncio.CancelledError):
                # Nobody waits for the handler.
                return None
            raise
        else:
            kept.go_on(handling, context, awaited)
            return task
        finally:
            _leave_task(loop, task)
        if (
            sys.getrefcount(task) == references
            and getweakrefcount(task) == 1
            and not task._callbacks
            and not task.cancelling()
            and task.get_name() == kept.name
        ):
            parked.append(kept)
        else:
            kept.end()
        return None

    def park(self, kept: _KeptTask) -> bool:
        """Keep a task for the next handler; False where it is to end."""
        if self._closed:
            return False
        self._parked.append(kept)
        return True

    def forget(self, kept: _KeptTask) -> None:
        """A task ends."""
        self.size -= 1
        if kept in self._parked:
            self._parked.remove(kept)

    async def close(self) -> None:
        """End the tasks that no handler runs in; the other ones end with theirs."""
        self._closed = True
        tasks = [kept.task for kept in self._parked]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


class _KeptTask:
    """One of these tasks: parked, or going on with what a handler's first step has left."""

    __slots__ = ("_loop", "_rest", "_tasks", "_waker", "name", "task")

    def __init__(self, tasks: KeptTasks, loop: asyncio.AbstractEventLoop) -> None:
        self._tasks = tasks
        self._loop = loop
        self._rest: tuple[Handling, Context, Any] | None = None
        self._waker: asyncio.Future[None] = loop.create_future()
        self.task = loop.create_task(self._run(), context=Context())
        self.name = self.task.get_name()

    @property
    def ends(self) -> bool:
        """Whether a parked task is to end without a handler."""
        return self._waker.done()

    def end(self) -> None:
        """Let a parked task end, as one whose handler has ended."""
        if not self._waker.done():
            self._waker.set_result(None)

    def go_on(self, handling: Handling, context: Context, awaited: Any) -> None:
        """Let the task go on with `handling`, which waits for `awaited`."""
        self._rest = handling, context, awaited
        self.task._log_destroy_pending = True  # type: ignore[attr-defined]  # see _run
        if not self._waker.done():
            self._waker.set_result(None)

    async def _run(self) -> None:
        task = self.task
        references = sys.getrefcount(task)
        try:
            while self._tasks.park(self):
                # Nothing is lost with a parked task, should the loop be closed before the server.
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio's own
                cancelled: asyncio.CancelledError | None = None
                try:
                    await self._waker
                except asyncio.CancelledError as error:
                    if self._rest is None:
                        raise
                    cancelled = error
                if self._rest is None:
                    return
                rest, self._rest = _rest(*self._rest, cancelled), None
                # An error knows the frames that it comes through: these are not to know it.
                del cancelled
                self._waker = self._loop.create_future()
                await rest
                del rest
                if (
                    sys.getrefcount(task) != references
                    or getweakrefcount(task) != 1
                    or task._callbacks
                    or task.cancelling()
                    or task.get_name() != self.name
                ):
                    return
        finally:
            self._tasks.forget(self)
            # A cancelled task keeps the error, which knows this frame.
            del task, self.task


@coroutine
def _rest(
    handling: Handling,
    context: Context,
    awaited: Any,
    cancelled: asyncio.CancelledError | None,
) -> Generator[Any, None, None]:
    """Go on with `handling`, which waits for `awaited`, and may have been cancelled meanwhile."""
    run, send, throw = context.run, handling.send, handling.throw
    is_future = asyncio.isfuture(awaited)
    # As with a task that waits for `awaited`.
    error: BaseException | None = None
    if cancelled is not None and not (is_future and awaited.cancel()):
        error = cancelled
    cancelled = None
    # A turn of the loop, which None stands for, has gone by already.
    waiting = awaited is not None and error is None
    if waiting and is_future:
        # Another task may have been waiting for the same future since.
        awaited._asyncio_future_blocking = True
    try:
        while True:
            if waiting:
                try:
                    yield awaited
                except BaseException as thrown:  # noqa: BLE001 - the handler gets it
                    error = thrown
            waiting = True
            # The future holds the error, whose traceback holds this frame.
            awaited = None
            if error is None:
                awaited = run(send, None)
            else:
                given, error = error, None
                try:
                    awaited = run(throw, given)
                finally:
                    del given
    except StopIteration:
        return


def _made_by_factory(
    loop: asyncio.AbstractEventLoop, handling: Handling, context: Context
) -> asyncio.Task[None] | None:
    # Not every factory takes a context. One that begins tasks at once may have ended this one.
    task = context.run(loop.create_task, handling)
    return None if task.done() else task


HandlerTasks: TypeAlias = FreshTasks | KeptTasks


def handler_tasks(loop: asyncio.AbstractEventLoop) -> HandlerTasks:
    """The cheaper kind."""
    return FreshTasks(loop) if sys.version_info >= (3, 12) else KeptTasks(loop)
