"""StreamReader: what was delivered is read in order, in any pieces, exactly once."""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.net.streams import (
    EMPTY_PAYLOAD,
    FEW_PIECES,
    JOIN_SIZE,
    MAX_PIECES,
    RESERVED_FROM,
    AsyncStreamIterator,
    ChunkTupleIterator,
    EmptyStreamReader,
    StreamReader,
    duplicate,
)
from stream_kit import Flow, Lost, turn

LIMIT = 64


def make(*data: bytes, eof: bool = False, limit: int = LIMIT) -> StreamReader:
    stream = StreamReader(Flow(), limit)
    for piece in data:
        stream.feed_data(piece)
    if eof:
        stream.feed_eof()
    return stream


def flow_of(stream: StreamReader) -> list[str]:
    flow = stream._protocol
    assert isinstance(flow, Flow)
    return flow.calls


@contextmanager
def no_collector() -> Iterator[None]:
    """Without the cycle collector; at the end nothing may be left for it."""
    gc.collect()
    gc.disable()
    try:
        yield
        assert gc.collect() == 0
    finally:
        gc.enable()


# --- reading, whole and cut ----------------------------------------------------------------------

CONTENT = b"first line\nsecond\n\n--sep--tail of it"


async def all_of_readany(stream: StreamReader) -> list[bytes]:
    return [b"".join([piece async for piece in stream.iter_any()])]


async def all_of_chunked(stream: StreamReader) -> list[bytes]:
    pieces = [piece async for piece in stream.iter_chunked(5)]
    assert all(1 <= len(piece) <= 5 for piece in pieces)
    return [b"".join(pieces)]


async def all_of_chunks(stream: StreamReader) -> list[bytes]:
    return [b"".join([piece async for piece, _ in stream.iter_chunks()])]


async def all_of_read(stream: StreamReader) -> list[bytes]:
    return [await stream.read()]


async def all_lines(stream: StreamReader) -> list[bytes]:
    return [line async for line in stream]


async def all_iter_lines(stream: StreamReader) -> list[bytes]:
    return [line async for line in stream.iter_lines(max_line=100)]


async def by_separator(stream: StreamReader) -> list[bytes]:
    return [await stream.readuntil(b"--sep--"), await stream.readuntil(b"--sep--")]


async def by_count(stream: StreamReader) -> list[bytes]:
    return [await stream.readexactly(7), await stream.readexactly(len(CONTENT) - 7)]


LINES = [b"first line\n", b"second\n", b"\n", b"--sep--tail of it"]
READERS: list[tuple[Callable[[StreamReader], Awaitable[list[bytes]]], list[bytes]]] = [
    (all_of_readany, [CONTENT]),
    (all_of_chunked, [CONTENT]),
    (all_of_chunks, [CONTENT]),
    (all_of_read, [CONTENT]),
    (all_lines, LINES),
    (all_iter_lines, LINES),
    (by_separator, [b"first line\nsecond\n\n--sep--", b"tail of it"]),
    (by_count, [CONTENT[:7], CONTENT[7:]]),
]
reading = pytest.mark.parametrize(
    ("read", "expected"), READERS, ids=[read.__name__ for read, _ in READERS]
)


class TestReading:
    @reading
    async def test_cut_at_every_byte(
        self, read: Callable[[StreamReader], Awaitable[list[bytes]]], expected: list[bytes]
    ) -> None:
        """The result does not depend on how the content came: before or after, cut anywhere."""
        assert await read(make(CONTENT, eof=True)) == expected
        for cut in range(1, len(CONTENT)):
            early = make(CONTENT[:cut], CONTENT[cut:], eof=True)
            assert await read(early) == expected
            late = make(CONTENT[:cut])
            task = asyncio.ensure_future(read(late))
            await turn()
            late.feed_data(CONTENT[cut:])
            await turn()
            late.feed_eof()
            assert await task == expected
            assert late.at_eof()

    @reading
    async def test_byte_by_byte(
        self, read: Callable[[StreamReader], Awaitable[list[bytes]]], expected: list[bytes]
    ) -> None:
        """One byte at a time, with and without a turn of the loop in between."""
        single = [CONTENT[i : i + 1] for i in range(len(CONTENT))]
        assert await read(make(*single, eof=True)) == expected
        stream = make()
        task = asyncio.ensure_future(read(stream))
        for byte in single:
            await turn()
            stream.feed_data(byte)
        stream.feed_eof()
        assert await task == expected
        assert stream.total_bytes == stream.total_raw_bytes == len(CONTENT)

    @given(
        data=st.binary(max_size=200),
        sizes=st.lists(st.integers(1, 20), min_size=1),
        calls=st.lists(st.integers(0, 5), min_size=1),
    )
    async def test_any_mixture(self, data: bytes, sizes: list[int], calls: list[int]) -> None:
        """Any mixture of methods over any cuts returns each octet once, in order."""
        stream = StreamReader(Flow(), 1)
        rest = data
        i = 0
        while rest:
            size = sizes[i % len(sizes)]
            stream.feed_data(rest[:size])
            rest = rest[size:]
            i += 1
        stream.feed_eof()
        got = b""
        i = 0
        while not stream.at_eof():
            match calls[i % len(calls)]:
                case 0:
                    got += await stream.readany()
                case 1:
                    got += await stream.read(3)
                case 2:
                    got += await stream.readline(max_line_length=1000)
                case 3:
                    got += (await stream.readchunk())[0]
                case 4:
                    got += stream.read_nowait(2)
                case _:
                    got += await stream.readuntil(b"ab", max_size=1000)
            i += 1
        assert got == data
        assert await stream.read() == await stream.readany() == await stream.readline() == b""
        assert await stream.readchunk() == (b"", False)

    async def test_read_sizes(self) -> None:
        """read(n) returns at most n, what is there first; read(0) nothing, without waiting."""
        stream = make(b"abc", b"def")
        assert await stream.read(0) == b""
        assert await stream.read(2) == b"ab"
        assert await stream.read(3) == b"cde"
        assert await stream.read(100) == b"f"
        assert stream.read_nowait() == b""
        stream.feed_eof()
        assert await stream.read(5) == b""

    async def test_readany_returns_what_was_buffered(self) -> None:
        """One call returns only what was there when it began, not what resuming the flow brings."""
        for method in ("readany", "read_nowait"):
            stream = make(b"x" * (3 * LIMIT))
            flow = stream._protocol
            assert isinstance(flow, Flow)
            flow.on_resume = lambda stream=stream: stream.feed_data(b"y" * (3 * LIMIT))
            got = getattr(stream, method)()
            if method == "readany":
                got = await got
            assert got == b"x" * (3 * LIMIT)
            assert stream.buffered == 3 * LIMIT

    async def test_read_nowait(self) -> None:
        """read_nowait() never waits: it returns what there is, up to n; an error comes last."""
        stream = make(b"abc", b"def")
        assert stream.read_nowait(0) == b""
        assert stream.read_nowait(4) == b"abcd"
        stream.set_exception(Lost())
        assert stream.read_nowait() == b"ef"
        with pytest.raises(Lost):
            stream.read_nowait()

    async def test_read_large(self) -> None:
        """read() is right on both sides of the size where it gathers differently."""
        block = random.Random(1).randbytes(40_000)
        for count in (1, 6, 7, 30):
            stream = StreamReader(Flow(), 2**20)
            task = asyncio.create_task(stream.read())
            for _ in range(count):
                await turn()
                stream.feed_data(block)
            await turn()
            stream.feed_eof()
            assert await task == block * count
            early = make(*[block] * count, limit=2**20)
            task = asyncio.create_task(early.read())
            await turn()
            early.feed_eof()
            assert await task == block * count

    async def test_empty_body(self) -> None:
        """Every method ends properly on a stream that has ended without content."""
        for late in (False, True):
            for read, _ in READERS:
                stream = make(eof=not late)
                task = asyncio.ensure_future(read(stream))
                await turn()
                stream.feed_eof()
                if read is by_count:
                    with pytest.raises(asyncio.IncompleteReadError):
                        await task
                else:
                    assert b"".join(await task) == b""

    async def test_incomplete(self) -> None:
        """readexactly() raises IncompleteReadError with what there was."""
        stream = make(b"abc", eof=True)
        with pytest.raises(asyncio.IncompleteReadError) as info:
            await stream.readexactly(5)
        assert info.value.partial == b"abc"
        assert info.value.expected == 5
        assert await make().readexactly(0) == b""


class TestSeparators:
    @pytest.mark.parametrize(
        "separator", [b"\r\n", b"aab", b"aaa", b"--x--", "\u2028\u00e9".encode()]
    )
    async def test_over_chunk_borders(self, separator: bytes) -> None:
        """A separator of several octets may lie across any number of chunks."""
        text = b"aa" + separator + b"a-" + separator + separator + b"end"
        expected = []
        rest = text
        while (at := rest.find(separator)) >= 0:
            expected.append(rest[: at + len(separator)])
            rest = rest[at + len(separator) :]
        if rest:
            expected.append(rest)
        for size in range(1, len(text) + 1):
            stream = make(*[text[i : i + size] for i in range(0, len(text), size)], eof=True)
            got = []
            while piece := await stream.readuntil(separator):
                got.append(piece)
            assert got == expected

    async def test_empty_separator(self) -> None:
        """An empty separator is a ValueError."""
        with pytest.raises(ValueError, match="empty"):
            await make(b"x").readuntil(b"")

    @pytest.mark.parametrize("size", [1, 7, 1000])
    async def test_limit(self, size: int) -> None:
        """A line may have exactly its limit; one octet more is a ValueError."""
        line = b"x" * 19 + b"\n"
        for text, fits in ((line, True), (b"x" + line, False), (b"x" * 21, False)):
            pieces = [text[i : i + size] for i in range(0, len(text), size)]
            calls: list[Callable[[StreamReader], Awaitable[bytes]]] = [
                lambda stream: stream.readline(max_line_length=20),
                lambda stream: stream.readuntil(b"\n", max_size=20),
                lambda stream: anext(stream.iter_lines(max_line=20)),
            ]
            for call in calls:
                stream = make(*pieces)
                if fits:
                    assert await call(stream) == text
                else:
                    with pytest.raises(ValueError, match="20"):
                        await call(stream)

    async def test_default_limit(self) -> None:
        """Without a limit of its own a line may fill the buffer up to its high water mark."""
        assert len(await make(b"x" * (2 * LIMIT - 1) + b"\n").readline()) == 2 * LIMIT
        with pytest.raises(ValueError, match=str(2 * LIMIT)):
            await make(b"x" * (2 * LIMIT) + b"\n").readline()

    async def test_after_limit(self) -> None:
        """A line that was too long is not met again: reading goes on behind it."""
        stream = make(b"x" * 30 + b"\nnext\n", eof=True)
        with pytest.raises(ValueError, match="10"):
            await stream.readline(max_line_length=10)
        assert await stream.readline() == b"next\n"

    async def test_iter_lines_does_not_depend_on_buffer(self) -> None:
        """iter_lines() takes lines far above the size of the buffer; `max_line` is what counts."""
        stream = StreamReader(Flow(), 8)
        long = b"y" * 10_000 + b"\n"

        async def feed() -> None:
            for i in range(0, len(long), 16):
                stream.feed_data(long[i : i + 16])
                await asyncio.sleep(0)
            stream.feed_eof()

        feeding = asyncio.create_task(feed())
        assert [line async for line in stream.iter_lines()] == [long]
        await feeding


class TestChunks:
    async def test_each_end_once(self) -> None:
        """The end of each HTTP chunk is reported once, with the octet that it ends with."""
        stream = make()
        stream.begin_http_chunk_receiving()
        stream.feed_data(b"one")
        stream.end_http_chunk_receiving()
        stream.feed_data(b"tw")
        stream.feed_data(b"o")
        stream.end_http_chunk_receiving()
        stream.feed_eof()
        chunks = [chunk async for chunk in stream.iter_chunks()]
        assert chunks == [(b"one", True), (b"two", True)]

    async def test_forgotten(self) -> None:
        """The ends of chunks that were read in another way are not kept for ever."""
        stream = make()
        stream.begin_http_chunk_receiving()
        tracemalloc.start()
        try:
            for _ in range(20_000):
                stream.feed_data(b"data: 1\n")
                stream.end_http_chunk_receiving()
                assert await stream.readline() == b"data: 1\n"
            size, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert size < 100_000
        stream.feed_data(b"last")
        stream.end_http_chunk_receiving()
        # The end at which the reader stands was not reported yet.
        assert await stream.readchunk() == (b"", True)
        assert await stream.readchunk() == (b"last", True)

    async def test_not_early(self) -> None:
        """Where the network cut a chunk, its first part is not an end."""
        stream = make()
        stream.begin_http_chunk_receiving()
        stream.feed_data(b"first ")
        assert await stream.readchunk() == (b"first ", False)
        stream.feed_data(b"half")
        stream.end_http_chunk_receiving()
        assert await stream.readchunk() == (b"half", True)
        stream.feed_eof()
        assert await stream.readchunk() == (b"", False)

    async def test_end_after_all_was_read(self) -> None:
        """An end that comes when its octets were read already is reported by itself, once."""
        stream = make()
        stream.begin_http_chunk_receiving()
        stream.feed_data(b"chunk")
        assert await stream.readchunk() == (b"chunk", False)
        waiting = asyncio.create_task(stream.readchunk())
        await turn()
        stream.end_http_chunk_receiving()
        assert await waiting == (b"", True)
        # Nothing came since: an empty chunk, or one that a decoder keeps back, has no end.
        stream.end_http_chunk_receiving()
        stream.feed_data(b"x")
        stream.end_http_chunk_receiving()
        assert await stream.readchunk() == (b"x", True)

    async def test_other_methods_between(self) -> None:
        """An end that another method has passed is gone; one that it stopped at is reported."""
        stream = make()
        stream.begin_http_chunk_receiving()
        for piece in (b"aa", b"bb", b"cc"):
            stream.feed_data(piece)
            stream.end_http_chunk_receiving()
        assert await stream.readexactly(3) == b"aab"
        assert await stream.readchunk() == (b"b", True)
        assert await stream.readexactly(2) == b"cc"
        assert await stream.readchunk() == (b"", True)

    async def test_without_chunks(self) -> None:
        """Content that is not chunked comes as the network gave it, without ends."""
        stream = make(b"ab", b"cd", eof=True)
        assert [chunk async for chunk in stream.iter_chunks()] == [(b"ab", False), (b"cd", False)]

    async def test_misuse(self) -> None:
        """Ends without a begin, and a begin in the middle, are errors of the program."""
        stream = make(b"x")
        with pytest.raises(RuntimeError):
            stream.end_http_chunk_receiving()
        with pytest.raises(RuntimeError):
            stream.begin_http_chunk_receiving()
        with pytest.raises(RuntimeError):
            make(eof=True).feed_data(b"x")

    @given(st.lists(st.tuples(st.binary(min_size=1, max_size=4), st.booleans()), max_size=12))
    async def test_any_chunks(self, feeds: list[tuple[bytes, bool]]) -> None:
        """However the network cut them, the chunks can be put together again from the ends."""
        stream = make()
        stream.begin_http_chunk_receiving()
        expected = [b""]
        for data, end in feeds:
            stream.feed_data(data)
            expected[-1] += data
            if end:
                stream.end_http_chunk_receiving()
                expected.append(b"")
        stream.feed_eof()
        got = [b""]
        async for data, end in stream.iter_chunks():
            got[-1] += data
            if end:
                got.append(b"")
        assert got == expected


# --- cancellation, errors, two readers -----------------------------------------------------------

WAITS: list[Callable[[StreamReader], Awaitable[Any]]] = [
    lambda stream: stream.read(),
    lambda stream: stream.read(100),
    lambda stream: stream.readany(),
    lambda stream: stream.readline(),
    lambda stream: stream.readuntil(b"zz"),
    lambda stream: stream.readexactly(100),
    lambda stream: stream.readchunk(),
]
waits = pytest.mark.parametrize(
    "wait", WAITS, ids=["read_all", "read", "readany", "readline", "until", "exactly", "chunk"]
)
# Those that wait on with some content in hand.
GREEDY = [WAITS[0], *WAITS[3:6]]
greedy = pytest.mark.parametrize("wait", GREEDY, ids=["read_all", "readline", "until", "exactly"])


class TestCancellation:
    @waits
    async def test_cancelled_while_empty(
        self, wait: Callable[[StreamReader], Awaitable[Any]]
    ) -> None:
        """A cancelled reader leaves the stream usable, also when data came in the same turn."""
        for data_came in (False, True):
            stream = make()
            task = asyncio.ensure_future(wait(stream))
            await turn()
            if data_came:
                stream.feed_data(b"abc")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            if not data_came:
                stream.feed_data(b"abc")
            stream.feed_eof()
            assert await stream.read() == b"abc"

    @greedy
    async def test_cancelled_in_the_middle(
        self, wait: Callable[[StreamReader], Awaitable[Any]]
    ) -> None:
        """What a method had taken when it was cancelled is put back, in order."""
        stream = make(b"ab")
        task = asyncio.ensure_future(wait(stream))
        await turn()
        stream.feed_data(b"cd")
        await turn()
        assert stream.buffered == 0
        stream.feed_data(b"ef")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        stream.feed_eof()
        assert await stream.read(3) == b"abc"
        assert await stream.read() == b"def"
        assert stream.total_bytes == 6

    async def test_cancelled_while_gathering(self) -> None:
        """A read() that had gathered a large body loses none of it."""
        block = bytes(range(256)) * 256
        stream = StreamReader(Flow(), 2**20)
        task = asyncio.create_task(stream.read())
        for _ in range(6):
            stream.feed_data(block)
            await turn()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        stream.feed_data(b"end")
        stream.feed_eof()
        assert await stream.read() == block * 6 + b"end"

    @pytest.mark.parametrize("announced", [None, 7, RESERVED_FROM])
    async def test_error_while_gathering(self, announced: int | None) -> None:
        """A read() that an error ends loses nothing: what came is read first, then the error."""
        flow = Flow()
        stream = StreamReader(flow, LIMIT)
        stream.announced = announced
        task = asyncio.create_task(stream.read())
        await turn()
        stream.feed_data(b"x" * 3 * LIMIT)
        assert flow.calls == []
        stream.set_exception(ValueError("broken"))
        with pytest.raises(ValueError, match="broken"):
            await task
        assert await stream.readany() == b"x" * 3 * LIMIT
        with pytest.raises(ValueError, match="broken"):
            await stream.read()

    @pytest.mark.parametrize("announced", [None, 7, RESERVED_FROM])
    async def test_cancelled_read_holds_the_flow_back(self, announced: int | None) -> None:
        """What a cancelled read() had gathered counts against the buffer again."""
        flow = Flow()
        stream = StreamReader(flow, LIMIT)
        stream.announced = announced
        task = asyncio.create_task(stream.read())
        await turn()
        stream.feed_data(b"x" * 3 * LIMIT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert flow.calls == ["pause"]
        stream.feed_eof()
        assert await stream.read() == b"x" * 3 * LIMIT

    async def test_announced(self) -> None:
        """An announced length changes nothing about what is read, however much of it comes."""
        block = bytes(range(256)) * 4096
        for announced in (0, 1, RESERVED_FROM, 2 * len(block), 2**62):
            stream = StreamReader(Flow(), LIMIT)
            stream.announced = announced
            stream.feed_data(block)
            task = asyncio.create_task(stream.read())
            await turn()
            stream.feed_data(block)
            stream.feed_eof()
            assert await task == block * 2

    @pytest.mark.parametrize("announced", [None, 7, RESERVED_FROM])
    async def test_discarded_while_gathering(self, announced: int | None) -> None:
        """What was discarded during a read() is not read later."""
        stream = make()
        stream.announced = announced
        task = asyncio.create_task(stream.read())
        await turn()
        stream.feed_data(b"abc")
        stream.discard(ValueError("closed"))
        with pytest.raises(ValueError, match="closed"):
            await task
        with pytest.raises(ValueError, match="closed"):
            await stream.read()

    @pytest.mark.parametrize("announced", [None, 7, RESERVED_FROM])
    async def test_data_while_gathering_begins(self, announced: int | None) -> None:
        """What the resumed flow brings at once comes after what was buffered."""
        flow = Flow()
        stream = StreamReader(flow, LIMIT)
        stream.announced = announced
        stream.feed_data(b"a" * 3 * LIMIT)
        assert flow.calls == ["pause"]

        def bring() -> None:
            stream.feed_data(b"b" * 10)
            stream.feed_eof()

        flow.on_resume = bring
        assert await stream.read() == b"a" * 3 * LIMIT + b"b" * 10

    async def test_large_pieces_are_not_joined(self) -> None:
        """readany() hands a large piece over as it came, and joins small ones."""
        large = bytes(JOIN_SIZE + 1)
        stream = StreamReader(Flow(), 2**20)
        for piece in (large, b"ab", b"cd", large):
            stream.feed_data(piece)
        stream.feed_eof()
        first = await stream.readany()
        assert first is large
        assert len(await stream.readany()) == JOIN_SIZE
        assert len(await stream.readany()) == len(large) + 4 - JOIN_SIZE
        assert await stream.readany() == b""

    async def test_wait_eof_cancelled(self) -> None:
        """A cancelled wait_eof() can be repeated."""
        stream = make()
        task = asyncio.create_task(stream.wait_eof())
        await turn()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        task = asyncio.create_task(stream.wait_eof())
        await turn()
        stream.feed_eof()
        await task


class TestErrors:
    @waits
    async def test_wakes_the_reader(self, wait: Callable[[StreamReader], Awaitable[Any]]) -> None:
        """An error wakes the waiting reader at once, and every later one."""
        stream = make()
        task = asyncio.ensure_future(wait(stream))
        await turn()
        stream.set_exception(Lost("gone"))
        for waiting in (task, wait(stream)):
            with pytest.raises(Lost, match="gone"):
                await waiting
        assert isinstance(stream.exception(), Lost)

    async def test_data_first(self) -> None:
        """Data that came before the error is delivered before it."""
        stream = make(b"abc", b"def")
        stream.set_exception(Lost())
        assert await stream.readany() == b"abcdef"
        with pytest.raises(Lost):
            await stream.readany()
        # Also in the turn in which the reader is woken.
        stream = make()
        task = asyncio.create_task(stream.readany())
        await turn()
        stream.feed_data(b"abc")
        stream.set_exception(Lost())
        assert await task == b"abc"
        with pytest.raises(Lost):
            await stream.read(1)

    @greedy
    async def test_nothing_is_lost(self, wait: Callable[[StreamReader], Awaitable[Any]]) -> None:
        """What a method had taken when the error came can still be read."""
        stream = make(b"abc")
        task = asyncio.ensure_future(wait(stream))
        await turn()
        stream.set_exception(Lost())
        with pytest.raises(Lost):
            await task
        assert stream.read_nowait() == b"abc"
        with pytest.raises(Lost):
            stream.read_nowait()

    async def test_cause(self) -> None:
        """The cause of an error is kept, through the waiter and for later readers."""
        stream = make()
        cause = OSError("reset")
        tasks = [asyncio.create_task(stream.readany()), asyncio.create_task(stream.wait_eof())]
        await turn()
        stream.set_exception(Lost(), cause)
        for task in tasks:
            with pytest.raises(Lost) as info:
                await task
            assert info.value.__cause__ is cause
        with pytest.raises(Lost) as info:
            await stream.read()
        assert info.value.__cause__ is cause

    async def test_uncopyable_error(self) -> None:
        """An error of a class that cannot be copied is raised all the same."""

        class Odd(Exception):
            def __init__(self, first: int, second: int) -> None:
                super().__init__("odd")

        stream = make()
        odd = Odd(1, 2)
        assert duplicate(odd) is odd
        stream.set_exception(odd)
        for _ in range(2):
            with pytest.raises(Odd):
                await stream.read()

    async def test_nobody_waits(self) -> None:
        """An error that nobody reads is no "exception was never retrieved"."""
        stream = make()
        stream.set_exception(Lost())
        task = asyncio.create_task(make().readany())
        await turn()
        task.cancel()
        await asyncio.wait([task])

    async def test_error_and_cancellation_together(self) -> None:
        """An error whose reader is cancelled in the same turn is retrieved, too."""
        stream = make()
        task = asyncio.create_task(stream.readany())
        await turn()
        stream.set_exception(Lost())
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    @waits
    async def test_no_cycle(self, wait: Callable[[StreamReader], Awaitable[Any]]) -> None:
        """A failed stream goes away with its last user, without the cycle collector."""
        with no_collector():
            stream = make(b"abc")
            task = asyncio.ensure_future(wait(stream))
            await turn()
            stream.set_exception(Lost())
            for waiting in (task, stream.readexactly(10)):
                with suppress(Lost):
                    await waiting
            del stream, task, waiting

    async def test_timer(self) -> None:
        """A timer surrounds each wait; what it raises reaches the reader, and loses nothing."""

        class Timer:
            entered = 0

            def __enter__(self) -> None:
                self.entered += 1

            def __exit__(
                self,
                kind: type[BaseException] | None,
                error: BaseException | None,
                traceback: TracebackType | None,
            ) -> None:
                if kind is asyncio.CancelledError:
                    raise TimeoutError

        timer = Timer()
        stream = StreamReader(Flow(), LIMIT, timer=timer)
        stream.feed_data(b"ab")
        assert await stream.readany() == b"ab"
        assert timer.entered == 0
        stream.feed_data(b"cd")
        task = asyncio.create_task(stream.readexactly(5))
        await turn()
        assert timer.entered == 1
        task.cancel()
        with pytest.raises(TimeoutError):
            await task
        assert stream.read_nowait() == b"cd"


class TestTwoReaders:
    @waits
    async def test_second_reader(self, wait: Callable[[StreamReader], Awaitable[Any]]) -> None:
        """A second reader gets RuntimeError; the first one is not disturbed."""
        stream = make()
        first = asyncio.create_task(stream.readany())
        await turn()
        with pytest.raises(RuntimeError, match="another coroutine"):
            await wait(stream)
        with pytest.raises(RuntimeError):
            stream.read_nowait()
        stream.feed_data(b"data")
        assert await first == b"data"

    async def test_second_wait_eof(self) -> None:
        """One may wait for the end while another reads, but not two."""
        stream = make()
        reading = asyncio.create_task(stream.read())
        first = asyncio.create_task(stream.wait_eof())
        await turn()
        with pytest.raises(RuntimeError):
            await stream.wait_eof()
        stream.feed_eof()
        await first
        assert await reading == b""


# --- the end -------------------------------------------------------------------------------------


class TestEnd:
    async def test_facts(self) -> None:
        """is_eof() says that all has come, at_eof() that all has been read."""
        stream = make(b"ab")
        assert (stream.is_eof(), stream.at_eof()) == (False, False)
        stream.feed_eof()
        stream.feed_eof()
        assert (stream.is_eof(), stream.at_eof()) == (True, False)
        assert await stream.read(2) == b"ab"
        assert (stream.is_eof(), stream.at_eof()) == (True, True)

    async def test_on_eof(self) -> None:
        """Callbacks run once, at the end or at once; one that fails is reported, not raised."""
        reported: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context))
        called: list[int] = []
        stream = make()
        stream.on_eof(lambda: called.append(1))
        stream.on_eof(lambda: called.append(1 // 0))
        stream.on_eof(lambda: called.append(2))
        assert not called
        stream.feed_eof()
        stream.feed_eof()
        assert called == [1, 2]
        stream.on_eof(lambda: called.append(3))
        assert called == [1, 2, 3]
        assert [type(context["exception"]) for context in reported] == [ZeroDivisionError]

    async def test_no_on_eof_after_error(self) -> None:
        """A stream that fails does not come to its end."""
        called: list[int] = []
        stream = make()
        stream.on_eof(lambda: called.append(1))
        stream.set_exception(Lost())
        assert not called

    async def test_wait_eof(self) -> None:
        """wait_eof() waits for the last octet to come, not to be read; an error ends it."""
        stream = make(b"unread", eof=True)
        await stream.wait_eof()
        stream = make(b"unread")
        task = asyncio.create_task(stream.wait_eof())
        await turn()
        stream.set_exception(Lost())
        with pytest.raises(Lost):
            await task
        with pytest.raises(Lost):
            await stream.wait_eof()

    async def test_unread_data(self) -> None:
        """unread_data() is deprecated; what is put back comes first."""
        stream = make(b"abcdef", eof=True)
        first = await stream.read(4)
        with pytest.warns(DeprecationWarning, match="unread_data"):
            stream.unread_data(first[2:])
        with pytest.warns(DeprecationWarning, match="unread_data"):
            stream.unread_data(b"")
        assert await stream.read() == b"cdef"
        assert stream.at_eof()

    async def test_discard(self) -> None:
        """After discard() an unread rest is gone; its readers get the error, even after the end."""
        for eof in (False, True):
            stream = make(b"unread", eof=eof)
            stream.discard(Lost())
            for wait in WAITS:
                with pytest.raises(Lost):
                    await wait(stream)
            with pytest.raises(Lost):
                stream.read_nowait()
            assert not stream.buffered

    async def test_discard_of_read_stream(self) -> None:
        """A stream that was read to its end stays ended."""
        stream = make(b"read", eof=True)
        assert await stream.read() == b"read"
        stream.discard(Lost())
        assert await stream.read() == b""

    async def test_discard_wakes(self) -> None:
        """Who waits when the stream is discarded is woken."""
        stream = make()
        task = asyncio.create_task(stream.readany())
        await turn()
        stream.discard(Lost())
        with pytest.raises(Lost):
            await task

    async def test_repr(self) -> None:
        """The representation tells the state."""
        stream = make(b"abc")
        assert repr(stream) == "<StreamReader 3 bytes>"
        stream.feed_eof()
        assert repr(stream) == "<StreamReader 3 bytes eof>"
        assert "Lost" in repr(_failed())
        waiting = make()
        task = asyncio.create_task(waiting.read())
        await turn()
        assert repr(waiting) == "<StreamReader reader waits>"
        waiting.feed_eof()
        await task


def _failed() -> StreamReader:
    stream = make()
    stream.set_exception(Lost("x"))
    return stream


# --- flow control --------------------------------------------------------------------------------


class TestFlow:
    async def test_hysteresis(self) -> None:
        """The flow stops above twice the limit and goes on below the limit, once each."""
        stream = make(b"x" * (2 * LIMIT))
        assert flow_of(stream) == []
        assert stream.feed_data(b"x") is True
        stream.feed_data(b"x")
        assert flow_of(stream) == ["pause"]
        await stream.readexactly(LIMIT + 2)
        assert flow_of(stream) == ["pause"]
        await stream.readexactly(1)
        assert flow_of(stream) == ["pause", "resume"]
        assert stream.feed_data(b"x" * LIMIT) is False
        assert flow_of(stream) == ["pause", "resume"]

    @pytest.mark.parametrize(
        "method",
        ["read", "readn", "readany", "read_nowait", "readline", "readuntil", "exactly", "chunk"],
    )
    async def test_every_method_resumes(self, method: str) -> None:
        """A paused stream resumes after any of the read methods."""
        stream = make(*[b"x" * LIMIT + b"\n"] * 3)
        assert flow_of(stream) == ["pause"]
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "readn": lambda: stream.read(LIMIT),
            "readany": stream.readany,
            "readline": stream.readline,
            "readuntil": lambda: stream.readuntil(b"\n"),
            "exactly": lambda: stream.readexactly(7),
            "chunk": stream.readchunk,
        }
        flow = flow_of(stream)
        if method == "read":
            reading = asyncio.create_task(stream.read())
            await turn()
            stream.feed_eof()
            await reading
        elif method == "read_nowait":
            stream.read_nowait()
        else:
            while stream.buffered >= LIMIT:
                await calls[method]()
        assert flow == ["pause", "resume"]

    async def test_many_pieces(self) -> None:
        """Pieces take memory, too: as many as they are, the flow stops however small they are."""
        stream = make(*[b"x"] * MAX_PIECES, limit=2**18)
        assert flow_of(stream) == []
        assert stream.feed_data(b"x") is True
        assert flow_of(stream) == ["pause"]
        await stream.readexactly(MAX_PIECES - FEW_PIECES + 1)
        assert flow_of(stream) == ["pause"]
        await stream.read(1)
        assert flow_of(stream) == ["pause", "resume"]
        await stream.readany()
        assert stream.feed_data(b"x") is False
        assert flow_of(stream) == ["pause", "resume"]

    @pytest.mark.parametrize("method", ["readany", "readline", "read_nowait", "chunk"])
    async def test_many_pieces_resume(self, method: str) -> None:
        """Whoever reads all that there is finds the flow going on."""
        stream = make(*[b"\n"] * (MAX_PIECES + 1), limit=2**18)
        assert flow_of(stream) == ["pause"]
        while stream.buffered:
            if method == "read_nowait":
                stream.read_nowait(100)
            elif method == "readany":
                await stream.readany()
            elif method == "readline":
                await stream.readline()
            else:
                await stream.readchunk()
        assert flow_of(stream) == ["pause", "resume"]

    async def test_the_end_resumes(self) -> None:
        """A stream to which nothing more comes holds nobody back, read or not, and lets go."""
        ends: list[Callable[[StreamReader], None]] = [
            lambda stream: stream.feed_eof(),
            lambda stream: stream.set_exception(Lost()),
            lambda stream: stream.discard(Lost()),
        ]
        for end in ends:
            stream = make(b"x" * (3 * LIMIT))
            flow = flow_of(stream)
            end(stream)
            assert flow == ["pause", "resume"]
            if stream.buffered:
                stream.read_nowait(1)
            assert flow == ["pause", "resume"]
            assert not isinstance(stream._protocol, Flow)

    async def test_limits(self) -> None:
        """iter_chunked(n) raises the water marks to n, so that n octets can be there at once."""
        stream = make()
        assert stream.get_read_buffer_limits() == (LIMIT, 2 * LIMIT)
        stream.iter_chunked(10)
        assert stream.get_read_buffer_limits() == (LIMIT, 2 * LIMIT)
        stream.iter_chunked(1000)
        assert stream.get_read_buffer_limits() == (1000, 2000)

    async def test_raw_bytes(self) -> None:
        """total_bytes counts what was decoded, total_raw_bytes what was on the wire."""
        stream = make(b"decoded")
        assert stream.total_raw_bytes == 7
        stream.total_compressed_bytes = 3
        assert (stream.total_bytes, stream.total_raw_bytes) == (7, 3)

    async def test_many_tiny_chunks(self) -> None:
        """A million chunks of one octet cost linear time, whichever way they are read."""

        def fill() -> StreamReader:
            stream = StreamReader(Flow(), 2**20)
            for _ in range(count):
                stream.feed_data(b"x")
            stream.feed_eof()
            return stream

        async def readany(stream: StreamReader) -> None:
            assert sum([len(piece) async for piece in stream.iter_any()]) == count

        async def readline(stream: StreamReader) -> None:
            assert len(await stream.readline(max_line_length=count)) == count

        async def pairs(stream: StreamReader) -> None:
            async for _ in stream.iter_chunked(2):
                pass

        # A quadratic method would not end before the test's deadline.
        count = 200_000
        for read in (readany, readline, pairs):
            await read(fill())
        count = 1_000_000
        await readany(fill())


# --- the empty stream ----------------------------------------------------------------------------


class TestEmptyPayload:
    async def test_methods(self) -> None:
        """All methods of the shared empty stream end at once."""
        empty = EMPTY_PAYLOAD
        assert await empty.read() == await empty.read(5) == await empty.readany() == b""
        assert await empty.readline() == await empty.readuntil(b"x") == b""
        assert await empty.readexactly(0) == b""
        assert await empty.readchunk() == (b"", False)
        assert empty.read_nowait() == empty.read_nowait(3) == b""
        assert [line async for line in empty] == []
        assert [piece async for piece in empty.iter_any()] == []
        assert [piece async for piece in empty.iter_chunked(10**9)] == []
        assert [piece async for piece in empty.iter_chunks()] == []
        assert [piece async for piece in empty.iter_lines()] == []
        with pytest.raises(asyncio.IncompleteReadError):
            await empty.readexactly(1)
        await empty.wait_eof()
        assert empty.at_eof()
        assert empty.is_eof()
        assert empty.exception() is None
        assert empty.total_bytes == empty.total_raw_bytes == 0
        assert repr(empty) == "<EmptyStreamReader>"

    async def test_stateless(self) -> None:
        """One object serves all: nothing that one user does can be seen by another."""
        empty = EMPTY_PAYLOAD
        before = _state(empty)
        called: list[int] = []
        empty.on_eof(lambda: called.append(1))
        assert called == [1]
        empty.set_exception(Lost())
        empty.discard(Lost())
        empty.feed_eof()
        empty.begin_http_chunk_receiving()
        empty.set_read_chunk_size(10**9)
        empty.iter_chunked(10**9)
        with pytest.raises(RuntimeError):
            empty.feed_data(b"x")
        with pytest.warns(DeprecationWarning, match="unread_data"):
            empty.unread_data(b"")
        with pytest.warns(DeprecationWarning, match="unread"), pytest.raises(RuntimeError):
            empty.unread_data(b"x")
        assert _state(empty) == before
        assert await empty.read() == b""

    def test_needs_no_loop(self) -> None:
        """It can be made, and asked, where no event loop runs."""
        empty = EmptyStreamReader()
        assert empty.read_nowait() == b""
        assert empty.get_read_buffer_limits()[0] > 0


def _state(stream: StreamReader) -> dict[str, object]:
    names = [name for name in StreamReader.__slots__ if name not in ("__weakref__", "_loop")]
    return {name: repr(getattr(stream, name)) for name in names if name != "_protocol"}


async def test_iterators() -> None:
    """The iterators are their own, and go over what they were given."""
    items = iter([b"a", b""])

    async def read() -> bytes:
        return next(items)

    iterator: AsyncIterator[bytes] = AsyncStreamIterator(read)
    assert aiter(iterator) is iterator
    assert [item async for item in iterator] == [b"a"]
    chunks = ChunkTupleIterator(make(b"x", eof=True))
    assert aiter(chunks) is chunks
