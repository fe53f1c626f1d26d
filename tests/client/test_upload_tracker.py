"""UploadTracker through a real session: what it counts, and how it ends."""

from __future__ import annotations

import asyncio
import io
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from typing import Any

import pytest

import angelia
from angelia.errors import UploadAbortedError
from peers.raw import RawServer, read_head, read_request, response

pytestmark = pytest.mark.usefixtures("loop_kind")

OK = response(b"ok")


@pytest.mark.parametrize(
    ("arguments", "size", "total"),
    [
        ({"data": b"abc"}, 3, 3),
        ({"data": b""}, 0, 0),
        ({"data": "\xe4"}, 2, 2),
        ({"json": [1]}, 3, 3),
        ({"data": b"a" * 1_000_000}, 1_000_000, 1_000_000),
        ({"data": b"a" * 100_000, "compress": True}, 100_000, 100_000),
        ({"data": b"abc", "chunked": True}, 3, 3),
    ],
)
async def test_counts(arguments: dict[str, Any], size: int, total: int) -> None:
    """Octets are those of the plain body, before coding and framing."""
    tracker = angelia.UploadTracker()
    async with RawServer([OK]) as server, angelia.ClientSession() as session:
        waiter = asyncio.ensure_future(tracker.wait())
        async with session.post(server.url, upload_tracker=tracker, **arguments) as resp:
            assert resp.status == 200
        await waiter
    assert tracker.done
    assert (tracker.bytes_written, tracker.total) == (size, total)


async def test_no_body() -> None:
    """Without a body all of it is out at once."""
    tracker = angelia.UploadTracker()
    async with RawServer([OK]) as server, angelia.ClientSession() as session:
        async with session.get(server.url, upload_tracker=tracker) as resp:
            assert resp.status == 200
        await tracker
    assert tracker.bytes_written == 0


async def test_unknown_size() -> None:
    """A body of unknown size is counted as it goes."""
    seen: list[int] = []
    tracker = angelia.UploadTracker()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            seen.append(tracker.bytes_written)
            yield b"abcd"

    async with RawServer([OK]) as server, angelia.ClientSession() as session:
        async with session.post(server.url, data=pieces(), upload_tracker=tracker) as resp:
            assert resp.status == 200
        await tracker.wait()
    assert seen == [0, 4, 8]
    assert (tracker.bytes_written, tracker.total) == (12, None)


async def test_restarts_per_attempt() -> None:
    """A redirect that keeps the body makes the count begin anew."""
    moved = response(b"", "Location: /two", status="308 Permanent Redirect")
    tracker = angelia.UploadTracker()
    async with RawServer([moved, OK]) as server, angelia.ClientSession() as session:
        data = io.BytesIO(b"12345")
        async with session.put(server.url, data=data, upload_tracker=tracker) as resp:
            assert len(resp.history) == 1
        await tracker.wait()
        assert server.requests[0].count(b"12345") == 2
    assert tracker.bytes_written == 5


async def test_dropped_by_a_redirect() -> None:
    """A redirect that drops the body leaves what was sent of it: all."""
    moved = response(b"", "Location: /two", status="303 See Other")
    tracker = angelia.UploadTracker()
    async with RawServer([moved, OK]) as server, angelia.ClientSession() as session:
        async with session.post(server.url, data=b"12345", upload_tracker=tracker) as resp:
            assert resp.method == "GET"
        await tracker.wait()
    assert tracker.bytes_written == 5


async def test_one_request_only() -> None:
    """A tracker serves one request, and says so before the second connects."""
    tracker = angelia.UploadTracker()
    async with RawServer([OK]) as server, angelia.ClientSession() as session:
        async with session.post(server.url, data=b"x", upload_tracker=tracker) as resp:
            await resp.read()
        received = len(server.requests[0])
        with pytest.raises(RuntimeError, match="another request"):
            await session.post(server.url, data=b"x", upload_tracker=tracker)
        assert len(server.requests[0]) == received
    assert tracker.bytes_written == 1


async def test_refused_connection() -> None:
    """A request that never got out aborts its upload, for the reason that the caller sees."""
    tracker = angelia.UploadTracker()
    async with RawServer([]) as server:
        url = server.url
    async with angelia.ClientSession() as session:
        with pytest.raises(angelia.ClientConnectorError):
            await session.post(url, data=b"x", upload_tracker=tracker)
    with pytest.raises(UploadAbortedError) as caught:
        await tracker.wait()
    assert isinstance(caught.value.__cause__, angelia.ClientConnectorError)


async def test_failing_body() -> None:
    """A body that fails aborts its upload."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"ab"
        raise LookupError("no more")

    tracker = angelia.UploadTracker()
    async with RawServer([OK]) as server, angelia.ClientSession() as session:
        with pytest.raises((LookupError, angelia.ClientError)):
            await session.post(server.url, data=pieces(), upload_tracker=tracker)
    with pytest.raises(UploadAbortedError, match="2 bytes"):
        await tracker.wait()


async def test_early_answer() -> None:
    """An answer before the body was out, which then is not wanted, aborts the upload."""

    async def script(reader: StreamReader, writer: StreamWriter) -> None:
        await read_head(reader)
        writer.write(response(b"no", "Connection: close", status="413 Content Too Large"))
        await writer.drain()
        await reader.read()

    more = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"ab"
        await more.wait()

    tracker = angelia.UploadTracker()
    async with RawServer(script) as server, angelia.ClientSession() as session:
        async with session.post(server.url, data=pieces(), upload_tracker=tracker) as resp:
            assert resp.status == 413
            assert await resp.read() == b"no"
        with pytest.raises(UploadAbortedError):
            await tracker.wait()
    assert tracker.bytes_written == 2


async def test_refused_expectation() -> None:
    """A body that the server did not want is never sent, and its upload ends."""
    refused = response(b"", status="417 Expectation Failed")

    async def script(reader: StreamReader, writer: StreamWriter) -> None:
        await read_head(reader)
        writer.write(refused)
        await writer.drain()
        await reader.read()

    tracker = angelia.UploadTracker()
    async with RawServer(script) as server, angelia.ClientSession() as session:
        async with session.post(
            server.url, data=b"abc", expect100=True, upload_tracker=tracker
        ) as resp:
            assert resp.status == 417
        with pytest.raises(UploadAbortedError):
            await tracker.wait()
        assert b"abc" not in server.requests[0]
    assert tracker.bytes_written == 0


async def test_cancelled() -> None:
    """A cancelled request aborts its upload, and its running generator is closed."""
    tracker = angelia.UploadTracker()
    closed = asyncio.Event()
    begun = asyncio.Event()

    async def script(reader: StreamReader, _writer: StreamWriter) -> None:
        await read_request(reader)
        begun.set()
        await reader.read()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"ab"
            begun.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with RawServer(script) as server, angelia.ClientSession() as session:
        task = asyncio.ensure_future(
            session._request("POST", server.url, data=pieces(), upload_tracker=tracker)
        )
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await closed.wait()
        with pytest.raises(UploadAbortedError):
            await tracker.wait()
