"""The gateway as a service: listeners, clock, the turns of its core, what the rules and the operator ask of it."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import anyio
from amqtt.errors import BrokerError
from anyio.abc import TaskStatus
from pydantic import BaseModel, ConfigDict

from contracts.clock import Clock
from contracts.errors import BackendError
from contracts.messages import SECOND, Json, Nanoseconds
from contracts.ports import Health, Outlet, State
from contracts.streams import StreamClosed

from .conversation import Conversation, Io
from .gateway import Gateway
from .identity import Identity, local_identity
from .limits import profile
from .policy import DEVICE_DOCUMENT, OPEN_DOCUMENT, Policy
from .rules_session import RulesSession
from .shell import Shell
from .store import Store
from .transport import Line

LISTENER, WEBSOCKET = "default", "websocket"


class BrokerSettings(BaseModel):
    """Where to listen and which limits hold. Port 0 lets the system choose; no port, no such listener.

    `limits` names a profile, `overrides` replaces some of it. `policy` is the local principal's. `period_seconds` is
    that of the metrics. `plugins` is amqtt's own configuration of plugins.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = 1883
    websocket_port: int | None = None
    limits: str = "aws"
    overrides: Mapping[str, float] = {}
    policy: Mapping[str, Any] | None = None
    period_seconds: int = 1
    plugins: Mapping[str, Any] = {}


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
        limits = profile(settings.limits, settings.overrides)
        document = settings.policy or (DEVICE_DOCUMENT if settings.limits == "aws" else OPEN_DOCUMENT)
        self.clock = clock
        self._settings = settings
        self._messages = messages
        self._events = events
        self._store = store or Store(None)
        self._gateway = Gateway(limits=limits, accept=messages.offer_all, store=self._store)
        self._gateway.wake = self._wake
        self._local: Identity = local_identity(document)
        self._rules = rules
        self._lines: set[Line] = set()
        self._turning: asyncio.Handle | None = None
        self._unblocking: asyncio.Task[None] | None = None
        self._fault = ""
        self._recall()
        self._shell: Shell | None = None
        self._state: State = "starting"
        self._last_progress: Nanoseconds = 0
        self._pauses = 0
        self.host = settings.host
        self.port = settings.port
        self.websocket_port = settings.websocket_port

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
            self._shell.close_listeners()
        await self._close_all()
        now = self.clock.now()
        while self._gateway.fanout.waiting:
            await self._messages.room()
            self._gateway.turn(now)
        self._gateway.tick(now)
        for event in self._gateway.take_events():
            await self._events.put(event)
        await self._messages.join()
        await self._events.join()

    def health(self) -> Health:
        gateway = self._gateway
        counters = {
            **gateway.counters,
            "pauses": self._pauses,
            "quarantined": len(gateway.quarantined()),
        }
        fault = self._fault or gateway.fanout.fault
        return Health(
            self.name,
            "failed" if fault else self._state,
            fault or f"{self.host}:{self.port}, {gateway.connections} connections",
            self._last_progress,
            (self._messages.gauge(), self._events.gauge()),
            counters,
        )

    async def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        """From the platform to devices: republish actions, commands."""
        self._gateway.platform_publish(topic, payload, self.clock.now(), qos=qos, retain=retain)

    async def quarantine(self, device_id: str, *, reason: str) -> None:
        """Refuse the device from now on, then close its connection. Idempotent."""
        self._store.put("quarantined", device_id, reason.encode())
        self._gateway.quarantine(device_id, reason, self.clock.now())
        await self._hand_on_events()

    async def release(self, device_id: str) -> None:
        """Let the device come back. Idempotent."""
        self._store.remove("quarantined", device_id)
        self._gateway.release(device_id, self.clock.now())
        await self._hand_on_events()

    async def disconnect(
        self, client_id: str, *, clean_session: bool = False, prevent_will: bool = False
    ) -> bool:
        """AWS's DeleteConnection: close the connection; the client may come back. False: it was not connected."""
        closed = self._gateway.close_connection(
            client_id, self.clock.now(), clean_session=clean_session, prevent_will=prevent_will
        )
        await self._hand_on_events()
        return closed

    async def create(self, device_id: str, *, policy: Mapping[str, Json] | None = None) -> None:
        """Register the device, with a policy document of its own or the gateway's. Raises ConfigError."""
        self._gateway.create(device_id, Policy(policy) if policy is not None else None)
        self._store.put("device", device_id, json.dumps(policy).encode())

    def quarantined(self) -> frozenset[str]:
        return self._gateway.quarantined()

    def converse(self, io: Io, *, source_ip: str, certificate: bytes | None) -> Conversation:
        """A new conversation, on the plain listeners with the local principal."""
        _ = certificate
        return Conversation(
            self._gateway,
            io,
            identity=self._local,
            source_ip=source_ip,
            now=self.clock.now(),
            platform=self._rules,
        )

    def opened(self, line: Line) -> None:
        self._lines.add(line)

    def closed(self, line: Line) -> None:
        self._lines.discard(line)

    async def _listen(self) -> None:
        listeners: dict[str, Any] = {LISTENER: {"type": "tcp", "bind": f"{self.host}:{self.port}"}}
        if self.websocket_port is not None:
            listeners[WEBSOCKET] = {"type": "ws", "bind": f"{self.host}:{self.websocket_port}"}
        config = {"listeners": listeners, "plugins": dict(self._settings.plugins)}
        self._shell = Shell(config, self)
        try:
            await self._shell.start()
        except (BrokerError, OSError) as error:
            raise BackendError(
                f"the broker cannot listen on {self.host}:{self.port}: {error}",
                fix="stop what uses the port, or set broker.port (0 lets the system choose)",
            ) from None
        self.port = self._shell.port_of(LISTENER)
        if self.websocket_port is not None:
            self.websocket_port = self._shell.port_of(WEBSOCKET)

    async def _close_all(self) -> None:
        now = self.clock.now()
        for line in list(self._lines):
            line.conversation.end("SERVER_INITIATED_DISCONNECT", now)
        with anyio.move_on_after(1.0):
            while self._lines:  # noqa: ASYNC110 - sockets close within a turn or two
                await anyio.sleep(0.01)

    async def _stop(self) -> None:
        await self._close_all()
        if self._unblocking is not None:
            self._unblocking.cancel()
            await asyncio.wait([self._unblocking])
        if self._turning is not None:
            self._turning.cancel()
        if self._shell is not None:
            await self._shell.shutdown()
        self._store.close()
        self._state = "stopped"

    def _wake(self) -> None:
        """A turn follows, after everything that can be read now was read."""
        if self._turning is None:
            self._turning = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._turning = None
        now = self.clock.now()
        self._gateway.turn(now)
        self._last_progress = now
        if self._gateway.fanout.blocked and self._unblocking is None:
            self._pauses += 1
            self._unblocking = asyncio.create_task(self._unblock(), name="broker-unblock")

    async def _unblock(self) -> None:
        """Wait for room at the rules, until nobody is held any more."""
        try:
            while self._gateway.fanout.blocked:
                await self._messages.room()
                self._gateway.turn(self.clock.now())
        except StreamClosed:
            return  # the stack is stopping: nothing is acknowledged any more
        except BackendError as error:
            self._fault = error.what
        finally:
            self._unblocking = None

    async def _tick_for_ever(self) -> None:
        """Close a metrics period at every whole second of the clock."""
        period = self._settings.period_seconds * SECOND
        self._gateway.tick(self.clock.now() // period * period)
        while True:
            end = self.clock.now() // period * period + period
            await self.clock.sleep_until(end)
            self._gateway.tick(end)
            for line in list(self._lines):
                line.conversation.check(end)
            await self._hand_on_events()

    async def _hand_on_events(self) -> None:
        """Into the stream what fits; what does not is counted: a later period must not wait for an earlier one."""
        events = self._gateway.take_events()
        try:
            kept = self._events.offer_all(events) if events else 0
            self._fault = ""
        except BackendError as error:
            kept, self._fault = 0, error.what
        self._gateway.counters["events_dropped"] += len(events) - kept
        if self._shell is not None:
            for event in events:
                await self._shell.tell_plugins(event)

    def _recall(self) -> None:
        """What an earlier process of this gateway kept."""
        for device_id, document in self._store.all("device").items():
            policy = json.loads(document)
            self._gateway.create(device_id, Policy(policy) if policy is not None else None)
        for device_id, reason in self._store.all("quarantined").items():
            self._gateway.quarantine(device_id, reason.decode(), self.clock.now())
