"""What a run tells at its end: every phase in a sentence, the ledger, the expectations."""

from rich.console import Console
from rich.table import Table

from thingstorm.report.record import PhaseResult, Record, Result

_HOPS = {
    "published": "by the devices",
    "accepted": "by the gateway",
    "routed": "by a rule",
    "queued": "through SNS to SQS",
    "stored": "rows in DynamoDB",
    "viewed": "rows in the SQL view",
    "archived": "records read back from S3",
}
_DIRECT = _HOPS | {
    "queued": "through a queue in memory",
    "stored": "rows of the table in memory",
    "archived": "records for the archive, counted only",
}
"""The direct path has none of AWS's services."""


def tell(result: Result, record: Record) -> None:
    """Print it; colours only on a terminal."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"\n[bold]{result.scenario}[/] (seed {result.seed}), {result.wall_seconds:.1f} s")
    for phase in result.phases:
        console.print(f"  {_sentence(phase)}")
    console.print(f"  the security team's queue received {record.alerts_received} alert(s)")
    console.print(_ledger(result))
    console.print(
        f"lost {result.overall.lost}, duplicates {result.overall.duplicates}, dead letters"
        f" {result.overall.dead_letters}; data latency p50 {result.latency.data_p50_ms:.0f} ms, p95"
        f" {result.latency.data_p95_ms:.0f} ms; verdicts within {result.latency.verdict_p95_ms:.0f} ms (p95),"
        f" {len(record.verdicts)} ticks"
    )
    for expectation in result.expectations:
        mark = "[green]ok    [/]" if expectation.passed else "[bold red]FAILED[/]"
        if expectation.gap and not expectation.passed:
            mark = "[yellow]gap   [/]"
        console.print(
            f"  {mark} {expectation.name}: expected {expectation.expected}, seen {expectation.seen}"
        )
    console.print("[bold green]passed[/]" if result.passed else "[bold red]failed[/]")


def _sentence(phase: PhaseResult) -> str:
    text = f"{phase.id} ({phase.kind}): {phase.verdict}"
    if phase.detect_seconds is not None:
        text += f" after {phase.detect_seconds:.1f} s"
    if phase.flagged:
        hit = len(set(phase.flagged) & set(phase.expected_devices))
        text += f"; {hit} of {len(phase.expected_devices)} hostile devices named, {phase.false_positives} innocent"
    if phase.quarantined:
        text += f"; quarantined: {', '.join(phase.quarantined)}"
    return text


def _ledger(result: Result) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for column, justify in ((0, "left"), (1, "right"), (2, "left")):
        table.add_column(str(column), justify="right" if justify == "right" else "left")
    ledger = result.as_json()["ledger"]
    hops = _DIRECT if result.path == "direct" else _HOPS
    for name, remark in hops.items():
        table.add_row(name, f"{ledger[name]:,}", remark)
    return table
