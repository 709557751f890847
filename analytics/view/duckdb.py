"""The view on DuckDB: one writer, a cursor for each reader, changes applied exactly once.

Measured on DuckDB 2.0: a literal IN list deletes through the key index in milliseconds where INSERT OR REPLACE,
ON CONFLICT and MERGE take seconds on a large table; so an upsert is DELETE of literal ids, then an Arrow INSERT,
in one transaction with the checkpoints of the shards.
"""

import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import duckdb
import pyarrow as pa
from anyio import CapacityLimiter, to_thread
from anyio.abc import TaskStatus

from contracts.errors import BackendError, ConfigError, NotReady
from contracts.messages import Change, Json
from contracts.ports import Archive, Health, Rows, State

from .applying import Effect, effect, latest
from .archive import Mirror
from .collection import COLLECTIONS, Collection

MAX_ROWS = 10_000
"""Rows of one answer at most; a person reads tens, a program should aggregate in SQL."""

MAX_STATEMENT = 100_000
TIMEOUT_SECONDS = 10.0
READERS = 4
"""Queries at once: DuckDB has two threads here, more readers only wait for each other."""

_SETTINGS = (
    "SET TimeZone = 'UTC'",
    "SET enable_external_access = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET python_enable_replacements = false",
    "SET lock_configuration = true",
)

_ARCHIVE = re.compile(r"\barchive\b", re.IGNORECASE)
"""In a statement: it may ask for the archive, so that is brought up to date. One that does not only costs a look."""

_BOOKS = (
    """CREATE TABLE IF NOT EXISTS _checkpoints
       (collection VARCHAR, shard VARCHAR, sequence HUGEINT, PRIMARY KEY (collection, shard))""",
    """CREATE TABLE IF NOT EXISTS _tombstones
       (collection VARCHAR, _id VARCHAR, sequence HUGEINT, PRIMARY KEY (collection, _id))""",
)


class DuckDBView:
    """The view as a service. `path` None keeps it in memory: it ends with the process.

    A file can be open in one process only: others ask through the HTTP API. With an archive there is a view of that
    name over its objects.
    """

    name = "view"

    def __init__(
        self,
        path: Path | None,
        *,
        memory_limit: str = "2GB",
        threads: int = 2,
        archive: Archive | None = None,
    ) -> None:
        self._path = path
        self._mirror = Mirror(archive, path.with_suffix(".archive") if path else None) if archive else None
        self._settings = (f"SET memory_limit = '{memory_limit}'", f"SET threads = {threads}", *_SETTINGS)
        self._writing = CapacityLimiter(1)
        self._reading = CapacityLimiter(READERS)
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._state: State = "starting"
        self._last_progress = 0
        self._counters = dict.fromkeys(("applied", "ignored", "batches", "queries", "refused"), 0)

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        self._connection = await to_thread.run_sync(self._open, limiter=self._writing)
        self._state = "ready"
        task_status.started()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._close, limiter=self._writing)

    async def drain(self) -> None:
        """Bring the file up to date, so that the next start has nothing to replay."""
        self._state = "draining"
        await to_thread.run_sync(lambda: self._writer().execute("CHECKPOINT"), limiter=self._writing)

    def health(self) -> Health:
        detail = str(self._path) if self._path else "in memory"
        if self._mirror is not None and (unreadable := self._mirror.unreadable):
            detail += f"; of the archive {len(unreadable)} objects cannot be read: {next(iter(unreadable.values()))}"
        return Health(self.name, self._state, detail, self._last_progress, (), dict(self._counters))

    async def apply(self, changes: Sequence[Change]) -> int:
        """Apply in one transaction, with the checkpoints of their shards. Returns how many took effect."""
        applied = await to_thread.run_sync(lambda: self._apply(changes), limiter=self._writing)
        self._counters["batches"] += 1
        self._counters["applied"] += applied
        self._counters["ignored"] += len(changes) - applied
        self._last_progress = time.time_ns()
        return applied

    async def query(self, sql: str, parameters: Mapping[str, Json] | None = None) -> Rows:
        """Run one read-only statement, at most 10 s, at most 10,000 rows.

        A statement that names `archive` sees every object that is there now.

        Raises ConfigError for a statement that is refused, wrong, too slow or too large; Transient, Terminal or NotReady
        for an archive that cannot be read.
        """
        self._counters["queries"] += 1
        if self._mirror is not None and _ARCHIVE.search(sql):
            await self._mirror.refresh()
        cursor = self._writer().cursor()
        try:
            with anyio.fail_after(TIMEOUT_SECONDS):
                return await to_thread.run_sync(
                    lambda: _query(cursor, sql, dict(parameters or {})),
                    limiter=self._reading,
                    abandon_on_cancel=True,
                )
        except TimeoutError:
            cursor.interrupt()
            raise ConfigError(
                f"the query took longer than {TIMEOUT_SECONDS:.0f} s", fix="bound it in time, or aggregate"
            ) from None
        except ConfigError:
            self._counters["refused"] += 1
            raise

    async def checkpoints(self) -> Mapping[tuple[str, str], int]:
        """The last sequence applied by (table, shard)."""
        rows = await to_thread.run_sync(
            lambda: self._writer().execute("SELECT collection, shard, sequence FROM _checkpoints").fetchall(),
            limiter=self._writing,
        )
        return {(str(collection), str(shard)): int(sequence) for collection, shard, sequence in rows}

    async def keys(self, table: str) -> list[dict[str, Json]]:
        """The keys of all rows of a collection, as the changes had them."""
        collection = COLLECTIONS[table]
        rows = await to_thread.run_sync(
            lambda: self._writer().execute(collection.keys_sql()).fetchall(), limiter=self._writing
        )
        return [dict(zip(collection.key, row, strict=True)) for row in rows]

    def _writer(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            raise NotReady("the view is not open", fix="wait until it is ready, or start the stack again")
        return self._connection

    def _open(self) -> duckdb.DuckDBPyConnection:
        try:
            connection = duckdb.connect(str(self._path) if self._path else ":memory:")
            if self._mirror is not None:
                self._mirror.open()
                connection.execute("SET allowed_directories = [?]", [str(self._mirror.folder)])
            for statement in self._settings:
                connection.execute(statement)
            if self._mirror is not None:
                connection.execute(self._mirror.view_sql())
            for statement in (*_BOOKS, *(collection.create_sql() for collection in COLLECTIONS.values())):
                connection.execute(statement)
            for statement in (one for collection in COLLECTIONS.values() for one in collection.widen_sql()):
                connection.execute(statement)
        except (duckdb.Error, OSError) as error:
            raise BackendError(
                f"the view {self._path or 'in memory'} cannot be opened: {_first_line(error)}",
                fix="stop the process that has it open, or give another view.path",
            ) from None
        return connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        if self._mirror is not None:
            self._mirror.close()
        self._state = "stopped"

    def _apply(self, changes: Sequence[Change]) -> int:
        writer = self._writer()
        by_table: dict[str, list[Change]] = defaultdict(list)
        for change in changes:
            by_table[change.table].append(change)
        at = datetime.now(tz=UTC).replace(tzinfo=None)
        writer.execute("BEGIN TRANSACTION")
        try:
            applied = sum(
                _apply_one(writer, COLLECTIONS[name], batch, at) for name, batch in by_table.items()
            )
            _keep_checkpoints(writer, changes)
            writer.execute("COMMIT")
        except BaseException:
            writer.execute("ROLLBACK")
            raise
        return applied


def _apply_one(
    writer: duckdb.DuckDBPyConnection, collection: Collection, changes: Sequence[Change], at: datetime
) -> int:
    chosen = latest(changes, collection)
    stored = _stored(writer, collection, chosen)
    found = effect(chosen, stored)
    if not found:
        return 0
    if old := [identity for identity in (*found.upserts, *found.removals) if identity in stored]:
        ids = _literals(old)
        writer.execute(f"DELETE FROM {collection.name} WHERE _id IN ({ids})")  # noqa: S608 - literals are quoted
        writer.execute(
            f"DELETE FROM _tombstones WHERE collection = '{collection.name}' AND _id IN ({ids})"  # noqa: S608 - likewise
        )
    _insert(writer, collection, found, at)
    for identity, sequence in found.removals.items():
        writer.execute("INSERT INTO _tombstones VALUES (?, ?, ?)", [collection.name, identity, sequence])
    return len(found)


def _stored(
    writer: duckdb.DuckDBPyConnection, collection: Collection, chosen: Mapping[str, Change]
) -> dict[str, int]:
    ids = _literals(chosen)
    rows = writer.execute(
        f"SELECT _id, _seq FROM {collection.name} WHERE _id IN ({ids}) UNION ALL "  # noqa: S608 - literals are quoted
        f"SELECT _id, sequence FROM _tombstones WHERE collection = '{collection.name}' AND _id IN ({ids})"
    ).fetchall()
    return {str(identity): int(sequence) for identity, sequence in rows}


def _insert(writer: duckdb.DuckDBPyConnection, collection: Collection, found: Effect, at: datetime) -> None:
    rows = [
        collection.row(change.new or {}, identity=identity, sequence=change.sequence, at=at)
        for identity, change in found.upserts.items()
    ]
    if not rows:
        return
    writer.register("_batch", pa.Table.from_pylist(rows, schema=collection.schema()))
    writer.execute(
        f"INSERT INTO {collection.name} BY NAME "  # noqa: S608 - the name is ours
        "SELECT * REPLACE (CAST(_seq AS HUGEINT) AS _seq) FROM _batch"
    )
    writer.unregister("_batch")


def _keep_checkpoints(writer: duckdb.DuckDBPyConnection, changes: Sequence[Change]) -> None:
    last: dict[tuple[str, str], int] = {}
    for change in changes:
        if change.shard:
            place = (change.table, change.shard)
            last[place] = max(last.get(place, 0), change.sequence)
    for (table, shard), sequence in last.items():
        writer.execute(
            "INSERT INTO _checkpoints VALUES (?, ?, ?) ON CONFLICT DO UPDATE "
            "SET sequence = greatest(sequence, excluded.sequence)",
            [table, shard, sequence],
        )


def _literals(ids: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join("'" + identity.replace("'", "''") + "'" for identity in ids)


def _query(cursor: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Json]) -> Rows:
    began = time.perf_counter()
    try:
        _gate(cursor, sql)
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        result = cursor.execute(sql, parameters or None)
        columns = tuple(str(column[0]) for column in result.description or ())
        rows = result.fetchmany(MAX_ROWS + 1)
    except duckdb.Error as error:
        raise ConfigError(_first_line(error), fix=_hint(error)) from None
    finally:
        cursor.close()
    if len(rows) > MAX_ROWS:
        raise ConfigError(f"more than {MAX_ROWS} rows", fix="add LIMIT, or aggregate")
    return Rows(columns, tuple(rows), (time.perf_counter() - began) * 1000)


def _gate(cursor: duckdb.DuckDBPyConnection, sql: str) -> None:
    """One statement, a SELECT or one that only explains. A write inside a CTE is stopped by the transaction."""
    if len(sql) > MAX_STATEMENT:
        raise ConfigError(f"the statement is longer than {MAX_STATEMENT} characters", fix="shorten it")
    statements = cursor.extract_statements(sql)
    if len(statements) != 1:
        raise ConfigError(f"{len(statements)} statements, expected one", fix="send one SELECT at a time")
    if statements[0].type not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
        raise ConfigError(
            "only SELECT is allowed", fix="the view follows the tables: write to the tables instead"
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _hint(error: duckdb.Error) -> str:
    near = re.search(r"Did you mean \"?([^\"?\n]+)", str(error)) or re.search(
        r"Candidate[^:]*: ([^\n]+)", str(error)
    )
    if near:
        return f"did you mean {near[1]}?"
    return f"collections: {', '.join(COLLECTIONS)}; `DESCRIBE telemetry` lists columns"
