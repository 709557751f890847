"""The conditions of a policy statement.

Source: IAM JSON policy elements, condition operators; AWS IoT Core policy variables (`iot:ClientId`,
`iot:Connection.Thing.*`, `aws:SourceIp`, ...). Operators that are not listed here hold for a Deny and fail for an
Allow: nobody gains by them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any, TypeAlias

from .patterns import Pattern

Variables: TypeAlias = Mapping[str, str]

_Test: TypeAlias = Callable[[str, str, Variables], bool]


def _in_network(value: str, wanted: str, _variables: Variables) -> bool:
    try:
        return ip_address(value) in ip_network(wanted, strict=False)
    except ValueError:
        return False


def _equal(value: str, wanted: str, variables: Variables) -> bool:
    return Pattern(wanted.replace("*", "${*}").replace("?", "${?}")).matches(value, variables)


def _equal_ignoring_case(value: str, wanted: str, variables: Variables) -> bool:
    return _equal(value.lower(), wanted.lower(), {k.lower(): v.lower() for k, v in variables.items()})


def _like(value: str, wanted: str, variables: Variables) -> bool:
    return Pattern(wanted).matches(value, variables)


def _same_truth(value: str, wanted: str, _variables: Variables) -> bool:
    return value.lower() == wanted.lower()


_TESTS: Mapping[str, tuple[_Test, bool]] = {
    "StringEquals": (_equal, True),
    "StringNotEquals": (_equal, False),
    "StringEqualsIgnoreCase": (_equal_ignoring_case, True),
    "StringNotEqualsIgnoreCase": (_equal_ignoring_case, False),
    "StringLike": (_like, True),
    "StringNotLike": (_like, False),
    "Bool": (_same_truth, True),
    "IpAddress": (_in_network, True),
    "NotIpAddress": (_in_network, False),
}
"""The operators: the test, and whether it must be true of one of the values or false of all."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator on one key, with its values."""

    operator: str
    key: str
    values: tuple[str, ...]

    def holds(self, variables: Variables, *, unknown: bool) -> bool:
        """Whether it holds; `unknown` is the answer for an operator that is not known here."""
        name = self.operator.removesuffix("IfExists").rpartition(":")[2]
        if name == "Null":
            return ((self.key in variables) is False) == (self.values[0].lower() == "true")
        if name not in _TESTS:
            return unknown
        value = variables.get(self.key)
        test, wanted = _TESTS[name]
        if value is None:
            return self.operator.endswith("IfExists") or not wanted
        return any(test(value, one, variables) for one in self.values) == wanted


def read_conditions(block: Mapping[str, Mapping[str, Any]]) -> tuple[Condition, ...]:
    """The conditions of a statement's `Condition`. Raises TypeError, ValueError, AttributeError for what is none."""
    return tuple(
        Condition(operator, key, _values(values))
        for operator, keys in block.items()
        for key, values in keys.items()
    )


def _values(values: Any) -> tuple[str, ...]:
    listed: Sequence[Any] = (values,) if isinstance(values, str | bool | int) else tuple(values)
    if not listed:
        raise ValueError("a condition needs a value")
    return tuple(str(one).lower() if isinstance(one, bool) else str(one) for one in listed)
