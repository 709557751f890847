"""Features of every device's newest window, and of the fleet: pure, versioned, each one documented.

Counts are compared after Anscombe's transform, 2 sqrt(x + 3/8), which makes the noise of a Poisson count
about 1 whatever its mean: z = 6 is as unlikely at 1 message a window as at 1,000. No feature uses an id, a
topic's name or an address: renaming every device leaves every feature as it was.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from contracts.messages import FLEET, SECOND, Window

from .baseline import Baseline, provisional
from .history import Array, History
from .known import NOTHING, Known
from .windows import WINDOW_SECONDS

Flags: TypeAlias = NDArray[np.bool_]
Lines: TypeAlias = NDArray[np.intp]

FEATURES_VERSION = 1
SLOW_SECONDS = 60
RATE_SPANS = (WINDOW_SECONDS, 3 * WINDOW_SECONDS, 6 * WINDOW_SECONDS)
"""A device at 0.1 messages/s needs 15-30 s to show that it sends 20 times as much; one at 1/s needs 2."""

STILL_LOUD = 1.0
"""The longer spans count only while the window itself is above expectation: what is over is over."""

RECENT_SECONDS = 15
"""Slow evidence counts while its last event is this young: yesterday's attack is not today's."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature: its unit and meaning, whether detectors score it, and its smallest credible spread.

    `floor` is the standard deviation below which no clean sample is believed (features that never vary in
    clean traffic have a measured spread of zero).
    """

    name: str
    unit: str
    meaning: str
    scored: bool = False
    floor: float = 1.0


DEVICE_FEATURES: tuple[Feature, ...] = (
    Feature(
        "rate_excess",
        "Poisson sd",
        "messages beyond what the device's own history, its peers' rise now and its kept readings explain; "
        "the largest of 5, 15 and 30 s while still going on",
        scored=True,
    ),
    # two events (z = 1.9) must stand out, one (z = 1.1) must not: 1.9 / 0.4 = 4.7, 1.1 / 0.4 = 2.8
    Feature("novel", "count sd", "topic patterns that its type never used", scored=True, floor=0.4),
    # four events in a minute (z = 3.0) must stand out: 3.0 / 0.75 = 4.0
    Feature("novel_slow", "count sd", "the same over 60 s, while still going on", scored=True, floor=0.75),
    Feature(
        "authorization", "count sd", "refused publishes and subscribes beyond peers", scored=True, floor=0.4
    ),
    Feature("authentication", "count sd", "refused connects beyond peers", scored=True, floor=0.4),
    Feature("authentication_slow", "count sd", "both failures over 60 s", scored=True, floor=0.75),
    Feature("throttled", "count sd", "messages throttled beyond peers", scored=True, floor=0.4),
    # 0.15 of a doubling is 11 %: payloads breathe by some digits, a rollout adds hundreds of bytes
    Feature(
        "size_excess", "doublings", "mean payload against own and peers' size now", scored=True, floor=0.15
    ),
    Feature("messages", "count", "messages in the window"),
    Feature("bytes", "bytes", "payload bytes in the window"),
    Feature("size", "bytes", "mean payload"),
    Feature("size_max", "bytes", "largest payload"),
    Feature("size_own", "bytes", "mean payload learnt for the device"),
    Feature("size_peers", "ratio", "median over peers of mean payload now to learnt"),
    Feature("expected_own", "count", "messages that the device's own history expects in the window"),
    Feature("expected", "count", "the same with the peers' rise and the kept readings"),
    Feature("ratio", "ratio", "messages over `expected`, on the span where the excess is largest"),
    Feature("ratio_own", "ratio", "messages over `expected_own`, kept readings allowed for"),
    Feature("ratio_peers", "ratio", "the same-type peers' messages over what they expect (winsorised sum)"),
    Feature("ratio_own_slow", "ratio", "the same over 15 s"),
    Feature("loud_seconds", "s", "seconds of the window with more than 3 x expected + 1 messages"),
    Feature("novel_events", "count", "novel topic patterns, summed over the window's seconds"),
    Feature("novel_seconds", "s", "seconds of the window with a novel topic"),
    Feature("failures", "count", "authorisation and authentication failures in the window"),
    Feature("failure_seconds", "s", "seconds of the window with such a failure"),
    Feature("peer_failures", "count", "trimmed mean of the peers' failures in the window"),
    Feature("throttle_events", "count", "throttled messages in the window"),
    Feature("connects", "count", "connects in the window"),
    Feature("disconnects", "count", "disconnects in the window"),
    Feature("since_connect", "s", "seconds since the last connect, 60 if longer"),
)
SCORED: tuple[Feature, ...] = tuple(feature for feature in DEVICE_FEATURES if feature.scored)

FLEET_FEATURES: Mapping[str, str] = MappingProxyType(
    {
        "devices": "devices that are known and not shut out",
        "messages": "messages in the window",
        "expected": "messages that own history, peers' rise and kept readings explain",
        "uptick_ratio": "the same with each device's part capped at 3 x own + 3",
        "uptick": "messages over expected, floods included (ratio)",
        "uptick_z": "the same in Poisson sd, each device's part capped so that a few cannot make an uptick",
        "share_up": "share of devices above 1.3 x their own rate over 15 s",
        "churn": "share of devices that connected or disconnected in the last 10 s",
        "storm": "share of devices that disconnected in the last 60 s",
        "surge": "largest median over a group of peers of messages over own expectation and what was announced (ratio)",
        "gini": "Gini coefficient of messages over devices (0 = all equal)",
        "entropy": "normalised entropy of messages over devices (1 = all equal)",
        "seconds": "seconds of history",
    }
)

ACTIVE_PEERS = 3.0
"""Peers that expect fewer messages than this in a window say nothing about a common rise."""


def anscombe(count: Array) -> Array:
    """Variance-stabilised count: sd about 1 for Poisson counts of any mean."""
    return np.asarray(2.0 * np.sqrt(np.maximum(count, 0.0) + 0.375))


def measure(
    history: History,
    baseline: Baseline | None,
    *,
    without: frozenset[str] = frozenset(),
    known: Known = NOTHING,
) -> tuple[list[Window], Window]:
    """The windows that end at `history.end`: one per device (but those in `without`), and the fleet's.

    Peers are the devices of the same type and the same announced change. Without a baseline the median of each type over the history so far stands in for it.
    """
    table = _Table(history, baseline or _provisional(history), without, known)
    columns = table.columns()
    end = history.end * SECOND
    start = end - WINDOW_SECONDS * SECOND
    names = tuple(columns)
    rows = np.column_stack([columns[name] for name in names])[table.keep].tolist()
    windows = [
        Window(table.ids[line], table.types[line], start, end, dict(zip(names, row, strict=True)))
        for line, row in zip(np.flatnonzero(table.keep), rows, strict=True)
    ]
    return windows, Window(FLEET, "", start, end, table.fleet(columns))


def _provisional(history: History) -> Baseline:
    span = min(history.seconds, SLOW_SECONDS)
    rates = history.recent("num_messages_received", span).sum(axis=1) / np.minimum(history.age(), span)
    by_type: dict[str, list[float]] = {name: [] for name in history.types}
    for name, rate in zip(history.types, rates.tolist(), strict=True):
        by_type[name].append(rate)
    return provisional({name: float(np.median(found)) for name, found in by_type.items()})


class _Table:
    """The arrays from which the features of one tick are made; line i belongs to device i throughout."""

    def __init__(self, history: History, baseline: Baseline, without: frozenset[str], known: Known) -> None:
        self.ids, self.types = history.ids, history.types
        self.keep = np.array([device_id not in without for device_id in self.ids], dtype=np.bool_)
        self._history = history
        self._profiles = baseline.profiles(self.ids, self.types)
        cohorts = [known.cohort(device_id) for device_id in self.ids]
        self._groups = _groups(list(zip(self.types, cohorts, strict=True)), self.keep)
        self._allowed = [known.allowance(cohorts[group[0]]) if len(group) else 1.0 for group in self._groups]

    def columns(self) -> dict[str, Array]:
        return {**self._rates(), **self._events(), **self._sizes()}

    def _sum(self, name: str, seconds: int) -> Array:
        return np.asarray(self._history.recent(name, seconds).sum(axis=1))

    def _rates(self) -> dict[str, Array]:
        spans = [self._rate_over(min(span, self._history.seconds)) for span in RATE_SPANS]
        fast = spans[0]
        excess = np.array([span["excess"] for span in spans])
        excess[1:, fast["excess"] < STILL_LOUD] = -np.inf
        loudest = excess.argmax(axis=0)
        per_second = fast["expected"] / WINDOW_SECONDS
        seconds = self._history.recent("num_messages_received", WINDOW_SECONDS)
        return {
            "rate_excess": excess.max(axis=0),
            "messages": fast["count"],
            "expected_own": fast["own"],
            "expected": fast["expected"],
            "ratio": np.array([span["ratio"] for span in spans])[loudest, np.arange(len(loudest))],
            "ratio_own": fast["ratio_own"],
            "ratio_peers": fast["peers"],
            "ratio_own_slow": spans[1]["ratio_own"],
            "loud_seconds": (seconds > 3.0 * per_second[:, None] + 1.0).sum(axis=1).astype(np.float64),
        }

    def _rate_over(self, span: int) -> dict[str, Array]:
        count = self._sum("num_messages_received", span)
        own = self._profiles[:, 0] * np.minimum(span, self._history.age())
        peers = _peer_rise(count, own, self._groups)
        credit = self._history.recent("credit", min(span + 1, self._history.seconds)).max(axis=1)
        expected = own * np.maximum(1.0, peers) + credit
        # the own rate is itself an estimate from `seconds` of traffic: its error adds to the count's
        noise = np.sqrt(1.0 + span / self._profiles[:, 2])
        # ... and a ratio to a rate learnt from two messages means little: take the rate one sd higher
        doubt = 1.0 + 1.0 / np.sqrt(np.maximum(self._profiles[:, 0] * self._profiles[:, 2], 0.25))
        return {
            "count": count,
            "own": own,
            "peers": peers,
            "expected": expected,
            "excess": (anscombe(count) - anscombe(expected)) / noise,
            "ratio": count / np.maximum(expected * doubt, 0.5),
            "ratio_own": count / np.maximum(own + credit, 0.5),
        }

    def _events(self) -> dict[str, Array]:
        novel = self._history.recent("novel", WINDOW_SECONDS)
        authorization = self._history.recent("num_authorization_failures", WINDOW_SECONDS)
        authentication = self._history.recent("num_authentication_failures", WINDOW_SECONDS)
        failed = authorization + authentication
        failures = failed.sum(axis=1)
        throttled = self._sum("num_throttled", WINDOW_SECONDS)
        return {
            "novel": _beyond(novel.sum(axis=1)),
            "novel_slow": self._slow("novel"),
            "authorization": self._beyond_peers(authorization.sum(axis=1)),
            "authentication": self._beyond_peers(authentication.sum(axis=1)),
            "authentication_slow": self._slow("num_authorization_failures", "num_authentication_failures"),
            "throttled": self._beyond_peers(throttled),
            "novel_events": novel.sum(axis=1),
            "novel_seconds": (novel > 0).sum(axis=1).astype(np.float64),
            "failures": failures,
            "failure_seconds": (failed > 0).sum(axis=1).astype(np.float64),
            "peer_failures": _per_group(failures, self._groups, _trimmed_mean),
            "throttle_events": throttled,
            "connects": self._sum("num_connects", WINDOW_SECONDS),
            "disconnects": self._sum("num_disconnects", WINDOW_SECONDS),
            "since_connect": self._since_connect(),
        }

    def _slow(self, *names: str) -> Array:
        """Events of the last minute beyond the peers' (for failures), while one is recent."""
        seconds = sum(self._history.recent(name, SLOW_SECONDS) for name in names)
        active = np.asarray(seconds)[:, -RECENT_SECONDS:].any(axis=1)
        # distinct seconds, not events: one bad second is the business of the fast features
        count = (np.asarray(seconds) > 0).sum(axis=1).astype(np.float64)
        return np.where(active, self._beyond_peers(count), 0.0)

    def _beyond_peers(self, count: Array) -> Array:
        return _beyond(count, _per_group(count, self._groups, _trimmed_mean))

    def _since_connect(self) -> Array:
        connected = self._history.recent("num_connects", SLOW_SECONDS)[:, ::-1] > 0
        return np.where(connected.any(axis=1), connected.argmax(axis=1), SLOW_SECONDS).astype(np.float64)

    def _sizes(self) -> dict[str, Array]:
        total = self._sum("message_bytes_received", WINDOW_SECONDS)
        count = self._sum("num_messages_received", WINDOW_SECONDS)
        own = self._profiles[:, 1]
        size = np.where(count > 0, total / np.maximum(count, 1.0), own)
        relative = size / own
        spoke = np.where(count > 0, relative, np.nan)
        peers = np.maximum(1.0, np.nan_to_num(_per_group(spoke, self._groups, _median), nan=1.0))
        return {
            "size_excess": np.log2(np.maximum(relative, 1e-3) / peers),
            "bytes": total,
            "size": size,
            "size_max": self._history.recent("message_byte_size_max", WINDOW_SECONDS).max(axis=1),
            "size_own": own,
            "size_peers": peers,
        }

    def fleet(self, columns: Mapping[str, Array]) -> dict[str, float]:
        keep = self.keep
        count, own, expected = (columns[name][keep] for name in ("messages", "expected_own", "expected"))
        capped = np.minimum(count, 3.0 * own + 3.0)
        surges = [
            float(np.median(columns["ratio_own"][group])) / allowed
            for group, allowed in zip(self._groups, self._allowed, strict=True)
            if len(group) >= 4
        ]
        moved = self._history.recent("num_connects", 10) + self._history.recent("num_disconnects", 10)
        gone = self._history.recent("num_disconnects", SLOW_SECONDS)
        noise = (
            np.sqrt(1.0 + WINDOW_SECONDS / max(float(np.median(self._profiles[:, 2])), 1.0))
            if len(own)
            else 1.0
        )
        return {
            "devices": float(keep.sum()),
            "messages": float(count.sum()),
            "expected": float(expected.sum()),
            "uptick": float(count.sum() / max(own.sum(), 0.5)),
            "uptick_ratio": float(capped.sum() / max(own.sum(), 0.5)),
            "uptick_z": float(_z(capped.sum(), own.sum()) / noise),
            "share_up": _mean(columns["ratio_own_slow"] > 1.3, keep),
            "churn": _mean(np.any(moved > 0, axis=1), keep),
            "storm": _mean(np.any(gone > 0, axis=1), keep),
            "surge": max(surges, default=1.0),
            "gini": _gini(count),
            "entropy": _entropy(count),
            "seconds": float(self._history.seconds),
        }


def _groups(peers: Sequence[tuple[str, str]], keep: Flags) -> list[Lines]:
    """The lines of each group of peers (type and announced change), without those left out."""
    kinds = {name: number for number, name in enumerate(dict.fromkeys(peers))}
    numbers = np.array([kinds[name] for name in peers], dtype=np.int64)
    return [np.flatnonzero(keep & (numbers == number)) for number in kinds.values()]


def _peer_rise(count: Array, own: Array, groups: Sequence[Lines]) -> Array:
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


def _median_of_others(values: Array) -> Array:
    """For each element the lower median of the other elements (1 if there are none)."""
    if len(values) < 2:
        return np.ones_like(values)
    order = np.sort(values)
    place = (len(values) - 2) // 2
    return np.asarray(np.where(values <= order[place], order[place + 1], order[place]))


def _per_group(values: Array, groups: Sequence[Lines], statistic: Callable[[Array], float]) -> Array:
    result = np.zeros_like(values)
    for group in groups:
        if len(group):
            result[group] = statistic(values[group])
    return result


def _median(values: Array) -> float:
    seen = values[~np.isnan(values)]
    return float(np.median(seen)) if len(seen) else float("nan")


def _trimmed_mean(values: Array) -> float:
    """Mean of the lower three quarters: what most peers do, unmoved by a hostile quarter."""
    return float(np.mean(np.sort(values)[: max(1, (3 * len(values)) // 4)])) if len(values) > 1 else 0.0


def _beyond(count: Array, expected: Array | float = 0.0) -> Array:
    return anscombe(count) - anscombe(np.asarray(expected, dtype=np.float64))


def _z(count: float, expected: float) -> float:
    return float(_beyond(np.array(count), expected))


def _mean(values: Flags, keep: Flags) -> float:
    return float(np.mean(values, where=keep)) if keep.any() else 0.0


def _gini(count: Array) -> float:
    total = float(count.sum())
    if total <= 0:
        return 0.0
    ranks = np.arange(1, len(count) + 1)
    return float(2.0 * (ranks * np.sort(count)).sum() / (len(count) * total) - (len(count) + 1) / len(count))


def _entropy(count: Array) -> float:
    total = float(count.sum())
    if total <= 0 or len(count) < 2:
        return 1.0
    share = count[count > 0] / total
    return float(-(share * np.log(share)).sum() / np.log(len(count)))
