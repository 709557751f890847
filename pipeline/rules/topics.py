"""Topic filters of rules: what a well-formed one is, and finding those that match a topic.

As AWS IoT Core matches for rules (developer guide, "FROM clause", "Topic filters"): `a/#` does not match `a`, and
a topic whose first character is `$` is not matched by a filter whose first level is a wildcard.
"""

from collections.abc import Iterable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

RULES: Final = "'+' and '#' stand alone in a level, '#' only in the last one: 'dt/+/meter/#'"

_CACHED: Final = 10_000
"""Topics whose rules are remembered: a fleet of 10,000 devices with one topic each. About 2 MB."""


def flaw(topic_filter: str) -> str:
    """What is wrong with a topic filter, or an empty string."""
    if not topic_filter:
        return "it is empty"
    if "\0" in topic_filter:
        return "it contains a NUL character"
    *upper, last = topic_filter.split("/")
    if "#" in upper:
        return "'#' stands before the last level"
    if any(("#" in level or "+" in level) and len(level) > 1 for level in (*upper, last)):
        return "a wildcard shares its level with other characters"
    return ""


class _Level(Generic[T]):
    __slots__ = ("below", "ending", "rest")

    def __init__(self) -> None:
        self.below: dict[str, _Level[T]] = {}
        self.ending: list[tuple[int, T]] = []  # filters that end here
        self.rest: list[tuple[int, T]] = []  # filters that go on with `#`


class TopicTable(Generic[T]):
    """Entries by topic filter. Immutable once filled, but for a bounded cache of the answers."""

    def __init__(self, entries: Iterable[tuple[str, T]]) -> None:
        self._root: _Level[T] = _Level()
        self._cache: dict[str, tuple[T, ...]] = {}
        for order, (topic_filter, entry) in enumerate(entries):
            self._add(topic_filter.split("/"), order, entry)

    def find(self, topic: str) -> tuple[T, ...]:
        """The entries whose filter matches, in the order they were given."""
        found = self._cache.get(topic)
        if found is None:
            found = self._search(topic)
            if len(self._cache) >= _CACHED:  # start over: cheaper than order of use, and rare
                self._cache.clear()
            self._cache[topic] = found
        return found

    def _add(self, levels: list[str], order: int, entry: T) -> None:
        node = self._root
        for level in levels:
            if level == "#":
                node.rest.append((order, entry))
                return
            node = node.below.setdefault(level, _Level())
        node.ending.append((order, entry))

    def _search(self, topic: str) -> tuple[T, ...]:
        """Level by level, so that neither the depth of a topic nor that of a filter makes it recurse."""
        found: list[tuple[int, T]] = []
        wild = not topic.startswith("$")
        nodes = [self._root]
        for level in topic.split("/"):
            if wild:
                for node in nodes:
                    found += node.rest
            nodes = [below for node in nodes for below in _below(node, level, wild=wild)]
            wild = True
        for node in nodes:
            found += node.ending
        return tuple(entry for _, entry in sorted(found, key=_order))


def _below(node: _Level[T], level: str, *, wild: bool) -> list[_Level[T]]:
    exact = node.below.get(level)
    plus = node.below.get("+") if wild and level != "+" else None
    return [found for found in (exact, plus) if found is not None]


def _order(entry: tuple[int, T]) -> int:
    return entry[0]
