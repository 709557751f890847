"""Values of an answer or a parameter as JSON between our processes, and back as what they were."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

_REVIVE: Mapping[str, Callable[[Any], Any]] = {
    "$moment": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$time": time.fromisoformat,
    "$microseconds": lambda count: timedelta(microseconds=count),
    "$decimal": Decimal,
    "$uuid": UUID,
    "$bytes": bytes.fromhex,
}


def pack(value: Any) -> str:
    """One line of JSON; what JSON has not becomes an object with one key that begins with `$`."""
    return json.dumps(value, default=_flat)


def unpack(text: str | bytes) -> Any:
    """What `pack` was given, with lists for tuples. Raises ValueError for text that is none of its."""
    return json.loads(text, object_hook=_revive)


def _flat(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"$moment": value.isoformat()}
    if isinstance(value, timedelta):
        return {"$microseconds": value // timedelta(microseconds=1)}
    for kind, name in ((date, "$date"), (time, "$time")):
        if isinstance(value, kind):
            return {name: value.isoformat()}
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, Decimal | UUID):
        return {"$decimal" if isinstance(value, Decimal) else "$uuid": str(value)}
    return str(value)


def _revive(told: dict[str, Any]) -> Any:
    if len(told) == 1:
        ((name, value),) = told.items()
        with suppress(ValueError, TypeError):  # somebody's own object with such a key
            return _REVIVE[name](value) if name in _REVIVE else told
    return told
