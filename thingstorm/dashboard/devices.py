"""The view Devices: search and filter, rates against own history and peers, one device with all that is known of it."""

import json
from collections.abc import Mapping
from typing import Any

from analytics.unknown import unknown
from contracts.errors import ThingstormError, UnknownName
from contracts.shadows import ShadowError
from thingstorm.dashboard.hub import milliseconds
from thingstorm.runtime.pages import Backstage

PAGE = 50
RATE_SECONDS = 15
"""Of these seconds a device's rate is the mean: the model's middle window."""

SERIES_SECONDS = 300

_SORTS = {
    "id": "device_id",
    "rate": "messages DESC, device_id",
    "strange": "abs(ln((messages + 1.0) / (peers + 1.0))) DESC, device_id",
    "seen": "seen DESC NULLS LAST, device_id",
    "refused": "refused DESC, device_id",
}

_STATES = {
    "": "TRUE",
    "connected": "connected",
    "away": "NOT coalesce(connected, FALSE)",
    "quarantined": "quarantined",
    "refused": "refused > 0",
}

_LIST_SQL = """
WITH sent AS (
    SELECT device_id, sum(num_messages_received) AS messages, sum(message_bytes_received) AS bytes,
           sum(num_authorization_failures + num_authentication_failures) AS refused, sum(num_connects) AS connects
    FROM device_metrics
    WHERE period_start > epoch_ms(CAST($since AS BIGINT)) AND device_id <> '$fleet'
    GROUP BY device_id
),
known AS (
    SELECT d.device_id, coalesce(d.device_type, '') AS device_type, coalesce(d.connected, FALSE) AS connected,
           coalesce(d.quarantined, FALSE) AS quarantined, d.quarantine_reason, d.firmware, d.source_ip,
           epoch_ms(greatest(d.last_seen, d.presence_at)) AS seen,
           CAST(coalesce(s.messages, 0) AS BIGINT) AS messages, CAST(coalesce(s.bytes, 0) AS BIGINT) AS bytes,
           CAST(coalesce(s.refused, 0) AS BIGINT) AS refused, CAST(coalesce(s.connects, 0) AS BIGINT) AS connects
    FROM devices d LEFT JOIN sent s USING (device_id)
),
rated AS (
    SELECT *, median(messages) FILTER (connected) OVER (PARTITION BY device_type) AS peers FROM known
)
SELECT *, count(*) OVER () AS found FROM rated
WHERE (contains(lower(device_id), lower($search)) OR contains(coalesce(source_ip, ''), $search)
       OR contains(lower(coalesce(firmware, '')), lower($search)))
  AND ($type = '' OR device_type = $type) AND {state}
ORDER BY {sort} LIMIT $page OFFSET $skip
"""

_TYPES_SQL = "SELECT coalesce(device_type, '') AS type, count(*) AS devices FROM devices GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 100"

_SERIES_SQL = """
SELECT epoch_ms(period_start) // 1000 AS second, num_messages_received AS messages, message_bytes_received AS bytes,
       num_authorization_failures + num_authentication_failures AS refused, topics
FROM device_metrics WHERE device_id = $id AND period_start > epoch_ms(CAST($since AS BIGINT)) ORDER BY 1
"""

_ACTIONS_SQL = """
SELECT action_id, epoch_ms(acted_at) AS at, who, action, target, why, outcome, incident_id, epoch_ms(ends_at) AS ends
FROM actions WHERE target = $id ORDER BY action_id DESC LIMIT 50
"""

_INCIDENTS_SQL = """
SELECT incident_id, kind, epoch_ms(opened_at) AS opened, epoch_ms(closed_at) AS closed
FROM incidents WHERE list_contains(devices, $id) ORDER BY opened_at DESC LIMIT 20
"""


class Devices:
    """Makes `devices?search=&type=&state=&sort=&page=` and `device?id=`."""

    def __init__(self, stage: Backstage) -> None:
        self._stage = stage

    async def every(self, given: Mapping[str, str]) -> dict[str, Any]:
        """One page of those that match, with how many do. Raises UnknownName."""
        sort, state = given.get("sort") or "id", given.get("state", "")
        if sort not in _SORTS:
            raise UnknownName("order", sort, _SORTS)
        if state not in _STATES:
            raise UnknownName("state", state, _STATES)
        page = int(given.get("page", "0")) if given.get("page", "0").isdigit() else 0
        values = {
            "since": self._since(RATE_SECONDS),
            "search": given.get("search", ""),
            "type": given.get("type", ""),
            "page": PAGE,
            "skip": page * PAGE,
        }
        sql = _LIST_SQL.format(state=_STATES[state], sort=_SORTS[sort])
        rows = (await self._stage.view.query(sql, values)).dicts()
        types = (await self._stage.view.query(_TYPES_SQL)).dicts()
        return {
            "devices": [self._told(row) for row in rows],
            "found": rows[0]["found"] if rows else 0,
            "page": page,
            "size": PAGE,
            "types": types,
        }

    async def one(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Raises UnknownName."""
        device_id, view = given.get("id", ""), self._stage.view
        values = {
            "since": self._since(RATE_SECONDS),
            "search": device_id,
            "type": "",
            "page": 10_000,
            "skip": 0,
        }
        sql = _LIST_SQL.format(state="device_id = $id", sort="device_id")
        rows = (await view.query(sql, {**values, "id": device_id})).dicts()
        if not rows:
            raise await unknown(view, "device", device_id)
        series = (
            await view.query(_SERIES_SQL, {"id": device_id, "since": self._since(SERIES_SECONDS)})
        ).dicts()
        topics = dict.fromkeys(topic for row in reversed(series) for topic in row.pop("topics") or ())
        held = next((one for one in self._stage.model.desk.held if one.device_id == device_id), None)
        return {
            **self._told(rows[0]),
            "series": series,
            "topics": list(topics)[:50],
            "actions": (await view.query(_ACTIONS_SQL, {"id": device_id})).dicts(),
            "incidents": (await view.query(_INCIDENTS_SQL, {"id": device_id})).dicts(),
            "held": None
            if held is None
            else {"why": held.why, "evidence": held.evidence, "since": milliseconds(held.since)},
        }

    async def shadow(self, device_id: str) -> dict[str, Any]:
        """What the device reported and what is desired of it; None where there is no shadow."""
        if self._stage.shadows is None:
            return {"shadow": None, "why": "this stack's AWS services keep no shadows"}
        try:
            document = await self._stage.shadows.get(device_id, "")
        except (ShadowError, ThingstormError) as error:
            return {"shadow": None, "why": str(error)}
        return {"shadow": document and json.loads(json.dumps(document, default=str)), "why": ""}

    def _since(self, seconds: int) -> int:
        now = milliseconds(self._stage.clock.now()) or 0
        return now - seconds * 1000 - 1500  # the newest second is on its way for some 1.5 s

    def _told(self, row: dict[str, Any]) -> dict[str, Any]:
        """With its rate, and what it was in training and is for its peers now (messages a second)."""
        profile = self._stage.model.profile(row["device_id"], row["device_type"])
        return {
            **row,
            "rate": row["messages"] / RATE_SECONDS,
            "own_rate": profile.rate if profile else None,
            "own_size": profile.size if profile else None,
            "peers_rate": None if row["peers"] is None else row["peers"] / RATE_SECONDS,
            "held": any(one.device_id == row["device_id"] for one in self._stage.model.desk.held),
        }
