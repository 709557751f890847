"""Which signs of a window are evidence, of which class, and how strong: pure rules, one function a sign.

Security evidence is what load does not do: topics its type never used, refused requests, throttling, and a
rate far beyond own history, peers and kept readings together. Rate, payload size and reconnects within what
a rollout or an outage does are load. Payload size is a soft hint: it turns nothing into security evidence by
itself, it only lowers the count of other signs that is needed.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from contracts.messages import Evidence, EvidenceClass, Window

from . import payload_evidence
from .evidence_rules import EvidenceRules
from .windows import WINDOW_SECONDS

__all__ = ["EvidenceRules", "Signs", "is_strong", "signs_of"]


@dataclass(frozen=True, slots=True)
class Signs:
    """What one window shows. `strength` is the largest security z over its limit, 0 without any."""

    evidence: tuple[Evidence, ...]
    strength: float
    strong: bool

    @property
    def security(self) -> bool:
        return self.strength > 0.0


def signs_of(
    window: Window,
    fleet: Mapping[str, float],
    rules: EvidenceRules,
    lenient: Mapping[str, float] = MappingProxyType({}),
) -> Signs:
    """All evidence of a window, strongest first, security before load.

    `lenient` says by feature what z it takes for this device to be security evidence, beyond the usual limit.
    """
    found = [*_rate(window, fleet, rules), *_novel(window, rules), *_refused(window, fleet, rules)]
    found += [*_throttled(window, fleet, rules), *_size(window, rules), *_connects(window)]
    found += payload_evidence.found_in(window, fleet, rules)
    found = [
        (replace(item, weight="load") if item.z < lenient.get(item.feature, 0.0) else item, relative)
        for item, relative in found
    ]
    found.sort(key=lambda pair: (pair[0].weight == "load", -pair[1]))
    strength = max((relative for item, relative in found if item.weight == "security"), default=0.0)
    excused = _excused(window, fleet, rules)
    strong = strength > 0.0 and is_strong(window.features, rules, excused=excused)
    strong = strong or (strength > 0.0 and payload_evidence.plain(window.features, fleet, rules))
    return Signs(tuple(item for item, _ in found), strength, strong)


def is_strong(features: Mapping[str, float], rules: EvidenceRules, *, excused: bool = False) -> bool:
    """Signs so plain that one device is enough for an attack."""
    flood = (
        features["rate_excess"] >= rules.strong_z
        and features["ratio"] >= rules.strong_ratio
        and features["loud_seconds"] >= rules.seconds
        and not excused
    )
    # a botnet's own topic at 1/s is 5 events; publishing up as well is more than a forgotten topic
    topics = features["novel_seconds"] >= 3 and features["novel_events"] >= 4 and _louder(features, rules)
    scan = features["novel_events"] >= 10
    habit = _novelty(features, rules) == "habit"
    guessing = (
        features["failures"] >= 5
        and features["failure_seconds"] >= 3
        and features["failures"] >= 4.0 * features["peer_failures"]
    )
    return bool(flood or topics or scan or habit or guessing)


Found = Iterator[tuple[Evidence, float]]


def _evidence(
    window: Window, feature: str, *, value: str, own: float, peers: float, weight: EvidenceClass
) -> Evidence:
    features = window.features
    return Evidence(window.device_id, feature, features[value], own, peers, features[feature], weight)


def _excused(window: Window, fleet: Mapping[str, float], rules: EvidenceRules) -> bool:
    features = window.features
    beyond = features["ratio"] >= rules.storm_ratio and features["rate_excess"] >= rules.storm_z
    fresh = features["since_connect"] < rules.storm_seconds
    return fleet["storm"] >= rules.storm and fresh and not beyond


def _rate(window: Window, fleet: Mapping[str, float], rules: EvidenceRules) -> Found:
    features = window.features
    z = features["rate_excess"]
    if z < rules.load_z:
        return
    flood = (
        z >= rules.flood_z
        and features["ratio"] >= rules.flood_ratio
        and features["loud_seconds"] >= rules.seconds
        and not _excused(window, fleet, rules)
    )
    own = features["expected_own"]
    peers = own * features["ratio_peers"]
    weight: EvidenceClass = "security" if flood else "load"
    relative = z / (rules.flood_z if flood else rules.load_z)
    yield _evidence(window, "rate_excess", value="messages", own=own, peers=peers, weight=weight), relative


def _louder(features: Mapping[str, float], rules: EvidenceRules) -> bool:
    """Whether its own readings have become twice as many as its peers' rise explains, novel topics left out.

    Readings at random intervals are twice as many in some window of any large company: by chance it must not be.
    """
    tenfold = math.log10(max(features["novel_company"], 1.0))
    if features["reading_excess"] < rules.louder_z + rules.louder_tenfold * tenfold:
        return False
    own = max(features["expected_own"], 0.5)
    rise = max(features["ratio_peers"], 1.0)
    return features["ratio_own"] - features["novel_messages"] / own >= 2.0 * rise


def _novelty(features: Mapping[str, float], rules: EvidenceRules) -> str:
    """What novel topics are a sign of: `cascade`, `forming` (too early to say), `habit` (one device), `odd`.

    Only one topic of the device's own branch, with payloads as small as ever and the readings as usual, may be
    something that happened to the device.
    """
    quiet = features["novel_patterns"] <= 1 and not features["novel_foreign"]
    if not quiet or _louder(features, rules) or features["size_jump"] >= 1.0 or features["failures"] >= 2:
        return "odd"
    company, spread = features["novel_company"], features["novel_spread"]
    spreads = spread >= max(rules.cascade_spread, rules.cascade_intervals * features["novel_interval"])
    few = max(2.0, rules.cascade_share * features["peers"])
    if company >= min(rules.cascade_devices, few) and spreads:
        return "cascade"
    if features["novel_joined"] < _joining(company, spread, rules):
        return "forming"
    if company >= 2 and spread < rules.cascade_spread:
        # they began together: by chance, or told to
        told = features["novel_age"] >= rules.together_seconds
        return "habit" if told and features["novel_slow_seconds"] >= rules.alone_times else "odd"
    lasts = (
        features["novel_age"] >= rules.alone_seconds and features["novel_slow_seconds"] >= rules.alone_times
    )
    return "habit" if lasts else "forming"


def _joining(company: float, spread: float, rules: EvidenceRules) -> float:
    """Seconds without a newcomer after which no more are to come."""
    often = rules.join_gaps * (spread + 1.0) / max(company, 1.0)
    apart = 2.0 * spread / max(company - 1.0, 1.0)
    return max(min(often, rules.join_seconds), rules.join_least, apart)


def _novel(window: Window, rules: EvidenceRules) -> Found:
    features = window.features
    if (
        not features["novel_events"]
        and features["novel_slow"] < rules.slow_z
        and not features["novel_slow_seconds"]
    ):
        return
    sign = _novelty(features, rules)
    # right after a reboot one new topic and a larger payload are what a new firmware does
    settled = features["since_connect"] >= rules.settled_seconds
    bigger = settled and features["size_excess"] >= rules.size_z * rules.size_floor
    repeated = features["novel_seconds"] >= rules.seconds or features["novel_events"] >= 5
    weight: EvidenceClass = "load" if sign in ("cascade", "forming") else "security"
    if (features["novel"] >= rules.event_z and repeated) or (bigger and features["novel_events"] >= 1):
        item = _evidence(window, "novel", value="novel_events", own=0.0, peers=0.0, weight=weight)
        yield item, max(1.0, features["novel"] / rules.event_z)
    elif features["novel_slow"] >= rules.slow_z or (sign == "habit" and features["novel_slow"] > 0):
        item = _evidence(window, "novel_slow", value="novel_slow_seconds", own=0.0, peers=0.0, weight=weight)
        yield item, max(1.0, features["novel_slow"] / rules.slow_z)


def _refused(window: Window, fleet: Mapping[str, float], rules: EvidenceRules) -> Found:
    features = window.features
    # everybody coming back at once is refused now and then; then it takes twice as much
    limit = rules.event_z * (2.0 if fleet["storm"] >= rules.storm else 1.0)
    repeated = features["failure_seconds"] >= rules.seconds or features["failures"] >= 5
    found = False
    for name in ("authorization", "authentication"):
        if features[name] >= limit and repeated:
            found = True
            peers = features["peer_failures"]
            item = _evidence(window, name, value="failures", own=0.0, peers=peers, weight="security")
            yield item, features[name] / limit
    slow = "authentication_slow"
    if not found and features[slow] >= rules.slow_z and fleet["storm"] < rules.storm:
        item = _evidence(
            window, slow, value="failures", own=0.0, peers=features["peer_failures"], weight="security"
        )
        yield item, features[slow] / rules.slow_z


def _throttled(window: Window, fleet: Mapping[str, float], rules: EvidenceRules) -> Found:
    features = window.features
    if features["throttled"] < rules.event_z or _excused(window, fleet, rules):
        return
    # a backlog can run into the throttle as well: only traffic that nothing explains is hostile
    loud = features["loud_seconds"] >= rules.seconds and features["ratio"] >= 2.0
    weight: EvidenceClass = "security" if loud else "load"
    yield (
        _evidence(window, "throttled", value="throttle_events", own=0.0, peers=0.0, weight=weight),
        features["throttled"] / rules.event_z,
    )


def _size(window: Window, rules: EvidenceRules) -> Found:
    features = window.features
    limit = rules.size_z * rules.size_floor
    if features["size_excess"] >= limit:
        own = features["size_own"]
        peers = own * features["size_peers"]
        item = _evidence(window, "size_excess", value="size", own=own, peers=peers, weight="load")
        yield item, features["size_excess"] / limit


def _connects(window: Window) -> Found:
    features = window.features
    if features["connects"] >= 1:
        item = Evidence(window.device_id, "connects", features["connects"], 0.0, 0.0, 0.0, "load")
        yield item, features["connects"] / WINDOW_SECONDS
