"""What is played, whoever wrote it: a scenario with its timeline, or a recording."""

from dataclasses import dataclass

from contracts.messages import Nanoseconds

from .crew import Plays
from .model import Expect, Scenario, TransportName
from .player import Player
from .share import EVERYBODY, Share

_LEFT_TO_THE_QUEUE = ("fault.poison_message", "fault.handler_crash", "fault.throttle")
"""Faults after which messages come back by the queue's visibility timeout."""


@dataclass(frozen=True, slots=True)
class Story:
    """A player with its frame. The player has a state: a story is played once.

    `duration` and `train_until` count from the start. `clock_start` is when a virtual clock begins, 0 if nobody said;
    `retried` whether messages may come back late; `labelled` whether the ground truth is known.
    """

    name: str
    seed: int
    player: Plays
    duration: Nanoseconds
    train_until: Nanoseconds
    clock_start: Nanoseconds
    expect: Expect
    retried: bool = False
    labelled: bool = True
    transport: TransportName = "paho"


def story_of(played: Scenario | Story, share: Share = EVERYBODY) -> Story:
    """A scenario's story, of its devices those of the share; a story is its own."""
    if isinstance(played, Story):
        return played
    return Story(
        name=played.name,
        seed=played.seed,
        player=Player(played, share),
        duration=played.duration,
        train_until=played.train_until,
        clock_start=played.clock.start_at,
        expect=played.expect,
        retried=any(phase.kind in _LEFT_TO_THE_QUEUE for phase in played.timeline),
        transport=played.transport,
    )
