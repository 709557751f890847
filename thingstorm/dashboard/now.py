"""The view Now, and the head of every view: how is it, what is open, what waits where."""

from collections.abc import Mapping, Sequence
from typing import Any

from contracts.messages import SECOND
from contracts.ports import Health, Rows
from thingstorm.dashboard.hub import milliseconds
from thingstorm.dashboard.traffic import KEPT_SECONDS, Traffic
from thingstorm.runtime.pages import Backstage

FRESH_SECONDS = 8
"""A frame tells the last seconds once more: their rows may have come late."""

OPEN_SHOWN = 5

_DEVICES_SQL = """
SELECT count(*) AS devices, count(*) FILTER (connected) AS connected, count(*) FILTER (quarantined) AS quarantined
FROM devices
"""


class Now:
    """Makes `head`, `now` and the history that a page asks for when it is opened."""

    def __init__(self, stage: Backstage) -> None:
        self._stage = stage
        self._traffic = Traffic(view=stage.view, model=stage.model, sync=stage.sync, clock=stage.clock)

    async def head(self, _given: Mapping[str, str]) -> dict[str, Any]:
        """What every view shows on top."""
        stage, model = self._stage, self._stage.model
        services = await stage.health()
        verdict = model.verdicts[-1] if model.verdicts else None
        performance = stage.theatre.performance
        playing = performance is not None and not performance.over
        return {
            "at": milliseconds(stage.clock.now()),
            "learning": model.learning,
            "learn_until": milliseconds(model.training_until),
            "detector": model.detector_in_use,
            "verdict": None
            if verdict is None
            else {
                "kind": verdict.kind,
                "confidence": round(verdict.confidence, 3),
                "summary": verdict.summary,
                "at": milliseconds(verdict.at),
                "uptick": round(verdict.uptick, 3),
                "uptick_since": milliseconds(verdict.uptick_since),
            },
            "open": [
                {
                    "incident_id": one.incident_id,
                    "kind": one.kind,
                    "devices": len(one.devices),
                    "summary": one.verdict.summary,
                }
                for one in model.incidents
                if one.closed_at is None
            ][-OPEN_SHOWN:],
            "held": len(model.desk.held),
            "dry_run": stage.config.model.dry_run,
            "scenario": performance.scenario.name if playing and performance else "",
            "trouble": [
                {"service": one.name, "state": one.state, "detail": one.detail}
                for one in services
                if one.state != "ready"
            ],
        }

    async def now(self, _given: Mapping[str, str]) -> dict[str, Any]:
        """The last seconds, the depth of every hop, the devices, and the phases that are played."""
        await self._traffic.refresh()
        devices = await self._stage.view.query(_DEVICES_SQL)
        return {
            "rows": self._traffic.rows(FRESH_SECONDS),
            "devices": _first(devices),
            "depths": depths(await self._stage.health()),
            "phases": self._phases(),
        }

    async def history(self) -> dict[str, Any]:
        """The ten minutes before."""
        await self._traffic.refresh()
        return {"rows": self._traffic.rows(KEPT_SECONDS), "kept": KEPT_SECONDS}

    def _phases(self) -> list[dict[str, Any]]:
        since = self._stage.clock.now() - KEPT_SECONDS * SECOND
        return [
            {
                "id": one.id,
                "kind": one.kind,
                "start": milliseconds(one.start),
                "end": milliseconds(one.end),
                "devices": one.devices,
            }
            for one in self._stage.theatre.phases
            if one.end > since
        ]


def depths(services: Sequence[Health]) -> list[dict[str, Any]]:
    """Every bounded buffer: how much waits in it, what it holds, the most that ever waited."""
    seen: dict[str, dict[str, Any]] = {}
    for one in services:
        for gauge in one.buffers:
            if gauge.name not in ("verdicts", "pages") and gauge.capacity > 0:
                told = {"name": gauge.name, "used": gauge.used, "capacity": gauge.capacity}
                seen.setdefault(gauge.name, {**told, "highest": gauge.highest, "service": one.name})
    return list(seen.values())


def _first(rows: Rows) -> dict[str, Any]:
    return rows.dicts()[0]
