"""The check list that every detector passes, and what it refuses."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.detectors import DETECTORS, ScaledDetector, make_detector
from analytics.detectors.base import CleanRows, clean_rows
from analytics.features import SCORED
from contracts.errors import NotReady, Terminal, UnknownName
from contracts.messages import SECOND, Window

NAMES = [feature.name for feature in SCORED]


def _window(values: dict[str, float], end: int = 0, device: str = "d") -> Window:
    return Window(device, "meter", end - 5 * SECOND, end, values)


def _clean(count: int = 300, seed: int = 1) -> list[Window]:
    rng = np.random.default_rng(seed)
    rows = np.zeros((count, len(NAMES)))
    rows[:, NAMES.index("rate_excess")] = rng.normal(0, 1, count)
    rows[:, NAMES.index("size_excess")] = rng.normal(0, 0.03, count)
    return [
        _window(dict(zip(NAMES, row, strict=True)), end=n // 10 * SECOND)
        for n, row in enumerate(rows.tolist())
    ]


def _quiet(**changes: float) -> Window:
    return _window({**dict.fromkeys(NAMES, 0.0), **changes})


@pytest.fixture(scope="module", params=["robust", "knn"])
def detector(request: pytest.FixtureRequest) -> ScaledDetector:
    made = make_detector(request.param)
    made.learn(_clean())
    return made


def test_a_row_scores_the_same_alone_and_in_any_batch(detector: ScaledDetector) -> None:
    windows = [*_clean(40, seed=2), _quiet(rate_excess=50.0)]
    alone = [detector.score([window])[0] for window in windows]
    assert detector.score(windows) == pytest.approx(alone)
    assert detector.score([_quiet(novel=4.0)] * 100 + windows)[100:] == pytest.approx(alone)


def test_features_that_never_varied_still_count(detector: ScaledDetector) -> None:
    for name in ("novel", "authorization", "authentication", "throttled", "novel_slow"):
        assert detector.score([_quiet(**{name: 6.0})])[0] > detector.threshold


def test_one_feature_moved_further_never_scores_lower(detector: ScaledDetector) -> None:
    for name in NAMES:
        values = [4.0, 6.0, 10.0, 30.0, 100.0, 300.0]
        scores = detector.score([_quiet(**{name: value}) for value in values])
        assert scores == sorted(scores)
        assert scores[-1] > 5 * scores[0]


@settings(max_examples=50, deadline=None)
@given(name=st.sampled_from(NAMES), low=st.floats(4.0, 200.0), more=st.floats(0.0, 500.0))
def test_magnitude_is_kept(detector: ScaledDetector, name: str, low: float, more: float) -> None:
    first, second = detector.score([_quiet(**{name: low}), _quiet(**{name: low + more})])
    assert second >= first


def test_the_order_of_features_does_not_matter(detector: ScaledDetector) -> None:
    window = _quiet(rate_excess=7.0, novel=2.0)
    turned = _window(dict(reversed(list(window.features.items()))))
    assert detector.score([turned]) == detector.score([window])


def test_clean_windows_stay_below_the_threshold_and_silence_is_no_attack(detector: ScaledDetector) -> None:
    assert max(detector.score(_clean(500, seed=3))) <= detector.threshold
    assert detector.score([_quiet(rate_excess=-30.0, size_excess=-5.0)])[0] <= detector.threshold


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_refused(detector: ScaledDetector, value: float) -> None:
    with pytest.raises(Terminal, match="finite"):
        detector.score([_quiet(rate_excess=value)])


def test_a_missing_feature_is_refused(detector: ScaledDetector) -> None:
    with pytest.raises(Terminal, match="novel"):
        detector.score([_window({name: 0.0 for name in NAMES if name != "novel"})])


def test_a_refit_from_the_stored_baseline_gives_equal_scores(detector: ScaledDetector) -> None:
    assert detector.clean is not None
    stored = json.loads(json.dumps(detector.clean.records()))
    again = make_detector("knn" if type(detector).__name__ == "PyodDetector" else "robust")
    again.refit(CleanRows.of_records(stored))
    windows = [*_clean(20, seed=4), _quiet(rate_excess=9.0, throttled=3.0)]
    assert again.score(windows) == detector.score(windows)
    assert again.threshold == detector.threshold


def test_no_windows_no_scores(detector: ScaledDetector) -> None:
    assert detector.score([]) == []


@pytest.mark.parametrize("name", ["robust", "knn"])
def test_too_little_training_and_no_training_are_refused(name: str) -> None:
    made = make_detector(name)
    with pytest.raises(NotReady, match="not learnt"):
        made.score([_quiet()])
    with pytest.raises(NotReady, match="clean windows"):
        made.learn(_clean(10))


def test_a_baseline_of_other_features_is_refused() -> None:
    rows = clean_rows(_clean())
    with pytest.raises(Terminal, match="other features"):
        make_detector("robust").refit(CleanRows(rows.names, rows.rows, rows.ends, version=0))


def test_training_is_thinned_evenly() -> None:
    rows = clean_rows(_clean(13_000))
    assert len(rows.rows) == 6000
    assert rows.ends[0] == 0
    assert rows.ends[-1] == 1299 * SECOND


def test_an_unknown_detector_names_the_known_ones() -> None:
    with pytest.raises(UnknownName) as caught:
        make_detector("knnn")
    assert "did you mean 'knn'" in caught.value.fix


@pytest.mark.parametrize("name", ["ecod", "copod", "hbos", "iforest"])
def test_saturating_models_warn(name: str) -> None:
    assert "saturates" in DETECTORS.get(name).capabilities
    with pytest.warns(UserWarning, match="saturates"):
        make_detector(name)


def test_pca_survives_features_that_never_vary() -> None:
    made = make_detector("pca")
    made.learn(_clean())
    assert made.score([_quiet(novel=6.0)])[0] > made.threshold
