"""Starlette and FastAPI on the ASGI handler, asked by our own client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from conftest import RequirePeer
from hosting.asgi_kit import hosting, until
from hosting.frameworks_kit import check_usual, upload, visiting

CONTENT = Path(__file__).read_bytes()

pytestmark = pytest.mark.deadline(40)


class TestStarlette:
    @pytest.fixture
    def app(self, require_peer: RequirePeer) -> Any:
        """An application with a route of each kind."""
        require_peer("module:starlette")
        require_peer("module:python_multipart")
        from starlette.applications import Starlette
        from starlette.background import BackgroundTask
        from starlette.middleware import Middleware
        from starlette.middleware.base import BaseHTTPMiddleware
        from starlette.requests import Request
        from starlette.responses import (
            FileResponse,
            JSONResponse,
            PlainTextResponse,
            Response,
            StreamingResponse,
        )
        from starlette.routing import Route

        @contextlib.asynccontextmanager
        async def lifespan(_app: Any) -> AsyncIterator[dict[str, Any]]:
            yield {"done": []}

        async def facts(request: Request) -> Response:
            return JSONResponse(
                {
                    "name": request.path_params["name"],
                    "query": dict(request.query_params),
                    "url": unquote(str(request.url)),
                    "host": request.client and request.client.host,
                    "cookies": request.cookies,
                }
            )

        async def form(request: Request) -> Response:
            async with request.form() as fields:
                file: Any = fields["file"]
                size = len(await file.read())
                return JSONResponse({"field": fields["field"], "name": file.filename, "size": size})

        async def echo(request: Request) -> Response:
            return StreamingResponse(request.stream())

        async def stream(request: Request) -> Response:
            async def lines() -> AsyncIterator[str]:
                for number in range(1000):
                    yield f"line {number}\n"

            return StreamingResponse(lines(), media_type="text/plain")

        async def file(request: Request) -> Response:
            return FileResponse(__file__)

        async def later(request: Request) -> Response:
            task = BackgroundTask(request.state.done.append, "later")
            return PlainTextResponse("soon", background=task)

        async def done(request: Request) -> Response:
            return JSONResponse(request.state.done)

        async def fail(request: Request) -> Response:
            raise LookupError("a secret")

        async def tag(request: Request, call_next: Any) -> Response:
            response: Response = await call_next(request)
            response.headers["X-Tag"] = "t"
            return response

        async def sync(request: Request) -> Response:
            return PlainTextResponse(await asyncio.to_thread(str, 5))

        return Starlette(
            routes=[
                Route("/facts/{name}", facts),
                Route("/form", form, methods=["POST"]),
                Route("/echo", echo, methods=["POST"]),
                Route("/stream", stream),
                Route("/file", file),
                Route("/later", later),
                Route("/done", done),
                Route("/fail", fail),
                Route("/sync", sync),
            ],
            middleware=[Middleware(BaseHTTPMiddleware, dispatch=tag)],
            lifespan=lifespan,
        )

    @pytest.mark.usefixtures("loop_kind")
    async def test_all(self, app: Any) -> None:
        """Routes, forms with files, streams both ways, files, background tasks, errors."""
        async with (
            hosting(app, lifespan="on") as server,
            visiting(f"http://127.0.0.1:{server.port}") as session,
        ):
            async with session.get("/facts/x\xfc?a=b%20c", headers={"Cookie": "c=d"}) as response:
                assert response.headers["X-Tag"] == "t"
                assert await response.json() == {
                    "name": "x\xfc",
                    "query": {"a": "b c"},
                    "url": f"http://127.0.0.1:{server.port}/facts/x\xfc?a=b c",
                    "host": "127.0.0.1",
                    "cookies": {"c": "d"},
                }
            await check_usual(session)
            async with session.get("/file") as response:
                assert await response.read() == CONTENT
            async with session.get("/file", headers={"Range": "bytes=5-9"}) as response:
                assert (response.status, await response.read()) == (206, CONTENT[5:10])
            async with session.head("/file") as response:
                assert int(response.headers["Content-Length"]) == len(CONTENT)
            async with session.get("/later") as response:
                assert await response.text() == "soon"
            done: list[str] = []
            while not done:
                async with session.get("/done") as response:
                    done = await response.json()
            assert done == ["later"]
            async with session.get("/sync") as response:
                assert await response.text() == "5"

    async def test_mounted(self, app: Any) -> None:
        """Below a path of the site, whether a proxy takes that off or not."""
        async with (
            hosting(app, lifespan="on", root_path="/app") as server,
            visiting(f"http://127.0.0.1:{server.port}") as session,
        ):
            for path in ("/app/facts/x", "/facts/x"):
                async with session.get(path) as response:
                    found = await response.json()
                assert found["url"] == f"http://127.0.0.1:{server.port}/app/facts/x"


async def test_fastapi(require_peer: RequirePeer) -> None:
    """Models, dependencies, uploads, functions in threads, background tasks, the schema."""
    require_peer("module:fastapi")
    require_peer("module:python_multipart")
    import fastapi
    import pydantic

    class Item(pydantic.BaseModel):
        name: str
        price: float

    done: list[str] = []
    app = fastapi.FastAPI()

    # Annotations are evaluated in the module's namespace, which does not have these.
    def create(item: Any, token: str = fastapi.Header()) -> dict[str, Any]:
        return {"name": item.name, "twice": item.price * 2, "token": token}

    create.__annotations__["item"] = Item
    app.post("/items")(create)

    async def receive(file: Any, field: str = fastapi.Form()) -> dict[str, Any]:
        return {"field": field, "size": len(await file.read())}

    receive.__annotations__["file"] = fastapi.UploadFile
    app.post("/form")(receive)

    async def later(tasks: Any) -> str:
        tasks.add_task(done.append, "later")
        return "soon"

    later.__annotations__["tasks"] = fastapi.BackgroundTasks
    app.get("/later")(later)

    async with (
        hosting(app, lifespan="on") as server,
        visiting(f"http://127.0.0.1:{server.port}") as session,
    ):
        item = {"name": "n", "price": 1.5}
        async with session.post("/items", json=item, headers={"Token": "t"}) as response:
            assert await response.json() == {"name": "n", "twice": 3.0, "token": "t"}
        async with session.post("/items", json={}) as response:
            assert response.status == 422
        async with session.post("/form", data=upload()) as response:
            assert await response.json() == {"field": "value \u20ac", "size": 3_000_000}
        async with session.get("/later") as response:
            assert await response.json() == "soon"
        async with session.get("/openapi.json") as response:
            assert "/items" in (await response.json())["paths"]
        await until(lambda: done)
    assert done == ["later"]
