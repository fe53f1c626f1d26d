"""WSGI applications under test: a server for one, and what it was called with."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from angelia.hosting.wsgi import WSGIHandler
from angelia.server.server import Server
from server.kit import Wire, connected, serving

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

PLAIN = [("Content-Type", "text/plain")]

# How long a thread of a test waits for the test: a guard, not a measure.
PATIENCE = 30.0


@asynccontextmanager
async def hosting(
    app: WSGIApplication, *, server_options: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Server]:
    """A server for an application on a free port of 127.0.0.1."""
    async with (
        WSGIHandler(app, **options) as handler,
        serving(handler, **(server_options or {})) as server,
    ):
        yield server


@asynccontextmanager
async def talking(app: WSGIApplication, **options: Any) -> AsyncIterator[Wire]:
    """A connection to a server for an application."""
    async with hosting(app, **options) as server, connected(server) as wire:
        yield wire


def answering(
    pieces: Iterable[bytes] = (b"hello",),
    *,
    status: str = "200 OK",
    headers: list[tuple[str, str]] | None = None,
) -> WSGIApplication:
    """An application that returns the pieces."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, PLAIN if headers is None else headers)
        return pieces

    return app


class Pieces:
    """An iterable with `close`, that tells where it is."""

    def __init__(self, pieces: Iterable[bytes], then: Callable[[], None] | None = None) -> None:
        self._pieces = iter(pieces)
        self._then = then
        self.closed = threading.Event()
        self.taken = 0

    def __iter__(self) -> Pieces:
        return self

    def __next__(self) -> bytes:
        piece = next(self._pieces)
        self.taken += 1
        return piece

    def close(self) -> None:
        if self._then is not None:
            self._then()
        self.closed.set()
