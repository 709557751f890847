"""One device's own state: what it measures, when, and what a behaviour makes of it. No sockets, no clock."""

import json
import math
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from contracts.messages import MILLISECOND, Nanoseconds

from .payloads import Field, Generator, Json
from .schedule import Every

MAX_KEPT = 1_000
"""Readings kept while offline; the oldest are lost beyond it, as in a device's small memory."""

FILLER = "0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Reading:
    """One PUBLISH to come."""

    topic: str
    payload: bytes
    qos: int


@dataclass(frozen=True, slots=True)
class Effect:
    """What one phase does to a device while it lasts."""

    rate_factor: float = 1.0
    extra_bytes: int = 0


@dataclass(slots=True)
class Device:
    """State of one device. Phases put their effects on it, by phase id; the player moves `due`."""

    device_id: str
    device_type: str
    topic: str
    qos: int
    every: Every
    listens: tuple[str, ...]
    rng: random.Random
    generators: Mapping[str, Generator]
    due: Nanoseconds = 0
    sequence: int = 0
    effects: dict[str, Effect] = field(default_factory=dict)
    firmware: str | None = None
    online: bool = False
    kept: deque[Reading] = field(default_factory=lambda: deque(maxlen=MAX_KEPT))

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
        if self.firmware is not None and "fw" in body:
            body["fw"] = self.firmware
        if extra := self.extra_bytes:
            body["diag"] = (FILLER * (extra // len(FILLER) + 1))[:extra]
        payload = json.dumps(body, separators=(",", ":")).encode()
        return Reading(topic or self.topic, payload, self.qos)

    def schedule_next(self, now: Nanoseconds) -> None:
        """Move `due` past `now`."""
        self.due = now + self.every.gap(self.rng, self.rate_factor)

    def start_at(self, now: Nanoseconds) -> None:
        """Spread the first readings over one interval, so that devices do not march in step."""
        self.due = now + int(self.every.mean * self.rng.random())


def make_device(
    *,
    device_id: str,
    device_type: str,
    topic: str,
    qos: int,
    every: Every,
    listens: tuple[str, ...],
    payload: Mapping[str, Field],
    seed: int,
) -> Device:
    """A device whose randomness depends on the seed and its id alone."""
    rng = random.Random(f"{seed}/{device_id}")  # noqa: S311 - simulation, no secret
    return Device(
        device_id=device_id,
        device_type=device_type,
        topic=topic.replace("{device}", device_id),
        qos=qos,
        every=every,
        listens=tuple(one.replace("{device}", device_id) for one in listens),
        rng=rng,
        generators={name: spec.generator(rng) for name, spec in payload.items()},
    )
