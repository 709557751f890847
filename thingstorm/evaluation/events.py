"""What came of one run, in counts: every event (a phase of the timeline) once, however long it lasted. Pure.

An attack verdict is false while no device that it names is hostile; a stretch of such verdicts counts once. What
happened outside all phases belongs to the nearest one. A run without any phase is one event of kind `benign.steady`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from contracts.messages import SECOND, Nanoseconds, Verdict
from thingstorm.report.judge import SLACK, hostile_at, judge
from thingstorm.report.record import PhaseResult, PhaseSpan, Record

STEADY = "benign.steady"
BREAK: Nanoseconds = 5 * SECOND
"""False verdicts with a shorter pause between them are one."""

Flags: TypeAlias = Sequence[tuple[Nanoseconds, frozenset[str]]]
"""Moments with the devices whose windows were flagged then, oldest first."""

_CLOSEST = ("benign", "fault", "attack")


@dataclass(frozen=True, slots=True)
class Event:
    """One phase. `hostile` devices took part, `found` of them were named, `wrong` innocents were named.

    Seconds count from the first hostile message; None if it never came. `strength` is obvious, subtle or ''.
    """

    kind: str
    verdict: str
    strength: str = ""
    mixed: bool = False
    hostile: int = 0
    found: int = 0
    wrong: int = 0
    verdict_seconds: float | None = None
    flag_seconds: float | None = None
    false_verdicts: int = 0
    innocents_quarantined: int = 0

    @property
    def attack(self) -> bool:
        return self.kind.startswith("attack.")

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Run:
    """One scenario with one seed, as one method saw it. `content` tells whether the scenario was changed since."""

    scenario: str
    seed: int
    content: str
    events: tuple[Event, ...]

    def as_json(self) -> dict[str, Any]:
        events = [event.as_json() for event in self.events]
        return {"scenario": self.scenario, "seed": self.seed, "content": self.content, "events": events}

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> "Run":
        events = tuple(Event(**event) for event in told["events"])
        return cls(told["scenario"], told["seed"], told["content"], events)


def strength_of(name: str, tags: Iterable[str]) -> str:
    """`obvious` or `subtle`, as the scenario's tags say (or a name that ends so); '' if it says nothing."""
    said = set(tags)
    return next((one for one in ("obvious", "subtle") if one in said or name.endswith(f"-{one}")), "")


def events_of(record: Record, *, flags: Flags, strength: str) -> tuple[Event, ...]:
    """The events of a run, in the order of the timeline."""
    if not record.phases:
        steady = PhaseSpan("steady", STEADY, record.started_at, record.ended_at)
        record = replace(record, phases=(steady,))
    labels = {phase.label for phase in record.phases}
    mixed = "attack" in labels and len(labels) > 1
    false = [_nearest(record.phases, at) for at in false_spans(record)]
    shut_out = [_nearest(record.phases, at) for at in _innocents(record)]
    return tuple(
        Event(
            kind=phase.kind,
            strength=strength if phase.label == "attack" else "",
            mixed=mixed,
            verdict=result.verdict,
            hostile=len(result.expected_devices),
            found=len(set(result.flagged) & set(result.expected_devices)),
            wrong=result.false_positives,
            verdict_seconds=result.detect_seconds,
            flag_seconds=_first_flag(phase, result, record, flags),
            false_verdicts=false.count(phase.id),
            innocents_quarantined=shut_out.count(phase.id),
        )
        for phase, result in zip(record.phases, judge(record), strict=True)
    )


def false_spans(record: Record) -> list[Nanoseconds]:
    """When each stretch of false attack verdicts began."""
    began: list[Nanoseconds] = []
    last = -BREAK
    for verdict in record.verdicts:
        if verdict.kind == "attack" and not right_attack(verdict, record):
            if verdict.at - last > BREAK:
                began.append(verdict.at)
            last = verdict.at
    return began


def right_attack(verdict: Verdict, record: Record) -> bool:
    """Whether an attack was under way and, where it is known who took part, one of them is named."""
    hostile = hostile_at(record, verdict.at)
    named = set(verdict.devices)
    return bool(hostile) and (not named or "*" in hostile or bool(named & hostile))


def _innocents(record: Record) -> list[Nanoseconds]:
    """When each device was quarantined that was not hostile then."""
    done = [one for one in record.actions if one.action == "quarantine" and one.outcome == "done"]
    return [one.at for one in done if not {one.target, "*"} & hostile_at(record, one.at)]


def _nearest(phases: Sequence[PhaseSpan], at: Nanoseconds) -> str:
    def distance(phase: PhaseSpan) -> tuple[Nanoseconds, int]:
        outside = max(phase.start - at, at - phase.end - SLACK, 0)
        return outside, _CLOSEST.index(phase.label)

    return min(phases, key=distance).id


def _first_flag(phase: PhaseSpan, result: PhaseResult, record: Record, flags: Flags) -> float | None:
    if phase.label != "attack":
        return None
    hostile = set(result.expected_devices)
    start = min((label.start for label in record.labels if label.phase == phase.id), default=phase.start)
    first = next((at for at, who in flags if start < at <= phase.end + SLACK and who & hostile), None)
    return None if first is None else round((first - start) / SECOND, 3)
