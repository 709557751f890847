"""The syntax tree of a statement. Plain frozen values: the parser makes them, the evaluator compiles them."""

from dataclasses import dataclass
from typing import Literal as OneOf
from typing import TypeAlias

from .values import Value


@dataclass(frozen=True, slots=True)
class Position:
    """Where in the statement, both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, a text, TRUE, FALSE or NULL."""

    value: Value


@dataclass(frozen=True, slots=True)
class Field:
    """A top-level name of the payload, or of the element inside a nested SELECT."""

    name: str


@dataclass(frozen=True, slots=True)
class Variable:
    """`@name`, assigned by SET."""

    name: str
    at: Position


@dataclass(frozen=True, slots=True)
class Star:
    """The whole payload, as a SELECT item or as an argument of a function."""


@dataclass(frozen=True, slots=True)
class Member:
    """`base.name.name`."""

    base: "Expr"
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """`name(arguments)`."""

    name: str
    arguments: "tuple[Expr, ...]"
    at: Position


@dataclass(frozen=True, slots=True)
class Cast:
    """`CAST(operand AS type)`."""

    operand: "Expr"
    type_name: str
    at: Position


@dataclass(frozen=True, slots=True)
class Chain:
    """Operators of one precedence, applied from left to right; flat, so that a long sum is not a deep tree."""

    first: "Expr"
    rest: "tuple[tuple[str, Expr], ...]"


@dataclass(frozen=True, slots=True)
class Negative:
    """`-operand`."""

    operand: "Expr"


@dataclass(frozen=True, slots=True)
class Compare:
    """`left operator right`, one of = <> < <= > >=."""

    operator: str
    left: "Expr"
    right: "Expr"


@dataclass(frozen=True, slots=True)
class In:
    """`left IN right`, where right is an array."""

    left: "Expr"
    right: "Expr"


@dataclass(frozen=True, slots=True)
class Logic:
    """Operands joined by AND, or by OR; flat, as a chain is."""

    operator: OneOf["AND", "OR"]
    operands: "tuple[Expr, ...]"


@dataclass(frozen=True, slots=True)
class Not:
    """`NOT operand`."""

    operand: "Expr"


@dataclass(frozen=True, slots=True)
class ArrayLiteral:
    """`[items]`, since version 2016-03-23."""

    items: "tuple[Expr, ...]"
    at: Position


@dataclass(frozen=True, slots=True)
class ObjectLiteral:
    """`{name: expression}`, since version 2016-03-23, in the order written."""

    pairs: "tuple[tuple[str, Expr], ...]"
    at: Position


@dataclass(frozen=True, slots=True)
class Case:
    """`CASE subject WHEN ... THEN ... ELSE ... END`; without an ELSE what fits no branch is Undefined."""

    subject: "Expr"
    branches: "tuple[tuple[Expr, Expr], ...]"
    otherwise: "Expr | None"


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a SELECT list. `path` is its alias, or the name that it has without one."""

    expr: "Expr"
    path: tuple[str, ...]
    aliased: bool


@dataclass(frozen=True, slots=True)
class Select:
    """A SELECT list with its WHERE. `value`: the result is the one item itself, not an object."""

    value: bool
    items: tuple[Item, ...]
    where: "Expr | None"


@dataclass(frozen=True, slots=True)
class Nested:
    """`(SELECT ... FROM path)`."""

    source: "Expr"
    select: Select
    at: Position


@dataclass(frozen=True, slots=True)
class Statement:
    """A whole rule query. `topic_filter` is None for a rule that only Basic Ingest calls."""

    assignments: "tuple[tuple[Variable, Expr], ...]"
    select: Select
    topic_filter: str | None


Expr: TypeAlias = (
    Literal
    | Field
    | Variable
    | Star
    | Member
    | Call
    | Cast
    | Chain
    | Negative
    | Compare
    | In
    | Logic
    | Not
    | ArrayLiteral
    | ObjectLiteral
    | Case
    | Nested
)
