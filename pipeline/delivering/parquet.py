"""Record format conversion: JSON records to one Parquet file, by a schema in the types of Glue (Hive).

Sources: Amazon Data Firehose developer guide, "Convert input data format"; AWS Glue data types. As OpenXJsonSerDe does
by default, keys are matched without regard to case. A record that does not fit the schema fails alone.
"""

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from contracts.errors import ConfigError, UnknownName

from .records import FORMAT_CONVERSION_FAILED, Failure, Record

EXTENSION: Final = ".parquet"
COMPRESSIONS: Final[Mapping[str, str]] = {
    "SNAPPY": "snappy",
    "GZIP": "gzip",
    "UNCOMPRESSED": "none",
    "ZSTD": "zstd",
}
"""Of ParquetSerDe; ZSTD is ours."""

_PLAIN: Final[Mapping[str, pa.DataType]] = {
    "boolean": pa.bool_(),
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "int": pa.int32(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("ms"),
}

_SECONDS_BELOW: Final = 10**11
"""A number below it is taken for seconds (until the year 5138), one from it on for milliseconds (from 1973)."""


class Converter:
    """A schema, and records into it. Raises ConfigError, UnknownName for a type that Glue does not have."""

    def __init__(self, columns: Mapping[str, str], *, compression: str = "SNAPPY") -> None:
        if compression not in COMPRESSIONS:
            raise UnknownName("compression of ParquetSerDe", compression, COMPRESSIONS)
        if not columns:
            raise ConfigError("record format conversion without columns", fix="give the table's columns")
        self._compression = COMPRESSIONS[compression]
        self.schema = pa.schema([(name, arrow_type(kind)) for name, kind in columns.items()])

    def __call__(self, records: Sequence[Record]) -> tuple[bytes, list[Record], list[Failure]]:
        """One Parquet file of the records that fit (b"" if none does), those records, and the others."""
        rows, fitting, failures = [], [], []
        for record in records:
            try:
                rows.append(self._row(record.data))
            except (
                ValueError,
                TypeError,
                KeyError,
                ArithmeticError,
                OSError,  # a time beyond what the C library's calendar has
                RecursionError,
                pa.ArrowException,
            ) as error:
                failures.append(
                    Failure(record, FORMAT_CONVERSION_FAILED, "DataFormatConversion.ParseError", str(error))
                )
            else:
                fitting.append(record)
        return (self._file(rows) if rows else b""), fitting, failures

    def _row(self, data: bytes) -> Mapping[str, Any]:
        document = json.loads(data)
        if not isinstance(document, dict):
            raise TypeError("the record is no JSON object")
        given = {str(key).lower(): value for key, value in document.items()}
        row = {field.name: _fit(given.get(field.name.lower()), field.type) for field in self.schema}
        pa.array(
            [row], pa.struct(list(self.schema))
        )  # what Arrow would refuse, it refuses here, for this one only
        return row

    def _file(self, rows: Sequence[Mapping[str, Any]]) -> bytes:
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=self.schema), out, compression=self._compression)
        return out.getvalue()


def read_rows(body: bytes) -> list[dict[str, Any]]:
    """The rows of a Parquet file. Raises ConfigError."""
    try:
        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(body)).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ConfigError(f"no Parquet file: {error}", fix="remove the object") from None
    return rows


def arrow_type(hive: str) -> pa.DataType:
    """`bigint`, `decimal(10,2)`, `array<string>`, `map<string,int>`, `struct<a:int,b:array<double>>`."""
    text = hive.strip().lower()
    if text in _PLAIN:
        return _PLAIN[text]
    if found := re.fullmatch(r"(?:varchar|char)\(\d+\)", text):
        return pa.string()
    if found := re.fullmatch(r"decimal\((\d+)(?:,\s*(\d+))?\)", text):
        return pa.decimal128(int(found[1]), int(found[2] or 0))
    if found := re.fullmatch(r"(array|map|struct)<(.*)>", text):
        return _nested(found[1], _parts(found[2]), hive)
    raise UnknownName("type of a column", hive, [*_PLAIN, "decimal(p,s)", "array<>", "map<,>", "struct<:>"])


def _nested(kind: str, parts: list[str], hive: str) -> pa.DataType:
    if kind == "array" and len(parts) == 1:
        return pa.list_(arrow_type(parts[0]))
    if kind == "map" and len(parts) == 2:
        return pa.map_(arrow_type(parts[0]), arrow_type(parts[1]))
    if kind == "struct" and all(":" in part for part in parts):
        fields = [part.split(":", 1) for part in parts]
        return pa.struct([(name.strip(), arrow_type(one)) for name, one in fields])
    raise ConfigError(
        f"the type '{hive}' is not complete", fix="write array<T>, map<K,V> or struct<name:T,...>"
    )


def _parts(text: str) -> list[str]:
    """Split at the commas that are in no bracket."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "<(") - (character in ">)")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _fit(value: Any, kind: pa.DataType) -> Any:
    """The value as Arrow wants it. Raises ValueError, TypeError."""
    if value is None:
        return None
    if pa.types.is_struct(kind):
        given = {str(name).lower(): one for name, one in dict(value).items()}
        return {field.name: _fit(given.get(field.name), field.type) for field in kind}
    if pa.types.is_map(kind):
        return [(str(name), _fit(one, kind.item_type)) for name, one in dict(value).items()]
    if pa.types.is_list(kind):
        return [_fit(one, kind.value_type) for one in value]
    fit = next((fit for matches, fit in _FITS if matches(kind)), None)
    return fit(value) if fit else value


def _string(value: Any) -> str:
    """An object in a string column is kept as its JSON text."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _timestamp(value: Any) -> datetime:
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo is None else moment.astimezone(UTC)).replace(tzinfo=None)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("no timestamp")
    seconds = value if abs(value) < _SECONDS_BELOW else value / 1000
    return datetime.fromtimestamp(seconds, tz=UTC).replace(tzinfo=None)


_FITS: Final[Sequence[tuple[Callable[[pa.DataType], bool], Callable[[Any], Any]]]] = (
    (pa.types.is_string, _string),
    (pa.types.is_timestamp, _timestamp),
    (pa.types.is_date, date.fromisoformat),
    (pa.types.is_decimal, lambda value: Decimal(str(value))),
    (pa.types.is_binary, lambda value: str(value).encode()),
)
