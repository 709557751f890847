"""A transport that tells how each connect and publish went and how long it took, for load tools that count them."""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..device import Reading
from .base import Callbacks, Loss
from .link import PahoLink
from .raw import RawLink
from .sockets import MakeLink, SocketTransport

LINKS: dict[str, MakeLink] = {"paho": PahoLink, "raw": RawLink}
"""What speaks MQTT, by the name that a person gives."""

WHY: dict[Loss, str] = {
    "unreachable": "no broker answered",
    "refused": "the broker refused the device",
    "lost": "the connection broke",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How something went.

    `what` is `connect` (to CONNACK), `publish qos0` (handed to the socket, in no time), `publish qos1` (to PUBACK) or
    `connection` (it was open and broke); `size` are bytes of payload, `error` what went wrong.
    """

    what: str
    device_id: str
    milliseconds: float
    size: int = 0
    error: str | None = None


Tell = Callable[[Outcome], None]


class MeasuredTransport(SocketTransport):
    """Like any transport on sockets. A broker acknowledges in order, so that the oldest publish is the one meant."""

    def __init__(
        self, *, host: str, port: int, callbacks: Callbacks, make_link: MakeLink, tell: Tell
    ) -> None:
        self._inner = callbacks
        self._tell = tell
        self._asked_at: dict[str, float] = {}
        self._sent_at: defaultdict[str, deque[float]] = defaultdict(deque)
        told = replace(callbacks, connected=self._came, lost=self._went, acknowledged=self._confirmed)
        super().__init__(host=host, port=port, callbacks=told, make_link=make_link)

    def connect(self, device_id: str, listens: Sequence[str]) -> None:
        """See `Transport.connect`."""
        self._asked_at.setdefault(device_id, time.perf_counter())
        super().connect(device_id, listens)

    def publish(self, device_id: str, reading: Reading) -> bool:
        """See `Transport.publish`."""
        if not super().publish(device_id, reading):
            return False
        if reading.qos:
            self._sent_at[device_id].append(time.perf_counter())
        else:
            self._tell(Outcome("publish qos0", device_id, 0.0, len(reading.payload)))
        return True

    def disconnect(self, device_id: str) -> None:
        """See `Transport.disconnect`."""
        self._forget(device_id)
        super().disconnect(device_id)

    def drop(self, device_id: str) -> Sequence[Reading]:
        """See `Transport.drop`."""
        self._forget(device_id)
        return super().drop(device_id)

    def _forget(self, device_id: str) -> float:
        """Nothing is awaited any more; when the device had asked to connect, or now."""
        self._sent_at.pop(device_id, None)
        return self._asked_at.pop(device_id, time.perf_counter())

    def _came(self, device_id: str) -> None:
        self._tell(Outcome("connect", device_id, _since(self._forget(device_id))))
        self._inner.connected(device_id)

    def _went(self, device_id: str, why: Loss, readings: Sequence[Reading]) -> None:
        what = "connection" if why == "lost" else "connect"
        self._tell(Outcome(what, device_id, _since(self._forget(device_id)), error=WHY[why]))
        self._inner.lost(device_id, why, readings)

    def _confirmed(self, device_id: str, reading: Reading) -> None:
        sent = self._sent_at[device_id].popleft()
        self._tell(Outcome("publish qos1", device_id, _since(sent), len(reading.payload)))
        self._inner.acknowledged(device_id, reading)


def _since(moment: float) -> float:
    return (time.perf_counter() - moment) * 1_000
