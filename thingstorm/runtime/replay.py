"""Makes a recording into a story that every path can play."""

import re
from collections.abc import Sequence
from pathlib import Path

import pipeline
from contracts.errors import ConfigError
from contracts.messages import SECOND, Nanoseconds
from simulator.model import Expect
from simulator.recorded_labels import RecordedLabel
from simulator.recording import Recording
from simulator.replaying import ReplayPlayer, default_training
from simulator.scenario import Comparison, PhaseExpect
from simulator.story import Story

EVERY_TOPIC = Path(pipeline.__file__).parent / "rules-every-topic.yaml"
"""The rules of a replay: recorded devices follow no convention of ours."""

LEAST_TRAINING: Nanoseconds = 8 * SECOND
"""The model learns from no less: not even two of its windows."""

SEED = 1
"""Only the waits of clients that try again are random."""


def story_of_recording(
    recording: Recording, labels: Sequence[RecordedLabel], *, train_until: str | None
) -> tuple[Story, ReplayPlayer]:
    """The story, and its player to ask how far it is. `train_until` is a time as the recording writes it.

    Raises ConfigError if there is too little to learn from, or an attack in it.
    """
    training = default_training(recording, labels) if train_until is None else _asked(recording, train_until)
    _check_training(recording, labels, training)
    player = ReplayPlayer(recording, labels=labels, train_until=training, seed=SEED)
    story = Story(
        name=_name(recording.file),
        seed=SEED,
        player=player,
        duration=recording.duration,
        train_until=training,
        clock_start=recording.start,
        expect=_expect(labels),
        labelled=bool(labels),
    )
    return story, player


def _asked(recording: Recording, text: str) -> Nanoseconds:
    try:
        return recording.moment(text) - recording.start
    except ValueError as error:
        fix = "write a time as the recording does: seconds, or ISO 8601"
        raise ConfigError(f"--train-until: {error}", fix=fix) from None


def _check_training(recording: Recording, labels: Sequence[RecordedLabel], training: Nanoseconds) -> None:
    end = recording.start + training
    seconds, least = training / SECOND, LEAST_TRAINING / SECOND
    if training < LEAST_TRAINING:
        raise ConfigError(
            f"the model would learn from {seconds:g} s of {recording.file}, and it needs {least:g} s",
            fix="give a later --train-until, or a longer recording with clean traffic before its first label",
        )
    if training >= recording.duration:
        raise ConfigError(
            f"--train-until is {seconds:g} s after the start, and the recording has {recording.duration / SECOND:g} s",
            fix="train on a part of it, so that there is something to judge",
        )
    for label in labels:
        if label.label == "attack" and label.start < end:
            raise ConfigError(
                f"'{label.id}' begins before --train-until: the model would learn from the attack",
                fix="train until before the first attack",
            )


def _expect(labels: Sequence[RecordedLabel]) -> Expect:
    """Nothing is lost on the way; attacks are called so, and nobody is alarmed by what is benign."""
    nothing = Comparison.equal(0)
    phases = {
        label.id: PhaseExpect(verdict="attack") if label.label == "attack" else PhaseExpect(alerts=nothing)
        for label in labels
    }
    return Expect(phases=phases, overall={"lost": nothing, "duplicates": nothing, "dead_letters": nothing})


def _name(file: Path) -> str:
    """The file's name as a scenario's."""
    return re.sub(r"[^a-z0-9._-]+", "-", file.stem.lower()).strip("-._")[:100] or "recording"
