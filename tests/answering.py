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


@contextmanager
def answering(answers: Mapping[str, Any]) -> Iterator[Answering]:
    """By path, whatever the method; everything else is not found."""
    told = Answering("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if length := int(self.headers.get("Content-Length", 0)):
                told.bodies[path] = json.loads(self.rfile.read(length))
            body = json.dumps(answers.get(path, {"detail": "not found"})).encode()
            self.send_response(200 if path in answers else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the name is the server's

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        told.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()
