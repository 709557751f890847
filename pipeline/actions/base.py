"""What an action is, what it may use, and how it fails."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from anyio import CapacityLimiter

from contracts.errors import ConfigError, Terminal, Transient
from contracts.ports import Republisher

from ..rules.specs import ACTIONS
from ..rules.values import Value

if TYPE_CHECKING:  # the stubs are a development dependency
    from mypy_boto3_sns import SNSClient

    from .destinations import Destinations


class Item(NamedTuple):
    """What one message makes of an action: the body, the value it was encoded from, the filled-in settings."""

    body: bytes
    result: Value = None
    fields: Mapping[str, Any] = {}


class RecordSink(Protocol):
    """A delivery stream, as far as an action needs it."""

    async def put(self, records: Sequence[bytes]) -> None:
        """Take the records, all or none; waits while its buffer is full."""
        ...


class Action(Protocol):
    """One target of rules, at which any number of rules may aim."""

    @property
    def kind(self) -> str:
        """AWS's key: `sns`."""
        ...

    @property
    def resource(self) -> str:
        """What an error action's message calls `failedResource`."""
        ...

    @property
    def tries(self) -> int:
        """How often a body is tried before it is refused; 0 is without end."""
        ...

    @property
    def name(self) -> str: ...

    async def deliver(self, items: Sequence[Item]) -> None:
        """Deliver them all, at least once. Raises Undelivered, Refused, or a plain Transient or Terminal for all."""
        ...


class Refused(Terminal):
    """Some bodies can never be delivered: `refused` says why, by position. The others were."""

    def __init__(self, what: str, *, fix: str, refused: Mapping[int, str]) -> None:
        super().__init__(what, fix=fix)
        self.refused = dict(refused)


class Undelivered(Transient):
    """Some bodies were not delivered: `retry` may be tried again, `refused` may not. The others were."""

    def __init__(self, what: str, *, fix: str, retry: Iterable[int], refused: Mapping[int, str]) -> None:
        super().__init__(what, fix=fix)
        self.retry = tuple(sorted(retry))
        self.refused = dict(refused)


@dataclass(frozen=True, slots=True)
class ActionContext:
    """What actions reach the world through.

    Args:
        sns: a boto3 client; used from several threads at once.
        topics: ARN of an sns_topic by its plain name.
        streams: delivery streams by name.
        limiter: how many threads all actions may use together.
        clients: makes a boto3 client of a service, or hands out the one it made.
        republisher: where messages go back to devices and rules.
        destinations: the confirmed targets of `http`.
        lacks: actions that this backend cannot do, with the reason.
        silent: services that functions may not ask here, with the reason.
    """

    sns: "SNSClient | None" = None
    topics: Mapping[str, str] = field(default_factory=dict)
    streams: Mapping[str, RecordSink] = field(default_factory=dict)
    limiter: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(4))
    clients: Callable[[str], Any] | None = None
    republisher: Republisher | None = None
    destinations: "Destinations | None" = None
    lacks: Mapping[str, str] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)

    def client_of(self, service: str, kind: str) -> Callable[[], Any]:
        """Makes the client at its first use, in a thread: that takes up to 0.3 s. Raises ConfigError if none can."""
        make = self.clients
        if make is None:
            raise ConfigError(f"a {kind} action, but no AWS services", fix="give the actions clients")
        return lambda: make(service)


def build(spec: Mapping[str, Any], context: ActionContext) -> Action:
    """The action of an AWS-shaped dict such as `{"sns": {"targetArn": "telemetry"}}`.

    Raises:
        UnknownName: the kind is not available, or there is no sns_topic or delivery stream of that name.
        ConfigError: the backend cannot do it, or the context lacks what the kind needs.
    """
    kind, settings = next(iter(spec.items()))
    if kind in context.lacks:
        raise ConfigError(
            f"this backend has no {kind} action: {context.lacks[kind]}",
            fix="use another action, or another aws.backend; `thingstorm doctor` lists what each can do",
        )
    action: Action = ACTIONS.load(kind).build(settings, context)
    return action
