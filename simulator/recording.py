"""Recorded traffic: CSV, NDJSON or Parquet rows with a column map, checked and put in the order of their times.

Rows are read one by one, or batch by batch, and kept in a compact form, because only a whole file can be put in
order: at most `MAX_ROWS` rows with `MAX_BYTES` of payload.
"""

import base64
import binascii
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, cast, get_args

from contracts.errors import ConfigError, UnknownName
from contracts.messages import SECOND, Nanoseconds

from .recorded_files import Raw, open_rows

EventKind: TypeAlias = Literal["connect", "publish", "subscribe", "disconnect"]
PayloadForm: TypeAlias = Literal["auto", "text", "base64"]

COLUMNS = ("ts", "client_id", "topic", "payload", "size", "qos", "event", "ip", "rc", "encoding")
"""`encoding` (text or base64) says row by row how `payload` is written; `thingstorm record` writes it.

`ip` is accepted and not played: every connection of a replay comes from this machine.
"""

REQUIRED = ("ts", "client_id")

MAX_ROWS = 2_000_000
"""Some 250 bytes each in memory beside the payload: half a gigabyte."""

MAX_BYTES = 1024**3
MAX_PAYLOAD = 16 * 1024 * 1024
"""The largest that the gateway takes with the limits `open`."""

LATEST_SECONDS = 1e11
"""The year 5138: beyond it the column holds milliseconds or nanoseconds, not seconds."""

RELATIVE_SECONDS = 365 * 86_400
"""Times below a year count from the beginning of the recording, not from 1970."""

RELATIVE_START: Nanoseconds = 1_767_600_000 * SECOND
"""Where a recording with relative times is put: 2026-01-05T08:00:00Z, as the direct path's virtual clock."""

_BASE64 = re.compile(r"[A-Za-z0-9+/]{6,}={0,2}")
_EVENTS: tuple[str, ...] = get_args(EventKind)


class Row(NamedTuple):
    """One thing that a client did. A tuple, because there may be two million; `code` is that of a refused connect."""

    at: Nanoseconds
    event: EventKind
    client_id: str
    topic: str
    payload: bytes
    qos: int
    code: int


@dataclass(frozen=True, slots=True)
class Recording:
    """The rows in the order of their times. `shift` was added to every time of the file."""

    file: Path
    rows: tuple[Row, ...]
    shift: Nanoseconds

    @property
    def start(self) -> Nanoseconds:
        """The whole second of the first row: metrics and verdicts are made at whole seconds."""
        return self.rows[0].at // SECOND * SECOND

    @property
    def duration(self) -> Nanoseconds:
        """Whole seconds from `start` until the last row's second is over."""
        return self.rows[-1].at // SECOND * SECOND + SECOND - self.start

    def moment(self, value: Any) -> Nanoseconds:
        """A time written as in the file, as it is played. Raises ValueError."""
        return moment(value) + self.shift


def column_map(text: str) -> dict[str, str]:
    """`ts=COL,client_id=COL,...` as our name -> the file's name. Raises ConfigError."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, column = (one.strip() for one in part.partition("="))
        if not equals or not column:
            raise ConfigError(f"--map {part}: no column", fix="write --map ts=COLUMN,client_id=COLUMN,...")
        if name not in COLUMNS:
            raise UnknownName("column", name, COLUMNS)
        if name in found:
            raise ConfigError(f"--map names {name} twice", fix="give each of our columns one of the file's")
        found[name] = column
    return found


def read_recording(
    file: Path, *, columns: Mapping[str, str] | None = None, form: PayloadForm = "auto"
) -> Recording:
    """Read a recording; `columns` maps our names to the file's, each is its own name otherwise.

    Raises ConfigError with file, row and fix.
    """
    reader = _Reader(file, {**{name: name for name in COLUMNS}, **(columns or {})}, form)
    mapped = tuple(columns or ()) + tuple(name for name in REQUIRED if name not in (columns or {}))
    rows: list[Row] = []
    for number, raw in open_rows(file, needed=[reader.columns[name] for name in mapped]):
        rows.append(reader.row(number, raw))
        if len(rows) > MAX_ROWS:
            raise _wrong(file, number, f"more than {MAX_ROWS:,} rows", fix="cut the recording into pieces")
    if not rows:
        raise ConfigError(f"{file} holds no rows", fix="give a file with at least one message")
    rows.sort(key=lambda row: row.at)
    shift = RELATIVE_START if rows[0].at < RELATIVE_SECONDS * SECOND else 0
    if shift:
        rows = [row._replace(at=row.at + shift) for row in rows]
    return Recording(file, tuple(rows), shift)


def moment(value: Any) -> Nanoseconds:
    """Nanoseconds of seconds (number or text) or an ISO 8601 time (UTC if it names no zone). Raises ValueError."""
    if isinstance(value, datetime):
        seconds = _of_datetime(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        seconds = _of_text(str(value).strip() if value is not None else "")
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{value!r} is no time")
    if seconds >= LATEST_SECONDS:
        raise ValueError(f"{value!r} is no time in seconds: divide milliseconds by 1000")
    return round(seconds * SECOND)


def _of_text(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass  # no number: perhaps ISO 8601
    try:
        return _of_datetime(datetime.fromisoformat(text))
    except ValueError:
        raise ValueError(f"{text!r} is no time") from None


def _of_datetime(value: datetime) -> float:
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()


class _Reader:
    """Turns the rows of one file into ours; counts their bytes."""

    def __init__(self, file: Path, columns: Mapping[str, str], form: PayloadForm) -> None:
        self.columns = columns
        self._file = file
        self._form = form
        self._bytes = 0
        self._invented: dict[int, bytes] = {}

    def row(self, number: int, raw: Raw) -> Row:
        """Raises ConfigError."""
        try:
            return self._checked(raw)
        except ValueError as error:
            raise _wrong(self._file, number, str(error), fix="correct this row, or --map") from None

    def _checked(self, raw: Raw) -> Row:
        given = {name: raw.get(column) for name, column in self.columns.items()}
        event = str(given["event"] or "publish").strip().lower()
        if event not in _EVENTS:
            raise ValueError(f"the event is {event!r}: it is one of {', '.join(_EVENTS)}")
        client_id = _text(given["client_id"])
        if not client_id or "\x00" in client_id or len(client_id.encode()) > 65_535:
            raise ValueError(f"{self.columns['client_id']} is empty or no client id")
        topic = _topic(given["topic"], event)
        payload = self._payload(given) if event == "publish" else b""
        self._bytes += len(payload)
        if self._bytes > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES:,} bytes of payload: cut the recording into pieces")
        return Row(
            moment(given["ts"]),
            cast(EventKind, event),
            sys.intern(client_id),
            sys.intern(topic),
            payload,
            _whole(given["qos"], "qos", most=2),
            _whole(given["rc"], "rc", most=255) if event == "connect" else 0,
        )

    def _payload(self, given: Mapping[str, Any]) -> bytes:
        value = given["payload"]
        if value is None or (value == "" and given["size"] not in (None, "")):
            return self._invent(_whole(given["size"], "size", most=MAX_PAYLOAD))
        payload = _bytes_of(value, _form_of(given["encoding"], self._form))
        if len(payload) > MAX_PAYLOAD:
            raise ValueError(f"a payload of {len(payload):,} bytes: the gateway takes {MAX_PAYLOAD:,}")
        return payload

    def _invent(self, size: int) -> bytes:
        """The same bytes for the same size: nobody knows what they were."""
        if size not in self._invented:
            room = size - len('{"blob":""}')
            self._invented[size] = b'{"blob":"%s"}' % (b"0" * room) if room >= 0 else b"0" * size
        return self._invented[size]


def _form_of(encoding: Any, form: PayloadForm) -> PayloadForm:
    if encoding in (None, ""):
        return form
    if encoding not in ("text", "base64"):
        raise ValueError(f"the encoding is {encoding!r}: it is text or base64")
    return cast(PayloadForm, encoding)


def _bytes_of(value: Any, form: PayloadForm) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        return json.dumps(value, separators=(",", ":")).encode()
    if form == "base64":
        return _decoded(value)
    return _decoded(value) if form == "auto" and _looks_like_base64(value) else value.encode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the payload is no base64: if it is text, give --payload text") from None


def _looks_like_base64(text: str) -> bool:
    """Strict base64 that is no plain word or number: padded, of JSON, or of both cases with a digit."""
    if len(text) % 4 or len(text) < 8 or not _BASE64.fullmatch(text):
        return False
    mixed = re.search("[a-z]", text) and re.search("[A-Z]", text) and re.search("[0-9]", text)
    return bool(text.endswith("=") or mixed or base64.b64decode(text)[:1] in (b"{", b"["))


def _topic(value: Any, event: str) -> str:
    topic = _text(value)
    if event not in ("publish", "subscribe"):
        return ""
    if not topic or "\x00" in topic or len(topic.encode()) > 65_535:
        raise ValueError(f"a {event} needs a topic")
    if event == "publish" and ("+" in topic or "#" in topic):
        raise ValueError(f"nobody can publish to the filter {topic!r}")
    return topic


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _whole(value: Any, name: str, *, most: int) -> int:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return 0
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not number.is_integer() or not 0 <= number <= most:
        raise ValueError(f"{name} is {value!r}: it is a whole number of 0 to {most}")
    return int(number)


def _wrong(file: Path, number: int, what: str, *, fix: str) -> ConfigError:
    return ConfigError(f"{file}:{number}: {what}", fix=fix)


def rows_by_client(recording: Recording) -> Iterator[tuple[str, Row]]:
    """Every client id that does something accepted, with its first such row."""
    seen: set[str] = set()
    for row in recording.rows:
        if not row.code and row.client_id not in seen:
            seen.add(row.client_id)
            yield row.client_id, row
