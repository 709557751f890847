"""Writes what passes a broker: a recording that `replay` plays, and a scenario that `run` plays."""

import base64
import json
from pathlib import Path
from typing import IO, Any

import yaml

from broker.external import client_id_reader
from contracts.errors import ConfigError
from contracts.messages import SECOND, Nanoseconds
from simulator.anonymising import Anonymiser
from simulator.inferring import Sketch
from thingstorm.config import BrokerConfig

RECORDING = "recording.ndjson"
SCENARIO = "scenario.yaml"


class Recorder:
    """Give it every message by `take`; `finish` writes the scenario."""

    def __init__(self, folder: Path, *, anonymise: bool) -> None:
        """Begins the recording. Raises ConfigError for a folder that cannot be written."""
        self.folder = folder
        self.sketch = Sketch()
        self._anonymiser = Anonymiser() if anonymise else None
        self._client_id = client_id_reader(BrokerConfig.model_fields["client_id_pattern"].default)
        self._first: Nanoseconds = 0
        self._last: Nanoseconds = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file: IO[str] = (folder / RECORDING).open("w", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--out {folder}: {error}", fix="give a folder that you may write") from None

    def take(self, now: Nanoseconds, topic: str, payload: bytes, qos: int) -> None:
        """One message; `now` is wall time."""
        device_id, device_type = self._who(topic)
        if self._anonymiser is not None:
            topic = self._anonymiser.topic(topic, device_id)
            payload = self._anonymiser.payload(payload, device_id)
            device_id = self._anonymiser.device(device_id)
        self._first = self._first or now
        self._last = now
        self.sketch.add(
            device_id=device_id, device_type=device_type, topic=topic, payload=payload, qos=qos, now=now
        )
        row = {
            "ts": round(now / SECOND, 6),
            "client_id": device_id,
            "topic": topic,
            **_written(payload),
            "qos": qos,
        }
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def check(self) -> None:
        """Raises ConfigError if nothing came."""
        if not self.sketch.messages:
            raise ConfigError(
                "nothing passed the broker", fix="record while devices publish, or for longer, by --seconds"
            )

    def finish(self) -> None:
        """Write the scenario, if anything came."""
        if not self.sketch.messages:
            return
        seconds = (self._last - self._first) / SECOND
        values = self.sketch.scenario("recorded", seconds=seconds)
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)
        (self.folder / SCENARIO).write_text(text, encoding="utf-8")

    def close(self) -> None:
        """Close the file, whatever happened."""
        self._file.close()

    def _who(self, topic: str) -> tuple[str, str]:
        """Device id and type: the third and second level, or of shorter topics the last and the first."""
        levels = topic.split("/")
        device_id = self._client_id(topic)
        return (device_id, levels[1]) if device_id else (levels[-1] or "unnamed", levels[0])


def _written(payload: bytes) -> dict[str, Any]:
    try:
        return {"payload": payload.decode(), "encoding": "text"}
    except UnicodeDecodeError:
        return {"payload": base64.b64encode(payload).decode(), "encoding": "base64"}
