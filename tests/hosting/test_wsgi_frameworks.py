"""Flask and Django on the WSGI handler, asked by our own client."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

import angelia
from conftest import RequirePeer
from hosting.wsgi_kit import hosting

HERE = Path(__file__).parent
CONTENT = Path(__file__).read_bytes()
DJANGO_CONTENT = (HERE / "wsgi_django.py").read_bytes()

pytestmark = pytest.mark.deadline(40)


@asynccontextmanager
async def visiting(base: str) -> AsyncIterator[angelia.ClientSession]:
    """A session for one server."""
    async with angelia.ClientSession(base) as session:
        yield session


def upload() -> angelia.FormData:
    """A form with a field and a file."""
    form = angelia.FormData()
    form.add_field("field", "value \u20ac")
    form.add_field("file", io.BytesIO(bytes(3_000_000)), filename="f.bin")
    return form


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

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(10):
                yield bytes(10_000)

        async with hosting(app) as server, visiting(f"http://127.0.0.1:{server.port}") as session:
            async with session.get("/facts/x\xfc?a=b%20c", headers={"Cookie": "c=d"}) as response:
                assert await response.json() == {
                    "name": "x\xfc",
                    "query": {"a": "b c"},
                    "url": f"http://127.0.0.1:{server.port}/facts/x\xfc?a=b%20c",
                    "remote": "127.0.0.1",
                    "cookies": {"c": "d"},
                }
            async with session.post("/form", data=upload()) as response:
                expected = {"field": "value \u20ac", "name": "f.bin", "size": 3_000_000}
                assert await response.json() == expected
            async with session.post("/echo", data=pieces()) as response:
                assert await response.read() == bytes(100_000)
            async with session.get("/stream") as response:
                assert (await response.text()).splitlines()[-1] == "line 999"
            async with session.get("/file") as response:
                assert await response.read() == CONTENT
            async with session.get("/file", headers={"Range": "bytes=5-9"}) as response:
                assert (response.status, await response.read()) == (206, CONTENT[5:10])
            async with session.head("/facts/x") as response:
                assert int(response.headers["Content-Length"]) > 10
            for target, status in (("/fail", 500), ("/none", 404)):
                async with session.get(target) as response:
                    assert response.status == status
                    assert "secret" not in await response.text()


@contextmanager
def django_server() -> Iterator[str]:
    """The origin of a Django application in a process of its own."""
    command = [sys.executable, str(HERE / "wsgi_django.py")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            if process.stdout is None:
                pytest.fail("no pipe")
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


async def test_django(require_peer: RequirePeer) -> None:
    """Routes, forms with files, streams, files, errors."""
    require_peer("module:django")
    with django_server() as origin:
        async with visiting(origin) as session:
            async with session.get("/facts/x\xfc?a=b%20c", headers={"Cookie": "c=d"}) as response:
                assert await response.json() == {
                    "name": "x\xfc",
                    "method": "GET",
                    "query": {"a": "b c"},
                    "uri": f"{origin}/facts/x%C3%BC?a=b%20c",
                    "cookies": {"c": "d"},
                }
            async with session.post("/form", data=upload()) as response:
                expected = {"field": "value \u20ac", "name": "f.bin", "size": 3_000_000}
                assert await response.json() == expected
            async with session.get("/stream") as response:
                assert (await response.text()).splitlines()[-1] == "line 999"
            async with session.get("/file") as response:
                assert int(response.headers["Content-Length"]) == len(DJANGO_CONTENT)
                assert await response.read() == DJANGO_CONTENT
            async with session.head("/file") as response:
                assert int(response.headers["Content-Length"]) == len(DJANGO_CONTENT)
            for target, status in (("/fail", 500), ("/none", 404)):
                async with session.get(target) as response:
                    assert response.status == status
                    assert "secret" not in await response.text()
