"""Ports for servers that the tests start."""

import random
import socket
from contextlib import ExitStack
from pathlib import Path

LOWEST = 10_000


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now, below those that the system gives to outgoing connections.

    One of the system's choice is free when asked for, and may be some client's a second later.
    """
    dice = random.SystemRandom()
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            one = held.enter_context(socket.socket())
            port = dice.randrange(LOWEST, _first_of_the_system())
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
        return ports


def free_port() -> int:
    return free_ports(1)[0]


def _first_of_the_system() -> int:
    file = Path("/proc/sys/net/ipv4/ip_local_port_range")
    return max(int(file.read_text().split()[0]), LOWEST + 1_000) if file.exists() else 32_768
