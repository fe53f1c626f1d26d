"""`angelia.request`: one request, with a session of its own.

Owns: when that session closes, whichever way the request is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any

from yarl import URL

from angelia.client.context import RequestContext
from angelia.client.response import ClientResponse
from angelia.client.session import ClientSession
from angelia.core.deprecation import warn_deprecated
from angelia.core.interface import HttpVersion, HttpVersion11
from angelia.net.connector import BaseConnector
from angelia.net.connector_kinds import TCPConnector

__all__ = ("SessionRequestContext", "request")


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


def request(
    method: str,
    url: str | URL,
    *,
    version: HttpVersion = HttpVersion11,
    connector: BaseConnector | None = None,
    loop: asyncio.AbstractEventLoop | None = None,
    **kwargs: Any,
) -> SessionRequestContext:
    """Make one request with a session of its own, which closes with the response.

    Use it in ``async with``; awaited, it returns a response whose content has been read. The
    parameters are those of `ClientSession.request`. A `connector` that is given is not closed.
    """
    if loop is not None:
        warn_deprecated("the loop argument of request() is deprecated, the running loop is used")
    connector_owner = False
    if connector is None:
        connector_owner = True
        connector = TCPConnector(loop=loop, force_close=True)
    session = ClientSession(
        loop=loop, version=version, connector=connector, connector_owner=connector_owner
    )
    return SessionRequestContext(session._request(method, url, **kwargs), session)
