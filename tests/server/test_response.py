"""What a handler answers, as it goes over the wire."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from angelia.core.fields import ETag
from angelia.server.request import Request
from angelia.server.response import Response, json_response
from angelia.server.stream_response import StreamResponse
from server.kit import GET, Answer, ask, connected, serving

pytestmark = pytest.mark.deadline(15)

HEAD = b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"


async def answered(make: Any, octets: bytes = GET, *, head: bool = False) -> Answer:
    """The answer that `make`, a function or coroutine function of the request, gives."""

    async def handler(request: Request) -> StreamResponse:
        result = make(request)
        return result if isinstance(result, StreamResponse) else await result

    async with serving(handler) as server:
        return await ask(server, octets, head=head)


async def pieces() -> AsyncIterator[bytes]:
    yield b"hel"
    yield b"lo"


class TestFields:
    async def test_automatic(self) -> None:
        """Date, Server, length and type are there by themselves."""
        answer = await answered(lambda _: Response(text="hi"))
        assert answer.body == b"hi"
        assert answer.headers["content-length"] == "2"
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["server"].startswith("angelia/")
        assert answer.headers["date"].endswith(" GMT")

    async def test_given(self) -> None:
        """What is given replaces what is automatic, and the mapping is not changed."""
        given = {"Server": "mine", "Date": "today", "Content-Type": "a/b"}
        answer = await answered(lambda _: Response(b"x", headers=given))
        assert given == {"Server": "mine", "Date": "today", "Content-Type": "a/b"}
        for name, value in given.items():
            assert answer.headers[name.lower()] == value

    @pytest.mark.parametrize(
        ("arguments", "content_type", "body"),
        [
            ({}, None, b""),
            ({"body": b"x"}, "application/octet-stream", b"x"),
            ({"body": bytearray(b"x")}, "application/octet-stream", b"x"),
            ({"body": memoryview(b"x")}, "application/octet-stream", b"x"),
            ({"body": io.BytesIO(b"xy")}, "application/octet-stream", b"xy"),
            ({"body": "text"}, "text/plain; charset=utf-8", b"text"),
            ({"text": "ä"}, "text/plain; charset=utf-8", "ä".encode()),
            ({"text": "ä", "charset": "latin-1"}, "text/plain; charset=latin-1", b"\xe4"),
            ({"text": "x", "content_type": "text/css"}, "text/css; charset=utf-8", b"x"),
            ({"body": b"x", "content_type": "a/b"}, "a/b", b"x"),
            ({"body": b"x", "charset": "utf-8"}, "application/octet-stream; charset=utf-8", b"x"),
            ({"text": "x", "headers": {"Content-Type": "a/b"}}, "a/b", b"x"),
        ],
    )
    async def test_types(
        self, arguments: dict[str, Any], content_type: str | None, body: bytes
    ) -> None:
        """Each kind of body with its type."""
        answer = await answered(lambda _: Response(**arguments))
        assert answer.body == body
        if content_type is not None:
            assert answer.headers["content-type"] == content_type

    def test_refused(self) -> None:
        """Contradictions are refused where they are made."""
        with pytest.raises(ValueError, match="both"):
            Response(b"x", text="y")
        with pytest.raises(ValueError, match="already"):
            Response(b"x", headers={"Content-Type": "a/b"}, content_type="c/d")
        for status in (100, 99, 1000):
            with pytest.raises(ValueError, match="not the status"):
                Response(status=status)
        with pytest.raises(ValueError, match="control character"):
            Response(reason="a\r\nb")

    @pytest.mark.parametrize(
        "headers", [{"A": "b\r\nC: d"}, {"A\r\n": "b"}, {"A": "b\0"}, {"A b": "c"}]
    )
    async def test_injection(
        self, headers: dict[str, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A field that would be read as something else is a 500, and nothing of it goes out."""
        with caplog.at_level("CRITICAL", "angelia.server"):
            answer = await answered(lambda _: Response(b"x", headers=headers))
        assert answer.status == 500
        assert "c" not in answer.headers

    async def test_dates_and_tags(self) -> None:
        """Validators as values."""
        response = Response()
        response.last_modified = datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
        assert response.headers["Last-Modified"] == "Mon, 01 Jan 2024 00:00:01 GMT"
        response.last_modified = 1704067200.5
        assert response.headers["Last-Modified"] == "Mon, 01 Jan 2024 00:00:01 GMT"
        assert response.last_modified == datetime(2024, 1, 1, 0, 0, 1, tzinfo=UTC)
        with pytest.raises(TypeError):
            response.last_modified = b"x"  # type: ignore[assignment]  # that is the test
        response.last_modified = None
        assert "Last-Modified" not in response.headers
        response.etag = "abc"
        assert response.headers["ETag"] == '"abc"'
        response.etag = ETag("abc", is_weak=True)
        assert response.etag == ETag("abc", is_weak=True)
        with pytest.raises(ValueError, match="entity tag"):
            response.etag = 'a"b'
        response.etag = None
        assert response.etag is None

    def test_is_true_and_itself(self) -> None:
        """A response is true and equals only itself."""
        response = Response()
        assert bool(response) is True
        assert response != Response()
        assert len({response, Response()}) == 2


class TestCookies:
    async def test_set_and_deleted(self) -> None:
        """Cookies go out one by one; deleting repeats what they were set with."""

        async def make(request: Request) -> StreamResponse:
            response = Response(text="x")
            response.set_cookie("a", "1", max_age=5, secure=True, httponly=True, samesite="Lax")
            response.set_cookie("p", "2", partitioned=True)
            response.del_cookie("b", path="/p", domain="h.example", secure=True)
            return response

        async with serving(make) as server, connected(server) as wire:
            wire.send(GET)
            head = (await wire.reader.readuntil(b"\r\n\r\n")).decode()
        lines = [line[12:] for line in head.split("\r\n") if line.startswith("Set-Cookie: ")]
        assert lines[0] == "a=1; HttpOnly; Max-Age=5; Path=/; SameSite=Lax; Secure"
        assert lines[1] == "p=2; Path=/; Partitioned"
        assert "Max-Age=0" in lines[2]
        assert "Path=/p" in lines[2]
        assert "Domain=h.example" in lines[2]

    @pytest.mark.parametrize(
        "arguments", [{"value": "a\r\nb"}, {"value": "a", "path": "/;x"}, {"value": "\0"}]
    )
    def test_injection(self, arguments: dict[str, Any]) -> None:
        """Nothing breaks out of its cookie."""
        with pytest.raises(ValueError, match=r"in the cookie|of the cookie"):
            Response().set_cookie("n", **arguments)


class TestContent:
    @pytest.mark.parametrize("explicit", [False, True])
    @pytest.mark.parametrize(
        ("make", "length"),
        [
            (lambda: Response(text="hello"), "5"),
            (lambda: Response(body=io.BytesIO(b"hello")), "5"),
            (lambda: Response(body=pieces()), None),
        ],
    )
    async def test_prepared(self, make: Any, length: str | None, explicit: bool) -> None:
        """The head may go first: the content follows once, with write_eof() or the return."""

        async def handler(request: Request) -> Response:
            response: Response = make()
            await response.prepare(request)
            await response.prepare(request)
            if explicit:
                await response.write_eof()
                await response.write_eof()
            return response

        answer = await answered(handler)
        assert (answer.body, answer.headers.get("content-length")) == (b"hello", length)
        answer = await answered(handler, HEAD, head=True)
        assert (answer.body, answer.headers.get("content-length")) == (b"", length)

    async def test_prepared_and_coded(self) -> None:
        """Compression holds for that content, too."""

        async def handler(request: Request) -> Response:
            response = Response(text="hello")
            response.enable_compression("gzip")
            await response.prepare(request)
            return response

        answer = await answered(handler)
        assert gzip.decompress(answer.body) == b"hello"

    async def test_prepared_without_content(self) -> None:
        """One that has none is written like a StreamResponse."""

        async def handler(request: Request) -> Response:
            response = Response()
            await response.prepare(request)
            await response.write(b"hel")
            await response.write_eof(b"lo")
            return response

        assert (await answered(handler)).body == b"hello"

    async def test_head(self) -> None:
        """HEAD has the fields of GET and no content, streamed or not."""

        async def stream(request: Request) -> StreamResponse:
            response = StreamResponse()
            await response.prepare(request)
            await response.write(b"content")
            await response.write_eof(b"more")
            return response

        async def handler(request: Request) -> StreamResponse:
            return Response(text="hello") if request.path == "/" else await stream(request)

        async with serving(handler) as server, connected(server) as wire:
            wire.send(HEAD)
            assert (await wire.answer(head=True)).headers["content-length"] == "5"
            wire.send(b"HEAD /s HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await wire.answer(head=True)).headers["transfer-encoding"] == "chunked"
            wire.send(GET)
            assert (await wire.answer()).body == b"hello"

    @pytest.mark.parametrize("status", [204, 205, 304])
    async def test_without_content(self, status: int) -> None:
        """Statuses without content have none, and the connection goes on."""

        async def handler(request: Request) -> StreamResponse:
            return Response(b"ignored", status=status)

        async with serving(handler) as server, connected(server) as wire:
            for _ in range(2):
                wire.send(GET)
                answer = await wire.answer()
                assert (answer.status, answer.body) == (status, b"")
                assert "transfer-encoding" not in answer.headers
                if status == 204:
                    assert "content-length" not in answer.headers

    async def test_stream(self) -> None:
        """Piece by piece, chunked, with trailers."""

        async def make(request: Request) -> StreamResponse:
            response = StreamResponse(headers={"Content-Type": "a/b"})
            with pytest.raises(RuntimeError, match="prepare"):
                await response.write(b"early")
            await response.prepare(request)
            await response.prepare(request)
            assert response.prepared
            with pytest.raises(RuntimeError, match="has been sent"):
                response.set_status(201)
            for piece in (b"ab", b"", bytearray(b"cd"), memoryview(b"ef")):
                await response.write(piece)
            await response.write_eof(b"gh", trailers={"X-T": "1"})
            await response.write_eof()
            with pytest.raises(RuntimeError, match="to its end"):
                await response.write(b"late")
            return response

        answer = await answered(make)
        assert answer.body == b"abcdefgh"
        assert answer.headers["trailer:x-t"] == "1"

    async def test_stream_to_http10(self) -> None:
        """HTTP/1.0 knows no chunks: the content ends with the connection."""

        async def make(request: Request) -> StreamResponse:
            response = StreamResponse()
            await response.prepare(request)
            await response.write(b"abc")
            return response

        answer = await answered(make, OLD)
        assert answer.body == b"abc"
        assert "transfer-encoding" not in answer.headers

    async def test_length_or_chunks(self) -> None:
        """Not both."""
        response = StreamResponse(headers={"Content-Length": "3"})
        with pytest.raises(RuntimeError, match="length"):
            response.enable_chunked_encoding()
        response = StreamResponse()
        response.enable_chunked_encoding()
        assert response.chunked
        with pytest.raises(RuntimeError, match="no length"):
            response.content_length = 3

    async def test_generator(self) -> None:
        """An asynchronous iterable is sent as it comes."""

        async def pieces() -> AsyncIterator[bytes]:
            yield b"ab"
            yield b"cd"

        answer = await answered(lambda _: Response(pieces()))
        assert answer.body == b"abcd"
        assert answer.headers["transfer-encoding"] == "chunked"

    async def test_large(self) -> None:
        """A large body arrives whole, however slowly it is read."""
        body = bytes(range(256)) * 40_000
        answer = await answered(lambda _: Response(body))
        assert answer.body == body

    async def test_slow_reader(self) -> None:
        """A reader that stops stops the writer."""
        written = []

        async def handler(request: Request) -> StreamResponse:
            response = StreamResponse()
            await response.prepare(request)
            for _ in range(1000):
                await response.write(bytes(100_000))
                written.append(1)
            return response

        async with serving(handler) as server, connected(server) as wire:
            wire.send(GET)
            before = -1
            import asyncio

            while len(written) != before or not written:
                before = len(written)
                await asyncio.sleep(0.05)
            assert before < 1000
            wire.writer.transport.abort()

    async def test_json(self) -> None:
        """JSON with its type."""
        answer = await answered(lambda _: json_response({"a": 1}, status=201))
        assert (answer.status, answer.body) == (201, b'{"a": 1}')
        assert answer.headers["content-type"] == "application/json"
        with pytest.raises(ValueError, match="both"):
            json_response({}, text="{}")


def accepting(coding: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: %b\r\n\r\n" % coding


class TestCompression:
    async def test_negotiated(self) -> None:
        """The coding that the client likes, said with Vary; nothing stale is left."""

        def make(_: Request) -> StreamResponse:
            response = Response(text="abc" * 1000)
            response.enable_compression()
            assert response.compression
            return response

        answer = await answered(make, accepting(b"gzip"))
        assert gzip.decompress(answer.body) == b"abc" * 1000
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["vary"] == "Accept-Encoding"
        assert answer.headers["content-length"] == str(len(answer.body))
        answer = await answered(make, accepting(b"deflate"))
        assert zlib.decompress(answer.body) == b"abc" * 1000
        for octets in (GET, accepting(b"identity"), accepting(b"gzip;q=0")):
            answer = await answered(make, octets)
            assert answer.body == b"abc" * 1000
            assert "content-encoding" not in answer.headers

    async def test_left_alone(self) -> None:
        """What is small, or coded already, stays as it is."""

        def small(_: Request) -> StreamResponse:
            response = Response(text="abc")
            response.enable_compression()
            return response

        def coded(_: Request) -> StreamResponse:
            response = Response(b"x" * 1000, headers={"Content-Encoding": "br"})
            response.enable_compression()
            return response

        assert (await answered(small, accepting(b"gzip"))).body == b"abc"
        answer = await answered(coded, accepting(b"gzip"))
        assert (answer.body, answer.headers["content-encoding"]) == (b"x" * 1000, "br")

    async def test_streamed(self) -> None:
        """A stream is coded as it goes."""

        async def make(request: Request) -> StreamResponse:
            response = StreamResponse(headers={"Content-Length": "3000"})
            response.enable_compression("gzip")
            await response.prepare(request)
            for _ in range(3):
                await response.write(b"abc" * 1000)
            return response

        answer = await answered(make)
        assert gzip.decompress(answer.body) == b"abc" * 3000
        assert answer.headers["transfer-encoding"] == "chunked"

    def test_unknown(self) -> None:
        """A coding that does not exist is refused."""
        with pytest.raises(ValueError, match="no such"):
            Response().enable_compression("nonsense")
