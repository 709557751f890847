"""The devices of the simulator's bench, in a process of their own.

python -m thingstorm.bench.simulator_load '{"kind": "flood", "subject": "gmqtt", "port": 1883, ...}'
"""

import gc
import json
import os
import sys
import time
from typing import Any

import anyio

from simulator.model import Scenario
from thingstorm.bench import simulator_emqtt
from thingstorm.bench.gateway_load import cpu_seconds, resident_kb
from thingstorm.bench.loads import allow_many_files
from thingstorm.bench.simulator_fleets import TRANSPORTS, OurFlood, Ours, Theirs
from thingstorm.bench.simulator_peers import PEERS

WARM_SECONDS = 1.0
SETTLE_SECONDS = 0.5
"""Until what the handshakes left behind is freed."""

PAYLOAD = {
    "power_w": {"walk": {"start": 400, "step": 15, "min": 0, "max": 9000}},
    "temp_c": {"daily": {"mean": 21, "amplitude": 4, "peak": "15:00"}},
    "site": {"const": "x" * 100},
}
"""With `ts` and `seq` some 190 bytes of JSON."""


def scenario(settings: dict[str, Any]) -> Scenario:
    """The fleet of a case, without a timeline; it lasts longer than any case."""
    group = {
        "group": "meter",
        "count": settings["devices"],
        "topic": "dt/meter/{device}/telemetry",
        "qos": settings.get("qos", 1),
        "every": settings.get("every", "1h"),
        "payload": PAYLOAD,
    }
    return Scenario.model_validate(
        {"scenario": "v1", "name": "bench", "duration": "1h", "seed": 7, "fleet": [group]}
    )


def _fleet(settings: dict[str, Any]) -> Ours | Theirs:
    subject, port = settings["subject"], settings["port"]
    if subject in TRANSPORTS:
        return Ours(scenario(settings), subject=subject, port=port)
    return Theirs(scenario(settings), make=PEERS[subject], port=port)


def _flooding(settings: dict[str, Any]) -> OurFlood | Theirs:
    subject, port = settings["subject"], settings["port"]
    if subject in TRANSPORTS:
        return OurFlood(scenario(settings), subject=subject, port=port)
    return Theirs(scenario(settings), make=PEERS[subject], port=port)


async def connects(settings: dict[str, Any]) -> dict[str, float]:
    """From nothing to all connected; then what the process has grown by."""
    fleet = _fleet(settings)
    before, began = resident_kb(os.getpid()), time.perf_counter()
    async with fleet.connected():
        took = time.perf_counter() - began
        await anyio.sleep(SETTLE_SECONDS)
        gc.collect()
        grown = resident_kb(os.getpid()) - before
    return {"connects_per_s": settings["devices"] / took, "kb_per_connection": grown / settings["devices"]}


async def paced(settings: dict[str, Any]) -> dict[str, float]:
    """Every device at its own pace; acknowledged messages and the process's CPU over a span."""
    fleet = _fleet(settings)
    async with fleet.connected(), fleet.publishing():
        await anyio.sleep(WARM_SECONDS)
        count, cpu, began = fleet.acknowledged(), time.process_time(), time.perf_counter()
        broker = cpu_seconds(settings["broker_pid"])
        await anyio.sleep(settings["seconds"])
        took, count = time.perf_counter() - began, fleet.acknowledged() - count
        cpu, broker = time.process_time() - cpu, cpu_seconds(settings["broker_pid"]) - broker
    return {
        "messages_per_s": count / took,
        "cpu_us_per_message": cpu / max(count, 1) * 1e6,
        "cpu_share": cpu / took,
        "broker_share": broker / took,
    }


async def flood(settings: dict[str, Any]) -> dict[str, float]:
    """So many messages from each device, as fast as they go, until the broker has the last of each."""
    each, count = settings["each"], settings["each"] * settings["devices"]
    fleet = _flooding(settings)
    async with fleet.connected():
        broker = cpu_seconds(settings["broker_pid"])
        cpu, began = time.process_time(), time.perf_counter()
        await fleet.flood(each)
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        broker = cpu_seconds(settings["broker_pid"]) - broker
    return {
        "messages_per_s": count / took,
        "cpu_us_per_message": cpu / count * 1e6,
        "broker_share": broker / took,
    }


KINDS = {"connects": connects, "paced": paced, "flood": flood}


def main(arguments: list[str]) -> int:
    """Run what the JSON says, print the figures as JSON."""
    settings: dict[str, Any] = json.loads(arguments[0])
    allow_many_files()
    if settings["subject"] == "emqtt-bench":
        figures = simulator_emqtt.paced(settings)
    else:
        figures = anyio.run(KINDS[settings["kind"]], settings)
    print(json.dumps(figures))  # noqa: T201 - this is the output
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
