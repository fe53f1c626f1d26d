"""What the request methods of a session return: awaitable, and usable in ``async with``."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from angelia.client.response import ClientResponse

if TYPE_CHECKING:
    from angelia.client.session import ClientSession

__all__ = ("RequestContext", "SessionRequestContext")


class RequestContext(Coroutine[Any, Any, ClientResponse]):
    """What `ClientSession.get` and its relatives return: await it, or use it in ``async with``."""

    __slots__ = ("_coro", "_response")

    def __init__(self, coro: Coroutine[Any, Any, ClientResponse]) -> None:
        self._coro = coro

    def send(self, arg: Any) -> Any:
        return self._coro.send(arg)

    def throw(self, *args: Any) -> Any:
        return self._coro.throw(*args)

    def close(self) -> None:
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, ClientResponse]:
        return self._coro.__await__()

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

    __slots__ = ("_session",)

    def __init__(self, coro: Coroutine[Any, Any, ClientResponse], session: ClientSession) -> None:
        super().__init__(coro)
        self._session = session

    def __await__(self) -> Generator[Any, Any, ClientResponse]:
        return self._read_whole().__await__()

    async def _read_whole(self) -> ClientResponse:
        # Nobody says when a response that was awaited is done, so it is read first.
        try:
            response = await self._coro
            await response.read()
        finally:
            await self._session.close()
        return response

    async def __aenter__(self) -> ClientResponse:
        try:
            return await super().__aenter__()
        except BaseException:
            await self._session.close()
            raise

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
