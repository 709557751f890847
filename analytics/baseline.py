"""What normal is, learnt from clean seconds: rates and sizes per device and per type, topics per type.

Ids are only keys here. No rate, size or topic pattern depends on what a device is called.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.errors import NotReady

from .windows import COUNTS, Second

PRIOR_MESSAGES = (0.5, 3.0)
"""A device's own rate starts as its type's, with the weight of this many messages (Gamma-Poisson shrinkage):
a device that sent 1 message in 15 s is not ten times slower than its peers. The more the devices of a type
differ beyond Poisson noise, the less the type says about one of them, and the smaller the weight."""

MIN_SECONDS = 8
"""Less is not even two windows."""

MIN_RATE = 0.01
"""Floor of every rate (one message in 100 s): nobody is infinitely faster than silence."""

DEFAULT_SIZE = 64.0
_MESSAGES = COUNTS.index("num_messages_received")
_BYTES = COUNTS.index("message_bytes_received")
_CONNECTS = COUNTS.index("num_connects")
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
    """Clean behaviour of a device or type: messages a second, mean bytes a message, seconds learnt from."""

    rate: float
    size: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Baseline:
    """Learnt profiles. An unknown device is taken for an average one of its type, else of the fleet."""

    devices: Mapping[str, Profile]
    types: Mapping[str, Profile]
    fleet: Profile
    patterns: Mapping[str, frozenset[str]]
    knows_topics: bool = True

    def profile(self, device_id: str, device_type: str) -> Profile:
        return self.devices.get(device_id) or self.types.get(device_type) or self.fleet

    def profiles(self, ids: Sequence[str], types: Sequence[str]) -> NDArray[np.float64]:
        """Rate (messages/s), size (bytes/message) and seconds learnt from, of each device: shape (n, 3)."""
        found = (self.profile(*pair) for pair in zip(ids, types, strict=True))
        return np.array([(p.rate, p.size, p.seconds) for p in found], dtype=np.float64).reshape(-1, 3)

    def count_novel(self, device_type: str, device_id: str, topics: Iterable[str]) -> int:
        """How many distinct topic patterns its type never used. A type never learnt has nothing novel."""
        learnt = self.patterns.get(device_type)
        if not self.knows_topics or learnt is None:
            return 0
        return len({topic_pattern(topic, device_id) for topic in topics} - learnt)


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
    return tally.baseline(end=seconds[-1].start + 1)


class _Tally:
    def __init__(self) -> None:
        self._messages: defaultdict[str, float] = defaultdict(float)
        self._bytes: defaultdict[str, float] = defaultdict(float)
        self._first: dict[str, int] = {}
        self._start = 0
        self._topics: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, second: Second, without: frozenset[str]) -> None:
        self._start = self._start or second.start
        for row in second.rows:
            if row.device_id in without:
                continue
            # a device counts from its connect on (start-up is not silence); without one it was there before
            began = second.start if row.counts[_CONNECTS] else self._start
            self._first.setdefault(row.device_id, began)
            self._messages[row.device_id] += row.counts[_MESSAGES]
            self._bytes[row.device_id] += row.counts[_BYTES]
            self._topics[row.device_id].update(row.topics)

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
        return Baseline(devices, of_type, self._pool(list(lasted), lasted), self._patterns(types))

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
        return Profile(max(messages / max(seconds, 1.0), MIN_RATE), max(size, 1.0), max(seconds, 1.0))

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
        return Profile(max(rate, MIN_RATE), max(size, 1.0), seconds + prior_seconds)

    def _patterns(self, types: Mapping[str, str]) -> dict[str, frozenset[str]]:
        patterns: defaultdict[str, set[str]] = defaultdict(set)
        for device_id, name in types.items():
            patterns[name].update(topic_pattern(topic, device_id) for topic in self._topics[device_id])
        return {name: frozenset(found) for name, found in patterns.items()}
