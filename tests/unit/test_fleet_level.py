"""What the fleet was expected to send, and since when it sends more."""

import pytest

from analytics.fleet_level import PAUSE, FleetLevel
from analytics.forecast import DAY, Profile, day_profile
from contracts.messages import FLEET, SECOND, VerdictKind, Window

START = 1_767_571_200  # a Monday, 00:00 UTC
HOUR = 3600


def _window(at: float, messages: float, *, own: float = 100.0, devices: float = 20.0) -> Window:
    """A fleet's window that ends at `at` seconds after the start; `own` messages are the devices' history."""
    figures = {"messages": messages, "devices": devices, "uptick": messages / own}
    return Window(FLEET, "", (START + int(at) - 5) * SECOND, (START + int(at)) * SECOND, figures)


def _level_after(days: int, *, peak: float = 300.0, kind: VerdictKind = "normal") -> FleetLevel:
    """Days of 100 messages a window, but `peak` from 12:00 to 13:00; a window each five minutes."""
    level = FleetLevel()
    for at in range(0, int(days * DAY), 300):
        busy = 12 * HOUR <= at % DAY < 13 * HOUR
        window = _window(at, peak if busy else 100.0)
        level.measure(window)
        level.learn(window, kind)
    return level


def test_at_first_the_devices_history_is_the_forecast() -> None:
    seen = FleetLevel().measure(_window(0, 200.0))
    assert seen.features["uptick"] == pytest.approx(2.0)


def test_the_busy_hour_of_every_day_is_expected_and_the_same_at_night_is_not() -> None:
    level = _level_after(2)
    noon = level.measure(_window(2 * DAY + 12.5 * HOUR, 300.0)).features
    night = level.measure(_window(3 * DAY + 3 * HOUR, 300.0)).features
    assert (noon["uptick"], noon["rising"]) == (pytest.approx(1.0), 0.0)
    assert (night["uptick"], night["rising"]) == (pytest.approx(3.0), 1.0)


def test_a_day_of_the_week_has_a_forecast_of_its_own() -> None:
    level = FleetLevel()
    for day in range(14):
        for at in range(0, HOUR, 300):
            window = _window(day * DAY + 12 * HOUR + at, 400.0 if day % 7 == 0 else 100.0)
            level.measure(window)
            level.learn(window, "normal")
    monday, tuesday = (level.measure(_window((14 + day) * DAY + 12 * HOUR + 60, 400.0)) for day in (0, 1))
    assert monday.features["uptick"] == pytest.approx(1.0)
    assert tuesday.features["uptick"] == pytest.approx(4.0)


def test_what_was_not_judged_normal_teaches_nothing() -> None:
    level = _level_after(2, kind="benign_uptick")
    assert level.measure(_window(2 * DAY + 12.5 * HOUR, 300.0)).features["uptick"] == pytest.approx(3.0)


def test_the_forecast_goes_by_the_size_of_the_fleet() -> None:
    level = _level_after(2)
    twice = _window(2 * DAY + 12.5 * HOUR, 600.0, own=200.0, devices=40.0)
    assert level.measure(twice).features["uptick"] == pytest.approx(1.0)


def test_a_rise_began_with_the_second_that_made_it_and_ends_after_a_quiet_window() -> None:
    level = FleetLevel()
    loud = [100.0, 100.0, 150.0, 180.0, 100.0, 180.0]
    seen = [level.measure(_window(at, messages)).features["rising"] for at, messages in enumerate(loud)]
    assert seen == [0.0, 0.0, 1.0, 2.0, 3.0, 4.0]
    after = [level.measure(_window(6 + at, 100.0)).features["rising"] for at in range(PAUSE + 1)]
    assert after == [5.0, 6.0, 7.0, 8.0, 0.0, 0.0]


@pytest.mark.parametrize(("messages", "own"), [(110.0, 100.0), (6.0, 3.0), (0.0, 100.0), (0.0, 0.5)])
def test_noise_is_no_rise(messages: float, own: float) -> None:
    assert FleetLevel().measure(_window(0, messages, own=own)).features["rising"] == 0.0


def test_another_process_goes_on_with_what_was_learnt() -> None:
    level, later = _level_after(2), FleetLevel()
    noon = _window(2 * DAY + 12.5 * HOUR, 300.0)
    assert later.measure(noon).features["uptick"] == pytest.approx(3.0)
    level.measure(noon)  # closes the half hour before it
    later.restore(level.state)
    assert later.measure(noon).features["uptick"] == pytest.approx(1.0)
    later.restore({"day": [1.0], "week": []})  # of another format: what is known stays
    assert later.measure(noon).features["uptick"] == pytest.approx(1.0)


def test_a_part_counts_when_it_is_over_and_the_newest_day_weighs_its_rate() -> None:
    profile = Profile(DAY, 24, 0.25)
    for day, value in enumerate((10.0, 20.0)):
        profile.learn(day * DAY + 1, value)
        assert profile.expected(day * DAY + 2) == (None if day == 0 else 10.0)
        profile.learn(day * DAY + HOUR, 0.0)
    assert profile.expected(2 * DAY) == pytest.approx(10 + 0.25 * 10)


def test_an_unknown_moment_teaches_and_expects_nothing() -> None:
    profile = day_profile()
    profile.learn(float("nan"), 5.0)
    assert profile.expected(float("nan")) is None
    assert set(profile.means) == {None}
