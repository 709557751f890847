"""A stored view's file as a whole: compact, export, import, verify. Nobody else may have it open meanwhile."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from contracts.errors import BackendError, ConfigError

from . import rollups, searching
from .catalogue import Catalogue
from .collection import Collection
from .storage import BOOK_NAMES, connect, first_line, literal

MANIFEST = "manifest.json"
FORMAT = 1
MEMORY_LIMIT = "2GB"
THREADS = 2

Source = Callable[[str], str]
"""The SQL relation that a table's rows come from, by the table's name."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """Bytes of the file before and after."""

    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found wrong with a collection; all zero is right."""

    collection: str
    rows: int
    doubled: int
    buried: int
    wrong_buckets: int

    @property
    def right(self) -> bool:
        return not (self.doubled or self.buried or self.wrong_buckets)


def compact(path: Path) -> Compacted:
    """Write all rows anew in the order of event time, and put the new file in the place of the old one.

    What updates and late data scattered lies together again, and the space of deleted rows is given back. Killed at
    any moment it leaves the old file or the new one. Raises ConfigError, BackendError.
    """
    before = _size(path)
    fresh = path.with_name(f"{path.name}.compacting")
    _remove(fresh)
    try:
        with _opened(path) as connection:
            tables = list(_tables(Catalogue(connection).known))
            connection.execute("CHECKPOINT")
        _build(fresh, tables, lambda table: f"old.main.{table}", attach=path)
        fresh.replace(path)
    finally:
        _remove(fresh)
    return Compacted(before, _size(path))


def export(path: Path, folder: Path) -> Mapping[str, int]:
    """Every table as Parquet in a new folder, with a manifest; rows by table. Raises ConfigError, BackendError."""
    _size(path)
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty", fix="give a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    with _opened(path) as connection:
        for table in _tables(Catalogue(connection).known):
            row = connection.execute(
                f"COPY ({_exact(connection, table)}) TO {literal(str(folder / f'{table}.parquet'))} "
                "(FORMAT parquet, COMPRESSION zstd)"
            ).fetchone()
            counts[table] = int(row[0]) if row else 0
    told = {"format": FORMAT, "tables": counts}
    (folder / MANIFEST).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return counts


def restore(folder: Path, path: Path) -> Mapping[str, int]:
    """A new file of what `export` wrote; rows by table. Raises ConfigError, BackendError."""
    if path.exists():
        raise ConfigError(f"{path} exists", fix="give the path of a file to make")
    counts = _manifest(folder)
    try:
        _build(path, list(counts), lambda table: f"read_parquet({literal(str(folder / f'{table}.parquet'))})")
    except BaseException:
        _remove(path)
        raise
    return counts


def verify(path: Path) -> list[Verified]:
    """Look for doubled ids, rows of removed keys, and rollups that differ from a recount. Raises as `compact`."""
    _size(path)
    with _opened(path) as connection:
        return [_verified(connection, collection) for collection in Catalogue(connection).known.values()]


def _verified(connection: duckdb.DuckDBPyConnection, collection: Collection) -> Verified:
    name = collection.name
    ((rows, doubled, buried),) = connection.execute(
        f"SELECT count(*), count(*) - count(DISTINCT _id), count(*) FILTER (_id IN "  # noqa: S608 - names are ours
        f"(SELECT _id FROM _tombstones WHERE collection = '{name}')) FROM {name}"
    ).fetchall()
    return Verified(name, rows, doubled, buried, rollups.wrong(connection, collection))


def _tables(known: Mapping[str, Collection]) -> Iterator[str]:
    """Books and collections; rollups are made of these."""
    yield from BOOK_NAMES
    for collection in known.values():
        yield collection.name
        if collection.search:
            yield from searching.tables(collection)


def _exact(connection: duckdb.DuckDBPyConnection, table: str) -> str:
    """Parquet has no 128-bit integer, DuckDB writes a double: sequences go as text."""
    kinds = connection.execute(
        f"SELECT column_name FROM (DESCRIBE {table}) WHERE column_type = 'HUGEINT'"  # noqa: S608 - names are ours
    ).fetchall()
    casts = ", ".join(f"CAST({name} AS VARCHAR) AS {name}" for (name,) in kinds)
    return f"SELECT * REPLACE ({casts}) FROM {table}" if casts else f"FROM {table}"  # noqa: S608 - likewise


def _build(path: Path, tables: list[str], source: Source, *, attach: Path | None = None) -> None:
    """Books first: they say which collections and columns there are."""
    with _opened(path) as connection:
        try:
            if attach is not None:
                connection.execute(f"ATTACH {literal(str(attach))} AS old (READ_ONLY)")
            for table in set(BOOK_NAMES).intersection(tables):  # an older export has fewer
                connection.execute(f"INSERT INTO {table} BY NAME FROM {source(table)}")
            known = Catalogue(connection).known
            order = {c.name: f"ORDER BY {c.event_time} NULLS FIRST, _id" for c in known.values()}
            for table in tables:
                if table not in BOOK_NAMES:
                    connection.execute(
                        f"INSERT INTO {table} BY NAME FROM {source(table)} {order.get(table, '')}"
                    )
            for collection in known.values():
                rollups.rebuild(connection, collection)
                searching.sort(connection, collection, now=True)
            connection.execute("CHECKPOINT")
        except duckdb.Error as error:
            raise BackendError(
                f"{path} cannot be made: {first_line(error)}",
                fix="look whether the disk is full, or a file of the export is missing or broken",
            ) from None


@contextmanager
def _opened(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    connection = connect(path, memory_limit=MEMORY_LIMIT, threads=THREADS, files=True)
    try:
        yield connection
    finally:
        connection.close()


def _manifest(folder: Path) -> dict[str, int]:
    try:
        told = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        tables = {str(name): int(count) for name, count in told["tables"].items()}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"{folder} is no export: {error}", fix="give a folder made by `thingstorm view export`"
        ) from None
    if told.get("format") != FORMAT:
        raise ConfigError(
            f"{folder} is an export of format {told.get('format')}", fix=f"this version reads {FORMAT}"
        )
    return tables


def _size(path: Path) -> int:
    if not path.is_file():
        raise ConfigError(f"no stored view at {path}", fix="give the view.path that a stack was started with")
    return path.stat().st_size


def _remove(path: Path) -> None:
    for one in (path, path.with_name(f"{path.name}.wal")):
        one.unlink(missing_ok=True)
