"""Values that were recorded: a column of a CSV, NDJSON or Parquet file, read once when the scenario is loaded."""

import csv
import json
import math
import random
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, model_validator

from .generators import Generator, Json, Spec, played
from .values import PositiveDuration

MAX_ROWS = 1_000_000
"""A reading a second for eleven days; as Python numbers they take 32 MB."""

MAX_BYTES = 256_000_000

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")


class Recorded(Spec):
    """The values of one column of a file, in their order, from the beginning again when they are used up.

    `file` is a .csv (with a header), .ndjson, .jsonl or .parquet file, given from the folder of the file that it
    stands in. Each value is one reading's, or lasts `every`. `start: random` lets every device begin at a place
    of its own. In a CSV what reads as a number is one, and an empty cell is null.
    """

    file: str = Field(min_length=1)
    column: str = Field(min_length=1)
    start: Literal["first", "random"] = "first"
    every: PositiveDuration | None = None
    _values: tuple[Json, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _read(self) -> "Recorded":
        self._values = column_of(Path(self.file), self.column)
        return self

    @property
    def values(self) -> tuple[Json, ...]:
        """What was read."""
        return self._values

    def generator(self, rng: random.Random) -> Generator:
        first = rng.randrange(len(self._values)) if self.start == "random" else 0
        return played(self._values, every=self.every, first=first)


def column_of(file: Path, column: str) -> tuple[Json, ...]:
    """All values of a column. Raises ValueError: no such file or column, no values, or too many."""
    if file.suffix.lower() not in _READERS:
        raise ValueError(f"'{file.name}' is of no known kind: it ends in one of {', '.join(_READERS)}")
    missing = f"there is no file '{file}': give its path from the folder of this file"
    try:
        now = (
            file.stat()
        )  # `is_file` does not say why from Python 3.14 on: a name too long is a missing file to it
        if not stat.S_ISREG(now.st_mode):
            raise ValueError(missing)
        if now.st_size > MAX_BYTES:
            raise ValueError(f"'{file.name}' is larger than {MAX_BYTES // 1_000_000} MB: cut it")
        return _read_once(file, column, (now.st_mtime_ns, now.st_size))
    except FileNotFoundError:
        raise ValueError(missing) from None
    except OSError as error:
        raise ValueError(f"'{file}' cannot be read: {error.strerror}") from None


@lru_cache(maxsize=16)
def _read_once(file: Path, column: str, _version: tuple[int, int]) -> tuple[Json, ...]:
    """A matrix loads its file for every cell, and all of them share what was read."""
    values = _bounded(file, _READERS[file.suffix.lower()](file, column))
    if not values:
        raise ValueError(f"'{file.name}' has no rows: record some, or use another generator")
    return tuple(values)


def _bounded(file: Path, values: Iterator[Json]) -> list[Json]:
    kept: list[Json] = []
    for value in values:
        if len(kept) >= MAX_ROWS:
            raise ValueError(f"'{file.name}' has more than {MAX_ROWS:,} rows: cut it")
        kept.append(_plain(file, value))
    return kept


def _plain(file: Path, value: Any) -> Json:
    """Numbers that are none become null, as in JSON; what JSON cannot hold is refused."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError(f"'{file.name}' holds {value!r}, which is no JSON value: store it as text") from None
    return value


def _csv(file: Path, column: str) -> Iterator[Json]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            _require(file, column, rows.fieldnames or ())
            for row in rows:
                yield _cell(row[column])
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"'{file.name}' is no CSV file in UTF-8: {error}") from None


def _cell(text: str | None) -> Json:
    if not text:
        return None
    if _WHOLE.fullmatch(text):
        return int(text)
    try:
        return text if "_" in text else float(text)  # Python alone reads 1_000 as a number
    except ValueError:
        return text


def _ndjson(file: Path, column: str) -> Iterator[Json]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                row = _row(file, line, number)
                _require(file, column, row, row=f" in line {number}")
                yield row[column]


def _row(file: Path, line: bytes, number: int) -> Mapping[str, Json]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"'{file.name}', line {number}, is no JSON: {error}") from None
    if isinstance(row, dict):
        return row
    raise ValueError(f"'{file.name}', line {number}, is no JSON object: write {{...}} in each line")


def _parquet(file: Path, column: str) -> Iterator[Json]:
    import pyarrow as pa  # noqa: PLC0415 - takes 0.2 s to import, and few scenarios need it
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    try:
        with pq.ParquetFile(file) as table:
            _require(file, column, table.schema_arrow.names)
            for batch in table.iter_batches(columns=[column]):
                yield from batch.column(0).to_pylist()
    except pa.ArrowException as error:
        raise ValueError(f"'{file.name}' is no Parquet file that can be read: {error}") from None


def _require(file: Path, column: str, known: Any, *, row: str = "") -> None:
    if column not in known:
        names = ", ".join(map(str, known)) or "none"
        raise ValueError(f"'{file.name}' has no column '{column}'{row}; it has: {names}")


_READERS: Mapping[str, Callable[[Path, str], Iterator[Json]]] = {
    ".csv": _csv,
    ".ndjson": _ndjson,
    ".jsonl": _ndjson,
    ".parquet": _parquet,
}
