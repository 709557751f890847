"""The whole stack under a steady load for a while: what grows, and whether anything is lost.

    python benchmarks/soak.py [--minutes 10] [--rate 300] [--keep-minutes 2] [--json FILE]

Once every five seconds: messages in the queue, buffers, rows of the hot tier, and of our processes (the stack and its detector;
the emulator by itself, because it keeps what it stores in memory) resident memory and open descriptors. Told at the end: each
at the end of the first minute and at the end, and its growth a minute by least squares after the first, and in the second half.
Exit code 1 if a message was lost, a queue or the descriptors grew, or our memory grew by more than 1 % of itself a minute.

The view is a file, so that its rows are not in memory; messages leave table and view after `--keep-minutes`, as in a stack that
runs for months; and the model has learnt within the first minute. What came is counted by the minute, before it leaves.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

import boto3
import httpx
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from acknowledged_load import AcknowledgedLoad

DEVICES = 50
EVERY = 5.0
FIRST_MINUTE = 60.0
TRAIN_SECONDS = 25
"""Then the detector is imported and fitted, which takes it to 45 s on a busy machine."""

CHUNK_SECONDS = 30.0
"""What came is counted by so much of the load,"""

LAG_SECONDS = 45.0
"""so long after its end: before its first message is as old as the least of `--keep-minutes`."""

LEAST_KEEP_MINUTES = 2.0
SETTLE_SECONDS = 30.0
MEMORY_SHARE = 0.01
"""Of itself, a minute: an allocator's own unrest."""

DEEPER = 10.0
"""Messages or descriptors over the whole run: less is the moment's chance."""


@contextmanager
def stack(folder: Path, keep_minutes: float) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """`thingstorm up` with its view on disk, ready; and its addresses."""
    command = [
        str(Path(sys.executable).with_name("thingstorm")), "up", "--no-simulator", "--ports", "auto", "--json",
        "--set", f"view.path={folder / 'view.duckdb'}", "--set", "view.memory_limit=256MB",
        "--set", f"model.train_seconds={TRAIN_SECONDS}", "--set", f"pipeline.keep_days={keep_minutes / 1440}",
    ]  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)  # noqa: S603 - our own command
        try:
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            yield process, json.loads(process.stdout.readline())
        finally:
            process.terminate()
            process.wait(30)


def family(pid: int) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """Our processes, and the emulator's."""
    everyone = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    theirs = [one for one in everyone if any("ministack" in part for part in one.cmdline())]
    return [one for one in everyone if one not in theirs], theirs


def sample(pid: int, addresses: Mapping[str, str], queues: list[str], sqs: Any) -> dict[str, float]:
    ours, theirs = family(pid)
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    depth = 0
    for url in queues:
        told = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        depth += sum(int(told[name]) for name in names)
    services = httpx.get(f"{addresses['api']}/healthz", timeout=30).json()["services"]
    buffers = {b["name"]: b["used"] for service in services for b in service["buffers"]}
    return {
        "queue_depth": depth,
        "buffered": buffers["messages"] + buffers["changes"],
        "hot_rows": ask(addresses, "SELECT count(*) FROM telemetry")[0],
        "descriptors": sum(one.num_fds() for one in ours),
        "our_memory_mb": sum(one.memory_info().rss for one in ours) / 2**20,
        "emulator_memory_mb": sum(one.memory_info().rss for one in theirs) / 2**20,
    }


def ask(addresses: Mapping[str, str], sql: str) -> list[Any]:
    """The one row of the answer."""
    told = httpx.post(f"{addresses['api']}/query", json={"sql": sql}, timeout=60).json()
    return list(told["rows"][0])


class Counted:
    """What the view holds of the load, counted by chunks before the rows leave it. A message's number is in its trace."""

    def __init__(self, addresses: Mapping[str, str], rate: float) -> None:
        self._addresses, self._rate = addresses, rate
        self._upto = 0
        self.viewed = self.rows = 0

    def follow(self, seconds: float) -> None:
        """Count the chunks that ended long enough before this second of the load."""
        while (self._upto / self._rate) + CHUNK_SECONDS + LAG_SECONDS <= seconds:
            self._take(self._upto + int(CHUNK_SECONDS * self._rate))

    def finish(self, sent: int) -> None:
        """Count the rest, once it is all there or the time is over."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while self._count(sent)[0] < sent - self._upto and time.monotonic() < deadline:
            time.sleep(1)
        self._take(sent)

    def _take(self, upto: int) -> None:
        viewed, rows = self._count(upto)
        self.viewed, self.rows, self._upto = self.viewed + viewed, self.rows + rows, upto

    def _count(self, upto: int) -> list[int]:
        """Distinct messages and rows of the next chunk."""
        number = "CAST(split_part(payload->>'trace', '/', 2) AS BIGINT)"
        counted = f"SELECT count(DISTINCT payload->>'trace'), count(*) FROM telemetry WHERE {number}"  # noqa: S608 - numbers of ours
        return ask(self._addresses, f"{counted} >= {self._upto} AND {number} < {upto}")


def growth(samples: list[tuple[float, dict[str, float]]], name: str) -> dict[str, float]:
    """After the first minute: its medians at both ends, and its growth a minute."""
    later = [(at, one[name]) for at, one in samples if at >= FIRST_MINUTE] or [
        (at, one[name]) for at, one in samples
    ]
    values = [value for _, value in later]
    tenth = max(1, len(values) // 10)
    half = len(later) // 2
    return {
        "after_a_minute": round(median(values[:tenth]), 1),
        "at_the_end": round(median(values[-tenth:]), 1),
        "a_minute": round(_slope(later), 2),
        "a_minute_later": round(_slope(later[half:]), 2),
        "most": round(max(one[name] for _, one in samples), 1),
    }


def _slope(points: list[tuple[float, float]]) -> float:
    """A minute, by least squares."""
    return linear_regression([at / 60 for at, _ in points], [value for _, value in points]).slope


def soak(minutes: float, rate: float, keep_minutes: float, tell: Callable[[str], None]) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="thingstorm-soak-") as name,
        stack(Path(name), keep_minutes) as (up, addresses),
    ):
        sqs = boto3.client(
            "sqs", endpoint_url=addresses["aws"], region_name="us-east-1",
            aws_access_key_id="test", aws_secret_access_key="test",  # noqa: S106 - the emulator takes any
        )  # fmt: skip
        urls = sqs.list_queues()["QueueUrls"]
        queues = [url for url in urls if not url.endswith("-dlq") and "security-team" not in url]
        samples: list[tuple[float, dict[str, float]]] = []
        port = int(addresses["mqtt"].rpartition(":")[2])
        counted = Counted(addresses, rate)
        with AcknowledgedLoad(port=port, devices=DEVICES, rate=rate) as load:
            began = time.monotonic()
            while (at := time.monotonic() - began) < minutes * 60:
                samples.append((at, sample(up.pid, addresses, queues, sqs)))
                counted.follow(at)
                if len(samples) % 12 == 0:
                    tell(f"{at:.0f} s: {json.dumps(samples[-1][1])}")
                time.sleep(EVERY)
            sent_rate = load.sent / (time.monotonic() - began)
            acknowledged = load.finish()
        counted.finish(load.sent)
        dead = sum(
            sample(up.pid, addresses, [url], sqs)["queue_depth"] for url in urls if url.endswith("-dlq")
        )
    figures = {key: growth(samples, key) for key in samples[0][1]}
    totals = {
        "minutes": minutes, "sent_a_second": round(sent_rate, 1), "acknowledged": len(acknowledged),
        "lost": len(acknowledged) - counted.viewed, "doubled": counted.rows - counted.viewed, "dead_letters": dead,
    }  # fmt: skip
    return {"totals": totals, "figures": figures}


def faults(result: Mapping[str, Any], minutes: float) -> list[str]:
    totals, figures = result["totals"], result["figures"]
    found = [f"{totals[name]} {name}" for name in ("lost", "doubled", "dead_letters") if totals[name]]
    found += [
        f"{name} grew by {figures[name]['a_minute']} a minute"
        for name in ("queue_depth", "buffered", "descriptors")
        if figures[name]["a_minute"] * minutes > DEEPER + figures[name]["after_a_minute"] * 0.1
    ]
    memory = figures["our_memory_mb"]
    if memory["a_minute"] > MEMORY_SHARE * memory["after_a_minute"]:
        found.append(f"our memory grew by {memory['a_minute']} MB a minute")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=300.0)
    parser.add_argument("--keep-minutes", type=float, default=LEAST_KEEP_MINUTES)
    parser.add_argument("--json", type=Path)
    told = parser.parse_args()
    if told.keep_minutes < LEAST_KEEP_MINUTES:
        parser.error(
            f"--keep-minutes below {LEAST_KEEP_MINUTES:g}: messages would leave before they are counted"
        )
    result = soak(
        told.minutes, told.rate, told.keep_minutes, lambda line: print(line, file=sys.stderr, flush=True)
    )
    print(json.dumps(result, indent=1))
    if told.json:
        told.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for fault in (found := faults(result, told.minutes)):
        print(f"fault: {fault}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
