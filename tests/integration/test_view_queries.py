"""Every named query on known rows, and the HTTP API, on the real DuckDB."""

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from test_view_duckdb import a_view
from view_changes import device, telemetry
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from analytics.api import create_app
from analytics.api_alerts import add_alerts
from analytics.api_model import add_model
from analytics.api_server import ApiServer
from analytics.query_catalog import catalog, run_named
from analytics.reachable import check_open
from analytics.sync import Sync
from analytics.view.duckdb import DuckDBView
from contracts.clock import SystemClock
from contracts.errors import BackendError, ConfigError, UnknownName
from contracts.messages import Change, Json
from contracts.ports import Health
from contracts.streams import BatchStream
from thingstorm.config import Config
from thingstorm.dashboard.page import make_page
from thingstorm.runtime.access import Access, AccessRules
from thingstorm.runtime.following import add_trace
from thingstorm.runtime.health import add_health
from thingstorm.runtime.pages import Backstage
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio


def metric(device_id: str, start: int, **counts: Json) -> Change:
    item = {"device_id": device_id, "period_start": start, "period_end": start + 1000, **counts}
    key = {"device_id": device_id, "period_start": start}
    return Change("INSERT", "device_metrics", key, item, None, start, "m")


def metrics() -> list[Change]:
    """Device `a` now and three minutes ago; device `b` now, on another topic as well."""
    now = (int(time.time()) - 10) * 1000
    sizes = {"message_bytes_received": 800, "message_byte_size_max": 120}
    failures = {"num_connection_attempts": 3, "num_connects": 1, "num_authentication_failures": 2}
    return [
        metric("a", now, num_messages_received=8, topics=["dt/x/a/t"], **sizes),
        metric("a", now - 190_000, num_messages_received=5, message_bytes_received=500, topics=["dt/x/a/t"]),
        metric("b", now, num_messages_received=2, message_bytes_received=100, message_byte_size_max=60,
               topics=["dt/x/b/odd", "dt/x/b/t"], **failures),
        metric("$fleet", now, num_messages_received=10, num_devices=2),
    ]  # fmt: skip


async def ask(view: DuckDBView, name: str, **given: Json) -> list[dict[str, Any]]:
    return (await run_named(view, name, given)).dicts()


async def test_traffic_counts_devices_and_leaves_the_fleet_row_out() -> None:
    async with a_view() as view:
        await view.apply(metrics())
        assert [
            (row["messages"], row["bytes"], row["devices"])
            for row in await ask(view, "traffic_per_window", seconds=60)
        ] == [(10, 900, 2)]
        assert sum(row["messages"] for row in await ask(view, "traffic_per_window")) == 15


async def test_top_talkers_have_their_share() -> None:
    async with a_view() as view:
        await view.apply(metrics())
        assert await ask(view, "top_talkers", seconds="60", top=1) == [
            {"device_id": "a", "messages": 8, "percent": 80.0}
        ]


async def test_a_topic_is_new_if_nobody_of_the_type_used_it_before() -> None:
    async with a_view() as view:
        await view.apply(metrics())
        assert await ask(view, "new_topics", seconds=60) == [
            {"device_type": "x", "pattern": "dt/x/{device}/odd", "devices": 1}
        ]


async def test_sizes_connects_and_failures_per_device() -> None:
    async with a_view() as view:
        await view.apply(metrics())
        sizes = await ask(view, "payload_size")
        assert [(row["device_id"], row["mean_bytes"], row["max_bytes"]) for row in sizes] == [
            ("a", 100.0, 120),
            ("b", 50.0, 60),
        ]
        assert [
            (row["device_id"], row["attempts"], row["connects"])
            for row in await ask(view, "connects_per_device")
        ] == [("b", 3, 1)]
        (failures,) = await ask(view, "auth_failures_per_device")
        assert (failures["device_id"], failures["authentication_failures"]) == ("b", 2)


async def test_latency_and_overview() -> None:
    now = int(time.time() * 1000)
    async with a_view() as view:
        await view.apply(
            [
                telemetry(1, received_at=now, device_time=now - 500),
                device("a", 1, device_type="x", connected=True),
            ]
        )
        (latency,) = await ask(view, "data_latency")
        assert latency["messages"] == 1
        assert 500 <= latency["p50_ms"] < 5_000
        (overview,) = await ask(view, "fleet_overview")
        assert (overview["device_type"], overview["devices"], overview["connected"]) == ("x", 1, 1)


async def test_every_query_says_what_it_is_and_runs_with_its_defaults() -> None:
    async with a_view() as view:
        for query in catalog().values():
            assert query.description.endswith(".")
            assert query.version >= 1
            await run_named(view, query.name, {})


async def test_unknown_queries_and_parameters_list_the_known_ones() -> None:
    async with a_view() as view:
        with pytest.raises(UnknownName, match="top_talker"):
            await run_named(view, "top_talker", {})
        with pytest.raises(UnknownName) as caught:
            await run_named(view, "top_talkers", {"second": 5})
        assert "did you mean 'seconds'" in caught.value.fix
        with pytest.raises(ConfigError, match="no INTEGER"):
            await run_named(view, "top_talkers", {"seconds": "many"})


async def test_sync_applies_everything_and_measures_from_the_device_to_the_commit() -> None:
    stream = BatchStream[Change]("changes", capacity=1000, max_batch=50)
    async with a_view() as view:
        sync = Sync(stream, view, clock=SystemClock(), interval=0.01)
        async with supervise([sync], drain_seconds=5):
            now = int(time.time() * 1000)
            for number in range(200):
                await stream.put(telemetry(number, received_at=now, device_time=now - 300))
        assert (await view.query("SELECT count(*) FROM telemetry")).rows == ((200,),)
        assert 300 <= sync.latency_ms(0.5) <= sync.latency_ms(0.95) < 10_000
        assert sync.health().counters == {"telemetry_changes": 200}


class Doors:
    """A DeviceControl that only remembers."""

    def __init__(self) -> None:
        self.shut: set[str] = set()
        self.created: dict[str, Mapping[str, Any] | None] = {}

    async def quarantine(self, device_id: str, *, reason: str) -> None:
        assert reason
        self.shut.add(device_id)

    async def release(self, device_id: str) -> None:
        self.shut.discard(device_id)

    async def create(self, device_id: str, *, policy: Mapping[str, Any] | None = None) -> None:
        self.created[device_id] = policy

    def quarantined(self) -> frozenset[str]:
        return frozenset(self.shut)


@asynccontextmanager
async def an_api(health: Health | None = None) -> AsyncIterator[tuple[httpx.AsyncClient, DuckDBView, Doors]]:
    doors = Doors()
    async with a_view() as view:
        app = create_app(view=view, devices=doors)
        add_health(app, lambda: [health or view.health()], stage="stack")
        server = ApiServer(app, host="127.0.0.1", port=0)
        async with supervise([server], drain_seconds=5), _client(server) as client:
            yield client, view, doors


@asynccontextmanager
async def _client(server: ApiServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client:
        yield client


async def test_the_api_answers_queries_and_explains_refusals() -> None:
    async with an_api() as (client, _, _):
        good = await client.post(
            "/query", json={"sql": "SELECT 1 AS a, now() AS t, $x AS x", "parameters": {"x": [1]}}
        )
        told = good.json()
        assert (good.status_code, told["columns"], told["rows"][0][0], told["rows"][0][2]) == (
            200,
            ["a", "t", "x"],
            1,
            [1],
        )
        assert told["rows"][0][1].endswith("Z")
        bad = await client.post("/query", json={"sql": "DROP TABLE devices"})
        assert (bad.status_code, set(bad.json())) == (400, {"error", "fix"})
        assert (await client.get("/queries/nope")).status_code == 404
        assert (await client.get("/queries/top_talkers", params={"seconds": "5"})).status_code == 200
        assert "top_talkers" in {query["name"] for query in (await client.get("/queries")).json()["queries"]}
        assert (await client.post("/query", content=b"x" * 2_000_000)).status_code == 413


@pytest.mark.parametrize(
    "text",
    [
        b'{"sql": "SELECT $x AS x, $y AS y", "parameters": {"x": "\\ud800", "y": [{"a": "\\udc00b"}]}}',
        b'{"sql": "SELECT $x AS x, $y AS y", "parameters": {"x": "\xed\xa0\x80", "y": [{"a": "\\udc00b"}]}}',
        """{"sql": "SELECT '\\ud800' AS x, [{'a': '\\udc00b'}] AS y"}""".encode("utf-16"),
    ],
    ids=["escape", "bytes", "utf-16"],
)
async def test_half_a_surrogate_pair_in_a_request_stays_its_escape(text: bytes) -> None:
    async with an_api() as (client, _, _):
        answer = await client.post("/query", content=text, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json().get("rows")) == (200, [["\\ud800", [{"a": "\\udc00b"}]]])
        whole = await client.post(
            "/query", json={"sql": "SELECT $x AS x", "parameters": {"x": "\U0001f600 \ud55c"}}
        )
        assert whole.json()["rows"] == [["\U0001f600 \ud55c"]]


async def test_the_api_shows_devices_and_says_what_it_cannot_do() -> None:
    async with an_api() as (client, view, _):
        await view.apply([device("a", 1, device_type="x", last_seen=1_700_000_000_000)])
        assert (await client.get("/devices")).json()["devices"][0]["last_seen"] == "2023-11-14T22:13:20.000Z"
        assert (await client.get("/devices/a")).json()["device_type"] == "x"
        missing = await client.get("/devices/b")
        assert (missing.status_code, missing.json()["fix"]) == (404, "known: a")
        nothing = await client.get("/incidents/x")
        assert (nothing.status_code, nothing.json()["fix"]) == (404, "there is none")
        assert (await client.post("/devices/a/quarantine", json={})).status_code == 503, "no model runs here"
        assert (await client.get("/incidents")).json() == {"incidents": []}
        assert (await client.get("/verdicts")).json() == {"verdicts": []}


async def test_health_says_503_when_a_part_is_not_ready() -> None:
    async with an_api() as (client, _, _):
        assert (await client.get("/healthz")).status_code == 200
    async with an_api(Health("aws", "failed", "gone")) as (client, _, _):
        answer = await client.get("/healthz")
        assert (answer.status_code, answer.json()["services"][0]["detail"]) == (503, "gone")


async def test_metrics_are_prometheus_text() -> None:
    async with an_api() as (client, _, _):
        text = (await client.get("/metrics")).text
        assert 'thingstorm_service_ready{service="view"} 1.0' in text
        assert "thingstorm_view_queries_total" in text


async def test_a_port_that_is_taken_is_said() -> None:
    async with an_api() as (client, view, _):
        port = client.base_url.port
        assert port is not None
        other = ApiServer(create_app(view=view, devices=None), host="127.0.0.1", port=port)
        with pytest.raises(BackendError, match=str(port)):
            async with supervise([other], drain_seconds=1):
                pytest.fail("the port is taken")


async def test_requests_under_way_do_not_hold_up_the_stop() -> None:
    ended = False
    with anyio.fail_after(10):
        async with an_api() as (client, _, _), anyio.create_task_group() as tasks:

            async def slow() -> None:
                nonlocal ended
                with suppress(httpx.HTTPError):
                    await client.post("/query", json={"sql": "SELECT count(*) FROM range(3000000000)"})
                    ended = True

            tasks.start_soon(slow)
            await anyio.sleep(0.2)
            tasks.cancel_scope.cancel()
    assert not ended, "the query was over before the stop: it held up nothing"


WEBSOCKET = "WEBSOCKET"


def _requests(route: BaseRoute) -> Iterator[tuple[str, str]]:
    """A request of each method of a route; of a folder, one for each of its files."""
    match route:
        case Mount(path=path, app=StaticFiles(directory=folder)):
            yield from (("GET", f"{path}/{file.name}") for file in Path(str(folder)).iterdir())
        case Route(path=path, methods=methods):
            yield from ((verb, path.replace("{", "").replace("}", "")) for verb in methods or ())
        case WebSocketRoute(path=path):
            yield WEBSOCKET, path
        case _:
            pytest.fail(f"a route of an unknown kind: {route}")


async def test_with_a_token_every_route_asks_for_it() -> None:
    """The page's own too: nothing of the parts that it shows is there, since no request gets so far."""
    absent: Any = None
    async with a_view() as view:
        app = create_app(view=view, devices=None)
        add_health(app, lambda: [view.health()], stage="stack")
        add_model(app, model=absent, sync=absent, feed=absent)
        add_alerts(app, absent)
        add_trace(app, [])
        make_page(
            app,
            Backstage(
                Config(), SystemClock(), view, absent, absent, absent, [], shadows=None, theatre=absent
            ),
        )
        server = ApiServer(Access(AccessRules("0.0.0.0", "secret")).guard(app), host="127.0.0.1", port=0)
        async with supervise([server], drain_seconds=5), _client(server) as client:
            asked = [one for route in app.routes for one in _requests(route)]
            assert {path for verb, path in asked if verb == WEBSOCKET} == {"/page/feed"}
            assert {("GET", "/"), ("GET", "/page/files/app.js"), ("POST", "/page/plays")} < set(asked)
            assert len(asked) > 50
            for verb, path in (*asked, ("GET", "/nowhere")):
                if verb == WEBSOCKET:
                    with pytest.raises(InvalidStatus) as closed:
                        await anyio.to_thread.run_sync(connect, f"ws://127.0.0.1:{server.port}{path}")
                    assert closed.value.response.status_code == 401, path
                    continue
                refused = await client.request(verb, path)
                assert (refused.status_code, verb == "HEAD" or set(refused.json())) == (
                    401,
                    verb == "HEAD" or {"error", "fix"},
                ), (verb, path)
            for given, status in (
                ({"Authorization": "Bearer secret"}, 200), ({"Authorization": "Bearer wrong"}, 401),
                ({"Authorization": "Basic !"}, 401), ({"Authorization": "Digest secret"}, 401),
            ):  # fmt: skip
                assert (await client.get("/healthz", headers=given)).status_code == status
            assert (await client.get("/healthz", auth=("anybody", "secret"))).status_code == 200


def test_beyond_loopback_a_token_must_be_set() -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        check_open(host, "", setting="api.token")
    check_open("0.0.0.0", "secret", setting="api.token")
    for host in ("0.0.0.0", "::", "10.0.0.7", "example.org"):
        with pytest.raises(ConfigError, match="without a token") as caught:
            check_open(host, "", setting="api.token")
        assert "api.token" in caught.value.fix
