"""What passed a hop lately and when, so that one message can be followed: `thingstorm trace`.

A hop notes a batch with one call and does not look into it; only who asks pays for the search.
"""

import json
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from contracts.messages import Nanoseconds

CAPACITY = 10_000
"""Messages that each hop remembers: half a minute at 300 a second. Some 400 bytes each, and hops mostly share them."""


Listener: TypeAlias = Callable[[str, Nanoseconds, Sequence[Any], str], None]
"""Gets what `Trail.note` gets."""

_ID = re.compile(r'"message_id"\s*:\s*"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Step:
    """One hop of one message: where, when, and what else is known (an object's key, a rule's name)."""

    hop: str
    at: Nanoseconds
    detail: str = ""


class Trail:
    """The last messages that passed a stage's hops. One event loop only, like the streams."""

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        """With capacity 0 nothing is noted."""
        self._capacity = capacity
        self._batches: dict[str, deque[tuple[Nanoseconds, Sequence[Any], str]]] = {}
        self._counts: dict[str, int] = {}
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """From now on it gets every batch that is noted, whatever the capacity."""
        self._listeners.append(listener)

    def note(self, hop: str, at: Nanoseconds, items: Sequence[Any], detail: str = "") -> None:
        """These items passed the hop. Kept as they are: text and bytes that hold the message id, rows and objects with one."""
        for listener in self._listeners:
            listener(hop, at, items, detail)
        if not self._capacity or not items:
            return
        batches = self._batches.setdefault(hop, deque())
        batches.append((at, items, detail))
        count = self._counts.get(hop, 0) + len(items)
        while count > self._capacity and len(batches) > 1:
            count -= len(batches.popleft()[1])
        self._counts[hop] = count

    def steps(self, message_id: str) -> list[Step]:
        """Every hop that it passed and that is still remembered, in order of time."""
        found = [
            Step(hop, at, detail)
            for hop, batches in self._batches.items()
            for at, items, detail in batches
            if any(_holds(item, message_id) for item in items)
        ]
        return sorted(found, key=lambda step: step.at)


def _holds(item: Any, message_id: str) -> bool:
    if isinstance(item, bytes):
        return message_id.encode() in item
    if isinstance(item, str):
        return message_id in item
    if isinstance(item, Mapping):
        return bool(item.get("message_id") == message_id)
    return bool(getattr(item, "message_id", None) == message_id)


def trace_id(item: Any) -> str:
    """The message id that an item of a trail holds, or "". Text may hold a body within a body, as an SNS envelope does."""
    if isinstance(item, Mapping):
        return str(item.get("message_id") or "")
    if not isinstance(item, (bytes, str)):
        return str(getattr(item, "message_id", ""))
    text = item.decode("utf-8", "replace") if isinstance(item, bytes) else item
    found = _ID.search(text) or _ID.search(text.replace('\\"', '"'))
    return str(json.loads(f'"{found[1]}"')) if found else ""
