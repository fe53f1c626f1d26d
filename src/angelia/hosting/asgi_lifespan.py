"""Lifespan: an application's start and end, as the lifespan protocol of ASGI has them.

Owns: the task in which the application spends its life, and what it said there. Knows nothing of
requests.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, Literal, TypeAlias

from angelia.hosting.asgi_scope import ASGIApplication, Message

__all__ = ("Lifespan", "LifespanError", "LifespanMode")

_logger: Final = logging.getLogger("angelia.hosting.asgi")

# Of the specification "Lifespan Protocol".
SPEC_VERSION: Final = "2.0"

# An application that has said that it cannot start may tidy up for so many seconds; it is cancelled
# then, and not waited for when it does not end in as many again.
FAILED_TIME: Final = 1.0

LifespanMode: TypeAlias = Literal["auto", "on", "off"]


class LifespanError(RuntimeError):
    """The application could not start."""


class Lifespan:
    """The life of an application, from `startup` to `shutdown`, each called once at most.

    `state` is what it has left for its requests; None where it knows no lifespan.
    """

    __slots__ = ("_app", "_events", "_required", "_shut", "_started", "_task", "state")

    def __init__(self, app: ASGIApplication, *, required: bool) -> None:
        self._app = app
        self._required = required
        self.state: dict[str, Any] | None = None
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        # Their results: what the application says has failed, None where nothing has.
        self._started: asyncio.Future[str | None] = loop.create_future()
        self._shut: asyncio.Future[str | None] = loop.create_future()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = "new" if self._task is None else "ended" if self._task.done() else "running"
        return f"<{type(self).__name__} {self._app!r} {state}>"

    async def startup(self) -> None:
        """Start the application; LifespanError if it cannot, or if a required answer is missing."""
        state: dict[str, Any] = {}
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": SPEC_VERSION},
            "state": state,
        }
        task = self._task = asyncio.create_task(self._run(scope), name="ASGI lifespan")
        self._events.put_nowait({"type": "lifespan.startup"})
        try:
            await asyncio.wait((task, self._started), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not self._started.done():
            await self._unsupported(task)
            return
        failure = self._started.result()
        if failure is not None:
            error = await self._ended(task)
            reason = failure.strip() or "no reason given"
            raise LifespanError(f"the application did not start: {reason}") from error
        self.state = state

    async def _ended(self, task: asyncio.Task[None]) -> BaseException | None:
        """What an application that could not start has raised then; one that stays is cancelled."""
        for _ in range(2):
            try:
                done, _pending = await asyncio.wait((task,), timeout=FAILED_TIME)
            except asyncio.CancelledError:
                task.cancel()
                raise
            if done:
                return None if task.cancelled() else task.exception()
            task.cancel()
        _logger.warning("%r goes on, though it did not start", self._app)
        return None

    async def _unsupported(self, task: asyncio.Task[None]) -> None:
        # The specification: an exception, or a return, means that there is no lifespan.
        error = None if task.cancelled() else task.exception()
        if self._required:
            raise LifespanError("the application knows no lifespan") from error
        _logger.debug("%r knows no lifespan", self._app, exc_info=error)

    async def shutdown(self) -> None:
        """Tell the application that its last request is over, and wait until it has ended.

        What goes wrong is logged: there is nobody left to mend it.
        """
        task = self._task
        if task is None or self.state is None:
            return
        self.state = None
        if not task.done():
            self._events.put_nowait({"type": "lifespan.shutdown"})
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError:
                task.cancel()
                raise
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("error in the lifespan of %r", self._app, exc_info=error)
        elif self._shut.done() and (failure := self._shut.result()) is not None:
            _logger.error("%r did not shut down well: %s", self._app, failure)

    async def _run(self, scope: dict[str, Any]) -> None:
        await self._app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if self._shut.done() or (self._started.done() and self._started.result() is not None):
            raise RuntimeError("the life of the application is over: nothing is received any more")
        return await self._events.get()

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        phase, _, outcome = kind.removeprefix("lifespan.").partition(".")
        future = {"startup": self._started, "shutdown": self._shut}.get(phase)
        if future is None or outcome not in ("complete", "failed"):
            raise ValueError(f"not a message of the lifespan protocol: {kind!r}")
        if future.done() or (future is self._shut and not self._started.done()):
            raise RuntimeError(f"{kind!r} is out of order")
        future.set_result(None if outcome == "complete" else str(message.get("message", "")))
