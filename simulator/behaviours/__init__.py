"""What can happen to a fleet: benign behaviours and hostile ones, each a class with documented parameters.

A behaviour says what happens to a device and when; it never publishes, connects or looks at a clock itself.
"""

from collections.abc import Mapping

from .base import Behaviour
from .benign import FirmwareRollout, ReconnectStorm
from .hostile import CoordinatedBotnet, PublishFlood

BEHAVIOURS: Mapping[str, type[Behaviour]] = {
    behaviour.kind: behaviour
    for behaviour in (FirmwareRollout, ReconnectStorm, PublishFlood, CoordinatedBotnet)
}

PLANNED: frozenset[str] = frozenset(
    f"{family}.{name}"
    for family, names in {
        "benign": "diurnal flash_crowd backfill_burst onboarding sampling_change alarm_cascade "
        "maintenance_silence clock_skew qos_duplicates battery_saver",
        "attack": "low_and_slow connect_flood slow_connect credential_bruteforce client_id_takeover "
        "topic_enumeration unauthorised_publish oversize_payload malformed_payload exfiltration sensor_spoof "
        "replay c2_beacon bill_abuse mimic",
        "fault": "broker_restart network_drop latency throttle service_error handler_crash stream_lag "
        "duplicate_delivery reorder poison_message clock_jump",
    }.items()
    for name in names.split()
)
"""Kinds of the format that this version cannot play: refused by name, so that nobody looks for a typo."""

__all__ = ["BEHAVIOURS", "PLANNED", "Behaviour"]
