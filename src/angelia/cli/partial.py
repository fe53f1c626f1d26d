"""A file that comes into being in one step, and can be gone on with after a failure.

Owns: ``FILE.part``, which collects what comes, ``FILE.part.json``, which says of what it is the
beginning, and the moment when the part becomes FILE. Must not know about connections.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import email.utils
import io
import json
import os
import re
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from yarl import URL

from angelia.cli.exits import LocalFileError

if os.name == "posix":
    import fcntl

__all__ = (
    "ContentRange",
    "PartFile",
    "Validator",
    "is_special",
    "parse_content_range",
    "write_all",
)

# A sidecar is a few hundred octets; what is larger is not ours.
MAX_SIDECAR: Final = 64 * 1024

# RFC 9110 §14.4; at most 18 digits, so that nobody makes us count with megabytes of them.
_CONTENT_RANGE: Final = re.compile(
    r"bytes[ \t]+(?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)", re.IGNORECASE
)
# RFC 9110 §8.8.3, a strong one: the weak ones (W/) do not promise the same octets.
_STRONG_ETAG: Final = re.compile('"[\x21\x23-\x7e\x80-\xff]*"')


@dataclasses.dataclass(slots=True, frozen=True)
class ContentRange:
    """A `Content-Range` field: the first and the last octet sent, and how many there are in all."""

    first: int | None
    last: int | None
    total: int | None


def parse_content_range(value: str | None) -> ContentRange | None:
    """The range that a field names; None for a missing, malformed or impossible one."""
    match = _CONTENT_RANGE.fullmatch(value or "")
    if match is None:
        return None
    first, last, total = (int(text) if text and text != "*" else None for text in match.groups())
    if first is None or last is None:
        return ContentRange(None, None, total)
    if last < first or (total is not None and last >= total):
        return None
    return ContentRange(first, last, total)


@dataclasses.dataclass(slots=True, frozen=True)
class Validator:
    """What tells one state of a resource from another: a value for `If-Range`, and its URL."""

    place: str
    value: str

    @property
    def is_etag(self) -> bool:
        """Whether it is an entity tag; else it is a date."""
        return self.value.startswith('"')

    @classmethod
    def of(cls, url: URL, headers: Mapping[str, str]) -> Validator | None:
        """The strong validator of a response; None where it has none."""
        etag = headers.get("ETag")
        if etag is not None and _STRONG_ETAG.fullmatch(etag):
            return cls(_place(url), etag)
        modified = headers.get("Last-Modified")
        if modified is not None and _is_strong_date(modified, headers.get("Date")):
            return cls(_place(url), modified)
        return None


def _place(url: URL) -> str:
    """The URL without what changes from link to link, or is nobody's business on a disk."""
    return str(url.with_user(None).with_query(None).with_fragment(None))


def _http_date(text: str | None) -> dt.datetime | None:
    if text is None or not text.isascii():
        return None
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=dt.UTC)


def _is_strong_date(modified: str, date: str | None) -> bool:
    # RFC 9110 §8.8.2.2: strong if the response is at least one second younger; else the resource
    # may have changed twice within that second.
    before, after = _http_date(modified), _http_date(date)
    if before is None or after is None:
        return False
    return after - before >= dt.timedelta(seconds=1)


def is_special(path: Path) -> bool:
    """Whether `path` is a device, a pipe or the like, which is written to and not replaced.

    Raises `LocalFileError` for a directory.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise LocalFileError.of("write", path, error) from error
    if stat.S_ISDIR(mode):
        raise LocalFileError(f"cannot write {path}: it is a directory")
    return not stat.S_ISREG(mode)


def write_all(file: io.FileIO, path: Path, data: bytes) -> int:
    """Write `data` to an unbuffered file; returns its length. Raises `LocalFileError`."""
    view = memoryview(data)
    try:
        while view:
            view = view[file.write(view) :]
    except OSError as error:
        raise LocalFileError.of("write", path, error) from error
    return len(data)


class PartFile:
    """The part file of a download, open and locked within ``with``.

    It stays when the ``with`` ends without `finish`, if a sidecar says how to go on; else it goes.
    """

    __slots__ = ("_file", "_finished", "_keep", "final", "path", "sidecar", "size", "validator")

    def __init__(self, final: Path) -> None:
        # A link keeps pointing where it does; the file behind it is replaced.
        self.final = final.resolve()
        self.path = self.final.with_name(self.final.name + ".part")
        self.sidecar = self.final.with_name(self.final.name + ".part.json")
        self._file: io.FileIO | None = None
        self._finished = False
        self._keep = False
        # Octets in the part file, and of what they are the beginning.
        self.size = 0
        self.validator: Validator | None = None

    def __enter__(self) -> Self:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        try:
            file = io.FileIO(os.open(self.path, flags, 0o666), "r+b")
        except OSError as error:
            raise LocalFileError.of("write", self.path, error) from error
        try:
            self._lock(file)
            self.size = file.seek(0, os.SEEK_END)
            self.validator = self._read_sidecar() if self.size else None
        except BaseException:
            file.close()
            raise
        self._keep = self.validator is not None
        self._file = file
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._finished:
            return
        if not self.resumable:
            self._unlink(self.path)
            self._unlink(self.sidecar)
        self._close()

    def _lock(self, file: io.FileIO) -> None:
        """Make sure that no other process writes this part, or has just made FILE of it."""
        if os.name != "posix":
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except (BlockingIOError, FileNotFoundError):
            is_ours = False
        except OSError:  # A file system without locks.
            return
        if not is_ours:
            raise LocalFileError(f"another download is writing {self.path}")

    @property
    def resumable(self) -> bool:
        """Whether what is in the part file can be gone on with."""
        return self._keep and self.size > 0

    def _open_file(self) -> io.FileIO:
        if self._file is None:
            raise RuntimeError("the part file is not open")
        return self._file

    # --- writing -------------------------------------------------------------------------------

    def restart(self, validator: Validator | None) -> None:
        """Throw away what there is; `validator` tells of what the next octets are the beginning."""
        file = self._open_file()
        # First the sidecar: it must never vouch for octets of something else.
        self._keep = False
        self._unlink(self.sidecar)
        try:
            file.seek(0)
            file.truncate()
            self.size = 0
            if validator is not None:
                self.sidecar.write_text(json.dumps(dataclasses.asdict(validator)), "utf-8")
        except OSError as error:
            raise LocalFileError.of("write", self.path, error) from error
        self.validator = validator
        self._keep = validator is not None

    def write(self, data: bytes) -> None:
        """Append octets."""
        self.size += write_all(self._open_file(), self.path, data)

    def finish(self) -> None:
        """Make FILE of the part, in one step: there is the old one or the new one, whole."""
        file = self._open_file()
        try:
            os.fsync(file.fileno())
            with contextlib.suppress(FileNotFoundError):
                shutil.copymode(self.final, self.path)
            if os.name == "nt":  # An open file cannot be renamed there.
                self._close()
            self.path.replace(self.final)
        except OSError as error:
            raise LocalFileError.of("write", self.final, error) from error
        self._finished = True
        self._close()
        self._unlink(self.sidecar)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()

    # --- the sidecar ---------------------------------------------------------------------------

    def _read_sidecar(self) -> Validator | None:
        try:
            with self.sidecar.open("rb") as file:
                facts = json.loads(file.read(MAX_SIDECAR))
        except (OSError, ValueError, RecursionError):
            return None
        if not isinstance(facts, dict):
            return None
        place, value = facts.get("place"), facts.get("value")
        if not isinstance(place, str) or not isinstance(value, str):
            return None
        is_sound = _STRONG_ETAG.fullmatch(value) or _http_date(value)
        return Validator(place, value) if is_sound else None

    def can_continue(self, url: URL) -> Validator | None:
        """The validator to go on with, if the part is the beginning of what is at `url`."""
        if self.validator is None or self.size == 0 or self.validator.place != _place(url):
            return None
        return self.validator

    @staticmethod
    def _unlink(path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
