"""What transports on real sockets have in common: connections by device id, and how they come and go.

One timer for all of them does the housekeeping (keep-alive). What speaks MQTT on a socket is a `Link`.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from contracts.errors import BackendError
from contracts.ports import Gauge

from ..device import Reading
from ..lines import LineAction
from .base import Callbacks, Loss
from .dial import Dial, SocketAddress, resolve
from .raw_lines import RawLines

MISC_SECONDS = 1.0
CONNECTS_A_TURN = 20
"""Connects between two turns of the event loop: some 5 ms."""

CONNECTING_AT_ONCE = 64
"""Dialling or waiting for CONNACK. A broker's queue of new connections is often 100 long: a SYN that finds it full
is sent again only after a second."""

ANSWER_SECONDS = 10.0
"""TCP connect and CONNACK: a broker that is asked by 1,000 devices at once needs 1 to 2 s."""

MAX_IN_FLIGHT = 100
"""QoS 1 readings sent and not acknowledged, as AWS IoT Core allows a connection."""

LAST_WRITE_SECONDS = 1.0
"""For what is handed over when a connection is closed in order."""

FILTERS_A_SUBSCRIBE = 8
"""AWS IoT Core takes eight topic filters in one SUBSCRIBE."""


class Link(Protocol):
    """A connection from its TCP connect to its end; a device that comes back gets a new one.

    It tells its owner on a later turn of the loop, except of acknowledgements, and nothing once it is closed from
    this side.
    """

    device_id: str
    admitted: bool
    since: float

    def start(self, host: str, port: int) -> None:
        """Send CONNECT."""
        ...

    def publish(self, reading: Reading) -> bool:
        """Take a reading for sending; False if it is not connected or has enough to send already."""
        ...

    def subscribe(self, filters: Sequence[str]) -> None:
        """Ask for these besides; whether they are granted shows in what comes."""
        ...

    @property
    def wants_to_write(self) -> bool:
        """Whether something is still to leave."""
        ...

    def take_unacknowledged(self) -> tuple[Reading, ...]:
        """What was handed over and not acknowledged, oldest first; nobody waits for it here any more."""
        ...

    def disconnect(self) -> None:
        """Send DISCONNECT behind everything handed over, and close; after LAST_WRITE_SECONDS at the latest."""
        ...

    def drop(self) -> None:
        """Close the socket without a word."""
        ...

    def look_after(self) -> None:
        """Keep-alive; about once a second."""
        ...


class LinkOwner(Protocol):
    """Whom a link tells."""

    def link_up(self, link: Link) -> None: ...

    def link_down(self, link: Link) -> None: ...

    def link_writable(self, link: Link) -> None: ...

    def link_acknowledged(self, link: Link, reading: Reading) -> None: ...

    def link_message(self, link: Link, topic: str, payload: bytes) -> None: ...


class MakeLink(Protocol):
    """Makes the link of a device on a socket that is connected."""

    def __call__(
        self, owner: LinkOwner, *, device_id: str, listens: Sequence[str], sock: socket.socket
    ) -> Link: ...


class SocketTransport:
    """Connections by device id: about to be opened, being opened, or linked."""

    def __init__(self, *, host: str, port: int, callbacks: Callbacks, make_link: MakeLink) -> None:
        self._callbacks = callbacks
        self._make_link = make_link
        self._host = host
        self._port = port
        self._addresses: deque[SocketAddress] = deque()
        self._asked: dict[str, Sequence[str]] = {}
        self._queue: deque[str] = deque()
        self._connecting: set[str] = set()
        self._dials: dict[str, Dial] = {}
        self._links: dict[str, Link] = {}
        self._acknowledged = 0
        self._in_flight = 0
        self._in_flight_highest = 0
        self._lines = RawLines()
        self._pump: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Look the host up. Raises BackendError."""
        try:
            self._addresses.extend(await resolve(self._host, self._port))
        except OSError as error:
            raise BackendError(
                f"there is no host {self._host}: {error}", fix="correct the address of the broker"
            ) from None
        self._timer = asyncio.get_running_loop().call_later(MISC_SECONDS, self._tick)

    def connect(self, device_id: str, listens: Sequence[str]) -> None:
        """Begin to connect, when its turn comes: CONNECTS_A_TURN in one turn of the loop, CONNECTING_AT_ONCE in all.

        A device that comes back gets a fresh link: what the last one had not got acknowledged was given back.
        """
        if device_id in self._asked or device_id in self._links:
            return
        self._asked[device_id] = listens
        self._queue.append(device_id)
        self._pump_soon()

    def publish(self, device_id: str, reading: Reading) -> bool:
        """Hand a reading to the device's link; False if it cannot take it."""
        link = self._links.get(device_id)
        if link is None or not link.publish(reading):
            return False
        self._in_flight += reading.qos
        self._in_flight_highest = max(self._in_flight_highest, self._in_flight)
        return True

    def disconnect(self, device_id: str) -> None:
        """Send DISCONNECT and close."""
        self._forget_dial(device_id)
        link = self._links.pop(device_id, None)
        if link is not None:
            link.disconnect()
            self._take_back(link)

    def drop(self, device_id: str) -> Sequence[Reading]:
        """Close the socket; see `Transport.drop`."""
        self._forget_dial(device_id)
        link = self._links.pop(device_id, None)
        if link is None:
            return ()
        link.drop()
        return self._take_back(link)

    def subscribe(self, device_id: str, filters: Sequence[str]) -> None:
        """Ask for more topic filters."""
        if (link := self._links.get(device_id)) is not None:
            link.subscribe(filters)

    def line(self, action: LineAction) -> None:
        """Do something on a connection that is no device's."""
        self._lines.act(action, self._addresses[0])

    def in_flight(self) -> Gauge:
        """Handed over and not acknowledged, over all links."""
        capacity = MAX_IN_FLIGHT * len(self._links)
        return Gauge("in_flight", self._in_flight, capacity, self._in_flight_highest)

    def acknowledged(self) -> int:
        """Acknowledged so far."""
        return self._acknowledged

    async def close(self) -> None:
        """Disconnect every device and give the last packets time to leave."""
        if self._timer is not None:
            self._timer.cancel()
        self._queue.clear()
        if self._pump is not None:
            self._pump.cancel()
        self._lines.close()
        for device_id in list(self._asked):
            self._forget_dial(device_id)
        links = list(self._links.values())
        for link in links:
            self.disconnect(link.device_id)
        loop = asyncio.get_running_loop()
        until = loop.time() + LAST_WRITE_SECONDS
        while any(link.wants_to_write for link in links) and loop.time() < until:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(0.01)
        for link in links:
            link.drop()

    def link_up(self, link: Link) -> None:
        """The broker let a device in."""
        if self._links.get(link.device_id) is link:
            self._connect_is_over(link.device_id)
            self._callbacks.connected(link.device_id)

    def link_down(self, link: Link) -> None:
        """The broker refused a device, or its connection broke."""
        if self._links.get(link.device_id) is link:
            del self._links[link.device_id]
            self._connect_is_over(link.device_id)
            why: Loss = "lost" if link.admitted else "refused"
            self._callbacks.lost(link.device_id, why, self._take_back(link))

    def link_writable(self, link: Link) -> None:
        """A connection that could not take a reading can take some now."""
        if self._links.get(link.device_id) is link:
            self._callbacks.writable(link.device_id)

    def link_message(self, link: Link, topic: str, payload: bytes) -> None:
        """Something came to a device."""
        if self._links.get(link.device_id) is link:
            self._callbacks.message(link.device_id, topic, payload)

    def link_acknowledged(self, link: Link, reading: Reading) -> None:
        """The broker acknowledged a QoS 1 reading."""
        self._acknowledged += 1
        self._in_flight -= 1
        self._callbacks.acknowledged(link.device_id, reading)

    def _pump_soon(self) -> None:
        if self._pump is None and self._queue and len(self._connecting) < CONNECTING_AT_ONCE:
            self._pump = asyncio.get_running_loop().call_soon(self._dial_some)

    def _dial_some(self) -> None:
        self._pump = None
        room = CONNECTING_AT_ONCE - len(self._connecting)
        for _ in range(min(CONNECTS_A_TURN, room, len(self._queue))):
            self._dial(self._queue.popleft())
        self._pump_soon()

    def _connect_is_over(self, device_id: str) -> None:
        """However it went: the next one's turn."""
        self._connecting.discard(device_id)
        self._pump_soon()

    def _dial(self, device_id: str) -> None:
        if device_id not in self._asked or device_id in self._dials:
            return
        self._connecting.add(device_id)
        address = self._addresses[0]
        self._dials[device_id] = Dial(
            address, timeout=ANSWER_SECONDS, opened=lambda sock: self._dialled(device_id, address, sock)
        )

    def _dialled(self, device_id: str, address: SocketAddress, sock: socket.socket | None) -> None:
        del self._dials[device_id]
        listens = self._asked.pop(device_id)
        if sock is None:
            self._connect_is_over(device_id)
            if self._addresses[0] == address:  # localhost has two, and a broker may listen at one
                self._addresses.rotate(-1)
            self._callbacks.lost(device_id, "unreachable", ())
            return
        link = self._links[device_id] = self._make_link(self, device_id=device_id, listens=listens, sock=sock)
        link.start(self._host, self._port)

    def _take_back(self, link: Link) -> Sequence[Reading]:
        readings = link.take_unacknowledged()
        self._in_flight -= len(readings)
        return readings

    def _forget_dial(self, device_id: str) -> None:
        self._asked.pop(device_id, None)
        self._connect_is_over(device_id)
        dial = self._dials.pop(device_id, None)
        if dial is not None:
            dial.cancel()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        for link in list(self._links.values()):
            link.look_after()
            if not link.admitted and loop.time() - link.since > ANSWER_SECONDS:
                self._give_up(link)
        self._timer = loop.call_later(MISC_SECONDS, self._tick)

    def _give_up(self, link: Link) -> None:
        """TCP is open and no CONNACK came."""
        if self._links.get(link.device_id) is link:
            self.drop(link.device_id)
            self._callbacks.lost(link.device_id, "unreachable", ())
