"""Expressions: a payload field computed from time, the device and the fields before it.

Arithmetic on floats and nothing else: the text is parsed once, every part is held against a list of what is
allowed, and becomes a closure. Neither names of Python nor large whole numbers can be reached from it.
"""

import ast
import math
import operator
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from pydantic import field_validator, model_validator

from contracts.messages import SECOND, Nanoseconds

from .generators import DAY, Generator, Json, Spec, since_first

MAX_LENGTH = 1_000
MAX_PARTS = 200
"""An expression is evaluated for every message; 200 parts take 10 to 30 microseconds."""


@dataclass(slots=True)
class Moment:
    """What an expression sees when it is evaluated; undefined values are NaN."""

    t: float
    age: float
    device: float
    noise: Callable[[], float]
    fields: Mapping[str, Json]


_Part: TypeAlias = Callable[[Moment], float]

_NAMES: Mapping[str, _Part] = {
    "t": lambda moment: moment.t,
    "age": lambda moment: moment.age,
    "device": lambda moment: moment.device,
    "pi": lambda _: math.pi,
}

_BINARY: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: math.pow,  # of floats: it overflows at once where whole numbers would grow
}
_UNARY: Mapping[type[ast.unaryop], Callable[[float], float]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def _round(value: float, digits: float = 0.0) -> float:
    return float(round(value, int(max(-15.0, min(15.0, digits)))))


_FUNCTIONS: Mapping[str, tuple[Callable[..., float], int, int]] = {
    # name: (function, fewest arguments, most arguments)
    "sin": (math.sin, 1, 1),
    "cos": (math.cos, 1, 1),
    "sqrt": (math.sqrt, 1, 1),
    "abs": (math.fabs, 1, 1),
    "min": (min, 2, 20),
    "max": (max, 2, 20),
    "round": (_round, 1, 2),
}
_ALLOWED = f"numbers, names, + - * / // % ** and {', '.join(_FUNCTIONS)}, noise()"


@dataclass(frozen=True, slots=True)
class Compiled:
    """An expression ready to be evaluated, and the names it uses with the column of their first use."""

    evaluate: _Part
    fields: Mapping[str, int]
    words: Mapping[str, int]


@lru_cache(maxsize=1_000)
def compiled(text: str) -> Compiled:
    """Compile an expression. Raises ValueError with the column (from 1) of what is not allowed."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"an expression has at most {MAX_LENGTH} characters")
    tree = _parse(" ".join(text.splitlines()))
    if sum(isinstance(node, ast.expr) for node in ast.walk(tree)) > MAX_PARTS:
        raise ValueError(f"an expression has at most {MAX_PARTS} parts")
    names: dict[str, int] = {}
    evaluate = _part(tree, names)
    fields = {name: column for name, column in names.items() if name not in _NAMES}
    words = {name: column for name, column in names.items() if name in _NAMES}
    return Compiled(evaluate, fields, words)


def _parse(line: str) -> ast.expr:
    """The opening bracket lets the line begin with spaces, and makes columns count from 1."""
    if not line.strip():
        raise ValueError("an expression is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return ast.parse(f"({line})", mode="eval").body
    except SyntaxError as error:
        column = max(1, min((error.offset or 2) - 1, len(line)))
        raise ValueError(f"column {column}: {error.msg}") from None
    except (ValueError, MemoryError, RecursionError, Warning) as error:
        raise ValueError(f"column 1: it cannot be read: {str(error) or 'nested too deeply'}") from None


def _part(node: ast.expr, names: dict[str, int]) -> _Part:
    if isinstance(node, ast.Constant):
        return _number(node)
    if isinstance(node, ast.Name):
        return _name(node, names)
    if isinstance(node, ast.Call):
        return _call(node, names)
    if isinstance(node, ast.BinOp) and (binary := _BINARY.get(type(node.op))):
        left, right = _part(node.left, names), _part(node.right, names)
        return lambda moment: binary(left(moment), right(moment))
    if isinstance(node, ast.UnaryOp) and (unary := _UNARY.get(type(node.op))):
        operand = _part(node.operand, names)
        return lambda moment: unary(operand(moment))
    raise _refused(node, f"only {_ALLOWED} are allowed")


def _number(node: ast.Constant) -> _Part:
    if isinstance(node.value, bool) or not isinstance(node.value, int | float):
        raise _refused(node, f"{node.value!r} is no number")
    try:
        value = float(node.value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise _refused(node, "the number is too large")
    return lambda _: value


def _name(node: ast.Name, names: dict[str, int]) -> _Part:
    name = node.id
    if name in _FUNCTIONS or name == "noise":
        raise _refused(node, f"{name} is a function: write {name}(...)")
    names.setdefault(name, node.col_offset)
    if name in _NAMES:
        return _NAMES[name]
    return lambda moment: _as_float(moment.fields.get(name))


def _as_float(value: Json) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _call(node: ast.Call, names: dict[str, int]) -> _Part:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if node.keywords or name not in {*_FUNCTIONS, "noise"}:
        raise _refused(node, f"only these can be called: {', '.join(_FUNCTIONS)}, noise; without keywords")
    if name == "noise":
        if node.args:
            raise _refused(node, "noise() takes nothing: multiply it by the width that you want")
        return lambda moment: moment.noise()
    function, fewest, most = _FUNCTIONS[name]
    if not fewest <= len(node.args) <= most:
        raise _refused(node, f"{name} takes {fewest if fewest == most else f'{fewest} to {most}'} arguments")
    arguments = [_part(argument, names) for argument in node.args]
    return lambda moment: function(*(argument(moment) for argument in arguments))


def _refused(node: ast.expr, what: str) -> ValueError:
    return ValueError(f"column {max(1, node.col_offset)}: {what}")


class Expression(Spec):
    """A number computed for every reading: `expression: "20 + 4 * sin(2 * pi * t / 86400) + 0.1 * noise()"`.

    `t` is the time of day in seconds (UTC), `age` the seconds since the device's first reading, `device` its
    number from 1, `pi` is pi. The names of numeric fields that stand before it in the payload are their values in
    the same reading. `noise()` is a normal random number (mean 0, deviation 1) of the device's own.
    The value is rounded to six digits. Where it is undefined (a division by zero, a root of a negative) it is null.
    """

    formula: str

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return {"formula": repr(value)}
        return {"formula": value} if isinstance(value, str) else value

    @field_validator("formula")
    @classmethod
    def _compiles(cls, value: str) -> str:
        compiled(value)
        return value

    @property
    def compiled(self) -> Compiled:
        """The formula, ready to be evaluated."""
        return compiled(self.formula)

    def generator(self, rng: random.Random) -> Generator:
        return Evaluation(compiled(self.formula), rng)


class Evaluation:
    """The generator of an expression. Until it is bound, it is device 1 and knows no other field."""

    def __init__(self, expression: Compiled, rng: random.Random) -> None:
        self._evaluate = expression.evaluate
        self._elapsed = since_first()
        self._moment = Moment(0.0, 0.0, 1.0, lambda: rng.gauss(0.0, 1.0), {})
        self.fields = frozenset(expression.fields)

    def bind(self, *, device: int, fields: Mapping[str, Json]) -> None:
        """Tell it its device's number, and where the values of the reading are found."""
        self._moment.device = float(device)
        self._moment.fields = fields

    def __call__(self, now: Nanoseconds) -> float | None:
        moment = self._moment
        moment.t = now % DAY / SECOND
        moment.age = self._elapsed(now) / SECOND
        try:
            value = self._evaluate(moment)
        except (ArithmeticError, ValueError):
            return None
        return round(value, 6) if math.isfinite(value) else None


def linked(generators: Mapping[str, Generator], *, device: int) -> Mapping[str, Generator]:
    """The generators of one device, where its expressions see its number and the fields before them.

    They must be called in their order, all for one reading and then all for the next.
    """
    expressions = [one for one in generators.values() if isinstance(one, Evaluation)]
    if not expressions:
        return generators
    seen: dict[str, Json] = {}
    for expression in expressions:
        expression.bind(device=device, fields=seen)
    used = {name for expression in expressions for name in expression.fields}
    return dict(_noting(generators, used, seen))


def _noting(
    generators: Mapping[str, Generator], used: set[str], seen: dict[str, Json]
) -> Iterator[tuple[str, Generator]]:
    for name, generate in generators.items():
        yield name, _noted(name, generate, seen) if name in used else generate


def _noted(name: str, generate: Generator, seen: dict[str, Json]) -> Generator:
    def next_value(now: Nanoseconds) -> Json:
        value = seen[name] = generate(now)
        return value

    return next_value
