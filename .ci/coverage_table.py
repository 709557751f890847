"""Prints, from the JSON of coverage.py, the part of each package's branches that tests took; exit code 1 below the bound."""

import json
import sys
from collections import Counter
from pathlib import Path, PurePath

LEAST_PERCENT = 85


def main(source: Path) -> int:
    """A package counts with all that lies in it; one without a branch has nothing to show."""
    files = json.loads(source.read_text(encoding="utf-8"))["files"]
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
    return 1 if below or not branches else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
