"""TracedStreamReader: each piece is told once it is taken, and a failure to tell loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.net.streams import StreamReader
from angelia.net.traced_stream import TracedStreamReader
from stream_kit import Flow

LIMIT = 8


class Deaf(Exception):
    """What a listener raises."""


class Listener:
    """Hears each piece, or fails as often as `fails` says."""

    def __init__(self, fails: list[bool] | None = None) -> None:
        self.heard: list[bytes] = []
        self.fails = fails or []

    async def hear(self, data: bytes) -> None:
        if self.fails and self.fails.pop():
            raise Deaf
        self.heard.append(data)


def make(*pieces: bytes, listener: Listener | None = None) -> TracedStreamReader:
    stream = TracedStreamReader(Flow(), LIMIT)
    stream.tell = None if listener is None else listener.hear
    stream.begin_http_chunk_receiving()
    for piece in pieces:
        stream.feed_data(piece)
        stream.end_http_chunk_receiving()
    return stream


async def test_read_nowait_tells_nothing() -> None:
    """`read_nowait` cannot wait for whoever listens."""
    listener = Listener()
    stream = make(b"ab", b"cd", listener=listener)
    assert stream.read_nowait() == b"abcd"
    assert listener.heard == []


async def test_without_listener() -> None:
    """Until somebody listens it is a stream like any."""
    stream = make(b"ab", b"cd")
    stream.feed_eof()
    assert isinstance(stream, StreamReader)
    assert await stream.read(1) == b"a"
    assert await stream.read() == b"bcd"


async def test_flow_is_held_back_again() -> None:
    """What was put back counts as buffered: the flow is paused until it is read."""
    stream = make(b"x" * 20, listener=Listener([True]))
    flow = stream._protocol
    assert isinstance(flow, Flow)
    with pytest.raises(Deaf):
        await stream.readany()
    assert flow.calls == ["pause", "resume", "pause"]
    assert await stream.readany() == b"x" * 20
    assert flow.calls == ["pause", "resume", "pause", "resume"]


READS: list[Callable[[TracedStreamReader], Any]] = [
    lambda stream: stream.readany(),
    lambda stream: stream.read(2),
    lambda stream: stream.readline(max_line_length=100),
    lambda stream: stream.readuntil(b"b", max_size=100),
]


@given(
    st.lists(st.text("ab\n", min_size=1, max_size=6).map(str.encode), max_size=6),
    st.lists(st.integers(0, len(READS) - 1), max_size=30),
    st.lists(st.booleans(), max_size=10),
)
async def test_nothing_is_lost(pieces: list[bytes], reads: list[int], fails: list[bool]) -> None:
    """Whichever reads fail over their listener, what came is read, and all of it is heard."""
    listener = Listener(fails)
    stream = make(*pieces, listener=listener)
    stream.feed_eof()
    got: list[bytes] = []
    for number in reads:
        try:
            got.append(await READS[number](stream))
        except Deaf:
            continue
    listener.fails.clear()
    got.append(await stream.read())
    assert b"".join(got) == b"".join(pieces)
    assert listener.heard == [piece for piece in got if piece]


@given(
    st.lists(st.binary(min_size=1, max_size=4), max_size=6),
    st.lists(st.booleans(), max_size=10),
)
async def test_ends_of_chunks(pieces: list[bytes], fails: list[bool]) -> None:
    """The end of a chunk that was not told comes again, with its chunk."""
    stream = make(*pieces, listener=Listener(fails))
    stream.feed_eof()
    got: list[tuple[bytes, bool]] = []
    while True:
        try:
            pair = await stream.readchunk()
        except Deaf:
            continue
        if pair == (b"", False):
            break
        got.append(pair)
    assert got == [(piece, True) for piece in pieces]
