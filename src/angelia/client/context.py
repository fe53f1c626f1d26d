"""What the request methods of a session return: awaitable, and usable in ``async with``."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from angelia.client.response import ClientResponse

if TYPE_CHECKING:
    from angelia.client.session import ClientSession

__all__ = ("CallContext", "RequestContext", "SessionRequestContext")

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


class SessionRequestContext(RequestContext):
    """The same for `angelia.request`: its session closes with the response."""

    __slots__ = ("_request", "_session")

    def __init__(self, coro: Coroutine[Any, Any, ClientResponse], session: ClientSession) -> None:
        # Whoever awaits it, be it a task, gets a response that was read.
        super().__init__(_read_whole(coro, session))
        self._request = coro
        self._session = session

    def close(self) -> None:
        super().close()
        self._request.close()
        # It has no connections; those of a connector that was given are its owner's.
        self._session.detach()

    async def __aenter__(self) -> ClientResponse:
        self._coro.close()
        try:
            response = self._response = await self._request
        except BaseException:
            await self._session.close()
            raise
        response._in_context = True
        return response

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        try:
            await super().__aexit__(exc_type, exc, tb)
        finally:
            await self._session.close()


async def _read_whole(
    request: Coroutine[Any, Any, ClientResponse], session: ClientSession
) -> ClientResponse:
    # Nobody says when a response that was awaited is done, so it is read first.
    try:
        response = await request
        await response.read()
    finally:
        await session.close()
    return response
