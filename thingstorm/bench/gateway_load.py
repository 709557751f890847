"""The load generator of the gateway's bench, in a process of its own: bare sockets, one epoll, no MQTT library.

Publishers send 200-byte JSON to topics of their own, one subscriber reads them all; a closed loop keeps so many
messages under way. Every message carries its publisher and a number, so that none can be lost, doubled or passed
by another without being seen. All frames of a case have the same length: the reader steps from one to the next.

    python -m thingstorm.bench.gateway_load '{"kind": "throughput", ...}'
"""

import json
import os
import resource
import select
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thingstorm.bench.gateway_tls import client_context

PAYLOAD_BYTES = 200
TOTAL_WINDOW = {0: 1_000, 1: 1_000}
UNACKNOWLEDGED = 20
"""Of one publisher at QoS 1: what clients allow themselves."""

HEAD = b'{"seq": "'
TAIL = b'", "pad": "%s"}' % (b"x" * (PAYLOAD_BYTES - len(HEAD) - 10 - len(b'", "pad": ""}')))

SETTLE_SECONDS = 5.0
AT_A_TIME = 64
"""Connections that are being made at once."""

READ_BYTES = 256 * 1024
TLS_RECORD = 16 * 1024

ATTACK_STARTS = 0.3
"""Seconds until a new Python process has its first socket open."""


def topic_of(number: int) -> bytes:
    """Where the publisher of that number publishes."""
    return b"dt/bench/dev%05d/telemetry" % number


def frame_parts(number: int, qos: int) -> tuple[bytes, bytes]:
    """What stands before and after the packet id (QoS 1) and the message's number."""
    topic = topic_of(number)
    length = 2 + len(topic) + (2 if qos else 0) + PAYLOAD_BYTES
    start = (
        bytes((0x30 | qos << 1, length & 0x7F | 0x80, length >> 7)) + struct.pack(">H", len(topic)) + topic
    )
    return start, TAIL


def connect_packet(client_id: str) -> bytes:
    """A CONNECT of MQTT 3.1.1 with a clean session and ten minutes of keep-alive."""
    name = client_id.encode()
    body = b"\x00\x04MQTT\x04\x02" + struct.pack(">H", 600) + struct.pack(">H", len(name)) + name
    return bytes((0x10, len(body))) + body


def subscribe_packet(filters: list[bytes], qos: int) -> bytes:
    """A SUBSCRIBE to all of the filters; of 128 to 16,383 bytes."""
    body = b"\x00\x01" + b"".join(struct.pack(">H", len(one)) + one + bytes((qos,)) for one in filters)
    length = len(body)
    return bytes((0x82, length & 0x7F | 0x80, length >> 7)) + body


def opened(port: int, client_id: str, tls: ssl.SSLContext | None = None) -> socket.socket:
    """A connected client, its CONNACK read; blocking."""
    one = socket.create_connection(("127.0.0.1", port), timeout=10)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is not None:
        one = tls.wrap_socket(one, server_hostname="localhost")
    one.sendall(connect_packet(client_id))
    answer = _exactly(one, 4)
    if answer[0] != 0x20 or answer[3]:
        raise ConnectionError(f"{client_id} was refused: {answer.hex()}")
    return one


def subscribed(
    port: int, client_id: str, *, filters: list[bytes], qos: int, tls: ssl.SSLContext | None = None
) -> socket.socket:
    """A connected client with these subscriptions, at most 8 in a packet."""
    one = opened(port, client_id, tls)
    for first in range(0, len(filters), 8):
        part = filters[first : first + 8]
        one.sendall(subscribe_packet(part, qos))
        answer = _exactly(one, 4 + len(part))
        if any(code > 2 for code in answer[4:]):
            raise ConnectionError(f"a subscription was refused: {answer.hex()}")
    return one


def _exactly(one: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = one.recv(count - len(data))
        if not part:
            raise ConnectionError("the broker closed the connection")
        data += part
    return data


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_kb(pid: int) -> float:
    """Resident memory of a process, in KB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


@dataclass(slots=True)
class Publisher:
    """One publishing connection; `unsent` is what the socket did not take yet."""

    number: int
    socket: socket.socket
    start: bytes
    rest: bytes
    sent: int = 0
    received: int = 0
    acknowledged: int = 0
    unsent: bytes = b""


class Throughput:
    """One closed-loop run: so many publishers, one subscriber."""

    def __init__(
        self,
        *,
        port: int,
        pid: int,
        publishers: int,
        qos: int,
        seconds: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._pid = pid
        self._qos = qos
        self._seconds = seconds
        self._window = max(1, min(TOTAL_WINDOW[qos] // publishers, UNACKNOWLEDGED if qos else 1_000))
        if qos and publishers == 1:
            self._window = 100  # one connection of QoS 1 has at most so many under way
        self._subscriber = subscribed(port, "bench-subscriber", filters=[b"dt/bench/#"], qos=qos, tls=tls)
        self._publishers = [
            Publisher(number, opened(port, f"dev{number:05d}", tls), *frame_parts(number, qos))
            for number in range(publishers)
        ]
        first = self._publishers[0]
        self._frame = len(first.start) + 2 * bool(qos) + len(HEAD) + 10 + len(first.rest)
        self._id_at = len(first.start)
        self._seq_at = self._id_at + 2 * bool(qos) + len(HEAD)
        self._device_at = 5 + len("dt/bench/dev")
        self._half = b""
        self._acks = b""
        self.received = self.wrong = 0

    def run(self) -> dict[str, float]:
        """Figures of the measured span, which begins after a tenth of it."""
        poll = select.epoll()
        for line in (self._subscriber, *(p.socket for p in self._publishers)):
            line.setblocking(False)
        poll.register(self._subscriber, select.EPOLLIN)
        by_number = {one.socket.fileno(): one for one in self._publishers}
        if self._qos:
            for number in by_number:
                poll.register(number, select.EPOLLIN)
        for one in self._publishers:
            self._send(one)
        span = self._measure(poll, by_number)
        self._settle(poll, by_number)
        lost = sum(one.sent for one in self._publishers) - self.received
        for line in (self._subscriber, *(p.socket for p in self._publishers)):
            line.close()
        return {**span, "lost": lost, "out_of_order": self.wrong}

    def _measure(self, poll: select.epoll, by_number: dict[int, Publisher]) -> dict[str, float]:
        begin = time.perf_counter() + self._seconds / 10
        while time.perf_counter() < begin:
            self._turn(poll, by_number, sending=True)
        count, cpu, own, at = self.received, cpu_seconds(self._pid), time.process_time(), time.perf_counter()
        while time.perf_counter() < begin + self._seconds:
            self._turn(poll, by_number, sending=True)
        took = time.perf_counter() - at
        messages = self.received - count
        return {
            "messages_per_s": messages / took,
            "cpu_us_per_message": (cpu_seconds(self._pid) - cpu) / max(messages, 1) * 1e6,
            "generator_share": (time.process_time() - own) / took,
        }

    def _settle(self, poll: select.epoll, by_number: dict[int, Publisher]) -> None:
        deadline = time.perf_counter() + SETTLE_SECONDS
        while self.received < sum(one.sent for one in self._publishers) and time.perf_counter() < deadline:
            self._turn(poll, by_number, sending=False)
            for one in self._publishers:
                if one.unsent:
                    self._send(one, fresh=False)

    def _turn(self, poll: select.epoll, by_number: dict[int, Publisher], *, sending: bool) -> None:
        touched: set[int] = set()
        for number, _ in poll.poll(0.05):
            if (one := by_number.get(number)) is not None:
                self._take_acknowledgements(one)
                touched.add(one.number)
            else:
                touched |= self._take_messages()
        if self._acks:
            self._acks = self._acks[_sent(self._subscriber, self._acks) :]
        for number in touched:
            one = self._publishers[number]
            if sending or one.unsent:
                self._send(one, fresh=sending)

    def _take_acknowledgements(self, one: Publisher) -> None:
        data = _received(one.socket)
        if data is None:
            raise ConnectionError("the broker closed a publisher's connection")
        one.acknowledged += len(data) // 4

    def _take_messages(self) -> set[int]:
        data = _received(self._subscriber)
        if data is None:
            raise ConnectionError("the broker closed the subscriber's connection")
        data = self._half + data if self._half else data
        frame, device_at, seq_at, id_at = self._frame, self._device_at, self._seq_at, self._id_at
        whole = len(data) - len(data) % frame
        touched: set[int] = set()
        acks: list[bytes] = []
        for place in range(0, whole, frame):
            number = int(data[place + device_at : place + device_at + 5])
            one = self._publishers[number]
            if int(data[place + seq_at : place + seq_at + 10]) != one.received:
                self.wrong += 1
            one.received += 1
            touched.add(number)
            if self._qos:
                acks.append(b"\x40\x02" + data[place + id_at : place + id_at + 2])
        self._half = data[whole:]
        self._acks += b"".join(acks)
        self.received += whole // frame
        return touched

    def _send(self, one: Publisher, *, fresh: bool = True) -> None:
        count = self._window - (one.sent - one.received)
        if self._qos:
            count = min(count, self._window - (one.sent - one.acknowledged))
        if fresh and count > 0 and not one.unsent:
            one.unsent = b"".join(self._frames(one, count))
            one.sent += count
        if one.unsent:
            one.unsent = one.unsent[_sent(one.socket, one.unsent) :]

    def _frames(self, one: Publisher, count: int) -> Iterator[bytes]:
        for number in range(one.sent, one.sent + count):
            packet_id = struct.pack(">H", number % 65_535 + 1) if self._qos else b""
            yield b"".join((one.start, packet_id, HEAD, b"%010d" % number, one.rest))


def _received(one: socket.socket) -> bytes | None:
    """What is there, None at the end. With TLS, what was decrypted already makes no event: all of it is read."""
    if not isinstance(one, ssl.SSLSocket):
        return one.recv(READ_BYTES) or None
    parts: list[bytes] = []
    try:
        while len(parts) < READ_BYTES // TLS_RECORD:
            if not (part := one.recv(TLS_RECORD)):
                return None
            parts.append(part)
        while one.pending():
            parts.append(one.recv(TLS_RECORD))
    except ssl.SSLWantReadError:
        pass  # the rest of a record is under way: what is whole is taken
    return b"".join(parts)


def _sent(one: socket.socket, data: bytes) -> int:
    try:
        return one.send(data)
    except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
        return 0


def throughput(settings: dict[str, Any]) -> dict[str, float]:
    """A closed-loop run; with `filters`, others hold so many subscriptions meanwhile."""
    holders = []
    left = settings.pop("filters", 0)
    while left > 0:
        names = [b"cmd/dev%05d/set" % (left - number) for number in range(min(50, left))]
        holders.append(subscribed(settings["port"], f"holder{left:05d}", filters=names, qos=0))
        left -= len(names)
    if (files := settings.pop("tls", None)) is not None:
        settings["tls"] = client_context(files)
    figures = Throughput(**settings).run()
    for one in holders:
        one.close()
    return figures


def hostile(settings: dict[str, Any]) -> dict[str, float]:
    """A closed-loop run in peace, then one under attack; the attackers share the core of the load."""
    attempts = settings.pop("attempts_per_s")
    calm = Throughput(**settings).run()
    told = {"port": settings["port"], "seconds": settings["seconds"] * 1.2, "attempts_per_s": attempts}
    with subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "thingstorm.bench.gateway_hostile", json.dumps(told)],
        stdout=subprocess.PIPE,
        text=True,
    ) as attackers:
        time.sleep(ATTACK_STARTS)
        figures = Throughput(**settings).run()
        out, _ = attackers.communicate(timeout=30)
    kept = figures["messages_per_s"] / calm["messages_per_s"]
    return {**figures, "kept_share": kept, "attempts_per_s": json.loads(out)["attempts_per_s"]}


def tls_connects(settings: dict[str, Any]) -> dict[str, float]:
    """TCP, TLS handshake with both certificates, CONNECT to CONNACK; 16 at a time, each a full handshake."""
    port, count = settings["port"], settings["count"]
    context = client_context(settings["tls"])
    began = time.perf_counter()
    with ThreadPoolExecutor(16) as threads:
        held = list(threads.map(lambda number: opened(port, f"tls{number:06d}", context), range(count)))
    took = time.perf_counter() - began
    for one in held:
        one.close()
    return {"connects_per_s": count / took}


def connects(settings: dict[str, Any]) -> dict[str, float]:
    """CONNECT to CONNACK, so many at a time; then, if asked, hold them and look at memory and idle CPU."""
    port, pid, count = settings["port"], settings["pid"], settings["count"]
    before = resident_kb(pid)
    began = time.perf_counter()
    held = _connect_all(port, count)
    took = time.perf_counter() - began
    figures = {"connects_per_s": count / took}
    if settings.get("hold"):
        time.sleep(0.5)
        cpu, at = cpu_seconds(pid), time.perf_counter()
        time.sleep(settings["hold"])
        figures["idle_cpu_share"] = (cpu_seconds(pid) - cpu) / (time.perf_counter() - at)
        figures["kb_per_connection"] = (resident_kb(pid) - before) / count
    for one in held:
        one.close()
    return figures


def _connect_all(port: int, count: int) -> list[socket.socket]:
    poll = select.epoll()
    waiting: dict[int, tuple[socket.socket, bytes]] = {}
    done: list[socket.socket] = []
    number = 0
    while len(done) < count:
        while len(waiting) < AT_A_TIME and number < count:
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            poll.register(one, select.EPOLLOUT)
            waiting[one.fileno()] = (one, connect_packet(f"idle{number:06d}"))
            number += 1
        for found, event in poll.poll(5):
            one, packet = waiting[found]
            if event & select.EPOLLOUT:
                one.send(packet)
                poll.modify(found, select.EPOLLIN)
                continue
            answer = one.recv(4)
            if len(answer) != 4 or answer[3]:
                raise ConnectionError(f"a connection was refused: {answer.hex()}")
            poll.unregister(found)
            del waiting[found]
            done.append(one)
    return done


KINDS = {
    "throughput": throughput,
    "hostile": hostile,
    "connects": connects,
    "tls-connects": tls_connects,
}


def main(arguments: list[str]) -> int:
    """Run what the JSON says, print the figures as JSON."""
    settings: dict[str, Any] = json.loads(arguments[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 20_000)), hard))
    kind = settings.pop("kind")
    print(json.dumps(KINDS[kind](settings)))  # noqa: T201 - this is the output
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
