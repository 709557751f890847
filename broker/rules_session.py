"""The persistent QoS 1 session over which the rules in another process get their messages.

It is no device: the gateway's limits, policies and metrics do not know it. Its user name is reserved, its password
is the platform's token, its client id does not matter; a new connection takes over from the one before.
"""

import secrets
from collections.abc import Sequence
from typing import Protocol

from contracts.messages import SECOND, Nanoseconds

from . import packets
from .codes import CONNACK_3, FAILURE, NOT_AUTHORIZED
from .lane import Lane
from .packets import PUBACK

PLATFORM_USER = "$thingstorm"

SILENCE: Nanoseconds = 30 * SECOND
"""The rules' client pings every 10 s (`broker/remote.py`)."""


class Line(Protocol):
    """The conversation that the session is served on."""

    def send(self, frame: bytes) -> None: ...


class RulesSession:
    """Holds the lanes, and the one connection that reads them."""

    silence = SILENCE

    def __init__(self, lanes: Sequence[Lane], *, token: str) -> None:
        self.lanes = tuple(lanes)
        self._token = token.encode()
        self._line: Line | None = None
        self._packet_id = 0

    @property
    def connected(self) -> bool:
        return self._line is not None

    def wants(self, connect: packets.Connect) -> bool:
        """Whether this CONNECT is for the platform's session."""
        return connect.username == PLATFORM_USER

    def serves(self, line: object) -> bool:
        """Whether this conversation is the platform's."""
        return self._line is line

    def greet(self, connect: packets.Connect, line: Line) -> bool:
        """Take over from an earlier connection; refuses a wrong token."""
        if not secrets.compare_digest(connect.password or b"", self._token):
            line.send(packets.connack(CONNACK_3[NOT_AUTHORIZED]))
            return False
        self._detach()
        self._line = line
        line.send(packets.connack(0, session_present=True))
        return True

    def take(self, packet: packets.Packet, line: Line) -> bool:
        """Handle one packet; False if it ends the connection."""
        if isinstance(packet, packets.Acknowledgement) and packet.kind == PUBACK:
            for lane in self.lanes:
                lane.acknowledged(packet.packet_id)
        elif isinstance(packet, packets.PingReq):
            line.send(packets.PINGRESP_BYTES)
        elif isinstance(packet, packets.Subscribe):
            self._subscribe(packet, line)
        else:
            return False
        return True

    def left(self, line: object) -> None:
        """The conversation is over."""
        if self._line is line:
            self._line = None
            self._detach()

    def _detach(self) -> None:
        for lane in self.lanes:
            lane.detach()

    def _subscribe(self, packet: packets.Subscribe, line: Line) -> None:
        known = {lane.topic: lane for lane in self.lanes}
        codes = tuple(1 if one.name in known and one.qos else FAILURE for one in packet.filters)
        line.send(packets.suback(packet.packet_id, codes))
        for one, code in zip(packet.filters, codes, strict=True):
            if code != FAILURE:
                known[one.name].attach(self._send)

    def _send(self, topic: str, body: bytes, duplicate: bool) -> int:  # noqa: FBT001 - the shape of `Send`
        self._packet_id = self._packet_id % 65_535 + 1
        if self._line is not None:
            self._line.send(
                packets.publish(
                    topic, body, qos=1, retain=False, packet_id=self._packet_id, duplicate=duplicate
                )
            )
        return self._packet_id
