"""Content that is worse than it looks: bombs, layers, broken codings, in every place it can be in.

Held here:

- CVE-2025-69223, urllib3 CVE-2025-66471, CVE-2026-21441, CVE-2026-44432, httpx2 (huge
  intermediate inflate), Brotli GHSA-2qfp-q593-8484: bombs of gzip, deflate, raw deflate, br and
  zstd, read in pieces, read whole, in redirects, in errors, thrown away;
- CVE-2026-54278: a compressed body that nobody reads;
- urllib3 CVE-2025-66418: more than five codings, also in redirects;
- truncated streams, trailing data, very many gzip members, urllib3 CVE-2026-97688: a decoder that
  makes no progress; codings in mixed case;
- CVE-2024-30251, CVE-2026-34516, CVE-2026-34517: multipart responses that do not end.

Tables of the decoders themselves are in `tests/core/test_coding.py`, of multipart in
`tests/net/test_multipart.py`.
"""

from __future__ import annotations

import gzip
import itertools
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import angelia
from angelia.core.coding import available_codings
from counting import counted
from peers.evil import CANARY, Evil, content, failure
from peers.raw import RawServer, response

BOMB_SIZE = 64 * 1024 * 1024

# What a step of a decoder and the buffers around it may take; far below any bomb's size.
MAX_MEMORY = 8 * 1024 * 1024


def raw_deflate(data: bytes) -> bytes:
    made = zlib.compressobj(9, zlib.DEFLATED, -15)
    return made.compress(data) + made.flush()


def brotli(data: bytes) -> bytes:
    module = pytest.importorskip("brotli")
    compressed: bytes = module.compress(data, quality=1)
    return compressed


def zstandard(data: bytes) -> bytes:
    module = pytest.importorskip("backports.zstd")
    compressed: bytes = module.compress(data)
    return compressed


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", brotli),
    "zstd": ("zstd", zstandard),
    "twice": ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
}


def coded(kind: str, data: bytes) -> tuple[str, bytes]:
    """A `Content-Encoding` field, and `data` in it."""
    name, compress = CODINGS[kind]
    if not set(name.split(", ")) <= set(available_codings()):
        pytest.skip(f"{name} is not available here")
    return f"Content-Encoding: {name}", compress(data)


@pytest.fixture(scope="module", params=list(CODINGS))
def bomb(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    """A field and a content that is 64 MiB of zeros."""
    return coded(request.param, bytes(BOMB_SIZE))


def is_decoding(function: Any) -> bool:
    """Whether it is one of those that decompress, of any library."""
    kind = type(getattr(function, "__self__", None)).__name__.lower()
    return "decompress" in kind and function.__name__ in ("decompress", "process")


@contextmanager
def little_memory() -> Iterator[None]:
    """Fail if more than `MAX_MEMORY` is allocated at any time within."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MAX_MEMORY


class TestBombs:
    async def test_in_pieces(self, bomb: tuple[str, bytes]) -> None:
        """What the reader takes is all that is decoded, however well it was packed."""
        field, packed = bomb
        evil = Evil(response(packed, field))
        async with RawServer(evil) as server, angelia.ClientSession() as session:
            with little_memory():
                async with session.get(server.url) as resp:
                    for _ in range(10):
                        assert await resp.content.read(4096) == bytes(4096)
                    assert await resp.content.readany()
                assert await content(session, server.url) == CANARY

    async def test_limit(self, bomb: tuple[str, bytes]) -> None:
        """`max_decompressed_size` ends a bomb that is read whole, with an error."""
        field, packed = bomb
        evil = Evil(response(packed, field))
        async with (
            RawServer(evil) as server,
            angelia.ClientSession(max_decompressed_size=1024 * 1024) as session,
        ):
            with little_memory():
                error = await failure(session, server.url)
                assert isinstance(error, angelia.ClientPayloadError)
                assert await content(session, server.url) == CANARY

    async def test_in_a_redirect(self, bomb: tuple[str, bytes]) -> None:
        """The content of a redirect is read for the connection's sake only, and briefly."""
        field, packed = bomb
        evil = Evil(response(packed, field, "Location: /next", status="302 Found"))
        async with RawServer(evil) as server, angelia.ClientSession() as session:
            with little_memory():
                assert await content(session, server.url) == CANARY

    async def test_in_an_error(self, bomb: tuple[str, bytes]) -> None:
        """`raise_for_status` throws the content away as it is."""
        field, packed = bomb
        evil = Evil(response(packed, field, status="500 Internal Server Error"))
        async with (
            RawServer(evil) as server,
            angelia.ClientSession(raise_for_status=True) as session,
        ):
            with little_memory():
                error = await failure(session, server.url)
                assert isinstance(error, angelia.ClientResponseError)
                assert await content(session, server.url) == CANARY

    @pytest.mark.parametrize("how", ["leave", "release", "close"])
    async def test_thrown_away(self, bomb: tuple[str, bytes], how: str) -> None:
        """Content that nobody reads is not decoded, but for what a buffer holds."""
        field, packed = bomb
        evil = Evil(response(packed, field))
        async with RawServer(evil) as server, angelia.ClientSession() as session:
            with little_memory():
                with counted(is_decoding) as work:
                    async with session.get(server.url) as resp:
                        if how == "release":
                            resp.release()
                        elif how == "close":
                            resp.close()
                    assert await content(session, server.url) == CANARY
                # Some dozens of KiB each; all of it would be a thousand times that or more.
                assert work.chosen < 60


class TestLayers:
    @pytest.mark.parametrize("redirected", [False, True])
    @pytest.mark.parametrize("as_fields", [False, True])
    async def test_six(self, redirected: bool, as_fields: bool) -> None:
        """Six codings are an error, in one field or in several, also of a redirect."""
        packed = b"x"
        for _ in range(6):
            packed = gzip.compress(packed)
        fields = ["Content-Encoding: GZip"] * 6
        if not as_fields:
            fields = ["Content-Encoding: gzip, X-gzip, gzip, gzip, gzip, gzip"]
        status = "302 Found" if redirected else "200 OK"
        evil = Evil(response(packed, *fields, "Location: /next", status=status))
        async with RawServer(evil) as server, angelia.ClientSession() as session:
            error = await failure(session, server.url)
            assert isinstance(error, angelia.ClientPayloadError)
            assert await content(session, server.url) == CANARY

    async def test_five(self) -> None:
        """Five are decoded, whatever the case of their names."""
        packed = b"x"
        for _ in range(5):
            packed = gzip.compress(packed)
        evil = Evil(response(packed, "content-encoding: GZIP, gzip, X-Gzip, gZip, gzip"))
        async with RawServer(evil) as server, angelia.ClientSession() as session:
            assert await content(session, server.url) == b"x"


class TestBrokenCodings:
    @pytest.mark.parametrize("kind", [kind for kind in CODINGS if kind != "twice"])
    @pytest.mark.parametrize("piece", [None, 7])
    async def test_truncated(self, kind: str, piece: int | None) -> None:
        """A stream that lacks its end is an error, though its framing is whole."""
        field, packed = coded(kind, b"some text" * 100)
        evil = Evil(response(packed[:-1], field), piece=piece)
        async with RawServer(evil) as server, angelia.ClientSession() as session:
            error = await failure(session, server.url)
            assert isinstance(error, angelia.ClientPayloadError)
            assert await content(session, server.url) == CANARY

    @pytest.mark.parametrize("kind", [kind for kind in CODINGS if kind != "twice"])
    @pytest.mark.parametrize("piece", [None, 7])
    async def test_trailing_data(self, kind: str, piece: int | None) -> None:
        """What stands behind the end of a stream is never content."""
        field, packed = coded(kind, b"some text" * 100)
        evil = Evil(response(packed + b"EVIL" * 10, field), piece=piece)
        async with RawServer(evil) as server, angelia.ClientSession() as session:
            try:
                async with session.get(server.url) as resp:
                    received = await resp.read()
            except angelia.ClientPayloadError:
                pass
            else:
                assert received == b"some text" * 100
            assert await content(session, server.url) == CANARY

    @pytest.mark.parametrize("kind", [kind for kind in CODINGS if kind != "twice"])
    async def test_noise(self, kind: str) -> None:
        """Octets that are no such stream are an error; it says nothing of them."""
        field, _ = coded(kind, b"")
        evil = Evil(response(b"\xff\x1b[31m\xfe" * 1000, field))
        async with RawServer(evil) as server, angelia.ClientSession() as session:
            error = await failure(session, server.url)
            assert isinstance(error, angelia.ClientPayloadError)
            assert str(error).isprintable()
            assert len(str(error)) < 500

    @pytest.mark.parametrize("unit", [gzip.compress(b""), gzip.compress(b"x")])
    async def test_many_members(self, unit: bytes) -> None:
        """RFC 1952 §2.2: members add up, each costs the same, and there is an end to it."""
        calls = []
        for count in (1_000, 9_000, 200_000):
            evil = Evil(response(unit * count, "Content-Encoding: gzip"))
            async with RawServer(evil) as server, angelia.ClientSession() as session:
                with counted() as work:
                    if count < 10_000:
                        assert len(await content(session, server.url)) in (0, count)
                    else:
                        error = await failure(session, server.url)
                        assert isinstance(error, angelia.ClientPayloadError)
                calls.append(work.calls)
        # Nine times the members; quadratic would be 81 times the calls.
        assert calls[1] < 18 * calls[0]
        # Its end is at 10,000 members, the rest is not looked at.
        assert calls[2] < 2 * calls[1]

    async def test_empty_blocks(self) -> None:
        """Deflate blocks with nothing in them are read to their end, and no further."""
        made = zlib.compressobj(9, zlib.DEFLATED, -15)
        blocks = b"".join(made.flush(zlib.Z_SYNC_FLUSH) for _ in range(100_000))
        evil = Evil(
            response(b"\x00\x00\x00\xff\xff" * 100_000 + blocks, "Content-Encoding: deflate")
        )
        async with RawServer(evil) as server, angelia.ClientSession() as session:
            with counted(is_decoding) as work:
                assert isinstance(await failure(session, server.url), angelia.ClientPayloadError)
            # Each call takes some kilobytes; one for each block would be 100,000 and more.
            assert 0 < work.chosen < 10_000


HEAD = "Content-Type: multipart/mixed; boundary=B"


class TestMultipart:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"--",
            b"--B",
            b"--B\r\n",
            b"--B\r\nX: y",
            b"--B\r\nX: y\r\n\r\n",
            b"--B\r\nX: y\r\n\r\nabc",
            b"--B\r\nX: y\r\n\r\nabc\r\n--",
            b"--B\r\nX: y\r\n\r\nabc\r\n--B",
            b"--B\r\nContent-Length: 2\r\n\r\nabc\r\n--B--",
            b"--B\r\nContent-Length: +3\r\n\r\nabc\r\n--B--",
            b"--B\r\nContent-Transfer-Encoding: base64\r\n\r\nabc",
            b"--B\r\n" + b"X: y\r\n" * 10_000 + b"\r\nabc\r\n--B--",
            b"--B\r\nX: " + b"y" * 100_000 + b"\r\n\r\nabc\r\n--B--",
            b"\r\n" * 10_000,
            b"--X\r\n" * 10_000,
        ],
        ids=lambda body: ascii(body[:40]),
    )
    @pytest.mark.parametrize("read", ["read", "release", "read_chunk"])
    async def test_broken(self, body: bytes, read: str) -> None:
        """A broken multipart response ends, with parts or with an error, in its time."""
        async with (
            RawServer(Evil(response(body, HEAD))) as server,
            angelia.ClientSession() as session,
        ):
            async with session.get(server.url) as resp:
                caught = None
                try:
                    await self.parts(resp, read)
                except (ValueError, angelia.ClientError) as error:
                    caught = error
                assert str(caught).isprintable()
                assert len(str(caught)) < 500
            assert await content(session, server.url) == CANARY

    async def parts(self, resp: angelia.ClientResponse, read: str) -> None:
        reader = angelia.MultipartReader.from_response(resp)
        for count in itertools.count():
            assert count < 10
            part = await reader.next()
            if part is None:
                return
            assert isinstance(part, angelia.BodyPartReader)
            if read == "read_chunk":
                while await part.read_chunk():
                    pass
            else:
                await getattr(part, read)()

    async def test_bomb_in_a_part(self) -> None:
        """A part's own coding is bounded by `max_size` as the part is."""
        packed = gzip.compress(bytes(BOMB_SIZE))
        body = b"--B\r\nContent-Encoding: gzip\r\n\r\n" + packed + b"\r\n--B--\r\n"
        async with (
            RawServer(Evil(response(body, HEAD))) as server,
            angelia.ClientSession() as session,
        ):
            with little_memory():
                async with session.get(server.url) as resp:
                    part = await angelia.MultipartReader.from_response(resp).next()
                    assert isinstance(part, angelia.BodyPartReader)
                    async for piece in part.decode_iter(await part.read()):
                        assert len(piece) <= 1024 * 1024
