"""Fields that no column holds: how often they come and with which kinds of values, and when one becomes a column.

The counts are statistics: they are written with a batch about once a second, and a killed process forgets the last.
"""

from collections import Counter
from collections.abc import Collection as Sized
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from random import randrange
from typing import TypeAlias

import duckdb
import pyarrow as pa

from contracts.messages import Json
from contracts.text import spelt

from .collection import BIGINT, BOOLEAN, DOUBLE, NAME, TAKEN, VARCHAR, Collection, ColumnType
from .storage import transaction

SEEN_AT_LEAST = 1_000
"""A field becomes a column when it came so often, ..."""

SHARE_AT_LEAST = 0.2
"""... in at least this share of the rows since then, and always with values of one kind."""

MAX_COLUMNS = 100
"""Columns of a collection at most; what comes after that stays in `extra`."""

MAX_FIELDS = 1_000
"""Fields counted in a collection at most: names that are data (ids as keys) must not fill the memory."""

SAMPLE = 200
"""Items of a batch that are looked at, and stand for all: to look at each costs as much as to store it."""

ROWS = ""
"""The field under which the rows themselves are counted."""

Tally: TypeAlias = Counter[tuple[str, str, str]]
"""How often, by collection, field and kind of value."""

_KINDS: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}
_COLUMNS: dict[str, ColumnType] = {"string": VARCHAR, "integer": BIGINT, "number": DOUBLE, "boolean": BOOLEAN}


@dataclass(frozen=True, slots=True)
class Decision:
    """A field that becomes a column."""

    collection: str
    field: str
    type: ColumnType
    seen: int
    share: float


def tally(collection: Collection, items: Sized[Mapping[str, Json]]) -> Tally:
    """Count the fields of items that have no column; of a large batch by a sample, each counted for those beside it."""
    stride = max(1, len(items) // SAMPLE)
    sample = islice(items, randrange(stride), None, stride)  # noqa: S311 - at random, so that no pattern of a sender hides a field
    seen = Counter(
        (name, kind_of(value)) for item in sample for name, value in item.items() if value is not None
    )
    counts: Tally = Counter(
        {
            (collection.name, spelt(name), kind): count * stride
            for (name, kind), count in seen.items()
            if name not in collection.columns and name != "_id"
        }
    )
    if counts:
        counts[collection.name, ROWS, "row"] += len(items)
    return counts


def kind_of(value: Json) -> str:
    """JSON's word for it; `integer` only if a BIGINT holds it."""
    kind = _KINDS.get(type(value))
    if kind is None:
        return "object" if isinstance(value, Mapping) else "array"
    return "huge" if kind == "integer" and abs(value) >= 2**63 else kind


def write(writer: duckdb.DuckDBPyConnection, counts: Tally) -> None:
    """Add the counts to the book; of fields beyond MAX_FIELDS nothing is kept."""
    if not counts:
        return
    parts: tuple[Sequence[str], ...] = tuple(zip(*counts, strict=True))
    columns = [*parts, list(counts.values())]
    writer.register("_counts", pa.table(columns, names=["collection", "field", "kind", "seen"]))
    writer.execute(
        "INSERT INTO _fields SELECT collection, field, kind, seen FROM _counts "
        "LEFT JOIN (SELECT DISTINCT collection, field, TRUE AS known FROM _fields) USING (collection, field) "
        "LEFT JOIN (SELECT collection, count(DISTINCT field) AS fields FROM _fields GROUP BY 1) USING (collection) "
        "QUALIFY known OR coalesce(fields, 0) + dense_rank() OVER (PARTITION BY collection, known ORDER BY field) <= $most "
        "ON CONFLICT DO UPDATE SET seen = seen + excluded.seen",
        {"most": MAX_FIELDS},
    )
    writer.unregister("_counts")


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
    with transaction(writer):
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


def _column(field: str, kinds: set[str], collection: Collection) -> ColumnType | None:
    """The type for a field of these kinds; None if it cannot be, or should not be, a column."""
    if not NAME.fullmatch(field) or field in {*TAKEN, *collection.columns}:
        return None
    if kinds == {"integer", "number"}:
        return DOUBLE
    return _COLUMNS.get(next(iter(kinds))) if len(kinds) == 1 else None
