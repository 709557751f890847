"""The fleet's real paho clients against our real gateway."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from broker.embedded import BrokerSettings, EmbeddedBroker
from contracts.clock import SystemClock
from contracts.errors import BackendError
from contracts.messages import Message
from contracts.streams import BatchStream
from simulator import fleet
from simulator.fleet import Simulator
from simulator.scenario import Scenario, load
from simulator.transports.paho import PahoTransport
from simulator.transports.raw import RawTransport
from simulator.transports.sockets import SocketTransport
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio

TEXT = """\
scenario: v1
name: quick
duration: 2s
fleet:
  - {group: meter, count: 8, topic: "dt/meter/{device}/t", every: 100ms, listens: ["cmd/{device}/#"]}
timeline:
  - {id: storm, at: 500ms, for: 1s, kind: benign.reconnect_storm, targets: {group: meter, count: 3}, with: {outage: 400ms}}
"""


def quick(folder: Path, more: str = "") -> Scenario:
    (folder / "quick.yaml").write_text(TEXT + more)
    return load(folder / "quick.yaml")


class House:
    """A broker, and what reached its streams."""

    def __init__(self) -> None:
        self.messages: BatchStream[Message] = BatchStream("messages", capacity=10_000)
        self.events: BatchStream[Message] = BatchStream("events", capacity=10_000)
        self.broker = EmbeddedBroker(
            settings=BrokerSettings(port=0), clock=SystemClock(), messages=self.messages, events=self.events
        )
        self.seen: list[Message] = []

    async def collect(self, stream: BatchStream[Message], into: list[Message]) -> None:
        while True:
            batch = await stream.get()
            into.extend(batch)
            stream.done(batch)


@asynccontextmanager
async def a_house() -> AsyncIterator[House]:
    house = House()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(house.collect, house.messages, house.seen)
        tasks.start_soon(house.collect, house.events, [])
        async with supervise([house.broker], drain_seconds=5):
            yield house
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(("transport", "kind"), [("paho", PahoTransport), ("raw", RawTransport)])
async def test_every_message_of_the_fleet_arrives_and_is_acknowledged(
    tmp_path: Path, transport: str, kind: type[SocketTransport]
) -> None:
    scenario = quick(tmp_path, f"transport: {transport}\n")
    async with a_house() as house:
        simulator = Simulator(scenario, host="127.0.0.1", port=house.broker.port, clock=SystemClock())
        assert type(simulator._transport) is kind
        async with supervise([simulator], drain_seconds=5):
            assert simulator.health().state == "ready"
            await simulator.finished.wait()
            await simulator.drain()
            told = simulator.health().counters
        assert told["published"] == told["acknowledged"] == len(house.seen)
        assert told["published"] > 8 * 12
        assert told["connects"] == 8 + 3  # the storm's three came back
        assert {message.client_id for message in house.seen} == set(simulator.device_types)


async def test_a_quarantined_device_stays_out_and_the_others_go_on(tmp_path: Path) -> None:
    async with a_house() as house:
        simulator = Simulator(quick(tmp_path), host="127.0.0.1", port=house.broker.port, clock=SystemClock())
        async with supervise([simulator], drain_seconds=5):
            await house.broker.quarantine("meter-0001", reason="test")
            begun = len(house.seen)
            await simulator.finished.wait()
        late = {message.client_id for message in house.seen[begun + 8 :]}
        assert "meter-0001" not in late
        assert len(late) == 7
        assert simulator.health().counters["refused"] >= 1


async def test_a_broker_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "CONNECT_SECONDS", 0.3)
    simulator = Simulator(quick(tmp_path), host="127.0.0.1", port=9, clock=SystemClock())
    with pytest.raises(BackendError, match=r"127\.0\.0\.1:9"):
        async with supervise([simulator], drain_seconds=1):
            pytest.fail("it cannot be ready")


async def test_the_fleet_idles_on_after_the_timeline_if_asked(tmp_path: Path) -> None:
    async with a_house() as house:
        simulator = Simulator(
            quick(tmp_path), host="127.0.0.1", port=house.broker.port, clock=SystemClock(), idle_after=True
        )
        async with supervise([simulator], drain_seconds=5):
            await simulator.finished.wait()
            before = len(house.seen)
            with anyio.fail_after(5):
                while len(house.seen) < before + 40:
                    await anyio.sleep(0.05)
