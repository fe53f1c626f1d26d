"""The kinds of connectors: TCP with each of its options, Unix sockets, named pipes; both loops."""

from __future__ import annotations

import asyncio
import socket
import types
from pathlib import Path
from typing import Any

import pytest

from angelia.errors import (
    ClientConnectionError,
    ClientConnectorError,
    ConnectionTimeoutError,
    UnixClientConnectorError,
)
from angelia.net.addresses import AddrInfoType
from angelia.net.connector_kinds import (
    NamedPipeConnector,
    TCPConnector,
    UnixConnector,
)
from angelia.net.tls import Fingerprint
from connector_kit import (
    Timeouts,
    ask,
    figures,
    hold,
)
from dial_kit import Certificates, Names, silent_address
from peers.raw import RawServer

both_loops = pytest.mark.usefixtures("loop_kind")


class TestSSL:
    @both_loops
    async def test_values(self, certificates: Certificates) -> None:
        """`ssl` is True, False, a context or a fingerprint; what it is can be read."""
        pin = Fingerprint(bytes(32))
        for value in (True, False, certificates.client, pin):
            async with TCPConnector(ssl=value) as connector:
                assert connector.ssl is value
        for arguments in ({"ssl": "yes"}, {"ssl": 1}, {"proxy_ssl": "yes"}):
            with pytest.raises(TypeError):
                TCPConnector(**arguments)

    @both_loops
    async def test_deprecated(self, certificates: Certificates) -> None:
        """The old arguments mean what they meant, with a warning at the caller's line."""
        context, digest = certificates.client, bytes(32)
        for name, value, meant in (
            ("verify_ssl", False, False),
            ("ssl_context", context, context),
            ("fingerprint", digest, Fingerprint(digest)),
        ):
            arguments: dict[str, Any] = {name: value}
            with pytest.warns(DeprecationWarning, match=name) as caught:
                connector = TCPConnector(**arguments)
            assert caught[0].filename == __file__
            assert connector.ssl == meant
            await connector.close()
            with (
                pytest.warns(DeprecationWarning, match=name),
                pytest.raises(ValueError, match="mutually exclusive"),
            ):
                TCPConnector(ssl=False, **arguments)
        with pytest.warns(DeprecationWarning, match="None"):
            connector = TCPConnector(ssl=None)
        assert connector.ssl is True

    @both_loops
    async def test_connected(self, certificates: Certificates) -> None:
        """A TLS connection is verified as its key says, and kept like any other."""
        async with RawServer(hold, tls=certificates.server) as server, TCPConnector() as connector:
            for setting in (certificates.client, False, Fingerprint(certificates.digest)):
                request = ask(server.port, "localhost", tls=True, ssl=setting)
                (await connector.connect(request)).release()
            assert figures(connector) == (3, 0, 0, 0)
            origin = f"https://localhost:{server.port}"
            assert connector.stats().by_origin[origin]["idle"] == 3


@both_loops
class TestNamesAndAddresses:
    async def test_cache(self) -> None:
        """Looked-up addresses are kept, can be seen, and can be forgotten: one name's, or all."""
        names = Names(a_test=["127.0.0.1"], b_test=["127.0.0.1"])
        async with RawServer(hold) as server, TCPConnector(resolver=names) as connector:
            assert connector.use_dns_cache is True
            assert connector.dns_cache is True
            a, b = ask(server.port, "a.test"), ask(server.port, "b.test")
            for request in (a, a, b):
                (await connector.connect(request)).close()
            assert len(names.asked) == 2
            assert isinstance(connector.cached_hosts, types.MappingProxyType)
            assert set(connector.cached_hosts) == {("a.test", server.port), ("b.test", server.port)}
            assert connector.cached_hosts["a.test", server.port][0]["host"] == "127.0.0.1"
            connector.clear_dns_cache("a.test", server.port)
            assert set(connector.cached_hosts) == {("b.test", server.port)}
            connector.clear_dns_cache("never.test", 1)
            for arguments in (("a.test",), (None, 80)):
                with pytest.raises(ValueError, match="host and port"):
                    connector.clear_dns_cache(*arguments)
            connector.clear_dns_cache()
            assert not connector.cached_hosts
            for request in (a, b):
                (await connector.connect(request)).close()
            assert len(names.asked) == 4
        assert names.closed == 0

    async def test_seen_while_it_changes(self) -> None:
        """What is looked at is the cache as it was: it may change meanwhile."""
        names = Names(**{f"n{number}_test": ["127.0.0.1"] for number in range(3)})
        async with RawServer(hold) as server, TCPConnector(resolver=names) as connector:
            for number in range(2):
                (await connector.connect(ask(server.port, f"n{number}.test"))).close()
            seen = []
            for host, _ in connector.cached_hosts:
                (await connector.connect(ask(server.port, "n2.test"))).close()
                connector.clear_dns_cache("n1.test", server.port)
                seen.append(host)
            assert seen == ["n0.test", "n1.test"]
            assert [host for host, _ in connector.cached_hosts] == ["n0.test", "n2.test"]

    async def test_no_cache(self) -> None:
        """With `use_dns_cache=False`, and a time of 0, every connection asks again."""
        either: list[dict[str, Any]] = [{"use_dns_cache": False}, {"ttl_dns_cache": 0}]
        for options in either:
            names = Names(a_test=["127.0.0.1"])
            async with (
                RawServer(hold) as server,
                TCPConnector(resolver=names, **options) as connector,
            ):
                for _ in range(3):
                    (await connector.connect(ask(server.port, "a.test"))).close()
                assert len(names.asked) == 3
                assert not connector.cached_hosts
                assert connector.use_dns_cache is ("ttl_dns_cache" in options)

    async def test_cache_size(self) -> None:
        """`dns_cache_max_size` bounds the cache; the oldest go."""
        names = Names(**{f"n{number}_test": ["127.0.0.1"] for number in range(4)})
        async with (
            RawServer(hold) as server,
            TCPConnector(resolver=names, dns_cache_max_size=2) as connector,
        ):
            for number in range(4):
                (await connector.connect(ask(server.port, f"n{number}.test"))).close()
            assert [host for host, _ in connector.cached_hosts] == ["n2.test", "n3.test"]

    async def test_family(self) -> None:
        """`family` leaves the addresses of the other one out."""
        names = Names(a_test=["::1", "127.0.0.1"])
        async with (
            RawServer(hold) as server,
            TCPConnector(resolver=names, family=socket.AF_INET) as connector,
        ):
            assert connector.family == socket.AF_INET
            connection = await connector.connect(ask(server.port, "a.test"))
            assert connection.transport is not None
            assert connection.transport.get_extra_info("peername")[0] == "127.0.0.1"
            assert names.asked[0][2] == socket.AF_INET
            connection.close()
        async with TCPConnector() as connector:
            assert connector.family == socket.AF_UNSPEC

    async def test_local_addr(self) -> None:
        """`local_addr` is where connections come from."""
        async with (
            RawServer(hold) as server,
            TCPConnector(local_addr=("127.0.0.3", 0)) as connector,
        ):
            (await connector.connect(ask(server.port))).release()
            await server.wait_connections(1)
            assert server.accepted[0].writer.get_extra_info("peername")[0] == "127.0.0.3"

    async def test_socket_factory(self) -> None:
        """`socket_factory` makes every socket, from the address; its options are kept."""
        made: list[AddrInfoType] = []

        def factory(info: AddrInfoType) -> socket.socket:
            made.append(info)
            sock = socket.socket(info[0], info[1], info[2])
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            return sock

        async with RawServer(hold) as server, TCPConnector(socket_factory=factory) as connector:
            connection = await connector.connect(ask(server.port))
            assert made[0][0] == socket.AF_INET
            assert made[0][4] == ("127.0.0.1", server.port)
            assert connection.transport is not None
            sock = connection.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
            connection.release()

    @pytest.mark.parametrize(
        ("options", "order"),
        [
            ({}, "646444"),
            ({"happy_eyeballs_delay": None}, "664444"),
            ({"happy_eyeballs_delay": None, "interleave": 1}, "646444"),
            ({"interleave": 0}, "664444"),
            ({"interleave": 2}, "664444"),
        ],
    )
    async def test_order_of_addresses(self, options: dict[str, Any], order: str) -> None:
        """Families take turns with Happy Eyeballs, or as `interleave` says; all are tried."""
        tried: list[str] = []

        def factory(info: AddrInfoType) -> socket.socket:
            tried.append("6" if info[0] == socket.AF_INET6 else "4")
            raise OSError(f"not {info[4][0]}")

        addresses = ["2001:db8::1", "2001:db8::2", *(f"192.0.2.{n}" for n in range(1, 5))]
        names = Names(a_test=addresses)
        async with TCPConnector(resolver=names, socket_factory=factory, **options) as connector:
            with pytest.raises(ClientConnectorError) as caught:
                await connector.connect(ask(80, "a.test"))
        assert "".join(tried) == order
        assert all(address in str(caught.value) for address in addresses)

    async def test_happy_eyeballs_delay(self) -> None:
        """An address that is silent for so long does not hold the next one up."""
        loop = asyncio.get_running_loop()
        async with silent_address() as port, RawServer(hold, port=port) as server:
            names = Names(a_test=["127.0.0.2", "127.0.0.1"])
            async with TCPConnector(resolver=names, happy_eyeballs_delay=0.05) as connector:
                begun = loop.time()
                connection = await connector.connect(ask(server.port, "a.test"))
                assert loop.time() - begun > 0.04
                connection.release()
            # With None each waits for the failure of the one before, which does not come.
            async with TCPConnector(resolver=names, happy_eyeballs_delay=None) as connector:
                with pytest.raises(ConnectionTimeoutError):
                    await connector.connect(ask(server.port, "a.test"), (), Timeouts(connect=0.1))


@both_loops
class TestUnix:
    async def test_connected(self, tmp_path: Path, certificates: Certificates) -> None:
        """Whatever host is asked for, the socket at `path` is connected to, with TLS or without."""
        path = tmp_path / "socket"
        for tls in (None, certificates.server):
            async with (
                RawServer(hold, unix_path=path, tls=tls) as server,
                UnixConnector(str(path), limit=3) as connector,
            ):
                assert connector.path == str(path)
                assert connector.limit == 3
                request = ask(None, "localhost", tls=tls is not None, ssl=certificates.client)
                connection = await connector.connect(request)
                assert connection.transport is not None
                assert connection.protocol is not None
                assert connection.protocol.timings is not None
                connection.release()
                (await connector.connect(request)).release()
                await server.wait_connections(1)
                assert figures(connector) == (1, 0, 0, 0)

    async def test_nobody_there(self, tmp_path: Path) -> None:
        """The error names the path."""
        path = str(tmp_path / "nothing")
        async with UnixConnector(path) as connector:
            with pytest.raises(UnixClientConnectorError) as caught:
                await connector.connect(ask(80), (), Timeouts(sock_connect=1))
            assert caught.value.path == path
            assert path in str(caught.value)
            assert figures(connector) == (0, 0, 0, 0)


class TestNamedPipe:
    async def test_other_loops(self) -> None:
        """Only the proactor loop has pipes; others say so when the connector is made."""
        with pytest.raises(RuntimeError, match="proactor"):
            NamedPipeConnector(r"\\.\pipe\x")

    async def test_proactor(self) -> None:
        """Where the loop has them, connections go through the pipe, without TLS."""
        loop = asyncio.get_running_loop()
        opened: list[str] = []
        near, far = socket.socketpair()

        async def create_pipe_connection(factory: Any, path: str) -> Any:
            opened.append(path)
            if len(opened) > 1:
                raise FileNotFoundError(path)
            return await loop.create_unix_connection(factory, sock=near)

        # As that loop would.
        vars(loop)["create_pipe_connection"] = create_pipe_connection
        with far:
            async with NamedPipeConnector(r"\\.\pipe\x") as connector:
                assert connector.path == r"\\.\pipe\x"
                (await connector.connect(ask(80))).release()
                connection = await connector.connect(ask(80))
                assert opened == [r"\\.\pipe\x"]
                connection.close()
                with pytest.raises(ClientConnectorError):
                    await connector.connect(ask(80), (), Timeouts(sock_connect=1))
                with pytest.raises(ClientConnectionError, match="TLS over a named pipe"):
                    await connector.connect(ask(443, tls=True))
                assert figures(connector) == (0, 0, 0, 0)
