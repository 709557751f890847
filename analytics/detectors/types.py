"""Which device types need a model of their own: decided by their clean rows."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MIN_TYPE_ROWS = 300
"""A third is held out for the threshold: the maximum of fewer than 100 rows is no threshold."""

MOVED = 0.5
"""Robust standard deviations of everybody that the middle of a type may be away."""

WIDER = 1.5
"""How many times wider a type may be spread than everybody, or the other way round, in its bulk and at its edge."""

_EDGE = 0.99


def types_that_differ(types: Sequence[str], scaled: NDArray[np.float64]) -> dict[str, NDArray[np.intp]]:
    """The lines of each type that differs from everybody. `scaled` are all rows in everybody's scale.

    Features are relative to own history and to same-type peers, so that most fleets need one model only; a type with
    another rhythm (batches, long silences) or with payloads of another make does differ. Types with too few rows
    stay with everybody.
    """
    names = np.array(types, dtype=object)
    found = {name: np.flatnonzero(names == name) for name in dict.fromkeys(types) if name}
    if len(found) < 2:
        return {}
    everybody = _shape(scaled)
    return {
        name: lines
        for name, lines in found.items()
        if len(lines) >= MIN_TYPE_ROWS and _differs(_shape(scaled[lines]), everybody)
    }


def _shape(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Middle, bulk and edge of each feature, in scaled units: less than 1 is below what is believed (see floors)."""
    middle = np.median(rows, axis=0)
    bulk = 1.4826 * np.median(np.abs(rows - middle), axis=0)
    edge = np.quantile(rows, _EDGE, axis=0) - middle
    return np.array([middle, np.maximum(bulk, 1.0), np.maximum(edge, 1.0)])


def _differs(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    moved = np.abs(one[0] - other[0]) > MOVED
    ratio = one[1:] / other[1:]
    return bool(moved.any() or (ratio > WIDER).any() or (ratio < 1.0 / WIDER).any())
