"""The results of `thingstorm run --json` as Markdown, for the summary page of a CI job.

Run as a program: `python -m thingstorm.report.summary results.json`.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def render_summary(results: Sequence[Mapping[str, Any]]) -> str:
    """A table of scenarios, then every expectation that failed."""
    failed = sum(not result["passed"] for result in results)
    lines = [
        "## thingstorm",
        "",
        f"{len(results) - failed} of {len(results)} scenarios passed.",
        "",
        "| scenario | seed | result | phases | false positives | lost | seconds |",
        "|---|--:|---|---|--:|--:|--:|",
        *map(_row, results),
        *(line for result in results for line in _failures(result)),
    ]
    return "\n".join(lines) + "\n"


def _row(result: Mapping[str, Any]) -> str:
    overall = result["overall"]
    phases = ", ".join(f"{phase['id']}: {phase['verdict']}" for phase in result["phases"])
    cells = (
        result["scenario"],
        result["seed"],
        "passed" if result["passed"] else "**failed**",
        phases or "none",
        overall["false_positives"],
        overall["lost"],
        f"{result['wall_seconds']:.0f}",
    )
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _failures(result: Mapping[str, Any]) -> Iterator[str]:
    failed = [one for one in result["expectations"] if not one["passed"]]
    if not failed:
        return
    yield from ("", f"### {result['scenario']} (seed {result['seed']})", "")
    yield from ("| expectation | expected | seen |", "|---|---|---|")
    for one in failed:
        yield f"| {_cell(one['name'])} | {_cell(one['expected'])} | {_cell(one['seen'])} |"


def _cell(value: object) -> str:
    """Text that stays inside of its cell and is no markup of its own."""
    text = str(value).replace("\n", " ").replace("|", "\\|")
    return text.replace("<", "&lt;").replace(">", "&gt;")


def main() -> None:
    """Print the summary of the file that is named; where a run wrote no results, say that."""
    file = Path(sys.argv[1])
    if not file.is_file():
        sys.stdout.write("## thingstorm\n\nNo scenario was played to its end: see the log of the step.\n")
        return
    sys.stdout.write(render_summary(json.loads(file.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
