"""What a scenario file of the format v1 may hold: frozen models, each with the checks of its own fields."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from contracts.messages import SECOND, Nanoseconds

from .behaviours import BEHAVIOURS, Behaviour
from .payloads import Payload
from .schedule import Every
from .values import Compared, Duration, PositiveDuration, Topic, TopicFilter

MAX_DEVICES = 10_000
"""One process holds 5,000 paho clients at about 5 KB each; beyond 10,000 it is a mistake in the file."""

Count = Annotated[int, Field(strict=True, gt=0, le=MAX_DEVICES)]
"""`strict`: YAML's `yes` and `"40"` are no numbers."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _moment(value: Any) -> str:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f'{value!r} is no moment: write "2026-01-05T08:00:00Z", in quotes') from None
    return str(value)


class Clock(_Model):
    """How time passes: as it does (`wall`, `speed` times as fast), or as fast as the machine goes (`virtual`)."""

    mode: Literal["wall", "virtual"] = "wall"
    speed: float = Field(default=1.0, gt=0, le=1000)
    start: Annotated[str, BeforeValidator(_moment)] | None = None

    @property
    def start_at(self) -> Nanoseconds:
        """`start` as a time (UTC unless it says otherwise), or 0: when a virtual clock begins."""
        if self.start is None:
            return 0
        moment = datetime.fromisoformat(self.start)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return round(aware.timestamp() * 1000) * (SECOND // 1000)


class Group(_Model):
    """Devices of one type. `topic` and `listens` may hold `{device}` and `{type}`."""

    group: str = Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=40)
    count: Count
    topic: Topic
    qos: Literal[0, 1] = 1
    every: Every
    payload: Payload = Field(default_factory=dict)
    listens: tuple[TopicFilter, ...] = Field(default=(), max_length=50)
    shadow: bool = False
    """Whether the device reports its firmware to its shadow when it connects, and follows what is desired there."""

    def device_ids(self) -> list[str]:
        """`meter-0001`, `meter-0002`, ..."""
        return [f"{self.group}-{number:04d}" for number in range(1, self.count + 1)]


class Train(_Model):
    """The model learns from the first reading until `until`, which must be clean."""

    until: PositiveDuration


class Targets(_Model):
    """Whom a phase concerns: a group, all of it or a number or a fraction, and in how many waves."""

    group: str
    count: Count | None = None
    fraction: float | None = Field(default=None, gt=0, le=1)
    waves: int = Field(default=1, strict=True, gt=0, le=1000)
    pick: Literal["random", "first"] = "random"

    @model_validator(mode="after")
    def _count_or_fraction(self) -> "Targets":
        if self.count is not None and self.fraction is not None:
            raise ValueError("targets have a count or a fraction, not both")
        return self

    def how_many(self, size: int) -> int:
        """Devices of a group of this size."""
        if self.count is not None:
            return self.count
        return max(1, round(size * (1.0 if self.fraction is None else self.fraction)))


def _none_is_empty(value: Any) -> Any:
    return {} if value is None else value


class Phase(_Model):
    """One entry of the timeline."""

    id: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=60)
    at: Duration
    length: PositiveDuration = Field(alias="for")
    kind: str
    targets: Targets | None = None
    parameters: Annotated[dict[str, Any], BeforeValidator(_none_is_empty)] = Field(
        default_factory=dict, alias="with"
    )

    @property
    def behaviour(self) -> Behaviour:
        """The behaviour with the parameters of `with:`."""
        return BEHAVIOURS[self.kind](**self.parameters)

    @property
    def until(self) -> Nanoseconds:
        return self.at + self.length


class Flagged(_Model):
    """Expected of the devices that the verdict names."""

    recall: Compared | None = None
    false_positives: Compared | None = None


class DetectWithin(_Model):
    """Expected of the seconds from the first hostile message to the verdict."""

    max: Compared


class ActionExpect(_Model):
    """An action is done to every device of `of`, at most `within` after the verdict that named it."""

    do: Literal["quarantine"]
    within: PositiveDuration
    of: Literal["flagged", "expected"] = "flagged"


class PhaseExpect(_Model):
    """What is expected of one phase."""

    verdict: Literal["normal", "benign_uptick", "attack", "undecided"] | None = None
    alerts: Compared | None = None
    flagged: Flagged | None = None
    detect_within: DetectWithin | None = None
    actions: tuple[ActionExpect, ...] = ()


class SqlExpect(_Model):
    """A query over the view and the rows it must give."""

    name: str = Field(min_length=1)
    query: str = Field(min_length=1)
    rows: tuple[dict[str, Any], ...]


OverallName = Literal["false_positives", "undecided", "lost", "duplicates", "dead_letters"]


class Expect(_Model):
    """What is expected at the end."""

    phases: dict[str, PhaseExpect] = Field(default_factory=dict)
    overall: dict[OverallName, Compared] = Field(default_factory=dict)
    sql: tuple[SqlExpect, ...] = ()


def _none_is_no_entry(value: Any) -> Any:
    return () if value is None else value


TransportName = Literal["paho", "raw"]
"""What carries the devices to a broker: a real client each, or bare sockets for floods."""


class Scenario(_Model):
    """A whole scenario file."""

    scenario: Literal["v1"]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=100)
    description: str = ""
    tags: tuple[str, ...] = ()
    vars: Annotated[dict[str, Any], BeforeValidator(_none_is_empty)] = Field(default_factory=dict)
    seed: int = Field(default=1, strict=True)
    clock: Clock = Clock()
    path: Literal["aws", "direct"] = "aws"
    transport: TransportName = "paho"
    """On the path `aws`; the path `direct` has no sockets."""
    duration: PositiveDuration
    fleet: tuple[Group, ...] = Field(min_length=1)
    train: Train | None = None
    timeline: Annotated[tuple[Phase, ...], BeforeValidator(_none_is_no_entry)] = ()
    expect: Annotated[Expect, BeforeValidator(_none_is_empty)] = Expect()

    @property
    def device_count(self) -> int:
        return sum(group.count for group in self.fleet)

    @property
    def train_until(self) -> Nanoseconds:
        """From the start; without `train:` the model learns until the first phase, or a third of the time."""
        if self.train is not None:
            return self.train.until
        return min((phase.at for phase in self.timeline), default=self.duration // 3)
