"""Features: documented, finite, and telling apart what load does from what it does not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from model_fleet import START, Fleet

from analytics import reference
from analytics.features import DEVICE_FEATURES, FLEET_FEATURES, anscombe, measure
from analytics.history import SPAN_SECONDS, History
from analytics.model import train
from analytics.windows import Second
from contracts.messages import FLEET, SECOND, Window

TRAIN = 30
ROOT = Path(__file__).parents[2]


def _run(fleet: Fleet, seconds: int, visit: Callable[[int, dict[str, Window], Window], None]) -> None:
    played = fleet.seconds(seconds)
    baseline = train(played[:TRAIN]).baseline
    history = History()
    for second in played:
        history.advance(second, baseline)
        windows, whole = measure(history, baseline)
        visit(second.start - START, {window.device_id: window for window in windows}, whole)


def test_every_feature_is_documented_and_finite() -> None:
    fleet = Fleet(12, seed=1, types=("meter", "pump"))
    fleet.storm(40, down=8)
    known = {feature.name for feature in DEVICE_FEATURES}

    def visit(_t: int, windows: dict[str, Window], whole: Window) -> None:
        for window in windows.values():
            assert set(window.features) == known
            assert np.isfinite(list(window.features.values())).all()
        assert set(whole.features) == set(FLEET_FEATURES)
        assert np.isfinite(list(whole.features.values())).all()
        assert whole.device_id == FLEET

    _run(fleet, 70, visit)


def test_a_window_spans_the_last_five_seconds() -> None:
    history = History()
    for second in Fleet(3, seed=1).seconds(10):
        history.advance(second, None)
    windows, whole = measure(history, None)
    assert (whole.start, whole.end) == ((START + 5) * SECOND, (START + 10) * SECOND)
    assert {window.end for window in windows} == {whole.end}


def test_the_transformed_count_has_unit_spread_at_any_mean() -> None:
    rng = np.random.default_rng(1)
    for mean in (2.0, 10.0, 500.0):
        assert anscombe(rng.poisson(mean, 20_000).astype(float)).std() == pytest.approx(1.0, abs=0.12)


def test_kept_readings_are_expected_back() -> None:
    fleet = Fleet(20, seed=2)
    fleet.storm(40, down=20, spread=10, flush=1)
    worst = {"z": 0.0, "credit": 0.0}

    def visit(t: int, windows: dict[str, Window], _whole: Window) -> None:
        if t >= 60:
            worst["z"] = max(worst["z"], *(window.features["rate_excess"] for window in windows.values()))
            expected = [w.features["expected"] - w.features["expected_own"] for w in windows.values()]
            worst["credit"] = max(worst["credit"], *expected)

    _run(fleet, 80, visit)
    assert worst["credit"] > 15
    assert worst["z"] < 5


def test_without_an_outage_the_same_burst_is_excess() -> None:
    fleet = Fleet(20, seed=2)
    fleet.flood(60, 1, range(3), 25.0)
    seen: dict[str, float] = {}

    def visit(t: int, windows: dict[str, Window], _whole: Window) -> None:
        if t == 60:
            seen.update({name: window.features["rate_excess"] for name, window in windows.items()})

    _run(fleet, 61, visit)
    assert min(seen[name] for name in fleet.names((0, 1, 2))) > 4


def test_a_common_rise_is_in_the_fleet_and_not_in_the_devices() -> None:
    fleet = Fleet(30, seed=3)
    fleet.flood(40, 30, range(30), 3.0)
    last: list[tuple[dict[str, Window], Window]] = []
    _run(fleet, 60, lambda _t, windows, whole: last.append((windows, whole)))
    windows, whole = last[-1]
    assert max(window.features["rate_excess"] for window in windows.values()) < 4
    assert whole.features["uptick"] == pytest.approx(3.0, rel=0.2)
    assert whole.features["uptick_z"] > 10
    assert whole.features["share_up"] > 0.9


def test_a_flood_concentrates_the_traffic() -> None:
    fleet = Fleet(30, seed=4)
    fleet.flood(40, 30, (7,), 40.0)
    last: list[tuple[dict[str, Window], Window]] = []
    _run(fleet, 50, lambda _t, windows, whole: last.append((windows, whole)))
    before, after = last[38][1].features, last[-1][1].features
    assert after["gini"] > before["gini"] + 0.2
    assert after["entropy"] < before["entropy"] - 0.2
    flooding = last[-1][0]["dev-0007"].features
    assert flooding["rate_excess"] > 10
    assert flooding["loud_seconds"] == 5


def test_devices_left_out_are_in_no_feature() -> None:
    fleet = Fleet(10, seed=5)
    fleet.flood(35, 30, (2,), 50.0)
    played = fleet.seconds(50)
    baseline = train(played[:TRAIN]).baseline
    history = History()
    for second in played:
        history.advance(second, baseline)
    windows, whole = measure(history, baseline, without=frozenset({"dev-0002"}))
    assert "dev-0002" not in {window.device_id for window in windows}
    assert whole.features["uptick"] == pytest.approx(1.0, abs=0.4)
    assert whole.features["devices"] == 9


def test_forgotten_devices_start_clean() -> None:
    history = History()
    for second in Fleet(3, seed=6).seconds(10):
        history.advance(second, None)
    history.forget(["dev-0001", "nobody"])
    sent = history.recent("num_messages_received", 10).sum(axis=1)
    assert sent[1] == 0
    assert sent[0] > 0


def test_the_ring_forgets_after_its_span_and_across_holes() -> None:
    history = History()
    for second in Fleet(2, seed=7).seconds(20):
        history.advance(second, None)
    history.advance(Second(START + 20 + SPAN_SECONDS), None)
    assert history.recent("num_messages_received", SPAN_SECONDS).sum() == 0
    assert history.end == START + 21 + SPAN_SECONDS


def test_the_ring_makes_room_for_any_number_of_devices() -> None:
    history = History()
    for second in Fleet(300, seed=8).seconds(6):
        history.advance(second, None)
    assert len(history) == 300
    assert history.recent("num_messages_received", 5).shape == (300, 5)


def test_the_page_of_features_is_up_to_date() -> None:
    command = "run: python -m analytics.reference > docs/features.md"
    assert (ROOT / "docs" / "features.md").read_text() == reference.page(), command
