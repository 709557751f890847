"""The service "model" over a view: from rows to quarantine, incident and rows of its own."""

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from model_fleet import START, Fleet, MemoryAlerts, MemoryControl, MemoryView

from analytics.detectors import process
from analytics.verdict_loop import MAX_PENDING, RESUME_SECONDS, VerdictLoop
from contracts.clock import ManualClock
from contracts.errors import Terminal, Transient, UnknownName
from contracts.messages import SECOND
from contracts.ports import Service
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio


class _Stage:
    """A loop with doubles around it, fed one second at a time."""

    def __init__(self, detector: str = "robust", *, view: MemoryView | None = None, **settings: Any) -> None:
        self.view = view or MemoryView()
        self.clock = ManualClock(START * SECOND)
        self.control = MemoryControl()
        self.alerts = MemoryAlerts()
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        settings.setdefault("train_until", (START + 15) * SECOND)
        self.loop = VerdictLoop(
            view=self.view,
            clock=self.clock,
            control=self.control,
            alerts=[self.alerts],
            detector=detector,
            emit=lambda event, facts: self.events.append((event, facts)),
            **settings,
        )

    async def feed(self, fleet: Fleet, seconds: int) -> None:
        for second in fleet.seconds(seconds):
            self.view.add(second)
            self.clock.set(second.end + SECOND // 4)
            await self.loop.step()


def _attacked(seed: int = 101) -> tuple[Fleet, set[str]]:
    fleet = Fleet(20, seed=seed)
    bad = fleet.pick(4)
    fleet.botnet(30, 40, bad)
    return fleet, fleet.names(bad)


@pytest.mark.parametrize("detector", ["robust", "knn"])
async def test_from_rows_to_quarantine_alert_and_incident(detector: str) -> None:
    stage = _Stage(detector)
    fleet, hostile = _attacked()
    await stage.feed(fleet, 60)
    assert set(stage.control.shut) == hostile
    assert [alert.happened for alert in stage.alerts.heard] == ["opened", "closed"]
    assert stage.alerts.heard[0].incident.kind == "attack"
    (incident,) = (one for one in stage.loop.incidents if one.kind == "attack")
    assert set(incident.devices) == hostile
    done = [action for action in incident.actions if action.action != "watch"]
    assert {(action.action, action.outcome) for action in done} == {
        ("quarantine", "done"),
        ("alert", "done"),
        ("all_clear", "done"),
    }
    assert len(done) == len(hostile) + 2
    logged = stage.view.table("actions")
    assert len(logged) == len(stage.loop.actions) == len({row["action_id"] for row in logged})
    assert {row["who"] for row in logged} == {"model"}
    assert incident.closed_at is not None
    assert max((verdict.decided_at - verdict.at) / 1e6 for verdict in stage.loop.verdicts) == pytest.approx(
        250.0
    )


async def test_what_it_writes_to_the_view() -> None:
    stage = _Stage()
    fleet, hostile = _attacked()
    await stage.feed(fleet, 60)
    rows = stage.view.table("verdicts")
    kinds = [row["kind"] for row in rows]
    assert kinds[0] == "attack" or kinds[0] == "benign_uptick"
    assert kinds[-1] == "normal"
    assert kinds.count("normal") <= 2, "normal ticks are written only when the kind changes"
    attack = next(row for row in rows if row["kind"] == "attack")
    assert set(attack["devices"]) <= hostile
    assert attack["evidence"][0]["weight"] == "security"
    assert attack["window_end"] == int(attack["verdict_id"])
    last = stage.view.table("incidents")[-1]
    assert last["closed_at"] is not None
    assert set(last["devices"]) == hostile
    sequences = [change.sequence for change in stage.view.applied]
    assert sequences == sorted(set(sequences))
    for change in stage.view.applied:
        assert change.new is not None
        assert all(change.new[name] == value for name, value in change.key.items())


async def test_released_devices_start_clean() -> None:
    stage = _Stage()
    fleet, hostile = _attacked()
    seconds = fleet.seconds(90)
    for second in seconds[:50]:
        stage.view.add(second)
        stage.clock.set(second.end)
        await stage.loop.step()
    assert set(stage.control.shut) == hostile
    for second in seconds[75:]:
        for name in list(stage.control.shut):
            await stage.control.release(name)
        stage.view.add(second)
        stage.clock.set(second.end)
        await stage.loop.step()
    assert {verdict.kind for verdict in list(stage.loop.verdicts)[-10:]} == {"normal"}


async def test_it_learns_for_the_given_time_and_says_so() -> None:
    stage = _Stage(train_until=None, train_seconds=20)
    fleet = Fleet(10, seed=102)
    seconds = fleet.seconds(30)
    for number, second in enumerate(seconds):
        stage.view.add(second)
        stage.clock.set(second.end)
        await stage.loop.step()
        assert stage.loop.learning == (number < 20)
    assert "RobustDetector" in stage.loop.health().detail


async def test_too_little_traffic_prolongs_the_learning() -> None:
    stage = _Stage(train_until=(START + 2) * SECOND)
    await stage.feed(Fleet(10, seed=103), 6)
    assert stage.loop.learning
    stage2 = _Stage(train_until=(START + 2) * SECOND)
    await stage2.feed(Fleet(10, seed=103), 20)
    assert not stage2.loop.learning


async def test_falling_behind_skips_to_the_newest_window() -> None:
    stage = _Stage()
    for second in Fleet(10, seed=104).seconds(40):
        stage.view.add(second)
    stage.clock.advance(60 * SECOND)
    assert await stage.loop.step() == 40
    counters = stage.loop.health().counters
    assert (counters["ticks"], counters["skipped"]) == (MAX_PENDING, 40 - MAX_PENDING)
    assert stage.loop.verdicts[-1].at == (START + 40) * SECOND
    assert not stage.loop.learning


async def test_a_view_that_is_away_for_a_moment_costs_nothing() -> None:
    stage = _Stage()
    fleet, hostile = _attacked()
    for second in fleet.seconds(60):
        stage.view.add(second)
        stage.clock.set(second.end)
        if second.start % 3 == 0:
            stage.view.failures.append(Transient("view busy", fix="wait"))
        await stage.loop.step()
    assert set(stage.control.shut) == hostile
    counters = stage.loop.health().counters
    assert counters["query_retries"] > 10
    assert counters["ticks"] >= 55


async def test_a_view_that_is_broken_stops_the_loop() -> None:
    stage = _Stage()
    stage.view.failures.append(Terminal("file is gone", fix="restore it"))
    with pytest.raises(Terminal):
        await stage.loop.step()


async def test_a_stop_does_not_wait_for_an_import_or_a_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine PyOD's import takes longer than a stop may."""
    monkeypatch.setattr(process, "_kept", False)
    monkeypatch.setattr(process, "_shared", [])
    stage = _Stage("knn")
    async with supervise([stage.loop], drain_seconds=5):  # raises DrainCut where a thread still waits
        for second in Fleet(10, seed=105).seconds(30):
            stage.view.add(second)
            stage.clock.set(second.end)
            await stage.loop.step()
            if process._shared:
                process._shared[0]._process.send_signal(signal.SIGSTOP)  # as slow as can be
        assert ("model.learnt", {"devices": 10}) in stage.events
        assert stage.loop.detector_in_use == "RobustDetector"
    assert stage.loop.health().state == "stopped"


async def test_the_service_runs_fits_in_the_background_and_drains() -> None:
    stage = _Stage("knn")
    service: Service = stage.loop
    seconds = Fleet(10, seed=105).seconds(40)
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda *, task_status: service.run(task_status=task_status))
        assert service.health().state == "ready"
        for second in seconds[:30]:
            stage.view.add(second)
        stage.clock.set(seconds[29].end)
        with anyio.fail_after(20):
            while stage.loop.detector_in_use != "PyodDetector":
                await anyio.sleep(0.01)
                stage.clock.advance(SECOND // 4)
        for second in seconds[30:]:
            stage.view.add(second)
        await service.drain()
        assert stage.loop.verdicts[-1].at == (START + 40) * SECOND
        assert service.health().state == "stopped"
        tasks.cancel_scope.cancel()
    assert [event for event, _ in stage.events if event.startswith("model.")] == [
        "model.learnt",
        "model.fitted",
    ]


async def _until(condition: Callable[[], bool], clock: ManualClock) -> None:
    with anyio.fail_after(10):
        while not condition():
            clock.advance(SECOND // 20)
            await anyio.sleep(0.005)


async def test_a_restarted_model_learns_the_same_span_and_tells_nobody_twice() -> None:
    before = _Stage(train_until=None, train_seconds=15)
    fleet, hostile = _attacked()
    seconds = fleet.seconds(60)
    for second in seconds[:45]:
        before.view.add(second)
        before.clock.set(second.end)
        await before.loop.step()
    assert set(before.control.shut) == hostile
    (open_before,) = (one for one in before.loop.incidents if one.kind == "attack")
    after = _Stage(view=before.view, train_until=None, train_seconds=15)
    after.control.shut = dict(before.control.shut)
    after.clock.set(seconds[44].end)
    async with supervise([after.loop], drain_seconds=5):
        await _until(lambda: not after.loop.learning, after.clock)
        for second in seconds[45:50]:
            after.view.add(second)
        await _until(lambda: seconds[49].end in {one.at for one in after.loop.verdicts}, after.clock)
        assert after.loop.detector_in_use == before.loop.detector_in_use
    assert after.alerts.heard == []
    (resumed,) = (one for one in after.loop.incidents if one.kind == "attack")
    assert (resumed.incident_id, resumed.opened_at) == (open_before.incident_id, open_before.opened_at)
    assert {"quarantine", "alert"} <= {action.action for action in resumed.actions}
    (span,) = {(row["learn_from"], row["learn_until"]) for row in after.view.table("models")}
    assert span == (START * 1000, (START + 15) * 1000)
    oldest = min(verdict.at for verdict in after.loop.verdicts)
    assert oldest >= seconds[44].end - RESUME_SECONDS * SECOND, "what is long past is not judged again"


@pytest.mark.parametrize("damage", [b"", b"this is no Parquet file"])
async def test_a_stored_baseline_saves_the_learning_a_damaged_one_is_told_of(
    damage: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "baseline.parquet"
    before = _Stage(baseline=file)
    fleet = Fleet(12, seed=5)
    await before.feed(fleet, 25)
    assert file.exists(), "written as soon as it is learnt: a kill -9 loses nothing of it"
    if damage:
        file.write_bytes(damage)
    after = _Stage(view=MemoryView(), baseline=file)
    after.clock.set((START + 25) * SECOND)
    async with supervise([after.loop], drain_seconds=5):
        events = [name for name, _ in after.events]
        assert after.loop.learning == bool(damage)
        assert events[:1] == (["note"] if damage else ["model.restored"])
        assert ("cannot read" in after.loop.health().detail) == bool(damage)
    assert not file.with_name("baseline.parquet.new").exists()


async def test_it_learns_anew_from_a_span_and_closes_what_was_open() -> None:
    stage = _Stage()
    fleet, hostile = _attacked()
    await stage.feed(fleet, 45)
    assert set(stage.control.shut) == hostile
    now = stage.clock.now()
    await stage.loop.learn(start=now, until=now + 20 * SECOND)
    assert stage.loop.learning
    assert stage.view.table("incidents")[-1]["closed_at"] is not None
    for second in fleet.seconds(75)[45:]:
        stage.view.add(second)
        stage.clock.set(second.end)
        await stage.loop.step()
        assert stage.loop.learning == (second.end < now + 20 * SECOND)
    assert stage.view.table("models")[-1]["learn_until"] == (now + 20 * SECOND) // 10**6
    assert {verdict.kind for verdict in list(stage.loop.verdicts)[-5:]} == {"normal"}


async def test_an_unknown_detector_is_refused_before_anything_runs() -> None:
    with pytest.raises(UnknownName, match="knnn"):
        _Stage("knnn")
