"""Rows of CSV, NDJSON and Parquet files, one by one with their numbers, as mappings of column to value."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from contracts.errors import ConfigError

Raw: TypeAlias = Mapping[str, Any]
Numbered: TypeAlias = Iterator[tuple[int, Raw]]

BATCH_ROWS = 10_000
"""Of a Parquet file at a time: some 10 MB."""

MAX_FIELD = 32 * 1024 * 1024
"""Characters of one CSV value: the largest payload in base64 has 22 million."""


def open_rows(file: Path, *, needed: Sequence[str] = ()) -> Numbered:
    """The rows of a file, its type told by the suffix. Raises ConfigError, also for a `needed` column that is missing.

    The number is the line of the file, or that of the row (from 1) in a Parquet file.
    """
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        known = ", ".join(_READERS)
        raise ConfigError(f"{file} has no suffix that is known", fix=f"name it by what it is: {known}")
    if not file.is_file():
        raise ConfigError(f"there is no file {file}", fix="correct the path")
    try:
        yield from reader(file, needed)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file} cannot be read: {error}", fix="give a file in UTF-8 that you may read"
        ) from None


def _csv(file: Path, needed: Sequence[str]) -> Numbered:
    csv.field_size_limit(MAX_FIELD)
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        try:
            if reader.fieldnames is None:
                raise ConfigError(f"{file} is empty", fix="begin it with a line of column names")
            _check_columns(f"{file}:1", reader.fieldnames, needed)
            for row in reader:
                if None in row:
                    raise ConfigError(
                        f"{file}:{reader.line_num}: more values than columns",
                        fix="put values with commas in quotes",
                    )
                yield reader.line_num, row
        except csv.Error as error:
            fix = "check its quotes and commas"
            raise ConfigError(f"{file}:{reader.line_num}: no valid CSV: {error}", fix=fix) from None


def _ndjson(file: Path, needed: Sequence[str]) -> Numbered:
    with file.open(encoding="utf-8-sig") as lines:
        filled = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
        for place, (number, line) in enumerate(filled):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                fix = "write one JSON object a line"
                raise ConfigError(f"{file}:{number}: no valid JSON: {error}", fix=fix) from None
            if not isinstance(row, dict):
                raise ConfigError(f"{file}:{number}: no JSON object", fix="write one JSON object a line")
            if place == 0:
                _check_columns(f"{file}:{number}", list(row), needed)
            yield number, row


def _parquet(file: Path, needed: Sequence[str]) -> Numbered:
    import pyarrow as pa  # noqa: PLC0415 - heavy, and most recordings are text
    import pyarrow.parquet as pq  # noqa: PLC0415 - likewise

    try:
        table = pq.ParquetFile(file)
        _check_columns(str(file), table.schema_arrow.names, needed)
        number = 0
        for batch in table.iter_batches(batch_size=BATCH_ROWS):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except pa.ArrowException as error:
        raise ConfigError(f"{file} is no valid Parquet: {error}", fix="write it again") from None


def _check_columns(place: str, present: Sequence[str], needed: Sequence[str]) -> None:
    if missing := [name for name in needed if name not in present]:
        raise ConfigError(
            f"{place}: there is no column {', '.join(missing)}",
            fix=f"name it with --map ts=COLUMN,client_id=COLUMN,...; the file has: {', '.join(map(str, present))}",
        )


_READERS: Mapping[str, Callable[[Path, Sequence[str]], Numbered]] = {
    ".csv": _csv,
    ".ndjson": _ndjson,
    ".jsonl": _ndjson,
    ".parquet": _parquet,
}
