"""The ground truth of recorded traffic: a CSV of `id,start,end,label,devices`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from contracts.errors import ConfigError
from contracts.messages import Nanoseconds

from .recorded_files import Raw, open_rows
from .recording import Recording

LABEL_COLUMNS = ("id", "start", "end", "label")
"""`devices` may be left out: nobody knows which they were."""

ANYBODY = "*"
"""The device of a label when nobody knows which devices took part."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")


@dataclass(frozen=True, slots=True)
class RecordedLabel:
    """Between `start` and `end` these devices took part; without devices, nobody knows which."""

    id: str
    label: Literal["attack", "benign"]
    start: Nanoseconds
    end: Nanoseconds
    devices: tuple[str, ...]

    @property
    def kind(self) -> str:
        return f"{self.label}.recorded"


def read_labels(file: Path, recording: Recording) -> tuple[RecordedLabel, ...]:
    """The labels in the order of their starts. Raises ConfigError with file, row and fix."""
    if file.suffix.lower() != ".csv":
        raise ConfigError(
            f"the labels {file} are no CSV", fix=f"write a .csv with {','.join(LABEL_COLUMNS)},devices"
        )
    labels: list[RecordedLabel] = []
    for number, raw in open_rows(file, needed=LABEL_COLUMNS):
        try:
            labels.append(_label(raw, recording, labels))
        except ValueError as error:
            raise ConfigError(f"{file}:{number}: {error}", fix="correct this row") from None
    return tuple(sorted(labels, key=lambda label: label.start))


def _label(raw: Raw, recording: Recording, before: Sequence[RecordedLabel]) -> RecordedLabel:
    name, kind = (str(raw[column] or "").strip() for column in ("id", "label"))
    if not _ID.fullmatch(name):
        raise ValueError(f"the id {name!r} is no name: use letters, digits, - and _")
    if any(label.id == name for label in before):
        raise ValueError(f"two labels are named '{name}'")
    if kind not in ("attack", "benign"):
        raise ValueError(f"the label is {kind!r}: it is attack or benign")
    start, end = recording.moment(raw["start"]), recording.moment(raw["end"])
    if start >= end:
        raise ValueError(f"'{name}' ends before it starts")
    if end <= recording.start or start >= recording.start + recording.duration:
        raise ValueError(
            f"'{name}' lies outside the recording: its times are written as those of the recording"
        )
    devices = tuple(one.strip() for one in str(raw.get("devices") or "").split(";") if one.strip())
    return RecordedLabel(
        name, cast(Literal["attack", "benign"], kind), start, end, tuple(dict.fromkeys(devices))
    )
