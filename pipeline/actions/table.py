"""The actions of all rules: built once for each target, so that rules that aim at the same one share its batches."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..rules.context import Context
from ..rules.rule import Rule
from ..rules.substitution import Template, is_template
from .base import Action, ActionContext, build

_MAX_BUILT: Final = 1_000
"""Targets that templates have named so far. Beyond it they are built afresh: a device may choose their names."""


@dataclass(frozen=True, slots=True)
class Target:
    """One action of one rule: the action itself, or the settings to fill in for each message."""

    fixed: Action | None
    kind: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """The actions of one rule."""

    rule: Rule
    targets: tuple[Target, ...]
    error: Target | None


class Actions:
    """Builds and keeps actions."""

    def __init__(self, context: ActionContext) -> None:
        self._context = context
        self._built: dict[str, Action] = {}
        self._prepared: dict[str, Prepared] = {}

    def prepare(self, rule: Rule) -> Prepared:
        """The actions of a rule, built at its first call. Raises ConfigError for a target that is not there."""
        prepared = self._prepared.get(rule.name)
        if prepared is None or prepared.rule is not rule:
            targets = tuple(self._target(rule, spec) for spec in rule.actions)
            error = self._target(rule, rule.error_action) if rule.error_action else None
            self._prepared[rule.name] = prepared = Prepared(rule, targets, error)
        return prepared

    def resolve(self, target: Target, context: Context) -> Action:
        """The action for one message. Raises ConfigError for a target that a template names and is not there."""
        return target.fixed or self._build({target.kind: _filled(target.settings, context)})

    def _target(self, rule: Rule, spec: Mapping[str, Any]) -> Target:
        kind, settings = next(iter(spec.items()))
        compiled = {key: _compiled(rule, value) for key, value in settings.items()}
        if any(isinstance(value, Template) for value in compiled.values()):
            return Target(None, kind, compiled)
        return Target(self._build(spec), kind, settings)

    def _build(self, spec: Mapping[str, Any]) -> Action:
        key = json.dumps(spec, sort_keys=True)
        action = self._built.get(key)
        if action is None:
            action = build(spec, self._context)
            if len(self._built) < _MAX_BUILT:
                self._built[key] = action
        return action


def _compiled(rule: Rule, value: Any) -> Any:
    return rule.template(value) if isinstance(value, str) and is_template(value) else value


def _filled(settings: Mapping[str, Any], context: Context) -> dict[str, Any]:
    return {
        key: value.render(context) if isinstance(value, Template) else value
        for key, value in settings.items()
    }
