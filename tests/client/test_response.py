"""ClientResponse: facts, text and JSON, content codings, the end of its life."""

from __future__ import annotations

import copy
import gzip
import pickle
import zlib
from typing import Any

import pytest

import angelia
from peers.raw import RawServer, response

pytestmark = pytest.mark.usefixtures("loop_kind")


async def fetch(answer: bytes, **arguments: Any) -> angelia.ClientResponse:
    """The response to one request, read whole."""
    async with RawServer([answer]) as server, angelia.ClientSession() as session:
        async with session.get(server.url / "dir" / "page", **arguments) as resp:
            await resp.read()
        return resp


async def test_types() -> None:
    """Media type, charset and disposition are read from their fields."""
    resp = await fetch(
        response(
            b"x",
            'Content-Type: Text/HTML; charset="iso-8859-1"',
            "Content-Disposition: attachment; filename*=UTF-8''%e2%82%ac.txt",
        )
    )
    assert resp.content_type == "text/html"
    assert resp.charset == "iso-8859-1"
    assert resp.get_encoding() == "iso8859-1"
    disposition = resp.content_disposition
    assert disposition is not None
    assert disposition.type == "attachment"
    assert disposition.filename == "\u20ac.txt"
    plain = await fetch(response(b"x"))
    assert plain.content_type == "application/octet-stream"
    assert plain.charset is None
    assert plain.content_disposition is None


async def test_links() -> None:
    """Links are found by their relation, with targets seen from the response."""
    resp = await fetch(response(b"", "Link: </next>; rel=next, <other>; title=x"))
    assert resp.links["next"]["url"] == resp.url.with_path("/next")
    assert resp.links["other"]["url"] == resp.url.with_path("/dir/other")


@pytest.mark.parametrize(
    ("fields", "content", "text"),
    [
        ((), "h\u00e9".encode(), "h\u00e9"),
        (("Content-Type: text/plain; charset=latin-1",), "h\u00e9".encode("latin-1"), "h\u00e9"),
        (("Content-Type: text/plain; charset=nonsense",), "h\u00e9".encode(), "h\u00e9"),
    ],
)
async def test_text(fields: tuple[str, ...], content: bytes, text: str) -> None:
    """Text is decoded by the charset that Python knows, else by the fallback."""
    resp = await fetch(response(content, *fields))
    assert await resp.text() == text
    assert await resp.text("ascii", "replace") != text


async def test_fallback_charset() -> None:
    """The session's resolver names the charset of a text that does not say."""
    async with (
        RawServer([response(b"\xe9")]) as server,
        angelia.ClientSession(fallback_charset_resolver=lambda r, b: "latin-1") as session,
        session.get(server.url) as resp,
    ):
        assert await resp.text() == "\u00e9"


async def test_json() -> None:
    """JSON is read from JSON types, any +json among them; nothing but blanks is None."""
    resp = await fetch(response(b'{"a": 1}', "Content-Type: application/problem+json"))
    assert await resp.json() == {"a": 1}
    blank = await fetch(response(b"  ", "Content-Type: application/json"))
    assert await blank.json() is None
    other = await fetch(response(b"[1]", "Content-Type: text/plain"))
    with pytest.raises(angelia.ContentTypeError) as caught:
        await other.json()
    assert "text/plain" in str(caught.value)
    assert await other.json(content_type=None) == [1]
    assert await other.json(content_type="text/plain", loads=len) == 3


@pytest.mark.parametrize("coding", ["gzip", "GZip", "deflate", "identity"])
async def test_codings(coding: str) -> None:
    """Content codings are decoded, in any case; `auto_decompress` leaves them alone."""
    content = b"content " * 1000
    coders: dict[str, Any] = {"gzip": gzip.compress, "deflate": zlib.compress}
    coded = coders.get(coding.lower(), bytes)(content)
    answer = response(coded, f"Content-Encoding: {coding}")
    assert await (await fetch(answer)).read() == content
    assert await (await fetch(answer, auto_decompress=False)).read() == coded


async def test_bomb() -> None:
    """A session can bound what a response may decode to."""
    bomb = response(gzip.compress(bytes(10_000_000)), "Content-Encoding: gzip")
    async with (
        RawServer([bomb]) as server,
        angelia.ClientSession(max_decompressed_size=100_000) as session,
    ):
        with pytest.raises(angelia.ClientPayloadError):
            async with session.get(server.url) as resp:
                await resp.read()


async def test_too_many_codings() -> None:
    """Six codings on top of each other are refused."""
    answer = response(b"x", "Content-Encoding: gzip, gzip, gzip, gzip, gzip, gzip")
    with pytest.raises(angelia.ClientPayloadError):
        await fetch(answer)


async def test_streams() -> None:
    """Content can be read in every way that a stream offers."""
    lines = response(b"one\ntwo\nthree")
    async with RawServer([lines] * 4) as server, angelia.ClientSession() as session:
        async with session.get(server.url) as resp:
            assert [line async for line in resp.content] == [b"one\n", b"two\n", b"three"]
        async with session.get(server.url) as resp:
            read = [line async for line in resp.content.iter_lines(max_line=5)]
            assert read == [b"one\n", b"two\n", b"three"]
        async with session.get(server.url) as resp:
            assert await resp.content.readexactly(3) == b"one"
            assert await resp.content.readuntil(b"w") == b"\ntw"
            assert await resp.content.read() == b"o\nthree"
        async with session.get(server.url) as resp:
            assert b"".join([piece async for piece in resp.content.iter_chunked(2)]) == (
                b"one\ntwo\nthree"
            )


async def test_raise_for_status() -> None:
    """An error status becomes an error with the response's facts, which travels."""
    resp = await fetch(response(b"x", "X-Why: y", status="404 Not Found"))
    assert not resp.ok
    with pytest.raises(angelia.ClientResponseError) as caught:
        resp.raise_for_status()
    for error in (
        caught.value,
        copy.copy(caught.value),
        pickle.loads(pickle.dumps(caught.value)),  # noqa: S301 - our own
    ):
        assert error.status == 404
        assert error.message == "Not Found"
        assert error.headers is not None
        assert error.headers["x-why"] == "y"
        assert error.request_info.real_url == resp.real_url
        assert "404" in str(error)
    (await fetch(response(b"x"))).raise_for_status()


async def test_life() -> None:
    """A response is true, hashable and done after it was read; closing it again is harmless."""
    resp = await fetch(response(b"x"))
    assert bool(resp) is True
    assert isinstance(hash(resp), int)
    assert resp.closed
    assert resp.connection is None
    resp.release()
    resp.close()
    assert await resp.read() == b"x"
    timings = resp.timings
    assert timings.connect is not None
    assert timings.tls is None
    assert timings.total is not None
    assert repr(resp).startswith("<ClientResponse(http://127.0.0.1")


async def test_trailers() -> None:
    """Fields after the content do not become headers."""
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n"
    resp = await fetch(answer)
    assert resp.trailers["x-sum"] == "1"
    assert "x-sum" not in resp.headers
