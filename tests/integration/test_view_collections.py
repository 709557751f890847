"""Collections on the real DuckDB: made, written, transformed, widened, searched, rolled up, kept for a while."""

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sizes import size
from test_view_duckdb import a_view, rows
from view_changes import telemetry

from analytics.view import fields, rollups
from analytics.view.duckdb import DuckDBView
from analytics.view.storage import SCAN_ROWS_PER_ID
from contracts.errors import ConfigError, UnknownName
from contracts.messages import Change, Json

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000_000


async def test_documents_are_written_replaced_merged_and_removed() -> None:
    async with a_view() as view:
        await view.create({"name": "people", "columns": {"age": "BIGINT"}})
        given: list[dict[str, Json]] = [
            {"_id": "a", "age": 7, "at": {"city": "Berlin", "zip": 1}},
            {"age": "old"},
        ]
        first, second = await view.write("people", given)
        assert first == "a"
        assert len(second) == 32, "an id was given"
        await view.write("people", [{"_id": "a", "at": {"zip": None, "street": "x"}}], patch=True)
        ((age, extra),) = await rows(view, "SELECT age, extra FROM people WHERE _id = 'a'")
        assert (age, json.loads(str(extra))) == (7, {"at": {"city": "Berlin", "street": "x"}})
        await view.write("people", [{"_id": "a", "age": 8}])
        assert await rows(view, "SELECT age, extra FROM people WHERE _id = 'a'") == [(8, None)]
        assert await view.remove("people", ["a", "nobody"]) == 1
        await view.write("people", [{"_id": "a", "age": 9}])
        assert await rows(view, "SELECT age FROM people WHERE _id = 'a'") == [(9,)], "a newer one comes back"


async def test_half_a_surrogate_pair_is_written_searched_merged_and_removed() -> None:
    async with a_view() as view:
        await view.create({"name": "docs", "columns": {"raw": "JSON"}, "search": ["*"]})
        await view.write(
            "docs", [{"_id": "\ud800", "a": "\ud801", "raw": r'{"b": "\ud802"}'}, {"_id": "good", "a": "x"}]
        )
        await view.write("docs", [{"_id": "\ud800", "c": 1}], patch=True)
        found = await rows(view, "SELECT _id, extra->>'$.c' FROM docs_search('a', '\\ud801')")
        assert found == [("\\ud800", "1")]
        assert await view.remove("docs", ["\ud800"]) == 1
        assert await rows(view, "SELECT _id FROM docs") == [("good",)]


async def test_few_ids_and_many_ids_are_found_alike_in_a_large_collection() -> None:
    """Few by the key index, many by a scan; a field called as DuckDB calls a row's place is data as any other."""
    many = 3 * SCAN_ROWS_PER_ID
    async with a_view() as view:
        await view.create({"name": "docs", "columns": {"n": "BIGINT"}})
        await view.write("docs", [{"_id": f"{n:05}", "n": n, "rowid": "5"} for n in range(many)])
        for ids in (["00007"], [f"{n:05}" for n in range(100, 110)]):
            await view.write("docs", [{"_id": one, "seen": True} for one in ids], patch=True)
            assert await view.remove("docs", [*ids[:-1], "nobody"]) == len(ids) - 1
        found = await rows(
            view, "SELECT n, extra->>'$.rowid' FROM docs WHERE extra->>'$.seen' = 'true' ORDER BY n"
        )
        assert found == [(7, "5"), (109, "5")]
        assert await rows(view, "SELECT count(*), count(DISTINCT _id) FROM docs") == [(many - 9, many - 9)]


async def test_what_cannot_be_a_collection_is_told() -> None:
    async with a_view() as view:
        for wrong, told in (
            ({"name": "x; DROP TABLE devices"}, "cannot be a collection's name"),
            ({"name": "devices"}, "already"),
            ({"name": "a", "colums": {}}, "unknown part"),
            ({"name": "a", "columns": {"b": "BLOB"}}, "unknown column type"),
            ({"name": "a", "columns": {"_id": "VARCHAR"}}, "cannot be"),
            ({"name": "a", "columns": {"rowid": "BIGINT"}}, "cannot be"),
            ({"name": "a", "indexes": ["nothing"]}, "unknown column of a"),
            ({"name": "a", "event_time": "nothing"}, "no TIMESTAMP"),
            ({"name": "a", "search": ["x'y"]}, "no path"),
            ({"name": "a", "transform": "DROP TABLE devices"}, "only SELECT"),
            ({"name": "a", "transform": "SELECT nothing FROM batch"}, "nothing"),
            ({"name": "a", "transform": "SELECT 1 AS x FROM batch"}, "gives no _id"),
        ):
            with pytest.raises(ConfigError, match=told) as caught:
                await view.create(wrong)
            assert caught.value.fix
        assert "a" not in await view.names()
        with pytest.raises(ConfigError, match="follows a table"):
            await view.write("devices", [{"device_id": "d"}])
        with pytest.raises(UnknownName):
            await view.describe("nothing")


async def test_a_table_without_a_definition_becomes_a_collection_with_its_key() -> None:
    key: dict[str, Json] = {"site": "a/b", "number": 7}
    async with a_view() as view:
        await view.apply([Change("INSERT", "sites", key, {**key, "name": "x"}, None, 1, "s")])
        assert await view.keys("sites") == [key]
        assert await rows(view, "SELECT _id, extra->>'$.name' FROM sites") == [("a~1b/7", "x")]
        assert await view.apply([Change("REMOVE", "sites", key, None, None, 2, "s")]) == 1
        assert await rows(view, "SELECT count(*) FROM sites") == [(0,)]


async def test_a_transformation_makes_the_rows_and_a_row_that_fails_is_kept() -> None:
    sql = """SELECT _id, CAST(document->>'$.f' AS DOUBLE) - 32 AS celsius, upper(document->>'$.site') AS site
             FROM batch WHERE document->>'$.site' <> 'test'"""
    async with a_view() as view:
        await view.create({"name": "t", "columns": {"celsius": "DOUBLE"}, "transform": sql})
        await view.write("t", [{"_id": "a", "f": 40, "site": "x"}, {"_id": "b", "f": 1, "site": "test"}])
        assert await rows(view, "SELECT _id, celsius, extra->>'$.site' FROM t") == [("a", 8.0, "X")]
        await view.write("t", [{"_id": "c", "f": "warm", "site": "y"}, {"_id": "d", "f": 33, "site": "y"}])
        told = await rows(
            view, "SELECT _id, celsius, extra->>'$.f', extra->>'$._transform_error' FROM t ORDER BY 1"
        )
        assert told[2] == ("d", 1.0, None, None)
        assert told[1][:3] == ("c", None, "warm")
        assert "Could not convert" in str(told[1][3])
        await view.write("t", [{"_id": "a", "f": 40, "site": "test"}])
        assert await rows(view, "SELECT count(*) FROM t WHERE _id = 'a'") == [(0,)], "left out now"


async def test_a_frequent_field_of_one_kind_becomes_a_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "SEEN_AT_LEAST", 50)
    async with a_view() as view:
        await view.create({"name": "d"})
        documents: list[dict[str, Json]] = [
            {
                "_id": str(n),
                "level": n,
                "mixed": n if n % 2 else "x",
                "load": n / 2 if n % 2 else n,
                "o": {"a": 1},
            }
            for n in range(100)
        ]
        await view.write("d", [{**one, **({"rare": 1} if n < 10 else {})} for n, one in enumerate(documents)])
        await settled(view)
        told: Any = await view.describe("d")
        assert [(one["field"], one["type"]) for one in told["decisions"]] == [
            ("level", "BIGINT"),
            ("load", "DOUBLE"),
        ]
        assert {one["field"] for one in told["fields"]} == {"mixed", "o", "rare"}
        assert await rows(
            view, "SELECT level, load, extra->>'$.level', extra->>'$.o.a' FROM d WHERE _id = '7'"
        ) == [(7, 3.5, None, "1")]
        await view.write("d", [{"_id": "x", "level": "high"}, {"_id": "y", "level": 3}])
        assert await rows(
            view, "SELECT level, extra->>'$.level' FROM d WHERE _id IN ('x', 'y') ORDER BY _id"
        ) == [
            (None, "high"),
            (3, None),
        ], "a value that does not fit the column never fails"


async def settled(view: DuckDBView) -> None:
    await view._write(lambda writer: writer.settle())


async def test_values_at_paths_are_found_by_the_search_index_also_after_changes_and_sorting() -> None:
    async with a_view() as view:
        await view.create({"name": "docs", "search": ["*"]})
        await view.write(
            "docs", [{"_id": str(n), "tags": ["a", f"t{n}"], "at": {"city": "Köln"}} for n in range(5)]
        )
        find = "SELECT _id FROM docs_search($path, $wanted) ORDER BY 1"

        async def found(path: str, wanted: str) -> list[str]:
            return [str(row[0]) for row in (await view.query(find, {"path": path, "wanted": wanted})).rows]

        assert await found("tags", "T3") == ["3"]
        assert await found("at.city", "köln") == ["0", "1", "2", "3", "4"]
        assert await found("at.city", "Bonn") == []
        await view.write("docs", [{"_id": "3", "tags": ["new"]}])
        await view.remove("docs", ["4"])
        for sort in (False, True):
            if sort:
                await view._write(lambda writer: sorted_in(view))
            assert await found("tags", "t3") == []
            assert await found("tags", "new") == ["3"]
            assert await found("tags", "a") == ["0", "1", "2"]
        reads = await view.explain(find.replace("$path", "'tags'").replace("$wanted", "'new'"))
        assert {one.table for one in reads} == {"docs", "_terms_docs", "_tail_docs"}


def sorted_in(view: DuckDBView) -> None:
    from analytics.view import searching

    catalogue, connection = view._catalogue, view._connection
    assert catalogue is not None
    assert connection is not None
    assert searching.sort(connection, catalogue.get("docs"), now=True)


async def test_explain_says_which_index_was_used() -> None:
    async with a_view() as view:
        await view.create({"name": "big", "columns": {"site": "VARCHAR"}, "indexes": ["site"]})
        for start in range(0, 6_000, 3_000):
            await view.write(
                "big",
                [
                    {"_id": str(n), "site": f"s{n}", "_event_time": NOW + n}
                    for n in range(start, start + 3_000)
                ],
            )
        for where, used in (
            ("_id = '77'", "key index"),
            ("site = 's77'", "index on site"),
            (f"_event_time > epoch_ms({NOW + 5_000})", "zone maps of _event_time"),
            ("true", "full scan"),
        ):
            (access,) = await view.explain(f"SELECT count(DISTINCT _seq) FROM big WHERE {where}")
            assert (access.table, access.used) == ("big", used)
            assert (access.rows_scanned <= 1) == (used.endswith("index") or used.startswith("index"))


def counted(changes: list[Change], seconds: int) -> list[tuple[str, int, int]]:
    """(device, bucket in seconds, messages) of telemetry changes, without the view."""
    last = {str(change.key): change for change in changes}
    found: dict[tuple[str, int], int] = {}
    for change in last.values():
        assert change.new is not None
        place = (str(change.key["device_id"]), int(change.new["received_at"]) // 1000 // seconds * seconds)
        found[place] = found.get(place, 0) + 1
    return sorted((device, bucket, n) for (device, bucket), n in found.items())


async def test_rollups_are_right_under_replays_late_data_changes_and_removals() -> None:
    batch = [
        telemetry(n, device_id=f"d{n % 3}", received_at=NOW + n * 170, topic=f"t/{n % 7}", payload_bytes=n)
        for n in range(300)
    ]
    async with a_view() as view:
        await view.apply(batch[50:])
        await settled(view)
        await view.apply(batch[200:])  # again
        await view.apply(batch[:60])  # late
        await settled(view)
        for label, seconds in (("1s", 1), ("10s", 10), ("1m", 60)):
            assert await rows(
                view,
                f"SELECT device_id, epoch(bucket)::BIGINT, messages FROM telemetry_{label} ORDER BY 1, 2",
            ) == counted(batch, seconds)
        assert await rows(
            view,
            "SELECT sum(messages), sum(bytes), min(payload_bytes_min), max(payload_bytes_max), max(distinct_topic) "
            "FROM telemetry_1m",
        ) == [(300, sum(range(300)), 0.0, 299.0, 7)]
        assert await rows(
            view,
            "SELECT count(*) FROM telemetry_1s JOIN (SELECT device_id, date_trunc('second', received_at) AS bucket, "
            "avg(payload_bytes) AS mean FROM telemetry GROUP BY 1, 2) USING (device_id, bucket) "
            "WHERE abs(mean - payload_bytes_avg) > 1e-9",
        ) == [(0,)]
        gone = batch[7]
        await view.apply([Change("REMOVE", "telemetry", gone.key, None, None, 10_000, "s")])
        moved = telemetry(8, device_id="d2", received_at=NOW + 8 * 170, topic="t/1", payload_bytes=10**6)
        await view.apply([Change("MODIFY", "telemetry", moved.key, moved.new, None, 10_001, "s")])
        assert await rows(view, "SELECT sum(messages), sum(bytes) FROM telemetry_1m") == [
            (299, sum(range(300)) - 7 - 8 + 10**6)
        ]
        assert wrong_buckets(view) == 0


def wrong_buckets(view: DuckDBView) -> int:
    catalogue, connection = view._catalogue, view._connection
    assert catalogue is not None
    assert connection is not None
    return sum(rollups.wrong(connection, one) for one in catalogue.known.values())


async def test_many_distinct_topics_are_estimated() -> None:
    batch = [telemetry(n, received_at=NOW + n, topic=f"t/{n}", payload_bytes=1) for n in range(2_000)]
    async with a_view() as view:
        await view.apply(batch)
        await settled(view)
        ((estimate,),) = await rows(view, "SELECT max(distinct_topic) FROM telemetry_1m")
        assert 0.6 * 2_000 < int(str(estimate)) < 1.4 * 2_000, "three standard errors"


async def test_rows_older_than_their_collection_keeps_them_go_with_their_buckets() -> None:
    now = int(time.time() * 1000)
    async with a_view() as view:
        await view.create(
            {
                "name": "k",
                "columns": {"device_id": "VARCHAR"},
                "retention_seconds": 600,
                "rollup": {"by": "device_id"},
            }
        )
        old, new = now - 3_600_000, now - 1_000
        await view.write(
            "k",
            [
                {"_id": "o", "_event_time": old, "device_id": "d"},
                {"_id": "n", "_event_time": new, "device_id": "d"},
            ],
        )
        await settled(view)
        assert await view.retain() == 1
        assert await rows(view, "SELECT _id FROM k") == [("n",)]
        assert await rows(view, "SELECT sum(messages) FROM k_1m") == [(1,)]
        assert wrong_buckets(view) == 0


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(width=32)
    | st.text(max_size=3)
    | st.sampled_from(["NaN", "[1", '{"a": 1}'])
    | st.lists(st.integers(0, 3), max_size=2)
)
ITEMS = st.fixed_dictionaries(
    {},
    optional={
        "payload_bytes": VALUES,
        "topic": VALUES,
        "odd": VALUES,
        "received_at": VALUES,
        "payload": VALUES,
    },
)


@st.composite
def histories(draw: st.DrawFn) -> list[list[Change]]:
    """Batches of two shards: a key lives in one, its records may come again and in any order."""
    changes = []
    for sequence in range(1, draw(st.integers(1, 14)) + 1):
        key: dict[str, Json] = {"device_id": f"d{draw(st.integers(0, 2))}", "event_id": "e"}
        removed = draw(st.integers(0, 3)) == 0
        new = None if removed else {**draw(ITEMS), **key}
        changes.append(
            Change(
                "REMOVE" if removed else "MODIFY",
                "telemetry",
                key,
                new,
                None,
                sequence,
                str(key["device_id"]),
            )
        )
    told = [draw(st.sampled_from(changes)) for _ in range(draw(st.integers(0, 10)))]
    everything = draw(st.permutations(changes + told))
    cuts = sorted(draw(st.lists(st.integers(0, len(everything)), max_size=4)))
    return [list(everything[a:b]) for a, b in zip([0, *cuts], [*cuts, len(everything)], strict=True) if a < b]


@pytest.mark.timeout(120)
async def test_any_history_gives_the_state_of_a_plain_dict() -> None:
    async with a_view() as view:

        @settings(max_examples=size(12, full=500), deadline=None, suppress_health_check=list(HealthCheck))
        @given(histories())
        def check(batches: list[list[Change]]) -> None:
            _holds(view, batches)

        check()


def _holds(view: DuckDBView, batches: list[list[Change]]) -> None:
    """In the loop's own thread: hypothesis is no coroutine."""
    writer, connection = view._writer, view._connection
    assert writer is not None
    assert connection is not None
    for table in (
        "telemetry",
        "_tombstones",
        "_checkpoints",
        *(f"_rollup_telemetry_{end}" for end in ("1s", "10s", "1m")),
    ):
        connection.execute(f"DELETE FROM {table}")
    writer._pending.clear()
    last: dict[str, Change] = {}
    for batch in batches:
        writer.apply(batch)
        for change in batch:
            identity = f"{change.key['device_id']}/e"
            if identity not in last or change.sequence > last[identity].sequence:
                last[identity] = change
    writer.settle()
    wanted = {i: change for i, change in last.items() if change.new is not None}
    found = connection.execute(
        "SELECT _id, _seq, device_id, topic, payload_bytes, payload, extra FROM telemetry"
    ).fetchall()
    assert {row[0]: row[1] for row in found} == {i: change.sequence for i, change in wanted.items()}
    for identity, _, device_id, topic, length, payload, extra in found:
        item = dict(wanted[identity].new or {})
        rest = json.loads(extra or "{}")
        assert device_id == item["device_id"]
        assert topic == item.get("topic") or str(rest["topic"]) == str(item["topic"])
        assert length == item.get("payload_bytes") or "payload_bytes" in rest
        assert ("odd" in rest) == ("odd" in item)
        told = item.get("payload")
        assert (
            payload == told
            or json.loads(payload or "null") == told
            or rest["payload"] in (told, str(told))  # infinity and NaN, which JSON has not, as text
        )
    places = {change.shard: 0 for batch in batches for change in batch}
    for batch in batches:
        for change in batch:
            places[change.shard] = max(places[change.shard], change.sequence)
    assert dict(connection.execute("SELECT shard, sequence FROM _checkpoints").fetchall()) == places
    assert wrong_buckets(view) == 0
