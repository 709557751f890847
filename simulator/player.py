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
from .device import Device, Reading, make_device
from .scenario import Phase, Scenario

BACKOFF: Nanoseconds = SECOND
MAX_BACKOFF: Nanoseconds = 30 * SECOND
"""A device that is refused or lost tries again after 1, 2, 4, ... 30 s, each with a jitter of a half."""


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
    device: Device


@dataclass(frozen=True, slots=True)
class Disconnect:
    device: Device


@dataclass(frozen=True, slots=True)
class Publish:
    device: Device
    reading: Reading


@dataclass(frozen=True, slots=True)
class PhaseStarted:
    phase: PhaseSpan


@dataclass(frozen=True, slots=True)
class PhaseEnded:
    phase: PhaseSpan


Command: TypeAlias = Connect | Disconnect | Publish | PhaseStarted | PhaseEnded


@dataclass(frozen=True, slots=True)
class _Read:
    """A device's next reading is due; older entries of the same device (`due` moved) are stale."""

    device: Device
    due: Nanoseconds


@dataclass(frozen=True, slots=True)
class _Retry:
    device: Device


_Entry: TypeAlias = _Read | _Retry | Step | PhaseStarted | PhaseEnded


class Player:
    """The fleet's state. Call `start` when all devices are connected, then `advance` at every `next_due`."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._devices = {device.device_id: device for device in _fleet(scenario)}
        self._heap: list[tuple[Nanoseconds, int, _Entry]] = []
        self._order = itertools.count()
        self._wanted: set[str] = set(self._devices)
        self._attempts: dict[str, int] = {}
        self._rng = random.Random(f"{scenario.seed}/player")  # noqa: S311 - simulation, no secret
        self.labels: tuple[Label, ...] = ()
        self.phases: tuple[PhaseSpan, ...] = ()

    @property
    def devices(self) -> dict[str, Device]:
        return self._devices

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
        device.online = True
        self._attempts.pop(device_id, None)
        while device.kept:
            yield Publish(device, device.kept.popleft())

    def lost(self, device_id: str, now: Nanoseconds) -> None:
        """The connection was refused or broke: the device tries again later, if it wants to be online at all."""
        device = self._devices[device_id]
        device.online = False
        if device_id in self._wanted:
            attempt = self._attempts[device_id] = self._attempts.get(device_id, 0) + 1
            wait = min(MAX_BACKOFF, BACKOFF << min(attempt - 1, 5))
            self._push(now + int(wait * self._rng.uniform(0.5, 1.5)), _Retry(device))

    def _happen(self, entry: _Entry, due: Nanoseconds, now: Nanoseconds) -> Iterator[Command]:
        if isinstance(entry, _Read):
            yield from self._read(entry, now)
        elif isinstance(entry, _Retry):
            if entry.device.device_id in self._wanted and not entry.device.online:
                yield Connect(entry.device)
        elif isinstance(entry, Step):
            yield from self._step(entry, due, now)
        else:
            yield entry

    def _read(self, entry: _Read, now: Nanoseconds) -> Iterator[Command]:
        device = entry.device
        if device.due != entry.due:
            return
        yield from self._send(device, device.reading(now))
        # from the due moment, not from now: a late wake-up must not slow the fleet down, unless it is far behind
        device.schedule_next(max(entry.due, now - SECOND))
        self._push(device.due, _Read(device, device.due))

    def _send(self, device: Device, reading: Reading) -> Iterator[Command]:
        if device.online:
            yield Publish(device, reading)
        else:
            device.kept.append(reading)

    def _step(self, step: Step, due: Nanoseconds, now: Nanoseconds) -> Iterator[Command]:
        device = self._devices[step.device_id]
        if step.kind == "offline":
            self._wanted.discard(device.device_id)
            device.online = False
            yield Disconnect(device)
        elif step.kind == "online":
            self._wanted.add(device.device_id)
            yield Connect(device)
        elif step.kind == "publish":
            yield from self._send(device, device.reading(now, topic=step.topic))
        else:
            self._affect(device, step, due)

    def _affect(self, device: Device, step: Step, now: Nanoseconds) -> None:
        if step.kind == "effect":
            device.effects[step.phase] = step.effect
            device.firmware = step.firmware or device.firmware
        else:
            device.effects.pop(step.phase, None)
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
            yield make_device(
                device_id=device_id,
                device_type=group.group,
                topic=group.topic,
                qos=group.qos,
                every=group.every,
                listens=group.listens,
                payload=group.payload,
                seed=scenario.seed,
            )


def trace(scenario: Scenario, *, start: Nanoseconds = 0) -> Iterator[tuple[Nanoseconds, Command]]:
    """All commands of a scenario with their times, every connect succeeding at once: deterministic."""
    player = Player(scenario)
    for device_id in player.devices:
        list(player.connected(device_id))
    player.start(start)
    while (due := player.next_due()) is not None and due <= start + scenario.duration:
        for command in player.advance(due):
            yield due, command
            if isinstance(command, Connect):
                yield from ((due, sent) for sent in player.connected(command.device.device_id))
