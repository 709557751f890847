"""The gateway as a service: listeners, clock, the turns of its core, what the rules and the operator ask of it."""

import asyncio
import json
import ssl
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import anyio
from amqtt.errors import BrokerError
from anyio.abc import TaskStatus
from pydantic import BaseModel, ConfigDict

from contracts.clock import Clock
from contracts.errors import BackendError, NotReady, Transient
from contracts.identity import Credentials, Registry
from contracts.messages import SECOND, Json, Nanoseconds, PublishProperties
from contracts.ports import Health, Outlet, State
from contracts.shadows import ShadowStore
from contracts.streams import StreamClosed

from .certificates import Certificates
from .conversation import Conversation, Io
from .device_services import DeviceServices
from .gateway import Gateway
from .gateway_measures import gateway_measures
from .identity import LOCAL_PRINCIPAL, Identity, local_identity
from .limits import profile
from .pki import NAMES, certificate_id
from .policy import DEVICE_DOCUMENT, OPEN_DOCUMENT, Policy
from .rules_session import RulesSession
from .shadow_store import MemoryShadows
from .shell import PLAIN, SECURE, WEBSOCKET, Shell
from .store import Store
from .transport import Line


class BrokerSettings(BaseModel):
    """Where to listen and which limits hold. Port 0 lets the system choose; no port, no such listener.

    `limits` names a profile, `overrides` replaces some of it. `policy` is that of the local `principal`, who is
    everybody on the plain listeners. `pki` is the folder of the gateway's CA, `tls_names` what its certificate is for.
    `period_seconds` is that of the metrics. `plugins` is amqtt's own configuration of plugins.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = 1883
    tls_port: int | None = None
    websocket_port: int | None = None
    pki: Path | None = None
    tls_names: tuple[str, ...] = NAMES
    limits: str = "aws"
    overrides: Mapping[str, float] = {}
    policy: Mapping[str, Any] | None = None
    principal: str = LOCAL_PRINCIPAL
    period_seconds: int = 1
    plugins: Mapping[str, Any] = {}


class EmbeddedBroker:
    """The service "broker", and the control over devices. `messages` and `events` take what the rules are to see."""

    cannot = ""
    """What of IoT Core this broker does not do, for the person who starts it."""

    def __init__(
        self,
        *,
        settings: BrokerSettings,
        clock: Clock,
        messages: Outlet,
        events: Outlet,
        name: str = "broker",
        store: Store | None = None,
        rules: RulesSession | None = None,
        registry: Registry | None = None,
        shadows: ShadowStore | None = None,
    ) -> None:
        """`rules` serves `messages` and `events` to another process, where they are its lanes.

        With a `registry` and a `tls_port` devices connect by their certificates. Without `shadows` the gateway keeps
        them itself. Raises ConfigError, UnknownName.
        """
        limits = profile(settings.limits, settings.overrides)
        document = settings.policy or (DEVICE_DOCUMENT if settings.limits == "aws" else OPEN_DOCUMENT)
        self.name = name
        self.clock = clock
        self._settings = settings
        self._messages = messages
        self._events = events
        self._store = store or Store(None)
        self._gateway = Gateway(limits=limits, accept=messages.offer_all, store=self._store)
        self._gateway.wake = self._wake
        self._services = DeviceServices(
            store=shadows or MemoryShadows(clock=clock, store=self._store),
            clock=clock,
            publish=lambda topic, body: self._gateway.service_publish(topic, body, clock.now()),
        )
        self._gateway.fanout.serve = lambda message: self.run_beside(self._services.serve(message))
        self._local = local_identity(document, name=settings.principal)
        self._certificates: Certificates | None = None
        if registry is not None and settings.tls_port is not None:
            self._certificates = Certificates(registry, folder=settings.pki, names=settings.tls_names)
        self._tasks: set[asyncio.Task[None]] = set()
        self._rules = rules
        self._lines: set[Line] = set()
        self._turning: asyncio.Handle | None = None
        self._unblocking = self._looking = False
        self._fault = ""
        self._suspended = False
        self._recall()
        self._shell: Shell | None = None
        self._state: State = "starting"
        self._last_progress: Nanoseconds = 0
        self._pauses = 0
        self.host = settings.host
        self.port = settings.port
        self.tls_port = settings.tls_port if self._certificates is not None else None
        self.websocket_port = settings.websocket_port

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        await self._listen()
        self._state = "ready"
        task_status.started()
        if self._certificates is not None:
            self.run_beside(self._certificates.watch(self._gateway.principals, self._identified))
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
        counters = {**gateway.counters, "pauses": self._pauses}
        fault = self._fault or gateway.fanout.fault
        if not fault and self._certificates is not None:
            fault = self._certificates.fault
        fault = fault or self._services.fault
        return Health(
            self.name,
            "failed" if fault else self._state,
            fault or f"{self.host}:{self.port}, {gateway.connections} connections",
            self._last_progress,
            (self._messages.gauge(), self._events.gauge(), self._services.gauge(), gateway.fanout.gauge()),
            counters,
            measures=gateway_measures(
                quarantined=len(gateway.quarantined()), connections=gateway.connections
            ),
        )

    async def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        """From the platform to devices: commands."""
        self._gateway.platform_publish(topic, payload, self.clock.now(), qos=qos, retain=retain)

    async def republish(
        self, topic: str, payload: bytes, *, qos: int = 0, properties: PublishProperties | None = None
    ) -> None:
        """A rule's republish action. Raises Transient while the rules have no room for what they make."""
        now = self.clock.now()
        if not self._gateway.republish(topic, payload, now, qos=qos, properties=properties):
            raise Transient("the rules have no room for a republished message", fix="it is tried again")

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

    async def enroll(self, device_id: str, *, policy: Mapping[str, Json] | None = None) -> Credentials:
        """A thing, an active certificate and a policy in the registry. Raises ConfigError, NotReady, BackendError."""
        if self._certificates is None:
            raise NotReady(
                "the gateway has no registry of certificates",
                fix="set broker.tls_port, and aws.endpoint where the broker is a process of its own",
            )
        return await self._certificates.create_device(device_id, policy=policy)

    def converse(self, io: Io, *, source_ip: str, certificate: bytes | None) -> Conversation:
        """A new conversation: of the local principal on the plain listeners, else of a certificate."""
        conversation = Conversation(
            self._gateway,
            io,
            identity=self._local if certificate is None else None,
            source_ip=source_ip,
            now=self.clock.now(),
            platform=self._rules if certificate is None else None,
        )
        if certificate is not None:
            conversation.hold()
            self.run_beside(self._identify(conversation, certificate_id(certificate)))
        return conversation

    async def tls_context(self) -> ssl.SSLContext:
        """The context that trusts every registered certificate."""
        assert self._certificates is not None  # noqa: S101 - there is no TLS listener without them
        await self._certificates.prepare()
        return self._certificates.context

    def handshake_failed(self) -> None:
        self._gateway.counters["handshakes_failed"] += 1

    def run_beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this in a task that ends with the broker."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def opened(self, line: Line) -> None:
        self._lines.add(line)
        if self._suspended:
            line.conversation.lost(self.clock.now())
            line.close()

    def closed(self, line: Line) -> None:
        self._lines.discard(line)

    def suspend(self) -> None:
        """Close every connection and take none until `resume`: what a restart looks like to devices."""
        self._suspended = True
        now = self.clock.now()
        for line in list(self._lines):
            line.conversation.lost(now)
            line.close()

    def resume(self) -> None:
        self._suspended = False

    async def _listen(self) -> None:
        ports = {PLAIN: self.port, SECURE: self.tls_port, WEBSOCKET: self.websocket_port}
        listeners = {
            name: {"type": "ws" if name == WEBSOCKET else "tcp", "bind": f"{self.host}:{port}"}
            for name, port in ports.items()
            if port is not None
        }
        config = {"listeners": listeners, "plugins": dict(self._settings.plugins)}
        self._shell = Shell(config, self)
        try:
            await self._shell.start()
        except (BrokerError, OSError) as error:
            self._shell.close_listeners()
            raise BackendError(
                f"the broker cannot listen on {self.host}, one of {', '.join(map(str, filter(None, ports.values())))}: {error}",
                fix="stop what uses the port, or set broker.port, tls_port or websocket_port (0 lets the system choose)",
            ) from None
        self.port = self._shell.port_of(PLAIN)
        if self.tls_port is not None:
            self.tls_port = self._shell.port_of(SECURE)
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
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._certificates is not None:
            self._certificates.close()
        if self._turning is not None:
            self._turning.cancel()
        if self._shell is not None:
            await self._shell.shutdown()
        self._store.close()
        self._state = "stopped"

    async def _identify(self, conversation: Conversation, certificate: str) -> None:
        assert self._certificates is not None  # noqa: S101 - likewise
        identity = await self._certificates.identity(certificate)
        conversation.identify(identity, self.clock.now())

    def _identified(self, identity: Identity) -> None:
        self._gateway.identify(identity, self.clock.now())

    def _wake(self) -> None:
        """A turn follows, after everything that can be read now was read."""
        if self._turning is None:
            self._turning = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._turning = None
        now = self.clock.now()
        self._gateway.turn(now)
        self._last_progress = now
        if self._gateway.fanout.blocked and not self._unblocking:
            self._pauses += 1
            self._unblocking = True
            self.run_beside(self._unblock())

    async def _unblock(self) -> None:
        """Wait for room at the rules, until nobody is held any more."""
        try:
            while self._gateway.fanout.blocked:
                await self._messages.room()
                self._gateway.turn(self.clock.now())
        except StreamClosed:
            return  # the stack is stopping: nothing is acknowledged any more
        except BackendError as error:
            self._fault = error.told
        finally:
            self._unblocking = False

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
            if not self._looking:
                self._looking = True
                self.run_beside(self._look_at_shadows())

    async def _look_at_shadows(self) -> None:
        """What others changed over HTTP; a look that takes long delays the next one, not the counting."""
        try:
            await self._services.look(self._gateway.watched())
        finally:
            self._looking = False

    async def _hand_on_events(self) -> None:
        """Into the stream what fits; what does not is counted: a later period must not wait for an earlier one."""
        events = self._gateway.take_events()
        try:
            kept = self._events.offer_all(events) if events else 0
            self._fault = ""
        except BackendError as error:
            kept, self._fault = 0, error.told
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
