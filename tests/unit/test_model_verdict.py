"""The decision: persistence, classes of evidence, breadth, confidence and its sentence."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.counting import count_z
from analytics.evidence import EvidenceRules, signs_of
from analytics.features import DEVICE_FEATURES, FLEET_FEATURES
from analytics.known import NOTHING, Known
from analytics.verdict import Rules, Tick, decide
from contracts.messages import FLEET, SECOND, Evidence, Score, Verdict, Window

FLOOD = {"rate_excess": 15.0, "ratio": 18.0, "ratio_own": 18.0, "loud_seconds": 5.0, "messages": 90.0}
BOT = {
    "novel": 2.0,
    "novel_events": 2.0,
    "novel_seconds": 2.0,
    "novel_patterns": 1.0,
    "novel_foreign": 1.0,
    "ratio_own": 1.2,
}
LOAD = {"rate_excess": 4.0, "ratio": 2.5, "ratio_own": 2.5, "loud_seconds": 1.0}


def _window(name: str, **changes: float) -> Window:
    quiet = dict.fromkeys([feature.name for feature in DEVICE_FEATURES], 0.0)
    quiet |= {
        "expected_own": 5.0,
        "expected": 5.0,
        "ratio_peers": 1.0,
        "since_connect": 60.0,
        "size_own": 100.0,
    }
    return Window(name, "meter", 0, 5 * SECOND, quiet | changes)


def _fleet(devices: int, **changes: float) -> Window:
    quiet = dict.fromkeys(FLEET_FEATURES, 0.0) | {"uptick": 1.0, "surge": 1.0, "devices": float(devices)}
    return Window(FLEET, "", 0, 5 * SECOND, quiet | changes)


def _judge(
    odd: Mapping[str, Mapping[str, float]],
    *,
    ticks: int = 3,
    fleet: Mapping[str, float] | None = None,
    size: int = 20,
    trained: bool = True,
    guests: Sequence[str] = (),
    past: Sequence[Tick] = (),
    known: Known = NOTHING,
) -> list[Verdict]:
    windows = [_window(f"d{n}", **odd.get(f"d{n}", {})) for n in range(size)]
    windows += [_window(name, visit_events=1.0) for name in guests]
    past = list(past)
    verdicts: list[Verdict] = []
    for _ in range(ticks):
        scores = [Score(w.device_id, w.end, 9.0 if w.device_id in odd else 1.0, 3.0) for w in windows]
        verdict, tick = decide(
            windows=windows,
            fleet=_fleet(size, **(fleet or {})),
            scores=scores if trained else None,
            past=past,
            decided_at=7,
            rules=Rules(),
            known=known,
        )
        past.append(tick)
        verdicts.append(verdict)
    return verdicts


def _kinds(verdicts: Sequence[Verdict]) -> list[str]:
    return [verdict.kind for verdict in verdicts]


def _last(odd: Mapping[str, Mapping[str, float]], **given: Any) -> str:
    return _judge(odd, **given)[-1].kind


def test_quiet_is_normal() -> None:
    verdict = _judge({})[-1]
    assert (verdict.kind, verdict.devices, verdict.evidence) == ("normal", (), ())
    assert verdict.confidence > 0.8
    assert verdict.decided_at == 7


def test_one_window_is_not_enough_two_of_three_are() -> None:
    assert _kinds(_judge({"d1": FLOOD})) == ["normal", "attack", "attack"]


def test_three_moderate_devices_are_an_attack_two_are_not_at_once() -> None:
    assert _kinds(_judge({"d1": BOT, "d2": BOT, "d3": BOT}))[-1] == "attack"
    assert "attack" not in _kinds(_judge({"d1": BOT, "d2": BOT}))


def test_two_moderate_devices_are_doubt_then_an_attack_when_they_keep_on() -> None:
    kinds = _kinds(_judge({"d1": BOT, "d2": BOT}, ticks=20))
    assert kinds == ["normal"] * 7 + ["undecided"] * 7 + ["attack"] * 6, "8 of the last 10, 15 of the last 20"
    assert _last({"d1": BOT, "d2": BOT}, ticks=10, fleet={"churn": 0.4}) == "benign_uptick", (
        "a rise explains doubt"
    )


def test_hits_of_long_ago_do_not_linger() -> None:
    bots = {"d1": BOT, "d2": BOT}
    hot = Tick(0, hot=frozenset(bots))
    assert _last(bots, ticks=2, past=[hot] * 13 + [Tick(0)] * 5) == "attack"
    assert _last(bots, ticks=2, past=[hot] * 13 + [Tick(0)] * 6) == "normal", "its first hit is 21 ticks old"
    assert _last(bots, ticks=2, past=[hot] * 6 + [Tick(0)] * 2) == "undecided"
    assert _last(bots, ticks=2, past=[hot] * 6 + [Tick(0)] * 3) == "normal", "its first hit is 11 ticks old"


def test_after_an_attack_one_more_device_is_an_accomplice() -> None:
    windows = [_window(f"d{n}", **(BOT if n == 1 else {})) for n in range(20)]
    scores = [Score(w.device_id, w.end, 9.0 if w.device_id == "d1" else 1.0, 3.0) for w in windows]
    hot = Tick(0, hot=frozenset({"d1"}))
    for attack, kind in ((True, "attack"), (False, "normal")):
        past = [Tick(0, attack=attack), hot]
        verdict, _ = decide(
            windows=windows, fleet=_fleet(20), scores=scores, past=past, decided_at=0, rules=Rules()
        )
        assert verdict.kind == kind


@pytest.mark.parametrize(("ago", "kind"), [(58, "attack"), (59, "normal")])
def test_an_attack_is_remembered_for_a_minute(ago: int, kind: str) -> None:
    past = [Tick(0, attack=True), *[Tick(0)] * (ago - 1), Tick(0, hot=frozenset({"d1"}))]
    assert _last({"d1": BOT}, ticks=1, past=past) == kind


def test_load_alone_is_an_uptick_and_accuses_nobody() -> None:
    verdict = _judge({f"d{n}": LOAD for n in range(5)})[-1]
    assert (verdict.kind, verdict.devices) == ("benign_uptick", ())
    assert set(verdict.watched) == {f"d{n}" for n in range(5)}
    assert {item.weight for item in verdict.evidence} == {"load"}


@pytest.mark.parametrize("fleet", [{"uptick_z": 9.0, "uptick_ratio": 2.0, "uptick": 2.0}, {"churn": 0.4}])
def test_a_rise_or_reconnects_of_the_fleet_are_an_uptick(fleet: dict[str, float]) -> None:
    assert _judge({}, fleet=fleet)[-1].kind == "benign_uptick"


@pytest.mark.parametrize(
    ("fleet", "size", "kind"),
    [
        ({"uptick_z": 4.5, "uptick_ratio": 1.15}, 20, "benign_uptick"),
        ({"uptick_z": 4.4, "uptick_ratio": 1.15}, 20, "normal"),
        ({"uptick_z": 4.5, "uptick_ratio": 1.14}, 20, "normal"),
        ({"churn": 0.05}, 50, "benign_uptick"),
        ({"churn": 0.05}, 49, "normal"),
        ({"churn": 0.049}, 60, "normal"),
        ({"surge": 8.0}, 20, "undecided"),
        ({"surge": 7.9}, 20, "normal"),
    ],
)
def test_limits_of_the_fleets_window(fleet: dict[str, float], size: int, kind: str) -> None:
    assert _kinds(_judge({}, fleet=fleet, size=size)) == ["normal", kind, kind], (
        "two of the last three windows"
    )


@pytest.mark.parametrize(
    ("loaded", "size", "kind"),
    [(1, 20, "normal"), (2, 20, "benign_uptick"), (3, 100, "normal"), (4, 100, "benign_uptick")],
)
def test_two_devices_and_4_percent_under_load_are_an_uptick(loaded: int, size: int, kind: str) -> None:
    assert _last({f"d{n}": LOAD for n in range(loaded)}, size=size) == kind


def test_an_uptick_says_since_when() -> None:
    (verdict,) = _judge({}, ticks=1, fleet={"rising": 3.0})
    assert verdict.uptick_since == verdict.at - 3 * SECOND
    assert _judge({}, ticks=1)[0].uptick_since is None


def test_a_device_whose_drift_is_used_up_is_undecided() -> None:
    load = {"d1": LOAD}
    assert _last(load, known=Known(drifted=frozenset({"d1"}))) == "undecided"
    assert _last(load, known=Known(drifted=frozenset({"d2"}))) == "normal", "one that nobody flags"


def test_clients_that_nobody_knows_are_accused_while_they_come() -> None:
    guests = ("g2", "g1")
    verdicts = _judge({}, guests=guests, fleet={"visits": 10.0, "visitors": 3.0})
    assert _kinds(verdicts) == ["normal", "attack", "attack"]
    assert verdicts[-1].devices == ("g1", "g2")
    assert verdicts[-1].evidence[0] == Evidence(
        FLEET, "visits", 10.0, 0.0, 0.0, count_z(10.0, 0.0), "security"
    )
    past = [Tick(0, outside=frozenset({"visits"}))] * 2
    assert _last({}, ticks=1, guests=guests, past=past) == "normal", "they came before, and do not any more"


@pytest.mark.parametrize("fleet", [{"visits": 9.0, "visitors": 3.0}, {"visits": 10.0, "visitors": 2.0}])
def test_an_installer_that_connects_some_times_is_no_flood(fleet: dict[str, float]) -> None:
    assert _last({}, guests=("g1",), fleet=fleet) == "normal"


@pytest.mark.parametrize(
    ("learnt", "waiting", "kind"),
    [(2.0, 7.0, "attack"), (2.0, 6.0, "normal"), (4.0, 12.0, "attack"), (4.0, 11.0, "normal")],
)
def test_connections_that_wait_for_their_connect_are_an_attack_without_a_name(
    learnt: float, waiting: float, kind: str
) -> None:
    verdict = _judge({}, guests=("g1",), fleet={"half_open": waiting, "half_open_learnt": learnt})[-1]
    assert (verdict.kind, verdict.devices) == (kind, ())
    told = [(one.feature, one.value, one.own, one.peers) for one in verdict.evidence]
    assert told == ([("half_open", waiting, learnt, learnt)] if kind == "attack" else [])


def test_an_attack_inside_an_uptick_is_an_attack_of_the_hostile_only() -> None:
    odd = {f"d{n}": LOAD for n in range(10)} | {"d3": {**LOAD, **FLOOD}}
    verdict = _judge(odd, fleet={"churn": 0.4, "uptick_z": 20.0, "uptick_ratio": 3.0})[-1]
    assert (verdict.kind, verdict.devices) == ("attack", ("d3",))
    assert set(verdict.watched) == {f"d{n}" for n in range(10)} - {"d3"}


def test_a_rollout_wave_doubles_rate_and_grows_payloads_without_becoming_an_attack() -> None:
    wave = {**LOAD, "size_excess": 4.0, "connects": 1.0, "since_connect": 1.0}
    assert _judge({"d1": wave, "d2": wave, "d3": wave})[-1].kind == "benign_uptick"


def test_size_lowers_what_other_signs_must_show() -> None:
    one = {"novel": 1.1, "novel_events": 1.0, "novel_seconds": 1.0, "novel_foreign": 1.0}
    assert not signs_of(_window("a", **one), _fleet(9).features, EvidenceRules()).security
    larger = {**one, "size_excess": 1.0}
    assert signs_of(_window("a", **larger), _fleet(9).features, EvidenceRules()).security
    rebooted = larger | {"since_connect": 3.0}
    assert not signs_of(_window("a", **rebooted), _fleet(9).features, EvidenceRules()).security


@pytest.mark.parametrize(
    "signs",
    [
        FLOOD,
        BOT,
        {"authorization": 2.0, "failures": 2.0, "failure_seconds": 2.0},
        {"authentication": 2.0, "failures": 2.0, "failure_seconds": 2.0},
        {"authentication_slow": 3.0, "failures": 1.0},
        {"novel_slow": 3.0, "novel_events": 1.0, "novel_foreign": 1.0},
        {"throttled": 3.0, "throttle_events": 5.0, "loud_seconds": 3.0, "ratio": 3.0},
    ],
)
def test_each_hostile_sign_is_security_evidence(signs: dict[str, float]) -> None:
    assert signs_of(_window("a", **signs), _fleet(9).features, EvidenceRules()).security


def test_a_burst_right_after_a_fleetwide_reconnect_is_load() -> None:
    burst = {**FLOOD, "rate_excess": 9.0, "ratio": 8.0, "since_connect": 2.0, "throttled": 4.0}
    stormy = _fleet(9, storm=0.9).features
    assert not signs_of(_window("a", **burst), stormy, EvidenceRules()).security
    assert signs_of(_window("a", **burst), _fleet(9).features, EvidenceRules()).security
    assert signs_of(_window("a", **(burst | {"since_connect": 30.0})), stormy, EvidenceRules()).security


def test_most_of_a_type_hostile_together_is_undecided_and_accuses_nobody() -> None:
    verdict = _judge({f"d{n}": FLOOD for n in range(15)})[-1]
    assert (verdict.kind, verdict.devices) == ("undecided", ())
    assert "would settle it" in verdict.summary


def test_three_fifths_of_a_type_are_still_an_attack_and_of_three_devices_all() -> None:
    assert _last({f"d{n}": FLOOD for n in range(12)}) == "attack"
    assert _last({f"d{n}": FLOOD for n in range(13)}) == "undecided"
    assert _last({f"d{n}": FLOOD for n in range(3)}, size=3) == "attack"
    assert _last({f"d{n}": FLOOD for n in range(4)}, size=4) == "undecided"


def test_a_surge_of_a_whole_type_is_undecided() -> None:
    assert _judge({}, fleet={"surge": 12.0})[-1].kind == "undecided"


def test_while_learning_only_plain_signs_count() -> None:
    assert _judge({f"d{n}": BOT for n in range(5)}, trained=False)[-1].kind == "normal"
    learning = _judge({}, trained=False)[-1]
    assert learning.confidence < 0.5
    assert "Learning" in learning.summary
    for plain in ({**FLOOD, "ratio": 20.0}, {**FLOOD, "failures": 5.0}):
        assert _kinds(_judge({"d1": plain}, trained=False)) == ["normal", "normal", "attack"]
    assert _last({"d1": {**FLOOD, "ratio": 19.0, "failures": 4.0}}, trained=False) == "normal"


def test_the_sentence_names_devices_signs_and_figures() -> None:
    summary = _judge({"d4": FLOOD})[-1].summary
    assert "1 device (d4)" in summary
    assert "90 messages in 5 s (own 5.0, peers 5.0)" in summary


def test_the_strongest_device_comes_first() -> None:
    odd = {"d1": BOT, "d2": FLOOD, "d3": BOT}
    assert _judge(odd)[-1].devices == ("d2", "d1", "d3")


@pytest.mark.parametrize(
    ("fleet", "odd", "confidence"),
    [
        ({"visits": 10.0, "visitors": 3.0}, {}, 1 - 0.5 * math.exp(-1 / 5)),
        ({"half_open": 21.0, "half_open_learnt": 2.0}, {}, 1 - 0.5 * math.exp(-3 / 5)),
        ({"uptick_z": 9.0, "uptick_ratio": 2.0}, {}, 1 - 0.5 * math.exp(-2 / 4)),
        ({"churn": 0.2}, {}, 1 - 0.5 * math.exp(-4 / 4)),
        ({}, {"d1": LOAD, "d2": LOAD}, 1 - 0.5 * math.exp(-2 / 4)),
        ({"surge": 8.0}, {}, 0.3),
        ({}, {}, 1 - 0.5 / 3),
        ({}, {"d1": LOAD}, 0.5),
    ],
)
def test_confidence_follows_what_was_seen(
    fleet: dict[str, float], odd: dict[str, dict[str, float]], confidence: float
) -> None:
    """Flagged devices score three times their threshold, the others a third of it."""
    assert _judge(odd, fleet=fleet)[-1].confidence == pytest.approx(confidence)


def test_an_uptick_that_ebbs_is_told_with_the_least_confidence() -> None:
    (verdict,) = _judge({}, ticks=1, past=[Tick(0, up=True)] * 2)
    assert (verdict.kind, verdict.confidence) == ("benign_uptick", 0.5)


def test_hostile_signs_inside_an_uptick_lower_its_confidence() -> None:
    rise = {"uptick_z": 9.0, "uptick_ratio": 2.0}
    alone, beside = (_judge(odd, fleet=rise)[-1] for odd in ({}, {"d1": BOT}))
    assert (beside.kind, beside.watched) == ("benign_uptick", ("d1",))
    assert 0.5 * alone.confidence < beside.confidence < alone.confidence


def test_twenty_devices_are_shown_with_three_signs_each() -> None:
    verdict = _judge(
        {
            f"d{n}": {**FLOOD, **BOT, "authorization": 2.0, "failures": 2.0, "failure_seconds": 2.0}
            for n in range(25)
        },
        size=60,
    )[-1]
    assert (verdict.kind, len(verdict.devices)) == ("attack", 25)
    assert {one.device_id for one in verdict.evidence} == set(verdict.devices[:20])
    assert len(verdict.evidence) == 60


@given(first=st.floats(7.0, 60.0), more=st.floats(0.0, 100.0), count=st.integers(1, 6))
def test_confidence_of_an_attack_never_falls_with_more_evidence(
    first: float, more: float, count: int
) -> None:
    def confidence(z: float, devices: int) -> float:
        odd = {f"d{n}": {**FLOOD, "rate_excess": z} for n in range(devices)}
        verdict = _judge(odd)[-1]
        assert verdict.kind == "attack"
        return verdict.confidence

    assert 0.5 <= confidence(first, count) <= confidence(first + more, count) <= 1.0
    assert confidence(first, count) <= confidence(first, count + 1)
