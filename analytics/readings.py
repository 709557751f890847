"""The numbers in payloads: how a value moves when nothing is wrong, and how far it has moved now.

Learnt per number of a type: how much it changes within 5, 15, 30 and 60 s, the range it keeps to, and how often it
stays exactly the same. A drift slower than that walk is nothing anybody can tell from the walk (`docs/model.md`).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

LAGS = (5, 15, 30, 60)
SLOTS = 4
"""Numbers followed of each type: the first of its payload. More of them add noise, and each costs a ring."""

RING = 64
SAMPLED_DEVICES = 64
SAMPLED_SECONDS = 300
"""Of each type, while learning: a value's walk is its type's, and 64 devices tell it."""

MIN_READINGS = 12
TAIL = 0.99
TAIL_SD = 2.58
"""The scale is taken from the tail of the learnt changes, so that what jumps now and then is allowed to jump."""

REST = 1e-3
"""Least credible change, as a share of the value's size."""

STEADY = 0.01
"""Never less likely than this does a value stay the same: one in a hundred was never measured in a short training."""

GAP_SECONDS = 15.0
GAP_INTERVALS = 6.0
"""After a silence longer than both, a value starts anew: it may be anywhere."""

Key: TypeAlias = tuple[str, str]
"""A topic pattern and the name of a number in its payloads."""


@dataclass(frozen=True, slots=True)
class Walk:
    """What is learnt of one number: the scale of its change (one for each of `LAGS`), range, share of repeats."""

    scale: tuple[float, ...]
    low: float
    high: float
    same: float

    @property
    def width(self) -> float:
        """How far beyond its range a value must be to be out of this world: its width, at least half its size."""
        return max(self.high - self.low, 0.5 * max(abs(self.low), abs(self.high)), 1e-9)

    @property
    def decades(self) -> float:
        """By how many powers of ten each reading without a change makes a running value less likely."""
        return float(-np.log10(max(self.same, STEADY)))


class ReadingTally:
    """Collects the numbers of a sample of the devices while learning."""

    def __init__(self) -> None:
        self._series: dict[str, defaultdict[Key, list[tuple[int, float]]]] = {}
        self._sampled: defaultdict[str, set[str]] = defaultdict(set)

    def add(
        self, device_id: str, kind: str, second: int, patterns: Sequence[str], lines: Sequence[str]
    ) -> None:
        """One second of a device: `PLACE MEAN NAME` lines with the patterns of its topics."""
        if device_id not in self._sampled[kind]:
            if len(self._sampled[kind]) >= SAMPLED_DEVICES:
                return
            self._sampled[kind].add(device_id)
            self._series[device_id] = defaultdict(list)
        series = self._series[device_id]
        for line in lines:
            place, value, name = line.split(" ", 2)
            series[patterns[int(place)], name].append((second, float(value)))

    def learn(self, types: Mapping[str, str], *, end: int) -> dict[str, dict[Key, Walk]]:
        """The walks of each type, at most `SLOTS`, in the order in which its payloads name them."""
        pooled: defaultdict[str, defaultdict[Key, list[Array]]] = defaultdict(lambda: defaultdict(list))
        for device_id, series in self._series.items():
            for key, points in series.items():
                recent = [point for point in points if point[0] >= end - SAMPLED_SECONDS]
                if recent and device_id in types:
                    pooled[types[device_id]][key].append(np.array(recent, dtype=np.float64))
        return {
            kind: {key: _walk(found) for key, found in list(numbers.items()) if _enough(found)}
            for kind, numbers in pooled.items()
        }


def _enough(found: Sequence[Array]) -> bool:
    return sum(len(points) for points in found) >= MIN_READINGS


def _walk(found: Sequence[Array]) -> Walk:
    values = np.concatenate([points[:, 1] for points in found])
    size = float(np.median(np.abs(values)))
    least = max(REST * size, 1e-9)
    steps = [np.diff(points[:, 1]) for points in found if len(points) > 1]
    same = float(np.mean(np.concatenate(steps) == 0.0)) if steps else 1.0
    scale: list[float] = []
    for lag in LAGS:
        changes = np.concatenate([_changes(points, lag) for points in found])
        if len(changes) >= MIN_READINGS:
            scale.append(max(float(np.quantile(np.abs(changes), TAIL)) / TAIL_SD, least))
        elif scale:
            # not long enough for this lag: a walk grows with the root of the time, and nothing grows faster
            scale.append(scale[-1] * (lag / LAGS[len(scale) - 1]) ** 0.5)
        else:
            scale.append(float("inf"))
    low, high = np.quantile(values, (0.001, 0.999)).tolist()
    return Walk(tuple(np.maximum.accumulate(scale).tolist()), low, high, same)


def _changes(points: Array, lag: int) -> Array:
    """Change over `lag` seconds at every reading, the value before it held until the next."""
    times = points[:, 0]
    before = np.searchsorted(times, times - lag, side="right") - 1
    known = before >= 0
    return np.asarray(points[known, 1] - points[before[known], 1])


@dataclass(slots=True)
class Readings:
    """The values of every device now and over the last minute. Line i is device i of the history."""

    ring: Array = field(default_factory=lambda: np.full((64, RING, SLOTS), np.nan))
    held: Array = field(default_factory=lambda: np.full((64, SLOTS), np.nan))
    told: Array = field(default_factory=lambda: np.zeros((64, SLOTS)))
    same: Array = field(default_factory=lambda: np.zeros((64, SLOTS)))

    def make_room(self, size: int) -> None:
        """Have at least `size` lines."""
        while len(self.held) < size:
            self.ring = np.concatenate([self.ring, np.full_like(self.ring, np.nan)])
            self.held = np.concatenate([self.held, np.full_like(self.held, np.nan)])
            self.told = np.concatenate([self.told, np.zeros_like(self.told)])
            self.same = np.concatenate([self.same, np.zeros_like(self.same)])

    def take(self, now: int, points: Sequence[tuple[int, int, float]], rates: Array) -> None:
        """The readings of the second `now` as (line, slot, value); `rates` are the lines' own messages a second."""
        if points:
            lines, slots, values = (np.array(part) for part in zip(*points, strict=True))
            lines, slots = lines.astype(np.int64), slots.astype(np.int64)
            gap = now - self.told[lines, slots]
            patience = np.maximum(GAP_SECONDS, GAP_INTERVALS / np.maximum(rates[lines], 1e-3))
            anew = np.isnan(self.held[lines, slots]) | (gap > patience)
            self.ring[lines[anew], :, slots[anew]] = np.nan
            unchanged = (self.held[lines, slots] == values) & ~anew
            self.same[lines, slots] = np.where(unchanged, self.same[lines, slots] + 1.0, 0.0)
            self.held[lines, slots] = values
            self.told[lines, slots] = now
        self.ring[:, now % RING] = self.held

    def forget(self, line: int) -> None:
        """The device starts anew."""
        self.ring[line] = self.held[line] = np.nan
        self.told[line] = self.same[line] = 0.0

    def change(self, now: int, lag: int, size: int) -> Array:
        """What each value moved by within the last `lag` seconds: shape (devices, SLOTS), NaN where unknown."""
        return np.asarray(self.held[:size] - self.ring[:size, (now - lag) % RING])
