"""Rules from a YAML file: `rules: {NAME: {sql: ..., actions: [...]}}`, each of AWS's TopicRulePayload shape."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from contracts.errors import BadRule, ConfigError

from .rule import Rule, rule_from_payload

DEFAULT_RULES: Final = Path(__file__).parent.parent / "rules.yaml"
"""The rules that ship with the package."""


def load_rules(path: Path | str) -> tuple[Rule, ...]:
    """The rules of a file, in its order. Raises BadRule or ConfigError, with `file:line`."""
    return tuple(load_rule(name, payload, at) for name, payload, at in read_payloads(path))


def read_payloads(path: Path | str) -> Iterator[tuple[str, Any, str]]:
    """Name, payload and `file:line` of each rule of a file, unchecked. Raises ConfigError for a file of another form."""
    where = Path(path)
    try:
        text = where.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: cannot be read: {error}", fix="give the path of a rules file") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{where}:{line}: no valid YAML", fix="check indentation and quotes") from error
    if not isinstance(content, dict) or not isinstance(content.get("rules"), dict) or len(content) > 1:
        raise ConfigError(f"{where}:1: no rules", fix="the file holds one key, rules: {NAME: {sql: ...}}")
    lines = _lines(node)
    for name, payload in content["rules"].items():
        yield str(name), payload, f"{where}:{lines.get(str(name), 1)}"


def load_rule(name: str, payload: Any, at: str) -> Rule:
    """One rule of a file. Raises BadRule or ConfigError, with `at` before what is wrong."""
    if not isinstance(payload, dict):
        raise ConfigError(f"{at}: rule '{name}' is empty", fix="write sql: and actions: below its name")
    try:
        return rule_from_payload(name, payload)
    except BadRule as error:
        what = error.what.removesuffix(f" at line {error.line}, column {error.column}")
        raise BadRule(
            f"{at}: rule '{name}': {what}", line=error.line, column=error.column, fix=error.fix
        ) from None
    except ConfigError as error:
        raise ConfigError(f"{at}: {error.what}", fix=error.fix) from None


def _lines(node: yaml.Node | None) -> dict[str, int]:
    """The line of each rule's name, from 1."""
    for key, value in _pairs(node):
        if key.value == "rules":
            return {name.value: name.start_mark.line + 1 for name, _ in _pairs(value)}
    return {}


def _pairs(node: yaml.Node | None) -> list[tuple[yaml.Node, yaml.Node]]:
    return node.value if isinstance(node, yaml.MappingNode) else []
