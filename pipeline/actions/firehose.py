"""The `firehose` action: records into a delivery stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from contracts.errors import UnknownName

from .base import ActionContext, Item, RecordSink


@dataclass(frozen=True, slots=True)
class FirehoseAction:
    """Puts each body, with the separator behind it, into one delivery stream."""

    stream_name: str
    stream: RecordSink
    separator: bytes = b""
    kind: ClassVar[str] = "firehose"
    tries: ClassVar[int] = 0
    per_message: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def build(cls, settings: Mapping[str, Any], context: ActionContext) -> "FirehoseAction":
        """From `{deliveryStreamName, separator?, batchMode?}`. Raises UnknownName."""
        name = str(settings["deliveryStreamName"])
        if name not in context.streams:
            raise UnknownName("delivery stream", name, context.streams)
        separator = (settings.get("separator") or "").encode()
        return cls(name, context.streams[name], separator)

    @property
    def name(self) -> str:
        return f"firehose {self.stream_name}"

    @property
    def resource(self) -> str:
        return self.stream_name

    async def deliver(self, items: Sequence[Item]) -> None:
        """All or none. Raises what the delivery stream raises."""
        separator = self.separator
        await self.stream.put([item.body + separator for item in items])
