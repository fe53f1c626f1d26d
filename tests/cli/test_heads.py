"""Tests of angelia.cli.heads: heads as lines."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict
from yarl import URL

from angelia import Timings
from angelia.cli.heads import milliseconds, request_lines, timing_line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 ms"),
        (0.00123, "1.23 ms"),
        (0.0999, "99.90 ms"),
        (0.2, "200 ms"),
        (9.9, "9900 ms"),
        (12.345, "12.35 s"),
    ],
)
def test_milliseconds(seconds: float, text: str) -> None:
    """Durations have about three digits that mean something."""
    assert milliseconds(seconds) == text


def test_timings() -> None:
    """Phases that did not take place are not told."""
    timings = Timings(0.001, None, 0.002, None, 0.003, 0.25)
    assert timing_line(timings) == (
        "queue 1.00 ms, connect 2.00 ms, first byte 3.00 ms, total 250 ms"
    )


def test_request() -> None:
    """Credentials are not shown but for their scheme, and nothing reaches the terminal raw."""
    headers = CIMultiDict({"AUTHORIZATION": "Bearer s3cret", "Proxy-Authorization": "s3cret"})
    headers["X"] = "\x9b1m"
    lines = request_lines("GET", URL("http://u:p@example.org/a b?c=ä#f"), headers)
    assert lines == [
        "GET /a%20b?c=%C3%A4 HTTP/1.1",
        "AUTHORIZATION: Bearer [not shown]",
        "Proxy-Authorization: [not shown]",
        "X: \\x9b1m",
    ]
