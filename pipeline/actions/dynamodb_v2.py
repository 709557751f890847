"""The `dynamoDBv2` action: each attribute of the result is an attribute of the item."""

from collections.abc import Mapping
from typing import Any, ClassVar

from .attributes import to_attribute
from .base import ActionContext, Item
from .calls import OneCallEach


class DynamodbV2Action(OneCallEach):
    """Puts each result, which must be an object, into one table."""

    kind: ClassVar[str] = "dynamoDBv2"

    @classmethod
    def build(cls, settings: Mapping[str, Any], context: ActionContext) -> "DynamodbV2Action":
        """From `{putItem: {tableName}}`. Raises ConfigError."""
        return cls(
            str(settings["putItem"]["tableName"]), context.client_of("dynamodb", cls.kind), context.limiter
        )

    def _send(self, item: Item) -> None:
        if not isinstance(item.result, dict):
            raise ValueError("dynamoDBv2 needs an object: select named attributes")  # noqa: TRY004 - a body, no bug
        attributes = {name: to_attribute(value) for name, value in item.result.items()}
        self.client().put_item(TableName=self.resource, Item=attributes)
