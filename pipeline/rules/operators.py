"""Arithmetic, ordering and membership (developer guide, "Operators"). Wrong types give UNDEFINED, never an error."""

import operator
from collections.abc import Callable
from decimal import Decimal, DecimalException
from typing import Final, TypeAlias

from .payload import to_text
from .values import (
    DECIMALS,
    MAX_INT,
    MAX_TEXT,
    UNDEFINED,
    Number,
    Undefined,
    Value,
    equal,
    is_number,
    settle,
    to_decimal,
    to_number,
)

Binary: TypeAlias = Callable[[Value, Value], Value]


def arithmetic(sign: str, *, whole: bool) -> Binary:
    """The function of `+ - * / %`. `whole`: see `values`."""
    on_ints = _ON_INTS[sign]
    on_decimals = _ON_DECIMALS[sign]

    def apply(left: Value, right: Value) -> Value:
        if type(left) is int and type(right) is int:
            return _int(on_ints(left, right)) if right or sign in "+-*" else UNDEFINED
        return _decimal(on_decimals, to_decimal(left), to_decimal(right), whole=whole)

    return _plus(apply) if sign == "+" else apply


def compare(sign: str) -> Binary:
    """The function of `= <> < <= > >=`."""
    if sign in ("=", "<>"):
        return _equality(negated=sign == "<>")
    test = _ORDERINGS[sign]

    def apply(left: Value, right: Value) -> Value:
        # Decimal and float compare exactly but not by what they print as: bring both to decimals
        if type(left) is Decimal or type(right) is Decimal:
            left, right = to_decimal(left), to_decimal(right)
            return UNDEFINED if left is None or right is None else test(left, right)
        if not is_number(left) or not is_number(right):
            return _converted(apply, left, right)
        return bool(test(left, right))

    return apply


def contains(left: Value, right: Value) -> Value:
    """`left IN right`: whether the Array has an equal element."""
    if left is UNDEFINED or type(right) is not list:
        return UNDEFINED
    return any(equal(left, item) for item in right)


def _plus(add: Binary) -> Binary:
    def apply(left: Value, right: Value) -> Value:
        if type(left) is str or type(right) is str:
            return _concatenate(to_text(left), to_text(right))
        return add(left, right)

    return apply


def _concatenate(left: str | Undefined, right: str | Undefined) -> str | Undefined:
    if isinstance(left, Undefined) or isinstance(right, Undefined):
        return UNDEFINED
    return left + right if len(left) + len(right) <= MAX_TEXT else UNDEFINED


def _equality(*, negated: bool) -> Binary:
    def apply(left: Value, right: Value) -> Value:
        if left is UNDEFINED or right is UNDEFINED:
            return UNDEFINED
        return equal(left, right) is not negated

    return apply


def _converted(again: Binary, left: Value, right: Value) -> Value:
    left, right = to_number(left), to_number(right)
    return UNDEFINED if left is UNDEFINED or right is UNDEFINED else again(left, right)


def _int(number: int) -> Number | Undefined:
    """An Int of more than 34 digits goes on as a rounded Decimal, beyond 9.99E999 as nothing."""
    if -MAX_INT < number < MAX_INT:
        return number
    try:
        return settle(DECIMALS.create_decimal(number), whole=False)
    except DecimalException:
        return UNDEFINED


def _decimal(
    function: Callable[[Decimal, Decimal], Decimal],
    left: Decimal | None,
    right: Decimal | None,
    *,
    whole: bool,
) -> Number | Undefined:
    if left is None or right is None:
        return UNDEFINED
    try:
        return settle(function(left, right), whole=whole)
    except DecimalException:  # division by zero, or beyond 9.99E999
        return UNDEFINED


def _quotient(left: int, right: int) -> int:
    """Int / Int is an Int, towards zero: 7 / 2 is 3, -7 / 2 is -3."""
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _remainder(left: int, right: int) -> int:
    """With the sign of the left operand, which division towards zero leaves."""
    return left - right * _quotient(left, right)


_ON_INTS: Final[dict[str, Callable[[int, int], int]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _quotient,
    "%": _remainder,
}
_ON_DECIMALS: Final[dict[str, Callable[[Decimal, Decimal], Decimal]]] = {
    "+": DECIMALS.add,
    "-": DECIMALS.subtract,
    "*": DECIMALS.multiply,
    "/": DECIMALS.divide,
    "%": DECIMALS.remainder,
}
_ORDERINGS: Final[dict[str, Callable[[Value, Value], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

remainder: Final = arithmetic("%", whole=True)
"""mod() and remainder()."""
