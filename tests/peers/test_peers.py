"""Each peer answers an independent client, curl, as the tests of angelia will count on."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import ssl
import subprocess
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from yarl import URL

from peers.fixtures import HTTPProxy, SOCKSProxy
from peers.nginx import HELLO, LARGE_SIZE, Nginx
from peers.raw import RawServer, read_head, read_request, response

Curl: TypeAlias = Callable[..., bytes]


@pytest.fixture
def curl(require_peer: Callable[[str], str]) -> Curl:
    """Runs curl with the given arguments, and returns what it put out."""
    program = require_peer("curl")
    environ = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}

    def run(*arguments: str | Path | URL) -> bytes:
        command = [program, "-q", "-sS", "--max-time", "20", *map(str, arguments)]
        done = subprocess.run(command, env=environ, capture_output=True, check=False)
        if done.returncode:
            raise AssertionError(f"curl: {done.returncode}: {done.stderr.decode()}")
        return done.stdout

    return run


def _status(curl: Curl, *arguments: str | Path | URL) -> int:
    return int(curl("-o", "/dev/null", "-w", "%{http_code}", *arguments))


def _json(data: bytes) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(data)
    return loaded


class TestNginx:
    """The web server."""

    def test_plain(self, nginx: Nginx, curl: Curl) -> None:
        """It answers over IPv4 and over a Unix socket."""
        assert curl(nginx.url) == HELLO
        assert curl("--unix-socket", nginx.unix_path, "http://localhost/") == HELLO

    def test_ipv6(self, nginx: Nginx, ipv6: str, curl: Curl) -> None:
        """It answers over IPv6."""
        assert curl("-g", nginx.url_ipv6) == HELLO

    def test_tls(self, nginx: Nginx, curl: Curl, ca_path: Path) -> None:
        """Its certificate is verified by the authority of the tests, and only by it."""
        assert curl("--cacert", ca_path, nginx.https_url) == HELLO
        with pytest.raises(AssertionError, match="curl: 60"):
            curl(nginx.https_url)

    def test_mutual_tls(
        self, nginx: Nginx, curl: Curl, ca_path: Path, client_certificate_path: Path
    ) -> None:
        """It asks for a client's certificate where it should."""
        base = ("--cacert", ca_path, nginx.mutual_tls_url)
        assert _status(curl, *base) == 400
        assert curl("--cert", client_certificate_path, *base) == HELLO

    def test_keep_alive(self, nginx: Nginx, curl: Curl) -> None:
        """Connections are kept, for two requests only by the impatient server."""
        write_out = ("-w", "%{num_connects} ")
        paths = (nginx.impatient_url,) * 3
        assert curl("-o", "/dev/null", "-o", "/dev/null", *write_out, nginx.url, nginx.url) == (
            b"1 0 "
        )
        assert curl(*("-o", "/dev/null") * 3, *write_out, *paths) == b"1 0 1 "

    def test_gzip(self, nginx: Nginx, curl: Curl) -> None:
        """Compressible files are compressed for who accepts that."""
        url = nginx.url / "files/page.html"
        assert b"Content-Encoding: gzip" in curl("-I", "-X", "GET", "--compressed", url)
        assert curl("--compressed", url) == (nginx.files / "page.html").read_bytes()

    def test_large_file_and_ranges(self, nginx: Nginx, curl: Curl) -> None:
        """It serves a large file, whole and in ranges."""
        url = nginx.url / "files/large.bin"
        content = curl(url)
        assert len(content) == LARGE_SIZE
        assert hashlib.sha256(content).hexdigest() == nginx.large_sha256
        assert curl("-r", "100-199", url) == content[100:200]

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_redirects(self, nginx: Nginx, curl: Curl, status: int) -> None:
        """It redirects with every code to where it is told."""
        url = nginx.url.with_path(f"/redirect/{status}").with_query(to="/files/small.txt")
        assert _status(curl, url) == status
        assert curl("-L", url) == HELLO

    def test_expect_continue(self, nginx: Nginx, curl: Curl, tmp_path: Path) -> None:
        """An upload that asks gets its 100 before the final answer."""
        source = tmp_path / "source"
        source.write_bytes(b"x" * 100_000)
        url = nginx.url / "upload" / tmp_path.name
        heads = curl("-i", "-H", "Expect: 100-continue", "-T", source, url)
        assert heads.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\n")
        assert curl(url) == b"x" * 100_000

    def test_proxy_streams(self, nginx: Nginx, curl: Curl) -> None:
        """What it passes on comes in chunks, and uploads reach the application."""
        url = nginx.url / "proxy/stream"
        head = curl("-D", "-", "-o", "/dev/null", url)
        assert b"Transfer-Encoding: chunked" in head
        report = _json(curl("--data-binary", "abc", nginx.url / "proxy/x"))
        assert (report["method"], report["path"], report["body_length"]) == ("POST", "/x", 3)

    def test_authentication(self, nginx: Nginx, curl: Curl) -> None:
        """The one account is let in, nobody else."""
        url = nginx.url / "auth/"
        assert _status(curl, url) == 401
        assert curl("-u", "user:secret", url) == HELLO

    def test_status_and_cookies(self, nginx: Nginx, curl: Curl) -> None:
        """It answers with the status asked for, and sets cookies."""
        assert _status(curl, nginx.url / "status/503") == 503
        assert curl("-I", nginx.url / "cookies").count(b"Set-Cookie:") == 2


class TestSquid:
    """The proxy."""

    def test_plain(self, squid: HTTPProxy, nginx: Nginx, curl: Curl) -> None:
        """It forwards requests, and logs them."""
        assert curl("-x", squid.url, nginx.url / "files/small.txt") == HELLO
        assert f"GET {nginx.url}/files/small.txt" in squid.logged()

    def test_connect(self, squid: HTTPProxy, nginx: Nginx, curl: Curl, ca_path: Path) -> None:
        """It opens tunnels."""
        assert curl("-x", squid.url, "--cacert", ca_path, nginx.https_url) == HELLO
        assert f"CONNECT localhost:{nginx.https_port}" in squid.logged()

    def test_authentication(self, squid: HTTPProxy, nginx: Nginx, curl: Curl) -> None:
        """Its second port answers 407 to who has no account."""
        assert _status(curl, "-x", squid.auth_url, nginx.url) == 407
        assert curl("-x", squid.auth_url, "--proxy-user", "user:secret", nginx.url) == HELLO

    def test_tls_to_the_proxy(
        self, squid: HTTPProxy, nginx: Nginx, curl: Curl, ca_path: Path
    ) -> None:
        """Its third port speaks TLS itself, so that a tunnel is TLS in TLS."""
        assert squid.https_url is not None
        base = ("-x", squid.https_url, "--proxy-cacert", ca_path, "--cacert", ca_path)
        assert curl(*base, nginx.url) == HELLO
        assert curl(*base, nginx.https_url) == HELLO


class TestProxyPy:
    """Another proxy."""

    def test_plain_and_connect(
        self, proxy_py: HTTPProxy, nginx: Nginx, curl: Curl, ca_path: Path
    ) -> None:
        """It forwards requests and opens tunnels."""
        assert curl("-x", proxy_py.url, nginx.url) == HELLO
        assert curl("-x", proxy_py.url, "--cacert", ca_path, nginx.https_url) == HELLO

    def test_authentication(self, proxy_py: HTTPProxy, nginx: Nginx, curl: Curl) -> None:
        """Its second port answers 407 to who has no account."""
        assert _status(curl, "-x", proxy_py.auth_url, nginx.url) == 407
        assert curl("-x", proxy_py.auth_url, "--proxy-user", "user:secret", nginx.url) == HELLO


class TestSocks:
    """The SOCKS servers."""

    @pytest.mark.parametrize("version", ["socks4", "socks4a", "socks5", "socks5h"])
    def test_ours(
        self, socks: SOCKSProxy, nginx: Nginx, curl: Curl, ca_path: Path, version: str
    ) -> None:
        """Ours speaks every version, and tells who resolved the name."""
        curl("-4", "-x", f"{version}://127.0.0.1:{socks.port}", nginx.url_by_name)
        kind = "domain" if version in {"socks4a", "socks5h"} else "ipv4"
        host = "localhost" if kind == "domain" else "127.0.0.1"
        assert f"{version[5]} {kind} {host} {nginx.http_port}\n" in socks.logged()

    def test_authentication(self, socks: SOCKSProxy, nginx: Nginx, curl: Curl) -> None:
        """Ours lets in the one account, nobody else."""
        proxy = f"127.0.0.1:{socks.auth_port}"
        assert curl("-x", f"socks5h://user:secret@{proxy}", nginx.url) == HELLO
        with pytest.raises(AssertionError, match="curl: 97"):
            curl("-x", f"socks5h://user:wrong@{proxy}", nginx.url)

    @pytest.mark.parametrize("version", ["socks4", "socks5", "socks5h"])
    def test_dante(self, dante: SOCKSProxy, nginx: Nginx, curl: Curl, version: str) -> None:
        """Dante does too."""
        assert curl("-x", f"{version}://127.0.0.1:{dante.port}", nginx.url) == HELLO


class TestApplicationServers:
    """Servers in Python."""

    def test_http_server(self, http_server_url: URL, curl: Curl) -> None:
        """The standard library's serves a file."""
        assert curl(http_server_url / "hello.txt") == b"hello\n"

    def test_echo(self, uvicorn_url: URL, curl: Curl) -> None:
        """The application tells what it was asked."""
        report = _json(curl("-X", "PUT", "-H", "X-A: b", "-d", "abc", f"{uvicorn_url}/a%20b"))
        assert report["method"] == "PUT"
        assert report["raw_path"] == "/a%20b"
        assert ["x-a", "b"] in report["headers"]
        assert report["body_sha256"] == hashlib.sha256(b"abc").hexdigest()

    def test_variants(self, uvicorn_url: URL, curl: Curl) -> None:
        """The application streams, compresses, sets cookies, answers early and late."""
        assert len(curl(f"{uvicorn_url}/stream?chunks=3&size=7")) == 21
        assert curl(f"{uvicorn_url}/lines?count=2") == b'{"number": 0}\n{"number": 1}\n'
        assert _json(curl("--compressed", uvicorn_url / "gzip"))["path"] == "/gzip"
        assert curl("-d", "abc", uvicorn_url / "echo") == b"abc"
        assert _status(curl, f"{uvicorn_url}/early?status=413") == 413
        assert _status(curl, f"{uvicorn_url}/x?status=404&delay=0.01") == 404
        assert b"set-cookie: a=1; Path=/" in curl("-i", f"{uvicorn_url}/cookies/set?a=1&b=2")


@pytest.mark.usefixtures("loop_kind")
class TestRawServer:
    """The scripted server."""

    async def test_responses(self, curl: Curl) -> None:
        """The n-th request gets the n-th response, and all bytes are recorded."""
        async with RawServer([response(b"one"), response(b"two")]) as server:
            assert await asyncio.to_thread(curl, server.url, server.url / "x") == b"onetwo"
            await server.wait_all_closed()
        assert server.connections == 1
        assert server.requests[0].startswith(b"GET / HTTP/1.1\r\n")
        assert b"GET /x HTTP/1.1\r\n" in server.requests[0]

    async def test_close_each(self, curl: Curl) -> None:
        """A connection can be closed after each response."""
        async with RawServer([response(b"one"), response(b"two")], close_each=True) as server:
            assert await asyncio.to_thread(curl, server.url, server.url) == b"onetwo"
        assert server.connections == 2

    async def test_pieces(self, curl: Curl) -> None:
        """A response can be sent byte by byte."""
        async with RawServer([response(b"content")], piece=1) as server:
            assert await asyncio.to_thread(curl, server.url) == b"content"

    async def test_request_content(self, curl: Curl) -> None:
        """A request is read to its end, chunked or not."""
        async with RawServer([response(b"a"), response(b"b")]) as server:
            await asyncio.to_thread(curl, "-d", "abc", server.url)
            await asyncio.to_thread(
                curl, "-H", "Transfer-Encoding: chunked", "-d", "abcd", server.url
            )
        assert server.requests[0].endswith(b"\r\n\r\nabc")
        assert server.requests[1].endswith(b"\r\n\r\n4\r\nabcd\r\n0\r\n\r\n")

    async def test_script(self, curl: Curl) -> None:
        """A script does with a connection what it likes."""

        async def script(reader: StreamReader, writer: StreamWriter) -> None:
            await read_head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\nto the end")

        async with RawServer(script) as server:
            assert await asyncio.to_thread(curl, server.url) == b"to the end"

    async def test_tls(self, curl: Curl, server_ssl: ssl.SSLContext, ca_path: Path) -> None:
        """It speaks TLS."""
        async with RawServer([response(b"safe")], tls=server_ssl) as server:
            assert server.url.scheme == "https"
            assert await asyncio.to_thread(curl, "--cacert", ca_path, server.url) == b"safe"

    async def test_unix(self, curl: Curl, tmp_path: Path) -> None:
        """It listens at a path."""
        path = tmp_path / "socket"
        async with RawServer([response(b"near")], unix_path=path) as server:
            arguments = ("--unix-socket", path, server.url)
            assert await asyncio.to_thread(curl, *arguments) == b"near"

    async def test_failing_script(self) -> None:
        """What a script raises comes out at the end."""

        async def script(reader: StreamReader, writer: StreamWriter) -> None:
            await read_request(reader)
            raise ValueError("no")

        async def provoke() -> None:
            async with RawServer(script) as server:
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
                with contextlib.suppress(ConnectionError):  # An abort may show as a reset.
                    assert await reader.read() == b""
                writer.close()

        with pytest.raises(ExceptionGroup) as caught:
            await provoke()
        assert isinstance(caught.value.exceptions[0], ValueError)

    async def test_open_connections_end(self) -> None:
        """A connection that hangs is aborted when the server is left."""

        async def script(reader: StreamReader, writer: StreamWriter) -> None:
            await asyncio.Event().wait()

        async with RawServer(script) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            await server.wait_connections(1)
            assert server.open_connections == 1
        assert server.open_connections == 0
        writer.close()
