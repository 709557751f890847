"""The response rule: who is shut out, how many at most, who is told, and what happens when it fails."""

from dataclasses import replace
from typing import Any

import anyio
import pytest
from model_fleet import MemoryAlerts, MemoryControl

from analytics.response import ATTEMPTS, DRY, MAX_WATCHED, Responder, ResponseRule
from contracts.clock import ManualClock
from contracts.errors import UnknownName
from contracts.messages import SECOND, Evidence, Incident, Verdict, VerdictKind

pytestmark = pytest.mark.anyio


def _incident(kind: VerdictKind = "attack", *devices: str) -> Incident:
    verdict = Verdict(kind, 1, 2, 0.9, 1.0, devices, summary="why")
    return Incident("security-1", kind, 1, 1, None, devices, verdict)


def _responder(
    control: MemoryControl,
    *alerts: MemoryAlerts,
    share: float = 0.3,
    clock: ManualClock | None = None,
    **settings: Any,
) -> Responder:
    rule = ResponseRule(max_share=share, **settings)
    return Responder(control=control, alerts=alerts, clock=clock or ManualClock(5), rule=rule)


async def test_an_attack_shuts_out_its_devices_and_alerts_every_sink_once() -> None:
    control, first, second = MemoryControl(), MemoryAlerts(), MemoryAlerts()
    responder = _responder(control, first, second)
    incident = _incident("attack", "a", "b")
    actions = await responder.respond(incident, fleet_size=50)
    assert set(control.shut) == {"a", "b"}
    assert [(item.action, item.target, item.outcome) for item in actions[:2]] == [
        ("quarantine", "a", "done"),
        ("quarantine", "b", "done"),
    ]
    assert {item.incident_id for item in actions} == {"security-1"}
    assert await responder.respond(incident, fleet_size=50) == []
    assert [(told.action, told.target, told.outcome) for told in responder.told()] == [
        ("alert", "memory", "done"),
        ("alert", "memory", "done"),
    ]
    assert len(first.heard) == len(second.heard) == 1


async def test_an_uptick_alerts_nobody_and_doubt_shuts_nobody_out() -> None:
    control, alerts = MemoryControl(), MemoryAlerts()
    assert await _responder(control, alerts).respond(_incident("benign_uptick"), fleet_size=9) == []
    await _responder(control, alerts).respond(_incident("undecided", "a"), fleet_size=9)
    assert not control.shut
    assert len(alerts.heard) == 1


async def test_doubt_that_becomes_an_attack_is_told_again() -> None:
    alerts = MemoryAlerts()
    responder = _responder(MemoryControl(), alerts)
    await responder.respond(_incident("undecided"), fleet_size=9)
    await responder.respond(_incident("attack", "a"), fleet_size=9)
    assert [(alert.happened, alert.incident.kind) for alert in alerts.heard] == [
        ("opened", "undecided"),
        ("worsened", "attack"),
    ]


async def test_the_cap_holds_and_is_recorded_once() -> None:
    control = MemoryControl()
    responder = _responder(control)
    incident = _incident("attack", "a", "b", "c", "d")
    actions = await responder.respond(incident, fleet_size=10)
    assert set(control.shut) == {"a", "b", "c"}
    assert actions[-1].target == "d"
    assert actions[-1].outcome.startswith("held")
    assert await responder.respond(incident, fleet_size=10) == []


async def test_the_cap_counts_devices_of_earlier_incidents() -> None:
    control = MemoryControl()
    control.shut = {"x": "", "y": "", "z": ""}
    actions = await _responder(control).respond(_incident("attack", "a"), fleet_size=10)
    assert actions[0].outcome.startswith("held")


async def test_a_small_fleet_may_lose_one_device() -> None:
    control = MemoryControl()
    await _responder(control).respond(_incident("attack", "a", "b"), fleet_size=2)
    assert set(control.shut) == {"a"}


async def test_failures_are_recorded_and_tried_again_until_they_work() -> None:
    control, alerts = MemoryControl(failures=1), MemoryAlerts()
    responder = _responder(control, alerts)
    outcomes = []
    for _ in range(4):
        actions = await responder.respond(_incident("attack", "a"), fleet_size=50)
        outcomes.append([(item.action, item.outcome) for item in actions])
    assert outcomes == [
        [("quarantine", "failed: gateway away")],
        [("quarantine", "done")],
        [],
        [],
    ]
    assert len(alerts.heard) == 1


async def test_giving_up_after_the_last_attempt() -> None:
    control = MemoryControl(failures=99)
    responder = _responder(control)
    for _ in range(ATTEMPTS + 3):
        await responder.respond(_incident("attack", "a"), fleet_size=50)
    assert control.asked == ATTEMPTS


async def test_a_gateway_that_hangs_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(MemoryControl):
        async def quarantine(self, device_id: str, *, reason: str) -> None:
            await anyio.sleep_forever()

    monkeypatch.setattr("analytics.response.PATIENCE_SECONDS", 0.01)
    actions = await _responder(Hanging()).respond(_incident("attack", "a"), fleet_size=9)
    assert "no answer" in actions[0].outcome


async def test_a_closed_incident_is_forgotten() -> None:
    alerts = MemoryAlerts()
    responder = _responder(MemoryControl(), alerts)
    await responder.respond(_incident("attack"), fleet_size=9)
    responder.forget("security-1")
    await responder.respond(_incident("attack"), fleet_size=9)
    assert len(alerts.heard) == 2


def _seconds(clock: ManualClock, seconds: float) -> None:
    clock.advance(int(seconds * SECOND))


async def test_the_cap_of_a_window_holds_back_and_is_taken_up_by_itself() -> None:
    control, clock = MemoryControl(), ManualClock(SECOND)
    responder = _responder(control, share=1.0, window_share=0.2, clock=clock)
    devices = [f"d{number}" for number in range(7)]
    actions = await responder.respond(_incident("attack", *devices), fleet_size=20)
    assert set(control.shut) == set(devices[:4])
    assert [action.outcome.partition(":")[0] for action in actions] == ["done"] * 4 + ["held"] * 3
    assert {held.device_id for held in responder.held} == set(devices[4:])
    assert await responder.respond(_incident("attack", *devices), fleet_size=20) == []
    _seconds(clock, 5)
    later = await responder.respond(_incident("attack", *devices), fleet_size=20)
    assert [action.outcome for action in later] == ["done"] * 3
    assert responder.held == ()
    assert set(control.shut) == set(devices)


async def test_what_the_fleets_cap_held_waits_for_a_person() -> None:
    control, clock = MemoryControl(), ManualClock(SECOND)
    responder = _responder(control, share=0.2, clock=clock)
    incident = _incident("attack", "a", "b", "c", "d")
    await responder.respond(incident, fleet_size=10)
    assert [held.device_id for held in responder.held] == ["c", "d"]
    _seconds(clock, 60)
    assert await responder.respond(incident, fleet_size=10) == []
    approved = await responder.approve("c", by="ann", reason="seen it")
    assert (approved.by, approved.outcome, approved.incident_id) == ("ann", "done", "security-1")
    assert "2 is the limit" in approved.reason
    dismissed = responder.dismiss("d", by="ann", reason="a test device")
    assert (dismissed.outcome, dismissed.by) == ("dismissed", "ann")
    assert set(control.shut) == {"a", "b", "c"}
    assert responder.held == ()
    with pytest.raises(UnknownName):
        await responder.approve("zz", by="ann", reason="")


async def test_an_approval_that_fails_stays_held() -> None:
    control = MemoryControl()
    responder = _responder(control, quarantine=False)
    await responder.respond(_incident("attack", "a"), fleet_size=10)
    control.failures = 1
    assert (await responder.approve("a", by="ann", reason="")).outcome.startswith("failed")
    assert [held.device_id for held in responder.held] == ["a"]


async def test_without_quarantine_everybody_is_held() -> None:
    control = MemoryControl()
    responder = _responder(control, quarantine=False)
    actions = await responder.respond(_incident("attack", "a", "b"), fleet_size=10)
    assert not control.shut
    assert {action.outcome for action in actions} == {"held: quarantine by itself is switched off"}


async def test_a_dry_run_decides_and_does_nothing() -> None:
    control, clock = MemoryControl(), ManualClock(SECOND)
    responder = _responder(control, dry_run=True, share=0.2, clock=clock)
    incident = _incident("attack", "a", "b", "c")
    actions = await responder.respond(incident, fleet_size=10)
    assert [action.outcome for action in actions][:2] == [DRY, DRY]
    assert actions[2].outcome.startswith("held"), "the caps count as if it were done"
    assert control.asked == 0
    assert await responder.respond(incident, fleet_size=10) == []
    _seconds(clock, 4000)
    released = await responder.tend(lambda _: SECOND)
    assert {(one.action, one.outcome) for one in released if one.action == "release"} == {("release", DRY)}
    assert responder.shut_out() == frozenset()


async def test_load_is_watched_and_doubt_is_held_never_shut_out() -> None:
    control = MemoryControl()
    responder = _responder(control)
    uptick = _incident("benign_uptick")
    uptick = replace(uptick, verdict=replace(uptick.verdict, watched=tuple(f"w{n}" for n in range(80))))
    watched = await responder.respond(uptick, fleet_size=100)
    assert {(action.action, action.outcome) for action in watched} == {("watch", "done")}
    assert len(watched) == MAX_WATCHED
    assert await responder.respond(uptick, fleet_size=100) == []
    evidence = (
        Evidence("s", "novel", 3.0, 0.0, 0.0, 4.0, "security"),
        Evidence("l", "rate_excess", 9.0, 1.0, 1.0, 4.0, "load"),
    )
    doubt = _incident("undecided")
    doubt = replace(doubt, incident_id="security-2", verdict=replace(doubt.verdict, evidence=evidence))
    (held,) = await responder.respond(doubt, fleet_size=100)
    assert (held.target, held.outcome) == ("s", "held: the verdict is undecided")
    assert not control.shut
    attack = replace(_incident("attack", "s"), incident_id="security-2")
    assert [action.outcome for action in await responder.respond(attack, fleet_size=100)] == ["done"]
    assert responder.held == ()


async def _inside(responder: Responder, clock: ManualClock) -> None:
    await responder.respond(_incident("attack", "a"), fleet_size=10)
    _seconds(clock, 20)


async def test_a_device_comes_out_some_time_after_its_incident_is_over() -> None:
    control, clock = MemoryControl(), ManualClock(SECOND)
    responder = _responder(control, release_after=600.0, limit=3600.0, clock=clock)
    await _inside(responder, clock)
    closed = clock.now()
    _seconds(clock, 599)
    assert await responder.tend(lambda _: closed) == []
    _seconds(clock, 1)
    (released,) = await responder.tend(lambda _: closed)
    assert (released.action, released.target, released.outcome, released.by) == (
        "release",
        "a",
        "done",
        "model",
    )
    assert released.incident_id == "security-1"
    assert not control.shut
    assert await responder.tend(lambda _: closed) == []


async def test_who_comes_back_stays_twice_as_long() -> None:
    control, clock = MemoryControl(), ManualClock(SECOND)
    responder = _responder(control, release_after=600.0, limit=3600.0, clock=clock)
    await _inside(responder, clock)
    closed = clock.now()
    _seconds(clock, 600)
    await responder.tend(lambda _: closed)
    second = replace(_incident("attack", "a"), incident_id="security-2")
    await responder.respond(second, fleet_size=10)
    again = clock.now()
    _seconds(clock, 1199)
    assert await responder.tend(lambda _: again) == []
    _seconds(clock, 1)
    assert len(await responder.tend(lambda _: again)) == 1


async def test_nobody_comes_out_while_evidence_goes_on() -> None:
    control, clock = MemoryControl(), ManualClock(SECOND)
    responder = _responder(control, release_after=10.0, limit=100.0, clock=clock)
    await _inside(responder, clock)
    _seconds(clock, 500)
    (kept,) = await responder.tend(lambda _: None)
    assert kept.outcome == "not done: incident security-1 goes on"
    assert await responder.tend(lambda _: None) == [], "told once"
    closed = clock.now()
    for _ in range(60):
        _seconds(clock, 1)
        responder.ward.knocked("a", 5, clock.now())
    assert await responder.tend(lambda _: closed) == []
    assert control.shut
    _seconds(clock, 120)
    assert [one.outcome for one in await responder.tend(lambda _: closed)] == ["done"]


async def test_a_client_that_backs_off_is_not_taken_for_one_that_hammers() -> None:
    control, clock = MemoryControl(), ManualClock(SECOND)
    responder = _responder(control, release_after=10.0, limit=100.0, clock=clock)
    await _inside(responder, clock)
    closed = clock.now()
    for _ in range(120):
        _seconds(clock, 1)
        responder.ward.knocked("a", 1, clock.now())
    assert len(await responder.tend(lambda _: closed)) == 1


async def test_a_persons_quarantine_lasts_as_long_as_it_was_given() -> None:
    control, clock = MemoryControl(), ManualClock(SECOND)
    responder = _responder(control, clock=clock)
    for_ever = await responder.quarantine("a", by="ann", reason="stolen")
    for_now = await responder.quarantine("b", by="ann", reason="look", seconds=60)
    assert (for_ever.until, for_now.until) == (None, SECOND + 60 * SECOND)
    _seconds(clock, 60)
    assert [one.target for one in await responder.tend(lambda _: 0)] == ["b"]
    _seconds(clock, 10**6)
    assert await responder.tend(lambda _: 0) == []
    assert set(control.shut) == {"a"}


async def test_a_device_that_somebody_else_let_out_is_forgotten() -> None:
    control, clock = MemoryControl(), ManualClock(SECOND)
    responder = _responder(control, clock=clock)
    await _inside(responder, clock)
    control.shut.clear()
    await responder.tend(lambda _: 0)
    assert responder.ward.stays == ()


async def test_what_was_held_lapses_with_its_incident() -> None:
    responder = _responder(MemoryControl(), quarantine=False)
    await responder.respond(_incident("attack", "a"), fleet_size=10)
    (lapsed,) = await responder.tend(lambda _: 7)
    assert lapsed.outcome.startswith("lapsed")
    assert responder.held == ()


async def test_a_release_that_fails_is_tried_again() -> None:
    control, clock = MemoryControl(), ManualClock(SECOND)
    responder = _responder(control, release_after=10.0, clock=clock)
    await _inside(responder, clock)
    control.failures = 1
    assert [one.outcome for one in await responder.tend(lambda _: 0)] == ["failed: gateway away"]
    assert [one.outcome for one in await responder.tend(lambda _: 0)] == ["done"]
