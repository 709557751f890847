"""The `dynamoDBv2` action: each attribute of the result is an attribute of the item."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from anyio import CapacityLimiter

from .attributes import to_attribute
from .base import ActionContext, Item
from .calls import TRIES, deliver_each


@dataclass(frozen=True, slots=True)
class DynamodbV2Action:
    """Puts each result, which must be an object, into one table."""

    table: str
    client: Callable[[], Any]
    limiter: CapacityLimiter
    kind: ClassVar[str] = "dynamoDBv2"
    tries: ClassVar[int] = TRIES
    per_message: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def build(cls, settings: Mapping[str, Any], context: ActionContext) -> "DynamodbV2Action":
        """From `{putItem: {tableName}}`. Raises ConfigError."""
        return cls(
            str(settings["putItem"]["tableName"]), context.client_of("dynamodb", cls.kind), context.limiter
        )

    @property
    def name(self) -> str:
        return f"{self.kind} {self.resource}"

    @property
    def resource(self) -> str:
        return self.table

    async def deliver(self, items: Sequence[Item]) -> None:
        """One call an item. Raises Undelivered or Refused."""
        await deliver_each(self.name, items, self._send, self.limiter)

    def _send(self, item: Item) -> None:
        if not isinstance(item.result, dict):
            raise ValueError("dynamoDBv2 needs an object: select named attributes")  # noqa: TRY004 - a body, no bug
        attributes = {name: to_attribute(value) for name, value in item.result.items()}
        self.client().put_item(TableName=self.table, Item=attributes)
