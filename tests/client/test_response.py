"""ClientResponse: facts, text and JSON, content codings, streams, the end of its life."""

from __future__ import annotations

import asyncio
import copy
import gc
import gzip
import json
import pickle
import weakref
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy, MultiDictProxy
from yarl import URL

import angelia
from angelia.core.coding import available_codings, make_compressor
from peers.raw import RawServer, read_request, response

pytestmark = pytest.mark.usefixtures("loop_kind")

CODINGS = [name for name in ("gzip", "deflate", "br", "zstd") if name in available_codings()]


def coded(name: str, content: bytes) -> bytes:
    compressor = make_compressor(name)
    return compressor.compress(content) + compressor.flush()


async def fetch(answer: bytes, **arguments: Any) -> angelia.ClientResponse:
    """The response to one request, read whole."""
    async with RawServer([answer]) as server, angelia.ClientSession() as session:
        async with session.get(server.url / "dir" / "page", **arguments) as resp:
            await resp.read()
        return resp


class TestFacts:
    """What a response says of itself and of its request."""

    async def test_status_line(self) -> None:
        """Status, reason and version are those of the status line."""
        resp = await fetch(response(b"x", status="299 Very Well", version="HTTP/1.0"))
        assert resp.status == 299
        assert resp.reason == "Very Well"
        assert resp.version == angelia.HttpVersion10
        assert resp.ok
        silent = await fetch(b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n")
        assert silent.reason == ""

    @pytest.mark.parametrize(
        ("status", "ok"), [(200, True), (399, True), (400, False), (503, False)]
    )
    async def test_ok(self, status: int, ok: bool) -> None:
        """Ok is below 400; to ask changes nothing."""
        async with (
            RawServer([response(b"x", status=f"{status} X")]) as server,
            angelia.ClientSession() as session,
            session.get(server.url) as resp,
        ):
            assert resp.ok is ok
            assert await resp.read() == b"x"

    async def test_urls(self) -> None:
        """`url` has no fragment, `real_url` keeps it; neither changes what was asked for."""
        async with (
            RawServer([response(b"x")]) as server,
            angelia.ClientSession() as session,
            session.get(server.url / "a?b=c#d", params={"e": "f"}) as resp,
        ):
            assert resp.url == URL(f"{server.url}a%3Fb=c%23d?e=f")
        async with (
            RawServer([response(b"x")]) as server,
            angelia.ClientSession() as session,
            session.get(f"{server.url}a#d") as resp,
        ):
            assert resp.url == server.url / "a"
            assert resp.real_url == URL(f"{server.url}a#d")
            assert resp.host == "127.0.0.1"
            assert resp.method == "GET"
            info = resp.request_info
            assert info is resp.request_info
            assert (info.url, info.real_url, info.method) == (resp.url, resp.real_url, "GET")
            assert info.headers["Host"] == f"127.0.0.1:{server.port}"

    async def test_headers(self) -> None:
        """Fields are found without regard to case, in order; `raw_headers` has their octets."""
        resp = await fetch(response(b"", "X-A: 1", "x-a: 2", "X-B:  \tb c \t"))
        assert isinstance(resp.headers, CIMultiDictProxy)
        assert resp.headers.getall("X-a") == ["1", "2"]
        assert resp.headers["x-b"] == "b c"
        assert resp.raw_headers == (
            (b"X-A", b"1"),
            (b"x-a", b"2"),
            (b"X-B", b"b c"),
            (b"Content-Length", b"0"),
        )
        assert resp.headers is resp.headers
        assert resp.raw_headers is resp.raw_headers

    @pytest.mark.parametrize(
        ("field", "essence", "charset"),
        [
            ('Text/HTML; charset="iso-8859-1"', "text/html", "iso-8859-1"),
            ("text/html;", "text/html", None),
            ("text/html; charset", "text/html", None),
            ("text/html; CHARSET=x", "text/html", "x"),
            ("text", "application/octet-stream", None),
            ("text/html/x", "application/octet-stream", None),
            ("text/ html", "application/octet-stream", None),
            ("; charset=x", "application/octet-stream", "x"),
        ],
    )
    async def test_types(self, field: str, essence: str, charset: str | None) -> None:
        """Type and charset of the content; what is no type is unknown."""
        resp = await fetch(response(b"x", f"Content-Type: {field}"))
        assert resp.content_type == essence
        assert resp.charset == charset

    async def test_without_fields(self) -> None:
        """What is not said is None, or the default of the RFC."""
        resp = await fetch(b"HTTP/1.0 200 OK\r\n\r\n", read_until_eof=False)
        assert resp.content_type == "application/octet-stream"
        assert resp.charset is None
        assert resp.content_disposition is None
        assert resp.content_length is None
        assert resp.cookies == {}
        assert len(resp.links) == 0
        assert resp.history == ()
        assert resp.trailers == CIMultiDict()

    async def test_content_disposition(self) -> None:
        """Type, parameters and the best of the file names."""
        field = (
            "Content-Disposition: attachment; filename=\"e.txt\"; filename*=UTF-8''%e2%82%ac.txt"
        )
        disposition = (await fetch(response(b"x", field))).content_disposition
        assert disposition is not None
        assert disposition.type == disposition.value == "attachment"
        assert disposition.filename == "\u20ac.txt"
        assert disposition.parameters["filename"] == "e.txt"
        with pytest.raises(TypeError):
            disposition.parameters["x"] = "y"  # type: ignore[index]  # the point

    async def test_cookies(self) -> None:
        """The cookies that it sets, as `SimpleCookie`; what cannot be read is left out."""
        resp = await fetch(
            response(b"", "Set-Cookie: a=1; Path=/x", "Set-Cookie: =;;", "Set-Cookie: a=2")
        )
        assert {name: morsel.value for name, morsel in resp.cookies.items()} == {"a": "2"}

    async def test_links(self) -> None:
        """Links are found by their relation, with targets seen from the response."""
        field = "Link: </next>; rel=next, <other>; title=x, <http://[>; rel=bad, <#>; rel=next"
        links = (resp := await fetch(response(b"", field))).links
        assert isinstance(links, MultiDictProxy)
        assert isinstance(links["next"], MultiDictProxy)
        assert links["next"]["url"] == resp.url.with_path("/next")
        assert links["next"]["rel"] == "next"
        assert links["other"]["url"] == resp.url.with_path("/dir/other")
        assert links["other"]["title"] == "x"
        assert len(links.getall("next")) == 2
        assert "bad" not in links

    async def test_trailers(self) -> None:
        """Fields after the content do not become headers."""
        answer = (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n"
        )
        resp = await fetch(answer)
        assert resp.trailers["x-sum"] == "1"
        assert "x-sum" not in resp.headers

    async def test_object(self) -> None:
        """A response is true, equal to itself alone, and can be referred to weakly."""
        resp = await fetch(response(b"", status="500 No"))
        assert bool(resp) is True
        assert {resp: 1}[resp] == 1
        assert resp != await fetch(response(b""))
        assert weakref.ref(resp)() is resp

    async def test_repr(self) -> None:
        """Its representation names URL, status and fields, in ASCII, without secrets."""
        async with (
            RawServer([response(b"", "Set-Cookie: a=secret", "X-A: b")]) as server,
            angelia.ClientSession() as session,
            session.get(server.url.with_user("u").with_password("pw") / "\u20ac") as resp,
        ):
            text = repr(resp)
        assert text.startswith("<ClientResponse(http://")
        assert "[200 OK]" in text
        assert "'X-A': 'b'" in text
        assert text.isascii()
        assert "secret" not in text
        assert "pw" not in text

    async def test_history(self) -> None:
        """The responses that led here, with their facts; each of them is done."""
        moved = response(b"x", "Location: /b", "Set-Cookie: a=1", status="302 Found")
        async with (
            RawServer([moved, moved, response(b"ok")]) as server,
            angelia.ClientSession() as session,
            session.get(server.url) as resp,
        ):
            assert [hop.status for hop in resp.history] == [302, 302]
            assert [hop.url for hop in resp.history] == [server.url, server.url / "b"]
            assert all(hop.closed for hop in resp.history)
            assert resp.history[0].history == ()
            assert resp.history[0].cookies["a"].value == "1"

    async def test_upload(self) -> None:
        """What of the request's body was sent, and whether that is all."""
        go_on = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b"abc"
            await go_on.wait()
            yield b"de"

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"abc\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            await reader.readuntil(b"0\r\n\r\n")
            writer.write(b"ok")

        async with (
            RawServer(script) as server,
            angelia.ClientSession() as session,
            session.post(server.url, data=body()) as resp,
        ):
            assert (resp.upload_complete, resp.output_size) == (False, 3)
            go_on.set()
            assert await resp.read() == b"ok"
            assert (resp.upload_complete, resp.output_size) == (True, 5)
            await resp.wait_for_close()
            assert resp.closed

    async def test_timings(self) -> None:
        """How long the phases took: a reused connection was neither looked up nor made."""
        async with (
            RawServer([response(b"x")] * 2) as server,
            angelia.ClientSession() as session,
        ):
            async with session.get(server.url) as resp:
                await resp.read()
            first = resp.timings
            async with session.get(server.url) as resp:
                await resp.read()
            second = resp.timings
        assert first.connect is not None
        assert second.connect is None
        for timings in (first, second):
            assert timings.tls is None
            assert timings.first_byte is not None
            assert timings.total is not None
            assert 0 <= timings.first_byte <= timings.total


class TestRequestInfo:
    """`RequestInfo`: a value that travels."""

    def test_attributes(self) -> None:
        """`real_url` is the URL where it is not given."""
        headers = CIMultiDictProxy(CIMultiDict({"Cookie": "secret"}))
        url = URL("http://a.test/")
        info = angelia.RequestInfo(url, "GET", headers)
        assert info.real_url == info.url == url
        assert (info.method, info.headers) == ("GET", headers)
        assert info == angelia.RequestInfo(url, "GET", headers, url)
        assert info != angelia.RequestInfo(url, "POST", headers)
        assert "secret" not in repr(info)
        pickled = pickle.loads(pickle.dumps(info))  # noqa: S301 - our own
        assert copy.copy(info) == copy.deepcopy(info) == pickled == info
        with pytest.raises(AttributeError):
            info.method = "POST"  # type: ignore[misc]  # the point


class TestText:
    """Charsets."""

    @pytest.mark.parametrize(
        ("field", "content", "encoding"),
        [
            ("text/plain", "h\u00e9".encode(), "utf-8"),
            ("text/plain; charset=latin-1", "h\u00e9".encode("latin-1"), "iso8859-1"),
            ('text/plain; charset="UTF-16"', "h\u00e9".encode("utf-16"), "utf-16"),
            ("text/plain; charset=nonsense", "h\u00e9".encode(), "utf-8"),
            ("text/plain; charset=hex", "h\u00e9".encode(), "utf-8"),
            ("text/plain; charset=rot13", "h\u00e9".encode(), "utf-8"),
            ("text/plain; charset=undefined", "h\u00e9".encode(), "utf-8"),
            ('text/plain; charset="a\tb"', "h\u00e9".encode(), "utf-8"),
            ("text/plain; charset=", "h\u00e9".encode(), "utf-8"),
            ("text/plain;", "h\u00e9".encode(), "utf-8"),
            ("rubbish", "h\u00e9".encode(), "utf-8"),
        ],
    )
    async def test_charset(self, field: str, content: bytes, encoding: str) -> None:
        """The charset that Python knows as one of text, else the fallback."""
        resp = await fetch(response(content, f"Content-Type: {field}"))
        assert resp.get_encoding() == encoding
        assert await resp.text() == "h\u00e9"
        assert await resp.text() == "h\u00e9"

    async def test_arguments(self) -> None:
        """`encoding` wins over what the response says; `errors` is obeyed."""
        resp = await fetch(response(b"h\xe9", "Content-Type: text/plain; charset=utf-8"))
        assert await resp.text("latin-1") == "h\u00e9"
        assert await resp.text(encoding="latin-1") == "h\u00e9"
        assert await resp.text(errors="replace") == "h\ufffd"
        assert await resp.text("ascii", "ignore") == "h"
        with pytest.raises(UnicodeDecodeError):
            await resp.text()

    @pytest.mark.parametrize("field", ["text/plain", "text/plain; charset=nonsense", "x"])
    async def test_fallback(self, field: str) -> None:
        """The session's resolver is asked where the response does not say."""
        async with (
            RawServer([response(b"\xe9", f"Content-Type: {field}")]) as server,
            angelia.ClientSession(fallback_charset_resolver=lambda r, b: "latin-1") as session,
            session.get(server.url) as resp,
        ):
            await resp.read()
            assert resp.get_encoding() == "latin-1"
            assert await resp.text() == "\u00e9"

    async def test_encoding_before_content(self) -> None:
        """Before the content was read only the fields can say; else RuntimeError."""
        for field, encoding in (
            ("text/plain; charset=latin-1", "iso8859-1"),
            ("application/json", "utf-8"),
            ("application/problem+json", "utf-8"),
            ("text/plain", None),
        ):
            async with (
                RawServer([response(b"{}", f"Content-Type: {field}")]) as server,
                angelia.ClientSession() as session,
                session.get(server.url) as resp,
            ):
                if encoding is None:
                    with pytest.raises(RuntimeError, match="not yet read"):
                        resp.get_encoding()
                else:
                    assert resp.get_encoding() == encoding


class TestJSON:
    """`json`."""

    @pytest.mark.parametrize(
        "field",
        [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/problem+json",
            "application/rdap+JSON",
            "model/gltf+json",
        ],
    )
    async def test_types(self, field: str) -> None:
        """JSON, and whatever is built on it, in any case; without a charset it is UTF-8."""
        resp = await fetch(response('{"a": "\u20ac"}'.encode(), f"Content-Type: {field}"))
        assert await resp.json() == {"a": "\u20ac"}
        assert await resp.json() == {"a": "\u20ac"}

    @pytest.mark.parametrize(
        "field",
        ["text/plain", "application/jsonx", "application/json5", "text/json", "application", ""],
    )
    async def test_other_types(self, field: str) -> None:
        """Others are an error with the response's facts, unless they are asked for."""
        resp = await fetch(response(b"[1]", f"Content-Type: {field}", status="201 Created"))
        with pytest.raises(angelia.ContentTypeError) as caught:
            await resp.json()
        error = caught.value
        assert error.status == 201
        assert error.headers == resp.headers
        assert error.request_info == resp.request_info
        assert error.message == f"Attempt to decode JSON with unexpected mimetype: {field}"
        assert await resp.json(content_type=None) == [1]
        if field:
            assert await resp.json(content_type=field.upper()) == [1]

    @pytest.mark.parametrize("content", [b"", b" \r\n\t "])
    async def test_blank(self, content: bytes) -> None:
        """No content but whitespace is None."""
        resp = await fetch(response(content, "Content-Type: application/json"))
        assert await resp.json() is None

    async def test_arguments(self) -> None:
        """`loads` gets the text, decoded by `encoding` or by what the response says."""
        resp = await fetch(response(b'"\xe9"', "Content-Type: application/json; charset=latin-1"))
        assert await resp.json() == "\u00e9"
        assert await resp.json(loads=str.upper) == '"\u00c9"'
        assert await resp.json(encoding="cp437", loads=str) == '"\u0398"'

    async def test_malformed(self) -> None:
        """What is no JSON is the decoder's error; the content stays readable."""
        resp = await fetch(response(b"{", "Content-Type: application/json"))
        with pytest.raises(json.JSONDecodeError):
            await resp.json()
        assert await resp.text() == "{"


CONTENT = b"content that is repeated, " * 400


class TestCodings:
    """Content codings."""

    @pytest.mark.parametrize("name", [*CODINGS, "GZip", "DEFLATE", "x-gzip"])
    async def test_each(self, name: str) -> None:
        """Each is undone, in any case, read whole and in pieces."""
        packed = coded(name.lower().removeprefix("x-"), CONTENT)
        answer = response(packed, f"Content-Encoding: {name}")
        assert await (await fetch(answer)).read() == CONTENT
        async with (
            RawServer([answer], piece=7) as server,
            angelia.ClientSession() as session,
            session.get(server.url) as resp,
        ):
            assert b"".join([piece async for piece in resp.content.iter_chunked(100)]) == CONTENT
            assert resp.content.total_bytes == len(CONTENT)
            assert resp.content.total_raw_bytes == len(packed)
            assert resp.content.total_compressed_bytes == len(packed)

    async def test_deflate_without_header(self) -> None:
        """Servers that mean raw deflate by it are understood."""
        compressor = zlib.compressobj(wbits=-15)
        packed = compressor.compress(CONTENT) + compressor.flush()
        resp = await fetch(response(packed, "Content-Encoding: deflate"))
        assert await resp.read() == CONTENT

    @pytest.mark.parametrize("name", ["identity", "rot13", "", " ", "sdch"])
    async def test_unknown(self, name: str) -> None:
        """What is not known is passed on as it came."""
        resp = await fetch(response(b"as it is", f"Content-Encoding: {name}"))
        assert await resp.read() == b"as it is"

    async def test_chain(self) -> None:
        """Five codings are undone, the last one first; six are refused."""
        packed = CONTENT
        names = ["gzip", "deflate", "gzip", "deflate", "gzip"]
        for name in names:
            packed = coded(name, packed)
        resp = await fetch(response(packed, f"Content-Encoding: {', '.join(names)}"))
        assert await resp.read() == CONTENT
        split = [f"Content-Encoding: {name}" for name in names]
        assert await (await fetch(response(packed, *split))).read() == CONTENT
        with pytest.raises(angelia.ClientPayloadError):
            await fetch(response(packed, f"Content-Encoding: {', '.join([*names, 'gzip'])}"))

    @pytest.mark.parametrize("name", CODINGS)
    @pytest.mark.parametrize(
        "spoil",
        [
            lambda packed: packed[:-3],
            lambda packed: packed[:1],
            lambda packed: packed + b"rubbish",
            lambda packed: packed[:10] + bytes(octet ^ 0xFF for octet in packed[10:]),
            lambda packed: b"no coding at all",
        ],
        ids=["cut", "begun", "more", "garbled", "plain"],
    )
    async def test_broken(self, name: str, spoil: Callable[[bytes], bytes]) -> None:
        """Broken, cut or with something behind its end: an error, and no connection in use."""
        packed = spoil(coded(name, CONTENT))
        chunks = b"%x\r\n%s\r\n" % (len(packed), packed)
        head = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: {name}\r\n\r\n"

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(head.encode() + chunks + b"0\r\n\r\n")
            await reader.read()

        async with RawServer(script) as server, angelia.ClientSession() as session:
            async with session.get(server.url) as resp:
                with pytest.raises(angelia.ClientPayloadError):
                    await resp.read()
            assert session.connector is not None
            assert session.connector.stats().in_use == 0

    async def test_broken_while_more_comes(self) -> None:
        """Broken content whose rest is still to come closes the connection at once."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nContent-Encoding: gzip\r\n\r\n"
            writer.write(head.encode() + b"no gzip")
            await reader.read()

        async with RawServer(script) as server, angelia.ClientSession() as session:
            async with session.get(server.url) as resp:
                with pytest.raises(angelia.ClientPayloadError):
                    await resp.read()
            await server.wait_all_closed()

    async def test_members(self) -> None:
        """Several gzip members are one content."""
        packed = gzip.compress(b"one,") + gzip.compress(b"two,") + gzip.compress(b"three")
        resp = await fetch(response(packed, "Content-Encoding: gzip"))
        assert await resp.read() == b"one,two,three"

    @pytest.mark.parametrize("name", CODINGS)
    async def test_nothing_to_decode(self, name: str) -> None:
        """No content, a 304 and the answer to HEAD have nothing to decode, and no error."""
        field = f"Content-Encoding: {name}"
        assert await (await fetch(response(b"", field))).read() == b""
        silent = f"HTTP/1.1 304 Not Modified\r\n{field}\r\nContent-Length: 5\r\n\r\n"
        assert await (await fetch(silent.encode())).read() == b""
        announced = f"HTTP/1.1 200 OK\r\n{field}\r\nContent-Length: 5\r\n\r\n"
        async with (
            RawServer([announced.encode()]) as server,
            angelia.ClientSession() as session,
            session.head(server.url) as resp,
        ):
            assert await resp.read() == b""
            assert resp.content_length == 5

    async def test_first_piece_without_output(self) -> None:
        """The header of gzip alone decodes to nothing; the reader waits for more."""
        packed = gzip.compress(CONTENT)

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            fields = f"Content-Length: {len(packed)}\r\nContent-Encoding: gzip"
            head = f"HTTP/1.1 200 OK\r\n{fields}\r\n\r\n".encode()
            for piece in (head, packed[:10], packed[10:]):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)

        async with (
            RawServer(script) as server,
            angelia.ClientSession() as session,
            session.get(server.url) as resp,
        ):
            assert (await resp.content.readany())[:7] == CONTENT[:7]

    async def test_slice(self) -> None:
        """A 206 with a slice of a coded content ends, in an error: nobody can decode it."""
        packed = gzip.compress(CONTENT)
        for part in (packed[:20], packed[20:40], packed[-20:]):
            with pytest.raises(angelia.ClientPayloadError):
                await fetch(response(part, "Content-Encoding: gzip", status="206 Partial Content"))

    async def test_left_alone(self) -> None:
        """`auto_decompress=False` leaves octets and fields as they came."""
        packed = gzip.compress(CONTENT)
        resp = await fetch(response(packed, "Content-Encoding: gzip"), auto_decompress=False)
        assert await resp.read() == packed
        assert resp.headers["Content-Encoding"] == "gzip"

    async def test_bomb(self) -> None:
        """Decoded as it is read, a bomb costs what the buffer holds, and no more."""
        size = 64 * 2**20
        packed = gzip.compress(bytes(size))
        async with (
            RawServer([response(packed, "Content-Encoding: gzip")]) as server,
            angelia.ClientSession() as session,
            session.get(server.url, read_bufsize=2**16) as resp,
        ):
            total = 0
            async for piece in resp.content.iter_any():
                total += len(piece)
                assert len(piece) + resp.content.buffered <= 2**16 * 4
            assert total == size
            assert resp.content.total_raw_bytes == len(packed)

    async def test_unread_bomb(self) -> None:
        """Nobody decodes what nobody reads."""
        packed = gzip.compress(bytes(16 * 2**20))
        async with (
            RawServer([response(packed, "Content-Encoding: gzip")]) as server,
            angelia.ClientSession() as session,
        ):
            async with session.get(server.url, read_bufsize=2**16) as resp:
                pass
            with pytest.raises(angelia.ClientConnectionError):
                await resp.content.read()
            assert resp.content.total_bytes <= 2**16 * 4


LINES = b"one\ntwo\n" * 40_000


async def in_lines(content: angelia.StreamReader) -> bytes:
    return b"".join([line async for line in content])


async def in_pieces(content: angelia.StreamReader) -> bytes:
    return b"".join([piece async for piece in content.iter_chunked(1000)])


async def as_it_comes(content: angelia.StreamReader) -> bytes:
    return b"".join([piece async for piece in content.iter_any()])


async def in_chunks(content: angelia.StreamReader) -> bytes:
    return b"".join([piece async for piece, _ in content.iter_chunks()])


async def in_iter_lines(content: angelia.StreamReader) -> bytes:
    return b"".join([line async for line in content.iter_lines(max_line=10)])


async def up_to(content: angelia.StreamReader) -> bytes:
    parts = []
    while part := await content.readuntil(b"o\n"):
        parts.append(part)
    return b"".join(parts)


async def exactly(content: angelia.StreamReader) -> bytes:
    return b"".join([await content.readexactly(len(LINES) // 8) for _ in range(8)])


async def at_once(content: angelia.StreamReader) -> bytes:
    return await content.read()


READERS = [
    in_lines,
    in_pieces,
    as_it_comes,
    in_chunks,
    in_iter_lines,
    up_to,
    exactly,
    at_once,
]


class TestStreams:
    """`content`, over a real socket."""

    @pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
    @pytest.mark.parametrize("chunked", [False, True])
    async def test_flow(self, reader: Callable[[angelia.StreamReader], Any], chunked: bool) -> None:
        """A slow reader holds the server back at `read_bufsize`; any way to read lets it go on."""
        written = 0
        done = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal written
            await read_request(reader)
            coding = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(LINES)}"
            writer.write(f"HTTP/1.1 200 OK\r\n{coding}\r\n\r\n".encode())
            for start in range(0, len(LINES), 10_000):
                part = LINES[start : start + 10_000]
                writer.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
                await writer.drain()
                written += len(part)
            if chunked:
                writer.write(b"0\r\n\r\n")
            done.set()
            await reader.read()

        async with (
            RawServer(script) as server,
            angelia.ClientSession(read_bufsize=4096) as session,
            session.get(server.url) as resp,
        ):
            await resp.content.readexactly(0)
            assert resp.content.get_read_buffer_limits() == (4096, 8192)
            # One more read of the socket may be under way when it is paused.
            assert resp.content.buffered <= 8192 + 2**18
            assert await reader(resp.content) == LINES
            assert resp.content.at_eof()
            await done.wait()
        assert written == len(LINES)

    @pytest.mark.parametrize("reader", READERS[:6], ids=lambda reader: reader.__name__)
    @pytest.mark.parametrize("answer", [response(b""), response(b"", status="204 No Content")])
    async def test_empty(
        self, reader: Callable[[angelia.StreamReader], Any], answer: bytes
    ) -> None:
        """Without content each of them ends at once."""
        async with (
            RawServer([answer]) as server,
            angelia.ClientSession() as session,
            session.get(server.url) as resp,
        ):
            assert await reader(resp.content) == b""
            assert await resp.content.readany() == b""
            assert await resp.content.readchunk() == (b"", False)
            assert resp.content.total_bytes == resp.content.total_raw_bytes == 0

    async def test_nonsense(self) -> None:
        """Sizes that make no sense are refused, not taken for the end."""
        async with (
            RawServer([response(b"abc")]) as server,
            angelia.ClientSession() as session,
            session.get(server.url) as resp,
        ):
            for size in (0, -1):
                with pytest.raises(ValueError, match=str(size)):
                    resp.content.iter_chunked(size)
            with pytest.raises(ValueError, match="-1"):
                await resp.content.readexactly(-1)
            assert await resp.content.read() == b"abc"

    async def test_ends_of_chunks(self) -> None:
        """`iter_chunks` tells the end of each HTTP chunk once, however the network cuts it."""
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        wire = head + b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
        for piece in (None, 1, 2, 5):
            async with (
                RawServer([wire], piece=piece) as server,
                angelia.ClientSession() as session,
                session.get(server.url) as resp,
            ):
                chunks, current = [], b""
                async for data, is_end in resp.content.iter_chunks():
                    current += data
                    if is_end:
                        chunks.append(current)
                        current = b""
                assert chunks == [b"abc", b"defg"]
                assert current == b""

    async def test_data_before_error(self) -> None:
        """What came before the connection broke is delivered, then the error, again and again."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

        async with (
            RawServer(script) as server,
            angelia.ClientSession() as session,
            session.get(server.url) as resp,
        ):
            assert await resp.content.readexactly(4) == b"half"
            for _ in range(2):
                with pytest.raises(angelia.ClientPayloadError) as caught:
                    await resp.content.readany()
                assert (caught.value.received, caught.value.expected) == (4, 100)

    async def test_closed_session(self) -> None:
        """Closing the session wakes a waiting reader."""
        async with RawServer(half) as server:
            session = angelia.ClientSession()
            resp = await session.get(server.url)
            await resp.content.readexactly(4)
            task = asyncio.create_task(resp.content.read())
            await asyncio.sleep(0)
            await session.close()
            with pytest.raises(angelia.ClientError):
                await task
            with pytest.raises(angelia.ClientError):
                await resp.read()

    async def test_two_readers(self) -> None:
        """The second of two readers at a time is refused; the first goes on."""
        go_on = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            await go_on.wait()
            writer.write(b"ok")

        async with (
            RawServer(script) as server,
            angelia.ClientSession() as session,
            session.get(server.url) as resp,
        ):
            task = asyncio.create_task(resp.content.readany())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another coroutine"):
                await resp.content.readany()
            go_on.set()
            assert await task == b"ok"

    async def test_as_a_body(self) -> None:
        """The content of one response can be the body of another request, whatever its lines."""
        content = b"x" * 300_000
        async with (
            RawServer([response(content)]) as source,
            RawServer([response(b"ok")]) as target,
            angelia.ClientSession() as session,
            session.get(source.url, read_bufsize=1000) as resp,
            session.post(target.url, data=resp.content) as copied,
        ):
            assert await copied.read() == b"ok"
        body = target.requests[0].partition(b"\r\n\r\n")[2]
        assert body.count(b"x") == len(content)

    async def test_read_after_streaming(self) -> None:
        """`read` gives the rest of what was streamed."""
        async with (
            RawServer([response(b"one\ntwo")]) as server,
            angelia.ClientSession() as session,
            session.get(server.url) as resp,
        ):
            assert await resp.content.readline() == b"one\n"
            assert await resp.read() == b"two"
            assert await resp.read() == b"two"

    async def test_not_started(self) -> None:
        """A response that has not begun has no content."""
        resp = angelia.ClientResponse(
            "GET",
            URL("http://a.test/"),
            writer=None,
            continue100=None,
            timer=None,
            request_info=angelia.RequestInfo(
                URL("http://a.test/"), "GET", CIMultiDictProxy(CIMultiDict())
            ),
            traces=[],
            loop=asyncio.get_running_loop(),
            session=None,
        )
        with pytest.raises(RuntimeError, match="not started"):
            _ = resp.content
        assert resp.closed
        assert resp.headers == CIMultiDict()
        assert resp.raw_headers == ()


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends half of a content, and waits."""
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
    await reader.read()


class TestStatusChecks:
    """`raise_for_status`."""

    async def test_error(self) -> None:
        """An error status becomes an error with the response's facts."""
        resp = await fetch(response(b"x", "X-Why: y", status="404 Not Found"))
        with pytest.raises(angelia.ClientResponseError) as caught:
            resp.raise_for_status()
        error = caught.value
        assert error.status == 404
        assert error.message == "Not Found"
        assert error.headers is not None
        assert error.headers["x-why"] == "y"
        assert error.request_info.real_url == resp.real_url
        assert error.history == ()
        (await fetch(response(b"x", status="399 Odd"))).raise_for_status()

    async def test_inside(self) -> None:
        """In ``async with`` the content stays readable: the block releases the response."""
        async with (
            RawServer([response(b"why", status="404 Not Found")]) as server,
            angelia.ClientSession() as session,
            session.get(server.url) as resp,
        ):
            with pytest.raises(angelia.ClientResponseError):
                resp.raise_for_status()
            assert await resp.text() == "why"

    async def test_outside(self) -> None:
        """Outside of it the response is released: nobody else would do it."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 8\r\n\r\nhalf")
            await reader.read()

        async with RawServer(script) as server, angelia.ClientSession() as session:
            resp = await session.get(server.url)
            assert resp.connection is not None
            with pytest.raises(angelia.ClientResponseError):
                resp.raise_for_status()
            assert resp.closed
            with pytest.raises(angelia.ClientConnectionError):
                await resp.read()


class TestLife:
    """`release`, `close`, ``async with``."""

    async def test_read(self) -> None:
        """What was read stays; the connection has gone back; to close again does nothing."""
        resp = await fetch(response(b"x"))
        assert resp.closed
        assert resp.connection is None
        resp.release()
        resp.close()
        assert await resp.read() == b"x"
        assert await resp.text() == "x"

    async def test_release_awaited(self) -> None:
        """What `release` returns may be awaited: it is done already."""
        resp = await fetch(response(b"x"))
        released = resp.release()
        assert await released is None
        assert await released is None

    @pytest.mark.parametrize("content", [b"", b"x", b"x" * 200_000])
    async def test_stream_behind_read(self, content: bytes) -> None:
        """What `read` took is taken from the stream too: that is at its end."""
        resp = await fetch(response(content))
        assert resp.content.at_eof()
        assert await resp.content.read() == b""
        assert [part async for part in resp.content.iter_any()] == []
        assert resp.content.total_bytes == len(content)
        assert await resp.read() == content

    @pytest.mark.parametrize("end", ["release", "close", "leave"])
    @pytest.mark.parametrize("whole", [True, False])
    async def test_unread(self, end: str, whole: bool) -> None:
        """What was not read is gone, whether or not it had come; reading it is an error."""
        script: Any = [response(b"x" * 8)] if whole else half
        async with RawServer(script) as server, angelia.ClientSession() as session:
            resp = await session.get(server.url)
            if end == "leave":
                async with resp:
                    pass
            else:
                getattr(resp, end)()
            assert resp.closed
            with pytest.raises(angelia.ClientConnectionError):
                await resp.read()
            with pytest.raises(angelia.ClientConnectionError):
                await resp.content.read()
            assert resp.status == 200
            if not whole:
                await server.wait_all_closed()

    async def test_connection(self) -> None:
        """While content is to come the response has its connection; then it has none."""
        async with RawServer(half) as server, angelia.ClientSession() as session:
            async with session.get(server.url) as resp:
                connection = resp.connection
                assert isinstance(connection, angelia.Connection)
                assert connection is resp.connection
                assert not connection.closed
                assert connection.transport is not None
                peer = connection.transport.get_extra_info("peername")
                assert peer[1] == server.port
                assert not resp.closed
            assert resp.connection is None

    async def test_cancelled_read(self) -> None:
        """A read that is cancelled closes the connection."""
        async with RawServer(half) as server, angelia.ClientSession() as session:
            resp = await session.get(server.url)
            task = asyncio.create_task(resp.read())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert resp.closed
            await server.wait_all_closed()

    async def test_keeps_its_session(self) -> None:
        """A session lives while a response of it is read."""
        async with RawServer([response(b"x" * 100_000)], piece=10_000) as server:
            session = angelia.ClientSession()
            connector = session.connector
            resp = await session.get(server.url)
            del session
            gc.collect()
            assert len(await resp.read()) == 100_000
            assert connector is not None
            assert resp._session is not None
            await resp._session.close()

    async def test_forgotten(self) -> None:
        """A response that is dropped unread warns, with its URL and status, and is closed."""
        async with RawServer(half) as server, angelia.ClientSession() as session:
            resp = await session.get(server.url)
            assert resp.status == 200
            with pytest.warns(ResourceWarning, match=r"Unclosed response <GET http.* \[200\]>"):
                del resp
            await server.wait_all_closed()
