"""The delivery stream: buffers records by size and interval into gzip NDJSON objects, as Firehose does.

The emulator's Firehose writes one object a record and does not compress, so this part is ours. Objects lie under
`PREFIXyear=/month=/day=/hour=` of their first record's arrival, UTC. A failed upload is tried again; the records
stay in the buffer until S3 has them.
"""

import gzip
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.abc import TaskStatus

from contracts.clock import Clock
from contracts.errors import Transient
from contracts.journal import Journal
from contracts.messages import SECOND, Nanoseconds
from contracts.ports import Gauge, Health, State

from .aws.session import translated

RETRY_SECONDS = 0.5
MAX_RETRY_SECONDS = 10.0


class DeliveryStream:
    """One delivery stream as a service. `put` returns once the records are in the bounded buffer."""

    def __init__(
        self,
        name: str,
        *,
        s3: Any,
        bucket: str,
        clock: Clock,
        prefix: str = "telemetry/",
        buffer_bytes: int = 5 * 1024 * 1024,
        buffer_seconds: float = 60.0,
        capacity: int = 50_000,
        journal: Journal | None = None,
    ) -> None:
        """With a journal, what `put` took survives the process: the next one delivers it (at least once)."""
        self._journal = journal
        self.name = f"delivery-{name}"
        self._stream = name
        self._s3 = s3
        self._bucket = bucket
        self._clock = clock
        self._prefix = prefix
        self._buffer_bytes = buffer_bytes
        self._buffer_seconds = buffer_seconds
        self._capacity = capacity
        self._records: list[bytes] = []
        self._bytes = 0
        self._first_at: Nanoseconds = 0
        self._highest = 0
        self._wake = anyio.Event()
        self._room = anyio.Condition()
        self._uploading = anyio.Lock()
        self._limiter = CapacityLimiter(1)
        self._state: State = "starting"
        self._detail = ""
        self._last_progress: Nanoseconds = 0
        self._counters = dict.fromkeys(("records", "objects", "bytes", "retries"), 0)

    async def put(self, records: Sequence[bytes]) -> None:
        """Take records, waiting while the buffer is full."""
        async with self._room:
            while len(self._records) >= self._capacity:
                await self._room.wait()
            if self._journal is not None:
                self._journal.append(records)
            if not self._records:
                self._first_at = self._clock.now()
            self._records.extend(records)
        self._bytes += sum(map(len, records))
        self._highest = max(self._highest, len(self._records))
        self._wake.set()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        self._recall()
        self._state = "ready"
        task_status.started()
        try:
            while True:
                await self._wake.wait()
                await self._wait_until_due()
                await self.flush()
        finally:
            if self._journal is not None:
                self._journal.close()

    async def drain(self) -> None:
        """Everything taken is in S3."""
        self._state = "draining"
        await self.flush()

    async def flush(self) -> None:
        """Write what is buffered now, trying until S3 has it."""
        async with self._uploading:
            records, at = self._records[:], self._first_at
            if not records:
                return
            await self._upload(records, at)
            if self._journal is not None:
                self._journal.drop(len(records))
            async with self._room:
                del self._records[: len(records)]
                self._bytes = sum(map(len, self._records))
                self._first_at = self._clock.now()
                self._room.notify_all()
            if not self._records:
                self._wake = anyio.Event()

    def _recall(self) -> None:
        """Take up what an earlier process had taken and not delivered."""
        if self._journal is None or not len(self._journal):
            return
        self._records = [entry.body for entry in self._journal.read(limit=len(self._journal))]
        self._bytes = sum(map(len, self._records))
        self._first_at = self._clock.now()
        self._highest = len(self._records)
        self._wake.set()

    def health(self) -> Health:
        gauge = Gauge(self._stream, len(self._records), self._capacity, self._highest)
        return Health(
            self.name, self._state, self._detail, self._last_progress, (gauge,), dict(self._counters)
        )

    async def _wait_until_due(self) -> None:
        """Until the interval since the first record is over, or the buffer holds its size."""
        due = self._first_at + int(self._buffer_seconds * SECOND)
        while self._bytes < self._buffer_bytes and self._clock.now() < due:
            await self._clock.sleep_until(min(due, self._clock.now() + SECOND // 5))

    async def _upload(self, records: Sequence[bytes], at: Nanoseconds) -> None:
        key = self._key(at)
        wait = RETRY_SECONDS
        while True:
            try:
                size = await to_thread.run_sync(lambda: self._put_object(key, records), limiter=self._limiter)
                break
            except Transient as error:
                self._detail = f"trying again: {error}"
                self._counters["retries"] += 1
                await anyio.sleep(wait)
                wait = min(wait * 2, MAX_RETRY_SECONDS)
        self._detail = ""
        self._last_progress = self._clock.now()
        self._counters["records"] += len(records)
        self._counters["objects"] += 1
        self._counters["bytes"] += size

    @translated
    def _put_object(self, key: str, records: Sequence[bytes]) -> int:
        body = gzip.compress(b"".join(records), compresslevel=6, mtime=0)
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, ContentEncoding="gzip")
        return len(body)

    def _key(self, at: Nanoseconds) -> str:
        """Prefix, partition, then as Firehose names objects: stream, time, a random part."""
        moment = datetime.fromtimestamp(at / SECOND, tz=UTC)
        return (
            f"{self._prefix}{moment:year=%Y/month=%m/day=%d/hour=%H}/"
            f"{self._stream}-{moment:%Y-%m-%d-%H-%M-%S}-{secrets.token_hex(8)}.ndjson.gz"
        )
