"""A client's session: who it is, what it is subscribed to, and what is on its way to it. No sockets, no clock.

Invariants: at most `in_flight_most` messages above QoS 0 are out and not acknowledged; messages to one client keep
their order; what waits is bounded, and what is dropped is counted.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from contracts.messages import SECOND, Message, Nanoseconds

from . import packets, properties
from .limits import Limits, TokenBucket
from .metrics import Counts
from .packets import PUBREL, V3, V5
from .policy import Permissions
from .subscriptions import Subscription
from .wire import variable


class Link(Protocol):
    """The connection of a session, as far as messages to the client need it."""

    level: int
    congested: bool
    """The client reads more slowly than we write: QoS 0 is dropped, the rest waits."""

    def send(self, frame: bytes) -> None:
        """Write a packet, together with others."""
        ...

    def alias(self, topic: str) -> tuple[str, int]:
        """The topic and alias to write (MQTT 5): an empty topic where the alias is known already; 0 for none."""
        ...


class Outgoing(NamedTuple):
    """A message for one subscriber, as it is to be sent."""

    message: Message
    qos: int
    retain: bool = False
    identifiers: tuple[int, ...] = ()
    released: bool = False
    """QoS 2: the client has it, what is out is our PUBREL."""


class Session:
    """Lives as long as the connection, or as `expiry` seconds after it where the client asked for that."""

    __slots__ = (
        "_packet_id",
        "bucket",
        "client_id",
        "counters",
        "counts",
        "ended_at",
        "expiry",
        "in_flight",
        "in_flight_most",
        "keep_alive",
        "limits",
        "link",
        "maximum_packet",
        "period",
        "permissions",
        "principal",
        "session_id",
        "source_ip",
        "subscriptions",
        "unreleased",
        "version",
        "waiting",
    )

    def __init__(
        self, client_id: str, *, limits: Limits, permissions: Permissions, counters: dict[str, int]
    ) -> None:
        """`counters` are the gateway's: what is sent and what is dropped is counted there."""
        self.client_id = client_id
        self.counters = counters
        self.limits = limits
        self.permissions = permissions
        self.principal = ""
        self.source_ip = ""
        self.session_id = ""
        self.version = 0
        self.keep_alive = 0
        self.expiry = 0.0
        self.link: Link | None = None
        self.ended_at: Nanoseconds = 0
        self.bucket = TokenBucket(limits.publishes_per_second, 0)
        self.subscriptions: dict[str, Subscription] = {}
        self.in_flight: dict[int, Outgoing] = {}
        self.in_flight_most = limits.in_flight
        self.maximum_packet = 0
        self.waiting: deque[Outgoing] | None = None
        self.unreleased: set[int] | None = None
        self.counts = Counts()
        self.period = -1
        self._packet_id = 0

    def deliver(self, outgoing: Outgoing, now: Nanoseconds) -> bool:
        """Send the message, or keep it for later; False if it is dropped."""
        link = self.link
        if link is None and (not outgoing.qos or not self.expiry):
            return False
        if link is None or (outgoing.qos and self._must_wait(link)) or not self._may_send(outgoing, now):
            return bool(outgoing.qos) and self._wait(outgoing)
        if link.congested and not outgoing.qos:
            return self._drop()
        return self._send(link, outgoing, now)

    def acknowledged(self, packet_id: int, now: Nanoseconds) -> bool:
        """The client has the message (or its PUBREL); False if nothing of this number was out."""
        if self.in_flight.pop(packet_id, None) is None:
            return False
        if self.waiting:
            self.send_waiting(now)
        return True

    def received(self, packet_id: int) -> bool:
        """QoS 2: the client has the message, our PUBREL is out. False if nothing of this number was out."""
        outgoing = self.in_flight.get(packet_id)
        if outgoing is None:
            return False
        self.in_flight[packet_id] = Outgoing(outgoing.message, outgoing.qos, released=True)
        return True

    def send_waiting(self, now: Nanoseconds) -> None:
        """Send what waits, as far as the client takes it."""
        while self.waiting and self.link is not None and len(self.in_flight) < self.in_flight_most:
            if self.link.congested or not self._may_send(self.waiting[0], now):
                return
            self._send(self.link, self.waiting.popleft(), now)

    def resume(self, now: Nanoseconds) -> None:
        """A new connection: everything that was out goes out again, in order, then what waits."""
        for packet_id, outgoing in list(self.in_flight.items()):
            if self.link is None:
                return
            if outgoing.released:
                self.link.send(packets.acknowledgement(PUBREL, packet_id, level=self.link.level))
            elif (frame := self._frame(self.link, outgoing, now, packet_id, again=True)) is None:
                del self.in_flight[packet_id]
            else:
                self.link.send(frame)
        self.send_waiting(now)

    def queued(self) -> int:
        """Messages that are out or wait."""
        return len(self.in_flight) + len(self.waiting or ())

    def _must_wait(self, link: Link) -> bool:
        return bool(self.waiting) or link.congested or len(self.in_flight) >= self.in_flight_most

    def _may_send(self, outgoing: Outgoing, now: Nanoseconds) -> bool:
        """AWS counts publishes to the client like those from it; what exceeds the rate waits, or is lost at QoS 0."""
        if self.bucket.take(now):
            return True
        if not outgoing.qos:
            self._drop()
        return False

    def _wait(self, outgoing: Outgoing) -> bool:
        if self.waiting is None:
            self.waiting = deque()
        if len(self.waiting) >= self.limits.queued:
            self.waiting.popleft()
            self._drop()
        self.waiting.append(outgoing)
        return True

    def _drop(self) -> bool:
        self.counters["dropped"] += 1
        return False

    def _send(self, link: Link, outgoing: Outgoing, now: Nanoseconds) -> bool:
        packet_id = self._next_packet_id() if outgoing.qos else 0
        frame = self._frame(link, outgoing, now, packet_id)
        if frame is None:
            return False
        if packet_id:
            self.in_flight[packet_id] = outgoing
        link.send(frame)
        self.counters["delivered"] += 1
        return True

    def _frame(
        self, link: Link, outgoing: Outgoing, now: Nanoseconds, packet_id: int, *, again: bool = False
    ) -> bytes | None:
        """The PUBLISH; None if the message has expired or is larger than the client takes."""
        message = outgoing.message
        expiry = seconds_left(message, now)
        if expiry == 0:
            return None
        topic, told = message.topic, b""
        if link.level == V5:
            topic, alias = link.alias(message.topic)
            told = properties.write(_told(outgoing, expiry, alias))
        frame = packets.publish(
            topic,
            message.payload,
            qos=outgoing.qos,
            retain=outgoing.retain,
            packet_id=packet_id,
            duplicate=again and self.limits.duplicate_flag,
            told=told,
        )
        if self.maximum_packet and len(frame) > self.maximum_packet:
            self._drop()
            return None
        return frame

    def _next_packet_id(self) -> int:
        while True:
            self._packet_id = self._packet_id % 65_535 + 1
            if self._packet_id not in self.in_flight:
                return self._packet_id


def _told(outgoing: Outgoing, expiry: int | None, alias: int) -> Iterator[tuple[str, object]]:
    yield from properties.told(outgoing.message.properties, expiry=expiry)
    if outgoing.identifiers:
        yield "subscription_identifier", outgoing.identifiers
    if alias:
        yield "topic_alias", alias


def seconds_left(message: Message, now: Nanoseconds) -> int | None:
    """Of a message's life, as its publisher set it: None for ever, 0 if it is over."""
    if message.properties is None or message.properties.message_expiry is None:
        return None
    gone = max(0, now - message.received_at) // SECOND
    return max(0, message.properties.message_expiry - gone)


def simple_frame(name: bytes, payload: bytes) -> bytes:
    """A PUBLISH of QoS 0 for MQTT 3.1.1; `name` is the topic with its length before it."""
    return b"\x30" + variable(len(name) + len(payload)) + name + payload


__all__ = ["V3", "Link", "Outgoing", "Session", "seconds_left", "simple_frame"]
