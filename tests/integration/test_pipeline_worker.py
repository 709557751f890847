"""The event source mapping on a real queue: batches, windows, concurrency, heartbeats, failures, order, dead letters."""

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import anyio
import boto3
import pytest
from anyio import to_thread
from conftest import Aws

from contracts.clock import SystemClock
from contracts.errors import UnknownName
from pipeline.aws import audit
from pipeline.dead_letters import DeadLetterQueue
from pipeline.ingest import make_handler, why_failed
from pipeline.mapping import EventSourceMapping
from pipeline.worker import Worker, queue_depth
from thingstorm.runtime.supervisor import supervise

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("brisk")]


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No long polls: a stop waits for the last one to end."""
    monkeypatch.setattr("pipeline.worker.WAIT_SECONDS", 0)


Handle = Callable[[Mapping[str, Any], Any], Any]


class Queue:
    """A queue with a dead-letter queue after `receives` receives, both of one test."""

    def __init__(self, aws: Aws, *, receives: int = 2, visibility: int = 0, fifo: bool = False) -> None:
        self.sqs = aws.client("sqs")
        suffix = ".fifo" if fifo else ""
        kind = {"FifoQueue": "true"} if fifo else {}
        self.dead_url = self._create(f"{aws.prefix}-own-dlq{suffix}", kind)
        redrive = {"deadLetterTargetArn": self._arn(self.dead_url), "maxReceiveCount": str(receives)}
        self.url = self._create(
            f"{aws.prefix}-own{suffix}",
            {**kind, "VisibilityTimeout": str(visibility), "RedrivePolicy": json.dumps(redrive)},
        )
        self.arn = self._arn(self.url)
        self.receives = receives
        self.dead = DeadLetterQueue(
            "telemetry", sqs=self.sqs, url=self.dead_url, source_url=self.url, explain=why_failed
        )

    def _create(self, name: str, attributes: Mapping[str, str]) -> str:
        return str(self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])

    def _arn(self, url: str) -> str:
        told = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(told["Attributes"]["QueueArn"])

    def send(self, *bodies: str, **more: Any) -> None:
        for body in bodies:
            one = {"MessageDeduplicationId": body} if "MessageGroupId" in more else {}
            self.sqs.send_message(QueueUrl=self.url, MessageBody=body, **more, **one)

    def worker(self, handler: Handle, **settings: Any) -> Worker:
        mapping = {"maximum_concurrency": 1, "max_receives": self.receives, **settings}
        return Worker(
            "own",
            sqs=self.sqs,
            queue_url=self.url,
            queue_arn=self.arn,
            handler=handler,
            clock=SystemClock(),
            mapping=EventSourceMapping(**mapping),
            dead_letters=self.dead,
        )


def bodies(event: Mapping[str, Any]) -> list[str]:
    return [record["body"] for record in event["Records"]]


class Seen:
    """A handler that remembers its batches; `bad` bodies are reported as failed."""

    def __init__(self, bad: Iterable[str] = ()) -> None:
        self.batches: list[list[str]] = []
        self._bad = set(bad)

    def __call__(self, event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
        self.batches.append(bodies(event))
        failed = [one["messageId"] for one in event["Records"] if one["body"] in self._bad]
        return {"batchItemFailures": [{"itemIdentifier": name} for name in failed]}


async def work(one: Worker, until: Callable[[], bool]) -> None:
    async with supervise([one], drain_seconds=10):
        with anyio.fail_after(15):
            while not until():
                await anyio.sleep(0.02)


async def test_a_batch_is_as_large_as_batchsize_and_waits_for_its_window(
    provisioned: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.worker.WAIT_SECONDS", 1)
    queue, seen = Queue(provisioned, visibility=30), Seen()
    queue.send(*map(str, range(25)))
    one = queue.worker(seen, batch_size=20)
    await work(one, lambda: one.health().counters["deleted"] == 25)
    assert list(map(len, seen.batches)) == [20, 5]
    late = Seen()
    one = queue.worker(late, batch_size=20, batching_window=1.0)
    async with supervise([one], drain_seconds=10):
        for number in range(3):
            queue.send(str(number))
            await anyio.sleep(0.1)
        with anyio.fail_after(10):
            while one.health().counters["deleted"] < 3:
                await anyio.sleep(0.02)
    assert late.batches == [["0", "1", "2"]], "three that came one by one make one batch"


async def test_no_more_invocations_at_once_than_maximum_concurrency(provisioned: Aws) -> None:
    queue, at_once = Queue(provisioned, visibility=30), []
    both = threading.Barrier(2, timeout=10)
    running, lock = set[int](), threading.Lock()

    def handler(event: Mapping[str, Any], _context: Any) -> None:
        with lock:
            running.add(id(event))
            at_once.append(len(running))
        both.wait()
        with lock:
            running.discard(id(event))

    queue.send("a", "b", "c", "d")
    one = queue.worker(handler, batch_size=1, maximum_concurrency=2)
    await work(one, lambda: one.health().counters["deleted"] == 4)
    assert max(at_once) == 2
    assert one.health().buffers[0].highest == 2


async def test_what_takes_longer_than_the_visibility_timeout_is_kept_invisible(provisioned: Aws) -> None:
    queue, seen = Queue(provisioned, visibility=1), Seen()

    def slow(event: Mapping[str, Any], context: Any) -> Any:
        time.sleep(1.7)
        return seen(event, context)

    queue.send("a")
    one = queue.worker(slow, visibility_timeout=1.0, maximum_concurrency=2)
    await work(one, lambda: one.health().counters["deleted"] == 1)
    assert seen.batches == [["a"]]
    assert one.health().counters["heartbeats"] >= 2


async def test_what_is_reported_as_failed_comes_again_and_ends_with_its_reason(provisioned: Aws) -> None:
    queue, seen = Queue(provisioned), Seen(bad=["bad"])
    queue.send("a", "bad", "b", MessageAttributes={"kind": {"DataType": "String", "StringValue": "x"}})
    one = queue.worker(seen)
    await work(one, lambda: one.health().counters["dead_letters"] == 1)
    assert one.health().counters["deleted"] == 2
    assert [batch for batch in seen.batches if "a" in batch] == [["a", "bad", "b"]]
    assert sum(batch.count("bad") for batch in seen.batches) == 2
    (letter,) = await to_thread.run_sync(queue.dead.letters)
    assert (letter.body, letter.receives, letter.reason) == ("bad", 2, "the handler reported it as failed")
    assert await to_thread.run_sync(queue.dead.letters) == [letter], "to look takes nothing away"
    assert await to_thread.run_sync(queue.dead.redrive, letter.message_id) == 1
    assert await to_thread.run_sync(queue.dead.letters) == []
    (back,) = queue.sqs.receive_message(QueueUrl=queue.url, MessageAttributeNames=["All"])["Messages"]
    assert (back["Body"], set(back["MessageAttributes"])) == ("bad", {"kind"})
    with pytest.raises(UnknownName, match="dead letter"):
        queue.dead.redrive("nothing-of-that-name")


async def test_without_partial_failures_an_answer_is_not_read(provisioned: Aws) -> None:
    queue, seen = Queue(provisioned), Seen(bad=["bad"])
    queue.send("a", "bad")
    one = queue.worker(seen, report_batch_item_failures=False)
    await work(one, lambda: one.health().counters["deleted"] == 2)
    assert seen.batches == [["a", "bad"]]


@pytest.mark.parametrize("bisect", [False, True])
async def test_a_crash_fails_its_batch_or_what_is_left_of_it_after_bisecting(
    provisioned: Aws, *, bisect: bool
) -> None:
    queue, handled = Queue(provisioned, receives=1), set[str]()

    def crashing(event: Mapping[str, Any], _context: Any) -> None:
        if "bad" in bodies(event):
            raise KeyError("power")
        handled.update(bodies(event))

    queue.send("a", "b", "bad", "c", "d")
    one = queue.worker(crashing, bisect_on_error=bisect)
    await work(one, lambda: queue_depth(queue.sqs, queue.url) == 0)
    letters = await to_thread.run_sync(queue.dead.letters)
    assert {letter.reason for letter in letters} == {"the handler raised KeyError: 'power'"}
    assert {letter.body for letter in letters} == ({"bad"} if bisect else {"a", "b", "bad", "c", "d"})
    assert handled == ({"a", "b", "c", "d"} if bisect else set())


async def test_a_queue_that_keeps_an_order_keeps_it_over_failures(provisioned: Aws) -> None:
    """A group waits for its first message; other groups do not wait for it."""
    queue, tries = Queue(provisioned, receives=5, visibility=1, fifo=True), list[list[str]]()

    def handler(event: Mapping[str, Any], _context: Any) -> dict[str, Any]:
        tries.append(bodies(event))
        left = event["Records"] if len(tries) == 1 else []  # a FIFO handler gives up at the first failure
        return {"batchItemFailures": [{"itemIdentifier": one["messageId"]} for one in left]}

    queue.send("a1", "a2", "a3", MessageGroupId="a")
    queue.send("b1", "b2", MessageGroupId="b")
    one = queue.worker(handler, maximum_concurrency=2)
    await work(one, lambda: one.health().counters["deleted"] == 5)
    first, *handled = [body for batch in tries for body in batch]
    assert first[1:] == "1", "whichever group came first failed whole"
    for group in ("a", "b"):
        mine = [body for body in handled if body.startswith(group)]
        last = mine[-3:] if group == "a" else mine[-2:]
        assert last == sorted(set(last))


async def test_a_poison_message_ends_alone_in_the_dead_letter_queue(provisioned: Aws) -> None:
    reasons: dict[str, str] = {}
    tables = provisioned.resources.tables
    queue = Queue(provisioned, receives=2)
    source = "arn:aws:sqs:us-east-1:000000000000:telemetry"
    handle = make_handler(provisioned.client("dynamodb"), tables, tell=reasons.__setitem__)

    def from_telemetry(event: Mapping[str, Any], context: Any) -> Any:
        records = [{**one, "eventSourceARN": source} for one in event["Records"]]
        return handle({"Records": records}, context)

    good = {"device_id": "d", "topic": "t", "received_at": 1}
    queue.send(*(json.dumps({**good, "message_id": name}) for name in "ab"), "{broken")
    one = queue.worker(from_telemetry)
    one._reasons = reasons
    await work(one, lambda: one.health().counters["dead_letters"] == 1)
    (letter,) = await to_thread.run_sync(queue.dead.letters)
    assert (letter.body, letter.reason[:23]) == ("{broken", "the body is not JSON: E")
    assert (
        one.health().counters["deleted"],
        audit.count_items(provisioned.client("dynamodb"), tables["telemetry"]),
    ) == (2, 2)
    assert reasons == {}, "what was told of a message goes with it"


async def test_a_poison_message_tells_what_is_wrong_with_it_even_where_sqs_moved_it(provisioned: Aws) -> None:
    queue = Queue(provisioned)
    queue.sqs.send_message(QueueUrl=queue.dead_url, MessageBody="{broken")
    queue.sqs.send_message(QueueUrl=queue.dead_url, MessageBody=json.dumps({"device_id": "d"}))
    letters = await to_thread.run_sync(queue.dead.letters)
    told = {letter.body[:7]: letter.reason for letter in letters}
    assert told["{broken"].startswith("the body is not JSON")
    assert "'message_id' is missing" in next(reason for body, reason in told.items() if body != "{broken")


async def test_an_item_that_the_table_will_never_take_fails_alone(provisioned: Aws) -> None:
    """A sort key of more than 1,024 bytes: BatchWriteItem refuses the whole call for it."""
    told: dict[str, str] = {}
    handle = make_handler(provisioned.client("dynamodb"), provisioned.resources.tables, tell=told.__setitem__)
    arn = provisioned.resources.queue_arns["telemetry"]
    readings = [
        {
            "device_id": "d",
            "message_id": "x" * (2_000 if n == 3 else 5) + str(n),
            "topic": "t",
            "received_at": n,
        }
        for n in range(7)
    ]
    records = [
        {"messageId": f"m{n}", "body": json.dumps(reading), "eventSourceARN": arn}
        for n, reading in enumerate(readings)
    ]
    assert handle({"Records": records}, None) == {"batchItemFailures": [{"itemIdentifier": "m3"}]}
    assert "ValidationException" in told["m3"]


class Reluctant:
    """DynamoDB as it is under load, which no emulator plays: it leaves some items of a batch unprocessed."""

    class exceptions:  # noqa: N801 - boto3's name
        ClientError = boto3.client("dynamodb", region_name="us-east-1").exceptions.ClientError
        ConditionalCheckFailedException = ClientError

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.calls = 0

    def batch_write_item(self, *, RequestItems: Mapping[str, Any]) -> dict[str, Any]:  # noqa: N803 - boto3's name
        self.calls += 1
        ((table, requests),) = RequestItems.items()
        assert len(requests) <= 25
        self.stored += [one["PutRequest"]["Item"]["message_id"]["S"] for one in requests[::2]]
        return {"UnprocessedItems": {table: requests[1::2]} if requests[1::2] else {}}

    def update_item(self, **_: Any) -> None: ...


def test_unprocessed_items_are_tried_again_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("pipeline.ingest.time.sleep", pauses.append)
    table = Reluctant()
    handle = make_handler(table, {"telemetry": "t", "devices": "d"})
    records = [
        {
            "messageId": f"m{n}",
            "body": json.dumps({"device_id": "d", "message_id": f"{n}", "topic": "t", "received_at": n}),
            "eventSourceARN": "arn:aws:sqs:us-east-1:0:telemetry",
        }
        for n in range(60)
    ]
    assert handle({"Records": records}, None) == {"batchItemFailures": []}
    assert sorted(map(int, table.stored)) == list(range(60))
    assert len(pauses) == table.calls - 3
    assert len(set(pauses)) == len(pauses), "jitter"
    assert max(pauses) > 4 * min(pauses), "growing"
