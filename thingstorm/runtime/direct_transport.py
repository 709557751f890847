"""Carries the fleet to the gateway's core in this process: real MQTT bytes, no sockets, time by hand."""

from collections import deque
from collections.abc import Callable, Sequence

from broker.conversation import Conversation
from broker.gateway import Gateway
from broker.identity import Identity
from contracts.messages import SECOND, Nanoseconds
from contracts.ports import Gauge
from simulator import wire
from simulator.device import Reading
from simulator.lines import MAX_LINES, LineAction, Open, Send
from simulator.transports.base import Callbacks, Loss

MAX_IN_FLIGHT = 100
FILTERS_A_SUBSCRIBE = 8
CHECK: Nanoseconds = SECOND


class _Line:
    """One connection: what the client has sent and the gateway has not read, and the way back."""

    __slots__ = ("_spoke", "answers", "client", "closed", "conversation", "held_until", "paused", "unread")

    def __init__(self, spoke: dict["_Line", None]) -> None:
        self._spoke = spoke
        self.client: _Client | None = None
        self.answers: list[bytes] = []
        self.unread: deque[bytes] = deque()
        self.closed = False
        self.paused = False
        self.held_until: Nanoseconds = 0
        self.conversation: Conversation

    def write(self, data: bytes) -> None:
        self.answers.append(data)
        self._spoke[self] = None

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def pause_for(self, seconds: float) -> None:
        self.held_until = self.conversation.seen + int(seconds * SECOND)

    def close(self) -> None:
        self.closed = True
        self._spoke[self] = None


class _Client:
    """A device's side of its line."""

    __slots__ = ("admitted", "device_id", "full", "line", "listens", "next_id", "reader", "waiting")

    def __init__(self, device_id: str, listens: Sequence[str], line: _Line) -> None:
        self.device_id = device_id
        self.listens = listens
        self.line = line
        line.client = self
        self.reader = wire.Reader()
        self.admitted = False
        self.full = False
        self.next_id = 0
        self.waiting: dict[int, Reading] = {}

    def packet_id(self) -> int:
        self.next_id = self.next_id % 65_535 + 1
        return self.next_id


class DirectTransport:
    """A Transport whose connections end in `gateway`. Call `pump` after whatever may have made bytes."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        identity: Identity,
        callbacks: Callbacks,
        now: Callable[[], Nanoseconds],
    ) -> None:
        self._gateway = gateway
        self._identity = identity
        self._callbacks = callbacks
        self._now = now
        self._clients: dict[str, _Client] = {}
        self._raw: dict[str, _Line] = {}
        self._busy: dict[_Line, None] = {}
        self._spoke: dict[_Line, None] = {}
        self._acknowledged = 0
        self._checked: Nanoseconds = 0
        self.down = False
        """Whether the broker is away: nobody gets in."""

    async def open(self) -> None:
        """Nothing to do."""

    def connect(self, device_id: str, listens: Sequence[str]) -> None:
        if device_id in self._clients:
            return
        client = self._clients[device_id] = _Client(device_id, listens, self._dial())
        self._send(client.line, wire.connect(device_id))

    def publish(self, device_id: str, reading: Reading) -> bool:
        client = self._clients.get(device_id)
        if client is None or not client.admitted:
            return False
        if reading.qos and len(client.waiting) >= MAX_IN_FLIGHT:
            client.full = True
            return False
        packet_id = client.packet_id() if reading.qos else 0
        if packet_id:
            client.waiting[packet_id] = reading
        data = wire.publish(reading.topic, reading.payload, packet_id=packet_id, retain=reading.retain)
        self._send(client.line, data)
        return True

    def subscribe(self, device_id: str, filters: Sequence[str]) -> None:
        client = self._clients.get(device_id)
        if client is not None and client.admitted:
            self._send(client.line, wire.subscribe(filters, packet_id=client.packet_id()))

    def disconnect(self, device_id: str) -> None:
        if (client := self._clients.pop(device_id, None)) is not None:
            self._send(client.line, wire.DISCONNECT)

    def drop(self, device_id: str) -> Sequence[Reading]:
        client = self._clients.pop(device_id, None)
        if client is None:
            return ()
        client.line.conversation.lost(self._now())
        return tuple(client.waiting.values())

    def line(self, action: LineAction) -> None:
        if isinstance(action, Open):
            self._shut(action.line)
            if len(self._raw) >= MAX_LINES:
                self._shut(next(iter(self._raw)))
            self._raw[action.line] = self._dial()
            self._send(self._raw[action.line], action.data)
        elif isinstance(action, Send):
            if (line := self._raw.get(action.line)) is not None:
                self._send(line, action.data)
        else:
            self._shut(action.line)

    def in_flight(self) -> Gauge:
        used = sum(len(client.waiting) for client in self._clients.values())
        return Gauge("in_flight", used, MAX_IN_FLIGHT * len(self._clients), used)

    def acknowledged(self) -> int:
        return self._acknowledged

    async def close(self) -> None:
        for device_id in list(self._clients):
            self.disconnect(device_id)
        self.pump()

    def go_down(self) -> None:
        """The broker is away: every connection breaks."""
        self.down = True
        now = self._now()
        for line in [*(client.line for client in self._clients.values()), *self._raw.values()]:
            line.conversation.lost(now)
            line.closed = True
        self._raw.clear()
        for client in list(self._clients.values()):
            self._over(client)

    def pump(self) -> None:
        """Until nobody has anything to say: the gateway's turn, then the clients'."""
        now = self._now()
        while True:
            for line in list(self._busy):
                self._read(line, now)
            self._gateway.turn(now)
            spoke = list(self._spoke)
            self._spoke.clear()
            for line in spoke:
                self._hear(line)
            if not spoke and not self._readable(now):
                break
        if now - self._checked >= CHECK:
            self._checked = now
            self._check(now)

    def _dial(self) -> _Line:
        line = _Line(self._spoke)
        line.conversation = Conversation(
            self._gateway, line, identity=self._identity, source_ip="127.0.0.1", now=self._now()
        )
        if self.down:
            line.conversation.lost(self._now())
            line.close()
        return line

    def _send(self, line: _Line, data: bytes) -> None:
        line.unread.append(data)
        self._busy[line] = None

    def _readable(self, now: Nanoseconds) -> bool:
        return any(not line.paused and line.held_until <= now for line in self._busy)

    def _read(self, line: _Line, now: Nanoseconds) -> None:
        while line.unread and not line.closed:
            if line.paused or line.held_until > now:
                return
            line.conversation.receive(line.unread.popleft(), now)
        self._busy.pop(line, None)

    def _hear(self, line: _Line) -> None:
        """What the gateway sent to a device, then its end if there is one; a hostile line forgets what it hears."""
        answers, line.answers = line.answers, []
        client = line.client
        if client is None or self._clients.get(client.device_id) is not client:
            return
        for event in client.reader.feed(b"".join(answers)):
            self._take(client, event)
        if line.closed:
            self._over(client)

    def _take(self, client: _Client, event: wire.Event) -> None:
        if isinstance(event, wire.Answered):
            if event.code == 0:
                self._admitted(client)
        elif isinstance(event, wire.Acknowledged):
            self._acknowledged += client.waiting.pop(event.packet_id, None) is not None
            if client.full and len(client.waiting) <= MAX_IN_FLIGHT // 2:
                client.full = False
                self._callbacks.writable(client.device_id)
        else:
            if event.packet_id:
                self._send(client.line, wire.acknowledge(event.packet_id))
            self._callbacks.message(client.device_id, event.topic, event.payload)

    def _admitted(self, client: _Client) -> None:
        client.admitted = True
        for first in range(0, len(client.listens), FILTERS_A_SUBSCRIBE):
            part = client.listens[first : first + FILTERS_A_SUBSCRIBE]
            self._send(client.line, wire.subscribe(part, packet_id=client.packet_id()))
        self._callbacks.connected(client.device_id)

    def _over(self, client: _Client) -> None:
        if self._clients.get(client.device_id) is not client:
            return
        del self._clients[client.device_id]
        why: Loss = "lost" if client.admitted else "unreachable" if self.down else "refused"
        self._callbacks.lost(client.device_id, why, tuple(client.waiting.values()))

    def _shut(self, name: str) -> None:
        if (line := self._raw.pop(name, None)) is not None and not line.closed:
            line.conversation.lost(self._now())

    def _check(self, now: Nanoseconds) -> None:
        """Sockets that never sent their CONNECT. The devices' own clients never miss a keep-alive."""
        for line in list(self._raw.values()):
            line.conversation.check(now)
