"""The delivery stream as a service, over the emulator's S3: limits, back-pressure, and what it does when S3 refuses."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from conftest import Aws
from ports import free_port

from contracts.clock import SystemClock
from contracts.errors import ConfigError, Terminal, UnknownName
from contracts.journal import Journal
from pipeline.delivering.batch import MAX_RECORD_BYTES
from pipeline.delivering.objects import read_object
from pipeline.delivering.settings import Settings, settings_from
from pipeline.delivering.subscription import handler_into, subscribe
from pipeline.delivery import DeliveryStream
from pipeline.worker import Worker
from thingstorm.config import Config
from thingstorm.runtime.stages import serve_stage
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio


def stream(aws: Aws, settings: Settings | None = None, *, bucket: str = "", **options: Any) -> DeliveryStream:
    return DeliveryStream(
        "s",
        s3=aws.client("s3"),
        bucket=bucket or aws.resources.bucket,
        clock=SystemClock(),
        settings=settings or settings_from({"Prefix": "t/"}),
        **options,
    )


def stored(aws: Aws) -> dict[str, bytes]:
    s3, bucket = aws.client("s3"), aws.resources.bucket
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
    return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


async def test_put_record_batch_answers_for_each_record(provisioned: Aws) -> None:
    one = stream(provisioned, capacity=3)
    outcome = await one.put_record_batch([b"a", b"b", b"c", b"d"])
    answer = outcome.response()
    assert answer["FailedPutCount"] == outcome.failed == 1
    assert [sorted(entry) for entry in answer["RequestResponses"]] == [["RecordId"]] * 3 + [
        ["ErrorCode", "ErrorMessage"]
    ]
    assert answer["RequestResponses"][3]["ErrorCode"] == "ServiceUnavailableException"
    await one.flush()
    assert (await one.put_record_batch([b"d"])).failed == 0
    await one.flush()
    assert sorted(stored(provisioned).values()) == [b"abc", b"d"]


@pytest.mark.parametrize(
    ("records", "match"),
    [
        ([], "0 records"),
        ([b"x"] * 501, "501 records"),
        ([b"x" * (MAX_RECORD_BYTES + 1)], "a record of 1024001 bytes"),
        ([b"x" * 1_000_000] * 5, "a batch of 5000000 bytes"),
    ],
)
async def test_a_request_beyond_the_limits_is_refused_whole(
    provisioned: Aws, records: list[bytes], match: str
) -> None:
    one = stream(provisioned)
    with pytest.raises(ConfigError, match=match):
        await one.put_record_batch(records)
    assert one.health().buffers[0].used == 0


async def test_the_buffer_is_bounded_in_bytes(provisioned: Aws) -> None:
    one = stream(provisioned, capacity_bytes=100)
    assert (await one.put_record_batch([b"x" * 60] * 3)).failed == 1
    with anyio.move_on_after(0.1) as scope:
        await one.put([b"y"])
    assert scope.cancelled_caught
    await one.flush()
    await one.put([b"y"])
    gauge = one.health().buffers[1]
    assert (gauge.used, gauge.capacity) == (1, 100)


async def test_a_backlog_becomes_objects_of_the_buffers_size(provisioned: Aws) -> None:
    one = stream(provisioned, replace(settings_from({}), buffer_bytes=100))
    await one.put([b"x" * 40] * 10)
    await one.flush()
    assert sorted(len(body) for body in stored(provisioned).values()) == [40, 120, 120, 120]


async def test_what_is_refused_for_good_waits_for_its_mend(provisioned: Aws, unique: str) -> None:
    """No bucket: said by name with its mend, nothing dropped, and delivered once the bucket is there."""
    bucket = f"{unique}-late"
    one = stream(provisioned, replace(settings_from({}), buffer_seconds=0), bucket=bucket)
    async with supervise([one], drain_seconds=10):
        await one.put([b"kept"])
        with anyio.fail_after(5):
            while one.health().state != "failed":
                await anyio.sleep(0.02)
        detail = one.health().detail
        assert "S3: PutObject failed: NoSuchBucket" in detail
        assert "fix: it is not there: make it with `thingstorm deploy`" in detail
        assert one.health().buffers[0].used == 1
        provisioned.client("s3").create_bucket(Bucket=bucket)
        with anyio.fail_after(10):
            while one.health().counters["objects"] < 1:
                await anyio.sleep(0.02)
        assert one.health().state == "ready"
    s3 = provisioned.client("s3")
    (entry,) = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read() == b"kept"


async def test_a_stop_while_s3_refuses_says_so_and_the_journal_keeps_the_records(
    provisioned: Aws, tmp_path: Path
) -> None:
    one = stream(provisioned, bucket="not-there-at-all", journal=Journal(tmp_path / "j"))
    with pytest.raises(Terminal, match="NoSuchBucket"):
        async with supervise([one], drain_seconds=5):
            await one.put([b"kept"])
    mended = stream(provisioned, journal=Journal(tmp_path / "j"))
    async with supervise([mended], drain_seconds=5):
        pass
    assert list(stored(provisioned).values()) == [b"kept"]


async def test_partitions_and_errors_are_objects_of_their_own(provisioned: Aws) -> None:
    extraction = {"ParameterName": "MetadataExtractionQuery", "ParameterValue": "{kind: .kind}"}
    settings = settings_from(
        {
            "Prefix": "!{partitionKeyFromQuery:kind}/",
            "ErrorOutputPrefix": "errors/!{firehose:error-output-type}/",
            "CompressionFormat": "ZSTD",
            "DynamicPartitioningConfiguration": {"Enabled": True},
            "ProcessingConfiguration": {
                "Enabled": True,
                "Processors": [
                    {"Type": "MetadataExtraction", "Parameters": [extraction]},
                    {"Type": "AppendDelimiterToRecord", "Parameters": []},
                ],
            },
        }
    )
    one = stream(provisioned, settings)
    await one.put([b'{"kind":"a","n":1}', b'{"kind":"b","n":2}', b"rubbish", b'{"kind":"a","n":3}'])
    await one.flush()
    found = stored(provisioned)
    rows = {key.split("/")[0]: read_object(key, body) for key, body in found.items()}
    assert [row["n"] for row in rows["a"]] == [1, 3]
    assert [row["n"] for row in rows["b"]] == [2]
    assert rows["errors"][0]["errorCode"].endswith("MetadataExtractionFailed")
    counters = one.health().counters
    assert (counters["records"], counters["objects"], counters["failed"]) == (4, 2, 1)


async def test_an_sns_subscription_brings_notifications_each_a_line_without_its_signature(
    provisioned: Aws,
) -> None:
    resources = provisioned.resources
    for _ in range(2):  # again at each start
        url, arn = subscribe(provisioned.factory, resources, "alerts", prefix=provisioned.prefix)
    one = stream(provisioned)
    feed = Worker(
        "archive-alerts",
        sqs=provisioned.client("sqs"),
        queue_url=url,
        queue_arn=arn,
        handler=handler_into(one),
        clock=SystemClock(),
    )
    for text in ("first", "second"):
        provisioned.client("sns").publish(TopicArn=resources.sns_topics["alerts"], Subject="s", Message=text)
    async with supervise([one, feed], drain_seconds=10):
        with anyio.fail_after(10):
            while one.health().buffers[0].used < 2:
                await anyio.sleep(0.02)
    rows = [row for key, body in stored(provisioned).items() for row in read_object(key, body)]
    assert sorted(str(row["Message"]) for row in rows) == ["first", "second"]
    assert {row["TopicArn"] for row in rows} == {resources.sns_topics["alerts"]}
    assert not {name for row in rows for name in row if name.startswith("Sign")}
    with pytest.raises(UnknownName, match="alarts"):
        subscribe(provisioned.factory, resources, "alarts", prefix=provisioned.prefix)


async def test_a_stage_that_runs_the_delivery_stream_alone_is_fed_from_its_topics(
    provisioned: Aws, tmp_path: Path
) -> None:
    """What is published while nobody runs it waits for its next start."""
    config = Config.model_validate(
        {
            "aws": {"endpoint": provisioned.client("sns").meta.endpoint_url, "prefix": provisioned.prefix},
            "pipeline": {"parts": ["delivery"], "archive_topics": ["alerts"], "archive_seconds": 0.1},
            "stages": {"token": "t", "data": tmp_path, "pipeline": f"http://127.0.0.1:{free_port()}"},
        }
    )

    def publish(text: str) -> None:
        topic = provisioned.resources.sns_topics["alerts"]
        provisioned.client("sns").publish(TopicArn=topic, Message=text)

    async def archived(text: str) -> None:
        with anyio.fail_after(15):
            while not any(text in str(read_object(*one)) for one in stored(provisioned).items()):
                await anyio.sleep(0.05)

    told: list[str] = []
    for text in ("first", "second"):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(serve_stage, "pipeline", config, None, tell=told.append))
            with anyio.fail_after(15):
                while not any("is up" in line for line in told):
                    await anyio.sleep(0.02)
            if text == "first":
                publish(text)
            await archived(text)
            tasks.cancel_scope.cancel()
        if text == "first":
            publish("second")
    assert not [line for line in told if "error" in line]
