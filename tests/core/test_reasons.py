"""Reason phrases."""

from __future__ import annotations

import pytest

from angelia.core.reasons import reason_of


@pytest.mark.parametrize(
    ("status", "reason"), [(100, "Continue"), (200, "OK"), (404, "Not Found"), (299, ""), (999, "")]
)
def test_phrases(status: int, reason: str) -> None:
    """A registered status has a phrase (RFC 9110 §15), any other one has none."""
    assert reason_of(status) == reason
