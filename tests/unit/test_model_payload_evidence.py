"""Signs in payloads and connections: each hostile sign is security evidence, its harmless neighbour is not."""

import pytest

from analytics.evidence import EvidenceRules, Signs, signs_of
from analytics.feature_table import DEVICE_FEATURES, FLEET_FEATURES
from contracts.messages import Window

RULES = EvidenceRules()
MALFORMED = {"malformed": 2.45, "malformed_events": 3.0, "malformed_seconds": 3.0}
REPLAYED = {"replayed": 2.45, "replayed_events": 3.0, "replayed_seconds": 3.0}
REPLAYED_ON = {"replayed_slow": 3.0, "replayed_seconds": 4.0}
TAKEOVERS = {"takeovers": 3.0, "takeover_events": 4.0}
STOLEN = {"takeovers": 2.45, "takeover_events": 3.0, "takeovers_foreign": 2.0}
HUGE = {"size_jump": 6.5, "large_seconds": 3.0, "size_max": 9000.0}
GREW = {"size_jump": 2.6, "large_seconds": 2.0, "changed_events": 2.0, "changed": 1.9}
CARRIED_OUT = {
    "size_jump": 3.6,
    "large_seconds": 2.0,
    "novel": 1.9,
    "novel_events": 2.0,
    "novel_seconds": 2.0,
    "novel_patterns": 1.0,
}
CREEPS = {"changed": 3.0, "changed_events": 6.0, "steady_ratio": 1.5, "creep": 4.0}
STEADY = {"steady_ratio": 3.6, "creep": 9.0, "louder_peers": 1.0, "peers": 20.0, "known": 1.0}
FALSE = {"value_shift": 21.0, "value_ratio": 1.5}
REJECTED = {"rejected": 3.0, "rejected_events": 5.0}
FROZEN = {"value_frozen": 22.0, "value_same": 11.0}


def _signs(changes: dict[str, float], **fleet: float) -> Signs:
    quiet = dict.fromkeys([feature.name for feature in DEVICE_FEATURES], 0.0)
    quiet |= {"expected_own": 5.0, "expected": 5.0, "ratio_peers": 1.0, "since_connect": 60.0, "peers": 20.0}
    quiet |= {"size_own": 100.0, "size_largest": 100.0, "size_peers": 1.0}
    calm = dict.fromkeys(FLEET_FEATURES, 0.0) | fleet
    return signs_of(Window("d", "meter", 0, 5, quiet | changes), calm, RULES)


@pytest.mark.parametrize(
    "signs",
    [MALFORMED, REPLAYED_ON, TAKEOVERS, STOLEN, HUGE, CARRIED_OUT, CREEPS, STEADY, FALSE, REJECTED],
    ids=lambda signs: next(iter(signs)),
)
def test_what_is_plain_makes_one_device_enough(signs: dict[str, float]) -> None:
    found = _signs(signs)
    assert found.security
    assert found.strong


@pytest.mark.parametrize("signs", [REPLAYED, GREW, FROZEN], ids=lambda signs: next(iter(signs)))
def test_what_is_a_sign_but_not_plain(signs: dict[str, float]) -> None:
    found = _signs(signs)
    assert found.security
    assert not found.strong


@pytest.mark.parametrize(
    ("signs", "why"),
    [
        ({**MALFORMED, "malformed_seconds": 1.0}, "one odd second may be one odd reading"),
        ({**REPLAYED, "since_connect": 3.0}, "after a reconnect what was not acknowledged comes once more"),
        ({"takeovers": 1.9, "takeover_events": 2.0}, "a bad network leaves dead connections behind"),
        ({**HUGE, "large_seconds": 1.0}, "one large message"),
        ({**HUGE, "size_jump": 3.0}, "a new firmware, it came after a reboot"),
        ({**CREEPS, "changed_share": 0.6}, "most peers do it: an operator asked for it"),
        ({**CREEPS, "steady_ratio": 1.1}, "larger but not more"),
        ({**STEADY, "louder_peers": 5.0}, "a change of sampling concerns many"),
        ({**STEADY, "since_connect": 20.0}, "it rebooted"),
        ({**STEADY, "known": 0.0}, "of a new device nobody knows what is usual"),
        ({"value_shift": 9.0, "value_ratio": 3.0}, "within what a walk may do"),
        ({"value_frozen": 12.0}, "a pause"),
        ({"rejected": 1.9, "rejected_events": 2.0}, "twice is bad luck"),
    ],
)
def test_what_has_another_explanation_is_no_security_evidence(signs: dict[str, float], why: str) -> None:
    assert not _signs(signs).security, why


def test_in_a_storm_it_takes_more_takeovers() -> None:
    three = {"takeovers": 2.5, "takeover_events": 3.0}
    assert _signs(three).security
    assert not _signs(three, storm=0.5).security


def test_a_rebooted_device_with_a_new_topic_and_larger_payloads_is_not_carrying_anything_out() -> None:
    assert not _signs({**CARRIED_OUT, "since_connect": 5.0}).strong


SPREADS = {
    "novel_spread": 8.0, "novel_interval": 1.0, "novel_joined": 25.0, "novel_age": 33.0, "novel_slow_seconds": 9.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("novel", "sign"),
    [
        ({"novel_company": 5.0, "novel_spread": 8.0, "novel_interval": 1.0, "novel_joined": 5.0}, False),
        ({"novel_company": 5.0, "novel_spread": 0.0, "novel_joined": 6.0}, True),
        ({"novel_company": 5.0, "novel_spread": 0.0, "novel_joined": 1.0}, False),
        ({"novel_company": 8.0, "novel_spread": 1.0, "novel_joined": 2.0}, True),
        ({"novel_company": 4.0, "novel_spread": 2.0, "novel_joined": 3.0}, False),
        ({"novel_company": 1.0, "novel_joined": 25.0, "novel_age": 25.0, "novel_slow_seconds": 4.0}, True),
        ({"novel_company": 1.0, "novel_joined": 9.0, "novel_age": 9.0, "novel_slow_seconds": 4.0}, False),
        ({"novel_foreign": 1.0}, True),
        ({"novel_patterns": 3.0}, True),
        ({"ratio_own": 3.0, "reading_excess": 8.0}, True),
        ({"ratio_own": 3.0, "reading_excess": 2.0}, False),
        ({**SPREADS, "novel_company": 2.0, "peers": 5.0}, False),
        ({**SPREADS, "novel_company": 2.0, "peers": 6.0}, True),
        ({**SPREADS, "novel_company": 3.0, "peers": 300.0}, True),
    ],
    ids=[
        "cascade",
        "together",
        "forming",
        "many-at-once",
        "few-so-far",
        "habit",
        "young",
        "foreign",
        "several",
        "louder",
        "louder-by-chance",
        "two-of-five",
        "two-of-six",
        "three-of-many",
    ],
)
def test_what_a_new_topic_means(novel: dict[str, float], sign: bool) -> None:  # noqa: FBT001 - a parameter of the test
    base = {"novel": 3.0, "novel_events": 5.0, "novel_seconds": 4.0, "novel_patterns": 1.0, "novel_age": 9.0}
    assert _signs({**base, **novel}).security is sign
