"""The fleet as a service: connects every device, plays the scenario, and tells what it sent."""

from collections.abc import Callable, Mapping

import anyio
from anyio.abc import TaskStatus

from contracts.clock import Clock
from contracts.errors import BackendError
from contracts.messages import SECOND, Label, Nanoseconds
from contracts.ports import Emit, Gauge, Health, State

from .commands import PhaseSpan
from .crew import Crew, Faults, Orders
from .model import Scenario, TransportName
from .player import trace
from .share import EVERYBODY, Share
from .story import Story, story_of
from .transports.base import Callbacks, Transport
from .transports.paho import PahoTransport
from .transports.raw import RawTransport
from .transports.sockets import SocketTransport

CONNECT_SECONDS = 10.0
CONNECT_SECONDS_A_DEVICE = 0.004
"""Besides: 5,000 devices connect in 2 s, and in ten times that on a machine that is busy with something else."""

ACK_SECONDS = 2.0
"""A broker under load acknowledges within some 0.1 s; a stopped one never does."""

LONGEST_SLEEP = SECOND // 5
"""New entries (a reconnect) may be due before the one slept for; they wait this long at most."""

MakeTransport = Callable[[Callbacks], Transport]

TRANSPORTS: Mapping[TransportName, Callable[..., SocketTransport]] = {
    "paho": PahoTransport,
    "raw": RawTransport,
}


class Simulator:
    """The service "simulator". Ready when all devices are connected; `finished` when the scenario is over.

    Counters: those of `Crew`, `acknowledged` (of QoS 1), `dropped_unsent` (readings that a device kept for too long).
    """

    name = "simulator"

    def __init__(
        self,
        scenario: Scenario | Story,
        *,
        host: str,
        port: int,
        clock: Clock,
        emit: Emit | None = None,
        idle_after: bool = False,
        all_must_come: bool = True,
        transport: MakeTransport | None = None,
        faults: Faults | None = None,
        orders: Orders | None = None,
        share: Share = EVERYBODY,
        zero: Nanoseconds | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            scenario: what to play; a story is played once.
            host: the broker's address.
            port: the broker's port for plain MQTT.
            clock: drives the scenario.
            emit: told of `phase_started` (id, kind, devices) and `phase_ended` (id).
            idle_after: keep the fleet's normal traffic going when the scenario is over.
            all_must_come: fail if not every device is connected in time; else begin with those that are.
            transport: makes another transport than the one that the scenario names.
            orders: sends a retained job to a device; without it an operator's own client does.
            faults: told of (kind, parameters, on) when a fault of the platform begins or is over.
            share: the devices that are played here; other processes play the others.
            zero: when the scenario starts, for all processes that share it; without it, when all are connected.
        """
        story = story_of(scenario, share)
        self._duration = story.duration
        self._address = f"{host}:{port}"
        self._clock = clock
        self._idle_after = idle_after
        self._all_must_come = all_must_come
        self._all_up = anyio.Event()
        self._stopped = anyio.Event()
        self._state: State = "starting"
        self.finished = anyio.Event()
        self.started_at: Nanoseconds = 0
        make: MakeTransport = transport or (
            lambda calls: TRANSPORTS[story.transport](host=host, port=port, callbacks=calls)
        )
        self._crew = Crew(
            story.player,
            make=make,
            now=clock.now,
            emit=emit or (lambda _event, _facts: None),
            faults=faults or (lambda _kind, _parameters, _on: None),
            orders=orders,
        )
        self._zero = zero
        self._crew.changed = self._some_came
        self._player, self._transport = self._crew.player, self._crew.transport

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
        """Connect, play, stay. Raises BackendError if not all devices are connected within 10 s (30 s for 5,000)."""
        try:
            await self._transport.open()
            await self._connect_all()
            self.started_at = self._clock.now() if self._zero is None else self._zero
            await self._clock.sleep_until(self.started_at)
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
        self._crew.stopped = True
        with anyio.move_on_after(ACK_SECONDS):
            while self._transport.in_flight().used:  # noqa: ASYNC110 - once, at the end, for all clients
                await anyio.sleep(0.02)
        await self._transport.close()
        self._state = "stopped"

    def health(self) -> Health:
        """`last_progress` is the last PUBLISH."""
        player = self._player
        counters = {
            **self._crew.counters,
            "acknowledged": self._transport.acknowledged(),
            "dropped_unsent": player.dropped_unsent,
        }
        return Health(
            self.name,
            self._state,
            detail=f"{player.online} of {len(player.devices)} devices online",
            last_progress=self._crew.last_publish,
            buffers=(
                Gauge("kept_offline", player.kept, player.kept_capacity, player.kept_highest),
                self._transport.in_flight(),
            ),
            counters=counters,
        )

    @property
    def _patience(self) -> float:
        return CONNECT_SECONDS + CONNECT_SECONDS_A_DEVICE * len(self._player.devices)

    async def _connect_all(self) -> None:
        self._crew.connect_all()
        self._some_came()  # nobody may be wanted: then nobody will
        with anyio.move_on_after(self._patience):
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
            self._crew.advance(self._clock.now())
            await anyio.sleep(LONGEST_SLEEP / SECOND)

    def _not_connected(self) -> BackendError:
        player, counters = self._player, self._crew.counters
        what = (
            f"the broker at {self._address} took {player.online} of {len(player.expected)} devices "
            f"in {self._patience:.0f} s"
        )
        if counters["refused"]:
            return BackendError(f"{what} and refused others", fix="look at its policy, limits and quarantine")
        return BackendError(what, fix=f"start a broker at {self._address}, or correct the address")

    async def _play(self) -> None:
        end = self.started_at + self._duration
        while not self._stopped.is_set():
            now = self._clock.now()
            over = now >= end and not self._idle_after
            self._crew.advance(min(now, end) if over else now)
            if now >= end:
                self.finished.set()
            if over:
                return
            due = min(self._player.next_due() or now + LONGEST_SLEEP, now + LONGEST_SLEEP)
            await self._clock.sleep_until(due if self.finished.is_set() else min(due, end))

    def _some_came(self) -> None:
        if self._crew.all_up:
            self._all_up.set()


__all__ = ["PhaseSpan", "Simulator", "trace"]
