"""Flask on the WSGI handler, asked by our own client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import RequirePeer
from hosting.frameworks_kit import check_usual, visiting
from hosting.wsgi_kit import hosting

CONTENT = Path(__file__).read_bytes()

pytestmark = pytest.mark.deadline(40)


class TestFlask:
    @pytest.fixture
    def app(self, require_peer: RequirePeer) -> Any:
        """An application with a route of each kind."""
        require_peer("module:flask")
        import flask

        app = flask.Flask(__name__)

        @app.route("/facts/<name>")
        def facts(name: str) -> Any:
            request = flask.request
            return {
                "name": name,
                "query": request.args.to_dict(),
                "url": request.url,
                "remote": request.remote_addr,
                "cookies": request.cookies,
            }

        @app.post("/form")
        def form() -> Any:
            file = flask.request.files["file"]
            size = len(file.stream.read())
            file.close()
            return {"field": flask.request.form["field"], "name": file.filename, "size": size}

        @app.post("/echo")
        def echo() -> Any:
            return flask.request.get_data()

        @app.get("/stream")
        def stream() -> Any:
            def lines() -> Iterator[str]:
                for number in range(1000):
                    yield f"line {number}\n"

            return flask.Response(lines(), mimetype="text/plain")

        @app.get("/file")
        def file() -> Any:
            return flask.send_file(__file__)

        @app.get("/fail")
        def fail() -> Any:
            raise LookupError("a secret")

        return app

    @pytest.mark.usefixtures("loop_kind")
    async def test_all(self, app: Any) -> None:
        """Routes, forms with files, bodies with and without length, streams, files, errors."""
        async with hosting(app) as server, visiting(f"http://127.0.0.1:{server.port}") as session:
            async with session.get("/facts/x\xfc?a=b%20c", headers={"Cookie": "c=d"}) as response:
                assert await response.json() == {
                    "name": "x\xfc",
                    "query": {"a": "b c"},
                    "url": f"http://127.0.0.1:{server.port}/facts/x\xfc?a=b%20c",
                    "remote": "127.0.0.1",
                    "cookies": {"c": "d"},
                }
            await check_usual(session)
            async with session.get("/file") as response:
                assert await response.read() == CONTENT
            async with session.get("/file", headers={"Range": "bytes=5-9"}) as response:
                assert (response.status, await response.read()) == (206, CONTENT[5:10])
            async with session.head("/facts/x") as response:
                assert int(response.headers["Content-Length"]) > 10
