"""The cold tier: the archive's objects as Parquet files beside the view, brought up to date when a query asks for them.

An object is read once and becomes one file, so a query reads columns of local files and the hot tables stay small. The
files are named by the objects' keys: what is gone from the archive goes here as well.
"""

import hashlib
import math
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import anyio
import pyarrow as pa
import pyarrow.parquet as pq
from anyio import to_thread

from contracts.errors import ConfigError, NotReady
from contracts.messages import Json
from contracts.ports import Archive

from .collection import JSON, TIMESTAMP, VARCHAR, Collection

REFRESH_SECONDS: Final = 30.0
"""A query waits so long for new objects; what was read by then is kept for the next one."""

_COLUMNS: Final = Collection(
    "archive",
    ("object", "line"),
    {
        "object": VARCHAR,
        "device_id": VARCHAR,
        "message_id": VARCHAR,
        "device_type": VARCHAR,
        "topic": VARCHAR,
        "received_at": TIMESTAMP,
        "payload": JSON,
    },
    {},
)
_SCHEMA: Final = pa.schema(
    [*((name, kind.arrow) for name, kind in _COLUMNS.columns.items()), ("extra", pa.string())]
)


class Mirror:
    """The files, in `folder`; without one in a folder that ends with this object's `close`."""

    def __init__(self, archive: Archive, folder: Path | None) -> None:
        self._archive = archive
        self._own = None if folder else tempfile.mkdtemp(prefix="thingstorm-archive-")
        self.folder = folder or Path(str(self._own))
        self._refreshing = anyio.Lock()
        self.unreadable: dict[str, str] = {}
        self.objects = 0
        self._refreshed = -math.inf

    def open(self) -> None:
        """Make the folder, with an empty file: DuckDB reads no empty folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self.folder / "none.parquet", _SCHEMA.empty_table())

    def close(self) -> None:
        if self._own:
            shutil.rmtree(self._own, ignore_errors=True)

    def view_sql(self) -> str:
        """The view `archive` over the files."""
        return (
            f"CREATE OR REPLACE VIEW {_COLUMNS.name} AS "  # noqa: S608 - the text is ours
            f"SELECT * REPLACE (payload::JSON AS payload, extra::JSON AS extra) FROM read_parquet('{self.files}')"
        )

    @property
    def files(self) -> str:
        """All files, for SQL: a quote in the folder's name is doubled."""
        return str(self.folder / "*.parquet").replace("'", "''")

    async def refresh(self, *, older_than: float = 0.0) -> None:
        """Read what is new, forget what is gone, unless that was done in the last `older_than` seconds.

        Raises Transient, Terminal, and NotReady when it takes too long.
        """
        async with self._refreshing:
            if time.monotonic() - self._refreshed < older_than:
                return
            with anyio.move_on_after(REFRESH_SECONDS) as scope:
                await self._refresh()
        if scope.cancelled_caught:
            raise NotReady(f"the archive is still being read: {self.objects} objects so far", fix="ask again")

    async def _refresh(self) -> None:
        wanted = {_name(key): key for key in await self._archive.keys()}
        there = {path.name for path in self.folder.glob("*.parquet")} - {"none.parquet"}
        for name in there - wanted.keys():
            (self.folder / name).unlink(missing_ok=True)
        self.objects = len(there & wanted.keys())
        for name, key in wanted.items():
            if name not in there and key not in self.unreadable:
                await self._take(key, self.folder / name)
        self._refreshed = time.monotonic()

    async def _take(self, key: str, path: Path) -> None:
        """One object; one that cannot be read is told and left out."""
        try:
            records = await self._archive.read(key)
        except ConfigError as error:
            self.unreadable[key] = error.what
            return
        await to_thread.run_sync(lambda: _write(path, _table(key, records)))
        self.objects += 1


def _name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:40] + ".parquet"


def _table(key: str, records: Sequence[Mapping[str, Json]]) -> pa.Table:
    items = {str(line): {**record, "object": key} for line, record in enumerate(records)}
    columns = _COLUMNS.columns_of(items, sequences=[0] * len(items), at=datetime.now(tz=UTC))
    return _COLUMNS.table(columns).select(_SCHEMA.names)


def _write(path: Path, table: pa.Table) -> None:
    """Whole or not at all."""
    half = path.with_suffix(".half")
    pq.write_table(table, half, compression="zstd")
    half.rename(path)
