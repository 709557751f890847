"""One detector on the windows of a fleet, ours or a peer's, in a process of its own on one core.

python -m thingstorm.bench.detector_load '{"subject": "knn", "devices": 5000, "ticks": 10, "seed": 7}'

Everybody sees the same rows: our features, scaled by our clean spread. A peer learns from the clean rows that ours is
fitted on, in their order. The threshold is the same quantile of the same held-out clean windows for all.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from analytics.detectors import make_detector
from analytics.detectors.base import HIGHEST, LOWEST, QUANTILE, CleanRows, clean_rows, matrix
from analytics.features import SCORED
from analytics.model import Learnt, Model, train
from analytics.verdict import Rules
from analytics.windows import WINDOW_SECONDS, Second
from contracts.clock import ManualClock
from contracts.messages import SECOND, Window

from .detector_fleet import START, BenchFleet

TRAINED = 60
"""Seconds of clean traffic. Our model then has 20 moments of 5,000 windows, thinned to 6,000 rows."""

HELD_OUT = 4
"""Clean moments for the threshold of all subjects."""

WARM = 3
"""Moments that are played before time is taken."""

SETTLED = WINDOW_SECONDS + 1
"""Windows are wholly hostile from here on."""

TOP = 10.0
"""The range of a feature that peers are told: ten standard deviations, as their documentation wants limits."""

Rows = NDArray[np.float64]
Milliseconds = list[float]


class Peer(Protocol):
    """A detector of another library: learns row by row, scores row by row."""

    def learn(self, row: Rows) -> None: ...

    def score(self, row: Rows) -> float: ...


class RiverTrees:
    """river's HalfSpaceTrees with its defaults but for the limits; rows go as the dicts that river takes."""

    def __init__(self, names: tuple[str, ...], seed: int) -> None:
        from river import anomaly  # noqa: PLC0415 - only who measures peers needs it

        limits: dict[Any, tuple[float, float]] = dict.fromkeys(names, (LOWEST, TOP))
        self._names = names
        self._model: Any = anomaly.HalfSpaceTrees(limits=limits, seed=seed)

    def learn(self, row: Rows) -> None:
        """See `Peer`."""
        self._model.learn_one(dict(zip(self._names, row.tolist(), strict=True)))

    def score(self, row: Rows) -> float:
        """See `Peer`."""
        return float(self._model.score_one(dict(zip(self._names, row.tolist(), strict=True))))


class PysadHash:
    """PySAD's RSHash with its defaults: of PySAD's detectors that need no history of rows the best one on such rows."""

    def __init__(self, names: tuple[str, ...], seed: int) -> None:
        from pysad.models import RSHash  # noqa: PLC0415 - see above

        low, high = np.full(len(names), LOWEST), np.full(len(names), TOP)
        make: Any = RSHash
        self._model = make(low, high, random_state=seed)

    def learn(self, row: Rows) -> None:
        """See `Peer`."""
        self._model.fit_partial(row)

    def score(self, row: Rows) -> float:
        """See `Peer`."""
        return float(np.ravel(self._model.score_partial(row))[0])


PEERS: dict[str, Callable[[tuple[str, ...], int], Peer]] = {"river": RiverTrees, "pysad": PysadHash}


class _Windows:
    """The model without a detector: seconds in, windows out."""

    def __init__(self) -> None:
        self.clock = ManualClock(START * SECOND)
        until = (START + TRAINED) * SECOND
        self.model = Model(clock=self.clock, detector="robust", train_until=until, rules=Rules())

    def take(self, second: Second) -> None:
        self.clock.set(second.end)
        self.model.take(second, shut_out=frozenset())


def measure(subject: str, *, devices: int, ticks: int, seed: int) -> dict[str, float]:
    """All figures of a subject."""
    fleet = BenchFleet(devices, seed=seed)
    onset = TRAINED + WARM + HELD_OUT + ticks
    seconds = list(fleet.seconds(onset + SETTLED + ticks, onset=onset))
    seen = _Windows()
    for second in seconds[: TRAINED + WARM]:
        seen.take(second)
    learnt = train(seconds[:TRAINED])
    began = time.perf_counter()
    score, close = _fitted(subject, learnt, seed)
    fit_ms = 1000.0 * (time.perf_counter() - began)
    clean, hostile, features, scores = _played(seen, seconds[TRAINED + WARM :], score, onset=START + onset)
    close()
    bad = {fleet.ids[number] for number in fleet.hostile}
    told = _quality(clean, hostile, bad)
    return {
        **told,
        **_times("features", features),
        **_times("scores", scores),
        **_times("tick", [one + other for one, other in zip(features, scores, strict=True)]),
        "fit_ms": fit_ms,
    }


Scored = list[tuple[list[Window], Rows]]


def _played(
    seen: _Windows, seconds: list[Second], score: Callable[[list[Window]], Rows], *, onset: int
) -> tuple[Scored, Scored, Milliseconds, Milliseconds]:
    """Clean and hostile moments with their scores, and what features and scores of each took."""
    clean: Scored = []
    hostile: Scored = []
    features: Milliseconds = []
    scores: Milliseconds = []
    for second in seconds:
        started = time.perf_counter()
        seen.take(second)
        windows = seen.model.windows()
        measured = time.perf_counter()
        if onset <= second.start < onset + SETTLED:
            continue  # neither clean nor wholly hostile
        found = score(windows)
        features.append(1000.0 * (measured - started))
        scores.append(1000.0 * (time.perf_counter() - measured))
        (clean if second.start < onset else hostile).append((windows, found))
    return clean, hostile, features, scores


def _fitted(
    subject: str, learnt: Learnt, seed: int
) -> tuple[Callable[[list[Window]], Rows], Callable[[], None]]:
    """How the subject scores windows, and how it is let go."""
    if subject not in PEERS:
        ours = make_detector(subject)
        ours.prepare()
        ours.learn(learnt.windows)
        return (lambda windows: np.array(ours.score(windows))), ours.close
    clean = clean_rows(learnt.windows)
    scale = _scale(clean)
    peer = PEERS[subject](clean.names, seed)
    for row in scale(clean.rows):
        peer.learn(row)

    def score(windows: list[Window]) -> Rows:
        return np.array([peer.score(row) for row in scale(matrix(windows, clean.names))])

    return score, lambda: None


def _scale(clean: CleanRows) -> Callable[[Rows], Rows]:
    """Rows as our detectors see them."""
    floors = {feature.name: feature.floor for feature in SCORED}
    middle = np.median(clean.rows, axis=0)
    spread = 1.4826 * np.median(np.abs(clean.rows - middle), axis=0)
    least = np.array([floors[name] for name in clean.names])
    return lambda rows: np.clip((rows - middle) / np.maximum(spread, least), LOWEST, HIGHEST)


def _quality(clean: Scored, hostile: Scored, bad: set[str]) -> dict[str, float]:
    """How well hostile windows are told from clean ones of the same moments, and at the clean threshold."""
    from sklearn.metrics import average_precision_score, roc_auc_score  # noqa: PLC0415 - slow to import

    threshold = float(np.quantile(np.concatenate([scores for _, scores in clean[:HELD_OUT]]), QUANTILE))
    labels = np.concatenate([[window.device_id in bad for window in windows] for windows, _ in hostile])
    scores = np.concatenate([scores for _, scores in hostile])
    return {
        "auc_pct": 100.0 * float(roc_auc_score(labels, scores)),
        "average_precision_pct": 100.0 * float(average_precision_score(labels, scores)),
        "recall_pct": 100.0 * float(np.mean(scores[labels] > threshold)),
        "false_pct": 100.0 * float(np.mean(scores[~labels] > threshold)),
    }


def _times(name: str, values: Milliseconds) -> dict[str, float]:
    return {
        f"{name}_p50_ms": float(np.quantile(values, 0.5)),
        f"{name}_p95_ms": float(np.quantile(values, 0.95)),
    }


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    figures = measure(told["subject"], devices=told["devices"], ticks=told["ticks"], seed=told["seed"])
    print(json.dumps(figures))  # noqa: T201 - the parent reads it
