"""Sockets and websockets for conversations: bytes to and fro, reading paused and resumed. Decides nothing."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, cast

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from contracts.clock import Clock

from .conversation import Conversation, Io

READ_BYTES = 64 * 1024
MAX_UNSENT = 1024 * 1024
"""Bytes waiting for a slow reader; beyond it QoS 0 is dropped and QoS 1 waits."""

HANDSHAKE_SECONDS = 10.0

CLOSE_SECONDS = 5.0
"""A client that does not read gets so long to take what was written before its socket is cut."""


class Host(Protocol):
    """What a transport asks of the broker."""

    clock: Clock

    def converse(self, io: Io, *, source_ip: str, certificate: bytes | None) -> Conversation:
        """A new conversation over this transport; `certificate` is the client's, DER encoded."""
        ...

    def opened(self, line: "Line") -> None: ...

    def closed(self, line: "Line") -> None: ...


class TlsHost(Host, Protocol):
    """What a TLS listener asks besides."""

    def run_beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this in a task that the host stops with itself."""
        ...

    async def tls_context(self) -> ssl.SSLContext:
        """The context that trusts every registered certificate."""
        ...

    def handshake_failed(self) -> None: ...


class Line(Protocol):
    """A transport with its conversation."""

    conversation: Conversation

    def close(self) -> None:
        """Send what was written, then close."""
        ...


class _Pausing:
    """Two reasons to read nothing: the rules are busy, or the client sends too fast."""

    __slots__ = ("_held", "_pause", "_resume", "_timer")

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._pause = pause
        self._resume = resume
        self._held = False
        self._timer: asyncio.TimerHandle | None = None

    def hold(self) -> None:
        self._held = True
        self._pause()

    def release(self) -> None:
        self._held = False
        if self._timer is None:
            self._resume()

    def wait(self, seconds: float) -> None:
        self.stop()
        self._pause()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._waited)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _waited(self) -> None:
        self._timer = None
        if not self._held:
            self._resume()


class SocketLine(asyncio.BufferedProtocol):
    """One TCP or TLS connection. All of them read into one buffer: what is in it is taken at once."""

    __slots__ = ("_buffer", "_host", "_pausing", "_transport", "conversation")

    def __init__(self, host: Host, buffer: memoryview) -> None:
        self._host = host
        self._buffer = buffer
        self._transport: asyncio.Transport
        self._pausing: _Pausing | None = None
        self.conversation: Conversation

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=MAX_UNSENT)
        peer = transport.get_extra_info("peername")
        secured = transport.get_extra_info("ssl_object")
        self.conversation = self._host.converse(
            self,
            source_ip=str(peer[0]) if peer else "",
            certificate=secured.getpeercert(binary_form=True) if secured is not None else None,
        )
        self._host.opened(self)

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.conversation.receive(bytes(self._buffer[:nbytes]), self._host.clock.now())

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._pausing is not None:
            self._pausing.stop()
        self.conversation.lost(self._host.clock.now())
        self._host.closed(self)

    def pause_writing(self) -> None:
        self.conversation.congested = True

    def resume_writing(self) -> None:
        self.conversation.uncongested(self._host.clock.now())

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def pause(self) -> None:
        self._reading().hold()

    def resume(self) -> None:
        self._reading().release()

    def pause_for(self, seconds: float) -> None:
        self._reading().wait(seconds)

    def close(self) -> None:
        if self._transport.is_closing():
            return
        unsent = self._transport.get_write_buffer_size()
        self._transport.close()
        if unsent:
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.abort)

    def _reading(self) -> _Pausing:
        if self._pausing is None:
            self._pausing = _Pausing(self._transport.pause_reading, self._transport.resume_reading)
        return self._pausing


class SecureLine(SocketLine):
    """A connection after its TLS handshake: its first bytes may come before anybody is told that it is made."""

    __slots__ = ("_early", "_gone", "_made")

    def __init__(self, host: Host, buffer: memoryview) -> None:
        super().__init__(host, buffer)
        self._early: list[bytes] = []
        self._made = self._gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._made = True
        super().connection_made(transport)
        for data in self._early:
            self.conversation.receive(data, self._host.clock.now())
        self._early.clear()
        if self._gone:
            super().connection_lost(None)

    def buffer_updated(self, nbytes: int) -> None:
        if self._made:
            super().buffer_updated(nbytes)
        else:
            self._early.append(bytes(self._buffer[:nbytes]))

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        if self._made:
            super().connection_lost(exc)


class TlsDoor(asyncio.Protocol):
    """A TCP connection before its TLS handshake: the trust anchors are made fresh first."""

    def __init__(self, host: "TlsHost", buffer: memoryview) -> None:
        self._host = host
        self._buffer = buffer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        plain = cast("asyncio.Transport", transport)
        plain.pause_reading()
        self._host.run_beside(self._open(plain))

    async def _open(self, plain: asyncio.Transport) -> None:
        try:
            context = await self._host.tls_context()
            line = SecureLine(self._host, self._buffer)
            secured = await asyncio.get_running_loop().start_tls(
                plain, line, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        except (OSError, TimeoutError):  # ssl.SSLError is an OSError
            self._host.handshake_failed()
            plain.abort()
            return
        if secured is not None:
            line.connection_made(secured)


class WebsocketLine:
    """One websocket. What is written goes out in order by a task of its own."""

    def __init__(self, host: Host, websocket: ServerConnection) -> None:
        self._host = host
        self._websocket = websocket
        self._outbox: list[bytes] = []
        self._unsent = 0
        self._written = asyncio.Event()
        self._readable = asyncio.Event()
        self._readable.set()
        self._pausing = _Pausing(self._readable.clear, self._readable.set)
        self._closing = False
        peer = websocket.remote_address
        secured = websocket.transport.get_extra_info("ssl_object")
        self.conversation = host.converse(
            self,
            source_ip=str(peer[0]) if peer else "",
            certificate=secured.getpeercert(binary_form=True) if secured is not None else None,
        )

    async def serve(self) -> None:
        """Return when the connection is over."""
        self._host.opened(self)
        writer = asyncio.create_task(self._write_all())
        try:
            async for data in self._websocket:
                if isinstance(data, str):
                    break  # MQTT over websockets is binary (MQTT 3.1.1, section 6)
                self.conversation.receive(data, self._host.clock.now())
                await self._readable.wait()
        except ConnectionClosed:
            pass  # told below, as for any end
        finally:
            self._pausing.stop()
            self.conversation.lost(self._host.clock.now())
            self._host.closed(self)
            self._closing = True
            self._written.set()
            await writer

    async def _write_all(self) -> None:
        try:
            while not (self._closing and not self._outbox):
                if not self._outbox:
                    self._written.clear()
                    await self._written.wait()
                outbox, self._outbox, self._unsent = self._outbox, [], 0
                if outbox:
                    await self._websocket.send(b"".join(outbox))
                if self.conversation.congested:
                    self.conversation.uncongested(self._host.clock.now())
        except ConnectionClosed:
            return
        finally:
            await self._websocket.close()

    def write(self, data: bytes) -> None:
        self._outbox.append(data)
        self._unsent += len(data)
        self.conversation.congested = self._unsent > MAX_UNSENT
        self._written.set()

    def pause(self) -> None:
        self._pausing.hold()

    def resume(self) -> None:
        self._pausing.release()

    def pause_for(self, seconds: float) -> None:
        self._pausing.wait(seconds)

    def close(self) -> None:
        self._closing = True
        self._written.set()
        self._readable.set()


def shared_buffer() -> memoryview:
    """The one buffer that every connection of a broker reads into."""
    return memoryview(bytearray(READ_BYTES))
