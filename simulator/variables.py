"""The variables of a scenario file: `$name` anywhere in its values, `$$` for a plain dollar sign."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from .positions import Document, KeyPath

_VARIABLE = re.compile(r"\$(\$|[A-Za-z_][A-Za-z0-9_]*)")


MAX_TEXT = 100_000
"""No payload is larger; variables made of variables would double without end."""


def declared_variables(document: Document) -> dict[str, Any]:
    """The mapping under `vars`, as it stands there. Raises BadScenario."""
    declared = document.values.get("vars") or {}
    if isinstance(declared, dict):
        return declared
    raise document.error("vars is not a mapping", at=("vars",), fix="write vars: {name: value}")


def substitute(
    document: Document, overrides: Mapping[str, str], cell: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The values of a document with its variables filled in. Raises BadScenario.

    A variable may use those declared before it. SQL under `expect` is left alone: it has a `$` of its own.
    `overrides` are texts of the command line, `cell` the values of one cell of a matrix.
    """
    declared = declared_variables(document)
    given = dict(cell or {})
    given |= {name: _override(document, declared, name, text) for name, text in overrides.items()}
    variables: dict[str, Any] = {}
    for name, value in declared.items():
        if isinstance(value, dict | list):
            fix = "write a number or a text"
            raise document.error(f"the variable '{name}' is a list or mapping", at=("vars", name), fix=fix)
        variables[name] = given[name] if name in given else _fill(document, value, ("vars", name), variables)
    rest = {
        key: _fill(document, value, (key,), variables)
        for key, value in document.values.items()
        if key != "vars"
    }
    return {**rest, "vars": variables}


def _override(document: Document, declared: Mapping[str, Any], name: str, text: str) -> Any:
    if name not in declared:
        fix = f"--set takes: {', '.join(declared) or 'nothing, the file has no vars'}"
        raise document.error(f"there is no variable '{name}'", at=("vars",), fix=fix)
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        value = {}
    if isinstance(value, dict | list):
        what = f"the value of --set {name}={text} is not a number or a text"
        raise document.error(what, at=("vars", name), fix="quote a text that looks like YAML")
    return value


def _fill(document: Document, value: Any, path: KeyPath, variables: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _fill(document, item, (*path, key), variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(document, item, (*path, place), variables) for place, item in enumerate(value)]
    if not isinstance(value, str) or path[:2] == ("expect", "sql"):
        return value
    for name in _VARIABLE.findall(value):
        if name != "$" and name not in variables:
            known = ", ".join(variables) or "none"
            fix = f"declare it before: vars: {{{name}: ...}}; known: {known}; write $$ for a plain $"
            raise document.error(f"unknown variable ${name}", at=path, fix=fix)
    values = {**variables, "$": "$"}
    if whole := _VARIABLE.fullmatch(value):
        return values[whole[1]]
    text = _VARIABLE.sub(lambda match: str(values[match[1]]), value)
    if len(text) > MAX_TEXT:
        what = f"a text of {len(text):,} characters comes of it"
        raise document.error(what, at=path, fix=f"at most {MAX_TEXT:,}: use shorter variables")
    return text
