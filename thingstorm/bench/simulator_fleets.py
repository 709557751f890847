"""Fleets of the simulator's bench: ours, as scenarios play it, and one on any client library."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import anyio

from contracts.clock import SystemClock
from simulator.device import Device, Reading
from simulator.fleet import Simulator
from simulator.model import Scenario
from simulator.player import Player
from simulator.transports.base import Callbacks, Transport
from simulator.transports.paho import PahoTransport
from simulator.transports.raw import RawTransport

HOST = "127.0.0.1"
CONNECTING_AT_ONCE = 100
TRANSPORTS: Mapping[str, type[PahoTransport] | type[RawTransport]] = {
    "thingstorm": PahoTransport,
    "thingstorm-raw": RawTransport,
}


class Ours:
    """A scenario played by the simulator: it publishes as soon as all are connected."""

    def __init__(self, scenario: Scenario, *, subject: str, port: int) -> None:
        self._simulator = Simulator(
            scenario,
            host=HOST,
            port=port,
            clock=SystemClock(),
            transport=lambda calls: TRANSPORTS[subject](host=HOST, port=port, callbacks=calls),
        )

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """All devices are connected. Raises BackendError if they are not within ten seconds."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._simulator.run)
            yield
            tasks.cancel_scope.cancel()

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """Nothing to do: it publishes already."""
        yield

    def acknowledged(self) -> int:
        return self._simulator.health().counters["acknowledged"]


class OurFlood:
    """Our transports at their limit: as many messages as a connection takes, the next ones when it has room."""

    def __init__(self, scenario: Scenario, *, subject: str, port: int) -> None:
        self._devices = list(Player(scenario).devices.values())
        self._streams: dict[str, Iterator[Reading]] = {}
        self._next: dict[str, Reading] = {}
        self._up = 0
        self._turn = anyio.Event()
        calls = Callbacks(
            connected=self._connected,
            writable=self._go_on,
            lost=self._lost,
            acknowledged=self._acknowledged,
        )
        self._transport: Transport = TRANSPORTS[subject](host=HOST, port=port, callbacks=calls)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """All devices are connected."""
        await self._transport.open()
        for device in self._devices:
            self._transport.connect(device.device_id, ())
        await self._turn.wait()
        yield
        await self._transport.close()

    async def flood(self, each: int) -> None:
        """So many from each device; the last at QoS 1, and it is acknowledged when all before it have arrived."""
        self._turn = anyio.Event()
        self._streams = {device.device_id: flood_of(device, each) for device in self._devices}
        self._next = {device_id: next(stream) for device_id, stream in self._streams.items()}
        for device in self._devices:
            self._go_on(device.device_id)
        await self._turn.wait()

    def _connected(self, _device_id: str) -> None:
        self._up += 1
        if self._up == len(self._devices):
            self._turn.set()

    def _go_on(self, device_id: str) -> None:
        stream = self._streams[device_id]
        while (reading := self._next.get(device_id)) and self._transport.publish(device_id, reading):
            following = next(stream, None)
            if following is None:
                del self._next[device_id]
            else:
                self._next[device_id] = following

    def _acknowledged(self, _device_id: str, _reading: Reading) -> None:
        if not self._next and not self._transport.in_flight().used:
            self._turn.set()

    def _lost(self, device_id: str, why: str, _readings: Sequence[Reading]) -> None:
        raise ConnectionError(f"{device_id}: {why}")


def flood_of(device: Device, each: int) -> Iterator[Reading]:
    """One payload again and again: what is measured is the client, not the making of readings."""
    reading = device.reading(0)
    for _ in range(each - 1):
        yield reading
    yield Reading(reading.topic, reading.payload, qos=1)


class Client(Protocol):
    """One device's connection by some library."""

    async def open(self, device_id: str, port: int) -> None:
        """Connected, CONNACK read."""
        ...

    async def publish(self, reading: Reading) -> None:
        """Send, or wait for room; at QoS 1 no more than the library's window is unacknowledged."""
        ...

    async def settle(self) -> None:
        """Wait until everything at QoS 1 is acknowledged."""
        ...

    async def close(self) -> None: ...


class Theirs:
    """The same devices and readings, a task and a client of another library for each."""

    def __init__(self, scenario: Scenario, *, make: Callable[[], Client], port: int) -> None:
        self._port = port
        self._clock = SystemClock()
        self._fleet = [(device, make()) for device in Player(scenario).devices.values()]
        self._acknowledged = 0

    def acknowledged(self) -> int:
        return self._acknowledged

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """All devices are connected, some at a time."""
        limit = anyio.CapacityLimiter(CONNECTING_AT_ONCE)
        await self._all(lambda device, client: self._open(limit, device, client))
        yield
        await self._all(lambda _device, client: client.close())

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """Each device publishes at its own pace."""
        async with anyio.create_task_group() as tasks:
            for device, client in self._fleet:
                tasks.start_soon(self._pace, device, client)
            yield
            tasks.cancel_scope.cancel()

    async def flood(self, each: int) -> None:
        """As OurFlood."""
        await self._all(lambda device, client: self._flood(device, client, each))

    async def _all(self, work: Callable[[Device, Client], Any]) -> None:
        async with anyio.create_task_group() as tasks:
            for device, client in self._fleet:
                tasks.start_soon(work, device, client)

    async def _open(self, limit: anyio.CapacityLimiter, device: Device, client: Client) -> None:
        async with limit:
            await client.open(device.device_id, self._port)

    async def _pace(self, device: Device, client: Client) -> None:
        device.start_at(self._clock.now())
        while True:
            await self._clock.sleep_until(device.due)
            await client.publish(device.reading(self._clock.now()))
            await client.settle()
            self._acknowledged += device.qos
            device.schedule_next(device.due)

    async def _flood(self, device: Device, client: Client, each: int) -> None:
        for reading in flood_of(device, each):
            await client.publish(reading)
        await client.settle()
