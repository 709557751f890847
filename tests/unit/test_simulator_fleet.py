"""The service on a transport in memory: its life, its counters, what it does when connections misbehave."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from contracts.clock import ManualClock, SystemClock
from contracts.errors import BackendError
from contracts.messages import SECOND
from simulator import fleet
from simulator.commands import Publish
from simulator.device import Reading
from simulator.fleet import Simulator, trace
from simulator.scenario import Scenario, load
from simulator.transports.base import Callbacks
from simulator.transports.memory import MemoryTransport

pytestmark = pytest.mark.anyio

SMALL = load(Path(__file__).parent / "simulator_scenarios" / "small.yaml")
QUIET = SMALL.model_copy(update={"timeline": ()})
START = 1_000 * SECOND


class Broker:
    """What the fleet reaches: it can refuse devices, refuse messages, and cut connections."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Reading]] = []
        self.refused: set[str] = set()
        self.full = False
        self.transport: MemoryTransport | None = None

    def __call__(self, callbacks: Callbacks) -> MemoryTransport:
        self.transport = MemoryTransport(callbacks=callbacks, deliver=self.deliver, admit=self.admit)
        return self.transport

    def admit(self, device_id: str) -> bool:
        return device_id not in self.refused

    def deliver(self, device_id: str, reading: Reading) -> bool:
        if not self.full:
            self.got.append((device_id, reading))
        return not self.full

    def order(self, topic: str, payload: bytes) -> None:
        assert self.transport is not None
        self.transport.hand(topic.split("/")[2], topic, payload)

    def of(self, device_id: str) -> list[int]:
        return [json.loads(reading.payload)["seq"] for sender, reading in self.got if sender == device_id]


def make(scenario: Scenario, broker: Broker, clock: ManualClock | SystemClock, **options: Any) -> Simulator:
    return Simulator(
        scenario, host="memory", port=0, clock=clock, transport=broker, orders=broker.order, **options
    )


@asynccontextmanager
async def running(simulator: Simulator) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        await tasks.start(simulator.run)
        yield
        tasks.cancel_scope.cancel()


async def pass_time(clock: ManualClock, until: int, *, step: int = SECOND // 10) -> None:
    """Let the service see every tenth of a second."""
    while clock.now() < until:
        clock.set(min(until, clock.now() + step))
        for _ in range(3):
            await anyio.lowlevel.checkpoint()


async def test_a_scenario_is_played_from_start_to_end() -> None:
    clock, broker, told = ManualClock(START), Broker(), []
    simulator = make(SMALL, broker, clock, emit=lambda event, facts: told.append((event, facts["id"])))
    assert (simulator.labels, simulator.phases, simulator.health().state) == ((), (), "starting")
    async with running(simulator):
        assert simulator.started_at == START
        assert (simulator.health().state, simulator.health().detail) == ("ready", "16 of 16 devices online")
        await pass_time(clock, START + SMALL.duration - 1)
        assert not simulator.finished.is_set()
        await pass_time(clock, START + SMALL.duration)
        assert simulator.finished.is_set()
        after = len(broker.got)
        await pass_time(clock, START + SMALL.duration + 5 * SECOND)
        assert len(broker.got) == after
        await simulator.drain()
        assert simulator.health().state == "stopped"
    assert [span.id for span in simulator.phases] == ["rollout", "storm", "flood", "botnet"]
    assert (simulator.phases[0].start, simulator.phases[0].end) == (START + 20 * SECOND, START + 40 * SECOND)
    assert len(simulator.labels) == 12 + 12 + 3 + 2
    assert told == [
        (f"phase_{e}", i) for i in ("rollout", "storm", "flood", "botnet") for e in ("started", "ended")
    ]
    counters = simulator.health().counters
    assert counters["published"] == len(broker.got)
    assert counters["acknowledged"] == sum(reading.qos for _, reading in broker.got)
    assert (counters["connects"], counters["reconnects"]) == (16 + 24, 24)
    assert (counters["dropped_unsent"], counters["refused"], counters["connections_lost"]) == (0, 0, 0)
    exact = [c for _, c in trace(SMALL, start=START) if isinstance(c, Publish)]
    assert len(broker.got) == pytest.approx(len(exact), rel=0.02)  # ticks of 0.1 s end reboots a little later


async def test_ids_and_types_are_known_before_it_runs() -> None:
    simulator = make(SMALL, Broker(), ManualClock())
    assert len(simulator.device_ids) == 16
    assert simulator.device_types["meter-0012"] == "meter"
    assert simulator.device_types["pump-0004"] == "pump"


async def test_the_fleet_can_go_on_after_the_timeline() -> None:
    clock, broker = ManualClock(START), Broker()
    simulator = make(SMALL, broker, clock, idle_after=True)
    async with running(simulator):
        await pass_time(clock, START + SMALL.duration, step=SECOND // 2)
        assert simulator.finished.is_set()
        before = len(broker.got)
        await pass_time(clock, START + SMALL.duration + 10 * SECOND)
        assert len(broker.got) - before == pytest.approx(140, rel=0.25)  # 12 a second of meters, 2 of pumps


async def test_a_broken_connection_comes_back_and_nothing_is_lost() -> None:
    clock, broker = ManualClock(START), Broker()
    simulator = make(QUIET, broker, clock)
    async with running(simulator):
        await pass_time(clock, START + 5 * SECOND)
        assert broker.transport is not None
        broker.transport.cut("meter-0001")
        assert simulator.health().detail == "15 of 16 devices online"
        await pass_time(clock, START + 20 * SECOND)
    counters = simulator.health().counters
    assert (counters["connections_lost"], counters["reconnects"]) == (1, 1)
    assert broker.of("meter-0001") == list(range(1, len(broker.of("meter-0001")) + 1))
    assert len(broker.of("meter-0001")) > 12


async def test_a_quarantined_device_keeps_trying_and_is_counted() -> None:
    clock, broker = ManualClock(START), Broker()
    simulator = make(QUIET, broker, clock)
    async with running(simulator):
        await pass_time(clock, START + 5 * SECOND)
        assert broker.transport is not None
        broker.refused.add("meter-0001")
        broker.transport.cut("meter-0001")
        before = len(broker.of("meter-0001"))
        await pass_time(clock, START + 40 * SECOND)
        counters = simulator.health().counters
        assert 3 <= counters["refused"] <= 7  # after 1, 2, 4, 8, 16 s, each with its jitter
        assert len(broker.of("meter-0001")) == before
        kept = simulator.health().buffers[0]
        assert (kept.name, kept.used, kept.capacity) == ("kept_offline", kept.highest, 16_000)
        assert kept.used == pytest.approx(35, abs=6)
        broker.refused.clear()
        await pass_time(clock, START + 90 * SECOND)
        assert simulator.health().buffers[0].used == 0
    assert broker.of("meter-0001") == list(range(1, len(broker.of("meter-0001")) + 1))


async def test_what_a_connection_cannot_take_waits_in_order() -> None:
    clock, broker = ManualClock(START), Broker()
    simulator = make(QUIET, broker, clock)
    async with running(simulator):
        broker.full = True
        await pass_time(clock, START + 5 * SECOND)
        assert simulator.health().counters["published"] == 0
        broker.full = False
        await pass_time(clock, START + 20 * SECOND)
        assert simulator.health().buffers[0].used == 0
    for device_id in simulator.device_ids:
        assert broker.of(device_id) == list(range(1, len(broker.of(device_id)) + 1))


@pytest.mark.parametrize(
    ("refuse", "told", "fix"),
    [
        (("meter-0003",), "took 15 of 16 devices", "quarantine"),
        ((), "took 0 of 16 devices", "start a broker"),
    ],
)
async def test_a_fleet_that_cannot_connect_fails_with_the_address(
    monkeypatch: pytest.MonkeyPatch, refuse: tuple[str, ...], told: str, fix: str
) -> None:
    monkeypatch.setattr(fleet, "CONNECT_SECONDS", 0.3)

    class Deaf(MemoryTransport):
        def connect(self, device_id: str, listens: object) -> None:
            pass

    broker = Broker()
    broker.refused.update(refuse)
    transport: Callable[[Callbacks], MemoryTransport] = (
        broker if refuse else lambda calls: Deaf(callbacks=calls, deliver=broker.deliver)
    )
    simulator = Simulator(SMALL, host="nowhere", port=1, clock=SystemClock(), transport=transport)
    with pytest.raises(BackendError) as caught:
        await simulator.run(task_status=anyio.TASK_STATUS_IGNORED)
    assert "nowhere:1" in str(caught.value)
    assert told in str(caught.value)
    assert fix in caught.value.fix
    assert simulator.health().state == "failed"


async def test_a_device_that_is_refused_at_first_is_waited_for() -> None:
    broker = Broker()
    broker.refused.add("meter-0001")
    simulator = make(SMALL, broker, SystemClock())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_until_refused, simulator, broker)
        await tasks.start(simulator.run)
        assert simulator.health().detail == "16 of 16 devices online"
        assert simulator.health().counters["refused"] >= 1
        tasks.cancel_scope.cancel()


async def _until_refused(simulator: Simulator, broker: Broker) -> None:
    while not simulator.health().counters["refused"]:
        await anyio.lowlevel.checkpoint()
    broker.refused.clear()


async def test_drain_stops_the_messages_at_once() -> None:
    clock, broker = ManualClock(START), Broker()
    simulator = make(SMALL, broker, clock)
    async with running(simulator):
        await pass_time(clock, START + 3 * SECOND)
        await simulator.drain()
        before = len(broker.got)
        await pass_time(clock, START + 10 * SECOND)
        assert len(broker.got) == before > 0
        assert broker.transport is not None
        assert broker.transport.connected() == frozenset()


async def test_what_was_not_acknowledged_is_sent_again_first_and_in_order() -> None:
    clock, broker = ManualClock(START), Broker()
    given: list[Callbacks] = []

    def transport(callbacks: Callbacks) -> MemoryTransport:
        given.append(callbacks)
        return broker(callbacks)

    simulator = Simulator(QUIET, host="memory", port=0, clock=clock, transport=transport)
    async with running(simulator):
        await pass_time(clock, START + 5 * SECOND)
        assert broker.transport is not None
        broker.transport.drop("meter-0001")
        in_flight = [reading for sender, reading in broker.got if sender == "meter-0001"][-2:]
        broker.got.clear()
        given[0].lost("meter-0001", "lost", in_flight)
        await pass_time(clock, START + 10 * SECOND)
    first = json.loads(in_flight[0].payload)["seq"]
    again = broker.of("meter-0001")
    assert again == list(range(first, first + len(again)))
    assert len(again) > 4
