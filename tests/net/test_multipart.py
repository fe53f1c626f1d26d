"""Multipart bodies: written, read back, cut anywhere, and hostile."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import pathlib
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from angelia.errors import ClientPayloadError, MultipartError, PartTooLargeError
from angelia.net.body_part import BodyPartReaderPayload
from angelia.net.multipart import (
    MAX_NESTING,
    BodyPartReader,
    MultipartReader,
    MultipartResponseWrapper,
    MultipartWriter,
)
from angelia.net.payload import BytesPayload, StringPayload, get_payload
from angelia.net.streams import StreamReader
from payload_kit import KeepingWriter, written

MIXED = {"Content-Type": "multipart/mixed; boundary=b"}
FORM = {"Content-Type": "multipart/form-data; boundary=b"}


class Pieces:
    """A stream of given pieces, each of which comes in a turn of its own."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = [piece for piece in pieces if piece]

    async def read(self, n: int = -1, /) -> bytes:
        await asyncio.sleep(0)
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if 0 <= n < len(piece):
            self.pieces.insert(0, piece[n:])
            piece = piece[:n]
        return piece


class Endless:
    """A stream that repeats a piece, for ever, or half a million octets if there is a `last`."""

    def __init__(self, begin: bytes, piece: bytes) -> None:
        self.next = begin
        self.piece = piece
        self.last: bytes | None = None
        self.total = 0

    async def read(self, n: int = -1, /) -> bytes:
        data, self.next = self.next, self.piece
        self.total += len(data)
        if self.last is not None and self.total > 500_000:
            return self.last
        return data


async def cancelled_first(turns: int, call: Any) -> Any:
    """The result of a call that is cancelled after some turns, and made again."""
    task = asyncio.create_task(call())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return await call()


class NoFlow:
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


def one_part(content: bytes, headers: str = "", **options: Any) -> MultipartReader:
    wire = b"--b\r\n" + headers.encode() + b"\r\n" + content + b"\r\n--b--"
    return MultipartReader(MIXED, wire, **options)


async def first(reader: MultipartReader) -> BodyPartReader:
    part = await reader.next()
    assert isinstance(part, BodyPartReader)
    return part


# --- reading ------------------------------------------------------------------------------------


class TestParts:
    """Which part comes next."""

    WIRE = (
        b"preamble\r\n--b\r\nA: 1\r\n\r\none\r\n--b\r\n\r\n\r\n--b  \r\nB: 2\r\n\r\nth\r\n\r\nree"
        b"\r\n--b--\r\nepilogue"
    )
    PARTS: tuple[tuple[dict[str, str], bytes], ...] = (
        ({"A": "1"}, b"one"),
        ({}, b""),
        ({"B": "2"}, b"th\r\n\r\nree"),
    )

    async def read_all(self, content: Any) -> list[tuple[dict[str, str], bytes]]:
        reader = MultipartReader(MIXED, content)
        parts = []
        async for part in reader:
            assert isinstance(part, BodyPartReader)
            parts.append((dict(part.headers), await part.read()))
            assert part.at_eof()
            assert await part.read() == b""
        assert reader.at_eof()
        assert await reader.next() is None
        return parts

    async def test_cut_anywhere(self) -> None:
        """A boundary is found wherever the content is cut."""
        wire = self.WIRE
        assert await self.read_all(wire) == [*self.PARTS]
        assert await self.read_all(Pieces(*(wire[i : i + 1] for i in range(len(wire))))) == [
            *self.PARTS
        ]
        for i in range(1, len(wire)):
            assert await self.read_all(Pieces(wire[:i], wire[i:])) == [*self.PARTS]

    async def test_from_a_stream(self) -> None:
        """A `StreamReader` is read as it comes."""
        stream = StreamReader(NoFlow(), 100)
        reading = asyncio.create_task(self.read_all(stream))
        for i in range(0, len(self.WIRE), 7):
            await asyncio.sleep(0)
            stream.feed_data(self.WIRE[i : i + 7])
        stream.feed_eof()
        assert await reading == [*self.PARTS]

    async def test_error_of_the_stream(self) -> None:
        """An error of the stream reaches the reader of the part."""
        stream = StreamReader(NoFlow(), 100)
        stream.feed_data(b"--b\r\n\r\nabc")
        stream.set_exception(OSError("gone"))
        part = await first(MultipartReader(MIXED, stream))
        assert await part.read_chunk() == b"abc"
        with pytest.raises(OSError, match="gone"):
            await part.read()

    @pytest.mark.parametrize("consumed", [0, 1, 2])
    async def test_unread_parts_are_skipped(self, consumed: int) -> None:
        """What was not read of a part is not read with the next."""
        reader = MultipartReader(MIXED, Pieces(self.WIRE[:30], self.WIRE[30:]))
        part = await first(reader)
        if consumed:
            assert await part.read_chunk(consumed) == b"one"[:consumed]
        assert await (await first(reader)).read() == b""
        assert await (await first(reader)).read() == b"th\r\n\r\nree"
        assert await reader.next() is None
        assert await part.read() == b""

    async def test_release(self) -> None:
        """Everything can be skipped."""
        reader = MultipartReader(MIXED, self.WIRE)
        part = await first(reader)
        await part.release()
        assert part.at_eof()
        await reader.release()
        assert reader.at_eof()
        assert await reader.next() is None

    @pytest.mark.parametrize("turns", range(12))
    async def test_cancelled(self, turns: int) -> None:
        """A reading that is cancelled loses nothing."""
        wire = self.WIRE
        reader = MultipartReader(MIXED, Pieces(*(wire[i : i + 3] for i in range(0, len(wire), 3))))
        contents = []
        while (part := await cancelled_first(turns, reader.next)) is not None:
            contents.append(await cancelled_first(turns, part.read))
        assert contents == [content for _, content in self.PARTS]

    @pytest.mark.parametrize("turns", range(8))
    @pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "binary"])
    async def test_cancelled_within_a_part(self, turns: int, encoding: str) -> None:
        """Nor does one of a line, or of a chunk that is gathered for its decoding."""
        content = b"QUJD\nQUJDREVG\nQUJDRA=="
        wire = b"--b\r\nContent-Transfer-Encoding: %b\r\n\r\n%b\r\n--b--" % (
            encoding.encode(),
            content,
        )
        for read in ("readline", "read_chunk"):
            pieces = Pieces(*(wire[i : i + 1] for i in range(len(wire))))
            part = await first(MultipartReader(MIXED, pieces))
            taken = b""
            while not part.at_eof():
                taken += await cancelled_first(turns, getattr(part, read))
            if read == "read_chunk" and encoding == "base64":
                assert taken == content.replace(b"\n", b"")
            else:
                assert taken == content

    async def test_lines_after_chunks(self) -> None:
        """What a chunk gave back is the begin of the next line."""
        headers = "Content-Transfer-Encoding: base64\r\n"
        part = await first(one_part(b"QUJDRE\nVG\n", headers))
        assert await part.read_chunk(6) == b"QUJD"
        assert await part.readline() == b"RE\n"
        assert await part.readline() == b"VG\n"

    async def test_nothing_in_it(self) -> None:
        """A close delimiter alone is multipart without parts."""
        assert await self.read_parts(b"--b--\r\n") == []

    async def read_parts(self, wire: bytes) -> list[Any]:
        return [part async for part in MultipartReader(MIXED, wire)]

    @pytest.mark.parametrize(
        "wire",
        [
            b"",
            b"no boundary",
            b"--b",
            b"--b\r\n",
            b"--b\r\nA: 1",
            b"--b\r\n\r\n",
            b"--b\r\n\r\nabc",
            b"--b\r\n\r\nabc\r\n--b",
            b"--b\r\n\r\nabc\r\n--bx\r\n\r\n--b--",
            b"--b\n\r\nabc\r\n--b--",
            b"--b\r\nA\r\n\r\nabc\r\n--b--",
            b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\nabc",
        ],
    )
    async def test_malformed(self, wire: bytes) -> None:
        """What is malformed or truncated is an error, each time it is asked for; never a hang."""
        for content in (wire, Pieces(*(wire[i : i + 1] for i in range(len(wire))))):
            reader = MultipartReader(MIXED, content)
            for _ in range(2):
                with pytest.raises(MultipartError) as caught:
                    await self.drain(reader)
                assert isinstance(caught.value, ClientPayloadError)
                assert isinstance(caught.value, ValueError)

    async def drain(self, reader: MultipartReader) -> None:
        async for part in reader:
            assert isinstance(part, BodyPartReader)
            while await part.read_chunk(2):
                pass


class TestConstruction:
    """What a reader is made of."""

    @pytest.mark.parametrize(
        "content_type",
        [
            "",
            "text/plain; boundary=b",
            "multipart/mixed",
            "multipart/mixed; boundary=",
            "multipart/mixed; boundary=" + 71 * "b",
            'multipart/mixed; boundary="b\x00"',
            "multipart/mixed; boundary=é",
        ],
    )
    def test_refused(self, content_type: str) -> None:
        """No multipart, no boundary, or one that cannot be: a ValueError."""
        with pytest.raises(ValueError, match=r"boundary|multipart"):
            MultipartReader({"content-type": content_type}, b"")

    @pytest.mark.parametrize(
        ("content_type", "boundary"),
        [
            ("multipart/mixed; boundary=" + 70 * "b", 70 * b"b"),
            ('Multipart/Related; type=a ; Boundary="a b:\'"; x', b"a b:'"),
            ("multipart/mixed;boundary=a:b", b"a:b"),
            ('multipart/mixed; a="; boundary=x"; boundary=y', b"y"),
        ],
    )
    async def test_accepted(self, content_type: str, boundary: bytes) -> None:
        """Seventy characters; quoted or not; whatever other parameters there are."""
        reader = MultipartReader(
            {"Content-Type": content_type}, b"--%b\r\n\r\nx\r\n--%b--" % (boundary, boundary)
        )
        assert await (await first(reader)).text() == "x"

    async def test_part_by_hand(self) -> None:
        """A part can be read from where its content begins."""
        part = BodyPartReader(b"--b", CIMultiDict(), Pieces(b"one\r\n-", b"-b\r\n"))
        assert await part.read() == b"one"
        assert part.at_eof()

    def test_repr(self) -> None:
        """`repr` tells the state."""
        reader = MultipartReader(MIXED, b"")
        assert repr(reader) == "<MultipartReader multipart/mixed open>"
        part = BodyPartReader(b"--b", CIMultiDict(), Pieces())
        assert repr(part) == "<BodyPartReader 0 bytes received>"


class TestLimits:
    """What a peer may send."""

    async def test_headers(self) -> None:
        """Number and size of a part's headers obey the limits."""
        with pytest.raises(MultipartError, match="fields"):
            await one_part(b"", "A: 1\r\n" * 129).next()
        with pytest.raises(MultipartError, match="longer"):
            await one_part(b"", f"A: {'x' * 8190}\r\n").next()
        assert await one_part(b"", "A: 1\r\n" * 3, max_headers=3).next()
        with pytest.raises(MultipartError):
            await one_part(b"", "A: 1\r\n" * 4, max_headers=3).next()
        with pytest.raises(MultipartError):
            await one_part(b"", "A: 12345678\r\n", max_field_size=10).next()

    async def test_endless_head(self) -> None:
        """A head without end is refused before it fills the memory."""
        content = Endless(b"--b\r\n", b"A: " + b"x" * 5000 + b"\r\n")
        with pytest.raises(MultipartError):
            await MultipartReader(MIXED, content).next()
        assert content.total < 200_000

    @pytest.mark.parametrize("read", ["read", "text", "json", "form", "readline", "next"])
    async def test_client_max_size(self, read: str) -> None:
        """What is gathered as a whole is bounded while it comes."""
        content = Endless(b"--b\r\n\r\n", b"x" * 1000)
        part = await first(MultipartReader(MIXED, content, client_max_size=5000))
        with pytest.raises(PartTooLargeError) as caught:
            await getattr(part, read)()
        assert caught.value.max_size == 5000
        assert caught.value.actual_size > 5000
        assert content.total < 100_000

    async def test_max_size_error_cls(self) -> None:
        """The error is what its user wants, made of limit and size."""

        class Refused(Exception):
            def __init__(self, max_size: int, actual_size: int) -> None:
                super().__init__(f"{actual_size} > {max_size}")

        part = await first(one_part(b"12345", client_max_size=4, max_size_error_cls=Refused))
        with pytest.raises(Refused, match="5 > 4"):
            await part.read()

    async def test_decompressed_size(self) -> None:
        """The bound holds for what a compressed part becomes too."""
        bomb = gzip.compress(bytes(10_000_000))
        headers = "Content-Encoding: gzip\r\n"
        part = await first(one_part(bomb, headers, client_max_size=100_000))
        with pytest.raises(PartTooLargeError) as caught:
            await part.read(decode=True)
        assert caught.value.actual_size < 1_000_000
        part = await first(one_part(b"", headers, client_max_size=100_000))
        with pytest.raises(PartTooLargeError):
            part.decode(bomb)

    async def test_pieces_of_decompressed_content(self) -> None:
        """Decompression goes in steps of bounded size."""
        part = BodyPartReader(
            b"--b",
            CIMultiDict({"Content-Encoding": "deflate"}),
            Pieces(zlib.compress(bytes(1_000_000)), b"\r\n--b--"),
            max_decompress_size=1000,
        )
        sizes = [len(piece) async for piece in part.decode_iter(await part.read())]
        assert sum(sizes) == 1_000_000
        assert max(sizes) <= 1000

    async def test_streaming_is_not_bounded(self) -> None:
        """What is read in chunks is not gathered, and may be of any size."""
        part = await first(one_part(b"x" * 100_000, client_max_size=10))
        total = 0
        while chunk := await part.read_chunk(1000):
            assert len(chunk) <= 1000
            total += len(chunk)
        assert total == 100_000

    def nested(self, depth: int) -> bytes:
        wire = b"x"
        for level in reversed(range(depth)):
            boundary = f"b{level:03}".encode()
            head = b""
            if level < depth - 1:
                head = f"Content-Type: multipart/mixed; boundary=b{level + 1:03}\r\n".encode()
            wire = b"--%b\r\n%b\r\n%b\r\n--%b--" % (boundary, head, wire, boundary)
        return wire

    async def test_nesting(self) -> None:
        """Multipart in multipart is read down to a limit, and beyond it fails cleanly."""

        async def descend(depth: int) -> Any:
            headers = {"Content-Type": "multipart/mixed; boundary=b000"}
            item: Any = MultipartReader(headers, self.nested(depth))
            while isinstance(item, MultipartReader):
                item = await item.next()
            return await item.text()

        assert await descend(MAX_NESTING + 1) == "x"
        with pytest.raises(MultipartError, match="nested"):
            await descend(MAX_NESTING + 2)
        with pytest.raises(MultipartError, match="nested"):
            await descend(400)

    @pytest.mark.parametrize("boundary", ["", "; boundary=" + 71 * "b", "; boundary="])
    async def test_nested_without_boundary(self, boundary: str) -> None:
        """Nested multipart that cannot be read is malformed content."""
        reader = one_part(b"x", f"Content-Type: multipart/mixed{boundary}\r\n")
        with pytest.raises(MultipartError, match="boundary"):
            await reader.next()


class TestNested:
    """Multipart in multipart."""

    WIRE = (
        b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n"
        b"in\r\n--c\r\n\r\none\r\n--c\r\n\r\ntwo\r\n--c--\r\nout\r\n"
        b"--b\r\n\r\nthree\r\n--b--"
    )

    async def flatten(self, reader: MultipartReader) -> list[Any]:
        return [
            await self.flatten(part) if isinstance(part, MultipartReader) else await part.read()
            async for part in reader
        ]

    async def test_cut_anywhere(self) -> None:
        """Both levels are found wherever the content is cut."""
        for i in range(len(self.WIRE)):
            reader = MultipartReader(MIXED, Pieces(self.WIRE[:i], self.WIRE[i:]))
            assert await self.flatten(reader) == [[b"one", b"two"], b"three"]

    @pytest.mark.parametrize("taken", range(4))
    async def test_skipped(self, taken: int) -> None:
        """A nested reader that was not read to its end is skipped with its parts."""
        reader = MultipartReader(MIXED, self.WIRE)
        inner = await reader.next()
        assert isinstance(inner, MultipartReader)
        for _ in range(taken):
            await inner.next()
        if taken == 1:
            await inner.release()
            assert inner.at_eof()
        assert await (await first(reader)).text() == "three"

    async def test_own_class(self) -> None:
        """Nested multipart is read by the same class, or by one that is named."""

        class Inner(MultipartReader):
            pass

        class Outer(MultipartReader):
            multipart_reader_cls = Inner

        assert type(await Outer(MIXED, self.WIRE).next()) is Inner
        assert type(await Inner(MIXED, self.WIRE).next()) is Inner


class TestPartContent:
    """Ways to read one part."""

    async def test_text(self) -> None:
        """By the part's charset, else by UTF-8, unless another is given."""
        part = await first(one_part("é".encode()))
        assert await part.text() == "é"
        part = await first(one_part(b"\xe9", "Content-Type: text/plain; charset=latin-1\r\n"))
        assert part.get_charset("x") == "latin-1"
        assert await part.text() == "é"
        part = await first(one_part(b"\xe9", "Content-Type: text/plain; charset=utf-8\r\n"))
        assert await part.text(encoding="latin-1") == "é"
        assert await part.text() == ""

    async def test_wrong_text(self) -> None:
        """An unknown charset and one that does not fit are told apart."""
        with pytest.raises(UnicodeDecodeError):
            await (await first(one_part(b"\xe9"))).text()
        with pytest.raises(LookupError):
            await (await first(one_part(b"a"))).text(encoding="no-such")

    async def test_json(self) -> None:
        """JSON, or None without content; ValueError for what is none."""
        assert await (await first(one_part(b'{"a": 1}'))).json() == {"a": 1}
        assert await (await first(one_part(b'"\xe9"'))).json(encoding="latin-1") == "é"
        assert await (await first(one_part(b""))).json() is None
        with pytest.raises(ValueError, match="Expecting"):
            await (await first(one_part(b"no"))).json()

    async def test_form(self) -> None:
        """An urlencoded form, blank values too."""
        part = await first(one_part(b"a=1&a=%C3%A9&b=\r\n"))
        assert await part.form() == [("a", "1"), ("a", "é"), ("b", "")]
        part = await first(one_part(b"a=%E9"))
        assert await part.form(encoding="latin-1") == [("a", "é")]

    async def test_iteration(self) -> None:
        """A part iterates over its content as one item."""
        assert [item async for item in await first(one_part(b"abc"))] == [b"abc"]

    @pytest.mark.parametrize("size", [0, -1])
    async def test_chunk_size(self, size: int) -> None:
        """A chunk has a size."""
        part = await first(one_part(b"abc"))
        with pytest.raises(ValueError, match="positive"):
            await part.read_chunk(size)

    async def test_lines_and_chunks(self) -> None:
        """Lines, chunks and the rest can be read in any order."""
        content = b"one\ntwo\r\nthree\nfour"
        for cut in range(1, len(content)):
            wire = b"--b\r\n\r\n" + content + b"\r\n--b--"
            part = await first(MultipartReader(MIXED, Pieces(wire[: cut + 7], wire[cut + 7 :])))
            assert await part.readline() == b"one\n"
            chunk = await part.read_chunk(2)
            assert b"two".startswith(chunk)
            assert not part.at_eof()
            assert chunk + await part.readline() == b"two\r\n"
            assert await part.readline() == b"three\n"
            assert await part.read() == b"four"
            assert await part.readline() == b""
            assert part.at_eof()

    async def test_many_lines(self) -> None:
        """Lines cost no more than their octets."""
        part = await first(one_part(b"\n" * 50_000))
        count = 0
        while await part.readline():
            count += 1
        assert count == 50_000

    @pytest.mark.parametrize("length", ["0", "3", "003"])
    async def test_content_length(self, length: str) -> None:
        """A length that fits changes nothing."""
        content = b"x" * int(length)
        part = await first(one_part(content, f"Content-Length: {length}\r\n"))
        assert await part.read() == content

    @pytest.mark.parametrize("length", ["+5", "-1", "5 5", "0x5", "٣", "5_0", "", "9" * 30])
    async def test_content_length_is_ascii_digits(self, length: str) -> None:
        """A length is of ASCII digits, in form data too."""
        with pytest.raises(MultipartError, match="Content-Length"):
            await one_part(b"12345", f"Content-Length: {length}\r\n").next()
        wire = b"--b\r\nContent-Length: %b\r\n\r\n12345\r\n--b--" % length.encode()
        with pytest.raises(MultipartError, match="Content-Length"):
            await MultipartReader(FORM, wire).next()

    async def test_two_lengths(self) -> None:
        """A length that the delimiter contradicts is refused; in form data it is ignored."""
        for length in (4, 6):
            part = await first(one_part(b"12345", f"Content-Length: {length}\r\n"))
            with pytest.raises(MultipartError, match="Content-Length"):
                await part.read()
            wire = b"--b\r\nContent-Length: %d\r\n\r\n12345\r\n--b--" % length
            assert await (await first(MultipartReader(FORM, wire))).read() == b"12345"


class TestDisposition:
    """Names of fields and files."""

    @pytest.mark.parametrize(
        ("value", "name", "filename"),
        [
            ('form-data; name="a"', "a", None),
            ('form-data; name="a"; filename="b.txt"', "a", "b.txt"),
            ("form-data; name=a; filename*=utf-8''%C3%A9", "a", "é"),
            ('form-data; name="a;b"; filename="c;d";', "a;b", "c;d"),
            ('form-data; name=""; filename=""', "", ""),
        ],
    )
    async def test_names(self, value: str, name: str, filename: str | None) -> None:
        """They are those of Content-Disposition."""
        part = await first(one_part(b"", f"Content-Disposition: {value}\r\n"))
        assert part.name == name
        assert part.filename == filename

    async def test_no_disposition(self) -> None:
        """A part without the header has neither."""
        part = await first(one_part(b""))
        assert (part.name, part.filename) == (None, None)

    async def test_charset_field(self) -> None:
        """RFC 7578 §4.6: a first field ``_charset_`` names the charset of the others."""
        wire = (
            b'--b\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\nlatin-1\r\n'
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xe9\r\n--b--'
        )
        part = await first(
            MultipartReader(FORM, Pieces(*(wire[i : i + 1] for i in range(len(wire)))))
        )
        assert part.name == "a"
        assert part.get_charset("utf-8") == "latin-1"
        assert await part.text() == "é"
        assert (await first(MultipartReader(MIXED, wire))).name == "_charset_"
        with pytest.raises(MultipartError, match="_charset_"):
            await MultipartReader(FORM, wire.replace(b"latin-1", b"x" * 100)).next()


class TestDecoding:
    """Transfer encodings and content codings of parts."""

    CONTENT = bytes(range(256)) * 3

    @pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 57, 76, 77, 78, 79, 1000, 8192])
    @pytest.mark.parametrize("lines", ["none", "CRLF", "LF", "odd"])
    async def test_base64(self, size: int, lines: str) -> None:
        """Base64 is decoded right for every size of reads, however its lines are broken."""
        encoded = base64.b64encode(self.CONTENT)
        if lines == "odd":
            encoded = b" \r\n".join(encoded[i : i + 5] for i in range(0, len(encoded), 5)) + b"\r\n"
        elif lines != "none":
            encoded = base64.encodebytes(self.CONTENT)
            encoded = encoded if lines == "LF" else encoded.replace(b"\n", b"\r\n")
        headers = "Content-Transfer-Encoding: Base64\r\n"
        part = await first(one_part(encoded, headers))
        assert await part.read(decode=True) == self.CONTENT
        part = await first(one_part(encoded, headers))
        decoded = b""
        while chunk := await part.read_chunk(size):
            assert len(chunk) <= max(size, 4)
            decoded += part.decode(chunk)
        assert decoded == self.CONTENT
        assert part.at_eof()

    @pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 57, 76, 77, 78, 1000])
    async def test_quoted_printable(self, size: int) -> None:
        """Quoted-printable is decoded right for every size of reads."""
        text = b"=C3=A9 =\r\n=3D= \r\n x=\r\n" + b"=20=\r\n" * 100 + b"end ="
        headers = "Content-Transfer-Encoding: quoted-printable\r\n"
        part = await first(one_part(text, headers))
        whole = await part.read(decode=True)
        assert whole.startswith("é ".encode() + b"=")
        part = await first(one_part(text, headers))
        decoded = b""
        while chunk := await part.read_chunk(size):
            assert len(chunk) <= max(size, 3)
            decoded += part.decode(chunk)
        assert decoded == whole

    @pytest.mark.parametrize("encoding", ["binary", "8bit", "7bit", "Binary", ""])
    async def test_plain(self, encoding: str) -> None:
        """Some encodings change nothing."""
        headers = f"Content-Transfer-Encoding: {encoding}\r\n"
        part = await first(one_part(self.CONTENT, headers))
        assert await part.read(decode=True) == self.CONTENT

    async def test_unknown(self) -> None:
        """Encodings that are not known are an error when decoding is asked for, and only then."""
        for name in ("Content-Transfer-Encoding", "Content-Encoding"):
            part = await first(one_part(b"abc", f"{name}: rot13\r\n"))
            assert await part.read_chunk(2) == b"ab"
            with pytest.raises(RuntimeError, match="rot13"):
                await part.read(decode=True)

    @pytest.mark.parametrize("content", [b"A", b"QUJ", b"QQ==QQ==", b"=", b"===="])
    async def test_not_base64(self, content: bytes) -> None:
        """What is cut off or goes on behind its padding is an error, not less data."""
        part = await first(one_part(content, "Content-Transfer-Encoding: base64\r\n"))
        with pytest.raises(MultipartError, match="base64"):
            await part.read(decode=True)

    async def test_long_run_of_nothing(self) -> None:
        """Octets that mean nothing in base64 are not gathered."""
        content = Endless(b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\nQ", b"\r\n" * 5000)
        part = await first(MultipartReader(MIXED, content))
        content.last = b"UFB\r\n--b--"
        assert await part.read_chunk(100) == b"QUFB"

    @pytest.mark.parametrize(
        ("coding", "compress"),
        [("gzip", gzip.compress), ("deflate", zlib.compress), ("GZIP", gzip.compress)],
    )
    async def test_content_coding(self, coding: str, compress: Any) -> None:
        """A content coding is undone, under a transfer encoding too."""
        part = await first(one_part(compress(self.CONTENT), f"Content-Encoding: {coding}\r\n"))
        assert await part.read(decode=True) == self.CONTENT
        part = await first(
            one_part(
                base64.encodebytes(compress(self.CONTENT)),
                f"Content-Encoding: {coding}\r\nContent-Transfer-Encoding: base64\r\n",
            )
        )
        assert await part.read(decode=True) == self.CONTENT

    @pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"abc" * 100)[:-3]])
    async def test_broken_coding(self, content: bytes) -> None:
        """Coded content that is broken or cut off is an error."""
        part = await first(one_part(content, "Content-Encoding: gzip\r\n"))
        with pytest.raises(MultipartError, match="gzip"):
            await part.read(decode=True)


class FakeResponse:
    """A response as a reader sees it."""

    def __init__(self, wire: bytes, *, awaitable: bool = False) -> None:
        self.headers = CIMultiDictProxy(CIMultiDict(MIXED))
        self.content = Pieces(wire)
        self.released = 0
        self._awaitable = awaitable

    def release(self) -> Any:
        self.released += 1
        return asyncio.sleep(0) if self._awaitable else None


@pytest.mark.parametrize("awaitable", [True, False])
async def test_from_response(awaitable: bool) -> None:
    """A reader of a response releases it behind the last part."""
    response = FakeResponse(TestNested.WIRE, awaitable=awaitable)
    reader = MultipartReader.from_response(response)
    assert isinstance(reader, MultipartResponseWrapper)
    parts = []
    async for part in reader:
        assert not response.released
        parts.append(type(part))
    assert parts == [MultipartReader, BodyPartReader]
    assert response.released == 1
    assert reader.at_eof()


# --- writing ------------------------------------------------------------------------------------


async def async_source() -> AsyncIterator[bytes]:
    yield b"one"
    yield b"two"


class TestWriter:
    """MultipartWriter."""

    async def test_wire(self) -> None:
        """Delimiters, heads and contents; the size is known, and the body can be written again."""
        with MultipartWriter("mixed", "b") as writer:
            writer.append("text")
            writer.append(b"bytes", {"X": "1"})
            writer.append_json({"a": 1})
            writer.append_form({"a": "é"})
            writer.append_form([("a", "1"), ("a", "2")], {"Y": "2"})
        wire = (
            b"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 4\r\n\r\ntext\r\n"
            b"--b\r\nContent-Type: application/octet-stream\r\nX: 1\r\nContent-Length: 5\r\n\r\n"
            b"bytes\r\n"
            b"--b\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n"
            b'{"a": 1}\r\n'
            b"--b\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 8\r\n\r\n"
            b"a=%C3%A9\r\n"
            b"--b\r\nContent-Type: application/x-www-form-urlencoded\r\nY: 2\r\n"
            b"Content-Length: 7\r\n\r\na=1&a=2\r\n"
            b"--b--\r\n"
        )
        assert writer.size == len(wire)
        for _ in range(2):
            assert await written(writer) == wire
            assert await written(writer, 100) == wire[:100]
            assert await writer.as_bytes() == wire
            assert writer.decode() == wire.decode()
        assert len(writer) == 5
        assert [part.payload.size for part in writer] == [4, 5, 8, 8, 7]
        assert writer.reusable
        assert not writer.consumed
        assert writer.autoclose
        assert writer.content_type == "multipart/mixed; boundary=b"
        assert writer.boundary == "b"

    async def test_empty(self) -> None:
        """Without parts there is the close delimiter, and the writer is still true."""
        writer = MultipartWriter(boundary="b")
        assert bool(writer)
        assert len(writer) == 0
        assert writer.size == 7
        assert await written(writer) == b"--b--\r\n"
        keeping = KeepingWriter()
        await writer.write(keeping, close_boundary=False)
        assert keeping.written == b""

    def test_boundary(self) -> None:
        """Random by default, quoted only when needed, refused when it cannot be one."""
        assert MultipartWriter().boundary != MultipartWriter().boundary
        assert MultipartWriter(boundary="a:b").content_type == ('multipart/mixed; boundary="a:b"')
        for boundary in ("", "é", "a\r\n", "b" * 71):
            with pytest.raises(ValueError, match="boundary"):
                MultipartWriter(boundary=boundary)
        with pytest.raises(ValueError, match="subtype"):
            MultipartWriter("mixed\r\nX: 1")

    async def test_nested(self) -> None:
        """A writer is a part like another."""
        writer = MultipartWriter()
        inner = MultipartWriter("related")
        inner.append("one")
        inner.append("two")
        writer.append(inner)
        writer.append("three")
        wire = await writer.as_bytes()
        assert len(wire) == writer.size
        reader = MultipartReader(writer.headers, wire)
        nested = await reader.next()
        assert isinstance(nested, MultipartReader)
        assert await (await first(nested)).text() == "one"
        assert await (await first(nested)).text() == "two"
        assert await (await first(reader)).text() == "three"

    async def test_unknown_size(self) -> None:
        """A part without a size makes the whole without one; a spent part makes it spent."""
        writer = MultipartWriter(boundary="b")
        writer.append(async_source())
        assert writer.size is None
        assert not writer.autoclose
        assert b"\r\n\r\nonetwo\r\n--b--\r\n" in await written(writer)
        assert writer.consumed
        assert not writer.reusable
        with pytest.raises(ClientPayloadError):
            await written(writer)
        with pytest.raises(TypeError):
            writer.decode()

    @pytest.mark.parametrize("transfer", ["", "base64", "quoted-printable", "binary", "8bit"])
    @pytest.mark.parametrize("coding", ["", "gzip", "deflate", "identity"])
    async def test_encodings(self, transfer: str, coding: str) -> None:
        """What a part's headers ask for is done, in lines that fit, and read back."""
        content = bytes(range(256)) * 700 + b" \r\n= "
        pieces = [content[i : i + 1001] for i in range(0, len(content), 1001)]

        async def source() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        for body in (content, source()):
            headers = CIMultiDict({"Content-Transfer-Encoding": transfer} if transfer else {})
            if coding:
                headers["Content-Encoding"] = coding
            writer = MultipartWriter(boundary="b")
            writer.append(body, headers)
            if transfer in ("base64", "quoted-printable") or coding in ("gzip", "deflate"):
                assert writer.size is None
                with pytest.raises(TypeError):
                    writer.decode()
            wire = await written(writer)
            if transfer in ("base64", "quoted-printable"):
                assert max(map(len, wire.split(b"\r\n"))) <= 76
            part = await first(MultipartReader(writer.headers, wire))
            assert await part.read(decode=True) == content

    @pytest.mark.parametrize("name", ["Content-Encoding", "Content-Transfer-Encoding"])
    def test_unknown_encodings(self, name: str) -> None:
        """An encoding that nobody can undo is refused."""
        with pytest.raises(RuntimeError, match="rot13"):
            MultipartWriter().append("x", {name: "rot13"})

    def test_not_a_body(self) -> None:
        """What no body can be made of is a TypeError."""
        with pytest.raises(TypeError, match="object"):
            MultipartWriter().append(object())

    def test_payload_with_headers(self) -> None:
        """Headers are added to those of a body, which is the part that is returned."""
        payload = StringPayload("x")
        writer = MultipartWriter()
        assert writer.append(payload, {"X": "1"}) is payload
        assert payload.headers["X"] == "1"

    @pytest.mark.parametrize("headers", [{"X": "1\r\nY: 2"}, {"X": "\0"}, {"X Y": "1"}, {"": "1"}])
    async def test_injection(self, headers: dict[str, str]) -> None:
        """What could be read as another header is refused at once, and before the first octet."""
        writer = MultipartWriter()
        with pytest.raises(ValueError, match=r"control|field name"):
            writer.append("x", headers)
        assert len(writer) == 0
        writer.append("x")
        writer.append("y").headers.update(headers)
        keeping = KeepingWriter()
        with pytest.raises(ValueError, match=r"control|field name"):
            await writer.write(keeping)
        assert not keeping.pieces
        with pytest.raises(ValueError, match=r"control|field name"):
            assert writer.size

    async def test_file_that_grows(self, tmp_path: pathlib.Path) -> None:
        """A part is never longer than the size that was announced for it."""
        path = tmp_path / "a.bin"
        path.write_bytes(b"abc")
        with path.open("rb") as file:
            writer = MultipartWriter()
            writer.append(file)
            writer.append("end")
            size = writer.size
            path.write_bytes(b"abcdef")
            assert len(await written(writer)) == size

    async def test_close(self) -> None:
        """Each part is closed, also if closing another fails."""
        closed = []

        class Closing(BytesPayload):
            def __init__(self, error: BaseException | None) -> None:
                super().__init__(b"")
                self.error = error

            async def close(self) -> None:
                closed.append(self.error)
                if self.error is not None:
                    raise self.error

        writer = MultipartWriter()
        for error in (None, OSError("one"), OSError("two"), None):
            writer.append(Closing(error))
        with pytest.raises(OSError, match="one"):
            await writer.close()
        assert len(closed) == 4


class TestFormData:
    """RFC 7578: parts of multipart/form-data."""

    async def test_named(self) -> None:
        """Each part has a name, whatever it was given, and neither length nor encoding."""
        writer = MultipartWriter("form-data", "b")
        writer.append("x", {"Content-Length": "1", "Content-Transfer-Encoding": "binary"})
        writer.append(io.BytesIO(b"y"), {"Content-Disposition": "attachment"})
        writer.append("z", {"Content-Disposition": 'form-data; name="z"'})
        file = io.BytesIO(b"w")
        file.name = "w.txt"
        writer.append(file)
        writer.append("v").set_content_disposition("form-data", name="v", filename="é.txt")
        dispositions = [
            'form-data; name="section-0"',
            'form-data; name="section-1"',
            'form-data; name="z"',
            'form-data; name="section-3"; filename="w.txt"',
            'form-data; name="v"; filename="%C3%A9.txt"',
        ]
        assert [part.payload.headers["Content-Disposition"] for part in writer] == dispositions
        for part in writer:
            assert set(part.payload.headers) == {"Content-Type", "Content-Disposition"}
        assert len(await written(writer)) == writer.size

    @pytest.mark.parametrize(
        ("name", "value"),
        [("Content-Encoding", "gzip"), ("Content-Transfer-Encoding", "base64")],
    )
    def test_encoded(self, name: str, value: str) -> None:
        """An encoding that form data cannot have is refused, not left out in silence."""
        with pytest.raises(ValueError, match=name):
            MultipartWriter("form-data").append("x", {name: value})


class TestForwarding:
    """A received part as a body."""

    @pytest.mark.parametrize(
        "headers", ["", "Content-Transfer-Encoding: base64\r\n", "Content-Encoding: gzip\r\n"]
    )
    async def test_decoded(self, headers: str) -> None:
        """It goes out decoded, once."""
        content = b"x" * 100_000
        encoded = content
        if "base64" in headers:
            encoded = base64.encodebytes(content)
        elif "gzip" in headers:
            encoded = gzip.compress(content)
        disposition = 'Content-Disposition: form-data; name="a"; filename="b"\r\n'
        payload = get_payload(await first(one_part(encoded, headers + disposition)))
        assert type(payload) is BodyPartReaderPayload
        assert payload.headers["Content-Disposition"] == 'attachment; name="a"; filename="b"'
        assert payload.size is None
        with pytest.raises(TypeError):
            payload.decode()
        assert await written(payload) == content
        assert payload.consumed
        with pytest.raises(ClientPayloadError):
            await written(payload)

    async def test_gathered(self) -> None:
        """Or as bytes."""
        payload = get_payload(await first(one_part(b"abc")))
        assert await payload.as_bytes() == b"abc"
        with pytest.raises(ClientPayloadError):
            await payload.as_bytes()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=200), st.booleans()), max_size=4),
    st.data(),
)
def test_round_trip(parts: list[tuple[str, bytes, bool]], data: st.DataObject) -> None:
    """What is written is read back, however it is cut."""

    async def main() -> None:
        writer = MultipartWriter()
        for text, content, encode in parts:
            writer.append(text)
            writer.append(content, {"Content-Transfer-Encoding": "base64"} if encode else None)
        wire = await writer.as_bytes()
        where = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=5)))
        cut = [wire[i:j] for i, j in zip([0, *where], [*where, len(wire)], strict=True)]
        reader = MultipartReader(writer.headers, Pieces(*cut))
        for text, content, _ in parts:
            assert await (await first(reader)).text() == text
            assert await (await first(reader)).read(decode=True) == content
        assert await reader.next() is None

    asyncio.run(main())


def test_json_is_json() -> None:
    """A part of JSON is what `json` makes."""
    writer = MultipartWriter()
    payload = writer.append_json({"a": [1, None]})
    assert json.loads(payload.decode()) == {"a": [1, None]}
