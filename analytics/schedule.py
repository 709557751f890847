"""Named queries that run by themselves and push their answers to the one who needs them (number 5 of the architecture).

The receiver says with which parameters the query runs next, so that nothing is read twice; the next run waits for
the push to be over, so that answers never pile up.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

import anyio

from contracts.clock import Clock
from contracts.errors import Transient
from contracts.messages import Json, Nanoseconds
from contracts.ports import Rows, View

from .query_catalog import run_named

Push = Callable[[Rows], Awaitable[int]]
"""Takes an answer; says how much of it was new."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a scheduled query does: runs, runs that the view could not answer, rows of the last answer and its time."""

    name: str
    every: Nanoseconds
    runs: int
    retries: int
    rows: int
    milliseconds: float


class ScheduledQuery:
    """A named query, run `every` so often. Hold `turn` to keep it from running."""

    def __init__(
        self,
        name: str,
        view: View,
        clock: Clock,
        *,
        every: Nanoseconds,
        parameters: Callable[[], Mapping[str, Json]],
        push: Push,
    ) -> None:
        self.name = name
        self.turn = anyio.Lock()
        self._view = view
        self._clock = clock
        self._every = every
        self._parameters = parameters
        self._push = push
        self._pace = Pace(name, every, 0, 0, 0, 0.0)

    @property
    def pace(self) -> Pace:
        return self._pace

    async def run(self, over: anyio.Event) -> None:
        """Run until `over` is set. Raises what the view raises but Transient."""
        while not over.is_set():
            await self.once()
            await self._clock.sleep_until(self._clock.now() + self._every)

    async def once(self) -> int:
        """Run now and push the answer; how much was new. A view that is busy is asked again the next time."""
        async with self.turn:
            try:
                rows = await run_named(self._view, self.name, self._parameters())
            except Transient:
                self._pace = replace(self._pace, retries=self._pace.retries + 1)
                return 0
            self._pace = replace(
                self._pace,
                runs=self._pace.runs + 1,
                rows=len(rows.rows),
                milliseconds=rows.milliseconds,
            )
            return await self._push(rows)
