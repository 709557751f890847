"""The persistent QoS 1 session over which the rules in another process get their messages.

It is no device: the gateway's limits, policies and metrics do not know it. Its user name is reserved, its password
is the platform's token, its client id does not matter; a new connection takes over from the one before.
"""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Protocol

from . import packets
from .gateway import FAILURE, NOT_AUTHORIZED
from .lane import Lane

PLATFORM_USER = "$thingstorm"
READ_BYTES = 65_536


class Reader(Protocol):
    async def read(self, n: int = -1) -> bytes: ...


class Writer(Protocol):
    """What the session needs of a stream writer."""

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None: ...

    def close(self) -> None: ...


class RulesSession:
    """Holds the lanes, and the one connection that reads them."""

    def __init__(self, lanes: Sequence[Lane], *, token: str) -> None:
        self.lanes = tuple(lanes)
        self._token = token.encode()
        self._writer: Writer | None = None
        self._packet_id = 0

    @property
    def connected(self) -> bool:
        return self._writer is not None

    def wants(self, connect: packets.Connect) -> bool:
        """Whether this CONNECT is for the platform's session."""
        return connect.username == PLATFORM_USER

    async def converse(
        self, connect: packets.Connect, *, reader: Reader, writer: Writer, parser: packets.Parser
    ) -> None:
        """Serve the connection to its end. Returns at once, refused, if the token is wrong."""
        if not secrets.compare_digest(connect.password or b"", self._token):
            writer.write(packets.connack(NOT_AUTHORIZED))
            return
        self._take_over(writer)
        try:
            writer.write(packets.connack(0, session_present=True))
            while data := await self._read(reader, connect.keep_alive):
                for packet in parser.feed(data):
                    if not self._take(packet, writer):
                        return
                await writer.drain()
        finally:
            self._leave(writer)

    def _take_over(self, writer: Writer) -> None:
        if self._writer is not None:
            self._writer.close()
        for lane in self.lanes:
            lane.detach()
        self._writer = writer

    def _leave(self, writer: Writer) -> None:
        if self._writer is writer:
            self._writer = None
            for lane in self.lanes:
                lane.detach()

    async def _read(self, reader: Reader, keep_alive: int) -> bytes:
        """The next bytes; empty at the end, and after one and a half keep-alives of silence."""
        try:
            async with asyncio.timeout(keep_alive * 1.5 if keep_alive else None):
                return await reader.read(READ_BYTES)
        except TimeoutError:
            return b""

    def _take(self, packet: packets.Packet, writer: Writer) -> bool:
        """Handle one packet; False if it ends the connection."""
        if isinstance(packet, packets.PubAck):
            for lane in self.lanes:
                lane.acknowledged(packet.packet_id)
        elif isinstance(packet, packets.PingReq):
            writer.write(packets.pingresp())
        elif isinstance(packet, packets.Subscribe):
            self._subscribe(packet, writer)
        else:
            return False
        return True

    def _subscribe(self, packet: packets.Subscribe, writer: Writer) -> None:
        known = {lane.topic: lane for lane in self.lanes}
        codes = tuple(1 if topic in known and qos else FAILURE for topic, qos in packet.filters)
        writer.write(packets.suback(packet.packet_id, codes))
        for (topic, _), code in zip(packet.filters, codes, strict=True):
            if code != FAILURE:
                known[topic].attach(self._send)

    def _send(self, topic: str, body: bytes, duplicate: bool) -> int:  # noqa: FBT001 - the shape of `Send`
        self._packet_id = self._packet_id % 65_535 + 1
        if self._writer is not None:
            self._writer.write(
                packets.publish(
                    topic, body, qos=1, retain=False, packet_id=self._packet_id, duplicate=duplicate
                )
            )
        return self._packet_id
