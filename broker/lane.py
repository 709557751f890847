"""What the rules in another process are to see: on the disk until that process has acknowledged it.

A lane is one queue of the rules' persistent session. Messages are journalled before the device gets its PUBACK,
sent in order, many to a PUBLISH of QoS 1, and forgotten when that PUBLISH is acknowledged. A new connection of
the subscriber begins again at the oldest message not acknowledged.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import anyio

from contracts.envelope import encode
from contracts.journal import Entry, Journal, JournalFault
from contracts.messages import Message
from contracts.ports import Gauge

RULES_TOPIC = "$thingstorm/rules"

WINDOW = 8
BATCH = 50
"""PUBLISH packets out and not acknowledged, and messages in each. A batch is under way for some 100 ms, so 400
carry 4,000 messages a second, several times what the AWS hops behind them take; and 400 at most come again when
the pipeline is killed."""

BATCH_BYTES = 256 * 1024
LINGER_SECONDS = 0.01
"""How long the first message of a packet waits for others: 2 of them at 200 messages/s, 50 at 5,000."""

Send = Callable[[str, bytes, bool], int]
"""Sends a body on a topic, as a duplicate or not; returns the packet id."""


class Lane:
    """One durable queue towards the rules. `fault` says why the disk does not take messages, if it does not."""

    def __init__(self, name: str, path: Path, *, capacity: int) -> None:
        self.name = name
        self.topic = f"{RULES_TOPIC}/{name}"
        self.fault = ""
        self._journal = Journal(path)
        self._capacity = capacity
        self._highest = len(self._journal)
        self._room = anyio.Event()
        self._send: Send | None = None
        self._in_flight: dict[int, tuple[int, int]] = {}
        self._sent = self._ever_sent = 0
        self._timer: asyncio.TimerHandle | None = None

    def offer(self, message: Message) -> bool:
        """Keep the message if there is room. Raises JournalFault: then it is not kept and must not be acknowledged."""
        return self.offer_all((message,)) == 1

    def offer_all(self, messages: Sequence[Message]) -> int:
        """Keep the first of these, as many as there is room for, in one transaction. Raises JournalFault: none is kept."""
        count = min(len(messages), self._capacity - len(self._journal))
        if count <= 0:
            return 0
        try:
            self._journal.append([encode(message) for message in messages[:count]])
        except JournalFault as fault:
            self.fault = fault.told
            raise
        self.fault = ""
        self._highest = max(self._highest, len(self._journal))
        self._pump_soon()
        return count

    async def room(self) -> None:
        """Return when one message can be kept."""
        while len(self._journal) >= self._capacity:
            if self._room.is_set():
                self._room = anyio.Event()
            await self._room.wait()

    async def put(self, message: Message) -> None:
        """Keep the message, waiting for room."""
        while not self.offer(message):
            await self.room()

    async def join(self) -> None:
        """Nothing to wait for: what is not acknowledged is on the disk, and sent after the next start."""

    def gauge(self) -> Gauge:
        return Gauge(self.name, len(self._journal), self._capacity, self._highest)

    def attach(self, send: Send) -> None:
        """A subscriber is there: send it everything from the oldest entry on."""
        self.detach()
        self._send = send
        self._pump_soon()

    def detach(self) -> None:
        """The subscriber is gone: what it did not acknowledge will be sent again."""
        self._send = None
        self._in_flight.clear()
        self._sent = 0

    def acknowledged(self, packet_id: int) -> None:
        """The subscriber has done what this packet held."""
        if (span := self._in_flight.pop(packet_id, None)) is None:
            return
        self._guarded(lambda: self._journal.forget(*span))
        self._room.set()
        self._pump_soon()

    def close(self) -> None:
        """The file is whole and can be opened by the next process."""
        self.detach()
        if self._timer is not None:
            self._timer.cancel()
        self._journal.close()

    def _pump_soon(self) -> None:
        if self._send is not None and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._guarded(self._pump)

    def _pump(self) -> None:
        while self._send is not None and len(self._in_flight) < WINDOW:
            entries = _fitting(self._journal.read(after=self._sent, limit=BATCH))
            if not entries:
                return
            first, last = entries[0].number, entries[-1].number
            body = b"".join(entry.body for entry in entries)
            packet_id = self._send(self.topic, body, first <= self._ever_sent)
            self._in_flight[packet_id] = (first, last)
            self._sent = last
            self._ever_sent = max(self._ever_sent, last)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Outside of a device's own call there is nobody to refuse: the fault is told by the health."""
        try:
            work()
            self.fault = ""
        except JournalFault as fault:
            self.fault = fault.told


def _fitting(entries: Iterable[Entry]) -> list[Entry]:
    """The first entries, up to the bytes of one packet; at least one."""
    chosen: list[Entry] = []
    size = 0
    for entry in entries:
        size += len(entry.body)
        if chosen and size > BATCH_BYTES:
            break
        chosen.append(entry)
    return chosen
