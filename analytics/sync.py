"""Applies changes to the view in micro-batches, and measures how fresh it is."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence

import anyio
from anyio.abc import TaskStatus

from contracts.clock import Clock
from contracts.messages import MILLISECOND, SECOND, Change, Nanoseconds
from contracts.ports import Health, State, View
from contracts.streams import BatchStream, StreamClosed
from contracts.trail import Trail

SAMPLES = 50_000
"""Latency samples kept: four minutes at 200 messages a second."""


class Sync:
    """Takes changes from the stream, applies them, and only then says done.

    After a batch it waits `interval` seconds, so that many small reads make one transaction: a commit costs
    some 10 ms whether it holds one row or hundreds.
    """

    name = "sync"

    def __init__(
        self,
        stream: BatchStream[Change],
        view: View,
        *,
        clock: Clock,
        interval: float = 0.05,
        trail: Trail | None = None,
    ) -> None:
        self._stream = stream
        self._view = view
        self._clock = clock
        self._interval = interval
        self._trail = trail or Trail(capacity=0)
        self._state: State = "starting"
        self._last_progress: Nanoseconds = 0
        self._applied: Counter[str] = Counter()
        self._latencies: deque[tuple[Nanoseconds, float]] = deque(maxlen=SAMPLES)

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        self._state = "ready"
        task_status.started()
        try:
            while True:
                await self._step(await self._stream.get())
                await self._clock.sleep_until(self._clock.now() + int(self._interval * SECOND))
        except StreamClosed:
            self._state = "stopped"

    async def drain(self) -> None:
        """Return when everything put is applied."""
        self._state = "draining"
        await self._stream.join()

    def health(self) -> Health:
        counters = {f"{table}_changes": count for table, count in sorted(self._applied.items())}
        return Health(self.name, self._state, "", self._last_progress, (self._stream.gauge(),), counters)

    def latency_ms(self, quantile: float, *, since: Nanoseconds = 0) -> float:
        """The data latency (device publish to queryable) at this quantile, 0 without samples since then."""
        ordered = sorted(latency for at, latency in self._latencies if at >= since)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] if ordered else 0.0

    def latencies(self, since: Nanoseconds) -> Mapping[int, Sequence[float]]:
        """The data latencies measured since then (ms), by the second in which the messages became queryable."""
        found: dict[int, list[float]] = {}
        for at, latency in reversed(self._latencies):
            if at < since:
                break
            found.setdefault(at // SECOND, []).append(latency)
        return found

    async def _step(self, changes: Sequence[Change]) -> None:
        await self._view.apply(changes)
        self._stream.done(changes)
        self._last_progress = self._clock.now()
        rows = [change.new for change in changes if change.new is not None and change.table == "telemetry"]
        self._trail.note("viewed", self._last_progress, rows)
        for change in changes:
            self._applied[change.table] += 1
            self._measure(change)
        await anyio.lowlevel.checkpoint()

    def _measure(self, change: Change) -> None:
        if (
            change.table != "telemetry"
            or change.kind != "INSERT"
            or change.new is None
            or not change.sequence
        ):
            return
        born = change.new.get("device_time", change.new.get("received_at"))
        if isinstance(born, int):
            self._latencies.append((self._last_progress, self._last_progress / MILLISECOND - born))
