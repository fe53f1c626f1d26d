"""Decoding: content codings are undone as far as the stream has room, and no further."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.core.coding import make_decoder
from angelia.errors import ContentError
from angelia.net.decoding import DECODED_PIECE_SIZE, Decoding
from angelia.net.streams import StreamReader
from stream_kit import Flow

CONTENT = b"some content, " * 100


def make(limit: int = 2**16, *, chunked: bool = False) -> tuple[Decoding, StreamReader]:
    decoder = make_decoder(["gzip"])
    assert decoder is not None
    stream = StreamReader(Flow(), limit)
    if chunked:
        stream.begin_http_chunk_receiving()
    return Decoding(decoder), stream


async def test_whole() -> None:
    """What was coded comes out, and all of it is told to be done."""
    decoding, stream = make()
    decoding.add(gzip.compress(CONTENT), chunk_end=False)
    decoding.ended = True
    assert decoding.pump(stream)
    assert stream.read_nowait() == CONTENT


@given(st.lists(st.integers(1, 60), max_size=20))
async def test_cut_anywhere(cuts: list[int]) -> None:
    """In whatever pieces it comes."""
    decoding, stream = make()
    packed = gzip.compress(CONTENT)
    for size in cuts:
        decoding.add(packed[:size], chunk_end=False)
        packed = packed[size:]
        assert decoding.pump(stream)
    decoding.add(packed, chunk_end=False)
    decoding.ended = True
    assert decoding.pump(stream)
    assert stream.read_nowait() == CONTENT


async def test_a_full_stream_stops_it() -> None:
    """It stops at the high water mark, a piece beyond it at most, and goes on when it is asked."""
    decoding, stream = make(limit=1000)
    size = 10 * 2**20
    decoding.add(gzip.compress(bytes(size)), chunk_end=False)
    decoding.ended = True
    total = rounds = 0
    while not decoding.pump(stream):
        assert stream.buffered <= 2000 + DECODED_PIECE_SIZE
        total += len(stream.read_nowait())
        rounds += 1
    total += len(stream.read_nowait())
    assert total == size
    assert rounds >= size // (2000 + DECODED_PIECE_SIZE)


async def test_cut_off() -> None:
    """Content that ends before its coding does is an error; what came before it is delivered."""
    decoding, stream = make()
    decoding.add(gzip.compress(CONTENT)[:-4], chunk_end=False)
    assert decoding.pump(stream)
    decoding.ended = True
    with pytest.raises(ContentError):
        decoding.pump(stream)
    assert stream.read_nowait() == CONTENT


async def test_broken() -> None:
    """So is content that is none of the coding."""
    decoding, stream = make()
    decoding.add(b"no gzip", chunk_end=False)
    with pytest.raises(ContentError):
        decoding.pump(stream)


async def test_ends_of_chunks() -> None:
    """The end of an HTTP chunk comes where its last octet comes out; one without has no end."""
    decoding, stream = make(chunked=True)
    members = [gzip.compress(b"one"), gzip.compress(b"three")]
    decoding.add(members[0], chunk_end=True)
    decoding.add(members[1][:5], chunk_end=True)
    decoding.add(members[1][5:], chunk_end=True)
    decoding.ended = True
    assert decoding.pump(stream)
    stream.feed_eof()
    assert [pair async for pair in stream.iter_chunks()] == [(b"one", True), (b"three", True)]
