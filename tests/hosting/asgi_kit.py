"""ASGI applications under test: a server for one, and messages by short names."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from angelia.hosting.asgi import ASGIHandler
from angelia.hosting.asgi_scope import ASGIApplication, Message
from angelia.server.server import Server
from server.kit import Wire, connected, serving

Fields = list[tuple[bytes, bytes]]


def logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What was logged here; asyncio has its own to say where it debugs."""
    return [record for record in caplog.records if record.name.startswith("angelia")]


async def until(condition: Callable[[], object]) -> None:
    """Wait for what goes on in the background; the test's deadline ends what never comes."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.002)
    pytest.fail("it did not come to pass")


@asynccontextmanager
async def hosting(
    app: ASGIApplication, *, server_options: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Server]:
    """A server for an application on a free port of 127.0.0.1; without a lifespan by default."""
    options.setdefault("lifespan", "off")
    async with (
        ASGIHandler(app, **options) as handler,
        serving(handler, **(server_options or {})) as server,
    ):
        yield server


@asynccontextmanager
async def talking(app: ASGIApplication, **options: Any) -> AsyncIterator[Wire]:
    """A connection to a server for an application."""
    async with hosting(app, **options) as server, connected(server) as wire:
        yield wire


def start(status: int = 200, headers: Fields | None = None, **more: Any) -> Message:
    """The message that begins a response."""
    return {"type": "http.response.start", "status": status, "headers": headers or [], **more}


def body(octets: bytes = b"", *, more: bool = False) -> Message:
    """A message with content."""
    return {"type": "http.response.body", "body": octets, "more_body": more}


def sending(*messages: Message) -> ASGIApplication:
    """An application that sends the messages."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


def answering(content: bytes = b"hello", headers: Fields | None = None) -> ASGIApplication:
    """An application that answers with the content."""
    return sending(start(headers=headers), body(content))
