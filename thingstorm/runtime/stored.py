"""Asks a stored view's file, when no stack has it open."""

from functools import partial
from pathlib import Path
from typing import Any

import anyio

from analytics.view.duckdb import DuckDBView
from contracts.errors import ConfigError
from contracts.ports import Rows
from thingstorm.runtime.supervisor import supervise


def query_stored(path: Path, statement: str) -> dict[str, Any]:
    """The answer in the API's shape. Raises ConfigError (no such file, refused statement), BackendError."""
    if not path.is_file():
        raise ConfigError(f"no stored view at {path}", fix="give the view.path that a stack was started with")
    rows = anyio.run(partial(_query, path, statement))
    return {
        "columns": list(rows.columns),
        "rows": [list(row) for row in rows.rows],
        "milliseconds": rows.milliseconds,
    }


async def _query(path: Path, statement: str) -> Rows:
    view = DuckDBView(path)
    async with supervise([view], drain_seconds=1.0):
        return await view.query(statement)
