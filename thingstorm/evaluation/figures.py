"""Rates and times out of events, with intervals: scenarios are drawn with replacement, and the runs within them.

Events are counted once each; nothing is adjusted by points. A rate that does not apply is None.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import TypeAlias

from .events import Event, Run

Figures: TypeAlias = dict[str, float | None]
Intervals: TypeAlias = dict[str, tuple[float, float] | None]

KEYS = (
    "runs",
    "verdict_recall",
    "device_precision",
    "device_recall",
    "false_verdicts",
    "undecided",
    "innocents_quarantined",
    "detect_p50_s",
    "detect_p95_s",
)
"""The figures of a kind. Counts are totals over its runs, times are seconds of event time from the first hostile message."""

RATES = ("verdict_recall", "device_precision", "device_recall")
COUNTS = ("false_verdicts", "undecided", "innocents_quarantined")
TIMES = ("detect_p50_s", "detect_p95_s")

DRAWS = 300
LEVEL = 0.95
SEED = 20_260_105

Chosen: TypeAlias = Sequence[tuple[str, Sequence[Event]]]
"""Events of each run, with the scenario that it is of."""


def kinds_of(runs: Iterable[Run]) -> list[str]:
    """All kinds, attacks last."""
    found = {event.kind for run in runs for event in run.events}
    return sorted(found, key=lambda kind: (kind.startswith("attack."), kind))


def chosen(runs: Iterable[Run], keep: Callable[[Event], bool]) -> Chosen:
    """The runs that have such events, with these events alone."""
    found = ((run.scenario, [event for event in run.events if keep(event)]) for run in runs)
    return [(name, events) for name, events in found if events]


def figures(picked: Chosen) -> Figures:
    """All figures of `KEYS`, and the times to the first flag."""
    events = [event for _, some in picked for event in some]
    attacks = [event for event in events if event.attack]
    found, wrong = sum(one.found for one in events), sum(one.wrong for one in events)
    seconds = sorted(one.verdict_seconds for one in attacks if one.verdict_seconds is not None)
    flags = sorted(one.flag_seconds for one in attacks if one.flag_seconds is not None)
    return {
        "runs": len(picked),
        "verdict_recall": fmean(one.verdict_seconds is not None for one in attacks) if attacks else None,
        "device_precision": found / (found + wrong) if found + wrong else None,
        "device_recall": _share(found, sum(one.hostile for one in attacks)),
        "false_verdicts": sum(one.false_verdicts for one in events),
        "undecided": sum(one.verdict == "undecided" for one in events),
        "innocents_quarantined": sum(one.innocents_quarantined for one in events),
        "detect_p50_s": _quantile(seconds, 0.5),
        "detect_p95_s": _quantile(seconds, 0.95),
        "flag_p50_s": _quantile(flags, 0.5),
        "flag_p95_s": _quantile(flags, 0.95),
    }


def intervals(picked: Chosen) -> Intervals:
    """The middle 95 % of each figure over draws; None where the figure does not apply."""
    by_scenario: dict[str, list[Sequence[Event]]] = {}
    for name, events in picked:
        by_scenario.setdefault(name, []).append(events)
    draw = random.Random(SEED)  # noqa: S311 - statistics
    drawn = [figures(_drawn(by_scenario, draw)) for _ in range(DRAWS)] if picked else []
    return {key: _middle([one[key] for one in drawn]) for key in KEYS if key != "runs"}


def _drawn(by_scenario: Mapping[str, Sequence[Sequence[Event]]], draw: random.Random) -> Chosen:
    names = list(by_scenario)
    return [
        (name, draw.choice(by_scenario[name]))
        for name in draw.choices(names, k=len(names))
        for _ in by_scenario[name]
    ]


def _middle(values: Iterable[float | None]) -> tuple[float, float] | None:
    known = sorted(value for value in values if value is not None)
    low, high = _quantile(known, (1 - LEVEL) / 2), _quantile(known, (1 + LEVEL) / 2)
    return None if low is None or high is None else (round(low, 4), round(high, 4))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _quantile(values: Sequence[float], share: float) -> float | None:
    """By the nearest rank, so that it is one of the values."""
    if not values:
        return None
    return values[min(len(values) - 1, int(share * len(values)))]
