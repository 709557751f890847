"""`bench gateway`: throughput, connects and memory of the MQTT gateway, peers side by side in the same run."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .gateway_tls import make_tls_files
from .loads import load
from .result import OURS, BenchResult, check_cases
from .subjects import can_pin, missing, running

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
    peers: tuple[str, ...] = PEERS


def _throughput(name: str, publishers: int, qos: int, **more: Any) -> Case:
    settings = {"kind": "throughput", "publishers": publishers, "qos": qos, **more}
    return Case(name, {**settings, "seconds": 3.0}, {**settings, "seconds": 0.4})


CASES = (
    *(_throughput(f"qos{qos}-{count}", count, qos) for qos in (0, 1) for count in (1, 50, 500)),
    _throughput("filters-8", 50, 0, filters=8),
    _throughput("filters-5000", 50, 0, filters=5_000),
    Case("connects", {"kind": "connects", "count": 2_000}, {"kind": "connects", "count": 300}),
    Case(
        "idle-5000",
        {"kind": "connects", "count": 5_000, "hold": 3.0},
        {"kind": "connects", "count": 1_000, "hold": 0.5},
    ),
    Case(
        "hostile",
        {"kind": "hostile", "publishers": 50, "qos": 1, "seconds": 4.0, "attempts_per_s": 1_000},
        {"kind": "hostile", "publishers": 50, "qos": 1, "seconds": 0.5, "attempts_per_s": 1_000},
    ),
    Case(
        "tls-connects",
        {"kind": "tls-connects", "tls": True, "count": 1_000},
        {"kind": "tls-connects", "tls": True, "count": 100},
        peers=("mosquitto",),
    ),
    Case(
        "tls-qos1-50",
        {"kind": "throughput", "tls": True, "publishers": 50, "qos": 1, "seconds": 3.0},
        {"kind": "throughput", "tls": True, "publishers": 50, "qos": 1, "seconds": 0.4},
        peers=("mosquitto",),
    ),
)
"""Stock amqtt is left out of the cases with certificates: it has no identity to take from one."""

UNITS = {
    "messages_per_s": "1/s",
    "connects_per_s": "1/s",
    "kb_per_connection": "KB",
    "cpu_us_per_message": "us",
    "generator_share": "cores",
    "idle_cpu_share": "cores",
    "lost": "messages",
    "out_of_order": "messages",
    "kept_share": "of calm",
    "attempts_per_s": "1/s",
}


def run(*, peers: bool, quick: bool, only: Sequence[str], tell: Tell) -> BenchResult:
    """Measure every case with every subject. Raises UnknownName, BackendError."""
    check_cases("gateway", only, known=[case.name for case in CASES])
    chosen = [case for case in CASES if not only or case.name in only]
    result = BenchResult("gateway", missing=[one for one in PEERS if peers and missing(one)])
    if not can_pin():
        result.notes.append("fewer than two cores: broker and load generator share one")
    subjects = [OURS, *(one for one in PEERS if peers and one not in result.missing)]
    began = time.monotonic()
    with ExitStack() as brokers:
        shared: dict[str, tuple[int, int]] = {}
        for case in chosen:
            for subject in [one for one in subjects if one == OURS or one in case.peers]:
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
    if "tls" in settings:
        with TemporaryDirectory(prefix="thingstorm-bench-") as folder:
            Path(folder).chmod(0o755)
            tls = make_tls_files(Path(folder)).as_settings()
            with running(subject, tls) as (port, pid):
                return _load(subject, case, {**settings, "port": port, "pid": pid, "tls": tls})
    if settings["kind"] != "throughput":
        with running(subject) as (port, pid):
            return _load(subject, case, {**settings, "port": port, "pid": pid})
    if subject not in shared:
        shared[subject] = brokers.enter_context(running(subject))
    port, pid = shared[subject]
    return _load(subject, case, {**settings, "port": port, "pid": pid})


def _load(subject: str, case: Case, settings: dict[str, Any]) -> dict[str, float]:
    what = f"{case.name} with {subject}"
    return load("thingstorm.bench.gateway_load", settings, what=what, limit_seconds=case.limit_seconds)
