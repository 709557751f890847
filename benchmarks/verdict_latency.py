"""How long from the first hostile message to the verdict and from there to the quarantine, over all hops in real time.

    python benchmarks/verdict_latency.py [--seeds 301,302,303] [KIND ...]

Every run is a stack of its own (an attack shortly after another is found sooner) and takes about a minute.
`overload` is a botnet while the benign devices send three times what the message path carries: there the verdict must not
wait for the messages. Exit code 1 if a limit is passed. The seeds are none that anything was tuned on.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ATTACK_AT, ATTACK_FOR = 28, 14
QUARANTINE_LIMIT = 1.0
SENT_AT_OVERLOAD = 1_800.0
"""Messages a second: three times the 600 that `thingstorm bench pipeline` finds the path to carry on two cores."""


class Case(NamedTuple):
    """One attack: its behaviour, how many devices, its parameters, seconds within which the verdict is due."""

    kind: str
    count: int
    settings: dict[str, Any]
    limit: float
    overload: bool = False


CASES = {
    "flood": Case("attack.publish_flood", 3, {"rate_factor": 30}, 5.0),
    "brute-force": Case("attack.credential_bruteforce", 4, {"rate": 20}, 5.0),
    "enumeration": Case("attack.topic_enumeration", 2, {"rate": 10}, 5.0),
    "malformed": Case("attack.malformed_payload", 5, {"breakage": "truncated"}, 5.0),
    "oversize": Case("attack.oversize_payload", 3, {"bytes": 100_000}, 5.0),
    "coordinated": Case("attack.coordinated_botnet", 6, {"rate_factor": 1.5, "odd_rate": 0.5}, 15.0),
    "overload": Case("attack.coordinated_botnet", 8, {}, 6.0, overload=True),
}


def scenario(name: str, case: Case, seed: int) -> dict[str, Any]:
    """A fleet of 80 meters, the attack at 28 s; with overload 200 devices in a crowd from 24 s to 40 s."""
    count = 200 if case.overload else 80
    attack = {
        "id": "attack",
        "at": f"{ATTACK_AT}s",
        "for": f"{ATTACK_FOR}s",
        "kind": case.kind,
        "targets": {"group": "meter", "count": case.count},
        "with": case.settings,
    }
    crowd = {
        "id": "crowd",
        "at": "24s",
        "for": "16s",
        "kind": "benign.sampling_change",
        "targets": {"group": "meter"},
        "with": {"rate_factor": SENT_AT_OVERLOAD / count},
    }
    return {
        "scenario": "v1",
        "name": f"latency-{name}",
        "description": "Time to the verdict.",
        "seed": seed,
        "clock": {"mode": "wall"},
        "path": "aws",
        "transport": "raw" if case.overload else "paho",
        "duration": f"{ATTACK_AT + ATTACK_FOR + 5}s",
        "fleet": [
            {
                "group": "meter",
                "count": count,
                "topic": "dt/meter/{device}/telemetry",
                "qos": 1,
                "every": {"dist": "lognormal", "mean": "1s", "jitter": "20%"},
                "payload": {
                    "power_w": {"walk": {"start": 400, "step": 15, "min": 0, "max": 1000}},
                    "fw": {"const": "1.4.2"},
                },
            }
        ],
        "train": {"until": "20s"},
        "timeline": [crowd, attack] if case.overload else [attack],
        "expect": {"overall": {"false_positives": {"gte": 0}, "lost": {"gte": 0}}},
    }


def play(name: str, case: Case, seed: int) -> dict[str, Any]:
    """The attack's phase in the result of one run."""
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "scenario.yaml", Path(folder) / "out.json"
        file.write_text(yaml.safe_dump(scenario(name, case, seed)))
        command = [Path(sys.executable).with_name("thingstorm"), "run", file, "--json", out]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)  # noqa: S603 - our own command
        if not out.exists():
            sys.exit(f"{name}: {done.stderr or done.stdout}")
        (result,) = json.loads(out.read_text())
    found: dict[str, Any] = next(phase for phase in result["phases"] if phase["id"] == "attack")
    return {**found, "false": result["overall"]["false_positives"]}


def main() -> int:
    """A line a run, then a line a kind; 1 if a limit is passed or something is not found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--seeds", default="301,302,303")
    asked = parser.parse_args()
    if unknown := set(asked.kinds) - CASES.keys():
        parser.error(f"no such kind: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    late = 0
    for name in asked.kinds or CASES:
        case = CASES[name]
        runs = [play(name, case, int(seed)) for seed in asked.seeds.split(",")]
        verdicts = [run["detect_seconds"] for run in runs]
        delays = [run["quarantine_seconds"] for run in runs]
        slow = any(one is None or one > case.limit for one in verdicts)
        slow |= any(one is None or one > QUARANTINE_LIMIT for one in delays)
        late += slow
        print(
            f"{'LATE' if slow else 'ok':5} {name}: verdict after {verdicts} s (limit {case.limit:g}), quarantine after "
            f"another {delays} s, false devices {[run['false'] for run in runs]}",
            flush=True,
        )
    return int(late > 0)


if __name__ == "__main__":
    sys.exit(main())
