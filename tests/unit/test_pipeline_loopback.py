"""Our HTTP beneath boto3: whatever way an answer comes in pieces, it is read whole; what fails is told as botocore does."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from pipeline.aws.loopback import LoopbackSession, _read

Answers = Callable[[int, bytes], bytes]
"""By number of the connection and the request: what the server sends; empty: it closes the connection."""


@contextmanager
def served(answers: Answers) -> Iterator[tuple[str, list[bytes]]]:
    """A server on loopback, and the requests that it got."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for number in range(100):
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    while data := connection.recv(65_536):
                        asked.append(data)
                        if not (answer := answers(number, data)):
                            break
                        connection.sendall(answer)
                        if b"connection: close" in answer.lower():
                            break

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/", asked
        listening.shutdown(socket.SHUT_RDWR)


def answer(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def session(read_seconds: float = 5.0) -> LoopbackSession:
    return LoopbackSession(None, connect_seconds=1.0, read_seconds=read_seconds)


def post(ours: LoopbackSession, url: str, body: bytes = b"x") -> bytes:
    request = AWSRequest("POST", url, {"X-Amz-Target": "T"}, body).prepare()
    response = ours.send(request)
    assert response.status_code == 200
    return bytes(response.content)


def test_a_connection_is_kept_and_made_again_where_the_server_closed_it() -> None:
    with served(lambda number, _: answer(b"%d" % number) if number else b"") as (url, asked):
        ours = session()
        with pytest.raises(ConnectionClosedError):
            post(ours, url)
        assert [post(ours, url), post(ours, url)] == [b"1", b"1"]
    assert asked[0].startswith(b"POST / HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"X-Amz-Target: T\r\n" in asked[0]
    assert asked[0].endswith(b"Content-Length: 1\r\n\r\nx")


def test_one_that_was_closed_while_it_was_idle_costs_nothing() -> None:
    told: list[int] = []

    def once(number: int, _: bytes) -> bytes:
        told.append(number)
        return answer(b"%d" % number) if told.count(number) == 1 else b""

    with served(once) as (url, _):
        ours = session()
        assert [post(ours, url) for _ in range(3)] == [b"0", b"1", b"2"]


def test_a_server_that_says_close_is_believed() -> None:
    with served(lambda number, _: answer(b"%d" % number, "Connection: close")) as (url, _):
        ours = session()
        assert [post(ours, url), post(ours, url)] == [b"0", b"1"]


def test_what_fails_is_what_botocore_knows() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(ReadTimeoutError):
            post(session(0.05), url)
    with pytest.raises(EndpointConnectionError):
        post(session(), url)
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhalf"
    with served(lambda *_: half) as (url, _), pytest.raises(EndpointConnectionError):
        post(session(), url)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@given(st.binary(max_size=60), st.lists(st.integers(1, 40)), st.booleans())
def test_an_answer_is_read_whole_whatever_pieces_it_comes_in(
    body: bytes, cuts: list[int], chunked: object
) -> None:
    if chunked:
        parts = [body[first : first + 7] for first in range(0, len(body), 7)]
        data = CHUNKED + b"".join(b"%x;ext=1\r\n%s\r\n" % (len(one), one) for one in [*parts, b""])
    else:
        data = answer(body)
    pieces = []
    for cut in cuts:
        pieces.append(data[:cut])
        data = data[cut:]
    left = iter([piece for piece in [*pieces, data] if piece])
    read = _read(next(left), lambda: next(left))
    assert (read.body, read.status, read.keep) == (body, 200, True)
