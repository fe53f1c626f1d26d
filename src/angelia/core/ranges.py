"""Range requests (RFC 9110 §14): which octets of a representation were asked for.

Owns: the grammar of `Range` for the unit bytes, its limits, and the text of `Content-Range`. Pure;
knows nothing of files or responses.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from angelia.core.patterns import lazy

__all__ = ("MAX_RANGES", "ByteRange", "parse_byte_ranges", "parse_single_range", "satisfiable")

# RFC 9110 §14.2: many small or overlapping ranges are an attack. Programs that resume or seek ask
# for one; viewers of documents for a handful.
MAX_RANGES: Final = 16

# 2**63 - 1 has 19 digits; a longer number is no offset in any file.
_SPEC: Final = lazy(r"[ \t]*(?:([0-9]{1,19})-([0-9]{0,19})|-([0-9]{1,19}))[ \t]*")


class ByteRange(NamedTuple):
    """Octets from `start` to before `stop`."""

    start: int
    stop: int

    def content_range(self, size: int) -> str:
        """The value of `Content-Range` for this part of `size` octets."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


Spec = tuple[int | None, int | None]


def parse_byte_ranges(value: str) -> list[Spec] | None:
    """What `Range` asks for: pairs of first and last octet, as they were written.

    ``(None, n)`` are the last n octets, ``(n, None)`` all from n on. None where the field is to be
    ignored (RFC 9110 §14.2): another unit, a malformed list, or more than `MAX_RANGES`.
    """
    unit, equals, rest = value.partition("=")
    if not equals or unit.strip(" \t").lower() != "bytes" or not unit.isascii():
        return None
    specs: list[Spec] = []
    for text in rest.split(",", MAX_RANGES + 1):
        if not text.strip(" \t"):
            continue
        found = _SPEC.fullmatch(text)
        if found is None or len(specs) == MAX_RANGES:
            return None
        first, last, suffix = found.groups()
        if suffix is not None:
            specs.append((None, int(suffix)))
        elif last and int(last) < int(first):
            return None
        else:
            specs.append((int(first), int(last) if last else None))
    return specs or None


def satisfiable(specs: list[Spec], size: int) -> list[ByteRange]:
    """The parts of `size` octets that `specs` name; empty where none of them exists (416).

    Parts that overlap or touch become one (RFC 9110 §15.3.7.2), in the order of the octets.
    """
    found: list[ByteRange] = []
    for first, last in specs:
        if first is None:
            if last and size:
                found.append(ByteRange(max(0, size - last), size))
        elif first < size:
            found.append(ByteRange(first, size if last is None else min(last + 1, size)))
    found.sort()
    merged: list[ByteRange] = []
    for part in found:
        if merged and part.start <= merged[-1].stop:
            merged[-1] = ByteRange(merged[-1].start, max(merged[-1].stop, part.stop))
        else:
            merged.append(part)
    return merged


def parse_single_range(value: str) -> slice:
    """One range as a slice: ``bytes=2-4`` is ``slice(2, 5, 1)``, the last 3 ``slice(-3, None, 1)``.

    ValueError where it is not one range of bytes.
    """
    specs = parse_byte_ranges(value)
    if specs is None or len(specs) != 1:
        raise ValueError(f"not one range of bytes: {value[:64]!r}")
    first, last = specs[0]
    if first is None:
        return slice(-(last or 0), None, 1)
    return slice(first, None if last is None else last + 1, 1)
