"""Incidents and alerts for the tests of the channels, and a web server that receives them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from contracts.messages import SECOND, Alert, AlertKind, Evidence, Incident, Verdict, VerdictKind

OPENED = 1_767_600_035 * SECOND


def an_incident(kind: VerdictKind = "attack", devices: int = 3, **changes: Any) -> Incident:
    names = tuple(f"meter-{number:04d}" for number in range(devices))
    evidence = tuple(
        Evidence(name, "messages_per_s", 40.0, 1.0, 1.1, 38.5, "security") for name in names[:30]
    )
    summary = f"{devices} devices send <40> times & more than before"
    verdict = Verdict(kind, OPENED, OPENED + SECOND // 4, 0.93, 1.4, names, (), evidence, summary)
    incident = Incident("security-1767600035000", kind, OPENED, OPENED + 5 * SECOND, None, names, verdict)
    return replace(incident, **changes)


def an_alert(
    happened: AlertKind = "opened",
    *,
    number: int = 1,
    at: int = OPENED + SECOND,
    test: bool = False,
    **of: Any,
) -> Alert:
    incident = of.pop("incident", None) or an_incident(**of)
    if happened == "closed" and incident.closed_at is None:
        incident = replace(incident, closed_at=OPENED + 20 * SECOND)
    link = f"http://127.0.0.1:8080/incidents/{incident.incident_id}"
    return Alert(f"{incident.incident_id}-{number}", happened, at, incident, link, test)


class Receiver:
    """A web server that answers with the given codes, then 204, and keeps what it got."""

    def __init__(self, *codes: int, headers: dict[str, str] | None = None) -> None:
        self.codes = list(codes)
        self.got: list[tuple[dict[str, str], bytes]] = []
        told = headers or {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append(({key.lower(): value for key, value in self.headers.items()}, body))
                self.send_response(receiver.codes.pop(0) if receiver.codes else 204)
                for name, value in told.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    @contextmanager
    def running(self) -> Iterator["Receiver"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()
