"""The `sns` action: bodies to an sns_topic, ten to a call."""

import functools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import anyio
from anyio import CapacityLimiter

from contracts.errors import ConfigError, Misconfigured, Terminal, Transient, UnknownName

from ..aws.session import RETRYABLE
from .base import ActionContext, Item
from .calls import AT_ONCE, Outcome, batches, call

if TYPE_CHECKING:  # the stubs are a development dependency
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sns.type_defs import PublishBatchRequestEntryTypeDef, PublishBatchResponseTypeDef

MAX_ENTRIES: Final = 10
MAX_BYTES: Final = 256 * 1024
"""One PublishBatch takes at most 10 messages of together 256 KiB (Amazon SNS API reference, PublishBatch)."""

_TRIES: Final = 3
_PAUSE: Final = 0.05
"""Seconds before the second try, at most; doubles each time. After about 0.2 s the router takes over."""

_Entry = tuple[int, str]


@dataclass(frozen=True, slots=True)
class SnsAction:
    """Publishes to one sns_topic. `json`: bodies are SNS JSON messages, one text for each protocol.

    `ours`: the topic carries a lane of the path. Where nobody may publish to it, or it is gone, its messages wait for
    the mend; with a topic of somebody's own rule they are refused, as on AWS, and hold up nothing.
    """

    arn: str
    client: "SNSClient"
    limiter: CapacityLimiter
    json: bool = False
    ours: bool = False
    kind: ClassVar[str] = "sns"
    tries: ClassVar[int] = 0
    per_message: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def build(cls, settings: Mapping[str, Any], context: ActionContext) -> "SnsAction":
        """From `{targetArn, messageFormat?}`; targetArn may be a plain name. Raises ConfigError, UnknownName."""
        if context.sns is None:
            raise ConfigError("an sns action, but no SNS client", fix="give the actions an SNS client")
        target = str(settings["targetArn"])
        if not target.startswith("arn:"):
            if target not in context.topics:
                raise UnknownName("sns_topic", target, context.topics)
            target = context.topics[target]
        return cls(
            target,
            context.sns,
            context.limiter,
            json=settings.get("messageFormat") == "JSON",
            ours=target in context.topics.values(),
        )

    @property
    def name(self) -> str:
        return f"sns {self.resource}"

    @property
    def resource(self) -> str:
        return self.arn

    async def deliver(self, items: Sequence[Item]) -> None:
        """Publish them; those that fail for a moment are tried three times. Raises Undelivered or Refused."""
        outcome = Outcome()
        calls = anyio.Semaphore(AT_ONCE)
        entries = _batches(_texts(items, outcome))
        if len(entries) == 1:
            await self._publish(entries[0], outcome, calls)
        else:
            async with anyio.create_task_group() as group:
                for batch in entries:
                    group.start_soon(self._publish, batch, outcome, calls)
        outcome.close(self.name)

    async def _publish(self, batch: list[_Entry], outcome: Outcome, calls: anyio.Semaphore) -> None:
        async with calls:
            for attempt in range(1, _TRIES + 1):
                left = await self._try(batch, outcome)
                if not left:
                    return
                batch = [entry for entry in batch if entry[0] in left]
                if attempt < _TRIES:
                    await anyio.sleep(random.uniform(0, _PAUSE * 2**attempt))  # noqa: S311 - jitter
            outcome.retry.update(left)

    async def _try(self, batch: list[_Entry], outcome: Outcome) -> dict[int, str]:
        """One call. Returns what to try again, with the reason."""
        try:
            response = await self._call(batch)
        except Transient as error:
            return dict.fromkeys((index for index, _ in batch), error.told)
        except Terminal as error:
            if self.ours and isinstance(error, Misconfigured):
                return dict.fromkeys((index for index, _ in batch), error.told)
            return await self._refuse(batch, error, outcome)
        left: dict[int, str] = {}
        for failed in response.get("Failed", []):
            reason = f"{failed.get('Code')}: {failed.get('Message', '')}"
            again = not failed.get("SenderFault") or failed.get("Code") in RETRYABLE
            (left if again else outcome.refused)[int(failed["Id"])] = reason
        return left

    async def _refuse(self, batch: list[_Entry], error: Terminal, outcome: Outcome) -> dict[int, str]:
        """A refused call: one bad body must not take the others with it, so each gets a call of its own."""
        if len(batch) == 1:
            outcome.refused[batch[0][0]] = error.what
            return {}
        left: dict[int, str] = {}
        for entry in batch:
            left |= await self._try([entry], outcome)
        return left

    async def _call(self, batch: list[_Entry]) -> "PublishBatchResponseTypeDef":
        entries: list[PublishBatchRequestEntryTypeDef] = [
            {"Id": str(index), "Message": text} for index, text in batch
        ]
        if self.json:
            for entry in entries:
                entry["MessageStructure"] = "json"
        publish = functools.partial(
            self.client.publish_batch, TopicArn=self.arn, PublishBatchRequestEntries=entries
        )
        return await call(publish, self.limiter)


def _texts(items: Sequence[Item], outcome: Outcome) -> list[_Entry]:
    """The bodies that SNS can take: not empty, UTF-8, at most 256 KiB."""
    entries: list[_Entry] = []
    for index, (body, *_) in enumerate(items):
        try:
            text = body.decode()
        except UnicodeDecodeError:
            outcome.refused[index] = "binary payload: SNS takes text, select encode(*, 'base64')"
            continue
        if text and len(body) <= MAX_BYTES:
            entries.append((index, text))
        else:
            outcome.refused[index] = f"InvalidParameter: message of {len(body)} bytes"
    return entries


def _batches(entries: list[_Entry]) -> list[list[_Entry]]:
    """As few calls as the limits of PublishBatch allow, in order."""
    sizes = ((position, len(text.encode())) for position, (_, text) in enumerate(entries))
    made = batches(sizes, most=MAX_ENTRIES, most_bytes=MAX_BYTES)
    return [[entries[position] for position in batch] for batch in made]
