"""The SQS event source mapping: polls a queue, calls the handler, deletes what succeeded.

As AWS Lambda does: the event has the documented shape, a batch is deleted only after the handler returned, what
it names in `batchItemFailures` stays and comes again after the visibility timeout. After `maxReceiveCount` receives
the message goes to the dead-letter queue: moved from here with the reason of its last failure, or by SQS itself,
without one, where this process died before it could.
"""

import time
import uuid
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.abc import TaskStatus
from botocore.exceptions import BotoCoreError, ClientError

from contracts.clock import Clock
from contracts.errors import BackendError, Transient
from contracts.measures import Spreading
from contracts.messages import SECOND, Nanoseconds
from contracts.ports import Gauge, Health, State
from contracts.trail import Trail

from .aws.session import translated
from .dead_letters import DeadLetterQueue
from .mapping import (
    MAX_EVENT_BYTES,
    RECEIVE,
    Event,
    EventSourceMapping,
    Sqs,
    event_of,
    failed_of,
    receives,
    size,
)
from .patience import Patience

Handler = Callable[[Event, Any], Any]

WAIT_SECONDS = 1
"""A long poll; it bounds how long a stop has to wait for a poller."""

BEATS = 3
"""Heartbeats within one visibility timeout: two may be lost."""


@dataclass(frozen=True, slots=True)
class Context:
    """What Lambda gives a handler beside the event, as far as handlers read it."""

    function_name: str
    invoked_function_arn: str
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    function_version: str = "$LATEST"
    memory_limit_in_mb: str = "128"

    def get_remaining_time_in_millis(self) -> int:
        """Always as much as Lambda allows at most: nobody here ends a handler."""
        return 900_000


@dataclass(slots=True)
class _Outcome:
    """What became of a batch."""

    deleted: int = 0
    failed: int = 0
    dead: int = 0
    crashes: int = 0
    detail: str = ""


class Worker:
    """One queue's event source mapping as a service.

    `reasons` is where the handler tells why a message failed, by message id; the worker takes them out again.
    """

    def __init__(
        self,
        lane: str,
        *,
        sqs: Any,
        queue_url: str,
        queue_arn: str,
        handler: Handler,
        clock: Clock,
        mapping: EventSourceMapping | None = None,
        dead_letters: DeadLetterQueue | None = None,
        reasons: MutableMapping[str, str] | None = None,
        trail: Trail | None = None,
        mend: Callable[[], object] | None = None,
    ) -> None:
        """`mend` makes again what an emulator has forgotten. Raises ConfigError for a mapping that AWS would refuse."""
        self.name = f"worker-{lane}"
        self._sqs = sqs
        self._queue_url = queue_url
        self._queue_arn = queue_arn
        self.handler = handler
        self._clock = clock
        self.mapping = mapping or EventSourceMapping()
        self.mapping.check(queue_arn)
        self._dead_letters = dead_letters
        self._reasons = {} if reasons is None else reasons
        self._lane = lane
        self._trail = trail or Trail(capacity=0)
        self._limiter = CapacityLimiter(self.mapping.maximum_concurrency + 2)
        self._patience = Patience(self._limiter, mend=mend)
        self._held: dict[int, tuple[Nanoseconds, Sequence[Sqs]]] = {}
        self._most_held = 0
        self._state: State = "starting"
        self._detail = ""
        self._last_progress: Nanoseconds = 0
        counters = (
            "received",
            "failed",
            "deleted",
            "dead_letters",
            "retries",
            "crashes",
            "batches",
            "heartbeats",
        )
        self._counters = dict.fromkeys(counters, 0)
        labels = {"queue": lane}
        self._waited = Spreading(
            "queue_wait_seconds", "How long a message lay in the queue before a batch took it.", labels=labels
        )
        self._handled = Spreading("handling_seconds", "How long a batch took in the handler.", labels=labels)

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(self.mapping.maximum_concurrency):
                tasks.start_soon(self._poll_for_ever, number)
            tasks.start_soon(self._beat_for_ever)
            self._state = "ready"
            task_status.started()

    async def drain(self) -> None:
        """Return when the queue is empty and nothing is in flight."""
        self._state = "draining"
        while await self.pending():  # noqa: ASYNC110 - the queue is another process: nothing can wake us
            await anyio.sleep(0.05)

    def health(self) -> Health:
        most = self.mapping.maximum_concurrency * self.mapping.batch_size
        gauge = Gauge(f"{self.name}.in_flight", self._in_flight(), most, self._most_held)
        return Health(
            self.name,
            self._patience.state(self._state),
            self._patience.detail or self._detail,
            self._last_progress,
            (gauge,),
            {**self._counters, "retries": self._counters["retries"] + self._patience.retries},
            spreads=(self._waited.spread(), self._handled.spread()),
        )

    async def pending(self) -> int:
        """Messages of the queue, waiting or in flight, as SQS counts them."""
        return await self._patience.run(queue_depth, self._sqs, self._queue_url)

    async def _poll_for_ever(self, number: int) -> None:
        while True:
            if messages := await self._patience.run(self._gather):
                await self._invoke(number, messages)

    async def _invoke(self, number: int, messages: list[Sqs]) -> None:
        """Handle a batch and settle every message of it; held until the services let us, so that heartbeats reach it."""
        self._held[number] = (self._clock.now(), messages)
        self._most_held = max(self._most_held, self._in_flight())
        self._counters["received"] += len(messages)
        self._counters["batches"] += 1
        self._waited.add_all(_waits(messages, self._clock.now()))
        began = self._clock.now()
        bodies = [message["Body"] for message in messages]
        self._trail.note("received", self._clock.now(), bodies, self._lane)
        try:
            outcome = await self._patience.run(self._handle_and_settle, messages)
        finally:
            del self._held[number]
            self._handled.add((self._clock.now() - began) / SECOND)
        self._trail.note(
            "handled", self._clock.now(), bodies, f"{outcome.failed} failed" if outcome.failed else ""
        )
        self._counters["failed"] += outcome.failed
        self._counters["deleted"] += outcome.deleted
        self._counters["dead_letters"] += outcome.dead
        self._counters["crashes"] += outcome.crashes
        self._detail = outcome.detail
        self._last_progress = self._clock.now()

    @translated
    def _gather(self) -> list[Sqs]:
        """A batch: full, or what came until the window was over (without a window: what is there)."""
        messages = self._receive(self.mapping.batch_size, WAIT_SECONDS)
        window = self.mapping.batching_window
        latest = self._clock.now() + int(window * SECOND)
        full = len(messages) == RECEIVE
        while messages and self._has_room(messages) and (window or full):
            left = (latest - self._clock.now()) / SECOND
            if left >= WAIT_SECONDS:
                messages += self._receive(self.mapping.batch_size - len(messages), WAIT_SECONDS)
                continue
            # the rest of the window is less than the shortest long poll: what it brings is fetched at its end
            time.sleep(max(0.0, left))
            more = self._receive(self.mapping.batch_size - len(messages), 0)
            messages += more
            window, full = 0.0, len(more) == RECEIVE
        return messages

    def _has_room(self, messages: Sequence[Sqs]) -> bool:
        return len(messages) < self.mapping.batch_size and sum(map(size, messages)) < MAX_EVENT_BYTES

    def _receive(self, most: int, wait: int) -> list[Sqs]:
        answer = self._sqs.receive_message(
            QueueUrl=self._queue_url,
            MaxNumberOfMessages=min(most, RECEIVE),
            WaitTimeSeconds=wait,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return list(answer.get("Messages", []))

    @translated
    def _handle_and_settle(self, messages: list[Sqs]) -> _Outcome:
        outcome = _Outcome()
        failed = self._handle(messages, outcome)
        done = [message for message in messages if message["MessageId"] not in failed]
        bury = [message for message in messages if message["MessageId"] in failed and self._was_last(message)]
        if bury and self._dead_letters is not None:
            buried = self._dead_letters.bury(
                [(message, failed[message["MessageId"]]) for message in bury], self._queue_arn
            )
            outcome.dead = len(buried)
            done += buried
        outcome.failed = len(failed)
        outcome.deleted = self._delete(done) - outcome.dead
        return outcome

    def _was_last(self, message: Sqs) -> bool:
        most = self.mapping.max_receives
        return self._dead_letters is not None and most is not None and receives(message) >= most

    def _handle(self, messages: list[Sqs], outcome: _Outcome) -> dict[str, str]:
        """Call the handler: which messages failed, and why. Raises Transient where the table is throttled."""
        names = [message["MessageId"] for message in messages]
        context = Context(self.name, self._queue_arn)
        try:
            answer = self.handler(event_of(messages, self._queue_arn), context)
        except TimeoutError as error:
            raise Transient(str(error), fix="the table is throttled: it is tried again") from None
        except (BotoCoreError, ClientError):
            raise  # translated by the caller
        except Exception as error:  # noqa: BLE001 - whatever a handler raises fails its batch, as on AWS Lambda
            return self._crashed(messages, f"the handler raised {type(error).__name__}: {error}", outcome)
        told = {name: self._reasons.pop(name) for name in names if name in self._reasons}
        if not self.mapping.report_batch_item_failures:
            return {}
        failed = failed_of(answer, names)
        return {name: told.get(name, "the handler reported it as failed") for name in names if name in failed}

    def _crashed(self, messages: list[Sqs], what: str, outcome: _Outcome) -> dict[str, str]:
        outcome.crashes += 1
        outcome.detail = what
        if self.mapping.bisect_on_error and len(messages) > 1:
            middle = len(messages) // 2
            return self._handle(messages[:middle], outcome) | self._handle(messages[middle:], outcome)
        return {message["MessageId"]: what for message in messages}

    def _delete(self, messages: Sequence[Sqs]) -> int:
        """Delete; one that could not be deleted comes again, which every write here survives."""
        deleted = 0
        for first in range(0, len(messages), RECEIVE):
            entries = _entries(messages[first : first + RECEIVE])
            answer = self._sqs.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)
            deleted += len(entries) - len(answer.get("Failed", []))
        return deleted

    def _in_flight(self) -> int:
        return sum(len(messages) for _, messages in self._held.values())

    async def _beat_for_ever(self) -> None:
        """Keep invisible what is still being handled, so that nobody else gets it meanwhile."""
        every = self.mapping.visibility_timeout / BEATS
        while True:
            await anyio.sleep(every / 2)
            now = self._clock.now()
            for number, (since, messages) in list(self._held.items()):
                if now - since >= every * SECOND:
                    self._held[number] = (now, messages)
                    await self._beat(messages)

    async def _beat(self, messages: Sequence[Sqs]) -> None:
        try:
            await to_thread.run_sync(self._extend, messages, limiter=self._limiter)
            self._counters["heartbeats"] += len(messages)
        except BackendError:
            self._counters["retries"] += 1  # the next beat is in time still

    @translated
    def _extend(self, messages: Sequence[Sqs]) -> None:
        timeout = max(1, round(self.mapping.visibility_timeout))
        for first in range(0, len(messages), RECEIVE):
            entries = [
                {**entry, "VisibilityTimeout": timeout}
                for entry in _entries(messages[first : first + RECEIVE])
            ]
            self._sqs.change_message_visibility_batch(QueueUrl=self._queue_url, Entries=entries)


def _waits(messages: Sequence[Sqs], now: Nanoseconds) -> list[float]:
    """Seconds since each was sent, where SQS says when; one that comes again counts from its first time."""
    sent = [message.get("Attributes", {}).get("SentTimestamp", "") for message in messages]
    return [now / SECOND - int(one) / 1000 for one in sent if one.isdigit()]


def _entries(messages: Sequence[Sqs]) -> list[dict[str, Any]]:
    return [{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(messages)]


@translated
def queue_depth(sqs: Any, queue_url: str) -> int:
    """Messages waiting or in flight."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
    return sum(int(attributes[name]) for name in names)
