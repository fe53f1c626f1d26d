"""Tests of angelia.server.runner."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import angelia
from angelia.server.request import Request
from angelia.server.response import Response
from angelia.server.runner import StopSignals, serve
from angelia.server.server import Server
from angelia.server.stream_response import StreamResponse
from server.kit import GET, ask, connected, hello

SIGNALS = [signal.SIGTERM, signal.SIGINT]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Every test leaves the handlers of signals as they were."""
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


class Running:
    """`serve` in a task, and the server that it has started."""

    def __init__(self, handler: Any, **arguments: Any) -> None:
        self.ready: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(
            serve(handler, "127.0.0.1", 0, ready=self.ready.set_result, **arguments)
        )


@pytest.mark.parametrize("number", SIGNALS)
async def test_signal(number: signal.Signals, loop_kind: str) -> None:
    """Either signal ends it, and idle connections with it."""
    running = Running(hello)
    server = await running.ready
    async with connected(server) as wire:
        wire.send(GET)
        assert (await wire.answer()).body == b"hello /"
        os.kill(os.getpid(), number)
        await running.task
        assert await wire.closed()
    assert server.connections == 0


class Slow:
    """A handler that answers when it is told to."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.cancelled = False

    async def __call__(self, request: Request) -> StreamResponse:
        self.begun.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return Response(text="done")


async def closing(server: Server) -> None:
    while not server.closing:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0)


async def test_graceful(loop_kind: str) -> None:
    """A request under way is answered after the signal, and then it ends."""
    slow = Slow()
    running = Running(slow)
    server = await running.ready
    answer = asyncio.create_task(ask(server, GET))
    await slow.begun.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await closing(server)
    slow.go_on.set()
    assert (await answer).body == b"done"
    await running.task


async def test_second_signal(loop_kind: str) -> None:
    """A second signal cancels what is under way; a third does what it did before."""
    slow = Slow()
    running = Running(slow)
    server = await running.ready
    async with connected(server) as wire:
        wire.send(GET)
        await slow.begun.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await closing(server)
        os.kill(os.getpid(), signal.SIGINT)
        await running.task
        assert slow.cancelled
        assert await wire.rest() == b""


async def test_close_timeout() -> None:
    """What outlasts `close_timeout` is cancelled."""
    slow = Slow()
    running = Running(slow, close_timeout=0.01)
    async with connected(await running.ready) as wire:
        wire.send(GET)
        await slow.begun.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await running.task
        assert slow.cancelled


async def test_cancelled() -> None:
    """Cancelled, it closes the server at once and says so."""
    slow = Slow()
    running = Running(slow)
    async with connected(await running.ready) as wire:
        wire.send(GET)
        await slow.begun.wait()
        running.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running.task
        assert slow.cancelled


async def test_cancelled_while_it_closes() -> None:
    """A cancellation during the graceful close is one, too."""
    slow = Slow()
    running = Running(slow)
    server = await running.ready
    async with connected(server) as wire:
        wire.send(GET)
        await slow.begun.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await closing(server)
        running.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running.task
        assert slow.cancelled


async def test_arguments() -> None:
    """Options go to the server; what it refuses is raised, and no handler of a signal stays."""
    with pytest.raises(TypeError):
        await serve(hello, "127.0.0.1", 0, nonsense=1)
    with pytest.raises(ValueError, match="give host and port"):
        await serve(hello)
    async with Server(hello) as server:
        await server.start("127.0.0.1", 0)
        with pytest.raises(OSError, match="address already in use"):
            await serve(hello, "127.0.0.1", server.port)


async def test_public_name() -> None:
    """`angelia.serve` is it."""
    assert angelia.serve is serve


def test_other_threads() -> None:
    """Outside of the main thread signals are left alone."""
    found: list[object] = []

    async def run() -> None:
        with StopSignals() as signals:
            found.append(signal.getsignal(signal.SIGTERM))
            found.append(signals.count)

    thread = threading.Thread(target=asyncio.run, args=[run()])
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM), 0]


async def test_asked_to_stop_while_starting() -> None:
    """`cancelling` ends what takes long to start."""
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(asyncio.CancelledError), signals.cancelling():
            await asyncio.Event().wait()
        assert signals.count == 1
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()
