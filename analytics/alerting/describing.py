"""An alert as one JSON object, for programs and for the templates; bounded, however large the incident is."""

import math
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from contracts.messages import SECOND, Alert, Evidence, Incident, Nanoseconds

MAX_DEVICES = 100
MAX_EVIDENCE = 20
"""With 100 ids of 128 bytes and 20 pieces of evidence an alert has some 20 KB: SNS takes 256, a chat less."""

SCHEMA = 1
"""Grows when a field changes its meaning; new fields do not make it grow."""


def describe(alert: Alert) -> dict[str, Any]:
    """The fields of docs/alerts.md. Times are ISO 8601 in UTC."""
    incident = alert.incident
    return {
        "schema": SCHEMA,
        "alert_id": alert.alert_id,
        "happened": alert.happened,
        "test": alert.test,
        "link": alert.link,
        "incident_id": incident.incident_id,
        "kind": incident.kind,
        "opened_at": iso(incident.opened_at),
        "updated_at": iso(incident.updated_at),
        "closed_at": iso(incident.closed_at) if incident.closed_at is not None else None,
        "device_count": len(incident.devices),
        "devices": list(incident.devices[:MAX_DEVICES]),
        "confidence": incident.verdict.confidence,
        "summary": incident.verdict.summary,
        "evidence": [describe_evidence(item) for item in incident.verdict.evidence[:MAX_EVIDENCE]],
        "done": done(incident),
        "resolution": incident.resolution or None,
    }


def describe_evidence(item: Evidence) -> dict[str, Any]:
    """One piece of evidence; a number that JSON does not have is null."""
    return {name: _finite(value) for name, value in asdict(item).items()}


def headline(alert: Alert) -> str:
    """One line: what it is about and what became of it."""
    incident = alert.incident
    count = len(incident.devices)
    who = f"{count} device{'s' if count != 1 else ''}" if count else "no device named"
    what = {"attack": "attack", "undecided": "possible attack"}.get(incident.kind, incident.kind)
    became = f"over, resolved as {_words(incident.resolution)}" if incident.resolution else "over"
    happened = {"opened": "opened", "worsened": "worse", "closed": became}[alert.happened]
    return f"{'TEST: ' if alert.test else ''}{what}, {who}: {happened}"


def done(incident: Incident) -> dict[str, int]:
    """How many devices were quarantined, held for a person, and released."""
    counts: Counter[str] = Counter(quarantined=0, held=0, released=0)
    for action in incident.actions:
        if action.action == "quarantine":
            counts["quarantined"] += action.outcome == "done"
            counts["held"] += action.outcome.startswith("held")
        elif action.action == "release":
            counts["released"] += action.outcome == "done"
    return dict(counts)


def iso(moment: Nanoseconds) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(moment / SECOND, tz=UTC).isoformat(timespec="milliseconds")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _words(name: str) -> str:
    return name.replace("_", " ")
