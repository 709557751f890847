"""One device's own state: what it measures, when, and what a behaviour makes of it. No sockets, no clock."""

import json
import math
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from contracts.messages import MILLISECOND, Nanoseconds

from .payloads import Generator, Json, linked
from .schedule import Every
from .values import fill

MAX_KEPT = 1_000
"""Readings kept while offline; the oldest are lost beyond it, as in a device's small memory (200 KB)."""

FILLER = "0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Reading:
    """One PUBLISH to come."""

    topic: str
    payload: bytes
    qos: int


@dataclass(frozen=True, slots=True)
class Extra:
    """What a device publishes beside its own readings: `rate` times a second, each on one of the `topics`."""

    topics: tuple[str, ...]
    rate: float


@dataclass(frozen=True, slots=True)
class Effect:
    """What one phase does to a device while it lasts."""

    rate_factor: float = 1.0
    extra_bytes: int = 0
    extra: Extra | None = None


@dataclass(slots=True)
class Device:
    """State of one device. Phases put their effects on it, by phase id; the player moves `due`.

    A phase in `cut` keeps it off the network: it measures and keeps its readings. A phase in `off` has it
    switched off: it does nothing at all. Both end only when no phase holds it any more.
    """

    device_id: str
    device_type: str
    topic: str
    qos: int
    every: Every
    listens: tuple[str, ...]
    rng: random.Random
    generators: Mapping[str, Generator]
    due: Nanoseconds = 0
    woke: Nanoseconds = 0
    sequence: int = 0
    effects: dict[str, Effect] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    off: set[str] = field(default_factory=set)
    firmware: str | None = None
    online: bool = False
    kept: deque[Reading] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.generators = linked(self.generators, device=self.number)

    @property
    def number(self) -> int:
        """7 of `meter-0007`; 1 of an id without a number."""
        digits = self.device_id.rpartition("-")[2]
        return int(digits) if digits.isdecimal() else 1

    @property
    def wanted(self) -> bool:
        """Whether it tries to be online."""
        return not self.cut and not self.off

    @property
    def rate_factor(self) -> float:
        return math.prod(effect.rate_factor for effect in self.effects.values())

    @property
    def extra_bytes(self) -> int:
        return sum(effect.extra_bytes for effect in self.effects.values())

    def reading(self, now: Nanoseconds, *, topic: str | None = None) -> Reading:
        """The next reading; `topic` is another one than the device's own."""
        self.sequence += 1
        body: dict[str, Json] = {"ts": now // MILLISECOND, "seq": self.sequence}
        body |= {name: generate(now) for name, generate in self.generators.items()}
        if self.firmware is not None:
            body["fw"] = self.firmware
        if extra := self.extra_bytes:
            body["diag"] = (FILLER * (extra // len(FILLER) + 1))[:extra]
        payload = json.dumps(body, separators=(",", ":")).encode()
        return Reading(topic or self.topic, payload, self.qos)

    def keep(self, reading: Reading, *, first: bool = False) -> int:
        """Keep a reading for later, at the end or before all others; how many (0 or 1) were lost for it.

        The oldest goes: that is the reading itself when it comes back to a full memory.
        """
        full = len(self.kept) >= MAX_KEPT
        if first and full:
            return 1
        if full:
            self.kept.popleft()
        (self.kept.appendleft if first else self.kept.append)(reading)
        return int(full)

    def schedule_next(self, now: Nanoseconds) -> None:
        """Move `due` past `now`."""
        self.due = now + self.every.gap(self.rng, self.rate_factor, now, woke=self.woke)

    def start_at(self, now: Nanoseconds) -> None:
        """Spread the first readings over one interval, so that devices do not march in step.

        A device that sleeps wakes up with its first reading.
        """
        self.due = self.woke = now + int(self.every.spread * self.rng.random())

    def fill(self, template: str) -> str:
        """A topic template with `{device}` and `{type}` filled in."""
        return fill(template, device=self.device_id, kind=self.device_type)
