"""What the gateway itself publishes: lifecycle events and metrics, to the rules and to whoever subscribed."""

from collections import deque
from collections.abc import Callable

from contracts.messages import LifecycleEvent, LifecycleKind, Message, Nanoseconds

from . import lifecycle, metrics
from .session import Session

METRICS_TOPIC = "$thingstorm/metrics"
GATEWAY = "$gateway"
MAX_EVENTS = 10_000
"""Events that nobody took: more than a second of a reconnect storm of 5,000 devices."""


class MessageIds:
    """Time-ordered and unique: 16 hex digits of nanoseconds, 6 of a counter."""

    __slots__ = ("serial",)

    def __init__(self) -> None:
        self.serial = 0

    def next(self, now: Nanoseconds) -> str:
        self.serial += 1
        return f"{now:016x}{self.serial & 0xFFFFFF:06x}"


class Reporter:
    """Keeps what happened until it is taken. `show` delivers an event to the subscribers of its topic."""

    def __init__(self, *, ids: MessageIds, counters: dict[str, int], show: Callable[[Message], None]) -> None:
        self._ids = ids
        self._counters = counters
        self._show = show
        self._events: deque[Message] = deque()
        self._period_start: Nanoseconds | None = None

    def take(self) -> list[Message]:
        """What was published since the last call, oldest first."""
        events = list(self._events)
        self._events.clear()
        return events

    def tell(
        self, kind: LifecycleKind, client_id: str, now: Nanoseconds, *, reason: str, source_ip: str = ""
    ) -> None:
        """What happened to a client that has no session."""
        self._publish_lifecycle(LifecycleEvent(kind, client_id, now, source_ip=source_ip, reason=reason))

    def tell_session(
        self,
        kind: LifecycleKind,
        session: Session,
        now: Nanoseconds,
        *,
        reason: str = "",
        topics: tuple[str, ...] = (),
    ) -> None:
        """What happened to a session."""
        self._publish_lifecycle(
            LifecycleEvent(
                kind,
                session.client_id,
                now,
                principal=session.principal,
                source_ip=session.source_ip,
                session_id=session.session_id,
                version=session.version,
                reason=reason,
                client_initiated=reason == "CLIENT_INITIATED_DISCONNECT",
                topics=topics,
            )
        )

    def close_period(self, counts: metrics.Metrics, now: Nanoseconds, *, half_open: int = 0) -> None:
        """Publish the rows of the metrics period that ends now; also when nothing happened."""
        start = now if self._period_start is None else self._period_start
        if now > start:
            for body in metrics.payloads(counts.close(start=start, end=now, half_open=half_open)):
                self._publish(METRICS_TOPIC, body, now)
        self._period_start = now

    def _publish_lifecycle(self, event: LifecycleEvent) -> None:
        self._publish(lifecycle.topic_of(event), lifecycle.payload_of(event), event.at)

    def _publish(self, topic: str, payload: bytes, now: Nanoseconds) -> None:
        message = Message(self._ids.next(now), "", GATEWAY, topic, payload, 1, retain=False, received_at=now)
        if len(self._events) >= MAX_EVENTS:
            self._counters["events_dropped"] += 1
        else:
            self._events.append(message)
        self._show(message)
