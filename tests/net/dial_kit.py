"""What the tests of dialling share: servers, a resolver, a protocol, and a watch on leaks."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
import trustme

from angelia.net.addresses import ResolveResult
from angelia.net.dial import Dialer
from angelia.net.resolver import AbstractResolver

T = TypeVar("T")

# A guard against hangs, far above what anything may take.
HANG_SECONDS = 30.0

# Below the ports that any usual system gives to connections.
PORTS = range(20_000, 30_000)
Run = Callable[[Coroutine[Any, Any, T]], T]


def open_sockets() -> set[str]:
    """The sockets that this process has open, by their inodes."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        # A descriptor may be gone by now, such as that of this listing.
        with suppress(OSError):
            target = str(link.readlink())
            if target.startswith("socket:"):
                found.add(target)
    return found


async def settled(condition: Callable[[], bool]) -> bool:
    """Turn the loop until `condition` holds; a guard ends it where that never comes.

    The loop's own clock may stand still meanwhile.
    """
    guard = time.monotonic() + HANG_SECONDS
    while not condition():
        if time.monotonic() > guard:
            return False
        await asyncio.sleep(0)
    return True


async def watched(main: Coroutine[Any, Any, T]) -> T:
    before = open_sockets()
    this = asyncio.current_task()
    unhandled: list[dict[str, Any]] = []

    def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # What a test's own TLS server says of a client that goes away is not the client's fault.
        if context["message"] != "Error on transport creation for incoming connection":
            unhandled.append(context)

    asyncio.get_running_loop().set_exception_handler(note)
    result = await main
    assert await settled(lambda: not open_sockets() - before), "sockets were left open"
    assert await settled(lambda: asyncio.all_tasks() == {this}), asyncio.all_tasks()
    gc.collect()
    assert not unhandled, unhandled
    return result


class Certificates(NamedTuple):
    """An authority, a server's context under it, and a client's that trusts it."""

    authority: trustme.CA
    server: ssl.SSLContext
    client: ssl.SSLContext
    digest: bytes


class Client(asyncio.Protocol):
    """A protocol that notes what happens to it."""

    def __init__(self) -> None:
        self.made = 0
        self.received = b""
        self.lost = asyncio.get_running_loop().create_future()
        self.greeted = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made += 1
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.greeted.done():
            self.greeted.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


class Names(AbstractResolver):
    """Resolves from a table of addresses."""

    def __init__(self, **hosts: list[str]) -> None:
        self.hosts = {name.replace("_", "."): addresses for name, addresses in hosts.items()}
        self.asked: list[tuple[str, int, int]] = []
        self.closed = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append((host, port, family))
        if host not in self.hosts:
            raise OSError(None, f"no such name: {host}")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in self.hosts[host]
        ]

    async def close(self) -> None:
        self.closed += 1


async def cancel_at_every_turn(dial: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Dial, and cancel that in the first turn of the loop, then in the second, until it is through.

    What is left open, whoever watches finds out.
    """
    for turns in range(500):
        task = asyncio.ensure_future(dial())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            transport, _ = await task
        except asyncio.CancelledError:
            continue
        except OSError as error:
            pytest.fail(f"a cancellation became {error!r}")
        transport.abort()
        return
    pytest.fail("the dial never came to its end")


@asynccontextmanager
async def greeter(
    *hosts: str,
    context: ssl.SSLContext | None = None,
    port: int = 0,
    path: Path | None = None,
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any] | None = None,
) -> AsyncIterator[int]:
    """A server that answers "ping" with "pong", on one port of each host."""
    peers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.add(writer)
        try:
            if handle is not None:
                await handle(reader, writer)
            elif await reader.read(100) == b"ping":
                writer.write(b"pong")
                await reader.read()
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    servers: list[asyncio.Server] = []
    if path is not None:
        servers.append(await asyncio.start_unix_server(serve, path, ssl=context))
    for host in hosts or (() if path else ("127.0.0.1",)):
        server = await asyncio.start_server(serve, host, port, ssl=context)
        servers.append(server)
        port = server.sockets[0].getsockname()[1]
    try:
        yield port
    finally:
        for server in servers:
            server.close()
        for writer in peers:
            writer.transport.abort()


async def use(transport: asyncio.Transport, protocol: Client) -> None:
    """Exchange a word over a new connection and close it."""
    assert protocol.made == 1
    assert protocol.transport is transport
    transport.write(b"ping")
    await protocol.greeted
    assert protocol.received == b"pong"
    transport.abort()
    await protocol.lost


@asynccontextmanager
async def dialling(**options: Any) -> AsyncIterator[Dialer]:
    dialer = Dialer(**options)
    try:
        yield dialer
    finally:
        await dialer.close()


def free_port_of(host: str) -> socket.socket:
    """A socket that is bound to a port of `host` which is free at 127.0.0.1, too.

    It is none of those that connections get, lest one of another test takes it meanwhile.
    """
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        listener = socket.socket()
        try:
            with socket.create_server(("127.0.0.1", port)):
                listener.bind((host, port))
        except OSError:
            listener.close()
        else:
            return listener
    raise AssertionError("no port is free")


@asynccontextmanager
async def silent_address() -> AsyncIterator[int]:
    """A port of 127.0.0.2 whose queue is full, so that connecting to it takes for ever.

    The same port of 127.0.0.1 is free, for a server beside it.
    """
    with free_port_of("127.0.0.2") as listener:
        listener.listen(0)
        address = listener.getsockname()
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            fillers.append(filler)
        try:
            yield address[1]
        finally:
            for filler in fillers:
                filler.close()
