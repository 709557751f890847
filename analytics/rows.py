"""The model's own rows of the view: numbered in order, kept until the view has taken them."""

from collections.abc import Mapping, Sequence

from contracts.clock import Clock
from contracts.errors import Transient
from contracts.messages import Change, Json
from contracts.ports import View

MAX_WAITING = 20_000
"""Rows kept while the view is away: hours of verdicts. Of more the oldest are dropped, and counted."""


class RowWriter:
    """Writes rows into the view, each exactly once: what the view could not take goes with the next rows."""

    def __init__(self, view: View, clock: Clock) -> None:
        self._view = view
        self._clock = clock
        self._sequence = 0
        self._waiting: list[Change] = []
        self.retries = 0
        self.dropped = 0

    def change(self, table: str, key: str, row: Mapping[str, Json]) -> Change:
        """The change that inserts or replaces this row."""
        self._sequence = max(self._sequence + 1, self._clock.now())
        return Change("INSERT", table, {key: row[key]}, row, None, self._sequence)

    async def write(self, changes: Sequence[Change]) -> None:
        """Write these and what still waits, in one transaction."""
        everything = [*self._waiting, *changes]
        if not everything:
            return
        try:
            await self._view.apply(everything)
        except Transient:
            self.retries += 1
            self.dropped += max(0, len(everything) - MAX_WAITING)
            self._waiting = everything[-MAX_WAITING:]
        else:
            self._waiting = []
