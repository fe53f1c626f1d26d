"""Bodies: sizes, types, sending again, reading files off the event loop."""

from __future__ import annotations

import array
import asyncio
import gzip
import io
import json
import os
import pathlib
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from multidict import CIMultiDict

from angelia.errors import ClientPayloadError
from angelia.net import payload as payloads
from angelia.net.payload import (
    PAYLOAD_REGISTRY,
    READ_SIZE,
    AbstractStreamWriter,
    AsyncIterablePayload,
    BufferedReaderPayload,
    BytesIOPayload,
    BytesPayload,
    IOBasePayload,
    JsonPayload,
    Order,
    Payload,
    PayloadRegistry,
    StreamReaderPayload,
    StringIOPayload,
    StringPayload,
    TextIOPayload,
    get_payload,
    payload_type,
    streamer,
)
from angelia.net.streams import StreamReader
from payload_kit import KeepingWriter, written

LARGE = bytes(range(256)) * 1000  # several reads


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "data.bin"
    path.write_bytes(LARGE)
    return path


def advanced(file: Any, size: int) -> Any:
    file.read(size)
    return file


async def numbers(*, fail: bool = False) -> AsyncIterator[bytes]:
    yield b"one"
    yield b""
    yield bytearray(b"two")  # type: ignore[misc]  # any bytes-like object is sent
    if fail:
        raise ZeroDivisionError
    yield memoryview(b"three")  # type: ignore[misc]  # as above


class NoFlow:
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


# --- every kind ---------------------------------------------------------------------------------

IN_MEMORY: list[Any] = [
    pytest.param(lambda: b"body", BytesPayload, "application/octet-stream", b"body", id="bytes"),
    pytest.param(lambda: b"", BytesPayload, "application/octet-stream", b"", id="empty bytes"),
    pytest.param(
        lambda: bytearray(b"body"),
        BytesPayload,
        "application/octet-stream",
        b"body",
        id="bytearray",
    ),
    pytest.param(
        lambda: memoryview(b"body"), BytesPayload, "application/octet-stream", b"body", id="view"
    ),
    pytest.param(
        lambda: memoryview(array.array("I", [1, 2])),
        BytesPayload,
        "application/octet-stream",
        array.array("I", [1, 2]).tobytes(),
        id="view of larger items",
    ),
    pytest.param(
        lambda: memoryview(b"b.o.d.y.")[::2],
        BytesPayload,
        "application/octet-stream",
        b"body",
        id="view with gaps",
    ),
    pytest.param(
        lambda: "bödy", StringPayload, "text/plain; charset=utf-8", "bödy".encode(), id="str"
    ),
    pytest.param(lambda: "", StringPayload, "text/plain; charset=utf-8", b"", id="empty str"),
    pytest.param(
        lambda: advanced(io.StringIO("xbödy"), 1),
        StringIOPayload,
        "text/plain; charset=utf-8",
        "bödy".encode(),
        id="StringIO",
    ),
    pytest.param(
        lambda: advanced(io.BytesIO(b"xbody"), 1),
        BytesIOPayload,
        "application/octet-stream",
        b"body",
        id="BytesIO",
    ),
    pytest.param(
        lambda: io.BytesIO(LARGE), BytesIOPayload, "application/octet-stream", LARGE, id="large"
    ),
]


@pytest.mark.parametrize(("make", "kind", "content_type", "octets"), IN_MEMORY)
def test_in_memory(
    make: Callable[[], Any], kind: type[Payload], content_type: str, octets: bytes
) -> None:
    """A body in memory knows its size in octets and its type, and is written whole each time."""

    async def main() -> None:
        payload = get_payload(make())
        assert type(payload) is kind
        assert payload.size == len(octets)
        assert payload.content_type == content_type
        assert payload.headers == {"Content-Type": content_type}
        assert payload.autoclose
        for _ in range(2):
            assert await written(payload) == octets
            assert await written(payload, len(octets)) == octets
            assert await written(payload, 3) == octets[:3]
            assert await payload.as_bytes() == octets
            assert payload.decode(errors="replace") == octets.decode(errors="replace")
            assert payload.reusable
            assert not payload.consumed
        await payload.close()
        await payload.close()
        assert await written(payload) == octets

    asyncio.run(main())


def test_a_payload_is_its_own_payload() -> None:
    """What is a body already is taken as it is."""
    payload = BytesPayload(b"")
    assert get_payload(payload) is payload


@pytest.mark.parametrize("value", [None, 1, 1.5, object(), [b"x"], {"a": "b"}, iter([b"x"])])
def test_unsupported(value: object) -> None:
    """What no body can be made of raises LookupError."""
    with pytest.raises(LookupError):
        get_payload(value)


def test_wrong_values() -> None:
    """A kind refuses a value of another type."""
    with pytest.raises(TypeError):
        BytesPayload("text")  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(TypeError):
        AsyncIterablePayload([b"x"])  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(TypeError):
        IOBasePayload(b"x")


class TestDescription:
    """Headers, content type, file name, encoding."""

    def test_headers_are_copied_and_come_last(self) -> None:
        """The caller's headers are not changed, and override the kind's type."""
        given = CIMultiDict({"content-type": "a/b", "X": "1"})
        payload = BytesPayload(b"", headers=given)
        payload.headers["Y"] = "2"
        assert given == {"content-type": "a/b", "X": "1"}
        assert payload.headers == CIMultiDict({"Content-Type": "a/b", "X": "1", "Y": "2"})
        assert payload.content_type == "a/b"

    def test_repeated_headers(self) -> None:
        """Several values of one field all stay."""
        payload = BytesPayload(b"", headers=CIMultiDict([("X", "1"), ("X", "2")]))
        assert payload.headers.getall("x") == ["1", "2"]

    @pytest.mark.parametrize(
        ("name", "content_type"),
        [
            ("a.png", "image/png"),
            ("a.tar.gz", "application/gzip"),
            ("a.txt.br", "application/octet-stream"),
            ("a", "application/octet-stream"),
        ],
    )
    def test_type_from_file_name(self, name: str, content_type: str) -> None:
        """The type is guessed from the name; a compressed file is what it is, not what is in it."""
        payload = BytesPayload(b"", filename=name)
        assert payload.content_type == content_type
        assert payload.filename == name
        assert BytesPayload(b"", filename=name, content_type="a/b").content_type == "a/b"

    @pytest.mark.parametrize(
        ("options", "content_type", "octets"),
        [
            ({}, "text/plain; charset=utf-8", "é".encode()),
            ({"encoding": "latin-1"}, "text/plain; charset=latin-1", b"\xe9"),
            ({"content_type": "text/html"}, "text/html", "é".encode()),
            ({"content_type": 'text/html; a=b; Charset="latin-1"'}, None, b"\xe9"),
            (
                {"content_type": "text/html; charset=latin-1", "encoding": "utf-16-le"},
                None,
                b"\xe9\0",
            ),
        ],
    )
    def test_text_encoding(
        self, options: dict[str, str], content_type: str | None, octets: bytes
    ) -> None:
        """A text is encoded by `encoding`, else by the type's charset, else in UTF-8."""
        for value in ("é", io.StringIO("é")):
            payload = get_payload(value, **options)
            assert payload.content_type == (content_type or options["content_type"])
            assert asyncio.run(payload.as_bytes()) == octets

    def test_json(self) -> None:
        """JSON is encoded in UTF-8; a serializer may give bytes."""
        payload = JsonPayload({"a": "é"})
        assert payload.content_type == "application/json"
        assert json.loads(asyncio.run(payload.as_bytes())) == {"a": "é"}
        assert asyncio.run(JsonPayload(1, dumps=lambda value: b"[%d]" % value).as_bytes()) == b"[1]"
        assert asyncio.run(JsonPayload("é", "utf-16-le", dumps=str).as_bytes()) == b"\xe9\0"

    def test_disposition(self) -> None:
        """`set_content_disposition` writes the header, and lets no control character in."""
        payload = BytesPayload(b"")
        payload.set_content_disposition("form-data", name="a", filename="é")
        assert payload.headers["Content-Disposition"] == ('form-data; name="a"; filename="%C3%A9"')
        payload.set_content_disposition("form-data", False, name='é"')
        assert payload.headers["Content-Disposition"] == 'form-data; name="é\\""'
        for quote_fields in (True, False):
            with pytest.raises(ValueError, match="control"):
                payload.set_content_disposition("form-data", quote_fields, name="a\r\nX: 1")

    def test_repr(self) -> None:
        """`repr` tells kind, type and size."""
        assert repr(BytesPayload(b"abc")) == "<BytesPayload application/octet-stream size=3>"
        assert "size=unknown" in repr(AsyncIterablePayload(numbers()))


# --- files --------------------------------------------------------------------------------------


class TestFiles:
    """Bodies read from files."""

    @pytest.mark.parametrize("mode", ["rb", "r+b"])
    @pytest.mark.parametrize("start", [0, 7, len(LARGE), len(LARGE) + 9])
    def test_from_its_position(self, path: pathlib.Path, mode: str, start: int) -> None:
        """A file is sent from its position on, each time, in pieces, with its size announced."""

        async def main() -> None:
            with path.open(mode) as file:
                file.seek(start)
                payload = get_payload(file)
                assert type(payload) is BufferedReaderPayload
                assert payload.size == max(0, len(LARGE) - start)
                assert payload.content_type == "application/octet-stream"
                assert payload.filename == "data.bin"
                assert payload.headers["Content-Disposition"] == ('attachment; filename="data.bin"')
                for _ in range(2):
                    writer = KeepingWriter()
                    await payload.write(writer)
                    assert writer.written == LARGE[start:]
                    assert all(len(piece) <= READ_SIZE for piece in writer.pieces)
                    assert await written(payload, 70_000) == LARGE[start:][:70_000]
                    assert await payload.as_bytes() == LARGE[start:]
                    assert payload.decode("latin-1") == LARGE[start:].decode("latin-1")
                    assert payload.reusable

        asyncio.run(main())

    def test_unbuffered(self, path: pathlib.Path) -> None:
        """A raw file is a file too."""

        async def main() -> None:
            with path.open("rb", buffering=0) as file:
                payload = get_payload(file)
                assert type(payload) is IOBasePayload
                assert payload.size == len(LARGE)
                assert await written(payload) == LARGE

        asyncio.run(main())

    def test_written_but_not_flushed(self, path: pathlib.Path) -> None:
        """What a caller has written and not flushed belongs to the file."""

        async def main() -> None:
            with path.open("r+b") as file:
                file.seek(0, io.SEEK_END)
                file.write(b"more")
                file.seek(len(LARGE) - 1)
                file.write(b"!")
                file.seek(len(LARGE) - 1)
                payload = get_payload(file)
                assert payload.size == 5
                assert await written(payload) == b"!more"

        asyncio.run(main())

    def test_grown_meanwhile(self, path: pathlib.Path) -> None:
        """Never more than announced is sent."""

        async def main() -> None:
            with path.open("rb") as file:
                payload = get_payload(file)
                assert payload.size == len(LARGE)
                with path.open("ab") as other:
                    other.write(b"more")
                assert await written(payload) == LARGE

        asyncio.run(main())

    def test_shrunk_meanwhile(self, path: pathlib.Path) -> None:
        """A file that has become shorter than announced is an error with both sizes."""

        async def main() -> None:
            with path.open("rb") as file:
                payload = get_payload(file)
                assert payload.size == len(LARGE)
                os.truncate(path, 1000)
                with pytest.raises(ClientPayloadError) as caught:
                    await written(payload)
                assert (caught.value.received, caught.value.expected) == (1000, len(LARGE))

        asyncio.run(main())

    def test_off_the_event_loop(self) -> None:
        """Reads, seeks and the close run in another thread than the event loop's."""
        threads: dict[str, set[int]] = {}

        class Watched(io.BytesIO):
            def note(self, what: str) -> None:
                threads.setdefault(what, set()).add(threading.get_ident())

            def read(self, size: int | None = -1, /) -> bytes:
                self.note("read")
                return super().read(size)

            def seek(self, offset: int, whence: int = 0, /) -> int:
                self.note("seek")
                return super().seek(offset, whence)

            def close(self) -> None:
                self.note("close")
                super().close()

        async def main() -> None:
            file = Watched(LARGE)
            payload = IOBasePayload(file)
            assert await written(payload) == LARGE
            await payload.close()
            assert file.closed

        asyncio.run(main())
        assert set(threads) == {"read", "seek", "close"}
        assert all(threading.get_ident() not in idents for idents in threads.values())

    @pytest.mark.parametrize("error", [AttributeError, OSError, io.UnsupportedOperation])
    def test_no_descriptor(self, error: type[Exception]) -> None:
        """A file without a descriptor streams, with a size that is not known before."""

        class Strange(io.RawIOBase):
            def __init__(self) -> None:
                self.inner = io.BytesIO(LARGE)

            def fileno(self) -> int:
                raise error

            def readable(self) -> bool:
                return True

            def seekable(self) -> bool:
                return True

            def seek(self, offset: int, whence: int = 0, /) -> int:
                return self.inner.seek(offset, whence)

            def tell(self) -> int:
                return self.inner.tell()

            def readinto(self, buffer: Any, /) -> int:
                return self.inner.readinto(buffer)

        async def main() -> None:
            for file in (Strange(), io.BufferedReader(Strange())):
                payload = get_payload(file)
                assert payload.size is None
                assert await written(payload) == LARGE
                assert await written(payload, 10) == LARGE[:10]
                await payload.close()

        asyncio.run(main())

    def test_descriptor_of_something_else(self, tmp_path: pathlib.Path) -> None:
        """The size of what a decompressing file reads is not the size of its descriptor's file."""

        async def main() -> None:
            path = tmp_path / "a.gz"
            path.write_bytes(gzip.compress(LARGE))
            with gzip.open(path) as file:
                payload = get_payload(file)
                assert payload.size is None
                assert await written(payload) == LARGE

        asyncio.run(main())

    @pytest.mark.parametrize("make", [tempfile.TemporaryFile, tempfile.NamedTemporaryFile])
    def test_temporary_files(self, make: Callable[..., Any]) -> None:
        """What `tempfile` makes is sent from its position, with its size."""

        async def main() -> None:
            with make() as file:
                file.write(LARGE)
                file.seek(5)
                payload = get_payload(file)
                assert payload.size == len(LARGE) - 5
                assert await written(payload) == LARGE[5:]

        asyncio.run(main())

    def test_spooled_file(self) -> None:
        """A spooled file stays in memory."""

        async def main() -> None:
            with tempfile.SpooledTemporaryFile(max_size=10**6) as file:
                file.write(LARGE)
                file.seek(5)
                payload = get_payload(file)
                assert await written(payload) == LARGE[5:]
                assert not getattr(file, "_rolled", True)

        asyncio.run(main())

    def test_pipe(self) -> None:
        """A pipe is sent as it comes, once; a second time is an error, not an empty body."""

        async def main() -> None:
            end, other = os.pipe()
            os.write(other, b"one")
            with os.fdopen(end, "rb") as file:
                payload = get_payload(file)
                assert payload.size is None
                assert payload.filename is None
                assert payload.reusable
                writer = KeepingWriter()
                writing = asyncio.create_task(payload.write(writer))
                await writer.begun.wait()
                os.write(other, b"two")
                os.close(other)
                await writing
                assert writer.written == b"onetwo"
                assert (payload.consumed, payload.reusable) == (True, False)
                with pytest.raises(ClientPayloadError):
                    await written(payload)

        asyncio.run(main())

    def test_not_readable(self, tmp_path: pathlib.Path) -> None:
        """A file that is open for writing only raises what the file raises."""

        async def main() -> None:
            with (tmp_path / "a").open("wb") as file:
                payload = IOBasePayload(file)
                file.write(b"abc")
                with pytest.raises(OSError, match="read"):
                    await written(payload)

        asyncio.run(main())

    def test_same_file_in_two_bodies(self, path: pathlib.Path) -> None:
        """Two bodies may read the same file at the same time."""

        async def main() -> None:
            with path.open("rb") as file:
                first = get_payload(file)
                file.seek(100)
                second = get_payload(file)
                for _ in range(30):
                    both = await asyncio.gather(written(first), written(second))
                    assert both[0] == LARGE
                    assert both[1] == LARGE[100:]

        asyncio.run(main())

    def test_closed_once(self, path: pathlib.Path) -> None:
        """Closing the body closes its file, once; it cannot be written afterwards."""
        closes = []

        class Watched(io.FileIO):
            def close(self) -> None:
                if not self.closed:
                    closes.append(threading.get_ident())
                super().close()

        async def main() -> None:
            file = Watched(path)
            payload = get_payload(file)
            assert not payload.autoclose
            with pytest.raises(OSError, match="gone"):
                await payload.write(KeepingWriter(fail_at=1))
            assert file.closed is False
            await asyncio.gather(payload.close(), payload.close())
            await payload.close()
            assert closes
            assert payload.consumed
            with pytest.raises(ClientPayloadError):
                await written(payload)

        asyncio.run(main())
        assert len(closes) == 1

    def test_cancelled_write_and_close(self) -> None:
        """A body whose write was cancelled is closed when the read has come back, not before."""
        reading, go_on = threading.Event(), threading.Event()
        order = []

        class Slow(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                reading.set()
                go_on.wait(5)
                order.append("read")
                return super().read(size)

            def close(self) -> None:
                order.append("close")
                super().close()

        async def main() -> None:
            loop = asyncio.get_running_loop()
            payload = IOBasePayload(Slow(b"abc"))
            writing = asyncio.create_task(payload.write(KeepingWriter()))
            await loop.run_in_executor(None, reading.wait, 5)
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
            closing = asyncio.create_task(payload.close())
            await asyncio.sleep(0)
            closing.cancel()
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await closing

        asyncio.run(main())
        assert order == ["read", "close"]

    def test_cancelled_write_begins_again(self, path: pathlib.Path) -> None:
        """A write that was cancelled anywhere leaves a body that can be written whole."""

        async def main() -> None:
            with path.open("rb") as file:
                payload = get_payload(file)
                for turns in range(6):
                    writing = asyncio.create_task(payload.write(KeepingWriter()))
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    writing.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await writing
                    assert await written(payload) == LARGE

        asyncio.run(main())

    def test_explicit_names(self, path: pathlib.Path) -> None:
        """A given name wins; without a disposition there is no such header."""
        with path.open("rb") as file:
            payload = IOBasePayload(file, None, filename="b.png")
            assert payload.content_type == "image/png"
            assert "Content-Disposition" not in payload.headers
            given = {"Content-Disposition": "inline"}
            assert IOBasePayload(file, headers=given).headers["Content-Disposition"] == "inline"

    def test_standard_input_has_no_name(self) -> None:
        """Pseudo-files are not called ``<stdin>``."""
        assert payloads.IOBasePayload(io.TextIOWrapper(io.BytesIO()).buffer).filename is None
        assert payloads.IOBasePayload(sys.__stdin__ or io.BytesIO()).filename is None


class TestTextFiles:
    """Bodies read from text files."""

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig", "latin-1"])
    def test_encoded_again(self, tmp_path: pathlib.Path, encoding: str) -> None:
        """A text is decoded by the file, and encoded as one text, whatever its own encoding is."""
        text = "é\nx" * 50_000
        path = tmp_path / "a.txt"
        path.write_text(text, "utf-8")

        async def main() -> None:
            with path.open(encoding="utf-8") as file:
                file.read(3)
                payload = get_payload(file, encoding=encoding)
                assert type(payload) is TextIOPayload
                assert payload.size is None
                assert payload.content_type == f"text/plain; charset={encoding}"
                for _ in range(2):
                    assert await written(payload) == text[3:].encode(encoding)
                    assert payload.decode() == text[3:]
                    assert await written(payload, 999) == text[3:].encode(encoding)[:999]

        asyncio.run(main())

    def test_temporary_text_file(self) -> None:
        """A named temporary file that is open for text is a text file, whatever wraps it."""

        async def main() -> None:
            with tempfile.NamedTemporaryFile("w+", encoding="utf-16") as file:
                file.write("\u00e9x")
                file.seek(0)
                payload = get_payload(file)
                assert isinstance(payload, payloads.TextIOPayload)
                assert await written(payload) == b"\xc3\xa9x"

        asyncio.run(main())

    def test_wrong_mode_for_the_kind(self, tmp_path: pathlib.Path) -> None:
        """A file that reads text where octets are needed is named in the error."""

        async def main() -> None:
            with tempfile.SpooledTemporaryFile(mode="w+") as file:
                file.write("abc")
                file.seek(0)
                with pytest.raises(TypeError, match="text"):
                    await written(get_payload(file))

        asyncio.run(main())


# --- asynchronous sources -----------------------------------------------------------------------


class TestAsyncIterables:
    """Bodies from asynchronous iterables."""

    def test_written_once(self) -> None:
        """Empty pieces are left out; a second time is an error instead of an empty body."""

        async def main() -> None:
            payload = get_payload(numbers())
            assert type(payload) is AsyncIterablePayload
            assert payload.size is None
            assert not payload.autoclose
            assert payload.reusable
            writer = KeepingWriter()
            await payload.write(writer)
            assert writer.pieces == [b"one", b"two", b"three"]
            assert payload.consumed
            with pytest.raises(ClientPayloadError):
                await written(payload)
            with pytest.raises(ClientPayloadError):
                await payload.as_bytes()

        asyncio.run(main())

    @pytest.mark.parametrize("length", range(12))
    def test_with_length(self, length: int) -> None:
        """No more than the announced length is written."""
        assert asyncio.run(written(get_payload(numbers()), length)) == b"onetwothree"[:length]

    def test_gathered(self) -> None:
        """`as_bytes` keeps the body, so that it can be hashed, then sent any number of times."""

        async def main() -> None:
            payload = get_payload(numbers())
            with pytest.raises(TypeError):
                payload.decode()
            assert await payload.as_bytes() == b"onetwothree"
            assert payload.reusable
            for _ in range(2):
                assert await written(payload) == b"onetwothree"
                assert await written(payload, 4) == b"onet"
            assert payload.decode() == "onetwothree"

        asyncio.run(main())

    def test_error_of_the_source(self) -> None:
        """An error of the source reaches the caller, and the body cannot be sent again."""

        async def main() -> None:
            payload = get_payload(numbers(fail=True))
            with pytest.raises(ZeroDivisionError):
                await written(payload)
            with pytest.raises(ClientPayloadError):
                await written(payload)

        asyncio.run(main())

    def test_wrong_items(self) -> None:
        """What is not bytes is refused by name."""

        async def text() -> AsyncIterator[str]:
            yield "text"

        with pytest.raises(TypeError, match="str"):
            asyncio.run(written(get_payload(text())))

    @pytest.mark.parametrize("begun", [True, False])
    def test_generator_is_closed(self, begun: bool) -> None:
        """Closing the body runs the generator's ``finally`` at once, and only once."""
        closed = []

        async def source() -> AsyncIterator[bytes]:
            try:
                yield b"one"
                yield b"two"
            finally:
                closed.append(True)

        async def main() -> None:
            payload = get_payload(source())
            if begun:
                with pytest.raises(OSError, match="gone"):
                    await payload.write(KeepingWriter(fail_at=0))
            await payload.close()
            await payload.close()
            assert closed == [True] * begun
            with pytest.raises(ClientPayloadError):
                await written(payload)

        asyncio.run(main())

    def test_stream_reader(self) -> None:
        """A stream goes out as it comes in."""

        async def main() -> None:
            stream = StreamReader(NoFlow(), 100)
            payload = get_payload(stream)
            assert type(payload) is StreamReaderPayload
            stream.feed_data(b"one\ntwo")
            writer = KeepingWriter()
            writing = asyncio.create_task(payload.write(writer))
            await asyncio.sleep(0)
            assert writer.pieces == [b"one\ntwo"]
            stream.feed_data(b"three")
            stream.feed_eof()
            await writing
            assert writer.written == b"one\ntwothree"

        asyncio.run(main())

    def test_streamer(self) -> None:
        """The deprecated decorator warns; what it decorates writes the body itself."""

        async def source(writer: AbstractStreamWriter, count: int = 1) -> None:
            for _ in range(count):
                await writer.write(b"x")

        with pytest.warns(DeprecationWarning, match="streamer"):
            decorated = streamer(source)
        assert asyncio.run(written(get_payload(decorated(count=3)))) == b"xxx"
        payload = get_payload(decorated)
        assert payload.size is None
        assert asyncio.run(written(payload)) == b"x"
        with pytest.raises(TypeError):
            payload.decode()


# --- the registry -------------------------------------------------------------------------------


class Fish:
    pass


class Cod(Fish):
    pass


class TestRegistry:
    """Which kind serves a value."""

    def factory(self, name: str) -> Callable[..., Payload]:
        return lambda value, **options: BytesPayload(b"", filename=name, **options)

    def made(self, registry: PayloadRegistry, value: Any) -> str | None:
        return registry.get(value).filename

    def test_order(self) -> None:
        """What is tried first beats the others, what is tried last is beaten."""
        registry = PayloadRegistry()
        registry.register(self.factory("last"), Fish, order=Order.try_last)
        assert self.made(registry, Fish()) == "last"
        registry.register(self.factory("normal"), Fish)
        assert self.made(registry, Fish()) == "normal"
        registry.register(self.factory("first"), Fish, order=Order.try_first)
        assert self.made(registry, Fish()) == "first"
        assert self.made(registry, Cod()) == "first"

    def test_nearest_class(self) -> None:
        """The nearest class decides, whenever it was registered."""
        registry = PayloadRegistry()
        registry.register(self.factory("cod"), Cod)
        registry.register(self.factory("fish"), (Fish, int))
        assert self.made(registry, Cod()) == "cod"
        assert self.made(registry, Fish()) == "fish"
        assert self.made(registry, True) == "fish"

    def test_later_registration(self) -> None:
        """The later of two for the same class wins."""
        registry = PayloadRegistry()
        registry.register(self.factory("one"), Fish)
        registry.register(self.factory("two"), Fish)
        assert self.made(registry, Fish()) == "two"

    def test_not_an_order(self) -> None:
        """An order is one of three."""
        with pytest.raises(ValueError, match="Order"):
            PayloadRegistry().register(BytesPayload, Fish, order=1)  # type: ignore[arg-type]  # so

    @pytest.fixture
    def restored(self) -> Iterator[None]:
        exact = dict(PAYLOAD_REGISTRY._exact)
        normal = list(PAYLOAD_REGISTRY._normal)
        yield
        PAYLOAD_REGISTRY._exact = exact
        PAYLOAD_REGISTRY._normal = normal

    @pytest.mark.usefixtures("restored")
    def test_payload_type(self) -> None:
        """The decorator registers a kind for everybody; a kind needs no more than two methods."""

        @payload_type(Fish)
        class FishPayload(Payload):
            def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
                return "fish"

            async def write(self, writer: AbstractStreamWriter) -> None:
                await writer.write(b"fish")

        payload = get_payload(Cod(), headers={"X": "1"})
        assert type(payload) is FishPayload
        assert payload.headers["X"] == "1"
        assert not payload.autoclose
        assert asyncio.run(written(payload)) == b"fish"
        assert asyncio.run(written(payload, 10)) == b"fish"
        assert asyncio.run(payload.as_bytes()) == b"fish"
        asyncio.run(payload.close())
