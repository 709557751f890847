"""What was learnt goes to a Parquet file and comes back equal; a file that does not fit is told of."""

from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_fleet import START, Fleet
from sizes import size

from analytics import stored_baseline
from analytics.baseline import Baseline, Profile
from analytics.detectors.base import CleanRows
from analytics.model import Model
from analytics.stored_baseline import Stored, load, save
from analytics.verdict import Rules
from contracts.clock import ManualClock
from contracts.errors import BackendError, Terminal
from contracts.messages import SECOND


def _model(detector: str, fleet: Fleet, seconds: int) -> Model:
    clock = ManualClock(START * SECOND)
    model = Model(clock=clock, detector=detector, train_until=(START + 40) * SECOND, rules=Rules())
    for second in fleet.seconds(seconds):
        clock.set(second.end)
        model.take(second, shut_out=frozenset())
        model.judge()
        if model.wants_fit:
            model.fitted(model.fit())
    return model


@pytest.mark.parametrize("detector", ["robust", "knn"])
def test_a_restored_model_scores_the_same(detector: str, tmp_path: Path) -> None:
    before = _model(detector, Fleet(12, seed=3, types=("meter", "lamp")), 60)
    stored = before.stored()
    assert stored is not None
    save(tmp_path / "b.parquet", stored)
    found = load(tmp_path / "b.parquet")
    assert found.baseline == stored.baseline
    assert dict(found.anchors) == dict(stored.anchors)
    assert found.configuration == stored.configuration
    assert (found.configuration["detector"], found.configuration["seed"]) == (detector, 7)

    clock = ManualClock(START * SECOND)
    after = Model(clock=clock, detector=detector, train_until=None, rules=Rules())
    after.restore(found)
    assert not after.learning
    if after.wants_fit:
        after.fitted(after.fit())
    assert before.detector is not None
    assert after.detector is not None
    assert after.detector.threshold == before.detector.threshold
    assert np.array_equal(after.detector.score(before.windows()), before.detector.score(before.windows()))
    before.close()
    after.close()


def test_any_sql_engine_reads_it_and_nothing_is_pickled(tmp_path: Path) -> None:
    model = _model("robust", Fleet(5, seed=1), 50)
    stored = model.stored()
    assert stored is not None
    path = tmp_path / "b.parquet"
    save(path, stored)
    found = duckdb.sql(f"SELECT part, count(*) FROM '{path}' GROUP BY part").fetchall()
    assert dict(found)["devices"] == 5
    assert b"pickle" not in path.read_bytes()
    source = Path(stored_baseline.__file__).parent
    assert not [file for file in source.rglob("*.py") if "import pickle" in file.read_text()]


def test_an_unfinished_model_stores_nothing() -> None:
    assert _model("robust", Fleet(5, seed=1), 20).stored() is None


def test_what_is_there_already_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    stored = _model("robust", Fleet(5, seed=1), 50).stored()
    assert stored is not None
    path = tmp_path / "b.parquet"
    save(path, stored)
    first = path.read_bytes()
    (tmp_path / "b.parquet.new").mkdir()  # the new file cannot be written
    with pytest.raises(BackendError, match="cannot write"):
        save(path, stored)
    assert path.read_bytes() == first


def test_a_file_of_other_features_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = _model("robust", Fleet(5, seed=1), 50).stored()
    assert stored is not None
    with monkeypatch.context() as patched:
        patched.setattr(stored_baseline, "FEATURES_VERSION", 1)
        save(tmp_path / "b.parquet", stored)
    with pytest.raises(Terminal, match="features version 1"):
        load(tmp_path / "b.parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all", b"PAR1" + bytes(200) + b"PAR1"])
def test_a_broken_file_says_so(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "b.parquet"
    path.write_bytes(content)
    with pytest.raises(BackendError, match="cannot read") as error:
        load(path)
    assert error.value.fix


def test_a_parquet_file_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "b.parquet"
    duckdb.sql(f"COPY (SELECT 1 AS part) TO '{path}' (FORMAT parquet)")
    with pytest.raises(BackendError, match="not written by us"):
        load(path)


_names = st.text(max_size=12)
_profiles = st.builds(
    Profile, st.floats(0.01, 1e6), st.floats(1.0, 1e6), st.floats(1.0, 1e6), st.floats(0.0, 1e6)
)


@settings(deadline=None, max_examples=size(30, full=300))
@given(
    devices=st.dictionaries(_names, _profiles, max_size=4),
    patterns=st.dictionaries(_names, st.frozensets(_names, max_size=3), max_size=3),
)
def test_ids_and_topics_of_any_kind_come_back(
    devices: dict[str, Profile], patterns: dict[str, frozenset[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    clean = CleanRows(("messages",), np.zeros((1, 1)), np.zeros(1, dtype=np.int64))
    baseline = Baseline(devices, {}, Profile(1.0, 1.0, 1.0), patterns)
    save(path, Stored(baseline, devices, clean, {"detector": "robust", "seed": 7}))
    found = load(path)
    assert found.baseline == baseline
    assert dict(found.anchors) == devices
