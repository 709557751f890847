"""Scores of a bare series: causal, whatever comes; and events found once."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.series import FIRST, QUIET_ROWS, score_series, seconds_of

MINUTE = 300.0
VALUES = st.floats(allow_nan=True, allow_infinity=True, width=64)
MOMENTS = st.floats(allow_nan=True, allow_infinity=True, width=64)


def _times(rows: int) -> list[float]:
    return [1_700_000_000.0 + MINUTE * row for row in range(rows)]


def _day(rows: int, *, seed: int = 1) -> np.ndarray:
    """A daily curve with noise, a row every five minutes."""
    noise = np.random.default_rng(seed).normal(0, 3, rows)
    return 100 + 30 * np.sin(np.arange(rows) * 2 * np.pi / 288) + noise


@settings(deadline=None, max_examples=30)
@given(rows=st.lists(st.tuples(MOMENTS, VALUES), max_size=160), cut=st.floats(0, 1))
def test_whatever_comes_is_scored_and_a_prefix_scores_as_the_prefix(
    rows: list[tuple[float, float]], cut: float
) -> None:
    times, values = [moment for moment, _ in rows], [value for _, value in rows]
    scores = score_series(times, values)
    assert len(scores) == len(rows)
    assert np.all((scores >= 0) & (scores < 1))
    until = int(cut * len(rows))
    assert score_series(times[:until], values[:until]).tolist() == scores[:until].tolist()


@pytest.mark.parametrize("until", [51, 641, 1199])
def test_a_prefix_of_a_long_series_scores_as_the_prefix(until: int) -> None:
    values = np.concatenate([_day(1000), _day(300, seed=2) * 3])
    whole = score_series(_times(1300), values)
    assert score_series(_times(until), values[:until]).tolist() == whole[:until].tolist()


@settings(deadline=None, max_examples=8)
@given(
    values=st.lists(st.integers(-1000, 1000), min_size=FIRST, max_size=150),
    scale=st.integers(-6, 6),
    shift=st.integers(-4096, 4096),
)
def test_unit_and_zero_point_do_not_matter(values: list[int], scale: int, shift: int) -> None:
    moved = [(value + shift) * 2.0**scale for value in values]
    times = _times(len(values))
    assert score_series(times, moved).tolist() == score_series(times, values).tolist()


@settings(deadline=None, max_examples=8)
@given(
    holes=st.lists(st.integers(0, 299), max_size=40), hole=st.sampled_from([math.nan, math.inf, -math.inf])
)
def test_a_missing_value_scores_nothing_and_the_rest_as_if_its_row_were_not_there(
    holes: list[int], hole: float
) -> None:
    times, values = np.array(_times(300)), _day(300)
    values[holes] = hole
    present = np.isfinite(values)
    scores = score_series(times.tolist(), values.tolist())
    assert not scores[~present].any()
    assert scores[present].tolist() == score_series(times[present], values[present]).tolist()


def test_a_constant_series_is_never_strange_and_its_first_change_is() -> None:
    scores = score_series(_times(400), [7.0] * 300 + [8.0] * 100)
    assert not scores[:300].any()
    assert scores[300] > 0.5


@pytest.mark.parametrize("event", [np.full(40, 400.0), np.full(40, 2.0), np.linspace(150, 600, 40)])
def test_an_event_is_one_alarm(event: np.ndarray) -> None:
    values = _day(2000)
    values[1500:1540] = event
    alarms = np.flatnonzero(score_series(_times(2000), values)[300:] >= 0.5) + 300
    inside = alarms[(alarms >= 1500) & (alarms < 1500 + QUIET_ROWS)]
    assert 1 <= len(inside) <= 4  # again only where it has grown by a fifth: the ramp, thrice
    assert inside[0] <= 1505
    assert len(alarms) - len(inside) <= 2


def test_a_usual_value_at_an_unusual_time_of_day_is_strange() -> None:
    values = _day(2600)
    values[2080:2090] = values[1936:1946]  # the values of half a day before
    scores = score_series(_times(2600), values)
    assert scores[2080:2090].max() > scores[900:2080].max()


def test_gaps_duplicates_and_disorder_of_times_change_no_row() -> None:
    times = _times(500)
    times[100:] = [moment + 86_400.0 for moment in times[100:]]
    times[200] = times[199]
    times[300], times[301] = times[301], times[300]
    assert len(score_series(times, _day(500))) == 500


def test_huge_and_tiny_values_are_scored() -> None:
    values = [float(row % 7) for row in range(400)] + [1.7e308, -1.7e308, 5e-324, 0.0]
    scores = score_series(_times(len(values)), values)
    assert np.isfinite(scores).all()
    assert scores[400] > 0.5


@pytest.mark.parametrize("rows", [0, 1, FIRST])
def test_too_few_rows_score_nothing(rows: int) -> None:
    assert score_series(_times(rows), [float(row) for row in range(rows)]).tolist() == [0.0] * rows


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-26T00:00:00Z", 1_795_651_200.0),
        ("2026-11-26 00:00:00", 1_795_651_200.0),
        ("2026-11-26T01:00:00+01:00", 1_795_651_200.0),
        ("1795651200", 1_795_651_200.0),
        ("1795651200000", 1_795_651_200.0),
        ("1795651200000000000", 1_795_651_200.0),
    ],
)
def test_times_are_dates_or_numbers_of_any_unit(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "nan"])
def test_what_is_no_time_is_unknown(text: str) -> None:
    assert math.isnan(seconds_of(text))
