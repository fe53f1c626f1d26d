"""Memory that does not grow: thousands of requests of each kind leave what the first ones left.

Held here: CVE-2024-52303 (a cache that grows with each request), CVE-2026-34513 (an unbounded DNS
cache), multidict CVE-2026-104874 (references that are lost), responses and errors that keep each
other alive.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable

import pytest

import angelia
from peers.evil import CANARY, at, content, invented_names
from peers.raw import RawServer, read_request, response

# What stays may differ from round to round by a cache's next step, but not by the requests.
MAX_GROWTH_PER_REQUEST = 20


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        head = await read_request(reader)
        path = head.split(b" ")[1]
        if path == b"/bad":
            writer.write(b"HTTP/1.1 200 OK\r\nX\x00: y\r\n\r\n")
            return
        if path == b"/moved":
            writer.write(response(b"", "Location: /", status="302 Found"))
        else:
            writer.write(response(CANARY, "Set-Cookie: a=b"))
        await writer.drain()


async def growth(once: Callable[[int], Awaitable[object]], count: int) -> tuple[float, int]:
    """By how many octets memory grows with each call, and by how many objects in all."""
    # In debug mode each cancelled timer, of which a loop keeps a hundred, holds a traceback.
    asyncio.get_running_loop().set_debug(False)
    for number in range(count // 4):
        await once(number)
    gc.collect()
    tracemalloc.start()
    before = len(gc.get_objects())
    at_first, _ = tracemalloc.get_traced_memory()
    for number in range(count // 4, count // 4 + count):
        await once(number)
    gc.collect()
    at_last, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (at_last - at_first) / count, len(gc.get_objects()) - before


class Quiet(RawServer):
    """A server that does not keep what it was sent."""

    def _forget(self) -> None:
        for connection in self.accepted:
            connection._reader.received.clear()
        self.accepted[:-1] = []


async def test_requests() -> None:
    """Two thousand requests on kept connections leave nothing."""
    async with Quiet(answer) as server, angelia.ClientSession() as session:

        async def once(number: int) -> None:
            async with session.get(server.url, headers={"X-Number": str(number)}) as resp:
                assert await resp.read() == CANARY
            server._forget()

        per_request, objects = await growth(once, 2_000)
    assert per_request < MAX_GROWTH_PER_REQUEST
    assert objects < 500


async def test_urls() -> None:
    """Thousands of different URLs, queries and bodies leave no more than the caches' bounds."""
    async with Quiet(answer) as server, angelia.ClientSession() as session:

        async def once(number: int) -> None:
            url = server.url.with_path(f"/{number}").with_query(n=number)
            async with session.post(url, data={"n": str(number)}) as resp:
                await resp.read()
            server._forget()

        # The caches of URLs are full after some hundreds.
        per_request, objects = await growth(once, 1_000)
    assert per_request < 10 * MAX_GROWTH_PER_REQUEST
    assert objects < 2_000


@pytest.mark.parametrize("path", ["moved", "bad"])
async def test_redirects_and_errors(path: str) -> None:
    """Neither do redirects, nor errors with their tracebacks, nor the connections they cost."""
    async with Quiet(answer) as server, angelia.ClientSession() as session:

        async def once(number: int) -> None:
            try:
                await content(session, server.url / path)
            except angelia.ClientResponseError:
                assert path == "bad"
            server._forget()

        per_request, objects = await growth(once, 1_000)
    assert per_request < 2 * MAX_GROWTH_PER_REQUEST
    assert objects < 500


async def test_abandoned() -> None:
    """Responses that are left unread, and calls that are cancelled, are gone with their sockets."""
    async with Quiet(answer) as server, angelia.ClientSession() as session:

        async def once(number: int) -> None:
            if number % 2:
                async with session.get(server.url):
                    pass
            else:
                task = asyncio.ensure_future(session.get(server.url))
                for _ in range(number % 7):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    task.result().close()
            server._forget()

        per_request, objects = await growth(once, 500)
        assert session.connector is not None
        assert session.connector.stats().in_use == 0
    assert per_request < 10 * MAX_GROWTH_PER_REQUEST
    assert objects < 1_000


async def test_hosts() -> None:
    """Names that a server makes up, one for each redirect, fill no cache beyond its bound."""
    async with (
        Quiet(answer) as server,
        invented_names(dns_cache_max_size=10, force_close=True) as connector,
        angelia.ClientSession(connector=connector) as session,
    ):

        async def once(number: int) -> None:
            assert await content(session, at(server, f"h{number}.test")) == CANARY
            session.cookie_jar.clear()
            server._forget()

        per_request, objects = await growth(once, 800)
        assert len(connector.cached_hosts) <= 10
    assert per_request < 20 * MAX_GROWTH_PER_REQUEST
    assert objects < 2_000
