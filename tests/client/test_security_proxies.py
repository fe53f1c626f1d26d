"""Proxies as attackers, and proxies as witnesses of what is not for them.

Held here:

- answers to CONNECT with content, 407, 3xx, too large heads, too many octets; none of it is taken
  for the target's (tables of the dialler alone are in `tests/net/test_tunnel.py`);
- requests CVE-2023-32681: Proxy-Authorization in the tunnel; what is for the target in CONNECT;
- CVE-2026-54275, urllib3 CVE-2026-97687, CVE-2021-28363: proxy, its credentials and fields in the
  pool's key; the proxy and what is behind it verified separately;
- httpx2 (wss over SOCKS without TLS): TLS behind each kind of proxy;
- redirects: from a proxied target to one without proxy, and between schemes.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from contextlib import suppress
from typing import Any

import pytest
import trustme
from yarl import URL

import angelia
from peers.evil import CANARY, at, content, failure, fields_of, invented_names
from peers.raw import RawServer, read_head, read_request, response
from peers.socks_server import SocksServer

pytestmark = pytest.mark.usefixtures("loop_kind")

SECRET = "s3cret"
AUTH = angelia.BasicAuth("u", SECRET)
PROOF = base64.b64encode(f"u:{SECRET}".encode())
EVIL = b"EVIL"


class Proxy:
    """Forwards plain requests to the canary, and CONNECT to one port of 127.0.0.1."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.heads: list[bytes] = []
        # What went through its tunnels from clients.
        self.tunnelled = b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await read_head(reader)
            self.heads.append(head)
            if head.startswith(b"CONNECT "):
                break
            writer.write(response(CANARY))
            await writer.drain()
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        behind, front = await asyncio.open_connection("127.0.0.1", self.port)

        async def back() -> None:
            with suppress(OSError):
                while data := await behind.read(65536):
                    writer.write(data)
            writer.close()

        task = asyncio.ensure_future(back())
        try:
            while data := await reader.read(65536):
                self.tunnelled += data
                front.write(data)
        finally:
            front.transport.abort()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_request(reader)
        writer.write(response(CANARY))
        await writer.drain()


@pytest.fixture(scope="module")
def target_ssl(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("a.test", "b.test").configure_cert(context)
    return context


@pytest.fixture(autouse=True)
def no_proxies_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class TestConnect:
    @pytest.mark.parametrize(
        "attack",
        [
            response(EVIL, "Proxy-Authenticate: Basic", status="407 Proxy Authentication Required"),
            response(EVIL, status="403 Forbidden"),
            response(EVIL, "Location: http://b.test/", status="302 Found"),
            response(EVIL, "Location: http://b.test/", status="307 Temporary Redirect"),
            response(EVIL, "Set-Cookie: a=b; Domain=a.test", status="401 Unauthorized"),
            response(EVIL, status="200 OK"),
            response(EVIL, status="200 OK", length=False),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n" + response(EVIL),
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + response(EVIL),
            b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
            b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000,
            b"\x05\x00",
        ],
        ids=lambda attack: ascii(attack[:60]),
    )
    async def test_answers(self, attack: bytes, client_ssl: ssl.SSLContext) -> None:
        """Whatever a proxy answers, it is not the target: no response, no redirect, no cookie."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            writer.write(attack)
            writer.write_eof()
            await reader.read()

        async with (
            RawServer(script) as proxy,
            invented_names() as connector,
            angelia.ClientSession(connector=connector) as session,
        ):
            error = await failure(
                session,
                URL("https://a.test/"),
                proxy=proxy.url,
                proxy_auth=AUTH,
                headers={"Authorization": "Bearer for-the-target"},
                cookies={"c": "for-the-target"},
                ssl=client_ssl,
            )
            assert error.request_sent is False
            assert isinstance(error, angelia.ClientConnectionError | angelia.ClientHttpProxyError)
            assert len(session.cookie_jar) == 0
            await proxy.wait_all_closed()
            assert connector.stats().in_use == connector.stats().idle == 0
            assert b"for-the-target" not in b"".join(proxy.requests)

    async def test_who_gets_what(
        self, target_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
    ) -> None:
        """The proxy's credentials end at the proxy, the target's pass it unseen."""
        async with RawServer(answer, tls=target_ssl) as server:
            script = Proxy(server.port)
            async with (
                RawServer(script) as proxy,
                angelia.ClientSession(connector=invented_names(ssl=client_ssl)) as session,
            ):
                found = await content(
                    session,
                    at(server, "a.test"),
                    proxy=proxy.url,
                    proxy_auth=AUTH,
                    proxy_headers={"X-Tenant": "proxys"},
                    headers={"Authorization": "Bearer targets"},
                    cookies={"c": "targets"},
                )
                assert found == CANARY
            (connect,) = script.heads
            assert PROOF in connect
            assert b"proxys" in connect
            assert b"targets" not in connect
            # It was TLS that went through, and not a word of it can be read.
            assert script.tunnelled.startswith(b"\x16\x03")
            assert b"targets" not in script.tunnelled
            names = {name for name, _ in fields_of(server.requests[0])}
            assert "authorization" in names
            assert not names & {"proxy-authorization", "x-tenant"}

    async def test_verified_separately(
        self, ca: trustme.CA, target_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
    ) -> None:
        """What is said of the target's certificate counts for the target only, and the reverse."""
        strangers = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1", "a.test").configure_cert(strangers)
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        async with RawServer(answer, tls=strangers) as server:
            for proxy_context, proxy_ssl, target in (
                # Nobody verifies the target; the proxy is a stranger.
                (strangers, client_ssl, False),
                # Nobody verifies the proxy; the target is a stranger.
                (strangers, False, client_ssl),
                (None, False, client_ssl),
            ):
                async with (
                    RawServer(Proxy(server.port), tls=proxy_context) as proxy,
                    angelia.ClientSession(connector=invented_names(proxy_ssl=proxy_ssl)) as session,
                ):
                    with pytest.raises(angelia.ClientConnectorError) as caught:
                        await session.get(at(server, "a.test"), proxy=proxy.url, ssl=target)
                    reason = caught.value.__cause__
                    assert isinstance(reason, ssl.SSLCertVerificationError)
            assert not any(server.requests)


class TestForwarding:
    async def test_pool(self) -> None:
        """Another proxy, other credentials and other fields are another connection."""
        script = Proxy()
        async with (
            RawServer(script) as proxy,
            RawServer(answer) as server,
            invented_names() as connector,
            angelia.ClientSession(connector=connector) as session,
        ):
            url = at(server, "a.test")
            ways: list[dict[str, Any]] = [
                {},
                {"proxy": proxy.url},
                {"proxy": proxy.url, "proxy_auth": AUTH},
                {"proxy": proxy.url, "proxy_auth": angelia.BasicAuth("u", "other")},
                {"proxy": proxy.url, "proxy_headers": {"X-Tenant": "1"}},
                {"proxy": proxy.url, "proxy_headers": {"X-Tenant": "2"}},
            ]
            for options in ways * 2:
                assert await content(session, url, **options) == CANARY
            assert server.connections == 1
            assert proxy.connections == 5
            assert connector.stats().idle == 6

    async def test_target(self) -> None:
        """RFC 9110 §4.2.4: the absolute target has neither credentials nor fragment."""
        script = Proxy()
        async with RawServer(script) as proxy, angelia.ClientSession() as session:
            url = URL(f"http://v:{SECRET}@a.test/x?y=z#part")
            assert await content(session, url, proxy=proxy.url) == CANARY
            (head,) = script.heads
            assert head.startswith(b"GET http://a.test/x?y=z HTTP/1.1\r\n")
            assert ("host", "a.test") in fields_of(head)

    @pytest.mark.parametrize("octet", ["\r\nX-Evil: 1", "\r", "\n", "\x00"])
    async def test_injection(self, octet: str) -> None:
        """What is for the proxy breaks out of its field no more than what is for the target."""
        script = Proxy()
        async with RawServer(script) as proxy, angelia.ClientSession() as session:
            ways: list[dict[str, Any]] = [
                {"proxy_headers": {"X-Tenant": f"a{octet}"}},
                {"proxy_headers": {f"X-Tenant{octet}": "a"}},
                {"headers": {"Host": f"a.test{octet}"}},
            ]
            for options in ways:
                with pytest.raises(ValueError, match="header"):
                    await session.get("http://a.test/", proxy=proxy.url, **options)
            assert script.heads == []

    async def test_redirect_without_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A hop that goes past the proxy says nothing that was for it."""
        async with RawServer(answer) as server:
            target = at(server, "b.test")
            moved = response(b"", f"Location: {target}", status="302 Found")
            async with (
                RawServer([moved]) as proxy,
                angelia.ClientSession(connector=invented_names(), trust_env=True) as session,
            ):
                url = proxy.url.with_user("u").with_password(SECRET)
                monkeypatch.setenv("http_proxy", str(url))
                monkeypatch.setenv("no_proxy", "b.test")
                options = {"headers": {"Proxy-Authorization": "Bearer mine"}}
                assert await content(session, URL("http://c.test/"), **options) == CANARY
                assert PROOF in proxy.requests[0]
            assert "proxy-authorization" not in dict(fields_of(server.requests[0]))

    async def test_redirect_into_a_tunnel(
        self, target_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
    ) -> None:
        """From a forwarded http target to a tunnelled one: the credentials stay with the proxy."""
        async with RawServer(answer, tls=target_ssl) as server:
            script = Proxy(server.port)
            moved = response(b"", f"Location: {at(server, 'b.test')}", status="302 Found")

            async def first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                if script.heads:
                    return await script(reader, writer)
                script.heads.append(await read_head(reader))
                writer.write(moved)
                return await script(reader, writer)

            async with (
                RawServer(first) as proxy,
                invented_names(ssl=client_ssl) as connector,
                angelia.ClientSession(
                    connector=connector, proxy=proxy.url, proxy_auth=AUTH
                ) as session,
            ):
                found = await content(
                    session, URL("http://a.test/"), headers={"Authorization": "Bearer a"}
                )
                assert found == CANARY
            assert [head.split(b" ")[0] for head in script.heads] == [b"GET", b"CONNECT"]
            assert all(PROOF in head for head in script.heads)
            names = {name for name, _ in fields_of(server.requests[0])}
            assert not names & {"proxy-authorization", "authorization"}


class TestSocks:
    @pytest.mark.parametrize("scheme", ["socks4a", "socks5", "socks5h"])
    async def test_tls(
        self, scheme: str, target_ssl: ssl.SSLContext, ca: trustme.CA, client_ssl: ssl.SSLContext
    ) -> None:
        """TLS behind a SOCKS proxy is TLS with the target, and verified."""
        pytest.importorskip("python_socks")
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        wrong = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("localhost").configure_cert(wrong)
        async with (
            RawServer(answer, tls=wrong, host="127.0.0.1") as server,
            RawServer(SocksServer(None).handle) as proxy,
            angelia.TCPConnector(family=socket.AF_INET) as connector,
            angelia.ClientSession(connector=connector) as session,
        ):
            url = URL(f"https://localhost:{server.port}/")
            way = URL(f"{scheme}://127.0.0.1:{proxy.port}")
            assert await content(session, url, proxy=way, ssl=client_ssl) == CANARY
            seen = proxy.requests[0]
            assert b"\x16\x03" in seen
            assert b"GET /" not in seen
            bad = url.with_host("127.0.0.1")
            with pytest.raises(angelia.ClientConnectorCertificateError):
                await session.get(bad, proxy=way, ssl=client_ssl)
            assert len([received for received in server.requests if received]) == 1

    @pytest.mark.parametrize("scheme", ["https", "wss"])
    async def test_schemes(self, scheme: str) -> None:
        """Both schemes that mean TLS make a key that asks for it, whatever the proxy."""
        for proxy in (None, URL("socks5://p.test"), URL("http://p.test")):
            request = angelia.ClientRequest("GET", URL(f"{scheme}://a.test/"), proxy=proxy)
            assert request.connection_key.is_ssl
