"""The view's file: how it is opened, and the books in it beside the collections."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb

from contracts.errors import BackendError, Transient

MAX_LITERALS = 1_000
"""In one list: DuckDB reads at most 2,048 rows by an index, and beyond that the whole table."""

LOG_BYTES = 64_000_000
"""The log grows so long before it is worked into the file, and as much may lie in memory. Each time the last, unfinished
row group is written anew: at DuckDB's 16 MB, 12,000 documents of 1.2 KB a second would have that done every second."""

SCAN_ROWS_PER_ID = 500
"""Looking an id up in the key index takes 50 us; so many ids are scanned in that time, 0.1 us each (1e5 and 1e6 rows)."""

SPACE = "free space on its disk and let this user write there"

SHUT = (
    "SET enable_external_access = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET python_enable_replacements = false",
    "SET lock_configuration = true",
)

BOOKS = (
    """CREATE TABLE IF NOT EXISTS _checkpoints
       (collection VARCHAR, shard VARCHAR, sequence HUGEINT, PRIMARY KEY (collection, shard))""",
    """CREATE TABLE IF NOT EXISTS _tombstones
       (collection VARCHAR, _id VARCHAR, sequence HUGEINT, buried_at TIMESTAMP, PRIMARY KEY (collection, _id))""",
    "ALTER TABLE _tombstones ADD COLUMN IF NOT EXISTS buried_at TIMESTAMP",  # a file of an earlier version has none
    "CREATE TABLE IF NOT EXISTS _collections (name VARCHAR PRIMARY KEY, definition JSON, created_at TIMESTAMP)",
    "CREATE TABLE IF NOT EXISTS _divided (collection VARCHAR PRIMARY KEY, before TIMESTAMP)",
    "CREATE TABLE IF NOT EXISTS _rolled (collection VARCHAR PRIMARY KEY, upto TIMESTAMP)",
    """CREATE TABLE IF NOT EXISTS _fields
       (collection VARCHAR, field VARCHAR, kind VARCHAR, seen BIGINT, PRIMARY KEY (collection, field, kind))""",
    """CREATE TABLE IF NOT EXISTS _decisions
       (collection VARCHAR, field VARCHAR, type VARCHAR, seen BIGINT, share DOUBLE, decided_at TIMESTAMP,
        PRIMARY KEY (collection, field))""",
)
"""Positions in the streams, sequences of removed keys and when they were removed, collections that somebody made, the moment before which a
collection's rows are in the archive, the ingest time up to which rollups are counted, what fields were seen with which kinds of values, and which of them became columns."""

BOOK_NAMES = ("_checkpoints", "_tombstones", "_collections", "_divided", "_fields", "_decisions")
"""The books that an export holds; `_rolled` goes with the rollups, which are made anew."""


def connect(
    path: Path | None, *, memory_limit: str, threads: int, files: bool = False, folder: Path | None = None
) -> duckdb.DuckDBPyConnection:
    """Open the file, or memory, with its books. No SQL on it reaches the network, or files but those in `folder`.

    With `files` it may: for our own statements about the file as a whole.

    Raises BackendError: somebody has it open, or it is broken.
    """
    try:
        connection = duckdb.connect(str(path) if path else ":memory:")
        if folder is not None:
            connection.execute("SET allowed_directories = [?]", [str(folder)])
        for statement in (
            f"SET memory_limit = '{memory_limit}'",
            f"SET threads = {threads}",
            f"SET checkpoint_threshold = '{LOG_BYTES} bytes'",
            "SET allocator_background_threads = true",  # without it what a query had needed stays resident
            "SET TimeZone = 'UTC'",
            *(() if files else SHUT),
            *BOOKS,
        ):
            connection.execute(statement)
    except duckdb.Error as error:
        raise cannot_open(path, error) from None
    return connection


def cannot_open(path: Path | None, error: Exception) -> BackendError:
    """What to say of a file that does not open."""
    return BackendError(
        f"the view {path or 'in memory'} cannot be opened: {first_line(error)}",
        fix=SPACE if of_disk(error) else "stop the process that has it open, or give another view.path",
    )


def of_disk(error: Exception) -> bool:
    """Whether the disk is what does not work."""
    return any(words in str(error) for words in ("No space left", "Could not write", "Could not fsync"))


def cannot_write(path: Path | None, error: Exception) -> BackendError:
    """What to say where the disk refused a transaction: nothing of it took effect.

    Transient, unless DuckDB has given the open file up: then it works again in a new process.
    """
    what = f"the view {path or 'in memory'} cannot be written: {first_line(error)}"
    if isinstance(error, duckdb.FatalException):
        return BackendError(what, fix=f"{SPACE}, and start again")
    return Transient(what, fix=f"{SPACE}; nothing is lost, it comes again from the tables' streams")


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All that the body writes, or nothing. A commit that failed has rolled back already."""
    connection.execute("BEGIN TRANSACTION")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(duckdb.Error):
            connection.execute("ROLLBACK")
        raise


def first_line(error: Exception) -> str:
    """DuckDB's messages go on with a picture of the statement: the first line says what it is."""
    return str(error).strip().splitlines()[0]


def literal(text: str) -> str:
    """A string as SQL."""
    return "'" + text.replace("'", "''") + "'"


def by_id(
    connection: duckdb.DuckDBPyConnection, table: str, ids: Sequence[str], *, what: str
) -> list[tuple[Any, ...]]:
    """`what` of the rows with these ids: by the key index, or by a scan where that is sooner done."""
    ((rows,),) = connection.execute(f"SELECT count(*) FROM {table}").fetchall()  # noqa: S608 - the names are ours
    select = f"SELECT {what} FROM {table} WHERE _id IN"  # noqa: S608 - likewise
    if rows < SCAN_ROWS_PER_ID * len(ids):
        return connection.execute(f"{select} (SELECT unnest(?::VARCHAR[]))", [ids]).fetchall()
    return [row for listed in literals(ids) for row in connection.execute(f"{select} ({listed})").fetchall()]


def literals(texts: Iterable[str]) -> Iterator[str]:
    """Strings as lists of SQL, each short enough that a key index is used for it."""
    waiting = iter(texts)
    while part := ", ".join(map(literal, islice(waiting, MAX_LITERALS))):
        yield part
