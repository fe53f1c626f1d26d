"""TestServer, RawServer, TestClient and unused_port."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest
import trustme
from yarl import URL

import angelia
from angelia.testing import RawServer, TestClient, TestServer, unused_port


async def hello(request: angelia.Request) -> angelia.Response:
    return angelia.Response(text=f"{request.method} {request.path}")


class TestTestServer:
    """A server of a test."""

    async def test_serves(self) -> None:
        """It listens on a port that it chose, until it is closed."""
        server = TestServer(hello)
        assert server.port is None
        with pytest.raises(RuntimeError):
            server.make_url("/")
        async with server, angelia.ClientSession() as session:
            url = server.make_url("/a?b=c")
            assert str(url) == f"http://127.0.0.1:{server.port}/a?b=c"
            async with session.get(url) as response:
                assert await response.text() == "GET /a"
        assert server.server is None
        await server.close()

    async def test_ipv6(self, ipv6: str) -> None:
        """On an IPv6 address, whose URLs have it in brackets."""
        async with TestClient(TestServer(hello, host=ipv6)) as client:
            assert client.host == "::1"
            assert repr(client).startswith("<TestClient <TestServer ")
            assert isinstance(client.server, TestServer)
            assert str(client.make_url("/a")) == f"http://[::1]:{client.port}/a"
            async with client.get("/a") as response:
                assert await response.text() == "GET /a"
                assert str(response.url) == f"http://[::1]:{client.port}/a"

    async def test_absolute_url(self) -> None:
        """Only relative URLs are of this server."""
        async with TestServer(hello) as server:
            for url in ("http://example.org/", URL("//example.org/a")):
                with pytest.raises(ValueError, match="not a relative URL"):
                    server.make_url(url)

    async def test_tls(self) -> None:
        """With a context it is an https server; another scheme would be a mistake."""
        authority = trustme.CA()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        trust = ssl.create_default_context()
        authority.configure_trust(trust)
        async with TestClient(TestServer(hello, ssl=context)) as client:
            assert client.make_url("/").scheme == "https"
            async with client.get("/", ssl=trust) as response:
                assert response.status == 200
        for scheme, given in (("http", context), ("https", None), ("ftp", None)):
            with pytest.raises(ValueError, match="does not fit"):
                TestServer(hello, scheme=scheme, ssl=given)

    async def test_options(self) -> None:
        """Arguments of `Server` reach it."""

        async def read(request: angelia.Request) -> angelia.Response:
            return angelia.Response(await request.read())

        async with (
            TestClient(TestServer(read, max_body_size=3)) as client,
            client.post("/", data=b"1234") as response,
        ):
            assert response.status == 413


class TestTestClient:
    """A client of a test."""

    @pytest.mark.parametrize("method", ["get", "options", "head", "post", "put", "patch", "delete"])
    async def test_methods(self, method: str) -> None:
        """It has the methods of a session, with paths of its server."""
        async with TestClient(hello) as client:
            async with getattr(client, method)("/x") as response:
                text = await response.text()
            assert text == ("" if method == "head" else f"{method.upper()} /x")
            async with client.request(method.upper(), "/y") as response:
                assert response.status == 200
            with pytest.raises(ValueError, match="not a relative URL"):
                getattr(client, method)("http://127.0.0.1/")

    async def test_websocket(self) -> None:
        """WebSockets are opened like requests are made."""

        async def talk(request: angelia.Request) -> angelia.StreamResponse:
            ws = angelia.WebSocketResponse(protocols=["talk"])
            await ws.prepare(request)
            await ws.send_str(request.path)
            return ws

        async with TestClient(talk) as client, client.ws_connect("/a", protocols=["talk"]) as ws:
            assert await ws.receive_str() == "/a"
            assert ws.protocol == "talk"

    async def test_cookies(self) -> None:
        """Cookies of its server are kept, though that has an address and no name."""

        async def handler(request: angelia.Request) -> angelia.Response:
            response = angelia.Response(text=request.cookies.get("a", ""))
            response.set_cookie("a", "1")
            return response

        async with TestClient(handler) as client:
            for expected in ("", "1"):
                async with client.get("/") as response:
                    assert await response.text() == expected

    async def test_no_second_attempt(self) -> None:
        """A request that fails on a reused connection is not sent once more."""
        heads = 0

        async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal heads
            await reader.readuntil(b"\r\n\r\n")
            heads += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            heads += 1

        async with TestClient(RawServer(once)) as client:
            async with client.get("/") as response:
                assert response.status == 200
            with pytest.raises(angelia.ServerDisconnectedError):
                await client.get("/")
        assert heads == 2

    async def test_port_taken(self) -> None:
        """A client whose server cannot start leaves nothing open."""
        async with TestServer(hello) as server:
            client = TestClient(TestServer(hello, port=server.port or 0))
            with pytest.raises(OSError, match=r"."):
                await client.__aenter__()
            assert client.session.closed


class TestRawServer:
    """A server that speaks octets."""

    async def test_octets(self) -> None:
        """It answers with what it was given."""
        async with RawServer(b"nonsense\r\n\r\n") as server, angelia.ClientSession() as session:
            with pytest.raises(angelia.ClientResponseError):
                await session.get(server.make_url("/"))
            assert server.accepted == 1

    async def test_client_has_gone(self) -> None:
        """A script whose client goes in the middle ends, and that is no error."""
        left = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.readexactly(1000)
            finally:
                left.set()

        server = RawServer(script)
        assert server.port is None
        async with server:
            _, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(b"x")
            writer.close()
            await writer.wait_closed()
            await left.wait()

    async def test_closed_under_way(self) -> None:
        """Its end is the end of its scripts."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.Event().wait()

        server = RawServer(script)
        async with angelia.ClientSession() as session:
            async with server:
                request = asyncio.ensure_future(session.get(server.make_url("/")))
                while not server.accepted:  # noqa: ASYNC110 - the event is the server's
                    await asyncio.sleep(0)
            with pytest.raises(angelia.ServerDisconnectedError):
                await request


def test_unused_port() -> None:
    """The port can be bound."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", unused_port()))
