"""Where evidence cannot tell, the model says so and shuts nobody out; names of devices never matter."""

import pytest
from model_fleet import Event, Fleet, State, play

TRAIN = 15


@pytest.mark.parametrize("seed", [101, 102, 103])
@pytest.mark.parametrize("factor", [12.0, 30.0])
def test_a_whole_type_far_beyond_training_is_undecided(seed: int, factor: float) -> None:
    fleet = Fleet(50, seed=seed, types=("meter", "pump"))
    fleet.flood(30, 30, range(50), factor)
    outcome = play(fleet, 65, train=TRAIN)
    assert "attack" not in outcome.kinds(0)
    assert outcome.kinds(30).count("undecided") > 15
    doubt = next(verdict for _, verdict in outcome.verdicts if verdict.kind == "undecided")
    assert "would settle it" in doubt.summary
    assert not outcome.quarantined


@pytest.mark.parametrize("seed", [104, 105])
def test_most_peers_hostile_is_undecided_and_shuts_nobody_out(seed: int) -> None:
    fleet = Fleet(50, seed=seed)
    fleet.flood(30, 30, fleet.pick(38), 20.0)
    outcome = play(fleet, 60, train=TRAIN)
    assert "undecided" in outcome.kinds(30)
    assert not outcome.quarantined


@pytest.mark.parametrize("seed", [106, 107, 108])
def test_devices_of_very_different_rates_are_judged_by_their_own(seed: int) -> None:
    fleet = Fleet(50, seed=seed, spread=0.8)
    fleet.rollout(60, 40, fraction=0.5, factor=3.0)
    outcome = play(fleet, 120, train=TRAIN)
    assert set(outcome.kinds(TRAIN, 60)) == {"normal"}
    assert outcome.kinds(60).count("benign_uptick") > 20
    assert "attack" not in outcome.kinds(0)


def test_renaming_every_device_changes_no_verdict() -> None:
    def run(name: str) -> list[tuple[str, float, tuple[int, ...]]]:
        fleet = Fleet(20, seed=109, name=name.format)
        fleet.rollout(25, 50, waves=2)
        fleet.botnet(45, 20, fleet.pick(4))
        place = {device_id: number for number, device_id in enumerate(fleet.ids)}
        return [
            (verdict.kind, verdict.confidence, tuple(place[device_id] for device_id in verdict.devices))
            for _, verdict in play(fleet, 75, train=TRAIN).verdicts
        ]

    plain = run("dev-{:04d}")
    assert plain == run("c0ffee-{}-x")
    assert "attack" in {kind for kind, _, _ in plain}


def test_the_verdicts_of_a_prefix_are_the_prefix_of_the_verdicts() -> None:
    def run(seconds: int) -> list[str]:
        fleet = Fleet(10, seed=110)
        fleet.flood(30, 20, (1, 2, 3), 20.0)
        return [verdict.summary for _, verdict in play(fleet, seconds, train=TRAIN).verdicts]

    assert run(60)[:40] == run(40)


def test_a_plain_flood_is_found_before_anything_is_learnt() -> None:
    fleet = Fleet(20, seed=101)
    fleet.flood(20, 20, (3,), 60.0)
    outcome = play(fleet, 50, train=200)
    assert outcome.flagged(0) == {"dev-0003"}
    learning = [verdict for _, verdict in outcome.verdicts if verdict.kind == "normal"]
    assert all(verdict.confidence == pytest.approx(0.2) for verdict in learning)


def test_a_start_of_all_devices_is_no_event() -> None:
    outcome = play(Fleet(50, seed=102), 12, train=200)
    assert set(outcome.kinds(0)) == {"normal"}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_fleet_of_five_is_judged_by_the_same_rules(seed: int) -> None:
    fleet = Fleet(5, seed=seed)
    fleet.rollout(30, 30)
    assert "attack" not in play(fleet, 60, train=20).kinds(20)
    fleet = Fleet(5, seed=seed)
    bad = fleet.pick(1)
    fleet.flood(40, 20, bad, 20.0)
    outcome = play(fleet, 60, train=20)
    assert outcome.flagged(20) == set(outcome.quarantined) == fleet.names(bad)


def test_a_silent_fleet_is_no_attack_and_nobody_is_named() -> None:
    fleet = Fleet(12, seed=4)
    fleet.flood(40, 60, tuple(range(12)), 0.0)
    outcome = play(fleet, 90, train=20)
    assert set(outcome.kinds(45)) == {"normal"}
    assert outcome.flagged(0) == set()


def test_a_flood_from_the_first_second_on_is_not_learnt() -> None:
    fleet = Fleet(20, seed=6)
    bad = fleet.pick(2)
    fleet.flood(0, 90, bad, 80.0)
    outcome = play(fleet, 90, train=30, quarantine=False)
    assert fleet.names(bad) <= outcome.flagged(40), "it is as odd after the learning as before"
    assert outcome.flagged(40) <= fleet.names(bad)


@pytest.mark.parametrize(("factor", "kind"), [(1.0, "normal"), (20.0, "attack")])
def test_a_device_never_seen_before_is_judged_by_its_type(factor: float, kind: str) -> None:
    fleet = Fleet(15, seed=8)

    def absent(state: State, _d: int, _t: int, _rng: object) -> None:
        state.online, state.rate = False, 0.0

    fleet.events.append(Event(0, 50, (3,), absent))
    fleet.flood(50, 30, (3,), factor)
    outcome = play(fleet, 80, train=20)
    assert ("attack" in outcome.kinds(50)) == (kind == "attack")
    assert outcome.flagged(0) == (fleet.names((3,)) if kind == "attack" else set())
