"""What can happen to a fleet: benign behaviours and hostile ones, each a class with documented parameters."""

from collections.abc import Mapping

from .base import Behaviour
from .benign import FirmwareRollout, ReconnectStorm
from .hostile import CoordinatedBotnet, PublishFlood

BEHAVIOURS: Mapping[str, type[Behaviour]] = {
    behaviour.kind: behaviour
    for behaviour in (FirmwareRollout, ReconnectStorm, PublishFlood, CoordinatedBotnet)
}

__all__ = ["BEHAVIOURS", "Behaviour"]
