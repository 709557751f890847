"""What every transport on sockets owes the fleet, against our real gateway; and what only bare sockets promise."""

import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from ports import free_port
from test_broker_embedded import House, a_house, until
from test_simulator_gateway import quick

from contracts.clock import SystemClock
from contracts.errors import BackendError
from contracts.messages import SECOND
from simulator import wire
from simulator.device import Reading
from simulator.fleet import Simulator
from simulator.lines import Open, Send, Shut
from simulator.transports import raw, sockets
from simulator.transports.base import Callbacks, Loss
from simulator.transports.paho import PahoTransport
from simulator.transports.raw import RawTransport
from simulator.transports.sockets import SocketTransport
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio

ACCEPTED, REFUSED = bytes([0x20, 2, 0, 0]), bytes([0x20, 2, 0, 5])
OPEN_LIMITS = {"publishes_per_second": float("inf"), "bytes_per_second": float("inf")}

Make = Callable[..., SocketTransport]


@pytest.fixture(params=[PahoTransport, RawTransport], ids=["paho", "raw"])
def make(request: pytest.FixtureRequest) -> Make:
    """Each contract test runs with both: what one does, the other must do."""
    made: Make = request.param
    return made


class Log:
    """What a transport called back, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.back: list[Reading] = []
        self.acknowledged: list[bytes] = []

    def callbacks(self) -> Callbacks:
        return Callbacks(
            connected=lambda device: self.told.append(("connected", device)),
            writable=lambda device: self.told.append(("writable", device)),
            lost=self._lost,
            message=lambda device, topic, payload: self.told.append(("message", device, topic, payload)),
            acknowledged=lambda _device, reading: self.acknowledged.append(reading.payload),
        )

    def _lost(self, device: str, why: Loss, readings: Sequence[Reading]) -> None:
        self.told.append(("lost", device, why))
        self.back += readings


@asynccontextmanager
async def a_transport(make: Make, port: int) -> AsyncIterator[tuple[SocketTransport, Log]]:
    log = Log()
    transport = make(host="127.0.0.1", port=port, callbacks=log.callbacks())
    await transport.open()
    try:
        yield transport, log
    finally:
        await transport.close()


@asynccontextmanager
async def connected(make: Make, port: int, *listens: str) -> AsyncIterator[tuple[SocketTransport, Log]]:
    """A transport with the device "a" connected."""
    async with a_transport(make, port) as (transport, log):
        transport.connect("a", listens)
        await until(lambda: ("connected", "a") in log.told)
        yield transport, log


@asynccontextmanager
async def a_server(answer: bytes, *, then: bytes = b"", reads: int = 1) -> AsyncIterator[int]:
    """Answers the first packet, reads `reads` times in all, says `then`, and hangs up if it said so."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            for place in range(reads):
                await stream.receive()
                if not place:
                    await stream.send(answer)
            if then:
                await stream.send(then)
                return
            await anyio.sleep_forever()

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, serve)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


def numbered(house: House, client_id: str) -> list[int]:
    return [int(message.payload) for message in house.seen if message.client_id == client_id]


async def pump(transport: SocketTransport, log: Log, *, count: int, qos: int) -> None:
    """Publish so many numbers as "a", as fast as it takes them."""
    sent = 0
    while sent < count:
        if transport.publish("a", Reading("dt/a", b"%d" % sent, qos)):
            sent += 1
            continue
        log.told.clear()
        while ("writable", "a") not in log.told:
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("qos", [0, 1])
async def test_publishes_arrive_once_in_order(make: Make, qos: int) -> None:
    async with (
        a_house(overrides=OPEN_LIMITS) as house,
        connected(make, house.broker.port) as (transport, log),
    ):
        await pump(transport, log, count=3_000, qos=qos)
        await until(lambda: len(house.seen) >= 3_000)
        await until(lambda: transport.in_flight().used == 0)
        await transport.close()
        assert numbered(house, "a") == list(range(3_000))
    assert transport.acknowledged() == len(log.acknowledged) == 3_000 * qos
    assert log.acknowledged == [b"%d" % one for one in range(3_000 * qos)]
    assert transport.in_flight().highest <= 100


async def test_no_more_than_a_hundred_are_in_flight(make: Make) -> None:
    async with a_server(ACCEPTED) as port, connected(make, port) as (transport, log):
        taken = [transport.publish("a", Reading("t", b"x", 1)) for _ in range(150)]
        assert taken == [True] * 100 + [False] * 50
        gauge = transport.in_flight()
        assert (gauge.used, gauge.capacity, gauge.highest) == (100, 100, 100)
        assert len(transport.drop("a")) == 100
        assert transport.in_flight().used == 0
    assert log.told == [("connected", "a")], "a drop calls nobody back"


async def test_what_was_not_acknowledged_comes_back_in_order_when_the_connection_breaks(make: Make) -> None:
    seventh = wire.acknowledge(7)
    async with a_server(ACCEPTED, then=seventh, reads=2) as port, connected(make, port) as (transport, log):
        readings = [Reading("t", b"%d" % one, 1) for one in range(1, 11)]
        assert all(transport.publish("a", one) for one in readings)
        await until(lambda: ("lost", "a", "lost") in log.told)
        assert log.back == [one for one in readings if one.payload != b"7"]
        assert log.acknowledged == [b"7"]
        assert transport.in_flight().used == 0
        assert not transport.publish("a", readings[0]), "nobody is connected"


async def test_a_kicked_device_may_connect_again(make: Make) -> None:
    async with a_house() as house, connected(make, house.broker.port) as (transport, log):
        await house.broker.quarantine("a", reason="test")
        await until(lambda: log.told[-1] == ("lost", "a", "lost"))
        transport.connect("a", ())
        await until(lambda: log.told[-1] == ("lost", "a", "refused"))
        await house.broker.release("a")
        transport.connect("a", ())
        await until(lambda: log.told[-1] == ("connected", "a"))
        assert transport.publish("a", Reading("dt/a", b"1", 1))
        await until(lambda: numbered(house, "a") == [1])


async def test_refused_unreachable_and_silent_are_told_apart(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(sockets, "MISC_SECONDS", 0.1)
    async with a_server(REFUSED) as refusing, a_server(b"\xd0\x00") as silent:
        for port, why in ((refusing, "refused"), (silent, "unreachable"), (free_port(), "unreachable")):
            async with a_transport(make, port) as (transport, log):
                transport.connect("a", ("cmd/#",))
                await until(lambda log=log: bool(log.told))  # type: ignore[misc] - bound early on purpose
                assert log.told == [("lost", "a", why)]
                assert not transport.publish("a", Reading("t", b"x", 1))


async def test_an_unknown_host_is_told(make: Make) -> None:
    transport = make(host="no.such.host.invalid", port=1883, callbacks=Log().callbacks())
    with pytest.raises(BackendError, match=r"no\.such\.host\.invalid"):
        await transport.open()


async def test_messages_come_to_the_devices_that_listen(make: Make) -> None:
    listens = [f"cmd/a/{number}" for number in range(20)]
    async with a_house() as house, connected(make, house.broker.port, *listens) as (transport, log):
        transport.subscribe("a", ["cmd/a/more", "cmd/a/deep/#"])
        transport.subscribe("nobody", ["cmd/a/more"])
        transport.connect("b", ())
        await until(lambda: ("connected", "b") in log.told)
        await anyio.sleep(0.2)  # SUBACK is nothing that is told
        for topic in ("cmd/a/0", "cmd/a/19", "cmd/a/deep/er", "cmd/b/0"):
            transport.publish("b", Reading(topic, topic.encode(), 1))
        await until(lambda: len([one for one in log.told if one[0] == "message"]) >= 3)
    came = [one[1:] for one in log.told if one[0] == "message"]
    assert came == [("a", topic, topic.encode()) for topic in ("cmd/a/0", "cmd/a/19", "cmd/a/deep/er")]


async def test_a_line_speaks_and_is_shut(make: Make) -> None:
    async with a_house() as house, a_transport(make, house.broker.port) as (transport, log):
        transport.line(Open("evil", wire.connect("evil")))
        transport.line(Send("evil", wire.publish("dt/evil", b"666", packet_id=1)))
        await until(lambda: numbered(house, "evil") == [666])
        transport.line(Shut("evil"))
        await until(lambda: bool(house.reasons("evil")))
        assert log.told == [], "a line is no device"


async def test_disconnecting_before_the_connection_is_there_calls_nobody_back(make: Make) -> None:
    async with a_house() as house, a_transport(make, house.broker.port) as (transport, log):
        transport.connect("a", ())
        transport.disconnect("a")
        transport.connect("b", ())
        await anyio.lowlevel.checkpoint()
        transport.drop("b")
        transport.connect("c", ())
        transport.connect("c", ())
        await until(lambda: log.told == [("connected", "c")])
        await transport.close()
        await transport.close()
        assert log.told == [("connected", "c")]
        await until(lambda: house.reasons("c") == ["CLIENT_INITIATED_DISCONNECT"])


async def test_some_connect_at_a_time_and_all_come_up(make: Make) -> None:
    everybody = [f"d{number:03d}" for number in range(300)]
    overrides = {"connects_per_second": float("inf")}
    async with (
        a_house(overrides=overrides) as house,
        a_transport(make, house.broker.port) as (transport, log),
    ):
        for device_id in everybody:
            transport.connect(device_id, ())
        transport.disconnect("d299")
        most = 0
        while len(log.told) < 299:
            links = transport._links.values()
            most = max(most, len(transport._dials) + sum(not link.admitted for link in links))
            await anyio.lowlevel.checkpoint()
        assert sorted(log.told) == [("connected", device_id) for device_id in everybody[:-1]]
        assert 20 <= most <= sockets.CONNECTING_AT_ONCE


async def test_devices_that_fail_make_room_for_the_next(make: Make) -> None:
    async with a_server(REFUSED) as refusing:
        for port, why in ((refusing, "refused"), (free_port(), "unreachable")):
            async with a_transport(make, port) as (transport, log):
                for number in range(150):
                    transport.connect(f"d{number:03d}", ())
                await until(lambda log=log: len(log.told) == 150)  # type: ignore[misc] - bound early on purpose
                assert {told[2] for told in log.told} == {why}


async def test_what_is_published_just_before_the_end_still_arrives(make: Make) -> None:
    async with a_house() as house, connected(make, house.broker.port) as (transport, _):
        for number in range(50):
            assert transport.publish("a", Reading("dt/a", b"%d" % number, 1))
        transport.disconnect("a")
        await until(lambda: len(house.seen) == 50)
        assert numbered(house, "a") == list(range(50))


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_broker_that_does_not_read_is_not_buried(make: Make, qos: int) -> None:
    async with a_server(ACCEPTED) as port, connected(make, port) as (transport, _):
        reading, taken = Reading("t", b"x" * 100_000, qos), 0
        for _ in range(200):  # the socket's own buffer holds some megabytes
            while transport.publish("a", reading):
                taken += 1
                assert taken < 1_000
            await anyio.sleep(0.001)
        if make is RawTransport:
            (link,) = transport._links.values()
            assert isinstance(link, raw.RawLink)
            assert len(link._unsent) < raw.MAX_UNSENT + 101_000
        assert len(transport.drop("a")) == (taken if qos else 0)


async def test_a_silent_raw_connection_pings_and_a_dead_one_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MISC_SECONDS", 0.05)
    monkeypatch.setattr(wire, "KEEP_ALIVE_SECONDS", 1)
    async with a_house() as house, connected(RawTransport, house.broker.port) as (transport, log):
        await anyio.sleep(2.5)
        assert log.told == [("connected", "a")], "the gateway answers its pings"
        assert transport.publish("a", Reading("dt/a", b"1", 1))
        await until(lambda: numbered(house, "a") == [1])
    async with a_server(ACCEPTED) as port, connected(RawTransport, port) as (_, log):
        began = time.monotonic()
        await until(lambda: log.told[-1] == ("lost", "a", "lost"))
        assert 1.5 < time.monotonic() - began < 3.5


async def test_one_turn_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_house() as house, connected(RawTransport, house.broker.port) as (transport, _):
        (link,) = transport._links.values()
        assert isinstance(link, raw.RawLink)
        flushes = 0
        flush = link._flush

        def counted() -> None:
            nonlocal flushes
            flushes += 1
            flush()

        monkeypatch.setattr(link, "_flush", counted)
        for number in range(80):
            transport.publish("a", Reading("dt/a", b"%d" % number, 0))
        await until(lambda: len(house.seen) == 80)
        assert flushes == 1


async def test_a_scenario_plays_on_raw_connections_as_on_paho_s(tmp_path: Path) -> None:
    async with a_house() as house:
        port = house.broker.port
        simulator = Simulator(
            quick(tmp_path), host="127.0.0.1", port=port, clock=SystemClock(),
            transport=lambda calls: RawTransport(host="127.0.0.1", port=port, callbacks=calls),
        )  # fmt: skip
        async with supervise([simulator], drain_seconds=5):
            await simulator.finished.wait()
            await simulator.drain()
            told = simulator.health().counters
    assert told["published"] == told["acknowledged"] == len(house.seen) > 8 * 12
    assert told["connects"] == 8 + 3
    for device_id in simulator.device_ids:
        bodies = [json.loads(one.payload) for one in house.seen if one.client_id == device_id]
        assert [body["seq"] for body in bodies] == list(range(1, len(bodies) + 1))
        assert max(body["ts"] for body in bodies) * SECOND // 1000 <= simulator.started_at + 3 * SECOND
