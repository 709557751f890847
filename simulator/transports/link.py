"""One device's paho client and its place in the event loop."""

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from ..device import Reading
from .sockets import FILTERS_A_SUBSCRIBE, LAST_WRITE_SECONDS, MAX_IN_FLIGHT, LinkOwner

KEEP_ALIVE_SECONDS = 60


class _Client(Client):
    """A paho client on a socket that is connected already: paho's own connect would stop the event loop."""

    socket_to_use: socket.socket

    def _create_socket_connection(self) -> socket.socket:
        return self.socket_to_use

    def abort(self) -> None:
        """Close the socket without a word."""
        self._sock_close()


class PahoLink:
    """A connection from its TCP connect to its end; a device that comes back gets a new one."""

    def __init__(
        self, owner: LinkOwner, *, device_id: str, listens: Sequence[str], sock: socket.socket
    ) -> None:
        self.device_id = device_id
        self.admitted = False
        self.since = asyncio.get_running_loop().time()
        self._listens = listens
        self._over = False
        self._refused_some = False
        self._waiting: dict[int, Reading] = {}
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._client = client = _Client(
            CallbackAPIVersion.VERSION2, client_id=device_id, reconnect_on_failure=False
        )
        client.socket_to_use = sock
        client.max_inflight_messages_set(MAX_IN_FLIGHT)  # so paho's own queue stays empty
        client.on_socket_open = self._opened
        client.on_socket_close = self._closed
        client.on_socket_register_write = self._wants_to_write
        client.on_socket_unregister_write = self._has_written
        client.on_connect = self._answered
        client.on_disconnect = self._disconnected
        client.on_publish = self._acknowledged
        client.on_message = self._arrived

    def start(self, host: str, port: int) -> None:
        """Send CONNECT."""
        self._client.connect(host, port, keepalive=KEEP_ALIVE_SECONDS)

    def publish(self, reading: Reading) -> bool:
        """Hand a reading to the client; False if it is not connected or has enough to send already."""
        if not self.admitted or self._over or self._is_full(reading.qos):
            self._refused_some = True
            return False
        info = self._client.publish(reading.topic, reading.payload, reading.qos, retain=reading.retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        if reading.qos:
            self._waiting[info.mid] = reading
        return True

    def _is_full(self, qos: int) -> bool:
        # what waits for the socket is not bounded by paho at QoS 0, so nothing is put behind a socket that is full
        return len(self._waiting) >= MAX_IN_FLIGHT if qos else self._client.want_write()

    @property
    def wants_to_write(self) -> bool:
        return self._client.socket() is not None and self._client.want_write()

    def take_unacknowledged(self) -> tuple[Reading, ...]:
        """What was handed over and not acknowledged, oldest first; nobody waits for it here any more."""
        readings = tuple(self._waiting.values())
        self._waiting.clear()
        return readings

    def subscribe(self, filters: Sequence[str]) -> None:
        """Ask for these besides; whether they are granted shows in what comes."""
        if self.admitted and not self._over:
            self._client.subscribe([(topic_filter, 1) for topic_filter in filters])

    def disconnect(self) -> None:
        """Send DISCONNECT behind everything handed over, and close; after LAST_WRITE_SECONDS at the latest."""
        self._over = True
        self._client.disconnect()
        if self.wants_to_write:
            self._loop.call_later(LAST_WRITE_SECONDS, self.drop)

    def drop(self) -> None:
        """Close the socket without a word."""
        self._over = True
        self._client.abort()

    def look_after(self) -> None:
        """Keep-alive; about once a second."""
        self._client.loop_misc()

    def _opened(self, _c: Client, _u: Any, sock: Any) -> None:
        self._loop.add_reader(sock, self._client.loop_read)

    def _closed(self, _c: Client, _u: Any, sock: Any) -> None:
        self._loop.remove_reader(sock)
        self._loop.remove_writer(sock)

    def _wants_to_write(self, _c: Client, _u: Any, sock: Any) -> None:
        self._loop.add_writer(sock, self._client.loop_write)

    def _has_written(self, _c: Client, _u: Any, sock: Any) -> None:
        self._loop.remove_writer(sock)
        self._tell_writable()

    def _answered(
        self, _c: Client, _u: Any, _f: ConnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        if reason.is_failure:
            return  # paho closes next, and _disconnected tells
        self.admitted = True
        for first in range(0, len(self._listens), FILTERS_A_SUBSCRIBE):
            filters = self._listens[first : first + FILTERS_A_SUBSCRIBE]
            self._client.subscribe([(topic_filter, 1) for topic_filter in filters])
        # on the next turn: inside a callback of its own, paho does not write but queue
        self._loop.call_soon(self._owner.link_up, self)

    def _disconnected(
        self, _c: Client, _u: Any, _f: DisconnectFlags, _r: ReasonCode, _p: Properties | None
    ) -> None:
        if not self._over:
            self._over = True
            self._loop.call_soon(self._owner.link_down, self)

    def _acknowledged(self, _c: Client, _u: Any, packet_id: int, _r: ReasonCode, _p: Properties) -> None:
        if (reading := self._waiting.pop(packet_id, None)) is not None:
            self._owner.link_acknowledged(self, reading)
            if len(self._waiting) <= MAX_IN_FLIGHT // 2:
                self._tell_writable()

    def _arrived(self, _c: Client, _u: Any, message: MQTTMessage) -> None:
        # on the next turn: see `_answered`
        self._loop.call_soon(self._owner.link_message, self, message.topic, bytes(message.payload))

    def _tell_writable(self) -> None:
        """Once for however many readings were refused, on the next turn: see `_answered`."""
        if self._refused_some and not self._over:
            self._refused_some = False
            self._loop.call_soon(self._owner.link_writable, self)
