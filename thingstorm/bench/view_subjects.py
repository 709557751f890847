"""What `bench view` measures: our view, and SQLite and chdb beside it, each used as its documentation tells.

All take documents (`_id`, `_event_time` in ms, `Company`, more) and keep them upserted by `_id`.
"""

import importlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from anyio.from_thread import start_blocking_portal

from analytics.view.duckdb import DuckDBView
from analytics.view.files import export, restore

Document = Mapping[str, Any]


COLUMNS: dict[str, str] = {
    "device_id": "VARCHAR",
    "topic": "VARCHAR",
    "source_ip": "VARCHAR",
    "bytes": "BIGINT",
    "temperature": "DOUBLE",
}
ROWS_DEFINITION: dict[str, Any] = {"name": "docs", "columns": COLUMNS, "indexes": ["source_ip"]}


class Subject(Protocol):
    """An engine that is filled and asked."""

    def write(self, documents: Sequence[Document], *, patch: bool = False) -> None:
        """Upsert, or merge into what is there."""
        ...

    def ask(self, question: str, value: Any) -> list[Any]:
        """`newest`, `window` (from ms), `talkers` (from ms), `key` (id), `indexed` (source_ip)."""
        ...

    def fill(self, table: pa.Table) -> None:
        """Load the base rows."""
        ...


class Ours:
    """The view, in a file; its event loop ends with the process."""

    QUESTIONS: Mapping[str, str] = {
        "newest": "SELECT epoch_ms(max(_event_time)) FROM docs WHERE _event_time >= epoch_ms($v::BIGINT)",
        "companies": "SELECT company, count(*) FROM docs WHERE _event_time >= epoch_ms($v::BIGINT) GROUP BY 1",
        "window": "SELECT device_id, count(*) FROM docs WHERE _event_time >= epoch_ms($v::BIGINT) GROUP BY 1",
        "talkers": "SELECT device_id, sum(bytes) n FROM docs WHERE _event_time >= epoch_ms($v::BIGINT) "
        "GROUP BY 1 ORDER BY n DESC LIMIT 10",
        "key": "SELECT * FROM docs WHERE _id = $v",
        "indexed": "SELECT * FROM docs WHERE source_ip = $v",
    }

    def __init__(self, folder: Path, *, rows: bool) -> None:
        self._folder = folder
        self._path = folder / "view.db"
        self._view = DuckDBView(self._path)
        self._view.open()
        self._loop = start_blocking_portal()  # kept: collected as garbage it would end
        self._portal = self._loop.__enter__()
        given = ROWS_DEFINITION if rows else {"name": "docs", "columns": {"company": "VARCHAR"}}
        self._portal.call(self._view.create, given)

    def write(self, documents: Sequence[Document], *, patch: bool = False) -> None:
        """See `Subject`."""
        self._portal.call(partial(self._view.write, "docs", documents, patch=patch))

    def ask(self, question: str, value: Any) -> list[Any]:
        """See `Subject`."""
        return list(self._portal.call(self._view.query, self.QUESTIONS[question], {"v": value}).rows)

    def fill(self, table: pa.Table) -> None:
        """As an import of an export whose rows are these."""
        self._view.close()
        export(self._path, self._folder / "out")
        pq.write_table(table, self._folder / "out" / "docs.parquet", row_group_size=122_880)
        self._path.unlink()
        restore(self._folder / "out", self._path)
        self._view.open()


class Sqlite:
    """SQLite with WAL, a primary key, and an index on time and on the address."""

    QUESTIONS: Mapping[str, str] = {
        "newest": "SELECT max(at) FROM docs WHERE at >= ?",
        "companies": "SELECT company, count(*) FROM docs WHERE at >= ? GROUP BY 1",
        "window": "SELECT device_id, count(*) FROM docs WHERE at >= ? GROUP BY 1",
        "talkers": "SELECT device_id, sum(bytes) n FROM docs WHERE at >= ? GROUP BY 1 ORDER BY n DESC LIMIT 10",
        "key": "SELECT * FROM docs WHERE id = ?",
        "indexed": "SELECT * FROM docs WHERE source_ip = ?",
    }
    SHAPE = ("id", "at", "company", "device_id", "topic", "source_ip", "bytes", "temperature", "extra")

    def __init__(self, folder: Path, *, rows: bool) -> None:
        self._path = folder / "docs.sqlite"
        self._writer = self._connect()
        self._writer.execute("PRAGMA journal_mode=WAL")
        self._writer.execute(f"CREATE TABLE docs ({', '.join(self.SHAPE)}, PRIMARY KEY (id))")
        self._writer.execute("CREATE INDEX by_time ON docs (at)")
        if rows:
            self._writer.execute("CREATE INDEX by_ip ON docs (source_ip)")
        self._reader = self._connect()

    def write(self, documents: Sequence[Document], *, patch: bool = False) -> None:
        """See `Subject`; a patch is SQLite's own json_patch on the text."""
        with self._writer:
            if patch:
                self._writer.executemany(
                    "UPDATE docs SET at = ?, extra = json_patch(extra, ?) WHERE id = ?",
                    [(one["_event_time"], orjson.dumps(one).decode(), one["_id"]) for one in documents],
                )
                return
            marks = ", ".join("?" * len(self.SHAPE))
            self._writer.executemany(f"INSERT OR REPLACE INTO docs VALUES ({marks})", map(_flat, documents))  # noqa: S608 - question marks

    def ask(self, question: str, value: Any) -> list[Any]:
        """See `Subject`."""
        return self._reader.execute(self.QUESTIONS[question], [value]).fetchall()

    def fill(self, table: pa.Table) -> None:
        """Batch by batch, in one transaction each."""
        for batch in table.to_batches(max_chunksize=50_000):
            self.write(
                [
                    {**row, "_event_time": round(row["_event_time"].timestamp() * 1000)}
                    for row in batch.to_pylist()
                ]
            )

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, check_same_thread=False)
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection


def _flat(one: Document) -> tuple[Any, ...]:
    names = ("device_id", "topic", "source_ip", "bytes", "temperature")
    rest = None if "device_id" in one else orjson.dumps(one).decode()
    return (one["_id"], one["_event_time"], one.get("company"), *(one.get(name) for name in names), rest)


class Chdb:
    """ClickHouse in the process: ReplacingMergeTree by `_id`, read with FINAL where a key is asked for."""

    QUESTIONS: Mapping[str, str] = {
        "newest": "SELECT max(at) FROM docs WHERE at >= {v}",
        "companies": "SELECT company, count() FROM docs WHERE at >= {v} GROUP BY 1",
        "window": "SELECT device_id, count() FROM docs WHERE at >= {v} GROUP BY 1",
        "talkers": "SELECT device_id, sum(bytes) n FROM docs WHERE at >= {v} GROUP BY 1 ORDER BY n DESC LIMIT 10",
        "key": "SELECT * FROM docs FINAL WHERE id = '{v}'",
        "indexed": "SELECT * FROM docs FINAL WHERE source_ip = '{v}'",
    }

    def __init__(self, folder: Path, *, rows: bool) -> None:
        _ = rows
        self._session: Any = importlib.import_module("chdb.session").Session(str(folder / "chdb"))
        self._folder = folder
        self._session.query("CREATE DATABASE b ENGINE = Atomic")
        self._session.query("USE b")
        self._session.query(
            "CREATE TABLE docs (id String, at Int64, company Nullable(String), device_id Nullable(String), topic Nullable(String), "
            "source_ip Nullable(String), bytes Nullable(Int64), temperature Nullable(Float64), extra Nullable(String), "
            "INDEX by_time at TYPE minmax, INDEX by_ip source_ip TYPE bloom_filter) "
            "ENGINE = ReplacingMergeTree(at) ORDER BY id"
        )

    def write(self, documents: Sequence[Document], *, patch: bool = False) -> None:
        """See `Subject`; it has no patch of JSON text: the whole document is written again."""
        _ = patch
        path = self._folder / "batch.ndjson"
        names = Sqlite.SHAPE
        lines = [orjson.dumps(dict(zip(names, _flat(one), strict=True))).decode() for one in documents]
        path.write_text("\n".join(lines), encoding="utf-8")
        self._session.query(f"INSERT INTO docs SELECT * FROM file('{path}', JSONEachRow)")  # noqa: S608 - our path

    def ask(self, question: str, value: Any) -> list[Any]:
        """See `Subject`."""
        told = self._session.query(self.QUESTIONS[question].format(v=value), "JSONCompact")
        return list(json.loads(str(told))["data"])

    def fill(self, table: pa.Table) -> None:
        """From a Parquet file."""
        path = self._folder / "base.parquet"
        pq.write_table(table, path)
        self._session.query(
            "INSERT INTO docs SELECT _id, toUnixTimestamp64Milli(toDateTime64(_event_time, 3)), NULL, device_id, topic, "  # noqa: S608 - our path
            f"source_ip, bytes, temperature, NULL FROM file('{path}', Parquet)"
        )
        with suppress(OSError):
            path.unlink()


SUBJECTS: Mapping[str, Any] = {"thingstorm": Ours, "sqlite": Sqlite, "chdb": Chdb}
