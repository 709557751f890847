"""One table and its stream as DynamoDB has them: shards with parents, iterators, records, scans. Blocking.

A stream's shards are a forest: when one splits or rolls over (on AWS about every four hours) it is closed, and its
children go on with its keys. A child is read after its parent is, or a key's older record would come last.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from contracts.errors import Terminal
from contracts.messages import Change

from .aws.session import translated
from .ingest import EXPIRES
from .items import plain_item

LIMIT: Final = 1000
"""Records of one GetRecords, AWS's own limit."""

Checkpoints = Mapping[tuple[str, str], int]
"""The last sequence applied, by collection and shard."""


@dataclass(slots=True)
class Shard:
    """Where we are in one shard: the iterator to use next, and the last sequence handed on.

    `gap`: records that we never saw may be gone; only a scan can tell what they said.
    """

    shard_id: str
    parent: str
    sequence: str
    iterator: str | None = None
    closed: bool = False
    gap: bool = False


class TableStream:
    """Follows one table's stream, shard by shard; `collection` is how changes call the table."""

    def __init__(
        self, collection: str, table: str, *, dynamodb: Any, streams: Any, checkpoints: Checkpoints
    ) -> None:
        self.collection = collection
        self.table = table
        self.shards: dict[str, Shard] = {}
        self.handed_on: dict[str, int] = {}  # the last sequence that the view was given, by shard
        self.looked = self.retaken = 0.0  # when new shards and new iterators were last asked for
        self._dynamodb = dynamodb
        self._streams = streams
        self._known = {
            shard: sequence
            for (table_name, shard), sequence in checkpoints.items()
            if table_name == collection
        }
        self._arn = ""
        self._key: tuple[str, ...] = ()

    @property
    def new(self) -> bool:
        """Nothing of the table was ever applied."""
        return not self._known

    def readable(self) -> list[Shard]:
        """Open shards whose parents are read to their ends."""
        return [one for one in self.shards.values() if not one.closed and self._parent_is_read(one)]

    def should_look(self) -> bool:
        """A shard is closed, and nothing is known of what goes on where it ended."""
        parents = {one.parent for one in self.shards.values()}
        return any(one.closed and one.shard_id not in parents for one in self.shards.values())

    @translated
    def look(self) -> bool:
        """Learn of new shards, and forget those that the stream has forgotten. True: what a scan must tell is missing.

        Raises Terminal for a table without a stream.
        """
        arn = self._stream_arn()
        described = {one["ShardId"]: one for one in self._describe(arn)}
        another = bool(self._arn) and arn != self._arn
        first, self._arn = not self._arn, arn
        if another:
            self.shards.clear()
        for name in [name for name in self.shards if name not in described]:
            del self.shards[name]
        fresh = [self._shard(one) for name, one in described.items() if name not in self.shards]
        self.shards |= {one.shard_id: one for one in fresh}
        for one in fresh:
            # from here on the iterator tells if records are trimmed before we read any
            one.iterator = self._iterator(one)
        return another or (first and not self.new and any(map(self._is_stranger, fresh)))

    @translated
    def read(self, shard: Shard) -> list[Change]:
        """The next records that were not applied before; none where the iterator must be taken anew first."""
        try:
            if shard.iterator is None:
                shard.iterator = self._iterator(shard)
            answer = self._streams.get_records(ShardIterator=shard.iterator, Limit=LIMIT)
        except (
            self._streams.exceptions.ExpiredIteratorException,
            self._streams.exceptions.TrimmedDataAccessException,
        ):
            self.interrupted(shard)
            return []
        if answer.get("ResponseMetadata", {}).get("RetryAttempts"):
            # the service went away for a moment: it may be another one now, to which our iterator means another place
            self.interrupted(shard)
            return []
        records = answer["Records"]
        if records:
            shard.sequence = str(records[-1]["dynamodb"]["SequenceNumber"])
        shard.iterator = answer.get("NextShardIterator")
        shard.closed = shard.iterator is None
        applied = self._known.get(shard.shard_id, 0)
        changes = [_change(self.collection, shard.shard_id, record) for record in records]
        return [change for change in changes if change.sequence > applied]

    def retake(self, shard: Shard) -> None:
        """Take the iterator anew before the next read, where a record tells our place."""
        if shard.sequence:
            shard.iterator = None

    def interrupted(self, shard: Shard) -> None:
        """Take the iterator anew; where no record tells our place, nothing would tell that some are gone."""
        shard.iterator = None
        shard.gap = shard.gap or not shard.sequence

    @translated
    def take_place(self, shard: Shard) -> None:
        """Have an iterator, and no gap: a scan follows. A shard that the service has forgotten is closed."""
        try:
            shard.iterator = shard.iterator or self._iterator(shard)
        except self._streams.exceptions.TrimmedDataAccessException:
            shard.closed = True
        shard.gap = False

    @translated
    def pages(self, start: Mapping[str, Any] | None = None) -> tuple[list[Change], Mapping[str, Any] | None]:
        """A page of the whole table as changes without a sequence, and where the next one starts."""
        more = {"ExclusiveStartKey": start} if start else {}
        page = self._dynamodb.scan(TableName=self.table, ConsistentRead=True, **more)
        found = [self._scanned(item) for item in page["Items"]]
        return found, page.get("LastEvaluatedKey")

    def _scanned(self, item: Mapping[str, Any]) -> Change:
        plain = _shown(item)
        return Change("INSERT", self.collection, {name: plain[name] for name in self._key}, plain, None, 0)

    def _stream_arn(self) -> str:
        told = self._dynamodb.describe_table(TableName=self.table)["Table"]
        self._key = tuple(one["AttributeName"] for one in told["KeySchema"])
        if not told.get("LatestStreamArn"):
            raise Terminal(
                f"DynamoDB: table {self.table} has no stream",
                fix="enable NEW_AND_OLD_IMAGES on it, or provision again",
            )
        return str(told["LatestStreamArn"])

    def _describe(self, arn: str) -> Iterator[Mapping[str, Any]]:
        more: dict[str, str] = {}
        while True:
            told = self._streams.describe_stream(StreamArn=arn, **more)["StreamDescription"]
            yield from told["Shards"]
            if not (last := told.get("LastEvaluatedShardId")):
                return
            more = {"ExclusiveStartShardId": last}

    def _shard(self, told: Mapping[str, Any]) -> Shard:
        """The checkpoint as the shard spells its numbers: a number has lost the leading zeros."""
        name = told["ShardId"]
        sequence = self._known.get(name)
        width = len(told.get("SequenceNumberRange", {}).get("StartingSequenceNumber", ""))
        return Shard(
            name, told.get("ParentShardId", ""), "" if sequence is None else str(sequence).zfill(width)
        )

    def _is_stranger(self, shard: Shard) -> bool:
        """We never read it, and cannot know that we read what came before it to its end."""
        return shard.shard_id not in self._known and shard.parent not in self.shards

    def _parent_is_read(self, shard: Shard) -> bool:
        parent = self.shards.get(shard.parent)
        return parent is None or parent.closed

    def _iterator(self, shard: Shard) -> str:
        """After the last sequence; from the oldest record where nothing is known or that record is trimmed."""
        ask = {"StreamArn": self._arn, "ShardId": shard.shard_id}
        if shard.sequence:
            try:
                answer = self._streams.get_shard_iterator(
                    **ask, ShardIteratorType="AFTER_SEQUENCE_NUMBER", SequenceNumber=shard.sequence
                )
                return str(answer["ShardIterator"])
            except self._streams.exceptions.TrimmedDataAccessException:
                shard.gap, shard.sequence = True, ""
        return str(self._streams.get_shard_iterator(**ask, ShardIteratorType="TRIM_HORIZON")["ShardIterator"])


def _change(collection: str, shard_id: str, record: Mapping[str, Any]) -> Change:
    told = record["dynamodb"]
    return Change(
        kind=record["eventName"],
        table=collection,
        key=plain_item(told["Keys"]),
        new=_shown(told["NewImage"]) if "NewImage" in told else None,
        old=_shown(told["OldImage"]) if "OldImage" in told else None,
        sequence=int(told["SequenceNumber"]),
        shard=shard_id,
    )


def _shown(item: Mapping[str, Any]) -> dict[str, Any]:
    """The item without what only the table needs."""
    return {name: value for name, value in plain_item(item).items() if name != EXPIRES}


def removed(collection: str, keys: Sequence[Mapping[str, Any]]) -> list[Change]:
    """What a scan did not find any more."""
    return [Change("REMOVE", collection, dict(key), None, None, 0) for key in keys]
