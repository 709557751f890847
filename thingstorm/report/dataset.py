"""Labelled data sets: every message of a run with its ground truth, as Parquet with its provenance."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import thingstorm
from contracts.messages import MILLISECOND, Label
from thingstorm.report.record import Record, Result

SCHEMA = pa.schema(
    [
        ("scenario", pa.string()),
        ("seed", pa.int64()),
        ("ts", pa.timestamp("ms", tz="UTC")),
        ("client_id", pa.string()),
        ("device_type", pa.string()),
        ("topic", pa.string()),
        ("payload", pa.string()),
        ("size", pa.int64()),
        ("message_id", pa.string()),
        ("label", pa.string()),
        ("phase", pa.string()),
        ("kind", pa.string()),
    ]
)
"""`ts` is when the gateway took the message; `label` is attack, benign (a benign phase) or normal (none)."""


def write_dataset(file: Path, runs: Sequence[tuple[Result, Record]]) -> int:
    """Write the messages of these runs, oldest first within each; how many there are."""
    provenance = [
        {
            "scenario": result.scenario,
            "seed": result.seed,
            "path": result.path,
            "clock": result.clock,
            "hash": result.hash(),
            "thingstorm": thingstorm.__version__,
        }
        for result, _ in runs
    ]
    rows = [row for result, record in runs for row in labelled(result, record)]
    table = pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata({"thingstorm": json.dumps(provenance)}))
    pq.write_table(table, file, compression="zstd")
    return len(rows)


def labelled(result: Result, record: Record) -> Iterable[dict[str, Any]]:
    """A run's messages with their labels. Where phases overlap on a device, an attack wins."""
    by_device: dict[str, list[Label]] = {}
    for label in record.labels:
        by_device.setdefault(label.device_id, []).append(label)
    for row in record.messages:
        yield {"scenario": result.scenario, "seed": result.seed, **row, **_truth(row, by_device)}


def _truth(row: Mapping[str, Any], by_device: Mapping[str, Sequence[Label]]) -> dict[str, str]:
    at = int(row["ts"]) * MILLISECOND
    found = [
        one for one in by_device.get(row["client_id"], ()) if one.start <= at + MILLISECOND and at < one.end
    ]
    if not found:
        return {"label": "normal", "phase": "", "kind": ""}
    first = min(found, key=lambda one: one.label != "attack")
    return {"label": first.label, "phase": first.phase, "kind": first.kind}
