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
    payload (bytes), not the JSON value. `new`: not in SQL version 2015-10-08. `service`: what it asks, for a
    function that leaves the process; AWS bills these, and lets no error action use them.
    """

    name: str
    call: Call
    least: int
    most: int
    with_context: bool = False
    raw_star: bool = False
    new: bool = False
    service: str = ""

    def takes(self, count: int) -> bool:
        return self.least <= count <= self.most


FUNCTIONS: Final[dict[str, Function]] = {}

MANY: Final = 1_000
"""`most` of a function with any number of arguments."""

UNAVAILABLE: Final[dict[str, str]] = {
    "machinelearning_predict": "Amazon Machine Learning was retired",
}
"""Functions of AWS that nobody can offer, with the reason: refused when the rule is loaded."""


def register(
    name: str,
    least: int,
    most: int | None = None,
    *,
    with_context: bool = False,
    raw_star: bool = False,
    new: bool = False,
    service: str = "",
) -> Callable[[F], F]:
    """Decorator: the function is `name` in IoT SQL and takes `least` to `most` (default: `least`) arguments."""

    def add(call: F) -> F:
        last = least if most is None else most
        FUNCTIONS[name] = Function(name, call, least, last, with_context, raw_star, new, service)
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
