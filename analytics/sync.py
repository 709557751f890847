"""Applies changes to the view in micro-batches, and measures how fresh it is."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import numpy as np
from anyio.abc import TaskStatus
from numpy.typing import NDArray

from contracts.clock import Clock
from contracts.errors import Transient
from contracts.measures import Spreading
from contracts.messages import MILLISECOND, SECOND, Change, Nanoseconds
from contracts.ports import Health, State, View
from contracts.streams import BatchStream, StreamClosed
from contracts.trail import Trail

_UP, _DOWN = "device to gateway", "gateway to view"

RETRY_SECONDS = 1.0
SAMPLES = 50_000
"""Latency samples kept: four minutes at 200 messages a second."""


class _Latencies:
    """The newest samples, in order of time; as arrays, which take their 0.8 MB once and no more."""

    def __init__(self) -> None:
        self._at = np.zeros(SAMPLES, dtype=np.int64)
        self._ms = np.zeros(SAMPLES)
        self._count = 0

    def add(self, at: Nanoseconds, ms: Sequence[float]) -> None:
        """Samples of one moment, not before that of the last ones."""
        places = np.arange(self._count, self._count + len(ms)) % SAMPLES
        self._at[places], self._ms[places] = at, ms
        self._count += len(ms)

    def since(self, moment: Nanoseconds) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Moments and milliseconds from then on, oldest first."""
        places = np.arange(max(0, self._count - SAMPLES), self._count) % SAMPLES
        places = places[np.searchsorted(self._at[places], moment) :]
        return self._at[places], self._ms[places]


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
        self._latencies = _Latencies()
        self._fresh = Spreading(
            "data_latency_seconds", "From the device's own time to the moment when a query sees the message."
        )
        self._hops = {
            hop: Spreading("hop_latency_seconds", "How long a message took over a hop.", labels={"hop": hop})
            for hop in (_UP, _DOWN)
        }

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
        return Health(
            self.name,
            self._state,
            "",
            self._last_progress,
            (self._stream.gauge(),),
            counters,
            spreads=(self._fresh.spread(), *(hop.spread() for hop in self._hops.values())),
        )

    def latency_ms(self, quantile: float, *, since: Nanoseconds = 0) -> float:
        """The data latency (device publish to queryable) at this quantile, 0 without samples since then."""
        _, found = self._latencies.since(since)
        ordered = np.sort(found)
        return float(ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]) if len(ordered) else 0.0

    def latencies(self, since: Nanoseconds) -> Mapping[int, Sequence[float]]:
        """The data latencies measured since then (ms), by the second in which the messages became queryable."""
        found: dict[int, list[float]] = {}
        for at, latency in zip(*(one.tolist() for one in self._latencies.since(since)), strict=True):
            found.setdefault(at // SECOND, []).append(latency)
        return found

    async def _apply(self, changes: Sequence[Change]) -> None:
        """Again until the view takes them: it says itself what it waits for."""
        while True:
            try:
                await self._view.apply(changes)
            except Transient:
                await anyio.sleep(RETRY_SECONDS)
            else:
                return

    async def _step(self, changes: Sequence[Change]) -> None:
        await self._apply(changes)
        self._stream.done(changes)
        self._last_progress = self._clock.now()
        rows = [change.new for change in changes if change.new is not None and change.table == "telemetry"]
        self._trail.note("viewed", self._last_progress, rows)
        self._applied.update(change.table for change in changes)
        self._measure(_new_messages(changes))
        await anyio.lowlevel.checkpoint()

    def _measure(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The latencies of new messages that the stream brought."""
        now = self._last_progress / MILLISECOND
        times: list[tuple[Any, Any]] = [
            (row.get("device_time", row.get("received_at")), row.get("received_at")) for row in rows
        ]
        ages = [now - born for born, _ in times if isinstance(born, int)]
        self._latencies.add(self._last_progress, ages)
        self._fresh.add_all(age / 1000 for age in ages)
        both = [pair for pair in times if isinstance(pair[0], int) and isinstance(pair[1], int)]
        self._hops[_UP].add_all((received - born) / 1000 for born, received in both)
        self._hops[_DOWN].add_all((now - received) / 1000 for _, received in both)


def _new_messages(changes: Sequence[Change]) -> list[Mapping[str, Any]]:
    """Rows of telemetry that the stream brought (a scan has no sequence), not those that changed."""
    return [
        change.new
        for change in changes
        if change.table == "telemetry"
        and change.kind == "INSERT"
        and change.new is not None
        and change.sequence
    ]
