"""Confidence as a probability: the raw confidence of a verdict mapped to how often such verdicts were right.

The table is learnt by `thingstorm evaluate --calibrate` from tuning seeds alone (isotonic regression by verdict kind;
Zadrozny and Elkan 2002) and shipped beside this file. It rises strictly, so that nothing is lost by it: the raw value
can be had back. Kinds without a table keep their raw confidence: `undecided` claims nothing that could be right.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from contracts.errors import ConfigError

FILE = Path(__file__).with_name("calibration.json")
VERSION = 1
DIGITS = 3
"""Raw confidence is told apart to so many."""

STEP = 1e-4
"""The least rise between two knots."""

Knots = Sequence[tuple[float, float]]
"""Pairs of raw confidence and probability, both rising strictly, from raw 0 to raw 1."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Knots by verdict kind. `seeds` are those that it was learnt from."""

    knots: Mapping[str, Knots]
    seeds: tuple[int, ...] = ()

    def apply(self, kind: str, raw: float) -> float:
        """The probability that a verdict of this kind and raw confidence is right."""
        return self._mapped(kind, raw, 0)

    def raw(self, kind: str, probability: float) -> float:
        """The raw confidence that was mapped to this."""
        return self._mapped(kind, probability, 1)

    def as_json(self) -> dict[str, Any]:
        knots = {kind: [list(pair) for pair in pairs] for kind, pairs in self.knots.items()}
        return {"version": VERSION, "seeds": list(self.seeds), "kinds": knots}

    def _mapped(self, kind: str, value: float, column: int) -> float:
        if kind not in self.knots:
            return value
        pairs = np.array(self.knots[kind])
        return float(np.interp(value, pairs[:, column], pairs[:, 1 - column]))


def read_calibration(file: Path) -> Calibration:
    """Raises ConfigError for a file that is no table of this version."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        knots = {kind: tuple((float(x), float(y)) for x, y in pairs) for kind, pairs in told["kinds"].items()}
        found = Calibration(knots, tuple(told["seeds"]))
        rising = all((np.diff(np.array(pairs), axis=0) > 0).all() for pairs in knots.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(file, str(error)) from None
    if told.get("version") != VERSION or not rising:
        raise _unreadable(file, "another version, or it does not rise")
    return found


@cache
def shipped_calibration() -> Calibration:
    """The table that thingstorm brings; raw confidence if it brings none."""
    return read_calibration(FILE) if FILE.is_file() else Calibration({})


def learn_calibration(
    samples: Mapping[str, Sequence[tuple[float, float, float]]], *, seeds: Sequence[int]
) -> Calibration:
    """Learn from (raw confidence, share that was right, weight) by kind. Kinds without a sample stay raw."""
    return Calibration(
        {kind: _knots(given) for kind, given in samples.items() if given}, tuple(sorted(set(seeds)))
    )


def _knots(given: Sequence[tuple[float, float, float]]) -> Knots:
    """Pool neighbours until the share rises; each block counts as if one more were right and one more wrong."""
    blocks: list[list[float]] = []
    for raw, some in groupby(
        sorted((round(raw, DIGITS), *rest) for raw, *rest in given), key=lambda one: one[0]
    ):
        equal = list(some)
        weight = sum(one[2] for one in equal)
        blocks.append([raw * weight, sum(one[1] * one[2] for one in equal), weight])
        while len(blocks) > 1 and _share(blocks[-2]) >= _share(blocks[-1]):
            last = blocks.pop()
            blocks[-1] = [one + other for one, other in zip(blocks[-1], last, strict=True)]
    pairs = [(block[0] / block[2], _share(block)) for block in blocks if block[2] > 0]
    inside = [(x, y) for x, y in pairs if 0.0 < x < 1.0]
    levels = [pairs[0][1], *(y for _, y in inside), pairs[-1][1]]
    places = [0.0, *(x for x, _ in inside), 1.0]
    return tuple(zip(places, _rising(levels), strict=True))


def _share(block: Sequence[float]) -> float:
    return (block[1] + 1.0) / (block[2] + 2.0)


def _rising(levels: Sequence[float]) -> list[float]:
    """The levels with at least `STEP` between them, all strictly between 0 and 1."""
    count = len(levels)
    lowest = np.maximum.accumulate(np.array(levels) - STEP * np.arange(count)) + STEP * np.arange(count)
    return [float(min(level, 1.0 - STEP * (count - place))) for place, level in enumerate(lowest)]


def _unreadable(file: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{file} is no table of confidence: {why}", fix="make it again with thingstorm evaluate --calibrate"
    )
