"""What a device's row says beside its counts, held against the baseline: topics, payload shapes, numbers.

Devices do the same second after second, so every answer is remembered: a row costs a few look-ups.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .baseline import Baseline, topic_pattern
from .readings import SLOTS
from .schema import Fit
from .windows import DeviceRow

MAX_REMEMBERED = 100_000


class Found(NamedTuple):
    """Of one row: novel topic patterns and messages on them, messages of broken and of added-to shapes, readings.

    Readings are by slot. Messages on novel topics are at least one each where the gateway tells no shapes.
    """

    novel: tuple[str, ...]
    novel_messages: int
    broken: int
    added: int
    readings: Sequence[tuple[int, float]]


class Insight:
    """Reads rows for one baseline."""

    def __init__(self, baseline: Baseline) -> None:
        self.baseline = baseline
        self._topics: dict[tuple[str, str, tuple[str, ...]], tuple[tuple[str, ...], tuple[str, ...]]] = {}
        self._texts: dict[str, str] = {}
        self._fits: dict[tuple[str, str, str], Fit] = {}
        self._slots = {
            (kind, pattern, name): slot
            for kind, walks in baseline.walks.items()
            for slot, (pattern, name) in enumerate(list(walks)[:SLOTS])
        }

    def describe(self, lines: Iterable[str]) -> None:
        """What shapes stand for, as the fleet's row tells it: `ID TEXT`."""
        if len(self._texts) > MAX_REMEMBERED:
            self._texts.clear()
        for line in lines:
            shape, _, text = line.partition(" ")
            self._texts[shape] = text

    def look(self, kind: str, row: DeviceRow) -> Found:
        """Hold a row of a device of this type against the baseline."""
        patterns, novel = self._patterns_of(kind, row)
        broken = added = on_novel = 0
        for line in row.shapes:
            place, shape, count = line.split(" ")
            if novel and patterns[int(place)] in novel:
                on_novel += int(count)
                continue
            fit = self._fit(kind, patterns[int(place)], shape)
            broken += int(count) if fit == "broken" else 0
            added += int(count) if fit == "added" else 0
        readings: list[tuple[int, float]] = []
        for line in row.readings:
            place, value, name = line.split(" ", 2)
            slot = self._slots.get((kind, patterns[int(place)], name))
            if slot is not None:
                readings.append((slot, float(value)))
        return Found(novel, max(on_novel, len(novel)), broken, added, readings)

    def _patterns_of(self, kind: str, row: DeviceRow) -> tuple[tuple[str, ...], tuple[str, ...]]:
        key = (kind, row.device_id, row.topics)
        known = self._topics.get(key)
        if known is None:
            patterns = tuple(topic_pattern(topic, row.device_id) for topic in row.topics)
            known = patterns, self.baseline.novel(kind, patterns)
            if len(self._topics) >= MAX_REMEMBERED:
                self._topics.clear()
            self._topics[key] = known
        return known

    def _fit(self, kind: str, pattern: str, shape: str) -> Fit:
        key = (kind, pattern, shape)
        fit = self._fits.get(key)
        if fit is None:
            schema = self.baseline.schemas.get((kind, pattern))
            text = self._texts.get(shape)
            # a shape beyond the gateway's bound is one of hundreds of that second: nothing that a fleet learnt
            fit = "known" if schema is None else "broken" if text is None else schema.fit(text)
            if len(self._fits) >= MAX_REMEMBERED:
                self._fits.clear()
            if text is not None:
                self._fits[key] = fit
        return fit
