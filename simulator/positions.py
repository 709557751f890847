"""Reads YAML into plain values that remember on which line each key stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from contracts.errors import BadScenario

KeyPath: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """The values of a file, and the line of every key path."""

    file: str
    values: Any
    lines: Mapping[KeyPath, int]

    def line(self, path: KeyPath) -> int:
        """The line of the path, or of the nearest part of it that stands in the file."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)

    def error(self, what: str, *, at: KeyPath, fix: str) -> BadScenario:
        """The error for something wrong at a key path."""
        return BadScenario(what, file=self.file, line=self.line(at), fix=fix)


def read(path: Path) -> Document:
    """Read a file. Raises BadScenario: not there, not YAML, or a key twice."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadScenario(
            f"cannot be read: {error}", file=str(path), line=1, fix="give the path of a scenario file"
        ) from None
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        lines: dict[KeyPath, int] = {}
        values = _walk(loader, node, (), lines, str(path)) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise BadScenario(
            f"not valid YAML: {error.problem}",
            file=str(path),
            line=line,
            fix="check the indentation and brackets",
        ) from None
    finally:
        loader.dispose()
    return Document(str(path), values, lines)


def _walk(
    loader: yaml.SafeLoader, node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], file: str
) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_walk(loader, item, (*path, place), lines, file) for place, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node, deep=True)
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(loader.construct_object(key_node, deep=True))
        line = key_node.start_mark.line + 1
        if key in values:
            raise BadScenario(f"'{key}' stands twice", file=file, line=line, fix="remove one of the two")
        lines[(*path, key)] = line
        values[key] = _walk(loader, value_node, (*path, key), lines, file)
    return values
