"""What the model was told, beside what it sees: announced changes, what analysts decided, who used up its drift.

All of it is about *expectations*: whom a device is compared with, how much of a sign it takes. Nothing here can
make a sign disappear that was not named, and nothing excuses a class of evidence for the whole fleet.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

ANNOUNCED_RATE = 3.0
"""A change is expected to raise traffic up to this much unless its announcement says more: rollouts double or treble."""


@dataclass(frozen=True, slots=True)
class Known:
    """`cohorts` names the announced change that a device is part of: such devices are each other's peers.

    `allowed` is how many times its usual traffic a cohort may send before even the whole of it is odd.
    `lenient` says, per device and feature, what z a sign must exceed to be security evidence (analysts' feedback).
    `topics` are the patterns, by device type, that were announced to be used from now on. `drifted` are devices whose baseline has followed them as far as it may.
    """

    cohorts: Mapping[str, str] = field(default_factory=dict)
    allowed: Mapping[str, float] = field(default_factory=dict)
    lenient: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    drifted: frozenset[str] = frozenset()
    topics: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def cohort(self, device_id: str) -> str:
        """The cohort of a device; '' for those that nobody announced."""
        return self.cohorts.get(device_id, "")

    def allowance(self, cohort: str) -> float:
        """How many times its usual traffic the cohort may send: 1 for those that nobody announced."""
        return self.allowed.get(cohort, ANNOUNCED_RATE) if cohort else 1.0


NOTHING = Known()
