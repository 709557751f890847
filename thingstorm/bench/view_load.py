"""The load of `bench view`, in a process of its own, so that its memory is that of one engine.

`documents` is the port of RockBench's measure: documents at a fixed rate in batches, one reader of windows, and a poll
of the newest visible `_event_time`: data latency = now - that. `rows` asks a table of many rows, and upserts into it.
"""

import json
import os
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psutil
import pyarrow as pa

from .view_subjects import SUBJECTS, Subject

BEHIND = 50
"""Batches: five seconds."""

MOST = 5_000
"""Documents of one write at most."""

POLL_SECONDS = 0.05
WINDOW_MS = 60_000
NEWEST_MS = 30_000
"""The poll looks for the newest document among those of so long, and takes this for the latency if there is none."""

ROWS_PER_SECOND = 1_000
DEVICES = 2_000
BASE_MS = 1_790_000_000_000

Figures = dict[str, float]
Batch = tuple[list[bytes], list[bytes]]
"""New documents and patches, as JSON text."""

OVER: Batch = ([], [])


class Sender:
    """The process that makes the documents, and a thread that takes them off it, so that it is never held up.

    At most `BEHIND` batches wait: an engine that falls so far behind has shown what it can.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        names = ("rate", "seconds", "mode", "first")
        asked = json.dumps({name: settings[name] for name in names})
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "thingstorm.bench.view_documents", asked],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._batches: queue.Queue[Batch] = queue.Queue(BEHIND)
        threading.Thread(target=self._take, daemon=True).start()

    def go(self) -> None:
        """The first batch is stored: send the rest."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def batches(self) -> Iterator[Batch]:
        """What waits, put together up to MOST documents; ends with the sender."""
        while (first := self._batches.get()) != OVER:
            fresh, patches = first
            while len(fresh) + len(patches) < MOST and not self._batches.empty():
                if (more := self._batches.queue[0]) == OVER:
                    break
                self._batches.get()
                fresh, patches = fresh + more[0], patches + more[1]
            yield fresh, patches

    def _take(self) -> None:
        out = self._process.stdout
        assert out is not None  # noqa: S101 - piped
        while head := out.readline():
            fresh, patches = map(int, head.split())
            self._batches.put((list(islice(out, fresh)), list(islice(out, patches))))
        self._batches.put(OVER)


def documents(subject: Subject, settings: dict[str, Any]) -> Figures:
    """Rate as asked or what was reached; latencies and windows as one reader sees them."""
    over = threading.Event()
    latencies: list[float] = []
    windows: list[float] = []
    watchers = [
        threading.Thread(target=_poll, args=(subject, over, latencies)),
        threading.Thread(target=_read, args=(subject, over, windows)),
    ]
    sender = Sender(settings)
    batches = sender.batches()
    _give(subject, next(batches))
    sender.go()
    for watcher in watchers:
        watcher.start()
    began, written, size = time.perf_counter(), 0, 0
    for batch in batches:
        _give(subject, batch)
        written += len(batch[0]) + len(batch[1])
        size += sum(map(len, batch[0])) + sum(map(len, batch[1]))
    took = time.perf_counter() - began
    over.set()
    for watcher in watchers:
        watcher.join()
    return {
        "documents_per_s": written / took,
        "mb_per_s": size / took / 1e6,
        "latency_p50_ms": _quantile(latencies, 0.5),
        "latency_p95_ms": _quantile(latencies, 0.95),
        "latency_max_ms": _quantile(latencies, 1.0),
        "window_p95_ms": _quantile(windows, 0.95),
        "rss_mb": psutil.Process().memory_info().rss / 1e6,
    }


def _give(subject: Subject, batch: Batch) -> None:
    for lines, patch in ((batch[0], False), (batch[1], True)):
        for start in range(0, len(lines), MOST):
            subject.write(list(map(orjson.loads, lines[start : start + MOST])), patch=patch)


def rows(subject: Subject, settings: dict[str, Any]) -> Figures:
    """Questions to a table of `rows`, then upserts of 1,000 of which one in five replaces a random old row."""
    count, chance = settings["rows"], random.Random(2)  # noqa: S311 - load, no secrets
    began = time.perf_counter()
    subject.fill(_base(count))
    loaded = time.perf_counter() - began
    pa.default_memory_pool().release_unused()  # what the table was made in: Arrow would keep it, and rss_mb count it
    last = BASE_MS + count * 1000 // ROWS_PER_SECOND
    asked: dict[str, Callable[[], tuple[str, Any]]] = {
        "window": lambda: ("window", last - WINDOW_MS),
        "talkers": lambda: ("talkers", last - WINDOW_MS),
        "key": lambda: ("key", _id(chance.randrange(count))),
        "indexed": lambda: ("indexed", _ip(chance.randrange(count))),
    }
    figures: Figures = {"load_s": loaded}
    for name, question in asked.items():
        subject.ask(*question())
        figures[f"{name}_p95_ms"] = _quantile(
            [_timed(subject.ask, *question()) for _ in range(settings["asks"])], 0.95
        )
    upserts = []
    for batch in range(settings["upserts"]):
        given = [_row(count + batch * 1_000 + n) for n in range(800)] + [
            {**_row(n), "bytes": -1} for n in chance.sample(range(count), 200)
        ]
        upserts.append(_timed(subject.write, given))
    figures["upsert_1000_p95_ms"] = _quantile(upserts[1:], 0.95)
    figures["rss_mb"] = psutil.Process().memory_info().rss / 1e6
    return figures


def _poll(subject: Subject, over: threading.Event, found: list[float]) -> None:
    while not over.wait(POLL_SECONDS):
        ((newest,),) = subject.ask("newest", time.time_ns() // 1_000_000 - NEWEST_MS)
        found.append(time.time() * 1000 - float(newest) if newest is not None else float(NEWEST_MS))


def _read(subject: Subject, over: threading.Event, found: list[float]) -> None:
    while not over.wait(POLL_SECONDS):
        found.append(_timed(subject.ask, "companies", time.time_ns() // 1_000_000 - WINDOW_MS))


def _timed(work: Callable[..., Any], *arguments: Any) -> float:
    began = time.perf_counter()
    work(*arguments)
    return (time.perf_counter() - began) * 1000


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def _id(number: int) -> str:
    """Spread over the alphabet, as hashes are: an id in order of time would flatter every index."""
    return f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}"


def _ip(number: int) -> str:
    return f"10.{number % 251}.{number // 251 % 241}.{number // 60_491 % 239}"


def _row(number: int) -> dict[str, Any]:
    return {
        "_id": _id(number),
        "_event_time": BASE_MS + number * 1000 // ROWS_PER_SECOND,
        "device_id": f"device-{number * 7 % DEVICES:05d}",
        "topic": f"dt/meter/{number % 40}",
        "source_ip": _ip(number),
        "bytes": number % 900,
        "temperature": number % 400 / 10,
    }


def _base(count: int) -> pa.Table:
    """The base rows, with the columns that an export of ours has."""
    parts = []
    for first in range(0, count, 1_000_000):
        numbers = range(first, min(count, first + 1_000_000))
        whole = np.arange(numbers.start, numbers.stop, dtype=np.int64)
        moments = pa.array((BASE_MS + whole * 1000 // ROWS_PER_SECOND) * 1000).cast(pa.timestamp("us"))
        parts.append(
            pa.table(
                {
                    "_id": [_id(n) for n in numbers],
                    "_event_time": moments,
                    "device_id": [f"device-{n * 7 % DEVICES:05d}" for n in numbers],
                    "topic": [f"dt/meter/{n % 40}" for n in numbers],
                    "source_ip": [_ip(n) for n in numbers],
                    "bytes": whole % 900,
                    "temperature": whole % 400 / 10,
                    "extra": pa.nulls(len(numbers), pa.string()),
                    "_seq": pa.array(whole).cast(pa.string()),
                    "_ingest_time": moments,
                }
            )
        )
    return pa.concat_tables(parts)


KINDS = {"documents": documents, "rows": rows}


def main(arguments: list[str]) -> int:
    """Run what the JSON says, print the figures as JSON."""
    settings: dict[str, Any] = json.loads(arguments[0])
    # an engine that has no end of its own may still write into its folder while it is removed
    with tempfile.TemporaryDirectory(prefix="thingstorm-bench-", ignore_cleanup_errors=True) as folder:
        subject = SUBJECTS[settings["subject"]](Path(folder), rows=settings["kind"] == "rows")
        figures = KINDS[settings["kind"]](subject, settings)
        print(json.dumps(figures), flush=True)  # noqa: T201 - this is the output
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    os._exit(code)  # an engine's threads, and our event loop's, have nothing to finish
