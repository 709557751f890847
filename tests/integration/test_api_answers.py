"""Forms of an answer, live queries, and that nobody works for a client that left, over a real socket."""

import csv
import io
import json
from datetime import datetime
from decimal import Decimal
from typing import Any

import anyio
import httpx
import psutil
import pyarrow as pa
import pytest
from test_postgres_port import _confined
from test_view_queries import an_api
from view_changes import device, telemetry

from analytics.api_queries import MAX_LIVE

pytestmark = pytest.mark.anyio

SQL = """
SELECT 1::INTEGER i, 'a,"b"' t, NULL n, 1.5::DECIMAL(4,2) c, TIMESTAMP '2020-01-02 03:04:05.678' m, ['x', NULL] l,
       {'a': 1} s, true b, 170141183460469231731687303715884105727::HUGEINT h, 'x'::BLOB y, DATE '2020-01-02' d
"""
ARROW = {
    "i": 1, "t": 'a,"b"', "n": None, "c": Decimal("1.50"), "m": datetime(2020, 1, 2, 3, 4, 5, 678_000), "l": ["x", None],
    "s": '{"a": 1}', "b": True, "h": Decimal(2**127 - 1), "y": b"x", "d": datetime(2020, 1, 2).date(),
}  # fmt: skip
CALM = "SELECT device_id, last_seen FROM devices ORDER BY device_id"


async def test_an_answer_comes_as_it_is_asked_for() -> None:
    async with an_api() as (client, view, _):
        await view.apply([device(name, 1, last_seen=1_700_000_000_000) for name in "abc"])
        for how in ({"headers": {"Accept": "application/x-ndjson"}}, {"params": {"format": "ndjson"}}):
            told = await client.post("/query", json={"sql": CALM}, **how)
            assert told.headers["content-type"] == "application/x-ndjson"
            rows = [json.loads(line) for line in told.text.splitlines()]
            assert rows[0] == {"device_id": "a", "last_seen": "2023-11-14T22:13:20.000Z"}
            assert len(rows) == 3
        told = await client.post("/query?format=csv", json={"sql": CALM})
        assert list(csv.DictReader(io.StringIO(told.text)))[2]["device_id"] == "c"
        told = await client.get("/queries/fleet_overview", headers={"Accept": "text/html, text/csv;q=0.9"})
        assert told.text.startswith("device_type,")
        told = await client.post("/query?format=xml", json={"sql": CALM})
        assert (told.status_code, told.json()["fix"]) == (400, "known: json, ndjson, csv, arrow")


async def test_types_survive_in_arrow_and_json_says_them() -> None:
    async with an_api() as (client, _, _):
        told = await client.post(
            "/query", json={"sql": SQL}, headers={"Accept": "application/vnd.apache.arrow.stream"}
        )
        table = pa.ipc.open_stream(told.content).read_all()
        assert table.to_pylist() == [ARROW]
        assert table.schema.field("m").type == pa.timestamp("us")
        told = await client.post("/query", json={"sql": "SELECT 1 i, NULL n, 1.5::DECIMAL(4,2) c"})
        assert told.json()["types"] == ["INTEGER", '"NULL"', "DECIMAL(4,2)"]
        none = await client.post(
            "/query?format=arrow", json={"sql": "SELECT topic, received_at FROM telemetry"}
        )
        assert pa.ipc.open_stream(none.content).read_all().num_rows == 0


async def test_a_body_without_a_length_is_counted() -> None:
    async with an_api() as (client, _, _):

        async def endless() -> Any:
            for _ in range(30):
                yield b"x" * 100_000

        told = await client.post("/query", content=endless(), headers={"Content-Type": "application/json"})
        assert (told.status_code, set(told.json())) == (413, {"error", "fix"})


async def next_event(lines: Any) -> tuple[str, Any]:
    name = ""
    async for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        if line.startswith("data: "):
            return name, json.loads(line.removeprefix("data: "))
    return "", None


async def test_a_live_query_tells_each_change_and_no_more_than_so_many_are_open() -> None:
    async with an_api() as (client, view, _):
        asked = {"sql": "SELECT count(*) AS n FROM telemetry", "every": "0.2"}
        async with client.stream("GET", "/live", params=asked) as stream:
            lines = stream.aiter_lines()
            assert stream.headers["content-type"].startswith("text/event-stream")
            with anyio.fail_after(10):
                assert (await next_event(lines))[1]["rows"] == [[0]]
                await view.apply([telemetry(1), telemetry(2)])
                assert (await next_event(lines))[1]["rows"] == [[2]]
        wrong = await client.get("/live", params={"sql": "SELECT nope", "every": "0.2"})
        assert wrong.text.startswith("event: error")
        async with client.stream("GET", "/queries/fleet_overview/live", params={"every": "0.2"}) as stream:
            assert (await next_event(stream.aiter_lines()))[0] == "answer"
        limits = httpx.Limits(max_connections=MAX_LIVE + 5)
        async with (
            httpx.AsyncClient(base_url=client.base_url, limits=limits) as crowd,
            anyio.create_task_group() as tasks,
        ):
            for _ in range(MAX_LIVE):
                await tasks.start(hold, crowd)
            told = await crowd.get("/live", params=asked)
            assert f"more than {MAX_LIVE}" in told.text
            tasks.cancel_scope.cancel()


async def hold(client: httpx.AsyncClient, *, task_status: Any) -> None:
    async with client.stream("GET", "/live", params={"sql": "SELECT 1", "every": "60"}) as stream:
        lines = stream.aiter_lines()  # held: without it the stream is closed
        await next_event(lines)
        task_status.started()
        await anyio.sleep_forever()


async def test_a_statement_ends_when_its_client_leaves() -> None:
    async with an_api() as (client, view, _):
        for sql in ("SELECT count(*) FROM range(100000000) a, range(1000000) b",):
            with anyio.move_on_after(20):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(lambda sql=sql: client.post("/query", json={"sql": sql}))
                    while not any(map(_confined, psutil.Process().children())):
                        await anyio.sleep(0.02)
                    tasks.cancel_scope.cancel()
            with anyio.fail_after(5):
                while any(map(_confined, psutil.Process().children())):
                    await anyio.sleep(0.02)
        assert (await view.query("SELECT 1")).rows == ((1,),)
