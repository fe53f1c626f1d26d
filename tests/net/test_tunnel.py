"""Proxies: the CONNECT exchange and the TLS behind it; real sockets, both loops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from ssl import SSLContext
from typing import Any

import pytest
from yarl import URL

from angelia.core.auth import BasicAuth
from angelia.errors import (
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientHttpProxyError,
    ClientProxyConnectionError,
    ConnectionTimeoutError,
    InvalidUrlClientError,
    ServerFingerprintMismatch,
)
from angelia.net.addresses import authority
from angelia.net.connection_key import ConnectionKey
from angelia.net.timings import DialTimings
from angelia.net.tls import Fingerprint
from angelia.net.tunnel import Tunnel, connect_head, open_tunnel, proxy_url
from dial_kit import (
    Certificates,
    Client,
    Names,
    Run,
    cancel_at_every_turn,
    dialling,
    greeter,
    settled,
    use,
)

OK = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Proxy:
    """A proxy that gives a fixed answer, and then carries bytes to one port of 127.0.0.1."""

    def __init__(self, target: int | None, answer: bytes | None, pieces: int | None) -> None:
        self.target = target
        self.answer = answer
        self.pieces = pieces
        self.heads: list[bytes] = []
        self.closed = 0
        self.port = 0

    def url(self, scheme: str = "http") -> URL:
        return URL.build(scheme=scheme, host="127.0.0.1", port=self.port)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            await self._answer(writer)
            if self.target is None:
                await reader.read()
            else:
                await self._carry(self.target, reader, writer)
        finally:
            self.closed += 1

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        if self.answer is None:
            return
        if self.answer == b"":
            writer.transport.abort()
            return
        size = self.pieces or len(self.answer)
        for start in range(0, len(self.answer), size):
            writer.write(self.answer[start : start + size])
            await writer.drain()
            await asyncio.sleep(0)

    async def _carry(
        self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        behind, front = await asyncio.open_connection("127.0.0.1", port)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while data := await source.read(65536):
                    sink.write(data)
            sink.close()

        tasks = [asyncio.ensure_future(copy(behind, writer))]
        try:
            await copy(reader, front)
        finally:
            front.transport.abort()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def proxying(
    target: int | None = None,
    answer: bytes | None = OK,
    *,
    pieces: int | None = None,
    context: SSLContext | None = None,
) -> AsyncIterator[Proxy]:
    proxy = Proxy(target, answer, pieces)
    async with greeter(handle=proxy.serve, context=context) as proxy.port:
        yield proxy


class Memory(asyncio.Transport):
    """A transport that no event loop knows."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self._aborted = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.asked.set()

    def is_closing(self) -> bool:
        return self._aborted

    def abort(self) -> None:
        self._aborted = True


def key_for(port: int, certificates: Certificates, proxy: URL, **changes: Any) -> ConnectionKey:
    key = ConnectionKey("target.test", port, True, certificates.client, proxy)
    return key._replace(**changes)


class TestConnectHead:
    @pytest.mark.parametrize(
        ("host", "port", "text"),
        [
            ("example.org", 443, "example.org:443"),
            ("127.0.0.1", 8443, "127.0.0.1:8443"),
            ("::1", 443, "[::1]:443"),
            ("fe80::1%eth0", 443, "[fe80::1]:443"),
        ],
    )
    def test_authority(self, host: str, port: int, text: str) -> None:
        """RFC 9110 §9.3.6: host and port, an IPv6 address in brackets, no zone."""
        assert authority(host, port) == text

    def test_fields(self) -> None:
        """Host, credentials and the proxy's own fields, and nothing else."""
        key = ConnectionKey(
            "example.org",
            443,
            True,
            proxy=URL("http://proxy.test:3128"),
            proxy_auth=BasicAuth("user", "secret"),
            proxy_headers=(("X-Tenant", "1"), ("X-Tenant", "2")),
        )
        head = connect_head(key, 443)
        assert (head.method, head.target) == ("CONNECT", "example.org:443")
        assert list(head.headers) == [
            ("Host", "example.org:443"),
            ("Proxy-Authorization", "Basic dXNlcjpzZWNyZXQ="),
            ("X-Tenant", "1"),
            ("X-Tenant", "2"),
        ]

    def test_given_fields_win(self) -> None:
        """A field that the caller gives for the proxy replaces ours."""
        key = ConnectionKey(
            "example.org",
            443,
            True,
            proxy=URL("http://user:secret@proxy.test:3128"),
            proxy_headers=(("host", "other.test"), ("PROXY-Authorization", "Bearer x")),
        )
        assert list(connect_head(key, 443).headers) == list(key.proxy_headers or ())

    def test_credentials_of_the_url(self) -> None:
        """They are used where no others are given, and are decoded."""
        key = ConnectionKey(
            "example.org", 443, True, proxy=URL("http://us%40er:secret@proxy.test:3128")
        )
        assert ("Proxy-Authorization", BasicAuth("us@er", "secret").encode()) in list(
            connect_head(key, 443).headers
        )

    @pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding"])
    def test_no_framing(self, name: str) -> None:
        """A CONNECT request has no content."""
        key = ConnectionKey("example.org", 443, True, proxy_headers=((name, "1"),))
        with pytest.raises(ValueError, match="proxy_headers"):
            connect_head(key, 443)

    def test_proxy_url(self) -> None:
        """What errors show has no credentials."""
        assert str(proxy_url(URL("http://user:secret@p.test:1"))) == "http://p.test:1"
        assert str(proxy_url(URL("http://p.test:1"))) == "http://p.test:1"


class TestTunnel:
    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_https_target(self, run: Run[None], certificates: Certificates, scheme: str) -> None:
        """TLS to the target runs through the proxy's connection, which may be TLS itself."""
        context = certificates.server if scheme == "https" else None

        async def main() -> None:
            async with (
                greeter(context=certificates.server) as port,
                proxying(port, context=context) as proxy,
                dialling(proxy_ssl=certificates.client) as dialer,
            ):
                timings = DialTimings()
                key = key_for(port, certificates, proxy.url(scheme))
                transport, protocol = await dialer.dial(
                    key, Client, timings=timings, sock_connect=5
                )
                ssl_object = transport.get_extra_info("ssl_object")
                assert ssl_object.server_hostname == "target.test"
                await use(transport, protocol)
                assert proxy.heads == [
                    f"CONNECT target.test:{port} HTTP/1.1\r\n".encode()
                    + f"Host: target.test:{port}\r\n\r\n".encode()
                ]
                assert timings.connect
                assert timings.tls
                assert await settled(lambda: proxy.closed == 1)

        run(main())

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_http_target(self, run: Run[None], certificates: Certificates, scheme: str) -> None:
        """Plain HTTP needs just a connection to the proxy: nothing is said on it yet."""
        context = certificates.server if scheme == "https" else None

        async def main() -> None:
            async with (
                greeter(context=context) as port,
                dialling(proxy_ssl=certificates.client) as dialer,
            ):
                url = URL.build(scheme=scheme, host="127.0.0.1", port=port)
                key = ConnectionKey("target.test", 80, False, proxy=url)
                await use(*await dialer.dial(key, Client))

        run(main())

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_tunnel_without_tls(
        self, run: Run[None], certificates: Certificates, scheme: str
    ) -> None:
        """Where the key asks for a tunnel to a target without TLS, there is one, and no more TLS.

        The key's fingerprint is that of no one then, least of all of the proxy.
        """
        context = certificates.server if scheme == "https" else None

        async def main() -> None:
            async with (
                greeter() as port,
                proxying(port, context=context) as proxy,
                dialling(proxy_ssl=certificates.client) as dialer,
            ):
                key = key_for(
                    port,
                    certificates,
                    proxy.url(scheme),
                    is_ssl=False,
                    tunnel=True,
                    ssl=Fingerprint(b"x" * 32),
                )
                await use(*await dialer.dial(key, Client))
                assert proxy.heads[0].startswith(
                    f"CONNECT target.test:{port} HTTP/1.1\r\n".encode()
                )
                assert await settled(lambda: proxy.closed == 1)

        run(main())

    async def test_data_behind_the_answer(self) -> None:
        """What comes before the target was spoken to can only be an attack: the tunnel falls."""
        key = ConnectionKey("target.test", 80, False, proxy=URL("http://127.0.0.1:1"), tunnel=True)
        transport, tunnel = Memory(), Tunnel()
        tunnel.connection_made(transport)
        request = connect_head(key, 80)
        opening = asyncio.ensure_future(open_tunnel(transport, tunnel, key, request))
        await transport.asked.wait()
        tunnel.data_received(OK)
        tunnel.data_received(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await opening
        assert transport.is_closing()

    def test_answer_in_pieces(self, run: Run[None], certificates: Certificates) -> None:
        """The answer may come octet by octet, after interim ones, with meaningless fields."""
        answer = (
            b"HTTP/1.1 100 Continue\r\n\r\n"
            b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
            b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        )

        async def main() -> None:
            async with (
                greeter(context=certificates.server) as port,
                proxying(port, answer, pieces=1) as proxy,
                dialling() as dialer,
            ):
                await use(*await dialer.dial(key_for(port, certificates, proxy.url()), Client))

        run(main())

    def test_proxys_name_is_looked_up(self, run: Run[None], certificates: Certificates) -> None:
        """The proxy's name is resolved here, the target's by the proxy."""

        async def main() -> None:
            names = Names(proxy_test=["127.0.0.1"])
            async with (
                greeter(context=certificates.server) as port,
                proxying(port) as proxy,
                dialling(resolver=names) as dialer,
            ):
                url = proxy.url().with_host("proxy.test")
                await use(*await dialer.dial(key_for(port, certificates, url), Client))
                assert [host for host, _, _ in names.asked] == ["proxy.test"]

        run(main())

    def test_the_targets_certificate(self, run: Run[None], certificates: Certificates) -> None:
        """Name, verification and fingerprint concern the target, and errors name it."""

        async def main() -> None:
            async with (
                greeter(context=certificates.server) as port,
                proxying(port) as proxy,
                dialling() as dialer,
            ):
                key = key_for(port, certificates, proxy.url())
                with pytest.raises(ClientConnectorCertificateError) as caught:
                    await dialer.dial(key._replace(host="other.test"), Client)
                assert (caught.value.host, caught.value.port) == ("other.test", port)
                await use(
                    *await dialer.dial(
                        key._replace(host="other.test", server_hostname="target.test"), Client
                    )
                )
                await use(
                    *await dialer.dial(key._replace(ssl=Fingerprint(certificates.digest)), Client)
                )
                with pytest.raises(ServerFingerprintMismatch) as mismatch:
                    await dialer.dial(key._replace(ssl=Fingerprint(b"x" * 32)), Client)
                assert (mismatch.value.host, mismatch.value.port) == ("target.test", port)
                assert await settled(lambda: proxy.closed == 4)

        run(main())

    def test_the_proxys_certificate(self, run: Run[None], certificates: Certificates) -> None:
        """An https proxy is verified by its own settings, whatever the target's are."""

        async def main() -> None:
            async with proxying(context=certificates.server) as proxy, dialling() as dialer:
                key = key_for(443, certificates, proxy.url("https"), ssl=False)
                for changed in (key, key._replace(is_ssl=False)):
                    with pytest.raises(ClientConnectorCertificateError) as caught:
                        await dialer.dial(changed, Client)
                    assert (caught.value.host, caught.value.port) == ("127.0.0.1", proxy.port)
                assert proxy.heads == []

        run(main())


class TestRefusals:
    @pytest.mark.parametrize("status", [300, 302, 401, 403, 407, 502, 503])
    def test_refused(self, run: Run[None], certificates: Certificates, status: int) -> None:
        """Status, reason and fields of the refusal are kept, and the connection is closed."""
        answer = (
            f"HTTP/1.1 {status} No Such Thing\r\nProxy-Authenticate: Basic\r\nX-A: 1\r\n"
            "Content-Length: 4\r\nLocation: http://evil.test/\r\n\r\nbody"
        ).encode()

        async def main() -> None:
            async with proxying(answer=answer) as proxy, dialling() as dialer:
                key = key_for(
                    443,
                    certificates,
                    proxy.url().with_user("user").with_password("secret"),
                    proxy_headers=(("X-Tenant", "1"),),
                )
                with pytest.raises(ClientHttpProxyError) as caught:
                    await dialer.dial(key, Client)
                error = caught.value
                assert (error.status, error.message) == (status, "No Such Thing")
                assert error.headers["Proxy-Authenticate"] == "Basic"
                assert error.request_info.method == "CONNECT"
                assert error.request_info.url == proxy.url()
                assert dict(error.request_info.headers)["X-Tenant"] == "1"
                assert error.history == ()
                assert error.request_sent is False
                assert b"Proxy-Authorization: Basic " in proxy.heads[0]
                for text in (str(error), repr(error)):
                    assert "secret" not in text
                    assert "dXNlc" not in text
                assert await settled(lambda: proxy.closed == 1)

        run(main())

    @pytest.mark.parametrize("pieces", [None, 1])
    @pytest.mark.parametrize(
        "answer",
        [
            OK + b"x" * 10,
            OK + OK,
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            b"SSH-2.0-OpenSSH\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nx: a\x00b\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
        ],
        ids=lambda answer: answer[:40].decode(),
    )
    def test_nonsense(
        self, run: Run[None], certificates: Certificates, answer: bytes, pieces: int | None
    ) -> None:
        """What is no valid answer, and bytes before the tunnel's, end the connection."""

        async def main() -> None:
            async with proxying(answer=answer, pieces=pieces) as proxy, dialling() as dialer:
                key = key_for(443, certificates, proxy.url())
                # Behind a valid answer that has been read, more bytes are a broken handshake.
                with pytest.raises(ClientConnectorError) as caught:
                    await dialer.dial(key, Client)
                if pieces is None:
                    assert isinstance(caught.value, ClientProxyConnectionError)
                    assert caught.value.port == proxy.port
                assert await settled(lambda: proxy.closed == 1)

        run(main())

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 " + b"x" * 100_000,
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000,
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        ],
        ids=["line", "field", "fields", "complete"],
    )
    def test_endless_head(self, run: Run[None], certificates: Certificates, answer: bytes) -> None:
        """The answer's head is bounded, and passing a bound is an error."""

        async def main() -> None:
            async with proxying(answer=answer) as proxy, dialling() as dialer:
                with pytest.raises(ClientProxyConnectionError):
                    await dialer.dial(key_for(443, certificates, proxy.url()), Client)

        run(main())

    @pytest.mark.parametrize("answer", [b"", OK])
    def test_hangs_up(self, run: Run[None], certificates: Certificates, answer: bytes) -> None:
        """A proxy that goes away before or after its answer is an error that names a culprit."""

        async def main() -> None:
            closing = asyncio.Event()

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
                writer.close()
                closing.set()

            async with greeter(handle=serve) as port, dialling() as dialer:
                url = URL.build(scheme="http", host="127.0.0.1", port=port)
                with pytest.raises(ClientConnectorError) as caught:
                    await dialer.dial(key_for(443, certificates, url), Client)
                if not answer:
                    assert isinstance(caught.value, ClientProxyConnectionError)
                    assert "before it answered" in str(caught.value)

        run(main())

    def test_unreachable(self, run: Run[None], certificates: Certificates, free_port: int) -> None:
        """A proxy that cannot be connected to, or found, is named."""

        async def main() -> None:
            async with dialling(resolver=Names()) as dialer:
                key = key_for(443, certificates, URL(f"http://127.0.0.1:{free_port}"))
                with pytest.raises(ClientProxyConnectionError, match=f"127.0.0.1:{free_port}"):
                    await dialer.dial(key, Client)
                with pytest.raises(ClientProxyConnectionError, match="no such name") as caught:
                    await dialer.dial(key._replace(proxy=URL("http://proxy.test:1")), Client)
                assert caught.value.host == "proxy.test"

        run(main())

    @pytest.mark.parametrize(
        ("proxy", "host"),
        [
            ("ftp://127.0.0.1:1", "target.test"),
            ("http://127.1:1", "target.test"),
            ("http://127.0.0.1:1", "a b"),
            ("socks5://127.0.0.1:1", "127.1"),
        ],
    )
    def test_impossible(
        self, run: Run[None], certificates: Certificates, proxy: str, host: str
    ) -> None:
        """Proxies of another kind, and hosts that are none, are refused at once."""

        async def main() -> None:
            async with dialling() as dialer:
                with pytest.raises(InvalidUrlClientError) as caught:
                    await dialer.dial(key_for(443, certificates, URL(proxy), host=host), Client)
                assert "secret" not in str(caught.value)

        run(main())

    @pytest.mark.parametrize("headers", [(("X", "a\r\nb: c"),), (("bad name", "x"),)])
    def test_injection(
        self, run: Run[None], certificates: Certificates, headers: tuple[tuple[str, str], ...]
    ) -> None:
        """A field that would end the head is refused before anything is sent."""

        async def main() -> None:
            async with proxying() as proxy, dialling() as dialer:
                key = key_for(443, certificates, proxy.url(), proxy_headers=headers)
                with pytest.raises(ValueError, match="proxy_headers"):
                    await dialer.dial(key, Client)
                await asyncio.sleep(0)
                assert proxy.closed == 0, "nobody even connected"

        run(main())


class TestWaiting:
    @pytest.mark.parametrize("scheme", ["http", "https"])
    @pytest.mark.parametrize("answer", [None, OK])
    def test_silent_proxy(
        self, run: Run[None], certificates: Certificates, scheme: str, answer: bytes | None
    ) -> None:
        """Every wait is bounded by `sock_connect`, and closes the connection."""
        context = certificates.server if scheme == "https" else None

        async def main() -> None:
            async with (
                proxying(answer=answer, context=context) as proxy,
                dialling(proxy_ssl=certificates.client) as dialer,
            ):
                key = key_for(443, certificates, proxy.url(scheme))
                name = "127.0.0.1" if answer is None else "target.test"
                with pytest.raises(ConnectionTimeoutError, match=name):
                    await dialer.dial(key, Client, sock_connect=0.2)

        run(main())

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_cancelled_at_every_turn(
        self, run: Run[None], certificates: Certificates, scheme: str
    ) -> None:
        """Whichever turn of the loop a cancellation comes in, it leaves nothing open."""
        context = certificates.server if scheme == "https" else None

        async def main() -> None:
            async with (
                greeter(context=certificates.server) as port,
                proxying(port, context=context) as proxy,
                dialling(proxy_ssl=certificates.client) as dialer,
            ):
                key = key_for(port, certificates, proxy.url(scheme))
                await cancel_at_every_turn(lambda: dialer.dial(key, Client))

        run(main())
