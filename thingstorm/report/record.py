"""What a run leaves behind, and the JSON result made of it (`thingstorm run --json`)."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from contracts.messages import ActionTaken, Label, Nanoseconds, Verdict


@dataclass(frozen=True, slots=True)
class PhaseSpan:
    """One entry of the timeline as it was played: absolute start and end."""

    id: str
    kind: str
    start: Nanoseconds
    end: Nanoseconds

    @property
    def label(self) -> str:
        return self.kind.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Ledger:
    """Messages counted hop by hop. `stored`, `viewed` and `archived` are read back, not remembered.

    `published` counts what devices sent; `accepted` what the gateway took; `routed` those that a rule matched;
    `queued` those that SNS took; `stored` rows in DynamoDB; `viewed` rows in the collection; `archived` records
    in the S3 objects.
    """

    published: int = 0
    accepted: int = 0
    refused: int = 0
    throttled: int = 0
    routed: int = 0
    queued: int = 0
    stored: int = 0
    viewed: int = 0
    archived: int = 0


@dataclass(frozen=True, slots=True)
class Losses:
    """What must be zero: routed but not viewed after the drain, viewed twice, given up."""

    lost: int = 0
    duplicates: int = 0
    dead_letters: int = 0


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds: device publish to queryable (p50, p95), close of a window to its verdict (p95)."""

    data_p50_ms: float = 0.0
    data_p95_ms: float = 0.0
    verdict_p95_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class HopLatency:
    """Milliseconds that messages took for one part of the path."""

    hop: str
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class SqlAnswer:
    """What an `expect.sql` query returned: rows as dicts, or the error it ended with."""

    name: str
    rows: Sequence[dict[str, Any]] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """Everything that a played scenario left behind.

    `traffic` is (second, messages received) for the chart; `alerts_received` what lay in the security team's queue;
    `messages` the rows of a labelled data set, if one was asked for.
    """

    started_at: Nanoseconds
    ended_at: Nanoseconds
    wall_seconds: float
    phases: tuple[PhaseSpan, ...]
    labels: tuple[Label, ...]
    verdicts: tuple[Verdict, ...]
    actions: tuple[ActionTaken, ...]
    ledger: Ledger
    losses: Losses
    latency: Latency
    answers: tuple[SqlAnswer, ...] = ()
    traffic: tuple[tuple[Nanoseconds, int], ...] = ()
    alerts_received: int = 0
    messages: tuple[dict[str, Any], ...] = ()
    hops: tuple[HopLatency, ...] = ()


@dataclass(frozen=True, slots=True)
class PhaseResult:
    """How one phase was judged; times in seconds, None where they do not apply."""

    id: str
    kind: str
    label: str
    verdict: str
    expected_devices: tuple[str, ...]
    flagged: tuple[str, ...]
    recall: float
    false_positives: int
    detect_seconds: float | None
    quarantined: tuple[str, ...]
    quarantine_seconds: float | None


@dataclass(frozen=True, slots=True)
class ExpectationResult:
    """One expectation: what was expected, what was seen; `gap` is why it is known to fail (it may pass again)."""

    name: str
    passed: bool
    expected: str
    seen: str
    gap: str = ""


@dataclass(frozen=True, slots=True)
class Overall:
    """Counts over the whole run: devices flagged wrongly, phases left undecided, and the losses."""

    false_positives: int = 0
    undecided: int = 0
    lost: int = 0
    duplicates: int = 0
    dead_letters: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """The JSON result of one scenario. Field names are an interface: people script against them."""

    scenario: str
    seed: int
    path: str
    clock: str
    passed: bool
    wall_seconds: float
    phases: tuple[PhaseResult, ...]
    overall: Overall
    ledger: Ledger
    latency: Latency
    expectations: tuple[ExpectationResult, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "hash": self.hash()}

    def hash(self) -> str:
        """Of everything that a seed decides: equal for equal runs on the virtual clock."""
        told = asdict(self)
        for name in ("wall_seconds", "latency", "passed"):  # `passed` depends on what is known to fail
            del told[name]
        for one in told["expectations"]:
            del one["gap"]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
