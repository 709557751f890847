"""Counts per device and second: the cloud-side metrics, and the messages that carry them.

Named after AWS IoT Device Defender's cloud-side metrics. Bounded: at most `MAX_DEVICES` ids a period (a flood of
connects with invented ids counts under the fleet alone), at most `CloudMetric.MAX_TOPICS` topics named a device.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

from contracts.messages import FLEET, MILLISECOND, CloudMetric, Nanoseconds

from .inspection import EAGER, STRIDE, Inspector, Notes

MAX_DEVICES = 10_000
MAX_DISTINCT_TOPICS = 1_000
BYTES_PER_MESSAGE = 190_000
"""Below SNS's and SQS's 256 KiB, with room for escapes and for one row more: 16 long topics are 4 KB."""


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
    num_takeovers: int = 0
    num_foreign_takeovers: int = 0
    num_rejected: int = 0
    num_replayed: int = 0
    topics: set[str] = field(default_factory=set)
    notes: Notes | None = None

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
        self._inspector = Inspector()

    def received(self, counts: Counts, client_id: str, topic: str, payload: bytes) -> None:
        """Count an accepted message, and look at its payload if its turn has come."""
        counts.received(topic, len(payload))
        number = counts.num_messages_received
        if number <= EAGER or not number % STRIDE:
            if counts.notes is None:
                counts.notes = Notes()
            counts.num_replayed += self._inspector.look(client_id, topic, payload, counts.notes)

    def of(self, device_id: str) -> Counts:
        """The counters of a device; beyond the bound, those that only the fleet's row includes."""
        counts = self._devices.get(device_id)
        if counts is None:
            if len(self._devices) >= MAX_DEVICES:
                return self._others
            counts = self._devices[device_id] = Counts()
        return counts

    def close(self, *, start: Nanoseconds, end: Nanoseconds, half_open: int = 0) -> list[CloudMetric]:
        """The rows of the period, the fleet's last; counting starts again at zero.

        `half_open` connections have been waiting for their CONNECT for long.
        """
        self.period += 1
        devices, others = self._devices, self._others
        self._devices, self._others = {}, Counts()
        rows = [_row(device_id, counts, start, end) for device_id, counts in devices.items()]
        fleet = _fleet_row([*devices.values(), others], start, end)
        told = replace(fleet, num_devices=len(rows), num_half_open=half_open, shapes=self._inspector.close())
        return [*rows, told]


def _row(device_id: str, counts: Counts, start: Nanoseconds, end: Nanoseconds) -> CloudMetric:
    named = tuple(sorted(counts.topics)[: CloudMetric.MAX_TOPICS])
    values = {name: getattr(counts, name) for name in [*_SUMS, "message_byte_size_max"]}
    notes = counts.notes or _NOTHING
    return CloudMetric(
        device_id,
        start,
        end,
        num_topics=len(counts.topics),
        topics=named,
        shapes=tuple(notes.shape_lines(named)),
        readings=tuple(notes.reading_lines(named)),
        **values,
    )


_NOTHING = Notes()


def _fleet_row(counts: list[Counts], start: Nanoseconds, end: Nanoseconds) -> CloudMetric:
    values = {name: sum(getattr(one, name) for one in counts) for name in _SUMS}
    largest = max((one.message_byte_size_max for one in counts), default=0)
    return CloudMetric(FLEET, start, end, message_byte_size_max=largest, **values)


def payloads(rows: list[CloudMetric]) -> Iterator[bytes]:
    """The JSON bodies that carry the rows of one period, `BYTES_PER_MESSAGE` each, the fleet's in the last."""
    part: list[str] = []
    size = 0
    for row in rows:
        text = _ENCODE(_plain(row))
        if part and size + len(text) > BYTES_PER_MESSAGE:
            yield _body(rows[0], part)
            part, size = [], 0
        part.append(text)
        size += len(text) + 1
    if part:
        yield _body(rows[0], part)


_ENCODE = json.JSONEncoder(separators=(",", ":")).encode


def _body(row: CloudMetric, part: list[str]) -> bytes:
    start, end = row.start // MILLISECOND, row.end // MILLISECOND
    return f'{{"start":{start},"end":{end},"devices":[{",".join(part)}]}}'.encode()


_FIELDS = tuple(f.name for f in fields(CloudMetric) if f.name not in ("start", "end"))


def _plain(row: CloudMetric) -> dict[str, Any]:
    """The fields that are not zero; times stand once, in the envelope."""
    return {name: value for name in _FIELDS if (value := getattr(row, name))}
