"""Confidence as a probability: learnt from samples, rising strictly, invertible, and refused if it is no table."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.calibration import STEP, Calibration, learn_calibration, read_calibration, shipped_calibration
from contracts.errors import ConfigError
from thingstorm.evaluation.seeds import REPORT

SHARES = st.floats(0.0, 1.0)
SAMPLES = st.lists(st.tuples(SHARES, SHARES, st.floats(0.1, 5.0)), min_size=1, max_size=30)


@given(SAMPLES, SHARES, SHARES)
def test_more_raw_confidence_is_more_probability_and_can_be_had_back(
    samples: list[tuple[float, float, float]], one: float, other: float
) -> None:
    table = learn_calibration({"attack": samples}, seeds=[1])
    low, high = sorted((one, other))
    told_low, told_high = table.apply("attack", low), table.apply("attack", high)
    assert 0.0 < told_low <= told_high < 1.0
    assert table.raw("attack", told_low) == pytest.approx(low, abs=1e-6)
    assert table.apply("undecided", one) == one == table.raw("undecided", one)


def test_it_is_the_share_that_was_right() -> None:
    samples = [(0.6, 0.5, 500.0), (0.8, 0.9, 500.0), (0.9, 0.9, 500.0), (0.95, 0.8, 500.0)]
    table = learn_calibration({"attack": samples}, seeds=[2, 1, 1])
    assert table.apply("attack", 0.6) == pytest.approx(0.5, abs=0.01)
    # what falls is pooled: (0.9 + 0.9 + 0.8) / 3
    assert table.apply("attack", 0.9) == pytest.approx(0.867, abs=0.01)
    assert table.seeds == (1, 2)


def test_a_few_samples_prove_little() -> None:
    table = learn_calibration({"normal": [(0.9, 1.0, 1.0)]}, seeds=[1])
    assert table.apply("normal", 0.9) == pytest.approx(2 / 3, abs=10 * STEP)


def test_a_table_is_read_back(tmp_path: Path) -> None:
    table = learn_calibration({"attack": [(0.6, 0.5, 9.0), (0.9, 1.0, 9.0)]}, seeds=[1])
    (tmp_path / "c.json").write_text(json.dumps(table.as_json()))
    assert read_calibration(tmp_path / "c.json") == table


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"version": 2, "seeds": [], "kinds": {}}',
        '{"version": 1, "seeds": [], "kinds": {"attack": [[0, 0.5], [1, 0.4]]}}',
        '{"version": 1, "seeds": [], "kinds": {"attack": [[0], [1]]}}',
    ],
)
def test_what_is_no_table_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(ConfigError, match="no table of confidence"):
        read_calibration(tmp_path / "c.json")


def test_without_a_table_confidence_stays_raw() -> None:
    assert Calibration({}).apply("attack", 0.7) == 0.7


def test_the_shipped_table_was_learnt_from_no_reported_seed() -> None:
    shipped = shipped_calibration()
    assert not set(shipped.seeds) & REPORT
    for kind, knots in shipped.knots.items():
        assert (kind, knots[0][0], knots[-1][0]) == (kind, 0.0, 1.0)
