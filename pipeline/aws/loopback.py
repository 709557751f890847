"""The HTTP of boto3 clients on loopback, with as few system calls as it takes: one to send, mostly one to receive.

botocore's own session asks before each request whether the connection was dropped, sends headers and body apart, and
parses response headers as an e-mail's. For 10 messages that is as much as all else that boto3 does. On a plain
connection to an emulator none of it is needed; what is not a plain request with a small body goes the usual way.
"""

import socket
import weakref
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

CHUNK = 64 * 1024
"""Bytes received at once, into a buffer that each connection keeps: a fresh one for each answer left holes in the heap."""


class LoopbackSession:
    """Takes the place of a client's HTTP session; `usual` is the one it had.

    A connection for each call under way at once: what is idle is used again by whatever thread comes.
    """

    def __init__(self, usual: Any, *, connect_seconds: float, read_seconds: float) -> None:
        self._usual = usual
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._idle: list[_Connection] = []

    def send(self, request: Any) -> AWSResponse:
        """Send and read the whole answer. Raises what botocore's session raises."""
        body = request.body or b""
        if request.stream_output or not isinstance(body, bytes | str) or not request.url.startswith("http:"):
            response: AWSResponse = self._usual.send(request)
            return response
        target = urlsplit(request.url)
        data = _request(request, target, body.encode() if isinstance(body, str) else body)
        connection = self._take()
        try:
            answer = connection.exchange(data) if connection else None
        except OSError as error:
            raise self._translated(request.url, error) from error
        try:
            if answer is None:  # no connection yet, or one that the server had closed while it was idle
                address = (target.hostname or "", target.port or 80)
                opened = socket.create_connection(address, self._connect_seconds)
                connection = _Connection(opened, self._read_seconds)
                answer = connection.exchange(data)
        except OSError as error:
            raise self._translated(request.url, error) from error
        if answer is None or connection is None:
            raise ConnectionClosedError(endpoint_url=request.url)
        if answer.keep:
            self._idle.append(connection)
        return AWSResponse(request.url, answer.status, answer.headers, answer)  # type: ignore[arg-type]  # any mapping does

    def close(self) -> None:
        self._idle.clear()
        self._usual.close()

    def _take(self) -> "_Connection | None":
        """The connection that was used last. A list's own methods are safe from any thread."""
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _translated(self, url: str, error: OSError) -> Exception:
        if isinstance(error, TimeoutError):
            return ReadTimeoutError(endpoint_url=url, error=error)
        return EndpointConnectionError(endpoint_url=url, error=error)


def favour_loopback(client: Any, *, connect_seconds: float, read_seconds: float) -> Any:
    """Give a client this session. botocore has no public place for one: where it moves, clients stay as they are."""
    endpoint: Any = getattr(client, "_endpoint", None)
    if hasattr(endpoint, "http_session"):
        endpoint.http_session = LoopbackSession(
            endpoint.http_session, connect_seconds=connect_seconds, read_seconds=read_seconds
        )
    return client


class _Answer:
    """A response, read whole; also the raw body that AWSResponse wants."""

    __slots__ = ("body", "headers", "keep", "status")

    def __init__(self, status: int, headers: dict[str, str], body: bytes, *, keep: bool) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.keep = keep

    def stream(self, *_args: Any, **_options: Any) -> Any:
        yield self.body


class _Connection:
    def __init__(self, opened: socket.socket, read_seconds: float) -> None:
        self._socket = opened
        self._buffer = memoryview(bytearray(CHUNK))
        opened.settimeout(read_seconds)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # clients are cycles, whose members Python finalizes in any order: the socket must not go before it is closed
        weakref.finalize(self, opened.close)

    def exchange(self, data: bytes) -> _Answer | None:
        """Send and receive; None if the other side had closed before it answered anything. Raises OSError."""
        try:
            self._socket.sendall(data)
            first = self._receive()
        except (BrokenPipeError, ConnectionResetError):
            first = b""
        if not first:
            self._socket.close()
            return None
        return _read(first, self._more)

    def _more(self) -> bytes:
        data = self._receive()
        if not data:
            raise ConnectionResetError("the connection ended within an answer")
        return data

    def _receive(self) -> bytes:
        return bytes(self._buffer[: self._socket.recv_into(self._buffer)])


def _request(request: Any, target: Any, body: bytes) -> bytes:
    path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    lines = [f"{request.method} {path} HTTP/1.1", f"Host: {target.netloc}"]
    for name, value in request.headers.items():
        if name.lower() not in ("host", "content-length", "expect"):
            lines.append(f"{name}: {value.decode() if isinstance(value, bytes) else value}")
    lines.append(f"Content-Length: {len(body)}\r\n\r\n")
    return "\r\n".join(lines).encode() + body


def _read(data: bytes, more: Callable[[], bytes]) -> _Answer:
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += more()
    first, *lines = data[:end].decode("latin-1").split("\r\n")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    rest = data[end + 4 :]
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _chunks(rest, more)
    else:
        body = _exactly(rest, int(headers.get("content-length", 0)), more)
    return _Answer(int(first.split(" ", 2)[1]), headers, body, keep=headers.get("connection") != "close")


def _exactly(data: bytes, length: int, more: Callable[[], bytes]) -> bytes:
    parts, have = [data], len(data)
    while have < length:
        parts.append(more())
        have += len(parts[-1])
    return b"".join(parts)


def _chunks(data: bytes, more: Callable[[], bytes]) -> bytes:
    body = b""
    while True:
        while (end := data.find(b"\r\n")) < 0:
            data += more()
        length = int(data[:end].split(b";")[0], 16)
        data = data[end + 2 :]
        while len(data) < length + 2:
            data += more()
        body, data = body + data[:length], data[length + 2 :]
        if length == 0:
            return body
