"""What there is to know about a collection: columns, indexes, rows, and the fields that have no column."""

from typing import Any

import duckdb

from contracts.messages import Json

from .collection import Collection
from .fields import ROWS
from .rollups import LEVELS


def describe(cursor: duckdb.DuckDBPyConnection, collection: Collection) -> dict[str, Json]:
    """Everything as plain JSON; `fields` with the share of rows (since they were first counted) that have them."""
    name, at = collection.name, collection.event_time
    ((rows, first, last),) = cursor.execute(
        f"SELECT count(*), epoch_ms(min({at})), epoch_ms(max({at})) FROM {name}"  # noqa: S608 - the names are ours
    ).fetchall()
    decided = _book(
        cursor, "SELECT field, type, seen, share FROM _decisions WHERE collection = ? ORDER BY 1", name
    )
    return {
        "name": name,
        "key": list(collection.key),
        "rows": rows,
        "event_time": {"column": at, "first_ms": first, "last_ms": last},
        "columns": {column: kind.sql for column, kind in collection.columns.items()},
        "indexes": ["_id", *collection.indexes],
        "search": list(collection.search),
        "rollups": [f"{name}_{label}" for _, label in LEVELS] if collection.rollup else [],
        "retention_seconds": collection.retention_seconds,
        "archived_before_ms": _divided(cursor, name),
        "transform": collection.transform,
        "fields": _fields(cursor, name),
        "decisions": decided,
    }


def _divided(cursor: duckdb.DuckDBPyConnection, name: str) -> int | None:
    row = cursor.execute("SELECT epoch_ms(before) FROM _divided WHERE collection = ?", [name]).fetchone()
    return int(row[0]) if row else None


def _fields(cursor: duckdb.DuckDBPyConnection, name: str) -> list[dict[str, Json]]:
    seen = _book(
        cursor, "SELECT field, kind, seen FROM _fields WHERE collection = ? ORDER BY 3 DESC, 1, 2", name
    )
    total = sum(one["seen"] for one in seen if one["field"] == ROWS)
    return [
        {**one, "share": round(min(1.0, one["seen"] / max(total, 1)), 4)}
        for one in seen
        if one["field"] != ROWS
    ]


def _book(cursor: duckdb.DuckDBPyConnection, sql: str, name: str) -> list[dict[str, Any]]:
    answer = cursor.execute(sql, [name])
    names = [str(column[0]) for column in answer.description or ()]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
