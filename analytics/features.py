"""Features of every device's newest window, and of the fleet: pure, versioned, each one documented.

Counts are compared after Anscombe's transform, 2 sqrt(x + 3/8), which makes the noise of a Poisson count
about 1 whatever its mean: z = 6 is as unlikely at 1 message a window as at 1,000. No feature uses an id, a
topic's name or an address: renaming every device leaves every feature as it was.
"""

from collections.abc import Mapping

import numpy as np

from contracts.messages import FLEET, SECOND, Window

from .baseline import Baseline, provisional
from .counting import (
    Array,
    anscombe,
    beyond,
    count_z,
    entropy,
    gini,
    mean_of,
    median,
    peer_groups,
    peer_rise,
    per_group,
    rise_of,
    trimmed_mean,
)
from .feature_table import DEVICE_FEATURES, FEATURES_VERSION, FLEET_FEATURES, SCORED, Feature
from .history import History
from .known import NOTHING, Known
from .signals import RECENT_SECONDS, SLOW_SECONDS, Signals
from .windows import WINDOW_SECONDS

__all__ = [
    "DEVICE_FEATURES",
    "FEATURES_VERSION",
    "FLEET_FEATURES",
    "SCORED",
    "Feature",
    "anscombe",
    "measure",
]

RATE_SPANS = (WINDOW_SECONDS, 3 * WINDOW_SECONDS, 6 * WINDOW_SECONDS)
"""A device at 0.1 messages/s needs 15-30 s to show that it sends 20 times as much; one at 1/s needs 2."""

LOUDER = 2.0
STILL_LOUD = 1.0
"""The longer spans count only while the window itself is above expectation: what is over is over."""


def measure(
    history: History,
    baseline: Baseline | None,
    *,
    without: frozenset[str] = frozenset(),
    known: Known = NOTHING,
) -> tuple[list[Window], Window]:
    """The windows that end at `history.end`: one per device (but those in `without`), and the fleet's.

    Peers are the devices of the same type and the same announced change. Without a baseline the median of each
    type over the history so far stands in for it.
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
        self._baseline = baseline
        self._profiles = history.profiles(baseline)
        cohorts = [known.cohort(device_id) for device_id in self.ids]
        recent = history.recent("changed", RECENT_SECONDS).any(axis=1)
        self._changed = np.asarray(history.unprompted() & recent, dtype=np.bool_)
        self._groups = peer_groups(list(zip(self.types, cohorts, strict=True)), self.keep)
        self._allowed = [known.allowance(cohorts[group[0]]) if len(group) else 1.0 for group in self._groups]

    def columns(self) -> dict[str, Array]:
        columns = {**self._rates(), **self._events(), **self._sizes()}
        signals = Signals(
            history=self._history,
            baseline=self._baseline,
            groups=self._groups,
            rates=self._profiles[:, 0],
            largest=self._profiles[:, 3],
            messages=columns["messages"],
        )
        found = {**columns, **signals.columns()}
        return {**found, "reading_excess": self._reading_excess(found)}

    def _reading_excess(self, found: Mapping[str, Array]) -> Array:
        readings = np.maximum(found["messages"] - found["novel_messages"], 0.0)
        return (anscombe(readings) - anscombe(found["expected"])) / np.sqrt(self._dispersion())

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
            "creep": spans[2]["excess"] / np.sqrt(self._dispersion()),
            "steady_ratio": (steady := spans[1]["count"] / np.maximum(spans[1]["expected"], 0.5)),
            "louder_peers": per_group((steady >= LOUDER).astype(np.float64), self._groups, _total),
            "peers": per_group(np.ones_like(steady), self._groups, _total),
            "loud_seconds": (seconds > 3.0 * per_second[:, None] + 1.0).sum(axis=1).astype(np.float64),
        }

    def _rate_over(self, span: int) -> dict[str, Array]:
        count = self._sum("num_messages_received", span)
        own = self._profiles[:, 0] * np.minimum(span, self._history.age())
        peers = self._peer_rise(count, own)
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

    def _peer_rise(self, count: Array, own: Array) -> Array:
        """The rise of the peers that did not change in the middle of a session: the changed excuse each other no more."""
        rise = peer_rise(count, own, self._groups)
        for group in self._groups:
            plain = group[~self._changed[group]]
            if len(plain) < len(group) and len(plain) >= max(3, len(group) / 2):
                rise[plain] = peer_rise(count, own, [plain])[plain]
                rise[group[self._changed[group]]] = rise_of(count[plain], own[plain])
        return rise

    def _dispersion(self) -> Array:
        learnt = self._baseline.dispersion
        return np.array([learnt.get(kind, 1.0) for kind in self.types])

    def _events(self) -> dict[str, Array]:
        novel = self._history.recent("novel", WINDOW_SECONDS)
        authorization = self._history.recent("num_authorization_failures", WINDOW_SECONDS)
        authentication = self._history.recent("num_authentication_failures", WINDOW_SECONDS)
        failed = authorization + authentication
        failures = failed.sum(axis=1)
        throttled = self._sum("num_throttled", WINDOW_SECONDS)
        return {
            "novel": beyond(novel.sum(axis=1)),
            "novel_slow": self._slow("novel"),
            "authorization": self._beyond_peers(authorization.sum(axis=1)),
            "authentication": self._beyond_peers(authentication.sum(axis=1)),
            "authentication_slow": self._slow("num_authorization_failures", "num_authentication_failures"),
            "throttled": self._beyond_peers(throttled),
            "novel_events": novel.sum(axis=1),
            "novel_seconds": (novel > 0).sum(axis=1).astype(np.float64),
            "failures": failures,
            "failure_seconds": (failed > 0).sum(axis=1).astype(np.float64),
            "peer_failures": per_group(failures, self._groups, trimmed_mean),
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
        return beyond(count, per_group(count, self._groups, trimmed_mean))

    def _since_connect(self) -> Array:
        return np.minimum(self._history.since_connect(), SLOW_SECONDS)

    def _sizes(self) -> dict[str, Array]:
        total = self._sum("message_bytes_received", WINDOW_SECONDS)
        count = self._sum("num_messages_received", WINDOW_SECONDS)
        own = self._profiles[:, 1]
        size = np.where(count > 0, total / np.maximum(count, 1.0), own)
        relative = size / own
        spoke = np.where(count > 0, relative, np.nan)
        peers = np.maximum(1.0, np.nan_to_num(per_group(spoke, self._groups, median), nan=1.0))
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
            "uptick_z": float(count_z(capped.sum(), own.sum()) / noise),
            "share_up": mean_of(columns["ratio_own_slow"] > 1.3, keep),
            "churn": mean_of(np.any(moved > 0, axis=1), keep),
            "storm": mean_of(np.any(gone > 0, axis=1), keep),
            "surge": max(surges, default=1.0),
            "gini": gini(count),
            "entropy": entropy(count),
            "seconds": float(self._history.seconds),
            "visits": float(columns["visit_events"][keep].sum()),
            "visitors": float((columns["visit_events"][keep] > 0).sum()),
            "half_open": float(min(self._history.half_open[-3:], default=0)),
            "half_open_learnt": float(self._baseline.half_open),
        }


def _total(values: Array) -> float:
    return float(values.sum())
