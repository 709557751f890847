"""The last retained message of each topic, in memory and on disk."""

from collections.abc import Iterator

from contracts.envelope import decode, encode
from contracts.messages import Message, Nanoseconds

from .limits import Limits
from .session import seconds_left
from .store import Store
from .topics import matches

MAX_RETAINED = 10_000
"""Topics with a retained message; beyond it new topics are refused and counted. AWS: 500,000 an account."""


class Retained:
    """AWS IoT Core hands retained messages to exact filters only; plain MQTT also to filters with wildcards."""

    def __init__(self, *, limits: Limits, store: Store) -> None:
        self._limits = limits
        self._store = store
        self._messages: dict[str, Message] = {}
        self.refused = 0
        for body in store.all("retained").values():
            self._messages.update((message.topic, message) for message in decode(body))

    def __len__(self) -> int:
        return len(self._messages)

    def keep(self, message: Message) -> None:
        """In place of the topic's earlier one; an empty payload only removes that. Raises BackendError."""
        if not message.payload:
            if self._messages.pop(message.topic, None) is not None:
                self._store.remove("retained", message.topic)
        elif message.topic in self._messages or len(self._messages) < MAX_RETAINED:
            self._messages[message.topic] = message
            self._store.put("retained", message.topic, encode(message))
        else:
            self.refused += 1

    def of(self, topic_filter: str, now: Nanoseconds) -> Iterator[Message]:
        """What a new subscription to this filter gets."""
        for topic in self._topics(topic_filter):
            message = self._messages[topic]
            if seconds_left(message, now) != 0:
                yield message

    def _topics(self, topic_filter: str) -> list[str]:
        if not any(wild in topic_filter for wild in "+#"):
            return [topic_filter] if topic_filter in self._messages else []
        if not self._limits.wildcard_gets_retained:
            return []
        parent = self._limits.parent_matches_multilevel
        return [topic for topic in self._messages if matches(topic_filter, topic, parent=parent)]
