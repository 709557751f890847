"""MQTT 3.1.1 packets: bytes in, values out, and back. No sockets.

Source: OASIS MQTT Version 3.1.1, chapters 2 and 3. Only what a server reads and writes is here.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

CONNECT, CONNACK, PUBLISH, PUBACK = 1, 2, 3, 4
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK = 8, 9, 10, 11
PINGREQ, PINGRESP, DISCONNECT = 12, 13, 14

PROTOCOL_LEVEL = 4
MAX_REMAINING = 268_435_455
"""Four length bytes of seven bits: 128**4 - 1."""


class MalformedPacket(Exception):
    """The bytes are no MQTT 3.1.1 packet, or one that a client may not send."""


@dataclass(frozen=True, slots=True)
class Will:
    """What the server publishes when the connection is lost."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass(frozen=True, slots=True)
class Connect:
    level: int
    client_id: str
    clean_session: bool
    keep_alive: int
    will: Will | None
    username: str | None
    password: bytes | None


@dataclass(frozen=True, slots=True)
class Publish:
    topic: str
    payload: bytes
    qos: int
    retain: bool
    duplicate: bool
    packet_id: int


@dataclass(frozen=True, slots=True)
class PubAck:
    packet_id: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PingReq:
    pass


@dataclass(frozen=True, slots=True)
class Disconnect:
    pass


Packet: TypeAlias = Connect | Publish | PubAck | Subscribe | Unsubscribe | PingReq | Disconnect


class Parser:
    """Takes bytes as they come, gives whole packets. Holds at most one packet of `max_bytes`."""

    def __init__(self, *, max_bytes: int) -> None:
        self._buffer = bytearray()
        self._max_bytes = max_bytes

    def feed(self, data: bytes) -> list[Packet]:
        """All packets that are complete now. Raises MalformedPacket."""
        self._buffer += data
        packets: list[Packet] = []
        start = 0
        while (frame := self._frame(start)) is not None:
            header, body_start, end = frame
            packets.append(_parse(header, bytes(self._buffer[body_start:end])))
            start = end
        del self._buffer[:start]
        return packets

    def _frame(self, start: int) -> tuple[int, int, int] | None:
        """Header byte, where the body starts, where it ends; None while the packet is not whole."""
        length, shift, place = 0, 0, start + 1
        while True:
            if place >= len(self._buffer):
                return None
            byte = self._buffer[place]
            length |= (byte & 0x7F) << shift
            place += 1
            if byte < 0x80:
                break
            shift += 7
            if shift > 21:
                raise MalformedPacket("remaining length of more than four bytes")
        if length > self._max_bytes:
            raise MalformedPacket(f"packet of {length} bytes")
        end = place + length
        return (self._buffer[start], place, end) if end <= len(self._buffer) else None


class _Reader:
    """Reads the fields of one packet's body."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._place = 0

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def data(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        try:
            return self.data().decode()
        except UnicodeDecodeError as error:
            raise MalformedPacket("text that is not UTF-8") from error

    def take(self, count: int) -> bytes:
        part = self._body[self._place : self._place + count]
        if len(part) != count:
            raise MalformedPacket("packet shorter than its fields")
        self._place += count
        return part

    def rest(self) -> bytes:
        return self.take(len(self._body) - self._place)

    @property
    def done(self) -> bool:
        return self._place == len(self._body)


def _parse(header: int, body: bytes) -> Packet:
    kind, flags = header >> 4, header & 0x0F
    if kind == PUBLISH:
        return _publish(flags, body)
    if flags != (2 if kind in (SUBSCRIBE, UNSUBSCRIBE) else 0):
        raise MalformedPacket("reserved header flags are set")
    if kind not in _PARSERS:
        raise MalformedPacket(f"packet type {kind} is not for a server")
    return _PARSERS[kind](_Reader(body))


def _publish(flags: int, body: bytes) -> Publish:
    qos = flags >> 1 & 3
    if qos == 3:
        raise MalformedPacket("QoS 3")
    reader = _Reader(body)
    topic = reader.text()
    packet_id = reader.number() if qos else 0
    if qos and not packet_id:
        raise MalformedPacket("packet id 0")
    return Publish(topic, reader.rest(), qos, bool(flags & 1), bool(flags & 8), packet_id)


def _connect(reader: _Reader) -> Connect:
    if reader.text() != "MQTT":
        raise MalformedPacket("protocol name is not MQTT")
    level, flags, keep_alive = reader.byte(), reader.byte(), reader.number()
    if level != PROTOCOL_LEVEL:
        return Connect(level, "", clean_session=True, keep_alive=0, will=None, username=None, password=None)
    if flags & 1:
        raise MalformedPacket("reserved connect flag is set")
    client_id = reader.text()
    will = _will(flags, reader) if flags & 4 else None
    username = reader.text() if flags & 0x80 else None
    password = reader.data() if flags & 0x40 else None
    return Connect(level, client_id, bool(flags & 2), keep_alive, will, username, password)


def _will(flags: int, reader: _Reader) -> Will:
    qos = flags >> 3 & 3
    if qos == 3:
        raise MalformedPacket("will with QoS 3")
    topic = reader.text()
    return Will(topic, reader.data(), qos, bool(flags & 0x20))


def _subscribe(reader: _Reader) -> Subscribe:
    packet_id = reader.number()
    filters: list[tuple[str, int]] = []
    while not reader.done:
        topic_filter, qos = reader.text(), reader.byte()
        if qos > 2:
            raise MalformedPacket(f"requested QoS {qos}")
        filters.append((topic_filter, qos))
    if not filters or not packet_id:
        raise MalformedPacket("SUBSCRIBE without a filter or packet id")
    return Subscribe(packet_id, tuple(filters))


def _unsubscribe(reader: _Reader) -> Unsubscribe:
    packet_id = reader.number()
    filters: list[str] = []
    while not reader.done:
        filters.append(reader.text())
    if not filters or not packet_id:
        raise MalformedPacket("UNSUBSCRIBE without a filter or packet id")
    return Unsubscribe(packet_id, tuple(filters))


_PARSERS: dict[int, Callable[[_Reader], Packet]] = {
    CONNECT: _connect,
    PUBACK: lambda reader: PubAck(reader.number()),
    SUBSCRIBE: _subscribe,
    UNSUBSCRIBE: _unsubscribe,
    PINGREQ: lambda _: PingReq(),
    DISCONNECT: lambda _: Disconnect(),
}


def connack(code: int, *, session_present: bool = False) -> bytes:
    """CONNACK with its return code."""
    return bytes((CONNACK << 4, 2, session_present, code))


def puback(packet_id: int) -> bytes:
    return struct.pack(">BBH", PUBACK << 4, 2, packet_id)


def suback(packet_id: int, codes: tuple[int, ...]) -> bytes:
    return bytes((SUBACK << 4,)) + _length(2 + len(codes)) + struct.pack(">H", packet_id) + bytes(codes)


def unsuback(packet_id: int) -> bytes:
    return struct.pack(">BBH", UNSUBACK << 4, 2, packet_id)


def pingresp() -> bytes:
    return bytes((PINGRESP << 4, 0))


def publish(
    topic: str, payload: bytes, *, qos: int, retain: bool, packet_id: int, duplicate: bool = False
) -> bytes:
    """PUBLISH; `packet_id` counts at QoS 1 only."""
    name = topic.encode()
    header = PUBLISH << 4 | duplicate << 3 | qos << 1 | retain
    tail = struct.pack(">H", packet_id) if qos else b""
    length = _length(2 + len(name) + len(tail) + len(payload))
    return bytes((header,)) + length + struct.pack(">H", len(name)) + name + tail + payload


def _length(number: int) -> bytes:
    encoded = bytearray()
    while True:
        number, part = divmod(number, 128)
        encoded.append(part | (0x80 if number else 0))
        if not number:
            return bytes(encoded)
