"""An API that gives the answers it was told to, for what no healthy stack says."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answering:
    """Where it listens, and what it was sent, by path."""

    url: str
    bodies: dict[str, Any] = field(default_factory=dict)


def _answer(told: Any) -> tuple[int, bytes]:
    if isinstance(told, tuple):
        return told
    if told is None:
        return 404, b'{"detail": "not found"}'
    return 200, json.dumps(told).encode()


@contextmanager
def answering(answers: Mapping[str, Any]) -> Iterator[Answering]:
    """By path, whatever the method: a document, or a status and the bytes of a body. Everything else is not found."""
    told = Answering("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if length := int(self.headers.get("Content-Length", 0)):
                told.bodies[path] = json.loads(self.rfile.read(length))
            status, body = _answer(answers.get(path))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the name is the server's

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        told.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()
