"""What no single field of a scenario can know: names that must agree, and times that must fit."""

from collections.abc import Sequence

from pydantic import ValidationError

from contracts.errors import BadScenario
from contracts.messages import SECOND

from .behaviours import BEHAVIOURS, WITHOUT_TARGETS
from .explain import most_telling
from .model import MAX_DEVICES, Phase, Scenario
from .payloads import misuses
from .positions import Document, KeyPath
from .values import nearest


def check(document: Document, scenario: Scenario) -> None:
    """Hold the parts of a scenario against each other. Raises BadScenario."""
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
    for place, group in enumerate(scenario.fleet):
        for name, wrong, fix in misuses(group.payload):
            at: KeyPath = ("fleet", place, "payload", name, "expression")
            raise document.error(f"fleet.{place}.payload.{name}.expression: {wrong}", at=at, fix=fix)


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
    first = most_telling(error.errors(include_url=False))
    name = str(first["loc"][0]) if first["loc"] else "with"
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
