"""Prints, from what mutmut left in mutants/, the score of each area: the part of the mutants reached by a test that one killed.

A mutant that ran into mutmut's limit of time counts as killed, as a test that never ends fails in CI. Exit code 1 below the
bound, or while mutants wait.
"""

import json
import sys
from collections import Counter
from pathlib import Path

LEAST_PERCENT = 80

AREAS = {
    "gateway core": "broker",
    "IoT SQL evaluator": "pipeline/rules",
    "view apply": "analytics/view",
    "verdict": "analytics",
}
"""A file counts for the first whose folder it is in."""

KILLED, SURVIVED, UNREACHED, WAITING = "killed", "survived", "without a test", "not run yet"
_BY_EXIT_CODE = {1: KILLED, 3: KILLED, 0: SURVIVED, 5: UNREACHED, 33: UNREACHED, None: WAITING, 2: WAITING}
"""What pytest, and mutmut beside it, say of a mutant; everything else is an end by force: out of time, a crash."""


def main(mutants: Path) -> int:
    counts = {area: Counter[str]() for area in AREAS}
    for path in sorted(mutants.rglob("*.meta")):
        area = _area(path.relative_to(mutants))
        codes = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"].values()
        counts[area].update(_BY_EXIT_CODE.get(code, KILLED) for code in codes)
    failed = 0
    for area, found in counts.items():
        reached = found[KILLED] + found[SURVIVED]
        percent = 100 * found[KILLED] / reached if reached else 0.0
        failed += percent < LEAST_PERCENT or bool(found[WAITING])
        apart = "".join(f", {found[kind]} {kind}" for kind in (UNREACHED, WAITING) if found[kind])
        print(f"{area:<20}{found[KILLED]:>6} of{reached:>6} killed{percent:>7.1f} %{apart}")
    return 1 if failed else 0


def _area(path: Path) -> str:
    return next(area for area, folder in AREAS.items() if path.is_relative_to(folder))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
