"""Models of normal windows, by name: learn on clean windows, score any.

Nothing here decides what a score means (see `analytics.verdict`), reads the view, or runs on the event loop.
"""

from typing import cast

from contracts.registry import Backend, Registry

from .base import ScaledDetector

_PYOD = "analytics.detectors.pyod"

DETECTORS = Registry(
    "detector",
    {
        "robust": Backend("analytics.detectors.robust:RobustDetector", capabilities=frozenset({"explains"})),
        "knn": Backend(f"{_PYOD}:knn", package="pyod"),
        "pca": Backend(f"{_PYOD}:pca", package="pyod"),
        # these four cannot tell 6 sd from 100 sd; the first two depend on the batch as well
        "ecod": Backend(f"{_PYOD}:ecod", package="pyod", capabilities=frozenset({"saturates", "batch"})),
        "copod": Backend(f"{_PYOD}:copod", package="pyod", capabilities=frozenset({"saturates", "batch"})),
        "hbos": Backend(f"{_PYOD}:hbos", package="pyod", capabilities=frozenset({"saturates"})),
        "iforest": Backend(f"{_PYOD}:iforest", package="pyod", capabilities=frozenset({"saturates"})),
    },
)


def make_detector(name: str) -> ScaledDetector:
    """A fresh detector, not yet fitted. Cheap: heavy imports wait for `learn`. Raises UnknownName."""
    return cast("ScaledDetector", DETECTORS.load(name)())


__all__ = ["DETECTORS", "ScaledDetector", "make_detector"]
