"""Follows slow drift of rates and payload sizes, and never learns an attack.

What may move a device's profile: whole minutes in which every verdict was normal and no incident open, and in which
the device itself was not flagged. How far: by `step` a minute at most, and from what was first learnt by `budget` at
most, not counting what its peers do as well (and those by `common` at most). Somebody who boils the frog gains one
budget, no more; and a device that has crept up alone is *drifted*: any further rise that is flagged is a doubt.

Devices of an announced change are not followed meanwhile. When their change is over, what they do then becomes their
profile, within what was announced.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from contracts.messages import VerdictKind

from .baseline import Baseline, Profile
from .known import Known
from .windows import COUNTS, Second

_MESSAGES = COUNTS.index("num_messages_received")
_BYTES = COUNTS.index("message_bytes_received")


@dataclass(frozen=True, slots=True)
class DriftRules:
    """Seconds of a block; most change a block; most change of a device beyond its peers, and of a type, as ratios.

    From `crept` on (a part of the budget) a device counts as drifted. `memory` is how many seconds a profile rests on at most: a block of a minute weighs a sixtieth of an hour.
    """

    block: int = 60
    step: float = 1.02
    budget: float = 1.5
    crept: float = 1.2
    common: float = 4.0
    memory: float = 3600.0


FEWEST = 3.0
"""Messages that a device must be expected to send in a block: of fewer, silence and speech say the same."""


@dataclass(slots=True)
class _Tally:
    seconds: int = 0
    messages: float = 0.0
    bytes: float = 0.0

    def add(self, other: "_Tally") -> None:
        self.seconds += other.seconds
        self.messages += other.messages
        self.bytes += other.bytes


@dataclass(slots=True)
class _Block:
    seconds: int = 0
    unjudged: int = 0
    spoilt: bool = False
    tallies: defaultdict[str, _Tally] = field(default_factory=lambda: defaultdict(_Tally))
    flagged: set[str] = field(default_factory=set)
    fresh: set[str] = field(default_factory=set)


class Follower:
    """Watches the seconds that are judged. Give it each one with its verdict; take the baseline after a block."""

    def __init__(
        self, baseline: Baseline, rules: DriftRules, *, anchors: Mapping[str, Profile] | None = None
    ) -> None:
        """`anchors` are the profiles that drift is counted from: by default the baseline's own."""
        self.rules = rules
        self.anchors: dict[str, Profile] = dict(baseline.devices if anchors is None else anchors)
        self.drifted: frozenset[str] = frozenset()
        self._seen: set[str] = set(baseline.devices)
        self._block = _Block()
        self._announced: dict[str, list[_Tally]] = {}

    def add(
        self, second: Second, kind: VerdictKind, *, flagged: frozenset[str], known: Known, calm: bool
    ) -> bool:
        """Count a second; True when a block is full. `calm` is False while a security incident is open."""
        block = self._block
        block.seconds += 1
        block.unjudged -= 1
        block.spoilt |= not calm or kind != "normal" or block.unjudged > 0
        block.flagged |= flagged
        for row in second.rows:
            if row.device_id not in self._seen:
                block.fresh.add(row.device_id)
            tally = block.tallies[row.device_id]
            tally.messages += row.counts[_MESSAGES]
            tally.bytes += row.counts[_BYTES]
        for device_id in known.cohorts:
            self._announced.setdefault(device_id, [])
        return block.seconds >= self.rules.block

    def came(self) -> None:
        """A second came: unless `add` follows before the next one, its block is of no use."""
        self._block.unjudged += 1

    def close(self, baseline: Baseline, types: Mapping[str, str], known: Known) -> Baseline:
        """End the block; the baseline with what it taught (the same object if that is nothing)."""
        block, self._block = self._block, _Block()
        for tally in block.tallies.values():
            tally.seconds = block.seconds
        self._seen |= block.fresh
        settled = self._settle(block, baseline, types, known)
        devices = {**baseline.devices, **settled}
        if not block.spoilt:
            devices |= self._follow(block, baseline, types, known, without=settled)
        if devices == baseline.devices:
            return baseline
        return replace(baseline, devices=devices)

    def _settle(
        self, block: _Block, baseline: Baseline, types: Mapping[str, str], known: Known
    ) -> dict[str, Profile]:
        """Keep what announced devices do; adopt what those do whose change is over."""
        adopted: dict[str, Profile] = {}
        for device_id, kept in list(self._announced.items()):
            if device_id in block.flagged or device_id not in types:
                kept.clear()
            elif device_id in block.tallies:
                kept.append(block.tallies[device_id])
                del kept[:-2]
            if device_id in known.cohorts:
                continue
            del self._announced[device_id]
            before = baseline.profile(device_id, types.get(device_id, ""))
            total = _Tally()
            for tally in kept:
                total.add(tally)
            if total.messages >= FEWEST:
                profile = _profile(before, total, weight=1.0)
                adopted[device_id] = self.anchors[device_id] = replace(profile, seconds=float(total.seconds))
        return adopted

    def _follow(
        self,
        block: _Block,
        baseline: Baseline,
        types: Mapping[str, str],
        known: Known,
        *,
        without: Collection[str],
    ) -> dict[str, Profile]:
        moved: dict[str, Profile] = {}
        for device_id, tally in block.tallies.items():
            left_out = device_id in block.flagged or device_id in block.fresh or device_id in known.cohorts
            if left_out or device_id not in types or device_id in self._announced or device_id in without:
                continue
            before = baseline.profile(device_id, types[device_id])
            if device_id not in baseline.devices:
                # of a new device its type is all that is known: it weighs as much as one block
                before = replace(before, seconds=float(block.seconds))
                self.anchors[device_id] = before
            if before.rate * block.seconds >= FEWEST:
                moved[device_id] = self._step(before, tally)
        return self._bounded(moved, types)

    def _step(self, before: Profile, tally: _Tally) -> Profile:
        weight = tally.seconds / (min(before.seconds, self.rules.memory) + tally.seconds)
        after = _profile(before, tally, weight=weight)
        step = self.rules.step if before.seconds > self.rules.block else 1.0 + weight
        return replace(
            after,
            rate=float(np.clip(after.rate, before.rate / step, before.rate * step)),
            size=float(np.clip(after.size, before.size / step, before.size * step)),
            seconds=min(before.seconds + tally.seconds, self.rules.memory),
        )

    def _bounded(self, moved: Mapping[str, Profile], types: Mapping[str, str]) -> dict[str, Profile]:
        common = self._common(moved, types)
        rules = self.rules
        found: dict[str, Profile] = {}
        drifted = set(self.drifted - moved.keys())
        for device_id, profile in moved.items():
            anchor = self.anchors.setdefault(device_id, profile)
            rate, size = common[types[device_id]]
            # an anchor of few messages is itself uncertain by 1 / sqrt(messages): that is no drift
            doubt = 1.0 + 2.0 / float(np.sqrt(max(anchor.rate * anchor.seconds, 1.0)))
            usual, usual_size = anchor.rate * rate * doubt, anchor.size * size
            most, least = usual * rules.budget, anchor.rate * rate / (rules.budget * doubt)
            largest, smallest = usual_size * rules.budget, usual_size / rules.budget
            if profile.rate >= usual * rules.crept or profile.size >= usual_size * rules.crept:
                drifted.add(device_id)
            found[device_id] = replace(
                profile,
                rate=float(np.clip(profile.rate, least, most)),
                size=float(np.clip(profile.size, smallest, largest)),
            )
        self.drifted = frozenset(drifted)
        return found

    def _common(
        self, moved: Mapping[str, Profile], types: Mapping[str, str]
    ) -> dict[str, tuple[float, float]]:
        """By type, how far rate and size of the middle device have moved from what was first learnt."""
        ratios: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for device_id, profile in moved.items():
            anchor = self.anchors.get(device_id, profile)
            ratios[types[device_id]].append((profile.rate / anchor.rate, profile.size / anchor.size))
        limit = self.rules.common
        return {
            kind: _middle(found, limit) if len(found) >= 4 else (1.0, 1.0) for kind, found in ratios.items()
        }


def _middle(ratios: Sequence[tuple[float, float]], limit: float) -> tuple[float, float]:
    middle = np.clip(np.median(np.array(ratios), axis=0), 1.0 / limit, limit)
    return float(middle[0]), float(middle[1])


def _profile(before: Profile, tally: _Tally, *, weight: float) -> Profile:
    """The profile moved towards what was seen by this weight (0 to 1)."""
    seen = tally.messages / max(tally.seconds, 1)
    size = tally.bytes / tally.messages if tally.messages else before.size
    return replace(
        before,
        rate=before.rate + weight * (seen - before.rate),
        size=max(1.0, before.size + weight * (size - before.size)),
    )
