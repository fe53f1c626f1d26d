"""Dialling: addresses, attempts, TLS, errors, cancellation; on real sockets and both loops."""

from __future__ import annotations

import asyncio
import errno
import itertools
import re
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from angelia.errors import (
    ClientConnectionError,
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientConnectorSSLError,
    ConnectionTimeoutError,
    InvalidUrlClientError,
    ServerFingerprintMismatch,
    UnixClientConnectorError,
)
from angelia.net.addresses import AddrInfoType, ResolveResult
from angelia.net.connection_key import ConnectionKey
from angelia.net.dial import Dialer, dial_pipe, dial_unix
from angelia.net.timings import DialTimings
from angelia.net.tls import Fingerprint
from dial_kit import (
    Certificates,
    Client,
    Names,
    Run,
    cancel_at_every_turn,
    dialling,
    greeter,
    settled,
    silent_address,
    use,
)


def link_local_addresses() -> list[tuple[str, str]]:
    """The link-local IPv6 addresses of this machine, and their interfaces."""
    table = Path("/proc/net/if_inet6")
    lines = table.read_text().splitlines() if table.exists() else []
    rows = [line.split() for line in lines]
    return [
        (socket.inet_ntop(socket.AF_INET6, bytes.fromhex(row[0])), row[5])
        for row in rows
        if row[0].startswith("fe80")
    ]


class TestDirect:
    def test_an_address_skips_the_resolver(self, run: Run[None]) -> None:
        """A literal address is connected to without a lookup; keep-alive and no-delay are set."""

        async def main() -> None:
            names = Names()
            async with greeter() as port, dialling(resolver=names) as dialer:
                timings = DialTimings()
                transport, protocol = await dialer.dial(
                    ConnectionKey("127.0.0.1", port, False), Client, timings=timings
                )
                sock = transport.get_extra_info("socket")
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                await use(transport, protocol)
                assert timings.connect is not None
                assert timings.connect > 0
                assert timings.dns is None
                assert timings.tls is None
            assert names.asked == []
            assert names.closed == 0

        run(main())

    def test_a_name_is_looked_up_once(self, run: Run[None]) -> None:
        """The second connection to a name uses the cached answer."""

        async def main() -> None:
            names = Names(target_test=["127.0.0.1"])
            async with greeter() as port, dialling(resolver=names) as dialer:
                timings = DialTimings()
                key = ConnectionKey("target.test", port, False)
                await use(*await dialer.dial(key, Client, timings=timings))
                await use(*await dialer.dial(key, Client))
                assert names.asked == [("target.test", port, socket.AF_UNSPEC)]
                assert timings.dns is not None
                assert list(dialer.cached_hosts) == [("target.test", port)]
                dialer.clear_dns_cache("target.test", port)
                assert not dialer.cached_hosts
                with pytest.raises(ValueError, match="both host and port"):
                    dialer.clear_dns_cache("target.test")

        run(main())

    def test_ipv6(self, run: Run[None]) -> None:
        """IPv6 literals work, with `family` as well."""

        async def main() -> None:
            async with greeter("::1") as port:
                for family in (socket.AF_UNSPEC, socket.AF_INET6):
                    async with dialling(family=family) as dialer:
                        await use(*await dialer.dial(ConnectionKey("::1", port, False), Client))

        run(main())

    @pytest.mark.parametrize(
        "form", ["{address}%{name}", "{address}%25{name}", "{address}%{number}"]
    )
    def test_link_local(self, run: Run[None], certificates: Certificates, form: str) -> None:
        """A link-local address keeps its zone on the way, and has none in TLS."""
        zones = link_local_addresses()
        if not zones:
            pytest.skip("no interface has a link-local address")
        address, name = zones[0]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificates.authority.issue_cert(address).configure_cert(context)
        host = form.format(address=address, name=name, number=socket.if_nametoindex(name))

        async def main() -> None:
            async with greeter(f"{address}%{name}", context=context) as port, dialling() as dialer:
                key = ConnectionKey(host, port, True, certificates.client)
                await use(*await dialer.dial(key, Client))

        run(main())

    def test_family_filters_the_addresses(self, run: Run[None]) -> None:
        """`family` goes to the resolver, and holds where the resolver does not heed it."""

        async def main() -> None:
            names = Names(target_test=["::1", "127.0.0.1"])
            async with (
                greeter() as port,
                dialling(resolver=names, family=socket.AF_INET) as dialer,
            ):
                transport, protocol = await dialer.dial(
                    ConnectionKey("target.test", port, False), Client
                )
                assert transport.get_extra_info("peername")[0] == "127.0.0.1"
                assert names.asked[0][2] == socket.AF_INET
                await use(transport, protocol)
                with pytest.raises(ClientConnectorDNSError, match="family"):
                    await dialer.dial(ConnectionKey("::1", port, False), Client)

        run(main())

    @pytest.mark.parametrize("host", ["127.1", "2130706433", "0177.0.0.1", "a b", ""])
    def test_no_host(self, run: Run[None], host: str) -> None:
        """What is no host is refused before anything is asked."""

        async def main() -> None:
            names = Names()
            async with dialling(resolver=names) as dialer:
                with pytest.raises(InvalidUrlClientError) as caught:
                    await dialer.dial(ConnectionKey(host, 80, False), Client)
                assert caught.value.request_sent is False
            assert names.asked == []

        run(main())

    def test_refused(self, run: Run[None], free_port: int) -> None:
        """A refused connection names the host and keeps the cause; nothing was sent."""

        async def main() -> None:
            names = Names(target_test=["127.0.0.1"])
            async with dialling(resolver=names) as dialer:
                with pytest.raises(ClientConnectorError) as caught:
                    await dialer.dial(ConnectionKey("target.test", free_port, False), Client)
                error = caught.value
                assert type(error) is ClientConnectorError
                assert isinstance(error.os_error, ConnectionRefusedError)
                assert error.__cause__ is error.os_error
                assert f"target.test:{free_port}" in str(error)
                assert error.request_sent is False
                assert not dialer.cached_hosts, "the answer may be out of date"

        run(main())

    def test_unknown_name(self, run: Run[None]) -> None:
        """A failed lookup keeps the resolver's own words."""

        async def main() -> None:
            async with dialling(resolver=Names()) as dialer:
                with pytest.raises(
                    ClientConnectorDNSError, match=r"no such name: nowhere"
                ) as caught:
                    await dialer.dial(ConnectionKey("nowhere.test", 80, False), Client)
                assert (caught.value.host, caught.value.port) == ("nowhere.test", 80)

        run(main())

    def test_no_address(self, run: Run[None]) -> None:
        """A resolver that finds nothing has failed."""

        async def main() -> None:
            async with dialling(resolver=Names(empty_test=[])) as dialer:
                with pytest.raises(ClientConnectorDNSError):
                    await dialer.dial(ConnectionKey("empty.test", 80, False), Client)

        run(main())

    def test_timeout(self, run: Run[None]) -> None:
        """An attempt that takes longer than `sock_connect` is a ConnectionTimeoutError."""

        async def main() -> None:
            async with silent_address() as port, dialling() as dialer:
                with pytest.raises(ConnectionTimeoutError, match=r"127\.0\.0\.2") as caught:
                    await dialer.dial(
                        ConnectionKey("127.0.0.2", port, False), Client, sock_connect=0.05
                    )
                assert isinstance(caught.value, asyncio.TimeoutError)

        run(main())

    def test_cancelled(self, run: Run[None]) -> None:
        """Cancelling an attempt closes its socket, and stays a cancellation."""

        async def main() -> None:
            async with silent_address() as port, dialling() as dialer:
                # At its beginning, and when nothing happens any more.
                for sock_connect, turns in itertools.product((None, 0, 60), (1, 2, 50)):
                    task = asyncio.ensure_future(
                        dialer.dial(
                            ConnectionKey("127.0.0.2", port, False),
                            Client,
                            sock_connect=sock_connect,
                        )
                    )
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task

        run(main())

    def test_a_failing_factory_closes_the_socket(self, run: Run[None]) -> None:
        """An error of the protocol's maker reaches the caller and leaves no socket."""

        def broken() -> Client:
            raise LookupError("no protocol")

        async def main() -> None:
            async with greeter() as port, dialling() as dialer:
                with pytest.raises(LookupError):
                    await dialer.dial(ConnectionKey("127.0.0.1", port, False), broken)

        run(main())


class TestSeveralAddresses:
    @pytest.mark.parametrize("delay", [None, 0.25])
    def test_the_next_address_after_a_failure(
        self, run: Run[None], free_port: int, delay: float | None
    ) -> None:
        """An address that refuses is followed by the next one at once."""

        async def main() -> None:
            names = Names(target_test=["127.0.0.1", "127.0.0.3"])
            async with (
                greeter("127.0.0.3", port=free_port),
                dialling(resolver=names, happy_eyeballs_delay=delay) as dialer,
            ):
                transport, protocol = await dialer.dial(
                    ConnectionKey("target.test", free_port, False), Client
                )
                assert transport.get_extra_info("peername")[0] == "127.0.0.3"
                await use(transport, protocol)

        run(main())

    @pytest.mark.parametrize("delay", [None, 60])
    def test_the_next_address_after_a_timeout(self, run: Run[None], delay: float | None) -> None:
        """An address that exceeds `sock_connect` is followed by the next one."""

        async def main() -> None:
            names = Names(target_test=["127.0.0.2", "127.0.0.1"])
            async with (
                silent_address() as port,
                greeter(port=port),
                dialling(resolver=names, happy_eyeballs_delay=delay) as dialer,
            ):
                await use(
                    *await dialer.dial(
                        ConnectionKey("target.test", port, False), Client, sock_connect=0.05
                    )
                )

        run(main())

    def test_a_slow_address_does_not_hold_the_next(self, run: Run[None]) -> None:
        """The second attempt starts after the delay, wins, and the first one's socket is closed."""

        async def main() -> None:
            names = Names(target_test=["127.0.0.2", "127.0.0.1"])
            async with (
                silent_address() as port,
                greeter(port=port),
                dialling(resolver=names, happy_eyeballs_delay=0.02) as dialer,
            ):
                transport, protocol = await dialer.dial(
                    ConnectionKey("target.test", port, False), Client
                )
                assert transport.get_extra_info("peername")[0] == "127.0.0.1"
                await use(transport, protocol)

        run(main())

    def test_all_fail(self, run: Run[None], free_port: int) -> None:
        """The error after the last address tells what each said."""

        async def main() -> None:
            names = Names(target_test=["::1", "127.0.0.1"])
            async with dialling(resolver=names) as dialer:
                with pytest.raises(ClientConnectorError) as caught:
                    await dialer.dial(ConnectionKey("target.test", free_port, False), Client)
                error = caught.value.os_error
                assert isinstance(error, ConnectionRefusedError)
                if "Multiple exceptions" in str(error):
                    assert isinstance(error.__cause__, ExceptionGroup)
                    assert len(error.__cause__.exceptions) == 2

        run(main())

    def test_all_time_out(self, run: Run[None]) -> None:
        """Nothing but timeouts is a timeout."""

        async def main() -> None:
            names = Names(target_test=["127.0.0.2", "127.0.0.2"])
            async with silent_address() as port, dialling(resolver=names) as dialer:
                with pytest.raises(ConnectionTimeoutError, match=r"target\.test"):
                    await dialer.dial(
                        ConnectionKey("target.test", port, False), Client, sock_connect=0.02
                    )

        run(main())

    def test_a_timeout_and_a_refusal(self, run: Run[None]) -> None:
        """A refusal says more than a timeout."""

        async def main() -> None:
            names = Names(target_test=["127.0.0.2", "127.0.0.4"])
            async with silent_address() as port, dialling(resolver=names) as dialer:
                with pytest.raises(ClientConnectorError):
                    await dialer.dial(
                        ConnectionKey("target.test", port, False), Client, sock_connect=0.05
                    )

        run(main())

    def test_cancelled_in_the_race(self, run: Run[None]) -> None:
        """Cancelling a race closes the sockets of all attempts."""

        async def main() -> None:
            names = Names(target_test=["127.0.0.2"] * 3)
            started = 0

            def factory(info: AddrInfoType) -> socket.socket:
                nonlocal started
                started += 1
                return socket.socket(*info[:3])

            async with (
                silent_address() as port,
                dialling(
                    resolver=names, happy_eyeballs_delay=0.01, socket_factory=factory
                ) as dialer,
            ):
                task = asyncio.ensure_future(
                    dialer.dial(ConnectionKey("target.test", port, False), Client)
                )
                assert await settled(lambda: started == 3)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

        run(main())

    def test_socket_factory(self, run: Run[None], free_port: int) -> None:
        """The factory makes the socket of every attempt; its errors that are none of a socket's
        reach the caller."""

        async def main() -> None:
            names = Names(target_test=["::1", "127.0.0.1"])
            seen: list[AddrInfoType] = []

            def factory(info: AddrInfoType) -> socket.socket:
                seen.append(info)
                if len(seen) > 2:
                    raise LookupError("enough")
                return socket.socket(*info[:3])

            async with (
                greeter(port=free_port),
                dialling(resolver=names, socket_factory=factory) as dialer,
            ):
                key = ConnectionKey("target.test", free_port, False)
                await use(*await dialer.dial(key, Client))
                assert [info[0] for info in seen] == [socket.AF_INET6, socket.AF_INET]
                assert seen[0][4] == ("::1", free_port, 0, 0)
                assert seen[1] == (
                    socket.AF_INET,
                    socket.SOCK_STREAM,
                    0,
                    "",
                    ("127.0.0.1", free_port),
                )
                with pytest.raises(LookupError):
                    await dialer.dial(key, Client)

        run(main())

    def test_socket_without_options(self, run: Run[None]) -> None:
        """A socket that takes no options, as one that is closed already does not, costs no more
        than its own attempt."""
        names = Names(target_test=["127.0.0.7", "127.0.0.1"])

        class Plain(socket.socket):
            def setsockopt(self, *_: Any) -> None:
                raise OSError(errno.EINVAL, "Invalid argument")

        def closed(info: AddrInfoType) -> socket.socket:
            sock = socket.socket(*info[:3])
            if info[4][0] == "127.0.0.7":
                # As when the peer's reset is seen before anybody looks.
                sock.setblocking(False)
                sock.close()
            return sock

        async def main() -> None:
            for factory in (lambda info: Plain(*info[:3]), closed):
                async with (
                    greeter() as port,
                    dialling(resolver=names, socket_factory=factory) as dialer,
                ):
                    key = ConnectionKey("target.test", port, False)
                    await use(*await dialer.dial(key, Client))

        run(main())

    def test_local_addr(self, run: Run[None], free_port: int) -> None:
        """Each attempt is bound to the local address of its family, or fails."""

        async def main() -> None:
            names = Names(target_test=["::1", "127.0.0.1"], six_test=["::1"])
            async with (
                greeter("127.0.0.1", "::1", port=free_port),
                dialling(resolver=names, local_addr=("127.0.0.5", 0)) as dialer,
            ):
                transport, protocol = await dialer.dial(
                    ConnectionKey("target.test", free_port, False), Client
                )
                assert transport.get_extra_info("sockname")[0] == "127.0.0.5"
                await use(transport, protocol)
                with pytest.raises(ClientConnectorError, match="local_addr"):
                    await dialer.dial(ConnectionKey("six.test", free_port, False), Client)

        run(main())

    def test_local_addr_of_another_machine(self, run: Run[None], free_port: int) -> None:
        """A local address that cannot be bound to is named."""

        async def main() -> None:
            async with dialling(local_addr=("203.0.113.1", 0)) as dialer:
                with pytest.raises(ClientConnectorError, match="cannot bind to"):
                    await dialer.dial(ConnectionKey("127.0.0.1", free_port, False), Client)

        run(main())


class TestTLS:
    def test_handshake(self, run: Run[None], certificates: Certificates) -> None:
        """A verified connection by name and by address; the final dot is no part of the name."""

        async def main() -> None:
            names = Names(target_test=["127.0.0.1"])
            names.hosts["target.test."] = ["127.0.0.1"]
            async with (
                greeter("127.0.0.1", "::1", context=certificates.server) as port,
                dialling(resolver=names) as dialer,
            ):
                for host in ("target.test", "target.test.", "127.0.0.1", "::1"):
                    timings = DialTimings()
                    transport, protocol = await dialer.dial(
                        ConnectionKey(host, port, True, certificates.client),
                        Client,
                        timings=timings,
                    )
                    assert transport.get_extra_info("ssl_object") is not None
                    assert timings.tls is not None
                    await use(transport, protocol)

        run(main())

    def test_default_context_offers_http(self, run: Run[None], certificates: Certificates) -> None:
        """Without verification the connection still negotiates HTTP/1.1."""

        async def main() -> None:
            async with greeter(context=certificates.server) as port, dialling() as dialer:
                transport, protocol = await dialer.dial(
                    ConnectionKey("127.0.0.1", port, True, False), Client
                )
                ssl_object = transport.get_extra_info("ssl_object")
                assert ssl_object.selected_alpn_protocol() == "http/1.1"
                await use(transport, protocol)

        run(main())

    def test_unknown_authority(self, run: Run[None], certificates: Certificates) -> None:
        """The default context does not trust a private authority."""

        async def main() -> None:
            async with greeter(context=certificates.server) as port, dialling() as dialer:
                with pytest.raises(ClientConnectorCertificateError) as caught:
                    await dialer.dial(ConnectionKey("127.0.0.1", port, True, True), Client)
                assert isinstance(caught.value, ssl.CertificateError)
                assert isinstance(caught.value.certificate_error, ssl.SSLCertVerificationError)
                assert caught.value.__cause__ is caught.value.certificate_error

        run(main())

    def test_another_name(self, run: Run[None], certificates: Certificates) -> None:
        """`server_hostname` replaces the host in the check, for better and for worse."""

        async def main() -> None:
            names = Names(other_test=["127.0.0.1"])
            async with (
                greeter(context=certificates.server) as port,
                dialling(resolver=names) as dialer,
            ):
                key = ConnectionKey("other.test", port, True, certificates.client)
                with pytest.raises(ClientConnectorCertificateError):
                    await dialer.dial(key, Client)
                await use(*await dialer.dial(key._replace(server_hostname="localhost"), Client))
                with pytest.raises(ClientConnectorCertificateError):
                    await dialer.dial(
                        key._replace(host="127.0.0.1", server_hostname="wrong.test"), Client
                    )
                for name in ("", "a..b", ".leading"):
                    with pytest.raises(InvalidUrlClientError):
                        await dialer.dial(key._replace(server_hostname=name), Client)

        run(main())

    def test_fingerprint(self, run: Run[None], certificates: Certificates) -> None:
        """The right digest passes without an authority; the wrong one closes the transport."""

        async def main() -> None:
            async with greeter(context=certificates.server) as port, dialling() as dialer:
                key = ConnectionKey("127.0.0.1", port, True, Fingerprint(certificates.digest))
                await use(*await dialer.dial(key, Client))
                made: list[Client] = []

                def factory() -> Client:
                    made.append(Client())
                    return made[0]

                with pytest.raises(ServerFingerprintMismatch) as caught:
                    await dialer.dial(key._replace(ssl=Fingerprint(b"x" * 32)), factory)
                assert made == [], "no protocol sees such a connection"
                assert caught.value.got == certificates.digest
                assert (caught.value.host, caught.value.port) == ("127.0.0.1", port)
                assert caught.value.request_sent is False

        run(main())

    def test_no_tls_at_the_other_end(self, run: Run[None], certificates: Certificates) -> None:
        """A peer that speaks something else is a TLS error; one that hangs up is none."""

        async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await writer.drain()
            await reader.read()

        async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
            await reader.read()

        async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.transport.abort()

        async def main() -> None:
            async with greeter(handle=plain) as port, dialling() as dialer:
                key = ConnectionKey("127.0.0.1", port, True, certificates.client)
                with pytest.raises(ClientConnectorSSLError) as caught:
                    await dialer.dial(key, Client)
                assert isinstance(caught.value, ssl.SSLError)
            async with greeter(handle=hasty) as port, dialling() as dialer:
                with pytest.raises(ClientConnectorError):
                    await dialer.dial(key._replace(port=port), Client)
            async with greeter(handle=rude) as port, dialling() as dialer:
                with pytest.raises(ClientConnectorError):
                    await dialer.dial(key._replace(port=port), Client)

        run(main())

    @pytest.mark.parametrize("early", [b"HTTP/1.1 408 Request Timeout\r\n\r\n", b""])
    def test_a_hasty_peer(self, run: Run[None], certificates: Certificates, early: bytes) -> None:
        """What a peer says with its last handshake message never just vanishes."""
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificates.authority.issue_cert("127.0.0.1").configure_cert(server)
        # In TLS 1.2 the handshake's last message is the server's, and data can come with it.
        server.maximum_version = ssl.TLSVersion.TLSv1_2

        async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = server.wrap_bio(incoming, outgoing, server_side=True)
            while True:
                try:
                    tls.do_handshake()
                except ssl.SSLWantReadError:
                    writer.write(outgoing.read())
                    incoming.write(await reader.read(65536))
                else:
                    break
            if early:
                tls.write(early)
            else:
                with suppress(ssl.SSLWantReadError):
                    tls.unwrap()
            writer.write(outgoing.read())
            await reader.read()

        async def main() -> None:
            async with greeter(handle=hasty) as port, dialling() as dialer:
                key = ConnectionKey("127.0.0.1", port, True, certificates.client)
                try:
                    transport, protocol = await dialer.dial(key, Client)
                except ClientConnectorError as error:
                    outcome = str(error)
                else:
                    # Some loops deliver it a turn later: then the protocol learns of it.
                    if early:
                        await protocol.greeted
                        outcome = protocol.received.decode()
                    else:
                        await protocol.lost
                        outcome = "lost"
                    transport.abort()
                assert re.search("before the request|handshake|408|lost", outcome)

        run(main())

    def test_a_silent_peer(self, run: Run[None], certificates: Certificates) -> None:
        """A handshake without an answer ends with `sock_connect`, or with a cancellation."""

        arrived: asyncio.Event

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            arrived.set()
            await reader.read()
            await reader.read()

        async def main() -> None:
            nonlocal arrived
            arrived = asyncio.Event()
            async with greeter(handle=silent) as port, dialling() as dialer:
                key = ConnectionKey("127.0.0.1", port, True, certificates.client)
                with pytest.raises(ConnectionTimeoutError, match=r"127\.0\.0\.1"):
                    await dialer.dial(key, Client, sock_connect=0.05)
                for sock_connect in (None, 60):
                    arrived.clear()
                    task = asyncio.ensure_future(
                        dialer.dial(key, Client, sock_connect=sock_connect)
                    )
                    await arrived.wait()
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task

        run(main())

    def test_cancelled_at_every_turn(self, run: Run[None], certificates: Certificates) -> None:
        """Whichever turn of the loop a cancellation comes in, it leaves nothing open."""

        async def main() -> None:
            names = Names(target_test=["127.0.0.2", "127.0.0.1"])
            async with (
                greeter(context=certificates.server) as port,
                dialling(resolver=names, use_dns_cache=False) as dialer,
            ):
                key = ConnectionKey("target.test", port, True, certificates.client)
                await cancel_at_every_turn(lambda: dialer.dial(key, Client))

        run(main())


class TestUnix:
    def test_plain_and_tls(
        self, run: Run[None], certificates: Certificates, tmp_path: Path
    ) -> None:
        """A Unix socket carries HTTP and HTTPS; the name to verify is the URL's."""

        async def main() -> None:
            timings = DialTimings()
            async with greeter(path=tmp_path / "plain"):
                key = ConnectionKey("localhost", None, False)
                await use(*await dial_unix(str(tmp_path / "plain"), key, Client, timings=timings))
                assert timings.connect is not None
            async with greeter(path=tmp_path / "tls", context=certificates.server):
                key = ConnectionKey("target.test", None, True, certificates.client)
                await use(*await dial_unix(str(tmp_path / "tls"), key, Client, sock_connect=5))
                with pytest.raises(ClientConnectorCertificateError):
                    await dial_unix(str(tmp_path / "tls"), key._replace(host="other.test"), Client)

        run(main())

    def test_nobody_there(self, run: Run[None], tmp_path: Path) -> None:
        """A failure names the path."""

        async def main() -> None:
            path = str(tmp_path / "nothing")
            with pytest.raises(UnixClientConnectorError, match="nothing") as caught:
                await dial_unix(path, ConnectionKey("localhost", None, False), Client)
            assert caught.value.path == path
            assert isinstance(caught.value.os_error, FileNotFoundError)
            assert caught.value.request_sent is False

        run(main())


class TestPipe:
    def test_only_on_windows(self, run: Run[None]) -> None:
        """Other loops have no named pipes, and say so."""

        async def main() -> None:
            with pytest.raises(RuntimeError, match="Windows"):
                await dial_pipe("pipe", ConnectionKey("localhost", None, False), Client)

        run(main())


class TestClose:
    def test_own_resolver_is_closed_and_a_given_one_is_not(self, run: Run[None]) -> None:
        """Closing a dialer with a lookup under way ends it with an error of ours."""

        class Never(Names):
            async def resolve(self, *args: Any, **kwargs: Any) -> list[ResolveResult]:
                self.asked.append(("", 0, 0))
                await asyncio.Event().wait()
                return []

        async def main() -> None:
            names = Never()
            dialer = Dialer(resolver=names)
            task = asyncio.ensure_future(
                dialer.dial(ConnectionKey("target.test", 80, False), Client)
            )
            assert await settled(lambda: bool(names.asked))
            await dialer.close()
            with pytest.raises(ClientConnectionError, match="closed"):
                await task
            assert names.closed == 0
            own = Dialer()
            await own.close()
            await own.close()

        run(main())
