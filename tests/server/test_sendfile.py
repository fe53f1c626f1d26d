"""Files that the system sends: whole, on every loop, and no longer than somebody takes them."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
from pathlib import Path
from typing import Any

import pytest

from angelia.server import sendfile
from angelia.server.files import FileResponse
from angelia.server.request import Request
from angelia.server.server import Server
from angelia.server.stream_response import StreamResponse
from server.kit import GET, Wire, connected, serving

pytestmark = [
    pytest.mark.usefixtures("loop_kind"),
    pytest.mark.deadline(30),
    pytest.mark.skipif(not sendfile.CAN_SEND_FILES, reason="no os.sendfile here"),
]

# More than the sockets of these tests take at once.
LARGE = random.Random(1).randbytes(1_000_000) * 10
BUFFER = 64 * 1024


class Calls:
    """What was asked of the system."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent = 0
        self.blocked = asyncio.Event()
        self._send = os.sendfile
        monkeypatch.setattr(os, "sendfile", self._call)

    def _call(self, *arguments: Any) -> int:
        try:
            count = self._send(*arguments)
        except BlockingIOError:
            self.blocked.set()
            raise
        self.sent += count
        return count


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    return path


def handler_of(path: Path) -> Any:
    async def handler(request: Request) -> StreamResponse:
        return FileResponse(path)

    return handler


async def stopped(server: Server, wire: Wire) -> None:
    """Let the client read nothing, and the sockets hold little."""
    while not server.connections:  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0)
    transport: Any = wire.writer.transport
    transport.pause_reading()
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    for connection in server._connections:
        connection.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)


def descriptors() -> list[str]:
    """The sockets and files of the tests that are open."""
    links = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(link.readlink()))
        except OSError:
            continue  # That of the listing itself.
    return sorted(link for link in links if "socket:" in link or "large" in link)


async def test_by_the_system(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it goes past us, behind its head, and the connection goes on."""
    calls = Calls(monkeypatch)
    async with serving(handler_of(file)) as server, connected(server) as wire:
        for _ in range(2):
            wire.send(GET)
            assert (await wire.answer()).body == LARGE
    assert calls.sent == 2 * len(LARGE)


@pytest.mark.parametrize("failing", ["dup", "sendfile"])
async def test_not_by_the_system(file: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """What the system cannot send is sent all the same."""

    def fail(*_: Any) -> Any:
        raise OSError(errno.EINVAL, "no")

    async with serving(handler_of(file)) as server, connected(server) as wire:
        wire.send(GET)
        await wire.answer()
        monkeypatch.setattr(os, failing, fail)
        wire.send(GET)
        answer = await wire.answer()
        monkeypatch.undo()
        assert answer.body == LARGE


async def test_nobody_takes_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes nothing for `send_timeout` seconds is let go."""
    calls = Calls(monkeypatch)
    ended = asyncio.Event()

    async def handler(request: Request) -> StreamResponse:
        response = FileResponse(file)
        try:
            await response._answer(request)
        finally:
            ended.set()
        return response

    async with serving(handler, send_timeout=0.02) as server, connected(server) as wire:
        await stopped(server, wire)
        wire.send(GET)
        await calls.blocked.wait()
        await ended.wait()
        assert calls.sent < len(LARGE)


async def test_close(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that closes at once leaves no descriptor behind."""
    calls = Calls(monkeypatch)
    before = descriptors()
    async with serving(handler_of(file)) as server, connected(server) as wire:
        await stopped(server, wire)
        wire.send(GET)
        await calls.blocked.wait()
        await server.close(0)
        assert server.connections == 0
    for _ in range(20):
        await asyncio.sleep(0)
    assert descriptors() == before


async def test_it_shrinks(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that became shorter ends the connection: half an answer is none."""
    calls = Calls(monkeypatch)
    async with serving(handler_of(file)) as server, connected(server) as wire:
        await stopped(server, wire)
        wire.send(GET)
        await calls.blocked.wait()
        os.truncate(file, 0)
        wire.writer.transport.resume_reading()  # type: ignore[attr-defined]  # of its socket
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await wire.answer()
