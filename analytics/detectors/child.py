"""The process that holds the PyOD models: reads requests from standard input, answers on standard output.

PyOD's import is seconds of Python that hold the interpreter's lock (2.4 s alone, five times as long among busy
threads, while the whole path runs at half its rate), so it happens in a process of its own, once for any number of
models. It ends when its standard input does: with the process that started it, however that one ends.

Frames: a letter, the model's number, the length of the body (eight bytes each), the body. `M` makes a model (JSON:
its class and settings) and `D` drops it, both without an answer; what went wrong with an `M` is told by the next
request. `F` fits and `S` scores rows (a numpy array): `R` answers with an array, `E` with an error in words. Arrays
are in numpy's own format, without pickle.
"""

import importlib
import inspect
import io
import json
import os
import struct
import sys
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .frozen import freeze

SEED = 7
"""Fixed: the same baseline must give the same scores, with classes that draw lots as well."""

_HEAD = struct.Struct(">cQQ")


def main() -> None:
    """Serve until standard input ends. The only argument is how much the process yields to others."""
    os.nice(int(sys.argv[1]))
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library prints must not get between the frames
    models: dict[int, _Served | Exception] = {}
    while (frame := read_frame(requests)) is not None:
        kind, number, body = frame
        if kind == b"M":
            models[number] = _made(body)
        elif kind == b"D":
            models.pop(number, None)
        else:
            write_frame(answers, *_answer(models, kind, number, body))


class _Served:
    """One model. Its class is imported when it is made, and made afresh for each fit."""

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        self._make = getattr(importlib.import_module(f"pyod.models.{name.lower()}"), name)
        seeded = "random_state" in inspect.signature(self._make).parameters
        self._settings = {"random_state": SEED, **settings} if seeded else settings
        self._fitted: Any = None

    def fit(self, rows: NDArray[np.float64]) -> None:
        model = self._make(**self._settings)
        np.random.seed(SEED)  # noqa: NPY002 - what some classes draw their lots from
        model.fit(rows)
        self._fitted = freeze(model)

    def score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(self._fitted.decision_function(rows), dtype=np.float64)


def _made(body: bytes) -> _Served | Exception:
    try:
        return _Served(**json.loads(body))
    except Exception as error:  # noqa: BLE001 - told with the next request, in words
        return error


def _answer(
    models: dict[int, _Served | Exception], kind: bytes, number: int, body: bytes
) -> tuple[bytes, int, bytes]:
    try:
        model = models[number]
        if isinstance(model, Exception):
            raise model  # noqa: TRY301 - told below, like every other error
        if kind == b"F":
            model.fit(unpack(body))
            return b"R", number, pack(np.zeros(0))
        return b"R", number, pack(model.score(unpack(body)))
    except Exception as error:  # noqa: BLE001 - told to the one who asked, in words
        return b"E", number, f"{type(error).__name__}: {error}".encode()


def read_frame(stream: IO[bytes]) -> tuple[bytes, int, bytes] | None:
    """Kind, model and body of one frame; None at the end."""
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    kind, number, length = _HEAD.unpack(head)
    return kind, number, stream.read(length)


def write_frame(stream: IO[bytes], kind: bytes, number: int, body: bytes) -> None:
    """One frame, at once."""
    stream.write(_HEAD.pack(kind, number, len(body)) + body)
    stream.flush()


def pack(rows: NDArray[np.float64]) -> bytes:
    """An array as bytes."""
    body = io.BytesIO()
    np.save(body, rows, allow_pickle=False)
    return body.getvalue()


def unpack(body: bytes) -> NDArray[np.float64]:
    """An array of bytes."""
    return np.asarray(np.load(io.BytesIO(body), allow_pickle=False), dtype=np.float64)


if __name__ == "__main__":
    main()
