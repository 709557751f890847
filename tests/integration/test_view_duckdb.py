"""The view on the real DuckDB: exactly once, guarded queries, a file that survives."""

import contextlib
import json
import resource
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import duckdb
import pytest
from view_changes import device, telemetry

from analytics import sync
from analytics.view.duckdb import DuckDBView
from analytics.view.reading import MAX_ROWS
from contracts.clock import SystemClock
from contracts.errors import BackendError, ConfigError, NotReady
from contracts.messages import Change
from contracts.streams import BatchStream
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def a_view(path: Path | None = None) -> AsyncIterator[DuckDBView]:
    view = DuckDBView(path)
    async with supervise([view], drain_seconds=10):
        yield view


async def rows(view: DuckDBView, sql: str) -> list[tuple[object, ...]]:
    return list((await view.query(sql)).rows)


async def test_an_item_gets_typed_columns_and_the_rest_is_kept() -> None:
    change = telemetry(
        1, topic="dt/a", payload='{"t": 1.5}', payload_bytes=10, device_time=1_700_000_000_123, odd=[1]
    )
    async with a_view() as view:
        assert await view.apply([change]) == 1
        (row,) = (await view.query("SELECT * FROM telemetry")).dicts()
        assert row["received_at"] == datetime.fromtimestamp(1_700_000_000, tz=UTC).replace(tzinfo=None)
        assert row["device_time"].microsecond == 123_000
        assert (row["topic"], row["payload_bytes"], json.loads(row["extra"])) == ("dt/a", 10, {"odd": [1]})
        assert await rows(view, "SELECT payload->>'$.t' FROM telemetry") == [("1.5",)]


@pytest.mark.parametrize(
    "value", ["text", {"a": 1}, 10**30, True, [1], 1.5, float("nan"), float("inf"), -(2**63) - 1, "1"]
)
async def test_a_value_that_does_not_fit_never_fails_the_batch(value: object) -> None:
    async with a_view() as view:
        assert await view.apply([telemetry(1, payload_bytes=value), telemetry(2, payload_bytes=7)]) == 2
        assert await rows(view, "SELECT payload_bytes FROM telemetry ORDER BY event_id") == [(None,), (7,)]
        assert await rows(view, "SELECT count(*) FROM telemetry WHERE extra IS NOT NULL") == [(1,)]


async def test_messages_leave_a_view_that_keeps_them_for_so_long_and_other_rows_stay() -> None:
    device = Change("INSERT", "devices", {"device_id": "d"}, {"device_id": "d", "last_seen": 1}, None, 1, "s")
    view = DuckDBView(None, keep_seconds=3600)
    async with supervise([view], drain_seconds=10):
        await view.apply([telemetry(1), telemetry(2, received_at=int(time.time() * 1000)), device])
        assert await view.retain() == 1
        assert await rows(view, "SELECT count(*) FROM telemetry") == [(1,)]
        assert await rows(view, "SELECT count(*) FROM devices") == [(1,)]


async def test_a_removal_at_the_end_of_an_items_time_is_the_retentions_and_leaves_no_tombstone() -> None:
    now = int(time.time() * 1000)
    old, young = telemetry(1, received_at=now - 3_600_000), telemetry(2, received_at=now)
    view = DuckDBView(None, keep_seconds=3600)
    async with supervise([view], drain_seconds=10):
        await view.apply([old, young])
        gone = [replace(one, kind="REMOVE", new=None, old=one.new, sequence=9000) for one in (old, young)]
        assert await view.apply(gone) == 1
        assert await rows(view, "SELECT event_id FROM telemetry") == [(old.key["event_id"],)]
        assert await view.apply([replace(old, sequence=8000), replace(young, sequence=8000)]) == 1, (
            "one tombstone"
        )


async def test_a_reader_of_long_ago_does_not_keep_the_view_from_ending_whole(tmp_path: Path) -> None:
    path = tmp_path / "view.duckdb"
    view = DuckDBView(path)
    async with supervise([view], drain_seconds=10):
        await view.apply([telemetry(n) for n in range(20)])
        reader = view._open_one().cursor()
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM telemetry").fetchall()
        await view.apply([telemetry(n, payload_bytes=7) for n in range(20, 40)])
        reader.execute("UPDATE telemetry SET payload_bytes = 8")  # DuckDB makes no checkpoint beside this
        log = path.with_suffix(".duckdb.wal").stat().st_size
        await view.drain()
        assert path.with_suffix(".duckdb.wal").stat().st_size >= log > 0
        reader.execute("ROLLBACK")
        await view.drain()
        assert not path.with_suffix(".duckdb.wal").exists()
    again = DuckDBView(path)
    async with supervise([again], drain_seconds=10):
        assert await rows(again, "SELECT count(*), count(payload_bytes) FROM telemetry") == [(40, 20)]


async def test_verdicts_leave_as_messages_do_and_incidents_stay() -> None:
    now = int(time.time() * 1000)
    view = DuckDBView(None, keep_seconds=3600)
    async with supervise([view], drain_seconds=10):
        await view.apply(
            [
                Change("INSERT", table, {key: str(n)}, {key: str(n), moment: at}, None, n, "m")
                for table, key, moment in (
                    ("verdicts", "verdict_id", "decided_at"),
                    ("incidents", "incident_id", "opened_at"),
                )
                for n, at in ((1, now - 7_200_000), (2, now))
            ]
        )
        assert await view.retain() == 1
        assert await rows(view, "SELECT verdict_id FROM verdicts") == [("2",)]
        assert await rows(view, "SELECT count(*) FROM incidents") == [(2,)]


def test_a_tombstone_leaves_after_as_long_as_a_row_and_those_of_kept_collections_stay() -> None:
    view = DuckDBView(None, keep_seconds=3600)
    view.open()
    writer = view._writer
    assert writer is not None
    received_at = int(time.time() * 1000)
    row = telemetry(1, received_at=received_at)
    gone = replace(row, kind="REMOVE", new=None, old=row.new, sequence=9000)
    writer.apply([gone, device("d", 9, kind="REMOVE")])
    now = datetime.now(tz=UTC).replace(tzinfo=None)
    writer.retain(now)
    assert writer.apply([replace(row, sequence=8000)]) == 0, "its tombstone is young"
    later = now + timedelta(seconds=3600 + 61)
    writer.retain(later)
    assert writer.apply([replace(row, sequence=8000), device("d", 8)]) == 1, "the device's tombstone stays"
    assert writer.retain(later) == 1, "what is replayed over it is older still"
    view.close()


def test_a_file_of_before_tombstones_had_a_moment_is_opened(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "view.db")) as old:
        old.execute(
            "CREATE TABLE _tombstones (collection VARCHAR, _id VARCHAR, sequence HUGEINT, PRIMARY KEY (collection, _id))"
        )
        old.execute("INSERT INTO _tombstones VALUES ('telemetry', 'x', 7)")
    view = DuckDBView(tmp_path / "view.db", keep_seconds=3600)
    view.open()
    assert view._writer is not None
    view._writer.retain(datetime.now(tz=UTC).replace(tzinfo=None))
    assert view._connection is not None
    assert view._connection.execute("SELECT * FROM _tombstones").fetchall() == [("telemetry", "x", 7, None)]
    view.close()


@contextmanager
def a_full_disk(file: Path) -> Iterator[None]:
    """No file of this process grows beyond the size of this one: the system refuses the write as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_is_said_and_what_it_refused_comes_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "RETRY_SECONDS", 0.02)
    path, stream = tmp_path / "view.duckdb", BatchStream[Change]("changes", capacity=10)
    view = DuckDBView(path)
    async with supervise([view, sync.Sync(stream, view, clock=SystemClock())], drain_seconds=10):
        await view.apply([telemetry(1)])
        with a_full_disk(path.with_suffix(".duckdb.wal")):
            await stream.put(telemetry(2))
            with anyio.fail_after(5):
                while view.health().state != "failed":
                    await anyio.sleep(0.01)
            assert "view.duckdb cannot be written" in view.health().detail
            assert "fix: free space on its disk" in view.health().detail
            assert await rows(view, "SELECT event_id FROM telemetry") == [(telemetry(1).key["event_id"],)]
        with anyio.fail_after(5):
            await stream.join()
        assert await rows(view, "SELECT count(*) FROM telemetry") == [(2,)]
        assert view.health().state == "ready"


async def test_a_payload_that_is_no_json_is_kept_as_it_is() -> None:
    async with a_view() as view:
        await view.apply([telemetry(1, payload="{broken")])
        assert await rows(view, "SELECT payload, extra->>'$.payload' FROM telemetry") == [(None, "{broken")]


async def test_absent_counts_are_zero_and_topics_a_list() -> None:
    item = {
        "device_id": "d",
        "period_start": 1000,
        "period_end": 2000,
        "num_connects": 2,
        "topics": ["a", "b"],
    }
    change = Change("INSERT", "device_metrics", {"device_id": "d", "period_start": 1000}, item, None, 1)
    async with a_view() as view:
        await view.apply([change])
        sql = "SELECT num_connects, num_disconnects, topics, _id FROM device_metrics"
        assert await rows(view, sql) == [(2, 0, ["a", "b"], "d/1000")]


async def test_the_same_batch_twice_changes_nothing() -> None:
    batch = [telemetry(n) for n in range(100)]
    async with a_view() as view:
        assert await view.apply(batch) == 100
        assert await view.apply(batch) == 0
        assert await rows(view, "SELECT count(*) FROM telemetry") == [(100,)]


async def test_a_removed_key_is_not_brought_back_by_a_replay_but_by_a_newer_insert() -> None:
    async with a_view() as view:
        await view.apply([device("a", 1), device("a", 2, kind="REMOVE")])
        assert await view.apply([device("a", 1)]) == 0
        assert await rows(view, "SELECT * FROM devices") == []
        assert await view.apply([device("a", 3, firmware="2")]) == 1
        assert await rows(view, "SELECT firmware FROM devices") == [("2",)]


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DROP TABLE telemetry", "only SELECT"),
        ("INSERT INTO devices(_id) VALUES ('x')", "only SELECT"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("SELECT 1; COMMIT; DROP TABLE devices", "3 statements"),
        ("", "0 statements"),
        ("WITH x AS (INSERT INTO devices(_id) VALUES ('x') RETURNING _id) SELECT * FROM x", "read-only"),
        ("SELECT * FROM read_text('/etc/hostname')", "disabled"),
        ("COPY devices TO '/tmp/x.csv'", "only SELECT"),
        ("ATTACH '/tmp/x.db'", "only SELECT"),
        ("SET memory_limit='1TB'", "only SELECT"),
        ("SELECT * FROM nothing", "nothing"),
        ("SELEKT 1", "syntax error"),
        ("SELECT " + "1," * 60_000 + "1", "longer than"),
        (f"SELECT * FROM range({MAX_ROWS + 1})", "more than"),
    ],
)
async def test_a_statement_that_is_not_one_bounded_select_is_refused(statement: str, told: str) -> None:
    async with a_view() as view:
        with pytest.raises(ConfigError, match=told) as caught:
            await view.query(statement)
        assert caught.value.fix
        assert await rows(view, "SELECT count(*) FROM devices") == [(0,)]


async def test_a_query_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analytics.view.duckdb.TIMEOUT_SECONDS", 0.3)
    async with a_view() as view:
        with pytest.raises(ConfigError, match="longer than"):
            await view.query("SELECT count(*) FROM range(100000000) a, range(100000) b")
        assert await rows(view, "SELECT 1") == [(1,)]


def test_closing_waits_for_a_statement_that_was_interrupted_just_now() -> None:
    view = DuckDBView(None)
    view.open()
    cursor = view._open_one().cursor()

    def ask() -> None:
        with contextlib.suppress(duckdb.InterruptException):
            cursor.execute("SELECT count(*) FROM range(100000000) a, range(100000) b").fetchall()

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.2)
    interrupting = threading.Timer(0.3, cursor.interrupt)
    interrupting.start()
    view.close()
    asking.join()
    interrupting.join()
    assert view.health().state == "stopped"


async def test_parameters_are_bound_by_name() -> None:
    async with a_view() as view:
        result = await view.query("SELECT $a + 1 AS b", {"a": 41})
        assert result.dicts() == [{"b": 42}]
        assert result.milliseconds > 0


async def test_readers_see_whole_batches_while_the_writer_works() -> None:
    async with a_view() as view:
        seen: list[int] = []

        async def read(scope: anyio.CancelScope) -> None:
            while len(seen) < 30:
                seen.append(int(str((await rows(view, "SELECT count(*) FROM telemetry"))[0][0])))
            scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, tasks.cancel_scope)
            for start in range(0, 100_000, 50):
                await view.apply([telemetry(n) for n in range(start, start + 50)])
        assert all(count % 50 == 0 for count in seen)
        assert seen == sorted(seen)


async def test_a_file_is_resumed_with_its_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "view.db"
    async with a_view(path) as view:
        await view.apply([telemetry(n) for n in range(10)])
        await view.apply([device("a", 7, shard="other")])
    async with a_view(path) as view:
        assert await view.checkpoints() == {("telemetry", "s"): 1009, ("devices", "other"): 7}
        assert await rows(view, "SELECT count(*) FROM telemetry") == [(10,)]
        assert await view.apply([telemetry(n) for n in range(12)]) == 2


async def test_what_a_scan_found_is_newer_than_what_is_there_and_older_than_what_comes() -> None:
    async with a_view(None) as view:
        await view.apply([device("a", 5, firmware="1"), device("b", 6), device("c", 7)])
        assert await view.keys("devices") == [{"device_id": name} for name in "abc"]
        scan = [
            device("a", 0, shard="", firmware="3"),
            device("d", 0, shard=""),
            device("b", 0, kind="REMOVE", shard=""),
        ]
        assert await view.apply(scan) == 3
        assert await view.apply([device("a", 5, firmware="1"), device("b", 6)]) == 0, "seen before"
        assert sorted(await rows(view, "SELECT device_id, firmware FROM devices WHERE device_id <> 'c'")) == [
            ("a", "3"), ("d", None),
        ]  # fmt: skip
        assert await view.apply([device("a", 8, firmware="2"), device("b", 8), device("d", 1)]) == 3
        assert await view.checkpoints() == {("devices", "s"): 8}
    async with a_view(None) as view:
        metric = {"device_id": "d", "period_start": 1_700_000_000_123}
        await view.apply([Change("INSERT", "device_metrics", metric, metric, None, 1, "s")])
        assert await view.keys("device_metrics") == [metric], "as the table has them"


async def test_a_file_that_somebody_has_open_is_said(tmp_path: Path) -> None:
    async with a_view(tmp_path / "view.db"):
        code = (
            "import anyio, sys; from analytics.view.duckdb import DuckDBView;"
            "view = DuckDBView(__import__('pathlib').Path(sys.argv[1])); view.open()"
        )
        done = await anyio.run_process([sys.executable, "-c", code, str(tmp_path / "view.db")], check=False)
        assert "BackendError" in done.stderr.decode()
        assert "cannot be opened" in done.stderr.decode()


async def test_a_view_that_is_not_open_is_said() -> None:
    with pytest.raises(NotReady):
        await DuckDBView(None).query("SELECT 1")


async def test_a_broken_file_is_an_error_with_a_fix(tmp_path: Path) -> None:
    (tmp_path / "view.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(BackendError, match="cannot be opened") as caught:
        async with a_view(tmp_path / "view.db"):
            pytest.fail("it cannot be opened")
    assert caught.value.fix
