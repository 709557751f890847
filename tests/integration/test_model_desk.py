"""The security team's hands, over HTTP, on a real view beside a model that judges."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from model_fleet import START, Fleet, MemoryAlerts, MemoryControl
from test_view_duckdb import a_view

from analytics.api import create_app
from analytics.api_model import add_model_state
from analytics.response import ResponseRule
from analytics.verdict_loop import VerdictLoop
from analytics.view.duckdb import DuckDBView
from analytics.windows import COUNTS, Second
from contracts.clock import ManualClock
from contracts.messages import FLEET, SECOND, Change
from contracts.ports import DeviceControl

pytestmark = pytest.mark.anyio
TRAIN = 15


def _rows(second: Second) -> list[Change]:
    start = second.start * 1000
    items = [
        {"device_id": row.device_id, **dict(zip(COUNTS, row.counts, strict=True)), "topics": list(row.topics)}
        for row in second.rows
    ]
    items.append({"device_id": FLEET, "num_devices": len(second.rows)})
    return [
        Change(
            "INSERT",
            "device_metrics",
            {"device_id": item["device_id"], "period_start": start},
            {**item, "period_start": start},
            None,
            start + 1,
        )
        for item in items
    ]


class _Desk:
    """A model over a real view, its API, and a fleet to feed it with."""

    def __init__(self, view: DuckDBView, fleet: Fleet, **settings: Any) -> None:
        self.view = view
        self.clock = ManualClock(START * SECOND)
        self.control = MemoryControl()
        self.seconds = fleet.seconds(200)
        self.at = 0
        self.loop = self.make(**settings)
        self.client: httpx.AsyncClient

    def make(self, **settings: Any) -> VerdictLoop:
        control: DeviceControl = self.control
        return VerdictLoop(
            view=self.view,
            clock=self.clock,
            control=control,
            alerts=[MemoryAlerts()],
            detector="robust",
            train_until=(START + TRAIN) * SECOND,
            start=START * SECOND,
            **settings,
        )

    async def feed(self, until: int) -> None:
        for second in self.seconds[self.at : until]:
            await self.view.apply(_rows(second))
            self.clock.set(second.end)
            await self.loop.step()
        self.at = until

    async def get(self, path: str, **query: Any) -> Any:
        answer = await self.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, status: int = 200, **body: Any) -> Any:
        answer = await self.client.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def kinds(self, since: int) -> set[str]:
        return {verdict.kind for verdict in self.loop.verdicts if verdict.at > (START + since) * SECOND}


@asynccontextmanager
async def _desk(fleet: Fleet, **settings: Any) -> AsyncIterator[_Desk]:
    async with a_view() as view:
        desk = _Desk(view, fleet, **settings)
        app = create_app(view=view, devices=None, desk=desk.loop.desk)
        add_model_state(app, desk.loop)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://desk") as desk.client:
            yield desk


def _botnet(*, seed: int = 1, last: int = 25) -> tuple[Fleet, set[str]]:
    fleet = Fleet(20, seed=seed)
    bad = fleet.pick(3)
    fleet.botnet(30, last, bad)
    fleet.botnet(100, 40, bad)
    return fleet, fleet.names(bad)


async def test_a_false_positive_is_released_learnt_from_and_shown() -> None:
    fleet, hostile = _botnet()
    async with _desk(fleet) as desk:
        await desk.feed(60)
        assert set(desk.control.shut) == hostile
        (incident,) = [one for one in (await desk.get("/incidents"))["incidents"] if one["kind"] == "attack"]
        name = incident["incident_id"]
        told = await desk.post(f"/incidents/{name}/resolve", **{"as": "false_positive", "by": "ann"})
        assert not desk.control.shut
        assert told["lesson"]["limits"]["novel"] > 2.0
        assert told["lesson"]["taught"] == {"meter": ["dt/meter/{device}/c2", "dt/meter/{device}/telemetry"]}
        shown = await desk.get(f"/incidents/{name}")
        assert (shown["resolution"], shown["resolved_by"]) == ("false_positive", "ann")
        assert shown["lesson_until"] is not None
        assert (await desk.get("/model"))["lessons"][0]["incident_id"] == name
        actions = (await desk.get("/actions", incident_id=name))["actions"]
        assert {(one["action"], one["who"]) for one in actions} >= {
            ("quarantine", "model"),
            ("alert", "model"),
            ("resolve", "ann"),
            ("release", "ann"),
        }
        await desk.feed(140)
        assert not desk.control.shut, "the same again is load now"
        assert desk.kinds(100) <= {"normal", "benign_uptick"}


async def test_a_true_positive_keeps_its_devices_in_and_out_of_learning() -> None:
    fleet, hostile = _botnet()
    async with _desk(fleet, response=ResponseRule(release_after=10.0, limit=50.0)) as desk:
        await desk.feed(50)
        name = next(one.incident_id for one in desk.loop.incidents if one.kind == "attack")
        await desk.post(f"/incidents/{name}/resolve", **{"as": "true_positive"})
        await desk.feed(99)
        assert set(desk.control.shut) == hostile, "the limit passed, but a person confirmed the attack"
        await desk.loop.learn(start=(START + 20) * SECOND, until=(START + 45) * SECOND)
        await desk.loop.step()
        patterns = desk.loop._model.learnt.baseline.patterns["meter"]  # type: ignore[union-attr]
        assert patterns == {"dt/meter/{device}/telemetry"}


async def test_devices_come_back_by_themselves_and_everything_is_logged() -> None:
    fleet, hostile = _botnet(last=10)
    async with _desk(fleet, response=ResponseRule(release_after=20.0)) as desk:
        await desk.feed(55)
        assert set(desk.control.shut) == hostile
        await desk.feed(90)
        assert not desk.control.shut
        rows = (await desk.view.query("SELECT * FROM actions ORDER BY action_id")).dicts()
        assert len(rows) == len(desk.loop.actions)
        released = [row for row in rows if row["action"] == "release"]
        assert {row["target"] for row in released} == hostile
        assert {(row["who"], row["outcome"]) for row in released} == {("model", "done")}
        await desk.feed(140)
        assert set(desk.control.shut) == hostile, "they do it again"


async def test_what_is_held_is_approved_or_dismissed() -> None:
    fleet, hostile = _botnet()
    async with _desk(fleet, response=ResponseRule(quarantine=False)) as desk:
        await desk.feed(45)
        assert not desk.control.shut
        held = (await desk.get("/held"))["held"]
        assert {one["device_id"] for one in held} == hostile
        assert all(one["why"] and one["evidence"].startswith("Attack") for one in held)
        first, second, _ = sorted(hostile)
        approved = await desk.post(f"/held/{first}/approve", by="ann", reason="yes")
        assert (approved["outcome"], approved["by"]) == ("done", "ann")
        assert set(desk.control.shut) == {first}
        await desk.post(f"/held/{second}/dismiss", by="ann", reason="mine")
        await desk.post(f"/held/{second}/approve", 404)
        assert len((await desk.get("/held"))["held"]) == 1


async def test_a_person_shuts_out_and_lets_in_with_name_and_reason() -> None:
    async with _desk(Fleet(5, seed=2)) as desk:
        await desk.post("/devices/dev-0001/quarantine", by="ann", reason="stolen", seconds=30)
        assert desk.control.shut == {"dev-0001": "stolen"}
        await desk.post("/devices/dev-0001/quarantine", 422, seconds=-1)
        await desk.post("/devices/dev-0001/release", by="bob")
        assert not desk.control.shut
        desk.control.failures = 1
        told = await desk.post("/devices/dev-0001/quarantine", 503)
        assert "gateway away" in told["error"]
        actions = (await desk.get("/actions", target="dev-0001"))["actions"]
        assert [(one["who"], one["action"], one["why"]) for one in actions[1:]] == [
            ("bob", "release", "by hand"),
            ("ann", "quarantine", "stolen"),
        ]
        assert actions[0]["outcome"].startswith("failed")
        await desk.post("/incidents/nope/resolve", 404, **{"as": "false_positive"})
        await desk.post("/incidents/nope/resolve", 404, **{"as": "no idea"})


async def test_announcements_are_made_listed_withdrawn_and_kept() -> None:
    fleet = Fleet(20, seed=3, every=0.5)
    chosen = fleet.rollout(30, 60, fraction=0.4, factor=2.5)
    names = sorted(fleet.names(chosen))
    async with _desk(fleet) as desk:
        await desk.feed(25)
        made = await desk.post(
            "/announcements", what="firmware 2", by="ann", devices=names, seconds=600, rate=2.5
        )
        await desk.feed(60)
        assert set(desk.loop._model.known.cohorts) == set(names)
        assert desk.kinds(30) <= {"normal", "benign_uptick"}
        assert [one["what"] for one in (await desk.get("/announcements"))["announcements"]] == ["firmware 2"]
        await desk.post(f"/announcements/{made['announcement_id']}/withdraw", by="ann")
        (row,) = (await desk.view.query("SELECT who, devices, ends_at FROM announcements")).dicts()
        assert (row["who"], row["devices"]) == ("ann", names)
        for wrong in ({"seconds": 60}, {"devices": ["a"], "seconds": 0}):
            await desk.post("/announcements", 400, what="x", **wrong)
        await desk.post("/announcements", 422, what="x", devices=["a"], seconds=9e9)
        await desk.post(
            "/announcements", 400, what="x", devices=["a"], seconds=60, topics=["dt/other/secret"]
        )
        await desk.post("/announcements", 400, what="x", devices=["a"], seconds=60, rate=50)


async def test_a_job_of_the_platform_announces_its_devices() -> None:
    fleet = Fleet(20, seed=3, every=0.5)
    async with _desk(fleet) as desk:
        await desk.feed(20)
        now = desk.clock.now() // 10**6
        row = {"device_id": "dev-0003", "job": '{"job": "fw", "rate_factor": 4}', "job_at": now}
        await desk.view.apply([Change("INSERT", "devices", {"device_id": "dev-0003"}, row, None, 5)])
        await desk.feed(25)
        known = desk.loop._model.known
        assert (known.cohorts, known.allowed) == ({"dev-0003": "job fw"}, {"job fw": 4.0})
        taken_back = {**row, "job": "", "job_at": now + 6000}
        await desk.view.apply([Change("MODIFY", "devices", {"device_id": "dev-0003"}, taken_back, None, 9)])
        await desk.feed(100)
        assert desk.loop._model.known.cohorts == {"dev-0003": "job fw"}, "until it has settled"
        await desk.feed(150)
        assert desk.loop._model.known.cohorts == {}
