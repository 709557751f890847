"""Stages as processes, killed under load: what the broker acknowledged is stored and viewed once."""

import time
from pathlib import Path

import pytest
from acknowledged_load import AcknowledgedLoad
from stage_crashes import VICTIMS, crash, settled, traces
from stage_processes import STAGES, stages

pytestmark = pytest.mark.stages

KILLS = 4
"""One of each process; `python benchmarks/crashes.py` kills twenty."""


@pytest.mark.timeout(300)
def test_kills_of_router_worker_delivery_and_stream_reader_lose_and_double_nothing(tmp_path: Path) -> None:
    with stages(tmp_path) as running:
        outcome = crash(running, kills=KILLS, rate=150, seed=20, tell=lambda _: None)
    assert outcome.acknowledged == outcome.sent > 100
    assert outcome.viewed == outcome.rows == outcome.stored == outcome.sent
    assert outcome.unarchived == 0
    assert outcome.dead_letters == 0
    assert set(outcome.killed) == set(VICTIMS)


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
        row = settled(running, len(acknowledged))
        assert load.unacknowledged == []
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
        assert settled(running, len(acknowledged))["n"] == load.sent
