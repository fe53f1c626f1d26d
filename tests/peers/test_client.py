"""The client against real servers and proxies: nginx, uvicorn, squid, proxy.py, SOCKS servers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
import zlib
from typing import TYPE_CHECKING

import pytest

import angelia
from peers.process import LOOPBACK, free_port
from peers.raw import RawServer
from peers.ws import Peer, echo, ws_script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from yarl import URL

    from peers.fixtures import HTTPProxy, SOCKSProxy
    from peers.nginx import Nginx

pytestmark = pytest.mark.usefixtures("loop_kind")

SOCKS = ("socks4", "socks4a", "socks5", "socks5h")


class Remembering:
    """An echo that keeps the heads of the requests that opened its WebSockets."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []

    async def __call__(self, peer: Peer) -> None:
        self.heads.append(peer.head)
        await echo(peer)


class TestNginx:
    async def test_keep_alive(self, nginx: Nginx) -> None:
        """Requests one after the other share a connection."""
        async with angelia.ClientSession() as session:
            for _ in range(3):
                async with session.get(nginx.url) as resp:
                    assert resp.status < 500
                    await resp.read()
            assert session.connector is not None
            assert session.connector.stats().idle == 1

    async def test_large_file(self, nginx: Nginx) -> None:
        """A large file arrives whole, read by a slow reader or at once."""
        url = nginx.url / "files" / "large.bin"
        async with angelia.ClientSession() as session:
            async with session.get(url) as resp:
                assert resp.status == 200
                digest = hashlib.sha256()
                async for piece in resp.content.iter_chunked(65536):
                    digest.update(piece)
            assert digest.hexdigest() == nginx.large_sha256
            async with session.get(url) as resp:
                assert hashlib.sha256(await resp.read()).hexdigest() == nginx.large_sha256
            async with session.get(url, headers={"Range": "bytes=5-9"}) as resp:
                assert resp.status == 206
                assert len(await resp.read()) == 5

    async def test_tls(self, nginx: Nginx, client_ssl: ssl.SSLContext) -> None:
        """The certificate is verified, pinned, or not looked at, as `ssl` says."""
        async with angelia.ClientSession() as session:
            for setting in (client_ssl, False):
                async with session.get(nginx.https_url, ssl=setting) as resp:
                    assert resp.url.scheme == "https"
                    await resp.read()
            with pytest.raises(angelia.ClientConnectorCertificateError):
                await session.get(nginx.https_url)
            with pytest.raises(angelia.ServerFingerprintMismatch):
                await session.get(nginx.https_url, ssl=angelia.Fingerprint(bytes(32)))
            with pytest.raises(angelia.ClientConnectorCertificateError):
                await session.get(nginx.https_url, ssl=client_ssl, server_hostname="other.example")

    async def test_unix_socket(self, nginx: Nginx) -> None:
        """Any URL can be asked for over a Unix socket."""
        connector = angelia.UnixConnector(str(nginx.unix_path))
        async with (
            angelia.ClientSession(connector=connector) as session,
            session.get("http://whatever/") as resp,
        ):
            assert resp.status < 500
            assert resp.headers["Server"].startswith("nginx")

    async def test_many_over_few(self, nginx: Nginx) -> None:
        """Many requests share a few connections, and none is lost."""
        async with (
            angelia.TCPConnector(limit=4) as connector,
            angelia.ClientSession(connector=connector) as session,
        ):

            async def one() -> int:
                async with session.get(nginx.url) as resp:
                    await resp.read()
                    return resp.status

            statuses = await asyncio.gather(*(one() for _ in range(200)))
            assert len(set(statuses)) == 1
            assert connector.stats().idle <= 4

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_redirects(self, nginx: Nginx, status: int) -> None:
        """Each kind of redirect leads on."""
        url = (nginx.url / "redirect" / str(status)).with_query(to="/")
        async with angelia.ClientSession() as session:
            async with session.get(url) as resp:
                assert await resp.read() == b"Hello, World!\n"
                assert [r.status for r in resp.history] == [status]
            with pytest.raises(angelia.TooManyRedirects):
                await session.get(nginx.url / "redirect" / "loop")

    async def test_upload(self, nginx: Nginx, loop_kind: str) -> None:
        """A large body that waits for 100 Continue is stored, and comes back."""
        url = nginx.url / "upload" / f"client-{loop_kind}"
        data = bytes(range(256)) * 8000
        async with angelia.ClientSession() as session:
            async with session.put(url, data=data, expect100=True) as resp:
                assert resp.status in (201, 204)
            async with session.get(url) as resp:
                assert await resp.read() == data

    async def test_gzip(self, nginx: Nginx) -> None:
        """Text comes compressed, and is read as it is."""
        url = nginx.url / "files" / "page.html"
        async with angelia.ClientSession() as session:
            async with session.get(url) as resp:
                coded = resp.headers.get("Content-Encoding")
                text = await resp.text()
            async with session.get(url, headers={"Accept-Encoding": "identity"}) as resp:
                assert "Content-Encoding" not in resp.headers
                assert await resp.text() == text
        assert coded == "gzip"

    async def test_close_and_head(self, nginx: Nginx) -> None:
        """A connection that the server closes is not kept; HEAD has no content."""
        async with angelia.ClientSession() as session:
            async with session.get(nginx.url / "close") as resp:
                assert len(await resp.read()) == 14
            assert session.connector is not None
            assert session.connector.stats().idle == 0
            async with session.head(nginx.url / "files" / "large.bin") as resp:
                assert resp.content_length == 16 * 1024 * 1024
                assert await resp.read() == b""
            assert session.connector.stats().idle == 1


class TestUvicorn:
    async def test_uploads(self, uvicorn_url: URL) -> None:
        """Bodies of known and unknown size arrive as they are."""
        data = bytes(range(256)) * 4000

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(data), 50_000):
                yield data[start : start + 50_000]

        async with angelia.ClientSession() as session:
            for body in (data, pieces()):
                async with session.post(uvicorn_url / "any", data=body) as resp:
                    told = await resp.json()
                assert told["body_length"] == len(data)
                assert told["body_sha256"] == hashlib.sha256(data).hexdigest()

    async def test_multipart(self, uvicorn_url: URL) -> None:
        """A form with a file goes out as multipart and can be read back."""
        form = angelia.FormData()
        form.add_field("name", "v\u00e4lue")
        form.add_field("file", b"content", filename="a.txt", content_type="text/plain")
        parts = []
        async with (
            angelia.ClientSession() as session,
            session.post(uvicorn_url / "echo", data=form) as resp,
        ):
            reader = angelia.MultipartReader.from_response(resp)
            while (part := await reader.next()) is not None:
                assert isinstance(part, angelia.BodyPartReader)
                parts.append((part.name, part.filename, bytes(await part.read())))
        assert parts == [
            ("name", None, "v\u00e4lue".encode()),
            ("file", "a.txt", b"content"),
        ]

    @pytest.mark.parametrize("coding", ["gzip", "deflate", "raw-deflate"])
    async def test_codings(self, uvicorn_url: URL, coding: str) -> None:
        """Content is decoded, unless that is not wanted."""
        async with angelia.ClientSession() as session:
            async with session.get(uvicorn_url / coding) as resp:
                assert (await resp.json(content_type=None))["method"] == "GET"
            async with session.get(uvicorn_url / coding, auto_decompress=False) as resp:
                raw = await resp.read()
        wbits = {"gzip": 31, "deflate": 15, "raw-deflate": -15}[coding]
        assert json.loads(zlib.decompress(raw, wbits))["method"] == "GET"

    async def test_chunks(self, uvicorn_url: URL) -> None:
        """Chunked content is read piece by piece."""
        url = (uvicorn_url / "stream").with_query(chunks=50, size=1000)
        async with angelia.ClientSession() as session, session.get(url) as resp:
            size = 0
            async for data, _ in resp.content.iter_chunks():
                size += len(data)
        assert size == 50_000


class TestProxies:
    @pytest.mark.parametrize("which", ["squid", "proxy_py"])
    async def test_plain_and_tunnel(
        self,
        which: str,
        request: pytest.FixtureRequest,
        uvicorn_url: URL,
        nginx: Nginx,
        client_ssl: ssl.SSLContext,
    ) -> None:
        """http goes through the proxy, https through a tunnel of it."""
        proxy: HTTPProxy = request.getfixturevalue(which)
        async with angelia.ClientSession() as session:
            async with session.get(uvicorn_url / "any", proxy=proxy.url) as resp:
                assert (await resp.json())["path"] == "/any"
            async with session.get(nginx.https_url, proxy=proxy.url, ssl=client_ssl) as resp:
                assert resp.headers["Server"].startswith("nginx")

    async def test_over_tls(
        self, squid: HTTPProxy, uvicorn_url: URL, nginx: Nginx, client_ssl: ssl.SSLContext
    ) -> None:
        """A proxy may be reached with TLS, which a tunnel's TLS then runs through."""
        async with (
            angelia.TCPConnector(proxy_ssl=client_ssl) as connector,
            angelia.ClientSession(connector=connector, proxy=squid.https_url) as session,
        ):
            for _ in range(2):
                async with session.get(uvicorn_url / "any") as resp:
                    assert (await resp.json())["path"] == "/any"
                async with session.get(nginx.https_url, ssl=client_ssl) as resp:
                    assert resp.headers["Server"].startswith("nginx")
                    await resp.read()
            assert connector.stats().idle == 2

    @pytest.mark.parametrize("which", ["squid", "proxy_py"])
    @pytest.mark.parametrize("scheme", ["ws", "wss"])
    async def test_websocket(
        self,
        which: str,
        scheme: str,
        request: pytest.FixtureRequest,
        server_ssl: ssl.SSLContext,
        client_ssl: ssl.SSLContext,
    ) -> None:
        """A WebSocket goes through a tunnel of the proxy, TLS or not."""
        proxy: HTTPProxy = request.getfixturevalue(which)
        tls = server_ssl if scheme == "wss" else None
        async with (
            RawServer(ws_script(echo), tls=tls) as server,
            angelia.ClientSession(proxy=proxy.url) as session,
            session.ws_connect(server.url.with_scheme(scheme), ssl=client_ssl) as ws,
        ):
            for text in ("a", "b" * 100_000):
                await ws.send_str(text)
                assert await ws.receive_str() == text

    @pytest.mark.parametrize("scheme", ["ws", "wss"])
    async def test_websocket_credentials(
        self, squid: HTTPProxy, scheme: str, server_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
    ) -> None:
        """The tunnel of a WebSocket needs the proxy's credentials, and the server gets none."""
        play = Remembering()
        async with (
            RawServer(ws_script(play), tls=server_ssl if scheme == "wss" else None) as server,
            angelia.TCPConnector(proxy_ssl=client_ssl) as connector,
            angelia.ClientSession(connector=connector) as session,
        ):
            url = server.url.with_scheme(scheme)
            auth = angelia.BasicAuth(squid.user, squid.password)
            for proxy in (squid.auth_url, squid.auth_url.with_user("user").with_password("no")):
                with pytest.raises(angelia.ClientHttpProxyError) as caught:
                    await session.ws_connect(url, proxy=proxy, ssl=client_ssl)
                assert caught.value.status == 407
            async with session.ws_connect(
                url, proxy=squid.auth_url, proxy_auth=auth, ssl=client_ssl
            ) as ws:
                await ws.send_str("through")
                assert await ws.receive_str() == "through"
            async with session.ws_connect(url, proxy=squid.https_url, ssl=client_ssl) as ws:
                await ws.send_str("through TLS")
                assert await ws.receive_str() == "through TLS"
        assert len(play.heads) == 2
        assert not any(b"proxy-auth" in head.lower() for head in play.heads)

    async def test_credentials(
        self, squid: HTTPProxy, uvicorn_url: URL, nginx: Nginx, client_ssl: ssl.SSLContext
    ) -> None:
        """A proxy's credentials are for the proxy, and without them it refuses."""
        auth = angelia.BasicAuth(squid.user, squid.password)
        async with angelia.ClientSession() as session:
            async with session.get(
                uvicorn_url / "any", proxy=squid.auth_url, proxy_auth=auth
            ) as resp:
                names = {name for name, _ in (await resp.json())["headers"]}
                assert "proxy-authorization" not in names
            async with session.get(uvicorn_url / "any", proxy=squid.auth_url) as resp:
                assert resp.status == 407
            async with session.get(
                nginx.https_url, proxy=squid.auth_url, proxy_auth=auth, ssl=client_ssl
            ) as resp:
                assert resp.status < 500
            with pytest.raises(angelia.ClientHttpProxyError) as caught:
                await session.get(nginx.https_url, proxy=squid.auth_url, ssl=client_ssl)
            assert caught.value.status == 407

    @pytest.mark.parametrize("scheme", ["socks4", "socks4a", "socks5", "socks5h"])
    async def test_socks(self, socks: SOCKSProxy, uvicorn_url: URL, scheme: str) -> None:
        """SOCKS proxies are named by their URL's scheme."""
        proxy = f"{scheme}://127.0.0.1:{socks.port}"
        async with (
            angelia.ClientSession() as session,
            session.get(uvicorn_url / "any", proxy=proxy) as resp,
        ):
            assert (await resp.json())["path"] == "/any"

    @pytest.mark.parametrize("scheme", ["socks4", "socks5", "socks5h"])
    async def test_dante(
        self,
        dante: SOCKSProxy,
        uvicorn_url: URL,
        nginx: Nginx,
        client_ssl: ssl.SSLContext,
        scheme: str,
    ) -> None:
        """A SOCKS server of another make: plain and TLS, by name and by address, and kept."""
        proxy = f"{scheme}://127.0.0.1:{dante.port}"
        async with angelia.ClientSession(proxy=proxy) as session:
            for url in (uvicorn_url / "any", uvicorn_url.with_host("localhost") / "any"):
                for _ in range(2):
                    async with session.get(url) as resp:
                        assert (await resp.json())["path"] == "/any"
            async with session.get(nginx.https_url, ssl=client_ssl) as resp:
                assert resp.headers["Server"].startswith("nginx")
            assert session.connector is not None
            # One for each host and scheme: the second request to each used the first's.
            assert session.connector.stats().idle == 3

    @pytest.mark.parametrize("which", ["socks", "dante"])
    @pytest.mark.parametrize("scheme", ["ws", "wss"])
    async def test_websocket_over_socks(
        self,
        which: str,
        scheme: str,
        request: pytest.FixtureRequest,
        server_ssl: ssl.SSLContext,
        client_ssl: ssl.SSLContext,
    ) -> None:
        """A WebSocket goes over each version of SOCKS; that of wss is in TLS with its server."""
        peer: SOCKSProxy = request.getfixturevalue(which)
        proxies = [f"{version}://{LOOPBACK}:{peer.port}" for version in SOCKS]
        if peer.auth_port is not None:
            account = f"{peer.user}:{peer.password}"
            proxies.append(f"socks5://{account}@{LOOPBACK}:{peer.auth_port}")
        tls = server_ssl if scheme == "wss" else None
        async with (
            RawServer(ws_script(echo), tls=tls) as server,
            angelia.ClientSession() as session,
        ):
            url = server.url.with_scheme(scheme)
            for proxy in proxies:
                async with session.ws_connect(url, proxy=proxy, ssl=client_ssl) as ws:
                    assert (ws.get_extra_info("ssl_object") is not None) == (scheme == "wss")
                    for text in ("a", "b" * 100_000):
                        await ws.send_str(text)
                        assert await ws.receive_str() == text
                assert ws.close_code == 1000
            if which == "socks":
                assert peer.logged().count(f" {url.port}\n") == len(proxies)

    @pytest.mark.parametrize("which", ["socks", "dante"])
    async def test_wss_over_socks_is_verified(
        self, which: str, request: pytest.FixtureRequest, nginx: Nginx
    ) -> None:
        """The server's certificate is verified behind a SOCKS proxy as well."""
        peer: SOCKSProxy = request.getfixturevalue(which)
        proxy = f"socks5://{LOOPBACK}:{peer.port}"
        async with angelia.ClientSession(proxy=proxy) as session:
            with pytest.raises(angelia.ClientConnectorCertificateError):
                await session.ws_connect(nginx.https_url.with_scheme("wss"))

    @pytest.mark.parametrize("scheme", ["socks4", "socks5"])
    async def test_dante_refuses(self, dante: SOCKSProxy, scheme: str) -> None:
        """A target that the SOCKS server cannot reach is an error that names the proxy."""
        proxy = f"{scheme}://127.0.0.1:{dante.port}"
        async with angelia.ClientSession() as session:
            with pytest.raises(angelia.ClientProxyConnectionError) as caught:
                await session.get(f"http://127.0.0.1:{free_port()}/", proxy=proxy)
            assert caught.value.port == dante.port
            assert session.connector is not None
            stats = session.connector.stats()
            assert (stats.idle, stats.in_use, stats.connecting) == (0, 0, 0)

    async def test_environment(
        self, squid: HTTPProxy, uvicorn_url: URL, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With `trust_env` the environment names the proxy, and what goes past it."""
        monkeypatch.setenv("http_proxy", str(squid.url))
        async with angelia.ClientSession(trust_env=True) as session:
            async with session.get(uvicorn_url / "by-environment") as resp:
                assert "via" in {name for name, _ in (await resp.json())["headers"]}
            monkeypatch.setenv("no_proxy", "127.0.0.0/8")
            async with session.get(uvicorn_url / "past-it") as resp:
                assert "via" not in {name for name, _ in (await resp.json())["headers"]}
        assert squid.logged().count("/past-it") == 0
