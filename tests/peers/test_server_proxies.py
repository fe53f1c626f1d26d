"""Our server behind nginx and HAProxy, which keep their connections to it, and under load."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import angelia
from angelia.server.request import Request
from angelia.server.response import Response
from angelia.server.server import Server
from angelia.server.stream_response import StreamResponse
from peers.process import LOOPBACK, Process, free_port

pytestmark = [pytest.mark.usefixtures("loop_kind"), pytest.mark.deadline(45)]

RequirePeer = Callable[[str], str]

# So many connections to us do the proxies keep.
KEPT = 4

NGINX = """
daemon off; master_process off; worker_processes 1;
pid {directory}/pid; error_log stderr;
events {{ worker_connections 200; }}
http {{
    access_log off;
    client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
    uwsgi_temp_path {directory}; scgi_temp_path {directory};
    upstream ours {{ server 127.0.0.1:{port}; keepalive {kept}; }}
    server {{
        listen 127.0.0.1:{own};
        client_max_body_size 0;
        location / {{
            proxy_pass http://ours; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header Host $host; proxy_request_buffering off; proxy_buffering off;
        }}
    }}
}}
"""

HAPROXY = """
global
    maxconn 200
    nbthread 1
defaults
    mode http
    timeout connect 20s
    timeout client 60s
    timeout server 60s
    http-reuse always
frontend front
    bind 127.0.0.1:{own}
    default_backend ours
backend ours
    server ours 127.0.0.1:{port} pool-max-conn {kept}
"""


class Counting:
    """A handler that knows the connections that its requests came on."""

    def __init__(self) -> None:
        self.requests = 0
        self.connections: set[object] = set()

    async def __call__(self, request: Request) -> StreamResponse:
        self.requests += 1
        self.connections.add(request.peername)
        if request.path == "/sum":
            digest = hashlib.sha256()
            async for piece in request.content.iter_any():
                digest.update(piece)
            return Response(text=digest.hexdigest())
        if request.path == "/stream":
            response = StreamResponse()
            await response.prepare(request)
            for number in range(100):
                await response.write(b"%d," % number)
            return response
        if request.path == "/ignore":
            return Response(text="ignored")
        return Response(text=request.path)


@asynccontextmanager
async def behind(
    name: str, require_peer: RequirePeer, directory: Path, handler: Counting
) -> AsyncIterator[str]:
    """Our server behind the proxy of that name; the proxy's URL."""
    program, own = require_peer(name), free_port()
    async with Server(handler) as server:
        await server.start(LOOPBACK, 0)
        file = directory / "configuration"
        text = NGINX if name == "nginx" else HAPROXY
        file.write_text(text.format(directory=directory, port=server.port, own=own, kept=KEPT))
        command = {
            "nginx": [program, "-c", str(file), "-p", str(directory)],
            "haproxy": [program, "-db", "-f", str(file)],
        }[name]
        process = Process(command, log=directory / "log", ready=[own])
        await asyncio.to_thread(process.__enter__)
        try:
            yield f"http://{LOOPBACK}:{own}"
        finally:
            await asyncio.to_thread(process.stop)


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
class TestProxies:
    """Reverse proxies with upstream connections that they use again."""

    async def test_reuse(self, name: str, require_peer: RequirePeer, tmp_path: Path) -> None:
        """Requests one after the other, of many clients, come on one connection."""
        handler = Counting()
        async with behind(name, require_peer, tmp_path, handler) as url:
            for number in range(10):
                async with angelia.request("GET", f"{url}/{number}") as response:
                    assert await response.text() == f"/{number}"
                async with angelia.request("HEAD", f"{url}/{number}") as response:
                    assert response.status == 200
                async with angelia.request("GET", f"{url}/stream") as response:
                    assert (await response.read()).count(b",") == 100
            assert handler.requests == 30
            assert len(handler.connections) == 1

    async def test_at_once(self, name: str, require_peer: RequirePeer, tmp_path: Path) -> None:
        """Many requests at once get each its own answer, uploads of either framing as well."""
        handler = Counting()
        content = os.urandom(300_000)
        expected = hashlib.sha256(content).hexdigest()

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(content), 50_000):
                yield content[at : at + 50_000]

        async with (
            behind(name, require_peer, tmp_path, handler) as url,
            angelia.ClientSession(connector=angelia.TCPConnector(limit=16)) as session,
        ):

            async def get(number: int) -> bool:
                async with session.get(f"{url}/{number}") as response:
                    return await response.text() == f"/{number}"

            async def upload(*, chunked: bool) -> bool:
                data = pieces() if chunked else content
                async with session.post(f"{url}/sum", data=data) as response:
                    return await response.text() == expected

            asked = [get(number) for number in range(100)]
            asked += [upload(chunked=bool(number % 2)) for number in range(10)]
            assert all(await asyncio.gather(*asked))
            assert handler.requests == 110

    async def test_unread_upload(
        self, name: str, require_peer: RequirePeer, tmp_path: Path
    ) -> None:
        """What nobody reads of an upload is never taken for the next client's request."""
        handler = Counting()
        smuggled = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n" * 500
        async with (
            behind(name, require_peer, tmp_path, handler) as url,
            angelia.ClientSession() as session,
        ):
            for number in range(10):
                async with session.post(f"{url}/ignore", data=smuggled) as response:
                    assert await response.text() == "ignored"
                async with session.get(f"{url}/{number}") as response:
                    assert await response.text() == f"/{number}"
            assert handler.requests == 20


async def output(*command: str) -> str:
    """What a program prints that ends well."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed
    return printed.decode()


@pytest.mark.parametrize("pipelined", [1, 8])
async def test_h2load(require_peer: RequirePeer, pipelined: int) -> None:
    """h2load with HTTP/1.1: each request is answered once, pipelined or not."""
    program, handler = require_peer("h2load"), Counting()
    async with Server(handler) as server:
        await server.start(LOOPBACK, 0)
        printed = await output(
            *(program, "--h1", "-n", "2000", "-c", "16", "-m", str(pipelined)),
            f"http://{LOOPBACK}:{server.port}/",
        )
        assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in printed
        assert re.search(r"status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx", printed)
        assert handler.requests == 2000
        assert len(handler.connections) == 16


async def curl(path: str, *arguments: str) -> str:
    return await output(path, "-sS", "--max-time", "30", *arguments)


class TestCurl:
    """What curl does that test_server.py has not."""

    async def test_ten_on_one_connection(self, require_peer: RequirePeer) -> None:
        """Bodies that were read, not read and not there leave the connection usable."""
        path, handler = require_peer("curl"), Counting()
        async with Server(handler) as server:
            await server.start(LOOPBACK, 0)
            url = f"http://{LOOPBACK}:{server.port}"
            # Each of them with the others' options gone.
            shown = await curl(
                path,
                *("-d", "x" * 1000, "-w", "\n", f"{url}/sum", "--next"),
                *("-s", "-d", "x" * 1000, "-w", "\n", f"{url}/ignore", "--next"),
                *("-s", "-H", "Transfer-Encoding: chunked", "-d", "xyz", f"{url}/ignore"),
                *("-w", "\n", "--next", "-s", "-w", "\n", f"{url}/[1-7]"),
            )
        expected = [hashlib.sha256(b"x" * 1000).hexdigest(), "ignored", "ignored"]
        assert shown.split() == [*expected, *(f"/{n}" for n in range(1, 8))]
        assert handler.requests == 10
        assert len(handler.connections) == 1

    async def test_answer_before_100(self, require_peer: RequirePeer, tmp_path: Path) -> None:
        """A client that waits for 100 and gets a final answer sends nothing."""
        path, handler = require_peer("curl"), Counting()
        (tmp_path / "content").write_bytes(bytes(2_000_000))
        async with Server(handler) as server:
            await server.start(LOOPBACK, 0)
            shown = await curl(
                path,
                *("-H", "Expect: 100-continue", "--expect100-timeout", "30"),
                *("-T", str(tmp_path / "content"), "-w", " %{size_upload}"),
                f"http://{LOOPBACK}:{server.port}/ignore",
            )
        assert shown == "ignored 0"

    async def test_http10_keep_alive(self, require_peer: RequirePeer) -> None:
        """HTTP/1.0 with keep-alive, and a stream that ends with its connection."""
        path, handler = require_peer("curl"), Counting()
        async with Server(handler) as server:
            await server.start(LOOPBACK, 0)
            url = f"http://{LOOPBACK}:{server.port}"
            keep = ("--http1.0", "-H", "Connection: keep-alive", "-w", " %{num_connects}\n")
            shown = await curl(path, *keep, f"{url}/a", f"{url}/b", f"{url}/stream", f"{url}/c")
        first, second, stream, last = shown.splitlines()
        assert (first, second) == ("/a 1", "/b 0")
        assert stream.startswith("0,1,2,")
        assert stream.endswith("99, 0")
        assert last == "/c 1"
