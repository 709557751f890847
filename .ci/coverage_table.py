"""Prints, from the JSON of coverage.py, the part of each package's branches that tests took; exit code 1 below the bound.

A file that no test imported has no lines in that JSON, or is not in it at all: each is told and fails as well.
"""

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

LEAST_PERCENT = 85
PACKAGES = ("contracts", "thingstorm", "simulator", "broker", "pipeline", "analytics")


def main(source: Path) -> int:
    """A package counts with all that lies in it; one without a branch has nothing to show."""
    files = json.loads(source.read_text(encoding="utf-8"))["files"]
    below = _packages(files)
    unseen = _unseen(files)
    for name in unseen:
        print(f"{name}: no test imports it")
    return 1 if below or unseen else 0


def _packages(files: Mapping[str, Any]) -> int:
    """How many packages are below the bound."""
    branches: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    for name, measured in files.items():
        for package in PurePath(name).parents[:-1]:
            branches[".".join(package.parts)] += measured["summary"]["num_branches"]
            taken[".".join(package.parts)] += measured["summary"]["covered_branches"]
    below = 0
    for package in sorted(one for one, count in branches.items() if count):
        percent = 100 * taken[package] / branches[package]
        below += percent < LEAST_PERCENT
        mark = f"  under {LEAST_PERCENT} %" if percent < LEAST_PERCENT else ""
        print(f"{package:<36}{taken[package]:>6} of{branches[package]:>6}{percent:>7.1f} %{mark}")
    return below


def _unseen(files: Mapping[str, Any]) -> list[str]:
    """The modules of which not one statement ran. An `__init__` of words alone has no statement."""
    seen = {
        name
        for name, one in files.items()
        if one["summary"]["covered_lines"] or not one["summary"]["num_statements"]
    }
    return sorted({path.as_posix() for package in PACKAGES for path in Path(package).rglob("*.py")} - seen)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
