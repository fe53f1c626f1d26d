"""MultipartWriter: a body of parts, each a body itself (RFC 2046 §5.1, RFC 7578).

Owns: the parts, and the codings that a part's headers ask for. Delimiters and heads are
`angelia.core.multipart`'s. Knows nothing of requests.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeAlias
from urllib.parse import urlencode

from multidict import CIMultiDict

from angelia.core.coding import make_compressor
from angelia.core.fields import is_token
from angelia.core.multipart import boundary_parameter, serialize_part_head
from angelia.core.patterns import lazy
from angelia.net.payload import JsonPayload, StringPayload, get_payload
from angelia.net.payload_base import AbstractStreamWriter, BytesLike, Headers, Payload, flat

__all__ = ("MultipartWriter", "Part")

# RFC 2045 §6.8: lines of at most 76 characters, which are 57 octets.
BASE64_LINE: Final = 57
# RFC 2045 §6.7: the same for quoted-printable, where an octet becomes up to three, with "=" behind.
QP_LINE: Final = 25

_NAMED: Final = lazy(r"form-data\s*;(?:.*;)?\s*name\*?\s*=.*", re.IGNORECASE | re.DOTALL)
_CONTENT_CODINGS: Final = ("gzip", "deflate")
_TRANSFER_ENCODINGS: Final = ("base64", "quoted-printable")
# RFC 2045 §6.2: these say what the octets are like, and change none.
_PLAIN: Final = ("", "identity", "binary", "7bit", "8bit")

Sink: TypeAlias = Callable[[BytesLike], Awaitable[None]]


class Part(NamedTuple):
    """A part of a `MultipartWriter`; the encodings are empty where nothing is to be done."""

    payload: Payload
    encoding: str
    te_encoding: str


class MultipartWriter(Payload):
    """A multipart body, ``multipart/mixed`` unless another `subtype` is given.

    ::

        with MultipartWriter("form-data") as form:
            part = form.append(open("cat.png", "rb"))
            part.set_content_disposition("form-data", name="cat", filename="cat.png")

    `boundary` is random by default; ValueError for one that RFC 2046 does not allow. It can be
    written again if all of its parts can.
    """

    __slots__ = ("_boundary", "_is_form_data", "_parts")

    def __init__(self, subtype: str = "mixed", boundary: str | None = None) -> None:
        if not is_token(subtype):
            raise ValueError(f"not a media subtype: {subtype!r}")
        if boundary is None:
            boundary = os.urandom(16).hex()
        parameter = boundary_parameter(boundary)
        super().__init__(None, content_type=f"multipart/{subtype}; {parameter}")
        self._boundary = boundary.encode("ascii")
        self._is_form_data = subtype.lower() == "form-data"
        self._parts: list[Part] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing: the block is there to be read."""

    def __iter__(self) -> Iterator[Part]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __bool__(self) -> bool:
        return True

    @property
    def boundary(self) -> str:
        """What separates the parts, without the hyphens before it."""
        return self._boundary.decode("ascii")

    # --- parts ---------------------------------------------------------------------------------

    def append(self, obj: Any, headers: Headers | None = None) -> Payload:
        """Add a part of anything that a body can be made of, with these `headers`; return it.

        TypeError for what no body can be made of, ValueError for headers that cannot be sent.
        """
        if isinstance(obj, Payload):
            obj.headers.update(headers or {})
            return self.append_payload(obj)
        try:
            payload = get_payload(obj, headers=headers)
        except LookupError as exc:
            raise TypeError(f"no part can be made of {type(obj).__name__}") from exc
        return self.append_payload(payload)

    def append_payload(self, payload: Payload) -> Payload:
        """Add a part, and return it.

        ``Content-Encoding`` (gzip, deflate) and ``Content-Transfer-Encoding`` (base64,
        quoted-printable) among its headers are carried out when it is written; RuntimeError for
        others. Form data has neither: ValueError.
        """
        headers = payload.headers
        if self._is_form_data:
            part = self._form_part(payload)
        else:
            part = _coded_part(payload)
            if payload.size is not None and not part.encoding and not part.te_encoding:
                headers["Content-Length"] = str(payload.size)
        # What cannot be sent is refused now, while the caller is there to see it.
        serialize_part_head(headers.items())
        self._parts.append(part)
        return payload

    def _form_part(self, payload: Payload) -> Part:
        headers = payload.headers
        # RFC 7578 §4.8: other fields than Content-Disposition, Content-Type and, for a use that is
        # gone (§4.7), Content-Transfer-Encoding must not be included.
        headers.popall("Content-Length", None)
        for name in ("Content-Encoding", "Content-Transfer-Encoding"):
            if headers.popall(name, ["identity"])[-1].strip().lower() not in _PLAIN:
                raise ValueError(f"form data has no {name} (RFC 7578)")
        # RFC 7578 §4.2: each part must have a Content-Disposition with a name.
        if not _NAMED.fullmatch(headers.get("Content-Disposition", "")):
            parameters = {"name": f"section-{len(self._parts)}"}
            if payload.filename is not None:
                parameters["filename"] = payload.filename
            payload.set_content_disposition("form-data", True, "utf-8", **parameters)
        return Part(payload, "", "")

    def append_json(self, obj: Any, headers: Headers | None = None) -> Payload:
        """Add a part that is `obj` as JSON."""
        return self.append_payload(JsonPayload(obj, headers=headers))

    def append_form(
        self,
        obj: Sequence[tuple[str, str]] | Mapping[str, str],
        headers: Headers | None = None,
    ) -> Payload:
        """Add a part that is `obj` as ``application/x-www-form-urlencoded``."""
        pairs = list(obj.items()) if isinstance(obj, Mapping) else obj
        return self.append_payload(
            StringPayload(
                urlencode(pairs, doseq=True),
                headers=headers,
                content_type="application/x-www-form-urlencoded",
            )
        )

    # --- the body ------------------------------------------------------------------------------

    @property
    def size(self) -> int | None:
        """Octets of the whole; None if a part's size is unknown, or it is to be coded."""
        total = len(self._boundary) + len(b"----\r\n")
        for part, head in zip(self._parts, self._heads(), strict=True):
            size = part.payload.size
            if size is None or part.encoding or part.te_encoding:
                return None
            total += len(head) + size + len(b"\r\n")
        return total

    def _heads(self) -> list[bytes]:
        """Delimiter line and head of each part."""
        line = b"--%b\r\n" % self._boundary
        return [line + serialize_part_head(part.payload.headers.items()) for part in self._parts]

    @property
    def consumed(self) -> bool:
        return any(part.payload.consumed for part in self._parts)

    @property
    def reusable(self) -> bool:
        return all(part.payload.reusable for part in self._parts)

    @property
    def autoclose(self) -> bool:
        return all(part.payload.autoclose for part in self._parts)

    async def write(self, writer: AbstractStreamWriter, close_boundary: bool = True) -> None:
        """Write all parts, and unless `close_boundary` is false the close delimiter."""
        await self._copy(writer.write, close_boundary)

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        if content_length is None:
            await self.write(writer)
        else:
            await self._copy(_Bounded(writer.write, content_length).write, True)

    async def _copy(self, sink: Sink, close_boundary: bool) -> None:
        # All heads before the first octet: a header that cannot be sent is found in time.
        for part, head in zip(self._parts, self._heads(), strict=True):
            await sink(head)
            if part.encoding or part.te_encoding:
                coder = _PartCoder(sink, part)
                await part.payload.write(coder)
                await coder.write_eof()
            else:
                # A part that grew meanwhile must not shift the others.
                await part.payload.write_with_length(_SinkWriter(sink), part.payload.size)
            await sink(b"\r\n")
        if close_boundary:
            await sink(b"--%b--\r\n" % self._boundary)

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """The whole body, with its delimiters."""
        gathered = bytearray()

        async def gather(piece: BytesLike) -> None:
            gathered.extend(piece)

        await self._copy(gather, True)
        return bytes(gathered)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The whole body as text; TypeError where a part is to be coded or has no text yet."""
        pieces = []
        for part, head in zip(self._parts, self._heads(), strict=True):
            if part.encoding or part.te_encoding:
                raise TypeError("a part that is to be coded has no text")
            pieces += [head.decode(), part.payload.decode(encoding, errors), "\r\n"]
        pieces.append(f"--{self.boundary}--\r\n")
        return "".join(pieces)

    async def close(self) -> None:
        """Close every part, also if closing one of them fails; then the first error is raised."""
        error: BaseException | None = None
        for part in self._parts:
            try:
                await part.payload.close()
            except BaseException as exc:  # noqa: BLE001 - raised once the other parts are closed
                error = error or exc
        if error is not None:
            raise error


def _coded_part(payload: Payload) -> Part:
    encoding = payload.headers.get("Content-Encoding", "").strip().lower()
    if encoding in _PLAIN:
        encoding = ""
    elif encoding not in _CONTENT_CODINGS:
        raise RuntimeError(f"unknown content encoding: {encoding}")
    transfer = payload.headers.get("Content-Transfer-Encoding", "").strip().lower()
    if transfer in _PLAIN:
        transfer = ""
    elif transfer not in _TRANSFER_ENCODINGS:
        raise RuntimeError(f"unknown content transfer encoding: {transfer}")
    return Part(payload, encoding, transfer)


class _SinkWriter(AbstractStreamWriter):
    """Hands what is written on to a function. Head and framing are not a part's business."""

    __slots__ = ("_sink",)

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    async def write(self, chunk: BytesLike) -> None:
        await self._sink(chunk)

    async def write_eof(self, chunk: bytes = b"") -> None:
        if chunk:
            await self.write(chunk)

    async def drain(self) -> None:
        """Nothing: the sink suspends."""

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        raise RuntimeError("a part is compressed by its Content-Encoding header")

    def enable_chunking(self) -> None:
        raise RuntimeError("a part is not chunked")

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        raise RuntimeError("a part's head was written")


class _Bounded:
    """Passes a number of octets on, and no more."""

    __slots__ = ("_left", "_sink")

    def __init__(self, sink: Sink, limit: int) -> None:
        self._sink = sink
        self._left = limit

    async def write(self, chunk: BytesLike) -> None:
        chunk = flat(chunk)
        if len(chunk) > self._left:
            chunk = memoryview(chunk)[: self._left]
        self._left -= len(chunk)
        if chunk:
            await self._sink(chunk)


class _PartCoder(_SinkWriter):
    """Applies a part's content coding, then its transfer encoding."""

    __slots__ = ("_begun", "_compressor", "_held", "_transfer")

    def __init__(self, sink: Sink, part: Part) -> None:
        super().__init__(sink)
        self._compressor = make_compressor(part.encoding) if part.encoding else None
        self._transfer = part.te_encoding
        self._held = b""
        self._begun = False

    async def write(self, chunk: BytesLike) -> None:
        await self._transfer_write(self._compressor.compress(chunk) if self._compressor else chunk)

    async def write_eof(self, chunk: bytes = b"") -> None:
        if chunk:
            await self.write(chunk)
        if self._compressor:
            await self._transfer_write(self._compressor.flush())
        held, self._held = self._held, b""
        await self._write_lines(held)

    async def _transfer_write(self, chunk: BytesLike) -> None:
        if self._transfer == "base64":
            held = self._held + bytes(chunk)
            whole = len(held) - len(held) % BASE64_LINE
            self._held = held[whole:]
            await self._write_lines(held[:whole])
        elif self._transfer:
            await self._write_lines(bytes(chunk))
        elif chunk:
            await self._sink(chunk)

    async def _write_lines(self, data: bytes) -> None:
        """Write `data` as lines that end without the line end of the last."""
        if not data:
            return
        if self._transfer == "base64":
            lines, between = base64.encodebytes(data)[:-1].replace(b"\n", b"\r\n"), b"\r\n"
        else:
            lines, between = _quoted_printable(data), b"=\r\n"
        await self._sink(between + lines if self._begun else lines)
        self._begun = True


# RFC 2045 §6.7. Blanks and line ends are encoded, so that no line depends on the one before it.
# (`binascii` does not keep to the length of lines.)
_QUOTED_PRINTABLE: Final = tuple(
    b"%c" % octet if 0x21 <= octet <= 0x7E and octet != 0x3D else b"=%02X" % octet
    for octet in range(256)
)


def _quoted_printable(data: bytes) -> bytes:
    """`data` in lines, each but the last with the "=" that joins it to the next."""
    return b"=\r\n".join(
        b"".join(map(_QUOTED_PRINTABLE.__getitem__, data[i : i + QP_LINE]))
        for i in range(0, len(data), QP_LINE)
    )
