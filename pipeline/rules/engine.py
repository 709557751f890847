"""Which rules fire for a message, and with what result."""

from collections.abc import Iterable, Mapping
from typing import Final

from contracts.messages import Message, RuleMatch

from .context import LOCAL_ACCOUNT, Context, basic_ingest
from .evaluator import NOT_SELECTED
from .loading import DEFAULT_RULES, load_rules
from .rule import Rule
from .services import Services
from .topics import TopicTable
from .values import UNDEFINED

__all__ = ["DEFAULT_RULES", "Engine", "Rule", "load_rules"]

_NO_RESULT: Final = b""
"""What goes out for an Undefined result (`SELECT VALUE missing`): by itself it is an empty string."""


class _Table:
    """The rules of one moment. A new set of rules is a new table, so that a swap is one assignment."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules: Mapping[str, Rule] = {rule.name: rule for rule in rules}
        enabled = [rule for rule in self.rules.values() if rule.enabled]
        self.by_topic = TopicTable(
            (rule.statement.topic_filter, rule) for rule in enabled if rule.statement.topic_filter is not None
        )
        self.enabled = {rule.name: rule for rule in enabled}
        self.asks_services = any(rule.services for rule in enabled)

    def find(self, topic: str) -> tuple[Rule, ...] | None:
        """The enabled rules for a topic; None if Basic Ingest names a rule that is not there."""
        ingest = basic_ingest(topic)
        if ingest is None:
            return self.by_topic.find(topic)
        rule = self.enabled.get(ingest[0])
        return None if rule is None else (rule,)


class Engine:
    """Evaluates rules on messages. Pure: no clock, no input or output; one event loop or thread at a time.

    Counters: `rule_errors` (evaluations that failed, which would be a defect of ours), `rules_not_found`
    (Basic Ingest messages for a rule that is not there or disabled; AWS's metric RuleNotFound).
    """

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        *,
        account_id: str = LOCAL_ACCOUNT,
        services: Services | None = None,
    ) -> None:
        self._table = _Table(rules)
        self._account_id = account_id
        self._services = services
        self.rule_errors = 0
        self.rules_not_found = 0
        self.last_error = ""

    @property
    def asks_services(self) -> bool:
        """Whether an enabled rule has a function that blocks: then `match` belongs into a thread."""
        return self._table.asks_services

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(self._table.rules.values())

    def rule(self, name: str) -> Rule | None:
        return self._table.rules.get(name)

    def replace(self, rules: Iterable[Rule]) -> None:
        """Swap all rules at once. A message sees the old set or the new one, never a mixture."""
        self._table = _Table(rules)

    def match(self, message: Message) -> list[RuleMatch]:
        """The rules that fire, with their results. The payload is decoded at most once for all of them."""
        rules = self._table.find(message.topic)
        if not rules:
            self.rules_not_found += rules is None
            return []
        context = self.context(message)
        matches = []
        for rule in rules:
            result = self._evaluate(rule, context)
            if result is not NOT_SELECTED:
                matches.append(RuleMatch(rule.name, message, _NO_RESULT if result is UNDEFINED else result))
        return matches

    def context(self, message: Message) -> Context:
        """The context to render the substitution templates of this message's actions in."""
        return Context(message, account_id=self._account_id, services=self._services)

    def _evaluate(self, rule: Rule, context: Context) -> object:
        try:
            return rule.program(context)
        except Exception as error:  # noqa: BLE001 - a defect in one rule must not stop the others; it is counted
            self.rule_errors += 1
            self.last_error = f"rule '{rule.name}': {type(error).__name__}: {error}"
            return NOT_SELECTED
