"""Tests of angelia.cli.layout: JSON for people, token by token."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.cli.layout import MAX_DEPTH, laid_out_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs"))),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text("ab:,{}[]\"\\ "), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


def test_layout() -> None:
    """Each member and element has its line; empty ones stay together."""
    text = '{"a":[1,{"b":null}],"c":{ },"d":[\n],"e":"x, y: [z]"}'
    assert laid_out_json(text) == (
        "{\n"
        '    "a": [\n'
        "        1,\n"
        "        {\n"
        '            "b": null\n'
        "        }\n"
        "    ],\n"
        '    "c": {},\n'
        '    "d": [],\n'
        '    "e": "x, y: [z]"\n'
        "}"
    )


@given(JSON, st.booleans())
def test_same_as_the_standard_library(value: object, ascii_only: bool) -> None:
    """Any value is laid out as json.dumps does it."""
    compact = json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":"))
    assert laid_out_json(compact) == json.dumps(value, ensure_ascii=ascii_only, indent=4)


@given(st.text('[]{}",:\\ \n\t01-e.truefalsn'))
def test_any_text(text: str) -> None:
    """Any text is laid out to the same value, or refused as the standard library refuses it."""
    result = laid_out_json(text)
    try:
        value = json.loads(text)
    except ValueError:
        assert result is None
    else:
        assert result is not None
        assert json.loads(result) == value


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 2}', "1.000000000000000000001", '"\\u00e4\\/"', "1e400", "9" * 5000]
)
def test_tokens_stay(text: str) -> None:
    """Names that come twice, long numbers and escapes are shown as the peer wrote them."""
    result = laid_out_json(text)
    assert result is not None
    assert "".join(result.split()) == "".join(text.split())


@pytest.mark.parametrize(
    "text",
    ["", " ", "{", "[1 2]", "[1,]", "{} {}", "NaN", "[Infinity]", "nul", "'a'", '"\n"', "01"],
)
def test_not_json(text: str) -> None:
    """What is not JSON is not made to look like it."""
    assert laid_out_json(text) is None


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 100_000])
def test_deep_nesting(depth: int) -> None:
    """Nesting that would be mostly indentation is refused, however deep, in either bracket."""
    assert laid_out_json("[" * depth + "]" * depth) is None
    assert laid_out_json('{"a":' * depth + "1" + "}" * depth) is None


def test_unfinished_string_is_linear() -> None:
    """A megabyte of an unfinished string takes no time."""
    assert laid_out_json('"' + "\\a" * 500_000) is None
    assert laid_out_json('["' + "a" * 1_000_000) is None


def test_colours() -> None:
    """Names, strings, numbers and literals have colours of their own, brackets none."""
    result = laid_out_json('{"a":["b",1,true]}', lambda text, style: f"<{style}>{text}</>")
    assert result is not None
    assert "".join(result.split()) == (
        '{<cyan>"a"</>:[<green>"b"</>,<yellow>1</>,<magenta>true</>]}'
    )


def test_controls_are_escaped() -> None:
    """Characters that JSON allows and a terminal obeys are spelled out."""
    assert laid_out_json('"\x9b1m\u202e\x7f"') == '"\\x9b1m\\u202e\\x7f"'
