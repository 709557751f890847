"""Durations as people write them: 30s, 5m, 2h, 1d."""

import re

from contracts.errors import ConfigError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds_of(text: str) -> float:
    """The seconds. Raises ConfigError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if found is None:
        raise ConfigError(f"{text!r} is no duration", fix="write it as 30s, 5m, 2h or 1d")
    return float(found[1]) * _UNITS[found[2]]
