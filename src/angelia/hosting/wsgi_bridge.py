"""Bridge: what a thread asks of the event loop, one thing after the other, and the answers.

Owns: the hand-over between the two, and that no thread waits for an answer that cannot come. Knows
nothing of requests or of WSGI.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

__all__ = ("Bridge",)

T = TypeVar("T")
R = TypeVar("R")


class _Question(Generic[R]):
    """A coroutine function that is to run on the loop, and who waits for what it returns."""

    __slots__ = ("answer", "ask")

    def __init__(self, ask: Callable[[], Awaitable[R]]) -> None:
        self.ask = ask
        self.answer: Future[R] = Future()


class Bridge(Generic[T]):
    """Between one thread, which asks and at last has a result, and one task, which answers."""

    __slots__ = ("_asking", "_closed", "_lock", "_loop", "_questions", "_result", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._closed = False
        self._questions: deque[_Question[Any]] = deque()
        # What is being answered.
        self._asking: _Question[Any] | None = None
        self._result: list[T] = []
        self._waiter: asyncio.Future[None] | None = None

    @property
    def closed(self) -> bool:
        """Whether nobody answers any more."""
        return self._closed

    # --- the thread's side ---------------------------------------------------------------------

    def ask(self, function: Callable[[], Awaitable[R]]) -> R:
        """Run a coroutine function on the loop, wait for it, and return or raise what it does.

        ConnectionAbortedError where nobody answers any more.
        """
        question = _Question(function)
        with self._lock:
            if self._closed:
                raise ConnectionAbortedError("the request is over")
            self._questions.append(question)
        self._call(self._wake)
        return question.answer.result()

    def finish(self, result: T) -> None:
        """Hand over the result. Only the first one counts, and none if nobody waits for it."""
        with self._lock:
            if self._closed or self._result:
                return
            self._result.append(result)
        self._call(self._wake)

    def _call(self, function: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            # The loop has been closed under us: nobody is there to answer.
            self.close()

    # --- the loop's side -----------------------------------------------------------------------

    async def serve(self) -> T:
        """Answer questions until the thread has its result, and return that.

        Safe to cancel: the thread then gets a ConnectionAbortedError from what it asks.
        """
        try:
            while True:
                while self._questions:
                    await self._answer(self._questions.popleft())
                if self._result:
                    return self._result.pop()
                self._waiter = self._loop.create_future()
                if not (self._questions or self._result):
                    await self._waiter
                self._waiter = None
        finally:
            self.close()

    async def _answer(self, question: _Question[Any]) -> None:
        self._asking = question
        try:
            value = await question.ask()
        except Exception as error:  # noqa: BLE001 - the thread asked, and has to deal with it
            question.answer.set_exception(error)
        else:
            question.answer.set_result(value)
        self._asking = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Answer nothing more; who waits for an answer gets ConnectionAbortedError. Idempotent."""
        with self._lock:
            self._closed = True
            questions = [*self._questions]
            self._questions.clear()
            if self._asking is not None:
                questions.append(self._asking)
                self._asking = None
        for question in questions:
            question.answer.set_exception(ConnectionAbortedError("the request is over"))
