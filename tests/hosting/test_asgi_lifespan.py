"""The lifespan of an ASGI application, as the specification has it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from angelia.hosting import asgi_lifespan
from angelia.hosting.asgi import ASGIHandler, LifespanError
from hosting.asgi_kit import body, hosting, logged, start
from server.kit import GET, ask


class App:
    """An application with a lifespan, and what it has seen."""

    def __init__(self, *, shutdown: str = "complete") -> None:
        self.seen: list[str] = []
        self.states: list[Any] = []
        self._shutdown = shutdown

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope["type"])
        if scope["type"] == "http":
            self.states.append(scope["state"])
            await send(start())
            await send(body())
            return
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}
        message = await receive()
        self.seen.append(message["type"])
        scope["state"].update(number=1, shared=[])
        await send({"type": "lifespan.startup.complete"})
        message = await receive()
        self.seen.append(message["type"])
        await send({"type": f"lifespan.shutdown.{self._shutdown}", "message": "stuck"})


async def test_whole() -> None:
    """The application starts before the first request, and ends after the last."""
    app = App()
    async with hosting(app, lifespan="on") as server:
        assert app.seen == ["lifespan", "lifespan.startup"]
        assert (await ask(server, GET)).status == 200
    assert app.seen == ["lifespan", "lifespan.startup", "http", "lifespan.shutdown"]


async def test_state() -> None:
    """Each request gets a shallow copy of the state that the start has left."""
    app = App()
    async with hosting(app, lifespan="auto") as server:
        await ask(server, GET)
        app.states[0]["number"] = 2
        app.states[0]["shared"].append(1)
        await ask(server, GET)
    assert app.states[1] == {"number": 1, "shared": [1]}


async def test_off() -> None:
    """`off`: the application is not asked, and requests have no state."""
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await send(start())
        await send(body())

    async with hosting(app, lifespan="off") as server:
        await ask(server, GET)
    assert [scope["type"] for scope in scopes] == ["http"]
    assert "state" not in scopes[0]


@pytest.mark.parametrize("way", ["raises", "returns"])
async def test_unsupported(way: str, caplog: pytest.LogCaptureFixture) -> None:
    """An application that does not know it: `auto` goes on without, `on` does not."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            if way == "raises":
                raise LookupError(scope["type"])
            return
        assert "state" not in scope
        await send(start())
        await send(body())

    async with hosting(app, lifespan="auto") as server:
        assert (await ask(server, GET)).status == 200
    with pytest.raises(LifespanError, match="no lifespan"):
        await ASGIHandler(app, lifespan="on").startup()
    assert logged(caplog) == []


@pytest.mark.parametrize("after", ["raises", "returns", "receives"])
async def test_start_fails(after: str) -> None:
    """An application that cannot start says why, and nothing is served."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        if after == "raises":
            raise LookupError("no database")
        if after == "receives":
            await receive()

    handler = ASGIHandler(app)
    with pytest.raises(LifespanError, match="no database"):
        await handler.startup()
    await handler.shutdown()


async def test_start_fails_and_tidies_up() -> None:
    """An application that cannot start has time to tidy up; its error is the cause."""
    tidied = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        for _ in range(5):
            await asyncio.sleep(0)
        tidied.set()
        raise LookupError("why")

    with pytest.raises(LifespanError, match="no database") as caught:
        await ASGIHandler(app).startup()
    assert tidied.is_set()
    assert isinstance(caught.value.__cause__, LookupError)


@pytest.mark.parametrize("stubborn", [False, True])
async def test_start_fails_and_stays(
    stubborn: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An application that cannot start and does not end is cancelled, and not waited for."""
    monkeypatch.setattr(asgi_lifespan, "FAILED_TIME", 0.01)
    told: list[str] = []
    gate = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("cancelled")
            if not stubborn:
                raise
        await gate.wait()

    with pytest.raises(LifespanError, match="no database"):
        await ASGIHandler(app).startup()
    assert told == ["cancelled"]
    assert ("goes on, though it did not start" in caplog.text) is stubborn
    gate.set()


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
async def test_cancelled_within(phase: str) -> None:
    """Cancelling who waits for an application that does not come to its end cancels that, too."""
    reached, cancelled = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if phase == "startup":
            await send({"type": "lifespan.startup.failed"})
        else:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    handler = ASGIHandler(app)
    if phase == "shutdown":
        await handler.startup()
    waiting = asyncio.create_task(getattr(handler, phase)())
    await reached.wait()
    # It waits for the end by now.
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await cancelled.wait()


@pytest.mark.parametrize("way", ["failed", "raises", "early"])
async def test_end_fails(way: str, caplog: pytest.LogCaptureFixture) -> None:
    """What goes wrong at the end is logged."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        if way == "early":
            raise LookupError("stuck")
        await receive()
        if way == "raises":
            raise LookupError("stuck")
        await send({"type": "lifespan.shutdown.failed", "message": "stuck"})

    async with ASGIHandler(app):
        await asyncio.sleep(0)
    (record,) = logged(caplog)
    assert (record.name, record.levelno) == ("angelia.hosting.asgi", logging.ERROR)
    assert "stuck" in (caplog.text)


async def test_wrong_messages(caplog: pytest.LogCaptureFixture) -> None:
    """Messages out of order, unknown ones, and receiving behind the end are errors."""
    errors: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def attempt(kind: str) -> None:
            try:
                await send({"type": kind})
            except (RuntimeError, ValueError) as error:
                errors.append(type(error).__name__)

        await receive()
        await attempt("lifespan.shutdown.complete")
        await attempt("lifespan.startup.foo")
        await attempt("http.response.start")
        await attempt("lifespan.startup.complete")
        await attempt("lifespan.startup.complete")
        await receive()
        await attempt("lifespan.shutdown.complete")
        await receive()

    async with ASGIHandler(app):
        pass
    assert errors == ["RuntimeError", "ValueError", "ValueError", "RuntimeError"]
    assert len(logged(caplog)) == 1
    assert "the life of the application is over" in caplog.text


async def test_once() -> None:
    """It starts once; ending is idempotent, and a new start is another life."""
    app = App()
    handler = ASGIHandler(app)
    await handler.shutdown()
    await handler.startup()
    with pytest.raises(RuntimeError, match="already"):
        await handler.startup()
    await handler.shutdown()
    await handler.shutdown()
    await handler.startup()
    await handler.shutdown()
    assert app.seen.count("lifespan.startup") == app.seen.count("lifespan.shutdown") == 2


async def test_cancelled() -> None:
    """Cancelling the start, or the end, cancels the application."""
    begun, ends = asyncio.Event(), 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal ends
        try:
            await receive()
            begun.set()
            await asyncio.Event().wait()
        finally:
            ends += 1

    handler = ASGIHandler(app)
    starting = asyncio.ensure_future(handler.startup())
    await begun.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await asyncio.sleep(0)
    assert ends == 1
