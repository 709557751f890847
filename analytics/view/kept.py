"""The catalogue for clients of PostgreSQL, in a process of its own that stays: the system holds its limits.

Drivers ask it tens of questions when they connect, so it is kept warm; it holds names and types, never rows. A
statement that goes beyond memory or time ends the process, and the next one gets another.
"""

import math
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import anyio
import duckdb
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from contracts.errors import ConfigError
from contracts.messages import Json
from contracts.ports import Rows, View

from .carried import pack, unpack
from .confined import MEMORY, end, limit_memory
from .pg_catalogue import LISTING, fill, prepare, rewrite
from .reading import run_query
from .storage import SHUT

SECONDS = 5.0
"""A statement's processor time; by the clock it gets twice that."""

START_SECONDS = 20.0
ANSWER = 32 << 20
FRESH_SECONDS = 1.0
"""So long the list of tables is not asked for again."""


class PostgresCatalogue:
    """What `pg_catalog` and `information_schema` say of the view's tables. Close it."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._turn = anyio.Lock()
        self._process: Process | None = None
        self._answers: BufferedByteReceiveStream | None = None
        self._listing: tuple[tuple[Any, ...], ...] | None = None
        self._listed = -math.inf

    async def ask(self, sql: str, parameters: Mapping[str, Json] | None = None) -> Rows:
        """Run one statement on the catalogue. Raises ConfigError, also for one beyond memory and time."""
        async with self._turn:
            done = False
            try:
                with anyio.move_on_after(2 * SECONDS + START_SECONDS):
                    await self._refresh()
                    told = await self._call({"sql": rewrite(sql), "parameters": dict(parameters or {})})
                    done = True
            except (
                anyio.EndOfStream,
                anyio.IncompleteRead,
                anyio.BrokenResourceError,
                anyio.DelimiterNotFound,
            ):
                told = {}
            finally:
                if not done:
                    await self._end()
        if not done:
            raise ConfigError(
                f"stopped at {SECONDS:.0f} s or {MEMORY >> 20} MiB, the limits of a statement on the catalogue",
                fix="ask for less",
            )
        if "error" in told:
            raise ConfigError(told["error"], fix=told["fix"])
        return Rows(
            tuple(told["columns"]),
            tuple(map(tuple, told["rows"])),
            told["milliseconds"],
            tuple(told["types"]),
        )

    async def close(self) -> None:
        """End the process."""
        async with self._turn:
            await self._end()

    async def _refresh(self) -> None:
        """A process, with the tables that there are now."""
        if self._process is None:
            self._process = await anyio.open_process(
                [sys.executable, "-m", "analytics.view.kept"], stderr=subprocess.DEVNULL
            )
            assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
            self._answers = BufferedByteReceiveStream(self._process.stdout)
            self._listing = None
        if self._listing is None or anyio.current_time() - self._listed > FRESH_SECONDS:
            rows = (await self._view.query(LISTING)).rows
            self._listed = anyio.current_time()
            if rows != self._listing:
                await self._call({"tables": rows})
                self._listing = rows

    async def _call(self, asked: dict[str, Any]) -> dict[str, Any]:
        process, answers = self._process, self._answers
        if process is None or process.stdin is None or answers is None:
            raise anyio.EndOfStream
        await process.stdin.send(pack(asked).encode() + b"\n")
        told: dict[str, Any] = unpack(await answers.receive_until(b"\n", ANSWER))
        return told

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await end(process)


def main() -> None:
    """The process: one line asks, one line answers, until the other end closes."""
    connection = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": f"{MEMORY // 4 >> 20}MB"})
    connection.execute("SET temp_directory = ''")
    prepare(connection)
    for statement in SHUT:
        connection.execute(statement)
    limit_memory()
    for line in sys.stdin.buffer:
        used = resource.getrusage(resource.RUSAGE_SELF)
        soft = math.ceil(used.ru_utime + used.ru_stime + SECONDS)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))
        sys.stdout.write(pack(_answer(connection, unpack(line))) + "\n")
        sys.stdout.flush()


def _answer(connection: duckdb.DuckDBPyConnection, asked: dict[str, Any]) -> dict[str, Any]:
    if "tables" in asked:
        fill(connection, asked["tables"])
        return {}
    cursor = connection.cursor()
    cursor.execute("USE thingstorm")
    try:
        return asdict(run_query(cursor, asked["sql"], asked["parameters"], known=()))
    except ConfigError as error:
        return {"error": str(error), "fix": error.fix}


if __name__ == "__main__":
    main()
