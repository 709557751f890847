"""What an action is, what it may use, and how it fails."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from anyio import CapacityLimiter

from contracts.errors import Terminal, Transient

from ..rules.specs import ACTIONS

if TYPE_CHECKING:  # the stubs are a development dependency
    from mypy_boto3_sns import SNSClient


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
    def batch_mode(self) -> bool:
        """Whether a result that is an array is one body for each element."""
        ...

    @property
    def name(self) -> str: ...

    async def deliver(self, bodies: Sequence[bytes]) -> None:
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
    """

    sns: "SNSClient | None" = None
    topics: Mapping[str, str] = field(default_factory=dict)
    streams: Mapping[str, RecordSink] = field(default_factory=dict)
    limiter: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(4))


def build(spec: Mapping[str, Any], context: ActionContext) -> Action:
    """The action of an AWS-shaped dict such as `{"sns": {"targetArn": "telemetry"}}`.

    Raises:
        UnknownName: the kind is not available, or there is no sns_topic or delivery stream of that name.
        ConfigError: the context lacks what the kind needs.
    """
    kind, settings = next(iter(spec.items()))
    action: Action = ACTIONS.load(kind).build(settings, context)
    return action
