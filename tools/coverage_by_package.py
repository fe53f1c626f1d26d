"""Print what the tests cover, by package, from the data that ``make cover`` left.

    python tools/coverage_by_package.py [--core PERCENT]

Exit status 1 when fewer than PERCENT of the branches of `angelia.core` were taken.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path, PurePath

from coverage import Coverage

PACKAGE = "angelia"


def load() -> dict[str, dict[str, dict[str, int]]]:
    """Return coverage's own report, by file."""
    coverage = Coverage()
    coverage.load()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "coverage.json")
        coverage.json_report(outfile=str(path))
        files: dict[str, dict[str, dict[str, int]]] = json.loads(path.read_text())["files"]
        return files


def package_of(path: str) -> str:
    """Return the first two levels of a file's package: ``angelia.core``, or ``angelia``."""
    parts = PurePath(path).parts
    inner = parts[parts.index(PACKAGE) + 1 : -1]
    return ".".join((PACKAGE, *inner[:1]))


def percent(part: int, whole: int) -> float:
    """Return a percentage; of nothing, all is covered."""
    return 100.0 * part / whole if whole else 100.0


def main() -> int:
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--core", type=float, default=0.0, help="branches of the core, in percent")
    limit: float = parser.parse_args().core
    keys = ("covered_lines", "num_statements", "covered_branches", "num_branches")
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for path, report in load().items():
        row = sums[package_of(path)]
        for index, key in enumerate(keys):
            row[index] += report["summary"][key]
    print(f"{'package':<20} {'lines':>16} {'branches':>16}")
    for package, (lines, statements, taken, branches) in sorted(sums.items()):
        print(
            f"{package:<20} {lines:>6}/{statements:<5}{percent(lines, statements):>4.0f}%"
            f" {taken:>5}/{branches:<5}{percent(taken, branches):>5.1f}%"
        )
    core = sums[f"{PACKAGE}.core"]
    if percent(core[2], core[3]) < limit:
        print(f"{PACKAGE}.core: {percent(core[2], core[3]):.2f} % of branches, not {limit:g} %")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
