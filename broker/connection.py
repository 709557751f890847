"""One client's connection: reads packets, asks the gateway, writes answers. Knows streams, decides nothing."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from contracts.clock import Clock
from contracts.messages import Message

from . import packets
from .gateway import (
    NOT_AUTHORIZED,
    Accepted,
    Close,
    ConnectRequest,
    Discarded,
    DisconnectReason,
    Gateway,
    Refused,
    Session,
)
from .rules_session import RulesSession

CONNECT_SECONDS = 10.0
"""A socket that has not sent its CONNECT by then is closed: it costs a descriptor."""

READ_BYTES = 65_536
MAX_IN_FLIGHT = 100
"""Unacknowledged QoS 1 messages out on a connection, as AWS IoT Core allows; later ones wait."""

MAX_WAITING = 1_000
"""QoS 1 messages waiting for a place in flight; beyond it the oldest is dropped and counted."""

MAX_UNSENT = 1024 * 1024
"""Bytes waiting for a slow reader; beyond it QoS 0 is dropped and QoS 1 waits."""

UNACCEPTABLE_LEVEL = 1
"""CONNACK return code for another protocol level than 3.1.1."""


class Reader(Protocol):
    async def read(self, n: int = -1) -> bytes: ...


class Writer(Protocol):
    """What a connection needs of a stream writer."""

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None: ...

    def close(self) -> None: ...

    def unsent(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Seams:
    """What a connection hands on: accepted messages (awaited: back-pressure), sessions come and gone, retained."""

    accept: Callable[[Message], Awaitable[None]]
    opened: Callable[["Connection"], None]
    closed: Callable[["Connection"], None]
    subscribed: Callable[["Connection", str, int], None]
    principal: Callable[[packets.Connect], str]
    platform: RulesSession | None = None


class Connection:
    """Runs from the first byte to the end of the socket."""

    def __init__(
        self, reader: Reader, writer: Writer, *, source_ip: str, gateway: Gateway, clock: Clock, seams: Seams
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._source_ip = source_ip
        self._gateway = gateway
        self._clock = clock
        self._seams = seams
        self._parser = packets.Parser(max_bytes=gateway.limits.payload_bytes + 65_536 + 10)
        self._will: packets.Will | None = None
        self._packet_id = 0
        self._in_flight: set[int] = set()
        self._waiting: deque[tuple[Message, bool]] = deque()
        self._ended = False
        self.session: Session | None = None
        self.dropped = 0

    async def serve(self) -> None:
        """Return when the connection is over and its socket closed."""
        reason: DisconnectReason = "CONNECTION_LOST"
        try:
            reason = await self._converse()
        except packets.MalformedPacket:
            reason = "CLIENT_ERROR"
        except (ConnectionError, OSError):
            reason = "CONNECTION_LOST"
        except asyncio.CancelledError:
            reason = "SERVER_INITIATED_DISCONNECT"
            raise
        finally:
            await self._finish(reason)

    def kick(self) -> None:
        """Close the socket now; the session has been ended by whoever asks."""
        self._ended = True
        self._writer.close()

    def deliver(self, message: Message, qos: int, *, retained: bool = False) -> None:
        """Send a message to this subscriber, or keep or drop it where the client is slow."""
        if self.session is None or self._ended:
            return
        if qos == 0:
            if self._writer.unsent() > MAX_UNSENT:
                self.dropped += 1
                return
            self._send(message, 0, 0, retained=retained)
        elif len(self._in_flight) >= MAX_IN_FLIGHT or self._writer.unsent() > MAX_UNSENT:
            self._wait(message, retained=retained)
        else:
            self._send_acknowledged(message, retained=retained)

    async def _converse(self) -> DisconnectReason:
        async with asyncio.timeout(CONNECT_SECONDS):
            first = await self._first_packets()
        if not first or not isinstance(first[0], packets.Connect):
            return "CLIENT_ERROR"
        if await self._is_platform(first[0]) or not await self._connect(first[0]):
            return "CLIENT_ERROR"
        waiting = first[1:]
        while self.session is not None:
            for packet in waiting:
                if (reason := await self._take(packet)) is not None:
                    return reason
            await self._writer.drain()
            data = await self._read(self.session.keep_alive)
            if data is None:
                return "MQTT_KEEP_ALIVE_TIMEOUT"
            if not data:
                return "CONNECTION_LOST"
            waiting = self._parser.feed(data)
        return "CONNECTION_LOST"

    async def _is_platform(self, connect: packets.Connect) -> bool:
        """The rules' own session is served here to its end; it is no device, so nothing follows."""
        platform = self._seams.platform
        if platform is None or not platform.wants(connect):
            return False
        await platform.converse(connect, reader=self._reader, writer=self._writer, parser=self._parser)
        return True

    async def _first_packets(self) -> list[packets.Packet]:
        while data := await self._reader.read(READ_BYTES):
            if found := self._parser.feed(data):
                return found
        return []

    async def _read(self, keep_alive: int) -> bytes | None:
        """The next bytes, empty at the end; None if the client was silent for one and a half keep-alives."""
        try:
            async with asyncio.timeout(keep_alive * 1.5 if keep_alive else None):
                return await self._reader.read(READ_BYTES)
        except TimeoutError:
            return None

    async def _connect(self, packet: packets.Connect) -> bool:
        if packet.level != packets.PROTOCOL_LEVEL:
            self._writer.write(packets.connack(UNACCEPTABLE_LEVEL))
            return False
        request = ConnectRequest(
            client_id=packet.client_id,
            principal=self._seams.principal(packet),
            source_ip=self._source_ip,
            keep_alive=packet.keep_alive,
        )
        decision = self._gateway.connect(request, self._clock.now())
        if isinstance(decision, Refused):
            self._writer.write(packets.connack(decision.code))
            return False
        self.session = decision.session
        self._will = packet.will
        self._seams.opened(self)
        self._writer.write(packets.connack(0))
        return True

    async def _take(self, packet: packets.Packet) -> DisconnectReason | None:
        """Handle one packet; a reason if it ends the connection."""
        if isinstance(packet, packets.Publish):
            return await self._publish(packet)
        if isinstance(packet, packets.PubAck):
            self._acknowledged(packet.packet_id)
        elif isinstance(packet, packets.Subscribe):
            return self._subscribe(packet)
        elif isinstance(packet, packets.Unsubscribe):
            self._unsubscribe(packet)
        elif isinstance(packet, packets.PingReq):
            self._writer.write(packets.pingresp())
        elif isinstance(packet, packets.Disconnect):
            self._will = None
            return "CLIENT_INITIATED_DISCONNECT"
        else:
            return "CLIENT_ERROR"  # a second CONNECT
        return None

    async def _publish(self, packet: packets.Publish) -> DisconnectReason | None:
        if self.session is None or self._ended:
            return "CONNECTION_LOST"
        decision = self._gateway.publish(
            self.session,
            topic=packet.topic,
            payload=packet.payload,
            qos=packet.qos,
            retain=packet.retain,
            now=self._clock.now(),
        )
        if isinstance(decision, Close):
            return decision.reason
        if isinstance(decision, Accepted):
            await self._seams.accept(decision.message)
        if packet.qos and not isinstance(decision, Discarded):
            self._writer.write(packets.puback(packet.packet_id))
        return None

    def _subscribe(self, packet: packets.Subscribe) -> DisconnectReason | None:
        if self.session is None:
            return "CONNECTION_LOST"
        codes = self._gateway.subscribe(self.session, packet.filters, self._clock.now())
        if isinstance(codes, Close):
            return codes.reason
        self._writer.write(packets.suback(packet.packet_id, codes))
        for (topic_filter, _), code in zip(packet.filters, codes, strict=True):
            if code <= 1:
                self._seams.subscribed(self, topic_filter, code)
        return None

    def _unsubscribe(self, packet: packets.Unsubscribe) -> None:
        if self.session is not None:
            self._gateway.unsubscribe(self.session, packet.filters, self._clock.now())
        self._writer.write(packets.unsuback(packet.packet_id))

    def _acknowledged(self, packet_id: int) -> None:
        self._in_flight.discard(packet_id)
        while self._waiting and len(self._in_flight) < MAX_IN_FLIGHT and self._writer.unsent() <= MAX_UNSENT:
            message, retained = self._waiting.popleft()
            self._send_acknowledged(message, retained=retained)

    def _wait(self, message: Message, *, retained: bool) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append((message, retained))

    def _send_acknowledged(self, message: Message, *, retained: bool) -> None:
        self._packet_id = self._packet_id % 65_535 + 1
        self._in_flight.add(self._packet_id)
        self._send(message, 1, self._packet_id, retained=retained)

    def _send(self, message: Message, qos: int, packet_id: int, *, retained: bool = False) -> None:
        self._writer.write(
            packets.publish(message.topic, message.payload, qos=qos, retain=retained, packet_id=packet_id)
        )
        if self.session is not None:
            self._gateway.delivered(self.session)

    async def _finish(self, reason: DisconnectReason) -> None:
        self._ended = True
        if self.session is not None:
            session, self.session = self.session, None
            lost = self._gateway.session(session.client_id) is session
            will = self._will if lost and reason != "CLIENT_INITIATED_DISCONNECT" else None
            if will is not None:
                await self._publish_will(session, will)
            self._gateway.disconnect(session, reason, self._clock.now())
            self._seams.closed(self)
        self._writer.close()

    async def _publish_will(self, session: Session, will: packets.Will) -> None:
        decision = self._gateway.publish(
            session,
            topic=will.topic,
            payload=will.payload,
            qos=will.qos,
            retain=will.retain,
            now=self._clock.now(),
        )
        if isinstance(decision, Accepted):
            await self._seams.accept(decision.message)


__all__ = ["NOT_AUTHORIZED", "Connection", "Reader", "Seams", "Writer"]
