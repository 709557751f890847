"""The gateway's core: decides about connects, publishes and subscriptions. No sockets, no clock, no tasks.

Every method takes the time and returns a decision; what happened besides waits in `take_events`. Invariants: a
client id has at most one live connection; a quarantined client id has none; every accepted connect is followed by
exactly one disconnect; the metrics count exactly what was decided; who is refused disturbs nobody.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from contracts.messages import SECOND, Message, Nanoseconds, PublishProperties

from .admission import Admission, ConnectRequest, Refused
from .codes import (
    FAILURE,
    FILTER_INVALID,
    IDENTIFIERS_NOT_SUPPORTED,
    NO_SUBSCRIPTION_EXISTED,
    NOT_AUTHORIZED,
    PACKET_TOO_LARGE,
    QOS_NOT_SUPPORTED,
    QUOTA_EXCEEDED,
    RATE_EXCEEDED,
    SUCCESS,
    TOPIC_INVALID,
    DisconnectReason,
)
from .fanout import MAX_INBOX, Accept, Fanout, Publisher, Route
from .identity import Identity
from .lifecycle import job_of
from .limits import Limits
from .metrics import Metrics
from .packets import V3, Connect, Filter, Subscribe, Will
from .policy import Permissions, Policy
from .reporter import GATEWAY, METRICS_TOPIC, MessageIds, Reporter
from .retained import Retained
from .session import Link, Outgoing, Session
from .sessions import Sessions
from .shadows import watched_by
from .store import Store
from .subscriptions import Subscription, SubscriptionTree, plain_filter
from .topics import filter_fault, name_fault

HALF_OPEN: Nanoseconds = 3 * SECOND
"""A device sends its CONNECT with the first round trip; one that takes this long for it is slow on purpose or lost."""

COUNTERS = (
    "accepted",
    "refused",
    "throttled",
    "delayed",
    "connects",
    "connect_refused",
    "disconnects",
    "delivered",
    "dropped",
    "events_dropped",
    "sessions_expired",
    "handshakes_failed",
)


class Connection(Publisher, Link, Protocol):
    """A live connection as the gateway sees it."""

    session: Session | None
    will: Will | None

    def end(self, reason: DisconnectReason, now: Nanoseconds) -> None:
        """Close it; the gateway has ended its session."""
        ...

    def throttled(self, packet_id: int, qos: int) -> None:
        """A publish was discarded, being over the rate."""
        ...

    def flush(self) -> None:
        """Write what was collected."""
        ...


@dataclass(frozen=True, slots=True)
class Connected:
    """The connect is accepted; `resumed`: the client finds its session as it left it."""

    session: Session
    resumed: bool


@dataclass(frozen=True, slots=True)
class Close:
    """The connection is to be closed for this reason; `code` is what a client of MQTT 5 is told."""

    reason: DisconnectReason
    detail: str
    code: int = 0


@dataclass(frozen=True, slots=True)
class _DueWill:
    session: Session
    will: Will
    due: Nanoseconds


class Gateway:
    """The decisions of AWS IoT Core's message broker for one endpoint."""

    def __init__(self, *, limits: Limits, accept: Accept, store: Store | None = None) -> None:
        """`accept` hands messages on to the rules and says how many of them were taken."""
        self.limits = limits
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.metrics = Metrics()
        self.tree = SubscriptionTree(parent_matches_multilevel=limits.parent_matches_multilevel)
        self.retained = Retained(limits=limits, store=store or Store(None))
        self.fanout = Fanout(
            tree=self.tree,
            retained=self.retained,
            limits=limits,
            metrics=self.metrics,
            counters=self.counters,
            accept=accept,
        )
        self.wake: Callable[[], None] = lambda: None
        """Called when there is something to hand on or to write, so that a turn follows."""
        self._ids = MessageIds()
        self._reporter = Reporter(ids=self._ids, counters=self.counters, show=self._show)
        self._sessions = Sessions(limits=limits, tree=self.tree, counters=self.counters)
        self._live: dict[str, Connection] = {}
        self._wills: dict[str, _DueWill] = {}
        self._admission = Admission(limits)
        self._writing: list[Connection] = []
        self.unfinished: dict[Connection, Nanoseconds] = {}
        """Connections that have not sent their CONNECT yet, and since when; each takes itself out."""

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._live)

    def quarantined(self) -> frozenset[str]:
        return frozenset(self._admission.quarantined)

    def principals(self) -> set[str]:
        """Whose connections are live."""
        return {one.session.principal for one in self._live.values() if one.session is not None}

    def session(self, client_id: str) -> Session | None:
        """The session of a client id, connected or not."""
        return self._sessions.get(client_id)

    def connection(self, client_id: str) -> Connection | None:
        """The live connection of a client id."""
        return self._live.get(client_id)

    def connect(
        self, request: ConnectRequest, connection: Connection, now: Nanoseconds
    ) -> Connected | Refused:
        """Decide about a CONNECT. Who is refused disturbs nobody: the check comes before the take-over."""
        client_id = request.packet.client_id or self._assigned_id(request.packet, now)
        counts = self.metrics.of(client_id)
        counts.num_connection_attempts += 1
        others = len(self._live) - (client_id in self._live)
        decided = self._admission.decide(client_id, request, now, others=others)
        if isinstance(decided, Refused):
            if decided.code == NOT_AUTHORIZED and request.identity is not None:
                counts.num_authorization_failures += 1
            elif decided.code != RATE_EXCEEDED:
                counts.num_authentication_failures += 1
            self.counters["connect_refused"] += 1
            self._reporter.tell(
                "connect_failed", client_id, now, source_ip=request.source_ip, reason=decided.reason
            )
            return decided
        self._take_over(client_id, request, now)
        connected = self._open(client_id, request, connection, decided, now)
        counts.num_connects += 1
        self.counters["connects"] += 1
        return connected

    def publish(
        self,
        connection: Connection,
        route: Route,
        *,
        payload: bytes,
        qos: int,
        retain: bool,
        packet_id: int,
        properties: PublishProperties | None,
        now: Nanoseconds,
    ) -> Close | None:
        """Take a PUBLISH of a live session, or say why not. Over the rate it is discarded and not acknowledged."""
        session = connection.session
        if session is None:
            return Close("CLIENT_ERROR", "no session")
        if session.period != self.metrics.period:
            session.counts = self.metrics.of(session.client_id)
            session.period = self.metrics.period
        counts = session.counts
        if route.fault or retain or qos > self.limits.max_qos or len(payload) > self.limits.payload_bytes:
            fault = self._publish_fault(route, payload, qos, retain=retain)
            if fault is not None:
                counts.num_authorization_failures += fault.reason == "FORBIDDEN_ACCESS"
                return self._refuse(fault)
        if not session.bucket.take(now):
            counts.num_throttled += 1
            self.counters["throttled"] += 1
            connection.throttled(packet_id, qos)
            return None
        self.metrics.received(counts, session.client_id, route.topic, payload)
        self.counters["accepted"] += 1
        self._ids.serial += 1
        message = Message(
            f"{now:016x}{self._ids.serial & 0xFFFFFF:06x}",
            session.client_id,
            session.principal,
            route.topic,
            payload,
            qos,
            retain,
            now,
            session.source_ip,
            properties,
        )
        self.fanout.put(connection, packet_id, message, route, now)
        self.wake()
        return None

    def route(self, session: Session, topic: str) -> Route:
        """What this session may do with the topic, and who gets it."""
        route = Route(topic)
        if fault := name_fault(topic, self.limits):
            route.fault, route.generation = fault, self.tree.generation
            return route
        resource = f"topic/{topic}"
        if not session.permissions.allows("iot:Publish", resource):
            route.fault, route.reason = f"may not publish to {topic}", "FORBIDDEN_ACCESS"
        route.retainable = session.permissions.allows("iot:RetainPublish", resource)
        self.fanout.renew(route, publisher=session)
        return route

    def subscribe(self, session: Session, packet: Subscribe, now: Nanoseconds) -> tuple[int, ...] | Close:
        """Reason codes, one a filter, or the end of the connection. Retained messages are sent by `send_retained`."""
        if len(packet.filters) > self.limits.filters_per_subscribe:
            what = f"{len(packet.filters)} filters in one SUBSCRIBE"
            return self._refuse(Close("CLIENT_ERROR", what, QUOTA_EXCEEDED))
        if packet.identifier and not self.limits.subscription_identifiers:
            what = "subscription identifiers are not supported"
            return self._refuse(Close("CLIENT_ERROR", what, IDENTIFIERS_NOT_SUPPORTED))
        codes = tuple(self._subscribe_one(session, one, packet.identifier) for one in packet.filters)
        granted = tuple(one.name for one, code in zip(packet.filters, codes, strict=True) if code < FAILURE)
        self.counters["refused"] += len(codes) - len(granted)
        if granted:
            self._reporter.tell_session("subscribed", session, now, topics=granted)
        return codes

    def send_retained(
        self,
        session: Session,
        packet: Subscribe,
        *,
        codes: Sequence[int],
        fresh: frozenset[str],
        now: Nanoseconds,
    ) -> None:
        """What retained messages a SUBSCRIBE brings; `fresh` are the filters that were not subscribed to before."""
        identifiers = (packet.identifier,) if packet.identifier else ()
        for one, code in zip(packet.filters, codes, strict=True):
            wanted = one.retain_handling == 0 or (one.retain_handling == 1 and one.name in fresh)
            if code >= FAILURE or not wanted or plain_filter(one.name)[0]:
                continue
            for message in self.retained.of(one.name, now):
                if session.permissions.allows("iot:Receive", f"topic/{message.topic}"):
                    qos = min(code, message.qos)
                    session.deliver(Outgoing(message, qos, retain=True, identifiers=identifiers), now)

    def unsubscribe(self, session: Session, filters: Sequence[str], now: Nanoseconds) -> tuple[int, ...]:
        """Forget these filters; a reason code each."""
        gone = []
        codes = []
        for name in filters:
            subscription = session.subscriptions.pop(name, None)
            codes.append(NO_SUBSCRIPTION_EXISTED if subscription is None else SUCCESS)
            if subscription is not None:
                self.tree.remove(subscription)
                gone.append(name)
        if gone:
            self._reporter.tell_session("unsubscribed", session, now, topics=tuple(gone))
        return tuple(codes)

    def disconnect(self, connection: Connection, reason: DisconnectReason, now: Nanoseconds) -> None:
        """End a connection's session, or keep it for the client's next one. A second call does nothing."""
        session = connection.session
        if session is None or self._live.get(session.client_id) is not connection:
            return
        del self._live[session.client_id]
        connection.session = None
        counts = self.metrics.of(session.client_id)
        counts.num_disconnects += 1
        counts.num_rejected += reason == "CLIENT_ERROR"
        self.counters["disconnects"] += 1
        self._reporter.tell_session("disconnected", session, now, reason=reason)
        self._sessions.leave(session, now)
        if connection.will is not None:
            self._will(session, connection.will, now)

    def close_connection(
        self, client_id: str, now: Nanoseconds, *, clean_session: bool = False, prevent_will: bool = False
    ) -> bool:
        """AWS's DeleteConnection: disconnect a client, which may come back. False: it is not connected."""
        connection = self._live.get(client_id)
        if connection is not None:
            connection.will = None if prevent_will else connection.will
            self.disconnect(connection, "API_INITIATED_DISCONNECT", now)
            connection.end("API_INITIATED_DISCONNECT", now)
        if clean_session and (session := self._sessions.get(client_id)) is not None:
            self._sessions.forget(session)
        return connection is not None

    def quarantine(self, client_id: str, reason: str, now: Nanoseconds) -> None:
        """Refuse the client id from now on, then close its connection; its will is not published, its session ends."""
        if client_id not in self._admission.quarantined:
            self._admission.quarantined.add(client_id)
            self._reporter.tell("quarantined", client_id, now, reason=reason)
        self._wills.pop(client_id, None)
        self.close_connection(client_id, now, clean_session=True, prevent_will=True)

    def release(self, client_id: str, now: Nanoseconds) -> None:
        """Let the client id come back."""
        if client_id in self._admission.quarantined:
            self._admission.quarantined.remove(client_id)
            self._reporter.tell("released", client_id, now, reason="released")

    def create(self, client_id: str, policy: Policy | None) -> None:
        """Register a device, with a policy of its own or the gateway's. Raises ConfigError for an impossible id."""
        self._admission.create(client_id, policy)

    def identify(self, identity: Identity, now: Nanoseconds) -> None:
        """What the registry says of a principal has changed: its connections follow it at once, or end."""
        for client_id, connection in list(self._live.items()):
            session = connection.session
            if session is None or session.principal != identity.principal.principal_id:
                continue
            session.permissions = self._admission.bind(identity, client_id, session.source_ip)
            self.tree.generation += 1
            may = session.permissions.allows("iot:Connect", f"client/{client_id}")
            if not (identity.principal.active and may):
                self.disconnect(connection, "AUTH_ERROR", now)
                connection.end("AUTH_ERROR", now)

    def platform_publish(
        self, topic: str, payload: bytes, now: Nanoseconds, *, qos: int = 0, retain: bool = False
    ) -> None:
        """From the platform to devices: commands. The rules do not see it."""
        message = Message(self._ids.next(now), "", GATEWAY, topic, payload, qos, retain, now)
        self.fanout.deliver(message, self.fanout.route(topic, publisher=None), now)
        if (job := job_of(topic, payload, retain=retain)) is not None:
            self._reporter.tell("job", job[0], now, reason=job[1])
        self.wake()

    def republish(
        self,
        topic: str,
        payload: bytes,
        now: Nanoseconds,
        *,
        qos: int = 0,
        properties: PublishProperties | None = None,
    ) -> bool:
        """A rule's republish action: to the rules again, and to devices. False: the rules have no room for it."""
        if self.fanout.blocked or self.fanout.waiting >= MAX_INBOX:
            return False
        message = Message(
            self._ids.next(now), "", GATEWAY, topic, payload, qos, False, now, properties=properties
        )
        self.fanout.put(None, 0, message, self.fanout.route(topic, publisher=None), now)
        self.wake()
        return True

    def service_publish(self, topic: str, payload: bytes, now: Nanoseconds) -> None:
        """An answer of a device service: to the rules, and to the devices that subscribed."""
        message = Message(self._ids.next(now), "", GATEWAY, topic, payload, 1, retain=False, received_at=now)
        self.fanout.put(None, 0, message, self.fanout.route(topic, publisher=None), now)
        self.wake()

    def watched(self) -> set[tuple[str, str]]:
        """The shadows (thing and name) whose changes a connected client subscribed to."""
        found = (
            watched_by(name)
            for one in self._live.values()
            if one.session is not None
            for name in one.session.subscriptions
            if name.startswith("$aws/things/")
        )
        return {one for one in found if one is not None}

    def tick(self, now: Nanoseconds) -> None:
        """Close the metrics period that ends at `now` and publish its rows; end what is over."""
        self._reporter.close_period(self.metrics, now, half_open=self._count_half_open(now))
        for session in self._sessions.expired(now):
            if (due := self._wills.pop(session.client_id, None)) is not None:
                self._publish_will(session, due.will, now)
        for client_id, due in list(self._wills.items()):
            if now >= due.due:
                del self._wills[client_id]
                self._publish_will(due.session, due.will, now)
        for connection in list(self._live.values()):
            if connection.session is not None and connection.session.waiting:
                connection.session.send_waiting(now)

    def _count_half_open(self, now: Nanoseconds) -> int:
        """Connections that have long been waiting for their CONNECT; they stand in the order they came."""
        count = 0
        for began in self.unfinished.values():
            if now - began < HALF_OPEN:
                break
            count += 1
        return count

    def writing(self, connection: Connection) -> None:
        """The connection has something to write at the end of the turn."""
        self._writing.append(connection)
        if len(self._writing) == 1:
            self.wake()

    def turn(self, now: Nanoseconds) -> None:
        """Hand on what was published, then write what is to be written: to each connection at once."""
        self.fanout.hand_on(now)
        writing, self._writing = self._writing, []
        for connection in writing:
            connection.flush()

    def take_events(self) -> list[Message]:
        """What the gateway itself published since the last call, oldest first."""
        return self._reporter.take()

    def _publish_fault(self, route: Route, payload: bytes, qos: int, *, retain: bool) -> Close | None:
        if route.fault:
            code = NOT_AUTHORIZED if route.reason == "FORBIDDEN_ACCESS" else TOPIC_INVALID
            return Close(route.reason, route.fault, code)
        if qos > self.limits.max_qos:
            return Close("CLIENT_ERROR", f"QoS {qos} is not supported", QOS_NOT_SUPPORTED)
        if len(payload) > self.limits.payload_bytes:
            return Close("CLIENT_ERROR", f"payload of {len(payload)} bytes", PACKET_TOO_LARGE)
        if retain and not route.retainable:
            return Close("FORBIDDEN_ACCESS", f"may not retain on {route.topic}", NOT_AUTHORIZED)
        return None

    def _assigned_id(self, packet: Connect, now: Nanoseconds) -> str:
        """A client of MQTT 5 may leave its id to the server; empty where that is not possible."""
        if packet.level == V3 and not (self.limits.empty_client_id and packet.clean_start):
            return ""
        return f"assigned-{self._ids.next(now)}"

    def _take_over(self, client_id: str, request: ConnectRequest, now: Nanoseconds) -> None:
        older = self._live.get(client_id)
        if older is not None:
            counts = self.metrics.of(client_id)
            counts.num_takeovers += 1
            counts.num_foreign_takeovers += _from_elsewhere(older.session, request)
            self.disconnect(older, "DUPLICATE_CLIENTID", now)
            older.end("DUPLICATE_CLIENTID", now)

    def _open(
        self,
        client_id: str,
        request: ConnectRequest,
        connection: Connection,
        permissions: Permissions,
        now: Nanoseconds,
    ) -> Connected:
        session, resumed = self._sessions.open(client_id, request.packet, permissions, now)
        due = self._wills.pop(client_id, None)
        if due is not None and not resumed:
            self._publish_will(due.session, due.will, now)
        session.principal = request.identity.principal.principal_id if request.identity else ""
        session.source_ip = request.source_ip
        session.session_id = self._ids.next(now)
        session.link = connection
        self._live[client_id] = connection
        connection.session = session
        connection.will = request.packet.will
        self._reporter.tell_session("connected", session, now)
        return Connected(session, resumed)

    def _subscribe_one(self, session: Session, wanted: Filter, identifier: int) -> int:
        name = wanted.name
        if filter_fault(name, self.limits):
            return FILTER_INVALID
        if name not in session.subscriptions and len(session.subscriptions) >= self.limits.subscriptions:
            return QUOTA_EXCEEDED
        group, topic_filter = plain_filter(name)
        if not session.permissions.allows("iot:Subscribe", f"topicfilter/{topic_filter}"):
            self.metrics.of(session.client_id).num_authorization_failures += 1
            return NOT_AUTHORIZED
        granted = min(wanted.qos, self.limits.max_qos)
        subscription = Subscription(session, wanted, granted, identifier, group)
        session.subscriptions[name] = subscription
        self.tree.add(subscription)
        return granted

    def _refuse(self, close: Close) -> Close:
        self.counters["refused"] += 1
        return close

    def _will(self, session: Session, will: Will, now: Nanoseconds) -> None:
        """Now, or when its delay or the session is over, whichever comes first."""
        delay = min(float(will.delay), session.expiry)
        if delay <= 0:
            self._publish_will(session, will, now)
        else:
            self._wills[session.client_id] = _DueWill(session, will, now + int(delay * SECOND))

    def _publish_will(self, session: Session, will: Will, now: Nanoseconds) -> None:
        route = self.route(session, will.topic)
        forbidden = self._publish_fault(route, will.payload, will.qos, retain=will.retain)
        if session.client_id in self._admission.quarantined or forbidden:
            self.counters["refused"] += 1
            return
        counts = self.metrics.of(session.client_id)
        self.metrics.received(counts, session.client_id, will.topic, will.payload)
        self.counters["accepted"] += 1
        message = Message(
            self._ids.next(now),
            session.client_id,
            session.principal,
            will.topic,
            will.payload,
            will.qos,
            will.retain,
            now,
            session.source_ip,
            will.properties,
        )
        self.fanout.put(None, 0, message, route, now)
        self.wake()

    def _show(self, message: Message) -> None:
        """An event of the gateway to whoever subscribed to it; the platform's own are not for devices."""
        if self.tree.size and message.topic.startswith("$aws/"):
            self.fanout.deliver(
                message, self.fanout.route(message.topic, publisher=None), message.received_at
            )
        self.wake()


def _from_elsewhere(session: Session | None, request: ConnectRequest) -> bool:
    """Whether who takes over is another principal or at another address than who had the session."""
    principal = request.identity.principal.principal_id if request.identity else ""
    return session is not None and (session.source_ip != request.source_ip or session.principal != principal)


__all__ = ["GATEWAY", "METRICS_TOPIC", "Close", "Connected", "Gateway", "Refused"]
