"""A CSV file of one value a time, scored: read, score by `analytics.series`, write beside what was there."""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from analytics.series import QUIET_ROWS, score_series, seconds_of
from contracts.errors import ConfigError, UnknownName

LEARNING_SHARE = 0.15
"""Of the rows: what is scored in them counts as no alarm, unless told otherwise."""

LEARNING_ROWS = 750
"""The learning time at most: 15 % of 5,000 rows."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A file's rows as they stood, one score each (0 to 1, not rounded), and how many of them were learnt from."""

    times: tuple[str, ...]
    values: tuple[str, ...]
    scores: tuple[float, ...]
    missing: int
    learning: int

    def alarms(self, threshold: float) -> list[int]:
        """The rows (from 0) that raise an alarm: at least this score, after the learning time, once an event."""
        found: list[int] = []
        for row in range(self.learning, len(self.scores)):
            if self.scores[row] >= threshold and (not found or row - found[-1] >= QUIET_ROWS):
                found.append(row)
        return found


def score_file(path: Path, *, time: str, value: str, learning: int | None = None) -> Scored:
    """Score a file with a header. `learning` rows give no alarm: by default 15 %, 750 at most.

    A value that is no number, or none, is missing: its row scores 0. Raises ConfigError for a file that cannot be
    read, UnknownName for a column that it has not.
    """
    rows = list(_cells(path, (time, value)))
    numbers = [_number(cell) for _, cell in rows]
    scores = score_series([seconds_of(moment) for moment, _ in rows], numbers)
    return Scored(
        times=tuple(moment for moment, _ in rows),
        values=tuple(cell for _, cell in rows),
        scores=tuple(scores.tolist()),
        missing=sum(not math.isfinite(number) for number in numbers),
        learning=min(int(LEARNING_SHARE * len(rows)), LEARNING_ROWS) if learning is None else learning,
    )


def write_scores(to: TextIO, scored: Scored, *, threshold: float | None) -> None:
    """`timestamp,value,anomaly_score` for each row, in the order of the file; `alarm` (0 or 1) with a threshold."""
    writer = csv.writer(to, lineterminator="\n")
    writer.writerow(["timestamp", "value", "anomaly_score", *(["alarm"] if threshold is not None else [])])
    alarms = frozenset(scored.alarms(threshold)) if threshold is not None else frozenset()
    for row, cells in enumerate(zip(scored.times, scored.values, scored.scores, strict=True)):
        writer.writerow([*cells, *([int(row in alarms)] if threshold is not None else [])])


def _cells(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            rows = csv.reader(file)
            header = [name.strip() for name in next(rows, [])]
            if not header:
                raise ConfigError(f"{path} is empty", fix="give a CSV file with a header and a row each time")
            first, second = (_place(header, name) for name in columns)
            for row in rows:
                if row:
                    yield _cell(row, first), _cell(row, second)
    except (OSError, csv.Error) as error:
        raise ConfigError(f"cannot read {path}: {error}", fix="give a CSV file with a header") from None


def _place(header: Sequence[str], name: str) -> int:
    if name not in header:
        raise UnknownName("column", name, header)
    return header.index(name)


def _cell(row: Sequence[str], place: int) -> str:
    return row[place] if place < len(row) else ""


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
