"""Requests through HTTP proxies: who is asked for what, and what is said to whom; real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from yarl import URL

import angelia
from peers.evil import Everywhere, at, fields_of
from peers.raw import RawServer, read_head, read_request, response

pytestmark = pytest.mark.usefixtures("loop_kind")

OK = response(b"ok")
NO = response(b"no", status="403 Forbidden")
TUNNEL = b"HTTP/1.1 200 Connection established\r\n\r\n"
AUTH = angelia.BasicAuth("user", "pass")


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxies, and no netrc, but those of the test."""
    for scheme in ("http", "https", "ws", "wss", "all", "no"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme}_proxy".upper(), raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture(scope="module")
def target_ssl(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("a.test").configure_cert(context)
    return context


def first_line(request: bytes) -> str:
    return request.partition(b"\r\n")[0].decode()


def proofs(heads: list[bytes]) -> list[tuple[str | None, str | None]]:
    """What each of the requests has for the proxy."""
    found = [dict(fields_of(head)) for head in heads]
    return [(fields.get("proxy-authorization"), fields.get("x-tenant")) for fields in found]


class TestForms:
    @pytest.mark.parametrize(
        ("url", "line", "host"),
        [
            ("http://a.test/x?y", "GET http://a.test/x?y HTTP/1.1", "a.test"),
            ("http://[::1]:8080/x", "GET http://[::1]:8080/x HTTP/1.1", "[::1]:8080"),
            ("https://a.test/x", "CONNECT a.test:443 HTTP/1.1", "a.test:443"),
            ("https://[::1]/x", "CONNECT [::1]:443 HTTP/1.1", "[::1]:443"),
            ("https://[::1]:8443/x", "CONNECT [::1]:8443 HTTP/1.1", "[::1]:8443"),
            ("wss://a.test/x", "CONNECT a.test:443 HTTP/1.1", "a.test:443"),
            ("wss://[::1]:8443/x", "CONNECT [::1]:8443 HTTP/1.1", "[::1]:8443"),
            ("ws://[::1]/x", "CONNECT [::1]:80 HTTP/1.1", "[::1]:80"),
        ],
    )
    async def test_target(self, url: str, line: str, host: str) -> None:
        """RFC 9112 §3.2: the absolute form where the proxy is to act, else a tunnel's end."""
        async with RawServer([NO]) as proxy, angelia.ClientSession(proxy=proxy.url) as session:
            if line.startswith("GET"):
                async with session.get(url) as resp:
                    assert resp.status == 403
            else:
                with pytest.raises(angelia.ClientHttpProxyError):
                    await session.get(url)
            assert first_line(proxy.requests[0]) == line
            assert dict(fields_of(proxy.requests[0]))["host"] == host


class TestCredentials:
    async def test_each_request(self) -> None:
        """They are in every request on a connection that the proxy keeps."""
        async with (
            RawServer([OK] * 3) as proxy,
            angelia.ClientSession(proxy=proxy.url, proxy_auth=AUTH) as session,
        ):
            for path in "abc":
                url = f"http://a.test/{path}"
                async with session.get(url, proxy_headers={"X-Tenant": "1"}) as resp:
                    assert await resp.read() == b"ok"
            assert proxy.connections == 1
            heads = [head for head in proxy.requests[0].split(b"\r\n\r\n") if head]
            assert [first_line(head) for head in heads] == [
                f"GET http://a.test/{path} HTTP/1.1" for path in "abc"
            ]
            assert proofs(heads) == [(AUTH.encode(), "1")] * 3

    async def test_each_tunnel(
        self, target_ssl: ssl.SSLContext, client_ssl: ssl.SSLContext
    ) -> None:
        """They are in the request for every tunnel, and in nothing that goes through it."""
        connects: list[bytes] = []
        passed: list[bytes] = []

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connects.append(await read_head(reader))
            writer.write(TUNNEL)
            with suppress(ssl.SSLError):
                await writer.start_tls(target_ssl)
                passed.append(await read_request(reader))
                writer.write(OK)
                await reader.read()

        async with (
            RawServer(script) as proxy,
            angelia.TCPConnector(ssl=client_ssl, force_close=True) as connector,
            angelia.ClientSession(connector=connector, proxy=proxy.url, proxy_auth=AUTH) as session,
        ):
            for _ in range(2):
                async with session.get("https://a.test/", proxy_headers={"X-Tenant": "1"}) as resp:
                    assert await resp.read() == b"ok"
        assert proofs(connects) == [(AUTH.encode(), "1")] * 2
        assert proofs(passed) == [(None, None)] * 2


class TestFailures:
    @pytest.mark.parametrize("scheme", ["http", "https", "ws"])
    async def test_unreachable(self, scheme: str) -> None:
        """A proxy that cannot be reached is named, whatever was asked of it; nothing was sent."""
        with socket.socket() as deaf:
            # It has the port, and does not listen.
            deaf.bind(("127.0.0.1", 0))
            port = deaf.getsockname()[1]
            async with angelia.ClientSession(proxy=f"http://127.0.0.1:{port}") as session:
                with pytest.raises(angelia.ClientProxyConnectionError) as caught:
                    await session.get(f"{scheme}://a.test/")
        assert (caught.value.host, caught.value.port) == ("127.0.0.1", port)
        assert f"127.0.0.1:{port}" in str(caught.value)
        assert "a.test" not in str(caught.value)
        assert caught.value.request_sent is False

    async def test_slot_after_each_failure(self) -> None:
        """The only slot is free after a tunnel that was refused, broken off, or not answered."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            line = first_line(await read_head(reader))
            if "silent.test" in line:
                await reader.read()
            else:
                writer.write(NO if "refused.test" in line else b"HTTP/1.1 200")

        failures: list[tuple[str, type[Exception], float | None]] = [
            ("refused", angelia.ClientHttpProxyError, None),
            ("broken", angelia.ClientProxyConnectionError, None),
            ("silent", angelia.ConnectionTimeoutError, 0.05),
        ]
        async with (
            RawServer(script) as proxy,
            angelia.TCPConnector(limit=1) as connector,
            angelia.ClientSession(connector=connector, proxy=proxy.url) as session,
        ):
            for name, error, seconds in failures * 2:
                timeout = angelia.ClientTimeout(sock_connect=seconds)
                with pytest.raises(error):
                    await session.get(f"https://{name}.test/", timeout=timeout)
                stats = connector.stats()
                assert (stats.idle, stats.in_use, stats.connecting, stats.waiting) == (0, 0, 0, 0)
                await proxy.wait_all_closed()


class TestEnvironment:
    @pytest.mark.parametrize("scheme", ["http", "https", "ws", "wss"])
    async def test_variables(self, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each scheme has its variable; without `trust_env`, or in `no_proxy`, it has none."""
        async with RawServer([NO] * 2) as proxy:
            url = proxy.url.with_user("user").with_password("pass")
            monkeypatch.setenv(f"{scheme}_proxy", str(url))
            monkeypatch.setenv("no_proxy", "b.test")
            connector = angelia.TCPConnector(resolver=Nowhere())
            async with angelia.ClientSession(connector=connector, trust_env=True) as session:
                if scheme == "http":
                    async with session.get("http://a.test/") as resp:
                        assert resp.status == 403
                else:
                    with pytest.raises(angelia.ClientHttpProxyError):
                        await session.get(f"{scheme}://a.test/")
                assert proofs(proxy.requests) == [(AUTH.encode(), None)]
                # Past the proxy there is nobody.
                with pytest.raises(angelia.ClientConnectorDNSError):
                    await session.get(f"{scheme}://b.test/")
            connector = angelia.TCPConnector(resolver=Nowhere())
            async with angelia.ClientSession(connector=connector) as session:
                with pytest.raises(angelia.ClientConnectorDNSError):
                    await session.get(f"{scheme}://a.test/")
            assert len(proxy.requests) == 1

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_netrc(
        self, scheme: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A proxy of the environment without credentials in its URL gets those of netrc."""
        path = tmp_path / "netrc"
        path.write_text("machine 127.0.0.1 login user password pass\n")
        path.chmod(0o600)
        async with RawServer([NO]) as proxy, angelia.ClientSession(trust_env=True) as session:
            monkeypatch.setenv(f"{scheme}_proxy", str(proxy.url))
            if scheme == "http":
                async with session.get("http://a.test/") as resp:
                    assert resp.status == 403
            else:
                with pytest.raises(angelia.ClientHttpProxyError):
                    await session.get("https://a.test/")
            fields = dict(fields_of(proxy.requests[0]))
            assert fields["proxy-authorization"] == AUTH.encode()
            assert "authorization" not in fields


class Nowhere(Everywhere):
    """No name exists."""

    async def resolve(self, *_: Any, **__: Any) -> Any:
        raise OSError(None, "no such name")


async def test_proxy_arguments_without_a_proxy() -> None:
    """What is for a proxy is no part of what a connection was made with if there is none."""
    async with (
        RawServer([OK] * 3) as server,
        angelia.TCPConnector(resolver=Everywhere()) as connector,
        angelia.ClientSession(connector=connector) as session,
    ):
        ways: list[dict[str, Any]] = [
            {},
            {"proxy_headers": {"X-Tenant": "1"}},
            {"proxy_auth": AUTH},
        ]
        for options in ways:
            async with session.get(at(server, "a.test"), **options) as resp:
                assert await resp.read() == b"ok"
        assert server.connections == 1
        heads = [head for head in server.requests[0].split(b"\r\n\r\n") if head]
        assert proofs(heads) == [(None, None)] * 3
    url = URL("http://a.test/")
    request = angelia.ClientRequest("GET", url, proxy_auth=AUTH, proxy_headers={"X-Tenant": "1"})
    assert request.connection_key == angelia.ClientRequest("GET", url).connection_key
