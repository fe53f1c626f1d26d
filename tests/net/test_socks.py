"""SOCKS proxies: who resolves, what is sent, what a refusal is called; both loops."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from yarl import URL

from angelia.core.auth import BasicAuth
from angelia.errors import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientProxyConnectionError,
    ConnectionTimeoutError,
    InvalidURL,
)
from angelia.net.connection_key import ConnectionKey
from angelia.net.timings import DialTimings
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


class Socks:
    """A SOCKS4, 4a and 5 server that leads everything to one port of 127.0.0.1."""

    def __init__(self, target: int, reply: int | None, credentials: bytes | None) -> None:
        self.target = target
        self.reply = reply
        self.credentials = credentials
        self.asked: list[tuple[int, str, int]] = []
        self.users: list[bytes] = []
        self.refuses: set[str] = set()
        self.closed = 0
        self.port = 0

    def url(self, scheme: str) -> URL:
        return URL.build(scheme=scheme, host="127.0.0.1", port=self.port)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.readexactly(1) == b"\x05":
                accepted = await self._five(reader, writer)
            else:
                accepted = await self._four(reader, writer)
            if accepted:
                await self._carry(reader, writer)
            else:
                await reader.read()
        finally:
            self.closed += 1

    async def _five(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        methods = await reader.readexactly((await reader.readexactly(1))[0])
        if self.credentials is not None:
            if 2 not in methods:
                writer.write(b"\x05\xff")
                return False
            writer.write(b"\x05\x02")
            await reader.readexactly(1)
            user = await reader.readexactly((await reader.readexactly(1))[0])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            self.users.append(user + b":" + password)
            good = user + b":" + password == self.credentials
            writer.write(b"\x01\x00" if good else b"\x01\x01")
            if not good:
                return False
        else:
            writer.write(b"\x05\x00")
        kind = (await reader.readexactly(4))[3]
        if kind == 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        elif kind == 4:
            host = socket.inet_ntop(socket.AF_INET6, await reader.readexactly(16))
        else:
            host = socket.inet_ntoa(await reader.readexactly(4))
        self.asked.append((5, host, int.from_bytes(await reader.readexactly(2), "big")))
        if self.reply is None:
            return False
        reply = 8 if host in self.refuses else self.reply
        writer.write(bytes((5, reply, 0, 1, 0, 0, 0, 0, 0, 0)))
        return reply == 0

    async def _four(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await reader.readexactly(1)
        port = int.from_bytes(await reader.readexactly(2), "big")
        address = await reader.readexactly(4)
        self.users.append(await reader.readuntil(b"\x00"))
        host = socket.inet_ntoa(address)
        if address.startswith(b"\x00\x00\x00"):
            host = (await reader.readuntil(b"\x00"))[:-1].decode()
        self.asked.append((4, host, port))
        if self.reply is None:
            return False
        accepted = self.reply == 0 and host not in self.refuses
        writer.write(bytes((0, 90 if accepted else 91, 0, 0, 0, 0, 0, 0)))
        return accepted

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, front = await asyncio.open_connection("127.0.0.1", self.target)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while data := await source.read(65536):
                    sink.write(data)
            sink.close()

        back = asyncio.ensure_future(copy(behind, writer))
        try:
            await copy(reader, front)
        finally:
            front.transport.abort()
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)


@asynccontextmanager
async def proxying(
    target: int = 1, reply: int | None = 0, credentials: bytes | None = None
) -> AsyncIterator[Socks]:
    proxy = Socks(target, reply, credentials)
    async with greeter(handle=proxy.serve) as proxy.port:
        yield proxy


class TestSchemes:
    @pytest.mark.parametrize(
        ("scheme", "version", "host"),
        [
            ("socks4", 4, "127.0.0.9"),
            ("socks4a", 4, "target.test"),
            ("socks5", 5, "127.0.0.9"),
            ("socks5h", 5, "target.test"),
        ],
    )
    def test_who_resolves(self, run: Run[None], scheme: str, version: int, host: str) -> None:
        """socks4 and socks5 resolve here, socks4a and socks5h leave the name to the proxy."""

        async def main() -> None:
            names = Names(target_test=["127.0.0.9"])
            async with (
                greeter() as port,
                proxying(port) as proxy,
                dialling(resolver=names) as dialer,
            ):
                timings = DialTimings()
                key = ConnectionKey("target.test", 80, False, proxy=proxy.url(scheme))
                await use(*await dialer.dial(key, Client, timings=timings, sock_connect=5))
                assert proxy.asked == [(version, host, 80)]
                assert len(names.asked) == (0 if scheme in ("socks4a", "socks5h") else 1)
                assert timings.connect
                assert await settled(lambda: proxy.closed == 1)

        run(main())

    def test_addresses(self, run: Run[None]) -> None:
        """Addresses go as such; SOCKS4 has none of IPv6."""

        async def main() -> None:
            names = Names(six_test=["::9"], both_test=["::9", "127.0.0.9"])
            async with (
                greeter() as port,
                proxying(port) as proxy,
                dialling(resolver=names) as dialer,
            ):
                for scheme in ("socks5", "socks5h"):
                    for host in ("::9", "127.0.0.9"):
                        key = ConnectionKey(host, 80, False, proxy=proxy.url(scheme))
                        await use(*await dialer.dial(key, Client))
                        assert proxy.asked.pop() == (5, host, 80)
                key = ConnectionKey("both.test", 80, False, proxy=proxy.url("socks4"))
                await use(*await dialer.dial(key, Client))
                assert proxy.asked.pop() == (4, "127.0.0.9", 80)
                with pytest.raises(ClientConnectorDNSError, match="IPv4"):
                    await dialer.dial(key._replace(host="six.test"), Client)
                with pytest.raises(ClientConnectorDNSError, match="no such name"):
                    await dialer.dial(key._replace(host="no.test"), Client)

        run(main())

    def test_tls_to_the_target(self, run: Run[None], certificates: Certificates) -> None:
        """TLS is on top, with the target's own name."""

        async def main() -> None:
            async with (
                greeter(context=certificates.server) as port,
                proxying(port) as proxy,
                dialling() as dialer,
            ):
                key = ConnectionKey(
                    "target.test", 443, True, certificates.client, proxy.url("socks5h")
                )
                transport, protocol = await dialer.dial(key, Client)
                assert transport.get_extra_info("ssl_object").server_hostname == "target.test"
                await use(transport, protocol)
                with pytest.raises(ClientConnectorCertificateError) as caught:
                    await dialer.dial(key._replace(host="other.test"), Client)
                assert caught.value.host == "other.test"

        run(main())

    def test_the_proxys_addresses(self, run: Run[None], free_port: int) -> None:
        """The proxy's name has addresses that are tried like any other's."""

        async def main() -> None:
            names = Names(proxy_test=["::1", "127.0.0.1"])
            async with greeter() as port, dialling(resolver=names) as dialer:
                proxy = Socks(port, 0, None)
                async with greeter(handle=proxy.serve, port=free_port) as proxy.port:
                    url = proxy.url("socks5h").with_host("proxy.test")
                    key = ConnectionKey("target.test", 80, False, proxy=url)
                    await use(*await dialer.dial(key, Client))

        run(main())

    @pytest.mark.parametrize(
        ("scheme", "refuses", "asked"),
        [
            ("socks5", {"2001:db8::1"}, ["2001:db8::1", "192.0.2.1"]),
            ("socks5", set(), ["2001:db8::1"]),
            ("socks4", {"192.0.2.1"}, ["192.0.2.1", "192.0.2.2"]),
        ],
    )
    def test_next_address(
        self, run: Run[None], scheme: str, refuses: set[str], asked: list[str]
    ) -> None:
        """Where the name is ours to resolve, an address that the proxy refuses leads to the next.

        A proxy without IPv6 would otherwise reach no host that has both.
        """

        async def main() -> None:
            names = Names(target_test=["2001:db8::1", "192.0.2.1", "192.0.2.2"])
            async with (
                greeter() as port,
                proxying(port) as proxy,
                dialling(resolver=names) as dialer,
            ):
                proxy.refuses = refuses
                key = ConnectionKey("target.test", 80, False, proxy=proxy.url(scheme))
                await use(*await dialer.dial(key, Client))
                assert [host for _, host, _ in proxy.asked] == asked
                assert await settled(lambda: proxy.closed == len(asked))

        run(main())

    def test_no_address_will_do(self, run: Run[None]) -> None:
        """The proxy is asked for four addresses at most, and the error says what it answered."""

        async def main() -> None:
            addresses = [f"192.0.2.{number}" for number in range(1, 9)]
            async with (
                proxying(reply=4) as proxy,
                dialling(resolver=Names(target_test=addresses)) as dialer,
            ):
                key = ConnectionKey("target.test", 80, False, proxy=proxy.url("socks5"))
                with pytest.raises(ClientProxyConnectionError, match=r"(?i)unreachable"):
                    await dialer.dial(key, Client)
                assert [host for _, host, _ in proxy.asked] == addresses[:4]
                assert await settled(lambda: proxy.closed == 4)

        run(main())


class TestCredentials:
    def test_accepted(self, run: Run[None]) -> None:
        """Credentials come from the key, else from the URL, decoded."""

        async def main() -> None:
            async with (
                greeter() as port,
                proxying(port, credentials=b"us@er:secret") as proxy,
                dialling() as dialer,
            ):
                url = proxy.url("socks5h")
                key = ConnectionKey("target.test", 80, False, proxy=url)
                for changed in (
                    key._replace(proxy_auth=BasicAuth("us@er", "secret")),
                    key._replace(proxy=url.with_user("us@er").with_password("secret")),
                ):
                    await use(*await dialer.dial(changed, Client))
                assert proxy.users == [b"us@er:secret"] * 2

        run(main())

    def test_refused(self, run: Run[None]) -> None:
        """Wrong or missing credentials are an error that names the proxy, not the password."""

        async def main() -> None:
            async with proxying(credentials=b"user:secret") as proxy, dialling() as dialer:
                key = ConnectionKey("target.test", 80, False, proxy=proxy.url("socks5h"))
                for auth in (None, BasicAuth("user", "wr0ng")):
                    with pytest.raises(ClientProxyConnectionError) as caught:
                        await dialer.dial(key._replace(proxy_auth=auth), Client)
                    assert caught.value.port == proxy.port
                    assert "wr0ng" not in str(caught.value)
                assert await settled(lambda: proxy.closed == 2)

        run(main())

    def test_refused_once(self, run: Run[None]) -> None:
        """Refused credentials are not tried again with the target's next address."""

        async def main() -> None:
            names = Names(target_test=["192.0.2.1", "192.0.2.2"])
            async with (
                proxying(credentials=b"user:secret") as proxy,
                dialling(resolver=names) as dialer,
            ):
                url = proxy.url("socks5").with_user("user").with_password("wr0ng")
                with pytest.raises(ClientProxyConnectionError):
                    await dialer.dial(ConnectionKey("target.test", 80, False, proxy=url), Client)
                assert proxy.users == [b"user:wr0ng"]
                assert await settled(lambda: proxy.closed == 1)

        run(main())

    @pytest.mark.parametrize("password", ["x" * 256, "a\x00b"])
    def test_impossible(self, run: Run[None], password: str) -> None:
        """What the protocol cannot carry is refused before anything is connected."""

        async def main() -> None:
            async with dialling() as dialer:
                key = ConnectionKey(
                    "target.test",
                    80,
                    False,
                    proxy=URL("socks5://127.0.0.1:1"),
                    proxy_auth=BasicAuth("user", password),
                )
                with pytest.raises(InvalidURL) as caught:
                    await dialer.dial(key, Client)
                assert password not in str(caught.value)

        run(main())


class TestFailures:
    @pytest.mark.parametrize("scheme", ["socks4a", "socks5h"])
    def test_refused(self, run: Run[None], scheme: str) -> None:
        """A refusal carries the proxy's reason and closes the connection."""

        async def main() -> None:
            async with proxying(reply=5) as proxy, dialling() as dialer:
                key = ConnectionKey("target.test", 80, False, proxy=proxy.url(scheme))
                with pytest.raises(ClientProxyConnectionError) as caught:
                    await dialer.dial(key, Client)
                assert str(proxy.port) in str(caught.value)
                assert caught.value.request_sent is False
                assert await settled(lambda: proxy.closed == 1)

        run(main())

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"\x05",
            # It connects from a name that is no text.
            b"\x05\x00\x05\x00\x00\x03\x02\xff\xfe\x00\x50",
        ],
    )
    def test_nonsense(self, run: Run[None], answer: bytes) -> None:
        """A server that is no SOCKS proxy, or hangs up, is an error of the proxy's."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(3)
            writer.write(answer)

        async def main() -> None:
            async with greeter(handle=serve) as port, dialling() as dialer:
                url = URL.build(scheme="socks5h", host="127.0.0.1", port=port)
                with pytest.raises(ClientProxyConnectionError):
                    await dialer.dial(ConnectionKey("target.test", 80, False, proxy=url), Client)

        run(main())

    def test_unreachable(self, run: Run[None], free_port: int) -> None:
        """A proxy that nobody runs is named."""

        async def main() -> None:
            async with dialling() as dialer:
                url = URL.build(scheme="socks5h", host="127.0.0.1", port=free_port)
                with pytest.raises(ClientProxyConnectionError, match=f"proxy .*:{free_port}"):
                    await dialer.dial(ConnectionKey("target.test", 80, False, proxy=url), Client)

        run(main())

    def test_silent(self, run: Run[None]) -> None:
        """Waiting for the proxy's answer is bounded by `sock_connect`."""

        async def main() -> None:
            async with proxying(reply=None) as proxy, dialling() as dialer:
                key = ConnectionKey("target.test", 80, False, proxy=proxy.url("socks5h"))
                with pytest.raises(ConnectionTimeoutError, match=r"127\.0\.0\.1"):
                    await dialer.dial(key, Client, sock_connect=0.1)

        run(main())

    def test_cancelled_at_every_turn(self, run: Run[None], certificates: Certificates) -> None:
        """Whichever turn of the loop a cancellation comes in, it leaves nothing open."""

        async def main() -> None:
            async with (
                greeter(context=certificates.server) as port,
                proxying(port) as proxy,
                dialling() as dialer,
            ):
                key = ConnectionKey(
                    "target.test", 443, True, certificates.client, proxy.url("socks5h")
                )
                await cancel_at_every_turn(lambda: dialer.dial(key, Client))

        run(main())

    def test_without_the_extra(self) -> None:
        """Without python-socks the error says what to install; nothing was imported before."""
        script = """
            import asyncio, sys
            from yarl import URL
            from angelia.net.connection_key import ConnectionKey
            from angelia.net.dial import Dialer
            assert "python_socks" not in sys.modules
            sys.modules["python_socks"] = None
            key = ConnectionKey("127.0.0.1", 80, False, proxy=URL("socks5://127.0.0.1:1"))
            async def main():
                try:
                    await Dialer().dial(key, asyncio.Protocol)
                except RuntimeError as error:
                    assert "pip install angelia[socks]" in str(error)
                else:
                    raise SystemExit("no RuntimeError")
            asyncio.run(main())
        """
        subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
