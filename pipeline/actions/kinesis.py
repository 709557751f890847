"""The `kinesis` action: records into a data stream, up to 500 to a call."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from anyio import CapacityLimiter

from contracts.errors import Terminal, Transient

from .base import ActionContext, Item
from .calls import TRIES, Outcome, batches, call

MAX_RECORDS: Final = 500
MAX_BYTES: Final = 5 << 20
"""One PutRecords takes at most 500 records of together 5 MiB (Kinesis Data Streams API reference, PutRecords)."""

MAX_KEY: Final = 256
"""Characters of a partition key."""


@dataclass(frozen=True, slots=True)
class KinesisAction:
    """Puts each body into one stream; records of one partition key keep their order."""

    stream: str
    client: Callable[[], Any]
    limiter: CapacityLimiter
    kind: ClassVar[str] = "kinesis"
    tries: ClassVar[int] = TRIES
    per_message: ClassVar[frozenset[str]] = frozenset({"partitionKey"})

    @classmethod
    def build(cls, settings: Mapping[str, Any], context: ActionContext) -> "KinesisAction":
        """From `{streamName, partitionKey?}`. Raises ConfigError."""
        return cls(str(settings["streamName"]), context.client_of("kinesis", cls.kind), context.limiter)

    @property
    def name(self) -> str:
        return f"kinesis {self.resource}"

    @property
    def resource(self) -> str:
        return self.stream

    async def deliver(self, items: Sequence[Item]) -> None:
        """One call after the other, for the order. Raises Undelivered or Refused."""
        outcome = Outcome()
        records = {index: _record(item) for index, item in enumerate(items)}
        sizes = ((index, len(one["Data"]) + len(one["PartitionKey"])) for index, one in records.items())
        for batch in batches(sizes, most=MAX_RECORDS, most_bytes=MAX_BYTES):
            await self._put({index: records[index] for index in batch}, outcome)
        outcome.close(self.name)

    async def _put(self, records: Mapping[int, dict[str, Any]], outcome: Outcome) -> None:
        given = list(records.values())
        try:
            answer = await call(
                lambda: self.client().put_records(StreamName=self.stream, Records=given), self.limiter
            )
        except Transient as error:
            outcome.retry |= dict.fromkeys(records, error.what)
            return
        except Terminal as error:
            outcome.refused |= dict.fromkeys(records, error.what)
            return
        for index, told in zip(records, answer["Records"], strict=True):
            if told.get("ErrorCode"):
                outcome.retry[index] = f"{told['ErrorCode']}: {told.get('ErrorMessage', '')}"


def _record(item: Item) -> dict[str, Any]:
    """Without a partition key each record goes to any shard."""
    key = str(item.fields.get("partitionKey") or uuid.uuid4())
    return {"Data": item.body, "PartitionKey": key[:MAX_KEY]}
