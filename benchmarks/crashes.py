"""Kills router, worker, delivery stream and stream reader, each a process of its own, under load, and counts.

    python benchmarks/crashes.py [--kills 20] [--rate 150] [--seed 1]

Exit code 1 unless every message that the broker acknowledged is in the view once and in S3 at least once, and the
dead-letter queues are empty.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from stage_crashes import crash
from stage_processes import stages


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rate", type=float, default=150.0)
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="thingstorm-crashes-") as folder, stages(Path(folder)) as running:
        outcome = crash(
            running, kills=told.kills, rate=told.rate, seed=told.seed,
            tell=lambda line: print(line, file=sys.stderr, flush=True),
        )  # fmt: skip
    print(json.dumps(asdict(outcome), indent=1))
    once = outcome.rows == outcome.viewed == outcome.stored == outcome.acknowledged == outcome.sent
    return 0 if once and not outcome.unarchived and not outcome.dead_letters else 1


if __name__ == "__main__":
    sys.exit(main())
