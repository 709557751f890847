"""The last minute of every device as arrays: what the windows of all lengths are cut from.

One column a second, one line a device, reused in a ring. What a device owes (`credit`) is kept here as well:
readings that it could not send while it was offline or silent, and will send in a burst when it is back.
"""

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .baseline import Baseline, device_type_of
from .windows import COUNTS, DeviceRow, Second

Array: TypeAlias = NDArray[np.float64]

SPAN_SECONDS = 64
"""The longest window is 60 s; four more for the edges."""

MAX_CREDIT_SECONDS = 3600
"""A device may come back with an hour of kept readings; more than that has to explain itself."""

SILENT_SECONDS = 5
"""Silent this long (and for five of its own intervals), a device is taken to be keeping its readings."""

FIELDS = (*COUNTS, "novel", "credit")
INDEX = {name: position for position, name in enumerate(FIELDS)}
_MESSAGES, _CONNECTS, _DISCONNECTS = (
    INDEX[name] for name in ("num_messages_received", "num_connects", "num_disconnects")
)
_NOVEL, _CREDIT = INDEX["novel"], INDEX["credit"]


class History:
    """A ring of `SPAN_SECONDS` for every device ever seen. Fed second by second, in order."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.types: list[str] = []
        self.end = 0
        self.seconds = 0
        self._line: dict[str, int] = {}
        self._data = np.zeros((64, SPAN_SECONDS, len(FIELDS)))
        self._born = np.zeros(64, dtype=np.int64)
        self._silent = np.zeros(64)
        self._offline = np.zeros(64, dtype=np.bool_)
        self._credit = np.zeros(64)

    def __len__(self) -> int:
        return len(self.ids)

    def advance(self, second: Second, baseline: Baseline | None) -> None:
        """Take the next second; seconds skipped in between are holes without any count."""
        self._turn(second.start)
        column = second.start % SPAN_SECONDS
        for row in second.rows:
            line = self._known(row)
            values = self._data[line, column]
            values[: len(COUNTS)] = row.counts
            if baseline is not None and row.topics:
                values[_NOVEL] = baseline.count_novel(self.types[line], row.device_id, row.topics)
        self._settle_credit(column, baseline)

    def recent(self, name: str, seconds: int, *, ago: int = 0) -> Array:
        """The last `seconds` columns of one field: shape (devices, seconds), oldest first.

        `ago` leaves out that many of the newest seconds.
        """
        last = self.end - ago
        columns = [second % SPAN_SECONDS for second in range(last - seconds, last)]
        return self._data[: len(self), columns, INDEX[name]]

    def age(self) -> Array:
        """Seconds since each device was first seen (the second of its first row counts)."""
        return (self.end - self._born[: len(self)]).astype(np.float64)

    def forget(self, device_ids: Iterable[str]) -> None:
        """Wipe what these devices did: they are shut out, and must start clean when they are released."""
        for device_id in device_ids:
            line = self._line.get(device_id)
            if line is not None:
                self._data[line] = 0.0
                self._credit[line] = self._silent[line] = 0.0

    def _turn(self, start: int) -> None:
        gap = start + 1 - self.end if self.seconds else 1
        for skipped in range(min(gap, SPAN_SECONDS)):
            self._data[:, (start - skipped) % SPAN_SECONDS] = 0.0
        self.seconds += gap
        self.end = start + 1

    def _known(self, row: DeviceRow) -> int:
        line = self._line.get(row.device_id)
        if line is None:
            line = self._line[row.device_id] = len(self.ids)
            self.ids.append(row.device_id)
            self.types.append("")
            self._make_room()
            self._born[line] = self.end - 1
        if not self.types[line] and row.topics:
            self.types[line] = device_type_of(row.topics)
        return line

    def _make_room(self) -> None:
        if len(self.ids) <= len(self._born):
            return
        more = len(self._born)
        self._data = np.concatenate([self._data, np.zeros((more, *self._data.shape[1:]))])
        self._born = np.concatenate([self._born, np.zeros(more, dtype=np.int64)])
        self._silent = np.concatenate([self._silent, np.zeros(more)])
        self._offline = np.concatenate([self._offline, np.zeros(more, dtype=np.bool_)])
        self._credit = np.concatenate([self._credit, np.zeros(more)])

    def _settle_credit(self, column: int, baseline: Baseline | None) -> None:
        """Offline or silent devices save up one reading per own interval; a burst spends what was saved."""
        if baseline is None:
            return
        size = len(self)
        now = self._data[:size, column]
        own = baseline.profiles(self.ids, self.types)[:, 0]
        sent, silent, credit = now[:, _MESSAGES], self._silent[:size], self._credit[:size]
        self._offline[:size] &= (now[:, _CONNECTS] == 0) & (sent == 0)
        self._offline[:size] |= (now[:, _DISCONNECTS] > 0) & (sent == 0) & (now[:, _CONNECTS] == 0)
        silent[:] = np.where(sent > 0, 0.0, silent + 1.0)
        patience = np.maximum(SILENT_SECONDS, 5.0 / np.maximum(own, 1e-3))
        saving = self._offline[:size] | (silent >= patience)
        missed = np.where(silent == np.ceil(patience), silent, 1.0) * own
        credit[:] = np.where(saving, np.minimum(credit + missed, MAX_CREDIT_SECONDS * own), credit)
        now[:, _CREDIT] = credit
        credit[:] = np.where(saving, credit, np.maximum(0.0, credit - np.maximum(0.0, sent - own)))
