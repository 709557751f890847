"""The last ten minutes second by second: what the gateway counted, by topic group, and what the model made of it.

Kept while pages are open and asked for anew, of the last seconds alone, each time.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from analytics.sync import Sync
from analytics.verdict_loop import VerdictLoop
from contracts.clock import Clock
from contracts.messages import FLEET, MILLISECOND, SECOND
from contracts.ports import View

KEPT_SECONDS = 600

AGAIN_SECONDS = 6
"""Rows of a second come within some 2 s; these seconds are asked for again."""

GROUPS = 7
"""The busiest topic groups of the time that is kept; all others together are one more."""

GROUPS_A_SECOND = 20
"""Of a second no more are kept: who tries out topics makes thousands."""

OTHERS = "all others"

_FLEET_SQL = """
SELECT epoch_ms(period_start) // 1000 AS second, num_messages_received AS messages, message_bytes_received AS bytes,
       num_connects AS connects, num_disconnects AS disconnects,
       num_authorization_failures + num_authentication_failures AS refused, num_throttled AS throttled
FROM device_metrics
WHERE device_id = $fleet AND period_start >= epoch_ms(CAST($since AS BIGINT))
ORDER BY 1
"""

_GROUPS_SQL = f"""
WITH rows AS (
    SELECT epoch_ms(period_start) // 1000 AS second, device_id, num_messages_received AS n, topics, shapes
    FROM device_metrics
    WHERE period_start >= epoch_ms(CAST($since AS BIGINT)) AND device_id <> $fleet AND num_messages_received > 0
),
parts AS (
    SELECT second, device_id, topics[CAST(split_part(shape, ' ', 1) AS BIGINT) + 1] AS topic,
           CAST(split_part(shape, ' ', 3) AS BIGINT) AS n
    FROM (SELECT second, device_id, topics, unnest(shapes) AS shape FROM rows)
    UNION ALL
    SELECT second, device_id, topics[1],
           n - coalesce(list_sum(list_transform(shapes, lambda s: CAST(split_part(s, ' ', 3) AS BIGINT))), 0)
    FROM rows
)
SELECT second, regexp_replace(replace(topic, device_id, '+'), '[^/]*[0-9]{(2,)}[^/]*', '+', 'g') AS topic_group, CAST(sum(n) AS BIGINT) AS messages
FROM parts WHERE topic IS NOT NULL GROUP BY second, topic_group HAVING sum(n) > 0
QUALIFY row_number() OVER (PARTITION BY second ORDER BY sum(n) DESC, topic_group) <= {GROUPS_A_SECOND}
"""  # noqa: S608 - the only insertion is our own constant


class Traffic:
    """Ask `refresh` before `rows`."""

    def __init__(self, *, view: View, model: VerdictLoop, sync: Sync, clock: Clock) -> None:
        self._view = view
        self._model = model
        self._sync = sync
        self._clock = clock
        self._seconds: dict[int, dict[str, Any]] = {}
        self._latency: dict[int, tuple[float, float]] = {}

    async def refresh(self) -> None:
        """Take in what the view has got since."""
        now = self._clock.now() // SECOND
        newest = max(self._seconds, default=0)
        since = newest - AGAIN_SECONDS if now - newest < KEPT_SECONDS else now - KEPT_SECONDS
        given = {"fleet": FLEET, "since": since * 1000}
        for row in (await self._view.query(_FLEET_SQL, given)).dicts():
            self._seconds[row["second"]] = {**row, "groups": {}}
        for second, group, messages in (await self._view.query(_GROUPS_SQL, given)).rows:
            if second in self._seconds:
                self._seconds[second]["groups"][group] = messages
        measured = max(self._latency, default=now - KEPT_SECONDS)
        for second, latencies in self._sync.latencies((measured - 1) * SECOND).items():
            ordered = sorted(latencies)
            self._latency[second] = (
                round(ordered[len(ordered) // 2]),
                round(ordered[int(0.95 * len(ordered))]),
            )
        for kept in (self._seconds, self._latency):
            for second in [one for one in kept if one < now - KEPT_SECONDS]:
                del kept[second]

    def rows(self, seconds: int) -> list[dict[str, Any]]:
        """The last seconds, oldest first: counts, messages by topic group, data latency, score, expected messages."""
        newest = max(self._seconds, default=0)
        wanted = [self._seconds[one] for one in sorted(self._seconds) if one > newest - seconds]
        judged = self._judged(newest - seconds)
        shown = self._shown()
        return [
            {
                **row,
                "groups": _grouped(row, shown),
                "latency": self._latency.get(row["second"]),
                **judged.get(row["second"], {}),
            }
            for row in wanted
        ]

    def _shown(self) -> frozenset[str]:
        totals: Counter[str] = Counter()
        for row in self._seconds.values():
            totals.update(row["groups"])
        return frozenset(group for group, _ in totals.most_common(GROUPS))

    def _judged(self, since: int) -> Mapping[int, dict[str, Any]]:
        """By second, what the verdict on the window that ends with it said."""
        found: dict[int, dict[str, Any]] = {}
        for verdict in reversed(self._model.verdicts):
            second = verdict.at // SECOND - 1
            if second <= since:
                break
            found[second] = {
                "kind": verdict.kind,
                "confidence": round(verdict.confidence, 3),
                "uptick": round(verdict.uptick, 3),
                "took_ms": (verdict.decided_at - verdict.at) // MILLISECOND,
            }
        for at, score in reversed(self._model.scores):
            second = at // SECOND - 1
            if second <= since:
                break
            if second in found:
                found[second]["score"] = round(score, 3)
        return found


def _grouped(row: Mapping[str, Any], shown: frozenset[str]) -> dict[str, int]:
    """Messages of the groups that are shown, and of the rest."""
    groups = {group: count for group, count in row["groups"].items() if group in shown}
    rest = row["messages"] - sum(groups.values())
    return {**groups, OTHERS: rest} if rest > 0 and row["groups"] else groups
