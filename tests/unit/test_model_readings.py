"""How values walk when nothing is wrong, and what has moved or stopped moving since."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.readings import LAGS, RING, SAMPLED_DEVICES, SLOTS, Readings, ReadingTally, Walk

TOPIC = ["dt/pump/{device}/telemetry"]
KEY = (TOPIC[0], "bar")
END = 200


def _learn(step: float, *, devices: int = 4, seconds: int = END, every: int = 1) -> Walk:
    rng = np.random.default_rng(3)
    tally = ReadingTally()
    for device in range(devices):
        value = 6.0
        for second in range(0, seconds, every):
            value += step * rng.normal()
            tally.add(f"p{device}", "pump", second, TOPIC, [f"0 {value!r} bar"])
    return tally.learn({f"p{device}": "pump" for device in range(devices)}, end=seconds)["pump"][KEY]


def test_the_scale_of_a_walk_grows_with_the_root_of_time() -> None:
    walk = _learn(0.1)
    for lag, scale in zip(LAGS, walk.scale, strict=True):
        assert scale == pytest.approx(0.1 * lag**0.5, rel=0.35)
    assert walk.low < 6.0 < walk.high
    assert walk.same == 0.0
    assert walk.decades == 2.0, "a short training never proves more than one in a hundred"


def test_longer_lags_than_the_training_are_extrapolated() -> None:
    walk = _learn(0.1, seconds=20)
    assert walk.scale[3] == pytest.approx(walk.scale[1] * 2.0, rel=0.5)
    assert list(walk.scale) == sorted(walk.scale)


def test_a_value_that_often_stays_the_same_may_go_on_doing_so() -> None:
    walk = _learn(0.0)
    assert walk.same == 1.0
    assert walk.decades == 0.0


def test_of_a_few_readings_nothing_is_learnt() -> None:
    tally = ReadingTally()
    tally.add("p0", "pump", 1, TOPIC, ["0 1.0 bar"])
    assert tally.learn({"p0": "pump"}, end=2) == {"pump": {}}


def test_a_sample_of_the_devices_is_enough() -> None:
    tally = ReadingTally()
    for device in range(2 * SAMPLED_DEVICES):
        for second in range(3):
            tally.add(f"p{device}", "pump", second, TOPIC, ["0 1.0 bar"])
    assert len(tally._series) == SAMPLED_DEVICES


def _fed(values: list[float], *, every: int = 1, rate: float = 1.0) -> tuple[Readings, int]:
    readings = Readings()
    now = 0
    for second in range(len(values) * every):
        points = [(0, 0, values[second // every])] if second % every == 0 else []
        readings.take(second, points, np.array([rate]))
        now = second
    return readings, now


def test_a_change_is_seen_over_every_lag() -> None:
    readings, now = _fed([1.0] * 61 + [9.0] * 3)
    for lag in LAGS:
        assert readings.change(now, lag, 1)[0, 0] == 8.0
    assert np.isnan(readings.change(now, 5, 1)[0, 1]), "a number that never came"


def test_readings_in_a_row_without_a_change_are_counted() -> None:
    readings, _ = _fed([1.0, 2.0, 2.0, 2.0, 2.0])
    assert readings.same[0, 0] == 3.0


def test_after_a_long_silence_a_value_may_be_anywhere() -> None:
    readings, now = _fed([1.0] * 10)
    for second in range(now + 1, now + 40):
        readings.take(second, [], np.array([1.0]))
    readings.take(now + 40, [(0, 0, 99.0)], np.array([1.0]))
    assert np.isnan(readings.change(now + 40, 30, 1)[0, 0])


def test_a_slow_device_is_given_more_time() -> None:
    readings = Readings()
    for second in range(41):
        points = [(0, 0, float(second))] if second % 40 == 0 else []
        readings.take(second, points, np.array([0.05]))
    assert readings.change(40, 5, 1)[0, 0] == 40.0


def test_a_device_that_is_forgotten_has_no_past() -> None:
    readings, now = _fed([1.0] * 10 + [5.0])
    readings.forget(0)
    assert np.isnan(readings.change(now, 5, 1)).all()
    assert readings.same[0, 0] == 0.0


@given(
    st.lists(st.tuples(st.integers(0, 70), st.integers(0, SLOTS - 1), st.floats(-1e12, 1e12)), max_size=80)
)
def test_more_devices_make_room_and_changes_are_of_this_device(points: list[tuple[int, int, float]]) -> None:
    readings = Readings()
    readings.make_room(71)
    rates = np.ones(len(readings.held))
    first: dict[tuple[int, int], float] = {}
    last: dict[tuple[int, int], float] = {}
    for now, (line, slot, value) in enumerate(points):
        readings.take(now, [(line, slot, value)], rates)
        first.setdefault((line, slot), value)
        last[line, slot] = value
    assert readings.ring.shape[1] == RING
    for (line, slot), value in last.items():
        assert readings.held[line, slot] == value
    unseen = np.isnan(readings.held[:71])
    assert int((~unseen).sum()) == len(last)
