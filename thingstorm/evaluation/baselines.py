"""Two dumb baselines on the seconds that the model saw, judged like the model: what would no model at all do?

`static` is a security profile of Device Defender's Rules Detect: one static threshold a metric over five minutes, for
every device the same. Metrics, operators and the example thresholds of 5 failures, 5 connects, 5 disconnects and
1,024 bytes are those of "Cloud-side metrics" in the AWS IoT Device Defender developer guide. Its example of 50
messages in five minutes would flag every device here, so twice the busiest clean device stands for it. The service
looks once in five minutes; here the sum is looked at every second, so its times are better than real ones.

`max_z` takes the raw counts of the model's five-second windows, each against its own mean and deviation in training,
and calls a device hostile whose largest |z| is above everything seen in training in two of three windows.

While the model holds a device in quarantine, what it did in the five seconds before goes on for the baselines until
the attack is over: the model's response must not blind them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analytics.windows import COUNTS, WINDOW_SECONDS, Second
from contracts.messages import ActionTaken, Nanoseconds, Verdict
from thingstorm.report.record import Record

from .events import Flags

NAMES = ("static", "max_z")

PERIOD = 300
METRICS = (
    "num_messages_received",
    "message_bytes_received",
    "message_byte_size_max",
    "num_authorization_failures",
    "num_authentication_failures",
    "num_connects",
    "num_disconnects",
)
_PLACES = [COUNTS.index(name) for name in METRICS]
_MESSAGES, _BYTES, _SIZE, _DENIED, _REFUSED, _CONNECTS, _DISCONNECTS = range(len(METRICS))

FAILURES = CONNECTS = DISCONNECTS = 5.0
SIZE = 1024.0
BUSY = 2.0
MARGIN = 1.1
MIN_Z = 3.5
HITS, OF_LAST = 2, 3

Counts = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the devices did: `counts` of shape (devices, seconds, metrics); the first `training` seconds are clean."""

    ids: tuple[str, ...]
    ends: tuple[Nanoseconds, ...]
    counts: Counts
    training: int


def seen(seconds: Sequence[Second], record: Record, *, train_until: Nanoseconds) -> Seen:
    """The seconds as arrays, with what quarantined devices would have done."""
    ids = tuple(dict.fromkeys(row.device_id for second in seconds for row in second.rows))
    line = {device_id: place for place, device_id in enumerate(ids)}
    counts = np.zeros((len(ids), len(seconds), len(METRICS)))
    for column, second in enumerate(seconds):
        for row in second.rows:
            counts[line[row.device_id], column] = [row.counts[place] for place in _PLACES]
    ends = tuple(second.end for second in seconds)
    for action in record.actions:
        if action.action == "quarantine" and action.outcome == "done" and action.target in line:
            _go_on(counts[line[action.target]], ends, action, record)
    return Seen(ids, ends, counts, sum(end <= train_until for end in ends))


def played_by(name: str, what: Seen, record: Record) -> tuple[Record, Flags]:
    """The record as if this baseline had judged the run and quarantined what it named, and when it flagged whom."""
    hot = _static(what) if name == "static" else _max_z(what)
    flags = [(end, _named(what.ids, hot[:, column])) for column, end in enumerate(what.ends)]
    verdicts = tuple(_verdict(end, who) for end, who in flags)
    shut: dict[str, ActionTaken] = {}
    for end, who in flags:
        for device_id in sorted(who):
            shut.setdefault(device_id, ActionTaken("quarantine", device_id, end, "done"))
    return replace(record, verdicts=verdicts, actions=tuple(shut.values())), flags


def _go_on(counts: Counts, ends: Sequence[Nanoseconds], action: ActionTaken, record: Record) -> None:
    """Repeat a device's last seconds before its quarantine until its attack, or else the run, is over."""
    mine = [
        label.end for label in record.labels if label.device_id == action.target and label.label == "attack"
    ]
    until = max(mine, default=record.ended_at)
    at = next((place for place, end in enumerate(ends) if end > action.at), len(ends))
    stop = sum(end <= until for end in ends)
    before = counts[max(0, at - WINDOW_SECONDS) : at].copy()
    for place in range(at, stop if len(before) else at):
        counts[place] = before[(place - at) % len(before)]


def _static(what: Seen) -> NDArray[np.bool_]:
    """Devices above a static threshold, second by second, after training."""
    clean = what.counts[:, : what.training]
    rate = clean[:, :, _MESSAGES].mean(axis=1).max(initial=0.0) if what.training else 0.0
    sums = _trailing(what.counts, PERIOD)
    limits = {_CONNECTS: CONNECTS, _DISCONNECTS: DISCONNECTS, _MESSAGES: max(BUSY * PERIOD * rate, 1.0)}
    hot = sums[:, :, _DENIED] + sums[:, :, _REFUSED] > FAILURES
    for metric, limit in limits.items():
        hot |= sums[:, :, metric] > limit
    hot |= what.counts[:, :, _SIZE] > max(SIZE, BUSY * clean[:, :, _SIZE].max(initial=0.0))
    return _after(hot, what.training)


def _max_z(what: Seen) -> NDArray[np.bool_]:
    windows = _trailing(what.counts, WINDOW_SECONDS)
    clean = windows[:, WINDOW_SECONDS : what.training]
    if not clean.size:
        return np.zeros(windows.shape[:2], dtype=np.bool_)
    mean = clean.mean(axis=1, keepdims=True)
    # a count that never varied in training still has Poisson's deviation, and bytes a tenth of their mean
    floor = np.maximum(1.0, np.sqrt(mean))
    floor[:, :, [_BYTES, _SIZE]] = np.maximum(10.0, 0.1 * mean[:, :, [_BYTES, _SIZE]])
    z = np.abs(windows - mean) / np.maximum(clean.std(axis=1, keepdims=True), floor)
    largest = z.max(axis=2)
    limit = max(MIN_Z, MARGIN * float(largest[:, WINDOW_SECONDS : what.training].max()))
    hot = (largest > limit).astype(np.float64)
    return _after(_trailing(hot[:, :, None], OF_LAST)[:, :, 0] >= HITS, what.training)


def _trailing(counts: Counts, seconds: int) -> Counts:
    """Sums over the last `seconds`, or over what there is."""
    total = np.cumsum(counts, axis=1)
    total[:, seconds:] -= total[:, :-seconds].copy()
    return total


def _after(hot: NDArray[np.bool_], training: int) -> NDArray[np.bool_]:
    hot[:, :training] = False
    return hot


def _named(ids: Sequence[str], hot: NDArray[np.bool_]) -> frozenset[str]:
    return frozenset(_where(ids, hot))


def _where(ids: Sequence[str], hot: NDArray[np.bool_]) -> Iterator[str]:
    for place in np.flatnonzero(hot).tolist():
        yield ids[place]


def _verdict(end: Nanoseconds, who: frozenset[str]) -> Verdict:
    return Verdict("attack" if who else "normal", end, end, 1.0, 1.0, tuple(sorted(who)))
