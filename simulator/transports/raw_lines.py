"""Hostile clients' and the operator's connections on real sockets: bytes out, whatever comes back is forgotten."""

import asyncio
import socket
from collections import OrderedDict

from ..lines import MAX_LINES, LineAction, Open, Send
from .dial import Dial, SocketAddress

READ_BYTES = 64 * 1024
DIAL_SECONDS = 5.0
MAX_UNSENT = 256 * 1024
"""Bytes that wait for one line's socket; a broker that does not read loses the line."""


class RawLines:
    """Lines by name, at most MAX_LINES; the oldest goes for a new one. Everything on the event loop."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, _Line] = OrderedDict()

    def act(self, action: LineAction, address: SocketAddress) -> None:
        """Open, send or shut."""
        if isinstance(action, Open):
            self._shut(action.line)
            if len(self._lines) >= MAX_LINES:
                self._shut(next(iter(self._lines)))
            self._lines[action.line] = _Line(address, action.data)
        elif isinstance(action, Send):
            if (line := self._lines.get(action.line)) is not None:
                line.send(action.data)
        else:
            self._shut(action.line)

    def close(self) -> None:
        for name in list(self._lines):
            self._shut(name)

    def _shut(self, name: str) -> None:
        if (line := self._lines.pop(name, None)) is not None:
            line.close()


class _Line:
    def __init__(self, address: SocketAddress, data: bytes) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._unsent = data
        self._dial: Dial | None = Dial(address, timeout=DIAL_SECONDS, opened=self._opened)

    def send(self, data: bytes) -> None:
        if self._dial is None and self._socket is None:  # it is over: nobody reads what would wait here
            return
        self._unsent += data
        if len(self._unsent) > MAX_UNSENT:
            self.close()
        elif self._socket is not None:
            self._write()

    def close(self) -> None:
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
            self._socket = None
        self._unsent = b""

    def _opened(self, connected: socket.socket | None) -> None:
        self._dial = None
        if connected is None:
            self.close()
        else:
            self._socket = connected
            self._loop.add_reader(connected, self._read)
            self._write()

    def _read(self) -> None:
        try:
            gone = self._socket is None or not self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            gone = True
        if gone:
            self.close()

    def _write(self) -> None:
        if self._socket is None:
            return
        try:
            sent = self._socket.send(self._unsent) if self._unsent else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        self._unsent = self._unsent[sent:]
        if self._unsent:
            self._loop.add_writer(self._socket, self._write)
        else:
            self._loop.remove_writer(self._socket)
