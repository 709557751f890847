"""A durable first-in-first-out queue of byte strings: what was appended survives the process.

SQLite in WAL mode with `synchronous=NORMAL`: a commit is in the operating system's hands when `append` returns,
so a killed process loses nothing; a power cut may lose the last moments, the file stays whole. One process and
one thread own a journal. An append of one entry costs some 20 microseconds.
"""

import sqlite3
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from contracts.errors import Transient


class Entry(NamedTuple):
    """One body with its number: numbers grow, and are never used twice."""

    number: int
    body: bytes


class Journal:
    """Entries in order until they are forgotten. Opens the file at once; every method may raise JournalFault."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            weakref.finalize(self, self._database.close)  # Python 3.13 warns of one that is left open
            for statement in (
                "PRAGMA journal_mode = WAL",
                "PRAGMA synchronous = NORMAL",
                "CREATE TABLE IF NOT EXISTS entries (number INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL)",
            ):
                self._database.execute(statement)
            (self._length,) = self._database.execute("SELECT count(*) FROM entries").fetchone()
        except (sqlite3.Error, OSError) as error:
            raise JournalFault(path, error) from None

    def __len__(self) -> int:
        return int(self._length)

    def append(self, bodies: Sequence[bytes]) -> None:
        """Keep these, all or none. On return they are safe from a kill."""
        self._change("INSERT INTO entries (body) VALUES (?)", [(body,) for body in bodies])
        self._length += len(bodies)

    def read(self, *, after: int = 0, limit: int) -> list[Entry]:
        """The oldest entries with a number above `after`, at most `limit`."""
        try:
            rows = self._database.execute(
                "SELECT number, body FROM entries WHERE number > ? ORDER BY number LIMIT ?", (after, limit)
            )
            return [Entry(*row) for row in rows]
        except sqlite3.Error as error:
            raise JournalFault(self._path, error) from None

    def forget(self, first: int, last: int) -> None:
        """Drop the entries numbered `first` to `last`, both included."""
        self._length -= self._change("DELETE FROM entries WHERE number BETWEEN ? AND ?", [(first, last)])

    def drop(self, count: int) -> None:
        """Forget the oldest `count` entries."""
        oldest = "SELECT number FROM entries ORDER BY number LIMIT ?"
        statement = f"DELETE FROM entries WHERE number IN ({oldest})"  # noqa: S608 - the text is ours
        self._length -= self._change(statement, [(count,)])

    def close(self) -> None:
        self._database.close()

    def _change(self, statement: str, rows: Sequence[tuple[object, ...]]) -> int:
        """Run the statement for every row in one transaction; how many entries it touched."""
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                touched = self._database.executemany(statement, rows).rowcount
            except BaseException:
                if self._database.in_transaction:  # SQLite has already rolled back when the disk is full
                    self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise JournalFault(self._path, error) from None
        return touched


class JournalFault(Transient):
    """The disk would not take or give back what must not be lost; nothing of the call took effect."""

    def __init__(self, path: Path, error: Exception) -> None:
        super().__init__(
            f"cannot keep messages in {path}: {error}",
            fix="free space on its disk and let this user write there; nothing that was acknowledged is lost",
        )
