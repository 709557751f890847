"""The fleet as a service: connects every device, plays the scenario, and tells what it sent."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import anyio
from anyio.abc import TaskStatus

from contracts.clock import Clock
from contracts.errors import BackendError
from contracts.messages import SECOND, Label, Nanoseconds
from contracts.ports import Emit, Gauge, Health, State

from .device import Reading
from .model import Scenario
from .player import Command, Connect, Disconnect, PhaseEnded, PhaseSpan, PhaseStarted, Player, Publish, trace
from .transports.base import Callbacks, Loss, Transport
from .transports.paho import PahoTransport

CONNECT_SECONDS = 10.0
ACK_SECONDS = 2.0
"""A broker under load acknowledges within some 0.1 s; a stopped one never does."""

LONGEST_SLEEP = SECOND // 5
"""New entries (a reconnect) may be due before the one slept for; they wait this long at most."""

MakeTransport = Callable[[Callbacks], Transport]

_LOSSES: Mapping[Loss, str] = {"refused": "refused", "unreachable": "unreachable", "lost": "connections_lost"}


class Simulator:
    """The service "simulator". Ready when all devices are connected; `finished` when the scenario is over.

    Counters: `published` (PUBLISH packets handed to the clients for sending; a reading that was sent and not
    acknowledged before its connection broke is sent, and counted, again), `acknowledged` (of QoS 1), `connects`
    (accepted by the broker), `reconnects` (those of them that were not a device's first), `refused` (CONNECTs
    the broker said no to), `unreachable`, `connections_lost`, `dropped_unsent` (readings that a device kept for
    too long).
    """

    name = "simulator"

    def __init__(
        self,
        scenario: Scenario,
        *,
        host: str,
        port: int,
        clock: Clock,
        emit: Emit | None = None,
        idle_after: bool = False,
        all_must_come: bool = True,
        transport: MakeTransport | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            scenario: what to play.
            host: the broker's address.
            port: the broker's port for plain MQTT.
            clock: drives the scenario.
            emit: told of `phase_started` (id, kind, devices) and `phase_ended` (id).
            idle_after: keep the fleet's normal traffic going when the scenario is over.
            all_must_come: fail if not every device is connected in time; else begin with those that are.
            transport: makes another transport than paho clients.
        """
        self._scenario = scenario
        self._address = f"{host}:{port}"
        self._clock = clock
        self._emit = emit or (lambda _event, _facts: None)
        self._idle_after = idle_after
        self._all_must_come = all_must_come
        make: MakeTransport = transport or (
            lambda calls: PahoTransport(host=host, port=port, callbacks=calls)
        )
        self._transport = make(Callbacks(connected=self._connected, writable=self._writable, lost=self._lost))
        self._player = Player(scenario)
        self._state: State = "starting"
        self._seen: set[str] = set()
        self._all_up = anyio.Event()
        self._stopped = anyio.Event()
        self._last_progress: Nanoseconds = 0
        self._counters = dict.fromkeys(("published", "connects", "reconnects", *_LOSSES.values()), 0)
        self.finished = anyio.Event()
        self.started_at: Nanoseconds = 0

    @property
    def labels(self) -> tuple[Label, ...]:
        """The ground truth, from the start of the scenario on."""
        return self._player.labels

    @property
    def phases(self) -> tuple[PhaseSpan, ...]:
        """The timeline in absolute times, from the start of the scenario on."""
        return self._player.phases

    @property
    def device_ids(self) -> tuple[str, ...]:
        return tuple(self._player.devices)

    @property
    def device_types(self) -> Mapping[str, str]:
        """The group of every device, by device id."""
        return {device_id: device.device_type for device_id, device in self._player.devices.items()}

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Connect, play, stay. Raises BackendError if not all devices are connected within 10 s."""
        try:
            await self._transport.open()
            await self._connect_all()
            self.started_at = self._clock.now()
            self._player.start(self.started_at)
            self._state = "ready"
            task_status.started()
            await self._play()
            await anyio.sleep_forever()
        finally:
            if self._state != "stopped":
                self._state = "stopped" if self.started_at else "failed"
            with anyio.CancelScope(shield=True):
                await self._transport.close()

    async def drain(self) -> None:
        """Publish nothing more, wait a little for what is not acknowledged, disconnect all devices in order."""
        self._state = "draining"
        self._stopped.set()
        with anyio.move_on_after(ACK_SECONDS):
            while self._transport.in_flight().used:  # noqa: ASYNC110 - once, at the end, for all clients
                await anyio.sleep(0.02)
        await self._transport.close()
        self._state = "stopped"

    def health(self) -> Health:
        """`last_progress` is the last PUBLISH."""
        player = self._player
        counters = {
            **self._counters,
            "acknowledged": self._transport.acknowledged(),
            "dropped_unsent": player.dropped_unsent,
        }
        return Health(
            self.name,
            self._state,
            detail=f"{player.online} of {len(player.devices)} devices online",
            last_progress=self._last_progress,
            buffers=(
                Gauge("kept_offline", player.kept, player.kept_capacity, player.kept_highest),
                self._transport.in_flight(),
            ),
            counters=counters,
        )

    async def _connect_all(self) -> None:
        for device in self._player.devices.values():
            self._transport.connect(device.device_id, device.listens)
        with anyio.move_on_after(CONNECT_SECONDS):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._retry_for_ever)
                await self._all_up.wait()
                tasks.cancel_scope.cancel()
            return
        if self._all_must_come:
            raise self._not_connected()

    async def _retry_for_ever(self) -> None:
        """Before the scenario starts, all that the player has to do is to try again."""
        while True:
            self._advance(self._clock.now())
            await anyio.sleep(LONGEST_SLEEP / SECOND)

    def _not_connected(self) -> BackendError:
        player, counters = self._player, self._counters
        what = (
            f"the broker at {self._address} took {player.online} of {len(player.devices)} devices "
            f"in {CONNECT_SECONDS:.0f} s"
        )
        if counters["refused"]:
            return BackendError(f"{what} and refused others", fix="look at its policy, limits and quarantine")
        return BackendError(what, fix=f"start a broker at {self._address}, or correct the address")

    async def _play(self) -> None:
        end = self.started_at + self._scenario.duration
        while not self._stopped.is_set():
            now = self._clock.now()
            over = now >= end and not self._idle_after
            self._advance(min(now, end) if over else now)
            if now >= end:
                self.finished.set()
            if over:
                return
            due = min(self._player.next_due() or now + LONGEST_SLEEP, now + LONGEST_SLEEP)
            await self._clock.sleep_until(due if self.finished.is_set() else min(due, end))

    def _advance(self, now: Nanoseconds) -> None:
        self._execute(self._player.advance(now))

    def _execute(self, commands: Iterator[Command]) -> None:
        for command in commands:
            if isinstance(command, Publish):
                self._publish(command)
            elif isinstance(command, Connect):
                self._transport.connect(command.device.device_id, command.device.listens)
            elif isinstance(command, Disconnect):
                self._disconnect(command)
            elif isinstance(command, PhaseStarted):
                phase = command.phase
                self._emit("phase_started", {"id": phase.id, "kind": phase.kind, "devices": phase.devices})
            elif isinstance(command, PhaseEnded):
                self._emit("phase_ended", {"id": command.phase.id})

    def _publish(self, command: Publish) -> None:
        device_id = command.device.device_id
        if self._transport.publish(device_id, command.reading):
            self._counters["published"] += 1
            self._last_progress = self._clock.now()
        else:
            self._player.unsent(device_id, command.reading)

    def _disconnect(self, command: Disconnect) -> None:
        device_id = command.device.device_id
        if command.abrupt:
            self._give_back(device_id, self._transport.drop(device_id))
        else:
            self._transport.disconnect(device_id)

    def _give_back(self, device_id: str, unacknowledged: Sequence[Reading]) -> None:
        for reading in reversed(unacknowledged):
            self._player.unsent(device_id, reading)

    def _connected(self, device_id: str) -> None:
        self._counters["connects"] += 1
        self._counters["reconnects"] += device_id in self._seen
        self._seen.add(device_id)
        commands = self._player.connected(device_id)
        if not self._stopped.is_set():
            self._execute(commands)
        if self._player.online == len(self._player.devices):
            self._all_up.set()

    def _writable(self, device_id: str) -> None:
        if not self._stopped.is_set():
            self._execute(self._player.writable(device_id))

    def _lost(self, device_id: str, why: Loss, unacknowledged: Sequence[Reading]) -> None:
        self._counters[_LOSSES[why]] += 1
        self._give_back(device_id, unacknowledged)
        self._player.lost(device_id, self._clock.now())


__all__ = ["PhaseSpan", "Simulator", "trace"]
