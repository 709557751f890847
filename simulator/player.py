"""Plays a scenario on any clock: says what every device does and when. No sockets, no clock, no tasks.

The same file and seed give the same commands at the same times, as long as the connections answer alike.
"""

import heapq
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from contracts.messages import SECOND, Label, Nanoseconds

from .behaviours.base import Span, Step
from .device import MAX_KEPT, Device, Reading
from .model import Group, Phase, Scenario

BACKOFF: Nanoseconds = SECOND
MAX_BACKOFF: Nanoseconds = 30 * SECOND
"""A device that is refused or lost tries again after 1, 2, 4, ... 30 s, each with a jitter of a half."""

MAX_LATE: Nanoseconds = SECOND
"""A fleet that is further behind than this (the machine slept) skips readings rather than make up for them."""


@dataclass(frozen=True, slots=True)
class PhaseSpan:
    """A phase as it is played: absolute start and end."""

    id: str
    kind: str
    start: Nanoseconds
    end: Nanoseconds
    devices: int


@dataclass(frozen=True, slots=True)
class Connect:
    """The device wants to be online."""

    device: Device


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The device goes offline: in order, or (`abrupt`) without a word."""

    device: Device
    abrupt: bool


@dataclass(frozen=True, slots=True)
class Publish:
    """The device sends a reading; what cannot be sent goes back by `Player.unsent`."""

    device: Device
    reading: Reading


@dataclass(frozen=True, slots=True)
class PhaseStarted:
    """A phase of the timeline begins."""

    phase: PhaseSpan


@dataclass(frozen=True, slots=True)
class PhaseEnded:
    """A phase of the timeline is over."""

    phase: PhaseSpan


Command: TypeAlias = Connect | Disconnect | Publish | PhaseStarted | PhaseEnded


@dataclass(frozen=True, slots=True)
class _Read:
    """A device's next reading is due; older entries of the same device (`due` moved) are stale."""

    device: Device
    due: Nanoseconds


@dataclass(frozen=True, slots=True)
class _ExtraRead:
    """A device's next publish on a topic of phase `phase` is due."""

    device: Device
    phase: str


@dataclass(frozen=True, slots=True)
class _Retry:
    """A device tries to connect again."""

    device: Device


_Entry: TypeAlias = _Read | _ExtraRead | _Retry | Step | PhaseStarted | PhaseEnded


class Player:
    """The fleet's state. Call `start` when all devices are connected, then `advance` at every `next_due`."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._devices = {device.device_id: device for device in _fleet(scenario)}
        self._heap: list[tuple[Nanoseconds, int, _Entry]] = []
        self._order = itertools.count()
        self._attempts: dict[str, int] = {}
        self._rng = random.Random(f"{scenario.seed}/player")  # noqa: S311 - simulation, no secret
        self.labels: tuple[Label, ...] = ()
        self.phases: tuple[PhaseSpan, ...] = ()
        self.online = 0
        self.kept = 0
        self.kept_highest = 0
        self.dropped_unsent = 0

    @property
    def devices(self) -> dict[str, Device]:
        return self._devices

    @property
    def kept_capacity(self) -> int:
        return MAX_KEPT * len(self._devices)

    def start(self, now: Nanoseconds) -> None:
        """Time zero: every device begins to measure, the timeline is laid out."""
        for device in self._devices.values():
            device.start_at(now)
            self._push(device.due, _Read(device, device.due))
        for place, phase in enumerate(self._scenario.timeline):
            self._lay_out(phase, place, now)

    def next_due(self) -> Nanoseconds | None:
        """When something happens next."""
        return self._heap[0][0] if self._heap else None

    def advance(self, now: Nanoseconds) -> Iterator[Command]:
        """Everything that is due by now, in order."""
        while self._heap and self._heap[0][0] <= now:
            due, _, entry = heapq.heappop(self._heap)
            yield from self._happen(entry, due, now)

    def connected(self, device_id: str) -> Iterator[Command]:
        """The device's connection is up: it sends what it kept."""
        device = self._devices[device_id]
        self._set_online(device, online=True)
        self._attempts.pop(device_id, None)
        yield from self._send_kept(device)

    def writable(self, device_id: str) -> Iterator[Command]:
        """The connection can take readings again: more of what is kept."""
        yield from self._send_kept(self._devices[device_id])

    def lost(self, device_id: str, now: Nanoseconds) -> None:
        """The connection was refused or broke: the device tries again later, if it wants to be online at all."""
        device = self._devices[device_id]
        self._set_online(device, online=False)
        if device.wanted:
            attempt = self._attempts[device_id] = self._attempts.get(device_id, 0) + 1
            wait = min(MAX_BACKOFF, BACKOFF << min(attempt - 1, 5))
            self._push(now + int(wait * self._rng.uniform(0.5, 1.5)), _Retry(device))

    def unsent(self, device_id: str, reading: Reading) -> None:
        """A reading could not be sent, or was not acknowledged before the connection broke: it goes first later."""
        self._keep(self._devices[device_id], reading, first=True)

    def _happen(self, entry: _Entry, due: Nanoseconds, now: Nanoseconds) -> Iterator[Command]:
        if isinstance(entry, _Read):
            yield from self._read(entry, now)
        elif isinstance(entry, _ExtraRead):
            yield from self._extra_read(entry, due, now)
        elif isinstance(entry, _Retry):
            if entry.device.wanted and not entry.device.online:
                yield Connect(entry.device)
        elif isinstance(entry, Step):
            yield from self._step(entry, due)
        else:
            yield entry

    def _read(self, entry: _Read, now: Nanoseconds) -> Iterator[Command]:
        device = entry.device
        if device.due != entry.due:
            return
        if not device.off:
            yield from self._send(device, device.reading(now))
        # from the due moment, not from now: a late wake-up must not slow the fleet down
        device.schedule_next(max(entry.due, now - MAX_LATE))
        self._push(device.due, _Read(device, device.due))

    def _extra_read(self, entry: _ExtraRead, due: Nanoseconds, now: Nanoseconds) -> Iterator[Command]:
        device = entry.device
        effect = device.effects.get(entry.phase)
        if effect is None or effect.extra is None:
            return
        extra = effect.extra
        if not device.off:
            yield from self._send(device, device.reading(now, topic=device.rng.choice(extra.topics)))
        gap = int(SECOND / extra.rate * device.rng.uniform(0.8, 1.2))
        self._push(max(due, now - MAX_LATE) + gap, entry)

    def _send(self, device: Device, reading: Reading) -> Iterator[Command]:
        if not device.online or device.kept:
            self._keep(device, reading)
            yield from self._send_kept(device)
        else:
            yield Publish(device, reading)

    def _send_kept(self, device: Device) -> Iterator[Command]:
        """Oldest first, as many as there are now: what comes back meanwhile waits for the next time."""
        for _ in range(len(device.kept) if device.online else 0):
            before = len(device.kept)
            self.kept -= 1
            yield Publish(device, device.kept.popleft())
            if len(device.kept) >= before:
                return

    def _keep(self, device: Device, reading: Reading, *, first: bool = False) -> None:
        lost = device.keep(reading, first=first)
        self.dropped_unsent += lost
        self.kept += 1 - lost
        self.kept_highest = max(self.kept_highest, self.kept)

    def _set_online(self, device: Device, *, online: bool) -> None:
        self.online += online - device.online
        device.online = online

    def _step(self, step: Step, due: Nanoseconds) -> Iterator[Command]:
        device = self._devices[step.device_id]
        wanted = device.wanted
        if step.kind in ("off", "cut"):
            (device.off if step.kind == "off" else device.cut).add(step.phase)
        elif step.kind == "effect":
            self._affect(device, step, due)
        else:
            self._release(device, step, due)
        if wanted and not device.wanted:
            self._set_online(device, online=False)
            yield Disconnect(device, abrupt=step.kind == "cut")
        elif device.wanted and not wanted:
            yield Connect(device)

    def _release(self, device: Device, step: Step, now: Nanoseconds) -> None:
        device.off.discard(step.phase)
        device.cut.discard(step.phase)
        if step.kind == "restore" and device.effects.pop(step.phase, None) is not None:
            self._reschedule(device, now)

    def _affect(self, device: Device, step: Step, now: Nanoseconds) -> None:
        before = device.effects.get(step.phase)
        device.effects[step.phase] = step.effect
        device.firmware = step.firmware or device.firmware
        self._reschedule(device, now)
        if step.effect.extra is not None and (before is None or before.extra is None):
            gap = SECOND / step.effect.extra.rate
            self._push(now + int(gap * device.rng.random() / 2), _ExtraRead(device, step.phase))

    def _reschedule(self, device: Device, now: Nanoseconds) -> None:
        """At a higher rate the next reading comes earlier; at a lower one it stays where it is."""
        due = device.due
        device.schedule_next(now)
        if device.due < due:
            self._push(device.due, _Read(device, device.due))
        else:
            device.due = due

    def _lay_out(self, phase: Phase, place: int, zero: Nanoseconds) -> None:
        rng = random.Random(f"{self._scenario.seed}/{place}/{phase.id}")  # noqa: S311 - simulation, no secret
        group = [device for device in self._devices.values() if device.device_type == phase.targets.group]
        count = phase.targets.how_many(len(group))
        targets = rng.sample(group, count) if phase.targets.pick == "random" else group[:count]
        span = Span(phase.id, zero + phase.at, zero + phase.until, targets, phase.targets.waves, rng)
        plan = phase.behaviour.plan(span)
        played = PhaseSpan(phase.id, phase.kind, span.start, span.end, count)
        self.phases = (*self.phases, played)
        self.labels = (*self.labels, *plan.labels)
        self._push(span.start, PhaseStarted(played))
        for step in plan.steps:
            self._push(step.at, step)
        self._push(span.end, PhaseEnded(played))

    def _push(self, at: Nanoseconds, entry: _Entry) -> None:
        heapq.heappush(self._heap, (at, next(self._order), entry))


def _fleet(scenario: Scenario) -> Iterator[Device]:
    for group in scenario.fleet:
        for device_id in group.device_ids():
            yield _device(group, device_id, scenario.seed)


def _device(group: Group, device_id: str, seed: int) -> Device:
    """A device whose randomness depends on the seed and its id alone."""
    rng = random.Random(f"{seed}/{device_id}")  # noqa: S311 - simulation, no secret
    device = Device(
        device_id=device_id,
        device_type=group.group,
        topic="",
        qos=group.qos,
        every=group.every,
        listens=(),
        rng=rng,
        generators={name: spec.generator(rng) for name, spec in group.payload.items()},
    )
    device.topic = device.fill(group.topic)
    device.listens = tuple(device.fill(one) for one in group.listens)
    return device


def trace(scenario: Scenario, *, start: Nanoseconds | None = None) -> Iterator[tuple[Nanoseconds, Command]]:
    """All commands of a scenario with their times, every connect succeeding at once: deterministic.

    `start` is the scenario's time zero; without it, the clock's `start` in the file, or the epoch.
    """
    player = Player(scenario)
    for device_id in player.devices:
        list(player.connected(device_id))
    zero = scenario.clock.start_at if start is None else start
    player.start(zero)
    while (due := player.next_due()) is not None and due <= zero + scenario.duration:
        for command in player.advance(due):
            yield due, command
            if isinstance(command, Connect):
                yield from ((due, sent) for sent in player.connected(command.device.device_id))
