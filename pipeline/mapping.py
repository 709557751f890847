"""An SQS event source mapping as AWS Lambda has it: its settings, the event it makes, and what an answer means. Pure.

Sources: AWS Lambda developer guide, "Using Lambda with Amazon SQS" (event, batching, scaling) and "Handling errors
for an SQS event source" (partial batch responses).
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from contracts.errors import ConfigError

Event = Mapping[str, Any]
Sqs = Mapping[str, Any]
"""A message as ReceiveMessage gives it."""

RECEIVE: Final = 10
"""Messages of one ReceiveMessage or DeleteMessageBatch, AWS's own limit."""

MAX_EVENT_BYTES: Final = 6 * 1024 * 1024
"""AWS invokes with at most 6 MB, whatever BatchSize says."""

MAX_BATCH: Final = 10_000
MAX_WINDOW: Final = 300.0


@dataclass(frozen=True, slots=True)
class EventSourceMapping:
    """Settings with AWS's meaning, in Python's spelling.

    Args:
        batch_size: BatchSize, 1 to 10,000; a FIFO queue 10 at most.
        batching_window: MaximumBatchingWindowInSeconds. 0: what is there goes at once. (On AWS a batch of more than
            10 asks for a window of 1 s at least; here without one a full receive is followed by the next.)
        maximum_concurrency: ScalingConfig.MaximumConcurrency: invocations at once.
        report_batch_item_failures: FunctionResponseTypes holds ReportBatchItemFailures.
        visibility_timeout: seconds of the queue; a third of it is the heartbeat of a batch that takes long.
        max_receives: maxReceiveCount of the queue's redrive policy; None: it has none.
        bisect_on_error: split a batch whose handler raised and call again, so that one message cannot take others to
            the dead-letter queue with it. AWS has this for streams (BisectBatchOnFunctionError), not for queues.
    """

    batch_size: int = RECEIVE
    batching_window: float = 0.0
    maximum_concurrency: int = 2
    report_batch_item_failures: bool = True
    visibility_timeout: float = 30.0
    max_receives: int | None = None
    bisect_on_error: bool = False

    def check(self, queue_arn: str) -> None:
        """Raises ConfigError for what AWS would refuse."""
        fifo = queue_arn.endswith(".fifo")
        if not 1 <= self.batch_size <= (RECEIVE if fifo else MAX_BATCH):
            raise ConfigError(
                f"BatchSize {self.batch_size} of {queue_arn}",
                fix=f"use 1 to {RECEIVE if fifo else MAX_BATCH}",
            )
        if not 0 <= self.batching_window <= MAX_WINDOW or (fifo and self.batching_window):
            raise ConfigError(
                f"MaximumBatchingWindowInSeconds {self.batching_window:g} of {queue_arn}",
                fix="a FIFO queue has no window" if fifo else f"use 0 to {MAX_WINDOW:.0f}",
            )
        if self.batching_window >= self.visibility_timeout:
            raise ConfigError(
                f"the batching window of {queue_arn} is not shorter than its visibility timeout",
                fix="raise the timeout: AWS advises the window and six times the function's timeout",
            )
        if fifo and self.bisect_on_error:
            raise ConfigError(
                f"{queue_arn} keeps an order, which a bisected batch would break",
                fix="leave bisect_on_error off for a FIFO queue",
            )
        if self.maximum_concurrency < 1:
            raise ConfigError(
                f"MaximumConcurrency {self.maximum_concurrency} of {queue_arn}", fix="use 1 or more"
            )


def event_of(messages: Sequence[Sqs], queue_arn: str) -> dict[str, Any]:
    """The event that Lambda gives a handler for these messages, in their order."""
    region = queue_arn.split(":")[3]
    return {"Records": [_record(message, queue_arn, region) for message in messages]}


def failed_of(answer: Any, identifiers: Sequence[str]) -> set[str]:
    """Which messages failed, by what the handler answered; all of them where the answer cannot be understood.

    An empty or missing list means that all succeeded. AWS takes an identifier that is null, empty or under a wrong
    key for the failure of the whole batch; so is one here that names no message of it.
    """
    if not answer:
        return set()
    if not isinstance(answer, Mapping):
        return set(identifiers)
    told = answer.get("batchItemFailures")
    if not told:
        return set()
    if not isinstance(told, list):
        return set(identifiers)
    names = {str(one.get("itemIdentifier")) if isinstance(one, Mapping) else "" for one in told}
    return names if names.issubset(identifiers) else set(identifiers)


def receives(message: Sqs) -> int:
    """How often it was received, this time included."""
    return int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1))


def size(message: Sqs) -> int:
    """Bytes of the body, as far as the limit of an event needs them."""
    return len(message["Body"])


def _record(message: Sqs, queue_arn: str, region: str) -> dict[str, Any]:
    record = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {
            name: _attribute(value) for name, value in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message.get("MD5OfBody", ""),
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": region,
    }
    if "MD5OfMessageAttributes" in message:
        record["md5OfMessageAttributes"] = message["MD5OfMessageAttributes"]
    return record


def _attribute(value: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"stringListValues": [], "binaryListValues": [], "dataType": value["DataType"]}
    if "StringValue" in value:
        told["stringValue"] = value["StringValue"]
    if "BinaryValue" in value:
        told["binaryValue"] = base64.b64encode(value["BinaryValue"]).decode()
    return told
