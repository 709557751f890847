"""`bench gateway`: throughput, connects and memory of the MQTT gateway, peers side by side in the same run."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from contracts.errors import BackendError, UnknownName

from .result import OURS, BenchResult
from .subjects import LOAD_CORE, can_pin, missing, pin, running

PEERS = ("amqtt", "mosquitto")
PACKAGES = ("thingstorm", "amqtt", "anyio")

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """What the load generator does; the second settings are the quick ones."""

    name: str
    settings: dict[str, Any]
    quick: dict[str, Any]
    limit_seconds: float = 60.0


def _throughput(name: str, publishers: int, qos: int, **more: Any) -> Case:
    settings = {"kind": "throughput", "publishers": publishers, "qos": qos, **more}
    return Case(name, {**settings, "seconds": 3.0}, {**settings, "seconds": 0.5})


CASES = (
    *(_throughput(f"qos{qos}-{count}", count, qos) for qos in (0, 1) for count in (1, 50, 500)),
    _throughput("filters-8", 50, 0, filters=8),
    _throughput("filters-5000", 50, 0, filters=5_000),
    Case("connects", {"kind": "connects", "count": 2_000}, {"kind": "connects", "count": 300}),
    Case(
        "idle-5000",
        {"kind": "connects", "count": 5_000, "hold": 3.0},
        {"kind": "connects", "count": 1_000, "hold": 1.0},
    ),
)
UNITS = {
    "messages_per_s": "1/s",
    "connects_per_s": "1/s",
    "kb_per_connection": "KB",
    "cpu_us_per_message": "us",
    "generator_share": "cores",
    "idle_cpu_share": "cores",
    "lost": "messages",
    "out_of_order": "messages",
}


def run(*, peers: bool, quick: bool, only: Sequence[str], tell: Tell) -> BenchResult:
    """Measure every case with every subject. Raises UnknownName, BackendError."""
    known = [case.name for case in CASES]
    for name in only:
        if name not in known:
            raise UnknownName("case of bench gateway", name, known)
    chosen = [case for case in CASES if not only or case.name in only]
    result = BenchResult("gateway", missing=[one for one in PEERS if peers and missing(one)])
    if not can_pin():
        result.notes.append("fewer than two cores: broker and load generator share one")
    subjects = [OURS, *(one for one in PEERS if peers and one not in result.missing)]
    began = time.monotonic()
    with ExitStack() as brokers:
        shared: dict[str, tuple[int, int]] = {}
        for case in chosen:
            for subject in subjects:
                tell(f"{case.name}: {subject}")
                figures = _measure(subject, case, quick=quick, shared=shared, brokers=brokers)
                told = {name: (round(value, 3), UNITS[name]) for name, value in figures.items()}
                result.add(case.name, subject, **told)
    result.seconds = time.monotonic() - began
    return result


def _measure(
    subject: str, case: Case, *, quick: bool, shared: dict[str, tuple[int, int]], brokers: ExitStack
) -> dict[str, float]:
    """Memory and connects want a fresh broker; throughput is measured with one that every case shares."""
    settings = case.quick if quick else case.settings
    if settings["kind"] != "throughput":
        with running(subject) as (port, pid):
            return _load(subject, case, {**settings, "port": port, "pid": pid})
    if subject not in shared:
        shared[subject] = brokers.enter_context(running(subject))
    port, pid = shared[subject]
    return _load(subject, case, {**settings, "port": port, "pid": pid})


def _load(subject: str, case: Case, settings: dict[str, Any]) -> dict[str, float]:
    with subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "thingstorm.bench.gateway_load", json.dumps(settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as load:
        pin(load.pid, LOAD_CORE)
        try:
            out, err = load.communicate(timeout=case.limit_seconds)
        except subprocess.TimeoutExpired:
            load.kill()
            out, err = load.communicate()
    if load.returncode:
        told = err.strip().splitlines()
        raise BackendError(
            f"{case.name} with {subject}: {told[-1] if told else 'the load generator ended'}",
            fix="run it again; if it stays, leave the peers out or name other cases with --case",
        )
    return dict(json.loads(out))
