"""Queries, guarded: one read-only statement on a cursor of its own; and what a statement would use."""

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import duckdb

from contracts.errors import ConfigError
from contracts.messages import Json
from contracts.ports import Access, Rows

from .collection import Collection
from .storage import first_line

MAX_ROWS = 10_000
"""Rows of one answer at most; a person reads tens, a program should aggregate in SQL."""

MAX_BYTES = 32 << 20
"""Of the texts in one answer. Rows come `FETCHED` at a time, so that it is seen before all of them are here."""

FETCHED = 500
MAX_STATEMENT = 100_000

_PARQUET = "READ_PARQUET"
_COLUMN_OF_FILTER = re.compile(r'"?([A-Za-z_]\w*)"?\s*(?:=|<|>|IN\b|BETWEEN\b)')


def run_query(
    cursor: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Json], *, known: Iterable[str]
) -> Rows:
    """Run one read-only statement and close the cursor. Raises ConfigError."""
    began = time.perf_counter()
    try:
        gate(cursor, sql)
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        result = cursor.execute(sql, parameters or None)
        told = result.description or ()
        rows = _bounded(result)
    except duckdb.Error as error:
        raise ConfigError(first_line(error), fix=_hint(error, known)) from None
    finally:
        cursor.close()
    columns, types = tuple(str(column[0]) for column in told), tuple(str(column[1]) for column in told)
    return Rows(columns, tuple(rows), (time.perf_counter() - began) * 1000, types)


def _bounded(result: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    size = 0
    while some := result.fetchmany(FETCHED):
        rows += some
        size += sum(
            len(value) for row in some for value in row if isinstance(value, str | bytes | list | dict)
        )
        if len(rows) > MAX_ROWS:
            raise ConfigError(f"more than {MAX_ROWS} rows", fix="add LIMIT, or aggregate")
        if size > MAX_BYTES:
            raise ConfigError(
                f"the answer is larger than {MAX_BYTES >> 20} MiB",
                fix="choose columns, add LIMIT, or aggregate",
            )
    return rows


def gate(cursor: duckdb.DuckDBPyConnection, sql: str) -> None:
    """One statement, a SELECT or one that only explains. A write inside a CTE is stopped by the transaction."""
    if len(sql) > MAX_STATEMENT:
        raise ConfigError(f"the statement is longer than {MAX_STATEMENT} characters", fix="shorten it")
    statements = cursor.extract_statements(sql)
    if len(statements) != 1:
        raise ConfigError(f"{len(statements)} statements, expected one", fix="send one SELECT at a time")
    if statements[0].type not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
        raise ConfigError(
            "only SELECT is allowed", fix="the view follows the tables: write to the tables instead"
        )


def accesses(plan: str, collections: Mapping[str, Collection]) -> tuple[Access, ...]:
    """What a statement read of each table and by which index, from its plan (EXPLAIN ANALYZE, JSON).

    Nothing if statistics alone gave the answer.
    """
    return tuple(_access(scan, collections) for scan in _scans(json.loads(plan).get("operator", [])))


def _scans(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for node in nodes:
        if "Table" in node["extra_info"] or node["extra_info"].get("Function") == _PARQUET:
            yield node
        yield from _scans(node.get("children", []))


def _access(scan: dict[str, Any], collections: Mapping[str, Collection]) -> Access:
    told = scan["extra_info"]
    table = str(told.get("Table", "archive")).rpartition(".")[2].strip('"')
    filters = tuple(
        one
        for kind in ("Filters", "Dynamic Filters")
        for one in ([told[kind]] if isinstance(told.get(kind), str) else told.get(kind, []))
    )
    names = {found[1] for one in filters for found in _COLUMN_OF_FILTER.finditer(one)}
    used = _used(str(told.get("Type", _PARQUET)), names, collections.get(table))
    groups = f"{scan['row_groups_scanned']} of {scan['total_row_groups_to_scan']}"
    return Access(table, used, filters, int(scan["rows_scanned"]), groups)


def _used(kind: str, names: set[str], collection: Collection | None) -> str:
    if "Index" in kind:
        return "key index" if "_id" in names or not names else f"index on {', '.join(sorted(names))}"
    if collection is not None and collection.event_time in names:
        return f"zone maps of {collection.event_time}"
    return f"zone maps of {', '.join(sorted(names))}" if names else "full scan"


def _hint(error: duckdb.Error, known: Iterable[str]) -> str:
    near = re.search(r"Did you mean \"?([^\"?\n]+)", str(error)) or re.search(
        r"Candidate[^:]*: ([^\n]+)", str(error)
    )
    if near:
        return f"did you mean {near[1]}?"
    return f"collections: {', '.join(known)}; `DESCRIBE telemetry` lists columns"
