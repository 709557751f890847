"""What a collection looks like: typed hot columns, everything else in `extra`.

A value that does not fit its column never fails an ingest: the column is NULL and the value goes to `extra`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, TypeAlias

import pyarrow as pa

from contracts.messages import CloudMetric, Json

Fit: TypeAlias = Callable[[Json], Any]
"""Makes the column's value of an attribute. Raises ValueError or TypeError if it does not fit."""

BIGINT_MAX = 2**63 - 1


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _integer(value: Json) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise ValueError("not an integer")
    if abs(value) > BIGINT_MAX:
        raise ValueError("too large for a BIGINT")
    return int(value)


def _double(value: Json) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    return float(value)


def _boolean(value: Json) -> bool:
    if not isinstance(value, bool):
        raise TypeError("not a boolean")
    return value


def _moment(value: Json) -> datetime:
    """Milliseconds since the epoch to a naive UTC timestamp."""
    try:
        return datetime.fromtimestamp(_integer(value) / 1000, tz=UTC).replace(tzinfo=None)
    except (OverflowError, OSError) as error:
        raise ValueError("no moment") from error


def _texts(value: Json) -> list[str]:
    if not isinstance(value, list | tuple):
        raise TypeError("not a list")
    return [_text(item) for item in value]


def _json(value: Json) -> str:
    """JSON text: as it is if it is a string holding JSON, else encoded."""
    if isinstance(value, str):
        json.loads(value)
        return value
    return json.dumps(value, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A DuckDB type, the Arrow type that carries it, and what fits it."""

    sql: str
    arrow: pa.DataType
    fit: Fit


VARCHAR = ColumnType("VARCHAR", pa.string(), _text)
BIGINT = ColumnType("BIGINT", pa.int64(), _integer)
DOUBLE = ColumnType("DOUBLE", pa.float64(), _double)
BOOLEAN = ColumnType("BOOLEAN", pa.bool_(), _boolean)
TIMESTAMP = ColumnType("TIMESTAMP", pa.timestamp("us"), _moment)
TEXTS = ColumnType("VARCHAR[]", pa.list_(pa.string()), _texts)
JSON = ColumnType("JSON", pa.string(), _json)


@dataclass(frozen=True, slots=True)
class Collection:
    """An indexed table: its name, its key attributes, its columns by name, and values for absent attributes."""

    name: str
    key: tuple[str, ...]
    columns: Mapping[str, ColumnType]
    defaults: Mapping[str, Json]

    def create_sql(self) -> str:
        columns = ", ".join(f"{name} {kind.sql}" for name, kind in self.columns.items())
        return (
            f"CREATE TABLE IF NOT EXISTS {self.name} "
            f"(_id VARCHAR PRIMARY KEY, {columns}, extra JSON, _seq HUGEINT, _ingest_time TIMESTAMP)"
        )

    def widen_sql(self) -> list[str]:
        """Statements that give a table of an earlier version the columns that came since."""
        return [
            f"ALTER TABLE {self.name} ADD COLUMN IF NOT EXISTS {name} {kind.sql}"
            for name, kind in self.columns.items()
        ]

    def keys_sql(self) -> str:
        """A statement for the keys of all rows, moments in milliseconds as the table has them."""
        columns = (f"epoch_ms({name})" if self.columns[name] is TIMESTAMP else name for name in self.key)
        return f"SELECT {', '.join(columns)} FROM {self.name}"  # noqa: S608 - the names are ours

    def schema(self) -> pa.Schema:
        own = [(name, kind.arrow) for name, kind in self.columns.items()]
        tail = [("extra", pa.string()), ("_seq", pa.string()), ("_ingest_time", pa.timestamp("us"))]
        return pa.schema([("_id", pa.string()), *own, *tail])

    def identity(self, key: Mapping[str, Json]) -> str:
        """The row's `_id`: the key's values joined by '/'."""
        return "/".join(str(key[name]) for name in self.key)

    def row(self, item: Mapping[str, Json], *, identity: str, sequence: int, at: datetime) -> dict[str, Any]:
        """The row of an item; what fits no column is kept in `extra`."""
        extra = {name: value for name, value in item.items() if name not in self.columns}
        row: dict[str, Any] = {"_id": identity, "_seq": str(sequence), "_ingest_time": at}
        for name, kind in self.columns.items():
            value = item.get(name)
            row[name] = self.defaults.get(name)
            if value is None:
                continue
            try:
                row[name] = kind.fit(value)
            except (ValueError, TypeError, OverflowError):
                extra[name] = value
        row["extra"] = _dump(extra) if extra else None
        return row


def _dump(extra: Mapping[str, Json]) -> str:
    """JSON text; JSON knows no NaN and no infinity, so a value that holds one is kept as text."""
    try:
        return json.dumps(extra, default=str, allow_nan=False)
    except ValueError:
        return json.dumps({name: str(value) for name, value in extra.items()})


def _collection(
    name: str,
    key: Sequence[str],
    columns: Mapping[str, ColumnType],
    defaults: Mapping[str, Json] | None = None,
) -> Collection:
    return Collection(name, tuple(key), columns, defaults or {})


_COUNTS = [field.name for field in fields(CloudMetric) if field.name.startswith(("num_", "message_"))]

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
