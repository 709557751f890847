"""`bench detector`: what one tick of the model costs for a whole fleet, and what peers make of the same rows."""

import time
from collections.abc import Callable, Sequence

from .loads import load
from .result import OURS, BenchResult, check_cases
from .subjects import missing

PACKAGES = ("thingstorm", "numpy", "pyod", "scikit-learn", "river", "pysad")
LOAD = "thingstorm.bench.detector_load"
OTHERS = {"thingstorm-robust": "robust"}
"""Our detector without PyOD."""

PEERS = ("river", "pysad")
DEVICES = {"fleet-5000": 5000, "fleet-500": 500}
TICKS, QUICK_TICKS, QUICK_SHARE = 10, 2, 10
SEED = 7
LIMIT_SECONDS = 400.0
PERCENT = "_pct"
"""All other figures are milliseconds."""

Tell = Callable[[str], None]


def run(*, peers: bool, quick: bool, only: Sequence[str], tell: Tell) -> BenchResult:
    """Measure. Raises UnknownName, BackendError."""
    check_cases("detector", only, known=DEVICES)
    result = BenchResult("detector")
    began = time.monotonic()
    subjects = {OURS: "knn", **OTHERS}
    for peer in PEERS if peers else ():
        if missing(peer):
            result.missing.append(peer)
        else:
            subjects[peer] = peer
    for case in only or DEVICES:
        for subject, name in subjects.items():
            tell(f"{case}: {subject}")
            _measure(result, case, subject, name, quick=quick)
    result.seconds = time.monotonic() - began
    _explain(result)
    return result


def _measure(result: BenchResult, case: str, subject: str, name: str, *, quick: bool) -> None:
    devices = DEVICES[case] // (QUICK_SHARE if quick else 1)
    settings = {"subject": name, "devices": devices, "ticks": QUICK_TICKS if quick else TICKS, "seed": SEED}
    figures = load(LOAD, settings, what=f"{case} with {subject}", limit_seconds=LIMIT_SECONDS)
    told = {
        metric: (round(value, 4), "%" if metric.endswith(PERCENT) else "ms")
        for metric, value in figures.items()
    }
    result.add(case, subject, **told)


def _explain(result: BenchResult) -> None:
    result.notes.append("a tick is features and scores of every device, on one core; all score the same rows")
    result.notes.append("fit is with the import of the library")
    result.notes.append(
        "recall and false are of windows, at the same clean quantile for all; a verdict needs two of three windows"
    )
