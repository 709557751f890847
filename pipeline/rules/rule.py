"""A rule: a query statement and what happens with its results. Everything wrong with it is found here."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from contracts.errors import ConfigError

from . import nodes
from .context import Context
from .evaluator import LATEST, compile_statement
from .functions import FUNCTIONS
from .parser import parse
from .specs import check_spec
from .substitution import Template, is_template
from .values import Value
from .walking import calls

MAX_ACTIONS: Final = 10
"""AWS IoT Core quotas: "Maximum number of actions per rule"."""

_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,128}")

_PAYLOAD_KEYS: Final = frozenset(
    {
        "sql",
        "awsIotSqlVersion",
        "ruleDisabled",
        "actions",
        "errorAction",
        "description",
        "ruleName",
        "createdAt",
    }
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, checked and compiled when it is made.

    Args:
        name: letters, digits and `_`, at most 128.
        sql: the query statement.
        version: the SQL version (2016-03-23 unless said otherwise; AWS's API defaults to 2015-10-08).
        actions: AWS-shaped, `{"sns": {"targetArn": ...}}`; at most 10.
        enabled: a disabled rule is checked but never matches.
        services: what the functions of its statement and templates ask while it is evaluated.
        error_action: what gets one message for each rule and message of which an action failed.

    Raises:
        BadRule: the statement or a substitution template is wrong.
        ConfigError: the name, the number or the shape of the actions is, or an action is not available.
    """

    name: str
    sql: str
    version: str = LATEST
    actions: tuple[Mapping[str, Any], ...] = ()
    enabled: bool = True
    error_action: Mapping[str, Any] | None = None
    statement: nodes.Statement = field(init=False, repr=False, compare=False)
    services: frozenset[str] = field(init=False, repr=False, compare=False)
    program: Callable[[Context], Value] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self)
        statement = parse(self.sql)
        object.__setattr__(self, "statement", statement)  # frozen for everybody but this constructor
        object.__setattr__(self, "program", compile_statement(statement, self.version))
        asked = services_of(self.name, (statement, *self._expressions(self.actions)))
        errors = services_of(self.name, tuple(self._expressions((self.error_action,))))
        if errors:
            raise ConfigError(
                f"rule '{self.name}': the error action asks {min(errors)}",
                fix="an error action may use every function but those that ask a service",
            )
        object.__setattr__(self, "services", asked)

    def _expressions(self, specs: Iterable[object]) -> Iterator[nodes.Expr]:
        """Those in the templates of actions."""
        for text in _texts(tuple(specs)):
            if is_template(text):
                yield from self.template(text).expressions

    def template(self, text: str) -> Template:
        """A substitution template in a field of this rule's actions. Raises BadRule."""
        return Template(text, self.statement, self.version)


def services_of(name: str, trees: Iterable[object]) -> frozenset[str]:
    """The services that functions in the trees ask. Raises ConfigError for a second get_dynamodb() in one tree."""
    services: set[str] = set()
    for tree in trees:
        asked = [function for call in calls(tree) if (function := FUNCTIONS.get(call.name.lower()))]
        services |= {function.service for function in asked if function.service}
        if sum(function.name == "get_dynamodb" for function in asked) > 1:
            raise ConfigError(
                f"rule '{name}' calls get_dynamodb() more than once",
                fix="AWS allows one call in a statement: keep its result with SET @item = get_dynamodb(...)",
            )
    return frozenset(services)


def rule_from_payload(name: str, payload: Mapping[str, Any]) -> Rule:
    """A rule of the shape of AWS's TopicRulePayload. Raises BadRule or ConfigError."""
    unknown = sorted(set(payload) - _PAYLOAD_KEYS)
    if unknown:
        known = ", ".join(sorted(_PAYLOAD_KEYS))
        raise ConfigError(f"rule '{name}': unknown key '{unknown[0]}'", fix=f"known: {known}")
    actions = payload.get("actions") or []
    if not isinstance(actions, list):
        raise ConfigError(
            f"rule '{name}': actions are no list", fix="write actions: [{sns: {targetArn: ...}}]"
        )
    return Rule(
        name=name,
        sql=_text(name, payload, "sql"),
        version=str(payload.get("awsIotSqlVersion") or LATEST),
        actions=tuple(actions),
        enabled=not _flag(name, payload, "ruleDisabled"),
        error_action=payload.get("errorAction") or None,
    )


def _text(name: str, payload: Mapping[str, Any], key: str) -> str:
    value = payload.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"rule '{name}': {key} is missing", fix="write sql: SELECT * FROM 'dt/#'")
    return value


def _flag(name: str, payload: Mapping[str, Any], key: str) -> bool:
    value = payload.get(key, False)
    if not isinstance(value, bool):
        raise ConfigError(f"rule '{name}': {key} is {value!r}", fix=f"write {key}: true or {key}: false")
    return value


def _check(rule: Rule) -> None:
    if not _NAME.fullmatch(rule.name):
        raise ConfigError(f"rule name '{rule.name}'", fix="letters, digits and _, at most 128 of them")
    if len(rule.actions) > MAX_ACTIONS:
        raise ConfigError(
            f"rule '{rule.name}' has {len(rule.actions)} actions", fix=f"at most {MAX_ACTIONS} are allowed"
        )
    for spec in (*rule.actions, *([rule.error_action] if rule.error_action is not None else ())):
        check_spec(rule.name, spec)


def _texts(spec: object) -> Iterator[str]:
    if isinstance(spec, str):
        yield spec
    elif isinstance(spec, Mapping):
        for value in spec.values():
            yield from _texts(value)
    elif isinstance(spec, list | tuple):
        for value in spec:
            yield from _texts(value)
