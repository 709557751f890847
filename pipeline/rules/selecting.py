"""Objects out of values: the result of a SELECT list, and object literals. Undefined values are left out."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from .context import Context
from .values import UNDEFINED, Value

Run: TypeAlias = Callable[[Value, Context], Value]
Entry: TypeAlias = tuple[tuple[str, ...], Run]
"""Where a value goes (`("bar", "baz")` for `AS bar.baz`; `()` spreads an object over the result) and its closure."""


def object_maker(entries: Sequence[Entry]) -> Run:
    """The closure that makes the object. Later entries win over earlier ones."""
    if all(len(path) == 1 for path, _ in entries):
        return _flat([(path[0], run) for path, run in entries])
    return _any(tuple(entries))


def _flat(entries: list[tuple[str, Run]]) -> Run:
    def make(scope: Value, context: Context) -> Value:
        result: dict[str, Value] = {}
        for key, run in entries:
            value = run(scope, context)
            if value is not UNDEFINED:
                result[key] = value
        return result

    return make


def _any(entries: tuple[Entry, ...]) -> Run:
    def make(scope: Value, context: Context) -> Value:
        result: dict[str, Value] = {}
        for path, run in entries:
            value = run(scope, context)
            if not path:
                if type(value) is dict:  # `*` of a payload that is no object adds nothing
                    result.update(value)
            elif value is not UNDEFINED:
                _put(result, path, value)
        return result

    return make


def _put(result: dict[str, Value], path: tuple[str, ...], value: Value) -> None:
    """Copies the objects along the path: those that `*` brought belong to the payload, which other rules share."""
    for name in path[:-1]:
        inner = result.get(name)
        result[name] = inner = dict(inner) if type(inner) is dict else {}
        result = inner
    result[path[-1]] = value
