"""The decision: persistence, classes of evidence, breadth, confidence and its sentence."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.evidence import EvidenceRules, signs_of
from analytics.features import DEVICE_FEATURES, FLEET_FEATURES
from analytics.verdict import Rules, Tick, decide
from contracts.messages import FLEET, SECOND, Score, Verdict, Window

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
) -> list[Verdict]:
    windows = [_window(f"d{n}", **odd.get(f"d{n}", {})) for n in range(size)]
    past: list[Tick] = []
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
        )
        past.append(tick)
        verdicts.append(verdict)
    return verdicts


def _kinds(verdicts: Sequence[Verdict]) -> list[str]:
    return [verdict.kind for verdict in verdicts]


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
    assert kinds[5] == "normal"
    assert kinds[10] == "undecided"
    assert kinds[-1] == "attack"


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


def test_load_alone_is_an_uptick_and_accuses_nobody() -> None:
    verdict = _judge({f"d{n}": LOAD for n in range(5)})[-1]
    assert (verdict.kind, verdict.devices) == ("benign_uptick", ())
    assert set(verdict.watched) == {f"d{n}" for n in range(5)}
    assert {item.weight for item in verdict.evidence} == {"load"}


@pytest.mark.parametrize("fleet", [{"uptick_z": 9.0, "uptick_ratio": 2.0, "uptick": 2.0}, {"churn": 0.4}])
def test_a_rise_or_reconnects_of_the_fleet_are_an_uptick(fleet: dict[str, float]) -> None:
    assert _judge({}, fleet=fleet)[-1].kind == "benign_uptick"


def test_an_attack_inside_an_uptick_is_an_attack_of_the_hostile_only() -> None:
    odd = {f"d{n}": LOAD for n in range(10)} | {"d3": {**LOAD, **FLOOD}}
    verdict = _judge(odd, fleet={"churn": 0.4, "uptick_z": 20.0, "uptick_ratio": 3.0})[-1]
    assert (verdict.kind, verdict.devices) == ("attack", ("d3",))


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


def test_a_surge_of_a_whole_type_is_undecided() -> None:
    assert _judge({}, fleet={"surge": 12.0})[-1].kind == "undecided"


def test_while_learning_only_plain_signs_count() -> None:
    assert _judge({f"d{n}": BOT for n in range(5)}, trained=False)[-1].kind == "normal"
    learning = _judge({}, trained=False)[-1]
    assert learning.confidence < 0.5
    assert "Learning" in learning.summary
    loud = {**FLOOD, "ratio": 40.0}
    assert _kinds(_judge({"d1": loud}, trained=False)) == ["normal", "normal", "attack"]


def test_the_sentence_names_devices_signs_and_figures() -> None:
    summary = _judge({"d4": FLOOD})[-1].summary
    assert "1 device (d4)" in summary
    assert "90 messages in 5 s (own 5.0, peers 5.0)" in summary


def test_the_strongest_device_comes_first() -> None:
    odd = {"d1": BOT, "d2": FLOOD, "d3": BOT}
    assert _judge(odd)[-1].devices == ("d2", "d1", "d3")


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
