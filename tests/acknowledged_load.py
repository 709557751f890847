"""Devices that remember which of their QoS 1 messages the broker acknowledged: what must not be lost."""

import json
import threading
import time
from typing import Any, Self

from paho.mqtt.client import CallbackOnPublish_v2, Client
from paho.mqtt.enums import CallbackAPIVersion


class AcknowledgedLoad:
    """`devices` clients publish `rate` messages a second in all until stopped; lost connections are made again.

    What a device could not send meanwhile comes at once, and what is beyond 100 a second of one connection is never acknowledged, by AWS
    and so by the gateway: with 50 devices and 100 messages a second it takes an absence of 50 s to come to that.
    """

    def __init__(self, *, port: int, devices: int = 50, rate: float = 100.0, prefix: str = "load") -> None:
        self._port = port
        self._rate = rate
        self._names = [f"{prefix}-{number:04d}" for number in range(devices)]
        self._clients: list[Client] = []
        self._sent: dict[str, tuple[int, int]] = {}  # trace -> (client, message id)
        self._acknowledged: set[tuple[int, int]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._publish)

    def __enter__(self) -> Self:
        for place, name in enumerate(self._names):
            client = Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
            client.reconnect_delay_set(1, 1)
            client.max_queued_messages_set(100_000)
            client.on_publish = self._remember(place)
            client.connect("127.0.0.1", self._port, keepalive=30)
            client.loop_start()
            self._clients.append(client)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for client in self._clients:
            client.disconnect()
            client.loop_stop()

    @property
    def sent(self) -> int:
        return len(self._sent)

    @property
    def unacknowledged(self) -> list[str]:
        """Their traces, in the order in which they were sent."""
        return [trace for trace, place in self._sent.items() if place not in self._acknowledged]

    def finish(self, *, within: float = 30) -> set[str]:
        """Stop publishing, wait for the acknowledgements; the traces of all acknowledged messages."""
        self._stop.set()
        self._thread.join()
        deadline = time.monotonic() + within
        while time.monotonic() < deadline and len(self._acknowledged) < len(self._sent):
            time.sleep(0.1)
        return {trace for trace, place in self._sent.items() if place in self._acknowledged}

    def _remember(self, place: int) -> CallbackOnPublish_v2:
        def acknowledged(_client: Client, _data: Any, message_id: int, _code: Any, _properties: Any) -> None:
            self._acknowledged.add((place, message_id))

        return acknowledged

    def _publish(self) -> None:
        number = 0
        began = time.monotonic()
        while not self._stop.is_set():
            due = int((time.monotonic() - began) * self._rate)
            while number < due:
                place = number % len(self._clients)
                trace = f"{self._names[place]}/{number}"
                body = json.dumps({"trace": trace, "power_w": 400 + number % 7})
                topic = f"dt/load/{self._names[place]}/telemetry"
                # without a connection it waits in the client, and is sent when there is one again
                self._sent[trace] = (place, self._clients[place].publish(topic, body, qos=1).mid)
                number += 1
            time.sleep(0.01)
