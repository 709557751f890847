"""What every detector shares: scaling with floors, a threshold from clean windows, finite scores only.

Rows are scaled to robust standard deviations of clean traffic, never less than the feature's own floor (a
feature that never varies in clean traffic would otherwise divide by zero, or blind the model to itself).
Only "more" is strange: a silent device is no attack, so values far below the middle are held at `LOWEST`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from contracts.errors import NotReady, Terminal
from contracts.messages import Window

from ..features import FEATURES_VERSION, SCORED
from .types import types_that_differ

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

_TINY = 1e-9
MARGIN = 1.1
"""The maximum of a short validation is too low an estimate of the maximum of an hour."""


@dataclass(frozen=True, slots=True)
class CleanRows:
    """The stored baseline of a detector: refitting on it gives equal scores.

    `rows` holds the scored features (columns `names`), `ends` the moment of each row, `types` its device type (empty
    if none is known).
    """

    names: tuple[str, ...]
    rows: Matrix
    ends: NDArray[np.int64]
    version: int = FEATURES_VERSION
    types: tuple[str, ...] = ()

    def records(self) -> list[dict[str, float | str]]:
        """Plain rows, to be kept as JSON or Parquet."""
        ends, types = self.ends.tolist(), self.types or ("",) * len(self.rows)
        values = [dict(zip(self.names, row, strict=True)) for row in self.rows.tolist()]
        return [{"end": end, "type": name, **row} for end, name, row in zip(ends, types, values, strict=True)]

    @classmethod
    def of_records(cls, records: Sequence[Mapping[str, float | str]]) -> "CleanRows":
        names = tuple(name for name in records[0] if name not in ("end", "type"))
        rows = np.array([[float(record[name]) for name in names] for record in records], dtype=np.float64)
        types = tuple(str(record.get("type", "")) for record in records)
        ends = np.array([int(record["end"]) for record in records], dtype=np.int64)
        return cls(names, rows, ends, types=types)


def clean_rows(windows: Sequence[Window]) -> CleanRows:
    """At most `MAX_ROWS` of the windows, evenly spread, as a matrix. Raises Terminal for a value that is not finite."""
    names = tuple(feature.name for feature in SCORED)
    chosen = np.unique(np.linspace(0, max(len(windows) - 1, 0), min(len(windows), MAX_ROWS)).astype(np.int64))
    picked = [windows[position] for position in chosen.tolist()]
    ends = np.array([window.end for window in picked], dtype=np.int64)
    rows = matrix(picked, names)
    middle = [_median(column[~np.isnan(column)]) for column in rows.T]
    rows = np.where(np.isnan(rows), middle, rows)
    return CleanRows(names, rows, ends, types=tuple(window.device_type for window in picked))


def matrix(windows: Sequence[Window], names: Sequence[str]) -> Matrix:
    """The named features of the windows, NaN where a window lacks one. Raises Terminal for one that is not finite."""
    shape = (len(windows), len(names))
    try:
        rows = np.array([[window.features[name] for name in names] for window in windows], dtype=np.float64)
    except KeyError:
        return _with_holes(windows, names)
    if not np.isfinite(rows).all():
        raise Terminal("a feature is not a finite number", fix="leave out windows without measurements")
    return rows.reshape(shape)


def _with_holes(windows: Sequence[Window], names: Sequence[str]) -> Matrix:
    rows = [[window.features.get(name, np.nan) for name in names] for window in windows]
    known = [[name in window.features for name in names] for window in windows]
    found = np.array(rows, dtype=np.float64)
    if not np.isfinite(found[np.array(known)]).all():
        raise Terminal("a feature is not a finite number", fix="leave out windows without measurements")
    return found


def _median(values: Matrix) -> float:
    return float(np.median(values)) if len(values) else 0.0


@dataclass(frozen=True, slots=True)
class Fitted:
    """One model with the scale that its rows are brought to.

    `threshold` is of its own scores, less the `usual` one of clean windows.
    """

    middle: Matrix
    spread: Matrix
    model: Any
    threshold: float
    lowest: float = LOWEST
    usual: float = 0.0

    def scale(self, rows: Matrix) -> Matrix:
        """Robust standard deviations; what a window lacks is as it was in clean traffic."""
        return np.clip(np.nan_to_num((rows - self.middle) / self.spread, nan=0.0), self.lowest, HIGHEST)


class ScaledDetector(ABC):
    """Base of the detectors. A subclass fits on scaled rows and gives each scaled row one number."""

    minimum_threshold: float | None = 3.5
    """Below it nothing is flagged, however quiet the training was. None if the scores are not in standard deviations:
    then they are counted from the median of clean scores."""

    lowest = LOWEST
    """Where scaled values are held from below. Zero for models that find the low side as strange as the high one."""

    def __init__(self) -> None:
        self.threshold = float("inf")
        self.clean: CleanRows | None = None
        self._everybody: Fitted | None = None
        self._of_type: dict[str, Fitted] = {}

    @property
    def own_models(self) -> tuple[str, ...]:
        """The device types that differ so much from the others that they have a model of their own."""
        return tuple(self._of_type)

    def prepare(self) -> None:  # noqa: B027 - most detectors need nothing
        """Do what is slow and needs no data (imports), so that `learn` is quick. Blocks."""

    def close(self) -> None:  # noqa: B027 - most detectors hold nothing
        """Give back what the detector holds outside this process; it is of no use afterwards."""

    def learn(self, windows: Sequence[Window]) -> None:
        """Fit on clean windows, replacing what was learnt. Raises NotReady if they are too few."""
        self.refit(clean_rows(windows))

    def refit(self, clean: CleanRows) -> None:
        """Fit on a stored baseline: one model for everybody, and one for each device type that differs.

        Raises NotReady if it is too short, Terminal if it is of other features or gives scores that are not finite.
        """
        if len(clean.rows) < MIN_ROWS:
            raise NotReady(f"only {len(clean.rows)} clean windows", fix=f"train until there are {MIN_ROWS}")
        floors = {feature.name: feature.floor for feature in SCORED}
        if clean.version != FEATURES_VERSION or set(clean.names) != set(floors):
            raise Terminal("the stored baseline is of other features", fix="train again")
        floor = np.array([floors[name] for name in clean.names])
        everybody = self._fitted(clean.rows, clean.ends, floor)
        self._of_type = {
            name: self._fitted(clean.rows[lines], clean.ends[lines], floor)
            for name, lines in types_that_differ(clean.types, everybody.scale(clean.rows)).items()
        }
        self._everybody, self.threshold, self.clean = everybody, everybody.threshold, clean

    def score(self, windows: Sequence[Window]) -> list[float]:
        """One finite number a window, in order, independent of the other windows. Higher is stranger.

        The scores of a type with a model of its own are brought to everybody's threshold.
        """
        if self.clean is None or self._everybody is None:
            raise NotReady("the detector has not learnt yet", fix="call learn first")
        if not windows:
            return []
        scores = self._scores([window.device_type for window in windows], matrix(windows, self.clean.names))
        if not np.isfinite(scores).all():
            raise Terminal("the detector gave a score that is not finite", fix="use the detector 'robust'")
        return [float(score) for score in scores]

    def _scores(self, types: Sequence[str], rows: Matrix) -> Matrix:
        assert self._everybody is not None  # noqa: S101 - the only caller has looked
        if not self._of_type:
            return self._scores_of(self._everybody, rows)
        scores = np.zeros(len(rows))
        for name in dict.fromkeys(name if name in self._of_type else "" for name in types):
            fitted = self._of_type.get(name, self._everybody)
            lines = [line for line, of in enumerate(types) if (of if of in self._of_type else "") == name]
            scores[lines] = self._scores_of(fitted, rows[lines]) * (
                self._everybody.threshold / fitted.threshold
            )
        return scores

    def _fitted(self, rows: Matrix, ends: NDArray[np.int64], floor: Matrix) -> Fitted:
        middle = np.median(rows, axis=0)
        spread = np.maximum(1.4826 * np.median(np.abs(rows - middle), axis=0), floor)
        scaler = Fitted(middle, spread, None, np.inf, self.lowest)
        held_out, scaled = _held_out(ends), scaler.scale(rows)
        model = self._fit(scaled[~held_out])
        scores = self._score(model, scaled[held_out])
        if not np.isfinite(scores).all():
            raise Terminal("the detector gave a score that is not finite", fix="use the detector 'robust'")
        least = self.minimum_threshold
        usual = float(np.median(scores)) if least is None else 0.0
        threshold = MARGIN * (float(np.quantile(scores, QUANTILE)) - usual)
        return replace(scaler, model=model, usual=usual, threshold=max(least or _TINY, threshold))

    def _scores_of(self, fitted: Fitted, rows: Matrix) -> Matrix:
        return self._score(fitted.model, fitted.scale(rows)) - fitted.usual

    @abstractmethod
    def _fit(self, rows: Matrix) -> Any:
        """Fit on scaled rows; what comes back is given to `_score`."""

    @abstractmethod
    def _score(self, fitted: Any, rows: Matrix) -> Matrix:
        """One number for each scaled row, whatever the others are."""


def _held_out(ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Rows of every third moment (never all, never none), so that both parts span the whole training."""
    moments = np.unique(ends, return_inverse=True)[1]
    if moments.max() < VALIDATION:
        moments = np.arange(len(ends))
    return np.asarray(moments % VALIDATION == VALIDATION - 1, dtype=np.bool_)
