"""Clients of the gateway's core without sockets: bytes in, bytes out, time by hand."""

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from broker import packets, properties
from broker.conversation import Conversation
from broker.gateway import Gateway
from broker.identity import Identity, local_identity
from broker.limits import profile
from broker.packets import V3, V5
from broker.policy import DEVICE_DOCUMENT, OPEN_DOCUMENT
from broker.wire import FieldReader, data, text, variable
from contracts.messages import SECOND, Message, Nanoseconds

NAMES = {
    2: "CONNACK", 3: "PUBLISH", 4: "PUBACK", 5: "PUBREC", 6: "PUBREL", 7: "PUBCOMP",
    9: "SUBACK", 11: "UNSUBACK", 13: "PINGRESP", 14: "DISCONNECT",
}  # fmt: skip


@dataclass(slots=True)
class Got:
    """One packet from the server."""

    kind: str
    packet_id: int = 0
    code: int = 0
    codes: tuple[int, ...] = ()
    topic: str = ""
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    duplicate: bool = False
    session_present: bool = False
    told: dict[str, Any] = field(default_factory=dict)


def frames(stream: bytes) -> list[tuple[int, bytes]]:
    """Header and body of every packet; the bytes must hold whole packets."""
    found = []
    place = 0
    while place < len(stream):
        header, length, shift = stream[place], 0, 0
        while True:
            place += 1
            length |= (stream[place] & 0x7F) << shift
            shift += 7
            if stream[place] < 0x80:
                break
        place += 1
        assert place + length <= len(stream), "half a packet was written"
        found.append((header, stream[place : place + length]))
        place += length
    return found


def read(header: int, body: bytes, level: int) -> Got:
    """A server's packet."""
    kind, reader = NAMES[header >> 4], FieldReader(body)
    told = _read_told(kind, reader) if level == V5 else None
    if kind == "CONNACK":
        present, code = reader.byte(), reader.byte()
        return Got(kind, code=code, session_present=bool(present), told=told() if told else {})
    if kind == "PUBLISH":
        qos = header >> 1 & 3
        topic = reader.text()
        packet_id = reader.two() if qos else 0
        more = told() if told else {}
        return Got(
            kind, packet_id, topic=topic, qos=qos, retain=bool(header & 1), duplicate=bool(header & 8),
            told=more, payload=reader.rest(),
        )  # fmt: skip
    if kind in ("PINGRESP", "DISCONNECT"):
        code = 0 if reader.done else reader.byte()
        return Got(kind, code=code, told=told() if told and not reader.done else {})
    packet_id = reader.two()
    if kind in ("SUBACK", "UNSUBACK"):
        more = told() if told else {}
        return Got(kind, packet_id, codes=tuple(reader.rest()), told=more)
    code = 0 if reader.done else reader.byte()
    return Got(kind, packet_id, code=code)


def _read_told(_kind: str, reader: FieldReader) -> Any:
    def told() -> dict[str, Any]:
        fields = FieldReader(reader.take(reader.variable()))
        found: dict[str, Any] = {}
        while not fields.done:
            name, (read_one, _) = properties._KNOWN[fields.variable()]
            value = read_one(fields)
            found[name] = (*found.get(name, ()), value) if name in properties._REPEATED else value
        return found

    return told


def packet(kind: int, body: bytes, flags: int = 0) -> bytes:
    return bytes((kind << 4 | flags,)) + variable(len(body)) + body


def connect_bytes(
    client_id: str,
    *,
    level: int = V3,
    clean: bool = True,
    keep_alive: int = 60,
    will: tuple[str, bytes, int, bool] | None = None,
    will_told: Mapping[str, Any] | None = None,
    told: Mapping[str, Any] | None = None,
    username: str | None = None,
    password: bytes | None = None,
) -> bytes:
    flags = 2 * clean
    body = text("MQTT") + bytes((level,))
    tail = text(client_id)
    if will is not None:
        flags |= 4 | will[2] << 3 | will[3] << 5
        tail += properties.write((will_told or {}).items()) if level == V5 else b""
        tail += text(will[0]) + data(will[1])
    if username is not None:
        flags |= 0x80
        tail += text(username)
    if password is not None:
        flags |= 0x40
        tail += data(password)
    more = properties.write((told or {}).items()) if level == V5 else b""
    return packet(packets.CONNECT, body + struct.pack(">BH", flags, keep_alive) + more + tail)


class Client:
    """One connection. What the server wrote is taken with `got`."""

    def __init__(self, desk: "Desk", identity: Identity | None) -> None:
        self.desk = desk
        self.level = V3
        self.written = bytearray()
        self.closed = False
        self.paused = False
        self.waits = 0.0
        self.conversation = Conversation(
            desk.gateway, self, identity=identity, source_ip="10.0.0.1", now=desk.now
        )

    def write(self, data: bytes) -> None:
        self.written += data

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def pause_for(self, seconds: float) -> None:
        self.waits = seconds

    def close(self) -> None:
        self.closed = True

    def send(self, data: bytes) -> list[Got]:
        self.conversation.receive(data, self.desk.now)
        self.desk.turn()
        return self.got()

    def got(self) -> list[Got]:
        """What came since the last call."""
        found = [read(header, body, self.level) for header, body in frames(bytes(self.written))]
        self.written.clear()
        return found

    def messages(self) -> list[tuple[str, bytes]]:
        return [(one.topic, one.payload) for one in self.got() if one.kind == "PUBLISH"]

    def lose(self) -> None:
        """The socket breaks."""
        self.conversation.lost(self.desk.now)
        self.desk.turn()

    def connect(self, client_id: str, *, level: int = V3, **options: Any) -> Got:
        self.level = level
        answers = self.send(connect_bytes(client_id, level=level, **options))
        assert answers, "no CONNACK"
        self.backlog = answers[1:]
        return answers[0]

    def publish(
        self,
        topic: str,
        payload: bytes = b"{}",
        *,
        qos: int = 0,
        retain: bool = False,
        packet_id: int = 1,
        duplicate: bool = False,
        told: Mapping[str, Any] | None = None,
    ) -> list[Got]:
        return self.send(
            publish_bytes(
                topic, payload, qos=qos, retain=retain, packet_id=packet_id, duplicate=duplicate,
                told=told, level=self.level,
            )
        )  # fmt: skip

    def subscribe(
        self,
        *filters: str | tuple[str, int],
        packet_id: int = 1,
        told: Mapping[str, Any] | None = None,
    ) -> list[Got]:
        body = struct.pack(">H", packet_id)
        body += properties.write((told or {}).items()) if self.level == V5 else b""
        for one in filters:
            name, options = (one, 1) if isinstance(one, str) else one
            body += text(name) + bytes((options,))
        return self.send(packet(packets.SUBSCRIBE, body, 2))

    def unsubscribe(self, *filters: str) -> list[Got]:
        body = struct.pack(">H", 9) + (b"\0" if self.level == V5 else b"")
        return self.send(packet(packets.UNSUBSCRIBE, body + b"".join(map(text, filters)), 2))

    def acknowledge(self, packet_id: int, kind: int = packets.PUBACK) -> list[Got]:
        return self.send(packets.acknowledgement(kind, packet_id))

    def disconnect(self, code: int | None = None, told: Mapping[str, Any] | None = None) -> list[Got]:
        more = b"" if code is None else bytes((code,))
        more += properties.write(told.items()) if told is not None else b""
        return self.send(packet(packets.DISCONNECT, more))


def publish_bytes(
    topic: str,
    payload: bytes = b"{}",
    *,
    qos: int = 0,
    retain: bool = False,
    packet_id: int = 1,
    duplicate: bool = False,
    told: Mapping[str, Any] | None = None,
    level: int = V3,
) -> bytes:
    more = properties.write((told or {}).items()) if level == V5 else b""
    return packets.publish(
        topic, payload, qos=qos, retain=retain, packet_id=packet_id, duplicate=duplicate, told=more
    )


class Desk:
    """A gateway, its time, and the rules' end: what they were handed."""

    def __init__(
        self, limits: str = "open", *, policy: Mapping[str, Any] | None = None, **overrides: float
    ) -> None:
        self.now: Nanoseconds = 1_000 * SECOND
        self.rules: list[Message] = []
        self.room = 10**9
        self.fault: Exception | None = None
        self.gateway = Gateway(limits=profile(limits, overrides), accept=self._accept)
        document = policy or (DEVICE_DOCUMENT if limits == "aws" else OPEN_DOCUMENT)
        self.local = local_identity(document)
        self.clients: list[Client] = []

    def _accept(self, messages: Sequence[Message]) -> int:
        if self.fault is not None:
            raise self.fault
        taken = list(messages)[: self.room]
        self.room -= len(taken)
        self.rules += taken
        return len(taken)

    def client(
        self,
        client_id: str | None = None,
        *,
        identity: Identity | None = None,
        level: int = V3,
        **options: Any,
    ) -> Client:
        """A connection; with a client id it is connected."""
        client = Client(self, identity or self.local)
        self.clients.append(client)
        if client_id is not None:
            answer = client.connect(client_id, level=level, **options)
            assert answer.code == 0, answer
        return client

    def turn(self) -> None:
        self.gateway.turn(self.now)
        self.gateway.turn(self.now)

    def pass_time(self, seconds: float) -> None:
        """Second by second, as the service does it."""
        end = self.now + int(seconds * SECOND)
        while self.now < end:
            self.now = min(end, self.now + SECOND)
            self.gateway.tick(self.now)
            for client in self.clients:
                client.conversation.check(self.now)
            self.turn()

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """What the gateway published itself since the last call."""
        return [(one.topic, json.loads(one.payload)) for one in self.gateway.take_events()]

    def reasons(self) -> list[str]:
        """Why connections ended, since the last call."""
        return [body["disconnectReason"] for topic, body in self.events() if "/disconnected/" in topic]


def payloads(found: Iterable[Got]) -> list[bytes]:
    return [one.payload for one in found if one.kind == "PUBLISH"]
