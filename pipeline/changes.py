"""Reads the tables' streams (after a first scan) as changes: ordered per key, at least once."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.abc import TaskStatus

from contracts.clock import Clock
from contracts.errors import Terminal, Transient
from contracts.messages import Change, Json, Nanoseconds
from contracts.ports import Health, State
from contracts.streams import BatchStream

from .aws.session import translated

LIMIT = 1000
"""Records of one GetRecords, AWS's own limit."""

BUSY_SECONDS, IDLE_SECONDS = 0.05, 0.2
"""Between polls of a shard. AWS allows five GetRecords a second and shard: 0.2 s; the emulator has no limit."""

BACKOFF_SECONDS = 0.5
FAULTS_IN_A_ROW = 20


@dataclass(slots=True)
class _Shard:
    """Where we are in one shard: the iterator to use next, and the last sequence handed on.

    `gap_after` is set when the records behind that sequence are gone: what they said must be scanned for.
    """

    table: str
    stream_arn: str
    shard_id: str
    sequence: str
    iterator: str | None = None
    closed: bool = False
    gap_after: int | None = None


class ChangeReader:
    """Follows tables (`tables` maps collection names to table names) from their checkpoints on.

    `checkpoints` is asked once, at the start: the last sequence applied by (collection, shard).
    """

    name = "changes"

    def __init__(
        self,
        *,
        dynamodb: Any,
        streams: Any,
        tables: Mapping[str, str],
        out: BatchStream[Change],
        checkpoints: Callable[[], Awaitable[Mapping[tuple[str, str], int]]],
        clock: Clock,
    ) -> None:
        self._dynamodb = dynamodb
        self._streams = streams
        self._tables = tables
        self._out = out
        self._ask_checkpoints = checkpoints
        self._checkpoints: Mapping[tuple[str, str], int] = {}
        self._clock = clock
        self._limiter = CapacityLimiter(len(tables) + 1)
        self._state: State = "starting"
        self._detail = ""
        self._last_progress: Nanoseconds = 0
        self._counters = dict.fromkeys(("records", "scanned", "resyncs", "polls", "retries"), 0)
        self._outages = 0

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        self._checkpoints = await self._ask_checkpoints()
        async with anyio.create_task_group() as tasks:
            for collection, table in self._tables.items():
                tasks.start_soon(self._follow, collection, table)
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
        gauges = (self._out.gauge(),)
        return Health(self.name, self._state, self._detail, self._last_progress, gauges, dict(self._counters))

    async def _follow(self, collection: str, table: str) -> None:
        """Scan if nothing is known of the table, then its stream for ever.

        The stream's positions are taken before the scan, so nothing falls between; what is seen twice is the
        view's to recognise by its sequence.
        """
        arn = await self._call(self._stream_arn, table)
        shards = await self._call(self._new_shards, collection, arn, {})
        if not any(table_name == collection for table_name, _ in self._checkpoints):
            for changes in await self._call(self._scan, collection, table):
                await self._hand_on(changes, "scanned")
        while True:
            busy = False
            for shard in [one for one in shards.values() if not one.closed]:
                outages = self._outages
                changes = await self._call(self._read, shard)
                self._counters["polls"] += 1
                if self._outages != outages:
                    # the service may be another process now, to which our iterators mean nothing
                    shard.iterator = None
                await self._close_gap(collection, table, shard)
                busy = busy or bool(changes)
                await self._hand_on(changes, "records")
            if all(shard.closed for shard in shards.values()):
                shards |= await self._call(self._new_shards, collection, arn, shards)
            await anyio.sleep(BUSY_SECONDS if busy else IDLE_SECONDS)

    async def _close_gap(self, collection: str, table: str, shard: _Shard) -> None:
        """Scan for what trimmed records had said: newer than all that was applied, older than all that comes."""
        if shard.gap_after is None:
            return
        sequence, shard.gap_after = shard.gap_after + 1, None
        self._counters["resyncs"] += 1
        for changes in await self._call(self._scan, collection, table, sequence):
            await self._hand_on(changes, "scanned")

    async def _hand_on(self, changes: Sequence[Change], counter: str) -> None:
        for change in changes:
            await self._out.put(change)
        if changes:
            self._counters[counter] += len(changes)
            self._last_progress = self._clock.now()

    async def _call(self, work: Any, *arguments: Any) -> Any:
        """Run blocking work in a thread, again while it is worth it."""
        faults = 0
        while True:
            try:
                result = await to_thread.run_sync(translated(work), *arguments, limiter=self._limiter)
            except Transient as error:
                faults += 1
                self._outages += 1
                if faults >= FAULTS_IN_A_ROW:
                    raise
                self._detail = f"trying again: {error}"
                self._counters["retries"] += 1
                await anyio.sleep(BACKOFF_SECONDS)
                continue
            self._detail = ""
            return result

    def _stream_arn(self, table: str) -> str:
        arn = self._dynamodb.describe_table(TableName=table)["Table"].get("LatestStreamArn")
        if not arn:
            raise Terminal(
                f"table {table} has no stream", fix="enable NEW_AND_OLD_IMAGES on it, or provision again"
            )
        return str(arn)

    def _new_shards(self, collection: str, arn: str, known: Mapping[str, _Shard]) -> dict[str, _Shard]:
        """Shards not yet known, parents before children (DescribeStream lists them so)."""
        described = self._streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
        return {
            one["ShardId"]: _Shard(collection, arn, one["ShardId"], self._position(collection, one))
            for one in described
            if one["ShardId"] not in known
        }

    def _position(self, collection: str, shard: Mapping[str, Any]) -> str:
        """The checkpoint as the shard spells its numbers: a number has lost the leading zeros."""
        sequence = self._checkpoints.get((collection, shard["ShardId"]))
        width = len(shard["SequenceNumberRange"].get("StartingSequenceNumber", ""))
        return "" if sequence is None else str(sequence).zfill(width)

    def _scan(self, collection: str, table: str, sequence: int = 0) -> list[list[Change]]:
        key = [
            one["AttributeName"]
            for one in self._dynamodb.describe_table(TableName=table)["Table"]["KeySchema"]
        ]
        pages = self._dynamodb.get_paginator("scan").paginate(TableName=table)
        return [[_scanned(collection, key, item, sequence) for item in page["Items"]] for page in pages]

    def _read(self, shard: _Shard) -> list[Change]:
        if shard.iterator is None:
            shard.iterator = self._iterator(shard)
        try:
            answer = self._streams.get_records(ShardIterator=shard.iterator, Limit=LIMIT)
        except self._streams.exceptions.ExpiredIteratorException:
            shard.iterator = None
            return []
        changes = [_change(shard, record) for record in answer["Records"]]
        if changes:
            shard.sequence = str(answer["Records"][-1]["dynamodb"]["SequenceNumber"])
        shard.iterator = answer.get("NextShardIterator")
        shard.closed = shard.iterator is None
        return [change for change in changes if change.sequence > self._applied(shard)]

    def _iterator(self, shard: _Shard) -> str:
        """After the last sequence; from the oldest record where nothing is known or that record is trimmed."""
        ask = {"StreamArn": shard.stream_arn, "ShardId": shard.shard_id}
        if shard.sequence:
            try:
                answer = self._streams.get_shard_iterator(
                    **ask, ShardIteratorType="AFTER_SEQUENCE_NUMBER", SequenceNumber=shard.sequence
                )
                return str(answer["ShardIterator"])
            except self._streams.exceptions.TrimmedDataAccessException:
                shard.gap_after, shard.sequence = int(shard.sequence), ""
        return str(self._streams.get_shard_iterator(**ask, ShardIteratorType="TRIM_HORIZON")["ShardIterator"])

    def _applied(self, shard: _Shard) -> int:
        return self._checkpoints.get((shard.table, shard.shard_id), 0)


def _change(shard: _Shard, record: Mapping[str, Any]) -> Change:
    told = record["dynamodb"]
    return Change(
        kind=record["eventName"],
        table=shard.table,
        key=plain_item(told["Keys"]),
        new=plain_item(told["NewImage"]) if "NewImage" in told else None,
        old=plain_item(told["OldImage"]) if "OldImage" in told else None,
        sequence=int(told["SequenceNumber"]),
        shard=shard.shard_id,
    )


def _scanned(collection: str, key: Sequence[str], item: Mapping[str, Any], sequence: int) -> Change:
    plain = plain_item(item)
    return Change("INSERT", collection, {name: plain[name] for name in key}, plain, None, sequence)


def plain_item(item: Mapping[str, Any]) -> dict[str, Json]:
    """An item of typed attributes as plain JSON values."""
    return {name: plain_value(value) for name, value in item.items()}


def plain_value(typed: Mapping[str, Any]) -> Json:
    """One typed attribute (`{"N": "5"}`): numbers as int where whole, lists and maps walked, sets as lists."""
    ((kind, value),) = typed.items()
    if kind == "N":
        return _number(value)
    if kind == "NULL":
        return None
    if kind == "L":
        return [plain_value(one) for one in value]
    if kind == "M":
        return plain_item(value)
    if kind == "NS":
        return [_number(one) for one in value]
    return list(value) if kind == "SS" else value


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
