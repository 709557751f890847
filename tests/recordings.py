"""Recorded traffic for tests, written as somebody else's system would have."""

import csv
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

BEGIN = 1_767_600_000
"""2026-01-05T08:00:00Z."""


def write_csv(file: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Rows with the same or fewer columns than the first."""
    rows = list(rows)
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def fleet(*, devices: int, seconds: int, seed: int = 1) -> list[dict[str, Any]]:
    """A message a second of each device, in no order, on topics of no convention of ours."""
    rng = random.Random(seed)
    rows = [
        {
            "ts": BEGIN + 0.25 + second + rng.uniform(-0.2, 0.2),
            "client_id": f"press-{number}",
            "topic": f"plant/press/press-{number}/data",
            "payload": '{"bar": 5.5}',
            "event": "",
            "rc": "",
        }
        for number in range(devices)
        for second in range(seconds)
    ]
    rng.shuffle(rows)
    return rows


def flood(device: str, *, start: int, seconds: int, rate: int = 50) -> list[dict[str, Any]]:
    """A device that speaks as often as this, in its usual way."""
    return [
        {
            "ts": BEGIN + start + number / rate,
            "client_id": device,
            "topic": f"plant/press/{device}/data",
            "payload": '{"bar": 5.5}',
            "event": "publish",
            "rc": "",
        }
        for number in range(seconds * rate)
    ]
