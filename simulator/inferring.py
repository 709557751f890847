"""What a fleet is like, told by its messages: a scenario with one group for each device type. Pure."""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts.messages import SECOND, Nanoseconds

from .model import MAX_DEVICES
from .payloads import RESERVED
from .values import MAX_TOPIC_BYTES

MAX_CHOICES = 12
"""Different values that are still taken for a choice; of texts with more, the first ones."""

MAX_FIELDS = 100
MAX_PATTERNS = 100
"""Of one type; what comes beyond is not in the scenario."""

MAX_TYPES = 50
MAX_JITTER = 2.0
"""The widest spread that a scenario may have; a burst now and then has a wider one."""

LONGEST_NAME = 40


@dataclass(slots=True)
class _Pace:
    """When one device spoke."""

    first: Nanoseconds
    last: Nanoseconds
    count: int = 1
    squares: float = 0.0

    def speak(self, now: Nanoseconds) -> None:
        gap = (now - self.last) / SECOND
        self.squares += gap * gap
        self.last, self.count = now, self.count + 1


@dataclass(slots=True)
class _Values:
    """What a field held."""

    start: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    step: float = 0.0
    numbers_only: bool = True
    last: dict[str, float] = field(default_factory=dict)
    distinct: dict[str, Any] = field(default_factory=dict)

    def see(self, device_id: str, value: Any) -> None:
        if len(self.distinct) <= MAX_CHOICES:
            self.distinct.setdefault(json.dumps(value, sort_keys=True), value)
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e15:
            self.numbers_only = False
            return
        number = float(value)
        if not self.last:
            self.start = number
        self.low, self.high = min(self.low, number), max(self.high, number)
        self.step = max(self.step, abs(number - self.last.get(device_id, number)))
        self.last[device_id] = number

    def generator(self) -> dict[str, Any]:
        """As a scenario writes it."""
        values = list(self.distinct.values())
        if len(values) == 1:
            return {"const": _plain(values[0])}
        if self.numbers_only:
            step = round(self.step, 6) or round((self.high - self.low) / 100, 6)
            return {"walk": {"start": self.start, "step": step, "min": self.low, "max": self.high}}
        return {"choice": [_plain(value) for value in values[:MAX_CHOICES]]}


@dataclass(slots=True)
class _Type:
    """All devices of one type."""

    devices: dict[str, _Pace] = field(default_factory=dict)
    patterns: Counter[str] = field(default_factory=Counter)
    fields: dict[str, _Values] = field(default_factory=dict)
    qos: int = 0

    def add(self, device_id: str, topic: str, payload: bytes, now: Nanoseconds) -> None:
        pace = self.devices.get(device_id)
        if pace is not None:
            pace.speak(now)
        elif len(self.devices) < MAX_DEVICES:
            self.devices[device_id] = _Pace(now, now)
        pattern = _pattern(topic, device_id)
        if pattern in self.patterns or len(self.patterns) < MAX_PATTERNS:
            self.patterns[pattern] += 1
        for name, value in _object(payload).items():
            if name not in RESERVED and (name in self.fields or len(self.fields) < MAX_FIELDS):
                self.fields.setdefault(name, _Values()).see(device_id, value)

    def group(self, name: str, seconds: float) -> dict[str, Any]:
        """As a scenario writes it; `seconds` is the interval of devices that spoke once."""
        (topic, _), *_ = self.patterns.most_common(1)
        return {
            "group": name,
            "count": len(self.devices),
            "topic": _plain(topic)
            if len(topic.encode()) <= MAX_TOPIC_BYTES
            else "dt/{type}/{device}/telemetry",
            "qos": self.qos,
            "every": self._every(seconds),
            "payload": {key: values.generator() for key, values in self.fields.items()},
        }

    def _every(self, seconds: float) -> dict[str, Any]:
        paces = self.devices.values()
        gaps = sum(pace.count - 1 for pace in paces)
        if not gaps:
            return {"mean": f"{max(seconds, 0.001):.3f}s"}
        mean = max(sum(pace.last - pace.first for pace in paces) / SECOND / gaps, 0.001)
        variance = max(0.0, sum(pace.squares for pace in paces) / gaps - mean * mean)
        jitter = min(MAX_JITTER, round(math.sqrt(variance) / mean, 3))
        return {"dist": "lognormal", "mean": f"{mean:.3f}s", "jitter": jitter}


class Sketch:
    """Fed message by message; bounded whatever comes: see the bounds above."""

    def __init__(self) -> None:
        self._types: dict[str, _Type] = {}
        self.messages = 0
        self.devices: set[str] = set()

    def add(
        self, *, device_id: str, device_type: str, topic: str, payload: bytes, qos: int, now: Nanoseconds
    ) -> None:
        """One message."""
        self.messages += 1
        kind = self._types.get(device_type)
        if kind is None:
            if len(self._types) >= MAX_TYPES:
                return
            kind = self._types[device_type] = _Type()
        if len(self.devices) < MAX_DEVICES or device_id in self.devices:
            self.devices.add(device_id)
            kind.qos = max(kind.qos, min(qos, 1))
            kind.add(device_id, topic, payload, now)

    def scenario(self, name: str, *, seconds: float) -> dict[str, Any]:
        """The values of a scenario file: this fleet for as long as it was recorded."""
        names: set[str] = set()
        fleet = []
        for device_type, kind in self._types.items():
            if kind.devices:
                names.add(group := _unused(_group_name(device_type), names))
                fleet.append(kind.group(group, seconds))
        return {
            "scenario": "v1",
            "name": name,
            "description": f"recorded: {self.messages} messages in {seconds:.0f} s",
            "duration": f"{max(1, math.ceil(seconds))}s",
            "path": "direct",
            "clock": {"mode": "virtual"},
            "fleet": fleet,
        }


def _object(payload: bytes) -> Mapping[str, Any]:
    """The fields of a JSON object; none of anything else, or of one with numbers that JSON does not know."""
    try:
        value = json.loads(payload, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _pattern(topic: str, device_id: str) -> str:
    """The topic with its device's id as `{device}`."""
    levels = topic.translate({ord("{"): "_", ord("}"): "_"}).split("/")
    return "/".join("{device}" if level == device_id else level for level in levels)


def _plain(value: Any) -> Any:
    """A value whose dollar signs are no variables."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return {key: _plain(one) for key, one in value.items()} if isinstance(value, dict) else value


def _group_name(device_type: str) -> str:
    name = re.sub(r"[^a-z0-9_-]+", "-", device_type.lower()).strip("-")
    return (name if re.match("[a-z]", name) else f"type-{name}".strip("-"))[:LONGEST_NAME]


def _unused(name: str, taken: set[str]) -> str:
    number, chosen = 1, name
    while chosen in taken:
        number += 1
        chosen = f"{name[: LONGEST_NAME - 4]}-{number}"
    return chosen
