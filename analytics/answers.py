"""An answer of the view as bytes: JSON, NDJSON, CSV, or an Arrow stream."""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa
from starlette.responses import Response, StreamingResponse

from contracts.errors import ConfigError
from contracts.ports import Rows

Form = Literal["json", "ndjson", "csv", "arrow"]

MEDIA: Mapping[Form, str] = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "arrow": "application/vnd.apache.arrow.stream",
}
ROWS_AT_ONCE = 1_000


def choose(form: str | None, accept: str) -> Form:
    """By name, else by the first known media type that is accepted, else JSON. Raises ConfigError."""
    for known in MEDIA:
        if form == known:
            return known
    if form:
        raise ConfigError(f"unknown format '{form}'", fix=f"known: {', '.join(MEDIA)}")
    wanted = [one.partition(";")[0].strip().lower() for one in accept.split(",")]
    return next((known for one in wanted for known in MEDIA if MEDIA[known].partition(";")[0] == one), "json")


def answered(rows: Rows, form: Form) -> Response:
    """The response; all but JSON are sent in parts."""
    if form == "json":
        return Response(as_json(rows), media_type=MEDIA["json"])
    return StreamingResponse(_PARTS[form](rows), media_type=MEDIA[form])


def as_json(rows: Rows) -> str:
    """One object: columns, their SQL types, rows, and the engine's milliseconds."""
    told = {
        "columns": rows.columns,
        "types": rows.types,
        "rows": plain(rows.rows),
        "milliseconds": round(rows.milliseconds, 3),
    }
    return json.dumps(told, separators=(",", ":"))


def _some(rows: Rows) -> Iterator[Sequence[tuple[Any, ...]]]:
    for at in range(0, len(rows.rows), ROWS_AT_ONCE):
        yield rows.rows[at : at + ROWS_AT_ONCE]


def _ndjson(rows: Rows) -> Iterator[str]:
    for some in _some(rows):
        yield "".join(
            json.dumps(dict(zip(rows.columns, plain(row), strict=True)), separators=(",", ":")) + "\n"
            for row in some
        )


def _csv(rows: Rows) -> Iterator[str]:
    """As RFC 4180 has it; NULL is empty, what is nested is JSON."""
    yield _lines([rows.columns])
    for some in _some(rows):
        yield _lines([[_cell(plain(value)) for value in row] for row in some])


def _lines(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list | bool) else value


def _arrow(rows: Rows) -> Iterator[bytes]:
    made = [_array([row[at] for row in rows.rows], _kind(rows, at)) for at in range(len(rows.columns))]
    schema = pa.schema([pa.field(name, one.type) for name, one in zip(rows.columns, made, strict=True)])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_table(pa.Table.from_arrays(made, schema=schema), ROWS_AT_ONCE)
    told = memoryview(sink.getvalue())
    for at in range(0, len(told), 1 << 20):
        yield bytes(told[at : at + (1 << 20)])


def _kind(rows: Rows, at: int) -> str:
    return rows.types[at] if rows.types else "VARCHAR"


_ARROW: Mapping[str, pa.DataType] = {
    "BOOLEAN": pa.bool_(), "TINYINT": pa.int8(), "SMALLINT": pa.int16(), "INTEGER": pa.int32(), "BIGINT": pa.int64(),
    "UTINYINT": pa.uint8(), "USMALLINT": pa.uint16(), "UINTEGER": pa.uint32(), "UBIGINT": pa.uint64(), "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(), "HUGEINT": pa.decimal256(39), "BLOB": pa.binary(), "DATE": pa.date32(), "TIME": pa.time64("us"),
    "TIMESTAMP": pa.timestamp("us"), "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", tz="UTC"), "INTERVAL": pa.duration("us"),
    "VARCHAR[]": pa.list_(pa.string()), '"NULL"': pa.null(),
}  # fmt: skip


def _array(values: list[Any], sql_type: str) -> pa.Array:
    """What Arrow has no type for is a text, or JSON if it is nested."""
    kind = _ARROW.get(sql_type)
    if (scaled := re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", sql_type)) is not None:
        kind = pa.decimal128(int(scaled[1]), int(scaled[2]))
    elif sql_type.startswith("TIMESTAMP_"):
        kind = pa.timestamp("us")
    if sql_type == "HUGEINT":
        values = [None if value is None else Decimal(value) for value in values]
    if kind is not None:
        with suppress(pa.ArrowException, TypeError, ValueError, OverflowError):
            return pa.array(values, kind)
    return pa.array([_text(value) for value in values], pa.string())


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(plain(value)) if isinstance(value, dict | list | tuple) else str(value)


def plain(value: Any) -> Any:
    """JSON has no timestamps, no huge integers that all readers agree on, no NaN."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | bool):
        return value
    return next((make(value) for kind, make in _PLAIN if isinstance(value, kind)), str(value))


def _iso(moment: datetime) -> str:
    """ISO 8601 with milliseconds and Z; a naive timestamp of the view is UTC."""
    utc = moment.astimezone(UTC) if moment.tzinfo else moment
    return utc.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


_PLAIN: Sequence[tuple[type[Any], Callable[[Any], Any]]] = (
    (int, lambda value: value if abs(value) < 2**63 else str(value)),
    (float, lambda value: value if math.isfinite(value) else None),
    (Decimal, lambda value: float(value) if value.is_finite() else None),
    (datetime, _iso),
    (date, date.isoformat),
    (time, time.isoformat),
    (timedelta, timedelta.total_seconds),
    (bytes, bytes.hex),
)

_PARTS: Mapping[Form, Callable[[Rows], Iterator[str] | Iterator[bytes]]] = {
    "ndjson": _ndjson,
    "csv": _csv,
    "arrow": _arrow,
}
