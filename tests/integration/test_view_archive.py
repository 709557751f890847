"""`SELECT ... FROM archive`: objects that the real delivery stream wrote to the emulator's S3, in the real view."""

import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from conftest import Aws

from analytics.view.duckdb import DuckDBView
from contracts.clock import SystemClock
from contracts.errors import ConfigError, Terminal
from contracts.messages import Change
from pipeline.aws.archive import ObjectArchive
from pipeline.delivering.settings import settings_from
from pipeline.delivery import DeliveryStream
from pipeline.ingest import plan
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio


def archive(aws: Aws) -> ObjectArchive:
    return ObjectArchive(aws.client("s3"), aws.resources.bucket, aws.resources.delivery)


@asynccontextmanager
async def a_view(aws: Aws, path: Path | None = None) -> AsyncIterator[DuckDBView]:
    view = DuckDBView(path, archive=archive(aws))
    async with supervise([view], drain_seconds=10):
        yield view


async def write(aws: Aws, numbers: Sequence[int], **more: Any) -> None:
    records = [
        {
            "device_id": f"meter-{n % 2}",
            "message_id": f"m{n}",
            "topic": "dt/meter/x/t",
            "received_at": 1_700_000_000_000 + n,
            "payload": {"n": n},
            **more,
        }
        for n in numbers
    ]
    await put(aws, records)


async def rows(view: DuckDBView, sql: str) -> list[tuple[Any, ...]]:
    return list((await view.query(sql)).rows)


async def test_the_archive_is_queried_with_sql_and_follows_its_objects(provisioned: Aws) -> None:
    async with a_view(provisioned) as view:
        assert await rows(view, "SELECT count(*) FROM archive") == [(0,)]
        await write(provisioned, range(10), odd=[1])
        assert await rows(
            view,
            "SELECT device_id, count(*), max(CAST(payload->>'n' AS INT)) FROM archive GROUP BY 1 ORDER BY 1",
        ) == [("meter-0", 5, 8), ("meter-1", 5, 9)]
        assert await rows(view, "SELECT DISTINCT extra->>'$.odd' FROM Archive") == [("[1]",)]
        await write(provisioned, range(10, 13))
        assert await rows(
            view, "SELECT count(*), count(DISTINCT object), max(epoch_ms(received_at)) FROM archive"
        ) == [(13, 2, 1_700_000_000_012)]
        await write(provisioned, [13], payload={"note": "\ud800"})
        assert await rows(view, "SELECT extra->'payload'->>'note' FROM archive WHERE payload IS NULL") == [
            ("\\ud800",)
        ]
        s3, bucket = provisioned.client("s3"), provisioned.resources.bucket
        keys = await archive(provisioned).keys()
        await to_thread.run_sync(lambda: s3.delete_object(Bucket=bucket, Key=keys[0]))
        assert len(await archive(provisioned).keys()) == 2
        ((left,),) = await rows(view, "SELECT count(*) FROM archive")
        assert left in (4, 11, 13)


async def test_hot_and_cold_are_joined_and_a_stored_view_reads_an_object_once(
    provisioned: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(provisioned, range(3))
    path = tmp_path / "view.duckdb"
    joined = (
        "SELECT count(*) FROM archive a LEFT JOIN telemetry t USING (message_id) WHERE t.message_id IS NULL"
    )
    async with a_view(provisioned, path) as view:
        assert await rows(view, joined) == [(3,)]
    monkeypatch.setattr(ObjectArchive, "read", None)  # nothing is read again
    async with a_view(provisioned, path) as view:
        assert await rows(view, joined) == [(3,)]


async def test_what_is_no_object_of_the_stream_is_told_and_left_out(provisioned: Aws) -> None:
    await write(provisioned, range(2))
    s3, bucket = provisioned.client("s3"), provisioned.resources.bucket
    s3.put_object(Bucket=bucket, Key="telemetry/zz.gz", Body=b"rubbish")
    s3.put_object(Bucket=bucket, Key="errors/processing-failed/x", Body=b"{}\n")
    async with a_view(provisioned) as view:
        assert await rows(view, "SELECT count(*) FROM archive") == [(2,)]
        assert "1 objects cannot be read: object telemetry/zz.gz is no GZIP" in view.health().detail


async def test_an_archive_that_does_not_answer_is_said(provisioned: Aws) -> None:
    missing = ObjectArchive(provisioned.client("s3"), "not-there-at-all", provisioned.resources.delivery)
    view = DuckDBView(None, archive=missing)
    async with supervise([view], drain_seconds=5):
        with pytest.raises(Terminal, match="S3: ListObjectsV2 failed: NoSuchBucket"):
            await view.query("SELECT * FROM archive")
        assert (await view.query("SELECT 1 AS one")).rows == ((1,),)


async def test_files_stay_forbidden(provisioned: Aws, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    async with a_view(provisioned, tmp_path / "view.duckdb") as view:
        for sql in (
            f"SELECT * FROM read_text('{secret}')",
            f"SELECT * FROM read_json('{tmp_path}/view.archive/../secret.json')",
            "SELECT * FROM read_text('/etc/hostname')",
            "SELECT * FROM 'https://example.com/x.parquet'",
        ):
            with pytest.raises(ConfigError):
                await view.query(sql)
        with pytest.raises(ConfigError, match="SELECT"):
            await view.query(f"COPY (SELECT 1) TO '{tmp_path}/view.archive/x.parquet'")


async def test_what_expires_without_a_hot_tier_is_in_the_archive_alone(provisioned: Aws) -> None:
    await write(provisioned, range(3))
    item = {"device_id": "meter-0", "event_id": "e", "message_id": "m0", "received_at": 1_700_000_000_000}
    key = {"device_id": "meter-0", "event_id": "e"}
    view = DuckDBView(None, archive=archive(provisioned), keep_seconds=3600.0)
    async with supervise([view], drain_seconds=10):
        await view.apply([Change("INSERT", "telemetry", key, item, None, 1, "s")])
        assert await view.retain() == 1
        assert await rows(view, "SELECT count(*) FROM telemetry") == [(0,)]
        assert await rows(view, "SELECT count(*) FROM archive") == [(3,)]


async def test_hot_and_cold_rows_have_one_name(provisioned: Aws, tmp_path: Path) -> None:
    """Twenty messages in objects and in the collection, half of them older than the collection keeps."""
    now = int(time.time() * 1000)
    moments = [now - 3_600_000 + n for n in range(10)] + [now - n for n in range(10)]
    messages = [
        {
            "device_id": f"meter/{n % 2}",
            "message_id": f"m{n}",
            "topic": "dt/meter/x/t",
            "received_at": moment,
            "payload": {"n": n, "ts": moment, "word": "Köln"},
        }
        for n, moment in enumerate(moments)
    ]
    await put(provisioned, messages)
    await put(provisioned, messages[:3])  # delivered twice
    changes = [
        Change("INSERT", "telemetry", {"device_id": item["device_id"], "event_id": item["event_id"]}, item, None, n + 1, "s")
        for n, message in enumerate(messages)
        for item in [_item(message)]
    ]  # fmt: skip
    everything = "SELECT * EXCLUDE (_seq, _ingest_time) FROM telemetry ORDER BY message_id"
    path = tmp_path / "view.db"
    view = DuckDBView(path, archive=archive(provisioned), hot_seconds=600.0)
    async with supervise([view], drain_seconds=10):
        await view.apply(changes)
        before = await rows(view, everything)
        assert len(before) == 20, "late rows are in both tiers, and seen once"
        assert await view.retain() == 10
        assert await rows(view, "SELECT count(*) FROM main.telemetry") == [(10,)]
        assert await rows(view, everything) == before
        assert (await view.ask("SELECT len(list(message_id)) FROM telemetry")).rows == ((20,),), (
            "in a process of its own"
        )
        recent = "SELECT count(*) FROM telemetry WHERE received_at > epoch_ms($since::BIGINT)"
        steps = await rows(view, f"EXPLAIN {recent}".replace("$since", str(now - 60_000)))
        assert "PARQUET" not in str(steps).upper(), "a statement about now opens no object"
        assert (await view.query(recent, {"since": now - 60_000})).rows == ((10,),)
        reads = await view.explain("SELECT count(DISTINCT topic) FROM telemetry")
        assert {one.table for one in reads} >= {"telemetry", "archive"}
        told = await view.describe("telemetry")
        assert now - 660_000 <= int(str(told["archived_before_ms"])) <= now - 600_000
    async with a_view(provisioned, path) as view:
        assert await rows(view, everything) == before, "the division is in the file"


async def put(aws: Aws, messages: Sequence[dict[str, Any]]) -> None:
    stream = DeliveryStream(
        "archive",
        s3=aws.client("s3"),
        bucket=aws.resources.bucket,
        clock=SystemClock(),
        settings=settings_from(aws.resources.delivery),
    )
    await stream.put([json.dumps(message).encode() + b"\n" for message in messages])
    await stream.flush()


def _item(message: dict[str, Any]) -> dict[str, Any]:
    """As the handler stores it, with what the view makes of it."""
    event = {"Records": [{"eventSourceARN": "x:telemetry", "messageId": "1", "body": json.dumps(message)}]}
    ((item,),) = (table.values() for table in plan(event).puts.values())
    return {name: int(value["N"]) if "N" in value else value["S"] for name, value in item.items()}
