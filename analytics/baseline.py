"""What normal is, learnt from clean seconds: rates and sizes per device, and of each type its topics, payloads and values.

Ids are only keys here. No rate, size or topic pattern depends on what a device is called.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from contracts.errors import NotReady

from .readings import Key, ReadingTally, Walk
from .schema import Schema, learn_schema
from .windows import COUNTS, DeviceRow, Second

PRIOR_MESSAGES = (0.5, 3.0)
"""A device's own rate starts as its type's, with the weight of this many messages (Gamma-Poisson shrinkage):
a device that sent 1 message in 15 s is not ten times slower than its peers. The more the devices of a type
differ beyond Poisson noise, the less the type says about one of them, and the smaller the weight."""

MIN_SECONDS = 8
"""Less is not even two windows."""

MIN_RATE = 0.01
"""Floor of every rate (one message in 100 s): nobody is infinitely faster than silence."""

DEFAULT_SIZE = 64.0
BLOCK_SECONDS = 5
DISPERSION = (0.1, 4.0)
"""Variance of a device's count over its mean, in blocks of 5 s: 1 for chance, less for a clock, more for bursts."""

REPLAYS_PRIOR = 20.0
"""Messages with the weight of which a type is taken to repeat none."""

_MESSAGES = COUNTS.index("num_messages_received")
_BYTES = COUNTS.index("message_bytes_received")
_LARGEST = COUNTS.index("message_byte_size_max")
_CONNECTS = COUNTS.index("num_connects")
_REPLAYED = COUNTS.index("num_replayed")
_VARIABLE = re.compile(r"\d+|[0-9a-fA-F]{8,}|[0-9a-fA-F-]{32,36}")
_TYPED_LEVELS = 2


def topic_pattern(topic: str, device_id: str) -> str:
    """The topic with the device's own id as `{device}` and numbers and hex ids as `{n}`.

    Another device's id stays as it is, so publishing on a neighbour's topic is new.
    """
    levels = topic.split("/")
    return "/".join(
        "{device}" if level == device_id else "{n}" if _VARIABLE.fullmatch(level) else level
        for level in levels
    )


def device_type_of(topics: Iterable[str]) -> str:
    """The second level of the first `dt/TYPE/...` topic, or ''."""
    for topic in topics:
        levels = topic.split("/")
        if levels[0] == "dt" and len(levels) > _TYPED_LEVELS:
            return levels[1]
    return ""


@dataclass(frozen=True, slots=True)
class Profile:
    """Clean behaviour of a device or type: messages a second, mean bytes a message, seconds learnt from.

    `largest` is the largest payload in bytes (0: not known).
    """

    rate: float
    size: float
    seconds: float
    largest: float = 0.0


@dataclass(frozen=True, slots=True)
class Baseline:
    """Learnt profiles. An unknown device is taken for an average one of its type, else of the fleet."""

    devices: Mapping[str, Profile]
    types: Mapping[str, Profile]
    fleet: Profile
    patterns: Mapping[str, frozenset[str]]
    knows_topics: bool = True
    schemas: Mapping[tuple[str, str], Schema] = field(default_factory=dict)
    """By type and topic pattern."""
    walks: Mapping[str, Mapping[Key, Walk]] = field(default_factory=dict)
    dispersion: Mapping[str, float] = field(default_factory=dict)
    replays: Mapping[str, float] = field(default_factory=dict)
    """Share of a type's messages that repeat an old one although nothing is wrong."""
    half_open: int = 0
    """The most connections that waited for their CONNECT at once."""

    def branches(self) -> dict[str, tuple[str, ...]]:
        """The topics that belong to a device alone, by type: what its patterns have up to its id."""
        mark = "{device}/"
        return {
            kind: tuple({one.partition(mark)[0] + mark for one in patterns if mark in one})
            for kind, patterns in self.patterns.items()
        }

    def profile(self, device_id: str, device_type: str) -> Profile:
        return self.devices.get(device_id) or self.types.get(device_type) or self.fleet

    def profiles(self, ids: Sequence[str], types: Sequence[str]) -> NDArray[np.float64]:
        """Rate, size, seconds learnt from and largest payload of each device, as in `Profile`: shape (n, 4)."""
        found = (self.profile(*pair) for pair in zip(ids, types, strict=True))
        rows = [(p.rate, p.size, p.seconds, p.largest or 4.0 * p.size) for p in found]
        return np.array(rows, dtype=np.float64).reshape(-1, 4)

    def novel(self, device_type: str, patterns: Iterable[str]) -> tuple[str, ...]:
        """Those of the topic patterns that the type never used. A type never learnt has nothing novel."""
        learnt = self.patterns.get(device_type)
        if not self.knows_topics or learnt is None:
            return ()
        return tuple(dict.fromkeys(one for one in patterns if one not in learnt))


def provisional(rates: Mapping[str, float]) -> Baseline:
    """Before anything is learnt: every device is expected to do what the median of its type does now."""
    types = {name: Profile(max(rate, MIN_RATE), DEFAULT_SIZE, 1.0) for name, rate in rates.items()}
    middle = float(np.median(list(rates.values()))) if rates else MIN_RATE
    fleet = Profile(max(middle, MIN_RATE), DEFAULT_SIZE, 1.0)
    return Baseline({}, types, fleet, {}, knows_topics=False)


def learn_baseline(seconds: Sequence[Second], *, without: frozenset[str] = frozenset()) -> Baseline:
    """Learn from clean seconds, leaving out devices that were flagged in them. Raises NotReady."""
    if len(seconds) < MIN_SECONDS or not any(second.rows for second in seconds):
        raise NotReady(
            f"only {len(seconds)} seconds of traffic to learn from",
            fix=f"train on at least {MIN_SECONDS} s in which devices publish",
        )
    tally = _Tally()
    for second in seconds:
        tally.add(second, without)
    learnt = tally.baseline(end=seconds[-1].start + 1)
    return replace(learnt, half_open=max(second.half_open for second in seconds))


@dataclass(slots=True)
class _Blocks:
    """A device's counts in blocks of 5 s: `whole` ones between its `first` and its `last`, their sum and squares."""

    first: int
    last: int
    running: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    @property
    def whole(self) -> int:
        return max(0, self.last - self.first - 1)

    def end_with(self, block: int) -> None:
        """The running block is over, and so are the silent ones up to this."""
        if self.last != self.first:
            self.total += self.running
            self.squares += self.running * self.running
        self.last, self.running = block, 0.0


class _Tally:
    def __init__(self) -> None:
        self._messages: defaultdict[str, float] = defaultdict(float)
        self._bytes: defaultdict[str, float] = defaultdict(float)
        self._first: dict[str, int] = {}
        self._start = 0
        self._topics: defaultdict[str, set[str]] = defaultdict(set)
        self._largest: defaultdict[str, int] = defaultdict(int)
        self._replays: defaultdict[str, int] = defaultdict(int)
        self._blocks: dict[str, _Blocks] = {}
        self._texts: dict[str, str] = {}
        self._shapes: dict[str, dict[str, dict[str, int]]] = {}
        self._readings = ReadingTally()
        self._patterns_of: dict[str, dict[str, str]] = {}

    def add(self, second: Second, without: frozenset[str]) -> None:
        self._start = self._start or second.start
        for line in second.shapes:
            shape, _, text = line.partition(" ")
            self._texts[shape] = text
        for row in second.rows:
            if row.device_id in without:
                continue
            # a device counts from its connect on (start-up is not silence); without one it was there before
            began = second.start if row.counts[_CONNECTS] else self._start
            self._first.setdefault(row.device_id, began)
            self._messages[row.device_id] += row.counts[_MESSAGES]
            self._bytes[row.device_id] += row.counts[_BYTES]
            self._topics[row.device_id].update(row.topics)
            self._largest[row.device_id] = max(self._largest[row.device_id], row.counts[_LARGEST])
            self._replays[row.device_id] += row.counts[_REPLAYED]
            self._add_block(row, second.start)
            if row.shapes:
                self._look_inside(row, second.start)

    def _add_block(self, row: DeviceRow, second: int) -> None:
        """Sums of counts in whole blocks of 5 s; a device's first block and the running one are not whole."""
        block, count = second // BLOCK_SECONDS, float(row.counts[_MESSAGES])
        found = self._blocks.setdefault(row.device_id, _Blocks(block, block))
        if block != found.last:
            found.end_with(block)
        found.running += count

    def _look_inside(self, row: DeviceRow, second: int) -> None:
        known = self._patterns_of.setdefault(row.device_id, {})
        for topic in row.topics:
            if topic not in known:
                known[topic] = topic_pattern(topic, row.device_id)
        patterns = [known[topic] for topic in row.topics]
        found = self._shapes.setdefault(row.device_id, {})
        for line in row.shapes:
            place, shape, count = line.split(" ")
            counts = found.setdefault(patterns[int(place)], {})
            counts[shape] = counts.get(shape, 0) + int(count)
        if row.readings:
            kind = device_type_of(row.topics)
            self._readings.add(row.device_id, kind, second, patterns, row.readings)

    def baseline(self, *, end: int) -> Baseline:
        lasted = {device_id: float(end - first) for device_id, first in self._first.items()}
        types = self._types(lasted)
        lasted = {device_id: lasted[device_id] for device_id in types}
        of_type = {
            name: self._pool([d for d in lasted if types[d] == name], lasted) for name in types.values()
        }
        prior = {name: self._prior([d for d in lasted if types[d] == name]) for name in of_type}
        devices = {
            d: self._own(d, of_type[types[d]], prior[types[d]], seconds) for d, seconds in lasted.items()
        }
        return Baseline(
            devices,
            of_type,
            self._pool(list(lasted), lasted),
            self._patterns(types),
            schemas=self._schemas(types),
            walks=self._readings.learn(types, end=end),
            dispersion=self._dispersion(types),
            replays=self._replay_shares(types),
        )

    def _schemas(self, types: Mapping[str, str]) -> dict[tuple[str, str], Schema]:
        pooled: defaultdict[tuple[str, str], defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
        for device_id, kind in types.items():
            for pattern, counts in self._shapes.get(device_id, {}).items():
                for shape, count in counts.items():
                    pooled[kind, pattern][self._texts.get(shape, shape)] += count
        return {key: learn_schema(counts) for key, counts in pooled.items()}

    def _dispersion(self, types: Mapping[str, str]) -> dict[str, float]:
        """Pooled over the devices of a type: variance within each device (n - 1 of n blocks are free) over the mean."""
        pooled: defaultdict[str, list[_Blocks]] = defaultdict(list)
        for device_id, kind in types.items():
            blocks = self._blocks.get(device_id)
            if blocks is not None and blocks.whole >= 2:
                pooled[kind].append(blocks)
        found = {}
        for kind, all_blocks in pooled.items():
            mean = sum(one.total for one in all_blocks) / sum(one.whole for one in all_blocks)
            spread = sum(one.squares - one.total * one.total / one.whole for one in all_blocks)
            if mean:
                free = sum(one.whole - 1 for one in all_blocks)
                found[kind] = float(np.clip(spread / free / mean, *DISPERSION))
        return found

    def _replay_shares(self, types: Mapping[str, str]) -> dict[str, float]:
        replays: defaultdict[str, int] = defaultdict(int)
        messages: defaultdict[str, float] = defaultdict(float)
        for device_id, kind in types.items():
            replays[kind] += self._replays[device_id]
            messages[kind] += self._messages[device_id]
        return {kind: count / (messages[kind] + REPLAYS_PRIOR) for kind, count in replays.items()}

    def _types(self, known: Iterable[str]) -> dict[str, str]:
        """Device types by topic. Who never published shows none: it is of the only type there is, else left out."""
        types = {d: device_type_of(sorted(self._topics[d])) for d in known if self._messages[d] > 0}
        names = set(types.values())
        if len(names) == 1:
            only = names.pop()
            return {d: types.get(d, only) for d in known}
        return types

    def _pool(self, ids: Sequence[str], lasted: Mapping[str, float]) -> Profile:
        messages = sum(self._messages[d] for d in ids)
        seconds = sum(lasted[d] for d in ids)
        size = sum(self._bytes[d] for d in ids) / messages if messages else DEFAULT_SIZE
        largest = float(max((self._largest[d] for d in ids), default=0))
        return Profile(
            max(messages / max(seconds, 1.0), MIN_RATE), max(size, 1.0), max(seconds, 1.0), largest
        )

    def _prior(self, ids: Sequence[str]) -> float:
        """The shape of the Gamma that the rates of a type follow, by moments: mean^2 / (variance - mean)."""
        counts = np.array([self._messages[d] for d in ids])
        least, most = PRIOR_MESSAGES
        if len(counts) < 4:
            return least
        mean, excess = float(counts.mean()), float(counts.var(ddof=1) - counts.mean())
        return most if excess <= 0.0 else float(np.clip(mean**2 / excess, least, most))

    def _own(self, device_id: str, of_type: Profile, prior: float, seconds: float) -> Profile:
        prior_seconds = prior / of_type.rate
        messages = self._messages[device_id]
        rate = (messages + prior) / (seconds + prior_seconds)
        size = (self._bytes[device_id] + of_type.size) / (messages + 1.0)
        # a device that sent little may yet send what its peers send
        largest = max(float(self._largest[device_id]), of_type.largest)
        return Profile(max(rate, MIN_RATE), max(size, 1.0), seconds + prior_seconds, largest)

    def _patterns(self, types: Mapping[str, str]) -> dict[str, frozenset[str]]:
        patterns: defaultdict[str, set[str]] = defaultdict(set)
        for device_id, name in types.items():
            patterns[name].update(topic_pattern(topic, device_id) for topic in self._topics[device_id])
        return {name: frozenset(found) for name, found in patterns.items()}
