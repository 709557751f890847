"""Items of typed attributes (`{"N": "5"}`) as plain JSON values."""

from collections.abc import Mapping
from typing import Any

from contracts.messages import Json


def plain_item(item: Mapping[str, Any]) -> dict[str, Json]:
    """An item of typed attributes as plain JSON values."""
    return {name: plain_value(value) for name, value in item.items()}


def plain_value(typed: Mapping[str, Any]) -> Json:
    """One typed attribute (`{"N": "5"}`): numbers as int where whole, lists and maps walked, sets as lists."""
    ((kind, value),) = typed.items()
    if kind == "N":
        return _number(value)
    if kind == "NULL":
        return None
    if kind == "L":
        return [plain_value(one) for one in value]
    if kind == "M":
        return plain_item(value)
    if kind == "NS":
        return [_number(one) for one in value]
    return list(value) if kind == "SS" else value


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
