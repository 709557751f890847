"""Hostile statements: refused, or stopped within the limits of a process of their own; the writer goes on.

`THINGSTORM_HOSTILE=all` runs every bomb (minutes) instead of one of each kind.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from hostile_statements import BOMBS, ENDURED, REFUSED
from view_changes import telemetry

from analytics.query_catalog import catalog
from analytics.view.confined import MEMORY
from analytics.view.duckdb import DuckDBView
from analytics.view.judging import judge
from contracts.errors import ConfigError
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio

ALL = os.environ.get("THINGSTORM_HOSTILE") == "all"
RUN = BOMBS if ALL else ("SELECT len(range(500000000)) FROM telemetry",)
ROWS = 200


@asynccontextmanager
async def a_view() -> AsyncIterator[DuckDBView]:
    view = DuckDBView(None, confined_seconds=3.0)
    async with supervise([view], drain_seconds=10):
        await view.apply(
            [telemetry(n, topic="dt/a", payload='{"t": 1}', payload_bytes=8) for n in range(ROWS)]
        )
        yield view


def test_there_are_at_least_three_hundred() -> None:
    assert len({*REFUSED, *BOMBS}) >= 300
    assert set(BOMBS) > ENDURED


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
def test_no_bomb_runs_beside_the_writer(bomb: str) -> None:
    assert not judge(bomb, {}).calm


async def test_the_queries_of_every_day_run_beside_the_writer() -> None:
    day = "SELECT device_id, count(*) n FROM telemetry WHERE received_at > now() - INTERVAL 60 SECOND GROUP BY 1"
    joined = (
        "SELECT d.state, avg(t.payload_bytes) FROM telemetry t JOIN devices d USING (device_id) GROUP BY 1"
    )
    assert [
        judge(sql, {}).why for sql in (day, joined, "DESCRIBE telemetry", "SHOW TABLES", "SELECT $n")
    ] == [""] * 5
    assert judge(catalog()["top_talkers"].sql, {"seconds": 60, "top": 10}).why == ""


@pytest.mark.timeout(900)
async def test_each_is_refused_or_stopped_and_nothing_is_written() -> None:
    before = {path.name for path in Path("/tmp").glob("evil*")}
    async with a_view() as view:
        named = await view.names()
        tried = (*(one for one in REFUSED if _at_once(one)), *RUN)
        answered = {statement for statement in tried if await _answered(view, statement)}
        assert answered <= ENDURED, answered - ENDURED
        assert (await view.query("SELECT count(*), count(DISTINCT topic) FROM telemetry")).rows == (
            (ROWS, 1),
        )
        assert await view.names() == named
        assert psutil.Process().memory_info().rss < MEMORY
    assert {path.name for path in Path("/tmp").glob("evil*")} == before


async def _answered(view: DuckDBView, statement: str) -> bool:
    try:
        await view.ask(statement)
    except ConfigError:
        return False
    return True


def _at_once(statement: str) -> bool:
    """Whether it is refused without a process of its own: those that need one take a second each."""
    told = judge(statement, {})
    return ALL or told.calm or bool(told.writes) or not statement.startswith(("SELECT", "EXPLAIN"))


async def test_what_the_process_answers_is_what_the_view_would() -> None:
    async with a_view() as view:
        sql = "SELECT received_at, payload->>'t' AS t, n FROM telemetry, range(2) r(n) WHERE n = $n ORDER BY _id LIMIT 2"
        assert not judge(sql, {"n": 1}).calm
        told, here = await view.ask(sql, {"n": 1}), await view.query(sql, {"n": 1})
        assert (told.columns, told.rows) == (here.columns, here.rows)
