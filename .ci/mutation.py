"""Runs a sample of mutmut's mutants of each area and prints the scores: the part of the mutants reached by a test that one killed.

    python .ci/mutation.py [MUTANTS]

MUTANTS of each area are chosen (200; `all`), the same ones every time. mutmut keeps what it found in mutants/, so a call that was
stopped goes on where it was, and forgets what it knows of a function that changed. A mutant that ran out of time, or crashed
the interpreter, counts as killed: in CI it would fail too. Exit code 1 below the bound.
"""

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

LEAST_PERCENT = 75
SEED = 11
MUTANTS = Path("mutants")
MUTMUT = Path(sys.executable).with_name("mutmut")
FIRST = "analytics.view.applying.x__born__mutmut_1"
"""Running one makes them all, and learns which tests reach which functions."""

AREAS = {
    "gateway core": "broker",
    "IoT SQL evaluator": "pipeline/rules",
    "view apply": "analytics/view",
    "verdict": "analytics",
}
"""A file counts for the first whose folder it is in."""

KILLED, SURVIVED, UNREACHED = "killed", "survived", "without a test"
_BY_EXIT_CODE = {0: SURVIVED, 5: UNREACHED, 33: UNREACHED}
"""What pytest, and mutmut beside it, say of a mutant; everything else is a failed test or an end by force."""

_WAITING = (None, 2)
"""Not run yet, or stopped by hand."""


def main(count: str) -> int:
    _forget_halves()
    _mutmut(FIRST)
    found = _results()
    chosen = {area: _chosen(results, count) for area, results in found.items()}
    if waiting := [name for area, names in chosen.items() for name in names if found[area][name] in _WAITING]:
        _mutmut(*waiting)
    found = _results()
    below = [
        _tell(area, [found[area][name] for name in names]) < LEAST_PERCENT for area, names in chosen.items()
    ]
    return 1 if any(below) else 0


def _forget_halves() -> None:
    """A run that was stopped while it made the mutants leaves an empty module, which mutmut takes for a finished one."""
    for path in MUTANTS.rglob("*.py"):
        source = path.relative_to(MUTANTS)
        if path.stat().st_size == 0 and source.exists() and source.stat().st_size > 0:
            path.unlink()


def _mutmut(*names: str) -> None:
    subprocess.run([MUTMUT, "run", *names], check=True)  # noqa: S603 - our own arguments


def _results() -> Mapping[str, Mapping[str, int | None]]:
    """Exit codes of all mutants, by area and name."""
    found: dict[str, dict[str, int | None]] = {area: {} for area in AREAS}
    for path in sorted(MUTANTS.rglob("*.meta")):
        inside = path.relative_to(MUTANTS)
        area = next(area for area, folder in AREAS.items() if inside.is_relative_to(folder))
        found[area] |= json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


def _chosen(results: Mapping[str, int | None], count: str) -> list[str]:
    names = sorted(results)
    if count == "all" or int(count) >= len(names):
        return names
    return random.Random(SEED).sample(names, int(count))  # noqa: S311 - a sample, no secret


def _tell(area: str, codes: list[int | None]) -> float:
    counts = Counter(_BY_EXIT_CODE.get(code, KILLED) if code is not None else UNREACHED for code in codes)
    reached = counts[KILLED] + counts[SURVIVED]
    percent = 100 * counts[KILLED] / reached if reached else 0.0
    apart = f", {counts[UNREACHED]} {UNREACHED}" if counts[UNREACHED] else ""
    print(f"{area:<20}{counts[KILLED]:>6} of{reached:>6} killed{percent:>7.1f} %{apart}")
    return percent


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "200"))
