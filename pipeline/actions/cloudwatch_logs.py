"""The `cloudwatchLogs` action: bodies as events of a log group."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from anyio import CapacityLimiter

from contracts.errors import Terminal, Transient

from .base import ActionContext, Item
from .calls import TRIES, Outcome, batches, call, text_of

MAX_EVENTS: Final = 10_000
MAX_BYTES: Final = 1 << 20
"""One PutLogEvents takes at most 10,000 events of together 1 MiB, each with 26 bytes more (API reference)."""

_OVERHEAD: Final = 26
_STREAM: Final = "thingstorm"
"""The log stream. AWS names streams of its own; a reader of the group sees the events of all."""


@dataclass(frozen=True, slots=True)
class CloudwatchLogsAction:
    """Writes events to one log group. `batchMode`: elements are objects with `timestamp` and `message`."""

    group: str
    client: Callable[[], Any]
    limiter: CapacityLimiter
    batched: bool = False
    kind: ClassVar[str] = "cloudwatchLogs"
    tries: ClassVar[int] = TRIES
    per_message: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def build(cls, settings: Mapping[str, Any], context: ActionContext) -> "CloudwatchLogsAction":
        """From `{logGroupName, batchMode?}`. Raises ConfigError."""
        client = context.client_of("logs", cls.kind)
        return cls(str(settings["logGroupName"]), client, context.limiter, bool(settings.get("batchMode")))

    @property
    def name(self) -> str:
        return f"cloudwatchLogs {self.resource}"

    @property
    def resource(self) -> str:
        return self.group

    async def deliver(self, items: Sequence[Item]) -> None:
        """Raises Undelivered or Refused."""
        outcome = Outcome()
        events: dict[int, dict[str, Any]] = {}
        for index, item in enumerate(items):
            try:
                events[index] = self._event(item)
            except ValueError as error:
                outcome.refused[index] = str(error)
        sizes = ((index, len(one["message"].encode()) + _OVERHEAD) for index, one in events.items())
        for batch in batches(sizes, most=MAX_EVENTS, most_bytes=MAX_BYTES):
            given = sorted((events[index] for index in batch), key=lambda event: event["timestamp"])
            try:
                await call(lambda given=given: self._put(given), self.limiter)  # type: ignore[misc] # mypy: default
            except Transient as error:
                outcome.retry |= dict.fromkeys(batch, error.what)
            except Terminal as error:
                outcome.refused |= dict.fromkeys(batch, error.what)
        outcome.close(self.name)

    def _event(self, item: Item) -> dict[str, Any]:
        result = item.result
        if self.batched and isinstance(result, dict) and isinstance(result.get("message"), str):
            if type(result.get("timestamp")) is int:
                result["message"].encode()  # half a surrogate pair, which no event can hold: a ValueError
                return {"timestamp": result["timestamp"], "message": result["message"]}
        elif not self.batched:
            return {
                "timestamp": time.time_ns() // 1_000_000,
                "message": text_of(item, service="CloudWatch Logs"),
            }
        raise ValueError("batchMode needs objects with timestamp (milliseconds) and message (text)")

    def _put(self, events: list[dict[str, Any]]) -> None:
        client = self.client()
        with suppress(client.exceptions.ResourceAlreadyExistsException):  # the usual case
            client.create_log_stream(logGroupName=self.group, logStreamName=_STREAM)
        client.put_log_events(logGroupName=self.group, logStreamName=_STREAM, logEvents=events)
