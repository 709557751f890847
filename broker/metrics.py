"""Counts per device and second: the cloud-side metrics, and the messages that carry them.

Named after AWS IoT Device Defender's cloud-side metrics. Bounded: at most `MAX_DEVICES` ids a period (a flood of
connects with invented ids counts under the fleet alone), at most `CloudMetric.MAX_TOPICS` topics named a device.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from contracts.messages import FLEET, MILLISECOND, CloudMetric, Nanoseconds

MAX_DEVICES = 10_000
MAX_DISTINCT_TOPICS = 1_000
ROWS_PER_MESSAGE = 400
"""A row is at most some 500 bytes with its topics named: 200 KB, below SNS's and SQS's 256 KiB."""


@dataclass(slots=True)
class Counts:
    """The counters of one device in the running period."""

    num_messages_received: int = 0
    num_messages_sent: int = 0
    message_bytes_received: int = 0
    message_byte_size_max: int = 0
    num_authorization_failures: int = 0
    num_authentication_failures: int = 0
    num_connection_attempts: int = 0
    num_connects: int = 0
    num_disconnects: int = 0
    num_throttled: int = 0
    topics: set[str] = field(default_factory=set)

    def received(self, topic: str, size: int) -> None:
        self.num_messages_received += 1
        self.message_bytes_received += size
        self.message_byte_size_max = max(self.message_byte_size_max, size)
        if len(self.topics) < MAX_DISTINCT_TOPICS:
            self.topics.add(topic)


_SUMS = [f.name for f in fields(Counts) if f.name.startswith("num_") or f.name == "message_bytes_received"]


class Metrics:
    """Counts until the period is closed; `of` gives the counters to add to while `period` stays the same."""

    def __init__(self) -> None:
        self.period = 0
        self._devices: dict[str, Counts] = {}
        self._others = Counts()

    def of(self, device_id: str) -> Counts:
        """The counters of a device; beyond the bound, those that only the fleet's row includes."""
        counts = self._devices.get(device_id)
        if counts is None:
            if len(self._devices) >= MAX_DEVICES:
                return self._others
            counts = self._devices[device_id] = Counts()
        return counts

    def close(self, *, start: Nanoseconds, end: Nanoseconds) -> list[CloudMetric]:
        """The rows of the period, the fleet's last; counting starts again at zero."""
        self.period += 1
        devices, others = self._devices, self._others
        self._devices, self._others = {}, Counts()
        rows = [_row(device_id, counts, start, end) for device_id, counts in devices.items()]
        return [*rows, _fleet_row([*devices.values(), others], len(rows), start, end)]


def _row(device_id: str, counts: Counts, start: Nanoseconds, end: Nanoseconds) -> CloudMetric:
    named = tuple(sorted(counts.topics)[: CloudMetric.MAX_TOPICS])
    values = {name: getattr(counts, name) for name in [*_SUMS, "message_byte_size_max"]}
    return CloudMetric(device_id, start, end, num_topics=len(counts.topics), topics=named, **values)


def _fleet_row(counts: list[Counts], devices: int, start: Nanoseconds, end: Nanoseconds) -> CloudMetric:
    values = {name: sum(getattr(one, name) for one in counts) for name in _SUMS}
    largest = max((one.message_byte_size_max for one in counts), default=0)
    return CloudMetric(FLEET, start, end, num_devices=devices, message_byte_size_max=largest, **values)


def payloads(rows: list[CloudMetric]) -> Iterator[bytes]:
    """The JSON bodies that carry the rows of one period, at most `ROWS_PER_MESSAGE` each, the fleet's in the last."""
    for first in range(0, len(rows), ROWS_PER_MESSAGE):
        part = rows[first : first + ROWS_PER_MESSAGE]
        body = {
            "start": part[0].start // MILLISECOND,
            "end": part[0].end // MILLISECOND,
            "devices": [_plain(row) for row in part],
        }
        yield json.dumps(body, separators=(",", ":")).encode()


def _plain(row: CloudMetric) -> dict[str, Any]:
    """The fields that are not zero; times stand once, in the envelope."""
    return {name: value for name, value in asdict(row).items() if value and name not in ("start", "end")}
