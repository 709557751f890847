"""Topics that a type never used: who uses them, since when, and whether it spread or began at once. Pure state.

One physical event makes neighbours speak on a new topic one after the other; a command from outside makes its
devices begin together. What began together, or alone, or outside a device's own branch, is no cascade.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

MEMORY_SECONDS = 60
MAX_PATTERNS = 32
"""Remembered of one device: who tries more than that is scanning, whatever the rest is."""


@dataclass(slots=True)
class _Use:
    first: int
    last: int
    times: int = 1


@dataclass(frozen=True, slots=True)
class Novel:
    """A device's novel topics now. `company` devices of its type share the newest of them (itself included).

    `spread` are the seconds between the first and the last of them to begin, `joined` those since the last began,
    `age` those since this device began; `interval` is the mean time until one of them speaks again.
    `foreign`: at least one is outside the branch that is the device's own.
    """

    patterns: int
    foreign: bool
    company: int
    spread: int
    joined: int
    age: int
    interval: float


class Novelty:
    """Who used which novel topic pattern within the last minute."""

    def __init__(self) -> None:
        self._used: dict[int, dict[str, _Use]] = {}
        self._types: dict[int, str] = {}

    def use(self, line: int, device_type: str, patterns: Iterable[str], now: int) -> None:
        """The device published on these in the second `now`."""
        used = self._used.setdefault(line, {})
        self._types[line] = device_type
        for pattern in patterns:
            known = used.get(pattern)
            if known is not None:
                known.last = now
                known.times += 1
            elif len(used) < MAX_PATTERNS:
                used[pattern] = _Use(now, now)

    def forget(self, line: int) -> None:
        self._used.pop(line, None)

    def now(self, now: int, branches: Mapping[str, Sequence[str]]) -> dict[int, Novel]:
        """Every device with a novel topic within the last minute; `branches` are the types' own ones."""
        self._drop_old(now)
        company: defaultdict[tuple[str, str], list[_Use]] = defaultdict(list)
        for line, used in self._used.items():
            for pattern, use in used.items():
                company[self._types[line], pattern].append(use)
        return {
            line: self._novel(used, self._types[line], company, branches, now)
            for line, used in self._used.items()
        }

    def _novel(
        self,
        used: Mapping[str, _Use],
        kind: str,
        company: Mapping[tuple[str, str], list[_Use]],
        branches: Mapping[str, Sequence[str]],
        now: int,
    ) -> Novel:
        newest = max(used, key=lambda pattern: used[pattern].last)
        together = company[kind, newest]
        begun = [use.first for use in together]
        again = sum(use.times - 1 for use in together)
        own = tuple(branches.get(kind, ()))
        return Novel(
            patterns=len(used),
            foreign=bool(own) and not all(pattern.startswith(own) for pattern in used),
            company=len(begun),
            spread=max(begun) - min(begun),
            joined=now - max(begun),
            age=now - min(use.first for use in used.values()),
            interval=sum(use.last - use.first for use in together) / again if again else MEMORY_SECONDS,
        )

    def _drop_old(self, now: int) -> None:
        for line in list(self._used):
            used = self._used[line]
            for pattern in [p for p, use in used.items() if now - use.last > MEMORY_SECONDS]:
                del used[pattern]
            if not used:
                del self._used[line]
