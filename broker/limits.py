"""The quotas of the gateway, as data, and the token bucket that enforces rates.

Source of the `aws` profile: AWS IoT Core endpoints and quotas, message broker and protocol limits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from contracts.errors import ConfigError, UnknownName
from contracts.messages import SECOND, Nanoseconds

UNLIMITED = float("inf")


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes of UTF-8, rates per second, times in seconds; the defaults are AWS's."""

    payload_bytes: int = 128 * 1024
    topic_bytes: int = 256
    topic_slashes: int = 7
    client_id_bytes: int = 128
    filters_per_subscribe: int = 8
    subscriptions: int = 50
    """Of one connection."""
    publishes_per_second: float = 100.0
    """Of one connection, in and out together."""
    bytes_per_second: float = 512 * 1024.0
    """What one connection sends: beyond it the gateway reads later."""
    connects_per_second: float = 500.0
    """Of all clients together."""
    connections: int = 500_000
    in_flight: int = 100
    """Publishes of QoS 1 that are not acknowledged, in each direction of a connection."""
    queued: int = 1_000
    """Messages that wait for a slow or absent client; beyond it the oldest is dropped. Ours: AWS names no number."""
    session_seconds: float = 3600.0
    """How long a persistent session outlives its connection at most."""
    sessions: int = 100_000
    """Persistent sessions without a connection; beyond it the oldest ends. Ours."""
    max_qos: int = 1
    keep_alive_least: int = 30
    keep_alive_most: int = 1200
    topic_aliases: int = 8
    user_property_bytes: int = 8 * 1024
    parent_matches_multilevel: bool = False
    """Whether `a/#` matches `a`, as MQTT says; AWS IoT Core does not."""
    wildcard_gets_retained: bool = False
    subscription_identifiers: bool = False
    duplicate_flag: bool = False
    """Whether a message that is sent again says so; AWS IoT Core does not."""
    any_password: bool = False
    """Whether a password that nobody gave out is ignored. AWS IoT Core knows none without a custom authorizer."""
    empty_client_id: bool = False
    """Whether a client of MQTT 3.1.1 may leave its id to the gateway; one of MQTT 5 always may."""


PROFILES = {
    "aws": Limits(),
    "open": Limits(
        payload_bytes=16 * 1024 * 1024,
        topic_bytes=65_535,
        topic_slashes=65_535,
        client_id_bytes=65_535,
        filters_per_subscribe=65_535,
        subscriptions=1_000_000,
        publishes_per_second=UNLIMITED,
        bytes_per_second=UNLIMITED,
        connects_per_second=UNLIMITED,
        in_flight=65_535,
        queued=10_000,
        session_seconds=UNLIMITED,
        max_qos=2,
        keep_alive_least=0,
        keep_alive_most=65_535,
        topic_aliases=65_535,
        user_property_bytes=1024 * 1024,
        parent_matches_multilevel=True,
        wildcard_gets_retained=True,
        subscription_identifiers=True,
        duplicate_flag=True,
        any_password=True,
        empty_client_id=True,
    ),
}


def profile(name: str, overrides: Mapping[str, float] | None = None) -> Limits:
    """The limits of that name, some of them replaced. Raises UnknownName, ConfigError for an impossible value."""
    if name not in PROFILES:
        raise UnknownName("limits profile", name, PROFILES)
    limits = PROFILES[name]
    chosen: Any = {key: _checked(limits, key, value) for key, value in (overrides or {}).items()}
    return replace(limits, **chosen)


def _checked(limits: Limits, key: str, value: float) -> Any:
    """The value as the limit's own type."""
    known = {one.name: type(getattr(limits, one.name)) for one in fields(limits)}
    if key not in known:
        raise UnknownName("limit", key, known)
    if not value >= 0:
        raise ConfigError(f"limit {key}: {value} is no limit", fix="give a number of 0 or more")
    try:
        return known[key](value)
    except OverflowError:
        raise ConfigError(f"limit {key} cannot be unlimited", fix="give a whole number") from None


class TokenBucket:
    """`rate` tokens a second, at most one second's worth saved up."""

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: float, now: Nanoseconds) -> None:
        self._rate = rate
        self._tokens = rate
        self._at = now

    def take(self, now: Nanoseconds) -> bool:
        """Take one token if there is one."""
        if self._rate == UNLIMITED:
            return True
        self._fill(now)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def spend(self, amount: float, now: Nanoseconds) -> float:
        """Take this many, into debt if need be; the seconds until the debt is paid (0.0: there is none)."""
        if self._rate == UNLIMITED:
            return 0.0
        self._fill(now)
        self._tokens -= amount
        return max(0.0, -self._tokens / self._rate) if self._rate else UNLIMITED

    def _fill(self, now: Nanoseconds) -> None:
        if now > self._at:
            self._tokens = min(self._rate, self._tokens + (now - self._at) / SECOND * self._rate)
            self._at = now
