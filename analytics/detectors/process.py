"""The one process of PyOD models that belongs to this process: lent to whoever fits or scores, ended by the last."""

import contextlib
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np

from contracts.errors import BackendError, BackendMissing

from . import child
from .base import Matrix

NICENESS = 5
"""The path goes first: while a model is imported or fitted, a robust z judges. A batch waits for it anyway."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""A fleet's rows are too few to share out: with two busy cores, threads that wait for each other took 55 ms of CPU and
0.7 s to score 50 rows; one thread takes 1.6 ms."""

_numbers = itertools.count(1)


class Model:
    """A model in the process: fits, scores, and is dropped with `close` or when nobody knows it any more."""

    def __init__(self, lease: "Lease", name: str, settings: Mapping[str, Any]) -> None:
        """Returns at once; what goes wrong with the import is raised by `fit`."""
        self._process, self._number = lease.process, next(_numbers)
        self.name = name
        made = json.dumps({"name": name, "settings": dict(settings)})
        self._process.tell(b"M", self._number, made.encode())
        self._drop = weakref.finalize(self, self._process.drop, self._number)

    def fit(self, rows: Matrix) -> None:
        """Raises BackendError if the model cannot be made or fitted, or the process is gone."""
        self._process.ask(b"F", self._number, child.pack(rows), self.name)

    def score(self, rows: Matrix) -> Matrix:
        """One number a row. Raises BackendError."""
        return child.unpack(self._process.ask(b"S", self._number, child.pack(rows), self.name))

    def close(self) -> None:
        self._drop()


class Lease:
    """A share in the process, which lives as long as somebody has one. Safe to close twice, from any thread."""

    def __init__(self) -> None:
        """Start the process if nobody has yet; returns at once. Raises BackendMissing without PyOD."""
        self.process = _borrow()
        self.close = weakref.finalize(self, _give_back, self.process)


def keep() -> None:
    """From now on the process outlives its last user: a batch imports PyOD once, not once a run."""
    global _kept  # noqa: PLW0603 - it is of this process, like the child
    _kept = True


class _Process:
    """One request at a time, from any thread."""

    def __init__(self) -> None:
        if importlib.util.find_spec("pyod") is None:
            raise BackendMissing("knn", package="pyod")
        self.users = 0
        self._lock = threading.Lock()
        self._dropped: list[int] = []
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", child.__name__, str(0 if _kept else NICENESS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **ONE_THREAD},
            start_new_session=True,  # Ctrl-C is for the stack, which closes us in its turn
        )
        self.end = weakref.finalize(self, _end, self._process)

    @property
    def gone(self) -> bool:
        return not self.end.alive or self._process.poll() is not None

    def ask(self, kind: bytes, number: int, body: bytes, name: str) -> bytes:
        """Send a request, wait for the answer. Raises BackendError if the process failed or is gone."""
        with self._lock:
            while self._dropped:
                self._write(b"D", self._dropped.pop(), b"")
            answer = self._exchange(kind, number, body)
        if answer is None:
            raise BackendError(
                f"the process of the detector {name} is gone", fix="start again, or use the detector 'robust'"
            )
        if answer[0] == b"E":
            raise BackendError(
                f"the detector {name} failed: {answer[2].decode()}", fix="use the detector 'robust'"
            )
        return answer[2]

    def tell(self, kind: bytes, number: int, body: bytes) -> None:
        """Send without waiting for an answer; a process that is gone is told by the next request."""
        with self._lock:
            self._write(kind, number, body)

    def drop(self, number: int) -> None:
        """Let go of a model with the next request: this may be the garbage collector's thread."""
        self._dropped.append(number)

    def _exchange(self, kind: bytes, number: int, body: bytes) -> tuple[bytes, int, bytes] | None:
        try:
            if not self._write(kind, number, body):
                return None
            assert self._process.stdout is not None  # noqa: S101 - a pipe
            return child.read_frame(self._process.stdout)
        except (OSError, ValueError):
            return None
        except BaseException:
            self.end()  # interrupted: the answer would be taken for that of the next request
            raise

    def _write(self, kind: bytes, number: int, body: bytes) -> bool:
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        try:
            child.write_frame(self._process.stdin, kind, number, body)
        except (OSError, ValueError):
            return False
        return True


_lending = threading.RLock()
"""Re-entrant: the garbage collector may give a lease back while another one is made."""

_shared: list[_Process] = []
"""At most one that still runs."""

_kept = False


def _borrow() -> _Process:
    with _lending:
        while True:
            if not _shared or _shared[0].gone:
                _shared[:] = [_Process()]
            process = _shared[0]
            process.users += 1
            if not process.gone:
                return process


def _give_back(process: _Process) -> None:
    with _lending:
        process.users -= 1
        if process.users > 0 or (_kept and not process.gone):
            return
        if process in _shared:
            _shared.remove(process)
    process.end()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Do not wait for an import or a fit that is under way."""
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # what it did not read is of no use to it any more
                pipe.close()
    process.wait()


def probe_scores(model: Model, rows: Matrix) -> tuple[bool, bool]:
    """Whether a fitted model saturates, and whether a row's score depends on its batch. `rows` are some clean ones."""
    loud = np.zeros((2 * rows.shape[1], rows.shape[1]))
    for place in range(rows.shape[1]):
        loud[2 * place : 2 * place + 2, place] = (8.0, 80.0)
    alone = np.array([model.score(row[None, :])[0] for row in loud[-2:]])
    together = model.score(np.vstack([rows, loud, np.tile(loud[-1], (len(rows), 1))]))
    scores = together[len(rows) : len(rows) + len(loud)]
    middle = float(np.median(together[: len(rows)]))
    grown = (scores[1::2] - middle) < 2.0 * (scores[::2] - middle)
    return bool(grown.any()), not np.allclose(alone, scores[-2:], rtol=1e-6)
