"""One device's own state: what it measures, when, and what a behaviour makes of it. No sockets, no clock."""

import json
import math
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from contracts.messages import MILLISECOND, SECOND, Nanoseconds

from .effects import Effect, Extra, Spoof
from .payloads import Generator, Json, linked
from .schedule import Every
from .values import fill

MAX_KEPT = 1_000
"""Readings kept while offline; the oldest are lost beyond it, as in a device's small memory (200 KB)."""

MAX_HISTORY = 50
"""Payloads remembered for a replay: what an eavesdropper has of the last minute."""

COMMANDED = "$command"
"""The phase, so to say, of what an operator asked for."""

FILLER = "0123456789abcdef"
BLOB_FRAME = 40
"""Bytes of a blob's payload around the blob: its time and its number."""

compact = json.JSONEncoder(separators=(",", ":")).encode
"""Made once: `json.dumps` with separators of its own makes an encoder a reading."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One PUBLISH to come."""

    topic: str
    payload: bytes
    qos: int
    retain: bool = False


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
    history: deque[bytes] = field(default_factory=lambda: deque(maxlen=MAX_HISTORY))
    frozen: dict[str, Json] = field(default_factory=dict)
    sent_until: Nanoseconds = 0
    jobs: set[str] = field(default_factory=set)
    shadow: bool = False

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
    def hasty(self) -> bool:
        """Whether it comes back at once when it is thrown out."""
        return any(effect.hasty for effect in self.effects.values())

    @property
    def rate_factor(self) -> float:
        return math.prod(effect.rate_factor for effect in self.effects.values())

    @property
    def extra_bytes(self) -> int:
        return sum(effect.extra_bytes for effect in self.effects.values())

    def reading(self, now: Nanoseconds) -> Reading:
        """The next reading, as the effects of all phases leave it."""
        self.sequence += 1
        effects = self.effects.values()
        clock = now + sum(effect.clock_offset for effect in effects)
        body: dict[str, Json] = {"ts": clock // MILLISECOND, "seq": self.sequence}
        body |= {name: generate(now) for name, generate in self.generators.items()}
        if self.firmware is not None:
            body["fw"] = self.firmware
        for effect in effects:
            if effect.spoof is not None:
                self._spoof(body, effect.spoof, now)
        if extra := self.extra_bytes:
            body["diag"] = (FILLER * (extra // len(FILLER) + 1))[:extra]
        payload = compact(body).encode()
        for effect in effects:
            payload = self._damaged(payload, effect)
        self.history.append(payload)
        return Reading(self.topic, payload, self.qos)

    def extra_reading(self, extra: Extra, now: Nanoseconds) -> Reading:
        """What it publishes beside its own readings."""
        topic = self.rng.choice(extra.topics)
        if extra.body == "reading":
            return Reading(topic, self.reading(now).payload, self.qos)
        if extra.body == "replay" and self.history:
            return Reading(topic, self.history[0], self.qos)
        self.sequence += 1
        body: dict[str, Json] = {"ts": now // MILLISECOND, "seq": self.sequence}
        if extra.body == "alarm":
            body["alarm"] = "threshold"
        else:
            digits = max(2, extra.size - BLOB_FRAME)
            body["blob"] = f"{self.rng.getrandbits(4 * digits):0{digits}x}"
        return Reading(topic, compact(body).encode(), self.qos)

    def shadow_report(self) -> Reading:
        """What it tells its shadow: the firmware, and the rate that it was asked for."""
        asked = self.effects.get(COMMANDED, Effect()).rate_factor
        reported = {"fw": self.firmware or "factory", "rate_factor": asked}
        payload = json.dumps({"state": {"reported": reported}}).encode()
        return Reading(f"$aws/things/{self.device_id}/shadow/update", payload, 1)

    def delay(self, now: Nanoseconds) -> Nanoseconds:
        """How long the network holds a reading back now. Later ones do not overtake earlier ones."""
        wait = sum(
            max(0, effect.delay + int(effect.delay_jitter * self.rng.uniform(-1, 1)))
            for effect in self.effects.values()
            if effect.delay
        )
        if not wait and self.sent_until <= now:
            return 0
        self.sent_until = max(self.sent_until, now + wait)
        return self.sent_until - now

    def sends_twice(self) -> bool:
        """Whether this reading is sent once more, because its acknowledgement is lost."""
        share = max((effect.duplicates for effect in self.effects.values()), default=0.0)
        return share > 0 and self.rng.random() < share

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

    def _spoof(self, body: dict[str, Json], spoof: Spoof, now: Nanoseconds) -> None:
        for name in spoof.fields or [name for name in body if name not in ("ts", "seq")]:
            value = body.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if spoof.freeze:
                body[name] = self.frozen.setdefault(name, value)
            elif spoof.value is not None:
                body[name] = spoof.value
            else:
                seconds = (now - spoof.since) / SECOND
                body[name] = round(value * spoof.scale + spoof.offset + spoof.drift * seconds, 3)

    def _damaged(self, payload: bytes, effect: Effect) -> bytes:
        if effect.padded_to > len(payload):
            payload = payload[:-1] + b" " * (effect.padded_to - len(payload)) + payload[-1:]
        if not effect.breakage or (effect.share < 1.0 and self.rng.random() >= effect.share):
            return payload
        if effect.breakage == "truncated":
            return payload[: max(1, len(payload) // 2)]
        if effect.breakage == "binary":
            return self.rng.randbytes(max(1, len(payload)))
        return b'{"v":[%s],"unit":null}' % payload[: len(payload) // 3].hex().encode().join((b'"', b'"'))


__all__ = ["Device", "Effect", "Extra", "Reading", "Spoof"]
