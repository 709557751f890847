"""`bench simulator`: how many devices and messages one process drives, client libraries side by side in the same run.

The broker is mosquitto where it is installed, because it is the fastest that we know, else our own gateway.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .loads import allow_many_files, load
from .result import OURS, BenchResult, check_cases
from .subjects import can_pin, missing, running

RAW = "thingstorm-raw"
PEERS = ("aiomqtt", "gmqtt", "emqtt-bench")
EVERYBODY = (OURS, RAW, "aiomqtt", "gmqtt")
PACKAGES = ("thingstorm", "paho-mqtt", "anyio", "aiomqtt", "gmqtt")

LOAD = "thingstorm.bench.simulator_load"
LIMIT_SECONDS = 60.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """What the clients do; the second settings are the quick ones. `subjects` is who takes part."""

    name: str
    settings: dict[str, Any]
    quick: dict[str, Any]
    subjects: tuple[str, ...] = EVERYBODY


def _case(name: str, settings: dict[str, Any], *, quick: dict[str, Any], **more: Any) -> Case:
    return Case(name, settings, {**settings, **quick}, **more)


CASES = (
    _case("connects-5000", {"kind": "connects", "devices": 5_000}, quick={"devices": 300}),
    _case(
        "paced-1000",
        {"kind": "paced", "devices": 1_000, "every": "1s", "qos": 1, "seconds": 8.0},
        quick={"devices": 300, "seconds": 1.5},
        subjects=(*EVERYBODY, "emqtt-bench"),
    ),
    _case("flood-50-qos0", {"kind": "flood", "devices": 50, "qos": 0, "each": 2_000}, quick={"each": 60}),
    _case("flood-50-qos1", {"kind": "flood", "devices": 50, "qos": 1, "each": 1_000}, quick={"each": 40}),
    _case(
        "target-20k",
        {"kind": "paced", "devices": 400, "every": "20ms", "qos": 1, "seconds": 8.0},
        quick={"seconds": 2.0},
        subjects=(RAW,),
    ),
)

UNITS = {
    "messages_per_s": "1/s",
    "connects_per_s": "1/s",
    "kb_per_connection": "KB",
    "cpu_us_per_message": "us",
    "cpu_share": "cores",
    "broker_share": "cores",
}


def run(*, peers: bool, quick: bool, only: Sequence[str], tell: Tell) -> BenchResult:
    """Measure every case with every subject. Raises UnknownName, BackendError."""
    check_cases("simulator", only, known=[case.name for case in CASES])
    allow_many_files()
    result = BenchResult("simulator", missing=[one for one in PEERS if peers and missing(one)])
    broker = "thingstorm" if missing("mosquitto") else "mosquitto"
    result.notes.append(f"the broker is {'our own gateway' if broker == OURS else broker}")
    if not can_pin():
        result.notes.append("fewer than two cores: broker and devices share one")
    asked = {OURS, RAW, *(one for one in PEERS if peers and one not in result.missing)}
    began = time.monotonic()
    for case in [case for case in CASES if not only or case.name in only]:
        for subject in [one for one in case.subjects if one in asked]:
            tell(f"{case.name}: {subject}")
            figures = _measure(subject, case, case.quick if quick else case.settings, broker=broker)
            told = {name: (round(value, 3), UNITS[name]) for name, value in figures.items()}
            result.add(case.name, subject, **told)
    result.seconds = time.monotonic() - began
    return result


def _measure(subject: str, case: Case, settings: dict[str, Any], *, broker: str) -> dict[str, float]:
    """Each with a fresh broker: thousands of connections that were just closed would slow the next ones."""
    with running(broker) as (port, pid):
        told = {**settings, "subject": subject, "port": port, "broker_pid": pid}
        return load(LOAD, told, what=f"{case.name} with {subject}", limit_seconds=LIMIT_SECONDS)
