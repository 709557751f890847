"""The features of every device's window, and of the fleet: each with its unit and meaning. `docs/model.md` shows them."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

FEATURES_VERSION = 4
"""2: payload shapes, readings, replays, takeovers, largest payloads, changes within a session, visits, half-open.
3: values walk farther while all peers read more often. 4: `reading_excess`."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature: its unit and meaning, whether detectors score it, and its smallest credible spread.

    `floor` is the standard deviation below which no clean sample is believed (features that never vary in
    clean traffic have a measured spread of zero).
    """

    name: str
    unit: str
    meaning: str
    scored: bool = False
    floor: float = 1.0


DEVICE_FEATURES: tuple[Feature, ...] = (
    Feature(
        "rate_excess",
        "Poisson sd",
        "messages beyond what the device's own history, its peers' rise now and its kept readings explain; "
        "the largest of 5, 15 and 30 s while still going on",
        scored=True,
    ),
    # two events (z = 1.9) must stand out, one (z = 1.1) must not: 1.9 / 0.4 = 4.7, 1.1 / 0.4 = 2.8
    Feature("novel", "count sd", "topic patterns that its type never used", scored=True, floor=0.4),
    # three events in a minute (z = 2.45) must stand out: 2.45 / 0.65 = 3.8
    Feature("novel_slow", "count sd", "the same over 60 s, while still going on", scored=True, floor=0.65),
    Feature(
        "authorization", "count sd", "refused publishes and subscribes beyond peers", scored=True, floor=0.4
    ),
    Feature("authentication", "count sd", "refused connects beyond peers", scored=True, floor=0.4),
    Feature("authentication_slow", "count sd", "both failures over 60 s", scored=True, floor=0.75),
    Feature("throttled", "count sd", "messages throttled beyond peers", scored=True, floor=0.4),
    # 0.15 of a doubling is 11 %: payloads breathe by some digits, a rollout adds hundreds of bytes
    Feature(
        "size_excess", "doublings", "mean payload against own and peers' size now", scored=True, floor=0.15
    ),
    # two messages that cannot be read (z = 1.9) must stand out
    Feature(
        "malformed",
        "count sd",
        "messages that lack fields, give them other types or are no JSON",
        scored=True,
        floor=0.4,
    ),
    Feature(
        "malformed_slow",
        "count sd",
        "seconds with such messages in the last 60 s, while going on",
        scored=True,
        floor=0.75,
    ),
    Feature(
        "replayed",
        "count sd",
        "old payloads once more and counters that went back, beyond its type's learnt share",
        scored=True,
        floor=0.4,
    ),
    Feature(
        "replayed_slow",
        "count sd",
        "seconds with such messages in the last 60 s, while going on",
        scored=True,
        floor=0.75,
    ),
    Feature(
        "takeovers",
        "count sd",
        "times its client id was taken over in the last 60 s, beyond peers",
        scored=True,
        floor=0.4,
    ),
    Feature(
        "rejected",
        "count sd",
        "connections ended for what it sent in the last 60 s, beyond peers",
        scored=True,
        floor=0.4,
    ),
    # one doubling beyond the largest payload ever learnt for it or its type is a third of what counts
    Feature(
        "size_jump",
        "doublings",
        "largest payload of the window beyond the largest learnt and the peers' growth",
        scored=True,
        floor=0.5,
    ),
    Feature(
        "changed",
        "count sd",
        "messages of the last 15 s with new fields or twice the size since the middle of a session",
        scored=True,
        floor=0.4,
    ),
    Feature(
        "creep",
        "sd",
        "messages of the last 30 s beyond own history and peers, in the spread of its type's rhythm",
    ),
    Feature(
        "value_shift",
        "sd",
        "largest move of a value within 5 to 60 s against its learnt walk, its peers, and how many more readings all take",
        scored=True,
        floor=2.5,
    ),
    Feature(
        "value_frozen",
        "decades",
        "how unlikely it is that a value stays the same this often, inside its range",
        scored=True,
        floor=3.0,
    ),
    Feature(
        "visits",
        "count sd",
        "connects of the last 15 s of a client id never learnt that never published",
        scored=True,
        floor=0.4,
    ),
    Feature("messages", "count", "messages in the window"),
    Feature("bytes", "bytes", "payload bytes in the window"),
    Feature("size", "bytes", "mean payload"),
    Feature("size_max", "bytes", "largest payload"),
    Feature("size_own", "bytes", "mean payload learnt for the device"),
    Feature("size_peers", "ratio", "median over peers of mean payload now to learnt"),
    Feature("expected_own", "count", "messages that the device's own history expects in the window"),
    Feature("expected", "count", "the same with the peers' rise and the kept readings"),
    Feature("ratio", "ratio", "messages over `expected`, on the span where the excess is largest"),
    Feature("ratio_own", "ratio", "messages over `expected_own`, kept readings allowed for"),
    Feature("ratio_peers", "ratio", "the same-type peers' messages over what they expect (winsorised sum)"),
    Feature("ratio_own_slow", "ratio", "the same over 15 s"),
    Feature("loud_seconds", "s", "seconds of the window with more than 3 x expected + 1 messages"),
    Feature("novel_events", "count", "novel topic patterns, summed over the window's seconds"),
    Feature("novel_seconds", "s", "seconds of the window with a novel topic"),
    Feature("failures", "count", "authorisation and authentication failures in the window"),
    Feature("failure_seconds", "s", "seconds of the window with such a failure"),
    Feature("peer_failures", "count", "trimmed mean of the peers' failures in the window"),
    Feature("throttle_events", "count", "throttled messages in the window"),
    Feature("connects", "count", "connects in the window"),
    Feature("disconnects", "count", "disconnects in the window"),
    Feature("since_connect", "s", "seconds since the last connect, 60 if longer"),
    Feature("novel_patterns", "count", "distinct novel topic patterns in the last 60 s"),
    Feature(
        "novel_foreign",
        "0 or 1",
        "whether one of them is outside the branch of topics that is the device's own",
    ),
    Feature("novel_company", "count", "devices of its type with the same novel pattern, itself included"),
    Feature("novel_spread", "s", "time between the first and the last of them to begin"),
    Feature("novel_joined", "s", "time since the last of them began"),
    Feature("novel_age", "s", "time since the device began"),
    Feature("novel_slow_seconds", "s", "seconds with a novel topic in the last 60 s"),
    Feature("novel_interval", "s", "mean time until one of them speaks on it again"),
    Feature("novel_messages", "count", "messages of the window on novel topics"),
    Feature(
        "reading_excess",
        "sd",
        "the window's other messages beyond `expected`, in the spread of its type's rhythm",
    ),
    Feature("malformed_events", "count", "messages of the window that no consumer can read"),
    Feature("malformed_seconds", "s", "seconds with such messages in the last 60 s"),
    Feature("replayed_events", "count", "old messages once more in the window"),
    Feature("replayed_seconds", "s", "seconds with such messages in the last 60 s"),
    Feature("takeover_events", "count", "takeovers of its client id in the last 60 s"),
    Feature("takeovers_foreign", "count", "those by another principal or from another address"),
    Feature("takeovers_recent", "count", "those of the last 15 s"),
    Feature("rejected_events", "count", "connections ended for what it sent in the last 60 s"),
    Feature("size_largest", "bytes", "largest payload learnt for it or its type"),
    Feature("large_seconds", "s", "seconds of the window with a payload twice as large as any learnt"),
    Feature("changed_events", "count", "messages of the last 15 s that changed in the middle of a session"),
    Feature("changed_share", "ratio", "share of the peers whose messages changed so"),
    Feature(
        "louder_peers",
        "count",
        "devices of its group that send twice what they should over 15 s, itself included",
    ),
    Feature("peers", "count", "devices of its group"),
    Feature(
        "steady_ratio",
        "ratio",
        "messages of the last 15 s over what history, peers and kept readings explain",
    ),
    Feature(
        "value_ratio",
        "ratio",
        "how far the value that moved most is outside its learnt range, in widths of it",
    ),
    Feature("value_same", "count", "readings in a row without any change"),
    Feature(
        "visit_events", "count", "connects of the last 15 s of a client id never learnt that never published"
    ),
    Feature("known", "0 or 1", "whether the device was there while the model learnt"),
)
SCORED: tuple[Feature, ...] = tuple(feature for feature in DEVICE_FEATURES if feature.scored)

FLEET_FEATURES: Mapping[str, str] = MappingProxyType(
    {
        "devices": "devices that are known and not shut out",
        "messages": "messages in the window",
        "expected": "messages that own history, peers' rise and kept readings explain",
        "uptick_ratio": "the same with each device's part capped at 3 x own + 3",
        "uptick": "messages over expected, floods included (ratio)",
        "uptick_z": "the same in Poisson sd, each device's part capped so that a few cannot make an uptick",
        "share_up": "share of devices above 1.3 x their own rate over 15 s",
        "churn": "share of devices that connected or disconnected in the last 10 s",
        "storm": "share of devices that disconnected in the last 60 s",
        "surge": "largest median over a group of peers of messages over own expectation and what was announced (ratio)",
        "gini": "Gini coefficient of messages over devices (0 = all equal)",
        "entropy": "normalised entropy of messages over devices (1 = all equal)",
        "seconds": "seconds of history",
        "visits": "connects of the last 15 s of client ids never learnt that never published",
        "visitors": "how many such client ids there were",
        "half_open": "connections that waited for their CONNECT, the least of the last 3 s",
        "half_open_learnt": "the most of them at once while the model learnt",
    }
)
