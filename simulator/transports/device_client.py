"""One device with a blocking interface: for tests and notebooks, where a fleet would be too much.

Unlike the fleet's transport it has a thread of its own, so that whoever uses it needs no event loop.
"""

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition
from types import TracebackType
from typing import Any, Self, TypeAlias

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from contracts.errors import BackendError, ConfigError, NotReady
from contracts.messages import Json

ANSWER_SECONDS = 5.0
"""A gateway under load answers within some 0.1 s; a stopped one never does."""

KEEP_ALIVE_SECONDS = 60
MAX_KEPT = 10_000
"""Messages received; the oldest go first. A test that needs more should count them in the view."""

Payload: TypeAlias = bytes | str | dict[str, Any] | list[Any]
"""Bytes and text go out as they are, anything else as JSON."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message that came to a subscription."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False

    def json(self) -> Json:
        """The payload as JSON. Raises ValueError if it is none."""
        value: Json = json.loads(self.payload)
        return value


class DeviceClient:
    """A connection from `connect` to `close`. It does not come back by itself: a test should see that it was cut."""

    def __init__(
        self, client_id: str, *, host: str, port: int, answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        self.client_id = client_id
        self._address = (host, port)
        self._answer_seconds = answer_seconds
        self._changed = Condition()
        self._connected = False
        self._why_lost = ""
        self._acknowledged: set[int] = set()
        self._granted: dict[int, list[ReasonCode]] = {}
        self._messages: deque[Received] = deque(maxlen=MAX_KEPT)
        self._client = client = Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, reconnect_on_failure=False
        )
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message

    def connect(self) -> Self:
        """Connect and wait for the answer. Raises BackendError: nobody listens there, or the gateway says no."""
        host, port = self._address
        try:
            self._client.connect(host, port, keepalive=KEEP_ALIVE_SECONDS)
        except OSError as error:
            raise BackendError(
                f"no broker answers at {host}:{port}: {error.strerror or error}",
                fix="start it, or correct the address",
            ) from None
        self._client.loop_start()
        try:
            self._wait(lambda: self._connected, "the answer to its CONNECT")
        except BaseException:
            self.close()
            raise
        return self

    @property
    def connected(self) -> bool:
        return self._connected

    @property
    def messages(self) -> list[Received]:
        """What came so far, oldest first; at most the last 10,000."""
        with self._changed:
            return list(self._messages)

    def publish(self, topic: str, payload: Payload, *, qos: int = 1, retain: bool = False) -> None:
        """Publish; with QoS 1 return when it is acknowledged, with QoS 0 when it is written to the socket.

        Raises ConfigError for a topic or a QoS that MQTT does not have, BackendError if the gateway cuts the
        connection (as AWS IoT Core does when the policy forbids the topic), NotReady if it does not answer.
        """
        data = payload if isinstance(payload, bytes | str) else json.dumps(payload, separators=(",", ":"))
        self._raise_if_lost(f"the acknowledgement of a message for {topic}")
        try:
            sent = self._client.publish(topic, data, qos, retain=retain)
        except ValueError as error:
            raise ConfigError(
                f"{self.client_id} cannot publish to '{topic}': {error}",
                fix="give a topic without wildcards, QoS 0 or 1, and at most 256 MB",
            ) from None
        self._wait(lambda: sent.mid in self._acknowledged, f"the acknowledgement of a message for {topic}")
        self._acknowledged.discard(sent.mid)

    def subscribe(self, topic_filter: str, *, qos: int = 1) -> None:
        """Subscribe, and return when the gateway has granted it; what comes is in `messages`.

        Raises ConfigError for a filter that MQTT does not have, BackendError when it is refused or the connection cut.
        """
        self._raise_if_lost(f"the answer to its subscription to {topic_filter}")
        try:
            code, packet_id = self._client.subscribe(topic_filter, qos)
        except ValueError as error:
            raise ConfigError(
                f"{self.client_id} cannot subscribe to '{topic_filter}': {error}",
                fix="correct the topic filter",
            ) from None
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS or packet_id is None:
            raise self._cut(f"the answer to its subscription to {topic_filter}")
        self._wait(lambda: packet_id in self._granted, f"the answer to its subscription to {topic_filter}")
        if any(reason.is_failure for reason in self._granted.pop(packet_id)):
            raise BackendError(
                f"the gateway refused {self.client_id} the subscription to {topic_filter}",
                fix="allow iot:Subscribe on this filter in its policy",
            )

    def wait_for(self, count: int = 1, *, timeout: float = ANSWER_SECONDS) -> list[Received]:
        """Return all messages as soon as there are `count`. Raises NotReady after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._messages) >= count, timeout):
                raise NotReady(
                    f"{len(self._messages)} of {count} messages came to {self.client_id} in {timeout:g} s",
                    fix="see whether it subscribed to the topic, or wait longer",
                )
            return list(self._messages)

    def close(self) -> None:
        """Disconnect in order and end the thread. May be called twice."""
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: done() or bool(self._why_lost), self._answer_seconds)
            if done():
                return
        self._raise_if_lost(what)
        raise NotReady(
            f"{self.client_id} waited {self._answer_seconds:g} s for {what}",
            fix="see whether the gateway is overloaded: thingstorm doctor",
        )

    def _raise_if_lost(self, what: str) -> None:
        if self._why_lost:
            raise self._cut(what)

    def _cut(self, what: str) -> BackendError:
        return BackendError(
            f"{self.client_id} is not connected: {self._why_lost or 'it was closed'}; missing: {what}",
            fix="see whether its policy allows the topic, whether it is in quarantine, or another has its client id",
        )

    def _on_connect(
        self, _c: Client, _u: Any, _f: ConnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        with self._changed:
            if reason.is_failure:
                self._why_lost = f"the gateway answered '{reason}'"
            else:
                self._connected = True
            self._changed.notify_all()

    def _on_disconnect(
        self, _c: Client, _u: Any, _f: DisconnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        with self._changed:
            self._connected = False
            told = "the gateway closed the connection" if reason.is_failure else "it was closed"
            self._why_lost = self._why_lost or told
            self._changed.notify_all()

    def _on_publish(self, _c: Client, _u: Any, packet_id: int, _r: ReasonCode, _p: Properties) -> None:
        with self._changed:
            self._acknowledged.add(packet_id)
            self._changed.notify_all()

    def _on_subscribe(
        self, _c: Client, _u: Any, packet_id: int, reasons: list[ReasonCode], _p: Properties | None
    ) -> None:
        with self._changed:
            self._granted[packet_id] = reasons
            self._changed.notify_all()

    def _on_message(self, _c: Client, _u: Any, message: MQTTMessage) -> None:
        with self._changed:
            self._messages.append(
                Received(message.topic, bytes(message.payload), message.qos, message.retain)
            )
            self._changed.notify_all()
