"""PyOD models behind our own typed shell. The import takes seconds and happens late, in a worker thread."""

import importlib
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from contracts.errors import BackendMissing

from .base import Matrix, ScaledDetector

NEIGHBOURS = 10
SEED = 7
"""Fixed: the same baseline must give the same scores."""

JITTER = 0.3
"""Scaled units: a third of the smallest credible standard deviation."""

_SATURATES = "saturates: a feature at 6 sd and at 100 sd score the same, so it misses the loudest floods (prefer 'knn')"
_BATCH = f"recomputes its distribution with every batch, and {_SATURATES}"
CAUTIONS: Mapping[str, str] = {"ECOD": _BATCH, "COPOD": _BATCH, "HBOS": _SATURATES, "IForest": _SATURATES}


class PyodDetector(ScaledDetector):
    """One PyOD class on scaled rows. PyOD's own labels and `contamination` are not used: the threshold is ours."""

    minimum_threshold = 3.0

    def __init__(self, model: str, **settings: Any) -> None:
        super().__init__()
        if model in CAUTIONS:
            warnings.warn(f"PyOD's {model} {CAUTIONS[model]}", stacklevel=3)
        self._name = model
        self._settings = settings
        self._model: Any = None

    def prepare(self) -> None:
        """Import PyOD now (seconds): called in a worker thread while the model still collects windows."""
        _load(self._name)

    def _fit(self, rows: Matrix) -> None:
        settings = dict(self._settings)
        if "n_neighbors" in settings:
            settings["n_neighbors"] = max(1, min(NEIGHBOURS, len(rows) // 3))
        self._model = _load(self._name)(**settings)
        self._model.fit(rows if self._name == "KNN" else _jittered(rows))

    def _score(self, rows: Matrix) -> Matrix:
        return np.asarray(self._model.decision_function(rows), dtype=np.float64)


def _jittered(rows: Matrix) -> Matrix:
    """Features that never vary in clean traffic blind trees and histograms, and PCA divides by their zero spread."""
    noise = np.random.default_rng(SEED).normal(0.0, JITTER, rows.shape)
    return np.asarray(rows + noise, dtype=np.float64)


def _load(model: str) -> Any:
    try:
        module = importlib.import_module(f"pyod.models.{model.lower()}")
    except ModuleNotFoundError as error:
        raise BackendMissing(model.lower(), package="pyod", extra="models") from error
    return getattr(module, model)


def knn() -> PyodDetector:
    """Mean distance to the ten nearest clean windows: keeps the magnitude, row by row. The default."""
    return PyodDetector("KNN", method="mean", n_neighbors=NEIGHBOURS)


def pca() -> PyodDetector:
    return PyodDetector("PCA", random_state=SEED)


def ecod() -> PyodDetector:
    return PyodDetector("ECOD")


def copod() -> PyodDetector:
    return PyodDetector("COPOD")


def hbos() -> PyodDetector:
    return PyodDetector("HBOS")


def iforest() -> PyodDetector:
    return PyodDetector("IForest", random_state=SEED)
