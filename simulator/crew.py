"""Carries out what the player says on a transport, tells the player what came of it, and counts. No clock of its own."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from contracts.messages import Label, Nanoseconds
from contracts.ports import Emit

from . import wire
from .commands import (
    Command,
    Connect,
    Disconnect,
    Fault,
    Line,
    Order,
    PhaseEnded,
    PhaseSpan,
    PhaseStarted,
    Publish,
    Subscribe,
)
from .device import Device, Reading
from .lines import Open, Send
from .transports.base import Callbacks, Loss, Transport

OPERATOR = "operator"
"""Client id of the line that jobs are sent on."""

LOSSES: Mapping[Loss, str] = {"refused": "refused", "unreachable": "unreachable", "lost": "connections_lost"}

Orders = Callable[[str, bytes], None]
"""Told of (topic, payload) when the platform sends a retained job to a device."""

Faults = Callable[[str, Mapping[str, Any], bool], None]
"""Told of (kind, parameters, on) when a fault of the platform begins or is over."""


class Plays(Protocol):
    """What a crew carries out: a scenario's `Player`, or a recording's; see `Player` for every member."""

    online: int
    kept: int
    kept_highest: int
    dropped_unsent: int
    labels: tuple[Label, ...]
    phases: tuple[PhaseSpan, ...]

    @property
    def devices(self) -> Mapping[str, Device]: ...

    @property
    def expected(self) -> Sequence[Device]: ...

    @property
    def kept_capacity(self) -> int: ...

    def start(self, now: Nanoseconds) -> None: ...

    def next_due(self) -> Nanoseconds | None: ...

    def advance(self, now: Nanoseconds) -> Iterator[Command]: ...

    def connected(self, device_id: str) -> Iterator[Command]: ...

    def writable(self, device_id: str) -> Iterator[Command]: ...

    def lost(self, device_id: str, now: Nanoseconds) -> None: ...

    def unsent(self, device_id: str, reading: Reading) -> None: ...

    def message(self, device_id: str, topic: str, payload: bytes, now: Nanoseconds) -> Iterator[Command]: ...


class Crew:
    """One fleet on one transport.

    Counters: `published` (PUBLISH packets handed to the clients for sending; a reading that was sent and not
    acknowledged before its connection broke is sent, and counted, again), `connects` (accepted by the broker),
    `reconnects` (those of them that were not a device's first), `refused` (CONNECTs the broker said no to),
    `unreachable`, `connections_lost`, `line_actions` (of hostile clients), `jobs`.
    """

    def __init__(
        self,
        player: Plays,
        *,
        make: Callable[[Callbacks], Transport],
        now: Callable[[], Nanoseconds],
        emit: Emit,
        faults: Faults,
        orders: Orders | None = None,
    ) -> None:
        """Without `orders` the jobs go over a line of an operator's own, and count as its publishes."""
        self.player = player
        self.transport = make(
            Callbacks(
                connected=self._connected, writable=self._writable, lost=self._lost, message=self._message
            )
        )
        names = ("published", "connects", "reconnects", *LOSSES.values(), "line_actions", "jobs")
        self.counters = dict.fromkeys(names, 0)
        self.stopped = False
        self.last_publish: Nanoseconds = 0
        self.changed: Callable[[], None] = lambda: None
        """Called when a device came online."""
        self._now = now
        self._emit = emit
        self._faults = faults
        self._orders = orders
        self._seen: set[str] = set()
        self._operating = 0
        self._awaited: set[str] = set()

    def connect_all(self) -> None:
        """Begin to connect everybody who wants to be online."""
        expected = self.player.expected
        self._awaited = {device.device_id for device in expected}
        for device in expected:
            self.transport.connect(device.device_id, device.listens)

    @property
    def all_up(self) -> bool:
        """Whether nobody of `connect_all` is missing; who was sent away meanwhile, by a job, is not missed."""
        return not self._awaited

    def advance(self, now: Nanoseconds) -> None:
        """Everything that is due by now."""
        self._execute(self.player.advance(now))

    def _execute(self, commands: Iterator[Command]) -> None:
        for command in commands:
            if isinstance(command, Publish):
                self._publish(command)
            elif isinstance(command, Connect):
                self.transport.connect(command.device.device_id, command.device.listens)
            elif isinstance(command, Disconnect):
                self._disconnect(command)
            elif isinstance(command, Line):
                self.counters["line_actions"] += 1
                self.transport.line(command.action)
            elif isinstance(command, Subscribe):
                self.transport.subscribe(command.device.device_id, command.filters)
            else:
                self._seldom(command)

    def _seldom(self, command: Command) -> None:
        if isinstance(command, Order):
            self._order(command)
        elif isinstance(command, Fault):
            self._faults(command.step.kind, command.step.parameters, command.step.on)
        elif isinstance(command, PhaseStarted):
            phase = command.phase
            self._emit("phase_started", {"id": phase.id, "kind": phase.kind, "devices": phase.devices})
        elif isinstance(command, PhaseEnded):
            self._emit("phase_ended", {"id": command.phase.id})

    def _publish(self, command: Publish) -> None:
        device_id = command.device.device_id
        if self.transport.publish(device_id, command.reading):
            self.counters["published"] += 1
            self.last_publish = self._now()
        else:
            self.player.unsent(device_id, command.reading)

    def _disconnect(self, command: Disconnect) -> None:
        device_id = command.device.device_id
        self._awaited.discard(device_id)
        if command.abrupt:
            self._give_back(device_id, self.transport.drop(device_id))
        else:
            self.transport.disconnect(device_id)

    def _order(self, command: Order) -> None:
        """At QoS 1, because a job matters."""
        self.counters["jobs"] += 1
        if self._orders is not None:
            self._orders(command.topic, command.payload)
            return
        if not self._operating:
            self.transport.line(Open(OPERATOR, wire.connect(OPERATOR)))
        self._operating += 1
        packet_id = self._operating % 65_535 + 1
        order = wire.publish(command.topic, command.payload, packet_id=packet_id, retain=True)
        self.transport.line(Send(OPERATOR, order))

    def _give_back(self, device_id: str, unacknowledged: Sequence[Reading]) -> None:
        for reading in reversed(unacknowledged):
            self.player.unsent(device_id, reading)

    def _connected(self, device_id: str) -> None:
        self.counters["connects"] += 1
        self.counters["reconnects"] += device_id in self._seen
        self._seen.add(device_id)
        self._awaited.discard(device_id)
        commands = self.player.connected(device_id)
        if not self.stopped:
            self._execute(commands)
        self.changed()

    def _writable(self, device_id: str) -> None:
        if not self.stopped:
            self._execute(self.player.writable(device_id))

    def _message(self, device_id: str, topic: str, payload: bytes) -> None:
        if not self.stopped:
            self._execute(self.player.message(device_id, topic, payload, self._now()))

    def _lost(self, device_id: str, why: Loss, unacknowledged: Sequence[Reading]) -> None:
        self.counters[LOSSES[why]] += 1
        self._awaited.add(device_id)
        self._give_back(device_id, unacknowledged)
        self.player.lost(device_id, self._now())
