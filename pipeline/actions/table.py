"""The actions of all rules: built once for each target, so that rules that aim at the same one share its batches.

The settings of an action are of two sorts: those that name the target, and those that each message fills in
(`per_message` of the class), such as the key of an S3 object.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from contracts.errors import ConfigError

from ..rules.context import Context
from ..rules.rule import Rule
from ..rules.specs import ACTIONS
from ..rules.substitution import Template, is_template
from .base import Action, ActionContext, build

_MAX_BUILT: Final = 1_000
"""Targets that templates have named so far. Beyond it they are built afresh: a device may choose their names."""


@dataclass(frozen=True, slots=True)
class Target:
    """One action of one rule: the action itself or the settings that name it, and the settings of each message."""

    fixed: Action | None
    kind: str
    settings: Mapping[str, Any]
    fields: Mapping[str, Any]
    changing: bool

    @property
    def batch_mode(self) -> bool:
        """Whether a result that is an array is one body for each element."""
        return bool(self.settings.get("batchMode"))

    def filled(self, context: Context) -> Mapping[str, Any]:
        """The settings of one message."""
        return _filled(self.fields, context) if self.changing else self.fields


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
            self._check_services(rule)
            targets = tuple(self._target(rule, spec) for spec in rule.actions)
            error = self._target(rule, rule.error_action) if rule.error_action else None
            self._prepared[rule.name] = prepared = Prepared(rule, targets, error)
        return prepared

    def resolve(self, target: Target, context: Context) -> Action:
        """The action for one message. Raises ConfigError for a target that a template names and is not there."""
        return target.fixed or self._build({target.kind: _filled(target.settings, context)})

    def _check_services(self, rule: Rule) -> None:
        for service in sorted(rule.services & self._context.silent.keys()):
            raise ConfigError(
                f"rule '{rule.name}' asks {service}: {self._context.silent[service]}",
                fix="leave the function out, or use another aws.backend",
            )

    def _target(self, rule: Rule, spec: Mapping[str, Any]) -> Target:
        kind, given = next(iter(spec.items()))
        per_message = ACTIONS.load(kind).per_message
        settings: dict[str, Any] = {}
        fields: dict[str, Any] = {}
        for key, value in given.items():
            (fields if key in per_message else settings)[key] = _compiled(rule, value)
        fixed = None if _changes(settings) else self._build({kind: settings})
        if fixed is None and kind in self._context.lacks:
            build({kind: settings}, self._context)  # raises: the backend cannot do it, whatever the target
        return Target(fixed, kind, settings, fields, _changes(fields))

    def _build(self, spec: Mapping[str, Any]) -> Action:
        key = json.dumps(spec, sort_keys=True)
        action = self._built.get(key)
        if action is None:
            action = build(spec, self._context)
            if len(self._built) < _MAX_BUILT:
                self._built[key] = action
        return action


def _compiled(rule: Rule, value: Any) -> Any:
    if isinstance(value, str):
        return rule.template(value) if is_template(value) else value
    if isinstance(value, Mapping):
        return {key: _compiled(rule, one) for key, one in value.items()}
    return [_compiled(rule, one) for one in value] if isinstance(value, list) else value


def _changes(value: Any) -> bool:
    """Whether a template is in it."""
    if isinstance(value, Mapping):
        return any(map(_changes, value.values()))
    return any(map(_changes, value)) if isinstance(value, list) else isinstance(value, Template)


def _filled(value: Any, context: Context) -> Any:
    if isinstance(value, Template):
        return value.render(context)
    if isinstance(value, Mapping):
        return {key: _filled(one, context) for key, one in value.items()}
    return [_filled(one, context) for one in value] if isinstance(value, list) else value
