"""SNS to SQS to handler to DynamoDB to changes, and the archive, on the real emulator."""

import gzip
import json
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from alert_samples import an_alert
from anyio import to_thread
from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError
from conftest import Aws

from analytics.alerting.templates import template
from contracts.clock import SystemClock
from contracts.errors import Terminal
from contracts.journal import Journal, JournalFault
from contracts.messages import Change
from contracts.streams import BatchStream
from pipeline.aws import audit
from pipeline.aws.alerts import FindingObjects, SnsAlerts
from pipeline.aws.archive import ObjectArchive
from pipeline.aws.provision import LANES, provision
from pipeline.aws.session import ClientFactory
from pipeline.changes import ChangeReader
from pipeline.delivering.settings import settings_from
from pipeline.delivery import DeliveryStream
from pipeline.ingest import make_handler
from pipeline.worker import Worker, queue_depth
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio


def reading(number: int, **values: Any) -> dict[str, Any]:
    return {
        "device_id": f"d{number % 7}",
        "message_id": f"m{number}",
        "topic": "dt/x/t",
        "received_at": 1_700_000_000_000 + number,
        "payload": {"n": number},
        **values,
    }


def worker(aws: Aws, lane: str = "telemetry", **options: Any) -> Worker:
    return Worker(
        lane,
        sqs=aws.client("sqs"),
        queue_url=aws.resources.queues[lane],
        queue_arn=aws.resources.queue_arns[lane],
        handler=make_handler(aws.client("dynamodb"), aws.resources.tables),
        clock=SystemClock(),
        **options,
    )


def publish(aws: Aws, bodies: list[Any], lane: str = "telemetry") -> None:
    for first in range(0, len(bodies), 10):
        entries = [
            {"Id": str(n), "Message": body if isinstance(body, str) else json.dumps(body)}
            for n, body in enumerate(bodies[first : first + 10])
        ]
        answer = aws.client("sns").publish_batch(
            TopicArn=aws.resources.sns_topics[lane], PublishBatchRequestEntries=entries
        )
        assert not answer.get("Failed")


def device_item(aws: Aws, device_id: str) -> dict[str, Any]:
    answer = aws.client("dynamodb").get_item(
        TableName=aws.resources.tables["devices"], Key={"device_id": {"S": device_id}}
    )
    return dict(answer["Item"])


def reader(
    aws: Aws,
    out: BatchStream[Change],
    checkpoints: dict[tuple[str, str], int] | None = None,
    keys: Sequence[dict[str, str]] = (),
    **options: Any,
) -> ChangeReader:
    """`checkpoints` and `keys` are what the view has already."""

    async def known() -> dict[tuple[str, str], int]:
        return checkpoints or {}

    async def rows(_table: str) -> Sequence[dict[str, str]]:
        return keys

    return ChangeReader(
        dynamodb=aws.client("dynamodb"),
        streams=aws.client("dynamodbstreams"),
        tables={"telemetry": aws.resources.tables["telemetry"]},
        out=out,
        checkpoints=known,
        keys=rows,
        clock=SystemClock(),
        **options,
    )


async def take(out: BatchStream[Change], count: int, *, scanned: bool = False) -> list[Change]:
    taken: list[Change] = []
    with anyio.fail_after(15):
        while len(taken) < count:
            batch = await out.get()
            out.done(batch)
            taken += batch if scanned else [change for change in batch if change.sequence]
    return taken


def test_provisioning_twice_gives_the_same(provisioned: Aws) -> None:
    assert provision(provisioned.factory, prefix=provisioned.prefix) == provisioned.resources
    sqs, sns = provisioned.client("sqs"), provisioned.client("sns")
    for lane in LANES:
        attributes = sqs.get_queue_attributes(
            QueueUrl=provisioned.resources.queues[lane], AttributeNames=["RedrivePolicy"]
        )["Attributes"]
        redrive = json.loads(attributes["RedrivePolicy"])
        assert redrive["deadLetterTargetArn"] == provisioned.resources.queue_arns[f"{lane}-dlq"]
        (subscription,) = sns.list_subscriptions_by_topic(TopicArn=provisioned.resources.sns_topics[lane])[
            "Subscriptions"
        ]
        told = sns.get_subscription_attributes(SubscriptionArn=subscription["SubscriptionArn"])["Attributes"]
        assert told["RawMessageDelivery"] == "true"
    for table in provisioned.resources.tables.values():
        described = provisioned.client("dynamodb").describe_table(TableName=table)["Table"]
        assert described["StreamSpecification"]["StreamViewType"] == "NEW_AND_OLD_IMAGES"


async def test_every_message_is_stored_once_and_arrives_as_one_change(provisioned: Aws) -> None:
    out = BatchStream[Change]("changes", capacity=1000)
    async with supervise([reader(provisioned, out), worker(provisioned)], drain_seconds=20):
        await to_thread.run_sync(publish, provisioned, [reading(n) for n in range(250)])
        await to_thread.run_sync(publish, provisioned, [reading(n) for n in range(50)])  # delivered twice
        changes = await take(out, 250)
    stored = audit.count_items(provisioned.client("dynamodb"), provisioned.resources.tables["telemetry"])
    assert stored == 250
    inserted = [change for change in changes if change.kind == "INSERT"]
    assert sorted(str(change.new["message_id"]) for change in inserted if change.new) == sorted(
        f"m{n}" for n in range(250)
    )
    by_device: dict[str, list[int]] = {}
    for change in changes:
        by_device.setdefault(str(change.key["device_id"]), []).append(change.sequence)
    assert all(sequences == sorted(sequences) for sequences in by_device.values())


@pytest.mark.parametrize("newer_first", [False, True])
async def test_an_older_event_never_overwrites_a_newer_one(provisioned: Aws, *, newer_first: bool) -> None:
    older = {"clientId": "d", "timestamp": 1_000, "eventType": "connected", "sessionIdentifier": "old"}
    newer = {"clientId": "d", "timestamp": 2_000, "eventType": "disconnected", "sessionIdentifier": "new"}
    async with supervise([worker(provisioned, "device-events")], drain_seconds=20):
        for body in (newer, older) if newer_first else (older, newer):
            await to_thread.run_sync(publish, provisioned, [body], "device-events")
            url = provisioned.resources.queues["device-events"]
            with anyio.fail_after(10):
                while await to_thread.run_sync(queue_depth, provisioned.client("sqs"), url):
                    await anyio.sleep(0.05)
    item = device_item(provisioned, "d")
    assert (item["session_id"], item["connected"]) == ({"S": "new"}, {"BOOL": False})


@asynccontextmanager
async def in_trouble(aws: Aws, dynamodb: Any, *words: str, **tables: str) -> AsyncIterator[None]:
    """A message whose handler fails with these words. It waits, and is stored once the body of this has mended the cause."""
    waiting = Worker(
        "telemetry",
        sqs=aws.client("sqs"),
        queue_url=aws.resources.queues["telemetry"],
        queue_arn=aws.resources.queue_arns["telemetry"],
        handler=make_handler(dynamodb, {**aws.resources.tables, **tables}),
        clock=SystemClock(),
    )
    publish(aws, [reading(1)])
    async with supervise([waiting], drain_seconds=10):
        with anyio.fail_after(10):
            while not waiting.health().detail:
                await anyio.sleep(0.02)
        detail = waiting.health().detail
        assert all(word in detail for word in (*words, "fix: ")), detail
        assert await waiting.pending() == 1
        yield
        with anyio.fail_after(10):
            while not waiting.health().counters["deleted"]:
                await anyio.sleep(0.02)
        assert (waiting.health().state, waiting.health().detail) == ("ready", "")
        assert waiting.health().counters["dead_letters"] == waiting.health().counters["failed"] == 0
    table = tables.get("telemetry", aws.resources.tables["telemetry"])
    assert audit.count_items(aws.client("dynamodb"), table) == 1


def like_telemetry(aws: Aws, name: str) -> None:
    table = aws.client("dynamodb").describe_table(TableName=aws.resources.tables["telemetry"])["Table"]
    aws.client("dynamodb").create_table(
        TableName=name,
        KeySchema=table["KeySchema"],
        AttributeDefinitions=table["AttributeDefinitions"],
        BillingMode="PAY_PER_REQUEST",
    )


async def test_a_missing_table_is_said_and_its_messages_wait_until_it_is_there(provisioned: Aws) -> None:
    name, dynamodb = f"{provisioned.prefix}-late", provisioned.client("dynamodb")
    said = ("DynamoDB: BatchWriteItem failed: ResourceNotFoundException", "make it with `thingstorm deploy`")
    async with in_trouble(provisioned, dynamodb, *said, telemetry=name):
        like_telemetry(provisioned, name)


@pytest.mark.parametrize("key", ["id", "device_id"])
async def test_a_table_that_got_other_keys_is_said_and_its_messages_wait(provisioned: Aws, key: str) -> None:
    name, dynamodb = f"{provisioned.prefix}-odd", provisioned.client("dynamodb")
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "N"}],
        BillingMode="PAY_PER_REQUEST",
    )
    said = ("DynamoDB: BatchWriteItem failed: ValidationException", "shape of pipeline/aws/template.yaml")
    async with in_trouble(provisioned, dynamodb, *said, telemetry=name):
        dynamodb.delete_table(TableName=name)
        like_telemetry(provisioned, name)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ExpiredTokenException", ("DynamoDB: ", "ExpiredTokenException", "fix: check the credentials")),
        ("AccessDeniedException", ("DynamoDB: ", "AccessDeniedException", "fix: allow it in the policy")),
        ("", ("AWS cannot be reached", "fix: see that the service at that address runs")),
    ],
)
async def test_credentials_that_expire_and_a_service_that_goes_are_said_and_messages_wait(
    provisioned: Aws, endpoint: str, code: str, said: tuple[str, ...]
) -> None:
    """The real answers, put in by botocore's own hook: no emulator looks at credentials."""
    client = ClientFactory(backend="embedded", endpoint=endpoint).client("dynamodb")
    away = [True]

    def answer(request: Any, **_: Any) -> AWSResponse | None:
        if not away:
            return None
        if not code:
            raise EndpointConnectionError(endpoint_url=request.url)
        body = json.dumps({"__type": f"com.amazon.coral.service#{code}", "message": "no"}).encode()
        return AWSResponse(request.url, 400, {}, SimpleNamespace(stream=lambda: iter([body])))

    client.meta.events.register("before-send.dynamodb", answer)
    with closing(client):
        async with in_trouble(provisioned, client, *said):
            away.clear()


async def test_what_an_emulator_forgot_is_made_again_and_nobody_ends(provisioned: Aws) -> None:
    """As after a restart of the emulator in a container: queues, topics and tables are gone."""

    def mend() -> None:
        provision(provisioned.factory, prefix=provisioned.prefix)

    out = BatchStream[Change]("changes", capacity=100)
    applied: dict[tuple[str, str], int] = {}
    services = [reader(provisioned, out, applied, mend=mend), worker(provisioned, mend=mend)]
    async with supervise(services, drain_seconds=10):
        publish(provisioned, [reading(1)])
        (first,) = await take(out, 1)
        applied["telemetry", first.shard] = first.sequence
        resources = provisioned.resources
        provisioned.client("sqs").delete_queue(QueueUrl=resources.queues["telemetry"])
        provisioned.client("dynamodb").delete_table(TableName=resources.tables["telemetry"])
        with anyio.fail_after(10):
            while not any(service.health().counters["retries"] for service in services):
                await anyio.sleep(0.02)
        await to_thread.run_sync(mend)  # the topic's queue is there again, whoever made it
        publish(provisioned, [reading(2)])
        inserted = [one.new for one in await take(out, 1) if one.kind == "INSERT" and one.new is not None]
    # a scan and the stream may both tell a row, of the old table too: the view takes the second for the first
    assert "m2" in {new["message_id"] for new in inserted}


async def test_a_table_that_takes_nothing_for_now_is_tried_again(provisioned: Aws) -> None:
    handle = make_handler(provisioned.client("dynamodb"), provisioned.resources.tables)
    refused: list[object] = []

    def reluctant(event: Mapping[str, Any], context: object) -> dict[str, Any]:
        if not refused:
            refused.append(event)
            raise TimeoutError("25 items of telemetry are still unprocessed")
        return handle(event, context)

    provisioned.client("sqs").set_queue_attributes(
        QueueUrl=provisioned.resources.queues["telemetry"], Attributes={"VisibilityTimeout": "1"}
    )
    patient = Worker(
        "telemetry",
        sqs=provisioned.client("sqs"),
        queue_url=provisioned.resources.queues["telemetry"],
        queue_arn=provisioned.resources.queue_arns["telemetry"],
        handler=reluctant,
        clock=SystemClock(),
    )
    publish(provisioned, [reading(1)])
    async with supervise([patient], drain_seconds=10):
        with anyio.fail_after(10):
            while not patient.health().counters["deleted"]:
                await anyio.sleep(0.05)
    assert patient.health().counters["retries"] == 1
    assert audit.count_items(provisioned.client("dynamodb"), provisioned.resources.tables["telemetry"]) == 1


YEARS = 20 * 365 * 86_400
"""Readings are of 2023: DynamoDB, and the emulator every so often, deletes what has expired."""


async def test_a_reader_scans_what_is_there_and_resumes_from_its_checkpoint(provisioned: Aws) -> None:
    handle = make_handler(provisioned.client("dynamodb"), provisioned.resources.tables, keep_seconds=YEARS)
    arn = provisioned.resources.queue_arns["telemetry"]

    def store(*numbers: int) -> None:
        records = [{"messageId": "x", "body": json.dumps(reading(n)), "eventSourceARN": arn} for n in numbers]
        assert handle({"Records": records}, None) == {"batchItemFailures": []}

    store(1, 2)
    first = BatchStream[Change]("first", capacity=100)
    async with supervise([reader(provisioned, first)], drain_seconds=5):
        seen = await take(first, 4, scanned=True)  # two of the scan, the same two of the stream
    assert sorted(change.sequence > 0 for change in seen) == [False, False, True, True]
    shard = next(change.shard for change in seen if change.shard)
    store(3)
    again = BatchStream[Change]("again", capacity=100)
    known = {("telemetry", shard): max(change.sequence for change in seen)}
    async with supervise([reader(provisioned, again, known)], drain_seconds=5):
        (change,) = await take(again, 1)
    assert change.new is not None
    assert change.new["message_id"] == "m3"
    stored = provisioned.client("dynamodb").scan(TableName=provisioned.resources.tables["telemetry"])["Items"]
    assert {item["expires_at"]["N"] for item in stored} == {str(1_700_000_000 + YEARS)}
    assert not [
        one for one in (*seen, change) if one.new and "expires_at" in one.new
    ]  # the table's own affair


async def test_what_the_stream_has_forgotten_is_scanned_for(provisioned: Aws) -> None:
    handle = make_handler(provisioned.client("dynamodb"), provisioned.resources.tables)
    arn = provisioned.resources.queue_arns["telemetry"]
    records = [{"messageId": "x", "body": json.dumps(reading(n)), "eventSourceARN": arn} for n in (1, 2)]
    assert handle({"Records": records}, None) == {"batchItemFailures": []}
    first = BatchStream[Change]("first", capacity=100)
    async with supervise([reader(provisioned, first)], drain_seconds=5):
        seen = await take(first, 2)
    oldest = min(change.sequence for change in seen)
    again = BatchStream[Change]("again", capacity=100)
    stale = {"device_id": "d9", "event_id": "deleted meanwhile"}
    keys = [
        stale,
        *({"device_id": str(c.key["device_id"]), "event_id": str(c.key["event_id"])} for c in seen),
    ]
    behind = reader(provisioned, again, {("telemetry", seen[0].shard): oldest - 10}, keys)
    async with supervise([behind], drain_seconds=5):
        changes = await take(again, 5, scanned=True)
    assert behind.health().counters["resyncs"] == 1
    scanned, (gone,), streamed = changes[:2], changes[2:3], changes[3:]
    assert {change.new["message_id"] for change in scanned if change.new} == {"m1", "m2"}
    assert (gone.kind, gone.key) == ("REMOVE", stale)
    assert {change.sequence for change in (*scanned, gone)} == {0}
    assert sorted(change.sequence for change in streamed) == sorted(change.sequence for change in seen)


def delivery(
    aws: Aws, *, buffer_bytes: int = 5 * 1024 * 1024, buffer_seconds: float = 60, **options: Any
) -> DeliveryStream:
    settings = replace(
        settings_from(aws.resources.delivery), buffer_bytes=buffer_bytes, buffer_seconds=buffer_seconds
    )
    return DeliveryStream(
        "archive",
        s3=aws.client("s3"),
        bucket=aws.resources.bucket,
        clock=SystemClock(),
        settings=settings,
        **options,
    )


def objects(aws: Aws) -> dict[str, list[Any]]:
    s3, bucket = aws.client("s3"), aws.resources.bucket
    listed = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
    bodies = {entry["Key"]: s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read() for entry in listed}
    return {
        key: [json.loads(line) for line in gzip.decompress(body).splitlines()] for key, body in bodies.items()
    }


async def test_records_are_archived_by_size_by_time_and_at_the_stop(provisioned: Aws) -> None:
    stream = delivery(provisioned, buffer_bytes=200, buffer_seconds=0.5)
    async with supervise([stream], drain_seconds=10):
        await stream.put([b'{"n": %d}\n' % n for n in range(100, 130)])
        with anyio.fail_after(5):
            while stream.health().counters["objects"] < 1:
                await anyio.sleep(0.02)
        await stream.put([b'{"n": 2}\n'])
        with anyio.fail_after(5):
            while stream.health().counters["objects"] < 2:
                await anyio.sleep(0.02)
        await stream.put([b'{"n": 3}\n'])
    found = objects(provisioned)
    assert len(found) == 3
    assert sum(map(len, found.values())) == 32
    moment = time.strftime("year=%Y/month=%m/day=%d/hour=%H", time.gmtime())
    assert all(
        re.fullmatch(rf"telemetry/{moment}/archive-1-[\d-]+-[0-9a-f-]+\.ndjson\.gz", key) for key in found
    )
    archive = ObjectArchive(
        provisioned.client("s3"), provisioned.resources.bucket, provisioned.resources.delivery
    )
    assert audit.count_archive(archive) == 32


async def test_what_a_killed_process_had_taken_the_next_one_delivers(
    provisioned: Aws, tmp_path: Path
) -> None:
    path = tmp_path / "archive"
    killed = Journal(path)
    stream = delivery(provisioned, buffer_seconds=60, journal=killed)
    await stream.put([b'{"n": 1}\n', b'{"n": 2}\n'])
    killed.close()
    stream = delivery(provisioned, buffer_seconds=0.1, journal=Journal(path))
    async with supervise([stream], drain_seconds=10):
        await stream.put([b'{"n": 3}\n'])
    assert [row["n"] for rows in objects(provisioned).values() for row in rows] == [1, 2, 3]
    left = Journal(path)
    assert len(left) == 0
    left.close()


async def test_records_the_disk_refuses_are_not_taken(provisioned: Aws, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "archive")
    journal._database.execute("PRAGMA max_page_count = 4")
    stream = delivery(provisioned, journal=journal)
    with pytest.raises(JournalFault, match="full"):
        await stream.put([b"x" * 100_000])
    assert stream.health().buffers[0].used == 0
    journal.close()


async def test_a_full_buffer_makes_the_sender_wait(provisioned: Aws) -> None:
    stream = delivery(provisioned, capacity=10, buffer_seconds=60)
    await stream.put([b"1\n"] * 10)
    with anyio.move_on_after(0.1) as scope:
        await stream.put([b"2\n"])
    assert scope.cancelled_caught
    await stream.flush()
    await stream.put([b"2\n"])
    assert stream.health().buffers[0].used == 1


async def test_a_missing_bucket_is_said_and_keeps_the_records(provisioned: Aws) -> None:
    stream = DeliveryStream(
        "archive", s3=provisioned.client("s3"), bucket="not-there-at-all", clock=SystemClock()
    )
    await stream.put([b"1\n"])
    with pytest.raises(Terminal, match="PutObject"):
        await stream.flush()
    assert stream.health().buffers[0].used == 1


async def test_the_security_team_receives_the_alert(provisioned: Aws) -> None:
    alert = an_alert(devices=1)
    sns, topic = provisioned.client("sns"), provisioned.resources.sns_topics["alerts"]
    channel = SnsAlerts(sns=sns, sns_topic_arn=topic, render=template("thingstorm", product_version="0"))
    await channel.deliver(alert.alert_id, channel.render(alert))
    received = audit.receive_all(provisioned.client("sqs"), provisioned.resources.queues["security-team"])
    assert len(received) == 1
    told = json.loads(received[0]["Message"]) if "Message" in received[0] else received[0]
    incident = alert.incident
    assert (told["incident_id"], told["devices"]) == (incident.incident_id, list(incident.devices))
    assert (told["summary"], told["happened"]) == (incident.verdict.summary, "opened")
    assert told["opened_at"] == "2026-01-05T08:00:35.000+00:00"


async def test_a_finding_is_an_object_beside_the_archive(provisioned: Aws) -> None:
    s3, resources, alert = provisioned.client("s3"), provisioned.resources, an_alert()
    archive = ObjectArchive(s3, resources.bucket, resources.delivery)
    before = archive.keys_now()
    channel = FindingObjects(s3=s3, bucket=resources.bucket, render=template("ocsf", product_version="0"))
    await channel.deliver(alert.alert_id, channel.render(alert))
    key = f"findings/2026/01/05/{alert.alert_id}.json"
    body = s3.get_object(Bucket=resources.bucket, Key=key)["Body"].read()
    assert json.loads(body)["class_uid"] == 2004
    assert archive.keys_now() == before, "a finding is no record of the archive"
