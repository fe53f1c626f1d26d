"""Tests of angelia.cli.body: content on terminals."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.cli.body import MAX_PRETTY, copy_body, looks_binary, show_body, text_codec
from angelia.cli.output import Output


async def chunks_of(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def shown(
    pieces: Sequence[bytes],
    content_type: str = "text/plain",
    charset: str | None = None,
    length: int | None = None,
) -> str:
    stream = io.StringIO()
    await show_body(
        chunks_of(pieces),
        Output(stream, None, {}),
        content_type=content_type,
        charset=charset,
        length=length,
    )
    return stream.getvalue()


def cuts(content: bytes) -> list[list[bytes]]:
    """`content` whole, in two pieces in every way, and octet by octet."""
    ways = [[content], [content[i : i + 1] for i in range(len(content))]]
    return ways + [[content[:cut], content[cut:]] for cut in range(1, len(content))]


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        (None, "utf-8"),
        ("", "utf-8"),
        ("UTF8", "utf-8"),
        ("latin-1", "iso8859-1"),
        ("utf-16", "utf-16"),
        ("nonsense", "utf-8"),
        ("a\0b", "utf-8"),
        ("hex", "utf-8"),
        ("rot13", "utf-8"),
        ("idna", "utf-8"),
        ("undefined", "utf-8"),
    ],
)
def test_codecs(charset: str | None, codec: str) -> None:
    """A charset is taken if it is one that makes text."""
    assert text_codec(charset) == codec


@pytest.mark.parametrize(
    ("content_type", "codec", "start", "binary"),
    [
        ("image/png", "utf-8", b"\x89PNG\r\n", True),
        ("application/octet-stream", "utf-8", b"\xff\xfe", True),
        ("application/octet-stream", "utf-8", b"just text", False),
        ("application/octet-stream", "utf-8", "ä".encode()[:1], False),
        ("text/plain", "utf-8", b"\xe4 latin", False),
        ("text/plain", "utf-8", b"a\0b", True),
        ("text/plain", "utf-16", "ab".encode("utf-16"), False),
        ("application/problem+json", "utf-8", b"\xff", False),
        ("image/svg+xml", "utf-8", b"\xff", False),
    ],
)
def test_looks_binary(content_type: str, codec: str, start: bytes, binary: bool) -> None:
    """NUL is binary, and so is what neither says that it is text nor can be read as such."""
    assert looks_binary(content_type, codec, start) is binary


async def test_json() -> None:
    """JSON is laid out, however it is cut, with a byte order mark or without."""
    for content in (b'{"a": "\xc3\xa4"}', b'\xef\xbb\xbf{"a": "\xc3\xa4"}'):
        for pieces in cuts(content):
            assert await shown(pieces, "application/hal+json") == '{\n    "a": "ä"\n}\n'


async def test_broken_json() -> None:
    """What says that it is JSON and is not is shown as it came."""
    for pieces in cuts(b'{"a": \x1b}\xff\n'):
        assert await shown(pieces, "application/json") == '{"a": \\x1b}\\xff\n'


async def test_large_json() -> None:
    """JSON beyond the limit is shown as it came, all of it."""
    piece = b'"' + b"a" * 99_998 + b'"'
    pieces = [b"[", *[piece, b","] * (MAX_PRETTY // len(piece) + 3), b"1]"]
    assert await shown(pieces, "application/json") == b"".join(pieces).decode() + "\n"


async def test_text() -> None:
    """Text is shown in its charset, ends of line as such, controls spelled out, an end added."""
    content = "ä\r\nb\rc\x1b[0m\r".encode("latin-1")
    for pieces in cuts(content):
        assert await shown(pieces, charset="latin-1") == "ä\nb\\x0dc\\x1b[0m\\x0d\n"


@given(
    st.lists(st.binary(max_size=5)),
    st.sampled_from(
        ["utf-8", "utf-16", "utf-32", "gb18030", "shift_jis", "euc-kr", "big5", "idna", "hex"]
    ),
)
async def test_any_text(pieces: list[bytes], charset: str) -> None:
    """However content is cut, the same is shown, and nothing that a terminal obeys."""
    content = b"\n" + b"".join(pieces).replace(b"\0", b"")
    whole = await shown([content], charset=charset)
    assert await shown([content[i : i + 1] for i in range(len(content))], charset=charset) == whole
    assert not set(whole) & {"\x1b", "\r", "\x9b", "\0"}


async def test_text_is_shown_as_it_comes() -> None:
    """A piece is shown before the next one has come."""
    stream = io.StringIO()
    seen: list[str] = []

    async def chunks() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d\n" % number
            seen.append(stream.getvalue())

    output = Output(stream, None, {})
    await show_body(chunks(), output, content_type="text/event-stream", charset=None, length=None)
    assert seen == ["0\n", "0\n1\n", "0\n1\n2\n"]


async def test_byte_order() -> None:
    """UTF-16 is read in the order of its mark, and little-endian without one."""
    for codec in ("utf-16", "utf-16-le"):
        for pieces in cuts("aä\n".encode(codec)):
            assert (await shown(pieces, charset="utf-16")).removeprefix("\ufeff") == "aä\n"
    big = b"\xfe\xff" + "aä".encode("utf-16-be")
    assert await shown([big], charset="utf-16") == "aä\n"


async def test_binary() -> None:
    """Binary content is a notice, and is not read to its end."""
    read = 0

    async def chunks() -> AsyncGenerator[bytes, None]:
        nonlocal read
        while True:
            read += 1
            yield b"\0" * 1000

    stream = io.StringIO()
    source = chunks()
    await show_body(
        source, Output(stream, None, {}), content_type="image/x\x1b", charset=None, length=7
    )
    await source.aclose()
    assert stream.getvalue() == "(binary content, image/x\\x1b, 7 bytes: -o FILE saves it)\n"
    assert read == 1


async def test_nothing() -> None:
    """No content shows nothing, not even an empty line."""
    assert await shown([]) == ""


async def test_copy() -> None:
    """A copy is octet by octet."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw)
    await copy_body(chunks_of([b"\xff\0", b"\x1b\r\n"]), Output(stream, None, {}))
    assert raw.getvalue() == b"\xff\0\x1b\r\n"
