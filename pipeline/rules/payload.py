"""JSON in and out: the payload of a message, and the body of a delivery.

A payload that is not strict UTF-8 JSON (RFC 8259: no NaN, no Infinity) is `UNDEFINED` to a statement, and so is
one nested deeper than `MAX_DEPTH`: nobody may make the evaluation recurse without bound.
"""

import json
from collections.abc import Callable
from decimal import Decimal, DecimalException
from typing import Final, NoReturn

from .values import DECIMALS, UNDEFINED, Number, Undefined, Value, settle

MAX_DEPTH: Final = 128
"""Containers inside containers. Devices nest a handful; 128 keeps every recursion far below Python's 1,000."""


def decode(data: bytes, *, whole: bool = True) -> Value:
    """The JSON value of a payload, or UNDEFINED. `whole`: see `values`."""
    try:
        text = data.decode()
        value = (_DECODE_WHOLE if whole else _DECODE)(text)
    except (ValueError, RecursionError):
        return UNDEFINED
    return value if _shallow(text, value) else UNDEFINED


def encode(value: Value) -> bytes:
    """A result as the body of a delivery: compact JSON in UTF-8; bytes unchanged; Undefined is empty."""
    if type(value) is bytes:
        return value
    if value is UNDEFINED:
        return b""
    # backslashreplace: a lone surrogate, which only an escape can have brought, goes out as the escape it was
    return to_json(value).encode("utf-8", "backslashreplace")


def to_json(value: Value) -> str:
    """Compact JSON text."""
    try:
        return _encode(value)
    except TypeError:  # there is a decimal.Decimal in it, which the C encoder cannot write as a number
        return _write(value)


def to_text(value: Value) -> str | Undefined:
    """The standard conversion to String (developer guide, "Conversions"). Null has none."""
    kind = type(value)
    if kind is str:
        text: str = value
        return text
    if kind is bool:
        return "true" if value else "false"
    if kind is int or kind is Decimal:
        return str(value)
    if kind is float:
        return _float_text(value)
    if kind is list or kind is dict:
        return to_json(value)
    return _bytes_text(value) if kind is bytes else UNDEFINED


def _bytes_text(value: bytes) -> str | Undefined:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return UNDEFINED


def _float_text(value: float) -> str:
    text = repr(value)
    return str(Decimal(text)) if "e" in text else text  # 1e+22 is written 1E+22


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _number(*, whole: bool) -> Callable[[str], Number]:
    def parse(text: str) -> Number:
        # 16 characters hold at most 15 digits beside the point, and 15 digits survive a float unchanged
        if len(text) <= 16 and "e" not in text and "E" not in text:
            number = float(text)
            return int(number) if whole and number.is_integer() else number
        try:
            return settle(DECIMALS.create_decimal(text), whole=whole)
        except DecimalException as error:
            raise ValueError(f"{text} is beyond 9.99E999") from error

    return parse


_DECODE = json.JSONDecoder(parse_float=_number(whole=False), parse_constant=_constant).decode
_DECODE_WHOLE = json.JSONDecoder(parse_float=_number(whole=True), parse_constant=_constant).decode
_encode = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
).encode


def _shallow(text: str, value: Value) -> bool:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return True
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [child for item in level for child in _children(item)]
        if not level:
            return True
    return False


def _children(value: Value) -> list[Value]:
    if type(value) is dict:
        return list(value.values())
    return value if type(value) is list else []


def _write(value: Value) -> str:
    """As `_encode`, with decimals as numbers. Values are at most MAX_DEPTH deep, times one statement's nesting."""
    if type(value) is Decimal:
        return str(value)
    if type(value) is list:
        return "[" + ",".join(map(_write, value)) + "]"
    if type(value) is dict:
        return "{" + ",".join(f"{_encode(key)}:{_write(item)}" for key, item in value.items()) + "}"
    return _encode(value)
