"""The examples that ask over the PostgreSQL port: the incident told in SQL, and the statements of Grafana's dashboard."""

import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import yaml
from anyio import to_thread
from view_changes import device, telemetry

from analytics.postgres.server import PostgresServer
from analytics.view.duckdb import DuckDBView
from analytics.view.kept import PostgresCatalogue
from contracts.messages import Change, Json
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOW = int(time.time()) * 1000


def _row(collection: str, key: str, number: int, **values: Json) -> Change:
    return Change("INSERT", collection, {key: values[key]}, values, None, number, "s")


def _metric(name: str, number: int, messages: int) -> Change:
    key = {"device_id": name, "period_start": NOW + 1_000 * number}
    row = {**key, "num_messages_received": messages, "message_bytes_received": 40 * messages}
    return Change("INSERT", "device_metrics", key, row, None, 10 * number + len(name), "s")


def _story() -> list[Change]:
    """Two pumps of which one floods, for three seconds; an attack is seen, the pump shut out."""
    names = ("bad", "good-1")
    changes = [
        device(name, number + 1, device_type="pump", connected=True) for number, name in enumerate(names)
    ]
    changes += [_metric("bad", second, 900) for second in range(3)]
    changes += [_metric("good-1", second, 3) for second in range(3)]
    changes += [
        telemetry(n, device_id="bad", received_at=NOW + n, topic="dt/pump/x", payload_bytes=70)
        for n in range(5)
    ]
    changes += [
        _row("verdicts", "verdict_id", n + 1, verdict_id=f"v{n}", window_end=NOW + 1_000 * n, kind="attack",
             confidence=0.91, uptick=8.0, devices=["bad"], summary="a flood")
        for n in range(3)
    ]  # fmt: skip
    changes.append(
        _row("incidents", "incident_id", 1, incident_id="inc-1", kind="attack", opened_at=NOW, updated_at=NOW + 3_000,
             devices=["bad"], summary="bad floods")
    )  # fmt: skip
    changes.append(
        _row("actions", "action_id", 1, action_id="a1", acted_at=NOW + 500, who="model", action="quarantine",
             target="bad", outcome="done", incident_id="inc-1")
    )  # fmt: skip
    return changes


@asynccontextmanager
async def _a_story() -> AsyncIterator[int]:
    """The port of a server over it."""
    view = DuckDBView(None)
    server = PostgresServer(view=view, catalogue=PostgresCatalogue(view), host="127.0.0.1", port=0)
    async with supervise([view, server], drain_seconds=5):
        await view.apply(_story())
        yield server.port


async def test_the_examples_ask_what_the_view_answers() -> None:
    async with _a_story() as port:
        told = await to_thread.run_sync(_explore, port)
        answers = await to_thread.run_sync(_panels, port)
    blocks = told.split("\n\n")
    assert blocks[0].splitlines()[0] == "attack inc-1"
    assert re.search(r"attack +0\.91 +8\.0 +1", blocks[1])
    assert re.search(r"bad +pump +2700 +108000 +300\.0", blocks[2])
    assert re.search(r"dt/pump/x +5 +1 +70", blocks[3])
    assert re.search(r"model +quarantine +bad +done", blocks[4])
    assert answers["Open attacks"] == [(1,)]
    assert answers["Last verdict"] == [("attack",)]
    assert sum(row[1] for row in answers["Messages"]) == 2709
    assert answers["Top talkers"][0] == ("bad", 2700, 108_000)
    assert [row[6] for row in answers["Incidents"]] == ["inc-1"]
    assert {"Verdicts", "What was done", "Devices online", "Devices in quarantine"} <= set(answers)


def _explore(port: int) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / "incident/explore.py", "--dsn", f"host=127.0.0.1 port={port} user=me"],
        capture_output=True, text=True, check=False, timeout=50,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def _panels(port: int) -> dict[str, list[tuple[object, ...]]]:
    """Each panel's statement with the macros as Grafana fills them in."""
    dashboard = json.loads((EXAMPLES / "monitoring/grafana/dashboards/incidents.json").read_text())
    source = EXAMPLES / "monitoring/grafana/provisioning/datasources/thingstorm.yaml"
    known = {one.get("uid") for one in yaml.safe_load(source.read_text())["datasources"]}
    ends = [
        datetime.fromtimestamp(NOW / 1000 + by, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for by in (-60, 60)
    ]
    answers = {}
    with psycopg.connect(f"host=127.0.0.1 port={port} user=grafana", autocommit=True) as connection:
        for panel in dashboard["panels"]:
            (target,) = panel["targets"]
            assert target["datasource"]["uid"] in known
            sql = re.sub(
                r"\$__timeFilter\((\w+)\)", rf"\1 BETWEEN '{ends[0]}' AND '{ends[1]}'", target["rawSql"]
            ).replace("$__interval_ms", "1000")
            assert "$__" not in sql
            answers[panel["title"]] = list(connection.execute(sql.encode()))
    return answers
