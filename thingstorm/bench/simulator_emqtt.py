"""emqtt-bench, a program of its own: paced publishing, as it counts it itself.

Its connects and floods are left out: it paces both by whole milliseconds.
"""

import re
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from contracts.errors import BackendError
from contracts.messages import SECOND
from simulator.schedule import Every

PROGRAM = "emqtt_bench"
PAYLOAD_BYTES = 190
WARM_SECONDS = 2.5
TOTAL = re.compile(r"\bpub\b.*total=(\d+)")
"""Once a second it prints a line such as `5s pub total=4985 rate=1000.00/sec`."""


def paced(settings: Mapping[str, Any]) -> dict[str, float]:
    """Messages over the seconds that it told of, and the CPU of its processes. Raises BackendError."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command(settings), stdout=output, stderr=subprocess.STDOUT)  # noqa: S603 - ours
        try:
            time.sleep(WARM_SECONDS + settings["devices"] / 1_000)
            first, before, began = totals(output), _cpu_seconds(process.pid), time.perf_counter()
            time.sleep(settings["seconds"])
            last, after = totals(output), _cpu_seconds(process.pid)
            cpu = sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())
            took = time.perf_counter() - began
        finally:
            _end(process)
    if not first or len(last) == len(first):
        raise BackendError(f"{PROGRAM} told of no messages", fix="run it by hand, or leave the peers out")
    count = last[-1] - first[-1]
    return {
        "messages_per_s": count / (len(last) - len(first)),
        "cpu_us_per_message": cpu / max(count, 1) * 1e6,
        "cpu_share": cpu / took,
    }


def command(settings: Mapping[str, Any]) -> list[str]:
    """MQTT 3.1.1, as many clients, the same size, pace and QoS as the other subjects."""
    told = {
        "-h": "127.0.0.1",
        "-p": settings["port"],
        "-V": 4,
        "-c": settings["devices"],
        "-i": 1,
        "-I": Every(mean=settings["every"]).mean * 1_000 // SECOND,
        "-t": "dt/meter/%i/telemetry",
        "-s": PAYLOAD_BYTES,
        "-q": settings["qos"],
    }
    return [PROGRAM, "pub", *(str(part) for pair in told.items() for part in pair)]


def totals(output: Any) -> list[int]:
    """Messages published so far, one figure for each second."""
    text = Path(f"/proc/self/fd/{output.fileno()}").read_text(errors="replace")
    return [int(found) for found in TOTAL.findall(text)]


def _cpu_seconds(pid: int) -> dict[int, float]:
    """By process. One that ends while it is asked is left out: the load's work is done by those that stay."""
    found = {}
    for one in _family(pid):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            found[one.pid] = times.user + times.system
    return found


def _family(pid: int) -> list[psutil.Process]:
    """It and what it started, as far as it is there."""
    try:
        started = psutil.Process(pid)
        return [*started.children(recursive=True), started]
    except psutil.NoSuchProcess:
        return []


def _end(process: subprocess.Popen[bytes]) -> None:
    """It and what it started."""
    for one in _family(process.pid):
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait(5)
