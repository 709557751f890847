"""Turns what the models refuse into the one error of a scenario file: file, line, and how to mend it."""

from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from contracts.errors import BadScenario

from .model import OverallName, Scenario
from .positions import Document
from .values import nearest

WORDS_OF_FILES = ("extends", "matrix", "seeds")
"""Keys of a file that make scenarios of it, and are in none of them."""


def most_telling(errors: Sequence[ErrorDetails]) -> ErrorDetails:
    """A misspelt key is also a missing one: the first unknown key says more than the first error."""
    unknown = [error for error in errors if error["type"] == "extra_forbidden"]
    return (unknown or list(errors))[0]


def explain(document: Document, error: ErrorDetails) -> BadScenario:
    """The error of a scenario file for one error of its models."""
    path = tuple(step for step in error["loc"] if step != "[key]")
    name = str(path[-1]) if path else "scenario"
    if error["type"] == "extra_forbidden" or "[key]" in error["loc"]:
        known = get_args(OverallName) if "[key]" in error["loc"] else _fields_at(path[:-1])
        generator = len(path) == 5 and path[0] == "fleet" and path[2] == "payload"
        what = f"unknown {'generator' if generator else 'key'} '{name}'"
        return document.error(what, at=path, fix=nearest(name, known))
    if error["type"] == "missing":
        return document.error(f"'{name}' is missing", at=path[:-1], fix=f"add {name}: ...")
    while path and path not in document.places:  # a part that the short form of a value does not name
        path = path[:-1]
    said = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    shown = f" (given: {given})" if isinstance(given, str | int | float) and repr(given) not in said else ""
    where = ".".join(map(str, path))
    key = next((step for step in reversed(path) if isinstance(step, str)), "scenario")
    return document.error(f"{where}: {said}{shown}", at=path, fix=f"correct '{key}' on this line")


def _fields_at(path: Sequence[str | int]) -> list[str]:
    """The keys that may stand at a path of the file."""
    model: type[BaseModel] = Scenario
    for step in path:
        for name, field in model.model_fields.items():
            if step == (field.alias or name):
                model = _inner(field.annotation) or model
    names = [field.alias or name for name, field in model.model_fields.items()]
    return [*names, *WORDS_OF_FILES] if model is Scenario else names


def _inner(annotation: Any) -> type[BaseModel] | None:
    """The model inside `tuple[X, ...]`, `X | None`, `dict[str, X]`."""
    found = [annotation]
    while found:
        one = found.pop(0)
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
        found += list(get_args(one))
    return None
