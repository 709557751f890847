"""Reads YAML into plain values that remember on which line each key stands."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from contracts.errors import BadScenario

KeyPath: TypeAlias = tuple[str | int, ...]

MAX_VALUES = 100_000
"""A file of 1,000 phases has some 20,000 values; aliases of aliases reach billions in ten lines."""

MAX_DEPTH = 50
"""The format is eight levels deep; Python's own stack ends at some 300 levels of YAML."""


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
    file = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # not there, not ours to read, not UTF-8, no path at all
        raise BadScenario(
            f"cannot be read: {error}", file=file, line=1, fix="give the path of a scenario file, in UTF-8"
        ) from None
    try:
        return _parse(file, text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = f"not valid YAML: the character {error.character!r} is not allowed"
        raise BadScenario(what, file=file, line=line, fix="remove it") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        what = f"not valid YAML: {error.problem or error.context}"
        raise BadScenario(what, file=file, line=line, fix="check indentation, quotes and brackets") from None
    except RecursionError:
        raise BadScenario("nested too deeply", file=file, line=1, fix="a scenario has eight levels") from None


def _parse(file: str, text: str) -> Document:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        walk = _Walk(file, loader)
        values = walk.values(node, ()) if node is not None else None
    finally:
        loader.dispose()
    return Document(file, values, walk.lines)


@dataclass(slots=True)
class _Walk:
    """Turns nodes into values, noting lines. Keys are strings whatever YAML makes of them (`1`, `no`)."""

    file: str
    loader: yaml.SafeLoader
    lines: dict[KeyPath, int] = field(default_factory=dict)
    seen: int = 0

    def values(self, node: yaml.Node, path: KeyPath) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self.seen += 1
        if self.seen > MAX_VALUES or len(path) > MAX_DEPTH:  # also what an alias of itself comes to
            raise self._error("too much, or an alias of itself", line, fix="write the values out")
        if isinstance(node, yaml.SequenceNode):
            return [self.values(item, (*path, place)) for place, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error("a key is a list or a mapping", line, fix="write a word as the key")
            key = str(key_node.value)
            if key in values:
                raise self._error(f"'{key}' stands twice", line, fix="remove one of the two")
            self.lines[(*path, key)] = line
            values[key] = self.values(value_node, (*path, key))
        return values

    def _scalar(self, node: yaml.Node) -> Any:
        try:
            return self.loader.construct_object(node, deep=True)
        except ValueError as error:  # 2026-13-45 looks like a date and is none
            line = node.start_mark.line + 1
            raise self._error(f"'{node.value}': {error}", line, fix="write text in quotes") from None

    def _error(self, what: str, line: int, *, fix: str) -> BadScenario:
        return BadScenario(what, file=self.file, line=line, fix=fix)
