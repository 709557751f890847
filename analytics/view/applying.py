"""Which changes of a batch take effect: pure.

The last record of a key wins, by sequence; a record not newer than what is stored for its key does nothing. A
removed key leaves its sequence behind (a tombstone), so that a replayed older INSERT cannot bring it back.

What a scan found has no sequence (0): it is newer than all that was applied, and older than all records to come. It
takes effect and leaves the key's sequence as it was.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from contracts.messages import Change

from .collection import Collection

EXPIRY_SECONDS = 1.0
"""DynamoDB's time to live counts in whole seconds, so an item may go so much before it is as old as it was to become."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What to do to one collection: `remove` these ids first, then write these changes by id."""

    upserts: Mapping[str, Change]
    removals: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.upserts) + len(self.removals)


def lasting(changes: Sequence[Change], collection: Collection, now: datetime) -> Sequence[Change]:
    """Without the removals of what is so old that the collection's own retention takes it.

    With a time to live every message is removed once; a tombstone for each would be kept for ever.
    """
    if collection.retention_seconds is None:
        return changes
    before = now.replace(tzinfo=UTC).timestamp() - collection.retention_seconds + EXPIRY_SECONDS
    return [change for change in changes if change.kind != "REMOVE" or _born(change, collection) > before]


def _born(change: Change, collection: Collection) -> float:
    """Seconds since the epoch, of the row that was removed; infinite where nobody says."""
    told = (change.old or {}).get(collection.event_time or "")
    return told / 1_000 if isinstance(told, int | float) else math.inf


def latest(changes: Iterable[Change], collection: Collection) -> dict[str, Change]:
    """The last change of every key, by sequence; of equal ones (a record delivered twice) the first."""
    chosen: dict[str, Change] = {}
    for change in changes:
        identity = collection.identity(change.key)
        before = chosen.get(identity)
        if before is None or change.sequence > before.sequence:
            chosen[identity] = change
    return chosen


def effect(chosen: Mapping[str, Change], stored: Mapping[str, int]) -> Effect:
    """Leave out what is not newer than the stored sequence of its key."""
    newer = {
        i: c if c.sequence else replace(c, sequence=stored.get(i, 0))
        for i, c in chosen.items()
        if not c.sequence or c.sequence > stored.get(i, -1)
    }
    return Effect(
        upserts={i: c for i, c in newer.items() if c.kind != "REMOVE" and c.new is not None},
        removals={i: c.sequence for i, c in newer.items() if c.kind == "REMOVE" or c.new is None},
    )
