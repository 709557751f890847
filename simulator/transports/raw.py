"""Bare sockets that speak just enough MQTT: for floods, where a client library would be the bottleneck.

What is published in one turn of the event loop leaves in one write a connection.
"""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress

from .. import wire
from ..device import Reading
from .base import Callbacks
from .sockets import FILTERS_A_SUBSCRIBE, LAST_WRITE_SECONDS, MAX_IN_FLIGHT, LinkOwner, SocketTransport

READ_BYTES = 64 * 1024
MAX_UNSENT = 256 * 1024
"""Bytes that wait for one connection's socket, and one packet more: some 1,000 readings."""


class RawTransport(SocketTransport):
    """As PahoTransport in everything that a scenario can tell, at a fraction of its work a message."""

    def __init__(self, *, host: str, port: int, callbacks: Callbacks) -> None:
        super().__init__(host=host, port=port, callbacks=callbacks, make_link=RawLink)


class RawLink:
    """One connection; see `Link`."""

    def __init__(
        self, owner: LinkOwner, *, device_id: str, listens: Sequence[str], sock: socket.socket
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.device_id = device_id
        self.admitted = False
        self.since = self._heard = self._said = self._loop.time()
        self._owner = owner
        self._listens = listens
        self._socket: socket.socket | None = sock
        self._reader = wire.Reader()
        self._unsent = bytearray()
        self._flush_is_due = False
        self._socket_is_full = False
        self._pinged = False
        self._refused_some = False
        self._over = False
        self._packet_id = 0
        self._waiting: dict[int, Reading] = {}

    def start(self, host: str, port: int) -> None:
        """Send CONNECT; the socket is connected to the address already."""
        _ = host, port
        if self._socket is not None:
            self._loop.add_reader(self._socket, self._read)
        self._put(wire.connect(self.device_id))

    def publish(self, reading: Reading) -> bool:
        """See `Link.publish`."""
        if not self.admitted or self._over or self._is_full(reading.qos):
            self._refused_some = True
            return False
        packet_id = self._next_id() if reading.qos else 0
        if packet_id:
            self._waiting[packet_id] = reading
        self._put(wire.publish(reading.topic, reading.payload, packet_id=packet_id, retain=reading.retain))
        return True

    def subscribe(self, filters: Sequence[str]) -> None:
        """See `Link.subscribe`."""
        if self.admitted and not self._over:
            for first in range(0, len(filters), FILTERS_A_SUBSCRIBE):
                part = filters[first : first + FILTERS_A_SUBSCRIBE]
                self._put(wire.subscribe(part, packet_id=self._next_id()))

    @property
    def wants_to_write(self) -> bool:
        """Until the broker closed its side: to close before would throw away what it has not read yet."""
        return self._socket is not None

    def take_unacknowledged(self) -> tuple[Reading, ...]:
        """See `Link.take_unacknowledged`."""
        readings = tuple(self._waiting.values())
        self._waiting.clear()
        return readings

    def disconnect(self) -> None:
        """See `Link.disconnect`."""
        if not self._over:
            self._over = True
            self._put(wire.DISCONNECT)
            self._loop.call_later(LAST_WRITE_SECONDS, self._close)

    def drop(self) -> None:
        """See `Link.drop`."""
        self._over = True
        self._close()

    def look_after(self) -> None:
        """Ping when one side was silent for the keep-alive time; a ping that is not answered is a broken line."""
        now = self._loop.time()
        if self._over or now - min(self._heard, self._said) < wire.KEEP_ALIVE_SECONDS:
            return
        if not self._pinged:
            self._pinged = True
            self._heard = now
            self._put(wire.PINGREQ)
        elif now - self._heard >= wire.KEEP_ALIVE_SECONDS:
            self._break()

    def _is_full(self, qos: int) -> bool:
        if len(self._unsent) >= MAX_UNSENT:
            return True
        return len(self._waiting) >= MAX_IN_FLIGHT if qos else self._socket_is_full

    def _next_id(self) -> int:
        self._packet_id = self._packet_id % 65_535 + 1
        while self._packet_id in self._waiting:
            self._packet_id = self._packet_id % 65_535 + 1
        return self._packet_id

    def _put(self, packet: bytes) -> None:
        self._unsent += packet
        if not self._flush_is_due and not self._socket_is_full:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        if self._socket is None:
            return
        try:
            del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass  # all of it waits: `_watch_for_room` below
        except OSError:
            self._break()
            return
        self._said = self._loop.time()
        self._watch_for_room(self._socket)

    def _watch_for_room(self, sock: socket.socket) -> None:
        full = bool(self._unsent)
        if full and not self._socket_is_full:
            self._loop.add_writer(sock, self._flush)
        elif self._socket_is_full and not full:
            self._loop.remove_writer(sock)
        self._socket_is_full = full
        if full:
            return
        if self._over:
            with suppress(OSError):  # it is closed next, either way
                sock.shutdown(socket.SHUT_WR)
        else:
            self._tell_writable()

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES) if self._socket is not None else b""
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._break()
        elif not self._over:
            self._heard = self._loop.time()
            self._pinged = False
            for event in self._reader.feed(data):
                self._take(event)

    def _take(self, event: wire.Event) -> None:
        if isinstance(event, wire.Acknowledged):
            self._acknowledged(event.packet_id)
        elif isinstance(event, wire.Arrived):
            if event.packet_id:
                self._put(wire.acknowledge(event.packet_id))
            self._loop.call_soon(self._owner.link_message, self, event.topic, event.payload)
        elif event.code:
            self._break()
        else:
            self.admitted = True
            self.subscribe(self._listens)
            # on a later turn, like all that is told: the owner may publish, drop or close this very link
            self._loop.call_soon(self._owner.link_up, self)

    def _acknowledged(self, packet_id: int) -> None:
        if (reading := self._waiting.pop(packet_id, None)) is not None:
            self._owner.link_acknowledged(self, reading)
            if len(self._waiting) <= MAX_IN_FLIGHT // 2:
                self._tell_writable()

    def _tell_writable(self) -> None:
        """Once for however many readings were refused."""
        if self._refused_some and not self._over:
            self._refused_some = False
            self._loop.call_soon(self._owner.link_writable, self)

    def _break(self) -> None:
        """The broker closed the connection, refused the device, or is silent."""
        self._close()
        if not self._over:
            self._over = True
            self._loop.call_soon(self._owner.link_down, self)

    def _close(self) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
            self._socket = None
