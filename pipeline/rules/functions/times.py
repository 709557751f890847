"""Dates: `parse_time` (formats) and `time_to_epoch` (parses). The words are English, the calendar Gregorian."""

import functools
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from ...calendar_names import DAYS, MONTHS
from ..payload import to_text
from ..values import UNDEFINED, Value, to_int
from .base import register

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LETTERS: Final = re.compile(r"'((?:''|[^'])*)'|(([A-Za-z])\3*)|([^A-Za-z'])", re.DOTALL)
_OFFSET: Final = re.compile(r"(?:UTC|GMT|UT)?([+-])(\d{1,2}):?(\d{2})?")
_SHORT_ZONES: Final = {
    "Z": "UTC",
    "PST": "America/Los_Angeles",
    "PDT": "America/Los_Angeles",
    "MST": "America/Denver",
    "MDT": "America/Denver",
    "CST": "America/Chicago",
    "CDT": "America/Chicago",
    "EST": "America/New_York",
    "EDT": "America/New_York",
}
"""Java reads these as the zones of North America, summer time included."""


@register("parse_time", 2, 3, new=True)
def _parse_time(pattern: Value, milliseconds: Value, zone: Value = "UTC") -> Value:
    """The time as text, by a pattern of Joda-Time."""
    shape, millis = to_text(pattern), to_int(milliseconds)
    where = _zone(zone) if isinstance(zone, str) else None
    if not isinstance(shape, str) or not isinstance(millis, int) or where is None:
        return UNDEFINED
    try:
        moment = (_EPOCH + timedelta(milliseconds=millis)).astimezone(where)
    except OverflowError:  # before year 1 or after year 9999
        return UNDEFINED
    return _formatted(shape, moment)


@register("time_to_epoch", 2, new=True)
def _time_to_epoch(text: Value, pattern: Value) -> Value:
    """Milliseconds since the epoch of a time written by a pattern of Java's DateTimeFormatter; UTC by default."""
    if not isinstance(text, str) or not isinstance(pattern, str):
        return UNDEFINED
    shape = _reader(pattern)
    match = shape and shape.fullmatch(text)
    moment = _moment(match.groupdict()) if match else None
    return UNDEFINED if moment is None else (moment - _EPOCH) // timedelta(milliseconds=1)


def _formatted(pattern: str, moment: datetime) -> Value:
    parts: list[str] = []
    for match in _LETTERS.finditer(pattern):
        quoted, run, letter, other = match.group(1, 2, 3, 4)
        if run is None:
            parts.append(_literal(quoted, other))
        elif letter in _FIELDS:
            parts.append(_FIELDS[letter](moment, len(run)))
        else:
            return UNDEFINED
    return "".join(parts)


def _literal(quoted: str | None, other: str | None) -> str:
    """Text that is no field. Two quotes stand for one, in quotes and by themselves."""
    return "'" if quoted == "" else (quoted or other or "").replace("''", "'")


def _year(moment: datetime, width: int) -> str:
    return f"{moment.year % 100:02d}" if width == 2 else f"{moment.year:0{width}d}"


def _month(moment: datetime, width: int) -> str:
    name = MONTHS[moment.month - 1]
    return f"{moment.month:0{width}d}" if width < 3 else name if width > 3 else name[:3]


def _weekday(moment: datetime, width: int) -> str:
    name = DAYS[moment.weekday()]
    return name if width > 3 else name[:3]


def _fraction(moment: datetime, width: int) -> str:
    return f"{moment.microsecond:06d}".ljust(width, "0")[:width]


def _offset(moment: datetime, width: int) -> str:
    if width > 2:
        return str(moment.tzinfo)
    text = moment.strftime("%z")[:5]
    return f"{text[:3]}:{text[3:]}" if width == 2 else text


_FIELDS: Final[dict[str, Callable[[datetime, int], str]]] = {
    "G": lambda _moment, _width: "AD",
    "y": _year,
    "Y": _year,
    "x": lambda moment, width: f"{moment.isocalendar().year:0{width}d}",
    "w": lambda moment, width: f"{moment.isocalendar().week:0{width}d}",
    "M": _month,
    "d": lambda moment, width: f"{moment.day:0{width}d}",
    "D": lambda moment, width: f"{moment.timetuple().tm_yday:0{width}d}",
    "e": lambda moment, width: f"{moment.isoweekday():0{width}d}",
    "E": _weekday,
    "a": lambda moment, _width: "AM" if moment.hour < 12 else "PM",
    "H": lambda moment, width: f"{moment.hour:0{width}d}",
    "k": lambda moment, width: f"{moment.hour or 24:0{width}d}",
    "K": lambda moment, width: f"{moment.hour % 12:0{width}d}",
    "h": lambda moment, width: f"{moment.hour % 12 or 12:0{width}d}",
    "m": lambda moment, width: f"{moment.minute:0{width}d}",
    "s": lambda moment, width: f"{moment.second:0{width}d}",
    "S": _fraction,
    "z": lambda moment, _width: moment.tzname() or "",
    "Z": _offset,
}

_READ: Final[dict[str, str]] = {
    "y": r"(?P<year>\d{4})",
    "u": r"(?P<year>\d{4})",
    "d": r"(?P<day>\d{1,2})",
    "H": r"(?P<hour>\d{1,2})",
    "h": r"(?P<hour12>\d{1,2})",
    "m": r"(?P<minute>\d{1,2})",
    "s": r"(?P<second>\d{1,2})",
    "S": r"(?P<fraction>\d{1,9})",
    "n": r"(?P<fraction>\d{1,9})",
    "a": r"(?P<half>[AaPp][Mm])",
    "E": r"[A-Za-z]+",
    "V": r"(?P<zone>[\w/+:-]+)",
    "z": r"(?P<zone>[\w/+:-]+)",
    "X": r"(?P<zone>Z|[+-]\d{2}(?::?\d{2})?)",
    "x": r"(?P<zone>[+-]\d{2}(?::?\d{2})?)",
    "Z": r"(?P<zone>[+-]\d{2}:?\d{2})",
    "G": r"(?:AD|CE)",
}


@functools.lru_cache(maxsize=64)
def _reader(pattern: str) -> re.Pattern[str] | None:
    """A regular expression with one group a field; None for a pattern that cannot be read."""
    parts: list[str] = []
    for match in _LETTERS.finditer(pattern):
        quoted, run, letter, other = match.group(1, 2, 3, 4)
        if run is None:
            parts.append(re.escape(_literal(quoted, other)))
        elif letter == "M":
            parts.append(r"(?P<month_name>[A-Za-z]+)" if len(run) > 2 else r"(?P<month>\d{1,2})")
        elif run in ("yy", "uu"):
            parts.append(r"(?P<short_year>\d{2})")
        elif letter in _READ:
            parts.append(_READ[letter])
        else:
            return None
    try:
        return re.compile("".join(parts), re.ASCII)
    except re.error:  # a field twice
        return None


def _moment(fields: dict[str, str]) -> datetime | None:
    zone = _zone(fields.get("zone", "UTC"))
    month = _month_number(fields)
    if zone is None or month is None:
        return None
    year = int(fields.get("year") or 2000 + int(fields.get("short_year", -30)))
    fraction = int(fields.get("fraction", "0").ljust(6, "0")[:6])
    clock = (int(fields.get("minute", 0)), int(fields.get("second", 0)), fraction)
    try:
        return datetime(year, month, int(fields.get("day", 1)), _hour(fields), *clock, tzinfo=zone)
    except (ValueError, OverflowError):  # 30 February
        return None


def _month_number(fields: dict[str, str]) -> int | None:
    name = fields.get("month_name")
    if name is None:
        return int(fields.get("month", 1))
    found = [
        index for index, month in enumerate(MONTHS, 1) if name.lower() in (month.lower(), month[:3].lower())
    ]
    return found[0] if found else None


def _hour(fields: dict[str, str]) -> int:
    if "hour12" not in fields:
        return int(fields.get("hour", 0))
    return int(fields["hour12"]) % 12 + (12 if fields.get("half", "am").lower() == "pm" else 0)


@functools.lru_cache(maxsize=256)
def _zone(name: str) -> tzinfo | None:
    """A zone by its id (`America/Belize`), its offset (`UTC+01:00`, `+0100`) or a short name (`PST`)."""
    offset = _OFFSET.fullmatch(name)
    if offset:
        sign, hours, minutes = offset.groups()
        away = timedelta(hours=int(hours), minutes=int(minutes or 0))
        return timezone(-away if sign == "-" else away) if away < timedelta(days=1) else None
    try:
        return ZoneInfo(_SHORT_ZONES.get(name, name))
    except (KeyError, ValueError, OSError):  # no such zone; a path that is none
        return None
