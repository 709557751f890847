"""Signs in what devices send and in how they connect: payload shapes, sizes, values, repetitions, takeovers.

Each function yields the evidence of one sign with its strength over its limit; `plain` says what is so plain that
one device is enough for an attack.
"""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from contracts.messages import Evidence, EvidenceClass, Window

from .evidence_rules import EvidenceRules

Found: TypeAlias = Iterator[tuple[Evidence, float]]
Features: TypeAlias = Mapping[str, float]


def found_in(window: Window, fleet: Features, rules: EvidenceRules) -> Found:
    """All of it."""
    yield from _malformed(window, rules)
    yield from _replayed(window, rules)
    yield from _takeovers(window, fleet, rules)
    yield from _rejected(window, rules)
    yield from _size_jump(window, rules)
    yield from _changed(window, rules)
    yield from _steady(window, fleet, rules)
    yield from _values(window, rules)


def plain(features: Features, fleet: Features, rules: EvidenceRules) -> bool:
    """Whether one device is enough."""
    unreadable = (
        features["malformed"] >= rules.event_z
        and features["malformed_events"] >= 3
        and features["malformed_seconds"] >= 3
    ) or (features["malformed_slow"] >= rules.slow_z and features["malformed_seconds"] >= 5)
    replay = features["replayed_slow"] >= rules.slow_z and features["replayed_seconds"] >= 4
    storm = fleet["storm"] >= rules.storm
    doubles = features["takeovers"] >= rules.slow_z and features["takeover_events"] >= (5 if storm else 4)
    stolen = features["takeovers"] >= rules.thrice_z and features["takeovers_foreign"] >= 2
    huge = _grew(features, rules) and features["size_jump"] >= rules.size_doublings + 1.0
    # a settled device that sends several times its largest payload to a topic nobody knows: a new firmware reboots
    carried_out = (
        features["size_jump"] >= rules.size_doublings + 1.0
        and features["novel_events"] >= rules.seconds
        and features["large_seconds"] >= rules.seconds
        and features["since_connect"] >= rules.settled_seconds
    )
    creeping = _creeps(features, rules) and features["changed_events"] >= 5
    false = features["value_shift"] >= rules.value_strong_z and features["value_ratio"] >= 1.0
    return bool(
        unreadable
        or replay
        or doubles
        or stolen
        or huge
        or carried_out
        or creeping
        or false
        or _keeps_on(features, rules)
        or features["rejected"] >= rules.slow_z
    )


def _item(
    window: Window,
    feature: str,
    *,
    value: str,
    own: float = 0.0,
    peers: float = 0.0,
    weight: EvidenceClass = "security",
) -> Evidence:
    features = window.features
    return Evidence(window.device_id, feature, features[value], own, peers, features[feature], weight)


def _malformed(window: Window, rules: EvidenceRules) -> Found:
    features = window.features
    if features["malformed"] >= rules.event_z and features["malformed_seconds"] >= rules.seconds:
        yield _item(window, "malformed", value="malformed_events"), features["malformed"] / rules.event_z
    elif features["malformed_slow"] >= rules.slow_z:
        item = _item(window, "malformed_slow", value="malformed_seconds")
        yield item, features["malformed_slow"] / rules.slow_z


def _replayed(window: Window, rules: EvidenceRules) -> Found:
    features = window.features
    # after a reconnect a device sends once more what was not acknowledged
    if features["since_connect"] < rules.storm_seconds:
        return
    if features["replayed"] >= rules.event_z and features["replayed_seconds"] >= rules.seconds:
        yield _item(window, "replayed", value="replayed_events"), features["replayed"] / rules.event_z
    elif features["replayed_slow"] >= rules.slow_z:
        yield (
            _item(window, "replayed_slow", value="replayed_seconds"),
            features["replayed_slow"] / rules.slow_z,
        )


def _takeovers(window: Window, fleet: Features, rules: EvidenceRules) -> Found:
    features = window.features
    # a bad network leaves one dead connection behind, and now and then a second; a double comes back each time
    needed = rules.slow_z if fleet["storm"] >= rules.storm else rules.thrice_z
    if features["takeovers"] >= needed:
        yield _item(window, "takeovers", value="takeover_events"), features["takeovers"] / needed


def _rejected(window: Window, rules: EvidenceRules) -> Found:
    features = window.features
    if features["rejected"] >= rules.thrice_z:
        yield _item(window, "rejected", value="rejected_events"), features["rejected"] / rules.thrice_z


def _grew(features: Features, rules: EvidenceRules) -> bool:
    """Far larger than anything learnt, and a new firmware does not explain it."""
    jump = features["size_jump"]
    unprompted = (
        features["changed_events"] >= rules.seconds and features["changed_share"] < rules.changed_share
    )
    enough = rules.size_doublings if unprompted else rules.size_reboot_doublings
    return jump >= enough and features["large_seconds"] >= rules.seconds


def _size_jump(window: Window, rules: EvidenceRules) -> Found:
    features = window.features
    if features["size_jump"] < 1.0:
        return
    weight: EvidenceClass = "security" if _grew(features, rules) else "load"
    own = features["size_largest"]
    item = _item(
        window, "size_jump", value="size_max", own=own, peers=own * features["size_peers"], weight=weight
    )
    yield item, features["size_jump"] / rules.size_doublings


def _creeps(features: Features, rules: EvidenceRules) -> bool:
    """More messages, and more in each of them, since the middle of a session: nobody ordered that."""
    return (
        features["changed"] >= rules.event_z
        and features["changed_share"] < rules.changed_share
        and features["steady_ratio"] >= rules.changed_ratio
        and features["creep"] >= rules.changed_z
    )


def _changed(window: Window, rules: EvidenceRules) -> Found:
    features = window.features
    if features["changed"] >= rules.event_z:
        weight: EvidenceClass = "security" if _creeps(features, rules) else "load"
        yield (
            _item(window, "changed", value="changed_events", weight=weight),
            features["changed"] / rules.event_z,
        )


def _keeps_on(features: Features, rules: EvidenceRules) -> bool:
    few = features["louder_peers"] <= max(1.0, rules.steady_share * features["peers"])
    return bool(
        few
        and features["steady_ratio"] >= rules.steady_ratio
        and features["creep"] >= rules.steady_z
        and features["since_connect"] >= 4 * rules.settled_seconds
        and features["known"]
    )


def _steady(window: Window, fleet: Features, rules: EvidenceRules) -> Found:
    features = window.features
    if _keeps_on(features, rules) and fleet["storm"] < rules.storm:
        own = features["expected_own"]
        item = _item(window, "creep", value="messages", own=own, peers=own * features["ratio_peers"])
        yield item, features["steady_ratio"] / rules.steady_ratio


def _values(window: Window, rules: EvidenceRules) -> Found:
    features = window.features
    if features["value_shift"] >= rules.value_z:
        yield _item(window, "value_shift", value="value_shift"), features["value_shift"] / rules.value_z
    if features["value_frozen"] >= rules.frozen_decades:
        yield (
            _item(window, "value_frozen", value="value_same"),
            features["value_frozen"] / rules.frozen_decades,
        )
