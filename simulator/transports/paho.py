"""One real paho-mqtt client a device, driven by our event loop: no thread, five kilobytes each.

paho's own loop would need a thread a client. Its hooks for an external loop tell which socket to watch; one
timer for all clients does the housekeeping (`loop_misc`: keep-alive).
"""

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from .base import Callbacks

KEEP_ALIVE_SECONDS = 60
MISC_SECONDS = 1.0
MAX_IN_FLIGHT = 100
"""As AWS IoT Core allows a connection; what exceeds it waits in the client."""

MAX_QUEUED = 1_000


class _Link:
    """One device's client and its place in the event loop."""

    def __init__(self, owner: "PahoTransport", device_id: str, listens: Sequence[str]) -> None:
        self.device_id = device_id
        self.listens = listens
        self.up = False
        self.closing = False
        self.unacknowledged: set[int] = set()
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self.client = client = Client(
            CallbackAPIVersion.VERSION2, client_id=device_id, reconnect_on_failure=False
        )
        client.max_inflight_messages_set(MAX_IN_FLIGHT)
        client.max_queued_messages_set(MAX_QUEUED)
        client.on_socket_open = self._opened
        client.on_socket_close = self._closed
        client.on_socket_register_write = self._wants_to_write
        client.on_socket_unregister_write = self._has_written
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_publish = self._acknowledged

    def _opened(self, _c: Client, _u: Any, sock: Any) -> None:
        # small packets at once: Nagle's algorithm would hold them back for an acknowledgement
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop.add_reader(sock, self.client.loop_read)

    def _closed(self, _c: Client, _u: Any, sock: Any) -> None:
        self._loop.remove_reader(sock)
        self._loop.remove_writer(sock)

    def _wants_to_write(self, _c: Client, _u: Any, sock: Any) -> None:
        self._loop.add_writer(sock, self.client.loop_write)

    def _has_written(self, _c: Client, _u: Any, sock: Any) -> None:
        self._loop.remove_writer(sock)

    def _connected(
        self, _c: Client, _u: Any, _f: ConnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        if reason.is_failure:
            return  # the broker closes next, and _disconnected tells
        self.up = True
        if self.listens:
            self.client.subscribe([(topic_filter, 1) for topic_filter in self.listens])
        self._owner.callbacks.connected(self.device_id)

    def _disconnected(
        self, _c: Client, _u: Any, _f: DisconnectFlags, _r: ReasonCode, _p: Properties | None
    ) -> None:
        was_up, self.up = self.up, False
        self._owner.forget(self)
        if not self.closing:
            self._owner.callbacks.lost(self.device_id, not was_up)

    def _acknowledged(self, _c: Client, _u: Any, packet_id: int, _r: ReasonCode, _p: Properties) -> None:
        if packet_id in self.unacknowledged:
            self.unacknowledged.discard(packet_id)
            self._owner.count_acknowledged()


class PahoTransport:
    """Clients by device id. Everything happens on the event loop."""

    def __init__(self, *, host: str, port: int, callbacks: Callbacks) -> None:
        self.callbacks = callbacks
        self._host = host
        self._port = port
        self._links: dict[str, _Link] = {}
        self._acknowledged = 0
        self._timer: asyncio.TimerHandle | None = None

    def connect(self, device_id: str, listens: Sequence[str]) -> None:
        """Connect a fresh client: what the last connection left unacknowledged is not sent again.

        The TCP connect to a loopback address is done in microseconds; the rest is not waited for.
        """
        if device_id in self._links:
            return
        if self._timer is None:
            self._tick()
        link = self._links[device_id] = _Link(self, device_id, listens)
        try:
            link.client.connect(self._host, self._port, keepalive=KEEP_ALIVE_SECONDS)
        except OSError:
            del self._links[device_id]
            self.callbacks.lost(device_id, True)

    def publish(self, device_id: str, *, topic: str, payload: bytes, qos: int) -> bool:
        """Hand a message to the client; False if it is not connected or its queue is full."""
        link = self._links.get(device_id)
        if link is None or not link.up:
            return False
        info = link.client.publish(topic, payload, qos)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        if qos:
            link.unacknowledged.add(info.mid)
        return True

    def disconnect(self, device_id: str) -> None:
        """Send DISCONNECT and close."""
        link = self._links.pop(device_id, None)
        if link is not None:
            link.closing = True
            link.client.disconnect()

    def in_flight(self) -> int:
        """Handed over and not acknowledged, over all connections."""
        return sum(len(link.unacknowledged) for link in self._links.values())

    def acknowledged(self) -> int:
        """Acknowledged so far."""
        return self._acknowledged

    async def close(self) -> None:
        """Disconnect every client and give the packets a turn of the loop to leave."""
        if self._timer is not None:
            self._timer.cancel()
        links = list(self._links.values())
        for link in links:
            self.disconnect(link.device_id)
        for _ in range(20):
            if not any(link.client.want_write() for link in links):
                break
            await asyncio.sleep(0.01)

    def forget(self, link: _Link) -> None:
        """A client's connection is over."""
        if self._links.get(link.device_id) is link:
            del self._links[link.device_id]

    def count_acknowledged(self) -> None:
        self._acknowledged += 1

    def _tick(self) -> None:
        for link in list(self._links.values()):
            link.client.loop_misc()
        self._timer = asyncio.get_running_loop().call_later(MISC_SECONDS, self._tick)
