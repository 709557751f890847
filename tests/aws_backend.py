"""What every AWS backend has to do for us: the contract that each backend's tests inherit."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import pytest
from anyio import to_thread

from contracts.clock import SystemClock
from contracts.errors import Terminal
from contracts.messages import Change
from contracts.streams import BatchStream
from pipeline.aws.archive import ObjectArchive
from pipeline.aws.provision import LANES, Resources, provision
from pipeline.aws.session import ClientFactory, translated
from pipeline.changes import ChangeReader
from pipeline.delivering.settings import settings_from
from pipeline.delivering.subscription import handler_into, subscribe
from pipeline.delivery import DeliveryStream
from pipeline.ingest import make_handler
from pipeline.worker import Worker, queue_depth
from thingstorm.runtime.supervisor import supervise

WITHIN = 45.0
"""A loaded machine takes long; nothing waits for the whole of it otherwise."""


def reading(number: int) -> dict[str, Any]:
    return {
        "device_id": f"meter-{number % 7}",
        "device_type": "meter",
        "topic": f"dt/meter/meter-{number % 7}/reading",
        "message_id": f"m{number}",
        "received_at": 1_700_000_000_000 + number,
        "payload": {"n": number},
    }


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class AwsBackendContract:
    """A subclass gives the fixture `factory`, of class scope, and says whether SNS delivers to Firehose there."""

    sns_to_firehose = False

    @pytest.fixture(scope="class")
    @classmethod
    def prefix(cls) -> str:
        return f"contract-{time.time_ns() % 10**9}"

    @pytest.fixture(scope="class")
    @classmethod
    def resources(cls, factory: ClientFactory, prefix: str) -> Resources:
        return provision(factory, prefix=prefix)

    def test_everything_is_made_once(self, factory: ClientFactory, resources: Resources, prefix: str) -> None:
        assert provision(factory, prefix=prefix) == resources
        assert set(LANES) < set(resources.queues)
        assert set(resources.tables) == {"telemetry", "devices", "device_metrics"}

    def test_a_topic_fills_its_queue_with_the_bare_message(
        self, factory: ClientFactory, resources: Resources
    ) -> None:
        sqs, url = factory.client("sqs"), resources.queues["device-events"]
        bodies = [json.dumps({"n": number, "text": "ü"}) for number in range(10)]
        answer = factory.client("sns").publish_batch(
            TopicArn=resources.sns_topics["device-events"],
            PublishBatchRequestEntries=[{"Id": str(n), "Message": body} for n, body in enumerate(bodies)],
        )
        assert (len(answer["Successful"]), answer.get("Failed", [])) == (10, [])
        seen: list[dict[str, Any]] = []

        def complete() -> bool:
            seen.extend(receive(sqs, url))
            return len(seen) >= len(bodies)

        until(complete)
        assert sorted(one["Body"] for one in seen) == sorted(bodies)
        assert {one["Attributes"]["ApproximateReceiveCount"] for one in seen} == {"1"}
        assert all(one["MD5OfBody"] for one in seen)
        for first in (0, 5):
            entries = [
                {"Id": str(n), "ReceiptHandle": one["ReceiptHandle"]}
                for n, one in enumerate(seen[first : first + 5])
            ]
            assert len(sqs.delete_message_batch(QueueUrl=url, Entries=entries)["Successful"]) == 5
        assert queue_depth(sqs, url) == 0

    def test_what_fails_five_times_goes_to_the_dead_letter_queue(
        self, factory: ClientFactory, resources: Resources
    ) -> None:
        sqs, url = factory.client("sqs"), resources.queues["device-metrics"]
        sqs.send_message(QueueUrl=url, MessageBody="poison")
        dead: list[dict[str, Any]] = []

        def redriven() -> bool:
            for one in receive(sqs, url):
                sqs.change_message_visibility(
                    QueueUrl=url, ReceiptHandle=one["ReceiptHandle"], VisibilityTimeout=0
                )
            dead.extend(receive(sqs, resources.queues["device-metrics-dlq"]))
            return bool(dead)

        until(redriven)
        assert [one["Body"] for one in dead] == ["poison"]

    def test_a_missing_resource_is_said_with_its_service(self, factory: ClientFactory) -> None:
        for service, work in (
            ("S3", lambda: factory.client("s3").put_object(Bucket="not-there-at-all", Key="x", Body=b"")),
            ("DynamoDB", lambda: factory.client("dynamodb").describe_table(TableName="not-there-at-all")),
            ("SQS", lambda: factory.client("sqs").get_queue_url(QueueName="not-there-at-all")),
        ):
            with pytest.raises(Terminal, match=f"^{service}: ") as caught:
                translated(work)()
            assert "it is not there" in caught.value.fix, caught.value.what

    @pytest.mark.anyio
    async def test_messages_go_to_the_table_and_out_of_its_stream(
        self, factory: ClientFactory, resources: Resources
    ) -> None:
        out = BatchStream[Change]("changes", capacity=1_000, max_batch=1_000)
        worker = Worker(
            "telemetry",
            sqs=factory.client("sqs"),
            queue_url=resources.queues["telemetry"],
            queue_arn=resources.queue_arns["telemetry"],
            handler=make_handler(factory.client("dynamodb"), resources.tables),
            clock=SystemClock(),
        )
        reader = ChangeReader(
            dynamodb=factory.client("dynamodb"),
            streams=factory.client("dynamodbstreams"),
            tables={"telemetry": resources.tables["telemetry"]},
            out=out,
            checkpoints=_no_checkpoints,
            keys=_no_keys,
            clock=SystemClock(),
        )
        seen: set[str] = set()

        async def take() -> None:
            while True:
                batch = await out.get()
                seen.update(str(one.key["event_id"]) for one in batch)
                out.done(batch)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)  # beyond the drain: the scan may see again what the stream brought
            async with supervise([reader, worker], drain_seconds=WITHIN):
                sns = factory.client("sns")
                entries = [{"Id": str(n), "Message": json.dumps(reading(n))} for n in range(10)]
                await to_thread.run_sync(
                    lambda: sns.publish_batch(
                        TopicArn=resources.sns_topics["telemetry"], PublishBatchRequestEntries=entries
                    )
                )
                with anyio.fail_after(WITHIN):
                    while len(seen) < len(entries):
                        await anyio.sleep(0.02)
            tasks.cancel_scope.cancel()
        assert {one.partition("-")[2] for one in seen} == {f"m{n}" for n in range(10)}

    @pytest.mark.anyio
    async def test_records_and_notifications_are_archived_and_read_back(
        self, factory: ClientFactory, resources: Resources, prefix: str
    ) -> None:
        stream = DeliveryStream(
            "archive",
            s3=factory.client("s3"),
            bucket=resources.bucket,
            clock=SystemClock(),
            settings=settings_from(resources.delivery),
        )
        url, arn = subscribe(factory, resources, "alerts", prefix=prefix)
        feed = Worker(
            "archive-alerts",
            sqs=factory.client("sqs"),
            queue_url=url,
            queue_arn=arn,
            handler=handler_into(stream),
            clock=SystemClock(),
        )
        factory.client("sns").publish(TopicArn=resources.sns_topics["alerts"], Message="told")
        async with supervise([stream, feed], drain_seconds=WITHIN):
            await stream.put([json.dumps(reading(n)).encode() + b"\n" for n in range(5)])
            with anyio.fail_after(WITHIN):
                while stream.health().buffers[0].used < 6:
                    await anyio.sleep(0.05)
        archive = ObjectArchive(factory.client("s3"), resources.bucket, resources.delivery)
        rows = [row for key in await archive.keys() for row in await archive.read(key)]
        assert sorted(str(row.get("message_id", row.get("Message"))) for row in rows) == [
            *(f"m{n}" for n in range(5)),
            "told",
        ]

    def test_the_services_own_delivery_stream_takes_records(
        self, factory: ClientFactory, resources: Resources, prefix: str
    ) -> None:
        """Its batching is poor on emulators (so ours exists), but what it took arrives."""
        firehose, s3 = factory.client("firehose"), factory.client("s3")
        arn = self.delivery_stream(firehose, resources, prefix)
        records = [{"Data": f"{number}\n".encode()} for number in range(3)]
        answer = firehose.put_record_batch(DeliveryStreamName=f"{prefix}-own", Records=records)
        assert answer["FailedPutCount"] == 0
        if self.sns_to_firehose:
            self.subscribe_delivery_stream(factory, resources, arn)
        wanted = b"0\n1\n2\n" + (b"told\n" if self.sns_to_firehose else b"")
        until(lambda: sorted(stored(s3, resources.bucket, "own/").split()) == sorted(wanted.split()))

    def delivery_stream(self, firehose: Any, resources: Resources, prefix: str) -> str:
        return str(
            firehose.create_delivery_stream(
                DeliveryStreamName=f"{prefix}-own",
                ExtendedS3DestinationConfiguration={
                    "RoleARN": "arn:aws:iam::000000000000:role/any",
                    "BucketARN": f"arn:aws:s3:::{resources.bucket}",
                    "Prefix": "own/",
                },
            )["DeliveryStreamARN"]
        )

    def subscribe_delivery_stream(self, factory: ClientFactory, resources: Resources, arn: str) -> None:
        sns, topic = factory.client("sns"), resources.sns_topics["alarms"]
        sns.subscribe(
            TopicArn=topic,
            Protocol="firehose",
            Endpoint=arn,
            Attributes={
                "SubscriptionRoleArn": "arn:aws:iam::000000000000:role/any",
                "RawMessageDelivery": "true",
            },
        )
        sns.publish(TopicArn=topic, Message="told\n")


async def _no_checkpoints() -> dict[tuple[str, str], int]:
    return {}


async def _no_keys(_table: str) -> Sequence[dict[str, str]]:
    return ()


def receive(sqs: Any, url: str) -> Sequence[dict[str, Any]]:
    found: Sequence[dict[str, Any]] = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["ApproximateReceiveCount"]
    ).get("Messages", [])
    return found


def stored(s3: Any, bucket: str, prefix: str) -> bytes:
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]
    return b"".join(s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys)
