"""What the gateway must not forget over a restart: who is in quarantine, created devices, retained messages."""

import sqlite3
import weakref
from pathlib import Path
from typing import Literal, TypeAlias

from contracts.errors import BackendError

Kind: TypeAlias = Literal["quarantined", "device", "retained", "shadow"]


class Store:
    """Bodies by kind and name, in one SQLite file; in memory without a path."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                path or ":memory:", isolation_level=None, check_same_thread=False
            )
            weakref.finalize(self, self._database.close)  # one in memory has nobody who would close it
            for statement in (
                "PRAGMA journal_mode = WAL",
                "PRAGMA synchronous = NORMAL",
                "CREATE TABLE IF NOT EXISTS state (kind TEXT, name TEXT, body BLOB, PRIMARY KEY (kind, name))",
            ):
                self._database.execute(statement)
        except (sqlite3.Error, OSError) as error:
            raise self._fault(error) from None

    def all(self, kind: Kind) -> dict[str, bytes]:
        """Everything of this kind by name."""
        return dict(self._database.execute("SELECT name, body FROM state WHERE kind = ?", (kind,)))

    def put(self, kind: Kind, name: str, body: bytes) -> None:
        """Keep it, in place of an earlier one. Raises BackendError where the disk refuses."""
        self._execute("INSERT OR REPLACE INTO state VALUES (?, ?, ?)", (kind, name, body))

    def remove(self, kind: Kind, name: str) -> None:
        """Forget it, if it is there. Raises BackendError where the disk refuses."""
        self._execute("DELETE FROM state WHERE kind = ? AND name = ?", (kind, name))

    def close(self) -> None:
        self._database.close()

    def _execute(self, statement: str, values: tuple[object, ...]) -> None:
        try:
            self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise self._fault(error) from None

    def _fault(self, error: Exception) -> BackendError:
        return BackendError(
            f"the gateway cannot keep its state in {self._path}: {error}",
            fix="free space on its disk and let this user write there",
        )
