"""Who is subscribed to what: a tree of topic levels.

Only filters grow the tree, and every session has a bound on those; topics that devices publish to leave no trace.
A filter costs as many nodes as it has levels; a match visits the nodes that fit, not the filters.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .packets import Filter

if TYPE_CHECKING:
    from .session import Session

SHARE = "$share/"


@dataclass(slots=True, eq=False)
class Subscription:
    """One filter of one session; `group` is the share it belongs to, if any. `qos` is what was granted."""

    session: "Session"
    filter: Filter
    qos: int
    identifier: int = 0
    group: str = ""


@dataclass(slots=True)
class Group:
    """A shared subscription: each message goes to one member, in turn, those with a connection first."""

    members: dict["Session", Subscription] = field(default_factory=dict)
    turn: int = 0

    def pick(self) -> Subscription | None:
        """The member whose turn it is."""
        able = [one for session, one in self.members.items() if session.link is not None]
        able = able or list(self.members.values())
        self.turn += 1
        return able[self.turn % len(able)] if able else None


@dataclass(slots=True)
class _Node:
    children: dict[str, "_Node"] = field(default_factory=dict)
    here: dict["Session", Subscription] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not (self.children or self.here or self.groups)


class SubscriptionTree:
    """All subscriptions. `generation` grows with every change, so that others may remember a match."""

    def __init__(self, *, parent_matches_multilevel: bool) -> None:
        self._root = _Node()
        self._parent = parent_matches_multilevel
        self.generation = 0
        self.size = 0

    def add(self, subscription: Subscription) -> None:
        """Put it in place of an earlier one of the same session, filter and group."""
        node = self._root
        for level in plain_filter(subscription.filter.name)[1].split("/"):
            child = node.children.get(level)
            if child is None:
                child = node.children[level] = _Node()
            node = child
        members = node.here
        if subscription.group:
            members = node.groups.setdefault(subscription.group, Group()).members
        self.size += subscription.session not in members
        members[subscription.session] = subscription
        self.generation += 1

    def remove(self, subscription: Subscription) -> None:
        """Take it out, and the nodes that nobody needs any more."""
        path = [self._root]
        levels = plain_filter(subscription.filter.name)[1].split("/")
        for level in levels:
            path.append(path[-1].children[level])
        node = path[-1]
        if subscription.group:
            group = node.groups[subscription.group]
            del group.members[subscription.session]
            if not group.members:
                del node.groups[subscription.group]
        else:
            del node.here[subscription.session]
        for parent, level, child in zip(path[-2::-1], levels[::-1], path[:0:-1], strict=True):
            if not child.empty:
                break
            del parent.children[level]
        self.size -= 1
        self.generation += 1

    def match(self, topic: str) -> Iterator[Subscription | Group]:
        """Every subscription and every group with a filter that selects the topic."""
        nodes = [self._root]
        wild = not topic.startswith("$")
        for level in topic.split("/"):
            found: list[_Node] = []
            for node in nodes:
                children = node.children
                if wild and (every := children.get("#")) is not None:
                    yield from _all(every)
                if (child := children.get(level)) is not None and level not in ("+", "#"):
                    found.append(child)
                if wild and (child := children.get("+")) is not None:
                    found.append(child)
            wild = True
            nodes = found
            if not nodes:
                return
        for node in nodes:
            yield from _all(node)
            if self._parent and (every := node.children.get("#")) is not None:
                yield from _all(every)


def _all(node: _Node) -> Iterator[Subscription | Group]:
    yield from node.here.values()
    yield from node.groups.values()


def plain_filter(name: str) -> tuple[str, str]:
    """The group and the filter of `$share/GROUP/FILTER`; no group for any other filter."""
    if not name.startswith(SHARE):
        return "", name
    group, _, topic_filter = name.removeprefix(SHARE).partition("/")
    return group, topic_filter
