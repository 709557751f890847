"""Makes a failing scenario small: the fewest devices, phases and seconds that still fail in the same way.

Greedy: every change that keeps the failure is kept, from the coarse to the fine, until none does or the tries are used
up. Works on the values of the file with its variables filled in.
"""

import copy
import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from contracts.errors import ConfigError, ThingstormError
from contracts.messages import SECOND
from simulator.scenario import Scenario, load, values_of
from simulator.values import duration
from thingstorm.runtime.signals import Interrupted

Values: TypeAlias = dict[str, Any]
Failures: TypeAlias = tuple[str, ...]

Play: TypeAlias = Callable[[Scenario], Failures]
"""Plays a scenario and names the expectations that failed."""

LEAST_SECONDS = 1.0
"""Nothing is made shorter than this."""

AFTERWARDS = (0, 3, 6, 12)
"""Seconds after the last phase that are tried: a window has five, and a verdict counts for ten."""

PARTS = (1 / 2, 1 / 4, 1 / 8)
"""Of the time before the first phase that are tried to leave out."""


@dataclass(frozen=True, slots=True)
class Try:
    """One change that was tried."""

    number: int
    change: str
    kept: bool
    size: str


@dataclass(frozen=True, slots=True)
class Smallest:
    """What is left: `failure` is the expectation that still fails."""

    values: Values
    failure: str
    tries: int

    def text(self) -> str:
        """The scenario file."""
        return yaml.safe_dump(_escaped(self.values), sort_keys=False, allow_unicode=True, width=120)


def resolved(file: Path) -> Values:
    """The values of a scenario file with its variables filled in. Raises BadScenario."""
    return values_of(file)


def shrink(values: Values, play: Play, *, tries: int, tell: Callable[[Try], None]) -> Smallest:
    """The smallest that still fails. Raises ConfigError if nothing fails, and what the first play raises.

    When somebody interrupts, what is smallest so far is the answer.
    """
    failures = play(_scenario(values))
    if not failures:
        raise ConfigError(
            f"{values['name']} fails nothing: there is nothing to shrink",
            fix="give a scenario of which an expectation fails; `thingstorm run` shows them",
        )
    search = _Search(play, tries, tell, Smallest(copy.deepcopy(values), failures[0], 1))
    with suppress(Interrupted):
        while search.round():
            pass
    return search.smallest


class _Search:
    """What is smallest so far, and what was tried: nothing is played twice."""

    def __init__(self, play: Play, tries: int, tell: Callable[[Try], None], smallest: Smallest) -> None:
        self.smallest = smallest
        self._play = play
        self._tries = tries
        self._tell = tell
        self._seen: set[str] = set()

    def round(self) -> bool:
        """Every kind of change, each on what the ones before it left; whether it became smaller."""
        before = self.smallest.values
        for change in _CHANGES:
            while (found := self._fresh(change)) is not None:
                self._try(*found)
        return self.smallest.values != before

    def _fresh(self, change: "Callable[[Values], Candidates]") -> tuple[str, Values, Scenario] | None:
        """The next candidate that was not tried yet and can be played."""
        for name, candidate in change(self.smallest.values) if self.smallest.tries < self._tries else ():
            text = json.dumps(candidate, sort_keys=True, default=str)
            if text not in self._seen:
                self._seen.add(text)
                if (scenario := _valid(candidate)) is not None:
                    return name, candidate, scenario
        return None

    def _try(self, name: str, candidate: Values, scenario: Scenario) -> None:
        smallest = self.smallest
        kept = _fails(scenario, smallest.failure, self._play)
        values = candidate if kept else smallest.values
        self.smallest = Smallest(values, smallest.failure, smallest.tries + 1)
        self._tell(Try(self.smallest.tries, name, kept, size_of(values)))


def _fails(scenario: Scenario, failure: str, play: Play) -> bool:
    """A change after which it cannot be played at all shows nothing."""
    try:
        return failure in play(scenario)
    except Interrupted:
        raise
    except ThingstormError:
        return False


def size_of(values: Values) -> str:
    """Devices, phases and seconds, in words."""
    devices = sum(group["count"] for group in values["fleet"])
    phases = len(_phases(values))
    return f"{_counted(devices, 'device')}, {_counted(phases, 'phase')}, {values['duration']}"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _scenario(values: Values) -> Scenario:
    """Checked as any file is. Raises BadScenario."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "candidate.yaml"
        file.write_text(yaml.safe_dump(_escaped(values), allow_unicode=True), encoding="utf-8")
        return load(file)


def _valid(values: Values) -> Scenario | None:
    try:
        return _scenario(values)
    except ConfigError:
        return None


def _escaped(values: Values) -> Values:
    """With `$$` for every dollar sign that `substitute` would read; it leaves the SQL of `expect` alone."""
    return {key: _dollars(value, (key,)) for key, value in values.items()}


def _dollars(value: Any, path: tuple[str | int, ...]) -> Any:
    if path[:2] == ("expect", "sql"):
        return value
    if isinstance(value, dict):
        return {key: _dollars(one, (*path, key)) for key, one in value.items()}
    if isinstance(value, list):
        return [_dollars(one, (*path, place)) for place, one in enumerate(value)]
    return value.replace("$", "$$") if isinstance(value, str) else value


Candidates: TypeAlias = Iterator[tuple[str, Values]]


def _without_phases(values: Values) -> Candidates:
    for place, phase in enumerate(_phases(values)):
        smaller = copy.deepcopy(values)
        del smaller["timeline"][place]
        promised = (smaller.get("expect") or {}).get("phases") or {}
        promised.pop(phase["id"], None)
        yield f"without phase {phase['id']}", smaller


def _shorter_end(values: Values) -> Candidates:
    """Until the last phase is over, or some seconds later: its last verdicts come after it."""
    ends = [_seconds(phase["at"]) + _seconds(phase["for"]) for phase in _phases(values)]
    total = _seconds(values["duration"])
    end = max(ends, default=total / 2)
    for later in AFTERWARDS:
        if LEAST_SECONDS <= end + later < total:
            yield (
                f"duration {_written(end + later)}",
                {**copy.deepcopy(values), "duration": _written(end + later)},
            )


def _shorter_beginning(values: Values) -> Candidates:
    """Less time before the first phase; the training is cut only where it must be."""
    first = min((_seconds(phase["at"]) for phase in _phases(values)), default=0.0)
    for part in PARTS:
        cut = math.floor(first * part)
        if cut < LEAST_SECONDS:
            continue
        smaller = copy.deepcopy(values)
        for phase in smaller["timeline"]:
            phase["at"] = _written(_seconds(phase["at"]) - cut)
        smaller["duration"] = _written(_seconds(values["duration"]) - cut)
        if smaller.get("train"):
            until = min(_seconds(smaller["train"]["until"]), first - cut)
            smaller["train"]["until"] = _written(max(LEAST_SECONDS, until))
        yield f"{cut:g} s less before the first phase", smaller


def _shorter_phases(values: Values) -> Candidates:
    for place, phase in enumerate(_phases(values)):
        length = math.ceil(_seconds(phase["for"]) / 2)
        if LEAST_SECONDS <= length < _seconds(phase["for"]):
            smaller = copy.deepcopy(values)
            smaller["timeline"][place]["for"] = _written(length)
            yield f"phase {phase['id']} for {_written(length)}", smaller


def _fewer_devices(values: Values) -> Candidates:
    """Half of a group, with half of the devices of every phase on it; then a group less."""
    for place, group in enumerate(values["fleet"]):
        if len(values["fleet"]) > 1:
            smaller = copy.deepcopy(values)
            del smaller["fleet"][place]
            yield f"without group {group['group']}", smaller
        if group["count"] > 1:
            smaller = copy.deepcopy(values)
            smaller["fleet"][place]["count"] = count = math.ceil(group["count"] / 2)
            for phase in _phases(smaller):
                _halve_targets(phase.get("targets"), group["group"])
            yield f"{count} of group {group['group']}", smaller


def _fewer_targets(values: Values) -> Candidates:
    for place, phase in enumerate(_phases(values)):
        targets = phase.get("targets") or {}
        if targets.get("count", 1) > 1:
            smaller = copy.deepcopy(values)
            _halve_targets(smaller["timeline"][place]["targets"], targets["group"])
            yield f"{smaller['timeline'][place]['targets']['count']} targets of phase {phase['id']}", smaller


def _halve_targets(targets: dict[str, Any] | None, group: str) -> None:
    if targets and targets.get("group") == group and targets.get("count"):
        targets["count"] = math.ceil(targets["count"] / 2)


def _fewer_fields(values: Values) -> Candidates:
    """All fields of a group at once, then one by one."""
    for place, group in enumerate(values["fleet"]):
        payload: Mapping[str, Any] = group.get("payload") or {}
        if len(payload) > 1:
            smaller = copy.deepcopy(values)
            del smaller["fleet"][place]["payload"]
            yield f"no payload of group {group['group']}", smaller
        for name in payload:
            smaller = copy.deepcopy(values)
            del smaller["fleet"][place]["payload"][name]
            yield f"without {name} of group {group['group']}", smaller


_CHANGES: tuple[Callable[[Values], Candidates], ...] = (
    _without_phases,
    _fewer_devices,
    _fewer_targets,
    _shorter_phases,
    _shorter_end,
    _shorter_beginning,
    _fewer_fields,
)


def _phases(values: Values) -> list[dict[str, Any]]:
    return list(values.get("timeline") or [])


def _seconds(text: Any) -> float:
    return duration(text) / SECOND


def _written(seconds: float) -> str:
    return f"{round(seconds, 3):g}s" if seconds < 1e5 else f"{round(seconds)}s"
