"""What the model must not forget over a restart, as rows of the view: learning span, verdicts, open incidents."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from contracts.messages import MILLISECOND, ActionTaken, Incident, Json, Nanoseconds, Verdict
from contracts.ports import View

_LEARNING = """
SELECT epoch_ms(learn_from) AS learn_from, epoch_ms(learn_until) AS learn_until FROM models WHERE model_id = 'current'
"""

_OPEN = """
SELECT incident_id, kind, epoch_ms(opened_at) AS opened_at, epoch_ms(updated_at) AS updated_at, devices, summary, actions
FROM incidents WHERE closed_at IS NULL ORDER BY opened_at LIMIT 100
"""


@dataclass(frozen=True, slots=True)
class Memory:
    """What an earlier process of this view knew: the span it learnt on, and the incidents it had open."""

    learn_from: Nanoseconds
    learn_until: Nanoseconds
    incidents: tuple[Incident, ...]


async def recall(view: View) -> Memory | None:
    """The memory in the view; None if no model ever learnt there."""
    spans = (await view.query(_LEARNING)).dicts()
    if not spans:
        return None
    incidents = tuple(_incident(row) for row in (await view.query(_OPEN)).dicts())
    span = spans[0]
    return Memory(span["learn_from"] * MILLISECOND, span["learn_until"] * MILLISECOND, incidents)


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
        "actions": [{**asdict(action), "at": _ms(action.at)} for action in incident.actions],
    }


def _incident(row: Mapping[str, Any]) -> Incident:
    """Back from its row; of the verdict only what the row keeps."""
    updated_at = row["updated_at"] * MILLISECOND
    devices = tuple(row["devices"] or ())
    actions = tuple(
        ActionTaken(**{**action, "at": action["at"] * MILLISECOND})
        for action in json.loads(row["actions"] or "[]")
    )
    verdict = Verdict(row["kind"], updated_at, updated_at, 0.0, 1.0, devices, summary=row["summary"])
    return Incident(
        row["incident_id"],
        row["kind"],
        row["opened_at"] * MILLISECOND,
        updated_at,
        None,
        devices,
        verdict,
        actions,
    )


def _ms(moment: Nanoseconds | None) -> int | None:
    return None if moment is None else moment // MILLISECOND
