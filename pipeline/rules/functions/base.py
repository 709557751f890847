"""The table of functions and how a function gets into it."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from contracts.errors import BadRule

from ..values import Value

Call: TypeAlias = Callable[..., Value]
F = TypeVar("F", bound=Call)


@dataclass(frozen=True, slots=True)
class Function:
    """One function. Called with another number of arguments than `least`..`most` it is Undefined.

    `with_context`: the call gets the Context before its arguments. `raw_star`: `*` as an argument is the raw
    payload (bytes), not the JSON value.
    """

    name: str
    call: Call
    least: int
    most: int
    with_context: bool = False
    raw_star: bool = False

    def takes(self, count: int) -> bool:
        return self.least <= count <= self.most


FUNCTIONS: Final[dict[str, Function]] = {}

MANY: Final = 1_000
"""`most` of a function with any number of arguments."""

UNAVAILABLE: Final[dict[str, str]] = {
    "aws_lambda": "it needs a Lambda service",
    "get_dynamodb": "it needs a DynamoDB service",
    "get_mqtt_property": "it is not built yet, though the gateway hands MQTT 5 properties on",
    "get_registry_data": "it needs the thing registry",
    "get_secret": "it needs Secrets Manager",
    "get_thing_shadow": "it needs the shadow service",
    "get_user_properties": "it is not built yet, though the gateway hands MQTT 5 properties on",
    "machinelearning_predict": "Amazon Machine Learning was retired",
}
"""Functions of AWS that the evaluation cannot offer, with the reason: refused when the rule is loaded."""


def register(
    name: str, least: int, most: int | None = None, *, with_context: bool = False, raw_star: bool = False
) -> Callable[[F], F]:
    """Decorator: the function is `name` in IoT SQL and takes `least` to `most` (default: `least`) arguments."""

    def add(call: F) -> F:
        FUNCTIONS[name] = Function(name, call, least, least if most is None else most, with_context, raw_star)
        return call

    return add


def find(name: str, *, line: int, column: int) -> Function:
    """The function of that name, in any case. Raises BadRule naming the nearest known."""
    lowered = name.lower()
    if lowered in FUNCTIONS:
        return FUNCTIONS[lowered]
    if lowered in UNAVAILABLE:
        reason = UNAVAILABLE[lowered]
        raise BadRule(
            f"function {name}() is not available", line=line, column=column, fix=f"{reason}; leave it out"
        )
    near = difflib.get_close_matches(lowered, FUNCTIONS, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    known = ", ".join(sorted(FUNCTIONS))
    raise BadRule(f"unknown function {name}()", line=line, column=column, fix=f"{hint}known: {known}")
