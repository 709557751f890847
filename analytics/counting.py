"""Counting statistics over peers: what both halves of the features use. Pure."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]
Lines: TypeAlias = NDArray[np.intp]

ACTIVE_PEERS = 3.0
"""Peers that expect fewer messages than this in a window say nothing about a common rise."""


def anscombe(count: Array) -> Array:
    """Variance-stabilised count: sd about 1 for Poisson counts of any mean."""
    return np.asarray(2.0 * np.sqrt(np.maximum(count, 0.0) + 0.375))


def peer_groups(peers: Sequence[tuple[str, str]], keep: Flags) -> list[Lines]:
    """The lines of each group of peers (type and announced change), without those left out."""
    kinds = {name: number for number, name in enumerate(dict.fromkeys(peers))}
    numbers = np.array([kinds[name] for name in peers], dtype=np.int64)
    return [np.flatnonzero(keep & (numbers == number)) for number in kinds.values()]


def peer_rise(count: Array, own: Array, groups: Sequence[Lines]) -> Array:
    """How much more the other devices of a type send than they expect: the larger of two estimates.

    A sum with each device capped at 3 x own + 3 is exact for small counts, and the cap keeps a few floods from
    excusing each other (one of 10 at 20 x raises it by 0.26). Where most peers rise beyond the cap, the lower
    median of their ratios sees it: then nobody is odd, and the fleet's `surge` speaks.
    """
    capped = np.minimum(count, 3.0 * own + 3.0)
    rise = np.ones_like(count)
    for group in groups:
        others = own[group].sum() - own[group]
        sent = capped[group].sum() - capped[group]
        middle = _median_of_others(count[group] / np.maximum(own[group], 0.5))
        together = np.maximum(sent / np.maximum(others, ACTIVE_PEERS), middle)
        rise[group] = np.where(others >= ACTIVE_PEERS, together, 1.0)
    return rise


def rise_of(count: Array, own: Array) -> float:
    """How much more these devices send than they expect: what `peer_rise` says to one who is none of them."""
    expected = float(own.sum())
    if expected < ACTIVE_PEERS:
        return 1.0
    capped = float(np.minimum(count, 3.0 * own + 3.0).sum())
    return max(capped / expected, float(np.median(count / np.maximum(own, 0.5))))


def _median_of_others(values: Array) -> Array:
    """For each element the lower median of the other elements (1 if there are none)."""
    if len(values) < 2:
        return np.ones_like(values)
    order = np.sort(values)
    place = (len(values) - 2) // 2
    return np.asarray(np.where(values <= order[place], order[place + 1], order[place]))


def per_group(values: Array, groups: Sequence[Lines], statistic: Callable[[Array], float]) -> Array:
    """For each line the statistic of its group; 0 for lines in none."""
    result = np.zeros_like(values)
    for group in groups:
        if len(group):
            result[group] = statistic(values[group])
    return result


def median(values: Array) -> float:
    """The median of the values that are there; NaN if none is."""
    seen = values[~np.isnan(values)]
    return float(np.median(seen)) if len(seen) else float("nan")


def trimmed_mean(values: Array) -> float:
    """Mean of the lower three quarters: what most peers do, unmoved by a hostile quarter."""
    return float(np.mean(np.sort(values)[: max(1, (3 * len(values)) // 4)])) if len(values) > 1 else 0.0


def beyond(count: Array, expected: Array | float = 0.0) -> Array:
    """How many standard deviations of counting noise lie between a count and what was expected."""
    return anscombe(count) - anscombe(np.asarray(expected, dtype=np.float64))


def count_z(count: float, expected: float) -> float:
    """`beyond`, of one count."""
    return float(beyond(np.array(count), expected))


def mean_of(values: Flags, keep: Flags) -> float:
    """The share of the kept lines that are flagged; 0 if none is kept."""
    return float(np.mean(values, where=keep)) if keep.any() else 0.0


def gini(count: Array) -> float:
    """How unevenly a count is spread over devices: 0 if all have the same, near 1 if one has everything."""
    total = float(count.sum())
    if total <= 0:
        return 0.0
    ranks = np.arange(1, len(count) + 1)
    return float(2.0 * (ranks * np.sort(count)).sum() / (len(count) * total) - (len(count) + 1) / len(count))


def entropy(count: Array) -> float:
    """How evenly a count is spread, from 0 to 1, as the Shannon entropy over its largest; 1 where there is nothing to spread."""
    total = float(count.sum())
    if total <= 0 or len(count) < 2:
        return 1.0
    share = count[count > 0] / total
    return float(-(share * np.log(share)).sum() / np.log(len(count)))
