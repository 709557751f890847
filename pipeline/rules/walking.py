"""Goes through a syntax tree, however deep, without recursion."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from . import nodes


def walk(root: Any) -> Iterator[Any]:
    """Every node below and including `root`, parents first."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, tuple):
            waiting += reversed(node)
        elif dataclasses.is_dataclass(node):
            yield node
            waiting += [getattr(node, field.name) for field in reversed(dataclasses.fields(node))]


def calls(root: Any) -> Iterator[nodes.Call]:
    """Every call of a function."""
    return (node for node in walk(root) if isinstance(node, nodes.Call))
