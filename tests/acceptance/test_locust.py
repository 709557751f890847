"""`simulator/locustfile.py` under Locust itself: a master and two workers against our gateway."""

import csv
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from conftest import ROOT
from ports import free_port

from broker.embedded import BrokerSettings, EmbeddedBroker
from contracts.clock import SystemClock
from contracts.messages import Message
from contracts.streams import BatchStream
from simulator.scenario import load
from thingstorm.runtime.supervisor import supervise

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

LOCUSTFILE = ROOT / "simulator" / "locustfile.py"
TEXT = """\
scenario: v1
name: shared
duration: 4s
seed: 3
fleet:
  - {group: meter, count: 7, topic: "dt/meter/{device}/telemetry", every: 200ms}
  - {group: valve, count: 4, topic: "dt/valve/{device}/telemetry", qos: 0, every: 500ms}
timeline:
  - {id: bots, at: 2s, for: 1s, kind: attack.coordinated_botnet, targets: {group: meter, count: 3}}
"""
"""It is over before Locust is: what was published was also acknowledged."""


def locust(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def a_swarm(*arguments: str, cwd: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """A master and two workers; whoever still runs at the end is ended."""
    port = str(free_port())
    started = [
        locust(
            "--headless", "--master", "--expect-workers", "2", "--master-bind-host", "127.0.0.1",
            "--master-bind-port", port, "-u", "2", "-r", "2", "-t", "8s", "--csv", "told", *arguments, cwd=cwd,
        ),
        *(
            locust("--worker", "--master-host", "127.0.0.1", "--master-port", port, cwd=cwd)
            for _ in range(2)
        ),
    ]  # fmt: skip
    try:
        yield started
    finally:
        for one in started:
            if one.poll() is None:
                one.kill()
            one.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, _ = process.communicate(timeout=60)
    return process.returncode, out


@pytest.mark.long
async def test_two_workers_share_the_devices_and_locust_counts_every_message(tmp_path: Path) -> None:
    (tmp_path / "shared.yaml").write_text(TEXT)
    messages = BatchStream[Message]("messages", capacity=10_000)
    events = BatchStream[Message]("events", capacity=10_000)
    broker = EmbeddedBroker(
        settings=BrokerSettings(port=0), clock=SystemClock(), messages=messages, events=events
    )
    seen: list[Message] = []
    told: list[Message] = []

    async def collect(stream: BatchStream[Message], into: list[Message]) -> None:
        while True:
            batch = await stream.get()
            into.extend(batch)
            stream.done(batch)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(collect, messages, seen)
        tasks.start_soon(collect, events, told)
        async with supervise([broker], drain_seconds=5):
            where = ("--scenario", "shared.yaml", "--mqtt-port", str(broker.port))
            with a_swarm(*where, cwd=tmp_path) as swarm:
                done = [await to_thread.run_sync(ended, one) for one in swarm]
            await anyio.sleep(0.2)
        tasks.cancel_scope.cancel()

    assert [code for code, _ in done] == [0, 0, 0], "\n\n".join(out for _, out in done)
    shares = sorted(out.split(": plays ")[1].split(" devices")[0] for _, out in done[1:])
    assert shares == ["5 of 11", "6 of 11"]
    devices = [name for group in load(tmp_path / "shared.yaml").fleet for name in group.device_ids()]
    connected = Counter(
        json.loads(one.payload)["clientId"] for one in told if "/presence/connected/" in one.topic
    )
    assert connected == dict.fromkeys(devices, 1), "no device was played twice"
    _check_messages(devices, seen)
    _check_statistics(tmp_path, seen)


def _check_messages(devices: list[str], seen: list[Message]) -> None:
    bots = set()
    starts = []
    for device in devices:
        bodies = [(one.topic, json.loads(one.payload)) for one in seen if one.client_id == device]
        assert [body["seq"] for _, body in bodies] == list(range(1, len(bodies) + 1))
        assert len(bodies) >= 6
        starts.append(bodies[0][1]["ts"])
        if any(not topic.endswith("/telemetry") for topic, _ in bodies):
            bots.add(device)
    assert len(bots) == 3, "all workers agree on the targets"
    assert max(starts) - min(starts) < 1_500, "and on the start"


def _check_statistics(folder: Path, seen: list[Message]) -> None:
    with (folder / "told_stats.csv").open() as file:
        rows = {row["Name"]: row for row in csv.DictReader(file)}
    counts = {name: int(row["Request Count"]) for name, row in rows.items()}
    assert (counts["connect meter"], counts["connect valve"]) == (7, 4)
    for name, group in (("publish qos1 meter", "meter"), ("publish qos0 valve", "valve")):
        assert counts[name] == sum(one.client_id.startswith(group) for one in seen)
    assert int(rows["Aggregated"]["Failure Count"]) == 0
    assert float(rows["publish qos1 meter"]["Average Response Time"]) > 0


def test_a_broker_that_is_not_there_is_a_failure_in_the_statistics(tmp_path: Path) -> None:
    (tmp_path / "shared.yaml").write_text(TEXT)
    where = ("--scenario", "shared.yaml", "--mqtt-port", str(free_port()))
    alone = locust("--headless", "-u", "1", "-t", "6s", "--csv", "told", *where, cwd=tmp_path)
    code, out = ended(alone)
    assert code == 1, out
    with (tmp_path / "told_failures.csv").open() as file:
        failures = {row["Name"]: row for row in csv.DictReader(file)}
    assert int(failures["connect meter"]["Occurrences"]) >= 7
    assert "no broker answered" in failures["connect meter"]["Error"]


def test_a_mistake_in_the_scenario_is_told_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(TEXT.replace("count: 7", "cuont: 7"))
    code, out = ended(locust("--headless", "-t", "2s", "--scenario", "wrong.yaml", cwd=tmp_path))
    assert code == 2
    assert "wrong.yaml:6" in out
    assert "cuont" in out
