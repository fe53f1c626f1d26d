"""The faces of routers: what stands between a request and its handler, where a program has one.

Owns abstract classes only, for packages that bring a router of their own; `Server` takes any
handler and asks none of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from angelia.server.http_exception import HTTPException
from angelia.server.request import Request
from angelia.server.stream_response import StreamResponse

__all__ = ("AbstractMatchInfo", "AbstractRouter", "AbstractView")


class AbstractRouter(ABC):
    """Finds what answers a request. Frozen, it takes no more routes."""

    def __init__(self) -> None:
        self._frozen = False

    def post_init(self, app: Any) -> None:  # noqa: B027 - most routers have nothing to do then
        """Called once, when the router has been given to an application."""

    @property
    def frozen(self) -> bool:
        """Whether `freeze` was called."""
        return self._frozen

    def freeze(self) -> None:
        """Take no more routes."""
        self._frozen = True

    @abstractmethod
    async def resolve(self, request: Request) -> AbstractMatchInfo:
        """What answers `request`, an error's answer included."""


class AbstractMatchInfo(ABC):
    """What a router has found for a request."""

    @property
    @abstractmethod
    def handler(self) -> Callable[[Request], Awaitable[StreamResponse]]:
        """The handler."""

    @property
    @abstractmethod
    def expect_handler(self) -> Callable[[Request], Awaitable[StreamResponse | None]]:
        """What decides about an `Expect` field."""

    @property
    @abstractmethod
    def http_exception(self) -> HTTPException | None:
        """The error where nothing was found."""

    @property
    @abstractmethod
    def apps(self) -> tuple[Any, ...]:
        """The applications that the request goes through, outermost first."""

    @abstractmethod
    def get_info(self) -> dict[str, Any]:
        """Facts about the route, for people."""

    @abstractmethod
    def add_app(self, app: Any) -> None:
        """Put an application around those there are."""

    @abstractmethod
    def freeze(self) -> None:
        """Take no more applications."""


class AbstractView(ABC):
    """A handler that is a class: made of a request, awaited for its answer."""

    def __init__(self, request: Request) -> None:
        self._request = request

    @property
    def request(self) -> Request:
        """The request."""
        return self._request

    @abstractmethod
    def __await__(self) -> Generator[Any, None, StreamResponse]:
        """The answer."""
