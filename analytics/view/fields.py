"""Fields that no column holds: how often they come and with which kinds of values, and when one becomes a column.

The counts are statistics: they are written with a batch about once a second, and a killed process forgets the last.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

import duckdb

from contracts.messages import Json

from .collection import BIGINT, BOOLEAN, DOUBLE, NAME, VARCHAR, Collection, ColumnType

SEEN_AT_LEAST = 1_000
"""A field becomes a column when it came so often, ..."""

SHARE_AT_LEAST = 0.2
"""... in at least this share of the rows since then, and always with values of one kind."""

MAX_COLUMNS = 100
"""Columns of a collection at most; what comes after that stays in `extra`."""

MAX_FIELDS = 1_000
"""Fields counted in a collection at most: names that are data (ids as keys) must not fill the memory."""

ROWS = ""
"""The field under which the rows themselves are counted."""

Tally: TypeAlias = Counter[tuple[str, str, str]]
"""How often, by collection, field and kind of value."""

_COLUMNS: dict[str, ColumnType] = {"string": VARCHAR, "integer": BIGINT, "number": DOUBLE, "boolean": BOOLEAN}


@dataclass(frozen=True, slots=True)
class Decision:
    """A field that becomes a column."""

    collection: str
    field: str
    type: ColumnType
    seen: int
    share: float


def tally(collection: Collection, items: Iterable[Mapping[str, Json]]) -> Tally:
    """Count the fields of items that have no column."""
    counts: Tally = Counter()
    rows = 0
    columns = collection.columns
    for item in items:
        rows += 1
        for name, value in item.items():
            if name not in columns and name != "_id" and value is not None:
                counts[collection.name, name, kind_of(value)] += 1
    if counts:
        counts[collection.name, ROWS, "row"] += rows
    return counts


def kind_of(value: Json) -> str:
    """JSON's word for it; `integer` only if a BIGINT holds it."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer" if abs(value) < 2**63 else "huge"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, Mapping) else "array"


def write(writer: duckdb.DuckDBPyConnection, counts: Tally) -> None:
    """Add the counts to the book; of fields beyond MAX_FIELDS nothing is kept."""
    for (collection, field, kind), seen in counts.items():
        writer.execute(
            "INSERT INTO _fields SELECT $c, $f, $k, $n WHERE EXISTS (FROM _fields WHERE collection = $c AND field = $f) "
            "OR (SELECT count(*) FROM _fields WHERE collection = $c) < $most "
            "ON CONFLICT DO UPDATE SET seen = seen + excluded.seen",
            {"c": collection, "f": field, "k": kind, "n": seen, "most": MAX_FIELDS},
        )


def due(writer: duckdb.DuckDBPyConnection, collection: Collection) -> list[Decision]:
    """The fields of a collection that are frequent and of one kind."""
    rows = writer.execute(
        "SELECT field, list(kind), sum(seen)::BIGINT FROM _fields WHERE collection = ? GROUP BY field",
        [collection.name],
    ).fetchall()
    total = next((seen for field, _, seen in rows if field == ROWS), 0)
    return [
        Decision(collection.name, field, kind, seen, min(1.0, seen / total))
        for field, kinds, seen in rows
        if seen >= SEEN_AT_LEAST and seen >= SHARE_AT_LEAST * total
        for kind in [_column(field, set(kinds), collection)]
        if kind is not None
    ][: max(0, MAX_COLUMNS - len(collection.columns))]


def promote(writer: duckdb.DuckDBPyConnection, collection: Collection, decision: Decision) -> None:
    """Make the column and move what rows have of the field into it, in one transaction with the decision."""
    name, field, sql = collection.name, decision.field, decision.type.sql
    at = datetime.now(tz=UTC).replace(tzinfo=None)
    writer.execute("BEGIN TRANSACTION")
    try:
        writer.execute(f'ALTER TABLE {name} ADD COLUMN IF NOT EXISTS "{field}" {sql}')
        value = f"extra->>'$.\"{field}\"'"
        writer.execute(
            f'UPDATE {name} SET "{field}" = TRY_CAST({value} AS {sql}), '  # noqa: S608 - names are checked
            f"extra = json_merge_patch(extra, '{{\"{field}\": null}}') "
            f"WHERE {value} IS NOT NULL AND TRY_CAST({value} AS {sql}) IS NOT NULL"
        )
        writer.execute("DELETE FROM _fields WHERE collection = ? AND field = ?", [name, field])
        writer.execute(
            "INSERT INTO _decisions VALUES (?, ?, ?, ?, ?, ?)",
            [name, field, sql, decision.seen, decision.share, at],
        )
        writer.execute("COMMIT")
    except BaseException:
        writer.execute("ROLLBACK")
        raise


def _column(field: str, kinds: set[str], collection: Collection) -> ColumnType | None:
    """The type for a field of these kinds; None if it cannot be, or should not be, a column."""
    if not NAME.fullmatch(field) or field in {"extra", *collection.columns}:
        return None
    if kinds == {"integer", "number"}:
        return DOUBLE
    return _COLUMNS.get(next(iter(kinds))) if len(kinds) == 1 else None
