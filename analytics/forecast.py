"""What a rate or a value is expected to be at this time: learnt on line, from nothing but what has been seen.

Pure arithmetic on event time; nothing here reads a clock, a file or the view.
"""

import math
from collections.abc import Sequence

DAY = 86_400.0
DAY_BINS = 48
"""Half an hour a bin: a day's curve moves little within it, and a series with one row an hour still has rows."""

DAY_RATE = 0.15
"""Weight of the newest day: a new habit is half learnt after four days (0.85^4 = 0.52)."""


WEEK = 7 * DAY
WEEK_BINS = 7 * DAY_BINS
WEEK_RATE = 0.3
"""Half learnt after two weeks (0.7^2 = 0.49)."""


class Profile:
    """The mean of each part of a day or a week, as an average over days or weeks that forgets.

    A part counts when it is over, so a spike is not its own expectation.
    """

    def __init__(self, period: float, parts: int, rate: float) -> None:
        """`period` in seconds, `rate` the weight of the newest one."""
        self._period, self._rate = period, rate
        self._means: list[float | None] = [None] * parts
        self._bin = -1
        self._sum = 0.0
        self._rows = 0

    def expected(self, moment: float) -> float | None:
        """What this part was like (`moment` in seconds since the epoch), None before it was seen once."""
        place = self._place(moment)
        if place is None:
            return None
        if place != self._bin:
            self._close()
        return self._means[place]

    def learn(self, moment: float, value: float) -> None:
        """Take the value in. An unknown moment (nan) teaches nothing."""
        place = self._place(moment)
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
            self._means[self._bin] = mean if before is None else before + self._rate * (mean - before)
        self._sum, self._rows, self._bin = 0.0, 0, -1

    def _place(self, moment: float) -> int | None:
        if not math.isfinite(moment):
            return None
        parts = len(self._means)
        return int(moment % self._period * parts / self._period) % parts

    @property
    def means(self) -> list[float | None]:
        """What is known of each part so far, for `restore`; the part that goes on is not in it."""
        return list(self._means)

    def restore(self, means: Sequence[float | None]) -> None:
        """Take up what an earlier process knew; of another number of parts it is forgotten."""
        if len(means) == len(self._means):
            self._means = list(means)


def day_profile() -> Profile:
    """Half hours of the day."""
    return Profile(DAY, DAY_BINS, DAY_RATE)


def week_profile() -> Profile:
    """Half hours of the week."""
    return Profile(WEEK, WEEK_BINS, WEEK_RATE)
