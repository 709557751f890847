"""Applying changes in one transaction: rows, tombstones, indexes, rollups, statistics, checkpoints.

Measured on DuckDB 2.0: a literal IN list is looked up in the key index in milliseconds where INSERT OR REPLACE,
ON CONFLICT and MERGE take seconds on a large table, and rows are deleted by their places twenty times as fast as by
such a list. So an upsert is a look-up of literal ids, a DELETE by `rowid` and an Arrow INSERT, all in one transaction.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from contracts.messages import Change

from . import fields, rollups, searching
from .applying import Effect, effect, lasting, latest
from .catalogue import Catalogue
from .collection import Collection
from .storage import by_id, transaction
from .tiers import TIERED, Tiers
from .transforming import transform

WRITE_EVERY = 1.0
"""Seconds between two writings of what is not needed at once: rollups of rows that only came, counts of fields."""


_BURIED = "FROM _tombstones WHERE collection = ? AND _id IN (SELECT unnest(?::VARCHAR[]))"


@dataclass(frozen=True, slots=True)
class _Stored:
    """What is there of the ids of a batch: sequences, of tombstones too; and of rows their places."""

    sequences: Mapping[str, int]
    places: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Done:
    """What a batch did to a collection; `replaced`: rows that were there changed or went."""

    rows: int
    tally: fields.Tally
    touched: rollups.Touched
    replaced: bool


class Writer:
    """The one writer of an open view; used from the writing thread only."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, catalogue: Catalogue, *, tiers: Tiers | None = None
    ) -> None:
        self._connection = connection
        self._catalogue = catalogue
        self._tiers = tiers
        self._counted: fields.Tally = Counter()
        self._written = time.monotonic()
        self._pending: dict[str, rollups.Touched] = {}
        self._buried = {
            name for (name,) in connection.execute("SELECT DISTINCT collection FROM _tombstones").fetchall()
        }
        self._largest: dict[str, str] = {}
        self._sequence = 0
        self._at = rollups.last_moment(connection)
        self._recover()

    def apply(self, changes: Sequence[Change]) -> int:
        """Apply all or nothing; how many took effect."""
        self._catalogue.ensure(changes)
        by_table: dict[str, list[Change]] = defaultdict(list)
        for change in changes:
            by_table[change.table].append(change)
        at, counted, pending = self._next_moment(), self._counted, dict(self._pending)
        due = time.monotonic() - self._written >= WRITE_EVERY
        with transaction(self._connection):
            applied = 0
            for name, batch in by_table.items():
                collection = self._catalogue.get(name)
                done = self._apply_one(collection, batch, at)
                applied, counted = applied + done.rows, counted + done.tally
                touched = pending.get(name, set()) | done.touched
                if touched and (due or done.replaced):
                    rollups.recount(self._connection, collection, touched, upto=at)
                    touched = set()
                pending[name] = touched
            _keep_checkpoints(self._connection, changes)
            if due:
                fields.write(self._connection, counted)
        self._pending, self._counted = pending, counted
        if due:
            self._decided(counted)
        return applied

    def claim(self, count: int) -> int:
        """The first of `count` numbers for documents that people write: later than all before, also of an earlier process.

        Nanoseconds since the epoch, so that they grow over restarts without looking into the file, unless the clock was
        set back; within a process they grow always.
        """
        first = max(self._sequence + 1, time.time_ns())
        self._sequence = first + count
        return first

    def tick(self) -> None:
        """Bring the rollups up to date when no batch comes to do it."""
        if any(self._pending.values()) and time.monotonic() - self._written >= WRITE_EVERY:
            self.settle()

    def settle(self) -> None:
        """Write what only the memory holds: buckets to count anew, statistics of fields."""
        with transaction(self._connection):
            for name, touched in self._pending.items():
                rollups.recount(self._connection, self._catalogue.get(name), touched, upto=self._at)
            fields.write(self._connection, self._counted)
        self._pending = {}
        self._decided(self._counted)

    def retain(self, now: datetime) -> int:
        """Drop rows and tombstones older than their collection keeps them, with buckets, and sort long search tails."""
        gone = 0
        for collection in self._catalogue.known.values():
            if collection.retention_seconds is not None:
                gone += self._forget(collection, now - timedelta(seconds=collection.retention_seconds))
            searching.sort(self._connection, collection)
        return gone

    def _forget(self, collection: Collection, before: datetime) -> int:
        """Buckets go whole: the one that the moment cuts keeps its rows until all of it is old.

        A removed row was there before it was removed, so one that is replayed over a tombstone as old as that is older
        still, and leaves with the next round. A tombstone of an earlier version, without its moment, stays.
        """
        before = before.replace(second=0, microsecond=0)
        with transaction(self._connection):
            row = self._connection.execute(
                f"DELETE FROM {collection.name} WHERE {collection.event_time} < ?",  # noqa: S608 - the names are ours
                [before],
            ).fetchone()
            self._connection.execute(
                "DELETE FROM _tombstones WHERE collection = ? AND buried_at < ?", [collection.name, before]
            )
            rollups.forget(self._connection, collection, before)
            if self._tiers is not None and self._tiers.divided and collection.name == TIERED:
                self._tiers.divide(self._connection, before)
        return int(row[0]) if row else 0

    def _recover(self) -> None:
        """A killed process leaves rows whose buckets it had not counted yet."""
        for name, collection in self._catalogue.known.items():
            if collection.rollup is not None:
                self._pending[name] = rollups.uncounted(self._connection, collection)
        if any(self._pending.values()):
            self.settle()

    def _decided(self, counted: fields.Tally) -> None:
        """The counts are written: make the columns that are due."""
        self._counted, self._written = Counter(), time.monotonic()
        for name in {collection for collection, _, _ in counted}:
            collection = self._catalogue.get(name)
            for decision in fields.due(self._connection, collection):
                fields.promote(self._connection, collection, decision)
                self._catalogue.widen(name, decision.field, decision.type.sql)

    def _next_moment(self) -> datetime:
        """Now, later than the last: with its id it names a version of a row."""
        self._at = max(datetime.now(tz=UTC).replace(tzinfo=None), self._at + timedelta(microseconds=1))
        return self._at

    def _apply_one(self, collection: Collection, changes: Sequence[Change], at: datetime) -> _Done:
        chosen = latest(lasting(changes, collection, at), collection)
        stored = self._stored(collection, chosen)
        found = effect(chosen, stored.sequences)
        if not found:
            return _Done(0, Counter(), set(), replaced=False)
        asked = len(found)
        found = _transformed(self._connection, collection, found)
        old = [identity for identity in (*found.upserts, *found.removals) if identity in stored.sequences]
        touched = self._clear(collection, old, stored.places)
        columns = _insert(self._connection, collection, found, at)
        if found.removals:
            self._buried.add(collection.name)
            self._connection.execute(
                "INSERT INTO _tombstones SELECT ?, unnest(?::VARCHAR[]), unnest(?::VARCHAR[])::HUGEINT, ?",
                [collection.name, list(found.removals), [str(one) for one in found.removals.values()], at],
            )
        items = {identity: change.new or {} for identity, change in found.upserts.items()}
        searching.add(self._connection, collection, items, at)
        return _Done(
            asked,
            fields.tally(collection, items.values()),
            touched | (rollups.touched(collection, columns) if columns else set()),
            replaced=bool(old),
        )

    def _stored(self, collection: Collection, chosen: Iterable[str]) -> _Stored:
        """What is stored of these ids.

        An id beyond the largest ever stored is new: in order of time (serial numbers, ULIDs, our own) most are, and a
        look-up of each is a quarter of what storing it costs.
        """
        name, ids = collection.name, list(chosen)
        if (largest := self._largest.get(name)) is None:
            ((largest,),) = self._connection.execute(
                f"SELECT coalesce(max(_id), '') FROM (SELECT _id FROM {name} UNION ALL "  # noqa: S608 - the name is ours
                f"SELECT _id FROM _tombstones WHERE collection = '{name}')"
            ).fetchall()
        self._largest[name] = max(largest, *ids)
        known = [one for one in ids if one <= largest]
        rows = by_id(self._connection, name, known, what="_id, _seq, rowid") if known else []
        sequences = {identity: sequence for identity, sequence, _ in rows}
        if known and name in self._buried:
            sequences |= self._connection.execute(f"SELECT _id, sequence {_BURIED}", [name, known]).fetchall()
        return _Stored(sequences, {identity: place for identity, _, place in rows})

    def _clear(
        self, collection: Collection, old: Sequence[str], places: Mapping[str, int]
    ) -> rollups.Touched:
        """Take rows and tombstones of these ids out; the buckets they were in."""
        rows = [places[identity] for identity in old if identity in places]
        touched: rollups.Touched = set()
        if rows:
            touched = rollups.touched_of(self._connection, collection, rows)
            self._connection.execute(
                f"DELETE FROM {collection.name} WHERE rowid IN (SELECT unnest(?::BIGINT[]))",  # noqa: S608 - the name is ours
                [rows],
            )
        if gone := [identity for identity in old if identity not in places]:
            self._connection.execute(f"DELETE {_BURIED}", [collection.name, gone])
        return touched


def _transformed(writer: duckdb.DuckDBPyConnection, collection: Collection, found: Effect) -> Effect:
    """What a transformation leaves out is as if removed."""
    if not collection.transform:
        return found
    items = transform(writer, collection, {i: change.new or {} for i, change in found.upserts.items()})
    return Effect(
        upserts={i: replace(found.upserts[i], new=item) for i, item in items.items()},
        removals={
            **found.removals,
            **{i: change.sequence for i, change in found.upserts.items() if i not in items},
        },
    )


def _insert(
    writer: duckdb.DuckDBPyConnection, collection: Collection, found: Effect, at: datetime
) -> dict[str, list[Any]]:
    """The values that were stored, by column."""
    if not found.upserts:
        return {}
    items = {identity: change.new or {} for identity, change in found.upserts.items()}
    sequences = [change.sequence for change in found.upserts.values()]
    columns = collection.columns_of(items, sequences=sequences, at=at)
    writer.register("_batch", collection.table(columns))
    writer.execute(
        f"INSERT INTO {collection.name} BY NAME "  # noqa: S608 - the name is ours
        "SELECT * REPLACE (CAST(_seq AS HUGEINT) AS _seq) FROM _batch"
    )
    writer.unregister("_batch")
    return columns


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
