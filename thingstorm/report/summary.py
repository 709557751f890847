"""The table under several scenarios: each in a line, what failed and what is known to."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from thingstorm.report.gaps import open_gaps
from thingstorm.report.record import Result

WIDTH = 160
"""Columns where there is no terminal: a log has no edge."""


def summarise(results: Sequence[Result]) -> None:
    """Print it; colours only on a terminal."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = WIDTH
    table = Table(box=None, pad_edge=False)
    for column, justify in (("", "left"), ("scenario", "left"), ("seed", "right"), ("path", "left"), ("phases", "left"),
                            ("messages", "right"), ("seconds", "right")):  # fmt: skip
        table.add_column(column, justify="right" if justify == "right" else "left")
    for result in results:
        table.add_row(*_row(result))
    console.print(table)
    for result in results:
        for one in result.expectations:
            if not one.passed and not one.gap:
                console.print(
                    f"[bold red]FAILED[/] {result.scenario}: {one.name}: expected {one.expected}, seen {one.seen}"
                )
    gaps = [(result.scenario, one) for result in results for one in open_gaps(result)]
    for name, gap in gaps:
        console.print(
            f"[yellow]gap[/]    {name}: {gap.name}: expected {gap.expected}, seen {gap.seen}; {gap.gap}"
        )
    passed = sum(result.passed for result in results)
    console.print(f"{passed} passed, {len(results) - passed} failed, {len(gaps)} known gaps")


def _row(result: Result) -> tuple[str, ...]:
    state = "[green]passed[/]" if result.passed else "[bold red]FAILED[/]"
    phases = " ".join(f"{one.id}={one.verdict}" for one in result.phases)
    return (
        state,
        result.scenario,
        str(result.seed),
        result.path,
        phases,
        f"{result.ledger.viewed:,}",
        f"{result.wall_seconds:.1f}",
    )
