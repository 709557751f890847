"""Streams with several shards, as AWS has them and no emulator does: the view ends as the table is, whatever happens.

`Service` keeps AWS's contract (Amazon DynamoDB developer guide, "Change data capture for DynamoDB Streams"): a shard that
splits is closed and has children, records are trimmed, an iterator may expire, a sequence that is gone is told.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sizes import size

from analytics.view.applying import effect, latest
from analytics.view.builtin import COLLECTIONS
from contracts.clock import SystemClock
from contracts.messages import Change
from pipeline.changes import ChangeReader
from pipeline.table_stream import TableStream

KEYS = [f"d{number}" for number in range(8)]


class Gone(Exception):
    """TrimmedDataAccessException."""


class Expired(Exception):
    """ExpiredIteratorException."""


@dataclass
class OneShard:
    name: str
    parent: str
    keys: list[str]
    records: list[dict[str, Any]] = field(default_factory=list)
    trimmed: int = 0
    closed: bool = False


class Service:
    """A table `devices` and its stream, behind the calls that the reader makes."""

    class exceptions:  # noqa: N801 - boto3's name
        TrimmedDataAccessException = Gone
        ExpiredIteratorException = Expired

    def __init__(self, dice: random.Random, *, expiring: float = 0.0) -> None:
        self._expiring = expiring
        self.items: dict[str, int] = {}
        self.shards = {"s0": OneShard("s0", "", KEYS)}
        self.era = 0  # iterators of another one mean nothing
        self._sequence = 100
        self._names = 0
        self._dice = dice

    def write(self, key: str, value: int | None) -> None:
        before = self.items.pop(key, None)
        if value is not None:
            self.items[key] = value
        if before == value:
            return
        shard = next(one for one in self.shards.values() if not one.closed and key in one.keys)
        self._sequence += 1
        told: dict[str, Any] = {"Keys": {"device_id": {"S": key}}, "SequenceNumber": f"{self._sequence:021d}"}
        if value is not None:
            told["NewImage"] = {"device_id": {"S": key}, "n": {"N": str(value)}}
        kind = "REMOVE" if value is None else "INSERT" if before is None else "MODIFY"
        shard.records.append({"eventName": kind, "dynamodb": told})

    def split(self) -> None:
        """One shard is closed; two children, or one, have its keys."""
        shard = self._dice.choice([one for one in self.shards.values() if not one.closed])
        shard.closed = True
        middle = len(shard.keys) // 2 if self._dice.random() < 0.7 else 0
        for keys in filter(None, (shard.keys[:middle], shard.keys[middle:])):
            self._names += 1
            self.shards[f"s{self._names}"] = OneShard(f"s{self._names}", shard.name, keys)

    def trim(self) -> None:
        """The oldest records of the stream are gone (by their age, whatever their shard); so are closed shards without any."""
        every = sorted(
            (one["dynamodb"]["SequenceNumber"], shard.name)
            for shard in self.shards.values()
            for one in shard.records
        )
        for _, name in every[: self._dice.randint(1, 5)]:
            del self.shards[name].records[0]
            self.shards[name].trimmed += 1
        for name in [one.name for one in self.shards.values() if one.closed and not one.records]:
            del self.shards[name]

    def restart(self) -> None:
        """Items survive, the stream's records do not."""
        self.era += 1
        for shard in self.shards.values():
            shard.records, shard.trimmed = [], 0

    def describe_table(self, **_: str) -> dict[str, Any]:
        return {"Table": {"LatestStreamArn": "arn", "KeySchema": [{"AttributeName": "device_id"}]}}

    def scan(self, *, ExclusiveStartKey: str = "", **_: Any) -> dict[str, Any]:  # noqa: N803 - boto3's names
        names = sorted(name for name in self.items if name > ExclusiveStartKey)
        page = [{"device_id": {"S": name}, "n": {"N": str(self.items[name])}} for name in names[:3]]
        return {"Items": page, **({"LastEvaluatedKey": names[2]} if len(names) > 3 else {})}

    def describe_stream(self, *, ExclusiveStartShardId: str = "", **_: str) -> dict[str, Any]:  # noqa: N803
        names = list(self.shards)
        names = names[names.index(ExclusiveStartShardId) + 1 :] if ExclusiveStartShardId else names
        shards = [
            {
                "ShardId": name,
                "SequenceNumberRange": {"StartingSequenceNumber": "0" * 21},
                **({"ParentShardId": self.shards[name].parent} if self.shards[name].parent else {}),
            }
            for name in names[:2]
        ]
        more = {"LastEvaluatedShardId": names[1]} if len(names) > 2 else {}
        return {"StreamDescription": {"Shards": shards, **more}}

    def get_shard_iterator(self, **told: str) -> dict[str, str]:
        name = told["ShardId"]
        shard = self.shards.get(name)
        if shard is None:
            raise Gone
        place = shard.trimmed
        if told["ShardIteratorType"] == "AFTER_SEQUENCE_NUMBER":
            sequences = [one["dynamodb"]["SequenceNumber"] for one in shard.records]
            if told["SequenceNumber"] not in sequences:
                raise Gone
            place += sequences.index(told["SequenceNumber"]) + 1
        return {"ShardIterator": f"{name} {place} {self.era}"}

    def get_records(self, *, ShardIterator: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        name, place, era = ShardIterator.split()
        if int(era) != self.era:
            # the client has tried again meanwhile: what the service answers is about another place
            return {
                "Records": [],
                "NextShardIterator": ShardIterator,
                "ResponseMetadata": {"RetryAttempts": 1},
            }
        shard = self.shards.get(name)
        if self._dice.random() < self._expiring:
            raise Expired
        if shard is None or int(place) < shard.trimmed:
            raise Gone
        found = shard.records[int(place) - shard.trimmed :][:3]
        after = int(place) + len(found)
        ended = shard.closed and after == shard.trimmed + len(shard.records)
        return {"Records": found, **({} if ended else {"NextShardIterator": f"{name} {after} {self.era}"})}


class Rows:
    """The view's own rules on a dict, applied as soon as they come; also the stream to it."""

    def __init__(self) -> None:
        self.rows: dict[str, Change] = {}
        self.sequences: dict[str, int] = {}
        self.known: dict[tuple[str, str], int] = {}

    async def put(self, change: Change) -> None:
        found = effect(latest([change], COLLECTIONS["devices"]), self.sequences)
        for identity, one in found.upserts.items():
            self.rows[identity], self.sequences[identity] = one, one.sequence
        for identity, sequence in found.removals.items():
            self.rows.pop(identity, None)
            self.sequences[identity] = sequence
        if change.shard:
            place = (change.table, change.shard)
            self.known[place] = max(self.known.get(place, 0), change.sequence)

    async def checkpoints(self) -> Mapping[tuple[str, str], int]:
        return dict(self.known)

    async def keys(self, _table: str) -> Sequence[Mapping[str, Any]]:
        return [change.key for change in self.rows.values()]

    def values(self) -> dict[str, Any]:
        return {identity: change.new["n"] for identity, change in self.rows.items() if change.new}


class Reading:
    """A reader that is turned by hand; another one may go on where it was."""

    def __init__(self, service: Service, rows: Rows) -> None:
        self._service, self._rows = service, rows
        self._now = 0.0

    async def begin(self) -> None:
        self.reader = ChangeReader(
            dynamodb=self._service,
            streams=self._service,
            tables={},
            out=cast("Any", self._rows),
            checkpoints=self._rows.checkpoints,
            keys=self._rows.keys,
            clock=SystemClock(),
        )
        self._stream = TableStream(
            "devices",
            "t",
            dynamodb=self._service,
            streams=self._service,
            checkpoints=await self._rows.checkpoints(),
        )
        await self.reader._begin(self._stream)
        self._stream.looked = self._stream.retaken = self._now

    async def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self._now += 1.5
            await self.reader._turn(self._stream, self._now)


ACTIONS = ["write", "write", "write", "remove", "turn", "turn", "split", "trim", "restart", "another reader"]


async def play(actions: Sequence[str], seed: int, expiring: float) -> tuple[Service, Rows, Reading]:
    dice = random.Random(seed)
    service, rows = Service(dice, expiring=expiring), Rows()
    reading = Reading(service, rows)
    await reading.begin()
    for number, action in enumerate(actions):
        if action == "write":
            service.write(dice.choice(KEYS), number)
        elif action == "remove":
            service.write(dice.choice(KEYS), None)
        elif action == "turn":
            await reading.turn()
        elif action == "another reader":
            await reading.begin()
        else:
            getattr(service, action)()
    await reading.turn(40)
    return service, rows, reading


@settings(max_examples=size(40, full=500))
@given(st.lists(st.sampled_from(ACTIONS), max_size=60), st.integers(0, 2**16))
def test_whatever_happens_to_the_stream_the_view_ends_as_the_table(actions: list[str], seed: int) -> None:
    service, rows, _ = anyio.run(play, actions, seed, 0.05)
    assert rows.values() == service.items


def test_without_losses_no_scan_is_taken_but_the_first() -> None:
    steady = ["write", "remove", "write", "turn", "split", "write", "another reader", "turn", "write"] * 5
    service, rows, reading = anyio.run(play, steady, 1, 0.0)
    counters = reading.reader._counters
    assert rows.values() == service.items
    assert (counters["resyncs"], counters["scanned"]) == (0, 0)
    assert len(service.shards) > 5


@pytest.mark.parametrize("lost", ["restart", "trim"])
def test_rows_that_were_deleted_meanwhile_are_found(lost: str) -> None:
    async def run() -> tuple[Service, Rows, Mapping[str, int]]:
        service, rows = Service(random.Random(1)), Rows()
        reading = Reading(service, rows)
        await reading.begin()
        for number, key in enumerate(KEYS):
            service.write(key, number)
        await reading.turn(4)
        service.write("d3", None)
        service.write("d4", 77)
        for _ in range(1 if lost == "restart" else 12):
            getattr(service, lost)()
        await reading.turn(20)
        return service, rows, reading.reader._counters

    service, rows, counters = anyio.run(run)
    assert rows.values() == service.items
    assert "d3" not in rows.values()
    assert (counters["resyncs"], counters["removed"]) == (1, 1)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_trimmed_right_after_a_gap_is_another_gap(seed: int) -> None:
    service, rows, _ = anyio.run(play, ["write", "trim", "turn", *["write"] * 3, "trim"], seed, 0.0)
    assert rows.values() == service.items
