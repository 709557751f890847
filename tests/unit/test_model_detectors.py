"""What detectors refuse and warn of, types with a model of their own, the shared process, the frozen distributions.

The check list that every detector passes is in tests/contract/test_detectors.py.
"""

import gc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from analytics.detectors import DETECTORS, check_detector, make_detector, process
from analytics.detectors.base import CleanRows, clean_rows
from analytics.detectors.frozen import FrozenTails
from analytics.detectors.process import Lease, Model
from analytics.detectors.types import MIN_TYPE_ROWS, types_that_differ
from analytics.features import SCORED
from contracts.errors import BackendError, NotReady, Terminal, UnknownName
from contracts.messages import SECOND, Window

NAMES = [feature.name for feature in SCORED]


def _window(values: dict[str, float], end: int = 0, of: str = "meter") -> Window:
    return Window("d", of, end - 5 * SECOND, end, values)


def _clean(count: int = 300, seed: int = 1, of: str = "meter", wide: float = 1.0) -> list[Window]:
    rng = np.random.default_rng(seed)
    rows = np.zeros((count, len(NAMES)))
    rows[:, NAMES.index("rate_excess")] = rng.normal(0, wide, count)
    rows[:, NAMES.index("size_excess")] = rng.normal(0, 0.03, count)
    return [
        _window(dict(zip(NAMES, row, strict=True)), n // 10 * SECOND, of)
        for n, row in enumerate(rows.tolist())
    ]


def _quiet(of: str = "meter", **changes: float) -> Window:
    return _window({**dict.fromkeys(NAMES, 0.0), **changes}, of=of)


def test_no_windows_no_scores() -> None:
    made = make_detector("robust")
    made.learn(_clean())
    assert made.score([]) == []


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
    assert len(rows.rows) == len(rows.types) == 6000
    assert rows.ends[0] == 0
    assert rows.ends[-1] == 1299 * SECOND


def test_an_unknown_detector_names_the_known_ones() -> None:
    with pytest.raises(UnknownName) as caught:
        make_detector("knnn")
    assert "did you mean 'knn'" in caught.value.fix
    with pytest.raises(UnknownName) as caught:
        check_detector("pyod:LOFF")
    assert "did you mean 'LOF'" in caught.value.fix
    check_detector("pyod:MCD")


@pytest.mark.parametrize("name", ["ecod", "copod", "hbos", "iforest"])
def test_saturating_models_warn(name: str) -> None:
    assert "saturates" in DETECTORS.get(name).capabilities
    with pytest.warns(UserWarning, match="saturates"):
        make_detector(name)


def test_what_is_not_known_of_a_class_is_measured() -> None:
    lof = make_detector("pyod:LOF")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lof.learn(_clean())
    saturating = make_detector("pyod:OCSVM")
    with pytest.warns(UserWarning, match="OCSVM saturates"):
        saturating.learn(_clean())
    batch = make_detector("pyod:CD")
    with pytest.warns(UserWarning, match="in another batch"):
        batch.learn(_clean())
    for made in (lof, saturating, batch):
        made.close()


def test_a_class_that_cannot_be_made_says_so_and_leaves_the_others_alone() -> None:
    lease = Lease()
    good, bad = Model(lease, "KNN", {}), Model(lease, "NoSuchModel", {})
    rows = np.random.default_rng(1).normal(size=(50, 3))
    with pytest.raises(BackendError, match="NoSuchModel failed: ModuleNotFoundError"):
        bad.fit(rows)
    good.fit(rows)
    assert good.score(rows).shape == (50,)
    lease.close()


def test_the_process_is_shared_and_ends_with_its_last_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_kept", False)  # as it is where nobody asked to keep it
    monkeypatch.setattr(process, "_shared", [])
    before = {one.pid for one in psutil.Process().children()}
    first, second = Lease(), Lease()
    (pid,) = {one.pid for one in psutil.Process().children()} - before
    first.close()
    first.close()
    assert psutil.pid_exists(pid)
    second.close()
    assert not psutil.pid_exists(pid)


def test_an_interrupted_request_costs_the_process_and_not_the_next_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(process, "_shared", [])
    monkeypatch.setattr(process.child, "read_frame", interrupt)
    lease = Lease()
    with pytest.raises(KeyboardInterrupt):
        Model(lease, "KNN", {}).fit(np.zeros((3, 2)))
    assert lease.process.gone
    other = Lease()
    assert other.process is not lease.process
    lease.close()
    other.close()
    other.process.end()  # kept for the worker's other tests, which have one


def test_a_process_that_was_killed_is_told_and_replaced() -> None:
    made = make_detector("knn")
    made.learn(_clean(60))
    gc.collect()
    (child,) = [one for one in psutil.Process().children() if "analytics.detectors.child" in one.cmdline()]
    child.kill()
    child.wait()
    with pytest.raises(BackendError, match="is gone"):
        made.score([_quiet()])
    again = make_detector("knn")
    again.learn(_clean(60))
    assert again.score([_quiet(rate_excess=30.0)])[0] > again.threshold
    made.close()
    again.close()


@pytest.mark.parametrize("name", ["ECOD", "COPOD"])
def test_frozen_distributions_score_a_row_as_if_it_came_alone(name: str) -> None:
    model = pytest.importorskip(f"pyod.models.{name.lower()}")
    rng = np.random.default_rng(3)
    rows = np.column_stack([rng.exponential(size=400), -rng.exponential(size=400)])
    fitted = getattr(model, name)()
    fitted.fit(rows)
    frozen = FrozenTails(rows, both=name == "COPOD")
    probe = np.array([[0.2, -0.1], [2.0, -3.0], [-1.0, 1.0], [9.0, -9.0]])
    alone = [fitted.decision_function(row[None, :])[0] for row in probe]
    assert frozen.decision_function(probe) == pytest.approx(alone)
    assert frozen.decision_function(probe[:2]) == pytest.approx(alone[:2])
    together = fitted.decision_function(np.tile(probe[3], (2000, 1)))[-1]
    assert together < 0.7 * alone[3], "what freezing is for"


def test_a_type_that_differs_has_a_model_of_its_own_and_a_common_threshold() -> None:
    calm, wild = _clean(600, seed=1, of="meter"), _clean(600, seed=2, of="pump", wide=4.0)
    made = make_detector("robust")
    made.learn(calm + wild)
    assert set(made.own_models) == {"meter", "pump"}
    for_meter, for_pump, for_stranger = made.score(
        [_quiet(of, rate_excess=12.0) for of in ("meter", "pump", "new")]
    )
    assert for_pump < made.threshold < for_meter, "12 sd of a meter, 3 of a pump"
    assert for_pump < for_stranger < for_meter
    again = make_detector("robust")
    assert made.clean is not None
    again.refit(CleanRows.of_records(made.clean.records()))
    assert again.score(calm + wild) == made.score(calm + wild)


def test_the_detector_of_the_guide_is_one() -> None:
    page = (Path(__file__).parents[2] / "docs/writing-a-backend.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], names)
    made = names["LengthDetector"]()
    made.learn(_clean())
    loud, louder = made.score([_quiet(rate_excess=20.0), _quiet(rate_excess=20.0, novel=9.0)])
    assert made.threshold < loud < louder
    assert np.mean(np.array(made.score(_clean(seed=3))) > made.threshold) <= 0.03


def test_types_alike_or_too_small_share_one_model() -> None:
    made = make_detector("robust")
    made.learn(_clean(600, seed=1, of="meter") + _clean(600, seed=2, of="pump"))
    assert made.own_models == ()
    rows = np.vstack([np.zeros((900, 2)), np.full((MIN_TYPE_ROWS - 1, 2), 50.0)])
    assert "b" not in types_that_differ(["a"] * 900 + ["b"] * (MIN_TYPE_ROWS - 1), rows)
    assert types_that_differ([], rows[:0]) == {}
