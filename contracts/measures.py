"""What a part counts and measures beyond its buffers and counters, for whoever watches from outside.

A part says what it measures in words; how a monitoring system wants it written is not its business.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

MeasureKind: TypeAlias = Literal["counter", "gauge"]

LATENCY_BOUNDS: tuple[float, ...] = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip
"""Seconds: data is queryable after tenths of one, a verdict is due within ten, an alert may wait for a channel."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One number: a counter only grows, a gauge goes up and down. `name` in snake case with its unit (`..._seconds`)."""

    name: str
    about: str
    value: float
    kind: MeasureKind = "gauge"
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spread:
    """How a quantity was distributed since the start: `counts[i]` values up to `bounds[i]`, the last one above all."""

    name: str
    about: str
    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float
    labels: Mapping[str, str] = field(default_factory=dict)


class Spreading:
    """Adds values up to a `Spread`. Costs a search among the bounds a value, and keeps none of them."""

    def __init__(
        self,
        name: str,
        about: str,
        *,
        bounds: Sequence[float] = LATENCY_BOUNDS,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self._name = name
        self._about = about
        self._bounds = tuple(bounds)
        self._labels = dict(labels or {})
        self._counts = [0] * (len(self._bounds) + 1)
        self._total = 0.0

    def add(self, value: float) -> None:
        """One value; below zero (two clocks that differ) it counts as zero."""
        held = max(0.0, value)
        self._counts[bisect_left(self._bounds, held)] += 1
        self._total += held

    def add_all(self, values: Iterable[float]) -> None:
        for value in values:
            self.add(value)

    def spread(self) -> Spread:
        """As it is now."""
        return Spread(self._name, self._about, self._bounds, tuple(self._counts), self._total, self._labels)
