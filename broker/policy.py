"""What a principal may do: AWS IoT Core policies, evaluated.

Source: AWS IoT Core policies and policy variables pages: actions `iot:Connect`, `iot:Publish`, `iot:Receive`,
`iot:Subscribe`; resources `client/ID`, `topic/T`, `topicfilter/F`; `*` and `?` are wildcards, `+` and `#` are
plain characters; an explicit Deny wins; what nothing allows is denied.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from contracts.errors import ConfigError

Action: TypeAlias = Literal["iot:Connect", "iot:Publish", "iot:Receive", "iot:Subscribe"]

_ARN = "arn:aws:iot:us-east-1:000000000000:"

OPEN_DOCUMENT: Mapping[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}],
}

DEVICE_DOCUMENT: Mapping[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "iot:Connect", "Resource": f"{_ARN}client/${{iot:ClientId}}"},
        {
            "Effect": "Allow",
            "Action": ["iot:Publish", "iot:Receive"],
            "Resource": [
                f"{_ARN}topic/dt/*",
                f"{_ARN}topic/cmd/*",
                f"{_ARN}topic/$aws/rules/*",
                f"{_ARN}topic/$aws/things/${{iot:ClientId}}/*",
            ],
        },
        {
            "Effect": "Allow",
            "Action": "iot:Subscribe",
            "Resource": [
                f"{_ARN}topicfilter/cmd/*",
                f"{_ARN}topicfilter/dt/*",
                f"{_ARN}topicfilter/$aws/things/${{iot:ClientId}}/*",
            ],
        },
    ],
}
"""The local principal's default: device data below `dt/`, commands below `cmd/`, its own shadow."""


MAX_DECIDED = 50_000
"""Decisions remembered: devices choose topics, so the memory is bounded; a device has a handful of topics."""


_EFFECTS = {"Allow": True, "Deny": False}


@dataclass(frozen=True, slots=True)
class _Statement:
    allows: bool
    actions: tuple[str, ...]
    resources: tuple[str, ...]


class Policy:
    """One policy document, ready to be asked."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        """Raises ConfigError for what is no policy document."""
        try:
            self._statements = tuple(
                _Statement(
                    allows=_EFFECTS[statement["Effect"]],
                    actions=_listed(statement["Action"]),
                    resources=_listed(statement["Resource"]),
                )
                for statement in document["Statement"]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"no policy document: {type(error).__name__} {error}",
                fix='write {"Version": ..., "Statement": [{"Effect": "Allow", "Action": ..., "Resource": ...}]}',
            ) from None
        self._decided: dict[tuple[str, str, str], bool] = {}

    def allows(self, action: Action, resource: str, *, client_id: str) -> bool:
        """Whether the principal behind `client_id` may do this to `client/..`, `topic/..` or `topicfilter/..`."""
        question = (action, resource, client_id)
        answer = self._decided.get(question)
        if answer is None:
            if len(self._decided) >= MAX_DECIDED:
                self._decided.clear()
            answer = self._decided[question] = self._decide(action, resource, client_id)
        return answer

    def _decide(self, action: Action, resource: str, client_id: str) -> bool:
        effects = [
            statement.allows
            for statement in self._statements
            if _any_like(statement.actions, action) and self._concerns(statement, resource, client_id)
        ]
        return bool(effects) and all(effects)

    def _concerns(self, statement: _Statement, resource: str, client_id: str) -> bool:
        variables = {"${iot:ClientId}": client_id, "${iot:Connection.Thing.ThingName}": client_id}
        return any(_like(_filled(pattern, variables), _ARN + resource) for pattern in statement.resources)


def _listed(value: str | Sequence[str]) -> tuple[str, ...]:
    listed = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(one, str) for one in listed):
        raise TypeError("actions and resources are strings")
    return listed


def _filled(pattern: str, variables: Mapping[str, str]) -> str:
    """Fill in variables; a client id cannot smuggle in a wildcard."""
    for name, value in variables.items():
        pattern = pattern.replace(name, value.replace("*", "\0").replace("?", "\0"))
    return pattern


def _any_like(patterns: Sequence[str], text: str) -> bool:
    return any(_like(pattern, text) for pattern in patterns)


def _like(pattern: str, text: str) -> bool:
    parts = re.split(r"([*?])", pattern)
    regex = "".join({"*": ".*", "?": "."}.get(part, re.escape(part)) for part in parts)
    return re.fullmatch(regex, text, re.DOTALL) is not None
