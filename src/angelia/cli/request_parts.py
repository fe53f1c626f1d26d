"""Texts of the command line -> parts of a request.

Owns: the small languages that curl's users know: URLs without a scheme, ``Name: value``, ``@file``,
``name=@file;type=...``. Pure but for reading the files that are named.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from multidict import CIMultiDict
from yarl import URL

from angelia.cli.exits import LocalFileError, UsageError

__all__ = (
    "FormItem",
    "body_bytes",
    "expand_url",
    "parse_form_item",
    "parse_headers",
    "read_named",
)

# RFC 3986 §3.1, and the slashes without which localhost:8080 would have the scheme "localhost".
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_LOCAL_PORT: Final = re.compile(r":([0-9]*)(?=[/?#]|\Z)")
_FORM_SUFFIX: Final = re.compile(r";\s*(type|filename)=([^;]*)\Z")


def expand_url(text: str, *, schemes: tuple[str, ...] = ("http", "https")) -> URL:
    """The URL that `text` means: ``http`` without a scheme, localhost for ``:8080/path``.

    Raises `UsageError` for what is no URL, and for other schemes than `schemes`.
    """
    whole = text.strip()
    scheme = _SCHEME.match(whole)
    local = _LOCAL_PORT.match(whole)
    if scheme is not None:
        if scheme[1].lower() not in schemes:
            raise UsageError(f"{text!r}: the scheme {scheme[1]!r} is none of {', '.join(schemes)}")
    elif local is not None:
        port = f":{local[1]}" if local[1] else ""
        whole = f"http://localhost{port}{whole[local.end() :]}"
    else:
        whole = f"http://{whole.removeprefix('//')}"
    try:
        url = URL(whole)
        host = url.host
    except ValueError as error:
        raise UsageError(f"{text!r} is no URL: {error}") from error
    if not host:
        raise UsageError(f"{text!r} is no URL: it names no host")
    return url


def parse_headers(lines: Iterable[str]) -> tuple[CIMultiDict[str], list[str]]:
    """The fields to send, and the names of automatic ones to leave out.

    ``Name: value`` sends a field, ``Name;`` an empty one, ``Name:`` leaves it out, as in curl.
    """
    fields: CIMultiDict[str] = CIMultiDict()
    omitted: list[str] = []
    for line in lines:
        name, colon, value = line.partition(":")
        value = value.strip(" \t")
        if colon and name.strip():
            if value:
                fields.add(name.strip(" \t"), value)
            else:
                omitted.append(name.strip(" \t"))
        elif not colon and line.endswith(";") and len(line) > 1:
            fields.add(line[:-1], "")
        else:
            raise UsageError(f"a header is 'Name: value', not {line!r}")
    return fields, omitted


def read_named(name: str) -> bytes:
    """The content of the file `name`, or of standard input for ``-``."""
    try:
        if name == "-":
            return b"" if sys.stdin is None else sys.stdin.buffer.read()
        return Path(name).read_bytes()
    except OSError as error:
        raise LocalFileError.of("read", name, error) from error


def body_bytes(data: Iterable[tuple[str, str]]) -> bytes:
    """The body that --data and its kin make: joined by ``&``, or by nothing for --json."""
    parts: list[bytes] = []
    separator = b"&"
    for kind, text in data:
        if kind == "json":
            separator = b""
        if kind == "raw" or not text.startswith("@"):
            parts.append(text.encode("utf-8", "surrogateescape"))
            continue
        content = read_named(text[1:])
        if kind == "data":
            content = content.translate(None, b"\r\n\0")
        parts.append(content)
    return separator.join(parts)


@dataclasses.dataclass(slots=True, frozen=True)
class FormItem:
    """A field of a form: its text, or the file that has it."""

    name: str
    text: str | None
    path: str | None
    is_upload: bool
    filename: str | None
    content_type: str | None


def parse_form_item(item: str) -> FormItem:
    """The field that ``name=value``, ``name=@file`` or ``name=<file`` describes."""
    name, equals, value = item.partition("=")
    if not equals or not name:
        raise UsageError(f"a form field is NAME=VALUE or NAME=@FILE, not {item!r}")
    suffixes: dict[str, str] = {}
    while (suffix := _FORM_SUFFIX.search(value)) is not None and suffix[1] not in suffixes:
        suffixes[suffix[1]] = suffix[2].strip().strip('"')
        value = value[: suffix.start()]
    from_file = value.startswith(("@", "<"))
    path = value[1:] if from_file else None
    if path == "":
        raise UsageError(f"no file is named in {item!r}")
    is_upload = value.startswith("@")
    filename = suffixes.get("filename")
    if is_upload and filename is None and path is not None:
        filename = "stdin" if path == "-" else Path(path).name
    return FormItem(
        name, None if from_file else value, path, is_upload, filename, suffixes.get("type")
    )
