"""What the verdicts said about one phase of a scenario: pure, for the report."""

from collections.abc import Iterable
from dataclasses import dataclass

from contracts.messages import SECOND, ActionTaken, Nanoseconds, Verdict, VerdictKind

from .response import DONE


@dataclass(frozen=True, slots=True)
class PhaseOutcome:
    """The verdict of a phase, who was flagged, and how long it took (seconds of event time, None = never).

    `quarantined` maps a device to the moment it was shut out.
    """

    verdict: VerdictKind
    flagged: tuple[str, ...]
    detect_seconds: float | None
    quarantined: dict[str, Nanoseconds]
    quarantine_seconds: float | None


def flagged_since(verdicts: Iterable[Verdict], start: Nanoseconds, end: Nanoseconds) -> tuple[str, ...]:
    """The devices that attack verdicts with `start < at <= end` named, in order of appearance."""
    inside = (verdict for verdict in verdicts if start < verdict.at <= end)
    return tuple(dict.fromkeys(name for verdict in inside for name in verdict.devices))


def outcome_of(
    verdicts: Iterable[Verdict],
    actions: Iterable[ActionTaken],
    *,
    start: Nanoseconds,
    end: Nanoseconds,
    onset: Nanoseconds | None = None,
) -> PhaseOutcome:
    """Judge the verdicts with `start < at <= end`. `onset` is the first hostile message (default: `start`).

    An attack verdict at any tick makes the phase an attack. Otherwise the more frequent of undecided and
    benign uptick names it, if it held for two ticks: one tick is not yet an answer.
    """
    inside = [verdict for verdict in verdicts if start < verdict.at <= end]
    attacks = [verdict for verdict in inside if verdict.kind == "attack"]
    began = start if onset is None else onset
    first = attacks[0] if attacks else None
    flagged = flagged_since(inside, start, end)
    shut: dict[str, Nanoseconds] = {}
    for action in actions:
        if action.action == "quarantine" and action.outcome == DONE and action.target in flagged:
            shut.setdefault(action.target, action.at)
    return PhaseOutcome(
        verdict=_kind_of(inside),
        flagged=flagged,
        detect_seconds=(first.at - began) / SECOND if first else None,
        quarantined=shut,
        quarantine_seconds=(max(shut.values()) - first.decided_at) / SECOND if first and shut else None,
    )


def _kind_of(verdicts: Iterable[Verdict]) -> VerdictKind:
    kinds = [verdict.kind for verdict in verdicts]
    if "attack" in kinds:
        return "attack"
    undecided, upticks = kinds.count("undecided"), kinds.count("benign_uptick")
    if max(undecided, upticks) < 2:
        return "normal"
    return "undecided" if undecided > upticks else "benign_uptick"
