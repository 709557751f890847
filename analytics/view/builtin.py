"""The collections that follow the tables of the architecture."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from contracts.messages import CloudMetric, Json

from .collection import (
    BIGINT,
    BOOLEAN,
    DOUBLE,
    JSON,
    TEXTS,
    TIMESTAMP,
    VARCHAR,
    Collection,
    ColumnType,
    Rollup,
)


def _collection(
    name: str,
    key: Sequence[str],
    columns: Mapping[str, ColumnType],
    defaults: Mapping[str, Json] | None = None,
    **more: Any,
) -> Collection:
    return Collection(name, tuple(key), columns, defaults or {}, **more)


_COUNTS = [field.name for field in fields(CloudMetric) if field.name.startswith(("num_", "message_"))]

GROWING = frozenset({"telemetry", "device_metrics", "verdicts"})
"""A row for every message, every second of a device, or every second judged: what `pipeline.keep_days` bounds.

Incidents, and what people and the model did about them, are the record that is asked for long after: they stay.
"""

COLLECTIONS: dict[str, Collection] = {
    collection.name: collection
    for collection in (
        _collection(
            "telemetry",
            ["device_id", "event_id"],
            {
                "device_id": VARCHAR,
                "event_id": VARCHAR,
                "message_id": VARCHAR,
                "device_type": VARCHAR,
                "topic": VARCHAR,
                "received_at": TIMESTAMP,
                "device_time": TIMESTAMP,
                "payload": JSON,
                "payload_bytes": BIGINT,
            },
            event_time="received_at",
            rollup=Rollup("device_id", size="payload_bytes", fields=("payload_bytes",), distinct="topic"),
        ),
        _collection(
            "devices",
            ["device_id"],
            {
                "device_id": VARCHAR,
                "device_type": VARCHAR,
                "connected": BOOLEAN,
                "session_id": VARCHAR,
                "source_ip": VARCHAR,
                "disconnect_reason": VARCHAR,
                "presence_at": TIMESTAMP,
                "last_seen": TIMESTAMP,
                "firmware": VARCHAR,
                "quarantined": BOOLEAN,
                "quarantine_reason": VARCHAR,
                "quarantine_at": TIMESTAMP,
                "job": JSON,
                "job_at": TIMESTAMP,
            },
        ),
        _collection(
            "device_metrics",
            ["device_id", "period_start"],
            {
                "device_id": VARCHAR,
                "period_start": TIMESTAMP,
                "period_end": TIMESTAMP,
                **dict.fromkeys(_COUNTS, BIGINT),
                "topics": TEXTS,
                "shapes": TEXTS,
                "readings": TEXTS,
            },
            dict.fromkeys(_COUNTS, 0),
            event_time="period_start",
        ),
        _collection(
            "verdicts",
            ["verdict_id"],
            {
                "verdict_id": VARCHAR,
                "window_end": TIMESTAMP,
                "decided_at": TIMESTAMP,
                "kind": VARCHAR,
                "confidence": DOUBLE,
                "uptick": DOUBLE,
                "uptick_since": TIMESTAMP,
                "devices": TEXTS,
                "watched": TEXTS,
                "evidence": JSON,
                "summary": VARCHAR,
            },
            event_time="decided_at",
        ),
        _collection(
            "incidents",
            ["incident_id"],
            {
                "incident_id": VARCHAR,
                "kind": VARCHAR,
                "opened_at": TIMESTAMP,
                "updated_at": TIMESTAMP,
                "closed_at": TIMESTAMP,
                "devices": TEXTS,
                "summary": VARCHAR,
                "actions": JSON,
                "resolution": VARCHAR,
                "resolved_by": VARCHAR,
                "resolved_at": TIMESTAMP,
            },
        ),
        _collection(
            "actions",
            ["action_id"],
            {
                "action_id": VARCHAR,
                "acted_at": TIMESTAMP,
                "who": VARCHAR,
                "action": VARCHAR,
                "target": VARCHAR,
                "why": VARCHAR,
                "outcome": VARCHAR,
                "incident_id": VARCHAR,
                "ends_at": TIMESTAMP,
            },
        ),
        _collection(
            "feedback",
            ["incident_id"],
            {
                "incident_id": VARCHAR,
                "resolution": VARCHAR,
                "who": VARCHAR,
                "given_at": TIMESTAMP,
                "ends_at": TIMESTAMP,
                "span_from": TIMESTAMP,
                "span_until": TIMESTAMP,
                "devices": TEXTS,
                "limits": JSON,
                "taught": JSON,
            },
        ),
        _collection(
            "announcements",
            ["announcement_id"],
            {
                "announcement_id": VARCHAR,
                "what": VARCHAR,
                "who": VARCHAR,
                "told_at": TIMESTAMP,
                "starts_at": TIMESTAMP,
                "ends_at": TIMESTAMP,
                "device_types": TEXTS,
                "devices": TEXTS,
                "rate": DOUBLE,
                "topics": TEXTS,
            },
        ),
        _collection(
            "models",
            ["model_id"],
            {
                "model_id": VARCHAR,
                "learn_from": TIMESTAMP,
                "learn_until": TIMESTAMP,
                "detector": VARCHAR,
            },
        ),
    )
}
