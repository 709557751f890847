"""Names of objects: `Prefix` and `ErrorOutputPrefix` with their expressions.

Source: Amazon Data Firehose developer guide, "Understand custom prefixes for Amazon S3 objects" and "Configure Amazon
S3 object name format".
"""

import re
import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from contracts.errors import ConfigError, UnknownName

from ..calendar_names import DAYS, MONTHS

_EXPRESSION: Final = re.compile(r"!\{([^:}]*):([^}]*)\}")
_LETTERS: Final = re.compile(r"'(?:[^']|'')*'|([A-Za-z])\1*|[^A-Za-z']+")
_NAMESPACES: Final = ("firehose", "timestamp", "partitionKeyFromQuery", "partitionKeyFromLambda")
_RANDOM_CHARACTERS: Final = 11
DEFAULT_TIME: Final = "!{timestamp:yyyy/MM/dd/HH/}"
"""What Firehose puts behind a prefix without expressions."""

MAX_KEY_BYTES: Final = 1024
"""Of an S3 object's key."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What an expression may ask for: the oldest record's arrival, the record's partition keys, the kind of error."""

    at: datetime
    from_query: Mapping[str, str] = field(default_factory=dict)
    from_lambda: Mapping[str, str] = field(default_factory=dict)
    error: str = ""


Part = Callable[[Moment], str]


class Prefix:
    """A prefix, read once. Raises ConfigError, UnknownName for what Firehose would refuse."""

    def __init__(self, text: str, *, where: str = "Prefix") -> None:
        self.text = text
        self.query_keys: set[str] = set()
        self.lambda_keys: set[str] = set()
        self.names_error = False
        self._where = where
        self._parts = self._read(text)

    @property
    def has_expressions(self) -> bool:
        return any(not isinstance(part, str) for part in self._parts)

    @property
    def static(self) -> str:
        """What every key begins with: the text before the first expression."""
        first = self._parts[0] if self._parts else ""
        return first if isinstance(first, str) else ""

    def render(self, moment: Moment) -> str:
        return "".join(part if isinstance(part, str) else part(moment) for part in self._parts)

    def _read(self, text: str) -> list[str | Part]:
        parts: list[str | Part] = []
        place = 0
        for found in _EXPRESSION.finditer(text):
            parts += [text[place : found.start()]] if found.start() > place else []
            parts.append(self._expression(found[1], found[2]))
            place = found.end()
        rest = text[place:]
        if "!{" in rest:
            raise ConfigError(
                f"{self._where}: an expression is not closed in '{rest}'", fix="write !{namespace:value}"
            )
        return [*parts, rest] if rest else parts

    def _expression(self, namespace: str, value: str) -> Part:
        if namespace == "timestamp":
            parts = _time_parts(value, self._where)
            return lambda moment: "".join(one if isinstance(one, str) else one(moment.at) for one in parts)
        if namespace == "firehose":
            return self._firehose(value)
        if namespace == "partitionKeyFromQuery":
            self.query_keys.add(value)
            return lambda moment: moment.from_query[value]
        if namespace == "partitionKeyFromLambda":
            self.lambda_keys.add(value)
            return lambda moment: moment.from_lambda[value]
        raise UnknownName(f"namespace of an expression in {self._where}", namespace, _NAMESPACES)

    def _firehose(self, value: str) -> Part:
        if value == "random-string":
            return lambda _moment: _random()
        if value == "error-output-type":
            self.names_error = True
            return lambda moment: moment.error
        raise UnknownName(
            f"value of !{{firehose:...}} in {self._where}", value, ("error-output-type", "random-string")
        )


def data_prefix(text: str) -> Prefix:
    """`Prefix`: one without expressions gets the time behind it, in UTC or the stream's zone."""
    prefix = Prefix(text)
    if prefix.names_error:
        raise ConfigError(
            "Prefix: !{firehose:error-output-type} belongs to ErrorOutputPrefix", fix="take it out of Prefix"
        )
    return prefix if prefix.has_expressions else Prefix(text + DEFAULT_TIME)


def error_prefix(text: str, *, data: str) -> Prefix:
    """`ErrorOutputPrefix`; empty is allowed beside a `Prefix` without expressions, and lies under it."""
    if not text and "!{" in data:
        raise ConfigError(
            "ErrorOutputPrefix is missing: a Prefix with expressions needs one",
            fix="give one with !{firehose:error-output-type}",
        )
    prefix = Prefix(text, where="ErrorOutputPrefix")
    if prefix.query_keys or prefix.lambda_keys:
        raise ConfigError(
            "ErrorOutputPrefix: a record that failed has no partition keys",
            fix="use the namespaces timestamp and firehose only",
        )
    if not prefix.has_expressions:
        stem = text or data
        return Prefix(f"{stem}!{{firehose:error-output-type}}/{DEFAULT_TIME}", where="ErrorOutputPrefix")
    if not prefix.names_error:
        raise ConfigError(
            "ErrorOutputPrefix has expressions but no !{firehose:error-output-type}", fix="add it"
        )
    return prefix


def _random() -> str:
    letters = string.ascii_letters + string.digits
    return "".join(secrets.choice(letters) for _ in range(_RANDOM_CHARACTERS))


def _week_year(at: datetime) -> int:
    """Java's YYYY in its default locale: weeks begin on Sunday, and the one with 1 January is the new year's."""
    return (at + timedelta(days=(5 - at.weekday()) % 7)).year


_TIME: Final[Mapping[str, Callable[[datetime], str]]] = {
    "yyyy": lambda at: f"{at.year:04d}",
    "uuuu": lambda at: f"{at.year:04d}",
    "yy": lambda at: f"{at.year % 100:02d}",
    "YYYY": lambda at: f"{_week_year(at):04d}",
    "M": lambda at: str(at.month),
    "MM": lambda at: f"{at.month:02d}",
    "MMM": lambda at: MONTHS[at.month - 1][:3],
    "MMMM": lambda at: MONTHS[at.month - 1],
    "d": lambda at: str(at.day),
    "dd": lambda at: f"{at.day:02d}",
    "D": lambda at: str(at.timetuple().tm_yday),
    "DDD": lambda at: f"{at.timetuple().tm_yday:03d}",
    "E": lambda at: DAYS[at.weekday()][:3],
    "EEE": lambda at: DAYS[at.weekday()][:3],
    "EEEE": lambda at: DAYS[at.weekday()],
    "H": lambda at: str(at.hour),
    "HH": lambda at: f"{at.hour:02d}",
    "h": lambda at: str((at.hour - 1) % 12 + 1),
    "hh": lambda at: f"{(at.hour - 1) % 12 + 1:02d}",
    "a": lambda at: "AM" if at.hour < 12 else "PM",
    "m": lambda at: str(at.minute),
    "mm": lambda at: f"{at.minute:02d}",
    "s": lambda at: str(at.second),
    "ss": lambda at: f"{at.second:02d}",
    "S": lambda at: f"{at.microsecond // 100_000}",
    "SSS": lambda at: f"{at.microsecond // 1000:03d}",
    "A": lambda at: str((at.hour * 3600 + at.minute * 60 + at.second) * 1000 + at.microsecond // 1000),
    "Z": lambda at: at.strftime("%z"),
    "XXX": lambda at: "Z" if not at.utcoffset() else at.strftime("%z")[:3] + ":" + at.strftime("%z")[3:],
}
"""Java's DateTimeFormatter letters (java.time.format, Java 8), those that a prefix can use."""


def _time_parts(pattern: str, where: str) -> list[str | Callable[[datetime], str]]:
    parts: list[str | Callable[[datetime], str]] = []
    place = 0
    for found in _LETTERS.finditer(pattern):
        if found.start() != place:
            break
        place, text = found.end(), found[0]
        if text.startswith("'"):
            parts.append(text[1:-1].replace("''", "'") if len(text) > 2 else "'")
        elif text[0].isalpha():
            if text not in _TIME:
                raise UnknownName(f"letters of a timestamp in {where}", text, _TIME)
            parts.append(_TIME[text])
        else:
            parts.append(text)
    if place != len(pattern):
        raise ConfigError(
            f"{where}: a quote is not closed in the timestamp '{pattern}'", fix="close it with '"
        )
    return parts
