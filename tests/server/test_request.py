"""What a handler finds out about a request."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from angelia.core.coding import available_codings, make_compressor
from angelia.core.fields import ETag
from angelia.core.interface import HttpVersion10, HttpVersion11
from angelia.server.forms import FileField
from angelia.server.http_exception import HTTPException
from angelia.server.request import Request
from angelia.server.response import Response
from angelia.server.stream_response import StreamResponse
from angelia.testing import make_mocked_request
from server.kit import ask, connected, post, serving

pytestmark = pytest.mark.deadline(15)


async def seen(octets: bytes, look: Callable[[Request], Any], **options: Any) -> Any:
    """What `look` makes of the request."""
    found: list[Any] = []

    async def handler(request: Request) -> StreamResponse:
        result = look(request)
        found.append(await result if isinstance(result, Awaitable) else result)
        return Response()

    async with serving(handler, **options) as server:
        answer = await ask(server, octets)
        assert answer.status == 200, answer
    return found[0]


def get(*fields: bytes, target: bytes = b"/", version: bytes = b"HTTP/1.1") -> bytes:
    lines = b"".join(field + b"\r\n" for field in (b"Host: h", *fields))
    return b"GET %b %b\r\n%b\r\n" % (target, version, lines)


class TestHead:
    async def test_line(self) -> None:
        """Method, target and version as they came."""

        def look(request: Request) -> Any:
            return request.method, request.target, request.version, repr(request)

        octets = b"Purge /a%2Fb?c=d HTTP/1.1\r\nHost: h\r\n\r\n"
        shown = "<Request Purge '/a/b'>"
        assert await seen(octets, look) == ("Purge", "/a%2Fb?c=d", HttpVersion11, shown)
        assert (await seen(get(version=b"HTTP/1.0"), look))[2] == HttpVersion10

    @pytest.mark.parametrize(
        ("target", "url", "path", "raw_path"),
        [
            (b"/", "http://h/", "/", "/"),
            (b"/a%20b?x=%20y", "http://h/a%20b?x=%20y", "/a b", "/a%20b?x=%20y"),
            (b"//evil/x", "http://h//evil/x", "//evil/x", "//evil/x"),
            (b"http://h/p?q", "http://h/p?q", "/p", "/p?q"),
            (b"https://h", "http://h/", "/", "/"),
            (b"http://h?q=1", "http://h/?q=1", "/", "/?q=1"),
        ],
    )
    async def test_targets(self, target: bytes, url: str, path: str, raw_path: str) -> None:
        """The URL has the connection's scheme and the host that was asked for."""

        def look(request: Request) -> Any:
            return str(request.url), request.path, request.raw_path

        assert await seen(get(target=target), look) == (url, path, raw_path)

    async def test_asterisk(self) -> None:
        """OPTIONS * asks about the server."""
        octets = b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"
        assert await seen(octets, lambda r: (r.target, r.raw_path)) == ("*", "*")

    async def test_headers(self) -> None:
        """Fields are found without case, repeated ones all."""
        octets = get(b"X-A: 1", b"x-a: 2", b"Bytes: \xff")

        def look(request: Request) -> Any:
            return request.headers.getall("x-A"), request.headers["bytes"]

        assert await seen(octets, look) == (["1", "2"], "\udcff")

    async def test_query_and_cookies(self) -> None:
        """Query and cookies by name; cookies called like attributes are cookies."""
        octets = get(b"Cookie: a=1; path=/x; a=2; Q=%22", target=b"/?k=1&k=2&e=")

        def look(request: Request) -> Any:
            return request.query.getall("k"), request.query["e"], dict(request.cookies)

        assert await seen(octets, look) == (["1", "2"], "", {"a": "1", "path": "/x", "Q": "%22"})

    async def test_conditions(self) -> None:
        """Conditional fields as values; rubbish as None."""

        def look(request: Request) -> Any:
            date = request.if_modified_since
            return request.if_none_match, date and date.year, request.if_unmodified_since

        octets = get(
            b'If-None-Match: "a", W/"b"', b"If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT"
        )
        tags = (ETag("a"), ETag("b", is_weak=True))
        assert await seen(octets, look) == (tags, 1994, None)
        assert await seen(get(b"If-Modified-Since: x"), look) == (None, None, None)

    async def test_range(self) -> None:
        """The range as a slice."""
        assert await seen(get(b"Range: bytes=1-2"), lambda r: r.http_range) == slice(1, 3, 1)
        assert await seen(get(), lambda r: r.http_range) == slice(None, None, 1)

    async def test_peer(self) -> None:
        """The address of the socket, whatever a field says."""
        octets = get(b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-Proto: https")
        look = lambda r: (r.remote, r.scheme, r.peername[0])  # noqa: E731 - one line says it
        assert await seen(octets, look) == ("127.0.0.1", "http", "127.0.0.1")

    @pytest.mark.parametrize("query", ["", "?", "?a=/b?%2F"])
    def test_path_without_a_url(self, query: str) -> None:
        """The path is the URL's, whichever characters are in it."""
        allowed = [chr(code) for code in range(0x21, 0x7F) if chr(code) not in "#\\%?"]
        paths = ["/", "//", "//a", "/.", "/a/../b", "/a/./b", "/%2F%41", "/a%20b", "/%C3%A4/%zz"]
        for path in [*paths, *(f"/a{c}b" for c in allowed), *(f"/{c}" for c in allowed)]:
            request = make_mocked_request("GET", path + query, {"Host": "h"})
            assert request.path == request.url.path, path


class TestBody:
    async def test_without(self) -> None:
        """A request without a body has an empty one."""

        async def look(request: Request) -> Any:
            assert not request.body_exists
            assert not request.can_read_body
            assert request.content_length is None
            return await request.read(), await request.text(), dict(await request.post())

        assert await seen(get(), look) == (b"", "", {})

    async def test_read_again(self) -> None:
        """A body that was read can be read again, in each form."""

        async def look(request: Request) -> Any:
            assert request.body_exists
            assert request.can_read_body
            assert request.content_length == 7
            return await request.read(), await request.text(), await request.json()

        assert await seen(post(body=b'{"a":1}'), look) == (b'{"a":1}', '{"a":1}', {"a": 1})

    @pytest.mark.parametrize("cut", [None, 20, -2])
    async def test_content_behind_read(self, cut: int | None) -> None:
        """However the body came: once it was read its stream is at the end, and says how long."""

        async def handler(request: Request) -> StreamResponse:
            readable = [request.can_read_body]
            if request.path == "/piece":
                assert await request.content.readexactly(2) == b"ab"
                assert await request.read() == b"cde"
            elif request.path == "/stream":
                assert await request.content.read() == b"abcde"
                assert await request.read() == b""
            else:
                assert await request.read() == b"abcde"
            assert request.body_exists
            assert [*readable, request.can_read_body] == [True, False]
            content = request.content
            assert (content.at_eof(), content.total_bytes, content.announced) == (True, 5, 5)
            assert await content.read() == b""
            assert await content.readany() == b""
            with pytest.warns(DeprecationWarning, match="unread_data"):
                content.unread_data(b"e")
            assert await content.read() == b"e"
            return Response(request.path.encode())

        async with serving(handler) as server, connected(server) as wire:
            for path in (b"/read", b"/piece", b"/stream", b"/read"):
                octets = post(body=b"abcde", path=path)
                wire.send(octets[:cut])
                if cut is not None:
                    await asyncio.sleep(0)
                    wire.send(octets[cut:])
                assert (await wire.answer()).body == path

    async def test_too_large_in_one_piece(self) -> None:
        """A body that is here already is as limited as one that is still to come."""

        async def handler(request: Request) -> StreamResponse:
            if request.path == "/stream":
                return Response(await request.content.read())
            return Response(await request.read())

        async with serving(handler, max_body_size=4) as server:
            assert (await ask(server, post(body=b"abcd"))).body == b"abcd"
            assert (await ask(server, post(body=b"abcde"))).status == 413
            assert (await ask(server, post(body=b"abcde", path=b"/stream"))).body == b"abcde"

    async def test_text(self) -> None:
        """The charset counts; 415 where it does not fit."""
        latin = post(b"Content-Type: text/plain; charset=latin-1", body=b"\xe4")
        assert await seen(latin, lambda r: r.text()) == "ä"

        async def handler(request: Request) -> StreamResponse:
            return Response(text=await request.text())

        async with serving(handler) as server:
            assert (await ask(server, post(body=b"\xff"))).status == 415
            unknown = post(b"Content-Type: text/plain; charset=nonsense", body=b"x")
            assert (await ask(server, unknown)).status == 415

    @pytest.mark.parametrize("charset", [b"punycode", b"idna", b"undefined", b"unicode_escape"])
    @pytest.mark.parametrize("kind", [b"text/plain", b"application/x-www-form-urlencoded"])
    async def test_no_charset(self, kind: bytes, charset: bytes) -> None:
        """Python's codecs that are no charsets are unknown: 415, and no time is spent on them."""

        async def handler(request: Request) -> StreamResponse:
            await request.post() if b"form" in kind else await request.text()
            return Response()

        body = b"a" * 100_000 + b"-" + b"b" * 100_000
        fields = b"Content-Type: %b; charset=%b" % (kind, charset)
        async with serving(handler) as server:
            assert (await ask(server, post(fields, body=body))).status == 415

    async def test_stream(self) -> None:
        """The body piece by piece, its trailers at the end."""

        async def look(request: Request) -> Any:
            lines = [line async for line in request.content]
            return lines, request.trailers

        octets = (
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"4\r\na\nb\n\r\n0\r\nX-T: 1\r\n\r\n"
        )
        assert await seen(octets, look) == ([b"a\n", b"b\n"], (("X-T", "1"),))


FORM = b"Content-Type: application/x-www-form-urlencoded"
PARTS = b"Content-Type: multipart/form-data; boundary=B"


def part(disposition: bytes, body: bytes, *fields: bytes) -> bytes:
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"--B\r\nContent-Disposition: form-data%b\r\n%b\r\n%b\r\n" % (disposition, lines, body)


class TestForms:
    async def test_urlencoded(self) -> None:
        """Names and values, repeated and blank ones too."""

        async def look(request: Request) -> Any:
            return list((await request.post()).items())

        octets = post(FORM, body=b"a=1&a=2&b=&c=%C3%A4+x")
        assert await seen(octets, look) == [("a", "1"), ("a", "2"), ("b", ""), ("c", "ä x")]

    async def test_multipart(self) -> None:
        """Texts, and files with their names and types; the files close with the request."""
        files: list[FileField] = []

        async def look(request: Request) -> Any:
            form = await request.post()
            field = form["f"]
            assert isinstance(field, FileField)
            files.append(field)
            return form["t"], field.filename, field.content_type, field.file.read()

        body = (
            part(b'; name="t"', b"text")
            + part(b'; name="f"; filename="n.txt"', b"x" * 100_000, b"Content-Type: a/b")
            + b"--B--\r\n"
        )
        found = await seen(post(PARTS, body=body), look)
        assert found == ("text", "n.txt", "a/b", b"x" * 100_000)
        assert files[0].file.closed

    @pytest.mark.parametrize(
        ("fields", "body", "status"),
        [
            (FORM, b"&".join(b"a=1" for _ in range(11)), 413),
            (PARTS, part(b'; name="t"', b"x") * 11 + b"--B--\r\n", 413),
            (PARTS, part(b'; name="t"', b"x" * 600) * 2 + b"--B--\r\n", 413),
            (PARTS, part(b'; name="t"; filename="f"', b"x" * 600) * 2 + b"--B--\r\n", 413),
            # The names and the other fields of its parts belong to it.
            (PARTS, part(b'; name="' + b"t" * 500 + b'"', b"") * 2 + b"--B--\r\n", 413),
            (PARTS, part(b'; name="t"; filename="f"', b"", b"X: " + b"y" * 950), 413),
            (PARTS, part(b"", b"x") + b"--B--\r\n", 400),
            (
                PARTS,
                part(b'; name="t"', b"", b"Content-Type: multipart/mixed; boundary=C"),
                400,
            ),
            (
                PARTS,
                part(b'; name="t"', b"x", b"Content-Encoding: nonsense") + b"--B--\r\n",
                415,
            ),
            (
                PARTS,
                part(b'; name="t"; filename="f"', b"x", b"Content-Transfer-Encoding: nonsense")
                + b"--B--\r\n",
                415,
            ),
            (PARTS, b"rubbish", 400),
            (PARTS, part(b'; name="t"', b"x"), 400),
            (b"Content-Type: multipart/form-data", b"--B--\r\n", 400),
            (
                PARTS,
                part(b'; name="t"', b"\xff", b"Content-Type: text/plain; charset=utf-8")
                + b"--B--\r\n",
                415,
            ),
        ],
    )
    async def test_refused(self, fields: bytes, body: bytes, status: int) -> None:
        """The limits hold for the whole form; what is malformed is the client's fault."""

        async def handler(request: Request) -> StreamResponse:
            await request.post()
            return Response()

        async with serving(handler, max_body_size=1000, max_form_fields=10) as server:
            assert (await ask(server, post(fields, body=body))).status == status

    @pytest.mark.parametrize("filename", [b"", b'; filename="f"'])
    @pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
    async def test_bomb(self, coding: str, filename: bytes) -> None:
        """A part that is small on the wire, and vast once decoded, is decoded up to the limit."""
        if coding not in available_codings():
            pytest.skip(f"no {coding} here")
        compressor = make_compressor(coding)
        zeros = bytes(1024 * 1024)
        bomb = b"".join(compressor.compress(zeros) for _ in range(32)) + compressor.flush()
        assert len(bomb) < 64 * 1024
        body = part(b'; name="t"' + filename, bomb, b"Content-Encoding: " + coding.encode())
        peak = 0

        async def handler(request: Request) -> StreamResponse:
            nonlocal peak
            tracemalloc.start()
            try:
                await request.post()
            finally:
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
            return Response()

        async with serving(handler) as server:
            assert (await ask(server, post(PARTS, body=body + b"--B--\r\n"))).status == 413
        assert peak < 8 * 1024 * 1024

    @pytest.mark.parametrize("body", [b"", b"abc"])
    async def test_too_many_codings(self, body: bytes) -> None:
        """More content codings than are undone: 400, whether the body has come yet or not."""
        errors: list[HTTPException] = []

        async def handler(request: Request) -> StreamResponse:
            for _ in range(2):
                with pytest.raises(HTTPException) as caught:
                    await request.content.read()
                errors.append(caught.value)
            raise errors[0]

        coded = b"Content-Encoding: %b\r\n" % b", ".join([b"gzip"] * 50)
        head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n%b\r\n" % coded
        async with serving(handler) as server:
            assert (await ask(server, head + body)).status == 400
        assert [error.status for error in errors] == [400, 400]

    async def test_no_multipart(self) -> None:
        """A body of another type has no parts: 415."""

        async def handler(request: Request) -> StreamResponse:
            await request.multipart()
            return Response()

        async with serving(handler) as server:
            assert (await ask(server, post(FORM, body=b"a=1"))).status == 415


def test_http_exception() -> None:
    """An exception has the facts of its answer, and only statuses that end a request."""
    error = HTTPException(404)
    assert (error.status, error.reason, str(error)) == (404, "Not Found", "404 Not Found")
    response = HTTPException(302, headers={"Location": "/x"}).response()
    assert (response.status, response.headers["Location"]) == (302, "/x")
    for status in (200, 100, 600):
        with pytest.raises(ValueError, match="300 to 599"):
            HTTPException(status)
