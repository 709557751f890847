"""A fleet as the gateway counts it, second by second, without a gateway: what `bench detector` scores.

Messages are Poisson, around a rate of each device's own (log-normal over the fleet). From `onset` on one device in
twenty is hostile, in one of four ways, each weak and strong.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from analytics.windows import COUNTS, DeviceRow, Second

START = 1_767_600_000
TYPES = ("meter", "pump", "gateway", "sensor")
SPREAD = 0.5
"""Of the log rates: the busiest of a thousand devices sends five times as much as the middle one."""

SIZE = 180.0
EVERY = 20
"""One device in so many is hostile."""

Counts = NDArray[np.int64]


class BenchFleet:
    """`count` devices at one message a second on average; `hostile` are the numbers of the hostile ones."""

    def __init__(self, count: int, *, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.ids = [f"dev-{number:05d}" for number in range(count)]
        self._types = [TYPES[number % len(TYPES)] for number in range(count)]
        self._topics = [
            (f"dt/{kind}/{name}/telemetry",) for kind, name in zip(self._types, self.ids, strict=True)
        ]
        self._rates = np.exp(self._rng.normal(-0.5 * SPREAD**2, SPREAD, count))
        self.hostile: Sequence[int] = range(EVERY // 2, count, EVERY)

    def seconds(self, duration: int, *, onset: int) -> Iterator[Second]:
        """Clean seconds, and from `onset` (seconds from the start) on hostile ones."""
        for t in range(duration):
            yield self._second(t, attack=t >= onset)

    def _second(self, t: int, *, attack: bool) -> Second:
        counts = np.zeros((len(self.ids), len(COUNTS)), dtype=np.int64)
        messages = self._rng.poisson(self._rates)
        sizes = SIZE + self._rng.normal(0.0, 4.0, len(self.ids)) / np.sqrt(np.maximum(messages, 1))
        odd: set[int] = set()
        for place, device in enumerate(self.hostile if attack else ()):
            way, strong = place % 4, place // 4 % 2
            if way == 0:
                messages[device] += self._rng.poisson((5.0, 30.0)[strong] * self._rates[device])
            elif way == 1 and self._rng.random() < (0.4, 1.0)[strong]:
                odd.add(device)
            elif way == 2:
                counts[device, COUNTS.index("num_authorization_failures")] = self._rng.poisson(
                    (0.6, 3.0)[strong]
                )
            else:
                sizes[device] *= (1.6, 8.0)[strong]
        counts[:, COUNTS.index("num_messages_received")] = messages
        counts[:, COUNTS.index("message_bytes_received")] = (messages * sizes).astype(np.int64)
        counts[:, COUNTS.index("message_byte_size_max")] = np.where(messages > 0, sizes + 8.0, 0.0).astype(
            np.int64
        )
        return Second(START + t, tuple(self._rows(counts, odd)))

    def _rows(self, counts: Counts, odd: set[int]) -> Iterator[DeviceRow]:
        for device, values in enumerate(counts.tolist()):
            if not any(values):
                continue
            topics = self._topics[device] if values[0] else ()
            if device in odd:
                topics = (*topics, f"dt/{self._types[device]}/{self.ids[device]}/c2")
            yield DeviceRow(self.ids[device], tuple(values), topics)
