"""The view Flow: how much passed every hop, how fast it goes, and how long messages take from hop to hop."""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from contracts.messages import MILLISECOND, SECOND, Nanoseconds
from contracts.ports import Health
from contracts.trail import Step
from thingstorm.dashboard.now import depths
from thingstorm.runtime.pages import Backstage

FOLLOWED = 4
"""Messages that are followed from hop to hop, every `FOLLOW_SECONDS`: a search through what the hops remember."""
FOLLOW_SECONDS = 3
KEPT_PAIRS = 40
RATE_SECONDS = 5

_RECENT_SQL = """
SELECT message_id, device_id, topic, epoch_ms(received_at) AS received
FROM telemetry WHERE received_at > epoch_ms(CAST($since AS BIGINT)) ORDER BY received_at DESC LIMIT $limit
"""

ARCHIVED_AFTER = 60
"""Seconds: the delivery stream's longest, by default. At high rates the hops have forgotten such a message."""

_OLDER_SQL = """
SELECT message_id FROM telemetry
WHERE received_at BETWEEN epoch_ms(CAST($from AS BIGINT)) AND epoch_ms(CAST($until AS BIGINT)) LIMIT 1
"""

_ACTED_SQL = """
SELECT a.action, count(*) AS times,
       median(epoch_ms(a.acted_at) - epoch_ms(v.decided_at)) FILTER (a.acted_at < v.decided_at + INTERVAL 10 SECOND) AS took
FROM actions a LEFT JOIN incidents i USING (incident_id)
     LEFT JOIN verdicts v ON v.window_end = i.opened_at AND v.kind = i.kind
WHERE a.action IN ('quarantine', 'alert') AND a.outcome = 'done' GROUP BY a.action
"""
"""What was done, and how soon after the verdict that opened the incident."""

_COUNTERS: Mapping[str, tuple[str, str]] = {
    "published": ("theatre", "published"),
    "accepted": ("broker", "accepted"),
    "refused": ("broker", "refused"),
    "routed": ("router-messages", "routed"),
    "fetched": ("worker-telemetry", "received"),
    "handled": ("worker-telemetry", "deleted"),
    "changed": ("changes", "records"),
    "events": ("router-events", "routed"),
    "viewed": ("sync", "telemetry_changes"),
    "archived": ("delivery-archive", "records"),
    "objects": ("delivery-archive", "objects"),
    "judged": ("model", "ticks"),
    "counted": ("sync", "device_metrics_changes"),
}
"""What is shown of each hop: the service and its counter."""

_PATH = ("measured", "accepted", "routed", "handed on", "received", "handled", "changed", "viewed")
"""The hops as `thingstorm trace` names them, in the order of the path."""


class Flow:
    """Makes `flow`."""

    def __init__(self, stage: Backstage) -> None:
        self._stage = stage
        self._past: deque[tuple[Nanoseconds, dict[str, int]]] = deque(maxlen=RATE_SECONDS + 1)
        self._took: dict[tuple[str, str], deque[float]] = {}
        self._followed_at: Nanoseconds = 0
        self._recent: list[dict[str, Any]] = []
        self._acted: dict[str, dict[str, Any]] = {}

    async def flow(self, _given: Mapping[str, str]) -> dict[str, Any]:
        """Counts and rates by hop, latencies by pair of hops (milliseconds), depths, and messages to follow."""
        services = await self._stage.health()
        now, counts = self._stage.clock.now(), _counts(services)
        if self._past and now - self._past[-1][0] > 10 * SECOND:
            self._past.clear()
        self._past.append((now, counts))
        if now - self._followed_at >= FOLLOW_SECONDS * SECOND:
            self._followed_at = now
            await self._follow(now)
        model = self._stage.model
        verdict = model.verdicts[-1] if model.verdicts else None
        return {
            "counts": counts,
            "rates": self._rates(),
            "took": {
                f"{one}>{other}": round(median(samples), 1) for (one, other), samples in self._took.items()
            },
            "verdict_ms": (verdict.decided_at - verdict.at) // MILLISECOND if verdict else None,
            "depths": {one["name"]: one for one in depths(services)},
            "services": [{"name": one.name, "state": one.state, "detail": one.detail} for one in services],
            "recent": self._recent,
            "acted": self._acted,
            "quarantined": len(model.shut_out()),
        }

    def _rates(self) -> dict[str, float]:
        (then, before), (now, counts) = self._past[0], self._past[-1]
        seconds = (now - then) / SECOND
        if seconds <= 0:
            return {}
        return {
            name: max(0.0, round((count - before.get(name, 0)) / seconds, 1))
            for name, count in counts.items()
        }

    async def _follow(self, now: Nanoseconds) -> None:
        """Messages of the last seconds; and an older one, which has got into S3 by now."""
        since = (now - 30 * SECOND) // MILLISECOND
        rows = await self._stage.view.query(_RECENT_SQL, {"since": since, "limit": 3 * FOLLOWED})
        self._recent = rows.dicts()
        self._acted = {row["action"]: row for row in (await self._stage.view.query(_ACTED_SQL)).dicts()}
        given = {"from": since - ARCHIVED_AFTER * 1000, "until": since - ARCHIVED_AFTER * 1000 + 30_000}
        older = (await self._stage.view.query(_OLDER_SQL, given)).dicts()
        for row in [*self._recent[:FOLLOWED], *older]:
            steps = [step for source in self._stage.trace for step in await source(row["message_id"])]
            self._measure(steps)

    def _measure(self, steps: Sequence[Step]) -> None:
        first: dict[str, Step] = {}
        for step in sorted(steps, key=lambda step: step.at):
            first.setdefault(step.hop, step)
        path = [first[hop] for hop in _PATH if hop in first]
        pairs = list(pairwise(path))
        if "routed" in first and "archived" in first:
            pairs.append((first["routed"], first["archived"]))
        for one, other in pairs:
            samples = self._took.setdefault((one.hop, other.hop), deque(maxlen=KEPT_PAIRS))
            samples.append(max(0, other.at - one.at) / MILLISECOND)


def _counts(services: Sequence[Health]) -> dict[str, int]:
    by_name = {one.name: one for one in services}
    found = {
        name: by_name[service].counters[counter]
        for name, (service, counter) in _COUNTERS.items()
        if service in by_name and counter in by_name[service].counters
    }
    simulator = by_name.get("simulator")
    if simulator is not None and "published" in simulator.counters:
        found["published"] = simulator.counters["published"]
    return found
