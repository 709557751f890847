"""Stages as processes, killed under load: what the broker acknowledged is stored and viewed once."""

import os
import random
import time
from pathlib import Path

import boto3
import pytest
from acknowledged_load import AcknowledgedLoad
from stage_processes import STAGES, StageProcesses, stages

KILLS = int(os.environ.get("KILLS", "6"))
"""By hand 20 and more: `KILLS=20 pytest tests/acceptance/test_stages_kills.py`; `make compose-test` has 20 as well."""

SETTLE_SECONDS = 90


def settled(running: StageProcesses, acknowledged: set[str]) -> dict[str, int]:
    """Rows, distinct messages and distinct traces of the view, once it holds every acknowledged trace."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        (row,) = running.query(
            "SELECT count(*) AS n, count(DISTINCT message_id) AS messages, "
            "count(DISTINCT payload->>'trace') AS traces FROM telemetry"
        )
        if row["traces"] >= len(acknowledged) or time.monotonic() > deadline:
            return row
        time.sleep(0.5)


def traces(running: StageProcesses) -> set[str]:
    """Every trace in the view, read in pages: an answer has at most 10,000 rows."""
    found: set[str] = set()
    while True:
        rows = running.query(
            "SELECT DISTINCT payload->>'trace' AS trace FROM telemetry "
            f"ORDER BY 1 LIMIT 9000 OFFSET {len(found)}"
        )
        found |= {row["trace"] for row in rows}
        if len(rows) < 9000:
            return found


def stored(running: StageProcesses) -> int:
    dynamodb = boto3.client(
        "dynamodb",
        endpoint_url=f"http://127.0.0.1:{running.aws}",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    pages = dynamodb.get_paginator("scan").paginate(TableName="thingstorm-telemetry", Select="COUNT")
    return sum(page["Count"] for page in pages)


@pytest.mark.timeout(420)
def test_kills_of_pipeline_and_analytics_lose_and_double_nothing(tmp_path: Path) -> None:
    dice = random.Random(20)
    with stages(tmp_path) as running:
        running.start_all()
        with AcknowledgedLoad(port=running.mqtt, rate=150) as load:
            for _ in range(KILLS):
                victim = dice.choice(("pipeline", "analytics"))
                if dice.random() < 0.8:  # most die at work, some while they start
                    running.wait_ready(victim)
                time.sleep(dice.uniform(0.0, 1.5))
                running.kill(victim)
                running.start(victim)
            acknowledged = load.finish()
        running.wait_ready(*STAGES)
        row = settled(running, acknowledged)
        assert len(acknowledged) == load.sent > 50 * KILLS
        assert traces(running) == acknowledged
        assert row == {"n": load.sent, "messages": load.sent, "traces": load.sent}
        assert stored(running) == load.sent


@pytest.mark.timeout(240)
def test_a_killed_broker_forgets_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    with stages(tmp_path) as running:
        running.start_all()
        with AcknowledgedLoad(port=running.mqtt, rate=100) as load:
            for _ in range(3):
                time.sleep(1.5)
                running.kill("broker")
                time.sleep(0.5)
                running.start("broker")
                running.wait_ready("broker")
            acknowledged = load.finish()
        running.wait_ready(*STAGES)
        row = settled(running, acknowledged)
        assert len(acknowledged) == load.sent
        assert traces(running) == acknowledged
        # a message whose acknowledgement died with the broker comes again, as QoS 1 does: another message
        assert row["n"] == row["messages"] >= row["traces"] == load.sent


@pytest.mark.timeout(240)
def test_a_broker_alone_keeps_messages_over_its_own_restart(tmp_path: Path) -> None:
    with stages(tmp_path) as running:
        running.start_aws()
        running.start("broker")
        running.wait_ready("broker")
        with AcknowledgedLoad(port=running.mqtt, rate=200) as load:
            time.sleep(2)
            acknowledged = load.finish()
        (journal,) = [
            buffer
            for buffer in running.health("broker")["services"][0]["buffers"]
            if buffer["name"] == "messages"
        ]
        assert journal["used"] == len(acknowledged) == load.sent
        assert running.stop("broker") == 0
        for stage in STAGES:
            running.start(stage)
        running.wait_ready(*STAGES)
        assert settled(running, acknowledged)["n"] == load.sent
