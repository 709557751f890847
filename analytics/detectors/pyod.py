"""PyOD models behind our own typed shell, each in a process of its own (see `child.py`)."""

import importlib.util
import json
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np

from contracts.errors import BackendError, BackendMissing

from . import child
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
        self._child: _Child | None = None

    def prepare(self) -> None:
        """Start the process now, so that the import is done when `learn` comes. Returns at once."""
        if self._child is None:
            self._child = _Child(self._name, self._settings)

    def close(self) -> None:
        """End the process; the detector is of no use afterwards."""
        if self._child is not None:
            self._child.close()

    def _fit(self, rows: Matrix) -> None:
        if "n_neighbors" in self._settings:
            neighbours = max(1, min(NEIGHBOURS, len(rows) // 3))
            if neighbours != self._settings["n_neighbors"]:
                self._settings["n_neighbors"] = neighbours
                self.close()
                self._child = None
        self.prepare()
        self._ask(b"F", rows if self._name == "KNN" else _jittered(rows))

    def _score(self, rows: Matrix) -> Matrix:
        return self._ask(b"S", rows)

    def _ask(self, kind: bytes, rows: Matrix) -> Matrix:
        if self._child is None:
            raise BackendError(f"the detector {self._name} has no process", fix="call learn first")
        return self._child.ask(kind, rows)


class _Child:
    """The process of one model. One request at a time, from any thread."""

    def __init__(self, model: str, settings: Mapping[str, Any]) -> None:
        if importlib.util.find_spec("pyod") is None:
            raise BackendMissing(model.lower(), package="pyod")
        self._model = model
        self._lock = threading.Lock()
        self._process = subprocess.Popen(  # noqa: S603 - our own module, a name from our own table
            [sys.executable, "-m", child.__name__, model, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the stack, which closes us in its turn
        )
        self._end = weakref.finalize(self, _end, self._process)

    def ask(self, kind: bytes, rows: Matrix) -> Matrix:
        """Send a request, wait for the answer. Raises BackendError if the process failed or is gone."""
        with self._lock:
            try:
                assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101, PT018 - pipes
                child.write_frame(self._process.stdin, kind, child.pack(rows))
                answer = child.read_frame(self._process.stdout)
            except (OSError, ValueError):
                answer = None
        if answer is None:
            raise BackendError(
                f"the process of the detector {self._model} is gone",
                fix="start again, or use the detector 'robust'",
            )
        if answer[0] == b"E":
            raise BackendError(
                f"the detector {self._model} failed: {answer[1].decode()}", fix="use the detector 'robust'"
            )
        return child.unpack(answer[1])

    def close(self) -> None:
        self._end()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Close its input, which ends it; do not wait for an import that is under way."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.kill()
    process.wait()


def _jittered(rows: Matrix) -> Matrix:
    """Features that never vary in clean traffic blind trees and histograms, and PCA divides by their zero spread."""
    noise = np.random.default_rng(SEED).normal(0.0, JITTER, rows.shape)
    return np.asarray(rows + noise, dtype=np.float64)


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
