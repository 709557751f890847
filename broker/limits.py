"""The quotas of the gateway, as data, and the token bucket that enforces rates.

Source of the `aws` profile: AWS IoT Core endpoints and quotas, message broker and protocol limits.
"""

from dataclasses import dataclass

from contracts.errors import UnknownName
from contracts.messages import SECOND, Nanoseconds


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes of UTF-8, rates per second and connection, times in seconds."""

    payload_bytes: int = 128 * 1024
    topic_bytes: int = 256
    topic_slashes: int = 7
    client_id_bytes: int = 128
    filters_per_subscribe: int = 8
    subscriptions: int = 50
    publishes_per_second: float = 100.0
    max_qos: int = 1
    keep_alive_least: int = 30
    keep_alive_most: int = 1200
    parent_matches_multilevel: bool = False
    """Whether `a/#` matches `a`, as MQTT says; AWS IoT Core does not."""
    wildcard_gets_retained: bool = False


PROFILES = {
    "aws": Limits(),
    "open": Limits(
        payload_bytes=256 * 1024 * 1024,
        topic_bytes=65_535,
        topic_slashes=65_535,
        client_id_bytes=65_535,
        filters_per_subscribe=65_535,
        subscriptions=1_000_000,
        publishes_per_second=float("inf"),
        keep_alive_least=0,
        keep_alive_most=65_535,
        parent_matches_multilevel=True,
        wildcard_gets_retained=True,
    ),
}


def profile(name: str) -> Limits:
    """The limits of that name. Raises UnknownName."""
    if name not in PROFILES:
        raise UnknownName("limits profile", name, PROFILES)
    return PROFILES[name]


class TokenBucket:
    """`rate` tokens a second, at most one second's worth saved up."""

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: float, now: Nanoseconds) -> None:
        self._rate = rate
        self._tokens = rate
        self._at = now

    def take(self, now: Nanoseconds) -> bool:
        """Take one token if there is one."""
        if self._rate == float("inf"):
            return True
        self._tokens = min(self._rate, self._tokens + max(0, now - self._at) / SECOND * self._rate)
        self._at = max(self._at, now)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
