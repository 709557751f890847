"""Robust z: the largest scaled feature. Needs no PyOD, is fitted in a millisecond, and explains itself."""

from typing import Any

import numpy as np

from .base import Matrix, ScaledDetector


class RobustDetector(ScaledDetector):
    """A window is as strange as its strangest feature, in robust standard deviations of clean traffic."""

    def _fit(self, rows: Matrix) -> None:
        """The scale is all there is to learn."""

    def _score(self, fitted: Any, rows: Matrix) -> Matrix:
        _ = fitted
        return np.asarray(np.max(rows, axis=1), dtype=np.float64)
