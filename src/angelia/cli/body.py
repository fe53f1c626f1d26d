"""The content of a response, made fit to look at.

Owns: what is text and what is binary; JSON goes through `layout`, other text is shown as it comes.
Bounded in memory whatever the peer sends. Must not know how the response was asked for.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import AsyncIterator
from typing import Final

from angelia.cli.layout import laid_out_json
from angelia.cli.output import Output, escaped, escaped_line
from angelia.core.charsets import codec_of

__all__ = ("copy_body", "looks_binary", "show_body", "text_codec")

# Longer JSON is shown as it came: nobody reads it on a terminal.
MAX_PRETTY: Final = 1024 * 1024

_TEXT_TYPES: Final = re.compile(
    r"text/.*|.*[/+](?:json|xml|yaml|javascript|ecmascript|x-ndjson|x-www-form-urlencoded|toml)"
)
_JSON_TYPES: Final = re.compile(r"(?:application|text)/(?:[^/]*\+)?json")
# Python's codecs for the charsets of the web, and none of its others: some make no text, and some
# raise errors that the rest do not.
_CHARSETS: Final = re.compile(
    r"utf-8|utf-16(?:-[lb]e)?|utf-32(?:-[lb]e)?|ascii|iso8859-.*|cp[0-9]+|koi8-.*|mac-.*"
    r"|shift_jis.*|euc_.*|gb.*|big5.*"
)
# Text of these may have NUL in it.
_WIDE: Final = re.compile(r"utf-(?:16|32).*")
_BYTE_ORDER_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
LONGEST_MARK: Final = 4


def text_codec(charset: str | None) -> str:
    """The codec for a response that names `charset`; UTF-8 for names of no charset."""
    try:
        name = codec_of(charset or "utf-8")
    except LookupError:
        return "utf-8"
    return name if _CHARSETS.fullmatch(name) else "utf-8"


def looks_binary(content_type: str, codec: str, start: bytes) -> bool:
    """Whether a terminal has no use for content that starts so."""
    if _WIDE.fullmatch(codec):
        return False
    if b"\0" in start:
        return True
    if _TEXT_TYPES.fullmatch(content_type):
        return False
    try:
        # The start may end within a character.
        codecs.getincrementaldecoder(codec)("strict").decode(start)
    except UnicodeDecodeError:
        return True
    return False


async def copy_body(chunks: AsyncIterator[bytes], output: Output) -> None:
    """Write content to standard output as it comes, octet by octet."""
    async for chunk in chunks:
        output.write_bytes(chunk)
        output.flush()


async def show_body(
    chunks: AsyncIterator[bytes],
    output: Output,
    *,
    content_type: str,
    charset: str | None,
    length: int | None,
) -> None:
    """Show content on a terminal; of binary content only a notice, without reading it all."""
    codec = text_codec(charset)
    start = await anext(chunks, b"")
    if codec in {"utf-16", "utf-32"}:
        while len(start) < LONGEST_MARK and (more := await anext(chunks, b"")):
            start += more
        # RFC 2781 §4.3 wants a mark, and big-endian text without one; the web has the opposite.
        codec = codec if start.startswith(_BYTE_ORDER_MARKS) else f"{codec}-le"
    if not start:
        return
    if looks_binary(content_type, codec, start):
        size = "" if length is None else f", {length} bytes"
        notice = f"(binary content, {escaped_line(content_type)}{size}: -o FILE saves it)"
        output.line(output.styled(notice, "dim"))
        return
    decoder = codecs.getincrementaldecoder(codec)("backslashreplace")
    text = decoder.decode(start)
    if _JSON_TYPES.fullmatch(content_type) is not None:
        text, is_whole = await _gathered(chunks, decoder, text)
        pretty = laid_out_json(text.removeprefix("\ufeff"), output.styled) if is_whole else None
        if pretty is not None:
            output.line(pretty)
            return
    await _show_text(chunks, decoder, text, output)


async def _gathered(
    chunks: AsyncIterator[bytes], decoder: codecs.IncrementalDecoder, start: str
) -> tuple[str, bool]:
    """The text so far, and whether that is all of it; not much more than `MAX_PRETTY`."""
    parts = [start]
    size = len(start)
    while size <= MAX_PRETTY:
        chunk = await anext(chunks, b"")
        parts.append(decoder.decode(chunk, final=not chunk))
        if not chunk:
            return "".join(parts), True
        size += len(parts[-1])
    return "".join(parts), False


async def _show_text(
    chunks: AsyncIterator[bytes], decoder: codecs.IncrementalDecoder, text: str, output: Output
) -> None:
    """Show `text` and what follows, each piece when it comes; behind the last an end of line."""
    held = last = ""
    async for decoded in _texts(chunks, decoder, text):
        piece = held + decoded
        # It may be the first half of a CR LF that came in two pieces.
        held = "\r" if piece.endswith("\r") else ""
        piece = piece.removesuffix("\r")
        output.write(escaped(piece))
        output.flush()
        last = piece[-1:] or last
    output.write(escaped(held))
    if held or last != "\n":
        output.line()


async def _texts(
    chunks: AsyncIterator[bytes], decoder: codecs.IncrementalDecoder, first: str
) -> AsyncIterator[str]:
    yield first
    async for chunk in chunks:
        yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)
