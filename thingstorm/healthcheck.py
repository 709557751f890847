"""What a container's health check runs: asks one address, exits 0 if it answers 200.

    python3 -I -S healthcheck.py http://127.0.0.1:8082/healthz

The address is the first argument, else the environment's `THINGSTORM_HEALTHCHECK`; the token between the stages is the
environment's too, because a port that others reach answers nobody without. It runs every few seconds in
every container, so it is made of a socket alone: 15 ms, where an HTTP library's import takes 60.
"""

import os
import re
import socket
import sys

TIMEOUT_SECONDS = 2.5


def main(arguments: list[str]) -> int:
    """0 if healthy, 1 if not; what is wrong is printed, so that the container's engine can show it."""
    url = arguments[0] if arguments else os.environ.get("THINGSTORM_HEALTHCHECK", "")
    place = re.fullmatch(r"http://([^:/]+):(\d+)(/.*)", url)
    if place is None:
        print(f"no address to ask: '{url}'; fix: set THINGSTORM_HEALTHCHECK=http://HOST:PORT/healthz")  # noqa: T201 - this is the output
        return 1
    try:
        answer = _ask(place[1], int(place[2]), place[3])
    except OSError as error:
        print(f"{url} does not answer: {error}")  # noqa: T201 - likewise
        return 1
    if answer.split(b" ", 2)[1:2] == [b"200"]:
        return 0
    print(answer.partition(b"\r\n\r\n")[2].decode(errors="replace"))  # noqa: T201 - likewise
    return 1


def _ask(host: str, port: int, path: str) -> bytes:
    with socket.create_connection((host, port), timeout=TIMEOUT_SECONDS) as connection:
        token = os.environ.get("THINGSTORM__STAGES__TOKEN", "")
        asked = f"GET {path} HTTP/1.0\r\nHost: {host}\r\n"
        asked += f"Authorization: Bearer {token}\r\n" if token else ""
        connection.sendall(f"{asked}\r\n".encode())
        answer = b""
        while data := connection.recv(65_536):
            answer += data
        return answer


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
