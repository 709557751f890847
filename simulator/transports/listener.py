"""Hears what passes a broker: one plain MQTT client that subscribes to everything it may, driven by its caller."""

import time
import uuid
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from contracts.errors import BackendError
from contracts.messages import Nanoseconds

KEEP_ALIVE_SECONDS = 60
ANSWER_SECONDS = 10.0
TURN_SECONDS = 0.2
"""How long a turn waits for bytes: so soon does a wish to stop count."""

FILTERS = (("#",), ("dt/#", "cmd/#"))
"""Everything; and where the broker's policy refuses that, what the default policy of devices allows."""

Take = Callable[[Nanoseconds, str, bytes, int], None]
"""Told of (time, topic, payload, QoS) of every message that is not a retained one of earlier."""


class Listener:
    """Call `open`, then `listen`, then `close`; one thread, nothing in the background."""

    def __init__(self, *, host: str, port: int) -> None:
        self.filters: tuple[str, ...] = ()
        """What the broker granted."""
        self._host = host
        self._port = port
        self._take: Take | None = None
        self._client: Client | None = None
        self._refused = ""
        self._granted = False

    def open(self) -> None:
        """Connect and subscribe. Raises BackendError if the broker is not there or refuses."""
        for filters in FILTERS:
            if self._ask(filters):
                self.filters = filters
                return
            self.close()
        raise BackendError(
            f"the broker at {self._host}:{self._port} refuses to tell what passes it: {self._refused}",
            fix="let this client subscribe to # in the broker's policy",
        )

    def listen(self, take: Take, *, stop: Callable[[], bool]) -> None:
        """Hand on what comes until `stop` says so. Raises BackendError when the connection breaks."""
        assert self._client is not None  # noqa: S101 - `open` comes first
        self._take = take
        while not stop():
            if self._client.loop(TURN_SECONDS) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise BackendError(
                    f"the connection to the broker at {self._host}:{self._port} broke",
                    fix="see why the broker closed it, and record again",
                )

    def close(self) -> None:
        """Disconnect in order. May be called twice."""
        if self._client is not None:
            self._client.disconnect()
            self._client = None

    def _ask(self, filters: tuple[str, ...]) -> bool:
        """Whether the broker granted these filters. Raises BackendError if it does not let us in."""
        self._refused, self._granted = "", False
        client = self._client = self._make(filters)
        try:
            client.connect(self._host, self._port, KEEP_ALIVE_SECONDS)
        except OSError as error:
            raise BackendError(
                f"nobody listens at {self._host}:{self._port}: {error}",
                fix="start the broker, or give its --host and --port",
            ) from None
        until = time.monotonic() + ANSWER_SECONDS
        while not (self._granted or self._refused) and time.monotonic() < until:
            if client.loop(TURN_SECONDS) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._refused += "it closed the connection"
        if not self._granted:
            self._refused = self._refused or f"no answer in {ANSWER_SECONDS:.0f} s"
        return self._granted

    def _make(self, filters: tuple[str, ...]) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"thingstorm-record-{uuid.uuid4().hex[:8]}",
            reconnect_on_failure=False,
        )

        def on_connect(_client: Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
            if code.is_failure:
                self._refused = str(code)
            else:
                client.subscribe([(one, 1) for one in filters])

        def on_subscribe(_client: Client, _data: Any, _mid: int, codes: Any, _properties: Any) -> None:
            self._refused = ", ".join(str(code) for code in codes if code.is_failure)
            self._granted = not self._refused

        def on_message(_client: Client, _data: Any, message: MQTTMessage) -> None:
            if self._take is not None and not message.retain:
                self._take(time.time_ns(), message.topic, bytes(message.payload), message.qos)

        client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
        return client
