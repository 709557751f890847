"""The gateway in another process, seen from the rules: a persistent QoS 1 session, acknowledged when all is done.

A PUBLISH of the session holds many messages. It is acknowledged once every one of them has been handed on by the
router, so that what a killed process had taken comes again. A message that comes again while its first copy is
still under way is not handed on twice: its new packet waits for the first copy.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
from anyio import to_thread
from anyio.abc import TaskStatus
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from contracts.clock import Clock
from contracts.envelope import decode
from contracts.errors import NotReady, ThingstormError
from contracts.messages import Message, Nanoseconds
from contracts.ports import Health, State
from contracts.streams import BatchStream

from .admin_client import GatewayClient
from .lane import BATCH, RULES_TOPIC, WINDOW
from .rules_session import PLATFORM_USER

KEEP_ALIVE_SECONDS = 10
CAPACITY = 2 * WINDOW * BATCH
"""A window that is under way, and the one that comes after a reconnect."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between attempts to connect, doubled each time."""


@dataclass(slots=True)
class _Packet:
    client: Client
    packet_id: int
    left: int


class RemoteLane(BatchStream[Message]):
    """A lane's messages in this process. Knows by which packet each one came, and when that is done."""

    def __init__(self, name: str) -> None:
        super().__init__(name, capacity=CAPACITY)
        self._packets: dict[str, _Packet] = {}
        self.acknowledge: Callable[[Client, int], None] = lambda _client, _packet_id: None

    def receive(self, client: Client, packet_id: int, messages: Sequence[Message]) -> bool:
        """Take a packet's messages. False: there is no room, and the packet must not be acknowledged."""
        packet = _Packet(client, packet_id, len(messages))
        fits = True
        for message in messages:
            known = message.message_id in self._packets
            fits = fits and (known or self.offer(message))
            if fits:
                self._packets[message.message_id] = packet
        return fits

    def done(self, items: Sequence[Message]) -> None:
        super().done(items)
        for message in items:
            packet = self._packets.pop(message.message_id)
            packet.left -= 1
            if not packet.left:
                self.acknowledge(packet.client, packet.packet_id)


class RulesLink:
    """The service "broker-link": connects, again and again, and feeds the lanes."""

    name = "broker-link"

    def __init__(
        self,
        *,
        host: str,
        port: int,
        token: str,
        gateway: GatewayClient,
        lanes: Sequence[RemoteLane],
        clock: Clock,
    ) -> None:
        """Nothing is opened yet. `gateway` is asked for its version before each connection."""
        self._host = host
        self._port = port
        self._token = token
        self._gateway = gateway
        self._lanes = {f"{RULES_TOPIC}/{lane.name}": lane for lane in lanes}
        self._clock = clock
        self._client: Client | None = None
        self._lost = anyio.Event()
        self._state: State = "starting"
        self._detail = "connecting"
        self._last_progress: Nanoseconds = 0
        self._counters = dict.fromkeys(("connects", "packets", "messages", "acknowledged"), 0)
        for lane in lanes:
            lane.acknowledge = self._acknowledge

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Ready at once: a gateway that is not there yet is waited for, and the health says so."""
        task_status.started()
        pause = FIRST_PAUSE
        while True:
            try:
                await self._gateway.check_version()
                connects = self._counters["connects"]
                await self._converse()
                pause = FIRST_PAUSE if self._counters["connects"] > connects else pause
            except ThingstormError as error:
                self._state, self._detail = "failed", error.told
            await anyio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def drain(self) -> None:
        """Take nothing more; what was taken is the router's to finish, and acknowledged as it does."""
        self._state = "draining"
        for lane in self._lanes.values():
            await lane.join()

    def health(self) -> Health:
        gauges = tuple(lane.gauge() for lane in self._lanes.values())
        return Health(self.name, self._state, self._detail, self._last_progress, gauges, dict(self._counters))

    async def _converse(self) -> None:
        """One connection, from CONNECT to its end. Raises NotReady if it could not be made."""
        self._lost = anyio.Event()
        client = self._client = self._make_client(asyncio.get_running_loop())
        try:
            await to_thread.run_sync(lambda: client.connect(self._host, self._port, KEEP_ALIVE_SECONDS))
            client.loop_start()
            await self._lost.wait()
        except OSError as error:
            raise NotReady(
                f"the broker at {self._host}:{self._port} cannot be reached: {error}",
                fix="start it, or correct broker.host and broker.port; it is tried again",
            ) from None
        finally:
            self._client = None
            with anyio.CancelScope(shield=True):
                client.disconnect()
                await to_thread.run_sync(client.loop_stop)

    def _make_client(self, loop: asyncio.AbstractEventLoop) -> Client:
        """A client whose callbacks, called in its own thread, run on our loop in the order they came."""
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id="thingstorm-rules",
            clean_session=False,
            protocol=MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.username_pw_set(PLATFORM_USER, self._token)

        def on_connect(_client: Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
            loop.call_soon_threadsafe(self._connected, client, str(code) if code.is_failure else "")

        def on_disconnect(_client: Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
            loop.call_soon_threadsafe(self._disconnected, client, str(code))

        def on_message(_client: Client, _data: Any, message: MQTTMessage) -> None:
            loop.call_soon_threadsafe(self._arrived, client, message)

        client.on_connect, client.on_disconnect, client.on_message = on_connect, on_disconnect, on_message
        return client

    def _connected(self, client: Client, refusal: str) -> None:
        if client is not self._client:
            return
        if refusal:
            self._state = "failed"
            self._detail = (
                f"the broker at {self._host}:{self._port} refused the rules' session: {refusal}; "
                "fix: give stages.token the same value in every stage"
            )
            self._lost.set()
            return
        self._state, self._detail = "ready", f"subscribed at {self._host}:{self._port}"
        self._counters["connects"] += 1
        client.subscribe([(topic, 1) for topic in self._lanes])

    def _disconnected(self, client: Client, reason: str) -> None:
        if client is self._client:
            if self._state == "ready":
                self._state, self._detail = "failed", f"the connection to the broker ended: {reason}"
            self._lost.set()

    def _arrived(self, client: Client, message: MQTTMessage) -> None:
        if client is not self._client:
            return
        messages = tuple(decode(bytes(message.payload)))
        self._counters["packets"] += 1
        self._counters["messages"] += len(messages)
        self._last_progress = self._clock.now()
        if not self._lanes[message.topic].receive(client, message.mid, messages):
            self._lost.set()  # more than a window: begin again at the oldest that is not acknowledged

    def _acknowledge(self, client: Client, packet_id: int) -> None:
        """Only on the connection that brought the packet: ids of an earlier one mean nothing any more."""
        if client is self._client:
            client.ack(packet_id, 1)
            self._counters["acknowledged"] += 1
