"""The check list that every detector passes, whatever it is made of: those of the table, and a PyOD class by name."""

import json
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_fleet import Fleet, play

from analytics.detectors import DETECTORS, ScaledDetector, make_detector
from analytics.detectors.base import CleanRows
from analytics.detectors.process import Lease
from analytics.features import SCORED
from contracts.errors import Terminal
from contracts.messages import SECOND, Window

NAMES = [feature.name for feature in SCORED]
VARYING = {"rate_excess": 1.0, "size_excess": 0.03}
"""What breathes in clean traffic; the other features are constant there."""

EVERY = [*DETECTORS.backends, "pyod:LOF"]
EXEMPT = {name for name, backend in DETECTORS.backends.items() if "saturates" in backend.capabilities}
"""Declared to saturate: a louder window may score the same, never less."""


@pytest.fixture(scope="module", autouse=True)
def _one_import_of_pyod() -> Iterator[None]:
    lease = Lease()
    yield
    lease.close()


@pytest.fixture(scope="module", params=EVERY)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def detector(name: str) -> Iterator[ScaledDetector]:
    made = _learnt(name)
    yield made
    made.close()


def _make(name: str) -> ScaledDetector:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what saturates says so: tests/unit/test_model_detectors.py
        return make_detector(name)


def _learnt(name: str, windows: list[Window] | None = None) -> ScaledDetector:
    made = _make(name)
    made.learn(windows or _clean())
    return made


def _window(values: dict[str, float], end: int = 0, device: str = "d") -> Window:
    return Window(device, "meter", end - 5 * SECOND, end, values)


def _clean(count: int = 600, seed: int = 1) -> list[Window]:
    rng = np.random.default_rng(seed)
    rows = np.zeros((count, len(NAMES)))
    for feature, spread in VARYING.items():
        rows[:, NAMES.index(feature)] = rng.normal(0, spread, count)
    return [
        _window(dict(zip(NAMES, row, strict=True)), end=place // 10 * SECOND, device=f"d{place % 10}")
        for place, row in enumerate(rows.tolist())
    ]


def _quiet(**changes: float) -> Window:
    return _window({**dict.fromkeys(NAMES, 0.0), **changes})


def _mixed() -> list[Window]:
    return [*_clean(30, seed=2), _quiet(rate_excess=50.0), _quiet(novel=3.0), _quiet(rate_excess=-9.0)]


def test_scores_of_a_prefix_are_the_prefix_of_the_scores(detector: ScaledDetector) -> None:
    windows = _mixed()
    scores = detector.score(windows)
    for length in (1, 7, 31):
        assert detector.score(windows[:length]) == pytest.approx(scores[:length], rel=1e-9)


def test_a_window_scores_the_same_in_any_batch(detector: ScaledDetector) -> None:
    windows = _mixed()
    scores = detector.score(windows)
    loud = [_quiet(novel=4.0)] * 100
    assert detector.score([*loud, *reversed(windows)])[100:] == pytest.approx(scores[::-1], rel=1e-9)


def test_score_is_pure(detector: ScaledDetector) -> None:
    windows = _mixed()
    told = [dict(window.features) for window in windows]
    first, threshold = detector.score(windows), detector.threshold
    detector.score([_quiet(rate_excess=500.0)] * 20)
    assert detector.score(windows) == first
    assert detector.threshold == threshold
    assert [dict(window.features) for window in windows] == told


def test_ids_do_not_matter(detector: ScaledDetector) -> None:
    windows = _mixed()
    renamed = [
        Window(f"x{n}", one.device_type, one.start, one.end, one.features) for n, one in enumerate(windows)
    ]
    assert detector.score(renamed) == detector.score(windows)


def test_the_order_of_features_does_not_matter(detector: ScaledDetector) -> None:
    windows = _mixed()
    turned = [_window(dict(reversed(list(one.features.items()))), one.end) for one in windows]
    assert detector.score(turned) == detector.score(windows)


def test_features_constant_in_the_baseline_still_count(name: str, detector: ScaledDetector) -> None:
    quiet = detector.score([_quiet()])[0]
    for feature in sorted(set(NAMES) - set(VARYING)):
        (loud,) = detector.score([_quiet(**{feature: 12.0})])
        assert np.isfinite(loud)
        assert loud > quiet
        if name not in EXEMPT:
            assert loud > detector.threshold, feature


def test_a_baseline_without_any_variation_is_survived(name: str) -> None:
    flat = _learnt(name, [_window(dict.fromkeys(NAMES, 1.0), end=n // 10 * SECOND) for n in range(120)])
    quiet, loud = flat.score([_window(dict.fromkeys(NAMES, 1.0)), _window(dict.fromkeys(NAMES, 40.0))])
    assert np.isfinite([quiet, loud, flat.threshold]).all()
    assert quiet <= flat.threshold
    assert loud > quiet
    flat.close()


def test_a_missing_feature_is_survived_and_not_strange(detector: ScaledDetector) -> None:
    whole = _quiet(rate_excess=9.0)
    lacking = _window({key: value for key, value in whole.features.items() if key != "novel"})
    assert detector.score([lacking, whole]) == pytest.approx(detector.score([whole, whole]), rel=1e-6)
    assert detector.score([_window({})])[0] <= detector.threshold


def test_a_feature_missing_in_some_clean_windows_is_survived(name: str) -> None:
    gappy = [
        _window({key: value for key, value in one.features.items() if place % 3 or key != "novel"}, one.end)
        for place, one in enumerate(_clean(150))
    ]
    made = _learnt(name, gappy)
    assert np.isfinite(made.score(gappy)).all()
    made.close()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_refused(detector: ScaledDetector, value: float) -> None:
    for window in (_quiet(rate_excess=value), _window({"rate_excess": value})):
        with pytest.raises(Terminal, match="finite"):
            detector.score([window])


def test_a_refit_from_the_stored_baseline_gives_equal_scores(name: str, detector: ScaledDetector) -> None:
    assert detector.clean is not None
    again = _make(name)
    again.refit(CleanRows.of_records(json.loads(json.dumps(detector.clean.records()))))
    assert again.score(_mixed()) == detector.score(_mixed())
    assert again.threshold == detector.threshold
    again.close()


def test_higher_is_stranger(name: str, detector: ScaledDetector) -> None:
    clean = detector.score(_clean(200, seed=3))
    hostile = detector.score([_quiet(rate_excess=r, novel=n) for r in (20.0, 60.0) for n in (3.0, 9.0)])
    assert min(hostile) > np.quantile(clean, 0.99)
    assert max(hostile) > detector.threshold
    assert name in EXEMPT or min(hostile) > detector.threshold
    assert np.mean(np.array(clean) > detector.threshold) <= 0.03
    assert detector.score([_quiet(rate_excess=-30.0, size_excess=-5.0)])[0] <= detector.threshold


@settings(max_examples=10, deadline=None)
@given(feature=st.sampled_from(NAMES), low=st.floats(4.0, 200.0), more=st.floats(0.0, 500.0))
def test_one_feature_moved_further_never_scores_less(
    detector: ScaledDetector, feature: str, low: float, more: float
) -> None:
    first, second = detector.score([_quiet(**{feature: low}), _quiet(**{feature: low + more})])
    assert second >= first - 1e-9 * abs(first)


def test_magnitude_is_kept_unless_declared(name: str, detector: ScaledDetector) -> None:
    quiet = detector.score([_quiet()])[0]
    for feature in NAMES:
        scores = np.array(detector.score([_quiet(**{feature: value}) for value in (8.0, 80.0)])) - quiet
        assert name in EXEMPT or scores[1] > 5.0 * scores[0], feature


def test_the_verdicts_know_no_ids_and_no_future(name: str) -> None:
    def played(label: str, seconds: int) -> list[tuple[str, int]]:
        fleet = Fleet(15, seed=31, name=(label + "{:03d}").format)
        fleet.flood(22, 8, (3, 4, 5), 30.0)
        fleet.extras(22, 8, (7,), "num_authorization_failures", 4.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = play(fleet, seconds, train=15, detector=name)
        return [(verdict.kind, len(verdict.devices)) for _, verdict in outcome.verdicts]

    verdicts = played("dev-", 32)
    assert played("zz-top-", 32) == verdicts
    assert played("dev-", 26) == verdicts[:26]
    assert any(kind == "attack" for kind, _ in verdicts) or name in EXEMPT
