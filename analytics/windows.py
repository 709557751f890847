"""Event-time seconds out of a query's answers: which seconds are complete, and what each device did in them.

The fast lane delivers one row per device and second, and one `$fleet` row per second that says how many
device rows there are. A second is complete when that many are visible. A second that stays incomplete is
closed as it is once a later one has been visible for `GRACE`: one lost row must not stop the model.
A second nobody has heard of yet is never taken for silence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from contracts.clock import Clock
from contracts.messages import FLEET, SECOND, Nanoseconds
from contracts.ports import Rows

WINDOW_SECONDS = 5
"""Span of the window that a verdict judges; a new one closes every second (measured: F1 0.96 at 5 s)."""

GRACE: Nanoseconds = 2 * SECOND
MAX_GAP_SECONDS = 60
"""A hole longer than any window holds nothing to judge: the reader jumps over it."""

COUNTS = (
    "num_messages_received",
    "message_bytes_received",
    "message_byte_size_max",
    "num_authorization_failures",
    "num_authentication_failures",
    "num_connects",
    "num_disconnects",
    "num_throttled",
    "num_takeovers",
    "num_foreign_takeovers",
    "num_rejected",
    "num_replayed",
)
"""What is summed of each device and second. A broker that cannot see some of it tells nothing: zeros."""

SECONDS_QUERY = "device_seconds"
"""The named query whose answers a `SecondReader` takes; it selects every field of `COUNTS`."""

CHUNK_ROWS = 9_000
"""Rows of one read, below the view's bound for an answer: a backlog is read piece by piece."""


class DeviceRow(NamedTuple):
    """What one device did in one second: `counts` in the order of `COUNTS`, and the topics it published on.

    `shapes` and `readings` as in `contracts.messages.CloudMetric`.
    """

    device_id: str
    counts: tuple[int, ...]
    topics: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    readings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Second:
    """All device rows of event time [start, start + 1 s). `start` is whole seconds since the epoch.

    A known device without a row did nothing. `complete` is False when the grace ran out first. `shapes` says what
    the shapes of the rows stand for (`ID TEXT`), `half_open` how many connections were waiting for their CONNECT.
    """

    start: int
    rows: tuple[DeviceRow, ...] = ()
    complete: bool = True
    shapes: tuple[str, ...] = ()
    half_open: int = 0

    @property
    def end(self) -> Nanoseconds:
        return (self.start + 1) * SECOND


@dataclass(slots=True)
class _Building:
    rows: list[DeviceRow] = field(default_factory=list)
    expected: int | None = None
    shapes: tuple[str, ...] = ()
    half_open: int = 0

    @property
    def complete(self) -> bool:
        return self.expected is not None and len(self.rows) >= self.expected

    def second(self, start: int) -> Second:
        return Second(start, tuple(self.rows), self.complete, self.shapes, self.half_open)


class SecondReader:
    """Hands out the seconds from event time `start` on in order, each exactly once. Reads nothing itself."""

    def __init__(self, clock: Clock, *, start: Nanoseconds) -> None:
        self._clock = clock
        self._floor = start // SECOND
        self._next: int | None = None
        self._overtaken: dict[int, Nanoseconds] = {}
        self.incomplete = 0

    @property
    def parameters(self) -> dict[str, int]:
        """With which parameters the query must run next."""
        since = self._floor if self._next is None else self._next
        return {"since_ms": since * 1000, "rows": CHUNK_ROWS}

    def take(self, rows: Rows) -> list[Second]:
        """The seconds that have closed with this answer, oldest first; often none."""
        building = _group(_whole(rows.dicts()))
        if not building:
            return []
        first = min(building)
        newest = max(building)
        if self._next is None or (first > self._next and newest - self._next > MAX_GAP_SECONDS):
            self._next = first
        return self._close(building, newest)

    def skip_to(self, moment: Nanoseconds) -> None:
        """Hand out nothing before this moment; never goes back."""
        if self._next is not None:
            self._next = max(self._next, moment // SECOND)

    @property
    def position(self) -> Nanoseconds:
        """Where the next second starts, as far as is known."""
        return (self._floor if self._next is None else self._next) * SECOND

    def _close(self, building: dict[int, _Building], newest: int) -> list[Second]:
        closed: list[Second] = []
        assert self._next is not None  # noqa: S101 - set by take, the only caller
        while self._next <= newest:
            part = building.get(self._next, _Building())
            if not part.complete and not self._given_up(self._next, newest):
                break
            self.incomplete += not part.complete
            closed.append(part.second(self._next))
            self._overtaken.pop(self._next, None)
            self._next += 1
        return closed

    def _given_up(self, second: int, newest: int) -> bool:
        if newest <= second:
            return False
        now = self._clock.now()
        return now - self._overtaken.setdefault(second, now) >= GRACE


def _whole(rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Without the last second of a read that was cut short: it may lack rows that are there."""
    if len(rows) < CHUNK_ROWS:
        return rows
    last = rows[-1]["start_ms"]
    return [row for row in rows if row["start_ms"] != last] or rows


def _group(rows: Sequence[dict[str, Any]]) -> dict[int, _Building]:
    building: dict[int, _Building] = {}
    for row in rows:
        part = building.setdefault(int(row["start_ms"]) // 1000, _Building())
        if row["device_id"] == FLEET:
            part.expected = int(row["num_devices"] or 0)
            part.shapes = tuple(row.get("shapes") or ())
            part.half_open = int(row.get("num_half_open") or 0)
        else:
            part.rows.append(_device_row(row))
    return building


def _device_row(row: dict[str, Any]) -> DeviceRow:
    counts = tuple(int(row[name] or 0) for name in COUNTS)
    texts = (tuple(row.get(name) or ()) for name in ("topics", "shapes", "readings"))
    return DeviceRow(row["device_id"], counts, *texts)
