"""The response rule: who is shut out, how many at most, who is told, and what happens when it fails."""

import anyio
import pytest
from model_fleet import MemoryAlerts, MemoryControl

from analytics.response import ATTEMPTS, Responder
from contracts.clock import ManualClock
from contracts.messages import Incident, Verdict, VerdictKind

pytestmark = pytest.mark.anyio


def _incident(kind: VerdictKind = "attack", *devices: str) -> Incident:
    verdict = Verdict(kind, 1, 2, 0.9, 1.0, devices, summary="why")
    return Incident("security-1", kind, 1, 1, None, devices, verdict)


def _responder(control: MemoryControl, *alerts: MemoryAlerts, share: float = 0.3) -> Responder:
    return Responder(control=control, alerts=alerts, clock=ManualClock(5), max_share=share)


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
    assert len(first.told) == len(second.told) == 1


async def test_an_uptick_alerts_nobody_and_doubt_shuts_nobody_out() -> None:
    control, alerts = MemoryControl(), MemoryAlerts()
    assert await _responder(control, alerts).respond(_incident("benign_uptick"), fleet_size=9) == []
    await _responder(control, alerts).respond(_incident("undecided", "a"), fleet_size=9)
    assert not control.shut
    assert len(alerts.told) == 1


async def test_doubt_that_becomes_an_attack_is_told_again() -> None:
    alerts = MemoryAlerts()
    responder = _responder(MemoryControl(), alerts)
    await responder.respond(_incident("undecided"), fleet_size=9)
    await responder.respond(_incident("attack", "a"), fleet_size=9)
    assert [incident.kind for incident in alerts.told] == ["undecided", "attack"]


async def test_the_cap_holds_and_is_recorded_once() -> None:
    control = MemoryControl()
    responder = _responder(control)
    incident = _incident("attack", "a", "b", "c", "d")
    actions = await responder.respond(incident, fleet_size=10)
    assert set(control.shut) == {"a", "b", "c"}
    assert actions[-1].target == "d"
    assert actions[-1].outcome.startswith("not done")
    assert await responder.respond(incident, fleet_size=10) == []


async def test_the_cap_counts_devices_of_earlier_incidents() -> None:
    control = MemoryControl()
    control.shut = {"x": "", "y": "", "z": ""}
    actions = await _responder(control).respond(_incident("attack", "a"), fleet_size=10)
    assert actions[0].outcome.startswith("not done")


async def test_a_small_fleet_may_lose_one_device() -> None:
    control = MemoryControl()
    await _responder(control).respond(_incident("attack", "a", "b"), fleet_size=2)
    assert set(control.shut) == {"a"}


async def test_failures_are_recorded_and_tried_again_until_they_work() -> None:
    control, alerts = MemoryControl(failures=1), MemoryAlerts(failures=2)
    responder = _responder(control, alerts)
    outcomes = []
    for _ in range(4):
        actions = await responder.respond(_incident("attack", "a"), fleet_size=50)
        outcomes.append([(item.action, item.outcome) for item in actions])
    assert outcomes == [
        [("quarantine", "failed: gateway away"), ("alert", "failed: no network")],
        [("quarantine", "done"), ("alert", "failed: no network")],
        [("alert", "done")],
        [],
    ]


async def test_giving_up_after_the_last_attempt() -> None:
    control = MemoryControl(failures=99)
    responder = _responder(control)
    for _ in range(ATTEMPTS + 3):
        await responder.respond(_incident("attack", "a"), fleet_size=50)
    assert control.asked == ATTEMPTS


async def test_a_sink_that_hangs_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(MemoryAlerts):
        async def alert(self, incident: Incident) -> None:
            await anyio.sleep_forever()

    monkeypatch.setattr("analytics.response.PATIENCE_SECONDS", 0.01)
    actions = await _responder(MemoryControl(), Hanging()).respond(_incident("attack"), fleet_size=9)
    assert "no answer" in actions[0].outcome


async def test_a_closed_incident_is_forgotten() -> None:
    alerts = MemoryAlerts()
    responder = _responder(MemoryControl(), alerts)
    await responder.respond(_incident("attack"), fleet_size=9)
    responder.forget("security-1")
    await responder.respond(_incident("attack"), fleet_size=9)
    assert len(alerts.told) == 2
