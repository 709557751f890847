"""One client's conversation: bytes in, bytes out, decisions asked of the gateway. No sockets, no clock.

The way of a PUBLISH is written out without detours: it is the one packet that comes by the ten thousand.
"""

from typing import Protocol

from contracts.messages import SECOND, Nanoseconds, PublishProperties

from . import packets, properties
from .admission import ConnectRequest, Refused
from .codes import (
    ALIAS_INVALID,
    CONNACK_3,
    FAILURE,
    ID_NOT_FOUND,
    NO_MATCHING_SUBSCRIBERS,
    PACKET_TOO_LARGE,
    QUOTA_EXCEEDED,
    RECEIVE_MAXIMUM_EXCEEDED,
    SERVER_DISCONNECT,
    SUCCESS,
    UNSUPPORTED_VERSION,
    WITH_WILL,
    DisconnectReason,
)
from .fanout import Route
from .gateway import Close, Gateway
from .identity import Identity
from .limits import TokenBucket
from .packets import CONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, V3, V5, Connect, Will
from .rules_session import RulesSession
from .session import Session
from .wire import PROTOCOL_ERROR, FieldReader, MalformedPacket, text_of

CONNECT_SECONDS = 10
"""A socket that has not sent its CONNECT by then is closed: it costs a descriptor."""

MAX_ROUTES = 32
"""Topics remembered for a connection: a device has a handful, and one that invents topics gains nothing."""

HEADER_BYTES = 64 * 1024 + 512
"""A packet's largest head beside its payload: a topic of 65,535 bytes, or as many bytes of properties."""


class Io(Protocol):
    """The transport of a conversation."""

    def write(self, data: bytes) -> None: ...

    def pause(self) -> None:
        """Read nothing until `resume`."""
        ...

    def resume(self) -> None: ...

    def pause_for(self, seconds: float) -> None:
        """Read nothing for so long."""
        ...

    def close(self) -> None:
        """Send what was written, then close."""
        ...


class Conversation:
    """From the first byte to the end of the socket."""

    __slots__ = (
        "_aliases",
        "_bytes",
        "_chunks",
        "_ended",
        "_gateway",
        "_greeted",
        "_halted",
        "_identity",
        "_io",
        "_maximum",
        "_missing",
        "_out",
        "_out_aliases",
        "_out_aliases_most",
        "_platform",
        "_routes",
        "_source_ip",
        "_unacknowledged",
        "began",
        "congested",
        "level",
        "pending",
        "seen",
        "session",
        "will",
    )

    def __init__(
        self,
        gateway: Gateway,
        io: Io,
        *,
        identity: Identity | None,
        source_ip: str,
        now: Nanoseconds,
        platform: RulesSession | None = None,
    ) -> None:
        self._gateway = gateway
        self._io = io
        self._identity = identity
        self._source_ip = source_ip
        self._platform = platform
        self._maximum = gateway.limits.payload_bytes + HEADER_BYTES
        self._bytes = TokenBucket(gateway.limits.bytes_per_second, now)
        self._chunks: list[bytes] = []
        self._missing = 0
        self._out: list[bytes] = []
        self._routes: dict[bytes, Route] = {}
        self._aliases: dict[int, bytes] | None = None
        self._out_aliases: dict[str, int] | None = None
        self._out_aliases_most = 0
        self._unacknowledged = 0
        self._ended = False
        self._greeted = False
        self._halted = False
        self.level = V3
        self.session: Session | None = None
        self.will: Will | None = None
        self.pending = 0
        self.congested = False
        self.began = self.seen = now
        gateway.unfinished[self] = now

    def receive(self, data: bytes, now: Nanoseconds) -> None:
        """Bytes have come."""
        if self._ended:
            return
        self.seen = now
        size = len(data)
        if self._halted or self._missing > size:
            self._chunks.append(data)
            self._missing -= size
        else:
            if self._chunks:
                self._chunks.append(data)
                data = b"".join(self._chunks)
                self._chunks.clear()
            self._missing = 0
            try:
                self._parse(data, now)
            except MalformedPacket as fault:
                self._malformed(fault, now)
        if size:
            self._pace(size, now)

    def identify(self, identity: Identity | None, now: Nanoseconds) -> None:
        """Who is there is known now (None: nobody knows them): what was held back is read."""
        self._identity = identity
        self.go_on(now)

    def lost(self, now: Nanoseconds) -> None:
        """The socket is gone."""
        if not self._ended:
            self._ended = self._halted = True
            self._gateway.disconnect(self, "CONNECTION_LOST", now)
        self._leave()

    def end(self, reason: DisconnectReason, now: Nanoseconds, *, code: int = 0, detail: str = "") -> None:
        """Close the connection from here; a client of MQTT 5 is told why."""
        if self._ended:
            return
        self._ended = self._halted = True
        self._gateway.disconnect(self, reason, now)
        if self.level == V5 and reason in SERVER_DISCONNECT:
            self._out.append(packets.disconnect(code or SERVER_DISCONNECT[reason], reason=detail))
        self.flush()
        self._leave()
        self._io.close()

    def check(self, now: Nanoseconds) -> None:
        """Once in a while: the client must speak within one and a half keep-alives."""
        session = self.session
        silence = now - self.seen
        if self._platform is not None and self._platform.serves(self):
            if silence > self._platform.silence:
                self.end("MQTT_KEEP_ALIVE_TIMEOUT", now)
        elif session is None:
            if now - self.began > CONNECT_SECONDS * SECOND:
                self.end("CLIENT_ERROR", now)
        elif session.keep_alive and silence > session.keep_alive * SECOND * 3 // 2:
            self.end("MQTT_KEEP_ALIVE_TIMEOUT", now)

    def uncongested(self, now: Nanoseconds) -> None:
        """The client reads again."""
        self.congested = False
        if self.session is not None:
            self.session.send_waiting(now)

    def send(self, frame: bytes) -> None:
        """Write a packet at the end of the turn."""
        if not self._out:
            self._gateway.writing(self)
        self._out.append(frame)

    def flush(self) -> None:
        """Write what was collected in this turn."""
        if self._out:
            data = b"".join(self._out) if len(self._out) > 1 else self._out[0]
            self._out = []
            self._io.write(data)

    def alias(self, topic: str) -> tuple[str, int]:
        """The client allowed so many aliases: the first topics that it gets have one each."""
        if not self._out_aliases_most:
            return topic, 0
        if self._out_aliases is None:
            self._out_aliases = {}
        if (known := self._out_aliases.get(topic)) is not None:
            return "", known
        if len(self._out_aliases) >= self._out_aliases_most:
            return topic, 0
        self._out_aliases[topic] = len(self._out_aliases) + 1
        return topic, len(self._out_aliases)

    def published(self, packet_id: int, qos: int, *, reached: bool) -> None:
        """The message is safe: acknowledge it."""
        self._unacknowledged -= 1
        if self._ended:
            return
        if qos == 1 and (reached or self.level == V3):
            self.send(b"\x40\x02" + packet_id.to_bytes(2, "big"))
        else:
            kind = PUBACK if qos == 1 else PUBREC
            code = SUCCESS if reached else NO_MATCHING_SUBSCRIBERS
            self.send(packets.acknowledgement(kind, packet_id, level=self.level, code=code))

    def throttled(self, packet_id: int, qos: int) -> None:
        """Over the rate: MQTT 5 says so, 3.1.1 has no word for it, and the device sends it again."""
        if qos and self.level == V5:
            kind = PUBACK if qos == 1 else PUBREC
            self.send(packets.acknowledgement(kind, packet_id, level=V5, code=QUOTA_EXCEEDED))
        if qos:
            self._unacknowledged -= 1
        if qos == 2 and self.session is not None and self.session.unreleased:
            self.session.unreleased.discard(packet_id)

    def hold(self) -> None:
        """Read no more: what was read cannot be handed on yet."""
        if not self._ended:
            self._halted = True
            self._io.pause()

    def go_on(self, now: Nanoseconds) -> None:
        """All that was read is handed on."""
        if not self._ended:
            self._halted = False
            self._missing = 0
            self._io.resume()
            self.receive(b"", now)

    def refused(self, fault: str, now: Nanoseconds) -> None:
        """What was read cannot be kept: close without an acknowledgement."""
        self.end("SERVER_ERROR", now, detail=fault)

    def _pace(self, size: int, now: Nanoseconds) -> None:
        """What comes faster than the limit is read later."""
        delay = self._bytes.spend(size, now)
        if delay and not self._ended:
            self._gateway.counters["delayed"] += 1
            self._io.pause_for(delay)

    def _leave(self) -> None:
        self._gateway.unfinished.pop(self, None)
        self._gateway.fanout.forget(self)
        if self._platform is not None:
            self._platform.left(self)

    def _malformed(self, fault: MalformedPacket, now: Nanoseconds) -> None:
        if self.session is None and fault.code == UNSUPPORTED_VERSION:
            self.send(packets.connack(CONNACK_3[UNSUPPORTED_VERSION]))
        self.end("CLIENT_ERROR", now, code=fault.code, detail=str(fault))

    def _parse(self, data: bytes, now: Nanoseconds) -> None:
        """Every whole packet of these bytes; what is left of the last one is kept."""
        place, size = 0, len(data)
        if not self._greeted and size and data[0] != CONNECT << 4:
            raise MalformedPacket("the first packet is no CONNECT", code=PROTOCOL_ERROR)
        while size - place >= 2 and not self._halted:
            length, start = data[place + 1], place + 2
            if length & 0x80:
                if (found := _long_length(data, start, length)) is None:
                    break
                length, start = found
                if length > self._maximum:
                    raise MalformedPacket(f"packet of {length} bytes", code=PACKET_TOO_LARGE)
            end = start + length
            if end > size:
                self._missing = end - size
                break
            header = data[place]
            if header >> 4 == PUBLISH:
                self._publish(header, data, start, end, now)
            elif header == 0x40 and length == 2 and self.session is not None:
                self.session.acknowledged(data[start] << 8 | data[start + 1], now)
            else:
                self._take(header, data[start:end], now)
            place = end
        if place < size and not self._ended:
            self._chunks.append(data[place:] if place else data)

    def _publish(self, header: int, data: bytes, start: int, end: int, now: Nanoseconds) -> None:
        session = self.session
        if session is None:
            raise MalformedPacket("PUBLISH before CONNECT", code=PROTOCOL_ERROR)
        qos = header >> 1 & 3
        place = start + 2
        if end < place or (place := place + (data[start] << 8 | data[start + 1])) + (2 if qos else 0) > end:
            raise MalformedPacket("packet shorter than its fields")
        name = data[start + 2 : place]
        packet_id = 0
        if qos:
            packet_id = data[place] << 8 | data[place + 1]
            place += 2
            self._unacknowledged += 1
            if not packet_id or qos == 3:
                raise MalformedPacket("packet id 0 or QoS 3", code=PROTOCOL_ERROR)
            if (qos == 2 or self._unacknowledged > session.limits.in_flight) and self._is_known(
                session, packet_id, qos
            ):
                return
        elif header & 8:
            raise MalformedPacket("a duplicate at QoS 0")
        told: PublishProperties | None = None
        if self.level == V5:
            fields = FieldReader(data[place:end])
            name, told = self._told(name, properties.read(fields, "PUBLISH"))
            payload = fields.rest()
        else:
            payload = data[place:end]
        route = self._routes.get(name)
        if route is None or route.generation != self._gateway.tree.generation:
            route = self._route(session, name)
        closing = self._gateway.publish(
            self,
            route,
            payload=payload,
            qos=qos,
            retain=bool(header & 1),
            packet_id=packet_id,
            properties=told,
            now=now,
        )
        if closing is not None:
            self._close(closing, now)

    def _route(self, session: Session, name: bytes) -> Route:
        if len(self._routes) >= MAX_ROUTES:
            self._routes.clear()
        route = self._routes[name] = self._gateway.route(session, text_of(name))
        return route

    def _is_known(self, session: Session, packet_id: int, qos: int) -> bool:
        """QoS 2: whether this is a message that came before and was not released. MQTT 5: too many at once."""
        if self.level == V5 and self._unacknowledged > session.limits.in_flight:
            raise MalformedPacket("more than the receive maximum", code=RECEIVE_MAXIMUM_EXCEEDED)
        if qos != 2 or session.limits.max_qos < 2:
            return False
        if session.unreleased is None:
            session.unreleased = set()
        if packet_id in session.unreleased:
            self._unacknowledged -= 1
            self.send(packets.acknowledgement(PUBREC, packet_id, level=self.level))
            return True
        session.unreleased.add(packet_id)
        return False

    def _told(self, name: bytes, found: properties.Properties) -> tuple[bytes, PublishProperties | None]:
        """The topic, by its alias if it has one, and what is carried to the subscribers."""
        alias = found.get("topic_alias")
        if alias is not None:
            if alias > self._gateway.limits.topic_aliases:
                raise MalformedPacket(f"topic alias {alias}", code=ALIAS_INVALID)
            aliases = self._aliases = self._aliases if self._aliases is not None else {}
            if name:
                aliases[alias] = name
            else:
                name = aliases.get(alias, b"")
        if not name:
            raise MalformedPacket("no topic and no known alias", code=PROTOCOL_ERROR)
        if "subscription_identifier" in found:
            raise MalformedPacket("a client sends no subscription identifier", code=PROTOCOL_ERROR)
        told = properties.of_message(found)
        if (
            told is not None
            and sum(len(k) + len(v) for k, v in told.user) > self._gateway.limits.user_property_bytes
        ):
            raise MalformedPacket("user properties too large", code=PACKET_TOO_LARGE)
        return name, told

    def _take(self, header: int, body: bytes, now: Nanoseconds) -> None:
        """Any packet but a PUBLISH and a plain PUBACK. What was published before comes first."""
        if self._platform is not None and self._platform.serves(self):
            if not self._platform.take(packets.parse(header, body, level=V3), self):
                self.end("CLIENT_INITIATED_DISCONNECT", now)
            return
        packet = packets.parse(header, body, level=self.level)
        if self.session is None:
            if not isinstance(packet, Connect):
                raise MalformedPacket("nothing may come before the CONNECT", code=PROTOCOL_ERROR)
            self._greeted = True
            self._gateway.unfinished.pop(self, None)
            self._connect(packet, now)
            return
        if self.pending:
            self._gateway.fanout.hand_on(now)
        self._handle(packet, self.session, now)

    def _handle(self, packet: packets.Packet, session: Session, now: Nanoseconds) -> None:
        match packet:
            case packets.PingReq():
                self.send(packets.PINGRESP_BYTES)
            case packets.Acknowledgement():
                self._acknowledged(packet, session, now)
            case packets.Subscribe():
                self._subscribe(packet, session, now)
            case packets.Unsubscribe():
                codes = self._gateway.unsubscribe(session, packet.filters, now)
                self.send(packets.unsuback(packet.packet_id, codes, level=self.level))
            case packets.Disconnect():
                self._disconnect(packet, session, now)
            case _:
                raise MalformedPacket("a second CONNECT", code=PROTOCOL_ERROR)

    def _connect(self, packet: Connect, now: Nanoseconds) -> None:
        if self._platform is not None and self._platform.wants(packet):
            if not self._platform.greet(packet, self):
                self.end("AUTH_ERROR", now)
            return
        self.level = packet.level
        request = ConnectRequest(packet, self._identity, self._source_ip)
        decision = self._gateway.connect(request, self, now)
        if isinstance(decision, Refused):
            self._refuse_connect(decision, now)
            return
        self._out_aliases_most = packet.properties.get("topic_alias_maximum", 0)
        told = self._greeting(packet, decision.session) if self.level == V5 else None
        self.send(packets.connack(0, level=self.level, session_present=decision.resumed, told=told))
        if decision.resumed:
            decision.session.resume(now)

    def _refuse_connect(self, refused: Refused, now: Nanoseconds) -> None:
        code = refused.code if self.level == V5 else CONNACK_3.get(refused.code, 5)
        self.send(packets.connack(code, level=self.level, told=[("reason", refused.reason)]))
        self.level = V3  # a refused client gets no DISCONNECT beside its CONNACK
        self.end("AUTH_ERROR", now)

    def _greeting(self, packet: Connect, session: Session) -> list[tuple[str, object]]:
        """What the server tells of itself: only what differs from what MQTT 5 takes for granted."""
        limits = self._gateway.limits
        asked = packet.properties.get("session_expiry", 0)
        granted = 0xFFFF_FFFF if session.expiry == float("inf") else int(session.expiry)
        return [
            ("session_expiry", granted if granted != asked else None),
            ("receive_maximum", limits.in_flight if limits.in_flight < 65_535 else None),
            ("maximum_qos", limits.max_qos if limits.max_qos < 2 else None),
            ("maximum_packet_size", self._maximum),
            ("assigned_client_id", session.client_id if not packet.client_id else None),
            ("topic_alias_maximum", limits.topic_aliases),
            ("subscription_identifiers_available", None if limits.subscription_identifiers else 0),
            ("server_keep_alive", session.keep_alive if session.keep_alive != packet.keep_alive else None),
        ]

    def _acknowledged(self, packet: packets.Acknowledgement, session: Session, now: Nanoseconds) -> None:
        if packet.kind in (PUBACK, PUBCOMP) or (packet.kind == PUBREC and packet.code >= FAILURE):
            session.acknowledged(packet.packet_id, now)
        elif packet.kind == PUBREC:
            code = SUCCESS if session.received(packet.packet_id) else ID_NOT_FOUND
            self.send(packets.acknowledgement(PUBREL, packet.packet_id, level=self.level, code=code))
        else:
            known = session.unreleased is not None and packet.packet_id in session.unreleased
            if known and session.unreleased is not None:
                session.unreleased.discard(packet.packet_id)
            code = SUCCESS if known else ID_NOT_FOUND
            self.send(packets.acknowledgement(PUBCOMP, packet.packet_id, level=self.level, code=code))

    def _subscribe(self, packet: packets.Subscribe, session: Session, now: Nanoseconds) -> None:
        fresh = frozenset(one.name for one in packet.filters if one.name not in session.subscriptions)
        codes = self._gateway.subscribe(session, packet, now)
        if isinstance(codes, Close):
            self._close(codes, now)
            return
        told = codes if self.level == V5 else tuple(min(code, FAILURE) for code in codes)
        self.send(packets.suback(packet.packet_id, told, level=self.level))
        self._gateway.send_retained(session, packet, codes=codes, fresh=fresh, now=now)

    def _disconnect(self, packet: packets.Disconnect, session: Session, now: Nanoseconds) -> None:
        if packet.session_expiry is not None:
            if packet.session_expiry and not session.expiry:
                raise MalformedPacket("a session expiry that was 0 at the CONNECT", code=PROTOCOL_ERROR)
            session.expiry = min(float(packet.session_expiry), session.limits.session_seconds)
        if packet.code != WITH_WILL:
            self.will = None
        self.end("CLIENT_INITIATED_DISCONNECT", now)

    def _close(self, closing: Close, now: Nanoseconds) -> None:
        self.end(closing.reason, now, code=closing.code, detail=closing.detail)


def _long_length(data: bytes, place: int, first: int) -> tuple[int, int] | None:
    """A remaining length of several bytes and where the body starts; None while it is not whole."""
    length, shift = first & 0x7F, 7
    while place < len(data):
        byte = data[place]
        place += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return length, place
        shift += 7
        if shift > 21:
            raise MalformedPacket("remaining length of more than four bytes")
    return None
