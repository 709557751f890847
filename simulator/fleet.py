"""The fleet as a service: connects every device, plays the scenario, and tells what it sent."""

from collections.abc import Callable, Mapping

import anyio
import anyio.lowlevel
from anyio.abc import TaskStatus

from contracts.clock import Clock
from contracts.errors import BackendError
from contracts.messages import SECOND, Label, Nanoseconds
from contracts.ports import Emit, Health, State

from .player import Command, Connect, Disconnect, PhaseEnded, PhaseSpan, PhaseStarted, Player, Publish
from .scenario import Scenario
from .transports.base import Callbacks, Transport
from .transports.paho import PahoTransport

CONNECT_SECONDS = 10.0
CONNECTS_A_TURN = 20
"""Connects between two turns of the event loop: some 4 ms."""

ACK_SECONDS = 2.0
LONGEST_SLEEP = SECOND // 5
"""New entries (a reconnect) may be due before the one slept for; they wait this long at most."""

MakeTransport = Callable[[Callbacks], Transport]


class Simulator:
    """The service "simulator". Ready when all devices are connected; `finished` when the scenario is over."""

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
        transport: MakeTransport | None = None,
    ) -> None:
        self._scenario = scenario
        self._address = f"{host}:{port}"
        self._clock = clock
        self._emit = emit or (lambda _event, _facts: None)
        self._idle_after = idle_after
        self._make: MakeTransport = transport or (
            lambda calls: PahoTransport(host=host, port=port, callbacks=calls)
        )
        self._player = Player(scenario)
        self._transport: Transport | None = None
        self._state: State = "starting"
        self._all_up = anyio.Event()
        self._last_progress: Nanoseconds = 0
        self._counters = dict.fromkeys(("published", "connects", "refused", "lost", "dropped"), 0)
        self.finished = anyio.Event()
        self.started_at: Nanoseconds = 0

    @property
    def labels(self) -> tuple[Label, ...]:
        """The ground truth, from the start of the scenario on."""
        return self._player.labels

    @property
    def phases(self) -> tuple[PhaseSpan, ...]:
        return self._player.phases

    @property
    def device_types(self) -> Mapping[str, str]:
        return {device_id: device.device_type for device_id, device in self._player.devices.items()}

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        self._transport = self._make(Callbacks(connected=self._connected, lost=self._lost))
        try:
            await self._connect_all(self._transport)
            self.started_at = self._clock.now()
            self._player.start(self.started_at)
            self._state = "ready"
            task_status.started()
            await self._play(self._transport)
        finally:
            self._state = "stopped"
            with anyio.CancelScope(shield=True):
                await self._transport.close()

    async def drain(self) -> None:
        """Publish nothing more, and wait a little for what is not acknowledged."""
        self._state = "draining"
        with anyio.move_on_after(ACK_SECONDS):
            while self._transport is not None and self._transport.in_flight():  # noqa: ASYNC110 - paho has no event
                await anyio.sleep(0.02)

    def health(self) -> Health:
        online = sum(device.online for device in self._player.devices.values())
        acknowledged = self._transport.acknowledged() if self._transport else 0
        detail = f"{online} of {len(self._player.devices)} devices online"
        counters = {**self._counters, "acknowledged": acknowledged}
        return Health(self.name, self._state, detail, self._last_progress, (), counters)

    async def _connect_all(self, transport: Transport) -> None:
        for number, device in enumerate(self._player.devices.values(), start=1):
            transport.connect(device.device_id, device.listens)
            if number % CONNECTS_A_TURN == 0:
                await anyio.lowlevel.checkpoint()
        with anyio.move_on_after(CONNECT_SECONDS):
            await self._all_up.wait()
            return
        online = sum(device.online for device in self._player.devices.values())
        raise BackendError(
            f"only {online} of {len(self._player.devices)} devices could connect to {self._address}",
            fix="is the broker up, and does it let them in?",
        )

    async def _play(self, transport: Transport) -> None:
        end = self.started_at + self._scenario.duration
        while self._state == "ready":
            now = self._clock.now()
            if now >= end and not self.finished.is_set():
                self.finished.set()
                if not self._idle_after:
                    break
            for command in self._player.advance(now):
                self._execute(command, transport)
            due = self._player.next_due() or now + LONGEST_SLEEP
            await self._clock.sleep_until(min(due, now + LONGEST_SLEEP))
        await anyio.sleep_forever()

    def _execute(self, command: Command, transport: Transport) -> None:
        if isinstance(command, Publish):
            self._publish(command, transport)
        elif isinstance(command, Connect):
            transport.connect(command.device.device_id, command.device.listens)
        elif isinstance(command, Disconnect):
            transport.disconnect(command.device.device_id)
        elif isinstance(command, PhaseStarted):
            phase = command.phase
            self._emit("phase_started", {"id": phase.id, "kind": phase.kind, "devices": phase.devices})
        elif isinstance(command, PhaseEnded):
            self._emit("phase_ended", {"id": command.phase.id})

    def _publish(self, command: Publish, transport: Transport) -> None:
        reading = command.reading
        sent = transport.publish(
            command.device.device_id, topic=reading.topic, payload=reading.payload, qos=reading.qos
        )
        self._counters["published" if sent else "dropped"] += 1
        self._last_progress = self._clock.now()

    def _connected(self, device_id: str) -> None:
        self._counters["connects"] += 1
        for command in self._player.connected(device_id):
            if self._transport is not None:
                self._execute(command, self._transport)
        if all(device.online for device in self._player.devices.values()):
            self._all_up.set()

    def _lost(self, device_id: str, refused: bool) -> None:  # noqa: FBT001 - the transport's callback
        self._counters["refused" if refused else "lost"] += 1
        self._player.lost(device_id, self._clock.now())
