"""Any MQTT 5 broker in the place of our gateway: what passes it is counted and handed to the rules.

A persistent session with a shared subscription at QoS 1; a message is acknowledged once the rules have it, so none
is lost while either side is away. What such a broker cannot be made to do is said at the start: policies, limits,
presence and certificates are its own matter, and a quarantined device is only kept out of what the rules see.
"""

import asyncio
import re
import ssl
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import anyio
from anyio import to_thread
from anyio.abc import TaskStatus
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pydantic import BaseModel, ConfigDict

from contracts.clock import Clock
from contracts.errors import BackendError, ConfigError, NotReady
from contracts.identity import Credentials
from contracts.messages import SECOND, Json, Message, Nanoseconds, PublishProperties
from contracts.ports import Gauge, Health, Outlet, State

from .gateway_measures import gateway_measures
from .lifecycle import job_of
from .metrics import Metrics
from .reporter import MessageIds, Reporter
from .store import Store

GROUP = "thingstorm"
KEEP_ALIVE_SECONDS = 10
SESSION_SECONDS = 3600
OURS = ("thingstorm", "platform")
"""Marks what the platform itself publishes: the shared subscription to everything brings it back."""

GOODBYE_SECONDS = 2
"""An answer of a broker on the way takes milliseconds; one that does not come leaves duplicates, not losses."""

RECEIVE_MAXIMUM = 1_000
"""Publishes of QoS 1 that are not acknowledged: what comes again when this side is killed."""

CAPACITY = 20_000
"""Messages that wait for the rules; QoS 0 beyond it is dropped and counted, QoS 1 is bounded by the receive maximum."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
CANNOT = "no policies, limits, presence, certificates or shadows there; quarantine only keeps a device's messages out"


class ExternalSettings(BaseModel):
    """Which broker, and how device ids are read from topics (`{client_id}` is a level, `+` and `#` as in MQTT)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    cafile: Path | None = None
    certfile: Path | None = None
    keyfile: Path | None = None
    filters: tuple[str, ...] = ("#",)
    client_id_pattern: str = "+/+/{client_id}/#"
    period_seconds: int = 1


class ExternalBroker:
    """The service "broker" over somebody else's broker."""

    name = "broker"
    cannot = f"external broker: {CANNOT}"
    tls_port: int | None = None
    websocket_port: int | None = None

    def __init__(
        self,
        *,
        settings: ExternalSettings,
        clock: Clock,
        messages: Outlet,
        events: Outlet,
        store: Store | None = None,
    ) -> None:
        """Raises ConfigError for a URL that is none."""
        self._settings = settings
        self._clock = clock
        self._messages = messages
        self._events = events
        self._store = store or Store(None)
        url = urlsplit(settings.url)
        if url.scheme not in ("mqtt", "mqtts") or not url.hostname:
            raise ConfigError(
                f"broker.url '{settings.url}' is no broker's",
                fix="write mqtt://user:password@host:port, or mqtts://",
            )
        self.host = url.hostname
        self.port = url.port or (8883 if url.scheme == "mqtts" else 1883)
        self._secure = url.scheme == "mqtts"
        self._user = (unquote(url.username), unquote(url.password or "")) if url.username else None
        self._client_of = client_id_reader(settings.client_id_pattern)
        self._quarantined = set(self._store.all("quarantined"))
        names = ("accepted", "refused", "throttled", "dropped", "events_dropped", "connects", "acknowledged")
        self._counters = dict.fromkeys(names, 0)
        self._ids = MessageIds()
        self._metrics = Metrics()
        self._reporter = Reporter(ids=self._ids, counters=self._counters, show=lambda _message: None)
        self._waiting: deque[tuple[Client, int, Message]] = deque()
        self._highest = 0
        self._arrived_some = asyncio.Event()
        self._client: Client | None = None
        self._connected = self._lost = asyncio.Event()
        self._state: State = "starting"
        self._detail = "connecting"
        self._last_progress: Nanoseconds = 0

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Ready once it is subscribed. Raises BackendError if the broker cannot be reached at the start."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tick_for_ever)
            tasks.start_soon(self._hand_on_for_ever)
            try:
                await self._stay_connected(task_status)
            finally:
                self._store.close()

    async def drain(self) -> None:
        """Take nothing more; what was taken is with the rules."""
        self._state = "draining"
        while self._waiting:  # noqa: ASYNC110 - once, at the end
            await anyio.sleep(0.01)
        self._reporter.close_period(self._metrics, self._clock.now())
        for event in self._reporter.take():
            await self._events.put(event)
        await self._messages.join()
        await self._events.join()
        await self._until_acknowledgements_are_read()

    def health(self) -> Health:
        waiting = Gauge("waiting", len(self._waiting), CAPACITY, self._highest)
        gauges = (self._messages.gauge(), self._events.gauge(), waiting)
        return Health(
            self.name,
            self._state,
            self._detail,
            self._last_progress,
            gauges,
            dict(self._counters),
            measures=gateway_measures(quarantined=len(self._quarantined), connections=None),
        )

    async def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        """To devices. Raises NotReady while the broker is away."""
        if self._client is None:
            raise NotReady("the external broker is away", fix="see `thingstorm doctor`")
        told: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho publishes no types here
        told.UserProperty = OURS
        self._client.publish(topic, payload, qos=min(qos, 1), retain=retain, properties=told)
        if (job := job_of(topic, payload, retain=retain)) is not None:
            self._reporter.tell("job", job[0], self._clock.now(), reason=job[1])

    async def republish(
        self, topic: str, payload: bytes, *, qos: int = 0, properties: PublishProperties | None = None
    ) -> None:
        """A rule's republish action; the subscription to everything brings it back to the rules. Raises NotReady."""
        if self._client is None:
            raise NotReady("the external broker is away", fix="see `thingstorm doctor`")
        self._client.publish(topic, payload, qos=min(qos, 1), properties=_as_paho(properties))

    async def quarantine(self, device_id: str, *, reason: str) -> None:
        """The rules see nothing of the device from now on; the broker itself is not told. Idempotent."""
        self._store.put("quarantined", device_id, reason.encode())
        if device_id not in self._quarantined:
            self._quarantined.add(device_id)
            self._reporter.tell("quarantined", device_id, self._clock.now(), reason=reason)

    async def release(self, device_id: str) -> None:
        """Let the rules see the device again. Idempotent."""
        self._store.remove("quarantined", device_id)
        if device_id in self._quarantined:
            self._quarantined.remove(device_id)
            self._reporter.tell("released", device_id, self._clock.now(), reason="released")

    def quarantined(self) -> frozenset[str]:
        return frozenset(self._quarantined)

    async def create(self, device_id: str, *, policy: Mapping[str, Json] | None = None) -> None:
        """Nothing to do without a policy: the broker decides who connects. Raises ConfigError for a policy."""
        if policy is not None:
            raise _not_here(f"a policy for '{device_id}'")

    async def enroll(self, device_id: str, *, policy: Mapping[str, Json] | None = None) -> Credentials:
        _ = policy
        raise _not_here(f"credentials for '{device_id}'")

    async def disconnect(
        self, client_id: str, *, clean_session: bool = False, prevent_will: bool = False
    ) -> bool:
        _ = clean_session, prevent_will
        raise _not_here(f"disconnecting '{client_id}'")

    async def _until_acknowledgements_are_read(self) -> None:
        """A broker that sees a closed socket may leave what is unread in it, and send again what we have done.

        Packets are read in order: the answer to this one says that all acknowledgements before it were read.
        """
        client, answered = self._client, asyncio.Event()
        if client is None or not self._connected.is_set():
            return
        loop = asyncio.get_running_loop()

        def on_unsubscribe(_client: Client, _data: Any, _mid: int, _codes: Any, _properties: Any) -> None:
            loop.call_soon_threadsafe(answered.set)

        client.on_unsubscribe = on_unsubscribe
        client.unsubscribe(f"{GROUP}/the-end")
        with anyio.move_on_after(GOODBYE_SECONDS):
            await answered.wait()

    async def _stay_connected(self, task_status: TaskStatus[None]) -> None:
        pause, started = FIRST_PAUSE, False
        while True:
            began = time.monotonic()
            try:
                await self._converse(None if started else task_status)
            except BackendError as error:
                if not started:
                    raise
                self._state, self._detail = "failed", error.told
            started = True
            pause = FIRST_PAUSE if time.monotonic() - began > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)
            await anyio.sleep(pause)

    async def _converse(self, task_status: TaskStatus[None] | None) -> None:
        """One connection, from CONNECT to its end. Raises BackendError if it could not be made."""
        self._connected, self._lost = asyncio.Event(), asyncio.Event()
        client = self._client = self._make_client(asyncio.get_running_loop())
        try:
            await to_thread.run_sync(lambda: self._connect(client))
            client.loop_start()
            await self._subscribed()
            if task_status is not None:
                task_status.started()
            await self._lost.wait()
        except OSError as error:
            raise self._away(str(error)) from None
        finally:
            self._client = None
            with anyio.CancelScope(shield=True):
                client.disconnect()
                await to_thread.run_sync(client.loop_stop)

    def _connect(self, client: Client) -> None:
        told: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho publishes no types here
        told.SessionExpiryInterval = SESSION_SECONDS
        told.ReceiveMaximum = RECEIVE_MAXIMUM
        client.connect(self.host, self.port, KEEP_ALIVE_SECONDS, clean_start=False, properties=told)

    async def _subscribed(self) -> None:
        with anyio.move_on_after(5):
            while not (self._connected.is_set() or self._lost.is_set()):  # noqa: ASYNC110 - two events, seldom
                await anyio.sleep(0.01)
        if not self._connected.is_set():
            raise self._away(self._detail)

    def _away(self, why: str) -> BackendError:
        return BackendError(
            f"the broker at {self.host}:{self.port} cannot be used: {why}",
            fix="start it, or correct broker.url, its user, password and certificates",
        )

    def _make_client(self, loop: asyncio.AbstractEventLoop) -> Client:
        """A client whose callbacks, called in its own thread, run on our loop in the order they came."""
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"{GROUP}-rules",
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        if self._user is not None:
            client.username_pw_set(*self._user)
        if self._secure:
            client.tls_set_context(self._tls())

        def on_connect(_client: Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
            loop.call_soon_threadsafe(self._greeted, client, str(code) if code.is_failure else "")

        def on_subscribe(_client: Client, _data: Any, _mid: int, codes: Any, _properties: Any) -> None:
            refused = [str(code) for code in codes if code.is_failure]
            loop.call_soon_threadsafe(self._granted, client, ", ".join(refused))

        def on_disconnect(_client: Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
            loop.call_soon_threadsafe(self._gone, client, str(code))

        def on_message(_client: Client, _data: Any, message: MQTTMessage) -> None:
            loop.call_soon_threadsafe(self._arrived, client, message)

        client.on_connect, client.on_subscribe = on_connect, on_subscribe
        client.on_disconnect, client.on_message = on_disconnect, on_message
        return client

    def _tls(self) -> ssl.SSLContext:
        settings = self._settings
        try:
            context = ssl.create_default_context(cafile=settings.cafile)
            if settings.certfile is not None:
                context.load_cert_chain(settings.certfile, settings.keyfile)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"the certificates of broker.url cannot be read: {error}",
                fix="correct broker.cafile, broker.certfile and broker.keyfile",
            ) from None
        return context

    def _greeted(self, client: Client, refusal: str) -> None:
        if client is not self._client:
            return
        if refusal:
            self._detail = f"it refused the connection: {refusal}"
            self._lost.set()
            return
        self._counters["connects"] += 1
        client.subscribe([(f"$share/{GROUP}/{one}", 1) for one in self._settings.filters])

    def _granted(self, client: Client, refused: str) -> None:
        if client is not self._client:
            return
        if refused:
            self._detail = f"it refused the shared subscription: {refused}"
            self._lost.set()
            return
        self._state = "ready"
        self._detail = f"external broker {self.host}:{self.port}: {CANNOT}"
        self._connected.set()

    def _gone(self, client: Client, reason: str) -> None:
        if client is self._client:
            if self._state == "ready":
                self._state, self._detail = (
                    "failed",
                    f"the connection to {self.host}:{self.port} ended: {reason}",
                )
            self._lost.set()

    def _arrived(self, client: Client, message: MQTTMessage) -> None:
        if client is not self._client or message.retain or self._state == "draining":
            return  # draining: not acknowledged, so it comes again
        if not message.qos and len(self._waiting) >= CAPACITY:
            self._counters["dropped"] += 1
            return
        if OURS in (getattr(message.properties, "UserProperty", None) or ()):
            if message.qos:
                client.ack(message.mid, message.qos)
            return  # from the platform to a device: no device's message
        now = self._clock.now()
        client_id = self._client_of(message.topic)
        if client_id in self._quarantined:
            self._counters["refused"] += 1
            if message.qos:
                client.ack(message.mid, message.qos)
            return
        payload = bytes(message.payload)
        taken = Message(
            self._ids.next(now), client_id, "external", message.topic, payload, min(message.qos, 1),
            retain=False, received_at=now, properties=_told(message.properties),
        )  # fmt: skip
        self._waiting.append((client, message.mid if message.qos else 0, taken))
        self._highest = max(self._highest, len(self._waiting))
        self._arrived_some.set()

    async def _hand_on_for_ever(self) -> None:
        """To the rules, in order; acknowledged when they have it."""
        while True:
            await self._arrived_some.wait()
            self._arrived_some.clear()
            while self._waiting:
                batch = list(self._waiting)
                count = self._messages.offer_all([message for _, _, message in batch])
                for client, packet_id, message in batch[:count]:
                    self._waiting.popleft()
                    self._count(message)
                    if packet_id and client is self._client:
                        client.ack(packet_id, 1)
                        self._counters["acknowledged"] += 1
                if count < len(batch):
                    await self._messages.room()

    def _count(self, message: Message) -> None:
        counts = self._metrics.of(message.client_id)
        self._metrics.received(counts, message.client_id, message.topic, message.payload)
        self._counters["accepted"] += 1
        self._last_progress = message.received_at

    async def _tick_for_ever(self) -> None:
        """Close a metrics period at every whole second of the clock."""
        period = self._settings.period_seconds * SECOND
        self._reporter.close_period(self._metrics, self._clock.now() // period * period)
        while True:
            end = self._clock.now() // period * period + period
            await self._clock.sleep_until(end)
            self._reporter.close_period(self._metrics, end)
            events = self._reporter.take()
            self._counters["events_dropped"] += len(events) - self._events.offer_all(events)


def client_id_reader(pattern: str) -> "_ClientOf":
    """Reads the device id from a topic; '' where the pattern does not fit. Raises ConfigError."""
    levels = pattern.split("/")
    if levels.count("{client_id}") != 1 or "#" in levels[:-1]:
        raise ConfigError(
            f"broker.client_id_pattern '{pattern}' is no pattern",
            fix="name one level {client_id}; + stands for any level, # for any that follow: dt/+/{client_id}/#",
        )
    parts = [
        "([^/]+)" if one == "{client_id}" else "[^/]*" if one == "+" else re.escape(one) for one in levels
    ]
    text = "/".join(parts[:-1]) + "(?:/.*)?" if levels[-1] == "#" else "/".join(parts)
    return _ClientOf(re.compile(text, re.DOTALL))


class _ClientOf:
    __slots__ = ("_pattern",)

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern

    def __call__(self, topic: str) -> str:
        found = self._pattern.fullmatch(topic)
        return found[1] if found else ""


_NAMES = {
    "payload_format": "PayloadFormatIndicator",
    "content_type": "ContentType",
    "response_topic": "ResponseTopic",
    "correlation_data": "CorrelationData",
    "message_expiry": "MessageExpiryInterval",
}
"""What paho calls the fields of PublishProperties."""


def _told(properties: Any) -> PublishProperties | None:
    """What an MQTT 5 publisher said of its payload, as paho has read it."""
    if properties is None:
        return None
    found = {ours: getattr(properties, theirs, None) for ours, theirs in _NAMES.items()}
    user = tuple(getattr(properties, "UserProperty", ()) or ())
    return (
        PublishProperties(**found, user=user) if user or any(v is not None for v in found.values()) else None
    )


def _as_paho(properties: PublishProperties | None) -> Any:
    """The other way round."""
    told: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho publishes no types here
    for ours, theirs in _NAMES.items():
        value = getattr(properties, ours, None)
        if value is not None:
            setattr(told, theirs, value)
    if properties is not None and properties.user:
        told.UserProperty = list(properties.user)
    return told


def _not_here(what: str) -> ConfigError:
    return ConfigError(
        f"{what}: an external broker has its own clients and rules",
        fix="ask it, or use broker.backend = 'amqtt'",
    )
