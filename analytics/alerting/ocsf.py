"""An alert as an OCSF Detection Finding, the record format that a SIEM reads.

Source: Open Cybersecurity Schema Framework 1.8.0 (16 March 2026), class `detection_finding` (2004) of category
`findings` (2), with the profile `incident` for the verdict of an analyst.
"""

from typing import Any

from contracts.messages import MILLISECOND, Alert, Evidence, Incident, Nanoseconds

from .describing import MAX_DEVICES, MAX_EVIDENCE, describe_evidence, done, headline

VERSION = "1.8.0"
CLASS_UID, CATEGORY_UID = 2004, 2

_ACTIVITIES = {"opened": (1, "Create"), "worsened": (2, "Update"), "closed": (3, "Close")}
_SEVERITIES = {"attack": (4, "High"), "undecided": (3, "Medium")}
_TEST = (1, "Informational")
_STATUSES = {"opened": (1, "New"), "worsened": (2, "In Progress"), "closed": (4, "Resolved")}
_SUPPRESSED = (3, "Suppressed")
_VERDICTS = {
    "true_positive": (2, "True Positive"),
    "false_positive": (1, "False Positive"),
    "benign_positive": (5, "Benign"),
}
_IOT = (7, "IOT")
_DEVICE_UID = 47
"""The observable type "Device Object: uid"."""

_ACTOR = (2, "Actor")
_LEARNING = (4, "Learning (ML/DL)")


def finding(alert: Alert, *, product_version: str) -> dict[str, Any]:
    """The record. Every field that the schema requires is there; times are milliseconds since the epoch."""
    incident = alert.incident
    activity_id, activity = _ACTIVITIES[alert.happened]
    severity_id, severity = _TEST if alert.test else _SEVERITIES.get(incident.kind, _TEST)
    status_id, status = _status(alert)
    return {
        "activity_id": activity_id,
        "activity_name": activity,
        "category_uid": CATEGORY_UID,
        "category_name": "Findings",
        "class_uid": CLASS_UID,
        "class_name": "Detection Finding",
        "type_uid": CLASS_UID * 100 + activity_id,
        "type_name": f"Detection Finding: {activity}",
        "time": _ms(alert.at),
        "start_time": _ms(incident.opened_at),
        "end_time": _ms(incident.closed_at or incident.updated_at),
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status_id,
        "status": status,
        **_confidence(incident),
        "is_alert": alert.happened != "closed",
        "message": f"{headline(alert)}. {incident.verdict.summary}".strip(),
        "metadata": _metadata(alert, product_version),
        "finding_info": _finding_info(alert),
        "resources": [_resource(device) for device in incident.devices[:MAX_DEVICES]],
        "evidences": [_evidence(item) for item in incident.verdict.evidence[:MAX_EVIDENCE]],
        "observables": _observables(incident),
        **_analyst(alert),
        "unmapped": {"device_count": len(incident.devices), **done(incident)},
    }


def _metadata(alert: Alert, version: str) -> dict[str, Any]:
    return {
        "version": VERSION,
        "uid": alert.alert_id,
        "correlation_uid": alert.incident.incident_id,
        "log_name": "alerts",
        "original_time": str(alert.incident.verdict.at // MILLISECOND),
        "profiles": ["incident"],
        "product": {"name": "thingstorm", "vendor_name": "thingstorm", "version": version},
    }


def _finding_info(alert: Alert) -> dict[str, Any]:
    incident = alert.incident
    told = {
        "uid": incident.incident_id,
        "title": headline(alert),
        "desc": incident.verdict.summary,
        "types": [incident.kind],
        "created_time": _ms(incident.opened_at),
        "modified_time": _ms(alert.at),
        "first_seen_time": _ms(incident.opened_at),
        "last_seen_time": _ms(incident.updated_at),
        "analytic": {
            "name": "thingstorm verdict",
            "uid": "thingstorm.verdict",
            "type_id": _LEARNING[0],
            "type": _LEARNING[1],
        },
    }
    return {**told, "src_url": alert.link} if alert.link else told


def _status(alert: Alert) -> tuple[int, str]:
    if alert.happened == "closed" and alert.incident.resolution in ("false_positive", "benign_positive"):
        return _SUPPRESSED
    return _STATUSES[alert.happened]


def _analyst(alert: Alert) -> dict[str, Any]:
    """What the profile `incident` adds: the incident's page, and what a person made of it."""
    told: dict[str, Any] = {"src_url": alert.link} if alert.link else {}
    if alert.test:
        return {**told, "verdict_id": 6, "verdict": "Test"}
    found = _VERDICTS.get(alert.incident.resolution)
    return {**told, "verdict_id": found[0], "verdict": found[1]} if found else told


def _confidence(incident: Incident) -> dict[str, Any]:
    score = round(100 * incident.verdict.confidence)
    level = (3, "High") if score >= 80 else (2, "Medium") if score >= 50 else (1, "Low")
    return {"confidence_id": level[0], "confidence": level[1], "confidence_score": score}


def _resource(device_id: str) -> dict[str, Any]:
    return {
        "uid": device_id,
        "name": device_id,
        "type": "IoT device",
        "role_id": _ACTOR[0],
        "role": _ACTOR[1],
    }


def _evidence(item: Evidence) -> dict[str, Any]:
    return {
        "name": item.feature,
        "device": {"uid": item.device_id, "name": item.device_id, "type_id": _IOT[0], "type": _IOT[1]},
        "data": {name: value for name, value in describe_evidence(item).items() if name != "device_id"},
    }


def _observables(incident: Incident) -> list[dict[str, Any]]:
    """The devices of the evidence first, in its order: by them an analyst finds other events."""
    evidence = incident.verdict.evidence[:MAX_EVIDENCE]
    devices = dict.fromkeys(item.device_id for item in evidence)
    return [
        {
            "name": "evidences[].device.uid",
            "type_id": _DEVICE_UID,
            "type": "Device Object: uid",
            "value": device,
        }
        for device in devices
    ]


def _ms(moment: Nanoseconds) -> int:
    return moment // MILLISECOND
