"""Hostile clients of the gateway's bench, in a process of their own: paced, bounded, on loopback only.

python -m thingstorm.bench.gateway_hostile '{"port": 1883, "seconds": 3, "attempts_per_s": 1000}'
"""

import json
import random
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from thingstorm.bench.gateway_load import connect_packet, subscribe_packet

DRIPPING = 200
"""Sockets that have said a part of their CONNECT; the oldest is given up for a new one."""

STALLED = 5
"""Subscribers to everything that never read."""


class Attack:
    """One hostile attempt after the other, of every kind in turn."""

    def __init__(self, port: int, seed: int) -> None:
        self._port = port
        self._dice = random.Random(seed)  # noqa: S311 - traffic, no secret
        self._dripping: deque[socket.socket] = deque()
        self._stalled: list[socket.socket] = []
        self.attempts = 0

    def run(self, *, seconds: float, attempts_per_s: float) -> None:
        """Until the time is over, no faster than said."""
        kinds: list[Callable[[], None]] = [self._garble, self._truncate, self._be_refused, self._drip]
        self._stall()
        began = time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            if self.attempts > passed * attempts_per_s:
                time.sleep(0.001)
                continue
            with suppress(OSError):  # the gateway defends itself: that is what is measured
                kinds[self.attempts % len(kinds)]()
            self.attempts += 1

    def close(self) -> None:
        for one in (*self._dripping, *self._stalled):
            one.close()

    def _open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), timeout=0.5)

    def _stall(self) -> None:
        for number in range(STALLED):
            one = self._open()
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            one.sendall(connect_packet(f"stalled{number}"))
            one.sendall(subscribe_packet([b"#"], 0))
            self._stalled.append(one)

    def _garble(self) -> None:
        """A good CONNECT, then bytes at random."""
        with self._open() as one:
            one.sendall(connect_packet(f"odd{self.attempts % 50}") + self._dice.randbytes(200))

    def _truncate(self) -> None:
        """A packet that says it is longer than it is, then goodbye."""
        with self._open() as one:
            one.sendall(bytes((self._dice.randrange(256), 0xFF, 0xFF, 0x03)) + self._dice.randbytes(50))

    def _be_refused(self) -> None:
        """A client id that no profile takes: with bytes that are no UTF-8."""
        with self._open() as one:
            packet = connect_packet("x" * 23)
            one.sendall(packet[:-4] + b"\xff\xfe\xfd\x00")

    def _drip(self) -> None:
        """Part of a CONNECT, then silence."""
        one = self._open()
        one.sendall(connect_packet("slow")[: self._dice.randrange(1, 12)])
        self._dripping.append(one)
        if len(self._dripping) > DRIPPING:
            self._dripping.popleft().close()


def main(arguments: list[str]) -> int:
    """Attack as the JSON says, print the attempts per second."""
    settings: dict[str, Any] = json.loads(arguments[0])
    attack = Attack(settings["port"], settings.get("seed", 1))
    try:
        attack.run(seconds=settings["seconds"], attempts_per_s=settings["attempts_per_s"])
    finally:
        attack.close()
    print(json.dumps({"attempts_per_s": attack.attempts / settings["seconds"]}))  # noqa: T201 - the output
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
