"""The dead-letter queue of a lane: what lies in it and why, and the way back. Blocking: call from a thread.

What the worker buries carries the reason as message attributes, under the names that Lambda uses for the dead-letter
queue of a function (`ErrorMessage`, `RequestID`). What SQS moved by itself has none: then the handler's own reading of
the message tells what is wrong with it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.errors import UnknownName

from .actions.calls import batches
from .actions.sqs import MAX_BYTES
from .aws.session import translated
from .mapping import RECEIVE, Sqs, receives

REASON_BYTES = 1_024
"""Lambda keeps the first KB of an error message."""

LOOK_SECONDS = 20
"""How long messages that were only looked at stay invisible at most; given back at once after the look."""

MAX_ATTRIBUTES = 10
"""AWS's own limit for a message."""

_OURS = ("ErrorMessage", "SourceMessageId", "SourceQueueArn", "ReceiveCount")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message of a dead-letter queue. `at` is when it was first sent or buried, in milliseconds."""

    lane: str
    message_id: str
    at: int
    receives: int
    reason: str
    body: str


class DeadLetterQueue:
    """One dead-letter queue: buries, lists, gives back."""

    def __init__(
        self,
        lane: str,
        *,
        sqs: Any,
        url: str,
        source_url: str,
        explain: Callable[[str, str], str] | None = None,
    ) -> None:
        """`explain(lane, body)` is asked for the reason of messages that carry none; empty: it knows none."""
        self._lane = lane
        self._sqs = sqs
        self._url = url
        self._source_url = source_url
        self._explain = explain or (lambda _lane, _body: "")

    def bury(self, messages: Sequence[tuple[Sqs, str]], source_arn: str) -> list[Sqs]:
        """Send them here with their reasons. Those that were taken, which the caller deletes from the queue.

        Whatever was not taken stays in its queue, where SQS's own redrive policy finds it.
        """
        entries = [
            _burial(str(n), message, reason, source_arn) for n, (message, reason) in enumerate(messages)
        ]
        left: set[str] = set()
        sizes = ((n, _bytes(entry)) for n, entry in enumerate(entries))
        for batch in batches(sizes, most=RECEIVE, most_bytes=MAX_BYTES):
            given = [entries[n] for n in batch]
            answer = self._sqs.send_message_batch(QueueUrl=self._url, Entries=given)
            left |= {failed["Id"] for failed in answer.get("Failed", [])}
        return [message for n, (message, _) in enumerate(messages) if str(n) not in left]

    @translated
    def letters(self) -> list[DeadLetter]:
        """Everything in the queue, oldest first; it stays there."""
        found = list(self._looked_at())
        return sorted((self._letter(message) for message in found), key=lambda one: one.at)

    @translated
    def redrive(self, message_id: str | None = None) -> int:
        """Put one message, or all, back into the lane's queue, without what was noted on them; how many.

        Raises UnknownName for an id that is not here.
        """
        found = list(self._looked_at(keep=True))
        chosen = [one for one in found if message_id in (None, self._letter(one).message_id)]
        try:
            for message in chosen:
                self._send_back(message)
        finally:
            self._release([one for one in found if one not in chosen])
        if message_id is not None and not chosen:
            raise UnknownName("dead letter", message_id, [self._letter(one).message_id for one in found][:5])
        return len(chosen)

    def _send_back(self, message: Sqs) -> None:
        attributes = {
            name: value for name, value in message.get("MessageAttributes", {}).items() if name not in _OURS
        }
        system = message.get("Attributes", {})
        group = {
            name: system[name] for name in ("MessageGroupId", "MessageDeduplicationId") if name in system
        }
        if "MessageDeduplicationId" in group:
            # the same identifier within five minutes would be taken for a duplicate and dropped
            group["MessageDeduplicationId"] = f"{group['MessageDeduplicationId'][:90]}-redriven"
        self._sqs.send_message(
            QueueUrl=self._source_url, MessageBody=message["Body"], MessageAttributes=attributes, **group
        )
        self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])

    def _looked_at(self, *, keep: bool = False) -> Iterator[Sqs]:
        """Receive everything once, then make it visible again (with `keep`: the caller does)."""
        seen: dict[str, Sqs] = {}
        try:
            while True:
                answer = self._sqs.receive_message(
                    QueueUrl=self._url,
                    MaxNumberOfMessages=RECEIVE,
                    VisibilityTimeout=LOOK_SECONDS,
                    MessageSystemAttributeNames=["All"],
                    MessageAttributeNames=["All"],
                )
                fresh = [one for one in answer.get("Messages", []) if one["MessageId"] not in seen]
                if not fresh:
                    break
                seen |= {one["MessageId"]: one for one in fresh}
            yield from seen.values()
        finally:
            if not keep:
                self._release(list(seen.values()))

    def _release(self, messages: Sequence[Sqs]) -> None:
        for message in messages:
            self._sqs.change_message_visibility(
                QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )

    def _letter(self, message: Sqs) -> DeadLetter:
        told: Mapping[str, Any] = message.get("MessageAttributes", {})
        reason = told.get("ErrorMessage", {}).get("StringValue") or self._explain(self._lane, message["Body"])
        return DeadLetter(
            lane=self._lane,
            message_id=told.get("SourceMessageId", {}).get("StringValue") or message["MessageId"],
            at=int(message.get("Attributes", {}).get("SentTimestamp", 0)),
            receives=int(told.get("ReceiveCount", {}).get("StringValue", 0)),
            reason=reason or "none was recorded: its receives ran out while its worker was dying",
            body=message["Body"],
        )


def _bytes(entry: Mapping[str, Any]) -> int:
    """What SQS counts of a message: its body, and names, types and values of its attributes."""
    attributes: Mapping[str, Mapping[str, Any]] = entry["MessageAttributes"]
    texts = [
        entry["MessageBody"],
        *attributes,
        *(part for one in attributes.values() for part in one.values()),
    ]
    return sum(len(text) if isinstance(text, bytes) else len(str(text).encode()) for text in texts)


def _burial(entry_id: str, message: Sqs, reason: str, source_arn: str) -> dict[str, Any]:
    ours = {
        "ErrorMessage": _text(reason.encode()[:REASON_BYTES].decode(errors="ignore") or "unknown"),
        "SourceMessageId": _text(message["MessageId"]),
        "SourceQueueArn": _text(source_arn),
        "ReceiveCount": {"DataType": "Number", "StringValue": str(receives(message))},
    }
    theirs = list(message.get("MessageAttributes", {}).items())[: MAX_ATTRIBUTES - len(ours)]
    entry = {"Id": entry_id, "MessageBody": message["Body"], "MessageAttributes": {**dict(theirs), **ours}}
    system = message.get("Attributes", {})
    if "MessageGroupId" in system:
        entry["MessageGroupId"] = system["MessageGroupId"]
        entry["MessageDeduplicationId"] = message["MessageId"]
    return entry


def _text(value: str) -> dict[str, str]:
    return {"DataType": "String", "StringValue": value}
