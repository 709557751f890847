"""Is a verdict of 90 % confidence right nine times out of ten? Samples of one run, and the table over all. Pure.

Right is: an attack verdict while an attack is under way, naming one who takes part where that is known; a benign
uptick while or soon after something benign goes on and no attack does; normal while no attack does. An attack is under
way from one window after its first message until all who take part are quarantined or it is over. `undecided` claims
nothing, and what is said while the model learns is not counted. A stretch of equal verdicts counts once, however long.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

from contracts.messages import SECOND, Nanoseconds, Verdict
from thingstorm.report.record import Record

from .events import right_attack

CLAIMS = ("normal", "benign_uptick", "attack")
BINS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
WINDOW: Nanoseconds = 5 * SECOND
AFTERMATH: Nanoseconds = 60 * SECOND
"""Reconnects, kept readings and new rhythms go on after a benign phase is over."""

Sample: TypeAlias = tuple[str, float, float, float]
"""Kind, confidence, share of it that was right, weight."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Verdicts of one kind whose confidence lies between two bounds. `weight` counts stretches of verdicts."""

    kind: str
    low: float
    high: float
    weight: float
    confidence: float
    right: float


def samples_of(record: Record, *, train_until: Nanoseconds) -> list[Sample]:
    """One sample for each confidence (to three digits) in each stretch of equal verdicts."""
    told = [one for one in record.verdicts if one.at > train_until]
    found: list[Sample] = []
    for kind, stretch in groupby(told, key=lambda verdict: verdict.kind):
        if kind not in CLAIMS:
            continue
        verdicts = sorted(stretch, key=_rounded)
        for confidence, some in groupby(verdicts, key=_rounded):
            equal = [_right(verdict, record) for verdict in some]
            found.append((kind, confidence, sum(equal) / len(equal), len(equal) / len(verdicts)))
    return found


def bins_of(samples: Iterable[Sample]) -> list[Bin]:
    """The reliability table; bins without a sample are left out."""
    by_place: dict[tuple[str, int], list[Sample]] = {}
    for sample in samples:
        place = next(place for place, high in enumerate(BINS[1:]) if sample[1] <= high or high == BINS[-1])
        by_place.setdefault((sample[0], place), []).append(sample)
    return [
        _bin(kind, place, by_place[kind, place])
        for kind in CLAIMS
        for place in range(len(BINS) - 1)
        if (kind, place) in by_place
    ]


def error_of(bins: Sequence[Bin]) -> float | None:
    """Expected calibration error: the mean distance between confidence and hit rate, by weight."""
    weight = sum(one.weight for one in bins)
    return sum(one.weight * abs(one.confidence - one.right) for one in bins) / weight if weight else None


def _bin(kind: str, place: int, samples: Sequence[Sample]) -> Bin:
    weight = sum(one[3] for one in samples)
    confidence = sum(one[1] * one[3] for one in samples) / weight
    right = sum(one[2] * one[3] for one in samples) / weight
    return Bin(kind, BINS[place], BINS[place + 1], round(weight, 2), round(confidence, 4), round(right, 4))


def _rounded(verdict: Verdict) -> float:
    return round(verdict.confidence, 3)


def _right(verdict: Verdict, record: Record) -> bool:
    if verdict.kind == "attack":
        return right_attack(verdict, record)
    if _attacked(record, verdict.at):
        return False
    benign = any(
        phase.label != "attack" and phase.start < verdict.at <= phase.end + AFTERMATH
        for phase in record.phases
    )
    return verdict.kind == "normal" or benign


def _attacked(record: Record, at: Nanoseconds) -> bool:
    shut = {
        one.target
        for one in record.actions
        if one.action == "quarantine" and one.outcome == "done" and one.at <= at
    }
    return any(
        label.label == "attack" and label.start + WINDOW <= at <= label.end and label.device_id not in shut
        for label in record.labels
    )
