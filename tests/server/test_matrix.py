"""What an evil client may try, on sockets: each variant whole, octet by octet, before a canary.

The variants are those of the core's tests. Each that is refused gets one answer with the status of
the table, never another 5xx; the connection closes, and no handler ever sees the canary. Each that
is accepted is one request, and the canary the next one where another one may follow.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from angelia.server.request import Request
from angelia.server.response import Response
from angelia.server.server import Server
from angelia.server.stream_response import StreamResponse
from core.h1_requests import ACCEPTED, REFUSED, Accepted, Refused, with_fields
from core.h1_server_kit import CANARY
from server.kit import GET, Answer, Wire, connected, serving

pytestmark = pytest.mark.deadline(30)

# A variant that is longer than this is cut into as many pieces, not into octets.
MAX_PIECES = 400

IN_CONTENT = {
    group: variants
    for group, variants in REFUSED.items()
    if any(variant.in_content for variant in variants)
}


class Seen:
    """A handler that tells what it was called with."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def read(self, request: Request) -> StreamResponse:
        self.paths.append(request.path)
        return Response(await request.read(), headers={"X-Path": request.path})

    async def ignore(self, request: Request) -> StreamResponse:
        self.paths.append(request.path)
        return Response(text="fine")


async def send_whole(wire: Wire, octets: bytes) -> None:
    wire.send(octets)


async def send_pieces(wire: Wire, octets: bytes) -> None:
    """Piece by piece, each in a turn of the loop of its own; until the server has said its last."""
    wire.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    size = 1 + len(octets) // MAX_PIECES
    for at in range(0, len(octets), size):
        if wire.reader._eof:  # type: ignore[attr-defined]  # nothing tells without waiting
            break
        wire.send(octets[at : at + size])
        # In the first turn the server learns of it, in the second it has read it.
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@asynccontextmanager
async def asked(server: Server, octets: bytes, *, pieces: bool = False) -> AsyncIterator[Wire]:
    """A connection on which these octets were sent."""
    async with connected(server) as wire:
        await (send_pieces if pieces else send_whole)(wire, octets)
        yield wire


async def refused(server: Server, seen: Seen, variant: Refused, *, pieces: bool = False) -> None:
    """One answer, and the end; with a canary behind it, and a good request before it, too."""
    for before, behind in ((b"", b""), (b"", CANARY), (GET, CANARY)):
        octets = before + variant.wire + behind
        async with asked(server, octets, pieces=pieces) as wire:
            if before:
                assert (await wire.answer()).status == 200
            answer = await wire.answer()
            assert answer.status == variant.status, octets
            assert answer.headers["connection"] == "close"
            # What was sent is quoted shortly, if at all.
            assert len(answer.body) < 1000
            assert await wire.closed(), octets
        assert seen.paths == ["/"] * (variant.in_content + bool(before)), octets
        seen.paths.clear()


async def ignored(server: Server, seen: Seen, variant: Refused, *, pieces: bool = False) -> None:
    """The same for a handler that does not read what is wrong: it may have answered before."""
    async with asked(server, variant.wire + CANARY, pieces=pieces) as wire:
        answer = await wire.answer()
        assert answer.status in (200, variant.status)
        assert await wire.closed(), variant.wire
    assert seen.paths == ["/"]
    seen.paths.clear()


async def accepted(server: Server, variant: Accepted, *, pieces: bool = False) -> None:
    """One request with its content, and then the canary or the end."""
    head = variant.wire.lstrip().startswith(b"HEAD")
    async with asked(server, variant.wire + CANARY, pieces=pieces) as wire:
        answer: Answer = await wire.answer(head=head)
        assert answer.status == 200, variant.wire
        assert answer.headers["x-path"] != "/canary"
        assert answer.headers["content-length"] == str(len(variant.content))
        assert answer.body == (b"" if head else variant.content)
        if variant.then == "idle":
            answer = await wire.answer()
            assert (answer.status, answer.headers["x-path"]) == (200, "/canary")
            wire.writer.write_eof()
        assert await wire.closed(), variant.wire


# Where the octets are cut is no matter of the event loop.
@pytest.mark.parametrize(
    ("loop_kind", "pieces"),
    [("stock", False), ("uvloop", False), ("stock", True)],
    indirect=["loop_kind"],
    ids=["stock-whole", "uvloop-whole", "stock-pieces"],
)
class TestVariants:
    """In one write and in pieces, alone and in front of a canary."""

    @pytest.mark.parametrize("group", REFUSED)
    async def test_refused(self, group: str, loop_kind: str, pieces: bool) -> None:
        """One answer that says what is wrong, and the end."""
        seen = Seen()
        async with serving(seen.read) as server:
            for variant in REFUSED[group]:
                await refused(server, seen, variant, pieces=pieces)

    @pytest.mark.parametrize("group", IN_CONTENT)
    async def test_unread(self, group: str, loop_kind: str, pieces: bool) -> None:
        """Broken content that nobody reads ends the connection all the same."""
        seen = Seen()
        async with serving(seen.ignore) as server:
            for variant in IN_CONTENT[group]:
                await ignored(server, seen, variant, pieces=pieces)

    @pytest.mark.parametrize("group", ACCEPTED)
    async def test_accepted(self, group: str, loop_kind: str, pieces: bool) -> None:
        """This request, and nothing else."""
        async with serving(Seen().read) as server:
            for variant in ACCEPTED[group]:
                await accepted(server, variant, pieces=pieces)


@pytest.mark.usefixtures("loop_kind")
class TestExpectations:
    """`Expect`: RFC 9110 §10.1.1."""

    async def test_early_answer(self) -> None:
        """Who got a final answer instead of 100 may send the content or not: nobody can tell."""
        seen = Seen()
        octets = with_fields(b"Expect: 100-continue", b"Content-Length: %d" % len(CANARY))
        async with serving(seen.ignore) as server:
            for behind in (b"", CANARY, CANARY + CANARY):
                async with asked(server, octets) as wire:
                    answer = await wire.answer()
                    assert (answer.status, answer.headers["connection"]) == (200, "close")
                    wire.send(behind)
                    assert await wire.closed()
        assert seen.paths == ["/"] * 3

    async def test_sent_without_waiting(self) -> None:
        """Content that is here needs no 100; what follows it is the next request."""
        variant = Accepted(with_fields(b"Expect: 100-continue", b"Content-Length: 5") + b"hello")
        async with serving(Seen().read) as server:
            await accepted(server, variant._replace(content=b"hello"))

    @pytest.mark.parametrize(
        "value", [b"tea", b"100-continue, tea", b"100-continued", b"", b"100-continue;q=1"]
    )
    @pytest.mark.parametrize("length", [0, len(CANARY)])
    async def test_unknown(self, value: bytes, length: int) -> None:
        """417, and the end: who knows what the client sends now."""
        seen = Seen()
        octets = with_fields(b"Expect: " + value, b"Content-Length: %d" % length)
        async with serving(seen.read) as server, asked(server, octets + CANARY) as wire:
            answer = await wire.answer()
            assert (answer.status, answer.headers["connection"]) == (417, "close")
            assert await wire.closed()
        assert seen.paths == []

    async def test_http_10(self) -> None:
        """HTTP/1.0 expects nothing, and gets no 100."""
        octets = with_fields(b"Expect: 100-continue", b"Content-Length: 5", version=b"1.0")
        async with serving(Seen().read) as server, asked(server, octets) as wire:
            wire.send(b"hello")
            answer = await wire.answer()
            assert (answer.status, answer.body) == (200, b"hello")


@pytest.mark.usefixtures("loop_kind")
class TestConnect:
    """CONNECT: RFC 9110 §9.3.6."""

    @pytest.mark.parametrize(("status", "answered"), [(200, 500), (204, 500), (404, 404)])
    async def test_no_tunnel(
        self, status: int, answered: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        """No tunnel: the octets behind are no requests. A 2xx would open one, and is a mistake."""
        paths: list[str] = []

        async def handler(request: Request) -> StreamResponse:
            paths.append(request.method)
            return Response(status=status)

        octets = b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n" + CANARY
        with caplog.at_level(logging.CRITICAL, "angelia.server"):
            async with serving(handler) as server, asked(server, octets) as wire:
                answer = await wire.answer()
                assert (answer.status, answer.headers["connection"]) == (answered, "close")
                assert await wire.closed()
        assert paths == ["CONNECT"]
