"""The `dynamoDB` action: the result is one attribute beside the key."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from .attributes import to_attribute, typed
from .base import ActionContext, Item
from .calls import OneCallEach

_FIELDS: Final = frozenset(
    {
        "hashKeyField",
        "hashKeyValue",
        "hashKeyType",
        "rangeKeyField",
        "rangeKeyValue",
        "rangeKeyType",
        "payloadField",
        "operation",
    }
)
_OPERATIONS: Final = ("INSERT", "UPDATE", "DELETE")


class DynamodbAction(OneCallEach):
    """Writes to one table: the key from the settings, the result in the attribute `payloadField`.

    JSON results are written as maps and lists, as the guide's tutorial shows them; raw payloads as binary.
    """

    kind: ClassVar[str] = "dynamoDB"
    per_message: ClassVar[frozenset[str]] = _FIELDS

    @classmethod
    def build(cls, settings: Mapping[str, Any], context: ActionContext) -> "DynamodbAction":
        """From `{tableName, hashKeyField, hashKeyValue, ...}`. Raises ConfigError."""
        return cls(str(settings["tableName"]), context.client_of("dynamodb", cls.kind), context.limiter)

    def _send(self, item: Item) -> None:
        fields = item.fields
        key = {
            fields[f"{end}KeyField"]: _key(fields, end)
            for end in ("hash", "range")
            if f"{end}KeyField" in fields
        }
        column = fields.get("payloadField") or "payload"
        operation = fields.get("operation") or "INSERT"
        if operation not in _OPERATIONS:
            raise ValueError(f"operation '{operation}' is none of {', '.join(_OPERATIONS)}")
        client = self.client()
        if operation == "DELETE":
            client.delete_item(TableName=self.resource, Key=key)
        elif operation == "UPDATE":
            change = {column: {"Value": to_attribute(item.result), "Action": "PUT"}}
            client.update_item(TableName=self.resource, Key=key, AttributeUpdates=change)
        else:
            client.put_item(TableName=self.resource, Item={**key, column: to_attribute(item.result)})


def _key(fields: Mapping[str, Any], end: str) -> dict[str, Any]:
    return typed(str(fields[f"{end}KeyValue"]), fields.get(f"{end}KeyType") or "STRING")
