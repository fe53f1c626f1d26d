"""FileResponse and Directory: files as answers, whole and in parts, and never from outside a root.

Owns: which file is opened, what its validators are, which octets of it go out, and how. What
conditions and ranges mean is `core.conditions` and `core.ranges`; every call to the file system
runs in a thread.
"""

from __future__ import annotations

import asyncio
import mimetypes
import os
import stat
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple
from urllib.parse import unquote

from angelia.core.conditions import failed_precondition, is_same_representation
from angelia.core.fields import ETag
from angelia.core.negotiation import choose_coding
from angelia.core.ranges import ByteRange, parse_byte_ranges, satisfiable
from angelia.server.http_exception import HTTPException
from angelia.server.stream_response import StreamResponse

if TYPE_CHECKING:
    from angelia.server.request import Request

__all__ = ("Directory", "FileResponse")

# As much as is read from a file at a time where the system cannot send it by itself.
PIECE_SIZE: Final = 256 * 1024

# Siblings that hold a file's content coded already, best first.
SIBLINGS: Final = {"zstd": ".zst", "br": ".br", "gzip": ".gz"}

_CONDITIONS: Final = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")


class _Opened(NamedTuple):
    """A file as it was when it was opened: what replaces it meanwhile is not mixed in."""

    file: BinaryIO
    size: int
    modified: float
    etag: ETag
    coding: str | None
    has_siblings: bool


class FileResponse(StreamResponse):
    """A response with the content of a file.

    - `path`: the file; what it is comes from the program, not from a client: see `Directory`;
    - `status`, `reason`, `headers` as in `StreamResponse`; the type is guessed from the name.

    Answers `Range` with a part or several, conditional requests with 304 or 412, and sends a
    sibling (``.zst``, ``.br``, ``.gz``) with its `Content-Encoding` to a client that likes it. A
    file that is missing is answered 404, one that cannot be read, or is none, 403.
    """

    __slots__ = ("_path",)

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        status: int = 200,
        reason: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status=status, reason=reason, headers=headers)
        self._path = Path(path)

    async def _answer(self, request: Request) -> None:
        if self._exchange is not None:
            await self.write_eof()
            return
        loop = asyncio.get_running_loop()
        accepted = request.headers.getall("Accept-Encoding", ())
        may_code = "Content-Encoding" not in self.headers and self._coding is None
        opening = loop.run_in_executor(None, _open, self._path, accepted if may_code else ())
        try:
            opened = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_opened)
            raise
        finally:
            # Where it failed, its error knows this frame.
            del opening
        try:
            await self._send_opened(request, opened)
        finally:
            # A cancellation that comes now leaves it to the thread.
            await asyncio.shield(loop.run_in_executor(None, opened.file.close))

    async def _send_opened(self, request: Request, opened: _Opened) -> None:
        headers = self.headers
        headers.setdefault("Content-Type", _guess_type(self._path))
        if opened.coding is not None:
            headers["Content-Encoding"] = opened.coding
        if opened.has_siblings:
            headers.add("Vary", "Accept-Encoding")
        headers.setdefault("Accept-Ranges", "bytes")
        if "ETag" not in headers:
            self.etag = opened.etag
        modified = datetime.fromtimestamp(int(opened.modified), UTC)
        if "Last-Modified" not in headers:
            self.last_modified = modified
        parts: list[ByteRange] | None = None
        if self.status == 200:
            received = request.headers
            fields = {name: received.getall(name) for name in _CONDITIONS if name in received}
            failed = failed_precondition(request.method, fields, self.etag, modified)
            if failed is not None:
                self._without_content(failed)
                await self.prepare(request)
                await self.write_eof()
                return
            parts = self._parts(request, opened.size, modified)
        if parts is None:
            self.content_length = opened.size
            await self.prepare(request)
            await self._send_part(request, opened.file, ByteRange(0, opened.size))
        elif not parts:
            self._unsatisfiable(opened.size)
            await self.prepare(request)
        elif len(parts) == 1:
            self.set_status(206)
            self.content_length = parts[0].stop - parts[0].start
            headers["Content-Range"] = parts[0].content_range(opened.size)
            await self.prepare(request)
            await self._send_part(request, opened.file, parts[0])
        else:
            await self._send_parts(request, opened, parts)
        await self.write_eof()

    def _without_content(self, status: int) -> None:
        self.set_status(status)
        for name in ("Content-Type", "Content-Encoding", "Content-Length"):
            self.headers.popall(name, None)
        if status == 412:
            self.content_length = 0

    def _unsatisfiable(self, size: int) -> None:
        self._without_content(416)
        self.headers["Content-Range"] = f"bytes */{size}"
        self.content_length = 0

    def _parts(self, request: Request, size: int, modified: datetime) -> list[ByteRange] | None:
        """The parts that were asked for; None for the whole file, empty for none that exists."""
        # RFC 9110 §14.2: Range is for GET only.
        value = request.headers.get("Range")
        if value is None or request.method != "GET":
            return None
        if_range = request.headers.get("If-Range")
        if if_range is not None and not is_same_representation(
            if_range, self.etag, modified, datetime.now(UTC)
        ):
            return None
        specs = parse_byte_ranges(value)
        return None if specs is None else satisfiable(specs, size)

    async def _send_parts(
        self, request: Request, opened: _Opened, parts: Sequence[ByteRange]
    ) -> None:
        """RFC 9110 §14.6: several parts, each with its range, between boundaries."""
        boundary = os.urandom(16).hex()
        content_type = self.headers["Content-Type"]
        heads = [
            (
                f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\n"
                f"Content-Range: {part.content_range(opened.size)}\r\n\r\n"
            ).encode()
            for part in parts
        ]
        last = f"\r\n--{boundary}--\r\n".encode()
        self.set_status(206)
        self.headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
        self.content_length = (
            sum(map(len, heads)) + sum(part.stop - part.start for part in parts) + len(last)
        )
        await self.prepare(request)
        for head, part in zip(heads, parts, strict=True):
            await self.write(head)
            await self._send_part(request, opened.file, part)
        await self.write(last)

    async def _send_part(self, request: Request, file: BinaryIO, part: ByteRange) -> None:
        if self._is_head or part.start == part.stop:
            return
        start = part.start
        if self._compressor is None:
            sent = await request._exchange.send_file(file, start, part.stop - start)
            self.body_length += sent
            start += sent
        loop = asyncio.get_running_loop()
        while start < part.stop:
            size = min(PIECE_SIZE, part.stop - start)
            piece = await loop.run_in_executor(None, _read_at, file, start, size)
            if not piece:
                raise ConnectionResetError(f"{self._path} became shorter while it was sent")
            await self.write(piece)
            start += len(piece)


class Directory:
    """A handler that answers with the files below a directory.

    - `root`: the directory;
    - `follow_symlinks`: send what links point to outside of it, too;
    - `index`: the name of the file that stands for a directory, None for no such file.

    Only GET and HEAD, else 405. Whatever is not a file below `root` is answered 404, whether it
    exists or not; there are no listings. A name that begins with a dot is one like others: keep
    what is not for everybody outside of `root`. ValueError where `root` is no directory.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        follow_symlinks: bool = False,
        index: str | None = "index.html",
    ) -> None:
        self._root = Path(root).resolve()
        if not self._root.is_dir():
            raise ValueError(f"not a directory: {root!r}")
        self._follow_symlinks = follow_symlinks
        self._index = index

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {str(self._root)!r}>"

    async def __call__(self, request: Request) -> FileResponse:
        """Answer a request."""
        if request.method not in ("GET", "HEAD"):
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        loop = asyncio.get_running_loop()
        try:
            path = await loop.run_in_executor(None, self._find, request.raw_path)
        except OSError as error:
            # A name that is too long, a loop of links: no file has such a path.
            raise HTTPException(404) from error
        if path is None:
            raise HTTPException(404)
        return FileResponse(path)

    def _find(self, raw_path: str) -> Path | None:
        """The file that a target names; None where there is none that may be sent."""
        segments = _segments(raw_path)
        if segments is None:
            return None
        path = self._root.joinpath(*segments)
        if path.is_dir() and self._index is not None:
            path /= self._index
        # After all links: what is outside, a sibling's link too, does not exist.
        for candidate in (path, *(path.with_name(path.name + end) for end in SIBLINGS.values())):
            # Not `Path.resolve`, which fails at a loop of links.
            if not self._follow_symlinks and not Path(os.path.realpath(candidate)).is_relative_to(
                self._root
            ):
                return None
        return path if path.is_file() else None


def _segments(raw_path: str) -> list[str] | None:
    """The segments of a path; None where one of them could lead out of a directory."""
    segments: list[str] = []
    for raw in raw_path.partition("?")[0].split("/"):
        try:
            segment = unquote(raw, errors="strict")
        except UnicodeDecodeError:
            return None
        if segment in ("", "."):
            continue
        # Separators, drives and streams of any system, whichever this one is; and control
        # characters, NUL before all.
        if segment == ".." or any(char in "/\\:" or ord(char) < 0x20 for char in segment):
            return None
        segments.append(segment)
    return segments


def _open(path: Path, accepted: Sequence[str]) -> _Opened:
    """Open a file, or the sibling that a client likes best; `HTTPException` where it cannot."""
    siblings = {
        coding: sibling
        for coding, end in SIBLINGS.items()
        if accepted and (sibling := path.with_name(path.name + end)).is_file()
    }
    coding = choose_coding(accepted, tuple(siblings))
    try:
        # Non-blocking: opening a pipe would wait for who writes into it.
        descriptor = os.open(
            path if coding is None else siblings[coding], os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise HTTPException(404) from error
    except (PermissionError, IsADirectoryError) as error:
        raise HTTPException(403) from error
    facts = os.fstat(descriptor)
    # Looked at first: a file object refuses a directory, and leaves its descriptor open.
    if not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        raise HTTPException(403)
    file = os.fdopen(descriptor, "rb", 0)
    etag = ETag(f"{facts.st_mtime_ns:x}-{facts.st_size:x}")
    return _Opened(file, facts.st_size, facts.st_mtime, etag, coding, bool(siblings))


def _close_opened(opening: asyncio.Future[_Opened]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().file.close()


def _read_at(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)


def _guess_type(path: Path) -> str:
    content_type, coding = mimetypes.guess_type(path.name)
    # An archive is what was asked for: it has a type of its own, and no coding.
    if coding is not None or content_type is None:
        return {"gzip": "application/gzip", "br": "application/octet-stream"}.get(
            coding or "", "application/octet-stream"
        )
    return f"{content_type}; charset=utf-8" if content_type.startswith("text/") else content_type
