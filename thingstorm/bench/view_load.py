"""The load of `bench view`, in a process of its own, so that its memory is that of one engine.

`documents` is the port of RockBench's measure: documents at a fixed rate in batches, one reader of windows, and a poll
of the newest visible `_event_time`: data latency = now - that. `rows` asks a table of many rows, and upserts into it.
"""

import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from .view_documents import Maker
from .view_subjects import SUBJECTS, Subject

TICK_SECONDS = 0.2
POLL_SECONDS = 0.05
WINDOW_MS = 60_000
ROWS_PER_SECOND = 1_000
DEVICES = 2_000
BASE_MS = 1_790_000_000_000

Figures = dict[str, float]


def documents(subject: Subject, settings: dict[str, Any]) -> Figures:
    """Rate as asked or what was reached; latencies and windows as one reader sees them."""
    maker, rate, seconds = Maker(1), settings["rate"], settings["seconds"]
    over = threading.Event()
    latencies: list[float] = []
    windows: list[float] = []
    watchers = [
        threading.Thread(target=_poll, args=(subject, over, latencies)),
        threading.Thread(target=_read, args=(subject, over, windows)),
    ]
    subject.write(maker.batch(max(1, round(rate * TICK_SECONDS)), "add")[0])
    for watcher in watchers:
        watcher.start()
    began, written, size = time.perf_counter(), 0, 0
    while (passed := time.perf_counter() - began) < seconds:
        due = round(rate * passed) - written
        if due <= 0:
            time.sleep(TICK_SECONDS / 4)
            continue
        fresh, patches = maker.batch(min(due, 5_000), settings["mode"])
        size += sum(len(json.dumps(one)) for one in fresh[:1]) * len(fresh)
        if fresh:
            subject.write(fresh)
        if patches:
            subject.write(patches, patch=True)
        written += len(fresh) + len(patches)
        time.sleep(max(0.0, TICK_SECONDS - (time.perf_counter() - began - passed)))
    took = time.perf_counter() - began
    over.set()
    for watcher in watchers:
        watcher.join()
    return {
        "documents_per_s": written / took,
        "mb_per_s": size / took / 1e6,
        "latency_p50_ms": _quantile(latencies, 0.5),
        "latency_p95_ms": _quantile(latencies, 0.95),
        "window_p95_ms": _quantile(windows, 0.95),
        "rss_mb": psutil.Process().memory_info().rss / 1e6,
    }


def rows(subject: Subject, settings: dict[str, Any]) -> Figures:
    """Questions to a table of `rows`, then upserts of 1,000 of which one in five replaces a random old row."""
    count, chance = settings["rows"], random.Random(2)  # noqa: S311 - load, no secrets
    began = time.perf_counter()
    subject.fill(_base(count))
    loaded = time.perf_counter() - began
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
        ((newest,),) = subject.ask("newest", time.time_ns() // 1_000_000 - WINDOW_MS)
        if newest is not None:
            found.append(time.time() * 1000 - float(newest))


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
    with tempfile.TemporaryDirectory(prefix="thingstorm-bench-") as folder:
        subject = SUBJECTS[settings["subject"]](Path(folder), rows=settings["kind"] == "rows")
        figures = KINDS[settings["kind"]](subject, settings)
        print(json.dumps(figures), flush=True)  # noqa: T201 - this is the output
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    os._exit(code)  # an engine's threads, and our event loop's, have nothing to finish
