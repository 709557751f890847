"""The ports: what a stage offers and what it asks of others. Implementations are siblings in their stage.

A `Service` is anything that runs. The supervisor starts services sinks first and stops them sources first:
`drain`, with a deadline, then cancellation of `run`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from anyio.abc import TaskStatus

from contracts.identity import Credentials
from contracts.measures import Measure, Spread
from contracts.messages import (
    Alert,
    Change,
    Json,
    Message,
    Nanoseconds,
    PublishProperties,
    Told,
    Window,
)

State: TypeAlias = Literal["starting", "ready", "draining", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Gauge:
    """How full a bounded buffer is: items now, its bound, and the most it ever held."""

    name: str
    used: int
    capacity: int
    highest: int


@dataclass(frozen=True, slots=True)
class Health:
    """One row of `thingstorm doctor` and of `/healthz`.

    `last_progress` is when it last did something useful (0 = never). `counters` only ever grow. `measures` and
    `spreads` are for `/metrics` alone.
    """

    name: str
    state: State
    detail: str = ""
    last_progress: Nanoseconds = 0
    buffers: tuple[Gauge, ...] = ()
    counters: Mapping[str, int] = field(default_factory=dict)
    measures: tuple[Measure, ...] = ()
    spreads: tuple[Spread, ...] = ()


class Service(Protocol):
    """Something that runs in the stack's task group."""

    @property
    def name(self) -> str: ...

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Work until cancelled; call `task_status.started()` once ready. Raise to stop the whole stack."""
        ...

    async def drain(self) -> None:
        """Stop accepting, return when everything accepted was handed on. Called once, before cancellation."""
        ...

    def health(self) -> Health: ...


class Outlet(Protocol):
    """Where the gateway hands on what it accepted: a stream in this process, or a durable lane to another one."""

    def offer(self, message: Message) -> bool:
        """Take it if there is room. Once True it is safe: the sender may be told so. Raises BackendError."""
        ...

    def offer_all(self, messages: Sequence[Message]) -> int:
        """Take the first of these, as many as there is room for: how many. Raises BackendError: none is taken."""
        ...

    async def room(self) -> None:
        """Return when there is room for one. Raises BackendError."""
        ...

    async def put(self, message: Message) -> None:
        """Take it, waiting for room. Raises BackendError."""
        ...

    async def join(self) -> None:
        """Return when nothing would be lost by stopping now."""
        ...

    def gauge(self) -> Gauge: ...


class DeviceControl(Protocol):
    """What the response rule asks of the gateway."""

    async def quarantine(self, device_id: str, *, reason: str) -> None:
        """Refuse the device from now on, then close its connection. Idempotent."""
        ...

    async def release(self, device_id: str) -> None:
        """Let the device come back. Idempotent."""
        ...

    def quarantined(self) -> frozenset[str]: ...


class GatewayControl(DeviceControl, Protocol):
    """What an operator asks of the gateway besides."""

    async def create(self, device_id: str, *, policy: Mapping[str, Json] | None = None) -> None:
        """Register the device, with a policy document of its own or the gateway's. Replaces an earlier one.

        Raises ConfigError for an id or a document that the gateway would refuse.
        """
        ...

    async def enroll(self, device_id: str, *, policy: Mapping[str, Json] | None = None) -> Credentials:
        """A thing with an active certificate and a policy in the registry, and what it needs to connect.

        Raises ConfigError, NotReady where there is no registry, BackendError.
        """
        ...

    async def disconnect(
        self, client_id: str, *, clean_session: bool = False, prevent_will: bool = False
    ) -> bool:
        """AWS's DeleteConnection: close the connection; the client may come back. False: it was not connected."""
        ...

    async def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        """From the platform to devices; the rules do not see it. Raises NotReady, BackendError."""
        ...


class Republisher(Protocol):
    """Where a rule's republish action hands its message to: devices get it, and the rules see it again."""

    async def republish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 0,
        properties: PublishProperties | None = None,
    ) -> None:
        """Raises NotReady, BackendError."""
        ...


class AlertSink(Protocol):
    """Where the model leaves its alerts: whoever tells people, by whatever channels."""

    def tell(self, alert: Alert) -> None:
        """Take it over. Returns at once and never raises: a channel that is away holds up no verdict."""
        ...

    def told(self) -> Sequence[Told]:
        """What became of alerts since the last call: one for each channel when it is settled, and one when it first fails."""
        ...

    async def quiet(self, seconds: float) -> None:
        """Return when nothing is under way, at the latest after so long."""
        ...


class AlertChannel(Protocol):
    """One way to tell people: an SNS topic, a webhook, e-mail, a file."""

    @property
    def name(self) -> str:
        """How the list of actions calls it."""
        ...

    def render(self, alert: Alert) -> bytes:
        """What will be delivered; it is kept until it was, over a restart too."""
        ...

    async def deliver(self, alert_id: str, body: bytes) -> None:
        """Deliver what `render` made. Raises Transient (try again) or Terminal."""
        ...


@dataclass(frozen=True, slots=True)
class Rows:
    """The result of a query: column names, rows of plain Python values, how long the engine took, the columns' SQL types."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    milliseconds: float = 0.0
    types: tuple[str, ...] = ()

    def dicts(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, slots=True)
class Access:
    """How a statement read one table: what was `used` to find the rows, how many were looked at, of which row groups."""

    table: str
    used: str
    filters: tuple[str, ...]
    rows_scanned: int
    row_groups: str


class View(Protocol):
    """The indexed, mutable, queryable copy of the tables. Exactly once by key and sequence."""

    async def apply(self, changes: Sequence[Change]) -> int:
        """Apply in one transaction, with the checkpoints of their shards. Returns how many took effect."""
        ...

    async def query(self, sql: str, parameters: Mapping[str, Json] | None = None) -> Rows:
        """Run one read-only statement. Raises ConfigError for a statement that is refused or wrong."""
        ...

    async def ask(self, sql: str, parameters: Mapping[str, Json] | None = None) -> Rows:
        """Run one read-only statement of somebody unknown, within limits that it cannot pass. Raises ConfigError."""
        ...

    async def checkpoints(self) -> Mapping[tuple[str, str], int]:
        """The last sequence applied by (table, shard)."""
        ...

    async def keys(self, table: str) -> Sequence[Mapping[str, Json]]:
        """The key attributes of all rows of a table, as its changes have them."""
        ...


class Collections(View, Protocol):
    """A view whose collections people make, write and look into themselves."""

    async def create(self, definition: Mapping[str, Json]) -> None:
        """Make a collection. Raises ConfigError: a wrong definition, or a name that is taken."""
        ...

    async def write(
        self, name: str, documents: Sequence[Mapping[str, Json]], *, patch: bool = False
    ) -> Sequence[str]:
        """Insert or replace documents by `_id` (given to those without); the ids.

        With `patch` a document is merged into what is there (RFC 7386: null removes a field). Raises UnknownName,
        ConfigError.
        """
        ...

    async def remove(self, name: str, ids: Sequence[str]) -> int:
        """Delete documents; how many were there. Raises UnknownName, ConfigError."""
        ...

    async def describe(self, name: str) -> Mapping[str, Json]:
        """Columns, indexes, rows, fields seen and what was decided about them. Raises UnknownName."""
        ...

    async def names(self) -> Sequence[str]:
        """All collections."""
        ...

    async def explain(self, sql: str, parameters: Mapping[str, Json] | None = None) -> Sequence[Access]:
        """Run a read-only statement and say how it read each table. Raises ConfigError."""
        ...


class Archive(Protocol):
    """The cold tier: the objects that the delivery stream wrote. An object never changes."""

    async def keys(self) -> Sequence[str]:
        """The names of all objects, in order; what failed on its way there is left out. Raises Transient, Terminal."""
        ...

    async def read(self, key: str) -> Sequence[Mapping[str, Json]]:
        """The records of one object. Raises Transient, Terminal, and ConfigError for an object that holds none."""
        ...


class Detector(Protocol):
    """A model of normal windows: learn on clean ones, score any. Pure in `score`; higher is stranger."""

    def learn(self, windows: Sequence[Window]) -> None:
        """Fit on clean windows, replacing what was learnt. Raises NotReady if they are too few."""
        ...

    def score(self, windows: Sequence[Window]) -> list[float]:
        """One finite number a window, in order, independent of the other windows of the batch."""
        ...


Emit: TypeAlias = Callable[[str, Mapping[str, Any]], None]
"""Tell the display that something happened: an event name and its facts. Never blocks, never raises."""
