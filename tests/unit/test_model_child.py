"""The loop of the models' process, in this one: frames in, frames out, and an error is told to the one who asked.

With a class that is made here: PyOD's own, whose import is seconds, are tested in their process (tests/contract/test_detectors.py).
"""

import io
import json
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from analytics.detectors import child

ROWS = np.random.default_rng(1).normal(size=(40, 3))


def served(
    monkeypatch: pytest.MonkeyPatch, *frames: tuple[bytes, int, bytes], rest: bytes = b""
) -> list[Any]:
    """What it answers to these frames, until its input ends."""
    asked, answered = io.BytesIO(), io.BytesIO()
    for frame in frames:
        child.write_frame(asked, *frame)
    asked.write(rest)
    asked.seek(0)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["child", "0"])
        patch.setattr(sys, "stdin", SimpleNamespace(buffer=asked))
        patch.setattr(sys, "stdout", SimpleNamespace(buffer=answered))
        child.main()
    answered.seek(0)
    return list(iter(lambda: child.read_frame(answered), None))


class Distance:
    """Of a row from the middle of what it was fitted on, in the form of PyOD's classes."""

    def __init__(self, power: int = 1) -> None:
        self._power = power

    def fit(self, rows: np.ndarray) -> None:
        self._middle = rows.mean(axis=0)

    def decision_function(self, rows: np.ndarray) -> np.ndarray:
        return np.abs(rows - self._middle).sum(axis=1) ** self._power


@pytest.fixture(autouse=True)
def as_pyod(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyod", "pyod.models"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    made = ModuleType("pyod.models.distance")
    made.Distance = Distance  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, made.__name__, made)


def model(name: str, **settings: Any) -> bytes:
    return json.dumps({"name": name, "settings": settings}).encode()


def test_a_model_is_made_fitted_asked_and_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    far = np.vstack([ROWS[:2], [[50.0, 50.0, 50.0]]])
    fitted, scored, gone = served(
        monkeypatch,
        (b"M", 7, model("Distance")),
        (b"F", 7, child.pack(ROWS)),
        (b"S", 7, child.pack(far)),
        (b"D", 7, b""),
        (b"D", 7, b""),
        (b"S", 7, child.pack(far)),
    )
    assert (fitted[0], fitted[1], child.unpack(fitted[2]).size) == (b"R", 7, 0)
    scores = child.unpack(scored[2])
    assert scores.argmax() == 2
    assert gone[0] == b"E"
    assert b"KeyError" in gone[2]


def test_a_class_that_cannot_be_made_is_told_with_each_request_and_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = served(
        monkeypatch,
        (b"M", 1, model("NoSuchModel")),
        (b"M", 2, b"no json"),
        (b"M", 3, model("Distance", power=2)),
        (b"F", 1, child.pack(ROWS)),
        (b"S", 2, child.pack(ROWS)),
        (b"S", 3, child.pack(ROWS)),  # before it was fitted
        (b"F", 3, child.pack(ROWS)),
    )
    assert [(kind, number) for kind, number, _ in answers] == [(b"E", 1), (b"E", 2), (b"E", 3), (b"R", 3)]
    assert b"nosuchmodel" in answers[0][2]


def test_it_ends_where_its_input_ends_even_within_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    assert served(monkeypatch, rest=b"F\0\0") == []
