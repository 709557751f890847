"""Holds what the model said against the ground truth. Pure.

A verdict belongs to a phase when its window ends inside the phase or at most `SLACK` later: windows are five
seconds long and a verdict needs up to three of them, so the last ones come after the phase is over. Where a
benign phase and an attack overlap, an attack verdict that names only hostile devices belongs to the attack. Where
nobody knows who was hostile (a recording's label without devices), no device that is named is wrong.
"""

from collections.abc import Iterable, Sequence

from contracts.messages import SECOND, ActionTaken, Nanoseconds, Verdict
from simulator.recorded_labels import ANYBODY
from thingstorm.report.record import PhaseResult, PhaseSpan, Record

SLACK: Nanoseconds = 10 * SECOND
"""5 s window + 2 further windows for persistence + 2 s grace, rounded up."""

NOBODY = ""
"""The device of a label of an attack without any id, as connections that never say who they are."""

_RANK = ("attack", "undecided", "benign_uptick", "normal")


def judge(record: Record) -> tuple[PhaseResult, ...]:
    """One result a phase, in the order of the timeline."""
    return tuple(_judge_phase(phase, record) for phase in record.phases)


def false_devices(record: Record) -> frozenset[str]:
    """Devices that an attack verdict named although they were not hostile then ('?' if it named nobody)."""
    return frozenset(
        device or "?"
        for verdict in record.verdicts
        if verdict.kind == "attack"
        for device in (verdict.devices or (NOBODY,))
        if not {device, ANYBODY} & hostile_at(record, verdict.at)
    )


def alerts_of(phase: PhaseResult | PhaseSpan, record: Record) -> int:
    """Alerts sent during the phase that no attack phase explains."""
    span = next(p for p in record.phases if p.id == phase.id)
    return sum(1 for alert in _done(record.actions, "alert") if _owner(span, alert.at, record))


def _judge_phase(phase: PhaseSpan, record: Record) -> PhaseResult:
    attack = phase.label == "attack"
    hostile = (
        frozenset(label.device_id for label in record.labels if label.phase == phase.id)
        if attack
        else frozenset()
    )
    mine = [v for v in record.verdicts if _within(phase, v.at) and (attack or not _explained(v, record))]
    attacks = [v for v in mine if v.kind == "attack"]
    flagged = frozenset(device for verdict in attacks for device in verdict.devices)
    others = _hostile_of_others(phase, record)
    anybody = ANYBODY in hostile | others
    hostile -= {ANYBODY, NOBODY}
    detected = next((v for v in attacks if not hostile or hostile & set(v.devices)), None) if attack else None
    quarantined, delay = _quarantines(phase, record, attacks, hostile)
    return PhaseResult(
        id=phase.id,
        kind=phase.kind,
        label=phase.label,
        verdict=_strongest(v.kind for v in mine),
        expected_devices=tuple(sorted(hostile)),
        flagged=tuple(sorted(flagged - others if attack else flagged)),
        recall=len(flagged & hostile) / len(hostile) if hostile else 1.0,
        false_positives=0 if anybody else len(flagged - hostile - others),
        detect_seconds=_seconds(detected.at - _first_hostile(phase, record)) if detected else None,
        quarantined=tuple(sorted(quarantined)),
        quarantine_seconds=delay,
    )


def _within(phase: PhaseSpan, at: Nanoseconds) -> bool:
    return phase.start < at <= phase.end + SLACK


def hostile_at(record: Record, at: Nanoseconds) -> frozenset[str]:
    """The devices that took part in an attack then, or at most `SLACK` before."""
    attacks = {phase.id for phase in record.phases if phase.label == "attack"}
    return frozenset(
        label.device_id
        for label in record.labels
        if label.phase in attacks and label.start < at <= label.end + SLACK
    )


def _explained(verdict: Verdict, record: Record) -> bool:
    """An attack verdict whose devices were all hostile at that time: it says nothing about a benign phase."""
    hostile = hostile_at(record, verdict.at)
    return (
        verdict.kind in ("attack", "undecided")
        and bool(hostile)
        and (ANYBODY in hostile or set(verdict.devices) <= hostile)
    )


def _hostile_of_others(phase: PhaseSpan, record: Record) -> frozenset[str]:
    spans = [p for p in record.phases if p.label == "attack" and p.id != phase.id and _overlap(p, phase)]
    ids = {span.id for span in spans}
    return frozenset(label.device_id for label in record.labels if label.phase in ids)


def _overlap(one: PhaseSpan, other: PhaseSpan) -> bool:
    return one.start <= other.end + SLACK and other.start <= one.end + SLACK


def _owner(phase: PhaseSpan, at: Nanoseconds, record: Record) -> bool:
    if not _within(phase, at):
        return False
    return phase.label == "attack" or not hostile_at(record, at)


def _strongest(kinds: Iterable[str]) -> str:
    seen = set(kinds)
    return next((kind for kind in _RANK if kind in seen), "normal")


def _first_hostile(phase: PhaseSpan, record: Record) -> Nanoseconds:
    return min((label.start for label in record.labels if label.phase == phase.id), default=phase.start)


def _quarantines(
    phase: PhaseSpan, record: Record, attacks: Sequence[Verdict], hostile: frozenset[str]
) -> tuple[list[str], float | None]:
    """Devices quarantined for this phase, and the longest time from the verdict that named one to its quarantine."""
    named = {device: verdict.decided_at for verdict in reversed(attacks) for device in verdict.devices}
    done = {
        action.target: action.at
        for action in _done(record.actions, "quarantine")
        if action.target in named and (action.target in hostile or _owner(phase, action.at, record))
    }
    delays = [_seconds(at - named[device]) for device, at in done.items()]
    return sorted(done), max(delays, default=None)


def _done(actions: Sequence[ActionTaken], kind: str) -> list[ActionTaken]:
    return [action for action in actions if action.action == kind and action.outcome == "done"]


def _seconds(span: Nanoseconds) -> float:
    return round(max(0, span) / SECOND, 3)
