"""The process that holds a PyOD model: reads requests from standard input, answers on standard output.

PyOD's import is seconds of Python that hold the interpreter's lock (2.4 s alone, five times as long among busy
threads, while the whole path runs at half its rate), so it happens in a process of its own. It ends when its
standard input does: with the process that started it, however that one ends.

Frames: a letter, eight bytes of length, the body. `F` fit and `S` score carry a numpy array, answered by `R` with
an array; `E` is an error in words. Arrays are in numpy's own format, without pickle.
"""

import importlib
import io
import json
import os
import struct
import sys
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

NICENESS = 5
"""The path goes first: while a model is imported or fitted, a robust z judges."""


def main() -> None:
    """Serve the model that the first argument names, made with the settings of the second (JSON)."""
    os.nice(NICENESS)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library prints must not get between the frames
    name, settings = sys.argv[1], json.loads(sys.argv[2])
    module = importlib.import_module(f"pyod.models.{name.lower()}")
    model: Any = None
    while (frame := read_frame(requests)) is not None:
        kind, body = frame
        rows = unpack(body)
        try:
            if kind == b"F":
                model = getattr(module, name)(**settings)
                model.fit(rows)
                answer = np.zeros(0)
            else:
                answer = np.asarray(model.decision_function(rows), dtype=np.float64)
            write_frame(answers, b"R", pack(answer))
        except Exception as error:  # noqa: BLE001 - told to the one who asked, in words
            write_frame(answers, b"E", f"{type(error).__name__}: {error}".encode())


def read_frame(stream: IO[bytes]) -> tuple[bytes, bytes] | None:
    """One frame; None at the end."""
    head = stream.read(9)
    if len(head) < 9:
        return None
    kind, length = struct.unpack(">cQ", head)
    return kind, stream.read(length)


def write_frame(stream: IO[bytes], kind: bytes, body: bytes) -> None:
    """One frame, at once."""
    stream.write(struct.pack(">cQ", kind, len(body)) + body)
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
