"""What the template's resources cost a month on AWS at a given rate: an estimate, with its assumptions in the open."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

_PRICES: Final = Path(__file__).with_name("prices.yaml")

MONTH: Final = 730 * 3600
"""Seconds of AWS's month."""

GB: Final = 10**9
HANDLER_SECONDS: Final = 0.1
"""One call of the handler: assumed, not measured on AWS (its two or three DynamoDB calls take some 10 ms each there)."""

GZIP_RATIO: Final = 0.2
"""Archived bytes to bytes: JSON of one shape; assumed."""

POLLERS: Final = 5
LONG_POLL_SECONDS: Final = 20
"""Lambda reads an idle queue by five long polls (Lambda developer guide, SQS event source mappings)."""

STREAM_POLLS: Final = 5
"""GetRecords calls a second and table: what the view's reader makes at most (five a second and shard are allowed)."""

ENVELOPE_BYTES: Final = 220
"""What the telemetry rule puts around a payload: device, topic, message id, times."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: messages a second in all, from how many devices, payload bytes, and the template's parameters."""

    rate: float
    devices: int = 50
    payload: int = 200
    batch_size: int = 100
    window_seconds: float = 1
    archive_bytes: int = 5 * 1024 * 1024
    archive_seconds: float = 60
    memory_gb: float = 0.25


@dataclass(frozen=True, slots=True)
class Cost:
    """One line: how much of what, and what it costs a month in US dollars."""

    service: str
    quantity: float
    unit: str
    usd: float
    source: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """The lines, when and where the prices were read, and the total."""

    lines: Sequence[Cost]
    read: str
    region: str

    @property
    def total(self) -> float:
        return sum(line.usd for line in self.lines)


def estimate(load: Load) -> Estimate:
    """A month at this load, list prices without free tiers, the data of one month kept."""
    document = yaml.safe_load(_PRICES.read_text(encoding="utf-8"))
    prices: Mapping[str, Any] = document["prices"]
    lines = [
        Cost(
            name.partition("_")[0],
            quantity,
            prices[name]["unit"],
            quantity * prices[name]["usd"] / prices[name]["per"],
            prices[name]["source"],
        )
        for name, quantity in _quantities(load).items()
    ]
    return Estimate(lines, str(document["read"]), document["region"])


def _quantities(load: Load) -> dict[str, float]:
    """How much of each priced thing a month takes, by its name in prices.yaml."""
    messages = load.rate * MONTH
    body = load.payload + ENVELOPE_BYTES
    five_kb, kb = math.ceil(load.payload / 5120), math.ceil(body / 1024)
    batch = min(load.batch_size, max(1.0, load.rate * load.window_seconds))
    calls = messages / batch
    idle_polls = 3 * POLLERS * MONTH / LONG_POLL_SECONDS
    objects = (
        max(MONTH / max(load.archive_seconds, 1), messages * body / load.archive_bytes) if messages else 0
    )
    return {
        "iot_minutes": load.devices * MONTH / 60,
        "iot_messages": messages * five_kb,
        "iot_rules": messages * five_kb,
        "iot_actions": messages * five_kb * 2,
        "sns_publishes": messages * math.ceil(body / 65536),
        "sqs_requests": messages * (1 + 2 / 10)
        + idle_polls,  # sent singly by SNS, received and deleted by ten
        "lambda_requests": calls,
        "lambda_gb_seconds": calls * HANDLER_SECONDS * load.memory_gb,
        "dynamodb_writes": messages * kb
        + load.devices * MONTH / 10,  # and last_seen every 10 s (ingest.TOUCH_MS)
        "dynamodb_gb": messages * body / GB,
        "dynamodb_stream_reads": 3 * STREAM_POLLS * MONTH,
        "firehose_gb": messages * math.ceil(body / 5120) * 5120 / GB,
        "s3_puts": objects,
        "s3_gb": messages * body * GZIP_RATIO / GB,
        "cloudwatch_alarms": 3,
    }
