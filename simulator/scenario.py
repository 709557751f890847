"""Scenario files, `scenario: v1`: validated whole before anything starts, errors with file and line.

YAML with positions, the files it extends, its matrix, variables, the models, and then the checks that no single
field can do.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .checks import check
from .explain import WORDS_OF_FILES, explain, most_telling
from .extends import beside, read_all
from .matrix import MAX_SCENARIOS, Cell, cells, label, seeds
from .model import ActionExpect, Expect, Group, Phase, PhaseExpect, Scenario, SqlExpect
from .positions import Document, KeyPath
from .values import Comparison, nearest
from .variables import substitute

_NOT_YET = {"faults": "leave it out"}
"""Words of the full format that this version does not play, and what to do instead."""


def load(path: Path, *, overrides: Mapping[str, str] | None = None, seed: int | None = None) -> Scenario:
    """Read and check a file that makes exactly one scenario; see `load_all`.

    Raises BadScenario with file, line and fix, also if the file makes several.
    """
    document, found = _read(path, overrides or {}, seed)
    if len(found) == 1:
        return found[0]
    at: KeyPath = ("matrix",) if document.values.get("matrix") else ("seeds",)
    fix = "run it where several can be played, or pin it by --seed, and by --set for each variable of the matrix"
    raise document.error(f"this file makes {len(found)} scenarios, and one is wanted", at=at, fix=fix)


def load_all(
    path: Path, *, overrides: Mapping[str, str] | None = None, seed: int | None = None
) -> list[Scenario]:
    """Read and check all scenarios of a file: each cell of its `matrix` with each of its `seeds`.

    Cells are told apart by their names (`name[bad=5]`), seeds by `seed`. `overrides` replace variables (values as
    YAML scalars), also in the matrix; `seed` replaces `seed` and `seeds`.

    Raises BadScenario with file, line and fix.
    """
    return _read(path, overrides or {}, seed)[1]


def values_of(path: Path) -> dict[str, Any]:
    """The values of a file that makes exactly one scenario, with its variables and what it extends filled in.

    Raises BadScenario as `load` does.
    """
    load(path)
    document = read_all(path)
    (cell,) = cells(document, ())
    values = _with_files(document, substitute(document, {}, cell))
    if many := seeds(document, values):
        values["seed"] = many[0]
    return {key: value for key, value in values.items() if key not in ("vars", *WORDS_OF_FILES)}


def _read(path: Path, overrides: Mapping[str, str], seed: int | None) -> tuple[Document, list[Scenario]]:
    document = read_all(path)
    for word, fix in _NOT_YET.items():
        if word in document.values:
            raise document.error(f"'{word}' is not supported yet", at=(word,), fix=fix)
    found: list[Scenario] = []
    for cell in cells(document, tuple(overrides)):
        found += _of_cell(document, cell, overrides, seed)
        if len(found) > MAX_SCENARIOS:
            what = f"matrix and seeds together make more than {MAX_SCENARIOS} scenarios"
            raise document.error(what, at=("seeds",), fix="give fewer seeds or fewer values")
    return document, found


def _of_cell(
    document: Document, cell: Cell, overrides: Mapping[str, str], seed: int | None
) -> Iterator[Scenario]:
    if cell:
        document = dataclasses.replace(document, note=f" (where the matrix has {label(cell)[1:-1]})")
    values = _with_files(document, substitute(document, overrides, cell))
    many = seeds(document, values)
    for word in WORDS_OF_FILES:
        values.pop(word, None)
    if many or seed is not None:
        values["seed"] = many[0] if seed is None else seed
    scenario = _validated(document, values)
    name = scenario.name + label(cell)
    for one in many if seed is None and many else [scenario.seed]:
        yield scenario.model_copy(update={"name": name, "seed": one})


def _validated(document: Document, values: Mapping[str, Any]) -> Scenario:
    try:
        scenario = Scenario.model_validate(values)
    except ValidationError as error:
        raise explain(document, most_telling(error.errors(include_url=False))) from None
    check(document, scenario)
    return scenario


def _with_files(document: Document, values: dict[str, Any]) -> dict[str, Any]:
    """The values, where recorded files have the folder of the file that names them."""
    for path, recorded in _recordings(values):
        if isinstance(file := recorded.get("file"), str):
            recorded["file"] = beside(document.place((*path, "file")), file)
    return values


def _recordings(values: Mapping[str, Any]) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    fleet = values.get("fleet")
    for place, group in enumerate(fleet if isinstance(fleet, list) else []):
        payload = group.get("payload") if isinstance(group, dict) else None
        for name, field in payload.items() if isinstance(payload, dict) else ():
            recorded = field.get("recorded") if isinstance(field, dict) else None
            if isinstance(recorded, dict):
                yield ("fleet", place, "payload", name, "recorded"), recorded


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
    "load_all",
    "nearest",
    "values_of",
]
