"""Plays scenarios over all hops in real time and on the direct path in virtual time, and compares what the model said.

    python benchmarks/paths_agree.py [SCENARIO ...]

Exit code 0 if every verdict and every flagged device is the same on both paths.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DEFAULT = (
    "demo", "flood-inside-rollout", "reconnect-storm", "hostile/publish-flood", "hostile/coordinated-botnet",
    "hostile/exfiltration", "benign/flash-crowd", "faults/broker-restart",
)  # fmt: skip


def play(file: Path, path: str) -> list[dict[str, Any]]:
    """The phases of one run."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = [Path(sys.executable).with_name("thingstorm"), "run", file, "--path", path, "--json", out]
        subprocess.run(command, check=False, capture_output=True, cwd=folder)  # noqa: S603 - our own command
        (result,) = json.loads(out.read_text())
    phases: list[dict[str, Any]] = result["phases"]
    return phases


def main() -> int:
    """Print a line a phase; 1 if any differs."""
    differing = 0
    for name in sys.argv[1:] or DEFAULT:
        file = ROOT / "scenarios" / f"{name}.yaml"
        for one, other in zip(play(file, "aws"), play(file, "direct"), strict=True):
            same = (one["verdict"], one["flagged"]) == (other["verdict"], other["flagged"])
            differing += not same
            flagged = len(one["flagged"]), len(other["flagged"])
            print(
                f"{'same' if same else 'DIFFERS':8} {name} {one['id']}: {one['verdict']} / {other['verdict']}, "
                f"{flagged[0]} / {flagged[1]} devices, after {one['detect_seconds']} / {other['detect_seconds']} s",
                flush=True,
            )
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
