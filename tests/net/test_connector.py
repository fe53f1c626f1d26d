"""Connectors: what each parameter and attribute does, on real sockets; and the end of them."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import warnings
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from angelia.errors import (
    ClientConnectionError,
    ClientConnectorError,
    ConnectionTimeoutError,
    PoolTimeoutError,
)
from angelia.net.connection_key import ConnectionKey
from angelia.net.connector import (
    BaseConnector,
    NamedPipeConnector,
    TCPConnector,
    UnixConnector,
)
from angelia.net.tls import Fingerprint
from dial_kit import Certificates, Names, Run, greeter, settled, silent_address


class Request(NamedTuple):
    """All that a connector knows of a request."""

    connection_key: ConnectionKey


class Timeouts(NamedTuple):
    connect: float | None = None
    sock_connect: float | None = None
    pool: float | None = None


def request(port: int, host: str = "127.0.0.1", tls: bool = False, **rest: Any) -> Request:
    return Request(ConnectionKey(host, port, tls, **rest))


class Failing:
    """A trace one of whose callbacks fails."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, name: str) -> Any:
        async def callback(*args: Any) -> None:
            if name == self.name:
                raise LookupError(name)

        return callback


class TestArguments:
    def test_defaults(self, run: Run[None]) -> None:
        """The documented defaults can be read back."""

        async def main() -> None:
            async with TCPConnector() as connector:
                assert connector.limit == 100
                assert connector.limit_per_host == 0
                assert connector.force_close is False
                assert connector.closed is False
                assert connector.family == socket.AF_UNSPEC
                assert connector.use_dns_cache is True
                assert connector.cached_hosts == {}
                assert connector.ssl is True
                assert connector.allowed_schemes >= {"http", "https", "tcp"}
            assert connector.closed is True

        run(main())

    def test_none_is_no_limit(self, run: Run[None]) -> None:
        """None for a limit is the same as 0."""

        async def main() -> None:
            async with TCPConnector(limit=None, limit_per_host=None) as connector:
                assert (connector.limit, connector.limit_per_host) == (0, 0)

        run(main())

    def test_force_close_excludes_keepalive(self, run: Run[None]) -> None:
        """A time to keep connections for makes no sense where none is kept."""

        async def main() -> None:
            with pytest.raises(ValueError, match="keepalive_timeout"):
                TCPConnector(force_close=True, keepalive_timeout=1)
            await TCPConnector(force_close=True, keepalive_timeout=None).close()

        run(main())

    def test_no_loop(self) -> None:
        """A connector belongs to the running loop."""
        with pytest.raises(RuntimeError):
            TCPConnector()

    def test_with(self, run: Run[None]) -> None:
        """`with` cannot wait for the sockets to close."""

        async def main() -> None:
            async with TCPConnector() as connector:
                with pytest.raises(TypeError, match="async with"), connector:
                    pass

        run(main())

    def test_deprecated_tls_arguments(self, run: Run[None]) -> None:
        """Each of the old arguments warns, and means what `ssl` means now."""

        async def main() -> None:
            context = ssl.create_default_context()
            with pytest.warns(DeprecationWarning, match="verify_ssl"):
                first = TCPConnector(verify_ssl=False)
            with pytest.warns(DeprecationWarning, match="ssl_context"):
                second = TCPConnector(ssl_context=context)
            with pytest.warns(DeprecationWarning, match="fingerprint"):
                third = TCPConnector(fingerprint=b"x" * 32)
            assert first.ssl is False
            assert second.ssl is context
            assert isinstance(third.ssl, Fingerprint)
            for connector in (first, second, third):
                await connector.close()

        run(main())

    def test_wrong_tls_argument(self, run: Run[None]) -> None:
        """Anything else than a bool, a context or a fingerprint is a TypeError."""

        async def main() -> None:
            with pytest.raises(TypeError):
                TCPConnector(ssl="yes")  # type: ignore[arg-type]  # what the test is about

        run(main())

    def test_base_does_not_connect(self, run: Run[None]) -> None:
        """The base class leaves it to its subclasses how to connect."""

        async def main() -> None:
            async with BaseConnector() as connector:
                with pytest.raises(NotImplementedError):
                    await connector.connect(request(1))
                assert connector.ssl is True

        run(main())


class TestReuse:
    def test_release(self, run: Run[None]) -> None:
        """A released connection serves the next request; a closed one does not."""

        async def main() -> None:
            async with greeter() as port, TCPConnector() as connector:
                first = await connector.connect(request(port))
                transport = first.transport
                assert transport is not None
                assert not first.closed
                told: list[int] = []
                first.add_callback(lambda: told.append(1))
                first.release()
                first.release()
                assert (first.closed, first.transport, first.protocol) == (True, None, None)
                assert told == [1]
                second = await connector.connect(request(port))
                assert second.transport is transport
                second.close()
                second.close()
                third = await connector.connect(request(port))
                assert third.transport is not transport
                third.close()

        run(main())

    def test_deprecated_loop(self, run: Run[None]) -> None:
        """`Connection.loop` is there, and deprecated."""

        async def main() -> None:
            async with greeter() as port, TCPConnector() as connector:
                connection = await connector.connect(request(port))
                with pytest.warns(DeprecationWarning, match="loop"):
                    assert connection.loop is asyncio.get_running_loop()
                connection.close()

        run(main())

    def test_force_close(self, run: Run[None]) -> None:
        """With force_close nothing is kept."""

        async def main() -> None:
            async with greeter() as port, TCPConnector(force_close=True) as connector:
                (await connector.connect(request(port))).release()
                assert connector.force_close
                assert connector.stats().idle == 0

        run(main())

    def test_keepalive_timeout(self, run: Run[None]) -> None:
        """An idle connection is closed when its time is over, without any request."""

        async def main() -> None:
            async with greeter() as port, TCPConnector(keepalive_timeout=0.01) as connector:
                (await connector.connect(request(port))).release()
                assert await settled(lambda: connector.stats().idle == 0)

        run(main())

    def test_kept_for_ever(self, run: Run[None]) -> None:
        """With None for the time no timer is started that would end it."""

        async def main() -> None:
            async with greeter() as port, TCPConnector(keepalive_timeout=None) as connector:
                (await connector.connect(request(port))).release()
                assert connector._keeper._expiry is None
                assert connector.stats().idle == 1

        run(main())

    def test_lost_while_idle(self, run: Run[None]) -> None:
        """What the peer closed is not idle any more, and is not used."""

        async def main() -> None:
            hang_up = asyncio.Event()

            async def handle(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
                await hang_up.wait()

            async with greeter(handle=handle) as port, TCPConnector() as connector:
                (await connector.connect(request(port))).release()
                hang_up.set()
                assert await settled(lambda: connector.stats().idle == 0)

        run(main())

    def test_failing_trace_of_reuse(self, run: Run[None]) -> None:
        """A trace that fails costs the request, not the connection or its slot."""

        async def main() -> None:
            async with greeter() as port, TCPConnector() as connector:
                (await connector.connect(request(port))).release()
                with pytest.raises(LookupError):
                    await connector.connect(request(port), [Failing("send_connection_reuseconn")])
                assert (connector.stats().idle, connector.stats().in_use) == (1, 0)

        run(main())


class TestLimits:
    @pytest.mark.parametrize("options", [{"limit": 1}, {"limit_per_host": 1}], ids=str)
    def test_limit(self, run: Run[None], options: dict[str, int]) -> None:
        """A request over the limit waits, is counted, and gets the connection that is freed."""

        async def main() -> None:
            async with greeter() as port, TCPConnector(**options) as connector:  # type: ignore[arg-type]  # only limits
                first = await connector.connect(request(port))
                transport = first.transport
                second = asyncio.ensure_future(connector.connect(request(port)))
                assert await settled(lambda: connector.stats().waiting == 1)
                stats = connector.stats()
                assert (stats.idle, stats.in_use, stats.connecting) == (0, 1, 0)
                origin = f"http://127.0.0.1:{port}"
                assert stats.by_origin == {origin: {"idle": 0, "in_use": 1, "waiting": 1}}
                assert "in_use=1" in repr(stats)
                first.release()
                connection = await second
                assert connection.transport is transport
                connection.close()

        run(main())

    def test_pool_timeout(self, run: Run[None]) -> None:
        """The wait for a slot has a limit of its own, and leaves nobody in the queue."""

        async def main() -> None:
            async with greeter() as port, TCPConnector(limit=1) as connector:
                first = await connector.connect(request(port))
                with pytest.raises(PoolTimeoutError, match="no free connection"):
                    await connector.connect(request(port), (), Timeouts(pool=0.01))
                with pytest.raises(ConnectionTimeoutError):
                    await connector.connect(request(port), (), Timeouts(connect=0.01))
                assert connector.stats().waiting == 0
                first.close()

        run(main())

    def test_cancelled_waiter(self, run: Run[None]) -> None:
        """One who is cancelled in the queue hands the turn on."""

        async def main() -> None:
            async with greeter() as port, TCPConnector(limit=1) as connector:
                first = await connector.connect(request(port))
                second = asyncio.ensure_future(connector.connect(request(port)))
                third = asyncio.ensure_future(connector.connect(request(port)))
                assert await settled(lambda: connector.stats().waiting == 2)
                first.release()
                second.cancel()
                (await third).close()
                assert second.cancelled()

        run(main())


class TestDials:
    @pytest.mark.parametrize("name", ["send_connection_create_start", "send_connection_create_end"])
    def test_failing_trace(self, run: Run[None], name: str) -> None:
        """A trace that fails during a dial reaches its request, and frees slot and socket."""

        async def main() -> None:
            async with greeter() as port, TCPConnector(limit=1) as connector:
                with pytest.raises(LookupError):
                    await connector.connect(request(port), [Failing(name)])
                # The only slot is free again.
                (await connector.connect(request(port))).close()

        run(main())

    def test_failing_trace_in_the_queue(self, run: Run[None]) -> None:
        """A trace that fails while its request waits takes the request out of the queue."""

        async def main() -> None:
            async with greeter() as port, TCPConnector(limit=1) as connector:
                first = await connector.connect(request(port))
                with pytest.raises(LookupError):
                    await connector.connect(
                        request(port), [Failing("send_connection_queued_start")]
                    )
                assert connector.stats().waiting == 0
                first.close()

        run(main())

    def test_cache_of_names(self, run: Run[None]) -> None:
        """Addresses are kept by default; `cached_hosts` shows, `clear_dns_cache` drops them."""

        async def main() -> None:
            names = Names(target_test=["127.0.0.1"], other_test=["127.0.0.1"])
            async with greeter() as port, TCPConnector(resolver=names) as connector:
                for host in ("target.test", "target.test", "other.test"):
                    (await connector.connect(request(port, host))).close()
                assert len(names.asked) == 2
                assert set(connector.cached_hosts) == {("target.test", port), ("other.test", port)}
                with pytest.raises(ValueError, match="both"):
                    connector.clear_dns_cache("target.test")
                connector.clear_dns_cache("target.test", port)
                assert set(connector.cached_hosts) == {("other.test", port)}
                connector.clear_dns_cache()
                assert not connector.cached_hosts
            assert names.closed == 0

        run(main())

    @pytest.mark.parametrize("options", [{"use_dns_cache": False}, {"ttl_dns_cache": 0}], ids=str)
    def test_no_cache(self, run: Run[None], options: dict[str, Any]) -> None:
        """Without a cache, or with one that keeps nothing, each dial asks."""

        async def main() -> None:
            names = Names(target_test=["127.0.0.1"])
            async with greeter() as port, TCPConnector(resolver=names, **options) as connector:
                for _ in range(2):
                    (await connector.connect(request(port, "target.test"))).close()
                assert len(names.asked) == 2

        run(main())

    def test_family_local_addr_and_factory(self, run: Run[None]) -> None:
        """`family` picks addresses, `local_addr` and `socket_factory` make the socket."""

        async def main() -> None:
            made: list[Any] = []

            def factory(info: Any) -> socket.socket:
                made.append(info)
                family, kind, proto, _, _ = info
                return socket.socket(family, kind, proto)

            names = Names(target_test=["::1", "127.0.0.1"])
            async with (
                greeter("127.0.0.1") as port,
                TCPConnector(
                    resolver=names,
                    family=socket.AF_INET,
                    local_addr=("127.0.0.5", 0),
                    socket_factory=factory,
                ) as connector,
            ):
                assert connector.family == socket.AF_INET
                connection = await connector.connect(request(port, "target.test"))
                assert connection.transport is not None
                assert connection.transport.get_extra_info("sockname")[0] == "127.0.0.5"
                assert [info[0] for info in made] == [socket.AF_INET]
                connection.close()

        run(main())

    def test_eyeballs(self, run: Run[None], free_port: int) -> None:
        """`happy_eyeballs_delay` is when the next address is tried, and None is never."""

        async def main() -> None:
            names = Names(target_test=["127.0.0.2", "127.0.0.1"])
            async with silent_address() as port, greeter("127.0.0.1", port=port):
                async with TCPConnector(resolver=names, happy_eyeballs_delay=0.01) as connector:
                    (await connector.connect(request(port, "target.test"))).close()
                async with TCPConnector(resolver=names, happy_eyeballs_delay=None) as connector:
                    with pytest.raises(ConnectionTimeoutError):
                        await connector.connect(
                            request(port, "target.test"), (), Timeouts(connect=0.1)
                        )

        run(main())

    def test_unix(self, run: Run[None], tmp_path: Path) -> None:
        """A Unix connector goes to its path, whatever the host; an error names the path."""

        async def main() -> None:
            path = tmp_path / "socket"
            async with greeter(path=path), UnixConnector(str(path)) as connector:
                assert connector.path == str(path)
                assert "unix" in connector.allowed_schemes
                (await connector.connect(request(80, "any.test"))).release()
                assert connector.stats().idle == 1
            async with UnixConnector(str(tmp_path / "none")) as connector:
                with pytest.raises(ClientConnectorError, match="none"):
                    await connector.connect(request(80, "any.test"))

        run(main())

    def test_named_pipe(self, run: Run[None]) -> None:
        """Named pipes need a loop that has them."""

        async def main() -> None:
            with pytest.raises(RuntimeError, match="proactor"):
                NamedPipeConnector(r"\\.\pipe\x")

        run(main())


class TestEnd:
    def test_close(self, run: Run[None]) -> None:
        """`close` ends what is idle, in use, waited for; it is idempotent, and final."""

        async def main() -> None:
            async with greeter() as port:
                connector = TCPConnector(limit=1)
                first = await connector.connect(request(port))
                waiting = asyncio.ensure_future(connector.connect(request(port)))
                assert await settled(lambda: connector.stats().waiting == 1)
                await connector.close()
                await connector.close()
                assert connector.closed
                assert first.closed
                assert "closed" in repr(connector)
                with pytest.raises(ClientConnectionError, match="Connector is closed"):
                    await waiting
                with pytest.raises(ClientConnectionError, match="closed"):
                    await connector.connect(request(port))
                first.release()
                assert connector.stats().idle == 0

        run(main())

    def test_close_during_dial(self, run: Run[None]) -> None:
        """A dial under way when the connector closes fails with the same error, at once."""

        async def main() -> None:
            async with silent_address() as port:
                connector = TCPConnector()
                dialling = asyncio.ensure_future(connector.connect(request(port, "127.0.0.2")))
                assert await settled(lambda: connector.stats().connecting == 1)
                await connector.close()
                with pytest.raises(ClientConnectionError, match="Connector is closed"):
                    await dialling
                assert connector.stats().connecting == 0

        run(main())

    @pytest.mark.parametrize("abort", [False, True])
    def test_deaf_tls_peer(self, run: Run[None], certificates: Certificates, abort: bool) -> None:
        """A peer that never answers the TLS goodbye holds `close` for a bounded time only."""

        async def main() -> None:
            deaf = asyncio.Event()
            over = asyncio.Event()

            async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                # It reads nothing more, so it never sees the goodbye.
                writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's has it
                deaf.set()
                await over.wait()

            async with greeter(context=certificates.server, handle=handle) as port:
                connector = TCPConnector(ssl=certificates.client, ssl_shutdown_timeout=0.05)
                key = request(port, tls=True, ssl=certificates.client)
                connection = await connector.connect(key)
                await deaf.wait()
                start = asyncio.get_running_loop().time()
                await connector.close(abort_ssl=abort)
                assert asyncio.get_running_loop().time() - start < 1
                assert connection.closed
                over.set()

        run(main())

    def test_unclosed_connector(self, run: Run[None]) -> None:
        """A connector that is dropped with connections warns, and its sockets close."""

        async def main() -> None:
            async with greeter() as port:
                connector = TCPConnector()
                (await connector.connect(request(port))).release()
                gone = weakref.ref(connector)
                with pytest.warns(ResourceWarning, match="Unclosed connector"):
                    del connector
                assert gone() is None

        run(main())

    def test_empty_connector_does_not_warn(self, run: Run[None]) -> None:
        """There is nothing to close in a connector without connections."""

        async def main() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                TCPConnector()
                gc.collect()

        run(main())

    def test_unclosed_connection(self, run: Run[None]) -> None:
        """A connection that is dropped warns, and gives its slot back."""

        async def main() -> None:
            async with greeter() as port, TCPConnector(limit=1) as connector:
                connection = await connector.connect(request(port))
                with pytest.warns(ResourceWarning, match="Unclosed connection"):
                    del connection
                (await connector.connect(request(port))).close()

        run(main())

    def test_abandon(self, run: Run[None]) -> None:
        """`abandon` closes all without a wait, and after it nothing is to be closed."""

        async def main() -> None:
            async with greeter() as port:
                connector = TCPConnector()
                (await connector.connect(request(port))).release()
                connector.abandon()
                connector.abandon()
                assert connector.closed
                await connector.close()

        run(main())
