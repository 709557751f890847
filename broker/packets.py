"""MQTT packets of 3.1.1 and 5: bytes in, values out, and back. No sockets.

Source: OASIS MQTT Version 3.1.1 and Version 5.0, chapters 2 and 3. Only what a server reads and writes is here.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from contracts.messages import PublishProperties

from . import properties
from .codes import UNSUPPORTED_VERSION
from .properties import Properties
from .wire import PROTOCOL_ERROR, FieldReader, MalformedPacket, variable
from .wire import text as text_field

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(8, 16)

V3, V5 = 4, 5
"""Protocol levels of MQTT 3.1.1 and MQTT 5."""


@dataclass(frozen=True, slots=True)
class Will:
    """What the server publishes when the connection is lost, `delay` seconds later."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    delay: int = 0
    properties: PublishProperties | None = None


@dataclass(frozen=True, slots=True)
class Connect:
    """A CONNECT of either version: who asks to come in, with which session, keep-alive and will."""

    level: int
    client_id: str
    clean_start: bool
    keep_alive: int
    will: Will | None = None
    username: str | None = None
    password: bytes | None = None
    properties: Properties = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Publish:
    """A PUBLISH, in or out; `packet_id` is 0 at QoS 0."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    duplicate: bool
    packet_id: int
    properties: Properties = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """PUBACK, PUBREC, PUBREL or PUBCOMP, as `kind` says."""

    kind: int
    packet_id: int
    code: int = 0


@dataclass(frozen=True, slots=True)
class Filter:
    """One entry of a SUBSCRIBE with its options; those of MQTT 3.1.1 are the defaults."""

    name: str
    qos: int
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


@dataclass(frozen=True, slots=True)
class Subscribe:
    """A SUBSCRIBE; `identifier` is its MQTT 5 subscription identifier, 0 without one."""

    packet_id: int
    filters: tuple[Filter, ...]
    identifier: int = 0


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """An UNSUBSCRIBE and its filters."""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PingReq:
    """A PINGREQ, which says nothing but that the client lives."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """A DISCONNECT; in MQTT 5 with a reason code, and perhaps seconds that the session shall last from now on."""

    code: int = 0
    session_expiry: int | None = None


Packet: TypeAlias = Connect | Publish | Acknowledgement | Subscribe | Unsubscribe | PingReq | Disconnect


def parse(header: int, body: bytes, *, level: int) -> Packet:
    """One packet of a client that speaks `level`. Raises MalformedPacket."""
    kind, flags = header >> 4, header & 0x0F
    if kind == PUBLISH:
        return _publish(flags, body, level)
    if flags != (2 if kind in (SUBSCRIBE, UNSUBSCRIBE, PUBREL) else 0):
        raise MalformedPacket("reserved header flags are set")
    if PUBACK <= kind <= PUBCOMP:
        return _acknowledgement(kind, FieldReader(body), level)
    if kind not in _PARSERS:
        raise MalformedPacket(f"packet type {kind} is not for a server", code=PROTOCOL_ERROR)
    return _PARSERS[kind](FieldReader(body), level)


def _publish(flags: int, body: bytes, level: int) -> Publish:
    qos = flags >> 1 & 3
    duplicate = bool(flags & 8)
    if qos == 3 or (duplicate and not qos):
        raise MalformedPacket("QoS 3, or a duplicate at QoS 0")
    reader = FieldReader(body)
    topic = reader.text()
    packet_id = _packet_id(reader) if qos else 0
    found = properties.read(reader, "PUBLISH") if level == V5 else {}
    return Publish(topic, reader.rest(), qos, bool(flags & 1), duplicate, packet_id, found)


def _packet_id(reader: FieldReader) -> int:
    packet_id = reader.two()
    if not packet_id:
        raise MalformedPacket("packet id 0", code=PROTOCOL_ERROR)
    return packet_id


def _acknowledgement(kind: int, reader: FieldReader, level: int) -> Acknowledgement:
    packet_id = _packet_id(reader)
    code = 0
    if level == V5 and not reader.done:
        code = reader.byte()
        properties.read_optional(reader, "acknowledgement")
    reader.end()
    return Acknowledgement(kind, packet_id, code)


def _connect(reader: FieldReader, _level: int) -> Connect:
    name, level = reader.text(), reader.byte()
    if name != "MQTT" or level not in (V3, V5):
        raise MalformedPacket(f"protocol {name[:20]} level {level}", code=UNSUPPORTED_VERSION)
    flags, keep_alive = reader.byte(), reader.two()
    _check_connect_flags(flags, level)
    found = properties.read(reader, "CONNECT") if level == V5 else {}
    client_id = reader.text()
    will = _will(flags, reader, level) if flags & 4 else None
    username = reader.text() if flags & 0x80 else None
    password = reader.data() if flags & 0x40 else None
    reader.end()
    return Connect(level, client_id, bool(flags & 2), keep_alive, will, username, password, found)


def _check_connect_flags(flags: int, level: int) -> None:
    if flags & 1:
        raise MalformedPacket("reserved connect flag is set")
    if not flags & 4 and flags & 0x38:
        raise MalformedPacket("flags of a will without a will")
    if level == V3 and flags & 0x40 and not flags & 0x80:
        raise MalformedPacket("password without a user name")


def _will(flags: int, reader: FieldReader, level: int) -> Will:
    qos = flags >> 3 & 3
    if qos == 3:
        raise MalformedPacket("will with QoS 3")
    found = properties.read(reader, "will") if level == V5 else {}
    topic = reader.text()
    return Will(
        topic,
        reader.data(),
        qos,
        bool(flags & 0x20),
        found.get("will_delay", 0),
        properties.of_message(found),
    )


def _subscribe(reader: FieldReader, level: int) -> Subscribe:
    packet_id = _packet_id(reader)
    found = properties.read(reader, "SUBSCRIBE") if level == V5 else {}
    identifiers = found.get("subscription_identifier", (0,))
    filters: list[Filter] = []
    while not reader.done:
        filters.append(_filter(reader.text(), reader.byte(), level))
    if not filters or len(identifiers) > 1:
        raise MalformedPacket("SUBSCRIBE without a filter, or with two identifiers", code=PROTOCOL_ERROR)
    return Subscribe(packet_id, tuple(filters), identifiers[0])


def _filter(name: str, options: int, level: int) -> Filter:
    qos, handling = options & 3, options >> 4 & 3
    if qos == 3 or handling == 3 or options & (0xC0 if level == V5 else 0xFC):
        raise MalformedPacket(f"subscription options {options:#x}", code=PROTOCOL_ERROR)
    if options & 4 and name.startswith("$share/"):
        raise MalformedPacket("no local on a shared subscription", code=PROTOCOL_ERROR)
    return Filter(name, qos, bool(options & 4), bool(options & 8), handling)


def _unsubscribe(reader: FieldReader, level: int) -> Unsubscribe:
    packet_id = _packet_id(reader)
    if level == V5:
        properties.read(reader, "UNSUBSCRIBE")
    filters: list[str] = []
    while not reader.done:
        filters.append(reader.text())
    if not filters:
        raise MalformedPacket("UNSUBSCRIBE without a filter", code=PROTOCOL_ERROR)
    return Unsubscribe(packet_id, tuple(filters))


def _pingreq(reader: FieldReader, _level: int) -> PingReq:
    reader.end()
    return PingReq()


def _disconnect(reader: FieldReader, level: int) -> Disconnect:
    code = 0
    found: Properties = {}
    if level == V5 and not reader.done:
        code = reader.byte()
        found = properties.read_optional(reader, "DISCONNECT")
    reader.end()
    return Disconnect(code, found.get("session_expiry"))


_PARSERS: dict[int, Callable[[FieldReader, int], Packet]] = {
    CONNECT: _connect,
    SUBSCRIBE: _subscribe,
    UNSUBSCRIBE: _unsubscribe,
    PINGREQ: _pingreq,
    DISCONNECT: _disconnect,
}

PINGRESP_BYTES = bytes((PINGRESP << 4, 0))


def _packet(kind: int, body: bytes) -> bytes:
    return bytes((kind << 4,)) + variable(len(body)) + body


def connack(
    code: int, *, level: int = V3, session_present: bool = False, told: list[tuple[str, Any]] | None = None
) -> bytes:
    """CONNACK; `told` are its properties, which MQTT 5 alone has."""
    more = properties.write(told or ()) if level == V5 else b""
    return _packet(CONNACK, bytes((session_present, code)) + more)


def acknowledgement(kind: int, packet_id: int, *, level: int = V3, code: int = 0) -> bytes:
    """PUBACK, PUBREC, PUBREL, PUBCOMP; only MQTT 5 tells a code."""
    header = kind << 4 | (2 if kind == PUBREL else 0)
    if level == V5 and code:
        return struct.pack(">BBHB", header, 3, packet_id, code)
    return struct.pack(">BBH", header, 2, packet_id)


def suback(packet_id: int, codes: tuple[int, ...], *, level: int = V3) -> bytes:
    """The SUBACK with a code for each filter, in the SUBSCRIBE's order."""
    none = b"\0" if level == V5 else b""
    return _packet(SUBACK, struct.pack(">H", packet_id) + none + bytes(codes))


def unsuback(packet_id: int, codes: tuple[int, ...] = (), *, level: int = V3) -> bytes:
    """The UNSUBACK; MQTT 3.1.1 has no codes in it."""
    told = b"\0" + bytes(codes) if level == V5 else b""
    return _packet(UNSUBACK, struct.pack(">H", packet_id) + told)


def disconnect(code: int, *, reason: str = "") -> bytes:
    """The server's DISCONNECT, which MQTT 5 alone has."""
    return _packet(DISCONNECT, bytes((code,)) + properties.write([("reason", reason or None)]))


def publish(
    topic: str,
    payload: bytes,
    *,
    qos: int,
    retain: bool,
    packet_id: int,
    duplicate: bool = False,
    told: bytes = b"",
) -> bytes:
    """PUBLISH; `packet_id` counts above QoS 0 only; `told` are its properties, already written."""
    name = text_field(topic)
    header = PUBLISH << 4 | duplicate << 3 | qos << 1 | retain
    tail = struct.pack(">H", packet_id) + told if qos else told
    return b"".join((bytes((header,)), variable(len(name) + len(tail) + len(payload)), name, tail, payload))
