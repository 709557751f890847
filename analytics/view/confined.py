"""Statements that may grow without bound, in a process of their own: the operating system holds the limits.

It gets copies of the collections that the statement names, runs it once, and ends. Linux kills or refuses what goes
beyond `MEMORY`, its seconds of processor time and the size of the answer; the writer's memory is never at stake.
"""

import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anyio
import duckdb
import pyarrow as pa
from anyio import to_thread
from anyio.abc import Process

from contracts.errors import ConfigError
from contracts.messages import Json
from contracts.ports import Rows

from .carried import pack, unpack
from .reading import gate, run_query
from .storage import SHUT

MEMORY = 1 << 30
"""Bytes of address space beyond what the interpreter and its libraries take."""

SECONDS = 5.0
"""A statement's processor time; by the clock it gets twice that, from when its copies are loaded."""

START_SECONDS = 20.0
"""The process has loaded its copies by then: 0.5 s on an idle machine, several on one that is full."""

ANSWER = 64 << 20
"""Bytes of an answer: RLIMIT_FSIZE of the process."""

COPIED_ROWS = 200_000
"""Rows of one collection, copied before the statement runs. More is refused, never cut."""


def copy_out(cursor: duckdb.DuckDBPyConnection, sql: str, folder: Path) -> None:
    """The definitions of all collections, and the rows of those whose name is in the statement. Closes the cursor."""
    lowered = sql.lower()
    try:
        gate(cursor, sql)
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        tables = cursor.execute(
            "SELECT table_name, sql FROM duckdb_tables() WHERE schema_name = 'main' AND database_name = current_database()"
        ).fetchall()
        told = [(name, ddl) for name, ddl in tables if not name.startswith("_")]
        (folder / "tables.json").write_text(json.dumps(told))
        for name, _ in told:
            if name.lower() in lowered:
                _copy(cursor, name, folder / f"{name}.arrow")
    finally:
        cursor.close()


def _copy(cursor: duckdb.DuckDBPyConnection, name: str, path: Path) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    ((rows,),) = cursor.execute(f"SELECT count(*) FROM {quoted}").fetchall()  # noqa: S608 - a name of the catalogue, quoted
    if rows > COPIED_ROWS:
        raise ConfigError(
            f"{name} has {rows} rows, and a statement of this kind may read collections of {COPIED_ROWS}",
            fix="leave out lists, growing functions and joins without an equation: it is then read in place",
        )
    reader = cursor.sql(f"SELECT * FROM {quoted}").to_arrow_reader()  # noqa: S608 - a name of the catalogue, quoted
    with pa.ipc.new_stream(str(path), reader.schema) as stream:
        for batch in reader:
            stream.write_batch(batch)


async def run_confined(
    sql: str, parameters: Mapping[str, Json], folder: Path, *, why: str, seconds: float = SECONDS
) -> Rows:
    """Run it in a process of its own on what `copy_out` wrote; a cancelled one is killed. Raises ConfigError."""
    ask = {"sql": sql, "parameters": dict(parameters), "seconds": seconds}
    (folder / "ask.json").write_text(pack(ask))
    ran = await _ran(folder, seconds)
    told = await to_thread.run_sync(_read, folder / "answer.json") if ran else None
    if told is None:
        raise ConfigError(
            f"stopped at {seconds:.0f} s or {MEMORY >> 20} MiB, the limits of a statement with {why}",
            fix="make smaller values or fewer rows, or aggregate",
        )
    if "error" in told:
        raise ConfigError(told["error"], fix=told["fix"])
    return Rows(
        tuple(told["columns"]), tuple(map(tuple, told["rows"])), told["milliseconds"], tuple(told["types"])
    )


async def _ran(folder: Path, seconds: float) -> bool:
    """Whether the process came to its end by itself and in time."""
    process = await anyio.open_process(
        [sys.executable, "-m", "analytics.view.confined", str(folder)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with anyio.move_on_after(START_SECONDS), suppress(anyio.EndOfStream):
            if process.stdout is not None:
                await process.stdout.receive(1)  # its copies are loaded, or it has ended
        with anyio.move_on_after(2 * seconds):
            return await process.wait() == 0
        return False
    finally:
        await end(process)


async def end(process: Process) -> None:
    """Kill it unless it has ended, and wait until it has."""
    with anyio.CancelScope(shield=True):
        if process.returncode is None:
            with suppress(ProcessLookupError):
                # not `process.kill()`: that looks whether it has ended, and then the event loop cannot
                os.kill(process.pid, signal.SIGKILL)
        await process.aclose()


def a_folder() -> tempfile.TemporaryDirectory[str]:
    """Where a statement and its copies lie; readable by us only."""
    return tempfile.TemporaryDirectory(prefix="thingstorm-query-", ignore_cleanup_errors=True)


def _read(path: Path) -> dict[str, Any] | None:
    with suppress(ValueError):
        told: dict[str, Any] = unpack(path.read_text())
        return told
    return None


def limit_memory() -> None:
    """From here on the system refuses this process memory beyond what it has and `MEMORY`."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    space = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (space, space))


def _limit(seconds: float) -> None:
    """Memory, processor time and long files."""
    limit_memory()
    used = resource.getrusage(resource.RUSAGE_SELF)
    processor = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (processor, processor))
    resource.setrlimit(resource.RLIMIT_FSIZE, (ANSWER, ANSWER))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _load(folder: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": f"{MEMORY // 2 >> 20}MB"})
    for statement in ("SET TimeZone = 'UTC'", "SET temp_directory = ''"):
        connection.execute(statement)
    for name, definition in json.loads((folder / "tables.json").read_text()):
        connection.execute(definition)
        if (file := folder / f"{name}.arrow").exists():
            with pa.ipc.open_stream(str(file)) as reader:
                connection.register("_copied", reader.read_all())
            quoted = '"' + name.replace('"', '""') + '"'
            connection.execute(f"INSERT INTO {quoted} BY NAME SELECT * FROM _copied")  # noqa: S608 - a name of the catalogue, quoted
            connection.unregister("_copied")
            file.unlink()
    for statement in SHUT:
        connection.execute(statement)
    return connection


def main(folder: Path) -> None:
    """The process: copies in, limits on, one statement, its answer out."""
    os.nice(10)  # the writer goes first
    connection = _load(folder)
    ask = unpack((folder / "ask.json").read_text())
    _limit(ask["seconds"])
    sys.stdout.write("!")
    sys.stdout.close()
    try:
        rows = run_query(connection.cursor(), ask["sql"], ask["parameters"], known=())
        told = asdict(rows)
    except ConfigError as error:
        told = {"error": str(error), "fix": error.fix}
    (folder / "answer.json").write_text(pack(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
