"""What the request methods of a session return: awaitable, and usable in ``async with``."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import Any, TypeVar

from angelia.client.response import ClientResponse

__all__ = ("CallContext", "RequestContext")

T = TypeVar("T")


class CallContext(Coroutine[Any, Any, T]):
    """A call that can be awaited like the coroutine that it is."""

    __slots__ = ("_coro",)

    def __init__(self, coro: Coroutine[Any, Any, T]) -> None:
        self._coro = coro

    def send(self, arg: Any) -> Any:
        return self._coro.send(arg)

    def throw(self, *args: Any) -> Any:
        return self._coro.throw(*args)

    def close(self) -> None:
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._coro.__await__()


class RequestContext(CallContext[ClientResponse]):
    """What `ClientSession.get` and its relatives return: await it, or use it in ``async with``."""

    __slots__ = ("_response",)

    async def __aenter__(self) -> ClientResponse:
        response = self._response = await self._coro
        response._in_context = True
        return response

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._response._in_context = False
        self._response.release()
