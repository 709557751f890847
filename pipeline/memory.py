"""Queues and tables in memory, with the semantics that the path relies on: what the direct path runs on.

They know what our own handler and rules use of SQS and DynamoDB, and nothing else.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from contracts.messages import SECOND, Change, Json, Nanoseconds

from .items import plain_item

ChangeKind: TypeAlias = Literal["INSERT", "MODIFY", "REMOVE"]

MAX_RECEIVES = 5
VISIBILITY: Nanoseconds = 2 * SECOND
"""Shorter than the 30 s of the real queues: a scenario of three minutes should see the second try."""

KEYS: Mapping[str, tuple[str, ...]] = {
    "telemetry": ("device_id", "event_id"),
    "devices": ("device_id",),
    "device_metrics": ("device_id", "period_start"),
}


@dataclass(slots=True)
class Queued:
    """A message of a queue; invisible until `visible_at`, received so many times."""

    message_id: str
    body: str
    visible_at: Nanoseconds = 0
    receives: int = 0


@dataclass(slots=True)
class MemoryQueue:
    """A queue with a visibility timeout and a dead-letter queue after MAX_RECEIVES, as SQS has them."""

    lane: str
    dead_letters: list[Queued] = field(default_factory=list)
    sent: int = 0
    _ready: deque[Queued] = field(default_factory=deque)
    _hidden: dict[str, Queued] = field(default_factory=dict)

    def send(self, body: str) -> None:
        self.sent += 1
        self._ready.append(Queued(f"{self.lane}-{self.sent}", body))

    def receive(self, now: Nanoseconds, count: int) -> list[Queued]:
        """At most so many that are visible; they are invisible now. What came too often is a dead letter instead."""
        self._show(now)
        taken: list[Queued] = []
        while self._ready and len(taken) < count:
            one = self._ready.popleft()
            if one.receives >= MAX_RECEIVES:
                self.dead_letters.append(one)
                continue
            one.receives += 1
            one.visible_at = now + VISIBILITY
            self._hidden[one.message_id] = one
            taken.append(one)
        return taken

    def delete(self, message_id: str) -> None:
        self._hidden.pop(message_id, None)

    def put_back(self, batch: list[Queued]) -> None:
        """As if they had not been received: whoever took them is still trying."""
        for one in reversed(batch):
            del self._hidden[one.message_id]
            one.receives -= 1
            self._ready.appendleft(one)

    def pending(self) -> int:
        """Messages waiting or in flight."""
        return len(self._ready) + len(self._hidden)

    def _show(self, now: Nanoseconds) -> None:
        due = [one for one in self._hidden.values() if one.visible_at <= now]
        for one in due:
            del self._hidden[one.message_id]
            self._ready.append(one)


class ClientError(Exception):
    """botocore's base of what a service says; tables in memory never raise it."""

    response: Mapping[str, Any] = {"Error": {"Code": ""}}


class ConditionalCheckFailedException(ClientError):
    """The condition of an update does not hold."""


class _Exceptions:
    ClientError = ClientError
    ConditionalCheckFailedException = ConditionalCheckFailedException


class MemoryTables:
    """The three tables behind the two calls that the handler makes; every write leaves a change.

    `sequence` grows with every write, as the numbers of one shard do.
    """

    exceptions = _Exceptions

    def __init__(self) -> None:
        self._items: dict[str, dict[tuple[Any, ...], dict[str, Json]]] = {name: {} for name in KEYS}
        self._changes: list[Change] = []
        self._sequence = 0

    def count(self, table: str) -> int:
        return len(self._items[table])

    def take_changes(self) -> list[Change]:
        """What was written since the last call, oldest first."""
        taken, self._changes = self._changes, []
        return taken

    def batch_write_item(self, *, RequestItems: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N803 - boto3's name
        for table, requests in RequestItems.items():
            for request in requests:
                self._put(table, plain_item(request["PutRequest"]["Item"]))
        return {}

    def update_item(
        self,
        *,
        TableName: str,  # noqa: N803 - boto3's names
        Key: Mapping[str, Any],  # noqa: N803
        ExpressionAttributeNames: Mapping[str, str],  # noqa: N803
        ExpressionAttributeValues: Mapping[str, Any],  # noqa: N803
        ConditionExpression: str,  # noqa: N803
        **_expression: str,
    ) -> None:
        """Sets `#n` to `:n`, unless the attribute of the condition holds something greater."""
        key = plain_item(Key)
        values = plain_item({name: ExpressionAttributeValues[f":{place[1:]}"] for place, name in
                             ExpressionAttributeNames.items()})  # fmt: skip
        guard = ExpressionAttributeNames[ConditionExpression.partition("(")[2].partition(")")[0]]
        before = self._items[TableName].get(self._key(TableName, key), {})
        if guard in before and before[guard] > values[guard]:
            raise ConditionalCheckFailedException
        self._put(TableName, {**before, **key, **values})

    def _put(self, table: str, item: dict[str, Json]) -> None:
        key = self._key(table, item)
        before = self._items[table].get(key)
        if before == item:
            return  # a stream has no record of a write that changes nothing
        self._items[table][key] = item
        self._sequence += 1
        named = {name: item[name] for name in KEYS[table]}
        kind: ChangeKind = "INSERT" if before is None else "MODIFY"
        self._changes.append(Change(kind, table, named, item, before, self._sequence))

    def _key(self, table: str, item: Mapping[str, Json]) -> tuple[Any, ...]:
        return tuple(item[name] for name in KEYS[table])
