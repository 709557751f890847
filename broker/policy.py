"""What a principal may do: AWS IoT Core policies, evaluated.

Source: AWS IoT Core policies, policy actions, policy variables and condition keys pages: actions `iot:Connect`,
`iot:Publish`, `iot:RetainPublish`, `iot:Receive`, `iot:Subscribe`; resources `client/ID`, `topic/T`,
`topicfilter/F`; `*` and `?` are wildcards, `+` and `#` are plain characters; an explicit Deny wins; what nothing
allows is denied; a statement whose variable has no value does not match.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from contracts.errors import ConfigError

from .conditions import Condition, Variables, read_conditions
from .patterns import Pattern

Action: TypeAlias = Literal["iot:Connect", "iot:Publish", "iot:Receive", "iot:RetainPublish", "iot:Subscribe"]

ARN = "arn:aws:iot:us-east-1:000000000000:"
"""Where the resources of this gateway are: the emulator's region and account."""

MAX_BYTES = 2048
MAX_DECIDED = 64
"""Decisions remembered for a connection: devices choose topics, and have a handful of them."""

OPEN_DOCUMENT: Mapping[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}],
}

DEVICE_DOCUMENT: Mapping[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "iot:Connect", "Resource": f"{ARN}client/${{iot:ClientId}}"},
        {
            "Effect": "Allow",
            "Action": ["iot:Publish", "iot:RetainPublish", "iot:Receive"],
            "Resource": [
                f"{ARN}topic/dt/*",
                f"{ARN}topic/cmd/*",
                f"{ARN}topic/$aws/rules/*",
                f"{ARN}topic/$aws/things/${{iot:ClientId}}/*",
            ],
        },
        {
            "Effect": "Allow",
            "Action": "iot:Subscribe",
            "Resource": [
                f"{ARN}topicfilter/cmd/*",
                f"{ARN}topicfilter/dt/*",
                f"{ARN}topicfilter/$aws/things/${{iot:ClientId}}/*",
            ],
        },
    ],
}
"""The local principal's default: device data below `dt/`, commands below `cmd/`, its own shadow."""

_EFFECTS = {"Allow": True, "Deny": False}


@dataclass(frozen=True, slots=True)
class _Statement:
    allows: bool
    actions: tuple[Pattern, ...]
    resources: tuple[Pattern, ...]
    conditions: tuple[Condition, ...]


class Policy:
    """Policy documents of one principal, ready to be bound to a connection."""

    def __init__(self, *documents: Mapping[str, Any]) -> None:
        """Raises ConfigError for what is no policy document."""
        self._statements = tuple(statement for document in documents for statement in _statements(document))

    def bind(self, variables: Variables) -> "Permissions":
        """What a connection with these policy variables may do."""
        return Permissions(self._statements, variables)


class Permissions:
    """The decisions for one connection, each made once."""

    __slots__ = ("_decided", "_statements", "_variables")

    def __init__(self, statements: Sequence[_Statement], variables: Variables) -> None:
        self._statements = statements
        self._variables = variables
        self._decided: dict[tuple[str, str], bool] = {}

    def allows(self, action: Action, resource: str) -> bool:
        """Whether this is allowed on `client/..`, `topic/..` or `topicfilter/..`."""
        question = (action, resource)
        answer = self._decided.get(question)
        if answer is None:
            if len(self._decided) >= MAX_DECIDED:
                self._decided.clear()
            answer = self._decided[question] = self._decide(action, ARN + resource)
        return answer

    def _decide(self, action: Action, resource: str) -> bool:
        allowed = False
        for statement in self._statements:
            if self._concerns(statement, action, resource):
                if not statement.allows:
                    return False
                allowed = True
        return allowed

    def _concerns(self, statement: _Statement, action: Action, resource: str) -> bool:
        variables = self._variables
        return (
            any(pattern.matches(action, variables) for pattern in statement.actions)
            and any(pattern.matches(resource, variables) for pattern in statement.resources)
            and all(one.holds(variables, unknown=not statement.allows) for one in statement.conditions)
        )


def _statements(document: Mapping[str, Any]) -> list[_Statement]:
    try:
        given = document["Statement"]
        return [_statement(one) for one in ([given] if isinstance(given, Mapping) else given)]
    except (KeyError, TypeError, ValueError, AttributeError, re.error) as error:
        raise ConfigError(
            f"no policy document: {type(error).__name__} {error}",
            fix='write {"Version": ..., "Statement": [{"Effect": "Allow", "Action": ..., "Resource": ...}]}',
        ) from None


def _statement(given: Mapping[str, Any]) -> _Statement:
    return _Statement(
        allows=_EFFECTS[given["Effect"]],
        actions=tuple(Pattern(one, literal_variables=True) for one in _listed(given["Action"])),
        resources=tuple(Pattern(one) for one in _listed(given["Resource"])),
        conditions=read_conditions(given.get("Condition", {})),
    )


def _listed(value: str | Sequence[str]) -> tuple[str, ...]:
    listed = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(one, str) for one in listed):
        raise TypeError("actions and resources are strings")
    return listed
