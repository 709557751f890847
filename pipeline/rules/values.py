"""The values of IoT SQL, and the conversions between their types (developer guide, "Data types").

An Int is an `int`; a Boolean, String, Array, Object and Null are what Python's `json` makes of them. A Decimal
is a `float` wherever the float prints as the same number, which almost all readings of devices do and which
keeps the path of a message in C; any other (more than 15 to 17 digits, beyond 1.8E308) is a `decimal.Decimal`.
Arithmetic is done in 34-digit decimals, so `0.1 + 0.2` is `0.3`. `UNDEFINED` is the absence of a value. The raw
payload is `bytes` where a statement hands on a payload that is not JSON.

Since version 2016-03-23 a whole Decimal is an Int (`10.0` is `10`): `whole=True` below.
"""

import math
import re
from decimal import (
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DecimalException,
    DivisionByZero,
    InvalidOperation,
    Overflow,
)
from typing import Any, Final, TypeAlias, final

Value: TypeAlias = Any
Number: TypeAlias = int | float | Decimal

MAX_INT: Final = 10**34
"""An Int has at most 34 digits."""

MAX_TEXT: Final = 131_072
"""Longest String a function may make, in characters: 128 KiB, the largest MQTT payload of AWS IoT Core."""

DECIMALS: Final = Context(
    prec=34,
    rounding=ROUND_HALF_EVEN,
    Emin=-999,
    Emax=999,
    traps=[InvalidOperation, DivisionByZero, Overflow],
)
"""34 digits and magnitudes up to 9.99E999, as the guide says."""


@final
class Undefined:
    """The type of `UNDEFINED`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNDEFINED"


UNDEFINED: Final = Undefined()

_NUMERIC: Final = re.compile(r"-?\d{1,9999}(?:\.\d{1,9999})?(?:[eE]-?\d{1,9})?", re.ASCII)


def is_number(value: Value) -> bool:
    """Whether it is an Int or a Decimal. A Boolean, which Python takes for a number, is none."""
    kind = type(value)
    return kind is int or kind is float or kind is Decimal


def to_number(value: Value) -> Number | Undefined:
    """The standard conversion to Decimal; Booleans and Null do not convert (an Int stays an Int)."""
    if is_number(value):
        number: Number = value
        return number
    if type(value) is str and _NUMERIC.fullmatch(value):
        try:
            return settle(DECIMALS.create_decimal(value), whole=False)
        except DecimalException:
            return UNDEFINED
    return UNDEFINED


def to_decimal(value: Value) -> Decimal | None:
    """For arithmetic: the exact decimal that the number prints as, or None if it is not one."""
    number = to_number(value)
    if isinstance(number, Undefined):
        return None
    return exact(number)


def exact(number: Number) -> Decimal:
    """The decimal that prints as the number does: 0.1 is 0.1, not 0.1000000000000000055."""
    return Decimal(repr(number)) if type(number) is float else Decimal(number)


def to_int(value: Value) -> int | Undefined:
    """The conversion to Int, for indexes, lengths and bits: rounded down, as the functions' own tables say.

    The guide is ambiguous: its table of conversions says "nearest" for Decimals and "truncates" for Strings.
    """
    decimal = to_decimal(value)
    if decimal is None:
        return UNDEFINED
    if decimal.adjusted() >= 34:  # an index of that size is beyond every end, whatever its digits
        return MAX_INT if decimal > 0 else -MAX_INT
    return math.floor(decimal)


def to_boolean(value: Value) -> bool | Undefined:
    """The standard conversion to Boolean: `true` and `false` as text, in any case, and nothing else."""
    if value is True or value is False:
        flag: bool = value
        return flag
    if type(value) is str:
        lowered = value.lower()
        if lowered == "true":
            return True
        if lowered == "false":
            return False
    return UNDEFINED


def settle(number: Decimal, *, whole: bool) -> Number:
    """A decimal in its standing representation (see above). `whole`: whole numbers become Int."""
    if whole and number.adjusted() < 34 and number == number.to_integral_value():
        return int(number)
    nearest = float(number)
    return nearest if _prints_as(nearest, number) else number


def _prints_as(nearest: float, number: Decimal) -> bool:
    return Decimal(repr(nearest)) == number  # infinity equals no finite number


def equal(left: Value, right: Value) -> bool:
    """`=` between two values that are not Undefined: types must match, Int and Decimal are one type."""
    if is_number(left):
        return is_number(right) and bool(left == right)
    if type(left) is not type(right):
        return False
    if type(left) is list:
        return len(left) == len(right) and all(map(equal, left, right))
    if type(left) is dict:
        return left.keys() == right.keys() and all(equal(item, right[key]) for key, item in left.items())
    return bool(left == right)
