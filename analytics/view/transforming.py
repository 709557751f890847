"""The ingest transformation of a collection: a SELECT over the relation `batch`, run on every batch before it is stored.

`batch` has `_id VARCHAR` and `document JSON`; the answer has `_id` and the fields to store. A row that the SELECT leaves
out is not stored. A row that makes it fail is stored as it came, with the reason in `_transform_error`: nothing is lost.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa

from contracts.errors import ConfigError
from contracts.messages import Json

from .collection import Collection
from .reading import gate
from .storage import first_line

_BATCH = pa.schema([("_id", pa.string()), ("document", pa.string())])

Items = Mapping[str, Mapping[str, Json]]
"""Items by row id."""


def check(connection: duckdb.DuckDBPyConnection, collection: Collection) -> None:
    """Raises ConfigError: no SELECT, or not over `batch`, or without `_id`."""
    if not collection.transform:
        return
    cursor = connection.cursor()
    try:
        gate(cursor, collection.transform)
        columns = _run(cursor, collection.transform, {})[0]
    except duckdb.Error as error:
        raise ConfigError(
            f"the transformation of {collection.name}: {first_line(error)}",
            fix="write a SELECT of _id and fields FROM batch (_id VARCHAR, document JSON)",
        ) from None
    finally:
        cursor.close()
    if "_id" not in columns:
        raise ConfigError(
            f"the transformation of {collection.name} gives no _id", fix="SELECT _id, ... FROM batch"
        )


def transform(connection: duckdb.DuckDBPyConnection, collection: Collection, items: Items) -> Items:
    """The items to store. Never raises for what an item holds."""
    if not collection.transform or not items:
        return items
    cursor = connection.cursor()
    try:
        return _items(cursor, collection.transform, items)
    except duckdb.Error:
        return _one_by_one(cursor, collection.transform, items)
    finally:
        cursor.close()


def _one_by_one(cursor: duckdb.DuckDBPyConnection, sql: str, items: Items) -> Items:
    """Slow, for the batch with a row that fails."""
    done: dict[str, Mapping[str, Json]] = {}
    for identity, item in items.items():
        try:
            done |= _items(cursor, sql, {identity: item})
        except duckdb.Error as error:
            done[identity] = {**item, "_transform_error": first_line(error)}
    return done


def _items(cursor: duckdb.DuckDBPyConnection, sql: str, items: Items) -> dict[str, Mapping[str, Json]]:
    columns, rows = _run(cursor, sql, items)
    made: dict[str, Mapping[str, Json]] = {}
    for row in rows:
        item = {name: _json(value) for name, value in zip(columns, row, strict=True) if value is not None}
        identity = str(item.pop("_id", ""))
        if identity in items:
            made[identity] = item
    return made


def _run(
    cursor: duckdb.DuckDBPyConnection, sql: str, items: Items
) -> tuple[list[str], list[tuple[Any, ...]]]:
    rows = [{"_id": i, "document": json.dumps(item, default=str)} for i, item in items.items()]
    cursor.execute("BEGIN TRANSACTION READ ONLY")
    try:
        cursor.register("_raw", pa.Table.from_pylist(rows, schema=_BATCH))
        answer = cursor.execute(
            f"WITH batch AS (SELECT _id, CAST(document AS JSON) AS document FROM _raw) FROM ({sql})"  # noqa: S608 - one SELECT, by the gate
        )
        names, found = [str(column[0]) for column in answer.description or ()], answer.fetchall()
    finally:
        cursor.execute("ROLLBACK")
        cursor.unregister("_raw")
    return names, found


def _json(value: Any) -> Json:
    """A value of an answer as a document has it: moments in milliseconds."""
    if isinstance(value, datetime):
        return round((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * 1000)
    if isinstance(value, bool | int | float | str | list | dict):
        plain: Json = value
        return plain
    return str(value)
