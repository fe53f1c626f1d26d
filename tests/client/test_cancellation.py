"""Cancellation: a request given up in any turn of the event loop leaves nothing behind.

Each scenario is a whole request to peers on the same loop. It is run again and again, cancelled one
turn later each time, until it completes; so every await of it gets its cancellation. Each time the
slot must be free at once, the next request must get its own answer, and closing the session must
leave no task, no timer and no file descriptor.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import angelia
from angelia.abc import AbstractResolver, ResolveResult
from peers.raw import RawServer, read_head, response
from turns import turns

pytestmark = pytest.mark.usefixtures("loop_kind")

Scenario: TypeAlias = Callable[[angelia.ClientSession], Awaitable[None]]
Arguments: TypeAlias = Callable[[], dict[str, Any]]

# More turns than any scenario takes.
MAX_TURNS = 2000

# As a number of turns: all that it takes.
WHOLE = -1

# Far from firing, but each of its timers would be seen if it stayed.
LIMITS = angelia.ClientTimeout(
    total=1000, connect=1000, sock_connect=1000, sock_read=1000, pool=1000
)


def open_files() -> set[str]:
    """The descriptors of this process, but for the one that lists them."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(f"{link.name}: {link.readlink()}")
    return found


def pending_timers() -> list[asyncio.TimerHandle]:
    """The timers that are not cancelled; none are seen on uvloop."""
    scheduled = getattr(asyncio.get_running_loop(), "_scheduled", ())
    return [timer for timer in scheduled if not timer.cancelled()]


class AtOnce(concurrent.futures.ThreadPoolExecutor):
    """Calls where it is asked to, so that turns of the loop are all the time there is."""

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - it is for whoever asked
            future.set_exception(error)
        return future


class Names(AbstractResolver):
    """Knows one address for every name, after a few turns."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        await turns(3)
        return [
            ResolveResult(
                hostname=host,
                host="127.0.0.1",
                port=port,
                family=socket.AF_INET,
                proto=0,
                flags=0,
            )
        ]

    async def close(self) -> None:
        await turns(2)


def say(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write, unless the client has gone: uvloop has an error of its own for that."""
    if writer.transport.is_closing():
        raise ConnectionResetError
    writer.write(data)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request with its own target, slowly and in pieces."""
    while True:
        head = await read_head(reader)
        target = head.split(b" ", 2)[1]
        lowered = head.lower()
        if b"expect: 100-continue" in lowered:
            await turns(3)
            say(writer, b"HTTP/1.1 100 Continue\r\n\r\n")
        if b"content-length: " in lowered:
            size = int(lowered.split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(size)
        elif b"transfer-encoding: chunked" in lowered:
            while (line := await reader.readuntil(b"\r\n")) != b"0\r\n":
                await reader.readexactly(int(line, 16) + 2)
            await reader.readuntil(b"\r\n")
        await turns(2)
        if target.startswith(b"/redirect"):
            say(writer, response(b"moved", "Location: /there", status="307 Temporary Redirect"))
            continue
        if target.startswith(b"/missing"):
            say(writer, response(b"no", status="404 Not Found"))
            continue
        say(writer, response(b"", "Transfer-Encoding: chunked", length=False))
        for start in range(len(target)):
            await turns(1)
            say(writer, b"1\r\n" + target[start : start + 1] + b"\r\n")
        await turns(1)
        say(writer, b"0\r\n\r\n")


def tunnel(context: ssl.SSLContext) -> Callable[..., Awaitable[None]]:
    """A proxy whose tunnels all lead to itself, where it serves over TLS."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        await turns(3)
        say(writer, b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            await writer.start_tls(context)
        except ssl.SSLError as error:
            raise ConnectionResetError from error
        await serve(reader, writer)

    return script


async def socks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A SOCKS5 proxy that is the target too."""
    greeting = await reader.readexactly(2)
    await reader.readexactly(greeting[1])
    await turns(2)
    say(writer, b"\x05\x00")
    head = await reader.readexactly(4)
    size = 4 if head[3] == 1 else 16 if head[3] == 4 else (await reader.readexactly(1))[0]
    await reader.readexactly(size + 2)
    await turns(2)
    say(writer, b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")
    await serve(reader, writer)


async def check_slot(session: angelia.ClientSession, url: Any, **kwargs: Any) -> None:
    """The only slot is free for a request, and that gets its own answer."""
    assert session.connector is not None
    stats = session.connector.stats()
    assert stats.in_use == 0, stats
    assert stats.waiting == 0, stats
    async with session.get(f"{str(url).rstrip('/')}/next", **kwargs) as resp:
        assert await resp.read() == b"/next"
    assert session.connector.stats().in_use == 0


async def cancel_everywhere(
    server: RawServer,
    scenario: Scenario,
    *,
    url: Any = None,
    call: dict[str, Any] | None = None,
    connector: Arguments = dict,
    arguments: Arguments = dict,
) -> int:
    """Cancel `scenario` after 0, 1, 2... turns until it completes; in how many turns it did."""
    tasks = asyncio.all_tasks()
    baseline: tuple[set[str], set[asyncio.TimerHandle]] | None = None
    count: int
    for count in (WHOLE, *range(MAX_TURNS)):
        session = angelia.ClientSession(
            connector=angelia.TCPConnector(limit=1, **connector()), timeout=LIMITS, **arguments()
        )
        task = asyncio.ensure_future(scenario(session))
        if count == WHOLE:
            await asyncio.wait([task])
        for _ in range(count):
            if task.done():
                break
            await asyncio.sleep(0)
        completed = task.done()
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            assert not completed, "it cancelled itself"
        except angelia.ClientResponseError:
            assert completed
        # An upload that was stopped ends in the next turn.
        await turns(2)
        try:
            await check_slot(session, url or server.url, **(call or {}))
        finally:
            await session.close()
        await server.wait_all_closed()
        await turns(5)
        assert asyncio.all_tasks() <= tasks, f"cancelled after {count} turns"
        state = open_files(), set(pending_timers())
        if baseline is None:
            # The first run is a whole one: what loops and libraries open once is open now.
            assert completed
            baseline = state
            continue
        left = state[0] - baseline[0], state[1] - baseline[1]
        assert not any(left), f"cancelled after {count} turns: {left}"
        if completed:
            return count
    raise AssertionError("the request never came to its end")


async def get(session: angelia.ClientSession, url: Any, **kwargs: Any) -> None:
    async with session.get(url, **kwargs) as resp:
        await resp.read()


class TestConnecting:
    async def test_plain(self) -> None:
        """Connecting, sending, waiting for the head, reading the content."""
        async with RawServer(serve) as server:
            assert await cancel_everywhere(server, lambda s: get(s, server.url / "x")) > 5

    async def test_dns(self) -> None:
        """Looking up a name; the lookup ends too when nobody wants it."""
        async with RawServer(serve) as server:
            url = server.url.with_host("a.test")
            await cancel_everywhere(
                server,
                lambda s: get(s, url),
                url=url,
                connector=lambda: {"resolver": Names(), "use_dns_cache": False},
            )

    async def test_queued(self) -> None:
        """Waiting for the only slot; whoever has it goes on."""
        async with RawServer(serve) as server:

            async def scenario(session: angelia.ClientSession) -> None:
                first = asyncio.ensure_future(get(session, server.url / "first"))
                try:
                    await asyncio.sleep(0)
                    await get(session, server.url / "second")
                finally:
                    await first

            await cancel_everywhere(server, scenario)

    async def test_both_queued(self) -> None:
        """One of two that wait for the slot: the other gets it."""
        async with RawServer(serve) as server:

            async def scenario(session: angelia.ClientSession) -> None:
                others = [
                    asyncio.ensure_future(get(session, server.url / name)) for name in ("a", "b")
                ]
                try:
                    await get(session, server.url / "second")
                finally:
                    await asyncio.gather(*others)

            await cancel_everywhere(server, scenario)

    async def test_tls(self, client_ssl: ssl.SSLContext, server_ssl: ssl.SSLContext) -> None:
        """The TLS handshake."""
        async with RawServer(serve, tls=server_ssl) as server:
            await cancel_everywhere(
                server,
                lambda s: get(s, server.url),
                connector=lambda: {"ssl": client_ssl},
            )

    async def test_connect(self, client_ssl: ssl.SSLContext, server_ssl: ssl.SSLContext) -> None:
        """Waiting for the answer to CONNECT, and TLS within the tunnel."""
        async with RawServer(tunnel(server_ssl)) as server:
            await cancel_everywhere(
                server,
                lambda s: get(s, "https://localhost/x"),
                url="https://localhost",
                connector=lambda: {"ssl": client_ssl},
                arguments=lambda: {"proxy": server.url},
            )

    async def test_socks(self) -> None:
        """The handshake with a SOCKS proxy."""
        async with RawServer(socks) as server:
            await cancel_everywhere(
                server,
                lambda s: get(s, "http://localhost/x"),
                url="http://localhost",
                connector=lambda: {"resolver": Names()},
                arguments=lambda: {"proxy": server.url.with_scheme("socks5")},
            )


class TestSending:
    async def test_big_body(self) -> None:
        """A body that does not fit into the socket's buffers."""
        body = bytes(8 * 1024 * 1024)

        async def scenario(session: angelia.ClientSession) -> None:
            async with session.post(server.url / "x", data=body) as resp:
                await resp.read()

        async with RawServer(serve) as server:
            await cancel_everywhere(server, scenario)

    @pytest.mark.parametrize("kind", ["bytes", "iterator"])
    async def test_peer_that_does_not_read(self, kind: str) -> None:
        """An upload that is given up closes its socket, though the peer takes nothing more."""
        begun = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_head(reader)
            # The script's transport is one that can.
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            begun.set()
            await asyncio.Event().wait()

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield bytes(65536)

        async with RawServer(script) as server, angelia.ClientSession() as session:
            data = bytes(16 * 1024 * 1024) if kind == "bytes" else endless()
            task = asyncio.ensure_future(session.post(server.url, data=data))
            await begun.wait()
            await turns(50)
            before = open_files()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await turns(5)
            assert len(open_files()) == len(before) - 1

    async def test_file(self, tmp_path: Path) -> None:
        """A file that is sent is closed, whenever the request ends."""
        asyncio.get_running_loop().set_default_executor(AtOnce())
        path = tmp_path / "file"
        path.write_bytes(bytes(1000))

        async def scenario(session: angelia.ClientSession) -> None:
            async with session.post(server.url / "x", data=path.open("rb")) as resp:
                await resp.read()

        async with RawServer(serve) as server:
            await cancel_everywhere(server, scenario)

    async def test_iterator(self) -> None:
        """The await of a body's own iterator; the iterator is closed."""
        running = 0

        async def body() -> AsyncIterator[bytes]:
            nonlocal running
            running += 1
            try:
                for _ in range(3):
                    await turns(2)
                    yield b"piece"
            finally:
                running -= 1

        async def scenario(session: angelia.ClientSession) -> None:
            async with session.post(server.url / "x", data=body()) as resp:
                await resp.read()

        async with RawServer(serve) as server:
            await cancel_everywhere(server, scenario)
        assert not running

    async def test_continue(self) -> None:
        """Waiting for ``100 Continue``."""

        async def scenario(session: angelia.ClientSession) -> None:
            async with session.post(server.url / "x", data=b"body", expect100=True) as resp:
                await resp.read()

        async with RawServer(serve) as server:
            await cancel_everywhere(server, scenario)


class TestAround:
    async def test_redirect(self) -> None:
        """Between the hops of a redirect."""
        async with RawServer(serve) as server:
            await cancel_everywhere(server, lambda s: get(s, server.url / "redirect"))

    async def test_traces(self) -> None:
        """In each of the trace callbacks."""

        async def slow(*_: object) -> None:
            await turns(2)

        def config() -> angelia.TraceConfig:
            made = angelia.TraceConfig()
            for name in dir(made):
                if name.startswith("on_"):
                    getattr(made, name).append(slow)
            return made

        async with RawServer(serve) as server:
            await cancel_everywhere(
                server,
                lambda s: get(s, server.url / "redirect"),
                arguments=lambda: {"trace_configs": [config()]},
            )

    async def test_middleware(self) -> None:
        """In a middleware, before the request and with its response in hand."""

        async def slow(request: Any, handler: Any) -> Any:
            await turns(2)
            resp = await handler(request)
            await turns(2)
            return resp

        async with RawServer(serve) as server:
            await cancel_everywhere(
                server,
                lambda s: get(s, server.url / "redirect"),
                arguments=lambda: {"middlewares": [slow, slow]},
            )

    async def test_raise_for_status(self) -> None:
        """In the coroutine that checks the status."""

        async def check(resp: angelia.ClientResponse) -> None:
            await turns(2)
            await resp.read()
            await turns(2)

        async with RawServer(serve) as server:
            await cancel_everywhere(
                server, lambda s: get(s, server.url / "missing", raise_for_status=check)
            )

    async def test_one_request_function(self) -> None:
        """`angelia.request` closes its session, whenever it is cancelled."""

        async def scenario(session: angelia.ClientSession) -> None:
            async with angelia.request("GET", server.url / "x") as resp:
                await resp.read()
            await angelia.request("GET", server.url / "x")

        async with RawServer(serve) as server:
            await cancel_everywhere(server, scenario)

    async def test_close(self, client_ssl: ssl.SSLContext, server_ssl: ssl.SSLContext) -> None:
        """In `close`: the sockets close all the same."""
        async with RawServer(serve, tls=server_ssl) as server:

            async def scenario(session: angelia.ClientSession) -> None:
                other = angelia.ClientSession(
                    connector=angelia.TCPConnector(ssl=client_ssl), timeout=LIMITS
                )
                try:
                    await get(other, server.url / "x")
                finally:
                    await other.close()

            await cancel_everywhere(server, scenario, connector=lambda: {"ssl": client_ssl})
