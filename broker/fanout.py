"""From an accepted publish to the rules and to the subscribers.

A connection's publishes wait in the inbox until the turn is over: then the rules get all of them at once, the
subscribers get theirs, and the publishers their acknowledgements. What the rules have no room for stays, and its
connections are held: nothing more is read from them until there is room.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from contracts.errors import BackendError
from contracts.messages import Message, Nanoseconds
from contracts.ports import Gauge

from .codes import DisconnectReason
from .limits import UNLIMITED, Limits
from .metrics import Metrics
from .packets import V3
from .retained import Retained
from .session import Outgoing, Session, simple_frame
from .subscriptions import Group, Subscription, SubscriptionTree
from .topics import BASIC_INGEST
from .wire import text

MAX_INBOX = 2_000
"""Publishes of one turn; a turn of 64 KB reads from many connections is cut there."""

Accept = Callable[[Sequence[Message]], int]
"""Hands messages on to the rules: how many of them were taken. Raises BackendError: none was."""


class Target(NamedTuple):
    """A session that gets a topic's messages, by the sum of its subscriptions that select it."""

    session: Session
    qos: int
    retain_as_published: bool
    identifiers: tuple[int, ...]


class Route:
    """What is known of a topic for one publisher: why it may not, or who gets it. Good for one `generation`."""

    __slots__ = ("fault", "generation", "name", "reason", "requests", "retainable", "targets", "topic")

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.name = text(topic)
        self.fault = ""
        self.reason: DisconnectReason = "CLIENT_ERROR"
        self.retainable = False
        self.requests = topic.startswith("$aws/things/")
        """Whether it is a request to a device service: a shadow, a report."""
        self.generation = -1
        self.targets: tuple[Target | Group, ...] = ()


class Publisher(Protocol):
    """The connection that a publish came from."""

    pending: int

    def published(self, packet_id: int, qos: int, *, reached: bool) -> None:
        """The message is safe: acknowledge it."""
        ...

    def hold(self) -> None:
        """Read no more: what was read cannot be handed on yet."""
        ...

    def go_on(self, now: Nanoseconds) -> None:
        """All that was read is handed on."""
        ...

    def refused(self, fault: str, now: Nanoseconds) -> None:
        """What was read cannot be kept: close without an acknowledgement."""
        ...


class _Entry(NamedTuple):
    publisher: Publisher | None
    packet_id: int
    message: Message
    route: Route


class Fanout:
    """The inbox, and the way out of it."""

    def __init__(
        self,
        *,
        tree: SubscriptionTree,
        retained: Retained,
        limits: Limits,
        metrics: Metrics,
        counters: dict[str, int],
        accept: Accept,
    ) -> None:
        self._tree = tree
        self._retained = retained
        self._limits = limits
        self._metrics = metrics
        self._counters = counters
        self._accept = accept
        self._inbox: list[_Entry] = []
        self._highest = 0
        self._held: dict[Publisher, None] = {}
        self.fault = ""
        self.serve: Callable[[Message], None] = lambda _message: None
        """Gets the requests to device services, once the rules have them."""

    @property
    def blocked(self) -> bool:
        """Whether something waits for room at the rules."""
        return bool(self._held)

    @property
    def waiting(self) -> int:
        return len(self._inbox)

    def gauge(self) -> Gauge:
        """The inbox. It may exceed its bound by one turn while the rules have no room: then nothing more is read."""
        return Gauge("inbox", len(self._inbox), MAX_INBOX, self._highest)

    def put(
        self, publisher: Publisher | None, packet_id: int, message: Message, route: Route, now: Nanoseconds
    ) -> None:
        """A publish that was accepted."""
        self._inbox.append(_Entry(publisher, packet_id, message, route))
        if publisher is not None:
            publisher.pending += 1
            if self._held:
                self._hold(publisher)
        if len(self._inbox) >= MAX_INBOX and not self._held:
            self.hand_on(now)

    def hand_on(self, now: Nanoseconds) -> None:
        """Everything in the inbox to the rules, the subscribers, and back as acknowledgements."""
        inbox = self._inbox
        if not inbox:
            return
        self._highest = max(self._highest, len(inbox))
        try:
            taken = self._accept([entry.message for entry in inbox])
        except BackendError as error:
            self._give_up(error, now)
            return
        self.fault = ""
        self._inbox = inbox[taken:]
        for entry in inbox[:taken]:
            self._finish(entry, now)
        if self._inbox:
            for entry in self._inbox:
                if entry.publisher is not None:
                    self._hold(entry.publisher)
        elif self._held:
            held, self._held = self._held, {}
            for publisher in held:
                publisher.go_on(now)

    def forget(self, publisher: Publisher) -> None:
        """The connection is gone; what it published stays."""
        self._held.pop(publisher, None)

    def deliver(self, message: Message, route: Route, now: Nanoseconds) -> bool:
        """To everybody who subscribed; whether there was anybody."""
        if message.retain:
            self._retain(message)
        reached = False
        frame = b""
        fast = self._limits.publishes_per_second == UNLIMITED and message.properties is None
        for one in route.targets:
            target = self._picked(one, route.topic) if isinstance(one, Group) else one
            if target is None:
                continue
            session = target.session
            link = session.link
            qos = min(target.qos, message.qos)
            if fast and not qos and link is not None and link.level == V3 and not link.congested:
                frame = frame or simple_frame(route.name, message.payload)
                link.send(frame)
                self._counters["delivered"] += 1
            elif not session.deliver(_outgoing(message, target, qos), now):
                continue
            reached = True
            self._count_sent(session)
        return reached

    def route(self, topic: str, *, publisher: Session | None) -> Route:
        """Who gets a message on this topic, now."""
        route = Route(topic)
        self.renew(route, publisher=publisher)
        return route

    def renew(self, route: Route, *, publisher: Session | None) -> None:
        """Ask the subscriptions anew. Nobody can subscribe to Basic Ingest: it goes to the rule alone."""
        route.generation = self._tree.generation
        if not route.topic.startswith(BASIC_INGEST):
            route.targets = tuple(self._targets(route.topic, publisher))

    def _targets(self, topic: str, publisher: Session | None) -> list[Target | Group]:
        groups: list[Target | Group] = []
        chosen: dict[Session, Target] = {}
        for found in self._tree.match(topic):
            if isinstance(found, Group):
                groups.append(found)
            elif not (found.filter.no_local and found.session is publisher):
                chosen[found.session] = _merged(chosen.get(found.session), found)
        resource = f"topic/{topic}"
        allowed = [one for one in chosen.values() if one.session.permissions.allows("iot:Receive", resource)]
        return [*allowed, *groups]

    def _picked(self, group: Group, topic: str) -> Target | None:
        found = group.pick()
        if found is None or not found.session.permissions.allows("iot:Receive", f"topic/{topic}"):
            return None
        return _merged(None, found)

    def _finish(self, entry: _Entry, now: Nanoseconds) -> None:
        reached = False
        if entry.route.targets or entry.message.retain:
            reached = self.deliver(entry.message, entry.route, now)
        publisher = entry.publisher
        if publisher is not None:
            if entry.route.requests:
                self.serve(entry.message)
            publisher.pending -= 1
            if entry.packet_id:
                publisher.published(entry.packet_id, entry.message.qos, reached=reached)

    def _give_up(self, error: BackendError, now: Nanoseconds) -> None:
        """Nothing was kept: no acknowledgement, and the devices send it again on their next connections."""
        self.fault = error.told
        inbox, self._inbox, self._held = self._inbox, [], {}
        for entry in inbox:
            if entry.publisher is not None:
                entry.publisher.pending -= 1
                entry.publisher.refused(error.what, now)

    def _hold(self, publisher: Publisher) -> None:
        if publisher not in self._held:
            self._held[publisher] = None
            publisher.hold()

    def _retain(self, message: Message) -> None:
        try:
            self._retained.keep(message)
        except BackendError as error:
            self.fault = error.told

    def _count_sent(self, session: Session) -> None:
        if session.period != self._metrics.period:
            session.counts = self._metrics.of(session.client_id)
            session.period = self._metrics.period
        session.counts.num_messages_sent += 1


def _merged(known: Target | None, found: Subscription) -> Target:
    identifiers = (found.identifier,) if found.identifier else ()
    if known is None:
        return Target(found.session, found.qos, found.filter.retain_as_published, identifiers)
    return Target(
        known.session,
        max(known.qos, found.qos),
        known.retain_as_published or found.filter.retain_as_published,
        known.identifiers + identifiers,
    )


def _outgoing(message: Message, target: Target, qos: int) -> Outgoing:
    return Outgoing(
        message, qos, retain=message.retain and target.retain_as_published, identifiers=target.identifiers
    )
