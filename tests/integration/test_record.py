"""`record` against the real gateway, with the limits of AWS and without; what it writes is played again."""

import json
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from ports import free_port

from broker.embedded import BrokerSettings, EmbeddedBroker
from contracts.clock import SystemClock
from contracts.messages import Message
from contracts.streams import BatchStream
from simulator.fleet import Simulator
from simulator.recording import read_recording
from simulator.scenario import load
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio

TEXT = """\
scenario: v1
name: quick
duration: 60s
fleet:
  - {group: meter, count: 4, topic: "dt/meter/{device}/t", every: 200ms, payload: {v: {walk: {start: 5, step: 1, min: 0, max: 9}}}}
  - {group: pump, count: 2, topic: "dt/pump/{device}/t", every: 500ms, payload: {state: {choice: [on-duty, resting]}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "quick.yaml").write_text(TEXT)
    return tmp_path


async def drain(stream: BatchStream[Message]) -> None:
    while True:
        batch = await stream.get()
        stream.done(batch)


async def record(folder: Path, *flags: str, port: int) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("thingstorm"), "record", "--port", str(port), *flags]
    return await to_thread.run_sync(
        lambda: subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=40)
    )


async def recorded(folder: Path, limits: str, *flags: str, seconds: int) -> subprocess.CompletedProcess[str]:
    """What `record` says while the fleet of TEXT speaks."""
    messages: BatchStream[Message] = BatchStream("messages", capacity=10_000)
    events: BatchStream[Message] = BatchStream("events", capacity=10_000)
    settings = BrokerSettings(port=0, limits=limits)  # type: ignore[arg-type]  # one of its two
    broker = EmbeddedBroker(settings=settings, clock=SystemClock(), messages=messages, events=events)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drain, messages)
        tasks.start_soon(drain, events)
        async with supervise([broker], drain_seconds=5):
            fleet = Simulator(
                load(folder / "quick.yaml"), host="127.0.0.1", port=broker.port, clock=SystemClock()
            )
            async with supervise([fleet], drain_seconds=5):
                done = await record(folder, "--out", "r", "--seconds", str(seconds), *flags, port=broker.port)
        tasks.cancel_scope.cancel()
    return done


async def test_a_recording_says_what_was_there_and_its_scenario_loads(folder: Path) -> None:
    done = await recorded(folder, "open", seconds=4)
    assert done.returncode == 0, done.stderr
    assert "recording # of 127.0.0.1" in done.stdout
    assert "messages of 6 devices" in done.stdout
    rows = read_recording(folder / "r" / "recording.ndjson").rows
    assert 64 <= len(rows) <= 112  # 4 x 5 + 2 x 2 a second, for 4 s
    assert {row.client_id for row in rows} == {f"meter-000{n}" for n in (1, 2, 3, 4)} | {
        "pump-0001",
        "pump-0002",
    }
    assert all(isinstance(json.loads(row.payload)["seq"], int) for row in rows)
    scenario = load(folder / "r" / "scenario.yaml")
    assert {group.group: (group.count, group.topic) for group in scenario.fleet} == {
        "meter": (4, "dt/meter/{device}/t"),
        "pump": (2, "dt/pump/{device}/t"),
    }
    meter = next(group for group in scenario.fleet if group.group == "meter")
    assert meter.every.mean == pytest.approx(200_000_000, rel=0.15)
    assert meter.payload["v"].walk is not None
    assert 0 <= meter.payload["v"].walk.min < meter.payload["v"].walk.max <= 9


async def test_under_the_default_policy_of_devices_it_hears_what_that_allows(folder: Path) -> None:
    done = await recorded(folder, "aws", "--anonymise", seconds=2)
    assert done.returncode == 0, done.stderr
    assert "recording dt/#, cmd/#" in done.stdout
    text = (folder / "r" / "recording.ndjson").read_text() + (folder / "r" / "scenario.yaml").read_text()
    assert "meter-0" not in text
    assert "on-duty" not in text
    assert load(folder / "r" / "scenario.yaml").device_count == 6


async def test_a_broker_that_is_not_there_is_said_and_nothing_is_written(folder: Path) -> None:
    done = await record(folder, "--out", "r", port=free_port())
    assert done.returncode == 3
    assert "nobody listens at" in done.stderr
    assert "fix: start the broker" in done.stderr
    assert not (folder / "r").exists()
