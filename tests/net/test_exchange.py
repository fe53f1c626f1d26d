"""Exchange: one request and its response, against a peer that the test plays."""

from __future__ import annotations

import asyncio
import gc
import gzip
import random
import weakref
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from angelia.core.interface import Content, RequestHead
from angelia.errors import (
    ClientConnectionError,
    ClientConnectionResetError,
    ContentError,
    PeerClosed,
    TotalTimeoutError,
)
from angelia.net.deadlines import Deadline
from angelia.net.exchange import Exchange, ReadTimedOut
from angelia.net.streams import EMPTY_PAYLOAD
from connector_kit import Clock
from exchange_kit import Peer, Translated, turn

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
HEAD_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def coded(content: bytes, length: int | None = None, coding: str = "gzip") -> bytes:
    """A response with a content coding and a length."""
    length = len(content) if length is None else length
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {length}\r\n\r\n"
    return head.encode() + content


def is_ended(exchange: Exchange) -> bool:
    return exchange.ended


def is_uploading(exchange: Exchange) -> bool:
    return exchange.uploading


async def answer(exchange: Exchange) -> None:
    """Wait for all of the response."""
    await exchange.head_arrival()
    await content_of(exchange)


async def fail(exchange: Exchange, got: bytearray | None = None, size: int = 100_000) -> None:
    """Read on and on, until that fails."""
    while True:
        piece = await exchange.content.read(size)
        assert piece
        if got is not None:
            got += piece


async def content_of(exchange: Exchange) -> bytes:
    """All the content, as the client takes it."""
    whole = exchange.take_content()
    return await exchange.content.read() if whole is None else whole


class TestResponses:
    async def test_whole_and_cut(self) -> None:
        """Head and content arrive the same, however the octets are cut."""
        for wire, content in (
            (OK, b"hello"),
            (EMPTY, b""),
            (CHUNKED + chunk(b"hel") + chunk(b"lo") + b"0\r\n\r\n", b"hello"),
            (coded(gzip.compress(b"hello" * 100)), b"hello" * 100),
            (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        ):
            cuts = [(wire,), *((wire[:i], wire[i:]) for i in range(1, len(wire)))]
            for pieces in [*cuts, tuple(wire[i : i + 1] for i in range(len(wire)))]:
                peer = Peer()
                exchange = peer.get()
                arrival = exchange.head_arrival()
                peer.receive(*pieces)
                head = await arrival
                assert head is exchange.head
                assert head.status in (200, 204)
                assert is_ended(exchange)
                assert await content_of(exchange) == content
                assert peer.changes == 1
                assert peer.transport.available_streams == 1
                assert not peer.transport.exchanges

    async def test_next_exchange(self) -> None:
        """A connection carries one exchange after the other; what one got is not the other's."""
        peer = Peer()
        for number in (1, 2, 3):
            exchange = peer.get()
            assert exchange.stream_id == number
            peer.receive(OK)
            assert exchange.take_content() == b"hello"
        assert peer.transport.served == 3

    async def test_stream_is_made_late(self) -> None:
        """The content is a stream when it comes in pieces, or is asked for; else it is at hand."""
        peer = Peer()
        exchange = peer.get()
        peer.receive(OK)
        assert await exchange.content.read() == b"hello"
        assert exchange.take_content() is None
        exchange = peer.get()
        peer.receive(EMPTY)
        assert exchange.content is EMPTY_PAYLOAD
        exchange = peer.get()
        stream = exchange.content
        reading = asyncio.create_task(stream.read())
        await turn()
        peer.receive(OK)
        assert await reading == b"hello"
        assert exchange.take_content() is None

    async def test_late_question(self) -> None:
        """Who asks for a head that has come, or for the error instead of one, gets it."""
        peer = Peer()
        exchange = peer.get()
        peer.receive(OK)
        assert (await exchange.head_arrival()).status == 200
        exchange = peer.get()
        peer.end()
        for _ in range(2):
            with pytest.raises(Translated) as info:
                await exchange.head_arrival()
            assert isinstance(info.value.__cause__, PeerClosed)

    async def test_interim(self) -> None:
        """Interim responses are not the answer, whether known or not."""
        peer = Peer()
        exchange = peer.get()
        arrival = exchange.head_arrival()
        peer.receive(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 199 X\r\n\r\n")
        assert exchange.started
        assert not arrival.done()
        peer.receive(OK)
        assert (await arrival).status == 200

    async def test_trailers(self) -> None:
        """Trailer fields are kept."""
        peer = Peer()
        exchange = peer.get()
        peer.receive(CHUNKED + chunk(b"x") + b"0\r\nDigest: y\r\n\r\n")
        assert exchange.trailers == (("Digest", "y"),)

    async def test_chunk_ends(self) -> None:
        """The ends of chunks are reported, also of the first one and over network borders."""
        peer = Peer()
        exchange = peer.get()
        peer.receive(CHUNKED + chunk(b"one") + b"3\r\ntw")
        stream = exchange.content
        assert await stream.readchunk() == (b"one", True)
        assert await stream.readchunk() == (b"tw", False)
        peer.receive(b"o\r\n0\r\n\r\n")
        assert await stream.readchunk() == (b"o", True)
        assert await stream.readchunk() == (b"", False)

    async def test_until_eof(self) -> None:
        """Without a length the content lasts until the connection ends, which is no error."""
        peer = Peer()
        exchange = peer.get()
        peer.receive(b"HTTP/1.1 200 OK\r\n\r\nab", b"cd")
        peer.end()
        assert await content_of(exchange) == b"abcd"
        assert peer.transport.available_streams == 0

    async def test_times(self) -> None:
        """When the head and the end came is known, and what the connection took, once."""
        peer = Peer()
        exchange = peer.get()
        times = [(exchange.head_at, exchange.ended_at)]
        for piece in (OK[:40], OK[40:]):
            peer.receive(piece)
            times.append((exchange.head_at, exchange.ended_at))
        nothing, begun, ended = times
        assert nothing == (None, None)
        assert begun == (ended[0], None)
        assert ended[1] is not None


class TestEnd:
    @pytest.mark.parametrize(
        ("received", "kind", "before"),
        [
            (b"", "closed", b""),
            (b"HTTP/1.1 200", "closed", b""),
            (b"HTTP/1.1 103 X\r\n\r\n", "closed", b""),
            (HEAD_OK, "content", b""),
            (HEAD_OK + b"abc", "content", b"abc"),
            (CHUNKED + chunk(b"abc") + b"5\r\nde", "content", b"abcde"),
        ],
    )
    @pytest.mark.parametrize("how", ["eof", "reset", "reset later"])
    async def test_lost(self, received: bytes, kind: str, before: bytes, how: str) -> None:
        """The end of the connection before the response's is an error, after what came."""
        peer = Peer()
        exchange = peer.get()
        if received:
            peer.receive(received)
        if how == "eof":
            peer.end()
        else:
            peer.socket.lose(ConnectionResetError(104, "reset"))
        await turn()
        if before:
            assert exchange.content.read_nowait() == before
        with pytest.raises(Translated, match=kind) as info:
            await answer(exchange)
        cause = info.value.__cause__
        if how == "eof":
            assert cause is not None
        elif kind == "closed":
            assert cause is not None
            assert isinstance(cause.__cause__, ConnectionResetError)
        assert is_ended(exchange)
        assert not peer.transport.exchanges
        assert peer.transport.socket_transport is None
        assert peer.changes >= 1

    async def test_garbage(self) -> None:
        """Octets that are no response fail the exchange and close the connection."""
        peer = Peer()
        exchange = peer.get()
        arrival = exchange.head_arrival()
        peer.receive(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
        with pytest.raises(Translated):
            await arrival
        assert "close" in peer.socket.calls

    async def test_stray_octets(self) -> None:
        """Octets behind a response close the connection; the response is good."""
        peer = Peer()
        exchange = peer.get()
        peer.receive(OK + b"HTTP/1.1 200 OK\r\n\r\n")
        assert exchange.take_content() == b"hello"
        assert not peer.transport.is_open

    async def test_close_in_the_middle(self) -> None:
        """Who closes while content comes gives the connection up; nothing more is delivered."""
        for error in (None, ClientConnectionError("released")):
            peer = Peer()
            exchange = peer.get()
            peer.receive(HEAD_OK + b"abc")
            got = bytearray()
            exchange.close(error)
            exchange.close(error)
            assert is_ended(exchange)
            assert "close" in peer.socket.calls
            # What the same read still held.
            exchange.deliver(_content(exchange, b"def"))
            with pytest.raises(ClientConnectionError):
                await fail(exchange, got)
            assert bytes(got) in (b"", b"abc")
            assert peer.changes == 1

    async def test_close_with_a_request_that_is_not_out(self) -> None:
        """What the peer does not take from the socket is thrown away, not waited for."""
        peer = Peer()
        exchange = peer.get()
        peer.socket.unsent = 1
        exchange.close()
        assert "abort" in peer.socket.calls
        assert "close" not in peer.socket.calls

    async def test_close_twice(self) -> None:
        """The event loop's transport is closed once: a second time breaks asyncio's TLS."""
        peer = Peer()
        peer.get()
        closes = 0

        def close() -> None:
            nonlocal closes
            closes += 1
            peer.socket.closing = True

        peer.socket.close = close  # type: ignore[method-assign]  # it counts
        peer.transport.close()
        peer.transport.close()
        assert closes == 1
        peer.transport.abort()
        await asyncio.sleep(0)

    async def test_close_wakes(self) -> None:
        """Who waits for the head, or for content, when the exchange is closed is woken."""
        peer = Peer()
        exchange = peer.get()
        arrival = exchange.head_arrival()
        exchange.close()
        with pytest.raises(ClientConnectionError):
            await arrival
        peer = Peer()
        exchange = peer.get()
        peer.receive(HEAD_OK)
        reading = asyncio.create_task(exchange.content.read())
        await turn()
        exchange.close()
        with pytest.raises(ClientConnectionError):
            await reading

    async def test_release_with_unread_rest(self) -> None:
        """After the response ended, close(error) makes an unread rest unreadable, and keeps the
        connection."""
        released = ClientConnectionError("released")
        peer = Peer()
        exchange = peer.get()
        peer.receive(OK)
        exchange.close(released)
        assert exchange.take_content() is None
        with pytest.raises(ClientConnectionError, match="released"):
            await exchange.content.read()
        assert peer.transport.available_streams == 1
        exchange = peer.get()
        peer.receive(OK[:-2], OK[-2:])
        stream = exchange.content
        assert await stream.read(1) == b"h"
        exchange.close(released)
        with pytest.raises(ClientConnectionError, match="released"):
            await stream.read()
        # Nothing was left to be read: no error either.
        for wire in (OK, EMPTY):
            exchange = peer.get()
            peer.receive(wire)
            await exchange.content.read()
            exchange.close(released)
            assert await exchange.content.read() == b""
        exchange = peer.get()
        peer.receive(EMPTY)
        exchange.close(released)
        assert await content_of(exchange) == b""

    async def test_abort(self) -> None:
        """abort() fails whoever waits, at once, and resets the connection. Idempotent."""
        peer = Peer()
        exchange = peer.get()
        arrival = exchange.head_arrival()
        exchange.abort(TotalTimeoutError("late"))
        exchange.abort(TotalTimeoutError("later"))
        with pytest.raises(TotalTimeoutError, match=r"late$"):
            await arrival
        assert "abort" in peer.socket.calls
        # After the end there is nothing to abort.
        peer = Peer()
        exchange = peer.get()
        peer.receive(OK)
        exchange.abort(TotalTimeoutError("late"))
        assert exchange.take_content() == b"hello"
        assert peer.transport.available_streams == 1

    async def test_deadline(self) -> None:
        """A deadline is cancelled when the response ends, and aborts it when it comes first."""
        peer = Peer()
        exchange = peer.get()
        deadline = Deadline(1)
        deadline.target = exchange
        exchange.cancel_at_end(deadline)
        peer.receive(OK)
        late = Deadline(1)
        late.target = exchange
        exchange.cancel_at_end(late)
        assert [deadline.target, late.target] == [None, None]
        exchange = peer.get()
        peer.receive(HEAD_OK)
        deadline = Deadline(1)
        deadline.target = exchange
        exchange.cancel_at_end(deadline)
        deadline.expire()
        with pytest.raises(TotalTimeoutError):
            await exchange.content.read()

    async def test_repr(self) -> None:
        """The representation tells the state."""
        peer = Peer()
        exchange = peer.get()
        assert repr(exchange) == "<Exchange 1 open status=None>"
        peer.receive(OK)
        assert repr(exchange) == "<Exchange 1 ended status=200>"


def _content(exchange: Exchange, data: bytes) -> Content:
    return Content(exchange.stream_id, data)


class TestFlow:
    async def test_slow_reader(self) -> None:
        """A reader that is slow stops the socket, and starts it again when it has read."""
        peer = Peer()
        exchange = peer.get()
        peer.receive(HEAD_OK, b"x" * 64, b"x" * 64)
        assert peer.socket.calls == []
        peer.receive(b"x")
        assert peer.socket.calls == ["pause"]
        await exchange.content.readexactly(65)
        assert peer.socket.calls == ["pause"]
        await exchange.content.readexactly(1)
        assert peer.socket.calls == ["pause", "resume"]

    async def test_unread_content(self) -> None:
        """Content that nobody reads is bounded, too."""
        peer = Peer()
        exchange = peer.get()
        peer.receive(HEAD_OK, b"x" * 200, b"x")
        assert peer.socket.calls == ["pause"]
        assert exchange.head is not None

    async def test_idle_connection_is_read(self) -> None:
        """A response that came whole leaves its connection readable, read or not: else nobody
        would see its end."""
        wires = [
            b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n" + b"x" * 400,
            coded(gzip.compress(random.Random(1).randbytes(500))),
        ]
        for wire in wires:
            peer = Peer()
            exchange = peer.get()
            peer.receive(wire[:200], wire[200:])
            assert is_ended(exchange)
            assert peer.socket.calls.count("pause") == peer.socket.calls.count("resume")
            # Reading it later has nothing to do with who uses the connection then.
            later = peer.get()
            peer.transport.pause_reading()
            await exchange.content.read()
            assert peer.transport.reading_paused
            later.close()

    async def test_closing_while_paused(self) -> None:
        """A paused connection is read again when it closes, for the peer's goodbye."""
        peer = Peer()
        exchange = peer.get()
        peer.receive(HEAD_OK, b"x" * 200, b"x")
        exchange.close()
        assert peer.socket.calls == ["pause", "resume", "close"]


class TestDecoding:
    async def test_bomb(self) -> None:
        """Coded content is decoded at the reader's pace: a bomb costs the buffer, not its size."""
        size = 50_000_000
        wire = coded(gzip.compress(b"\0" * size))
        peer = Peer(read_bufsize=2**16)
        exchange = peer.get()
        peer.receive(wire)
        assert is_ended(exchange)
        stream = exchange.content
        largest = total = 0
        while not stream.at_eof():
            largest = max(largest, stream.buffered)
            total += len(await stream.readany())
        assert total == size == stream.total_bytes
        assert stream.total_raw_bytes < 60_000
        assert largest <= 2 * 2**16 + 2**16

    async def test_end_while_decoding(self) -> None:
        """The end of the stream comes after all output, though the content's end came before."""
        peer = Peer()
        content = bytes(range(256)) * 1000
        exchange = peer.get()
        peer.receive(coded(gzip.compress(content)))
        stream = exchange.content
        assert is_ended(exchange)
        assert not stream.is_eof()
        assert b"".join([piece async for piece in stream.iter_chunked(1000)]) == content
        assert stream.at_eof()

    async def test_chunk_ends_after_decoding(self) -> None:
        """A chunk's end is reported where its octets end after decoding, also to a slow reader."""
        compressor = zlib.compressobj(wbits=31)
        parts = [bytes([65 + i]) * 300 for i in range(4)]
        wire = CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
        for part in parts:
            flushed = compressor.compress(part) + compressor.flush(zlib.Z_SYNC_FLUSH)
            wire += chunk(flushed)
        wire += chunk(compressor.flush()) + b"0\r\n\r\n"
        for size in (len(wire), 1):
            peer = Peer()
            exchange = peer.get()
            stream = exchange.content
            got = [b""]
            reading = asyncio.create_task(_collect(stream, got))
            for i in range(0, len(wire), size):
                peer.receive(wire[i : i + size])
                await turn()
            await reading
            assert [part for part in got if part] == parts

    async def test_truncated(self) -> None:
        """Coded content that ends before its coding does is an error, after what was decoded."""
        whole = gzip.compress(random.Random(2).randbytes(1000))
        for length in (5, 100, len(whole) - 1):
            peer = Peer()
            exchange = peer.get()
            peer.receive(coded(whole[:length]))
            with pytest.raises(Translated, match="content") as info:
                await fail(exchange)
            assert isinstance(info.value.__cause__, ContentError)

    @pytest.mark.parametrize("pieces", [1, 20])
    async def test_broken(self, pieces: int) -> None:
        """Broken coded content is an error; none of the coded octets are delivered as content, and
        the connection is closed."""
        good = gzip.compress(b"good content")
        broken = good + b"rubbish that is no member" * 10
        wire = coded(broken, length=len(broken) + 1000)
        size = len(wire) // pieces
        peer = Peer()
        exchange = peer.get()
        peer.receive(*[wire[i : i + size] for i in range(0, len(wire), size)])
        got = bytearray()
        with pytest.raises(Translated, match="content"):
            await fail(exchange, got)
        assert got == b"good content"
        assert is_ended(exchange)
        assert not peer.transport.is_open

    async def test_broken_late(self) -> None:
        """An error found when the connection is another exchange's does not close it."""
        content = random.Random(3).randbytes(1000)
        broken = gzip.compress(content) + b"rubbish"
        peer = Peer()
        exchange = peer.get()
        peer.receive(coded(broken))
        assert is_ended(exchange)
        later = peer.get()
        got = bytearray()
        with pytest.raises(Translated, match="content"):
            await fail(exchange, got, 100)
        assert got == content
        peer.receive(OK)
        assert later.take_content() == b"hello"
        assert peer.transport.available_streams == 1

    async def test_lost_while_decoding(self) -> None:
        """What came before the connection was lost is decoded and delivered before the error."""
        content = random.Random(4).randbytes(5000)
        whole = gzip.compress(content)
        peer = Peer()
        exchange = peer.get()
        peer.receive(coded(whole, length=len(whole) + 10))
        peer.end()
        await turn()
        assert is_ended(exchange)
        got = bytearray()
        with pytest.raises(Translated, match="content"):
            await fail(exchange, got, 70)
        assert got == content

    async def test_abort_while_decoding(self) -> None:
        """A deadline does not wait for the rest to be decoded."""
        peer = Peer()
        exchange = peer.get()
        whole = gzip.compress(b"\0" * 10_000_000)
        peer.receive(coded(whole, length=len(whole) + 10))
        exchange.abort(TotalTimeoutError("late"))
        with pytest.raises(TotalTimeoutError):
            await fail(exchange)
        assert exchange.content.total_bytes < 1_000_000

    async def test_not_decoded(self) -> None:
        """Without auto_decompress, and with a coding that nobody knows, octets pass untouched."""
        raw = gzip.compress(b"content")
        peer = Peer(auto_decompress=False)
        exchange = peer.get()
        peer.receive(coded(raw))
        assert exchange.take_content() == raw
        peer = Peer()
        exchange = peer.get()
        peer.receive(coded(b"content", coding="x-unknown"))
        assert await content_of(exchange) == b"content"

    async def test_too_many_codings(self) -> None:
        """Codings that cannot be undone fail the content, of which nothing is delivered."""
        peer = Peer()
        exchange = peer.get()
        peer.receive(coded(b"x" * 10, length=20, coding=", ".join(["gzip"] * 10)), b"x" * 10)
        assert exchange.take_content() is None
        with pytest.raises(Translated, match="content"):
            await exchange.content.readany()
        assert not peer.transport.is_open

    async def test_empty(self) -> None:
        """A coding without content is fine."""
        peer = Peer()
        exchange = peer.get()
        peer.receive(coded(b""))
        assert await content_of(exchange) == b""
        head = peer.get("HEAD")
        peer.receive(coded(b"", length=100))
        assert await content_of(head) == b""


async def _collect(stream: Any, got: list[bytes]) -> None:
    async for data, end in stream.iter_chunks():
        got[-1] += data
        if end:
            got.append(b"")


Upload = Callable[[], Awaitable[None]]


class TestUploads:
    async def test_one_write(self) -> None:
        """Head and content that is at hand leave in one write."""
        peer = Peer()
        exchange = peer.exchange()
        fields = [("Host", "x.test"), ("Content-Length", "4")]
        exchange.send_whole(RequestHead("POST", "/", fields), b"body")
        await turn()
        assert len(peer.socket.writes) == 1
        assert peer.socket.written.endswith(b"\r\n\r\nbody")
        assert exchange.output_size == 4
        assert exchange.sent
        peer.receive(OK)
        assert peer.transport.available_streams == 1

    async def test_upload_and_answer(self) -> None:
        """The exchange ends when both have: the response, and the upload."""
        peer = Peer()
        exchange = peer.post()

        async def upload() -> None:
            exchange.send_content(b"abc", end=False)
            await asyncio.sleep(0)
            exchange.send_content(b"", end=True)

        exchange.start_upload(upload)
        assert is_uploading(exchange)
        await exchange.wait_upload()
        assert not is_uploading(exchange)
        assert peer.socket.written.endswith(b"3\r\nabc\r\n0\r\n\r\n")
        peer.receive(OK)
        assert peer.changes == 1
        assert peer.transport.available_streams == 1

    async def test_early_answer(self) -> None:
        """An early final response stops nothing until it ends; then the upload is cancelled and
        the connection closed."""
        peer = Peer()
        exchange = peer.post()
        sent: list[bytes] = []
        gone_on = asyncio.Event()

        async def upload() -> None:
            while True:
                exchange.send_content(b"x", end=False)
                sent.append(b"x")
                await gone_on.wait()
                gone_on.clear()

        exchange.start_upload(upload)
        await turn()
        peer.receive(OK[:-2])
        assert (await exchange.head_arrival()).status == 200
        gone_on.set()
        await turn()
        assert len(sent) == 2
        assert is_uploading(exchange)
        peer.receive(OK[-2:])
        assert is_ended(exchange)
        assert peer.changes == 0
        await exchange.wait_upload()
        await turn()
        assert not is_uploading(exchange)
        assert await content_of(exchange) == b"hello"
        assert not peer.transport.is_open
        assert peer.changes >= 1

    @pytest.mark.parametrize("error", [OSError("broken pipe"), ValueError("bad body")])
    @pytest.mark.parametrize("state", ["before", "head", "ended"])
    async def test_upload_fails(self, error: Exception, state: str) -> None:
        """The answer, if it came first, wins over a failure to write; a failure of the body ends
        the exchange unless the answer is here as a whole."""
        peer = Peer()
        exchange = peer.post()
        go_on = asyncio.Event()

        async def upload() -> None:
            exchange.send_content(b"x", end=False)
            with suppress(asyncio.CancelledError):
                await go_on.wait()
            raise error

        exchange.start_upload(upload)
        await turn()
        if state == "head":
            peer.receive(OK[:-2])
        elif state == "ended":
            peer.receive(OK)
        go_on.set()
        await turn()
        if state == "before":
            with pytest.raises(type(error)):
                await exchange.head_arrival()
            assert not peer.transport.is_open
        elif state == "ended":
            assert await content_of(exchange) == b"hello"
            assert not peer.transport.is_open
        elif isinstance(error, OSError):
            peer.receive(OK[-2:])
            assert await content_of(exchange) == b"hello"
            assert not peer.transport.is_open
        else:
            with pytest.raises(ValueError, match="bad body"):
                await content_of(exchange)
        # No terminator after an error.
        assert not peer.socket.written.endswith(b"0\r\n\r\n")

    async def test_close_stops_the_upload(self) -> None:
        """Closing an exchange cancels its upload, and nothing of the next request follows it."""
        peer = Peer()
        exchange = peer.post()
        cancelled = asyncio.Event()

        async def upload() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        exchange.start_upload(upload)
        await turn()
        exchange.close()
        await cancelled.wait()
        await turn()
        assert not peer.transport.exchanges
        assert not peer.transport.is_open

    async def test_connection_lost(self) -> None:
        """An upload on a connection that is lost gets ClientConnectionResetError when it writes."""
        for eof in (False, True):
            peer = Peer()
            exchange = peer.post()
            arrival = exchange.head_arrival()
            if eof:
                peer.end()
            else:
                peer.socket.lose()
            with pytest.raises(ClientConnectionResetError):
                exchange.send_content(b"x", end=False)
            with pytest.raises(Translated, match="closed"):
                await arrival
            await turn()

    async def test_head_waits_for_content(self) -> None:
        """A head may wait to leave with the first content."""
        peer = Peer()
        exchange = peer.exchange()
        fields = [("Host", "x.test"), ("Content-Length", "4")]
        exchange.send_head(RequestHead("POST", "/", fields), end=False, flush=False)
        await turn()
        assert peer.socket.writes == []
        assert not exchange.sent
        exchange.send_content(b"body", end=True)
        assert len(peer.socket.writes) == 1
        peer.receive(OK)


class TestContinue:
    def expecting(self, peer: Peer) -> tuple[Exchange, list[bool]]:
        exchange = peer.post(("Expect", "100-continue"))
        results: list[bool] = []

        async def upload() -> None:
            go_on = await exchange.wait_continue(5.0)
            results.append(go_on)
            if go_on:
                exchange.send_content(b"body", end=True)

        exchange.start_upload(upload)
        return exchange, results

    async def test_continue(self) -> None:
        """The body waits for 100, which is not the answer."""
        peer = Peer()
        exchange, results = self.expecting(peer)
        await turn()
        assert results == []
        peer.receive(b"HTTP/1.1 100 Continue\r\n\r\n")
        await turn()
        assert results == [True]
        peer.receive(OK)
        assert (await exchange.head_arrival()).status == 200
        assert peer.transport.available_streams == 1

    async def test_other_interim(self) -> None:
        """Another interim response is no permission."""
        peer = Peer()
        exchange, results = self.expecting(peer)
        await turn()
        peer.receive(b"HTTP/1.1 102 Processing\r\n\r\n")
        await turn()
        assert results == []
        exchange.close()
        await turn()

    async def test_early_continue(self) -> None:
        """A 100 that came before anybody waited for it is not lost."""
        peer = Peer()
        exchange = peer.post(("Expect", "100-continue"))
        peer.receive(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await exchange.wait_continue(5.0)
        exchange.close()

    @pytest.mark.parametrize("early", [False, True])
    async def test_final(self, early: bool) -> None:
        """A final response instead: it is delivered, the body is not sent, and the connection is
        not used again."""
        peer = Peer()
        exchange, results = self.expecting(peer)
        if not early:
            await turn()
        peer.receive(b"HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\n", b"no")
        await turn()
        assert results in ([False], [])
        assert (await exchange.head_arrival()).status == 417
        assert await content_of(exchange) == b"no"
        assert b"body" not in peer.socket.written
        assert not peer.transport.is_open

    async def test_lost(self) -> None:
        """The end of the connection ends the wait."""
        peer = Peer()
        exchange, results = self.expecting(peer)
        await turn()
        peer.socket.lose()
        await turn()
        assert results in ([False], [])
        assert not await exchange.wait_continue(5.0)

    async def test_silence(self) -> None:
        """A server that does not answer gets the body all the same, after a while."""
        peer = Peer()
        exchange = peer.post(("Expect", "100-continue"))
        assert await exchange.wait_continue(0.001)
        exchange.close()


class TestReadTimeout:
    async def test_fires(self) -> None:
        """Silence for so long fails the exchange: before the head, and within content."""
        for received in (b"", HEAD_OK + b"abc"):
            peer = Peer()
            exchange = peer.get()
            if received:
                peer.receive(received)
            exchange.start_read_timeout(0.01)
            with pytest.raises(Translated, match=r"0\.01 seconds") as info:
                await answer(exchange)
            assert isinstance(info.value.__cause__, ReadTimedOut)
            assert "abort" in peer.socket.calls

    async def test_every_octet_counts(self) -> None:
        """Each octet starts the time anew."""
        peer = Peer()
        exchange = peer.get()
        clock = Clock()
        exchange.start_read_timeout(1.0)
        peer.receive(HEAD_OK)
        for _ in range(5):
            peer.receive(b"x")
            await clock.forward(0.9)
        assert not is_ended(exchange)
        await clock.forward(0.2)
        assert is_ended(exchange)
        with pytest.raises(Translated, match="seconds"):
            await exchange.content.read()

    async def test_not_while_paused(self) -> None:
        """A reader that is slow itself is no reason, and afterwards there is time anew."""
        peer = Peer()
        exchange = peer.get()
        peer.receive(HEAD_OK, b"x" * 200, b"x")
        clock = Clock()
        exchange.start_read_timeout(1.0)
        await clock.forward(5.0)
        assert not is_ended(exchange)
        await exchange.content.readany()
        await clock.forward(0.9)
        assert not is_ended(exchange)
        await clock.forward(0.2)
        with pytest.raises(Translated, match="seconds"):
            await exchange.content.readany()

    async def test_never_on_idle_connections(self) -> None:
        """With the response's end the timer is gone; for one that has ended there is none."""
        peer = Peer()
        exchange = peer.get()
        clock = Clock()
        exchange.start_read_timeout(1.0)
        peer.receive(OK)
        exchange.start_read_timeout(1.0)
        await clock.forward(5.0)
        assert peer.transport.available_streams == 1

    async def test_second_start(self) -> None:
        """A timer that runs is not started twice."""
        peer = Peer()
        exchange = peer.get()
        exchange.start_read_timeout(0.005)
        exchange.start_read_timeout(100.0)
        with pytest.raises(Translated, match=r"0\.005 seconds"):
            await exchange.head_arrival()


class TestNoCycles:
    """What an exchange was needs no cycle collector, however it ended."""

    async def whole(self, peer: Peer) -> None:
        exchange = peer.get()
        peer.receive(OK)
        assert exchange.take_content() == b"hello"

    async def streamed(self, peer: Peer) -> None:
        exchange = peer.get()
        peer.receive(HEAD_OK.replace(b"1000000", b"400"), b"x" * 300)
        reading = asyncio.create_task(exchange.content.read())
        await turn()
        peer.receive(b"x" * 100)
        await reading

    async def coded(self, peer: Peer) -> None:
        exchange = peer.get()
        peer.receive(coded(gzip.compress(b"x" * 10_000)))
        await exchange.content.read()

    async def lost_before_head(self, peer: Peer) -> None:
        exchange = peer.get()
        reset = ConnectionResetError(104, "reset")
        asyncio.get_running_loop().call_soon(peer.socket.lose, reset)
        try:
            await exchange.head_arrival()
        except Translated:
            exchange.close()

    async def lost_in_content(self, peer: Peer) -> None:
        exchange = peer.get()
        peer.receive(HEAD_OK + b"abc")
        asyncio.get_running_loop().call_soon(peer.end)
        for _ in range(2):
            try:
                await exchange.content.read()
            except Translated:
                await turn()
        exchange.close(ClientConnectionError("released"))

    async def cancelled(self, peer: Peer) -> None:
        exchange = peer.get()
        peer.receive(HEAD_OK + b"abc")
        reading = asyncio.create_task(exchange.content.read())
        await turn()
        reading.cancel()
        try:
            await reading
        except asyncio.CancelledError:
            exchange.close()

    async def timed_out(self, peer: Peer) -> None:
        exchange = peer.get()
        exchange.start_read_timeout(0.001)
        try:
            await exchange.head_arrival()
        except Translated:
            exchange.close()

    async def upload_failed(self, peer: Peer) -> None:
        exchange = peer.post()

        async def upload() -> None:
            raise ValueError("body")

        exchange.start_upload(upload)
        try:
            await exchange.head_arrival()
        except ValueError:
            exchange.close()
        await turn()

    async def closed_in_content(self, peer: Peer) -> None:
        exchange = peer.get()
        peer.receive(HEAD_OK + b"x" * 300)
        assert await exchange.content.read(10)
        exchange.close(ClientConnectionError("released"))

    @pytest.mark.parametrize(
        "name",
        [
            "whole",
            "streamed",
            "coded",
            "lost_before_head",
            "lost_in_content",
            "cancelled",
            "timed_out",
            "upload_failed",
            "closed_in_content",
        ],
    )
    async def test_no_cycle(self, name: str) -> None:
        """The connection outlives the exchange here; nothing of the exchange does."""
        peer = Peer()
        made: list[weakref.ref[Exchange]] = []
        begin = peer.exchange

        def exchange() -> Exchange:
            new = begin()
            made.append(weakref.ref(new))
            return new

        peer.exchange = exchange  # type: ignore[method-assign]  # to see what was made
        gc.collect()
        gc.disable()
        try:
            await getattr(self, name)(peer)
            await turn()
            assert [ref() for ref in made] == [None]
        finally:
            gc.enable()
