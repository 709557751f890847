"""Plays a recording on any clock: says what every recorded client does and when. No sockets, no clock, no tasks.

The same file gives the same commands at the same times, as long as the connections answer alike.
"""

import heapq
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from contracts.messages import SECOND, Label, Nanoseconds

from . import wire
from .commands import (
    Command,
    Connect,
    Disconnect,
    Line,
    PhaseEnded,
    PhaseSpan,
    PhaseStarted,
    Subscribe,
)
from .device import Device, Reading
from .lines import Open
from .recorded_labels import ANYBODY, RecordedLabel
from .recording import Recording, Row, rows_by_client
from .roster import Roster
from .schedule import Every

AWAY = "recording"
"""What holds a client off: the recording, because it has not come yet or has left."""

REFUSED_LINES = 100
"""Refused connects that are held open at once; the gateway closes them at once anyway."""

MAX_FILTERS = 50
"""Of one client, kept for when it comes back: AWS IoT Core allows a connection no more."""


@dataclass(frozen=True, slots=True)
class _Retry:
    """A client that was refused or lost tries to connect again."""

    device: Device


class ReplayPlayer(Roster):
    """The recorded clients' state. Call `start` when those of the beginning are connected, then `advance`.

    A client that was there before the recording (its first row, in the training part, is no connect) is expected at
    the start; any other comes with its first row. `played` counts the rows played so far, of `rows`.
    """

    def __init__(
        self,
        recording: Recording,
        *,
        labels: Sequence[RecordedLabel] = (),
        train_until: Nanoseconds,
        seed: int = 1,
    ) -> None:
        """`train_until` counts from the recording's start."""
        self._recording = recording
        self._recorded_labels = labels
        rng = random.Random(f"{seed}/replay")  # noqa: S311 - simulation, no secret
        own = {name: self._device(row, train_until, rng) for name, row in rows_by_client(recording)}
        super().__init__(own, rng)
        self._heap: list[tuple[Nanoseconds, int, _Retry | PhaseStarted | PhaseEnded]] = []
        self._order = itertools.count()
        self._leaving: set[str] = set()
        self._asked: dict[str, list[str]] = {}
        self._refused = itertools.count()
        self._offset: Nanoseconds = 0
        self._started = False
        self.labels: tuple[Label, ...] = ()
        self.phases: tuple[PhaseSpan, ...] = ()
        self.rows = len(recording.rows)
        self.played = 0

    def start(self, now: Nanoseconds) -> None:
        """The recording's first second is `now`."""
        self._offset = now - self._recording.start
        self._started = True
        for label in self._recorded_labels:
            self._lay_out(label)

    def next_due(self) -> Nanoseconds | None:
        """When something happens next."""
        row = self._next_row()
        waiting = self._heap[0][0] if self._heap else None
        if row is None or (waiting is not None and waiting < row):
            return waiting
        return row

    def advance(self, now: Nanoseconds) -> Iterator[Command]:
        """Everything that is due by now, in order; what was planned comes before a row of the same moment."""
        while (due := self.next_due()) is not None and due <= now:
            if self._heap and self._heap[0][0] <= due:
                yield from self._happen(heapq.heappop(self._heap)[2])
            else:
                row = self._recording.rows[self.played]
                self.played += 1
                yield from self._play(row)

    def connected(self, device_id: str) -> Iterator[Command]:
        """The connection is up: the client subscribes and sends what it kept, and leaves if it was about to."""
        device = self.devices[device_id]
        self._is_up(device)
        if filters := self._asked.pop(device_id, None):
            yield Subscribe(device, tuple(filters))
        yield from self._send_kept(device)

    def lost(self, device_id: str, now: Nanoseconds) -> None:
        """Refused or broken, which the recording does not know of: the client tries again while it has to be there."""
        device = self.devices[device_id]
        self._set_online(device, online=False)
        if device_id in self._leaving:
            self._leaving.discard(device_id)
            device.off.add(AWAY)
        if device.wanted:
            self._push(now + self._next_try(device), _Retry(device))

    def message(self, device_id: str, topic: str, payload: bytes, now: Nanoseconds) -> Iterator[Command]:
        """Recorded clients do what the recording says, whatever comes to them."""
        _ = device_id, topic, payload, now
        return iter(())

    def _next_row(self) -> Nanoseconds | None:
        if not self._started or self.played >= self.rows:
            return None
        return self._recording.rows[self.played].at + self._offset

    def _happen(self, entry: _Retry | PhaseStarted | PhaseEnded) -> Iterator[Command]:
        if not isinstance(entry, _Retry):
            yield entry
        elif entry.device.wanted and not entry.device.online:
            yield from self._connect(entry.device)

    def _play(self, row: Row) -> Iterator[Command]:
        if row.code:
            name = f"refused/{next(self._refused) % REFUSED_LINES}"
            yield Line(Open(name, wire.refused_connect(row.client_id)))
            return
        device = self.devices[row.client_id]
        if row.event == "publish":
            yield from self._come(device)
            yield from self._send_or_keep(device, Reading(row.topic, row.payload, min(row.qos, 1)))
        elif row.event == "connect":
            yield from self._connect_again(device)
        elif row.event == "subscribe":
            yield from self._come(device)
            yield from self._subscribe(device, row.topic)
        elif device.wanted:
            self._leaving.add(device.device_id)
            yield from self._leave(device)

    def _come(self, device: Device) -> Iterator[Command]:
        """Who does something is there, whether the recording told of its connect or not."""
        if not device.wanted:
            device.off.discard(AWAY)
            yield from self._connect(device)

    def _connect(self, device: Device) -> Iterator[Command]:
        self._asked.pop(device.device_id, None)  # the transport subscribes to all that it listens to
        yield Connect(device)

    def _connect_again(self, device: Device) -> Iterator[Command]:
        """A connect of a client that is there replaces its connection; one under way is that connect."""
        self._leaving.discard(device.device_id)
        if device.online:
            self._set_online(device, online=False)
            yield Disconnect(device, abrupt=True)
            yield from self._connect(device)
        else:
            yield from self._come(device)

    def _subscribe(self, device: Device, topic_filter: str) -> Iterator[Command]:
        if topic_filter not in device.listens:
            device.listens = (*device.listens, topic_filter)[-MAX_FILTERS:]
        if device.online:
            yield Subscribe(device, (topic_filter,))
        else:
            self._asked.setdefault(device.device_id, []).append(topic_filter)

    def _send_kept(self, device: Device) -> Iterator[Command]:
        """What is kept; then it leaves, if it was about to."""
        yield from super()._send_kept(device)
        yield from self._leave(device)

    def _leave(self, device: Device) -> Iterator[Command]:
        """In order, when all is sent: clients that come, send and leave may have one time for all three."""
        if device.device_id in self._leaving and device.online and not device.kept:
            self._leaving.discard(device.device_id)
            device.off.add(AWAY)
            self._set_online(device, online=False)
            yield Disconnect(device, abrupt=False)

    def _lay_out(self, label: RecordedLabel) -> None:
        start, end = label.start + self._offset, label.end + self._offset
        played = PhaseSpan(label.id, label.kind, start, end, len(label.devices))
        self.phases = (*self.phases, played)
        self.labels += tuple(
            Label(label.id, label.kind, label.label, device_id, start, end)
            for device_id in label.devices or (ANYBODY,)
        )
        self._push(start, PhaseStarted(played))
        self._push(end, PhaseEnded(played))

    def _push(self, at: Nanoseconds, entry: _Retry | PhaseStarted | PhaseEnded) -> None:
        heapq.heappush(self._heap, (at, next(self._order), entry))

    def _device(self, row: Row, train_until: Nanoseconds, rng: random.Random) -> Device:
        levels = row.topic.split("/")
        device = Device(
            device_id=row.client_id,
            device_type=levels[1] if len(levels) > 1 else "",
            topic=row.topic,
            qos=min(row.qos, 1),
            every=_NEVER_ASKED,
            listens=(),
            rng=rng,
            generators={},
        )
        if row.event == "connect" or row.at >= self._recording.start + train_until:
            device.off.add(AWAY)
        return device


_NEVER_ASKED = Every.model_validate("1s")
"""A recorded client measures nothing by itself."""


def default_training(recording: Recording, labels: Sequence[RecordedLabel]) -> Nanoseconds:
    """The first third of the time before the first label (of the whole recording without one), in whole seconds."""
    first = min((label.start for label in labels), default=recording.start + recording.duration)
    return max(0, first - recording.start) // 3 // SECOND * SECOND
