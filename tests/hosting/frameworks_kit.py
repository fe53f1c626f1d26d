"""What is asked of every framework's application alike, by our own client."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import angelia


@asynccontextmanager
async def visiting(base: str) -> AsyncIterator[angelia.ClientSession]:
    """A session for one server."""
    async with angelia.ClientSession(base) as session:
        yield session


def upload() -> angelia.FormData:
    """A form with a field and a file."""
    form = angelia.FormData()
    form.add_field("field", "value \u20ac")
    form.add_field("file", io.BytesIO(bytes(3_000_000)), filename="f.bin")
    return form


async def pieces() -> AsyncIterator[bytes]:
    """A body without a length."""
    for _ in range(10):
        yield bytes(10_000)


async def check_usual(session: angelia.ClientSession, *, needs_length: bool = False) -> None:
    """A form with a file, a body, a stream, an error, a page that is not there.

    The body has no length, unless the framework needs one.
    """
    async with session.post("/form", data=upload()) as response:
        expected = {"field": "value \u20ac", "name": "f.bin", "size": 3_000_000}
        assert await response.json() == expected
    async with session.post("/echo", data=bytes(100_000) if needs_length else pieces()) as response:
        assert await response.read() == bytes(100_000)
    async with session.get("/stream") as response:
        assert (await response.text()).splitlines()[-1] == "line 999"
    for target, status in (("/fail", 500), ("/none", 404)):
        async with session.get(target) as response:
            assert response.status == status
            assert "secret" not in await response.text()
