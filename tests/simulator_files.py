"""Scenario files for the tests of the simulator."""

from pathlib import Path

from simulator.scenario import Scenario, load

BASE = """\
scenario: v1
name: small
vars: {meters: 6, mean: 1s}
seed: 3
duration: 40s
fleet:
  - group: meter
    count: $meters
    topic: "dt/meter/{device}/telemetry"
    every: {dist: lognormal, mean: $mean, jitter: 20%}
    payload:
      power_w: {walk: {start: 400, step: 15, min: 0, max: 9000}}
      temp_c: {daily: {mean: 21, amplitude: 4, peak: "15:00"}}
      wave: {sine: {mean: 0, amplitude: 1, period: 10s}}
      state: {choice: [running, idle]}
      fw: {const: "1.0.0"}
"""


def timeline(*entries: str) -> str:
    return "timeline:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries)


def scenario(folder: Path, *entries: str, base: str = BASE, **options: str) -> Scenario:
    path = folder / "s.yaml"
    path.write_text(base + (timeline(*entries) if entries else ""))
    return load(path, overrides=options)
