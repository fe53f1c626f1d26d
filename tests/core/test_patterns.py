"""Regular expressions that are compiled at their first use."""

from __future__ import annotations

import re

import pytest

from angelia.core.patterns import lazy


def test_behaves_like_a_pattern() -> None:
    """Methods and attributes are those of the compiled pattern, before and after the first use."""
    pattern = lazy(r"(a)b", re.IGNORECASE)
    for _ in range(2):
        match = pattern.fullmatch("AB")
        assert match is not None
        assert match[1] == "A"
        assert pattern.sub("x", "cab") == "cx"
    assert pattern.groups == 1
    assert lazy(rb"a").search(b"cab") is not None


def test_errors_come_at_the_first_use() -> None:
    """An invalid pattern is found out when it is used, not before."""
    pattern = lazy("(")
    with pytest.raises(re.error):
        pattern.match("")


def test_representation() -> None:
    """The representation shows the expression, and compiles nothing."""
    assert repr(lazy("(")) == "lazy('(')"
