"""The view on DuckDB, as a service: one writing thread, a cursor for each reader, changes applied exactly once."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import anyio
import duckdb
from anyio import CapacityLimiter, to_thread
from anyio.abc import TaskStatus

from contracts.errors import ConfigError, NotReady, Transient
from contracts.measures import Spreading
from contracts.messages import Change, Json
from contracts.ports import Access, Archive, Health, Rows, State

from .archive import Mirror
from .builtin import GROWING
from .catalogue import Catalogue, read_definition
from .confined import SECONDS, a_folder, copy_out, run_confined
from .describing import describe
from .documents import removed, written
from .judging import judge
from .reading import accesses, gate, run_query
from .storage import cannot_open, cannot_write, connect, first_line, of_disk
from .tiers import TIERED, WHOLE, Tiers, reads_objects
from .writing import Writer

TIMEOUT_SECONDS = 10.0
INTERRUPTED_SECONDS = 5.0
"""A statement ends within milliseconds of its interruption; a loaded machine gets the rest."""

READERS = 4
"""Queries at once: DuckDB has two threads here, more readers only wait for each other."""

CONFINED = 2
"""Processes for statements of strangers at once; more wait."""

RETAIN_SECONDS = 60.0
"""Pause between two rounds of retention, each with a checkpoint: a slow stream would take an hour to fill the log."""

OBJECTS_SECONDS = 60.0
"""A statement about rows of both tiers looks for new objects when it was not done for so long: they hold old rows."""

_ARCHIVE = re.compile(r"\barchive\b", re.IGNORECASE)
"""In a statement: it may ask for the archive, so that is brought up to date. One that does not only costs a look."""

T = TypeVar("T")


class DuckDBView:
    """The view as a service. `path` None keeps it in memory: it ends with the process.

    A file can be open in one process only: others ask through the HTTP API. Without `with_rollups` the tables'
    collections have none: for a run in virtual time, which nobody asks, and where a second of ours is minutes of theirs.
    With an archive there is a view of that name over its objects; and with `hot_seconds` telemetry that is older leaves
    the file, and statements that name it read it from there. Messages, metrics and verdicts leave after
    `keep_seconds`.
    """

    name = "view"

    def __init__(
        self,
        path: Path | None,
        *,
        memory_limit: str = "2GB",
        threads: int = 2,
        with_rollups: bool = True,
        confined_seconds: float = SECONDS,
        archive: Archive | None = None,
        hot_seconds: float | None = None,
        keep_seconds: float | None = None,
    ) -> None:
        self._path = path
        self._mirror = Mirror(archive, path.with_suffix(".archive") if path else None) if archive else None
        self._tiers = Tiers(self._mirror, hot_seconds) if self._mirror else None
        self._memory_limit, self._threads = memory_limit, threads
        self._with_rollups = with_rollups
        self._keep_seconds = keep_seconds
        self._writing = CapacityLimiter(1)
        self._reading = CapacityLimiter(READERS)
        self._judging = CapacityLimiter(1)
        self._confining = CapacityLimiter(CONFINED)
        self._confined_seconds = confined_seconds
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._catalogue: Catalogue | None = None
        self._writer: Writer | None = None
        self._state: State = "starting"
        self._fault = ""
        self._last_progress = 0
        self._asked = Spreading("query_seconds", "How long a query took, one that failed too.")
        self._counters = dict.fromkeys(("applied", "ignored", "batches", "queries", "refused", "retired"), 0)

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        await to_thread.run_sync(self.open, limiter=self._writing)
        self._state = "ready"
        task_status.started()
        try:
            while True:
                for _ in range(int(RETAIN_SECONDS)):
                    await anyio.sleep(1.0)
                    with suppress(Transient):  # told by the health; the next round does it
                        await self._write(lambda writer: writer.tick())
                with suppress(Transient):
                    await self.retain()
                    await self._checkpoint()
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self.close, limiter=self._writing)

    async def drain(self) -> None:
        """Bring the file up to date, so that the next start has nothing to replay."""
        self._state = "draining"
        await self._write(lambda writer: writer.settle())
        await self._checkpoint()

    def health(self) -> Health:
        detail = str(self._path) if self._path else "in memory"
        if self._mirror is not None and (unreadable := self._mirror.unreadable):
            detail += f"; of the archive {len(unreadable)} objects cannot be read: {next(iter(unreadable.values()))}"
        state: State = "failed" if self._fault and self._state == "ready" else self._state
        return Health(
            self.name,
            state,
            self._fault or detail,
            self._last_progress,
            (),
            dict(self._counters),
            spreads=(self._asked.spread(),),
        )

    async def apply(self, changes: Sequence[Change]) -> int:
        """Apply in one transaction, with the checkpoints of their shards. Returns how many took effect."""
        applied = await self._write(lambda writer: writer.apply(changes))
        self._count(len(changes), applied)
        return applied

    async def query(self, sql: str, parameters: Mapping[str, Json] | None = None) -> Rows:
        """Run one read-only statement, at most 10 s, at most 10,000 rows.

        A statement that names `archive` sees every object that is there now.

        Raises ConfigError for a statement that is refused, wrong, too slow or too large; Transient, Terminal or NotReady
        for an archive that cannot be read.
        """
        given = dict(parameters or {})
        if self._mirror is not None and _ARCHIVE.search(sql):
            await self._mirror.refresh()
        both = await self._both(sql, given)
        return await self._read(
            lambda cursor: run_query(cursor, sql, given, known=self._known().known), both=both
        )

    async def ask(self, sql: str, parameters: Mapping[str, Json] | None = None) -> Rows:
        """Like `query`, for a statement of somebody unknown: one that may grow runs in a process of its own.

        Raises ConfigError, also for a statement beyond the memory and the time of that process.
        """
        given = dict(parameters or {})
        with anyio.CancelScope(shield=True):
            verdict = await to_thread.run_sync(judge, sql, given, limiter=self._judging)
        if verdict.writes:
            raise ConfigError(f"{verdict.writes} writes, and only reading is allowed", fix="leave it out")
        if verdict.calm:
            return await self.query(sql, given)
        async with self._confining:
            with a_folder() as folder:
                place = Path(folder)
                await self._read(
                    lambda cursor: copy_out(cursor, sql, place), both=await self._both(sql, given)
                )
                return await run_confined(sql, given, place, why=verdict.why, seconds=self._confined_seconds)

    async def explain(self, sql: str, parameters: Mapping[str, Json] | None = None) -> Sequence[Access]:
        """Run a read-only statement and say how it read each table. Raises ConfigError."""
        given = dict(parameters or {})
        verdict = await to_thread.run_sync(judge, sql, given, limiter=self._judging)
        if not verdict.calm:
            raise ConfigError(
                f"a statement with {verdict.why} is not explained", fix="leave that out, or run it as it is"
            )

        def plan(cursor: duckdb.DuckDBPyConnection) -> Rows:
            gate(cursor, sql)
            return run_query(
                cursor, f"EXPLAIN (ANALYZE, FORMAT json) {sql}", given, known=self._known().known
            )

        both = await self._both(sql, given)
        return accesses(str((await self._read(plan, both=both)).rows[0][1]), self._known().known)

    async def checkpoints(self) -> Mapping[tuple[str, str], int]:
        """The last sequence applied by (table, shard)."""
        rows = await to_thread.run_sync(
            lambda: (
                self._open_one().execute("SELECT collection, shard, sequence FROM _checkpoints").fetchall()
            ),
            limiter=self._writing,
        )
        return {(str(collection), str(shard)): int(sequence) for collection, shard, sequence in rows}

    async def keys(self, table: str) -> list[dict[str, Json]]:
        """The keys of all rows of a collection, as the changes had them."""
        if table not in self._known().known:
            return []
        collection = self._known().get(table)
        rows = await to_thread.run_sync(
            lambda: self._open_one().execute(collection.keys_sql()).fetchall(), limiter=self._writing
        )
        return [dict(zip(collection.key, row, strict=True)) for row in rows]

    async def create(self, definition: Mapping[str, Json]) -> None:
        """Make a collection of documents. Raises ConfigError, UnknownName."""
        catalogue = self._known()
        await to_thread.run_sync(
            lambda: catalogue.create(read_definition(definition, catalogue.known)), limiter=self._writing
        )

    async def write(
        self, name: str, documents: Sequence[Mapping[str, Json]], *, patch: bool = False
    ) -> Sequence[str]:
        """Insert, replace or (`patch`) merge documents; their ids. Raises UnknownName, ConfigError."""

        def store(writer: Writer) -> tuple[list[Change], int]:
            collection, sequence = self._known().get(name), writer.claim(len(documents))
            changes = written(self._open_one(), collection, documents, patch=patch, sequence=sequence)
            return changes, writer.apply(changes)

        changes, applied = await self._write(store)
        self._count(len(changes), applied)
        return [str(change.key["_id"]) for change in changes]

    async def remove(self, name: str, ids: Sequence[str]) -> int:
        """Delete documents; how many were there. Raises UnknownName, ConfigError."""
        applied = await self._write(
            lambda writer: writer.apply(
                removed(self._open_one(), self._known().get(name), ids, sequence=writer.claim(1))
            )
        )
        self._count(applied, applied)
        return applied

    async def describe(self, name: str) -> Mapping[str, Json]:
        """Columns, indexes, rows, fields seen, decisions. Raises UnknownName."""
        collection = self._known().get(name)
        return await self._read(lambda cursor: describe(cursor, collection))

    async def names(self) -> Sequence[str]:
        """All collections."""
        return sorted(self._known().known)

    async def retain(self) -> int:
        """Drop what is older than its collection keeps it; how many rows."""
        gone = await self._write(lambda writer: writer.retain(datetime.now(tz=UTC).replace(tzinfo=None)))
        self._counters["retired"] += gone
        return gone

    def open(self) -> None:
        """Open the file. Raises BackendError."""
        try:
            if self._mirror is not None:
                self._mirror.open()
            self._connection = connect(
                self._path,
                memory_limit=self._memory_limit,
                threads=self._threads,
                folder=self._mirror.folder if self._mirror is not None else None,
            )
            if self._mirror is not None:
                self._connection.execute(self._mirror.view_sql())
            hot = self._tiers.hot_seconds if self._tiers is not None else None
            self._catalogue = Catalogue(
                self._connection,
                with_rollups=self._with_rollups,
                retention=self._retention(hot),
            )
            if self._tiers is not None:
                now = datetime.now(tz=UTC).replace(tzinfo=None)
                self._tiers.open(self._connection, now - timedelta(seconds=hot or 0))
        except (duckdb.Error, OSError) as error:
            raise cannot_open(self._path, error) from None
        self._writer = Writer(self._connection, self._catalogue, tiers=self._tiers)

    def _retention(self, hot: float | None) -> dict[str, float]:
        kept = dict.fromkeys(GROWING, self._keep_seconds) if self._keep_seconds is not None else {}
        return {
            name: seconds for name, seconds in {**kept, TIERED: hot or self._keep_seconds}.items() if seconds
        }

    def close(self) -> None:
        """Close it."""
        if self._connection is not None:
            _close(self._connection)
        self._connection, self._catalogue, self._writer = None, None, None
        if self._mirror is not None:
            self._mirror.close()
        self._state = "stopped"

    async def _write(self, work: Callable[[Writer], T]) -> T:
        writer = self._writer
        if writer is None:
            raise _not_open()
        try:
            done = await to_thread.run_sync(lambda: work(writer), limiter=self._writing)
        except duckdb.Error as error:
            if not of_disk(error):
                raise
            fault = cannot_write(self._path, error)
            self._fault = fault.told
            raise fault from None
        self._fault = ""
        return done

    async def _checkpoint(self) -> None:
        """Work the log into the file: what it holds lies in memory, too, and a start would have to replay it.

        DuckDB cannot beside somebody's open transaction; then the log waits for the next time, or for that start.
        """
        with suppress(duckdb.TransactionException):
            await self._write(lambda _: self._open_one().execute("CHECKPOINT"))

    async def _both(self, sql: str, parameters: dict[str, Json]) -> bool:
        """Whether a statement is to be run on both tiers; if objects are in its plan they are brought up to date."""
        if self._mirror is None or self._tiers is None or not self._tiers.asked(sql):
            return False
        if await self._read(lambda cursor: reads_objects(cursor, sql, parameters), both=True):
            await self._mirror.refresh(older_than=OBJECTS_SECONDS)
        return True

    async def _read(self, work: Callable[[duckdb.DuckDBPyConnection], T], *, both: bool = False) -> T:
        self._counters["queries"] += 1
        began = time.monotonic()
        cursor = self._open_one().cursor()
        if both:
            cursor.execute(WHOLE)
        try:
            with anyio.fail_after(TIMEOUT_SECONDS):
                return await to_thread.run_sync(
                    lambda: work(cursor), limiter=self._reading, abandon_on_cancel=True
                )
        except TimeoutError:
            _interrupt(cursor)
            raise ConfigError(
                f"the query took longer than {TIMEOUT_SECONDS:.0f} s", fix="bound it in time, or aggregate"
            ) from None
        except anyio.get_cancelled_exc_class():
            _interrupt(cursor)  # nobody waits for the answer any more
            raise
        except duckdb.Error as error:
            self._counters["refused"] += 1
            raise ConfigError(first_line(error), fix="mend the statement") from None
        except ConfigError:
            self._counters["refused"] += 1
            raise
        finally:
            self._asked.add(time.monotonic() - began)

    def _count(self, asked: int, applied: int) -> None:
        self._counters["batches"] += 1
        self._counters["applied"] += applied
        self._counters["ignored"] += asked - applied
        self._last_progress = time.time_ns()

    def _open_one(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            raise _not_open()
        return self._connection

    def _known(self) -> Catalogue:
        if self._catalogue is None:
            raise _not_open()
        return self._catalogue


def _close(connection: duckdb.DuckDBPyConnection) -> None:
    """With its cursors. One whose statement was interrupted may need a moment until it has ended."""
    deadline = time.monotonic() + INTERRUPTED_SECONDS
    while True:
        try:
            return connection.close()
        except duckdb.ResourceInUseException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _interrupt(cursor: duckdb.DuckDBPyConnection) -> None:
    with suppress(duckdb.ConnectionException):  # its work was over in this moment, and it is closed
        cursor.interrupt()


def _not_open() -> NotReady:
    return NotReady("the view is not open", fix="wait until it is ready, or start the stack again")
