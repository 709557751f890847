"""What hostile statements do to ingest: the time of a batch of changes, alone and beside somebody who sends them without a pause.

    python benchmarks/hostile.py [--seconds 20] [--rows 500] [--every 0.1]

Statements come in an order of their own (a seed), refused ones and bombs as they are in tests/hostile_statements.py. Exit code 1 if
the 95th percentile of a batch is more than twice what it is alone, if a statement was answered, or if anything was written.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from hostile_statements import BOMBS, REFUSED
from view_changes import telemetry

from analytics.view.duckdb import DuckDBView
from contracts.errors import ThingstormError
from thingstorm.runtime.supervisor import supervise

SEED = 9


class Load:
    """Batches of new rows at a steady pace; how long each took until it was committed."""

    def __init__(self, view: DuckDBView, *, rows: int, every: float) -> None:
        self._view, self._rows, self._every = view, rows, every
        self.written = 0

    async def batches(self, seconds: float) -> list[float]:
        """Milliseconds of each."""
        took, end = [], time.monotonic() + seconds
        while (began := time.monotonic()) < end:
            numbers = range(self.written, self.written + self._rows)
            await self._view.apply([telemetry(n, topic="dt/a", payload_bytes=8) for n in numbers])
            self.written += self._rows
            took.append((time.monotonic() - began) * 1000)
            await anyio.sleep(max(0.0, self._every - took[-1] / 1000))
        return took


class Hostile:
    """Sends one statement after the other."""

    def __init__(self, view: DuckDBView) -> None:
        self._view = view
        self._chance = random.Random(SEED)  # noqa: S311 - a plain choice, no secret
        self.sent = 0
        self.answered: list[str] = []

    async def send(self) -> None:
        while True:
            statement = self._chance.choice((*REFUSED, *BOMBS))
            self.sent += 1
            try:
                await self._view.ask(statement)
            except ThingstormError:
                continue
            self.answered.append(statement[:200])


async def measure(*, seconds: float, rows: int, every: float) -> dict[str, object]:
    """Both phases on one file."""
    with tempfile.TemporaryDirectory(prefix="thingstorm-hostile-") as folder:
        view = DuckDBView(Path(folder) / "view.duckdb")
        async with supervise([view], drain_seconds=10):
            load, hostile = Load(view, rows=rows, every=every), Hostile(view)
            await load.batches(3)  # files, caches
            alone = await load.batches(seconds)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hostile.send)
                beside = await load.batches(seconds)
                tasks.cancel_scope.cancel()
            ((count,),) = (await view.query("SELECT count(*) FROM telemetry")).rows
    return {
        "rows_a_batch": rows,
        "alone_ms": _figures(alone),
        "beside_ms": _figures(beside),
        "p95_ratio": round(_quantile(beside, 0.95) / _quantile(alone, 0.95), 2),
        "statements": hostile.sent,
        "answered": hostile.answered,
        "rows_too_many": count - load.written,
    }


def _figures(took: list[float]) -> dict[str, float]:
    shown = {"p50": 0.5, "p95": 0.95, "max": 1.0}
    return {"batches": len(took), **{name: round(_quantile(took, share), 1) for name, share in shown.items()}}


def _quantile(took: list[float], share: float) -> float:
    return sorted(took)[min(len(took) - 1, int(len(took) * share))]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--every", type=float, default=0.1)
    told = parser.parse_args()
    figures = anyio.run(lambda: measure(seconds=told.seconds, rows=told.rows, every=told.every))
    print(json.dumps(figures, indent=1))
    right = not figures["answered"] and not figures["rows_too_many"]
    return 0 if right and isinstance(figures["p95_ratio"], float) and figures["p95_ratio"] <= 2 else 1


if __name__ == "__main__":
    sys.exit(main())
