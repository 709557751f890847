"""The last minute of every device as arrays: what the windows of all lengths are cut from.

One column a second, one line a device, reused in a ring. What a device owes (`credit`) is kept here as well:
readings that it could not send while it was offline or silent, and will send in a burst when it is back. And what
only a longer memory knows: since when it is connected, and whether its payloads changed in the middle of a session.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .baseline import Baseline, device_type_of
from .insight import Insight
from .novelty import Novelty
from .readings import Readings
from .windows import COUNTS, DeviceRow, Second

Array: TypeAlias = NDArray[np.float64]

SPAN_SECONDS = 64
"""The longest window is 60 s; four more for the edges."""

MAX_CREDIT_SECONDS = 3600
"""A device may come back with an hour of kept readings; more than that has to explain itself."""

SILENT_SECONDS = 5
"""Silent this long (and for five of its own intervals), a device is taken to be keeping its readings."""

SETTLED_SECONDS = 10
"""What changes later than this after a connect was not changed by what the connect was for (a new firmware)."""

GROWN = 2.0
"""A mean payload this many times the learnt one is another payload, whatever is in it."""

NEVER = -(10**6)
SWEEP_SECONDS = 16
FIELDS = (*COUNTS, "novel", "novel_messages", "credit", "broken", "changed")
INDEX = {name: position for position, name in enumerate(FIELDS)}
_MESSAGES, _BYTES, _CONNECTS, _DISCONNECTS = (
    INDEX[name]
    for name in ("num_messages_received", "message_bytes_received", "num_connects", "num_disconnects")
)
_NOVEL, _NOVEL_MESSAGES, _CREDIT, _BROKEN, _CHANGED = (
    INDEX[name] for name in ("novel", "novel_messages", "credit", "broken", "changed")
)


@dataclass(slots=True)
class _Lines:
    """What is remembered of each device beyond the ring; grows by doubling."""

    born: NDArray[np.int64] = field(default_factory=lambda: np.zeros(64, dtype=np.int64))
    connected: NDArray[np.int64] = field(default_factory=lambda: np.full(64, NEVER))
    seen: NDArray[np.int64] = field(default_factory=lambda: np.full(64, NEVER))
    silent: Array = field(default_factory=lambda: np.zeros(64))
    credit: Array = field(default_factory=lambda: np.zeros(64))
    spoken: Array = field(default_factory=lambda: np.zeros(64))
    offline: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(64, dtype=np.bool_))
    plain: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(64, dtype=np.bool_))
    unprompted: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(64, dtype=np.bool_))

    def double(self) -> None:
        for name in self.__slots__:
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.full_like(old, 0)]))

    def begin(self, line: int, now: int) -> None:
        self.born[line] = now
        self.connected[line] = self.seen[line] = NEVER
        self.silent[line] = self.credit[line] = self.spoken[line] = 0.0
        self.offline[line] = self.plain[line] = self.unprompted[line] = False


class History:
    """A ring of `SPAN_SECONDS` for every device. Fed second by second, in order.

    Ids that are not learnt, never publish and are not seen for a minute give their line to the next one: invented
    client ids cost no memory for ever.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.types: list[str] = []
        self.end = 0
        self.seconds = 0
        self.half_open: list[int] = []
        self.readings = Readings()
        self.novelty = Novelty()
        self._line: dict[str, int] = {}
        self._free: list[int] = []
        self._data = np.zeros((64, SPAN_SECONDS, len(FIELDS)))
        self._lines = _Lines()
        self._insight: Insight | None = None
        self._profiles: tuple[Baseline, Array] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def advance(self, second: Second, baseline: Baseline | None) -> None:
        """Take the next second; seconds skipped in between are holes without any count."""
        self._turn(second.start)
        self.half_open = [*self.half_open, second.half_open][-SPAN_SECONDS:]
        column = second.start % SPAN_SECONDS
        lines = [self._known(row) for row in second.rows]
        if lines:
            self._data[lines, column, : len(COUNTS)] = np.array([row.counts for row in second.rows])
        if baseline is None:
            return
        profiles = self.profiles(baseline)
        self._look_inside(second, lines, baseline, profiles[:, 0])
        self._settle_credit(column, profiles[:, 0])
        self._settle_session(column, profiles[:, 1])
        if second.start % SWEEP_SECONDS == 0:
            self._sweep(baseline)

    def recent(self, name: str, seconds: int, *, ago: int = 0) -> Array:
        """The last `seconds` columns of one field: shape (devices, seconds), oldest first.

        `ago` leaves out that many of the newest seconds.
        """
        last = self.end - ago
        columns = [second % SPAN_SECONDS for second in range(last - seconds, last)]
        return self._data[: len(self), columns, INDEX[name]]

    def profiles(self, baseline: Baseline) -> Array:
        """`baseline.profiles` of all devices, made anew only when devices came or showed their type."""
        if self._profiles is None or self._profiles[0] is not baseline:
            self._profiles = (baseline, baseline.profiles(self.ids, self.types))
        return self._profiles[1]

    def age(self) -> Array:
        """Seconds since each device was first seen (the second of its first row counts)."""
        return (self.end - self._lines.born[: len(self)]).astype(np.float64)

    def since_connect(self) -> Array:
        """Seconds since the last connect; very many without one."""
        return (self.end - 1 - self._lines.connected[: len(self)]).astype(np.float64)

    def spoken(self) -> Array:
        """Messages since each device was first seen."""
        return self._lines.spoken[: len(self)]

    def unprompted(self) -> NDArray[np.bool_]:
        """Whose payloads changed in the middle of a session, with no new connection that would explain it."""
        return self._lines.unprompted[: len(self)]

    def forget(self, device_ids: Iterable[str]) -> None:
        """Wipe what these devices did: they are shut out, and must start clean when they are released."""
        for device_id in device_ids:
            line = self._line.get(device_id)
            if line is not None:
                self._wipe(line)

    def _wipe(self, line: int) -> None:
        self._data[line] = 0.0
        self._lines.credit[line] = self._lines.silent[line] = 0.0
        self._lines.unprompted[line] = False
        self.readings.forget(line)
        self.novelty.forget(line)

    def _turn(self, start: int) -> None:
        gap = start + 1 - self.end if self.seconds else 1
        for skipped in range(min(gap, SPAN_SECONDS)):
            self._data[:, (start - skipped) % SPAN_SECONDS] = 0.0
        self.seconds += gap
        self.end = start + 1

    def _known(self, row: DeviceRow) -> int:
        line = self._line.get(row.device_id)
        if line is None:
            line = self._new_line(row.device_id)
        if not self.types[line] and row.topics:
            self.types[line] = device_type_of(row.topics)
            self._profiles = None
        return line

    def _new_line(self, device_id: str) -> int:
        if self._free:
            line = self._free.pop()
            del self._line[self.ids[line]]
            self.ids[line], self.types[line] = device_id, ""
            self._wipe(line)
        else:
            line = len(self.ids)
            self.ids.append(device_id)
            self.types.append("")
            if len(self.ids) > len(self._data):
                self._data = np.concatenate([self._data, np.zeros_like(self._data)])
                self._lines.double()
            self.readings.make_room(len(self.ids))
        self._profiles = None
        self._line[device_id] = line
        self._lines.begin(line, self.end - 1)
        return line

    def _sweep(self, baseline: Baseline) -> None:
        lines, size = self._lines, len(self)
        idle = (lines.spoken[:size] == 0) & (self.end - lines.seen[:size] > SPAN_SECONDS)
        self._free = [
            line for line in np.flatnonzero(idle).tolist() if self.ids[line] not in baseline.devices
        ]

    def _look_inside(self, second: Second, lines: Sequence[int], baseline: Baseline, rates: Array) -> None:
        """Topics, payload shapes and readings, against what was learnt."""
        if self._insight is None or self._insight.baseline is not baseline:
            self._insight = Insight(baseline)
        self._insight.describe(second.shapes)
        column, points = second.start % SPAN_SECONDS, []
        for line, row in zip(lines, second.rows, strict=True):
            if not row.topics:
                continue
            found = self._insight.look(self.types[line], row)
            if found.novel:
                self._data[line, column, _NOVEL] = len(found.novel)
                self._data[line, column, _NOVEL_MESSAGES] = found.novel_messages
                self.novelty.use(line, self.types[line], found.novel, second.start)
            if found.broken or found.added:
                self._data[line, column, _BROKEN] = found.broken
                self._data[line, column, _CHANGED] = found.added
            points += [(line, slot, value) for slot, value in found.readings]
        self.readings.take(second.start, points, rates)

    def _settle_session(self, column: int, sizes: Array) -> None:
        """Who was plain in this session and is not any more changed without a reason that the gateway saw."""
        lines, size = self._lines, len(self)
        now = self._data[:size, column]
        sent, second = now[:, _MESSAGES], self.end - 1
        connects = now[:, _CONNECTS] > 0
        lines.seen[:size][(sent > 0) | connects] = second
        lines.spoken[:size] += sent
        grown = now[:, _BYTES] > GROWN * sizes * np.maximum(sent, 1.0)
        # what goes to a novel topic is no change of the payloads: it is counted as novel
        grown &= now[:, _NOVEL] == 0
        now[grown, _CHANGED] = np.maximum(now[grown, _CHANGED], 1.0)
        odd = now[:, _CHANGED] > 0
        lines.connected[:size][connects] = second
        lines.plain[:size] &= ~connects
        lines.unprompted[:size] &= ~connects
        settled = second - lines.connected[:size] >= SETTLED_SECONDS
        lines.unprompted[:size] |= odd & lines.plain[:size]
        lines.plain[:size] |= settled & (sent > 0) & ~odd
        now[~lines.unprompted[:size], _CHANGED] = 0.0

    def _settle_credit(self, column: int, own: Array) -> None:
        """Offline or silent devices save up one reading per own interval; a burst spends what was saved."""
        size, lines = len(self), self._lines
        now = self._data[:size, column]
        sent, silent, credit = now[:, _MESSAGES], lines.silent[:size], lines.credit[:size]
        offline = lines.offline[:size]
        offline &= (now[:, _CONNECTS] == 0) & (sent == 0)
        offline |= (now[:, _DISCONNECTS] > 0) & (sent == 0) & (now[:, _CONNECTS] == 0)
        silent[:] = np.where(sent > 0, 0.0, silent + 1.0)
        patience = np.maximum(SILENT_SECONDS, 5.0 / np.maximum(own, 1e-3))
        saving = offline | (silent >= patience)
        missed = np.where(silent == np.ceil(patience), silent, 1.0) * own
        credit[:] = np.where(saving, np.minimum(credit + missed, MAX_CREDIT_SECONDS * own), credit)
        now[:, _CREDIT] = credit
        credit[:] = np.where(saving, credit, np.maximum(0.0, credit - np.maximum(0.0, sent - own)))
