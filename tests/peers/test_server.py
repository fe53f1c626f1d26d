"""Our server and real clients: curl, wrk, and nginx as a proxy in front."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from angelia.server.files import Directory
from angelia.server.request import Request
from angelia.server.response import Response
from angelia.server.server import Server
from angelia.server.stream_response import StreamResponse

pytestmark = [pytest.mark.usefixtures("loop_kind"), pytest.mark.deadline(30)]

RequirePeer = Callable[[str], str]


async def handler(request: Request) -> StreamResponse:
    if request.path == "/sum":
        digest = hashlib.sha256()
        async for piece in request.content.iter_any():
            digest.update(piece)
        return Response(text=digest.hexdigest())
    if request.path == "/large":
        response = Response(text="large " * 10_000)
        response.enable_compression()
        return response
    return Response(text=f"{request.method} {request.version} {request.path}")


async def curl(path: str, *arguments: str) -> str:
    """What curl prints."""
    process = await asyncio.create_subprocess_exec(
        path, "-sS", "--max-time", "20", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output
    return output.decode()


class TestCurl:
    async def test_versions(self, require_peer: RequirePeer) -> None:
        """HTTP/1.0 and 1.1, and several requests on one connection."""
        path = require_peer("curl")
        async with Server(handler) as server:
            await server.start("127.0.0.1", 0)
            url = f"http://127.0.0.1:{server.port}"
            shown = await curl(path, "--http1.0", url)
            assert shown.startswith("GET HttpVersion(major=1, minor=0)")
            shown = await curl(path, "-w", " %{num_connects}\n", f"{url}/a", f"{url}/b")
            assert shown.splitlines()[0].endswith("/a 1")
            assert shown.splitlines()[1].endswith("/b 0")
            assert "content-length" in (await curl(path, "-I", url)).lower()

    async def test_uploads(self, require_peer: RequirePeer, tmp_path: Path) -> None:
        """With a length, chunked, and after 100 Continue."""
        path = require_peer("curl")
        content = os.urandom(3_000_000)
        file = tmp_path / "content"
        file.write_bytes(content)
        expected = hashlib.sha256(content).hexdigest()
        async with Server(handler) as server:
            await server.start("127.0.0.1", 0)
            url = f"http://127.0.0.1:{server.port}/sum"
            body = ("--data-binary", f"@{file}")
            assert await curl(path, *body, "-H", "Expect:", url) == expected
            chunked = ("-H", "Transfer-Encoding: chunked", "-H", "Expect:")
            assert await curl(path, *body, *chunked, url) == expected
            waiting = ("-H", "Expect: 100-continue", "--expect100-timeout", "20")
            shown = await curl(path, "-i", *body, *waiting, url)
            assert shown.startswith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
            assert shown.endswith(expected)

    async def test_compressed(self, require_peer: RequirePeer) -> None:
        """curl asks for the codings that it knows, and undoes the one that it gets."""
        path = require_peer("curl")
        async with Server(handler) as server:
            await server.start("127.0.0.1", 0)
            url = f"http://127.0.0.1:{server.port}/large"
            size = "%{size_download}"
            shown = await curl(path, "--compressed", "-w", size, url)
            assert shown.startswith("large large ")
            assert int(shown.rpartition(" ")[2]) < 10_000

    async def test_files(self, require_peer: RequirePeer, tmp_path: Path) -> None:
        """Ranges, and conditions that curl keeps in files."""
        path = require_peer("curl")
        (tmp_path / "f").write_text("0123456789")
        async with Server(Directory(tmp_path)) as server:
            await server.start("127.0.0.1", 0)
            url = f"http://127.0.0.1:{server.port}/f"
            assert await curl(path, "-r", "2-4", url) == "234"
            assert await curl(path, "-C", "7", url) == "789"
            shown = await curl(path, "-r", "0-1,8-9", url)
            assert re.findall(r"bytes (\d-\d)/10", shown) == ["0-1", "8-9"]
            etag = str(tmp_path / "etag")
            await curl(path, "--etag-save", etag, url)
            assert await curl(path, "--etag-compare", etag, "-w", "%{http_code}", url) == "304"


async def test_wrk(require_peer: RequirePeer) -> None:
    """Under load every request is answered, and no connection is left."""
    path = require_peer("wrk")
    async with Server(handler) as server:
        await server.start("127.0.0.1", 0)
        process = await asyncio.create_subprocess_exec(
            *(path, "-t1", "-c32", "-d1", f"http://127.0.0.1:{server.port}/"),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        assert b"Non-2xx" not in output
        assert b"Socket errors" not in output
        assert int(re.findall(rb"(\d+) requests in", output)[0]) > 100


CONFIGURATION = """
daemon off; master_process off; worker_processes 1;
pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 100; }}
http {{
    access_log off;
    client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
    uwsgi_temp_path {directory}; scgi_temp_path {directory};
    upstream ours {{ server 127.0.0.1:{port}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{own};
        client_max_body_size 0;
        location / {{
            proxy_pass http://ours; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header Host $host; proxy_request_buffering off;
        }}
    }}
}}
"""


async def test_behind_nginx(require_peer: RequirePeer, tmp_path: Path) -> None:
    """A proxy that keeps its connections: requests and bodies of many clients, in order."""
    nginx, curl_path = require_peer("nginx"), require_peer("curl")
    content = tmp_path / "content"
    content.write_bytes(os.urandom(2_000_000))
    expected = hashlib.sha256(content.read_bytes()).hexdigest()
    with socket.create_server(("127.0.0.1", 0)) as free:
        own = free.getsockname()[1]
    async with Server(handler) as server:
        await server.start("127.0.0.1", 0)
        file = tmp_path / "nginx.conf"
        file.write_text(CONFIGURATION.format(directory=tmp_path, port=server.port, own=own))
        process = await asyncio.create_subprocess_exec(
            *(nginx, "-c", str(file), "-p", str(tmp_path)), stderr=asyncio.subprocess.DEVNULL
        )
        try:
            url = f"http://127.0.0.1:{own}"
            retry = ("--retry", "50", "--retry-connrefused", "--retry-delay", "1")
            for number in range(5):
                shown = await curl(curl_path, *retry, f"{url}/{number}")
                assert shown.endswith(f"/{number}")
            assert server.connections == 1
            sums = await asyncio.gather(
                *(curl(curl_path, "--data-binary", f"@{content}", f"{url}/sum") for _ in range(4))
            )
            assert sums == [expected] * 4
        finally:
            process.terminate()
            await process.wait()
