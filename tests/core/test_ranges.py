"""Range requests: RFC 9110 §14."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.core.ranges import (
    MAX_RANGES,
    ByteRange,
    parse_byte_ranges,
    parse_single_range,
    satisfiable,
)


@pytest.mark.parametrize(
    ("value", "specs"),
    [
        ("bytes=0-0", [(0, 0)]),
        ("bytes=0-499", [(0, 499)]),
        ("Bytes=500-", [(500, None)]),
        ("bytes=-500", [(None, 500)]),
        ("bytes= 0-0 ,\t-1", [(0, 0), (None, 1)]),
        ("bytes=0-0,,-1,", [(0, 0), (None, 1)]),
        ("bytes=-0", [(None, 0)]),
        # Ignored, not refused (§14.2).
        ("items=0-1", None),
        ("bytes", None),
        ("bytes=", None),
        ("bytes=,", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=5-4", None),
        ("bytes=0-1;x", None),
        ("bytes=0 - 1", None),
        ("bytes=+0-1", None),
        ("bytes=0-1_0", None),
        ("bytes=\u0660-\u0661", None),
        ("bytes=\uff10-\uff11", None),
        ("byte\u017f=0-1", None),
        (f"bytes={'1' * 20}-", None),
        ("bytes=" + ",".join("0-0" for _ in range(MAX_RANGES)), [(0, 0)] * MAX_RANGES),
        ("bytes=" + ",".join("0-0" for _ in range(MAX_RANGES + 1)), None),
        ("bytes=" + "," * 100_000, None),
    ],
)
def test_grammar(value: str, specs: list[tuple[int | None, int | None]] | None) -> None:
    """ASCII digits, the unit in any case, and a bounded number of ranges."""
    assert parse_byte_ranges(value) == specs


@pytest.mark.parametrize(
    ("specs", "size", "parts"),
    [
        ([(0, 0)], 10, [(0, 1)]),
        ([(0, 99)], 10, [(0, 10)]),
        ([(3, None)], 10, [(3, 10)]),
        ([(None, 3)], 10, [(7, 10)]),
        ([(None, 30)], 10, [(0, 10)]),
        ([(10, None)], 10, []),
        ([(10, 12)], 10, []),
        ([(None, 0)], 10, []),
        ([(0, None)], 0, []),
        ([(None, 5)], 0, []),
        # One that exists is enough.
        ([(0, 1), (20, 30)], 10, [(0, 2)]),
        # In order, and joined where they overlap or touch.
        ([(5, 6), (0, 1)], 10, [(0, 2), (5, 7)]),
        ([(0, 4), (2, 6)], 10, [(0, 7)]),
        ([(0, 1), (2, 3)], 10, [(0, 4)]),
        ([(0, 9), (2, 3)], 10, [(0, 10)]),
    ],
)
def test_satisfiable(
    specs: list[tuple[int | None, int | None]], size: int, parts: list[tuple[int, int]]
) -> None:
    """Ranges are cut to what there is."""
    assert satisfiable(specs, size) == [ByteRange(*part) for part in parts]


def test_content_range() -> None:
    """The last octet is named, not the one after it (§14.4)."""
    assert ByteRange(2, 5).content_range(10) == "bytes 2-4/10"


def test_single() -> None:
    """One range as a slice of the content."""
    content = b"0123456789"
    assert content[parse_single_range("bytes=2-4")] == b"234"
    assert content[parse_single_range("bytes=7-")] == b"789"
    assert content[parse_single_range("bytes=-3")] == b"789"
    for value in ("bytes=0-1,3-4", "rubbish", "bytes=4-3"):
        with pytest.raises(ValueError, match="not one range"):
            parse_single_range(value)


@given(st.text(max_size=60), st.integers(0, 1000))
def test_anything(text: str, size: int) -> None:
    """Any text gives parts that exist, apart and in order, or none."""
    specs = parse_byte_ranges(f"bytes={text}")
    if specs is None:
        return
    end = -1
    for part in satisfiable(specs, size):
        assert end < part.start < part.stop <= size
        end = part.stop
