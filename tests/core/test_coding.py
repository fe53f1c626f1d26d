"""Content codings: decoding whole and in pieces, bounds against bombs, compressing."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import random
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from angelia.core import coding
from angelia.core.coding import (
    MAX_CODINGS,
    MAX_TINY_MEMBERS,
    Decoder,
    available_codings,
    make_compressor,
    make_decoder,
    set_zlib_backend,
    zlib_backend,
)
from angelia.errors import ContentError

MIB = 1024 * 1024


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def compress(name: str, data: bytes) -> bytes:
    compressor = make_compressor(name)
    return compressor.compress(data) + compressor.flush()


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate-raw": ("deflate", raw_deflate),
}
for _name in available_codings():
    if _name in ("br", "zstd"):
        CODINGS[_name] = (_name, partial(compress, _name))

each_coding = pytest.mark.parametrize("kind", CODINGS)


def decoder_for(*names: str, max_total: int | None = None) -> Decoder:
    decoder = make_decoder(names, max_total=max_total)
    assert decoder is not None
    return decoder


def read_all(decoder: Decoder, max_length: int = 65536) -> bytes:
    parts = []
    while part := decoder.read(max_length):
        assert len(part) <= max_length
        parts.append(part)
    return b"".join(parts)


def decode(decoder: Decoder, *pieces: bytes, max_length: int = 65536) -> bytes:
    decoded = []
    for piece in pieces:
        decoder.feed(piece)
        decoded.append(read_all(decoder, max_length))
        assert decoder.needs_input
    decoder.finish()
    return b"".join(decoded)


def some_text(size: int) -> bytes:
    chooser = random.Random(size)
    return bytes(chooser.choices(b"abcdefgh \n", k=size))


# --- what is decoded ---------------------------------------------------------------------------


@each_coding
@pytest.mark.parametrize("size", [0, 1, 5, 1000, 16384, 100_000])
@pytest.mark.parametrize("max_length", [7, 4096, 16384, 65536, 10**9])
def test_coding_whole(kind: str, size: int, max_length: int) -> None:
    """Content comes out as it went in, for any size of the reads."""
    if size // max_length > 5000:
        pytest.skip("as many reads elsewhere")
    name, encode = CODINGS[kind]
    data = some_text(size)
    assert decode(decoder_for(name), encode(data), max_length=max_length) == data


@each_coding
def test_coding_cut_at_every_byte(kind: str) -> None:
    """How content is cut on its way changes nothing."""
    name, encode = CODINGS[kind]
    data = some_text(300)
    coded = encode(data)
    for cut in range(len(coded) + 1):
        assert decode(decoder_for(name), coded[:cut], coded[cut:]) == data
    single = [coded[i : i + 1] for i in range(len(coded))]
    assert decode(decoder_for(name), *single, max_length=3) == data


@each_coding
def test_coding_cut_off(kind: str) -> None:
    """Content that ends before its coding does is an error, wherever it is cut."""
    name, encode = CODINGS[kind]
    coded = encode(some_text(300))
    for cut in range(1, len(coded)):
        with pytest.raises(ContentError, match="cut off"):
            decode(decoder_for(name), coded[:cut])


@each_coding
def test_empty_body(kind: str) -> None:
    """A message without a single octet of content is fine, whatever its fields say."""
    name, _ = CODINGS[kind]
    decoder = decoder_for(name)
    assert decoder.needs_input
    assert decoder.read(100) == b""
    decoder.finish()
    decoder = decoder_for(name)
    assert decode(decoder, b"", b"") == b""


@each_coding
def test_broken_data(kind: str) -> None:
    """What is not in the announced coding raises ContentError, and nothing else."""
    name, encode = CODINGS[kind]
    coded = bytearray(encode(some_text(2000)))
    coded[len(coded) // 2 :] = b"\xff" * (len(coded) // 2)
    for data in (bytes(coded), b"<html>this is no compressed data, sorry</html>", b"\xff" * 50):
        with pytest.raises(ContentError):
            decode(decoder_for(name), data)


@each_coding
@pytest.mark.parametrize("together", [True, False])
def test_rubbish_after_the_end(kind: str, together: bool) -> None:
    """Rubbish after the coded data is an error, whether it comes in the same piece or later."""
    name, encode = CODINGS[kind]
    coded = encode(b"hello")
    pieces = (coded + b"rubbish!",) if together else (coded, b"rubbish!")
    with pytest.raises(ContentError):
        decode(decoder_for(name), *pieces)


@given(data=st.binary(max_size=200), name=st.sampled_from(available_codings()))
@settings(max_examples=300, deadline=None)
def test_any_input_gives_octets_or_content_error(data: bytes, name: str) -> None:
    """Any octets give decoded content or a ContentError, never anything else."""
    decoder = decoder_for(name)
    with contextlib.suppress(ContentError):
        decode(decoder, data)


@given(data=st.binary(max_size=2000), cuts=st.lists(st.integers(0, 2000), max_size=5))
@settings(max_examples=100, deadline=None)
def test_any_content_survives(data: bytes, cuts: list[int]) -> None:
    """Compressors and decoders are inverses, however the coded data is cut."""
    for name in available_codings():
        coded = compress(name, data)
        edges = sorted({0, len(coded), *(cut for cut in cuts if cut < len(coded))})
        pieces = [coded[a:b] for a, b in itertools.pairwise(edges)]
        assert decode(decoder_for(name), *pieces) == data


def test_zlib_header_split() -> None:
    """Whether deflate content has a zlib header is told from two octets, not from a first one."""
    assert decode(decoder_for("deflate"), b"\x78", zlib.compress(b"abc")[1:]) == b"abc"
    with pytest.raises(ContentError, match="cut off"):
        decode(decoder_for("deflate"), b"\x78")


def test_feed_takes_any_buffer_and_copies_it() -> None:
    """Fed buffers may be reused at once."""
    buffer = bytearray(gzip.compress(b"hello"))
    decoder = decoder_for("gzip")
    decoder.feed(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert decoder.read(100) == b"hello"


def test_read_wants_a_positive_size() -> None:
    """read(0) could not tell "more input" from "nothing asked for"."""
    with pytest.raises(ValueError, match="positive"):
        decoder_for("gzip").read(0)


def test_finish_before_everything_is_read() -> None:
    """finish() with output left is the caller's mistake, not the peer's."""
    decoder = decoder_for("gzip")
    decoder.feed(gzip.compress(b"hello"))
    with pytest.raises(RuntimeError, match="not read"):
        decoder.finish()
    assert decoder.read(2) == b"he"
    with pytest.raises(RuntimeError, match="not read"):
        decoder.finish()
    assert decoder.read(3) == b"llo"
    decoder.finish()


def test_repr_and_total() -> None:
    """A decoder tells its codings and how much it has decoded."""
    decoder = decoder_for("deflate", "GZIP")
    decode(decoder, gzip.compress(zlib.compress(b"hello")))
    assert decoder.total == 5
    assert repr(decoder) == "<Decoder gzip, deflate decoded=5>"


# --- members -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in ("gzip", "zstd") if n in available_codings()])
def test_several_members(name: str) -> None:
    """Members in a row are one content, cut anywhere; empty ones among them too."""
    parts = [some_text(400), b"", b"x", some_text(300)]
    coded = b"".join(compress(name, part) for part in parts)
    whole = b"".join(parts)
    assert decode(decoder_for(name), coded) == whole
    for cut in range(len(coded)):
        assert decode(decoder_for(name), coded[:cut], coded[cut:], max_length=50) == whole


def test_many_large_members() -> None:
    """Blocked gzip files have members without number; only tiny ones are suspicious."""
    part = some_text(300)
    coded = gzip.compress(part) * (MAX_TINY_MEMBERS + 500)
    assert decode(decoder_for("gzip"), coded) == part * (MAX_TINY_MEMBERS + 500)


@pytest.mark.parametrize("name", [n for n in ("gzip", "zstd") if n in available_codings()])
def test_flood_of_tiny_members(name: str) -> None:
    """A flood of members that hold next to nothing is refused."""
    coded = compress(name, b"") * (MAX_TINY_MEMBERS + 1)
    with pytest.raises(ContentError, match="tiny"):
        decode(decoder_for(name), coded)


def test_zero_padding_after_gzip() -> None:
    """Zeros after a gzip member are padding, as gzip(1) has it; before the first they are not."""
    coded = gzip.compress(b"hello")
    assert decode(decoder_for("gzip"), coded + bytes(1000)) == b"hello"
    assert decode(decoder_for("gzip"), coded, bytes(40_000), bytes(3)) == b"hello"
    with pytest.raises(ContentError):
        decode(decoder_for("gzip"), bytes(100) + coded)


# --- which codings, and chains -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["GZip", " gzip\t", "x-gzip", "X-GZIP", "gzip,", "identity, gzip"])
def test_names(name: str) -> None:
    """Names have no case, x-gzip is gzip; identity and empty members mean nothing."""
    assert decode(decoder_for(name), gzip.compress(b"hello")) == b"hello"


@pytest.mark.parametrize(
    "names", [[], [""], [" , "], ["identity"], ["compress"], ["gzip", "future"], ["utf-8"]]
)
def test_nothing_to_decode(names: list[str]) -> None:
    """Without a coding, or with an unknown one in the chain, content is delivered as it is."""
    assert make_decoder(names) is None


def test_chain_of_five_and_six() -> None:
    """Up to five codings are undone, last one first; more are refused."""
    names = ["gzip", "deflate", "br", "zstd", "gzip"]
    names = [name if name in available_codings() else "gzip" for name in names]
    data = some_text(50_000)
    coded = data
    for name in names:
        coded = compress(name, coded)
    assert decode(decoder_for(*names), coded) == data
    assert decode(decoder_for(", ".join(names), "identity"), coded, max_length=100) == data
    single = [coded[i : i + 1] for i in range(2000)] + [coded[2000:]]
    assert decode(decoder_for(*names), *single) == data
    with pytest.raises(ContentError, match="cut off"):
        decode(decoder_for(*names), coded[:-1])
    with pytest.raises(ContentError, match=f"more than {MAX_CODINGS}"):
        make_decoder([*names, "gzip"])


# --- bombs -------------------------------------------------------------------------------------


def bomb(name: str, size: int) -> bytes:
    compressor = make_compressor(name)
    block = bytes(MIB)
    parts = [compressor.compress(block) for _ in range(size // MIB)]
    return b"".join([*parts, compressor.flush()])


@pytest.fixture
def memory_peak() -> Iterator[Callable[[], int]]:
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        yield lambda: tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@each_coding
def test_bomb_costs_what_is_read(kind: str, memory_peak: Callable[[], int]) -> None:
    """Of a bomb only what is asked for is decoded, and a read takes bounded memory."""
    name, _ = CODINGS[kind]
    coded = bomb(name, 64 * MIB) if kind != "deflate-raw" else raw_deflate(bytes(64 * MIB))
    decoder = decoder_for(name)
    tracemalloc.reset_peak()
    before = memory_peak()
    decoder.feed(coded)
    for _ in range(20):
        assert len(decoder.read(65536)) <= 65536
        assert not decoder.needs_input
    assert memory_peak() - before < MIB
    assert decoder.total < 4 * MIB


def test_bomb_of_a_gigabyte() -> None:
    """A thousandfold bomb that is read whole comes out whole, at bounded memory."""
    compressor = zlib.compressobj(wbits=-15)
    block = compressor.compress(bytes(MIB)) + compressor.flush(zlib.Z_FULL_FLUSH)
    coded = block * 1024 + b"\x03\x00"
    assert len(coded) < 1.1 * MIB
    decoder = decoder_for("deflate")
    decoder.feed(coded)
    tracemalloc.start()
    try:
        while decoder.read(4 * MIB):
            pass
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()
    assert decoder.total == 1024 * MIB
    decoder.finish()


def test_chained_bomb(memory_peak: Callable[[], int]) -> None:
    """What codings of a chain hand to each other is bounded too."""
    coded = bomb("gzip", 64 * MIB)
    for _ in range(2):
        coded = gzip.compress(coded)
    decoder = decoder_for("gzip", "gzip", "gzip")
    decoder.feed(coded)
    tracemalloc.reset_peak()
    before = memory_peak()
    for _ in range(20):
        assert 0 < len(decoder.read(1000)) <= 1000
    assert memory_peak() - before < MIB


def test_chain_that_yields_nothing() -> None:
    """Codings that blow up in the middle of a chain, and give nothing at its end, are refused."""
    # A stored block of no octets: five octets that decode to none.
    empty_blocks = b"\x00\x00\x00\xff\xff" * (4 * MIB)
    coded = gzip.compress(gzip.compress(empty_blocks, 1), 1)
    assert len(coded) < MIB
    decoder = decoder_for("deflate", "gzip", "gzip")
    decoder.feed(coded)
    with pytest.raises(ContentError, match="between content codings"):
        decoder.read(65536)


@pytest.mark.parametrize("max_length", [100, 65536])
def test_max_total(max_length: int) -> None:
    """Content of exactly the total bound is accepted, one octet more is not."""
    coded = gzip.compress(bytes(100_000))
    assert decode(decoder_for("gzip", max_total=100_000), coded, max_length=max_length) == bytes(
        100_000
    )
    with pytest.raises(ContentError, match="longer than 99999 bytes"):
        decode(decoder_for("gzip", max_total=99_999), coded, max_length=max_length)


def test_many_small_reads_are_linear() -> None:
    """Reading octet by octet does not copy what is left each time."""
    decoder = decoder_for("gzip")
    decoder.feed(gzip.compress(bytes(200_000)))
    count = 0
    while decoder.read(1):
        count += 1
    assert count == 200_000


@pytest.mark.skipif("zstd" not in available_codings(), reason="no Zstandard library")
def test_zstd_window_is_bounded() -> None:
    """A frame that asks for a window beyond 8 MiB is refused (RFC 9659)."""
    # Magic number, a frame header without content size, window descriptor 2**(10 + 20).
    with pytest.raises(ContentError):
        decode(decoder_for("zstd"), b"\x28\xb5\x2f\xfd\x00\xa0" + bytes(100))


# --- libraries ---------------------------------------------------------------------------------


@pytest.fixture
def restored_backend() -> Iterator[None]:
    before = zlib_backend()
    yield
    set_zlib_backend(before)


@pytest.mark.usefixtures("restored_backend")
def test_zlib_backend_is_replaced() -> None:
    """set_zlib_backend() holds for decoders and compressors that are made afterwards."""
    used = []

    def compressobj(**options: Any) -> Any:
        used.append("compress")
        return zlib.compressobj(**options)

    def decompressobj(**options: Any) -> Any:
        used.append("decompress")
        return zlib.decompressobj(**options)

    set_zlib_backend(
        SimpleNamespace(
            compressobj=compressobj,
            decompressobj=decompressobj,
            error=zlib.error,
            Z_SYNC_FLUSH=zlib.Z_SYNC_FLUSH,
        )
    )
    for name in ("gzip", "deflate"):
        assert decode(decoder_for(name), compress(name, b"hello")) == b"hello"
    assert used == ["compress", "decompress"] * 2


class OvershootingDecompressor:
    """Gives all output at once, whatever it was asked for."""

    unconsumed_tail = b""

    def __init__(self, wbits: int) -> None:
        self._object = zlib.decompressobj(wbits=wbits)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._object, name)

    def decompress(self, data: bytes, _limit: int) -> bytes:
        return self._object.decompress(data)


@pytest.mark.usefixtures("restored_backend")
def test_bounds_hold_with_a_backend_that_overshoots() -> None:
    """A library that ignores the bound changes what is held, not what a read gives."""
    set_zlib_backend(
        SimpleNamespace(
            compressobj=zlib.compressobj,
            decompressobj=OvershootingDecompressor,
            error=zlib.error,
            Z_SYNC_FLUSH=zlib.Z_SYNC_FLUSH,
        )
    )
    data = some_text(100_000)
    assert decode(decoder_for("gzip"), gzip.compress(data), max_length=1000) == data


def test_what_is_no_zlib_is_refused() -> None:
    """A backend without zlib's interface is refused at once, not at the first response."""
    with pytest.raises(TypeError, match="decompressobj"):
        set_zlib_backend(SimpleNamespace(compressobj=None))


@pytest.mark.parametrize("module", ["isal.isal_zlib", "zlib_ng.zlib_ng"])
@pytest.mark.usefixtures("restored_backend")
def test_real_backends(module: str) -> None:
    """The faster libraries decode the same, cut anywhere, and bound their output."""
    set_zlib_backend(pytest.importorskip(module))
    data = some_text(3000)
    for name, encode in (("gzip", gzip.compress), ("deflate", zlib.compress)):
        coded = encode(data)
        for cut in range(len(coded)):
            assert decode(decoder_for(name), coded[:cut], coded[cut:], max_length=999) == data
            if cut:
                with pytest.raises(ContentError):
                    decode(decoder_for(name), coded[:cut])
        assert decode(decoder_for(name), compress(name, data)) == data
    decoder = decoder_for("gzip")
    decoder.feed(gzip.compress(bytes(64 * MIB)))
    assert len(decoder.read(65536)) == 65536
    assert decoder.total < MIB


@pytest.fixture
def fresh_libraries() -> Iterator[None]:
    coding._brotli.cache_clear()
    coding._zstd.cache_clear()
    yield
    coding._brotli.cache_clear()
    coding._zstd.cache_clear()


@pytest.mark.usefixtures("fresh_libraries")
def test_without_optional_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not installed is not announced, decoded or offered for compression."""
    for module in ("brotli", "compression.zstd", "backports.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, module, None)
    assert available_codings() == ("gzip", "deflate")
    assert make_decoder(["br"]) is None
    assert make_decoder(["gzip", "zstd"]) is None
    with pytest.raises(ValueError, match="only with gzip, deflate"):
        make_compressor("br")


@pytest.mark.usefixtures("fresh_libraries")
def test_brotli_that_cannot_bound_its_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """brotli before 1.2 is as good as none: a few octets could fill the memory."""
    monkeypatch.setitem(sys.modules, "brotli", SimpleNamespace(Decompressor=object))
    assert "br" not in available_codings()


@pytest.mark.usefixtures("fresh_libraries")
def test_zstandard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The `zstandard` library is the last choice; its output is bounded by feeding it little."""
    pytest.importorskip("zstandard")
    for module in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, module, None)
    data = some_text(3000)
    coded = compress("zstd", data)
    for cut in range(len(coded)):
        assert decode(decoder_for("zstd"), coded[:cut], coded[cut:], max_length=100) == data
    with pytest.raises(ContentError):
        decode(decoder_for("zstd"), coded + b"rubbish!")
    with pytest.raises(ContentError):
        decode(decoder_for("zstd"), coded[:-1])
    decoder = decoder_for("zstd")
    decoder.feed(bomb("zstd", 64 * MIB))
    assert len(decoder.read(65536)) == 65536
    assert decoder.total <= 2 * MIB


def test_import_takes_no_compression_library() -> None:
    """Importing the module imports no optional library: start-up time is the user's."""
    code = (
        "import sys, angelia.core.coding; "
        "print([m for m in ('brotli', 'compression.zstd', 'backports.zstd', 'zstandard') "
        "if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert result.stdout.strip() == "[]", result.stderr


# --- compressing -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", available_codings())
def test_compressor_in_pieces(name: str) -> None:
    """A body may be compressed in pieces, from any buffer."""
    compressor = make_compressor(name.upper(), level=1)
    assert compressor.coding == name
    assert name in repr(compressor)
    data = some_text(30_000)
    coded = compressor.compress(data[:10_000])
    coded += compressor.compress(bytearray(data[10_000:20_000]))
    coded += compressor.compress(memoryview(data)[20_000:])
    coded += compressor.flush()
    assert len(coded) < len(data)
    assert decode(decoder_for(name), coded) == data


def test_compressor_level_and_strategy() -> None:
    """zlib's levels and strategies are handed on."""
    data = some_text(30_000)
    coded = []
    for options in ({"level": 0}, {"level": 9}, {"strategy": zlib.Z_HUFFMAN_ONLY}):
        compressor = make_compressor("deflate", **options)
        coded.append(compressor.compress(data) + compressor.flush())
        assert zlib.decompress(coded[-1]) == data
    assert len(coded[0]) > len(data)
    assert len({len(c) for c in coded}) == 3


@pytest.mark.parametrize("name", ["identity", "compress", "", "lzma"])
def test_compressor_of_unknown_coding(name: str) -> None:
    """A coding that cannot be applied is an error, not a silent passthrough."""
    with pytest.raises(ValueError, match="cannot compress"):
        make_compressor(name)
