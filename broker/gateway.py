"""The gateway's core: decides about connects, publishes and subscriptions. No sockets, no clock, no tasks.

Every method takes the time and returns a decision; what happened besides waits in `take_events`. Invariants: a
client id has at most one live session; a quarantined client id has none; every accepted connect is followed by
exactly one disconnect; the metrics count exactly what was decided.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from contracts.errors import ConfigError
from contracts.messages import LifecycleEvent, LifecycleKind, Message, Nanoseconds

from . import lifecycle, metrics
from .limits import Limits, TokenBucket
from .policy import Action, Policy
from .topics import filter_fault, name_fault

METRICS_TOPIC = "$thingstorm/metrics"
GATEWAY = "$gateway"
MAX_EVENTS = 10_000
"""Events that nobody took: more than a second of a reconnect storm of 5,000 devices."""

MAX_VERSIONS = 100_000
"""Client ids whose connects are numbered (`versionNumber`); a flood of invented ids starts the count anew."""

DisconnectReason: TypeAlias = Literal[
    "AUTH_ERROR",
    "CLIENT_ERROR",
    "CLIENT_INITIATED_DISCONNECT",
    "CONNECTION_LOST",
    "DUPLICATE_CLIENTID",
    "FORBIDDEN_ACCESS",
    "MQTT_KEEP_ALIVE_TIMEOUT",
    "SERVER_INITIATED_DISCONNECT",
    "API_INITIATED_DISCONNECT",
]

ACCEPTED, IDENTIFIER_REJECTED, NOT_AUTHORIZED = 0, 2, 5
"""CONNACK return codes of MQTT 3.1.1."""

FAILURE = 0x80
"""SUBACK return code of a refused filter."""


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """What a CONNECT says, and where it came from. `principal` is empty if nobody could be authenticated."""

    client_id: str
    principal: str
    source_ip: str
    keep_alive: int


@dataclass(slots=True)
class Session:
    """A live connection, as far as decisions need it."""

    session_id: str
    client_id: str
    principal: str
    source_ip: str
    bucket: TokenBucket
    keep_alive: int
    version: int
    subscriptions: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Connected:
    """The connect is accepted; `taken_over` is the older session of the same client id, to be closed."""

    session: Session
    taken_over: Session | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The connect is refused with this CONNACK code."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The publish is accepted as this message."""

    message: Message


@dataclass(frozen=True, slots=True)
class Discarded:
    """The publish is dropped and the connection goes on (AWS discards what exceeds the rate)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Close:
    """The connection is to be closed for this reason."""

    reason: DisconnectReason
    detail: str


class Gateway:
    """The decisions of AWS IoT Core's message broker for one endpoint."""

    def __init__(self, *, limits: Limits, policy: Policy) -> None:
        self._limits = limits
        self._policy = policy
        self._own_policies: dict[str, Policy] = {}
        self._sessions: dict[str, Session] = {}
        self._quarantined: set[str] = set()
        self._metrics = metrics.Metrics()
        self._events: deque[Message] = deque()
        self._period_start: Nanoseconds | None = None
        self._serial = 0
        self._versions: dict[str, int] = {}
        self.counters = dict.fromkeys(
            (
                "accepted",
                "refused",
                "throttled",
                "connects",
                "connect_refused",
                "disconnects",
                "delivered",
                "events_dropped",
            ),
            0,
        )

    @property
    def limits(self) -> Limits:
        return self._limits

    def quarantined(self) -> frozenset[str]:
        return frozenset(self._quarantined)

    def session(self, client_id: str) -> Session | None:
        """The live session of a client id."""
        return self._sessions.get(client_id)

    def connect(self, request: ConnectRequest, now: Nanoseconds) -> Connected | Refused:
        """Decide about a CONNECT. Who is refused disturbs nobody: the check comes before the take-over."""
        counts = self._metrics.of(request.client_id)
        counts.num_connection_attempts += 1
        if refused := self._refusal(request):
            if refused.code == NOT_AUTHORIZED and request.principal:
                counts.num_authorization_failures += 1
            else:
                counts.num_authentication_failures += 1
            self.counters["connect_refused"] += 1
            self._tell(
                "connect_failed", request.client_id, now, source_ip=request.source_ip, reason=refused.reason
            )
            return refused
        older = self._sessions.get(request.client_id)
        if older is not None:
            self.disconnect(older, "DUPLICATE_CLIENTID", now)
        session = self._open(request, now)
        self._metrics.of(request.client_id).num_connects += 1
        self.counters["connects"] += 1
        self._tell_session("connected", session, now)
        return Connected(session, older)

    def publish(
        self, session: Session, *, topic: str, payload: bytes, qos: int, retain: bool, now: Nanoseconds
    ) -> Accepted | Discarded | Close:
        """Decide about a PUBLISH of a live session."""
        counts = self._metrics.of(session.client_id)
        if qos > self._limits.max_qos:
            return self._refuse(Close("CLIENT_ERROR", f"QoS {qos} is not supported"))
        if len(payload) > self._limits.payload_bytes:
            return self._refuse(Close("CLIENT_ERROR", f"payload of {len(payload)} bytes"))
        if fault := name_fault(topic, self._limits):
            return self._refuse(Close("CLIENT_ERROR", fault))
        if not self._allows("iot:Publish", f"topic/{topic}", session.client_id):
            counts.num_authorization_failures += 1
            return self._refuse(Close("FORBIDDEN_ACCESS", f"may not publish to {topic}"))
        if not session.bucket.take(now):
            counts.num_throttled += 1
            self.counters["throttled"] += 1
            return Discarded("over the publish rate")
        counts.received(topic, len(payload))
        self.counters["accepted"] += 1
        return Accepted(
            Message(
                message_id=self._next_id(now),
                client_id=session.client_id,
                principal=session.principal,
                topic=topic,
                payload=payload,
                qos=qos,
                retain=retain,
                received_at=now,
                source_ip=session.source_ip,
            )
        )

    def subscribe(
        self, session: Session, filters: Sequence[tuple[str, int]], now: Nanoseconds
    ) -> tuple[int, ...] | Close:
        """SUBACK return codes, one a filter, or the end of the connection."""
        if len(filters) > self._limits.filters_per_subscribe:
            return self._refuse(Close("CLIENT_ERROR", f"{len(filters)} filters in one SUBSCRIBE"))
        codes = tuple(self._subscribe_one(session, topic_filter, qos) for topic_filter, qos in filters)
        granted = tuple(name for (name, _), code in zip(filters, codes, strict=True) if code != FAILURE)
        if granted:
            self._tell_session("subscribed", session, now, topics=granted)
        return codes

    def unsubscribe(self, session: Session, filters: Sequence[str], now: Nanoseconds) -> None:
        """Forget these filters."""
        gone = tuple(name for name in filters if session.subscriptions.pop(name, None) is not None)
        if gone:
            self._tell_session("unsubscribed", session, now, topics=gone)

    def may_receive(self, session: Session, topic: str) -> bool:
        """Whether the policy lets the session receive from the topic."""
        return self._allows("iot:Receive", f"topic/{topic}", session.client_id)

    def delivered(self, session: Session) -> None:
        """Count a message sent to a subscriber."""
        self._metrics.of(session.client_id).num_messages_sent += 1
        self.counters["delivered"] += 1

    def disconnect(self, session: Session, reason: DisconnectReason, now: Nanoseconds) -> None:
        """End a session. A session that is not live any more ended before: nothing happens."""
        if self._sessions.get(session.client_id) is not session:
            return
        del self._sessions[session.client_id]
        self._metrics.of(session.client_id).num_disconnects += 1
        self.counters["disconnects"] += 1
        self._tell_session("disconnected", session, now, reason=reason)

    def quarantine(self, client_id: str, reason: str, now: Nanoseconds) -> Session | None:
        """Refuse the client id from now on; the live session that is to be closed, if any."""
        if client_id not in self._quarantined:
            self._quarantined.add(client_id)
            self._tell("quarantined", client_id, now, reason=reason)
        session = self._sessions.get(client_id)
        if session is not None:
            self.disconnect(session, "API_INITIATED_DISCONNECT", now)
        return session

    def release(self, client_id: str, now: Nanoseconds) -> None:
        """Let the client id come back."""
        if client_id in self._quarantined:
            self._quarantined.remove(client_id)
            self._tell("released", client_id, now, reason="released")

    def create(self, client_id: str, policy: Policy | None) -> None:
        """Register a device, with a policy of its own or the gateway's. Raises ConfigError for an impossible id."""
        if fault := self._id_fault(client_id):
            raise ConfigError(
                f"device id '{client_id[:200]}': {fault}",
                fix=f"choose 1 to {self._limits.client_id_bytes} bytes that do not begin with $",
            )
        self._own_policies.pop(client_id, None)
        if policy is not None:
            self._own_policies[client_id] = policy

    def tick(self, now: Nanoseconds) -> None:
        """Close the metrics period that ends at `now` and publish its rows; also when nothing happened."""
        start = now if self._period_start is None else self._period_start
        if now > start:
            rows = self._metrics.close(start=start, end=now)
            for body in metrics.payloads(rows):
                self._publish_event(METRICS_TOPIC, body, now)
        self._period_start = now

    def take_events(self) -> list[Message]:
        """What the gateway itself published since the last call, oldest first."""
        events = list(self._events)
        self._events.clear()
        return events

    def _refusal(self, request: ConnectRequest) -> Refused | None:
        client_id = request.client_id
        if fault := self._id_fault(client_id):
            return Refused(IDENTIFIER_REJECTED, fault)
        if not request.principal:
            return Refused(NOT_AUTHORIZED, "nobody authenticated")
        if client_id in self._quarantined:
            return Refused(NOT_AUTHORIZED, "in quarantine")
        if not self._allows("iot:Connect", f"client/{client_id}", client_id):
            return Refused(NOT_AUTHORIZED, "the policy does not allow it")
        return None

    def _id_fault(self, client_id: str) -> str:
        size = len(client_id.encode("utf-8", "surrogatepass"))
        impossible = not client_id or client_id.startswith("$") or size > self._limits.client_id_bytes
        return "client id is empty, reserved or too long" if impossible else ""

    def _allows(self, action: Action, resource: str, client_id: str) -> bool:
        policy = self._own_policies.get(client_id, self._policy)
        return policy.allows(action, resource, client_id=client_id)

    def _open(self, request: ConnectRequest, now: Nanoseconds) -> Session:
        self._serial += 1
        if len(self._versions) >= MAX_VERSIONS:
            self._versions.clear()
        version = self._versions[request.client_id] = self._versions.get(request.client_id, -1) + 1
        session = Session(
            session_id=f"{now:016x}{self._serial:06x}",
            client_id=request.client_id,
            principal=request.principal,
            source_ip=request.source_ip,
            bucket=TokenBucket(self._limits.publishes_per_second, now),
            keep_alive=self._keep_alive(request.keep_alive),
            version=version,
        )
        self._sessions[request.client_id] = session
        return session

    def _keep_alive(self, asked: int) -> int:
        """AWS takes 0 and what is above the most as the most, and raises what is below the least."""
        if not 0 < asked <= self._limits.keep_alive_most:
            return self._limits.keep_alive_most
        return max(asked, self._limits.keep_alive_least)

    def _subscribe_one(self, session: Session, topic_filter: str, qos: int) -> int:
        full = (
            len(session.subscriptions) >= self._limits.subscriptions
            and topic_filter not in session.subscriptions
        )
        if full or filter_fault(topic_filter, self._limits):
            self.counters["refused"] += 1
            return FAILURE
        if not self._allows("iot:Subscribe", f"topicfilter/{topic_filter}", session.client_id):
            self._metrics.of(session.client_id).num_authorization_failures += 1
            self.counters["refused"] += 1
            return FAILURE
        session.subscriptions[topic_filter] = granted = min(qos, self._limits.max_qos)
        return granted

    def _refuse(self, close: Close) -> Close:
        self.counters["refused"] += 1
        return close

    def _next_id(self, now: Nanoseconds) -> str:
        """Time-ordered and unique: 16 hex digits of nanoseconds, 6 of a counter."""
        self._serial += 1
        return f"{now:016x}{self._serial & 0xFFFFFF:06x}"

    def _tell(
        self, kind: LifecycleKind, client_id: str, now: Nanoseconds, *, reason: str, source_ip: str = ""
    ) -> None:
        self._publish_lifecycle(LifecycleEvent(kind, client_id, now, source_ip=source_ip, reason=reason))

    def _tell_session(
        self,
        kind: LifecycleKind,
        session: Session,
        now: Nanoseconds,
        *,
        reason: str = "",
        topics: tuple[str, ...] = (),
    ) -> None:
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

    def _publish_lifecycle(self, event: LifecycleEvent) -> None:
        self._publish_event(lifecycle.topic_of(event), lifecycle.payload_of(event), event.at)

    def _publish_event(self, topic: str, payload: bytes, now: Nanoseconds) -> None:
        if len(self._events) >= MAX_EVENTS:
            self.counters["events_dropped"] += 1
            return
        self._events.append(
            Message(self._next_id(now), "", GATEWAY, topic, payload, 1, retain=False, received_at=now)
        )
