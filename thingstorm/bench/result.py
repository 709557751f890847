"""What a bench measured: rows, ratios, and how they are shown."""

import importlib.metadata
import os
import platform
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from contracts.errors import UnknownName

OURS = "thingstorm"

COMPARED = frozenset(
    {
        "messages_per_s",
        "connects_per_s",
        "kb_per_connection",
        "cpu_us_per_message",
        "documents_per_s",
        "latency_p95_ms",
        "window_p95_ms",
        "key_p95_ms",
        "indexed_p95_ms",
        "upsert_1000_p95_ms",
        "scores_p50_ms",
        "evaluations_per_s",
    }
)
"""Metrics whose ratios say something; the others are there to judge the run by."""


def check_cases(bench: str, asked: Sequence[str], *, known: Collection[str]) -> None:
    """Raises UnknownName for a case that the bench does not have."""
    for name in asked:
        if name not in known:
            raise UnknownName(f"case of bench {bench}", name, known)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one subject in one case."""

    case: str
    subject: str
    metric: str
    value: float
    unit: str


@dataclass(slots=True)
class BenchResult:
    """The figures of one bench; `missing` names the peers that are not installed."""

    bench: str
    rows: list[Row] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def add(self, case: str, subject: str, **figures: tuple[float, str]) -> None:
        """Figures by metric name, each with its unit."""
        self.rows += [Row(case, subject, metric, value, unit) for metric, (value, unit) in figures.items()]

    def ratios(self) -> list[dict[str, Any]]:
        """Ours to each peer's, where both have the figure and the peer's is not zero."""
        ours = {(row.case, row.metric): row.value for row in self.rows if row.subject == OURS}
        return [
            {
                "case": row.case,
                "metric": row.metric,
                "of": OURS,
                "to": row.subject,
                "value": round(ours[row.case, row.metric] / row.value, 3),
            }
            for row in self.rows
            if row.subject != OURS and row.metric in COMPARED and row.value and (row.case, row.metric) in ours
        ]

    def as_json(self, packages: Sequence[str]) -> dict[str, Any]:
        """The JSON that people script against; `packages` are those whose versions matter, where installed."""
        versions = {name: version for name in packages if (version := _version(name))}
        cpus = len(os.sched_getaffinity(0))
        machine = {"cpus": cpus, "python": platform.python_version(), "versions": versions}
        return {
            "bench": self.bench,
            "machine": machine,
            "seconds": round(self.seconds, 1),
            "rows": [asdict(row) for row in self.rows],
            "ratios": self.ratios(),
            "missing": self.missing,
            "notes": self.notes,
        }

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """One line a case and metric, one column a subject, and the ratios."""
        subjects = list(dict.fromkeys(row.subject for row in self.rows))
        figures = {(row.case, row.metric, row.subject): row for row in self.rows}
        ratios = {(one["case"], one["metric"], one["to"]): one["value"] for one in self.ratios()}
        peers = [one for one in subjects if one != OURS]
        lines = []
        for case, metric in dict.fromkeys((row.case, row.metric) for row in self.rows):
            values = [_shown(figures.get((case, metric, one))) for one in subjects]
            told = [
                f"{ratios[case, metric, one]:.2f}" if (case, metric, one) in ratios else "" for one in peers
            ]
            lines.append((case, metric, *values, *told))
        return ("case", "metric", *subjects, *(f"to {one}" for one in peers)), lines


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _shown(row: Row | None) -> str:
    if row is None:
        return ""
    return f"{row.value:,.0f}" if row.value >= 100 else f"{row.value:.2f}"
