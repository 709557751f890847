"""Behaviours at their default strength over fleets that the library has none of, after more or less training.

    python benchmarks/other_fleets.py [--seeds 401] [--fleets few,slow,...] [--kinds low_and_slow,...] [--train 32s,120s,...]

One attack or one benign uptick a run, on the direct path. Prints what was not as it should be, and per fleet and training the
share of attacks found, of hostile devices named, and how many benign events brought an attack verdict. Exit code 1 if any
did. Seeds 7 and 8 were tuned on; the default is not.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ATTACKS = (
    "bill_abuse", "c2_beacon", "client_id_takeover", "connect_flood", "coordinated_botnet", "credential_bruteforce",
    "exfiltration", "low_and_slow", "malformed_payload", "mimic", "oversize_payload", "publish_flood", "replay",
    "sensor_spoof", "slow_connect", "topic_enumeration", "unauthorised_publish",
)  # fmt: skip
UPTICKS = (
    "alarm_cascade", "backfill_burst", "battery_saver", "clock_skew", "diurnal", "firmware_rollout", "flash_crowd",
    "maintenance_silence", "onboarding", "qos_duplicates", "reconnect_storm", "sampling_change",
)  # fmt: skip
EVENT_SECONDS, AFTER_SECONDS, BEFORE_SECONDS = 40, 15, 8


class Fleet(NamedTuple):
    """How many devices, how often they speak, how many of them turn hostile, seconds of training by default."""

    devices: int
    every: Any
    hostile: int
    train: int


FLEETS = {
    "few": Fleet(5, {"dist": "lognormal", "mean": "1s", "jitter": "20%"}, 1, 32),
    "slow": Fleet(60, {"dist": "lognormal", "mean": "5s", "jitter": "20%"}, 4, 192),
    "fast": Fleet(30, {"dist": "lognormal", "mean": "300ms", "jitter": "20%"}, 2, 32),
    "random": Fleet(300, {"dist": "poisson", "mean": "2s"}, 9, 32),
    "exact": Fleet(40, "1s", 3, 32),
}


class Run(NamedTuple):
    """One scenario to play, by what it is made of."""

    fleet: str
    kind: str
    train: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.kind.partition('.')[2].replace('_', '-')}-{self.fleet}-t{self.train}-s{self.seed}"

    def scenario(self) -> dict[str, Any]:
        fleet = FLEETS[self.fleet]
        hostile = self.kind.startswith("attack.")
        share = {"count": fleet.hostile} if hostile else {"fraction": 0.5}
        begin = self.train + BEFORE_SECONDS
        payload = {
            "temp_c": {"walk": {"start": 20, "step": 0.3, "min": -20, "max": 60}},
            "battery": {"walk": {"start": 80, "step": 0.5, "min": 0, "max": 100}},
            "mode": {"choice": ["auto", "eco"]},
        }
        device = {"group": "dev", "count": fleet.devices, "topic": "dt/dev/{device}/telemetry", "qos": 1}
        event = {"id": "event", "at": f"{begin}s", "for": f"{EVENT_SECONDS}s", "kind": self.kind}
        return {
            "scenario": "v1",
            "name": self.name,
            "description": "Made by benchmarks/other_fleets.py.",
            "seed": self.seed,
            "path": "direct",
            "clock": {"mode": "virtual"},
            "duration": f"{begin + EVENT_SECONDS + AFTER_SECONDS}s",
            "fleet": [{**device, "every": fleet.every, "payload": payload}],
            "train": {"until": f"{self.train}s"},
            "timeline": [{**event, "targets": {"group": "dev", **share}}],
            "expect": {"overall": {"false_positives": {"gte": 0}}},
        }


def wanted(asked: argparse.Namespace) -> Iterator[Run]:
    """Every fleet with every kind, training and seed that was asked for."""
    kinds = [f"attack.{kind}" for kind in ATTACKS] + [f"benign.{kind}" for kind in UPTICKS]
    for fleet in asked.fleets:
        for train in asked.train or [FLEETS[fleet].train]:
            for kind in kinds:
                if not asked.kinds or kind.partition(".")[2] in asked.kinds:
                    yield from (Run(fleet, kind, train, seed) for seed in asked.seeds)


def played(runs: list[Run]) -> dict[str, dict[str, Any]]:
    """The phase and the overall count of every run, by its name; ends the program where one could not be played."""
    with tempfile.TemporaryDirectory() as folder:
        for run in runs:
            (Path(folder) / f"{run.name}.yaml").write_text(yaml.safe_dump(run.scenario()))
        out = Path(folder) / "out.json"
        command = [str(Path(sys.executable).with_name("thingstorm")), "run", folder, "--json", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        if not out.is_file():
            sys.exit(done.stdout + done.stderr)
        return {
            told["scenario"]: {**told["phases"][0], "others": told["overall"]["false_positives"]}
            for told in json.loads(out.read_text())
        }


def wrong(run: Run, told: dict[str, Any]) -> str:
    """What is not as it should be, in a few words; empty if all is."""
    if run.kind.startswith("benign."):
        return (
            f"attack verdict, {told['others']} devices"
            if told["others"] or told["verdict"] == "attack"
            else ""
        )
    if told["verdict"] != "attack":
        return f"missed ({told['verdict']})"
    if told["expected_devices"] and told["recall"] < 1:
        return f"{len(told['flagged'])} of {len(told['expected_devices'])} devices named"
    return f"{told['others']} innocent devices named" if told["others"] else ""


def mean(values: list[float]) -> str:
    """Their mean with two digits; `-` of none."""
    return f"{sum(values) / len(values):.2f}" if values else "-"


def summary(runs: list[Run], told: dict[str, dict[str, Any]]) -> int:
    """Print a line for each fleet and training; the number of benign runs with an attack verdict."""
    rows: defaultdict[tuple[str, int], list[Run]] = defaultdict(list)
    for run in runs:
        rows[run.fleet, run.train].append(run)
    false_ones = 0
    print(f"{'fleet':8} {'trained':>8} {'attacks':>8} {'found':>6} {'named':>6} {'upticks':>8} {'false':>6}")
    for (fleet, train), group in rows.items():
        attacks = [told[run.name] for run in group if run.kind.startswith("attack.")]
        benign = [run for run in group if run.kind.startswith("benign.")]
        found = mean([float(one["verdict"] == "attack") for one in attacks])
        named = mean([float(one["recall"] or 0) for one in attacks if one["expected_devices"]])
        false = sum(bool(wrong(run, told[run.name])) for run in benign)
        false_ones += false
        print(f"{fleet:8} {train:>6} s {len(attacks):>8} {found:>6} {named:>6} {len(benign):>8} {false:>6}")
    return false_ones


def seconds(text: str) -> int:
    """`120` or `120s`."""
    return int(text.removesuffix("s"))


def main() -> int:
    """Play what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=lambda text: [int(one) for one in text.split(",")], default=[401])
    parser.add_argument("--fleets", type=lambda text: text.split(","), default=list(FLEETS))
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=[])
    parser.add_argument("--train", type=lambda text: [seconds(one) for one in text.split(",")], default=[])
    runs = list(wanted(parser.parse_args()))
    told = played(runs)
    for run in runs:
        if reason := wrong(run, told[run.name]):
            print(f"{run.name}: {reason}")
    return 1 if summary(runs, told) else 0


if __name__ == "__main__":
    sys.exit(main())
