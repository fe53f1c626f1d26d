"""The faces of routers, as a package would fill them in."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from angelia.abc import AbstractMatchInfo, AbstractRouter, AbstractView
from angelia.server.http_exception import HTTPException
from angelia.server.request import Request
from angelia.server.response import Response
from angelia.server.stream_response import StreamResponse
from server.kit import GET, ask, serving

pytestmark = pytest.mark.deadline(15)


class View(AbstractView):
    def __await__(self) -> Generator[Any, None, StreamResponse]:
        return self._answer().__await__()

    async def _answer(self) -> StreamResponse:
        return Response(text=f"view of {self.request.path}")


class Found(AbstractMatchInfo):
    def __init__(self) -> None:
        self._apps: list[Any] = []

    @property
    def handler(self) -> Any:
        return View

    @property
    def expect_handler(self) -> Any:
        return None

    @property
    def http_exception(self) -> HTTPException | None:
        return None

    @property
    def apps(self) -> tuple[Any, ...]:
        return tuple(self._apps)

    def get_info(self) -> dict[str, Any]:
        return {"path": "/"}

    def add_app(self, app: Any) -> None:
        self._apps.insert(0, app)

    def freeze(self) -> None:
        """Nothing changes."""


class Router(AbstractRouter):
    async def resolve(self, request: Request) -> AbstractMatchInfo:
        return Found()


async def test_router_as_a_handler() -> None:
    """A router and a view make a handler in one line."""
    router = Router()
    router.post_init(None)
    seen = [router.frozen]
    router.freeze()
    assert [*seen, router.frozen] == [False, True]

    async def handler(request: Request) -> StreamResponse:
        found = await router.resolve(request)
        found.add_app(router)
        assert found.apps == (router,)
        return await found.handler(request)

    async with serving(handler) as server:
        assert (await ask(server, GET)).body == b"view of /"


@pytest.mark.parametrize("cls", [AbstractRouter, AbstractMatchInfo, AbstractView])
def test_abstract(cls: type[Any]) -> None:
    """They are to be filled in."""
    with pytest.raises(TypeError, match="abstract"):
        cls()
