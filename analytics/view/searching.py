"""The search index: which rows have this value at this JSON path, for look-ups that no column's index serves.

An inverted table of (hash of path and value, row, version of the row). New postings are appended to a tail; when the
tail has grown to a part of the whole, all are sorted by hash, so that zone maps find a term in a row group or two. A
posting of a row that changed or went is not looked for and taken out: its version fits no row any more, and sorting
drops it. `COLLECTION_search(path, wanted)` is a table macro over it, for any SELECT.
"""

import json
from collections.abc import Iterable, Iterator, Mapping

import duckdb
import pyarrow as pa

from contracts.messages import Json
from contracts.text import spelt

from .collection import JSON, Collection
from .storage import transaction

MAX_TERMS = 256
"""Terms of one row at most: a hostile document must not fill the index."""

MAX_VALUE = 200
"""Longer values are not searched for: they are prose."""

SORT_AT = 500_000
"""Postings in the tail before it is sorted in: a scan of as many takes some 2 ms."""

_POSTINGS = pa.schema([("term", pa.string()), ("_id", pa.string()), ("version", pa.timestamp("us"))])


def tables(collection: Collection) -> tuple[str, str]:
    """The sorted postings and the tail."""
    return f"_terms_{collection.name}", f"_tail_{collection.name}"


def create_sql(collection: Collection) -> list[str]:
    """Statements for the postings and the macro."""
    if not collection.search:
        return []
    name = collection.name
    wanted = "md5_number_lower(path || '=' || lower(wanted))"
    found = " UNION ALL ".join(
        f"SELECT _id, version FROM {table} WHERE term = {wanted}"  # noqa: S608 - the names are ours
        for table in tables(collection)
    )
    rows = f"SELECT * FROM {name} WHERE (_id, _ingest_time) IN ({found})"  # noqa: S608 - likewise
    return [
        *(
            f"CREATE TABLE IF NOT EXISTS {table} (term UBIGINT, _id VARCHAR, version TIMESTAMP)"
            for table in tables(collection)
        ),
        f"CREATE OR REPLACE MACRO {name}_search(path, wanted) AS TABLE {rows}",
    ]


def add(
    writer: duckdb.DuckDBPyConnection,
    collection: Collection,
    items: Mapping[str, Mapping[str, Json]],
    at: object,
) -> None:
    """Add the postings of these items by row id, within the writer's transaction."""
    if not collection.search:
        return
    postings = [
        {"term": term, "_id": identity, "version": at}
        for identity, item in items.items()
        for term in _terms(collection, item)
    ]
    if not postings:
        return
    writer.register("_postings", pa.Table.from_pylist(postings, schema=_POSTINGS))
    writer.execute(
        f"INSERT INTO _tail_{collection.name} "  # noqa: S608 - the name is ours
        "SELECT md5_number_lower(term), _id, version FROM _postings"
    )
    writer.unregister("_postings")


def sort(writer: duckdb.DuckDBPyConnection, collection: Collection, *, now: bool = False) -> bool:
    """Sort the tail in once it is long, and a quarter of what is sorted: so each posting is sorted some four times."""
    if not collection.search:
        return False
    name = collection.name
    rows = writer.execute(
        f"SELECT (SELECT count(*) FROM _tail_{name}), (SELECT count(*) FROM _terms_{name})"  # noqa: S608 - the name is ours
    ).fetchone()
    tail, whole = rows or (0, 0)
    if not tail or (not now and (tail < SORT_AT or tail * 4 < whole)):
        return False
    every = f"SELECT * FROM _terms_{name} UNION ALL SELECT * FROM _tail_{name}"  # noqa: S608 - likewise
    with transaction(writer):
        writer.execute(
            f"CREATE TABLE _sorted_{name} AS SELECT p.* FROM ({every}) p "  # noqa: S608 - likewise
            f"JOIN {name} c ON c._id = p._id AND c._ingest_time = p.version ORDER BY term"
        )
        for statement in (
            f"DROP TABLE _terms_{name}",
            f"ALTER TABLE _sorted_{name} RENAME TO _terms_{name}",
            f"DELETE FROM _tail_{name}",  # noqa: S608 - likewise
        ):
            writer.execute(statement)
    return True


def _terms(collection: Collection, item: Mapping[str, Json]) -> Iterable[str]:
    """Distinct `path=value`, values in small letters, of the paths that the collection is searched by."""
    whole = "*" in collection.search
    found: dict[str, None] = {}
    for name, value in item.items():
        if not whole and not any(path.split(".")[0] == name for path in collection.search):
            continue
        for path, leaf in _leaves(name, _parsed(collection, name, value)):
            if (whole or path in collection.search) and len(text := _text(leaf)) <= MAX_VALUE:
                found[spelt(f"{path}={text}")] = None
            if len(found) >= MAX_TERMS:
                return found
    return found


def _parsed(collection: Collection, name: str, value: Json) -> Json:
    """A JSON column may hold JSON text."""
    if collection.columns.get(name) is not JSON or not isinstance(value, str):
        return value
    try:
        parsed: Json = json.loads(value)
    except ValueError:
        return value
    return parsed


def _leaves(path: str, value: Json) -> Iterator[tuple[str, Json]]:
    """Scalars below a value; the elements of a list have the list's path."""
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _leaves(f"{path}.{name}", below)
    elif isinstance(value, list | tuple):
        for below in value:
            yield from _leaves(path, below)
    elif value is not None:
        yield path, value


def _text(leaf: Json) -> str:
    return (leaf if isinstance(leaf, str) else json.dumps(leaf)).lower()
