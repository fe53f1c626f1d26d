"""Content codings: every compression and decompression, with output bounds (RFC 9110 §8.4).

Owns: which codings this installation can decode, the decoders and their limits, the compressors,
and the choice of the zlib library. Knows nothing of messages, fields or who reads the output.

A decoder is pulled, not pushed: it holds what was fed, and decompresses only as much as a read asks
for. So content that is small on the wire and vast once decoded costs no more than what is read.

::

    feed(octets) -> [stage: last coding applied] -> ... -> [stage: first coding] -> read(max_length)
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple, Protocol

from angelia.errors import ContentError

__all__ = (
    "MAX_CODINGS",
    "Compressor",
    "Decoder",
    "available_codings",
    "make_compressor",
    "make_decoder",
    "set_zlib_backend",
    "zlib_backend",
)

# Nobody has a reason to compress twice; each coding more multiplies what a bomb can do.
MAX_CODINGS: Final = 5

# How many octets a stage gives its library at once. A library hands back what it did not use yet,
# which is copied each time: small pieces keep that linear.
INPUT_PIECE: Final = 16 * 1024

# How much a stage is asked for at least: a read of single octets must not mean a call for each.
OUTPUT_PIECE: Final = 16 * 1024

# Several gzip members or zstd frames in a row are one content (RFC 1952 §2.2, RFC 8878 §3). Each
# costs far more to set up than an octet to decode, so a flood of tiny ones is an attack.
TINY_MEMBER: Final = 256
MAX_TINY_MEMBERS: Final = 10_000

# How many octets codings may hand to each other, on top of a multiple of what comes out at the end.
# Every coding of a chain can make a thousand octets of one; if the last one then yields next to
# nothing, a few octets on the wire would cost hours inside of reads.
MAX_BETWEEN: Final = 16 * 1024 * 1024
BETWEEN_RATIO: Final = 8

# RFC 9659 §3: a window beyond 8 MiB is not for content codings; a decoder need not support it.
ZSTD_WINDOW_LOG: Final = 23

# `zstandard` has no bound on output. Four octets can stand for a block of 128 KiB: this many stand
# for 2 MiB at most.
ZSTANDARD_PIECE: Final = 64

# Brotli's own default, 11, is meant for files that are compressed once.
BROTLI_LEVEL: Final = 4

_GZIP_WBITS: Final = 31
_ZLIB_WBITS: Final = 15
_RAW_WBITS: Final = -15

_ALIASES: Final = {"x-gzip": "gzip"}  # RFC 9110 §8.4.1.3


# --- the libraries -----------------------------------------------------------------------------

_zlib: Any = None


def zlib_backend() -> Any:
    """The module that does zlib's work now: `zlib`, or what `set_zlib_backend` was given."""
    global _zlib  # noqa: PLW0603 - the library is chosen for the whole process
    if _zlib is None:
        _zlib = importlib.import_module("zlib")
    return _zlib


def set_zlib_backend(new_zlib_backend: Any) -> None:
    """Use another module than `zlib` for gzip and deflate, from the next coder on.

    For modules with zlib's interface, such as ``isal.isal_zlib`` and ``zlib_ng.zlib_ng``, which are
    faster. Holds for the whole process: requests, responses and WebSocket messages alike. Levels
    and strategies mean what `new_zlib_backend` takes them for. TypeError for a module that lacks
    a part of the interface.
    """
    global _zlib  # noqa: PLW0603 - the library is chosen for the whole process
    missing = [
        name
        for name in ("compressobj", "decompressobj", "error", "Z_SYNC_FLUSH")
        if not hasattr(new_zlib_backend, name)
    ]
    if missing:
        raise TypeError(f"{new_zlib_backend!r} is no zlib: it has no {', '.join(missing)}")
    _zlib = new_zlib_backend


@cache
def _brotli() -> Any:
    """The brotli module, or None where there is none that can bound its output."""
    try:
        module = importlib.import_module("brotli")
    except ImportError:
        return None
    # Before brotli 1.2 a few octets could fill the memory: then br is not supported.
    decompressor = getattr(module, "Decompressor", None)
    return module if hasattr(decompressor, "can_accept_more_data") else None


class _Zstd(NamedTuple):
    """A Zstandard library: how to begin a frame, to begin compressing, and what it raises."""

    decompressor: Callable[[], _Engine]
    compressor: Callable[[int | None], Any]
    errors: tuple[type[Exception], ...]


@cache
def _zstd() -> _Zstd | None:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return _standard_zstd(importlib.import_module(name))
        except ImportError:
            continue
    try:
        return _zstandard(importlib.import_module("zstandard"))
    except ImportError:
        return None


def _standard_zstd(module: Any) -> _Zstd:
    options = {module.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}

    def compressor(level: int | None) -> Any:
        return module.ZstdCompressor() if level is None else module.ZstdCompressor(level=level)

    return _Zstd(
        lambda: module.ZstdDecompressor(options=options),
        compressor,
        (module.ZstdError,),
    )


def _zstandard(module: Any) -> _Zstd:
    library = module.ZstdDecompressor(max_window_size=1 << ZSTD_WINDOW_LOG)

    def compressor(level: int | None) -> Any:
        settings = module.ZstdCompressor() if level is None else module.ZstdCompressor(level=level)
        return settings.compressobj()

    return _Zstd(
        lambda: _ZstandardEngine(library.decompressobj()),
        compressor,
        (module.ZstdError,),
    )


def available_codings() -> tuple[str, ...]:
    """The codings that can be decoded here, as Accept-Encoding lists them: best known first.

    ``gzip`` and ``deflate`` always; ``br`` with `brotli` 1.2 or later, ``zstd`` with Python 3.14,
    `backports.zstd` or `zstandard`. The optional libraries are imported by the first call.
    """
    codings = ["gzip", "deflate"]
    if _brotli() is not None:
        codings.append("br")
    if _zstd() is not None:
        codings.append("zstd")
    return tuple(codings)


# --- decoding ----------------------------------------------------------------------------------


class _Engine(Protocol):
    """Decompresses one member or frame: the interface of the standard library's decompressors.

    `decompress` gets data while `needs_input`, else ``b""``; it returns about `limit` octets at
    most (a library may overshoot by some, and the rest is kept by `Decoder`).
    """

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, limit: int, /) -> bytes: ...


class _ZlibEngine:
    __slots__ = ("_object", "_tail", "needs_input")

    def __init__(self, wbits: int) -> None:
        self._object = zlib_backend().decompressobj(wbits=wbits)
        self._tail = b""
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return bool(self._object.eof)

    @property
    def unused_data(self) -> bytes:
        unused: bytes = self._object.unused_data
        return unused

    def decompress(self, data: bytes, limit: int, /) -> bytes:
        decoded: bytes = self._object.decompress(data or self._tail, limit)
        self._tail = self._object.unconsumed_tail
        # With all input taken, zlib may still hold output that did not fit.
        self.needs_input = not self._tail and len(decoded) < limit
        return decoded


class _BrotliEngine:
    __slots__ = ("_object", "needs_input")

    unused_data = b""  # brotli takes data after its end for an error of its own

    def __init__(self) -> None:
        self._object = _brotli().Decompressor()
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return bool(self._object.is_finished())

    def decompress(self, data: bytes, limit: int, /) -> bytes:
        decoded: bytes = self._object.process(data, output_buffer_limit=limit)
        # It may accept more data and still hold output that did not fit.
        self.needs_input = len(decoded) < limit and self._object.can_accept_more_data()
        return decoded


class _ZstandardEngine:
    """`zstandard` decompresses all that it gets: it gets little at a time."""

    __slots__ = ("_object", "_rest")

    def __init__(self, decompressobj: Any) -> None:
        self._object = decompressobj
        self._rest = b""

    @property
    def eof(self) -> bool:
        return bool(self._object.eof)

    @property
    def needs_input(self) -> bool:
        return not self._rest

    @property
    def unused_data(self) -> bytes:
        unused: bytes = self._object.unused_data
        return unused + self._rest

    def decompress(self, data: bytes, _limit: int, /) -> bytes:
        rest = data or self._rest
        decoded = b""
        position = 0
        while not decoded and position < len(rest) and not self._object.eof:
            decoded = self._object.decompress(rest[position : position + ZSTANDARD_PIECE])
            position += ZSTANDARD_PIECE
        self._rest = rest[position:]
        return decoded


class _Coding(NamedTuple):
    """How one coding is undone. `begin` gets the first octets, `probe` of them at least."""

    name: str
    begin: Callable[[bytes], _Engine]
    errors: tuple[type[Exception], ...]
    repeats: bool = False
    probe: int = 1


def _begin_deflate(start: bytes) -> _Engine:
    # RFC 9110 §8.4.1.2: deflate means the zlib format; some servers send the bare deflate format.
    # RFC 1950 §2.2: method 8, a window of 32 KiB at most, and a check that makes it unmistakable.
    is_zlib = start[0] & 0x0F == 8 and start[0] >> 4 <= 7 and (start[0] << 8 | start[1]) % 31 == 0
    return _ZlibEngine(_ZLIB_WBITS if is_zlib else _RAW_WBITS)


def _coding(name: str) -> _Coding | None:
    """How to undo the coding of this lower-case name, or None where that is not known here."""
    match _ALIASES.get(name, name):
        case "gzip":
            errors = (zlib_backend().error,)
            return _Coding(name, lambda _start: _ZlibEngine(_GZIP_WBITS), errors, repeats=True)
        case "deflate":
            return _Coding(name, _begin_deflate, (zlib_backend().error,), probe=2)
        case "br" if (brotli := _brotli()) is not None:
            return _Coding(name, lambda _start: _BrotliEngine(), (brotli.error,))
        case "zstd" if (zstd := _zstd()) is not None:
            decompressor = zstd.decompressor
            return _Coding(name, lambda _start: decompressor(), zstd.errors, repeats=True)
        case _:
            return None


class _Stage:
    """One coding of a chain: octets in, decoded octets out, as many as are asked for."""

    __slots__ = ("_coding", "_engine", "_members", "_pending", "_size", "_start", "_tiny")

    def __init__(self, coding: _Coding) -> None:
        self._coding = coding
        self._engine: _Engine | None = None
        self._pending: deque[bytes] = deque()
        # The first octets, while too few to begin with.
        self._start = b""
        self._members = 0
        self._size = 0
        self._tiny = 0

    @property
    def name(self) -> str:
        return self._coding.name

    @property
    def needs_input(self) -> bool:
        return not self._pending and (self._engine is None or self._engine.needs_input)

    @property
    def truncated(self) -> bool:
        """Whether it would be wrong to end here. Content of no octets at all is complete."""
        return self._engine is not None or bool(self._start or self._pending)

    def feed(self, data: bytes) -> None:
        if len(data) <= INPUT_PIECE:
            if data:
                self._pending.append(data)
            return
        for start in range(0, len(data), INPUT_PIECE):
            self._pending.append(data[start : start + INPUT_PIECE])

    def pull(self, limit: int) -> bytes:
        """About `limit` decoded octets at most; none when more input is needed."""
        while True:
            engine = self._engine or self._begin()
            if engine is None:
                return b""
            data = b""
            if engine.needs_input:
                if not self._pending:
                    return b""
                data = self._pending.popleft()
            try:
                decoded = engine.decompress(data, limit)
            except self._coding.errors as error:
                raise ContentError(f"broken {self.name} content: {error}") from error
            self._size += len(decoded)
            if engine.eof:
                self._end(engine.unused_data)
            if decoded:
                return decoded

    def _begin(self) -> _Engine | None:
        pending = self._pending
        # gzip(1) pads with zeros to the size of a tape's block, and ignores such padding.
        while self._members and pending and self._coding.repeats:
            pending[0] = pending[0].lstrip(b"\0")
            if pending[0]:
                break
            pending.popleft()
        if pending and self._members and not self._coding.repeats:
            raise ContentError(f"data after the end of {self.name} content")
        while pending:
            self._start += pending.popleft()
            if len(self._start) >= self._coding.probe:
                pending.appendleft(self._start)
                self._engine = self._coding.begin(self._start)
                self._start = b""
                break
        return self._engine

    def _end(self, rest: bytes) -> None:
        self._engine = None
        self._members += 1
        if self._size < TINY_MEMBER:
            self._tiny += 1
            if self._tiny > MAX_TINY_MEMBERS:
                raise ContentError(f"more than {MAX_TINY_MEMBERS} tiny {self.name} members")
        self._size = 0
        if rest:
            self._pending.appendleft(rest)


class Decoder:
    """Undoes the content codings of one message; made by `make_decoder`.

    Feed it what came, read until nothing is left, and again::

        decoder.feed(data)
        while decoded := decoder.read(65536):
            ...
        decoder.finish()  # after the last octet

    Once a method has raised ContentError, the decoder is of no more use.
    """

    __slots__ = ("_between", "_left", "_left_start", "_max_total", "_stages", "total")

    def __init__(self, stages: Sequence[_Stage], max_total: int | None = None) -> None:
        self._stages = tuple(stages)
        self._max_total = max_total
        self._between = 0
        # What a library gave beyond what was asked for.
        self._left = b""
        self._left_start = 0
        self.total = 0
        """How many octets have been decoded so far."""

    def __repr__(self) -> str:
        names = ", ".join(stage.name for stage in self._stages)
        return f"<{type(self).__name__} {names} decoded={self.total}>"

    @property
    def needs_input(self) -> bool:
        """Whether nothing can be read before more is fed. Also true at the end of the content."""
        return not self._left and all(stage.needs_input for stage in self._stages)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take coded octets, without decoding any yet.

        All are held until they are decoded: back-pressure is to feed only when `needs_input`.
        """
        self._stages[0].feed(bytes(data))

    def read(self, max_length: int) -> bytes:
        """At most `max_length` (1 or more) decoded octets; ``b""`` when more input is needed.

        ContentError for coded data that is broken, has something else after its end, or decodes to
        more than `max_total` octets.
        """
        if max_length < 1:
            raise ValueError(f"max_length must be positive, not {max_length}")
        decoded = self._left
        if not decoded:
            decoded = self._pull(max(max_length, OUTPUT_PIECE))
            self._count(len(decoded))
            if len(decoded) <= max_length:
                return decoded
            self._left = decoded
        start = self._left_start
        end = start + max_length
        if end < len(decoded):
            self._left_start = end
        else:
            self._left = b""
            self._left_start = 0
        return decoded[start:end]

    def finish(self) -> None:
        """No more input comes, and everything was read. ContentError if the coded data is cut off.

        RuntimeError where output is left that was not read.
        """
        # What is left may be a checksum only, which gives no output.
        if not self.needs_input and (self._left or self._pull_rest()):
            raise RuntimeError(f"{self!r} has output that was not read")
        for stage in self._stages:
            if stage.truncated:
                raise ContentError(f"{stage.name} content is cut off")

    def _pull_rest(self) -> bytes:
        self._left = self._pull(OUTPUT_PIECE)
        self._count(len(self._left))
        return self._left

    def _pull(self, limit: int) -> bytes:
        """Pull from the last stage, and where it has no input from the one before it."""
        stages = self._stages
        last = len(stages) - 1
        index = last
        while True:
            decoded = stages[index].pull(limit if index == last else OUTPUT_PIECE)
            if decoded:
                if index == last:
                    return decoded
                self._between += len(decoded)
                if self._between > MAX_BETWEEN + BETWEEN_RATIO * self.total:
                    raise ContentError(
                        f"{self._between} bytes between content codings decode to {self.total}"
                    )
                index += 1
                stages[index].feed(decoded)
            elif index:
                index -= 1
            else:
                return b""

    def _count(self, size: int) -> None:
        self.total += size
        if self._max_total is not None and self.total > self._max_total:
            raise ContentError(
                f"decoded content is longer than {self._max_total} bytes", status=413
            )


def make_decoder(content_codings: Sequence[str], *, max_total: int | None = None) -> Decoder | None:
    """A decoder for the members of a Content-Encoding field, in the field's order.

    Names are compared without case; ``identity`` and empty members are ignored, and a member may
    itself be a comma-separated list. None where there is nothing to decode, and where any coding is
    unknown here: then the content is delivered as it is, since undoing some of the codings of a
    chain would give neither. ContentError for more than MAX_CODINGS codings.

    `max_total` bounds the decoded content as a whole, in octets.
    """
    names = [
        name
        for member in content_codings
        for part in member.split(",")
        if (name := part.strip(" \t").lower()) not in ("", "identity")
    ]
    if len(names) > MAX_CODINGS:
        raise ContentError(f"{len(names)} content codings, more than {MAX_CODINGS}")
    stages = []
    # RFC 9110 §8.4: listed in the order in which they were applied; undone from the last one.
    for name in reversed(names):
        coding = _coding(name)
        if coding is None:
            return None
        stages.append(_Stage(coding))
    return Decoder(stages, max_total) if stages else None


# --- compressing -------------------------------------------------------------------------------


class Compressor:
    """Applies one content coding to a body; made by `make_compressor`."""

    __slots__ = ("_compress", "_flush", "coding")

    def __init__(
        self, coding: str, compress: Callable[[Any], bytes], flush: Callable[[], bytes]
    ) -> None:
        self.coding = coding
        """The coding's name, for Content-Encoding."""
        self._compress = compress
        self._flush = flush

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.coding}>"

    def compress(self, data: bytes | bytearray | memoryview) -> bytes:
        """Coded octets that are ready; often none, as the library gathers input."""
        return self._compress(data)

    def flush(self) -> bytes:
        """The rest of the coded octets. Call it once, at the end."""
        return self._flush()


def make_compressor(
    coding: str, *, level: int | None = None, strategy: int | None = None
) -> Compressor:
    """A compressor for ``gzip``, ``deflate`` (the zlib format), ``br`` or ``zstd``.

    `level` is the library's own: 0 to 9 for zlib, 0 to 11 for Brotli, 1 to 22 for Zstandard; None
    is its default, or 4 for Brotli. `strategy` is one of zlib's ``Z_*`` strategies, and ignored by
    the others. ValueError for a coding that is unknown or not installed.
    """
    name = coding.lower()
    match name:
        case "gzip" | "deflate":
            wbits = _GZIP_WBITS if name == "gzip" else _ZLIB_WBITS
            options = {"level": level, "strategy": strategy}
            given = {key: value for key, value in options.items() if value is not None}
            stream = zlib_backend().compressobj(wbits=wbits, **given)
            return Compressor(name, stream.compress, stream.flush)
        case "br" if (brotli := _brotli()) is not None:
            stream = brotli.Compressor(quality=BROTLI_LEVEL if level is None else level)
            return Compressor(name, stream.process, stream.finish)
        case "zstd" if (zstd := _zstd()) is not None:
            stream = zstd.compressor(level)
            return Compressor(name, stream.compress, stream.flush)
        case _:
            known = ", ".join(available_codings())
            raise ValueError(f"cannot compress with {coding!r}, only with {known}")
