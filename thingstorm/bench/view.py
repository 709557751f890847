"""`bench view`: how fresh the view is under load, and how fast a large one answers; SQLite and chdb in the same run."""

import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .loads import load
from .result import OURS, BenchResult, check_cases

PACKAGES = ("thingstorm", "duckdb", "pyarrow", "chdb")
PEERS = ("sqlite", "chdb")
LOAD = "thingstorm.bench.view_load"
LIMIT_SECONDS = 1_500.0
"""A table of ten million rows takes SQLite minutes to load."""

ROCKSET = "Rockset's own figures, on clusters: 70 ms data latency at 20 MB/s (2023-06), a billion events a day at 1 s (2020-09)"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured; `quick` replaces settings. `peers` is who takes part beside ours."""

    name: str
    settings: dict[str, Any]
    quick: dict[str, Any]
    peers: tuple[str, ...] = PEERS


def _documents(mode: str, *peers: str) -> Case:
    first, seconds = (100_000 if mode == "patch" else 1_000), (60.0 if mode == "add" else 20.0)
    settings = {"kind": "documents", "mode": mode, "rate": 12_000, "seconds": seconds, "first": first}
    return Case(f"documents-{mode}", settings, {"rate": 1_000, "seconds": 2.0, "first": 1_000}, peers)


CASES = (
    _documents("add", *PEERS),
    _documents("patch", "sqlite"),
    _documents("mixed", "sqlite"),
    Case(
        "rows-10m",
        {"kind": "rows", "rows": 10_000_000, "asks": 100, "upserts": 30},
        {"rows": 50_000, "asks": 10, "upserts": 4},
        ("chdb",),
    ),
    Case(
        "rows-300k",
        {"kind": "rows", "rows": 300_000, "asks": 50, "upserts": 20},
        {"rows": 20_000, "asks": 10, "upserts": 4},
    ),
)
"""SQLite is left out of ten million rows: its load takes longer than all other cases together."""

UNITS = {"documents_per_s": "1/s", "mb_per_s": "MB/s", "rss_mb": "MB", "load_s": "s"}


def run(*, peers: bool, quick: bool, only: Sequence[str], tell: Tell) -> BenchResult:
    """Measure every case with every subject. Raises UnknownName, BackendError."""
    check_cases("view", only, known=[case.name for case in CASES])
    absent = [one for one in PEERS if peers and one == "chdb" and importlib.util.find_spec(one) is None]
    result = BenchResult("view", missing=absent, notes=[ROCKSET])
    began = time.monotonic()
    for case in [case for case in CASES if not only or case.name in only]:
        beside = [one for one in case.peers if peers and one not in absent]
        for subject in (OURS, *beside):
            tell(f"{case.name}: {subject}")
            settings = {**case.settings, **(case.quick if quick else {}), "subject": subject}
            figures = load(
                LOAD, settings, what=f"{case.name} with {subject}", limit_seconds=LIMIT_SECONDS, pinned=False
            )
            told = {name: (round(value, 3), UNITS.get(name, "ms")) for name, value in figures.items()}
            result.add(case.name, subject, **told)
    result.seconds = time.monotonic() - began
    return result
