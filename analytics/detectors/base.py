"""What every detector shares: scaling with floors, a threshold from clean windows, finite scores only.

Rows are scaled to robust standard deviations of clean traffic, never less than the feature's own floor (a
feature that never varies in clean traffic would otherwise divide by zero, or blind the model to itself).
Only "more" is strange: a silent device is no attack, so values far below the middle are held at `LOWEST`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from contracts.errors import NotReady, Terminal
from contracts.messages import Window

from ..features import FEATURES_VERSION, SCORED

Matrix: TypeAlias = NDArray[np.float64]

LOWEST, HIGHEST = -2.0, 1000.0
"""Scaled values are clipped here. The upper bound only keeps one value from drowning float arithmetic:
6 sd and 100 sd must stay far apart (a flood is the loudest attack there is)."""

MAX_ROWS = 6000
"""KNN scores 400 rows against 6,000 in 20 ms; more rows move no threshold."""

MIN_ROWS = 30
QUANTILE = 0.9995
VALIDATION = 3
"""Every third moment of training is held out for the threshold."""

MARGIN = 1.1
"""The maximum of a short validation is too low an estimate of the maximum of an hour."""


@dataclass(frozen=True, slots=True)
class CleanRows:
    """The stored baseline of a detector: refitting on it gives equal scores.

    `rows` holds the scored features (columns `names`), `ends` the moment of each row.
    """

    names: tuple[str, ...]
    rows: Matrix
    ends: NDArray[np.int64]
    version: int = FEATURES_VERSION

    def records(self) -> list[dict[str, float]]:
        """Plain rows, to be kept as JSON or Parquet."""
        ends = self.ends.tolist()
        values = [dict(zip(self.names, row, strict=True)) for row in self.rows.tolist()]
        return [{"end": end, **row} for end, row in zip(ends, values, strict=True)]

    @classmethod
    def of_records(cls, records: Sequence[Mapping[str, float]]) -> "CleanRows":
        names = tuple(name for name in records[0] if name != "end")
        rows = np.array([[record[name] for name in names] for record in records], dtype=np.float64)
        return cls(names, rows, np.array([int(record["end"]) for record in records], dtype=np.int64))


def clean_rows(windows: Sequence[Window]) -> CleanRows:
    """At most `MAX_ROWS` of the windows, evenly spread, as a matrix."""
    names = tuple(feature.name for feature in SCORED)
    chosen = np.unique(np.linspace(0, max(len(windows) - 1, 0), min(len(windows), MAX_ROWS)).astype(np.int64))
    picked = [windows[position] for position in chosen.tolist()]
    ends = np.array([window.end for window in picked], dtype=np.int64)
    return CleanRows(names, matrix(picked, names), ends)


def matrix(windows: Sequence[Window], names: Sequence[str]) -> Matrix:
    """The named features of the windows. Raises Terminal if one is missing or not finite."""
    try:
        rows = np.array([[window.features[name] for name in names] for window in windows], dtype=np.float64)
    except KeyError as error:
        raise Terminal(
            f"a window has no feature {error}", fix=f"measure it with features version {FEATURES_VERSION}"
        ) from None
    if not np.isfinite(rows).all():
        raise Terminal("a feature is not a finite number", fix="leave out windows without measurements")
    return rows.reshape(len(windows), len(names))


class ScaledDetector(ABC):
    """Base of the detectors. A subclass fits on scaled rows and gives each scaled row one number."""

    minimum_threshold = 3.5
    """Below it nothing is flagged, however quiet the training was: rows are in standard deviations."""

    def __init__(self) -> None:
        self.threshold = float("inf")
        self.clean: CleanRows | None = None
        self._middle: Matrix = np.zeros(0)
        self._spread: Matrix = np.ones(0)

    def prepare(self) -> None:  # noqa: B027 - most detectors need nothing
        """Do what is slow and needs no data (imports), so that `learn` is quick. Blocks."""

    def close(self) -> None:  # noqa: B027 - most detectors hold nothing
        """Give back what the detector holds outside this process; it is of no use afterwards."""

    def learn(self, windows: Sequence[Window]) -> None:
        """Fit on clean windows, replacing what was learnt. Raises NotReady if they are too few."""
        self.refit(clean_rows(windows))

    def refit(self, clean: CleanRows) -> None:
        """Fit on a stored baseline. Raises NotReady if it is too short, Terminal if it is of other features."""
        if len(clean.rows) < MIN_ROWS:
            raise NotReady(f"only {len(clean.rows)} clean windows", fix=f"train until there are {MIN_ROWS}")
        floors = {feature.name: feature.floor for feature in SCORED}
        if clean.version != FEATURES_VERSION or set(clean.names) != set(floors):
            raise Terminal("the stored baseline is of other features", fix="train again")
        self._middle = np.median(clean.rows, axis=0)
        spread = 1.4826 * np.median(np.abs(clean.rows - self._middle), axis=0)
        self._spread = np.maximum(spread, [floors[name] for name in clean.names])
        self.clean = clean
        held_out = _held_out(clean.ends)
        scaled = self._scale(clean.rows)
        self._fit(scaled[~held_out])
        quantile = float(np.quantile(self._score(scaled[held_out]), QUANTILE))
        self.threshold = max(self.minimum_threshold, MARGIN * quantile)

    def score(self, windows: Sequence[Window]) -> list[float]:
        """One finite number a window, in order, independent of the other windows. Higher is stranger."""
        if self.clean is None:
            raise NotReady("the detector has not learnt yet", fix="call learn first")
        if not windows:
            return []
        scores = self._score(self._scale(matrix(windows, self.clean.names)))
        if not np.isfinite(scores).all():
            raise Terminal("the detector gave a score that is not finite", fix="use the detector 'robust'")
        return [float(score) for score in scores]

    def _scale(self, rows: Matrix) -> Matrix:
        return np.clip((rows - self._middle) / self._spread, LOWEST, HIGHEST)

    @abstractmethod
    def _fit(self, rows: Matrix) -> None: ...

    @abstractmethod
    def _score(self, rows: Matrix) -> Matrix: ...


def _held_out(ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Rows of every third moment (never all, never none), so that both parts span the whole training."""
    moments = np.unique(ends, return_inverse=True)[1]
    if moments.max() < VALIDATION:
        moments = np.arange(len(ends))
    return np.asarray(moments % VALIDATION == VALIDATION - 1, dtype=np.bool_)
