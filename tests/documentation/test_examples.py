"""Every Python example of README.md and docs/*.md runs, against servers of our own."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import angelia
from angelia.cli.arguments import parse_arguments
from angelia.testing import MockConnector, TestClient, TestServer, make_response
from documentation.blocks import Block, blocks, commands, filled, pages
from peers.process import LOOPBACK, free_port

pytestmark = pytest.mark.deadline(120)

# --- a server for the client's examples ----------------------------------------------------------


class Site:
    """Answers what the examples ask for; `seen` has the requests."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.handshakes = 0

    async def __call__(self, request: angelia.Request) -> angelia.StreamResponse:
        body = await request.read()
        self.seen.append(f"{request.method} {request.path} {len(body)}")
        if request.path in ("/chat", "/feed"):
            return await self.talk(request)
        if request.path == "/guarded" and request.headers.get("Authorization") != "Bearer new":
            raise angelia.HTTPException(401)
        return angelia.json_response([{"name": "1.0"}])

    async def talk(self, request: angelia.Request) -> angelia.StreamResponse:
        """A WebSocket that ends after a message; there are two of them."""
        self.handshakes += 1
        if self.handshakes > 2:
            raise angelia.HTTPException(404)
        ws = angelia.WebSocketResponse()
        await ws.prepare(request)
        await ws.send_str(f"message {self.handshakes}")
        return ws


class Scene(NamedTuple):
    """What an example needs: the place of its own, the site and a session with it."""

    folder: Path
    site: Site
    url: str
    session: angelia.ClientSession


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    site = Site()
    async with TestServer(site) as server, angelia.ClientSession() as session:
        yield Scene(folder, site, str(server.make_url("/")), session)


async def run_part(block: Block, changes: dict[str, str], **names: Any) -> Any:
    """Run a part of a program with the names that it takes for granted.

    Returns what it returns; if that is nothing, what it has given names to.
    """
    code = textwrap.indent(filled(block.text, changes), "    ")
    source = f"async def part():\n{code}\n    return locals()\n"
    space: dict[str, Any] = {"angelia": angelia, "asyncio": asyncio, **names}
    exec(compile(source, str(block), "exec"), space)  # noqa: S102 - our own documentation
    return await space["part"]()


async def output(*arguments: str, folder: Path) -> str:
    """What Python prints when it runs a program that ends well."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    return printed.decode()


# --- whole programs ------------------------------------------------------------------------------


async def a_client(block: Block, at: Scene) -> None:
    """A program that makes a request."""
    (at.folder / "program.py").write_text(filled(block.text, {"https://example.org/": at.url}))
    printed = await output("program.py", folder=at.folder)
    assert "200" in printed
    assert "1.0" in printed
    assert at.site.seen == ["GET / 0"]


ASGI = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"Hello, you!"})
"""
WSGI = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello, you!"]
"""
HANDLER = """
import asyncio
import angelia

async def handler(request):
    return angelia.Response(text=f"Hello, {request.query['name']}!")

"""


async def a_server(block: Block, at: Scene) -> None:
    """A program that serves."""
    port = free_port()
    (at.folder / "shop.py").write_text(ASGI if "ASGIHandler" in block.text else WSGI)
    program = filled(block.text, {'"localhost", 8080': f'"{LOOPBACK}", {port}'})
    if "import" not in program:
        program = HANDLER + program
    (at.folder / "program.py").write_text(program)
    await greets(at, port, "program.py")


async def greets(at: Scene, port: int, *arguments: str) -> None:
    """Run a program that answers with a greeting, and ask it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=at.folder, stdin=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                async with at.session.get(f"http://{LOOPBACK}:{port}/?name=you") as response:
                    assert await response.text() == "Hello, you!"
                break
            except angelia.ClientConnectorError:
                assert process.returncode is None
                await asyncio.sleep(0.02)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def a_served_handler(block: Block, at: Scene) -> None:
    """A module for ``angelia serve``, by the command below it."""
    (at.folder / "hello.py").write_text(block.text)
    (command,) = [
        each.text
        for each in commands("angelia")
        if each.page == block.page and each.heading == block.heading and "hello:" in each.text
    ]
    port = free_port()
    words = shlex.split(command, comments=True)
    await greets(at, port, "-m", *words, "--port", str(port))


# --- parts of programs ---------------------------------------------------------------------------


async def sending(block: Block, at: Scene) -> None:
    (at.folder / "big.iso").write_bytes(bytes(100_000))
    await run_part(block, {'"big.iso"': repr(str(at.folder / "big.iso"))}, **vars_of(at))
    assert at.site.seen == ["POST / 19", "POST / 12", "PUT / 6", "PUT / 100000"]


def vars_of(at: Scene) -> dict[str, Any]:
    return {"session": at.session, "url": at.url}


async def receiving(block: Block, at: Scene) -> None:
    taken: list[bytes] = []
    with (at.folder / "copy").open("wb") as file:
        # Each way to receive has a response of its own.
        for part in block.text.replace("\nasync for", "\n\0async for").split("\0"):
            async with at.session.get(at.url) as response:
                names = {"response": response, "file": file, "handle": taken.append}
                await run_part(block.with_text(part), {}, **names)
    assert (at.folder / "copy").read_bytes() == b"".join(taken) == b'[{"name": "1.0"}]'


async def failing(block: Block, at: Scene) -> None:
    assert await run_part(block, {}, **vars_of(at)) == [{"name": "1.0"}]
    await run_part(block, {}, session=at.session, url=f"{at.url}guarded")
    await run_part(block, {}, session=at.session, url=f"http://{LOOPBACK}:{free_port()}/")


async def a_session(block: Block, at: Scene) -> None:
    await run_part(block, {"https://api.example.org/v1/": at.url})
    assert at.site.seen == ["GET /users/1 0"]


async def authentication(block: Block, at: Scene) -> None:
    for part in block.text.split("\n\n"):
        await run_part(block.with_text(part), {}, **vars_of(at))
    assert at.site.seen == ["GET / 0"]


async def a_middleware(block: Block, at: Scene) -> None:
    class Tokens:
        token = "old"

        async def get(self) -> str:
            return self.token

        async def renew(self) -> None:
            self.token = "new"

    middleware = (await run_part(block, {}, tokens=Tokens()))["with_token"]
    async with at.session.get(f"{at.url}guarded", middlewares=(middleware,)) as response:
        assert response.status == 200
    assert len(at.site.seen) == 2


async def just_runs(block: Block, at: Scene) -> None:
    await run_part(block, {}, **vars_of(at))


async def a_websocket(block: Block, at: Scene) -> None:
    await run_part(block, {"wss://example.org/": at.url}, **vars_of(at))
    assert at.site.handshakes == 1


async def reconnecting(block: Block, at: Scene) -> None:
    told: list[str] = []
    with pytest.raises(angelia.WSServerHandshakeError):
        await run_part(block, {"wss://example.org/": at.url}, print=told.append, **vars_of(at))
    assert told == ["message 1", "message 2"]


async def tracing(block: Block, at: Scene) -> None:
    told: list[Any] = []
    part = block.with_text(block.text.replace("    ...", f"    await session.get({at.url!r})"))
    await run_part(part, {}, print=lambda *words: told.append(words))
    assert [(method, status) for method, _, status in told] == [("GET", 200)]


async def a_websocket_handler(block: Block, at: Scene) -> None:
    handler = (await run_part(block, {}))["handler"]
    async with TestClient(TestServer(handler)) as client:
        with pytest.raises(angelia.WSServerHandshakeError):
            await client.ws_connect("/", origin="https://evil.example.org")
        async with client.ws_connect("/", origin="https://app.example.org") as ws:
            await ws.send_str("hi")
            assert await ws.receive_str() == "you said hi"


async def replies(block: Block, at: Scene) -> None:
    mock = MockConnector()
    await run_part(block, {}, mock=mock)
    async with angelia.ClientSession("http://shop/", connector=mock) as session:
        with pytest.raises(angelia.ServerDisconnectedError):
            await session.get("/status")
        for expected in (503, 200, 200):
            async with session.get("/status") as response:
                assert response.status == expected


async def mock_handler(block: Block, at: Scene) -> None:
    mock = (await run_part(block, {}, MockConnector=MockConnector))["mock"]
    async with angelia.ClientSession("http://shop/", connector=mock) as session:
        for path in ("/orders", "/other"):
            async with session.post(path, data=b"x") as response:
                assert await response.json() == {"you sent": "x"}


async def a_response(block: Block, at: Scene) -> None:
    response = (await run_part(block, {}, make_response=make_response))["response"]
    assert (response.status, await response.json()) == (404, {"error": "no such order"})


GREET = """
import angelia
import pytest

async def greet(request):
    return angelia.Response(text=f"Hello, {request.query.get('name', 'you')}!")

"""

Run = Callable[[Block, Scene], Awaitable[None]]

# How an example is run that has these words.
EXAMPLES: list[tuple[str, Run]] = [
    ('session.get("https://example.org/"', a_client),
    ('"localhost", 8080', a_server),
    ("Hello, {request.query.get('name', 'world')}!\")\n", a_served_handler),
    ('"big.iso"', sending),
    ("iter_lines(", receiving),
    ("except angelia.ClientConnectorError", failing),
    ("https://api.example.org/v1/", a_session),
    ("DigestAuthMiddleware", authentication),
    ("with_token", a_middleware),
    ("connector.stats()", just_runs),
    ("import angelia as aiohttp", just_runs),
    ("wss://example.org/chat", a_websocket),
    ("ws_reconnect(", reconnecting),
    ("TraceConfig()", tracing),
    ("check_origin", a_websocket_handler),
    ("times=1)\nmock.add", replies),
    ("mock = MockConnector(handler)", mock_handler),
    ("response = make_response(", a_response),
    ("pytest_plugins", just_runs),
]


PYTHON = [block for page in pages() for block in blocks(page, language="python")]
TESTS = [block for block in PYTHON if "def test_" in block.text]


@pytest.mark.parametrize("block", [block for block in PYTHON if block not in TESTS], ids=str)
async def test_example(block: Block, tmp_path: Path) -> None:
    """It does what the page says."""
    ways = [run for words, run in EXAMPLES if words in block.text]
    assert ways, f"nothing here knows how to run {block}"
    async with scene(tmp_path) as at:
        await ways[0](block, at)


async def test_tests(tmp_path: Path) -> None:
    """pytest runs the tests, with the plugin as the page says."""
    (plugins,) = [block for block in PYTHON if "pytest_plugins" in block.text]
    (tmp_path / "conftest.py").write_text(plugins.text)
    for block in TESTS:
        (tmp_path / f"test_{block.line}.py").write_text(GREET + block.text)
    printed = await output("-m", "pytest", "-q", "-p", "no:cacheprovider", folder=tmp_path)
    assert f"\n{len(TESTS)} passed" in printed


@pytest.mark.parametrize("block", commands("angelia"), ids=str)
def test_command(block: Block) -> None:
    """Each command is one that the program understands."""
    command = block.text.replace("[options]", "").replace("URL", "http://localhost/")
    parse_arguments(shlex.split(command, comments=True)[1:], "0")
