"""The `sqs` action: bodies to a queue, ten to a call."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import anyio
from anyio import CapacityLimiter

from contracts.errors import Terminal, Transient

from ..aws.session import RETRYABLE
from .base import ActionContext, Item
from .calls import AT_ONCE, TRIES, Outcome, batches, call, text_of

MAX_ENTRIES: Final = 10
MAX_BYTES: Final = 256 * 1024
"""One SendMessageBatch takes at most 10 messages of together 256 KiB (as measured on the emulator; AWS raised it)."""


@dataclass(frozen=True, slots=True)
class SqsAction:
    """Sends to one standard queue; with `useBase64` the body is base64 of what the rule selected."""

    queue: str
    client: Callable[[], Any]
    limiter: CapacityLimiter
    base64: bool = False
    kind: ClassVar[str] = "sqs"
    tries: ClassVar[int] = TRIES
    per_message: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def build(cls, settings: Mapping[str, Any], context: ActionContext) -> "SqsAction":
        """From `{queueUrl, useBase64?}`; queueUrl may be the plain name of a queue. Raises ConfigError."""
        client = context.client_of("sqs", cls.kind)
        return cls(str(settings["queueUrl"]), client, context.limiter, base64=bool(settings.get("useBase64")))

    @property
    def name(self) -> str:
        return f"sqs {self.resource}"

    @property
    def resource(self) -> str:
        return self.queue

    async def deliver(self, items: Sequence[Item]) -> None:
        """Raises Undelivered or Refused."""
        outcome = Outcome()
        entries: dict[int, str] = {}
        for index, item in enumerate(items):
            try:
                entries[index] = self._text(item)
            except ValueError as error:
                outcome.refused[index] = str(error)
        sizes = ((index, len(text)) for index, text in entries.items())
        places = anyio.Semaphore(AT_ONCE)

        async def send(batch: list[int]) -> None:
            async with places:
                await self._send({index: entries[index] for index in batch}, outcome)

        async with anyio.create_task_group() as group:
            for batch in batches(sizes, most=MAX_ENTRIES, most_bytes=MAX_BYTES):
                group.start_soon(send, batch)
        outcome.close(self.name)

    def _text(self, item: Item) -> str:
        text = base64.b64encode(item.body).decode() if self.base64 else text_of(item, service="SQS")
        if not text or len(text.encode()) > MAX_BYTES:
            raise ValueError(f"SQS takes no message of {len(text)} characters")
        return text

    async def _send(self, texts: Mapping[int, str], outcome: Outcome) -> None:
        entries = [{"Id": str(index), "MessageBody": text} for index, text in texts.items()]
        try:
            answer = await call(lambda: self._call(entries), self.limiter)
        except Transient as error:
            outcome.retry |= dict.fromkeys(texts, error.what)
            return
        except Terminal as error:
            outcome.refused |= dict.fromkeys(texts, error.what)
            return
        for failed in answer.get("Failed", []):
            again = not failed.get("SenderFault") or failed.get("Code") in RETRYABLE
            reason = f"{failed.get('Code')}: {failed.get('Message', '')}"
            (outcome.retry if again else outcome.refused)[int(failed["Id"])] = reason

    def _call(self, entries: list[dict[str, str]]) -> Any:
        client = self.client()
        url = self.queue if "://" in self.queue else client.get_queue_url(QueueName=self.queue)["QueueUrl"]
        return client.send_message_batch(QueueUrl=url, Entries=entries)
