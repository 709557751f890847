"""The SQS event source mapping: polls a queue, calls the handler, deletes what succeeded.

As AWS Lambda does: the event has the documented shape, a batch is deleted only after the handler returned, what
it names in `batchItemFailures` stays and comes again after the visibility timeout, and SQS itself moves it to
the dead-letter queue after `maxReceiveCount` receives.
"""

from collections.abc import Callable, Mapping
from typing import Any

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.abc import TaskStatus
from botocore.exceptions import BotoCoreError, ClientError

from contracts.clock import Clock
from contracts.errors import Transient
from contracts.messages import Nanoseconds
from contracts.ports import Health, State

from .aws.session import translated

Handler = Callable[[Mapping[str, Any], Any], dict[str, Any]]

BATCH = 10
"""Messages of one ReceiveMessage, AWS's own limit."""

WAIT_SECONDS = 1
"""A long poll; it bounds how long a stop has to wait for a poller."""

BACKOFF_SECONDS = 0.5
FAULTS_IN_A_ROW = 20
"""After 10 s in which nothing worked the failure is real, and the stack says so."""


class Worker:
    """One queue's pollers as a service."""

    def __init__(
        self,
        lane: str,
        *,
        sqs: Any,
        queue_url: str,
        queue_arn: str,
        handler: Handler,
        clock: Clock,
        pollers: int = 2,
    ) -> None:
        self.name = f"worker-{lane}"
        self._sqs = sqs
        self._queue_url = queue_url
        self._queue_arn = queue_arn
        self.handler = handler
        self._clock = clock
        self._pollers = pollers
        self._limiter = CapacityLimiter(pollers + 1)
        self._state: State = "starting"
        self._detail = ""
        self._last_progress: Nanoseconds = 0
        self._counters = dict.fromkeys(("received", "failed", "deleted", "retries", "crashes"), 0)

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(self._pollers):
                tasks.start_soon(self._poll_for_ever)
            self._state = "ready"
            task_status.started()

    async def drain(self) -> None:
        """Return when the queue is empty and nothing is in flight."""
        self._state = "draining"
        while await self.pending():  # noqa: ASYNC110 - the queue is another process: nothing can wake us
            await anyio.sleep(0.05)

    def health(self) -> Health:
        return Health(self.name, self._state, self._detail, self._last_progress, (), dict(self._counters))

    async def pending(self) -> int:
        """Messages of the queue, waiting or in flight, as SQS counts them."""
        return await to_thread.run_sync(
            lambda: queue_depth(self._sqs, self._queue_url), limiter=self._limiter
        )

    async def _poll_for_ever(self) -> None:
        faults = 0
        while True:
            try:
                received, failed, deleted = await to_thread.run_sync(self._cycle, limiter=self._limiter)
            except Transient as error:
                faults += 1
                if faults >= FAULTS_IN_A_ROW:
                    raise
                self._detail = f"trying again: {error}"
                self._counters["retries"] += 1
                await anyio.sleep(BACKOFF_SECONDS)
                continue
            faults, self._detail = 0, ""
            if received:
                self._last_progress = self._clock.now()
            self._counters["received"] += received
            self._counters["failed"] += failed
            self._counters["deleted"] += deleted

    @translated
    def _cycle(self) -> tuple[int, int, int]:
        """Receive, handle, delete; how many were received, failed and deleted."""
        answer = self._sqs.receive_message(
            QueueUrl=self._queue_url,
            MaxNumberOfMessages=BATCH,
            WaitTimeSeconds=WAIT_SECONDS,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages = answer.get("Messages", [])
        if not messages:
            return 0, 0, 0
        event = {"Records": [self._record(message) for message in messages]}
        failures = {one["itemIdentifier"] for one in self._handle(event)["batchItemFailures"]}
        done = [message for message in messages if message["MessageId"] not in failures]
        return len(messages), len(messages) - len(done), self._delete(done)

    def _handle(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Call the handler; what DynamoDB would not take for now stays in the queue and is tried again."""
        try:
            return self.handler(event, None)
        except TimeoutError as error:
            raise Transient(str(error), fix="the table is throttled: it is tried again") from None
        except (BotoCoreError, ClientError):
            raise  # translated by the caller
        except Exception as error:  # noqa: BLE001 - whatever a handler raises fails its batch, as on AWS Lambda
            self._counters["crashes"] += 1
            self._detail = f"the handler raised {type(error).__name__}: {error}"
            names = [record["messageId"] for record in event["Records"]]
            return {"batchItemFailures": [{"itemIdentifier": name} for name in names]}

    def _delete(self, messages: list[Mapping[str, Any]]) -> int:
        """Delete; one that could not be deleted comes again, which every write here survives."""
        if not messages:
            return 0
        entries = [
            {"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(messages)
        ]
        answer = self._sqs.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)
        return len(messages) - len(answer.get("Failed", []))

    def _record(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """A record of the event that Lambda gives a handler for SQS."""
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message.get("Attributes", {}),
            "messageAttributes": message.get("MessageAttributes", {}),
            "md5OfBody": message.get("MD5OfBody", ""),
            "eventSource": "aws:sqs",
            "eventSourceARN": self._queue_arn,
            "awsRegion": self._queue_arn.split(":")[3],
        }


@translated
def queue_depth(sqs: Any, queue_url: str) -> int:
    """Messages waiting or in flight."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
    return sum(int(attributes[name]) for name in names)
