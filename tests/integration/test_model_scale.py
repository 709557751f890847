"""400 devices that publish every 10 seconds: half a message a window, where only counting statistics help."""

import pytest
from model_fleet import Fleet, play

TRAIN = 60
ONSET = 75


def _fleet(seed: int) -> Fleet:
    return Fleet(400, seed=seed, every=10.0)


@pytest.mark.parametrize("seed", [106, 107])
def test_upticks_of_slow_devices_are_benign(seed: int) -> None:
    fleet = _fleet(seed)
    fleet.rollout(ONSET, 30, waves=3, factor=3.0)
    fleet.storm(ONSET + 50, down=15)
    outcome = play(fleet, ONSET + 90, train=TRAIN)
    assert {"normal", "benign_uptick"} == set(outcome.kinds(0))
    assert not outcome.quarantined


@pytest.mark.parametrize("seed", [108, 109])
def test_floods_of_slow_devices_are_found(seed: int) -> None:
    fleet = _fleet(seed)
    bad = fleet.pick(4)
    fleet.flood(ONSET, 40, bad, 40.0)
    outcome = play(fleet, ONSET + 45, train=TRAIN)
    assert outcome.flagged(0) == fleet.names(bad)
    assert outcome.seconds_to_attack(ONSET) <= 12


def test_a_botnet_of_slow_devices_inside_a_rollout_is_found() -> None:
    fleet = _fleet(110)
    fleet.rollout(ONSET - 10, 60, waves=3)
    bad = fleet.pick(40)
    fleet.botnet(ONSET, 40, bad)
    outcome = play(fleet, ONSET + 45, train=TRAIN)
    assert outcome.flagged(0) == fleet.names(bad)
    assert outcome.seconds_to_attack(ONSET) <= 6


def test_low_and_slow_is_found_within_a_minute() -> None:
    fleet = Fleet(50, seed=101)
    bad = fleet.pick(6)
    fleet.botnet(30, 70, bad, factor=1.0, novel=0.2)
    outcome = play(fleet, 100, train=15)
    assert outcome.flagged(0) == fleet.names(bad)
    # one word in 5 s from each of six, beginning one by one, is what a slow cascade looks like for most of that time
    assert outcome.seconds_to_attack(30) <= 60
