"""The service "postgres": listens, lets in, reads messages, and cancels what nobody waits for any more."""

import secrets
import struct
from itertools import count
from typing import Protocol

import anyio
from anyio.abc import ByteStream, SocketAttribute, TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from contracts.errors import BackendError
from contracts.ports import Gauge, Health, State

from . import wire
from .conversation import Asks, Conversation
from .wire import MAX_MESSAGE, MAX_STARTUP, Reading, Told, WireError

MAX_SESSIONS = 50
"""Connections at once: a pool of a dashboard has 5 to 15. More are told so (53300)."""

START_SECONDS = 10.0
"""A client has said who it is by then."""

AHEAD = 64
"""Messages read ahead of the answers: a driver's pipeline; the socket waits for more."""

GONE = (
    OSError,
    anyio.EndOfStream,
    anyio.IncompleteRead,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
)
_Message = tuple[bytes, bytes]


class Catalogue(Asks, Protocol):
    """One that holds something to let go of."""

    async def close(self) -> None: ...


class PostgresServer:
    """The PostgreSQL protocol on a port. With a token it is the password of every user; without one all are let in."""

    name = "postgres"

    def __init__(self, *, view: Asks, catalogue: Catalogue, host: str, port: int, token: str = "") -> None:
        """Port 0 lets the system choose; `port` is the real one once it is ready."""
        self._view, self._catalogue = view, catalogue
        self._token = token
        self.host, self.port = host, port
        self._state: State = "starting"
        self._sessions: dict[int, Conversation] = {}
        self._numbers = count(1)
        self._open = self._highest = 0
        self._counters = dict.fromkeys(("connections", "refused", "cancelled"), 0)

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        try:
            listener = await anyio.create_tcp_listener(
                local_host=self.host, local_port=self.port, reuse_port=False
            )
        except OSError as error:
            raise BackendError(
                f"the PostgreSQL port cannot listen on {self.host}:{self.port}: {error.strerror}",
                fix="stop what uses the port, or set api.postgres_port (0 lets the system choose)",
            ) from None
        async with listener:
            self.port = int(listener.extra(SocketAttribute.local_port))  # noqa: S610 - of anyio, no SQL
            self._state = "ready"
            task_status.started()
            try:
                await listener.serve(self._serve)
            finally:
                self._state = "stopped"
                with anyio.CancelScope(shield=True):
                    await self._catalogue.close()

    async def drain(self) -> None:
        """Nothing is accepted here that somebody else waits for."""
        self._state = "draining"

    def health(self) -> Health:
        sessions = Gauge("sessions", self._open, MAX_SESSIONS, self._highest)
        return Health(
            self.name, self._state, f"{self.host}:{self.port}", 0, (sessions,), dict(self._counters)
        )

    async def _serve(self, stream: ByteStream) -> None:
        self._open += 1
        self._highest = max(self._highest, self._open)
        self._counters["connections"] += 1
        try:
            async with stream:
                await self._converse(stream)
        except (*GONE, WireError):
            return  # it is gone, or speaks something else
        finally:
            self._open -= 1

    async def _converse(self, stream: ByteStream) -> None:
        reading = BufferedByteReceiveStream(stream)
        let_in = False
        with anyio.move_on_after(START_SECONDS):
            let_in = await self._let_in(stream, reading)
        if let_in:
            await self._session(stream, reading)

    async def _let_in(self, stream: ByteStream, reading: BufferedByteReceiveStream) -> bool:
        """The start of a connection: no TLS here, a cancel request, or a session that may begin."""
        body = await _startup(reading)
        while (code := Reading(body).long()) in (wire.SSL, wire.GSS):
            await stream.send(b"N")
            body = await _startup(reading)
        if code == wire.CANCEL:
            self._cancel(*struct.unpack("!iI", body[4:12].ljust(8, b"\0")))
            return False
        if code >> 16 != wire.PROTOCOL >> 16:
            await _goodbye(stream, Told("0A000", "only version 3 of the protocol is spoken here"))
            return False
        if self._open > MAX_SESSIONS:
            self._counters["refused"] += 1
            await _goodbye(stream, Told("53300", f"more than {MAX_SESSIONS} connections", "close some"))
            return False
        unknown = _options(body)
        if code != wire.PROTOCOL or unknown:
            await stream.send(wire.newest_version(unknown))
        return not self._token or await self._password(stream, reading)

    async def _password(self, stream: ByteStream, reading: BufferedByteReceiveStream) -> bool:
        await stream.send(wire.ASK_PASSWORD)
        kind, body = await _message(reading)
        if kind == b"p" and secrets.compare_digest(Reading(body).text().encode(), self._token.encode()):
            return True
        self._counters["refused"] += 1
        await _goodbye(
            stream, Told("28P01", "the password is not the token", "give api.token as the password")
        )
        return False

    async def _session(self, stream: ByteStream, reading: BufferedByteReceiveStream) -> None:
        number, conversation = next(self._numbers), Conversation(self._view, self._catalogue, stream.send)
        self._sessions[number] = conversation
        try:
            await conversation.greet(number)
            put, get = anyio.create_memory_object_stream[_Message](AHEAD)
            async with put, get, anyio.create_task_group() as tasks:
                tasks.start_soon(_read_ahead, reading, put, tasks.cancel_scope)
                await _answer(conversation, get, stream)
                tasks.cancel_scope.cancel()
        finally:
            del self._sessions[number]

    def _cancel(self, number: int, secret: int) -> None:
        """Nothing is answered, so that nobody learns which numbers there are."""
        session = self._sessions.get(number)
        if session is not None and secrets.compare_digest(f"{session.secret}", f"{secret}"):
            self._counters["cancelled"] += 1
            session.cancel()


async def _read_ahead(
    reading: BufferedByteReceiveStream, put: MemoryObjectSendStream[_Message], over: anyio.CancelScope
) -> None:
    """Hand on messages; when the client is gone, what runs for it ends."""
    try:
        while True:
            await put.send(await _message(reading))
    except (*GONE, WireError):
        over.cancel()


async def _answer(
    conversation: Conversation, get: MemoryObjectReceiveStream[_Message], stream: ByteStream
) -> None:
    async for kind, body in get:
        if kind == b"X":
            return
        try:
            await conversation.answer(kind, body)
        except WireError as error:
            await _goodbye(stream, Told("08P01", str(error)))
            return
        except GONE:
            return


async def _startup(reading: BufferedByteReceiveStream) -> bytes:
    """The body of a message without a kind. Raises WireError."""
    length = int.from_bytes(await reading.receive_exactly(4), "big")
    if not 8 <= length <= MAX_STARTUP:
        raise WireError("no start of a connection")
    return await reading.receive_exactly(length - 4)


async def _message(reading: BufferedByteReceiveStream) -> _Message:
    """Raises WireError for one that is too long."""
    head = await reading.receive_exactly(5)
    length = int.from_bytes(head[1:], "big")
    if not 4 <= length <= MAX_MESSAGE:
        raise WireError("a message that is too long")
    return head[:1], await reading.receive_exactly(length - 4) if length > 4 else b""


async def _goodbye(stream: ByteStream, told: Told) -> None:
    await stream.send(wire.failed(told, severity="FATAL"))


def _options(body: bytes) -> list[str]:
    """Protocol options in a start message, none of which we know."""
    reading = Reading(body)
    reading.long()
    found = []
    while not reading.over and (name := reading.text()):
        reading.text()
        if name.startswith("_pq_."):
            found.append(name)
    return found
