"""What the model must not forget over a restart, as rows of the view.

The learning span, verdicts, incidents, actions (and so who is in quarantine), announcements, feedback.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from contracts.messages import (
    MILLISECOND,
    ActionTaken,
    Evidence,
    Incident,
    Json,
    Nanoseconds,
    Verdict,
)
from contracts.ports import View

from . import announcements, feedback
from .announcements import Announcement
from .feedback import Lesson
from .ward import Stay

_LEARNING = """
SELECT epoch_ms(learn_from) AS learn_from, epoch_ms(learn_until) AS learn_until FROM models WHERE model_id = 'current'
"""

_INCIDENT = """
SELECT incident_id, kind, epoch_ms(opened_at) AS opened_at, epoch_ms(updated_at) AS updated_at,
       epoch_ms(closed_at) AS closed_at, devices, summary, actions, resolution, resolved_by,
       epoch_ms(resolved_at) AS resolved_at
FROM incidents
"""
_OPEN = f"{_INCIDENT} WHERE closed_at IS NULL ORDER BY opened_at LIMIT 100"
_CLOSED = f"{_INCIDENT} WHERE closed_at IS NOT NULL ORDER BY closed_at DESC LIMIT 500"
_ONE = f"{_INCIDENT} WHERE incident_id = $id"

_FEEDBACK = """
SELECT incident_id, resolution, who, epoch_ms(given_at) AS given_at, epoch_ms(ends_at) AS ends_at,
       epoch_ms(span_from) AS span_from, epoch_ms(span_until) AS span_until, devices, limits, taught
FROM feedback ORDER BY given_at DESC LIMIT 1000
"""

_ANNOUNCED = """
SELECT announcement_id, what, who, epoch_ms(told_at) AS told_at, epoch_ms(starts_at) AS starts_at,
       epoch_ms(ends_at) AS ends_at, device_types, devices, rate, topics
FROM announcements ORDER BY told_at DESC LIMIT 1000
"""

_STAYS = """
SELECT target, who, incident_id, epoch_ms(acted_at) AS acted_at, epoch_ms(ends_at) AS ends_at
FROM actions WHERE action = 'quarantine' AND outcome = 'done'
QUALIFY row_number() OVER (PARTITION BY target ORDER BY acted_at DESC) = 1
LIMIT 10000
"""

_TOPICS = """
SELECT device_id, list(DISTINCT topic) AS topics
FROM (SELECT device_id, unnest(topics) AS topic FROM device_metrics
      WHERE device_id IN (SELECT unnest(CAST($devices AS VARCHAR[])))
        AND period_start BETWEEN epoch_ms(CAST($since AS BIGINT)) AND epoch_ms(CAST($until AS BIGINT)))
GROUP BY device_id
"""

_EVIDENCE = """
SELECT evidence FROM verdicts
WHERE window_end BETWEEN epoch_ms(CAST($since AS BIGINT)) AND epoch_ms(CAST($until AS BIGINT)) AND kind <> 'normal'
ORDER BY window_end LIMIT 2000
"""


@dataclass(frozen=True, slots=True)
class Memory:
    """What an earlier process of this view knew.

    The span it learnt on (None if it never learnt), the incidents it had open and the newest closed ones, who was in
    quarantine, what was announced, what analysts decided.
    """

    learnt: tuple[Nanoseconds, Nanoseconds] | None
    open: tuple[Incident, ...]
    closed: tuple[Incident, ...]
    stays: tuple[Stay, ...]
    announcements: tuple[Announcement, ...]
    lessons: tuple[Lesson, ...]


async def recall(view: View) -> Memory:
    """The memory in the view; empty in a new one."""
    spans = (await view.query(_LEARNING)).dicts()
    return Memory(
        (spans[0]["learn_from"] * MILLISECOND, spans[0]["learn_until"] * MILLISECOND) if spans else None,
        tuple(_incident(row) for row in (await view.query(_OPEN)).dicts()),
        tuple(_incident(row) for row in (await view.query(_CLOSED)).dicts())[::-1],
        tuple(_stay(row) for row in (await view.query(_STAYS)).dicts()),
        tuple(announcements.of_row(row) for row in (await view.query(_ANNOUNCED)).dicts())[::-1],
        tuple(feedback.of_row(row) for row in (await view.query(_FEEDBACK)).dicts())[::-1],
    )


async def find_incident(view: View, incident_id: str) -> Incident | None:
    """An incident that is no longer kept in memory."""
    rows = (await view.query(_ONE, {"id": incident_id})).dicts()
    return _incident(rows[0]) if rows else None


async def evidence_of(view: View, start: Nanoseconds, end: Nanoseconds) -> list[Evidence]:
    """What the verdicts of a span rested on."""
    span = {"since": start // MILLISECOND, "until": end // MILLISECOND}
    rows = (await view.query(_EVIDENCE, span)).dicts()
    return [Evidence(**item) for row in rows for item in json.loads(row["evidence"] or "[]")]


async def topics_of(
    view: View, devices: Iterable[str], start: Nanoseconds, end: Nanoseconds
) -> dict[str, list[str]]:
    """The topics that each of these devices used in a span."""
    span = {"since": start // MILLISECOND, "until": end // MILLISECOND}
    rows = (await view.query(_TOPICS, {"devices": sorted(devices), **span})).dicts()
    return {row["device_id"]: list(row["topics"]) for row in rows}


def learning_row(*, learn_from: Nanoseconds, learn_until: Nanoseconds, detector: str) -> dict[str, Json]:
    """The row of `models` for this learning span."""
    return {
        "model_id": "current",
        "learn_from": _ms(learn_from),
        "learn_until": _ms(learn_until),
        "detector": detector,
    }


def verdict_row(verdict: Verdict) -> dict[str, Json]:
    """The row of `verdicts`."""
    return {
        "verdict_id": f"{verdict.at // MILLISECOND:013d}",
        "window_end": _ms(verdict.at),
        "decided_at": _ms(verdict.decided_at),
        "kind": verdict.kind,
        "confidence": verdict.confidence,
        "uptick": verdict.uptick,
        "uptick_since": _ms(verdict.uptick_since),
        "devices": list(verdict.devices),
        "watched": list(verdict.watched),
        "evidence": [asdict(item) for item in verdict.evidence],
        "summary": verdict.summary,
    }


def incident_row(incident: Incident) -> dict[str, Json]:
    """The row of `incidents`."""
    return {
        "incident_id": incident.incident_id,
        "kind": incident.kind,
        "opened_at": _ms(incident.opened_at),
        "updated_at": _ms(incident.updated_at),
        "closed_at": _ms(incident.closed_at),
        "devices": list(incident.devices),
        "summary": incident.verdict.summary,
        "actions": [
            {**asdict(action), "at": _ms(action.at), "until": _ms(action.until)}
            for action in incident.actions
        ],
        "resolution": incident.resolution or None,
        "resolved_by": incident.resolved_by or None,
        "resolved_at": _ms(incident.resolved_at),
    }


def action_row(action: ActionTaken, number: int) -> dict[str, Json]:
    """The row of `actions`; `number` tells those of the same moment apart."""
    return {
        "action_id": f"{action.at // MILLISECOND:013d}-{number:06d}",
        "acted_at": _ms(action.at),
        "who": action.by,
        "action": action.action,
        "target": action.target,
        "why": action.reason,
        "outcome": action.outcome,
        "incident_id": action.incident_id,
        "ends_at": _ms(action.until),
    }


def _stay(row: Mapping[str, Any]) -> Stay:
    until = _ns(row["ends_at"]) if row["who"] != "model" else None
    return Stay(row["target"], row["acted_at"] * MILLISECOND, row["who"], row["incident_id"], until)


def _incident(row: Mapping[str, Any]) -> Incident:
    """Back from its row; of the verdict only what the row keeps."""
    updated_at = row["updated_at"] * MILLISECOND
    devices = tuple(row["devices"] or ())
    actions = tuple(
        ActionTaken(**{**action, "at": action["at"] * MILLISECOND, "until": _ns(action.get("until"))})
        for action in json.loads(row["actions"] or "[]")
    )
    verdict = Verdict(row["kind"], updated_at, updated_at, 0.0, 1.0, devices, summary=row["summary"])
    return Incident(
        row["incident_id"],
        row["kind"],
        row["opened_at"] * MILLISECOND,
        updated_at,
        _ns(row.get("closed_at")),
        devices,
        verdict,
        actions,
        row.get("resolution") or "",
        row.get("resolved_by") or "",
        _ns(row.get("resolved_at")),
    )


def _ns(milliseconds: int | None) -> Nanoseconds | None:
    return None if milliseconds is None else milliseconds * MILLISECOND


def _ms(moment: Nanoseconds | None) -> int | None:
    return None if moment is None else moment // MILLISECOND
