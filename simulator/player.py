"""Plays a scenario on any clock: says what every device does and when. No sockets, no clock, no tasks.

The same file and seed give the same commands at the same times, as long as the connections answer alike.
"""

import heapq
import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from contracts.messages import MILLISECOND, SECOND, Label, Nanoseconds

from .behaviours.base import AnyStep, FaultStep, LineStep, OrderStep, Span, Step, SubscribeStep
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
from .device import COMMANDED, Device, Reading
from .effects import Effect
from .model import Group, Phase, Scenario
from .roster import Roster
from .share import EVERYBODY, Share

MAX_COMMANDED = 100
MAX_REBOOT_SECONDS = 3_600
"""What a device takes from an operator: more is a mistake, and it does nothing."""

MAX_LATE: Nanoseconds = SECOND
"""A fleet that is further behind than this (the machine slept) skips readings rather than make up for them."""


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


@dataclass(frozen=True, slots=True)
class _Sending:
    """A reading that the network held back is due to be sent."""

    device: Device
    reading: Reading


@dataclass(frozen=True, slots=True)
class _Rebooted:
    """A device is back with the firmware of a job."""

    device: Device
    phase: str
    effect: Effect
    firmware: str


_Entry: TypeAlias = _Read | _ExtraRead | _Retry | _Sending | _Rebooted | AnyStep | PhaseStarted | PhaseEnded


@dataclass(frozen=True, slots=True)
class _Cast:
    """A phase with the devices that it concerns and its source of randomness."""

    phase: Phase
    rng: random.Random
    targets: Sequence[Device]


class Player(Roster):
    """The fleet's state. Call `start` when all devices are connected, then `advance` at every `next_due`.

    Of a share only its devices act; labels and timeline are the whole scenario's, and the same in every share.
    """

    def __init__(self, scenario: Scenario, share: Share = EVERYBODY) -> None:
        self._scenario = scenario
        self._share = share
        self._devices = {device.device_id: device for device in _fleet(scenario)}
        self._places = {device_id: place for place, device_id in enumerate(self._devices)}
        own = {name: one for name, one in self._devices.items() if share.has(self._places[name])}
        super().__init__(own, random.Random(f"{scenario.seed}/player"))  # noqa: S311 - simulation, no secret
        self._heap: list[tuple[Nanoseconds, int, _Entry]] = []
        self._order = itertools.count()
        self.labels: tuple[Label, ...] = ()
        self.phases: tuple[PhaseSpan, ...] = ()
        self._cast = [self._choose(phase, place) for place, phase in enumerate(scenario.timeline)]
        for cast in self._cast:
            if cast.phase.behaviour.absent:
                for device in cast.targets:
                    device.off.add(cast.phase.id)
            if cast.phase.kind == "benign.firmware_rollout":
                for device in cast.targets:
                    device.listens = _with(device.listens, job_topic(device))

    def start(self, now: Nanoseconds) -> None:
        """Time zero: every device begins to measure, the timeline is laid out."""
        for device in self._devices.values():
            device.start_at(
                now
            )  # of the others too: it takes from the randomness that their plans go on with
            if device.device_id in self.devices:
                self._push(device.due, _Read(device, device.due))
        for cast in self._cast:
            self._lay_out(cast, now)

    def next_due(self) -> Nanoseconds | None:
        """When something happens next."""
        return self._heap[0][0] if self._heap else None

    def advance(self, now: Nanoseconds) -> Iterator[Command]:
        """Everything that is due by now, in order."""
        while self._heap and self._heap[0][0] <= now:
            due, _, entry = heapq.heappop(self._heap)
            yield from self._happen(entry, due, now)

    def connected(self, device_id: str) -> Iterator[Command]:
        """The device's connection is up: it reports to its shadow, if it has one, and sends what it kept."""
        device = self._devices[device_id]
        self._is_up(device)
        if device.shadow:
            yield Publish(device, device.shadow_report())
        yield from self._send_kept(device)

    def lost(self, device_id: str, now: Nanoseconds) -> None:
        """The connection was refused or broke: the device tries again later, if it wants to be online at all."""
        device = self._devices[device_id]
        self._set_online(device, online=False)
        if device.wanted:
            self._push(now + self._next_try(device), _Retry(device))

    def message(self, device_id: str, topic: str, payload: bytes, now: Nanoseconds) -> Iterator[Command]:
        """Something came to a device: a job is done once, however often it comes; a command at once."""
        device = self._devices[device_id]
        job = _job(payload) if topic == job_topic(device) else None
        if job is None:
            yield from self._obey(device, command_of(topic, payload), now)
            return
        if job["job"] in device.jobs:
            return
        phase = str(job["job"])
        device.jobs.add(phase)
        device.off.add(phase)
        effect = Effect(rate_factor=job["rate_factor"], extra_bytes=job["extra_bytes"])
        back = now + int(job["reboot_ms"]) * MILLISECOND
        self._push(back, _Rebooted(device, phase, effect, str(job["firmware"])))
        if device.online:
            self._set_online(device, online=False)
            yield Disconnect(device, abrupt=False)

    def _obey(self, device: Device, command: Mapping[str, Any], now: Nanoseconds) -> Iterator[Command]:
        """`rate_factor` from now on, or `reboot` for so many seconds."""
        factor, reboot = command.get("rate_factor"), command.get("reboot")
        if isinstance(factor, int | float) and 0 < factor <= MAX_COMMANDED:
            device.effects[COMMANDED] = Effect(rate_factor=float(factor))
            self._reschedule(device, now)
            if device.shadow and device.online:
                yield Publish(device, device.shadow_report())
        if isinstance(reboot, int | float) and 0 < reboot <= MAX_REBOOT_SECONDS:
            device.off.add(COMMANDED)
            self._push(now + int(reboot * SECOND), Step(now, "online", device.device_id, COMMANDED))
            if device.online:
                self._set_online(device, online=False)
                yield Disconnect(device, abrupt=False)

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
        elif isinstance(entry, _Sending):
            yield from self._send_or_keep(entry.device, entry.reading)
        elif isinstance(entry, _Rebooted):
            yield from self._rebooted(entry, due)
        elif isinstance(entry, PhaseStarted | PhaseEnded):
            yield entry
        else:
            yield self._other(entry)

    def _other(self, entry: SubscribeStep | OrderStep | LineStep | FaultStep) -> Command:
        if isinstance(entry, LineStep):
            return Line(entry.action)
        if isinstance(entry, FaultStep):
            return Fault(entry)
        device = self._devices[entry.device_id]
        if isinstance(entry, SubscribeStep):
            return Subscribe(device, entry.filters)
        return Order(device, job_topic(device), json.dumps(entry.job).encode() if entry.job else b"")

    def _rebooted(self, entry: _Rebooted, now: Nanoseconds) -> Iterator[Command]:
        """Unless its phase is over: then it comes back as it was, with the firmware all the same."""
        device = entry.device
        device.firmware = entry.firmware
        if entry.phase not in device.off:
            return
        step = Step(now, "effect", device.device_id, entry.phase, entry.effect, entry.firmware)
        yield from self._step(step, now)
        yield from self._step(Step(now, "online", device.device_id, entry.phase), now)

    def _read(self, entry: _Read, now: Nanoseconds) -> Iterator[Command]:
        device = entry.device
        if device.due != entry.due:
            return
        if not device.off:
            yield from self._send(device, device.reading(now), now)
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
            yield from self._send(device, device.extra_reading(extra, now), now)
        gap = int(SECOND / extra.rate * device.rng.uniform(1 - extra.jitter, 1 + extra.jitter))
        self._push(max(due, now - MAX_LATE) + gap, entry)

    def _send(self, device: Device, reading: Reading, now: Nanoseconds) -> Iterator[Command]:
        """Now, or when the network lets it through; some a second time."""
        wait = device.delay(now)
        for _ in range(1 + device.sends_twice()):
            if wait:
                self._push(now + wait, _Sending(device, reading))
            else:
                yield from self._send_or_keep(device, reading)

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

    def _choose(self, phase: Phase, place: int) -> _Cast:
        rng = random.Random(f"{self._scenario.seed}/{place}/{phase.id}")  # noqa: S311 - simulation, no secret
        if phase.targets is None:
            return _Cast(phase, rng, ())
        group = [device for device in self._devices.values() if device.device_type == phase.targets.group]
        count = phase.targets.how_many(len(group))
        chosen = rng.sample(group, count) if phase.targets.pick == "random" else group[:count]
        return _Cast(phase, rng, chosen)

    def _lay_out(self, cast: _Cast, zero: Nanoseconds) -> None:
        phase, targets = cast.phase, cast.targets
        waves = phase.targets.waves if phase.targets else 1
        span = Span(
            phase.id,
            zero + phase.at,
            zero + phase.until,
            targets,
            waves,
            cast.rng,
            tuple(self._devices.values()),
        )
        plan = phase.behaviour.plan(span)
        played = PhaseSpan(phase.id, phase.kind, span.start, span.end, len(targets))
        self.phases = (*self.phases, played)
        self.labels = (*self.labels, *plan.labels)
        self._push(span.start, PhaseStarted(played))
        for step in plan.steps:
            if self._share.does(step, self._places):
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
    if group.shadow:
        device.shadow = True
        device.listens = (*device.listens, f"$aws/things/{device_id}/shadow/update/delta")
    return device


def job_topic(device: Device) -> str:
    """Where the operator's jobs for a device are."""
    return f"cmd/{device.device_type}/{device.device_id}/job"


def _with(filters: tuple[str, ...], topic: str) -> tuple[str, ...]:
    """These filters, and the topic if none of them is its subtree's."""
    above = topic.rsplit("/", 1)[0]
    return filters if {topic, f"{above}/#", f"{above}/+"} & set(filters) else (*filters, topic)


def command_of(topic: str, payload: bytes) -> Mapping[str, Any]:
    """What a message asks of a device: a command on `cmd/...`, or what its shadow says is desired. {} for neither."""
    try:
        told = json.loads(payload)
    except ValueError:
        return {}
    if topic.endswith("/shadow/update/delta"):
        told = told.get("state") if isinstance(told, dict) else None
    elif not topic.startswith("cmd/"):
        return {}
    return told if isinstance(told, dict) else {}


def _job(payload: bytes) -> dict[str, Any] | None:
    """A job as `benign.firmware_rollout` writes it; None for anything else."""
    try:
        job = json.loads(payload)
    except ValueError:
        return None
    needed = {"job", "firmware", "reboot_ms", "rate_factor", "extra_bytes"}
    return job if isinstance(job, dict) and needed <= set(job) else None


def trace(scenario: Scenario, *, start: Nanoseconds | None = None) -> Iterator[tuple[Nanoseconds, Command]]:
    """All commands of a scenario with their times, every connect succeeding at once: deterministic.

    `start` is the scenario's time zero; without it, the clock's `start` in the file, or the epoch.
    """
    player = Player(scenario)
    for device in player.expected:
        list(player.connected(device.device_id))
    zero = scenario.clock.start_at if start is None else start
    player.start(zero)
    while (due := player.next_due()) is not None and due <= zero + scenario.duration:
        for command in player.advance(due):
            yield due, command
            if isinstance(command, Connect):
                yield from ((due, sent) for sent in player.connected(command.device.device_id))
            elif isinstance(command, Order):
                obeyed = player.message(command.device.device_id, command.topic, command.payload, due)
                yield from ((due, done) for done in obeyed)
