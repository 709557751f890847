"""A synthetic fleet, and doubles of the ports, for the tests of the model.

The fleet gives per-second device rows, as the gateway would count them.

Messages are Poisson (harder than a real device's almost regular ones). Every event changes what devices do
from `at` (seconds after the start) for `last` seconds.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from analytics.model import Model
from analytics.verdict import Rules
from analytics.windows import CHUNK_ROWS, COUNTS, DeviceRow, Second
from contracts.clock import ManualClock
from contracts.messages import FLEET, SECOND, Alert, Change, Told, Verdict
from contracts.ports import Rows

START = 1_767_600_000


@dataclass
class State:
    """What one device does in one second, before it is drawn."""

    rate: float
    size: float = 110.0
    online: bool = True
    novel: float = 0.0
    extra: dict[str, int] = field(default_factory=dict)
    burst: int = 0


@dataclass(frozen=True)
class Event:
    at: int
    last: int
    devices: tuple[int, ...]
    change: Callable[[State, int, int, np.random.Generator], None]


class Fleet:
    """`count` devices of `types`, one message every `every` seconds each."""

    def __init__(
        self,
        count: int,
        *,
        seed: int,
        every: float = 1.0,
        types: Sequence[str] = ("meter",),
        name: Callable[[int], str] = "dev-{:04d}".format,
        spread: float = 0.0,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.ids = [name(number) for number in range(count)]
        self.types = [types[number % len(types)] for number in range(count)]
        self.rates = np.exp(self.rng.normal(0.0, spread, count)) / every
        self.events: list[Event] = []

    def pick(self, count: int) -> tuple[int, ...]:
        return tuple(int(n) for n in self.rng.choice(len(self.ids), count, replace=False))

    def names(self, numbers: Sequence[int]) -> set[str]:
        return {self.ids[number] for number in numbers}

    def flood(self, at: int, last: int, devices: Sequence[int], factor: float) -> None:
        def change(state: State, _d: int, _t: int, _rng: np.random.Generator) -> None:
            state.rate *= factor

        self.events.append(Event(at, last, tuple(devices), change))

    def botnet(
        self, at: int, last: int, devices: Sequence[int], factor: float = 3.5, novel: float = 1.0
    ) -> None:
        def change(state: State, _d: int, _t: int, _rng: np.random.Generator) -> None:
            state.rate *= factor
            state.novel = novel

        self.events.append(Event(at, last, tuple(devices), change))

    def extras(self, at: int, last: int, devices: Sequence[int], name: str, rate: float) -> None:
        """Counts of `name` at `rate` a second: authorisation failures, throttled messages, ..."""

        def change(state: State, _d: int, _t: int, rng: np.random.Generator) -> None:
            state.extra[name] = state.extra.get(name, 0) + int(rng.poisson(rate))

        self.events.append(Event(at, last, tuple(devices), change))

    def rollout(
        self,
        at: int,
        last: int,
        *,
        fraction: float = 1.0,
        waves: int = 1,
        factor: float = 2.5,
        grow: float = 900.0,
    ) -> tuple[int, ...]:
        """In each wave the devices reboot, come back after 2-5 s, send more and larger."""
        chosen = self.pick(int(fraction * len(self.ids)))
        gap = last // (waves + 1) if waves > 1 else 0
        for place, device in enumerate(chosen):
            down = at + gap * (place * waves // len(chosen)) + int(self.rng.integers(0, 3))
            up = down + int(self.rng.integers(2, 6))
            self.events.append(Event(at, last, (device,), _rollout_change(down, up, factor, grow)))
        return chosen

    def storm(self, at: int, *, down: int = 15, spread: int = 8, flush: int = 2) -> None:
        """Everybody drops at once, comes back within `spread` seconds and sends what was kept in `flush` s."""
        for device in range(len(self.ids)):
            up = at + down + int(self.rng.integers(0, spread + 1))
            self.events.append(Event(at, up - at + flush, (device,), _storm_change(at, up, flush)))

    def seconds(self, duration: int) -> list[Second]:
        started = self.rng.integers(0, 3, len(self.ids))
        own = [[event for event in self.events if device in event.devices] for device in range(len(self.ids))]
        return [self._second(t, started, own) for t in range(duration)]

    def _second(self, t: int, started: np.ndarray, own: list[list[Event]]) -> Second:
        rows = []
        for device, device_id in enumerate(self.ids):
            if t < started[device]:
                continue
            state = State(self.rates[device])
            if t == started[device]:
                state.extra["num_connects"] = 1
            for event in own[device]:
                if event.at <= t < event.at + event.last:
                    event.change(state, device, t, self.rng)
            row = self._row(device, device_id, state)
            if any(row.counts):
                rows.append(row)
        return Second(START + t, tuple(rows))

    def _row(self, device: int, device_id: str, state: State) -> DeviceRow:
        messages = int(self.rng.poisson(state.rate)) + state.burst if state.online else 0
        novel = int(self.rng.poisson(state.novel)) if state.online else 0
        counts = dict.fromkeys(COUNTS, 0)
        total = messages + novel
        mean = state.size + self.rng.normal(0.0, 3.0) / max(total, 1) ** 0.5
        counts["num_messages_received"] = total
        counts["message_bytes_received"] = int(mean * total)
        counts["message_byte_size_max"] = int(mean + 5.0) if total else 0
        counts.update(state.extra)
        topics = (f"dt/{self.types[device]}/{device_id}/telemetry",) if messages else ()
        if novel:
            topics = (*topics, f"dt/{self.types[device]}/{device_id}/c2")
        return DeviceRow(device_id, tuple(counts.values()), topics)


def _rollout_change(
    down: int, up: int, factor: float, grow: float
) -> Callable[[State, int, int, np.random.Generator], None]:
    def change(state: State, _d: int, t: int, _rng: np.random.Generator) -> None:
        state.online = not down <= t < up
        if t == down:
            state.extra["num_disconnects"] = 1
        if t == up:
            state.extra["num_connects"] = 1
        if t >= up:
            state.rate *= factor
            state.size += grow

    return change


def _storm_change(down: int, up: int, flush: int) -> Callable[[State, int, int, np.random.Generator], None]:
    def change(state: State, _d: int, t: int, rng: np.random.Generator) -> None:
        state.online = t >= up
        if t == down:
            state.extra["num_disconnects"] = 1
        if t == up:
            state.extra["num_connects"] = 1
        if t >= up:
            state.burst = int(rng.poisson(state.rate * (up - down) / flush))

    return change


@dataclass(frozen=True)
class Outcome:
    """What the model said about a run; times are seconds since the start of the run."""

    verdicts: list[tuple[int, Verdict]]
    quarantined: dict[str, int]

    def kinds(self, since: int, until: int = 10**9) -> list[str]:
        return [verdict.kind for t, verdict in self.verdicts if since <= t < until]

    def flagged(self, since: int) -> set[str]:
        return {name for t, verdict in self.verdicts if t >= since for name in verdict.devices}

    def seconds_to_attack(self, onset: int) -> int:
        return next(t + 1 - onset for t, v in self.verdicts if t >= onset and v.kind == "attack")


def play(
    fleet: Fleet, seconds: int, *, train: int, detector: str = "robust", quarantine: bool = True
) -> Outcome:
    """Run the model over the fleet, second by second; accused devices fall silent at once."""
    clock = ManualClock(START * SECOND)
    model = Model(clock=clock, detector=detector, train_until=(START + train) * SECOND, rules=Rules())
    verdicts: list[tuple[int, Verdict]] = []
    shut: dict[str, int] = {}
    limit = max(1, int(0.3 * len(fleet.ids)))
    for second in fleet.seconds(seconds):
        t = second.start - START
        clock.set(second.end)
        rows = tuple(row for row in second.rows if row.device_id not in shut)
        model.take(replace(second, rows=rows), shut_out=frozenset(shut))
        verdict = model.judge()
        if model.wants_fit:
            model.fitted(model.fit())
        verdicts.append((t, verdict))
        for name in verdict.devices if quarantine else ():
            if len(shut) < limit:
                shut.setdefault(name, t)
    return Outcome(verdicts, shut)


class MemoryView:
    """A view of `device_metrics` alone: rows by key, answered like the model's one query; keeps what is applied."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, str], dict[str, Any]] = {}
        self.applied: list[Change] = []
        self.failures: list[Exception] = []

    def add(self, second: Second, *, announced: int | None = None, fleet_row: bool = True) -> None:
        for row in second.rows:
            counts = dict(zip(COUNTS, row.counts, strict=True))
            self._put(second.start, row.device_id, {**counts, "topics": list(row.topics), "num_devices": 0})
        if fleet_row:
            number = len(second.rows) if announced is None else announced
            empty = dict.fromkeys(COUNTS, 0)
            self._put(second.start, FLEET, {**empty, "topics": [], "num_devices": number})

    def _put(self, start: int, device_id: str, values: dict[str, Any]) -> None:
        self.rows[start, device_id] = {"device_id": device_id, "start_ms": start * 1000, **values}

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Rows:
        if self.failures:
            raise self.failures.pop(0)
        if "-- name: device_seconds" not in sql:
            return self._own(sql)
        since = (parameters or {})["since_ms"]
        found = [row for key, row in sorted(self.rows.items()) if row["start_ms"] >= since][:CHUNK_ROWS]
        names = ("device_id", "start_ms", "num_devices", "topics", *COUNTS)
        return Rows(names, tuple(tuple(row[name] for name in names) for row in found))

    def _own(self, sql: str) -> Rows:
        """The model's own rows as its memory asks for them: the newest of each key; of other tables none."""
        table = sql.rpartition("FROM ")[2].split()[0]
        if table not in ("models", "incidents"):
            return Rows((), ())
        newest = {tuple(change.key.values()): change.new for change in self.applied if change.table == table}
        closed = "closed_at IS NOT NULL" in sql
        rows = [row for row in newest.values() if row and (row.get("closed_at") is not None) == closed]
        rows = [{**row, "actions": json.dumps(row["actions"])} if "actions" in row else row for row in rows]
        names = tuple(rows[0]) if rows else ()
        return Rows(names, tuple(tuple(row[name] for name in names) for row in rows))

    async def apply(self, changes: Sequence[Change]) -> int:
        if self.failures:
            raise self.failures.pop(0)
        self.applied.extend(changes)
        return len(changes)

    async def ask(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Rows:
        return await self.query(sql, parameters)

    async def checkpoints(self) -> Mapping[tuple[str, str], int]:
        return {}

    async def keys(self, table: str) -> Sequence[Mapping[str, Any]]:
        return [change.key for change in self.applied if change.table == table]

    def table(self, name: str) -> list[Mapping[str, Any]]:
        return [change.new for change in self.applied if change.table == name and change.new is not None]


class MemoryControl:
    """Devices in quarantine, and how often each was asked for."""

    def __init__(self, failures: int = 0) -> None:
        self.shut: dict[str, str] = {}
        self.failures = failures
        self.asked = 0

    async def quarantine(self, device_id: str, *, reason: str) -> None:
        self.asked += 1
        if self.failures:
            self.failures -= 1
            raise ConnectionError("gateway away")
        self.shut[device_id] = reason

    async def release(self, device_id: str) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("gateway away")
        self.shut.pop(device_id, None)

    def quarantined(self) -> frozenset[str]:
        return frozenset(self.shut)


class MemoryAlerts:
    """What people were told."""

    name = "memory"

    def __init__(self) -> None:
        self.heard: list[Alert] = []
        self._told: list[Told] = []

    def tell(self, alert: Alert) -> None:
        self.heard.append(alert)
        self._told.append(
            Told(self.name, alert.alert_id, alert.incident.incident_id, alert.happened, alert.at, "done")
        )

    def told(self) -> list[Told]:
        told, self._told = self._told, []
        return told

    async def quiet(self, seconds: float) -> None:
        pass
