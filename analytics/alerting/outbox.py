"""What waits for a channel: in order, bounded, and with a journal over a restart too."""

import json
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from contracts.journal import Journal, JournalFault
from contracts.messages import AlertKind, Nanoseconds
from contracts.ports import Gauge

CAPACITY = 1_000
"""Alerts that wait for a channel: months of them for a fleet that is well, 20 MB at the very most."""

KEPT_UNDELIVERED = 100


@dataclass(frozen=True, slots=True)
class Letter:
    """An alert in the words of one channel. `failed` is why it was given up; such a letter waits for a person."""

    alert_id: str
    incident_id: str
    happened: AlertKind
    at: Nanoseconds
    summary: str
    body: bytes
    failed: str = ""
    number: int = 0


class Outbox:
    """Letters that wait, and those that were given up. `fault` says why the journal does not keep them, if so."""

    def __init__(self, name: str, *, journal: Journal | None = None, capacity: int = CAPACITY) -> None:
        self._name = name
        self._journal = journal
        self._capacity = capacity
        self._waiting: deque[Letter] = deque()
        self._given_up: deque[Letter] = deque()
        self._highest = 0
        self._last = 0
        self.dropped = 0
        self.fault = ""
        self._take_up()

    @property
    def first(self) -> Letter | None:
        """The oldest that waits."""
        return self._waiting[0] if self._waiting else None

    @property
    def given_up(self) -> tuple[Letter, ...]:
        """What could not be delivered, oldest first."""
        return tuple(self._given_up)

    def put(self, letter: Letter) -> bool:
        """Add it. False if that pushed the oldest out. One that waits already is not added again."""
        if any(one.alert_id == letter.alert_id for one in self._waiting):
            return True
        self._waiting.append(self._keep(letter))
        self._highest = max(self._highest, len(self._waiting))
        if len(self._waiting) <= self._capacity:
            return True
        self._forget(self._waiting.popleft())
        self.dropped += 1
        return False

    def done(self, letter: Letter) -> None:
        """It was delivered."""
        self._take_out(letter)

    def give_up(self, letter: Letter, why: str) -> None:
        """It will not be delivered by trying again: keep it for a person, the newest of them."""
        self._take_out(letter)
        self._given_up.append(self._keep(replace(letter, failed=why, number=0)))
        if len(self._given_up) > KEPT_UNDELIVERED:
            self._forget(self._given_up.popleft())
            self.dropped += 1

    def again(self) -> int:
        """Put all that was given up behind what waits; how many."""
        letters = [self._given_up.popleft() for _ in range(len(self._given_up))]
        for letter in letters:
            self._forget(letter)
            self.put(replace(letter, failed="", number=0))
        return len(letters)

    def gauge(self) -> Gauge:
        return Gauge(self._name, len(self._waiting), self._capacity, self._highest)

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    def _take_out(self, letter: Letter) -> None:
        """A full box may have pushed it out meanwhile."""
        if letter in self._waiting:
            self._waiting.remove(letter)
            self._forget(letter)

    def _take_up(self) -> None:
        """What an earlier process left."""
        if self._journal is None:
            return
        limit = self._capacity + KEPT_UNDELIVERED
        for entry in self._journal.read(limit=limit):
            letter = _letter(entry.body, entry.number)
            self._last = entry.number
            (self._given_up if letter.failed else self._waiting).append(letter)
        self._highest = len(self._waiting)

    def _keep(self, letter: Letter) -> Letter:
        """With its number in the journal; a disk that does not take it leaves it in memory, and says so."""
        if self._journal is None:
            return letter
        try:
            self._journal.append([_written(letter)])
            self._last = self._journal.read(after=self._last, limit=1)[0].number
        except JournalFault as error:
            self.fault = error.what
            return letter
        self.fault = ""
        return replace(letter, number=self._last)

    def _forget(self, letter: Letter) -> None:
        if self._journal is None or not letter.number:
            return
        try:
            self._journal.forget(letter.number, letter.number)
        except JournalFault as error:
            self.fault = error.what  # it will be delivered again after a restart, under the same id


def _written(letter: Letter) -> bytes:
    told: dict[str, Any] = {
        "alert_id": letter.alert_id,
        "incident_id": letter.incident_id,
        "happened": letter.happened,
        "at": letter.at,
        "summary": letter.summary,
        "failed": letter.failed,
        "body": letter.body.decode("utf-8", errors="surrogateescape"),
    }
    return json.dumps(told).encode()


def _letter(written: bytes, number: int) -> Letter:
    told = json.loads(written)
    body = told.pop("body").encode("utf-8", errors="surrogateescape")
    return Letter(**told, body=body, number=number)
