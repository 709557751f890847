"""Rollups: what was seen per device in a second, ten seconds, a minute, kept at ingestion.

A batch touches some buckets; those are counted again from what the collection then holds, the coarser ones from the
finer. So a replay changes nothing, late data lands where it belongs, and a changed or deleted row is taken out again.
A batch that changes or removes rows counts in its own transaction; one of new rows only may wait a second for others,
because what is left uncounted by a kill can be told by its ingest time, and is counted when the file is opened.

Distinct values are a sketch of the K smallest hashes, which can be merged: exact up to K, beyond it estimated with a
relative standard error of 1/sqrt(K - 2), 13 % for K = 64 (Bar-Yossef et al. 2002; Beyer et al. 2007).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from .collection import Collection, Rollup

LEVELS = ((1, "1s"), (10, "10s"), (60, "1m"))
"""Seconds of a bucket, and the end of the name of the view over it."""

K = 64
"""Hashes of a sketch: 512 bytes a bucket at most."""

_RANGE = 2.0**64
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the view's timestamps are naive UTC
_TOUCHED = pa.schema([("owner", pa.string()), ("bucket", pa.timestamp("us"))])

Touched = set[tuple[str, datetime]]
"""Values of `by` and starts of one-second buckets."""


def create_sql(collection: Collection) -> list[str]:
    """Statements for the rollup's tables, and the views over them that people ask."""
    rollup = collection.rollup
    if rollup is None:
        return []
    parts = "".join(
        f", {_column(f)}_min DOUBLE, {_column(f)}_max DOUBLE, {_column(f)}_sum DOUBLE, {_column(f)}_values BIGINT"
        for f in rollup.fields
    )
    statements = []
    for _, label in LEVELS:
        table = f"_rollup_{collection.name}_{label}"
        statements += [
            (
                f'CREATE TABLE IF NOT EXISTS {table} (bucket TIMESTAMP, "{rollup.by}" VARCHAR, messages BIGINT, '
                f"bytes BIGINT, sketch UBIGINT[]{parts})"
            ),
            f"CREATE VIEW IF NOT EXISTS {collection.name}_{label} AS {_shown(rollup, table)}",
        ]
    return statements


def touched(collection: Collection, columns: Mapping[str, Sequence[Any]]) -> Touched:
    """The buckets that rows belong to; a row without a `by` or an event time belongs to none."""
    rollup = collection.rollup
    if rollup is None:
        return set()
    places = zip(columns[rollup.by], columns[collection.event_time], strict=True)
    return {(str(by), at.replace(microsecond=0)) for by, at in places if by is not None and at is not None}


def touched_of(writer: duckdb.DuckDBPyConnection, collection: Collection, places: Sequence[int]) -> Touched:
    """The buckets of stored rows, by their `rowid`."""
    rollup = collection.rollup
    if rollup is None:
        return set()
    rows = writer.execute(
        f"SELECT CAST(\"{rollup.by}\" AS VARCHAR), date_trunc('second', {collection.event_time}) "  # noqa: S608 - the names are ours
        f"FROM {collection.name} WHERE rowid IN (SELECT unnest(?::BIGINT[])) "
        f'AND "{rollup.by}" IS NOT NULL AND {collection.event_time} IS NOT NULL',
        [places],
    ).fetchall()
    return {(by, at) for by, at in rows}


def last_moment(connection: duckdb.DuckDBPyConnection) -> datetime:
    """The latest ingest time up to which anything was counted."""
    row = connection.execute("SELECT max(upto) FROM _rolled").fetchone()
    return row[0] if row and row[0] else _EPOCH


def uncounted(connection: duckdb.DuckDBPyConnection, collection: Collection) -> Touched:
    """The buckets of rows that came after the last counting."""
    rollup = collection.rollup
    if rollup is None:
        return set()
    rows = connection.execute(
        f"SELECT DISTINCT CAST(\"{rollup.by}\" AS VARCHAR), date_trunc('second', {collection.event_time}) "  # noqa: S608 - the names are ours
        f'FROM {collection.name} WHERE "{rollup.by}" IS NOT NULL AND {collection.event_time} IS NOT NULL '
        "AND _ingest_time > coalesce((SELECT upto FROM _rolled WHERE collection = ?), TIMESTAMP '1970-01-01')",
        [collection.name],
    ).fetchall()
    return set(rows)


def recount(
    writer: duckdb.DuckDBPyConnection, collection: Collection, buckets: Touched, *, upto: datetime
) -> None:
    """Count these buckets anew, on all levels; with them all rows up to this ingest time are counted."""
    rollup = collection.rollup
    if rollup is None or not buckets:
        return
    writer.execute("INSERT OR REPLACE INTO _rolled VALUES (?, ?)", [collection.name, upto])
    source = collection.name
    for seconds, label in LEVELS:
        places = {(by, _floor(at, seconds)) for by, at in buckets}
        table = f"_rollup_{collection.name}_{label}"
        _replace(
            writer,
            table=table,
            select=_select(collection, source, seconds),
            by=rollup.by,
            places=places,
            seconds=seconds,
        )
        source = table


def rebuild(writer: duckdb.DuckDBPyConnection, collection: Collection) -> None:
    """Count everything anew."""
    if collection.rollup is None:
        return
    source = collection.name
    for seconds, label in LEVELS:
        table = f"_rollup_{collection.name}_{label}"
        select = _select(collection, source, seconds).format(where="TRUE")
        writer.execute(f"DELETE FROM {table}")  # noqa: S608 - the names are ours
        writer.execute(f"INSERT INTO {table} BY NAME {select} ORDER BY bucket")
        source = table
    writer.execute(
        f"INSERT OR REPLACE INTO _rolled SELECT ?, coalesce(max(_ingest_time), TIMESTAMP '1970-01-01') FROM {collection.name}",  # noqa: S608 - likewise
        [collection.name],
    )


def wrong(writer: duckdb.DuckDBPyConnection, collection: Collection) -> int:
    """How many buckets differ from a recount; 0 is right."""
    rollup = collection.rollup
    if rollup is None:
        return 0
    differing, source = 0, collection.name
    for seconds, label in LEVELS:
        table = f"_rollup_{collection.name}_{label}"
        fresh = _select(collection, source, seconds).format(where="TRUE")
        kept = f'SELECT bucket, "{rollup.by}", messages, bytes, sketch FROM {table}'  # noqa: S608 - the names are ours
        counted = f'SELECT bucket, "{rollup.by}", messages, bytes, sketch FROM ({fresh})'  # noqa: S608 - likewise
        row = writer.execute(
            f"SELECT count(*) FROM (({kept} EXCEPT ALL {counted}) UNION ALL ({counted} EXCEPT ALL {kept}))"  # noqa: S608 - likewise
        ).fetchone()
        differing += int(row[0]) if row else 0
        source = table
    return differing


def forget(writer: duckdb.DuckDBPyConnection, collection: Collection, before: datetime) -> None:
    """Drop buckets that begin before this moment."""
    for _, label in LEVELS if collection.rollup else ():
        writer.execute(f"DELETE FROM _rollup_{collection.name}_{label} WHERE bucket < ?", [before])  # noqa: S608 - the names are ours


def _replace(
    writer: duckdb.DuckDBPyConnection,
    *,
    table: str,
    select: str,
    by: str,
    places: Touched,
    seconds: int,
) -> None:
    """Zone maps find the range of time; the join takes the touched buckets out of it."""
    first = min(at for _, at in places)
    last = max(at for _, at in places)
    writer.register(
        "_touched", pa.Table.from_pylist([{"owner": b, "bucket": a} for b, a in places], schema=_TOUCHED)
    )
    listed = "IN (SELECT owner, bucket FROM _touched)"
    writer.execute(
        f"DELETE FROM {table} WHERE bucket BETWEEN '{first}' AND '{last}' AND (\"{by}\", bucket) {listed}"  # noqa: S608 - moments and names are ours
    )
    within = f"moment >= '{first}' AND moment < '{last + timedelta(seconds=seconds)}'"
    where = f"{within} AND (owner, time_bucket(INTERVAL {seconds} SECOND, moment)) {listed}"
    writer.execute(f"INSERT INTO {table} BY NAME {select.format(where=where)}")
    writer.unregister("_touched")


def _select(collection: Collection, source: str, seconds: int) -> str:
    """A SELECT of whole buckets with a place for the condition on `by` and `moment`."""
    rollup = collection.rollup
    assert rollup is not None  # noqa: S101 - asked by the callers
    base = source == collection.name
    moment = collection.event_time if base else "bucket"
    parts = _from_rows(collection, rollup) if base else _from_buckets(rollup)
    inner = f'SELECT *, CAST("{rollup.by}" AS VARCHAR) AS owner, {moment} AS moment FROM {source}'  # noqa: S608 - the names are ours
    return (
        f'SELECT time_bucket(INTERVAL {seconds} SECOND, moment) AS bucket, owner AS "{rollup.by}", {parts} '  # noqa: S608 - likewise
        f"FROM ({inner}) WHERE owner IS NOT NULL AND moment IS NOT NULL AND {{where}} GROUP BY 1, 2"
    )


def _from_rows(collection: Collection, rollup: Rollup) -> str:
    size = f'coalesce(sum(TRY_CAST("{rollup.size}" AS BIGINT)), 0)' if rollup.size else "0"
    sketch = f'min(DISTINCT hash("{rollup.distinct}"), {K})' if rollup.distinct else "NULL"
    if rollup.distinct:
        sketch = f'{sketch} FILTER ("{rollup.distinct}" IS NOT NULL)'
    numbers = [
        f"min({n}) AS {c}_min, max({n}) AS {c}_max, sum({n}) AS {c}_sum, count({n}) AS {c}_values"
        for n, c in ((collection.number(path), _column(path)) for path in rollup.fields)
    ]
    return ", ".join(
        (
            f"count(*) AS messages, CAST({size} AS BIGINT) AS bytes, CAST({sketch} AS UBIGINT[]) AS sketch",
            *numbers,
        )
    )


def _from_buckets(rollup: Rollup) -> str:
    merged = (
        f"list_slice(list_sort(list_distinct(flatten(list(sketch) FILTER (sketch IS NOT NULL)))), 1, {K})"
    )
    numbers = [
        f"min({c}_min) AS {c}_min, max({c}_max) AS {c}_max, sum({c}_sum) AS {c}_sum, "
        f"CAST(sum({c}_values) AS BIGINT) AS {c}_values"
        for c in map(_column, rollup.fields)
    ]
    counts = "CAST(sum(messages) AS BIGINT) AS messages, CAST(sum(bytes) AS BIGINT) AS bytes"
    return ", ".join((counts, f"{merged} AS sketch", *numbers))


def _shown(rollup: Rollup, table: str) -> str:
    parts = [f'bucket, "{rollup.by}", messages, bytes']
    if rollup.distinct:
        parts.append(
            f"CASE WHEN sketch IS NULL THEN 0 WHEN len(sketch) < {K} THEN len(sketch) "
            f"ELSE CAST(round({K - 1} / (sketch[{K}] / {_RANGE:.0f}.0)) AS BIGINT) END AS distinct_{rollup.distinct}"
        )
    parts += [
        f"{c}_min, {c}_max, CASE WHEN {c}_values > 0 THEN {c}_sum / {c}_values END AS {c}_avg"
        for c in map(_column, rollup.fields)
    ]
    return f"SELECT {', '.join(parts)} FROM {table}"  # noqa: S608 - the names are ours


def _column(path: str) -> str:
    return path.replace(".", "_").replace("-", "_")


def _floor(at: datetime, seconds: int) -> datetime:
    return at - timedelta(seconds=int((at - _EPOCH).total_seconds()) % seconds)
