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


_NO_VALUE = (ValueError, ArithmeticError, LookupError, AttributeError, TypeError)
"""What PyYAML raises for scalars whose tag does not fit them."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands."""

    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Document:
    """The values of a file and of those it extends, and the place of every key path."""

    file: str
    values: Any
    places: Mapping[KeyPath, Place]
    note: str = ""
    """What else to say in each error: the cell of a matrix that is being read."""

    def place(self, path: KeyPath) -> Place:
        """The place of the path, or of the nearest part of it that stands in a file."""
        while path not in self.places and path:
            path = path[:-1]
        return self.places.get(path, Place(self.file, 1))

    def error(self, what: str, *, at: KeyPath, fix: str) -> BadScenario:
        """The error for something wrong at a key path."""
        place = self.place(at)
        return BadScenario(f"{what}{self.note}", file=place.file, line=place.line, fix=fix)


def read(path: Path) -> Document:
    """Read a file. Raises BadScenario: not there, not YAML, or a key twice."""
    file = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # not there, not ours to read, not UTF-8, no path at all
        why = error.strerror if isinstance(error, OSError) else f"it is no text in UTF-8 ({error})"
        raise BadScenario(
            f"cannot be read: {why}", file=file, line=1, fix="give the path of a scenario file, in UTF-8"
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
    except (ValueError, OverflowError) as error:  # "\\UFFFFFFFF", which no mark comes with
        what = f"not valid YAML: {error}"
        raise BadScenario(what, file=file, line=1, fix="check what follows each backslash") from None
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
    return Document(file, values, walk.places)


@dataclass(slots=True)
class _Walk:
    """Turns nodes into values, noting lines. Keys are strings whatever YAML makes of them (`1`, `no`)."""

    file: str
    loader: yaml.SafeLoader
    places: dict[KeyPath, Place] = field(default_factory=dict)
    seen: int = 0

    def values(self, node: yaml.Node, path: KeyPath) -> Any:
        line = node.start_mark.line + 1
        self.places.setdefault(path, Place(self.file, line))
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
            key = self._text(str(key_node.value), line)
            if key in values:
                raise self._error(f"'{key}' stands twice", line, fix="remove one of the two")
            self.places[(*path, key)] = Place(self.file, line)
            values[key] = self.values(value_node, (*path, key))
        return values

    def _scalar(self, node: yaml.Node) -> Any:
        line = node.start_mark.line + 1
        try:
            value = self.loader.construct_object(node, deep=True)
        except _NO_VALUE as error:  # 2026-13-45 looks like a date and is none; !!int of nothing
            what = f"'{node.value}' is no value: {error}"
            raise self._error(what, line, fix="write text in quotes") from None
        return self._text(value, line) if isinstance(value, str) else value

    def _text(self, text: str, line: int) -> str:
        """Refuses the halves of surrogate pairs that escapes can make: they are in no UTF-8."""
        if text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text):
            return text
        raise self._error(f"{text!r} holds half a character", line, fix="write the character itself")

    def _error(self, what: str, line: int, *, fix: str) -> BadScenario:
        return BadScenario(what, file=self.file, line=line, fix=fix)
