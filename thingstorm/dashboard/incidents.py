"""The view Incidents: all of them, and one with its evidence, its timeline and what was done."""

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from analytics.desk import LEAD_SECONDS
from analytics.narrate import told_as
from analytics.unknown import unknown
from contracts.messages import FLEET, SECOND, Incident
from thingstorm.dashboard.hub import milliseconds
from thingstorm.runtime.pages import Backstage

SHOWN = 200
MAX_DEVICES = 500
"""Of an incident's devices so many are listed; the count tells all."""

MAX_EVIDENCE = 200
KEPT_CASES = 16
"""Incidents whose evidence is kept in mind while somebody looks at them."""

_LIST_SQL = f"""
SELECT incident_id, kind, epoch_ms(opened_at) AS opened, epoch_ms(updated_at) AS updated,
       epoch_ms(closed_at) AS closed, len(devices) AS devices, summary, coalesce(resolution, '') AS resolution
FROM incidents ORDER BY opened_at DESC LIMIT {SHOWN}
"""  # noqa: S608 - the only insertion is our own constant

_ONE_SQL = """
SELECT i.incident_id, i.kind, epoch_ms(i.opened_at) AS opened, epoch_ms(i.updated_at) AS updated,
       epoch_ms(i.closed_at) AS closed, i.devices, i.summary, coalesce(i.resolution, '') AS resolution,
       i.resolved_by, epoch_ms(i.resolved_at) AS resolved, f.limits, f.taught, epoch_ms(f.ends_at) AS lesson_until
FROM incidents i LEFT JOIN feedback f USING (incident_id) WHERE incident_id = $id
"""

_VERDICTS_SQL = """
SELECT epoch_ms(window_end) AS at, kind, confidence, uptick, evidence, summary, len(devices) AS devices
FROM verdicts
WHERE window_end > epoch_ms(CAST($after AS BIGINT)) AND window_end <= epoch_ms(CAST($until AS BIGINT))
ORDER BY window_end LIMIT 2000
"""

_ACTIONS_SQL = """
SELECT action_id, epoch_ms(acted_at) AS at, who, action, target, why, outcome, epoch_ms(ends_at) AS ends
FROM actions WHERE incident_id = $id ORDER BY action_id DESC LIMIT 500
"""

BEFORE_SECONDS, AFTER_SECONDS = 60, 20
DRAWN_SECONDS = 300
"""Of the traffic around an incident so much is drawn: an open one's last seconds, else from its beginning on."""

_TRAFFIC_SQL = """
WITH accused AS (SELECT unnest(devices) AS device_id FROM incidents WHERE incident_id = $id)
SELECT epoch_ms(period_start) // 1000 AS second,
       CAST(coalesce(sum(num_messages_received) FILTER (device_id = $fleet), 0) AS BIGINT) AS all_messages,
       CAST(coalesce(sum(num_messages_received) FILTER (device_id IN (SELECT device_id FROM accused)), 0) AS BIGINT) AS accused
FROM device_metrics
WHERE period_start >= epoch_ms(CAST($since AS BIGINT)) AND period_start < epoch_ms(CAST($until AS BIGINT))
GROUP BY 1 ORDER BY 1
"""


@dataclass(slots=True)
class _Case:
    """What the verdicts of an incident said, read once."""

    after: int
    turns: list[dict[str, Any]] = field(default_factory=list)
    strongest: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    traffic: list[dict[str, Any]] | None = None
    """Once nothing of it changes any more."""

    def take(self, row: Mapping[str, Any]) -> None:
        self.after = row["at"]
        turn = {key: row[key] for key in ("at", "kind", "confidence", "uptick", "summary", "devices")}
        if (
            not self.turns
            or self.turns[-1]["kind"] != turn["kind"]
            or self.turns[-1]["devices"] != turn["devices"]
        ):
            self.turns.append(turn)
        for item in json.loads(row["evidence"] or "[]"):
            key = (item["device_id"], item["feature"])
            known = self.strongest.get(key)
            room = known is not None or len(self.strongest) < MAX_EVIDENCE
            if room and (known is None or abs(item["z"]) > abs(known["z"])):
                self.strongest[key] = {**item, "words": told_as(item["feature"]), "at": row["at"]}


class Incidents:
    """Makes `incidents` and `incident?id=`."""

    def __init__(self, stage: Backstage) -> None:
        self._stage = stage
        self._cases: OrderedDict[str, _Case] = OrderedDict()

    async def every(self, _given: Mapping[str, str]) -> dict[str, Any]:
        """The newest, newest first; and what waits for a decision."""
        rows = (await self._stage.view.query(_LIST_SQL)).dicts()
        confidence = {one.incident_id: one.verdict.confidence for one in self._stage.model.incidents}
        held = [{**asdict(one), "since": milliseconds(one.since)} for one in self._stage.model.desk.held]
        return {
            "incidents": [{**row, "confidence": confidence.get(row["incident_id"])} for row in rows],
            "held": held[:MAX_DEVICES],
        }

    async def one(self, given: Mapping[str, str]) -> dict[str, Any]:
        """An incident, whole. Raises UnknownName."""
        incident_id = given.get("id", "")
        rows = (await self._stage.view.query(_ONE_SQL, {"id": incident_id})).dicts()
        if not rows:
            raise await unknown(self._stage.view, "incident", incident_id)
        row = rows[0]
        kept = next((one for one in self._stage.model.incidents if one.incident_id == incident_id), None)
        case = await self._case(row)
        return {
            **row,
            "devices": row["devices"][:MAX_DEVICES],
            "device_count": len(row["devices"]),
            "limits": json.loads(row["limits"] or "{}"),
            "confidence": _confidence(kept, case),
            "uptick": max((turn["uptick"] for turn in case.turns), default=1.0),
            "turns": case.turns[-100:],
            "traffic": await self._traffic(row, case),
            "evidence": sorted(
                case.strongest.values(), key=lambda item: (item["weight"] != "security", -abs(item["z"]))
            ),
            "actions": (await self._stage.view.query(_ACTIONS_SQL, {"id": incident_id})).dicts(),
            "quarantined": sorted(set(row["devices"]) & self._stage.model.shut_out())[:MAX_DEVICES],
            "held": [one.device_id for one in self._stage.model.desk.held if one.incident_id == incident_id],
        }

    async def _traffic(self, row: Mapping[str, Any], case: _Case) -> list[dict[str, Any]]:
        """Messages by second from before it began to after its end: of all devices, and of the accused ones."""
        if case.traffic is not None:
            return case.traffic
        now = milliseconds(self._stage.clock.now()) or 0
        end = min(now, (row["closed"] or now) + AFTER_SECONDS * 1000)
        since = row["opened"] - BEFORE_SECONDS * 1000
        if row["closed"] is None:
            since = max(since, end - DRAWN_SECONDS * 1000)
        until = min(end, since + DRAWN_SECONDS * 1000)
        given = {"id": row["incident_id"], "fleet": FLEET, "since": since, "until": until}
        found = (await self._stage.view.query(_TRAFFIC_SQL, given)).dicts()
        if now > end + AFTER_SECONDS * 1000:
            case.traffic = found
        return found

    async def _case(self, row: Mapping[str, Any]) -> _Case:
        incident_id, until = row["incident_id"], row["closed"] or row["updated"] + SECOND
        case = self._cases.pop(incident_id, None) or _Case(row["opened"] - LEAD_SECONDS * 1000)
        given = {"after": case.after, "until": until}
        for verdict in (await self._stage.view.query(_VERDICTS_SQL, given)).dicts():
            if _concerns(row["kind"], verdict["kind"]):
                case.take(verdict)
        self._cases[incident_id] = case
        while len(self._cases) > KEPT_CASES:
            self._cases.popitem(last=False)
        return case


def _concerns(kind: str, verdict: str) -> bool:
    """Upticks and security incidents go on side by side; each has its own verdicts."""
    return verdict != "normal" and (kind == "benign_uptick") == (verdict == "benign_uptick")


def _confidence(kept: Incident | None, case: _Case) -> float | None:
    if kept is not None and kept.verdict.confidence:
        return kept.verdict.confidence
    return max((turn["confidence"] for turn in case.turns), default=None)
