"""Reads the tables' streams (after a first scan) as changes: ordered per key, at least once.

A scan tells what a stream does not: at the first start, after records were trimmed before they were read, after the
service was another one for a while. It is taken when everything read is applied, so what it shows is newer than
the view, rows that it does not show are gone, and every record that comes later is newer or already in it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import anyio
from anyio import CapacityLimiter
from anyio.abc import TaskStatus

from contracts.clock import Clock
from contracts.messages import Change, Json, Nanoseconds
from contracts.ports import Health, State
from contracts.streams import BatchStream
from contracts.trail import Trail

from .patience import Patience
from .table_stream import Checkpoints, TableStream, removed

BUSY_SECONDS, IDLE_SECONDS = 0.05, 0.2
"""Between polls of a shard. AWS allows five GetRecords a second and shard: 0.2 s; the emulator has no limit."""

RETAKE_SECONDS = 10.0
"""An iterator is taken anew so often, by the sequence of the last record: a service that was restarted between two
polls knows neither, and is found out by that. On AWS an iterator lives 15 minutes."""

LOOK_SECONDS = 1.0
"""Between two looks for the children of a closed shard; AWS allows ten DescribeStream a second."""

Key = Mapping[str, Json]


class ChangeReader:
    """Follows tables (`tables` maps collection names to table names) from their checkpoints on.

    `checkpoints` is asked for the last sequence applied by (collection, shard), `keys` for the keys of all rows of a
    collection: both are the view's. `mend` makes again what an emulator has forgotten.
    """

    name = "changes"

    def __init__(
        self,
        *,
        dynamodb: Any,
        streams: Any,
        tables: Mapping[str, str],
        out: BatchStream[Change],
        checkpoints: Callable[[], Awaitable[Checkpoints]],
        keys: Callable[[str], Awaitable[Sequence[Key]]],
        clock: Clock,
        trail: Trail | None = None,
        mend: Callable[[], object] | None = None,
    ) -> None:
        self._dynamodb = dynamodb
        self._streams = streams
        self._tables = tables
        self._out = out
        self._checkpoints = checkpoints
        self._keys = keys
        self._clock = clock
        self._trail = trail or Trail(capacity=0)
        self._patience = Patience(CapacityLimiter(len(tables) + 1), mend=mend)
        self._state: State = "starting"
        self._last_progress: Nanoseconds = 0
        self._counters = dict.fromkeys(("records", "scanned", "removed", "resyncs", "polls"), 0)

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        known = await self._checkpoints()
        async with anyio.create_task_group() as tasks:
            for collection, table in self._tables.items():
                stream = TableStream(
                    collection, table, dynamodb=self._dynamodb, streams=self._streams, checkpoints=known
                )
                tasks.start_soon(self._follow, stream)
            self._state = "ready"
            task_status.started()

    async def drain(self) -> None:
        """Return when every stream is read to its end and everything read is applied."""
        self._state = "draining"
        quiet = 0
        while quiet < 2:
            before = self._counters["records"]
            await anyio.sleep(2 * IDLE_SECONDS)
            quiet = quiet + 1 if self._counters["records"] == before else 0
        await self._out.join()

    def health(self) -> Health:
        return Health(
            self.name,
            self._patience.state(self._state),
            self._patience.detail,
            self._last_progress,
            (self._out.gauge(),),
            {**self._counters, "retries": self._patience.retries},
        )

    async def _follow(self, stream: TableStream) -> None:
        """Scan if nothing is known of the table, then its stream for ever.

        The stream's positions are taken before the scan, so nothing falls between; what is seen twice is the
        view's to recognise by its sequence.
        """
        await self._begin(stream)
        while True:
            busy = await self._turn(stream, anyio.current_time())
            await anyio.sleep(BUSY_SECONDS if busy else IDLE_SECONDS)

    async def _begin(self, stream: TableStream) -> None:
        if await self._patience.run(stream.look) or stream.new:
            await self._scan(stream)
        stream.looked = stream.retaken = anyio.current_time()

    async def _turn(self, stream: TableStream, now: float) -> bool:
        """Read once, and look for new shards where one has ended; whether there was anything to read."""
        if retake := now >= stream.retaken + RETAKE_SECONDS:
            stream.retaken = now
        busy = await self._read_once(stream, retake=retake)
        if stream.should_look() and now >= stream.looked + LOOK_SECONDS:
            stream.looked = now
            if await self._patience.run(stream.look):
                await self._resync(stream)
        return busy

    async def _read_once(self, stream: TableStream, *, retake: bool) -> bool:
        """The next records of every shard; whether there were any."""
        busy = False
        for shard in stream.readable():
            outages = self._patience.retries
            if retake:
                stream.retake(shard)
            changes = await self._patience.run(stream.read, shard)
            self._counters["polls"] += 1
            if self._patience.retries != outages:
                stream.interrupted(shard)
            if shard.gap:
                # first our place, then the scan: what is trimmed after it is told by the iterator
                await self._patience.run(stream.take_place, shard)
                await self._resync(stream)
            busy = busy or bool(changes)
            await self._hand_on(changes, "records")
            if changes:
                stream.handed_on[shard.shard_id] = changes[-1].sequence
        return busy

    async def _resync(self, stream: TableStream) -> None:
        self._counters["resyncs"] += 1
        await self._until_applied(stream)
        await self._scan(stream)

    async def _until_applied(self, stream: TableStream) -> None:
        """A scan is newer than the view only when nothing older is on its way there."""
        while True:
            applied = await self._checkpoints()
            if all(
                applied.get((stream.collection, name), 0) >= sequence
                for name, sequence in stream.handed_on.items()
            ):
                return
            await anyio.sleep(BUSY_SECONDS)

    async def _scan(self, stream: TableStream) -> None:
        """The whole table, page by page, and what the view has beyond it."""
        left = {_identity(key): key for key in await self._keys(stream.collection)}
        start: Mapping[str, Any] | None = None
        while True:
            changes, start = await self._patience.run(stream.pages, start)
            for change in changes:
                left.pop(_identity(change.key), None)
            await self._hand_on(changes, "scanned")
            if not start:
                break
        await self._hand_on(removed(stream.collection, list(left.values())), "removed")

    async def _hand_on(self, changes: Sequence[Change], counter: str) -> None:
        for change in changes:
            await self._out.put(change)
        if changes:
            self._counters[counter] += len(changes)
            self._last_progress = self._clock.now()
            rows = [one.new for one in changes if one.new is not None and one.table == "telemetry"]
            self._trail.note("changed", self._last_progress, rows)


def _identity(key: Key) -> tuple[Json, ...]:
    return tuple(key[name] for name in sorted(key))
