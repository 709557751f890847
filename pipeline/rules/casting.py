"""`CAST(value AS type)` (developer guide, "cast()"). Wider than the conversions: Booleans are numbers here."""

from collections.abc import Callable
from functools import partial
from typing import Final

from .payload import to_text
from .values import UNDEFINED, Value, is_number, settle, to_boolean, to_decimal, to_int, to_number


def _to_int(value: Value) -> Value:
    return int(value) if type(value) is bool else to_int(value)


def _to_decimal(value: Value, *, whole: bool) -> Value:
    if type(value) is bool:
        return int(value) if whole else float(value)
    decimal = to_decimal(value)
    return UNDEFINED if decimal is None else settle(decimal, whole=whole)


def _to_double(value: Value) -> Value:
    number = float(value) if type(value) is bool else to_number(value)
    try:
        return UNDEFINED if number is UNDEFINED else _finite(float(number))  # type: ignore[arg-type] # a number
    except OverflowError:
        return UNDEFINED


def _finite(number: float) -> Value:
    return number if abs(number) != float("inf") else UNDEFINED


def _to_boolean(value: Value) -> Value:
    return value != 0 if is_number(value) else to_boolean(value)


_BOTH: Final[dict[str, Callable[[Value], Value]]] = {
    **dict.fromkeys(("string", "nvarchar", "text", "ntext", "varchar"), to_text),
    **dict.fromkeys(("int", "integer"), _to_int),
    "double": _to_double,
}

TYPES_2015: Final[dict[str, Callable[[Value], Value]]] = {
    **_BOTH,
    "decimal": partial(_to_decimal, whole=False),
}
"""Version 2015-10-08, where a whole Decimal stays one. (`decimal` is ours: the guide's note there uses it.)"""

TYPES_2016: Final[dict[str, Callable[[Value], Value]]] = {
    **_BOTH,
    "decimal": partial(_to_decimal, whole=True),
    **dict.fromkeys(("bool", "boolean"), _to_boolean),
}
