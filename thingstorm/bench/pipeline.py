"""`bench pipeline`: the path from the rules to the view, beside a bare boto3 loop that makes the same calls.

The loop runs before and after ours, and its mean is the ceiling: what else the machine does meanwhile meets both.
`half-rate` then plays half of what ours had sustained, for the data latency (device publish to queryable).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from .loads import load
from .result import OURS, BenchResult, check_cases

CEILING = "ceiling"
PEERS = ("ceiling-signed", "ceiling-loopback")
"""The same loop with boto3 as it comes, and with our own HTTP beneath boto3."""

PACKAGES = ("thingstorm", "boto3", "botocore", "ministack", "duckdb")
CASES = ("sustained", "half-rate")
LOAD = "thingstorm.bench.pipeline_load"
BACKLOG = 400
"""Messages between SNS and the table at most: what the emulator's queue holds slows each receive."""

SECONDS, CEILING_SECONDS, HALF_SECONDS = 60.0, 15.0, 30.0
QUICK, QUICK_CEILING, QUICK_HALF = 4.0, 2.0, 4.0
AIM = 600.0
"""Messages a second for the latency where `sustained` was not asked for."""

MARGIN_SECONDS = 90.0
"""Start, warm-up and drain on a loaded machine."""

UNITS = {
    "messages_per_s": "1/s",
    "cpu_us_per_message": "us",
    "emulator_us_per_message": "us",
    "data_latency_p50_ms": "ms",
    "data_latency_p95_ms": "ms",
    "lost": "messages",
}

Tell = Callable[[str], None]


def run(*, peers: bool, quick: bool, only: Sequence[str], tell: Tell) -> BenchResult:
    """Measure. Raises UnknownName, BackendError."""
    check_cases("pipeline", only, known=CASES)
    result = BenchResult("pipeline")
    began = time.monotonic()
    rate = AIM
    if not only or "sustained" in only:
        rate = _sustained(result, peers=peers, quick=quick, tell=tell)
    if not only or "half-rate" in only:
        _half_rate(result, rate / 2, quick=quick, tell=tell)
    result.seconds = time.monotonic() - began
    return result


def _sustained(result: BenchResult, *, peers: bool, quick: bool, tell: Tell) -> float:
    """The rate that ours sustained."""
    around = QUICK_CEILING if quick else CEILING_SECONDS
    first = _measure("sustained", CEILING, around, tell)
    ours = _measure("sustained", OURS, QUICK if quick else SECONDS, tell)
    second = _measure("sustained", CEILING, around, tell)
    _add(result, "sustained", OURS, ours)
    _add(result, "sustained", CEILING, {name: fmean((first[name], second[name])) for name in first})
    for peer in PEERS if peers else ():
        _add(result, "sustained", peer, _measure("sustained", peer, around, tell))
    share = ours["messages_per_s"] / fmean((first["messages_per_s"], second["messages_per_s"]))
    result.notes.append(f"ours moves {share:.2f} of what the bare loop moves, and to the view")
    return ours["messages_per_s"]


def _half_rate(result: BenchResult, rate: float, *, quick: bool, tell: Tell) -> None:
    seconds = QUICK_HALF if quick else HALF_SECONDS
    figures = _measure("half-rate", OURS, seconds, tell, rate=rate)
    _add(result, "half-rate", OURS, figures)


def _add(result: BenchResult, case: str, subject: str, figures: Mapping[str, float]) -> None:
    told = {name: (round(value, 1), UNITS[name]) for name, value in figures.items()}
    result.add(case, subject, **told)


def _measure(case: str, subject: str, seconds: float, tell: Tell, **more: float) -> dict[str, float]:
    tell(f"{case}: {subject}, {seconds:.0f} s")
    settings = {"subject": subject, "seconds": seconds, "backlog": BACKLOG, **more}
    limit = seconds + MARGIN_SECONDS
    return load(LOAD, settings, what=f"{case} with {subject}", limit_seconds=limit, pinned=False)
