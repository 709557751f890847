"""Scenario files, `scenario: v1`: validated whole before anything starts, errors with file and line."""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from contracts.errors import BadScenario
from contracts.messages import SECOND, Nanoseconds

from . import payloads
from .behaviours import BEHAVIOURS, Behaviour
from .positions import Document, KeyPath, read
from .schedule import Every
from .values import Compared, Comparison, Duration, PositiveDuration

_VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_NOT_YET = ("extends", "matrix", "seeds")
MAX_DEVICES = 10_000
"""One process holds 5,000 paho clients at about 5 KB each; beyond 10,000 it is a mistake in the file."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Clock(_Model):
    """How time passes: as it does (`wall`), or as fast as the machine goes (`virtual`)."""

    mode: Literal["wall", "virtual"] = "wall"
    speed: float = Field(default=1.0, gt=0, le=1000)
    start: str = ""


class Group(_Model):
    """Devices of one type. `topic` and `listens` may hold `{device}`."""

    group: str = Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=40)
    count: int = Field(gt=0, le=MAX_DEVICES)
    topic: str
    qos: Literal[0, 1] = 1
    every: Every
    payload: dict[str, payloads.Field] = Field(default_factory=dict)
    listens: tuple[str, ...] = ()

    def device_ids(self) -> list[str]:
        """`meter-0001`, `meter-0002`, ..."""
        return [f"{self.group}-{number:04d}" for number in range(1, self.count + 1)]


class Train(_Model):
    """The model learns from the first reading until `until`, which must be clean."""

    until: PositiveDuration


class Targets(_Model):
    """Whom a phase concerns: a group, all of it or a number or a fraction, and in how many waves."""

    group: str
    count: int | None = Field(default=None, gt=0)
    fraction: float | None = Field(default=None, gt=0, le=1)
    waves: int = Field(default=1, gt=0, le=1000)
    pick: Literal["random", "first"] = "random"

    def how_many(self, size: int) -> int:
        """Devices of a group of this size."""
        if self.count is not None:
            return self.count
        return max(1, round(size * (1.0 if self.fraction is None else self.fraction)))


class Phase(_Model):
    """One entry of the timeline."""

    id: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=60)
    at: Duration
    length: PositiveDuration = Field(alias="for")
    kind: str
    targets: Targets
    parameters: dict[str, Any] = Field(default_factory=dict, alias="with")

    @property
    def behaviour(self) -> Behaviour:
        """The behaviour with the parameters of `with:`."""
        return BEHAVIOURS[self.kind](**self.parameters)

    @property
    def until(self) -> Nanoseconds:
        return self.at + self.length


class Flagged(_Model):
    """Expected of the devices that the verdict names."""

    recall: Compared | None = None
    false_positives: Compared | None = None


class DetectWithin(_Model):
    """Expected of the seconds from the first hostile message to the verdict."""

    max: Compared


class ActionExpect(_Model):
    """An action is done to every device of `of`, at most `within` after the verdict that named it."""

    do: Literal["quarantine"]
    within: PositiveDuration
    of: Literal["flagged", "expected"] = "flagged"


class PhaseExpect(_Model):
    """What is expected of one phase."""

    verdict: Literal["normal", "benign_uptick", "attack", "undecided"] | None = None
    alerts: Compared | None = None
    flagged: Flagged | None = None
    detect_within: DetectWithin | None = None
    actions: tuple[ActionExpect, ...] = ()


class SqlExpect(_Model):
    """A query over the view and the rows it must give."""

    name: str
    query: str
    rows: tuple[dict[str, Any], ...]


class Expect(_Model):
    """What is expected at the end."""

    phases: dict[str, PhaseExpect] = Field(default_factory=dict)
    overall: dict[Literal["false_positives", "undecided", "lost", "duplicates", "dead_letters"], Compared] = (
        Field(default_factory=dict)
    )
    sql: tuple[SqlExpect, ...] = ()


def _none_is_empty(value: Any) -> Any:
    return () if value is None else value


class Scenario(_Model):
    """A whole scenario file."""

    scenario: Literal["v1"]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=100)
    description: str = ""
    tags: tuple[str, ...] = ()
    vars: dict[str, Any] = Field(default_factory=dict)
    seed: int = 1
    clock: Clock = Clock()
    path: Literal["aws", "direct"] = "aws"
    duration: PositiveDuration
    fleet: Annotated[tuple[Group, ...], Field(min_length=1)]
    train: Train | None = None
    timeline: Annotated[tuple[Phase, ...], BeforeValidator(_none_is_empty)] = ()
    expect: Expect = Expect()

    @property
    def device_count(self) -> int:
        return sum(group.count for group in self.fleet)

    @property
    def train_until(self) -> Nanoseconds:
        """From the start; without `train:` the model learns until the first phase, or a third of the time."""
        if self.train is not None:
            return self.train.until
        return min((phase.at for phase in self.timeline), default=self.duration // 3)


def load(path: Path, *, overrides: Mapping[str, str] | None = None, seed: int | None = None) -> Scenario:
    """Read and check a scenario file. `overrides` replace its variables (values as YAML scalars).

    Raises BadScenario with file, line and fix.
    """
    document = read(path)
    if not isinstance(document.values, dict):
        raise document.error("is no scenario", at=(), fix="begin the file with: scenario: v1")
    for word in _NOT_YET:
        if word in document.values:
            raise document.error(
                f"'{word}' is not supported yet", at=(word,), fix="write the values out in this file"
            )
    values = _substitute(document, overrides or {})
    try:
        scenario = Scenario.model_validate(values if seed is None else {**values, "seed": seed})
    except ValidationError as error:
        raise _explain(document, _telling(error)) from None
    _check(document, scenario)
    return scenario


def _substitute(document: Document, overrides: Mapping[str, str]) -> dict[str, Any]:
    declared = document.values.get("vars") or {}
    if not isinstance(declared, dict):
        raise document.error("vars is not a mapping", at=("vars",), fix="write vars: {name: value}")
    variables = dict(declared)
    for name, text in overrides.items():
        if name not in variables:
            raise document.error(
                f"there is no variable '{name}'",
                at=("vars",),
                fix=f"--set takes: {', '.join(variables) or 'none here'}",
            )
        variables[name] = yaml.safe_load(text)
    filled = _fill(document, document.values, (), variables)
    return dict(filled)


def _fill(document: Document, value: Any, path: KeyPath, variables: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _fill(document, item, (*path, key), variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(document, item, (*path, place), variables) for place, item in enumerate(value)]
    if not isinstance(value, str) or path[:1] == ("expect",):  # SQL there has $ of its own
        return value
    for name in _VARIABLE.findall(value):
        if name not in variables:
            fix = f"declare it: vars: {{{name}: ...}}; known: {', '.join(variables) or 'none'}"
            raise document.error(f"unknown variable ${name}", at=path, fix=fix)
    whole = _VARIABLE.fullmatch(value)
    return variables[whole[1]] if whole else _VARIABLE.sub(lambda match: str(variables[match[1]]), value)


def _telling(error: ValidationError) -> ErrorDetails:
    """The error to tell: a misspelt key comes before the key that is missing because of it."""
    errors = error.errors(include_url=False)
    return next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])


def _explain(document: Document, error: ErrorDetails) -> BadScenario:
    path = tuple(error["loc"])
    name = str(path[-1]) if path else ""
    if error["type"] == "extra_forbidden":
        known = _fields_at(path[:-1])
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        return document.error(f"unknown key '{name}'", at=path, fix=f"{hint}known: {', '.join(known)}")
    if error["type"] == "missing":
        return document.error(f"'{name}' is missing", at=path[:-1], fix=f"add {name}: ...")
    said = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    shown = f" (given: {given})" if isinstance(given, str | int | float) else ""
    return document.error(
        f"{'.'.join(map(str, path))}: {said}{shown}", at=path, fix=f"correct '{name}' on this line"
    )


def _fields_at(path: Sequence[str | int]) -> list[str]:
    """The keys that may stand at a path of the file."""
    model: Any = Scenario
    for step in path:
        if not isinstance(step, str) or not isinstance(model, type) or not issubclass(model, BaseModel):
            continue
        model = next(
            (_inner(f.annotation) for n, f in model.model_fields.items() if step in (n, f.alias)), model
        )
    if isinstance(model, type) and issubclass(model, BaseModel):
        return sorted(field.alias or name for name, field in model.model_fields.items())
    return []


def _inner(annotation: Any) -> Any:
    """The model inside `tuple[X, ...]`, `X | None`, `dict[str, X]`."""
    found = [annotation]
    while found:
        one = found.pop(0)
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
        found += list(getattr(one, "__args__", ()))
    return annotation


def _check(document: Document, scenario: Scenario) -> None:
    """What no single field can know."""
    _check_groups(document, scenario)
    ids: set[str] = set()
    for place, phase in enumerate(scenario.timeline):
        path: KeyPath = ("timeline", place)
        if phase.id in ids:
            raise document.error(
                f"two phases are named '{phase.id}'", at=(*path, "id"), fix="give one another id"
            )
        ids.add(phase.id)
        _check_behaviour(document, phase, path)
        _check_targets(document, scenario, phase, path)
        _check_times(document, scenario, phase, path)
    if scenario.train_until > scenario.duration:
        raise document.error(
            "train.until is after the end", at=("train", "until"), fix="train for less than duration"
        )
    for name in scenario.expect.phases:
        if name not in ids:
            fix = f"phases: {', '.join(sorted(ids)) or 'none'}"
            raise document.error(
                f"expect names the unknown phase '{name}'", at=("expect", "phases", name), fix=fix
            )


def _check_groups(document: Document, scenario: Scenario) -> None:
    names: set[str] = set()
    for place, group in enumerate(scenario.fleet):
        if group.group in names:
            at: KeyPath = ("fleet", place, "group")
            raise document.error(
                f"two groups are named '{group.group}'", at=at, fix="give one of them another name"
            )
        names.add(group.group)
    if scenario.device_count > MAX_DEVICES:
        fix = f"at most {MAX_DEVICES} in one process"
        raise document.error(f"{scenario.device_count} devices", at=("fleet",), fix=fix)


def _check_behaviour(document: Document, phase: Phase, path: KeyPath) -> None:
    if phase.kind not in BEHAVIOURS:
        near = difflib.get_close_matches(phase.kind, BEHAVIOURS, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        fix = f"{hint}known: {', '.join(sorted(BEHAVIOURS))}"
        raise document.error(f"unknown behaviour '{phase.kind}'", at=(*path, "kind"), fix=fix)
    try:
        _ = phase.behaviour
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        known = sorted(BEHAVIOURS[phase.kind].model_fields)
        what = (
            f"unknown parameter '{name}'" if first["type"] == "extra_forbidden" else f"{name}: {first['msg']}"
        )
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        fix = f"{hint}{phase.kind} takes: {', '.join(known)}"
        raise document.error(what, at=(*path, "with", name), fix=fix) from None


def _check_targets(document: Document, scenario: Scenario, phase: Phase, path: KeyPath) -> None:
    sizes = {group.group: group.count for group in scenario.fleet}
    if phase.targets.group not in sizes:
        at = (*path, "targets", "group")
        raise document.error(
            f"no group is named '{phase.targets.group}'", at=at, fix=f"groups: {', '.join(sizes)}"
        )
    size = sizes[phase.targets.group]
    if phase.targets.how_many(size) > size:
        at = (*path, "targets", "count")
        raise document.error(f"{phase.targets.count} targets of {size} devices", at=at, fix=f"at most {size}")


def _check_times(document: Document, scenario: Scenario, phase: Phase, path: KeyPath) -> None:
    if phase.until > scenario.duration:
        what = f"phase '{phase.id}' ends at {phase.until / SECOND:g} s, after the end at {scenario.duration / SECOND:g} s"
        raise document.error(
            what, at=(*path, "at"), fix="let it start earlier or last shorter, or raise duration"
        )
    if scenario.train is not None and scenario.train.until > phase.at:
        what = f"train.until is after phase '{phase.id}' begins: the model would learn from it"
        raise document.error(what, at=("train", "until"), fix=f"train until {phase.at / SECOND:g}s at most")


__all__ = [
    "ActionExpect",
    "Comparison",
    "Expect",
    "Group",
    "Phase",
    "PhaseExpect",
    "Scenario",
    "SqlExpect",
    "load",
]
