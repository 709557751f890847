"""The gateway behind amqtt's listeners: configuration, TLS and websockets are amqtt's, the data path is ours.

amqtt 0.12.1 authenticates after the take-over, leaks refused sessions, hands retained messages to strangers and
starts a task for each packet; so its handling of connections is replaced as a whole, at `stream_connected`.
"""

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

import anyio
from amqtt.broker import Broker
from amqtt.errors import BrokerError
from anyio.abc import TaskStatus
from pydantic import BaseModel, ConfigDict

from contracts.clock import Clock
from contracts.envelope import decode, encode
from contracts.errors import BackendError
from contracts.messages import SECOND, Json, Message, Nanoseconds
from contracts.ports import Health, Outlet, State
from contracts.streams import StreamClosed

from .connection import Connection, Seams
from .gateway import GATEWAY, Gateway
from .limits import profile
from .policy import DEVICE_DOCUMENT, OPEN_DOCUMENT, Policy
from .rules_session import RulesSession
from .store import Store
from .topics import matches

LISTENER = "default"
MAX_RETAINED = 10_000
LOCAL_PRINCIPAL = "local"
"""Who a client of the plain loopback listener is: no certificate is asked for there."""


class BrokerSettings(BaseModel):
    """Where to listen and which limits hold. Port 0 lets the system choose. `period_seconds` is that of the metrics."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = 1883
    limits: str = "aws"
    policy: Mapping[str, Any] | None = None
    period_seconds: int = 1


class _Shell(Broker):  # type: ignore[misc]  # amqtt publishes no types
    """amqtt with its handling of connections replaced."""

    def __init__(self, config: dict[str, Any], owner: "EmbeddedBroker") -> None:
        super().__init__(config)
        self._owner = owner

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        _ = listener_name
        await self._owner.serve(reader, writer)


class _StreamWriter:
    """A stream writer as a connection needs it: writes are not awaited, the transport buffers."""

    def __init__(self, stream: asyncio.StreamWriter) -> None:
        self._stream = stream

    def write(self, data: bytes) -> None:
        if not self._stream.is_closing():
            self._stream.write(data)

    async def drain(self) -> None:
        await self._stream.drain()

    def close(self) -> None:
        self._stream.close()

    def unsent(self) -> int:
        return self._stream.transport.get_write_buffer_size()


class EmbeddedBroker:
    """The service "broker", and the control over devices. `messages` and `events` take what the rules are to see."""

    name = "broker"

    def __init__(
        self,
        *,
        settings: BrokerSettings,
        clock: Clock,
        messages: Outlet,
        events: Outlet,
        store: Store | None = None,
        rules: RulesSession | None = None,
    ) -> None:
        """`rules` serves `messages` and `events` to another process, where they are its lanes."""
        limits = profile(settings.limits)
        document = settings.policy or (DEVICE_DOCUMENT if settings.limits == "aws" else OPEN_DOCUMENT)
        self._settings = settings
        self._clock = clock
        self._messages = messages
        self._events = events
        self._gateway = Gateway(limits=limits, policy=Policy(document))
        self._connections: dict[str, Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._store = store or Store(None)
        self._rules = rules
        self._retained: dict[str, Message] = {}
        self._fault = ""
        self._recall()
        self._shell: _Shell | None = None
        self._state: State = "starting"
        self._last_progress: Nanoseconds = 0
        self._pauses = 0
        self.host = settings.host
        self.port = settings.port

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        await self._listen()
        self._state = "ready"
        task_status.started()
        try:
            await self._tick_for_ever()
        finally:
            with anyio.CancelScope(shield=True):
                await self._stop()

    async def drain(self) -> None:
        """No new connection, no further publish; what was accepted and counted is in the streams."""
        self._state = "draining"
        if self._shell is not None:
            for server in self._shell._servers.values():  # noqa: SLF001 - amqtt has no way to only stop listening
                server.instance.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        now = self._clock.now()
        self._gateway.tick(now)
        for event in self._gateway.take_events():
            await self._events.put(event)
        await self._messages.join()
        await self._events.join()

    def health(self) -> Health:
        counters = {
            **self._gateway.counters,
            "pauses": self._pauses,
            "quarantined": len(self._gateway.quarantined()),
        }
        return Health(
            self.name,
            "failed" if self._fault else self._state,
            self._fault or f"{self.host}:{self.port}, {len(self._connections)} connections",
            self._last_progress,
            (self._messages.gauge(), self._events.gauge()),
            counters,
        )

    async def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        """From the platform to devices: republish actions, commands."""
        now = self._clock.now()
        message = Message(f"{now:016x}platform", "", GATEWAY, topic, payload, qos, retain, now)
        self._deliver(message)

    async def quarantine(self, device_id: str, *, reason: str) -> None:
        """Refuse the device from now on, then close its connection. Idempotent."""
        self._store.put("quarantined", device_id, reason.encode())
        self._gateway.quarantine(device_id, reason, self._clock.now())
        if (connection := self._connections.pop(device_id, None)) is not None:
            connection.kick()
        self._hand_on_events()

    async def release(self, device_id: str) -> None:
        """Let the device come back. Idempotent."""
        self._store.remove("quarantined", device_id)
        self._gateway.release(device_id, self._clock.now())
        self._hand_on_events()

    async def create(self, device_id: str, *, policy: Mapping[str, Json] | None = None) -> None:
        """Register the device, with a policy document of its own or the gateway's. Raises ConfigError."""
        self._gateway.create(device_id, Policy(policy) if policy is not None else None)
        self._store.put("device", device_id, json.dumps(policy).encode())

    def quarantined(self) -> frozenset[str]:
        return self._gateway.quarantined()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one accepted socket to its end."""
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        peer = writer.get_extra_info("peername")
        connection = Connection(
            reader,
            _StreamWriter(writer),
            source_ip=str(peer[0]) if peer else "",
            gateway=self._gateway,
            clock=self._clock,
            seams=Seams(
                self._accept,
                self._opened,
                self._closed,
                self._subscribed,
                lambda _: LOCAL_PRINCIPAL,
                self._rules,
            ),
        )
        try:
            await connection.serve()
        except asyncio.CancelledError:
            # only our own stop cancels; asyncio's stream callback would report a cancelled task as a failure
            return

    async def _listen(self) -> None:
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)  # it tells a failed start, and so do we
        logging.getLogger("transitions").setLevel(logging.ERROR)
        config = {"listeners": {LISTENER: {"type": "tcp", "bind": f"{self.host}:{self.port}"}}, "plugins": {}}
        self._shell = _Shell(config, self)
        try:
            await self._shell.start()
        except (BrokerError, OSError) as error:
            raise BackendError(
                f"the broker cannot listen on {self.host}:{self.port}: {error}",
                fix="stop what uses the port, or set broker.port (0 lets the system choose)",
            ) from None
        server = self._shell._servers[LISTENER].instance  # noqa: SLF001 - the only way to the bound port
        self.port = int(server.sockets[0].getsockname()[1])

    async def _stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._shell is not None:
            await self._shell.shutdown()
        self._store.close()
        self._state = "stopped"

    async def _tick_for_ever(self) -> None:
        """Close a metrics period at every whole second of the clock."""
        period = self._settings.period_seconds * SECOND
        self._gateway.tick(self._clock.now() // period * period)
        while True:
            end = self._clock.now() // period * period + period
            await self._clock.sleep_until(end)
            self._gateway.tick(end)
            self._hand_on_events()

    def _hand_on_events(self) -> None:
        """Into the stream what fits; what does not is counted: a later period must not wait for an earlier one."""
        for event in self._gateway.take_events():
            try:
                kept = self._events.offer(event)
            except BackendError as error:
                kept, self._fault = False, error.what
            if not kept:
                self._gateway.counters["events_dropped"] += 1

    async def _accept(self, message: Message) -> None:
        try:
            if not self._messages.offer(message):
                self._pauses += 1
                await self._messages.put(message)
        except StreamClosed:
            raise ConnectionError("the gateway is stopping") from None
        except BackendError as error:
            # not kept, so not acknowledged: the device sends it again
            self._fault = error.what
            raise ConnectionError(error.what) from None
        self._fault = ""
        self._last_progress = message.received_at
        self._deliver(message)

    def _deliver(self, message: Message) -> None:
        if message.retain:
            self._retain(message)
        parent = self._gateway.limits.parent_matches_multilevel
        for connection in list(self._connections.values()):
            session = connection.session
            if session is None or not session.subscriptions:
                continue
            granted = [
                qos
                for name, qos in session.subscriptions.items()
                if matches(name, message.topic, parent=parent)
            ]
            if granted and self._gateway.may_receive(session, message.topic):
                connection.deliver(message, min(max(granted), message.qos))

    def _recall(self) -> None:
        """What an earlier process of this gateway kept."""
        for device_id, document in self._store.all("device").items():
            policy = json.loads(document)
            self._gateway.create(device_id, Policy(policy) if policy is not None else None)
        for device_id, reason in self._store.all("quarantined").items():
            self._gateway.quarantine(device_id, reason.decode(), self._clock.now())
        for body in self._store.all("retained").values():
            self._retained.update((message.topic, message) for message in decode(body))

    def _retain(self, message: Message) -> None:
        try:
            self._keep_retained(message)
        except BackendError as error:
            self._fault = error.what

    def _keep_retained(self, message: Message) -> None:
        if not message.payload:
            self._retained.pop(message.topic, None)
            self._store.remove("retained", message.topic)
        elif message.topic in self._retained or len(self._retained) < MAX_RETAINED:
            self._retained[message.topic] = message
            self._store.put("retained", message.topic, encode(message))

    def _subscribed(self, connection: Connection, topic_filter: str, qos: int) -> None:
        """AWS IoT Core hands retained messages to exact filters only."""
        limits = self._gateway.limits
        if limits.wildcard_gets_retained:
            topics = [
                t for t in self._retained if matches(topic_filter, t, parent=limits.parent_matches_multilevel)
            ]
        else:
            topics = [topic_filter] if topic_filter in self._retained else []
        for topic in topics:
            message = self._retained[topic]
            connection.deliver(message, min(qos, message.qos), retained=True)

    def _opened(self, connection: Connection) -> None:
        if connection.session is not None:
            older = self._connections.get(connection.session.client_id)
            self._connections[connection.session.client_id] = connection
            if older is not None:
                older.kick()
        self._hand_on_events()

    def _closed(self, connection: Connection) -> None:
        gone = [client_id for client_id, one in self._connections.items() if one is connection]
        for client_id in gone:
            del self._connections[client_id]
        self._hand_on_events()
