"""Types of the view as types of PostgreSQL, and their values as text and as binary, both ways.

Source: the PostgreSQL manual, chapter "Data Types", and the send and receive formats of `pg_type`.
"""

import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from contracts.errors import ConfigError
from contracts.messages import Json

Encode = Callable[[Any], bytes]

_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - PostgreSQL's own epoch; the view's timestamps are UTC without a zone
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of PostgreSQL: its number, name and size in bytes (-1: it varies)."""

    oid: int
    name: str
    size: int = -1


BOOL, BYTEA = Kind(16, "boolean", 1), Kind(17, "bytea")
INT2, INT4, INT8 = Kind(21, "smallint", 2), Kind(23, "integer", 4), Kind(20, "bigint", 8)
FLOAT4, FLOAT8, NUMERIC = Kind(700, "real", 4), Kind(701, "double precision", 8), Kind(1700, "numeric")
TEXT, JSON, UUID_KIND = Kind(25, "text"), Kind(114, "json"), Kind(2950, "uuid", 16)
DATE, TIME, INTERVAL = (
    Kind(1082, "date", 4),
    Kind(1083, "time without time zone", 8),
    Kind(1186, "interval", 16),
)
TIMESTAMP = Kind(1114, "timestamp without time zone", 8)
TIMESTAMPTZ = Kind(1184, "timestamp with time zone", 8)
TEXTS = Kind(1009, "text[]")
OID = Kind(26, "oid", 4)

_KINDS: Mapping[str, Kind] = {
    "BOOLEAN": BOOL, "BLOB": BYTEA, "DATE": DATE, "TIME": TIME, "INTERVAL": INTERVAL, "UUID": UUID_KIND, "JSON": JSON,
    "TINYINT": INT2, "SMALLINT": INT2, "UTINYINT": INT2, "INTEGER": INT4, "USMALLINT": INT4, "BIGINT": INT8,
    "UINTEGER": INT8, "UBIGINT": NUMERIC, "HUGEINT": NUMERIC, "UHUGEINT": NUMERIC, "FLOAT": FLOAT4, "DOUBLE": FLOAT8,
    "VARCHAR": TEXT, "VARCHAR[]": TEXTS, "TIMESTAMP WITH TIME ZONE": TIMESTAMPTZ, "OID": OID,
}  # fmt: skip


def kind_of(sql_type: str) -> Kind:
    """The type for a column of the view; lists and structures travel as JSON."""
    if sql_type in _KINDS:
        return _KINDS[sql_type]
    if sql_type.startswith("DECIMAL"):
        return NUMERIC
    if sql_type.startswith("TIMESTAMP"):
        return TIMESTAMP
    return JSON if sql_type.endswith("]") or sql_type.startswith(("STRUCT", "MAP", "UNION")) else TEXT


def encoder(kind: Kind, form: int) -> Encode:
    """How a value of this type goes out: `form` 0 is text, 1 binary."""
    return _BINARY.get(kind, _text) if form else _AS_TEXT.get(kind, _text)


def _text(value: Any) -> bytes:
    if isinstance(value, str):
        return value.replace("\0", "").encode()
    if isinstance(value, list | tuple | dict):
        return _json(value)
    return str(value).encode()


def _json(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else json.dumps(value, default=str).encode()


def _float_text(value: float) -> bytes:
    if math.isfinite(value):
        return repr(value).encode()
    return b"NaN" if math.isnan(value) else (b"Infinity" if value > 0 else b"-Infinity")


def _moment_text(value: datetime) -> bytes:
    """As PostgreSQL writes it: no zeros behind the second's last digit."""
    return _shortened(value.replace(tzinfo=None).isoformat(sep=" ")).encode()


def _shortened(text: str) -> str:
    return text.rstrip("0") if "." in text else text


def _zoned_text(value: datetime) -> bytes:
    return _moment_text(value.astimezone(UTC) if value.tzinfo else value) + b"+00"


def _interval_text(value: timedelta) -> bytes:
    minutes, seconds = divmod(value.seconds, 60)
    clock = _shortened(f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}.{value.microseconds:06}").rstrip(
        "."
    )
    return f"{f'{value.days} days ' if value.days else ''}{clock}".encode()


def _texts_text(value: list[Any]) -> bytes:
    inner = ",".join(
        "NULL" if one is None else '"' + re.sub(r'(["\\])', r"\\\1", str(one)) + '"' for one in value
    )
    return f"{{{inner}}}".encode()


_AS_TEXT: Mapping[Kind, Encode] = {
    BOOL: lambda value: b"t" if value else b"f",
    BYTEA: lambda value: b"\\x" + bytes(value).hex().encode(),
    FLOAT4: _float_text,
    FLOAT8: _float_text,
    TIMESTAMP: _moment_text,
    TIMESTAMPTZ: _zoned_text,
    INTERVAL: _interval_text,
    TEXTS: _texts_text,
    JSON: _json,
}


def _moment_binary(value: datetime) -> bytes:
    utc = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    return struct.pack("!q", (utc - _EPOCH) // _MICROSECOND)


def _numeric_binary(value: Any) -> bytes:
    """Groups of four digits: count, weight of the first, sign, digits behind the point, the groups."""
    number = Decimal(value)
    if not number.is_finite():
        return struct.pack("!hhHh", 0, 0, 0xC000, 0)
    whole, _, part = format(number.copy_abs(), "f").partition(".")
    digits = whole.rjust(-(-len(whole) // 4) * 4, "0") + part.ljust(-(-len(part) // 4) * 4, "0")
    groups = [int(digits[at : at + 4]) for at in range(0, len(digits), 4)]
    sign = 0x4000 if number < 0 else 0
    return struct.pack(f"!hhHh{len(groups)}h", len(groups), -(-len(whole) // 4) - 1, sign, len(part), *groups)


def _time_binary(value: time) -> bytes:
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return struct.pack("!q", seconds * 1_000_000 + value.microsecond)


def _texts_binary(value: list[Any]) -> bytes:
    parts = [struct.pack("!iiIii", 1, int(None in value), TEXT.oid, len(value), 1)]
    for one in value:
        told = None if one is None else str(one).encode()
        parts.append(b"\xff\xff\xff\xff" if told is None else struct.pack("!i", len(told)) + told)
    return b"".join(parts) if value else struct.pack("!iiI", 0, 0, TEXT.oid)


_BINARY: Mapping[Kind, Encode] = {
    BOOL: lambda value: b"\1" if value else b"\0",
    BYTEA: bytes,
    INT2: lambda value: struct.pack("!h", value),
    INT4: lambda value: struct.pack("!i", value),
    INT8: lambda value: struct.pack("!q", value),
    OID: lambda value: struct.pack("!I", value),
    FLOAT4: lambda value: struct.pack("!f", value),
    FLOAT8: lambda value: struct.pack("!d", value),
    NUMERIC: _numeric_binary,
    UUID_KIND: lambda value: UUID(str(value)).bytes,
    DATE: lambda value: struct.pack("!i", (value - _EPOCH.date()).days),
    TIME: _time_binary,
    TIMESTAMP: _moment_binary,
    TIMESTAMPTZ: _moment_binary,
    INTERVAL: lambda value: struct.pack(
        "!qii", (value - timedelta(days=value.days)) // _MICROSECOND, value.days, 0
    ),
    TEXTS: _texts_binary,
    JSON: _json,
}

_NUMBERS = {21: int, 23: int, 20: int, 26: int, 700: float, 701: float, 1700: Decimal}
_ITEMS = {
    1000: 16,
    1005: 21,
    1007: 23,
    1016: 20,
    1021: 700,
    1022: 701,
    1231: 1700,
    1009: 25,
    1015: 1043,
    2951: 2950,
}
"""Arrays, by the type of what is in them."""

_STRUCTS = {21: "!h", 23: "!i", 20: "!q", 26: "!I", 700: "!f", 701: "!d", 16: "!?"}


def parameter(raw: bytes | None, oid: int, form: int) -> Json:
    """A bound parameter as the view takes it. Raises ConfigError."""
    if raw is None:
        return None
    try:
        return _from_binary(raw, oid) if form else _from_text(raw.decode(), oid)
    except (ValueError, ArithmeticError, struct.error, IndexError, OverflowError):
        raise ConfigError("a parameter is not of the type it says", fix="send it as text") from None


def _from_text(text: str, oid: int) -> Json:
    if oid in _NUMBERS:
        number: Json = _NUMBERS[oid](text)
        return number
    if oid == BOOL.oid:
        return text.lower() in ("t", "true", "1", "on", "yes", "y")
    if oid == BYTEA.oid:
        return bytes.fromhex(text.removeprefix("\\x"))
    return _array_of_text(text, _ITEMS[oid]) if oid in _ITEMS else text


_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,{}"]+)')


def _array_of_text(text: str, item: int) -> list[Json]:
    """An array of one dimension: `{a,"b c",NULL}`."""
    return [
        _from_text(re.sub(r"\\(.)", r"\1", quoted), item)
        if plain == ""
        else (None if plain.strip().upper() == "NULL" else _from_text(plain.strip(), item))
        for quoted, plain in _ITEM.findall(text)
    ]


def _from_binary(raw: bytes, oid: int) -> Json:
    if oid in _STRUCTS:
        plain: Json = struct.unpack(_STRUCTS[oid], raw)[0]
        return plain
    if oid in _ITEMS:
        return _array_of_binary(raw)
    read = _FROM_BINARY.get(oid)
    return read(raw) if read else raw.decode()


def _array_of_binary(raw: bytes) -> list[Json]:
    dimensions, _, item = struct.unpack_from("!iiI", raw)
    if dimensions == 0:
        return []
    (count,), at = struct.unpack_from("!i", raw, 12), 20
    found: list[Json] = []
    for _ in range(min(count, len(raw))):
        (length,) = struct.unpack_from("!i", raw, at)
        found.append(parameter(None if length < 0 else raw[at + 4 : at + 4 + length], item, 1))
        at += 4 + max(length, 0)
    return found


def _numeric_from_binary(raw: bytes) -> Decimal:
    count, weight, sign, _ = struct.unpack_from("!hhHh", raw)
    groups = struct.unpack_from(f"!{count}h", raw, 8)
    digits = tuple(int(digit) for group in groups for digit in f"{group:04}")
    return Decimal((int(sign == 0x4000), digits or (0,), 4 * (weight + 1 - count)))


_FROM_BINARY: Mapping[int, Callable[[bytes], Json]] = {
    BYTEA.oid: bytes,
    NUMERIC.oid: _numeric_from_binary,
    UUID_KIND.oid: lambda raw: str(UUID(bytes=raw)),
    DATE.oid: lambda raw: (_EPOCH.date() + timedelta(days=struct.unpack("!i", raw)[0])).isoformat(),
    TIMESTAMP.oid: lambda raw: str(_EPOCH + timedelta(microseconds=struct.unpack("!q", raw)[0])),
    TIMESTAMPTZ.oid: lambda raw: f"{_EPOCH + timedelta(microseconds=struct.unpack('!q', raw)[0])}+00",
    3802: lambda raw: raw[1:].decode(),  # jsonb: a version, then the text
}

SAMPLES: Mapping[int, Json] = {
    16: False, 20: 0, 21: 0, 23: 0, 26: 0, 700: 0.0, 701: 0.0, 1700: Decimal(0), 25: "", 1043: "", 1009: [""],
    1114: datetime(2000, 1, 1), 1184: datetime(2000, 1, 1, tzinfo=UTC), 1082: date(2000, 1, 1),  # noqa: DTZ001 - any value of the type does
}  # fmt: skip
"""A value of a type, to ask what a statement would answer before its parameters are there."""
