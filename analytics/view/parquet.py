"""Small tables as Parquet files, through DuckDB: written whole or not at all, with facts about them in the file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from contracts.errors import BackendError
from contracts.messages import Json

_FACTS = "thingstorm"
"""The key of our facts among the file's key-value metadata."""


def write_parquet(
    path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema, facts: Mapping[str, Json]
) -> None:
    """Write the rows; who reads meanwhile sees the old file or the new one. Raises BackendError."""
    fresh = path.with_name(f"{path.name}.new")
    table = pa.Table.from_pylist(list(rows), schema=schema)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect() as connection:
            connection.register("rows_to_write", table)
            connection.execute(
                f"COPY rows_to_write TO {_quoted(str(fresh))} "
                f"(FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{_FACTS}: {_quoted(json.dumps(facts))}}})"
            )
        fresh.replace(path)
    except (duckdb.Error, OSError) as error:
        raise BackendError(
            f"cannot write {path}: {str(error).splitlines()[0]}",
            fix="give a path that this user may write to",
        ) from None


def read_parquet(path: Path) -> tuple[list[dict[str, Any]], dict[str, Json]]:
    """The rows and the facts. Raises BackendError for a file that is no Parquet, or not one of ours."""
    try:
        with duckdb.connect() as connection:
            found = connection.execute(
                "SELECT decode(value) FROM parquet_kv_metadata(?) WHERE decode(key) = ?", [str(path), _FACTS]
            ).fetchone()
            if found is None:
                raise BackendError(f"{path} is not written by us", fix="move it away")
            answer = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
            names = [str(column[0]) for column in answer.description or ()]
            rows = [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
    except duckdb.Error as error:
        raise BackendError(
            f"cannot read {path}: {str(error).splitlines()[0]}", fix="move it away: it is made anew"
        ) from None
    return rows, dict(json.loads(found[0]))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
