"""The features of what load does not do: payloads, values, repetitions, takeovers, visits. Pure, all lines at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .baseline import Baseline
from .counting import Array, Flags, Lines, beyond, per_group, trimmed_mean
from .history import History
from .readings import LAGS, SLOTS, Walk
from .windows import WINDOW_SECONDS

SLOW_SECONDS = 60
RECENT_SECONDS = 15
"""Slow evidence counts while its last event is this young: yesterday's attack is not today's."""

FAR = 999.0
"""Seconds that stand for "never"."""

MOST_DECADES = 1000.0
IN_RANGE = 0.5
"""A move that stays inside the learnt range counts half: values of a range are seen again and again."""

LARGE = 2.0

LEAST_READINGS = 2.0
"""Of fewer expected readings, one more does not say that there are more."""


@dataclass(frozen=True, slots=True)
class Signals:
    """Makes the columns for one tick. Line i belongs to device i; `groups` are the lines of peers.

    `rates` are the learnt messages a second, `largest` the largest learnt payloads in bytes.
    """

    history: History
    baseline: Baseline
    groups: Sequence[Lines]
    rates: Array
    largest: Array
    messages: Array

    def columns(self) -> dict[str, Array]:
        """All features of this file by name."""
        return {
            **self._topics(),
            **self._payloads(),
            **self._replays(),
            **self._connections(),
            **self._sizes(),
            **self._changes(),
            **self._values(),
            **self._visits(),
        }

    def _sum(self, name: str, seconds: int) -> Array:
        return np.asarray(self.history.recent(name, seconds).sum(axis=1))

    def _seconds(self, name: str, seconds: int) -> Array:
        return np.asarray((self.history.recent(name, seconds) > 0).sum(axis=1), dtype=np.float64)

    def _beyond_peers(self, count: Array) -> Array:
        return beyond(count, per_group(count, self.groups, trimmed_mean))

    def _while_recent(self, name: str, score: Array) -> Array:
        return np.where(self._sum(name, RECENT_SECONDS) > 0, score, 0.0)

    def _topics(self) -> dict[str, Array]:
        size = len(self.history)
        names = ("patterns", "foreign", "company", "spread", "joined", "age", "interval")
        rows = np.zeros((size, len(names)))
        rows[:, 4:] = FAR
        found = self.history.novelty.now(self.history.end - 1, self.baseline.branches())
        for line, novel in found.items():
            rows[line] = [getattr(novel, name) for name in names]
        columns = {f"novel_{name}": rows[:, place] for place, name in enumerate(names)}
        return {
            **columns,
            "novel_slow_seconds": self._seconds("novel", SLOW_SECONDS),
            "novel_messages": self._sum("novel_messages", WINDOW_SECONDS),
        }

    def _payloads(self) -> dict[str, Array]:
        events, seconds = self._sum("broken", WINDOW_SECONDS), self._seconds("broken", SLOW_SECONDS)
        return {
            "malformed": self._beyond_peers(events),
            "malformed_slow": self._while_recent("broken", self._beyond_peers(seconds)),
            "malformed_events": events,
            "malformed_seconds": seconds,
        }

    def _replays(self) -> dict[str, Array]:
        share = np.array([self.baseline.replays.get(kind, 0.0) for kind in self.history.types])
        events, seconds = (
            self._sum("num_replayed", WINDOW_SECONDS),
            self._seconds("num_replayed", SLOW_SECONDS),
        )
        usual = 2.0 * share * self.messages
        often = np.minimum(2.0 * share * self._sum("num_messages_received", SLOW_SECONDS), SLOW_SECONDS)
        common = per_group(events, self.groups, trimmed_mean)
        slowly = beyond(seconds, np.maximum(often, per_group(seconds, self.groups, trimmed_mean)))
        return {
            "replayed": beyond(events, np.maximum(usual, common)),
            "replayed_slow": self._while_recent("num_replayed", slowly),
            "replayed_events": events,
            "replayed_seconds": seconds,
        }

    def _connections(self) -> dict[str, Array]:
        takeovers, rejected = (
            self._sum("num_takeovers", SLOW_SECONDS),
            self._sum("num_rejected", SLOW_SECONDS),
        )
        recent = self._sum("num_takeovers", RECENT_SECONDS)
        return {
            "takeovers": np.where(recent > 0, self._beyond_peers(takeovers), 0.0),
            "takeover_events": takeovers,
            "takeovers_foreign": self._sum("num_foreign_takeovers", SLOW_SECONDS),
            "takeovers_recent": recent,
            "rejected": self._while_recent("num_rejected", self._beyond_peers(rejected)),
            "rejected_events": rejected,
        }

    def _sizes(self) -> dict[str, Array]:
        seconds = self.history.recent("message_byte_size_max", WINDOW_SECONDS)
        growth = np.log2(np.maximum(seconds.max(axis=1), 1.0) / np.maximum(self.largest, 1.0))
        spoke = np.where(self.messages > 0, growth, np.nan)
        peers = np.zeros_like(growth)
        for group in self.groups:
            known = spoke[group][~np.isnan(spoke[group])]
            peers[group] = max(0.0, float(np.median(known))) if len(known) else 0.0
        return {
            "size_jump": np.maximum(np.where(self.messages > 0, growth - peers, 0.0), 0.0),
            "size_largest": self.largest,
            "large_seconds": np.asarray((seconds > LARGE * self.largest[:, None]).sum(axis=1), np.float64),
        }

    def _changes(self) -> dict[str, Array]:
        events = np.where(self.history.unprompted(), self._sum("changed", RECENT_SECONDS), 0.0)
        share = per_group((events > 0).astype(np.float64), self.groups, lambda values: float(values.mean()))
        return {"changed": beyond(events), "changed_events": events, "changed_share": share}

    def _values(self) -> dict[str, Array]:
        history, size = self.history, len(self.history)
        learnt = _Learnt.of(self.baseline, history.types)
        held = history.readings.held[:size]
        far = np.zeros((size, SLOTS))
        for place, lag in enumerate(LAGS):
            moved = history.readings.change(history.end - 1, lag, size)
            for group in self.groups:
                if len(group) > 2:
                    moved[group] -= _middle(moved[group])
            scale = learnt.scale[:, :, place] * self._more_steps(lag)[:, None]
            far = np.fmax(far, np.abs(moved) / scale)
        outside = np.fmax(np.fmax(held - learnt.high, learnt.low - held), 0.0) / learnt.width
        shift = far * np.clip(np.nan_to_num(outside), IN_RANGE, 1.0)
        most = shift.argmax(axis=1)
        rows = np.arange(size)
        inside = (held > learnt.low) & (held < learnt.high)
        same = np.where(inside, history.readings.same[:size], 0.0)
        return {
            "value_shift": shift.max(axis=1),
            "value_ratio": np.nan_to_num(outside)[rows, most],
            "value_frozen": np.minimum((same * learnt.decades).max(axis=1), MOST_DECADES),
            "value_same": same.max(axis=1),
        }

    def _more_steps(self, lag: int) -> Array:
        """How much farther values walk because all peers take so many more readings: the root of how many more."""
        span = min(lag, self.history.seconds)
        own = self.rates * np.minimum(span, self.history.age())
        more = self._sum("num_messages_received", span) / np.maximum(own, LEAST_READINGS)
        return np.sqrt(np.maximum(per_group(more, self.groups, lambda values: float(np.median(values))), 1.0))

    def _visits(self) -> dict[str, Array]:
        known = self.known()
        silent = ~known & (self.history.spoken() == 0)
        connects = np.where(silent, self._sum("num_connects", RECENT_SECONDS), 0.0)
        if not np.where(silent, self._sum("num_connects", WINDOW_SECONDS), 0.0).any():
            connects[:] = 0.0  # nobody comes any more: who came before is not accused again
        return {"visits": beyond(connects), "visit_events": connects, "known": known.astype(np.float64)}

    def known(self) -> Flags:
        """Who was there while the model learnt; before that, everybody."""
        devices = self.baseline.devices
        if not devices:
            return np.ones(len(self.history), dtype=np.bool_)
        return np.array([name in devices for name in self.history.ids], dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class _Learnt:
    """The walks of each device's numbers as arrays of shape (devices, SLOTS), `scale` with LAGS behind."""

    scale: Array
    low: Array
    high: Array
    width: Array
    decades: Array

    @classmethod
    def of(cls, baseline: Baseline, types: Sequence[str]) -> "_Learnt":
        kinds = {kind: place for place, kind in enumerate(dict.fromkeys(types))}
        place = np.array([kinds[kind] for kind in types], dtype=np.int64)
        rows = [cls._row(list(baseline.walks.get(kind, {}).values())) for kind in kinds]
        table = np.array(rows, dtype=np.float64).reshape(len(kinds), SLOTS, len(LAGS) + 4)[place]
        scale, rest = table[:, :, : len(LAGS)], table[:, :, len(LAGS) :]
        return cls(scale, rest[:, :, 0], rest[:, :, 1], rest[:, :, 2], rest[:, :, 3])

    @staticmethod
    def _row(walks: Sequence[Walk]) -> list[list[float]]:
        unknown = [float("inf")] * len(LAGS) + [-float("inf"), float("inf"), 1.0, 0.0]
        found = [[*walk.scale, walk.low, walk.high, walk.width, walk.decades] for walk in walks[:SLOTS]]
        return [*found, *[unknown] * (SLOTS - len(found))]


def _middle(values: Array) -> Array:
    """Median of each column without the unknown; 0 where all are."""
    known = np.where(np.isnan(values).all(axis=0), 0.0, values)
    return np.asarray(np.nanmedian(known, axis=0))
