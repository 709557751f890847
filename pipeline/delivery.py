"""The delivery stream: buffers records by size and interval, and writes them to S3 as Amazon Data Firehose does.

The emulators' Firehose writes one object a call and does not compress, so this part is ours. What is taken stays in
the buffer (and in the journal, where there is one) until S3 has it: at least once, in the order of arrival. What S3
refuses for now is tried again; what it refuses for good (a bucket that is not there) as well, with the reason in the
health, because only a person can mend it and nothing may be dropped: the buffer fills and its senders feel it.

Unlike Firehose's, the buffer is one for all partitions: with dynamic partitioning objects may be smaller than there.
"""

import struct
from collections.abc import Sequence
from typing import Any, Final

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.abc import TaskStatus

from contracts.clock import Clock
from contracts.errors import BackendError, Terminal, Transient
from contracts.journal import Journal
from contracts.messages import SECOND, Nanoseconds
from contracts.ports import Gauge, Health, State
from contracts.trail import Trail

from .aws.session import translated
from .delivering.batch import PutOutcome, check_batch
from .delivering.objects import Object, make_objects
from .delivering.records import Record
from .delivering.settings import Settings
from .delivering.transform import Transform

RETRY_SECONDS: Final = 0.5
MAX_RETRY_SECONDS: Final = 10.0

CAPACITY_BYTES: Final = 64 * 1024 * 1024
"""Of the buffer, whatever its number of records: half of the largest object that Firehose makes (128 MB)."""

_ARRIVED: Final = struct.Struct(">Q")
"""Before each record in the journal: its arrival, nanoseconds."""

_FULL = ("ServiceUnavailableException", "Slow down: the buffer of the delivery stream is full")


class DeliveryStream:
    """One delivery stream as a service. `put` returns once the records are in the bounded buffer."""

    def __init__(
        self,
        name: str,
        *,
        s3: Any,
        bucket: str,
        clock: Clock,
        settings: Settings | None = None,
        transform: Transform | None = None,
        capacity: int = 50_000,
        capacity_bytes: int = CAPACITY_BYTES,
        journal: Journal | None = None,
        trail: Trail | None = None,
    ) -> None:
        """With a journal, what `put` took survives the process: the next one delivers it (at least once)."""
        self.name = f"delivery-{name}"
        self.stream_name = name
        self._journal = journal
        self._trail = trail or Trail(capacity=0)
        self._s3 = s3
        self._bucket = bucket
        self._clock = clock
        self._settings = settings or Settings()
        self._transform = transform
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._records: list[Record] = []
        self._bytes = 0
        self._highest = 0
        self._wake = anyio.Event()
        self._room = anyio.Condition()
        self._uploading = anyio.Lock()
        self._limiter = CapacityLimiter(1)
        self._state: State = "starting"
        self._fault = ""
        self._last_progress: Nanoseconds = 0
        self._counters = dict.fromkeys(("records", "objects", "bytes", "retries", "failed"), 0)

    async def put(self, records: Sequence[bytes]) -> None:
        """Take records, all or none, waiting while the buffer is full. Raises JournalFault."""
        async with self._room:
            while not self._has_room():
                await self._room.wait()
            self._take(records)

    async def put_record_batch(self, records: Sequence[bytes]) -> PutOutcome:
        """AWS's PutRecordBatch: never waits; what finds no room is named in the outcome, for the sender to try again.

        Raises ConfigError for a request beyond AWS's limits, of which nothing is taken.
        """
        check_batch(records)
        fitting = self._fitting(records)
        try:
            self._take(records[:fitting])
        except Transient as error:
            return PutOutcome([("ServiceUnavailableException", error.what)] * len(records))
        return PutOutcome([None] * fitting + [_FULL] * (len(records) - fitting))

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        self._recall()
        self._state = "ready"
        task_status.started()
        try:
            while True:
                await self._wake.wait()
                await self._wait_until_due()
                async with self._uploading:
                    await self._deliver_due()
        finally:
            if self._journal is not None:
                self._journal.close()

    async def drain(self) -> None:
        """Everything taken is in S3. Raises Terminal if S3 refuses it for good; a journal keeps it then."""
        self._state = "draining"
        await self.flush()

    async def flush(self) -> None:
        """Write what is buffered now, trying until S3 has it. Raises Terminal if S3 refuses it for good."""
        async with self._uploading:
            left = len(self._records)
            while left > 0:
                left -= await self._deliver(patient=False)

    def health(self) -> Health:
        gauges = (
            Gauge(self.stream_name, len(self._records), self._capacity, self._highest),
            Gauge(f"{self.stream_name}.bytes", self._bytes, self._capacity_bytes, self._bytes),
        )
        state: State = "failed" if self._fault and self._state == "ready" else self._state
        return Health(self.name, state, self._fault, self._last_progress, gauges, dict(self._counters))

    def _has_room(self) -> bool:
        return len(self._records) < self._capacity and self._bytes < self._capacity_bytes

    def _fitting(self, records: Sequence[bytes]) -> int:
        """How many of these, from the first on, find room now."""
        room = self._capacity_bytes - self._bytes
        for count, record in enumerate(records):
            if room <= 0 or len(self._records) + count >= self._capacity:
                return count
            room -= len(record)
        return len(records)

    def _take(self, records: Sequence[bytes]) -> None:
        arrived = self._clock.now()
        if self._journal is not None:
            stamp = _ARRIVED.pack(arrived)
            self._journal.append([stamp + record for record in records])
        self._keep([Record(arrived, record) for record in records])

    def _keep(self, records: Sequence[Record]) -> None:
        self._records.extend(records)
        self._bytes += sum(len(record.data) for record in records)
        self._highest = max(self._highest, len(self._records))
        self._wake.set()

    def _recall(self) -> None:
        """Take up what an earlier process had taken and not delivered."""
        if self._journal is None or not len(self._journal):
            return
        self._keep(
            [
                Record(_ARRIVED.unpack_from(entry.body)[0], entry.body[_ARRIVED.size :])
                for entry in self._journal.read(limit=len(self._journal))
            ]
        )

    def _due_at(self) -> Nanoseconds:
        return self._records[0].arrived + int(self._settings.buffer_seconds * SECOND)

    async def _wait_until_due(self) -> None:
        """Until the interval since the first record is over, or the buffer holds its size."""
        while self._records and self._bytes < self._settings.buffer_bytes:
            now, due = self._clock.now(), self._due_at()
            if now >= due:
                return
            await self._clock.sleep_until(min(due, now + SECOND // 5))

    async def _deliver_due(self) -> None:
        """Objects of full size, and one of the rest if its interval is over."""
        while self._records and (
            self._bytes >= self._settings.buffer_bytes or self._clock.now() >= self._due_at()
        ):
            await self._deliver(patient=True)
        if not self._records:
            self._wake = anyio.Event()

    async def _deliver(self, *, patient: bool) -> int:
        """Write the oldest records, at most the buffer's size; how many. They leave the buffer when S3 has them."""
        chunk = self._chunk()
        objects = await to_thread.run_sync(self._objects, chunk, limiter=self._limiter)
        for one in objects:
            await self._upload(one, patient=patient)
        data = [record.data for record in chunk]
        self._trail.note("archived", self._clock.now(), data, ", ".join(one.key for one in objects))
        if self._journal is not None:
            self._journal.drop(len(chunk))
        async with self._room:
            del self._records[: len(chunk)]
            self._bytes -= sum(len(record.data) for record in chunk)
            self._room.notify_all()
        self._counters["records"] += len(chunk)
        return len(chunk)

    def _chunk(self) -> list[Record]:
        size, limit = 0, self._settings.buffer_bytes
        for count, record in enumerate(self._records):
            if size >= limit:
                return self._records[:count]
            size += len(record.data)
        return self._records[:]

    def _objects(self, records: Sequence[Record]) -> list[Object]:
        return make_objects(
            self.stream_name, records, self._settings, transform=self._transform, now=self._clock.now()
        )

    async def _upload(self, one: Object, *, patient: bool) -> None:
        wait = RETRY_SECONDS
        while True:
            try:
                await to_thread.run_sync(self._put_object, one, limiter=self._limiter)
                break
            except BackendError as error:
                self._fault = f"trying again: {error.told}"
                if isinstance(error, Terminal) and not patient:
                    raise
            self._counters["retries"] += 1
            await anyio.sleep(wait)
            wait = min(wait * 2, MAX_RETRY_SECONDS)
        self._fault = ""
        self._last_progress = self._clock.now()
        self._counters["objects"] += not one.failed
        self._counters["failed"] += one.records if one.failed else 0
        self._counters["bytes"] += len(one.body)

    @translated
    def _put_object(self, one: Object) -> None:
        self._s3.put_object(Bucket=self._bucket, Key=one.key, Body=one.body)
