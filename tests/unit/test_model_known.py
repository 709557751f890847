"""What the model was told changes expectations, and excuses nothing else."""

import pytest
from model_fleet import START, Fleet

from analytics.evidence import EvidenceRules, signs_of
from analytics.known import NOTHING, Known
from analytics.model import Model
from analytics.verdict import Rules
from contracts.clock import ManualClock
from contracts.messages import SECOND, Verdict, Window


def _verdicts(fleet: Fleet, seconds: int, known: Known, *, since: int = 30) -> list[Verdict]:
    """The verdicts from `since` on, with what is known from then on."""
    clock = ManualClock(START * SECOND)
    model = Model(clock=clock, detector="robust", train_until=(START + 20) * SECOND, rules=Rules())
    verdicts = []
    for second in fleet.seconds(seconds):
        clock.set(second.end)
        model.known = known if second.start - START >= since else NOTHING
        model.take(second, shut_out=frozenset())
        verdicts.append(model.judge())
    return verdicts[since:]


def _watched(verdicts: list[Verdict]) -> int:
    """Device-seconds flagged."""
    return sum(len(verdict.watched) + len(verdict.devices) for verdict in verdicts)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_announced_devices_are_compared_among_themselves(seed: int) -> None:
    flagged = {}
    for announced in (False, True):
        fleet = Fleet(60, seed=seed, every=0.5)
        chosen = fleet.rollout(30, 60, fraction=0.3, factor=2.5)
        cohorts = dict.fromkeys(fleet.names(chosen), "rollout") if announced else {}
        verdicts = _verdicts(fleet, 90, Known(cohorts=cohorts))
        assert {verdict.kind for verdict in verdicts} <= {"normal", "benign_uptick"}
        flagged[announced] = _watched(verdicts)
    assert flagged[False] > 100
    assert flagged[True] <= 0.1 * flagged[False], "detection.md 4.4: 90 % fewer flags"


def test_an_attacker_inside_an_announced_change_is_found() -> None:
    fleet = Fleet(60, seed=4)
    chosen = fleet.rollout(30, 60, fraction=0.5, factor=2.0)
    bad = chosen[:3]
    fleet.extras(50, 40, bad, "num_authorization_failures", 1.0)
    verdicts = _verdicts(fleet, 90, Known(cohorts=dict.fromkeys(fleet.names(chosen), "rollout")))
    assert set(verdicts[-1].devices) == fleet.names(bad)
    assert {verdict.kind for verdict in verdicts[:18]} <= {"normal", "benign_uptick"}


def _louder(factor: float) -> Fleet:
    fleet = Fleet(30, seed=5)
    fleet.flood(30, 60, tuple(range(30)), factor)
    return fleet


@pytest.mark.parametrize(
    ("factor", "announced", "doubt"), [(10.0, 0.0, True), (10.0, 3.0, False), (40.0, 3.0, True)]
)
def test_a_surge_of_all_is_doubtful_unless_announced_and_within_what_was(
    factor: float, announced: float, *, doubt: bool
) -> None:
    fleet = _louder(factor)
    known = Known(dict.fromkeys(fleet.ids, "c"), {"c": announced}) if announced else NOTHING
    kinds = [verdict.kind for verdict in _verdicts(fleet, 60, known)][-10:]
    assert kinds == ["undecided" if doubt else "benign_uptick"] * 10


def test_leniency_raises_what_is_needed_for_its_feature_and_device_alone() -> None:
    fleet = Fleet(20, seed=6)
    fleet.extras(30, 30, (0, 1), "num_authorization_failures", 1.0)
    name, other = fleet.ids[:2]
    clock = ManualClock(START * SECOND)
    model = Model(clock=clock, detector="robust", train_until=(START + 20) * SECOND, rules=Rules())
    windows: list[Window] = []
    for second in fleet.seconds(40):
        model.take(second, shut_out=frozenset())
        windows = model.windows()
    quiet = {"storm": 0.0}
    rules = EvidenceRules()
    by_name = {window.device_id: window for window in windows}
    strict = signs_of(by_name[name], quiet, rules)
    lenient = signs_of(by_name[name], quiet, rules, {"authorization": 100.0, "authentication_slow": 100.0})
    elsewhere = signs_of(by_name[name], quiet, rules, {"novel": 100.0})
    assert strict.security
    assert not lenient.security
    assert {item.feature for item in lenient.evidence} == {item.feature for item in strict.evidence}
    assert elsewhere == strict
    assert signs_of(by_name[other], quiet, rules).security


def test_a_device_that_used_up_its_drift_is_a_doubt_not_load() -> None:
    fleet = Fleet(30, seed=7, every=0.5)
    fleet.flood(30, 60, (3,), 3.0)
    known = Known(drifted=frozenset(fleet.names((3,))))
    told = _verdicts(fleet, 60, known)[-10:]
    assert {verdict.kind for verdict in told} == {"undecided"}
    assert "crept up" in told[-1].summary
    assert {verdict.kind for verdict in _verdicts(fleet, 60, NOTHING)[-10:]} <= {"normal", "benign_uptick"}
