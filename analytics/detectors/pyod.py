"""PyOD models behind our own typed shell, in a process of their own (see `child.py` and `process.py`)."""

import importlib.util
import re
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from contracts.errors import BackendError, BackendMissing, UnknownName

from .base import Matrix, ScaledDetector
from .child import SEED
from .process import Lease, Model, probe_scores

NEIGHBOURS = 10
JITTER = 0.3
"""Scaled units: a third of the smallest credible standard deviation."""

SATURATES = "saturates: a feature at 8 sd and at 80 sd score much the same, so it misses the loudest floods (prefer 'knn')"
BATCH = "scores a window differently in another batch (prefer 'knn')"
SATURATING = frozenset({"ECOD", "COPOD", "HBOS", "IForest"})
_PROBED_ROWS = 64
_CLASS = re.compile(r"^class (\w+)\(BaseDetector\)", re.MULTILINE)


class PyodDetector(ScaledDetector):
    """One PyOD class on scaled rows. PyOD's own labels and `contamination` are not used: the threshold is ours."""

    def __init__(self, model: str, **settings: Any) -> None:
        super().__init__()
        if model in SATURATING:
            warnings.warn(f"PyOD's {model} {SATURATES}", stacklevel=3)
        if model == "KNN":  # distances between rows in standard deviations
            self.minimum_threshold = 3.0
        else:
            self.minimum_threshold, self.lowest = None, 0.0
        self._name = model
        self._settings = settings
        self._lease: Lease | None = None
        self._ready: Model | None = None
        self._probed = False

    def prepare(self) -> None:
        """Start the process and the import now, so that they are done when `learn` comes. Returns at once."""
        if self._lease is None:
            self._lease = Lease()
            self._ready = Model(self._lease, self._name, self._settings)

    def close(self) -> None:
        """Give the process back; the detector is of no use afterwards."""
        if self._lease is not None:
            self._lease.close()

    def _fit(self, rows: Matrix) -> Model:
        self.prepare()
        model = self._model(len(rows))
        model.fit(rows if self._name == "KNN" else _jittered(rows))
        if not self._probed and self._name not in SATURATING:
            self._probed = True
            self._probe(model, rows)
        return model

    def _score(self, fitted: Any, rows: Matrix) -> Matrix:
        if self._lease is None or not isinstance(fitted, Model):
            raise BackendError(f"the detector {self._name} has no process", fix="call learn first")
        return fitted.score(rows)

    def _model(self, rows: int) -> Model:
        """The prepared one for the first fit, others for the types after it; fewer neighbours for few rows."""
        assert self._lease is not None  # noqa: S101 - prepared before
        settings = dict(self._settings)
        if "n_neighbors" in settings:
            settings["n_neighbors"] = max(1, min(NEIGHBOURS, rows // 3))
        ready, self._ready = self._ready, None
        if ready is not None and settings == self._settings:
            return ready
        return Model(self._lease, self._name, settings)

    def _probe(self, model: Model, rows: Matrix) -> None:
        """Measure what is not known of a class, and warn."""
        if self._name in ("KNN", "PCA"):
            return
        saturates, batch = probe_scores(model, rows[:_PROBED_ROWS])
        for told in (SATURATES if saturates else "", BATCH if batch else ""):
            if told:
                warnings.warn(f"PyOD's {self._name} {told}", stacklevel=2)


def _jittered(rows: Matrix) -> Matrix:
    """Features that never vary in clean traffic blind trees and histograms, and PCA divides by their zero spread."""
    noise = np.random.default_rng(SEED).normal(0.0, JITTER, rows.shape)
    return np.asarray(rows + noise, dtype=np.float64)


def any_class(name: str) -> Callable[[], PyodDetector]:
    """What makes a detector of the PyOD class `name`, without importing PyOD. Raises UnknownName, BackendMissing."""
    if name not in pyod_classes():
        raise UnknownName("PyOD class", name, sorted(pyod_classes()))
    return knn if name == "KNN" else partial(PyodDetector, name)


@cache
def pyod_classes() -> frozenset[str]:
    """The detectors that the installed PyOD has, read from its files: its import takes seconds."""
    spec = importlib.util.find_spec("pyod")
    if spec is None or not spec.submodule_search_locations:
        raise BackendMissing("pyod", package="pyod")
    files = Path(next(iter(spec.submodule_search_locations)), "models").glob("[a-z]*.py")
    found = [(file.stem, name) for file in files for name in _CLASS.findall(file.read_text("utf-8"))]
    return frozenset(name for stem, name in found if name.lower() == stem)


def knn() -> PyodDetector:
    """Mean distance to the ten nearest clean windows: keeps the magnitude, row by row. The default."""
    return PyodDetector("KNN", method="mean", n_neighbors=NEIGHBOURS)


def pca() -> PyodDetector:
    """Distance along the components that clean windows vary least in."""
    return PyodDetector("PCA")


def ecod() -> PyodDetector:
    """Rarity in the tails of each feature, summed. Saturates."""
    return PyodDetector("ECOD")


def copod() -> PyodDetector:
    """The same over the empirical copula. Saturates."""
    return PyodDetector("COPOD")


def hbos() -> PyodDetector:
    """Rarity in a histogram of each feature. Saturates."""
    return PyodDetector("HBOS")


def iforest() -> PyodDetector:
    """How few random cuts set a window apart. Saturates."""
    return PyodDetector("IForest")
