"""Opens TCP connections without waiting for them: callbacks of the event loop, no task and no thread each."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

Opened = Callable[[socket.socket | None], None]
"""Takes the connected, non-blocking socket, or None if nobody answered."""

SocketAddress = tuple[socket.AddressFamily, Any]
"""The family, and the address in the form that sockets of this family take."""


async def resolve(host: str, port: int) -> list[SocketAddress]:
    """The addresses of a host name, at least one. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


class Dial:
    """One attempt to connect; `opened` is called once, on a later turn of the loop, unless `cancel` comes first."""

    def __init__(self, address: SocketAddress, *, timeout: float, opened: Opened) -> None:
        self._loop = asyncio.get_running_loop()
        self._opened = opened
        self._socket = sock = socket.socket(address[0], socket.SOCK_STREAM)
        sock.setblocking(False)
        # small packets at once: Nagle's algorithm would hold them back for an acknowledgement
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect_ex(address[1])  # an error that is known at once shows in SO_ERROR or as a hang-up below
        self._loop.add_writer(sock, self._answered)
        self._timer = self._loop.call_later(timeout, self._end, None)

    def cancel(self) -> None:
        """Give up; nothing is called back."""
        self._stop()
        self._socket.close()

    def _answered(self) -> None:
        failed = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        try:
            self._socket.getpeername()
        except OSError:
            failed = failed or 1
        self._end(None if failed else self._socket)

    def _end(self, connected: socket.socket | None) -> None:
        self._stop()
        if connected is None:
            self._socket.close()
        self._opened(connected)

    def _stop(self) -> None:
        self._timer.cancel()
        self._loop.remove_writer(self._socket)
