"""Slow drift is followed within bounds; an attack, and what spoils a minute, teaches nothing."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.baseline import Baseline, Profile
from analytics.drift import DriftRules, Follower
from analytics.known import NOTHING, Known
from analytics.windows import COUNTS, DeviceRow, Second
from contracts.messages import VerdictKind

RULES = DriftRules()
IDS = tuple(f"d{number}" for number in range(6))
TYPES = dict.fromkeys(IDS, "meter")
RATE, SIZE = 10.0, 100.0


def _baseline(seconds: float = 3600.0) -> Baseline:
    profile = Profile(RATE, SIZE, seconds)
    return Baseline(dict.fromkeys(IDS, profile), {"meter": profile}, profile, {"meter": frozenset()})


def _second(rates: Mapping[str, float], size: float = SIZE) -> Second:
    rows = []
    for name, rate in rates.items():
        counts = dict.fromkeys(COUNTS, 0)
        counts["num_messages_received"] = round(rate)
        counts["message_bytes_received"] = round(round(rate) * size)
        rows.append(DeviceRow(name, tuple(counts.values()), ()))
    return Second(0, tuple(rows))


class _Run:
    """A follower fed minute by minute."""

    def __init__(self, baseline: Baseline | None = None) -> None:
        self.baseline = baseline or _baseline()
        self.follower = Follower(self.baseline, RULES)

    def minute(
        self,
        rates: Mapping[str, float],
        *,
        size: float = SIZE,
        kind: VerdictKind = "normal",
        flagged: frozenset[str] = frozenset(),
        known: Known = NOTHING,
        calm: bool = True,
    ) -> None:
        second = _second(rates, size)
        for _ in range(RULES.block):
            self.follower.came()
            full = self.follower.add(second, kind, flagged=flagged, known=known, calm=calm)
        assert full
        self.baseline = self.follower.close(self.baseline, TYPES, known)

    def rate(self, name: str) -> float:
        return self.baseline.devices[name].rate


def _all(rate: float) -> dict[str, float]:
    return dict.fromkeys(IDS, rate)


def test_what_is_as_ever_moves_nothing_much() -> None:
    run = _Run()
    for _ in range(5):
        run.minute(_all(RATE))
    assert run.rate("d0") == pytest.approx(RATE)
    assert run.follower.drifted == frozenset()


def test_a_device_that_changes_is_followed_by_a_little_each_minute() -> None:
    run = _Run()
    rates = []
    for _ in range(10):
        run.minute(_all(RATE) | {"d0": 13.0})
        rates.append(run.rate("d0"))
    assert rates == sorted(rates)
    assert rates[0] <= RATE * RULES.step
    assert RATE < rates[-1] < 13.0


def test_who_boils_the_frog_gains_one_budget_and_becomes_a_doubt() -> None:
    run = _Run()
    crept = None
    for minute in range(200):
        run.minute(_all(RATE) | {"d0": run.rate("d0") * 1.9})
        if crept is None and "d0" in run.follower.drifted:
            crept = minute
    doubt = 1.0 + 2.0 / (RATE * 3600.0) ** 0.5
    assert run.rate("d0") <= RATE * RULES.budget * doubt * 1.001
    assert crept is not None
    assert crept < 199
    assert run.follower.drifted == {"d0"}
    assert run.rate("d1") == pytest.approx(RATE)


def test_what_all_of_a_type_do_is_drift_of_nobody() -> None:
    run = _Run()
    for _ in range(60):  # 1.02 ** 60 = 3.3, within what a type may drift
        run.minute({name: run.rate(name) * 1.5 for name in IDS})
    assert run.follower.drifted == frozenset()
    assert RATE * RULES.budget < run.rate("d0") <= RATE * RULES.common
    for _ in range(140):
        run.minute({name: run.rate(name) * 1.5 for name in IDS})
    assert run.follower.drifted == set(IDS), "beyond that it is a doubt about all of them"


@pytest.mark.parametrize(
    "spoilt",
    [{"kind": "attack"}, {"kind": "undecided"}, {"kind": "benign_uptick"}, {"calm": False}],
)
def test_a_minute_with_trouble_teaches_nothing(spoilt: dict[str, object]) -> None:
    run = _Run()
    before = run.baseline
    run.minute(_all(2 * RATE), **spoilt)  # type: ignore[arg-type]  # each is one of its keywords
    assert run.baseline is before


def test_a_minute_with_a_second_that_nobody_judged_teaches_nothing() -> None:
    run = _Run()
    run.follower.came()
    run.follower.came()  # two came, one of them is judged
    before = run.baseline
    run.minute(_all(2 * RATE))
    assert run.baseline is before


def test_of_a_flagged_device_nothing_is_learnt_of_the_others_it_is() -> None:
    run = _Run()
    run.minute(_all(12.0), flagged=frozenset({"d0"}))
    assert run.rate("d0") == RATE
    assert run.rate("d1") > RATE


def test_silence_of_a_device_is_no_drift() -> None:
    run = _Run()
    run.minute({name: RATE for name in IDS if name != "d0"})
    assert run.rate("d0") == RATE


def test_after_an_announced_change_what_its_devices_do_is_their_new_normal() -> None:
    run = _Run()
    known = Known(cohorts={"d0": "rollout", "d1": "rollout"}, allowed={"rollout": 3.0})
    for _ in range(3):
        run.minute(_all(RATE) | {"d0": 25.0, "d1": 25.0}, kind="benign_uptick", known=known)
    assert run.rate("d0") == RATE, "not while it goes on"
    run.minute(_all(RATE) | {"d0": 25.0, "d1": 25.0})
    assert run.rate("d0") == pytest.approx(25.0, rel=0.05)
    assert run.rate("d2") == pytest.approx(RATE)
    assert run.follower.drifted == frozenset(), "drift is counted from there"


def test_who_was_flagged_during_an_announced_change_keeps_the_old_normal() -> None:
    run = _Run()
    known = Known(cohorts={"d0": "rollout", "d1": "rollout"})
    for _ in range(2):
        run.minute(_all(RATE) | {"d0": 25.0, "d1": 90.0}, flagged=frozenset({"d1"}), known=known)
    run.minute(_all(RATE) | {"d0": 25.0, "d1": 90.0}, flagged=frozenset({"d1"}))
    assert run.rate("d0") == pytest.approx(25.0, rel=0.05)
    assert run.rate("d1") == RATE


@given(
    rates=st.lists(st.lists(st.floats(0.0, 500.0), min_size=6, max_size=6), min_size=1, max_size=12),
    size=st.floats(1.0, 1e6),
)
def test_no_traffic_whatever_takes_a_profile_beyond_its_bounds(rates: list[list[float]], size: float) -> None:
    run = _Run()
    most = RULES.budget * RULES.common * (1.0 + 2.0 / (RATE * 3600.0) ** 0.5)
    for minute in rates:
        before = {name: run.rate(name) for name in IDS}
        run.minute(dict(zip(IDS, minute, strict=True)), size=size)
        for name in IDS:
            assert RATE / most <= run.rate(name) <= RATE * most
            # a step down may be larger than one of drift: where the peers fell, the bound falls with them
            assert run.rate(name) <= before[name] * RULES.step * 1.0001
