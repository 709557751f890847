r"""What a collection looks like: typed hot columns, everything else in `extra`.

A value that does not fit its column never fails an ingest: the column is NULL and the value goes to `extra`.

Half a surrogate pair, which an escape of JSON can bring (`"\ud800"`), is in no UTF-8 and so in no column: where a text
must be kept, in an id and in `extra`, the half is spelt as those six characters.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import NoneType
from typing import Any, TypeAlias

import orjson
import pyarrow as pa

from contracts.messages import Json
from contracts.text import spelt

Fit: TypeAlias = Callable[[Json], Any]
"""Makes the column's value of an attribute. Raises ValueError or TypeError if it does not fit."""

BIGINT_MAX = 2**63 - 1

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - DuckDB's TIMESTAMP has no zone

_PLAIN = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
"""Only JSON's own kinds; all else goes by `str`, as with `json`."""


_HALF = re.compile("[\ud800-\udfff]")


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    if not value.isascii():
        value.encode()  # UnicodeEncodeError is a ValueError
    return value


def _integer(value: Json) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise ValueError("not an integer")
    if abs(value) > BIGINT_MAX:
        raise ValueError("too large for a BIGINT")
    return int(value)


def _double(value: Json) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    return float(value)


def _boolean(value: Json) -> bool:
    if not isinstance(value, bool):
        raise TypeError("not a boolean")
    return value


def _moment(value: Json) -> datetime:
    """Milliseconds since the epoch to a naive UTC timestamp."""
    try:
        return _EPOCH + timedelta(milliseconds=_integer(value))
    except OverflowError as error:
        raise ValueError("no moment") from error


def _texts(value: Json) -> list[str]:
    if not isinstance(value, list | tuple):
        raise TypeError("not a list")
    return [_text(item) for item in value]


def _json(value: Json) -> str:
    """JSON text: as it is if it is a string holding JSON, else encoded. ValueError: JSON has no such value."""
    if isinstance(value, str):
        orjson.loads(value)  # as strict as the database: one text that it refuses would fail the batch
        return value
    return _encoded(value) or _text(
        json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    )


def _encoded(value: object, **options: Any) -> str | None:
    """By orjson, or nothing where it may be wrong: it writes `null` for NaN and infinity, and refuses integers beyond 64 bits.

    Halves of surrogate pairs it refuses, too.
    """
    try:
        text = orjson.dumps(value, **options).decode()
    except TypeError:
        return None
    return None if "null" in text else text


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A DuckDB type, the Arrow type that carries it, and what fits it."""

    sql: str
    arrow: pa.DataType
    fit: Fit


VARCHAR = ColumnType("VARCHAR", pa.string(), _text)
BIGINT = ColumnType("BIGINT", pa.int64(), _integer)
DOUBLE = ColumnType("DOUBLE", pa.float64(), _double)
BOOLEAN = ColumnType("BOOLEAN", pa.bool_(), _boolean)
TIMESTAMP = ColumnType("TIMESTAMP", pa.timestamp("us"), _moment)
TEXTS = ColumnType("VARCHAR[]", pa.list_(pa.string()), _texts)
JSON = ColumnType("JSON", pa.string(), _json)


TYPES: dict[str, ColumnType] = {
    kind.sql: kind for kind in (VARCHAR, BIGINT, DOUBLE, BOOLEAN, TIMESTAMP, TEXTS, JSON)
}
"""All column types, by their name in SQL."""

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""What a collection or a column of ours may be called. Names that begin with `_` are the view's own."""

TAKEN = frozenset({"extra", "rowid"})
"""No columns of a collection: all other attributes, and DuckDB's own word for a row's place, by which rows are taken out."""


@dataclass(frozen=True, slots=True)
class Rollup:
    """What is counted per value of `by` and time bucket, kept right in the transaction of every batch.

    `size` is the column whose sum is `bytes`; `fields` are columns, or paths such as `payload.temperature`, of which
    minimum, maximum and average are kept; `distinct` is the column whose distinct values are counted by a sketch.
    """

    by: str
    size: str = ""
    fields: tuple[str, ...] = ()
    distinct: str = ""


@dataclass(frozen=True, slots=True)
class Collection:
    """An indexed table: its name, its key attributes, its columns by name, and values for absent attributes.

    `event_time` is the column that rollups, retention and the order of a compacted file go by. `indexes` are columns
    with an index of their own. `search` are JSON paths (`address.city`, or `*` for all) whose values can be looked up.
    `transform` is a SELECT over the relation `batch` (`_id`, `document`), which makes the rows of an ingest.
    """

    name: str
    key: tuple[str, ...]
    columns: Mapping[str, ColumnType]
    defaults: Mapping[str, Json]
    event_time: str = "_ingest_time"
    indexes: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    rollup: Rollup | None = None
    retention_seconds: float | None = None
    transform: str = ""

    def create_sql(self) -> list[str]:
        """Statements that make its table, the indexes, and the columns that came since an earlier version."""
        columns = ", ".join(f'"{name}" {kind.sql}' for name, kind in self.columns.items())
        return [
            (
                f"CREATE TABLE IF NOT EXISTS {self.name} "
                f"(_id VARCHAR PRIMARY KEY, {columns}, extra JSON USING COMPRESSION zstd, "
                f"_seq HUGEINT, _ingest_time TIMESTAMP)"
            ),
            *(
                f'ALTER TABLE {self.name} ADD COLUMN IF NOT EXISTS "{name}" {kind.sql}'
                for name, kind in self.columns.items()
            ),
            *(
                f'CREATE INDEX IF NOT EXISTS _{self.name}_by_{name} ON {self.name} ("{name}")'
                for name in self.indexes
            ),
        ]

    def keys_sql(self) -> str:
        """A statement for the keys of all rows, moments in milliseconds as the table has them."""
        columns = (
            f'epoch_ms("{name}")' if self.columns[name] is TIMESTAMP else f'"{name}"' for name in self.key
        )
        return f"SELECT {', '.join(columns)} FROM {self.name}"  # noqa: S608 - the names are ours

    def table(self, columns: Mapping[str, Sequence[Any]]) -> pa.Table:
        """What `columns` made, for Arrow."""
        own = [(name, kind.arrow) for name, kind in self.columns.items()]
        tail = [("extra", pa.string()), ("_seq", pa.string()), ("_ingest_time", pa.timestamp("us"))]
        schema = pa.schema([("_id", pa.string()), *own, *tail])
        return pa.table(
            [pa.array(columns[name], kind) for name, kind in zip(schema.names, schema.types, strict=True)],
            schema=schema,
        )

    def identity(self, key: Mapping[str, Json]) -> str:
        """The row's `_id`: the key's values joined by '/'; of several a '/' within is written `~1`, a '~' `~0`."""
        if len(self.key) == 1:
            return spelt(str(key[self.key[0]]))
        return spelt("/".join(str(key[name]).replace("~", "~0").replace("/", "~1") for name in self.key))

    def columns_of(
        self, items: Mapping[str, Mapping[str, Json]], *, sequences: Sequence[int], at: datetime
    ) -> dict[str, list[Any]]:
        """The values of items (by row id) column by column; what fits no column is kept in `extra`."""
        extras = [dict(item) for item in items.values()]
        for name in ("_id", *self.columns):
            for extra in extras:
                extra.pop(name, None)
        made: dict[str, list[Any]] = {
            name: _fitted(name, kind.fit, items.values(), extras, default=self.defaults.get(name))
            for name, kind in self.columns.items()
        }
        return {
            **made,
            "_id": list(items),
            "extra": [_dump(extra) if extra else None for extra in extras],
            "_seq": list(map(str, sequences)),
            "_ingest_time": [at] * len(items),
        }

    def item(self, row: Mapping[str, Any]) -> dict[str, Json]:
        """The item of a row as `SELECT *` gives it: the other way round, as far as columns keep a value's form."""
        values = {
            name: _plain(kind, row[name]) for name, kind in self.columns.items() if row[name] is not None
        }
        return {**values, **json.loads(row["extra"] or "{}")}

    def number(self, path: str) -> str:
        """The SQL for the number at a column or a path, NULL where there is none."""
        first, _, rest = path.partition(".")
        if first not in self.columns:
            source = _at("extra", path)
        elif rest:
            source = _at(f'"{first}"', rest)
        else:
            source = f'"{first}"'
        return f"TRY_CAST({source} AS DOUBLE)"


def _at(column: str, path: str) -> str:
    steps = "".join(f'."{step}"' for step in path.split("."))
    return f"{column}->>'${steps}'"


def _plain(kind: ColumnType, value: Any) -> Json:
    if kind is TIMESTAMP:
        return round(value.replace(tzinfo=UTC).timestamp() * 1000)
    return list(value) if kind is TEXTS else value


def _fitted(
    name: str,
    fit: Fit,
    items: Iterable[Mapping[str, Json]],
    extras: Iterable[dict[str, Json]],
    *,
    default: Json,
) -> list[Any]:
    found = [item.get(name) for item in items]
    if fit is _text and _plain_texts(found):  # most columns are text, and most values fit
        return found if default is None else [default if value is None else value for value in found]
    values = []
    for value, extra in zip(found, extras, strict=True):
        try:
            values.append(default if value is None else fit(value))
        except (ValueError, TypeError, OverflowError):
            values.append(default)
            extra[name] = value
    return values


def _plain_texts(found: Sequence[Json]) -> bool:
    """Whether these are texts and nothing, and certainly UTF-8."""
    texts = [value for value in found if isinstance(value, str)]
    return set(map(type, found)) <= {str, NoneType} and "".join(texts).isascii()


def _dump(extra: Mapping[str, Json]) -> str:
    """JSON text; JSON knows no NaN and no infinity, so a value that holds one is kept as text."""
    text = _encoded(extra, default=str, option=_PLAIN)
    if text is not None:
        return text
    try:
        text = json.dumps(extra, default=str, allow_nan=False, ensure_ascii=False)
    except ValueError:
        text = json.dumps({name: str(value) for name, value in extra.items()}, ensure_ascii=False)
    return _HALF.sub(lambda half: f"\\\\u{ord(half[0]):04x}", text)
