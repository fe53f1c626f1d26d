"""Tests of angelia.cli.latency: percentiles out of counters."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from angelia.cli.latency import PRECISION, Durations, histogram_lines

SECONDS = st.floats(1e-6, 1e4)


def counted(values: list[float]) -> Durations:
    durations = Durations()
    for value in values:
        durations.add(value)
    return durations


@given(st.lists(SECONDS, min_size=1, max_size=200), st.sampled_from([1, 50, 90, 95, 99, 99.9, 100]))
def test_percentiles_are_near_the_exact_ones(values: list[float], percent: float) -> None:
    """A percentile is the nearest-rank one, to the precision of a bucket."""
    exact = sorted(values)[max(1, math.ceil(len(values) * percent / 100)) - 1]
    assert counted(values).percentile(percent) == pytest.approx(exact, rel=PRECISION)


@given(st.lists(SECONDS, min_size=1, max_size=200), st.integers(1, 20))
def test_bars_lose_nothing(values: list[float], rows: int) -> None:
    """The histogram has as many rows as asked for at most, rising, and counts every duration."""
    durations = counted(values)
    bars = durations.bars(rows)
    assert len(bars) <= rows
    assert sum(count for _, count in bars) == len(values)
    bounds = [bound for bound, _ in bars]
    assert bounds[:-1] == sorted(bounds[:-1])
    assert bounds[-1] == durations.maximum


def test_exact_facts() -> None:
    """The extremes and the mean are exact."""
    durations = counted([0.1, 0.2, 0.6])
    assert (durations.minimum, durations.maximum, durations.count) == (0.1, 0.6, 3)
    assert durations.mean == pytest.approx(0.3)
    assert durations.percentile(100) == 0.6


def test_nothing() -> None:
    """Of nothing all is zero, and there is no histogram."""
    durations = Durations()
    assert durations.percentile(50) == 0
    assert durations.mean == 0
    assert durations.bars(10) == []
    assert histogram_lines([]) == []


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-9, 1e9, math.inf])
def test_odd_durations(value: float) -> None:
    """A clock that stands still, or years, find a bucket too."""
    assert len(counted([value, 1.0]).bars(5)) >= 1


def test_memory_is_bounded() -> None:
    """Many different durations share the counters of the scale."""
    durations = counted([1e-6 * 1.001**step for step in range(25_000)])
    assert durations.count == 25_000
    assert len(durations._counts) < 2600


def test_lines() -> None:
    """The longest bar has the full width, and what is there is seen."""
    assert histogram_lines([("1 ms", 1), ("10 ms", 1000), ("1 s", 0)], width=10) == [
        " 1 ms     1  #",
        "10 ms  1000  ##########",
        "  1 s     0",
    ]
