"""The access log: one line for each request, and nothing in it that a client could forge."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from angelia.server.access_log import DEFAULT_FORMAT, AccessLogger, local_time
from angelia.server.connection import ServerConnection
from angelia.server.files import FileResponse
from angelia.server.request import Request
from angelia.server.response import Response
from angelia.server.stream_response import StreamResponse
from angelia.testing import make_mocked_request
from server.kit import ask, connected, hello, serving

pytestmark = pytest.mark.deadline(15)


async def logged(
    caplog: pytest.LogCaptureFixture, log_format: str, octets: bytes, handler: object = hello
) -> list[str]:
    with caplog.at_level(logging.INFO, "angelia.access"):
        async with serving(handler, access_log=AccessLogger(None, log_format)) as server:  # type: ignore[arg-type]  # a handler
            await ask(server, octets)
    return [r.getMessage() for r in caplog.records if r.name == "angelia.access"]


async def test_default(caplog: pytest.LogCaptureFixture) -> None:
    """Address, time, request line, status, size, referrer and agent."""
    octets = b"GET /x?y HTTP/1.1\r\nHost: h\r\nUser-Agent: me\r\n\r\n"
    (line,) = await logged(caplog, DEFAULT_FORMAT, octets)
    assert line.startswith("127.0.0.1 [")
    assert line.endswith('] "GET /x?y HTTP/1.1" 200 8 "-" "me"')


@pytest.fixture
def central_europe(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A zone where clocks are put forward and back."""
    if not hasattr(time, "tzset"):
        pytest.skip("the zone of this process cannot be set")
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("central_europe")
@pytest.mark.parametrize(
    ("utc", "local"),
    [
        ("2026-03-29T00:59:59", "[29/Mar/2026:01:59:59 +0100]"),
        ("2026-03-29T01:00:00", "[29/Mar/2026:03:00:00 +0200]"),
        ("2026-10-25T00:59:59", "[25/Oct/2026:02:59:59 +0200]"),
        ("2026-10-25T01:00:00", "[25/Oct/2026:02:00:00 +0100]"),
    ],
)
def test_daylight_saving(utc: str, local: str) -> None:
    """A moment has the zone of its own half of the year, to the second of the change."""
    moment = datetime.fromisoformat(f"{utc}+00:00").timestamp()
    assert local_time(moment) == local


@pytest.mark.usefixtures("central_europe")
def test_begun_in_the_other_half(caplog: pytest.LogCaptureFixture) -> None:
    """A request that began half a year ago is told with the zone of then."""
    zones = set()
    with caplog.at_level(logging.INFO, "angelia.access"):
        for days in range(0, 365, 60):
            AccessLogger(log_format="%t").log(
                make_mocked_request("GET", "/"), Response(), days * 86400.0
            )
    for record in caplog.records:
        moment = datetime.strptime(record.getMessage(), "[%d/%b/%Y:%H:%M:%S %z]")
        assert moment.utcoffset() == moment.astimezone().utcoffset()
        zones.add(moment.utcoffset())
    assert len(zones) == 2


async def test_client_has_gone(caplog: pytest.LogCaptureFixture) -> None:
    """Who has gone without waiting for the answer is named all the same."""
    asked, go = asyncio.Event(), asyncio.Event()
    connections: list[ServerConnection] = []

    async def handler(request: Request) -> StreamResponse:
        connections.append(request._exchange.connection)
        asked.set()
        await go.wait()
        return Response(text="x")

    with caplog.at_level(logging.INFO, "angelia.access"):
        async with serving(handler, access_log=AccessLogger(None, "%a %r")) as server:
            async with connected(server) as wire:
                wire.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                await asked.wait()
                raw = wire.writer.get_extra_info("socket")
                # A close that resets, so that nothing is left to answer.
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                wire.writer.transport.abort()
            # Both ends share the loop: it has seen the reset by then.
            for _ in range(200):
                await asyncio.sleep(0)
            assert not connections[0].is_open
            go.set()
            await server.close()
    lines = [r.getMessage() for r in caplog.records if r.name == "angelia.access"]
    assert lines == ["127.0.0.1 GET / HTTP/1.1"]


async def test_size_of_a_file(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """What the system has sent counts as content."""
    path = tmp_path / "f"
    path.write_bytes(bytes(1234))

    async def handler(request: Request) -> StreamResponse:
        return FileResponse(path)

    octets = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    with caplog.at_level(logging.INFO, "angelia.access"):
        async with serving(handler, access_log=AccessLogger(None, "%s %b")) as server:
            await ask(server, octets)
            # The line is written when the file has been closed.
            await server.close()
    lines = [r.getMessage() for r in caplog.records if r.name == "angelia.access"]
    assert lines == ["200 1234"]


async def test_directives(caplog: pytest.LogCaptureFixture) -> None:
    """Each directive."""
    octets = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    form = "%%|%s|%b|%T|%{host}i|%{content-type}o|%{nothing}o"
    (line,) = await logged(caplog, form, octets)
    assert line == "%|200|7|0|h|text/plain; charset=utf-8|-"
    caplog.clear()
    (line,) = await logged(caplog, "%Tf %D %P", octets)
    seconds, micro, process = line.split()
    assert float(seconds) < 5
    assert int(micro) < 5_000_000
    assert process.startswith("<")


async def test_escaped(caplog: pytest.LogCaptureFixture) -> None:
    """What a client sends cannot end the line, leave its quotes or speak to a terminal."""
    octets = b'GET /" HTTP/1.1\r\nHost: h\r\nUser-Agent: a"b\\\xff\xc2\x9b\tc\r\n\r\n'
    (line,) = await logged(caplog, '"%r" "%{User-Agent}i"', octets)
    assert line == r'"GET /\x22 HTTP/1.1" "a\x22b\x5c\xdcff\x9b\x09c"'


@pytest.mark.parametrize("character", "\u2028\u2029\u202e\u2066\u200f")
async def test_escaped_unicode(caplog: pytest.LogCaptureFixture, character: str) -> None:
    """Nor can Unicode's ends of lines, or what turns the order of the characters behind it."""
    octets = b"GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: a%bb\r\n\r\n" % character.encode()
    (line,) = await logged(caplog, "%{User-Agent}i", octets)
    assert line == f"a\\x{ord(character):04x}b"


async def test_errors(caplog: pytest.LogCaptureFixture) -> None:
    """A request that failed has its line too."""

    async def handler(request: Request) -> StreamResponse:
        raise LookupError

    (line,) = await logged(caplog, "%s", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", handler)
    assert line == "500"


def test_unknown_directive() -> None:
    """A format with a directive that does not exist is refused at once."""
    with pytest.raises(ValueError, match="%z"):
        AccessLogger(None, "%a %z")


async def test_disabled() -> None:
    """Without listeners nothing is computed."""
    logger = logging.getLogger("angelia.test.quiet")
    logger.setLevel(logging.ERROR)
    access = AccessLogger(logger)
    assert not access.enabled

    async def handler(request: Request) -> StreamResponse:
        return Response()

    async with serving(handler, access_log=access) as server:
        assert (await ask(server, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")).status == 200
