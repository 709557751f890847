"""Statements in files against what they answer: `tests/sql/NAME.sql` and beside it `NAME.json`.

A file holds one statement, or `-- run: QUERY name=value ...` for a named query. Both see the rows that are made below. Columns, types,
rows, and their order must be as written; `pytest tests/integration/test_sql_files.py --refresh` writes them anew, for the diff to be read.
"""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from view_changes import device, telemetry

from analytics.answers import plain
from analytics.lambdas import QueryBook
from analytics.view.duckdb import DuckDBView
from contracts.errors import ConfigError
from contracts.messages import Change
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio

FOLDER = Path(__file__).parents[1] / "sql"
FILES = sorted(FOLDER.glob("*.sql"))
START = 1_700_000_000_000
"""Milliseconds: times that a statement shows. Those of `device_metrics` are near now, and no file may show them."""


def rows() -> list[Change]:
    """Three devices of the registry, of which two send; what the gateway counted of two, just now and long ago."""
    sent = [
        telemetry(n, device_id="ab"[n % 2], received_at=START + n * 700, payload=json.dumps({"t": 20 + n / 4}), payload_bytes=10)
        for n in range(40)
    ]  # fmt: skip
    fleet = [
        device(name, 1, device_type=kind, connected=name != "c", last_seen=START + 5)
        for name, kind in (("a", "x"), ("b", "x"), ("c", "y"))
    ]
    return [*sent, *fleet, *_counted()]


def _counted() -> list[Change]:
    now = int(time.time()) * 1000
    told = (
        ("a", 10_000, {"num_messages_received": 8, "message_bytes_received": 800, "message_byte_size_max": 120,
                       "topics": ["dt/x/a/t"]}),
        ("a", 190_000, {"num_messages_received": 5, "message_bytes_received": 500, "topics": ["dt/x/a/t"]}),
        ("b", 10_000, {"num_messages_received": 2, "message_bytes_received": 100, "message_byte_size_max": 60,
                       "num_connection_attempts": 3, "num_connects": 1, "num_authentication_failures": 2,
                       "topics": ["dt/x/b/odd", "dt/x/b/t"]}),
        ("$fleet", 10_000, {"num_messages_received": 10, "num_devices": 2}),
    )  # fmt: skip
    return [
        Change("INSERT", "device_metrics", key, {**key, "period_end": now, **counts}, None, ago, "m")
        for name, ago, counts in told
        for key in [{"device_id": name, "period_start": now - ago}]
    ]


@asynccontextmanager
async def a_view() -> AsyncIterator[DuckDBView]:
    view = DuckDBView(None)
    async with supervise([view], drain_seconds=5):
        await view.apply(rows())
        yield view


async def answer(view: DuckDBView, text: str) -> dict[str, Any]:
    """As JSON; a refusal is an answer too, by its first line and fix."""
    try:
        if text.startswith("-- run: "):
            name, *given = text.splitlines()[0].removeprefix("-- run: ").split()
            told = await QueryBook(view).run(name, dict(one.split("=", 1) for one in given))
        else:
            told = await view.ask(text)
    except ConfigError as error:
        return {"error": error.what.splitlines()[0], "fix": error.fix}
    return {"columns": list(told.columns), "types": list(told.types), "rows": plain(told.rows)}


def test_every_file_has_an_expectation_and_every_expectation_a_file(
    request: pytest.FixtureRequest,
) -> None:
    assert len(FILES) >= 10
    if not request.config.getoption("--refresh"):
        assert [file.stem for file in FILES] == sorted(file.stem for file in FOLDER.glob("*.json"))


async def test_each_file_answers_as_it_is_written(request: pytest.FixtureRequest) -> None:
    refresh, wrong = request.config.getoption("--refresh"), {}
    async with a_view() as view:
        for file in FILES:
            told = await answer(view, file.read_text())
            kept = file.with_suffix(".json")
            if refresh:
                kept.write_text(json.dumps(told, indent=1) + "\n")
            elif told != (expected := json.loads(kept.read_text())):
                wrong[file.name] = {"expected": expected, "answered": told}
    assert not wrong, (
        f"{json.dumps(wrong, indent=1)}\nright now? pytest {__file__} --refresh, and read the diff"
    )
