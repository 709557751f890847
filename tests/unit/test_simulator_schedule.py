"""When devices read: rates that follow the day, and devices that sleep."""

import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.messages import SECOND, Nanoseconds
from simulator.device import Device
from simulator.generators import DAY, HOUR
from simulator.schedule import Every, Sleep

MINUTE = 60 * SECOND


def moments(every: Any, end: Nanoseconds, *, begin: Nanoseconds = 0, seed: int = 1) -> list[Nanoseconds]:
    """The readings of one device, as the player asks for them."""
    device = Device(
        device_id="m-1",
        device_type="m",
        topic="t",
        qos=0,
        every=Every.model_validate(every),
        listens=(),
        rng=random.Random(seed),
        generators={},
    )
    device.start_at(begin)
    seen = []
    while device.due < end:
        seen.append(device.due)
        device.schedule_next(device.due)
    return seen


def test_a_diurnal_rate_is_highest_at_its_peak_and_has_its_mean_over_the_day() -> None:
    spec = {"dist": "diurnal", "mean": "10s", "peak": "18:00", "amplitude": "80%", "jitter": "30%"}
    hours = Counter((moment % DAY) // HOUR for moment in moments(spec, 5 * DAY))
    assert sum(hours.values()) == pytest.approx(5 * 8640, rel=0.02)
    assert max(hours, key=lambda hour: hours[hour]) in (17, 18)
    assert min(hours, key=lambda hour: hours[hour]) in (5, 6)
    assert hours[17] / hours[5] == pytest.approx(1.8 / 0.2, rel=0.15)


def test_gap_needs_no_time_unless_the_rate_follows_it() -> None:
    plain = Every.model_validate("10s")
    diurnal = Every.model_validate({"dist": "diurnal", "mean": "10s", "peak": "00:00", "amplitude": 0.5})
    assert plain.gap(random.Random(1), 2.0) == plain.gap(random.Random(1), 2.0, 7 * HOUR) == 5 * SECOND
    assert diurnal.gap(random.Random(1), 1.0) == pytest.approx(10 * SECOND / 1.5)
    assert diurnal.gap(random.Random(1), 1.0, 12 * HOUR) == pytest.approx(20 * SECOND)
    assert diurnal.gap(random.Random(1), 4.0, now=12 * HOUR) == pytest.approx(5 * SECOND)


def test_without_sleep_the_first_reading_is_where_it_always_was() -> None:
    assert moments("10s", 11 * SECOND, seed=5)[0] == int(10 * SECOND * random.Random(5).random())


def test_a_device_reads_while_it_is_awake_and_reports_when_it_wakes() -> None:
    seen = moments({"mean": "1s", "sleep": {"awake": "5s", "asleep": "1m"}}, 10 * MINUTE)
    first = seen[0]
    assert first < 65 * SECOND
    assert {(moment - first) % (65 * SECOND) for moment in seen} == {second * SECOND for second in range(5)}
    assert len(seen) == pytest.approx(10 * MINUTE // (65 * SECOND) * 5, abs=5)


def test_a_device_that_reads_seldom_reads_when_it_wakes() -> None:
    seen = moments({"mean": "1m", "sleep": {"awake": "1s", "asleep": "9m"}}, 100 * MINUTE)
    cycle = 9 * MINUTE + SECOND
    assert {after - before for before, after in pairwise(seen)} == {cycle}


def test_devices_have_rhythms_of_their_own() -> None:
    spec = {"mean": "1s", "sleep": {"awake": "10s", "asleep": "50s"}}
    firsts = [moments(spec, 2 * MINUTE, seed=seed)[0] for seed in range(200)]
    assert min(firsts) < 3 * SECOND
    assert 57 * SECOND < max(firsts) < MINUTE
    awake = sum(
        any(50 * SECOND <= m < 51 * SECOND for m in moments(spec, 2 * MINUTE, seed=s)) for s in range(200)
    )
    assert awake == pytest.approx(200 / 6, abs=15)


def test_a_faster_rate_does_not_wake_a_device() -> None:
    every = Every.model_validate({"mean": "1s", "sleep": {"awake": "10s", "asleep": "50s"}})
    assert every.gap(random.Random(1), 100.0, 3 * SECOND) == SECOND // 100
    assert every.gap(random.Random(1), 100.0, 20 * SECOND) == 40 * SECOND


@given(st.integers(1, 10**12), st.integers(1, 10**12), st.integers(0, 10**18), st.integers(-(10**18), 10**18))
def test_a_due_moment_is_put_off_until_the_device_is_awake(
    awake: Nanoseconds, asleep: Nanoseconds, due: Nanoseconds, woke: Nanoseconds
) -> None:
    sleep = Sleep.model_construct(awake=awake, asleep=asleep)
    moved = sleep.not_before_waking(due, woke=woke)
    assert due <= moved <= due + asleep
    assert (moved - woke) % sleep.cycle < awake
    assert moved == due or (moved - woke) % sleep.cycle == 0


@pytest.mark.parametrize(
    ("every", "told"),
    [
        ({"mean": "1s", "peak": "12:00"}, "constant takes no peak"),
        ({"dist": "poisson", "mean": "1s", "amplitude": 0.5}, "poisson takes no amplitude"),
        ({"dist": "diurnal", "mean": "1s", "amplitude": "96%"}, "less than or equal to 0.95"),
        ({"dist": "diurnal", "mean": "1s", "peak": 900}, "no clock time"),
        ({"dist": "weekly", "mean": "1s"}, "'diurnal'"),
        ({"mean": "1s", "sleep": {"awake": "1s"}}, "Field required"),
        ({"mean": "1s", "sleep": {"awake": "0s", "asleep": "1s"}}, "longer than nothing"),
        ({"mean": "1s", "sleep": "1s"}, "sleep"),
    ],
)
def test_what_makes_no_schedule_is_refused(every: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Every.model_validate(every)
