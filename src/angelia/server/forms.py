"""Forms in requests: the fields of ``multipart/form-data``, with files kept on disk.

Owns: the limits of a form, the temporary files. The parts are the multipart reader's.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from multidict import CIMultiDict, CIMultiDictProxy, MultiDict

from angelia.core.charsets import codec_of
from angelia.net.body_part import BodyPartReader
from angelia.net.multipart import MultipartReader
from angelia.server.http_exception import HTTPException

__all__ = ("FileField", "read_form")

# A file of up to this size stays in memory.
SPOOLED_SIZE: Final = 64 * 1024
# Octets read from a part at a time.
PIECE_SIZE: Final = 64 * 1024


class FileField(NamedTuple):
    """A file in a form; `file` is at its begin, and is closed with the request."""

    name: str
    filename: str
    file: Any
    content_type: str
    headers: CIMultiDictProxy[str]


async def read_form(reader: MultipartReader, max_size: int, max_fields: int) -> MultiDict[Any]:
    """All fields. The limits hold for the whole form: 413 beyond them (0: no limit of size)."""
    fields: MultiDict[Any] = MultiDict()
    left = max_size or None
    try:
        while (part := await reader.next()) is not None:
            name, part = _checked(part, len(fields), max_fields)
            # Names, and the heads of files, are kept as well as the contents.
            head = sum(len(field) + len(value) for field, value in part.headers.items())
            _check(head, left, max_size)
            if left is not None:
                left -= head
            value, size = await _read_part(part, left, max_size)
            fields.add(name, value)
            if left is not None:
                left -= size
    except BaseException:
        for value in fields.values():
            if isinstance(value, FileField):
                value.file.close()
        raise
    return fields


def _checked(
    part: BodyPartReader | MultipartReader, count: int, max_fields: int
) -> tuple[str, BodyPartReader]:
    """The name of a part and the part, if a form may have it as well as `count` others."""
    if count >= max_fields:
        raise HTTPException(413, f"more than {max_fields} fields in the form", close=True)
    if not isinstance(part, BodyPartReader):
        raise HTTPException(400, "a form has no parts within parts", close=True)
    if part.name is None:
        raise HTTPException(400, "a part of the form has no name", close=True)
    return part.name, part


async def _read_part(
    part: BodyPartReader, left: int | None, max_size: int
) -> tuple[str | FileField, int]:
    if part.filename is None:
        return await _read_text(part, left, max_size)
    file = tempfile.SpooledTemporaryFile(SPOOLED_SIZE)  # noqa: SIM115 - it is the form's from here on
    loop = asyncio.get_running_loop()
    size = 0
    try:
        while piece := await part.read_chunk(PIECE_SIZE):
            # Counted as it is decoded: a few octets can stand for gigabytes.
            for data in _decoded(part, piece):
                size += len(data)
                _check(size, left, max_size)
                # What goes to the disk does not hold the loop up.
                await loop.run_in_executor(None, file.write, data)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    content_type = part.headers.get("Content-Type", "application/octet-stream")
    headers = CIMultiDictProxy(CIMultiDict(part.headers))
    return FileField(part.name or "", part.filename, file, content_type, headers), size


async def _read_text(part: BodyPartReader, left: int | None, max_size: int) -> tuple[str, int]:
    pieces = bytearray()
    while piece := await part.read_chunk(PIECE_SIZE):
        for data in _decoded(part, piece):
            pieces += data
            _check(len(pieces), left, max_size)
    charset = part.get_charset("utf-8")
    try:
        return pieces.decode(codec_of(charset)), len(pieces)
    except (LookupError, UnicodeDecodeError) as error:
        raise HTTPException(415, f"a field of the form is no text in {charset!r}") from error


def _decoded(part: BodyPartReader, piece: bytes) -> Iterator[bytes]:
    """What octets of a part stand for, piece by piece; 415 for an encoding that is not known."""
    try:
        yield from part._decode_pieces(piece)
    except RuntimeError as error:
        message = "a part of the form has an encoding that is not known"
        raise HTTPException(415, message, close=True) from error


def _check(size: int, left: int | None, max_size: int) -> None:
    if left is not None and size > left:
        raise HTTPException(413, f"the form is larger than {max_size} bytes", close=True)
