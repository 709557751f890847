"""The view Scenarios: the library, a file's variables, a play with its expectations while it goes on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from contracts.errors import BadScenario, ConfigError, UnknownName
from contracts.messages import SECOND
from simulator.extends import read_all
from simulator.positions import Document
from simulator.scenario import Scenario, load
from simulator.variables import declared_variables
from thingstorm.dashboard.hub import milliseconds
from thingstorm.runtime.pages import Backstage
from thingstorm.runtime.scenarios import library
from thingstorm.runtime.theatre import Performance

MAX_FLEET = 2_000
"""Devices of a scenario that the page plays: all in the process of the stack, one client each."""

MAX_SECONDS = 3600

KINDS = ("benign", "hostile", "mixed", "faults")
GAPS = "known-gaps.yaml"


class Scenes:
    """Makes `scenarios`, the list of files and what a file says; starts and stops plays."""

    def __init__(self, stage: Backstage) -> None:
        """Raises ConfigError: the folder of one's own files is not there."""
        self._stage = stage
        self._own = stage.config.api.scenarios
        if self._own is not None and not self._own.is_dir():
            raise ConfigError(f"api.scenarios: no folder {self._own}", fix="give a folder of scenario files")
        self._listed: list[dict[str, Any]] | None = None

    async def now(self, _given: Mapping[str, str]) -> dict[str, Any]:
        """What is being played, or was last."""
        theatre = self._stage.theatre
        performance = theatre.performance
        return {
            "ready": theatre.health().state == "ready",
            "play": None if performance is None else await self._told(performance),
        }

    async def files(self) -> dict[str, Any]:
        """The library: what each file is about. Read once."""
        if self._listed is None:
            self._listed = await to_thread.run_sync(_listing, self._own)
        return {"scenarios": self._listed}

    async def file(self, name: str) -> dict[str, Any]:
        """A file's variables, fleet, timeline and expectations. Raises UnknownName, BadScenario."""
        return await to_thread.run_sync(_described, _found(self._own, name))

    async def play(self, name: str, *, variables: Mapping[str, str], seed: int | None, by: str) -> None:
        """Start it. Raises UnknownName, BadScenario, ConfigError (too large here), NotReady (one is being played)."""
        path = _found(self._own, name)
        scenario = await to_thread.run_sync(lambda: load(path, overrides=dict(variables), seed=seed))
        devices = sum(group.count for group in scenario.fleet)
        if devices > MAX_FLEET or scenario.duration > MAX_SECONDS * SECOND:
            raise ConfigError(
                f"{scenario.name} has {devices} devices and lasts {scenario.duration // SECOND} s; "
                f"the page plays at most {MAX_FLEET} for {MAX_SECONDS} s",
                fix=f"run it on the direct path: thingstorm run scenarios/{name} --path direct",
            )
        self._stage.theatre.ask(scenario, by=by)
        await anyio.lowlevel.checkpoint()

    def stop(self) -> None:
        """Raises NotReady if none is played."""
        self._stage.theatre.stop()

    async def _told(self, performance: Performance) -> dict[str, Any]:
        scenario, simulator = performance.scenario, performance.simulator
        started = simulator.started_at if simulator is not None else 0
        interim = await self._stage.theatre.interim(performance)
        result = performance.result
        return {
            "name": scenario.name,
            "description": scenario.description,
            "seed": scenario.seed,
            "by": performance.by,
            "state": performance.state,
            "over": performance.over,
            "error": performance.error,
            "asked": milliseconds(performance.asked_at),
            "started": milliseconds(started) or None,
            "seconds": scenario.duration // SECOND,
            "learns_until": milliseconds(started + scenario.train_until) if started else None,
            "devices": simulator.health().detail if simulator is not None else "",
            "published": simulator.health().counters["published"] if simulator is not None else 0,
            "phases": [
                {
                    "id": one.id,
                    "kind": one.kind,
                    "start": milliseconds(one.start),
                    "end": milliseconds(one.end),
                }
                for one in performance.phases
            ],
            "expectations": [
                {"name": one.name, "state": one.state, "expected": one.expected, "seen": one.seen}
                for one in interim
            ],
            "lines": [{"at": milliseconds(at), "text": text} for at, text in performance.lines[-60:]],
            "ledger": None
            if result is None
            else {
                "published": result.ledger.published,
                "viewed": result.ledger.viewed,
                "archived": result.ledger.archived,
                "lost": result.overall.lost,
                "duplicates": result.overall.duplicates,
            },
        }


def _files(own: Path | None) -> dict[str, Path]:
    """Every file by its name on the page: the library's, and a person's own."""
    folder = library()
    found = sorted(folder.glob("*.yaml")) + [
        path for kind in KINDS for path in sorted((folder / kind).glob("*.yaml"))
    ]
    files = {str(path.relative_to(folder).with_suffix("")): path for path in found if path.name != GAPS}
    mine = [path for path in sorted(own.glob("*.yaml") if own else ()) if path.name != GAPS]
    return files | {f"own/{path.stem}": path for path in mine}


def _found(own: Path | None, name: str) -> Path:
    files = _files(own)
    if name not in files:
        raise UnknownName("scenario", name, files)
    return files[name]


def _listing(own: Path | None) -> list[dict[str, Any]]:
    return [_headed(name, path) for name, path in _files(own).items()]


def _headed(name: str, path: Path) -> dict[str, Any]:
    try:
        values = read_all(path).values
    except BadScenario as error:
        return {"name": name, "description": f"cannot be read: {error.what}", "kind": "own"}
    description = " ".join(str(values.get("description", "")).split())
    return {
        "name": name,
        "description": description,
        "kind": name.partition("/")[0] if "/" in name else "stories",
    }


def _described(path: Path) -> dict[str, Any]:
    document = read_all(path)
    scenario = load(path, overrides=_first_cell(document), seed=_first_seed(document))
    return {
        "variables": [{"name": key, "value": value} for key, value in declared_variables(document).items()],
        "seed": scenario.seed,
        "description": scenario.description,
        "seconds": scenario.duration // SECOND,
        "learns": scenario.train_until // SECOND,
        "fleet": [{"group": one.group, "count": one.count} for one in scenario.fleet],
        "timeline": [
            {"id": one.id, "kind": one.kind, "at": one.at // SECOND, "for": one.length // SECOND}
            for one in scenario.timeline
        ],
        "expects": _expects(scenario),
    }


def _first_cell(document: Document) -> dict[str, str]:
    """Of a file with a matrix the first cell is shown and played."""
    matrix = document.values.get("matrix") or {}
    return {name: str(values[0]) for name, values in matrix.items() if isinstance(values, list) and values}


def _first_seed(document: Document) -> int | None:
    many = document.values.get("seeds")
    return int(many[0]) if isinstance(many, list) and many else None


def _expects(scenario: Scenario) -> list[str]:
    """Names of what is expected, as results call them."""
    found = []
    for phase, expect in scenario.expect.phases.items():
        if expect.verdict is not None:
            found.append(f"{phase}: {expect.verdict.replace('_', ' ')}")
        if expect.detect_within is not None:
            found.append(f"{phase}: told within {expect.detect_within.max} s")
        found += [f"{phase}: {action.do} of the {action.of} devices" for action in expect.actions]
    found += [f"{name} {comparison}" for name, comparison in scenario.expect.overall.items()]
    return found + [query.name for query in scenario.expect.sql]
