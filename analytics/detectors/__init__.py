"""Models of normal windows, by name: learn on clean windows, score any.

Nothing here decides what a score means (see `analytics.verdict`), reads the view, or runs on the event loop.
"""

from typing import cast

from contracts.registry import Backend, Registry

from .base import ScaledDetector

_PYOD = "analytics.detectors.pyod"
_ANY = "pyod:"

DETECTORS = Registry(
    "detector",
    {
        "robust": Backend("analytics.detectors.robust:RobustDetector", capabilities=frozenset({"explains"})),
        "knn": Backend(f"{_PYOD}:knn", package="pyod"),
        "pca": Backend(f"{_PYOD}:pca", package="pyod"),
        # these four cannot tell 8 sd from 80 sd
        "ecod": Backend(f"{_PYOD}:ecod", package="pyod", capabilities=frozenset({"saturates"})),
        "copod": Backend(f"{_PYOD}:copod", package="pyod", capabilities=frozenset({"saturates"})),
        "hbos": Backend(f"{_PYOD}:hbos", package="pyod", capabilities=frozenset({"saturates"})),
        "iforest": Backend(f"{_PYOD}:iforest", package="pyod", capabilities=frozenset({"saturates"})),
    },
)
"""Beside these, `pyod:CLASS` is any class that the installed PyOD has, with its own defaults."""


def make_detector(name: str) -> ScaledDetector:
    """A fresh detector, not yet fitted. Cheap: heavy imports wait for `learn`. Raises UnknownName, BackendMissing."""
    if name.startswith(_ANY):
        from .pyod import any_class  # noqa: PLC0415 - only who asks for PyOD needs it

        return any_class(name.removeprefix(_ANY))()
    return cast("ScaledDetector", DETECTORS.load(name)())


def check_detector(name: str) -> None:
    """Raises UnknownName if there is no such detector, BackendMissing if it needs PyOD; imports nothing heavy."""
    if name.startswith(_ANY):
        from .pyod import any_class  # noqa: PLC0415 - only who asks for PyOD needs it

        any_class(name.removeprefix(_ANY))
    else:
        DETECTORS.get(name)


__all__ = ["DETECTORS", "ScaledDetector", "check_detector", "make_detector"]
