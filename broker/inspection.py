"""What the gateway notices in payloads, for the fast lane: their shape, their numbers, and what came before.

The rules may be minutes behind in a flood, so what a payload shows of an attack is counted where it passes. No
payload leaves the gateway this way: a shape is field names with JSON types, a reading the mean of one number.

Cost is bounded: of each device the first `EAGER` messages of a period are looked at, then one in `STRIDE` (so that a
flood cannot hide behind four good messages), at most `PER_PERIOD` of all devices together; larger payloads than
`MAX_BYTES` are not parsed. Memory is bounded by `MAX_STREAMS` (a stream: a client id on a topic, some 4 KB).
"""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from contracts.text import spelt

EAGER = 4
STRIDE = 16
PER_PERIOD = 8_000
"""5 us each: 40 ms of a second of the event loop at most."""

MAX_BYTES = 8 * 1024
MAX_STREAMS = 16_384
MAX_FIELDS = 32
MAX_READINGS = 6
MAX_NAME = 40
MAX_SHAPES = 256
"""Shapes described in one period; whatever comes beyond them is told by its id alone."""

SHAPES_PER_TOPIC = 4
RECENT = 64
"""Payloads of a stream that are remembered, by their hash: a minute of a device that speaks every second."""

SURE = 16
"""A number that rose this often and never fell is a counter or a clock. A walk does so once in 65,536 times."""

AGAIN = 8
"""This many messages in a row behind a counter's highest value are a new start of it (a reboot, a clock put right)."""

SETTLED = 3
"""Numbers of the first messages are no readings yet: nobody knows which of them count."""

LARGEST = 1e12
"""Beyond it a number is a moment or an identifier, and no reading."""

MOMENTS = 1e8
"""Seconds since the epoch are beyond it since 1973."""

NO_JSON, BINARY, LARGE = "text", "binary", "large"
_TYPES = {str: "s", int: "n", float: "n", bool: "b", dict: "o", list: "a", type(None): "z"}


@dataclass(slots=True)
class _Number:
    """One numeric field of a stream: whether it is a counter, and its highest value."""

    last: float
    whole: bool
    rises: int = 0
    falls: int = 0
    behind: int = 0

    def follow(self, value: float) -> int:
        """Take the next value; how many before it were old ones, now that a counter goes on where it was."""
        last = self.last
        if value > last:
            old = self.behind
            self.rises += 1
            self.last, self.behind = value, 0
            return old
        if value == last:
            return 0
        if self.falls or self.rises < SURE or not self.whole:
            self.falls += 1
            self.last = value
            return 0
        self.behind += 1
        if self.behind >= AGAIN:
            self.last, self.behind = value, 0
        return 0

    @property
    def counts(self) -> bool:
        return self.whole and self.rises > 0 and not self.falls


@dataclass(slots=True)
class _Stream:
    """What is remembered of one client id on one topic."""

    numbers: dict[str, _Number] = field(default_factory=dict)
    recent: dict[int, None] = field(default_factory=dict)
    last: int = 0
    messages: int = 0
    told: int = 0

    def repeats(self, mark: int) -> bool:
        """Whether this payload came before. Twice in a row is QoS 1 at work, and no repetition."""
        recent = self.recent
        if mark == self.last:
            return False
        self.last = mark
        if mark in recent:
            return True
        recent[mark] = None
        if len(recent) > RECENT:
            del recent[next(iter(recent))]
        return False


@dataclass(frozen=True, slots=True)
class Shape:
    """Field names with their JSON types, or what stands for them; `numbers` are the fields that are numbers."""

    name: str
    text: str
    numbers: tuple[str, ...] = ()


class Notes:
    """What was noticed of one device in the running period."""

    __slots__ = ("looked", "readings", "shapes")

    def __init__(self) -> None:
        self.looked = 0
        self.shapes: dict[str, dict[Shape, int]] = {}
        self.readings: dict[tuple[str, str], list[float]] = {}

    def shape_lines(self, topics: tuple[str, ...]) -> Iterator[str]:
        """`PLACE SHAPE COUNT`: messages of this shape on the topic at this place of `topics`."""
        for place, topic in enumerate(topics):
            for shape, count in self.shapes.get(topic, {}).items():
                yield f"{place} {shape.name} {count}"

    def reading_lines(self, topics: tuple[str, ...]) -> Iterator[str]:
        """`PLACE MEAN NAME`: the mean of a number on the topic at this place of `topics`."""
        places = {topic: place for place, topic in enumerate(topics)}
        for (topic, name), (total, count) in self.readings.items():
            if topic in places:
                yield f"{places[topic]} {total / count:.6g} {spelt(name)}"


class Inspector:
    """Looks at payloads. `look` is for every accepted message, `close` at the end of each period."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._shapes: dict[tuple[Any, ...], Shape] = {}
        self._described: dict[str, str] = {}
        self._looked = 0

    def look(self, client_id: str, topic: str, payload: bytes, notes: Notes) -> int:
        """Take a message into the notes; how many turn out to be old ones once more.

        A payload that came before is one at once. A counter behind its highest value may have started anew, so it
        is one when the counter goes on from where it was.
        """
        if self._looked >= PER_PERIOD:
            return 0
        self._looked += 1
        notes.looked += 1
        stream = self._stream(client_id, topic)
        stream.messages += 1
        body = _read(payload)
        shape = self._shape(body)
        self._count(shape, topic, notes)
        old = int(stream.repeats(hash(payload)))
        if shape.numbers:
            behind = self._numbers(body, shape, stream, topic, notes)
            old += max(0, behind - stream.told)
            stream.told = 0 if behind else stream.told + old
        return old

    def close(self) -> tuple[str, ...]:
        """The shapes of the period, as `SHAPE TEXT`; the next period begins."""
        self._looked = 0
        described, self._described = self._described, {}
        return tuple(f"{name} {text}" for name, text in described.items())

    def _stream(self, client_id: str, topic: str) -> _Stream:
        key = (client_id, topic)
        stream = self._streams.get(key)
        if stream is None:
            if len(self._streams) >= MAX_STREAMS:
                del self._streams[next(iter(self._streams))]
            stream = self._streams[key] = _Stream()
        return stream

    def _count(self, shape: Shape, topic: str, notes: Notes) -> None:
        found = notes.shapes.get(topic)
        if found is None:
            found = notes.shapes[topic] = {}
        if shape in found or len(found) < SHAPES_PER_TOPIC:
            found[shape] = found.get(shape, 0) + 1
        if shape.name not in self._described and len(self._described) < MAX_SHAPES:
            self._described[shape.name] = shape.text

    def _shape(self, body: Any) -> Shape:
        key = (tuple(body), *map(type, body.values())) if type(body) is dict else (type(body), body)
        try:
            shape = self._shapes.get(key)
        except TypeError:  # a list at the top: all of them are one shape
            return _shape_of("a", ())
        if shape is None:
            if len(self._shapes) >= 4 * MAX_SHAPES:
                self._shapes.clear()
            shape = self._shapes[key] = _made(body)
        return shape

    def _numbers(self, body: Any, shape: Shape, stream: _Stream, topic: str, notes: Notes) -> int:
        behind = 0
        known, settled = stream.numbers, stream.messages > SETTLED
        for name in shape.numbers:
            value = body[name]
            number = known.get(name)
            if number is None:
                if len(known) < MAX_FIELDS:
                    known[name] = _Number(value, _whole(value))
                continue
            behind = max(behind, number.follow(value))
            if settled and not number.counts and -LARGEST < value < LARGEST:
                _add(notes.readings, (topic, name), value)
        return behind


def _add(readings: dict[tuple[str, str], list[float]], key: tuple[str, str], value: float) -> None:
    sums = readings.get(key)
    if sums is not None:
        sums[0] += value
        sums[1] += 1.0
    elif len(readings) < MAX_READINGS and math.isfinite(value):
        readings[key] = [value, 1.0]


def _read(payload: bytes) -> Any:
    """The JSON value, or a word for what is none."""
    if len(payload) > MAX_BYTES:
        return LARGE
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return BINARY
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return NO_JSON
    # a number or a string alone: its type is all there is to say
    return body if type(body) in (dict, list) else ("scalar", type(body))


def _made(body: Any) -> Shape:
    if type(body) is dict:
        items = [(spelt(name[:MAX_NAME]), _TYPES[type(value)]) for name, value in body.items()][:MAX_FIELDS]
        text = ",".join(f"{name}:{kind}" for name, kind in sorted(items))
        numbers = tuple(
            name for name, value in body.items() if _TYPES[type(value)] == "n" and len(name) <= MAX_NAME
        )
        return _shape_of("{" + text + "}", numbers[:MAX_FIELDS])
    return _shape_of(body if type(body) is str else _TYPES[body[1]], ())


def _shape_of(text: str, numbers: tuple[str, ...]) -> Shape:
    return Shape(hashlib.blake2b(text.encode(), digest_size=5).hexdigest(), text, numbers)


def _whole(value: float) -> bool:
    """Whether it may be a counter, or a clock (whose seconds may have a fraction)."""
    return isinstance(value, int) or (math.isfinite(value) and (value >= MOMENTS or value == int(value)))
