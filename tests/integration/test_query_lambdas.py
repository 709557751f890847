"""Registered queries: versions, tags, parameters, what a restart keeps, what is refused; and how an answer is pushed."""

from pathlib import Path
from typing import Any

import anyio
import pytest
from test_view_queries import an_api
from view_changes import telemetry

from analytics.lambdas import COLLECTION, QueryBook, Schedule, parameter
from analytics.pushing import MAX_BYTES, Webhooks, message, same, tried
from analytics.schedules import Schedules
from analytics.view.duckdb import DuckDBView
from contracts.clock import SystemClock
from contracts.errors import ConfigError, Terminal, Transient, UnknownName
from contracts.ports import Rows
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio

LEAST = parameter("least", "INTEGER", 1)


async def test_versions_tags_and_schedules_outlive_a_restart(tmp_path: Path) -> None:
    view = DuckDBView(tmp_path / "view.duckdb")
    async with supervise([view], drain_seconds=5):
        book = QueryBook(view)
        await view.apply([telemetry(n, topic="dt/a") for n in range(3)])
        await book.register("mine", "SELECT count(*) AS n FROM telemetry", tags=["live"])
        second = await book.register(
            "mine",
            "SELECT count(*) AS n FROM telemetry HAVING n >= $least",
            description="More.",
            parameters=[LEAST],
        )
        assert second.version == 2
        assert (await book.run("mine", {"least": "9"})).rows == ()
        assert (await book.run("mine", {}, tag="live")).rows == ((3,),)
        await book.tag("mine", "trial", 2)
        await book.schedule(Schedule("mine", 5.0, tag="trial", parameters={"least": 2}, sns_topic="answers"))
    view = DuckDBView(tmp_path / "view.duckdb")
    async with supervise([view], drain_seconds=5):
        await view.write(
            COLLECTION, [{"_id": "broken", "kind": "version", "name": "broken", "parameters": [1]}]
        )
        book = QueryBook(view)
        await book.load()
        assert [(query.version, tags) for query, tags in book.versions("mine")] == [
            (1, ("live",)),
            (2, ("trial", "latest")),
        ]
        assert book.find("mine") == second
        assert book.schedules["mine"].parameters == {"least": 2}
        assert {"mine", "top_talkers"} <= {query.name for query in book.all()}
        assert await book.remove("mine") == 2
        assert book.schedules == {}
        with pytest.raises(UnknownName):
            book.find("mine")


async def test_what_cannot_be_registered_is_refused_with_a_fix() -> None:
    view = DuckDBView(None)
    async with supervise([view], drain_seconds=5):
        book = QueryBook(view)
        await book.load()
        for name, sql in (
            ("top_talkers", "SELECT 1"), ("Bad-Name", "SELECT 1"), ("mine", "SELECT nope"), ("mine", "DROP TABLE telemetry"),
            ("mine", "SELECT 1; SELECT 2"), ("mine", "SELECT $unknown"),
        ):  # fmt: skip
            with pytest.raises(ConfigError) as caught:
                await book.register(name, sql)
            assert caught.value.fix
        for wrong in (("x", "DATE", "1"), ("X", "INTEGER", 1), ("x", "INTEGER", "one")):
            with pytest.raises(ConfigError):
                parameter(*wrong)
        await book.register("mine", "SELECT 1")
        for asked in ({"tag": "no"}, {"version": 7}):
            with pytest.raises(UnknownName):
                await book.run("mine", {}, **asked)
        with pytest.raises(ConfigError, match="latest"):
            await book.tag("mine", "latest", 1)
        assert COLLECTION in await view.names()


async def test_the_api_registers_runs_and_removes() -> None:
    async with an_api() as (client, _, _):
        new = {
            "sql": "SELECT $x AS x",
            "parameters": [{"name": "x", "kind": "INTEGER", "default": 1}],
            "tags": ["good"],
        }
        assert (await client.post("/queries/mine", json=new)).json()["version"] == 1
        assert (await client.post("/queries/mine", json={"sql": "SELECT 'two' AS x"})).json()["version"] == 2
        for path, x in (("", "two"), ("/versions/1?x=7", 7), ("/tags/good", 1), ("/tags/latest", "two")):
            assert (await client.get(f"/queries/mine{path}")).json()["rows"] == [[x]]
        assert (await client.get("/queries/mine/tags/good?format=csv&x=5")).text == "x\r\n5\r\n"
        assert (await client.put("/queries/mine/tags/good", json={"version": 2})).status_code == 200
        told = (await client.get("/queries/mine/versions")).json()["versions"]
        assert [one["tags"] for one in told] == [[], ["good", "latest"]]
        assert "mine" in {one["name"] for one in (await client.get("/queries")).json()["queries"]}
        assert (await client.put("/queries/mine/schedule", json={"every_seconds": 5})).status_code == 400
        assert (await client.delete("/queries/mine")).json() == {"removed": 2}
        assert (await client.get("/queries/mine")).status_code == 404


async def test_a_schedule_counts_what_it_pushed_and_what_it_gave_up() -> None:
    view = DuckDBView(None)
    async with supervise([view], drain_seconds=5):
        book = QueryBook(view)
        schedules = Schedules(
            book, clock=SystemClock(), publish=_nowhere, webhooks=Webhooks(secret="", hosts=["localhost"])
        )
        async with supervise([schedules], drain_seconds=5):
            await book.register("often", "SELECT 1 AS one", tags=["good"])
            with pytest.raises(ConfigError, match="secret"):
                schedules.webhooks.check("http://localhost/hook")
            await book.schedule(Schedule("often", 0.01, when="changed", sns_topic="gone"))
            await _until(lambda: schedules.courses.get("often") and schedules.courses["often"].runs > 3)
            course = schedules.courses["often"]
            assert (course.failed, course.pushed, course.dropped) == (0, 0, 1), (
                "the same answer is pushed once"
            )
            assert "no topic" in course.error or course.error == ""
            assert schedules.health().counters["dropped"] == 1
            await view.remove(COLLECTION, ["often@1"])
            await book.schedule(Schedule("often", 0.01, when="always", sns_topic="gone"))
            await book.unschedule("often")


async def _nowhere(topic: str, text: str) -> None:
    raise Terminal(f"no topic {topic} for {len(text)} bytes", fix="make it")


async def _until(true: Any) -> None:
    with anyio.fail_after(20):
        while not true():
            await anyio.sleep(0.02)


async def test_a_push_is_tried_again_only_where_that_may_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analytics.pushing.FIRST_PAUSE", 0.001)
    calls: list[int] = []

    async def push() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise Transient("away", fix="wait")

    assert await tried(push) == 3
    with pytest.raises(Terminal):
        await tried(lambda: _nowhere("a", "b"))

    async def away() -> None:
        calls.append(1)
        raise Transient("away", fix="wait")

    calls.clear()
    with pytest.raises(Transient):
        await tried(away)
    assert len(calls) == 4


def test_a_message_says_what_was_left_out() -> None:
    rows = Rows(("text",), tuple((f"{n}" * 100,) for n in range(5_000)))
    text = message("q", 1, 0, rows)
    assert len(text) <= MAX_BYTES
    assert '"row_count": 5000, "cut": true' in text
    assert '"cut": false' in message("q", 1, 0, Rows(("text",), (("x",),)))
    assert same(rows, Rows(rows.columns, rows.rows, 5.0))
    assert not same(None, rows)
