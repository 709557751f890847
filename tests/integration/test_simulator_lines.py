"""Lines of hostile clients on real sockets: bounded in number and in bytes, whatever the other side does."""

import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from ports import free_port
from test_broker_embedded import until

from simulator.lines import Open, Send, Shut
from simulator.transports import raw_lines
from simulator.transports.raw_lines import MAX_UNSENT, RawLines

pytestmark = pytest.mark.anyio

Address = tuple[socket.AddressFamily, tuple[str, int]]


class Peer:
    """Somebody who listens: what came on each connection, in the order of the connections."""

    def __init__(self) -> None:
        self.heard: list[bytearray] = []
        self.ended = 0
        self.streams: list[SocketStream] = []

    async def serve(self, stream: SocketStream) -> None:
        heard = bytearray()
        self.heard.append(heard)
        self.streams.append(stream)
        async with stream:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                async for data in stream:
                    heard += data
        self.ended += 1


@asynccontextmanager
async def a_peer() -> AsyncIterator[tuple[Peer, Address, RawLines]]:
    peer, lines = Peer(), RawLines()
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, peer.serve)
        port = listener.extra(SocketAttribute.local_port)
        try:
            yield peer, (socket.AF_INET, ("127.0.0.1", port)), lines
        finally:
            lines.close()
            tasks.cancel_scope.cancel()


async def test_what_is_sent_before_the_line_is_open_goes_first() -> None:
    async with a_peer() as (peer, address, lines):
        lines.act(Open("a", b"one "), address)
        lines.act(Send("a", b"two "), address)
        await until(lambda: peer.heard == [b"one two "])
        lines.act(Send("a", b"three"), address)
        lines.act(Send("nobody", b"lost"), address)
        await until(lambda: peer.heard == [b"one two three"])
        lines.act(Shut("a"), address)
        lines.act(Shut("a"), address)
        await until(lambda: peer.ended == 1)


async def test_a_name_is_one_line_and_the_oldest_goes_for_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_lines, "MAX_LINES", 2)
    async with a_peer() as (peer, address, lines):
        for name in ("a", "a", "b", "c"):
            lines.act(Open(name, name.encode()), address)
            count = len(peer.heard) + 1
            await until(lambda count=count: len(peer.heard) == count and bool(peer.heard[-1]))
        await until(lambda: peer.ended == 2)  # the first `a` for the second, and that one for `c`
        lines.act(Send("a", b"!"), address)
        lines.act(Send("b", b"!"), address)
        await until(lambda: peer.heard == [b"a", b"a", b"b!", b"c"])


async def test_who_does_not_read_loses_the_line_and_costs_no_memory() -> None:
    lines = RawLines()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = (socket.AF_INET, listener.getsockname())
        lines.act(Open("a", b"x"), address)
        line = lines._lines["a"]
        await until(lambda: line._socket is not None)
        for _ in range(1_000):
            lines.act(Send("a", b"x" * 60_000), address)
            await anyio.sleep(0)
            assert len(line._unsent) <= MAX_UNSENT
        assert (line._socket, line._unsent) == (None, b"")
    lines.close()


@pytest.mark.parametrize("answer", [b"", b"\x20\x02\x00\x05"])
async def test_a_line_that_the_other_side_ends_is_over(answer: bytes) -> None:
    async with a_peer() as (peer, address, lines):
        lines.act(Open("a", b"x"), address)
        await until(lambda: peer.heard == [b"x"])
        if answer:
            await peer.streams[0].send(answer)
        await peer.streams[0].aclose()
        await until(lambda: lines._lines["a"]._socket is None)
        lines.act(Send("a", b"more"), address)
        assert lines._lines["a"]._unsent == b""


async def test_a_line_to_nobody_is_over_and_one_that_is_shut_while_it_dials_never_opens() -> None:
    nobody = (socket.AF_INET, ("127.0.0.1", free_port()))
    lines = RawLines()
    lines.act(Open("a", b"x"), nobody)
    await until(lambda: lines._lines["a"]._dial is None)
    lines.act(Send("a", b"x"), nobody)
    assert lines._lines["a"]._unsent == b""
    async with a_peer() as (peer, address, other):
        other.act(Open("a", b"x"), address)
        other.act(Shut("a"), address)
        await anyio.sleep(0.05)
        assert peer.heard in ([], [b""])
