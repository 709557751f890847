"""What a process tells while it works, as lines of JSON for those who collect logs; a message's hops by its trace id.

The trace id is the `message_id` that the gateway gives: what `thingstorm trace` takes, and what every hop's line carries.
"""

import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TextIO

import orjson

from contracts.clock import Clock
from contracts.errors import ThingstormError
from contracts.messages import MILLISECOND, Json, Message, Nanoseconds
from contracts.ports import Emit, Outlet
from contracts.trail import Trail, trace_id
from thingstorm.config_alerts import LogsConfig
from thingstorm.report.sentences import describe

_LEVELS = {
    "debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR
}  # fmt: skip
_PLAIN = (str, int, float, bool, type(None))
_NAMES = ("incident_id", "message_id", "device_id")
"""What of an object among the facts goes into a line: who it is; what it holds is in the view."""

_log = logging.getLogger("thingstorm")


class JsonLines(logging.Formatter):
    """A record as one line: `time` (UTC), `level`, `stage`, `logger`, `message`, then the record's own facts."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self._stage = stage

    def format(self, record: logging.LogRecord) -> str:
        """Never fails for a fact that JSON cannot carry: it is told as text."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "stage": self._stage,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class JsonLog:
    """Set up once a process. Everything goes to standard error: standard output belongs to `--json`."""

    def __init__(self, config: LogsConfig, *, stage: str, stream: TextIO | None = None) -> None:
        self._handler = logging.StreamHandler(stream or sys.stderr)
        self._handler.setFormatter(JsonLines(stage))
        self._level = _LEVELS[config.level]

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self._handler)
        _log.setLevel(self._level)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """An error of ours is the last line, and its exit code that of the process."""
        if isinstance(error, ThingstormError):
            _write(logging.ERROR, "error", f"error: {error.what}", {"fix": error.fix})
        logging.getLogger().removeHandler(self._handler)
        _log.setLevel(logging.NOTSET)
        if isinstance(error, ThingstormError):
            raise SystemExit(error.exit_code)

    def tell(self, line: str) -> None:
        """A sentence that a person would read."""
        level = logging.ERROR if line.startswith("error:") else logging.INFO
        _write(level, "note", line, {})

    def emit(self, event: str, facts: Mapping[str, Json]) -> None:
        """An `Emit`: the sentence, and the facts by name."""
        _write(logging.INFO, event, describe(event, facts) or event, dict(_plain(facts)))


def listening(emit: Emit) -> Emit:
    """The same, and every event into the log of this process, if it has one."""

    def both(event: str, facts: Mapping[str, Json]) -> None:
        if logs_json():
            _write(logging.INFO, event, describe(event, facts) or event, dict(_plain(facts)))
        emit(event, facts)

    return both


def logs_json() -> bool:
    """Whether this process writes lines of JSON."""
    return any(isinstance(one.formatter, JsonLines) for one in logging.getLogger().handlers)


def traced(trail: Trail) -> Trail:
    """Lets the trail write a line a message and hop, at level debug; at any other it costs nothing."""
    if logs_json() and _log.isEnabledFor(logging.DEBUG):
        trail.listen(log_hop)
    return trail


def log_hop(hop: str, at: Nanoseconds, items: Sequence[Any], detail: str) -> None:
    """One line for each of the messages that passed; those without an id (heartbeats of other tables) have none."""
    for item in items:
        if identifier := trace_id(item):
            facts = {"trace_id": identifier, "hop": hop, "at": at // MILLISECOND}
            _write(logging.DEBUG, "hop", f"{hop} {detail}".rstrip(), facts)


def logged(outlet: Outlet, clock: Clock) -> Outlet:
    """What the gateway accepts becomes a hop of the log, where hops are logged; else the outlet itself."""
    return _Logged(outlet, clock) if logs_json() and _log.isEnabledFor(logging.DEBUG) else outlet


class _Logged:
    """An outlet that writes a line for each message that it took."""

    def __init__(self, inner: Outlet, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock
        self.room, self.join, self.gauge = inner.room, inner.join, inner.gauge

    def offer(self, message: Message) -> bool:
        return self.offer_all((message,)) == 1

    def offer_all(self, messages: Sequence[Message]) -> int:
        taken = self._inner.offer_all(messages)
        log_hop("accepted", self._clock.now(), messages[:taken], "")
        return taken

    async def put(self, message: Message) -> None:
        await self._inner.put(message)
        log_hop("accepted", self._clock.now(), (message,), "")


def _write(level: int, event: str, message: str, facts: Mapping[str, Any]) -> None:
    _log.log(level, "%s", message, extra={"facts": {"event": event, **facts}})


def _plain(facts: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, _PLAIN):
            yield name, value
        else:
            yield from ((key, getattr(value, key)) for key in _NAMES if hasattr(value, key))
