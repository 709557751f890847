"""Builds records for the tests of reports: times are seconds from the start of the run."""

from collections.abc import Sequence

from contracts.messages import SECOND, ActionTaken, Label, Verdict, VerdictKind
from thingstorm.report.record import Latency, Ledger, Losses, PhaseSpan, Record

START = 1_000_000 * SECOND


def verdict(at: float, kind: VerdictKind, *devices: str, late: float = 0.1) -> Verdict:
    moment = START + int(at * SECOND)
    return Verdict(
        kind=kind,
        at=moment,
        decided_at=moment + int(late * SECOND),
        confidence=0.9,
        uptick=2.0,
        devices=devices,
        summary=f"{kind} <{','.join(devices)}>",
    )


def phase(name: str, kind: str, start: float, end: float) -> PhaseSpan:
    return PhaseSpan(name, kind, START + int(start * SECOND), START + int(end * SECOND))


def labels(span: PhaseSpan, *devices: str, after: float = 0.0) -> list[Label]:
    label = span.label
    assert label in ("benign", "attack", "fault")
    return [Label(span.id, span.kind, label, d, span.start + int(after * SECOND), span.end) for d in devices]


def action(kind: str, target: str, at: float, outcome: str = "done") -> ActionTaken:
    assert kind in ("alert", "quarantine")
    return ActionTaken(kind, target, START + int(at * SECOND), outcome)  # type: ignore[arg-type] - asserted above


def record(
    phases: Sequence[PhaseSpan],
    labelled: Sequence[Label],
    verdicts: Sequence[Verdict],
    actions: Sequence[ActionTaken] = (),
) -> Record:
    return Record(
        started_at=START,
        ended_at=START + 60 * SECOND,
        wall_seconds=61.0,
        phases=tuple(phases),
        labels=tuple(labelled),
        verdicts=tuple(verdicts),
        actions=tuple(actions),
        ledger=Ledger(
            published=100, accepted=100, routed=100, queued=100, stored=100, viewed=100, archived=100
        ),
        losses=Losses(),
        latency=Latency(200.0, 400.0, 300.0),
        traffic=tuple((START + n * SECOND, 50 + n) for n in range(60)),
    )
