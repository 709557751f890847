"""Scenario files, `scenario: v1`: validated whole before anything starts, errors with file and line.

YAML with positions, variables, the models, and then the checks that no single field can do.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from contracts.errors import BadScenario
from contracts.messages import SECOND

from .behaviours import BEHAVIOURS, WITHOUT_TARGETS
from .model import (
    MAX_DEVICES,
    ActionExpect,
    Expect,
    Group,
    OverallName,
    Phase,
    PhaseExpect,
    Scenario,
    SqlExpect,
)
from .positions import Document, KeyPath, read
from .values import Comparison
from .variables import substitute

_NOT_YET = {
    "extends": "write the values out in this file",
    "matrix": "write one file for each case",
    "seeds": "give one seed: ..., and run with --seed for the others",
    "faults": "leave it out",
}
"""Words of the full format that this version does not play, and what to do instead."""


def load(path: Path, *, overrides: Mapping[str, str] | None = None, seed: int | None = None) -> Scenario:
    """Read and check a scenario file. `overrides` replace its variables (values as YAML scalars).

    Raises BadScenario with file, line and fix.
    """
    document = read(path)
    if not isinstance(document.values, dict):
        raise document.error("is no scenario", at=(), fix="begin the file with: scenario: v1")
    for word, fix in _NOT_YET.items():
        if word in document.values:
            raise document.error(f"'{word}' is not supported yet", at=(word,), fix=fix)
    values = substitute(document, overrides or {})
    try:
        scenario = Scenario.model_validate(values if seed is None else {**values, "seed": seed})
    except ValidationError as error:
        raise _explain(document, _most_telling(error.errors(include_url=False))) from None
    _check(document, scenario)
    return scenario


def _most_telling(errors: Sequence[ErrorDetails]) -> ErrorDetails:
    """A misspelt key is also a missing one: the first unknown key says more than the first error."""
    unknown = [error for error in errors if error["type"] == "extra_forbidden"]
    return (unknown or list(errors))[0]


def _explain(document: Document, error: ErrorDetails) -> BadScenario:
    path = tuple(step for step in error["loc"] if step != "[key]")
    name = str(path[-1]) if path else "scenario"
    if error["type"] == "extra_forbidden" or "[key]" in error["loc"]:
        known = get_args(OverallName) if "[key]" in error["loc"] else _fields_at(path[:-1])
        generator = len(path) == 5 and path[0] == "fleet" and path[2] == "payload"
        what = f"'{name}' is not supported yet, or unknown" if generator else f"unknown key '{name}'"
        return document.error(what, at=path, fix=nearest(name, known))
    if error["type"] == "missing":
        return document.error(f"'{name}' is missing", at=path[:-1], fix=f"add {name}: ...")
    said = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    shown = f" (given: {given})" if isinstance(given, str | int | float) and repr(given) not in said else ""
    where = ".".join(map(str, path))
    key = next((step for step in reversed(path) if isinstance(step, str)), "scenario")
    return document.error(f"{where}: {said}{shown}", at=path, fix=f"correct '{key}' on this line")


def nearest(name: str, known: Iterable[str], *, what: str = "known") -> str:
    """The fix for a word that nobody knows: the nearest known one, and all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}{what}: {', '.join(names) or 'none'}"


def _fields_at(path: Sequence[str | int]) -> list[str]:
    """The keys that may stand at a path of the file."""
    model: type[BaseModel] = Scenario
    for step in path:
        for name, field in model.model_fields.items():
            if step == (field.alias or name):
                model = _inner(field.annotation) or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _inner(annotation: Any) -> type[BaseModel] | None:
    """The model inside `tuple[X, ...]`, `X | None`, `dict[str, X]`."""
    found = [annotation]
    while found:
        one = found.pop(0)
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
        found += list(get_args(one))
    return None


def _check(document: Document, scenario: Scenario) -> None:
    """What no single field can know."""
    _check_groups(document, scenario)
    _unique(document, [phase.id for phase in scenario.timeline], ("timeline",), "id", "phases")
    _unique(document, [query.name for query in scenario.expect.sql], ("expect", "sql"), "name", "queries")
    for place, phase in enumerate(scenario.timeline):
        path: KeyPath = ("timeline", place)
        _check_behaviour(document, phase, path)
        _check_targets(document, scenario, phase, path)
        _check_times(document, scenario, phase, path)
    if scenario.train_until > scenario.duration:
        what, fix = "train.until is after the end of the scenario", "train for less than duration"
        raise document.error(what, at=("train", "until"), fix=fix)
    ids = [phase.id for phase in scenario.timeline]
    for name in scenario.expect.phases:
        if name not in ids:
            at: KeyPath = ("expect", "phases", name)
            raise document.error(
                f"expect names the unknown phase '{name}'", at=at, fix=nearest(name, ids, what="phases")
            )


def _unique(document: Document, names: Sequence[str], at: KeyPath, key: str, what: str) -> None:
    for place, name in enumerate(names):
        if name in names[:place]:
            fix = f"give one of them another {key}"
            raise document.error(f"two {what} are named '{name}'", at=(*at, place, key), fix=fix)


def _check_groups(document: Document, scenario: Scenario) -> None:
    _unique(document, [group.group for group in scenario.fleet], ("fleet",), "group", "groups")
    if scenario.device_count > MAX_DEVICES:
        fix = f"at most {MAX_DEVICES} in one process"
        raise document.error(f"{scenario.device_count} devices", at=("fleet",), fix=fix)


def _check_behaviour(document: Document, phase: Phase, path: KeyPath) -> None:
    if phase.kind not in BEHAVIOURS:
        what = f"unknown behaviour '{phase.kind}'"
        raise document.error(what, at=(*path, "kind"), fix=nearest(phase.kind, BEHAVIOURS))
    try:
        _ = phase.behaviour
    except ValidationError as error:
        raise _bad_parameter(document, phase, path, error) from None
    if phase.targets is not None and phase.targets.waves > 1 and not BEHAVIOURS[phase.kind].in_waves:
        at = (*path, "targets", "waves")
        raise document.error(f"{phase.kind} does not come in waves", at=at, fix="leave waves out")


def _bad_parameter(document: Document, phase: Phase, path: KeyPath, error: ValidationError) -> BadScenario:
    first = _most_telling(error.errors(include_url=False))
    name = str(first["loc"][0])
    said = str(first["msg"]).removeprefix("Value error, ")
    what = f"unknown parameter '{name}'" if first["type"] == "extra_forbidden" else f"{name}: {said}"
    fix = nearest(name, BEHAVIOURS[phase.kind].model_fields, what=f"{phase.kind} takes")
    return document.error(what, at=(*path, "with", *first["loc"]), fix=fix)


def _check_targets(document: Document, scenario: Scenario, phase: Phase, path: KeyPath) -> None:
    sizes = {group.group: group.count for group in scenario.fleet}
    targets = phase.targets
    if targets is None:
        if phase.kind in WITHOUT_TARGETS:
            return
        fix = f"add targets: {{group: {next(iter(sizes))}}}"
        raise document.error(f"{phase.kind} needs targets", at=path, fix=fix)
    if targets.group not in sizes:
        fix = nearest(targets.group, sizes, what="groups")
        raise document.error(f"no group is named '{targets.group}'", at=(*path, "targets", "group"), fix=fix)
    size = sizes[targets.group]
    if targets.how_many(size) > size:
        what = f"{targets.count} targets, and {targets.group} has {size} devices"
        raise document.error(what, at=(*path, "targets", "count"), fix=f"at most {size}")


def _check_times(document: Document, scenario: Scenario, phase: Phase, path: KeyPath) -> None:
    end = f"{scenario.duration / SECOND:g}s"
    if phase.at >= scenario.duration:
        what = f"phase '{phase.id}' starts at {phase.at / SECOND:g}s, and the scenario is over at {end}"
        raise document.error(what, at=(*path, "at"), fix="let it start earlier, or raise duration")
    if phase.until > scenario.duration:
        what = f"phase '{phase.id}' ends at {phase.until / SECOND:g}s, and the scenario is over at {end}"
        fix = "let it last shorter or start earlier, or raise duration"
        raise document.error(what, at=(*path, "for"), fix=fix)
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
