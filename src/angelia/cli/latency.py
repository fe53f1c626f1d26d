"""Durations, counted: percentiles and a histogram out of a bounded number of counters.

Owns: the buckets, each `PRECISION` wider than the one before. Pure; knows no clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

__all__ = ("Durations", "histogram_lines")

# Buckets grow by 1 %: the 2 100 between a microsecond and an hour are all that a run can need.
PRECISION: Final = 0.01
SHORTEST: Final = 1e-6
LONGEST: Final = 1e5

_LOG_STEP: Final = math.log1p(PRECISION)


class Durations:
    """Counts durations in seconds; `minimum`, `maximum` and `mean` are exact."""

    __slots__ = ("_counts", "count", "maximum", "minimum", "total")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.minimum = math.inf
        self.maximum = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        held = min(max(seconds, SHORTEST), LONGEST)
        index = int(math.log(held / SHORTEST) / _LOG_STEP)
        self._counts[index] = self._counts.get(index, 0) + 1
        self.count += 1
        self.total += seconds
        self.minimum = min(self.minimum, seconds)
        self.maximum = max(self.maximum, seconds)

    @property
    def mean(self) -> float:
        """The arithmetic mean; 0 of nothing."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, percent: float) -> float:
        """The duration that `percent` of all do not exceed (nearest rank), exact to `PRECISION`."""
        if not self.count:
            return 0.0
        rank = max(1, math.ceil(self.count * percent / 100))
        if rank >= self.count:
            return self.maximum
        seen = 0
        for index in sorted(self._counts):
            seen += self._counts[index]
            if seen >= rank:
                middle = SHORTEST * math.exp((index + 0.5) * _LOG_STEP)
                return min(max(middle, self.minimum), self.maximum)
        return self.maximum

    def bars(self, rows: int) -> list[tuple[float, int]]:
        """At most `rows` pairs of an upper bound and a count, on a logarithmic scale, none lost."""
        if not self.count:
            return []
        first, last = min(self._counts), max(self._counts)
        width = max(1, math.ceil((last - first + 1) / rows))
        counts = [0] * ((last - first) // width + 1)
        for index, count in self._counts.items():
            counts[(index - first) // width] += count
        bounds = [
            SHORTEST * math.exp((first + (row + 1) * width) * _LOG_STEP)
            for row in range(len(counts))
        ]
        bounds[-1] = self.maximum
        return list(zip(bounds, counts, strict=True))


def histogram_lines(
    bars: Sequence[tuple[str, int]], *, width: int = 40, mark: str = "#"
) -> list[str]:
    """A line for each pair of a label and a count, with a bar; the longest is `width` wide."""
    if not bars:
        return []
    largest = max(count for _, count in bars)
    label_width = max(len(label) for label, _ in bars)
    count_width = max(len(str(count)) for _, count in bars)
    lines = []
    for label, count in bars:
        # What is there is seen, however little it is.
        length = math.ceil(count * width / largest) if largest else 0
        line = f"{label.rjust(label_width)}  {str(count).rjust(count_width)}  {mark * length}"
        lines.append(line.rstrip())
    return lines
