"""The pure part of routing: which bodies of a batch go to which action, and what error actions are told."""

import base64
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from contracts.errors import ConfigError
from contracts.messages import Message, RuleMatch

from ..rules.engine import Engine
from ..rules.payload import encode
from ..rules.values import Value
from .base import Action, Item
from .table import Actions, Prepared, Target

Failures: TypeAlias = "dict[Source, list[tuple[str, str, str]]]"
"""By rule and message: kind of action, resource, reason."""

MAX_RECORDS: Final = 500
"""Elements of an array in batchMode (developer guide, "Kinesis Data Firehose")."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a body comes from. One rule and message: an error action gets one message for each."""

    rule: str
    message: Message


@dataclass(slots=True)
class Load:
    """The items for one action, and where each comes from."""

    action: Action
    items: list[Item] = field(default_factory=list)
    origins: list[Source] = field(default_factory=list)

    def only(self, positions: Iterable[int]) -> "Load":
        kept = list(positions)
        return Load(
            self.action, [self.items[index] for index in kept], [self.origins[index] for index in kept]
        )


@dataclass(slots=True)
class Matched:
    """How many messages matched at least one rule, and how often each rule did."""

    messages: int = 0
    by_rule: Counter[str] = field(default_factory=Counter)


class Grouping:
    """Puts the bodies of one batch together by action: rules that aim at one target share its load.

    `failures` gets what cannot even be sent, such as an sns_topic that a template names and is not there.
    """

    def __init__(self, engine: Engine, actions: Actions, failures: Failures) -> None:
        self._engine = engine
        self._actions = actions
        self._failures = failures
        self._loads: dict[int, Load] = {}  # by identity of the action

    def loads(self) -> list[Load]:
        return list(self._loads.values())

    def evaluate(self, batch: Iterable[Message]) -> Matched:
        """Add what the rules make of a batch. Bodies keep the order of their messages."""
        matched = Matched()
        for message in batch:
            matches = self._engine.match(message)
            matched.messages += bool(matches)
            for match in matches:
                matched.by_rule[match.rule] += 1
                self._add_match(match)
        return matched

    def add_errors(self, failures: Failures) -> None:
        """Add one body for each rule and message that failed, if the rule has an error action."""
        for source, reasons in failures.items():
            prepared = self._prepared(source)
            if prepared is not None and prepared.error is not None:
                self._add(source, prepared.error, _error_message(source, reasons))

    def _add_match(self, match: RuleMatch) -> None:
        source = Source(match.rule, match.message)
        prepared = self._prepared(source)
        if prepared is None or not prepared.targets:
            return
        for target in prepared.targets:
            self._add(source, target, match.result)

    def _prepared(self, source: Source) -> Prepared | None:
        """The rule's actions; None if it was removed while its batch was under way."""
        rule = self._engine.rule(source.rule)
        if rule is None:
            return None
        try:
            return self._actions.prepare(rule)
        except ConfigError as error:
            self._fail(source, ("rule", rule.name, error.what))
            return None

    def _add(self, source: Source, target: Target, result: Value) -> None:
        results = result if target.batch_mode and type(result) is list else [result]
        fields = target.fields
        try:
            if target.fixed is not None and not target.changing:
                action = target.fixed
            else:
                context = self._engine.context(source.message)
                action, fields = self._actions.resolve(target, context), target.filled(context)
        except ConfigError as error:
            self._fail(source, (target.kind, "", error.what))
            return
        if len(results) > MAX_RECORDS:
            reason = f"batchMode: an array of {len(results)} elements, at most {MAX_RECORDS} are allowed"
            self._fail(source, (action.kind, action.resource, reason))
            return
        load = self._loads.get(id(action))
        if load is None:
            load = self._loads[id(action)] = Load(action)
        load.items += [Item(encode(one), one, fields) for one in results]
        load.origins += [source] * len(results)

    def _fail(self, source: Source, reason: tuple[str, str, str]) -> None:
        self._failures.setdefault(source, []).append(reason)


def _error_message(source: Source, reasons: list[tuple[str, str, str]]) -> dict[str, object]:
    """As the developer guide prints it ("Error handling (error action)")."""
    message = source.message
    return {
        "ruleName": source.rule,
        "topic": message.topic,
        "cloudwatchTraceId": message.message_id,
        "clientId": message.client_id,
        "base64OriginalPayload": base64.b64encode(message.payload).decode(),
        "failures": [
            {
                "failedAction": f"{kind[:1].upper()}{kind[1:]}Action",
                "failedResource": resource,
                "errorMessage": reason,
            }
            for kind, resource, reason in reasons
        ],
    }
