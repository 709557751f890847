"""What a rate or a value is expected to be at this time: learnt on line, from nothing but what has been seen.

Pure arithmetic on event time; nothing here reads a clock, a file or the view.
"""

import math

DAY = 86_400.0
DAY_BINS = 48
"""Half an hour a bin: a day's curve moves little within it, and a series with one row an hour still has rows."""

DAY_RATE = 0.15
"""Weight of the newest day: a new habit is half learnt after four days (0.85^4 = 0.52)."""


class DayProfile:
    """The mean of each half hour of the day, as an average over days that forgets.

    A half hour counts when it is over, so a spike is not its own expectation.
    """

    def __init__(self) -> None:
        self._means: list[float | None] = [None] * DAY_BINS
        self._bin = -1
        self._sum = 0.0
        self._rows = 0

    def expected(self, moment: float) -> float | None:
        """What this time of day was like (`moment` in seconds since the epoch), None before it was seen once."""
        place = _bin(moment)
        if place is None:
            return None
        if place != self._bin:
            self._close()
        return self._means[place]

    def learn(self, moment: float, value: float) -> None:
        """Take the value in. An unknown moment (nan) teaches nothing."""
        place = _bin(moment)
        if place is None:
            return
        if place != self._bin:
            self._close()
            self._bin = place
        self._sum += value
        self._rows += 1

    def _close(self) -> None:
        if self._rows:
            mean, before = self._sum / self._rows, self._means[self._bin]
            self._means[self._bin] = mean if before is None else before + DAY_RATE * (mean - before)
        self._sum, self._rows, self._bin = 0.0, 0, -1


def _bin(moment: float) -> int | None:
    return int(moment % DAY * DAY_BINS / DAY) % DAY_BINS if math.isfinite(moment) else None
