"""FormData: fields -> an urlencoded or a multipart body.

Owns: the choice between both, and what each field becomes. Knows nothing of requests.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import AsyncIterable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from angelia.net.multipart_writer import MultipartWriter
from angelia.net.payload import BytesPayload, get_payload
from angelia.net.payload_base import Payload
from angelia.net.payload_files import file_name

__all__ = ("FormData",)

# In a part's head these begin another field, or end what a peer in C sees of it.
_UNSAFE: Final = re.compile(r"[\r\n\0]")

# What has no place inside an urlencoded text.
_WHOLE_BODIES: Final = (Payload, bytes, bytearray, memoryview, AsyncIterable)


class _Field:
    """One field of a form."""

    __slots__ = ("content_type", "filename", "name", "value")

    def __init__(
        self, name: str, value: Any, filename: str | None, content_type: str | None
    ) -> None:
        self.name = name
        self.value = value
        self.filename = filename
        self.content_type = content_type


class FormData:
    """A form, which becomes a body when it is called.

    It is ``multipart/form-data`` if a field is a file or bytes, or has a file name or a content
    type, or if `default_to_multipart`; else ``application/x-www-form-urlencoded``. `fields` is a
    mapping, a file, or a sequence of what `add_fields` takes. With `quote_fields` file names are
    percent-encoded. `charset` is that of all text, UTF-8 by default.
    """

    __slots__ = ("_charset", "_fields", "_is_multipart", "_payload", "_quote_fields")

    def __init__(
        self,
        fields: Any = (),
        quote_fields: bool = True,
        charset: str | None = None,
        *,
        default_to_multipart: bool = False,
    ) -> None:
        self._fields: list[_Field] = []
        self._quote_fields = quote_fields
        self._charset = charset
        self._is_multipart = default_to_multipart
        self._payload: Payload | None = None
        if isinstance(fields, list | tuple):
            self.add_fields(*fields)
        else:
            self.add_fields(fields)

    def __repr__(self) -> str:
        kind = "multipart" if self._is_multipart else "urlencoded"
        return f"<{type(self).__name__} {kind} {[field.name for field in self._fields]}>"

    @property
    def is_multipart(self) -> bool:
        """Whether the body will be ``multipart/form-data``."""
        return self._is_multipart

    def add_field(
        self,
        name: str,
        value: Any,
        *,
        content_type: str | None = None,
        filename: str | None = None,
        content_transfer_encoding: str | None = None,
    ) -> None:
        """Add a field.

        `value` is a str, a number, bytes-like, or a file. Bytes without `filename` and
        `content_transfer_encoding` are a file called `name`; a file is called as it is in the file
        system. `content_transfer_encoding` makes the form multipart, and is not sent: form data has
        no such field (RFC 7578 §4.7).

        TypeError for a wrong type, ValueError for CR, LF or NUL in a string but `value`.
        """
        for label, text in (
            ("name", name),
            ("content_type", content_type),
            ("filename", filename),
            ("content_transfer_encoding", content_transfer_encoding),
        ):
            _check_text(label, text, required=label == "name")
        if value is None:
            raise TypeError(f"field {name!r} has no value")
        if content_transfer_encoding is not None:
            warnings.warn(
                "content_transfer_encoding is deprecated: form data has none (RFC 7578)",
                DeprecationWarning,
                stacklevel=2,
            )
            self._is_multipart = True
        if filename is None:
            if isinstance(value, bytes | bytearray | memoryview):
                filename = name if content_transfer_encoding is None else None
            elif _is_file(value):
                filename = file_name(value) or name
                _check_text("filename", filename)
        if content_type is not None or filename is not None or not _fits_urlencoded(value):
            self._is_multipart = True
        self._fields.append(_Field(name, value, filename, content_type))
        self._payload = None

    def add_fields(self, *fields: Any) -> None:
        """Add fields: each is a mapping, a pair of name and value, or a file named as it is."""
        for field in fields:
            if isinstance(field, Mapping):
                for name, value in field.items():
                    self.add_field(name, value)
            elif isinstance(field, list | tuple) and len(field) == 2:
                self.add_field(field[0], field[1])
            elif _is_file(field):
                self.add_field(file_name(field) or "unknown", field)
            else:
                raise TypeError(
                    "a field is a mapping, a pair of name and value, or a file, "
                    f"not {type(field).__name__}"
                )

    def __call__(self) -> Payload:
        """The body; the same one until a field is added, so that files keep their first position.

        TypeError for a value that no body can be made of.
        """
        if self._payload is None:
            self._payload = self._multipart() if self._is_multipart else self._urlencoded()
        return self._payload

    def _urlencoded(self) -> Payload:
        charset = self._charset or "utf-8"
        content_type = "application/x-www-form-urlencoded"
        if charset != "utf-8":
            content_type = f"{content_type}; charset={charset}"
        pairs = [(field.name, field.value) for field in self._fields]
        text = urlencode(pairs, doseq=True, encoding=charset)
        return BytesPayload(text.encode("ascii"), content_type=content_type)

    def _multipart(self) -> Payload:
        writer = MultipartWriter("form-data")
        for field in self._fields:
            writer.append_payload(self._part(field))
        return writer

    def _part(self, field: _Field) -> Payload:
        value = str(field.value) if isinstance(field.value, int | float) else field.value
        options: dict[str, Any] = {"encoding": self._charset}
        if field.filename is not None:
            options["filename"] = field.filename
        if field.content_type is not None:
            options["content_type"] = field.content_type
        try:
            part = get_payload(value, **options)
        except LookupError as exc:
            raise TypeError(
                f"field {field.name!r} cannot be sent: it is {type(value).__name__}"
            ) from exc
        parameters = {"name": field.name}
        if field.filename is not None:
            parameters["filename"] = field.filename
        part.set_content_disposition("form-data", quote_fields=self._quote_fields, **parameters)
        return part


def _check_text(label: str, text: object, *, required: bool = False) -> None:
    if text is None and not required:
        return
    if not isinstance(text, str):
        raise TypeError(f"{label} must be str, not {type(text).__name__}")
    if _UNSAFE.search(text):
        raise ValueError(f"CR, LF or NUL in {label}: {text!r}")


def _is_file(value: object) -> bool:
    # What `tempfile` gives is a wrapper around a file.
    return isinstance(value, io.IOBase) or isinstance(getattr(value, "file", None), io.IOBase)


def _fits_urlencoded(value: object) -> bool:
    return not isinstance(value, _WHOLE_BODIES) and not _is_file(value)
