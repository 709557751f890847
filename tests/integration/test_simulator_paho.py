"""Real paho clients against a real broker: amqtt as it comes, in the same event loop, and bare sockets."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import anyio
import anyio.lowlevel
import pytest
from amqtt.broker import Broker
from amqtt.plugins.base import BaseAuthPlugin, BasePlugin
from ports import free_port

from contracts.clock import SystemClock
from contracts.errors import BackendError
from contracts.messages import SECOND
from simulator import fleet, roster
from simulator.device import Reading
from simulator.fleet import Simulator
from simulator.scenario import Scenario, load
from simulator.transports import sockets
from simulator.transports.base import Callbacks, Loss
from simulator.transports.paho import PahoTransport

pytestmark = pytest.mark.anyio

WALL = Path(__file__).parents[1] / "unit" / "simulator_scenarios" / "wall.yaml"


class Door(BaseAuthPlugin):  # type: ignore[misc] - amqtt publishes no types
    """Refuses the client ids in `shut`."""

    shut: ClassVar[set[str]] = set()

    async def authenticate(self, *, session: Any) -> bool:
        return session.client_id not in self.shut


class Ear(BasePlugin):  # type: ignore[misc] - amqtt publishes no types
    """Hears every message that the broker took."""

    heard: ClassVar[list[tuple[str, str, bytes]]] = []

    async def on_broker_message_received(self, *, client_id: str, message: Any) -> None:
        self.heard.append((client_id, message.topic, bytes(message.data)))


class Tidy(Broker):  # type: ignore[misc] - amqtt publishes no types
    """amqtt leaves the sockets of connections that broke open; here they are closed at the end."""

    async def stream_connected(self, reader: Any, writer: Any, listener_name: str) -> None:
        self.writers = [*getattr(self, "writers", []), writer]
        await super().stream_connected(reader, writer, listener_name)

    async def shutdown(self) -> None:
        await super().shutdown()
        for writer in getattr(self, "writers", []):
            writer.transport.abort()
        await anyio.sleep(0.05)


@asynccontextmanager
async def broker(port: int = 0) -> AsyncIterator[tuple[Broker, int]]:
    port = port or free_port()
    Door.shut, Ear.heard = set(), []
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {f"{__name__}.Door": {}, f"{__name__}.Ear": {}},
    }
    running = Tidy(config)
    await running.start()
    try:
        yield running, port
    finally:
        await running.shutdown()


@asynccontextmanager
async def running(simulator: Simulator) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        await tasks.start(simulator.run)
        yield
        tasks.cancel_scope.cancel()


async def until(condition: Any, seconds: float = 10.0) -> None:
    with anyio.fail_after(seconds):
        while not condition():
            await anyio.sleep(0.01)


async def kick(one: Broker, device_id: str) -> None:
    _, handler = one.sessions[device_id]
    await handler.handle_connection_closed()


def wall(**changes: object) -> Scenario:
    return load(WALL).model_copy(update=changes)


async def test_a_scenario_reaches_the_broker_message_by_message() -> None:
    async with broker() as (_, port):
        simulator = Simulator(wall(), host="127.0.0.1", port=port, clock=SystemClock())
        async with running(simulator):
            await simulator.finished.wait()
            await simulator.drain()
            counters = simulator.health().counters
            await until(lambda: len(Ear.heard) == counters["published"])
    assert counters["acknowledged"] == counters["published"] > 80
    assert (counters["connects"], counters["refused"], counters["connections_lost"]) == (5, 0, 0)
    (bot,) = {label.device_id for label in simulator.labels}
    odd = {client for client, topic, _ in Ear.heard if topic.endswith("/c2")}
    assert odd == {bot}
    for device_id in simulator.device_ids:
        numbers = [json.loads(payload)["seq"] for client, _, payload in Ear.heard if client == device_id]
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
    sent_at = [json.loads(payload)["ts"] * SECOND // 1000 for _, _, payload in Ear.heard]
    assert simulator.started_at - SECOND // 1000 <= min(sent_at)
    assert max(sent_at) <= simulator.started_at + 3 * SECOND


async def test_a_kicked_and_refused_device_keeps_trying_and_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(roster, "BACKOFF", SECOND // 4)
    async with broker() as (one, port):
        simulator = Simulator(
            wall(duration=60 * SECOND, timeline=()), host="127.0.0.1", port=port, clock=SystemClock()
        )
        async with running(simulator):
            Door.shut = {"meter-0002"}
            await kick(one, "meter-0002")
            await until(lambda: simulator.health().counters["refused"] >= 2)
            assert simulator.health().counters["connections_lost"] == 1
            assert simulator.health().detail == "4 of 5 devices online"
            assert simulator.health().buffers[0].used > 3
            Door.shut = set()
            await until(lambda: simulator.health().counters["reconnects"] == 1)
            await until(lambda: simulator.health().buffers[0].used == 0)
            await simulator.drain()
    assert simulator.health().counters["dropped_unsent"] == 0


@asynccontextmanager
async def relay(port: int, to: int) -> AsyncIterator[None]:
    """A way to the broker that can be closed: then all connections break at once and nobody listens."""

    async def pump(source: anyio.abc.SocketStream, sink: anyio.abc.SocketStream) -> None:
        with suppress(anyio.BrokenResourceError):
            async for data in source:
                await sink.send(data)
            await sink.send_eof()

    async def serve(device: anyio.abc.SocketStream) -> None:
        async with (
            device,
            await anyio.connect_tcp("127.0.0.1", to) as far,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(pump, device, far)
            tasks.start_soon(pump, far, device)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield
        tasks.cancel_scope.cancel()


async def test_when_the_broker_goes_away_the_fleet_waits_and_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(roster, "BACKOFF", SECOND // 4)
    port = free_port()
    scenario = wall(duration=60 * SECOND, timeline=())
    simulator = Simulator(scenario, host="localhost", port=port, clock=SystemClock())
    async with broker() as (_, behind), anyio.create_task_group() as tasks:
        async with relay(port, behind):
            await tasks.start(simulator.run)
        await until(lambda: simulator.health().counters["unreachable"] >= 3)
        assert simulator.health().detail == "0 of 5 devices online"
        async with relay(port, behind):
            await until(lambda: simulator.health().detail == "5 of 5 devices online", 20)
            await until(lambda: simulator.health().buffers[0].used == 0)
            await simulator.drain()
        tasks.cancel_scope.cancel()
    counters = simulator.health().counters
    assert (counters["connections_lost"], counters["reconnects"], counters["dropped_unsent"]) == (5, 5, 0)


async def test_a_storm_breaks_connections_and_the_fleet_recovers() -> None:
    phase = wall().timeline[0].model_dump(by_alias=True)
    storm = type(wall().timeline[0]).model_validate(
        {
            **phase,
            "id": "storm",
            "kind": "benign.reconnect_storm",
            "at": "200ms",
            "for": "2s",
            "targets": {"group": "meter"},
            "with": {"outage": "500ms", "backoff": "200ms"},
        }
    )
    async with broker() as (_, port):
        scenario = wall(duration=3 * SECOND, timeline=(storm,))
        simulator = Simulator(scenario, host="127.0.0.1", port=port, clock=SystemClock())
        async with running(simulator):
            await simulator.finished.wait()
            await simulator.drain()
            numbers = {
                d: {json.loads(p)["seq"] for c, _, p in Ear.heard if c == d} for d in simulator.device_ids
            }
    counters = simulator.health().counters
    assert (counters["connects"], counters["reconnects"], counters["dropped_unsent"]) == (10, 5, 0)
    for seen in numbers.values():  # what was in flight when the connection broke is sent again
        assert seen == set(range(1, len(seen) + 1))
        assert len(seen) > 20


async def test_no_broker_is_told_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "CONNECT_SECONDS", 0.5)
    port = free_port()
    simulator = Simulator(wall(), host="127.0.0.1", port=port, clock=SystemClock())
    with pytest.raises(BackendError, match=f"127.0.0.1:{port} took 0 of 5 devices") as caught:
        await simulator.run(task_status=anyio.TASK_STATUS_IGNORED)
    assert "start a broker" in caught.value.fix
    assert simulator.health().counters["unreachable"] >= 5


async def test_an_unknown_host_is_told() -> None:
    simulator = Simulator(wall(), host="no.such.host.invalid", port=1883, clock=SystemClock())
    with pytest.raises(BackendError, match=r"no\.such\.host\.invalid"):
        await simulator.run(task_status=anyio.TASK_STATUS_IGNORED)


class Log:
    """What a transport called back."""

    def __init__(self) -> None:
        self.up: list[str] = []
        self.writable: list[str] = []
        self.lost: list[tuple[str, Loss, int]] = []

    def callbacks(self) -> Callbacks:
        return Callbacks(
            connected=self.up.append,
            writable=self.writable.append,
            lost=lambda device, why, back: self.lost.append((device, why, len(back))),
        )


@asynccontextmanager
async def mute_server(answer: bytes) -> AsyncIterator[int]:
    """Takes connections, answers the first packet with `answer`, and says and reads nothing more."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(answer)
            await anyio.sleep_forever()

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, serve)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


ACCEPTED, REFUSED = bytes([0x20, 2, 0, 0]), bytes([0x20, 2, 0, 5])


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_broker_that_does_not_read_is_not_buried(qos: int) -> None:
    log = Log()
    async with mute_server(ACCEPTED) as port:
        transport = PahoTransport(host="127.0.0.1", port=port, callbacks=log.callbacks())
        await transport.open()
        transport.connect("a", ())
        await until(lambda: log.up == ["a"])
        reading = Reading("t", b"x" * 100_000, qos)
        taken = 0
        while transport.publish("a", reading):
            taken += 1
            assert taken < 1_000, "the socket's own buffer holds some megabytes"
        gauge = transport.in_flight()
        assert gauge.used == gauge.highest == (taken if qos else 0) <= gauge.capacity == 100
        back = transport.drop("a")
        assert len(back) == (taken if qos else 0)
        assert transport.in_flight().used == 0
        await transport.close()
    assert log.lost == []


async def test_a_refusal_and_a_silence_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(sockets, "MISC_SECONDS", 0.1)
    log = Log()
    async with mute_server(REFUSED) as refusing, mute_server(b"") as silent:
        for port in (refusing, silent):
            transport = PahoTransport(host="127.0.0.1", port=port, callbacks=log.callbacks())
            await transport.open()
            transport.connect("a", ("cmd/#",))
            before = len(log.lost)
            await until(lambda n=before: len(log.lost) > n)  # type: ignore[misc] - bound early on purpose
            await transport.close()
    assert log.lost == [("a", "refused", 0), ("a", "unreachable", 0)]
    assert log.up == []


async def test_disconnecting_before_the_connection_is_there_calls_nobody_back() -> None:
    log = Log()
    async with broker() as (_, port):
        transport = PahoTransport(host="127.0.0.1", port=port, callbacks=log.callbacks())
        await transport.open()
        transport.connect("a", ())
        transport.disconnect("a")
        transport.connect("b", ())
        await anyio.lowlevel.checkpoint()
        transport.drop("b")
        transport.connect("c", ())
        transport.connect("c", ())
        await until(lambda: log.up == ["c"])
        await transport.close()
        await transport.close()
    assert (log.up, log.lost) == (["c"], [])


async def test_two_hundred_devices_at_two_hundred_messages_a_second(record_property: Any) -> None:
    """The figure is for the record; what is checked is that all of it arrives."""
    group = wall().fleet[0]
    every = group.every.model_copy(update={"mean": SECOND})
    many = group.model_copy(update={"count": 200, "every": every})
    scenario = wall(fleet=(many,), duration=3 * SECOND, timeline=())
    async with broker() as (_, port):
        simulator = Simulator(scenario, host="127.0.0.1", port=port, clock=SystemClock())
        async with running(simulator):
            cpu = time.process_time()
            await simulator.finished.wait()
            record_property("cpu_share_with_the_broker", round((time.process_time() - cpu) / 3, 2))
            await simulator.drain()
            published = simulator.health().counters["published"]
            await until(lambda: len(Ear.heard) == published)
    assert published == pytest.approx(600, rel=0.05)
